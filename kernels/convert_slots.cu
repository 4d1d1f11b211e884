// SPDX-License-Identifier: Apache-2.0
//
// Conversion between dense matrices and Slots (docs/format-slots.md; src/format/slots.rs is the specification).
//
//   fl_convert_slots_rows    dense -> dense rows of every tile
//   fl_convert_slots_size    dense, dense rows -> units, non-zeros and order of every block
//   fl_convert_slots_encode  dense, table, dense rows, orders -> header, table, blocks: the bytes of the host's encoder
//   fl_convert_slots_unpack  blocks -> dense, or compared with dense, or checked
//
// Blocks:   one CTA of 256 threads a block of 32 x 256 elements (of the rows: a tile of 32 x K); thread = (row, step), 32 elements in registers.
//           Row-major: the steps of a row are neighbouring threads; column-major: the rows of a step are.
//           Two warps of an analysis search an order for the columns, a half of every octet each, a lane an octet.
//           Sizes of blocks: one CTA of 256 threads four blocks, whose orders are searched side by side.
// Shared:   the block as stored (at most 26,240 bytes), a dense tile, and the order, counts and ranks that say where
//           each value goes.
// Encoding a block writes each of its bytes at most once over zeros. Checking does the same over the block's own
// bytes with XOR: what is left is zero exactly if the block is what its elements encode to.
// A dense matrix that was changed after its analysis cannot make a block larger or smaller: a block that no longer
// has the size in the table is written as one of zeros.

#include "fl_convert.cuh"

