// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Slots, fp16 in, fp32 accumulation, Hopper.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)). A row group is R = p.group_tiles tiles of 32 rows. S consumer
//           warps share a tile: with S = 2 one takes the four steps of a block whose values are in the low
//           halves and the overflow of the upper 16 rows, the other the rest. One more warp loads. The
//           units (row group, block of 256 columns) are dealt to the CTAs (fl_streamk.cuh); a CTA walks its
//           units along K, then on to the next row group.
// Shared:   [0, 1024)   mbarriers: full[] and empty[] of B, full[R][slots] of A
//           [1024, ..)  B ring, stages of NT planes: 256 rows of K x 8 columns of N
//           [.., ..)    raw B ring, stages of 8*NT rows of N x 128 of K, 16 bytes apart
//           [.., ..)    sums that the warps of a tile exchange (S = 2): NT x 512 bytes a consumer warp
//           [.., ..)    A ring, R x slots x slot_bytes: blocks exactly as stored
// Pipeline: loader   A0 .. A(slots-1), raw B .. | raw B u -> B u | unit u done: A(u+slots), B(u+stages) | ...
//           warp     wait A0, B0 | steps: decode + mma.sp | overflow rounds: gather + mma | done 0 | wait A1 ...
//           One bulk copy a block of A. B comes in 16-byte pieces, which keep more bytes in flight than
//           registers would, and the loader transposes it: rows of K can then be gathered. Nothing drains at a row group's end: the rings run on.
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0
//           (the host packs B otherwise); slot_bytes >= largest block; R * slots <= 32.

#include "fl_slots.cuh"
#include "fl_streamk.cuh"

namespace {

using namespace fl;
using namespace fl::slots;

constexpr int kBarrierBytes = 1024;
constexpr int kPlane = kBlockCols * 16;

constexpr int kRawCols = 128;
constexpr int kRawRow = kRawCols * 2 + 16;  // ldmatrix reads 8 rows without a bank conflict

// A warp that loads has only so many bytes in flight: wide B takes two.
template <int NT>
struct Rings {
    static constexpr uint32_t kLoaders = NT >= 4 ? 2 : 1;
    static constexpr uint32_t kLoaderRows = NT * 8 / kLoaders;
    static constexpr uint32_t kStages = NT >= 4 ? 2 : 3;
    static constexpr uint32_t kStageBytes = NT * kPlane;
    static constexpr uint32_t kRaw = NT == 8 ? 3 : 4;
    static constexpr uint32_t kRawBytes = NT * 8 * kRawRow;
    static constexpr uint32_t kBytes = kStages * kStageBytes + kRaw * kRawBytes;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Adds the overflow of one row tile of 16: `rounds` x 16 entries (value, column, place of the row), which make an
// A fragment with one element a column, times the rows of B that they name.
template <int NT, int S>
__device__ __forceinline__ void add_overflow(float4* acc, uint32_t entries, uint32_t first, uint32_t rounds, uint32_t b_stage, uint32_t lane) {
    const OverflowFragment fragment(entries, lane);
    const uint32_t gathered = entries + lane % 16 * 4;
    const uint32_t b_lane = b_stage + lane / 16 * kPlane;
    for (uint32_t round = first; round < rounds; round += S == 4 ? 2 : 1) {
        const uint32_t column = lds32(gathered + round * (kRound * 4)) >> 16 & 0xff;
        uint32_t e[4], a[4];
        fragment.load(round, e, a);
        const uint32_t from = b_lane + column * 16;
        if (NT == 1) {
            uint32_t b0, b1;
            ldmatrix2_trans(b0, b1, from - lane / 16 * kPlane);
            mma_m16n8k16(acc[0], a, b0, b1);
        } else {
#pragma unroll
            for (int nt = 0; nt < NT; nt += 2) {
                uint32_t b[4];
                ldmatrix4_trans(b, from + nt * kPlane);
                mma_m16n8k16(acc[nt], a, b[0], b[1]);
                mma_m16n8k16(acc[nt + 1], a, b[2], b[3]);
            }
        }
    }
}

// A stage of a ring and the parity of its barriers.
template <uint32_t kStages>
struct Cursor {
    uint32_t stage = 0, phase = 0;
    __device__ __forceinline__ void advance() {
        if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
        }
    }
};

struct Addresses {
    uint32_t b_full, b_empty, a_full, b, raw, a;
};

// A loader warp: copies of A (the first loader), copies of its share of B's columns and their transposition.
template <int NT>
__device__ __forceinline__ void load(const FlSpmmParams& p, const Addresses& at, const StreamK& line, uint32_t slice, uint32_t loader,
                                     uint32_t lane) {
    using R = Rings<NT>;
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);

