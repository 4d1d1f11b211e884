// SPDX-License-Identifier: Apache-2.0
//
// Compresses the weight matrices of a FasterTransformer folder, as its checkpoint converters write it:
// config.ini, and a file for each matrix and tensor-parallel rank.
//
// usage: ft_convert [options] FOLDER OUTPUT-FOLDER
//   --type T           fp16 or bf16: the compressed values (default: bf16 where the files are, else fp16)
//   --weight-type T    fp32, fp16 or bf16: the files (default: weight_data_type of config.ini)
//   --prune P          first zero the smallest P per cent of each rank's matrix
//   --min-sparsity P   matrices with fewer zeros stay dense and are left out (default 40)
//   --format F         auto, bitmap, slots, banked, sell or tiled-csl
//   --matrix NAME=K,M  one more matrix of each layer: model.layers.N.NAME.weight.RANK.bin, K x M for a rank
//   --no-verify        do not read each matrix back and compare it with its file
//   --device D         auto, cuda or host
//
// Writes OUTPUT-FOLDER/flash_llm.RANK.safetensors with the compressed matrices of a rank, under the names
// of their files without rank and ".bin". FlashLlmGemmWrapper::load() reads them. Biases, layer norms,
// embeddings and matrices that stay dense are not copied: FasterTransformer reads those as before.
//
// Exits 2 on files and arguments it cannot use, 1 when a check fails.
#include "ft_model.h"

#include <algorithm>
#include <cmath>

namespace {

struct Options {
    std::string input, output, type, weight_type, device = "auto";
    int prune = 0, min_sparsity = 40;
    flashllmFormat_t format = FLASHLLM_FORMAT_AUTO;
    std::vector<FtMatrix> more;
    bool verify = true;
};

Options parse_arguments(int argc, char **argv) {
    Options o;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--type") {
            o.type = option_value(argc, argv, &i);
            if (o.type != "fp16" && o.type != "bf16") refuse("--type is fp16 or bf16, not '" + o.type + "'");
        } else if (name == "--weight-type") {
            o.weight_type = option_value(argc, argv, &i);
        } else if (name == "--prune") {
            o.prune = option_number(argc, argv, &i, 0, 100);
        } else if (name == "--min-sparsity") {
            o.min_sparsity = option_number(argc, argv, &i, 0, 100);
        } else if (name == "--format") {
            const std::string value = option_value(argc, argv, &i);
            if (!format_from_name(value.c_str(), &o.format)) {
                refuse("--format is auto, bitmap, slots, banked, sell or tiled-csl, not '" + value + "'");
            }
        } else if (name == "--matrix") {
            const std::string value = option_value(argc, argv, &i);
            const size_t equals = value.find('=');
            FtMatrix matrix{value.substr(0, equals), 0, 0};
            char rest = 0;
            if (equals == std::string::npos || equals == 0 ||
                sscanf(value.c_str() + equals + 1, "%d,%d%c", &matrix.k, &matrix.m, &rest) != 2 ||
                matrix.k < 1 || matrix.m < 1) {
                refuse("--matrix is NAME=K,M, not '" + value + "'");
            }
            o.more.push_back(matrix);
        } else if (name == "--no-verify") {
            o.verify = false;
        } else if (name == "--device") {
            o.device = option_value(argc, argv, &i);
        } else if (name.compare(0, 2, "--") == 0) {
            refuse("there is no option " + name);
        } else if (o.input.empty()) {
            o.input = name;
        } else if (o.output.empty()) {
            o.output = name;
        } else {
            refuse("there are more than two folders");
        }
    }
    if (o.output.empty()) refuse("usage: ft_convert [options] FOLDER OUTPUT-FOLDER");
    return o;
}

