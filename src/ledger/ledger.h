/*~ ledger: what a gateway must never forget: accounts, caps, lanes, tickets, receipts, checkpoints,
 * Acks, batches, and the journal.
 *
 * The durable state of one gateway, in one store, with what the request path needs held in memory,
 * so that no cost grows with history. Every call belongs to the loop's thread. Writes join the
 * turn's transaction; the program commits it before the turn's output leaves (store.h), so whatever
 * a peer or client has seen survives a crash.
 *
 * Money. A lane's `funded` is all that was ever pulled into it (on chain: locked + spent). `paid`
 * is the running total of its receipts. `reserved` is the worst case of its open tickets. headroom
 * = funded - paid - reserved, and a reservation that would make it negative is refused. Settling
 * moves nothing here: the chain's split into locked and spent follows from batches. The journal
 * holds one row per movement, each from one account to another: pull    free of the requester ->
 * lane           the chain says so job     lane -> owed to the node                a receipt was
 * accepted credit  owed to the node -> credited on chain   a batch is confirmed and back, as
 * `unpull` (closed, or a re-organisation), `unpay` (the receipt was never signed) and `uncredit` (a
 * re-organisation).
 *
 * A ticket is OPEN from its issue; a receipt makes it PAID, and its end without one VOID. A receipt
 * is signed by its node a little later, by a checkpoint: only then is it owed for good (`owed`,
 * which Acks promise), and only then may it be settled, since the gateway could not justify the
 * debit without that signature. A lane's tickets are settled in the order of laneSeq, so one that
 * is open or not signed holds back those behind it, at most until its deadline: then it becomes
 * VOID. source: settlement format (docs/protocol/settlement.md)
 */
#ifndef ASY_LEDGER_H
#define ASY_LEDGER_H

#include "base/base.h"
#include "codec/codec.h"
#include "crypto/crypto.h"
#include "job/job.h"
#include "merkle/merkle.h"
#include "store/store.h"

/* Seconds from a ticket's deadline to its lane's end: grace, batch and confirmations must fit in.
 */
#define ASY_LEDGER_CLOSE_LAG_S 300u

struct asy_ledger;

/* Opens or creates the database. errors: as asy_store_open */
ASY_MUST_USE enum asy_err asy_ledger_open(struct asy_ledger **ret_ledger, const char *path,
                                          const struct asy_env *env, enum asy_store_sync sync,
                                          struct asy_why *reterr_why);
void asy_ledger_close(struct asy_ledger *ledger);
/* Ends the turn. After an error nothing of the turn has happened on disk, while memory is ahead of
 * it: the program must stop. */
ASY_MUST_USE enum asy_err asy_ledger_commit(struct asy_ledger *ledger, struct asy_why *reterr_why);
bool asy_ledger_dirty(const struct asy_ledger *ledger);

/* Small named values: the chain cursor, the deployment. errors: NOT_FOUND, STORE */
ASY_MUST_USE enum asy_err asy_ledger_get(struct asy_ledger *ledger, const char *name,
                                         struct asy_buf *ret_value);
ASY_MUST_USE enum asy_err asy_ledger_put(struct asy_ledger *ledger, const char *name,
                                         struct asy_bytes value);

/* ---- accounts and keys ----------------------------------------------------------------------- */

/* One requester. Owned by the ledger, valid until it closes. */
struct asy_account {
    struct asy_addr addr;
    uint64_t created_ms;
    bool has_cap; /* the cap in force: the one with the highest nonce */
    struct asy_cap cap;
    struct asy_sig cap_sig;
    struct asy_hash cap_hash;
    bool cap_open;      /* registered on chain */
    uint32_t lane;      /* 0: none yet */
    uint64_t lane_seq;  /* of the next ticket */
    uint64_t closes_at; /* chain seconds: no tickets from some time before on; 0: not closing */
    asy_u128 funded, paid, reserved;
    asy_u128 free; /* on chain, not in any lane: what could still be pulled */
};
/* Finds or makes. errors: STORE */
ASY_MUST_USE enum asy_err asy_ledger_account(struct asy_ledger *ledger,
                                             struct asy_account **ret_account,
                                             const struct asy_addr *addr);
