/* The plain C operators against schema/vectors/exact/ops.json. Runs in the repository's root.
 *
 * With --serve it reads cases from standard input, one JSON object after the other, and answers
 * each with a line of JSON: so tests/test_exact_model.py compares fresh random cases, and
 * schema/vectors/exact/gen.py makes the file. */
#include <jansson.h>

#include "base/test.h"
#include "exact/ops_priv.h"

static const struct ops *const ops = &exact_ops_scalar;

/* ---- reading ---- */

static const json_t *get(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    if (value == NULL) {
        fprintf(stderr, "a case has no %s\n", name);
        abort();
    }
    return value;
}
static int64_t number(const json_t *object, const char *name) {
    ASY_ASSERT(json_is_integer(get(object, name)));
    return json_integer_value(get(object, name));
}
static bool has(const json_t *object, const char *name) {
    return json_object_get(object, name) != NULL;
}
static bool flag(const json_t *object, const char *name) {
    return json_is_true(json_object_get(object, name));
}

/* A vector: integers, or pairs [x, n]: n times the integer, or the integers, x. Returns how many;
 * writes them where ret is not NULL. */
static uint32_t expand(const json_t *list, int64_t *ret) {
    size_t i, at = 0;
    json_t *item;
    json_array_foreach(list, i, item) {
        const json_t *what = json_is_array(item) ? json_array_get(item, 0) : item;
        int64_t times = json_is_array(item) ? json_integer_value(json_array_get(item, 1)) : 1;
        size_t len = json_is_array(what) ? json_array_size(what) : 1;
        for (int64_t k = 0; k < times; k++) {
            for (size_t j = 0; j < len; j++, at++) {
                if (ret != NULL) {
                    const json_t *x = json_is_array(what) ? json_array_get(what, j) : what;
                    ASY_ASSERT(json_is_integer(x));
                    ret[at] = json_integer_value(x);
                }
            }
        }
    }
    return (uint32_t)at;
}

static int64_t *i64s(const json_t *list, uint32_t *ret_count) {
    ASY_ASSERT(json_is_array(list));
    *ret_count = expand(list, NULL);
    int64_t *out = asy_alloc(sizeof(int64_t) * *ret_count);
    expand(list, out);
    return out;
}
/* With room for a tile's padding behind it. */
static int32_t *i32s(const json_t *list, uint32_t *ret_count) {
    int64_t *wide = i64s(list, ret_count);
    int32_t *out = asy_alloc(sizeof(int32_t) * (*ret_count + EXACT_TILE));
    for (uint32_t i = 0; i < *ret_count; i++) {
        ASY_ASSERT(wide[i] >= INT32_MIN && wide[i] <= INT32_MAX);
        out[i] = (int32_t)wide[i];
    }
    asy_free(wide);
    return out;
}
static int16_t *i16s(const json_t *list, uint32_t *ret_count) {
    int64_t *wide = i64s(list, ret_count);
    int16_t *out = asy_alloc(sizeof(int16_t) * (*ret_count + EXACT_TILE));
    for (uint32_t i = 0; i < *ret_count; i++) {
        ASY_ASSERT(wide[i] >= INT16_MIN && wide[i] <= INT16_MAX);
        out[i] = (int16_t)wide[i];
    }
    asy_free(wide);
    return out;
}

/* ---- writing ---- */

static void set_number(json_t *object, const char *name, int64_t value) {
    json_object_set_new(object, name, json_integer(value));
}
static void set_list(json_t *object, const char *name, const int32_t *at, uint32_t count) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(list, json_integer(at[i]));
    }
    json_object_set_new(object, name, list);
}
static void set_quant(json_t *object, const struct quant *q, uint32_t count) {
    const int16_t *at = (const int16_t *)(const void *)q->q;
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(list, json_integer(at[i]));
    }
    json_object_set_new(object, "q", list);
    set_number(object, "mant", q->mant);
    set_number(object, "exp", q->exp);
}

/* ---- one function per operator: case in, result out ---- */

static void do_quant(const json_t *c, json_t *out) {
    uint32_t count;
    int32_t *y = i32s(get(c, "y"), &count);
    struct quant q = {.q = asy_alloc(2u * count)};
    ops->quant(y, count, flag(c, "wide"), &q);
    set_quant(out, &q, count);
    asy_free(q.q);
    asy_free(y);
}

