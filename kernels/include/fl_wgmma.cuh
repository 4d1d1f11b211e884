// SPDX-License-Identifier: Apache-2.0
// Sparse wgmma with A and metadata from registers and B from shared memory.
// Layouts: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once

#include "fl_ptx.cuh"

namespace fl {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// This warpgroup's registers a thread from here on: what some give back, others can have.
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Registers written before may be read by the wgmma that follow.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most kPending of this thread's groups are at work.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Sums may be read: the compiler sees no other dependence on the wait.
__device__ __forceinline__ void wgmma_read(float4& v) {
    asm volatile("" : "+f"(v.x), "+f"(v.y), "+f"(v.z), "+f"(v.w)::"memory");
}

// B in core matrices, 8 rows of K of 8 columns of N, without swizzle: those that follow along K are `along_k` bytes apart,
// those along N `along_n`.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address, uint32_t along_k, uint32_t along_n) {
    return static_cast<uint64_t>((address & 0x3ffff) >> 4) | static_cast<uint64_t>(along_k >> 4) << 16 |
           static_cast<uint64_t>(along_n >> 4) << 32;
}

#define FL_D(i) "+f"(d[i].x), "+f"(d[i].y), "+f"(d[i].z), "+f"(d[i].w)
#define FL_WGMMA_SP "wgmma.mma_async.sp.sync.aligned.m64n"
#define FL_WGMMA_A "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(metadata), "n"(S)

// D += A * B for 64 rows, 16 of each warp, 8 NT columns and 32 of K: two in four of A are stored, `metadata` from lanes
// 2 S and 2 S + 1 of each quad. A row of K of a core matrix of B is 16 bytes. d[i] is as that of mma.m16n8k32 for columns 8 i.
template <int NT, int S>
__device__ __forceinline__ void wgmma_sp_k32(float4* d, const uint32_t* a, uint64_t b, uint32_t metadata) {
    if constexpr (NT == 4) {
        asm volatile(FL_WGMMA_SP "32k32." FL_WGMMA_TYPES
                     " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, {%16,%17,%18,%19}, %20, %21, %22, 1, 1, 1, 1;"
                     : FL_D(0), FL_D(1), FL_D(2), FL_D(3)
                     : FL_WGMMA_A);
    } else {
        static_assert(NT == 8, "32 or 64 columns");
        asm volatile(FL_WGMMA_SP "64k32." FL_WGMMA_TYPES
                     " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,"
                     "%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, %37, %38, 1, 1, 1, 1;"
                     : FL_D(0), FL_D(1), FL_D(2), FL_D(3), FL_D(4), FL_D(5), FL_D(6), FL_D(7)
                     : FL_WGMMA_A);
    }
}

#undef FL_D
#undef FL_WGMMA_SP
#undef FL_WGMMA_A

#endif

}  // namespace fl
