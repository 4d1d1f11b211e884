// SPDX-License-Identifier: Apache-2.0
//
// Conversion between dense matrices and SELL (docs/format-sell.md; src/format/sell.rs is the specification).
//
//   fl_convert_sell_size    dense -> units and non-zeros of every block
//   fl_convert_sell_encode  dense, table -> header, table, blocks: the bytes of the host's encoder
//   fl_convert_sell_unpack  blocks -> dense, or compared with dense, or checked
//
// Blocks:   one CTA a block of 32 x 2048 elements, walked in chunks of 64 columns, in which d(q) is one number: the
//           lanes of a row are then four pairs, {g, g ^ d}, and nothing that happens in one pair matters to another.
//           Sizing, a thread has a pair, a warp eight rows; 128 threads. Encoding and unpacking, a warp has a slice and
//           thread 8 j + g lane g of its row j; 256 threads.
// Shared:   `Plan`; for each warp a window of its four rows, which is two chunks, and its lanes' packets' deltas; and
//           where a block is encoded, which places each lane takes.
// The dealing of elements to lanes is serial along a row. A thread keeps the count and the last place of a lane in one
// number, which is compared as the specification compares the two, and its partner's beside it, so that it asks
// another thread once a chunk.
// Encoding deals first, for the order of the rows and the ends of the slices; then every byte is written once.
// Checking encodes what each window decodes to, and compares instead of writing. What a damaged block says leads to
// other places of the window, never out of it.
// A dense matrix that was changed after its analysis cannot make a block larger or smaller: a block that no longer
// has the size in the table is written as one of zeros. One that changes while it is encoded has other values where it
// had elements when they were dealt.

#include "fl_convert.cuh"
#include "fl_sell.cuh"

namespace {

using namespace fl::convert;
using namespace fl::sell;

constexpr uint32_t kWarps = kThreads / 32;
static_assert(kWarps == kSlices, "a warp has a slice");
constexpr uint32_t kPairs = kLanes / 2;
constexpr uint32_t kSizeThreads = kTileRows * kPairs;

constexpr uint32_t kChunkOctets = 8;
constexpr uint32_t kChunkCols = 8 * kChunkOctets;
constexpr uint32_t kChunkPlaces = 2 * kChunkOctets;
// What a warp stages of its rows at a time: the wider, the less the threads of a warp wait for the one that has most.
constexpr uint32_t kWindowChunks = 2;
constexpr uint32_t kWindowCols = kWindowChunks * kChunkCols;
constexpr uint32_t kWindowPlaces = kWindowChunks * kChunkPlaces;
static_assert(kWindowPlaces == 32, "a mask of them is one word");
constexpr uint32_t kWindows = kBlockCols / kWindowCols;
// A staged row: its elements and the masks of its octets, which let four rows lie in different banks.
constexpr uint32_t kMasksOffset = 2 * kWindowCols;
constexpr uint32_t kStageRow = kMasksOffset + kWindowChunks * kChunkOctets;
// Words of a lane's deltas, a byte each: of the packet that is read, and of the last two that are written, which are
// flushed once a window; one more, so that the lanes' lie in different banks.
constexpr uint32_t kReadWords = kPacketSteps / 4 + 1;
constexpr uint32_t kWrittenSteps = 2 * kPacketSteps;
constexpr uint32_t kWrittenWords = kWrittenSteps / 4 + 1;

// A lane's key: entries * kEntry + last place.
constexpr uint32_t kEntry = kPlaces;

struct Plan {
    uint32_t steps[kTileRows];   // by row; checking, by place in the order
    uint32_t slice[kSlices];     // steps
    uint32_t ends[kSlices];      // bytes from the first slice on
    uint32_t nnz[kWarps];
    uint8_t order[kTileRows];
};

struct alignas(16) Stage {
    uint8_t rows[kSliceRows * kStageRow];
    uint32_t written[32 * kWrittenWords];
};

struct alignas(16) ReadStage {
    Stage stage;
    uint32_t read[32 * kReadWords];
};

// By row and window, the places that each lane takes, a bit each.
using Taken = uint32_t[kTileRows][kWindows][kLanes];

// The first row and column of this CTA's block, and its chunks and windows that lie in the matrix.
struct Corner {
    int64_t row, col;
    uint32_t chunks, windows;
    __device__ explicit Corner(const FlConvertParams& p)
        : row(int64_t{blockIdx.x / p.blocks_across} * kTileRows),
          col(int64_t{blockIdx.x % p.blocks_across} * kBlockCols) {
        const int64_t cols = p.cols - col;
        chunks = (static_cast<uint32_t>(cols < kBlockCols ? cols : kBlockCols) + kChunkCols - 1) / kChunkCols;
        windows = (chunks + kWindowChunks - 1) / kWindowChunks;
    }
};

// Eight elements of a row; those outside the matrix become zero.
__device__ __forceinline__ uint4 load_octet(const FlConvertParams& p, int64_t row, int64_t col) {
    if (row >= p.rows || col >= p.cols) return make_uint4(0, 0, 0, 0);
    const uint16_t* from = reinterpret_cast<const uint16_t*>(p.dense) + place(p, row, col);
    const int64_t left = p.cols - col;
    if (p.vectors && left >= 8) return *reinterpret_cast<const uint4*>(from);
    const int64_t stride = p.col_major ? p.ld : 1;
    uint32_t e[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) e[i] = i < left ? from[i * stride] : 0;
    return make_uint4(e[0] | e[1] << 16, e[2] | e[3] << 16, e[4] | e[5] << 16, e[6] | e[7] << 16);
}

__device__ __forceinline__ void store_octet(const FlConvertParams& p, int64_t row, int64_t col, uint4 e) {
    if (row >= p.rows || col >= p.cols) return;
    uint16_t* to = reinterpret_cast<uint16_t*>(p.dense) + place(p, row, col);
    const int64_t left = p.cols - col;
    if (p.vectors && left >= 8) {
        *reinterpret_cast<uint4*>(to) = e;
        return;
    }
    const int64_t stride = p.col_major ? p.ld : 1;
    const uint32_t words[4] = {e.x, e.y, e.z, e.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        if (i < left) to[i * stride] = static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2)));
    }
}

