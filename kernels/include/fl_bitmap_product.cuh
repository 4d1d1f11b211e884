// SPDX-License-Identifier: Apache-2.0
// Decoding of Bitmap blocks into fragments of A.
#pragma once

#include "fl_bitmap.cuh"
#include "fl_ptx.cuh"

namespace fl::bitmap {

// The streams of a lane in a block that lies in shared memory: of each half its masks and where its next value is.
struct Streams {
    uint32_t mask[kHalves][kMasks], at[kHalves];

    __device__ __forceinline__ Streams(uint32_t block, uint32_t section, uint32_t lane) {
        static_assert(kHalves * kMasks == 4, "masks of a lane come at once");
        const uint4 masks = lds128(block + 4 * mask_index(section, 0, lane));
        const uint32_t starts = lds32(block + kStarts + 2 * start_index(section, 0, lane));
        mask[0][0] = masks.x, mask[0][1] = masks.y, mask[1][0] = masks.z, mask[1][1] = masks.w;
#pragma unroll
        for (uint32_t half = 0; half < kHalves; ++half) {
            const uint32_t start = starts >> (16 * half) & 0xffff;
            at[half] = block + value_byte(start_row(start), start_bank(start), half);
        }
    }
    __device__ __forceinline__ Streams() : mask{{0, 0}, {0, 0}}, at{0, 0} {}
    // Of no block: `block` is where it may read all the same.
    static __device__ __forceinline__ Streams none(uint32_t block) {
        Streams none;
        none.at[0] = none.at[1] = block;
        return none;
    }

    // kCount steps of a half from `first` on: A of m16n8k16, registers 4 i to 4 i + 3 those of the i-th.
    //
    // Two bits of a register are 0 to 3: no value, one that is low, one that is high, two. Both values are loaded always, up to two rows
    // behind a lane's last, in 32 bits each whose upper halves are zero: a byte permutation, whose selector another one looks up, takes
    // values or zeros from there. That is fewer instructions than predicates and cleared registers.
    template <int kCount>
    __device__ __forceinline__ void steps(uint32_t (&a)[4 * kCount], int half, int first) {
        uint32_t next = at[half];
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
            const uint32_t step = first + i;
            const uint32_t which = mask[half][step / kMaskSteps] >> (2 * (step % kMaskSteps)) & 0x03030303u;
            const uint32_t counts = which - (which >> 1 & 0x01010101u);
            // Bytes of a register's selector: the lower one is in bytes 0 to 3 of the table, the higher one in 4 to 7.
            const uint32_t looked_up = which * 0x11u + 0x40404040u;
            const uint32_t low = prmt(kLowSelectors, kHighSelectors, looked_up), high = prmt(kLowSelectors, kHighSelectors, looked_up >> 16);
            static_assert(kUnit == 128, "the weights, below");
            a[4 * i] = word(next, low);
            a[4 * i + 1] = word(__dp4a(counts, 0x00000080u, next), low >> 16);
            a[4 * i + 2] = word(__dp4a(counts, 0x00008080u, next), high);
            a[4 * i + 3] = word(__dp4a(counts, 0x00808080u, next), high >> 16);
            next = __dp4a(counts, 0x80808080u, next);
        }
        at[half] = next;
    }

private:
    // Of two values in eight bytes, 0 and 1 the first, 4 and 5 the second: which bytes are a register's lower and upper half.
    static constexpr uint32_t kLowSelectors = 0x10321032u, kHighSelectors = 0x54107676u;

    static __device__ __forceinline__ uint32_t word(uint32_t from, uint32_t selector) { return prmt(lds16(from), lds16(from + kUnit), selector); }
};

}  // namespace fl::bitmap