static void do_norm_quant(const json_t *c, json_t *out) {
    uint32_t count, gains;
    int32_t *x = i32s(get(c, "x"), &count), *gain = i32s(get(c, "gain"), &gains);
    ASY_ASSERT(gains == count);
    struct norm n = {.count = count, .gain = gain, .eps = number(c, "eps")};
    int32_t *row = asy_alloc(sizeof(int32_t) * count);
    struct quant q = {.q = asy_alloc(2u * count)};
    ops->norm_quant(&n, x, flag(c, "wide"), &q, row);
    set_quant(out, &q, count);
    asy_free(q.q);
    asy_free(row);
    asy_free(gain);
    asy_free(x);
}

/* With y: y is added to. */
static void do_norm_out(const json_t *c, json_t *out) {
    uint32_t count, gains;
    int32_t *x = i32s(get(c, "x"), &count), *gain = i32s(get(c, "gain"), &gains);
    ASY_ASSERT(gains == count);
    struct norm n = {.count = count,
                     .gain = gain,
                     .eps = number(c, "eps"),
                     .shift = (int32_t)number(c, "shift")};
    bool add = has(c, "y");
    int32_t *y = add ? i32s(get(c, "y"), &count) : asy_alloc(sizeof(int32_t) * count);
    ASY_ASSERT(n.count == count);
    int32_t *row = asy_alloc(sizeof(int32_t) * count);
    ops->norm_out(&n, x, y, add, row);
    set_list(out, "y", y, count);
    asy_free(row);
    asy_free(y);
    asy_free(gain);
    asy_free(x);
}

static void do_linear(const json_t *c, json_t *out) {
    const json_t *w = get(c, "w");
    struct linear l = {.rows = (uint32_t)json_array_size(w), .wide = flag(c, "wide")};
    int16_t *q = i16s(get(c, "q"), &l.cols);
    ASY_ASSERT(l.cols % 32 == 0);
    l.shift = wide_shift(l.cols);
    uint32_t padded = pad_rows(l.rows), count;
    int8_t *tiles = asy_alloc((size_t)padded * l.cols);
    for (uint32_t n = 0; n < l.rows; n++) {
        int16_t *row = i16s(json_array_get(w, n), &count);
        ASY_ASSERT(count == l.cols);
        for (uint32_t k = 0; k < l.cols; k++) {
            ASY_ASSERT(row[k] >= -127 && row[k] <= 127);
            tiles[weight_at(l.cols, n, k)] = (int8_t)row[k];
        }
        asy_free(row);
    }
    int16_t *m = i16s(get(c, "m"), &count), *s = i16s(get(c, "s"), &count);
    int32_t *bias = has(c, "bias") ? i32s(get(c, "bias"), &count) : NULL;
    int32_t *y = has(c, "y") ? i32s(get(c, "y"), &count) : asy_alloc(sizeof(int32_t) * padded);
    ASY_ASSERT(count == l.rows);
    l.w = tiles;
    l.m = m;
    l.s = s;
    l.bias = bias;
    struct quant x = {.q = (uint8_t *)(void *)q,
                      .mant = (int32_t)number(c, "mant"),
                      .exp = (int32_t)number(c, "exp")};
    ops->linear(&l, &x, 1, 0, padded, y, padded, has(c, "y"));
    set_list(out, "y", y, l.rows);
    asy_free(y);
    asy_free(bias);
    asy_free(s);
    asy_free(m);
    asy_free(tiles);
    asy_free(q);
}

static void do_embed(const json_t *c, json_t *out) {
    uint32_t count;
    int32_t *w = i32s(get(c, "w"), &count);
    for (uint32_t i = 0; i < count; i++) {
        w[i] = embed_value((int8_t)w[i], (int16_t)number(c, "em"), (int16_t)number(c, "es"));
    }
    set_list(out, "x", w, count);
    asy_free(w);
}

static void do_rotation(const json_t *c, json_t *out) {
    uint32_t count;
    int32_t *coarse = i32s(get(c, "coarse"), &count), *fine = i32s(get(c, "fine"), &count);
    int16_t entry[2];
    rope_entry(coarse, fine, entry);
    set_number(out, "cos", entry[0]);
    set_number(out, "sin", entry[1]);
    asy_free(coarse);
    asy_free(fine);
}

