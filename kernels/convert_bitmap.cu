// SPDX-License-Identifier: Apache-2.0
//
// Conversion between dense matrices and Bitmap (docs/format-bitmap.md; src/format/bitmap.rs is the specification).
//
//   fl_convert_bitmap_size    dense -> non-zeros, and value rows of the blocks of each width, of 32 x 1024 elements
//   fl_convert_bitmap_encode  dense, table -> header, table, blocks: the bytes of the host's encoder
//   fl_convert_bitmap_unpack  blocks -> dense, or compared with dense, or checked
//
// Blocks:   one CTA of 256 threads a block (or group), which it walks in chunks of 32 x 256 elements; thread =
//           (row, step), 32 elements in registers. Row-major: the steps of a row are neighbouring threads;
//           column-major: the rows of a step are. Where masks are made, thread = (step, lane).
// Shared:   `Chunk`, then the block as stored: dynamic, for the largest block that the matrix has.
// Checking takes each value out of the block once it is seen; what is left must be zero.
// A dense matrix that was changed after its analysis cannot make a block larger or smaller: a block that no longer
// has the size in the table is written as one of zeros.

#include "fl_convert.cuh"

namespace {

using namespace fl::convert;

constexpr uint32_t kUnit = 128;
constexpr uint32_t kChunk = 256;
constexpr uint32_t kSteps = kChunk / 32;
constexpr uint32_t kGroupChunks = 4;

struct Chunk {
    uint32_t masks[32][kSteps];   // bit c: element (row, 32 step + c) is stored
    uint16_t counts[kSteps][32];  // values of a step, then of the steps before it, by stream
    uint32_t carry[32];           // values of the chunks before, by stream
};
static_assert(sizeof(Chunk) % 16 == 0, "the block behind it is copied in 16-byte pieces");

struct Place {
    int row, step;
    __device__ explicit Place(const FlConvertParams& p)
        : row(p.col_major ? threadIdx.x % 32 : threadIdx.x / 8), step(p.col_major ? threadIdx.x / 32 : threadIdx.x % 8) {}
};

__device__ __forceinline__ uint32_t rotation(uint32_t step) { return (step & 7) << 2 | (step & 3); }

// Bit 0 to 3 -> bit 0, 8, 16, 24.
__device__ __forceinline__ uint32_t spread(uint32_t nibble) { return (nibble & 15) * 0x00204081u & 0x01010101u; }

// Bits 0, 8, 16, 24 -> bits 0 to 3.
__device__ __forceinline__ uint32_t gather(uint32_t bits) { return (bits & 0x01010101u) * 0x01020408u >> 24 & 15; }

// Eight columns from 8 t of a step, of the rows g, g + 8, g + 16, g + 24: one byte a row.
__device__ __forceinline__ uint32_t natural(const Chunk& s, uint32_t step, uint32_t lane) {
    uint32_t bits = 0;
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
        bits |= (s.masks[lane / 4 + 8 * slot][step] >> (8 * (lane % 4)) & 0xff) << (8 * slot);
    }
    return bits;
}

// Stored order of such bits.
__device__ __forceinline__ uint32_t to_word(uint32_t bits) {
    uint32_t word = 0;
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
        const uint32_t byte = bits >> (8 * slot);
        word |= (spread(byte) << 1 | spread(byte >> 4)) << (6 - 2 * slot);
    }
    return word;
}

__device__ __forceinline__ uint32_t mask_offset(uint32_t step, uint32_t lane) {
    return step / 4 * 512 + lane * 16 + step % 4 * 4;
}

__device__ __forceinline__ uint32_t value_offset(uint32_t q, uint32_t s) { return q / 2 * kUnit + s * 4 + q % 2 * 2; }

// counts of a chunk's steps -> those before each step, with the chunks before; carry moves on. Synchronised before;
// synchronises at the end.
__device__ __forceinline__ void scan(Chunk& s) {
    if (threadIdx.x < 32) {
        uint32_t sum = s.carry[threadIdx.x];
        for (uint32_t step = 0; step < kSteps; ++step) {
            const uint32_t n = s.counts[step][threadIdx.x];
            s.counts[step][threadIdx.x] = static_cast<uint16_t>(sum);
            sum += n;
        }
        s.carry[threadIdx.x] = sum;
    }
    __syncthreads();
}

