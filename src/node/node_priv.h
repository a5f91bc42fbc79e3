/* node_priv.h: the objects that the files of this folder share. */
#ifndef ASY_NODE_PRIV_H
#define ASY_NODE_PRIV_H

#include <uthash.h>

#include "api/api.h"
#include "chain/chain.h"
#include "node/node.h"
#include "store/store.h"

#define ASY_STAKE_PER_PICO 1000000u /* units of the stake token (18 decimals) in a pico-unit */

/* ---- book.c: the durable part ---------------------------------------------------------------- */

struct book;
struct book_totals {
    uint64_t items;           /* receipts made */
    uint64_t items_signed;    /* of them covered by our own stored checkpoints */
    uint64_t checkpoint_next; /* number of our next checkpoint */
    uint64_t tickets_have;    /* tickets covered by the gateway's stored checkpoints */
    asy_u128 owed;            /* sum of all receipts */
    bool has_ack;
    struct asy_ack ack; /* the one with the highest total */
    struct asy_sig ack_sig;
};
ASY_MUST_USE enum asy_err book_open(struct book **ret_book, const char *path,
                                    const struct asy_env *env, struct asy_why *why);
void book_close(struct book *b);
ASY_MUST_USE enum asy_err book_commit(struct book *b, struct asy_why *why);
bool book_dirty(const struct book *b);
ASY_MUST_USE enum asy_err book_totals(struct book *b, struct book_totals *ret,
                                      const struct asy_addr *gateway);
ASY_MUST_USE enum asy_err book_add_ticket(struct book *b, const struct asy_terms *terms);
/* item: the receipt's index among those for this gateway */
ASY_MUST_USE enum asy_err book_add_receipt(struct book *b, const struct asy_terms *terms,
                                           const struct asy_receipt *receipt,
                                           const struct asy_hash *prompt_digest, uint64_t item);
ASY_MUST_USE enum asy_err book_add_checkpoint(struct book *b, const struct asy_addr *gateway,
                                              const struct asy_checkpoint *c,
                                              const struct asy_sig *sig);
ASY_MUST_USE enum asy_err book_set_ack(struct book *b, const struct asy_ack *ack,
                                       const struct asy_sig *sig);
/* Receipts from item `from` on, in order, and our checkpoints from there on, in order. */
typedef void (*book_receipt_fn)(void *arg, const struct asy_terms *terms,
                                const struct asy_receipt *receipt,
                                const struct asy_hash *prompt_digest, uint64_t item);
typedef void (*book_checkpoint_fn)(void *arg, const struct asy_checkpoint *c,
                                   const struct asy_sig *sig);
ASY_MUST_USE enum asy_err book_receipts(struct book *b, const struct asy_addr *gateway,
                                        uint64_t from, uint64_t to, book_receipt_fn fn, void *arg);
ASY_MUST_USE enum asy_err book_checkpoints(struct book *b, const struct asy_addr *gateway,
                                           uint64_t from, book_checkpoint_fn fn, void *arg);

/* ---- uplink.c: one gateway ------------------------------------------------------------------- */

struct job {
    struct uplink *up;
    uint64_t seq; /* linkSeq */
    uint64_t key; /* of the engine */
    struct asy_terms terms;
    bool accepted; /* not while its cap is looked up on chain */
    bool has_prompt;
    uint32_t in_tokens, cached_tokens;
    struct asy_hash prompt_digest;
    uint64_t first_ms, last_ms;
    asy_u128 amount; /* of its receipt, once it has ended */
    uint32_t *ids;
    uint32_t count, cap; /* tokens */
    uint32_t *prior;     /* output of earlier segments */
    uint32_t prior_count;
    /* the offer, until the engine has it */
    struct asy_arena arena;
    struct asy_engine_job engine_job;
    UT_hash_handle by_seq, by_key;
};

/* A spending cap seen in tickets, as the chain knows it. */
struct known_cap {
    struct asy_hash hash;
    enum { CAP_UNKNOWN, CAP_GOOD, CAP_BAD } state;
    bool asked;                 /* a task about it is running */
    uint64_t ends_at, known_ms; /* Unix s; ms, when the chain said so */
    UT_hash_handle hh;
};

/* A checkpoint of ours that the gateway has not answered with an Ack. */
struct open_checkpoint {
    uint64_t end, sent_ms; /* items before `end` are covered by it and those before it; Unix ms */
    asy_u128 owed;         /* our total with them; 0: not known, it is of an earlier connection */
};
enum { OPEN_CHECKPOINTS = 64 };

struct uplink {
    struct asy_node *n;
    struct asy_addr gateway;
    const char *url;
    struct asy_ws *ws;
    struct asy_link_node *link; /* while connected */
    struct asy_link_hello *hello;
    uint64_t dial_at_ns; /* 0 while connected */
    uint32_t failures;
    bool live;
    uint32_t link_number;
    asy_u128 credited; /* on chain */
    struct book_totals totals;
    struct open_checkpoint open[OPEN_CHECKPOINTS]; /* oldest first */
    uint32_t open_count;
    uint64_t acked_items; /* items before this were answered with an Ack */
    asy_u128 refused;     /* of our total, what the gateway's Acks leave out */
    bool refused_known;
    uint32_t refusals; /* Acks that left out more than the one before, less those that did not */
    uint64_t refuse_until_ms; /* offers: there were too many of them */
    struct job *jobs;         /* by seq */
    struct job *ended; /* by seq: the last ones, should the gateway cut one that it does not know to
                          be over */
    struct known_cap *caps;
};

struct asy_node {
    struct asy_node_config c;
    const struct asy_env *env;
    struct asy_loop *loop;
    struct asy_domain domain;
    struct asy_addr self;
    struct book *book;
    struct asy_chain *chain;
    struct asy_engine *engine;
    struct asy_engine_host *host;
    bool engine_up;
    struct asy_timer *timer;
    uint64_t wake_at_ns; /* what the timer is set to */
    struct uplink up;
    struct job *by_key;
    uint64_t next_key;
    bool registered, registering, claiming, draining, closing;
    uint64_t register_at_ns, claim_at_ns, drain_deadline_ns;
    uint32_t status_used;
    asy_loop_cb on_done;
    void *on_done_arg;
};

void uplink_init(struct uplink *up, struct asy_node *n);
void uplink_done(struct uplink *up);
void uplink_tick(struct uplink *up, uint64_t now_ns, uint64_t *min_deadline_ns);
void uplink_on_prompt(struct job *job, const uint32_t *ids, size_t count, size_t cached);
void uplink_on_tokens(struct job *job, const struct asy_engine_tokens *tokens);
void uplink_on_done(struct job *job, const struct asy_engine_done *done);
void uplink_send_status(struct uplink *up);

_Noreturn void node_die(enum asy_err err, const struct asy_why *why);
void node_wake(struct asy_node *n);

#endif
