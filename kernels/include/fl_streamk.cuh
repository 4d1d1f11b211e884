// SPDX-License-Identifier: Apache-2.0
// Stream-K: the (row group, K block) units of a product form one line, cut into `parts` pieces a row group;
// the pieces are dealt to the CTAs in order and as evenly as they go, the first ones have one more. One piece
// for every unit gives every SM the same work whatever the shape; one piece a group, where the groups happen to
// fit the SMs, needs no sums across CTAs. A row tile that is cut belongs to several CTAs; each stores its fp32
// partial, and the warp that arrives last adds all of them in K order. The sum never depends on who is last: same
// bits every run. Nobody waits for anybody.
//
// Arrivals are counted in 64-bit words of the caller's workspace that nobody has to clear: the upper 48 bits of a word
// that counts are this launch's nonce, which prepare_counters() sees to before a CTA's first part. The last warp leaves
// zero, so that a captured launch can be replayed with the same nonce.
//
// A CTA works along K from the end of one row tile into the next, so the part that it begins with is
// published while the others are busy, and the part that it ends with usually finds all others there.
#pragma once

#include "fl_epilogue.cuh"
#include "fl_params.h"
#include "fl_ptx.cuh"

namespace fl {

// Divisions were a third of a microsecond of what a launch takes until it asks for its first bytes. Here the host has prepared them.
__device__ __forceinline__ uint32_t divided(uint32_t n, const FlDivisor& by) {
    return static_cast<uint32_t>(static_cast<uint64_t>(n) * by.magic >> by.shift);
}

// The row group of a unit, and its block along K.
__device__ __forceinline__ uint32_t group_of(const FlSpmmParams& p, uint32_t unit) { return divided(unit, p.by_k_blocks); }
__device__ __forceinline__ uint32_t block_of(const FlSpmmParams& p, uint32_t unit) { return unit - group_of(p, unit) * p.k_blocks; }

struct StreamK {
    const FlSpmmParams& p;
    uint32_t groups, ctas;

    __device__ __forceinline__ StreamK(const FlSpmmParams& params, uint32_t row_groups) : p(params), groups(row_groups), ctas(gridDim.x) {}

