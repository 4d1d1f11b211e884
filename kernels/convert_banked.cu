// SPDX-License-Identifier: Apache-2.0
//
// Conversion between dense matrices and Banked (docs/format-banked.md; src/format/banked.rs is the specification).
//
//   fl_convert_banked_size    dense -> units and non-zeros of every block
//   fl_convert_banked_encode  dense, table -> header, table, blocks: the bytes of the host's encoder
//   fl_convert_banked_unpack  blocks -> dense, or compared with dense, or checked
//
// Blocks:   one CTA of 256 threads a block of 64 x 256 elements; a warp has a half of a section, 16 rows x 128 columns, and
//           a lane its 32 words of it in registers.
// Shared:   `Deal`, and 34816 bytes that are first the stages of the warps and then the block (34048 bytes at most). A
//           stage is the warp's 16 rows in 272 bytes each: the memory's order goes in or out in 16-byte pieces or, at
//           edges and of column-major matrices, in words, and the lanes' order in words; neither has bank conflicts,
//           but for two rows of a column-major matrix in one.
// Encoding writes each byte of a block once: the words, and in each bank the zeros behind them. Decoding reads a lane's
// words from global memory, where 32 lanes have a row of them; what a damaged block says of them leads to other words of
// the block, never out of it. Checking encodes what the block decodes to, and compares.
// A dense matrix that was changed after its analysis cannot make a block larger or smaller: a block that no longer
// has the size in the table is written as one of zeros, in as many units as the table says.

#include "fl_banked.cuh"
#include "fl_convert.cuh"

