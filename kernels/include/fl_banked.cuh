// SPDX-License-Identifier: Apache-2.0
// Where the parts of a Banked block lie, and which elements a word is, for the conversions and the products.
// docs/format-banked.md is the specification; the names below are its names.
#pragma once

#include <stdint.h>

namespace fl::banked {

constexpr uint32_t kTileRows = 64;
constexpr uint32_t kTileCols = 256;
constexpr uint32_t kLanes = 32;        // of a warp, and banks of shared memory
constexpr uint32_t kSections = 4;      // of a block: rows that one warp decodes
constexpr uint32_t kSectionRows = 16;
constexpr uint32_t kHalves = 2;
constexpr uint32_t kHalfCols = 128;
constexpr uint32_t kSteps = 8;         // of a half: 16 columns each, the depth of an mma
constexpr uint32_t kRegisters = 4;     // of a step: an A fragment
constexpr uint32_t kHalfWords = kSteps * kRegisters;  // of a lane

constexpr uint32_t kUnit = 128;        // bytes of a row of words, one in each bank
constexpr uint32_t kStarts = 1024;     // byte offset of the starts; the masks are before them
constexpr uint32_t kHead = 1280;       // bytes of masks and starts
constexpr uint32_t kHeadUnits = kHead / kUnit;
constexpr uint32_t kMostUnits = kHeadUnits + kSections * kHalves * kHalfWords;

static_assert(kTileRows == kSections * kSectionRows && kTileCols == kHalves * kHalfCols, "sections and halves are all");
static_assert(kStarts == 4 * kSections * kLanes * kHalves && kHead == kStarts + 2 * kSections * kLanes, "no gaps");

// Index of a lane's start (u16), and of its mask of a half (u32).
__host__ __device__ constexpr uint32_t start_index(uint32_t section, uint32_t lane) { return section * kLanes + lane; }
__host__ __device__ constexpr uint32_t mask_index(uint32_t section, uint32_t half, uint32_t lane) {
    return start_index(section, lane) * kHalves + half;
}

// A start: the row at which half 0 begins in the lane's own bank, and the bank in which half 1 follows another lane's half 0.
__host__ __device__ constexpr uint32_t start_of(uint32_t row, uint32_t bank) { return row | bank << 8; }
__host__ __device__ constexpr uint32_t start_row(uint32_t start) { return start & 0xff; }
__host__ __device__ constexpr uint32_t start_bank(uint32_t start) { return start >> 8; }

// Bit of a mask.
__host__ __device__ constexpr uint32_t mask_bit(uint32_t step, uint32_t reg) { return step + kSteps * reg; }

// Row in its section, and column in its half, of the first element of a lane's word.
__host__ __device__ constexpr uint32_t word_row(uint32_t lane, uint32_t reg) { return lane / 4 + 8 * (reg % 2); }
__host__ __device__ constexpr uint32_t word_col(uint32_t lane, uint32_t step, uint32_t reg) {
    return 16 * step + 8 * (reg / 2) + 2 * (lane % 4);
}

}  // namespace fl::banked
