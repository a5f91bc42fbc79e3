/* kernel_priv.h: the operators above the instructions, for the kernels that use vectors.
 *
 * A kernel includes this, defines what is declared in the first half, and gets the operators of the
 * second half. Everything is static: each kernel's file is compiled for its own instructions, and
 * nothing of one may be called where they do not run.
 */
#ifndef ASY_EXACT_KERNEL_PRIV_H
#define ASY_EXACT_KERNEL_PRIV_H

#include "exact/ops_priv.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- what a kernel defines ---- */

/* max of 1 and of all |y[i]|; count: a multiple of 16 */
static int32_t abs_max(const int32_t *y, uint32_t count);
/* A row in the kernel's own format: elements of PART_SIZE bytes, cols of them; a wide row has
 * WIDE_PARTS times as many. */
static void quant_row(const int32_t *y, uint32_t cols, bool wide, int32_t max, uint8_t *ret_q);
/* A head as bytes; returns their sum. */
static int32_t quant_head(const int32_t *y, uint32_t count, int32_t max, int8_t *ret_q);
/* y of exact.md 4.3 and its abs_max; returns S */
static uint64_t norm_core(const struct norm *n, const int32_t *x, int32_t *ret_y, int32_t *ret_max);

/* A tile is cut along k into blocks that stay in the nearest cache while all columns pass over
 * them; so are many rows into COLUMNS sums of a tile each. Between blocks the sums rest. */
enum { BLOCK = 256, COLUMNS = 64 };

/* A wide row has two sums, of which 256 * sums[0] + sums[1] is the sum over its products. */
typedef int32_t tile_sums[EXACT_TILE];
static void sums_init(const struct linear *l, uint32_t first, tile_sums *ret_sums, uint32_t count);
/* Adds the products of 4 * steps columns of a tile, a multiple of 32, with `rows` rows. x: where
 * these columns begin in each part of each row. Weights go on behind this block, and will be wanted
 * next. */
static void sums_add(const int8_t *w, uint32_t steps, const uint8_t *const *x, uint32_t rows,
                     bool wide, tile_sums *sums);
/* Outputs [first, first + EXACT_TILE) of one row. */
static void requant(const struct linear *l, const struct quant *q, uint32_t first,
                    const tile_sums *sums, int32_t *y, bool add);

/* A query at work. At score + b * EXACT_BLOCK, block b's scores rest until they become weights,
 * in the kernel's own format, in the same place. */
struct head {
    uint8_t q[2 * ASY_EXACT_MAX_HEAD_DIM]; /* as quant_row makes it */
    int32_t *score;
    uint32_t first, pos;
    int32_t mant, exp;
    int32_t best;                                        /* score */
    int most;                                            /* of bits */
    uint8_t bits[ASY_EXACT_MAX_POSITIONS / EXACT_BLOCK]; /* of shares beyond EXACT_WEIGHT */
    struct divide divide;
};
/* Scores of the keys [from, to), and the best of those that the query sees; from is a multiple of
 * 16, and scores up to the next one are written. */
static void score_keys(uint32_t head_dim, const struct kv *kv, struct head *h, uint32_t from,
                       uint32_t to);
/* Scores of [from, to), in one block, become weights, 0 for those not seen; sets bits, and returns
 * the sum over p. */
static uint64_t weigh_keys(const struct kv *kv, struct head *h, uint32_t from, uint32_t to);
/* Sums over w * v for the keys [from, to), in one block, and `count` elements: 16, 32, 48 or 64 */
static void sum_values(uint32_t head_dim, const struct kv *kv, const struct head *h, uint32_t from,
                       uint32_t to, uint32_t element, uint32_t count, int32_t *ret_sums);
/* cap(round_shift(sums[i] * d.factor, d.shift)); count: a multiple of 16 */
static void divide_sums(const int64_t *sums, uint32_t count, struct divide d, int32_t *ret_o);

/* ---- rows ---- */

