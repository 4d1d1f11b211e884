// SPDX-License-Identifier: Apache-2.0
// Decoding of Slots blocks into sparse m16n8k32 A fragments, and the multiplication of their overflow.
// docs/format-slots.md is the specification; the names below are its names.
#pragma once

#include "fl_ptx.cuh"

namespace fl::slots {

constexpr int kTileRows = 32;
constexpr int kBlockCols = 256;
constexpr int kSteps = kBlockCols / 32;
constexpr int kCouples = kSteps / 2;  // steps whose values are one piece of a stream
constexpr int kUnit = 128;            // bytes of one row of 32 streams, and of one step's codes
constexpr int kStarts = kSteps * kUnit;
constexpr int kOverflow = kStarts + kUnit;
constexpr int kRound = 16;            // overflow entries multiplied together
constexpr int kScatter = 512;         // bytes of an A fragment of overflow in shared memory: four pieces of 8 x 8

// The four codes of a quad's lanes hold the groups that the other lanes own. Lane t gets code t of every lane:
// a 4 x 4 transpose of nibble pairs (n, n + 4) in two exchanges.
struct Transpose {
    uint32_t keep, rotate, bytes;
    __device__ __forceinline__ explicit Transpose(uint32_t lane)
        : keep(lane & 1 ? 0xf0f0f0f0u : 0x0f0f0f0fu), rotate(lane & 1 ? 28 : 4), bytes(lane & 2 ? 0x3715 : 0x6240) {}

    __device__ __forceinline__ uint32_t operator()(uint32_t codes) const {
        const uint32_t near = __shfl_xor_sync(~0u, codes, 1);
        const uint32_t half = (codes & keep) | (__funnelshift_l(near, near, rotate) & ~keep);
        return prmt(half, __shfl_xor_sync(~0u, half, 2), bytes);
    }
};

// The slots of group J of a lane: the first value if there is one, the second behind it in the stream. Joined by a
// multiplication, because that pipe is idle, and without a predicate, because those are few and loads are slow.
template <int J>
__device__ __forceinline__ uint32_t load_slots(uint32_t one, uint32_t two, uint32_t addr) {
    uint32_t first, second;
    asm volatile(
        "{\n"
        ".reg .pred p, q;\n"
        ".reg .b32 t, u;\n"
        "and.b32 t, %2, %5;\n"
        "setp.ne.b32 p, t, 0;\n"
        "and.b32 u, %3, %5;\n"
        "setp.ne.b32 q, u, 0;\n"
        "mov.b32 %0, 0;\n"
        "mov.b32 %1, 0;\n"
        "@p ld.shared.u16 %0, [%4];\n"
        "@q ld.shared.u16 %1, [%4 + 128];\n"
        "}\n"
        : "=r"(first), "=r"(second)
        : "r"(one), "r"(two), "r"(addr), "n"(1 << (4 * J)));
    return second * 65536u + first;
}

// a[row tile][register] of one step from a lane's own codes; `at` is the shared address of the lane's next value
// and is moved behind the step.
__device__ __forceinline__ void decode_step(uint32_t codes, uint32_t& at, uint32_t (&a)[2][4]) {
    // A code is two 2-bit columns a (low) and b. b - a (mod 4) = 1: one value, 3: two, 2: two if a < 2, else none.
    const uint32_t a1 = codes >> 1, b0 = codes >> 2, b1 = codes >> 3;
    const uint32_t odd = codes ^ b0;
    const uint32_t one = odd | ~a1;
    const uint32_t third = codes ^ a1 ^ b1;
    const uint32_t two = (odd & third) | ~(odd | a1);
    const uint32_t counts = (one & 0x11111111u) + (two & 0x11111111u);
    const uint32_t even = counts & 0x0f0f0f0fu;
    const uint32_t couples = even + ((counts >> 4) & 0x0f0f0f0fu);
    // Nibble j of the codes is row slot j / 4, row tile j / 2 % 2, group t + 4 (j % 2).
    const uint32_t at0 = at;
    const uint32_t at2 = __dp4a(couples, 0x00000080u, at), at4 = __dp4a(couples, 0x00008080u, at);
    const uint32_t at6 = __dp4a(couples, 0x00808080u, at);
    at = __dp4a(couples, 0x80808080u, at);
    a[0][0] = load_slots<0>(one, two, at0);
    a[0][2] = load_slots<1>(one, two, __dp4a(even, 0x00000080u, at0));
    a[1][0] = load_slots<2>(one, two, at2);
    a[1][2] = load_slots<3>(one, two, __dp4a(even, 0x00008000u, at2));
    a[0][1] = load_slots<4>(one, two, at4);
    a[0][3] = load_slots<5>(one, two, __dp4a(even, 0x00800000u, at4));
    a[1][1] = load_slots<6>(one, two, at6);
    a[1][3] = load_slots<7>(one, two, __dp4a(even, 0x80000000u, at6));
}

// The A fragments of a row tile's overflow, made in registers (spmm_slots_sm80.cu): round i is entries 16 i .. 16 i + 15, each the only element of its column.
struct OverflowFragment {
    uint32_t mine, row;
    __device__ __forceinline__ OverflowFragment(uint32_t entries, uint32_t lane)
        : mine(entries + lane % 4 * 8), row(lane / 4 << 28) {}

    // a: the fragment. e: this lane's entries, those of columns 2 t, 2 t + 1, 2 t + 8 and 2 t + 9.
    __device__ __forceinline__ void load(uint32_t round, uint32_t (&e)[4], uint32_t (&a)[4]) const {
        const uint32_t at = mine + round * (kRound * 4);
        const uint2 low = lds64(at), high = lds64(at + kRound * 2);
        e[0] = low.x, e[1] = low.y, e[2] = high.x, e[3] = high.y;
        uint32_t first[4], second[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            // An entry belongs to this lane's first row if its place is 16 g, to its second if it is 16 g + 1.
            const uint32_t place = e[i] ^ row;
            first[i] = place < 1u << 24 ? e[i] : 0;
            second[i] = place >= 1u << 24 && place < 2u << 24 ? e[i] : 0;
        }
        a[0] = prmt(first[0], first[1], 0x5410);
        a[1] = prmt(second[0], second[1], 0x5410);
        a[2] = prmt(first[2], first[3], 0x5410);
        a[3] = prmt(second[2], second[3], 0x5410);
    }
};

}  // namespace fl::slots
