// SPDX-License-Identifier: Apache-2.0
// The end of a product: what becomes of a sum before it is stored in C, in fp32 and rounded once.
//
//   C = activation(alpha * sum + beta * C + bias[row]) * gate + residual
//
// What is not asked for costs a uniform branch, and nothing of it lies between the instructions of a plain product's end (store_m16n8_sums).
#pragma once

#include "fl_params.h"
#include "fl_ptx.cuh"

namespace fl {

// The 16-bit type of A, B and, unless it is fp32, C.
#if defined(FL_BF16)
constexpr uint32_t kType = FL_TYPE_BF16;
#else
constexpr uint32_t kType = FL_TYPE_F16;
#endif

__device__ __forceinline__ float load_element(uint64_t base, int64_t at, uint32_t type) {
    if (type == FL_TYPE_F32) return reinterpret_cast<const float*>(base)[at];
    if (type == FL_TYPE_BF16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(base)[at]);
    return __half2float(reinterpret_cast<const __half*>(base)[at]);
}

// The value of 16 bits of a type, the upper half being zero.
__device__ __forceinline__ float value_of(uint32_t bits, uint32_t type) {
    if (type == FL_TYPE_BF16) return __uint_as_float(bits << 16);
    return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
}

// The binary exponent z of a sigmoid 1 / (1 + 2^-z) that is the normal distribution's function of x: x times a polynomial of x^2, which
// is a fit of log2(P(x) / P(-x)) / x up to 6.5, weighted so that x * P(x) is off by 7e-8 at most. In place of erff(), twice as long: each
// value's code comes from memory when the product ends.
__device__ __forceinline__ float normal_exponent(float x) {
    const float u = x * x;
    return x * (2.3022072f + u * (0.10483859f + u * (-9.5595822e-5f + u * (-1.5938849e-4f + u * (1.1452291e-5f + u * (-3.8503561e-7f + u * 5.2096778e-9f))))));
}

// A NaN stays one in each of them.
template <int kCount>
__device__ __forceinline__ void activate(uint32_t activation, float (&v)[kCount]) {
    if (activation == FL_ACTIVATION_RELU) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) v[i] = v[i] < 0.f ? 0.f : v[i];
        return;
    }
    auto times_sigmoid = [&](auto exponent) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) v[i] *= reciprocal(1.f + exp2_approx(-exponent(v[i])));
    };
    if (activation == FL_ACTIVATION_GELU_ERF)
        times_sigmoid(normal_exponent);
    else if (activation == FL_ACTIVATION_SILU)
        times_sigmoid([](float x) { return x * 1.442695f; });
    else  // GELU's 0.5 + 0.5 tanh(y) is the sigmoid of 2 y
        times_sigmoid([](float x) { return x * (2.3022082f + 0.10294324f * x * x); });
}

__device__ __forceinline__ void store_element(const FlSpmmParams& p, int64_t at, float v) {
    if (p.c_is_f32)
        reinterpret_cast<float*>(p.c)[at] = v;
    else if (kType == FL_TYPE_BF16)
        reinterpret_cast<__nv_bfloat16*>(p.c)[at] = __float2bfloat16_rn(v);
    else
        reinterpret_cast<__half*>(p.c)[at] = __float2half_rn(v);
}

__device__ __forceinline__ void store_scaled(const FlSpmmParams& p, uint32_t m, uint32_t n, float v) {
    if (m >= p.m || n >= p.n) return;
    const int64_t at = m * p.c_stride_m + n * p.c_stride_n;
    const uint32_t type = p.c_is_f32 ? FL_TYPE_F32 : kType;
    store_element(p, at, p.beta == 0.f ? p.alpha * v : p.alpha * v + p.beta * load_element(p.c, at, type));
}

__device__ __forceinline__ void prefetch(uint64_t address) { asm volatile("prefetch.global.L2 [%0];" ::"l"(address)); }

