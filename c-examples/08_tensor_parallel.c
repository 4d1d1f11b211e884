/* SPDX-License-Identifier: Apache-2.0
 *
 * One weight on two devices: C = A B with the rows of A divided (the results lie below each other), and with
 * the columns of A divided (the results are added, as an all-reduce does).
 *
 *   08_tensor_parallel [--device auto|cuda|host]
 *
 * A handle works in the CUDA context that is current when it is created. So the second handle is created with
 * device 1 current; on a machine with one GPU, or on the host, both handles share the device, and the program
 * is the same. */
#include "common.h"

#include <dlfcn.h>

enum { ROWS = 600, COLS = 2400, N = 8 };

/* ISO C knows no conversion from a data pointer to a function, POSIX does. */
static void symbol(void *library, const char *name, void *function) {
    void *address = dlsym(library, name);
    REQUIRE(address != NULL, "the driver lacks a function of every version");
    memcpy(function, &address, sizeof address);
}

/* Creates the second handle on the second GPU, if there is one. A program with the runtime API would call
 * cudaSetDevice(1), flashllmCreate(), cudaSetDevice(0). */
static flashllmHandle_t create_second(flashllmHandle_t first, int *devices) {
    flashllmDeviceType_t type = FLASHLLM_DEVICE_HOST;
    flashllmHandle_t handle = NULL;
    *devices = 1;
    CHECK(flashllmGetDeviceType(first, &type));
    if (type == FLASHLLM_DEVICE_HOST) {
        CHECK(flashllmCreateHost(&handle));
        return handle;
    }
    /* The library has no link-time dependency on libcuda; neither has this example. */
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    REQUIRE(driver != NULL, "flashllmCreate() found a driver, and dlopen() does not");
    int (*device_get_count)(int *) = NULL;
    int (*primary_retain)(void **, int) = NULL;
    int (*get_current)(void **) = NULL;
    int (*set_current)(void *) = NULL;
    symbol(driver, "cuDeviceGetCount", &device_get_count);
    symbol(driver, "cuDevicePrimaryCtxRetain", &primary_retain);
    symbol(driver, "cuCtxGetCurrent", &get_current);
    symbol(driver, "cuCtxSetCurrent", &set_current);
    REQUIRE(device_get_count(devices) == 0, "cuDeviceGetCount failed");
    if (*devices < 2) {
        CHECK(flashllmCreate(&handle));
        return handle;
    }
    void *before = NULL, *second = NULL;
    REQUIRE(get_current(&before) == 0, "cuCtxGetCurrent failed");
    /* Kept until the program ends, as the runtime API keeps it. */
    REQUIRE(primary_retain(&second, 1) == 0, "cuDevicePrimaryCtxRetain failed");
    REQUIRE(set_current(second) == 0, "cuCtxSetCurrent failed");
    CHECK(flashllmCreate(&handle));
    REQUIRE(set_current(before) == 0, "cuCtxSetCurrent failed");
    *devices = 2;
    return handle;
}

/* A shard of a matrix in host memory, sent to the handle's device: cut, serialised, deserialised. */
static flashllmSpMatDescr_t send_shard(flashllmHandle_t host, flashllmHandle_t handle,
                                       flashllmConstSpMatDescr_t whole, int64_t row_begin,
                                       int64_t row_end, int64_t col_begin, int64_t col_end,
                                       void **memory) {
    size_t bytes = 0, stored_bytes = 0;
    CHECK(flashllmSpMatSlice_bufferSize(host, whole, row_begin, row_end, col_begin, col_end, &bytes));
    void *buffer = allocate(host, bytes);
    flashllmSpMatDescr_t part = NULL, shard = NULL;
    CHECK(flashllmSpMatSlice(host, whole, row_begin, row_end, col_begin, col_end, &part, buffer, bytes));
    CHECK(flashllmSpMatSerializedSize(host, part, &stored_bytes));
    void *stored = malloc(stored_bytes);
    REQUIRE(stored != NULL, "out of memory");
    CHECK(flashllmSpMatSerialize(host, part, stored, stored_bytes));
    *memory = allocate(handle, bytes);
    CHECK(flashllmSpMatDeserialize(handle, &shard, stored, stored_bytes, FLASHLLM_VERIFY_FULL, *memory,
                                   bytes));
    free(stored);
    CHECK(flashllmDestroySpMat(part));
    CHECK(flashllmFree(host, buffer));
    return shard;
}

