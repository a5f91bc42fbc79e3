/* One answer, whatever computes it: chunks, batches, threads, kernels, prefix copies, saves. */
#include "exact/exact.h"

#include "random_model.h"

#define TOKENS 72
#define SLOTS  6

static uint32_t tokens[SLOTS][TOKENS];
static uint32_t vocab;

static struct asy_exact *new_exact(const struct asy_exact_model *m, enum asy_exact_kernel kernel,
                                   uint32_t threads, uint32_t rows) {
    struct asy_exact *x = NULL;
    struct asy_why why = {0};
    struct asy_exact_config c = {.kernel = kernel,
                                 .threads = threads,
                                 .slots = SLOTS,
                                 .context = TOKENS + 10,
                                 .rows = rows,
                                 .logits_rows = rows};
    CHECK(asy_exact_memory(m, &c) > 0);
    CHECK_OK(asy_exact_new(&x, m, &c, &why));
    return x;
}

/* Logits of every position of one sequence, in steps of `chunk` rows: int32 [to - from][vocab]. */
static void sequence(struct asy_exact *x, uint32_t slot, const uint32_t *ids, uint32_t from,
                     uint32_t to, uint32_t chunk, int32_t *ret) {
    struct asy_exact_row rows[TOKENS];
    uint32_t stride = asy_exact_logits_stride(asy_exact_model_of(x));
    for (uint32_t at = from; at < to; at += chunk) {
        uint32_t n = to - at < chunk ? to - at : chunk;
        const int32_t *logits = NULL;
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = (struct asy_exact_row){ids[at + i], slot, at + i, ret != NULL};
        }
        CHECK_OK(asy_exact_step(x, &logits, rows, n));
        for (uint32_t i = 0; i < n && ret != NULL; i++) {
            memcpy(ret + (size_t)(at - from + i) * vocab, logits + (size_t)i * stride, 4 * vocab);
        }
    }
}

static bool same(const int32_t *a, const int32_t *b, uint32_t rows) {
    return memcmp(a, b, 4 * (size_t)rows * vocab) == 0;
}

/* Sequences of different lengths, one token of each per step, logits of every third. */
static void batched(struct asy_exact *x, int32_t *const want[SLOTS]) {
    uint32_t stride = asy_exact_logits_stride(asy_exact_model_of(x)), at[SLOTS];
    for (uint32_t s = 0; s < SLOTS; s++) {
        at[s] = 5 * s;
        if (at[s] != 0) {
            sequence(x, s, tokens[s], 0, at[s], 5, NULL);
        }
    }
    for (uint32_t step = 0; step < 40; step++) {
        struct asy_exact_row rows[2 * SLOTS];
        uint32_t n = 0, asked[2 * SLOTS], wanted = 0;
        const int32_t *logits = NULL;
        for (uint32_t s = 0; s < SLOTS; s++) {
            /* slot 2 prefills two tokens a step while the others decode one */
            for (uint32_t i = 0; i < (s == 2 ? 2u : 1u) && at[s] < TOKENS; i++) {
                bool ask = (step + s) % 3 == 0;
                rows[n] = (struct asy_exact_row){tokens[s][at[s]], s, at[s], ask};
                if (ask) {
                    asked[wanted++] = n;
                }
                n++;
                at[s]++;
            }
        }
        CHECK_OK(asy_exact_step(x, &logits, rows, n));
        for (uint32_t i = 0; i < wanted; i++) {
            const struct asy_exact_row *r = &rows[asked[i]];
            CHECK(same(logits + (size_t)i * stride, want[r->slot] + (size_t)r->pos * vocab, 1));
        }
    }
}

