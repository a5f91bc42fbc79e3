/* account.c: nonces, signing, sending, waiting. */
#include "evm/evm_priv.h"

#define MS 1000000u /* ns */
#define MAX_RAW                                                                                    \
    (2u * 1024u * 1024u) /* bytes of a transaction; EIP-7825 leaves room for about 420,000 */
#define POLL_FIRST_MS 20u
#define POLL_MAX_MS   1000u
#define MAX_BUMPS     8u /* replacements of one stuck transaction */
#define MAX_TAKEN     4u /* times that a nonce may be gone when we come to use it */

static uint64_t now_ns(void) { return asy_env_mono_ns(asy_env_system()); }

void asy_evm_account_init(struct asy_evm_account *acc, const struct asy_addr *addr,
                          uint64_t chain_id, asy_evm_sign_fn sign, void *sign_arg) {
    *acc = (struct asy_evm_account){
        .addr = *addr, .chain_id = chain_id, .sign = sign, .sign_arg = sign_arg};
}

enum asy_err asy_evm_account_sync(struct asy_evm_account *acc, struct asy_evm *evm,
                                  struct asy_why *reterr_why) {
    ASY_TRY(asy_evm_get_nonce(evm, &acc->next_nonce, &acc->addr, true, reterr_why));
    acc->synced = true;
    return ASY_OK;
}

void asy_evm_signed_done(struct asy_evm_signed *tx) { asy_buf_done(&tx->raw); }

/* ---- signing --------------------------------------------------------------------------------- */

static enum asy_err sign_tx(struct asy_evm_account *acc, struct asy_evm_signed *ret_signed,
                            const struct asy_evm_tx *tx, struct asy_why *reterr_why) {
    struct asy_sig sig;
    struct asy_evm_signed s = {.nonce = tx->nonce};
    asy_buf_init(&s.raw, MAX_RAW);
    enum asy_err err = asy_evm_tx_encode_unsigned(&s.raw, tx);
    if (err == ASY_OK) {
        err = acc->sign(acc->sign_arg, &sig, asy_buf_bytes(&s.raw));
        asy_buf_clear(&s.raw);
    }
    if (err == ASY_OK) {
        err = asy_evm_tx_encode(&s.raw, tx, &sig);
    }
    if (err != ASY_OK) {
        asy_buf_done(&s.raw);
        return asy_why_set(reterr_why, err, NULL, "the transaction could not be signed: %s",
                           asy_err_text(err));
    }
    asy_keccak256(&s.hash, asy_buf_bytes(&s.raw));
    *ret_signed = s;
    return ASY_OK;
}

/* Fits suggested fees under the account's ceiling: a lower ceiling than twice the base fee is fine,
 * one under the base fee is not. */
static enum asy_err cap_fees(const struct asy_evm_account *acc, struct asy_evm_fees *fees,
                             struct asy_why *reterr_why) {
    if (acc->max_fee_wei == 0 || fees->max_wei <= acc->max_fee_wei) {
        return ASY_OK;
    }
    asy_u128 base = (fees->max_wei - fees->tip_wei) / 2;
    if (acc->max_fee_wei < base) {
        return asy_why_set(reterr_why, ASY_ERR_CREDIT, NULL,
                           "gas costs more than the account's ceiling allows");
    }
    fees->max_wei = acc->max_fee_wei;
    if (fees->tip_wei > fees->max_wei) {
        fees->tip_wei = fees->max_wei;
    }
    return ASY_OK;
}

static enum asy_err choose_gas(const struct asy_evm_account *acc, struct asy_evm *evm,
                               uint64_t *ret_gas, const struct asy_evm_intent *intent,
                               struct asy_why *reterr_why) {
    uint64_t gas = intent->gas;
    if (gas == 0) {
        ASY_TRY(asy_evm_estimate_gas(evm, &gas, &acc->addr, intent->to, intent->value_wei,
                                     intent->data, reterr_why));
        if (gas <= ASY_MAX_TX_GAS) {
            gas = gas + gas / 5 < ASY_MAX_TX_GAS ? gas + gas / 5 : ASY_MAX_TX_GAS;
        }
    }
    if (gas > ASY_MAX_TX_GAS) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "gas",
                           "the transaction needs %llu gas; at most %u fit into one",
                           (unsigned long long)gas, ASY_MAX_TX_GAS);
    }
    *ret_gas = gas;
    return ASY_OK;
}

