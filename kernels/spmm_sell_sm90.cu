// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in SELL, 16-bit in, fp32 accumulation, Hopper.
// For every non-zero the row of B that it meets is gathered from shared memory: work and bytes are those of the non-zeros.
//
// Blocks:   persistent grid (CTAs, N / 8). Uneven rows (p.deals_tiles): every CTA gets tiles of 32 rows that have about as many
//           bytes as any other's, up to T = p.group_tiles at a time. Else a row group is T tiles, and the units (row group, block of
//           2048 columns) are dealt to the CTAs (fl_streamk.cuh). A CTA walks the blocks of its tiles along K; in each,
//           whatever consumer warp is free takes the next slice of four rows. Four more warps bring B.
// Shared:   [0, 1024)   the number of the next slice, and mbarriers full[] of the consumers' rings
//           [1024, ..)  sums, 2 x T x 1 KB: of the even and of the odd blocks of K, as m16n8 accumulators
//           [.., ..)    directory, 8 bytes a slice: where it is, how long, and which rows it has
//           [.., ..)    mbarriers, full[] and done[] of every block of K
//           [.., ..)    B, 2 x 64 KB: two blocks of K, each twice (docs/format-sell.md): 512 places of 8 lanes of 16 bytes,
//                       which are 8 columns of N
//           [.., ..)    A rings, 2 packets a consumer warp
// Pipeline: warps B   B0 B1 | all slices of block 0 done: B2 | of block 1: B3 ...        four warps, through registers
//           warp      packet there: 4 x (deltas -> addresses -> ldmatrix), mma one group behind | next packet asked for ...
//           A warp copies its own packets, from the slice it has and from the one it has next. The sum of a slice
//           is added to those of its rows: a row is in one slice of a block, and block k + 2 waits for block k, so
//           that sums are the same bits every time. Each block of K has its barriers, of which each use is a phase: a CTA's
//           first tiles may lack the last blocks, which then are a phase behind.
// Budget:   a step of 32 non-zeros: wavefronts of shared memory 4 (ldmatrix) + 0.5 (values) + 0.2 (deltas) + 0.7 (the copy).
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0 (the host packs
//           B otherwise).

#include "fl_sell_product.cuh"
#include "fl_streamk.cuh"

namespace {

using namespace fl;
using namespace fl::sell;

constexpr uint32_t kWarps = 16;   // that multiply
constexpr uint32_t kLoaders = 4;  // of B
constexpr uint32_t kBarrierBytes = 1024, kRingBarriers = 64;
constexpr uint32_t kEntry = 8;               // bytes of the directory
constexpr uint32_t kPlace = kLanes * 16;     // bytes of shared memory
constexpr uint32_t kB = kBlockCols / 8 * 2 * kPlace;
constexpr uint32_t kPackets = 2;             // of a warp
constexpr uint32_t kLengthMask = 0xfff;      // of the second word of an entry: its length in units of kEndUnit
constexpr uint32_t kLoadersBegin = 1, kBegin = 2, kConsumers = 3;  // named barriers
constexpr uint32_t kDeltaBytes = 3 * kWordBytes;  // of a full packet

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

struct Addresses {
    uint32_t full, done, next, sums, directory, b;
};

// The first tile whose blocks begin at or after a CTA's share of all bytes, for this CTA and the next. Half a warp looks for
// each, first where it is if all tiles have alike.
__device__ __forceinline__ uint2 tiles_by_bytes(const FlSpmmParams& p, uint32_t lane) {
    const uint32_t* table = reinterpret_cast<const uint32_t*>(p.table);
    const uint32_t cta = blockIdx.x + lane / 16, among = lane % 16;
    const int tiles = static_cast<int>(p.row_tiles);
    const uint64_t share = static_cast<uint64_t>(table[static_cast<uint64_t>(p.row_tiles) * p.k_blocks]) * cta;
    // How many of 16 tiles, `step` apart from `from` on, come before.
    auto before = [&](int from, int step, int last) {
        const int tile = min(from + static_cast<int>(among) * step, last);
        const uint32_t starts = table[static_cast<uint64_t>(tile) * p.k_blocks];
        const uint32_t votes = __ballot_sync(~0u, static_cast<uint64_t>(starts) * gridDim.x < share);
        return static_cast<int>(__popc(votes >> (lane / 16 * 16) & 0xffff));
    };
    const int likely = static_cast<int>(static_cast<float>(tiles) * static_cast<float>(cta) / static_cast<float>(gridDim.x));
    const int from = max(min(likely - 8, tiles - 15), 0);
    const int near = before(from, 1, tiles);
    // `low` comes before, `high` does not.
    int low = near == 0 ? -1 : min(from + near - 1, tiles - 1), high = near == 16 ? tiles : min(from + near, tiles);
    while (__any_sync(~0u, high - low > 1)) {
        const int step = max((high - low + 15) / 16, 1), n = before(low + step, step, high);
        const int next_low = low + n * step;
        high = min(next_low + step, high);
        low = min(next_low, high - 1);
    }
    return make_uint2(__shfl_sync(~0u, high, 0), __shfl_sync(~0u, high, 16));
}

// What a CTA works on at a time: some tiles, and of those some blocks along K.
struct Work {
    uint32_t tile, tiles, first, blocks;
};

// All of it: whole tiles, or units of row groups.
struct Share {
    const FlSpmmParams& p;
    uint32_t now, end, at_once;

    __device__ __forceinline__ Share(const FlSpmmParams& params, const StreamK& line, uint32_t lane) : p(params) {
        if (p.deals_tiles) {
            const uint2 tiles = tiles_by_bytes(p, lane);
            const uint32_t count = tiles.y - tiles.x, turns = max((count + p.group_tiles - 1) / p.group_tiles, 1u);
            now = tiles.x, end = tiles.y, at_once = (count + turns - 1) / turns;
        } else {
            now = line.first_unit(blockIdx.x), end = line.first_unit(blockIdx.x + 1), at_once = p.group_tiles;
        }
    }

    __device__ __forceinline__ bool any() const { return now < end; }

    __device__ __forceinline__ Work work() const {
        if (p.deals_tiles) return Work{now, min(at_once, end - now), 0, p.k_blocks};
        const uint32_t tile = group_of(p, now) * at_once, first = block_of(p, now);
        return Work{tile, min(at_once, p.row_tiles - tile), first, min(p.k_blocks - first, end - now)};
    }

    __device__ __forceinline__ void advance(const Work& w) { now += p.deals_tiles ? w.tiles : w.blocks; }
};

// The parity of the barriers of block i, after `turn` earlier works of this CTA, of which the first had `first_blocks`.
__device__ __forceinline__ uint32_t parity(uint32_t turn, uint32_t first_blocks, uint32_t i) { return (turn ^ (i >= first_blocks ? 1 : 0)) & 1; }

// One of the warps that bring B: the work's blocks of K, into either place in turn.
__device__ __forceinline__ void load_b(const FlSpmmParams& p, const Addresses& at, const Work& work, uint32_t turn, uint32_t first_blocks, uint32_t slice,
                                       uint32_t loader, uint32_t lane) {
    constexpr uint32_t kPieces = kBlockCols / 32 / kLoaders, kBatch = 8;  // 8 columns of N x 32 of K
    const uint32_t n = slice * 8 + lane / 4;
    const char* b = reinterpret_cast<const char*>(p.b) + 2 * static_cast<int64_t>(n) * p.b_stride_n;
    // Register i of a lane has the columns 2 i, 2 i + 1 of its octet: of the i-th matrix the row c is column
    // 2 i + c % 2 of octet c / 2.
    const uint32_t i = lane / 8, c = lane % 8;
    const uint32_t lacking = (p.group_tiles - work.tiles) * kSlices * kWarpLanes;
    for (uint32_t block = 0; block < work.blocks; ++block) {
        const uint32_t to = at.b + block % 2 * kB;
#pragma unroll 1
        for (uint32_t batch = 0; batch < kPieces; batch += kBatch) {
            uint4 v[kBatch];
#pragma unroll
            for (uint32_t j = 0; j < kBatch; ++j) {
                const uint32_t k = (work.first + block) * kBlockCols + (loader * kPieces + batch + j) * 32 + lane % 4 * 8;
                v[j] = n < p.n && k < p.k ? __ldcg(reinterpret_cast<const uint4*>(b + 2 * k)) : make_uint4(0, 0, 0, 0);
            }
            if (batch == 0 && block >= 2) mbar_wait(at.done + 8 * (block - 2), parity(turn, first_blocks, block - 2));
#pragma unroll
            for (uint32_t j = 0; j < kBatch; ++j) {
                const uint32_t octet = (loader * kPieces + batch + j) * 4 + c / 2;
                const uint32_t home = (2 * i + c % 2) ^ s(octet);
                const uint32_t r[4] = {v[j].x, v[j].y, v[j].z, v[j].w};
                const uint32_t place = to + octet * 2 * kPlace;
                stmatrix4_trans(place + home * 16, r);
                stmatrix4_trans(place + kPlace + (home ^ d(octet)) * 16, r);
            }
        }
        mbar_arrive(at.full + 8 * block);
        // For tiles that there are not.
        if (lacking != 0 && loader == 0 && lane == 0) mbar_arrive(at.done + 8 * block, lacking);
    }
}

// Where the slices of the blocks are, for the consumers: of T tiles entry i is of slice i / T % 8 of tile i % T of block i / (8 T).
// The longest come first, so that warps end a block together.
__device__ __forceinline__ void fill_directory(const FlSpmmParams& p, const Addresses& at, const Work& work) {
    const uint32_t slices = work.tiles * kSlices;
    for (uint32_t i = threadIdx.x; i < work.blocks * slices; i += kWarps * 32) {
        const uint32_t tile = work.tile + i % slices / kSlices, j = i % kSlices;
        const uint64_t block = static_cast<uint64_t>(tile) * p.k_blocks + work.first + i / slices;
        const uint32_t start = reinterpret_cast<const uint32_t*>(p.table)[block];
        const unsigned char* head = reinterpret_cast<const unsigned char*>(p.data) + static_cast<uint64_t>(start) * kUnit;
        const uint16_t* ends = reinterpret_cast<const uint16_t*>(head);
        const uint32_t from = j == 0 ? 0 : ends[j - 1], to = ends[j];
        const uint32_t rows = *reinterpret_cast<const uint32_t*>(head + kOrderOffset + 4 * j);
        const uint32_t begin = start * (kUnit / kEndUnit) + kHeadBytes / kEndUnit + from;
        const uint32_t what = (to - from) | (rows & 31) << 12 | (rows >> 8 & 31) << 17 | (rows >> 16 & 31) << 22 | (rows >> 24 & 31) << 27;
        sts64(at.directory + (i / slices * slices + j * work.tiles + i % slices / kSlices) * kEntry, begin, what);
    }
}

// The packets of slices on their way into a warp's two places: of the slice that it has, then of the next one.
struct Ring {
    uint32_t full, data;    // of this warp
    uint32_t taken = 0;     // packets so far
    uint32_t flying = 0;    // asked for, not yet taken
    uint32_t from = 0, left = 0;  // what is left of the slice that is being copied, in pieces

    __device__ __forceinline__ Ring(uint32_t barriers, uint32_t packets) : full(barriers), data(packets) {}

    __device__ __forceinline__ void open(const uint2& entry) {
        from = entry.x;
        left = entry.y & kLengthMask;
    }

    // Asks for the next packet, if there is a place and one is left.
    __device__ __forceinline__ bool copy(const FlSpmmParams& p, uint32_t lane) {
        if (left == 0 || flying == kPackets) return false;
        const uint32_t pieces = min(left, kPacketBytes / kEndUnit), place = (taken + flying) % kPackets;
        if (lane == 0) {
            mbar_expect_tx(full + 8 * place, pieces * kEndUnit);
            bulk_load(data + place * kPacketBytes, reinterpret_cast<const char*>(p.data) + static_cast<uint64_t>(from) * kEndUnit,
                      pieces * kEndUnit, full + 8 * place);
        }
        from += pieces;
        left -= pieces;
        ++flying;
        return true;
    }

    // The packet that was asked for first.
    __device__ __forceinline__ uint32_t wait() const {
        mbar_wait(full + 8 * (taken % kPackets), taken / kPackets % 2);
        return data + taken % kPackets * kPacketBytes;
    }

    __device__ __forceinline__ void release() {
        __syncwarp();
        --flying;
        ++taken;
    }
};

// A slice: its product with eight columns of B.
struct Slice : Product {
    uint32_t at;  // the address of the row of B that this lane gathered last

    __device__ __forceinline__ Slice(uint32_t b, uint32_t lane) : Product(lane), at(b + lane % kLanes * 16) {}

    // Gathers 32 rows for each of four steps, whose deltas are the bytes of `deltas`.
    __device__ __forceinline__ void gather(uint32_t deltas, uint32_t (&rows)[4][4]) {
        static_assert(kPlace == 0x80, "a delta of one is a place");
        const uint32_t second = __dp4a(deltas, 0x00008080u, at), third = __dp4a(deltas, 0x00808080u, at);
        const uint32_t first = __dp4a(deltas, 0x00000080u, at);
        at = __dp4a(deltas, 0x80808080u, at);
        ldmatrix4_trans(rows[0], first);
        ldmatrix4_trans(rows[1], second);
        ldmatrix4_trans(rows[2], third);
        ldmatrix4_trans(rows[3], at);
    }

    // A packet of 16 steps: each group of four is multiplied while the next one is gathered.
    __device__ __forceinline__ void full_packet(uint32_t packet, uint32_t lane) {
        const uint32_t words = packet + lane * 4, values = packet + kDeltaBytes + own_pairs(lane);
        const uint32_t w0 = lds32(words), w1 = lds32(words + 128), w2 = lds32(words + 256);
        uint32_t rows[2][4][4];
        uint2 v[2];
        gather(deltas_of(0, w0, w1, w2), rows[0]);
        v[0] = lds64(values);
#pragma unroll
        for (uint32_t group = 0; group < 4; ++group) {
            if (group + 1 < 4) {
                gather(deltas_of(group + 1, w0, w1, w2), rows[(group + 1) % 2]);
                v[(group + 1) % 2] = lds64(values + (group + 1) * kGroupBytes);
            }
            multiply(rows[group % 2], v[group % 2]);
        }
    }

    // The last packet of a slice, of fewer steps.
    __device__ __forceinline__ void last_packet(uint32_t packet, uint32_t bytes, uint32_t lane) {
        const uint32_t steps = packet_steps(bytes), words = words_of(steps);
        const uint32_t from = packet + lane * 4, values = packet + words * kWordBytes;
        const uint32_t w0 = lds32(from), w1 = words > 1 ? lds32(from + kWordBytes) : 0, w2 = words > 2 ? lds32(from + 2 * kWordBytes) : 0;
#pragma unroll 1
        for (uint32_t group = 0; group * 4 < steps; ++group) {
            const uint32_t there = steps - group * 4, here = values + group * kGroupBytes;
            uint32_t rows[4][4];
            gather(deltas_of(group, w0, w1, w2), rows);
            if (there >= 4) {
                multiply(rows, lds64(here + own_pairs(lane)));
            } else {
                const uint32_t own = here + own_values(lane);
                multiply(rows, lds32(own), there > 1 ? lds32(own + kStepBytes) : 0, there > 2 ? lds32(own + 2 * kStepBytes) : 0);
            }
        }
    }
};

// A consumer warp: slices of the work's blocks.
__device__ __forceinline__ void multiply(const FlSpmmParams& p, const Addresses& at, Ring& ring, const Work& work, uint32_t turn, uint32_t first_blocks,
                                         uint32_t warp, uint32_t lane) {
    const uint32_t slices = work.tiles * kSlices, entries = work.blocks * slices;
    auto entry_of = [&](uint32_t i) { return i < entries ? lds64(at.directory + i * kEntry) : make_uint2(0, 0); };
    uint32_t index = warp, next = warp + kWarps, block = 0;
    bool next_is_open = false;
    ring.open(entry_of(index));
    // Fills the ring from this slice, then from the next one.
    auto copy = [&] {
        if (ring.left == 0 && !next_is_open) {
            next_is_open = true;
            ring.open(entry_of(next));
        }
        return ring.copy(p, lane);
    };
    while (copy()) {
    }
    while (index < entries) {
        while (index >= (block + 1) * slices) ++block;
        mbar_wait(at.full + 8 * block, parity(turn, first_blocks, block));
        Slice slice(at.b + block % 2 * kB, lane);
        uint32_t pieces = entry_of(index).y & kLengthMask;
        while (pieces >= kPacketBytes / kEndUnit) {
            slice.full_packet(ring.wait(), lane);
            ring.release();
            pieces -= kPacketBytes / kEndUnit;
            copy();
        }
        if (pieces != 0) {
            slice.last_packet(ring.wait(), pieces * kEndUnit, lane);
            ring.release();
            copy();
        }
        const uint32_t row = entry_of(index).y >> (12 + lane % 4 * 5) & 31;
        const uint32_t sum = at.sums + ((block % 2) * p.group_tiles + (index - block * slices) % work.tiles) * kSums + sum_offset(row, lane / 4);
        const float v = slice.sum(lane);
        sts32(sum, __float_as_uint(block < 2 ? v : v + __uint_as_float(lds32(sum))));
        mbar_arrive(at.done + 8 * block);
        index = next;
        if (lane == 0) asm volatile("atom.shared.add.u32 %0, [%1], 1;" : "=r"(next) : "r"(at.next) : "memory");
        next = __shfl_sync(~0u, next, 0);
        if (!next_is_open) ring.open(entry_of(index));
        next_is_open = false;
        while (copy()) {
        }
    }
}

// The end of a tile: its sums of the blocks of K that this CTA had, those of others, and C.
__device__ __forceinline__ void finish(const FlSpmmParams& p, const Addresses& at, const StreamK& line, const Work& work, uint32_t tile, uint32_t slice,
                                       uint32_t lane) {
    const uint32_t sums = at.sums + tile * kSums, own = sums + lane * 16;
    const uint32_t row0 = (work.tile + tile) * kTileRows;
    if (work.blocks > 1) {
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i) {
            const float4 a = lds_float4(own + i * 512), b = lds_float4(own + i * 512 + p.group_tiles * kSums);
            sts128(own + i * 512, bits(make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w)));
        }
    }
    bool last = p.deals_tiles;
    if (!last) {
        Parts<2> parts(p, line, blockIdx.x, tile, p.group_tiles, slice);
        parts.begin(work.tile / p.group_tiles);
        last = parts.reduce(own, lane);
    }
    if (last)
        store_m16n8_sums<1, false>(
            p, sums, 2, lane, [&](uint32_t i) { return row0 + i * 16; }, [&](uint32_t) { return slice * 8; });
}
#endif

