/* ops_avx512.c: the operators with AVX-512 (F, BW, VL, DQ, CD) and VNNI.
 *
 * vpdpbusd multiplies unsigned bytes by signed ones and sums exactly. So activations and queries
 * are stored as q + 128, against signed weights and keys, and the 128 * sum(w) that this adds is
 * taken off again: linear.sums and kv.k_sum hold the sums. All 32-bit sums may wrap on the way;
 * what counts is that the true value fits.
 *
 * A quantised row: bytes [cols] of q + 128. A wide one, q = 256 * hi + lo with hi in [-127, 127]
 * and lo in [-128, 127], has two limbs: [cols] of hi + 128, then [cols] of lo + 128.
 */
#include <immintrin.h>

#define PART_SIZE  1u
#define WIDE_PARTS 2u
#include "exact/kernel_priv.h"
#include "sample/sample.h"

#define ODD  0xaaaau /* mask of the odd 32-bit lanes */
#define EVEN 0x5555u

INLINE __m512i load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void store(void *p, __m512i x) { _mm512_storeu_si512(p, x); }
INLINE __m512i load_i16(const int16_t *p) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const void *)p));
}
INLINE __m512i splat(int32_t x) { return _mm512_set1_epi32(x); }
INLINE __m512i splat64(int64_t x) { return _mm512_set1_epi64(x); }
/* four bytes, repeated */
INLINE __m512i splat_bytes(const uint8_t *p) {
    int32_t x;
    memcpy(&x, p, 4);
    return splat(x);
}

/* 64-bit products live in pairs of registers: those of the even lanes, and those of the odd ones.
 * odd moves the odd lanes to where vpmuldq reads; join makes one register of the low halves. */
INLINE __m512i odd(__m512i x) { return _mm512_shuffle_epi32(x, _MM_PERM_DDBB); }
INLINE __m512i join(__m512i e, __m512i o) {
    return _mm512_mask_shuffle_epi32(e, ODD, o, _MM_PERM_CCAA);
}
INLINE __m512i join_high(__m512i e, __m512i o) {
    return _mm512_mask_shuffle_epi32(o, EVEN, e, _MM_PERM_DDBB);
}
INLINE __m512i cap16(__m512i x) {
    return _mm512_max_epi32(_mm512_min_epi32(x, splat(EXACT_CAP)), splat(-EXACT_CAP));
}

/* cap(round_shift(x * y, shift + 1)) for |x * y| < 2^62 and shift in [0, 61], each lane its own:
 * floor((p + 2^(s-1)) / 2^s) = floor((floor(p / 2^(s-1)) + 1) / 2). The inner quotient is clamped
 * to where its half is the cap, so that the rest fits in 32 bits. */
INLINE __m512i mul_shift(__m512i x, __m512i y, __m512i shift) {
    const __m512i high = splat64(2 * EXACT_CAP), low = splat64(-2 * EXACT_CAP - 1);
    __m512i e = _mm512_mul_epi32(x, y), o = _mm512_mul_epi32(odd(x), odd(y));
    e = _mm512_srav_epi64(e, _mm512_maskz_mov_epi32(EVEN, shift));
    o = _mm512_srav_epi64(o, _mm512_maskz_shuffle_epi32(EVEN, shift, _MM_PERM_DDBB));
    e = _mm512_max_epi64(_mm512_min_epi64(e, high), low);
    o = _mm512_max_epi64(_mm512_min_epi64(o, high), low);
    return _mm512_srai_epi32(_mm512_add_epi32(join(e, o), splat(1)), 1);
}
static_assert(2LL * EXACT_CAP + 1 <= INT32_MAX, "the clamped quotient and its rounding fit");
/* clamp_shift(s) - 1, for mul_shift */
INLINE __m512i clamp_shift16(__m512i s) {
    s = _mm512_sub_epi32(s, splat(1));
    return _mm512_min_epi32(_mm512_max_epi32(s, _mm512_setzero_si512()), splat(61));
}

