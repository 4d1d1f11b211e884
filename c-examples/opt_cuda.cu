// SPDX-License-Identifier: Apache-2.0
//
// The operations of opt_ops.h on a GPU: one plain kernel each, on the stream that flash_llm is given too.
// The CUDA runtime is linked statically and cuBLAS is loaded from wherever the machine has it, so that
// the program starts on machines that have neither.
#include "common.h"

#include "opt_ops.h"

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <dlfcn.h>
#include <glob.h>

#include <vector>

#define CUDA(call)                                                                       \
    do {                                                                                 \
        const cudaError_t cuda_error = (call);                                           \
        if (cuda_error != cudaSuccess) {                                                 \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                \
                    cudaGetErrorString(cuda_error));                                     \
            exit(EXIT_FAILURE);                                                          \
        }                                                                                \
    } while (0)

namespace opt {
namespace {

constexpr int THREADS = 256, WARPS = THREADS / 32;
// What the attention kernel holds of a head in registers: 64 elements per warp and step.
constexpr int MAX_HEAD = 256;

// The sum over a block of THREADS threads, in every thread. Calls may follow each other at once.
__device__ float block_sum(float value) {
    __shared__ float partial[WARPS];
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
    __syncthreads();  // the readers of the call before are done
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < WARPS; ++i) sum += partial[i];
    return sum;
}

__device__ float block_max(float value) {
    __shared__ float partial[WARPS];
    for (int offset = 16; offset > 0; offset /= 2) {
        value = fmaxf(value, __shfl_xor_sync(~0u, value, offset));
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    float largest = partial[0];
    for (int i = 1; i < WARPS; ++i) largest = fmaxf(largest, partial[i]);
    return largest;
}

// One block a row.
__global__ void embed_kernel(int batch, int hidden, const int32_t *start, const int32_t *history,
                             const __half *token_table, const __half *position_table, float *x) {
    const size_t row = blockIdx.x;
    const size_t token = history[size_t(*start) * batch + row];
    const size_t position = *start + row / batch + 2;
    for (int i = threadIdx.x; i < hidden; i += THREADS) {
        x[row * hidden + i] = __half2float(token_table[token * hidden + i]) +
                              __half2float(position_table[position * hidden + i]);
    }
}

// One block a row.
__global__ void add_bias_and_norm_kernel(int hidden, const float *bias, const float *weight,
                                         const float *shift, float *x, __half *out) {
    float *values = x + size_t(blockIdx.x) * hidden;
    float sum = 0.0f, squares = 0.0f;
    for (int i = threadIdx.x; i < hidden; i += THREADS) {  // a thread reads only what it wrote
        if (bias != nullptr) values[i] += bias[i];
        sum += values[i];
    }
    const float mean = block_sum(sum) / hidden;
    for (int i = threadIdx.x; i < hidden; i += THREADS) {
        squares += (values[i] - mean) * (values[i] - mean);
    }
    const float scale = rsqrtf(block_sum(squares) / hidden + 1e-5f);
    for (int i = threadIdx.x; i < hidden; i += THREADS) {
        out[size_t(blockIdx.x) * hidden + i] =
            __float2half_rn((values[i] - mean) * scale * weight[i] + shift[i]);
    }
}

// One block a row.
__global__ void store_kv_kernel(int batch, int hidden, const int32_t *start, const float *bias, __half *qkv,
                                __half *keys, __half *values) {
    __half *all = qkv + size_t(blockIdx.x) * 3 * hidden;
    const size_t at = (size_t(*start) * batch + blockIdx.x) * hidden;
    for (int i = threadIdx.x; i < 3 * hidden; i += THREADS) {
        const __half value = __float2half_rn(__half2float(all[i]) + bias[i]);
        if (i < hidden) {
            all[i] = value;
        } else if (i < 2 * hidden) {
            keys[at + i - hidden] = value;
        } else {
            values[at + i - 2 * hidden] = value;
        }
    }
}

// One block a head (x) and row (y). A warp takes a position at a time, a lane two elements of each 64.
// Dynamic shared memory: the context's weights.
__global__ void attend_kernel(int batch, int hidden, int width, const int32_t *start, const __half *qkv,
                              const __half *keys, const __half *values, __half *out) {
    extern __shared__ float weights[];
    __shared__ float sums[WARPS][MAX_HEAD];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const size_t row = blockIdx.y;
    const int context = *start + int(row) / batch + 1;
    const float scale = rsqrtf(float(width));
    const __half *query = qkv + row * 3 * hidden + blockIdx.x * width;
    const size_t first = (row % batch) * hidden + blockIdx.x * width;
    const size_t stride = size_t(batch) * hidden;

    float largest = -INFINITY;
    for (int p = warp; p < context; p += WARPS) {
        float dot = 0.0f;
        for (int i = 2 * lane; i < width; i += 64) {
            const float2 q = __half22float2(*reinterpret_cast<const __half2 *>(query + i));
            const float2 k = __half22float2(*reinterpret_cast<const __half2 *>(keys + first + p * stride + i));
            dot += q.x * k.x + q.y * k.y;
        }
        for (int offset = 16; offset > 0; offset /= 2) dot += __shfl_xor_sync(~0u, dot, offset);
        dot *= scale;
        if (lane == 0) weights[p] = dot;
        largest = fmaxf(largest, dot);
    }
    largest = block_max(largest);  // its barrier also shows every warp's weights to all

    float total = 0.0f;
    for (int p = threadIdx.x; p < context; p += THREADS) {
        weights[p] = expf(weights[p] - largest);
        total += weights[p];
    }
    total = block_sum(total);  // as above

    float2 mine[MAX_HEAD / 64] = {};
    for (int p = warp; p < context; p += WARPS) {
        const float weight = weights[p];
#pragma unroll
        for (int j = 0; j < MAX_HEAD / 64; ++j) {
            const int i = 64 * j + 2 * lane;
            if (i >= width) break;
            const float2 v = __half22float2(*reinterpret_cast<const __half2 *>(values + first + p * stride + i));
            mine[j].x += weight * v.x;
            mine[j].y += weight * v.y;
        }
    }
#pragma unroll
    for (int j = 0; j < MAX_HEAD / 64; ++j) {
        const int i = 64 * j + 2 * lane;
        if (i >= width) break;
        sums[warp][i] = mine[j].x;
        sums[warp][i + 1] = mine[j].y;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < width; i += THREADS) {
        float sum = 0.0f;
        for (int w = 0; w < WARPS; ++w) sum += sums[w][i];
        out[row * hidden + blockIdx.x * width + i] = __float2half_rn(sum / total);
    }
}

// One block a row.
__global__ void bias_relu_kernel(int width, const float *bias, __half *y) {
    __half *values = y + size_t(blockIdx.x) * width;
    for (int i = threadIdx.x; i < width; i += THREADS) {
        values[i] = __float2half_rn(fmaxf(__half2float(values[i]) + bias[i], 0.0f));
    }
}

__global__ void advance_kernel(int positions_in_step, int32_t *start) { *start += positions_in_step; }

// One block a sequence.
__global__ void choose_kernel(int batch, int vocabulary, const float *logits, const int32_t *start,
                              int32_t *history) {
    __shared__ float best_value[THREADS];
    __shared__ int best_index[THREADS];
    const float *row = logits + size_t(blockIdx.x) * vocabulary;
    float value = -INFINITY;
    int index = vocabulary;
    for (int i = threadIdx.x; i < vocabulary; i += THREADS) {
        if (row[i] > value) {
            value = row[i];
            index = i;
        }
    }
    best_value[threadIdx.x] = value;
    best_index[threadIdx.x] = index;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            const float other = best_value[threadIdx.x + half];
            const int other_index = best_index[threadIdx.x + half];
            if (other > best_value[threadIdx.x] ||
                (other == best_value[threadIdx.x] && other_index < best_index[threadIdx.x])) {
                best_value[threadIdx.x] = other;
                best_index[threadIdx.x] = other_index;
            }
        }
    }
    if (threadIdx.x == 0) {
        // Nothing but NaN leaves no index, and the next step looks the token up.
        history[size_t(*start) * batch + blockIdx.x] = best_index[0] < vocabulary ? best_index[0] : 0;
    }
}

