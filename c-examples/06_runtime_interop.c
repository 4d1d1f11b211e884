/* SPDX-License-Identifier: Apache-2.0
 *
 * flash_llm in a program of the CUDA runtime API: its memory (cudaMalloc) and its stream (cudaStream_t).
 * Exits 77 without a GPU or without libcudart.
 *
 * The runtime is loaded with dlopen and declared by hand, so that this example compiles where no CUDA
 * toolkit is installed. A program with the toolkit includes <cuda_runtime.h> instead: flashllmStream_t
 * is cudaStream_t. */
#include "dynamic.h"

enum { M = 96, K = 256, TOKENS = 8 };

static struct {
    int (*setDevice)(int device);
    int (*malloc)(void **pointer, size_t bytes);
    int (*free)(void *pointer);
    int (*memcpyAsync)(void *to, const void *from, size_t bytes, int kind, flashllmStream_t stream);
    int (*streamCreate)(flashllmStream_t *stream);
    int (*streamDestroy)(flashllmStream_t stream);
    int (*streamSynchronize)(flashllmStream_t stream);
} cuda;

#define CUDA(call)                                                                      \
    do {                                                                                \
        const int cuda_result = (call);                                                 \
        if (cuda_result != 0) {                                                         \
            fprintf(stderr, "%s:%d: %s: cudaError_t %d\n", __FILE__, __LINE__, #call,   \
                    cuda_result);                                                       \
            exit(EXIT_FAILURE);                                                         \
        }                                                                               \
    } while (0)

static void load_runtime(void) {
    static const char *const names[] = {"libcudart.so.13", "libcudart.so.12", "libcudart.so",
                                        "/usr/local/cuda/lib64/libcudart.so"};
    void *library = NULL;
    for (size_t i = 0; library == NULL && i < sizeof names / sizeof *names; ++i) {
        library = dlopen(names[i], RTLD_NOW);
    }
    if (library == NULL) skip("the CUDA runtime (libcudart) cannot be loaded");
    load(library, "cudaSetDevice", &cuda.setDevice);
    load(library, "cudaMalloc", &cuda.malloc);
    load(library, "cudaFree", &cuda.free);
    load(library, "cudaMemcpyAsync", &cuda.memcpyAsync);
    load(library, "cudaStreamCreate", &cuda.streamCreate);
    load(library, "cudaStreamDestroy", &cuda.streamDestroy);
    load(library, "cudaStreamSynchronize", &cuda.streamSynchronize);
}

int main(void) {
    static uint16_t a[M * K], b[K * TOKENS];
    static float c[M * TOKENS];
    const float alpha = 1.0f, beta = 0.0f;
    enum { TO_DEVICE = 1, TO_HOST = 2 }; /* cudaMemcpyKind */

    load_runtime();
    /* From CUDA 12 on this makes the device's context and makes it current, which is what the handle is
     * bound to. */
    if (cuda.setDevice(0) != 0) skip("the CUDA runtime finds no device");
    flashllmStream_t stream = NULL; /* cudaStream_t */
    CUDA(cuda.streamCreate(&stream));
    flashllmHandle_t handle = create_handle("cuda");
    CHECK(flashllmSetStream(handle, stream));

    for (int i = 0; i < M * K; ++i) {
        a[i] = half_from_float((float)((i * 37) % 4 == 0 ? (i * 11) % 7 - 3 : 0));
    }
    for (int i = 0; i < K * TOKENS; ++i) b[i] = half_from_float((float)(i % 9 - 4));
    void *device_a = NULL, *device_b = NULL, *device_c = NULL, *scratch = NULL, *compressed = NULL;
    void *workspace = NULL;
    CUDA(cuda.malloc(&device_a, sizeof a));
    CUDA(cuda.malloc(&device_b, sizeof b));
    CUDA(cuda.malloc(&device_c, sizeof c));
    CUDA(cuda.memcpyAsync(device_a, a, sizeof a, TO_DEVICE, stream));
    CUDA(cuda.memcpyAsync(device_b, b, sizeof b, TO_DEVICE, stream));

    flashllmConstDnMatDescr_t dense = NULL, activations = NULL;
    flashllmDnMatDescr_t output = NULL;
    flashllmSpMatDescr_t weights = NULL;
    size_t bytes = 0;
    CHECK(flashllmCreateConstDnMat(&dense, M, K, K, device_a, FLASHLLM_R_16F, FLASHLLM_ORDER_ROW));
    CHECK(flashllmCreateConstDnMat(&activations, K, TOKENS, K, device_b, FLASHLLM_R_16F,
                                   FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateDnMat(&output, M, TOKENS, M, device_c, FLASHLLM_R_32F, FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateSpMat(&weights, M, K, FLASHLLM_R_16F, FLASHLLM_FORMAT_AUTO));
    CHECK(flashllmDenseToSparse_bufferSize(handle, dense, weights,
                                           FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, &bytes));
    if (bytes != 0) CUDA(cuda.malloc(&scratch, bytes));
    CHECK(flashllmDenseToSparse_analysis(handle, dense, weights, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                         scratch));
    /* cudaMalloc aligns to 256 bytes, which is what buffers and workspaces need. */
    bytes = compressed_bytes(weights);
    CUDA(cuda.malloc(&compressed, bytes));
    CHECK(flashllmSpMatSetBuffer(handle, weights, compressed, bytes));
    CHECK(flashllmDenseToSparse_convert(handle, dense, weights, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                        scratch));
    CHECK(flashllmSpMM_bufferSize(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &alpha, weights, activations,
                                  &beta, output, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, &bytes));
    if (bytes != 0) CUDA(cuda.malloc(&workspace, bytes));

    /* In order with everything else on the stream. */
    CHECK(flashllmSpMM(handle, FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_NON_TRANSPOSE,
                       &alpha, weights, activations, &beta, output, FLASHLLM_R_32F,
                       FLASHLLM_SPMM_ALG_DEFAULT, workspace));
    CUDA(cuda.memcpyAsync(c, device_c, sizeof c, TO_HOST, stream));
    CUDA(cuda.streamSynchronize(stream));

    for (int n = 0; n < TOKENS; ++n) {
        for (int m = 0; m < M; ++m) {
            float sum = 0.0f;
            for (int k = 0; k < K; ++k) {
                sum += float_from_half(a[m * K + k]) * float_from_half(b[n * K + k]);
            }
            if (c[n * M + m] != sum) {
                fprintf(stderr, "C(%d, %d) is %g, expected %g\n", m, n, (double)c[n * M + m],
                        (double)sum);
                return EXIT_FAILURE;
            }
        }
    }
    printf("cudaMalloc's memory and a cudaStream_t: all %d elements are exact\n", M * TOKENS);

    CHECK(flashllmDestroySpMat(weights));
    CHECK(flashllmDestroyDnMat(output));
    CHECK(flashllmDestroyDnMat(activations));
    CHECK(flashllmDestroyDnMat(dense));
    CHECK(flashllmDestroy(handle));
    if (workspace != NULL) CUDA(cuda.free(workspace));
    CUDA(cuda.free(compressed));
    if (scratch != NULL) CUDA(cuda.free(scratch));
    CUDA(cuda.free(device_c));
    CUDA(cuda.free(device_b));
    CUDA(cuda.free(device_a));
    CUDA(cuda.streamDestroy(stream));
    return EXIT_SUCCESS;
}
