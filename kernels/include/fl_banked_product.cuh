// SPDX-License-Identifier: Apache-2.0
// Decoding of Banked blocks into fragments of A.
#pragma once

#include "fl_banked.cuh"
#include "fl_ptx.cuh"

namespace fl::banked {

// The streams of a lane in a block that lies in shared memory: of each half its mask and where its next word is.
struct Streams {
    uint32_t mask[2], at[2];

    // By a warp.
    __device__ __forceinline__ Streams(uint32_t block, uint32_t section, uint32_t lane) {
        const uint2 masks = lds64(block + 4 * mask_index(section, 0, lane));
        const uint32_t start = lds16(block + kStarts + 2 * start_index(section, lane));
        mask[0] = masks.x;
        mask[1] = masks.y;
        at[0] = block + kHead + lane * 4 + start_row(start) * kUnit;
        // Behind what its bank's lane has of half 0.
        at[1] = __shfl_sync(~0u, at[0] + __popc(masks.x) * kUnit, start_bank(start));
    }
    __device__ __forceinline__ Streams() : mask{0, 0}, at{0, 0} {}
    // Of no block.
    static __device__ __forceinline__ Streams none(uint32_t) { return Streams(); }

    // kCount steps of a half from `first` on: A of m16n8k16, registers 4 i to 4 i + 3 those of the i-th.
    //
    // A lane's words are in its own bank, a row further each: 128 bytes for every bit of the mask before, four of which a dp4a
    // adds up. Addresses do not follow from one another, or each load would hold up the next one's.
    template <int kCount>
    __device__ __forceinline__ void steps(uint32_t (&a)[4 * kCount], int half, int first) {
        const uint32_t bits = mask[half];
        uint32_t next = at[half];
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
            static_assert(kUnit == 128, "the weights, below");
            const uint32_t four = bits >> (first + i) & 0x01010101u;
            a[4 * i] = word(next, bits & 0x1u << (first + i));
            a[4 * i + 1] = word(__dp4a(four, 0x00000080u, next), bits & 0x100u << (first + i));
            a[4 * i + 2] = word(__dp4a(four, 0x00008080u, next), bits & 0x10000u << (first + i));
            a[4 * i + 3] = word(__dp4a(four, 0x00808080u, next), bits & 0x1000000u << (first + i));
            next = __dp4a(four, 0x80808080u, next);
        }
        at[half] = next;
    }

private:
    // What lies there if the bit is set, or zeros. All lanes come here: a branch would cost as much as the load.
    static __device__ __forceinline__ uint32_t word(uint32_t from, uint32_t bit) {
        uint32_t v;
        asm volatile(
            "{\n"
            ".reg .pred p;\n"
            "setp.ne.b32 p, %2, 0;\n"
            "mov.b32 %0, 0;\n"
            "@p ld.shared.b32 %0, [%1];\n"
            "}\n"
            : "=&r"(v)
            : "r"(from), "r"(bit));
        return v;
    }
};

}  // namespace fl::banked
