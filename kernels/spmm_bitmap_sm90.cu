// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Bitmap, fp16 in, fp32 accumulation, Hopper.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)). A row group is W tiles of 32 rows, one a consumer warp;
//           one more warp loads B. The units (row group, K block) are cut evenly over the CTAs
//           (fl_streamk.cuh); a CTA walks its units along K, then on to the next row group.
// Shared:   [0, 1024)   mbarriers: B full[kBStages], B empty[kBStages], A full[W][slots]; kReady
//           [1024, ..)  B ring, kBStages x 8*NT rows of 512 + 64 bytes (the 64 keep the 16-byte reads
//                       of 8 rows in different banks)
//           [.., ..)    A ring, W x slots x slot_bytes: blocks exactly as stored
// Pipeline: loader  B0 B1 B2 | B3 when stage 0 is free ...
//           warp w  A0 A1 | wait A0,B0 | decode + mma 8 steps | free B0 | .. | A2 -> slot 0 | wait A1 ...
//           One bulk copy a block of A, issued by its own warp `slots` blocks ahead, one a row of B.
//           Nothing drains at a row group's end: both rings run on into the next group.
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0
//           (the host packs B otherwise); slot_bytes >= largest block + 128.

#include "fl_bitmap.cuh"
#include "fl_streamk.cuh"

namespace {

using namespace fl;
using namespace fl::bitmap;

constexpr int kBarrierBytes = 1024;
constexpr uint32_t kReady = kBarrierBytes - 8;  // mbarrier of prepare_counters()
constexpr int kBStages = 3;
constexpr int kBRow = kChunkCols * 2 + 64;

template <int NT, int W>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    constexpr uint32_t kRows = NT * 8;
    let_dependents_begin();
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t base = smem_addr(smem), a_full_all = base + 16 * kBStages;
    const uint32_t a_ring = base + kBarrierBytes + kBStages * kRows * kBRow;

    const uint32_t warp = warp_number(), lane = threadIdx.x % 32;
    BRing<kBStages, kBRow, kRows> ring(base, base + kBarrierBytes, warp == W);
    const uint32_t slice = blockIdx.y, n0 = slice * kRows;
    const StreamK line(p, (p.row_tiles + W - 1) / W);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    const uint32_t chunks_a_block = p.block_cols / kChunkCols;
    const uint32_t chunks = (p.k + kChunkCols - 1) / kChunkCols;

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
            const uint32_t chunk0 = block_of(p, unit) * chunks_a_block;
            for (uint32_t chunk = chunk0; chunk < min(chunk0 + chunks_a_block, chunks); ++chunk)
                ring.load(p, n0, n_rows, chunk, lane);
            // B first: the words of counters come from as far.
            if (unit == unit0) prepare_counters(line, slice, W, lane, base + kReady);
        }
        return;
    }

    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);
    const unsigned char* data = reinterpret_cast<const unsigned char*>(p.data);
    const uint32_t a_full = a_full_all + 8 * p.a_slots * warp;
    const uint32_t slots = a_ring + warp * p.a_slots * p.slot_bytes;

    // Block bounds of the next 32 units, one a lane: a dependent load before every copy would stall.
    uint32_t window = unit0, issued = unit0, begin_units = 0, end_units = 0;
    auto load_window = [&] {
        const uint32_t unit = min(window + lane, unit1 - 1);
        const uint32_t tile = group_of(p, unit) * W + warp;
        if (tile < p.row_tiles) {
            const uint64_t block = static_cast<uint64_t>(tile) * p.k_blocks + block_of(p, unit);
            begin_units = table[block];
            end_units = table[block + 1];
        } else {
            begin_units = end_units = 0;
        }
    };
    load_window();
    auto issue = [&](uint32_t slot) {
        if (issued - window >= 32) {
            window = issued;
            load_window();
        }
        const uint32_t begin = __shfl_sync(~0u, begin_units, issued - window);
        const uint32_t bytes = (__shfl_sync(~0u, end_units, issued - window) - begin) * kUnit;
        if (lane == 0) {
            mbar_expect_tx(a_full + 8 * slot, bytes);
            if (bytes != 0)
                bulk_load(slots + slot * p.slot_bytes, data + static_cast<uint64_t>(begin) * kUnit, bytes, a_full + 8 * slot);
        }
        ++issued;
    };
    for (uint32_t s = 0; s < p.a_slots && issued < unit1; ++s) issue(s);

    float4 acc[2 * NT];
