// SPDX-License-Identifier: Apache-2.0
// Where the parts of a Bitmap block lie, for the conversions and the products. Its elements are those of Banked's words.
// docs/format-bitmap.md is the specification; the names below are its names.
#pragma once

#include <stdint.h>

#include "fl_banked.cuh"

namespace fl::bitmap {

using banked::kHalfCols;
using banked::kHalfWords;
using banked::kHalves;
using banked::kLanes;
using banked::kRegisters;
using banked::kSectionRows;
using banked::kSections;
using banked::kSteps;
using banked::kTileCols;
using banked::kTileRows;
using banked::kUnit;
// A start is the row and the bank of a lane's first value of a half.
using banked::start_bank;
using banked::start_of;
using banked::start_row;
using banked::word_col;
using banked::word_row;

constexpr uint32_t kMaskSteps = 4;     // steps whose elements have a bit in one mask
constexpr uint32_t kMasks = kSteps / kMaskSteps;  // of a lane and half
constexpr uint32_t kStarts = 2048;     // byte offset of the starts; the masks are before them
constexpr uint32_t kHead = 2560;       // bytes of masks and starts
constexpr uint32_t kHeadUnits = kHead / kUnit;
constexpr uint32_t kHalfValues = 2 * kHalfWords;  // of a lane, at most
constexpr uint32_t kMostUnits = kHeadUnits + kSections * kHalfValues;

static_assert(kStarts == 4 * kSections * kLanes * kHalves * kMasks && kHead == kStarts + 2 * kSections * kLanes * kHalves, "no gaps");

// Index of a lane's first mask (u32) of a half, and of its start (u16).
__host__ __device__ constexpr uint32_t start_index(uint32_t section, uint32_t half, uint32_t lane) {
    return (section * kLanes + lane) * kHalves + half;
}
__host__ __device__ constexpr uint32_t mask_index(uint32_t section, uint32_t half, uint32_t lane) {
    return start_index(section, half, lane) * kMasks;
}

// Bit, in mask step / kMaskSteps, of a word's low element; the high one's is the next.
__host__ __device__ constexpr uint32_t mask_bit(uint32_t step, uint32_t reg) { return 8 * reg + 2 * (step % kMaskSteps); }

// Byte of a value in its block: a plane has a half of each bank.
__host__ __device__ constexpr uint32_t value_byte(uint32_t row, uint32_t bank, uint32_t half) { return kHead + kUnit * row + 4 * bank + 2 * half; }

}  // namespace fl::bitmap
