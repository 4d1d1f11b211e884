// SPDX-License-Identifier: Apache-2.0
//
// An OPT model that generates text, greedily, with its weight matrices compressed or dense.
//
// usage: opt_decoder [options] FILE.safetensors...
//   --heads N          attention heads; read from the config.json beside the first file if there is one
//   --prompt 2,17,5    token ids of one sequence; repeat it for a batch (all of one length)
//   --batch N --prompt-length T   random prompts instead, to measure with
//   --chunk N          positions of the prompt in a step (default: as many as make 2048 rows)
//   --new-tokens N     tokens to generate for each sequence (default 16)
//   --dense            the same program with dense weights: cuBLAS on the GPU, plain loops on the host
//   --prune P          first zero the smallest P per cent of each matrix, dense or not
//   --format F         auto, bitmap, slots, banked, sell or tiled-csl: for matrices that are compressed here
//   --device D         auto, cuda or host
//   --logits FILE      write the logits behind each token: float32 [new tokens, batch, vocabulary]
//
// The files are a Hugging Face checkpoint of a pre-norm OPT (any but 350m). A matrix NAME is either
// there as it is, and then compressed while it is loaded, or it is the U8 tensor NAME.flash_llm: the
// bytes of a compressed buffer, which says itself what it holds, and which is used as it is.
//
// A layer has four products with weight matrices; everything else is in opt_ops.h. The residual stream
// is fp32, and the products that end in it add to it (beta = 1), so no kernel of its own adds it.
#include "common.h"

#include "opt_ops.h"
#include "safetensors.h"

#include <algorithm>
#include <deque>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

[[noreturn]] void refuse(const std::string &sentence) {
    fprintf(stderr, "opt_decoder: %s\n", sentence.c_str());
    exit(2);
}

struct Options {
    std::vector<std::string> files;
    std::vector<std::vector<int32_t>> prompts;
    int heads = 0, batch = 0, prompt_length = 0, chunk = 0, new_tokens = 16, prune = 0;
    bool dense = false;
    flashllmFormat_t format = FLASHLLM_FORMAT_AUTO;
    std::string device = "auto", logits;
};

int number(const std::string &option, const std::string &text, int least, int most) {
    char *end = nullptr;
    const long value = strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || value < least || value > most) {
        refuse(option + " is a number from " + std::to_string(least) + " to " + std::to_string(most) +
               ", not '" + text + "'");
    }
    return static_cast<int>(value);
}

Options parse_arguments(int argc, char **argv) {
    Options o;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name.compare(0, 2, "--") != 0) {
            o.files.push_back(name);
            continue;
        }
        if (name == "--dense") {
            o.dense = true;
            continue;
        }
        if (i + 1 == argc) refuse(name + " has no value");
        const std::string value = argv[++i];
        if (name == "--heads") {
            o.heads = number(name, value, 1, 4096);
        } else if (name == "--batch") {
            o.batch = number(name, value, 1, 4096);
        } else if (name == "--prompt-length") {
            o.prompt_length = number(name, value, 1, 8192);
        } else if (name == "--chunk") {
            o.chunk = number(name, value, 1, 8192);
        } else if (name == "--new-tokens") {
            o.new_tokens = number(name, value, 1, 8192);
        } else if (name == "--prune") {
            o.prune = number(name, value, 0, 100);
        } else if (name == "--device") {
            o.device = value;
        } else if (name == "--logits") {
            o.logits = value;
        } else if (name == "--format") {
            if (!format_from_name(value.c_str(), &o.format)) {
                refuse("--format is auto, bitmap, slots, banked, sell or tiled-csl, not '" + value + "'");
            }
        } else if (name == "--prompt") {
            std::vector<int32_t> tokens;
            std::stringstream list(value);
            for (std::string token; std::getline(list, token, ',');) {
                tokens.push_back(number(name, token, 0, INT32_MAX));
            }
            if (tokens.empty()) refuse("--prompt has no token");
            o.prompts.push_back(tokens);
        } else {
            refuse("there is no option " + name);
        }
    }
    if (o.files.empty()) refuse("there is no file; the usage is at the top of opt_decoder.cpp");
    if (o.prompts.empty() && o.batch == 0 && o.prompt_length == 0) o.prompts = {{2}};  // </s> alone
    if (o.prompts.empty()) {
        uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
        o.prompts.resize(static_cast<size_t>(std::max(o.batch, 1)));
        for (std::vector<int32_t> &prompt : o.prompts) {
            for (int i = 0; i < std::max(o.prompt_length, 1); ++i) {
                state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                prompt.push_back(static_cast<int32_t>(state >> 33));  // the model brings it into range
            }
        }
    } else if (o.batch != 0 || o.prompt_length != 0) {
        refuse("--batch and --prompt-length are for random prompts, and there is a --prompt");
    }
    for (const std::vector<int32_t> &prompt : o.prompts) {
        if (prompt.size() != o.prompts[0].size()) refuse("the prompts of a batch must have one length");
    }
    return o;
}

