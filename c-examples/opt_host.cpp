// SPDX-License-Identifier: Apache-2.0
//
// The operations of opt_ops.h as plain loops: what the CUDA kernels must compute, in the order of the
// formulas. Sums are fp32, results are rounded to fp16 where the kernels round them.
#include "common.h"

#include "opt_ops.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace opt {
namespace {

class HostOps final : public Ops {
 public:
    flashllmStream_t stream() const override { return nullptr; }

    void gemm(int m, int rows, int k, const uint16_t *w, const uint16_t *x, void *y, int ldy,
              bool fp32_output, float beta) override {
        std::vector<float> weights(static_cast<size_t>(k)), inputs(static_cast<size_t>(rows) * k);
        for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = float_from_half(x[i]);
        for (int r = 0; r < m; ++r) {
            for (int i = 0; i < k; ++i) weights[i] = float_from_half(w[static_cast<size_t>(r) * k + i]);
            for (int row = 0; row < rows; ++row) {
                const float *input = &inputs[static_cast<size_t>(row) * k];
                float sum = 0.0f;
                for (int i = 0; i < k; ++i) sum += weights[i] * input[i];
                const size_t at = static_cast<size_t>(row) * ldy + r;
                if (fp32_output) {
                    float *out = static_cast<float *>(y) + at;
                    *out = beta == 0.0f ? sum : sum + beta * *out;
                } else {
                    uint16_t *out = static_cast<uint16_t *>(y) + at;
                    *out = half_from_float(beta == 0.0f ? sum : sum + beta * float_from_half(*out));
                }
            }
        }
    }

    void embed(int rows, int batch, int hidden, const int32_t *start, const int32_t *history,
               const uint16_t *token_table, const uint16_t *position_table, float *x) override {
        for (int row = 0; row < rows; ++row) {
            const size_t token = history[static_cast<size_t>(*start) * batch + row];
            const size_t position = static_cast<size_t>(*start) + row / batch + 2;
            for (int i = 0; i < hidden; ++i) {
                x[static_cast<size_t>(row) * hidden + i] = float_from_half(token_table[token * hidden + i]) +
                                                           float_from_half(position_table[position * hidden + i]);
            }
        }
    }

    void add_bias_and_norm(int rows, int hidden, const float *bias, const float *weight, const float *shift,
                           float *x, uint16_t *out) override {
        for (int row = 0; row < rows; ++row) {
            float *values = x + static_cast<size_t>(row) * hidden;
            float sum = 0.0f, squares = 0.0f;
            for (int i = 0; i < hidden; ++i) {
                if (bias != nullptr) values[i] += bias[i];
                sum += values[i];
            }
            const float mean = sum / static_cast<float>(hidden);
            for (int i = 0; i < hidden; ++i) squares += (values[i] - mean) * (values[i] - mean);
            const float scale = 1.0f / std::sqrt(squares / static_cast<float>(hidden) + 1e-5f);
            for (int i = 0; i < hidden; ++i) {
                out[static_cast<size_t>(row) * hidden + i] =
                    half_from_float((values[i] - mean) * scale * weight[i] + shift[i]);
            }
        }
    }

    void store_kv(int rows, int batch, int hidden, const int32_t *start, const float *bias, uint16_t *qkv,
                  uint16_t *keys, uint16_t *values) override {
        for (int row = 0; row < rows; ++row) {
            uint16_t *all = qkv + static_cast<size_t>(row) * 3 * hidden;
            for (int i = 0; i < 3 * hidden; ++i) all[i] = half_from_float(float_from_half(all[i]) + bias[i]);
            const size_t at = (static_cast<size_t>(*start) * batch + row) * hidden;
            std::copy_n(all + hidden, hidden, keys + at);
            std::copy_n(all + 2 * hidden, hidden, values + at);
        }
    }

    void attend(int rows, int batch, int hidden, int heads, int positions, const int32_t *start,
                const uint16_t *qkv, const uint16_t *keys, const uint16_t *values, uint16_t *out) override {
        const int width = hidden / heads;
        const float scale = 1.0f / std::sqrt(static_cast<float>(width));
        std::vector<float> weights(static_cast<size_t>(positions)), sums(static_cast<size_t>(width));
        for (int row = 0; row < rows; ++row) {
            const int context = *start + row / batch + 1;
            for (int head = 0; head < heads; ++head) {
                const uint16_t *query = qkv + static_cast<size_t>(row) * 3 * hidden + head * width;
                const size_t first = static_cast<size_t>(row % batch) * hidden + head * width;
                const size_t stride = static_cast<size_t>(batch) * hidden;
                float largest = -INFINITY, total = 0.0f;
                for (int p = 0; p < context; ++p) {
                    float dot = 0.0f;
                    for (int i = 0; i < width; ++i) {
                        dot += float_from_half(query[i]) * float_from_half(keys[first + p * stride + i]);
                    }
                    weights[p] = dot * scale;
                    largest = std::max(largest, weights[p]);
                }
                std::fill(sums.begin(), sums.end(), 0.0f);
                for (int p = 0; p < context; ++p) {
                    const float weight = std::exp(weights[p] - largest);
                    total += weight;
                    for (int i = 0; i < width; ++i) {
                        sums[i] += weight * float_from_half(values[first + p * stride + i]);
                    }
                }
                for (int i = 0; i < width; ++i) {
                    out[static_cast<size_t>(row) * hidden + head * width + i] = half_from_float(sums[i] / total);
                }
            }
        }
    }

    void bias_relu(int rows, int width, const float *bias, uint16_t *y) override {
        for (int row = 0; row < rows; ++row) {
            uint16_t *values = y + static_cast<size_t>(row) * width;
            for (int i = 0; i < width; ++i) {
                values[i] = half_from_float(std::max(float_from_half(values[i]) + bias[i], 0.0f));
            }
        }
    }

    void advance(int positions_in_step, int32_t *start) override { *start += positions_in_step; }

    void choose(int batch, int vocabulary, const float *logits, const int32_t *start,
                int32_t *history) override {
        for (int b = 0; b < batch; ++b) {
            const float *row = logits + static_cast<size_t>(b) * vocabulary;
            history[static_cast<size_t>(*start) * batch + b] =
                static_cast<int32_t>(std::max_element(row, row + vocabulary) - row);
        }
    }

    void record(const std::function<void()> &step) override { step_ = step; }
    void replay() override { step_(); }

 private:
    std::function<void()> step_;
};

}  // namespace

std::unique_ptr<Ops> create_host_ops() { return std::make_unique<HostOps>(); }

}  // namespace opt