// The three functions of cuBLAS that this program needs, with the numbers of cublas_v2.h and
// library_types.h.
class Cublas {
 public:
    explicit Cublas(cudaStream_t stream) {
        std::string tried;
        void *library = nullptr;
        for (const std::string &path : candidates()) {
            // libcublas needs its libcublasLt; loaded first and for all, it need not be on a search path.
            const size_t name = path.rfind("libcublas.");
            const std::string lt = path.substr(0, name) + "libcublasLt." + path.substr(name + 10);
            dlopen(lt.c_str(), RTLD_NOW | RTLD_GLOBAL);
            library = dlopen(path.c_str(), RTLD_NOW);
            if (library != nullptr) break;
            const char *error = dlerror();
            tried += "\n  " + std::string(error != nullptr ? error : path.c_str());
        }
        if (library == nullptr) {
            fprintf(stderr, "cuBLAS was not found (pip install nvidia-cublas, or set CUBLAS_LIBRARY to its "
                            "path); tried%s\n", tried.c_str());
            exit(EXIT_FAILURE);
        }
        int (*create)(void **) = nullptr;
        int (*set_stream)(void *, cudaStream_t) = nullptr;
        int (*set_workspace)(void *, void *, size_t) = nullptr;
        find(library, "cublasCreate_v2", &create);
        find(library, "cublasSetStream_v2", &set_stream);
        find(library, "cublasSetWorkspace_v2", &set_workspace);
        find(library, "cublasGemmEx", &gemm_ex_);
        // A workspace of its own keeps cuBLAS from allocating in a captured step; 32 MiB is what it
        // recommends for Hopper.
        const size_t bytes = size_t(32) << 20;
        void *workspace = nullptr;
        CUDA(cudaMalloc(&workspace, bytes));
        check("cublasCreate", create(&handle_));
        check("cublasSetStream", set_stream(handle_, stream));
        check("cublasSetWorkspace", set_workspace(handle_, workspace, bytes));
    }

