// SPDX-License-Identifier: Apache-2.0
// Blocks of A in shared memory where every row tile of a row group has slots of its own.
#pragma once

#include "fl_params.h"
#include "fl_ptx.cuh"
#include "fl_streamk.cuh"

namespace fl {

constexpr uint32_t kBlockUnit = 128;  // bytes that the table counts

// Tile r's slot s has index r * a_slots + s: barriers 8 bytes apart, data slot_bytes.
struct ARing {
    uint32_t a_full, a_empty, a;
};

constexpr uint32_t kBarrierBytes = 1024;
constexpr uint32_t kEmpty = 256;  // from the barriers of full slots of A to those of empty ones

// Such a ring and one of B, b_stages long: full[] and empty[] of B are first in shared memory, then those of A, and B from
// kBarrierBytes on. A lies where the kernel says.
struct ABRings : ARing {
    uint32_t b_full, b_empty, b;

    __device__ __forceinline__ ABRings(uint32_t base, uint32_t b_stages) : b_full(base), b_empty(base + 8 * b_stages), b(base + kBarrierBytes) {
        a_full = b_empty + 8 * b_stages;
        a_empty = a_full + kEmpty;
    }
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Copies A. A warp of every tile asks for its first block; then one warp copies for all, lane r the blocks of the group's r-th
// tile, each as soon as its own slot is free, so that neither a slow tile nor B holds up the others. What a CTA asks for first comes
// first: all slots at once would have the first blocks, and B, wait for the last ones.
// Where a tile's blocks are taken in 2^way_bits ways, the w-th has ring r << way_bits | w, and of the blocks each so many-th from the w-th on.
struct LoadA {
    const FlSpmmParams& p;
    const uint32_t* table;
    uint32_t unit0, unit1, way_bits, begin = 0, bytes = 0;

    __device__ __forceinline__ LoadA(const FlSpmmParams& params, uint32_t first_unit, uint32_t last_unit, uint32_t bits = 0)
        : p(params), table(reinterpret_cast<const uint32_t*>(params.table)), unit0(first_unit), unit1(last_unit), way_bits(bits) {}

    __device__ __forceinline__ uint32_t ways() const { return 1u << way_bits; }
    // Of a ring: its way, and its tile's number in the group.
    __device__ __forceinline__ uint32_t way(uint32_t ring) const { return ring & (ways() - 1); }
    __device__ __forceinline__ uint32_t row(uint32_t ring) const { return ring >> way_bits; }

    // Where a tile's block of a unit lies; nothing for tiles beyond M and units beyond this CTA's.
    __device__ __forceinline__ void find(uint32_t r, uint32_t unit) {
        const uint32_t tile = group_of(p, unit) * p.group_tiles + r;
        begin = bytes = 0;
        if (unit < unit1 && tile < p.row_tiles) {
            const uint64_t block = static_cast<uint64_t>(tile) * p.k_blocks + block_of(p, unit);
            begin = table[block];
            bytes = (table[block + 1] - begin) * kBlockUnit;
        }
    }

    // The first block of a ring. The slots' full barriers are initialised meanwhile.
    __device__ __forceinline__ void first(const ARing& at, uint32_t ring, uint32_t lane) {
        const uint32_t unit = unit0 + way(ring);
        find(row(ring), lane == 0 ? unit : unit1);
        if (lane < p.a_slots) mbar_init(at.a_full + 8 * (ring * p.a_slots + lane), 1);
        mbar_init_fence();
        __syncwarp();
        if (lane == 0 && unit < unit1) copy(at, ring, 0);
    }

    __device__ __forceinline__ void copy(const ARing& at, uint32_t ring, uint32_t slot) const {
        const uint32_t index = ring * p.a_slots + slot;
        mbar_expect_tx(at.a_full + 8 * index, bytes);
        if (bytes != 0)
            bulk_load(at.a + index * p.slot_bytes,
                      reinterpret_cast<const unsigned char*>(p.data) + static_cast<uint64_t>(begin) * kBlockUnit, bytes,
                      at.a_full + 8 * index);
    }

    // All further ones.
    __device__ __forceinline__ void run(const ARing& at, uint32_t lane) {
        // A slot that nothing was in yet has, as it were, been emptied in the phase before its barrier's first.
        const uint32_t r = row(lane);
        uint32_t unit = r < p.group_tiles ? unit0 + way(lane) + ways() : unit1, slot = 0, phase = 1;
        auto next_slot = [&] {
            if (++slot == p.a_slots) {
                slot = 0;
                phase ^= 1;
            }
        };
        next_slot();
        find(r, unit);
        while (__any_sync(~0u, unit < unit1)) {
            if (unit < unit1 && mbar_test(at.a_empty + 8 * (lane * p.a_slots + slot), phase)) {
                in_turn([&] { copy(at, lane, slot); });
                next_slot();
                find(r, unit += ways());
            }
        }
    }
};
#endif

}  // namespace fl