namespace {

using namespace fl::convert;

constexpr uint32_t kUnit = 128;
constexpr uint32_t kFixed = 10;
constexpr uint32_t kStarts = 8 * kUnit;
constexpr uint32_t kArrangement = kStarts + kUnit;
constexpr uint32_t kValues = kArrangement + kUnit;
constexpr uint32_t kRound = 16;                    // columns
constexpr uint32_t kRounds = 8;                    // at most: overflow is in half of the columns
constexpr uint32_t kColumns = 2 * kRounds;         // within the overflow
// Dense rows take as much as the overflow that they spare, but for what either is rounded up.
constexpr uint32_t kMost = kFixed + (2 * kRounds + kRounds * kRound + 4 * 32 * 128 + kUnit - 1) / kUnit + 64 + 1;
constexpr uint32_t kDenseRow = 528;                // bytes of a row that is stored whole, with its number
constexpr uint32_t kDenseRowHead = 16;
constexpr uint32_t kMostDenseRows = 8;
constexpr uint32_t kSparseRow = 136;               // elements of 256 that rows which are not stored whole may have
constexpr uint32_t kSingleRow = 56;                // where groups of one element are looked for
constexpr uint32_t kMostForSingle = 5;
constexpr int kTileStride = 264;  // halves; rows begin at multiples of 16 bytes
constexpr uint32_t kOrderWords = 16;  // u64
constexpr uint32_t kSparse = 1024;  // elements of a block up to which groups of one element are looked for
constexpr uint32_t kNumbers = 0b1110;  // of the columns of a group that the search exchanges, a bit each
// How long the search goes on, for groups of one element and of two, as src/format/arrangement.rs has it.
struct Effort {
    int sweeps;     // times that it goes through all pairs
    uint32_t few;   // elements beyond the limit from which on it goes over to mending single columns
    int mendings;   // times that it mends
    int hopeful;    // after so many at most `hope` elements are left, or the search ends
    uint32_t hope;
};
constexpr uint32_t kDense = 2500;  // elements of a block beyond which something more than two a group is always left
__device__ __forceinline__ Effort effort_for(uint32_t limit, uint32_t elements) {
    if (limit == 1) return {8, 24, 24, 8, 4};
    if (elements <= kDense) return {8, 12, 16, 4, 4};
    return {5, 10, 16, 3, 3};
}
// CTAs of an analysis that share a multiprocessor: with more of them the compiler spills.
constexpr int kSearching = 6;

// Blocks of a CTA that are searched side by side, by two warps each: a search is one long chain.
constexpr uint32_t kTogether = 4;

struct Encoder {
    uint32_t counts[4][8][8];   // values by sub-block, g = row % 8, (step, row) in the order of the stream: a byte a t
    uint32_t columns[8][8];     // by step: columns with overflow in each four of the rows
    uint8_t place[256];         // of a column with overflow: kRound * round + column of the round's tile
    uint32_t distinct;          // columns with overflow
    uint4 taken[32];            // by round: which of the 32 x 16 places of its tile have an entry, 512 bits
    uint32_t before[128];       // entries before those of a word of `taken`
    uint16_t starts[2][32];
    uint8_t order[2][32];
    uint32_t rows[2];
    uint32_t dense;             // rows that are stored whole
    uint32_t in_dense_rows[8];  // by warp: elements
    uint32_t sums[8];           // by warp: stored elements in the low bits, overflow above
    uint32_t groups[16];
    uint32_t masks[8][32];      // stored elements by (step, row)
    uint32_t columns_of[256];   // by column, then by place: the rows with elements
    uint8_t octets[8][32];      // by number mod 8 and octet of a place: the octet of its column
};

struct Block {
    uint4 words[kMost * kUnit / 16];
    __device__ uint8_t* bytes() { return reinterpret_cast<uint8_t*>(words); }
};

struct Tile {
    uint4 words[32 * kTileStride / 8];
    __device__ uint16_t* row(int row) { return reinterpret_cast<uint16_t*>(words) + row * kTileStride; }
};

struct Sizes {
    uint32_t units, nnz;
    bool single;
};

struct Place {
    int row, step;
    __device__ explicit Place(const FlConvertParams& p)
        : row(p.col_major ? threadIdx.x % 32 : threadIdx.x / 8), step(p.col_major ? threadIdx.x / 32 : threadIdx.x % 8) {}
    // Of the eight pieces that a lane adds to its stream in a sub-block, which one this thread's is.
    __device__ int piece() const { return step % 2 * 4 + (row / 8 % 2) * 2 + row / 16; }
    __device__ int sub() const { return step / 2; }
    __device__ int half() const { return row / 16; }
    // Index of the row's element of column k in a round's A tile; half of its byte offset.
    __device__ uint32_t in_round(uint32_t k) const {
        return row / 16 * 256 + k / 8 * 128 + row / 8 % 2 * 64 + row % 8 * 8 + k % 8;
    }
};

// What a group of four columns, of which it keeps `mask` (at most two), stores: code | slot 0 << 4 | slot 1 << 6 | count << 8.
__device__ __forceinline__ uint32_t group(uint32_t mask) {
    if (mask == 0) return 2;
    const uint32_t x = __ffs(mask) - 1, rest = mask & (mask - 1);
    if (rest == 0) return x | ((x + 1) & 3) << 2 | x << 4 | 1 << 8;
    const uint32_t y = __ffs(rest) - 1;
    const uint32_t a = y - x == 1 ? y : x, b = y - x == 1 ? x : y;
    return a | b << 2 | a << 4 | b << 6 | 2 << 8;
}

// Of the elements those that their group does not keep: beyond the lowest two in even octets, beyond the highest two
// in odd ones.
__device__ __forceinline__ uint32_t beyond_two(uint32_t mask) {
    constexpr uint32_t kFirst = 0x11111111u;
    const uint32_t a = mask, b = mask >> 1, c = mask >> 2, d = mask >> 3;
    const uint32_t high = (a & b & c & kFirst) << 2 | (d & ((a & b) | (c & (a | b))) & kFirst) << 3;
    const uint32_t low = (d & c & b & kFirst) << 1 | (a & ((d & c) | (b & (d | c))) & kFirst);
    return (high & 0x00ff00ffu) | (low & 0xff00ff00u);
}

// Values that the groups t and t + 4 keep, a byte for each t; `mask` is without overflow.
__device__ __forceinline__ uint32_t kept(uint32_t mask) {
    const uint32_t pairs = mask - (mask >> 1 & 0x55555555u);
    const uint32_t n = (pairs & 0x33333333u) + (pairs >> 2 & 0x33333333u);
    uint32_t sum = (n & 0xffff) + (n >> 16);
    sum = (sum | sum << 8) & 0x00ff00ffu;
    return (sum | sum << 4) & 0x0f0f0f0fu;
}

// Bit r of lane c's word becomes bit c of lane r's.
__device__ __forceinline__ uint32_t transpose(uint32_t word, uint32_t lane) {
    uint32_t low = 0xffff;
#pragma unroll
    for (uint32_t j = 16; j != 0; j >>= 1, low ^= low << j) {
        const uint32_t other = __shfl_xor_sync(kAll, word, j);
        word = lane & j ? (word & ~low) | (other >> j & low) : (word & low) | (other & low) << j;
    }
    return word;
}

// Elements of the four columns of a group beyond `limit` a row.
__device__ __forceinline__ uint32_t excess(const uint32_t (&c)[4], uint32_t limit) {
    const uint32_t first = c[0] & c[1], last = c[2] & c[3], any_first = c[0] | c[1], any_last = c[2] | c[3];
    const uint32_t two = first | last | (any_first & any_last), three = (first & any_last) | (last & any_first);
    return __popc(three) + __popc(first & last) + (limit == 1 ? __popc(two) : 0);
}

// Rows in which the other three columns of a group have `limit` elements already.
__device__ __forceinline__ uint32_t full(const uint32_t (&c)[4], int n, uint32_t limit) {
    const uint32_t x = c[(n + 1) % 4], y = c[(n + 2) % 4], z = c[(n + 3) % 4];
    return limit == 1 ? x | y | z : (x & y) | (z & (x | y));
}

// What an exchange of columns adds to the excess. It changes rows in which both the columns and what they come to differ: those
// where the other column meets what is full here, or neither does, are one more afterwards, the rest of them one less.
__device__ __forceinline__ int added(uint32_t mine, uint32_t other, uint32_t full, uint32_t other_full) {
    const uint32_t changed = (mine ^ other) & (full ^ other_full), more = changed & ~(other ^ full);
    return 2 * __popc(more) - __popc(changed);
}

// Goes through all pairs of octets, for those numbers whose bits are set.
__device__ __forceinline__ void sweep(uint32_t (&c)[4], uint32_t (&from)[4], uint32_t limit, uint32_t numbers) {
#pragma unroll
    for (int n = 3; n > 0; --n) {
        if ((numbers >> n & 1) == 0) continue;
        const uint32_t here = full(c, n, limit);
        int beyond = __popc(c[n] & here);
        // A lane counts for its own group, bits being counted by 16 lanes a clock; nothing but the columns depends on the pair before.
#pragma unroll 2
        for (uint32_t distance = 1; distance < 32; ++distance) {
            const uint32_t other = __shfl_xor_sync(kAll, c[n], distance);
            const uint32_t other_from = __shfl_xor_sync(kAll, from[n], distance);
            const int then = __popc(other & here), change = then - beyond;
            if (change + __shfl_xor_sync(kAll, change, distance) <= 0) c[n] = other, from[n] = other_from, beyond = then;
        }
    }
}

// Exchanges every column that has an element beyond the limit with the best of the others, with which `turn` says of equals.
__device__ __forceinline__ void mend(uint32_t (&c)[4], uint32_t (&from)[4], uint32_t limit, uint32_t turn, uint32_t lane) {
#pragma unroll
    for (int n = 3; n > 0; --n) {
        const uint32_t here = full(c, n, limit);
        uint32_t bad = __ballot_sync(kAll, (c[n] & here) != 0);
#pragma unroll 1
        while (bad != 0) {
            const uint32_t octet = __ffs(bad) - 1;
            bad &= bad - 1;
            const uint32_t column = __shfl_sync(kAll, c[n], octet), there = __shfl_sync(kAll, here, octet);
            // It may have been exchanged meanwhile.
            if ((column & there) == 0) continue;
            const uint32_t rank = static_cast<uint32_t>(added(c[n], column, here, there) + 32) << 5 | ((lane - octet - turn) & 31);
            const uint32_t best = __reduce_min_sync(kAll, lane == octet ? kAll : rank);
            if (best >> 5 > 32) continue;
            const uint32_t partner = (best + octet + turn) & 31;
            const uint32_t source = lane == octet ? partner : octet;
            const uint32_t other = __shfl_sync(kAll, c[n], source), other_from = __shfl_sync(kAll, from[n], source);
            if (lane == octet || lane == partner) c[n] = other, from[n] = other_from;
        }
    }
}

// Looks for an order in which groups have at most `limit` elements: src/format/arrangement.rs says how. A lane has the
// columns of one half of an octet, and `from` where they come from.
__device__ __forceinline__ bool arrange(uint32_t (&c)[4], uint32_t (&from)[4], uint32_t limit, uint32_t elements, uint32_t lane) {
    const Effort effort = effort_for(limit, elements);
    auto beyond = [&] { return __reduce_add_sync(kAll, excess(c, limit)); };
    uint32_t left = beyond();
#pragma unroll 1
    for (int i = 0; i < effort.sweeps && left != 0 && (i == 0 || left > effort.few); ++i) {
        sweep(c, from, limit, kNumbers);
        const uint32_t before = left;
        left = beyond();
        if (16 * (before - left) + 4 < left) break;
    }
    if (left > effort.few) return false;
    uint32_t random = 1, number = 3;
#pragma unroll 1
    for (int i = 0; i < effort.mendings && left != 0; ++i) {
        if (i == effort.hopeful && left > effort.hope) break;
        if (i % 2 == 1) {
            sweep(c, from, limit, 1u << number);
            number = number == 1 ? 3 : number - 1;
        }
        random = random * 1664525 + 1013904223;
        mend(c, from, limit, random >> 27, lane);
        left = beyond();
    }
    return left == 0;
}

// The dense rows of a block's tile, as the workspace has them.
__device__ __forceinline__ uint32_t dense_rows_of(const FlConvertParams& p, uint64_t block) {
    return reinterpret_cast<const uint32_t*>(p.dense_rows)[block / p.blocks_across];
}

// Units of the dense rows.
__device__ __forceinline__ uint32_t dense_units(const Encoder& s) { return (__popc(s.dense) * kDenseRow + kUnit - 1) / kUnit; }

__device__ __forceinline__ bool is_dense(const Encoder& s, const Place& at) { return s.dense >> at.row & 1; }

// A block's elements by column, for search(); `mask` is that of this thread's columns. Synchronises.
__device__ __forceinline__ void put_columns(Encoder& s, uint32_t mask, const Place& at) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t sum = __reduce_add_sync(kAll, static_cast<uint32_t>(__popc(mask)));
    if (lane == 0) s.sums[warp] = sum;
    s.masks[at.step][at.row] = mask;
    __syncthreads();
    s.columns_of[threadIdx.x] = transpose(s.masks[warp][lane], lane);
}

