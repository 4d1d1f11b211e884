// SPDX-License-Identifier: Apache-2.0
//
// FasterTransformer's GEMM call sites with compressed weights, on real files: the products of one decoder
// layer, written as DecoderSelfAttentionLayer.cc and FfnLayer.cc write them, for every tensor-parallel rank
// in turn. What lies between the products in FasterTransformer (norms, attention, biases) is left out, so
// that the result is a chain of products that a test can compute again.
//
// usage: ft_layers [--device D] [--layer N] [--batch B] [--length S] FOLDER CONVERTED-FOLDER INPUT OUTPUT
//   FOLDER            the FasterTransformer weights; CONVERTED-FOLDER: what ft_convert made of them
//   INPUT             fp16 [B * S, hidden]
//   OUTPUT            fp32: qkv [ranks, B * S, 3 * hidden / ranks], attention [B * S, hidden] (the product of
//                     attention.dense with the queries), ffn [B * S, hidden]; the last two summed over ranks
//
// A matrix that ft_convert left dense is multiplied by a loop here; FasterTransformer gives it to cuBLAS.
#include "flash_llm_ft.h"
#include "ft_model.h"

#include <algorithm>

namespace {

using flash_llm_ft::FlashLlmGemmWrapper;
using flash_llm_ft::OP_N;

// As in fastertransformer/layers/DenseWeight.h, without what is not used here.
struct DenseWeight {
    const void *kernel = nullptr;
};

struct AttentionWeight {
    DenseWeight query_weight;  // q, k and v side by side
    DenseWeight attention_output_weight;
};

struct FfnWeight {
    DenseWeight intermediate_weight, intermediate_weight2;  // the second one where the FFN is gated
    DenseWeight output_weight;
};

// The dense product in place of cublasMMWrapper's: C = A B, all column-major, through host memory.
class HostGemm {
 public:
    explicit HostGemm(flashllmHandle_t handle) : handle_(handle) {}
    void Gemm(int, int, int m, int n, int k, const void *A, int lda, const void *B, int ldb, void *C, int ldc,
              float alpha, float beta) {
        std::vector<uint16_t> a(static_cast<size_t>(lda) * k), b(static_cast<size_t>(ldb) * n),
            c(static_cast<size_t>(ldc) * n);
        copy_out(handle_, a.data(), A, a.size() * 2);
        copy_out(handle_, b.data(), B, b.size() * 2);
        copy_out(handle_, c.data(), C, c.size() * 2);
        for (int column = 0; column < n; ++column) {
            for (int row = 0; row < m; ++row) {
                float sum = 0.0f;
                for (int i = 0; i < k; ++i) {
                    sum += float_from_half(a[static_cast<size_t>(i) * lda + row]) *
                           float_from_half(b[static_cast<size_t>(column) * ldb + i]);
                }
                uint16_t &out = c[static_cast<size_t>(column) * ldc + row];
                out = half_from_float(alpha * sum + (beta == 0.0f ? 0.0f : beta * float_from_half(out)));
            }
        }
        copy_in(handle_, C, c.data(), c.size() * 2);
    }

 private:
    flashllmHandle_t handle_;
};

// One rank: its weights, and the calls of the layers.
class Rank {
 public:
    Rank(flashllmHandle_t handle, const FtModel &model, const std::string &folder, const std::string &converted,
         int layer, int rank)
        : handle_(handle), model_(model), host_gemm_(handle),
          gemm_(handle, flash_llm_ft::denseGemm<int>(&host_gemm_)) {
        gemm_.load(converted + "/flash_llm." + std::to_string(rank) + ".safetensors");
        const auto weight = [&](const std::string &matrix) {
            for (const FtMatrix &known : model.matrices()) {
                if (known.name != matrix) continue;
                const std::string name = ft_name(layer, matrix), bin = ft_path(folder, name, rank);
                if (const void *kernel = gemm_.kernel(name, known.m, known.k)) return kernel;
                if (!file_exists(bin)) return static_cast<const void *>(nullptr);
                if (model.weight_type != "fp16") refuse(bin + " stays dense and is not fp16");
                return static_cast<const void *>(upload(read_ft_matrix(bin, known, "fp16")));
            }
            return static_cast<const void *>(nullptr);
        };
        attention_.query_weight.kernel = weight("attention.query_key_value");
        attention_.attention_output_weight.kernel = weight("attention.dense");
        const bool gated = weight("mlp.gate_proj") != nullptr;
        ffn_.intermediate_weight.kernel = weight(gated ? "mlp.gate_proj" : "mlp.dense_h_to_4h");
        ffn_.intermediate_weight2.kernel = gated ? weight("mlp.up_proj") : nullptr;
        ffn_.output_weight.kernel = weight(gated ? "mlp.down_proj" : "mlp.dense_4h_to_h");
        if (attention_.query_weight.kernel == nullptr || attention_.attention_output_weight.kernel == nullptr ||
            ffn_.intermediate_weight.kernel == nullptr || ffn_.output_weight.kernel == nullptr) {
            refuse("rank " + std::to_string(rank) + " lacks a weight of layer " + std::to_string(layer));
        }
    }
    ~Rank() {
        for (void *pointer : memory_) flashllmFree(handle_, pointer);
    }
    Rank(const Rank &) = delete;
    Rank &operator=(const Rank &) = delete;

