/* SPDX-License-Identifier: Apache-2.0
 *
 * C = alpha * A * B + beta * C with a compressed A.
 * usage: 03_spmm [--device auto|cuda|host]
 *
 * The same calls run on the GPU and on the host; only the handle differs. B holds the activations of
 * TOKENS tokens one after the other, which is a column-major K x N matrix; C comes out the same way. */
#include "common.h"

enum { M = 48, K = 80, TOKENS = 4 };

static void multiply(flashllmHandle_t handle, flashllmFormat_t format) {
    static uint16_t a[M * K], b[K * TOKENS];
    static float c[M * TOKENS], expected[M * TOKENS];
    const float alpha = 2.0f, beta = -1.0f;

    /* Small integers: every sum is exact, so the result must be too. */
    for (int m = 0; m < M; ++m) {
        for (int k = 0; k < K; ++k) {
            const int value = (m * 7 + k * 3) % 5 == 0 ? (m + k) % 7 - 3 : 0;
            a[m * K + k] = half_from_float((float)value);
        }
    }
    for (int i = 0; i < K * TOKENS; ++i) b[i] = half_from_float((float)(i % 9 - 4));
    for (int i = 0; i < M * TOKENS; ++i) c[i] = (float)(i % 3);
    for (int n = 0; n < TOKENS; ++n) {
        for (int m = 0; m < M; ++m) {
            float sum = 0.0f;
            for (int k = 0; k < K; ++k) {
                sum += float_from_half(a[m * K + k]) * float_from_half(b[n * K + k]);
            }
            expected[n * M + m] = alpha * sum + beta * c[n * M + m];
        }
    }

    void *device_a = allocate(handle, sizeof a);
    void *device_b = allocate(handle, sizeof b);
    void *device_c = allocate(handle, sizeof c);
    copy_in(handle, device_a, a, sizeof a);
    copy_in(handle, device_b, b, sizeof b);
    copy_in(handle, device_c, c, sizeof c);

    flashllmConstDnMatDescr_t dense = NULL, activations = NULL;
    flashllmDnMatDescr_t output = NULL;
    flashllmSpMatDescr_t weights = NULL;
    CHECK(flashllmCreateConstDnMat(&dense, M, K, K, device_a, FLASHLLM_R_16F, FLASHLLM_ORDER_ROW));
    CHECK(flashllmCreateConstDnMat(&activations, K, TOKENS, K, device_b, FLASHLLM_R_16F,
                                   FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateDnMat(&output, M, TOKENS, M, device_c, FLASHLLM_R_32F, FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateSpMat(&weights, M, K, FLASHLLM_R_16F, format));

    /* Once for each weight: compress. */
    size_t bytes = 0;
    CHECK(flashllmDenseToSparse_bufferSize(handle, dense, weights,
                                           FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, &bytes));
    void *scratch = allocate(handle, bytes);
    CHECK(flashllmDenseToSparse_analysis(handle, dense, weights, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                         scratch));
    bytes = compressed_bytes(weights);
    void *compressed = allocate(handle, bytes);
    CHECK(flashllmSpMatSetBuffer(handle, weights, compressed, bytes));
    CHECK(flashllmDenseToSparse_convert(handle, dense, weights, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                        scratch));

    /* Once for each shape: how much workspace, and whatever must not happen in the hot loop. */
    CHECK(flashllmSpMM_bufferSize(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &alpha, weights, activations,
                                  &beta, output, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, &bytes));
    void *workspace = allocate(handle, bytes);
    CHECK(flashllmSpMM_preprocess(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &alpha, weights, activations,
                                  &beta, output, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT,
                                  workspace));

    /* As often as there are tokens. Asynchronous on a GPU. */
    CHECK(flashllmSpMM(handle, FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_NON_TRANSPOSE,
                       &alpha, weights, activations, &beta, output, FLASHLLM_R_32F,
                       FLASHLLM_SPMM_ALG_DEFAULT, workspace));
    copy_out(handle, c, device_c, sizeof c);

    for (int n = 0; n < TOKENS; ++n) {
        for (int m = 0; m < M; ++m) {
            const float got = c[n * M + m], want = expected[n * M + m];
            if (got != want) {
                fprintf(stderr, "%s: C(%d, %d) is %g, expected %g\n", format_name(format), m, n,
                        (double)got, (double)want);
                exit(EXIT_FAILURE);
            }
        }
    }
    printf("%-9s on the %s: all %d elements are exact\n", format_name(format), device_name(handle),
           M * TOKENS);

    CHECK(flashllmDestroySpMat(weights));
    CHECK(flashllmDestroyDnMat(output));
    CHECK(flashllmDestroyDnMat(activations));
    CHECK(flashllmDestroyDnMat(dense));
    CHECK(flashllmFree(handle, workspace));
    CHECK(flashllmFree(handle, compressed));
    CHECK(flashllmFree(handle, scratch));
    CHECK(flashllmFree(handle, device_c));
    CHECK(flashllmFree(handle, device_b));
    CHECK(flashllmFree(handle, device_a));
}

int main(int argc, char **argv) {
    flashllmHandle_t handle = create_handle(argument(argc, argv, "--device", "auto"));
    for (int i = 0; i < FORMATS; ++i) multiply(handle, format_number(i));
    CHECK(flashllmDestroy(handle));
    return EXIT_SUCCESS;
}
