// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Banked, 16-bit in, fp32 accumulation, Hopper.
// Load as sparse, compute as dense: values are put into zeroed tiles in shared memory, each lane's into its own bank.
//
// Blocks:   persistent grid (CTAs, N / (8*NT)). A row group is T = p.group_tiles tiles of 128 rows, 1 or 2. Warps 0 to
//           4 T - 1 multiply, a warpgroup a tile; eight warps fill images, in two teams of four that take images in
//           turn; one warp copies A; one or two bring B. With NT = 16, T is 1 and two warpgroups share the tile. The
//           units (row group, block of 128 columns) are dealt to the CTAs (fl_streamk.cuh), each unit being T images; a
//           CTA walks its units along K, then on to the next group.
// Shared:   [0, 1024)   mbarriers: full[] and empty[] of B, of images and of A
//           [1024, ..)  B ring, pieces of 8*NT columns x 128 of K, swizzled
//           [.., ..)    images, p.images of 32 KB (fl_image_sm90.cuh)
//           [.., ..)    A ring, p.a_slots x slot_bytes: blocks exactly as stored
//           All of it begins at the first multiple of 1024, as the swizzle wants.
// Pipeline: warp A    A0 .. A(slots-1) | slot free: next block | ...
//           warp B    B0 B1 .. | piece free: next | ...
//           team i    wait A i | chunks -> registers | image free: registers -> image | A i+2 | ...
//           group t   wait image, B | wgmma 0..15 | image = 0 | next image of tile t | ...
//                     (NT = 16: | wait image, B | wgmma 0..7 | meanwhile the image before = 0 | ...)
//           Chunks come into registers before the image is free, because both take long.
// Budget:   wavefronts of shared memory, of an image of 16384 elements: zeros 256, to wgmma 256 and B's 32 NT (NT <= 4)
//           or 128, A's copy and a chunk's 3 + 4 of 32 x 4 elements: 80 + 224 at 80 % zeros, of which a chunk in eight is
//           a lane's that has none left.
// Assumes:  of the format, what validate() checks; b 16-byte aligned, b_stride_n % 8 == 0, K % 8 == 0
//           (the host packs B otherwise); slot_bytes >= the largest block; p.images and p.a_slots even.

#include "fl_banked.cuh"
#include "fl_image_sm90.cuh"

namespace {

using namespace fl;
using namespace fl::image;

constexpr uint32_t kTeam = 4, kTeams = 2, kFillers = kTeam * kTeams;
constexpr uint32_t kHeld = 3;  // chunks of each parity that a lane holds while it waits for the image

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Four elements: words of a chunk's three planes.
struct Chunk {
    uint32_t places, first, second;

    // All lanes come here and those that have the chunk read it: a branch would cost as much as the loads.
    __device__ __forceinline__ void load(uint32_t from, bool has) {
        static_assert(banked::kUnit == 128, "the planes' distance, below");
        asm volatile(
            "{\n"
            ".reg .pred p;\n"
            "setp.ne.u32 p, %4, 0;\n"
            "@p ld.shared.b32 %0, [%3];\n"
            "@p ld.shared.b32 %1, [%3 + 128];\n"
            "@p ld.shared.b32 %2, [%3 + 256];\n"
            "}\n"
            : "=r"(places), "=r"(first), "=r"(second)
            : "r"(from), "r"(static_cast<uint32_t>(has)));
    }