static void op_quant(const int32_t *y, uint32_t count, bool wide, struct quant *ret_q) {
    int32_t max = abs_max(y, count);
    mantissa((uint64_t)max, &ret_q->mant, &ret_q->exp);
    ret_q->exp -= EXACT_UNIT;
    quant_row(y, count, wide, max, ret_q->q);
}

static void op_norm_quant(const struct norm *n, const int32_t *x, bool wide, struct quant *ret_q,
                          int32_t *row) {
    int half;
    int32_t max;
    int64_t r = inv_sqrt(norm_core(n, x, row, &max), &half);
    mantissa((uint64_t)max * (uint64_t)r, &ret_q->mant, &ret_q->exp);
    ret_q->exp -= half + 38;
    quant_row(row, n->count, wide, max, ret_q->q);
}

/* y moved up to 30 bits, so that the shift behind the factor is the same for every row:
 * round(y * factor, s) = round((y << up) * factor, s + up), and s + up is 44 or 45. */
struct quantiser {
    int32_t factor;
    int up, down;
};
static inline struct quantiser quantiser(int32_t max, bool wide) {
    int s, up = 30 - bit_len((uint64_t)max);
    int64_t factor = quant_factor(max, wide, &s);
    return (struct quantiser){.factor = (int32_t)factor, .up = up, .down = s + up};
}

/* ---- linear ---- */

static void op_linear(const struct linear *l, const struct quant *q, uint32_t count, uint32_t first,
                      uint32_t last, int32_t *y, size_t y_stride, bool add) {
    const uint32_t limbs = l->wide ? 2 : 1, parts = l->wide ? WIDE_PARTS : 1;
    const uint32_t rows = COLUMNS / limbs, blocks = (l->cols + BLOCK - 1) / BLOCK;
    tile_sums sums[COLUMNS];
    const uint8_t *x[COLUMNS];
    for (uint32_t n = first; n < last; n += EXACT_TILE) {
        for (uint32_t t = 0; t < count; t += rows) {
            const uint32_t some = count - t < rows ? count - t : rows;
            for (uint32_t j = 0; j < some * parts; j++) {
                x[j] = q[t + j / parts].q + (j % parts) * (size_t)l->cols * PART_SIZE;
            }
            sums_init(l, n, sums, some * limbs);
            const int8_t *w = l->w + (size_t)n * l->cols;
            for (uint32_t b = 0, from = 0; b < blocks; b++) {
                const uint32_t to = l->cols / 32 * (b + 1) / blocks * 32, cols = to - from;
                sums_add(w, cols / 4, x, some, l->wide, sums);
                w += (size_t)cols * EXACT_TILE;
                for (uint32_t j = 0; j < some * parts; j++) {
                    x[j] += cols * PART_SIZE;
                }
                from = to;
            }
            for (uint32_t j = 0; j < some; j++) {
                requant(l, &q[t + j], n, &sums[j * limbs], y + (t + j) * y_stride, add);
            }
        }
    }
}
static_assert(ASY_EXACT_MAX_INNER / 32 * (ASY_EXACT_MAX_INNER / BLOCK) <= UINT32_MAX,
              "where a block ends");

/* ---- attention ---- */

static void op_put(uint32_t head_dim, const struct kv *kv, const int32_t *k, const int32_t *v,
                   uint32_t pos) {
    int8_t row[ASY_EXACT_MAX_HEAD_DIM];
    int32_t max = abs_max(k, head_dim), mant, exp;
    mantissa((uint64_t)max, &mant, &exp);
    kv->k_scale[pos] = key_scale(mant, exp - EXACT_UNIT);
    kv->k_sum[pos] = quant_head(k, head_dim, max, row);
    /* no wide stores: another thread may write the positions beside this one */
    for (uint32_t i = 0; i < head_dim; i += 4) {
        memcpy(&kv->k[key_at(head_dim, pos, i)], row + i, 4);
    }
    max = abs_max(v, head_dim);
    kv->v_max[pos] = max;
    (void)quant_head(v, head_dim, max, row); /* the sum is of no use */
    for (uint32_t i = 0; i < head_dim; i++) {
        kv->v[value_at(head_dim, pos, i)] = row[i];
    }
}

