// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Slots, 16-bit in, fp32 accumulation, Hopper.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)). A row group is R = p.group_tiles tiles of 32 rows. Two consumer
//           warps share a tile: one takes the four steps of a block whose values are in the low halves, the other
//           those in the high ones; overflow rounds they take in turn, two at a time, and which of them begins
//           changes with the block. One more warp copies A, one to three bring B. Where NT >= 3, R is even and there are
//           four, some idle: whole warpgroups give registers to those that multiply. The units (row group, block of 256
//           columns) are dealt to the CTAs (fl_streamk.cuh); a CTA walks its units along K, then on to the next row group. Where a row group is one
//           part each of two CTAs, the kernels for pairs take these as a cluster (fl_pair.cuh).
// Shared:   [0, 1024)   mbarriers: full[] and empty[] of B, full[R][slots] of A, from kEmpty on empty[R][slots]; at the end Counting, or Pair
//           [1024, ..)  B ring, stages of NT planes: 256 rows of K x 8 columns of N
//           [.., ..)    where NT is 3 or 4, raw B ring: stages of 8*NT rows of N x 128 of K, 16 bytes apart
//           [.., ..)    scratch, kRoundsTile a consumer warp: A of two rounds of overflow, and at the end of a row
//                       group the sums that the two warps of a tile exchange, kExchange vectors at a time
//           [.., ..)    A ring, R x slots x slot_bytes: blocks exactly as stored
// Pipeline: warp A   slot free: next block of that tile | ...    the first of a tile comes by one of its warps
//           warp B   load B 0 | stage free: B u, load B u+1 | ..   (NT 3, 4: raw B .. | stage free: raw B u -> B u | ..
//                    NT 6, 8: B lies packed, one bulk copy a stage)
//           warp     wait A0, B0 | steps: values of the next step, rows of B in the block's order, mma.sp | rounds, if
//                    there are: gather, scatter, mma, clear | free | wait A1 ...
//           Dense rows are multiplied with the steps, into sums that both warps of a tile take at the end of a row group.
//           One bulk copy a block of A. B's loader, or who packed it, transposes it, so that rows of K can be
//           gathered. Nothing drains at a row group's end: the rings run on.
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0
//           (the host packs B otherwise), or with NT 6 and 8 planes (pack_b_planes_sm90.cu); slot_bytes >= any
//           block up to two rows behind its values, which are read; R * slots <= 32.

#include "fl_pair.cuh"
#include "fl_slots_sm90.cuh"