// Asks for a tile of a matrix in C's place, by the warp: kRows from m on, kCols from n on, a line a lane where that is
// enough.
template <uint32_t kRows, uint32_t kCols>
__device__ __forceinline__ void prefetch_tile(const FlSpmmParams& p, uint64_t base, int64_t stride_m, int64_t stride_n, uint32_t type,
                                              uint32_t m, uint32_t n, uint32_t lane) {
    const uint32_t size = type == FL_TYPE_F32 ? 4 : 2;
    if (stride_m == 1) {
        for (uint32_t c = lane; c < kCols; c += 32)
            for (uint32_t r = 0; r < kRows; r += 32)
                if (m + r < p.m && n + c < p.n) prefetch(base + (m + r + (n + c) * stride_n) * size);
    } else {
        for (uint32_t r = lane; r < kRows; r += 32)
            if (m + r < p.m && n < p.n) prefetch(base + ((m + r) * stride_m + n * stride_n) * size);
    }
}

// What the fused end of a tile will read is asked for from far away while the last block is multiplied: at the end there is
// nothing to hide its latency, a fragment after the other.
template <uint32_t kRows, uint32_t kCols>
__device__ __forceinline__ void prefetch_end(const FlSpmmParams& p, uint32_t m, uint32_t n, uint32_t lane) {
    if (!p.fused || m >= p.m) return;
    if (p.bias && lane < (kRows + 31) / 32 && m + lane * 32 < p.m)
        prefetch(p.bias + static_cast<uint64_t>(m + lane * 32) * (p.bias_type == FL_TYPE_F32 ? 4 : 2));
    if (p.gate) prefetch_tile<kRows, kCols>(p, p.gate, 1, p.m, FL_TYPE_F32, m, n, lane);
    if (p.residual)
        prefetch_tile<kRows, kCols>(p, p.residual, p.residual_stride_m, p.residual_stride_n, p.residual_type, m, n, lane);
    if (p.beta != 0.f) prefetch_tile<kRows, kCols>(p, p.c, p.c_stride_m, p.c_stride_n, p.c_is_f32 ? FL_TYPE_F32 : kType, m, n, lane);
}

// Four elements of one matrix, as they are: converting one of them would wait for it before the next is asked for.
struct Loaded {
    uint32_t raw[4];

    // Element i at `at(i)`, or zero where it is not `has(i)`.
    template <typename At, typename Has>
    __device__ __forceinline__ Loaded(uint64_t base, uint32_t type, At at, Has has) {
        if (type == FL_TYPE_F32) {
#pragma unroll
            for (uint32_t i = 0; i < 4; ++i) raw[i] = has(i) ? reinterpret_cast<const uint32_t*>(base)[at(i)] : 0;
        } else {
#pragma unroll
            for (uint32_t i = 0; i < 4; ++i) raw[i] = has(i) ? reinterpret_cast<const uint16_t*>(base)[at(i)] : 0;
        }
    }

    __device__ __forceinline__ float value(uint32_t i, uint32_t type) const {
        return type == FL_TYPE_F32 ? __uint_as_float(raw[i]) : value_of(raw[i], type);
    }
};

// The fused end of four sums, at rows m and m1 and columns n and n1: the first row's come first. What one matrix gives is asked for
// together, the residual before all else: it comes from far away, and there is little else to do at the end of a product.
__device__ __forceinline__ void store_fused(const FlSpmmParams& p, uint32_t m, uint32_t m1, uint32_t n, uint32_t n1, const float4& sums) {
    const float alpha = p.alpha_at ? *reinterpret_cast<const float*>(p.alpha_at) : p.alpha;
    const float beta = p.beta_at ? *reinterpret_cast<const float*>(p.beta_at) : p.beta;
    auto row = [&](uint32_t i) { return i < 2 ? m : m1; };
    auto col = [&](uint32_t i) { return i % 2 == 0 ? n : n1; };
    auto has = [&](uint32_t i) { return row(i) < p.m && col(i) < p.n; };
    auto at_c = [&](uint32_t i) { return row(i) * p.c_stride_m + col(i) * p.c_stride_n; };
    auto at_residual = [&](uint32_t i) { return row(i) * p.residual_stride_m + col(i) * p.residual_stride_n; };
    const Loaded residual(p.residual, p.residual_type, at_residual, [&](uint32_t i) { return p.residual != 0 && has(i); });
    // Side by side, because each is a long chain and its warp has nothing else to do.
    float v[4] = {sums.x * alpha, sums.y * alpha, sums.z * alpha, sums.w * alpha};
    if (beta != 0.f) {
        const uint32_t type = p.c_is_f32 ? FL_TYPE_F32 : kType;
        const Loaded old(p.c, type, at_c, has);
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) v[i] += beta * old.value(i, type);
    }
    if (p.bias) {
        const Loaded bias(p.bias, p.bias_type, row, has);
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) v[i] += bias.value(i, p.bias_type);
    }
    if (p.activation != FL_ACTIVATION_NONE) activate(p.activation, v);
    if (p.gate) {
        auto at = [&](uint32_t i) { return static_cast<int64_t>(col(i)) * p.m + row(i); };
        const Loaded gate(p.gate, FL_TYPE_F32, at, has);
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) v[i] *= gate.value(i, FL_TYPE_F32);
    }
    if (p.residual) {
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) v[i] += residual.value(i, p.residual_type);
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i)
        if (has(i)) store_element(p, at_c(i), v[i]);
}