// A checkpoint of one or more safetensors files.
class Checkpoint {
 public:
    explicit Checkpoint(const std::vector<std::string> &paths) : paths_(paths), files_(paths.size()) {
        for (size_t i = 0; i < paths.size(); ++i) {
            if (st_open(&files_[i], paths[i].c_str()) != 0) {
                refuse(paths[i] + " is not a safetensors file this program can read: " + files_[i].error);
            }
        }
    }
    ~Checkpoint() {
        for (st_file &file : files_) st_close(&file);
    }
    Checkpoint(const Checkpoint &) = delete;
    Checkpoint &operator=(const Checkpoint &) = delete;

    const st_tensor *find(const std::string &name, st_file **file = nullptr) {
        for (st_file &candidate : files_) {
            if (const st_tensor *tensor = st_find(&candidate, name.c_str())) {
                if (file != nullptr) *file = &candidate;
                return tensor;
            }
        }
        return nullptr;
    }

    // A floating point matrix as fp16; m and k are checked where they are not 0, and told.
    std::vector<uint16_t> matrix(const std::string &name, int *m, int *k) {
        st_file *file = nullptr;
        const st_tensor *tensor = find(name, &file);
        if (tensor == nullptr) refuse("there is no tensor " + name);
        if (!st_is_matrix(tensor) || tensor->rows > INT32_MAX || tensor->cols > INT32_MAX) {
            refuse(name + " is not a floating point matrix");
        }
        const int rows = static_cast<int>(tensor->rows), cols = static_cast<int>(tensor->cols);
        if ((*m != 0 && rows != *m) || (*k != 0 && cols != *k)) {
            refuse(name + " is " + std::to_string(rows) + " x " + std::to_string(cols) + ", not " +
                   std::to_string(*m) + " x " + std::to_string(*k));
        }
        *m = rows;
        *k = cols;
        std::vector<uint16_t> values(tensor->rows * tensor->cols);
        if (st_read_half(file, tensor, values.data()) != 0) refuse(file->error);
        for (uint16_t value : values) {
            if ((value & 0x7c00u) == 0x7c00u) refuse(name + " has weights that fp16 cannot hold");
        }
        return values;
    }

    // A floating point vector of `length` elements, or of any if that is 0.
    std::vector<float> vector(const std::string &name, int length) {
        st_file *file = nullptr;
        const st_tensor *tensor = find(name, &file);
        if (tensor == nullptr) refuse("there is no tensor " + name);
        if (tensor->dimensions != 1 || (length != 0 && tensor->shape[0] != static_cast<uint64_t>(length))) {
            refuse(name + " is not a vector" + (length != 0 ? " of " + std::to_string(length) : ""));
        }
        std::vector<float> values(tensor->shape[0]);
        if (st_read_float(file, tensor, values.data()) != 0) refuse(file->error);
        return values;
    }

    // The bytes of a compressed matrix.
    std::vector<unsigned char> bytes(const std::string &name) {
        st_file *file = nullptr;
        const st_tensor *tensor = find(name, &file);
        if (tensor == nullptr || tensor->type != ST_U8) refuse(name + " is not a tensor of bytes");
        std::vector<unsigned char> values(tensor->bytes);
        if (st_read_bytes(file, tensor, values.data()) != 0) refuse(file->error);
        return values;
    }

