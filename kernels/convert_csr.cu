// SPDX-License-Identifier: Apache-2.0
//
//   fl_csr_check   finds the first row of a CSR matrix that is wrong
//   fl_csr_expand  rows of a CSR matrix -> dense rows
//
// Blocks:   CTAs of 256 threads, a warp a row.
// No index is used before it has been compared with the matrix, in both kernels: a caller that changes the arrays
// between them gets wrong elements, never an access outside of them.

#include "fl_convert.cuh"

namespace {

using namespace fl::convert;

__device__ __forceinline__ int64_t index_at(uint64_t array, uint32_t wide, int64_t i) {
    return wide ? reinterpret_cast<const int64_t*>(array)[i] : reinterpret_cast<const int32_t*>(array)[i];
}

// The elements of a row, or false if they do not lie in the arrays.
__device__ __forceinline__ bool row_extent(const FlCsrParams& p, int64_t row, int64_t& start, int64_t& end) {
    start = index_at(p.offsets, p.wide_offsets, row), end = index_at(p.offsets, p.wide_offsets, row + 1);
    // Compared before the base is taken off, which the smallest numbers do not survive.
    if (start < p.base || end < start || end - p.nnz > p.base) return false;
    start -= p.base, end -= p.base;
    return true;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) fl_csr_check(const __grid_constant__ FlCsrParams p) {
    const uint32_t lane = threadIdx.x % 32;
    const int64_t row = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
    if (row >= p.rows) return;
    int64_t start, end;
    bool good = row_extent(p, row, start, end);
    if (good) {
        good = (row != 0 || start == 0) && (row != p.rows - 1 || end == p.nnz);
        for (int64_t i = start + lane; i < end; i += 32) {
            const int64_t col = index_at(p.columns, p.wide_columns, i);
            good &= col >= p.base && col - p.base < p.cols;
            if (i > start) good &= index_at(p.columns, p.wide_columns, i - 1) < col;
        }
    }
    if (!good) {
        atomicMin(reinterpret_cast<unsigned long long*>(&reinterpret_cast<FlConvertResult*>(p.result)->bad),
                  static_cast<unsigned long long>(row));
    }
}

extern "C" __global__ void __launch_bounds__(kThreads) fl_csr_expand(const __grid_constant__ FlCsrParams p) {
    const uint32_t lane = threadIdx.x % 32;
    const int64_t at = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
    if (at >= p.out.rows) return;
    // The strip's rows begin at multiples of 16 bytes.
    uint16_t* out = reinterpret_cast<uint16_t*>(p.out.dense) + at * p.out.ld;
    for (int64_t i = lane; i < p.out.ld / 8; i += 32) reinterpret_cast<uint4*>(out)[i] = make_uint4(0, 0, 0, 0);
    __syncwarp();
    int64_t start, end;
    if (!row_extent(p, p.first_row + at, start, end)) return;
    const uint16_t* values = reinterpret_cast<const uint16_t*>(p.values);
    for (int64_t i = start + lane; i < end; i += 32) {
        const int64_t col = index_at(p.columns, p.wide_columns, i);
        if (col >= p.base && col - p.base < p.cols) out[col - p.base] = values[i];
    }
}