// Bit x: element x of the octet is stored.
__device__ __forceinline__ uint32_t octet_mask(uint4 e) {
    const uint32_t t = nonzero(e.x) | nonzero(e.y) << 2 | nonzero(e.z) << 4 | nonzero(e.w) << 6;
    return (t | t >> 15) & 0xff;
}

// A lane takes its element at place 2 q, or the one at 2 q + 1, or both, or none.
template <bool kFillers>
__device__ __forceinline__ void append(uint32_t& key, uint32_t q, bool own, bool moved) {
    if (kFillers && (own || moved)) {
        const uint32_t gap = 2 * q + (own ? 0 : 1) - key % kEntry;
        if (gap > kMostDelta) key += (gap - 1) / kMostDelta * kEntry;
    }
    // One more entry, whose place is in place of the last one's.
    if (own) key = (key | (kEntry - 1)) + 1 + 2 * q;
    if (moved) key = (key | (kEntry - 1)) + 2 + 2 * q;
}

// The keys of two lanes a and b = a ^ d, of which a is the one without the highest bit of d.
struct Pair {
    uint32_t a, b;
};

// The pairs of a chunk: pair t is of lanes a(t) and a(t) ^ d.
struct Pairing {
    uint32_t d, top;
    __device__ explicit Pairing(uint32_t chunk)
        : d(fl::sell::d(kChunkOctets * chunk)), top(d >= 4 ? 4 : d >= 2 ? 2 : 1) {}

    __device__ __forceinline__ uint32_t a(uint32_t t) const { return t % top + t / top * top * 2; }
    __device__ __forceinline__ bool is_b(uint32_t lane) const { return (lane & top) != 0; }
    __device__ __forceinline__ uint32_t a_of(uint32_t lane) const { return is_b(lane) ? lane ^ d : lane; }
    __device__ __forceinline__ uint32_t pair_of(uint32_t lane) const {
        return a_of(lane) % top + a_of(lane) / 2 / top * top;
    }
};

