/* Every kernel that runs here computes the same integers as the scalar one, which is the
 * specification: on random inputs of every shape, and at the ends of every range. */
#include "base/test.h"
#include "exact/exact.h"
#include "exact/ops_priv.h"

/* The kernel under test, and the one that is right by definition. */
static const struct ops *fast, *const plain = &exact_ops_scalar;

static uint32_t below(uint32_t n) { return (uint32_t)(asy_test_random() % n); }
static uint32_t between(uint32_t low, uint32_t high) { return low + below(high - low + 1); }
static uint32_t multiple(uint32_t of, uint32_t max) { return of * between(1, max / of); }
static bool flip(void) { return (asy_test_random() & 1) != 0; }
static int32_t sign(void) { return flip() ? 1 : -1; }

static bool same(const char *what, const void *got, const void *want, size_t len) {
    const bool ok = memcmp(got, want, len) == 0;
    if (!ok) {
        fprintf(stderr, "%s, %s: differs\n", asy_exact_kernel_name(fast->kernel), what);
        asy_test_failures++;
    }
    return ok;
}

/* Numbers as operators see them: any int32 up to the cap, of all sizes, with outliers. */
static int32_t number(uint32_t bits) {
    return sign() * (int32_t)(asy_test_random() & (((uint64_t)1 << bits) - 1));
}
static void numbers(int32_t *x, uint32_t count) {
    const uint32_t shape = below(8), bits = between(1, 30);
    for (uint32_t i = 0; i < count; i++) {
        switch (shape) {
        case 0:
            x[i] = 0;
            break;
        case 1:
            x[i] = sign() * EXACT_CAP;
            break;
        case 2:
            x[i] = number(between(0, 30));
            break;
        default:
            x[i] = number(bits);
            break;
        }
    }
    if (shape == 3) {
        x[below(count)] = sign() * EXACT_CAP;
    }
}

/* ---- rows: norms, quantisation, rotation, activation ---- */

/* What a kernel's quantised row holds: its product with the identity. */
static void read_row(const struct ops *ops, const struct quant *q, uint32_t cols, bool wide,
                     int32_t *ret) {
    const uint32_t padded = pad_rows(cols);
    int8_t *w = asy_alloc((size_t)padded * cols);
    int16_t *m = asy_alloc(2 * padded), *s = asy_alloc(2 * padded);
    int32_t *sums = asy_alloc(4 * padded), *y = asy_alloc(4 * padded);
    for (uint32_t i = 0; i < cols; i++) {
        w[weight_at(cols, i, i)] = 16; /* which a wide row's rounding takes off again */
        sums[i] = 16;
        m[i] = 1 << 14;
        s[i] = wide ? 14 : 18;
    }
    const struct linear l = {.rows = cols,
                             .cols = cols,
                             .shift = wide ? 4 : 0,
                             .wide = wide,
                             .w = w,
                             .m = m,
                             .s = s,
                             .sums = sums};
    const struct quant unscaled = {.q = q->q, .mant = 1, .exp = 0};
    ops->linear(&l, &unscaled, 1, 0, padded, y, padded, false);
    memcpy(ret, y, 4 * cols);
    asy_free(w);
    asy_free(m);
    asy_free(s);
    asy_free(sums);
    asy_free(y);
}

static void same_row(const char *what, const struct quant *got, const struct quant *want,
                     uint32_t cols, bool wide) {
    static int32_t a[512], b[512];
    CHECK(got->mant == want->mant);
    CHECK(got->exp == want->exp);
    if (cols <= ASY_COUNT(a)) {
        read_row(fast, got, cols, wide, a);
        read_row(plain, want, cols, wide, b);
        same(what, a, b, 4 * cols);
    }
}

enum { MAX = ASY_EXACT_MAX_DIM };
static int32_t x[MAX], gain[MAX], row[MAX], y0[MAX], y1[MAX];
static uint8_t q0[2 * MAX], q1[2 * MAX];

