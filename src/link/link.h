/*~ link: both ends of the protocol between a gateway and its nodes, as pure state machines.
 *
 * Bytes of one frame go in by `_recv`, time by `_tick`, the program's wishes by the other calls;
 * frames come out through `send`, and what happened through the handlers. No sockets, no clock of
 * its own: a test owns both.
 *
 *     gateway                       node
 *       Challenge  ------------->           CHALLENGED | WAITING
 *                  <-------------  Hello    GREETED
 *       Welcome    ------------->           LIVE       | LIVE
 *       Offer      ------------->           a job starts: OFFERED
 *                  <-------------  Accept   RUNNING (or Reject: gone)
 *                  <-------------  Tokens   only within credit, offsets without gaps
 *       Credit, Cancel -------->            Cancel: ENDING, until Done
 *                  <-------------  Done     the job has ended; its receipt waits for a Checkpoint
 *       Checkpoint <------------>           signed roots over tickets and over receipts, at most
 * ASY_LINK_CHECKPOINT_MS apart Ack, BatchProof -------->           what the gateway owes, and what
 * is on chain
 *
 * A frame of a job that this link does not hold is dropped and counted. A frame that breaks the
 * protocol ends the link: `_recv` returns PEER with the reason, and the caller closes the socket.
 * Handlers may call back into the link, but not free it. source: docs/protocol/link.md
 */
#ifndef ASY_LINK_H
#define ASY_LINK_H

#include "base/base.h"
#include "crypto/crypto.h"
#include "job/job.h"
#include "signer/signer.h"

#define ASY_LINK_VERSION       1u
#define ASY_LINK_SUBPROTOCOL   "assay-link.1"
#define ASY_LINK_CHECKPOINT_MS 50u    /* the longest an item waits for its signature */
#define ASY_LINK_HELLO_MS      10000u /* for the handshake */
#define ASY_LINK_SKEW_MS       30000u /* most that the clocks of the two may differ in the hello */

/* Sent: append only. */
enum asy_reject {
    ASY_REJECT_BUSY = 1,     /* no free slot */
    ASY_REJECT_MODEL = 2,    /* does not serve it */
    ASY_REJECT_PRICE = 3,    /* below what it asked for */
    ASY_REJECT_TERMS = 4,    /* terms it must not sign under: clock, cap, lifetime */
    ASY_REJECT_UNPAID = 5,   /* the gateway owes too much that it has not acknowledged or settled */
    ASY_REJECT_DRAINING = 6, /* shutting down */
    ASY_REJECT_REQUEST = 7,  /* the request itself cannot be served: too long, unsupported; no other
                                node will do better */
    ASY_REJECT_INTERNAL = 8,
};
const char *asy_reject_name(uint32_t reason);
enum asy_cancel {
    ASY_CANCEL_CLIENT = 1,  /* the client left */
    ASY_CANCEL_TIMEOUT = 2, /* the deadline passed, or no token came */
    ASY_CANCEL_LIMIT = 3,   /* the gateway cut it: format check or slow reader */
    ASY_CANCEL_SHUTDOWN = 4,
};

/* ---- what travels in the handshake ----------------------------------------------------------- */

struct asy_link_model {
    char name[ASY_MAX_NAME + 1];
    struct asy_hash digest;
    asy_u128 price_in, price_cached, price_out; /* pico per token */
    uint32_t context, max_out;                  /* tokens */
    uint8_t tier;                               /* enum asy_tier */
    char engine[ASY_MAX_NAME + 1];
};

struct asy_link_hello {
    struct asy_addr node;
    struct asy_x25519_pubkey x25519;
    struct asy_link_model models[ASY_MAX_NODE_MODELS];
    uint32_t model_count;
    uint32_t slots;
    char software[ASY_MAX_NAME + 1];
    char region[ASY_MAX_NAME + 1];
    uint64_t tickets_have; /* ticket items that the node holds a signed checkpoint for */
};

struct asy_link_welcome {
    uint32_t link; /* number on chain, 0 if not opened yet */
    uint64_t next_link_seq;
    uint64_t receipts_have; /* receipt items that the gateway holds a signed checkpoint for */
    bool has_ack;
    struct asy_ack ack;
    struct asy_sig ack_sig;
    asy_u128 credited; /* gross total on chain */
    /* For the gateway's own end, not sent: where its two numberings go on. */
    uint64_t ticket_checkpoint_next; /* number of its next checkpoint */
    uint64_t tickets_signed; /* ticket items that its checkpoints cover; the rest is adopted */
    uint64_t receipt_checkpoint_next; /* number of the node's next checkpoint */
};