    __device__ __forceinline__ uint32_t first_unit(uint32_t cta) const {
        const uint32_t part = first_part(cta), group = divided(part, p.by_parts), i = part - group * p.parts;
        return group * p.k_blocks + i * p.piece + min(i, p.piece_rest);
    }
    __device__ __forceinline__ uint32_t first_part(uint32_t cta) const { return cta * p.share + min(cta, p.share_rest); }
    // Whether any row group belongs to several CTAs.
    __device__ __forceinline__ bool cuts() const { return p.share_rest != 0 || p.share != divided(p.share, p.by_parts) * p.parts; }
    // The words of a row group in whose sums `warps` warps of a CTA take part.
    __device__ __forceinline__ unsigned long long* counters(uint32_t slice, uint32_t group, uint32_t warps) const {
        return reinterpret_cast<unsigned long long*>(p.counters) + (static_cast<uint64_t>(slice) * groups + group) * warps;
    }
    // The CTA that computes a part.
    __device__ __forceinline__ uint32_t owner(uint32_t part) const {
        const uint32_t large = p.share_rest * (p.share + 1);
        return part < large ? part / (p.share + 1) : p.share_rest + (part - large) / p.share;
    }
};

// Makes words of the row groups that a CTA may have in part, its first and its last, count for this launch: those of `count` of
// `warps` warps, from `warp` on. By one warp, where the workspace is free (wait_for_earlier_work()), and before any of these stores
// a part.
__device__ __forceinline__ void prepare_counters(const StreamK& line, uint32_t slice, uint32_t warp, uint32_t count, uint32_t warps, uint32_t lane) {
    const uint32_t begin = line.first_unit(blockIdx.x), end = line.first_unit(blockIdx.x + 1);
    if (begin < end && line.cuts()) {
        const uint32_t first = group_of(line.p, begin), last = group_of(line.p, end - 1);
        for (uint32_t i = lane; i < (first == last ? count : 2 * count); i += 32) {
            unsigned long long* word = line.counters(slice, i < count ? first : last, warps) + warp + (i < count ? i : i - count);
            // The last launch left zero. What others left has another nonce; whoever of this launch comes first takes it away.
            const uint64_t seen = atomicCAS(word, 0, line.p.nonce);
            if (seen != 0 && (seen ^ line.p.nonce) >> 16 != 0) atomicCAS(word, seen, line.p.nonce);
        }
    }
    __syncwarp();
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// As above those of all warps, whose Parts wait for it at mbarrier `ready`.
__device__ __forceinline__ void prepare_counters(const StreamK& line, uint32_t slice, uint32_t warps, uint32_t lane, uint32_t ready) {
    prepare_counters(line, slice, 0, warps, warps, lane);
    mbar_arrive(ready);
}
#endif

// By value: ?: would choose between addresses and put the accumulators into local memory.
__device__ __forceinline__ float4 select(bool first, float4 a, float4 b) {
    return make_float4(first ? a.x : b.x, first ? a.y : b.y, first ? a.z : b.z, first ? a.w : b.w);
}

__device__ __forceinline__ void plus(float4& sum, const float4& v) {
    sum.x += v.x;
    sum.y += v.y;
    sum.z += v.z;
    sum.w += v.w;
}

// One row tile's parts, or those of a piece of it that a warp sums: CTAs first..last. `warps` warps of a CTA sum
// something, this one `warp`. begin() comes before everything else. `ready`: the mbarrier whose first phase ends when its words
// are prepared, or 0 if they are already.
template <int kVectors>
struct Parts {
    const FlSpmmParams& p;
    const StreamK& line;
    const uint32_t cta, warp, warps, slice, ready;
    uint32_t first, last, first_index;
    unsigned long long* counter;

    __device__ __forceinline__ Parts(const FlSpmmParams& params, const StreamK& stream, uint32_t this_cta,
                                     uint32_t this_warp, uint32_t all_warps, uint32_t n_slice, uint32_t ready_barrier = 0)
        : p(params), line(stream), cta(this_cta), warp(this_warp), warps(all_warps), slice(n_slice), ready(ready_barrier) {}

    // Goes to a row group.
    __device__ __forceinline__ void begin(uint32_t group) {
        const uint32_t part = group * p.parts;
        first = line.owner(part);
        last = line.owner(part + p.parts - 1);
        // A CTA has at most two incomplete tiles a warp: in the group of its first unit (0), in its last (1).
        first_index = line.first_part(first) < part ? 1 : 0;
        counter = line.counters(slice, group, warps) + warp;
    }

    __device__ __forceinline__ float4* part(uint32_t c, uint32_t lane) const {
        const uint32_t index = c * 2 + (c == first ? first_index : 0);
        const uint64_t at = (static_cast<uint64_t>(slice) * line.ctas * 2 + index) * warps + warp;
        return reinterpret_cast<float4*>(p.partials) + at * kVectors * 32 + lane;
    }

    // Counts this part, which is stored, by one lane; true if all other parts were there before.
    __device__ __forceinline__ bool count() const {
        // Releases what has been stored, and acquires the other parts.
        uint64_t before;
        asm volatile("atom.acq_rel.gpu.global.add.u64 %0, [%1], 1;" : "=l"(before) : "l"(counter) : "memory");
        const bool complete = (before & 0xffff) == last - first;
        if (complete) *reinterpret_cast<volatile unsigned long long*>(counter) = 0;
        return complete;
    }

    // As count(), by a warp.
    __device__ __forceinline__ bool arrive(uint32_t lane) const {
        __syncwarp();
        uint32_t complete = 0;
        if (lane == 0) complete = count();
        // All lanes read what lane 0 has acquired.
        __syncwarp();
        return __shfl_sync(~0u, complete, 0);
    }

    // Stores this part, whose vectors `get` gives.
    template <int kUnroll, typename Get>
    __device__ __forceinline__ void store(uint32_t lane, Get get) const {
        float4* mine = part(cta, lane);
#pragma unroll(kUnroll)
        for (int i = 0; i < kVectors; ++i) __stcg(mine + i * 32, get(i));
    }

    // Stores this part and counts it; true if all other parts were there before.
    template <int kUnroll, typename Get>
    __device__ __forceinline__ bool publish(uint32_t lane, Get get) const {
        store<kUnroll>(lane, get);
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
        if (ready != 0) mbar_wait(ready, 0);
#endif
        return arrive(lane);
    }

    // Adds all parts in CTA order to this warp's own, which `get` and `put` access by vector; true if this warp is the
    // last and shall store the tile.
    template <int kUnroll, typename Get, typename Put>
    __device__ __forceinline__ bool reduce(uint32_t lane, Get get, Put put) const {
        if (first == last) return true;
        if (!publish<kUnroll>(lane, get)) return false;
        sum<kUnroll>(lane, get, put);
        return true;
    }

    // The sum alone.
    template <int kUnroll, typename Get, typename Put>
    __device__ __forceinline__ void sum(uint32_t lane, Get get, Put put) const {
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
                for (int j = 0; j < kBatch; ++j) plus(sum[j], v[j]);
            }
#pragma unroll
            for (int j = 0; j < kBatch; ++j) put(i + j, sum[j]);
        }
    }

