/*~ convert: from a GGUF file to a model file of exact/1, and what is lost on the way.
 *
 * A conversion reads weights in any format of ggml, brings each row to 8 bits with one scale, and
 * writes the constants that make integers of everything else. Three things are its own choice, and
 * make up the **recipe**, whose text goes into the file:
 *
 *   wide    which inputs of linears have 16 bits instead of 8, layer by layer
 *   fold    scales moved between weights that follow each other, so that inputs of linears are
 *           easier to hold in 8 bits: from norms into the next weights, from values and `up` rows
 *           into the next columns (smoothing), between queries and keys (balance)
 *   unit    of the residual, so that nothing saturates
 *
 * Folding needs the size of activations, and the unit that of the residual: the exact engine itself
 * runs a text (a built-in one, or the caller's) and is watched. So nothing here depends on how a
 * machine rounds floats: the same input, recipe and text give the same bytes everywhere.
 *
 * Blocks for seconds to minutes; one thread, but for the engine's own.
 * Depends on: base, crypto, exact, engine (GGUF files, and llama.cpp in this process).
 * source: docs/convert.md
 */
#ifndef ASY_CONVERT_CONVERT_H
#define ASY_CONVERT_CONVERT_H

#include "base/base.h"
#include "engine/engine.h"
#include "exact/exact.h"

/* ---- text as windows of tokens --------------------------------------------------------------- */

/* Pieces of a text that are run each by itself: `count` windows of `window` tokens, one behind the
 * other in ids. Each begins with the tokenizer's first token, where it has one. */
struct asy_windows {
    uint32_t *ids;
    uint32_t window, count;
    bool has_first; /* ids[0] of each window is no token of the text */
};
/* Cuts a text; what does not fill a window is left out, but for a text that is shorter than one.
 * in:     window: tokens, at least 2; max_count: windows, 0: all
 * errors: TOO_LONG; MISSING the text has fewer than two tokens */
ASY_MUST_USE enum asy_err asy_windows_new(struct asy_windows *ret_w,
                                          const struct asy_llama_vocab *vocab,
                                          struct asy_bytes text, uint32_t window,
                                          uint32_t max_count, struct asy_why *reterr_why);
void asy_windows_done(struct asy_windows *w);

/* ---- converting ------------------------------------------------------------------------------ */

/* Told now and then how far a stage is. */
typedef void (*asy_convert_progress_fn)(void *arg, const char *stage, uint64_t done,
                                        uint64_t total);

struct asy_convert_options {
    /* Wide inputs: "none", "all", or a list of qkv, out, gate_up, down, head with commas; behind
     * it, for some layers only, "; 0-3: qkv, out; 29: all". NULL: the family's. */
    const char *wide;
    /* "none", or a list of norms, out, down (smoothing) and balance. NULL: the family's. */
    const char *fold;
    uint32_t residual_bits; /* unit 2^-bits, in [1, 24]; 0: the family's, lowered when needed */
    uint32_t positions;     /* that the rotation tables reach; 0: the model's context */
    struct asy_bytes calibration;     /* UTF-8; empty: the built-in text */
    uint32_t calibration_tokens;      /* at most; 0: 8,192 */
    enum asy_exact_kernel kernel;     /* that runs the calibration; the result is the same */
    uint32_t threads;                 /* 0: 1 */
    asy_convert_progress_fn progress; /* NULL: nobody is told */
    void *arg;
};

/* Of what a conversion computes: the first number in a recipe. Whoever makes other bytes of the
 * same input raises it. */
#define ASY_CONVERT_VERSION        1u
#define ASY_CONVERT_MAX_VOCABULARY (64u * 1024u * 1024u) /* bytes; the largest have 20 MB */
#define ASY_CONVERT_MAX_RECIPE     16384u /* bytes; 256 layers with masks of their own have 8,000 */
struct asy_convert_result {
    uint64_t file_len;
    struct asy_hash source, weights;
    uint32_t residual_bits;
    int32_t residual_max; /* of the calibration text, in its unit; the cap is 2^30 - 1 */
    uint64_t saturated;   /* numbers at the cap while the calibration text ran */
    uint32_t calibration_tokens;
    char recipe[ASY_CONVERT_MAX_RECIPE]; /* as it stands in the file */
};

/* asy_convert writes the model file `to`; until it is whole it is called `to`.part.
 * errors: NOT_FOUND, IO; UNSUPPORTED a feature of the model, by name; SYNTAX, MISSING, TYPE, RANGE,
 *         MISMATCH what is wrong with the file; SYNTAX, RANGE an option (why->param names it);
 *         OVERFLOW the residual needs a unit that is coarser than the one asked for */
ASY_MUST_USE enum asy_err asy_convert(struct asy_convert_result *ret_result,
                                      const struct asy_llama *llama, const char *from,
                                      const char *to, const struct asy_convert_options *options,
                                      struct asy_why *reterr_why);

/* The built-in texts: for calibration, and another one for measuring. */
extern const struct asy_bytes asy_convert_text, asy_measure_text;

