// SPDX-License-Identifier: Apache-2.0
// Where the parts of a Banked block and of the dense image that its values are put into lie, for the conversions and
// the products. docs/format-banked.md is the specification; the names below are its names.
#pragma once

#include <stdint.h>

namespace fl::banked {

constexpr uint32_t kTileRows = 128;
constexpr uint32_t kTileCols = 128;
constexpr uint32_t kLanes = 32;       // banks of shared memory
constexpr uint32_t kUnit = 128;       // bytes of the starts, and of a plane of a row of chunks
constexpr uint32_t kRowBytes = 3 * kUnit;
constexpr uint32_t kChunk = 4;        // elements
constexpr uint32_t kMostRows = 128;   // of chunks: 64 of either parity in a full block

// The image: lines of 128 bytes, of which the first 128 hold the tile's left 64 columns.
constexpr uint32_t kLines = 256;
constexpr uint32_t kLineBytes = 128;
constexpr uint32_t kImageBytes = kLines * kLineBytes;

// Units of a block with so many rows of chunks, and the rows of a block of so many units, which is at least one.
__host__ __device__ constexpr uint32_t units_of(uint32_t rows) { return 1 + 3 * rows; }
__host__ __device__ constexpr uint32_t rows_of(uint32_t units) { return (units - 1) / 3; }
constexpr uint32_t kMostUnits = units_of(kMostRows);

// Byte offset of row `row`'s places in the block; the planes of values 0 and 1 and of values 2 and 3 follow a unit
// apart. Stream s has word s of each.
__host__ __device__ constexpr uint32_t row_offset(uint32_t row) { return kUnit + row * kRowBytes; }

// Byte offset of element (row, col) of a tile in the image.
__host__ __device__ constexpr uint32_t image_offset(uint32_t row, uint32_t col) {
    return (col / 64 * kTileRows + row) * kLineBytes + ((col % 64 / 8) ^ (row % 8)) * 16 + col % 8 * 2;
}

// The pair of columns, in its half of the tile, that bank `bank` of line `line` holds; and, the same the other way
// round, the bank that holds a pair. Parity 0 is the pair's first column.
__host__ __device__ constexpr uint32_t swizzled(uint32_t bank, uint32_t line) { return bank ^ line % 8 * 4; }

// Byte offset in the image of a lane's element of a parity at `place`.
__host__ __device__ constexpr uint32_t place_offset(uint32_t place, uint32_t lane, uint32_t parity) {
    return place * kLineBytes + lane * 4 + parity * 2;
}

// A lane's word of the starts.
struct Start {
    uint32_t first;   // chunks of parity 0, in the lane's own stream from row 0 on
    uint32_t second;  // chunks of parity 1
    uint32_t stream;  // which has these
    uint32_t begin;   // row of the first of them

    static __host__ __device__ constexpr Start of(uint32_t word) {
        return {word & 127, word >> 7 & 127, word >> 14 & 31, word >> 19 & 127};
    }
    __host__ __device__ constexpr uint32_t word() const { return first | second << 7 | stream << 14 | begin << 19; }
};

}  // namespace fl::banked
