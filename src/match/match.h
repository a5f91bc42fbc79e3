/*~ match: which node serves a job.
 *
 * A pure function from candidates, a request's wishes and the market's weights to a verdict on each
 * candidate and a ranked list. Whole numbers only, scores in millionths (ppm), so that every
 * machine and every auditor gets the same result; the order in which candidates are given does not
 * matter. docs/protocol/match.md is the normative text.
 *
 * Load counts twice: as one of the weighted parts of the score, and in the draw: all candidates
 * whose score is within `spread_ppm` of the best are near-equals; of those with a free slot (of
 * all, if none has one) the job's id draws two, and the less loaded one wins. So jobs that come one
 * by one spread over equal nodes, and a burst goes where there is room.
 *
 * What was decided can be proved: the whole input and output has one canonical form (a record), its
 * digest is committed to, and asy_match_record_check repeats the decision from the record alone.
 * Encoding and hashing cost more than matching and are not needed before the job starts: do them
 * afterwards.
 *
 * Threads: none, no state. Memory: the caller's, but for asy_match_record_check.
 */
#ifndef ASY_MATCH_MATCH_H
#define ASY_MATCH_MATCH_H

#include "base/base.h"
#include "money/money.h"

#define ASY_MATCH_ONE        1000000u /* ppm of a whole */
#define ASY_MATCH_REGION     16u      /* bytes of a region's name, zero padded */
#define ASY_MATCH_MAX_WEIGHT 1000u    /* points of one weight */
#define ASY_MATCH_MAX_RANKED 16u      /* places of a ranking: the winner, and who follows */
/* A price limit that is none. */
#define ASY_MATCH_NO_LIMIT (~(asy_u128)0)
/* Costs and stakes from here on are refused, so that products fit in 128 bits. */
#define ASY_MATCH_MAX_PICO (((asy_u128)1) << 100)

/* A node as the gateway knows it at this moment, for the model that is asked for. */
struct asy_match_candidate {
    struct asy_addr node;
    struct asy_hash model;
    struct asy_prices prices; /* per token */
    struct asy_usd stake;     /* pico-units of the stake token */
    uint64_t context;         /* tokens of prompt and answer together */
    uint64_t first_token_us;  /* moving average of the time to the first token; 0: not known yet */
    uint32_t tokens_per_s;    /* output of one job; 0: not known yet */
    uint32_t slots, running, queued; /* jobs: at once at most; now; waiting */
    uint32_t reputation_ppm;         /* [0, 1,000,000] */
    uint32_t tiers;                  /* bit n: offers verification tier n */
    char region[ASY_MATCH_REGION];   /* zero padded */
    bool draining;                   /* takes no new jobs */
};

struct asy_match_request {
    struct asy_hash model;
    struct asy_hash draw;           /* the job id */
    uint64_t in_tokens, out_tokens; /* as bounded for the reservation: they weigh the two prices */
    struct asy_usd max_price_in, max_price_out; /* per token; ASY_MATCH_NO_LIMIT: none */
    uint32_t min_reputation_ppm;
    uint8_t tier;                  /* below 32 */
    char region[ASY_MATCH_REGION]; /* zero padded; empty: any */
    /* Borrowed, each at most ASY_MAX_MATCH_LIST. only: empty for all. order: these first, in this
     * order, whatever their scores. */
    const struct asy_addr *only, *ignore, *order;
    size_t only_count, ignore_count, order_count;
};

/* Points, each at most ASY_MATCH_MAX_WEIGHT, not all zero. */
struct asy_match_weights {
    uint32_t price, reputation, latency, capability, stake, load;
};
struct asy_match_rules {
    struct asy_match_weights weights;
    uint32_t spread_ppm;       /* at most ASY_MATCH_ONE */
    uint32_t max_queue;        /* jobs that may wait at a node without a free slot */
    struct asy_usd full_stake; /* more stake gives no better score; below ASY_MATCH_MAX_PICO */
};

/* Why a candidate was refused: X(name, value, text). Recorded: append only. The first that holds,
 * in this order. */
