/* ops_avx2.c: the operators with AVX2.
 *
 * Weights, keys and values are widened to 16 bits (vpmovsxbw) and multiplied by 16-bit activations
 * (vpmaddwd), which sums pairs exactly; so an 8-bit and a 16-bit input cost the same. (vpmaddubsw
 * takes bytes, but saturates.) Four bytes of a row lie together: a register holds 4 rows x 4, the
 * four activations are repeated, and a row's two halves are added at the end.
 *
 * A quantised row: int16 [cols]. Weights of P*V: int16 [EXACT_BLOCK].
 */
#include <immintrin.h>

#define PART_SIZE  2u
#define WIDE_PARTS 1u
#include "exact/kernel_priv.h"
#include "sample/sample.h"

#define ODD 0xaa /* mask of the odd 32-bit lanes */

INLINE __m256i load(const void *p) { return _mm256_loadu_si256(p); }
INLINE void store(void *p, __m256i x) { _mm256_storeu_si256(p, x); }
INLINE __m256i load_i16(const int16_t *p) {
    return _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)p));
}
/* 16 bytes as int16 */
INLINE __m256i load_bytes(const int8_t *p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)p));
}
INLINE __m256i splat(int32_t x) { return _mm256_set1_epi32(x); }
INLINE __m256i splat64(int64_t x) { return _mm256_set1_epi64x(x); }
/* four int16, repeated */
INLINE __m256i splat_four(const void *p) {
    int64_t x;
    memcpy(&x, p, 8);
    return splat64(x);
}

/* 64-bit products live in pairs of registers: those of the even lanes, and those of the odd ones.
 * odd moves the odd lanes to where vpmuldq reads; join makes one register of the low halves. */
INLINE __m256i odd(__m256i x) { return _mm256_shuffle_epi32(x, 0xf5); }
INLINE __m256i join(__m256i e, __m256i o) {
    return _mm256_blend_epi32(e, _mm256_slli_epi64(o, 32), ODD);
}
INLINE __m256i join_high(__m256i e, __m256i o) {
    return _mm256_blend_epi32(_mm256_srli_epi64(e, 32), o, ODD);
}
INLINE __m256i cap8(__m256i x) {
    return _mm256_max_epi32(_mm256_min_epi32(x, splat(EXACT_CAP)), splat(-EXACT_CAP));
}
/* x >> s for |x| < 2^62: AVX2 has no arithmetic shift of 64 bits */
INLINE __m256i shift_right64(__m256i x, __m256i s) {
    const __m256i bias = splat64((int64_t)1 << 62);
    return _mm256_sub_epi64(_mm256_srlv_epi64(_mm256_add_epi64(x, bias), s),
                            _mm256_srlv_epi64(bias, s));
}

/* cap(round_shift(x * y, shift + 1)) for |x * y| < 2^62 and shift in [0, 61], each lane its own:
 * floor((p + 2^(s-1)) / 2^s) = floor((floor(p / 2^(s-1)) + 1) / 2). The inner quotient is clamped
 * to where its half is the cap, so that the rest fits in 32 bits. */
INLINE __m256i mul_shift(__m256i x, __m256i y, __m256i shift) {
    __m256i e = _mm256_mul_epi32(x, y), o = _mm256_mul_epi32(odd(x), odd(y));
    e = shift_right64(e, _mm256_and_si256(shift, splat64(0xffffffff)));
    o = shift_right64(o, _mm256_srli_epi64(shift, 32));
    __m256i low = join(e, o), high = join_high(e, o);
    const __m256i fits = _mm256_cmpeq_epi32(high, _mm256_srai_epi32(low, 31));
    const __m256i end = _mm256_xor_si256(_mm256_srai_epi32(high, 31), splat(INT32_MAX));
    low = _mm256_blendv_epi8(end, low, fits);
    low = _mm256_min_epi32(_mm256_max_epi32(low, splat(-2 * EXACT_CAP - 1)), splat(2 * EXACT_CAP));
    return _mm256_srai_epi32(_mm256_add_epi32(low, splat(1)), 1);
}
static_assert(2LL * EXACT_CAP + 1 <= INT32_MAX, "the clamped quotient and its rounding fit");
/* clamp_shift(s) - 1, for mul_shift */
INLINE __m256i clamp_shift8(__m256i s) {
    s = _mm256_sub_epi32(s, splat(1));
    return _mm256_min_epi32(_mm256_max_epi32(s, _mm256_setzero_si256()), splat(61));
}