    // `to`: the lane's halfword in line 0. A place is the number of a line.
    __device__ __forceinline__ void put(uint32_t to, bool has) const {
        asm volatile(
            "{\n"
            ".reg .pred p;\n"
            ".reg .b16 a, b, c, d;\n"
            "setp.ne.u32 p, %6, 0;\n"
            "mov.b32 {a, b}, %4;\n"
            "mov.b32 {c, d}, %5;\n"
            "@p st.shared.b16 [%0], a;\n"
            "@p st.shared.b16 [%1], b;\n"
            "@p st.shared.b16 [%2], c;\n"
            "@p st.shared.b16 [%3], d;\n"
            "}\n" ::"r"(line<0>(to)),
            "r"(line<1>(to)), "r"(line<2>(to)), "r"(line<3>(to)), "r"(first), "r"(second), "r"(static_cast<uint32_t>(has))
            : "memory");
    }

private:
    template <int kElement>
    __device__ __forceinline__ uint32_t line(uint32_t to) const {
        return prmt(places, 0, 0x4440 + kElement) * banked::kLineBytes + to;
    }
};

// A warp of a team: its chunks of every block of the team.
__device__ __forceinline__ void fill(const FlSpmmParams& p, const Addresses& at, uint32_t count, uint32_t filler, uint32_t lane) {
    const uint32_t w = filler % kTeam, team = filler / kTeam;
    constexpr uint32_t kStep = kTeam * banked::kRowBytes;
    Cursor slot{team, 0}, image{team, 1};
    for (uint32_t j = team; j < count; j += kTeams) {
        mbar_wait(at.a_full + 8 * slot.at, slot.phase);
        const uint32_t block = at.a + slot.at * p.slot_bytes;
        const banked::Start start = banked::Start::of(lds32(block + lane * 4));
        // This warp's chunks of the lane, of each parity, and those of the lane that has most.
        const uint32_t mine0 = (start.first + kTeam - 1 - w) / kTeam;
        const uint32_t mine1 = (start.second + kTeam - 1 - w) / kTeam;
        const uint32_t most = __reduce_max_sync(~0u, max(mine0, mine1));
        uint32_t from0 = block + banked::row_offset(w) + lane * 4;
        uint32_t from1 = block + banked::row_offset(start.begin + w) + start.stream * 4;
        Chunk held0[kHeld], held1[kHeld];
#pragma unroll
        for (uint32_t i = 0; i < kHeld; ++i) {
            if (i >= most) break;
            held0[i].load(from0, i < mine0);
            held1[i].load(from1, i < mine1);
            from0 += kStep;
            from1 += kStep;
        }
        mbar_wait(at.image_empty + 8 * image.at, image.phase);
        const uint32_t to = at.images + image.at * kBytes + lane * 4;
#pragma unroll
        for (uint32_t i = 0; i < kHeld; ++i) {
            if (i >= most) break;
            held0[i].put(to, i < mine0);
            held1[i].put(to + 2, i < mine1);
        }
#pragma unroll 1
        for (uint32_t i = kHeld; i < most; ++i) {
            Chunk chunk0, chunk1;
            chunk0.load(from0, i < mine0);
            chunk1.load(from1, i < mine1);
            chunk0.put(to, i < mine0);
            chunk1.put(to + 2, i < mine1);
            from0 += kStep;
            from1 += kStep;
        }
        mbar_arrive(at.a_empty + 8 * slot.at);
        mbar_arrive(at.image_full + 8 * image.at);
        slot.advance(kTeams, p.a_slots);
        image.advance(kTeams, p.images);
    }
}

// The warp that copies A. The table is read 32 blocks ahead, a block a lane, and first while the barriers are made.
struct LoadA {
    const FlSpmmParams& p;
    const uint32_t unit0, count, lane;
    uint32_t next_begin = 0, next_end = 0;

    __device__ __forceinline__ LoadA(const FlSpmmParams& params, uint32_t first_unit, uint32_t blocks, uint32_t this_lane)
        : p(params), unit0(first_unit), count(blocks), lane(this_lane) {}

    __device__ __forceinline__ void look(uint32_t from) {
        const uint32_t j = from + lane, unit = unit0 + j / p.group_tiles;
        const uint32_t tile = group_of(p, unit) * p.group_tiles + j % p.group_tiles;
        next_begin = next_end = 0;
        if (j < count && tile < p.row_tiles) {
            const uint32_t* entry = reinterpret_cast<const uint32_t*>(p.table) + static_cast<uint64_t>(tile) * p.k_blocks + block_of(p, unit);
            next_begin = entry[0];
            next_end = entry[1];
        }
    }

