/*~ job: the signed objects of the market and what follows from them.
 *
 * A job is one request of a client. A **ticket** is the gateway's Terms for one segment of a job on
 * one node; the node answers with a
 * **Receipt**. Neither is signed alone: each side signs **Checkpoints**, roots over its tickets or
 * receipts. The gateway owes the node by
 * **Acks**, the requester bounds the gateway by a **SpendingCap**, a careful requester by
 * **Vouchers** too.
 *
 * The six objects are EIP-712 types under the domain ("Assay", "1", chain id, Vault). Each has,
 * from one field table: the struct hash, a canonical binary form (version byte 1, then the fields
 * in order, big-endian, fixed size: on the wire and on disk), and a JSON form (hashes and addresses
 * 0x-hex, amounts decimal strings of pico-units, all other numbers JSON integers).
 *
 * Pure: no clock, no I/O. Amounts are pico-units of the payment token (1e-12 USD for a dollar
 * coin). source: docs/protocol/objects.md
 */
#ifndef ASY_JOB_H
#define ASY_JOB_H

#include "base/base.h"
#include "codec/codec.h"
#include "crypto/crypto.h"

/* ---- the objects; field order is normative --------------------------------------------------- */

/* What a requester lets one gateway spend. Signed by the requester, registered on chain by
 * openLane. */
struct asy_cap {
    struct asy_addr requester, gateway;
    asy_u128 max_spend;             /* over the cap's life */
    asy_u128 max_locked;            /* in the lane at any time */
    asy_u128 max_price_in;          /* per token */
    asy_u128 max_price_out;         /* per token */
    struct asy_hash models;         /* zero = any; nothing else exists yet */
    struct asy_addr voucher_signer; /* zero = bare API keys */
    uint64_t nonce;    /* per requester and gateway; revocation ends all caps up to a nonce */
    uint64_t deadline; /* chain seconds */
};

/* How strongly an answer is provable (DESIGN: the verification ladder). Stored and signed: append
 * only. */
enum asy_tier { ASY_TIER_FORMAT, ASY_TIER_AUDITED, ASY_TIER_EXACT, ASY_TIER_TEE, ASY_TIER_ZK };

struct asy_terms {
    struct asy_hash job_id;
    uint32_t segment; /* 0 for the first node of the job */
    struct asy_addr requester, gateway, node;
    struct asy_hash cap; /* struct hash of the SpendingCap */
    uint64_t lane_seq, link_seq;
    struct asy_hash model;                      /* manifest digest */
    struct asy_hash request;                    /* request digest */
    struct asy_hash sampling;                   /* asy_job_sampling_hash */
    uint64_t max_in, max_out;                   /* tokens */
    asy_u128 price_in, price_cached, price_out; /* per token */
    uint8_t tier;                               /* enum asy_tier */
    uint64_t issued_at, deadline;               /* Unix seconds */
};

/* Why an answer ended. Stored and signed: append only. */
enum asy_finish {
    ASY_FINISH_STOP = 1,      /* the model's end token or a stop string */
    ASY_FINISH_LENGTH = 2,    /* max_out reached */
    ASY_FINISH_CANCELLED = 3, /* the client left or the gateway cut it */
    ASY_FINISH_LINK = 4,      /* the link broke; covers what the gateway had surely taken */
};

struct asy_receipt {
    struct asy_hash terms; /* struct hash of the Terms */
    uint64_t in_tokens, cached_tokens, out_tokens;
    struct asy_hash output;     /* asy_output_digest */
    uint8_t finish;             /* enum asy_finish */
    uint64_t first_ms, last_ms; /* Unix ms of the first and the last token; 0 without tokens */
    asy_u128 amount;            /* gross: what the requester pays */
};

enum asy_checkpoint_kind { ASY_CHECKPOINT_TICKETS = 1, ASY_CHECKPOINT_RECEIPTS = 2 };
struct asy_checkpoint {
    uint8_t kind; /* enum asy_checkpoint_kind */
    struct asy_addr signer, peer;
    uint64_t number; /* consecutive per (signer, peer, kind) */
    uint64_t first;  /* index of the first item: items are numbered without gaps */
    uint32_t count;  /* 1..ASY_MAX_CHECKPOINT */
    struct asy_hash root;
};

struct asy_ack {
    struct asy_addr gateway, node;
    uint64_t up_to;  /* linkSeq below which every ticket is closed */
    asy_u128 cum;    /* the link's running gross total */
    uint64_t pay_by; /* Unix seconds: on chain by then */
};

struct asy_voucher {
    struct asy_addr requester, gateway;
    uint32_t lane;
    asy_u128 cum;
};

/* ---- one table for all of them --------------------------------------------------------------- */

enum asy_object {
    ASY_OBJ_CAP,
    ASY_OBJ_TERMS,
    ASY_OBJ_RECEIPT,
    ASY_OBJ_CHECKPOINT,
    ASY_OBJ_ACK,
    ASY_OBJ_VOUCHER
};