// Deals a chunk's elements, of which `low` and `high` are the masks of its octets, to a pair of lanes. Returns the
// places that each has taken: bits of lane a, and from 16 on those of lane b.
template <uint32_t kTop, bool kFillers>
__device__ __forceinline__ uint32_t deal_octets(Pair& pair, uint32_t a, uint32_t d, uint32_t low, uint32_t high,
                                                uint32_t chunk) {
    uint32_t taken = 0;
#pragma unroll
    for (uint32_t o = 0; o < kChunkOctets; ++o) {
        // Each of the two elements that the lanes may have is at home in one of them.
        const uint32_t mask = o < 4 ? low : high, at = a ^ (s(o) + o % 4 * 8);
        const bool at_a = mask >> at & 1, at_b = mask >> (at ^ d) & 1;
        const bool a_first = (s(o) & kTop) == 0;
        // By how much the second one's lane is ahead of the first one's, until one of them takes the first element.
        const bool in_first = a_first ? at_a : at_b, in_second = a_first ? at_b : at_a;
        const int32_t ahead = static_cast<int32_t>(a_first ? pair.b - pair.a : pair.a - pair.b);
        const bool stays = in_first && ahead >= 0, leaves = in_first && ahead < 0;
        const int32_t enough = stays ? kEntry : leaves ? -static_cast<int32_t>(kEntry) : 0;
        const bool crosses = in_second && ahead > enough, remains = in_second && ahead <= enough;
        const bool a_own = a_first ? stays : remains, a_moved = a_first ? crosses : leaves;
        const bool b_own = a_first ? remains : stays, b_moved = a_first ? leaves : crosses;
        append<kFillers>(pair.a, kChunkOctets * chunk + o, a_own, a_moved);
        append<kFillers>(pair.b, kChunkOctets * chunk + o, b_own, b_moved);
        if (a_own) taken |= 1u << (2 * o);
        if (a_moved) taken |= 2u << (2 * o);
        if (b_own) taken |= 0x10000u << (2 * o);
        if (b_moved) taken |= 0x20000u << (2 * o);
    }
    return taken;
}

// The same where the highest bit of d, which says of each octet whose element comes first, is not known. A whole warp
// calls it: mostly no lane of a warp needs fillers, which are then not thought of.
__device__ __forceinline__ uint32_t deal(Pair& pair, const Pairing& pairing, uint32_t a, uint32_t low, uint32_t high,
                                         uint32_t chunk) {
    const uint32_t a_last = pair.a % kEntry, b_last = pair.b % kEntry;
    const uint32_t reach = (a_last < b_last ? a_last : b_last) + kMostDelta + 1;
    if (__ballot_sync(kAll, reach < kChunkPlaces * (chunk + 1)) != 0) {
        if (pairing.top == 4) return deal_octets<4, true>(pair, a, pairing.d, low, high, chunk);
        if (pairing.top == 2) return deal_octets<2, true>(pair, a, pairing.d, low, high, chunk);
        return deal_octets<1, true>(pair, a, pairing.d, low, high, chunk);
    }
    if (pairing.top == 4) return deal_octets<4, false>(pair, a, pairing.d, low, high, chunk);
    if (pairing.top == 2) return deal_octets<2, false>(pair, a, pairing.d, low, high, chunk);
    return deal_octets<1, false>(pair, a, pairing.d, low, high, chunk);
}

struct RowSize {
    uint32_t steps, nnz;
};

// Deals row 8 warp + lane / 4 of the block; each of its four threads receives its steps, and has its own part of the
// non-zeros. `taken` may be null. A whole warp calls it.
__device__ __forceinline__ RowSize measure(const FlConvertParams& p, const Corner& corner, Taken* taken, uint32_t warp,
                                           uint32_t lane) {
    const uint32_t tile_row = 8 * warp + lane / kPairs;
    const int64_t row = corner.row + tile_row;
    const uint32_t t = lane % kPairs, base = lane - t;
    const int64_t col = corner.col + 8 * t;
    uint4 low = load_octet(p, row, col), high = load_octet(p, row, col + 8 * kPairs);
    Pair pair = {0, 0};
    uint32_t nnz = 0;
    for (uint32_t chunk = 0; chunk < corner.chunks; ++chunk) {
        uint32_t masks[2] = {octet_mask(low) << (8 * t), octet_mask(high) << (8 * t)};
        nnz += __popc(masks[0]) + __popc(masks[1]);
        if (chunk + 1 < corner.chunks) {
            low = load_octet(p, row, col + kChunkCols * (chunk + 1));
            high = load_octet(p, row, col + kChunkCols * (chunk + 1) + 8 * kPairs);
        }
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i) {
            masks[i] |= __shfl_sync(kAll, masks[i], lane ^ 1);
            masks[i] |= __shfl_sync(kAll, masks[i], lane ^ 2);
        }
        const Pairing now(chunk), before(chunk + 7);
        const uint32_t a = now.a(t), b = a ^ now.d;
        const auto key_of = [&](uint32_t which) {
            const uint32_t from = base + before.pair_of(which);
            const uint32_t first = __shfl_sync(kAll, pair.a, from), second = __shfl_sync(kAll, pair.b, from);
            return before.is_b(which) ? second : first;
        };
        const uint32_t a_key = key_of(a), b_key = key_of(b);
        pair = {a_key, b_key};
        const uint32_t places = deal(pair, now, a, masks[0], masks[1], chunk);
        if (taken == nullptr) continue;
        uint16_t* to = reinterpret_cast<uint16_t*>((*taken)[tile_row][chunk / kWindowChunks]) + chunk % kWindowChunks;
        to[kWindowChunks * a] = static_cast<uint16_t>(places);
        to[kWindowChunks * b] = static_cast<uint16_t>(places >> 16);
    }
    uint32_t steps = (pair.a > pair.b ? pair.a : pair.b) / kEntry;
