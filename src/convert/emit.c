/* emit.c: the mathematics of a conversion.
 *
 * A linear computes, in the model's own numbers, y = sum of w[k] x[k]. The engine has x as integers
 * q[k] with one scale, w as integers with one scale per row; all other factors on the way make one
 * constant per row: its scale times `C` below. Factors of columns are multiplied into the weights
 * before they are rounded.
 *
 * A quantising norm gives the engine x[k] * h[k] / |x| with h = gain * 2^shift as an integer, so
 * sqrt(dim) and 2^-shift go into C, and what rounding h to an integer lost into the column.
 */
#include "convert/emit_priv.h"

#include <math.h>

#include "convert/number_priv.h"

#define LOG2_E 0x1.71547652b82fep+0
enum { UNIT = 14, LOGIT_UNIT = 16, CAP = (1 << 30) - 1 };

struct emit {
    struct asy_exact_writer *writer;
    const struct source *s;
    const struct recipe *r;
    const struct energies *m;
    struct asy_why *why;
    float *row;    /* [most columns] */
    int8_t *q;     /* the same */
    double *col;   /* the same: factors of columns */
    double *x, *w; /* the same: energies of an input's channels, and of the columns behind it */
    int32_t *gain;
    float *vector;
    /* Scales of the layer at hand; 1 where nothing is folded. */
    double *norm;  /* [dim] a norm's outputs are divided by these */
    double *value; /* [keys] rows of V are */
    double *gated; /* [inner] rows of up are */
    double *pair;  /* [keys] rows of K are, those of Q are multiplied */
};

static uint32_t queries_of(const struct source *s) { return s->heads * s->head_dim; }
static uint32_t keys_of(const struct source *s) { return s->kv_heads * s->head_dim; }

/* What a quantised input of a linear with so many columns is divided by. */
static double divisor(bool wide, uint32_t cols) {
    int bits = 0;
    for (uint32_t v = cols - 1; v != 0; v >>= 1) {
        bits++;
    }
    int shift = bits - 9 > 4 ? bits - 9 : 4;
    return wide ? ldexp(32512.0, -shift) : 127.0;
}

static void fill(double *v, size_t count, double x) {
    for (size_t i = 0; i < count; i++) {
        v[i] = x;
    }
}

/* ---- rows ---- */

struct rows {
    enum asy_exact_linear linear;
    uint32_t layer;
    const struct part *weight, *bias;
    uint32_t count, cols;
    uint32_t first, step; /* row n is row first + n * step of the engine's linear */
    bool rotated;         /* row n stands elsewhere in the file: see in_file */
    const double *col;    /* NULL: 1 */
    const double *row;    /* NULL: 1 */
    bool divide;          /* by row[], not multiplied */
    double factor;        /* of all rows and biases */
    double constant;      /* C */
    int unit;             /* of the output, for biases */
};

/* Where row n of a head stands in the file: pairs are (i, i + hd / 2) there, (2i, 2i + 1) here. */
static uint32_t in_file(const struct source *s, uint32_t n) {
    uint32_t hd = s->head_dim, i = n % hd;
    return n - i + i / 2 + i % 2 * (hd / 2);
}

static double factor_of(const struct rows *r, uint32_t n) {
    return r->row == NULL ? r->factor : r->divide ? r->factor / r->row[n] : r->factor * r->row[n];
}

/* OVERFLOW: the number needs a coarser unit, since shifts are at least 1. That can only be so for
 * the embedding: the others' input has a scale of its own. */