/* round_shift(x * y, s) where that fits in 32 bits, for a constant s in [1, 31] */
INLINE __m512i mul_round(__m512i x, __m512i y, const unsigned s) {
    const __m512i half = splat64((int64_t)1 << (s - 1));
    __m512i e = _mm512_add_epi64(_mm512_mul_epi32(x, y), half);
    __m512i o = _mm512_add_epi64(_mm512_mul_epi32(odd(x), odd(y)), half);
    return _mm512_mask_blend_epi32(ODD, _mm512_srli_epi64(e, s), _mm512_slli_epi64(o, 32 - s));
}

static int32_t abs_max(const int32_t *y, uint32_t count) {
    __m512i max = splat(1);
    for (uint32_t i = 0; i < count; i += 16) {
        max = _mm512_max_epi32(max, _mm512_abs_epi32(load(y + i)));
    }
    return _mm512_reduce_max_epi32(max);
}

/* ---- quantisation ---- */

INLINE __m512i quant16(struct quantiser k, __m512i y) {
    const __m512i factor = splat64(k.factor), half = splat64((int64_t)1 << (k.down - 1));
    y = _mm512_sll_epi32(y, _mm_cvtsi32_si128(k.up));
    __m512i e = _mm512_add_epi64(_mm512_mul_epi32(y, factor), half);
    __m512i o = _mm512_add_epi64(_mm512_mul_epi32(odd(y), factor), half);
    return _mm512_sra_epi32(join_high(e, o), _mm_cvtsi32_si128(k.down - 32));
}

INLINE void store_bytes(void *p, __m512i x) {
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(x));
}

static void quant_row(const int32_t *y, uint32_t cols, bool wide, int32_t max, uint8_t *ret_q) {
    const struct quantiser k = quantiser(max, wide);
    const __m512i offset = splat(128);
    for (uint32_t i = 0; i < cols; i += 16) {
        /* also the rounding of the upper limb: q + 128 = 256 * hi + (lo + 128) */
        __m512i q = _mm512_add_epi32(quant16(k, load(y + i)), offset);
        if (wide) {
            store_bytes(ret_q + i, _mm512_add_epi32(_mm512_srai_epi32(q, 8), offset));
            store_bytes(ret_q + cols + i, q);
        } else {
            store_bytes(ret_q + i, q);
        }
    }
}

static int32_t quant_head(const int32_t *y, uint32_t count, int32_t max, int8_t *ret_q) {
    const struct quantiser k = quantiser(max, false);
    __m512i sum = _mm512_setzero_si512();
    for (uint32_t i = 0; i < count; i += 16) {
        __m512i q = quant16(k, load(y + i));
        sum = _mm512_add_epi32(sum, q);
        store_bytes(ret_q + i, q);
    }
    return _mm512_reduce_add_epi32(sum);
}

/* ---- norms ---- */

static uint64_t norm_core(const struct norm *n, const int32_t *x, int32_t *ret_y,
                          int32_t *ret_max) {
    int shift = norm_shift(abs_max(x, n->count));
    const __m512i half = splat(shift > 0 ? 1 << (shift - 1) : 0);
    const __m128i down = _mm_cvtsi32_si128(shift);
    __m512i squares = _mm512_setzero_si512(), max = splat(1);
    for (uint32_t i = 0; i < n->count; i += 16) {
        __m512i v = _mm512_sra_epi32(_mm512_add_epi32(load(x + i), half), down), v_odd = odd(v);
        squares = _mm512_add_epi64(squares, _mm512_mul_epi32(v, v));
        squares = _mm512_add_epi64(squares, _mm512_mul_epi32(v_odd, v_odd));
        __m512i y = mul_round(v, load(n->gain + i), 15);
        max = _mm512_max_epi32(max, _mm512_abs_epi32(y));
        store(ret_y + i, y);
    }
    *ret_max = _mm512_reduce_max_epi32(max);
    return norm_sum((uint64_t)_mm512_reduce_add_epi64(squares), n->eps, shift);
}

