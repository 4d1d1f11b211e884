// SPDX-License-Identifier: Apache-2.0
// Decoding of Slots blocks into sparse m16n8k32 A fragments, and of their overflow into m16n8k16 ones.
// docs/format-slots.md is the specification; the names below are its names.
#pragma once

#include "fl_ptx.cuh"

namespace fl::slots {

constexpr int kTileRows = 32;
constexpr int kBlockCols = 256;
constexpr int kBlockSteps = kBlockCols / 32;
constexpr int kCouples = kBlockSteps / 2;  // steps whose values are one piece of a stream
constexpr int kUnit = 128;            // bytes of one row of 32 streams, and of one step's codes
constexpr int kStarts = kBlockSteps * kUnit;
constexpr int kArrangement = kStarts + kUnit;
constexpr int kValues = kArrangement + kUnit;
constexpr int kRoundCols = 16;        // columns of a round of overflow
constexpr int kRoundColumns = 16;     // in the overflow: from its beginning to the numbers of these columns
constexpr int kDenseRow = kBlockCols * 2 + 16;  // bytes of a dense row: its number and zeros, then its elements
constexpr int kDenseRowHead = 16;
constexpr int kDenseRows = 8;         // of a tile, at most
constexpr int kPlane = kBlockCols * 16;  // bytes of 8 columns of a block of B, as rows of K
constexpr int kRoundTile = 1024;      // bytes of a round's A: 32 rows x 16 columns as two fragments of 8 x 8 pieces

// The four codes of a quad's lanes hold the groups that the other lanes own. Lane t gets code t of every lane:
// a 4 x 4 transpose of nibble pairs (n, n + 4) in two exchanges.
struct Transpose {
    uint32_t keep, rotate, bytes;
    __device__ __forceinline__ explicit Transpose(uint32_t lane)
        : keep(lane & 1 ? 0xf0f0f0f0u : 0x0f0f0f0fu), rotate(lane & 1 ? 28 : 4), bytes(lane & 2 ? 0x3715 : 0x6240) {}

    __device__ __forceinline__ uint32_t operator()(uint32_t codes) const {
        const uint32_t near = __shfl_xor_sync(~0u, codes, 1);
        const uint32_t half = (codes & keep) | (__funnelshift_l(near, near, rotate) & ~keep);
        return prmt(half, __shfl_xor_sync(~0u, half, 2), bytes);
    }
};

// A lane's values of one step, between their loads and the instruction: loads of the next step hide behind it.
// kSingle: no group of the block has two values. Loads are predicated then. Else a group's two slots are read whether it has
// values or not, up to two rows behind the last, and byte permutations drop what it does not have: their selectors follow
// from the counts eight at a time, where every predicate would take an instruction, and as many registers to clear.
template <bool kSingle>
struct Fetched {
    uint32_t first[8], second[8];
    // Selectors of four groups each, a byte a group: of slot 0 and of slot 1.
    uint32_t low[2], high[2];

    // From a lane's own codes; `at` is the shared address of the lane's next value and is moved behind the step.
    __device__ __forceinline__ void fetch(uint32_t codes, uint32_t& at) {
        // A code is two 2-bit columns a (low) and b. b - a (mod 4) = 1: one value, 3: two, 2: two if a < 2, else none.
        const uint32_t a1 = codes >> 1, b0 = codes >> 2, b1 = codes >> 3;
        const uint32_t odd = codes ^ b0;
        const uint32_t one = kSingle ? odd : odd | ~a1;
        const uint32_t third = codes ^ a1 ^ b1;
        const uint32_t two = kSingle ? 0 : (odd & third) | ~(odd | a1);
        const uint32_t counts = (one & 0x11111111u) + (two & 0x11111111u);
        const uint32_t even = counts & 0x0f0f0f0fu;
        const uint32_t couples = even + ((counts >> 4) & 0x0f0f0f0fu);
        // Nibble j of the codes is row slot j / 4, row tile j / 2 % 2, group t + 4 (j % 2).
        const uint32_t at0 = at;
        const uint32_t at2 = __dp4a(couples, 0x00000080u, at), at4 = __dp4a(couples, 0x00008080u, at);
        const uint32_t at6 = __dp4a(couples, 0x00808080u, at);
        at = __dp4a(couples, 0x80808080u, at);
        load<0>(one, at0);
        load<1>(one, __dp4a(even, 0x00000080u, at0));
        load<2>(one, at2);
        load<3>(one, __dp4a(even, 0x00008000u, at2));
        load<4>(one, at4);
        load<5>(one, __dp4a(even, 0x00800000u, at4));
        load<6>(one, at6);
        load<7>(one, __dp4a(even, 0x80000000u, at6));
        if (!kSingle) {
            // A loaded half is bytes 0 and 1 of the first register or 4 and 5 of the second; 2, 3, 6 and 7 are zeros.
            constexpr uint32_t kLow = 0x101032, kHigh = 0x547676;  // byte c: for c values
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                low[i] = prmt(kLow, 0, counts >> (16 * i));
                high[i] = prmt(kHigh, 0, counts >> (16 * i));
            }
        }
    }