    // As above of sums in registers.
    __device__ __forceinline__ bool reduce(float4* acc, uint32_t lane) const {
        return reduce<kVectors>(lane, [&](int i) { return acc[i]; }, [&](int i, const float4& v) { acc[i] = v; });
    }

    // All parts in CTA order, this warp's own among them, kTogether vectors of each asked for at once: where so many registers
    // are sums that few are left for the parts.
    template <int kTogether>
    __device__ __forceinline__ void sum_stored(float4* acc, uint32_t lane) const {
        static_assert(kVectors % kTogether == 0);
#pragma unroll
        for (int i = 0; i < kVectors; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll 1
        for (uint32_t c = first; c <= last; ++c) add_stored<kTogether>(acc, c, lane);
    }

    template <int kTogether>
    __device__ __forceinline__ void add_stored(float4* acc, uint32_t c, uint32_t lane) const {
        const float4* from = part(c, lane);
#pragma unroll
        for (int i = 0; i < kVectors; i += kTogether) {
            float4 v[kTogether];
#pragma unroll
            for (int j = 0; j < kTogether; ++j) v[j] = __ldcg(from + (i + j) * 32);
#pragma unroll
            for (int j = 0; j < kTogether; ++j) plus(acc[i + j], v[j]);
        }
    }

    // As above of sums in shared memory, 512 bytes from a lane's one to its next: one copy of the code, however many.
    __device__ __forceinline__ bool reduce(uint32_t sums, uint32_t lane) const {
        return reduce<1>(
            lane, [&](int i) { return lds_float4(sums + i * 512); },
            [&](int i, const float4& v) { sts128(sums + i * 512, bits(v)); });
    }
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// What the warps of a CTA that sum and the one that counts for them tell each other: mbarriers, but for `complete`.
struct Counting {
    uint32_t ready;     // the counters are prepared
    uint32_t stored;    // the part that this CTA begins with is stored by all warps
    uint32_t counted;   // and counted
    uint32_t complete;  // + 4 * warp: whether that warp's was the last one

    // At `at`, of up to 16 warps.
    static constexpr uint32_t kBytes = 3 * 8 + 16 * 4;
    __device__ __forceinline__ explicit Counting(uint32_t at) : ready(at), stored(at + 8), counted(at + 16), complete(at + 24) {}

    // By one lane, before anybody uses any of it.
    __device__ __forceinline__ void init(uint32_t warps) const {
        mbar_init(ready, kWarpLanes);
        mbar_init(stored, kWarpLanes * warps);
        mbar_init(counted, kWarpLanes);
    }
};

// Counts for the `warps` warps of a CTA that sum, `per_tile` of a row tile, the part that it begins with, so that none of them waits
// with work to do: an addition that releases what is stored takes thousands of clocks while memory is busy. Behind prepare_counters().
__device__ __forceinline__ void count_parts(const StreamK& line, uint32_t slice, uint32_t warps, uint32_t per_tile, uint32_t lane,
                                            const Counting& at) {
    const uint32_t begin = line.first_unit(blockIdx.x), end = line.first_unit(blockIdx.x + 1);
    const FlSpmmParams& p = line.p;
    const uint32_t group = group_of(p, begin);
    if (begin == group * p.k_blocks || (group + 1) * p.k_blocks >= end) return;
    Parts<1> parts(p, line, blockIdx.x, lane, warps, slice);
    parts.begin(group);
    mbar_wait(at.stored, 0);
    const uint32_t there = min(p.group_tiles, p.row_tiles - group * p.group_tiles) * per_tile;
    if (lane < warps) sts32(at.complete + 4 * lane, lane < there && parts.count());
    mbar_arrive(at.counted);
}
#endif

}  // namespace fl