/* Room for whichever it is. */
union asy_any_object {
    struct asy_cap cap;
    struct asy_terms terms;
    struct asy_receipt receipt;
    struct asy_checkpoint checkpoint;
    struct asy_ack ack;
    struct asy_voucher voucher;
};

#define ASY_CAP_LEN        173u /* bytes of the canonical forms */
#define ASY_TERMS_LEN      322u
#define ASY_RECEIPT_LEN    122u
#define ASY_CHECKPOINT_LEN 94u
#define ASY_ACK_LEN        73u
#define ASY_VOUCHER_LEN    61u
#define ASY_OBJECT_MAX_LEN ASY_TERMS_LEN

/* The functions below take `object` as a pointer to the struct that belongs to `type`. */

/* "Terms(bytes32 jobId,uint32 segment,...)"; static storage. */
const char *asy_object_type_string(enum asy_object type);
size_t asy_object_len(enum asy_object type);
/* EIP-712 hashStruct. */
void asy_object_hash(struct asy_hash *ret_hash, enum asy_object type, const void *object);
/* Writes asy_object_len(type) bytes. */
void asy_object_encode(uint8_t *ret_bytes, enum asy_object type, const void *object);
/* Exact length and version. errors: SYNTAX wrong length; VERSION */
ASY_MUST_USE enum asy_err asy_object_decode(void *ret_object, enum asy_object type,
                                            struct asy_bytes in);
/* Writes a JSON object as a value at the writer's place. */
void asy_object_write_json(struct asy_jw *w, enum asy_object type, const void *object);
/* {"cap":{...},"signature":"0x..."}: what POST /v1/caps takes. Appends to buf.
 * errors: those of asy_jw_finish */
ASY_MUST_USE enum asy_err asy_signed_cap_write_json(struct asy_buf *buf, const struct asy_cap *cap,
                                                    const struct asy_sig *sig);
/* Strict: every field once, none unknown; integers up to 2^63 - 1, amounts without leading zeros.
 * `at` is the object's place for messages, NULL for the root. errors: MISSING, UNKNOWN, TYPE,
 * RANGE, SYNTAX; OVERFLOW an amount of 2^128 or more; MISMATCH a mixed-case address whose checksum
 * is wrong */
ASY_MUST_USE enum asy_err asy_object_read_json(void *ret_object, enum asy_object type,
                                               const struct asy_json *json, const char *at,
                                               struct asy_why *reterr_why);

/* The domain all signatures of one deployment share. */
struct asy_domain {
    uint64_t chain_id;
    struct asy_addr vault;
    struct asy_hash separator;
};
void asy_domain_init(struct asy_domain *domain, uint64_t chain_id, const struct asy_addr *vault);
/* What is signed: keccak256(0x1901 || separator || hashStruct). */
void asy_object_digest(struct asy_hash *ret_digest, const struct asy_domain *domain,
                       enum asy_object type, const void *object);
/* Is sig the signature of `signer` over object? errors: SIGNATURE */
ASY_MUST_USE enum asy_err asy_object_verify(const struct asy_domain *domain, enum asy_object type,
                                            const void *object, const struct asy_sig *sig,
                                            const struct asy_addr *signer);

/* ---- digests --------------------------------------------------------------------------------- */

/* keccak256("assay/job/1" || gateway || random[16] || request digest): equal requests are different
 * jobs. */
void asy_job_id(struct asy_hash *ret_id, const struct asy_addr *gateway, const uint8_t random[16],
                const struct asy_hash *request);
/* SHA-256("assay/seed/1" || job id || client seed as i64 big-endian, 0 if none); with client_seed
 * not NULL the job id is replaced by (model, request), so that the client can have the same answer
 * again. */
void asy_job_seed(struct asy_hash *ret_seed, const struct asy_hash *job_id,
                  const int64_t *client_seed, const struct asy_hash *model,
                  const struct asy_hash *request);
/* Terms.sampling: keccak256("assay/settings/1" || u32 length || canonical settings || seed || u32
 * count of stop strings || each as u32 length || bytes), numbers big-endian: all that decides the
 * answer besides model and request. */
void asy_job_sampling_hash(struct asy_hash *ret_hash, struct asy_bytes settings,
                           const struct asy_hash *seed, const struct asy_bytes *stops,
                           uint32_t stop_count);
/* What the settings say of the encoded bias pairs (sample.h): keccak256("assay/bias/1" || pairs);
 * zero without pairs. */
void asy_job_bias_digest(struct asy_hash *ret_digest, struct asy_bytes bias);
/* Are these the pairs that the canonical settings name? Other settings name none. errors: MISMATCH
 */
ASY_MUST_USE enum asy_err asy_job_bias_check(struct asy_bytes settings, struct asy_bytes bias);
/* The prompt's ids root: a tree over leaves of 32 ids, so that one of them can be shown alone.
 * source: docs/protocol/objects.md section 4 */
void asy_prompt_digest(struct asy_hash *ret_digest, const uint32_t *ids, size_t count);

