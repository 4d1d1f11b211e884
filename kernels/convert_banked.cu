// SPDX-License-Identifier: Apache-2.0
//
// Conversion between dense matrices and Banked (docs/format-banked.md; src/format/banked.rs is the specification).
//
//   fl_convert_banked_size    dense -> units and non-zeros of every block
//   fl_convert_banked_encode  dense, table -> header, table, blocks: the bytes of the host's encoder
//   fl_convert_banked_unpack  blocks -> dense, or compared with dense, or checked
//
// Blocks:   one CTA of 256 threads a block of 128 x 128 elements. A warp has 32 lines of the image, a lane its own bank
//           in them: 32 words, in registers. Of a row-major matrix a line is 128 neighbouring bytes, so that the words
//           come from there without an image; of a column-major one a lane reads a row, and the image turns them.
// Shared:   `Plan`, then, dynamic, the image, and once it is in registers the block in its place.
// Encoding writes each byte of a block at most once over zeros. Checking encodes what the block decodes to, and
// compares. Decoding deals the chunks of a row to the banks of its streams; what a damaged block says of them leads
// to other places of the image, never out of it.
// A dense matrix that was changed after its analysis cannot make a block larger or smaller: a block that no longer
// has the size in the table is written as one of zeros.

#include "fl_banked.cuh"
#include "fl_convert.cuh"

namespace {

using namespace fl::convert;
using namespace fl::banked;

constexpr uint32_t kWarps = kThreads / 32;
constexpr uint32_t kWarpLines = kLines / kWarps;
static_assert(kWarpLines == 32, "a mask of a warp's lines is one word");

struct alignas(16) Plan {
    uint32_t masks[2][kWarps][kLanes];  // by parity: which of a warp's lines hold an element in a lane's bank
    uint32_t starts[kLanes];            // the block's first unit
    uint8_t order[kLanes];              // streams, the longest first
    uint16_t owners[kLanes];            // unpacking: by stream, whose second pass it has, and its chunks
    uint32_t rows, nnz, pad[2];
};
static_assert(sizeof(Plan) == 2288, "src/plan/convert.rs counts on it");

// Where this thread's words lie in the dense matrix: word i is elements (row, col) and (row, col + 1).
struct Place {
    int64_t row, col;  // of the warp's first line
    uint32_t lane;
    bool by_rows;      // lane = row; else a lane has its bank
    __device__ Place(const FlConvertParams& p, uint32_t warp, uint32_t thread_lane)
        : row(int64_t{blockIdx.x / p.blocks_across} * kTileRows + kWarpLines * (warp % 4)),
          col(int64_t{blockIdx.x % p.blocks_across} * kTileCols + 64 * (warp / 4)),
          lane(thread_lane), by_rows(p.col_major) {}

