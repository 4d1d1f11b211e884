/* SPDX-License-Identifier: Apache-2.0
 *
 * What every example needs: a check that prints the library's own sentence, the choice of a device,
 * fp16 conversion and a clock. Include it first: it asks the C library for POSIX clocks.
 * Valid as C99, C11 and C++11. */
#ifndef FLASH_LLM_EXAMPLES_COMMON_H
#define FLASH_LLM_EXAMPLES_COMMON_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <flash_llm.h>

/* The exit status that test drivers (automake, CTest) read as "skipped". */
#define EXIT_SKIPPED 77

/* Ends the program with the library's sentence when a call fails. */
#define CHECK(call)                                                                         \
    do {                                                                                    \
        const flashllmStatus_t check_status = (call);                                       \
        if (check_status != FLASHLLM_STATUS_SUCCESS) {                                      \
            fprintf(stderr, "%s:%d: %s\n  %s: %s\n", __FILE__, __LINE__, #call,             \
                    flashllmGetErrorName(check_status), flashllmGetLastErrorMessage());     \
            exit(EXIT_FAILURE);                                                             \
        }                                                                                   \
    } while (0)

/* Ends the program when a condition of the example itself does not hold. */
#define REQUIRE(condition, sentence)                                                        \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, sentence);                   \
            exit(EXIT_FAILURE);                                                             \
        }                                                                                   \
    } while (0)

/* The value after `name` on the command line, or `otherwise`. */
static inline const char *argument(int argc, char **argv, const char *name, const char *otherwise) {
    for (int i = 1; i + 1 < argc; ++i) {
        if (strcmp(argv[i], name) == 0) return argv[i + 1];
    }
    return otherwise;
}

/* A handle on "cuda", on "host", or ("auto") on the GPU if there is one and on the host if not.
 * Exits with EXIT_SKIPPED when "cuda" was asked for and there is none. */
static inline flashllmHandle_t create_handle(const char *device) {
    flashllmHandle_t handle = NULL;
    if (strcmp(device, "host") == 0) {
        CHECK(flashllmCreateHost(&handle));
        return handle;
    }
    if (strcmp(device, "cuda") != 0 && strcmp(device, "auto") != 0) {
        fprintf(stderr, "--device is auto, cuda or host, not '%s'\n", device);
        exit(2);
    }
    const flashllmStatus_t status = flashllmCreate(&handle);
    if (status == FLASHLLM_STATUS_SUCCESS) return handle;
    /* These three say that this machine or this build cannot multiply on a GPU; anything else that
     * goes wrong on a machine with a GPU is an error, not a reason to fall back quietly. */
    if (status != FLASHLLM_STATUS_NO_DEVICE && status != FLASHLLM_STATUS_NOT_SUPPORTED &&
        status != FLASHLLM_STATUS_ARCH_MISMATCH) {
        fprintf(stderr, "flashllmCreate: %s: %s\n", flashllmGetErrorName(status),
                flashllmGetLastErrorMessage());
        exit(EXIT_FAILURE);
    }
    printf("no GPU: %s\n", flashllmGetLastErrorMessage());
    if (strcmp(device, "cuda") == 0) exit(EXIT_SKIPPED);
    CHECK(flashllmCreateHost(&handle));
    return handle;
}

static inline const char *device_name(flashllmHandle_t handle) {
    flashllmDeviceType_t type = FLASHLLM_DEVICE_HOST;
    CHECK(flashllmGetDeviceType(handle, &type));
    return type == FLASHLLM_DEVICE_CUDA ? "GPU" : "host";
}

static inline const char *format_name(flashllmFormat_t format) {
    switch (format) {
        case FLASHLLM_FORMAT_BITMAP: return "bitmap";
        case FLASHLLM_FORMAT_SLOTS: return "slots";
        case FLASHLLM_FORMAT_BANKED: return "banked";
        case FLASHLLM_FORMAT_SELL: return "sell";
        case FLASHLLM_FORMAT_TILED_CSL: return "tiled-csl";
        default: return "auto";
    }
}

/* FLASHLLM_FORMAT_AUTO and all formats, by number. */
enum { FORMATS = 6 };
static inline flashllmFormat_t format_number(int i) {
    static const flashllmFormat_t formats[FORMATS] = {
        FLASHLLM_FORMAT_AUTO,   FLASHLLM_FORMAT_BITMAP, FLASHLLM_FORMAT_SLOTS,
        FLASHLLM_FORMAT_BANKED, FLASHLLM_FORMAT_SELL,   FLASHLLM_FORMAT_TILED_CSL};
    return formats[i];
}

