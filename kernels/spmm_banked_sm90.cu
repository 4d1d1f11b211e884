// SPDX-License-Identifier: Apache-2.0
//
// C[M,N] = alpha * A[M,K] * B[K,N] + beta * C, A in Banked, 16-bit in, fp32 accumulation, Hopper: fl_fragments_sm90.cuh with words.
//
// Budget:   1024 elements of a warp (16 rows x 64): 64 instructions to decode, 16 wavefronts of shared memory, and a quarter of what
//           wgmma takes for the four warps: 4 NT clocks of the tensor pipe and 2 NT wavefronts. A comes with 7 at 80 % zeros.

#include "fl_banked_product.cuh"
#include "fl_fragments_sm90.cuh"

FL_FRAGMENTS_ALL(banked)
