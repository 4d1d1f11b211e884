// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C of formats that are fragments of wgmma's A (Banked, Bitmap), 16-bit in, fp32 accumulation,
// Hopper. Load as sparse, compute as dense: every warp makes A's fragments in registers, and wgmma takes B as it lies.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)). A row group is T = p.group_tiles tiles of 64 rows, at most four, of 160 and 192 columns
//           three and of 224 and 256 two; a warpgroup multiplies each, 16 rows a warp. One warp copies A, one B, one counts the parts of
//           row groups, one has nothing to do: a whole warpgroup gives registers to those that multiply. The units (row group, block of
//           256 columns) are dealt to the CTAs (fl_streamk.cuh); a CTA walks its units along K, then on to the next group. Where a row
//           group is one part each of two CTAs, the kernels for pairs take these as a cluster, and nothing goes by way of the workspace
//           (fl_pair.cuh).
// Shared:   [0, 1024)   mbarriers: full[] and empty[] of B, full[T W][slots] of A, from kEmpty on empty[T W][slots]; at the end
//                       Counting, or Pair
//           [1024, ..)  B ring, pieces of 8*NT columns x 128 of K in two halves, from 192 columns on x 64, swizzled by TMA
//           [.., ..)    A ring, T W x slots x slot_bytes: blocks exactly as stored; at the end of a row group a tile's last block
//                       gives its slot to the sums, kSums bytes a warp. What the other CTA of a pair gives comes into the B ring
//           All of it begins at the first multiple of 1024, as the swizzle wants.
// Pipeline: warp A      slot free: next block of that tile | ...    the first of a tile comes by one of its warps
//           warp B      piece free: next piece | ...
//           warpgroup   wait A | words of steps 0..3 -> registers | wait B | wgmma 0..3 | steps 4..7 -> other registers | wgmma
//                       4..7 | 0..3 done? next words -> their registers | ...
//           The part that a CTA begins with is stored and counted while it goes on to the next row group (NT < 12).
//           While the wgmma of four steps are at work, or of two with NT >= 12, the registers of the next ones are filled.
// Sliced-K: the second mapping, for matrices of which every CTA has one piece of one row group, NT <= 8. Four warpgroups share T = 1 or 2
//           row tiles: of the blocks along K the w-th of a tile's takes each W-th from the w-th on, W = 4 / T (otherwise 1). Each has
//           a ring of A, and of B's 2 W pieces, or 4 W where they are small, its own two in turn. In the end their sums go to where B was, and
//           a tile's first warpgroup adds them up in order: what CTAs need not share does not go by way of the workspace, and all warps
//           have work where there are few row tiles.
// A format:  `Streams`, made of a block in shared memory, of a section and a lane, gives the registers of steps in turn.
// Assumes:  of the format, what validate() checks; `map` is of B, 64 of K x 8*NT columns a box, 128-byte swizzle;
//           slot_bytes >= the largest block, with what its streams may be read beyond it, and 4 kSums; T * W * slots <= 32; a pair is two
//           CTAs, side by side along x, that have a part each of one row group.
#pragma once

#include "fl_a_ring.cuh"
#include "fl_banked.cuh"
#include "fl_pair.cuh"
#include "fl_wgmma.cuh"