namespace {

using namespace fl;
using namespace fl::slots;

constexpr uint32_t kWarps = 2;  // that share a tile
constexpr int kSteps = kBlockSteps / kWarps;
constexpr int kRounds = 2;      // of overflow that a warp works on together
constexpr int kRoundsTile = kRounds * kRoundTile;

// Adds what another warp left.
template <int NT>
__device__ __forceinline__ void add(float4* acc, uint32_t from) {
#pragma unroll
    for (int i = 0; i < NT; ++i) plus(acc[i], lds_float4(from + i * 512));
}

template <int NT, bool kPair = false>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using R = Rings<NT>;
    // Uneven rows have up to 96 entries in two rounds; where registers are few, even ones would pay for it.
    constexpr uint32_t kOwn = NT >= 3 ? 2 : 3;
    constexpr int kExchange = NT <= kRoundsTile / 512 ? NT : NT / 2;  // vectors that two warps exchange at a time
    static_assert(NT % kExchange == 0 && kExchange * 512 <= kRoundsTile);
    let_dependents_begin();
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t base = kept(smem_addr(smem));
    const uint32_t warp = warp_number(), lane = threadIdx.x % 32;
    const uint32_t consumers = p.group_tiles * kWarps;
    Addresses at(base, R::kStages);
    const Counting counting(base + kBarrierBytes - Counting::kBytes);
    const Pair pair(base + kBarrierBytes - Pair::kBytes);
    static_assert(16 * R::kStages + 2 * kEmpty + Pair::kBytes <= kBarrierBytes);
    at.raw = at.b + R::kStages * R::kStageBytes;
    const uint32_t exchange = base + kBarrierBytes + R::kBytes;
    at.a = exchange + consumers * kRoundsTile;
    const uint32_t slice = blockIdx.y, n0 = slice * (NT * 8);
    const StreamK line(p, (p.row_tiles + p.group_tiles - 1) / p.group_tiles);

    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    const uint32_t r = warp / kWarps, s = warp % kWarps;
    const uint32_t a_full = at.a_full + 8 * p.a_slots * r;
    const uint32_t slots = at.a + r * p.a_slots * p.slot_bytes;
    const uint32_t scratch = exchange + warp * kRoundsTile;
    LoadA load_a(p, unit0, unit1);
    LoadB<NT> load_b(p, at, unit0, unit1, slice, warp - consumers - 1, lane);
    if (warp > consumers) {
        if (warp <= consumers + R::kLoaders) load_b.start();
    } else if (warp == consumers) {
        if (lane == 0) {
            // A pair counts nothing: what it needs lies in the same place.
            if (!kPair) counting.init(consumers);
            for (uint32_t i = 0; i < R::kStages; ++i) {
                mbar_init(at.b_full + 8 * i, kWarpLanes * R::kLoaders);
                mbar_init(at.b_empty + 8 * i, kWarpLanes * consumers);
            }
            // Planes come by bulk copies, which complete b_full.
            if (R::kBring == Bring::Packed) mbar_init_fence();
        }
    } else {
        if (s == 0)
            load_a.first(at, r, lane);
        else if (lane < p.a_slots)
            mbar_init(a_full + kEmpty + 8 * lane, kWarpLanes * kWarps);
#pragma unroll
        for (uint32_t i = 0; i < kRoundsTile; i += 512) sts128(scratch + i + lane * 16, make_uint4(0, 0, 0, 0));
        if constexpr (kPair) pair.init(warp, lane);
    }
    __syncwarp();
    __syncthreads();
    if constexpr (kPair) cluster_arrive_relaxed();
    if (warp >= consumers) {
        if constexpr (NT >= 3) give_registers<R::kLoading>();
        if (warp == consumers + R::kPreparer) {
            wait_for_earlier_work();
            if (!kPair) prepare_counters(line, slice, consumers, lane, counting.ready);
        }
        if (warp == consumers) {
            load_a.run(at, lane);
            // Some blocks before this CTA's last.
            if constexpr (!kPair) {
                mbar_wait(counting.ready, 0);
                count_parts(line, slice, consumers, kWarps, lane, counting);
            }
        } else if (warp <= consumers + R::kLoaders)
            load_b.run();
        return;
    }
    if constexpr (NT >= 3) take_registers<R::kMultiplying>();
    if constexpr (kPair) cluster_wait();

