/*~ evm: everything Assay says to an EVM chain, and everything it hears from one.
 *
 * Two halves. The blocking half talks JSON-RPC over HTTP: one `struct asy_evm` per worker thread,
 * every wait bounded by a deadline and ended at once by asy_evm_cancel. The pure half has no
 * sockets and no clock: transactions, calldata, events, revert texts, and the follower, which turns
 * headers and logs into APPLY, REVERT and FINAL.
 *
 * Keys live elsewhere: transactions are signed through a callback, which sees the whole
 * transaction. Crash safety rests on one rule: the raw bytes of a transaction are stored before
 * they are sent, and sending the same bytes again is harmless (asy_evm_send_stored).
 *
 * Errors of every blocking call, beside its own: CHAIN the endpoint failed or answered nonsense
 * (asy_evm_failure tells more); TIMEOUT; CANCELLED; TOO_LONG an answer above ASY_MAX_RPC_BODY.
 * Deadlines are absolute, on the monotonic clock, in ns. Wei and token amounts are u128: an answer
 * that does not fit gives OVERFLOW.
 *
 * endpoint | reading | transactions | sending | follower | contracts | deploying | anvil
 */
#ifndef ASY_EVM_EVM_H
#define ASY_EVM_EVM_H

#include <sys/types.h>

#include "base/base.h"
#include "codec/codec.h"
#include "crypto/crypto.h"

/* ---- endpoint -------------------------------------------------------------------------------- */

struct asy_evm;

struct asy_evm_options {
    uint32_t timeout_ms; /* of one HTTP exchange, [1, 600000] */
    uint32_t retries; /* further tries of a request that failed on the way, [0, 10]; every request
                         here may be repeated */
};
#define ASY_EVM_OPTIONS ((struct asy_evm_options){.timeout_ms = 10000, .retries = 3})

/* asy_evm_new makes a client; connects on first use and keeps the connection.
 * in:     url: http or https, at most ASY_MAX_URL bytes; may hold user and password. Loopback
 *         hosts are never reached through a proxy; others go through that of the environment
 *         options: NULL for ASY_EVM_OPTIONS
 * out:    ret_evm: free with asy_evm_free. Used by one thread at a time
 * errors: SYNTAX not such a URL; RANGE options; INTERNAL */
ASY_MUST_USE enum asy_err asy_evm_new(struct asy_evm **ret_evm, const char *url,
                                      const struct asy_evm_options *options,
                                      struct asy_why *reterr_why);
void asy_evm_free(struct asy_evm *evm);
/* Ends the running call and every later one with CANCELLED. The one function that any thread may
 * call at any time. */
void asy_evm_cancel(struct asy_evm *evm);
/* Waits ms, or less when cancelled: CANCELLED. What loops over an endpoint use for a pause. */
ASY_MUST_USE enum asy_err asy_evm_pause(struct asy_evm *evm, uint32_t ms);

/* What the endpoint said when the last call failed. */
struct asy_evm_failure {
    int http_status;   /* 0: no HTTP answer came */
    int64_t code;      /* of the JSON-RPC error; 0: there was none */
    char message[256]; /* printable ASCII, cut */
    uint8_t data[1024];
    size_t data_len; /* bytes of revert data, cut */
};
const struct asy_evm_failure *asy_evm_failure(const struct asy_evm *evm);

/* asy_evm_request sends one JSON-RPC request, tries again as options say (after 100 ms, then twice
 * that, at most 3 s) when the connection fails or the endpoint answers 429 or 5xx, and never when
 * it answers with a JSON-RPC error.
 * in:     params: a JSON array
 * out:    ret_doc: free with asy_json_free; ret_result: lives in it, may be JSON null */
ASY_MUST_USE enum asy_err asy_evm_request(struct asy_evm *evm, struct asy_json **ret_doc,
                                          const struct asy_json **ret_result, const char *method,
                                          struct asy_bytes params, struct asy_why *reterr_why);

/* ---- reading --------------------------------------------------------------------------------- */

struct asy_evm_block {
    uint64_t number;
    struct asy_hash hash, parent;
    uint64_t time_s;
    asy_u128 base_fee_wei;
    uint64_t gas_limit;
};
enum asy_evm_tag { ASY_EVM_LATEST, ASY_EVM_SAFE, ASY_EVM_FINALIZED };
/* Where an endpoint knows no `safe` or `finalized`: this many blocks under the latest. */
#define ASY_EVM_SAFE_DEPTH      32u
#define ASY_EVM_FINALIZED_DEPTH 64u

struct asy_evm_log {
    struct asy_addr address;
    struct asy_hash topics[4];
    uint8_t topic_count;
    struct asy_bytes data;
    uint64_t block_number;
    struct asy_hash block_hash, tx_hash;
    uint32_t index; /* within the block */
};
struct asy_evm_logs {
    struct asy_evm_log *items; /* in the order of the chain */
    size_t count;
};
struct asy_evm_receipt {
    struct asy_hash tx_hash, block_hash;
    uint64_t block_number;
    bool ok; /* false: reverted */
    uint64_t gas_used;
    asy_u128 gas_price_wei;   /* paid per gas */
    struct asy_addr contract; /* created; zero when none was */
    struct asy_evm_logs logs; /* empty when no arena was given */
};
/* Logs that match: by one of the addresses (none: any), and with one of topics as first topic
 * (none: any). Borrowed. */
struct asy_evm_filter {
    const struct asy_addr *addrs;
    size_t addr_count;
    const struct asy_hash *topics;
    size_t topic_count;
};