struct asy_link_offer {
    const struct asy_terms *terms;
    struct asy_bytes messages; /* canonical JSON */
    struct asy_bytes settings; /* canonical sampling settings */
    struct asy_bytes bias;     /* encoded pairs, of which the settings hold the digest */
    struct asy_hash seed;
    struct asy_bytes stops[ASY_MAX_STOPS];
    uint32_t stop_count;
    const uint32_t *prefix; /* ids of earlier segments */
    uint32_t prefix_count;
    uint32_t credit;           /* tokens */
    struct asy_bytes model;    /* name */
    const struct asy_cap *cap; /* the one that terms->cap names */
};

struct asy_link_status {
    uint32_t slots, used, queued;
    bool draining;
};

/* ---- the gateway's end ----------------------------------------------------------------------- */

struct asy_link_gw;

/* Views in arguments are valid during the call. `job` is the ticket's linkSeq; `user` is what
 * asy_link_gw_offer was given. */
struct asy_link_gw_handlers {
    /* One frame, to be sent whole. Must not call back into the link. */
    void (*send)(void *arg, struct asy_bytes frame);
    /* The node is who it says. Decide whether it may serve; fill welcome. Any error closes the link
     * with it. */
    enum asy_err (*on_hello)(void *arg, const struct asy_link_hello *hello,
                             struct asy_link_welcome *ret_welcome, struct asy_why *why);
    void (*on_status)(void *arg, const struct asy_link_status *status);
    void (*on_accept)(void *arg, uint64_t job, void *user);
    /* The job has ended without a receipt. on_reject: param is the client's field at fault, or
     * empty. on_fail: RANGE the request itself cannot be served; PEER the node failed. */
    void (*on_reject)(void *arg, uint64_t job, void *user, uint32_t reason, const char *param,
                      struct asy_bytes text);
    void (*on_fail)(void *arg, uint64_t job, void *user, enum asy_err code, struct asy_bytes text);
    void (*on_tokens)(void *arg, uint64_t job, void *user, const uint32_t *ids, uint32_t count,
                      struct asy_bytes text);
    /* The job has ended with a receipt, item number `item` of this node. The program compares it
     * with what it relayed. */
    void (*on_done)(void *arg, uint64_t job, void *user, const struct asy_receipt *receipt,
                    const struct asy_hash *prompt_digest, uint64_t item);
    /* A receipt of an earlier connection, sent again. The program looks its ticket up by the terms.
     */
    void (*on_resent)(void *arg, const struct asy_terms *terms, const struct asy_receipt *receipt,
                      const struct asy_hash *prompt_digest, uint64_t item);
    /* Items [first, first + count) are now signed by the node; items are receipt hashes. Write it
     * down, then Ack. */
    void (*on_checkpoint)(void *arg, const struct asy_checkpoint *checkpoint,
                          const struct asy_sig *sig, const struct asy_hash *items);
    /* The gateway's own checkpoint is about to leave: write it down first. */
    void (*on_signed)(void *arg, const struct asy_checkpoint *checkpoint,
                      const struct asy_sig *sig);
};

struct asy_link_gw_options {
    const struct asy_env *env;       /* kept */
    const struct asy_domain *domain; /* kept */
    struct asy_signer *signer;       /* kept */
    struct asy_link_gw_handlers on;
    void *arg;
};

/* Sends the Challenge. */
struct asy_link_gw *asy_link_gw_new(const struct asy_link_gw_options *options);
void asy_link_gw_free(struct asy_link_gw *link);

/* errors: PEER the node broke the protocol (reterr_why says how); SIGNATURE, VERSION, FORBIDDEN ...
 * from the handshake. All end the link. */
ASY_MUST_USE enum asy_err asy_link_gw_recv(struct asy_link_gw *link, struct asy_bytes frame,
                                           struct asy_why *reterr_why);
/* Signs what is due. errors: TIMEOUT no hello in time: close; any other is the signer's, and the
 * link is of no more use */
ASY_MUST_USE enum asy_err asy_link_gw_tick(struct asy_link_gw *link);
/* When _tick is wanted next, monotonic ns; UINT64_MAX never. */
uint64_t asy_link_gw_deadline(const struct asy_link_gw *link);