    // a[row tile][register] of the instruction.
    __device__ __forceinline__ void join(uint32_t (&a)[2][4]) const {
        a[0][0] = slots<0>();
        a[0][2] = slots<1>();
        a[1][0] = slots<2>();
        a[1][2] = slots<3>();
        a[0][1] = slots<4>();
        a[0][3] = slots<5>();
        a[1][1] = slots<6>();
        a[1][3] = slots<7>();
    }

private:
    template <int J>
    __device__ __forceinline__ void load(uint32_t one, uint32_t addr) {
        if (kSingle) {
            asm volatile(
                "{\n"
                ".reg .pred p;\n"
                ".reg .b32 t;\n"
                "and.b32 t, %1, %3;\n"
                "setp.ne.b32 p, t, 0;\n"
                "mov.b32 %0, 0;\n"
                "@p ld.shared.u16 %0, [%2];\n"
                "}\n"
                : "=r"(first[J])
                : "r"(one), "r"(addr), "n"(1 << (4 * J)));
        } else {
            first[J] = lds16(addr);
            second[J] = lds16(addr + kUnit);
        }
    }

    template <int J>
    __device__ __forceinline__ uint32_t slots() const {
        if (kSingle) return first[J];
        return prmt(first[J], second[J], prmt(low[J / 4], high[J / 4], J % 4 * 0x11 + 0x40));
    }
};

// The octets of B's rows that this lane gives to ldmatrix, of the four steps of a plane: those of the columns that the
// block has in the places 8 * octet + lane % 8 of each step. Places 0 and 4 have their own columns.
struct Octets {
    uint32_t own, word, shift;
    bool high;
    __device__ __forceinline__ explicit Octets(uint32_t lane)
        : own(lane / 8 * 0x8421u + (0 | 4 << 5 | 8 << 10 | 12 << 15)), word(kArrangement + lane / 4 * 8), shift(lane % 4 * 20 - 20),
          high(lane % 4 == 3) {}

    // Five bits a step.
    __device__ __forceinline__ uint32_t operator()(uint32_t block, uint32_t plane) const {
        const uint2 stored = lds64(block + word + plane * 64);
        const uint32_t moved = high ? stored.y >> 8 : __funnelshift_r(stored.x, stored.y, shift);
        return static_cast<int32_t>(shift) < 0 ? own + plane * (16 * 0x8421u) : moved;
    }

    static __device__ __forceinline__ uint32_t of_step(uint32_t octets, int step) { return octets >> (5 * step) & 31; }
};

// One step of a block without dense rows: `from` is where this lane's row of B is, for ldmatrix.
template <int NT>
__device__ __forceinline__ void multiply_step(float4* acc, const uint32_t (&a)[2][4], uint32_t codes, uint32_t from) {
#pragma unroll
    for (int nt = 0; nt < NT; ++nt) {
        uint32_t b[4];
        ldmatrix4_trans(b, from + nt * kPlane);
        mma_sp_m16n8k32<0>(acc[nt], a[0], b, codes);
        mma_sp_m16n8k32<1>(acc[NT + nt], a[1], b, codes);
    }
}

// The dense rows of a block. They are B's side of an instruction and sixteen columns of B its rows, so that rows which are anywhere in
// the tile take one instruction for 16 places, and B's fragments are those that the other rows are multiplied with.
struct DenseRows {
    uint32_t row, from;  // this lane's, for ldmatrix

    // Rows that are not there are the last one again. `first` is the first place.
    __device__ __forceinline__ DenseRows(uint32_t section, uint32_t count, uint32_t first, uint32_t lane)
        : row(section + min(lane % kDenseRows, count - 1) * kDenseRow), from(row + kDenseRowHead + lane / 8 * 16 + first * 2) {}