static void rows(void) {
    for (uint32_t round = 0; round < 300; round++) {
        const uint32_t count = multiple(32, round % 30 == 0 ? MAX : 512);
        struct norm n = {.count = count, .gain = gain, .shift = (int32_t)below(129) - 64};
        n.eps = (int64_t)(asy_test_random() >> between(6, 63));
        numbers(x, count);
        for (uint32_t i = 0; i < count; i++) {
            gain[i] = round % 5 == 0 ? sign() * ((1 << 23) - 1) : number(between(1, 23));
        }
        const bool wide = flip(), add = flip();
        struct quant a = {.q = q0}, b = {.q = q1};
        fast->quant(x, count, wide, &a);
        plain->quant(x, count, wide, &b);
        same_row("quant", &a, &b, count, wide);
        fast->norm_quant(&n, x, wide, &a, row);
        plain->norm_quant(&n, x, wide, &b, row);
        same_row("norm_quant", &a, &b, count, wide);

        n.count = round % 2 == 0 ? count : multiple(16, ASY_EXACT_MAX_HEAD_DIM);
        numbers(x, n.count);
        numbers(y0, n.count);
        memcpy(y1, y0, sizeof y0);
        fast->norm_out(&n, x, y0, add, row);
        plain->norm_out(&n, x, y1, add, row);
        same("norm_out", y0, y1, sizeof y0);
        /* in place, as heads are normed */
        memcpy(y0, x, sizeof y0);
        memcpy(y1, x, sizeof y1);
        fast->norm_out(&n, y0, y0, false, row);
        plain->norm_out(&n, y1, y1, false, row);
        same("norm_out in place", y0, y1, sizeof y0);

        const uint32_t head_dim = multiple(16, ASY_EXACT_MAX_HEAD_DIM);
        int16_t table[ASY_EXACT_MAX_HEAD_DIM];
        for (uint32_t i = 0; i < head_dim; i++) {
            table[i] = round % 7 == 0   ? INT16_MIN
                       : round % 7 == 1 ? (int16_t)(sign() * (1 << 14)) /* halves */
                                        : (int16_t)((int32_t)below(65536) - 32768);
        }
        numbers(y0, head_dim);
        memcpy(y1, y0, sizeof y0);
        fast->rope(head_dim, table, y0);
        plain->rope(head_dim, table, y1);
        same("rope", y0, y1, sizeof y0);
    }
}

/* Every segment of both tables, at its ends and inside. */
static void gate(void) {
    enum { COUNT = 8 * 1024 };
    static int32_t gu[2 * COUNT], h0[COUNT], h1[COUNT];
    for (int act = 0; act < 2; act++) {
        /* what kernels make use of */
        const struct act_table *t = &exact_act_table[act];
        CHECK(t->at[EXACT_SEGMENTS - 2] == 1 << 20 && t->at[EXACT_SEGMENTS - 1] == 1 << 20);
        for (uint32_t i = 0; i + 1 < EXACT_SEGMENTS; i++) {
            CHECK(t->at[i + 1] - t->at[i] == t->diff[i]);
        }
        uint32_t n = 0;
        for (int32_t s = 0; s <= (int32_t)EXACT_SEGMENTS + 4; s++) {
            const int32_t at = s << t->bits, inside = at + (int32_t)below(1u << t->bits);
            const int32_t tie = at + (1 << (t->bits - 1));
            const int32_t points[] = {at - 1, at, at + 1, inside, tie, -at, -at - 1, -tie};
            for (size_t i = 0; i < ASY_COUNT(points); i++) {
                gu[2 * n++] = points[i];
            }
        }
        for (; n < COUNT; n++) {
            gu[2 * n] = n % 8 == 0 ? sign() * EXACT_CAP : number(n % 31);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            gu[2 * i + 1] = i % 9 == 0 ? sign() * EXACT_CAP : number(between(1, 30));
        }
        const enum asy_exact_activation activation = (enum asy_exact_activation)act;
        fast->gate(activation, gu, COUNT, h0);
        plain->gate(activation, gu, COUNT, h1);
        same("gate", h0, h1, sizeof h0);
        memset(h0, 7, sizeof h0);
        memset(h1, 7, sizeof h1);
        fast->gate(activation, gu, 32, h0);
        plain->gate(activation, gu, 32, h1);
        same("gate, no further than told", h0, h1, sizeof h0);
    }
}

/* ---- linear ---- */

