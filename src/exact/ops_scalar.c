/* ops_scalar.c: the specification as plain C, one loop per formula of docs/protocol/exact.md. */
#include "exact/ops_priv.h"
#include "sample/sample.h"

static int32_t abs_max(const int32_t *y, uint32_t count) {
    int32_t max = 1;
    for (uint32_t i = 0; i < count; i++) {
        int32_t a = y[i] < 0 ? -y[i] : y[i];
        max = a > max ? a : max;
    }
    return max;
}

/* ---- quantisation ---- */

void exact_quant_row(const int32_t *y, uint32_t count, bool wide, int32_t max, int16_t *ret_q) {
    int s;
    int64_t factor = quant_factor(max, wide, &s);
    for (uint32_t i = 0; i < count; i++) {
        ret_q[i] = (int16_t)round_shift(y[i] * factor, s);
    }
}

static void op_quant(const int32_t *y, uint32_t count, bool wide, struct quant *ret_q) {
    int32_t max = abs_max(y, count);
    mantissa((uint64_t)max, &ret_q->mant, &ret_q->exp);
    ret_q->exp -= EXACT_UNIT;
    exact_quant_row(y, count, wide, max, (int16_t *)(void *)ret_q->q);
}

/* ---- norms ---- */

uint64_t exact_norm_core(const struct norm *n, const int32_t *x, int32_t *ret_y) {
    int shift = norm_shift(abs_max(x, n->count));
    uint64_t squares = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        int64_t v = round_shift0(x[i], shift);
        squares += (uint64_t)(v * v);
        ret_y[i] = (int32_t)round_shift(v * n->gain[i], 15);
    }
    return norm_sum(squares, n->eps, shift);
}

static void op_norm_quant(const struct norm *n, const int32_t *x, bool wide, struct quant *ret_q,
                          int32_t *row) {
    int half;
    int64_t r = inv_sqrt(exact_norm_core(n, x, row), &half);
    int32_t max = abs_max(row, n->count);
    mantissa((uint64_t)max * (uint64_t)r, &ret_q->mant, &ret_q->exp);
    ret_q->exp -= half + 38;
    exact_quant_row(row, n->count, wide, max, (int16_t *)(void *)ret_q->q);
}

static void op_norm_out(const struct norm *n, const int32_t *x, int32_t *y, bool add,
                        int32_t *row) {
    int half;
    int64_t r = inv_sqrt(exact_norm_core(n, x, row), &half);
    int s = clamp_shift(n->shift + half);
    for (uint32_t i = 0; i < n->count; i++) {
        int32_t v = cap(round_shift(row[i] * r, s));
        y[i] = add ? cap((int64_t)y[i] + v) : v;
    }
}

/* ---- linear ---- */

/* The sums of one tile of rows: four inputs at a time, as the weights lie. Four products of 127 *
 * 32512 fit in 32 bits. */
static void tile_sums(int64_t ret_sums[EXACT_TILE], const int8_t *w, const int16_t *x,
                      uint32_t cols) {
    int64_t sum[EXACT_TILE] = {0};
    for (uint32_t k = 0; k < cols; k += 4, w += 4 * EXACT_TILE) {
        for (uint32_t n = 0; n < EXACT_TILE; n++) {
            const int8_t *v = w + 4 * n;
            sum[n] += v[0] * x[k] + v[1] * x[k + 1] + v[2] * x[k + 2] + v[3] * x[k + 3];
        }
    }
    memcpy(ret_sums, sum, sizeof sum);
}

