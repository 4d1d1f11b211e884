// SPDX-License-Identifier: Apache-2.0
//
// Zeroes exactly so many elements of smallest magnitude. A magnitude is the lower 15 bits of an element: they order
// fp16 and bf16 alike, NaN after infinity. Of equal magnitudes the first ones in row-major order are zeroed.
//
//   fl_prune_histogram  counts magnitudes by their upper 8 bits, then those with the threshold's by their lower 7
//   fl_prune_select     finds the threshold in a histogram
//   fl_prune_ties       counts the elements that equal the threshold, by row and 256 columns
//   fl_prune_scan       those counts -> the ties before
//   fl_prune_apply      writes the matrix
//   fl_prune_rows       all of that for each row by itself
//
// Blocks:   CTAs of 256 threads over tiles of 32 rows x 256 columns, thread = (row, 32 columns), as in the conversions;
//           fl_prune_rows one CTA for 32 rows; fl_prune_scan one CTA of 1024 threads.
// Shared:   one histogram a warp, or one a row.
// The target is not more than the number of elements, which the host has seen to.

#include "fl_convert.cuh"

namespace {

using namespace fl::convert;

constexpr uint32_t kTileRows = 32;
constexpr uint32_t kTileCols = 256;
constexpr uint32_t kWarps = kThreads / 32;

struct Place {
    int row, step;
    __device__ explicit Place(const FlView& v)
        : row(v.col_major ? threadIdx.x % 32 : threadIdx.x / 8), step(v.col_major ? threadIdx.x / 32 : threadIdx.x % 8) {}
};

__device__ __forceinline__ uint32_t magnitude(const uint32_t (&e)[kWords], int i) {
    return e[i / 2] >> (16 * (i % 2)) & 0x7fff;
}

// Adds the elements of a segment to a histogram. Zeros, of which there may be most, are summed first.
__device__ __forceinline__ void count(const uint32_t (&e)[kWords], int inside, uint32_t pass, uint32_t threshold,
                                      uint32_t* bins) {
    uint32_t zeros = 0;
#pragma unroll
    for (int i = 0; i < kSegment; ++i) {
        const uint32_t m = magnitude(e, i);
        const bool counts = i < inside && (pass == 0 || m >> 7 == threshold >> 7);
        const uint32_t bin = pass == 0 ? m >> 7 : m & 127;
        if (counts && bin == 0) ++zeros;
        if (counts && bin != 0) atomicAdd(&bins[bin], 1u);
    }
    if (zeros != 0) atomicAdd(&bins[0], zeros);
}

// Bit i: element i has the magnitude of the threshold.
__device__ __forceinline__ uint32_t tied(const uint32_t (&e)[kWords], int inside, uint32_t threshold) {
    uint32_t mask = 0;
#pragma unroll
    for (int i = 0; i < kSegment; ++i) mask |= static_cast<uint32_t>(i < inside && magnitude(e, i) == threshold) << i;
    return mask;
}

// Zeroes what is below the threshold, and the ties whose number, the first being `before`, is less than `ties`.
__device__ __forceinline__ void prune(uint32_t (&e)[kWords], uint32_t mask, uint32_t threshold, uint64_t before,
                                      uint64_t ties) {
#pragma unroll
    for (int i = 0; i < kSegment; ++i) {
        const bool tie = mask >> i & 1;
        if (magnitude(e, i) < threshold || (tie && before < ties)) e[i / 2] &= i % 2 ? 0x0000ffffu : 0xffff0000u;
        before += tie;
    }
}

// Bin of the `target`-th smallest, counting from 1; `below` grows by what the bins before it hold.
template <typename Count>
__device__ __forceinline__ uint32_t select(const Count* bins, uint32_t n, uint64_t target, uint64_t& below) {
    uint32_t bin = 0;
    while (bin + 1 < n && below + bins[bin] < target) below += bins[bin++];
    return bin;
}

__device__ __forceinline__ FlPruneState* state(const FlPruneParams& p) {
    return reinterpret_cast<FlPruneState*>(p.state);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) fl_prune_histogram(const __grid_constant__ FlPruneParams p) {
    __shared__ uint32_t bins[kWarps][256];
    for (uint32_t w = 0; w < kWarps; ++w) bins[w][threadIdx.x] = 0;
    __syncthreads();
    const Place at(p.in);
    const uint32_t threshold = state(p)->threshold;
    const uint64_t tiles = static_cast<uint64_t>((p.in.rows + kTileRows - 1) / kTileRows) * p.across;
    for (uint64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int64_t row = static_cast<int64_t>(tile / p.across) * kTileRows + at.row;
        const int64_t col = static_cast<int64_t>(tile % p.across) * kTileCols + kSegment * at.step;
        uint32_t e[kWords];
        load(p.in, row, col, e);
        count(e, inside(p.in, row, col), p.pass, threshold, bins[threadIdx.x / 32]);
    }
    __syncthreads();
    unsigned long long sum = 0;
    for (uint32_t w = 0; w < kWarps; ++w) sum += bins[w][threadIdx.x];
    if (sum != 0) atomicAdd(reinterpret_cast<unsigned long long*>(&state(p)->bins[p.pass][threadIdx.x]), sum);
}

extern "C" __global__ void __launch_bounds__(kThreads) fl_prune_select(const __grid_constant__ FlPruneParams p) {
    if (threadIdx.x != 0) return;
    FlPruneState* s = state(p);
    uint64_t below = p.pass == 0 ? 0 : s->below;
    const uint32_t bin = select(s->bins[p.pass], p.pass == 0 ? 256 : 128, p.target, below);
    s->below = below;
    s->threshold = p.pass == 0 ? bin << 7 : s->threshold | bin;
    s->ties = p.target > below ? p.target - below : 0;
}

extern "C" __global__ void __launch_bounds__(kThreads) fl_prune_ties(const __grid_constant__ FlPruneParams p) {
    __shared__ uint32_t counts[kTileRows][8];
    const Place at(p.in);
    const int64_t row0 = int64_t{blockIdx.x / p.across} * kTileRows, col0 = int64_t{blockIdx.x % p.across} * kTileCols;
    const int64_t col = col0 + kSegment * at.step;
    uint32_t e[kWords];
    load(p.in, row0 + at.row, col, e);
    counts[at.row][at.step] = __popc(tied(e, inside(p.in, row0 + at.row, col), state(p)->threshold));
    __syncthreads();
    const int64_t row = row0 + threadIdx.x;
    if (threadIdx.x >= kTileRows || row >= p.in.rows) return;
    uint64_t sum = 0;
    for (int step = 0; step < 8; ++step) sum += counts[threadIdx.x][step];
    reinterpret_cast<uint64_t*>(p.counts)[row * p.across + blockIdx.x % p.across] = sum;
}

extern "C" __global__ void __launch_bounds__(1024) fl_prune_scan(const __grid_constant__ FlPruneParams p) {
    __shared__ uint32_t sums[32];
    uint64_t* counts = reinterpret_cast<uint64_t*>(p.counts);
    const uint64_t n = static_cast<uint64_t>(p.in.rows) * p.across;
    uint64_t carry = 0;
    for (uint64_t base = 0; base < n; base += 4096) {
        const uint64_t first = base + 4 * threadIdx.x;
        uint32_t each[4], mine = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            each[i] = first + i < n ? static_cast<uint32_t>(counts[first + i]) : 0;
            mine += each[i];
        }
        uint32_t all;
        uint64_t at = carry + exclusive(mine, sums, all);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (first + i < n) counts[first + i] = at;
            at += each[i];
        }
        carry += all;
    }
}