// Stores one m16n8 accumulator: rows m + lane/4 (+8), columns n + 2*(lane%4) (+1).
__device__ __forceinline__ void store_m16n8(const FlSpmmParams& p, uint32_t m, uint32_t n, const float4& v, uint32_t lane) {
    const uint32_t row = m + lane / 4, col = n + lane % 4 * 2;
    if (p.fused) {
        store_fused(p, row, row + 8, col, col + 1, v);
        return;
    }
    store_scaled(p, row, col, v.x);
    store_scaled(p, row, col + 1, v.y);
    store_scaled(p, row + 8, col, v.z);
    store_scaled(p, row + 8, col + 1, v.w);
}

// Eight rows of a column, from a multiple of 8 on.
constexpr uint32_t kRun = 8;

// Whether what the end reads and writes has runs at multiples of 16 bytes.
__device__ __forceinline__ bool has_runs(const FlSpmmParams& p) {
    const uint32_t c_size = p.c_is_f32 ? 4 : 2, r_size = p.residual_type == FL_TYPE_F32 ? 4 : 2;
    const bool c = p.c_stride_m == 1 && ((p.c | static_cast<uint64_t>(p.c_stride_n * c_size)) & 15) == 0;
    const bool residual = p.residual == 0 || (p.residual_stride_m == 1 &&
                                              ((p.residual | static_cast<uint64_t>(p.residual_stride_n * r_size)) & 15) == 0);
    return p.m % kRun == 0 && c && residual && ((p.bias | p.gate) & 15) == 0;
}

// Value i of a run of a 16-bit type.
__device__ __forceinline__ float value_of_run(const uint4& raw, uint32_t i, uint32_t type) {
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
    return value_of(i % 2 == 0 ? words[i / 2] & 0xffff : words[i / 2] >> 16, type);
}

__device__ __forceinline__ void load_run(float (&v)[kRun], uint64_t base, int64_t at, uint32_t type) {
    if (type == FL_TYPE_F32) {
        const float4* from = reinterpret_cast<const float4*>(base + at * 4);
        const float4 low = from[0], high = from[1];
        v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w, v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
    } else {
        const uint4 raw = *reinterpret_cast<const uint4*>(base + at * 2);
#pragma unroll
        for (uint32_t i = 0; i < kRun; ++i) v[i] = value_of_run(raw, i, type);
    }
}

__device__ __forceinline__ uint32_t pack(float low, float high) {
    if (kType == FL_TYPE_BF16) {
        const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
        return *reinterpret_cast<const uint32_t*>(&v);
    }
    const __half2 v = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&v);
}

// Stores a run of C from its element `at` on.
__device__ __forceinline__ void store_run(const FlSpmmParams& p, int64_t at, const float (&v)[kRun]) {
    if (p.c_is_f32) {
        float4* to = reinterpret_cast<float4*>(p.c + at * 4);
        to[0] = make_float4(v[0], v[1], v[2], v[3]);
        to[1] = make_float4(v[4], v[5], v[6], v[7]);
    } else {
        *reinterpret_cast<uint4*>(p.c + at * 2) = make_uint4(pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7]));
    }
}

// Bias and residual of two runs, the i-th at row m[i] and column n[i], as they are, of 16 bits: both come from far away, and are asked
// for before either is waited for.
struct Ahead {
    uint4 bias[2], residual[2];