    // B: pieces of 128 of K, of which the i-th unit has number 2 i and 2 i + 1. One group of asynchronous copies
    // each; a lane copies 16 bytes of two rows at a time.
    const uint32_t n0 = slice * (NT * 8) + loader * R::kLoaderRows;
    const uint32_t rows = p.n > n0 ? p.n - n0 : 0;
    const uint32_t raw = at.raw + loader * R::kLoaderRows * kRawRow;
    const __half* b = reinterpret_cast<const __half*>(p.b) + static_cast<int64_t>(n0) * p.b_stride_n;
    uint32_t issue_stage = 0, issue_k = unit0 % p.k_blocks * kBlockCols, pieces = (unit1 - unit0) * 2;
    auto copy_raw = [&] {
        if (pieces != 0) {
            --pieces;
            const uint32_t k = issue_k + lane % 16 * 8;
            const uint32_t to = raw + issue_stage * R::kRawBytes + lane / 16 * kRawRow + lane % 16 * 16;
            const __half* from = b + lane / 16 * p.b_stride_n + k;
#pragma unroll
            for (uint32_t n = 0; n < R::kLoaderRows; n += 2)
                // A is clear beyond K and C is not stored beyond N, but 0 * NaN would not be zero: nothing is zeros.
                cp_async16(to + n * kRawRow, from + n * p.b_stride_n, k < p.k && n + lane / 16 < rows ? 16 : 0);
            if (++issue_stage == R::kRaw) issue_stage = 0;
            // The second half of a row's last block may be empty; the next row begins with its first.
            issue_k += kRawCols;
            if (issue_k == p.k_blocks * kBlockCols) issue_k = 0;
        }
        cp_async_commit();
    };

    // A: lane r copies the blocks of the group's r-th tile.
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);
    const unsigned char* data = reinterpret_cast<const unsigned char*>(p.data);
    uint32_t begin = 0, bytes = 0;
    // Where a tile's block of a unit lies; nothing for tiles beyond M and units beyond this CTA's.
    auto find = [&](uint32_t r, uint32_t unit) {
        const uint32_t tile = unit / p.k_blocks * p.group_tiles + r;
        begin = bytes = 0;
        if (r < p.group_tiles && unit < unit1 && tile < p.row_tiles) {
            const uint64_t block = static_cast<uint64_t>(tile) * p.k_blocks + unit % p.k_blocks;
            begin = table[block];
            bytes = (table[block + 1] - begin) * kUnit;
        }
    };
    auto copy_a = [&](uint32_t r, uint32_t slot) {
        const uint32_t index = r * p.a_slots + slot;
        mbar_expect_tx(at.a_full + 8 * index, bytes);
        if (bytes != 0)
            bulk_load(at.a + index * p.slot_bytes, data + static_cast<uint64_t>(begin) * kUnit, bytes, at.a_full + 8 * index);
    };
    // B first: it is little, and everything waits for it.
    copy_raw();
    copy_raw();
    if (loader == 0) {
        if (lane < p.group_tiles * p.a_slots) find(lane % p.group_tiles, unit0 + lane / p.group_tiles);
        if (lane < p.group_tiles * p.a_slots) copy_a(lane % p.group_tiles, lane / p.group_tiles);
        __syncwarp();
        find(lane, unit0 + p.a_slots);
    }
    for (uint32_t i = 2; i + 1 < R::kRaw; ++i) copy_raw();

    Cursor<R::kStages> stage;
    uint32_t slot = 0, raw_stage = 0;
    for (uint32_t unit = unit0; unit < unit1 + R::kStages; ++unit) {
        mbar_wait(at.b_empty + 8 * stage.stage, stage.phase ^ 1);
        // All warps are done with the unit whose stage this was, so with its blocks of A.
        if (unit >= unit0 + R::kStages) {
            if (loader != 0) {
                if (unit >= unit1) break;
            } else if (unit - R::kStages + p.a_slots >= unit1) {
                if (unit >= unit1) break;
            } else {
                if (lane < p.group_tiles) copy_a(lane, slot);
                if (++slot == p.a_slots) slot = 0;
                find(lane, unit - R::kStages + p.a_slots + 1);
            }
        }
        if (unit < unit1) {
            const uint32_t to = at.b + stage.stage * R::kStageBytes + loader * (NT / R::kLoaders) * kPlane + lane * 16;
#pragma unroll 1
            for (uint32_t half = 0; half < 2; ++half) {
                cp_async_wait<R::kRaw - 2>();
                __syncwarp();
                const uint32_t from = raw + raw_stage * R::kRawBytes + lane % 8 * kRawRow + lane / 8 * 16;
#pragma unroll(NT == 1 ? 1 : 2)
                for (int nt = 0; nt < NT / static_cast<int>(R::kLoaders); ++nt) {
#pragma unroll
                    for (int q = 0; q < kRawCols / 32; ++q) {
                        uint32_t v[4];
                        ldmatrix4(v, from + nt * 8 * kRawRow + q * 64);
                        stmatrix4_trans(to + nt * kPlane + (half * kRawCols + q * 32) * 16, v);
                    }
                }
                if (++raw_stage == R::kRaw) raw_stage = 0;
                __syncwarp();
                copy_raw();
            }
            mbar_arrive(at.b_full + 8 * stage.stage);
        }
        stage.advance();
    }
}
#endif

