/*~ sample: which token comes next, decided by integers.
 *
 * One sampler for every engine, auditor and court: token = argmax over the allowed ids of logit / T
 * + noise(seed, position, id), all in integers, so that the same logits, settings and seed give the
 * same token on every machine. Normative text: docs/protocol/sampling.md.
 *
 * Engine and judge go the same way: logits, asy_sample_adjust (bias and penalties; when neither is
 * set, nothing to do), then asy_sample_token or asy_sample_margin.
 *
 * Pure: no allocation, no globals that change, no clock, no floating point (but for
 * asy_sample_logits_from_float, in a file of its own). Thread safe: calls share nothing but
 * constant tables. Memory comes from the caller (asy_sample_workspace_len).
 *
 * Units: a logit is an int32 in 2^-16 nats; INT32_MIN means masked: that id does not exist for this
 * call. A score is an int64 in 2^-16.
 * Depends on: base.
 */
#ifndef ASY_SAMPLE_H
#define ASY_SAMPLE_H

#include "base/base.h"

#define ASY_SAMPLE_MAX_VOCAB             (1u << 20) /* ids; today's largest have 262,144 */
#define ASY_SAMPLE_MAX_TEMPERATURE_MILLI 100000u
#define ASY_SAMPLE_PPM                   1000000u /* a probability of one */
#define ASY_SAMPLE_SETTINGS_LEN          64u      /* bytes of the canonical encoding */
#define ASY_SAMPLE_SEED_LEN              32u
#define ASY_SAMPLE_MASKED                INT32_MIN       /* logit of an id not to be chosen */
#define ASY_SAMPLE_LOGIT_MAX             ((1 << 30) - 1) /* float logits are clamped to +- this */
#define ASY_SAMPLE_OUTSIDE               INT64_MAX       /* margin of an excluded id */
#define ASY_SAMPLE_MAX_PENALTY_MILLI     2000
#define ASY_SAMPLE_MAX_BIAS_MILLI        100000
#define ASY_SAMPLE_BAN_MILLI             (-100000) /* a bias that masks */
#define ASY_SAMPLE_BIAS_LEN              8u        /* bytes of an encoded pair */

/* How to choose. Everything that is off and everything reserved has one spelling, so equal settings
 * encode to equal bytes. */
struct asy_sample_settings {
    /* [0, 100000]; 0 = greedy: the highest logit, lowest id on ties; seed and filters then change
     * nothing */
    uint32_t temperature_milli;
    /* keep the k best ids; 0 = off */
    uint32_t top_k;
    /* keep the shortest prefix that holds this share, [0, 1000000]; 1000000 = off; 0 keeps one */
    uint32_t top_p_ppm;
    /* keep ids at least this likely relative to the best one, [0, 1000000]; 0 = off */
    uint32_t min_p_ppm;
    /* What the output tokens so far do to their own logits; 0 = off. In [-2000, 2000], thousandths
     * of a nat: less by this once, and by this for each time */
    int32_t presence_penalty_milli;
    int32_t frequency_penalty_milli;
    /* ... and a logit above 0 divided, another multiplied, by this; [1, 2000], not 1000; 0 = off */
    uint32_t repeat_penalty_milli;
    /* digest of the encoded pairs (job.h, asy_job_bias_digest); zero = none */
    struct asy_hash logit_bias;
};

/* The settings with nothing filtered: temperature 1, no top-k, no top-p, no min-p. */
#define ASY_SAMPLE_SETTINGS_DEFAULT                                                                \
    ((struct asy_sample_settings){.temperature_milli = 1000, .top_p_ppm = ASY_SAMPLE_PPM})

/* asy_sample_settings_check: OK, or why not.
 * errors: RANGE. The param of the reason names the field as an API request does: temperature,
 *         top_p, min_p, presence_penalty, frequency_penalty, repetition_penalty */
ASY_MUST_USE enum asy_err asy_sample_settings_check(const struct asy_sample_settings *settings,
                                                    struct asy_why *reterr_why);

/* asy_sample_settings_encode writes the canonical bytes, which `sampling` in the job terms hashes
 * together with the seed and the stop strings (job.h, asy_job_sampling_hash).
 * in:     settings: passed asy_sample_settings_check (asserted)
 * source: docs/protocol/sampling.md section 7 */
void asy_sample_settings_encode(uint8_t ret_bytes[ASY_SAMPLE_SETTINGS_LEN],
                                const struct asy_sample_settings *settings);