    // The text of config.json beside the first file; empty if there is none.
    std::string config() const {
        const size_t slash = paths_[0].rfind('/');
        const std::string folder = slash == std::string::npos ? "" : paths_[0].substr(0, slash + 1);
        std::ifstream file(folder + "config.json");
        return std::string(std::istreambuf_iterator<char>(file), {});
    }

 private:
    std::vector<std::string> paths_;
    std::vector<st_file> files_;
};

// What follows "key": in a flat JSON object, up to a comma or the end of the line; empty without the key.
std::string json_value(const std::string &json, const std::string &key) {
    const size_t at = json.find("\"" + key + "\"");
    if (at == std::string::npos) return "";
    size_t begin = json.find(':', at);
    if (begin == std::string::npos) return "";
    begin = json.find_first_not_of(" \t:", begin);
    return begin == std::string::npos ? "" : json.substr(begin, json.find_first_of(",\r\n} ", begin) - begin);
}

struct SpMatDeleter {
    void operator()(flashllmSpMatDescr *matrix) const { CHECK(flashllmDestroySpMat(matrix)); }
};
struct DnMatDeleter {
    void operator()(const flashllmDnMatDescr *matrix) const { CHECK(flashllmDestroyDnMat(matrix)); }
};
using SpMat = std::unique_ptr<flashllmSpMatDescr, SpMatDeleter>;
using DnMat = std::unique_ptr<flashllmDnMatDescr, DnMatDeleter>;
using ConstDnMat = std::unique_ptr<const flashllmDnMatDescr, DnMatDeleter>;

ConstDnMat const_matrix(int rows, int cols, int ld, const void *values, flashllmOrder_t order) {
    flashllmConstDnMatDescr_t matrix = nullptr;
    CHECK(flashllmCreateConstDnMat(&matrix, rows, cols, ld, values, FLASHLLM_R_16F, order));
    return ConstDnMat(matrix);
}

DnMat mutable_matrix(int rows, int cols, int ld, void *values, flashllmDataType_t type, flashllmOrder_t order) {
    flashllmDnMatDescr_t matrix = nullptr;
    CHECK(flashllmCreateDnMat(&matrix, rows, cols, ld, values, type, order));
    return DnMat(matrix);
}

// m x k weights on the device: compressed, or dense and row-major.
struct Matrix {
    int m = 0, k = 0;
    size_t bytes = 0;
    SpMat sparse;
    uint16_t *dense = nullptr;
};

struct Norm {
    float *weight = nullptr, *bias = nullptr;
};

struct Layer {
    Norm attention_norm, ffn_norm;
    std::vector<Matrix> qkv;  // q, k and v one under the other: in one matrix or in three
    Matrix out, fc1, fc2;
    float *qkv_bias = nullptr, *out_bias = nullptr, *fc1_bias = nullptr, *fc2_bias = nullptr;
    uint16_t *keys = nullptr, *values = nullptr;  // [positions, batch, hidden]
};

class Model {
 public:
    Model(flashllmHandle_t handle, opt::Ops *ops, const Options &o, Checkpoint *checkpoint)
        : handle_(handle), ops_(ops), options_(o), checkpoint_(checkpoint) {
        read_sizes();
        load();
        allocate_buffers();
        checkpoint_ = nullptr;
    }