    __device__ __forceinline__ void run(const Addresses& at) {
        const unsigned char* data = reinterpret_cast<const unsigned char*>(p.data);
        Cursor slot{0, 1};
        uint32_t begin = 0, units = 0;
        for (uint32_t j = 0; j < count; ++j) {
            mbar_wait(at.a_empty + 8 * slot.at, slot.phase);
            if (j % 32 == 0) {
                begin = next_begin;
                units = next_end - next_begin;
                look(j + 32);
            }
            const uint32_t full = at.a_full + 8 * slot.at, to = at.a + slot.at * p.slot_bytes;
            if (lane == j % 32) {
                // A tile beyond M: starts that say that there is nothing.
                for (uint32_t i = 0; units == 0 && i < kWarpLanes * 4; i += 16) sts128(to + i, make_uint4(0, 0, 0, 0));
                mbar_expect_tx(full, units * banked::kUnit);
                if (units != 0) bulk_load(to, data + static_cast<uint64_t>(begin) * banked::kUnit, units * banked::kUnit, full);
            }
            slot.advance(1, p.a_slots);
        }
    }
};
#endif

template <int NT>
__device__ __forceinline__ void spmm(const FlSpmmParams& p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using G = Geometry<NT>;
    let_dependents_begin();
    extern __shared__ __align__(kAlign) unsigned char smem[];
    const Addresses at = layout<NT>(p, (smem_addr(smem) + kAlign - 1) & ~(kAlign - 1));
    const uint32_t warp = warp_number(), lane = threadIdx.x % 32;
    const uint32_t slice = blockIdx.y, multipliers = G::kShared ? 8 : 4 * p.group_tiles;
    const StreamK line(p, (p.row_tiles + p.group_tiles - 1) / p.group_tiles);
    const uint32_t unit0 = line.first_unit(blockIdx.x), unit1 = line.first_unit(blockIdx.x + 1);
    const uint32_t count = (unit1 - unit0) * p.group_tiles;

    if (lane == 0) {
        const uint32_t warps = blockDim.x / 32, from_last = warps - 1 - warp;
#pragma unroll 1
        for (uint32_t i = warp; i < G::kPieces; i += warps) {
            mbar_init(at.b_full + 8 * i, kWarpLanes * G::kLoaders);
            mbar_init(at.b_empty + 8 * i, kWarpLanes * multipliers);
        }
#pragma unroll 1
        for (uint32_t i = warp; i < p.images; i += warps) {
            mbar_init(at.image_full + 8 * i, kWarpLanes * kTeam);
            mbar_init(at.image_empty + 8 * i, kWarpLanes * (G::kShared ? 8 : 4));
            mbar_init(at.image_read + 8 * i, kWarpLanes * 8);
        }
#pragma unroll 1
        for (uint32_t i = from_last; i < p.a_slots; i += warps) {
            mbar_init(at.a_full + 8 * i, 1);
            mbar_init(at.a_empty + 8 * i, kWarpLanes * kTeam);
        }
        mbar_init_fence();
    }
    LoadA load_a(p, unit0, count, lane);
    if (warp < multipliers + kFillers) {
        const uint32_t step = (multipliers + kFillers) * 512;
        for (uint32_t i = threadIdx.x * 16; i < p.images * kBytes; i += step) sts128(at.images + i, make_uint4(0, 0, 0, 0));
    } else if (warp == multipliers + kFillers) {
        load_a.look(0);
    }
    __syncwarp();
    __syncthreads();

    const uint32_t helper = warp - multipliers;
    if constexpr (G::kShared) {
        if (warp < multipliers)
            take_registers<120>();
        else
            give_registers<72>();
    }
    if (warp < multipliers) {
        if constexpr (G::kShared)
            multiply_shared<NT>(p, at, line, unit0, unit1, slice, warp, lane);
        else
            multiply<NT>(p, at, line, unit0, unit1, slice, warp, lane);
    } else if (helper < kFillers)
        fill(p, at, count, helper, lane);
    else if (helper == kFillers)
        load_a.run(at);
    else if (helper - kFillers - 1 < G::kLoaders)
        load_b<NT>(p, at, unit0, unit1, slice * (NT * 8), helper - kFillers - 1, lane);
#endif
}

}  // namespace

#define FL_SPMM_BANKED(NT)                                                                      \
    extern "C" __global__ void __launch_bounds__(640, 1)                                        \
        FL_ENTRY(fl_spmm_banked_, _n##NT##_sm90)(const __grid_constant__ FlSpmmParams p) {       \
        spmm<NT>(p);                                                                            \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_BANKED_GROUP(NT)                                                                \
    extern "C" __global__ void __launch_bounds__(640, 1)                                        \
        FL_ENTRY(fl_spmm_banked_, _n##NT##_sm90_group)(const __grid_constant__ FlSpmmGroup g) {  \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                \
        if (blockIdx.y * (NT * 8) < p.n) spmm<NT>(p);                                           \
    }

FL_SPMM_BANKED(1)
FL_SPMM_BANKED(2)
FL_SPMM_BANKED(4)
FL_SPMM_BANKED(8)
FL_SPMM_BANKED(16)

FL_SPMM_BANKED_GROUP(2)
FL_SPMM_BANKED_GROUP(8)
