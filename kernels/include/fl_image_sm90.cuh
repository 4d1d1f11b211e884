// SPDX-License-Identifier: Apache-2.0
// Products by way of images: dense tiles of A in shared memory, which wgmma multiplies as they lie.
//
// An image is 128 rows x 128 columns of 16 bits in two halves of 64 columns; a half has 128 rows of 128 bytes whose
// 16-byte pieces are swizzled by the row's number mod 8, which is wgmma's 128-byte swizzle. Some warps of a CTA make
// images from a compressed block, a warpgroup for each row tile of the row group multiplies them and makes them zero
// again. Everything of the pipeline that does not depend on the compressed format is here.
//
// With 8 to 32 columns of N an image is wgmma's A, twice 64 rows. With 64, it is wgmma's B: B's 64 columns are its M,
// the image's 128 rows its N, so that what shared memory gives to wgmma is a third less. With 128, two warpgroups share
// each image, 64 columns each.
#pragma once

#include "fl_streamk.cuh"
#include "fl_wgmma.cuh"

namespace fl::image {

constexpr uint32_t kRows = 128, kCols = 128;
constexpr uint32_t kHalfCols = 64;
constexpr uint32_t kLine = 128;  // bytes of a row of a half
constexpr uint32_t kHalf = kRows * kLine;
constexpr uint32_t kBytes = 2 * kHalf;
constexpr uint32_t kAlign = 1024;
constexpr uint32_t kBarrierBytes = 1024;

// Rings of B, pieces of 128 of K each, and the sums of a thread, for 8 NT columns.
template <int NT>
struct Geometry {
    static constexpr bool kSwapped = NT >= 8;
    static constexpr bool kShared = NT == 16;  // an image, by two warpgroups
    static constexpr uint32_t kLoaders = NT >= 8 ? 2 : 1;  // a half of a piece each, or both
    static constexpr uint32_t kPieces = NT == 16 ? 2 : NT == 8 ? 3 : 4;
    static constexpr uint32_t kAhead = kPieces - 1;
    static constexpr uint32_t kPieceHalf = NT * 8 * kLine;
    static constexpr uint32_t kPieceBytes = 2 * kPieceHalf;
    static constexpr int kVectors = kShared ? NT : 2 * NT;
};

// Where a CTA's barriers and rings are.
struct Addresses {
    uint32_t b_full, b_empty, image_full, image_empty, image_read, a_full, a_empty, b, images, a;
};

template <int NT>
__device__ __forceinline__ Addresses layout(const FlSpmmParams& p, uint32_t base) {
    using G = Geometry<NT>;
    Addresses at;
    at.b_full = base;
    at.b_empty = base + 64;
    at.image_full = base + 128;
    at.image_empty = base + 192;
    at.a_full = base + 256;
    at.a_empty = base + 512;
    at.image_read = base + 768;
    at.b = base + kBarrierBytes;
    at.images = at.b + G::kPieces * G::kPieceBytes;
    at.a = at.images + p.images * kBytes;
    return at;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// A place in a ring and the parity of its barriers. Whoever takes every n-th place has always the same ones: rings
// are multiples of n, or a barrier would be two phases ahead unseen.
struct Cursor {
    uint32_t at, phase;
    __device__ __forceinline__ void advance(uint32_t by, uint32_t size) {
        at += by;
        if (at >= size) {
            at -= size;
            phase ^= 1;
        }
    }
};

// A warp that brings B, in the image's layout with columns of N for rows: of every piece one half, or both.
template <int NT>
__device__ __forceinline__ void load_b(const FlSpmmParams& p, const Addresses& at, uint32_t unit0, uint32_t unit1,
                                       uint32_t n0, uint32_t loader, uint32_t lane) {
    using G = Geometry<NT>;
    const uint32_t rows = p.n > n0 ? p.n - n0 : 0;
    const __half* b = reinterpret_cast<const __half*>(p.b) + static_cast<int64_t>(n0) * p.b_stride_n;
    uint32_t k_block = block_of(p, unit0), waiting = 0, full = 0;
    Cursor piece{0, 1};
    // A lane copies 16 bytes of every fourth row. Rows 4 apart are 4 apart in the swizzle, those 8 apart the same.
    const uint32_t r = lane / 8, c = lane % 8;
    const unsigned char* const own = reinterpret_cast<const unsigned char*>(b + r * p.b_stride_n + c * 8);
    const int64_t four_rows = p.b_stride_n * 8;
    auto signal = [&] {
        mbar_arrive(at.b_full + 8 * full);
        if (++full == G::kPieces) full = 0;
        --waiting;
    };
    wait_for_earlier_work();
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        mbar_wait(at.b_empty + 8 * piece.at, piece.phase);
#pragma unroll
        for (uint32_t h = 0; h < 2 / G::kLoaders; ++h) {
            const uint32_t half = h + loader, k = k_block * kCols + half * kHalfCols;
            const uint32_t even = at.b + piece.at * G::kPieceBytes + half * G::kPieceHalf + r * kLine + (c ^ r) * 16;
            const uint32_t odd = (even ^ 64) + 4 * kLine;
            // A is zero beyond K and C is not stored beyond N, but 0 * NaN would not be zero: nothing is zeros.
            const uint32_t these = k + c * 8 < p.k ? rows : 0;
            const unsigned char* from = own + k * 2;
#pragma unroll
            for (uint32_t i = 0; i < NT * 2; ++i, from += four_rows)
                cp_async16((i % 2 == 0 ? even : odd) + i / 2 * (8 * kLine), from, r + 4 * i < these ? 16 : 0);
        }
        cp_async_commit();
        if (++waiting == G::kAhead) {
            cp_async_wait<G::kAhead - 1>();
            signal();
        }
        piece.advance(1, G::kPieces);
        if (++k_block == p.k_blocks) k_block = 0;
    }
    cp_async_wait<0>();
    while (waiting != 0) signal();
}

// Sums of 16 columns that a warp has put into shared memory, kVectors times 8 rows of store_m8n16()'s layout: where a lane's
// own are, so that a lane reading a run of a column has no bank conflict.
__device__ __forceinline__ uint32_t own_sums(uint32_t lane) { return (lane ^ (lane / 8 & 3)) * 16; }

// Stores them, at rows from m and columns from n on.
template <int kVectors>
__device__ __forceinline__ void store_sums(const FlSpmmParams& p, uint32_t sums, uint32_t m, uint32_t n, uint32_t lane) {
    if (!has_runs(p)) {
#pragma unroll 1
        for (int i = 0; i < kVectors; ++i) store_m8n16(p, m + i * 8, n, lds_float4(sums + i * 512 + own_sums(lane)), lane);
        return;
    }
    __syncwarp();
    // A lane takes two runs: of columns 8 apart.
    const uint32_t column = lane % 8;
#pragma unroll 1
    for (uint32_t i = lane / 8; i < kVectors; i += 4) {
#pragma unroll 1
        for (uint32_t right = 0; right < 2; ++right) {
            const uint32_t row[1] = {m + i * 8}, col[1] = {n + column + right * 8};
            float v[1][kRun];
#pragma unroll
            for (uint32_t q = 0; q < 4; ++q) {
                const uint2 two = lds64(sums + i * 512 + own_sums(column * 4 + q) + right * 8);
                v[0][2 * q] = __uint_as_float(two.x), v[0][2 * q + 1] = __uint_as_float(two.y);
            }
            store_runs(p, row, col, v);
        }
    }
    __syncwarp();
}

// A warpgroup: the products of tile `warp / 4` of every row group, its sums, and C.
template <int NT>
__device__ __forceinline__ void multiply(const FlSpmmParams& p, const Addresses& at, const StreamK& line, uint32_t unit0,
                                         uint32_t unit1, uint32_t slice, uint32_t warp, uint32_t lane) {
    using G = Geometry<NT>;
    const uint32_t t = warp / 4, w = warp % 4, n0 = slice * (NT * 8);
    float4 acc[G::kVectors];
#pragma unroll
    for (int i = 0; i < G::kVectors; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
    uint32_t k_block = block_of(p, unit0), group = group_of(p, unit0);
    Cursor piece{0, 0}, ring{t, 0};
    Parts<G::kVectors> parts(p, line, blockIdx.x, warp, 4 * p.group_tiles, slice);
    wait_for_earlier_work();
    prepare_counters(line, slice, warp, 1, 4 * p.group_tiles, lane);
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        const bool segment_ends = k_block + 1 == p.k_blocks || unit + 1 == unit1;
        mbar_wait(at.b_full + 8 * piece.at, piece.phase);
        mbar_wait(at.image_full + 8 * ring.at, ring.phase);
        // Others wrote the image and B; the fence may be here, on the way from their writes to wgmma's reads.
        fence_proxy_async();
        const uint32_t image = at.images + ring.at * kBytes;
        const uint64_t a = wgmma_descriptor_k_major(image);
        const uint64_t b = wgmma_descriptor_k_major(at.b + piece.at * G::kPieceBytes);
        wgmma_fence();
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const uint64_t ak = a + ((half * kHalf + k * 32) >> 4), bk = b + ((half * G::kPieceHalf + k * 32) >> 4);
                if constexpr (G::kSwapped) {
                    wgmma_k16<16>(acc, bk, ak);
                } else {
                    wgmma_k16<NT>(acc, ak, bk);
                    wgmma_k16<NT>(acc + NT, ak + ((64 * kLine) >> 4), bk);
                }
            }
        wgmma_commit();
        wgmma_wait<0>();
#pragma unroll
        for (int i = 0; i < G::kVectors; ++i) wgmma_read(acc[i]);
        // This warp's part of the wgmma is done; the others' may still read what this warp is about to write.
        named_barrier(1 + t, 128);
        mbar_arrive(at.b_empty + 8 * piece.at);
        piece.advance(1, G::kPieces);
        ++k_block;
        const uint32_t sums = image + w * (kBytes / 4), mine = sums + lane * 16;
        if (segment_ends) {
            // Until it is zero the image is this warpgroup's: sums that lie there are stored by a loop, which is fetched
            // once, and not by code for each of them.
            const uint32_t own = G::kSwapped ? sums + own_sums(lane) : mine;
#pragma unroll
            for (int i = 0; i < G::kVectors; ++i) sts128(own + i * 512, bits(acc[i]));
            parts.begin(group);
            const uint32_t row0 = (group * p.group_tiles + t) * kRows;
            if (row0 < p.m && parts.reduce(own, lane)) {
                if constexpr (G::kSwapped) {
                    store_sums<G::kVectors>(p, sums, row0, n0 + w * 16, lane);
                } else {
                    store_m16n8_sums<G::kVectors, 1>(
                        p, sums, lane, [&](uint32_t i) { return row0 + i / NT * 64 + w * 16; },
                        [&](uint32_t i) { return n0 + i % NT * 8; });
                }
            }
            __syncwarp();
#pragma unroll
            for (int i = 0; i < G::kVectors; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
            k_block = 0;
            ++group;
        }
#pragma unroll
        for (uint32_t i = 0; i < kBytes / 4; i += 512) sts128(mine + i, make_uint4(0, 0, 0, 0));
        mbar_arrive(at.image_empty + 8 * ring.at);
        ring.advance(p.group_tiles, p.images);
    }
}

// A warpgroup, one of two: the products of 64 columns each with every tile, one of a row group, its sums, and C. An image
// belongs to both; each makes half of it zero when both have read it, while the next is multiplied.
template <int NT>
__device__ __forceinline__ void multiply_shared(const FlSpmmParams& p, const Addresses& at, const StreamK& line, uint32_t unit0,
                                                uint32_t unit1, uint32_t slice, uint32_t warp, uint32_t lane) {
    using G = Geometry<NT>;
    static_assert(G::kShared, "two times 64 columns");
    // Sums of a warp that an eighth of an image holds, and how often.
    constexpr int kHeld = kBytes / 8 / 512, kTimes = G::kVectors / kHeld;
    const uint32_t n0 = slice * (NT * 8) + warp * 16, side = warp / 4 * (64 * kLine);
    float4 acc[G::kVectors];
#pragma unroll
    for (int i = 0; i < G::kVectors; ++i) acc[i] = make_float4(0.f, 0.f, 0.f, 0.f);
    uint32_t k_block = block_of(p, unit0), group = group_of(p, unit0);
    Cursor piece{0, 0}, ring{0, 0}, last{0, 0};
    bool first = true;
    wait_for_earlier_work();
    prepare_counters(line, slice, warp * kTimes, kTimes, 8 * kTimes, lane);
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        const bool segment_ends = k_block + 1 == p.k_blocks || unit + 1 == unit1;
        mbar_wait(at.b_full + 8 * piece.at, piece.phase);
        mbar_wait(at.image_full + 8 * ring.at, ring.phase);
        fence_proxy_async();
        const uint64_t a = wgmma_descriptor_k_major(at.b + piece.at * G::kPieceBytes + side);
        const uint64_t b = wgmma_descriptor_k_major(at.images + ring.at * kBytes);
        wgmma_fence();
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int k = 0; k < 4; ++k)
                wgmma_k16<16>(acc, a + ((half * G::kPieceHalf + k * 32) >> 4), b + ((half * kHalf + k * 32) >> 4));
        wgmma_commit();
        if (!first) {
            mbar_wait(at.image_read + 8 * last.at, last.phase);
            const uint32_t mine = at.images + last.at * kBytes + warp * (kBytes / 8) + lane * 16;
#pragma unroll
            for (uint32_t i = 0; i < kBytes / 8; i += 512) sts128(mine + i, make_uint4(0, 0, 0, 0));
            mbar_arrive(at.image_empty + 8 * last.at);
        }
        first = false;
        wgmma_wait<0>();
#pragma unroll
        for (int i = 0; i < G::kVectors; ++i) wgmma_read(acc[i]);
        mbar_arrive(at.image_read + 8 * ring.at);
        mbar_arrive(at.b_empty + 8 * piece.at);
        last = ring;
        ring.advance(1, p.images);
        piece.advance(1, G::kPieces);
        ++k_block;
        if (segment_ends) {
            // The image is nobody's until both have made it zero: sums go through it, as many at a time as fit.
            const uint32_t sums = at.images + last.at * kBytes + warp * (kBytes / 8), own = sums + own_sums(lane);
            const uint32_t row0 = group * kRows;
            mbar_wait(at.image_read + 8 * last.at, last.phase);
#pragma unroll
            for (int time = 0; time < kTimes; ++time) {
#pragma unroll
                for (int i = 0; i < kHeld; ++i) {
                    sts128(own + i * 512, bits(acc[time * kHeld + i]));
                    acc[time * kHeld + i] = make_float4(0.f, 0.f, 0.f, 0.f);
                }
                Parts<kHeld> parts(p, line, blockIdx.x, warp * kTimes + time, 8 * kTimes, slice);
                parts.begin(group);
                if (row0 < p.m && parts.reduce(own, lane))
                    store_sums<kHeld>(p, sums, row0 + time * (kHeld * 8), n0, lane);
                __syncwarp();
            }
            k_block = 0;
            ++group;
        }
    }
}
#endif

}  // namespace fl::image