namespace fl {

using banked::kSectionRows;
using banked::kSteps;
using banked::kTileCols;
using banked::kTileRows;

constexpr uint32_t kAlign = 1024;
constexpr uint32_t kWarps = 4;    // that share a tile
constexpr uint32_t kSums = 2048;
constexpr uint32_t kSlicesBarrier = 6;  // of all that multiply; 1 to 4 are those of row tiles
constexpr int kLoading = 32;  // registers of a thread that loads

template <int NT>
struct Geometry {
    // At most: more have not the registers for their sums.
    static constexpr int kTiles = NT >= 28 ? 2 : NT >= 20 ? 3 : 4;
    static constexpr int kThreads = (kTiles + 1) * 128;
    // Registers of a thread that multiplies: what those that load leave of their share.
    static constexpr int kMultiplying = NT >= 28 ? 232 : NT >= 20 ? 160 : 112;
    // Of B: 128 of K each, or 64 where there is room for two of 128, of which one would be on its way at a time.
    static constexpr uint32_t kPieceSteps = NT >= 24 ? 4 : 8;
    static constexpr uint32_t kPieces = NT >= 12 && NT < 24 ? 3 : 4;
    static constexpr uint32_t kPieceCols = kPieceSteps * 16;
    static constexpr uint32_t kPieceHalf = NT * 8 * kWgmmaRow;
    static constexpr uint32_t kPieceBytes = kPieceSteps / 4 * kPieceHalf;
    static constexpr uint32_t kTogether = NT >= 12 ? 2 : 4;  // steps of A whose wgmma are one group
    // Whether sums leave registers for a part's beside them: then a warp of its own counts parts, and two parts are added in registers.
    static constexpr bool kHasRoom = NT < 12;
};

// What sliced-K changes.
template <int NT, bool kSliced>
struct Slicing {
    // Bits of W.
    static __device__ __forceinline__ uint32_t bits(const FlSpmmParams& p) { return kSliced ? 3 - p.group_tiles : 0; }
    // Blocks of each whose B has room.
    static __device__ __forceinline__ uint32_t turns(uint32_t bits) { return NT << bits <= 8 ? 2 : 1; }
    static __device__ __forceinline__ uint32_t pieces(uint32_t bits) { return kSliced ? 2 * turns(bits) << bits : Geometry<NT>::kPieces; }
    static constexpr uint32_t kMostPieces = !kSliced ? Geometry<NT>::kPieces : NT <= 2 ? 16 : 8;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Brings B. By one lane.
template <int NT>
__device__ __forceinline__ void load_b(const FlSpmmParams& p, const FlTensorMap& map, const ABRings& at, uint32_t unit0, uint32_t unit1,
                                       uint32_t n0) {
    using G = Geometry<NT>;
    uint32_t k = block_of(p, unit0) * kTileCols, bar = at.b_full, to = at.b, phase = 1;
    wait_for_earlier_work();
#pragma unroll 1
    for (uint32_t pieces = (unit1 - unit0) * (kTileCols / G::kPieceCols); pieces > 0; --pieces) {
        mbar_wait(bar + 8 * G::kPieces, phase);
        mbar_expect_tx(bar, G::kPieceBytes);
        // What lies beyond K or N comes as zeros.
#pragma unroll
        for (uint32_t at64 = 0; at64 < G::kPieceCols; at64 += 64) tensor_load(to + at64 / 64 * G::kPieceHalf, map, k + at64, n0, bar);
        bar += 8;
        to += G::kPieceBytes;
        if (bar == at.b_empty) {
            bar = at.b_full;
            to = at.b;
            phase ^= 1;
        }
        k += G::kPieceCols;
        if (k == p.k_blocks * kTileCols) k = 0;
    }
}

// As above for sliced-K, a lane for each warpgroup that shares a tile: none waits for another one's pieces.
template <int NT>
__device__ __forceinline__ void load_b_sliced(const FlSpmmParams& p, const FlTensorMap& map, const ABRings& at, uint32_t unit0, uint32_t unit1,
                                              uint32_t n0, uint32_t lane) {
    using G = Geometry<NT>;
    using S = Slicing<NT, true>;
    const uint32_t bits = S::bits(p), ways = 1u << bits;
    uint32_t unit = lane < ways ? unit0 + lane : unit1, k = (block_of(p, unit0) + lane) * kTileCols;
    uint32_t bar = at.b_full + 16 * lane, to = at.b + 2 * lane * G::kPieceBytes, phase = 1, half = 0;
    int turn = S::turns(bits) == 1 ? 0 : static_cast<int>(2 * ways);
    wait_for_earlier_work();
    while (__any_sync(~0u, unit < unit1)) {
        if (unit < unit1 && mbar_test(bar + 8 * S::kMostPieces, phase)) {
            in_turn([&] {
                mbar_expect_tx(bar, G::kPieceBytes);
                tensor_load(to, map, k, n0, bar);
                tensor_load(to + G::kPieceHalf, map, k + G::kPieceCols / 2, n0, bar);
            });
            const int step = half == 0 ? 1 : turn - 1;
            bar += 8 * step;
            to += step * static_cast<int>(G::kPieceBytes);
            k += G::kPieceCols;
            if (half == 1) {
                turn = -turn;
                phase ^= turn >= 0;
                unit += ways;
                k += (ways - 1) * kTileCols;
            }
            half ^= 1;
        }
    }
}
#endif

template <int NT, typename Streams, bool kSliced = false, bool kPair = false>
__device__ __forceinline__ void multiply_fragments(const FlSpmmParams& p, const FlTensorMap& map) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using G = Geometry<NT>;
    using S = Slicing<NT, kSliced>;
    constexpr bool kCounted = G::kHasRoom && !kSliced && !kPair;
    let_dependents_begin();
    extern __shared__ __align__(kAlign) unsigned char smem[];
    const uint32_t base = kept((smem_addr(smem) + kAlign - 1) & ~(kAlign - 1));
    const uint32_t warp = warp_number(), lane = threadIdx.x % 32;
    const uint32_t way_bits = S::bits(p), ways = 1u << way_bits, summing = p.group_tiles * kWarps, consumers = summing << way_bits;
    ABRings at(base, S::kMostPieces);
    const Counting counting(base + kBarrierBytes - Counting::kBytes);
    const Pair pair(base + kBarrierBytes - Pair::kBytes);
    static_assert(16 * S::kMostPieces + 2 * kEmpty + Pair::kBytes <= kBarrierBytes);
    at.a = at.b + S::pieces(way_bits) * G::kPieceBytes;
    const uint32_t slice = blockIdx.y, n0 = slice * (NT * 8);
    const StreamK line(p, (p.row_tiles + p.group_tiles - 1) / p.group_tiles);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    const uint32_t ring = warp / kWarps, section = warp % kWarps;
    const uint32_t a_full = at.a_full + 8 * p.a_slots * ring;
    LoadA load_a(p, unit0, unit1, way_bits);
    if (warp == consumers) {
        if (lane == 0) {
            for (uint32_t i = 0; i < S::kMostPieces; ++i) {
                mbar_init(at.b_full + 8 * i, 1);
                mbar_init(at.b_empty + 8 * i, kWarpLanes * summing);
            }
            mbar_init_fence();
        }
    } else if (warp == consumers + 1) {
        // A pair counts nothing: what it needs lies in the same place.
        if (!kPair && lane == 0) counting.init(summing);
        mbar_init_fence();
    } else if (warp < consumers) {
        if (section == 0) {
            load_a.first(at, ring, lane);
        } else if (section == 1 && lane < p.a_slots) {
            mbar_init(a_full + kEmpty + 8 * lane, kWarpLanes * kWarps);
            mbar_init_fence();
        }
        if constexpr (kPair) pair.init(warp, lane);
    }
    __syncwarp();
    __syncthreads();
    if constexpr (kPair) cluster_arrive_relaxed();
    if (warp >= consumers) {
        give_registers<kLoading>();
        if (warp == consumers) {
            load_a.run(at, lane);
        } else if (warp == consumers + 1) {
            if constexpr (kSliced)
                load_b_sliced<NT>(p, map, at, unit0, unit1, n0, lane);
            else if (lane == 0)
                load_b<NT>(p, map, at, unit0, unit1, n0);
        } else if (warp == consumers + 2) {
            wait_for_earlier_work();
            if constexpr (!kPair) prepare_counters(line, slice, summing, lane, counting.ready);
            if constexpr (kCounted) count_parts(line, slice, summing, kWarps, lane, counting);
        }
        return;
    }
    take_registers<G::kMultiplying>();
    if constexpr (kPair) cluster_wait();

