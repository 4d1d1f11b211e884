// SPDX-License-Identifier: Apache-2.0
//
// Conversion between dense matrices and Tiled-CSL (docs/format-tiled-csl.md; src/format/tiled_csl.rs is the
// specification).
//
//   fl_convert_tiled_csl_size    dense -> non-zeros of every tile
//   fl_convert_tiled_csl_encode  dense, table -> header, table, tiles: the bytes of the host's encoder
//   fl_convert_tiled_csl_unpack  tiles -> dense, or compared with dense, or checked
//
// Blocks:   one CTA of 256 threads a tile of 128 x 64 elements; thread = (row, half of it), 32 elements in registers.
// Shared:   encoding: `Tile`, then the items, dynamic, for the largest tile of the matrix. Unpacking: the tile at its
//           swizzled locations.
// Items in bank order are sorted into a bucket a bank by all threads, and dealt out, a lane a bank: as long as no bank has
// run out, a group of vectors is four items of every bank, and each warp writes its share of those; only the incomplete
// group and the groups after the first empty bank need the turns of the specification, which one warp takes.
// A dense matrix that was changed after its analysis cannot make a tile larger or smaller: a tile that no longer
// has the size in the table is written as one of padding.

#include "fl_convert.cuh"

namespace {

using namespace fl::convert;

constexpr uint32_t kRows = 128;
constexpr uint32_t kCols = 64;
constexpr uint32_t kItems = kRows * kCols;
constexpr uint32_t kVector = 4;
constexpr uint32_t kWarps = kThreads / 32;

struct alignas(16) Tile {
    uint32_t masks[kRows][2];
    uint32_t bucket[32];          // where the items of a bank begin
    uint32_t next[32];            // its first one behind the incomplete group
    uint32_t padding[4];          // locations
    uint32_t padding_rank[4];     // items of its bank before it
    uint32_t sums[kWarps];        // items by warp of 32 segments
    uint32_t even;                // groups that take four items of every bank
    uint16_t first[kThreads];     // items before a segment
    uint16_t fill[kWarps][32];    // items of a bank in 16 rows, then where they begin
    uint8_t before[kRows][32];    // items of a bank in the rows above, of these 16
};
static_assert(sizeof(Tile) == 6480, "src/plan/convert.rs counts on it; the items behind it are copied in 16-byte pieces");

struct Place {
    int row, half;
    __device__ explicit Place(const FlConvertParams& p)
        : row(p.col_major ? threadIdx.x % kRows : threadIdx.x / 2), half(p.col_major ? threadIdx.x / kRows : threadIdx.x % 2) {}
};

__device__ __forceinline__ uint32_t location(uint32_t row, uint32_t col) { return row * kCols + (col ^ row % 8 << 3); }

// Chooses where a tile's padding items lie, and where the buckets and their 16-row parts begin; one warp, a lane a bank.
__device__ __forceinline__ void plan_banks(Tile& s, uint32_t count, uint32_t padded, uint32_t lane, uint32_t& left) {
    left = 0;
    for (uint32_t w = 0; w < kWarps; ++w) left += s.fill[w][lane];
    uint32_t used[3] = {kItems, kItems, kItems};
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        if (count + i >= padded) continue;
        // The least-filled bank, the lowest of those, and in it the first location that holds a zero.
        const uint32_t least = ~__reduce_max_sync(kAll, ~(left << 5 | lane)) & 31;
        uint32_t found = kItems;
        for (uint32_t base = 0; base < kRows && found == kItems; base += 32) {
            const uint32_t row = base + lane;
            uint32_t mine = kItems;
#pragma unroll
            for (int half = 1; half >= 0; --half) {
                const uint32_t at = row * kCols + 2 * least + half, col = at % kCols ^ row % 8 << 3;
                const bool zero = !(s.masks[row][col / 32] >> (col % 32) & 1);
                if (zero && at != used[0] && at != used[1]) mine = at;
            }
            const uint32_t free = __ballot_sync(kAll, mine != kItems);
            if (free != 0) found = __shfl_sync(kAll, mine, __ffs(free) - 1);
        }
        used[i] = found;
        if (lane == 0) s.padding[i] = found;
        if (lane == least) s.padding_rank[i] = left++;
    }
    uint32_t begin = inclusive(left, lane) - left;
    s.bucket[lane] = begin;
    for (uint32_t w = 0; w < kWarps; ++w) {
        const uint32_t here = s.fill[w][lane];
        s.fill[w][lane] = static_cast<uint16_t>(begin);
        begin += here;
    }
}

// The items of one lane's bank that are still to be dealt out.
struct Bank {
    uint32_t next, left;
};

