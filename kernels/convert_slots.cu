// SPDX-License-Identifier: Apache-2.0
//
// Conversion between dense matrices and Slots (docs/format-slots.md; src/format/slots.rs is the specification).
//
//   fl_convert_slots_size    dense -> units and non-zeros of every block
//   fl_convert_slots_encode  dense, table -> header, table, blocks: the bytes of the host's encoder
//   fl_convert_slots_unpack  blocks -> dense, or compared with dense, or checked
//
// Blocks:   one CTA of 256 threads a block of 32 x 256 elements; thread = (row, step), 32 elements in registers.
//           Row-major: the steps of a row are neighbouring threads; column-major: the rows of a step are.
// Shared:   the block as stored (at most 25,728 bytes), a dense tile when unpacking, and the counts and ranks that
//           say where each value goes.
// Encoding a block writes each of its bytes at most once over zeros. Checking does the same over the block's own
// bytes with XOR: what is left is zero exactly if the block is what its elements encode to.
// A dense matrix that was changed after its analysis cannot make a block larger or smaller: a block that no longer
// has the size in the table is written as one of zeros.

#include "fl_convert.cuh"

namespace {

using namespace fl::convert;

constexpr uint32_t kUnit = 128;
constexpr uint32_t kFixed = 9;
constexpr uint32_t kMost = kFixed + 2 * 64 + 64;
constexpr uint32_t kStarts = 8 * kUnit;
constexpr uint32_t kOverflow = kStarts + kUnit;
constexpr uint32_t kRound = 16;
constexpr int kTileStride = 264;  // halves; rows begin at multiples of 16 bytes

struct Encoder {
    uint32_t counts[4][8][8];   // values by sub-block, g = row % 8, (step, row) in the order of the stream: a byte a t
    uint32_t column[256];       // overflow by column: 16 rows in the order of their places, the lower half above
    uint16_t before[2][256];    // overflow entries in columns to the left of the same bank
    uint32_t bank[2][8];        // overflow entries of a bank
    uint16_t starts[2][32];
    uint8_t order[2][32];
    uint32_t rows[2];
    uint32_t overflow[8];       // by warp: upper half of the rows in the low bits, lower half above
    uint32_t nnz[8];
    uint32_t groups[16];
};

struct Block {
    uint4 words[kMost * kUnit / 16];
    __device__ uint8_t* bytes() { return reinterpret_cast<uint8_t*>(words); }
};

struct Sizes {
    uint32_t units, nnz;
    uint32_t overflow[2], rounds[2];
};

struct Place {
    int row, step;
    __device__ explicit Place(const FlConvertParams& p)
        : row(p.col_major ? threadIdx.x % 32 : threadIdx.x / 8), step(p.col_major ? threadIdx.x / 32 : threadIdx.x % 8) {}
    // Of the eight pieces that a lane adds to its stream in a sub-block, which one this thread's is.
    __device__ int piece() const { return step % 2 * 4 + (row / 8 % 2) * 2 + row / 16; }
    __device__ int sub() const { return step / 2; }
    // Where the row's bit is in a column's 16 bits; half of the rows.
    __device__ int bit() const { return row % 8 * 2 + row / 8 % 2; }
    __device__ int half() const { return row / 16; }
};

// What a group of four columns stores: code | slot 0 << 4 | slot 1 << 6 | count << 8 | overflow << 12.
__device__ __forceinline__ uint32_t group(uint32_t mask) {
    if (mask == 0) return 2;
    const uint32_t x = __ffs(mask) - 1, rest = mask & (mask - 1);
    if (rest == 0) return x | ((x + 1) & 3) << 2 | x << 4 | 1 << 8;
    const uint32_t y = __ffs(rest) - 1;
    const uint32_t a = y - x == 1 ? y : x, b = y - x == 1 ? x : y;
    return a | b << 2 | a << 4 | b << 6 | 2 << 8 | (rest & (rest - 1)) << 12;
}

// Values that the groups t and t + 4 keep, a byte for each t.
__device__ __forceinline__ uint32_t kept(uint32_t mask) {
    const uint32_t pairs = mask - (mask >> 1 & 0x55555555u);
    const uint32_t n = (pairs & 0x33333333u) + (pairs >> 2 & 0x33333333u);
    const uint32_t two = (n >> 1 | n >> 2) & 0x11111111u;
    const uint32_t capped = two << 1 | (n & ~two & 0x11111111u);
    uint32_t sum = (capped & 0xffff) + (capped >> 16);
    sum = (sum | sum << 8) & 0x00ff00ffu;
    return (sum | sum << 4) & 0x0f0f0f0fu;
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

// Counts and sizes of a block of which this thread has the 32 elements of `mask`. Synchronises first and last.
__device__ __forceinline__ Sizes measure(Encoder& s, uint32_t mask, const Place& at) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t values = kept(mask);
    const uint32_t over = __popc(mask) - (values * 0x01010101u >> 24);
    __syncthreads();
    s.counts[at.sub()][at.row % 8][at.piece()] = values;
    const uint32_t overflow = __reduce_add_sync(kAll, over << (16 * at.half()));
    const uint32_t nnz = __reduce_add_sync(kAll, static_cast<uint32_t>(__popc(mask)));
    if (lane == 0) s.overflow[warp] = overflow, s.nnz[warp] = nnz;
    __syncthreads();
    if (warp < 2) plan_streams(s, warp, lane);
    __syncthreads();
    Sizes sizes;
    uint32_t both = 0;
    sizes.nnz = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) both += s.overflow[i], sizes.nnz += s.nnz[i];
    sizes.overflow[0] = both & 0xffff, sizes.overflow[1] = both >> 16;
    sizes.rounds[0] = (sizes.overflow[0] + kRound - 1) / kRound;
    sizes.rounds[1] = (sizes.overflow[1] + kRound - 1) / kRound;
    const uint32_t rows = s.rows[0] > s.rows[1] ? s.rows[0] : s.rows[1];
    sizes.units = kFixed + (sizes.rounds[0] + sizes.rounds[1] + 1) / 2 + rows;
    return sizes;
}

