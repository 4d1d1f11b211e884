/* SPDX-License-Identifier: Apache-2.0
 *
 * Compresses a pruned matrix on the host and gets the same bits back. Needs no GPU.
 *
 * Compression has the three steps of cuSPARSE: _bufferSize (how much scratch), _analysis (chooses the
 * format, counts, so that SpMatGetSize knows the exact bytes) and _convert (writes the buffer). */
#include "common.h"

enum { ROWS = 200, COLS = 330 }; /* ragged on purpose: no multiple of any tile */

static void round_trip(flashllmHandle_t handle, flashllmFormat_t format, const uint16_t *dense) {
    flashllmConstDnMatDescr_t source = NULL;
    flashllmSpMatDescr_t sparse = NULL;
    CHECK(flashllmCreateConstDnMat(&source, ROWS, COLS, COLS, dense, FLASHLLM_R_16F,
                                   FLASHLLM_ORDER_ROW));
    CHECK(flashllmCreateSpMat(&sparse, ROWS, COLS, FLASHLLM_R_16F, format));

    size_t scratch_bytes = 0;
    CHECK(flashllmDenseToSparse_bufferSize(handle, source, sparse,
                                           FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, &scratch_bytes));
    void *scratch = allocate(handle, scratch_bytes);
    CHECK(flashllmDenseToSparse_analysis(handle, source, sparse,
                                         FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));

    int64_t rows = 0, cols = 0, nnz = 0;
    size_t bytes = 0;
    CHECK(flashllmSpMatGetSize(sparse, &rows, &cols, &nnz, &bytes));
    void *buffer = allocate(handle, bytes);
    CHECK(flashllmSpMatSetBuffer(handle, sparse, buffer, bytes));
    CHECK(flashllmDenseToSparse_convert(handle, source, sparse,
                                        FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));

    flashllmFormat_t resolved = FLASHLLM_FORMAT_AUTO;
    CHECK(flashllmSpMatGetFormat(sparse, &resolved));
    printf("%-9s -> %-9s %lld x %lld, %lld non-zeros, %zu bytes, dense %zu bytes\n",
           format_name(format), format_name(resolved), (long long)rows, (long long)cols,
           (long long)nnz, bytes, (size_t)ROWS * COLS * 2);

    /* The buffer describes itself: a second descriptor adopts a copy of it, as a program would that
     * has read it from a file. Hostile bytes would be refused here. */
    flashllmSpMatDescr_t adopted = NULL;
    void *copy = allocate(handle, bytes);
    CHECK(flashllmMemcpy(handle, copy, buffer, bytes, FLASHLLM_MEMCPY_HOST_TO_HOST));
    CHECK(flashllmCreateSpMat(&adopted, ROWS, COLS, FLASHLLM_R_16F, resolved));
    CHECK(flashllmSpMatSetBuffer(handle, adopted, copy, bytes));

    flashllmDnMatDescr_t target = NULL;
    uint16_t *back = (uint16_t *)malloc((size_t)ROWS * COLS * sizeof *back);
    REQUIRE(back != NULL, "out of memory");
    CHECK(flashllmCreateDnMat(&target, ROWS, COLS, COLS, back, FLASHLLM_R_16F, FLASHLLM_ORDER_ROW));
    size_t unpack_bytes = 0;
    CHECK(flashllmSparseToDense_bufferSize(handle, adopted, target,
                                           FLASHLLM_SPARSETODENSE_ALG_DEFAULT, &unpack_bytes));
    void *unpack = allocate(handle, unpack_bytes);
    CHECK(flashllmSparseToDense(handle, adopted, target, FLASHLLM_SPARSETODENSE_ALG_DEFAULT, unpack));
    REQUIRE(memcmp(dense, back, (size_t)ROWS * COLS * sizeof *back) == 0,
            "decompression did not give the matrix back");

    CHECK(flashllmDestroyDnMat(target));
    CHECK(flashllmDestroyDnMat(source));
    CHECK(flashllmDestroySpMat(adopted));
    CHECK(flashllmDestroySpMat(sparse));
    CHECK(flashllmFree(handle, unpack));
    CHECK(flashllmFree(handle, copy));
    CHECK(flashllmFree(handle, buffer));
    CHECK(flashllmFree(handle, scratch));
    free(back);
}

int main(void) {
    flashllmHandle_t handle = NULL;
    CHECK(flashllmCreateHost(&handle));

    uint16_t *dense = (uint16_t *)calloc((size_t)ROWS * COLS, sizeof *dense);
    REQUIRE(dense != NULL, "out of memory");
    uint32_t state = 1;
    for (size_t i = 0; i < (size_t)ROWS * COLS; ++i) {
        state = state * 1664525u + 1013904223u;
        /* Four of five weights are pruned. */
        if ((state >> 16) % 5 == 0) dense[i] = half_from_float((float)(state >> 8) / 8388608.0f - 0.99f);
    }
    dense[0] = 0x7e01; /* a NaN keeps its payload, */
    dense[1] = 0x0001; /* the smallest subnormal its bit, */
    dense[2] = 0xfc00; /* and infinity its sign */

    for (int i = 0; i < FORMATS; ++i) round_trip(handle, format_number(i), dense);

    free(dense);
    CHECK(flashllmDestroy(handle));
    printf("every format gave the same bits back\n");
    return EXIT_SUCCESS;
}