/* result = matrix * b on the handle's device; all dense matrices are row-major. */
static void multiply(flashllmHandle_t handle, flashllmConstSpMatDescr_t matrix, const uint16_t *b,
                     float *result) {
    int64_t rows = 0, cols = 0, nnz = 0;
    size_t bytes = 0, work_bytes = 0;
    const float one = 1.0f, zero = 0.0f;
    CHECK(flashllmSpMatGetSize(matrix, &rows, &cols, &nnz, &bytes));
    const size_t b_bytes = (size_t)cols * N * sizeof *b, c_bytes = (size_t)rows * N * sizeof *result;
    void *on_b = allocate(handle, b_bytes), *on_c = allocate(handle, c_bytes);
    copy_in(handle, on_b, b, b_bytes);
    flashllmConstDnMatDescr_t mat_b = NULL;
    flashllmDnMatDescr_t mat_c = NULL;
    CHECK(flashllmCreateConstDnMat(&mat_b, cols, N, N, on_b, FLASHLLM_R_16F, FLASHLLM_ORDER_ROW));
    CHECK(flashllmCreateDnMat(&mat_c, rows, N, N, on_c, FLASHLLM_R_32F, FLASHLLM_ORDER_ROW));
    CHECK(flashllmSpMM_bufferSize(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &one, matrix, mat_b, &zero, mat_c,
                                  FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, &work_bytes));
    void *work = allocate(handle, work_bytes);
    CHECK(flashllmSpMM_preprocess(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &one, matrix, mat_b, &zero, mat_c,
                                  FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, work));
    CHECK(flashllmSpMM(handle, FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_NON_TRANSPOSE,
                       &one, matrix, mat_b, &zero, mat_c, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT,
                       work));
    copy_out(handle, result, on_c, c_bytes);
    CHECK(flashllmDestroyDnMat(mat_b));
    CHECK(flashllmDestroyDnMat(mat_c));
    CHECK(flashllmFree(handle, work));
    CHECK(flashllmFree(handle, on_c));
    CHECK(flashllmFree(handle, on_b));
}

/* The first multiple of the tile at or after the middle. */
static int64_t middle(int64_t size, int64_t tile) {
    return (size / 2 + tile - 1) / tile * tile;
}