    void gemm(int m, int rows, int k, const uint16_t *w, const uint16_t *x, void *y, int ldy,
              bool fp32_output, float beta) {
        constexpr int OP_N = 0, OP_T = 1, R_32F = 0, R_16F = 2, COMPUTE_32F = 68, GEMM_DEFAULT = -1;
        const float alpha = 1.0f;
        // cuBLAS is column-major: row-major y = x w^T is y^T = w x^T there, with w read as k x m.
        check("cublasGemmEx",
              gemm_ex_(handle_, OP_T, OP_N, m, rows, k, &alpha, w, R_16F, k, x, R_16F, k, &beta, y,
                       fp32_output ? R_32F : R_16F, ldy, COMPUTE_32F, GEMM_DEFAULT));
    }

 private:
    static void check(const char *call, int status) {
        if (status == 0) return;
        fprintf(stderr, "%s: cublasStatus_t %d\n", call, status);
        exit(EXIT_FAILURE);
    }

    template <typename Function>
    static void find(void *library, const char *name, Function *function) {
        void *symbol = dlsym(library, name);
        if (symbol == nullptr) {
            fprintf(stderr, "cuBLAS has no %s\n", name);
            exit(EXIT_FAILURE);
        }
        memcpy(function, &symbol, sizeof symbol);
    }

    // CUBLAS_LIBRARY; the loader's path; the toolkit; the wheels of pip and of PyTorch.
    static std::vector<std::string> candidates() {
        if (const char *path = getenv("CUBLAS_LIBRARY")) {
            if (strstr(path, "libcublas.") == nullptr) {
                fprintf(stderr, "CUBLAS_LIBRARY is the path of a libcublas.so, not '%s'\n", path);
                exit(2);
            }
            return {path};
        }
        std::vector<std::string> found = {"libcublas.so.13", "libcublas.so.12"};
        std::vector<std::string> patterns;
        for (const char *variable : {"CUDA_HOME", "CUDA_PATH"}) {
            if (const char *root = getenv(variable)) patterns.push_back(std::string(root) + "/lib64/");
        }
        patterns.push_back("/usr/local/cuda/lib64/");
        std::vector<std::string> prefixes;
        for (const char *variable : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
            if (const char *root = getenv(variable)) prefixes.push_back(root);
        }
        // Every Python on PATH has its lib beside its bin.
        const std::string path = getenv("PATH") != nullptr ? getenv("PATH") : "";
        for (size_t begin = 0; begin < path.size();) {
            const size_t end = std::min(path.find(':', begin), path.size());
            prefixes.push_back(path.substr(begin, end - begin) + "/..");
            begin = end + 1;
        }
        if (const char *home = getenv("HOME")) prefixes.push_back(std::string(home) + "/.local");
        for (const std::string &prefix : prefixes) {
            for (const char *site : {"/site-packages/", "/dist-packages/"}) {
                for (const char *package : {"nvidia/cu13/lib/", "nvidia/cublas/lib/", "torch/lib/"}) {
                    patterns.push_back(prefix + "/lib/python3*" + site + package);
                }
            }
        }
        for (const std::string &pattern : patterns) {
            glob_t matches;
            if (glob((pattern + "libcublas.so.1[23]").c_str(), 0, nullptr, &matches) == 0) {
                for (size_t i = 0; i < matches.gl_pathc; ++i) found.push_back(matches.gl_pathv[i]);
            }
            globfree(&matches);
        }
        return found;
    }

    void *handle_ = nullptr;
    int (*gemm_ex_)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int,
                    int, const void *, void *, int, int, int, int) = nullptr;
};

