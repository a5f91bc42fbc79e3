/* ops_priv.h: the operators of exact/1 as a table of functions, and the arithmetic they share.
 *
 * Each kernel (ops_scalar.c, ops_avx2.c, ops_avx512.c, ops_neon.c) fills one table. They compute
 * the same integers; ops_scalar.c says which ones, one loop per formula of docs/protocol/exact.md.
 * All sums are exact, so their order is free.
 *
 * Layouts, the same for all kernels:
 *   weights  int8 [rows / 64][cols / 4][64][4], values in [-127, 127]; rows padded with zeros
 *   keys     int8 [pos / 16][head_dim / 4][16][4]
 *   values   int8 [pos / 4][head_dim][4]
 *   a quantised row: what the kernel likes, at most 2 * cols bytes
 * Kernels read keys, values and their scales in whole groups of 16 positions, of which some may be
 * stale or not written yet, and then leave no trace. Widths: cols, dim and inner are multiples of
 * 32, head_dim one of 16.
 */
#ifndef ASY_EXACT_OPS_PRIV_H
#define ASY_EXACT_OPS_PRIV_H

#include "base/base.h"
#include "exact/exact.h"

#define EXACT_ALIGN    64u
#define EXACT_TILE     64u             /* weight rows of one tile */
#define EXACT_CAP      ((1 << 30) - 1) /* what every int32 between operators saturates at */
#define EXACT_UNIT     14              /* qkv, gate, up, attention: unit 2^-14 */
#define EXACT_BLOCK    256u            /* positions of one block of P*V */
#define EXACT_WEIGHT   15              /* bits of a P*V weight */
#define EXACT_SEGMENTS 256u            /* of an activation table */
#define EXACT_QUERIES  8u              /* most queries of one call of attend */

/* y[n] = requant(sum over k of w[n][k] * q[k]) + bias[n] */
struct linear {
    uint32_t rows;       /* real ones */
    uint32_t cols;       /* a multiple of 32 */
    uint8_t shift;       /* by which the sum over a wide input is rounded; in [4, 8] */
    bool wide;           /* its input has 16 bits: two limbs */
    const int8_t *w;     /* tiles */
    const int16_t *m;    /* [rows padded]: 0, or [2^14, 2^15) */
    const int16_t *s;    /* [rows padded] */
    const int32_t *bias; /* [rows padded], or NULL */
    const int32_t *sums; /* [rows padded]: sum over k of w[n][k]; made when the model is opened */
};

struct norm {
    uint32_t count;
    const int32_t *gain; /* |gain| < 2^23 */
    int64_t eps;         /* in squared input units, [0, 2^58) */
    int32_t shift;       /* of the form with int32 output */
};

struct layer {
    bool window;
    uint8_t rope;
    struct norm attn, q, k, attn_post, ffn, ffn_post;
    struct linear qkv, out, gate_up, down;
};

struct asy_exact_model {
    struct asy_exact_info info;
    struct asy_bytes file;
    const int32_t *rope[ASY_EXACT_MAX_ROPES]; /* Q30 pairs: 256 fine entries, then coarse ones */
    uint32_t ropes;
    const int8_t *embed_w; /* tiles */
    const int16_t *embed_m, *embed_s;
    struct linear head;
    struct norm final;
    struct layer *layers;
    int32_t *sums; /* all rows' sums */
};

/* A quantised row: value of element k is q[k] * mant * 2^exp. */
struct quant {
    uint8_t *q;
    int32_t mant, exp;
};

/* Keys and values of one sequence, layer and head. */
struct kv {
    int8_t *k, *v;
    int32_t *k_scale; /* mant in the low 16 bits, exp above */
    int32_t *k_sum;   /* sum over the key's elements */
    int32_t *v_max;
};

/* One query head at one position: it attends to the keys [first, pos]. */
struct query {
    const int32_t *q; /* [head_dim] */
    int32_t *o;       /* [head_dim] */
    uint32_t first, pos;
};

/* What attention works on: one per thread. */
struct scratch {
    int32_t *score;  /* [EXACT_QUERIES][stride] */
    uint64_t *share; /* [stride]; the scalar kernel's */
    uint32_t stride; /* positions: the context, padded to EXACT_BLOCK */
    int32_t *row;    /* [ASY_EXACT_MAX_DIM] */
};

