/* SPDX-License-Identifier: Apache-2.0
 *
 * Captures a multiplication in a CUDA graph and replays it with new activations. Exits 77 without a GPU.
 *
 * The graph calls of the driver are loaded with dlopen and declared by hand, so that this example
 * compiles where no CUDA toolkit is installed. A program with the toolkit includes <cuda.h> or
 * <cuda_runtime.h> instead: flashllmStream_t is CUstream and cudaStream_t. */
#include "dynamic.h"

enum { M = 96, K = 256, TOKENS = 8, REPLAYS = 3 };

typedef struct CUctx_st *CUcontext;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;

static struct {
    int (*init)(unsigned flags);
    int (*deviceGet)(int *device, int ordinal);
    int (*primaryRetain)(CUcontext *context, int device);
    int (*primaryRelease)(int device);
    int (*setCurrent)(CUcontext context);
    int (*streamCreate)(flashllmStream_t *stream, unsigned flags);
    int (*streamDestroy)(flashllmStream_t stream);
    int (*streamSynchronize)(flashllmStream_t stream);
    int (*beginCapture)(flashllmStream_t stream, int mode);
    int (*endCapture)(flashllmStream_t stream, CUgraph *graph);
    int (*instantiate)(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
    int (*graphLaunch)(CUgraphExec exec, flashllmStream_t stream);
    int (*execDestroy)(CUgraphExec exec);
    int (*graphDestroy)(CUgraph graph);
} cu;

#define CU(call)                                                                        \
    do {                                                                                \
        const int cu_result = (call);                                                   \
        if (cu_result != 0) {                                                           \
            fprintf(stderr, "%s:%d: %s: CUresult %d\n", __FILE__, __LINE__, #call,      \
                    cu_result);                                                         \
            exit(EXIT_FAILURE);                                                         \
        }                                                                               \
    } while (0)

static void load_driver(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == NULL) skip("libcuda.so.1 cannot be loaded");
    load(library, "cuInit", &cu.init);
    load(library, "cuDeviceGet", &cu.deviceGet);
    load(library, "cuDevicePrimaryCtxRetain", &cu.primaryRetain);
    load(library, "cuDevicePrimaryCtxRelease_v2", &cu.primaryRelease);
    load(library, "cuCtxSetCurrent", &cu.setCurrent);
    load(library, "cuStreamCreate", &cu.streamCreate);
    load(library, "cuStreamDestroy_v2", &cu.streamDestroy);
    load(library, "cuStreamSynchronize", &cu.streamSynchronize);
    load(library, "cuStreamBeginCapture_v2", &cu.beginCapture);
    load(library, "cuStreamEndCapture", &cu.endCapture);
    load(library, "cuGraphInstantiateWithFlags", &cu.instantiate);
    load(library, "cuGraphLaunch", &cu.graphLaunch);
    load(library, "cuGraphExecDestroy", &cu.execDestroy);
    load(library, "cuGraphDestroy", &cu.graphDestroy);
}

int main(void) {
    static uint16_t a[M * K], b[K * TOKENS];
    static float c[M * TOKENS];
    const float alpha = 1.0f, beta = 0.0f;

    load_driver();
    int device = 0;
    CUcontext context = NULL;
    flashllmStream_t stream = NULL;
    if (cu.init(0) != 0 || cu.deviceGet(&device, 0) != 0) skip("the driver finds no device");
    CU(cu.primaryRetain(&context, device));
    CU(cu.setCurrent(context));
    CU(cu.streamCreate(&stream, 1 /* CU_STREAM_NON_BLOCKING */));

    flashllmHandle_t handle = create_handle("cuda");
    CHECK(flashllmSetStream(handle, stream));

    for (int i = 0; i < M * K; ++i) {
        a[i] = half_from_float((float)((i * 37) % 4 == 0 ? (i * 11) % 7 - 3 : 0));
    }
    void *device_a = allocate(handle, sizeof a);
    void *device_b = allocate(handle, sizeof b);
    void *device_c = allocate(handle, sizeof c);
    copy_in(handle, device_a, a, sizeof a);

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
    void *scratch = allocate(handle, bytes);
    CHECK(flashllmDenseToSparse_analysis(handle, dense, weights, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                         scratch));
    bytes = compressed_bytes(weights);
    void *compressed = allocate(handle, bytes);
    CHECK(flashllmSpMatSetBuffer(handle, weights, compressed, bytes));
    CHECK(flashllmDenseToSparse_convert(handle, dense, weights, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                        scratch));
    CHECK(flashllmSpMM_bufferSize(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &alpha, weights, activations,
                                  &beta, output, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, &bytes));
    void *workspace = allocate(handle, bytes);
    /* Before the capture: a capture may neither allocate nor load. */
    CHECK(flashllmSpMM_preprocess(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &alpha, weights, activations,
                                  &beta, output, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT,
                                  workspace));

    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CU(cu.beginCapture(stream, 1 /* CU_STREAM_CAPTURE_MODE_THREAD_LOCAL */));
    CHECK(flashllmSpMM(handle, FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_NON_TRANSPOSE,
                       &alpha, weights, activations, &beta, output, FLASHLLM_R_32F,
                       FLASHLLM_SPMM_ALG_DEFAULT, workspace));
    CU(cu.endCapture(stream, &graph));
    CU(cu.instantiate(&exec, graph, 0));

    for (int replay = 0; replay < REPLAYS; ++replay) {
        for (int i = 0; i < K * TOKENS; ++i) {
            b[i] = half_from_float((float)((i + replay) % 9 - 4));
        }
        copy_in(handle, device_b, b, sizeof b);
        CU(cu.graphLaunch(exec, stream));
        CU(cu.streamSynchronize(stream));
        copy_out(handle, c, device_c, sizeof c);
        for (int n = 0; n < TOKENS; ++n) {
            for (int m = 0; m < M; ++m) {
                float sum = 0.0f;
                for (int k = 0; k < K; ++k) {
                    sum += float_from_half(a[m * K + k]) * float_from_half(b[n * K + k]);
                }
                if (c[n * M + m] != sum) {
                    fprintf(stderr, "replay %d: C(%d, %d) is %g, expected %g\n", replay, m, n,
                            (double)c[n * M + m], (double)sum);
                    return EXIT_FAILURE;
                }
            }
        }
    }
    printf("one capture, %d replays, every element exact\n", REPLAYS);

    CU(cu.execDestroy(exec));
    CU(cu.graphDestroy(graph));
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
    CHECK(flashllmDestroy(handle));
    CU(cu.streamDestroy(stream));
    CU(cu.primaryRelease(device));
    return EXIT_SUCCESS;
}
