// SPDX-License-Identifier: Apache-2.0
//
// FlashLlmGemmWrapper against a plain loop: every argument of its calls, exactly (small integers), and what
// it must refuse. Run it once where an engine is built: it ends with 0 when everything holds.
//
// usage: ft_self_test [--device auto|cuda|host]
#include "../common.h"

#include "flash_llm_ft.h"

#include <cmath>
#include <string>
#include <vector>

namespace {

using flash_llm_ft::FlashLlmError;
using flash_llm_ft::FlashLlmGemmWrapper;
using flash_llm_ft::OP_N;
using flash_llm_ft::OP_T;

constexpr int M = 72, K = 200, N = 6;  // not square, no multiples of a tile

int failures = 0;

void expect(bool condition, const std::string &what) {
    if (condition) return;
    fprintf(stderr, "ft_self_test: %s\n", what.c_str());
    ++failures;
}

// Small integers, a third of them not zero: sums are exact in fp16's range.
float weight_at(int m, int k) { return (m * 7 + k * 5) % 3 == 0 ? static_cast<float>((m + 2 * k) % 5 - 2) : 0.0f; }
float input_at(int k, int n) { return static_cast<float>((3 * k + n) % 4 - 1); }
float output_at(int m, int n) { return static_cast<float>((m + n) % 3); }

class Device {
 public:
    explicit Device(flashllmHandle_t handle) : handle_(handle) {}
    ~Device() {
        for (void *pointer : memory_) flashllmFree(handle_, pointer);
    }
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;

    template <typename T>
    T *upload(const std::vector<T> &values) {
        T *device = static_cast<T *>(allocate(handle_, values.size() * sizeof(T)));
        memory_.push_back(device);
        copy_in(handle_, device, values.data(), values.size() * sizeof(T));
        return device;
    }

    template <typename T>
    std::vector<T> download(const T *device, size_t count) {
        std::vector<T> values(count);
        copy_out(handle_, values.data(), device, count * sizeof(T));
        return values;
    }