struct ops {
    enum asy_exact_kernel kernel;
    /* RMSNorm and quantisation */
    void (*norm_quant)(const struct norm *n, const int32_t *x, bool wide, struct quant *ret_q,
                       int32_t *row);
    /* RMSNorm with int32 output: y = norm(x), or y += norm(x) */
    void (*norm_out)(const struct norm *n, const int32_t *x, int32_t *y, bool add, int32_t *row);
    void (*quant)(const int32_t *y, uint32_t count, bool wide, struct quant *ret_q);
    /* y[t * y_stride + n] for n in [first, last): multiples of EXACT_TILE; with add, y += */
    void (*linear)(const struct linear *l, const struct quant *q, uint32_t count, uint32_t first,
                   uint32_t last, int32_t *y, size_t y_stride, bool add);
    /* rotates the pairs of one head by cos, sin in Q15 */
    void (*rope)(uint32_t head_dim, const int16_t *table, int32_t *x);
    void (*put)(uint32_t head_dim, const struct kv *kv, const int32_t *k, const int32_t *v,
                uint32_t pos);
    /* Queries over the same keys and values: heads that share them, positions of a sequence, or
     * both. count <= EXACT_QUERIES; together they cost less memory traffic, the result is that of
     * each alone. */
    void (*attend)(uint32_t head_dim, const struct kv *kv, const struct query *queries,
                   uint32_t count, const struct scratch *s);
    /* h[i] = act(g[i]) * u[i] for pairs g0 u0 g1 u1 ... */
    void (*gate)(enum asy_exact_activation act, const int32_t *gu, uint32_t count, int32_t *h);
};

/* Pieces of the scalar kernel, for what must see between its operators.
 * exact_quant_row: a row as int16 values, whether they have 8 or 16 bits; max as in exact.md 4.2.
 * exact_norm_core: y of 4.3; returns S.
 * exact_shares: scores and shares of [first, pos] into scratch; their best and their p's sum. */
void exact_quant_row(const int32_t *y, uint32_t count, bool wide, int32_t max, int16_t *ret_q);
uint64_t exact_norm_core(const struct norm *n, const int32_t *x, int32_t *ret_y);
struct shares {
    int32_t best;
    uint64_t sum;
};
struct shares exact_shares(uint32_t head_dim, const struct kv *kv, const int32_t *q, uint32_t first,
                           uint32_t pos, const struct scratch *scratch);

extern const struct ops exact_ops_scalar, exact_ops_avx2, exact_ops_avx512, exact_ops_neon;
/* The operators of a kernel, of the best one for AUTO. NULL: not built in, or this machine cannot
 * run it. */
const struct ops *exact_ops(enum asy_exact_kernel kernel);

/* ---- tables (exact.md section 7) ---- */

/* exp2: asy_sample_exp2_table. The differences to the next entry: */
extern const int32_t exact_exp2_diff[32];
struct act_table {
    uint32_t bits; /* a segment is 2^bits units of 2^-14 wide */
    int32_t at[EXACT_SEGMENTS], diff[EXACT_SEGMENTS];
};
extern const struct act_table exact_act_table[2]; /* by asy_exact_activation */

/* ---- arithmetic (exact.md section 1) ---- */