#pragma unroll
    for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);

    const uint32_t steps = p.block_cols / kStepCols;
    const uint32_t b_lane = (lane >> 2) * kBRow + (lane & 3) * 16;
    // Not a constant to the compiler, which would fold the rotation into every address instead.
    const uint32_t opaque_zero = blockDim.z - 1;
    uint32_t slot = 0, a_phase = 0, k_block = block_of(p, unit0), group = group_of(p, unit0);
    Parts<2 * NT> parts(p, line, blockIdx.x, warp, W, slice, base + kReady);
    for (uint32_t unit = unit0; unit < unit1; ++group, k_block = 0) {
        const uint32_t tile = group * W + warp, end = min(unit1, unit + p.k_blocks - k_block);
        for (; unit < end; ++unit, ++k_block) {
            const uint32_t masks = slots + slot * p.slot_bytes + lane * 16;
            uint32_t at = (slots + slot * p.slot_bytes + steps * kUnit) / 4 - 16;
            const uint32_t in_block = min(chunks_a_block, chunks - k_block * chunks_a_block);
            if (unit + 1 == end) prefetch_end<kTileRows, NT * 8>(p, tile * kTileRows, n0, lane);
            mbar_wait(a_full + 8 * slot, a_phase);
            for (uint32_t chunk = 0; chunk < in_block; ++chunk) {
                const uint32_t b_stage = ring.address() + b_lane;
                ring.wait_full();
                if (tile < p.row_tiles) {
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        const uint4 m4 = lds128(masks + (chunk * 2 + half) * 512);
                        const uint32_t m[4] = {m4.x, m4.y, m4.z, m4.w};
#pragma unroll
                        for (int i = 0; i < 4; ++i) {
                            const int step = half * 4 + i;
                            uint32_t a[2][2][4];
                            const uint32_t stream = (lane * 4) ^ (opaque_zero + rotation(step) * 4);
                            decode_step(m[i], at, stream, a);
                            at = __shfl_xor_sync(~0u, at, static_cast<int>(rotation(step) ^ rotation(step + 1)));
#pragma unroll
                            for (int nt = 0; nt < NT; ++nt) {
                                const uint4 b = lds128(b_stage + nt * 8 * kBRow + step * 64);
                                mma_m16n8k16(acc[nt], a[0][0], b.x, b.y);
                                mma_m16n8k16(acc[NT + nt], a[1][0], b.x, b.y);
                                mma_m16n8k16(acc[nt], a[0][1], b.z, b.w);
                                mma_m16n8k16(acc[NT + nt], a[1][1], b.z, b.w);
                            }
                        }
                    }
                }
                ring.release();
            }
            // All lanes have read the slot.
            __syncwarp();
            if (issued < unit1) issue(slot);
            if (++slot == p.a_slots) {
                slot = 0;
                a_phase ^= 1;
            }
        }
        parts.begin(group);
        if (tile < p.row_tiles && parts.reduce(acc, lane)) store_m32<NT, (NT < 2 ? 1 : 2)>(p, tile * kTileRows, n0, acc, lane);
#pragma unroll
        for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
    }
#endif
}

}  // namespace

#define FL_SPMM_BITMAP(NT, W)                                                                   \
    extern "C" __global__ void __launch_bounds__((W + 1) * 32, 1)                               \
        FL_ENTRY(fl_spmm_bitmap_, _n##NT##w##W##_sm90)(const __grid_constant__ FlSpmmParams p) { \
        spmm<NT, W>(p);                                                                         \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_BITMAP_GROUP(NT, W)                                                             \
    extern "C" __global__ void __launch_bounds__((W + 1) * 32, 1)                               \
        FL_ENTRY(fl_spmm_bitmap_, _n##NT##w##W##_sm90_group)(const __grid_constant__ FlSpmmGroup g) { \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                \
        if (blockIdx.y * (NT * 8) < p.n) spmm<NT, W>(p);                                        \
    }

FL_SPMM_BITMAP(1, 15)
FL_SPMM_BITMAP(2, 15)
FL_SPMM_BITMAP(4, 11)
FL_SPMM_BITMAP(8, 7)
FL_SPMM_BITMAP(1, 7)
FL_SPMM_BITMAP(2, 7)
FL_SPMM_BITMAP(4, 7)

FL_SPMM_BITMAP_GROUP(2, 15)
FL_SPMM_BITMAP_GROUP(8, 7)