    // Adds this rank's share to attention and ffn, and appends its qkv.
    void forward(const std::vector<unsigned char> &input, int batch, int length, std::vector<float> *qkv,
                 std::vector<float> *attention, std::vector<float> *ffn) {
        const int tokens = batch * length, hidden_units = model_.hidden();
        const int local_hidden_units = hidden_units / model_.tensor_para_size;
        const int inter_size = model_.inter_size / model_.tensor_para_size;
        const int qkv_units = qkv_width();
        gemm_.setFP16GemmConfig();
        gemm_.reserve(tokens);
        const void *attention_input = upload(input);
        void *qkv_buf = buffer(tokens, qkv_units), *qkv_buf_2 = buffer(tokens, qkv_units);
        void *output = buffer(tokens, hidden_units);
        void *inter_buf = buffer(tokens, inter_size), *inter_buf_2 = buffer(tokens, inter_size);

        // DecoderSelfAttentionLayer.cc, "qkv_gemm"
        gemm_.Gemm(OP_N, OP_N,
                   qkv_units,  // n
                   tokens, hidden_units,
                   attention_.query_weight.kernel, qkv_units,  // n
                   attention_input, hidden_units,              // k
                   qkv_buf, qkv_units);
        append(qkv_buf, tokens, qkv_units, qkv);

        // The same as a batch of sequences, and through arrays of addresses: the same bits.
        gemm_.stridedBatchedGemm(OP_N, OP_N, qkv_units, length, hidden_units, attention_.query_weight.kernel,
                                 qkv_units, 0, attention_input, hidden_units,
                                 static_cast<int64_t>(length) * hidden_units, qkv_buf_2, qkv_units,
                                 static_cast<int64_t>(length) * qkv_units, batch);
        same(qkv_buf, qkv_buf_2, tokens, qkv_units, "stridedBatchedGemm");
        const std::vector<const void *> kernels = {attention_.query_weight.kernel, attention_.query_weight.kernel};
        const std::vector<const void *> inputs = {attention_input, attention_input};
        const std::vector<void *> outputs = {buffer(tokens, qkv_units), buffer(tokens, qkv_units)};
        gemm_.batchedGemm(OP_N, OP_N, qkv_units, tokens, hidden_units, kernels.data(), qkv_units, inputs.data(),
                          hidden_units, outputs.data(), qkv_units, 2);
        same(qkv_buf, outputs[0], tokens, qkv_units, "batchedGemm");
        same(qkv_buf, outputs[1], tokens, qkv_units, "batchedGemm");

        // DecoderSelfAttentionLayer.cc, "proj gemm"; the queries stand for the attention's result, in the
        // rows of qkv_buf: ldb is not k.
        gemm_.Gemm(OP_N, OP_N, hidden_units, tokens, local_hidden_units,
                   attention_.attention_output_weight.kernel, hidden_units, qkv_buf, qkv_units, output,
                   hidden_units);
        add(output, tokens, hidden_units, attention);

        // FfnLayer.cc, "FFN gemm 1"
        gemm_.Gemm(OP_N, OP_N, inter_size, tokens, hidden_units, ffn_.intermediate_weight.kernel, inter_size,
                   attention_input, hidden_units, inter_buf, inter_size);
        if (ffn_.intermediate_weight2.kernel != nullptr) {
            gemm_.Gemm(OP_N, OP_N, inter_size, tokens, hidden_units, ffn_.intermediate_weight2.kernel, inter_size,
                       attention_input, hidden_units, inter_buf_2, inter_size);
        }
        genericActivation(inter_buf, ffn_.intermediate_weight2.kernel != nullptr ? inter_buf_2 : nullptr,
                          static_cast<size_t>(tokens) * static_cast<size_t>(inter_size));

        // FfnLayer.cc, "FFN gemm 2"
        gemm_.Gemm(OP_N, OP_N, hidden_units, tokens, inter_size, ffn_.output_weight.kernel, hidden_units, inter_buf,
                   inter_size, output, hidden_units);
        add(output, tokens, hidden_units, ffn);
        CHECK(flashllmSynchronize(handle_));
    }

    int qkv_width() const { return model_.matrices()[0].m; }

 private:
    void *upload(const std::vector<unsigned char> &bytes) {
        void *device = allocate(handle_, bytes.size());
        memory_.push_back(device);
        copy_in(handle_, device, bytes.data(), bytes.size());
        return device;
    }

