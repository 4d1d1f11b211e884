// SPDX-License-Identifier: Apache-2.0
// What the conversions of Banked and Bitmap share: a block is 64 x 256 elements in the order of Tensor Core fragments
// (fl_banked.cuh), and how its words are stored is the business of a Codec, of which each lane has one:
//
//   Deal, kHeadUnits, kMostUnits, kSharedBytes   shared memory; units of a block at least and at most; bytes for `shared`
//   take(e)                                      makes zeros +0, and knows what of the words is stored
//   deal(s, at)                                  where it goes; all threads call it, and it synchronises last
//   units(s), stored(s)                          of the block, since deal()
//   encode(s, block, at, e)                      this thread's part of the block: every byte of its units is some thread's
//   decode(block, units, at, e)                  this lane's words, of a block that may be damaged
//
// Blocks:   one CTA of 256 threads a block; a warp has a half of a section, 16 rows x 128 columns, and a lane its 32
//           words of it in registers.
// Shared:   Deal, and kSharedBytes that are first the stages of the warps and then the block. A stage is the warp's 16
//           rows in 272 bytes each: the memory's order goes in or out in 16-byte pieces or, at edges and of column-major
//           matrices, in words, and the lanes' order in words; neither has bank conflicts, but for two rows of a
//           column-major matrix in one.
// Decoding reads global memory, where 32 lanes have a row of values; what a damaged block says of them leads to others of
// the block, never out of it. Checking encodes what the block decodes to, and compares.
// A dense matrix that was changed after its analysis cannot make a block larger or smaller: a block that no longer
// has the size in the table is written as one of zeros, in as many units as the table says.
#pragma once

#include "fl_banked.cuh"
#include "fl_convert.cuh"

namespace fl::convert::fragments {

using banked::kHalfCols;
using banked::kHalfWords;
using banked::kHalves;
using banked::kRegisters;
using banked::kSectionRows;
using banked::kSections;
using banked::kTileCols;
using banked::kTileRows;
using banked::kUnit;
using banked::word_col;
using banked::word_row;

constexpr uint32_t kWarps = kSections * kHalves;
static_assert(kWarps * 32 == kThreads, "a warp has a half of a section");

// Of a stage: 16 bytes more than its columns take, so that eight rows lie in different banks.
constexpr uint32_t kPitch = kHalfCols * 2 + 16;
constexpr uint32_t kPitchWords = kPitch / 4;
constexpr uint32_t kPitchPieces = kPitch / 16;
constexpr uint32_t kStage = kSectionRows * kPitch;
constexpr uint32_t kStages = kWarps * kStage;

// What this thread has, and where that lies in the dense matrix.
struct Place {
    int64_t row, col;  // of the warp's first element
    uint32_t section, half, lane;
    __device__ explicit Place(const FlConvertParams& p)
        : section(threadIdx.x / 32 / kHalves), half(threadIdx.x / 32 % kHalves), lane(threadIdx.x % 32) {
        row = int64_t{blockIdx.x / p.blocks_across} * kTileRows + kSectionRows * section;
        col = int64_t{blockIdx.x % p.blocks_across} * kTileCols + kHalfCols * half;
    }