extern "C" __global__ void __launch_bounds__(kThreads) fl_prune_apply(const __grid_constant__ FlPruneParams p) {
    __shared__ uint32_t counts[kTileRows][8];
    const Place at(p.in);
    const int64_t row = int64_t{blockIdx.x / p.across} * kTileRows + at.row;
    const int64_t col = int64_t{blockIdx.x % p.across} * kTileCols + kSegment * at.step;
    const uint32_t threshold = state(p)->threshold;
    uint32_t e[kWords];
    load(p.in, row, col, e);
    const uint32_t mask = tied(e, inside(p.in, row, col), threshold);
    counts[at.row][at.step] = __popc(mask);
    __syncthreads();
    if (row >= p.in.rows) return;
    uint64_t before = reinterpret_cast<const uint64_t*>(p.counts)[row * p.across + blockIdx.x % p.across];
    for (int step = 0; step < at.step; ++step) before += counts[at.row][step];
    prune(e, mask, threshold, before, state(p)->ties);
    store(p.out, row, col, e);
}

extern "C" __global__ void __launch_bounds__(kThreads) fl_prune_rows(const __grid_constant__ FlPruneParams p) {
    __shared__ uint32_t bins[kTileRows][256];
    __shared__ uint32_t counts[kTileRows][8];
    __shared__ uint32_t thresholds[kTileRows];
    __shared__ uint64_t below[kTileRows];
    __shared__ uint64_t before[kTileRows];
    const Place at(p.in);
    const int64_t row = int64_t{blockIdx.x} * kTileRows + at.row;
    if (threadIdx.x < kTileRows) thresholds[threadIdx.x] = 0, below[threadIdx.x] = 0, before[threadIdx.x] = 0;
    for (uint32_t pass = 0; pass < 2; ++pass) {
        for (uint32_t r = 0; r < kTileRows; ++r) bins[r][threadIdx.x] = 0;
        __syncthreads();
        for (uint32_t tile = 0; tile < p.across; ++tile) {
            const int64_t col = int64_t{tile} * kTileCols + kSegment * at.step;
            uint32_t e[kWords];
            load(p.in, row, col, e);
            count(e, inside(p.in, row, col), pass, thresholds[at.row], bins[at.row]);
        }
        __syncthreads();
        if (threadIdx.x < kTileRows) {
            uint64_t sum = below[threadIdx.x];
            const uint32_t bin = select(bins[threadIdx.x], pass == 0 ? 256 : 128, p.target, sum);
            below[threadIdx.x] = sum;
            thresholds[threadIdx.x] |= pass == 0 ? bin << 7 : bin;
        }
        __syncthreads();
    }
    const uint32_t threshold = thresholds[at.row];
    const uint64_t ties = p.target > below[at.row] ? p.target - below[at.row] : 0;
    for (uint32_t tile = 0; tile < p.across; ++tile) {
        const int64_t col = int64_t{tile} * kTileCols + kSegment * at.step;
        uint32_t e[kWords];
        load(p.in, row, col, e);
        const uint32_t mask = tied(e, inside(p.in, row, col), threshold);
        counts[at.row][at.step] = __popc(mask);
        __syncthreads();
        uint64_t first = before[at.row];
        for (int step = 0; step < at.step; ++step) first += counts[at.row][step];
        prune(e, mask, threshold, first, ties);
        store(p.out, row, col, e);
        __syncthreads();
        if (threadIdx.x < kTileRows) {
            for (int step = 0; step < 8; ++step) before[threadIdx.x] += counts[threadIdx.x][step];
        }
        __syncthreads();
    }
}