static void every_way(const struct asy_exact_shape *shape) {
    struct asy_exact_model *m = NULL;
    struct asy_why why = {0};
    struct asy_bytes file = random_model_file(shape);
    CHECK_OK(asy_exact_model_open(&m, file, &why));
    if (m == NULL) {
        fprintf(stderr, "%s\n", why.text);
        return;
    }
    vocab = shape->vocab;
    int32_t *want[SLOTS], *got = asy_alloc(4ull * TOKENS * vocab);
    struct asy_exact *x = new_exact(m, ASY_EXACT_SCALAR, 1, TOKENS);
    for (uint32_t s = 0; s < SLOTS; s++) {
        for (uint32_t i = 0; i < TOKENS; i++) {
            tokens[s][i] = (uint32_t)(asy_test_random() % vocab);
        }
        memcpy(tokens[s], tokens[0], sizeof tokens[s] / 4); /* a common beginning */
        want[s] = asy_alloc(4ull * TOKENS * vocab);
        sequence(x, s, tokens[s], 0, TOKENS, TOKENS, want[s]);
    }
    /* the logits are no constant, and not all at the cap */
    int32_t low = INT32_MAX, high = INT32_MIN;
    uint32_t capped = 0;
    for (uint32_t i = 0; i < TOKENS * vocab; i++) {
        capped += want[1][i] == (1 << 30) - 1 || want[1][i] == 1 - (1 << 30);
        low = want[1][i] < low ? want[1][i] : low;
        high = want[1][i] > high ? want[1][i] : high;
    }
    CHECK(vocab < 10 || (low < 0 && high > 0 && capped < TOKENS * vocab / 10));
    /* another token changes what follows, and nothing before */
    uint32_t old = tokens[1][50];
    tokens[1][50] = (old + 1) % vocab;
    sequence(x, 0, tokens[1], 0, TOKENS, TOKENS, got);
    CHECK(same(got, want[1], 50) && (vocab < 10 || !same(got, want[1], TOKENS)));
    tokens[1][50] = old;
    asy_exact_free(x);

    static const enum asy_exact_kernel kernels[] = {ASY_EXACT_SCALAR, ASY_EXACT_AVX2,
                                                    ASY_EXACT_AVX512, ASY_EXACT_NEON};
    for (size_t k = 0; k < ASY_COUNT(kernels); k++) {
        if (!asy_exact_kernel_runs(kernels[k])) {
            continue;
        }
        /* with two threads the longest chunk is shared by rows, the others by weights */
        for (uint32_t threads = 1; threads <= 3; threads++) {
            x = new_exact(m, kernels[k], threads, TOKENS);
            CHECK(asy_exact_kernel_of(x) == kernels[k]);
            static const uint32_t chunks[] = {1, 3, 16, 37, TOKENS};
            for (size_t c = 0; c < ASY_COUNT(chunks); c++) {
                sequence(x, (uint32_t)c, tokens[1], 0, TOKENS, chunks[c], got);
                CHECK(same(got, want[1], TOKENS));
            }
            /* a shorter sequence behind a longer one in the same slot */
            sequence(x, 0, tokens[3], 0, 20, 20, got);
            CHECK(same(got, want[3], 20));
            /* a prefix from another slot, and more */
            CHECK_OK(asy_exact_copy(x, 5, 1, TOKENS / 4));
            sequence(x, 5, tokens[2], TOKENS / 4, TOKENS, 11, got);
            CHECK(same(got, want[2] + (size_t)(TOKENS / 4) * vocab, TOKENS - TOKENS / 4));
            batched(x, want);
            asy_exact_free(x);
        }
    }

    /* a save restores into any kernel */
    x = new_exact(m, ASY_EXACT_AUTO, 2, 16);
    sequence(x, 3, tokens[4], 0, 50, 16, NULL);
    uint64_t len = asy_exact_save_len(m, 50);
    uint8_t *save = asy_alloc(len);
    CHECK_OK(asy_exact_save(x, save, 3, 50));
    asy_exact_free(x);
    x = new_exact(m, ASY_EXACT_SCALAR, 1, 16);
    uint32_t count = 0;
    CHECK_OK(asy_exact_restore(x, 1, asy_bytes_of(save, len), &count));
    CHECK_U64(count, 50);
    sequence(x, 1, tokens[4], 50, TOKENS, 16, got);
    CHECK(same(got, want[4] + 50 * (size_t)vocab, TOKENS - 50));
    CHECK_ERR(asy_exact_restore(x, SLOTS, asy_bytes_of(save, len), &count), ASY_ERR_RANGE);
    CHECK_ERR(asy_exact_restore(x, 1, asy_bytes_of(save, len - 1), &count), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_exact_restore(x, 1, asy_bytes_of(save, 3), &count), ASY_ERR_SYNTAX);
    save[30] = 0x80;
    CHECK_ERR(asy_exact_restore(x, 1, asy_bytes_of(save, len), &count), ASY_ERR_SYNTAX);
    save[30] = 0;
    asy_le32_put(save + 24 + 2 * shape->head_dim, 0);
    CHECK_ERR(asy_exact_restore(x, 1, asy_bytes_of(save, len), &count), ASY_ERR_SYNTAX);
    asy_exact_free(x);
    asy_free(save);
    for (uint32_t s = 0; s < SLOTS; s++) {
        asy_free(want[s]);
    }
    asy_free(got);
    asy_exact_model_free(m);
    asy_free((void *)(uintptr_t)file.p);
}

