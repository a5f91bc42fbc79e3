/* ops_neon.c: the operators with NEON and the dot product of ARMv8.2.
 *
 * sdot multiplies four signed bytes by four and adds the products exactly, for each of four rows;
 * a lane of four activations is repeated by the instruction itself. Rounding and saturating shifts
 * are instructions, too: srshl by -s is round_shift by s, for all s.
 *
 * A quantised row: int8 [cols]. A wide one, q = 256 * hi + lo with hi in [-127, 127] and lo in
 * [-128, 127], has two limbs: hi [cols], then lo [cols].
 */
#include <arm_neon.h>

#define PART_SIZE  1u
#define WIDE_PARTS 2u
#include "exact/kernel_priv.h"
#include "sample/sample.h"

INLINE int32x4_t cap4(int32x4_t x) {
    return vmaxq_s32(vminq_s32(x, vdupq_n_s32(EXACT_CAP)), vdupq_n_s32(-EXACT_CAP));
}
/* cap(round_shift(x * y, s)) for s in [1, 62], each lane its own; down = -s */
INLINE int32x4_t mul_shift(int32x4_t x, int32x4_t y, int32x4_t down) {
    const int64x2_t low = vmull_s32(vget_low_s32(x), vget_low_s32(y)), high = vmull_high_s32(x, y);
    const int32x2_t a = vqmovn_s64(vrshlq_s64(low, vmovl_s32(vget_low_s32(down))));
    return cap4(vqmovn_high_s64(a, vrshlq_s64(high, vmovl_high_s32(down))));
}
/* -clamp_shift(s) */
INLINE int32x4_t clamp_down(int32x4_t s) {
    return vnegq_s32(vminq_s32(vmaxq_s32(s, vdupq_n_s32(1)), vdupq_n_s32(62)));
}
/* round_shift(x * y, s) where that fits in 32 bits */
#define MUL_ROUND(x, y, s)                                                                         \
    vrshrn_high_n_s64(vrshrn_n_s64(vmull_s32(vget_low_s32(x), vget_low_s32(y)), s),                \
                      vmull_high_s32(x, y), s)
/* the same, saturated at 32 bits */
#define MUL_ROUND_SAT(x, y, s)                                                                     \
    vqrshrn_high_n_s64(vqrshrn_n_s64(vmull_s32(vget_low_s32(x), vget_low_s32(y)), s),              \
                       vmull_high_s32(x, y), s)

static int32_t abs_max(const int32_t *y, uint32_t count) {
    int32x4_t max = vdupq_n_s32(1);
    for (uint32_t i = 0; i < count; i += 4) {
        max = vmaxq_s32(max, vabsq_s32(vld1q_s32(y + i)));
    }
    return vmaxvq_s32(max);
}

/* ---- quantisation ---- */

INLINE int32x4_t quant4(struct quantiser k, const int32_t *y) {
    const int32x4_t x = vshlq_s32(vld1q_s32(y), vdupq_n_s32(k.up));
    const int64x2_t down = vdupq_n_s64(-k.down);
    const int64x2_t low = vmull_n_s32(vget_low_s32(x), k.factor);
    const int64x2_t high = vmull_high_n_s32(x, k.factor);
    return vmovn_high_s64(vmovn_s64(vrshlq_s64(low, down)), vrshlq_s64(high, down));
}

static void quant_row(const int32_t *y, uint32_t cols, bool wide, int32_t max, uint8_t *ret_q) {
    const struct quantiser k = quantiser(max, wide);
    int8_t *low = (int8_t *)ret_q + (wide ? cols : 0);
    for (uint32_t i = 0; i < cols; i += 8) {
        const int32x4_t a = quant4(k, y + i), b = quant4(k, y + i + 4);
        if (wide) { /* hi is q / 256, halves up; lo is what the lower byte says */
            const int16x8_t hi = vrshrn_high_n_s32(vrshrn_n_s32(a, 8), b, 8);
            vst1_s8((int8_t *)ret_q + i, vmovn_s16(hi));
        }
        vst1_s8(low + i, vmovn_s16(vmovn_high_s32(vmovn_s32(a), b)));
    }
}

