// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Bitmap, 16-bit in, fp32 accumulation, sm_80 and up: fl_fragments_sm80.cuh with elements.

#include "fl_bitmap_product.cuh"
#include "fl_fragments_sm80.cuh"

FL_FRAGMENTS_ALL(bitmap)