static void op_norm_out(const struct norm *n, const int32_t *x, int32_t *y, bool add,
                        int32_t *row) {
    int half;
    int32_t max;
    int64_t r = inv_sqrt(norm_core(n, x, row, &max), &half);
    const __m512i factor = splat((int32_t)r), shift = clamp_shift16(splat(n->shift + half));
    for (uint32_t i = 0; i < n->count; i += 16) {
        __m512i v = mul_shift(load(row + i), factor, shift);
        store(y + i, add ? cap16(_mm512_add_epi32(load(y + i), v)) : v);
    }
}

/* ---- linear ---- */

/* A column is a limb of a row. Columns go in groups of at most 6, since 4 x 6 sums, 4 registers of
 * weights and a column's bytes fit in 32. */
enum { GROUP = 6 };
/* How far ahead memory is read when one group does it all; otherwise it is the next block. */
enum { AHEAD = 8192 };

static void sums_init(const struct linear *l, uint32_t first, tile_sums *ret_sums, uint32_t count) {
    for (uint32_t r = 0; r < EXACT_TILE; r += 16) {
        __m512i offset = _mm512_slli_epi32(load(l->sums + first + r), 7);
        offset = _mm512_sub_epi32(_mm512_setzero_si512(), offset);
        for (uint32_t j = 0; j < count; j++) {
            store(ret_sums[j] + r, offset);
        }
    }
}

/* sums[j] += a block of weights times the bytes of column j. On the way it fetches `lines` of every
 * four cache lines from `ahead` on: the groups share the next block between them, so that memory is
 * read at an even pace while they compute (measured with 16 rows: 1.5 times as fast). A group that
 * has the weights to itself fetches all four, past the outer caches: nobody reads them again in
 * this step, and what does not pass through those does not cost their time (measured with one row:
 * 1.1 times as fast). */
INLINE void dot(const uint32_t count, const unsigned lines, const int8_t *w, uint32_t steps,
                const int8_t *ahead, const uint8_t *const *x, tile_sums *sums) {
    __m512i a[GROUP][4];
    const uint8_t *column[GROUP];
#pragma GCC unroll 6
    for (uint32_t j = 0; j < count; j++) {
        column[j] = x[j];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            a[j][r] = load(sums[j] + 16 * r);
        }
    }
    for (uint32_t k = 0; k < steps; k++) {
#pragma GCC unroll 4
        for (unsigned i = 0; i < lines; i++) {
            if (lines == 4) { /* the hint is a constant, also where nothing is optimised */
                _mm_prefetch((const char *)ahead + 64 * i, _MM_HINT_NTA);
            } else {
                _mm_prefetch((const char *)ahead + 64 * i, _MM_HINT_T0);
            }
        }
        ahead += 256;
        const __m512i w0 = load(w), w1 = load(w + 64), w2 = load(w + 128), w3 = load(w + 192);
        w += 256;
#pragma GCC unroll 6
        for (uint32_t j = 0; j < count; j++) {
            const __m512i b = splat_bytes(column[j] + 4 * k);
            a[j][0] = _mm512_dpbusd_epi32(a[j][0], b, w0);
            a[j][1] = _mm512_dpbusd_epi32(a[j][1], b, w1);
            a[j][2] = _mm512_dpbusd_epi32(a[j][2], b, w2);
            a[j][3] = _mm512_dpbusd_epi32(a[j][3], b, w3);
        }
    }
#pragma GCC unroll 6
    for (uint32_t j = 0; j < count; j++) {
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            store(sums[j] + 16 * r, a[j][r]);
        }
    }
}

INLINE void dot_group(uint32_t count, const unsigned lines, const int8_t *w, uint32_t steps,
                      const int8_t *ahead, const uint8_t *const *x, tile_sums *sums) {
    switch (count) {
    case 1:
        dot(1, lines, w, steps, ahead, x, sums);
        break;
    case 2:
        dot(2, lines, w, steps, ahead, x, sums);
        break;
    case 3:
        dot(3, lines, w, steps, ahead, x, sums);
        break;
    case 4:
        dot(4, lines, w, steps, ahead, x, sums);
        break;
    case 5:
        dot(5, lines, w, steps, ahead, x, sums);
        break;
    case GROUP:
        dot(GROUP, lines, w, steps, ahead, x, sums);
        break;
    }
}

