// SPDX-License-Identifier: Apache-2.0
//
//   fl_convert_table  looks at the table that an analysis left in the caller's workspace, before it is written to a buffer
//
// The workspace is the caller's memory, and between the two passes something else may have been written to it. A table
// that contradicts the header is replaced by that of the smallest blocks, so that what is written is a buffer without
// the matrix, which every check refuses, but not one that leads a multiplying kernel out of its bounds.
// Blocks:   one CTA of 1024 threads.

#include "fl_convert.cuh"

namespace {

constexpr uint32_t kTableThreads = 1024;

}  // namespace

extern "C" __global__ void __launch_bounds__(kTableThreads)
    fl_convert_table(const __grid_constant__ FlTableParams p) {
    uint32_t* table = reinterpret_cast<uint32_t*>(p.table);
    bool good = true;
#pragma unroll 4
    for (uint64_t i = threadIdx.x; i < p.blocks; i += kTableThreads) {
        const uint32_t start = table[i], end = table[i + 1], units = end - start;
        good &= start <= end && end <= p.data_units && units >= p.least && units <= p.most;
        good &= (i != 0 || start == 0) && (i + 1 != p.blocks || end == p.data_units);
    }
    if (!__syncthreads_or(!good)) return;
    for (uint64_t i = threadIdx.x; i <= p.blocks; i += kTableThreads) table[i] = static_cast<uint32_t>(i * p.least);
}