    __device__ __forceinline__ void ask(const FlSpmmParams& p, const uint32_t (&m)[2], const uint32_t (&n)[2]) {
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i) {
            const bool has = m[i] < p.m && n[i] < p.n;
            bias[i] = residual[i] = make_uint4(0, 0, 0, 0);
            if (has && p.bias) bias[i] = *reinterpret_cast<const uint4*>(p.bias + static_cast<uint64_t>(m[i]) * 2);
            if (has && p.residual) residual[i] = *reinterpret_cast<const uint4*>(p.residual + (m[i] + n[i] * p.residual_stride_n) * 2);
        }
    }

    // Adds one of them to the runs' values.
    static __device__ __forceinline__ void add(float (&v)[2][kRun], const uint4 (&raw)[2], uint32_t type) {
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i)
#pragma unroll
            for (uint32_t j = 0; j < kRun; ++j) v[i][j] += value_of_run(raw[i], j, type);
    }
};

// Stores the sums of two runs where has_runs(), whatever follows the product: the same values as store_m16n8(), with a sixteenth of its
// instructions. What both read of one matrix is asked for before any of it is used.
__device__ __forceinline__ void store_runs(const FlSpmmParams& p, const uint32_t (&m)[2], const uint32_t (&n)[2],
                                           float (&v)[2][kRun]) {
    const float alpha = p.alpha_at ? *reinterpret_cast<const float*>(p.alpha_at) : p.alpha;
    const float beta = p.beta_at ? *reinterpret_cast<const float*>(p.beta_at) : p.beta;
    auto has = [&](uint32_t i) { return m[i] < p.m && n[i] < p.n; };
    auto at = [&](uint32_t i) { return m[i] + n[i] * p.c_stride_n; };
    // Calls use(value, other element) for every element.
    auto with = [&](uint64_t base, uint32_t type, auto from, auto use) {
        float other[2][kRun];
        // What some lanes never assign keeps its registers from the kernel's first instruction on.
#pragma unroll
        for (uint32_t i = 0; i < 2 * kRun; ++i) other[i / kRun][i % kRun] = 0.f;
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i)
            if (has(i)) load_run(other[i], base, from(i), type);
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i)
#pragma unroll
            for (uint32_t j = 0; j < kRun; ++j) use(v[i][j], other[i][j]);
    };
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i)
#pragma unroll
        for (uint32_t j = 0; j < kRun; ++j) v[i][j] *= alpha;
    if (beta != 0.f) with(p.c, p.c_is_f32 ? FL_TYPE_F32 : kType, at, [&](float& x, float old) { x += beta * old; });
    if (p.fused) {
        auto sum = [](float& x, float other) { x += other; };
        if (p.bias) with(p.bias, p.bias_type, [&](uint32_t i) { return m[i]; }, sum);
        if (p.activation != FL_ACTIVATION_NONE) {
#pragma unroll
            for (uint32_t i = 0; i < 2; ++i) activate(p.activation, v[i]);
        }
        if (p.gate)
            with(p.gate, FL_TYPE_F32, [&](uint32_t i) { return static_cast<int64_t>(n[i]) * p.m + m[i]; }, [](float& x, float gate) { x *= gate; });
        if (p.residual) with(p.residual, p.residual_type, [&](uint32_t i) { return m[i] + n[i] * p.residual_stride_n; }, sum);
    }
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i)
        if (has(i)) store_run(p, at(i), v[i]);
}

// Where a lane puts its sums of the i-th m16n8 accumulator in shared memory, so that runs of four of them are read without conflicts.
__device__ __forceinline__ uint32_t sums_place(uint32_t i, uint32_t lane) { return i * 512 + (lane * 16 ^ i % 4 * 64); }