    // Line of the warp, and pair of columns in it, of word i.
    __device__ __forceinline__ uint32_t line(uint32_t i) const { return by_rows ? lane : i; }
    __device__ __forceinline__ uint32_t pair(uint32_t i) const { return by_rows ? i : swizzled(lane, i); }
    // Index of word i in the warp's lines of the image.
    __device__ __forceinline__ uint32_t word(uint32_t i) const {
        return by_rows ? lane * kLanes + swizzled(i, lane) : i * kLanes + lane;
    }
    // Whether the warp's lines lie in the matrix, as vectors.
    __device__ __forceinline__ bool whole(const FlConvertParams& p) const {
        return p.vectors && row + kWarpLines <= p.rows && col + 64 <= p.cols;
    }
};

// Elements outside the matrix become zero.
__device__ __forceinline__ uint32_t dense_pair(const FlConvertParams& p, int64_t row, int64_t col) {
    if (row >= p.rows || col >= p.cols) return 0;
    const uint16_t* from = reinterpret_cast<const uint16_t*>(p.dense) + place(p, row, col);
    const uint32_t second = col + 1 < p.cols ? from[p.col_major ? p.ld : 1] : 0;
    return *from | second << 16;
}

// The dense matrix's words of this thread's place.
__device__ __forceinline__ void load_words(const FlConvertParams& p, const Place& at, uint32_t (&e)[kWarpLines]) {
    if (at.whole(p)) {
        const uint16_t* from = reinterpret_cast<const uint16_t*>(p.dense) + at.row * p.ld + at.col;
#pragma unroll
        for (uint32_t i = 0; i < kWarpLines; ++i) {
            e[i] = *reinterpret_cast<const uint32_t*>(from + i * p.ld + 2 * swizzled(at.lane, i));
        }
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < kWarpLines; ++i) e[i] = dense_pair(p, at.row + at.line(i), at.col + 2 * at.pair(i));
}

// The same, but word i is of the lane's bank in line i, whatever the order of the matrix. `mine` are the warp's lines
// of the image, written where a lane reads a row.
__device__ __forceinline__ void load_banks(const FlConvertParams& p, const Place& at, uint32_t* mine,
                                           uint32_t (&e)[kWarpLines]) {
    load_words(p, at, e);
    if (!at.by_rows) return;
#pragma unroll
    for (uint32_t i = 0; i < kWarpLines; ++i) mine[at.word(i)] = e[i];
    __syncwarp();
#pragma unroll
    for (uint32_t i = 0; i < kWarpLines; ++i) e[i] = mine[i * kLanes + at.lane];
}

// Where the second pass of each lane is, and the rows of the block; one warp. The masks are complete.
__device__ __forceinline__ void plan_streams(Plan& s, uint32_t lane) {
    uint32_t count[2] = {0, 0};
#pragma unroll
    for (uint32_t warp = 0; warp < kWarps; ++warp) {
        count[0] += __popc(s.masks[0][warp][lane]);
        count[1] += __popc(s.masks[1][warp][lane]);
    }
    const uint32_t first = (count[0] + kChunk - 1) / kChunk, second = (count[1] + kChunk - 1) / kChunk;
    // The longest streams go to the lanes that add least.
    s.order[rank(64 - first, 7, lane)] = static_cast<uint8_t>(lane);
    const uint32_t mine = rank(second, 7, lane);
    __syncwarp();
    const uint32_t stream = s.order[mine];
    const uint32_t begin = __shfl_sync(kAll, first, stream);
    s.starts[lane] = Start{first, second, stream, begin}.word();
    // Every stream is some lane's.
    const uint32_t rows = __reduce_max_sync(kAll, begin + second);
    const uint32_t nnz = __reduce_add_sync(kAll, count[0] + count[1]);
    if (lane == 0) s.rows = rows, s.nnz = nnz;
}

// Sizes and streams of the block whose words the threads have. Synchronises between and last.
__device__ __forceinline__ void measure(Plan& s, const uint32_t (&e)[kWarpLines], uint32_t warp, uint32_t lane) {
    uint32_t even = 0, odd = 0;
#pragma unroll
    for (uint32_t i = 0; i < kWarpLines; ++i) {
        // Adding 0x7fff carries into bit 15 of a half exactly when its magnitude is not zero.
        const uint32_t t = (e[i] & 0x7fff7fffu) + 0x7fff7fffu;
        even |= (t >> 15 & 1) << i;
        odd |= (t >> 31) << i;
    }
    s.masks[0][warp][lane] = even;
    s.masks[1][warp][lane] = odd;
    __syncthreads();
    if (warp == 0) plan_streams(s, lane);
    __syncthreads();
}

// Byte offset in the block of the place of the n-th element of a stream.
__device__ __forceinline__ uint32_t stream_offset(uint32_t n, uint32_t stream) {
    return row_offset(n / kChunk) + 4 * stream + n % kChunk;
}

// Puts this thread's elements into `block`, which holds zeros. The streams are those of `measure`.
__device__ __forceinline__ void encode(const Plan& s, uint8_t* block, const uint32_t (&e)[kWarpLines], uint32_t warp,
                                       uint32_t lane) {
    const Start start = Start::of(s.starts[lane]);
    if (warp == 0) reinterpret_cast<uint32_t*>(block)[lane] = start.word();
#pragma unroll
    for (uint32_t parity = 0; parity < 2; ++parity) {
        const uint32_t stream = parity == 0 ? lane : start.stream;
        uint32_t n = parity == 0 ? 0 : kChunk * start.begin;
        for (uint32_t w = 0; w < warp; ++w) n += __popc(s.masks[parity][w][lane]);
#pragma unroll
        for (uint32_t i = 0; i < kWarpLines; ++i) {
            const uint32_t value = e[i] >> (16 * parity) & 0xffff;
            if ((value & 0x7fff) == 0) continue;
            uint8_t* values = block + row_offset(n / kChunk) + kUnit * (1 + n % kChunk / 2) + 4 * stream;
            block[stream_offset(n, stream)] = static_cast<uint8_t>(kWarpLines * warp + i);
            reinterpret_cast<uint16_t*>(values)[n % 2] = static_cast<uint16_t>(value);
            ++n;
        }
    }
    if (warp >= 2) return;
    // Padding at the lowest lines without an element; its values are zeros already. Warp = parity.
    const uint32_t stream = warp == 0 ? lane : start.stream;
    uint32_t n = warp == 0 ? 0 : kChunk * start.begin;
    for (uint32_t w = 0; w < kWarps; ++w) n += __popc(s.masks[warp][w][lane]);
    for (uint32_t w = 0; w < kWarps && n % kChunk != 0; ++w) {
        for (uint32_t rest = ~s.masks[warp][w][lane]; rest != 0 && n % kChunk != 0; rest &= rest - 1) {
            block[stream_offset(n, stream)] = static_cast<uint8_t>(kWarpLines * w + __ffs(rest) - 1);
            ++n;
        }
    }
}

__device__ __forceinline__ void clear(uint4* to, uint32_t bytes) {
    for (uint32_t i = threadIdx.x; i < bytes / 16; i += kThreads) to[i] = make_uint4(0, 0, 0, 0);
}

// The words of stream `lane` in rows `row`, `row` + 8 and so on.
constexpr uint32_t kBatch = 4;
struct Batch {
    uint32_t words[kBatch][3];

