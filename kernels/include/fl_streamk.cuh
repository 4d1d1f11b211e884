// SPDX-License-Identifier: Apache-2.0
// Stream-K: the (row group, K block) units of a product form one line, cut into `parts` pieces a row group;
// the pieces are dealt to the CTAs in order and as evenly as they go. One piece for every unit gives every SM
// the same work whatever the shape; one piece a group, where the groups happen to fit the SMs, needs no
// sums across CTAs. A row tile that is cut belongs to several CTAs; each stores its fp32 partial, and the
// warp that arrives last adds all of them in K order. The sum never depends on who is last: same bits
// every run. Nobody waits for anybody.
//
// Arrivals are counted in 64-bit words of the caller's workspace that nobody has to clear: a word
// counts only if its upper 48 bits are this launch's nonce; anything else means "none yet". The last
// warp resets the word, so that a captured launch can be replayed with the same nonce.
//
// A CTA works along K from the end of one row tile into the next, so the part that it begins with is
// published while the others are busy, and the part that it ends with usually finds all others there.
#pragma once

#include "fl_epilogue.cuh"
#include "fl_params.h"
#include "fl_ptx.cuh"

namespace fl {

struct StreamK {
    uint32_t groups, parts, ctas, k_blocks;

    __device__ __forceinline__ StreamK(const FlSpmmParams& p, uint32_t row_groups)
        : groups(row_groups), parts(p.parts), ctas(gridDim.x), k_blocks(p.k_blocks) {}

    // Divisions are a fifth of what a launch takes until it asks for its first bytes: the cases that plans prefer do without.
    __device__ __forceinline__ uint32_t first_unit(uint32_t cta) const {
        const uint32_t part = first_part(cta);
        if (parts == 1) return part * k_blocks;
        if (parts == k_blocks) return part;
        return part / parts * k_blocks + part % parts * k_blocks / parts;
    }
    __device__ __forceinline__ uint32_t first_part(uint32_t cta) const {
        return groups * parts == ctas ? cta : divide(groups * parts, cta, 0, ctas);
    }
    // The CTA that computes a part.
    __device__ __forceinline__ uint32_t owner(uint32_t part) const {
        return groups * parts == ctas ? part : divide(part + 1, ctas, 1, groups * parts);
    }

private:
    // (a * b - c) / d. A 64-bit division takes ten times as long as a 32-bit one, which nearly always does.
    static __device__ __forceinline__ uint32_t divide(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
        if (__umulhi(a, b) == 0) return (a * b - c) / d;
        return static_cast<uint32_t>((static_cast<uint64_t>(a) * b - c) / d);
    }
};

// One row tile's parts, or those of a piece of it that a warp sums: CTAs first..last. `warps` warps of a CTA sum
// something, this one `warp`. begin() comes before everything else.
template <int kVectors>
struct Parts {
    const FlSpmmParams& p;
    const StreamK& line;
    const uint32_t cta, warp, warps, slice;
    uint32_t first, last, first_index;
    unsigned long long* counter;

    __device__ __forceinline__ Parts(const FlSpmmParams& params, const StreamK& stream, uint32_t this_cta,
                                     uint32_t this_warp, uint32_t all_warps, uint32_t n_slice)
        : p(params), line(stream), cta(this_cta), warp(this_warp), warps(all_warps), slice(n_slice) {}

    // Goes to a row group.
    __device__ __forceinline__ void begin(uint32_t group) {
        const uint32_t part = group * line.parts;
        first = line.owner(part);
        last = line.owner(part + line.parts - 1);
        // A CTA has at most two incomplete tiles a warp: in the group of its first unit (0), in its last (1).
        first_index = line.first_part(first) < part ? 1 : 0;
        counter = reinterpret_cast<unsigned long long*>(p.counters) +
                  (static_cast<uint64_t>(slice) * line.groups + group) * warps + warp;
    }

