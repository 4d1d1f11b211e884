/* SPDX-License-Identifier: Apache-2.0
 *
 * A small reader of safetensors files: where each tensor lies, and one tensor at a time as fp16, as
 * fp32 or as bytes.
 *
 * The file is not trusted. Every number in the header is checked before it is used: nothing is read
 * outside the file, no product of dimensions overflows, nesting is bounded, and memory grows only
 * with the header that was really there. */
#ifndef FLASH_LLM_EXAMPLES_SAFETENSORS_H
#define FLASH_LLM_EXAMPLES_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ST_MAX_DIMENSIONS = 8 };

typedef enum { ST_F32, ST_F16, ST_BF16, ST_U8, ST_OTHER } st_type;

typedef struct {
    char name[128]; /* the end of a longer name is cut off */
    st_type type;
    size_t dimensions;
    uint64_t shape[ST_MAX_DIMENSIONS];
    uint64_t rows, cols; /* of a matrix; 0 otherwise */
    uint64_t bytes;
    uint64_t offset; /* in the file */
} st_tensor;

typedef struct {
    FILE *file;
    st_tensor *tensors; /* in the order of the header */
    size_t count;
    size_t skipped; /* tensors of types that this reader does not know */
    char error[256];
} st_file;

/* Returns 0, or -1 with a sentence in `error`; call st_close after either. */
int st_open(st_file *st, const char *path);

/* Whether a tensor is a 2-D floating point one with at least one element. */
int st_is_matrix(const st_tensor *tensor);

/* The tensor of that name, or NULL. */
const st_tensor *st_find(const st_file *st, const char *name);

/* Read one tensor into `out`, in the order of the file: a floating point one as fp16 bits or as fp32,
 * any one as its bytes. Return as st_open. */
int st_read_half(st_file *st, const st_tensor *tensor, uint16_t *out);
int st_read_float(st_file *st, const st_tensor *tensor, float *out);
int st_read_bytes(st_file *st, const st_tensor *tensor, void *out);

void st_close(st_file *st);

#ifdef __cplusplus
}
#endif

#endif
