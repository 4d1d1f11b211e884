// SPDX-License-Identifier: Apache-2.0
// Where the parts of a SELL block lie, and which lane and place an element may have, for the conversions and the
// products. docs/format-sell.md is the specification; the names below are its names.
#pragma once

#include <stdint.h>

namespace fl::sell {

constexpr uint32_t kTileRows = 32;
constexpr uint32_t kBlockCols = 2048;
constexpr uint32_t kOctets = kBlockCols / 8;
constexpr uint32_t kLanes = 8;           // of a row: the 16-byte bank groups of shared memory
constexpr uint32_t kSliceRows = 4;
constexpr uint32_t kSlices = kTileRows / kSliceRows;
constexpr uint32_t kUnit = 128;          // bytes
constexpr uint32_t kPlaces = 2 * kOctets;
constexpr uint32_t kMostDelta = 63;

// The head: ends, order, zeros; the slices follow.
constexpr uint32_t kEndUnit = 64;        // bytes
constexpr uint32_t kOrderOffset = 16;
constexpr uint32_t kHeadUsed = 48;
constexpr uint32_t kHeadBytes = 64;

constexpr uint32_t kPacketSteps = 16;
constexpr uint32_t kPacketBytes = 1408;
constexpr uint32_t kWordBytes = 128;     // of word i of all lanes
constexpr uint32_t kStepBytes = 64;      // of the values of a step

// An octet lengthens the longest lane of a row by no more than one, and a filler stands for 31 octets.
constexpr uint32_t kMostSteps = kOctets;

// Element x of octet q may be in lane x ^ s(q), at place 2 q, or in lane x ^ s(q) ^ d(q), at place 2 q + 1.
__host__ __device__ constexpr uint32_t s(uint32_t q) { return q % 4 * 2 + q / 4 % 2; }
__host__ __device__ constexpr uint32_t d(uint32_t q) { return q / 8 % 8 == 0 ? 5 : q / 8 % 8; }

// Where row j of a slice is among the values of a step or of a group of four.
__host__ __device__ constexpr uint32_t pos(uint32_t j) { return j % 2 * 2 + j / 2; }

// Words a lane of a packet of n steps, and its bytes.
__host__ __device__ constexpr uint32_t words_of(uint32_t n) { return n <= 4 ? 1 : n <= 8 ? 2 : 3; }
__host__ __device__ constexpr uint32_t packet_bytes(uint32_t n) { return words_of(n) * kWordBytes + n * kStepBytes; }
static_assert(packet_bytes(kPacketSteps) == kPacketBytes, "");

// Bytes of a slice of so many steps.
__host__ __device__ constexpr uint32_t slice_bytes(uint32_t steps) {
    const uint32_t rest = steps % kPacketSteps;
    return steps / kPacketSteps * kPacketBytes + (rest == 0 ? 0 : packet_bytes(rest));
}

// Steps of a packet, or of the rest of a slice, of so many bytes; at most 16 whatever the bytes are.
__host__ __device__ constexpr uint32_t packet_steps(uint32_t bytes) {
    if (bytes >= kPacketBytes) return kPacketSteps;
    const uint32_t words = (bytes <= 384 ? 1 : bytes <= 768 ? 2 : 3) * kWordBytes;
    return bytes <= words ? 0 : (bytes - words) / kStepBytes;
}

// Units of a block whose slices have so many bytes in all.
__host__ __device__ constexpr uint32_t units_of(uint32_t slices) {
    return (kHeadBytes + slices + kUnit - 1) / kUnit;
}

}  // namespace fl::sell
