// SPDX-License-Identifier: Apache-2.0
#include "flash_llm_ft.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace flash_llm_ft {
namespace {

[[noreturn]] void invalid(const std::string &sentence) {
    throw FlashLlmError(FLASHLLM_STATUS_INVALID_VALUE, sentence);
}

std::string shape(int rows, int cols) { return std::to_string(rows) + " x " + std::to_string(cols); }

size_t elementBytes(flashllmDataType_t type) { return type == FLASHLLM_R_32F ? 4 : 2; }

// cudaDataType_t as the library's type, whose numbers are the same.
flashllmDataType_t dataType(const char *name, int type) {
    if (type != FLASHLLM_R_16F && type != FLASHLLM_R_16BF && type != FLASHLLM_R_32F) {
        invalid(std::string(name) + " is cudaDataType_t " + std::to_string(type) +
                ": 2 (fp16), 14 (bf16) or 0 (fp32) is needed");
    }
    return static_cast<flashllmDataType_t>(type);
}

void checkTypes(flashllmDataType_t a, flashllmDataType_t b, flashllmDataType_t c, int computeType) {
    if (a != b || a == FLASHLLM_R_32F || (c != a && c != FLASHLLM_R_32F)) {
        invalid("A is of cudaDataType_t " + std::to_string(a) + ", B of " + std::to_string(b) + ", C of " +
                std::to_string(c) + ": A and B of one 16-bit type, and C of that or fp32, are needed");
    }
    if (computeType != FLASHLLM_R_32F) {
        invalid("computeType is " + std::to_string(computeType) + ": sums are fp32 (0)");
    }
}

// Frees what a constructor-like function has made so far when a later step of it throws.
template <typename Undo>
class Guard {
 public:
    explicit Guard(Undo undo) : undo_(std::move(undo)) {}
    ~Guard() {
        if (armed_) undo_();
    }
    Guard(const Guard &) = delete;
    Guard &operator=(const Guard &) = delete;
    void release() { armed_ = false; }

 private:
    Undo undo_;
    bool armed_ = true;
};

}  // namespace

FlashLlmGemmWrapper::FlashLlmGemmWrapper(flashllmHandle_t handle, DenseGemm dense)
    : handle_(handle), dense_(std::move(dense)) {
    flashllmDeviceType_t type;
    check("flashllmGetDeviceType", flashllmGetDeviceType(handle, &type));
}

FlashLlmGemmWrapper::~FlashLlmGemmWrapper() {
    // A product that still runs reads them. Nothing is left to do about a failure here.
    flashllmSynchronize(handle_);
    for (const auto &entry : weights_) {
        flashllmDestroySpMat(entry.second.matrix);
        flashllmFree(handle_, entry.second.owned);
    }
    flashllmFree(handle_, workspace_);
}

void FlashLlmGemmWrapper::check(const char *call, flashllmStatus_t status) const {
    if (status == FLASHLLM_STATUS_SUCCESS) return;
    throw FlashLlmError(status, std::string(call) + ": " + flashllmGetErrorName(status) + ": " +
                                    flashllmGetLastErrorMessage());
}

const void *FlashLlmGemmWrapper::add(flashllmSpMatDescr_t matrix, void *buffer, void *owned, int m, int k,
                                     int transa) {
    if (transa != OP_N && transa != OP_T) invalid("transa is " + std::to_string(transa) + ": 0 (N) or 1 (T)");
    std::lock_guard<std::mutex> lock(mutex_);
    if (!weights_.emplace(buffer, Weight{matrix, owned, m, k, transa}).second) {
        invalid("a weight at the same address is registered already");
    }
    return buffer;
}

void FlashLlmGemmWrapper::load(const std::string &path) {
    flashllmSafetensors_t file = nullptr;
    check("flashllmSafetensorsOpen", flashllmSafetensorsOpen(&file, path.c_str()));
    Guard close([&] { flashllmSafetensorsClose(file); });
    size_t count = 0;
    check("flashllmSafetensorsGetCount", flashllmSafetensorsGetCount(file, &count));
    for (size_t i = 0; i < count; ++i) {
        const char *name = nullptr, *dtype = nullptr;
        const int64_t *dimensions = nullptr;
        int32_t compressed = 0, rank = 0;
        size_t offset = 0, bytes = 0;
        check("flashllmSafetensorsGetTensor",
              flashllmSafetensorsGetTensor(file, i, &name, &compressed, &dtype, &rank, &dimensions, &offset,
                                           &bytes));
        if (!compressed) continue;
        if (names_.count(name) != 0) invalid(path + ": " + name + " is loaded already");
        int64_t rows = 0, cols = 0, nnz = 0;
        flashllmDataType_t type;
        flashllmFormat_t format;
        check("flashllmSafetensorsGetSpMat",
              flashllmSafetensorsGetSpMat(file, i, &rows, &cols, &nnz, &type, &format, &bytes));
        if (rows > INT32_MAX || cols > INT32_MAX) invalid(path + ": " + name + " is too large for an int");
        void *buffer = nullptr;
        flashllmSpMatDescr_t matrix = nullptr;
        check("flashllmMalloc", flashllmMalloc(handle_, &buffer, bytes));
        Guard undo([&] {
            flashllmDestroySpMat(matrix);
            flashllmFree(handle_, buffer);
        });
        check(name, flashllmSafetensorsLoadSpMat(handle_, file, i, &matrix, FLASHLLM_VERIFY_FULL, buffer, bytes));
        names_[name] =
            add(matrix, buffer, buffer, static_cast<int>(rows), static_cast<int>(cols), OP_N);
        undo.release();
    }
}

