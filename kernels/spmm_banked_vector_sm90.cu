// SPDX-License-Identifier: Apache-2.0
//
// C[M,1] = alpha * A[M,K] * B[K,1] + beta * C, A in Banked, 16-bit in, fp32 accumulation, Hopper.
// One column needs no dense tile: a lane adds each of its elements, times the element of B, to a sum in its own bank.
//
// Blocks:   persistent grid (CTAs, 1). A row group is T = p.group_tiles tiles of 128 rows, two warps each: one takes a
//           block's elements of parity 0, the other those of parity 1. One more warp copies A, one brings B. The units
//           (row group, block of 128 columns) are dealt to the CTAs (fl_streamk.cuh); a CTA walks its units along K, then
//           on to the next row group.
// Shared:   [0, 1024)   mbarriers: full[] and empty[] of B, full[T][slots] of A, from kEmpty on empty[T][slots]; ready
//           [1024, ..)  B ring, 8 stages in 32 KB: see kStage, below
//           [.., ..)    sums, 16 KB a warp: one of fp32 for every row of the tile and lane
//           [.., ..)    exchange, 512 bytes a tile
//           [.., ..)    A ring, T x slots x slot_bytes: blocks exactly as stored
// Pipeline: warp A    slot free: next block of that tile | ...    the first of a tile comes by one of its warps
//           warp B    B0 .. B7 | stage free: next | ...
//           warp      wait A0, B0 | chunks: load sums, add, store | free | wait A1, B1 ...
//           A lane's sums are in its own bank, and nobody else's. The four elements of a chunk are added side by side
//           where they are of four rows; in rare blocks a lane has (r, k) and (r, k + 64) in one, and adds in turn.
// Budget:   wavefronts of shared memory, of 32 elements: a chunk's copy and words 3/4 + 3/4, of B 1, of the sum 2. Of a
//           block at 90 % zeros that is 230; its bytes take twice as long to come from DRAM.
// Assumes:  of the format, what validate() checks; n == 1; b 16-byte aligned, K % 8 == 0 (the host packs B otherwise);
//           slot_bytes >= the largest block; T * slots <= 32.

#include "fl_a_ring.cuh"
#include "fl_banked.cuh"
#include "fl_streamk.cuh"

namespace {

using namespace fl;
using namespace fl::banked;

constexpr uint32_t kBarrierBytes = 1024;
constexpr uint32_t kEmpty = 512;  // from the barriers of full slots of A to those of empty ones
constexpr uint32_t kWarps = 2;    // that share a tile
constexpr uint32_t kStages = 8;
// Which element of B a sum's element of A meets follows from the lane, the parity, the half of the line (its bit 7) and
// the line mod 8. A stage holds them all, times eight as often as B, where the bits of a place are the address: the
// word of (half, line mod 8, parity, lane) is at 16384 half + 2048 stage + 1024 parity + 128 (line mod 8) + 4 lane.
constexpr uint32_t kStage = 2048, kParity = 1024, kHalf = 16384, kRing = 32768;
constexpr uint32_t kPlaceBits = 0x87;
static_assert(kStages * kStage == kHalf && kLineBytes == 128, "places are addresses");
constexpr uint32_t kRowBits = 0x7f;
constexpr uint32_t kSums = kTileRows * kLineBytes, kExchange = 512;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
extern __shared__ __align__(128) unsigned char smem[];

__device__ __forceinline__ char* shared(uint32_t address) { return reinterpret_cast<char*>(smem) + (address - smem_addr(smem)); }

struct Addresses : ARing {
    uint32_t ready, b_full, b_empty, b, sums, exchange;
};

// The warp that brings B: four columns of a block a lane.
__device__ __forceinline__ void load_b(const FlSpmmParams& p, const Addresses& at, const StreamK& line, uint32_t unit0, uint32_t unit1,
                                       uint32_t lane) {
    const uint16_t* b = reinterpret_cast<const uint16_t*>(p.b);
    auto read = [&](uint32_t unit) {
        const uint32_t k = block_of(p, unit) * kTileCols + lane * 4;
        return unit < unit1 && k < p.k ? __ldcg(reinterpret_cast<const uint2*>(b + k)) : make_uint2(0, 0);
    };
    auto value = [](uint32_t raw) { return __float_as_uint(value_of(raw, kType)); };
    const uint32_t half = lane / 16, piece = lane % 16 / 2, pair = lane % 2 * 2;
    wait_for_earlier_work();
    uint2 next = read(unit0);
    prepare_counters(line, 0, p.group_tiles, lane, at.ready);
    uint32_t stage = 0, phase = 1;
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        const uint2 now = next;
        next = read(unit + 1);
        const uint32_t even0 = value(now.x & 0xffff), odd0 = value(now.x >> 16);
        const uint32_t even1 = value(now.y & 0xffff), odd1 = value(now.y >> 16);
        mbar_wait(at.b_empty + 8 * stage, phase);
        const uint32_t to = at.b + half * kHalf + stage * kStage;
#pragma unroll
        for (uint32_t line = 0; line < 8; ++line) {
            const uint32_t words = to + line * kLineBytes + ((piece ^ line) * 4 + pair) * 4;
            sts64(words, even0, even1);
            sts64(words + kParity, odd0, odd1);
        }
        mbar_arrive(at.b_full + 8 * stage);
        if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
        }
    }
}

