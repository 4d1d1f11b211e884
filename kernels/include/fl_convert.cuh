// SPDX-License-Identifier: Apache-2.0
// What the conversion kernels share: how 32 neighbouring elements of a row get into the registers of a thread and
// back, and the sums and ranks of a warp. No instruction here is newer than sm_80.
#pragma once

#include <stdint.h>

#include "fl_convert_params.h"

// The emulation of the tests has its own.
#ifndef FL_DYNAMIC_SHARED
#define FL_DYNAMIC_SHARED(name) extern __shared__ uint4 name[]
#endif

namespace fl::convert {

constexpr int kThreads = 256;
constexpr uint32_t kAll = ~0u;

// Element i of a segment is half i % 2 of word i / 2. A View is FlConvertParams or FlView.
constexpr int kSegment = 32;
constexpr int kWords = kSegment / 2;

template <typename View>
__device__ __forceinline__ int64_t place(const View& p, int64_t row, int64_t col) {
    return p.col_major ? row + col * p.ld : row * p.ld + col;
}

// How many of the segment's elements lie in the matrix.
template <typename View>
__device__ __forceinline__ int inside(const View& p, int64_t row, int64_t col) {
    if (row >= p.rows || col >= p.cols) return 0;
    const int64_t left = p.cols - col;
    return left < kSegment ? static_cast<int>(left) : kSegment;
}

// Elements outside the matrix become zero.
template <typename View>
__device__ __forceinline__ void load(const View& p, int64_t row, int64_t col, uint32_t (&e)[kWords]) {
    const int count = inside(p, row, col);
#pragma unroll
    for (int i = 0; i < kWords; ++i) e[i] = 0;
    if (count == 0) return;
    const uint16_t* from = reinterpret_cast<const uint16_t*>(p.dense) + place(p, row, col);
    if (p.vectors && count == kSegment) {
#pragma unroll
        for (int i = 0; i < kWords / 4; ++i) {
            const uint4 v = reinterpret_cast<const uint4*>(from)[i];
            e[4 * i] = v.x, e[4 * i + 1] = v.y, e[4 * i + 2] = v.z, e[4 * i + 3] = v.w;
        }
        return;
    }
    const int64_t stride = p.col_major ? p.ld : 1;
#pragma unroll
    for (int i = 0; i < kSegment; ++i) {
        if (i < count) e[i / 2] |= static_cast<uint32_t>(from[i * stride]) << (16 * (i % 2));
    }
}

// Elements outside the matrix are not written.
template <typename View>
__device__ __forceinline__ void store(const View& p, int64_t row, int64_t col,
                                      const uint32_t (&e)[kWords]) {
    const int count = inside(p, row, col);
    if (count == 0) return;
    uint16_t* to = reinterpret_cast<uint16_t*>(p.dense) + place(p, row, col);
    if (p.vectors && count == kSegment) {
#pragma unroll
        for (int i = 0; i < kWords / 4; ++i) {
            reinterpret_cast<uint4*>(to)[i] = make_uint4(e[4 * i], e[4 * i + 1], e[4 * i + 2], e[4 * i + 3]);
        }
        return;
    }
    const int64_t stride = p.col_major ? p.ld : 1;
#pragma unroll
    for (int i = 0; i < kSegment; ++i) {
        if (i < count) to[i * stride] = static_cast<uint16_t>(e[i / 2] >> (16 * (i % 2)));
    }
}

// Bits 15 and 31: the lower and the upper of two elements is not a zero of either sign. Other bits are anything.
__device__ __forceinline__ uint32_t stored_of_two(uint32_t two) {
    // Adding 0x7fff carries into bit 15 of a half exactly when its magnitude is not zero.
    return (two & 0x7fff7fffu) + 0x7fff7fffu;
}

// Bits 0 and 16: the lower and the upper of two elements is not a zero of either sign.
__device__ __forceinline__ uint32_t nonzero(uint32_t two) { return stored_of_two(two) >> 15 & 0x00010001u; }

// Whether two words differ in more than signs of zeros.
__device__ __forceinline__ bool differ(uint32_t a, uint32_t b) {
    // What differs in a sign alone is a zero where neither has a magnitude.
    return ((a ^ b) & nonzero(a | b) * 0xffffu) != 0;
}

// Bit i: element i is not a zero of either sign.
__device__ __forceinline__ uint32_t stored(const uint32_t (&e)[kWords]) {
    uint32_t mask = 0;
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
        const uint32_t t = stored_of_two(e[i]);
        mask |= (t >> 15 & 1) << (2 * i) | (t >> 31) << (2 * i + 1);
    }
    return mask;
}