    __device__ __forceinline__ uint32_t warp() const { return section * kHalves + half; }
    // Index in the stage of the lane's word `i`: register i % 4 of step i / 4.
    __device__ __forceinline__ uint32_t word(uint32_t i) const {
        return word_row(lane, i % kRegisters) * kPitchWords + word_col(lane, i / kRegisters, i % kRegisters) / 2;
    }
    // Whether the warp's elements lie in the matrix, in pieces of 16 bytes.
    __device__ __forceinline__ bool whole(const FlConvertParams& p) const {
        return p.vectors && row + kSectionRows <= p.rows && col + kHalfCols <= p.cols;
    }
    // Row and pair of columns of the warp's elements, the i-th of 32 of this lane, so that 32 lanes have neighbours.
    __device__ __forceinline__ uint32_t pair_row(const FlConvertParams& p, uint32_t i) const {
        return p.col_major ? lane % kSectionRows : i / 2;
    }
    __device__ __forceinline__ uint32_t pair(const FlConvertParams& p, uint32_t i) const {
        return p.col_major ? 2 * i + lane / kSectionRows : i % 2 * 32 + lane;
    }
};

// Row of the warp's i-th 16 bytes a lane, of 8, and which of its 16.
constexpr uint32_t kPieces = kSectionRows * kHalfCols * 2 / 16 / 32;
__device__ __forceinline__ uint32_t piece_row(uint32_t lane, uint32_t i) { return 2 * i + lane / 16; }
__device__ __forceinline__ uint32_t piece(uint32_t lane) { return lane % 16; }
// Its index in the stage.
__device__ __forceinline__ uint32_t piece_index(uint32_t lane, uint32_t i) {
    return piece_row(lane, i) * kPitchPieces + piece(lane);
}

__device__ __forceinline__ uint16_t* elements(const FlConvertParams& p) { return reinterpret_cast<uint16_t*>(p.dense); }

// The warp's i-th piece of this lane.
__device__ __forceinline__ uint4* dense_piece(const FlConvertParams& p, const Place& at, uint32_t i) {
    return reinterpret_cast<uint4*>(elements(p) + (at.row + piece_row(at.lane, i)) * p.ld + at.col) + piece(at.lane);
}

// Elements outside the matrix become zero.
__device__ __forceinline__ uint32_t dense_pair(const FlConvertParams& p, int64_t row, int64_t col) {
    if (row >= p.rows || col >= p.cols) return 0;
    const uint16_t* from = elements(p) + place(p, row, col);
    const uint32_t second = col + 1 < p.cols ? from[p.col_major ? p.ld : 1] : 0;
    return *from | second << 16;
}

// The dense matrix's words of this lane.
__device__ __forceinline__ void load_words(const FlConvertParams& p, const Place& at, uint4* shared,
                                           uint32_t (&e)[kHalfWords]) {
    uint4* pieces = shared + at.warp() * (kStage / 16);
    uint32_t* words = reinterpret_cast<uint32_t*>(pieces);
    if (at.whole(p)) {
        uint4 v[kPieces];
#pragma unroll
        for (uint32_t i = 0; i < kPieces; ++i) v[i] = *dense_piece(p, at, i);
#pragma unroll
        for (uint32_t i = 0; i < kPieces; ++i) pieces[piece_index(at.lane, i)] = v[i];
    } else {
#pragma unroll 8
        for (uint32_t i = 0; i < kHalfWords; ++i) {
            const uint32_t row = at.pair_row(p, i), pair = at.pair(p, i);
            words[row * kPitchWords + pair] = dense_pair(p, at.row + row, at.col + 2 * pair);
        }
    }
    __syncwarp();
#pragma unroll
    for (uint32_t i = 0; i < kHalfWords; ++i) e[i] = words[at.word(i)];
}

// Writes the warp's words to the dense matrix, or notes that they differ from it.
__device__ __forceinline__ void deliver_words(const FlConvertParams& p, const Place& at, uint4* shared,
                                              const uint32_t (&e)[kHalfWords]) {
    uint4* pieces = shared + at.warp() * (kStage / 16);
    uint32_t* words = reinterpret_cast<uint32_t*>(pieces);
#pragma unroll
    for (uint32_t i = 0; i < kHalfWords; ++i) words[at.word(i)] = e[i];
    __syncwarp();
    const bool compare = p.use == FL_UNPACK_COMPARE;
    bool different = false;
    if (at.whole(p) && !compare) {
#pragma unroll
        for (uint32_t i = 0; i < kPieces; ++i) *dense_piece(p, at, i) = pieces[piece_index(at.lane, i)];
    } else if (at.whole(p)) {
        uint4 d[kPieces];
#pragma unroll
        for (uint32_t i = 0; i < kPieces; ++i) d[i] = *dense_piece(p, at, i);
#pragma unroll
        for (uint32_t i = 0; i < kPieces; ++i) {
            const uint4 v = pieces[piece_index(at.lane, i)];
            different |= differ(v.x, d[i].x) | differ(v.y, d[i].y) | differ(v.z, d[i].z) | differ(v.w, d[i].w);
        }
    } else {
#pragma unroll 4
        for (uint32_t i = 0; i < kHalfWords; ++i) {
            const uint32_t in_warp = at.pair_row(p, i), pair = at.pair(p, i), word = words[in_warp * kPitchWords + pair];
            const int64_t row = at.row + in_warp, col = at.col + 2 * pair;
            if (compare) {
                different |= differ(word, dense_pair(p, row, col));
                continue;
            }
            if (row >= p.rows) continue;
            if (col < p.cols) elements(p)[place(p, row, col)] = static_cast<uint16_t>(word);
            if (col + 1 < p.cols) elements(p)[place(p, row, col + 1)] = static_cast<uint16_t>(word >> 16);
        }
    }
    if (different) reinterpret_cast<FlConvertResult*>(p.result)->different = 1;
}

// Whether no element beyond the matrix is stored.
__device__ __forceinline__ bool inside_only(const FlConvertParams& p, const Place& at, const uint32_t (&e)[kHalfWords]) {
    if (at.row + kSectionRows <= p.rows && at.col + kHalfCols <= p.cols) return true;
    bool good = true;
#pragma unroll
    for (uint32_t i = 0; i < kHalfWords; ++i) {
        const int64_t row = at.row + word_row(at.lane, i % kRegisters);
        const int64_t col = at.col + word_col(at.lane, i / kRegisters, i % kRegisters);
        if (row >= p.rows || col >= p.cols) good &= (e[i] & 0x7fff7fff) == 0;
        if (col + 1 >= p.cols) good &= (e[i] >> 16 & 0x7fff) == 0;
    }
    return good;
}

// Measures a block: units and non-zeros.
template <typename Codec>
__device__ __forceinline__ void size(const FlConvertParams& p) {
    __shared__ typename Codec::Deal s;
    __shared__ uint4 shared[kStages / 16];
    const Place at(p);
    uint32_t e[kHalfWords];
    load_words(p, at, shared, e);
    Codec codec;
    codec.take(e);
    codec.deal(s, at);
    if (threadIdx.x == 0) {
        reinterpret_cast<uint32_t*>(p.table)[p.first_block + blockIdx.x] = Codec::units(s) << 16 | Codec::stored(s);
    }
}

// The block's place in the data, or false.
template <typename Codec>
__device__ __forceinline__ bool extent(const FlConvertParams& p, uint64_t index, uint32_t& start, uint32_t& units) {
    const uint32_t most = p.room < Codec::kMostUnits ? p.room : Codec::kMostUnits;
    return convert::extent(p, index, Codec::kHeadUnits, most, start, units);
}

template <typename Codec>
__device__ __forceinline__ void encode(const FlConvertParams& p) {
    __shared__ typename Codec::Deal s;
    __shared__ uint4 shared[Codec::kSharedBytes / 16];
    const uint64_t index = p.first_block + blockIdx.x;
    write_front(p, index);
    uint32_t start, units;
    if (!extent<Codec>(p, index, start, units)) return;
    const Place at(p);
    uint32_t e[kHalfWords];
    load_words(p, at, shared, e);
    Codec codec;
    codec.take(e);
    codec.deal(s, at);
    if (Codec::units(s) != units) {
        // Nothing is stored, and what is behind the head is zeros.
#pragma unroll
        for (uint32_t i = 0; i < kHalfWords; ++i) e[i] = 0;
        codec.take(e);
        codec.deal(s, at);
        for (uint32_t i = Codec::kHeadUnits * (kUnit / 16) + threadIdx.x; i < units * (kUnit / 16); i += kThreads) {
            shared[i] = make_uint4(0, 0, 0, 0);
        }
    }
    codec.encode(s, reinterpret_cast<uint8_t*>(shared), at, e);
    __syncthreads();
    uint4* out = reinterpret_cast<uint4*>(p.data + uint64_t{start} * kUnit);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) out[i] = shared[i];
}