/* What a segment's answer is: all borrowed. */
struct asy_output {
    struct asy_hash prompt; /* asy_prompt_digest */
    uint32_t prompt_count;  /* Receipt.in_tokens */
    const uint32_t *prior;  /* output of earlier segments */
    uint32_t prior_count;
    const uint32_t *ids; /* of this one */
    uint32_t count;      /* Receipt.out_tokens */
};
/* Receipt.output: keccak256("assay/output/2" || prompt digest || ids root of prior and ids || u32
 * prompt_count || u32 prior_count || u32 count), big-endian */
void asy_output_digest(struct asy_hash *ret_digest, const struct asy_output *output);

/* ---- audit records --------------------------------------------------------------------------- */

/* All that a replay of one segment needs beside its terms and the model: what the digests in the
 * terms and in the receipt stand for. Kept by the gateway, sealed. */
struct asy_audit_record {
    struct asy_bytes messages; /* canonical request */
    struct asy_bytes settings; /* canonical */
    struct asy_bytes bias;     /* encoded pairs; empty: none */
    struct asy_hash seed;
    struct asy_bytes stops[ASY_MAX_STOPS];
    uint32_t stop_count;
    const uint32_t *prior; /* output of earlier segments */
    uint32_t prior_count;
    const uint32_t *ids; /* output of this one */
    uint32_t count;
};
/* Appends the record's bytes. errors: TOO_LONG above buf's ceiling, at most ASY_MAX_AUDIT_RECORD */
ASY_MUST_USE enum asy_err asy_audit_record_encode(struct asy_buf *buf,
                                                  const struct asy_audit_record *record);
/* Reads them, exactly. ids are copied to arena, all other views are into `in`.
 * errors: VERSION; SYNTAX; TOO_LONG too many ids or stop strings, or the arena is full. 8 *
 *         ASY_MAX_TOKENS + 64 bytes are enough
 * source: docs/protocol/objects.md section 6 */
ASY_MUST_USE enum asy_err asy_audit_record_decode(struct asy_audit_record *ret_record,
                                                  struct asy_arena *arena, struct asy_bytes in);

/* ---- rules ----------------------------------------------------------------------------------- */

/* (in - cached) * price_in + cached * price_cached + out * price_out. errors: RANGE cached > in;
 * OVERFLOW */
ASY_MUST_USE enum asy_err asy_job_cost(asy_u128 *ret_pico, const struct asy_terms *terms,
                                       uint64_t in_tokens, uint64_t cached_tokens,
                                       uint64_t out_tokens);
/* The most a ticket can cost: what is reserved. errors: OVERFLOW */
ASY_MUST_USE enum asy_err asy_job_worst_cost(asy_u128 *ret_pico, const struct asy_terms *terms);
/* Does the receipt fit its terms: terms hash, counts within maxima, amount exactly the cost, a
 * known finish, times in order? errors: MISMATCH, RANGE */
ASY_MUST_USE enum asy_err asy_receipt_check(const struct asy_receipt *receipt,
                                            const struct asy_terms *terms,
                                            struct asy_why *reterr_why);
/* Is this what the receipt's output is the digest of? A prompt or answer of 2^32 ids and more is
 * none.
 * in:     prior: output of earlier segments
 *         ids: the receipt's out_tokens of them
 * errors: MISMATCH */
ASY_MUST_USE enum asy_err asy_receipt_output_check(const struct asy_receipt *receipt,
                                                   const struct asy_hash *prompt_digest,
                                                   const uint32_t *prior, uint32_t prior_count,
                                                   const uint32_t *ids);
/* Are the terms allowed by the cap: parties, no list of models, prices, cached <= in, lifetime <=
 * ASY_MAX_TICKET_LIFE_S, issued before the cap ends? errors: MISMATCH, RANGE */
ASY_MUST_USE enum asy_err asy_terms_check(const struct asy_terms *terms, const struct asy_cap *cap,
                                          struct asy_why *reterr_why);

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* Collects items (struct hashes) until they are signed. One per link and direction. */
struct asy_checkpointer {
    uint8_t kind;
    struct asy_addr signer, peer;
    uint64_t number; /* of the next checkpoint */
    uint64_t first;  /* index of items[0] */
    uint32_t count;
    struct asy_hash items[ASY_MAX_CHECKPOINT];
};
void asy_checkpointer_init(struct asy_checkpointer *cp, enum asy_checkpoint_kind kind,
                           const struct asy_addr *signer, const struct asy_addr *peer,
                           uint64_t next_number, uint64_t next_item);
/* Adds an item; its index is returned. Close first when count is ASY_MAX_CHECKPOINT (a bug
 * otherwise). */
uint64_t asy_checkpointer_add(struct asy_checkpointer *cp, const struct asy_hash *item);
/* Makes the checkpoint over what is collected (count > 0) and starts the next. */
void asy_checkpointer_close(struct asy_checkpointer *cp, struct asy_checkpoint *ret_checkpoint);
/* Does the checkpoint cover exactly these items? errors: MISMATCH */
ASY_MUST_USE enum asy_err asy_checkpoint_check(const struct asy_checkpoint *checkpoint,
                                               const struct asy_hash *items, size_t count);

#endif