bool asy_link_gw_live(const struct asy_link_gw *link);         /* the handshake is done */
uint64_t asy_link_gw_next_seq(const struct asy_link_gw *link); /* linkSeq of the next ticket */
uint32_t asy_link_gw_jobs(const struct asy_link_gw *link);     /* held now */

/* Sends a ticket. terms->link_seq is asy_link_gw_next_seq. errors: STATE not live; TOO_LONG the
 * frame would be; others are the signer's, as with _tick */
ASY_MUST_USE enum asy_err asy_link_gw_offer(struct asy_link_gw *link,
                                            const struct asy_link_offer *offer, void *user);
/* The receipt is to cover `keep` tokens; Done follows. Tokens still on their way are dropped.
 * errors: NOT_FOUND */
ASY_MUST_USE enum asy_err asy_link_gw_cancel(struct asy_link_gw *link, uint64_t job, uint32_t keep,
                                             enum asy_cancel reason);
/* tokens: at most ASY_MAX_TOKENS. Nothing is sent for a job that was cancelled. errors: NOT_FOUND
 */
ASY_MUST_USE enum asy_err asy_link_gw_credit(struct asy_link_gw *link, uint64_t job,
                                             uint32_t tokens);
/* The job's client is no longer interested, but the job stays held: from now on `user` is NULL.
 * errors: NOT_FOUND */
ASY_MUST_USE enum asy_err asy_link_gw_forget(struct asy_link_gw *link, uint64_t job);
/* The next three send nothing before the link is live: the welcome says as much. */
void asy_link_gw_ack(struct asy_link_gw *link, const struct asy_ack *ack,
                     const struct asy_sig *sig);
void asy_link_gw_batch_proof(struct asy_link_gw *link, uint64_t number, const struct asy_hash *root,
                             const struct asy_hash *tx, uint64_t block, asy_u128 credited);
void asy_link_gw_drain(struct asy_link_gw *link, uint32_t seconds);
/* After a reconnect: a stored checkpoint that the node lacks, with its items. */
void asy_link_gw_resend_checkpoint(struct asy_link_gw *link,
                                   const struct asy_checkpoint *checkpoint,
                                   const struct asy_sig *sig, const struct asy_hash *items);
/* After a crash: tickets that were issued but not signed before it; to be called in on_hello's
 * wake, in linkSeq order, before any offer. */
void asy_link_gw_adopt_unsigned(struct asy_link_gw *link, const struct asy_hash *terms_hash);

/* Walks the jobs still held, for when the link has died. */
void asy_link_gw_each_job(struct asy_link_gw *link, void (*fn)(void *arg, uint64_t job, void *user),
                          void *arg);

/* ---- the node's end -------------------------------------------------------------------------- */

struct asy_link_node;

struct asy_link_node_handlers {
    void (*send)(void *arg, struct asy_bytes frame);
    /* The gateway is who it says. From now on offers may come. Send receipts again from
     * welcome->receipts_have on. */
    enum asy_err (*on_welcome)(void *arg, const struct asy_addr *gateway,
                               const struct asy_link_welcome *welcome, struct asy_why *why);
    /* Decide: call asy_link_node_accept or _reject with this job, now or soon; the offer's views
     * end with this call. */
    void (*on_offer)(void *arg, uint64_t job, const struct asy_link_offer *offer);
    /* End the job with a receipt over `keep` tokens (fewer if fewer were sent). */
    void (*on_cancel)(void *arg, uint64_t job, uint32_t keep, uint32_t reason);
    void (*on_credit)(void *arg, uint64_t job, uint32_t tokens);
    /* Tickets [first, first + count) are now signed by the gateway. items is NULL unless the
     * gateway sent them. */
    void (*on_tickets)(void *arg, const struct asy_checkpoint *checkpoint,
                       const struct asy_sig *sig);
    /* The node's own checkpoint is about to leave: write it down first. */
    void (*on_signed)(void *arg, const struct asy_checkpoint *checkpoint,
                      const struct asy_sig *sig);
    void (*on_ack)(void *arg, const struct asy_ack *ack, const struct asy_sig *sig);
    void (*on_batch)(void *arg, uint64_t number, const struct asy_hash *root,
                     const struct asy_hash *tx, uint64_t block, asy_u128 credited);
    void (*on_drain)(void *arg, uint32_t seconds);
    /* May be NULL. A Cancel met the job's Done on the way: this link does not hold the job any
     * more. If the receipt covers more than `keep` tokens the gateway refuses it; a second one over
     * `keep` tokens, sent with asy_link_node_resend_receipt, is paid. */
    void (*on_late_cancel)(void *arg, uint64_t job, uint32_t keep, uint32_t reason);
};