/* asy_sample_settings_decode reads the canonical bytes.
 * errors: SYNTAX not 64 bytes; RANGE as asy_sample_settings_check; UNSUPPORTED a reserved byte is
 *         not zero */
ASY_MUST_USE enum asy_err asy_sample_settings_decode(struct asy_sample_settings *ret_settings,
                                                     struct asy_bytes in,
                                                     struct asy_why *reterr_why);

/* ---- who could judge ---- */

/* What decides a token under some settings, a bit each. */
enum asy_sample_use {
    /* a contract could judge these, from a few openings: */
    ASY_SAMPLE_USE_GREEDY = 1u << 0,      /* this one or TEMPERATURE is always there */
    ASY_SAMPLE_USE_TEMPERATURE = 1u << 1, /* two logits, two random words */
    ASY_SAMPLE_USE_TOP_K = 1u << 2,       /* and a committed list of the k ids */
    ASY_SAMPLE_USE_MIN_P = 1u << 3,       /* and a committed best id */
    ASY_SAMPLE_USE_BIAS = 1u << 4,        /* and the pairs, which the settings commit to */
    /* these take a replay: */
    ASY_SAMPLE_USE_TOP_P = 1u << 5, /* the sum of all weights */
    ASY_SAMPLE_USE_PRESENCE = 1u << 6,
    ASY_SAMPLE_USE_FREQUENCY = 1u << 7,
    ASY_SAMPLE_USE_REPEAT = 1u << 8, /* these three: all output tokens before */
};
#define ASY_SAMPLE_USE_COUNT        9u
#define ASY_SAMPLE_USES_BY_CONTRACT 0x01fu
#define ASY_SAMPLE_USES_BY_REPLAY   0x1e0u
#define ASY_SAMPLE_USES_COUNTS      0x1c0u /* the penalties: asy_sample_adjust needs the counts */
/* Bits of enum asy_sample_use. At temperature 0 the filters decide nothing and are not among them.
 * in:     settings: passed asy_sample_settings_check
 * source: docs/protocol/sampling.md section 9 */
uint32_t asy_sample_uses(const struct asy_sample_settings *settings);
/* "greedy", and for the others the name of the request's field: "temperature", "top_k" ... */
const char *asy_sample_use_name(enum asy_sample_use use);

/* ---- bias and penalties ---- */

/* What is added to one id's logit. */
struct asy_sample_bias {
    uint32_t id;   /* below ASY_SAMPLE_MAX_VOCAB */
    int32_t milli; /* [-100000, 100000], not 0: thousandths of a nat; -100000 masks the id */
};

/* asy_sample_bias_check: sorted by id, none twice, within the ranges above, at most ASY_MAX_BIAS.
 * errors: RANGE; the param of the reason is logit_bias */
ASY_MUST_USE enum asy_err asy_sample_bias_check(const struct asy_sample_bias *bias, size_t count,
                                                struct asy_why *reterr_why);
/* The canonical bytes: ASY_SAMPLE_BIAS_LEN * count. bias: passed asy_sample_bias_check (asserted).
 * source: docs/protocol/sampling.md section 7 */
void asy_sample_bias_encode(uint8_t *ret_bytes, const struct asy_sample_bias *bias, size_t count);
/* Reads them. ret_bias: room for ASY_MAX_BIAS, or for in.n / ASY_SAMPLE_BIAS_LEN if that is less.
 * errors: SYNTAX no whole number of pairs; RANGE as asy_sample_bias_check */
ASY_MUST_USE enum asy_err asy_sample_bias_decode(struct asy_sample_bias *ret_bias,
                                                 size_t *ret_count, struct asy_bytes in,
                                                 struct asy_why *reterr_why);

/* How often an id stands among the output tokens so far: those of all segments of the job, not
 * the prompt's. */
struct asy_sample_count {
    uint32_t id;
    uint32_t count;
};
/* asy_sample_count_add counts one more output token.
 * in-out: counts: sorted by id; inout_len entries, and room for one more. Begin with none
 * Costs a search, and for a new id a move of what lies behind it. */
void asy_sample_count_add(struct asy_sample_count *counts, size_t *inout_len, uint32_t id);

/* asy_sample_adjust applies bias and penalties, in place: what the calls below take as logits.
 * in-out: logits: int32[vocab], any values; the masked ones stay so
 * in:     settings: passed asy_sample_settings_check (asserted)
 *         bias: passed asy_sample_bias_check; what settings->logit_bias is the digest of, so none
 *         exactly when that is zero (asserted)
 *         counts: made by asy_sample_count_add; may be left out (NULL, 0) when asy_sample_uses has
 *         none of ASY_SAMPLE_USES_COUNTS
 * errors: RANGE an id is not below vocab; the logits are then untouched
 * Touches the ids in bias and counts alone. source: docs/protocol/sampling.md section 4.2 */