static void head_init(struct head *h, uint32_t head_dim, const struct query *query,
                      int32_t *score) {
    int32_t max = abs_max(query->q, head_dim);
    quant_row(query->q, head_dim, false, max, h->q);
    mantissa((uint64_t)max, &h->mant, &h->exp);
    h->exp -= EXACT_UNIT;
    h->score = score;
    h->first = query->first;
    h->pos = query->pos;
    h->best = INT32_MIN;
    h->most = 0;
}

/* The keys of [from, from + count) that are worth a query's while: whole groups up to its last one.
 * None: the range is empty. */
struct range {
    uint32_t from, to;
};
static inline struct range seen_range(const struct head *h, uint32_t from, uint32_t count) {
    return (struct range){
        .from = from > h->first ? from : h->first / 16 * 16,
        .to = from + count <= h->pos ? from + count : h->pos + 1,
    };
}

static void op_attend(uint32_t head_dim, const struct kv *kv, const struct query *queries,
                      uint32_t count, const struct scratch *s) {
    struct head heads[EXACT_QUERIES];
    uint32_t first = UINT32_MAX, pos = 0;
    for (uint32_t i = 0; i < count; i++) {
        head_init(&heads[i], head_dim, &queries[i], s->score + (size_t)i * s->stride);
        first = queries[i].first < first ? queries[i].first : first;
        pos = queries[i].pos > pos ? queries[i].pos : pos;
    }
    /* some 16 KB of keys at a time stay near for all queries */
    const uint32_t some = head_dim <= 64 ? 256 : head_dim <= 128 ? 128 : 64;
    for (uint32_t from = first / some * some; from <= pos; from += some) {
        for (uint32_t i = 0; i < count; i++) {
            const struct range r = seen_range(&heads[i], from, some);
            if (r.from < r.to) {
                score_keys(head_dim, kv, &heads[i], r.from, r.to);
            }
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        struct head *h = &heads[i];
        uint64_t sum = 0;
        for (uint32_t b = h->first / EXACT_BLOCK; b <= h->pos / EXACT_BLOCK; b++) {
            const struct range r = seen_range(h, b * EXACT_BLOCK, EXACT_BLOCK);
            sum += weigh_keys(kv, h, r.from, r.to);
            h->most = h->bits[b] > h->most ? h->bits[b] : h->most;
        }
        h->divide = attend_divide(sum, h->pos - h->first + 1, h->most);
    }
    for (uint32_t element = 0; element < head_dim; element += 64) {
        const uint32_t elements = head_dim - element < 64 ? head_dim - element : 64;
        int64_t acc[EXACT_QUERIES][64];
        memset(acc, 0, count * sizeof acc[0]);
        for (uint32_t b = first / EXACT_BLOCK; b <= pos / EXACT_BLOCK; b++) {
            for (uint32_t i = 0; i < count; i++) {
                const struct head *h = &heads[i];
                const struct range r = seen_range(h, b * EXACT_BLOCK, EXACT_BLOCK);
                if (r.from >= r.to || h->most - h->bits[b] > 30) {
                    continue;
                }
                const int down = h->most - h->bits[b], half = down > 0 ? 1 << (down - 1) : 0;
                int32_t sums[64];
                sum_values(head_dim, kv, h, r.from, r.to, element, elements, sums);
                for (uint32_t e = 0; e < elements; e++) {
                    acc[i][e] += (sums[e] + half) >> down;
                }
            }
        }
        for (uint32_t i = 0; i < count; i++) {
            divide_sums(acc[i], elements, heads[i].divide, queries[i].o + element);
        }
    }
}
/* A block's sum is below 2^30, so that it has room for its rounding, and that a shift by 31 or more
 * leaves nothing of it. */
static_assert((int64_t)EXACT_BLOCK * ((1 << EXACT_WEIGHT) - 1) * 127 < (1 << 30), "sum of a block");

#endif