static int32_t quant_head(const int32_t *y, uint32_t count, int32_t max, int8_t *ret_q) {
    const struct quantiser k = quantiser(max, false);
    int32x4_t sum = vdupq_n_s32(0);
    for (uint32_t i = 0; i < count; i += 8) {
        const int32x4_t a = quant4(k, y + i), b = quant4(k, y + i + 4);
        sum = vaddq_s32(sum, vaddq_s32(a, b));
        vst1_s8(ret_q + i, vmovn_s16(vmovn_high_s32(vmovn_s32(a), b)));
    }
    return vaddvq_s32(sum);
}

/* ---- norms ---- */

static uint64_t norm_core(const struct norm *n, const int32_t *x, int32_t *ret_y,
                          int32_t *ret_max) {
    const int shift = norm_shift(abs_max(x, n->count));
    int64x2_t squares = vdupq_n_s64(0);
    int32x4_t max = vdupq_n_s32(1);
    for (uint32_t i = 0; i < n->count; i += 4) {
        const int32x4_t v = vrshlq_s32(vld1q_s32(x + i), vdupq_n_s32(-shift));
        const int32x4_t gain = vld1q_s32(n->gain + i);
        squares = vmlal_s32(squares, vget_low_s32(v), vget_low_s32(v));
        squares = vmlal_high_s32(squares, v, v);
        const int32x4_t y = MUL_ROUND(v, gain, 15);
        max = vmaxq_s32(max, vabsq_s32(y));
        vst1q_s32(ret_y + i, y);
    }
    *ret_max = vmaxvq_s32(max);
    return norm_sum((uint64_t)vaddvq_s64(squares), n->eps, shift);
}

static void op_norm_out(const struct norm *n, const int32_t *x, int32_t *y, bool add,
                        int32_t *row) {
    int half;
    int32_t max;
    const int32x4_t r = vdupq_n_s32((int32_t)inv_sqrt(norm_core(n, x, row, &max), &half));
    const int32x4_t down = vdupq_n_s32(-clamp_shift(n->shift + half));
    for (uint32_t i = 0; i < n->count; i += 4) {
        const int32x4_t v = mul_shift(vld1q_s32(row + i), r, down);
        vst1q_s32(y + i, add ? cap4(vaddq_s32(vld1q_s32(y + i), v)) : v);
    }
}

/* ---- linear ---- */

/* A column is a limb of a row. Columns go in groups of at most 6, against 16 rows of weights, a
 * cache line: 6 x 4 sums, 6 columns' bytes and a register of weights fit in 32. One or two columns
 * go against 32 rows. */
enum { GROUP = 6 };

static void sums_init(const struct linear *l, uint32_t first, tile_sums *ret_sums, uint32_t count) {
    (void)l;
    (void)first;
    memset(ret_sums, 0, count * sizeof *ret_sums);
}

/* Four inputs of each column, against 4 * quads rows. */
#define DOT_LANE(lane)                                                                             \
    do {                                                                                           \
        _Pragma("GCC unroll 8") for (uint32_t r = 0; r < quads; r++) {                             \
            const int8x16_t rows = vld1q_s8(w + 16 * r);                                           \
            _Pragma("GCC unroll 6") for (uint32_t j = 0; j < count; j++) {                         \
                a[j][r] = vdotq_laneq_s32(a[j][r], rows, q[j], lane);                              \
            }                                                                                      \
        }                                                                                          \
        w += 256;                                                                                  \
    } while (0)

/* A block of 4 * quads rows from `row` on, for a group of columns; with fetch the lines of weights
 * that follow in the next block, too. */
INLINE void dot(const uint32_t count, const uint32_t quads, const bool fetch, const int8_t *w,
                uint32_t steps, const uint8_t *const *x, uint32_t row, tile_sums *sums) {
    const int8_t *ahead = w + 256 * (size_t)steps;
    int32x4_t a[GROUP][8];
    const int8_t *column[GROUP];
#pragma GCC unroll 6
    for (uint32_t j = 0; j < count; j++) {
        column[j] = (const int8_t *)x[j];
#pragma GCC unroll 8
        for (uint32_t r = 0; r < quads; r++) {
            a[j][r] = vld1q_s32(sums[j] + row + 4 * r);
        }
    }
    for (uint32_t k = 0; k < steps; k += 4) {
        int8x16_t q[GROUP];
#pragma GCC unroll 6
        for (uint32_t j = 0; j < count; j++) {
            q[j] = vld1q_s8(column[j] + 4 * k);
        }
#pragma GCC unroll 8
        for (uint32_t i = 0; fetch && i < quads; i++, ahead += 1024 / quads) {
            __builtin_prefetch(ahead);
            if (quads == 8) {
                __builtin_prefetch(ahead + 64);
            }
        }
        DOT_LANE(0);
        DOT_LANE(1);
        DOT_LANE(2);
        DOT_LANE(3);
    }
#pragma GCC unroll 6
    for (uint32_t j = 0; j < count; j++) {
#pragma GCC unroll 8
        for (uint32_t r = 0; r < quads; r++) {
            vst1q_s32(sums[j] + row + 4 * r, a[j][r]);
        }
    }
}

