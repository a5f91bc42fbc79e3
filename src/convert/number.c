/* number.c: fixed-point logarithm, power, sine and cosine; and what scales need. */
#include "convert/number_priv.h"

#include <float.h>
#include <math.h>

static_assert(FLT_EVAL_METHOD == 0, "doubles are rounded to doubles after each operation");

struct dyadic convert_dyadic(double x) {
    int exp;
    double f = frexp(x, &exp);
    if (x == 0.0) {
        return (struct dyadic){0, 0};
    }
    int m = (int)rint(f * 32768.0);
    if (m == 32768) {
        m = 16384;
        exp++;
    }
    return (struct dyadic){.m = (int16_t)m, .s = (int16_t)(15 - exp)};
}

int convert_gain_shift(double max) {
    int exp;
    (void)frexp(max, &exp);
    int shift = 23 - exp;
    return rint(ldexp(max, shift)) > 8388607.0 ? shift - 1 : shift;
}

void convert_normalise(double *s, size_t count) {
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        int exp;
        (void)frexp(s[i], &exp);
        sum += exp;
    }
    int64_t n = (int64_t)count, k = sum >= 0 ? sum / n : -((-sum + n - 1) / n);
    for (size_t i = 0; i < count; i++) {
        s[i] = ldexp(s[i], -(int)k);
    }
}

/* ---- fixed point: Qn is an integer that counts 2^-n ---- */

static uint64_t mul_high(uint64_t a, uint64_t b) { return (uint64_t)((asy_u128)a * b >> 64); }

/* log2 of a float >= 1 in Q58, by squaring: each step doubles the logarithm and gives one bit. */
static uint64_t log2_q58(float v) {
    int exp;
    double f = frexp((double)v, &exp);
    uint64_t x = (uint64_t)ldexp(f, 64); /* in [2^63, 2^64): a number in [1, 2) */
    uint64_t log = (uint64_t)(exp - 1) << 58;
    for (int bit = 57; bit >= 0; bit--) {
        asy_u128 square = (asy_u128)x * x; /* in [2^126, 2^128) */
        if (square >> 127 != 0) {
            log |= (uint64_t)1 << bit;
            x = (uint64_t)(square >> 64);
        } else {
            x = (uint64_t)(square >> 63);
        }
    }
    return log;
}

#define LN2_Q64     0xb17217f7d1cf79acu /* ln 2 */
#define INV_TAU_Q66 0xa2f9836e4e44152au /* 1 / (2 pi) */
#define HALF_PI_Q63 0xc90fdaa22168c235u /* pi / 2 */

/* 2^-x for x in [0, 1) in Q58: a Q63 number in [2^62, 2^63]. The series of exp(-y), y = x ln 2. */
static uint64_t exp2_neg_q63(uint64_t x) {
    uint64_t y = mul_high(x << 6, LN2_Q64); /* Q64, below 0.6932 */
    uint64_t term = (uint64_t)1 << 63, sum = term;
    for (uint64_t k = 1; term != 0; k++) {
        term = mul_high(term, y) / k;
        sum = k % 2 != 0 ? sum - term : sum + term;
    }
    return sum;
}

struct turns convert_frequency(float base, uint32_t pair, uint32_t head_dim, float factor,
                               float other) {
    /* 2^-t of base^(-2 pair / head_dim) */
    asy_u128 t = (asy_u128)log2_q58(base) * (2 * pair) / head_dim;
    uint64_t whole = (uint64_t)(t >> 58), part = (uint64_t)t & (((uint64_t)1 << 58) - 1);
    asy_u128 product = (asy_u128)exp2_neg_q63(part) * INV_TAU_Q66; /* Q129 */
    int exp = 129 + (int)whole;
    const float factors[2] = {factor, other};
    for (int i = 0; i < 2; i++) {
        int factor_exp;
        double f = frexp((double)factors[i], &factor_exp);
        product /= (uint64_t)ldexp(f, 24); /* a float's 24 bits, exact */
        exp += factor_exp - 24;
    }
    int up = 0; /* product has 77 bits or more; keep the top 64 */
    while (product >> 64 != 0) {
        product >>= 1;
        up++;
    }
    return (struct turns){.mant = (uint64_t)product, .exp = exp - up};
}

/* cos and sin of x quarter turns, x in [0, 1) in Q64; Q62, in [0, 2^62]. */
static void quarter(uint64_t x, uint64_t *ret_cos, uint64_t *ret_sin) {
    bool mirrored = x >> 63 != 0; /* beyond an eighth: the other function of what is left */
    uint64_t y = mul_high(mirrored ? 0 - x : x, HALF_PI_Q63) << 1; /* radians Q64, below 0.7855 */
    uint64_t y2 = mul_high(y, y);
    uint64_t cos = (uint64_t)1 << 63, sin = y >> 1; /* Q63 */
    uint64_t c = cos, s = sin;
    for (uint64_t k = 1; c != 0 || s != 0; k++) {
        c = mul_high(c, y2) / ((2 * k - 1) * (2 * k));
        s = mul_high(s, y2) / ((2 * k) * (2 * k + 1));
        cos = k % 2 != 0 ? cos - c : cos + c;
        sin = k % 2 != 0 ? sin - s : sin + s;
    }
    *ret_cos = (mirrored ? sin : cos) >> 1;
    *ret_sin = (mirrored ? cos : sin) >> 1;
}

void convert_rotation(int32_t ret_pair[2], struct turns f, uint32_t position) {
    /* position * mant has at most 81 bits; bits above the point are whole turns */
    asy_u128 p = (asy_u128)f.mant * position;
    int down = f.exp - 64;
    uint64_t turn = down <= 0 ? (uint64_t)(p << -down) : down < 128 ? (uint64_t)(p >> down) : 0;
    uint64_t cos, sin;
    quarter(turn << 2, &cos, &sin);
    int64_t c = (int64_t)((cos + ((uint64_t)1 << 31)) >> 32);
    int64_t s = (int64_t)((sin + ((uint64_t)1 << 31)) >> 32);
    const int64_t x[4] = {c, -s, -c, s}, y[4] = {s, c, -s, -c};
    ret_pair[0] = (int32_t)x[turn >> 62];
    ret_pair[1] = (int32_t)y[turn >> 62];
}