/* In groups of about equal size. */
static void sums_add(const int8_t *w, uint32_t steps, const uint8_t *const *x, uint32_t rows,
                     bool wide, tile_sums *sums) {
    const uint32_t columns = wide ? 2 * rows : rows, groups = (columns + GROUP - 1) / GROUP;
    const int8_t *next = w + 256 * (size_t)steps;
    for (uint32_t g = 0; g < groups; g++) {
        const uint32_t count = columns / groups + (g < columns % groups);
        if (groups == 1) {
            dot_group(count, 4, w, steps, w + AHEAD, x, sums);
        } else if (groups < 4) {
            dot_group(count, 2, w, steps, next + 128 * (g % 2), x, sums);
        } else {
            dot_group(count, 1, w, steps, next + 64 * (g % 4), x, sums);
        }
        x += count;
        sums += count;
    }
}

static void requant(const struct linear *l, const struct quant *q, uint32_t first,
                    const tile_sums *sums, int32_t *y, bool add) {
    const __m512i mant = splat(q->mant), exp = splat(q->exp);
    const int shift = l->wide ? l->shift : 1;
    const __m512i half = splat(1 << (shift - 1));
    const __m128i down = _mm_cvtsi32_si128(shift), up = _mm_cvtsi32_si128(8 - shift);
    for (uint32_t r = 0; r < EXACT_TILE; r += 16) {
        const uint32_t n = first + r;
        __m512i acc = load(sums[0] + r);
        if (l->wide) {
            /* round_shift(256 * hi + lo, s): 256 * hi is a multiple of 2^s */
            __m512i low = _mm512_sra_epi32(_mm512_add_epi32(load(sums[1] + r), half), down);
            acc = _mm512_add_epi32(_mm512_sll_epi32(acc, up), low);
        }
        __m512i scale = _mm512_mullo_epi32(load_i16(l->m + n), mant);
        __m512i v = mul_shift(acc, scale, clamp_shift16(_mm512_sub_epi32(load_i16(l->s + n), exp)));
        if (l->bias != NULL) {
            v = cap16(_mm512_add_epi32(v, load(l->bias + n)));
        }
        store(y + n, add ? cap16(_mm512_add_epi32(load(y + n), v)) : v);
    }
}

/* ---- attention ---- */

static void op_rope(uint32_t head_dim, const int16_t *table, int32_t *x) {
    const __m512i half = splat64(1 << 14);
    for (uint32_t i = 0; i < head_dim; i += 16) {
        __m512i a = load(x + i), b = odd(a), c = load_i16(table + i), s = odd(c);
        __m512i e = _mm512_sub_epi64(_mm512_mul_epi32(a, c), _mm512_mul_epi32(b, s));
        __m512i o = _mm512_add_epi64(_mm512_mul_epi32(a, s), _mm512_mul_epi32(b, c));
        e = _mm512_srli_epi64(_mm512_add_epi64(e, half), 15);
        o = _mm512_slli_epi64(_mm512_add_epi64(o, half), 32 - 15);
        store(x + i, cap16(_mm512_mask_blend_epi32(ODD, e, o)));
    }
}
/* |a * c - b * s| <= 2 * cap * 2^15, and its 2^-15th, rounded, fits before it is capped */
static_assert(2LL * EXACT_CAP <= INT32_MAX, "rotation");

/* Which of the 16 positions from `at` on a query sees. */
INLINE __mmask16 seen(const struct head *h, uint32_t at) {
    uint32_t mask = 0xffff;
    if (at < h->first) {
        mask &= 0xffffu << (h->first - at);
    }
    if (h->pos - at < 15) {
        mask &= (2u << (h->pos - at)) - 1;
    }
    return (__mmask16)mask;
}

