/* Measures the operators of exact/1, kernel by kernel, on one core: CPU time, medians. Weights are
 * read from a set larger than the caches, as a model's are; beside them stands a plain read of the
 * same bytes.
 * usage: exact [KERNEL]   (default: all that run here, but the scalar one) */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "exact/ops_priv.h"

enum {
    ROUNDS = 7,
    MATRICES = 8,
    ROWS = 8192,
    COLS = 2048, /* 16 MB of weights each */
    BATCH = 64,
};

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static int by_size(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}
static double median(double *x, size_t n) {
    qsort(x, n, sizeof *x, by_size);
    return x[n / 2];
}

static uint64_t state = 1;
static uint64_t next_random(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static void random_numbers(int32_t *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        x[i] = (int32_t)(next_random() % 65536) - 32768;
    }
}

static const struct ops *kernels[8];
static size_t kernel_count;

/* ---- linear ---- */

static int8_t *weights;
static struct linear linears[MATRICES];
static int32_t *out;
static struct quant quants[BATCH];
static volatile uint64_t sink;

static void read_all(void) {
    const uint64_t *p = (const uint64_t *)(const void *)weights;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < (size_t)MATRICES * ROWS * COLS / 8; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            sum[j] += p[i + j];
        }
    }
    for (size_t j = 0; j < 8; j++) {
        sink += sum[j];
    }
}

static void make_linears(void) {
    const size_t len = (size_t)ROWS * COLS;
    weights = asy_alloc_aligned(MATRICES * len, 1u << 21);
    for (size_t i = 0; i < MATRICES * len; i += 8) {
        uint64_t r = next_random() & 0x7f7f7f7f7f7f7f7fu;
        memcpy(weights + i, &r, 8);
    }
    int16_t *m = asy_alloc(2 * ROWS), *s = asy_alloc(2 * ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        m[i] = 20000;
        s[i] = 35;
    }
    for (size_t i = 0; i < MATRICES; i++) {
        linears[i] = (struct linear){.rows = ROWS,
                                     .cols = COLS,
                                     .shift = wide_shift(COLS),
                                     .w = weights + i * len,
                                     .m = m,
                                     .s = s,
                                     .sums = asy_alloc(4 * ROWS)};
    }
    out = asy_alloc_aligned(4ull * BATCH * ROWS, EXACT_ALIGN);
    uint8_t *q = asy_alloc_aligned(2ull * BATCH * COLS, EXACT_ALIGN);
    for (size_t t = 0; t < BATCH; t++) {
        quants[t].q = q + 2 * t * COLS;
    }
}

static void bench_linear(void) {
    static const uint32_t counts[] = {1, 4, 8, 16, 64};
    double reads[ROUNDS], times[8][2][ASY_COUNT(counts)][ROUNDS];
    for (size_t round = 0; round < ROUNDS; round++) {
        double start = cpu_s();
        read_all();
        reads[round] = cpu_s() - start;
        for (size_t k = 0; k < kernel_count; k++) {
            for (size_t wide = 0; wide < 2; wide++) {
                int32_t x[COLS];
                for (size_t t = 0; t < BATCH; t++) {
                    random_numbers(x, COLS);
                    kernels[k]->quant(x, COLS, wide != 0, &quants[t]);
                }
                for (size_t c = 0; c < ASY_COUNT(counts); c++) {
                    start = cpu_s();
                    for (size_t i = 0; i < MATRICES; i++) {
                        linears[i].wide = wide != 0;
                        kernels[k]->linear(&linears[i], quants, counts[c], 0, ROWS, out, ROWS,
                                           false);
                    }
                    times[k][wide][c][round] = cpu_s() - start;
                }
            }
        }
    }
    const double bytes = (double)MATRICES * ROWS * COLS;
    printf("linear, %d x %d, %d MB in turn; a plain read: %.1f GB/s\n", ROWS, COLS,
           MATRICES * ROWS * COLS >> 20, bytes / median(reads, ROUNDS) * 1e-9);
    printf("%-8s %-6s %5s %8s %8s\n", "kernel", "input", "rows", "GMAC/s", "GB/s");
    for (size_t k = 0; k < kernel_count; k++) {
        for (size_t wide = 0; wide < 2; wide++) {
            for (size_t c = 0; c < ASY_COUNT(counts); c++) {
                const double t = median(times[k][wide][c], ROUNDS);
                printf("%-8s %-6s %5u %8.1f %8.1f\n", asy_exact_kernel_name(kernels[k]->kernel),
                       wide ? "wide" : "narrow", counts[c], counts[c] * bytes / t * 1e-9,
                       bytes / t * 1e-9);
            }
        }
    }
}

/* ---- attention ---- */