#pragma unroll
    for (uint32_t i = 1; i < kPairs; i *= 2) {
        const uint32_t other = __shfl_sync(kAll, steps, lane ^ i);
        steps = steps > other ? steps : other;
    }
    return {steps, nnz};
}

// Puts the steps of a warp's rows into the plan.
__device__ __forceinline__ void measure_rows(const FlConvertParams& p, const Corner& corner, Plan& plan, Taken* taken,
                                             uint32_t warp, uint32_t lane) {
    const RowSize size = measure(p, corner, taken, warp, lane);
    if (lane % kPairs == 0) plan.steps[8 * warp + lane / kPairs] = size.steps;
    const uint32_t nnz = __reduce_add_sync(kAll, size.nnz);
    if (lane == 0) plan.nnz[warp] = nnz;
}

// Order, steps and ends of the slices; returns the bytes of all of them. One warp; the rows' steps are complete.
__device__ __forceinline__ uint32_t plan_slices(Plan& plan, uint32_t lane) {
    const uint32_t steps = plan.steps[lane], at = rank(kMostSteps - steps, 9, lane);
    plan.order[at] = static_cast<uint8_t>(lane);
    if (at % kSliceRows == 0) plan.slice[at / kSliceRows] = steps;
    __syncwarp();
    const uint32_t end = inclusive(lane < kSlices ? slice_bytes(plan.slice[lane]) : 0, lane);
    if (lane < kSlices) plan.ends[lane] = end;
    return __shfl_sync(kAll, end, kSlices - 1);
}

// Where the values of a lane's steps are in its slice.
struct Values {
    uint32_t steps, whole, packets, words, full, part;

    __device__ Values(uint32_t slice_steps, uint32_t j, uint32_t g)
        : steps(slice_steps), whole(slice_steps & ~3u), packets(slice_steps & ~(kPacketSteps - 1)),
          words(words_of(slice_steps % kPacketSteps) * kWordBytes), full(64 * pos(j) + 16 * (g / 2) + 2 * (g % 2)),
          part(16 * pos(j) + 4 * (g / 2) + 2 * (g % 2)) {}

    __device__ __forceinline__ uint32_t offset(uint32_t n) const {
        const uint32_t at = n / kPacketSteps * kPacketBytes + n % kPacketSteps / 4 * (4 * kStepBytes);
        if (n < packets) return at + words_of(kPacketSteps) * kWordBytes + full + 4 * (n % 4);
        return at + words + (n < whole ? full + 4 * (n % 4) : part + kStepBytes * (n % 4));
    }
};

// Where a lane's places of a window are in a staged row.
struct Shifts {
    uint32_t g, first, second;  // by d of the chunks

    __device__ Shifts(uint32_t window, uint32_t lane)
        : g(lane % kLanes), first(d(kChunkOctets * kWindowChunks * window)),
          second(d(kChunkOctets * (kWindowChunks * window + 1))) {}

    // Byte offset of the element at a place.
    __device__ __forceinline__ uint32_t offset(uint32_t at) const {
        const uint32_t o = at / 2, apart = at < kChunkPlaces ? first : second;
        return 16 * o + 2 * (g ^ s(o) ^ (at % 2 == 0 ? 0 : apart));
    }
};

// What becomes of the bytes of a slice, and whether its steps are known to be those of its longest lane.
struct Writer {
    static constexpr bool kTrusts = true;
    uint8_t* slice;
    __device__ __forceinline__ void value(uint32_t at, uint32_t v) {
        *reinterpret_cast<uint16_t*>(slice + at) = static_cast<uint16_t>(v);
    }
    __device__ __forceinline__ void word(uint32_t at, uint32_t v) { *reinterpret_cast<uint32_t*>(slice + at) = v; }
};
struct Checker {
    static constexpr bool kTrusts = false;
    const uint8_t* slice;
    bool good;
    __device__ __forceinline__ void value(uint32_t at, uint32_t v) {
        good &= *reinterpret_cast<const uint16_t*>(slice + at) == v;
    }
    __device__ __forceinline__ void word(uint32_t at, uint32_t v) {
        good &= *reinterpret_cast<const uint32_t*>(slice + at) == v;
    }
};