enum asy_err asy_evm_sign(struct asy_evm_account *acc, struct asy_evm *evm,
                          struct asy_evm_signed *ret_signed, const struct asy_evm_intent *intent,
                          struct asy_why *reterr_why) {
    struct asy_evm_tx tx = {.chain_id = acc->chain_id,
                            .create = intent->to == NULL,
                            .value_wei = intent->value_wei,
                            .data = intent->data};
    if (intent->to != NULL) {
        tx.to = *intent->to;
    }
    ASY_TRY(choose_gas(acc, evm, &tx.gas, intent, reterr_why));
    ASY_TRY(asy_evm_suggest_fees(evm, &tx.fees, reterr_why));
    ASY_TRY(cap_fees(acc, &tx.fees, reterr_why));
    if (!acc->synced) {
        ASY_TRY(asy_evm_account_sync(acc, evm, reterr_why));
    }
    tx.nonce = acc->next_nonce;
    ASY_TRY(sign_tx(acc, ret_signed, &tx, reterr_why));
    acc->next_nonce++;
    return ASY_OK;
}

void asy_evm_unsign(struct asy_evm_account *acc, struct asy_evm_signed *tx) {
    ASY_ASSERT(acc->synced && acc->next_nonce == tx->nonce + 1);
    acc->next_nonce--;
    asy_evm_signed_done(tx);
}

/* 12.5 % more, rounded up, and one wei where that is nothing. */
static bool raise(asy_u128 *ret, asy_u128 wei) { return asy_add_u128(ret, wei, wei / 8 + 1); }