static void op_linear(const struct linear *l, const struct quant *q, uint32_t count, uint32_t first,
                      uint32_t last, int32_t *y, size_t y_stride, bool add) {
    for (uint32_t tile = first; tile < last; tile += EXACT_TILE) {
        for (uint32_t t = 0; t < count; t++) {
            int64_t sum[EXACT_TILE];
            tile_sums(sum, l->w + (size_t)tile * l->cols, (const int16_t *)(const void *)q[t].q,
                      l->cols);
            for (uint32_t i = 0; i < EXACT_TILE; i++) {
                uint32_t n = tile + i;
                int64_t acc = l->wide ? round_shift(sum[i], l->shift) : sum[i];
                int64_t scale = (int64_t)q[t].mant * l->m[n];
                int32_t v = cap(round_shift(acc * scale, clamp_shift(l->s[n] - q[t].exp)));
                if (l->bias != NULL) {
                    v = cap((int64_t)v + l->bias[n]);
                }
                int32_t *o = &y[t * y_stride + n];
                *o = add ? cap((int64_t)*o + v) : v;
            }
        }
    }
}

/* ---- attention ---- */

static void op_rope(uint32_t head_dim, const int16_t *table, int32_t *x) {
    for (uint32_t i = 0; i < head_dim; i += 2) {
        int64_t a = x[i], b = x[i + 1], c = table[i], s = table[i + 1];
        x[i] = cap(round_shift(a * c - b * s, 15));
        x[i + 1] = cap(round_shift(a * s + b * c, 15));
    }
}

static void op_put(uint32_t head_dim, const struct kv *kv, const int32_t *k, const int32_t *v,
                   uint32_t pos) {
    int16_t row[ASY_EXACT_MAX_HEAD_DIM];
    int32_t max = abs_max(k, head_dim), mant, exp, sum = 0;
    mantissa((uint64_t)max, &mant, &exp);
    exact_quant_row(k, head_dim, false, max, row);
    for (uint32_t i = 0; i < head_dim; i++) {
        kv->k[key_at(head_dim, pos, i)] = (int8_t)row[i];
        sum += row[i];
    }
    kv->k_scale[pos] = key_scale(mant, exp - EXACT_UNIT);
    kv->k_sum[pos] = sum;

    max = abs_max(v, head_dim);
    exact_quant_row(v, head_dim, false, max, row);
    for (uint32_t i = 0; i < head_dim; i++) {
        kv->v[value_at(head_dim, pos, i)] = (int8_t)row[i];
    }
    kv->v_max[pos] = max;
}

/* exp2(-distance), Q30; distance in 2^-16 */
static uint32_t exp2_neg(int32_t distance) {
    int32_t n = distance >> 16, i = (distance >> 11) & 31, f = distance & 2047;
    int32_t m = asy_sample_exp2_table[i] - ((exact_exp2_diff[i] * f) >> 11);
    return n > 31 ? 0 : (uint32_t)m << 6 >> n;
}

struct shares exact_shares(uint32_t head_dim, const struct kv *kv, const int32_t *q, uint32_t first,
                           uint32_t pos, const struct scratch *scratch) {
    int16_t query[ASY_EXACT_MAX_HEAD_DIM];
    int32_t max = abs_max(q, head_dim), mant, exp;
    struct shares r = {.best = INT32_MIN};
    mantissa((uint64_t)max, &mant, &exp);
    exp -= EXACT_UNIT;
    exact_quant_row(q, head_dim, false, max, query);
    for (uint32_t j = first; j <= pos; j++) {
        int32_t acc = 0;
        for (uint32_t i = 0; i < head_dim; i++) {
            acc += query[i] * kv->k[key_at(head_dim, j, i)];
        }
        uint32_t k_mant = (uint32_t)kv->k_scale[j] & 0xffff;
        int32_t k_exp = kv->k_scale[j] >> 16;
        int64_t scale = (int64_t)((uint32_t)mant * k_mant >> 16) * 16643;
        int32_t s = cap(round_shift(acc * scale, clamp_shift(-(4 + exp + k_exp))));
        scratch->score[j] = s;
        r.best = s > r.best ? s : r.best;
    }
    for (uint32_t j = first; j <= pos; j++) {
        uint32_t p = exp2_neg(r.best - scratch->score[j]);
        r.sum += p;
        scratch->share[j] = (uint64_t)p * (uint32_t)kv->v_max[j];
    }
    return r;
}

