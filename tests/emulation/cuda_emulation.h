// SPDX-License-Identifier: Apache-2.0
//
// Runs CUDA kernels of this repository on the host: each thread of a CTA is a fibre that runs until it synchronises.
// So that a kernel's arithmetic can be compared with the host's encoder where there is no GPU. Only what the
// conversion kernels use is here. One CTA runs at a time on an operating-system thread.
#pragma once

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static thread_local
#define __align__(n) __attribute__((aligned(n)))

struct uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
static inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

namespace emulation {

struct Dim { uint32_t x, y, z; };
enum Wait { kNone, kWarp, kBlock };

struct Fibre {
    ucontext_t context;  // of the first entry
    jmp_buf state;       // since then
    bool entered;
    std::vector<char> stack;
    Wait wait;
    bool done;
    uint32_t thread, warp_round, block_round;
};

struct Cta {
    std::vector<Fibre> fibres;
    jmp_buf scheduler;
    Fibre* running = nullptr;
    std::vector<uint64_t> slots[2];  // of warps, by round
    int any[3];
    std::function<void()> body;
    std::vector<uint4> dynamic;
};

inline thread_local Cta cta;
inline thread_local Dim thread_index, block_index, grid_size, block_size;

inline void pause(Wait wait) {
    Fibre* self = cta.running;
    self->wait = wait;
    // Unlike swapcontext, these make no system call.
    if (_setjmp(self->state) == 0) _longjmp(cta.scheduler, 1);
}

// Every lane's value; those of lanes that have returned are what they were.
inline const uint64_t* exchange(uint64_t value) {
    Fibre* self = cta.running;
    std::vector<uint64_t>& slots = cta.slots[self->warp_round++ % 2];
    slots[self->thread] = value;
    pause(kWarp);
    return &slots[self->thread / 32 * 32];
}

inline int any(int value) {
    Fibre* self = cta.running;
    const uint32_t round = self->block_round++;
    cta.any[(round + 1) % 3] = 0;
    cta.any[round % 3] |= value != 0;
    pause(kBlock);
    return cta.any[round % 3];
}

inline void enter() {
    cta.body();
    cta.running->done = true;
    _longjmp(cta.scheduler, 1);
}

inline void resume(Fibre& f) {
    if (_setjmp(cta.scheduler) != 0) return;
    if (f.entered) _longjmp(f.state, 1);
    f.entered = true;
    setcontext(&f.context);
}

inline void run_cta(uint32_t threads, uint32_t order) {
    const size_t kStack = 64 * 1024;
    cta.fibres.resize(threads);
    for (auto& slots : cta.slots) slots.assign((threads + 31) / 32 * 32, 0);
    memset(cta.any, 0, sizeof cta.any);
    for (uint32_t i = 0; i < threads; ++i) {
        Fibre& f = cta.fibres[i];
        f.stack.resize(kStack);
        f.entered = false;
        f.wait = kNone, f.done = false, f.thread = i, f.warp_round = f.block_round = 0;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = kStack;
        f.context.uc_link = nullptr;
        makecontext(&f.context, enter, 0);
    }
    for (uint32_t pass = order;; ++pass) {
        bool all_done = true, progress = false;
        for (uint32_t k = 0; k < threads; ++k) {
            Fibre& f = cta.fibres[pass % 2 ? threads - 1 - k : k];
            if (f.done || f.wait != kNone) continue;
            progress = true;
            cta.running = &f;
            thread_index = {f.thread, 0, 0};
            resume(f);
        }
        bool whole = true;
        for (uint32_t warp = 0; warp < threads; warp += 32) {
            bool ready = true;
            const uint32_t end = warp + 32 < threads ? warp + 32 : threads;
            for (uint32_t i = warp; i < end; ++i) {
                const Fibre& f = cta.fibres[i];
                all_done &= f.done;
                whole &= f.done || f.wait == kBlock;
                ready &= f.done || f.wait == kWarp;
            }
            for (uint32_t i = warp; ready && i < end; ++i) {
                progress |= !cta.fibres[i].done;
                cta.fibres[i].wait = kNone;
            }
        }
        if (all_done) return;
        for (uint32_t i = 0; whole && i < threads; ++i) cta.fibres[i].wait = kNone;
        if (!progress && !whole) {
            fprintf(stderr, "the threads of a CTA wait for each other\n");
            abort();
        }
    }
}

// `order`: 0 or 1, which end of the CTA runs first. Shared memory begins as left by the CTA before.
inline void launch(const uint32_t* grid, uint32_t threads, uint32_t smem, uint32_t order,
                   const std::function<void()>& body) {
    cta.body = body;
    cta.dynamic.assign(smem / 16 + 1, make_uint4(0xa5a5a5a5u, 0xa5a5a5a5u, 0xa5a5a5a5u, 0xa5a5a5a5u));
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {threads, 1, 1};
    for (uint32_t z = 0; z < grid[2]; ++z)
        for (uint32_t y = 0; y < grid[1]; ++y)
            for (uint32_t x = 0; x < grid[0]; ++x) {
                block_index = {x, y, z};
                run_cta(threads, order);
            }
}

}  // namespace emulation

