/* emit_priv.h: a source and a recipe as a model file. */
#ifndef ASY_CONVERT_EMIT_PRIV_H
#define ASY_CONVERT_EMIT_PRIV_H

#include "convert/calibrate_priv.h"
#include "convert/recipe_priv.h"

/* The shape of the model file, but for the lengths of its texts. */
void emit_shape(struct asy_exact_shape *ret_shape, const struct source *s, const struct recipe *r);
/* Writes all rows, norms and tables.
 * in:     m: of a run of the plain recipe; NULL when nothing is folded
 * errors: RANGE a number of the source; OVERFLOW the residual needs a coarser unit */
ASY_MUST_USE enum asy_err emit(struct asy_exact_writer *w, const struct source *s,
                               const struct recipe *r, const struct energies *m,
                               const struct asy_convert_options *options, const char *stage,
                               struct asy_why *reterr_why);

#endif
