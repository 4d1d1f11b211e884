/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel parameter blocks. Plain C layout; src/gpu/params.rs mirrors them field by field and asserts
 * sizes and offsets. Device addresses are 64-bit integers so that both sides agree without pointers.
 */
#ifndef FL_PARAMS_H
#define FL_PARAMS_H

#include <stdint.h>

/* Element types of operands whose type is known at run time: cudaDataType's numbers. */
#define FL_TYPE_F32 0
#define FL_TYPE_F16 2
#define FL_TYPE_BF16 14

/* Activations; src/types.rs has the same numbers. */
#define FL_ACTIVATION_NONE 0
#define FL_ACTIVATION_RELU 1
#define FL_ACTIVATION_GELU_TANH 2
#define FL_ACTIVATION_GELU_ERF 3
#define FL_ACTIVATION_SILU 4

/* What follows a product beside beta: nothing; a bias of 16 bits, an activation and a residual of 16 bits, alpha being a number; anything. */
#define FL_FUSED_NOTHING 0
#define FL_FUSED_USUAL 1
#define FL_FUSED_ANYTHING 2

/* Division of numbers below 2^29 by one that the launch knows: n / d = n * magic >> shift, magic = ceil(2^shift / d) below 2^31. */
typedef struct FlDivisor {
    uint32_t magic;
    uint32_t shift;
} FlDivisor;

/* C[M,N] = activation(alpha * A[M,K] * B[K,N] + beta * C + bias) * gate + residual. */
typedef struct FlSpmmParams {
    uint64_t table;      /* offset table of A (u32) */
    uint64_t data;       /* data section of A */
    uint64_t b;          /* A's 16-bit type, K contiguous: element (k, n) at n * b_stride_n + k; or planes, see pack_b_planes_sm90.cu */
    uint64_t c;          /* A's type or fp32, element (m, n) at m * c_stride_m + n * c_stride_n */
    uint64_t partials;   /* fp32 partial tiles, see fl_streamk.cuh */
    uint64_t counters;   /* u64 arrival counters, one for each row group and summing warp of a CTA */
    uint64_t nonce;      /* of this launch: bits 16..63, low 16 bits zero, never zero */
    int64_t b_stride_n;  /* 0 for planes */
    int64_t c_stride_m;
    int64_t c_stride_n;
    uint32_t m;
    uint32_t n;
    uint32_t k;
    uint32_t row_tiles;      /* of the kernel's rows along M: a block of A, or a quarter of one (Tiled-CSL on sm_80) */
    uint32_t k_blocks;       /* blocks of A along K */
    uint32_t deals_tiles;    /* whether tiles are dealt by their bytes, and not row groups by their number (SELL) */
    uint32_t slot_bytes;     /* shared memory of one staged block of A */
    uint32_t a_slots;        /* staged blocks of a row tile, of a warp where each loads for itself, or 0 (SELL) */
    uint32_t c_is_f32;
    float alpha;
    float beta;
    uint32_t parts;          /* pieces of a row group, 1 to k_blocks, see fl_streamk.cuh */
    uint32_t group_tiles;    /* row tiles of a row group */
    uint32_t fused;          /* what is used of what is below, one of FL_FUSED */
    uint64_t bias;           /* M elements of bias_type, or 0 */
    uint64_t gate;           /* fp32, element (m, n) at n * M + m, or 0 */
    uint64_t residual;       /* element (m, n) at m * residual_stride_m + n * residual_stride_n, or 0 */
    uint64_t alpha_at;       /* where alpha is, or 0: in `alpha` */
    uint64_t beta_at;        /* where beta is, or 0: in `beta` */
    int64_t residual_stride_m;
    int64_t residual_stride_n;
    uint32_t bias_type;
    uint32_t residual_type;
    uint32_t activation;
    /* Who takes which units, see fl_streamk.cuh. */
    uint32_t share;          /* pieces of every CTA */
    uint32_t share_rest;     /* the first CTAs, so many, have one more */
    uint32_t piece;          /* units of every piece of a row group */
    uint32_t piece_rest;     /* the first pieces, so many, have one more */
    FlDivisor by_k_blocks;
    FlDivisor by_parts;
} FlSpmmParams;

/* Products of one launch: product blockIdx.z. Kernel parameters are limited to 4 KiB. */
#define FL_GROUP 16

typedef struct FlSpmmGroup {
    FlSpmmParams p[FL_GROUP];
} FlSpmmGroup;

/* A CUtensorMap. */
typedef struct FlTensorMap {
    uint64_t words[16];
} __attribute__((aligned(64))) FlTensorMap;

/* As FlSpmmGroup, each with the map of its B (Banked, Bitmap). */
#define FL_MAPPED_GROUP 10

typedef struct FlSpmmMappedGroup {
    FlTensorMap maps[FL_MAPPED_GROUP];
    FlSpmmParams p[FL_MAPPED_GROUP];
} FlSpmmMappedGroup;

/* Packs any B into K-contiguous, 16-byte aligned, zero-padded columns for the SpMM kernels, or into planes
 * (pack_b_planes_sm90.cu). */
typedef struct FlPackParams {
    uint64_t src;        /* 16 bits, element (k, n) at k * stride_k + n * stride_n */
    uint64_t dst;        /* 16 bits, element (k, n) at n * dst_stride_n + k, or planes */
    int64_t stride_k;
    int64_t stride_n;
    int64_t dst_stride_n;
    uint32_t k;
    uint32_t n;
    uint32_t k_padded;
    uint32_t planes;     /* of 8 columns, or 0 */
} FlPackParams;

#endif /* FL_PARAMS_H */
