/* SPDX-License-Identifier: Apache-2.0
 *
 * A small reader of safetensors files for the demo: the 2-D floating point tensors, one at a time.
 *
 * The file is not trusted. Every number in the header is checked before it is used: nothing is read
 * outside the file, no product of dimensions overflows, nesting is bounded, and memory grows only
 * with the header that was really there. */
#ifndef FLASH_LLM_EXAMPLES_SAFETENSORS_H
#define FLASH_LLM_EXAMPLES_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum { ST_F32, ST_F16, ST_BF16 } st_type;

typedef struct {
    char name[128]; /* the end of a longer name is cut off */
    st_type type;
    uint64_t rows, cols;
    uint64_t offset; /* in the file */
} st_tensor;

typedef struct {
    FILE *file;
    st_tensor *tensors; /* in the order of the header */
    size_t count;
    size_t skipped; /* tensors that are not 2-D, not floating point, or empty */
    char error[256];
} st_file;

/* Returns 0, or -1 with a sentence in `error`; call st_close after either. */
int st_open(st_file *st, const char *path);

/* Reads one tensor as fp16 bits into `out` (rows * cols elements). Returns as st_open. */
int st_read_half(st_file *st, const st_tensor *tensor, uint16_t *out);

void st_close(st_file *st);

#endif
