/*~ verify: checks what a gateway says about a job, without asking the gateway.
 *
 * Two documents: a **receipt bundle** (GET /v1/receipts/{id}: a job's segments, each with terms,
 * receipt, the node's signature, its place in a batch) and a **lane document**
 * (GET /v1/settlement/{number}/lanes/{lane}: one lane's entry of a batch with all its leaves).
 * Documents come from strangers: they are read strictly (every member once, none unknown, none
 * missing), and every size is bounded.
 *
 * What follows from what: the receipt names its terms by hash, and these the sampling settings; the
 * node signed a checkpoint over
 * the receipt; the receipt and its amount are a leaf of the lane's sum tree; tree and sum are the
 * lane's entry; the entry stands under the batch's root. What offline checks can not tell, because
 * nothing in the document binds it: that the root, its number, transaction and block are those on
 * chain (CHAIN and TX: compare them, asy_verify_add takes the answer), that the gateway says the
 * truth about `confirmed` and `final`, the terms of a segment that nobody paid for, and
 * `promptDigest`, which only the tokens themselves can prove. These are marked absent, never
 * passed.
 *
 * A bundle that was asked for with the job's records has all that it takes to compute the answer
 * again; RECORD says whether they are what terms and receipt stand for. Computing takes the model,
 * so it is the caller's (audit.h): MODEL, PROMPT, REPLAY and FINISH take its answer.
 *
 * Pure: no clock, no I/O.
 */
#ifndef ASY_VERIFY_H
#define ASY_VERIFY_H

#include "base/base.h"
#include "crypto/crypto.h"
#include "job/job.h"
#include "merkle/merkle.h"

/* Checks in the order in which they are reported. X(name, label, what it proves) */
#define ASY_VERIFY_TABLE(X)                                                                        \
    X(DOMAIN, "domain", "the signatures are meant for the chain and vault that you expect")        \
    X(JOB, "job", "all parts belong to one job, or one lane, of one requester and one gateway")    \
    X(STATUS, "status", "what is said to be done has a receipt")                                   \
    X(RECEIPT, "receipt",                                                                          \
      "it names these terms; tokens are within limits; amount = what they cost")                   \
    X(SAMPLING, "sampling", "the settings shown are those of the terms; who could judge by them")  \
    X(RECORD, "record",                                                                            \
      "the request, bias and ids shown are those that terms and receipt are digests of")           \
    X(SIGNATURE, "signature", "the node signed a checkpoint for this gateway")                     \
    X(PLACE, "place", "the receipt is in that checkpoint")                                         \
    X(LEAF, "leaf", "the receipt and its amount are in the lane's entry, in the right place")      \
    X(SUM, "sum", "the leaves add up to exactly what the lane was debited")                        \
    X(ENTRY, "entry", "the entry is in the batch")                                                 \
    X(CHAIN, "chain", "the chain has this very batch, and the lane is the requester's")            \
    X(TX, "tx", "the transaction that is named posted the batch, in the block that is named")      \
    X(MODEL, "model", "the model file at hand is the one that the terms name")                     \
    X(PROMPT, "prompt", "the model's template and tokenizer make the prompt that was signed")      \
    X(REPLAY, "replay", "every token is the one that model, prompt, settings and seed give")       \
    X(FINISH, "finish", "the answer ended where it had to, for the reason that was signed")
enum asy_verify_check {
#define ASY_VERIFY_ENUM(name, label, text) ASY_VERIFY_##name,
    ASY_VERIFY_TABLE(ASY_VERIFY_ENUM)
#undef ASY_VERIFY_ENUM
        ASY_VERIFY_COUNT
};
/* "receipt", and what that check proves; static storage. */
const char *asy_verify_label(enum asy_verify_check check);
const char *asy_verify_meaning(enum asy_verify_check check);

/* ABSENT: there is nothing to check yet (not signed, not settled), or nothing to compare with. */
enum asy_verify_state { ASY_VERIFY_ABSENT, ASY_VERIFY_PASSED, ASY_VERIFY_FAILED };

struct asy_verify_finding {
    enum asy_verify_check check;
    enum asy_verify_state state;
    char text[160]; /* for people: what was found */
};
/* Each check at most once, in the order of the table. */
struct asy_verify_findings {
    struct asy_verify_finding items[ASY_VERIFY_COUNT];
    uint32_t count;
};
/* Adds a finding, or replaces that of the same check. */
void asy_verify_add(struct asy_verify_findings *findings, enum asy_verify_check check,
                    enum asy_verify_state state, const char *fmt, ...) ASY_PRINTF(4, 5);