    // NaN where a result goes: an element that is not written cannot pass.
    void *buffer(int tokens, int width) {
        return upload(std::vector<unsigned char>(static_cast<size_t>(tokens) * static_cast<size_t>(width) * 2, 0xff));
    }

    std::vector<uint16_t> download(const void *device, int tokens, int width) {
        std::vector<uint16_t> values(static_cast<size_t>(tokens) * static_cast<size_t>(width));
        copy_out(handle_, values.data(), device, values.size() * sizeof(uint16_t));
        return values;
    }

    void append(const void *device, int tokens, int width, std::vector<float> *to) {
        for (uint16_t value : download(device, tokens, width)) to->push_back(float_from_half(value));
    }

    // In place of ftNcclAllReduceSum.
    void add(const void *device, int tokens, int width, std::vector<float> *to) {
        const std::vector<uint16_t> values = download(device, tokens, width);
        for (size_t i = 0; i < values.size(); ++i) (*to)[i] += float_from_half(values[i]);
    }

    void same(const void *one, const void *other, int tokens, int width, const char *call) {
        if (download(one, tokens, width) != download(other, tokens, width)) {
            fprintf(stderr, "%s gives other bits than Gemm\n", call);
            exit(EXIT_FAILURE);
        }
    }

    // ReLU, times the second buffer where the FFN is gated.
    void genericActivation(void *inter, const void *gate, size_t count) {
        std::vector<uint16_t> values(count), factors(count);
        copy_out(handle_, values.data(), inter, count * sizeof(uint16_t));
        if (gate != nullptr) copy_out(handle_, factors.data(), gate, count * sizeof(uint16_t));
        for (size_t i = 0; i < count; ++i) {
            const float positive = std::max(float_from_half(values[i]), 0.0f);
            values[i] = half_from_float(gate != nullptr ? positive * float_from_half(factors[i]) : positive);
        }
        copy_in(handle_, inter, values.data(), count * sizeof(uint16_t));
    }

    flashllmHandle_t handle_;
    const FtModel &model_;
    HostGemm host_gemm_;
    FlashLlmGemmWrapper gemm_;
    AttentionWeight attention_;
    FfnWeight ffn_;
    std::vector<void *> memory_;
};

std::vector<unsigned char> read_file(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) refuse(path + " cannot be opened");
    return std::vector<unsigned char>(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

int main(int argc, char **argv) {
    std::string device = "auto";
    std::vector<std::string> paths;
    int layer = 0, batch = 1, length = 1;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--device") {
            device = option_value(argc, argv, &i);
        } else if (name == "--layer") {
            layer = option_number(argc, argv, &i, 0, 1 << 20);
        } else if (name == "--batch") {
            batch = option_number(argc, argv, &i, 1, 1 << 12);
        } else if (name == "--length") {
            length = option_number(argc, argv, &i, 1, 1 << 12);
        } else if (name.compare(0, 2, "--") == 0) {
            refuse("there is no option " + name);
        } else {
            paths.push_back(name);
        }
    }
    if (paths.size() != 4) {
        refuse("usage: ft_layers [--device D] [--layer N] [--batch B] [--length S] FOLDER CONVERTED-FOLDER INPUT "
               "OUTPUT");
    }
    const FtModel model = read_ft_model(paths[0]);
    const std::vector<unsigned char> input = read_file(paths[2]);
    const size_t elements = static_cast<size_t>(batch) * static_cast<size_t>(length) * static_cast<size_t>(model.hidden());
    if (input.size() != elements * sizeof(uint16_t)) {
        refuse(paths[2] + " has " + std::to_string(input.size()) + " bytes, and the tokens are " +
               std::to_string(elements * sizeof(uint16_t)));
    }
    flashllmHandle_t handle = create_handle(device.c_str());
    std::vector<float> qkv, attention(elements, 0.0f), ffn(elements, 0.0f);
    try {
        for (int rank = 0; rank < model.tensor_para_size; ++rank) {
            Rank(handle, model, paths[0], paths[1], layer, rank).forward(input, batch, length, &qkv, &attention, &ffn);
        }
    } catch (const std::exception &error) {
        fprintf(stderr, "%s\n", error.what());
        return EXIT_FAILURE;
    }
    std::ofstream output(paths[3], std::ios::binary);
    for (const std::vector<float> *part : {&qkv, &attention, &ffn}) {
        output.write(reinterpret_cast<const char *>(part->data()),
                     static_cast<std::streamsize>(part->size() * sizeof(float)));
    }
    if (!output.flush()) refuse(paths[3] + " cannot be written");
    printf("layer %d: %d ranks, %d tokens on the %s\n", layer, model.tensor_para_size, batch * length,
           device_name(handle));
    CHECK(flashllmDestroy(handle));
    return EXIT_SUCCESS;
}