/* Sums over 4 * count elements of a query with the keys of groups of 16, k and step bytes on. */
INLINE void dot_keys(const uint32_t count, const uint8_t *q, const int8_t *k, size_t step,
                     uint32_t groups, bool more, int32_t *sums) {
    __m512i b[16];
#pragma GCC unroll 16
    for (uint32_t i = 0; i < count; i++) {
        b[i] = splat_bytes(q + 4 * i);
    }
    for (; groups > 0; groups--, k += step, sums += 16) {
        __m512i a[4];
        a[0] = more ? load(sums) : _mm512_setzero_si512();
        a[1] = a[2] = a[3] = _mm512_setzero_si512();
#pragma GCC unroll 16
        for (uint32_t i = 0; i < count; i++) {
            a[i % 4] = _mm512_dpbusd_epi32(a[i % 4], b[i], load(k + 64 * i));
        }
        store(sums, _mm512_add_epi32(_mm512_add_epi32(a[0], a[1]), _mm512_add_epi32(a[2], a[3])));
    }
}

static void score_keys(uint32_t head_dim, const struct kv *kv, struct head *h, uint32_t from,
                       uint32_t to) {
    const uint32_t groups = (to - from + 15) / 16;
    const int8_t *k = kv->k + (size_t)from * head_dim;
    const size_t step = 16 * (size_t)head_dim;
    int32_t *score = h->score + from;
    for (uint32_t i = 0; i < head_dim; i += 64) {
        switch (head_dim - i) {
        case 16:
            dot_keys(4, h->q + i, k + 16 * i, step, groups, i > 0, score);
            break;
        case 32:
            dot_keys(8, h->q + i, k + 16 * i, step, groups, i > 0, score);
            break;
        case 48:
            dot_keys(12, h->q + i, k + 16 * i, step, groups, i > 0, score);
            break;
        default:
            dot_keys(16, h->q + i, k + 16 * i, step, groups, i > 0, score);
            break;
        }
    }
    const __m512i mant = splat(h->mant), exp = splat(-4 - h->exp);
    __m512i best = splat(h->best);
    for (uint32_t j = from; j < to; j += 16, score += 16) {
        __m512i acc = _mm512_sub_epi32(load(score), _mm512_slli_epi32(load(kv->k_sum + j), 7));
        __m512i k_scale = load(kv->k_scale + j);
        /* mant * k_mant < 2^32: shifted as unsigned it is below 2^16, and the scale below 2^31 */
        __m512i k_mant = _mm512_and_si512(k_scale, splat(0xffff));
        __m512i scale = _mm512_srli_epi32(_mm512_mullo_epi32(k_mant, mant), 16);
        scale = _mm512_mullo_epi32(scale, splat(16643));
        __m512i s = clamp_shift16(_mm512_sub_epi32(exp, _mm512_srai_epi32(k_scale, 16)));
        s = mul_shift(acc, scale, s);
        best = _mm512_mask_max_epi32(best, seen(h, j), best, s);
        store(score, s);
    }
    h->best = _mm512_reduce_max_epi32(best);
}
static_assert(65535LL * 16643 < (1LL << 31), "scale of a score");