/* NULL when the check is not among them. */
const struct asy_verify_finding *asy_verify_get(const struct asy_verify_findings *findings,
                                                enum asy_verify_check check);
/* Whether none failed. */
bool asy_verify_good(const struct asy_verify_findings *findings);

/* An entry's place in a batch, as the document states it. */
struct asy_verify_settlement {
    uint64_t number, block;
    bool confirmed, final; /* the gateway's word */
    struct asy_hash root, tx;
    struct asy_entry entry;
};

#define ASY_VERIFY_MAX_SEGMENTS 16u                     /* of one job */
#define ASY_VERIFY_MAX_DOC      (2u * ASY_MAX_RESPONSE) /* bytes of a document */
/* Bytes of the records of one: an id of 4 bytes takes at least 2 of the text. */
#define ASY_VERIFY_MAX_RECORDS (2u * ASY_VERIFY_MAX_DOC + (64u << 10))

/* One node's part of a job. */
struct asy_verify_segment {
    struct asy_verify_findings findings;
    struct asy_terms terms;
    bool has_receipt, has_checkpoint, has_settlement;
    struct asy_receipt receipt;
    struct asy_checkpoint checkpoint;
    struct asy_hash prompt_digest; /* with a receipt */
    struct asy_verify_settlement settlement;
    /* What a replay takes, in the caller's arena; to be trusted as far as SAMPLING and RECORD
     * passed. Of the output, the first receipt.out_tokens were signed: a link that breaks may cut
     * off the others. */
    bool has_record;
    struct asy_audit_record record;
};
struct asy_verify_report {
    struct asy_domain domain;            /* of the document */
    struct asy_verify_findings findings; /* of the whole: DOMAIN, JOB */
    struct asy_hash job_id;
    uint32_t segment_count; /* at least 1 */
    struct asy_verify_segment segments[ASY_VERIFY_MAX_SEGMENTS];
    uint64_t in_tokens, out_tokens; /* over all receipts */
    asy_u128 amount;                /* pico, over all receipts */
    bool good;                      /* no check failed */
};

/* A lane's entry with all its leaves. A check over leaves tells the first leaf that fails it. */
struct asy_verify_lane_report {
    struct asy_domain domain;
    struct asy_verify_findings findings;
    struct asy_addr requester, gateway;
    struct asy_verify_settlement settlement;
    uint32_t leaf_count, paid, signed_count; /* leaves; with a receipt; with a signed receipt */
    uint64_t in_tokens, out_tokens;
    asy_u128 amount; /* pico */
    bool good;
};

enum asy_verify_kind { ASY_VERIFY_KIND_RECEIPT, ASY_VERIFY_KIND_LANE };
/* Which document this is, by its member `object`. errors: as asy_json_parse; UNSUPPORTED neither */
ASY_MUST_USE enum asy_err asy_verify_kind(enum asy_verify_kind *ret_kind, struct asy_bytes json,
                                          struct asy_why *reterr_why);

/* asy_verify_receipt checks a receipt bundle. OK means that it could be read: whether it is true
 * says ret_report->good.
 * in:     arena: receives the segments' records, ASY_VERIFY_MAX_RECORDS is always enough; NULL:
 *         they are checked, and not given
 *         expected: what the signatures must be for; NULL takes the bundle's word, and DOMAIN is
 *         absent then
 * errors: as asy_json_parse and asy_object_read_json, with the member at fault in
 *         reterr_why->param; UNSUPPORTED another document; OVERFLOW the amounts' sum; TOO_LONG the
 *         arena is full */
ASY_MUST_USE enum asy_err asy_verify_receipt(struct asy_verify_report *ret_report,
                                             struct asy_arena *arena, struct asy_bytes json,
                                             const struct asy_domain *expected,
                                             struct asy_why *reterr_why);
/* asy_verify_lane checks a lane document; it recomputes the whole tree.
 * in, errors: as asy_verify_receipt */
ASY_MUST_USE enum asy_err asy_verify_lane(struct asy_verify_lane_report *ret_report,
                                          struct asy_bytes json, const struct asy_domain *expected,
                                          struct asy_why *reterr_why);

#endif
