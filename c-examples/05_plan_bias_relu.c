/* SPDX-License-Identifier: Apache-2.0
 *
 * C = relu(A * B + bias) with a compressed A, planned once and executed often; then the choice of the
 * plan is stored and forced in another plan.
 * usage: 05_plan_bias_relu [--device auto|cuda|host]
 *
 * The same calls run on the GPU and on the host; only the handle differs. */
#include "common.h"

enum { M = 64, K = 128, TOKENS = 4, STEPS = 3 };

static void set_attribute(flashllmSpMMPlan_t plan, flashllmSpMMPlanAttribute_t attribute,
                          const void *value, size_t bytes) {
    CHECK(flashllmSpMMPlanSetAttribute(plan, attribute, value, bytes));
}

int main(int argc, char **argv) {
    static uint16_t a[M * K], b[K * TOKENS];
    static float bias[M], c[M * TOKENS];
    const float alpha = 1.0f, beta = 0.0f;
    flashllmHandle_t handle = create_handle(argument(argc, argv, "--device", "auto"));

    /* Small integers and halves: every sum is exact, so the result must be too. */
    for (int m = 0; m < M; ++m) {
        bias[m] = (float)(m % 9 - 4) / 2.0f;
        for (int k = 0; k < K; ++k) {
            const int value = (m * 7 + k * 3) % 5 == 0 ? (m + k) % 7 - 3 : 0;
            a[m * K + k] = half_from_float((float)value);
        }
    }
    void *device_a = allocate(handle, sizeof a);
    void *device_b = allocate(handle, sizeof b);
    void *device_c = allocate(handle, sizeof c);
    void *device_bias = allocate(handle, sizeof bias);
    copy_in(handle, device_a, a, sizeof a);
    copy_in(handle, device_bias, bias, sizeof bias);

    flashllmConstDnMatDescr_t dense = NULL, activations = NULL;
    flashllmDnMatDescr_t output = NULL;
    flashllmSpMatDescr_t weights = NULL;
    CHECK(flashllmCreateConstDnMat(&dense, M, K, K, device_a, FLASHLLM_R_16F, FLASHLLM_ORDER_ROW));
    CHECK(flashllmCreateConstDnMat(&activations, K, TOKENS, K, device_b, FLASHLLM_R_16F,
                                   FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateDnMat(&output, M, TOKENS, M, device_c, FLASHLLM_R_32F, FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateSpMat(&weights, M, K, FLASHLLM_R_16F, FLASHLLM_FORMAT_AUTO));

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

    /* Once for each layer and number of tokens: plan. */
    flashllmSpMMPlan_t plan = NULL;
    const void *bias_values = device_bias;
    const flashllmDataType_t bias_type = FLASHLLM_R_32F;
    const flashllmActivation_t activation = FLASHLLM_ACTIVATION_RELU;
    CHECK(flashllmSpMMPlanCreate(handle, &plan, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                 FLASHLLM_OPERATION_NON_TRANSPOSE, weights, activations, output,
                                 FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT));
    set_attribute(plan, FLASHLLM_SPMM_PLAN_BIAS, &bias_values, sizeof bias_values);
    set_attribute(plan, FLASHLLM_SPMM_PLAN_BIAS_TYPE, &bias_type, sizeof bias_type);
    set_attribute(plan, FLASHLLM_SPMM_PLAN_ACTIVATION, &activation, sizeof activation);
    CHECK(flashllmSpMMPlan_bufferSize(handle, plan, &bytes));
    void *workspace = allocate(handle, bytes);

    /* What will run, and why. */
    size_t length = 0;
    CHECK(flashllmSpMMPlanExplain(handle, plan, NULL, &length));
    char *text = (char *)malloc(length);
    REQUIRE(text != NULL, "out of memory");
    CHECK(flashllmSpMMPlanExplain(handle, plan, text, &length));
    fputs(text, stdout);
    free(text);

    /* As often as there are tokens. Asynchronous on a GPU. */
    for (int step = 0; step < STEPS; ++step) {
        for (int i = 0; i < K * TOKENS; ++i) b[i] = half_from_float((float)((i + step) % 9 - 4));
        copy_in(handle, device_b, b, sizeof b);
        CHECK(flashllmSpMMPlanExecute(handle, plan, &alpha, weights, activations, &beta, output,
                                      workspace));
        copy_out(handle, c, device_c, sizeof c);
        for (int n = 0; n < TOKENS; ++n) {
            for (int m = 0; m < M; ++m) {
                float want = bias[m];
                for (int k = 0; k < K; ++k) {
                    want += float_from_half(a[m * K + k]) * float_from_half(b[n * K + k]);
                }
                if (want < 0.0f) want = 0.0f;
                if (c[n * M + m] != want) {
                    fprintf(stderr, "step %d: C(%d, %d) is %g, expected %g\n", step, m, n,
                            (double)c[n * M + m], (double)want);
                    return EXIT_FAILURE;
                }
            }
        }
    }
    printf("relu(A * B + bias) on the %s: all %d elements are exact, %d times\n",
           device_name(handle), M * TOKENS, STEPS);

    /* The choice is two numbers: store them, and force them where it must be the same one. */
    int32_t algorithm = 0, splits = 0, forced = 0;
    CHECK(flashllmSpMMPlanGetAttribute(plan, FLASHLLM_SPMM_PLAN_ALG_ID, &algorithm,
                                       sizeof algorithm));
    CHECK(flashllmSpMMPlanGetAttribute(plan, FLASHLLM_SPMM_PLAN_SPLITS, &splits, sizeof splits));
    flashllmSpMMPlan_t again = NULL;
    CHECK(flashllmSpMMPlanCreate(handle, &again, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                 FLASHLLM_OPERATION_NON_TRANSPOSE, weights, activations, output,
                                 FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT));
    set_attribute(again, FLASHLLM_SPMM_PLAN_ALG_ID, &algorithm, sizeof algorithm);
    set_attribute(again, FLASHLLM_SPMM_PLAN_SPLITS, &splits, sizeof splits);
    CHECK(flashllmSpMMPlanGetAttribute(again, FLASHLLM_SPMM_PLAN_ALG_ID, &forced, sizeof forced));
    REQUIRE(forced == algorithm, "the forced algorithm is another one");
    printf("algorithm %d, %d splits\n", (int)algorithm, (int)splits);

    CHECK(flashllmSpMMPlanDestroy(again));
    CHECK(flashllmSpMMPlanDestroy(plan));
    CHECK(flashllmDestroySpMat(weights));
    CHECK(flashllmDestroyDnMat(output));
    CHECK(flashllmDestroyDnMat(activations));
    CHECK(flashllmDestroyDnMat(dense));
    CHECK(flashllmFree(handle, workspace));
    CHECK(flashllmFree(handle, compressed));
    CHECK(flashllmFree(handle, scratch));
    CHECK(flashllmFree(handle, device_bias));
    CHECK(flashllmFree(handle, device_c));
    CHECK(flashllmFree(handle, device_b));
    CHECK(flashllmFree(handle, device_a));
    CHECK(flashllmDestroy(handle));
    return EXIT_SUCCESS;
}
