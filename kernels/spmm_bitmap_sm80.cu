// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Bitmap, fp16 in, fp32 accumulation, sm_80 and up.
// The sibling of spmm_bitmap_sm90.cu for GPUs without bulk copies; same mapping, same decode, same bits.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)); 4 warps, one 32-row tile each (fl_streamk.cuh).
// Shared:   [0, ..)   B chunk, 8*NT rows of 512 + 64 bytes
//           [.., ..)  A ring, 4 x slots (1 or 2) x slot_bytes
// Pipeline: copy B(i), A(i+1) | wait A(i), B(i) | barrier | decode + mma | barrier | ...
// Assumes:  as spmm_bitmap_sm90.cu.

#include "fl_bitmap.cuh"
#include "fl_streamk.cuh"

namespace {

using namespace fl;
using namespace fl::bitmap;

constexpr int kWarps = 4;
constexpr int kBRow = kChunkCols * 2 + 64;

template <int NT>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
    constexpr uint32_t kRows = NT * 8;
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t b_chunk = smem_addr(smem), a_ring = b_chunk + kRows * kBRow;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t slice = blockIdx.y, n0 = slice * kRows, n_rows = min(p.n - n0, kRows);
    const StreamK line(p, (p.row_tiles + kWarps - 1) / kWarps);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    Parts<2 * NT> parts(p, line, blockIdx.x, warp, kWarps, slice);
    prepare_counters(line, slice, warp, 1, kWarps, lane);
    const uint32_t chunks_a_block = p.block_cols / kChunkCols;
    const uint32_t chunks = (p.k + kChunkCols - 1) / kChunkCols;
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
    auto load_b = [&](uint32_t chunk) {
        const uint32_t k0 = chunk * kChunkCols;
        for (uint32_t i = threadIdx.x; i < n_rows * (kChunkCols / 8); i += kWarps * 32) {
            const uint32_t n = i / (kChunkCols / 8), k = i % (kChunkCols / 8) * 8;
            const uint32_t dst = b_chunk + n * kBRow + k * 2;
            if (k0 + k < p.k)
                cp_async16(dst, reinterpret_cast<const __half*>(p.b) + (n0 + n) * p.b_stride_n + k0 + k);
            else  // masks are clear beyond K, but 0 * stale NaN would not be zero
                sts128(dst, make_uint4(0, 0, 0, 0));
        }
    };

    float4 acc[2 * NT];
#pragma unroll
    for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);

    const uint32_t steps = p.block_cols / kStepCols;
    const uint32_t b_lane = b_chunk + (lane >> 2) * kBRow + (lane & 3) * 16;
    const bool ahead = p.a_slots > 1;
    uint32_t slot = 0, k_block = block_of(p, unit0);
    if (ahead && unit0 < unit1) load_a(unit0, 0);
    cp_async_commit();
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        const uint32_t tile = group_of(p, unit) * kWarps + warp;
        const uint32_t in_block = min(chunks_a_block, chunks - k_block * chunks_a_block);
        const uint32_t masks = slots + slot * p.slot_bytes + lane * 16;
        uint32_t at = (slots + slot * p.slot_bytes + steps * kUnit) / 4 - 16;
        if (!ahead) {
            __syncwarp();
            load_a(unit, 0);
        }
        for (uint32_t chunk = 0; chunk < in_block; ++chunk) {
            load_b(k_block * chunks_a_block + chunk);
            cp_async_commit();
            cp_async_wait<0>();
            __syncthreads();
            if (ahead && chunk == 0 && unit + 1 < unit1) {
                load_a(unit + 1, slot ^ 1);
                cp_async_commit();
            }
            if (tile < p.row_tiles) {
#pragma unroll 1
                for (int half = 0; half < 2; ++half) {
                    const uint4 m4 = lds128(masks + (chunk * 2 + half) * 512);
                    const uint32_t m[4] = {m4.x, m4.y, m4.z, m4.w};
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const uint32_t step = half * 4 + i;
                        uint32_t a[2][2][4];
                        decode_step(m[i], at, (lane ^ rotation(step)) * 4, a);
                        at = __shfl_xor_sync(~0u, at, static_cast<int>(rotation(step) ^ rotation(step + 1)));
#pragma unroll
                        for (int nt = 0; nt < NT; ++nt) {
                            const uint4 b = lds128(b_lane + nt * 8 * kBRow + step * 64);
                            mma_m16n8k16(acc[nt], a[0][0], b.x, b.y);
                            mma_m16n8k16(acc[NT + nt], a[1][0], b.x, b.y);
                            mma_m16n8k16(acc[nt], a[0][1], b.z, b.w);
                            mma_m16n8k16(acc[NT + nt], a[1][1], b.z, b.w);
                        }
                    }
                }
            }
            __syncthreads();
        }
        if (ahead) slot ^= 1;
        if (++k_block == p.k_blocks || unit + 1 == unit1) {
            k_block = 0;
            parts.begin(group_of(p, unit));
            if (tile < p.row_tiles && parts.reduce(acc, lane))
                store_tile<2 * NT>(acc, [&](int i, const float4& v) {
                    store_m16n8(p, tile * kTileRows + i / NT * 16, n0 + i % NT * 8, v, lane);
                });
#pragma unroll
            for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
        }
    }
}

}  // namespace

#define FL_SPMM_BITMAP(NT)                                                                       \
    extern "C" __global__ void __launch_bounds__(kWarps * 32, 2)                                 \
        FL_ENTRY(fl_spmm_bitmap_, _n##NT##w4_sm80)(const __grid_constant__ FlSpmmParams p) {      \
        spmm<NT>(p);                                                                             \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_BITMAP_GROUP(NT)                                                                 \
    extern "C" __global__ void __launch_bounds__(kWarps * 32, 2)                                 \
        FL_ENTRY(fl_spmm_bitmap_, _n##NT##w4_sm80_group)(const __grid_constant__ FlSpmmGroup g) { \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                 \
        if (blockIdx.y * (NT * 8) < p.n) spmm<NT>(p);                                            \
    }

FL_SPMM_BITMAP(1)
FL_SPMM_BITMAP(2)
FL_SPMM_BITMAP(4)
FL_SPMM_BITMAP(8)

FL_SPMM_BITMAP_GROUP(2)
FL_SPMM_BITMAP_GROUP(8)