static enum asy_err put_row(struct emit *e, const struct rows *r, uint32_t n, double factor,
                            double bias) {
    double max = 0;
    for (uint32_t k = 0; k < r->cols; k++) {
        double w = fabs((double)e->row[k] * factor * (r->col != NULL ? r->col[k] : 1.0));
        max = w > max ? w : max;
    }
    double inverse = max > 0 ? 127.0 / max : 0.0;
    for (uint32_t k = 0; k < r->cols; k++) {
        double w = (double)e->row[k] * factor * (r->col != NULL ? r->col[k] : 1.0);
        e->q[k] = (int8_t)rint(w * inverse);
    }
    struct dyadic d = convert_dyadic(max / 127.0 * r->constant);
    bool shared = r->linear == ASY_EXACT_HEAD && e->s->tied; /* the embedding's rows are there */
    if (r->linear == ASY_EXACT_EMBED && d.m != 0 && d.s < 1) {
        return asy_why_set(e->why, ASY_ERR_OVERFLOW, "residual-bits",
                           "the embedding of token %u is too large for the residual's unit", n);
    }
    asy_exact_write_row(e->writer, r->linear, r->layer, r->first + n * r->step,
                        shared ? NULL : e->q, d.m, d.s, (int32_t)bias);
    return ASY_OK;
}

static enum asy_err put_rows(struct emit *e, const struct rows *r) {
    float *bias = NULL;
    enum asy_err err = ASY_OK;
    if (r->bias != NULL && r->bias->tensor != NULL) {
        bias = asy_alloc(r->count * sizeof *bias);
        err = source_vector(e->s, bias, r->bias, r->count, e->why);
    }
    for (uint32_t n = 0; n < r->count && err == ASY_OK; n++) {
        uint32_t from = r->rotated && e->s->neox ? in_file(e->s, n) : n;
        double factor = factor_of(r, n);
        double b = bias != NULL ? rint(ldexp((double)bias[from] * factor, r->unit)) : 0.0;
        if (fabs(b) > CAP) {
            err =
                asy_why_set(e->why, ASY_ERR_RANGE, NULL, "layer %u: a bias is too large", r->layer);
        } else {
            err = source_row(e->s, e->row, r->weight, from, e->why);
        }
        if (err == ASY_OK) {
            err = put_row(e, r, n, factor, b);
        }
    }
    asy_free(bias);
    return err;
}

/* Adds the squares of each column over some rows, their factors included, to e->w. */
static enum asy_err add_columns(struct emit *e, const struct rows *r) {
    for (uint32_t n = 0; n < r->count; n++) {
        double factor = factor_of(r, n);
        ASY_TRY(source_row(e->s, e->row, r->weight, r->rotated && e->s->neox ? in_file(e->s, n) : n,
                           e->why));
        for (uint32_t k = 0; k < r->cols; k++) {
            double w = (double)e->row[k] * factor;
            e->w[k] += w * w;
        }
    }
    return ASY_OK;
}

/* ---- folding ---- */

/* A thousandth of the mean is as good as nothing. */
static void raise_small(double *v, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += v[i];
    }
    double least = sum > 0 ? ldexp(sum / (double)count, -20) : 1;
    for (size_t i = 0; i < count; i++) {
        v[i] = v[i] > least ? v[i] : least;
    }
}

/* What an input's channels are divided by, and the columns behind them multiplied with, from the
 * energies e->x and e->w. With 8 bits each, errors are least near the square root of the ratio of
 * their lengths; where the input has 16, only the weights' count, and the fourth root is best. */
static void make_scales(struct emit *e, double *ret, size_t count, bool wide) {
    raise_small(e->x, count);
    raise_small(e->w, count);
    for (size_t i = 0; i < count; i++) {
        double root = sqrt(sqrt(e->x[i] / e->w[i]));
        ret[i] = wide ? sqrt(root) : root;
    }
    convert_normalise(ret, count);
}

static bool wide(const struct emit *e, uint32_t l, enum asy_exact_linear linear) {
    return e->r->wide[l] >> linear & 1;
}

static enum asy_err fold_down(struct emit *e, uint32_t l) {
    const struct source *s = e->s;
    const asy_u128 *x = e->m->gated + (size_t)l * s->inner;
    struct rows down = {
        .weight = &s->layer[l].weight[DOWN], .count = s->dim, .cols = s->inner, .factor = 1};
    fill(e->w, s->inner, 0);
    ASY_TRY(add_columns(e, &down));
    for (uint32_t k = 0; k < s->inner; k++) {
        e->x[k] = (double)x[k];
    }
    make_scales(e, e->gated, s->inner, wide(e, l, ASY_EXACT_DOWN));
    return ASY_OK;
}