/* round_shift(x * y, s) where that fits in 32 bits, for a constant s in [1, 31] */
INLINE __m256i mul_round(__m256i x, __m256i y, const int s) {
    const __m256i half = splat64((int64_t)1 << (s - 1));
    __m256i e = _mm256_add_epi64(_mm256_mul_epi32(x, y), half);
    __m256i o = _mm256_add_epi64(_mm256_mul_epi32(odd(x), odd(y)), half);
    return _mm256_blend_epi32(_mm256_srli_epi64(e, s), _mm256_slli_epi64(o, 32 - s), ODD);
}

INLINE int32_t reduce_max(__m256i x) {
    __m128i y = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_max_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    y = _mm_max_epi32(y, _mm_shuffle_epi32(y, 0xb1));
    return _mm_cvtsi128_si32(y);
}
INLINE int32_t reduce_add(__m256i x) {
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1));
    return _mm_cvtsi128_si32(y);
}
INLINE uint64_t reduce_add64(__m256i x) {
    __m128i y = _mm_add_epi64(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return (uint64_t)_mm_cvtsi128_si64(y) + (uint64_t)_mm_extract_epi64(y, 1);
}
INLINE uint64_t reduce_or64(__m256i x) {
    __m128i y = _mm_or_si128(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return (uint64_t)_mm_cvtsi128_si64(y) | (uint64_t)_mm_extract_epi64(y, 1);
}
/* 16 int32 as int16, saturated */
INLINE __m256i pack(__m256i a, __m256i b) {
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
}
/* What loops add up in. Of type __m256i each sum would take gcc 12 two registers across a loop, and
 * 16 would not do. */
typedef uint32_t sums8 __attribute__((vector_size(32)));

/* Sums of pairs: of a, then of b. */
INLINE __m256i add_pairs(sums8 a, sums8 b) {
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32((__m256i)a, (__m256i)b), 0xd8);
}

static int32_t abs_max(const int32_t *y, uint32_t count) {
    __m256i max = splat(1);
    for (uint32_t i = 0; i < count; i += 8) {
        max = _mm256_max_epi32(max, _mm256_abs_epi32(load(y + i)));
    }
    return reduce_max(max);
}

/* ---- quantisation ---- */

INLINE __m256i quant8(struct quantiser k, __m256i y) {
    const __m256i factor = splat64(k.factor), half = splat64((int64_t)1 << (k.down - 1));
    y = _mm256_sll_epi32(y, _mm_cvtsi32_si128(k.up));
    __m256i e = _mm256_add_epi64(_mm256_mul_epi32(y, factor), half);
    __m256i o = _mm256_add_epi64(_mm256_mul_epi32(odd(y), factor), half);
    return _mm256_sra_epi32(join_high(e, o), _mm_cvtsi32_si128(k.down - 32));
}

static void quant_row(const int32_t *y, uint32_t cols, bool wide, int32_t max, uint8_t *ret_q) {
    const struct quantiser k = quantiser(max, wide);
    for (uint32_t i = 0; i < cols; i += 16) {
        store(ret_q + 2 * i, pack(quant8(k, load(y + i)), quant8(k, load(y + i + 8))));
    }
}

static int32_t quant_head(const int32_t *y, uint32_t count, int32_t max, int8_t *ret_q) {
    const struct quantiser k = quantiser(max, false);
    __m256i sum = _mm256_setzero_si256();
    for (uint32_t i = 0; i < count; i += 16) {
        const __m256i a = quant8(k, load(y + i)), b = quant8(k, load(y + i + 8));
        const __m256i q = pack(a, b);
        sum = _mm256_add_epi32(sum, _mm256_add_epi32(a, b));
        _mm_storeu_si128((void *)(ret_q + i), _mm_packs_epi16(_mm256_castsi256_si128(q),
                                                              _mm256_extracti128_si256(q, 1)));
    }
    return reduce_add(sum);
}

/* ---- norms ---- */

static uint64_t norm_core(const struct norm *n, const int32_t *x, int32_t *ret_y,
                          int32_t *ret_max) {
    int shift = norm_shift(abs_max(x, n->count));
    const __m256i half = splat(shift > 0 ? 1 << (shift - 1) : 0);
    const __m128i down = _mm_cvtsi32_si128(shift);
    __m256i squares = _mm256_setzero_si256(), max = splat(1);
    for (uint32_t i = 0; i < n->count; i += 8) {
        __m256i v = _mm256_sra_epi32(_mm256_add_epi32(load(x + i), half), down), v_odd = odd(v);
        squares = _mm256_add_epi64(squares, _mm256_mul_epi32(v, v));
        squares = _mm256_add_epi64(squares, _mm256_mul_epi32(v_odd, v_odd));
        __m256i y = mul_round(v, load(n->gain + i), 15);
        max = _mm256_max_epi32(max, _mm256_abs_epi32(y));
        store(ret_y + i, y);
    }
    *ret_max = reduce_max(max);
    return norm_sum(reduce_add64(squares), n->eps, shift);
}

static void op_norm_out(const struct norm *n, const int32_t *x, int32_t *y, bool add,
                        int32_t *row) {
    int half;
    int32_t max;
    int64_t r = inv_sqrt(norm_core(n, x, row, &max), &half);
    const __m256i factor = splat((int32_t)r), shift = clamp_shift8(splat(n->shift + half));
    for (uint32_t i = 0; i < n->count; i += 8) {
        __m256i v = mul_shift(load(row + i), factor, shift);
        store(y + i, add ? cap8(_mm256_add_epi32(load(y + i), v)) : v);
    }
}

/* ---- linear ---- */

/* A column is a row of activations. Columns go in groups of at most 6, against 8 rows of weights:
 * 2 x 6 sums, 2 registers of weights, a column's numbers and a product fit in 16. One or two
 * columns go against more rows, since whole cache lines come faster from memory. */
enum { GROUP = 6 };

static void sums_init(const struct linear *l, uint32_t first, tile_sums *ret_sums, uint32_t count) {
    (void)l;
    (void)first;
    memset(ret_sums, 0, count * sizeof *ret_sums);
}

/* Adds a block's sums of 8 rows. Those over wide inputs are cut in two, so that 32 bits do. */
INLINE void sums_put(tile_sums *sums, uint32_t column, bool wide, uint32_t row, __m256i x) {
    if (wide) {
        int32_t *high = sums[2 * column] + row, *low = sums[2 * column + 1] + row;
        store(high, _mm256_add_epi32(load(high), _mm256_srai_epi32(x, 8)));
        store(low, _mm256_add_epi32(load(low), _mm256_and_si256(x, splat(255))));
    } else {
        store(sums[column] + row, _mm256_add_epi32(load(sums[column] + row), x));
    }
}
static_assert(127LL * 32512 * BLOCK < (1LL << 31), "a block's sum over wide inputs");
static_assert(127LL * 127 * ASY_EXACT_MAX_INNER + ASY_EXACT_MAX_INNER / BLOCK < (1LL << 31),
              "what lies above 8 bits of them, each rounded down");

/* 4 * quads rows from `row` on, for a group of columns; and fetches as many lines of each 4 of the
 * next block. */
INLINE void dot(const uint32_t count, const uint32_t quads, const uint32_t lines, const int8_t *w,
                uint32_t steps, const uint8_t *const *x, bool wide, uint32_t row, tile_sums *sums) {
    const int8_t *ahead = w + 256 * (size_t)steps;
    sums8 a[GROUP][8];
    const uint8_t *column[GROUP];
#pragma GCC unroll 6
    for (uint32_t j = 0; j < count; j++) {
        column[j] = x[j];
#pragma GCC unroll 8
        for (uint32_t r = 0; r < quads; r++) {
            a[j][r] = (sums8){0};
        }
    }
    for (uint32_t k = 0; k < steps; k++) {
#pragma GCC unroll 2
        for (uint32_t i = 0; i < lines; i++) {
            _mm_prefetch((const char *)ahead + 64 * i, _MM_HINT_T0);
        }
        ahead += 256;
        __m256i rows[8];
#pragma GCC unroll 8
        for (uint32_t r = 0; r < quads; r++) {
            rows[r] = load_bytes(w + 16 * r);
        }
        w += 256;
#pragma GCC unroll 6
        for (uint32_t j = 0; j < count; j++) {
            const __m256i q = splat_four(column[j] + 8 * k);
#pragma GCC unroll 8
            for (uint32_t r = 0; r < quads; r++) {
                a[j][r] += (sums8)_mm256_madd_epi16(rows[r], q);
            }
        }
    }
#pragma GCC unroll 6
    for (uint32_t j = 0; j < count; j++) {
#pragma GCC unroll 4
        for (uint32_t r = 0; r < quads; r += 2) {
            sums_put(sums, j, wide, row + 4 * r, add_pairs(a[j][r], a[j][r + 1]));
        }
    }
}

/* One group of columns over all rows of a tile. A cache line of weights holds 16 rows. */
INLINE void dot_rows(const uint32_t count, const bool fetch, const int8_t *w, uint32_t steps,
                     const uint8_t *const *x, bool wide, tile_sums *sums) {
    const uint32_t quads = count == 1 ? 8 : count == 2 ? 4 : 2;
    for (uint32_t row = 0; row < EXACT_TILE; row += 4 * quads, w += 16 * quads) {
        if (!fetch) {
            dot(count, quads, 0, w, steps, x, wide, row, sums);
        } else if (quads > 2) {
            dot(count, quads, quads / 4, w, steps, x, wide, row, sums);
        } else if (row % 16 == 0) {
            dot(count, quads, 1, w, steps, x, wide, row, sums);
        } else {
            dot(count, quads, 0, w, steps, x, wide, row, sums);
        }
    }
}

INLINE void dot_group(uint32_t count, const bool fetch, const int8_t *w, uint32_t steps,
                      const uint8_t *const *x, bool wide, tile_sums *sums) {
    switch (count) {
    case 1:
        dot_rows(1, fetch, w, steps, x, wide, sums);
        break;
    case 2:
        dot_rows(2, fetch, w, steps, x, wide, sums);
        break;
    case 3:
        dot_rows(3, fetch, w, steps, x, wide, sums);
        break;
    case 4:
        dot_rows(4, fetch, w, steps, x, wide, sums);
        break;
    case 5:
        dot_rows(5, fetch, w, steps, x, wide, sums);
        break;
    case GROUP:
        dot_rows(GROUP, fetch, w, steps, x, wide, sums);
        break;
    }
}

/* In groups of about equal size, of which the first fetches the next block for all. */
static void sums_add(const int8_t *w, uint32_t steps, const uint8_t *const *x, uint32_t rows,
                     bool wide, tile_sums *sums) {
    const uint32_t groups = (rows + GROUP - 1) / GROUP;
    for (uint32_t g = 0; g < groups; g++) {
        const uint32_t count = rows / groups + (g < rows % groups);
        if (g == 0) {
            dot_group(count, true, w, steps, x, wide, sums);
        } else {
            dot_group(count, false, w, steps, x, wide, sums);
        }
        x += count;
        sums += wide ? 2 * count : count;
    }
}

static void requant(const struct linear *l, const struct quant *q, uint32_t first,
                    const tile_sums *sums, int32_t *y, bool add) {
    const __m256i mant = splat(q->mant), exp = splat(q->exp);
    const int shift = l->wide ? l->shift : 1;
    const __m256i half = splat(1 << (shift - 1));
    const __m128i down = _mm_cvtsi32_si128(shift), up = _mm_cvtsi32_si128(8 - shift);
    for (uint32_t r = 0; r < EXACT_TILE; r += 8) {
        const uint32_t n = first + r;
        __m256i acc = load(sums[0] + r);
        if (l->wide) {
            /* round_shift(256 * high + low, s): 256 * high is a multiple of 2^s */
            __m256i low = _mm256_sra_epi32(_mm256_add_epi32(load(sums[1] + r), half), down);
            acc = _mm256_add_epi32(_mm256_sll_epi32(acc, up), low);
        }
        __m256i scale = _mm256_mullo_epi32(load_i16(l->m + n), mant);
        __m256i v = mul_shift(acc, scale, clamp_shift8(_mm256_sub_epi32(load_i16(l->s + n), exp)));
        if (l->bias != NULL) {
            v = cap8(_mm256_add_epi32(v, load(l->bias + n)));
        }
        store(y + n, add ? cap8(_mm256_add_epi32(load(y + n), v)) : v);
    }
}

/* ---- attention ---- */

static void op_rope(uint32_t head_dim, const int16_t *table, int32_t *x) {
    const __m256i half = splat64(1 << 14);
    for (uint32_t i = 0; i < head_dim; i += 8) {
        __m256i a = load(x + i), b = odd(a), c = load_i16(table + i), s = odd(c);
        __m256i e = _mm256_sub_epi64(_mm256_mul_epi32(a, c), _mm256_mul_epi32(b, s));
        __m256i o = _mm256_add_epi64(_mm256_mul_epi32(a, s), _mm256_mul_epi32(b, c));
        e = _mm256_srli_epi64(_mm256_add_epi64(e, half), 15);
        o = _mm256_slli_epi64(_mm256_add_epi64(o, half), 32 - 15);
        store(x + i, cap8(_mm256_blend_epi32(e, o, ODD)));
    }
}
/* |a * c - b * s| <= 2 * cap * 2^15, and its 2^-15th, rounded, fits before it is capped */
static_assert(2LL * EXACT_CAP <= INT32_MAX, "rotation");

/* Which of the 8 positions from `at` on a query sees: all bits of a lane, or none. */
INLINE __m256i seen(const struct head *h, uint32_t at) {
    const __m256i pos =
        _mm256_add_epi32(splat((int32_t)at), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_and_si256(_mm256_cmpgt_epi32(pos, splat((int32_t)h->first - 1)),
                            _mm256_cmpgt_epi32(splat((int32_t)h->pos + 1), pos));
}

static void score_keys(uint32_t head_dim, const struct kv *kv, struct head *h, uint32_t from,
                       uint32_t to) {
    const __m256i mant = splat(h->mant), exp = splat(-4 - h->exp);
    __m256i best = splat(h->best);
    const int8_t *k = kv->k + (size_t)from * head_dim;
    for (uint32_t j = from; j < to; j += 16) {
        sums8 a[4] = {{0}};
        for (uint32_t i = 0; i < head_dim; i += 4, k += 64) {
            const __m256i q = splat_four(h->q + 2 * i);
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                a[r] += (sums8)_mm256_madd_epi16(load_bytes(k + 16 * r), q);
            }
        }
#pragma GCC unroll 2
        for (uint32_t r = 0; r < 2; r++) {
            const __m256i acc = add_pairs(a[2 * r], a[2 * r + 1]);
            const __m256i k_scale = load(kv->k_scale + j + 8 * r);
            /* mant * k_mant < 2^32: shifted as unsigned it is below 2^16, the scale below 2^31 */
            __m256i scale = _mm256_and_si256(k_scale, splat(0xffff));
            scale = _mm256_srli_epi32(_mm256_mullo_epi32(scale, mant), 16);
            scale = _mm256_mullo_epi32(scale, splat(16643));
            __m256i s = clamp_shift8(_mm256_sub_epi32(exp, _mm256_srai_epi32(k_scale, 16)));
            s = mul_shift(acc, scale, s);
            store(h->score + j + 8 * r, s);
            best = _mm256_max_epi32(best, _mm256_blendv_epi8(best, s, seen(h, j + 8 * r)));
        }
    }
    h->best = reduce_max(best);
}
static_assert(65535LL * 16643 < (1LL << 31), "scale of a score");

/* table[i] of 32 entries; of i the low 5 bits count */
INLINE __m256i look_up(const __m256i table[4], __m256i i) {
    const __m256i bit3 = _mm256_srai_epi32(_mm256_slli_epi32(i, 28), 31);
    const __m256i bit4 = _mm256_srai_epi32(_mm256_slli_epi32(i, 27), 31);
    const __m256i a = _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(table[0], i),
                                         _mm256_permutevar8x32_epi32(table[1], i), bit3);
    const __m256i b = _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(table[2], i),
                                         _mm256_permutevar8x32_epi32(table[3], i), bit3);
    return _mm256_blendv_epi8(a, b, bit4);
}

