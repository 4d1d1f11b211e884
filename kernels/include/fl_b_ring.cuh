// SPDX-License-Identifier: Apache-2.0
// The ring of B chunks that a loader warp fills and all consumer warps of a CTA read (Hopper).
// A chunk is 256 columns of K for `rows` columns of N; each row is one bulk copy.
#pragma once

#include "fl_params.h"
#include "fl_ptx.cuh"

namespace fl {

constexpr int kChunkCols = 256;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Stages of kRowBytes a row. full: one arrival a loader lane and the copies; empty: one a lane of the consumers.
template <int kStages, int kRowBytes, int kMaxRows>
struct BRing {
    uint32_t full, empty, data;
    uint32_t stage = 0, phase;

    // `phase` is 1 for the loader, whose first pass finds every stage empty, and 0 for consumers.
    __device__ __forceinline__ BRing(uint32_t barriers, uint32_t ring, uint32_t first_phase)
        : full(barriers), empty(barriers + 8 * kStages), data(ring), phase(first_phase) {}

    __device__ __forceinline__ void init(uint32_t consumers) const {
        for (int i = 0; i < kStages; ++i) {
            mbar_init(full + 8 * i, kWarpLanes);
            mbar_init(empty + 8 * i, kWarpLanes * consumers);
        }
    }
    __device__ __forceinline__ uint32_t address() const { return data + stage * (kMaxRows * kRowBytes); }
    __device__ __forceinline__ void wait_full() const { mbar_wait(full + 8 * stage, phase); }
    __device__ __forceinline__ void advance() {
        if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
        }
    }
    __device__ __forceinline__ void release() {
        mbar_arrive(empty + 8 * stage);
        advance();
    }
    // Called by all lanes of the loader warp.
    __device__ __forceinline__ void load(const FlSpmmParams& p, uint32_t n0, uint32_t rows, uint32_t chunk, uint32_t lane) {
        const uint32_t dst = address();
        const uint32_t k0 = chunk * kChunkCols;
        const uint32_t bytes = min(p.k - k0, static_cast<uint32_t>(kChunkCols)) * 2;
        mbar_wait(empty + 8 * stage, phase);
        // A is clear beyond K, but 0 * stale NaN would not be zero.
        for (uint32_t n = lane; n < rows && bytes < kChunkCols * 2; n += 32)
            for (uint32_t i = bytes; i < kChunkCols * 2; i += 16) sts128(dst + n * kRowBytes + i, make_uint4(0, 0, 0, 0));
        // What comes into their place in the next round is written by another proxy.
        if (bytes < kChunkCols * 2) fence_proxy_async();
        __syncwarp();
        // Every lane arrives, so that its own zeros are released with the copies.
        if (lane == 0)
            mbar_expect_tx(full + 8 * stage, bytes * rows);
        else
            mbar_arrive(full + 8 * stage);
        __syncwarp();
        for (uint32_t n = lane; n < rows; n += 32)
            bulk_load(dst + n * kRowBytes, reinterpret_cast<const __half*>(p.b) + (n0 + n) * p.b_stride_n + k0, bytes,
                      full + 8 * stage);
        advance();
    }
};
#endif

}  // namespace fl