struct asy_account *asy_ledger_find_account(struct asy_ledger *ledger, const struct asy_addr *addr);
struct asy_account *asy_ledger_lane_account(struct asy_ledger *ledger, uint32_t lane);
/* Calls fn for each account. */
void asy_ledger_each_account(struct asy_ledger *ledger,
                             void (*fn)(void *arg, struct asy_account *account), void *arg);
asy_u128 asy_ledger_headroom(const struct asy_account *account);

/* API keys: "sk-assay-" and 43 base64url digits; kept as SHA-256 only. */
#define ASY_KEY_TEXT 53 /* bytes with the zero byte */
/* errors: STORE */
ASY_MUST_USE enum asy_err asy_ledger_issue_key(struct asy_ledger *ledger,
                                               char ret_key[ASY_KEY_TEXT], uint64_t *ret_id,
                                               struct asy_account *account, struct asy_bytes label);
/* NULL: no such key, or revoked. The time it takes does not tell how much of a key is right: only
 * its hash is looked up. */
struct asy_account *asy_ledger_find_key(struct asy_ledger *ledger, struct asy_bytes key);
/* errors: NOT_FOUND, STORE */
ASY_MUST_USE enum asy_err asy_ledger_revoke_key(struct asy_ledger *ledger, uint64_t id);

/* ---- caps and lanes -------------------------------------------------------------------------- */

/* Registers a cap whose signature was verified. errors: CONFLICT not newer than the one in force;
 * STORE */
ASY_MUST_USE enum asy_err asy_ledger_set_cap(struct asy_ledger *ledger, struct asy_account *account,
                                             const struct asy_cap *cap, const struct asy_sig *sig);
/* What the chain says of a requester's lane now: idempotent, any order. Journals the difference in
 * funded. errors: STORE */
struct asy_lane_facts {
    uint32_t lane;
    bool cap_open;   /* for the cap in force */
    asy_u128 funded; /* locked + spent */
    asy_u128 free;
    uint64_t closes_at;
};
ASY_MUST_USE enum asy_err asy_ledger_set_lane(struct asy_ledger *ledger,
                                              struct asy_account *account,
                                              const struct asy_lane_facts *facts);

/* ---- nodes ----------------------------------------------------------------------------------- */

/* One node's books with this gateway. Owned by the ledger. */
struct asy_node_book {
    uint64_t id; /* row number */
    struct asy_addr addr;
    uint32_t link;     /* on chain; 0: none seen */
    uint64_t link_seq; /* of the next ticket */
    uint64_t ticket_checkpoint_next, tickets_signed;
    uint64_t receipt_checkpoint_next, receipts_have;
    asy_u128 owed;     /* running gross total of accepted receipts that the node has signed */
    asy_u128 batched;  /* part of owed whose tickets stand in batches, made so far, sent or not */
    asy_u128 posted;   /* part of batched that those batches credit */
    asy_u128 credited; /* on chain */
    uint64_t closed_below; /* every ticket with a smaller linkSeq is paid or void */
    bool has_ack;
    struct asy_ack ack;
    struct asy_sig ack_sig;
};
ASY_MUST_USE enum asy_err asy_ledger_node(struct asy_ledger *ledger,
                                          struct asy_node_book **ret_node,
                                          const struct asy_addr *addr);
/* NULL: never written down. */
struct asy_node_book *asy_ledger_find_node(struct asy_ledger *ledger, const struct asy_addr *addr);
void asy_ledger_each_node(struct asy_ledger *ledger,
                          void (*fn)(void *arg, struct asy_node_book *node), void *arg);
ASY_MUST_USE enum asy_err asy_ledger_set_link(struct asy_ledger *ledger, struct asy_node_book *node,
                                              uint32_t link, asy_u128 credited);
ASY_MUST_USE enum asy_err asy_ledger_set_ack(struct asy_ledger *ledger, struct asy_node_book *node,
                                             const struct asy_ack *ack, const struct asy_sig *sig);

/* ---- tickets --------------------------------------------------------------------------------- */

