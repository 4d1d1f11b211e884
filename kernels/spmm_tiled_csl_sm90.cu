// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Tiled-CSL, 16-bit in, fp32 accumulation, Hopper.
// Load as sparse, compute as dense, without a barrier between warps: every warp scatters the items of a
// whole 128 x 64 tile into a dense tile of its own, multiplies it, and clears what it has read.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)). A row group is W tiles of 128 rows, one a consumer warp;
//           one more warp loads B. The units (row group, 256 columns) are cut evenly over the CTAs
//           (fl_streamk.cuh); a CTA walks its tiles along K, then on to the next row group.
// Shared:   [0, 1024)   mbarriers: B full[kBStages], B empty[kBStages], A full[W][slots]; kReady
//           [1024, ..)  B ring, kBStages x 8*NT rows of 512 + 16 bytes (16: ldmatrix rows in other banks)
//           [.., ..)    W dense tiles of 128 rows of 128 bytes, swizzled as the item locations are
//           [.., ..)    A ring, W x slots x slot_bytes: the items of a tile exactly as stored
// Pipeline: loader  B0 B1 | B2 when stage 0 is free ...
//           warp w  A0 A1 | wait A0 | scatter | A2 -> slot 0 | ldmatrix + mma + clear | wait A1 ...
// Budget:   shared-memory wavefronts a dense element: read 1/64, clear 1/64, a non-zero 1/32 to scatter
//           (the reordered items hit 32 banks) and 2/32 through the ring; B 1/8 of a 16-row tile's.
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0
//           (the host packs B otherwise); slot_bytes >= the largest tile's items.

#include "fl_b_ring.cuh"
#include "fl_streamk.cuh"

namespace {

using namespace fl;

constexpr int kBarrierBytes = 1024;
constexpr uint32_t kReady = kBarrierBytes - 8;  // mbarrier of prepare_counters()
constexpr int kBStages = 2;
constexpr int kBRow = kChunkCols * 2 + 16;
constexpr uint32_t kTileRows = 128;
constexpr uint32_t kTileCols = 64;
constexpr uint32_t kTileBytes = kTileRows * kTileCols * 2;
constexpr uint32_t kTilesAChunk = kChunkCols / kTileCols;

template <int NT, int W>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    constexpr uint32_t kRows = NT * 8;
    let_dependents_begin();
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t base = kept(smem_addr(smem)), a_full_all = base + 16 * kBStages;
    const uint32_t tiles = base + kBarrierBytes + kBStages * kRows * kBRow, a_ring = tiles + W * kTileBytes;

    const uint32_t warp = warp_number(), lane = threadIdx.x % 32;
    const uint32_t slice = blockIdx.y, n0 = slice * kRows;
    const uint32_t row_tiles = (p.m + kTileRows - 1) / kTileRows, k_tiles = (p.k + kTileCols - 1) / kTileCols;
    const uint32_t chunks = (p.k + kChunkCols - 1) / kChunkCols;
    const StreamK line(p, (row_tiles + W - 1) / W);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    BRing<kBStages, kBRow, kRows> ring(base, base + kBarrierBytes, warp == W);

    if (threadIdx.x == 0) {
        ring.init(W);
        mbar_init(base + kReady, kWarpLanes);
        for (uint32_t i = 0; i < W * p.a_slots; ++i) mbar_init(a_full_all + 8 * i, 1);
        mbar_init_fence();
    }
    __syncthreads();

    if (warp == W) {
        const uint32_t n_rows = min(p.n - n0, kRows);
        wait_for_earlier_work();
        for (uint32_t unit = unit0; unit < unit1; ++unit) {
            ring.load(p, n0, n_rows, unit % chunks, lane);
            // B first: the words of counters come from as far.
            if (unit == unit0) prepare_counters(line, slice, W, lane, base + kReady);
        }
        return;
    }

    // The line in tiles: position = row group * k_tiles + tile along K.
    auto position = [&](uint32_t unit) { return unit / chunks * k_tiles + unit % chunks * kTilesAChunk; };
    const uint32_t pos0 = position(unit0), pos1 = position(unit1);
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);
    const uint4* items = reinterpret_cast<const uint4*>(p.data);
    const uint32_t a_full = a_full_all + 8 * p.a_slots * warp;
    const uint32_t slots = a_ring + warp * p.a_slots * p.slot_bytes;
    const uint32_t dense = tiles + warp * kTileBytes;

    // Bounds of the next 32 tiles, one a lane, in units of four items.
    uint32_t window = pos0, issued = pos0, begins = 0, ends = 0;
    auto load_window = [&] {
        const uint32_t pos = min(window + lane, pos1 - 1);
        const uint32_t row_tile = pos / k_tiles * W + warp;
        begins = ends = 0;
        if (row_tile < row_tiles) {
            const uint64_t tile = static_cast<uint64_t>(row_tile) * k_tiles + pos % k_tiles;
            begins = table[tile];
            ends = table[tile + 1];
        }
    };
    load_window();
    auto issue = [&](uint32_t slot) {
        if (issued - window >= 32) {
            window = issued;
            load_window();
        }
        const uint32_t begin = __shfl_sync(~0u, begins, issued - window);
        const uint32_t bytes = (__shfl_sync(~0u, ends, issued - window) - begin) * 16;
        if (lane == 0) {
            mbar_expect_tx(a_full + 8 * slot, bytes);
            if (bytes != 0) bulk_load(slots + slot * p.slot_bytes, items + begin, bytes, a_full + 8 * slot);
        }
        ++issued;
        return bytes / 16;
    };
    // Vectors of four items in each slot; a_slots <= 4.
    uint32_t counts[4] = {0, 0, 0, 0};
    for (uint32_t s = 0; s < p.a_slots && issued < pos1; ++s) {
        const uint32_t count = issue(s);
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i)
            if (i == s) counts[i] = count;
    }
    for (uint32_t i = lane; i < kTileBytes / 16; i += 32) sts128(dense + i * 16, make_uint4(0, 0, 0, 0));
    __syncwarp();

    float4 acc[8 * NT];