INLINE void dot_rows(const uint32_t count, const bool fetch, const int8_t *w, uint32_t steps,
                     const uint8_t *const *x, tile_sums *sums) {
    const uint32_t quads = count <= 2 ? 8 : 4;
    for (uint32_t row = 0; row < EXACT_TILE; row += 4 * quads, w += 16 * quads) {
        dot(count, quads, fetch, w, steps, x, row, sums);
    }
}

INLINE void dot_group(uint32_t count, const bool fetch, const int8_t *w, uint32_t steps,
                      const uint8_t *const *x, tile_sums *sums) {
    switch (count) {
    case 1:
        dot_rows(1, fetch, w, steps, x, sums);
        break;
    case 2:
        dot_rows(2, fetch, w, steps, x, sums);
        break;
    case 3:
        dot_rows(3, fetch, w, steps, x, sums);
        break;
    case 4:
        dot_rows(4, fetch, w, steps, x, sums);
        break;
    case 5:
        dot_rows(5, fetch, w, steps, x, sums);
        break;
    case GROUP:
        dot_rows(GROUP, fetch, w, steps, x, sums);
        break;
    }
}

/* In groups of about equal size, of which the first fetches the next block for all. */
static void sums_add(const int8_t *w, uint32_t steps, const uint8_t *const *x, uint32_t rows,
                     bool wide, tile_sums *sums) {
    const uint32_t columns = wide ? 2 * rows : rows, groups = (columns + GROUP - 1) / GROUP;
    for (uint32_t g = 0; g < groups; g++) {
        const uint32_t count = columns / groups + (g < columns % groups);
        if (g == 0) {
            dot_group(count, true, w, steps, x, sums);
        } else {
            dot_group(count, false, w, steps, x, sums);
        }
        x += count;
        sums += count;
    }
}

static void requant(const struct linear *l, const struct quant *q, uint32_t first,
                    const tile_sums *sums, int32_t *y, bool add) {
    const int shift = l->wide ? l->shift : 1;
    for (uint32_t r = 0; r < EXACT_TILE; r += 4) {
        const uint32_t n = first + r;
        int32x4_t acc = vld1q_s32(sums[0] + r);
        if (l->wide) {
            /* round_shift(256 * hi + lo, s): 256 * hi is a multiple of 2^s */
            const int32x4_t low = vrshlq_s32(vld1q_s32(sums[1] + r), vdupq_n_s32(-shift));
            acc = vaddq_s32(vshlq_s32(acc, vdupq_n_s32(8 - shift)), low);
        }
        const int32x4_t scale = vmulq_n_s32(vmovl_s16(vld1_s16(l->m + n)), q->mant);
        const int32x4_t s = vsubq_s32(vmovl_s16(vld1_s16(l->s + n)), vdupq_n_s32(q->exp));
        int32x4_t v = mul_shift(acc, scale, clamp_down(s));
        if (l->bias != NULL) {
            v = cap4(vaddq_s32(v, vld1q_s32(l->bias + n)));
        }
        vst1q_s32(y + n, add ? cap4(vaddq_s32(vld1q_s32(y + n), v)) : v);
    }
}

/* ---- attention ---- */

static void op_rope(uint32_t head_dim, const int16_t *table, int32_t *x) {
    for (uint32_t i = 0; i < head_dim; i += 8) {
        int32x4x2_t v = vld2q_s32(x + i);
        const int32x4_t a = v.val[0], b = v.val[1];
        const int16x4x2_t t = vld2_s16(table + i);
        const int32x4_t c = vmovl_s16(t.val[0]), s = vmovl_s16(t.val[1]);
        const int32x2_t a0 = vget_low_s32(a), b0 = vget_low_s32(b);
        const int32x2_t c0 = vget_low_s32(c), s0 = vget_low_s32(s);
        const int64x2_t re0 = vmlsl_s32(vmull_s32(a0, c0), b0, s0);
        const int64x2_t re1 = vmlsl_high_s32(vmull_high_s32(a, c), b, s);
        const int64x2_t im0 = vmlal_s32(vmull_s32(a0, s0), b0, c0);
        const int64x2_t im1 = vmlal_high_s32(vmull_high_s32(a, s), b, c);
        v.val[0] = cap4(vqrshrn_high_n_s64(vqrshrn_n_s64(re0, 15), re1, 15));
        v.val[1] = cap4(vqrshrn_high_n_s64(vqrshrn_n_s64(im0, 15), im1, 15));
        vst2q_s32(x + i, v);
    }
}