/* Heads of queries that share keys share the values' scales, too. */
static enum asy_err fold_out(struct emit *e, uint32_t l) {
    const struct source *s = e->s;
    uint32_t hd = s->head_dim, group = s->heads / s->kv_heads;
    const asy_u128 *x = e->m->attention + (size_t)l * queries_of(s);
    struct rows out = {
        .weight = &s->layer[l].weight[OUT], .count = s->dim, .cols = queries_of(s), .factor = 1};
    fill(e->w, queries_of(s), 0);
    ASY_TRY(add_columns(e, &out));
    for (uint32_t k = 0; k < keys_of(s); k++) {
        asy_u128 sum_x = 0;
        double sum_w = 0;
        for (uint32_t g = 0; g < group; g++) {
            uint32_t i = (k / hd * group + g) * hd + k % hd;
            sum_x += x[i];
            sum_w += e->w[i];
        }
        /* no index above was smaller than k: what is overwritten is not needed any more */
        e->x[k] = (double)sum_x;
        e->w[k] = sum_w;
    }
    make_scales(e, e->value, keys_of(s), wide(e, l, ASY_EXACT_OUT));
    return ASY_OK;
}

/* Both elements of a rotated pair get one scale; with norms on queries and keys all heads do, since
 * their gain is one for all. */
static void fold_balance(struct emit *e, uint32_t l) {
    const struct source *s = e->s;
    uint32_t hd = s->head_dim, group = s->heads / s->kv_heads;
    const asy_u128 *q = e->m->head + (size_t)l * e->m->heads, *k = q + queries_of(s);
    for (uint32_t n = 0; n < keys_of(s); n++) {
        asy_u128 sum_q = 0, sum_k = 0;
        for (uint32_t head = 0; head < s->kv_heads; head++) {
            if (head != n / hd && !s->qk_norms) {
                continue;
            }
            for (uint32_t c = 0; c < 2; c++) {
                uint32_t i = n % hd / 2 * 2 + c;
                sum_k += k[head * hd + i];
                for (uint32_t g = 0; g < group; g++) {
                    sum_q += q[(head * group + g) * hd + i];
                }
            }
        }
        e->x[n] = (double)sum_k;
        e->w[n] = (double)sum_q;
    }
    make_scales(e, e->pair, keys_of(s), false);
}

/* Scales of a norm's outputs; e->w has the columns behind it. */
static void fold_norm(struct emit *e, const asy_u128 *x, bool is_wide) {
    for (uint32_t i = 0; i < e->s->dim; i++) {
        e->x[i] = (double)x[i];
    }
    make_scales(e, e->norm, e->s->dim, is_wide);
}

/* ---- norms ---- */

/* e->gain = v * 2^shift, rounded; 0 stays 0 only if v is. Returns the shift. */
static int make_gain(struct emit *e, const double *v, uint32_t count) {
    double max = 0;
    for (uint32_t i = 0; i < count; i++) {
        max = fabs(v[i]) > max ? fabs(v[i]) : max;
    }
    int shift = max > 0 ? convert_gain_shift(max) : 0;
    for (uint32_t i = 0; i < count; i++) {
        e->gain[i] = (int32_t)rint(ldexp(v[i], shift));
        if (e->gain[i] == 0 && v[i] != 0) {
            e->gain[i] = v[i] < 0 ? -1 : 1;
        }
    }
    return shift;
}

/* In squared units of the norm's input, and never beyond the format's limit: there it outweighs
 * any vector. */
static int64_t epsilon(const struct source *s, uint32_t count, int unit) {
    double eps = rint(ldexp((double)count * s->eps, 2 * unit));
    return eps < 0x1p58 ? (int64_t)eps : ((int64_t)1 << 58) - 1;
}

/* A norm in front of linears, its gain in e->vector: what e->norm takes out of it and rounding
 * loses goes to e->col. Returns the shift of the gain. */