/* extreme: sums as large as they can be */
static void linear(uint32_t n_rows, uint32_t cols, uint32_t count, bool wide, bool extreme) {
    const uint32_t padded = pad_rows(n_rows), stride = padded + 16 * below(3);
    const size_t y_len = 4ull * count * stride;
    int8_t *w = asy_alloc_aligned((size_t)padded * cols, EXACT_ALIGN);
    int16_t *m = asy_alloc(2 * padded), *s = asy_alloc(2 * padded);
    int32_t *bias = asy_alloc(4 * padded), *sums = asy_alloc(4 * padded);
    int32_t *in = asy_alloc(4 * cols), *a = asy_alloc(y_len), *b = asy_alloc(y_len);
    uint8_t *q = asy_alloc_aligned(4ull * count * cols, EXACT_ALIGN);
    struct quant *qa = asy_alloc(2 * count * sizeof *qa), *qb = qa + count;

    const bool alternate = flip();
    const int32_t side = sign();
    for (uint32_t n = 0; n < n_rows; n++) {
        for (uint32_t k = 0; k < cols; k++) {
            const int32_t value = !extreme                  ? (int32_t)below(255) - 127
                                  : alternate && k % 2 == 1 ? -127 * side
                                                            : 127 * side;
            w[weight_at(cols, n, k)] = (int8_t)value;
            sums[n] += value;
        }
        m[n] = (int16_t)(below(20) == 0 ? 0 : extreme ? 32767 : between(1 << 14, (1 << 15) - 1));
        /* mostly such that outputs have some bits, sometimes beyond every clamp */
        const uint32_t kind = below(24);
        s[n] = kind == 0 ? INT16_MIN : kind == 1 ? INT16_MAX : (int16_t)((int32_t)below(80) - 10);
        bias[n] = below(4) == 0 ? sign() * EXACT_CAP : number(between(1, 30));
    }
    const struct linear l = {.rows = n_rows,
                             .cols = cols,
                             .shift = wide ? wide_shift(cols) : 0,
                             .wide = wide,
                             .w = w,
                             .m = m,
                             .s = s,
                             .bias = flip() ? bias : NULL,
                             .sums = sums};
    for (uint32_t t = 0; t < count; t++) {
        numbers(in, cols);
        for (uint32_t k = 0; extreme && k < cols; k++) {
            in[k] = alternate && k % 2 == 1 ? -EXACT_CAP : EXACT_CAP;
        }
        qa[t].q = q + 4ull * t * cols;
        qb[t].q = qa[t].q + 2ull * cols;
        fast->quant(in, cols, wide, &qa[t]);
        plain->quant(in, cols, wide, &qb[t]);
        CHECK(qa[t].mant == qb[t].mant && qa[t].exp == qb[t].exp);
    }
    const uint32_t from = below(padded / EXACT_TILE) * EXACT_TILE;
    const bool add = flip();
    numbers(a, count * stride);
    memcpy(b, a, y_len);
    fast->linear(&l, qa, count, from, padded, a, stride, add);
    plain->linear(&l, qb, count, from, padded, b, stride, add);
    if (!same("linear", a, b, y_len)) {
        fprintf(stderr, "  rows %u, cols %u, count %u, wide %d, extreme %d\n", n_rows, cols, count,
                wide, extreme);
    }
    asy_free(w);
    asy_free(m);
    asy_free(s);
    asy_free(bias);
    asy_free(sums);
    asy_free(in);
    asy_free(a);
    asy_free(b);
    asy_free(q);
    asy_free(qa);
}

static void linears(void) {
    for (uint32_t count = 1; count <= 40; count++) {
        linear(between(1, 130), multiple(32, 192), count, count % 2 == 0, false);
        linear(64, multiple(32, 192), count, count % 2 == 1, false);
    }
    linear(64, 64, 129, false, false);
    linear(64, 64, 130, true, false);
    static const uint32_t cols[] = {32, 64, 544, 576, 1024, 1056, 8192, 8224, 14336, 28672};
    for (size_t i = 0; i < ASY_COUNT(cols); i++) {
        for (int wide = 0; wide < 2; wide++) {
            linear(64, cols[i], between(1, 3), wide, false);
            linear(64, cols[i], 1, wide, true);
        }
    }
    linear(64, 2048, 13, true, true);
    linear(64, 2048, 13, false, true);
    linear(64, ASY_EXACT_MAX_INNER, 1, false, true);
    linear(64, ASY_EXACT_MAX_INNER, 1, true, true);
}

/* ---- attention ---- */

struct cache {
    struct kv kv;
    uint32_t head_dim, positions;
};

/* positions: padded to a group; everything begins as rubbish, as a slot does that was used before
 */