ASY_MUST_USE enum asy_err asy_sample_adjust(int32_t *logits, uint32_t vocab,
                                            const struct asy_sample_settings *settings,
                                            const struct asy_sample_bias *bias, size_t bias_len,
                                            const struct asy_sample_count *counts,
                                            size_t counts_len);

/* ---- choosing and judging ---- */

/* Bytes of workspace that the calls below need for this vocabulary; 0 = impossible (0 or above
 * ASY_SAMPLE_MAX_VOCAB). The workspace must be aligned to 8 bytes; its content before and after a
 * call means nothing. One thread at a time. */
size_t asy_sample_workspace_len(uint32_t vocab);

/* asy_sample_token chooses the token at a position.
 * in:     logits: int32[vocab], any values; adjusted, if settings say so (asy_sample_adjust)
 *         settings: passed asy_sample_settings_check (asserted)
 *         seed: 32 bytes; docs/protocol/sampling.md section 2 says where they come from
 *         pos: index of the token to choose in the answer, from 0 and through all segments of a job
 * out:    ret_id: the token
 *         ret_lead: may be NULL; its score minus that of the next best allowed id,
 *         ASY_SAMPLE_OUTSIDE when it is the only one. Asking costs a little: fewer ids are skipped
 * errors: RANGE vocab impossible, or every id masked */
ASY_MUST_USE enum asy_err asy_sample_token(uint32_t *ret_id, int64_t *ret_lead, void *workspace,
                                           const int32_t *logits, uint32_t vocab,
                                           const struct asy_sample_settings *settings,
                                           const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos);

/* asy_sample_margin judges a claimed token; arguments as above.
 * out:    ret_margin: the winner's score minus the claimed id's (its logit at temperature 0);
 *         0 = the claim is the token, so an equal score at a higher id gives 1;
 *         ASY_SAMPLE_OUTSIDE = masked, or outside top-k, top-p or min-p
 *         ret_id: may be NULL; the token asy_sample_token would give
 * errors: RANGE vocab impossible, claimed >= vocab, or every id masked */
ASY_MUST_USE enum asy_err asy_sample_margin(int64_t *ret_margin, uint32_t *ret_id, void *workspace,
                                            const int32_t *logits, uint32_t vocab,
                                            const struct asy_sample_settings *settings,
                                            const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos,
                                            uint32_t claimed);

/* asy_sample_logits_from_float turns an engine's float logits into integers: round(x * 65536), ties
 * to even, clamped to +-ASY_SAMPLE_LOGIT_MAX; +inf is clamped, -inf becomes ASY_SAMPLE_MASKED.
 * Needs the default rounding mode.
 * errors: RANGE a NaN: the engine is broken; ret_logits is then undefined */
ASY_MUST_USE enum asy_err asy_sample_logits_from_float(int32_t *ret_logits, const float *logits,
                                                       size_t count);

/* ---- the pieces, for whoever has to prove one of them ---- */

/* 1 / T in 16.16: floor((65536000 + floor(milli / 2)) / milli); milli in [1, 100000]. */
uint32_t asy_sample_inv_temperature(uint32_t milli);
/* The 32 random bits of (seed, pos, id): word id mod 16 of ChaCha12 block id / 16. */
uint32_t asy_sample_word(const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos, uint32_t id);
/* -ln(-ln((2 word + 1) / 2^33)) in 2^-16; never falls as word grows; in [-205127, 1499061]. */
int32_t asy_sample_gumbel(uint32_t word);
/* floor((logit * inv_temperature + 2^15) / 2^16) + gumbel. Never falls as logit or word grows. */
int64_t asy_sample_score(int32_t logit, uint32_t inv_temperature, uint32_t word);
/* exp(-distance / 2^16) in 2^-30, distance = best logit - logit; never rises; 2^30 at 0, and 0 from
 * 1362784 on. */
uint32_t asy_sample_weight(uint32_t distance);

/* The tables, as the specification prints them (sampling.md section 8 gives their digests). */
#define ASY_SAMPLE_GUMBEL_COUNT 2049
extern const int32_t asy_sample_gumbel_table[2][ASY_SAMPLE_GUMBEL_COUNT];
#define ASY_SAMPLE_EXP2_COUNT 33
extern const int32_t asy_sample_exp2_table[ASY_SAMPLE_EXP2_COUNT];

#endif
