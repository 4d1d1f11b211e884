/* SPDX-License-Identifier: Apache-2.0
 *
 * Prunes and compresses a weight where it lies, multiplies with it, and checks each step.
 * usage: 09_gpu_compress [--device auto|cuda|host]
 *
 * On a GPU the weight never leaves it: pruning, both passes of the compression and the product are kernels on the
 * handle's stream. The same calls run on the host. */
#include "common.h"

enum { M = 192, K = 640, TOKENS = 8 };

static const double kSparsity = 0.75;

int main(int argc, char **argv) {
    static uint16_t a[M * K], pruned[M * K], b[K * TOKENS];
    static float c[M * TOKENS];
    flashllmHandle_t handle = create_handle(argument(argc, argv, "--device", "auto"));

    /* Small integers, so that the product is exact; their magnitudes are what pruning goes by. */
    for (int i = 0; i < M * K; ++i) a[i] = half_from_float((float)((i * 37) % 63 - 31));
    for (int i = 0; i < K * TOKENS; ++i) b[i] = half_from_float((float)(i % 5 - 2));

    void *weight = allocate(handle, sizeof a);
    copy_in(handle, weight, a, sizeof a);
    flashllmDnMatDescr_t dense = NULL;
    CHECK(flashllmCreateDnMat(&dense, M, K, K, weight, FLASHLLM_R_16F, FLASHLLM_ORDER_ROW));

    /* Prune each row in place: exactly K * kSparsity of its elements are zero afterwards. */
    size_t bytes = 0;
    CHECK(flashllmPrune_bufferSize(handle, dense, dense, FLASHLLM_PRUNE_ALG_MAGNITUDE_ROW, &bytes));
    void *scratch = allocate(handle, bytes);
    CHECK(flashllmPrune(handle, dense, dense, FLASHLLM_PRUNE_ALG_MAGNITUDE_ROW, kSparsity, scratch));
    CHECK(flashllmSynchronize(handle));
    CHECK(flashllmFree(handle, scratch));

    copy_out(handle, pruned, weight, sizeof pruned);
    for (int m = 0; m < M; ++m) {
        int kept = 0;
        float smallest = 32.0f, largest_gone = 0.0f;
        for (int k = 0; k < K; ++k) {
            const float before = float_from_half(a[m * K + k]);
            const float after = float_from_half(pruned[m * K + k]);
            const float size = before < 0.0f ? -before : before;
            if (after != 0.0f) {
                ++kept;
                REQUIRE(after == before, "pruning changed an element that it kept");
                if (size < smallest) smallest = size;
            } else if (size > largest_gone) {
                largest_gone = size;
            }
        }
        REQUIRE(kept == (int)(K * (1.0 - kSparsity)), "a row keeps another number of elements");
        REQUIRE(largest_gone <= smallest, "a larger element was zeroed than one that was kept");
    }

    /* Compress. The analysis waits, because it gives the exact size; the conversion does not. */
    flashllmSpMatDescr_t sparse = NULL;
    CHECK(flashllmCreateSpMat(&sparse, M, K, FLASHLLM_R_16F, FLASHLLM_FORMAT_SLOTS));
    CHECK(flashllmDenseToSparse_bufferSize(handle, dense, sparse, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                           &bytes));
    scratch = allocate(handle, bytes);
    CHECK(flashllmDenseToSparse_analysis(handle, dense, sparse, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                         scratch));
    const size_t size = compressed_bytes(sparse);
    void *buffer = allocate(handle, size);
    CHECK(flashllmSpMatSetBuffer(handle, sparse, buffer, size));
    CHECK(flashllmDenseToSparse_convert(handle, dense, sparse, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                        scratch));

    /* Does the compressed matrix hold exactly the pruned one? */
    int32_t agrees = 0;
    CHECK(flashllmPruneCheck_bufferSize(handle, sparse, dense, &bytes));
    void *check = allocate(handle, bytes);
    CHECK(flashllmPruneCheck(handle, sparse, dense, &agrees, check));
    REQUIRE(agrees == 1, "the compressed matrix is not the pruned one");

    void *activations = allocate(handle, sizeof b), *output = allocate(handle, sizeof c);
    copy_in(handle, activations, b, sizeof b);
    flashllmConstDnMatDescr_t matB = NULL;
    flashllmDnMatDescr_t matC = NULL;
    CHECK(flashllmCreateConstDnMat(&matB, K, TOKENS, K, activations, FLASHLLM_R_16F,
                                   FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateDnMat(&matC, M, TOKENS, M, output, FLASHLLM_R_32F, FLASHLLM_ORDER_COL));
    const float one = 1.0f, zero = 0.0f;
    CHECK(flashllmSpMM_bufferSize(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &one, sparse, matB, &zero, matC,
                                  FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, &bytes));
    void *workspace = allocate(handle, bytes);
    CHECK(flashllmSpMM(handle, FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_NON_TRANSPOSE,
                       &one, sparse, matB, &zero, matC, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT,
                       workspace));
    copy_out(handle, c, output, sizeof c);
    for (int n = 0; n < TOKENS; ++n) {
        for (int m = 0; m < M; ++m) {
            float sum = 0.0f;
            for (int k = 0; k < K; ++k) {
                sum += float_from_half(pruned[m * K + k]) * float_from_half(b[n * K + k]);
            }
            REQUIRE(c[n * M + m] == sum, "the product is wrong");
        }
    }
    printf("on the %s: pruned to %.0f %%, %zu bytes instead of %zu, and all %d elements of C are exact\n",
           device_name(handle), 100.0 * kSparsity, size, sizeof a, M * TOKENS);

    CHECK(flashllmDestroyDnMat(matC));
    CHECK(flashllmDestroyDnMat(matB));
    CHECK(flashllmDestroySpMat(sparse));
    CHECK(flashllmDestroyDnMat(dense));
    CHECK(flashllmFree(handle, workspace));
    CHECK(flashllmFree(handle, output));
    CHECK(flashllmFree(handle, activations));
    CHECK(flashllmFree(handle, check));
    CHECK(flashllmFree(handle, buffer));
    CHECK(flashllmFree(handle, scratch));
    CHECK(flashllmFree(handle, weight));
    CHECK(flashllmDestroy(handle));
    return EXIT_SUCCESS;
}