static int put_quant_norm(struct emit *e, enum asy_exact_norm norm, uint32_t layer) {
    uint32_t dim = e->s->dim;
    double *v = asy_alloc(dim * sizeof *v);
    for (uint32_t i = 0; i < dim; i++) {
        v[i] = (double)e->vector[i] / e->norm[i];
    }
    int shift = make_gain(e, v, dim);
    asy_free(v);
    for (uint32_t i = 0; i < dim; i++) {
        e->col[i] = e->gain[i] != 0 ? ldexp((double)e->vector[i], shift) / (double)e->gain[i] : 1.0;
    }
    asy_exact_write_norm(e->writer, norm, layer, e->gain,
                         epsilon(e->s, dim, (int)e->r->residual_bits), 0);
    return shift;
}

/* A norm whose output is a number for itself: of a post-norm, or of queries and keys. */
static enum asy_err put_out_norm(struct emit *e, enum asy_exact_norm norm, uint32_t layer,
                                 const struct part *part, uint32_t count, const double *scale,
                                 bool divide, double factor, int unit_out) {
    double *v = asy_alloc(count * sizeof *v);
    enum asy_err err = source_vector(e->s, e->vector, part, count, e->why);
    bool head = norm == ASY_EXACT_NORM_Q || norm == ASY_EXACT_NORM_K;
    for (uint32_t i = 0; i < count && err == ASY_OK; i++) {
        uint32_t from = head && e->s->neox ? in_file(e->s, i) : i;
        double g = (double)e->vector[from] * factor * sqrt((double)count);
        v[i] = scale == NULL ? g : divide ? g / scale[i] : g * scale[i];
    }
    if (err == ASY_OK) {
        int shift = make_gain(e, v, count), out = 30 + shift - unit_out;
        if (out < -64 || out > 64) {
            err = asy_why_set(e->why, ASY_ERR_RANGE, NULL, "layer %u: a norm's gain is impossible",
                              layer);
        } else {
            asy_exact_write_norm(e->writer, norm, layer, e->gain, epsilon(e->s, count, UNIT), out);
        }
    }
    asy_free(v);
    return err;
}

/* ---- layers ---- */

static enum asy_err emit_attention(struct emit *e, uint32_t l) {
    const struct source *s = e->s;
    const struct source_layer *y = &s->layer[l];
    uint32_t queries = queries_of(s), keys = keys_of(s), hd = s->head_dim;
    uint32_t group = s->heads / s->kv_heads;
    double query = LOG2_E * s->query_scale; /* scores are binary logarithms */
    double *pair_q = asy_alloc(queries * sizeof *pair_q);
    enum asy_err err = ASY_OK;