    // Returns the generated tokens, [new tokens][batch].
    std::vector<std::vector<int32_t>> generate() {
        std::vector<std::vector<int32_t>> prompts = options_.prompts;
        std::vector<int32_t> history(static_cast<size_t>(positions_) * batch_, 0);
        for (int b = 0; b < batch_; ++b) {
            for (int p = 0; p < prompt_; ++p) {
                int32_t token = prompts[b][p];
                if (options_.prompt_length != 0 || options_.batch != 0) token %= vocabulary_;
                if (token >= vocabulary_) {
                    refuse("token " + std::to_string(token) + " of a prompt is beyond the vocabulary of " +
                           std::to_string(vocabulary_));
                }
                history[static_cast<size_t>(p) * batch_ + b] = token;
            }
        }
        const int32_t zero = 0;
        copy_in(handle_, history_, history.data(), history.size() * sizeof(int32_t));
        copy_in(handle_, start_, &zero, sizeof zero);
        std::ofstream logits;
        if (!options_.logits.empty()) {
            logits.open(options_.logits, std::ios::binary);
            if (!logits) refuse(options_.logits + " cannot be opened for the logits");
        }

        double begin = seconds();
        for (int done = 0; done < prompt_; done += chunk_) {
            const int now = std::min(chunk_, prompt_ - done);
            step(now, done + now == prompt_);
        }
        CHECK(flashllmSynchronize(handle_));
        printf("prefill: %d tokens in %.2f ms\n", prompt_ * batch_, 1e3 * (seconds() - begin));
        save_logits(&logits);

        // The first decoding step runs as it is, and lets cuBLAS load what it needs for this shape. Then
        // one is recorded and the rest are replays of it.
        const int steps = options_.new_tokens - 1;
        if (steps > 0) {
            step(1, true);
            save_logits(&logits);
        }
        if (steps > 1) {
            ops_->record([this] { step(1, true); });
            CHECK(flashllmSynchronize(handle_));
            begin = seconds();
            for (int i = 1; i < steps; ++i) {
                ops_->replay();
                save_logits(&logits);
            }
            CHECK(flashllmSynchronize(handle_));
            const double each = (seconds() - begin) / (steps - 1);
            printf("decoding: %.3f ms a step, %.1f tokens/s\n", 1e3 * each, batch_ / each);
        }
        if (logits.is_open() && !logits.flush()) refuse("the logits cannot be written to " + options_.logits);

        copy_out(handle_, history.data(), history_, history.size() * sizeof(int32_t));
        std::vector<std::vector<int32_t>> tokens;
        for (int i = 0; i < options_.new_tokens; ++i) {
            const auto row = history.begin() + static_cast<ptrdiff_t>(prompt_ + i) * batch_;
            tokens.emplace_back(row, row + batch_);
        }
        return tokens;
    }

    void describe() const {
        printf("OPT: %zu layers, hidden %d, FFN %d, %d heads, vocabulary %d; batch %d on the %s\n",
               layers_.size(), hidden_, ffn_, heads_, vocabulary_, batch_, device_name(handle_));
        printf("%s weight matrices: %.0f bytes, %.1f %% of dense\n", options_.dense ? "dense" : "compressed",
               weight_bytes_, 100.0 * weight_bytes_ / dense_bytes_);
    }

 private:
    // One forward pass over `positions` positions of every sequence, from start on.
    void step(int positions, bool last) {
        const int rows = positions * batch_;
        const float *pending = nullptr;  // the bias that belongs to x but is added by the next norm
        ops_->embed(rows, batch_, hidden_, start_, history_, token_table_, position_table_, x_);
        for (Layer &layer : layers_) {
            ops_->add_bias_and_norm(rows, hidden_, pending, layer.attention_norm.weight,
                                    layer.attention_norm.bias, x_, h_);
            int first = 0;
            for (const Matrix &part : layer.qkv) {
                multiply(part, rows, h_, qkv_ + first, 3 * hidden_, FLASHLLM_R_16F, 0.0f);
                first += part.m;
            }
            ops_->store_kv(rows, batch_, hidden_, start_, layer.qkv_bias, qkv_, layer.keys, layer.values);
            ops_->attend(rows, batch_, hidden_, heads_, positions_, start_, qkv_, layer.keys, layer.values, h_);
            multiply(layer.out, rows, h_, x_, hidden_, FLASHLLM_R_32F, 1.0f);

            ops_->add_bias_and_norm(rows, hidden_, layer.out_bias, layer.ffn_norm.weight, layer.ffn_norm.bias,
                                    x_, h_);
            multiply(layer.fc1, rows, h_, f_, ffn_, FLASHLLM_R_16F, 0.0f);
            ops_->bias_relu(rows, ffn_, layer.fc1_bias, f_);
            multiply(layer.fc2, rows, f_, x_, hidden_, FLASHLLM_R_32F, 1.0f);
            pending = layer.fc2_bias;
        }
        ops_->advance(positions, start_);
        if (!last) return;
        float *end = x_ + static_cast<size_t>(rows - batch_) * hidden_;
        ops_->add_bias_and_norm(batch_, hidden_, pending, final_norm_.weight, final_norm_.bias, end, h_);
        ops_->gemm(vocabulary_, batch_, hidden_, head_, h_, logits_, vocabulary_, true, 0.0f);
        ops_->choose(batch_, vocabulary_, logits_, start_, history_);
    }

