// SPDX-License-Identifier: Apache-2.0
//
// Packs B as the Slots kernels for 48 and 64 columns stage it (fl_slots_sm90.cuh), whatever its layout: for every 256 of K the
// planes of 8 columns, one behind the other, and in a plane row after row of K, zeros beyond K and N.
//
// Blocks:   grid (K / 256 x planes), 256 threads: a row of a plane each, so that lanes lie side by side along K.
// Assumes:  dst 16-byte aligned.

#include "fl_params.h"
#include "fl_ptx.cuh"
#include "fl_slots.cuh"

extern "C" __global__ void __launch_bounds__(fl::slots::kBlockCols) fl_pack_b_planes_f16_sm90(const __grid_constant__ FlPackParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    constexpr uint32_t kRows = fl::slots::kBlockCols;
    fl::let_dependents_begin();
    const uint32_t k = blockIdx.x / p.planes * kRows + threadIdx.x, n0 = blockIdx.x % p.planes * 8;
    const unsigned short* src = reinterpret_cast<const unsigned short*>(p.src) + k * p.stride_k + n0 * p.stride_n;
    fl::wait_for_earlier_work();
    unsigned short v[8];
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i) v[i] = k < p.k && n0 + i < p.n ? src[i * p.stride_n] : 0;
    const uint64_t row = static_cast<uint64_t>(blockIdx.x) * kRows + threadIdx.x;
    reinterpret_cast<uint4*>(p.dst)[row] =
        make_uint4(v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);
#endif
}
