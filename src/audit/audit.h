/*~ audit: judging a finished job by computing it again.
 *
 * The seed is fixed by the job, so the answer itself is the evidence: at every position exactly one
 * token is right. Here is the judge of the exact tier, in three parts and as one:
 *
 *   asy_audit_exact   the tokens: one teacher-forced pass of the integer executor over prompt and
 *                     answer, and at each position the sampler with the job's settings and seed.
 *                     Its logits are the same on every machine, so there is no tolerance: one wrong
 *                     token is proof that the model, the prompt, the settings or the seed were not
 *                     those of the terms, or that the text was not made by them at all
 *   asy_audit_end     the end: did the answer stop where it had to, for the reason that is stated?
 *   asy_audit_replay  all of a segment from its audit record: renders and tokenizes the request,
 *                     compares it with the prompt that was signed, then the two above
 *
 * It costs about a sixth of making the answer (all positions at once; bench/replay). What the
 * caller must have made sure of: that the record is what terms and receipt commit to (verify.h),
 * and that the model is the one that they name (model.h).
 *
 * Pure; one thread (the executor may have helpers of its own). Depends on: base, crypto, sample,
 * exact, engine (its gate for stop strings), job.
 */
#ifndef ASY_AUDIT_AUDIT_H
#define ASY_AUDIT_AUDIT_H

#include "base/base.h"
#include "engine/engine.h"
#include "exact/exact.h"
#include "job/job.h"
#include "sample/sample.h"

/* ---- the tokens ------------------------------------------------------------------------------ */

/* What is to be judged: one segment of a job. All is borrowed. */
struct asy_audit_exact_job {
    const uint32_t *prompt; /* at least one id */
    uint32_t prompt_count;
    const uint32_t *prior; /* output of earlier segments: others answer for it */
    uint32_t prior_count;
    const uint32_t *output; /* may be none */
    uint32_t output_count;
    struct asy_sample_settings sampling;
    const struct asy_sample_bias *bias;
    size_t bias_count;
    uint8_t seed[ASY_SAMPLE_SEED_LEN];
};

enum asy_audit_verdict {
    ASY_AUDIT_PROVED = 1, /* every token is the one that the model gives */
    ASY_AUDIT_WRONG,      /* one is not; `first` and what follows say which */
};

struct asy_audit_exact {
    enum asy_audit_verdict verdict;
    uint32_t checked; /* output tokens that were compared: all, or up to the first wrong one */
    /* The first wrong token; its place counts the output of earlier segments. */
    uint32_t first, claimed, right;
    /* The right token's score less the claimed one's, in 2^-16 nats; ASY_SAMPLE_OUTSIDE when a
     * filter excludes the claimed one. */
    int64_t margin;
    /* By how much the right tokens won where they were right: the least of all leads. */
    int64_t least_lead;
};

/* What is computed at once, by asy_audit_replay. */
#define ASY_AUDIT_ROWS        128u
#define ASY_AUDIT_LOGITS_ROWS 64u

/* asy_audit_exact judges.
 * in:     x: its slot is overwritten; rows and logits_rows say how much is computed at once; more
 *         than ASY_AUDIT_ROWS is hardly faster
 *         stop_at_first: false looks at all positions; `wrong` counts them
 *         progress: may be NULL; output tokens judged, and their number
 * out:    ret_wrong: may be NULL; wrong tokens found
 * errors: RANGE the job is longer than x's context, or an id is not in the vocabulary */
ASY_MUST_USE enum asy_err
asy_audit_exact(struct asy_audit_exact *ret_audit, uint32_t *ret_wrong, struct asy_exact *x,
                uint32_t slot, const struct asy_audit_exact_job *job, bool stop_at_first,
                void (*progress)(void *arg, uint32_t done, uint32_t count), void *arg,
                struct asy_why *reterr_why);

/* ---- the end --------------------------------------------------------------------------------- */

/* What makes text of ids and ids of text: the vocabulary inside the model file. */
struct asy_audit_vocab {
    void *self;
    /* A JSON array of messages to the ids of the prompt, as workers make them at a time (Unix s);
     * ids by asy_alloc. errors: its own */
    enum asy_err (*chat)(void *self, uint32_t **ret_ids, size_t *ret_count,
                         struct asy_bytes messages, uint64_t time, struct asy_why *reterr_why);
    bool (*is_end)(void *self, uint32_t id);
    asy_engine_piece_fn piece; /* with self */
};

