// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Bitmap, 16-bit in, fp32 accumulation, sm_80 and up: fl_fragments_sm80.cuh with elements.

#include "fl_bitmap_product.cuh"
#include "fl_fragments_sm80.cuh"

using fl::bitmap::Streams;

#define FL_SPMM_BITMAP(NT)                                                                 \
    extern "C" __global__ void __launch_bounds__(fl::kThreads, 2)                          \
        FL_ENTRY(fl_spmm_bitmap_, _n##NT##_sm80)(const __grid_constant__ FlSpmmParams p) { \
        fl::multiply_fragments<NT, Streams>(p);                                            \
    }

// As above for products of a group, each with columns of its own number.
#define FL_SPMM_BITMAP_GROUP(NT)                                                                \
    extern "C" __global__ void __launch_bounds__(fl::kThreads, 2)                               \
        FL_ENTRY(fl_spmm_bitmap_, _n##NT##_sm80_group)(const __grid_constant__ FlSpmmGroup g) { \
        const FlSpmmParams& p = g.p[blockIdx.z];                                                \
        if (blockIdx.y * (NT * 8) < p.n) fl::multiply_fragments<NT, Streams>(p);                \
    }

FL_SPMM_BITMAP(1)
FL_SPMM_BITMAP(2)
FL_SPMM_BITMAP(4)
FL_SPMM_BITMAP(8)

FL_SPMM_BITMAP_GROUP(2)
FL_SPMM_BITMAP_GROUP(8)