const void *FlashLlmGemmWrapper::kernel(const std::string &name, int m, int k) const {
    const auto found = names_.find(name);
    if (found == names_.end()) return nullptr;
    const Weight &weight = weights_.at(found->second);
    if (weight.m != m || weight.k != k) {
        invalid(name + " is " + shape(weight.m, weight.k) + ", and the layer needs " + shape(m, k) +
                ": was it converted for another tensor_para_size?");
    }
    return found->second;
}

const void *FlashLlmGemmWrapper::registerWeight(void *buffer, size_t bytes, int m, int k, int transa) {
    flashllmSpMatDescr_t matrix = nullptr;
    check("flashllmCreateSpMat", flashllmCreateSpMat(&matrix, m, k, b_type_, FLASHLLM_FORMAT_AUTO));
    Guard undo([&] { flashllmDestroySpMat(matrix); });
    check("flashllmSpMatSetBuffer", flashllmSpMatSetBuffer(handle_, matrix, buffer, bytes));
    const void *kernel = add(matrix, buffer, nullptr, m, k, transa);
    undo.release();
    return kernel;
}

const void *FlashLlmGemmWrapper::compressWeight(const void *dense, int m, int k, int transa,
                                                flashllmDataType_t type, flashllmFormat_t format) {
    flashllmSpMatDescr_t matrix = nullptr;
    flashllmConstDnMatDescr_t source = nullptr;
    void *scratch = nullptr, *buffer = nullptr;
    Guard undo([&] {
        flashllmDestroySpMat(matrix);
        flashllmFree(handle_, buffer);
    });
    Guard done([&] {
        flashllmDestroyDnMat(source);
        flashllmFree(handle_, scratch);
    });
    // [k, m] row-major is column-major m x k.
    const bool transposed = transa == OP_T;
    check("flashllmCreateConstDnMat",
          flashllmCreateConstDnMat(&source, m, k, transposed ? k : m, dense, type,
                                   transposed ? FLASHLLM_ORDER_ROW : FLASHLLM_ORDER_COL));
    check("flashllmCreateSpMat", flashllmCreateSpMat(&matrix, m, k, type, format));
    size_t bytes = 0;
    check("flashllmDenseToSparse_bufferSize",
          flashllmDenseToSparse_bufferSize(handle_, source, matrix, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, &bytes));
    check("flashllmMalloc", flashllmMalloc(handle_, &scratch, bytes));
    check("flashllmDenseToSparse_analysis",
          flashllmDenseToSparse_analysis(handle_, source, matrix, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));
    int64_t rows = 0, cols = 0, nnz = 0;
    check("flashllmSpMatGetSize", flashllmSpMatGetSize(matrix, &rows, &cols, &nnz, &bytes));
    check("flashllmMalloc", flashllmMalloc(handle_, &buffer, bytes));
    check("flashllmSpMatSetBuffer", flashllmSpMatSetBuffer(handle_, matrix, buffer, bytes));
    check("flashllmDenseToSparse_convert",
          flashllmDenseToSparse_convert(handle_, source, matrix, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));
    check("flashllmSynchronize", flashllmSynchronize(handle_));
    const void *kernel = add(matrix, buffer, buffer, m, k, transa);
    undo.release();
    return kernel;
}

bool FlashLlmGemmWrapper::isCompressed(const void *A) const {
    std::lock_guard<std::mutex> lock(mutex_);
    return weights_.count(A) != 0;
}

void FlashLlmGemmWrapper::forget(const void *A) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = weights_.find(A);
    if (found == weights_.end()) invalid("forget: no weight has this address");
    check("flashllmSynchronize", flashllmSynchronize(handle_));
    check("flashllmDestroySpMat", flashllmDestroySpMat(found->second.matrix));
    check("flashllmFree", flashllmFree(handle_, found->second.owned));
    weights_.erase(found);
    for (auto name = names_.begin(); name != names_.end();) {
        name = name->second == A ? names_.erase(name) : std::next(name);
    }
}

