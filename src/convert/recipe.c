/* recipe.c: recipes by family, as options spell them, and as the file records them. */
#include "convert/recipe_priv.h"

#include <stdio.h>

#include "crypto/crypto.h"

/* Measured on SmolLM2-135M and gemma-3-270m (bench/quality). Qwen has no small model to measure: it
 * gets what is safest, all inputs wide, and balance, since its keys have large biases or gains. */
static const struct {
    uint8_t wide, fold;
    uint32_t residual_bits;
} presets[] = {
    [FAMILY_LLAMA] = {1 << ASY_EXACT_DOWN | WIDE_HEAD, FOLD_NORMS | FOLD_OUT | FOLD_DOWN, 14},
    [FAMILY_QWEN2] = {WIDE_ALL, FOLD_BALANCE, 14},
    [FAMILY_QWEN3] = {WIDE_ALL, FOLD_BALANCE, 14},
    [FAMILY_GEMMA3] = {WIDE_ALL, FOLD_BALANCE, 12},
};

static const char *const wide_names[] = {"qkv", "out", "gate_up", "down", "head", NULL};
static const char *const fold_names[] = {"norms", "out", "down", "balance", NULL};

/* ---- parsing ---- */

static struct asy_bytes trim(struct asy_bytes in) {
    while (in.n != 0 && in.p[0] == ' ') {
        in.p++;
        in.n--;
    }
    while (in.n != 0 && in.p[in.n - 1] == ' ') {
        in.n--;
    }
    return in;
}

/* The part in front of the separator; the rest stays in *in. */
static struct asy_bytes cut(struct asy_bytes *in, char separator) {
    const uint8_t *end = in->n != 0 ? memchr(in->p, separator, in->n) : NULL;
    struct asy_bytes part = {in->p, end != NULL ? (size_t)(end - in->p) : in->n};
    size_t taken = end != NULL ? part.n + 1 : part.n;
    in->p += taken;
    in->n -= taken;
    return trim(part);
}

static enum asy_err parse_names(uint8_t *ret_bits, struct asy_bytes in, const char *const *names,
                                const char *param, struct asy_why *why) {
    unsigned bits = 0;
    if (asy_bytes_eq(in, ASY_STR("none"))) {
        *ret_bits = 0;
        return ASY_OK;
    }
    do {
        struct asy_bytes word = cut(&in, ',');
        unsigned all = 0, found = 0;
        for (unsigned i = 0; names[i] != NULL; i++) {
            all |= 1u << i;
            found |= asy_bytes_eq(word, asy_bytes_cstr(names[i])) ? 1u << i : 0;
        }
        if (found == 0 && asy_bytes_eq(word, ASY_STR("all"))) {
            found = all;
        }
        if (found == 0) {
            return asy_why_set(why, ASY_ERR_SYNTAX, param, "`%.*s` is not one of its words",
                               (int)(word.n < 40 ? word.n : 40), (const char *)word.p);
        }
        bits |= found;
    } while (in.n != 0);
    *ret_bits = (uint8_t)bits;
    return ASY_OK;
}

/* "4" or "0-3" */
static enum asy_err parse_layers(uint32_t *ret_first, uint32_t *ret_last, struct asy_bytes in,
                                 uint32_t layers, struct asy_why *why) {
    struct asy_bytes from = cut(&in, '-');
    uint64_t first = 0, last = 0;
    enum asy_err err = asy_bytes_to_u64(&first, from);
    last = first;
    if (err == ASY_OK && in.n != 0) {
        err = asy_bytes_to_u64(&last, trim(in));
    }
    if (err != ASY_OK || first > last || last >= layers) {
        return asy_why_set(why, err == ASY_OK ? ASY_ERR_RANGE : err, "wide",
                           "no layers of a model with %u", layers);
    }
    *ret_first = (uint32_t)first;
    *ret_last = (uint32_t)last;
    return ASY_OK;
}

