/* exact_priv.h: what the commands about models of the exact engine share. */
#ifndef ASSAY_EXACT_PRIV_H
#define ASSAY_EXACT_PRIV_H

#include <getopt.h>

#include "assay_priv.h"
#include "client_priv.h"
#include "convert/convert.h"

/* ---- options --------------------------------------------------------------------------------- */

/* Long options that several commands have; a command's own begin at EXACT_OPT_OWN. */
enum {
    EXACT_OPT_MODEL = OPT_OWN,
    EXACT_OPT_TEXT,
    EXACT_OPT_WINDOW,
    EXACT_OPT_WINDOWS,
    EXACT_OPT_CHUNK,
    EXACT_OPT_BATCH,
    EXACT_OPT_THREADS,
    EXACT_OPT_KERNEL,
    EXACT_OPT_OWN
};
#define EXACT_OPTIONS                                                                              \
    {"model", required_argument, NULL, EXACT_OPT_MODEL},                                           \
        {"text", required_argument, NULL, EXACT_OPT_TEXT},                                         \
        {"window", required_argument, NULL, EXACT_OPT_WINDOW},                                     \
        {"windows", required_argument, NULL, EXACT_OPT_WINDOWS},                                   \
        {"chunk", required_argument, NULL, EXACT_OPT_CHUNK},                                       \
        {"batch", required_argument, NULL, EXACT_OPT_BATCH},                                       \
        {"threads", required_argument, NULL, EXACT_OPT_THREADS},                                   \
        {"kernel", required_argument, NULL, EXACT_OPT_KERNEL},                                     \
        {"json", no_argument, NULL, OPT_JSON}, CLIENT_OPTION_HELP
/* Lines of a help text about running: of all of them, and of those about a text. */
#define EXACT_HELP                                                                                 \
    "  --chunk N            tokens of each window in one step; default 64\n"                       \
    "  --batch N            windows at once; default 1\n"                                          \
    "  --threads N          default 1\n"                                                           \
    "  --kernel NAME        auto, scalar, avx2, avx512 or neon; default auto\n"                    \
    "  --json               print the result as JSON\n"
#define EXACT_HELP_TEXT                                                                            \
    "  --window N           tokens of a window; default 512\n"                                     \
    "  --windows N          how many windows; default all that the text fills\n"

struct exact_options {
    const char *model, *text; /* paths */
    uint32_t window, windows, chunk, batch, threads;
    enum asy_exact_kernel kernel;
    bool json;
};
#define EXACT_DEFAULTS                                                                             \
    { .window = 512, .chunk = 64, .batch = 1, .threads = 1 }

/* Takes one of EXACT_OPTIONS. 0: done; 2: its value is wrong, which was printed; -1: it is another
 * option. */
int exact_option(struct exact_options *o, const char *name, int option);
/* A decimal number in [min, max]; 2, and printed, when it is none; else 0. */
int exact_number(uint32_t *ret, const char *name, const char *option, const char *text,
                 uint32_t min, uint32_t max);

/* ---- models ---------------------------------------------------------------------------------- */

/* A mapped model file. exact_model_close always. */
struct exact_model {
    struct asy_bytes file;
    struct asy_exact_model *model;
};
ASY_MUST_USE enum asy_err exact_model_open(struct exact_model *m, const char *path,
                                           struct asy_why *why);
void exact_model_close(struct exact_model *m);
/* llama.cpp, in this process; its plugin lies beside the program. */
ASY_MUST_USE enum asy_err exact_llama(struct asy_llama **ret_llama, struct asy_why *why);
/* The options' text, or a built-in one, cut into windows by the model's own tokenizer. */
ASY_MUST_USE enum asy_err exact_windows(struct asy_windows *ret_w, const struct asy_llama *llama,
                                        const struct asy_exact_model *model,
                                        const struct exact_options *o, struct asy_why *why);

/* ---- printing -------------------------------------------------------------------------------- */

/* A bar on standard error, where that is a terminal; fits asy_convert_progress_fn. */
void exact_progress(void *arg, const char *stage, uint64_t done, uint64_t total);
/* Takes the bar away. */
void exact_progress_end(void);

/* ---- hash.c ---------------------------------------------------------------------------------- */

int cmd_exact_hash(int argc, char **argv);
int cmd_exact_bench(int argc, char **argv);
int cmd_exact_tokens(int argc, char **argv);

/* ---- trace.c --------------------------------------------------------------------------------- */

int cmd_exact_trace(int argc, char **argv);

/* ---- convert.c ------------------------------------------------------------------------------- */

int cmd_models_convert(int argc, char **argv);
int cmd_models_report(int argc, char **argv);
int cmd_models_check(int argc, char **argv);

/* ---- manifest.c ------------------------------------------------------------------------------ */

int cmd_models_manifest(int argc, char **argv);

#endif
