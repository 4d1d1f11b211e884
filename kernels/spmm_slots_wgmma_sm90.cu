// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Slots, 16-bit in, fp32 accumulation, Hopper, on wgmma.sp.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)). A row group is p.group_tiles tiles of 32 rows, a multiple of four: a
//           warp a tile, four warps a warpgroup, whose wgmma takes 16 rows of each. A last warpgroup has one warp that
//           copies A and two that bring B; it gives its registers to the others. The units (row group, block of 256
//           columns) are dealt to the CTAs (fl_streamk.cuh); a CTA walks its units along K, then on to the next row
//           group.
// Shared:   [0, 1024)   mbarriers: full[] and empty[] of B, from 256 on full[tiles][slots] of A, from 256 + kEmpty on
//                       empty[tiles][slots]
//           [1024, ..)  a block without elements, for tiles beyond M: wgmma wants all four warps
//           [.., ..)    B ring, stages of NT planes: 256 rows of K x 8 columns of N, which are core matrices of wgmma
//           [.., ..)    raw B ring, stages of 8*NT rows of N x 128 of K, 16 bytes apart
//           [.., ..)    kRoundTile bytes a consumer warp: A of a round of overflow
//           [.., ..)    A ring, tiles x slots x slot_bytes: blocks exactly as stored
// Pipeline: warp A   slot free: next block of that tile | ...    the first of a tile come by its own warp
//           warp B   raw B .. | stage free: raw B u -> B u | ...
//           warp     wait A0, B0 | decode 0 | wgmma 0, decode 1 | wgmma 1, decode 2 | .. | overflow | wait A1 ..
//           Fragments of kSteps steps are decoded into one of two files of registers, while the wgmma that read the
//           other are at work; a file is written again when those that read it are done.
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0
//           (the host packs B otherwise); slot_bytes >= largest block; tiles * slots <= 32.

#include "fl_slots_sm90.cuh"
#include "fl_wgmma.cuh"

namespace {

using namespace fl;
using namespace fl::slots;

constexpr uint32_t kFull = 256;
constexpr uint32_t kEmptyBlock = 1280;  // codes, starts and nothing else, up to a multiple of 256
constexpr uint32_t kNoValues = 0x22222222;
// A thread; all have 128 to begin with.
constexpr int kLoaderRegisters = 56, kConsumerRegisters = 152;

template <int NT>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using R = Rings<NT>;
    // Steps of a file: more overlap better, and take 8 registers each.
    constexpr int kSteps = NT == 8 ? 2 : 4;
    let_dependents_begin();
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t base = smem_addr(smem);
    // The shuffle tells the compiler that a warp has one number: it serialises wgmma on paths that may diverge.
    const uint32_t warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
    const uint32_t consumers = p.group_tiles;
    Addresses at;
    at.b_full = base;
    at.b_empty = base + 8 * R::kStages;
    at.a_full = base + kFull;
    at.a_empty = at.a_full + kEmpty;
    const uint32_t empty_block = base + kBarrierBytes;
    at.b = empty_block + kEmptyBlock;
    at.raw = at.b + R::kStages * R::kStageBytes;
    const uint32_t rounds_a = at.b + R::kBytes;
    at.a = rounds_a + consumers * kRoundTile;
    const uint32_t slice = blockIdx.y, n0 = slice * (NT * 8);
    const StreamK line(p, (p.row_tiles + p.group_tiles - 1) / p.group_tiles);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);

    LoadA load_a(p, unit0, unit1);
    LoadB<NT, true> load_b(p, at, unit0, unit1, slice, warp - consumers - 1, lane);
    if (warp > consumers && warp <= consumers + R::kLoaders) load_b.start();
    if (warp == consumers) {
        if (lane < R::kStages) {
            mbar_init(at.b_full + 8 * lane, kWarpLanes * R::kLoaders);
            mbar_init(at.b_empty + 8 * lane, consumers);
        }
    } else if (warp < consumers) {
        load_a.first(at, warp, lane);
        if (lane < p.a_slots) mbar_init(at.a_empty + 8 * (warp * p.a_slots + lane), 1);
#pragma unroll
        for (uint32_t i = 0; i < kRoundTile; i += 512)
            sts128(rounds_a + warp * kRoundTile + i + lane * 16, make_uint4(0, 0, 0, 0));
    } else if (warp == consumers + 1) {
        const uint4 codes = make_uint4(kNoValues, kNoValues, kNoValues, kNoValues);
        sts128(empty_block + lane * 16, codes);
        sts128(empty_block + 512 + lane * 16, codes);
        if (lane < kUnit / 16) sts128(empty_block + kStarts + lane * 16, make_uint4(0, 0, 0, 0));
    }
    __syncwarp();
    __syncthreads();

    if (warp >= consumers) {
        give_registers<kLoaderRegisters>();
        if (warp == consumers)
            load_a.run(at, lane);
        else if (warp <= consumers + R::kLoaders)
            load_b.run();
        return;
    }
    take_registers<kConsumerRegisters>();

    const uint32_t a_full = at.a_full + 8 * p.a_slots * warp;
    const uint32_t slots = at.a + warp * p.a_slots * p.slot_bytes;
    const uint32_t round_a = rounds_a + warp * kRoundTile;
    float4 acc[2 * NT];
