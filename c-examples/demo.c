/* SPDX-License-Identifier: Apache-2.0
 *
 * The main job on real weights: prune, compress, multiply, check.
 *
 * usage: demo [--device auto|cuda|host] [--sparsity 50,60,70,80] [--tokens 16] [--all-rows] FILE
 *
 * Reads the 2-D weights of a safetensors file, converts them to fp16, zeroes the smallest magnitudes
 * up to each sparsity, compresses with each format and with FORMAT_AUTO, multiplies by random
 * activations on the GPU if there is one and on the host if not, and compares every element with a
 * dense product in double that this program computes itself.
 *
 * Exits 0 when everything agrees, 1 when something does not, 2 on a file or an argument that it
 * cannot use, 77 when --device cuda finds no GPU. */
#include "common.h"

#include "safetensors.h"

#include <math.h>

enum { MAX_SPARSITIES = 16, MAX_TOKENS = 4096 };

typedef struct {
    const char *path, *device;
    int sparsity[MAX_SPARSITIES]; /* per cent */
    size_t sparsities;
    size_t tokens;
    int all_rows;
} options;

typedef struct {
    flashllmFormat_t resolved;
    size_t bytes;
    double compress_ms, multiply_us, error;
} measurement;

static uint32_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static void *checked_malloc(size_t count, size_t size) {
    void *pointer = size != 0 && count > SIZE_MAX / size ? NULL : malloc(count * size + 1);
    if (pointer == NULL) {
        fprintf(stderr, "demo: %zu elements of %zu bytes do not fit into memory\n", count, size);
        exit(EXIT_FAILURE);
    }
    return pointer;
}

static void usage(const char *why) {
    fprintf(stderr,
            "demo: %s\nusage: demo [--device auto|cuda|host] [--sparsity 50,60,70,80] "
            "[--tokens 16] [--all-rows] FILE.safetensors\n",
            why);
    exit(2);
}

static options parse_arguments(int argc, char **argv) {
    options o;
    memset(&o, 0, sizeof o);
    const char *list = "50,60,70,80", *tokens = "16";
    o.device = "auto";
    for (int i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--all-rows") == 0) {
            o.all_rows = 1;
        } else if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 == argc) usage("an option has no value");
            const char *value = argv[++i];
            if (strcmp(argv[i - 1], "--device") == 0) {
                o.device = value;
            } else if (strcmp(argv[i - 1], "--sparsity") == 0) {
                list = value;
            } else if (strcmp(argv[i - 1], "--tokens") == 0) {
                tokens = value;
            } else {
                usage("an option is unknown");
            }
        } else if (o.path != NULL) {
            usage("there is more than one file");
        } else {
            o.path = argv[i];
        }
    }
    if (o.path == NULL) usage("there is no file");
    for (const char *at = list; *at != '\0';) {
        char *end;
        const long value = strtol(at, &end, 10);
        if (end == at || (*end != ',' && *end != '\0') || value < 0 || value > 100 ||
            o.sparsities == MAX_SPARSITIES) {
            usage("--sparsity is a list of per cents");
        }
        o.sparsity[o.sparsities++] = (int)value;
        at = *end == ',' ? end + 1 : end;
    }
    char *end;
    const long count = strtol(tokens, &end, 10);
    if (*end != '\0' || count < 1 || count > MAX_TOKENS) usage("--tokens is a number from 1 to 4096");
    o.tokens = (size_t)count;
    if (o.sparsities == 0) usage("--sparsity is a list of per cents");
    return o;
}

/* The dense product in double, and the sum of the magnitudes of each element's terms: the scale that
 * the rounding error of any summation order is measured against. */
static void dense_product(const uint16_t *a, const uint16_t *b, size_t m, size_t k, size_t n,
                          double *product, double *scale) {
    double *row = (double *)checked_malloc(k, sizeof *row);
    double *columns = (double *)checked_malloc(k * n, sizeof *columns);
    for (size_t i = 0; i < k * n; ++i) columns[i] = (double)float_from_half(b[i]);
    for (size_t r = 0; r < m; ++r) {
        for (size_t i = 0; i < k; ++i) row[i] = (double)float_from_half(a[r * k + i]);
        for (size_t c = 0; c < n; ++c) {
            double sum = 0.0, magnitude = 0.0;
            for (size_t i = 0; i < k; ++i) {
                const double term = row[i] * columns[c * k + i];
                sum += term;
                magnitude += fabs(term);
            }
            product[c * m + r] = sum;
            scale[c * m + r] = magnitude;
        }
    }
    free(columns);
    free(row);
}

