/* number_priv.h: the converter's arithmetic.
 *
 * Everything here gives the same bits on every machine: doubles with the five operations that
 * IEEE 754 rounds correctly (+ - * / sqrt), and integers. No function of libm but sqrt, and frexp,
 * ldexp, rint, fabs, which are exact.
 */
#ifndef ASY_CONVERT_NUMBER_PRIV_H
#define ASY_CONVERT_NUMBER_PRIV_H

#include "base/base.h"

/* x as m * 2^-s: m = 0, or in [2^14, 2^15). x >= 0, finite, below 2^100. */
struct dyadic {
    int16_t m, s;
};
struct dyadic convert_dyadic(double x);

/* The largest shift with max * 2^shift <= 2^23 - 1 when rounded; max > 0. */
int convert_gain_shift(double max);

/* s /= 2^k, k the mean binary exponent of s, rounded down: about the geometric mean, and exact. */
void convert_normalise(double *s, size_t count);

/* base^(-2 pair / head_dim) / factor / other / (2 pi), a frequency in turns per position:
 * mant * 2^-exp. Relative error below 2^-54. base in [1, 2^32), factors in [2^-16, 2^16). */
struct turns {
    uint64_t mant; /* in [2^63, 2^64) */
    int exp;
};
struct turns convert_frequency(float base, uint32_t pair, uint32_t head_dim, float factor,
                               float other);
/* cos and sin of 2 pi * position * frequency, Q30, each within 0.51 of the exact value; position
 * below 2^17. */
void convert_rotation(int32_t ret_pair[2], struct turns frequency, uint32_t position);

#endif