/* The id that transactions and EIP-712 domains name; the number of the latest block. */
ASY_MUST_USE enum asy_err asy_evm_get_chain_id(struct asy_evm *evm, uint64_t *ret_chain_id,
                                               struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_get_block_number(struct asy_evm *evm, uint64_t *ret_number,
                                                   struct asy_why *reterr_why);
/* errors: NOT_FOUND no such block */
ASY_MUST_USE enum asy_err asy_evm_get_block(struct asy_evm *evm, struct asy_evm_block *ret_block,
                                            uint64_t number, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_get_block_tag(struct asy_evm *evm,
                                                struct asy_evm_block *ret_block,
                                                enum asy_evm_tag tag, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_get_balance(struct asy_evm *evm, asy_u128 *ret_wei,
                                              const struct asy_addr *addr,
                                              struct asy_why *reterr_why);
/* Transactions of addr that are mined or, with pending, known to the endpoint. */
ASY_MUST_USE enum asy_err asy_evm_get_nonce(struct asy_evm *evm, uint64_t *ret_nonce,
                                            const struct asy_addr *addr, bool pending,
                                            struct asy_why *reterr_why);
/* Bytes of code at addr; 0: no contract. */
ASY_MUST_USE enum asy_err asy_evm_get_code_len(struct asy_evm *evm, size_t *ret_len,
                                               const struct asy_addr *addr,
                                               struct asy_why *reterr_why);
/* asy_evm_call runs a contract's view at the latest block; ret_data gets what it returned
 * (appended).
 * in:     from: NULL for nobody
 * errors: REVERTED, with the contract's reason as text */
ASY_MUST_USE enum asy_err asy_evm_call(struct asy_evm *evm, struct asy_buf *ret_data,
                                       const struct asy_addr *from, const struct asy_addr *to,
                                       struct asy_bytes calldata, struct asy_why *reterr_why);
/* Gas for a transaction at the latest state. to NULL: creation. errors: REVERTED */
ASY_MUST_USE enum asy_err asy_evm_estimate_gas(struct asy_evm *evm, uint64_t *ret_gas,
                                               const struct asy_addr *from,
                                               const struct asy_addr *to, asy_u128 value_wei,
                                               struct asy_bytes data, struct asy_why *reterr_why);
/* Fees for a transaction now: tip as the endpoint suggests, ceiling = twice the base fee of the
 * next block + tip. */
struct asy_evm_fees {
    asy_u128 tip_wei, max_wei;
};
ASY_MUST_USE enum asy_err asy_evm_suggest_fees(struct asy_evm *evm, struct asy_evm_fees *ret_fees,
                                               struct asy_why *reterr_why);
/* errors: NOT_FOUND not mined (or not any more) */
ASY_MUST_USE enum asy_err asy_evm_get_receipt(struct asy_evm *evm,
                                              struct asy_evm_receipt *ret_receipt,
                                              struct asy_arena *arena,
                                              const struct asy_hash *tx_hash,
                                              struct asy_why *reterr_why);
/* Whether the endpoint knows the transaction, mined or waiting. */
ASY_MUST_USE enum asy_err asy_evm_tx_known(struct asy_evm *evm, bool *ret_known,
                                           const struct asy_hash *tx_hash,
                                           struct asy_why *reterr_why);
/* asy_evm_get_logs reads blocks [from, to], asking for at most ASY_MAX_LOG_RANGE at a time, and for
 * half as many when the endpoint refuses. Items and data go to arena: TOO_LONG when it is full.
 * Split far ranges yourself, or let a follower do it. */
ASY_MUST_USE enum asy_err asy_evm_get_logs(struct asy_evm *evm, struct asy_evm_logs *ret_logs,
                                           struct asy_arena *arena,
                                           const struct asy_evm_filter *filter, uint64_t from,
                                           uint64_t to, struct asy_why *reterr_why);
/* The logs of exactly this block. errors: NOT_FOUND the endpoint does not have it (any more) */
ASY_MUST_USE enum asy_err asy_evm_get_block_logs(struct asy_evm *evm, struct asy_evm_logs *ret_logs,
                                                 struct asy_arena *arena,
                                                 const struct asy_evm_filter *filter,
                                                 const struct asy_hash *block_hash,
                                                 struct asy_why *reterr_why);

/* ---- transactions (pure) --------------------------------------------------------------------- */

/* EIP-1559, with an empty access list. */
struct asy_evm_tx {
    uint64_t chain_id, nonce;
    struct asy_evm_fees fees;
    uint64_t gas;
    bool create; /* `to` is not used then */
    struct asy_addr to;
    asy_u128 value_wei;
    struct asy_bytes data; /* borrowed */
};
/* Appends 0x02 || rlp([chain id, nonce, tip, fee, gas, to, value, data, access list]).
 * errors: TOO_LONG */
ASY_MUST_USE enum asy_err asy_evm_tx_encode_unsigned(struct asy_buf *buf,
                                                     const struct asy_evm_tx *tx);
/* What the sender signs: the keccak of that. */
void asy_evm_tx_digest(struct asy_hash *ret_digest, const struct asy_evm_tx *tx);
/* Appends the bytes to send; their keccak is the transaction's hash.
 * errors: TOO_LONG; SIGNATURE v is not 27 or 28 */
ASY_MUST_USE enum asy_err asy_evm_tx_encode(struct asy_buf *raw, const struct asy_evm_tx *tx,
                                            const struct asy_sig *sig);
/* Reads what asy_evm_tx_encode wrote; tx->data is a view into raw.
 * errors: SYNTAX, TYPE, OVERFLOW, MISMATCH not such bytes; UNSUPPORTED another type of
 *         transaction, or an access list */
ASY_MUST_USE enum asy_err asy_evm_tx_decode(struct asy_evm_tx *ret_tx, struct asy_sig *ret_sig,
                                            struct asy_bytes raw);
/* Address of the contract that sender creates with nonce. */
void asy_evm_create_addr(struct asy_addr *ret_addr, const struct asy_addr *sender, uint64_t nonce);

/* ---- sending --------------------------------------------------------------------------------- */

/* Signs the keccak of unsigned_tx, which asy_evm_tx_encode_unsigned wrote, with the account's key.
 * Any error is passed on to the caller of the sending function. */
typedef enum asy_err (*asy_evm_sign_fn)(void *arg, struct asy_sig *ret_sig,
                                        struct asy_bytes unsigned_tx);

/* One sender. Nonces are given out here, in order, so an account belongs to one thread. */
struct asy_evm_account {
    struct asy_addr addr;
    uint64_t chain_id;
    asy_evm_sign_fn sign;
    void *sign_arg;
    asy_u128 max_fee_wei; /* no transaction offers more per gas; 0: no ceiling */
    uint64_t next_nonce;
    bool synced; /* next_nonce is known */
};
void asy_evm_account_init(struct asy_evm_account *acc, const struct asy_addr *addr,
                          uint64_t chain_id, asy_evm_sign_fn sign, void *sign_arg);
/* Takes the next nonce from the chain. Done by itself before the first transaction and after a
 * nonce was taken by somebody else. After a restart, send what was stored first, or its nonces are
 * given out again. */
ASY_MUST_USE enum asy_err asy_evm_account_sync(struct asy_evm_account *acc, struct asy_evm *evm,
                                               struct asy_why *reterr_why);

struct asy_evm_intent {
    const struct asy_addr *to; /* NULL: create a contract */
    asy_u128 value_wei;
    struct asy_bytes data;
    uint64_t gas; /* 0: the estimate plus a fifth, at most ASY_MAX_TX_GAS */
};
struct asy_evm_signed {
    uint64_t nonce;
    struct asy_hash hash;
    struct asy_buf raw; /* owned: asy_evm_signed_done */
};
void asy_evm_signed_done(struct asy_evm_signed *tx);

/* asy_evm_sign gives out a nonce and signs. Store ret_signed->raw before sending it.
 * errors: REVERTED by the estimate, with the reason; RANGE more gas than ASY_MAX_TX_GAS; CREDIT
 *         the ceiling max_fee_wei is under the base fee */
ASY_MUST_USE enum asy_err asy_evm_sign(struct asy_evm_account *acc, struct asy_evm *evm,
                                       struct asy_evm_signed *ret_signed,
                                       const struct asy_evm_intent *intent,
                                       struct asy_why *reterr_why);
/* Takes back the nonce of a transaction that was signed last and never sent (storing it failed). */
void asy_evm_unsign(struct asy_evm_account *acc, struct asy_evm_signed *tx);
/* asy_evm_bump signs the same again for fees at least 12.5 % higher, or as high as suggested now:
 * nodes then let it replace the first.
 * errors: CREDIT that is above max_fee_wei */
ASY_MUST_USE enum asy_err asy_evm_bump(struct asy_evm_account *acc, struct asy_evm *evm,
                                       struct asy_evm_signed *ret_signed, struct asy_bytes raw,
                                       struct asy_why *reterr_why);

/* asy_evm_send_stored sends signed bytes, for the first time or again: after a crash, a lost
 * connection, a re-organisation. OK means that the endpoint has this very transaction, waiting or
 * mined.
 * errors: CONFLICT its nonce is used up by another transaction, or one that pays more waits in its
 *         place; CREDIT the sender cannot pay; SYNTAX raw is no transaction */
ASY_MUST_USE enum asy_err asy_evm_send_stored(struct asy_evm *evm, struct asy_hash *ret_hash,
                                              struct asy_bytes raw, struct asy_why *reterr_why);

/* asy_evm_wait_receipt polls (from 20 ms, growing to 1 s) until the transaction has
 * `confirmations` blocks (its own counts: 1 is mined).
 * out:    ret_receipt: as of then; logs when arena is not NULL. ok may be false
 * errors: TIMEOUT at deadline_ns; the transaction may still be mined later */
ASY_MUST_USE enum asy_err
asy_evm_wait_receipt(struct asy_evm *evm, struct asy_evm_receipt *ret_receipt,
                     struct asy_arena *arena, const struct asy_hash *tx_hash,
                     uint32_t confirmations, uint64_t deadline_ns, struct asy_why *reterr_why);

struct asy_evm_submit_options {
    uint32_t confirmations; /* [1, 1000] */
    uint32_t stuck_ms;      /* then replace it with higher fees, at most 8 times; 0: never */
    uint64_t deadline_ns;
    /* Stores raw before it is sent; called again for each replacement, and when another transaction
     * took the nonce. An error stops the submission. NULL: nothing is stored. */
    enum asy_err (*store)(void *arg, const struct asy_evm_signed *tx);
    void *store_arg;
};
/* asy_evm_submit does it all: sign, store, send, wait, replace when stuck, sign anew when another
 * transaction took the nonce, send again when a re-organisation dropped it.
 * errors: REVERTED with the contract's reason (the receipt is then filled in); TIMEOUT. After any
 *         other error than REVERTED what was stored may still be mined: send it again, and wait
 *         for it, before submitting the same intent anew */
ASY_MUST_USE enum asy_err asy_evm_submit(struct asy_evm_account *acc, struct asy_evm *evm,
                                         struct asy_evm_receipt *ret_receipt,
                                         struct asy_arena *arena,
                                         const struct asy_evm_intent *intent,
                                         const struct asy_evm_submit_options *options,
                                         struct asy_why *reterr_why);

/* The plain case of asy_evm_submit: calls a contract and waits until the call is mined once,
 * wait_s seconds at most, with higher fees each 30 s. ret_receipt may be NULL. The data of the
 * receipt's logs is not kept. errors: those of asy_evm_submit */
ASY_MUST_USE enum asy_err asy_evm_call_and_wait(struct asy_evm_account *acc, struct asy_evm *evm,
                                                struct asy_evm_receipt *ret_receipt,
                                                const struct asy_addr *to, struct asy_bytes data,
                                                uint32_t wait_s, struct asy_why *reterr_why);

/* ---- follower (pure) ------------------------------------------------------------------------- */

/* Follows the logs of a chain through re-organisations. It holds the hashes of the last `depth`
 * blocks and the one under them: a block is FINAL when `depth` blocks stand on it, and until then
 * it can be taken back.
 *
 * Sans I/O: ask asy_evm_follower_want what to fetch, feed it, handle the events, until it wants
 * nothing.
 *
 *     state       wants                             then
 *     IDLE        nothing                           HEAD, by asy_evm_follower_poll
 *     HEAD        the latest block                  IDLE, BLOCK, TIP or RANGE
 *     TIP         the block with the tip's number   same hash: go on; else REVERT the tip, TIP
 *     BLOCK       the block after the tip           its parent is the tip: LOGS; else TIP
 *     LOGS        the logs of that block hash       APPLY each, BLOCK event, go on
 *     RANGE       the last block of a far range     RANGE_LOGS
 *     RANGE_LOGS  the logs of the range             APPLY each, one BLOCK event, go on
 *     LOST        nothing                           a final block is gone: init anew
 *
 * A range ends `depth` blocks under the head, so it is final as a whole and is read in large
 * pieces; above it every block is read by hash. An endpoint that lags behind (its head is a block
 * that we have) changes nothing: the chain counts as shorter only once another block stands in the
 * place. */
enum asy_evm_follow_kind {
    ASY_EVM_FOLLOW_APPLY,  /* log: happened */
    ASY_EVM_FOLLOW_BLOCK,  /* block: all logs up to it were applied. The moment to save the cursor
                              together with what was applied */
    ASY_EVM_FOLLOW_REVERT, /* block: undo all that was applied for this block number; newest first.
                              Save the cursor here too */
    ASY_EVM_FOLLOW_FINAL,  /* block.number: this block and all below it stay; may come again after a
                              restart */
    ASY_EVM_FOLLOW_LOST    /* block.number: the lowest block known; the chain left us below it. Undo
                              everything and start anew */
};
struct asy_evm_follow_event {
    enum asy_evm_follow_kind kind;
    const struct asy_evm_log *log; /* APPLY */
    uint64_t number;               /* of the block */
    struct asy_hash hash;          /* of the block; BLOCK and REVERT */
};
/* Takes one event. An error stops the feeding function, which returns it. The follower may then be
 * ahead of what was kept: load the saved cursor again. */
typedef enum asy_err (*asy_evm_follow_fn)(void *arg, const struct asy_evm_follow_event *event);

enum asy_evm_want_kind {
    ASY_EVM_WANT_NOTHING,
    ASY_EVM_WANT_HEAD,  /* asy_evm_follower_on_block */
    ASY_EVM_WANT_BLOCK, /* number; asy_evm_follower_on_block */
    ASY_EVM_WANT_LOGS,  /* hash; asy_evm_follower_on_logs */
    ASY_EVM_WANT_RANGE  /* logs of [number, to]; asy_evm_follower_on_logs */
};
struct asy_evm_want {
    enum asy_evm_want_kind kind;
    uint64_t number, to;
    struct asy_hash hash;
};

enum asy_evm_follower_state {
    ASY_EVM_FOLLOWER_IDLE,
    ASY_EVM_FOLLOWER_HEAD,
    ASY_EVM_FOLLOWER_TIP,
    ASY_EVM_FOLLOWER_BLOCK,
    ASY_EVM_FOLLOWER_LOGS,
    ASY_EVM_FOLLOWER_RANGE,
    ASY_EVM_FOLLOWER_RANGE_LOGS,
    ASY_EVM_FOLLOWER_LOST
};
#define ASY_EVM_MAX_DEPTH 256u
struct asy_evm_follower {
    enum asy_evm_follower_state state;
    uint32_t depth; /* [1, ASY_EVM_MAX_DEPTH] */
    asy_evm_follow_fn on_event;
    void *arg;
    uint64_t next;  /* number of the next block to apply = tip + 1 */
    uint64_t head;  /* number of the latest block heard of */
    uint64_t final; /* blocks below this number were reported FINAL */
    uint32_t count; /* of hashes known: of the blocks up to the tip */
    uint32_t first; /* where the oldest of them is: a ring */
    bool walking_back;
    struct asy_hash hashes[ASY_EVM_MAX_DEPTH + 1];
    struct asy_evm_block fetched; /* LOGS: the block; RANGE_LOGS: the last block of the range */
};
/* asy_evm_follower_init starts at block `start`: its logs are the first ones applied.
 * in:     on_event: kept, with arg */
void asy_evm_follower_init(struct asy_evm_follower *f, uint64_t start, uint32_t depth,
                           asy_evm_follow_fn on_event, void *arg);
/* Everything needed to go on after a restart, appended. errors: TOO_LONG */
#define ASY_EVM_CURSOR_MAX (32u + 32u * (ASY_EVM_MAX_DEPTH + 1u))
ASY_MUST_USE enum asy_err asy_evm_follower_save(const struct asy_evm_follower *f,
                                                struct asy_buf *buf);
/* errors: SYNTAX; VERSION; f is untouched then */
ASY_MUST_USE enum asy_err asy_evm_follower_load(struct asy_evm_follower *f, struct asy_bytes cursor,
                                                asy_evm_follow_fn on_event, void *arg);
/* IDLE becomes HEAD: look for news. */
void asy_evm_follower_poll(struct asy_evm_follower *f);
void asy_evm_follower_want(const struct asy_evm_follower *f, struct asy_evm_want *ret_want);
/* Answers WANT_HEAD or WANT_BLOCK; block NULL: there is none with that number.
 * errors: STATE nothing of this kind was wanted; MISMATCH another number than wanted; PEER the
 *         endpoint contradicts itself; or of on_event */
ASY_MUST_USE enum asy_err asy_evm_follower_on_block(struct asy_evm_follower *f,
                                                    const struct asy_evm_block *block);
/* Answers WANT_LOGS or WANT_RANGE; logs NULL: the block is gone.
 * errors: as above; MISMATCH a log that is not of the wanted blocks */
ASY_MUST_USE enum asy_err asy_evm_follower_on_logs(struct asy_evm_follower *f,
                                                   const struct asy_evm_logs *logs);

/* The thin driver: polls once and works until there is nothing more to fetch, or `steps` answers
 * were fed. ret_idle: whether it is up to date.
 * errors: STATE it is LOST; of on_event; of the endpoint (call again later) */
ASY_MUST_USE enum asy_err asy_evm_follow(struct asy_evm *evm, struct asy_evm_follower *f,
                                         bool *ret_idle, const struct asy_evm_filter *filter,
                                         uint32_t steps, struct asy_why *reterr_why);

/* ---- contracts (pure) ------------------------------------------------------------------------ */

/* Calldata, appended to buf; each function is the call of its name, in the manual
 * contracts/src/interfaces. Amounts named pico are pico-units of the payment token; `base` are
 * whole base units.
 * errors: TOO_LONG; RANGE an argument does not fit its Solidity type */

/* Settlement format, section 1.2: what a requester signs once per gateway. */
struct asy_evm_cap {
    struct asy_addr requester, gateway;
    asy_u128 max_spend, max_locked, max_price_in, max_price_out; /* pico */
    struct asy_hash models;
    struct asy_addr voucher_signer;
    uint64_t nonce, deadline_s;
};
struct asy_evm_ack {
    struct asy_addr gateway, node;
    uint64_t up_to;
    asy_u128 cum; /* pico */
    uint64_t pay_by_s;
};
/* Settlement format, section 1.5. Totals below 2^96. */
struct asy_evm_debit {
    uint32_t lane, count;
    asy_u128 spent; /* pico; the lane's new total */
    struct asy_hash tree;
};
struct asy_evm_credit {
    uint32_t link;
    asy_u128 cum; /* pico; the link's new gross total */
};
enum asy_evm_role { ASY_EVM_ROLE_NODE, ASY_EVM_ROLE_GATEWAY, ASY_EVM_ROLE_VALIDATOR };

/* DevUSD, Token. amount: base units */
ASY_MUST_USE enum asy_err asy_evm_enc_mint(struct asy_buf *buf, const struct asy_addr *to,
                                           asy_u128 amount);
ASY_MUST_USE enum asy_err asy_evm_enc_approve(struct asy_buf *buf, const struct asy_addr *spender,
                                              asy_u128 amount);
ASY_MUST_USE enum asy_err asy_evm_enc_transfer(struct asy_buf *buf, const struct asy_addr *to,
                                               asy_u128 amount);

/* StakeRegistry. amount: units of the stake token; endpoint: UTF-8, at most 256 bytes; x25519: zero
 * for none */
ASY_MUST_USE enum asy_err asy_evm_enc_stake_register(struct asy_buf *buf, enum asy_evm_role role,
                                                     asy_u128 amount, struct asy_bytes endpoint,
                                                     const struct asy_hash *x25519);
ASY_MUST_USE enum asy_err asy_evm_enc_stake_update(struct asy_buf *buf, enum asy_evm_role role,
                                                   struct asy_bytes endpoint,
                                                   const struct asy_hash *x25519);
ASY_MUST_USE enum asy_err asy_evm_enc_stake_top_up(struct asy_buf *buf, enum asy_evm_role role,
                                                   const struct asy_addr *account, asy_u128 amount);
ASY_MUST_USE enum asy_err
asy_evm_enc_stake_announce_unbond(struct asy_buf *buf, enum asy_evm_role role, asy_u128 amount);
ASY_MUST_USE enum asy_err asy_evm_enc_stake_withdraw(struct asy_buf *buf, enum asy_evm_role role);

/* ModelRegistry */
ASY_MUST_USE enum asy_err asy_evm_enc_model_register(struct asy_buf *buf,
                                                     const struct asy_hash *digest,
                                                     struct asy_bytes name, struct asy_bytes uri,
                                                     const struct asy_hash *weights_root);
ASY_MUST_USE enum asy_err asy_evm_enc_model_set_official(struct asy_buf *buf,
                                                         const struct asy_hash *digest,
                                                         bool official,
                                                         const struct asy_hash *weights_root);

/* Vault */
ASY_MUST_USE enum asy_err asy_evm_enc_deposit(struct asy_buf *buf, const struct asy_addr *to,
                                              uint64_t base);
ASY_MUST_USE enum asy_err asy_evm_enc_withdraw(struct asy_buf *buf, uint64_t base);
ASY_MUST_USE enum asy_err asy_evm_enc_give(struct asy_buf *buf, const struct asy_addr *to,
                                           asy_u128 pico);
ASY_MUST_USE enum asy_err asy_evm_enc_allow(struct asy_buf *buf, const struct asy_addr *spender,
                                            asy_u128 pico);
ASY_MUST_USE enum asy_err asy_evm_enc_add_bond(struct asy_buf *buf, const struct asy_addr *gateway,
                                               asy_u128 pico);
ASY_MUST_USE enum asy_err asy_evm_enc_add_pool(struct asy_buf *buf, asy_u128 pico);
ASY_MUST_USE enum asy_err asy_evm_enc_announce_exit(struct asy_buf *buf);
ASY_MUST_USE enum asy_err asy_evm_enc_exit(struct asy_buf *buf);
ASY_MUST_USE enum asy_err asy_evm_enc_collect_fees(struct asy_buf *buf,
                                                   const struct asy_addr *gateway);
ASY_MUST_USE enum asy_err asy_evm_enc_open_lane(struct asy_buf *buf, const struct asy_evm_cap *cap,
                                                struct asy_bytes signature, asy_u128 pico);
ASY_MUST_USE enum asy_err asy_evm_enc_pull(struct asy_buf *buf, const struct asy_evm_cap *cap,
                                           asy_u128 pico);
ASY_MUST_USE enum asy_err asy_evm_enc_revoke(struct asy_buf *buf, const struct asy_evm_cap *cap);
ASY_MUST_USE enum asy_err asy_evm_enc_announce_close(struct asy_buf *buf,
                                                     const struct asy_addr *gateway);
ASY_MUST_USE enum asy_err asy_evm_enc_close(struct asy_buf *buf, const struct asy_addr *gateway);
ASY_MUST_USE enum asy_err asy_evm_enc_open_link(struct asy_buf *buf,
                                                const struct asy_addr *gateway);
ASY_MUST_USE enum asy_err asy_evm_enc_update_share(struct asy_buf *buf,
                                                   const struct asy_addr *gateway,
                                                   const struct asy_addr *node);
/* errors: RANGE lane, link or count 0, count above ASY_MAX_ENTRY_LEAVES, a total of 2^96 or more */
ASY_MUST_USE enum asy_err asy_evm_enc_settle(struct asy_buf *buf, uint64_t number,
                                             const struct asy_evm_debit *debits, size_t debit_count,
                                             const struct asy_evm_credit *credits,
                                             size_t credit_count);
ASY_MUST_USE enum asy_err asy_evm_enc_retire(struct asy_buf *buf, const struct asy_addr *gateway,
                                             uint64_t max);
ASY_MUST_USE enum asy_err asy_evm_enc_claim(struct asy_buf *buf, const struct asy_addr *gateway);
ASY_MUST_USE enum asy_err asy_evm_enc_redeem(struct asy_buf *buf, const struct asy_evm_ack *ack,
                                             struct asy_bytes signature);

/* Events. X(name, signature, indexed parameters (they come first), the field of struct
 * asy_evm_event that takes each parameter). */
#define ASY_EVM_EVENT_TABLE(X)                                                                     \
    /* DevUSD, Token */                                                                            \
    X(TRANSFER, "Transfer(address,address,uint256)", 2, "account other amount")                    \
    X(APPROVAL, "Approval(address,address,uint256)", 2, "account other amount")                    \
    /* Vault */                                                                                    \
    X(DEPOSITED, "Deposited(address,address,uint256)", 2, "account other amount")                  \
    X(WITHDRAWN, "Withdrawn(address,uint256)", 1, "account amount")                                \
    X(GIVEN, "Given(address,address,uint96)", 2, "account other amount")                           \
    X(ALLOWED, "Allowed(address,address,uint96)", 2, "account other amount")                       \
    X(PAUSED, "Paused(uint40)", 0, "at_s")                                                         \
    X(BOND_ADDED, "BondAdded(address,address,uint96)", 2, "gateway account amount")                \
    X(POOL_ADDED, "PoolAdded(address,uint96)", 1, "gateway amount")                                \
    X(EXIT_ANNOUNCED, "ExitAnnounced(address,uint40)", 1, "gateway at_s")                          \
    X(EXITED, "Exited(address,uint96)", 1, "gateway amount")                                       \
    X(FEES_COLLECTED, "FeesCollected(address,uint96,uint96)", 1, "gateway amount amount2")         \
    X(SWEPT, "Swept(address,uint96)", 1, "gateway amount")                                         \
    X(LANE_OPENED, "LaneOpened(address,uint32,address,address)", 3, "gateway id account other")    \
    X(CAP_REGISTERED, "CapRegistered(address,uint32,bytes32,uint40)", 3, "gateway id hash at_s")   \
    X(PULLED, "Pulled(address,uint32,bytes32,uint96)", 3, "gateway id hash amount")                \
    X(CAP_REVOKED, "CapRevoked(address,address,bytes32,uint64)", 3, "gateway account hash number") \
    X(LANE_CLOSING, "LaneClosing(address,uint32,uint40)", 2, "gateway id at_s")                    \
    X(LANE_CLOSED, "LaneClosed(address,uint32,uint96)", 2, "gateway id amount")                    \
    X(LINK_OPENED, "LinkOpened(address,uint32,address,uint16)", 3, "gateway id account bps")       \
    X(SHARE_CHANGED, "ShareChanged(address,uint32,uint16)", 2, "gateway id bps")                   \
    X(SETTLED, "Settled(address,uint64,bytes32,uint96,uint96)", 2,                                 \
      "gateway number hash amount amount2")                                                        \
    X(RETIRED, "Retired(address,uint64,uint96)", 1, "gateway number amount")                       \
    X(CLAIMED, "Claimed(address,uint32,address,uint256)", 3, "gateway id account amount")          \
    X(REDEEMED, "Redeemed(address,uint32,uint96,uint96)", 2, "gateway id amount amount2")          \
    X(ENTRY_VOIDED, "EntryVoided(address,uint64,uint32,uint96)", 3, "gateway number id amount")    \
    X(JAILED, "Jailed(address,uint96,uint96)", 1, "gateway amount amount2")                        \
    /* Court */                                                                                    \
    X(DEMANDED,                                                                                    \
      "Demanded(uint256,address,uint64,address,(uint32,uint32,uint64,uint96,uint96,bytes32),"      \
      "uint32,bool,uint40)",                                                                       \
      3, "demand gateway number account id count first amount amount2 hash index opening at_s")    \
    X(ANSWERED, "Answered(uint256)", 1, "demand")                                                  \
    X(VOIDED, "Voided(uint256,address,uint64,uint96,uint96)", 3,                                   \
      "demand gateway number amount amount2")                                                      \
    /* StakeRegistry */                                                                            \
    X(STAKE_REGISTERED, "Registered(uint8,address,string,bytes32)", 2, "role account text hash")   \
    X(STAKE_UPDATED, "Updated(uint8,address,string,bytes32)", 2, "role account text hash")         \
    X(STAKED, "Staked(uint8,address,address,uint128)", 3, "role account other amount")             \
    X(UNBOND_ANNOUNCED, "UnbondAnnounced(uint8,address,uint128,uint40)", 2,                        \
      "role account amount at_s")                                                                  \
    X(STAKE_WITHDRAWN, "Withdrawn(uint8,address,uint128)", 2, "role account amount")               \
    X(BANNED, "Banned(uint8,address)", 2, "role account")                                          \
    /* ModelRegistry */                                                                            \
    X(MODEL_REGISTERED, "ModelRegistered(bytes32,address,string,string,bytes32)", 2,               \
      "hash account text text2 hash2")                                                             \
    X(MODEL_MOVED, "ModelMoved(bytes32,string)", 1, "hash text")                                   \
    X(OFFICIAL_CHANGED, "OfficialChanged(bytes32,bool,bytes32)", 1, "hash official hash2")

enum asy_evm_event_type {
#define ASY_EVM_EVENT_ENUM(name, signature, indexed, fields) ASY_EVM_EVENT_##name,
    ASY_EVM_EVENT_TABLE(ASY_EVM_EVENT_ENUM)
#undef ASY_EVM_EVENT_ENUM
        ASY_EVM_EVENT_COUNT
};
/* Only the fields that the table names for the type are set; the others are zero. */
struct asy_evm_event {
    enum asy_evm_event_type type;
    struct asy_addr gateway, account, other;
    uint32_t id; /* lane or link */
    uint32_t count, index;
    uint64_t number, first, at_s, demand;
    uint16_t bps;
    uint8_t role;
    bool opening, official;
    asy_u128 amount, amount2; /* pico in Vault and Court, token units elsewhere */
    struct asy_hash hash, hash2;
    struct asy_bytes text, text2; /* views into the log's data; not checked to be UTF-8 */
};
/* asy_evm_event_decode reads a log of the market's contracts.
 * errors: UNKNOWN no event of the table; SYNTAX, RANGE its data is not as declared; OVERFLOW an
 *         amount above u128 */
ASY_MUST_USE enum asy_err asy_evm_event_decode(struct asy_evm_event *ret_event,
                                               const struct asy_evm_log *log);
/* First topic of an event: for filters. */
void asy_evm_event_topic(struct asy_hash *ret_topic, enum asy_evm_event_type type);

/* What a reverted call returned, as one line: a reason string, a panic, or a contract's own error
 * with its arguments, `LaneFull()`, `TooEarly(from: 1700000000)`. cap >= 1. */
void asy_evm_revert_text(char *ret_text, size_t cap, struct asy_bytes data);

/* Views: a blocking call each. Structs as in contracts/src/interfaces. */
struct asy_evm_gateway {
    asy_u128 bond, unfinal, pool, fees; /* pico */
    uint64_t batches, oldest, exit_at_s;
    uint32_t lanes, links;
    bool jailed;
};
struct asy_evm_lane {
    asy_u128 locked, spent; /* pico */
    uint64_t seq, close_at_s;
    struct asy_addr owner, voucher_signer;
};
struct asy_evm_cap_state {
    uint32_t lane; /* 0: not registered */
    uint64_t ends_at_s, nonce;
    asy_u128 pulled; /* pico */
};
struct asy_evm_link {
    asy_u128 cum; /* pico, gross */
    uint32_t epoch;
    uint16_t share_bps;
    struct asy_addr node;
};
struct asy_evm_batch {
    asy_u128 total; /* pico */
    uint64_t at_s;  /* 0: no such batch */
    uint32_t entries;
    struct asy_hash root;
};
struct asy_evm_stake {
    asy_u128 stake, unbonding;
    uint64_t unbonds_at_s;
    bool registered, banned;
};
ASY_MUST_USE enum asy_err asy_evm_token_balance(struct asy_evm *evm, asy_u128 *ret_amount,
                                                const struct asy_addr *token,
                                                const struct asy_addr *owner,
                                                struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_token_allowance(struct asy_evm *evm, asy_u128 *ret_amount,
                                                  const struct asy_addr *token,
                                                  const struct asy_addr *owner,
                                                  const struct asy_addr *spender,
                                                  struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_vault_free(struct asy_evm *evm, asy_u128 *ret_pico,
                                             const struct asy_addr *vault,
                                             const struct asy_addr *account,
                                             struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_vault_gateway(struct asy_evm *evm,
                                                struct asy_evm_gateway *ret_gateway,
                                                const struct asy_addr *vault,
                                                const struct asy_addr *gateway,
                                                struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_vault_lane(struct asy_evm *evm, struct asy_evm_lane *ret_lane,
                                             const struct asy_addr *vault,
                                             const struct asy_addr *gateway, uint32_t lane,
                                             struct asy_why *reterr_why);
/* 0: none */
ASY_MUST_USE enum asy_err asy_evm_vault_lane_of(struct asy_evm *evm, uint32_t *ret_lane,
                                                const struct asy_addr *vault,
                                                const struct asy_addr *gateway,
                                                const struct asy_addr *requester,
                                                struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_vault_cap(struct asy_evm *evm, struct asy_evm_cap_state *ret_cap,
                                            const struct asy_addr *vault,
                                            const struct asy_hash *cap_hash,
                                            struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_vault_min_nonce(struct asy_evm *evm, asy_u128 *ret_nonce,
                                                  const struct asy_addr *vault,
                                                  const struct asy_addr *requester,
                                                  const struct asy_addr *gateway,
                                                  struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_vault_link(struct asy_evm *evm, struct asy_evm_link *ret_link,
                                             const struct asy_addr *vault,
                                             const struct asy_addr *gateway, uint32_t link,
                                             struct asy_why *reterr_why);
/* 0: none */
ASY_MUST_USE enum asy_err asy_evm_vault_link_of(struct asy_evm *evm, uint32_t *ret_link,
                                                const struct asy_addr *vault,
                                                const struct asy_addr *gateway,
                                                const struct asy_addr *node,
                                                struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_vault_batch(struct asy_evm *evm, struct asy_evm_batch *ret_batch,
                                              const struct asy_addr *vault,
                                              const struct asy_addr *gateway, uint64_t number,
                                              struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_vault_claimable(struct asy_evm *evm, asy_u128 *ret_pico,
                                                  const struct asy_addr *vault,
                                                  const struct asy_addr *gateway, uint32_t link,
                                                  struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_vault_domain(struct asy_evm *evm, struct asy_hash *ret_separator,
                                               const struct asy_addr *vault,
                                               struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err
asy_evm_stake_position(struct asy_evm *evm, struct asy_evm_stake *ret_stake,
                       const struct asy_addr *registry, enum asy_evm_role role,
                       const struct asy_addr *account, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_stake_active(struct asy_evm *evm, bool *ret_active,
                                               const struct asy_addr *registry,
                                               enum asy_evm_role role,
                                               const struct asy_addr *account,
                                               struct asy_why *reterr_why);
/* publisher zero: unknown model */
ASY_MUST_USE enum asy_err
asy_evm_model_publisher(struct asy_evm *evm, struct asy_addr *ret_publisher, bool *ret_official,
                        const struct asy_addr *registry, const struct asy_hash *digest,
                        struct asy_why *reterr_why);

/* ---- deploying ------------------------------------------------------------------------------- */

/* The compiled contracts (contracts/artifacts) are part of the program. */

/* asy_evm_creation_code appends the creation code of a contract of Assay, "Vault"; ABI-encoded
 * constructor arguments go behind it.
 * errors: NOT_FOUND no such contract; TOO_LONG */
ASY_MUST_USE enum asy_err asy_evm_creation_code(struct asy_buf *buf, const char *name);
/* asy_evm_deploy creates a contract and waits until it is mined.
 * out:    ret_addr; ret_gas: gas used, may be NULL */
ASY_MUST_USE enum asy_err asy_evm_deploy(struct asy_evm_account *acc, struct asy_evm *evm,
                                         struct asy_addr *ret_addr, uint64_t *ret_gas,
                                         const char *name, struct asy_bytes constructor_args,
                                         uint64_t deadline_ns, struct asy_why *reterr_why);

/* Constructor parameters, as in IVault.Profile and IStakeRegistry. */
struct asy_evm_market_params {
    uint64_t window_s, answer_s, hold_s, notice_s, exit_s, grace_s;
    uint16_t node_bps, gateway_bps, treasury_bps, staked_bps;
    asy_u128 min_bond_pico, leaf_fee_pico, open_fee_pico;
    asy_u128 share_stake;  /* units of the stake token */
    asy_u128 min_stake[3]; /* units of the stake token, by enum asy_evm_role */
    uint64_t unbonding_s;
    uint16_t slash_burn_bps, slash_challenger_bps, slash_harmed_bps, slash_treasury_bps;
    struct asy_addr treasury, guardian;
    struct asy_addr admin;        /* of StakeRegistry, and curator of ModelRegistry */
    struct asy_addr token_holder; /* gets the whole supply of Token */
    struct asy_addr usd;          /* the payment token; zero: deploy DevUSD */
};
struct asy_evm_market {
    uint64_t chain_id;
    uint64_t from_block; /* no event of the market is older */
    struct asy_addr usd, token, stake_registry, model_registry, vault, court;
};
/* {"chain_id":31337,"from_block":0,"contracts":{"USD":"0x..","Token":"0x..",
 * "StakeRegistry":"0x..","ModelRegistry":"0x..","Vault":"0x..","Court":"0x.."}} */
ASY_MUST_USE enum asy_err asy_evm_market_format(struct asy_buf *buf,
                                                const struct asy_evm_market *market);
/* errors: as asy_json_parse; MISSING, TYPE, SYNTAX. Contracts that are not there yet are zero. */
ASY_MUST_USE enum asy_err asy_evm_market_parse(struct asy_evm_market *ret_market,
                                               struct asy_bytes json, struct asy_why *reterr_why);
/* asy_evm_deploy_market brings a market on chain, or finds it there.
 * in:     path: of the addresses file, NULL for none. It is rewritten after each contract, so that
 *         a second call goes on where the first one stopped; when all stand there, nothing is sent
 * errors: MISMATCH the file is of another chain, or the chain has no code at an address of it (its
 *         state was lost); IO the file */
ASY_MUST_USE enum asy_err asy_evm_deploy_market(struct asy_evm_account *acc, struct asy_evm *evm,
                                                struct asy_evm_market *ret_market,
                                                const struct asy_evm_market_params *params,
                                                const char *path, uint64_t deadline_ns,
                                                struct asy_why *reterr_why);

/* ---- anvil: the embedded chain --------------------------------------------------------------- */

struct asy_evm_anvil_options {
    const char *bin;   /* the program */
    const char *state; /* file that keeps the chain; NULL: none */
    uint64_t chain_id;
    uint16_t port;             /* on 127.0.0.1; 0: the kernel chooses */
    uint32_t block_time_s;     /* 0: blocks are mined by asy_evm_anvil_mine only */
    uint32_t state_interval_s; /* the state is written this often, and at the end; 0: only then */
    uint64_t gas_limit;        /* of a block; 0: 60,000,000 */
};
struct asy_evm_anvil {
    pid_t pid; /* 0: not running */
    uint16_t port;
    char url[40];
};
/* The argument vector for exec, ended by NULL; storage holds the texts and must live as long.
 * Without mining: see asy_evm_anvil_ready. */
struct asy_evm_anvil_argv {
    const char *argv[32];
    char text[6][24];
};
void asy_evm_anvil_argv(struct asy_evm_anvil_argv *ret_argv,
                        const struct asy_evm_anvil_options *options);
/* asy_evm_anvil_start starts anvil in a process group of its own (a Ctrl-C at the terminal is for
 * the caller to handle) and waits until it answers. When the calling thread ends without stopping
 * it, anvil gets SIGTERM and saves its state. A state file is used by one anvil at a time: it is
 * locked through `<state>.lock` until that anvil is gone. Before the start a whole state file is
 * copied to `<state>.bak`; one that a crash cut off is replaced by that copy.
 * out:    ret_restored: the copy was used, and what came after it is lost; may be NULL
 * errors: NOT_FOUND no such program; CONFLICT the state file is still in use at deadline_ns;
 *         TIMEOUT; IO; CHAIN it ended at once */
ASY_MUST_USE enum asy_err asy_evm_anvil_start(struct asy_evm_anvil *ret_anvil, bool *ret_restored,
                                              const struct asy_evm_anvil_options *options,
                                              uint64_t deadline_ns, struct asy_why *reterr_why);
/* asy_evm_anvil_ready: what must be done once an anvil that was started with that argv answers. A
 * restarted anvil has forgotten how far its clock was moved ahead, and would mine blocks older than
 * their parents: so it starts without mining, its clock is set, and mining begins. */
ASY_MUST_USE enum asy_err asy_evm_anvil_ready(struct asy_evm *evm,
                                              const struct asy_evm_anvil_options *options,
                                              struct asy_why *reterr_why);
/* True while it runs. Reaps it otherwise: then pid is 0. */
bool asy_evm_anvil_alive(struct asy_evm_anvil *anvil);
/* SIGTERM, and SIGKILL at deadline_ns.
 * errors: TIMEOUT it had to be killed: the state is as of the last interval */
enum asy_err asy_evm_anvil_stop(struct asy_evm_anvil *anvil, uint64_t deadline_ns);
/* Waits until the endpoint answers eth_chainId. errors: TIMEOUT */
ASY_MUST_USE enum asy_err asy_evm_wait_up(struct asy_evm *evm, uint64_t deadline_ns,
                                          struct asy_why *reterr_why);

/* Requests that only anvil answers. */
ASY_MUST_USE enum asy_err asy_evm_anvil_set_balance(struct asy_evm *evm,
                                                    const struct asy_addr *addr, asy_u128 wei,
                                                    struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_anvil_set_next_time(struct asy_evm *evm, uint64_t time_s,
                                                      struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_anvil_mine(struct asy_evm *evm, uint64_t count,
                                             struct asy_why *reterr_why);
/* How blocks come about from now on. automine: one per transaction, at once; makes deploying fast,
 * but strands transactions of concurrent senders. interval: one each block_time_s seconds, 0 for
 * none. */
ASY_MUST_USE enum asy_err asy_evm_anvil_automine(struct asy_evm *evm, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_evm_anvil_interval(struct asy_evm *evm, uint32_t block_time_s,
                                                 struct asy_why *reterr_why);
/* Replaces the last `depth` blocks by empty ones; their transactions are gone, not waiting. */
ASY_MUST_USE enum asy_err asy_evm_anvil_reorg(struct asy_evm *evm, uint64_t depth,
                                              struct asy_why *reterr_why);

#endif
