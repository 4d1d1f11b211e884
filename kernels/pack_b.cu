// SPDX-License-Identifier: Apache-2.0
//
// Packs B for the SpMM kernels when the caller's layout cannot be read in 16-byte pieces along K (row
// order, odd ld, unaligned pointer, K not a multiple of 8): dst[n][k], zero for K <= k < k_padded.
//
// Blocks:   grid (K / 32 x N / 32), K first, 32 x 8 threads; a 32 x 32 tile goes through shared memory so that
//           both sides are coalesced whichever dimension of B is contiguous.
// Shared:   32 x 33 halves.

#include <cuda_fp16.h>

#include "fl_params.h"

extern "C" __global__ void __launch_bounds__(256) fl_pack_b_f16_sm80(const __grid_constant__ FlPackParams p) {
    __shared__ __half tile[32][33];
    const uint32_t along_k = (p.k_padded + 31) / 32, k0 = blockIdx.x % along_k * 32, n0 = blockIdx.x / along_k * 32;
    const __half* src = reinterpret_cast<const __half*>(p.src);
    __half* dst = reinterpret_cast<__half*>(p.dst);
    const bool n_contiguous = p.stride_n == 1;
    for (uint32_t i = threadIdx.y; i < 32; i += 8) {
        const uint32_t k = k0 + (n_contiguous ? i : threadIdx.x), n = n0 + (n_contiguous ? threadIdx.x : i);
        const bool inside = k < p.k && n < p.n;
        tile[n - n0][k - k0] = inside ? src[k * p.stride_k + n * p.stride_n] : __ushort_as_half(0);
    }
    __syncthreads();
    for (uint32_t i = threadIdx.y; i < 32; i += 8) {
        const uint32_t k = k0 + threadIdx.x, n = n0 + i;
        if (k < p.k_padded && n < p.n) dst[n * p.dst_stride_n + k] = tile[i][threadIdx.x];
    }
}
