// SPDX-License-Identifier: Apache-2.0
// Decoding one step (32 rows x 32 columns) of a Bitmap block into m16n8k16 A fragments.
// docs/format-bitmap.md is the specification; the names below are its names.
#pragma once

#include "fl_b_ring.cuh"
#include "fl_ptx.cuh"

namespace fl::bitmap {

constexpr int kTileRows = 32;
constexpr int kStepCols = 32;
constexpr int kUnit = 128;  // bytes of one row of 32 streams, and of one step's masks

// Stream of a lane in step i: lane ^ rotation(i).
__host__ __device__ constexpr uint32_t rotation(int i) { return ((i & 7) << 2) | (i & 3); }

// Pairs 2i and 2i+1 have their four bits at the same place of the mask's four bytes (low even, high even,
// low odd, high odd), so that a dot product with bytes counts any of them, scaled to 16 a value, and adds
// the position: no POPC, whose quarter rate and variable latency cost more.
template <int I>
struct Couple {
    // The first three couples' bits are worth more than 16: they are counted in a shifted copy.
    static constexpr bool kHigh = I < 3;
    static constexpr int kBit = kHigh ? 4 - I : 7 - I;
    static constexpr uint32_t kScale = 16 >> kBit;
    static constexpr uint32_t kLowEven = kScale, kUptoLowOdd = kScale * 0x010101u, kAll = kScale * 0x01010101u;
    static __device__ __forceinline__ uint32_t bits(uint32_t mask, uint32_t mask_over_8) {
        return (kHigh ? mask_over_8 : mask) & (0x01010101u << kBit);
    }
};

// The two fp16 of one pair. `pos` is 16 * (value index) plus a quarter of the stream area's shared address (a
// multiple of 32), counted to the pair's low element inclusive from one value early: the loaded pair
// (v[p-1], v[p]) is then right in the low half if the low bit is set, and right in the high half either
// way. `keep` masks absent elements, so what lies around the stream never matters. `stream` is
// 4 * stream number: every lane stays in the bank of its stream.
__device__ __forceinline__ uint32_t load_pair(uint32_t pos, uint32_t stream, uint32_t keep) {
    const uint32_t addr = ((pos * 4) & ~127u) | stream;
    return __funnelshift_r(lds32(addr), lds32(addr + kUnit), pos) & keep;
}

// Decodes pairs 2I and 2I+1 and moves `at` behind them.
template <int I>
__device__ __forceinline__ void decode_couple(uint32_t mask, uint32_t mask_over_8, uint32_t& at, uint32_t stream,
                                              uint32_t& even, uint32_t& odd) {
    using C = Couple<I>;
    const uint32_t bits = C::bits(mask, mask_over_8);
    // Byte-sign replication of the shifted mask gives 0xffff or 0 for either half.
    const uint32_t signs = mask << I;
    even = load_pair(__dp4a(bits, C::kLowEven, at), stream, prmt(signs, 0, 0x9988));
    odd = load_pair(__dp4a(bits, C::kUptoLowOdd, at), stream, prmt(signs, 0, 0xBBAA));
    at = __dp4a(bits, C::kAll, at);
}

// a[row tile][k16 half][fragment register]; `at` is moved behind the step.
__device__ __forceinline__ void decode_step(uint32_t mask, uint32_t& at, uint32_t stream, uint32_t (&a)[2][2][4]) {
    const uint32_t over_8 = mask >> 3;
    decode_couple<0>(mask, over_8, at, stream, a[0][0][0], a[0][0][2]);
    decode_couple<1>(mask, over_8, at, stream, a[0][1][0], a[0][1][2]);
    decode_couple<2>(mask, over_8, at, stream, a[0][0][1], a[0][0][3]);
    decode_couple<3>(mask, over_8, at, stream, a[0][1][1], a[0][1][3]);
    decode_couple<4>(mask, over_8, at, stream, a[1][0][0], a[1][0][2]);
    decode_couple<5>(mask, over_8, at, stream, a[1][1][0], a[1][1][2]);
    decode_couple<6>(mask, over_8, at, stream, a[1][0][1], a[1][0][3]);
    decode_couple<7>(mask, over_8, at, stream, a[1][1][1], a[1][1][3]);
}

}  // namespace fl::bitmap