    // y[rows, m] = beta * y + x[rows, k] * w^T. To flash_llm, [rows, k] row-major is column-major k x rows.
    void multiply(const Matrix &w, int rows, const uint16_t *x, void *y, int ldy, flashllmDataType_t type,
                  float beta) {
        if (!w.sparse) {
            ops_->gemm(w.m, rows, w.k, w.dense, x, y, ldy, type == FLASHLLM_R_32F, beta);
            return;
        }
        const float alpha = 1.0f;
        const ConstDnMat b = const_matrix(w.k, rows, w.k, x, FLASHLLM_ORDER_COL);
        const DnMat c = mutable_matrix(w.m, rows, ldy, y, type, FLASHLLM_ORDER_COL);
        CHECK(flashllmSpMM(handle_, FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_NON_TRANSPOSE, &alpha,
                           w.sparse.get(), b.get(), &beta, c.get(), FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT,
                           workspace_));
    }

    void read_sizes() {
        prefix_ = checkpoint_->find("model.decoder.embed_tokens.weight") ? "model.decoder." : "decoder.";
        const std::string config = checkpoint_->config();
        if (json_value(config, "do_layer_norm_before") == "false") {
            refuse("this OPT normalises behind its blocks (opt-350m); only those that do before are supported");
        }
        const std::string activation = json_value(config, "activation_function");
        if (!activation.empty() && activation != "\"relu\"") refuse("the activation is " + activation + ", not relu");
        heads_ = options_.heads;
        if (heads_ == 0) {
            const std::string heads = json_value(config, "num_attention_heads");
            if (heads.empty()) refuse("there is no config.json beside the file: give --heads");
            heads_ = number("num_attention_heads of config.json", heads, 1, 4096);
        }
        batch_ = static_cast<int>(options_.prompts.size());
        prompt_ = static_cast<int>(options_.prompts[0].size());
        positions_ = prompt_ + options_.new_tokens;
        chunk_ = std::min(prompt_, options_.chunk != 0 ? options_.chunk : std::max(1, 2048 / batch_));
    }

    float *upload(const std::vector<float> &values) {
        float *device = static_cast<float *>(allocate(handle_, values.size() * sizeof(float)));
        copy_in(handle_, device, values.data(), values.size() * sizeof(float));
        return device;
    }

    uint16_t *upload(const std::vector<uint16_t> &values) {
        uint16_t *device = static_cast<uint16_t *>(allocate(handle_, values.size() * sizeof(uint16_t)));
        copy_in(handle_, device, values.data(), values.size() * sizeof(uint16_t));
        return device;
    }

    Norm norm(const std::string &name) {
        return {upload(checkpoint_->vector(name + ".weight", hidden_)),
                upload(checkpoint_->vector(name + ".bias", hidden_))};
    }

    // Dense weights from the file, row-major: pruned if that was asked for, then compressed or kept.
    Matrix place(std::vector<uint16_t> values, int m, int k) {
        Matrix matrix;
        matrix.m = m;
        matrix.k = k;
        if (options_.prune != 0) {
            std::vector<uint16_t> pruned(values.size());
            prune(values.data(), pruned.data(), values.size(), options_.prune);
            values.swap(pruned);
        }
        uint16_t *device = upload(values);
        if (options_.dense) {
            matrix.dense = device;
            matrix.bytes = values.size() * sizeof(uint16_t);
            return matrix;
        }
        flashllmSpMatDescr_t descriptor = nullptr;
        CHECK(flashllmCreateSpMat(&descriptor, m, k, FLASHLLM_R_16F, options_.format));
        matrix.sparse.reset(descriptor);
        const ConstDnMat dense = const_matrix(m, k, k, device, FLASHLLM_ORDER_ROW);
        size_t bytes = 0;
        CHECK(flashllmDenseToSparse_bufferSize(handle_, dense.get(), descriptor,
                                               FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, &bytes));
        void *scratch = allocate(handle_, bytes);
        CHECK(flashllmDenseToSparse_analysis(handle_, dense.get(), descriptor,
                                             FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));
        matrix.bytes = compressed_bytes(descriptor);
        void *buffer = allocate(handle_, matrix.bytes);
        CHECK(flashllmSpMatSetBuffer(handle_, descriptor, buffer, matrix.bytes));
        CHECK(flashllmDenseToSparse_convert(handle_, dense.get(), descriptor, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                            scratch));
        CHECK(flashllmFree(handle_, scratch));
        CHECK(flashllmFree(handle_, device));
        return matrix;
    }