template <bool kCheck, typename T>
__device__ __forceinline__ void put(T* to, uint32_t value) {
    *to = static_cast<T>(kCheck ? *to ^ value : value);
}

// Byte of a step's codes for a lane.
__device__ __forceinline__ uint32_t code_offset(int step, int lane) { return step / 2 * 256 + lane * 8 + step % 2 * 4; }

// Puts this thread's part of the block into `block`, which holds zeros (or, kCheck, the block's bytes). The streams
// are those of `measure`. Synchronises between, not at the end.
template <bool kCheck>
__device__ __forceinline__ void encode(Encoder& s, Block& block, const uint32_t (&e)[kWords], uint32_t mask,
                                       const Place& at, const Sizes& sizes) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint8_t* bytes = block.bytes();
    s.column[threadIdx.x] = 0;
    if (threadIdx.x < 16) s.groups[threadIdx.x] = group(threadIdx.x);
    __syncthreads();
    const int g = at.row % 8, plane = at.step / 4;
    uint32_t codes = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        const uint32_t info = s.groups[mask >> (4 * j) & 15];
        codes |= (info & 15) << (4 * j);
#pragma unroll
        for (int i = 2; i < 4; ++i) {
            // The first two of a group are never overflow.
            if (info >> (12 + i) & 1) atomicOr(&s.column[32 * at.step + 4 * j + i], 1u << (at.bit() + 16 * at.half()));
        }
    }
#pragma unroll
    for (int x = 0; x < 2; ++x) {
        const uint32_t to = code_offset(at.step, 4 * g + 2 * at.half() + x) + 2 * (at.row / 8 % 2);
        put<kCheck>(reinterpret_cast<uint16_t*>(bytes + to), codes >> (16 * x) & 0xffff);
    }
    if (warp == 0) {
        const uint32_t rounds = lane == 0 ? sizes.rounds[0] : lane == 1 ? sizes.rounds[1] : 0;
        put<kCheck>(reinterpret_cast<uint32_t*>(bytes + kStarts) + lane,
                    s.starts[0][lane] | static_cast<uint32_t>(s.starts[1][lane]) << 12 | rounds << 24);
    }
    const uint32_t packed = kOverflow + (sizes.rounds[0] + sizes.rounds[1] + 1) / 2 * kUnit;
    uint16_t* values = reinterpret_cast<uint16_t*>(bytes + packed) + plane;
    uint32_t before = 0;
    for (int i = 0; i < at.piece(); ++i) before += s.counts[at.sub()][g][i];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
        const uint32_t begin = at.sub() % 2 == 0 ? 4 * g + t : s.starts[plane][4 * g + t];
        uint32_t to = begin + 32 * (before >> (8 * t) & 0xff);
#pragma unroll
        for (int j = t; j < 8; j += 4) {
            const uint32_t info = s.groups[mask >> (4 * j) & 15], count = info >> 8 & 3;
            if (count > 0) put<kCheck>(values + 2 * to, pick(e[2 * j], e[2 * j + 1], info >> 4 & 3)), to += 32;
            if (count > 1) put<kCheck>(values + 2 * to, pick(e[2 * j], e[2 * j + 1], info >> 6 & 3)), to += 32;
        }
    }
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const uint32_t col = lane * 8 + warp;
        const uint32_t here = __popc(s.column[col] >> (16 * half) & 0xffff);
        const uint32_t sum = inclusive(here, lane);
        s.before[half][col] = static_cast<uint16_t>(sum - here);
        if (lane == 31) s.bank[half][warp] = sum;
    }
    __syncthreads();
    uint32_t* entries = reinterpret_cast<uint32_t*>(bytes + kOverflow);
    uint32_t* mine = entries + (at.half() ? sizes.rounds[0] * kRound : 0);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        const uint32_t over = s.groups[mask >> (4 * j) & 15] >> 12;
