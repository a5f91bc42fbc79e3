/* codec_priv.h: shared inside codec only. */
#ifndef ASY_CODEC_PRIV_H
#define ASY_CODEC_PRIV_H

#include "codec/codec.h"

/* The shortest decimal that reads back as v (finite, > 0), the nearest to v if there are several:
 * digits * 10^*ret_exp10, without trailing zeros. Returns the number of digits. */
enum { ASY_F64_DIGITS = 18 };
size_t asy_f64_digits(char ret_digits[ASY_F64_DIGITS], int *ret_exp10, double v);

#endif