uint16_t bfloat_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float float_from_bfloat(uint16_t bfloat) {
    const uint32_t bits = static_cast<uint32_t>(bfloat) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// The elements of a file as 16-bit values, in the file's order. A value that becomes infinite is refused:
// it would ruin every product.
std::vector<uint16_t> convert_elements(const std::vector<unsigned char> &bytes, const std::string &from,
                                       const std::string &to, const std::string &path) {
    std::vector<uint16_t> out(bytes.size() / ft_element_bytes(from));
    if (from == to) {
        memcpy(out.data(), bytes.data(), bytes.size());
        return out;
    }
    for (size_t i = 0; i < out.size(); ++i) {
        float value;
        uint16_t half;
        if (from == "fp32") {
            memcpy(&value, &bytes[4 * i], sizeof value);
        } else {
            memcpy(&half, &bytes[2 * i], sizeof half);
            value = from == "fp16" ? float_from_half(half) : float_from_bfloat(half);
        }
        out[i] = to == "fp16" ? half_from_float(value) : bfloat_from_float(value);
        const float back = to == "fp16" ? float_from_half(out[i]) : float_from_bfloat(out[i]);
        if (std::isfinite(value) && !std::isfinite(back)) {
            refuse(path + ": element " + std::to_string(i) + " is " + std::to_string(value) + ", which " + to +
                   " cannot hold; try --type bf16");
        }
    }
    return out;
}

// Reads a compressed matrix back and compares it with what it was made of, element by element.
void verify(flashllmHandle_t handle, flashllmConstSpMatDescr_t matrix, const FtMatrix &shape,
            flashllmDataType_t type, const std::vector<uint16_t> &values, const std::string &path) {
    const size_t bytes = values.size() * sizeof(uint16_t);
    void *device = allocate(handle, bytes);
    std::vector<uint16_t> back(values.size(), 0xffff);
    copy_in(handle, device, back.data(), bytes);
    flashllmDnMatDescr_t dense = nullptr;
    size_t workspace_bytes = 0;
    CHECK(flashllmCreateDnMat(&dense, shape.m, shape.k, shape.m, device, type, FLASHLLM_ORDER_COL));
    CHECK(flashllmSparseToDense_bufferSize(handle, matrix, dense, FLASHLLM_SPARSETODENSE_ALG_DEFAULT,
                                           &workspace_bytes));
    void *workspace = allocate(handle, workspace_bytes);
    CHECK(flashllmSparseToDense(handle, matrix, dense, FLASHLLM_SPARSETODENSE_ALG_DEFAULT, workspace));
    copy_out(handle, back.data(), device, bytes);
    for (size_t i = 0; i < values.size(); ++i) {
        const uint16_t expected = (values[i] & 0x7fffu) == 0 ? 0 : values[i];  // -0 is stored as 0
        if (back[i] != expected) {
            fprintf(stderr, "%s: element %zu is %#06x, and %#06x after compression\n", path.c_str(), i,
                    static_cast<unsigned>(expected), static_cast<unsigned>(back[i]));
            exit(EXIT_FAILURE);
        }
    }
    CHECK(flashllmDestroyDnMat(dense));
    CHECK(flashllmFree(handle, workspace));
    CHECK(flashllmFree(handle, device));
}

struct Totals {
    double elements = 0, zeros = 0, bytes = 0;
    int compressed = 0, dense = 0;
};

// One matrix of one rank.
struct Job {
    FtMatrix shape;
    std::string name, path;
};

std::vector<Job> find_jobs(const Options &o, const FtModel &model, const std::vector<FtMatrix> &matrices,
                           const std::string &type, int rank) {
    std::vector<Job> jobs;
    for (int layer = 0; layer < model.layers; ++layer) {
        const size_t before = jobs.size();
        for (const FtMatrix &matrix : matrices) {
            const Job job{matrix, ft_name(layer, matrix.name),
                          ft_path(o.input, ft_name(layer, matrix.name), rank)};
            if (file_exists(job.path)) {
                check_ft_matrix(job.path, matrix, type);
                jobs.push_back(job);
            } else if (file_exists(ft_path(o.input, job.name, 0))) {
                refuse("there is no " + job.path + ", and rank 0 has one");
            }  // else this model has no such matrix
        }
        if (jobs.size() == before) {
            refuse("layer " + std::to_string(layer) + " of rank " + std::to_string(rank) +
                   " has no matrix such as " + ft_path(o.input, ft_name(layer, matrices[0].name), rank));
        }
    }
    return jobs;
}

// The file that is being written; given up, and its temporary files removed, when the program ends early.
flashllmSafetensorsWriter_t open_writer = nullptr;

// From a matrix's file into the rank's file.
void convert(flashllmHandle_t handle, const Options &o, const Job &job, const std::string &from,
             const std::string &to, Totals *totals) {
    const FtMatrix &shape = job.shape;
    const std::string &path = job.path;
    std::vector<uint16_t> values = convert_elements(read_ft_matrix(path, shape, from), from, to, path);
    if (o.prune != 0) {
        // Magnitudes of fp16 and of bf16 are ordered as their bits are.
        std::vector<uint16_t> pruned(values.size());
        prune(values.data(), pruned.data(), values.size(), o.prune);
        values.swap(pruned);
    }
    size_t zeros = 0;
    for (uint16_t value : values) zeros += (value & 0x7fffu) == 0;
    const double sparsity = 100.0 * static_cast<double>(zeros) / static_cast<double>(values.size());
    if (sparsity < o.min_sparsity) {
        printf("  %s: %.1f %% zeros, stays dense\n", path.c_str(), sparsity);
        ++totals->dense;
        return;
    }
    const flashllmDataType_t type = to == "bf16" ? FLASHLLM_R_16BF : FLASHLLM_R_16F;
    flashllmConstDnMatDescr_t dense = nullptr;
    flashllmSpMatDescr_t matrix = nullptr;
    size_t bytes = 0;
    void *device = allocate(handle, values.size() * sizeof(uint16_t));
    copy_in(handle, device, values.data(), values.size() * sizeof(uint16_t));
    // [K, M] row-major is M x K column-major: this line is the whole difference between a right and a
    // scrambled weight.
    CHECK(flashllmCreateConstDnMat(&dense, shape.m, shape.k, shape.m, device, type, FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateSpMat(&matrix, shape.m, shape.k, type, o.format));
    CHECK(flashllmDenseToSparse_bufferSize(handle, dense, matrix, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, &bytes));
    void *scratch = allocate(handle, bytes);
    CHECK(flashllmDenseToSparse_analysis(handle, dense, matrix, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));
    bytes = compressed_bytes(matrix);
    void *buffer = allocate(handle, bytes);
    CHECK(flashllmSpMatSetBuffer(handle, matrix, buffer, bytes));
    CHECK(flashllmDenseToSparse_convert(handle, dense, matrix, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, scratch));
    if (o.verify) verify(handle, matrix, shape, type, values, path);
    CHECK(flashllmSafetensorsWriterAddSpMat(handle, open_writer, job.name.c_str(), matrix));
    CHECK(flashllmDestroySpMat(matrix));
    CHECK(flashllmDestroyDnMat(dense));
    CHECK(flashllmFree(handle, buffer));
    CHECK(flashllmFree(handle, scratch));
    CHECK(flashllmFree(handle, device));
    totals->elements += static_cast<double>(values.size());
    totals->zeros += static_cast<double>(zeros);
    totals->bytes += static_cast<double>(bytes);
    ++totals->compressed;
}

}  // namespace

int main(int argc, char **argv) {
    const Options o = parse_arguments(argc, argv);
    const FtModel model = read_ft_model(o.input);
    const std::string from = o.weight_type.empty() ? model.weight_type : o.weight_type;
    ft_element_bytes(from);
    const std::string to = !o.type.empty() ? o.type : from == "bf16" ? "bf16" : "fp16";
    std::vector<FtMatrix> matrices = model.matrices();
    matrices.insert(matrices.end(), o.more.begin(), o.more.end());

    // What is missing or has another size is found before anything is written.
    const int tp = model.tensor_para_size;
    std::vector<std::vector<Job>> ranks;
    for (int rank = 0; rank < tp; ++rank) ranks.push_back(find_jobs(o, model, matrices, from, rank));

    flashllmHandle_t handle = create_handle(o.device.c_str());
    printf("%s: %d layers, hidden %d, inter_size %d, %d ranks, %s; compressing on the %s to %s\n",
           o.input.c_str(), model.layers, model.hidden(), model.inter_size, tp, from.c_str(),
           device_name(handle), to.c_str());
    std::atexit([] { flashllmSafetensorsWriterDestroy(open_writer); });
    for (int rank = 0; rank < tp; ++rank) {
        const std::vector<Job> &jobs = ranks[static_cast<size_t>(rank)];
        const std::string path = o.output + "/flash_llm." + std::to_string(rank) + ".safetensors";
        CHECK(flashllmSafetensorsWriterCreate(&open_writer, path.c_str(), jobs.size()));
        CHECK(flashllmSafetensorsWriterAddMetadata(open_writer, "ft.tensor_para_size", std::to_string(tp).c_str()));
        CHECK(flashllmSafetensorsWriterAddMetadata(open_writer, "ft.tensor_para_rank",
                                                   std::to_string(rank).c_str()));
        Totals totals;
        double last_progress = seconds();
        for (size_t i = 0; i < jobs.size(); ++i) {
            convert(handle, o, jobs[i], from, to, &totals);
            if (seconds() - last_progress > 1.5) {
                printf("  rank %d: %zu of %zu matrices\n", rank, i + 1, jobs.size());
                fflush(stdout);
                last_progress = seconds();
            }
        }
        CHECK(flashllmSafetensorsWriterFinish(open_writer));
        CHECK(flashllmSafetensorsWriterDestroy(open_writer));
        open_writer = nullptr;
        printf("%s: %d matrices, %.1f %% zeros, %.0f bytes (%.1f %% of dense)%s; %d stay dense\n", path.c_str(),
               totals.compressed, 100.0 * totals.zeros / std::max(totals.elements, 1.0), totals.bytes,
               50.0 * totals.bytes / std::max(totals.elements, 1.0), o.verify ? ", read back and equal" : "",
               totals.dense);
    }
    CHECK(flashllmDestroy(handle));
    return EXIT_SUCCESS;
}