#pragma unroll
        for (int i = 2; i < 4; ++i) {
            if (!(over >> i & 1)) continue;
            const uint32_t col = 32 * at.step + 4 * j + i, bank = col % 8;
            const uint32_t rows = s.column[col] >> (16 * at.half()) & 0xffff;
            // The r-th entry of a bank follows r entries of every bank, and those of the banks before.
            const uint32_t r = s.before[at.half()][col] + __popc(rows & ((1u << at.bit()) - 1));
            uint32_t to = 0;
#pragma unroll
            for (uint32_t b = 0; b < 8; ++b) {
                const uint32_t n = s.bank[at.half()][b];
                to += (n < r ? n : r) + (b < bank && n > r ? 1 : 0);
            }
            const uint32_t row = at.row % 16;
            const uint32_t value = e[2 * j + i / 2] >> (16 * (i % 2)) & 0xffff;
            put<kCheck>(mine + to, value | col << 16 | (row % 8 * 16 + row / 8) << 24);
        }
    }
    // Entries that fill the last round are zeros of columns that lie in different banks.
    if (warp < 2 && lane < kRound) {
        const uint32_t to = (warp ? sizes.overflow[1] : sizes.overflow[0]) + lane;
        if (to < (warp ? sizes.rounds[1] : sizes.rounds[0]) * kRound) {
            put<kCheck>(entries + (warp ? sizes.rounds[0] * kRound : 0) + to, to % kRound << 16);
        }
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) fl_convert_slots_size(const __grid_constant__ FlConvertParams p) {
    __shared__ Encoder s;
    const Place at(p);
    uint32_t e[kWords];
    load(p, int64_t{blockIdx.x / p.blocks_across} * 32 + at.row, int64_t{blockIdx.x % p.blocks_across} * 256 + 32 * at.step,
         e);
    const Sizes sizes = measure(s, stored(e), at);
    if (threadIdx.x == 0) {
        reinterpret_cast<uint32_t*>(p.table)[p.first_block + blockIdx.x] = sizes.units << 16 | sizes.nnz;
    }
}

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_slots_encode(const __grid_constant__ FlConvertParams p) {
    __shared__ Encoder s;
    __shared__ Block block;
    const uint64_t index = p.first_block + blockIdx.x;
    write_front(p, index);
    uint32_t start, units;
    if (!extent(p, index, kFixed, kMost, start, units)) return;
    const Place at(p);
    uint32_t e[kWords];
    load(p, int64_t{blockIdx.x / p.blocks_across} * 32 + at.row, int64_t{blockIdx.x % p.blocks_across} * 256 + 32 * at.step,
         e);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) block.words[i] = make_uint4(0, 0, 0, 0);
    uint32_t mask = stored(e);
    Sizes sizes = measure(s, mask, at);
    if (sizes.units != units) {
        mask = 0;
        sizes = measure(s, mask, at);
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
    __shared__ __align__(16) uint16_t tile[32 * kTileStride];
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
    if (threadIdx.x < 16) s.groups[threadIdx.x] = 3 << 8;
    __syncthreads();
    // Here the table is by code.
    if (threadIdx.x < 16) {
        const uint32_t info = group(threadIdx.x);
        if (info >> 12 == 0) s.groups[info & 15] = info;
    }
    __syncthreads();
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
    const uint32_t rounds[2] = {starts[0] >> 24, starts[1] >> 24};
    const uint32_t length = units * kUnit;
    const uint32_t packed = kOverflow + (rounds[0] + rounds[1] + 1) / 2 * kUnit;
    uint32_t before = 0, e[kWords];
    for (int i = 0; i < at.piece(); ++i) before += s.counts[at.sub()][g][i];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
        const uint32_t begin = at.sub() % 2 == 0 ? 4 * g + t : starts[4 * g + t] >> (12 * plane) & 0xfff;
        uint32_t from = packed + 2 * plane + 4 * (begin + 32 * (before >> (8 * t) & 0xff));
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
    uint4* mine = reinterpret_cast<uint4*>(tile + at.row * kTileStride + kSegment * at.step);
#pragma unroll
    for (int i = 0; i < 4; ++i) mine[i] = make_uint4(e[4 * i], e[4 * i + 1], e[4 * i + 2], e[4 * i + 3]);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < (rounds[0] + rounds[1]) * kRound; i += kThreads) {
        if (kOverflow + 4 * i + 4 > length) {
            good = false;
            break;
        }
        const uint32_t entry = reinterpret_cast<const uint32_t*>(bytes + kOverflow)[i];
        if ((entry & 0xffff) == 0) continue;
        const uint32_t col = entry >> 16 & 0xff, where = entry >> 24;
        const uint32_t row = where / 16 % 8 + 8 * (where & 1) + (i < rounds[0] * kRound ? 0 : 16);
        // Entries that share an element do not encode again to themselves, whichever of them is taken.
        atomicCAS(reinterpret_cast<unsigned short*>(tile + row * kTileStride + col), static_cast<unsigned short>(0),
                  static_cast<unsigned short>(entry));
    }
    __syncthreads();
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
    const uint32_t mask = stored(e);
    const int count = inside(p, row, col);
    good &= count == kSegment || mask >> count == 0;
    const Sizes sizes = measure(s, mask, at);
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