    fill(e->norm, s->dim, 1);
    fill(e->value, keys, 1);
    fill(e->pair, keys, 1);
    if (e->r->fold & FOLD_OUT) {
        err = fold_out(e, l);
    }
    if (e->r->fold & FOLD_BALANCE) {
        fold_balance(e, l);
    }
    for (uint32_t i = 0; i < queries; i++) {
        pair_q[i] = e->pair[i / hd / group * hd + i % hd];
    }
    struct rows q = {.linear = ASY_EXACT_QKV,
                     .layer = l,
                     .weight = &y->weight[Q],
                     .bias = &y->bias[Q],
                     .count = queries,
                     .cols = s->dim,
                     .step = 1,
                     .rotated = true,
                     .col = e->col,
                     .row = s->qk_norms ? NULL : pair_q,
                     .factor = 1,
                     .unit = UNIT};
    struct rows k = q, v = q;
    k.weight = &y->weight[K];
    k.bias = &y->bias[K];
    k.count = keys;
    k.first = queries;
    k.row = s->qk_norms ? NULL : e->pair;
    k.divide = true;
    v.weight = &y->weight[V];
    v.bias = &y->bias[V];
    v.count = keys;
    v.first = queries + keys;
    v.rotated = false;
    v.row = e->value;
    v.divide = true;
    if (err == ASY_OK) {
        err = source_vector(s, e->vector, &y->attn_norm, s->dim, e->why);
    }
    if (err == ASY_OK && (e->r->fold & FOLD_NORMS)) {
        const struct rows *all[3] = {&q, &k, &v};
        fill(e->w, s->dim, 0);
        for (int i = 0; i < 3 && err == ASY_OK; i++) {
            err = add_columns(e, all[i]);
        }
        fold_norm(e, e->m->attn_norm + (size_t)l * s->dim, wide(e, l, ASY_EXACT_QKV));
    }
    int shift = err == ASY_OK ? put_quant_norm(e, ASY_EXACT_NORM_ATTN, l) : 0;
    q.constant =
        ldexp(sqrt((double)s->dim), 8 - shift + UNIT) / divisor(wide(e, l, ASY_EXACT_QKV), s->dim);
    k.constant = q.constant;
    v.constant = q.constant;
    q.factor = s->qk_norms ? 1 : query;
    const struct rows *parts[3] = {&q, &k, &v};
    for (int i = 0; i < 3 && err == ASY_OK; i++) {
        err = put_rows(e, parts[i]);
    }
    if (err == ASY_OK && s->qk_norms) {
        err = put_out_norm(e, ASY_EXACT_NORM_Q, l, &y->q_norm, hd, e->pair, false, query, UNIT);
    }
    if (err == ASY_OK && s->qk_norms) {
        err = put_out_norm(e, ASY_EXACT_NORM_K, l, &y->k_norm, hd, e->pair, true, 1, UNIT);
    }
    /* out: the columns take what the rows of V lost */
    for (uint32_t i = 0; i < queries; i++) {
        e->col[i] = e->value[i / hd / group * hd + i % hd];
    }
    int unit = s->post_norms ? UNIT : (int)e->r->residual_bits;
    struct rows out = {.linear = ASY_EXACT_OUT,
                       .layer = l,
                       .weight = &y->weight[OUT],
                       .bias = &y->bias[OUT],
                       .count = s->dim,
                       .cols = queries,
                       .step = 1,
                       .col = e->col,
                       .factor = 1,
                       .constant = ldexp(1, unit) / divisor(wide(e, l, ASY_EXACT_OUT), queries),
                       .unit = unit};
    if (err == ASY_OK) {
        err = put_rows(e, &out);
    }
    if (err == ASY_OK && s->post_norms) {
        err = put_out_norm(e, ASY_EXACT_NORM_ATTN_POST, l, &y->attn_post, s->dim, NULL, false, 1,
                           (int)e->r->residual_bits);
    }
    asy_free(pair_q);
    return err;
}

static enum asy_err emit_feed_forward(struct emit *e, uint32_t l) {
    const struct source *s = e->s;
    const struct source_layer *y = &s->layer[l];
    int unit = s->post_norms ? UNIT : (int)e->r->residual_bits;
    fill(e->norm, s->dim, 1);
    fill(e->gated, s->inner, 1);
    if (e->r->fold & FOLD_DOWN) {
        ASY_TRY(fold_down(e, l));
    }
    struct rows gate = {.linear = ASY_EXACT_GATE_UP,
                        .layer = l,
                        .weight = &y->weight[GATE],
                        .bias = &y->bias[GATE],
                        .count = s->inner,
                        .cols = s->dim,
                        .step = 2,
                        .col = e->col,
                        .factor = 1,
                        .unit = UNIT};
    struct rows up = gate;
    up.weight = &y->weight[UP];
    up.bias = &y->bias[UP];
    up.first = 1;
    up.row = e->gated;
    up.divide = true;
    ASY_TRY(source_vector(s, e->vector, &y->ffn_norm, s->dim, e->why));
    if (e->r->fold & FOLD_NORMS) {
        fill(e->w, s->dim, 0);
        ASY_TRY(add_columns(e, &gate));
        ASY_TRY(add_columns(e, &up));
        fold_norm(e, e->m->ffn_norm + (size_t)l * s->dim, wide(e, l, ASY_EXACT_GATE_UP));
    }
    int shift = put_quant_norm(e, ASY_EXACT_NORM_FFN, l);
    gate.constant = ldexp(sqrt((double)s->dim), 8 - shift + UNIT) /
                    divisor(wide(e, l, ASY_EXACT_GATE_UP), s->dim);
    up.constant = gate.constant;
    ASY_TRY(put_rows(e, &gate));
    ASY_TRY(put_rows(e, &up));
    struct rows down = {.linear = ASY_EXACT_DOWN,
                        .layer = l,
                        .weight = &y->weight[DOWN],
                        .bias = &y->bias[DOWN],
                        .count = s->dim,
                        .cols = s->inner,
                        .step = 1,
                        .col = e->gated,
                        .factor = 1,
                        .constant = ldexp(1, unit) / divisor(wide(e, l, ASY_EXACT_DOWN), s->inner),
                        .unit = unit};
    ASY_TRY(put_rows(e, &down));
    return s->post_norms ? put_out_norm(e, ASY_EXACT_NORM_FFN_POST, l, &y->ffn_post, s->dim, NULL,
                                        false, 1, (int)e->r->residual_bits)
                         : ASY_OK;
}

