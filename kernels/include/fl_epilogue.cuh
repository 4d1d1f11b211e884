// SPDX-License-Identifier: Apache-2.0
// The end of a product: what becomes of a sum before it is stored in C, in fp32 and rounded once.
//
//   C = activation(alpha * sum + beta * C + bias[row]) * gate + residual
//
// What is not asked for costs one uniform branch a fragment (p.fused).
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

// A NaN stays one in each of them.
__device__ __forceinline__ float activate(uint32_t activation, float v) {
    if (activation == FL_ACTIVATION_RELU) return v < 0.f ? 0.f : v;
    if (activation == FL_ACTIVATION_GELU_ERF) return 0.5f * v * (1.f + erff(v * 0.70710678f));
    // SiLU is v * sigmoid(v); with tanh as a sigmoid, GELU's other form is v * sigmoid of a cubic.
    const float z = activation == FL_ACTIVATION_SILU ? v : v * (1.5957691f + 0.071354816f * v * v);
    return __fdividef(v, 1.f + __expf(-z));
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

// The i-th of some values: registers have no index.
template <int kCount>
__device__ __forceinline__ float pick(const float (&v)[kCount], uint32_t i) {
    float found = v[0];
#pragma unroll
    for (uint32_t j = 1; j < kCount; ++j) found = i == j ? v[j] : found;
    return found;
}

// The fused end of four sums, kCount at a time. What is read is asked for before any of it is used: it comes from
// far away, and there is little else to do at the end of a product.
template <int kCount>
__device__ __forceinline__ void store_fused(const FlSpmmParams& p, uint32_t m0, uint32_t m1, uint32_t n0, uint32_t n1, const float4& sums) {
    const float alpha = p.alpha_at ? *reinterpret_cast<const float*>(p.alpha_at) : p.alpha;
    const float beta = p.beta_at ? *reinterpret_cast<const float*>(p.beta_at) : p.beta;
#pragma unroll 1
    for (uint32_t first = 0; first < 4; first += kCount) {
        float bias[kCount], gate[kCount], residual[kCount], old[kCount];
#pragma unroll
        for (uint32_t i = 0; i < kCount; ++i) {
            const uint32_t m = first + i < 2 ? m0 : m1, n = (first + i) % 2 == 0 ? n0 : n1;
            bias[i] = gate[i] = residual[i] = old[i] = 0.f;
            if (m >= p.m || n >= p.n) continue;
            if (p.bias) bias[i] = load_element(p.bias, m, p.bias_type);
            if (p.gate) gate[i] = reinterpret_cast<const float*>(p.gate)[static_cast<int64_t>(n) * p.m + m];
            if (p.residual)
                residual[i] = load_element(p.residual, m * p.residual_stride_m + n * p.residual_stride_n, p.residual_type);
            if (beta != 0.f)
                old[i] = load_element(p.c, m * p.c_stride_m + n * p.c_stride_n, p.c_is_f32 ? FL_TYPE_F32 : kType);
        }
#pragma unroll 1
        for (uint32_t i = 0; i < kCount; ++i) {
            const uint32_t m = first + i < 2 ? m0 : m1, n = (first + i) % 2 == 0 ? n0 : n1;
            if (m >= p.m || n >= p.n) continue;
            const float all[4] = {sums.x, sums.y, sums.z, sums.w};
            float v = pick(all, first + i) * alpha;
            if (beta != 0.f) v += beta * pick(old, i);
            if (p.bias) v += pick(bias, i);
            if (p.activation != FL_ACTIVATION_NONE) v = activate(p.activation, v);
            if (p.gate) v *= pick(gate, i);
            if (p.residual) v += pick(residual, i);
            store_element(p, m * p.c_stride_m + n * p.c_stride_n, v);
        }
    }
}

// Stores four sums, at rows m, m1 and columns n, n1: the first row's come first.
template <int kCount>
__device__ __forceinline__ void store_2x2(const FlSpmmParams& p, uint32_t m, uint32_t m1, uint32_t n, uint32_t n1, const float4& v) {
    if (p.fused) {
        store_fused<kCount>(p, m, m1, n, n1, v);
        return;
    }
    store_scaled(p, m, n, v.x);
    store_scaled(p, m, n1, v.y);
    store_scaled(p, m1, n, v.z);
    store_scaled(p, m1, n1, v.w);
}

// Stores one m16n8 accumulator: rows m + lane/4 (+8), columns n + 2*(lane%4) (+1). A kCount of 1
// takes fewer registers, and longer.
template <int kCount = 4>
__device__ __forceinline__ void store_m16n8(const FlSpmmParams& p, uint32_t m, uint32_t n, const float4& v, uint32_t lane) {
    const uint32_t row = m + lane / 4, col = n + lane % 4 * 2;
    store_2x2<kCount>(p, row, row + 8, col, col + 1, v);
}

// As above, of the transposed product: rows m + 2*(lane%4) (+1), columns n + lane/4 (+8).
__device__ __forceinline__ void store_m8n16(const FlSpmmParams& p, uint32_t m, uint32_t n, const float4& v, uint32_t lane) {
    const uint32_t row = m + lane % 4 * 2, col = n + lane / 4;
    store_2x2<4>(p, row, row + 1, col, col + 8, make_float4(v.x, v.z, v.y, v.w));
}

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
