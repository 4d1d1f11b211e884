// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Tiled-CSL, 16-bit in, fp32 accumulation, sm_80 and up.
// Load as sparse, compute as dense: items are scattered into a dense shared tile, which is multiplied.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)); 4 warps share a 128 x 64 tile of A, 32 rows each. The
//           units (128-row group, 64-column tile) are cut evenly over the CTAs (fl_streamk.cuh).
// Shared:   [0, 32768)   two dense tiles of A, 128 rows of 128 bytes, swizzled as the item locations are
//           [32768, ..)  two chunks of B, 8*NT rows of 128 + 16 bytes (16: ldmatrix rows in other banks)
// Pipeline: scatter(i) | barrier | load items(i+1) to registers, B(i+1); clear tile(i+1); mma(i) | barrier
//           A thread keeps 4 x 4 items in registers (up to 25 % of a tile); denser tiles stream the rest.
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0.

#include "fl_streamk.cuh"

namespace {

using namespace fl;

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kTileRows = 128;
constexpr int kTileCols = 64;
constexpr int kTileBytes = kTileRows * kTileCols * 2;
constexpr int kBRow = kTileCols * 2 + 16;
constexpr int kHeld = 4;

__device__ __forceinline__ void scatter(uint32_t tile, uint32_t item) { sts16(tile + (item >> 16) * 2, item); }

__device__ __forceinline__ void scatter4(uint32_t tile, const uint4& v) {
    scatter(tile, v.x);
    scatter(tile, v.y);
    scatter(tile, v.z);
    scatter(tile, v.w);
}

template <int NT>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
    constexpr uint32_t kRows = NT * 8;
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t tiles = smem_addr(smem), b_ring = tiles + 2 * kTileBytes;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t slice = blockIdx.y, n0 = slice * kRows;
    const uint32_t groups = (p.m + kTileRows - 1) / kTileRows;
    const StreamK line(p, groups);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    Parts<2 * NT> parts(p, line, blockIdx.x, warp, kWarps, slice);
    prepare_counters(line, slice, warp, 1, kWarps, lane);
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);
    const uint4* items = reinterpret_cast<const uint4*>(p.data);

    // Units of one line are neighbours in the table: tile index = unit.
    uint4 held[kHeld];
    uint32_t first = 0, count = 0;
    auto fetch = [&](uint32_t unit) {
        first = table[unit];
        count = table[unit + 1] - first;
#pragma unroll
        for (int i = 0; i < kHeld; ++i) {
            const uint32_t at = threadIdx.x + i * kThreads;
            if (at < count) held[i] = __ldg(items + first + at);
        }
    };
    auto load_b = [&](uint32_t unit, uint32_t buffer) {
        const uint32_t k0 = block_of(p, unit) * kTileCols;
        for (uint32_t i = threadIdx.x; i < kRows * (kTileCols / 8); i += kThreads) {
            const uint32_t n = i / (kTileCols / 8), k = i % (kTileCols / 8) * 8;
            const uint32_t dst = b_ring + buffer * kRows * kBRow + n * kBRow + k * 2;
            if (n0 + n < p.n && k0 + k < p.k)
                cp_async16(dst, reinterpret_cast<const __half*>(p.b) + (n0 + n) * p.b_stride_n + k0 + k);
            else
                sts128(dst, make_uint4(0, 0, 0, 0));
        }
    };
    auto clear = [&](uint32_t buffer) {
        for (uint32_t i = threadIdx.x; i < kTileBytes / 16; i += kThreads)
            sts128(tiles + buffer * kTileBytes + i * 16, make_uint4(0, 0, 0, 0));
    };

    float4 acc[2 * NT];
#pragma unroll
    for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);

    uint32_t buffer = 0, k_block = block_of(p, unit0);
    clear(0);
    if (unit0 < unit1) {
        fetch(unit0);
        load_b(unit0, 0);
    }
    cp_async_commit();
    __syncthreads();
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        const uint32_t tile = tiles + buffer * kTileBytes;
#pragma unroll
        for (int i = 0; i < kHeld; ++i)
            if (threadIdx.x + i * kThreads < count) scatter4(tile, held[i]);
        for (uint32_t i = threadIdx.x + kHeld * kThreads; i < count; i += kThreads) scatter4(tile, __ldg(items + first + i));
        cp_async_wait<0>();
        __syncthreads();
        if (unit + 1 < unit1) {
            fetch(unit + 1);
            load_b(unit + 1, buffer ^ 1);
        }
        cp_async_commit();
        clear(buffer ^ 1);
#pragma unroll
        for (int ks = 0; ks < kTileCols / 16; ks += 2) {
            uint32_t a[2][2][4];
#pragma unroll
            for (int h = 0; h < 2; ++h)
#pragma unroll
                for (int q = 0; q < 2; ++q) {
                    const uint32_t row = warp * 32 + h * 16 + lane % 16, vec = (ks + q) * 2 + lane / 16;
                    ldmatrix4(a[h][q], tile + row * 128 + ((vec ^ (row & 7)) * 16));
                }
#pragma unroll
            for (int nt = 0; nt < NT; ++nt) {
                uint32_t b[4];
                ldmatrix4(b, b_ring + buffer * kRows * kBRow + (nt * 8 + lane % 8) * kBRow + ks * 32 + lane / 8 * 16);
                mma_m16n8k16(acc[nt], a[0][0], b[0], b[1]);
                mma_m16n8k16(acc[NT + nt], a[1][0], b[0], b[1]);
                mma_m16n8k16(acc[nt], a[0][1], b[2], b[3]);
                mma_m16n8k16(acc[NT + nt], a[1][1], b[2], b[3]);
            }
        }
        __syncthreads();
        buffer ^= 1;
        if (++k_block == p.k_blocks || unit + 1 == unit1) {
            k_block = 0;
            const uint32_t group = group_of(p, unit), sub = group * kWarps + warp;
            parts.begin(group);
            if (sub < p.row_tiles && parts.reduce(acc, lane))
                store_tile<2 * NT>(acc, [&](int i, const float4& v) {
                    store_m16n8(p, sub * 32 + i / NT * 16, n0 + i % NT * 8, v, lane);
                });
#pragma unroll
            for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
        }
    }
}

}  // namespace

#define FL_SPMM_TILED_CSL(NT)                                                                    \
    extern "C" __global__ void __launch_bounds__(kThreads, 2)                                    \
        FL_ENTRY(fl_spmm_tiled_csl_, _n##NT##_sm80)(const __grid_constant__ FlSpmmParams p) {     \
        spmm<NT>(p);                                                                             \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_TILED_CSL_GROUP(NT)                                                              \
    extern "C" __global__ void __launch_bounds__(kThreads, 2)                                    \
        FL_ENTRY(fl_spmm_tiled_csl_, _n##NT##_sm80_group)(const __grid_constant__ FlSpmmGroup g) { \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                 \
        if (blockIdx.y * (NT * 8) < p.n) spmm<NT>(p);                                            \
    }

FL_SPMM_TILED_CSL(1)
FL_SPMM_TILED_CSL(2)
FL_SPMM_TILED_CSL(4)
FL_SPMM_TILED_CSL(8)

FL_SPMM_TILED_CSL_GROUP(2)
FL_SPMM_TILED_CSL_GROUP(8)
