/* calibrate_priv.h: what the engine computes on a text: the largest number of each channel. */
#ifndef ASY_CONVERT_CALIBRATE_PRIV_H
#define ASY_CONVERT_CALIBRATE_PRIV_H

#include "convert/convert.h"

/* Arrays are [layers][channels]; all in the units that exact.h names. */
struct maxima {
    uint32_t dim, heads, out, inner; /* channels; heads: queries, keys, values */
    int32_t *attn_norm, *head, *attention, *ffn_norm, *gated;
    int32_t residual;
    uint64_t saturated; /* numbers at the cap */
};

/* Runs the windows. errors: of asy_exact_new */
ASY_MUST_USE enum asy_err calibrate(struct maxima *ret_m, const struct asy_exact_model *model,
                                    const struct asy_windows *w,
                                    const struct asy_convert_options *options, const char *stage,
                                    struct asy_why *reterr_why);
void maxima_done(struct maxima *m);

#endif