static uint64_t weigh_keys(const struct kv *kv, struct head *h, uint32_t from, uint32_t to) {
    const uint32_t block = from / EXACT_BLOCK, base = block * EXACT_BLOCK;
    const __m256i best = splat(h->best);
    __m256i power[4], diff[4];
    __m256i share[EXACT_BLOCK / 4], top = _mm256_setzero_si256(), sum = top;
    for (int i = 0; i < 4; i++) {
        power[i] = load(asy_sample_exp2_table + 8 * i);
        diff[i] = load(exact_exp2_diff + 8 * i);
    }
    const uint32_t end = from + (to - from + 15) / 16 * 16;
    for (uint32_t j = from; j < end; j += 8) {
        __m256i d = _mm256_sub_epi32(best, load(h->score + j)), i = _mm256_srli_epi32(d, 11);
        __m256i f = _mm256_and_si256(d, splat(2047));
        __m256i slope = _mm256_mullo_epi32(look_up(diff, i), f);
        __m256i p = _mm256_sub_epi32(look_up(power, i), _mm256_srli_epi32(slope, 11));
        /* shifts of 32 and more give 0 */
        p = _mm256_srlv_epi32(_mm256_slli_epi32(p, 6), _mm256_srli_epi32(d, 16));
        p = _mm256_and_si256(p, seen(h, j));
        __m256i v = load(kv->v_max + j), p_odd = _mm256_srli_epi64(p, 32);
        sum = _mm256_add_epi64(sum, p_odd);
        sum = _mm256_add_epi64(sum, _mm256_and_si256(p, splat64(0xffffffff)));
        __m256i e = _mm256_mul_epu32(p, v), o = _mm256_mul_epu32(p_odd, odd(v));
        share[(j - base) / 4] = e;
        share[(j - base) / 4 + 1] = o;
        top =
            _mm256_or_si256(top, _mm256_or_si256(e, o)); /* of the maximum only the length counts */
    }
    const int len = bit_len(reduce_or64(top));
    const int bits = len > EXACT_WEIGHT ? len - EXACT_WEIGHT : 0;
    h->bits[block] = (uint8_t)bits;

    const __m256i half = splat64(bits > 0 ? (int64_t)1 << (bits - 1) : 0);
    const __m128i down = _mm_cvtsi32_si128(bits);
    uint8_t *weights = (uint8_t *)(h->score + base);
    for (uint32_t j = from - base; j < end - base; j += 16) {
        __m256i w[2];
        for (uint32_t r = 0; r < 2; r++) {
            __m256i e = share[j / 4 + 2 * r], o = share[j / 4 + 2 * r + 1];
            e = _mm256_srl_epi64(_mm256_add_epi64(e, half), down);
            o = _mm256_srl_epi64(_mm256_add_epi64(o, half), down);
            w[r] = join(e, o);
        }
        store(weights + 2 * j, pack(w[0], w[1])); /* at most 2^15 - 1, as weights are */
    }
    return reduce_add64(sum);
}