static void attend_one(uint32_t head_dim, const struct kv *kv, const struct query *query,
                       const struct scratch *scratch) {
    const uint32_t first = query->first, pos = query->pos;
    struct shares shares = exact_shares(head_dim, kv, query->q, first, pos, scratch);
    int bits[ASY_EXACT_MAX_POSITIONS / EXACT_BLOCK], most = 0;
    for (uint32_t b = first / EXACT_BLOCK; b <= pos / EXACT_BLOCK; b++) {
        uint32_t from = b * EXACT_BLOCK > first ? b * EXACT_BLOCK : first;
        uint32_t to = (b + 1) * EXACT_BLOCK <= pos ? (b + 1) * EXACT_BLOCK : pos + 1;
        uint64_t top = 0;
        for (uint32_t j = from; j < to; j++) {
            top = scratch->share[j] > top ? scratch->share[j] : top;
        }
        bits[b] = bit_len(top) > EXACT_WEIGHT ? bit_len(top) - EXACT_WEIGHT : 0;
        most = bits[b] > most ? bits[b] : most;
    }

    int64_t acc[ASY_EXACT_MAX_HEAD_DIM] = {0};
    for (uint32_t b = first / EXACT_BLOCK; b <= pos / EXACT_BLOCK; b++) {
        uint32_t from = b * EXACT_BLOCK > first ? b * EXACT_BLOCK : first;
        uint32_t to = (b + 1) * EXACT_BLOCK <= pos ? (b + 1) * EXACT_BLOCK : pos + 1;
        int32_t block[ASY_EXACT_MAX_HEAD_DIM] = {0};
        for (uint32_t j = from; j < to; j++) {
            int64_t w = round_shift0((int64_t)scratch->share[j], bits[b]);
            w = w < (1 << EXACT_WEIGHT) ? w : (1 << EXACT_WEIGHT) - 1;
            for (uint32_t i = 0; i < head_dim; i++) {
                block[i] += (int32_t)w * kv->v[value_at(head_dim, j, i)];
            }
        }
        for (uint32_t i = 0; i < head_dim; i++) {
            acc[i] += round_shift0(block[i], most - bits[b]);
        }
    }
    struct divide d = attend_divide(shares.sum, pos - first + 1, most);
    for (uint32_t i = 0; i < head_dim; i++) {
        query->o[i] = cap(round_shift(acc[i] * d.factor, d.shift));
    }
}

static void op_attend(uint32_t head_dim, const struct kv *kv, const struct query *queries,
                      uint32_t count, const struct scratch *scratch) {
    for (uint32_t i = 0; i < count; i++) {
        attend_one(head_dim, kv, &queries[i], scratch);
    }
}

/* ---- activation ---- */

static void op_gate(enum asy_exact_activation act, const int32_t *gu, uint32_t count, int32_t *h) {
    const struct act_table *t = &exact_act_table[act];
    for (uint32_t i = 0; i < count; i++) {
        int32_t g = gu[2 * i], u = gu[2 * i + 1], a = g < 0 ? -g : g;
        int32_t segment = a >> t->bits, f = a & ((1 << t->bits) - 1), p = 1 << 20;
        if (segment < (int32_t)EXACT_SEGMENTS) {
            p = t->at[segment] + ((t->diff[segment] * f + (1 << (t->bits - 1))) >> t->bits);
        }
        p = g < 0 ? (1 << 20) - p : p;
        h[i] = cap(round_shift(round_shift((int64_t)g * p, 20) * u, EXACT_UNIT));
    }
}

const struct ops exact_ops_scalar = {
    .kernel = ASY_EXACT_SCALAR,
    .norm_quant = op_norm_quant,
    .norm_out = op_norm_out,
    .quant = op_quant,
    .linear = op_linear,
    .rope = op_rope,
    .put = op_put,
    .attend = op_attend,
    .gate = op_gate,
};
