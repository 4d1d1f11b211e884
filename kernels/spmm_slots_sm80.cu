// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Slots, 16-bit in, fp32 accumulation, sm_80 and up.
// The sibling of spmm_slots_sm90.cu for GPUs without bulk copies; same decode.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)); 4 warps, one 32-row tile each (fl_streamk.cuh).
// Shared:   [0, ..)   B as it comes, 8*NT rows of 512 + 16 bytes
//           [.., ..)  B, NT planes: 256 rows of K x 8 columns of N, which are gathered in a block's order
//           [.., ..)  for each warp kRoundTile bytes: A of a round of overflow, sums of dense rows
//           [.., ..)  A ring, 4 x slots (1 or 2) x slot_bytes
// Pipeline: copy B(i), A(i+1) | wait A(i), B(i) | barrier | transpose B(i) | barrier | decode + mma.sp, overflow + mma | ...
// Assumes:  as spmm_slots_sm90.cu.

#include "fl_slots.cuh"
#include "fl_streamk.cuh"

namespace {

using namespace fl;
using namespace fl::slots;

constexpr int kWarps = 4;
constexpr int kBRow = kBlockCols * 2 + 16;  // ldmatrix reads 8 rows without a bank conflict

template <int NT>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
    constexpr uint32_t kRows = NT * 8;
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t raw = smem_addr(smem), b_block = raw + kRows * kBRow, rounds_a = b_block + NT * kPlane;
    const uint32_t a_ring = rounds_a + kWarps * kRoundTile;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t round_a = rounds_a + warp * kRoundTile;
    const uint32_t slice = blockIdx.y, n0 = slice * kRows, n_rows = min(p.n - n0, kRows);
    const StreamK line(p, (p.row_tiles + kWarps - 1) / kWarps);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    Parts<2 * NT> parts(p, line, blockIdx.x, warp, kWarps, slice);
    prepare_counters(line, slice, warp, 1, kWarps, lane);
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);
    const unsigned char* data = reinterpret_cast<const unsigned char*>(p.data);
    const uint32_t slots = a_ring + warp * p.a_slots * p.slot_bytes;

    auto load_a = [&](uint32_t unit, uint32_t slot) {
        const uint32_t tile = group_of(p, unit) * kWarps + warp;
        if (tile >= p.row_tiles) return;
        const uint64_t block = static_cast<uint64_t>(tile) * p.k_blocks + block_of(p, unit);
        const uint32_t begin = table[block], vectors = (table[block + 1] - begin) * (kUnit / 16);
        const unsigned char* src = data + static_cast<uint64_t>(begin) * kUnit;
        for (uint32_t i = lane; i < vectors; i += 32) cp_async16(slots + slot * p.slot_bytes + i * 16, src + i * 16);
    };
    auto load_b = [&](uint32_t k_block) {
        const uint32_t k0 = k_block * kBlockCols;
        for (uint32_t i = threadIdx.x; i < kRows * (kBlockCols / 8); i += kWarps * 32) {
            const uint32_t n = i / (kBlockCols / 8), k = i % (kBlockCols / 8) * 8;
            // A is clear beyond K and C is not stored beyond N, but 0 * NaN would not be zero: nothing is zeros.
            const bool there = n < n_rows && k0 + k < p.k;
            const __half* from = reinterpret_cast<const __half*>(p.b);
            if (there) from += (n0 + n) * p.b_stride_n + k0 + k;
            cp_async16(raw + n * kBRow + k * 2, from, there ? 16 : 0);
        }
    };
    // A warp has every fourth 32 rows of K: ldmatrix transposes pieces of 8 x 8, of which a lane has two columns of a row.
    auto transpose_b = [&] {
#pragma unroll 1
        for (uint32_t k = warp * 32; k < kBlockCols; k += kWarps * 32) {
#pragma unroll
            for (int nt = 0; nt < NT; ++nt) {
                uint32_t v[4];
                ldmatrix4_trans(v, raw + (nt * 8 + lane % 8) * kBRow + k * 2 + lane / 8 * 16);
#pragma unroll
                for (int i = 0; i < 4; ++i) sts32(b_block + nt * kPlane + (k + i * 8) * 16 + lane * 4, v[i]);
            }
        }
    };

    float4 acc[2 * NT], dense_sums[(NT + 1) / 2];
    // A tile's dense rows are the same in all blocks.
    uint32_t dense_mask = 0;
#pragma unroll
    for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
    for (int i = 0; i < (NT + 1) / 2; ++i) dense_sums[i] = make_float4(0.f, 0.f, 0.f, 0.f);