    // A compressed matrix from the file: adopted as it is, or written out dense for --dense.
    Matrix adopt(const std::string &name, int m, int k) {
        if (options_.prune != 0) refuse("--prune is for dense matrices, and " + name + " is compressed");
        Matrix matrix;
        matrix.m = m;
        matrix.k = k;
        const std::vector<unsigned char> bytes = checkpoint_->bytes(name);
        flashllmSpMatDescr_t descriptor = nullptr;
        CHECK(flashllmCreateSpMat(&descriptor, m, k, FLASHLLM_R_16F, FLASHLLM_FORMAT_AUTO));
        matrix.sparse.reset(descriptor);
        matrix.bytes = bytes.size();
        void *buffer = allocate(handle_, bytes.size());
        copy_in(handle_, buffer, bytes.data(), bytes.size());
        // Refused with a sentence when the bytes are damaged or are another matrix.
        CHECK(flashllmSpMatSetBuffer(handle_, descriptor, buffer, bytes.size()));
        if (!options_.dense) return matrix;

        matrix.bytes = sizeof(uint16_t) * static_cast<size_t>(m) * static_cast<size_t>(k);
        matrix.dense = static_cast<uint16_t *>(allocate(handle_, matrix.bytes));
        const DnMat dense = mutable_matrix(m, k, k, matrix.dense, FLASHLLM_R_16F, FLASHLLM_ORDER_ROW);
        size_t workspace_bytes = 0;
        CHECK(flashllmSparseToDense_bufferSize(handle_, descriptor, dense.get(),
                                               FLASHLLM_SPARSETODENSE_ALG_DEFAULT, &workspace_bytes));
        void *workspace = allocate(handle_, workspace_bytes);
        CHECK(flashllmSparseToDense(handle_, descriptor, dense.get(), FLASHLLM_SPARSETODENSE_ALG_DEFAULT,
                                    workspace));
        matrix.sparse.reset();
        CHECK(flashllmFree(handle_, workspace));
        CHECK(flashllmFree(handle_, buffer));
        return matrix;
    }

    Matrix matrix(const std::string &name, int m, int k) {
        const std::string weight = name + ".weight";
        Matrix loaded;
        if (checkpoint_->find(weight + ".flash_llm") != nullptr) {
            loaded = adopt(weight + ".flash_llm", m, k);
        } else {
            loaded = place(checkpoint_->matrix(weight, &m, &k), m, k);
        }
        count(loaded);
        return loaded;
    }

    void count(const Matrix &loaded) {
        weight_bytes_ += static_cast<double>(loaded.bytes);
        dense_bytes_ += 2.0 * loaded.m * loaded.k;
    }

