/* calibrate_priv.h: how large what the engine computes on a text is, channel by channel. */
#ifndef ASY_CONVERT_CALIBRATE_PRIV_H
#define ASY_CONVERT_CALIBRATE_PRIV_H

#include "convert/convert.h"

/* Sums of squares over all tokens, [layers][channels]; in the units that exact.h names. Integers,
 * so the order of tokens is free. */
struct energies {
    uint32_t dim, heads, out, inner; /* channels; heads: queries, keys, values */
    asy_u128 *attn_norm, *head, *attention, *ffn_norm, *gated;
    int32_t residual;   /* its largest number */
    uint64_t saturated; /* numbers at the cap */
};

/* Runs the windows. errors: of asy_exact_new */
ASY_MUST_USE enum asy_err calibrate(struct energies *ret_e, const struct asy_exact_model *model,
                                    const struct asy_windows *w,
                                    const struct asy_convert_options *options, const char *stage,
                                    struct asy_why *reterr_why);
void energies_done(struct energies *e);

#endif
