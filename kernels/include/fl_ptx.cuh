// SPDX-License-Identifier: Apache-2.0
// One PTX instruction a function. Shared-memory addresses are 32-bit shared-window addresses.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "fl_params.h"

// Every SpMM kernel is compiled for each 16-bit element type: FL_BF16 chooses it. What depends on it is here
// (the names of entry points, the MMA instructions) and in fl_epilogue.cuh (the conversions).
#if defined(FL_BF16)
#define FL_ENTRY(before, after) before##bf16##after
#define FL_MMA_TYPES "f32.bf16.bf16.f32"
#define FL_WGMMA_TYPES "f32.bf16.bf16"
#else
#define FL_ENTRY(before, after) before##f16##after
#define FL_MMA_TYPES "f32.f16.f16.f32"
#define FL_WGMMA_TYPES "f32.f16.f16"
#endif

namespace fl {

__device__ __forceinline__ uint32_t smem_addr(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// The number of this warp in its CTA. The shuffle tells the compiler that all lanes have the same: what follows from it is computed
// once for the warp, branches on it do not diverge, and wgmma behind them is not serialised.
__device__ __forceinline__ uint32_t warp_number() { return __shfl_sync(~0u, threadIdx.x / 32, 0); }

// The same number, which the compiler now keeps in a register: a shared address it would compute again each time from a special register.
__device__ __forceinline__ uint32_t kept(uint32_t value) {
    asm volatile("" : "+r"(value));
    return value;
}

// 2^x and 1/x of the special function unit, within 2 ulp; what is smaller than 2^-126 is zero.
__device__ __forceinline__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ uint32_t lds8(uint32_t addr) {
    uint16_t v;
    asm volatile("ld.shared.u8 %0, [%1];" : "=h"(v) : "r"(addr));
    return v;
}

__device__ __forceinline__ uint32_t lds16(uint32_t addr) {
    uint32_t v;
    asm volatile("ld.shared.u16 %0, [%1];" : "=r"(v) : "r"(addr));
    return v;
}

__device__ __forceinline__ uint32_t lds32(uint32_t addr) {
    uint32_t v;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(v) : "r"(addr));
    return v;
}

__device__ __forceinline__ uint2 lds64(uint32_t addr) {
    uint2 v;
    asm volatile("ld.shared.v2.b32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(addr));
    return v;
}

__device__ __forceinline__ uint4 lds128(uint32_t addr) {
    uint4 v;
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(addr));
    return v;
}

__device__ __forceinline__ float4 lds_float4(uint32_t addr) {
    const uint4 v = lds128(addr);
    return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z), __uint_as_float(v.w));
}

__device__ __forceinline__ void sts16(uint32_t addr, uint32_t v) {
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(addr), "h"(static_cast<uint16_t>(v)) : "memory");
}

__device__ __forceinline__ void sts32(uint32_t addr, uint32_t v) {
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(addr), "r"(v) : "memory");
}

__device__ __forceinline__ void sts64(uint32_t addr, uint32_t low, uint32_t high) {
    asm volatile("st.shared.v2.b32 [%0], {%1,%2};" ::"r"(addr), "r"(low), "r"(high) : "memory");
}

__device__ __forceinline__ void sts128(uint32_t addr, uint4 v) {
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(addr), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

__device__ __forceinline__ uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector) {
    uint32_t r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
    return r;
}

__device__ __forceinline__ uint4 bits(const float4& v) {
    return make_uint4(__float_as_uint(v.x), __float_as_uint(v.y), __float_as_uint(v.z), __float_as_uint(v.w));
}

// Waits for `threads` threads of the CTA at barrier `id`, 1 to 15; shared memory written before is seen after.
__device__ __forceinline__ void named_barrier(uint32_t id, uint32_t threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Counts at that barrier without waiting there.
__device__ __forceinline__ void named_barrier_arrive(uint32_t id, uint32_t threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Four 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void ldmatrix4(uint32_t (&r)[4], uint32_t addr) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr)
                 : "memory");
}

// As ldmatrix4, each matrix transposed.
__device__ __forceinline__ void ldmatrix4_trans(uint32_t (&r)[4], uint32_t addr) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr)
                 : "memory");
}

// D += A * B, A 16x32 of which two in four are stored, `metadata` from lanes 2 S and 2 S + 1 of each quad.
template <int S>
__device__ __forceinline__ void mma_sp_m16n8k32(float4& d, const uint32_t (&a)[4], const uint32_t (&b)[4],
                                                uint32_t metadata) {
    asm volatile(
        "mma.sp.sync.aligned.m16n8k32.row.col." FL_MMA_TYPES " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, "
        "{%0,%1,%2,%3}, %12, %13;"
        : "+f"(d.x), "+f"(d.y), "+f"(d.z), "+f"(d.w)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(metadata),
          "n"(S));
}

// D += A * B, A 16x16 row fragments, B 16x8 column fragments, fp32 accumulators.
__device__ __forceinline__ void mma_m16n8k16(float4& d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col." FL_MMA_TYPES " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d.x), "+f"(d.y), "+f"(d.z), "+f"(d.w)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 bytes global -> shared, around L1; of these the first `bytes` are read and the others zero.
__device__ __forceinline__ void cp_async16(uint32_t dst, const void* src, uint32_t bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}

__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
// Takes its operands from uniform registers: 50 clocks for each lane that has an address of its own. So kernels deal their
// barriers to all warps.
__device__ __forceinline__ void mbar_init(uint32_t bar, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory");
}

// Makes mbarrier.init visible to the copy engine.
__device__ __forceinline__ void mbar_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// By every lane of a warp, each for what it has read or written itself: racecheck does not see that one lane arrives for all of
// them after a __syncwarp(). Barriers count kWarpLanes for each warp.
constexpr uint32_t kWarpLanes = 32;
__device__ __forceinline__ void mbar_arrive(uint32_t bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

// As `count` threads.
__device__ __forceinline__ void mbar_arrive(uint32_t bar, uint32_t count) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}