// Writes the elements, or notes that they differ from the dense matrix.
__device__ __forceinline__ void deliver(const FlConvertParams& p, int64_t row, int64_t col,
                                        const uint32_t (&e)[kWords]) {
    if (p.use == FL_UNPACK_STORE) {
        store(p, row, col, e);
        return;
    }
    uint32_t d[kWords];
    load(p, row, col, d);
    bool different = false;
#pragma unroll
    for (int i = 0; i < kWords; ++i) different |= differ(e[i], d[i]);
    if (different) reinterpret_cast<FlConvertResult*>(p.result)->different = 1;
}

__device__ __forceinline__ void report(const FlConvertParams& p, uint64_t block) {
    if (p.result == 0) return;
    atomicMin(reinterpret_cast<unsigned long long*>(&reinterpret_cast<FlConvertResult*>(p.result)->bad),
              static_cast<unsigned long long>(block));
}

// Adds a good block to the sums.
__device__ __forceinline__ void account(const FlConvertParams& p, uint32_t nnz, uint32_t size) {
    FlConvertResult* result = reinterpret_cast<FlConvertResult*>(p.result);
    atomicAdd(reinterpret_cast<unsigned long long*>(&result->nnz), static_cast<unsigned long long>(nnz));
    atomicMax(&result->max_block, size);
}

// Number of lanes whose key, of `bits` bits, comes before this lane's; equal keys come in the order of lanes.
__device__ __forceinline__ uint32_t rank(uint32_t key, int bits, uint32_t lane) {
    uint32_t less = 0, equal = kAll;
    for (int bit = bits - 1; bit >= 0; --bit) {
        const uint32_t ones = __ballot_sync(kAll, key >> bit & 1);
        if (key >> bit & 1) {
            less |= equal & ~ones;
            equal &= ones;
        } else {
            equal &= ~ones;
        }
    }
    return __popc(less) + __popc(equal & ((1u << lane) - 1));
}

// Sum over the lanes up to and including this one.
__device__ __forceinline__ uint32_t inclusive(uint32_t v, uint32_t lane) {
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        const uint32_t other = __shfl_up_sync(kAll, v, d);
        if (lane >= static_cast<uint32_t>(d)) v += other;
    }
    return v;
}

// Sum over the threads of a CTA of 1024 before this one; `all` receives that of every thread. All threads call it.
__device__ __forceinline__ uint32_t exclusive(uint32_t v, uint32_t (&sums)[32], uint32_t& all) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t upto = inclusive(v, lane);
    if (lane == 31) sums[warp] = upto;
    __syncthreads();
    uint32_t before = 0;
    all = 0;
    for (uint32_t w = 0; w < 32; ++w) {
        if (w == warp) before = all;
        all += sums[w];
    }
    __syncthreads();
    return before + upto - v;
}

// Half `i` of four neighbouring elements, in the low bits; i may be any number.
__device__ __forceinline__ uint32_t pick(uint32_t low, uint32_t high, uint32_t i) {
    return __byte_perm(low, high, (2 * i) | (2 * i + 1) << 4) & 0xffff;
}

// Units from the table of one block, or false if they do not lie in the data or the block cannot have that size.
__device__ __forceinline__ bool extent(const FlConvertParams& p, uint64_t block, uint32_t least, uint32_t most,
                                       uint32_t& start, uint32_t& units) {
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);
    start = table[block];
    const uint32_t end = table[block + 1];
    units = end - start;
    return start <= end && end <= p.data_units && units >= least && units <= most;
}

// Writes what lies before the data: the first block the header, each block its entry of the table, the last block
// the entries behind it and the gap.
__device__ __forceinline__ void write_front(const FlConvertParams& p, uint64_t block) {
    if (p.front == 0) return;
    uint32_t* front = reinterpret_cast<uint32_t*>(p.front);
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);
    if (block == 0 && threadIdx.x < 64) front[threadIdx.x] = p.header[threadIdx.x];
    const uint64_t blocks = p.table_entries - p.extra_entries;
    if (threadIdx.x == 0) front[64 + block] = table[block];
    if (block + 1 == blocks) {
        const uint64_t words = (p.data - p.front) / 4;
        for (uint64_t i = 64 + blocks + threadIdx.x; i < words; i += kThreads) {
            front[i] = i < 64 + p.table_entries ? table[blocks] : 0;
        }
    }
}

// Whether the table's ends and the gap behind it are as they must be; looked at by the first and the last block.
__device__ __forceinline__ bool front_is_good(const FlConvertParams& p, uint64_t block) {
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);
    const uint64_t blocks = p.table_entries - p.extra_entries;
    bool good = block != 0 || table[0] == 0;
    if (block + 1 == blocks) {
        const uint64_t words = (p.data - p.front) / 4 - 64;
        for (uint64_t i = blocks + threadIdx.x; i < words; i += kThreads) {
            good &= table[i] == (i < p.table_entries ? p.data_units : 0);
        }
    }
    return good;
}

}  // namespace fl::convert