// Finds the order of the columns of one half of a block's octets; a warp. Synchronise first and last.
__device__ __forceinline__ void search(Encoder& s, uint32_t half, uint32_t lane) {
    uint32_t elements = 0, c[4], from[4];
#pragma unroll
    for (int i = 0; i < 8; ++i) elements += s.sums[i];
#pragma unroll
    for (int n = 0; n < 4; ++n) c[n] = s.columns_of[8 * lane + 4 * half + n], from[n] = lane;
    if (elements > kSparse || !arrange(c, from, 1, elements, lane)) arrange(c, from, 2, elements, lane);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
        s.columns_of[8 * lane + 4 * half + n] = c[n];
        s.octets[4 * half + n][lane] = static_cast<uint8_t>(from[n]);
    }
}

// The mask of this thread's places. Synchronises.
__device__ __forceinline__ uint32_t take_places(Encoder& s, const Place& at) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    s.masks[warp][lane] = transpose(s.columns_of[threadIdx.x], lane);
    __syncthreads();
    return s.masks[at.step][at.row];
}

// The column of place i of a step.
__device__ __forceinline__ uint32_t column(const Encoder& s, int step, uint32_t i) {
    return 8 * s.octets[i % 8][4 * step + i / 8] + i % 8;
}

// The elements of this thread's columns; synchronise before they are read.
__device__ __forceinline__ void write(Tile& tile, const Place& at, const uint32_t (&e)[kWords]) {
    uint4* to = reinterpret_cast<uint4*>(tile.row(at.row) + kSegment * at.step);
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] = make_uint4(e[4 * i], e[4 * i + 1], e[4 * i + 2], e[4 * i + 3]);
}

// The elements of this thread's places.
__device__ __forceinline__ void read_arranged(const Encoder& s, Tile& tile, const Place& at, uint32_t (&e)[kWords]) {
    const uint16_t* from = tile.row(at.row);
#pragma unroll
    for (uint32_t i = 0; i < kWords; ++i) {
        const uint32_t low = from[column(s, at.step, 2 * i)], high = from[column(s, at.step, 2 * i + 1)];
        e[i] = low | high << 16;
    }
}

