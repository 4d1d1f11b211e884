// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C of formats that are fragments of A (Banked, Bitmap), 16-bit in, fp32 accumulation, sm_80 and
// up. Load as sparse, compute as dense: every warp makes A's fragments in registers, from what is in its lanes' banks.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)); 4 warps share a tile of 64 rows, 16 rows each. The units (tile, block of 256
//           columns) are dealt to the CTAs (fl_streamk.cuh).
// Shared:   [0, ..)   two pieces of B, 8*NT columns x 128 of K, 256 + 16 bytes each (16: ldmatrix rows in other banks)
//           [.., ..)  p.a_slots blocks of A, 1 or 2, exactly as stored
// Pipeline: wait for all copies | barrier | ask for the next half of B, and for the next block if its slot is free | this half's
//           eight steps: fragments, mma | barrier
// A format:  `Streams`, as in fl_fragments_sm90.cuh.
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0 (the host packs B
//           otherwise); slot_bytes >= the largest block, with what its streams may be read beyond it.
#pragma once

#include "fl_banked.cuh"
#include "fl_streamk.cuh"

namespace fl {

using banked::kHalfCols;
using banked::kSectionRows;
using banked::kSections;
using banked::kSteps;
using banked::kTileCols;
using banked::kTileRows;
using banked::kUnit;

constexpr uint32_t kWarps = kSections;
constexpr uint32_t kThreads = kWarps * 32;
constexpr uint32_t kBRow = kHalfCols * 2 + 16;

template <int NT, typename Streams>
__device__ __forceinline__ void multiply_fragments(const FlSpmmParams& p) {
    constexpr uint32_t kRows = NT * 8;
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t b_ring = smem_addr(smem), a_ring = b_ring + 2 * kRows * kBRow;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t slice = blockIdx.y, n0 = slice * kRows;
    const StreamK line(p, p.row_tiles);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    Parts<NT> parts(p, line, blockIdx.x, warp, kWarps, slice);
    prepare_counters(line, slice, warp, 1, kWarps, lane);
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);

    // Units of one line are neighbours in the table: block = unit.
    auto load_a = [&](uint32_t unit, uint32_t slot) {
        const uint32_t begin = table[unit], bytes = (table[unit + 1] - begin) * kUnit;
        const unsigned char* from = reinterpret_cast<const unsigned char*>(p.data) + static_cast<uint64_t>(begin) * kUnit;
        for (uint32_t i = threadIdx.x * 16; i < bytes; i += kThreads * 16) cp_async16(a_ring + slot * p.slot_bytes + i, from + i);
    };
    auto load_b = [&](uint32_t unit, uint32_t half) {
        const uint32_t k0 = block_of(p, unit) * kTileCols + half * kHalfCols;
        for (uint32_t i = threadIdx.x; i < kRows * (kHalfCols / 8); i += kThreads) {
            const uint32_t n = i / (kHalfCols / 8), k = i % (kHalfCols / 8) * 8;
            const uint32_t dst = b_ring + half * kRows * kBRow + n * kBRow + k * 2;
            // A is zero beyond K and C is not stored beyond N, but 0 * NaN would not be zero: nothing is zeros.
            if (n0 + n < p.n && k0 + k < p.k)
                cp_async16(dst, reinterpret_cast<const __half*>(p.b) + (n0 + n) * p.b_stride_n + k0 + k);
            else
                sts128(dst, make_uint4(0, 0, 0, 0));
        }
    };

    float4 acc[NT];
#pragma unroll
    for (int i = 0; i < NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);

    uint32_t slot = 0, k_block = block_of(p, unit0);
    if (unit0 < unit1) {
        load_a(unit0, 0);
        load_b(unit0, 0);
    }
    cp_async_commit();
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        Streams streams;
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            cp_async_wait<0>();
            __syncthreads();
            if (half == 0) {
                streams = Streams(a_ring + slot * p.slot_bytes, warp, lane);
                load_b(unit, 1);
                if (p.a_slots > 1 && unit + 1 < unit1) load_a(unit + 1, slot ^ 1);
            } else if (unit + 1 < unit1) {
                load_b(unit + 1, 0);
            }
            cp_async_commit();
            const uint32_t b_lane = b_ring + half * kRows * kBRow + lane % 8 * kBRow + lane / 8 * 16;
#pragma unroll
            for (uint32_t first = 0; first < kSteps; first += 2) {
                uint32_t a[8];
                streams.template steps<2>(a, half, first);
                const uint32_t low[4] = {a[0], a[1], a[2], a[3]}, high[4] = {a[4], a[5], a[6], a[7]};
#pragma unroll
                for (int nt = 0; nt < NT; ++nt) {
                    uint32_t b[4];
                    ldmatrix4(b, b_lane + nt * 8 * kBRow + first * 32);
                    mma_m16n8k16(acc[nt], low, b[0], b[1]);
                    mma_m16n8k16(acc[nt], high, b[2], b[3]);
                }
            }
        }
        __syncthreads();
        if (p.a_slots > 1) {
            slot ^= 1;
        } else if (unit + 1 < unit1) {
            load_a(unit + 1, 0);
            cp_async_commit();
        }
        if (++k_block == p.k_blocks || unit + 1 == unit1) {
            k_block = 0;
            const uint32_t tile = group_of(p, unit);
            parts.begin(tile);
            if (parts.reduce(acc, lane))
                store_tile<NT>(acc, [&](int i, const float4& v) {
                    store_m16n8(p, tile * kTileRows + warp * kSectionRows, n0 + i * 8, v, lane);
                });
#pragma unroll
            for (int i = 0; i < NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
        }
    }
}

}  // namespace fl

// The kernels of a format, as in fl_fragments_sm90.cuh.
#define FL_FRAGMENTS(FORMAT, NT)                                                                                       \
    extern "C" __global__ void __launch_bounds__(fl::kThreads, 2)                                                      \
        FL_ENTRY(fl_spmm_##FORMAT##_, _n##NT##_sm80)(const __grid_constant__ FlSpmmParams p) {                         \
        fl::multiply_fragments<NT, fl::FORMAT::Streams>(p);                                                            \
    }

#define FL_FRAGMENTS_GROUP(FORMAT, NT)                                                                                 \
    extern "C" __global__ void __launch_bounds__(fl::kThreads, 2)                                                      \
        FL_ENTRY(fl_spmm_##FORMAT##_, _n##NT##_sm80_group)(const __grid_constant__ FlSpmmGroup g) {                    \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                                       \
        if (blockIdx.y * (NT * 8) < p.n) fl::multiply_fragments<NT, fl::FORMAT::Streams>(p);                           \
    }

#define FL_FRAGMENTS_ALL(FORMAT)                                                                                       \
    FL_FRAGMENTS(FORMAT, 1)                                                                                            \
    FL_FRAGMENTS(FORMAT, 2)                                                                                            \
    FL_FRAGMENTS(FORMAT, 4)                                                                                            \
    FL_FRAGMENTS(FORMAT, 8)                                                                                            \
    FL_FRAGMENTS_GROUP(FORMAT, 2)                                                                                      \
    FL_FRAGMENTS_GROUP(FORMAT, 8)