// The encoder of one lane of a slice.
template <typename Sink>
struct Encoder {
    Sink sink;
    Values values;
    uint32_t* deltas;  // of the steps from `flushed` on
    uint32_t lane, n, flushed, last;

    __device__ Encoder(const Sink& to, uint32_t steps, uint32_t* words, uint32_t thread)
        : sink(to), values(steps, thread / kLanes, thread % kLanes), deltas(words + thread * kWrittenWords),
          lane(thread), n(0), flushed(0), last(0) {}

    __device__ __forceinline__ uint8_t& delta(uint32_t step) {
        return reinterpret_cast<uint8_t*>(deltas)[step % kWrittenSteps];
    }

    __device__ __forceinline__ void put(uint32_t gap, uint32_t value) {
        if constexpr (!Sink::kTrusts) {
            if (n >= values.steps) {
                sink.good = false;
                return;
            }
        }
        delta(n) = static_cast<uint8_t>(gap);
        sink.value(values.offset(n), value);
        ++n;
    }

    // The deltas of the last four steps of a full packet lie in the bits that those of the others leave.
    __device__ __forceinline__ void flush(uint32_t words) {
        const uint32_t at = flushed / kPacketSteps * kPacketBytes + 4 * lane;
        const uint32_t* from = deltas + flushed % kWrittenSteps / 4;
        const uint32_t pieces = from[3];
#pragma unroll
        for (uint32_t i = 0; i < 3; ++i) {
            if (i < words) sink.word(at + kWordBytes * i, from[i] | (pieces >> (2 * i) & 0x03030303u) << 6);
        }
        flushed += kPacketSteps;
    }

    // Appends the elements at the places of a staged window that the lane takes, a bit each.
    __device__ __forceinline__ void append(const uint8_t* stage, uint32_t window, uint32_t taken) {
        const Shifts shifts(window, lane);
        const uint8_t* row = stage + lane / kLanes * kStageRow;
        while (taken != 0) {
            // Only with many fillers, or few zeros, is there not room for all of a window.
            while (taken != 0 && n < flushed + kWrittenSteps) {
                const uint32_t bit = __ffs(taken) - 1, gap = kWindowPlaces * window + bit - last;
                const bool filler = gap > kMostDelta;
                const uint32_t step = filler ? kMostDelta : gap;
                const uint32_t value = *reinterpret_cast<const uint16_t*>(row + shifts.offset(bit));
                put(step, filler ? 0 : value);
                last += step;
                if (!filler) taken &= taken - 1;
            }
            while (n >= flushed + kPacketSteps) flush(words_of(kPacketSteps));
        }
    }

    // The rest of the slice.
    __device__ __forceinline__ void finish() {
        while (n < values.steps) {
            put(0, 0);
            if (n == flushed + kPacketSteps) flush(words_of(kPacketSteps));
        }
        if (n == flushed) return;
        const uint32_t words = words_of(n - flushed);
        for (; n < flushed + kPacketSteps; ++n) delta(n) = 0;
        flush(words);
    }
};

// The octets of a staged window that thread 8 j + g has: octet g of either chunk of row j.
__device__ __forceinline__ uint4& octet_of(uint8_t* stage, uint32_t lane, uint32_t chunk) {
    return reinterpret_cast<uint4*>(stage + lane / kLanes * kStageRow)[kChunkOctets * chunk + lane % kLanes];
}
__device__ __forceinline__ uint8_t& mask_of(uint8_t* stage, uint32_t lane, uint32_t chunk) {
    return stage[lane / kLanes * kStageRow + kMasksOffset + kChunkOctets * chunk + lane % kLanes];
}