    __device__ __forceinline__ void load(const uint8_t* block, uint32_t row, uint32_t rows, uint32_t lane) {
#pragma unroll
        for (uint32_t i = 0; i < kBatch; ++i) {
            const uint32_t at = row + kWarps * i;
            if (at >= rows) continue;
            const uint32_t* from = reinterpret_cast<const uint32_t*>(block + row_offset(at)) + lane;
#pragma unroll
            for (uint32_t plane = 0; plane < 3; ++plane) words[i][plane] = from[plane * (kUnit / 4)];
        }
    }
    // `first` is the row in which the second pass begins, `end` the one behind it.
    __device__ __forceinline__ void put(uint8_t* image, uint32_t row, uint32_t rows, uint32_t first, uint32_t end,
                                        uint32_t own, uint32_t other) const {
#pragma unroll
        for (uint32_t i = 0; i < kBatch; ++i) {
            const uint32_t at = row + kWarps * i;
            if (at >= rows || at >= end) continue;
            uint8_t* bank = image + (at < first ? own : other);
#pragma unroll
            for (uint32_t j = 0; j < kChunk; ++j) {
                const uint32_t line = words[i][0] >> (8 * j) & 0xff;
                *reinterpret_cast<uint16_t*>(bank + line * kLineBytes) =
                    static_cast<uint16_t>(words[i][1 + j / 2] >> (16 * (j % 2)));
            }
        }
    }
};

// Makes the image of the block. Synchronises between and last.
__device__ __forceinline__ void decode(Plan& s, uint8_t* image, const uint8_t* block, uint32_t rows, uint32_t warp,
                                       uint32_t lane) {
    const Start start = Start::of(reinterpret_cast<const uint32_t*>(block)[lane]);
    Batch batch;
    batch.load(block, warp, rows, lane);
    clear(reinterpret_cast<uint4*>(image), kImageBytes);
    if (warp == 0) {
        // A stream that a damaged block gives to nobody has no second pass.
        s.owners[lane] = 0;
        __syncwarp();
        s.owners[start.stream] = static_cast<uint16_t>(lane | start.second << 8);
    }
    __syncthreads();
    const uint32_t owner = s.owners[lane], end = start.first + (owner >> 8);
    const uint32_t own = place_offset(0, lane, 0), other = place_offset(0, owner & 31, 1);
    for (uint32_t row = warp; row < rows; row += kWarps * kBatch) {
        batch.put(image, row, rows, start.first, end, own, other);
        batch.load(block, row + kWarps * kBatch, rows, lane);
    }
    __syncthreads();
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_banked_size(const __grid_constant__ FlConvertParams p) {
    __shared__ Plan s;
    __shared__ uint32_t image[kImageBytes / 4];
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t e[kWarpLines];
    load_banks(p, Place(p, warp, lane), image + warp * kWarpLines * kLanes, e);
    measure(s, e, warp, lane);
    if (threadIdx.x == 0) {
        reinterpret_cast<uint32_t*>(p.table)[p.first_block + blockIdx.x] = units_of(s.rows) << 16 | s.nnz;
    }
}

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_banked_encode(const __grid_constant__ FlConvertParams p) {
    FL_DYNAMIC_SHARED(shared);
    Plan& s = *reinterpret_cast<Plan*>(shared);
    uint4* block = shared + sizeof(Plan) / 16;
    const uint64_t index = p.first_block + blockIdx.x;
    write_front(p, index);
    uint32_t start, units;
    if (!extent(p, index, 1, p.room, start, units)) return;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t e[kWarpLines];
    load_banks(p, Place(p, warp, lane), reinterpret_cast<uint32_t*>(block) + warp * kWarpLines * kLanes, e);
    measure(s, e, warp, lane);
    if (units_of(s.rows) != units) {
#pragma unroll
        for (uint32_t i = 0; i < kWarpLines; ++i) e[i] = 0;
        measure(s, e, warp, lane);
    }
    clear(block, units * kUnit);
    __syncthreads();
    encode(s, reinterpret_cast<uint8_t*>(block), e, warp, lane);
    __syncthreads();
    uint4* out = reinterpret_cast<uint4*>(p.data + uint64_t{start} * kUnit);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) out[i] = block[i];
}

// The comparison would take so many registers that decoding had two CTAs an SM.
extern "C" __global__ void __launch_bounds__(kThreads, 3)
    fl_convert_banked_unpack(const __grid_constant__ FlConvertParams p) {
    FL_DYNAMIC_SHARED(shared);
    Plan& s = *reinterpret_cast<Plan*>(shared);
    uint4* image = shared + sizeof(Plan) / 16;
    const uint64_t index = p.first_block + blockIdx.x;
    uint32_t start, units;
    bool good = extent(p, index, 1, p.room, start, units);
    if (!good) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    if (p.use == FL_UNPACK_CHECK) good = front_is_good(p, index);
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(p.data + uint64_t{start} * kUnit);
    decode(s, reinterpret_cast<uint8_t*>(image), bytes, rows_of(units), warp, lane);
    const Place at(p, warp, lane);
    const uint32_t* mine = reinterpret_cast<const uint32_t*>(image) + warp * kWarpLines * kLanes;
    if (p.use == FL_UNPACK_STORE && at.whole(p)) {
        uint16_t* to = reinterpret_cast<uint16_t*>(p.dense) + at.row * p.ld + at.col;
#pragma unroll
        for (uint32_t i = 0; i < kWarpLines; ++i) {
            *reinterpret_cast<uint32_t*>(to + i * p.ld + 2 * swizzled(lane, i)) = mine[i * kLanes + lane];
        }
        return;
    }
    if (p.use == FL_UNPACK_STORE) {
        uint16_t* to = reinterpret_cast<uint16_t*>(p.dense);
#pragma unroll
        for (uint32_t i = 0; i < kWarpLines; ++i) {
            const int64_t row = at.row + at.line(i), col = at.col + 2 * at.pair(i);
            const uint32_t word = mine[at.word(i)];
            if (row >= p.rows) continue;
            if (col < p.cols) to[place(p, row, col)] = static_cast<uint16_t>(word);
            if (col + 1 < p.cols) to[place(p, row, col + 1)] = static_cast<uint16_t>(word >> 16);
        }
        return;
    }
    uint32_t e[kWarpLines];
    if (p.use == FL_UNPACK_COMPARE) {
        load_words(p, at, e);
        bool different = false;
#pragma unroll
        for (uint32_t i = 0; i < kWarpLines; ++i) {
            const uint32_t word = mine[at.word(i)], apart = e[i] ^ word, either = e[i] | word;
            different |= (apart & 0xffff) != 0 && (either & 0x7fff) != 0;
            different |= apart >> 16 != 0 && (either >> 16 & 0x7fff) != 0;
        }
        if (different) reinterpret_cast<FlConvertResult*>(p.result)->different = 1;
        return;
    }
    // There is no dense matrix, whose order the place would follow: the host says that it is row-major.
#pragma unroll
    for (uint32_t i = 0; i < kWarpLines; ++i) {
        const int64_t row = at.row + at.line(i), col = at.col + 2 * at.pair(i);
        e[i] = mine[at.word(i)];
        if (row >= p.rows || col >= p.cols) good &= (e[i] & 0x7fff7fff) == 0;
        if (col + 1 >= p.cols) good &= (e[i] >> 16 & 0x7fff) == 0;
    }
    measure(s, e, warp, lane);
    good &= units_of(s.rows) == units;
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    clear(image, units * kUnit);
    __syncthreads();
    encode(s, reinterpret_cast<uint8_t*>(image), e, warp, lane);
    __syncthreads();
    const uint4* in = reinterpret_cast<const uint4*>(bytes);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) {
        const uint4 a = image[i], b = in[i];
        good &= a.x == b.x && a.y == b.y && a.z == b.z && a.w == b.w;
    }
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
    } else if (threadIdx.x == 0) {
        account(p, s.nnz, units);
    }
}