// Deals out one group of `lanes` vectors, the first of them being `first`; one warp.
__device__ __forceinline__ void deal(const uint32_t* items, uint32_t first, uint32_t lanes, uint32_t lane, Bank& bank,
                                     uint32_t* out) {
    for (uint32_t v = 0; v < kVector; ++v) {
        uint32_t filled = 0;
        while (filled < lanes) {
            const uint32_t active = __ballot_sync(kAll, bank.left > 0), room = lanes - filled;
            if (active == 0) return;
            uint32_t place = __popc(active & ((1u << lane) - 1));
            uint32_t count = __popc(active);
            if (count > room) {
                // The banks with most items left.
                place = rank(256 - bank.left, 9, lane);
                count = room;
            }
            if (bank.left > 0 && place < room) {
                out[(first + filled + place) * kVector + v] = items[bank.next];
                ++bank.next, --bank.left;
            }
            filled += count;
        }
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_tiled_csl_size(const __grid_constant__ FlConvertParams p) {
    __shared__ uint32_t sums[kWarps];
    const Place at(p);
    uint32_t e[kWords];
    load(p, int64_t{blockIdx.x / p.blocks_across} * kRows + at.row,
         int64_t{blockIdx.x % p.blocks_across} * kCols + kSegment * at.half, e);
    const uint32_t sum = __reduce_add_sync(kAll, static_cast<uint32_t>(__popc(stored(e))));
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    uint32_t nnz = 0;
    for (uint32_t w = 0; w < kWarps; ++w) nnz += sums[w];
    reinterpret_cast<uint32_t*>(p.table)[p.first_block + blockIdx.x] = nnz;
}

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_tiled_csl_encode(const __grid_constant__ FlConvertParams p) {
    FL_DYNAMIC_SHARED(shared);
    Tile& s = *reinterpret_cast<Tile*>(shared);
    uint32_t* items = reinterpret_cast<uint32_t*>(shared + sizeof(Tile) / 16);
    const uint64_t index = p.first_block + blockIdx.x;
    write_front(p, index);
    uint32_t start, units;
    if (!extent(p, index, 0, p.room, start, units)) return;
    const Place at(p);
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t e[kWords];
    load(p, int64_t{blockIdx.x / p.blocks_across} * kRows + at.row,
         int64_t{blockIdx.x % p.blocks_across} * kCols + kSegment * at.half, e);
    const uint32_t mask = stored(e);
    s.masks[at.row][at.half] = mask;
    __syncthreads();
    // Segments in row-major order, whichever thread holds them.
    const uint32_t here = __popc(s.masks[threadIdx.x / 2][threadIdx.x % 2]);
    const uint32_t sum = inclusive(here, lane);
    if (lane == 31) s.sums[warp] = sum;
    uint32_t fill = 0;
    for (uint32_t row = 16 * warp; row < 16 * warp + 16; ++row) {
        const uint32_t pair = lane ^ row % 8 << 2;
        s.before[row][lane] = static_cast<uint8_t>(fill);
        fill += __popc(s.masks[row][pair / 16] >> (2 * (pair % 16)) & 3);
    }
    s.fill[warp][lane] = static_cast<uint16_t>(fill);
    __syncthreads();
    uint32_t count = 0;
    for (uint32_t w = 0; w < kWarps; ++w) {
        if (w == warp) s.first[threadIdx.x] = static_cast<uint16_t>(count + sum - here);
        count += s.sums[w];
    }
    const uint32_t padded = (count + kVector - 1) / kVector * kVector;
    uint32_t* out = reinterpret_cast<uint32_t*>(p.data + uint64_t{start} * (4 * kVector));
    if (padded != units * kVector) {
        for (uint32_t i = threadIdx.x; i < units * kVector; i += kThreads) out[i] = i << 16;
        return;
    }
    uint32_t left = 0;
    if (warp == 0) plan_banks(s, count, padded, lane, left);
    __syncthreads();
    // Elements 2 i and 2 i + 1 of a segment are neighbours in one bank.
    uint32_t to = s.first[2 * at.row + at.half];
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
        const uint32_t both = mask >> (2 * i) & 3;
        if (both == 0) continue;
        const uint32_t where = location(at.row, kSegment * at.half + 2 * i), bank = where / 2 % 32;
        if (p.reordered) to = s.fill[at.row / 16][bank] + s.before[at.row][bank];
        if (both & 1) items[to] = (e[i] & 0xffff) | where << 16;
        to += both & 1;
        if (both & 2) items[to] = e[i] >> 16 | (where + 1) << 16;
        to += both >> 1;
    }
    // Padding lies behind the other items of its bank, or of the tile.
    if (threadIdx.x < padded - count) {
        const uint32_t where = s.padding[threadIdx.x];
        const uint32_t slot = s.bucket[where / 2 % 32] + s.padding_rank[threadIdx.x];
        items[p.reordered ? slot : count + threadIdx.x] = where << 16;
    }
    __syncthreads();
    if (!p.reordered) {
        for (uint32_t i = threadIdx.x; i < units; i += kThreads) {
            reinterpret_cast<uint4*>(out)[i] = reinterpret_cast<const uint4*>(items)[i];
        }
        return;
    }
    const uint32_t groups = units / 32, tail = units % 32;
    Bank bank = {s.bucket[lane], left};
    if (warp == 0) {
        // The incomplete group first, while there is most choice.
        deal(items, units - tail, tail, lane, bank, out);
        const uint32_t least = ~__reduce_max_sync(kAll, ~bank.left) / kVector;
        s.next[lane] = bank.next;
        if (lane == 0) s.even = least < groups ? least : groups;
    }
    __syncthreads();
    const uint32_t even = s.even;
    if (warp == 0) {
        bank.next += kVector * even, bank.left -= kVector * even;
        for (uint32_t group = even; group < groups; ++group) deal(items, 32 * group, 32, lane, bank, out);
    }
    // The first warp is busy with the rest.
    for (uint32_t group = warp - 1; group < even; group += kWarps - 1) {
        const uint32_t* from = items + s.next[lane] + kVector * group;
        reinterpret_cast<uint4*>(out)[32 * group + lane] = make_uint4(from[0], from[1], from[2], from[3]);
    }
}

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_tiled_csl_unpack(const __grid_constant__ FlConvertParams p) {
    __shared__ uint4 tile[kItems / 8];
    __shared__ uint32_t seen[kItems / 32];
    __shared__ uint32_t padding;
    const uint64_t index = p.first_block + blockIdx.x;
    uint32_t start, units;
    bool good = extent(p, index, 0, kItems / kVector, start, units);
    if (!good) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    const uint32_t* in = reinterpret_cast<const uint32_t*>(p.data + uint64_t{start} * (4 * kVector));
    const uint32_t count = units * kVector;
    const int64_t row0 = int64_t{blockIdx.x / p.blocks_across} * kRows;
    const int64_t col0 = int64_t{blockIdx.x % p.blocks_across} * kCols;
    if (p.use != FL_UNPACK_CHECK) {
        for (uint32_t i = threadIdx.x; i < kItems / 8; i += kThreads) tile[i] = make_uint4(0, 0, 0, 0);
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < count; i += kThreads) {
            const uint32_t item = in[i];
            if (item >> 16 < kItems) reinterpret_cast<uint16_t*>(tile)[item >> 16] = static_cast<uint16_t>(item);
        }
        __syncthreads();
        const Place at(p);
        uint32_t e[kWords];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const uint4 v = tile[location(at.row, kSegment * at.half + 8 * i) / 8];
            e[4 * i] = v.x, e[4 * i + 1] = v.y, e[4 * i + 2] = v.z, e[4 * i + 3] = v.w;
        }
        deliver(p, row0 + at.row, col0 + kSegment * at.half, e);
        return;
    }
    good = front_is_good(p, index);
    seen[threadIdx.x] = 0;
    if (threadIdx.x == 0) padding = 0;
    __syncthreads();
    uint32_t before = 0;  // row and column of the item before, as one number
    for (uint32_t i = threadIdx.x; i < count; i += kThreads) {
        const uint32_t item = in[i], where = item >> 16;
        if (where >= kItems) {
            good = false;
            continue;
        }
        good &= (atomicOr(&seen[where / 32], 1u << where % 32) >> where % 32 & 1) == 0;
        if ((item & 0xffff) == 0) {
            atomicAdd(&padding, 1u);
            continue;
        }
        const uint32_t row = where / kCols, col = where % kCols ^ row % 8 << 3;
        good &= (item & 0x7fff) != 0 && row0 + row < p.rows && col0 + col < p.cols;
        if (!p.reordered && i > 0) {
            const uint32_t last = in[i - 1], last_row = (last >> 16) / kCols;
            before = last_row * kCols + ((last >> 16) % kCols ^ last_row % 8 << 3);
            good &= (last & 0xffff) != 0 && before < row * kCols + col;
        }
    }
    if (__syncthreads_or(!good) || padding >= kVector) {
        if (threadIdx.x == 0) report(p, index);
    } else if (threadIdx.x == 0) {
        account(p, count - padding, count);
    }
}