namespace {

using namespace fl::convert;
using namespace fl::banked;

constexpr uint32_t kWarps = kSections * kHalves;
static_assert(kWarps * 32 == kThreads, "a warp has a half of a section");

// Of a stage: 16 bytes more than its columns take, so that eight rows lie in different banks.
constexpr uint32_t kPitch = kHalfCols * 2 + 16;
constexpr uint32_t kPitchWords = kPitch / 4;
constexpr uint32_t kPitchPieces = kPitch / 16;
constexpr uint32_t kStage = kSectionRows * kPitch;
constexpr uint32_t kSharedBytes = kWarps * kStage;
static_assert(kMostUnits * kUnit <= kSharedBytes, "a block lies where the stages were");

// Which words the banks have.
struct Deal {
    uint8_t first[kSections][kLanes];   // words of each lane's half 0
    uint8_t lane[kSections][kLanes];    // lanes by their words of half 1, fewest first
    uint8_t second[kSections][kLanes];  // and those words
    uint8_t row[kSections][kLanes];     // what each bank has before the section
    uint8_t bank[kSections][kLanes];    // of each lane's half 1
    uint32_t rows;                      // of words, of the block
    uint32_t stored[kWarps];            // elements
};

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

// Makes zeros +0. Which words hold an element, and how many elements they are.
__device__ __forceinline__ uint32_t take(uint32_t (&e)[kHalfWords], uint32_t& stored) {
    uint32_t mask = 0, halves = 0;
#pragma unroll
    for (uint32_t i = 0; i < kHalfWords; ++i) {
        const uint32_t ones = stored_of_two(e[i]) >> 15 & 0x00010001u;
        halves += ones;
        e[i] &= ones * 0xffffu;
        if (ones != 0) mask |= 1u << mask_bit(i / kRegisters, i % kRegisters);
    }
    stored = (halves & 0xffff) + (halves >> 16);
    return mask;
}

// Deals the lanes' words to the banks; the row at which a lane's words begin. Synchronises between and last.
__device__ __forceinline__ uint32_t deal(Deal& s, const Place& at, uint32_t words, uint32_t stored) {
    if (at.half == 0) {
        s.first[at.section][at.lane] = static_cast<uint8_t>(words);
    } else {
        const uint32_t mine = rank(words, 6, at.lane);
        s.lane[at.section][mine] = static_cast<uint8_t>(at.lane);
        s.second[at.section][mine] = static_cast<uint8_t>(words);
    }
    stored = __reduce_add_sync(kAll, stored);
    if (at.lane == 0) s.stored[at.warp()] = stored;
    __syncthreads();
    if (at.warp() == 0) {
        // Lane b has what bank b holds. The fullest banks go to the lanes that add least.
        uint32_t filled = 0;
#pragma unroll 1
        for (uint32_t w = 0; w < kSections; ++w) {
            s.row[w][at.lane] = static_cast<uint8_t>(filled);
            filled += s.first[w][at.lane];
            const uint32_t mine = rank(255 - filled, 8, at.lane);
            s.bank[w][s.lane[w][mine]] = static_cast<uint8_t>(at.lane);
            filled += s.second[w][mine];
        }
        const uint32_t rows = __reduce_max_sync(kAll, filled);
        if (at.lane == 0) s.rows = rows;
    }
    __syncthreads();
    if (at.half == 0) return s.row[at.section][at.lane];
    const uint32_t bank = s.bank[at.section][at.lane];
    return s.row[at.section][bank] + s.first[at.section][bank];
}

__device__ __forceinline__ uint32_t units_of(const Deal& s) { return kHeadUnits + s.rows; }

__device__ __forceinline__ uint32_t stored_of(const Deal& s) {
    uint32_t stored = 0;
    for (uint32_t w = 0; w < kWarps; ++w) stored += s.stored[w];
    return stored;
}

// Puts this thread's part of the block into `block`: every byte of its units_of() units is some thread's.
__device__ __forceinline__ void encode(const Deal& s, uint8_t* block, const Place& at, const uint32_t (&e)[kHalfWords],
                                       uint32_t mask, uint32_t row) {
    const uint32_t bank = at.half == 0 ? at.lane : s.bank[at.section][at.lane];
    uint32_t to = kHead + 4 * bank + kUnit * row;
    reinterpret_cast<uint32_t*>(block)[mask_index(at.section, at.half, at.lane)] = mask;
    if (at.half == 0) {
        reinterpret_cast<uint16_t*>(block + kStarts)[start_index(at.section, at.lane)] =
            static_cast<uint16_t>(start_of(row, s.bank[at.section][at.lane]));
    }
#pragma unroll
    for (uint32_t i = 0; i < kHalfWords; ++i) {
        if (mask >> mask_bit(i / kRegisters, i % kRegisters) & 1) {
            *reinterpret_cast<uint32_t*>(block + to) = e[i];
            to += kUnit;
        }
    }
    if (at.half == 0 || at.section + 1 < kSections) return;
    // The last half ends its bank.
    const uint32_t end = kHead + kUnit * s.rows;
    for (; to < end; to += kUnit) *reinterpret_cast<uint32_t*>(block + to) = 0;
}

// This lane's words of the block.
__device__ __forceinline__ void decode(const uint8_t* block, uint32_t units, const Place& at, uint32_t (&e)[kHalfWords]) {
    const uint32_t* masks = reinterpret_cast<const uint32_t*>(block);
    const uint16_t* starts = reinterpret_cast<const uint16_t*>(block + kStarts);
    const uint32_t mask = masks[mask_index(at.section, at.half, at.lane)], start = starts[start_index(at.section, at.lane)];
    uint32_t bank = at.lane, row = start_row(start);
    if (at.half == 1) {
        bank = start_bank(start) % kLanes;
        row = start_row(starts[start_index(at.section, bank)]) + __popc(masks[mask_index(at.section, 0, bank)]);
    }
    const uint32_t last = units * kUnit - 4;
    uint32_t from = kHead + 4 * bank + kUnit * row;
#pragma unroll
    for (uint32_t i = 0; i < kHalfWords; ++i) {
        e[i] = 0;
        if (mask >> mask_bit(i / kRegisters, i % kRegisters) & 1) {
            e[i] = *reinterpret_cast<const uint32_t*>(block + (from < last ? from : last));
            from += kUnit;
        }
    }
}

// Whether two words differ in more than signs of zeros.
__device__ __forceinline__ bool differ(uint32_t a, uint32_t b) {
    // What differs in a sign alone is a zero where neither has a magnitude.
    const uint32_t apart = a ^ b, magnitude = stored_of_two(a | b) >> 15 & 0x00010001u;
    return (apart & magnitude * 0xffffu) != 0;
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

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 5)
    fl_convert_banked_size(const __grid_constant__ FlConvertParams p) {
    __shared__ Deal s;
    __shared__ uint4 shared[kSharedBytes / 16];
    const Place at(p);
    uint32_t e[kHalfWords], stored;
    load_words(p, at, shared, e);
    const uint32_t mask = take(e, stored);
    deal(s, at, __popc(mask), stored);
    if (threadIdx.x == 0) {
        reinterpret_cast<uint32_t*>(p.table)[p.first_block + blockIdx.x] = units_of(s) << 16 | stored_of(s);
    }
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    fl_convert_banked_encode(const __grid_constant__ FlConvertParams p) {
    __shared__ Deal s;
    __shared__ uint4 shared[kSharedBytes / 16];
    const uint64_t index = p.first_block + blockIdx.x;
    write_front(p, index);
    uint32_t start, units;
    if (!extent(p, index, kHeadUnits, p.room < kMostUnits ? p.room : kMostUnits, start, units)) return;
    const Place at(p);
    uint32_t e[kHalfWords], stored;
    load_words(p, at, shared, e);
    uint32_t mask = take(e, stored);
    uint32_t row = deal(s, at, __popc(mask), stored);
    if (units_of(s) != units) {
        // No word is left, and what is behind the head is zeros.
        mask = 0;
        row = deal(s, at, 0, 0);
        for (uint32_t i = kHead / 16 + threadIdx.x; i < units * (kUnit / 16); i += kThreads) {
            shared[i] = make_uint4(0, 0, 0, 0);
        }
    }
    encode(s, reinterpret_cast<uint8_t*>(shared), at, e, mask, row);
    __syncthreads();
    uint4* out = reinterpret_cast<uint4*>(p.data + uint64_t{start} * kUnit);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) out[i] = shared[i];
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    fl_convert_banked_unpack(const __grid_constant__ FlConvertParams p) {
    __shared__ Deal s;
    __shared__ uint4 shared[kSharedBytes / 16];
    const uint64_t index = p.first_block + blockIdx.x;
    uint32_t start, units;
    bool good = extent(p, index, kHeadUnits, p.room < kMostUnits ? p.room : kMostUnits, start, units);
    if (!good) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    const Place at(p);
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(p.data + uint64_t{start} * kUnit);
    uint32_t e[kHalfWords];
    decode(bytes, units, at, e);
    if (p.use != FL_UNPACK_CHECK) {
        deliver_words(p, at, shared, e);
        return;
    }
    good = front_is_good(p, index) && inside_only(p, at, e);
    uint32_t stored;
    const uint32_t mask = take(e, stored);
    const uint32_t row = deal(s, at, __popc(mask), stored);
    good &= units_of(s) == units;
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    encode(s, reinterpret_cast<uint8_t*>(shared), at, e, mask, row);
    __syncthreads();
    const uint4* in = reinterpret_cast<const uint4*>(bytes);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) {
        const uint4 a = shared[i], b = in[i];
        good &= a.x == b.x && a.y == b.y && a.z == b.z && a.w == b.w;
    }
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
    } else if (threadIdx.x == 0) {
        account(p, stored_of(s), units);
    }
}