size_t FlashLlmGemmWrapper::workspaceBytes(const Weight &weight, int tokens) const {
    const float one = 1.0f;
    flashllmConstDnMatDescr_t b = nullptr;
    flashllmDnMatDescr_t c = nullptr;
    Guard done([&] {
        flashllmDestroyDnMat(b);
        flashllmDestroyDnMat(c);
    });
    // The size follows from shapes and types and serves every B: the address only has to be one.
    void *const somewhere = reinterpret_cast<void *>(uintptr_t{256});
    check("flashllmCreateConstDnMat", flashllmCreateConstDnMat(&b, weight.k, tokens, weight.k, somewhere, b_type_,
                                                               FLASHLLM_ORDER_COL));
    check("flashllmCreateDnMat",
          flashllmCreateDnMat(&c, weight.m, tokens, weight.m, somewhere, c_type_, FLASHLLM_ORDER_COL));
    size_t bytes = 0;
    check("flashllmSpMM_bufferSize",
          flashllmSpMM_bufferSize(handle_, FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  &one, weight.matrix, b, &one, c, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT,
                                  &bytes));
    return bytes;
}

void FlashLlmGemmWrapper::reserve(int max_tokens) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (max_tokens < 1) invalid("max_tokens is " + std::to_string(max_tokens) + ": at least 1 is needed");
    size_t most = 0;
    for (const auto &entry : weights_) most = std::max(most, workspaceBytes(entry.second, max_tokens));
    if (most <= workspace_bytes_) return;
    void *larger = nullptr;
    check("flashllmMalloc", flashllmMalloc(handle_, &larger, most));
    check("flashllmSynchronize", flashllmSynchronize(handle_));
    check("flashllmFree", flashllmFree(handle_, workspace_));
    workspace_ = larger;
    workspace_bytes_ = most;
}

void FlashLlmGemmWrapper::setStream(flashllmStream_t stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    check("flashllmSetStream", flashllmSetStream(handle_, stream));
}

void FlashLlmGemmWrapper::setFP16GemmConfig() {
    setGemmConfig(FLASHLLM_R_16F, FLASHLLM_R_16F, FLASHLLM_R_16F, FLASHLLM_R_32F);
}

void FlashLlmGemmWrapper::setBF16GemmConfig() {
    setGemmConfig(FLASHLLM_R_16BF, FLASHLLM_R_16BF, FLASHLLM_R_16BF, FLASHLLM_R_32F);
}

void FlashLlmGemmWrapper::setGemmConfig(int aType, int bType, int cType, int computeType) {
    const flashllmDataType_t a = dataType("aType", aType), b = dataType("bType", bType),
                             c = dataType("cType", cType);
    checkTypes(a, b, c, computeType);
    std::lock_guard<std::mutex> lock(mutex_);
    b_type_ = b;
    c_type_ = c;
}

void FlashLlmGemmWrapper::Gemm(int transa, int transb, int m, int n, int k, const void *A, int lda,
                               const void *B, int ldb, void *C, int ldc) {
    Gemm(transa, transb, m, n, k, A, lda, B, ldb, C, ldc, 1.0f, 0.0f);
}

void FlashLlmGemmWrapper::Gemm(int transa, int transb, int m, int n, int k, const void *A, int lda,
                               const void *B, int ldb, void *C, int ldc, float f_alpha, float f_beta) {
    multiply({transa, transb, m, n, k, lda, ldb, ldc, f_alpha, f_beta, b_type_, c_type_}, A, B, C);
}

void FlashLlmGemmWrapper::Gemm(int transa, int transb, int m, int n, int k, const void *alpha, const void *A,
                               int Atype, int lda, const void *B, int Btype, int ldb, const void *beta, void *C,
                               int Ctype, int ldc, int computeType, int /* algo: the library chooses */) {
    const flashllmDataType_t b_type = dataType("Btype", Btype), c_type = dataType("Ctype", Ctype);
    checkTypes(dataType("Atype", Atype), b_type, c_type, computeType);
    if (alpha == nullptr || beta == nullptr) invalid("alpha or beta is NULL");
    multiply({transa, transb, m, n, k, lda, ldb, ldc, *static_cast<const float *>(alpha),
              *static_cast<const float *>(beta), b_type, c_type},
             A, B, C);
}