template <typename Codec>
__device__ __forceinline__ void unpack(const FlConvertParams& p) {
    __shared__ typename Codec::Deal s;
    __shared__ uint4 shared[Codec::kSharedBytes / 16];
    const uint64_t index = p.first_block + blockIdx.x;
    uint32_t start, units;
    bool good = extent<Codec>(p, index, start, units);
    if (!good) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    const Place at(p);
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(p.data + uint64_t{start} * kUnit);
    uint32_t e[kHalfWords];
    Codec::decode(bytes, units, at, e);
    if (p.use != FL_UNPACK_CHECK) {
        deliver_words(p, at, shared, e);
        return;
    }
    good = front_is_good(p, index) && inside_only(p, at, e);
    Codec codec;
    codec.take(e);
    codec.deal(s, at);
    good &= Codec::units(s) == units;
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    codec.encode(s, reinterpret_cast<uint8_t*>(shared), at, e);
    __syncthreads();
    const uint4* in = reinterpret_cast<const uint4*>(bytes);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) {
        const uint4 a = shared[i], b = in[i];
        good &= a.x == b.x && a.y == b.y && a.z == b.z && a.w == b.w;
    }
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
    } else if (threadIdx.x == 0) {
        account(p, Codec::stored(s), units);
    }
}

}  // namespace fl::convert::fragments
