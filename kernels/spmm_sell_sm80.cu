// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in SELL, 16-bit in, fp32 accumulation, sm_80 and up.
// The sibling of spmm_sell_sm90.cu for GPUs without bulk copies: the same products, B once instead of twice.
//
// Blocks:   persistent grid (CTAs, N / 8); 8 warps, one slice of four rows of the CTA's tile each. The units (tile, block of
//           2048 columns) are dealt to the CTAs (fl_streamk.cuh).
// Shared:   [0, ..)   B, 32 KB: 2048 rows of K of 8 columns of N
//           [.., ..)  sums, 1 KB, as m16n8 accumulators
// Pipeline: B(i) -> registers -> transposed | barrier | packets from global memory: deltas -> addresses -> ldmatrix -> mma | sums |
//           barrier | ...
// Assumes:  as spmm_sell_sm90.cu.

#include "fl_sell_product.cuh"
#include "fl_streamk.cuh"

namespace {

using namespace fl;
using namespace fl::sell;

constexpr uint32_t kWarps = kSlices;
constexpr uint32_t kRow = 16;  // bytes of a row of K
constexpr uint32_t kB = kBlockCols * kRow;

// A thread brings an octet of K: eight columns of N, transposed as 8 x 8.
__device__ __forceinline__ void load_b(const FlSpmmParams& p, uint32_t b, uint32_t k_block, uint32_t n0) {
    static_assert(kWarps * 32 * 8 == kBlockCols, "an octet a thread");
    const uint32_t k = k_block * kBlockCols + threadIdx.x * 8;
    uint4 v[8];
#pragma unroll
    for (uint32_t n = 0; n < 8; ++n) {
        v[n] = make_uint4(0, 0, 0, 0);
        if (n0 + n < p.n && k < p.k)
            v[n] = *reinterpret_cast<const uint4*>(p.b + 2 * (static_cast<int64_t>(n0 + n) * p.b_stride_n + k));
    }
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i) {
        uint32_t row[4];
#pragma unroll
        for (uint32_t j = 0; j < 4; ++j) {
            const uint32_t low[4] = {v[2 * j].x, v[2 * j].y, v[2 * j].z, v[2 * j].w};
            const uint32_t high[4] = {v[2 * j + 1].x, v[2 * j + 1].y, v[2 * j + 1].z, v[2 * j + 1].w};
            row[j] = prmt(low[i / 2], high[i / 2], i % 2 == 0 ? 0x5410 : 0x7632);
        }
        sts128(b + (threadIdx.x * 8 + i) * kRow, make_uint4(row[0], row[1], row[2], row[3]));
    }
}

__device__ __forceinline__ uint32_t load32(const unsigned char* from) { return __ldg(reinterpret_cast<const uint32_t*>(from)); }

// The products of a slice with the block of B.
__device__ __forceinline__ float multiply(const unsigned char* slice, uint32_t bytes, uint32_t b, uint32_t lane) {
    Product product(lane);
    uint32_t place = 0;
    auto next = [&](uint32_t delta) {
        place += delta;
        const uint32_t octet = place / 2;
        return b + (octet * 8 + (lane % kLanes ^ fl::sell::s(octet) ^ (place % 2 == 0 ? 0 : d(octet)))) * kRow;
    };
    while (bytes != 0) {
        const uint32_t here = min(bytes, kPacketBytes), steps = packet_steps(here), words = words_of(steps);
        const unsigned char* word = slice + lane * 4;
        const uint32_t w0 = load32(word), w1 = words > 1 ? load32(word + kWordBytes) : 0, w2 = words > 2 ? load32(word + 2 * kWordBytes) : 0;
#pragma unroll 1
        for (uint32_t group = 0; group * 4 < steps; ++group) {
            const uint32_t there = steps - group * 4, deltas = deltas_of(group, w0, w1, w2);
            const unsigned char* values = slice + words * kWordBytes + group * kGroupBytes;
            uint32_t rows[4][4];
#pragma unroll
            for (uint32_t i = 0; i < 4; ++i) ldmatrix4_trans(rows[i], next(deltas >> 8 * i & 0xff));
            if (there >= 4) {
                product.multiply(rows, __ldg(reinterpret_cast<const uint2*>(values + own_pairs(lane))));
            } else {
                const unsigned char* own = values + own_values(lane);
                product.multiply(rows, load32(own), there > 1 ? load32(own + kStepBytes) : 0, there > 2 ? load32(own + 2 * kStepBytes) : 0);
            }
        }
        slice += here;
        bytes -= here;
    }
    return product.sum(lane);
}

__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t b = smem_addr(smem), sums = b + kB;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_slice = blockIdx.y, n0 = n_slice * 8;
    const StreamK line(p, p.row_tiles);
    const uint32_t unit1 = line.first_unit(blockIdx.x + 1);
    Parts<2> parts(p, line, blockIdx.x, 0, 1, n_slice);
    if (warp == 0) prepare_counters(line, n_slice, 0, 1, 1, lane);
    bool first = true;  // of this CTA's blocks of a tile
    for (uint32_t unit = line.first_unit(blockIdx.x); unit < unit1; ++unit) {
        const uint32_t tile = group_of(p, unit), k_block = block_of(p, unit);
        load_b(p, b, k_block, n0);
        __syncthreads();
        const uint32_t start = reinterpret_cast<const uint32_t*>(p.table)[static_cast<uint64_t>(tile) * p.k_blocks + k_block];
        const unsigned char* head = reinterpret_cast<const unsigned char*>(p.data) + static_cast<uint64_t>(start) * kUnit;
        const uint16_t* ends = reinterpret_cast<const uint16_t*>(head);
        const uint32_t begin = warp == 0 ? 0 : ends[warp - 1], end = ends[warp];
        const float v = multiply(head + kHeadBytes + begin * kEndUnit, (end - begin) * kEndUnit, b, lane);
        const uint32_t sum = sums + sum_offset(head[kOrderOffset + warp * kSliceRows + lane % 4] % kTileRows, lane / 4);
        sts32(sum, __float_as_uint(first ? v : v + __uint_as_float(lds32(sum))));
        first = false;
        __syncthreads();
        if (k_block + 1 == p.k_blocks || unit + 1 == unit1) {
            if (warp == 0) {
                parts.begin(tile);
                if (parts.reduce(sums + lane * 16, lane))
                    store_m16n8_sums<1, false>(
                        p, sums, 2, lane, [&](uint32_t i) { return tile * kTileRows + i * 16; }, [&](uint32_t) { return n0; });
            }
            first = true;
            __syncthreads();
        }
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kWarps * 32, 2) FL_ENTRY(fl_spmm_sell_, _n1_sm80)(const __grid_constant__ FlSpmmParams p) {
    spmm(p);
}

// As above for products of a group, each with columns of its own number.
extern "C" __global__ void __launch_bounds__(kWarps * 32, 2) FL_ENTRY(fl_spmm_sell_, _n1_sm80_group)(const __grid_constant__ FlSpmmGroup g) {
    const FlSpmmParams& p = g.p[blockIdx.z];
    if (blockIdx.y * 8 < p.n) spmm(p);
}