/* ---- the model ---- */

static enum asy_err emit_ends(struct emit *e) {
    const struct source *s = e->s;
    struct rows embed = {.linear = ASY_EXACT_EMBED,
                         .weight = &s->embed,
                         .count = s->vocab,
                         .cols = s->dim,
                         .step = 1,
                         .factor = 1,
                         .constant = ldexp(s->embed_scale, (int)e->r->residual_bits)};
    ASY_TRY(put_rows(e, &embed));
    fill(e->norm, s->dim, 1);
    ASY_TRY(source_vector(s, e->vector, &s->final_norm, s->dim, e->why));
    int shift = put_quant_norm(e, ASY_EXACT_NORM_FINAL, 0);
    struct rows head = embed;
    head.linear = ASY_EXACT_HEAD;
    head.weight = s->tied ? &s->embed : &s->head;
    head.col = s->tied ? NULL : e->col;
    head.constant = ldexp(sqrt((double)s->dim), 8 - shift + LOGIT_UNIT) /
                    divisor(e->r->wide[0] & WIDE_HEAD, s->dim);
    return put_rows(e, &head);
}

static bool same_rotation(const struct source *s) {
    return s->window == 0 ||
           (s->rope_base[0] == s->rope_base[1] && s->rope_factor[0] == s->rope_factor[1] &&
            s->rope_freqs.tensor == NULL);
}

static enum asy_err emit_rotation(struct emit *e, uint32_t table) {
    const struct source *s = e->s;
    uint32_t pairs = s->head_dim / 2;
    struct turns turns[ASY_EXACT_MAX_HEAD_DIM / 2];
    int32_t entry[ASY_EXACT_MAX_HEAD_DIM];
    float freqs[ASY_EXACT_MAX_HEAD_DIM / 2];
    for (uint32_t i = 0; i < pairs; i++) {
        freqs[i] = 1;
    }
    if (table == 0 && s->rope_freqs.tensor != NULL) {
        ASY_TRY(source_vector(s, freqs, &s->rope_freqs, pairs, e->why));
    }
    for (uint32_t i = 0; i < pairs; i++) {
        if (!(freqs[i] >= 1.0f / 65536 && freqs[i] < 65536.0f)) {
            return asy_why_set(e->why, ASY_ERR_RANGE, "rope_freqs.weight",
                               "a factor of the rotation is out of range");
        }
        turns[i] =
            convert_frequency(s->rope_base[table], i, s->head_dim, freqs[i], s->rope_factor[table]);
    }
    for (uint32_t n = 0; n < 256 + e->r->positions / 256; n++) {
        for (uint32_t i = 0; i < pairs; i++) {
            convert_rotation(entry + 2 * i, turns[i], n < 256 ? n : 256 * (n - 256));
        }
        asy_exact_write_rope(e->writer, table, n, entry);
    }
    return ASY_OK;
}