    void load() {
        int positions_known = 0;
        vocabulary_ = hidden_ = 0;
        token_table_ = upload(checkpoint_->matrix(prefix_ + "embed_tokens.weight", &vocabulary_, &hidden_));
        position_table_ =
            upload(checkpoint_->matrix(prefix_ + "embed_positions.weight", &positions_known, &hidden_));
        if (positions_ > positions_known - 2) {
            refuse("a prompt of " + std::to_string(prompt_) + " and " + std::to_string(options_.new_tokens) +
                   " new tokens need more than the model's " + std::to_string(positions_known - 2) + " positions");
        }
        if (hidden_ % heads_ != 0) {
            refuse("hidden size " + std::to_string(hidden_) + " is no multiple of " + std::to_string(heads_) +
                   " heads");
        }
        final_norm_ = norm(prefix_ + "final_layer_norm");
        head_ = checkpoint_->find("lm_head.weight") == nullptr
                    ? token_table_  // tied, as OPT's is
                    : upload(checkpoint_->matrix("lm_head.weight", &vocabulary_, &hidden_));

        for (int i = 0; checkpoint_->find(prefix_ + "layers." + std::to_string(i) + ".fc1.bias"); ++i) {
            const std::string name = prefix_ + "layers." + std::to_string(i) + ".";
            Layer layer;
            layer.attention_norm = norm(name + "self_attn_layer_norm");
            layer.ffn_norm = norm(name + "final_layer_norm");
            const std::vector<float> fc1_bias = checkpoint_->vector(name + "fc1.bias", 0);
            if (i == 0) ffn_ = static_cast<int>(fc1_bias.size());
            layer.fc1_bias = upload(checkpoint_->vector(name + "fc1.bias", ffn_));
            layer.fc2_bias = upload(checkpoint_->vector(name + "fc2.bias", hidden_));
            layer.out_bias = upload(checkpoint_->vector(name + "self_attn.out_proj.bias", hidden_));

            std::vector<float> qkv_bias;
            std::vector<uint16_t> stacked;
            for (const char *part : {"q_proj", "k_proj", "v_proj"}) {
                const std::string projection = name + "self_attn." + part;
                const std::vector<float> bias = checkpoint_->vector(projection + ".bias", hidden_);
                qkv_bias.insert(qkv_bias.end(), bias.begin(), bias.end());
                if (checkpoint_->find(projection + ".weight.flash_llm") != nullptr) {
                    layer.qkv.push_back(matrix(projection, hidden_, hidden_));
                } else {
                    const std::vector<uint16_t> dense =
                        checkpoint_->matrix(projection + ".weight", &hidden_, &hidden_);
                    stacked.insert(stacked.end(), dense.begin(), dense.end());
                }
            }
            if (!stacked.empty() && !layer.qkv.empty()) {
                refuse(name + "self_attn: some of q, k and v are compressed and some are not");
            }
            if (layer.qkv.empty()) {  // one product of three
                layer.qkv.push_back(place(stacked, 3 * hidden_, hidden_));
                count(layer.qkv.back());
            }
            layer.qkv_bias = upload(qkv_bias);
            layer.out = matrix(name + "self_attn.out_proj", hidden_, hidden_);
            layer.fc1 = matrix(name + "fc1", ffn_, hidden_);
            layer.fc2 = matrix(name + "fc2", hidden_, ffn_);
            layers_.push_back(std::move(layer));
        }
        if (layers_.empty()) refuse("there is no tensor " + prefix_ + "layers.0.fc1.bias: this is no OPT model");
    }

    void allocate_buffers() {
        const size_t rows = static_cast<size_t>(chunk_) * batch_, hidden = static_cast<size_t>(hidden_);
        const size_t cache = static_cast<size_t>(positions_) * batch_ * hidden * sizeof(uint16_t);
        for (Layer &layer : layers_) {
            layer.keys = static_cast<uint16_t *>(allocate(handle_, cache));
            layer.values = static_cast<uint16_t *>(allocate(handle_, cache));
        }
        x_ = static_cast<float *>(allocate(handle_, rows * hidden * sizeof(float)));
        h_ = static_cast<uint16_t *>(allocate(handle_, rows * hidden * sizeof(uint16_t)));
        qkv_ = static_cast<uint16_t *>(allocate(handle_, rows * 3 * hidden * sizeof(uint16_t)));
        f_ = static_cast<uint16_t *>(allocate(handle_, rows * static_cast<size_t>(ffn_) * sizeof(uint16_t)));
        logits_ = static_cast<float *>(
            allocate(handle_, static_cast<size_t>(batch_) * static_cast<size_t>(vocabulary_) * sizeof(float)));
        start_ = static_cast<int32_t *>(allocate(handle_, sizeof(int32_t)));
        history_ = static_cast<int32_t *>(
            allocate(handle_, static_cast<size_t>(positions_) * batch_ * sizeof(int32_t)));
        // One workspace for every product: they follow each other on one stream. The need does not shrink
        // when there are more rows, so the longest step's serves all.
        size_t most = 0;
        for (const Layer &layer : layers_) {
            for (const Matrix &part : layer.qkv) most = std::max(most, workspace_bytes(part, FLASHLLM_R_16F, qkv_));
            most = std::max(most, workspace_bytes(layer.out, FLASHLLM_R_32F, x_));
            most = std::max(most, workspace_bytes(layer.fc1, FLASHLLM_R_16F, f_));
            most = std::max(most, workspace_bytes(layer.fc2, FLASHLLM_R_32F, x_));
        }
        workspace_ = allocate(handle_, most);
    }