static_assert(EXACT_WEIGHT == 15, "weights saturate where int16 does");

/* 8 * count sums */
INLINE void dot_values(const uint32_t count, const uint8_t *weights, const int8_t *v, size_t step,
                       uint32_t quads, int32_t *ret_sums) {
    sums8 a[8] = {{0}};
    for (uint32_t j = 0; j < quads; j++, v += step) {
        const __m256i w = splat_four(weights + 8 * j);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < 2 * count; i++) {
            a[i] += (sums8)_mm256_madd_epi16(load_bytes(v + 16 * i), w);
        }
    }
#pragma GCC unroll 4
    for (uint32_t i = 0; i < count; i++) {
        store(ret_sums + 8 * i, add_pairs(a[2 * i], a[2 * i + 1]));
    }
}

static void sum_values(uint32_t head_dim, const struct kv *kv, const struct head *h, uint32_t from,
                       uint32_t to, uint32_t element, uint32_t count, int32_t *ret_sums) {
    const uint32_t base = from / EXACT_BLOCK * EXACT_BLOCK, quads = (to - from + 3) / 4;
    const uint8_t *weights = (const uint8_t *)(h->score + base) + 2 * (from - base);
    const int8_t *v = kv->v + value_at(head_dim, from, element);
    const size_t step = 4 * (size_t)head_dim;
    for (uint32_t i = 0; i < count; i += 32) {
        if (count - i >= 32) {
            dot_values(4, weights, v + 4 * i, step, quads, ret_sums + i);
        } else {
            dot_values(2, weights, v + 4 * i, step, quads, ret_sums + i);
        }
    }
}