void emit_shape(struct asy_exact_shape *ret_shape, const struct source *s, const struct recipe *r) {
    *ret_shape = (struct asy_exact_shape){
        .layers = s->layers,
        .dim = s->dim,
        .inner = s->inner,
        .heads = s->heads,
        .kv_heads = s->kv_heads,
        .head_dim = s->head_dim,
        .vocab = s->vocab,
        .positions = r->positions,
        .window = s->window,
        .ropes = same_rotation(s) ? 1 : 2,
        .activation = s->gelu ? ASY_EXACT_GELU : ASY_EXACT_SILU,
        .residual_bits = r->residual_bits,
        .tied = s->tied,
        .post_norms = s->post_norms,
        .qk_norms = s->qk_norms,
        .head_wide = r->wide[0] & WIDE_HEAD,
    };
    for (uint32_t l = 0; l < s->layers; l++) {
        const struct source_layer *y = &s->layer[l];
        bool qkv =
            y->bias[Q].tensor != NULL || y->bias[K].tensor != NULL || y->bias[V].tensor != NULL;
        bool gate_up = y->bias[GATE].tensor != NULL || y->bias[UP].tensor != NULL;
        ret_shape->layer[l] = (struct asy_exact_layer_shape){
            .window = y->window,
            .rope = y->window && !same_rotation(s),
            .wide = r->wide[l] & 15,
            .bias =
                (uint8_t)(qkv << ASY_EXACT_QKV | (y->bias[OUT].tensor != NULL) << ASY_EXACT_OUT |
                          gate_up << ASY_EXACT_GATE_UP |
                          (y->bias[DOWN].tensor != NULL) << ASY_EXACT_DOWN),
        };
    }
}

static void tell(const struct asy_convert_options *o, const char *stage, uint64_t done,
                 uint64_t total) {
    if (o->progress != NULL) {
        o->progress(o->arg, stage, done, total);
    }
}

enum asy_err emit(struct asy_exact_writer *w, const struct source *s, const struct recipe *r,
                  const struct energies *m, const struct asy_convert_options *o, const char *stage,
                  struct asy_why *reterr_why) {
    ASY_ASSERT(m != NULL || r->fold == 0);
    size_t most = s->dim > s->inner ? s->dim : s->inner;
    most = most > queries_of(s) ? most : queries_of(s);
    struct emit e = {.writer = w,
                     .s = s,
                     .r = r,
                     .m = m,
                     .why = reterr_why,
                     .row = asy_alloc(most * sizeof *e.row),
                     .q = asy_alloc(most * sizeof *e.q),
                     .col = asy_alloc(most * sizeof *e.col),
                     .x = asy_alloc(most * sizeof *e.x),
                     .w = asy_alloc(most * sizeof *e.w),
                     .gain = asy_alloc(most * sizeof *e.gain),
                     .vector = asy_alloc(most * sizeof *e.vector),
                     .norm = asy_alloc(most * sizeof *e.norm),
                     .value = asy_alloc(most * sizeof *e.value),
                     .gated = asy_alloc(most * sizeof *e.gated),
                     .pair = asy_alloc(most * sizeof *e.pair)};
    tell(o, stage, 0, s->layers + 4);
    enum asy_err err = emit_ends(&e);
    for (uint32_t t = 0; t < (same_rotation(s) ? 1 : 2) && err == ASY_OK; t++) {
        err = emit_rotation(&e, t);
    }
    for (uint32_t l = 0; l < s->layers && err == ASY_OK; l++) {
        tell(o, stage, l + 4, s->layers + 4);
        err = emit_attention(&e, l);
        if (err == ASY_OK) {
            err = emit_feed_forward(&e, l);
        }
    }
    tell(o, stage, s->layers + 4, s->layers + 4);
    asy_free(e.row);
    asy_free(e.q);
    asy_free(e.col);
    asy_free(e.x);
    asy_free(e.w);
    asy_free(e.gain);
    asy_free(e.vector);
    asy_free(e.norm);
    asy_free(e.value);
    asy_free(e.gated);
    asy_free(e.pair);
    return err;
}