#pragma unroll
    for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
    uint32_t file[2][kSteps * 8];

    const Transpose transpose(lane);
    Cursor<R::kStages> stage;
    uint32_t slot = 0, a_phase = 0, k_block = unit0 % p.k_blocks, group = unit0 / p.k_blocks;
    Parts<2 * NT> parts(p, line, blockIdx.x, warp, consumers, slice);
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        const uint32_t tile = group * p.group_tiles + warp;
        const bool segment_ends = k_block + 1 == p.k_blocks || unit + 1 == unit1;
        if (k_block == 0 || unit == unit0) parts.begin(group);
        const uint64_t peeked = segment_ends ? parts.peek() : 0;
        if (segment_ends) prefetch_end<kTileRows, NT * 8>(p, tile * kTileRows, n0, lane);
        mbar_wait(a_full + 8 * slot, a_phase);
        const uint32_t block = tile < p.row_tiles ? slots + slot * p.slot_bytes : empty_block;
        const uint32_t a_empty = a_full + 8 * slot + kEmpty;
        if (++slot == p.a_slots) {
            slot = 0;
            a_phase ^= 1;
        }
        const uint32_t starts = lds32(block + kStarts + lane * 4);
        const int rounds = __shfl_sync(~0u, starts >> 24, 0);
        const uint32_t values = block + kOverflow + __shfl_sync(~0u, starts >> 24, 1) * kUnit;
        Overflow<1> overflow(block + kOverflow, rounds, round_a, lane);
        if (rounds != 0) overflow.place(0);
        mbar_wait(at.b_full + 8 * stage.stage, stage.phase);
        const uint32_t b_stage = at.b + stage.stage * R::kStageBytes, b_empty = at.b_empty + 8 * stage.stage;
        stage.advance();
        const uint64_t b = wgmma_descriptor(b_stage, 8 * 16, kPlane);
        uint32_t next = 0;
#pragma unroll
        for (int c = 0; c < kBlockSteps / kSteps; ++c) {
            uint32_t(&a)[kSteps * 8] = file[c % 2];
            uint32_t codes[kSteps];
#pragma unroll
            for (int i = 0; i < kSteps; i += 2) {
                const uint2 two = lds64(block + (c * kSteps + i) * kUnit + lane * 8);
                codes[i] = two.x;
                codes[i + 1] = two.y;
            }
            wgmma_wait<1>();
            // All steps of the file together, because each is one long chain.
#pragma unroll
            for (int i = 0; i < kSteps; ++i) {
                const int step = c * kSteps + i, plane = step / 4;
                if (step % 4 == 0) next = values + lane * 4 + plane * 2;
                if (step % 4 == 2) next = values + ((starts >> (12 * plane)) & 0xfff) * 4 + plane * 2;
                uint32_t fragments[2][4];
                decode_step(transpose(codes[i]), next, fragments);
#pragma unroll
                for (int j = 0; j < 8; ++j) a[i * 8 + j] = fragments[j / 4][j % 4];
            }
            wgmma_fence();
#pragma unroll
            for (int i = 0; i < kSteps; ++i) {
                const uint64_t b_step = b + ((c * kSteps + i) * (32 * 16) >> 4);
                wgmma_sp_k32<NT, 0>(acc, a + i * 8, b_step, codes[i]);
                wgmma_sp_k32<NT, 1>(acc + NT, a + i * 8 + 4, b_step, codes[i]);
            }
            wgmma_commit();
        }
        // Not only for the overflow: with wgmma at work at the end of the loop the compiler would serialise them all.
        wgmma_wait<0>();
#pragma unroll
        for (int i = 0; i < 2 * NT; ++i) wgmma_read(acc[i]);
        for (int round = 0; round < rounds; ++round) {
            if (round != 0) {
                __syncwarp();
                overflow.place(round);
            }
            multiply_rounds<NT>(acc, overflow, round, b_stage);
        }
        __syncwarp();
        // One lane for all: with every lane's arrivals the compiler runs out of registers.
        if (lane == 0) {
            mbar_arrive(a_empty);
            mbar_arrive(b_empty);
        }
        ++k_block;
        if (segment_ends) {
            if (tile < p.row_tiles && parts.reduce(acc, peeked, lane))
                store_tile<2 * NT>(acc, [&](int i, const float4& v) {
                    store_m16n8<NT == 8 ? 1 : 4>(p, tile * kTileRows + i / NT * 16, n0 + i % NT * 8, v, lane);
                });
#pragma unroll
            for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
            k_block = 0;
            ++group;
        }
    }
#endif
}

}  // namespace

#define FL_SPMM_SLOTS_WGMMA(NT)                                                                \
    extern "C" __global__ void __launch_bounds__(512, 1)                                       \
        FL_ENTRY(fl_spmm_slots_, _n##NT##_wgmma_sm90)(const __grid_constant__ FlSpmmParams p) { \
        spmm<NT>(p);                                                                           \
    }

FL_SPMM_SLOTS_WGMMA(4)
FL_SPMM_SLOTS_WGMMA(8)
