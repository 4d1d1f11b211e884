/* SPDX-License-Identifier: Apache-2.0
 *
 * Compresses once, loads often: a matrix to a file and back, and a small model (two compressed matrices and
 * a dense tensor) to a .safetensors file and back.
 *
 *   07_save_load [--device auto|cuda|host] [--directory .]
 *
 * Files are written under a temporary name and renamed, so a crash leaves the old file. Loading checks every
 * byte before the first one is copied. */
#include "common.h"

enum { ROWS = 200, COLS = 330 }; /* ragged on purpose: no multiple of any tile */

static flashllmSpMatDescr_t compress(flashllmHandle_t handle, flashllmFormat_t format, uint32_t seed,
                                     void **buffer) {
    uint16_t *dense = (uint16_t *)calloc((size_t)ROWS * COLS, sizeof *dense);
    REQUIRE(dense != NULL, "out of memory");
    for (size_t i = 0; i < (size_t)ROWS * COLS; ++i) {
        seed = seed * 1664525u + 1013904223u;
        if ((seed >> 16) % 5 == 0) dense[i] = half_from_float((float)(seed >> 8) / 8388608.0f - 0.99f);
    }
    uint16_t *values = (uint16_t *)allocate(handle, (size_t)ROWS * COLS * sizeof *dense);
    copy_in(handle, values, dense, (size_t)ROWS * COLS * sizeof *dense);

    flashllmConstDnMatDescr_t source = NULL;
    flashllmSpMatDescr_t sparse = NULL;
    CHECK(flashllmCreateConstDnMat(&source, ROWS, COLS, COLS, values, FLASHLLM_R_16F,
                                   FLASHLLM_ORDER_ROW));
    CHECK(flashllmCreateSpMat(&sparse, ROWS, COLS, FLASHLLM_R_16F, format));
    size_t scratch_bytes = 0;
    CHECK(flashllmDenseToSparse_bufferSize(handle, source, sparse,
                                           FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, &scratch_bytes));
    void *scratch = allocate(handle, scratch_bytes);
    CHECK(flashllmDenseToSparse_analysis(handle, source, sparse,
                                         FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));
    const size_t bytes = compressed_bytes(sparse);
    *buffer = allocate(handle, bytes);
    CHECK(flashllmSpMatSetBuffer(handle, sparse, *buffer, bytes));
    CHECK(flashllmDenseToSparse_convert(handle, source, sparse,
                                        FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));
    CHECK(flashllmSynchronize(handle));
    CHECK(flashllmDestroyDnMat(source));
    CHECK(flashllmFree(handle, scratch));
    CHECK(flashllmFree(handle, values));
    free(dense);
    return sparse;
}

/* Whether two matrices have the same compressed bytes. */
static int same(flashllmHandle_t handle, flashllmConstSpMatDescr_t a, flashllmConstSpMatDescr_t b) {
    const size_t bytes = compressed_bytes(a);
    void *of_a = NULL, *of_b = NULL;
    size_t room = 0;
    if (compressed_bytes(b) != bytes) return 0;
    CHECK(flashllmSpMatGetBuffer(a, &of_a, &room));
    CHECK(flashllmSpMatGetBuffer(b, &of_b, &room));
    char *x = (char *)malloc(bytes), *y = (char *)malloc(bytes);
    REQUIRE(x != NULL && y != NULL, "out of memory");
    copy_out(handle, x, of_a, bytes);
    copy_out(handle, y, of_b, bytes);
    const int equal = memcmp(x, y, bytes) == 0;
    free(x);
    free(y);
    return equal;
}

static void one_matrix(flashllmHandle_t handle, const char *path) {
    void *buffer = NULL;
    flashllmSpMatDescr_t matrix = compress(handle, FLASHLLM_FORMAT_AUTO, 1, &buffer);
    CHECK(flashllmSpMatSave(handle, matrix, path));

    /* The file says how much memory its matrix needs. */
    int64_t rows = 0, cols = 0, nnz = 0;
    flashllmDataType_t type = FLASHLLM_R_32F;
    flashllmFormat_t format = FLASHLLM_FORMAT_AUTO;
    size_t bytes = 0, file_bytes = 0;
    CHECK(flashllmSpMatGetFileInfo(path, &rows, &cols, &nnz, &type, &format, &bytes, &file_bytes));
    printf("%s: %lld x %lld, %lld non-zeros, %s, %zu bytes\n", path, (long long)rows,
           (long long)cols, (long long)nnz, format_name(format), file_bytes);
    void *memory = allocate(handle, bytes);
    flashllmSpMatDescr_t loaded = NULL;
    CHECK(flashllmSpMatLoad(handle, &loaded, path, FLASHLLM_VERIFY_FULL, memory, bytes));
    REQUIRE(same(handle, matrix, loaded), "the matrix changed on its way through the file");

    CHECK(flashllmDestroySpMat(loaded));
    CHECK(flashllmDestroySpMat(matrix));
    CHECK(flashllmFree(handle, memory));
    CHECK(flashllmFree(handle, buffer));
}