// Bit of a number of the stored order, from that of its word; `n` is the place's number mod 4.
__device__ __forceinline__ uint32_t field(uint32_t n, uint32_t step) { return 5 * (4 * (n - 1) + step % 4); }

// Word `i` of the stored order.
__device__ __forceinline__ uint64_t arrangement_word(const Encoder& s, uint32_t i) {
    uint64_t word = 0;
    for (uint32_t n = 1; n < 4; ++n) {
        for (uint32_t step = 0; step < 4; ++step) {
            const uint32_t octet = 4 * (4 * (i / 8) + step) + i / 2 % 4;
            word |= static_cast<uint64_t>(s.octets[4 * (i % 2) + n][octet]) << field(n, step);
        }
    }
    return word;
}

// Where the analysis leaves a block's order for the conversion.
__device__ __forceinline__ uint64_t* order_of(const FlConvertParams& p, uint64_t block) {
    return reinterpret_cast<uint64_t*>(p.orders) + block * kOrderWords;
}

// Reads a stored order, a place a thread; whether each column has one place. Synchronises last.
__device__ __forceinline__ bool read_arrangement(Encoder& s, const uint64_t* words) {
    const uint32_t octet = threadIdx.x / 8, number = threadIdx.x % 8, n = number % 4, step = octet / 4;
    const uint64_t word = words[step / 4 * 8 + octet % 4 * 2 + number / 4];
    const uint32_t from = n == 0 ? octet : static_cast<uint32_t>(word >> field(n, step)) & 31;
    if (threadIdx.x < 8) s.columns_of[threadIdx.x] = 0;
    s.octets[number][octet] = static_cast<uint8_t>(from);
    __syncthreads();
    atomicOr(&s.columns_of[number], 1u << from);
    // The predicate is taken on arrival, so that another barrier has to come before.
    __syncthreads();
    return __syncthreads_and(s.columns_of[number] == kAll);
}

// Where the second sub-block of each lane begins, and the rows that a plane needs; one warp. `counts` are complete.
__device__ __forceinline__ void plan_streams(Encoder& s, uint32_t plane, uint32_t lane) {
    uint32_t first = 0, second = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        first += s.counts[2 * plane][lane / 4][i];
        second += s.counts[2 * plane + 1][lane / 4][i];
    }
    first = first >> (8 * (lane % 4)) & 0xff;
    second = second >> (8 * (lane % 4)) & 0xff;
    // The fullest streams go to the lanes that add least.
    s.order[plane][rank(32 - first, 6, lane)] = static_cast<uint8_t>(lane);
    const uint32_t mine = rank(second, 6, lane);
    __syncwarp();
    const uint32_t stream = s.order[plane][mine];
    const uint32_t begin = __shfl_sync(kAll, first, stream);
    s.starts[plane][lane] = static_cast<uint16_t>(begin * 32 + stream);
    const uint32_t rows = __reduce_max_sync(kAll, begin + second);
    if (lane == 0) s.rows[plane] = rows;
}

// Places of the columns with overflow in the rounds; a warp has those of its number mod 8, a bank.
__device__ __forceinline__ void place_columns(Encoder& s, uint32_t warp, uint32_t lane) {
    uint32_t columns = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) columns |= s.columns[i][lane / 4];
    columns >>= 8 * (lane % 4);
    uint32_t mine = 0, before = 0, distinct = 0, count[8];
#pragma unroll
    for (uint32_t bank = 0; bank < 8; ++bank) {
        const uint32_t lanes = __ballot_sync(kAll, columns >> bank & 1);
        count[bank] = __popc(lanes);
        distinct += count[bank];
        if (bank == warp) mine = lanes;
    }
    const uint32_t n = __popc(mine & ((1u << lane) - 1));
    // The n-th column of a bank follows n columns of every bank, and those of the banks before.
#pragma unroll
    for (uint32_t bank = 0; bank < 8; ++bank)
        before += (count[bank] < n ? count[bank] : n) + (bank < warp && count[bank] > n ? 1 : 0);
    if (mine >> lane & 1) s.place[8 * lane + warp] = static_cast<uint8_t>(before);
    if (warp == 7 && lane == 0) s.distinct = distinct;
}

// Counts the elements of dense rows, and returns the mask without them. Needs `dense`; synchronise before the counts are read.
__device__ __forceinline__ uint32_t take_dense_rows(Encoder& s, uint32_t mask, const Place& at) {
    const bool dense = is_dense(s, at);
    const uint32_t sum = __reduce_add_sync(kAll, dense ? static_cast<uint32_t>(__popc(mask)) : 0u);
    if (threadIdx.x % 32 == 0) s.in_dense_rows[threadIdx.x / 32] = sum;
    return dense ? 0 : mask;
}

// Of a block that was measured.
__device__ __forceinline__ uint32_t rows_of(const Encoder& s) { return s.rows[0] > s.rows[1] ? s.rows[0] : s.rows[1]; }
__device__ __forceinline__ uint32_t rounds_of(const Encoder& s) { return (s.distinct + kRound - 1) / kRound; }

