/* replay_priv.h: the model of the exact engine that jobs are computed again with: for `assay verify
 * --replay` and `assay exact trace`. */
#ifndef ASSAY_REPLAY_PRIV_H
#define ASSAY_REPLAY_PRIV_H

#include "audit/audit.h"
#include "client_priv.h"
#include "exact_priv.h"
#include "model/model.h"
#include "verify/verify.h"

/* ---- options --------------------------------------------------------------------------------- */

/* Long options about the model; a command's own begin at REPLAY_OPT_OWN. */
enum {
    REPLAY_OPT_MODEL = OPT_OWN,
    REPLAY_OPT_MANIFEST,
    REPLAY_OPT_NAME,
    REPLAY_OPT_LICENCE,
    REPLAY_OPT_KERNEL,
    REPLAY_OPT_THREADS,
    REPLAY_OPT_OWN
};
#define REPLAY_OPTIONS                                                                             \
    {"model", required_argument, NULL, REPLAY_OPT_MODEL},                                          \
        {"manifest", required_argument, NULL, REPLAY_OPT_MANIFEST},                                \
        {"name", required_argument, NULL, REPLAY_OPT_NAME},                                        \
        {"licence", required_argument, NULL, REPLAY_OPT_LICENCE},                                  \
        {"kernel", required_argument, NULL, REPLAY_OPT_KERNEL}, {                                  \
        "threads", required_argument, NULL, REPLAY_OPT_THREADS                                     \
    }
#define REPLAY_HELP                                                                                \
    "  --model FILE         the model, as the node has it, under the same file name; `assay\n"     \
    "                       models convert IN.gguf FILE` makes one, everywhere the same bytes\n"   \
    "  --name NAME          its name in the market, and with --licence (default Apache-2.0) "      \
    "what\n"                                                                                       \
    "  --licence SPDX       else stands in its manifest: the terms name the manifest's digest\n"   \
    "  --manifest FILE      instead of these two: the manifest itself\n"                           \
    "  --threads N          default: one for every two processors\n"                               \
    "  --kernel NAME        auto, scalar, avx2, avx512 or neon; default auto. None changes a "     \
    "bit\n"

struct replay_options {
    const char *model, *manifest, *name, *licence;
    enum asy_exact_kernel kernel;
    uint32_t threads; /* 0: the default */
};
/* Takes one of REPLAY_OPTIONS. 0: done; 2: its value is wrong, which was printed; -1: it is another
 * option. */
int replay_option(struct replay_options *o, const char *command, int option);
/* Is there all that replay_model_open takes? Otherwise it is printed, and 2 returned.
 * named: it must be said which model that is */
int replay_options_check(struct replay_options *o, const char *command, bool named);

/* ---- the model ------------------------------------------------------------------------------- */

struct replay_model {
    const struct replay_options *o;
    struct exact_model exact;
    struct asy_gguf gguf; /* what the file says of itself */
    struct asy_manifest manifest;
    struct asy_hash digest; /* of the manifest; zero: the options name none */
    struct asy_llama *llama;
    struct asy_llama_vocab *llama_vocab;
    struct asy_audit_vocab vocab;
};
/* Loads the file, and its vocabulary. What is wrong is printed, with what can be done about it, and
 * false returned. replay_model_close always. */
bool replay_model_open(struct replay_model *m, const struct replay_options *o, const char *command);
void replay_model_close(struct replay_model *m);
/* MODEL: is it the one of these terms? Returns whether it is. */
bool replay_model_check(const struct replay_model *m, const struct asy_terms *terms,
                        struct asy_verify_findings *f);

/* The text of a token for people: control characters and what is no UTF-8 as \n or \xe2; long ones
 * are cut. */
#define REPLAY_TEXT 80u
const char *replay_token_text(char ret[REPLAY_TEXT], const struct replay_model *m, uint32_t id);

/* ---- replay.c: all of a bundle --------------------------------------------------------------- */

enum replay_state { REPLAY_NOTHING, REPLAY_SKIPPED, REPLAY_REFUSED, REPLAY_DONE };
struct replay_segment {
    enum replay_state state;   /* NOTHING: no receipt; SKIPPED: REPLAY says why; REFUSED: no honest
                                * node can have served it */
    struct asy_audit_replay r; /* of DONE */
};
struct replay {
    struct replay_segment segments[ASY_VERIFY_MAX_SEGMENTS];
    uint64_t tokens; /* compared, over all */
    bool proved;     /* every segment with a receipt was, and there is one */
    double seconds;
};
/* Computes every segment again that can be, and adds MODEL, PROMPT, REPLAY and FINISH.
 * context: of the nodes; 0: that of the manifest */
void replay_run(struct replay *ret, struct asy_verify_report *report, const struct replay_model *m,
                uint32_t context, bool count_all);
/* The first wrong token of a segment, with both texts. */
void replay_print_wrong(const struct replay_model *m, const struct asy_audit_replay *r);
/* The member `replay` of a segment. */
void replay_write(struct asy_jw *w, const struct replay_model *m, const struct replay_segment *s);

#endif
