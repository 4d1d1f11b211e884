// SPDX-License-Identifier: Apache-2.0
// Decoding one step (32 rows x 32 columns) of a Bitmap block into m16n8k16 A fragments.
// docs/format-bitmap.md is the specification; the names below are its names.
#pragma once

#include "fl_b_ring.cuh"
#include "fl_ptx.cuh"

namespace fl::bitmap {

constexpr int kTileRows = 32;
constexpr int kStepCols = 32;
constexpr int kUnit = 128;       // bytes of one row of 32 streams, and of one step's masks

__host__ __device__ constexpr uint32_t lo_bit(int j) { return 1u << (16 * (j & 1) + 7 - (j >> 1)); }
__host__ __device__ constexpr uint32_t hi_bit(int j) { return 1u << (16 * (j & 1) + 15 - (j >> 1)); }
// Bits of every element before pair j, and the pair's own low element.
__host__ __device__ constexpr uint32_t upto(int j) {
    uint32_t m = lo_bit(j);
    for (int i = 0; i < j; ++i) m |= lo_bit(i) | hi_bit(i);
    return m;
}
// Stream of a lane in step i: lane ^ rotation(i).
__host__ __device__ constexpr uint32_t rotation(int i) { return ((i & 7) << 2) | (i & 3); }

// Where a lane reads in its stream: `bytes` is 64 * (value index) plus the stream area's shared address
// (a multiple of 128), `shift` is 16 * (value index); both one value early, see decode_pair.
struct Position {
    uint32_t bytes;
    uint32_t shift;
};

// The two fp16 of pair J. Counting the low element's own bit into a position that starts one value
// early makes the loaded pair (v[p-1], v[p]): right in the low half if the low bit is set, right in
// the high half either way. Absent elements are masked, so what lies around the stream never matters.
// `stream` is 4 * stream number: every lane stays in the bank of its stream.
template <int J>
__device__ __forceinline__ uint32_t decode_pair(uint32_t mask, Position at, uint32_t stream) {
    constexpr uint32_t kUpto = upto(J);
    const uint32_t count = __popc(mask & kUpto);
    const uint32_t addr = ((at.bytes + 64u * count) & ~127u) | stream;
    const uint32_t pair = __funnelshift_r(lds32(addr), lds32(addr + kUnit), at.shift + 16u * count);
    // Byte-sign replication of the shifted mask gives 0xffff or 0 for either half.
    const uint32_t keep = prmt(mask << (J >> 1), 0, (J & 1) ? 0xBBAA : 0x9988);
    return pair & keep;
}

// a[row tile][k16 half][fragment register]
__device__ __forceinline__ void decode_step(uint32_t mask, Position at, uint32_t stream, uint32_t (&a)[2][2][4]) {
    a[0][0][0] = decode_pair<0>(mask, at, stream);
    a[0][0][2] = decode_pair<1>(mask, at, stream);
    a[0][1][0] = decode_pair<2>(mask, at, stream);
    a[0][1][2] = decode_pair<3>(mask, at, stream);
    a[0][0][1] = decode_pair<4>(mask, at, stream);
    a[0][0][3] = decode_pair<5>(mask, at, stream);
    a[0][1][1] = decode_pair<6>(mask, at, stream);
    a[0][1][3] = decode_pair<7>(mask, at, stream);
    a[1][0][0] = decode_pair<8>(mask, at, stream);
    a[1][0][2] = decode_pair<9>(mask, at, stream);
    a[1][1][0] = decode_pair<10>(mask, at, stream);
    a[1][1][2] = decode_pair<11>(mask, at, stream);
    a[1][0][1] = decode_pair<12>(mask, at, stream);
    a[1][0][3] = decode_pair<13>(mask, at, stream);
    a[1][1][1] = decode_pair<14>(mask, at, stream);
    a[1][1][3] = decode_pair<15>(mask, at, stream);
}

}  // namespace fl::bitmap