// The places that a lane takes of a chunk whose octets have the masks at `octets`; updates its key. A whole warp calls
// it.
__device__ __forceinline__ uint32_t deal_again(uint32_t& key, const uint8_t* octets, uint32_t lane, uint32_t chunk) {
    const uint2 masks = *reinterpret_cast<const uint2*>(octets);
    const Pairing pairing(chunk);
    const uint32_t g = lane % kLanes, partner = __shfl_sync(kAll, key, lane ^ pairing.d);
    const bool is_b = pairing.is_b(g);
    // Both of a pair's threads deal to both of its lanes.
    Pair pair = {is_b ? partner : key, is_b ? key : partner};
    const uint32_t taken = deal(pair, pairing, pairing.a_of(g), masks.x, masks.y, chunk);
    key = is_b ? pair.b : pair.a;
    return is_b ? taken >> 16 : taken & 0xffff;
}

// The decoder of one lane of a slice: the entry that it has not delivered yet.
struct Decoder {
    const uint8_t* slice;
    Values values;
    uint32_t* deltas;
    uint32_t lane, n, place, value;

    __device__ Decoder(const uint8_t* from, uint32_t steps, uint32_t* words, uint32_t thread)
        : slice(from), values(steps, thread / kLanes, thread % kLanes), deltas(words + thread * kReadWords),
          lane(thread), n(0), place(0), value(0) {
        fetch();
    }

    __device__ __forceinline__ void fetch() {
        if (n >= values.steps) {
            place = ~0u;
            return;
        }
        if (n % kPacketSteps == 0) {
            const uint32_t* words = reinterpret_cast<const uint32_t*>(slice + n / kPacketSteps * kPacketBytes) + lane;
            const uint32_t left = values.steps - n;
            uint32_t pieces = 0;
#pragma unroll
            for (uint32_t i = 0; i < 3; ++i) {
                const uint32_t word = left > 4 * i ? words[i * (kWordBytes / 4)] : 0;
                deltas[i] = word & 0x3f3f3f3fu;
                pieces |= (word >> 6 & 0x03030303u) << (2 * i);
            }
            deltas[3] = pieces;
        }
        value = *reinterpret_cast<const uint16_t*>(slice + values.offset(n));
        place += reinterpret_cast<const uint8_t*>(deltas)[n % kPacketSteps];
    }

    // Puts the lane's elements of a window into the stage, which holds zeros. A damaged lane's places may be anywhere
    // behind the window, and then nothing is left of it.
    __device__ __forceinline__ void window(uint8_t* stage, uint32_t index) {
        const Shifts shifts(index, lane);
        uint8_t* row = stage + lane / kLanes * kStageRow;
        while (place < kWindowPlaces * (index + 1)) {
            // Fillers and padding are no elements.
            if ((value & 0x7fff) != 0) {
                *reinterpret_cast<uint16_t*>(row + shifts.offset(place % kWindowPlaces)) = static_cast<uint16_t>(value);
            }
            ++n;
            fetch();
        }
    }
};

// Whether bytes `from` to `to` of the block, in words, are zeros; one warp.
__device__ __forceinline__ bool zeros(const uint8_t* block, uint32_t from, uint32_t to, uint32_t lane) {
    bool good = true;
    for (uint32_t at = from + 4 * lane; at < to; at += 128) {
        good &= *reinterpret_cast<const uint32_t*>(block + at) == 0;
    }
    return good;
}

