// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Banked, 16-bit in, fp32 accumulation, sm_80 and up.
// Load as sparse, compute as dense: values are put into a zeroed tile in shared memory, each lane's into its own bank.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)); 4 warps share a 128 x 128 tile of A, 32 rows each. The units (128-row
//           group, 128 columns) are cut evenly over the CTAs (fl_streamk.cuh).
// Shared:   [0, 65536)   two images (docs/format-banked.md)
//           [65536, ..)  two chunks of B, 8*NT rows of 256 + 16 bytes (16: ldmatrix rows in other banks)
// Pipeline: fill(i) | barrier | chunks of block i+1 to registers, B(i+1); clear image(i+1); mma(i) | barrier
//           A lane keeps kHeld chunks of each parity in registers; denser blocks stream the rest.
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0.

#include "fl_banked.cuh"
#include "fl_streamk.cuh"

namespace {

using namespace fl;
using namespace fl::banked;

constexpr uint32_t kWarps = 4;
constexpr uint32_t kThreads = kWarps * 32;
constexpr uint32_t kBRow = kTileCols * 2 + 16;
constexpr uint32_t kHeld = 3;

struct Chunk {
    uint32_t places, first, second;

    __device__ __forceinline__ void load(const unsigned char* from) {
        places = __ldg(reinterpret_cast<const uint32_t*>(from));
        first = __ldg(reinterpret_cast<const uint32_t*>(from + kUnit));
        second = __ldg(reinterpret_cast<const uint32_t*>(from + 2 * kUnit));
    }

    // `to`: the lane's halfword in line 0.
    __device__ __forceinline__ void put(uint32_t to) const {
        sts16(to + (places & 0xff) * kLineBytes, first);
        sts16(to + (places >> 8 & 0xff) * kLineBytes, first >> 16);
        sts16(to + (places >> 16 & 0xff) * kLineBytes, second);
        sts16(to + (places >> 24) * kLineBytes, second >> 16);
    }
};

template <int NT>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
    constexpr uint32_t kRows = NT * 8;
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t images = smem_addr(smem), b_ring = images + 2 * kImageBytes;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t slice = blockIdx.y, n0 = slice * kRows;
    const StreamK line(p, (p.m + kTileRows - 1) / kTileRows);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    Parts<2 * NT> parts(p, line, blockIdx.x, warp, kWarps, slice);
    prepare_counters(line, slice, warp, 1, kWarps, lane);
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);

    // Units of one line are neighbours in the table: block = unit. Parity p of a lane is rows[p] chunks from from[p] on.
    const unsigned char* from[2];
    uint32_t rows[2] = {0, 0};
    Chunk held[2][kHeld];
    auto fetch = [&](uint32_t unit) {
        const unsigned char* block = reinterpret_cast<const unsigned char*>(p.data) + static_cast<uint64_t>(table[unit]) * kUnit;
        const Start start = Start::of(__ldg(reinterpret_cast<const uint32_t*>(block) + lane));
        rows[0] = start.first;
        rows[1] = start.second;
        from[0] = block + row_offset(0) + lane * 4;
        from[1] = block + row_offset(start.begin) + start.stream * 4;
#pragma unroll
        for (uint32_t i = 0; i < kHeld; ++i)
#pragma unroll
            for (uint32_t parity = 0; parity < 2; ++parity) {
                const uint32_t row = warp + i * kWarps;
                if (row < rows[parity]) held[parity][i].load(from[parity] + row * kRowBytes);
            }
    };
    auto fill = [&](uint32_t image) {
#pragma unroll
        for (uint32_t parity = 0; parity < 2; ++parity) {
            const uint32_t to = image + lane * 4 + parity * 2;
#pragma unroll
            for (uint32_t i = 0; i < kHeld; ++i)
                if (warp + i * kWarps < rows[parity]) held[parity][i].put(to);
            for (uint32_t row = warp + kHeld * kWarps; row < rows[parity]; row += kWarps) {
                Chunk chunk;
                chunk.load(from[parity] + row * kRowBytes);
                chunk.put(to);
            }
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
        for (uint32_t i = threadIdx.x; i < kImageBytes / 16; i += kThreads)
            sts128(images + buffer * kImageBytes + i * 16, make_uint4(0, 0, 0, 0));
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
        const uint32_t image = images + buffer * kImageBytes;
        fill(image);
        cp_async_wait<0>();
        __syncthreads();
        if (unit + 1 < unit1) {
            fetch(unit + 1);
            load_b(unit + 1, buffer ^ 1);
        }
        cp_async_commit();
        clear(buffer ^ 1);
#pragma unroll
        for (uint32_t ks = 0; ks < kTileCols / 16; ks += 2) {
            uint32_t a[2][2][4];
#pragma unroll
            for (uint32_t h = 0; h < 2; ++h)
#pragma unroll
                for (uint32_t q = 0; q < 2; ++q)
                    ldmatrix4(a[h][q], image + image_offset(warp * 32 + h * 16 + lane % 16, (ks + q) * 16 + lane / 16 * 8));
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

#define FL_SPMM_BANKED(NT)                                                                       \
    extern "C" __global__ void __launch_bounds__(kThreads, 2)                                    \
        FL_ENTRY(fl_spmm_banked_, _n##NT##_sm80)(const __grid_constant__ FlSpmmParams p) {        \
        spmm<NT>(p);                                                                             \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_BANKED_GROUP(NT)                                                                 \
    extern "C" __global__ void __launch_bounds__(kThreads, 2)                                    \
        FL_ENTRY(fl_spmm_banked_, _n##NT##_sm80_group)(const __grid_constant__ FlSpmmGroup g) {   \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                 \
        if (blockIdx.y * (NT * 8) < p.n) spmm<NT>(p);                                            \
    }

FL_SPMM_BANKED(1)
FL_SPMM_BANKED(2)
FL_SPMM_BANKED(4)
FL_SPMM_BANKED(8)

FL_SPMM_BANKED_GROUP(2)
FL_SPMM_BANKED_GROUP(8)