// Counts and sizes of a block of which this thread has the 32 elements of `mask`, which is without dense rows. Synchronises first
// and last.
__device__ __forceinline__ Sizes measure(Encoder& s, uint32_t mask, const Place& at, bool col_major) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t beyond = beyond_two(mask), keeps = mask & ~beyond;
    __syncthreads();
    s.counts[at.sub()][at.row % 8][at.piece()] = kept(keeps);
    if (threadIdx.x < 32) s.taken[threadIdx.x] = make_uint4(0, 0, 0, 0);
    const uint32_t sum = __reduce_add_sync(kAll, static_cast<uint32_t>(__popc(mask) | __popc(beyond) << 16));
    // Lanes that differ in a multiple of 8 have the same step, in either order.
    uint32_t columns = beyond | __shfl_down_sync(kAll, beyond, 16);
    columns |= __shfl_down_sync(kAll, columns, 8);
    if (lane < 8) s.columns[col_major ? lane : warp][at.step] = columns;
    if (lane == 0) s.sums[warp] = sum;
    __syncthreads();
    if (warp < 2) plan_streams(s, warp, lane);
    place_columns(s, warp, lane);
    // Two of a group next to each other, or one apart, or the first and the last.
    const uint32_t two = keeps & ((keeps >> 1 & 0x77777777u) | (keeps >> 2 & 0x33333333u) | (keeps >> 3 & 0x11111111u));
    const bool single = __syncthreads_or(two != 0) == 0;
    Sizes sizes;
    uint32_t stored = 0, overflow = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) stored += (s.sums[i] & 0xffff) + s.in_dense_rows[i], overflow += s.sums[i] >> 16;
    sizes.nnz = stored;
    const uint32_t bytes = 2 * kRounds + kRound * rounds_of(s) + 4 * overflow;
    sizes.units = kFixed + rows_of(s) + dense_units(s) + (overflow > 0 ? (bytes + kUnit - 1) / kUnit : 0);
    sizes.single = single;
    return sizes;
}

// Whether the block has `count` dense rows, of which the nth is `row`; of no row where the count is 0.
__device__ __forceinline__ bool has_dense_row(const FlConvertParams& p, uint64_t block, uint32_t count, uint32_t nth, uint32_t row) {
    uint32_t start, units;
    if (!extent(p, block, kFixed, kMost, start, units)) return false;
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(p.data) + uint64_t{start} * kUnit;
    const uint32_t* starts = reinterpret_cast<const uint32_t*>(bytes + kStarts);
    if (starts[3] >> 24 != count) return false;
    const uint32_t at = kValues + (starts[1] >> 24) * kUnit + nth * kDenseRow;
    return count == 0 || (at < units * kUnit && bytes[at] == row);
}

// Half `i` of the elements.
__device__ __forceinline__ uint32_t element(const uint32_t (&e)[kWords], uint32_t i) {
    uint32_t four[4], two[2];
    // Selections: a register has no address.
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const uint32_t low = i & 2 ? e[4 * k + 1] : e[4 * k], high = i & 2 ? e[4 * k + 3] : e[4 * k + 2];
        four[k] = i & 4 ? high : low;
    }
#pragma unroll
    for (int k = 0; k < 2; ++k) two[k] = i & 8 ? four[2 * k + 1] : four[2 * k];
    return (i & 16 ? two[1] : two[0]) >> (16 * (i & 1)) & 0xffff;
}

template <bool kCheck, typename T, typename V>
__device__ __forceinline__ void put(T* to, V value) {
    *to = static_cast<T>(kCheck ? *to ^ value : value);
}

// As a block that is encoded again has it: zeros of either sign are the same.
__device__ __forceinline__ uint32_t positive_zeros(uint32_t two) {
    return two & (stored_of_two(two) >> 15 & 0x00010001u) * 0xffff;
}

// Puts this thread's part of a dense row, of which it has the 32 elements.
template <bool kCheck>
__device__ __forceinline__ void put_dense_row(const Encoder& s, uint8_t* section, const uint32_t (&e)[kWords], const Place& at) {
    uint8_t* row = section + __popc(s.dense & ((1u << at.row) - 1)) * kDenseRow;
    if (at.step == 0) put<kCheck>(reinterpret_cast<uint32_t*>(row), static_cast<uint32_t>(at.row));
    uint4* to = reinterpret_cast<uint4*>(row + kDenseRowHead) + kWords / 4 * at.step;
#pragma unroll
    for (int i = 0; i < kWords; i += 4) {
        const uint4 was = kCheck ? to[i / 4] : make_uint4(0, 0, 0, 0);
        to[i / 4] = make_uint4(was.x ^ positive_zeros(e[i]), was.y ^ positive_zeros(e[i + 1]), was.z ^ positive_zeros(e[i + 2]),
                               was.w ^ positive_zeros(e[i + 3]));
    }
}

// Byte of a step's codes for a lane.
__device__ __forceinline__ uint32_t code_offset(int step, int lane) { return step / 2 * 256 + lane * 8 + step % 2 * 4; }

// Puts this thread's part of the block into `block`, which holds zeros (or, kCheck, the block's bytes). The streams
// are those of `measure`. A dense row's mask is empty. Synchronises between, not at the end.
template <bool kCheck>
__device__ __forceinline__ void encode(Encoder& s, Block& block, const uint32_t (&e)[kWords], uint32_t mask,
                                       const Place& at, const Sizes& sizes) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint8_t* bytes = block.bytes();
    if (threadIdx.x < 16) s.groups[threadIdx.x] = group(threadIdx.x);
    if (is_dense(s, at)) put_dense_row<kCheck>(s, bytes + kValues + rows_of(s) * kUnit, e, at);
    __syncthreads();
    const int g = at.row % 8, plane = at.step / 4;
    uint32_t codes = 0;
    const uint32_t beyond = beyond_two(mask), keeps = mask & ~beyond;
#pragma unroll
    for (int j = 0; j < 8; ++j) codes |= (s.groups[keeps >> (4 * j) & 15] & 15) << (4 * j);
    uint32_t* taken = reinterpret_cast<uint32_t*>(s.taken);
    for (uint32_t rest = beyond; rest != 0; rest &= rest - 1) {
        const uint32_t place = s.place[32 * at.step + __ffs(rest) - 1];
        const uint32_t bit = place / kRound * 512 + at.in_round(place % kRound);
        atomicOr(&taken[bit / 32], 1u << bit % 32);
    }