    __device__ __forceinline__ float4* part(uint32_t c, uint32_t lane) const {
        const uint32_t index = c * 2 + (c == first ? first_index : 0);
        const uint64_t at = (static_cast<uint64_t>(slice) * line.ctas * 2 + index) * warps + warp;
        return reinterpret_cast<float4*>(p.partials) + at * kVectors * 32 + lane;
    }

    // The counter now: loaded early, used late, so that the last part need not wait for it.
    __device__ __forceinline__ uint64_t peek() const {
        unsigned long long seen = 0;
        if (first != last)
            asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(seen) : "l"(counter) : "memory");
        return seen;
    }

    // Counts this part, which is stored; true if all other parts were there before.
    __device__ __forceinline__ bool arrive(uint32_t lane) const {
        __threadfence();
        __syncwarp();
        uint32_t complete = 0;
        if (lane == 0) {
            // The last launch left zero; if other work did not, the first exchange tells what is there.
            unsigned long long seen = 0, next, assumed;
            do {
                assumed = seen;
                const uint64_t count = ((seen ^ p.nonce) >> 16) == 0 ? (seen & 0xffff) + 1 : 1;
                next = count == last - first + 1 ? 0 : (p.nonce | count);
                seen = atomicCAS(counter, assumed, next);
            } while (seen != assumed);
            complete = next == 0;
        }
        return __shfl_sync(~0u, complete, 0);
    }

    // Adds all parts in CTA order to this warp's own, which `get` and `put` access by vector; true if this warp is the
    // last and shall store the tile. `peeked` is an earlier peek(): where it shows that only this part is missing,
    // nothing needs to be published.
    template <int kUnroll, typename Get, typename Put>
    __device__ __forceinline__ bool reduce(uint64_t peeked, uint32_t lane, Get get, Put put) const {
        if (first == last) return true;
        if (peeked == (p.nonce | (last - first))) {
            if (lane == 0) *reinterpret_cast<volatile unsigned long long*>(counter) = 0;
        } else {
            float4* mine = part(cta, lane);
#pragma unroll(kUnroll)
            for (int i = 0; i < kVectors; ++i) __stcg(mine + i * 32, get(i));
            if (!arrive(lane)) return false;
        }
        __threadfence();
        // Batches keep several loads in flight without holding a second copy of the tile.
        constexpr int kBatch = kVectors < 4 ? kVectors : 4;
#pragma unroll(kUnroll)
        for (int i = 0; i < kVectors; i += kBatch) {
            float4 sum[kBatch];
#pragma unroll
            for (int j = 0; j < kBatch; ++j) sum[j] = make_float4(0.f, 0.f, 0.f, 0.f);
            for (uint32_t c = first; c <= last; ++c) {
                const float4* from = part(c, lane) + i * 32;
                float4 v[kBatch];
#pragma unroll
                for (int j = 0; j < kBatch; ++j) v[j] = c == cta ? get(i + j) : __ldcg(from + j * 32);
#pragma unroll
                for (int j = 0; j < kBatch; ++j) {
                    sum[j].x += v[j].x;
                    sum[j].y += v[j].y;
                    sum[j].z += v[j].z;
                    sum[j].w += v[j].w;
                }
            }
#pragma unroll
            for (int j = 0; j < kBatch; ++j) put(i + j, sum[j]);
        }
        return true;
    }

    // As above of sums in registers.
    __device__ __forceinline__ bool reduce(float4* acc, uint64_t peeked, uint32_t lane) const {
        return reduce<kVectors>(peeked, lane, [&](int i) { return acc[i]; }, [&](int i, const float4& v) { acc[i] = v; });
    }

    // As above of sums in shared memory, 512 bytes from a lane's one to its next: one copy of the code, however many.
    __device__ __forceinline__ bool reduce(uint32_t sums, uint64_t peeked, uint32_t lane) const {
        return reduce<1>(
            peeked, lane, [&](int i) { return lds_float4(sums + i * 512); },
            [&](int i, const float4& v) { sts128(sums + i * 512, bits(v)); });
    }
};

}  // namespace fl
