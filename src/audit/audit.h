/*~ audit: judging a finished job by computing it again.
 *
 * The seed is fixed by the job, so the answer itself is the evidence: at every position exactly one
 * token is right. Here is the judge of the exact tier: one teacher-forced pass of the integer
 * executor over prompt and answer, and at each position the sampler with the job's settings and
 * seed. Its logits are the same on every machine, so there is no tolerance: one wrong token is
 * proof that the model, the prompt, the settings or the seed were not those of the terms, or that
 * the text was not made by them at all.
 *
 * It costs about a tenth of making the answer (all positions at once). What the caller must have
 * made sure of: that the ids, settings and seed are those that the receipt and its terms commit to,
 * and the model file is the manifest's (verify.h does both).
 *
 * Pure; one thread (the executor may have helpers of its own). Depends on: base, crypto, sample,
 * exact.
 */
#ifndef ASY_AUDIT_AUDIT_H
#define ASY_AUDIT_AUDIT_H

#include "base/base.h"
#include "exact/exact.h"
#include "sample/sample.h"

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

/* asy_audit_exact judges.
 * in:     x: its slot is overwritten; rows and logits_rows say how much is computed at once: more
 *         is faster, up to some 64
 *         stop_at_first: false looks at all positions; `wrong` counts them
 *         progress: may be NULL; output tokens judged, and their number
 * out:    ret_wrong: may be NULL; wrong tokens found
 * errors: RANGE the job is longer than x's context, or an id is not in the vocabulary */
ASY_MUST_USE enum asy_err
asy_audit_exact(struct asy_audit_exact *ret_audit, uint32_t *ret_wrong, struct asy_exact *x,
                uint32_t slot, const struct asy_audit_exact_job *job, bool stop_at_first,
                void (*progress)(void *arg, uint32_t done, uint32_t count), void *arg,
                struct asy_why *reterr_why);

#endif