/* Which of the 4 positions from `at` on a query sees: all bits of a lane, or none. */
INLINE uint32x4_t seen(const struct head *h, uint32_t at) {
    static const uint32_t order[4] = {0, 1, 2, 3};
    const uint32x4_t pos = vaddq_u32(vdupq_n_u32(at), vld1q_u32(order));
    return vandq_u32(vcgeq_u32(pos, vdupq_n_u32(h->first)), vcleq_u32(pos, vdupq_n_u32(h->pos)));
}

/* Four elements of the query, against 16 keys. */
#define DOT_KEYS(lane)                                                                             \
    do {                                                                                           \
        _Pragma("GCC unroll 4") for (int r = 0; r < 4; r++) {                                      \
            a[lane % 2][r] = vdotq_laneq_s32(a[lane % 2][r], vld1q_s8(k + 16 * r), q, lane);       \
        }                                                                                          \
        k += 64;                                                                                   \
    } while (0)

static void score_keys(uint32_t head_dim, const struct kv *kv, struct head *h, uint32_t from,
                       uint32_t to) {
    const int32x4_t exp = vdupq_n_s32(-4 - h->exp);
    int32x4_t best = vdupq_n_s32(h->best);
    const int8_t *k = kv->k + (size_t)from * head_dim;
    for (uint32_t j = from; j < to; j += 16) {
        int32x4_t a[2][4];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            a[0][r] = a[1][r] = vdupq_n_s32(0);
        }
        for (uint32_t i = 0; i < head_dim; i += 16) {
            const int8x16_t q = vld1q_s8((const int8_t *)h->q + i);
            DOT_KEYS(0);
            DOT_KEYS(1);
            DOT_KEYS(2);
            DOT_KEYS(3);
        }
#pragma GCC unroll 4
        for (uint32_t r = 0; r < 4; r++) {
            const uint32_t at = j + 4 * r;
            const int32x4_t acc = vaddq_s32(a[0][r], a[1][r]);
            const int32x4_t k_scale = vld1q_s32(kv->k_scale + at);
            /* mant * k_mant < 2^32: shifted as unsigned it is below 2^16, the scale below 2^31 */
            uint32x4_t scale = vandq_u32(vreinterpretq_u32_s32(k_scale), vdupq_n_u32(0xffff));
            scale = vshrq_n_u32(vmulq_n_u32(scale, (uint32_t)h->mant), 16);
            scale = vmulq_n_u32(scale, 16643);
            const int32x4_t s = clamp_down(vsubq_s32(exp, vshrq_n_s32(k_scale, 16)));
            const int32x4_t score = mul_shift(acc, vreinterpretq_s32_u32(scale), s);
            vst1q_s32(h->score + at, score);
            best = vmaxq_s32(best, vbslq_s32(seen(h, at), score, best));
        }
    }
    h->best = vmaxvq_s32(best);
}
static_assert(65535LL * 16643 < (1LL << 31), "scale of a score");

/* table[i] of 32 entries in 128 bytes */
INLINE uint32x4_t look_up(const uint8x16x4_t table[2], uint32x4_t i) {
    /* the bytes 4 i + 0, 1, 2, 3; an index past a table's 64 leaves what was there */
    const uint32x4_t first = vmulq_n_u32(i, 0x04040404);
    const uint8x16_t at = vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100)));
    const uint8x16_t low = vqtbl4q_u8(table[0], at);
    return vreinterpretq_u32_u8(vqtbx4q_u8(low, table[1], vsubq_u8(at, vdupq_n_u8(64))));
}
INLINE void table_load(uint8x16x4_t ret_table[2], const int32_t *from) {
    for (int i = 0; i < 8; i++) {
        ret_table[i / 4].val[i % 4] = vreinterpretq_u8_s32(vld1q_s32(from + 4 * i));
    }
}