    float4 acc[2 * NT], dense_sums[(NT + 1) / 2];
#pragma unroll
    for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);

    const Transpose transpose(lane);
    const Octets octets_of(lane);
    // Where this unit's barriers, A and B are: numbers of slots would have to be multiplied in every unit.
    const uint32_t a_end = a_full + 8 * p.a_slots, b_end = at.b_full + 8 * R::kStages;
    uint32_t a_bar = a_full, block = slots, a_phase = 0, b_bar = at.b_full, b_stage = at.b, b_phase = 0;
    // Where the lane's codes and its first value are in a block.
    const uint32_t codes_at = s * kSteps * kUnit + lane * 8, value_at = kValues + lane * 4 + s * 2;
    uint32_t group = group_of(p, unit0);
    Parts<NT> parts(p, line, blockIdx.x, warp, consumers, slice, counting.ready);
    // In uniform registers, as the compiler would have them, numbers of units take others in the loop.
    for (uint32_t unit = NT < 3 ? unit0 : kept(unit0); unit < unit1; ++group) {
        const uint32_t tile = group * p.group_tiles + r, end = min(unit1, (group + 1) * p.k_blocks);
        // A tile's dense rows are the same in all blocks.
        uint32_t dense_mask = 0;
#pragma unroll
        for (int i = 0; i < (NT + 1) / 2; ++i) dense_sums[i] = make_float4(0.f, 0.f, 0.f, 0.f);
        parts.begin(group);
        for (; unit < end; ++unit) {
            if (unit + 1 == end) prefetch_end<16, NT * 8>(p, tile * kTileRows + s * 16, n0, lane);
            mbar_wait_both(a_bar, a_phase, b_bar, b_phase);
            if (tile < p.row_tiles) {
                // All codes first: each goes through two shuffles, one after the other.
                uint32_t codes[kSteps], own[kSteps];
#pragma unroll
                for (uint32_t i = 0; i < kSteps; i += 2) {
                    const uint2 couple = lds64(block + codes_at + i * kUnit);
                    codes[i] = couple.x;
                    codes[i + 1] = couple.y;
                }
                const uint32_t second = lds32(block + kStarts + lane * 4) >> (12 * s) & 0xfff;
                const uint4 counts = lds128(block + kStarts);
                const uint32_t octets = octets_of(block, s), values = block + kValues, b_lane = b_stage + lane % 8 * 16;
                // Of the two couples of steps.
                uint32_t next[2] = {block + value_at, block + second * 4 + (kValues + s * 2)};
#pragma unroll
                for (int i = 0; i < kSteps; ++i) own[i] = transpose(codes[i]);
                auto rows_b = [&](int i) { return b_lane + Octets::of_step(octets, i) * 128; };
                const uint32_t dense = counts.w >> 24;
                uint32_t values_end = values + (counts.y >> 24) * kUnit;
                uint32_t a[2][4];
                const bool single = counts.z >> 24;
                if (dense != 0) {
                    const DenseRows rows(values_end, dense, s * kSteps * 32, lane);
                    auto steps = [&](auto fetched) {
#pragma unroll
                        for (int i = 0; i < kSteps; ++i) {
                            fetched.fetch(own[i], next[i / 2]);
                            fetched.join(a);
                            rows.multiply_step<NT>(acc, dense_sums, i, a, codes[i], rows_b(i));
                        }
                    };
                    if (single)
                        steps(Fetched<true>());
                    else
                        steps(Fetched<false>());
                    values_end += DenseRows::bytes(dense);
                    if (unit + 1 == end) dense_mask = rows.mask();
                } else if (single) {
#pragma unroll
                    for (int i = 0; i < kSteps; ++i) {
                        Fetched<true> fetched;
                        fetched.fetch(own[i], next[i / 2]);
                        fetched.join(a);
                        multiply_step<NT>(acc, a, codes[i], rows_b(i));
                    }
                } else {
                    Fetched<false> fetched[2];
                    fetched[0].fetch(own[0], next[0]);
#pragma unroll
                    for (int i = 0; i < kSteps; ++i) {
                        if (i + 1 < kSteps) fetched[(i + 1) % 2].fetch(own[i + 1], next[(i + 1) / 2]);
                        fetched[i % 2].join(a);
                        multiply_step<NT>(acc, a, codes[i], rows_b(i));
                    }
                }
                if (!single) {
                    const int rounds = counts.x >> 24;
                    Overflow<kRounds, kOwn> overflow(values_end, rounds, scratch, lane);
                    // The two warps take rounds in turn, and with the block the turn changes.
                    for (int round = (s + unit) % kWarps * kRounds; round < rounds; round += kWarps * kRounds) {
                        add_rounds<NT>(acc, overflow, round, b_stage);
                        __syncwarp();
                    }
                }
            }
            // The overflow's tile is zeros again for all lanes.
            __syncwarp();
            mbar_arrive(a_bar + kEmpty);
            mbar_arrive(b_bar + 8 * R::kStages);
            a_bar += 8;
            block += p.slot_bytes;
            if (a_bar == a_end) {
                a_bar = a_full;
                block = slots;
                a_phase ^= 1;
            }
            b_bar += 8;
            b_stage += R::kStageBytes;
            if (b_bar == b_end) {
                b_bar = at.b_full;
                b_stage = at.b;
                b_phase ^= 1;
            }
        }
        // Each warp gives the other the row tile of 16 that the other sums, and keeps its own in acc[0, NT).
        const uint32_t mine = scratch + lane * 16, other = exchange + (warp ^ 1) * kRoundsTile + lane * 16;
#pragma unroll
        for (int first = 0; first < NT; first += kExchange) {
#pragma unroll
            for (int i = 0; i < kExchange; ++i) {
                sts128(mine + i * 512, bits(select(s == 0, acc[NT + first + i], acc[first + i])));
                acc[first + i] = select(s == 0, acc[first + i], acc[NT + first + i]);
            }
            named_barrier(r + 1, 64);
            add<kExchange>(acc + first, other);
            named_barrier(r + 1, 64);
        }
        if (dense_mask != 0) {
            DenseRows::put<NT>(dense_sums, scratch, lane);
            named_barrier(r + 1, 64);
            DenseRows::take<NT>(acc, scratch, dense_mask, s * 16, lane);
            DenseRows::take<NT>(acc, exchange + (warp ^ 1) * kRoundsTile, dense_mask, s * 16, lane);
            named_barrier(r + 1, 64);
        }
        using S = Share<NT, kPair>;
        bool complete = tile < p.row_tiles, more = false;
        if constexpr (kPair) {
            static_assert(S::kHalf * 512 <= kRoundsTile);
            if (lane == 0) pair.offer_room(warp);
            S::exchange(acc, pair, warp, mine, lane);
        } else if (unit != unit1 && parts.first != parts.last) {
            // The end of what another CTA began: nobody waits here until it is counted.
            if (complete) parts.template store<NT>(lane, [&](int i) { return acc[i]; });
            mbar_arrive(counting.stored);
            complete = false;
        } else {
            complete = complete && parts.reduce(acc, lane);
            // In the end also the part that this CTA began with, if nobody came later.
            more = unit == unit1 && block_of(p, unit0) != 0 && group_of(p, unit0) != group;
        }
        for (uint32_t row = tile * kTileRows + s * 16;;) {
            if (complete)
                store_sums<NT, kPair ? S::kHalf : NT, kExchange>(p, acc, S::count(), scratch, lane, row, n0 + S::first() * 8);
            if (!more) break;
            more = false;
            const uint32_t of = group_of(p, unit0);
            mbar_wait(counting.counted, 0);
            complete = lds32(counting.complete + 4 * warp);
            parts.begin(of);
            if (complete) parts.template sum_stored<kExchange>(acc, lane);
            row = (of * p.group_tiles + r) * kTileRows + s * 16;
        }
        // That was the only row group.
        if constexpr (kPair) {
            return;
        } else {
#pragma unroll
            for (uint32_t i = 0; i < kRoundsTile; i += 512) sts128(mine + i, make_uint4(0, 0, 0, 0));
            __syncwarp();
#pragma unroll
            for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
        }
    }