    static __device__ __forceinline__ uint32_t bytes(uint32_t count) { return (count * kDenseRow + kUnit - 1) / kUnit * kUnit; }

    // A bit for each.
    __device__ __forceinline__ uint32_t mask() const { return __reduce_or_sync(~0u, 1u << (lds8(row) % kTileRows)); }

    // As multiply_step(); `sums` are those of the dense rows, an m16n8 fragment of sixteen columns of B and eight rows each.
    template <int NT>
    __device__ __forceinline__ void multiply_step(float4* acc, float4* sums, int step, const uint32_t (&a)[2][4], uint32_t codes,
                                                  uint32_t rows_b) const {
        uint32_t rows[4];
        ldmatrix4(rows, from + step * 64);
#pragma unroll
        for (int nt = 0; nt < NT; nt += 2) {
            uint32_t b[2][4];
#pragma unroll
            for (int i = 0; i < 2 && nt + i < NT; ++i) {
                ldmatrix4_trans(b[i], rows_b + (nt + i) * kPlane);
                mma_sp_m16n8k32<0>(acc[nt + i], a[0], b[i], codes);
                mma_sp_m16n8k32<1>(acc[NT + nt + i], a[1], b[i], codes);
            }
            // Beside a plane without a neighbour are its own columns again.
            const uint32_t(&second)[4] = b[nt + 1 < NT ? 1 : 0];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const uint32_t both[4] = {b[0][2 * half], second[2 * half], b[0][2 * half + 1], second[2 * half + 1]};
                mma_m16n8k16(sums[nt / 2], both, rows[2 * half], rows[2 * half + 1]);
            }
        }
    }

    // Writes the sums of kPlanes planes of B to shared memory, a dense row after the other: kPlanes * 256 bytes.
    template <int kPlanes>
    static __device__ __forceinline__ void put(const float4* sums, uint32_t to, uint32_t lane) {
        to += lane % 4 * (2 * kPlanes * 32) + lane / 4 * 4;
#pragma unroll
        for (int i = 0; i < (kPlanes + 1) / 2; ++i) {
            sts32(to + i * 64, __float_as_uint(sums[i].x));
            sts32(to + i * 64 + kPlanes * 32, __float_as_uint(sums[i].y));
            if (2 * i + 1 == kPlanes) continue;
            sts32(to + i * 64 + 32, __float_as_uint(sums[i].z));
            sts32(to + i * 64 + 32 + kPlanes * 32, __float_as_uint(sums[i].w));
        }
    }

    // Adds them to the fragments of the 16 rows from `first_row` on.
    template <int kPlanes>
    static __device__ __forceinline__ void take(float4* acc, uint32_t from, uint32_t mask, uint32_t first_row, uint32_t lane) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const uint32_t bit = 1u << (first_row + lane / 4 + 8 * half);
            if (!(mask & bit)) continue;
            const uint32_t at = from + __popc(mask & (bit - 1)) * (kPlanes * 32) + lane % 4 * 8;
#pragma unroll
            for (int i = 0; i < kPlanes; ++i) {
                const uint2 v = lds64(at + i * 32);
                (half == 0 ? acc[i].x : acc[i].z) += __uint_as_float(v.x);
                (half == 0 ? acc[i].y : acc[i].w) += __uint_as_float(v.y);
            }
        }
    }
};

// The overflow of a block, kRounds (one or two) rounds at a time: a round is one long chain from entries to sums. Entries
// say where in a round's A they belong; `tile` is kRounds * kRoundTile bytes of zeros that the warp has for itself, and is
// zeros again after clear(). kOwn: entries of a lane that are read before one is put, and whose places it remembers; more
// than kOwn * 32 cost a loop and a clear of the whole tile.
template <int kRounds, uint32_t kOwn>
struct Overflow {
    uint32_t section, tile, lane;
    int rounds;
    uint32_t count, places[kOwn];  // of what is placed: its entries, and where this lane's are

    __device__ __forceinline__ Overflow(uint32_t overflow, int n_rounds, uint32_t a_tile, uint32_t this_lane)
        : section(overflow), tile(a_tile), lane(this_lane), rounds(n_rounds), count(0), places{} {}