const __half *half_in(const uint16_t *bits) { return reinterpret_cast<const __half *>(bits); }
__half *half_out(uint16_t *bits) { return reinterpret_cast<__half *>(bits); }

class CudaOps final : public Ops {
 public:
    explicit CudaOps(cudaStream_t stream) : stream_(stream), cublas_(stream) {}

    ~CudaOps() override {
        if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
        cudaStreamDestroy(stream_);
    }

    flashllmStream_t stream() const override { return stream_; }

    void gemm(int m, int rows, int k, const uint16_t *w, const uint16_t *x, void *y, int ldy,
              bool fp32_output, float beta) override {
        cublas_.gemm(m, rows, k, w, x, y, ldy, fp32_output, beta);
    }

    void embed(int rows, int batch, int hidden, const int32_t *start, const int32_t *history,
               const uint16_t *token_table, const uint16_t *position_table, float *x) override {
        embed_kernel<<<rows, THREADS, 0, stream_>>>(batch, hidden, start, history, half_in(token_table),
                                                    half_in(position_table), x);
        CUDA(cudaGetLastError());
    }

    void add_bias_and_norm(int rows, int hidden, const float *bias, const float *weight, const float *shift,
                           float *x, uint16_t *out) override {
        add_bias_and_norm_kernel<<<rows, THREADS, 0, stream_>>>(hidden, bias, weight, shift, x, half_out(out));
        CUDA(cudaGetLastError());
    }

    void store_kv(int rows, int batch, int hidden, const int32_t *start, const float *bias, uint16_t *qkv,
                  uint16_t *keys, uint16_t *values) override {
        store_kv_kernel<<<rows, THREADS, 0, stream_>>>(batch, hidden, start, bias, half_out(qkv),
                                                       half_out(keys), half_out(values));
        CUDA(cudaGetLastError());
    }

    void attend(int rows, int batch, int hidden, int heads, int positions, const int32_t *start,
                const uint16_t *qkv, const uint16_t *keys, const uint16_t *values, uint16_t *out) override {
        const int width = hidden / heads;
        REQUIRE(width <= MAX_HEAD && width % 2 == 0, "the attention kernel takes even heads up to 256 wide");
        // 48 KiB less the kernel's own: what every device gives without asking.
        REQUIRE(positions <= 8192, "the attention kernel takes 8192 positions at most");
        const dim3 grid(static_cast<unsigned>(heads), static_cast<unsigned>(rows));
        attend_kernel<<<grid, THREADS, positions * sizeof(float), stream_>>>(
            batch, hidden, width, start, half_in(qkv), half_in(keys), half_in(values), half_out(out));
        CUDA(cudaGetLastError());
    }

    void bias_relu(int rows, int width, const float *bias, uint16_t *y) override {
        bias_relu_kernel<<<rows, THREADS, 0, stream_>>>(width, bias, half_out(y));
        CUDA(cudaGetLastError());
    }

    void advance(int positions_in_step, int32_t *start) override {
        advance_kernel<<<1, 1, 0, stream_>>>(positions_in_step, start);
        CUDA(cudaGetLastError());
    }

    void choose(int batch, int vocabulary, const float *logits, const int32_t *start,
                int32_t *history) override {
        choose_kernel<<<batch, THREADS, 0, stream_>>>(batch, vocabulary, logits, start, history);
        CUDA(cudaGetLastError());
    }

    void record(const std::function<void()> &step) override {
        cudaGraph_t graph = nullptr;
        CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
        step();
        CUDA(cudaStreamEndCapture(stream_, &graph));
        CUDA(cudaGraphInstantiateWithFlags(&graph_, graph, 0));
        CUDA(cudaGraphDestroy(graph));
    }

    void replay() override { CUDA(cudaGraphLaunch(graph_, stream_)); }

 private:
    cudaStream_t stream_;
    Cublas cublas_;
    cudaGraphExec_t graph_ = nullptr;
};

}  // namespace

std::unique_ptr<Ops> create_cuda_ops(std::string *why_not) {
    int devices = 0;
    const cudaError_t found = cudaGetDeviceCount(&devices);
    if (found != cudaSuccess || devices == 0) {
        *why_not = found != cudaSuccess ? cudaGetErrorString(found) : "there is no device";
        return nullptr;
    }
    cudaStream_t stream = nullptr;
    CUDA(cudaSetDevice(0));
    CUDA(cudaFree(nullptr));  // makes the device's primary context current: flashllmCreate() binds to it
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return std::make_unique<CudaOps>(stream);
}

}  // namespace opt