#pragma unroll
    for (int x = 0; x < 2; ++x) {
        const uint32_t to = code_offset(at.step, 4 * g + 2 * at.half() + x) + 2 * (at.row / 8 % 2);
        put<kCheck>(reinterpret_cast<uint16_t*>(bytes + to), codes >> (16 * x) & 0xffff);
    }
    if (warp == 0) {
        const uint32_t front = lane == 0 ? rounds_of(s) : lane == 1 ? rows_of(s) : sizes.single;
        const uint32_t info = lane < 3 ? front : lane == 3 ? __popc(s.dense) : 0;
        put<kCheck>(reinterpret_cast<uint32_t*>(bytes + kStarts) + lane,
                    s.starts[0][lane] | static_cast<uint32_t>(s.starts[1][lane]) << 12 | info << 24);
        if (lane < kOrderWords) put<kCheck>(reinterpret_cast<uint64_t*>(bytes + kArrangement) + lane, arrangement_word(s, lane));
    }
    uint16_t* values = reinterpret_cast<uint16_t*>(bytes + kValues) + plane;
    uint32_t before = 0;
    for (int i = 0; i < at.piece(); ++i) before += s.counts[at.sub()][g][i];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
        const uint32_t begin = at.sub() % 2 == 0 ? 4 * g + t : s.starts[plane][4 * g + t];
        uint32_t to = begin + 32 * (before >> (8 * t) & 0xff);
#pragma unroll
        for (int j = t; j < 8; j += 4) {
            const uint32_t info = s.groups[keeps >> (4 * j) & 15], count = info >> 8 & 3;
            if (count > 0) put<kCheck>(values + 2 * to, pick(e[2 * j], e[2 * j + 1], info >> 4 & 3)), to += 32;
            if (count > 1) put<kCheck>(values + 2 * to, pick(e[2 * j], e[2 * j + 1], info >> 6 & 3)), to += 32;
        }
    }
    if (rounds_of(s) == 0) return;
    uint8_t* overflow = bytes + kValues + (rows_of(s) + dense_units(s)) * kUnit;
    __syncthreads();
    if (warp == 0) {
        // A lane has a quarter of a round.
        const uint4 four = s.taken[lane];
        const uint32_t a = __popc(four.x), b = __popc(four.y), c = __popc(four.z), d = __popc(four.w);
        const uint32_t end = inclusive(a + b + c + d, lane), begin = end - (a + b + c + d);
        s.before[4 * lane] = begin, s.before[4 * lane + 1] = begin + a;
        s.before[4 * lane + 2] = begin + a + b, s.before[4 * lane + 3] = end - d;
        if (lane % 4 == 3) put<kCheck>(reinterpret_cast<uint16_t*>(overflow) + lane / 4, end);
    } else if (warp == 1) {
        // Columns that the last round does not use lie in different banks.
        const uint32_t place = s.distinct + lane;
        if (place < rounds_of(s) * kRound) put<kCheck>(overflow + kColumns + place, place % kRound);
    }
    const uint32_t col = 8 * lane + warp;
    uint32_t columns = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) columns |= s.columns[i][col / 32];
    if (columns >> col % 32 & 1) put<kCheck>(overflow + kColumns + s.place[col], column(s, col / 32, col % 32));
    __syncthreads();
    uint32_t* entries = reinterpret_cast<uint32_t*>(overflow + kColumns + kRound * rounds_of(s));
    for (uint32_t rest = beyond; rest != 0; rest &= rest - 1) {
        const uint32_t i = __ffs(rest) - 1, place = s.place[32 * at.step + i], in_round = at.in_round(place % kRound);
        const uint32_t bit = place / kRound * 512 + in_round;
        const uint32_t to = s.before[bit / 32] + __popc(taken[bit / 32] & ((1u << bit % 32) - 1));
        put<kCheck>(entries + to, element(e, i) | in_round << 17);
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) fl_convert_slots_rows(const __grid_constant__ FlConvertParams p) {
    __shared__ uint32_t counts[8][32];
    const Place at(p);
    uint32_t mine = 0;
    for (int64_t col = kSegment * at.step; col < p.cols; col += 8 * kSegment) {
        uint32_t e[kWords];
        load(p, int64_t{blockIdx.x} * 32 + at.row, col, e);
        mine += __popc(stored(e));
    }
    counts[at.step][at.row] = mine;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    const uint32_t lane = threadIdx.x;
    uint64_t count = 0, all = 0;
    for (int i = 0; i < 8; ++i) {
        count += counts[i][lane];
        for (int row = 0; row < 32; ++row) all += counts[i][row];
    }
    const uint64_t cols = p.cols, left = p.rows - int64_t{blockIdx.x} * 32, rows_here = left < 32 ? left : 32;
    const bool uneven = 4 * rows_here * count > 5 * all, full = uneven && 256 * count > kSparseRow * cols;
    const uint32_t few = __ballot_sync(kAll, uneven && 256 * count > kSingleRow * cols);
    // How many come before this row: the fullest first, of equals the first.
    uint32_t before = 0;
    uint64_t rest = 0;
    for (uint32_t other = 0; other < 32; ++other) {
        const uint64_t its = __shfl_sync(kAll, count, other);
        if (!(few >> other & 1)) rest += its;
        before += its > count || (its == count && other < lane) ? 1 : 0;
    }
    uint32_t rows = __ballot_sync(kAll, full && before < kMostDenseRows);
    if (__popc(few) <= static_cast<int>(kMostForSingle) && 8 * rest <= 32 * cols) rows = few;
    if (lane == 0) reinterpret_cast<uint32_t*>(p.dense_rows)[p.first_block / p.blocks_across + blockIdx.x] = rows;
}