/* Weights of a block: the upper limbs, a byte each, then the lower ones, then the sum of all. */
static uint64_t weigh_keys(const struct kv *kv, struct head *h, uint32_t from, uint32_t to) {
    const uint32_t block = from / EXACT_BLOCK, base = block * EXACT_BLOCK;
    const uint32_t end = from + (to - from + 15) / 16 * 16;
    const int32x4_t best = vdupq_n_s32(h->best);
    uint8x16x4_t power[2], diff[2];
    uint64x2_t share[EXACT_BLOCK / 2], top = vdupq_n_u64(0), sum = top;
    table_load(power, asy_sample_exp2_table);
    table_load(diff, exact_exp2_diff);
    for (uint32_t j = from; j < end; j += 4) {
        const uint32x4_t d = vreinterpretq_u32_s32(vsubq_s32(best, vld1q_s32(h->score + j)));
        const uint32x4_t i = vandq_u32(vshrq_n_u32(d, 11), vdupq_n_u32(31));
        const uint32x4_t f = vandq_u32(d, vdupq_n_u32(2047));
        const uint32x4_t slope = vshrq_n_u32(vmulq_u32(look_up(diff, i), f), 11);
        uint32x4_t p = vshlq_n_u32(vsubq_u32(look_up(power, i), slope), 6);
        /* ushl looks at a byte of the count alone; 32 leaves nothing */
        const uint32x4_t n = vminq_u32(vshrq_n_u32(d, 16), vdupq_n_u32(32));
        p = vshlq_u32(p, vnegq_s32(vreinterpretq_s32_u32(n)));
        p = vandq_u32(p, seen(h, j));
        sum = vpadalq_u32(sum, p);
        const uint32x4_t v = vld1q_u32((const uint32_t *)kv->v_max + j);
        const uint64x2_t a = vmull_u32(vget_low_u32(p), vget_low_u32(v)), b = vmull_high_u32(p, v);
        share[(j - base) / 2] = a;
        share[(j - base) / 2 + 1] = b;
        top = vorrq_u64(top, vorrq_u64(a, b)); /* of the maximum only the length counts */
    }
    const int len = bit_len(vgetq_lane_u64(top, 0) | vgetq_lane_u64(top, 1));
    const int bits = len > EXACT_WEIGHT ? len - EXACT_WEIGHT : 0;
    h->bits[block] = (uint8_t)bits;

    const int64x2_t down = vdupq_n_s64(-bits);
    uint8_t *high = (uint8_t *)(h->score + base), *low = high + EXACT_BLOCK;
    uint32x4_t total = vdupq_n_u32(0);
    for (uint32_t j = from - base; j < end - base; j += 8) {
        uint32x4_t w[2];
        for (uint32_t r = 0; r < 2; r++) {
            const uint64x2_t a = vrshlq_u64(share[j / 2 + 2 * r], down);
            const uint64x2_t b = vrshlq_u64(share[j / 2 + 2 * r + 1], down);
            w[r] =
                vminq_u32(vmovn_high_u64(vmovn_u64(a), b), vdupq_n_u32((1u << EXACT_WEIGHT) - 1));
            total = vaddq_u32(total, w[r]);
        }
        const uint16x8_t both = vmovn_high_u32(vmovn_u32(w[0]), w[1]);
        vst1_u8(high + j, vshrn_n_u16(both, 8));
        vst1_u8(low + j, vmovn_u16(both));
    }
    const uint32_t all = vaddvq_u32(total);
    memcpy(low + EXACT_BLOCK, &all, sizeof all);
    return vaddvq_u64(sum);
}

/* 4 * quads sums. udot takes unsigned bytes only: v + 128 in place of v, and the weights' sum times
 * 128 is taken off. */
INLINE void dot_values(const uint32_t quads, const uint8_t *high, const uint8_t *low,
                       const int8_t *v, size_t step, uint32_t fours, uint32_t all,
                       int32_t *ret_sums) {
    uint32x4_t a[8], b[8];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < quads; i++) {
        a[i] = b[i] = vdupq_n_u32(0);
    }
    for (uint32_t j = 0; j < fours; j++, v += step) {
        uint32_t wh, wl;
        memcpy(&wh, high + 4 * j, 4);
        memcpy(&wl, low + 4 * j, 4);
        const uint8x16_t h = vreinterpretq_u8_u32(vdupq_n_u32(wh));
        const uint8x16_t l = vreinterpretq_u8_u32(vdupq_n_u32(wl));
#pragma GCC unroll 8
        for (uint32_t i = 0; i < quads; i++) {
            const uint8x16_t x =
                veorq_u8(vreinterpretq_u8_s8(vld1q_s8(v + 16 * i)), vdupq_n_u8(128));
            a[i] = vdotq_u32(a[i], h, x);
            b[i] = vdotq_u32(b[i], l, x);
        }
    }