    float4 acc[NT];
    auto clear = [&] {
#pragma unroll
        for (int i = 0; i < NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
    };
    clear();
    uint32_t a[2][4 * G::kTogether];
    // Where this unit's barriers, A and B are: numbers of slots would have to be multiplied in every unit.
    uint32_t a_bar = a_full, block = at.a + ring * p.a_slots * p.slot_bytes, a_phase = 0, slots_left = p.a_slots;
    const uint32_t way = load_a.way(ring), r = load_a.row(ring), summer = kSliced ? r * kWarps + section : warp;
    uint32_t b_bar = at.b_full + 16 * way, b_phase = 0, freed = 0;
    auto next_slot = [&] {
        a_bar += 8;
        block += p.slot_bytes;
        if (--slots_left == 0) {
            slots_left = p.a_slots;
            a_bar -= 8 * slots_left;
            block -= slots_left * p.slot_bytes;
            a_phase ^= 1;
        }
    };
    // The pieces' distance; it never carries into the descriptor's other half.
    constexpr uint32_t kStep = G::kPieceBytes >> 4;
    uint64_t b = wgmma_descriptor_k_major(at.b) + 2 * way * kStep;
    // Pieces from a block's to those of the warpgroup's next one, and back again; none if it waits for the same ones.
    int turn = S::turns(way_bits) == 1 ? 0 : static_cast<int>(2 * ways);
    auto free_piece = [&] {
        if (freed != 0) mbar_arrive(freed);
        freed = 0;
    };
    constexpr int kAdded = NT > 12 ? NT % 4 == 0 ? 4 : 7 : NT;  // vectors of a part that are asked for at once
    auto row_of = [&](uint32_t tile) { return tile * kTileRows + section * kSectionRows; };
    // What follows from the lane or the warp would be kept through the loop, for which 128 columns leave no register.
    auto lane_now = [&] { return NT < 16 ? lane : kept(lane); };
    auto warp_now = [&] { return NT < 16 ? warp : kept(warp); };
    Parts<NT> parts(p, line, blockIdx.x, summer, summing, slice, counting.ready);
    // With sliced-K all units are of one row group. A warpgroup may have none of them, but not a tile's first. Numbers of units in uniform
    // registers, as the compiler would have them, are up to 15 instructions more in the loop.
    for (uint32_t unit = kept(unit0 + way), group = group_of(p, unit0); unit < unit1 || way != 0; ++group) {
        const uint32_t tile = group * p.group_tiles + r, end = min(unit1, (group + 1) * p.k_blocks);
        const uint32_t row0 = row_of(tile);
        const bool there = tile < p.row_tiles;
        for (; unit < end; unit += ways) {
            const bool last = kSliced ? unit + ways >= end : unit + 1 == end;
            if (last && way == 0) prefetch_end<kSectionRows, NT * 8>(p, row0, n0, lane);
            mbar_wait(a_bar, a_phase);
            Streams streams = there ? Streams(block, section, lane) : Streams::none(block);
#pragma unroll
            for (uint32_t half = 0; half < 2; ++half) {
#pragma unroll
                for (uint32_t first = 0; first < kSteps; first += G::kTogether) {
                    uint32_t(&these)[4 * G::kTogether] = a[first / G::kTogether % 2];
                    streams.template steps<G::kTogether>(these, half, first);
                    const uint32_t piece = kSliced ? half : 0;
                    if (first % G::kPieceSteps == 0) mbar_wait(b_bar + 8 * piece, b_phase);
                    // The last block of a row group gives its slot back when the sums were there.
                    const bool read = half == 1 && first + G::kTogether == kSteps;
                    if (read && !last) mbar_arrive(a_bar + kEmpty);
                    wgmma_fence();
#pragma unroll
                    for (uint32_t i = 0; i < G::kTogether; ++i) {
                        const uint32_t step = (first + i) % G::kPieceSteps;
                        wgmma_k16<NT>(acc, these + 4 * i, b + piece * kStep + ((step / 4 * G::kPieceHalf + step % 4 * 32) >> 4));
                    }
                    wgmma_commit();
                    // Those of the steps before are over, whose registers are the next ones'.
                    wgmma_wait<1>();
                    if (first % G::kPieceSteps == 0) free_piece();
                    if ((first + G::kTogether) % G::kPieceSteps != 0) continue;
                    freed = b_bar + 8 * piece + 8 * S::kMostPieces;
                    if constexpr (!kSliced) {
                        b_bar += 8;
                        b += kStep;
                        if (b_bar == at.b_empty) {
                            b_bar = at.b_full;
                            b -= G::kPieces * kStep;
                            b_phase ^= 1;
                        }
                    }
                }
            }
            if constexpr (kSliced) {
                b_bar += 8 * turn;
                b += turn * static_cast<int>(kStep);
                turn = -turn;
                b_phase ^= turn >= 0;
            }
            if (!last) next_slot();
        }
        wgmma_wait<0>();
        free_piece();
#pragma unroll
        for (int i = 0; i < NT; ++i) wgmma_read(acc[i]);
        if constexpr (kSliced) {
            // Nobody reads B any more: it is where a ring's sums go, those of the tile's first alone stay in registers.
            constexpr uint32_t kRing = kWarps * NT * 512;
            named_barrier(kSlicesBarrier, consumers * 32);
            if (way != 0) {
#pragma unroll
                for (int i = 0; i < NT; ++i) sts128(at.b + ring * kRing + section * (NT * 512) + i * 512 + lane * 16, bits(acc[i]));
            }
            // What the other CTA gives goes where the sums of a tile's first warpgroup would be: those of others are still read.
            if (kPair && way == 0 && lane == 0) pair.offer_room(warp);
            named_barrier(kSlicesBarrier, consumers * 32);
            if (way != 0) return;
#pragma unroll 1
            for (uint32_t other = ring + 1; other < ring + ways; ++other) {
#pragma unroll
                for (int i = 0; i < NT; ++i) plus(acc[i], lds_float4(at.b + other * kRing + section * (NT * 512) + i * 512 + lane * 16));
            }
        }
        // Before the loop it would take registers that it needs.
        if constexpr (!kPair) parts.begin(group);
        auto mine = [&](int i) { return acc[i]; };
        bool complete = there, more = false;
        using H = Share<NT, kPair>;
        constexpr uint32_t kExchanged = (kSliced ? NT : H::kHalf) * 512;
        static_assert(G::kTiles * kWarps * kExchanged <= G::kPieces * G::kPieceBytes);
        if constexpr (kPair) {
            const uint32_t here = warp_now();
            if constexpr (!kSliced) {
                // Nobody reads B any more: what the other CTA gives goes there.
                named_barrier(1, summing * 32);
                if (lane_now() == 0) pair.offer_room(here);
            }
            H::exchange(acc, pair, here, at.b + here * kExchanged + lane_now() * 16, lane_now());
        } else if (kCounted && unit != unit1 && parts.first != parts.last) {
            // The end of what another CTA began: nobody waits here until it is counted.
            if (there) parts.template store<NT>(lane, mine);
            mbar_arrive(counting.stored);
            complete = false;
        } else {
            // All four have read the block.
            named_barrier(1 + r, kWarps * 32);
            if (there && parts.first != parts.last) {
                complete = parts.template publish<NT>(lane_now(), mine);
                const bool two = G::kHasRoom && parts.first + 1 == parts.last;
                if (complete && two)
                    parts.template add_stored<kAdded>(acc, parts.first == blockIdx.x ? parts.last : parts.first, lane);
                // Of few columns all vectors of a part are asked for at once; more would take too many registers.
                else if (complete && NT < 6)
                    parts.template sum<NT>(lane, mine, [&](int i, const float4& v) { acc[i] = v; });
                else if (complete)
                    parts.template sum_stored<kAdded>(acc, lane_now());
            }
            // In the end also the part that this CTA began with, if nobody came later.
            const uint32_t begin = line.first_unit(blockIdx.x);
            more = kCounted && unit == unit1 && block_of(p, begin) != 0 && group_of(p, begin) != group;
        }
        for (uint32_t row = row0;;) {
            constexpr int kAtOnce = NT < 4 ? NT : NT % 4 == 0 ? 4 : NT % 3 == 0 ? 3 : 2;
            static_assert(kAtOnce * 512 <= kSums);
            const uint32_t sums = block + section * kSums, columns = n0 + H::first() * 8, stored = H::count();
            if (complete)
                store_sums<NT, kPair ? H::kHalf : NT, kAtOnce>(p, acc, stored, sums, lane, row, columns);
            if (!more) break;
            more = false;
            const uint32_t of = group_of(p, line.first_unit(blockIdx.x));
            mbar_wait(counting.counted, 0);
            complete = lds32(counting.complete + 4 * summer);
            parts.begin(of);
            if (complete) parts.template sum_stored<kAdded>(acc, lane_now());
            row = row_of(of * p.group_tiles + r);
        }
        // That was the only row group.
        if constexpr (kSliced || kPair) return;
        clear();
        // What comes into the slot next is written by another proxy.
        fence_proxy_async();
        mbar_arrive(a_bar + kEmpty);
        next_slot();
    }
#endif
}

}  // namespace fl

// The kernels of a format whose Streams are fl::FORMAT::Streams: NT of each, those of sliced-K, each also for two CTAs that are a cluster,
// and those that also take products of a group, each with columns of its own number.
#define FL_FRAGMENTS_KERNEL(FORMAT, NT, SUFFIX, SLICED, PAIR)                                                          \
    extern "C" __global__ void __launch_bounds__(fl::Geometry<NT>::kThreads, 1)                                        \
        FL_ENTRY(fl_spmm_##FORMAT##_, _n##NT##SUFFIX)(const __grid_constant__ FlSpmmParams p, const __grid_constant__ FlTensorMap map) { \
        fl::multiply_fragments<NT, fl::FORMAT::Streams, SLICED, PAIR>(p, map);                                         \
    }

#define FL_FRAGMENTS(FORMAT, NT)                                                                                       \
    FL_FRAGMENTS_KERNEL(FORMAT, NT, _sm90, false, false)                                                               \
    FL_FRAGMENTS_KERNEL(FORMAT, NT, _sm90_pair, false, true)

#define FL_FRAGMENTS_SLICED(FORMAT, NT)                                                                                \
    FL_FRAGMENTS_KERNEL(FORMAT, NT, _slicedk_sm90, true, false)                                                        \
    FL_FRAGMENTS_KERNEL(FORMAT, NT, _slicedk_sm90_pair, true, true)

#define FL_FRAGMENTS_GROUP(FORMAT, NT)                                                                                 \
    extern "C" __global__ void __launch_bounds__(fl::Geometry<NT>::kThreads, 1)                                        \
        FL_ENTRY(fl_spmm_##FORMAT##_, _n##NT##_sm90_group)(const __grid_constant__ FlSpmmMappedGroup g) {              \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                                       \
        if (blockIdx.y * (NT * 8) < p.n) fl::multiply_fragments<NT, fl::FORMAT::Streams>(p, g.maps[blockIdx.z]);       \
    }

#define FL_FRAGMENTS_ALL(FORMAT)                                                                                       \
    FL_FRAGMENTS(FORMAT, 1)                                                                                            \
    FL_FRAGMENTS(FORMAT, 2)                                                                                            \
    FL_FRAGMENTS(FORMAT, 4)                                                                                            \
    FL_FRAGMENTS(FORMAT, 6)                                                                                            \
    FL_FRAGMENTS(FORMAT, 8)                                                                                            \
    FL_FRAGMENTS(FORMAT, 12)                                                                                           \
    FL_FRAGMENTS(FORMAT, 14)                                                                                           \
    FL_FRAGMENTS(FORMAT, 16)                                                                                           \
    FL_FRAGMENTS(FORMAT, 20)                                                                                           \
    FL_FRAGMENTS(FORMAT, 24)                                                                                           \
    FL_FRAGMENTS(FORMAT, 28)                                                                                           \
    FL_FRAGMENTS(FORMAT, 32)                                                                                           \
    FL_FRAGMENTS_SLICED(FORMAT, 1)                                                                                     \
    FL_FRAGMENTS_SLICED(FORMAT, 2)                                                                                     \
    FL_FRAGMENTS_SLICED(FORMAT, 4)                                                                                     \
    FL_FRAGMENTS_SLICED(FORMAT, 6)                                                                                     \
    FL_FRAGMENTS_SLICED(FORMAT, 8)                                                                                     \
    FL_FRAGMENTS_GROUP(FORMAT, 2)                                                                                      \
    FL_FRAGMENTS_GROUP(FORMAT, 8)