static measurement run(flashllmHandle_t handle, flashllmFormat_t format, size_t m, size_t k, size_t n,
                       const void *device_a, const void *device_b, void *device_c, float *c,
                       const double *product, const double *scale) {
    const float alpha = 1.0f, beta = 0.0f;
    measurement result;
    flashllmConstDnMatDescr_t dense = NULL, activations = NULL;
    flashllmDnMatDescr_t output = NULL;
    flashllmSpMatDescr_t weights = NULL;
    size_t bytes = 0;
    memset(&result, 0, sizeof result);

    CHECK(flashllmCreateConstDnMat(&dense, (int64_t)m, (int64_t)k, (int64_t)k, device_a,
                                   FLASHLLM_R_16F, FLASHLLM_ORDER_ROW));
    CHECK(flashllmCreateConstDnMat(&activations, (int64_t)k, (int64_t)n, (int64_t)k, device_b,
                                   FLASHLLM_R_16F, FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateDnMat(&output, (int64_t)m, (int64_t)n, (int64_t)m, device_c, FLASHLLM_R_32F,
                              FLASHLLM_ORDER_COL));
    CHECK(flashllmCreateSpMat(&weights, (int64_t)m, (int64_t)k, FLASHLLM_R_16F, format));

    CHECK(flashllmDenseToSparse_bufferSize(handle, dense, weights,
                                           FLASHLLM_DENSETOSPARSE_ALG_DEFAULT, &bytes));
    void *scratch = allocate(handle, bytes);
    double start = seconds();
    CHECK(flashllmDenseToSparse_analysis(handle, dense, weights, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                         scratch));
    result.bytes = compressed_bytes(weights);
    void *compressed = allocate(handle, result.bytes);
    CHECK(flashllmSpMatSetBuffer(handle, weights, compressed, result.bytes));
    CHECK(flashllmDenseToSparse_convert(handle, dense, weights, FLASHLLM_DENSETOSPARSE_ALG_DEFAULT,
                                        scratch));
    CHECK(flashllmSynchronize(handle));
    result.compress_ms = 1e3 * (seconds() - start);
    CHECK(flashllmSpMatGetFormat(weights, &result.resolved));

    CHECK(flashllmSpMM_bufferSize(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &alpha, weights, activations,
                                  &beta, output, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, &bytes));
    void *workspace = allocate(handle, bytes);
    CHECK(flashllmSpMM_preprocess(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                                  FLASHLLM_OPERATION_NON_TRANSPOSE, &alpha, weights, activations,
                                  &beta, output, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT,
                                  workspace));

    /* NaN where the result goes: an element that is not written cannot pass. */
    memset(c, 0xff, m * n * sizeof *c);
    copy_in(handle, device_c, c, m * n * sizeof *c);

    /* The first call warms up; then rounds of calls between two synchronisations, the best one kept.
     * The GPU's L2 is warm here: bench/ measures it cold. */
    flashllmDeviceType_t type = FLASHLLM_DEVICE_HOST;
    CHECK(flashllmGetDeviceType(handle, &type));
    const int rounds = 3, calls = type == FLASHLLM_DEVICE_CUDA ? 20 : 1;
    for (int round = -1; round < rounds; ++round) {
        const int repeat = round < 0 ? 1 : calls;
        start = seconds();
        for (int call = 0; call < repeat; ++call) {
            CHECK(flashllmSpMM(handle, FLASHLLM_OPERATION_NON_TRANSPOSE,
                               FLASHLLM_OPERATION_NON_TRANSPOSE, &alpha, weights, activations, &beta,
                               output, FLASHLLM_R_32F, FLASHLLM_SPMM_ALG_DEFAULT, workspace));
        }
        CHECK(flashllmSynchronize(handle));
        const double us = 1e6 * (seconds() - start) / repeat;
        if (round == 0 || (round > 0 && us < result.multiply_us)) result.multiply_us = us;
    }

    copy_out(handle, c, device_c, m * n * sizeof *c);
    for (size_t i = 0; i < m * n; ++i) {
        const double difference = fabs((double)c[i] - product[i]);
        double error = scale[i] > 0.0 ? difference / scale[i] : (difference == 0.0 ? 0.0 : HUGE_VAL);
        if (!(error >= 0.0)) error = HUGE_VAL; /* NaN */
        if (error > result.error) result.error = error;
    }

    CHECK(flashllmDestroySpMat(weights));
    CHECK(flashllmDestroyDnMat(output));
    CHECK(flashllmDestroyDnMat(activations));
    CHECK(flashllmDestroyDnMat(dense));
    CHECK(flashllmFree(handle, workspace));
    CHECK(flashllmFree(handle, compressed));
    CHECK(flashllmFree(handle, scratch));
    return result;
}

static void print_row(const char *layer, const char *shape, int sparsity, flashllmFormat_t asked,
                      const measurement *r, double dense_bytes) {
    char format[32];
    if (asked == FLASHLLM_FORMAT_AUTO && r->resolved != FLASHLLM_FORMAT_AUTO) {
        snprintf(format, sizeof format, "auto: %s", format_name(r->resolved));
    } else {
        snprintf(format, sizeof format, "%s", format_name(asked));
    }
    printf("%-46.46s %12s %4d %% %-15s %10zu %5.1f %% %9.2f %10.1f %9.1e\n", layer, shape, sparsity,
           format, r->bytes, 100.0 * (double)r->bytes / dense_bytes, r->compress_ms, r->multiply_us,
           r->error);
}

static int is_first_of_its_shape(const st_file *st, size_t index) {
    for (size_t i = 0; i < index; ++i) {
        if (st_is_matrix(&st->tensors[i]) && st->tensors[i].rows == st->tensors[index].rows &&
            st->tensors[i].cols == st->tensors[index].cols) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv) {
    const options o = parse_arguments(argc, argv);
    st_file st;
    if (st_open(&st, o.path) != 0) {
        fprintf(stderr, "demo: %s is not a safetensors file this program can read: %s\n", o.path,
                st.error);
        st_close(&st);
        return 2;
    }
    size_t matrices = 0;
    for (size_t t = 0; t < st.count; ++t) matrices += st_is_matrix(&st.tensors[t]) ? 1 : 0;
    const size_t others = st.count - matrices + st.skipped;
    if (matrices == 0) {
        fprintf(stderr, "demo: %s holds no 2-D floating point weights (%zu other tensors)\n", o.path,
                others);
        st_close(&st);
        return 2;
    }

    flashllmHandle_t handle = create_handle(o.device);
    const char *device = device_name(handle);
    printf("%s: %zu weight matrices (%zu other tensors left out)\n", o.path, matrices, others);
    printf("multiplying by %zu random activations on the %s; library: %s\n\n", o.tokens, device,
           flashllmGetBuildInfo());
    if (!o.all_rows) {
        printf("Every matrix is multiplied and checked; the rows are the first of each shape "
               "(--all-rows prints all).\n");
    }
    printf("%-46s %12s %6s %-15s %10s %7s %9s %10s %9s\n", "layer", "shape", "zeros", "format",
           "bytes", "dense", "comp. ms", "mult. us", "rel. err");
    fflush(stdout);

    measurement total[MAX_SPARSITIES][FORMATS];
    memset(total, 0, sizeof total);
    double dense_bytes = 0.0, worst = 0.0, allowed_there = 0.0, last_progress = seconds();
    const char *worst_layer = "";
    size_t products = 0, wrong = 0;
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15);

    size_t done = 0;
    for (size_t t = 0; t < st.count; ++t) {
        const st_tensor *tensor = &st.tensors[t];
        if (!st_is_matrix(tensor)) continue;
        const size_t m = (size_t)tensor->rows, k = (size_t)tensor->cols, n = o.tokens;
        const int shown = o.all_rows || is_first_of_its_shape(&st, t);
        char shape[40];
        snprintf(shape, sizeof shape, "%zux%zu", m, k);

        uint16_t *a = (uint16_t *)checked_malloc(m * k, sizeof *a);
        uint16_t *pruned = (uint16_t *)checked_malloc(m * k, sizeof *pruned);
        uint16_t *b = (uint16_t *)checked_malloc(k * n, sizeof *b);
        float *c = (float *)checked_malloc(m * n, sizeof *c);
        double *product = (double *)checked_malloc(m * n, sizeof *product);
        double *scale = (double *)checked_malloc(m * n, sizeof *scale);
        if (st_read_half(&st, tensor, a) != 0) {
            fprintf(stderr, "demo: %s: %s\n", o.path, st.error);
            return 2;
        }
        for (size_t i = 0; i < m * k; ++i) {
            if ((a[i] & 0x7c00u) == 0x7c00u) {
                fprintf(stderr, "demo: %s: %s has weights that fp16 cannot hold\n", o.path,
                        tensor->name);
                return 2;
            }
        }
        for (size_t i = 0; i < k * n; ++i) {
            b[i] = half_from_float((float)next_random(&random) / 2147483648.0f - 1.0f);
        }
        void *device_a = allocate(handle, m * k * sizeof *a);
        void *device_b = allocate(handle, k * n * sizeof *b);
        void *device_c = allocate(handle, m * n * sizeof *c);
        copy_in(handle, device_b, b, k * n * sizeof *b);

        /* Adding K products in fp32 in any order stays within K units of the last place of the sum
         * of magnitudes; twice that leaves room for Tensor Cores, which truncate. */
        const double allowed = 2.0 * (double)(k + 1) / 16777216.0;
        for (size_t s = 0; s < o.sparsities; ++s) {
            prune(a, pruned, m * k, o.sparsity[s]);
            dense_product(pruned, b, m, k, n, product, scale);
            copy_in(handle, device_a, pruned, m * k * sizeof *a);
            for (int f = 0; f < FORMATS; ++f) {
                const measurement r = run(handle, format_number(f), m, k, n, device_a, device_b, device_c,
                                          c, product, scale);
                total[s][f].bytes += r.bytes;
                total[s][f].compress_ms += r.compress_ms;
                total[s][f].multiply_us += r.multiply_us;
                if (r.error > total[s][f].error) total[s][f].error = r.error;
                if (r.error > worst) {
                    worst = r.error;
                    worst_layer = tensor->name;
                    allowed_there = allowed;
                }
                ++products;
                if (r.error > allowed) {
                    ++wrong;
                    fprintf(stderr, "demo: WRONG: %s, %d %%, %s: relative error %.1e, allowed %.1e\n",
                            tensor->name, o.sparsity[s], format_name(format_number(f)), r.error, allowed);
                }
                if (shown) {
                    print_row(tensor->name, shape, o.sparsity[s], format_number(f), &r,
                              2.0 * (double)m * (double)k);
                    fflush(stdout);
                    last_progress = seconds();
                }
            }
            if (seconds() - last_progress > 1.5) {
                printf("  ... %zu of %zu matrices\n", done, matrices);
                fflush(stdout);
                last_progress = seconds();
            }
        }
        ++done;
        dense_bytes += 2.0 * (double)m * (double)k;
        CHECK(flashllmFree(handle, device_c));
        CHECK(flashllmFree(handle, device_b));
        CHECK(flashllmFree(handle, device_a));
        free(scale);
        free(product);
        free(c);
        free(b);
        free(pruned);
        free(a);
    }

    printf("\nAll %zu matrices together (dense: %.0f bytes)\n", matrices, dense_bytes);
    for (size_t s = 0; s < o.sparsities; ++s) {
        for (int f = 0; f < FORMATS; ++f) {
            print_row("all matrices", "", o.sparsity[s], format_number(f), &total[s][f], dense_bytes);
        }
    }
    printf("\ndemo: %s: %zu products (%zu matrices, %zu sparsities, %d formats) on the %s, %zu wrong; "
           "largest relative error %.1e (%s; allowed %.1e)\n",
           wrong == 0 ? "PASS" : "FAIL", products, matrices, o.sparsities, FORMATS, device, wrong,
           worst, worst_layer, allowed_there);
    CHECK(flashllmDestroy(handle));
    st_close(&st);
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
