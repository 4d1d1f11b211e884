// SPDX-License-Identifier: Apache-2.0
// What the SpMM kernels of SELL share: a packet's deltas and values, and the product of gathered rows of B with them.
// docs/format-sell.md is the specification; the names below are its names.
#pragma once

#include "fl_ptx.cuh"
#include "fl_sell.cuh"

namespace fl::sell {

constexpr uint32_t kGroupBytes = 4 * kStepBytes;  // values of a group of four
constexpr uint32_t kSums = 1024;                  // bytes of a tile and eight columns, fp32

// The deltas of group 0 to 3 of a packet as the bytes of a word, from a lane's three words: those of the last group are in
// the others' top bits.
__device__ __forceinline__ uint32_t deltas_of(uint32_t group, uint32_t w0, uint32_t w1, uint32_t w2) {
    if (group == 3) return ((w0 >> 6) & 0x03030303u) | ((w1 >> 4) & 0x0c0c0c0cu) | ((w2 >> 2) & 0x30303030u);
    return (group == 0 ? w0 : group == 1 ? w1 : w2) & 0x3f3f3f3fu;
}

// From a step's values on to the two that this lane has in the second operand, in bytes.
__device__ __forceinline__ uint32_t own_values(uint32_t lane) { return lane / 4 % 4 * 16 + lane % 4 * 4; }

// The same in a group of four whole steps, where lanes have the values of two of them: of the first two or, if `late`, of the
// last two. Half a warp then reads all banks.
__device__ __forceinline__ uint32_t late(uint32_t lane) { return lane / 16 ^ lane / 8 % 2; }
__device__ __forceinline__ uint32_t own_pairs(uint32_t lane) { return lane / 4 % 4 * 64 + lane % 4 * 16 + late(lane) * 8; }

// Bytes from a tile's sums on to that of row and column, as m16n8 accumulators have them.
__device__ __forceinline__ uint32_t sum_offset(uint32_t row, uint32_t column) {
    return row / 16 * 512 + row % 8 * 64 + column / 2 * 16 + row / 8 % 2 * 8 + column % 2 * 4;
}

// Four rows of A, whose elements are a step's 32 slots: 8 of each row. One m16n8k16 multiplies all of them by the rows of B
// that they meet. Its first operand has the columns of B as rows, twice: as rows 0 to 7 those that the rows 0 (slots 0 to 7 of K)
// and 2 (8 to 15) of A meet, as rows 8 to 15 those of 1 and 3. Its second operand has a row of A as a column, and zeros in the
// half of K that is the other row's: of 0 in the columns 0 and 4, of 2 in 1 and 5, of 1 in 2 and 6, of 3 in 3 and 7. What meets
// where it should not is in elements of the product that nobody reads, and so is half of the columns: a lane has values of two steps
// of a group of four, so that the columns 0, 1, 6 and 7 are right for the first two steps and the others for the last two.
struct Product {
    float4 first, last;   // of the first and of the last two steps of groups
    uint32_t first_half;  // all ones in the lanes of even columns

    __device__ __forceinline__ explicit Product(uint32_t lane)
        : first(make_float4(0.f, 0.f, 0.f, 0.f)), last(first), first_half(lane & 4 ? 0 : ~0u) {}

    __device__ __forceinline__ void step(float4& sums, const uint32_t (&rows)[4], uint32_t values) {
        mma_m16n8k16(sums, rows, values & first_half, values & ~first_half);
    }

    // Four steps, of which the lane's values are `pairs`.
    __device__ __forceinline__ void multiply(const uint32_t (&rows)[4][4], const uint2& pairs) {
        step(first, rows[0], pairs.x);
        step(first, rows[1], pairs.y);
        step(last, rows[2], pairs.x);
        step(last, rows[3], pairs.y);
    }

    // Three steps or fewer, whose values all columns have; zero where there is none.
    __device__ __forceinline__ void multiply(const uint32_t (&rows)[4][4], uint32_t v0, uint32_t v1, uint32_t v2) {
        step(first, rows[0], v0);
        step(last, rows[2], v2);
        step(first, rows[1], v1);
    }

    // The sum of row lane % 4 of the slice and column lane / 4: the lane has one part, and lane ^ 2 the other.
    __device__ __forceinline__ float sum(uint32_t lane) const {
        const uint32_t row = lane % 4;
        const float keep = row == 0 ? first.x : row == 1 ? last.z : row == 2 ? last.y : first.w;
        const float give = row == 0 ? first.y : row == 1 ? last.w : row == 2 ? last.x : first.z;
        return keep + __shfl_xor_sync(~0u, give, 2);
    }
};

}  // namespace fl::sell