static void do_rotate(const json_t *c, json_t *out) {
    uint32_t count, entries;
    int32_t *x = i32s(get(c, "x"), &count);
    int16_t *table = i16s(get(c, "table"), &entries);
    ASY_ASSERT(entries == count);
    ops->rope(count, table, x);
    set_list(out, "x", x, count);
    asy_free(table);
    asy_free(x);
}

static struct kv kv_new(uint32_t head_dim, uint32_t positions) {
    size_t padded = (positions + 15u) / 16 * 16;
    return (struct kv){.k = asy_alloc(padded * head_dim),
                       .v = asy_alloc(padded * head_dim),
                       .k_scale = asy_alloc(sizeof(int32_t) * padded),
                       .k_sum = asy_alloc(sizeof(int32_t) * padded),
                       .v_max = asy_alloc(sizeof(int32_t) * padded)};
}
static void kv_free(struct kv *kv) {
    asy_free(kv->k);
    asy_free(kv->v);
    asy_free(kv->k_scale);
    asy_free(kv->k_sum);
    asy_free(kv->v_max);
}

static void do_put(const json_t *c, json_t *out) {
    uint32_t head_dim, count, pos = 5;
    int32_t *k = i32s(get(c, "k"), &head_dim), *v = i32s(get(c, "v"), &count);
    ASY_ASSERT(count == head_dim);
    struct kv kv = kv_new(head_dim, pos + 1);
    ops->put(head_dim, &kv, k, v, pos);
    int32_t sum = 0;
    for (uint32_t i = 0; i < head_dim; i++) {
        k[i] = kv.k[key_at(head_dim, pos, i)];
        v[i] = kv.v[value_at(head_dim, pos, i)];
        sum += k[i];
    }
    CHECK(sum == kv.k_sum[pos]);
    set_list(out, "k", k, head_dim);
    set_list(out, "v", v, head_dim);
    set_number(out, "ka", kv.k_scale[pos] & 0xffff);
    set_number(out, "ke", kv.k_scale[pos] >> 16);
    set_number(out, "va", kv.v_max[pos]);
    kv_free(&kv);
    asy_free(k);
    asy_free(v);
}

/* order: for each position the number of the row that it holds. With details: scores, shares. */
static void do_attend(const json_t *c, json_t *out) {
    uint32_t head_dim, count, first = (uint32_t)number(c, "first"),
                              pos = (uint32_t)number(c, "pos");
    int32_t *q = i32s(get(c, "q"), &head_dim), *order = i32s(get(c, "order"), &count);
    ASY_ASSERT(count == pos + 1);
    const json_t *rows = get(c, "rows");
    size_t row_count = json_array_size(rows);
    int32_t **k = asy_alloc(sizeof(*k) * row_count), **v = asy_alloc(sizeof(*v) * row_count);
    for (size_t i = 0; i < row_count; i++) {
        k[i] = i32s(get(json_array_get(rows, i), "k"), &count);
        ASY_ASSERT(count == head_dim);
        v[i] = i32s(get(json_array_get(rows, i), "v"), &count);
        ASY_ASSERT(count == head_dim);
    }
    struct kv kv = kv_new(head_dim, pos + 1);
    for (uint32_t j = first; j <= pos; j++) {
        ASY_ASSERT((size_t)order[j] < row_count);
        ops->put(head_dim, &kv, k[order[j]], v[order[j]], j);
    }
    size_t padded = ((size_t)pos / EXACT_BLOCK + 1) * EXACT_BLOCK;
    struct scratch scratch = {.score = asy_alloc(sizeof(int32_t) * padded * EXACT_QUERIES),
                              .stride = (uint32_t)padded,
                              .share = asy_alloc(sizeof(uint64_t) * padded),
                              .row = asy_alloc(sizeof(int32_t) * ASY_EXACT_MAX_DIM)};
    int32_t *o = asy_alloc(sizeof(int32_t) * head_dim);
    struct query query = {.q = q, .o = o, .first = first, .pos = pos};
    ops->attend(head_dim, &kv, &query, 1, &scratch);
    set_list(out, "o", o, head_dim);
    if (flag(c, "details")) {
        (void)exact_shares(head_dim, &kv, q, first, pos, &scratch);
        json_t *shares = json_array();
        for (uint32_t j = first; j <= pos; j++) {
            json_array_append_new(shares, json_integer((json_int_t)scratch.share[j]));
        }
        json_object_set_new(out, "share", shares);
        set_list(out, "score", scratch.score + first, pos - first + 1);
    }
    asy_free(o);
    asy_free(scratch.score);
    asy_free(scratch.share);
    asy_free(scratch.row);
    kv_free(&kv);
    for (size_t i = 0; i < row_count; i++) {
        asy_free(k[i]);
        asy_free(v[i]);
    }
    asy_free(k);
    asy_free(v);
    asy_free(order);
    asy_free(q);
}

