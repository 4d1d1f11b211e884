// SPDX-License-Identifier: Apache-2.0
//
// What a decoder layer needs beside its sparse products: layer norms, attention over a static KV cache,
// the bias and ReLU of the FFN, an argmax, and the products that stay dense. Two implementations, plain
// loops (opt_host.cpp) and CUDA kernels with cuBLAS (opt_cuda.cu); opt_decoder.cpp runs on either.
//
// Every pointer is memory of the device. fp16 is passed as its bits, uint16_t.
//
// Rows. A step works on `rows` tokens of `batch` sequences that have all come equally far, position by
// position: row i is sequence i % batch at position start + i / batch. A prompt of T tokens is a step of
// T * batch rows, a decoded token one of `batch` rows. History and KV cache are in the same order, so a
// step's rows are neighbours there too: row i lies at start * batch + i. `start` is read on the device:
// a recorded step can be replayed without touching its arguments.
#ifndef FLASH_LLM_EXAMPLES_OPT_OPS_H
#define FLASH_LLM_EXAMPLES_OPT_OPS_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <flash_llm.h>

namespace opt {

class Ops {
 public:
    virtual ~Ops() = default;

    // The stream that everything runs on; NULL on the host.
    virtual flashllmStream_t stream() const = 0;

    // y[rows, m] = beta * y + x[rows, k] * w[m, k]^T, all row-major, y with leading dimension ldy. x and w
    // are fp16, y is fp16 or (fp32_output) fp32, sums are fp32.
    virtual void gemm(int m, int rows, int k, const uint16_t *w, const uint16_t *x, void *y, int ldy,
                      bool fp32_output, float beta) = 0;

    // x[i] = token_table[history[start * batch + i]] + position_table[start + i / batch + 2]: OPT's
    // position table has two rows in front that nothing uses.
    virtual void embed(int rows, int batch, int hidden, const int32_t *start, const int32_t *history,
                       const uint16_t *token_table, const uint16_t *position_table, float *x) = 0;

    // x[i] += bias, the bias of the product that was added to x last; out[i] = norm(x[i]) * weight + shift.
    // bias may be NULL.
    virtual void add_bias_and_norm(int rows, int hidden, const float *bias, const float *weight,
                                   const float *shift, float *x, uint16_t *out) = 0;

    // Adds the biases to qkv[rows, 3 * hidden] and puts the keys and values into the caches.
    virtual void store_kv(int rows, int batch, int hidden, const int32_t *start, const float *bias,
                          uint16_t *qkv, uint16_t *keys, uint16_t *values) = 0;

    // Causal attention of each row's queries over the positions up to its own. `positions` is the
    // capacity of the caches.
    virtual void attend(int rows, int batch, int hidden, int heads, int positions, const int32_t *start,
                        const uint16_t *qkv, const uint16_t *keys, const uint16_t *values,
                        uint16_t *out) = 0;

    // y[i] = max(y[i] + bias, 0)
    virtual void bias_relu(int rows, int width, const float *bias, uint16_t *y) = 0;

    // Ends a step of so many positions: start moves behind it.
    virtual void advance(int positions_in_step, int32_t *start) = 0;

    // history[start * batch + b] = the place of the largest of logits[b] (the first of equal ones): the
    // next step's tokens.
    virtual void choose(int batch, int vocabulary, const float *logits, const int32_t *start,
                        int32_t *history) = 0;

    // Keeps a step for replay(): as a CUDA graph on the GPU. Recording does not run it.
    virtual void record(const std::function<void()> &step) = 0;
    virtual void replay() = 0;
};

std::unique_ptr<Ops> create_host_ops();

// Creates a stream on device 0 and loads cuBLAS. Returns NULL and says why when there is no GPU; ends the
// program with a sentence when there is one and something else goes wrong.
std::unique_ptr<Ops> create_cuda_ops(std::string *why_not);

}  // namespace opt

#endif