/* The format of that name: 1, or 0 if there is none. */
static inline int format_from_name(const char *name, flashllmFormat_t *format) {
    for (int i = 0; i < FORMATS; ++i) {
        *format = format_number(i);
        if (strcmp(name, format_name(*format)) == 0) return 1;
    }
    return 0;
}

/* Memory where the handle computes; zero bytes give NULL. */
static inline void *allocate(flashllmHandle_t handle, size_t bytes) {
    void *pointer = NULL;
    if (bytes != 0) CHECK(flashllmMalloc(handle, &pointer, bytes));
    return pointer;
}

/* On a host handle every pointer is a host pointer, and so is the kind of the copy. */
static inline void copy_in(flashllmHandle_t handle, void *to, const void *from, size_t bytes) {
    flashllmDeviceType_t type = FLASHLLM_DEVICE_HOST;
    CHECK(flashllmGetDeviceType(handle, &type));
    CHECK(flashllmMemcpy(handle, to, from, bytes,
                         type == FLASHLLM_DEVICE_CUDA ? FLASHLLM_MEMCPY_HOST_TO_DEVICE
                                                      : FLASHLLM_MEMCPY_HOST_TO_HOST));
}

static inline void copy_out(flashllmHandle_t handle, void *to, const void *from, size_t bytes) {
    flashllmDeviceType_t type = FLASHLLM_DEVICE_HOST;
    CHECK(flashllmGetDeviceType(handle, &type));
    CHECK(flashllmMemcpy(handle, to, from, bytes,
                         type == FLASHLLM_DEVICE_CUDA ? FLASHLLM_MEMCPY_DEVICE_TO_HOST
                                                      : FLASHLLM_MEMCPY_HOST_TO_HOST));
}

/* The exact size of a compressed matrix, known from the analysis on. */
static inline size_t compressed_bytes(flashllmConstSpMatDescr_t matrix) {
    int64_t rows = 0, cols = 0, nnz = 0;
    size_t bytes = 0;
    CHECK(flashllmSpMatGetSize(matrix, &rows, &cols, &nnz, &bytes));
    return bytes;
}

/* fp32 to fp16 bits, to nearest, ties to even, as the hardware rounds. */
static inline uint16_t half_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);  /* NaN */
    if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and up: infinity */
    if (bits < 0x38800000u) {                                   /* subnormal in fp16 */
        if (bits <= 0x33000000u) return (uint16_t)sign;         /* 2^-25 and below: zero */
        const uint32_t shift = 126u - (bits >> 23);
        const uint32_t mantissa = (bits & 0x7fffffu) | 0x800000u;
        const uint32_t rest = mantissa & ((1u << shift) - 1u);
        const uint32_t middle = 1u << (shift - 1u);
        uint32_t result = mantissa >> shift;
        if (rest > middle || (rest == middle && (result & 1u))) ++result;
        return (uint16_t)(sign | result);
    }
    bits += 0xfffu + ((bits >> 13) & 1u);
    return (uint16_t)(sign | ((bits - 0x38000000u) >> 13));
}

/* fp16 bits to fp32, exact. */
static inline float float_from_half(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 31u;
    const uint32_t mantissa = half & 1023u;
    uint32_t bits;
    float value;
    if (exponent == 0) {
        value = (float)mantissa * (1.0f / 16777216.0f);
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | (mantissa << 13);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Keeps the largest magnitudes: exactly `percent` of the elements become zero (more if more were zero
 * before). fp16 has 32768 magnitudes, so a histogram finds the threshold; of the elements that are
 * equal to it the first ones go. */
static inline void prune(const uint16_t *dense, uint16_t *pruned, size_t count, int percent) {
    static size_t histogram[32768];
    size_t goal = (size_t)((double)count * percent / 100.0 + 0.5), below = 0;
    uint16_t threshold = 0;
    memset(histogram, 0, sizeof histogram);
    for (size_t i = 0; i < count; ++i) ++histogram[dense[i] & 0x7fffu];
    while (threshold < 32767 && below + histogram[threshold] <= goal) below += histogram[threshold++];
    size_t ties = goal - below;
    for (size_t i = 0; i < count; ++i) {
        const uint16_t magnitude = dense[i] & 0x7fffu;
        int keep = magnitude >= threshold;
        if (magnitude == threshold && ties != 0) {
            --ties;
            keep = 0;
        }
        pruned[i] = keep ? dense[i] : 0;
    }
}

/* Seconds on a clock that never goes back. */
static inline double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