#pragma GCC unroll 8
    for (uint32_t i = 0; i < quads; i++) {
        const uint32x4_t x = vaddq_u32(vshlq_n_u32(a[i], 8), b[i]);
        vst1q_s32(ret_sums + 4 * i, vreinterpretq_s32_u32(vsubq_u32(x, vdupq_n_u32(128 * all))));
    }
}

static void sum_values(uint32_t head_dim, const struct kv *kv, const struct head *h, uint32_t from,
                       uint32_t to, uint32_t element, uint32_t count, int32_t *ret_sums) {
    const uint32_t base = from / EXACT_BLOCK * EXACT_BLOCK, fours = (to - from + 3) / 4;
    const uint8_t *high = (const uint8_t *)(h->score + base), *low = high + EXACT_BLOCK;
    const int8_t *v = kv->v + value_at(head_dim, from, element);
    const size_t step = 4 * (size_t)head_dim;
    uint32_t all;
    memcpy(&all, low + EXACT_BLOCK, sizeof all);
    high += from - base;
    low += from - base;
    for (uint32_t i = 0; i < count; i += 32) {
        if (count - i >= 32) {
            dot_values(8, high, low, v + 4 * i, step, fours, all, ret_sums + i);
        } else {
            dot_values(4, high, low, v + 4 * i, step, fours, all, ret_sums + i);
        }
    }
}

static void divide_sums(const int64_t *sums, uint32_t count, struct divide d, int32_t *ret_o) {
    for (uint32_t i = 0; i < count; i++) {
        ret_o[i] = cap(round_shift(sums[i] * d.factor, d.shift));
    }
}

/* ---- activation ---- */

/* An entry of the table and the next. */
INLINE int32x2_t entry(const struct act_table *t, int32x4_t segment, const int lane) {
    return vld1_s32(t->at + (lane == 0   ? vgetq_lane_s32(segment, 0)
                             : lane == 1 ? vgetq_lane_s32(segment, 1)
                             : lane == 2 ? vgetq_lane_s32(segment, 2)
                                         : vgetq_lane_s32(segment, 3)));
}

static void op_gate(enum asy_exact_activation act, const int32_t *gu, uint32_t count, int32_t *h) {
    const struct act_table *t = &exact_act_table[act];
    const int32x4_t down = vdupq_n_s32(-(int32_t)t->bits), one = vdupq_n_s32(1 << 20);
    for (uint32_t i = 0; i < count; i += 4) {
        const int32x4x2_t pair = vld2q_s32(gu + 2 * i);
        const int32x4_t g = pair.val[0], u = pair.val[1], a = vabsq_s32(g);
        const int32x4_t f = vandq_s32(a, vdupq_n_s32((1 << t->bits) - 1));
        /* past the end: the last two entries, both of which are 2^20 */
        const int32x4_t segment = vminq_s32(vshlq_s32(a, down), vdupq_n_s32(EXACT_SEGMENTS - 2));
        const int32x4_t t0 = vcombine_s32(entry(t, segment, 0), entry(t, segment, 1));
        const int32x4_t t1 = vcombine_s32(entry(t, segment, 2), entry(t, segment, 3));
        int32x4_t p = vuzp1q_s32(t0, t1);
        const int32x4_t slope = vmulq_s32(vsubq_s32(vuzp2q_s32(t0, t1), p), f);
        p = vaddq_s32(p, vrshlq_s32(slope, down));
        p = vbslq_s32(vcltzq_s32(g), vsubq_s32(one, p), p);
        const int32x4_t y = MUL_ROUND(g, p, 20);
        vst1q_s32(h + i, cap4(MUL_ROUND_SAT(y, u, EXACT_UNIT)));
    }
}

const struct ops exact_ops_neon = {
    .kernel = ASY_EXACT_NEON,
    .norm_quant = op_norm_quant,
    .norm_out = op_norm_out,
    .quant = op_quant,
    .linear = op_linear,
    .rope = op_rope,
    .put = op_put,
    .attend = op_attend,
    .gate = op_gate,
};