/* ---- measuring ------------------------------------------------------------------------------- */

/* What a model says about each token of some windows but the last of each. */
struct asy_measure {
    size_t count;  /* windows * (window - 1) */
    float *nll;    /* minus the logarithm of the next token's probability */
    uint32_t *top; /* the most probable next token; of equals the lowest */
    double cpu_s;  /* the model's alone, of all its threads */
    double wall_s;
};
void asy_measure_done(struct asy_measure *m);

struct asy_measure_config {
    enum asy_exact_kernel kernel;
    uint32_t threads;                 /* in [1, 64] */
    uint32_t batch;                   /* windows at once */
    uint32_t chunk;                   /* tokens of each of them in one step */
    asy_convert_progress_fn progress; /* NULL: nobody is told */
    void *arg;
};
/* Runs the windows through the engine; batch, chunk, threads and kernel do not change the numbers.
 * errors: of asy_exact_new; RANGE an id is no token of the model, or the windows are longer than
 *         its positions */
ASY_MUST_USE enum asy_err asy_measure_exact(struct asy_measure *ret_m,
                                            const struct asy_exact_model *model,
                                            const struct asy_windows *w,
                                            const struct asy_measure_config *config,
                                            struct asy_why *reterr_why);

/* The same through llama.cpp, chunk tokens at a time; batch and kernel are ignored. half: see
 * struct asy_llama_model_config; stage: what progress is told. errors: of asy_llama_model_new;
 * RANGE an id is no token of the model */
ASY_MUST_USE enum asy_err
asy_measure_llama(struct asy_measure *ret_m, const struct asy_llama *llama, const char *path,
                  bool half, const char *stage, const struct asy_windows *w,
                  const struct asy_measure_config *config, struct asy_why *reterr_why);

/* The mean of nll, whose exponential is the perplexity, and its standard error: from the means of
 * blocks of 64 tokens, since neighbours are alike. */
struct asy_measure_mean {
    double nll, error;
};
struct asy_measure_mean asy_measure_mean(const struct asy_measure *m);
/* Two models on the same windows, token by token. */
struct asy_measure_difference {
    double ratio, ratio_error; /* of the perplexities, m's to the reference's */
    double same_top;           /* share of tokens where both find the same one most probable */
};
struct asy_measure_difference asy_measure_compare(const struct asy_measure *m,
                                                  const struct asy_measure *reference);

/* ---- report ---------------------------------------------------------------------------------- */

#define ASY_REPORT_MAX_MODELS 24u

struct asy_report_model {
    /* "float", the caller's, or llama.cpp's number format; ASCII without quotes or markup */
    char name[40];
    uint64_t file_len;
    struct asy_measure_mean mean;
    struct asy_measure_difference difference; /* to the float model */
    double cpu_ms;                            /* per token: prefill with the logits of all */
};
/* Models of the exact engine beside the float model that they were made from, and beside
 * llama.cpp's own quantisations of that. */
struct asy_report {
    struct asy_report_model models[ASY_REPORT_MAX_MODELS]; /* float, the exact ones, others */
    uint32_t count, exact_count, windows, window;
    /* A closer look at the first exact model, and the beginning of the first windows. */
    uint32_t close_tokens;
    double correlation; /* of a token's logits with those of the float model: the mean */
    double least_correlation;
    uint64_t saturated; /* numbers at the cap */
    uint32_t layers;
    double *layer_error; /* [layers]: length of the residual's difference behind a layer, over the
                          * float residual's: the mean over tokens */
};
void asy_report_done(struct asy_report *r);

struct asy_report_config {
    struct asy_measure_config run;
    const char *temp;         /* folder for float and quantised files, which are removed again */
    const char *const *types; /* of llama.cpp: "Q8_0", "Q4_0", "Q4_K_M"; ends with NULL */
    bool any_source;          /* gguf need not be the file that the models were made from */
};
struct asy_report_exact {
    const char *name; /* for the report */
    const struct asy_exact_model *model;
    uint64_t file_len;
};
/* in:     gguf: path of the file that the models were made from
 *         models: in [1, ASY_REPORT_MAX_MODELS - 1]; what does not fit is left out
 * errors: MISMATCH one was made from another file; of the functions above; IO */
ASY_MUST_USE enum asy_err
asy_report_make(struct asy_report *ret_report, const struct asy_llama *llama, const char *gguf,
                const struct asy_report_exact *models, uint32_t count, const struct asy_windows *w,
                const struct asy_report_config *config, struct asy_why *reterr_why);
/* For people, as JSON, and as a picture (SVG). title: of the picture. errors: TOO_LONG */
ASY_MUST_USE enum asy_err asy_report_text(struct asy_buf *buf, const struct asy_report *r);
ASY_MUST_USE enum asy_err asy_report_json(struct asy_buf *buf, const struct asy_report *r);
ASY_MUST_USE enum asy_err asy_report_svg(struct asy_buf *buf, const struct asy_report *r,
                                         const char *title);

#endif