 private:
    flashllmHandle_t handle_;
    std::vector<void *> memory_;
};

// Column-major with a leading dimension; what ld skips is filled with `rest`.
template <typename Element>
std::vector<uint16_t> column_major(int rows, int cols, int ld, Element element, float rest = 99.0f) {
    std::vector<uint16_t> values(static_cast<size_t>(ld) * cols, half_from_float(rest));
    for (int c = 0; c < cols; ++c) {
        for (int r = 0; r < rows; ++r) values[static_cast<size_t>(c) * ld + r] = half_from_float(element(r, c));
    }
    return values;
}

float product_at(int m, int n) {
    float sum = 0.0f;
    for (int k = 0; k < K; ++k) sum += weight_at(m, k) * input_at(k, n);
    return sum;
}

// alpha A B + beta C, with what ldc skips untouched.
std::vector<uint16_t> expected(int ldc, float alpha, float beta) {
    return column_major(M, N, ldc, [&](int m, int n) { return alpha * product_at(m, n) + beta * output_at(m, n); });
}

template <typename Call>
void refuses(const char *what, flashllmStatus_t status, const char *sentence, Call call) {
    try {
        call();
    } catch (const FlashLlmError &error) {
        expect(error.status() == status && std::string(error.what()).find(sentence) != std::string::npos,
               std::string(what) + ": other error: " + error.what());
        return;
    }
    expect(false, std::string(what) + " was accepted");
}

void run(flashllmHandle_t handle) {
    Device device(handle);
    int dense_calls = 0;
    FlashLlmGemmWrapper gemm(handle, [&](int, int, int, int, int, const void *, int, const void *, int, void *, int,
                                         float, float) { ++dense_calls; });
    // FasterTransformer's layout: [K, M] row-major, which is M x K column-major.
    const uint16_t *kernel = device.upload(column_major(M, K, M, weight_at));
    const void *weight = gemm.compressWeight(kernel, M, K);
    // And [M, K] row-major, as a tied embedding is: read with OP_T.
    const void *transposed_weight = gemm.compressWeight(
        device.upload(column_major(K, M, K, [](int k, int m) { return weight_at(m, k); })), M, K, OP_T);
    // A buffer of the caller's own: compressed elsewhere, known here under its own address.
    flashllmSpMatDescr_t matrix = nullptr;
    flashllmConstDnMatDescr_t dense = nullptr;
    CHECK(flashllmCreateConstDnMat(&dense, M, K, M, kernel, FLASHLLM_R_16F, FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateSpMat(&matrix, M, K, FLASHLLM_R_16F, FLASHLLM_FORMAT_BITMAP));
    size_t scratch_bytes = 0;
    CHECK(flashllmDenseToSparse_bufferSize(handle, dense, matrix, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                           &scratch_bytes));
    void *scratch = device.upload(std::vector<char>(scratch_bytes));
    CHECK(flashllmDenseToSparse_analysis(handle, dense, matrix, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));
    const size_t buffer_bytes = compressed_bytes(matrix);
    void *buffer = device.upload(std::vector<char>(buffer_bytes));
    CHECK(flashllmSpMatSetBuffer(handle, matrix, buffer, buffer_bytes));
    CHECK(flashllmDenseToSparse_convert(handle, dense, matrix, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));
    CHECK(flashllmDestroySpMat(matrix));
    CHECK(flashllmDestroyDnMat(dense));
    expect(gemm.registerWeight(buffer, buffer_bytes, M, K) == buffer, "a kernel pointer is not its buffer's address");
    gemm.reserve(2 * N);

    const int ldb = K + 8, ldc = M + 5;
    const uint16_t *b = device.upload(column_major(K, N, ldb, input_at));
    const uint16_t *b_transposed =
        device.upload(column_major(N, K, N + 3, [](int n, int k) { return input_at(k, n); }));
    const auto fresh = [&] { return device.upload(column_major(M, N, ldc, output_at)); };
    const auto is = [&](const char *what, const uint16_t *c, float alpha, float beta) {
        expect(device.download(c, static_cast<size_t>(ldc) * N) == expected(ldc, alpha, beta),
               std::string(what) + " is not the product");
    };

    uint16_t *c = fresh();
    gemm.Gemm(OP_N, OP_N, M, N, K, weight, M, b, ldb, c, ldc);
    is("Gemm N N", c, 1.0f, 0.0f);
    gemm.Gemm(OP_N, OP_N, M, N, K, buffer, M, b, ldb, c = fresh(), ldc);
    is("Gemm with a registered buffer", c, 1.0f, 0.0f);
    gemm.Gemm(OP_T, OP_N, M, N, K, transposed_weight, K, b, ldb, c = fresh(), ldc);
    is("Gemm T N", c, 1.0f, 0.0f);
    gemm.Gemm(OP_N, OP_T, M, N, K, weight, M, b_transposed, N + 3, c = fresh(), ldc);
    is("Gemm N T", c, 1.0f, 0.0f);
    gemm.Gemm(OP_N, OP_N, M, N, K, weight, M, b, ldb, c = fresh(), ldc, 2.0f, -3.0f);
    is("Gemm with alpha and beta", c, 2.0f, -3.0f);
    const float alpha = 0.5f, beta = 1.0f;
    gemm.Gemm(OP_N, OP_N, M, N, K, &alpha, weight, FLASHLLM_R_16F, M, b, FLASHLLM_R_16F, ldb, &beta, c = fresh(),
              FLASHLLM_R_16F, ldc, FLASHLLM_R_32F, -1);
    is("Gemm with types", c, 0.5f, 1.0f);

    // fp32 output.
    gemm.setGemmConfig(FLASHLLM_R_16F, FLASHLLM_R_16F, FLASHLLM_R_32F, FLASHLLM_R_32F);
    float *single = device.upload(std::vector<float>(static_cast<size_t>(M) * N, NAN));
    gemm.Gemm(OP_N, OP_N, M, N, K, weight, M, b, ldb, single, M);
    const std::vector<float> sums = device.download(single, static_cast<size_t>(M) * N);
    for (int n = 0; n < N; ++n) {
        for (int m = 0; m < M; ++m) {
            expect(sums[static_cast<size_t>(n) * M + m] == product_at(m, n), "an fp32 element is not the product");
        }
    }
    gemm.setFP16GemmConfig();

    // A batch without gaps (one product) and one with (several).
    const uint16_t *tight = device.upload(column_major(K, 2 * N, K, [](int k, int n) { return input_at(k, n % N); }));
    uint16_t *twice = device.upload(std::vector<uint16_t>(static_cast<size_t>(M) * 2 * N, 0x7e00));
    gemm.stridedBatchedGemm(OP_N, OP_N, M, N, K, weight, M, 0, tight, K, int64_t{K} * N, twice, M, int64_t{M} * N, 2);
    expect(device.download(twice, static_cast<size_t>(M) * 2 * N) ==
               column_major(M, 2 * N, M, [](int m, int n) { return product_at(m, n % N); }),
           "stridedBatchedGemm without gaps is not the products");
    uint16_t *apart = device.upload(column_major(M, 2 * N + 1, ldc, output_at));
    gemm.stridedBatchedGemm(OP_N, OP_N, M, N, K, weight, M, 0, tight, K, int64_t{K} * N, apart, ldc,
                            int64_t{ldc} * (N + 1), 2);
    expect(device.download(apart, static_cast<size_t>(ldc) * (2 * N + 1)) ==
               column_major(M, 2 * N + 1, ldc,
                            [](int m, int n) { return n == N ? output_at(m, n) : product_at(m, n % (N + 1)); }),
           "stridedBatchedGemm with gaps is not the products");
    const void *as[] = {weight, weight}, *bs[] = {b, b};
    void *cs[] = {fresh(), fresh()};
    gemm.batchedGemm(OP_N, OP_N, M, N, K, as, M, bs, ldb, cs, ldc, 2);
    is("batchedGemm's first", static_cast<uint16_t *>(cs[0]), 1.0f, 0.0f);
    is("batchedGemm's second", static_cast<uint16_t *>(cs[1]), 1.0f, 0.0f);

    // What is not a compressed weight is the engine's own business.
    gemm.Gemm(OP_N, OP_N, M, N, K, kernel, M, b, ldb, c, ldc);
    gemm.stridedBatchedGemm(OP_N, OP_N, M, N, K, kernel, M, 0, b, ldb, 0, c, ldc, 0, 3);
    expect(dense_calls == 4, "a dense weight did not go to the dense product");
    expect(gemm.isCompressed(weight) && !gemm.isCompressed(kernel), "isCompressed is wrong");

    c = fresh();
    const flashllmStatus_t invalid = FLASHLLM_STATUS_INVALID_VALUE;
    refuses("another m", invalid, "op(A) is 200 x 72 in the call", [&] {
        gemm.Gemm(OP_N, OP_N, K, N, M, weight, K, b, ldb, c, ldc);
    });
    refuses("another transa", invalid, "transa is 1, and the weight was registered for 0", [&] {
        gemm.Gemm(OP_T, OP_N, M, N, K, weight, K, b, ldb, c, ldc);
    });
    refuses("a small lda", invalid, "lda is 71: at least 72", [&] {
        gemm.Gemm(OP_N, OP_N, M, N, K, weight, M - 1, b, ldb, c, ldc);
    });
    refuses("a small ldb", invalid, "B: FLASHLLM_STATUS_INVALID_VALUE", [&] {
        gemm.Gemm(OP_N, OP_N, M, N, K, weight, M, b, K - 1, c, ldc);
    });
    refuses("a small ldc", invalid, "C: FLASHLLM_STATUS_INVALID_VALUE", [&] {
        gemm.Gemm(OP_N, OP_N, M, N, K, weight, M, b, ldb, c, M - 1);
    });
    refuses("a negative n", invalid, "B: FLASHLLM_STATUS_INVALID_VALUE", [&] {
        gemm.Gemm(OP_N, OP_N, M, -1, K, weight, M, b, ldb, c, ldc);
    });
    refuses("no B", FLASHLLM_STATUS_NULL_POINTER, "B: FLASHLLM_STATUS_NULL_POINTER", [&] {
        gemm.Gemm(OP_N, OP_N, M, N, K, weight, M, nullptr, ldb, c, ldc);
    });
    refuses("an unknown transb", invalid, "transb is 2", [&] {
        gemm.Gemm(OP_N, 2, M, N, K, weight, M, b, ldb, c, ldc);
    });
    refuses("fp16 sums", invalid, "computeType is 2", [&] {
        gemm.setGemmConfig(FLASHLLM_R_16F, FLASHLLM_R_16F, FLASHLLM_R_16F, FLASHLLM_R_16F);
    });
    refuses("fp32 activations", invalid, "A and B of one 16-bit type", [&] {
        gemm.setGemmConfig(FLASHLLM_R_32F, FLASHLLM_R_32F, FLASHLLM_R_32F, FLASHLLM_R_32F);
    });
    refuses("a batch of weights behind one address", invalid, "strideA is 14400", [&] {
        gemm.stridedBatchedGemm(OP_N, OP_N, M, N, K, weight, M, int64_t{M} * K, b, ldb, 0, c, ldc, 0, 2);
    });
    refuses("a second registration", invalid, "registered already", [&] {
        gemm.registerWeight(buffer, buffer_bytes, M, K);
    });
    refuses("a file that is not there", FLASHLLM_STATUS_IO_ERROR, "/nonexistent", [&] {
        gemm.load("/nonexistent/flash_llm.0.safetensors");
    });
    expect(device.download(c, static_cast<size_t>(ldc) * N) == column_major(M, N, ldc, output_at),
           "a refused call wrote to C");

    // A workspace that was not reserved is a refusal, not a write behind its end.
    flashllmDeviceType_t type;
    CHECK(flashllmGetDeviceType(handle, &type));
    if (type == FLASHLLM_DEVICE_CUDA) {
        FlashLlmGemmWrapper unprepared(handle);
        const void *other = unprepared.compressWeight(kernel, M, K);
        // B with an odd distance of columns is packed, for which there is always a need.
        const uint16_t *odd = device.upload(column_major(K, N, K + 1, input_at));
        refuses("a call without reserve()", FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, "call reserve()", [&] {
            unprepared.Gemm(OP_N, OP_N, M, N, K, other, M, odd, K + 1, c, ldc);
        });
    }
    FlashLlmGemmWrapper alone(handle);
    refuses("a dense weight and no dense product", invalid, "there is no dense product", [&] {
        alone.Gemm(OP_N, OP_N, M, N, K, kernel, M, b, ldb, c, ldc);
    });
    gemm.forget(weight);
    expect(!gemm.isCompressed(weight), "a forgotten weight is still known");
    refuses("forgetting twice", invalid, "no weight has this address", [&] { gemm.forget(weight); });
}

}  // namespace

int main(int argc, char **argv) {
    flashllmHandle_t handle = create_handle(argument(argc, argv, "--device", "auto"));
    try {
        run(handle);
    } catch (const std::exception &error) {
        fprintf(stderr, "ft_self_test: %s\n", error.what());
        ++failures;
    }
    if (failures == 0) printf("ft_self_test: every call is exact on the %s\n", device_name(handle));
    CHECK(flashllmDestroy(handle));
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