enum asy_ticket_state { ASY_TICKET_OPEN = 0, ASY_TICKET_PAID = 1, ASY_TICKET_VOID = 2 };

struct asy_ticket_note {    /* for people, beside what is signed */
    struct asy_bytes model; /* name */
    struct asy_bytes request_id;
};
/* asy_ledger_issue reserves the worst case, gives the ticket its places in lane and link, and
 * journals it. terms: all fields but lane_seq, link_seq and cap are set by the caller. errors:
 * CREDIT not enough headroom; STATE no lane, it is closing, or the cap has ended; MISMATCH, RANGE
 * the cap does not allow these terms (asy_terms_check); OVERFLOW; STORE */
ASY_MUST_USE enum asy_err asy_ledger_issue(struct asy_ledger *ledger, struct asy_account *account,
                                           struct asy_node_book *node, struct asy_terms *terms,
                                           const struct asy_ticket_note *note,
                                           struct asy_why *reterr_why);
/* Accepts a receipt that the caller has checked against the terms and what was relayed. item: its
 * place in the node's numbering, not signed yet; until it is, another receipt may take the place,
 * and then this one ends unsigned. errors: STATE the ticket is not open (paid already, by the same
 * receipt: OK and nothing changes); RANGE more than was reserved; NOT_FOUND no ticket with these
 * terms; STORE */
ASY_MUST_USE enum asy_err asy_ledger_pay(struct asy_ledger *ledger, const struct asy_terms *terms,
                                         const struct asy_receipt *receipt,
                                         const struct asy_hash *prompt_digest, uint64_t item);
/* Ends an open ticket without pay; already ended: OK, nothing changes. error: for people, may be
 * empty. errors: NOT_FOUND, STORE */
ASY_MUST_USE enum asy_err asy_ledger_void(struct asy_ledger *ledger, const struct asy_terms *terms,
                                          struct asy_bytes error);
/* A receipt item that was refused still has its place in the node's numbering. errors: STORE */
ASY_MUST_USE enum asy_err asy_ledger_refuse_item(struct asy_ledger *ledger,
                                                 struct asy_node_book *node, uint64_t item,
                                                 const struct asy_hash *receipt_hash);
/* Voids tickets whose deadline is more than grace_s behind now_s: open ones (1,000 at once), and
 * paid ones at the head of their lane whose receipt the node has not signed. ret_count: how many.
 * errors: STORE */
ASY_MUST_USE enum asy_err asy_ledger_expire(struct asy_ledger *ledger, uint64_t *ret_count,
                                            uint64_t now_s, uint64_t grace_s);

/* One ticket as stored. Views and the object end with the callback. */
struct asy_ticket {
    struct asy_terms terms;
    enum asy_ticket_state state;
    bool has_receipt;
    struct asy_receipt receipt;
    struct asy_hash prompt_digest;
    uint64_t item;
    uint64_t issued_ms, ended_ms; /* Unix; ended_ms 0 while open */
    uint32_t lane;
    struct asy_bytes model, request_id, error;
};
typedef void (*asy_ticket_fn)(void *arg, const struct asy_ticket *ticket);
/* errors: NOT_FOUND, STORE */
ASY_MUST_USE enum asy_err asy_ledger_ticket_by_link(struct asy_ledger *ledger,
                                                    const struct asy_node_book *node,
                                                    uint64_t link_seq, asy_ticket_fn fn, void *arg);
/* All segments of a job, in order; ret_count 0 when there is none. errors: STORE */
ASY_MUST_USE enum asy_err asy_ledger_tickets_of_job(struct asy_ledger *ledger, uint32_t *ret_count,
                                                    const struct asy_hash *job_id, asy_ticket_fn fn,
                                                    void *arg);
/* An account's tickets, newest first: those with laneSeq below `before`, at most `limit`. errors:
 * STORE */
ASY_MUST_USE enum asy_err asy_ledger_tickets_of_account(struct asy_ledger *ledger,
                                                        const struct asy_account *account,
                                                        uint64_t before, uint32_t limit,
                                                        asy_ticket_fn fn, void *arg);
