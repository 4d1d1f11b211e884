// SPDX-License-Identifier: Apache-2.0
//
//   fl_convert_scan  sizes of blocks -> the table of a compressed matrix, the sums and the largest block
//
// Blocks:   one CTA of 1024 threads, four blocks of the matrix a thread and round. A matrix of 1.2 GB has 74 thousand
//           blocks, which are 18 rounds: a hundredth of what the dense matrix takes to read.
// Shared:   sums of the warps.

#include "fl_convert.cuh"

namespace {

using namespace fl::convert;

constexpr uint32_t kScanThreads = 1024;
constexpr uint32_t kEach = 4;

struct Size {
    uint32_t units, nnz, largest;
};

__device__ __forceinline__ Size size_of(const FlScanParams& p, uint64_t i) {
    const uint32_t packed = reinterpret_cast<const uint32_t*>(p.table)[i];
    if (p.format == FL_FORMAT_TILED_CSL) {
        const uint32_t vectors = (packed + 3) / 4;
        return {vectors, packed, 4 * vectors};
    }
    // A block of SELL may have more than 65535 elements.
    const uint32_t shift = p.format == FL_FORMAT_SELL ? FL_SELL_UNITS_SHIFT : 16;
    return {packed >> shift, packed & ((1u << shift) - 1), packed >> shift};
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kScanThreads) fl_convert_scan(const __grid_constant__ FlScanParams p) {
    __shared__ uint32_t sums[32];
    __shared__ uint64_t totals[32];
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t* table = reinterpret_cast<uint32_t*>(p.table);
    uint64_t carry = 0, nnz = 0;
    uint32_t largest = 0;
    for (uint64_t base = 0; base < p.blocks; base += kScanThreads * kEach) {
        const uint64_t first = base + threadIdx.x * kEach;
        uint32_t units[kEach], mine = 0;
#pragma unroll
        for (uint32_t i = 0; i < kEach; ++i) {
            Size size = {0, 0, 0};
            if (first + i < p.blocks) size = size_of(p, first + i);
            units[i] = size.units;
            mine += size.units;
            nnz += size.nnz;
            largest = size.largest > largest ? size.largest : largest;
        }
        uint32_t all;
        uint64_t at = carry + exclusive(mine, sums, all);
#pragma unroll
        for (uint32_t i = 0; i < kEach; ++i) {
            if (first + i < p.blocks) table[first + i] = static_cast<uint32_t>(at);
            at += units[i];
        }
        carry += all;
    }
    for (int d = 16; d > 0; d /= 2) nnz += __shfl_down_sync(kAll, nnz, d);
    largest = __reduce_max_sync(kAll, largest);
    if (lane == 0) totals[warp] = nnz, sums[warp] = largest;
    __syncthreads();
    if (threadIdx.x != 0) return;
    FlConvertResult* result = reinterpret_cast<FlConvertResult*>(p.result);
    uint64_t sum = 0;
    for (uint32_t w = 0; w < 32; ++w) {
        sum += totals[w];
        largest = sums[w] > largest ? sums[w] : largest;
    }
    result->units = carry;
    result->nnz = sum;
    result->bad = ~uint64_t{0};
    result->max_block = largest;
    result->different = 0;
    table[p.blocks] = static_cast<uint32_t>(carry);
    if (p.format == FL_FORMAT_TILED_CSL) table[p.blocks + 1] = static_cast<uint32_t>(carry);
}