static enum asy_err parse_wide(struct recipe *r, struct asy_bytes in, uint32_t layers,
                               struct asy_why *why) {
    uint8_t bits;
    ASY_TRY(parse_names(&bits, cut(&in, ';'), wide_names, "wide", why));
    memset(r->wide, bits, layers);
    while (in.n != 0) {
        struct asy_bytes part = cut(&in, ';'), which = cut(&part, ':');
        uint32_t first = 0, last = 0;
        ASY_TRY(parse_layers(&first, &last, which, layers, why));
        ASY_TRY(parse_names(&bits, trim(part), wide_names, "wide", why));
        for (uint32_t l = first; l <= last; l++) {
            r->wide[l] = (uint8_t)((bits & ~(unsigned)WIDE_HEAD) | (r->wide[l] & WIDE_HEAD));
        }
    }
    return ASY_OK;
}

enum asy_err recipe_make(struct recipe *ret_recipe, const struct source *s,
                         const struct asy_convert_options *o, struct asy_why *why) {
    struct recipe r = {.fold = presets[s->family].fold,
                       .residual_bits = presets[s->family].residual_bits};
    memset(r.wide, presets[s->family].wide, s->layers);
    if (o->wide != NULL) {
        ASY_TRY(parse_wide(&r, trim(asy_bytes_cstr(o->wide)), s->layers, why));
    }
    if (o->fold != NULL) {
        ASY_TRY(parse_names(&r.fold, trim(asy_bytes_cstr(o->fold)), fold_names, "fold", why));
    }
    if (o->residual_bits != 0) {
        if (o->residual_bits > 24) {
            return asy_why_set(why, ASY_ERR_RANGE, "residual-bits", "%u is not in [1, 24]",
                               o->residual_bits);
        }
        r.residual_bits = o->residual_bits;
        r.bits_fixed = true;
    }
    uint32_t positions = o->positions != 0 ? o->positions : s->context;
    if (positions > ASY_EXACT_MAX_POSITIONS) {
        positions = ASY_EXACT_MAX_POSITIONS;
    }
    r.positions = (positions + 255) / 256 * 256;
    r.own_text = o->calibration.n != 0;
    asy_sha256(&r.text, r.own_text ? o->calibration : asy_convert_text);
    *ret_recipe = r;
    return ASY_OK;
}

struct recipe recipe_plain(const struct recipe *r) {
    struct recipe plain = *r;
    memset(plain.wide, WIDE_ALL, sizeof plain.wide);
    plain.fold = 0;
    return plain;
}

/* ---- formatting ---- */

struct text {
    char *p;
    size_t n;
};

static void add(struct text *t, const char *fmt, ...) ASY_PRINTF(2, 3);
static void add(struct text *t, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->p + t->n, ASY_CONVERT_MAX_RECIPE - t->n, fmt, ap);
    va_end(ap);
    ASY_ASSERT(n >= 0 && (size_t)n < ASY_CONVERT_MAX_RECIPE - t->n);
    t->n += (size_t)n;
}

static void add_names(struct text *t, unsigned bits, const char *const *names) {
    for (unsigned i = 0, some = 0; names[i] != NULL; i++) {
        if (bits >> i & 1) {
            add(t, "%s%s", some++ != 0 ? "," : "", names[i]);
        }
    }
    if (bits == 0) {
        add(t, "none");
    }
}

void recipe_format(char ret_text[ASY_CONVERT_MAX_RECIPE], const struct recipe *r,
                   const struct source *s) {
    struct text t = {.p = ret_text};
    add(&t, "assay convert recipe %u\nfamily %s\nwide ", ASY_CONVERT_VERSION, s->name);
    add_names(&t, r->wide[0], wide_names);
    /* layers that differ from the first, as runs */
    for (uint32_t l = 1; l < s->layers;) {
        uint32_t first = l;
        while (l < s->layers && r->wide[l] == r->wide[first]) {
            l++;
        }
        if (r->wide[first] != r->wide[0]) {
            add(&t, ";%u-%u:", first, l - 1);
            add_names(&t, r->wide[first] & ~(unsigned)WIDE_HEAD, wide_names);
        }
    }
    add(&t, "\nfold ");
    add_names(&t, r->fold, fold_names);
    add(&t, "\nresidual-bits %u\npositions %u\ncalibration %s sha256:", r->residual_bits,
        r->positions, r->own_text ? "text" : "built-in");
    for (size_t i = 0; i < sizeof r->text.b; i++) {
        add(&t, "%02x", r->text.b[i]);
    }
    add(&t, " tokens %u window %u\n", r->tokens, r->window);
}