enum asy_err asy_evm_bump(struct asy_evm_account *acc, struct asy_evm *evm,
                          struct asy_evm_signed *ret_signed, struct asy_bytes raw,
                          struct asy_why *reterr_why) {
    struct asy_evm_tx tx;
    struct asy_sig sig;
    struct asy_evm_fees now, more;
    enum asy_err err = asy_evm_tx_decode(&tx, &sig, raw);
    if (err != ASY_OK) {
        return asy_why_set(reterr_why, err, NULL, "the stored bytes are no transaction");
    }
    ASY_TRY(asy_evm_suggest_fees(evm, &now, reterr_why));
    if (!raise(&more.tip_wei, tx.fees.tip_wei) || !raise(&more.max_wei, tx.fees.max_wei)) {
        return ASY_ERR_OVERFLOW;
    }
    tx.fees.tip_wei = now.tip_wei > more.tip_wei ? now.tip_wei : more.tip_wei;
    tx.fees.max_wei = now.max_wei > more.max_wei ? now.max_wei : more.max_wei;
    if (tx.fees.max_wei < tx.fees.tip_wei) {
        tx.fees.max_wei = tx.fees.tip_wei;
    }
    if (acc->max_fee_wei != 0 && tx.fees.max_wei > acc->max_fee_wei) {
        if (more.max_wei > acc->max_fee_wei || tx.fees.tip_wei > acc->max_fee_wei) {
            return asy_why_set(reterr_why, ASY_ERR_CREDIT, NULL,
                               "a replacement costs more than the account's ceiling allows");
        }
        tx.fees.max_wei = acc->max_fee_wei;
    }
    return sign_tx(acc, ret_signed, &tx, reterr_why);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Why the endpoint refused bytes that it does not have: decided by the chain's state where
 * possible, since servers agree on no codes. */
static enum asy_err explain_refusal(struct asy_evm *evm, const struct asy_evm_failure *failure,
                                    const struct asy_evm_tx *tx, const struct asy_addr *sender,
                                    struct asy_why *why) {
    uint64_t mined;
    ASY_TRY(asy_evm_get_nonce(evm, &mined, sender, false, why));
    if (mined > tx->nonce) {
        return asy_why_set(why, ASY_ERR_CONFLICT, NULL,
                           "nonce %llu is used up by another transaction",
                           (unsigned long long)tx->nonce);
    }
    if (strstr(failure->message, "underpriced") != NULL) {
        return asy_why_set(why, ASY_ERR_CONFLICT, NULL,
                           "another transaction waits with nonce %llu: %s",
                           (unsigned long long)tx->nonce, failure->message);
    }
    asy_u128 balance, need;
    ASY_TRY(asy_evm_get_balance(evm, &balance, sender, why));
    if (!asy_mul_u128(&need, tx->fees.max_wei, tx->gas) ||
        !asy_add_u128(&need, need, tx->value_wei) || balance < need) {
        return asy_why_set(why, ASY_ERR_CREDIT, NULL,
                           "the sender's balance does not cover gas and value");
    }
    return asy_why_set(why, ASY_ERR_CHAIN, NULL, "the endpoint refused the transaction: %s",
                       failure->message);
}

static enum asy_err sender_of(struct asy_addr *ret_sender, struct asy_evm_tx *ret_tx,
                              struct asy_bytes raw) {
    struct asy_sig sig;
    struct asy_hash digest;
    ASY_TRY(asy_evm_tx_decode(ret_tx, &sig, raw));
    asy_evm_tx_digest(&digest, ret_tx);
    return asy_secp_recover(ret_sender, &digest, &sig);
}

static enum asy_err send_raw(struct asy_evm *evm, struct asy_bytes raw,
                             struct asy_why *reterr_why) {
    struct asy_buf params;
    struct asy_jw w;
    asy_buf_init(&params, 2 * MAX_RAW + 64);
    asy_jw_init(&w, &params);
    asy_jw_array(&w);
    asy_jw_hex(&w, raw);
    asy_jw_end(&w);
    enum asy_err err = asy_jw_finish(&w);
    if (err == ASY_OK) {
        err = evm_request_only(evm, "eth_sendRawTransaction", asy_buf_bytes(&params), reterr_why);
    }
    asy_buf_done(&params);
    return err;
}

enum asy_err asy_evm_send_stored(struct asy_evm *evm, struct asy_hash *ret_hash,
                                 struct asy_bytes raw, struct asy_why *reterr_why) {
    struct asy_evm_tx tx;
    struct asy_addr sender;
    struct asy_hash hash;
    if (sender_of(&sender, &tx, raw) != ASY_OK) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, NULL,
                           "the stored bytes are no signed transaction");
    }
    asy_keccak256(&hash, raw);
    enum asy_err err = send_raw(evm, raw, reterr_why);
    if (err == ASY_ERR_CHAIN || err == ASY_ERR_REVERTED) {
        /* Refused, or the answer was lost: what counts is whether the chain has it. */
        struct asy_evm_failure first = *asy_evm_failure(evm);
        bool known;
        ASY_TRY(asy_evm_tx_known(evm, &known, &hash, reterr_why));
        if (!known) {
            return explain_refusal(evm, &first, &tx, &sender, reterr_why);
        }
    } else if (err != ASY_OK) {
        return err;
    }
    *ret_hash = hash;
    return ASY_OK;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static uint32_t next_poll(uint32_t ms) {
    return ms + ms / 2 < POLL_MAX_MS ? ms + ms / 2 : POLL_MAX_MS;
}

/* Looks once. AGAIN: not deep enough yet, or not mined. */
static enum asy_err look(struct asy_evm *evm, struct asy_evm_receipt *ret_receipt,
                         struct asy_arena *arena, const struct asy_hash *tx_hash,
                         uint32_t confirmations, struct asy_why *reterr_why) {
    struct asy_evm_receipt r;
    uint64_t head;
    if (confirmations >
        1) { /* the head first: a receipt that is still there afterwards is at least that deep */
        ASY_TRY(asy_evm_get_block_number(evm, &head, reterr_why));
    }
    enum asy_err err = asy_evm_get_receipt(evm, &r, NULL, tx_hash, reterr_why);
    if (err == ASY_ERR_NOT_FOUND) {
        return ASY_ERR_AGAIN;
    }
    ASY_TRY(err);
    if (confirmations > 1 && (head < r.block_number || head - r.block_number + 1 < confirmations)) {
        return ASY_ERR_AGAIN;
    }
    if (arena != NULL) {
        struct asy_hash block = r.block_hash;
        err = asy_evm_get_receipt(evm, &r, arena, tx_hash, reterr_why);
        if (err == ASY_ERR_NOT_FOUND || (err == ASY_OK && !asy_hash_eq(&block, &r.block_hash))) {
            return ASY_ERR_AGAIN; /* moved by a re-organisation in between */
        }
        ASY_TRY(err);
    }
    *ret_receipt = r;
    return ASY_OK;
}