// Stores m16n8 accumulators that the warp has put into shared memory, at sums_place() from `sums` on or, if not kSpread, 512 i + 16
// lane bytes: `count` of them, the i-th at rows row(i) and columns column(i) on, four at a time. What a turn's usual end reads is asked
// for before its sums are looked at; with a kTurns of more than 1, so many are all there may be, and what they read is asked for before the
// first.
template <uint32_t kTurns, bool kSpread, typename Row, typename Column>
__device__ __forceinline__ void store_m16n8_sums(const FlSpmmParams& p, uint32_t sums, uint32_t count, uint32_t lane, Row row,
                                                 Column column) {
    auto place = [&](uint32_t i, uint32_t of_lane) { return sums + (kSpread ? sums_place(i, of_lane) : i * 512 + of_lane * 16); };
    __syncwarp();
    // A lane takes two runs of eight lanes' sums: those of two columns of one upper or lower half.
    const uint32_t quad = lane % 4, lower = lane / 4 % 2, first = lane / 8;
    uint32_t m[2], n[2];
    auto find = [&](uint32_t i) {
        // Beyond the last there are no rows.
        m[0] = m[1] = i < count ? row(i) + lower * 8 : p.m;
        n[0] = column(i) + quad * 2;
        n[1] = n[0] + 1;
    };
    auto read = [&](float (&v)[2][kRun], uint32_t i) {
#pragma unroll
        for (uint32_t r = 0; r < kRun; ++r) {
            const uint2 two = lds64(place(i, r * 4 + quad) + lower * 8);
            v[0][r] = __uint_as_float(two.x), v[1][r] = __uint_as_float(two.y);
        }
    };
    const bool runs = has_runs(p);
    auto scaled = [&](float (&v)[2][kRun], uint32_t i) {
        read(v, i);
#pragma unroll
        for (uint32_t j = 0; j < 2 * kRun; ++j) v[j / kRun][j % kRun] *= p.alpha;
    };
    auto store = [&](const float (&v)[2][kRun]) {
#pragma unroll
        for (uint32_t j = 0; j < 2; ++j)
            if (m[j] < p.m && n[j] < p.n) store_run(p, m[j] + n[j] * p.c_stride_n, v[j]);
    };
    // The end of a product is mostly the time that its instructions take to come: those of a plain one lie together, as do those of
    // the usual ends, and next to what is before, where the compiler puts what comes after an else.
    const bool beta = p.beta != 0.f;
    if (!runs || p.fused != FL_FUSED_NOTHING || beta) {
        if (!runs || p.fused != FL_FUSED_USUAL || beta) {
            if (!runs) {
#pragma unroll 1
                for (uint32_t i = 0; i < count; ++i) store_m16n8(p, row(i), column(i), lds_float4(place(i, lane)), lane);
            } else {
#pragma unroll 1
                for (uint32_t i = first; i < count; i += 4) {
                    find(i);
                    float v[2][kRun];
                    read(v, i);
                    store_runs(p, m, n, v);
                }
            }
        } else {
            Ahead ahead[kTurns];
#pragma unroll
            for (uint32_t t = 0; t + 1 < kTurns; ++t) {
                find(first + 4 * t);
                ahead[t].ask(p, m, n);
            }
#pragma unroll 1
            for (uint32_t i = first; i < count; i += 4) {
                find(i + 4 * (kTurns - 1));
                ahead[kTurns - 1].ask(p, m, n);
                if (kTurns > 1) find(i);
                float v[2][kRun];
                scaled(v, i);
                if (p.bias) Ahead::add(v, ahead[0].bias, p.bias_type);
                if (p.activation != FL_ACTIVATION_NONE) {
#pragma unroll
                    for (uint32_t j = 0; j < 2; ++j) activate(p.activation, v[j]);
                }
                if (p.residual) Ahead::add(v, ahead[0].residual, p.residual_type);
                store(v);
                // Registers have no index.
#pragma unroll
                for (uint32_t t = 0; t + 1 < kTurns; ++t) ahead[t] = ahead[t + 1];
            }
        }
    } else {
#pragma unroll 1
        for (uint32_t i = first; i < count; i += 4) {
            find(i);
            float v[2][kRun];
            scaled(v, i);
            store(v);
        }
    }
    __syncwarp();
}