/* Open tickets of a node, in linkSeq order: after a restart. errors: STORE */
ASY_MUST_USE enum asy_err asy_ledger_open_tickets(struct asy_ledger *ledger,
                                                  const struct asy_node_book *node,
                                                  asy_ticket_fn fn, void *arg);
/* Struct hashes of the tickets [from, node->link_seq) of a link, in order. errors: STORE */
ASY_MUST_USE enum asy_err asy_ledger_ticket_hashes(struct asy_ledger *ledger,
                                                   const struct asy_node_book *node, uint64_t from,
                                                   uint32_t count, struct asy_hash *ret_hashes);
/* Totals of an account since from_ms (0: ever). errors: STORE */
struct asy_usage {
    uint64_t jobs, in_tokens, out_tokens;
    asy_u128 spent;
};
ASY_MUST_USE enum asy_err asy_ledger_usage(struct asy_ledger *ledger, struct asy_usage *ret_usage,
                                           const struct asy_account *account, uint64_t from_ms);

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* Writes down a checkpoint of either kind; the numbering of its kind goes on behind it. Receipts
 * become owed, and free to be settled. errors: CONFLICT its number is taken; STORE */
ASY_MUST_USE enum asy_err asy_ledger_add_checkpoint(struct asy_ledger *ledger,
                                                    struct asy_node_book *node,
                                                    const struct asy_checkpoint *checkpoint,
                                                    const struct asy_sig *sig);
/* Stored checkpoints of a kind whose items end after `item`, in order. errors: STORE */
typedef void (*asy_checkpoint_fn)(void *arg, const struct asy_checkpoint *checkpoint,
                                  const struct asy_sig *sig);
ASY_MUST_USE enum asy_err asy_ledger_checkpoints_from(struct asy_ledger *ledger,
                                                      const struct asy_node_book *node,
                                                      enum asy_checkpoint_kind kind, uint64_t item,
                                                      asy_checkpoint_fn fn, void *arg);
/* The node's signature over one receipt: its checkpoint and the path to its place. errors:
 * NOT_FOUND not signed yet; STORE */
struct asy_receipt_proof {
    struct asy_checkpoint checkpoint;
    struct asy_sig sig;
    uint32_t position, path_count;
    struct asy_hash path[ASY_CHECKPOINT_PATH_MAX];
};
ASY_MUST_USE enum asy_err asy_ledger_receipt_proof(struct asy_ledger *ledger,
                                                   struct asy_receipt_proof *ret_proof,
                                                   const struct asy_addr *node, uint64_t item);

/* ---- batches --------------------------------------------------------------------------------- */

/* Stored: append only. */
enum asy_batch_state {
    ASY_BATCH_BUILT = 0,
    ASY_BATCH_SENT = 1,
    ASY_BATCH_CONFIRMED = 2,
    ASY_BATCH_FINAL = 3
};
struct asy_batch {
    uint64_t number;
    enum asy_batch_state state;
    struct asy_hash root, tx;
    uint64_t block, built_ms;
    uint64_t jobs; /* tickets in it, void ones included */
    uint32_t entry_count, credit_count;
    asy_u128 debited, credited;
};
struct asy_batch_credit {
    uint64_t node_id;
    uint32_t link;
    asy_u128 cum; /* the link's new total */
};
/* Tickets that could be settled now: closed, in lane order, not in a batch yet. Cheap: held in
 * memory. */
uint64_t asy_ledger_unposted(const struct asy_ledger *ledger);
/* Whether a lane has as many as one entry can take: waiting would only make it longer. */
bool asy_ledger_lane_full(const struct asy_ledger *ledger);
/* What the next batch would move: pay of those that stand in line, and pay in earlier batches that
 * no credit has moved yet. */
asy_u128 asy_ledger_unposted_pay(const struct asy_ledger *ledger);
/* asy_ledger_build_batch makes the next batch from the closed prefix of every lane, those that have
 * waited longest first, and writes it down. Credits of the links that have unposted pay are added
 * when with_credits, so a batch may hold credits alone. entry_count and credit_count both 0: there
 * was nothing to settle and nothing was written. A lane enters whole or waits, but for one that
 * alone has more than max_jobs. in:     max_jobs, max_entries, max_credits: ceilings, so that the
 * transaction fits its gas errors: STORE, OVERFLOW */