static uint64_t weigh_keys(const struct kv *kv, struct head *h, uint32_t from, uint32_t to) {
    const uint32_t block = from / EXACT_BLOCK, base = block * EXACT_BLOCK;
    const __m512i power0 = load(asy_sample_exp2_table), power1 = load(asy_sample_exp2_table + 16);
    const __m512i diff0 = load(exact_exp2_diff), diff1 = load(exact_exp2_diff + 16);
    const __m512i best = splat(h->best);
    __m512i share[EXACT_BLOCK / 8], top = _mm512_setzero_si512(), sum = top;
    for (uint32_t j = from; j < to; j += 16) {
        __m512i d = _mm512_sub_epi32(best, load(h->score + j)), i = _mm512_srli_epi32(d, 11);
        __m512i f = _mm512_and_si512(d, splat(2047));
        __m512i slope = _mm512_permutex2var_epi32(diff0, i, diff1);
        __m512i p = _mm512_permutex2var_epi32(power0, i, power1);
        p = _mm512_sub_epi32(p, _mm512_srli_epi32(_mm512_mullo_epi32(slope, f), 11));
        /* shifts of 32 and more give 0 */
        p = _mm512_maskz_srlv_epi32(seen(h, j), _mm512_slli_epi32(p, 6), _mm512_srli_epi32(d, 16));
        __m512i v = load(kv->v_max + j), p_odd = _mm512_srli_epi64(p, 32);
        sum = _mm512_add_epi64(sum, p_odd);
        sum = _mm512_add_epi64(sum, _mm512_maskz_mov_epi32(EVEN, p));
        __m512i e = _mm512_mul_epu32(p, v), o = _mm512_mul_epu32(p_odd, odd(v));
        share[(j - base) / 8] = e;
        share[(j - base) / 8 + 1] = o;
        top =
            _mm512_or_si512(top, _mm512_or_si512(e, o)); /* of the maximum only the length counts */
    }
    const int len = bit_len((uint64_t)_mm512_reduce_or_epi64(top));
    const int bits = len > EXACT_WEIGHT ? len - EXACT_WEIGHT : 0;
    h->bits[block] = (uint8_t)bits;

    const __m512i half = splat64(bits > 0 ? (int64_t)1 << (bits - 1) : 0);
    const __m512i max = splat((1 << EXACT_WEIGHT) - 1);
    const __m128i down = _mm_cvtsi32_si128(bits);
    uint8_t *high = (uint8_t *)(h->score + base), *low = high + EXACT_BLOCK; /* limbs of weights */
    for (uint32_t j = from; j < to; j += 16) {
        __m512i e = share[(j - base) / 8], o = share[(j - base) / 8 + 1];
        e = _mm512_srl_epi64(_mm512_add_epi64(e, half), down);
        o = _mm512_srl_epi64(_mm512_add_epi64(o, half), down);
        __m512i w = _mm512_min_epu32(join(e, o), max);
        store_bytes(low + (j - base), w);
        store_bytes(high + (j - base), _mm512_srli_epi32(w, 8));
    }
    return (uint64_t)_mm512_reduce_add_epi64(sum);
}

INLINE void dot_values(const uint32_t count, const uint8_t *high, const uint8_t *low,
                       const int8_t *v, size_t step, uint32_t quads, int32_t *ret_sums) {
    __m512i a[4], b[4];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < count; i++) {
        a[i] = b[i] = _mm512_setzero_si512();
    }
    for (uint32_t j = 0; j < quads; j++, v += step) {
        const __m512i wh = splat_bytes(high + 4 * j), wl = splat_bytes(low + 4 * j);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < count; i++) {
            const __m512i x = load(v + 64 * i);
            a[i] = _mm512_dpbusd_epi32(a[i], wh, x);
            b[i] = _mm512_dpbusd_epi32(b[i], wl, x);
        }
    }
#pragma GCC unroll 4
    for (uint32_t i = 0; i < count; i++) {
        store(ret_sums + 16 * i, _mm512_add_epi32(_mm512_slli_epi32(a[i], 8), b[i]));
    }
}

static void sum_values(uint32_t head_dim, const struct kv *kv, const struct head *h, uint32_t from,
                       uint32_t to, uint32_t element, uint32_t count, int32_t *ret_sums) {
    const uint32_t base = from / EXACT_BLOCK * EXACT_BLOCK, quads = (to - from + 3) / 4;
    const uint8_t *high = (const uint8_t *)(h->score + base) + (from - base);
    const uint8_t *low = high + EXACT_BLOCK;
    const int8_t *v = kv->v + value_at(head_dim, from, element);
    const size_t step = 4 * (size_t)head_dim;
    switch (count) {
    case 16:
        dot_values(1, high, low, v, step, quads, ret_sums);
        break;
    case 32:
        dot_values(2, high, low, v, step, quads, ret_sums);
        break;
    case 48:
        dot_values(3, high, low, v, step, quads, ret_sums);
        break;
    default:
        dot_values(4, high, low, v, step, quads, ret_sums);
        break;
    }
}