static void divide_sums(const int64_t *sums, uint32_t count, struct divide d, int32_t *ret_o) {
    for (uint32_t i = 0; i < count; i++) {
        ret_o[i] = cap(round_shift(sums[i] * d.factor, d.shift));
    }
}

/* ---- activation ---- */

static void op_gate(enum asy_exact_activation act, const int32_t *gu, uint32_t count, int32_t *h) {
    const struct act_table *t = &exact_act_table[act];
    const __m256i last = splat(EXACT_SEGMENTS - 2), one = splat(1 << 20);
    const __m256i rest = splat((1 << t->bits) - 1), half = splat(1 << (t->bits - 1));
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const __m128i down = _mm_cvtsi32_si128((int)t->bits);
    for (uint32_t i = 0; i < count; i += 8) {
        /* pairs 0 1 2 3 in the even lanes, 4 5 6 7 in the odd ones */
        const __m256i x0 = load(gu + 2 * i), x1 = load(gu + 2 * i + 8);
        const __m256i g = join(x0, x1), u = join_high(x0, x1);
        const __m256i a = _mm256_abs_epi32(g), f = _mm256_and_si256(a, rest);
        /* past the end: the last two entries, both of which are 2^20 */
        const __m256i segment = _mm256_min_epi32(_mm256_srl_epi32(a, down), last);
        const __m256i even = _mm256_and_si256(segment, splat64(0xffffffff));
        const __m256i t0 = _mm256_i64gather_epi64((const void *)t->at, even, 4);
        const __m256i t1 =
            _mm256_i64gather_epi64((const void *)t->at, _mm256_srli_epi64(segment, 32), 4);
        __m256i p = join(t0, t1), slope = _mm256_sub_epi32(join_high(t0, t1), p);
        slope = _mm256_add_epi32(_mm256_mullo_epi32(slope, f), half);
        p = _mm256_add_epi32(p, _mm256_srl_epi32(slope, down));
        p = _mm256_blendv_epi8(p, _mm256_sub_epi32(one, p), _mm256_srai_epi32(g, 31));
        const __m256i y = mul_shift(mul_round(g, p, 20), u, splat(EXACT_UNIT - 1));
        store(h + i, _mm256_permutevar8x32_epi32(y, order));
    }
}

const struct ops exact_ops_avx2 = {
    .kernel = ASY_EXACT_AVX2,
    .norm_quant = op_norm_quant,
    .norm_out = op_norm_out,
    .quant = op_quant,
    .linear = op_linear,
    .rope = op_rope,
    .put = op_put,
    .attend = op_attend,
    .gate = op_gate,
};