int main(int argc, char **argv) {
    int devices = 1;
    flashllmHandle_t host = NULL, handles[2];
    handles[0] = create_handle(argument(argc, argv, "--device", "auto"));
    handles[1] = create_second(handles[0], &devices);
    CHECK(flashllmCreateHost(&host));

    /* Small integers: every order of summation gives the same bits. */
    uint16_t *dense = (uint16_t *)calloc((size_t)ROWS * COLS, sizeof *dense);
    uint16_t *b = (uint16_t *)calloc((size_t)COLS * N, sizeof *b);
    float *want = (float *)calloc((size_t)ROWS * N, sizeof *want);
    float *got = (float *)calloc((size_t)ROWS * N, sizeof *got);
    float *part = (float *)calloc((size_t)ROWS * N, sizeof *part);
    REQUIRE(dense && b && want && got && part, "out of memory");
    uint32_t state = 1;
    for (size_t i = 0; i < (size_t)ROWS * COLS; ++i) {
        state = state * 1664525u + 1013904223u;
        if ((state >> 16) % 5 == 0) dense[i] = half_from_float((float)((state >> 8) % 9) - 4.0f);
    }
    for (size_t i = 0; i < (size_t)COLS * N; ++i) {
        state = state * 1664525u + 1013904223u;
        b[i] = half_from_float((float)((state >> 12) % 7) - 3.0f);
    }

    /* The whole weight, compressed on the host. A weight that is large may be compressed shard by shard
     * instead: describe the shard's part of the dense matrix with the whole one's ld. */
    flashllmConstDnMatDescr_t source = NULL;
    flashllmSpMatDescr_t whole = NULL;
    CHECK(flashllmCreateConstDnMat(&source, ROWS, COLS, COLS, dense, FLASHLLM_R_16F, FLASHLLM_ORDER_ROW));
    CHECK(flashllmCreateSpMat(&whole, ROWS, COLS, FLASHLLM_R_16F, FLASHLLM_FORMAT_SLOTS));
    size_t scratch_bytes = 0;
    CHECK(flashllmDenseToSparse_bufferSize(host, source, whole, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                           &scratch_bytes));
    void *scratch = allocate(host, scratch_bytes);
    CHECK(flashllmDenseToSparse_analysis(host, source, whole, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                         scratch));
    const size_t bytes = compressed_bytes(whole);
    void *buffer = allocate(host, bytes);
    CHECK(flashllmSpMatSetBuffer(host, whole, buffer, bytes));
    CHECK(flashllmDenseToSparse_convert(host, source, whole, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                        scratch));
    CHECK(flashllmFree(host, scratch));
    CHECK(flashllmDestroyDnMat(source));
    multiply(host, whole, b, want);

    int64_t tile_rows = 0, tile_cols = 0;
    CHECK(flashllmSpMatGetTileSize(whole, &tile_rows, &tile_cols));
    const int64_t row = middle(ROWS, tile_rows), col = middle(COLS, tile_cols);

    for (int i = 0; i < 2; ++i) {
        void *memory = NULL;
        const int64_t begin = i == 0 ? 0 : row, end = i == 0 ? row : (int64_t)ROWS;
        flashllmSpMatDescr_t shard = send_shard(host, handles[i], whole, begin, end, 0, COLS, &memory);
        multiply(handles[i], shard, b, got + (size_t)begin * N);
        CHECK(flashllmDestroySpMat(shard));
        CHECK(flashllmFree(handles[i], memory));
    }
    REQUIRE(memcmp(got, want, (size_t)ROWS * N * sizeof *got) == 0,
            "the rows' products below each other are not the whole product");

    memset(got, 0, (size_t)ROWS * N * sizeof *got);
    for (int i = 0; i < 2; ++i) {
        void *memory = NULL;
        const int64_t begin = i == 0 ? 0 : col, end = i == 0 ? col : (int64_t)COLS;
        flashllmSpMatDescr_t shard = send_shard(host, handles[i], whole, 0, ROWS, begin, end, &memory);
        multiply(handles[i], shard, b + (size_t)begin * N, part);
        for (size_t k = 0; k < (size_t)ROWS * N; ++k) got[k] += part[k];
        CHECK(flashllmDestroySpMat(shard));
        CHECK(flashllmFree(handles[i], memory));
    }
    for (size_t k = 0; k < (size_t)ROWS * N; ++k) {
        REQUIRE(got[k] == want[k], "the sum of the columns' products is not the whole product");
    }

    printf("two shards on %s make up the whole, by rows (at %lld) and by columns (at %lld)\n",
           devices > 1 ? "two GPUs" : device_name(handles[0]), (long long)row, (long long)col);
    CHECK(flashllmDestroySpMat(whole));
    CHECK(flashllmFree(host, buffer));
    CHECK(flashllmDestroy(handles[1]));
    CHECK(flashllmDestroy(handles[0]));
    CHECK(flashllmDestroy(host));
    free(part);
    free(got);
    free(want);
    free(b);
    free(dense);
    return EXIT_SUCCESS;
}