#endif
}

}  // namespace

#define FL_SPMM_SLOTS_KERNEL(NT, THREADS, SUFFIX, PAIR)                                         \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                    \
        FL_ENTRY(fl_spmm_slots_, _n##NT##SUFFIX)(const __grid_constant__ FlSpmmParams p) {       \
        spmm<NT, PAIR>(p);                                                                      \
    }

// For any CTAs, and for two that are a cluster and have a part each of one row group.
#define FL_SPMM_SLOTS(NT, THREADS)                                                              \
    FL_SPMM_SLOTS_KERNEL(NT, THREADS, _sm90, false)                                             \
    FL_SPMM_SLOTS_KERNEL(NT, THREADS, _sm90_pair, true)

// For products of a group, each with columns of its own number.
#define FL_SPMM_SLOTS_GROUP(NT, THREADS)                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                    \
        FL_ENTRY(fl_spmm_slots_, _n##NT##_sm90_group)(const __grid_constant__ FlSpmmGroup g) {  \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                \
        if (blockIdx.y * (NT * 8) < p.n) spmm<NT>(p);                                           \
    }

FL_SPMM_SLOTS(1, 512)
FL_SPMM_SLOTS(2, 512)
FL_SPMM_SLOTS(3, 640)
FL_SPMM_SLOTS(4, 640)
FL_SPMM_SLOTS(6, 512)
FL_SPMM_SLOTS(8, 512)

FL_SPMM_SLOTS_GROUP(2, 512)
