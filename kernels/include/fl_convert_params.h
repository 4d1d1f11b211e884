/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameter blocks of the conversion kernels. Plain C layout; src/gpu/params_convert.rs mirrors them field by
 * field and asserts sizes and offsets. Device addresses are 64-bit integers.
 */
#ifndef FL_CONVERT_PARAMS_H
#define FL_CONVERT_PARAMS_H

#include <stdint.h>

/* What a kernel does with the elements of a block that it has unpacked. */
#define FL_UNPACK_STORE 0   /* write them to the dense matrix */
#define FL_UNPACK_COMPARE 1 /* compare them with the dense matrix, zeros of either sign equal */
#define FL_UNPACK_CHECK 2   /* check the block; there is no dense matrix */

/* Blocks of a compressed matrix and the dense matrix, or strip of tile rows of it, that they stand for. */
typedef struct FlConvertParams {
    uint64_t dense;         /* 16-bit elements, the first of the strip */
    uint64_t table;         /* u32 offsets in units; before fl_convert_scan the blocks' sizes */
    uint64_t data;          /* data section */
    uint64_t front;         /* where header and table go, or 0: another launch writes them */
    uint64_t result;        /* FlConvertResult; 0 where nothing is reported */
    uint64_t orders;        /* Slots: 128 bytes a block of the matrix; sizes are followed by them, blocks follow from them */
    uint64_t dense_rows;    /* Slots: u32 a tile of the matrix, a bit for every row that is stored whole; likewise */
    uint64_t data_units;    /* units of the data section */
    uint64_t table_entries;
    uint64_t first_block;   /* number of the strip's first block in the matrix */
    int64_t ld;             /* elements between rows (or columns) of the dense matrix */
    int64_t rows;           /* of the strip */
    int64_t cols;
    uint32_t blocks_across; /* blocks of a row of tiles */
    uint32_t col_major;     /* element (r, c) at r + c * ld, else at r * ld + c */
    uint32_t vectors;       /* whether every row begins at a multiple of 16 bytes (row-major) */
    uint32_t reordered;     /* Tiled-CSL: items in bank order */
    uint32_t use;           /* FL_UNPACK_* */
    uint32_t extra_entries; /* entries of the table beyond one a block */
    uint32_t room;          /* units of the largest block */
    uint32_t header[64];    /* the header to write */
} FlConvertParams;

/* What the kernels report. The bytes are zero before the first kernel, but for `bad`. */
typedef struct FlConvertResult {
    uint64_t units;     /* of all blocks */
    uint64_t nnz;
    uint64_t bad;       /* number of the first block that is not as it should be, else ~0 */
    uint32_t max_block; /* units, or items (Tiled-CSL), of the largest block */
    uint32_t different; /* whether an element differs from the dense matrix */
} FlConvertResult;

/* flashllmFormat_t. */
#define FL_FORMAT_TILED_CSL 1
#define FL_FORMAT_BITMAP 2
#define FL_FORMAT_SLOTS 3
#define FL_FORMAT_BANKED 4
#define FL_FORMAT_SELL 5

/* Sizes of the blocks -> their offsets, and the sums. */
typedef struct FlScanParams {
    uint64_t table;   /* in: sizes of the blocks; out: offsets, one more than blocks or two */
    uint64_t result;  /* FlConvertResult */
    uint64_t blocks;
    uint32_t format;  /* one of FL_FORMAT */
} FlScanParams;

/* The table of an analysis, and what the header says of it. */
typedef struct FlTableParams {
    uint64_t table;      /* one more u32 than blocks */
    uint64_t blocks;
    uint64_t data_units; /* units of all blocks, at least blocks * least */
    uint32_t least;      /* units of a block */
    uint32_t most;
} FlTableParams;

/* The size of a SELL block is its units, shifted, and its non-zeros, which may be 65536. Bitmap, Slots and Banked: by 16. */
#define FL_SELL_UNITS_SHIFT 20

/* A dense matrix of 16-bit elements; the fields have the names of FlConvertParams. */
typedef struct FlView {
    uint64_t dense;
    int64_t ld;
    int64_t rows;
    int64_t cols;
    uint32_t col_major;
    uint32_t vectors;
} FlView;

/* Zeroes the `target` elements of smallest magnitude, of the matrix or of each row. */
typedef struct FlPruneParams {
    FlView in;
    FlView out;        /* of the same shape; may be `in` itself */
    uint64_t target;
    uint64_t state;    /* FlPruneState, zero before the first kernel */
    uint64_t counts;   /* u64 for each row and 256 columns: ties, then the ties before */
    uint32_t across;   /* 256 columns each, of a row */
    uint32_t pass;     /* histogram, select: 0 for the upper 8 bits of a magnitude, 1 for the lower 7 */
} FlPruneParams;

typedef struct FlPruneState {
    uint64_t bins[2][256];
    uint64_t below;     /* elements smaller than the threshold, or than all of its upper bits */
    uint64_t ties;      /* elements as large as the threshold that are pruned, the first ones in row-major order */
    uint32_t threshold;
    uint32_t reserved;
} FlPruneState;

/* Rows of a CSR matrix, checked or made dense. */
typedef struct FlCsrParams {
    FlView out;          /* expand: rows first_row .. first_row + out.rows, row-major */
    uint64_t offsets;
    uint64_t columns;
    uint64_t values;
    uint64_t result;     /* FlConvertResult: `bad` is the first row that is wrong */
    int64_t first_row;
    int64_t rows;        /* of the whole matrix */
    int64_t cols;
    int64_t nnz;
    int64_t base;        /* of offsets and columns */
    uint32_t wide_offsets; /* 64-bit, else 32-bit */
    uint32_t wide_columns;
} FlCsrParams;

#endif /* FL_CONVERT_PARAMS_H */
