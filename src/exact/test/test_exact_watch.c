/* What a watch sees: the same vectors however a step is cut, and the ones it says. */
#include "exact/file_priv.h"

#include "random_model.h"

enum { TOKENS = 40, POINTS = ASY_EXACT_AT_LOGITS + 1 };

static uint32_t ids[TOKENS];
static const struct asy_exact_info *info;

struct seen {
    uint32_t from; /* position of row 0 of the step */
    uint64_t sum[8][POINTS], count[8][POINTS];
    int32_t *residual, *norm; /* [TOKENS][dim] of layer 0 */
};

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void look(void *arg, enum asy_exact_point point, uint32_t layer, uint32_t row,
                 const int32_t *values, uint32_t count, uint32_t thread) {
    struct seen *s = arg;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += mix(((uint64_t)point << 40) + ((uint64_t)layer << 32) +
                   ((uint64_t)(s->from + row) << 20) + i) *
               (uint32_t)values[i];
    }
    s->sum[thread][point] += sum;
    s->count[thread][point]++;
    if (layer == 0 && (point == ASY_EXACT_AT_RESIDUAL || point == ASY_EXACT_AT_ATTN_NORM)) {
        int32_t *to = point == ASY_EXACT_AT_RESIDUAL ? s->residual : s->norm;
        memcpy(to + (size_t)(s->from + row) * count, values, count * sizeof *values);
    }
}

static void run(const struct asy_exact_model *m, uint32_t threads, uint32_t chunk, bool watched,
                struct seen *ret_seen, uint64_t *ret_logits) {
    struct asy_exact *x = NULL;
    struct asy_exact_config c = {.kernel = ASY_EXACT_AUTO,
                                 .threads = threads,
                                 .slots = 1,
                                 .context = TOKENS,
                                 .rows = TOKENS,
                                 .logits_rows = TOKENS};
    CHECK_OK(asy_exact_new(&x, m, &c, NULL));
    *ret_seen = (struct seen){.residual = asy_alloc(TOKENS * info->dim * sizeof(int32_t)),
                              .norm = asy_alloc(TOKENS * info->dim * sizeof(int32_t))};
    *ret_logits = 0;
    struct asy_exact_watch *w = watched ? asy_exact_watch_new(x, look, ret_seen) : NULL;
    for (uint32_t at = 0; at < TOKENS; at += chunk) {
        struct asy_exact_row rows[TOKENS];
        const int32_t *logits;
        uint32_t n = TOKENS - at < chunk ? TOKENS - at : chunk;
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = (struct asy_exact_row){ids[at + i], 0, at + i, true};
        }
        ret_seen->from = at;
        CHECK_OK(asy_exact_step(x, &logits, rows, n));
        for (uint32_t i = 0; i < n; i++) {
            const int32_t *row = logits + (size_t)i * asy_exact_logits_stride(m);
            for (uint32_t k = 0; k < info->vocab; k++) {
                *ret_logits += mix((uint64_t)(at + i) << 32 | k) * (uint32_t)row[k];
            }
        }
    }
    asy_exact_watch_free(w);
    asy_exact_free(x);
    for (uint32_t t = 1; t < 8; t++) {
        for (int p = 0; p < POINTS; p++) {
            ret_seen->sum[0][p] += ret_seen->sum[t][p];
            ret_seen->count[0][p] += ret_seen->count[t][p];
        }
    }
}

static double root(double x) {
    double r = x;
    for (int i = 0; i < 80; i++) {
        r = (r + x / r) / 2;
    }
    return r;
}

/* 2^7 * gain * x / |x| */
static void check_norm(const struct asy_exact_model *m, const struct seen *s) {
    const struct norm *n = &m->layers[0].attn;
    for (uint32_t t = 0; t < TOKENS; t++) {
        const int32_t *x = s->residual + (size_t)t * info->dim,
                      *y = s->norm + (size_t)t * info->dim;
        double squares = (double)n->eps;
        for (uint32_t i = 0; i < info->dim; i++) {
            squares += (double)x[i] * x[i];
        }
        for (uint32_t i = 0; i < info->dim; i++) {
            double want = 128.0 * n->gain[i] * x[i] / root(squares), off = y[i] - want;
            CHECK((off < 0 ? -off : off) < 2000); /* of up to 2^28 */
        }
    }
}

static void test_same(const struct asy_exact_shape *shape) {
    struct asy_exact_model *m;
    struct seen a, b, none;
    uint64_t logits_a, logits_b, logits;
    struct asy_bytes file = random_model_file(shape);
    CHECK_OK(asy_exact_model_open(&m, file, NULL));
    info = asy_exact_model_info(m);
    for (int i = 0; i < TOKENS; i++) {
        ids[i] = (uint32_t)(asy_test_random() % info->vocab);
    }
    run(m, 1, TOKENS, true, &a, &logits_a);
    run(m, 3, 7, true, &b, &logits_b);
    run(m, 1, 5, false, &none, &logits);
    CHECK_U64(logits_a, logits);
    CHECK_U64(logits_b, logits);
    CHECK_MEM(a.sum[0], b.sum[0], sizeof a.sum[0]);
    CHECK_MEM(a.residual, b.residual, TOKENS * info->dim * sizeof(int32_t));
    for (int p = 0; p < POINTS; p++) {
        uint64_t each = TOKENS * (uint64_t)info->layers, want = each;
        if (p == ASY_EXACT_AT_RESIDUAL) {
            want = each + TOKENS;
        } else if (p == ASY_EXACT_AT_FINAL_NORM || p == ASY_EXACT_AT_LOGITS) {
            want = TOKENS;
        } else if (p == ASY_EXACT_AT_OUT || p == ASY_EXACT_AT_DOWN) {
            want = info->post_norms ? each : 0;
        }
        CHECK_U64(a.count[0][p], want);
        CHECK_U64(b.count[0][p], want);
        CHECK_U64(none.count[0][p], 0);
    }
    check_norm(m, &a);
    const struct seen *all[3] = {&a, &b, &none};
    for (int i = 0; i < 3; i++) {
        asy_free(all[i]->residual);
        asy_free(all[i]->norm);
    }
    asy_exact_model_free(m);
    asy_free((void *)(uintptr_t)file.p);
}

int main(void) {
    struct asy_exact_shape shape = small_shape();
    test_same(&shape);
    shape.post_norms = false;
    shape.qk_norms = false;
    test_same(&shape);
    return asy_test_end();
}