struct asy_link_node_options {
    const struct asy_env *env;       /* kept */
    const struct asy_domain *domain; /* kept: the deployment this node serves */
    struct asy_signer *signer;       /* kept */
    const struct asy_addr *gateway;  /* the one it means to reach; NULL: any */
    const struct asy_link_hello
        *hello;         /* kept: node and tickets_have are filled in by the link's owner */
    uint64_t next_item; /* receipt items that the stored checkpoints cover: index of the next to be
                           signed */
    uint64_t next_checkpoint; /* number of the next receipt checkpoint */
    struct asy_link_node_handlers on;
    void *arg;
};

/* Waits for the gateway's Challenge. */
struct asy_link_node *asy_link_node_new(const struct asy_link_node_options *options);
void asy_link_node_free(struct asy_link_node *link); /* calls nothing */
/* errors: as asy_link_gw_recv */
ASY_MUST_USE enum asy_err asy_link_node_recv(struct asy_link_node *link, struct asy_bytes frame,
                                             struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_link_node_tick(struct asy_link_node *link);
uint64_t asy_link_node_deadline(const struct asy_link_node *link);
bool asy_link_node_live(const struct asy_link_node *link);
uint32_t asy_link_node_jobs(const struct asy_link_node *link);

/* errors: NOT_FOUND, STATE */
ASY_MUST_USE enum asy_err asy_link_node_accept(struct asy_link_node *link, uint64_t job);
/* Ends the job. param: with ASY_REJECT_REQUEST the client's field at fault, at most ASY_MAX_NAME
 * bytes; "": the messages. errors: NOT_FOUND, STATE */
ASY_MUST_USE enum asy_err asy_link_node_reject(struct asy_link_node *link, uint64_t job,
                                               enum asy_reject reason, const char *param,
                                               const char *text);
/* Sends output tokens. errors: NOT_FOUND; FULL more than the credit left; STATE not accepted or
 * already ended */
ASY_MUST_USE enum asy_err asy_link_node_tokens(struct asy_link_node *link, uint64_t job,
                                               const uint32_t *ids, uint32_t count,
                                               struct asy_bytes text);
/* Ends the job with its receipt, which becomes the item whose index is returned. errors: NOT_FOUND,
 * STATE */
ASY_MUST_USE enum asy_err asy_link_node_done(struct asy_link_node *link, uint64_t *ret_item,
                                             uint64_t job, const struct asy_receipt *receipt,
                                             const struct asy_hash *prompt_digest);
/* Ends the job without a receipt. errors: NOT_FOUND */
ASY_MUST_USE enum asy_err asy_link_node_fail(struct asy_link_node *link, uint64_t job,
                                             enum asy_err code, const char *text);
void asy_link_node_status(struct asy_link_node *link, const struct asy_link_status *status);
/* After a reconnect: receipts that the gateway lacks, in item order, each stored checkpoint after
 * its items. */
void asy_link_node_resend_receipt(struct asy_link_node *link, const struct asy_terms *terms,
                                  const struct asy_receipt *receipt,
                                  const struct asy_hash *prompt_digest, uint64_t item);
void asy_link_node_resend_checkpoint(struct asy_link_node *link,
                                     const struct asy_checkpoint *checkpoint,
                                     const struct asy_sig *sig);
/* A receipt that was made but not signed before the link died, already sent again: the next
 * checkpoint covers it. */
void asy_link_node_adopt_unsigned(struct asy_link_node *link, const struct asy_hash *receipt_hash);
void asy_link_node_each_job(struct asy_link_node *link, void (*fn)(void *arg, uint64_t job),
                            void *arg);
/* Output tokens of the job that the gateway has surely taken: the credit it granted, less the first
 * grant. What a receipt may cover when the link dies before the job ended. errors: NOT_FOUND */
ASY_MUST_USE enum asy_err asy_link_node_taken(const struct asy_link_node *link, uint64_t job,
                                              uint32_t *ret_tokens);

#endif