static void divide_sums(const int64_t *sums, uint32_t count, struct divide d, int32_t *ret_o) {
    const __m512i factor = splat64(d.factor), half = splat64((int64_t)1 << (d.shift - 1));
    const __m128i down = _mm_cvtsi32_si128(d.shift);
    for (uint32_t i = 0; i < count; i += 8) {
        __m512i x = _mm512_add_epi64(_mm512_mullo_epi64(load(sums + i), factor), half);
        x = _mm512_sra_epi64(x, down);
        x = _mm512_min_epi64(_mm512_max_epi64(x, splat64(-EXACT_CAP)), splat64(EXACT_CAP));
        _mm256_storeu_si256((void *)(ret_o + i), _mm512_cvtepi64_epi32(x));
    }
}

/* ---- activation ---- */

/* table[i] of 64 entries in 4 registers */
INLINE __m512i look_up64(const __m512i *table, __m512i i) {
    return _mm512_mask_blend_epi32(_mm512_test_epi32_mask(i, splat(32)),
                                   _mm512_permutex2var_epi32(table[0], i, table[1]),
                                   _mm512_permutex2var_epi32(table[2], i, table[3]));
}
/* of 256 entries */
INLINE __m512i look_up256(const __m512i *table, __m512i i) {
    const __mmask16 bit6 = _mm512_test_epi32_mask(i, splat(64));
    const __m512i low = _mm512_mask_blend_epi32(bit6, look_up64(table, i), look_up64(table + 4, i));
    const __m512i high =
        _mm512_mask_blend_epi32(bit6, look_up64(table + 8, i), look_up64(table + 12, i));
    return _mm512_mask_blend_epi32(_mm512_test_epi32_mask(i, splat(128)), low, high);
}

static void op_gate(enum asy_exact_activation act, const int32_t *gu, uint32_t count, int32_t *h) {
    const struct act_table *t = &exact_act_table[act];
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_add_epi32(evens, splat(1));
    const __m512i last = splat(EXACT_SEGMENTS - 2), one = splat(1 << 20);
    const __m512i rest = splat((1 << t->bits) - 1), half = splat(1 << (t->bits - 1));
    const __m128i down = _mm_cvtsi32_si128((int)t->bits);
    __m512i table[16];
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) {
        table[k] = load(t->at + 16 * k);
    }
    for (uint32_t i = 0; i < count; i += 16) {
        const __m512i x0 = load(gu + 2 * i), x1 = load(gu + 2 * i + 16);
        const __m512i g = _mm512_permutex2var_epi32(x0, evens, x1);
        const __m512i u = _mm512_permutex2var_epi32(x0, odds, x1);
        const __m512i a = _mm512_abs_epi32(g), f = _mm512_and_si512(a, rest);
        /* past the end: the last two entries, both of which are 2^20 */
        const __m512i segment = _mm512_min_epi32(_mm512_srl_epi32(a, down), last);
        const __m512i next = _mm512_add_epi32(segment, splat(1));
        __m512i p, end;
        if (_mm512_cmpgt_epi32_mask(next, splat(63)) == 0) { /* 96 of 100 times with SiLU */
            p = look_up64(table, segment);
            end = look_up64(table, next);
        } else {
            p = look_up256(table, segment);
            end = look_up256(table, next);
        }
        const __m512i rise = _mm512_mullo_epi32(_mm512_sub_epi32(end, p), f);
        p = _mm512_add_epi32(p, _mm512_srl_epi32(_mm512_add_epi32(rise, half), down));
        p = _mm512_mask_sub_epi32(p, _mm512_movepi32_mask(g), one, p);
        store(h + i, mul_shift(mul_round(g, p, 20), u, splat(EXACT_UNIT - 1)));
    }
}

const struct ops exact_ops_avx512 = {
    .kernel = ASY_EXACT_AVX512,
    .norm_quant = op_norm_quant,
    .norm_out = op_norm_out,
    .quant = op_quant,
    .linear = op_linear,
    .rope = op_rope,
    .put = op_put,
    .attend = op_attend,
    .gate = op_gate,
};