extern "C" __global__ void __launch_bounds__(kThreads, kSearching) fl_convert_slots_size(const __grid_constant__ FlConvertParams p) {
    __shared__ Encoder encoders[kTogether];
    const Place at(p);
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.x * kTogether;
    const uint64_t index = p.first_block + first;
    const uint32_t blocks = static_cast<uint32_t>((p.rows + 31) / 32) * p.blocks_across;
    const uint32_t count = blocks - first < kTogether ? blocks - first : kTogether;
    if (threadIdx.x < count) encoders[threadIdx.x].dense = dense_rows_of(p, index + threadIdx.x);
    __syncthreads();
#pragma unroll 1
    for (uint32_t i = 0; i < count; ++i) {
        Encoder& s = encoders[i];
        uint32_t e[kWords];
        load(p, int64_t{(first + i) / p.blocks_across} * 32 + at.row, int64_t{(first + i) % p.blocks_across} * 256 + 32 * at.step, e);
        put_columns(s, take_dense_rows(s, stored(e), at), at);
    }
    __syncthreads();
    if (warp / 2 < count) search(encoders[warp / 2], warp % 2, lane);
    __syncthreads();
#pragma unroll 1
    for (uint32_t i = 0; i < count; ++i) {
        Encoder& s = encoders[i];
        if (threadIdx.x < kOrderWords) order_of(p, index + i)[threadIdx.x] = arrangement_word(s, threadIdx.x);
        const Sizes sizes = measure(s, take_places(s, at), at, p.col_major);
        if (threadIdx.x == 0) reinterpret_cast<uint32_t*>(p.table)[index + i] = sizes.units << 16 | sizes.nnz;
    }
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    fl_convert_slots_encode(const __grid_constant__ FlConvertParams p) {
    __shared__ Encoder s;
    __shared__ union {
        Tile tile;
        Block block;
    } shared;
    Tile& tile = shared.tile;
    Block& block = shared.block;
    const uint64_t index = p.first_block + blockIdx.x;
    write_front(p, index);
    uint32_t start, units;
    if (!extent(p, index, kFixed, kMost, start, units)) return;
    const Place at(p);
    uint32_t e[kWords];
    load(p, int64_t{blockIdx.x / p.blocks_across} * 32 + at.row, int64_t{blockIdx.x % p.blocks_across} * 256 + 32 * at.step,
         e);
    write(tile, at, e);
    if (threadIdx.x == 0) {
        // Whoever changed the workspace gets a block of zeros.
        const uint32_t rows = dense_rows_of(p, index);
        s.dense = __popc(rows) <= static_cast<int>(kMostDenseRows) ? rows : 0;
    }
    const bool good = read_arrangement(s, order_of(p, index));
    read_arranged(s, tile, at, e);
    uint32_t mask = take_dense_rows(s, stored(e), at);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) block.words[i] = make_uint4(0, 0, 0, 0);
    Sizes sizes = measure(s, mask, at, p.col_major);
    if (!good || sizes.units != units) {
        // The order of a block of zeros is that of the columns.
        __syncthreads();
        if (threadIdx.x == 0) s.dense = 0;
        if (threadIdx.x < 8) s.in_dense_rows[threadIdx.x] = 0;
        s.octets[threadIdx.x / 32][threadIdx.x % 32] = static_cast<uint8_t>(threadIdx.x % 32);
        mask = 0;
        sizes = measure(s, mask, at, p.col_major);
    }
    encode<false>(s, block, e, mask, at, sizes);
    __syncthreads();
    uint4* out = reinterpret_cast<uint4*>(p.data + uint64_t{start} * kUnit);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) out[i] = block.words[i];
}

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_slots_unpack(const __grid_constant__ FlConvertParams p) {
    __shared__ Encoder s;
    __shared__ Block block;
    __shared__ Tile tile;
    const uint64_t index = p.first_block + blockIdx.x;
    uint32_t start, units;
    bool good = extent(p, index, kFixed, kMost, start, units);
    if (!good) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    if (p.use == FL_UNPACK_CHECK) good = front_is_good(p, index);
    const uint4* in = reinterpret_cast<const uint4*>(p.data + uint64_t{start} * kUnit);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) block.words[i] = in[i];
    // A bad order leaves columns out; they are zeros then.
    for (uint32_t i = threadIdx.x; i < 32 * kTileStride / 8; i += kThreads) tile.words[i] = make_uint4(0, 0, 0, 0);
    if (threadIdx.x < 16) s.groups[threadIdx.x] = 3 << 8;
    if (threadIdx.x == 0) s.dense = 0;
    __syncthreads();
    // Here the table is by code.
    if (threadIdx.x < 16) {
        const uint32_t info = group(threadIdx.x);
        if (__popc(threadIdx.x) <= 2) s.groups[info & 15] = info;
    }
    good &= read_arrangement(s, reinterpret_cast<const uint64_t*>(block.bytes() + kArrangement));
    const Place at(p);
    const int g = at.row % 8, plane = at.step / 4;
    const uint8_t* bytes = block.bytes();
    const uint32_t* starts = reinterpret_cast<const uint32_t*>(bytes + kStarts);
    uint32_t codes = 0, values = 0;