/* Waits for the first of several versions of one transaction. AGAIN at until_ns. */
static enum asy_err wait_any(struct asy_evm *evm, struct asy_evm_receipt *ret_receipt,
                             struct asy_arena *arena, const struct asy_hash *hashes, size_t count,
                             uint32_t confirmations, uint64_t until_ns,
                             struct asy_why *reterr_why) {
    for (uint32_t poll_ms = POLL_FIRST_MS;; poll_ms = next_poll(poll_ms)) {
        for (size_t i = count; i-- > 0;) {
            enum asy_err err = look(evm, ret_receipt, arena, &hashes[i], confirmations, reterr_why);
            if (err != ASY_ERR_AGAIN) {
                return err;
            }
        }
        uint64_t now = now_ns();
        if (now >= until_ns) {
            return ASY_ERR_AGAIN;
        }
        uint64_t left_ms = (until_ns - now) / MS + 1;
        if (asy_evm_pause(evm, left_ms < poll_ms ? (uint32_t)left_ms : poll_ms) != ASY_OK) {
            return asy_why_set(reterr_why, ASY_ERR_CANCELLED, NULL,
                               "the chain client is shutting down");
        }
    }
}

static enum asy_err timed_out(struct asy_why *reterr_why) {
    return asy_why_set(reterr_why, ASY_ERR_TIMEOUT, NULL,
                       "the transaction was not confirmed in time");
}

enum asy_err asy_evm_wait_receipt(struct asy_evm *evm, struct asy_evm_receipt *ret_receipt,
                                  struct asy_arena *arena, const struct asy_hash *tx_hash,
                                  uint32_t confirmations, uint64_t deadline_ns,
                                  struct asy_why *reterr_why) {
    enum asy_err err =
        wait_any(evm, ret_receipt, arena, tx_hash, 1, confirmations, deadline_ns, reterr_why);
    return err == ASY_ERR_AGAIN ? timed_out(reterr_why) : err;
}

/* ---- all in one ------------------------------------------------------------------------------ */

struct submission {
    struct asy_evm_account *acc;
    struct asy_evm *evm;
    const struct asy_evm_submit_options *options;
    struct asy_evm_signed last; /* the newest version; raw is empty before the first */
    struct asy_hash hashes[MAX_BUMPS + 1];
    size_t count;
};

static enum asy_err keep_and_send(struct submission *s, struct asy_evm_signed *tx,
                                  struct asy_why *reterr_why) {
    if (s->options->store != NULL) {
        enum asy_err err = s->options->store(s->options->store_arg, tx);
        if (err != ASY_OK) {
            return asy_why_set(reterr_why, err, NULL, "the transaction could not be stored: %s",
                               asy_err_text(err));
        }
    }
    struct asy_hash hash;
    ASY_TRY(asy_evm_send_stored(s->evm, &hash, asy_buf_bytes(&tx->raw), reterr_why));
    return ASY_OK;
}

/* The first version. A nonce that somebody else used is looked up anew. */
static enum asy_err send_first(struct submission *s, const struct asy_evm_intent *intent,
                               struct asy_why *reterr_why) {
    for (uint32_t tries = 0;; tries++) {
        struct asy_evm_signed tx;
        ASY_TRY(asy_evm_sign(s->acc, s->evm, &tx, intent, reterr_why));
        enum asy_err err = keep_and_send(s, &tx, reterr_why);
        if (err == ASY_OK) {
            s->last = tx;
            s->hashes[s->count++] = tx.hash;
            return ASY_OK;
        }
        asy_evm_signed_done(&tx);
        s->acc->synced = false; /* whether the nonce is free now, only the chain knows */
        if (err != ASY_ERR_CONFLICT || tries + 1 == MAX_TAKEN) {
            return err;
        }
    }
}