// Whether C, of 16 bits, is the sums times alpha and nothing else, and has runs.
__device__ __forceinline__ bool is_plain(const FlSpmmParams& p) {
    return p.fused == FL_FUSED_NOTHING && p.beta == 0.f && !p.c_is_f32 && has_runs(p);
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Stores `count` m16n8 accumulators of a warp where is_plain(), rows m and columns n on: rounded to 16 bits in registers and turned by
// way of 2 KB of shared memory from `to` on, 64 columns at a time, of which a lane takes half of one. A quarter of the instructions of
// store_m16n8_sums(), whose sums have to stay of 32 bits for what is fused.
template <int kVectors>
__device__ __forceinline__ void store_plain(const FlSpmmParams& p, const float4* acc, uint32_t count, uint32_t to, uint32_t lane, uint32_t m,
                                            uint32_t n) {
    constexpr int kRound = 8;
    // 32 bytes a column, the halves of four of eight exchanged: what a matrix's columns or eight lanes' halves are is 128 bytes of as
    // many banks.
    auto place = [&](uint32_t column, uint32_t half) { return to + column * 32 + ((half ^ column / 4 % 2) * 16); };
    const uint32_t put = place(lane / 16 * 8 + lane % 8, lane / 8 % 2), taken = place(lane / 2, lane % 2);
    const uint32_t row = m + lane % 2 * 8, column = lane / 2;
    const uint32_t columns = row < p.m && n < p.n ? min(p.n - n, count * 8) : 0;
    uint64_t c = p.c + (row + (n + column) * p.c_stride_n) * 2;
    auto rounded = [&](float low, float high) { return pack(low * p.alpha, high * p.alpha); };
#pragma unroll
    for (int first = 0; first < kVectors; first += kRound) {
        __syncwarp();
#pragma unroll
        for (int i = first; i < kVectors && i < first + kRound; i += 2) {
            const uint32_t at = put + (i - first) * 256, upper = rounded(acc[i].x, acc[i].y), lower = rounded(acc[i].z, acc[i].w);
            if (i + 1 < kVectors) {
                const float4& next = acc[i + 1 < kVectors ? i + 1 : i];
                stmatrix4_trans(at, {upper, lower, rounded(next.x, next.y), rounded(next.z, next.w)});
            } else {
                stmatrix2_trans(at, upper, lower);
            }
        }
        __syncwarp();
#pragma unroll
        for (int i = first; i < kVectors && i < first + kRound; i += 2) {
            const uint4 run = lds128(taken + (i - first) * 256);
            if (column + i * 8 < columns) *reinterpret_cast<uint4*>(c) = run;
            c += 32 * p.c_stride_n;
        }
    }
    __syncwarp();
}

// Stores the first `count` of a warp's m16n8 accumulators, rows m and columns n on, by way of shared memory from `to` on, where a lane
// finds eight rows of a column: 512 bytes for each of kAtOnce. Of kVectors in registers a plain end turns the first kPlain, which is as
// many as `count` ever is.
template <int kVectors, int kPlain, int kAtOnce>
__device__ __forceinline__ void store_sums(const FlSpmmParams& p, float4* acc, uint32_t count, uint32_t to, uint32_t lane, uint32_t m,
                                           uint32_t n) {
    static_assert(kVectors % kAtOnce == 0 && kPlain <= kVectors);
    if (!is_plain(p)) {
#pragma unroll 1
        for (uint32_t first = 0; first < count; first += kAtOnce) {
            __syncwarp();
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) sts128(to + sums_place(i, lane), bits(acc[i]));
            // Registers have no index.
#pragma unroll
            for (int i = 0; i + kAtOnce < kVectors; ++i) acc[i] = acc[i + kAtOnce];
            store_m16n8_sums<1, true>(
                p, to, min(count - first, uint32_t{kAtOnce}), lane, [&](uint32_t) { return m; },
                [&](uint32_t i) { return n + (first + i) * 8; });
        }
    } else {
        // What follows from the lane would be made before the loop over blocks, where so many sums leave no register for it.
        store_plain<kPlain>(p, acc, count, to, kVectors < 16 ? lane : kept(lane), m, n);
    }
}
#endif

// Calls store(i, v) with sums that are in registers, in a loop: with code for each of them, the end of a product is
// mostly the time that its instructions take to come, once a CTA. The sums move up, because registers have no index.
template <int kVectors, typename Store>
__device__ __forceinline__ void store_tile(float4* acc, Store store) {
#pragma unroll 1
    for (int i = 0; i < kVectors; ++i) {
        store(i, acc[0]);
#pragma unroll
        for (int j = 0; j + 1 < kVectors; ++j) acc[j] = acc[j + 1];
    }
}

}  // namespace fl