ASY_MUST_USE enum asy_err asy_ledger_build_batch(struct asy_ledger *ledger,
                                                 struct asy_batch *ret_batch, uint64_t number,
                                                 uint32_t max_jobs, uint32_t max_entries,
                                                 uint32_t max_credits, bool with_credits);
ASY_MUST_USE enum asy_err asy_ledger_get_batch(struct asy_ledger *ledger,
                                               struct asy_batch *ret_batch, uint64_t number);
/* The oldest batch in `state` or an earlier state; state: below FINAL. errors: NOT_FOUND, STORE */
ASY_MUST_USE enum asy_err asy_ledger_oldest_batch(struct asy_ledger *ledger,
                                                  struct asy_batch *ret_batch,
                                                  enum asy_batch_state state);
uint64_t asy_ledger_batch_count(const struct asy_ledger *ledger); /* number of the next */
/* errors: NOT_FOUND, STORE; arrays come from the arena */
ASY_MUST_USE enum asy_err asy_ledger_batch_entries(struct asy_ledger *ledger,
                                                   struct asy_arena *arena,
                                                   struct asy_entry **ret_entries,
                                                   uint32_t *ret_count, uint64_t number);
ASY_MUST_USE enum asy_err asy_ledger_batch_credits(struct asy_ledger *ledger,
                                                   struct asy_arena *arena,
                                                   struct asy_batch_credit **ret_credits,
                                                   uint32_t *ret_count, uint64_t number);
/* The signed transaction, written down before it is sent. A replacement (higher fee) overwrites it.
 */
ASY_MUST_USE enum asy_err asy_ledger_set_batch_tx(struct asy_ledger *ledger, uint64_t number,
                                                  const struct asy_hash *tx, struct asy_bytes raw);
ASY_MUST_USE enum asy_err asy_ledger_batch_raw(struct asy_ledger *ledger, struct asy_buf *ret_raw,
                                               uint64_t number);
/* Moves a batch on (or back, after a re-organisation). The first time it is confirmed its credits
 * are journaled. errors: NOT_FOUND, STORE */
ASY_MUST_USE enum asy_err asy_ledger_set_batch_state(struct asy_ledger *ledger, uint64_t number,
                                                     enum asy_batch_state state, uint64_t block);
/* Leaves of an entry: its tickets in lane order. errors: STORE */
ASY_MUST_USE enum asy_err asy_ledger_entry_tickets(struct asy_ledger *ledger, uint32_t lane,
                                                   uint64_t first, uint32_t count, asy_ticket_fn fn,
                                                   void *arg);
/* The batch and entry that settle a ticket. errors: NOT_FOUND not in a batch yet; STORE */
ASY_MUST_USE enum asy_err asy_ledger_find_entry(struct asy_ledger *ledger, uint64_t *ret_number,
                                                uint32_t *ret_index, struct asy_entry *ret_entry,
                                                uint32_t lane, uint64_t lane_seq);

/* ---- audit records --------------------------------------------------------------------------- */

/* What a replay of a ticket's job needs, sealed under the gateway's storage key. errors: STORE */
ASY_MUST_USE enum asy_err asy_ledger_put_audit(struct asy_ledger *ledger, uint32_t lane,
                                               uint64_t lane_seq, struct asy_bytes sealed);
ASY_MUST_USE enum asy_err asy_ledger_get_audit(struct asy_ledger *ledger,
                                               struct asy_buf *ret_sealed, uint32_t lane,
                                               uint64_t lane_seq);

/* ---- checks ---------------------------------------------------------------------------------- */

/* Recomputes every total from tickets and journal and compares it with memory and batches: the
 * books balance to the pico, or STORE with the first difference. Reads everything: for tests and
 * `assay admin check`. */
ASY_MUST_USE enum asy_err asy_ledger_check(struct asy_ledger *ledger, struct asy_why *reterr_why);

#endif