static void cache_init(struct cache *c, uint32_t head_dim, uint32_t positions) {
    const uint32_t padded = (positions + 15) / 16 * 16;
    const size_t len = (size_t)padded * head_dim;
    *c = (struct cache){.head_dim = head_dim, .positions = padded};
    c->kv.k = asy_alloc_aligned(len, EXACT_ALIGN);
    c->kv.v = asy_alloc_aligned(len, EXACT_ALIGN);
    c->kv.k_scale = asy_alloc(4 * padded);
    c->kv.k_sum = asy_alloc(4 * padded);
    c->kv.v_max = asy_alloc(4 * padded);
    asy_test_fill(c->kv.k, len);
    asy_test_fill(c->kv.v, len);
    asy_test_fill(c->kv.k_scale, 4 * padded);
    asy_test_fill(c->kv.k_sum, 4 * padded);
    asy_test_fill(c->kv.v_max, 4 * padded);
}
static void cache_done(struct cache *c) {
    asy_free(c->kv.k);
    asy_free(c->kv.v);
    asy_free(c->kv.k_scale);
    asy_free(c->kv.k_sum);
    asy_free(c->kv.v_max);
}
static void cache_copy(struct cache *to, const struct cache *from) {
    const size_t len = (size_t)from->positions * from->head_dim;
    memcpy(to->kv.k, from->kv.k, len);
    memcpy(to->kv.v, from->kv.v, len);
    memcpy(to->kv.k_scale, from->kv.k_scale, 4 * from->positions);
    memcpy(to->kv.k_sum, from->kv.k_sum, 4 * from->positions);
    memcpy(to->kv.v_max, from->kv.v_max, 4 * from->positions);
}
static void cache_same(const struct cache *a, const struct cache *b) {
    const size_t len = (size_t)a->positions * a->head_dim;
    same("keys", a->kv.k, b->kv.k, len);
    same("values", a->kv.v, b->kv.v, len);
    same("k_scale", a->kv.k_scale, b->kv.k_scale, 4 * a->positions);
    same("k_sum", a->kv.k_sum, b->kv.k_sum, 4 * a->positions);
    same("v_max", a->kv.v_max, b->kv.v_max, 4 * a->positions);
}

static void put_random(struct cache *c, uint32_t count) {
    struct cache want;
    cache_init(&want, c->head_dim, c->positions);
    cache_copy(&want, c);
    int32_t k[ASY_EXACT_MAX_HEAD_DIM], v[ASY_EXACT_MAX_HEAD_DIM];
    const uint32_t shape = below(7), sink = below(count), bits = between(8, 26);
    const int32_t side = sign();
    int32_t level = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i % EXACT_BLOCK == 0) {
            level = side * (1 << (below(3) == 0 ? 0 : between(27, 29)));
        }
        numbers(k, c->head_dim);
        numbers(v, c->head_dim);
        for (uint32_t e = 0; shape < 6 && e < c->head_dim; e++) {
            k[e] = number(bits);
            v[e] = number(bits);
            switch (shape) {
            case 0: /* one key takes nearly all */
                k[e] = i == sink ? 1 << 16 : 1 << 12;
                break;
            case 1: /* the output is at the cap */
                v[e] = side * EXACT_CAP;
                break;
            case 2: /* blocks of all scales */
                v[e] = number(1 + i / 64 % 30);
                break;
            case 3: /* blocks so far apart that one nearly vanishes, or quite */
                k[e] = 1 << 14;
                v[e] = level;
                break;
            default:
                break;
            }
        }
        fast->put(c->head_dim, &c->kv, k, v, i);
        plain->put(c->head_dim, &want.kv, k, v, i);
    }
    cache_same(c, &want);
    cache_done(&want);
}

/* Random entries without the cost of quantising; all in range, those past count too. */
static void put_rubbish(struct cache *c) {
    for (size_t i = 0; i < (size_t)c->positions * c->head_dim; i++) {
        c->kv.k[i] = c->kv.k[i] == -128 ? 0 : c->kv.k[i];
        c->kv.v[i] = c->kv.v[i] == -128 ? 0 : c->kv.v[i];
    }
    for (uint32_t p = 0; p < c->positions; p++) {
        c->kv.k_sum[p] = 0;
        for (uint32_t i = 0; i < c->head_dim; i++) {
            c->kv.k_sum[p] += c->kv.k[key_at(c->head_dim, p, i)];
        }
        c->kv.k_scale[p] = key_scale((int32_t)between(1 << 15, (1 << 16) - 1), -EXACT_UNIT - 1);
        c->kv.v_max[p] = (int32_t)between(1, EXACT_CAP);
    }
}