// Four elements of a lane and a parity: words of a chunk. Plain loads and stores, not fl_ptx.cuh's, so that the compiler
// may put between them what is independent.
struct Chunk {
    uint32_t places, first, second;

    // A chunk that is not there adds zero to four sums.
    __device__ __forceinline__ void load(const char* from, bool has) {
        const uint32_t* words = reinterpret_cast<const uint32_t*>(from);
        places = has ? words[0] : 0x03020100;
        first = has ? words[kUnit / 4] : 0;
        second = has ? words[kUnit / 2] : 0;
    }

    // Four bytes, each a line.
    static __device__ __forceinline__ float& at(char* base, uint32_t lines, int i) {
        return *reinterpret_cast<float*>(base + prmt(lines, 0, 0x4440 + i) * kLineBytes);
    }

    __device__ __forceinline__ float value(int i) const {
        const uint32_t pair = i < 2 ? first : second;
        return value_of(i % 2 == 0 ? pair & 0xffff : pair >> 16, kType);
    }

    // `b` and `sums`: the lane's word in line 0.
    __device__ __forceinline__ void add(char* b, char* sums) const {
        constexpr uint32_t kBytes = 0x01010101;
        const uint32_t columns = places & kPlaceBits * kBytes, rows = places & kRowBits * kBytes;
        float met[4], sum[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) met[i] = at(b, columns, i);
        // Of one row are two where two bytes are equal. Adding 127 sets the top bit of bytes that are not zero.
        const uint32_t next = (rows ^ __funnelshift_l(rows, rows, 8)) + kRowBits * kBytes;
        const uint32_t second_next = (rows ^ __funnelshift_l(rows, rows, 16)) + kRowBits * kBytes;
        if (__any_sync(~0u, (next & second_next & 0x80 * kBytes) != 0x80 * kBytes)) {
#pragma unroll
            for (int i = 0; i < 4; ++i) at(sums, rows, i) = fmaf(value(i), met[i], at(sums, rows, i));
            return;
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[i] = at(sums, rows, i);
#pragma unroll
        for (int i = 0; i < 4; ++i) at(sums, rows, i) = fmaf(value(i), met[i], sum[i]);
    }
};

// Adds up the sums of rows 4 lane .. 4 lane + 3, which are zero afterwards.
__device__ __forceinline__ float4 take_sums(uint32_t sums, uint32_t lane) {
    float row[4];
    __syncwarp();
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
        float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
        for (uint32_t j = 0; j < 8; ++j) {
            // Eight lanes, which shared memory serves together, read all banks.
            const uint32_t at = sums + (lane * 4 + i) * kLineBytes + (j + lane) % 8 * 16;
            const float4 v = lds_float4(at);
            sum.x += v.x;
            sum.y += v.y;
            sum.z += v.z;
            sum.w += v.w;
            sts128(at, make_uint4(0, 0, 0, 0));
        }
        row[i] = sum.x + sum.y + (sum.z + sum.w);
    }
    __syncwarp();
    return make_float4(row[0], row[1], row[2], row[3]);
}