static void do_gate(const json_t *c, json_t *out) {
    uint32_t count;
    int32_t *gu = i32s(get(c, "gu"), &count);
    int32_t *h = asy_alloc(sizeof(int32_t) * count);
    ops->gate((enum asy_exact_activation)number(c, "activation"), gu, count / 2, h);
    set_list(out, "h", h, count / 2);
    asy_free(h);
    asy_free(gu);
}

static void do_root(const json_t *c, json_t *out) {
    int half;
    set_number(out, "r", inv_sqrt((uint64_t)number(c, "sum"), &half));
    set_number(out, "half", half);
}

static void do_division(const json_t *c, json_t *out) {
    struct divide d = attend_divide((uint64_t)number(c, "sum"), (uint32_t)number(c, "keys"),
                                    (int)number(c, "bits"));
    set_number(out, "factor", d.factor);
    set_number(out, "shift", d.shift);
}

static const struct {
    const char *name;
    void (*run)(const json_t *c, json_t *out);
} operators[] = {
    {"embed", do_embed},       {"quant", do_quant},       {"norm_quant", do_norm_quant},
    {"norm_out", do_norm_out}, {"linear", do_linear},     {"rotation", do_rotation},
    {"rotate", do_rotate},     {"put", do_put},           {"attend", do_attend},
    {"gate", do_gate},         {"inverse_root", do_root}, {"division", do_division},
};

static json_t *evaluate(const json_t *c) {
    const char *name = json_string_value(get(c, "op"));
    json_t *out = json_object();
    for (size_t i = 0; i < ASY_COUNT(operators); i++) {
        if (name != NULL && strcmp(name, operators[i].name) == 0) {
            operators[i].run(c, out);
            return out;
        }
    }
    fprintf(stderr, "no operator %s\n", name != NULL ? name : "");
    abort();
}

/* ---- the two ways to run ---- */

/* The lists in `want` may be packed. */
static bool same(const json_t *got, const json_t *want) {
    const char *name;
    json_t *value;
    bool equal = json_object_size(got) == json_object_size(want);
    json_object_foreach((json_t *)(uintptr_t)want, name, value) {
        const json_t *other = get(got, name);
        if (!json_is_array(value)) {
            equal = equal && json_equal(value, other);
            continue;
        }
        uint32_t count, wanted;
        int64_t *a = i64s(other, &count), *b = i64s(value, &wanted);
        equal = equal && count == wanted && memcmp(a, b, sizeof(int64_t) * count) == 0;
        asy_free(a);
        asy_free(b);
    }
    return equal;
}

static int serve(void) {
    json_error_t error;
    json_t *c;
    while ((c = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, &error)) != NULL) {
        json_t *out = evaluate(c);
        json_dumpf(out, stdout, JSON_COMPACT);
        fputc('\n', stdout);
        fflush(stdout);
        json_decref(out);
        json_decref(c);
    }
    return feof(stdin) ? asy_test_end() : 1;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--serve") == 0) {
        return serve();
    }
    json_error_t error;
    json_t *c, *root = json_load_file("schema/vectors/exact/ops.json", 0, &error);
    if (root == NULL) {
        fprintf(stderr, "ops.json: %s\n", error.text);
        return 1;
    }
    size_t i;
    json_array_foreach(root, i, c) {
        json_t *out = evaluate(c);
        if (!same(out, get(c, "out"))) {
            fprintf(stderr, "case %zu, %s: differs\n", i, json_string_value(get(c, "op")));
            asy_test_failures++;
        }
        json_decref(out);
    }
    CHECK(json_array_size(root) > 200);
    json_decref(root);
    return asy_test_end();
}
