// SPDX-License-Identifier: Apache-2.0
// Two CTAs that are a cluster and have a part each of one row group: each stores half of the columns, for which the other one gives it
// its sums. These come as stores that the receiver's mbarrier counts, so that nobody has to make anything visible: what releases for
// a cluster is a fence of the whole GPU, which takes a microsecond while memory is busy.
#pragma once

#include "fl_ptx.cuh"
#include "fl_streamk.cuh"

namespace fl {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// This CTA's number of the two.
__device__ __forceinline__ uint32_t pair_rank() { return blockIdx.x % 2; }

// What they tell each other: two mbarriers for each of up to kMostWarps warps.
struct Pair {
    uint32_t room;     // + 8 * warp: the other CTA's warp does not use any more what this one's sums go to
    uint32_t arrived;  // + 8 * warp: its sums are here

    static constexpr uint32_t kMostWarps = 16, kBytes = 2 * 8 * kMostWarps;
    __device__ __forceinline__ explicit Pair(uint32_t at) : room(at), arrived(at + 8 * kMostWarps) {}

    // By each warp that exchanges something its own two, before cluster_arrive_relaxed(); cluster_wait() comes before exchange().
    __device__ __forceinline__ void init(uint32_t warp, uint32_t lane) const {
        if (lane < 2) mbar_init((lane == 0 ? room : arrived) + 8 * warp, 1);
        mbar_init_fence();
    }

    // By a lane of the warp whose memory is free.
    __device__ __forceinline__ void offer_room(uint32_t warp) const { mbar_arrive_mapped(mapped(room + 8 * warp, pair_rank() ^ 1)); }
};

// What a CTA stores of NT vectors: all, or as one of a pair of CTAs the first kHalf, or the others.
template <int NT, bool kPair>
struct Share {
    static constexpr int kHalf = (NT + 1) / 2;
    static __device__ __forceinline__ uint32_t first() { return kPair && pair_rank() != 0 ? kHalf : 0; }
    static __device__ __forceinline__ uint32_t count() { return !kPair ? NT : pair_rank() != 0 ? NT - kHalf : kHalf; }

    // The sums of both CTAs of a pair for this one's half, in acc[0, count()). `at` is what has been offered: 16 bytes of this lane, and 512
    // further the next vector's. No CTA ends before all that comes to it is there: each warp waits for the other's room and sums.
    static __device__ __forceinline__ void exchange(float4* acc, const Pair& pair, uint32_t warp, uint32_t at, uint32_t lane) {
        const uint32_t other = pair_rank() ^ 1, arrived = pair.arrived + 8 * warp;
        const bool upper = other == 0;
        if (lane == 0) mbar_expect_tx(arrived, count() * 512);
        mbar_wait(pair.room + 8 * warp, 0);
        const uint32_t to = mapped(at, other), told = mapped(arrived, other);
#pragma unroll
        for (int i = 0; i < kHalf; ++i) {
            const float4 high = acc[kHalf + i < NT ? kHalf + i : NT - 1];
            if (kHalf + i < NT || upper) store_async(to + i * 512, bits(select(upper, acc[i], high)), told);
            acc[i] = select(upper, high, acc[i]);
        }
        mbar_wait_cluster(arrived, 0);
        // Of two it does not matter which is first.
#pragma unroll
        for (int i = 0; i < kHalf; ++i)
            if (kHalf + i < NT || !upper) plus(acc[i], lds_float4(at + i * 512));
    }
};
#endif

}  // namespace fl