static void bench_attend(void) {
    static const uint32_t dims[] = {64, 128, 256}, contexts[] = {128, 512, 4096},
                          counts[] = {1, 3, 8};
    enum { KEYS = 4096, DIM = 256 };
    const struct kv kv = {.k = asy_alloc_aligned(KEYS * DIM, 64),
                          .v = asy_alloc_aligned(KEYS * DIM, 64),
                          .k_scale = asy_alloc_aligned(4 * KEYS, 64),
                          .k_sum = asy_alloc_aligned(4 * KEYS, 64),
                          .v_max = asy_alloc_aligned(4 * KEYS, 64)};
    const struct scratch s = {.score = asy_alloc_aligned(4ull * EXACT_QUERIES * KEYS, 64),
                              .share = asy_alloc_aligned(8ull * KEYS, 64),
                              .stride = KEYS};
    static int32_t q[EXACT_QUERIES][DIM], o[EXACT_QUERIES][DIM];
    printf("\nattention: CPU ns per query and key\n%-8s %8s %8s %8s %8s %8s\n", "kernel",
           "head dim", "keys", "1 query", "3", "8");
    for (size_t k = 0; k < kernel_count; k++) {
        for (size_t d = 0; d < ASY_COUNT(dims); d++) {
            for (uint32_t p = 0; p < KEYS; p++) {
                int32_t key[DIM], value[DIM];
                random_numbers(key, DIM);
                random_numbers(value, DIM);
                kernels[k]->put(dims[d], &kv, key, value, p);
            }
            for (size_t c = 0; c < ASY_COUNT(contexts); c++) {
                printf("%-8s %8u %8u", asy_exact_kernel_name(kernels[k]->kernel), dims[d],
                       contexts[c]);
                for (size_t n = 0; n < ASY_COUNT(counts); n++) {
                    struct query queries[EXACT_QUERIES];
                    for (uint32_t i = 0; i < counts[n]; i++) {
                        random_numbers(q[i], DIM);
                        queries[i] = (struct query){q[i], o[i], 0, contexts[c] - 1};
                    }
                    double times[ROUNDS];
                    const uint32_t repeats = 400000 / (contexts[c] * counts[n]);
                    for (size_t round = 0; round < ROUNDS; round++) {
                        double start = cpu_s();
                        for (uint32_t r = 0; r < repeats; r++) {
                            kernels[k]->attend(dims[d], &kv, queries, counts[n], &s);
                        }
                        times[round] = cpu_s() - start;
                    }
                    printf(" %8.3f",
                           median(times, ROUNDS) * 1e9 / repeats / counts[n] / contexts[c]);
                }
                printf("\n");
            }
        }
    }
}

/* ---- the rest ---- */

static void bench_rows(void) {
    enum { DIM = 2048, REPEATS = 200 };
    static int32_t x[2 * DIM], y[DIM], row[DIM], gain[DIM];
    static int16_t table[ASY_EXACT_MAX_HEAD_DIM];
    static uint8_t bytes[2 * DIM];
    static const char *const names[] = {"quant", "quant wide", "norm", "norm out",
                                        "gate",  "rotate",     "put"};
    random_numbers(x, 2 * DIM);
    random_numbers(gain, DIM);
    for (size_t i = 0; i < ASY_COUNT(table); i++) {
        table[i] = (int16_t)next_random();
    }
    const struct norm n = {.count = DIM, .gain = gain, .eps = 1000, .shift = 20};
    const struct kv kv = {.k = asy_alloc_aligned(DIM, 64),
                          .v = asy_alloc_aligned(DIM, 64),
                          .k_scale = asy_alloc(64),
                          .k_sum = asy_alloc(64),
                          .v_max = asy_alloc(64)};
    struct quant q = {.q = bytes};
    printf("\nrows of %d: CPU ns per element\n%-8s", DIM, "kernel");
    for (size_t i = 0; i < ASY_COUNT(names); i++) {
        printf(" %10s", names[i]);
    }
    printf("\n");
    for (size_t k = 0; k < kernel_count; k++) {
        const struct ops *ops = kernels[k];
        printf("%-8s", asy_exact_kernel_name(ops->kernel));
        for (size_t i = 0; i < ASY_COUNT(names); i++) {
            double times[ROUNDS];
            for (size_t round = 0; round < ROUNDS; round++) {
                const double start = cpu_s();
                for (uint32_t r = 0; r < REPEATS; r++) {
                    switch (i) {
                    case 0:
                    case 1:
                        ops->quant(x, DIM, i == 1, &q);
                        break;
                    case 2:
                        ops->norm_quant(&n, x, false, &q, row);
                        break;
                    case 3:
                        ops->norm_out(&n, x, y, true, row);
                        break;
                    case 4:
                        ops->gate(ASY_EXACT_SILU, x, DIM, y);
                        break;
                    case 5:
                        for (uint32_t h = 0; h < DIM; h += 64) {
                            ops->rope(64, table, y + h);
                        }
                        break;
                    case 6:
                        for (uint32_t h = 0; h < DIM; h += 64) {
                            ops->put(64, &kv, x + h, x + DIM + h, h / 64 % 16);
                        }
                        break;
                    }
                }
                times[round] = cpu_s() - start;
            }
            printf(" %10.3f", median(times, ROUNDS) * 1e9 / REPEATS / DIM);
        }
        printf("\n");
    }
}

int main(int argc, char **argv) {
    for (int k = ASY_EXACT_AVX2; k <= ASY_EXACT_NEON; k++) {
        const struct ops *ops = exact_ops((enum asy_exact_kernel)k);
        if (ops != NULL && argc < 2) {
            kernels[kernel_count++] = ops;
        }
    }
    if (argc >= 2) {
        enum asy_exact_kernel kernel;
        enum asy_err err = asy_exact_kernel_parse(&kernel, asy_bytes_cstr(argv[1]));
        if (err != ASY_OK || exact_ops(kernel) == NULL) {
            fprintf(stderr, "exact: %s does not run here\n", argv[1]);
            return 2;
        }
        kernels[kernel_count++] = exact_ops(kernel);
    }
    make_linears();
    bench_linear();
    bench_attend();
    bench_rows();
    return 0;
}
