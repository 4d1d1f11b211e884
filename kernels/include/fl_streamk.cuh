// SPDX-License-Identifier: Apache-2.0
// Stream-K: the (row group, K block) units of a product form one line that is cut into equal parts,
// one a CTA, so that every SM gets the same work whatever the shape. A row tile that is cut belongs to
// several CTAs; each stores its fp32 partial, and the warp that arrives last adds all parts in K
// order. The sum never depends on who is last: same bits every run. Nobody waits for anybody.
//
// Arrivals are counted in 64-bit words of the caller's workspace that nobody has to clear: a word
// counts only if its upper 48 bits are this launch's nonce; anything else means "none yet". The last
// warp resets the word, so that a captured launch can be replayed with the same nonce.
#pragma once

#include "fl_params.h"
#include "fl_ptx.cuh"

namespace fl {

struct StreamK {
    uint32_t units, ctas, k_blocks;

    __device__ __forceinline__ uint32_t first_unit(uint32_t cta) const {
        return static_cast<uint32_t>(static_cast<uint64_t>(units) * cta / ctas);
    }
    // The CTA whose part holds `unit`.
    __device__ __forceinline__ uint32_t owner(uint32_t unit) const {
        return static_cast<uint32_t>(((static_cast<uint64_t>(unit) + 1) * ctas - 1) / units);
    }
    // A CTA has at most two incomplete tiles a warp: in the group of its first unit (0), in its last (1).
    __device__ __forceinline__ uint32_t partial_index(uint32_t cta, uint32_t group) const {
        return cta * 2 + (first_unit(cta) / k_blocks == group ? 0 : 1);
    }
};

// Counts this warp's arrival; true if all `parts` warps of the tile have arrived.
__device__ __forceinline__ bool arrive_last(unsigned long long* counter, uint64_t nonce, uint32_t parts,
                                            uint32_t lane) {
    __threadfence();
    __syncwarp();
    uint32_t last = 0;
    if (lane == 0) {
        unsigned long long seen = *reinterpret_cast<volatile unsigned long long*>(counter), next, assumed;
        do {
            assumed = seen;
            const uint64_t count = ((seen ^ nonce) >> 16) == 0 ? (seen & 0xffff) + 1 : 1;
            next = count == parts ? 0 : (nonce | count);
            seen = atomicCAS(counter, assumed, next);
        } while (seen != assumed);
        last = next == 0;
    }
    last = __shfl_sync(~0u, last, 0);
    if (last) __threadfence();
    return last;
}

// Adds the parts of one tile in CTA order. `acc` is this warp's own part, then the sum.
// Partials are stored as the lanes hold them: [vector][lane] float4.
template <int kVectors>
__device__ __forceinline__ bool reduce_parts(const FlSpmmParams& p, const StreamK& line, float4 (&acc)[kVectors],
                                             uint32_t cta, uint32_t group, uint32_t warp, uint32_t warps,
                                             uint32_t tile, uint32_t slice, uint32_t lane) {
    const uint32_t first = line.owner(group * line.k_blocks);
    const uint32_t last = line.owner((group + 1) * line.k_blocks - 1);
    if (first == last) return true;
    auto part = [&](uint32_t c) {
        const uint64_t at = (static_cast<uint64_t>(slice) * line.ctas * 2 + line.partial_index(c, group)) * warps + warp;
        return reinterpret_cast<float4*>(p.partials) + at * kVectors * 32 + lane;
    };
    float4* mine = part(cta);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) __stcg(mine + i * 32, acc[i]);
    auto* counter = reinterpret_cast<unsigned long long*>(p.counters) + static_cast<uint64_t>(slice) * p.row_tiles + tile;
    if (!arrive_last(counter, p.nonce, last - first + 1, lane)) return false;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
        float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
        for (uint32_t c = first; c <= last; ++c) {
            const float4 v = c == cta ? acc[i] : __ldcg(part(c) + i * 32);
            sum.x += v.x;
            sum.y += v.y;
            sum.z += v.z;
            sum.w += v.w;
        }
        acc[i] = sum;
    }
    return true;
}

__device__ __forceinline__ void store_c(const FlSpmmParams& p, uint32_t m, uint32_t n, float v) {
    if (m >= p.m || n >= p.n) return;
    const int64_t at = m * p.c_stride_m + n * p.c_stride_n;
    if (p.c_is_f32) {
        float* c = reinterpret_cast<float*>(p.c) + at;
        *c = p.beta == 0.f ? p.alpha * v : p.alpha * v + p.beta * *c;
    } else {
        __half* c = reinterpret_cast<__half*>(p.c) + at;
        *c = __float2half_rn(p.beta == 0.f ? p.alpha * v : p.alpha * v + p.beta * __half2float(*c));
    }
}

// Stores one m16n8 accumulator: rows m + lane/4 (+8), columns n + 2*(lane%4) (+1).
__device__ __forceinline__ void store_m16n8(const FlSpmmParams& p, uint32_t m, uint32_t n, const float4& v, uint32_t lane) {
    const uint32_t row = m + lane / 4, col = n + (lane % 4) * 2;
    store_c(p, row, col, v.x);
    store_c(p, row, col + 1, v.y);
    store_c(p, row + 8, col, v.z);
    store_c(p, row + 8, col + 1, v.w);
}

}  // namespace fl