// Adds what another warp left.
template <int NT>
__device__ __forceinline__ void add(float4* acc, uint32_t from) {
#pragma unroll
    for (int i = 0; i < NT; ++i) {
        const uint4 v = lds128(from + i * 512);
        acc[i].x += __uint_as_float(v.x);
        acc[i].y += __uint_as_float(v.y);
        acc[i].z += __uint_as_float(v.z);
        acc[i].w += __uint_as_float(v.w);
    }
}

// By value: ?: would choose between addresses and put the accumulators into local memory.
__device__ __forceinline__ float4 select(bool first, float4 a, float4 b) {
    return make_float4(first ? a.x : b.x, first ? a.y : b.y, first ? a.z : b.z, first ? a.w : b.w);
}

template <int NT, int S>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using R = Rings<NT>;
    constexpr int kVectors = S == 1 ? 2 * NT : NT;  // of the sums, for one row tile of 16 or for both
    constexpr uint32_t kExchange = S == 1 ? 0 : NT * 512;
    extern __shared__ __align__(128) unsigned char smem[];
    const uint32_t base = smem_addr(smem);
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t consumers = p.group_tiles * S;
    Addresses at;
    at.b_full = base;
    at.b_empty = at.b_full + 8 * R::kStages;
    at.a_full = at.b_empty + 8 * R::kStages;
    at.b = base + kBarrierBytes;
    at.raw = at.b + R::kStages * R::kStageBytes;
    const uint32_t exchange = base + kBarrierBytes + R::kBytes;
    at.a = exchange + consumers * kExchange;
    const uint32_t slice = blockIdx.y, n0 = slice * (NT * 8);
    const StreamK line(p, (p.row_tiles + p.group_tiles - 1) / p.group_tiles);

    if (warp == consumers) {
        if (lane == 0) {
            for (uint32_t i = 0; i < R::kStages; ++i) {
                mbar_init(at.b_full + 8 * i, 32 * R::kLoaders);
                mbar_init(at.b_empty + 8 * i, consumers);
            }
            for (uint32_t i = 0; i < p.group_tiles * p.a_slots; ++i) mbar_init(at.a_full + 8 * i, 1);
            mbar_init_fence();
        }
    }
    __syncthreads();

    if (warp >= consumers) {
        load<NT>(p, at, line, slice, warp - consumers, lane);
        return;
    }

    const uint32_t r = warp / S, s = warp % S;
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    const uint32_t a_full = at.a_full + 8 * p.a_slots * r;
    const uint32_t slots = at.a + r * p.a_slots * p.slot_bytes;

    float4 acc[2 * NT];
