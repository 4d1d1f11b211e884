// SPDX-License-Identifier: Apache-2.0
//
// Conversion between dense matrices and Banked (docs/format-banked.md; src/format/banked.rs is the specification).
//
//   fl_convert_banked_size    dense -> units and non-zeros of every block
//   fl_convert_banked_encode  dense, table -> header, table, blocks: the bytes of the host's encoder
//   fl_convert_banked_unpack  blocks -> dense, or compared with dense, or checked
//
// Blocks:   one CTA of 256 threads a block of 64 x 256 elements; a warp has a half of a section (fl_convert_fragments.cuh).
// Shared:   `Deal`, and 34816 bytes that are first the stages of the warps and then the block (34048 bytes at most).
// Encoding writes each byte of a block once: the words, and in each bank the zeros behind them.

#include "fl_convert_fragments.cuh"

namespace {

using namespace fl::convert;
using namespace fl::banked;

using fl::convert::fragments::kStages;
using fl::convert::fragments::kWarps;
using fl::convert::fragments::Place;

// One lane's words of a half of a section.
struct Codec {
    static constexpr uint32_t kHeadUnits = fl::banked::kHeadUnits, kMostUnits = fl::banked::kMostUnits;
    static constexpr uint32_t kSharedBytes = kStages;
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

    uint32_t mask;      // which words hold an element
    uint32_t elements;  // and how many they are
    uint32_t row;       // at which the words begin

    __device__ __forceinline__ void take(uint32_t (&e)[kHalfWords]) {
        uint32_t halves = 0;
        mask = 0;
#pragma unroll
        for (uint32_t i = 0; i < kHalfWords; ++i) {
            const uint32_t ones = nonzero(e[i]);
            halves += ones;
            e[i] &= ones * 0xffffu;
            if (ones != 0) mask |= 1u << mask_bit(i / kRegisters, i % kRegisters);
        }
        elements = (halves & 0xffff) + (halves >> 16);
    }

    __device__ __forceinline__ void deal(Deal& s, const Place& at) {
        const uint32_t words = __popc(mask);
        if (at.half == 0) {
            s.first[at.section][at.lane] = static_cast<uint8_t>(words);
        } else {
            const uint32_t mine = rank(words, 6, at.lane);
            s.lane[at.section][mine] = static_cast<uint8_t>(at.lane);
            s.second[at.section][mine] = static_cast<uint8_t>(words);
        }
        const uint32_t stored = __reduce_add_sync(kAll, elements);
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
        const uint32_t bank = s.bank[at.section][at.lane];
        row = at.half == 0 ? s.row[at.section][at.lane] : s.row[at.section][bank] + s.first[at.section][bank];
    }

    static __device__ __forceinline__ uint32_t units(const Deal& s) { return kHeadUnits + s.rows; }

    static __device__ __forceinline__ uint32_t stored(const Deal& s) {
        uint32_t stored = 0;
        for (uint32_t w = 0; w < kWarps; ++w) stored += s.stored[w];
        return stored;
    }

    __device__ __forceinline__ void encode(const Deal& s, uint8_t* block, const Place& at,
                                           const uint32_t (&e)[kHalfWords]) const {
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

    static __device__ __forceinline__ void decode(const uint8_t* block, uint32_t units, const Place& at,
                                                  uint32_t (&e)[kHalfWords]) {
        const uint32_t* masks = reinterpret_cast<const uint32_t*>(block);
        const uint16_t* starts = reinterpret_cast<const uint16_t*>(block + kStarts);
        const uint32_t mask = masks[mask_index(at.section, at.half, at.lane)];
        const uint32_t start = starts[start_index(at.section, at.lane)];
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
};

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 5)
    fl_convert_banked_size(const __grid_constant__ FlConvertParams p) {
    fl::convert::fragments::size<Codec>(p);
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    fl_convert_banked_encode(const __grid_constant__ FlConvertParams p) {
    fl::convert::fragments::encode<Codec>(p);
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    fl_convert_banked_unpack(const __grid_constant__ FlConvertParams p) {
    fl::convert::fragments::unpack<Codec>(p);
}