static void attend(const struct cache *c, uint32_t positions, uint32_t count) {
    const uint32_t stride = (positions + EXACT_BLOCK - 1) / EXACT_BLOCK * EXACT_BLOCK;
    const struct scratch s = {.score = asy_alloc_aligned(4ull * count * stride, EXACT_ALIGN),
                              .share = asy_alloc_aligned(8ull * stride, EXACT_ALIGN),
                              .stride = stride};
    asy_test_fill(s.score, 4ull * count * stride);
    int32_t q[EXACT_QUERIES][ASY_EXACT_MAX_HEAD_DIM], o0[EXACT_QUERIES][ASY_EXACT_MAX_HEAD_DIM],
        o1[EXACT_QUERIES][ASY_EXACT_MAX_HEAD_DIM];
    struct query a[EXACT_QUERIES], b[EXACT_QUERIES];
    asy_test_fill(o0, sizeof o0);
    memcpy(o1, o0, sizeof o0);
    for (uint32_t i = 0; i < count; i++) {
        numbers(q[i], c->head_dim);
        const uint32_t pos = i == 0 ? positions - 1 : below(positions);
        const uint32_t first = below(3) != 0 ? 0 : below(pos + 1);
        a[i] = (struct query){.q = q[i], .o = o0[i], .first = first, .pos = pos};
        b[i] = a[i];
        b[i].o = o1[i];
    }
    fast->attend(c->head_dim, &c->kv, a, count, &s);
    plain->attend(c->head_dim, &c->kv, b, count, &s);
    if (!same("attend", o0, o1, sizeof o0)) {
        fprintf(stderr, "  head dim %u, %u positions, %u queries\n", c->head_dim, positions, count);
    }
    asy_free(s.score);
    asy_free(s.share);
}

static void attention(void) {
    for (uint32_t round = 0; round < 200; round++) {
        const uint32_t head_dim = 16 * (1 + round % 16);
        const uint32_t positions = round % 4 == 0   ? between(1, 40)
                                   : round % 4 == 1 ? 255 + below(4)
                                                    : between(1, 700);
        struct cache c;
        cache_init(&c, head_dim, positions);
        put_random(&c, positions);
        attend(&c, positions, between(1, EXACT_QUERIES));
        cache_done(&c);
    }
    for (uint32_t round = 0; round < 4; round++) {
        struct cache c;
        cache_init(&c, 16 * between(1, 8), 5000);
        put_random(&c, 5000);
        attend(&c, between(3000, 5000), between(1, 4));
        cache_done(&c);
    }
    struct cache c;
    cache_init(&c, 64, ASY_EXACT_MAX_POSITIONS);
    put_rubbish(&c);
    attend(&c, ASY_EXACT_MAX_POSITIONS, 1);
    cache_done(&c);
}

/* ---- which kernels there are ---- */

static void names(void) {
    for (int k = ASY_EXACT_AUTO; k <= ASY_EXACT_NEON; k++) {
        const enum asy_exact_kernel kernel = (enum asy_exact_kernel)k;
        enum asy_exact_kernel parsed;
        CHECK_OK(asy_exact_kernel_parse(&parsed, asy_bytes_cstr(asy_exact_kernel_name(kernel))));
        CHECK(parsed == kernel);
        const struct ops *ops = exact_ops(kernel);
        CHECK((ops != NULL) == asy_exact_kernel_runs(kernel));
        CHECK(ops == NULL || kernel == ASY_EXACT_AUTO || ops->kernel == kernel);
    }
    enum asy_exact_kernel parsed;
    CHECK_ERR(asy_exact_kernel_parse(&parsed, asy_bytes_cstr("AVX2")), ASY_ERR_NOT_FOUND);
    CHECK(asy_exact_kernel_runs(ASY_EXACT_SCALAR) && asy_exact_kernel_runs(ASY_EXACT_AUTO));
}

int main(void) {
    names();
    int tested = 0;
    for (int k = ASY_EXACT_AVX2; k <= ASY_EXACT_NEON; k++) {
        const char *name = asy_exact_kernel_name((enum asy_exact_kernel)k);
        fast = exact_ops((enum asy_exact_kernel)k);
        if (fast == NULL) {
            printf("%s does not run here\n", name);
            continue;
        }
        rows();
        gate();
        linears();
        attention();
        tested++;
        printf("%s is done\n", name);
    }
    if (tested == 0 && asy_test_failures == 0) {
        return asy_test_skip("no kernel but the scalar one runs here");
    }
    return asy_test_end();
}
