// SPDX-License-Identifier: Apache-2.0
//
// What the programs here know of FasterTransformer's weight folders: config.ini, and the shape of each
// matrix for one tensor-parallel rank. A file LAYER.MATRIX.weight.RANK.bin is the matrix [K, M] row-major,
// which is also what its GEMM reads: M x K column-major with lda = M.
#ifndef FLASH_LLM_FT_MODEL_H
#define FLASH_LLM_FT_MODEL_H

#include "../common.h"

#include <fstream>
#include <map>
#include <string>
#include <vector>

[[noreturn]] inline void refuse(const std::string &sentence) {
    fprintf(stderr, "%s\n", sentence.c_str());
    exit(2);
}

struct FtMatrix {
    std::string name;  // attention.query_key_value, ...
    int m, k;          // of one rank
};

struct FtModel {
    int layers = 0, heads = 0, kv_heads = 0, size_per_head = 0, inter_size = 0, adapter_inter_size = 0;
    int tensor_para_size = 0;
    std::string weight_type;  // fp32, fp16 or bf16

    int hidden() const { return heads * size_per_head; }

    // The matrices that FasterTransformer's GPT layers and its LLaMA descendants have, whether there or not.
    std::vector<FtMatrix> matrices() const {
        const int tp = tensor_para_size, h = hidden(), inter = inter_size / tp;
        std::vector<FtMatrix> list = {
            {"attention.query_key_value", (heads + 2 * kv_heads) * size_per_head / tp, h},
            {"attention.dense", h, h / tp},
            {"mlp.dense_h_to_4h", inter, h},
            {"mlp.dense_4h_to_h", h, inter},
            {"mlp.gate_proj", inter, h},
            {"mlp.up_proj", inter, h},
            {"mlp.down_proj", h, inter},
        };
        if (adapter_inter_size != 0) {
            for (const char *adapter : {"after_attention_adapter", "after_ffn_adapter"}) {
                list.push_back({std::string(adapter) + ".dense_h_to_4h", adapter_inter_size / tp, h});
                list.push_back({std::string(adapter) + ".dense_4h_to_h", h, adapter_inter_size / tp});
            }
        }
        return list;
    }
};

inline std::string ft_name(int layer, const std::string &matrix) {
    return "model.layers." + std::to_string(layer) + "." + matrix + ".weight";
}

inline std::string ft_path(const std::string &folder, const std::string &name, int rank) {
    return folder + "/" + name + "." + std::to_string(rank) + ".bin";
}

inline bool file_exists(const std::string &path) { return std::ifstream(path).good(); }

// Reads config.ini: `key = value` lines; the sections' names do not matter, since each has one model.
// tensor_para_size is counted from the rank files where the file does not tell it.
inline FtModel read_ft_model(const std::string &folder) {
    const std::string path = folder + "/config.ini";
    std::ifstream file(path);
    if (!file) refuse(path + " cannot be opened");
    std::map<std::string, std::string> values;
    for (std::string line; std::getline(file, line);) {
        const size_t equals = line.find('=');
        if (line.empty() || line[0] == '[' || line[0] == '#' || line[0] == ';' || equals == std::string::npos) {
            continue;
        }
        const auto trimmed = [](const std::string &text) {
            const size_t begin = text.find_first_not_of(" \t\r"), end = text.find_last_not_of(" \t\r");
            return begin == std::string::npos ? std::string() : text.substr(begin, end - begin + 1);
        };
        values[trimmed(line.substr(0, equals))] = trimmed(line.substr(equals + 1));
    }
    const auto number = [&](const std::string &key, int otherwise) {
        const auto found = values.find(key);
        if (found == values.end()) {
            if (otherwise < 0) refuse(path + " has no " + key);
            return otherwise;
        }
        char *end = nullptr;
        const long value = strtol(found->second.c_str(), &end, 10);
        if (found->second.empty() || *end != '\0' || value < 1 || value > (1 << 20)) {
            refuse(path + ": " + key + " is '" + found->second + "', not a number from 1 to 1048576");
        }
        return static_cast<int>(value);
    };
    FtModel model;
    model.layers = number("num_layer", -1);
    model.heads = number("head_num", -1);
    model.kv_heads = number("kv_head_num", model.heads);
    model.size_per_head = number("size_per_head", -1);
    model.inter_size = number("inter_size", -1);
    model.adapter_inter_size = number("adapter_inter_size", 0);
    model.weight_type = values.count("weight_data_type") != 0 ? values["weight_data_type"] : "fp32";
    int ranks = 0;
    while (file_exists(ft_path(folder, ft_name(0, "attention.query_key_value"), ranks))) ++ranks;
    model.tensor_para_size = number("tensor_para_size", ranks);
    if (model.tensor_para_size == 0) {
        refuse("there is no " + ft_path(folder, ft_name(0, "attention.query_key_value"), 0));
    }
    const int tp = model.tensor_para_size;
    if (model.heads % tp != 0 || model.kv_heads % tp != 0 || model.inter_size % tp != 0 ||
        model.adapter_inter_size % tp != 0) {
        refuse(path + ": the heads or inter_size cannot be split over " + std::to_string(tp) + " ranks");
    }
    return model;
}

// The size of a weight_data_type's elements; refuses unknown ones.
inline size_t ft_element_bytes(const std::string &type) {
    if (type == "fp32") return 4;
    if (type == "fp16" || type == "bf16") return 2;
    refuse("the weights' type is '" + type + "': fp32, fp16 or bf16 is needed");
}

// Refuses a file that is not of k * m elements, and gives its size.
inline uint64_t check_ft_matrix(const std::string &path, const FtMatrix &matrix, const std::string &type) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) refuse(path + " cannot be opened");
    const auto bytes = static_cast<uint64_t>(file.tellg());
    const uint64_t needed =
        static_cast<uint64_t>(matrix.m) * static_cast<uint64_t>(matrix.k) * ft_element_bytes(type);
    if (bytes != needed) {
        refuse(path + " has " + std::to_string(bytes) + " bytes: " + std::to_string(matrix.k) + " x " +
               std::to_string(matrix.m) + " elements of " + type + " are " + std::to_string(needed));
    }
    return bytes;
}

// A whole file of k * m elements.
inline std::vector<unsigned char> read_ft_matrix(const std::string &path, const FtMatrix &matrix,
                                                 const std::string &type) {
    const uint64_t bytes = check_ft_matrix(path, matrix, type);
    std::ifstream file(path, std::ios::binary);
    std::vector<unsigned char> contents(bytes);
    if (!file.read(reinterpret_cast<char *>(contents.data()), static_cast<std::streamsize>(bytes))) {
        refuse(path + " cannot be read");
    }
    return contents;
}

// The value after an option on the command line.
inline std::string option_value(int argc, char **argv, int *i) {
    if (*i + 1 >= argc) refuse(std::string(argv[*i]) + " has no value");
    return argv[++*i];
}

inline int option_number(int argc, char **argv, int *i, int least, int most) {
    const std::string name = argv[*i], text = option_value(argc, argv, i);
    char *end = nullptr;
    const long value = strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || value < least || value > most) {
        refuse(name + " is a number from " + std::to_string(least) + " to " + std::to_string(most) + ", not '" +
               text + "'");
    }
    return static_cast<int>(value);
}

#endif