enum asy_audit_end_verdict {
    ASY_AUDIT_END_RIGHT = 1,
    ASY_AUDIT_END_EARLY, /* nothing ended it there: STOP without an end token or stop string, LENGTH
                          * below max_out and the context */
    ASY_AUDIT_END_LATE,  /* it went on behind an end token or a whole stop string */
    ASY_AUDIT_END_OTHER, /* LENGTH, but what ended it is an end token or a stop string */
};
/* What ends an answer, at the latest. */
enum asy_audit_cause {
    ASY_AUDIT_CAUSE_NONE, /* nothing yet: it was cut */
    ASY_AUDIT_CAUSE_TOKEN,
    ASY_AUDIT_CAUSE_STRING,
    ASY_AUDIT_CAUSE_MAX_OUT,
    ASY_AUDIT_CAUSE_CONTEXT,
};
struct asy_audit_end {
    enum asy_audit_end_verdict verdict;
    enum asy_audit_cause cause;
    /* TOKEN, STRING: place of the token that ends it, the output of earlier segments counted. */
    uint32_t at;
};
struct asy_audit_end_job {
    const uint32_t *output;
    uint32_t output_count, prior_count, prompt_count;
    const struct asy_bytes *stops;
    uint32_t stop_count;
    uint64_t max_out; /* of the terms */
    uint32_t context; /* tokens of prompt and answer together that the node had room for */
    uint8_t finish;   /* enum asy_finish, of the receipt */
};
/* asy_audit_end judges how an answer ended. An answer that was cut (CANCELLED, LINK) may end
 * anywhere, but not behind its end. */
struct asy_audit_end asy_audit_end(const struct asy_audit_end_job *job,
                                   const struct asy_audit_vocab *vocab);

/* ---- a segment ------------------------------------------------------------------------------- */

/* One segment as it was signed and kept. Borrowed. */
struct asy_audit_segment {
    const struct asy_terms *terms;
    const struct asy_receipt *receipt;
    const struct asy_hash *prompt_digest;
    const struct asy_audit_record *record; /* passed the check RECORD of verify.h */
};
/* asy_audit_prompt makes the prompt of a segment as template and tokenizer do.
 * out:    ret_ids: asy_free them
 *         ret_digest: may be NULL
 *         ret_signed: it is the one that was signed, in digest and in number
 * errors: of vocab->chat; SYNTAX the record's request is not canonical; RANGE */
ASY_MUST_USE enum asy_err asy_audit_prompt(uint32_t **ret_ids, uint32_t *ret_count,
                                           struct asy_hash *ret_digest, bool *ret_signed,
                                           const struct asy_audit_segment *segment,
                                           const struct asy_audit_vocab *vocab,
                                           struct asy_why *reterr_why);

struct asy_audit_replay_config {
    const struct asy_exact_model *model;
    const struct asy_audit_vocab *vocab;
    enum asy_exact_kernel kernel;
    uint32_t threads; /* in [1, 64] */
    uint32_t context; /* as in asy_audit_end_job; 0: the positions of the model */
    bool count_all;   /* go on behind the first wrong token, to count them */
    void (*progress)(void *arg, uint32_t done,
                     uint32_t count); /* as asy_audit_exact; may be NULL */
    void *arg;
};
struct asy_audit_replay {
    /* The prompt, as template and tokenizer make it: is it the one that was signed, in digest and
     * in number? Where not, nothing else was looked at. */
    bool prompt_is_signed;
    uint32_t prompt_count;
    struct asy_hash prompt_digest;
    struct asy_audit_exact tokens;
    uint32_t wrong; /* tokens: 1 at most unless count_all is set */
    struct asy_audit_end end;
};
/* asy_audit_replay computes a segment again.
 * errors: RANGE it does not fit the model, or an id is not in its vocabulary; of vocab->chat: the
 *         request makes no prompt; as asy_exact_new. Each of them means that no honest node served
 *         this segment with this model */
ASY_MUST_USE enum asy_err asy_audit_replay(struct asy_audit_replay *ret_replay,
                                           const struct asy_audit_segment *segment,
                                           const struct asy_audit_replay_config *config,
                                           struct asy_why *reterr_why);

#endif