#define threadIdx emulation::thread_index
#define blockIdx emulation::block_index
#define gridDim emulation::grid_size
#define blockDim emulation::block_size
#define FL_DYNAMIC_SHARED(name) uint4* const name = emulation::cta.dynamic.data()

static inline void __syncthreads() { emulation::any(0); }
static inline int __syncthreads_or(int v) { return emulation::any(v); }
static inline int __syncthreads_and(int v) { return !emulation::any(!v); }
static inline void __syncwarp() { emulation::exchange(0); }
static inline uint32_t __ballot_sync(uint32_t, uint32_t v) {
    const uint64_t* all = emulation::exchange(v != 0);
    uint32_t mask = 0;
    for (int i = 0; i < 32; ++i) mask |= static_cast<uint32_t>(all[i]) << i;
    return mask;
}
template <typename T>
static inline T __shfl_sync(uint32_t, T v, uint32_t lane) {
    return static_cast<T>(emulation::exchange(static_cast<uint64_t>(v))[lane % 32]);
}
template <typename T>
static inline T __shfl_up_sync(uint32_t, T v, uint32_t d) {
    const uint32_t lane = emulation::cta.running->thread % 32;
    const uint64_t* all = emulation::exchange(static_cast<uint64_t>(v));
    return static_cast<T>(all[lane < d ? lane : lane - d]);
}
template <typename T>
static inline T __shfl_down_sync(uint32_t, T v, uint32_t d) {
    const uint32_t lane = emulation::cta.running->thread % 32;
    const uint64_t* all = emulation::exchange(static_cast<uint64_t>(v));
    return static_cast<T>(all[lane + d > 31 ? lane : lane + d]);
}
template <typename T>
static inline T __shfl_xor_sync(uint32_t, T v, uint32_t mask) {
    const uint32_t lane = emulation::cta.running->thread % 32;
    return static_cast<T>(emulation::exchange(static_cast<uint64_t>(v))[lane ^ mask]);
}
static inline uint32_t __reduce_add_sync(uint32_t, uint32_t v) {
    const uint64_t* all = emulation::exchange(v);
    uint32_t sum = 0;
    for (int i = 0; i < 32; ++i) sum += static_cast<uint32_t>(all[i]);
    return sum;
}
static inline uint32_t __reduce_min_sync(uint32_t, uint32_t v) {
    const uint64_t* all = emulation::exchange(v);
    uint32_t least = ~0u;
    for (int i = 0; i < 32; ++i) least = all[i] < least ? static_cast<uint32_t>(all[i]) : least;
    return least;
}
static inline uint32_t __reduce_max_sync(uint32_t, uint32_t v) {
    const uint64_t* all = emulation::exchange(v);
    uint32_t most = 0;
    for (int i = 0; i < 32; ++i) most = all[i] > most ? static_cast<uint32_t>(all[i]) : most;
    return most;
}
static inline int __popc(uint32_t v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __ffs(uint32_t v) { return __builtin_ffs(static_cast<int>(v)); }
static inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector) {
    const uint64_t all = low | static_cast<uint64_t>(high) << 32;
    uint32_t out = 0;
    for (int i = 0; i < 4; ++i) out |= static_cast<uint32_t>(all >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
    return out;
}
template <typename T, typename V>
static inline T atomicAdd(T* p, V v) { const T old = *p; *p = static_cast<T>(old + v); return old; }
template <typename T, typename V>
static inline T atomicOr(T* p, V v) { const T old = *p; *p = static_cast<T>(old | v); return old; }
template <typename T, typename V>
static inline T atomicMin(T* p, V v) { const T old = *p; if (v < old) *p = v; return old; }
template <typename T, typename V>
static inline T atomicMax(T* p, V v) { const T old = *p; if (v > old) *p = v; return old; }
template <typename T>
static inline T atomicCAS(T* p, T expected, T v) { const T old = *p; if (old == expected) *p = v; return old; }
