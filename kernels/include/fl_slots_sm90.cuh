// SPDX-License-Identifier: Apache-2.0
// What the Slots kernels for Hopper share: the warps that bring A and B.
#pragma once

#include "fl_a_ring.cuh"
#include "fl_slots.cuh"
#include "fl_streamk.cuh"

namespace fl::slots {

constexpr int kRawCols = 128;
constexpr int kRawRow = kRawCols * 2 + 16;  // ldmatrix reads 8 rows without a bank conflict

// How a stage of B comes: through its loader's registers, through shared memory, which keeps more in flight, or as the pack kernel
// left it in the workspace. B of 48 columns and more would take three times the wavefronts, and a quarter of shared memory, the second way.
enum class Bring { Registers, Raw, Packed };

constexpr Bring bring(int nt) { return nt < 3 ? Bring::Registers : nt < 5 ? Bring::Raw : Bring::Packed; }

// Rings of B, `Stages` of a block each and, where B is wide, `Raw` of half a block as it comes. A warp that brings B has only so
// many bytes in flight: wide B takes two or three.
template <int NT>
struct Rings {
    static constexpr Bring kBring = bring(NT);
    static constexpr uint32_t kLoaders = kBring != Bring::Raw ? 1 : NT == 3 ? 3 : 2;
    static constexpr uint32_t kLoaderRows = NT * 8 / kLoaders;
    static constexpr uint32_t kStages = NT >= 3 ? 2 : 3;
    static constexpr uint32_t kStageBytes = NT * kPlane;
    static constexpr uint32_t kRaw = kBring == Bring::Raw ? 4 : 0;
    static constexpr uint32_t kRawBytes = NT * 8 * kRawRow;
    static constexpr uint32_t kBytes = kStages * kStageBytes + kRaw * kRawBytes;
    // Which warp that loads prepares counters: one with nothing else to do, or the first that brings B, which is on its way meanwhile.
    static constexpr uint32_t kPreparer = NT >= 4 ? 3 : 1;
    // Where NT >= 3: registers of a thread that loads and of one that multiplies, of 96 (640 threads) and of 128 (512) before.
    static constexpr int kLoading = kBring == Bring::Raw ? 64 : 56;
    static constexpr int kMultiplying = kBring == Bring::Raw ? 104 : 152;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
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

struct Addresses : ABRings {
    using ABRings::ABRings;
    uint32_t raw;
};

// A warp that brings B. It holds the next block in registers, a lane eight of K of a column of every 8 x 32, and writes it
// transposed.
template <int NT, Bring kBring = bring(NT)>
struct LoadB {
    using R = Rings<NT>;
    static constexpr int kPieces = kBlockCols / 32;
    const FlSpmmParams& p;
    const Addresses& at;
    const uint32_t lane;
    uint32_t rows, k, units, to;
    const __half* b;
    uint4 next[NT * kPieces];

    __device__ __forceinline__ LoadB(const FlSpmmParams& params, const Addresses& addresses, uint32_t unit0, uint32_t unit1, uint32_t slice,
                                     uint32_t, uint32_t this_lane)
        : p(params), at(addresses), lane(this_lane) {
        const uint32_t n0 = slice * (NT * 8) + lane / 4;
        rows = p.n > n0 ? p.n - n0 : 0;
        k = block_of(p, unit0) * kBlockCols + lane % 4 * 8;
        b = reinterpret_cast<const __half*>(p.b) + static_cast<int64_t>(n0) * p.b_stride_n;
        units = unit1 - unit0;
        // Row c of matrix j is the c % 2-th of pair (c / 2 + j) % 4 of octet c / 2.
        const uint32_t octet = lane % 8 / 2;
        to = at.b + (octet * 8 + (octet + lane / 8) % 4 * 2 + lane % 2) * 16;
    }

    __device__ __forceinline__ void load() {
        if (units == 0) return;
#pragma unroll
        for (int nt = 0; nt < NT; ++nt) {
#pragma unroll
            for (int i = 0; i < kPieces; ++i) {
                // A is clear beyond K and C is not stored beyond N, but 0 * NaN would not be zero: nothing is zeros.
                const bool there = k + i * 32 < p.k && nt * 8 < rows;
                next[nt * kPieces + i] =
                    there ? *reinterpret_cast<const uint4*>(b + nt * 8 * p.b_stride_n + k + i * 32) : make_uint4(0, 0, 0, 0);
            }
        }
        k += kBlockCols;
        if (k >= p.k_blocks * kBlockCols) k -= p.k_blocks * kBlockCols;
    }

    __device__ __forceinline__ void start() {
        wait_for_earlier_work();
        load();
    }