#pragma unroll
    for (int i = 0; i < 8 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);

    const uint32_t row = lane % 16, half = lane / 16;
    const uint32_t b_lane = (lane % 8) * kBRow + lane / 8 * 16;
    uint32_t slot = 0, a_phase = 0, k_tile = pos0 % k_tiles, group = pos0 / k_tiles;
    Parts<8 * NT> parts(p, line, blockIdx.x, warp, W, slice, base + kReady);
    for (uint32_t pos = pos0; pos < pos1; ++group, k_tile = 0) {
        const uint32_t row_tile = group * W + warp, end = min(pos1, pos + k_tiles - k_tile);
        parts.begin(group);
        for (; pos < end; ++pos, ++k_tile) {
            const uint32_t from = slots + slot * p.slot_bytes;
            if (pos + 1 == end) prefetch_end<kTileRows, NT * 8>(p, row_tile * kTileRows, n0, lane);
            mbar_wait(a_full + 8 * slot, a_phase);
            uint32_t count = counts[0];
#pragma unroll
            for (uint32_t i = 1; i < 4; ++i)
                if (i == slot) count = counts[i];
#pragma unroll 2
            for (uint32_t i = lane; i < count; i += 32) {
                const uint4 v = lds128(from + i * 16);
                sts16(dense + (v.x >> 16) * 2, v.x);
                sts16(dense + (v.y >> 16) * 2, v.y);
                sts16(dense + (v.z >> 16) * 2, v.z);
                sts16(dense + (v.w >> 16) * 2, v.w);
            }
            __syncwarp();
            if (issued < pos1) {
                const uint32_t next = issue(slot);
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i)
                    if (i == slot) counts[i] = next;
            }
            if (++slot == p.a_slots) {
                slot = 0;
                a_phase ^= 1;
            }
            if (k_tile % kTilesAChunk == 0 || pos == pos0) ring.wait_full();
            if (row_tile < row_tiles) {
                uint32_t b[NT][2][4];
                const uint32_t b_tile = ring.address() + b_lane + k_tile % kTilesAChunk * (kTileCols * 2);
#pragma unroll
                for (int nt = 0; nt < NT; ++nt)
#pragma unroll
                    for (int q = 0; q < 2; ++q) ldmatrix4(b[nt][q], b_tile + nt * 8 * kBRow + q * 64);
#pragma unroll
                for (int h = 0; h < 8; ++h) {
                    uint32_t a[4][4], at[4];
#pragma unroll
                    for (int ks = 0; ks < 4; ++ks) {
                        at[ks] = dense + (h * 16 + row) * 128 + (((ks * 2 + half) ^ (row & 7)) * 16);
                        ldmatrix4(a[ks], at[ks]);
                    }
                    __syncwarp();
#pragma unroll
                    for (int ks = 0; ks < 4; ++ks) sts128(at[ks], make_uint4(0, 0, 0, 0));
#pragma unroll
                    for (int nt = 0; nt < NT; ++nt)
#pragma unroll
                        for (int ks = 0; ks < 4; ++ks)
                            mma_m16n8k16(acc[h * NT + nt], a[ks], b[nt][ks / 2][ks % 2 * 2], b[nt][ks / 2][ks % 2 * 2 + 1]);
                }
                __syncwarp();
            }
            if ((k_tile + 1) % kTilesAChunk == 0 || k_tile + 1 == k_tiles) ring.release();
        }
        if (row_tile < row_tiles && parts.reduce(acc, lane)) {
            // By way of the dense tile, which is nobody else's and zero before and after.
#pragma unroll
            for (int i = 0; i < 8 * NT; ++i) sts128(dense + sums_place(i, lane), bits(acc[i]));
            store_m16n8_sums<2 * NT, true>(
                p, dense, 8 * NT, lane, [&](uint32_t i) { return row_tile * kTileRows + i / NT * 16; },
                [&](uint32_t i) { return n0 + i % NT * 8; });
#pragma unroll
            for (int i = 0; i < 8 * NT; ++i) sts128(dense + i * 512 + lane * 16, make_uint4(0, 0, 0, 0));
            __syncwarp();
        }
#pragma unroll
        for (int i = 0; i < 8 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
    }
#endif
}

}  // namespace

#define FL_SPMM_TILED_CSL(NT, W)                                                                \
    extern "C" __global__ void __launch_bounds__((W + 1) * 32, 1)                               \
        FL_ENTRY(fl_spmm_tiled_csl_, _n##NT##w##W##_sm90)(const __grid_constant__ FlSpmmParams p) { \
        spmm<NT, W>(p);                                                                         \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_TILED_CSL_GROUP(NT, W)                                                          \
    extern "C" __global__ void __launch_bounds__((W + 1) * 32, 1)                               \
        FL_ENTRY(fl_spmm_tiled_csl_, _n##NT##w##W##_sm90_group)(const __grid_constant__ FlSpmmGroup g) { \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                \
        if (blockIdx.y * (NT * 8) < p.n) spmm<NT, W>(p);                                        \
    }

FL_SPMM_TILED_CSL(1, 7)
FL_SPMM_TILED_CSL(2, 7)
FL_SPMM_TILED_CSL(1, 4)
FL_SPMM_TILED_CSL(2, 4)

FL_SPMM_TILED_CSL_GROUP(2, 7)