    // Puts the entries of `round`, and of the next where two are placed together, into the tile. They are there for
    // load() after a __syncwarp().
    __device__ __forceinline__ void place(int round) {
        const uint32_t begin = round == 0 ? 0 : lds16(section + round * 2 - 2), middle = lds16(section + round * 2);
        count = (kRounds == 1 ? middle : lds16(section + round * 2 + 2)) - begin;
        const uint32_t entries = section + kRoundColumns + rounds * kRoundCols + begin * 4, first = middle - begin;
        auto put = [&](uint32_t i, uint32_t entry) {
            const uint32_t to = tile + (entry >> 16) + (kRounds == 1 || i < first ? 0 : kRoundTile);
            sts16(to, entry);
            return to;
        };
        // All are read before one is put: nobody else waits for the answers.
        uint32_t entry[kOwn];
#pragma unroll
        for (uint32_t i = 0; i < kOwn; ++i) entry[i] = i * 32 + lane < count ? lds32(entries + (i * 32 + lane) * 4) : 0;
#pragma unroll
        for (uint32_t i = 0; i < kOwn; ++i)
            if (i * 32 + lane < count) places[i] = put(i * 32 + lane, entry[i]);
#pragma unroll 1
        for (uint32_t i = kOwn * 32 + lane; i < count; i += 32) put(i, lds32(entries + i * 4));
    }

    // Address of the columns of a round, a byte each.
    __device__ __forceinline__ uint32_t columns(int round) const { return section + kRoundColumns + round * kRoundCols; }

    // A of the i-th round that is placed: rows 0 to 15 and 16 to 31.
    __device__ __forceinline__ void load(int i, uint32_t (&low)[4], uint32_t (&high)[4]) const {
        ldmatrix4(low, tile + i * kRoundTile + lane * 16);
        ldmatrix4(high, tile + i * kRoundTile + kRoundTile / 2 + lane * 16);
    }

    // Takes the entries out again, after all lanes have loaded.
    __device__ __forceinline__ void clear() const {
        if (count <= kOwn * 32) {
#pragma unroll
            for (uint32_t i = 0; i < kOwn; ++i)
                if (i * 32 + lane < count) sts16(places[i], 0);
        } else {
#pragma unroll
            for (int i = 0; i < kRounds * kRoundTile; i += 512) sts128(tile + i + lane * 16, make_uint4(0, 0, 0, 0));
        }
    }
};

// Adds kRounds rounds from `round` on: 32 rows times the rows of B that a round's columns name. A round that the block does not
// have is read where entries are, as any rows of B, and is not multiplied.
template <int NT, int kRounds, uint32_t kOwn>
__device__ __forceinline__ void add_rounds(float4* acc, Overflow<kRounds, kOwn>& overflow, int round, uint32_t b_stage) {
    static_assert(kRounds <= 2, "of eight columns one ldmatrix reads the rows of two rounds");
    const uint32_t lane = overflow.lane;
    // B is asked for before the entries, and is there when they are in their places; for wide B there are no registers.
    uint32_t from[kRounds], b[kRounds][4];
    if (NT == 1) {
        ldmatrix4_trans(b[0], b_stage + lds8(overflow.columns(round) + lane) * 16);
    } else {
#pragma unroll
        for (int i = 0; i < kRounds; ++i) {
            from[i] = b_stage + lane / 16 * kPlane + lds8(overflow.columns(round + i) + lane % 16) * 16;
            if (NT == 2) ldmatrix4_trans(b[i], from[i]);
        }
    }
    overflow.place(round);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
        if (i != 0 && round + i >= overflow.rounds) break;
        uint32_t low[4], high[4];
        overflow.load(i, low, high);
        if (NT == 1) {
            mma_m16n8k16(acc[0], low, b[0][2 * i], b[0][2 * i + 1]);
            mma_m16n8k16(acc[1], high, b[0][2 * i], b[0][2 * i + 1]);
        } else {
#pragma unroll
            for (int nt = 0; nt < NT; nt += 2) {
                // A plane without a neighbour is read twice: what lies behind it may be being written.
                if (NT > 2) ldmatrix4_trans(b[i], from[i] + nt * kPlane - (nt + 1 == NT ? lane / 16 * kPlane : 0));
                mma_m16n8k16(acc[nt], low, b[i][0], b[i][1]);
                mma_m16n8k16(acc[NT + nt], high, b[i][0], b[i][1]);
                if (nt + 1 == NT) break;
                mma_m16n8k16(acc[nt + 1], low, b[i][2], b[i][3]);
                mma_m16n8k16(acc[NT + nt + 1], high, b[i][2], b[i][3]);
            }
        }
    }
    __syncwarp();
    overflow.clear();
}

}  // namespace fl::slots