// Whether order and ends are those of rows with the steps in the plan, which are by places in the order; one warp.
__device__ __forceinline__ bool head_is_good(const Plan& plan, const uint8_t* block, uint32_t units, uint32_t lane) {
    const uint32_t steps = plan.steps[lane], row = plan.order[lane];
    const uint32_t next_steps = __shfl_down_sync(kAll, steps, 1), next_row = __shfl_down_sync(kAll, row, 1);
    bool good = lane == 31 || steps > next_steps || (steps == next_steps && row < next_row);
    // 32 powers of two add up to 32 ones only if each is there once.
    good &= __reduce_add_sync(kAll, 1u << row % kTileRows) == ~0u;
    const uint32_t bytes = lane % kSliceRows == 0 ? slice_bytes(steps) : 0, end = inclusive(bytes, lane);
    good &= lane % kSliceRows != 0 || end == plan.ends[lane / kSliceRows];
    const uint32_t all = __shfl_sync(kAll, end, 31);
    good &= units_of(all) == units;
    good &= zeros(block, kHeadUsed, kHeadBytes, lane);
    return good && zeros(block, kHeadBytes + all, units * kUnit, lane);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kSizeThreads)
    fl_convert_sell_size(const __grid_constant__ FlConvertParams p) {
    __shared__ Plan plan;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    measure_rows(p, Corner(p), plan, nullptr, warp, lane);
    __syncthreads();
    if (warp != 0) return;
    const uint32_t units = units_of(plan_slices(plan, lane));
    const uint32_t nnz = plan.nnz[0] + plan.nnz[1] + plan.nnz[2] + plan.nnz[3];
    if (lane == 0) {
        reinterpret_cast<uint32_t*>(p.table)[p.first_block + blockIdx.x] = units << FL_SELL_UNITS_SHIFT | nnz;
    }
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    fl_convert_sell_encode(const __grid_constant__ FlConvertParams p) {
    __shared__ Plan plan;
    __shared__ Stage stages[kWarps];
    __shared__ Taken taken;
    __shared__ uint32_t bytes;
    const uint64_t index = p.first_block + blockIdx.x;
    write_front(p, index);
    uint32_t start, units;
    if (!extent(p, index, 1, p.room, start, units)) return;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Corner corner(p);
    if (warp < kSizeThreads / 32) measure_rows(p, corner, plan, &taken, warp, lane);
    __syncthreads();
    if (warp == 0) {
        const uint32_t all = plan_slices(plan, lane);
        if (lane == 0) bytes = all;
    }
    __syncthreads();
    uint8_t* block = reinterpret_cast<uint8_t*>(p.data + uint64_t{start} * kUnit);
    const bool whole = units_of(bytes) == units;
    // The head, and the zeros behind the slices: of a block that has another size now, all of it.
    const uint32_t end = whole ? kHeadBytes + bytes : kHeadBytes;
    uint32_t* words = reinterpret_cast<uint32_t*>(block);
    for (uint32_t i = end / 4 + threadIdx.x; i < units * (kUnit / 4); i += kThreads) words[i] = 0;
    if (warp == 0) {
        if (lane < kSlices) {
            reinterpret_cast<uint16_t*>(block)[lane] = static_cast<uint16_t>(whole ? plan.ends[lane] / kEndUnit : 0);
        }
        block[kOrderOffset + lane] = whole ? plan.order[lane] : static_cast<uint8_t>(lane);
        if (lane < (kHeadBytes - kHeadUsed) / 4) words[kHeadUsed / 4 + lane] = 0;
    }
    const uint32_t steps = plan.slice[warp];
    if (!whole || steps == 0) return;
    Stage& stage = stages[warp];
    const uint32_t tile_row = plan.order[kSliceRows * warp + lane / kLanes];
    const int64_t row = corner.row + tile_row;
    const int64_t col = corner.col + 8 * (lane % kLanes);
    uint8_t* slice = block + kHeadBytes + (warp == 0 ? 0 : plan.ends[warp - 1]);
    Encoder<Writer> encoder(Writer{slice}, steps, stage.written, lane);
    uint4 next[kWindowChunks];
#pragma unroll
    for (uint32_t i = 0; i < kWindowChunks; ++i) next[i] = load_octet(p, row, col + kChunkCols * i);
    for (uint32_t window = 0; window < corner.windows; ++window) {
#pragma unroll
        for (uint32_t i = 0; i < kWindowChunks; ++i) {
            octet_of(stage.rows, lane, i) = next[i];
            if (window + 1 < corner.windows) {
                next[i] = load_octet(p, row, col + kWindowCols * (window + 1) + kChunkCols * i);
            }
        }
        __syncwarp();
        const uint32_t places = taken[tile_row][window][lane % kLanes];
        // The second chunk may not have been dealt.
        encoder.append(stage.rows, window, kWindowChunks * window + 1 < corner.chunks ? places : places & 0xffff);
        __syncwarp();
    }
    encoder.finish();
}

extern "C" __global__ void __launch_bounds__(kThreads, 4)
    fl_convert_sell_unpack(const __grid_constant__ FlConvertParams p) {
    __shared__ Plan plan;
    __shared__ ReadStage stages[kWarps];
    const uint64_t index = p.first_block + blockIdx.x;
    uint32_t start, units;
    bool good = extent(p, index, 1, p.room, start, units);
    if (!good) {
        if (threadIdx.x == 0) report(p, index);
        return;
    }
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Corner corner(p);
    const uint8_t* block = reinterpret_cast<const uint8_t*>(p.data + uint64_t{start} * kUnit);
    const uint16_t* ends = reinterpret_cast<const uint16_t*>(block);
    const uint32_t begin = warp == 0 ? 0 : ends[warp - 1] * kEndUnit;
    uint32_t end = ends[warp] * kEndUnit;
    const uint32_t order = block[kOrderOffset + kSliceRows * warp + lane / kLanes];
    good = begin <= end && kHeadBytes + end <= units * kUnit && order < kTileRows;
    // A slice that is not in the block is as one without steps.
    if (begin > end || kHeadBytes + end > units * kUnit) end = begin;
    const uint32_t rest = (end - begin) % kPacketBytes;
    const uint32_t steps = (end - begin) / kPacketBytes * kPacketSteps + packet_steps(rest);
    good &= slice_bytes(steps) == end - begin;

    ReadStage& own = stages[warp];
    uint8_t* stage = own.stage.rows;
    const uint8_t* slice = block + kHeadBytes + begin;
    const int64_t row = corner.row + order % kTileRows, col = corner.col + 8 * (lane % kLanes);
    Decoder decoder(slice, steps, own.read, lane);
    const uint4 none = make_uint4(0, 0, 0, 0);
    for (uint32_t i = 0; i < kWindowChunks; ++i) octet_of(stage, lane, i) = none;
    __syncwarp();
    if (p.use != FL_UNPACK_CHECK) {
        bool same = true;
        for (uint32_t window = 0; window < corner.windows; ++window) {
            decoder.window(stage, window);
            __syncwarp();
#pragma unroll
            for (uint32_t i = 0; i < kWindowChunks; ++i) {
                const int64_t at = col + kWindowCols * window + kChunkCols * i;
                const uint4 e = octet_of(stage, lane, i);
                octet_of(stage, lane, i) = none;
                if (p.use == FL_UNPACK_STORE) {
                    store_octet(p, row, at, e);
                } else {
                    const uint4 want = load_octet(p, row, at);
                    same &= !(differ(e.x, want.x) || differ(e.y, want.y) || differ(e.z, want.z) || differ(e.w, want.w));
                }
            }
            __syncwarp();
        }
        if (!same) reinterpret_cast<FlConvertResult*>(p.result)->different = 1;
        return;
    }

    good &= front_is_good(p, index);
    Encoder<Checker> encoder(Checker{slice, true}, steps, own.stage.written, lane);
    uint32_t key = 0, nnz = 0;
    for (uint32_t window = 0; window < corner.windows; ++window) {
        decoder.window(stage, window);
        __syncwarp();
#pragma unroll
        for (uint32_t i = 0; i < kWindowChunks; ++i) {
            const uint32_t mask = octet_mask(octet_of(stage, lane, i));
            const int64_t left = p.cols - (col + kWindowCols * window + kChunkCols * i);
            // Elements outside the matrix: bits from `left` on, or of the whole row.
            good &= row < p.rows || mask == 0;
            good &= left >= 8 || mask >> (left < 0 ? 0 : left) == 0;
            nnz += __popc(mask);
            mask_of(stage, lane, i) = static_cast<uint8_t>(mask);
        }
        __syncwarp();
        uint32_t places = 0;
        const uint8_t* octets = stage + lane / kLanes * kStageRow + kMasksOffset;
#pragma unroll 1
        for (uint32_t i = 0; i < kWindowChunks; ++i) {
            const uint32_t some = deal_again(key, octets + kChunkOctets * i, lane, kWindowChunks * window + i);
            places |= some << (kChunkPlaces * i);
        }
        encoder.append(stage, window, places);
        __syncwarp();
        for (uint32_t i = 0; i < kWindowChunks; ++i) octet_of(stage, lane, i) = none;
        __syncwarp();
    }
    encoder.finish();
    good &= encoder.sink.good;

    uint32_t most = key / kEntry;
#pragma unroll
    for (uint32_t i = 1; i < kLanes; i *= 2) {
        const uint32_t other = __shfl_sync(kAll, most, lane ^ i);
        most = most > other ? most : other;
    }
    nnz = __reduce_add_sync(kAll, nnz);
    if (lane % kLanes == 0) {
        const uint32_t at = kSliceRows * warp + lane / kLanes;
        plan.steps[at] = most, plan.order[at] = static_cast<uint8_t>(order);
    }
    if (lane == 0) plan.ends[warp] = end, plan.nnz[warp] = nnz;
    __syncthreads();
    if (warp == 0) good &= head_is_good(plan, block, units, lane);
    if (__syncthreads_or(!good)) {
        if (threadIdx.x == 0) report(p, index);
    } else if (threadIdx.x == 0) {
        uint32_t all = 0;
        for (uint32_t i = 0; i < kWarps; ++i) all += plan.nnz[i];
        account(p, all, units);
    }
}