#pragma unroll
    for (int x = 0; x < 2; ++x) {
        const uint32_t from = code_offset(at.step, 4 * g + 2 * at.half() + x) + 2 * (at.row / 8 % 2);
        codes |= static_cast<uint32_t>(*reinterpret_cast<const uint16_t*>(bytes + from)) << (16 * x);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        const uint32_t count = s.groups[codes >> (4 * j) & 15] >> 8 & 3;
        good &= count < 3;
        values += (count < 3 ? count : 0) << (8 * (j % 4));
    }
    s.counts[at.sub()][g][at.piece()] = values;
    __syncthreads();
    const uint32_t rounds = starts[0] >> 24, length = units * kUnit;
    const uint32_t dense = starts[3] >> 24, values_end = kValues + (starts[1] >> 24) * kUnit;
    const uint32_t section = values_end + (dense * kDenseRow + kUnit - 1) / kUnit * kUnit;
    uint32_t before = 0, e[kWords];
    for (int i = 0; i < at.piece(); ++i) before += s.counts[at.sub()][g][i];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
        const uint32_t begin = at.sub() % 2 == 0 ? 4 * g + t : starts[4 * g + t] >> (12 * plane) & 0xfff;
        uint32_t from = kValues + 2 * plane + 4 * (begin + 32 * (before >> (8 * t) & 0xff));
#pragma unroll
        for (int j = t; j < 8; j += 4) {
            const uint32_t info = s.groups[codes >> (4 * j) & 15], count = info >> 8 & 3;
            uint64_t four = 0;
#pragma unroll
            for (uint32_t k = 0; k < 2; ++k) {
                if (count == 3 || k >= count) continue;
                if (from + 2 <= length) {
                    const uint64_t value = *reinterpret_cast<const uint16_t*>(bytes + from);
                    four |= value << (16 * (info >> (4 + 2 * k) & 3));
                } else {
                    good = false;
                }
                from += kUnit;
            }
            e[2 * j] = static_cast<uint32_t>(four), e[2 * j + 1] = static_cast<uint32_t>(four >> 32);
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < kSegment; ++i)
        tile.row(at.row)[column(s, at.step, i)] = static_cast<uint16_t>(e[i / 2] >> (16 * (i % 2)));
    __syncthreads();
    const uint32_t first = section + kColumns + kRound * rounds;
    if (rounds > 0 && first <= length) {
        uint32_t ends[kRounds];
#pragma unroll
        for (uint32_t r = 0; r < kRounds; ++r) ends[r] = reinterpret_cast<const uint16_t*>(bytes + section)[r];
        for (uint32_t i = threadIdx.x; i < ends[kRounds - 1]; i += kThreads) {
            uint32_t round = 0;
#pragma unroll
            for (uint32_t r = 0; r < kRounds; ++r) round += ends[r] <= i ? 1 : 0;
            if (round >= rounds || first + 4 * i + 4 > length) {
                good = false;
                break;
            }
            const uint32_t entry = reinterpret_cast<const uint32_t*>(bytes + first)[i], where = entry >> 17;
            const uint32_t row = where / 256 % 2 * 16 + where / 64 % 2 * 8 + where / 8 % 8;
            const uint32_t col = bytes[section + kColumns + kRound * round + where / 128 % 2 * 8 + where % 8];
            if ((entry & 0xffff) == 0) continue;
            // Entries that share an element do not encode again to themselves, whichever of them is taken.
            atomicCAS(reinterpret_cast<unsigned short*>(tile.row(row) + col), static_cast<unsigned short>(0),
                      static_cast<unsigned short>(entry));
        }
    } else {
        good &= rounds == 0;
    }
    __syncthreads();
    // Eight threads write a dense row over what codes and overflow may say of it.
    const uint32_t nth = threadIdx.x / 8, step = threadIdx.x % 8;
    good &= dense <= kMostDenseRows;
    if (nth < dense && nth < kMostDenseRows) {
        const uint32_t from = values_end + nth * kDenseRow, row = bytes[from < length ? from : 0];
        if (from + kDenseRow <= length && row < 32) {
            const uint16_t* elements = reinterpret_cast<const uint16_t*>(bytes + from + kDenseRowHead) + kSegment * step;
#pragma unroll 1
            for (uint32_t i = 0; i < kSegment; ++i) tile.row(row)[column(s, step, i)] = elements[i];
            atomicOr(&s.dense, 1u << row);
        } else {
            good = false;
        }
        if (p.use == FL_UNPACK_CHECK && step == 0 && index % p.blocks_across != 0) good &= has_dense_row(p, index - 1, dense, nth, row);
    }
    if (p.use == FL_UNPACK_CHECK && threadIdx.x == 0 && index % p.blocks_across != 0 && dense == 0)
        good &= has_dense_row(p, index - 1, 0, 0, 0);
    __syncthreads();
    good &= static_cast<uint32_t>(__popc(s.dense)) == dense;
    const uint4* mine = reinterpret_cast<const uint4*>(tile.row(at.row) + kSegment * at.step);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const uint4 v = mine[i];
        e[4 * i] = v.x, e[4 * i + 1] = v.y, e[4 * i + 2] = v.z, e[4 * i + 3] = v.w;
    }
    const int64_t row = int64_t{blockIdx.x / p.blocks_across} * 32 + at.row;
    const int64_t col = int64_t{blockIdx.x % p.blocks_across} * 256 + kSegment * at.step;
    if (p.use != FL_UNPACK_CHECK) {
        deliver(p, row, col, e);
        return;
    }
    const int count = inside(p, row, col);
    good &= count == kSegment || stored(e) >> count == 0;
    read_arranged(s, tile, at, e);
    const uint32_t mask = take_dense_rows(s, stored(e), at);
    const Sizes sizes = measure(s, mask, at, p.col_major);
    good &= sizes.units == units;
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    encode<true>(s, block, e, mask, at, sizes);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) {
        const uint4 v = block.words[i];
        good &= (v.x | v.y | v.z | v.w) == 0;
    }
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
    } else if (threadIdx.x == 0) {
        account(p, sizes.nnz, units);
    }
}