__device__ __forceinline__ void mbar_expect_tx(uint32_t bar, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}

__device__ __forceinline__ void mbar_wait(uint32_t bar, uint32_t parity) {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "WAIT_%=: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
        "@p bra DONE_%=;\n"
        "bra WAIT_%=;\n"
        "DONE_%=: }\n" ::"r"(bar),
        "r"(parity)
        : "memory");
}

// Waits for two phases: asks for both at once, because an answer takes as long as a load.
__device__ __forceinline__ void mbar_wait_both(uint32_t one, uint32_t one_parity, uint32_t other, uint32_t other_parity) {
    asm volatile(
        "{\n"
        ".reg .pred p, q;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 q, [%2], %3;\n"
        "and.pred p, p, q;\n"
        "@p bra DONE_%=;\n"
        "ONE_%=: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
        "@!p bra ONE_%=;\n"
        "OTHER_%=: mbarrier.try_wait.parity.shared::cta.b64 p, [%2], %3;\n"
        "@!p bra OTHER_%=;\n"
        "DONE_%=: }\n" ::"r"(one),
        "r"(one_parity), "r"(other), "r"(other_parity)
        : "memory");
}

// This warpgroup's registers a thread from here on: what some give back, others can have.
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Programmatic dependent launch. A product reads its matrix A without asking; what it reads of other memory, and all that
// it writes, comes after wait_for_earlier_work() in one of its threads, directly or by way of a barrier. Both do nothing
// in a launch, or before one, that does not have the attribute.
__device__ __forceinline__ void let_dependents_begin() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void wait_for_earlier_work() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// Four 8x8 matrices, each transposed; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void stmatrix4_trans(uint32_t addr, const uint32_t (&v)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(addr), "r"(v[0]), "r"(v[1]),
                 "r"(v[2]), "r"(v[3])
                 : "memory");
}

// As above two of them.
__device__ __forceinline__ void stmatrix2_trans(uint32_t addr, uint32_t v0, uint32_t v1) {
    asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1,%2};" ::"r"(addr), "r"(v0), "r"(v1) : "memory");
}

// Whether the phase of that parity is over; does not wait.
__device__ __forceinline__ bool mbar_test(uint32_t bar, uint32_t parity) {
    uint32_t done;
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.b32 %0, 1, 0, p;\n"
        "}\n"
        : "=r"(done)
        : "r"(bar), "r"(parity)
        : "memory");
    return done != 0;
}

// A cluster: CTAs that run at the same time and reach each other's shared memory. By all warps: behind the second all CTAs have come to
// the first. It says nothing of what they wrote, but for mbar_init_fence().
__device__ __forceinline__ void cluster_arrive_relaxed() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// A shared address of this CTA in another one of its cluster.
__device__ __forceinline__ uint32_t mapped(uint32_t addr, uint32_t rank) {
    uint32_t v;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(v) : "r"(addr), "r"(rank));
    return v;
}

// Arrives at another CTA's barrier when this one has only read. (What releases for a cluster is a fence of the whole GPU.)
__device__ __forceinline__ void mbar_arrive_mapped(uint32_t bar) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(bar) : "memory");
}

// Stores into another CTA's shared memory, whose barrier `bar` counts the bytes when they are there.
__device__ __forceinline__ void store_async(uint32_t dst, const uint4& v, uint32_t bar) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1,%2,%3,%4}, [%5];" ::"r"(dst), "r"(v.x), "r"(v.y),
                 "r"(v.z), "r"(v.w), "r"(bar)
                 : "memory");
}

// As mbar_wait() for what another CTA stored.
__device__ __forceinline__ void mbar_wait_cluster(uint32_t bar, uint32_t parity) {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "WAIT_%=: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], %1;\n"
        "@p bra DONE_%=;\n"
        "bra WAIT_%=;\n"
        "DONE_%=: }\n" ::"r"(bar),
        "r"(parity)
        : "memory");
}

// wgmma of whoever sees it afterwards may read the shared memory that this thread has written.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// One box of a matrix global -> shared, from its element (x, y) on, where `map` says that it lies.
__device__ __forceinline__ void tensor_load(uint32_t dst, const FlTensorMap& map, uint32_t x, uint32_t y, uint32_t bar) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(dst),
        "l"(&map), "r"(x), "r"(y), "r"(bar)
        : "memory");
}

// What several lanes of a warp copy. Operands of a copy are uniform registers, so that the lanes take turns at the copy itself, all of
// them active; racecheck takes the first active one for whoever copies, who has not waited for the others' places. Where it is to judge, with
// FL_RACECHECK, the lanes take turns at all of it, which costs up to a quarter of a product's time.
template <typename Copy>
__device__ __forceinline__ void in_turn(Copy copy) {
#if defined(FL_RACECHECK)
    for (bool waits = true; waits;) {
        uint32_t first;
        asm volatile(
            "{\n"
            ".reg .pred p;\n"
            "elect.sync _|p, %1;\n"
            "selp.b32 %0, 1, 0, p;\n"
            "}\n"
            : "=r"(first)
            : "r"(__activemask()));
        if (first != 0) {
            copy();
            waits = false;
        }
    }
#else
    copy();
#endif
}

// One bulk copy global -> shared; both 16-byte aligned, bytes a multiple of 16.
__device__ __forceinline__ void bulk_load(uint32_t dst, const void* src, uint32_t bytes, uint32_t bar) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst),
        "l"(src), "r"(bytes), "r"(bar)
        : "memory");
}
#endif

}  // namespace fl