// Stream of group t's values of a row, and where in it they begin.
__device__ __forceinline__ uint32_t stream_begin(const Chunk& s, const Place& at, int t, uint32_t& stream) {
    const uint32_t g = at.row % 8;
    stream = (4 * g + t) ^ rotation(at.step);
    uint32_t q = s.counts[at.step][stream];
    for (int slot = 0; slot < at.row / 8; ++slot) {
        q += __popc(s.masks[g + 8 * slot][at.step] >> (8 * t) & 0xff);
    }
    return q;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_bitmap_size(const __grid_constant__ FlConvertParams p) {
    __shared__ uint32_t masks[2][32][kSteps];
    __shared__ uint32_t counts[kGroupChunks][32];
    const uint32_t groups_across = p.blocks_across;
    const Place at(p);
    const int64_t row = int64_t{blockIdx.x / groups_across} * 32 + at.row;
    const int64_t col = int64_t{blockIdx.x % groups_across} * (kGroupChunks * kChunk) + 32 * at.step;
    if (threadIdx.x < 32 * kGroupChunks) counts[threadIdx.x / 32][threadIdx.x % 32] = 0;
    const uint32_t step = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (uint32_t chunk = 0; chunk < kGroupChunks; ++chunk) {
        uint32_t e[kWords];
        load(p, row, col + kChunk * chunk, e);
        // Two buffers: the threads of one chunk are all past the masks of the one before the last.
        masks[chunk % 2][at.row][at.step] = stored(e);
        __syncthreads();
        uint32_t n = 0;
#pragma unroll
        for (int slot = 0; slot < 4; ++slot) {
            n += __popc(masks[chunk % 2][lane / 4 + 8 * slot][step] >> (8 * (lane % 4)) & 0xff);
        }
        atomicAdd(&counts[chunk][lane ^ rotation(step)], n);
    }
    __syncthreads();
    if (threadIdx.x >= 32) return;
    uint32_t c[kGroupChunks], rows[7], nnz = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) c[i] = counts[i][lane], nnz += c[i];
    const uint32_t sums[7] = {c[0], c[1], c[2], c[3], c[0] + c[1], c[2] + c[3], nnz};
#pragma unroll
    for (int i = 0; i < 7; ++i) rows[i] = (__reduce_max_sync(kAll, sums[i]) + 1) / 2;
    nnz = __reduce_add_sync(kAll, nnz);
    if (lane == 0) {
        uint32_t* out = reinterpret_cast<uint32_t*>(p.table) + FL_GROUP_WORDS * (p.first_block + blockIdx.x);
        out[0] = nnz;
        out[1] = rows[0] | rows[1] << 16;
        out[2] = rows[2] | rows[3] << 16;
        out[3] = rows[4] | rows[5] << 16;
        out[4] = rows[6];
    }
}

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_bitmap_encode(const __grid_constant__ FlConvertParams p) {
    FL_DYNAMIC_SHARED(shared);
    Chunk& s = *reinterpret_cast<Chunk*>(shared);
    uint4* block = shared + sizeof(Chunk) / 16;
    const uint64_t index = p.first_block + blockIdx.x;
    write_front(p, index);
    const uint32_t steps = p.width / 32;
    uint32_t start, units;
    if (!extent(p, index, steps, p.room, start, units)) return;
    const Place at(p);
    const int64_t row = int64_t{blockIdx.x / p.blocks_across} * 32 + at.row;
    const int64_t col = int64_t{blockIdx.x % p.blocks_across} * p.width + 32 * at.step;
    const uint32_t value_rows = units - steps;
    uint8_t* bytes = reinterpret_cast<uint8_t*>(block);
    uint8_t* values = bytes + steps * kUnit;
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) block[i] = make_uint4(0, 0, 0, 0);
    if (threadIdx.x < 32) s.carry[threadIdx.x] = 0;
    const uint32_t step = threadIdx.x / 32, lane = threadIdx.x % 32;
    bool fits = true;
    for (uint32_t chunk = 0; chunk < steps / kSteps; ++chunk) {
        uint32_t e[kWords];
        load(p, row, col + kChunk * chunk, e);
        const uint32_t mask = stored(e);
        __syncthreads();
        s.masks[at.row][at.step] = mask;
        __syncthreads();
        const uint32_t bits = natural(s, step, lane);
        *reinterpret_cast<uint32_t*>(bytes + mask_offset(chunk * kSteps + step, lane)) = to_word(bits);
        s.counts[step][lane ^ rotation(step)] = static_cast<uint16_t>(__popc(bits));
        __syncthreads();
        scan(s);
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            uint32_t stream, q = stream_begin(s, at, t, stream);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                if (!(mask >> (8 * t + i) & 1)) continue;
                if (q < 2 * value_rows) {
                    *reinterpret_cast<uint16_t*>(values + value_offset(q, stream)) =
                        static_cast<uint16_t>(e[4 * t + i / 2] >> (16 * (i % 2)));
                } else {
                    fits = false;
                }
                ++q;
            }
        }
    }
    // The fullest stream fills the last row.
    const bool full = threadIdx.x < 32 && value_rows > 0 && s.carry[threadIdx.x] + 1 >= 2 * value_rows;
    const bool changed = __syncthreads_or(!fits) || (value_rows > 0 && !__syncthreads_or(full));
    uint4* out = reinterpret_cast<uint4*>(p.data + uint64_t{start} * kUnit);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) {
        out[i] = changed ? make_uint4(0, 0, 0, 0) : block[i];
    }
}

