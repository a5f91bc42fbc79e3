/* float.c: the only floating point of the sampler, kept apart so that the rest can be shown to have
 * none. Must not be built with -ffast-math: the addition below rounds, and that rounding is the
 * point of it. */
#include "sample/sample.h"

enum asy_err asy_sample_logits_from_float(int32_t *ret_logits, const float *logits, size_t count) {
    /* Adding 1.5 * 2^52 to a double of at most 2^51 leaves the nearest integer, ties to even, in
     * the low bits of its representation. x * 65536 is exact: a float has 24 bits and the product's
     * exponent is far from a double's limits. */
    const double magic = 6755399441055744.0;
    const double max = ASY_SAMPLE_LOGIT_MAX;
    uint32_t nans = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof(bits));
        nans |= (bits & 0x7fffffffu) > 0x7f800000u;
        double scaled = (double)logits[i] * 65536.0;
        scaled =
            scaled < max ? scaled : max; /* a NaN ends up as max, so no conversion is undefined */
        scaled = scaled > -max ? scaled : -max;
        scaled += magic;
        uint64_t rounded;
        memcpy(&rounded, &scaled, sizeof(rounded));
        ret_logits[i] = bits == 0xff800000u ? ASY_SAMPLE_MASKED : (int32_t)(uint32_t)rounded;
    }
    return nans != 0 ? ASY_ERR_RANGE : ASY_OK;
}
