/* recipe_priv.h: what a conversion is free to choose. */
#ifndef ASY_CONVERT_RECIPE_PRIV_H
#define ASY_CONVERT_RECIPE_PRIV_H

#include "convert/source_priv.h"

enum {
    FOLD_NORMS = 1,   /* smoothing from norms into qkv, gate and up */
    FOLD_OUT = 2,     /* from values into out */
    FOLD_DOWN = 4,    /* from up into down */
    FOLD_BALANCE = 8, /* between queries and keys */
    FOLD_ALL = 15
};
enum { WIDE_HEAD = 1 << (ASY_EXACT_DOWN + 1), WIDE_ALL = 31 };

struct recipe {
    uint8_t wide[ASY_EXACT_MAX_LAYERS]; /* bit n: linear n; bit WIDE_HEAD in wide[0] only */
    uint8_t fold;
    uint32_t residual_bits;
    bool bits_fixed; /* asked for: not to be lowered */
    uint32_t positions;
    struct asy_hash text;    /* SHA-256 of the calibration text */
    bool own_text;           /* not the built-in one */
    uint32_t window, tokens; /* of the calibration */
};

/* The family's recipe with the options' changes. errors: SYNTAX, RANGE */
ASY_MUST_USE enum asy_err recipe_make(struct recipe *ret_recipe, const struct source *s,
                                      const struct asy_convert_options *options,
                                      struct asy_why *reterr_why);
/* What runs for calibration: all inputs wide, nothing folded. */
struct recipe recipe_plain(const struct recipe *r);
/* The text that goes into the file. */
void recipe_format(char ret_text[ASY_CONVERT_MAX_RECIPE], const struct recipe *r,
                   const struct source *s);

#endif