#define ASY_MATCH_REJECT_TABLE(X)                                                                  \
    X(NONE, 0, "accepted")                                                                         \
    X(MODEL, 1, "serves another model")                                                            \
    X(ONLY, 2, "is not on the request's list")                                                     \
    X(IGNORED, 3, "is ignored by the request")                                                     \
    X(DRAINING, 4, "takes no new jobs")                                                            \
    X(TIER, 5, "does not offer the verification tier")                                             \
    X(REGION, 6, "is in another region")                                                           \
    X(CONTEXT, 7, "has too short a context")                                                       \
    X(REPUTATION, 8, "has too low a reputation")                                                   \
    X(PRICE, 9, "is too expensive")                                                                \
    X(BUSY, 10, "has no free slot and a full queue")                                               \
    X(INVALID, 11, "says impossible things about itself")
enum asy_match_reject {
#define X(name, value, text) ASY_MATCH_REJECT_##name = (value),
    ASY_MATCH_REJECT_TABLE(X)
#undef X
};
/* asy_match_reject_name: "PRICE"; asy_match_reject_text: "is too expensive". Static. */
const char *asy_match_reject_name(enum asy_match_reject reject);
const char *asy_match_reject_text(enum asy_match_reject reject);

/* How long a node takes to its first token, as matching sees it: a moving average that is halved
 * for every ASY_MATCH_LATENCY_HALF_NS without news, so that a node that was slow once is tried
 * again. All zero: not known. */
#define ASY_MATCH_LATENCY_HALF_NS 30000000000u
struct asy_match_latency {
    uint64_t us;    /* when it was last added to */
    uint64_t at_ns; /* that moment, by the monotonic clock */
};
/* A first token came `us` after its job was sent; the newest counts an eighth. */
void asy_match_latency_add(struct asy_match_latency *l, uint64_t us, uint64_t now_ns);
/* For asy_match_candidate.first_token_us. */
uint64_t asy_match_latency_at(const struct asy_match_latency *l, uint64_t now_ns);

struct asy_match_verdict {
    enum asy_match_reject reject;
    uint32_t score_ppm; /* 0 when refused */
};

struct asy_match_result {
    size_t eligible;                     /* candidates that were not refused */
    size_t ranked_count;                 /* min(eligible, ASY_MATCH_MAX_RANKED) */
    size_t ranked[ASY_MATCH_MAX_RANKED]; /* indexes of candidates: the winner, then who follows */
};

/* asy_match_rank filters, scores and ranks. Linear in count.
 * in:     candidates: at most ASY_MAX_NODES, no address twice
 * out:    ret_result: eligible 0 when nobody fits, which is no error
 *         ret_verdicts: count of them, one per candidate
 * errors: RANGE rules, lists or count outside of their limits */
ASY_MUST_USE enum asy_err
asy_match_rank(struct asy_match_result *ret_result, struct asy_match_verdict *ret_verdicts,
               const struct asy_match_request *request, const struct asy_match_rules *rules,
               const struct asy_match_candidate *candidates, size_t count);

/* Bytes of the record of a decision over this many candidates and listed addresses. */
size_t asy_match_record_len(size_t candidates, size_t listed);
/* asy_match_record_encode appends the canonical record of a decision of asy_match_rank.
 * errors: TOO_LONG (buf's ceiling) */
ASY_MUST_USE enum asy_err asy_match_record_encode(
    struct asy_buf *buf, const struct asy_match_request *request,
    const struct asy_match_rules *rules, const struct asy_match_candidate *candidates, size_t count,
    const struct asy_match_verdict *verdicts, const struct asy_match_result *result);
/* The decision digest: keccak256 of the record, which starts with its domain "assay/match/1". */
void asy_match_digest(struct asy_hash *ret_digest, struct asy_bytes record);
/* asy_match_record_check decides again from the record alone and compares every verdict and the
 * winner.
 * errors: SYNTAX not a canonical record; RANGE impossible rules;
 *         MISMATCH decided otherwise: reterr_why says where */
ASY_MUST_USE enum asy_err asy_match_record_check(struct asy_bytes record,
                                                 struct asy_why *reterr_why);

#endif