/* Not mined for too long: it may be gone (re-organisation, full pool) or too cheap. */
static enum asy_err push(struct submission *s, struct asy_why *reterr_why) {
    struct asy_hash hash;
    struct asy_evm_signed more;
    enum asy_err err = asy_evm_send_stored(s->evm, &hash, asy_buf_bytes(&s->last.raw), reterr_why);
    if (err == ASY_ERR_CONFLICT) {
        return ASY_OK; /* an earlier version was mined: the next look finds it */
    }
    ASY_TRY(err);
    if (s->count == MAX_BUMPS + 1) {
        return ASY_OK;
    }
    err = asy_evm_bump(s->acc, s->evm, &more, asy_buf_bytes(&s->last.raw), reterr_why);
    if (err == ASY_ERR_CREDIT) {
        return ASY_OK; /* at the ceiling: wait on */
    }
    ASY_TRY(err);
    err = keep_and_send(s, &more, reterr_why);
    if (err != ASY_OK) {
        asy_evm_signed_done(&more);
        return err == ASY_ERR_CONFLICT || err == ASY_ERR_CREDIT ? ASY_OK : err;
    }
    asy_evm_signed_done(&s->last);
    s->last = more;
    s->hashes[s->count++] = more.hash;
    return ASY_OK;
}

static enum asy_err wait_mined(struct submission *s, struct asy_evm_receipt *ret_receipt,
                               struct asy_arena *arena, struct asy_why *reterr_why) {
    uint64_t deadline = s->options->deadline_ns;
    for (;;) {
        uint64_t now = now_ns(), until = deadline;
        if (s->options->stuck_ms != 0 && now < deadline &&
            (deadline - now) / MS > s->options->stuck_ms) {
            until = now + (uint64_t)s->options->stuck_ms * MS;
        }
        enum asy_err err = wait_any(s->evm, ret_receipt, arena, s->hashes, s->count,
                                    s->options->confirmations, until, reterr_why);
        if (err != ASY_ERR_AGAIN) {
            return err;
        }
        if (now_ns() >= deadline) {
            return timed_out(reterr_why);
        }
        struct asy_evm_receipt mined;
        bool waits_only = false; /* mined, but not deep enough yet */
        for (size_t i = 0; i < s->count && !waits_only; i++) {
            err = asy_evm_get_receipt(s->evm, &mined, NULL, &s->hashes[i], reterr_why);
            waits_only = err == ASY_OK;
            if (err != ASY_OK && err != ASY_ERR_NOT_FOUND) {
                return err;
            }
        }
        if (!waits_only) {
            ASY_TRY(push(s, reterr_why));
        }
    }
}

enum asy_err asy_evm_submit(struct asy_evm_account *acc, struct asy_evm *evm,
                            struct asy_evm_receipt *ret_receipt, struct asy_arena *arena,
                            const struct asy_evm_intent *intent,
                            const struct asy_evm_submit_options *options,
                            struct asy_why *reterr_why) {
    ASY_ASSERT(options->confirmations >= 1 && options->confirmations <= 1000);
    struct submission s = {.acc = acc, .evm = evm, .options = options};
    struct asy_evm_receipt receipt;
    enum asy_err err = send_first(&s, intent, reterr_why);
    if (err == ASY_OK) {
        err = wait_mined(&s, &receipt, arena, reterr_why);
    }
    if (err == ASY_OK) {
        *ret_receipt = receipt;
        if (!receipt.ok) {
            struct asy_evm_tx tx = {
                .create = intent->to == NULL, .value_wei = intent->value_wei, .data = intent->data};
            if (intent->to != NULL) {
                tx.to = *intent->to;
            }
            err = evm_revert_reason(evm, &acc->addr, &tx, receipt.block_number, reterr_why);
        }
    }
    asy_evm_signed_done(&s.last);
    return err;
}

enum asy_err asy_evm_call_and_wait(struct asy_evm_account *acc, struct asy_evm *evm,
                                   struct asy_evm_receipt *ret_receipt, const struct asy_addr *to,
                                   struct asy_bytes data, uint32_t wait_s,
                                   struct asy_why *reterr_why) {
    const struct asy_evm_intent intent = {.to = to, .data = data};
    const struct asy_evm_submit_options options = {
        .confirmations = 1,
        .stuck_ms = 30000,
        .deadline_ns = asy_env_mono_ns(asy_env_system()) + wait_s * 1000000000ull};
    struct asy_evm_receipt receipt;
    return asy_evm_submit(acc, evm, ret_receipt != NULL ? ret_receipt : &receipt, NULL, &intent,
                          &options, reterr_why);
}