static void a_model(flashllmHandle_t handle, const char *path) {
    static const char *const names[2] = {"layers.0.fc1.weight", "layers.0.fc2.weight"};
    flashllmSpMatDescr_t matrices[2];
    void *buffers[2];
    float bias[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    const int64_t shape[1] = {8};
    void *on_device = allocate(handle, sizeof bias);
    copy_in(handle, on_device, bias, sizeof bias);

    /* Each tensor goes to the disk as it is added: a model larger than memory can be written this way. */
    flashllmSafetensorsWriter_t writer = NULL;
    CHECK(flashllmSafetensorsWriterCreate(&writer, path, 3));
    for (int i = 0; i < 2; ++i) {
        matrices[i] = compress(handle, i == 0 ? FLASHLLM_FORMAT_SLOTS : FLASHLLM_FORMAT_BITMAP,
                               (uint32_t)i + 2u, &buffers[i]);
        CHECK(flashllmSafetensorsWriterAddSpMat(handle, writer, names[i], matrices[i]));
    }
    CHECK(flashllmSafetensorsWriterAddDense(handle, writer, "layers.0.fc1.bias", "F32", 1, shape,
                                            on_device));
    CHECK(flashllmSafetensorsWriterAddMetadata(writer, "format", "pt"));
    CHECK(flashllmSafetensorsWriterFinish(writer));
    CHECK(flashllmSafetensorsWriterDestroy(writer));

    flashllmSafetensors_t file = NULL;
    size_t count = 0;
    CHECK(flashllmSafetensorsOpen(&file, path));
    CHECK(flashllmSafetensorsGetCount(file, &count));
    REQUIRE(count == 3, "the file does not have three tensors");
    for (size_t i = 0; i < count; ++i) {
        const char *name = NULL, *dtype = NULL;
        int32_t compressed = 0, rank = 0;
        const int64_t *dimensions = NULL;
        size_t offset = 0, bytes = 0;
        CHECK(flashllmSafetensorsGetTensor(file, i, &name, &compressed, &dtype, &rank, &dimensions,
                                           &offset, &bytes));
        printf("  %-20s %s, %zu bytes at %zu\n", name, compressed ? "compressed" : dtype, bytes, offset);
        if (!compressed) {
            float back[8] = {0};
            void *target = allocate(handle, bytes);
            CHECK(flashllmSafetensorsLoadDense(handle, file, i, target, bytes));
            copy_out(handle, back, target, sizeof back);
            REQUIRE(memcmp(back, bias, sizeof back) == 0, "the bias changed on its way");
            CHECK(flashllmFree(handle, target));
            continue;
        }
        int64_t rows = 0, cols = 0, nnz = 0;
        flashllmDataType_t type = FLASHLLM_R_32F;
        flashllmFormat_t format = FLASHLLM_FORMAT_AUTO;
        size_t need = 0;
        CHECK(flashllmSafetensorsGetSpMat(file, i, &rows, &cols, &nnz, &type, &format, &need));
        void *target = allocate(handle, need);
        flashllmSpMatDescr_t loaded = NULL;
        CHECK(flashllmSafetensorsLoadSpMat(handle, file, i, &loaded, FLASHLLM_VERIFY_FULL, target,
                                           need));
        REQUIRE(same(handle, loaded, matrices[strcmp(name, names[0]) == 0 ? 0 : 1]),
                "a matrix changed on its way through the model");
        CHECK(flashllmDestroySpMat(loaded));
        CHECK(flashllmFree(handle, target));
    }
    CHECK(flashllmSafetensorsClose(file));
    for (int i = 0; i < 2; ++i) {
        CHECK(flashllmDestroySpMat(matrices[i]));
        CHECK(flashllmFree(handle, buffers[i]));
    }
    CHECK(flashllmFree(handle, on_device));
}

int main(int argc, char **argv) {
    flashllmHandle_t handle = create_handle(argument(argc, argv, "--device", "auto"));
    const char *directory = argument(argc, argv, "--directory", ".");
    char path[1024];
    const int length = snprintf(path, sizeof path, "%s/07_save_load.flash_llm", directory);
    REQUIRE(length > 0 && (size_t)length < sizeof path, "--directory is too long");
    one_matrix(handle, path);
    remove(path);
    snprintf(path, sizeof path, "%s/07_save_load.safetensors", directory);
    printf("%s:\n", path);
    a_model(handle, path);
    remove(path);
    printf("everything came back from the files to the %s\n", device_name(handle));
    CHECK(flashllmDestroy(handle));
    return EXIT_SUCCESS;
}
