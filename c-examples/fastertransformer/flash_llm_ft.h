// SPDX-License-Identifier: Apache-2.0
//
// flash_llm behind the GEMM calls of FasterTransformer: FlashLlmGemmWrapper has the argument lists of
// fastertransformer::cublasMMWrapper, with the weight (A) compressed. README.md says which lines of
// FasterTransformer change.
//
// A compressed weight is known by its kernel pointer: the address of its compressed buffer, which takes the
// place of the dense weight's address in DenseWeight::kernel. A call whose A is such a pointer multiplies
// the compressed weight; any other call goes to the dense product that was given to the constructor, which
// is cublasMMWrapper's own. So every call site stays as it is, and a layer may mix both.
//
// Needs neither FasterTransformer's nor CUDA's headers: cublasOperation_t and cudaDataType_t are taken as
// the integers that they are. Every failure throws FlashLlmError, a std::runtime_error like those of
// FT_CHECK, with a sentence that says what was wrong.
//
// Gemm() and its relatives put work on the stream and return: they allocate nothing and wait for nothing.
#ifndef FLASH_LLM_FT_H
#define FLASH_LLM_FT_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include <flash_llm.h>

namespace flash_llm_ft {

class FlashLlmError : public std::runtime_error {
 public:
    FlashLlmError(flashllmStatus_t status, const std::string &sentence)
        : std::runtime_error(sentence), status_(status) {}
    flashllmStatus_t status() const { return status_; }

 private:
    flashllmStatus_t status_;
};

// cublasOperation_t
constexpr int OP_N = 0, OP_T = 1;

// A dense product with cublasMMWrapper::Gemm's arguments.
using DenseGemm = std::function<void(int transa, int transb, int m, int n, int k, const void *A, int lda,
                                     const void *B, int ldb, void *C, int ldc, float alpha, float beta)>;

// The dense products of an engine's cublasMMWrapper: denseGemm<cublasOperation_t>(cublas_wrapper).
template <typename Operation, typename CublasMMWrapper>
DenseGemm denseGemm(CublasMMWrapper *cublas) {
    return [cublas](int transa, int transb, int m, int n, int k, const void *A, int lda, const void *B, int ldb,
                    void *C, int ldc, float alpha, float beta) {
        cublas->Gemm(static_cast<Operation>(transa), static_cast<Operation>(transb), m, n, k, A, lda, B, ldb, C,
                     ldc, alpha, beta);
    };
}

class FlashLlmGemmWrapper {
 public:
    // The handle is the caller's: one for each rank, bound to its device, on the stream of its
    // cublasMMWrapper. Without a dense product a call with an unknown A throws.
    explicit FlashLlmGemmWrapper(flashllmHandle_t handle, DenseGemm dense = nullptr);
    ~FlashLlmGemmWrapper();
    FlashLlmGemmWrapper(const FlashLlmGemmWrapper &) = delete;
    FlashLlmGemmWrapper &operator=(const FlashLlmGemmWrapper &) = delete;

    // -- weights, once --

    // Loads every compressed matrix of a file of ft_convert to the device. kernel() then gives them.
    void load(const std::string &path);

    // The kernel pointer of a loaded matrix, for DenseWeight::kernel: what stands as A in the calls with
    // these m and k. NULL if the file has no such matrix: ft_convert left it dense. Throws if it has
    // another shape.
    const void *kernel(const std::string &name, int m, int k) const;

    // Makes a compressed buffer known that lies in the caller's device memory (256-byte aligned), and
    // returns its kernel pointer. The caller keeps it alive. op(A) is m x k: `transa` is what the calls
    // with it will say, OP_N for FasterTransformer's [k, m] weights.
    const void *registerWeight(void *buffer, size_t bytes, int m, int k, int transa = OP_N);

    // Compresses a dense weight in device memory: [k, m] row-major as FasterTransformer has them (OP_N,
    // lda = m), or [m, k] row-major (OP_T, lda = k). The dense one is not needed any more afterwards.
    const void *compressWeight(const void *dense, int m, int k, int transa = OP_N,
                               flashllmDataType_t type = FLASHLLM_R_16F,
                               flashllmFormat_t format = FLASHLLM_FORMAT_AUTO);

    bool isCompressed(const void *A) const;
    void forget(const void *A);

    // Allocates the workspace for products with up to so many tokens (columns of B), the weights so far
    // included: once after loading, with the largest prefill. A call that needs more throws.
    void reserve(int max_tokens);

    // -- as in cublasMMWrapper --

    void setStream(flashllmStream_t stream);
    void setFP16GemmConfig();  // the default
    void setBF16GemmConfig();
    // A and B of one 16-bit type, C of that type or fp32, fp32 sums; cudaDataType_t's numbers.
    void setGemmConfig(int aType, int bType, int cType, int computeType);

    // C[m, n] = op(A)[m, k] op(B)[k, n], all column-major: C is [n, m] row-major, n tokens of m features.
    void Gemm(int transa, int transb, int m, int n, int k, const void *A, int lda, const void *B, int ldb,
              void *C, int ldc);
    void Gemm(int transa, int transb, int m, int n, int k, const void *A, int lda, const void *B, int ldb,
              void *C, int ldc, float f_alpha, float f_beta);
    void Gemm(int transa, int transb, int m, int n, int k, const void *alpha, const void *A, int Atype, int lda,
              const void *B, int Btype, int ldb, const void *beta, void *C, int Ctype, int ldc, int computeType,
              int algo);

    // A compressed A serves every product of the batch: strideA is 0. Where the B and the C of the batch
    // follow each other without a gap, one product does all of them.
    void stridedBatchedGemm(int transa, int transb, int m, int n, int k, const void *A, int lda, int64_t strideA,
                            const void *B, int ldb, int64_t strideB, void *C, int ldc, int64_t strideC,
                            int batchCount, float f_alpha = 1.0f, float f_beta = 0.0f);

    // The arrays are host memory: FasterTransformer has them there before it copies them to the device for
    // cuBLAS (hA in UnfusedAttentionLayer). Each A may be compressed or dense.
    void batchedGemm(int transa, int transb, int m, int n, int k, const void *const *A, int lda,
                     const void *const *B, int ldb, void *const *C, int ldc, int batch_count);

 private:
    struct Weight {
        flashllmSpMatDescr_t matrix;
        void *owned;  // device memory to free; NULL where the buffer is the caller's
        int m, k, transa;
    };
    // What a product's shape and types come to, whoever computes it.
    struct Call {
        int transa, transb, m, n, k, lda, ldb, ldc;
        float alpha, beta;
        flashllmDataType_t b_type, c_type;
    };

    const void *add(flashllmSpMatDescr_t matrix, void *buffer, void *owned, int m, int k, int transa);
    void multiply(const Call &call, const void *A, const void *B, void *C);
    size_t workspaceBytes(const Weight &weight, int tokens) const;
    void check(const char *call, flashllmStatus_t status) const;

    flashllmHandle_t handle_;
    DenseGemm dense_;
    flashllmDataType_t b_type_ = FLASHLLM_R_16F, c_type_ = FLASHLLM_R_16F;
    std::unordered_map<const void *, Weight> weights_;
    std::map<std::string, const void *> names_;
    void *workspace_ = nullptr;
    size_t workspace_bytes_ = 0;
    mutable std::mutex mutex_;  // one workspace: calls of several threads go to the stream one by one
};

}  // namespace flash_llm_ft

#endif