extern "C" __global__ void __launch_bounds__(kThreads)
    fl_convert_bitmap_unpack(const __grid_constant__ FlConvertParams p) {
    FL_DYNAMIC_SHARED(shared);
    Chunk& s = *reinterpret_cast<Chunk*>(shared);
    uint4* block = shared + sizeof(Chunk) / 16;
    const uint64_t index = p.first_block + blockIdx.x;
    const uint32_t steps = p.width / 32;
    uint32_t start, units;
    bool good = extent(p, index, steps, p.room, start, units);
    if (!good) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    if (p.use == FL_UNPACK_CHECK) good = front_is_good(p, index);
    const Place at(p);
    const int64_t row = int64_t{blockIdx.x / p.blocks_across} * 32 + at.row;
    const int64_t col = int64_t{blockIdx.x % p.blocks_across} * p.width + 32 * at.step;
    const uint32_t value_rows = units - steps;
    const uint4* in = reinterpret_cast<const uint4*>(p.data + uint64_t{start} * kUnit);
    for (uint32_t i = threadIdx.x; i < units * (kUnit / 16); i += kThreads) block[i] = in[i];
    if (threadIdx.x < 32) s.carry[threadIdx.x] = 0;
    uint8_t* bytes = reinterpret_cast<uint8_t*>(block);
    uint8_t* values = bytes + steps * kUnit;
    const uint32_t step = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (uint32_t chunk = 0; chunk < steps / kSteps; ++chunk) {
        __syncthreads();
        const uint32_t word = *reinterpret_cast<const uint32_t*>(bytes + mask_offset(chunk * kSteps + step, lane));
#pragma unroll
        for (int slot = 0; slot < 4; ++slot) {
            const uint32_t pairs = word >> (6 - 2 * slot);
            reinterpret_cast<uint8_t*>(&s.masks[lane / 4 + 8 * slot][step])[lane % 4] =
                static_cast<uint8_t>(gather(pairs >> 1) | gather(pairs) << 4);
        }
        s.counts[step][lane ^ rotation(step)] = static_cast<uint16_t>(__popc(word));
        __syncthreads();
        scan(s);
        const uint32_t mask = s.masks[at.row][at.step];
        uint32_t e[kWords];
#pragma unroll
        for (int i = 0; i < kWords; ++i) e[i] = 0;
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            uint32_t stream, q = stream_begin(s, at, t, stream);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                if (!(mask >> (8 * t + i) & 1)) continue;
                if (q < 2 * value_rows) {
                    uint16_t* from = reinterpret_cast<uint16_t*>(values + value_offset(q, stream));
                    const uint32_t value = *from;
                    e[4 * t + i / 2] |= value << (16 * (i % 2));
                    if (p.use == FL_UNPACK_CHECK) *from = 0;
                    good &= (value & 0x7fff) != 0;
                } else {
                    good = false;
                }
                ++q;
            }
        }
        if (p.use == FL_UNPACK_CHECK) {
            const int count = inside(p, row, col + kChunk * chunk);
            good &= count == kSegment || mask >> count == 0;
        } else {
            deliver(p, row, col + kChunk * chunk, e);
        }
    }
    if (p.use != FL_UNPACK_CHECK) return;
    __syncthreads();
    for (uint32_t i = steps * (kUnit / 16) + threadIdx.x; i < units * (kUnit / 16); i += kThreads) {
        const uint4 v = block[i];
        good &= (v.x | v.y | v.z | v.w) == 0;
    }
    // As many rows as the fullest stream needs. The carries are those of all chunks.
    const uint32_t mine = s.carry[lane];
    const uint32_t needed = (__reduce_max_sync(kAll, mine) + 1) / 2;
    const uint32_t nnz = __reduce_add_sync(kAll, mine);
    good &= needed == value_rows;
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
    } else if (threadIdx.x == 0) {
        account(p, nnz, units);
    }
}