// One of the two warps of a tile of every row group.
__device__ __forceinline__ void multiply(const FlSpmmParams& p, const Addresses& at, const StreamK& line, uint32_t unit0, uint32_t unit1,
                                         uint32_t warp, uint32_t lane) {
    const uint32_t r = warp / kWarps, parity = warp % kWarps;
    const uint32_t sums = at.sums + warp * kSums, exchange = at.exchange + r * kExchange + lane * 16;
    char* const own_sums = shared(sums + lane * 4);
    uint32_t slot = 0, a_phase = 0, stage = 0, b_phase = 0, k_block = block_of(p, unit0), group = group_of(p, unit0);
    Parts<1> parts(p, line, blockIdx.x, r, p.group_tiles, 0, at.ready);
    for (uint32_t unit = unit0; unit < unit1; ++unit) {
        const uint32_t tile = group * p.group_tiles + r, index = r * p.a_slots + slot;
        const bool segment_ends = k_block + 1 == p.k_blocks || unit + 1 == unit1;
        const uint32_t block = at.a + index * p.slot_bytes;
        mbar_wait(at.a_full + 8 * index, a_phase);
        mbar_wait(at.b_full + 8 * stage, b_phase);
        if (tile < p.row_tiles) {
            char* const b = shared(at.b + stage * kStage + parity * kParity + lane * 4);
            const Start start = Start::of(lds32(block + lane * 4));
            const uint32_t count = parity == 0 ? start.first : start.second;
            const uint32_t most = __reduce_max_sync(~0u, count);
            const char* from = shared(block + row_offset(parity == 0 ? 0 : start.begin) + (parity == 0 ? lane : start.stream) * 4);
            Chunk next;
            next.load(from, 0 < count);
#pragma unroll 2
            for (uint32_t i = 0; i < most; ++i) {
                const Chunk chunk = next;
                from += kRowBytes;
                next.load(from, i + 1 < count);
                chunk.add(b, own_sums);
            }
        }
        mbar_arrive(at.a_empty + 8 * index);
        mbar_arrive(at.b_empty + 8 * stage);
        if (++slot == p.a_slots) {
            slot = 0;
            a_phase ^= 1;
        }
        if (++stage == kStages) {
            stage = 0;
            b_phase ^= 1;
        }
        ++k_block;
        if (segment_ends) {
            float4 sum = take_sums(sums, lane);
            if (parity != 0) sts128(exchange, bits(sum));
            named_barrier(1 + r, 64);
            if (parity == 0) {
                const float4 other = lds_float4(exchange);
                sum = make_float4(sum.x + other.x, sum.y + other.y, sum.z + other.z, sum.w + other.w);
            }
            named_barrier(1 + r, 64);
            parts.begin(group);
            if (parity == 0 && tile < p.row_tiles && parts.reduce(&sum, lane)) {
                const uint32_t row = tile * kTileRows + lane * 4;
                // There is no second column.
                store_2x2<2>(p, row, row + 1, 0, p.n, make_float4(sum.x, 0.f, sum.y, 0.f));
                store_2x2<2>(p, row + 2, row + 3, 0, p.n, make_float4(sum.z, 0.f, sum.w, 0.f));
            }
            k_block = 0;
            ++group;
        }
    }
}
#endif

__device__ __forceinline__ void spmv(const FlSpmmParams& p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    let_dependents_begin();
    const uint32_t base = kept(smem_addr(smem)), warp = warp_number(), lane = threadIdx.x % 32;
    const uint32_t tiles = p.group_tiles, workers = tiles * kWarps;
    Addresses at;
    at.ready = base + kBarrierBytes - 8;
    at.b_full = base;
    at.b_empty = at.b_full + 8 * kStages;
    at.a_full = at.b_empty + 8 * kStages;
    at.a_empty = at.a_full + kEmpty;
    at.b = base + kBarrierBytes;
    at.sums = at.b + kRing;
    at.exchange = at.sums + workers * kSums;
    at.a = at.exchange + tiles * kExchange;
    const StreamK line(p, (p.row_tiles + tiles - 1) / tiles);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    LoadA load_a(p, unit0, unit1);
    if (warp == workers) {
        if (lane == 0) mbar_init(at.ready, kWarpLanes);
        if (lane < kStages) mbar_init(at.b_full + 8 * lane, kWarpLanes);
    } else if (warp > workers) {
        if (lane < kStages) mbar_init(at.b_empty + 8 * lane, kWarpLanes * workers);
    } else {
        const uint32_t r = warp / kWarps;
        if (warp % kWarps == 0)
            load_a.first(at, r, lane);
        else if (lane < p.a_slots)
            mbar_init(at.a_empty + 8 * (r * p.a_slots + lane), kWarpLanes * kWarps);
        for (uint32_t i = lane * 16; i < kSums; i += 512) sts128(at.sums + warp * kSums + i, make_uint4(0, 0, 0, 0));
    }
    __syncwarp();
    __syncthreads();
    if (warp < workers)
        multiply(p, at, line, unit0, unit1, warp, lane);
    else if (warp == workers)
        load_a.run(at, lane);
    else
        load_b(p, at, line, unit0, unit1, lane);
#endif
}

}  // namespace

extern "C" __global__ void __launch_bounds__(320, 1)
    FL_ENTRY(fl_spmm_banked_, _vector_sm90)(const __grid_constant__ FlSpmmParams p) {
    spmv(p);
}