static void refusals(void) {
    struct asy_exact_shape shape = small_shape();
    struct asy_bytes file = random_model_file(&shape);
    struct asy_exact_model *m = NULL;
    struct asy_why why = {0};
    CHECK_OK(asy_exact_model_open(&m, file, &why));
    struct asy_exact *x = new_exact(m, ASY_EXACT_AUTO, 1, 4);
    struct asy_exact_row row = {0, 0, 0, true}, five[5] = {{0}};
    const int32_t *logits;
#define STEP_RANGE(field, value)                                                                   \
    do {                                                                                           \
        struct asy_exact_row bad = row;                                                            \
        bad.field = (value);                                                                       \
        CHECK_ERR(asy_exact_step(x, &logits, &bad, 1), ASY_ERR_RANGE);                             \
    } while (0)
    STEP_RANGE(token, shape.vocab);
    STEP_RANGE(slot, SLOTS);
    STEP_RANGE(pos, TOKENS + 10);
    CHECK_ERR(asy_exact_step(x, &logits, five, 5), ASY_ERR_RANGE);
    CHECK_ERR(asy_exact_step(x, &logits, five, 0), ASY_ERR_RANGE);
    CHECK_OK(asy_exact_step(x, NULL, five, 1));
    CHECK_ERR(asy_exact_copy(x, 0, SLOTS, 1), ASY_ERR_RANGE);
    CHECK_ERR(asy_exact_copy(x, 0, 1, TOKENS + 11), ASY_ERR_RANGE);
    CHECK_OK(asy_exact_copy(x, 1, 1, 5));
    asy_exact_free(x);

    struct asy_exact_config good = {ASY_EXACT_AUTO, 1, 1, 16, 4, 4}, bad;
#define CONFIG_RANGE(field, value)                                                                 \
    do {                                                                                           \
        bad = good;                                                                                \
        bad.field = (value);                                                                       \
        CHECK_ERR(asy_exact_new(&x, m, &bad, &why), ASY_ERR_RANGE);                                \
        CHECK_STR(why.param, #field);                                                              \
        CHECK_U64(asy_exact_memory(m, &bad), 0);                                                   \
    } while (0)
    CONFIG_RANGE(threads, 0);
    CONFIG_RANGE(threads, 65);
    CONFIG_RANGE(slots, 0);
    CONFIG_RANGE(context, shape.positions + 1);
    CONFIG_RANGE(rows, ASY_EXACT_MAX_ROWS + 1);
    CONFIG_RANGE(logits_rows, 5);
    asy_exact_model_free(m);
    asy_free((void *)(uintptr_t)file.p);

    enum asy_exact_kernel kernel;
    CHECK_OK(asy_exact_kernel_parse(&kernel, asy_bytes_cstr("avx2")));
    CHECK(kernel == ASY_EXACT_AVX2);
    CHECK_ERR(asy_exact_kernel_parse(&kernel, asy_bytes_cstr("avx")), ASY_ERR_NOT_FOUND);
    CHECK(asy_exact_kernel_runs(ASY_EXACT_SCALAR) && asy_exact_kernel_runs(ASY_EXACT_AUTO));
}

int main(void) {
    struct asy_exact_shape shape = small_shape();
    every_way(&shape);
    for (int i = 0; i < 3; i++) {
        shape = random_shape();
        every_way(&shape);
    }
    refusals();
    return asy_test_end();
}