#pragma unroll
    for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);

    const Transpose transpose(lane);
    Cursor<R::kStages> stage;
    uint32_t slot = 0, a_phase = 0, k_block = unit0 % p.k_blocks, group = unit0 / p.k_blocks;
    Parts<kVectors> parts(p, line, blockIdx.x, S == 4 ? r * 2 + s % 2 : warp, p.group_tiles * (S == 4 ? 2 : S), slice);
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        const uint32_t block = slots + slot * p.slot_bytes;
        const uint32_t tile = group * p.group_tiles + r;
        const bool segment_ends = k_block + 1 == p.k_blocks || unit + 1 == unit1;
        if (k_block == 0 || unit == unit0) parts.begin(group);
        const uint64_t peeked = segment_ends ? parts.peek() : 0;
        const uint32_t b_stage = at.b + stage.stage * R::kStageBytes;
        mbar_wait(a_full + 8 * slot, a_phase);
        if (++slot == p.a_slots) {
            slot = 0;
            a_phase ^= 1;
        }
        mbar_wait(at.b_full + 8 * stage.stage, stage.phase);
        if (tile < p.row_tiles) {
            const uint2 counts = lds64(block + kStarts);
            const uint32_t rounds0 = counts.x >> 24, rounds1 = counts.y >> 24;
            const uint32_t values = block + kOverflow + (rounds0 + rounds1 + 1) / 2 * kUnit;
            // Couples of steps that overlap hide latency, but their fragments take registers.
#pragma unroll(S == 1 ? 1 : kCouples / S)
            for (uint32_t couple = s * (kCouples / S); couple < (s + 1) * (kCouples / S); ++couple) {
                const uint2 codes2 = lds64(block + couple * (2 * kUnit) + lane * 8);
                const uint32_t half = couple / 2;
                uint32_t stream = lane;
                if (couple % 2 == 1) stream = (lds32(block + kStarts + lane * 4) >> (12 * half)) & 0xfff;
                uint32_t next = values + stream * 4 + half * 2;
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const uint32_t codes = i == 0 ? codes2.x : codes2.y;
                    uint32_t a[2][4];
                    decode_step(transpose(codes), next, a);
#pragma unroll
                    for (int nt = 0; nt < NT; ++nt) {
                        uint32_t b[4];
                        ldmatrix4_trans(b, b_stage + nt * kPlane + (couple * 2 + i) * 512 + lane * 16);
                        mma_sp_m16n8k32<0>(acc[nt], a[0], b, codes);
                        mma_sp_m16n8k32<1>(acc[NT + nt], a[1], b, codes);
                    }
                }
            }
            const uint32_t entries0 = block + kOverflow, entries1 = entries0 + rounds0 * (kRound * 4);
            if (S == 1 || s % 2 == 0) add_overflow<NT, S>(acc, entries0, s / 2, rounds0, b_stage, lane);
            if (S == 1 || s % 2 == 1) add_overflow<NT, S>(acc + NT, entries1, s / 2, rounds1, b_stage, lane);
        }
        __syncwarp();
        if (lane == 0) mbar_arrive(at.b_empty + 8 * stage.stage);
        stage.advance();
        ++k_block;
        if (segment_ends) {
            bool owner = true;
            if (S > 1) {
                // Each warp gives its neighbour the row tile of 16 that the other sums, and keeps its own in acc[0, NT).
                const uint32_t mine = exchange + warp * kExchange + lane * 16;
                const uint32_t near = exchange + (warp ^ 1) * kExchange + lane * 16;
#pragma unroll
                for (int i = 0; i < NT; ++i) {
                    sts128(mine + i * 512, bits(select(s % 2 == 0, acc[NT + i], acc[i])));
                    acc[i] = select(s % 2 == 0, acc[i], acc[NT + i]);
                }
                named_barrier(r + 1, S * 32);
                add<NT>(acc, near);
                named_barrier(r + 1, S * 32);
                if (S == 4) {
                    // The upper couple of warps gives its sums to the lower.
                    owner = s < 2;
                    if (!owner) {
#pragma unroll
                        for (int i = 0; i < NT; ++i) sts128(mine + i * 512, bits(acc[i]));
                    }
                    named_barrier(r + 1, S * 32);
                    if (owner) add<NT>(acc, mine + 2 * kExchange);
                    named_barrier(r + 1, S * 32);
                }
            }
            if (owner && tile < p.row_tiles && parts.reduce(acc, peeked, lane)) {
#pragma unroll
                for (int i = 0; i < kVectors; ++i)
                    store_m16n8(p, tile * kTileRows + (s + i / NT) * 16, n0 + i % NT * 8, acc[i], lane);
            }
#pragma unroll
            for (int i = 0; i < 2 * NT; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
            k_block = 0;
            ++group;
        }
    }
#endif
}

}  // namespace

#define FL_SPMM_SLOTS(NT, S, THREADS)                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                    \
        FL_ENTRY(fl_spmm_slots_, _n##NT##_sm90)(const __grid_constant__ FlSpmmParams p) {        \
        spmm<NT, S>(p);                                                                         \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_SLOTS_GROUP(NT, S, THREADS)                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                    \
        FL_ENTRY(fl_spmm_slots_, _n##NT##_sm90_group)(const __grid_constant__ FlSpmmGroup g) {  \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                \
        if (blockIdx.y * (NT * 8) < p.n) spmm<NT, S>(p);                                        \
    }

FL_SPMM_SLOTS(1, 2, 480)
FL_SPMM_SLOTS(2, 2, 480)
FL_SPMM_SLOTS(4, 2, 512)
FL_SPMM_SLOTS(8, 1, 288)

FL_SPMM_SLOTS_GROUP(2, 2, 480)
