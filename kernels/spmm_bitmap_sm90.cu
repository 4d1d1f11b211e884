// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Bitmap, 16-bit in, fp32 accumulation, Hopper: fl_fragments_sm90.cuh with elements.
//
// Budget:   1024 elements of a warp (16 rows x 64): 108 instructions to decode, 32 wavefronts of shared memory, and a quarter of what
//           wgmma takes for the four warps: 4 NT clocks of the tensor pipe and 2 NT wavefronts. A comes with 9 at 50 % zeros.

#include "fl_bitmap_product.cuh"
#include "fl_fragments_sm90.cuh"

using fl::bitmap::Streams;

#define FL_SPMM_BITMAP(NT)                                                                                                          \
    extern "C" __global__ void __launch_bounds__(fl::Geometry<NT>::kThreads, 1)                                                     \
        FL_ENTRY(fl_spmm_bitmap_, _n##NT##_sm90)(const __grid_constant__ FlSpmmParams p, const __grid_constant__ FlTensorMap map) { \
        fl::multiply_fragments<NT, Streams>(p, map);                                                                                \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_BITMAP_GROUP(NT)                                                                      \
    extern "C" __global__ void __launch_bounds__(fl::Geometry<NT>::kThreads, 1)                       \
        FL_ENTRY(fl_spmm_bitmap_, _n##NT##_sm90_group)(const __grid_constant__ FlSpmmMappedGroup g) { \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                      \
        if (blockIdx.y * (NT * 8) < p.n) fl::multiply_fragments<NT, Streams>(p, g.maps[blockIdx.z]);  \
    }

FL_SPMM_BITMAP(1)
FL_SPMM_BITMAP(2)
FL_SPMM_BITMAP(4)
FL_SPMM_BITMAP(6)
FL_SPMM_BITMAP(8)
FL_SPMM_BITMAP(12)
FL_SPMM_BITMAP(16)
FL_SPMM_BITMAP(20)
FL_SPMM_BITMAP(24)
FL_SPMM_BITMAP(32)

FL_SPMM_BITMAP_GROUP(2)
FL_SPMM_BITMAP_GROUP(8)