    __device__ __forceinline__ void run() {
        Cursor<R::kStages> stage;
        while (units > 0) {
            mbar_wait(at.b_empty + 8 * stage.stage, stage.phase ^ 1);
            const uint32_t stage_to = to + stage.stage * R::kStageBytes;
#pragma unroll
            for (int nt = 0; nt < NT; ++nt) {
#pragma unroll
                for (int i = 0; i < kPieces; ++i) {
                    // Each octet's pairs turned by its number: the eight rows of a matrix then lie in different banks.
                    const uint4 v = next[nt * kPieces + i];
                    const bool one = lane & 1, two = lane & 2;
                    const uint32_t x = one ? v.y : v.x, y = one ? v.z : v.y, z = one ? v.w : v.z, w = one ? v.x : v.w;
                    const uint32_t turned[4] = {two ? z : x, two ? w : y, two ? x : z, two ? y : w};
                    stmatrix4_trans(stage_to + nt * kPlane + i * 512, turned);
                }
            }
            mbar_arrive(at.b_full + 8 * stage.stage);
            stage.advance();
            --units;
            load();
        }
    }
};

// Of wide B two warps bring half of the columns each, or three a third. Pieces come as they are, by copies that keep more in flight than registers
// would, and are transposed from there.
template <int NT>
struct LoadB<NT, Bring::Raw> {
    using R = Rings<NT>;
    const FlSpmmParams& p;
    const Addresses& at;
    const uint32_t lane, loader;
    uint32_t raw, rows, issue_stage = 0, issue_k, units, pieces;
    const __half* b;

    // Pieces of 128 of K, of which the i-th unit has number 2 i and 2 i + 1.
    __device__ __forceinline__ LoadB(const FlSpmmParams& params, const Addresses& addresses, uint32_t unit0, uint32_t unit1, uint32_t slice,
                                     uint32_t this_loader, uint32_t this_lane)
        : p(params), at(addresses), lane(this_lane), loader(this_loader) {
        const uint32_t n0 = slice * (NT * 8) + loader * R::kLoaderRows;
        rows = p.n > n0 ? p.n - n0 : 0;
        raw = at.raw + loader * R::kLoaderRows * kRawRow;
        b = reinterpret_cast<const __half*>(p.b) + static_cast<int64_t>(n0) * p.b_stride_n;
        issue_k = block_of(p, unit0) * kBlockCols;
        units = unit1 - unit0;
        pieces = units * 2;
    }

    // One group of asynchronous copies a piece; a lane copies 16 bytes of two rows at a time.
    __device__ __forceinline__ void copy_raw() {
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
    }

    // The first copies, which need no mbarrier.
    __device__ __forceinline__ void start() {
        wait_for_earlier_work();
        for (uint32_t i = 0; i + 1 < R::kRaw; ++i) copy_raw();
    }

    __device__ __forceinline__ void run() {
        Cursor<R::kStages> stage;
        uint32_t raw_stage = 0;
        for (uint32_t unit = 0; unit < units; ++unit) {
            mbar_wait(at.b_empty + 8 * stage.stage, stage.phase ^ 1);
            const uint32_t to = at.b + stage.stage * R::kStageBytes + loader * (NT / R::kLoaders) * kPlane + lane * 16;
#pragma unroll 1
            for (uint32_t half = 0; half < 2; ++half) {
                cp_async_wait<R::kRaw - 2>();
                __syncwarp();
                const uint32_t from = raw + raw_stage * R::kRawBytes + lane % 8 * kRawRow + lane / 8 * 16;
#pragma unroll 2
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
            stage.advance();
        }
    }
};

// Of B that lies as a stage does, block of K by block of K and in each slice by slice: one copy for a stage.
template <int NT>
struct LoadB<NT, Bring::Packed> {
    using R = Rings<NT>;
    const Addresses& at;
    const uint32_t lane;
    const unsigned char *b, *first, *last;
    uint32_t units;
    int64_t step;

    __device__ __forceinline__ LoadB(const FlSpmmParams& p, const Addresses& addresses, uint32_t unit0, uint32_t unit1, uint32_t slice,
                                     uint32_t, uint32_t this_lane)
        : at(addresses), lane(this_lane), units(unit1 - unit0), step(static_cast<int64_t>(gridDim.y) * R::kStageBytes) {
        first = reinterpret_cast<const unsigned char*>(p.b) + static_cast<int64_t>(slice) * R::kStageBytes;
        last = first + p.k_blocks * step;
        b = first + block_of(p, unit0) * step;
    }

    __device__ __forceinline__ void start() { wait_for_earlier_work(); }

    __device__ __forceinline__ void run() {
        Cursor<R::kStages> stage;
        for (; units > 0; --units) {
            mbar_wait(at.b_empty + 8 * stage.stage, stage.phase ^ 1);
            if (lane == 0) {
                mbar_expect_tx(at.b_full + 8 * stage.stage, R::kStageBytes);
                bulk_load(at.b + stage.stage * R::kStageBytes, b, R::kStageBytes, at.b_full + 8 * stage.stage);
            } else {
                mbar_arrive(at.b_full + 8 * stage.stage);
            }
            __syncwarp();
            stage.advance();
            b += step;
            if (b == last) b = first;
        }
    }
};
#endif

}  // namespace fl::slots