    size_t workspace_bytes(const Matrix &w, flashllmDataType_t type, void *y) const {
        if (!w.sparse) return 0;
        const float alpha = 1.0f, beta = 1.0f;
        const int rows = chunk_ * batch_;
        size_t bytes = 0;
        // The size depends on the shapes alone: the addresses only have to be there.
        const ConstDnMat b = const_matrix(w.k, rows, w.k, f_, FLASHLLM_ORDER_COL);
        const DnMat c = mutable_matrix(w.m, rows, w.m, y, type, FLASHLLM_ORDER_COL);
        CHECK(flashllmSpMM_bufferSize(handle_, FLASHLLM_OPERATION_NON_TRANSPOSE, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                      &alpha, w.sparse.get(), b.get(), &beta, c.get(), FLASHLLM_R_32F,
                                      FLASHLLM_SPMM_ALG_DEFAULT, &bytes));
        return bytes;
    }

    void save_logits(std::ofstream *file) {
        if (!file->is_open()) return;
        std::vector<float> host(static_cast<size_t>(batch_) * static_cast<size_t>(vocabulary_));
        copy_out(handle_, host.data(), logits_, host.size() * sizeof(float));
        file->write(reinterpret_cast<const char *>(host.data()),
                    static_cast<std::streamsize>(host.size() * sizeof(float)));
    }

    flashllmHandle_t handle_;
    opt::Ops *ops_;
    const Options &options_;
    Checkpoint *checkpoint_;  // while loading
    std::string prefix_;
    int hidden_ = 0, ffn_ = 0, heads_ = 0, vocabulary_ = 0;
    int batch_ = 0, prompt_ = 0, positions_ = 0, chunk_ = 0;
    double weight_bytes_ = 0.0, dense_bytes_ = 0.0;

    // Device memory of the handle, which frees it.
    std::vector<Layer> layers_;
    Norm final_norm_;
    uint16_t *token_table_ = nullptr, *position_table_ = nullptr, *head_ = nullptr;
    float *x_ = nullptr, *logits_ = nullptr;
    uint16_t *h_ = nullptr, *qkv_ = nullptr, *f_ = nullptr;
    int32_t *start_ = nullptr, *history_ = nullptr;
    void *workspace_ = nullptr;
};

// The GPU where there is one and the program was built for it, the host otherwise.
std::unique_ptr<opt::Ops> create_ops(std::string *device) {
    if (*device == "host") return opt::create_host_ops();
    if (*device != "auto" && *device != "cuda") refuse("--device is auto, cuda or host, not '" + *device + "'");
    std::string why_not = "this program was built without nvcc";
#ifdef OPT_WITH_CUDA
    if (std::unique_ptr<opt::Ops> ops = opt::create_cuda_ops(&why_not)) {
        *device = "cuda";
        return ops;
    }
#endif
    printf("no GPU: %s\n", why_not.c_str());
    if (*device == "cuda") exit(EXIT_SKIPPED);
    *device = "host";
    return opt::create_host_ops();
}

}  // namespace

int main(int argc, char **argv) {
    const Options options = parse_arguments(argc, argv);
    Checkpoint checkpoint(options.files);
    std::string device = options.device;
    const std::unique_ptr<opt::Ops> ops = create_ops(&device);
    flashllmHandle_t handle = create_handle(device.c_str());
    CHECK(flashllmSetStream(handle, ops->stream()));
    {
        Model model(handle, ops.get(), options, &checkpoint);
        model.describe();
        const std::vector<std::vector<int32_t>> tokens = model.generate();
        for (size_t b = 0; b < options.prompts.size(); ++b) {
            printf("sequence %zu:", b);
            for (const std::vector<int32_t> &step : tokens) printf(" %d", step[b]);
            printf("\n");
        }
    }
    CHECK(flashllmDestroy(handle));
    return EXIT_SUCCESS;
}