static inline int bit_len(uint64_t x) { return x != 0 ? 64 - __builtin_clzll(x) : 0; }
static_assert((-3 >> 1) == -2, "right shifts of negative numbers round down");
/* floor((x + 2^(s-1)) / 2^s); s in [1, 62], |x| < 2^62 */
static inline int64_t round_shift(int64_t x, int s) { return (x + ((int64_t)1 << (s - 1))) >> s; }
/* the same for shifts that may be 0, and are capped at 62 */
static inline int64_t round_shift0(int64_t x, int s) {
    return s == 0 ? x : round_shift(x, s > 62 ? 62 : s);
}
static inline int clamp_shift(int s) { return s < 1 ? 1 : s > 62 ? 62 : s; }
static inline int32_t cap(int64_t x) {
    return x > EXACT_CAP ? EXACT_CAP : x < -EXACT_CAP ? -EXACT_CAP : (int32_t)x;
}
/* The top 16 bits of v >= 1: v = mant * 2^exp, rounded down; mant in [2^15, 2^16). */
static inline void mantissa(uint64_t v, int32_t *ret_mant, int32_t *ret_exp) {
    int n = bit_len(v);
    *ret_mant = (int32_t)(n >= 16 ? v >> (n - 16) : v << (16 - n));
    *ret_exp = n - 16;
}
static inline uint32_t isqrt(uint64_t v) {
    uint64_t r = 0;
    for (int b = 31; b >= 0; b--) {
        uint64_t t = r | (uint64_t)1 << b;
        r = t * t <= v ? t : r;
    }
    return (uint32_t)r;
}
/* 1 / sqrt(sum) = r * 2^-45 * 2^-half; sum in [1, 2^63); r < 2^31 */
static inline int64_t inv_sqrt(uint64_t sum, int *ret_half) {
    int k = bit_len(sum) - 31;
    k += k & 1;
    uint64_t s1 = k >= 0 ? sum >> k : sum << -k;
    *ret_half = k / 2;
    return isqrt((((uint64_t)1 << 62) / s1) << 28);
}
/* The factor and the shift that bring y, |y| <= max, to 8 or 16 bits: q = round(y * factor >> s).
 */
static inline int64_t quant_factor(int32_t max, bool wide, int *ret_shift) {
    int s = bit_len((uint64_t)max) + (wide ? 14 : 15);
    *ret_shift = s;
    return (int64_t)(((uint64_t)(wide ? 32512 : 127) << s) / (uint64_t)max);
}
/* By how much the sum of squares' inputs are shifted so that they have at most 22 bits. */
static inline int norm_shift(int32_t max) {
    int b = bit_len((uint64_t)max);
    return b > 22 ? b - 22 : 0;
}
static inline uint64_t norm_sum(uint64_t squares, int64_t eps, int shift) {
    uint64_t sum = squares + (uint64_t)(shift < 16 ? eps >> (2 * shift) : 0);
    return sum != 0 ? sum : 1;
}
/* Rounding of the sum over a wide input, so that it fits in 32 bits: 127 * 32512 * cols / 2^shift.
 */
static inline uint8_t wide_shift(uint32_t cols) {
    int b = bit_len((uint64_t)cols - 1);
    return (uint8_t)(b > 13 ? b - 9 : 4);
}
static inline int32_t key_scale(int32_t mant, int32_t exp) {
    return (int32_t)((uint32_t)mant | (uint32_t)exp << 16);
}
/* The one division of attention: o = acc * factor >> shift, for a sum of shares `sum` over `keys`
 * keys, where the weights were scaled down by 2^weight_bits. */
struct divide {
    int64_t factor;
    int shift;
};
static inline struct divide attend_divide(uint64_t sum, uint32_t keys, int weight_bits) {
    int t = bit_len((uint64_t)keys - 1) - 16, down = bit_len(sum) > 32 ? bit_len(sum) - 32 : 0;
    t = t > 0 ? t : 0;
    uint64_t l = 127 * (sum >> down);
    int n = bit_len(l);
    return (struct divide){
        .factor = (int64_t)(((uint64_t)1 << (n + 23 - t)) / l),
        .shift = clamp_shift(n + 23 - t + down - weight_bits),
    };
}
/* Where key element i of position pos lies, and where value element i does. */
static inline size_t key_at(uint32_t head_dim, uint32_t pos, uint32_t i) {
    return (size_t)(pos / 16) * head_dim * 16 + (i / 4) * 64 + (pos % 16) * 4 + i % 4;
}
static inline size_t value_at(uint32_t head_dim, uint32_t pos, uint32_t i) {
    return (size_t)(pos / 4) * head_dim * 4 + i * 4 + pos % 4;
}
static inline size_t weight_at(uint32_t cols, uint32_t row, uint32_t col) {
    return (size_t)(row / EXACT_TILE) * cols * EXACT_TILE + (col / 4) * (EXACT_TILE * 4) +
           (row % EXACT_TILE) * 4 + col % 4;
}
static inline uint32_t pad_rows(uint32_t rows) {
    return (rows + EXACT_TILE - 1) / EXACT_TILE * EXACT_TILE;
}

#endif