void FlashLlmGemmWrapper::multiply(const Call &call, const void *A, const void *B, void *C) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto found = weights_.find(A);
    if (found == weights_.end()) {
        lock.unlock();  // cublasMMWrapper has a lock of its own
        if (!dense_) invalid("A is not a compressed weight, and there is no dense product to give it to");
        dense_(call.transa, call.transb, call.m, call.n, call.k, A, call.lda, B, call.ldb, C, call.ldc,
               call.alpha, call.beta);
        return;
    }
    const Weight &weight = found->second;
    if (call.m != weight.m || call.k != weight.k) {
        invalid("op(A) is " + shape(call.m, call.k) + " in the call, and the weight at its address is " +
                shape(weight.m, weight.k));
    }
    if (call.transa != weight.transa) {
        invalid("transa is " + std::to_string(call.transa) + ", and the weight was registered for " +
                std::to_string(weight.transa));
    }
    // The compressed weight has no leading dimension; one that does not fit says that two are mixed up.
    const int least = call.transa == OP_N ? call.m : call.k;
    if (call.lda < least) {
        invalid("lda is " + std::to_string(call.lda) + ": at least " + std::to_string(least) + " is needed");
    }
    if (call.transb != OP_N && call.transb != OP_T) {
        invalid("transb is " + std::to_string(call.transb) + ": 0 (N) or 1 (T)");
    }
    const bool transposed = call.transb == OP_T;
    flashllmConstDnMatDescr_t b = nullptr;
    flashllmDnMatDescr_t c = nullptr;
    Guard done([&] {
        flashllmDestroyDnMat(b);
        flashllmDestroyDnMat(c);
    });
    check("B", flashllmCreateConstDnMat(&b, transposed ? call.n : call.k, transposed ? call.k : call.n, call.ldb,
                                        B, call.b_type, FLASHLLM_ORDER_COL));
    check("C", flashllmCreateDnMat(&c, call.m, call.n, call.ldc, C, call.c_type, FLASHLLM_ORDER_COL));
    const flashllmOperation_t op_b =
        transposed ? FLASHLLM_OPERATION_TRANSPOSE : FLASHLLM_OPERATION_NON_TRANSPOSE;
    size_t bytes = 0;
    check("flashllmSpMM_bufferSize",
          flashllmSpMM_bufferSize(handle_, FLASHLLM_OPERATION_NON_TRANSPOSE, op_b, &call.alpha, weight.matrix, b,
                                  &call.beta, c, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, &bytes));
    if (bytes > workspace_bytes_) {
        throw FlashLlmError(FLASHLLM_STATUS_WORKSPACE_TOO_SMALL,
                            "a product with " + std::to_string(call.n) + " tokens needs " + std::to_string(bytes) +
                                " bytes of workspace, and " + std::to_string(workspace_bytes_) +
                                " are there: call reserve() with the most tokens of a call");
    }
    check("flashllmSpMM",
          flashllmSpMM(handle_, FLASHLLM_OPERATION_NON_TRANSPOSE, op_b, &call.alpha, weight.matrix, b, &call.beta,
                       c, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, workspace_));
}

void FlashLlmGemmWrapper::stridedBatchedGemm(int transa, int transb, int m, int n, int k, const void *A, int lda,
                                             int64_t strideA, const void *B, int ldb, int64_t strideB, void *C,
                                             int ldc, int64_t strideC, int batchCount, float f_alpha,
                                             float f_beta) {
    if (batchCount < 0) invalid("batchCount is " + std::to_string(batchCount));
    const bool compressed = isCompressed(A);
    if (compressed && strideA != 0 && batchCount > 1) {
        invalid("strideA is " + std::to_string(strideA) + ", and A is one compressed weight: 0 is needed");
    }
    const int64_t columns = static_cast<int64_t>(n) * batchCount;
    if (compressed && transb == OP_N && strideB == static_cast<int64_t>(n) * ldb &&
        strideC == static_cast<int64_t>(n) * ldc && columns <= INT32_MAX) {
        Gemm(transa, transb, m, static_cast<int>(columns), k, A, lda, B, ldb, C, ldc, f_alpha, f_beta);
        return;
    }
    const ptrdiff_t b_bytes = static_cast<ptrdiff_t>(elementBytes(b_type_)),
                    c_bytes = static_cast<ptrdiff_t>(elementBytes(c_type_));
    for (int i = 0; i < batchCount; ++i) {
        Gemm(transa, transb, m, n, k, static_cast<const char *>(A) + i * strideA * b_bytes, lda,
             static_cast<const char *>(B) + i * strideB * b_bytes, ldb,
             static_cast<char *>(C) + i * strideC * c_bytes, ldc, f_alpha, f_beta);
    }
}

void FlashLlmGemmWrapper::batchedGemm(int transa, int transb, int m, int n, int k, const void *const *A, int lda,
                                      const void *const *B, int ldb, void *const *C, int ldc, int batch_count) {
    if (batch_count > 0 && (A == nullptr || B == nullptr || C == nullptr)) invalid("an array of addresses is NULL");
    for (int i = 0; i < batch_count; ++i) Gemm(transa, transb, m, n, k, A[i], lda, B[i], ldb, C[i], ldc);
}

}  // namespace flash_llm_ft
