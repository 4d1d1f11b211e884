// SPDX-License-Identifier: Apache-2.0
//
// Conversion between dense matrices and Bitmap (docs/format-bitmap.md; src/format/bitmap.rs is the specification).
//
//   fl_convert_bitmap_size    dense -> units and non-zeros of every block
//   fl_convert_bitmap_encode  dense, table -> header, table, blocks: the bytes of the host's encoder
//   fl_convert_bitmap_unpack  blocks -> dense, or compared with dense, or checked
//
// Blocks:   one CTA of 256 threads a block of 64 x 256 elements; a warp has a half of a section (fl_convert_fragments.cuh).
// Shared:   `Deal`, and 35328 bytes, the largest block, that are first the stages of the warps and then the block.
// Encoding writes each byte of a block once, values in 16 bits: a bank's 32-bit word of a row has one of either plane, from
// different warps.

#include "fl_bitmap.cuh"
#include "fl_convert_fragments.cuh"

namespace {

using namespace fl::convert;
using namespace fl::bitmap;

using fl::convert::fragments::kStages;
using fl::convert::fragments::Place;

// One lane's elements of a half of a section.
struct Codec {
    static constexpr uint32_t kHeadUnits = fl::bitmap::kHeadUnits, kMostUnits = fl::bitmap::kMostUnits;
    static constexpr uint32_t kSharedBytes = kMostUnits * kUnit;
    static_assert(kSharedBytes >= kStages, "the stages lie where the block will be");

    // Which values the banks of each plane have.
    struct Deal {
        uint8_t lane[kSections][kHalves][kLanes];    // lanes by their values, fewest first
        uint8_t values[kSections][kHalves][kLanes];  // and those values
        uint16_t start[kSections][kHalves][kLanes];  // of each lane
        uint32_t rows[kHalves];                      // of the longest bank
        uint32_t stored[kHalves];                    // values
    };

    uint32_t masks[kMasks];  // which elements are stored
    uint32_t start;          // where their values begin

    static __device__ __forceinline__ constexpr uint32_t bit(uint32_t i) { return mask_bit(i / kRegisters, i % kRegisters); }
    static __device__ __forceinline__ constexpr uint32_t mask_of(uint32_t i) { return i / kRegisters / kMaskSteps; }

    __device__ __forceinline__ void take(uint32_t (&e)[kHalfWords]) {
#pragma unroll
        for (uint32_t j = 0; j < kMasks; ++j) masks[j] = 0;
#pragma unroll
        for (uint32_t i = 0; i < kHalfWords; ++i) {
            const uint32_t ones = nonzero(e[i]);
            e[i] &= ones * 0xffffu;
            masks[mask_of(i)] |= ((ones | ones >> 15) & 3) << bit(i);
        }
    }

    __device__ __forceinline__ void deal(Deal& s, const Place& at) {
        uint32_t values = 0;
#pragma unroll
        for (uint32_t j = 0; j < kMasks; ++j) values += __popc(masks[j]);
        const uint32_t mine = rank(values, 7, at.lane);
        s.lane[at.section][at.half][mine] = static_cast<uint8_t>(at.lane);
        s.values[at.section][at.half][mine] = static_cast<uint8_t>(values);
        __syncthreads();
        if (at.section == 0) {
            // Lane b has what bank b of the warp's plane holds. The fullest banks go to the lanes that add least.
            uint32_t filled = 0;
#pragma unroll 1
            for (uint32_t w = 0; w < kSections; ++w) {
                const uint32_t next = rank(255 - filled, 8, at.lane);
                s.start[w][at.half][s.lane[w][at.half][next]] = static_cast<uint16_t>(start_of(filled, at.lane));
                filled += s.values[w][at.half][next];
            }
            const uint32_t rows = __reduce_max_sync(kAll, filled), stored = __reduce_add_sync(kAll, filled);
            if (at.lane == 0) s.rows[at.half] = rows, s.stored[at.half] = stored;
        }
        __syncthreads();
        start = s.start[at.section][at.half][at.lane];
    }

    static __device__ __forceinline__ uint32_t rows(const Deal& s) { return s.rows[0] > s.rows[1] ? s.rows[0] : s.rows[1]; }
    static __device__ __forceinline__ uint32_t units(const Deal& s) { return kHeadUnits + rows(s); }
    static __device__ __forceinline__ uint32_t stored(const Deal& s) { return s.stored[0] + s.stored[1]; }

    __device__ __forceinline__ void encode(const Deal& s, uint8_t* block, const Place& at,
                                           const uint32_t (&e)[kHalfWords]) const {
#pragma unroll
        for (uint32_t j = 0; j < kMasks; ++j) {
            reinterpret_cast<uint32_t*>(block)[mask_index(at.section, at.half, at.lane) + j] = masks[j];
        }
        reinterpret_cast<uint16_t*>(block + kStarts)[start_index(at.section, at.half, at.lane)] =
            static_cast<uint16_t>(start);
        uint32_t to = value_byte(start_row(start), start_bank(start), at.half);
        // Elements say what is stored, not masks: their bits, each in a register until here, are more than there are.
#pragma unroll
        for (uint32_t i = 0; i < kHalfWords; ++i) {
#pragma unroll
            for (uint32_t high = 0; high < 2; ++high) {
                if (e[i] >> (16 * high) & 0x7fff) {
                    *reinterpret_cast<uint16_t*>(block + to) = static_cast<uint16_t>(e[i] >> (16 * high));
                    to += kUnit;
                }
            }
        }
        if (at.section + 1 < kSections) return;
        // The last section ends its banks.
        const uint32_t end = kHead + kUnit * rows(s);
        for (; to < end; to += kUnit) *reinterpret_cast<uint16_t*>(block + to) = 0;
    }

    static __device__ __forceinline__ void decode(const uint8_t* block, uint32_t units, const Place& at,
                                                  uint32_t (&e)[kHalfWords]) {
        uint32_t masks[kMasks];
#pragma unroll
        for (uint32_t j = 0; j < kMasks; ++j) {
            masks[j] = reinterpret_cast<const uint32_t*>(block)[mask_index(at.section, at.half, at.lane) + j];
        }
        const uint32_t start =
            reinterpret_cast<const uint16_t*>(block + kStarts)[start_index(at.section, at.half, at.lane)];
        const uint32_t last = units * kUnit - 2;
        uint32_t from = value_byte(start_row(start), start_bank(start) % kLanes, at.half);
#pragma unroll
        for (uint32_t i = 0; i < kHalfWords; ++i) {
            e[i] = 0;
#pragma unroll
            for (uint32_t high = 0; high < 2; ++high) {
                if (masks[mask_of(i)] >> (bit(i) + high) & 1) {
                    const uint32_t value = *reinterpret_cast<const uint16_t*>(block + (from < last ? from : last));
                    e[i] |= value << (16 * high);
                    from += kUnit;
                }
            }
        }
    }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 5)
    fl_convert_bitmap_size(const __grid_constant__ FlConvertParams p) {
    fl::convert::fragments::size<Codec>(p);
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    fl_convert_bitmap_encode(const __grid_constant__ FlConvertParams p) {
    fl::convert::fragments::encode<Codec>(p);
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    fl_convert_bitmap_unpack(const __grid_constant__ FlConvertParams p) {
    fl::convert::fragments::unpack<Codec>(p);
}