#pragma unroll
    for (uint32_t i = 0; i < kRoundTile; i += 512) sts128(round_a + i + lane * 16, make_uint4(0, 0, 0, 0));
    const Transpose transpose(lane);
    const Octets octets_of(lane);
    const uint32_t b_lane = b_block + lane % 8 * 16;
    const bool ahead = p.a_slots > 1;
    uint32_t slot = 0, k_block = block_of(p, unit0);
    if (ahead && unit0 < unit1) load_a(unit0, 0);
    cp_async_commit();
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        const uint32_t tile = group_of(p, unit) * kWarps + warp;
        const uint32_t block = slots + slot * p.slot_bytes;
        if (!ahead) {
            __syncwarp();
            load_a(unit, 0);
        }
        load_b(k_block);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        if (ahead && unit + 1 < unit1) {
            load_a(unit + 1, slot ^ 1);
            cp_async_commit();
        }
        transpose_b();
        __syncthreads();
        if (tile < p.row_tiles) {
            const uint32_t starts = lds32(block + kStarts + lane * 4);
            const int rounds = __shfl_sync(~0u, starts >> 24, 0);
            const uint32_t values = block + kValues, rows = __shfl_sync(~0u, starts >> 24, 1);
            const uint32_t dense = __shfl_sync(~0u, starts >> 24, 3), values_end = values + rows * kUnit;
            const DenseRows dense_rows(values_end, max(dense, 1u), 0, lane);
#pragma unroll 1
            for (uint32_t couple = 0; couple < kCouples; ++couple) {
                const uint2 codes2 = lds64(block + couple * (2 * kUnit) + lane * 8);
                const uint32_t half = couple / 2, stream = couple % 2 == 0 ? lane : (starts >> (12 * half)) & 0xfff;
                const uint32_t octets = octets_of(block, half) >> (couple % 2 * 10);
                uint32_t next = values + stream * 4 + half * 2;
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const uint32_t codes = i == 0 ? codes2.x : codes2.y;
                    uint32_t a[2][4];
                    Fetched<false> fetched;
                    fetched.fetch(transpose(codes), next);
                    fetched.join(a);
                    const uint32_t from = b_lane + Octets::of_step(octets, i) * 128;
                    if (dense != 0)
                        dense_rows.multiply_step<NT>(acc, dense_sums, 2 * couple + i, a, codes, from);
                    else
                        multiply_step<NT>(acc, a, codes, from);
                }
            }
            if (dense != 0) dense_mask = dense_rows.mask();
            Overflow<1, 1> overflow(values_end + DenseRows::bytes(dense), rounds, round_a, lane);
#pragma unroll 1
            for (int round = 0; round < rounds; ++round) {
                add_rounds<NT>(acc, overflow, round, b_block);
                __syncwarp();
            }
        }
        __syncthreads();
        if (ahead) slot ^= 1;
        if (++k_block == p.k_blocks || unit + 1 == unit1) {
            k_block = 0;
            if (dense_mask != 0) {
                // Where rounds have their A there is room for four planes of B.
                constexpr int kPlanes = NT < 4 ? NT : 4;
#pragma unroll
                for (int nt = 0; nt < NT; nt += kPlanes) {
                    DenseRows::put<kPlanes>(dense_sums + nt / 2, round_a, lane);
                    __syncwarp();
                    DenseRows::take<kPlanes>(acc + nt, round_a, dense_mask, 0, lane);
                    DenseRows::take<kPlanes>(acc + NT + nt, round_a, dense_mask, 16, lane);
                    __syncwarp();
                }
#pragma unroll
                for (uint32_t i = 0; i < kRoundTile; i += 512) sts128(round_a + i + lane * 16, make_uint4(0, 0, 0, 0));
                __syncwarp();
                dense_mask = 0;
            }
            parts.begin(group_of(p, unit));
            if (tile < p.row_tiles && parts.reduce(acc, lane))
                store_tile<2 * NT>(acc, [&](int i, const float4& v) {
                    store_m16n8(p, tile * kTileRows + i / NT * 16, n0 + i % NT * 8, v, lane);
                });
#pragma unroll
            for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
            for (int i = 0; i < (NT + 1) / 2; ++i) dense_sums[i] = make_float4(0.f, 0.f, 0.f, 0.f);
        }
    }
}

}  // namespace

#define FL_SPMM_SLOTS(NT)                                                                        \
    extern "C" __global__ void __launch_bounds__(kWarps * 32, 2)                                 \
        FL_ENTRY(fl_spmm_slots_, _n##NT##_sm80)(const __grid_constant__ FlSpmmParams p) {         \
        spmm<NT>(p);                                                                             \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_SLOTS_GROUP(NT)                                                                  \
    extern "C" __global__ void __launch_bounds__(kWarps * 32, 2)                                 \
        FL_ENTRY(fl_spmm_slots_, _n##NT##_sm80_group)(const __grid_constant__ FlSpmmGroup g) {   \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                 \
        if (blockIdx.y * (NT * 8) < p.n) spmm<NT>(p);                                            \
    }

FL_SPMM_SLOTS(1)
FL_SPMM_SLOTS(2)
FL_SPMM_SLOTS(4)
FL_SPMM_SLOTS(8)

FL_SPMM_SLOTS_GROUP(2)
FL_SPMM_SLOTS_GROUP(8)