__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    let_dependents_begin();
    extern __shared__ __align__(128) unsigned char smem[];
    const StreamK line(p, (p.row_tiles + p.group_tiles - 1) / p.group_tiles);
    const uint32_t base = kept(smem_addr(smem)), warp = warp_number(), lane = threadIdx.x % 32;
    constexpr uint32_t kThreads = (kWarps + kLoaders) * 32;
    const uint32_t slice = blockIdx.y;
    Addresses at;
    at.next = base;
    at.sums = base + kBarrierBytes;
    at.directory = at.sums + 2 * p.group_tiles * kSums;
    at.full = at.directory + p.k_blocks * p.group_tiles * kSlices * kEntry;
    at.done = at.full + p.k_blocks * 8;
    at.b = (at.done + p.k_blocks * 8 + 127) / 128 * 128;
    Share share(p, line, lane);
    const uint32_t first_blocks = share.any() ? share.work().blocks : 0;
    if (warp >= kWarps) {
        const uint32_t loader = warp - kWarps;
        for (uint32_t i = loader * 32 + lane; i < p.k_blocks; i += 32 * kLoaders) {
            mbar_init(at.full + 8 * i, kWarpLanes * kLoaders);
            mbar_init(at.done + 8 * i, p.group_tiles * kSlices * kWarpLanes);
        }
        named_barrier(kLoadersBegin, 32 * kLoaders);
        if (share.any()) named_barrier_arrive(kBegin, kThreads);
        wait_for_earlier_work();
        if (loader == 0 && !p.deals_tiles) prepare_counters(line, slice, 0, p.group_tiles, p.group_tiles, lane);
        for (uint32_t turn = 0, before = 0; share.any(); ++turn) {
            const Work work = share.work();
            // Both places are those of the work before.
            for (uint32_t i = before < 2 ? 0 : before - 2; i < before; ++i) mbar_wait(at.done + 8 * i, parity(turn - 1, first_blocks, i));
            load_b(p, at, work, turn, first_blocks, slice, loader, lane);
            before = work.blocks;
            share.advance(work);
        }
        return;
    }
    const uint32_t barriers = base + kRingBarriers + warp * kPackets * 8;
    if (lane < kPackets) mbar_init(barriers + 8 * lane, 1);
    mbar_init_fence();
    Ring ring(barriers, at.b + 2 * kB + warp * kPackets * kPacketBytes);
    for (uint32_t turn = 0; share.any(); ++turn) {
        const Work work = share.work();
        // The directory and the sums were those of other tiles.
        if (turn != 0) named_barrier(kConsumers, 32 * kWarps);
        fill_directory(p, at, work);
        if (threadIdx.x == 0) sts32(at.next, 2 * kWarps);
        // The first time also for what the loaders have made.
        named_barrier(turn == 0 ? kBegin : kConsumers, turn == 0 ? kThreads : 32 * kWarps);
        multiply(p, at, ring, work, turn, first_blocks, warp, lane);
        // All slices of the last block of either parity.
        for (uint32_t i = work.blocks < 2 ? 0 : work.blocks - 2; i < work.blocks; ++i) mbar_wait(at.done + 8 * i, parity(turn, first_blocks, i));
#pragma unroll 1
        for (uint32_t tile = warp; tile < work.tiles; tile += kWarps) finish(p, at, line, work, tile, slice, lane);
        share.advance(work);
    }
#endif
}

}  // namespace

extern "C" __global__ void __launch_bounds__((kWarps + kLoaders) * 32, 1)
    FL_ENTRY(fl_spmm_sell_, _n1_sm90)(const __grid_constant__ FlSpmmParams p) {
    spmm(p);
}

// As above for products of a group, each with columns of its own number.
extern "C" __global__ void __launch_bounds__((kWarps + kLoaders) * 32, 1)
    FL_ENTRY(fl_spmm_sell_, _n1_sm90_group)(const __grid_constant__ FlSpmmGroup g) {
    const FlSpmmParams& p = g.p[blockIdx.z];
    if (blockIdx.y * 8 < p.n) spmm(p);
}
