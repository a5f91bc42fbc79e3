/* contracts.c: calls and views of Assay's contracts. The interfaces in contracts/src/interfaces are
 * the manual. */
#include "evm/evm_priv.h"
#include "money/money.h"

#define U96_MAX ASY_USD_CHAIN_MAX

/* ---- calldata ---- */

/* The parts of a call whose parameters are plain words, in order. */
struct arg {
    enum { A_ADDR, A_U128, A_U96, A_HASH, A_BOOL } kind;
    const void *p;
    asy_u128 v;
};
#define ADDR(x) ((struct arg){.kind = A_ADDR, .p = (x)})
#define HASH(x) ((struct arg){.kind = A_HASH, .p = (x)})
#define U128(x) ((struct arg){.kind = A_U128, .v = (x)})
#define U96(x)  ((struct arg){.kind = A_U96, .v = (x)})
#define BOOL(x) ((struct arg){.kind = A_BOOL, .v = (x)})

static enum asy_err put_arg(struct asy_abi *w, const struct arg *a) {
    switch (a->kind) {
    case A_ADDR:
        asy_abi_addr(w, a->p);
        break;
    case A_HASH:
        asy_abi_hash(w, a->p);
        break;
    case A_BOOL:
        asy_abi_bool(w, a->v != 0);
        break;
    case A_U128:
        asy_abi_u128(w, a->v);
        break;
    case A_U96:
        asy_abi_u128(w, a->v <= U96_MAX ? a->v : 0);
        return a->v <= U96_MAX ? ASY_OK : ASY_ERR_RANGE;
    }
    return ASY_OK;
}

static enum asy_err call(struct asy_buf *buf, const char *signature, size_t count,
                         const struct arg *args) {
    struct asy_abi w;
    enum asy_err range = ASY_OK;
    asy_abi_call(&w, buf, signature, count);
    for (size_t i = 0; i < count; i++) {
        enum asy_err err = put_arg(&w, &args[i]);
        range = err != ASY_OK ? err : range;
    }
    enum asy_err err = asy_abi_finish(&w);
    return range != ASY_OK ? range : err;
}
#define CALL(buf, signature, ...)                                                                  \
    call(buf, signature, ASY_COUNT(((struct arg[]){__VA_ARGS__})), (struct arg[]){__VA_ARGS__})

enum asy_err asy_evm_enc_mint(struct asy_buf *buf, const struct asy_addr *to, asy_u128 amount) {
    return CALL(buf, "mint(address,uint256)", ADDR(to), U128(amount));
}
enum asy_err asy_evm_enc_approve(struct asy_buf *buf, const struct asy_addr *spender,
                                 asy_u128 amount) {
    return CALL(buf, "approve(address,uint256)", ADDR(spender), U128(amount));
}
enum asy_err asy_evm_enc_transfer(struct asy_buf *buf, const struct asy_addr *to, asy_u128 amount) {
    return CALL(buf, "transfer(address,uint256)", ADDR(to), U128(amount));
}

enum asy_err asy_evm_enc_stake_register(struct asy_buf *buf, enum asy_evm_role role,
                                        asy_u128 amount, struct asy_bytes endpoint,
                                        const struct asy_hash *x25519) {
    struct asy_abi w;
    asy_abi_call(&w, buf, "register(uint8,uint128,string,bytes32)", 4);
    asy_abi_u64(&w, role);
    asy_abi_u128(&w, amount);
    asy_abi_bytes(&w, endpoint);
    asy_abi_hash(&w, x25519);
    return asy_abi_finish(&w);
}
enum asy_err asy_evm_enc_stake_update(struct asy_buf *buf, enum asy_evm_role role,
                                      struct asy_bytes endpoint, const struct asy_hash *x25519) {
    struct asy_abi w;
    asy_abi_call(&w, buf, "update(uint8,string,bytes32)", 3);
    asy_abi_u64(&w, role);
    asy_abi_bytes(&w, endpoint);
    asy_abi_hash(&w, x25519);
    return asy_abi_finish(&w);
}
enum asy_err asy_evm_enc_stake_top_up(struct asy_buf *buf, enum asy_evm_role role,
                                      const struct asy_addr *account, asy_u128 amount) {
    return CALL(buf, "topUp(uint8,address,uint128)", U128(role), ADDR(account), U128(amount));
}
enum asy_err asy_evm_enc_stake_announce_unbond(struct asy_buf *buf, enum asy_evm_role role,
                                               asy_u128 amount) {
    return CALL(buf, "announceUnbond(uint8,uint128)", U128(role), U128(amount));
}
enum asy_err asy_evm_enc_stake_withdraw(struct asy_buf *buf, enum asy_evm_role role) {
    return CALL(buf, "withdraw(uint8)", U128(role));
}

enum asy_err asy_evm_enc_model_register(struct asy_buf *buf, const struct asy_hash *digest,
                                        struct asy_bytes name, struct asy_bytes uri,
                                        const struct asy_hash *weights_root) {
    struct asy_abi w;
    asy_abi_call(&w, buf, "register(bytes32,string,string,bytes32)", 4);
    asy_abi_hash(&w, digest);
    asy_abi_bytes(&w, name);
    asy_abi_bytes(&w, uri);
    asy_abi_hash(&w, weights_root);
    return asy_abi_finish(&w);
}
enum asy_err asy_evm_enc_model_set_official(struct asy_buf *buf, const struct asy_hash *digest,
                                            bool official, const struct asy_hash *weights_root) {
    return CALL(buf, "setOfficial(bytes32,bool,bytes32)", HASH(digest), BOOL(official),
                HASH(weights_root));
}

enum asy_err asy_evm_enc_deposit(struct asy_buf *buf, const struct asy_addr *to, uint64_t base) {
    return CALL(buf, "deposit(address,uint64)", ADDR(to), U128(base));
}
enum asy_err asy_evm_enc_withdraw(struct asy_buf *buf, uint64_t base) {
    return CALL(buf, "withdraw(uint64)", U128(base));
}
enum asy_err asy_evm_enc_give(struct asy_buf *buf, const struct asy_addr *to, asy_u128 pico) {
    return CALL(buf, "give(address,uint96)", ADDR(to), U96(pico));
}
enum asy_err asy_evm_enc_allow(struct asy_buf *buf, const struct asy_addr *spender, asy_u128 pico) {
    return CALL(buf, "allow(address,uint96)", ADDR(spender), U96(pico));
}
enum asy_err asy_evm_enc_add_bond(struct asy_buf *buf, const struct asy_addr *gateway,
                                  asy_u128 pico) {
    return CALL(buf, "addBond(address,uint96)", ADDR(gateway), U96(pico));
}
enum asy_err asy_evm_enc_add_pool(struct asy_buf *buf, asy_u128 pico) {
    return CALL(buf, "addPool(uint96)", U96(pico));
}
enum asy_err asy_evm_enc_announce_exit(struct asy_buf *buf) {
    return call(buf, "announceExit()", 0, NULL);
}
enum asy_err asy_evm_enc_exit(struct asy_buf *buf) { return call(buf, "exit()", 0, NULL); }
enum asy_err asy_evm_enc_collect_fees(struct asy_buf *buf, const struct asy_addr *gateway) {
    return CALL(buf, "collectFees(address)", ADDR(gateway));
}
enum asy_err asy_evm_enc_announce_close(struct asy_buf *buf, const struct asy_addr *gateway) {
    return CALL(buf, "announceClose(address)", ADDR(gateway));
}
enum asy_err asy_evm_enc_close(struct asy_buf *buf, const struct asy_addr *gateway) {
    return CALL(buf, "close(address)", ADDR(gateway));
}
enum asy_err asy_evm_enc_open_link(struct asy_buf *buf, const struct asy_addr *gateway) {
    return CALL(buf, "openLink(address)", ADDR(gateway));
}
enum asy_err asy_evm_enc_update_share(struct asy_buf *buf, const struct asy_addr *gateway,
                                      const struct asy_addr *node) {
    return CALL(buf, "updateShare(address,address)", ADDR(gateway), ADDR(node));
}
enum asy_err asy_evm_enc_retire(struct asy_buf *buf, const struct asy_addr *gateway, uint64_t max) {
    return CALL(buf, "retire(address,uint64)", ADDR(gateway), U128(max));
}
enum asy_err asy_evm_enc_claim(struct asy_buf *buf, const struct asy_addr *gateway) {
    return CALL(buf, "claim(address)", ADDR(gateway));
}

#define CAP       "(address,address,uint128,uint128,uint128,uint128,bytes32,address,uint64,uint64)"
#define CAP_WORDS 10u

static void put_cap(struct asy_abi *w, const struct asy_evm_cap *cap) {
    asy_abi_addr(w, &cap->requester);
    asy_abi_addr(w, &cap->gateway);
    asy_abi_u128(w, cap->max_spend);
    asy_abi_u128(w, cap->max_locked);
    asy_abi_u128(w, cap->max_price_in);
    asy_abi_u128(w, cap->max_price_out);
    asy_abi_hash(w, &cap->models);
    asy_abi_addr(w, &cap->voucher_signer);
    asy_abi_u64(w, cap->nonce);
    asy_abi_u64(w, cap->deadline_s);
}

enum asy_err asy_evm_enc_open_lane(struct asy_buf *buf, const struct asy_evm_cap *cap,
                                   struct asy_bytes signature, asy_u128 pico) {
    struct asy_abi w;
    if (pico > U96_MAX) {
        return ASY_ERR_RANGE;
    }
    asy_abi_call(&w, buf, "openLane(" CAP ",bytes,uint96)", CAP_WORDS + 2);
    put_cap(&w, cap);
    asy_abi_bytes(&w, signature);
    asy_abi_u128(&w, pico);
    return asy_abi_finish(&w);
}

enum asy_err asy_evm_enc_pull(struct asy_buf *buf, const struct asy_evm_cap *cap, asy_u128 pico) {
    struct asy_abi w;
    if (pico > U96_MAX) {
        return ASY_ERR_RANGE;
    }
    asy_abi_call(&w, buf, "pull(" CAP ",uint96)", CAP_WORDS + 1);
    put_cap(&w, cap);
    asy_abi_u128(&w, pico);
    return asy_abi_finish(&w);
}

enum asy_err asy_evm_enc_revoke(struct asy_buf *buf, const struct asy_evm_cap *cap) {
    struct asy_abi w;
    asy_abi_call(&w, buf, "revoke(" CAP ")", CAP_WORDS);
    put_cap(&w, cap);
    return asy_abi_finish(&w);
}

enum asy_err asy_evm_enc_settle(struct asy_buf *buf, uint64_t number,
                                const struct asy_evm_debit *debits, size_t debit_count,
                                const struct asy_evm_credit *credits, size_t credit_count) {
    for (size_t i = 0; i < debit_count; i++) {
        const struct asy_evm_debit *d = &debits[i];
        if (d->lane == 0 || d->count == 0 || d->count > ASY_MAX_ENTRY_LEAVES ||
            d->spent > U96_MAX) {
            return ASY_ERR_RANGE;
        }
    }
    for (size_t i = 0; i < credit_count; i++) {
        if (credits[i].link == 0 || credits[i].cum > U96_MAX) {
            return ASY_ERR_RANGE;
        }
    }
    struct asy_abi w;
    asy_abi_call(&w, buf, "settle(uint64,uint256[2][],uint256[])", 3);
    asy_abi_u64(&w, number);
    asy_abi_array(&w, debit_count, 2);
    for (size_t i = 0; i < debit_count; i++) {
        uint8_t word[32] = {0}; /* lane << 128 | count << 96 | spent */
        asy_be32_put(word + 12, debits[i].lane);
        asy_be128_put(word + 16, (asy_u128)debits[i].count << 96 | debits[i].spent);
        asy_abi_word(&w, word);
        asy_abi_hash(&w, &debits[i].tree);
    }
    asy_abi_end(&w);
    asy_abi_array(&w, credit_count, 1);
    for (size_t i = 0; i < credit_count; i++) {
        asy_abi_u128(&w, (asy_u128)credits[i].link << 96 | credits[i].cum);
    }
    asy_abi_end(&w);
    return asy_abi_finish(&w);
}

enum asy_err asy_evm_enc_redeem(struct asy_buf *buf, const struct asy_evm_ack *ack,
                                struct asy_bytes signature) {
    struct asy_abi w;
    asy_abi_call(&w, buf, "redeem((address,address,uint64,uint128,uint64),bytes)", 6);
    asy_abi_addr(&w, &ack->gateway);
    asy_abi_addr(&w, &ack->node);
    asy_abi_u64(&w, ack->up_to);
    asy_abi_u128(&w, ack->cum);
    asy_abi_u64(&w, ack->pay_by_s);
    asy_abi_bytes(&w, signature);
    return asy_abi_finish(&w);
}

/* ---- views ---- */

/* Calls a view. The reader looks into buf, which the caller frees. */
static enum asy_err view(struct asy_evm *evm, struct asy_buf *buf, struct asy_abi_reader *ret_r,
                         const struct asy_addr *to, const char *signature, size_t count,
                         const struct arg *args, struct asy_why *reterr_why) {
    struct asy_buf calldata;
    asy_buf_init(buf, EVM_MAX_VIEW);
    asy_buf_init(&calldata, 1024);
    enum asy_err err = call(&calldata, signature, count, args);
    if (err == ASY_OK) {
        err = asy_evm_call(evm, buf, NULL, to, asy_buf_bytes(&calldata), reterr_why);
    }
    asy_buf_done(&calldata);
    if (err == ASY_OK) {
        asy_abi_read(ret_r, asy_buf_bytes(buf));
    }
    return err;
}
#define VIEW(signature, ...)                                                                       \
    view(evm, &buf, &r, contract, signature, ASY_COUNT(((struct arg[]){__VA_ARGS__})),             \
         (struct arg[]){__VA_ARGS__}, reterr_why)

/* Ends a view: err is that of the call or of decoding. */
static enum asy_err view_end(struct asy_buf *buf, enum asy_err err, bool decoding,
                             struct asy_why *reterr_why) {
    asy_buf_done(buf);
    if (err == ASY_OK || !decoding) {
        return err;
    }
    return asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL,
                       "the contract did not answer as declared: is its address right?");
}

static enum asy_err view_u128(struct asy_evm *evm, asy_u128 *ret, const struct asy_addr *contract,
                              const char *signature, size_t count, const struct arg *args,
                              struct asy_why *reterr_why) {
    struct asy_buf buf;
    struct asy_abi_reader r;
    enum asy_err err = view(evm, &buf, &r, contract, signature, count, args, reterr_why);
    bool called = err == ASY_OK;
    if (called) {
        err = asy_abi_read_u128(&r, ret);
    }
    return view_end(&buf, err, called, reterr_why);
}
#define VIEW_U128(ret, signature, ...)                                                             \
    view_u128(evm, ret, contract, signature, ASY_COUNT(((struct arg[]){__VA_ARGS__})),             \
              (struct arg[]){__VA_ARGS__}, reterr_why)

static enum asy_err read_u32(struct asy_abi_reader *r, uint32_t *ret) {
    uint64_t v;
    ASY_TRY(asy_abi_read_u64(r, &v));
    if (v > UINT32_MAX) {
        return ASY_ERR_RANGE;
    }
    *ret = (uint32_t)v;
    return ASY_OK;
}

static enum asy_err read_u16(struct asy_abi_reader *r, uint16_t *ret) {
    uint32_t v;
    ASY_TRY(read_u32(r, &v));
    if (v > UINT16_MAX) {
        return ASY_ERR_RANGE;
    }
    *ret = (uint16_t)v;
    return ASY_OK;
}

static enum asy_err view_u32(struct asy_evm *evm, uint32_t *ret, const struct asy_addr *contract,
                             const char *signature, const struct asy_addr *a,
                             const struct asy_addr *b, struct asy_why *reterr_why) {
    struct asy_buf buf;
    struct asy_abi_reader r;
    enum asy_err err = VIEW(signature, ADDR(a), ADDR(b));
    bool called = err == ASY_OK;
    if (called) {
        err = read_u32(&r, ret);
    }
    return view_end(&buf, err, called, reterr_why);
}

enum asy_err asy_evm_token_balance(struct asy_evm *evm, asy_u128 *ret_amount,
                                   const struct asy_addr *contract, const struct asy_addr *owner,
                                   struct asy_why *reterr_why) {
    return VIEW_U128(ret_amount, "balanceOf(address)", ADDR(owner));
}
enum asy_err asy_evm_token_allowance(struct asy_evm *evm, asy_u128 *ret_amount,
                                     const struct asy_addr *contract, const struct asy_addr *owner,
                                     const struct asy_addr *spender, struct asy_why *reterr_why) {
    return VIEW_U128(ret_amount, "allowance(address,address)", ADDR(owner), ADDR(spender));
}
enum asy_err asy_evm_vault_free(struct asy_evm *evm, asy_u128 *ret_pico,
                                const struct asy_addr *contract, const struct asy_addr *account,
                                struct asy_why *reterr_why) {
    return VIEW_U128(ret_pico, "free(address)", ADDR(account));
}
enum asy_err asy_evm_vault_min_nonce(struct asy_evm *evm, asy_u128 *ret_nonce,
                                     const struct asy_addr *contract,
                                     const struct asy_addr *requester,
                                     const struct asy_addr *gateway, struct asy_why *reterr_why) {
    return VIEW_U128(ret_nonce, "minNonce(address,address)", ADDR(requester), ADDR(gateway));
}
enum asy_err asy_evm_vault_claimable(struct asy_evm *evm, asy_u128 *ret_pico,
                                     const struct asy_addr *contract,
                                     const struct asy_addr *gateway, uint32_t link,
                                     struct asy_why *reterr_why) {
    return VIEW_U128(ret_pico, "claimable(address,uint32)", ADDR(gateway), U128(link));
}
enum asy_err asy_evm_vault_lane_of(struct asy_evm *evm, uint32_t *ret_lane,
                                   const struct asy_addr *vault, const struct asy_addr *gateway,
                                   const struct asy_addr *requester, struct asy_why *reterr_why) {
    return view_u32(evm, ret_lane, vault, "laneOf(address,address)", gateway, requester,
                    reterr_why);
}
enum asy_err asy_evm_vault_link_of(struct asy_evm *evm, uint32_t *ret_link,
                                   const struct asy_addr *vault, const struct asy_addr *gateway,
                                   const struct asy_addr *node, struct asy_why *reterr_why) {
    return view_u32(evm, ret_link, vault, "linkOf(address,address)", gateway, node, reterr_why);
}

static enum asy_err read_gateway(struct asy_abi_reader *r, struct asy_evm_gateway *g) {
    ASY_TRY(asy_abi_read_u128(r, &g->bond));
    ASY_TRY(asy_abi_read_u128(r, &g->unfinal));
    ASY_TRY(asy_abi_read_u64(r, &g->batches));
    ASY_TRY(asy_abi_read_u128(r, &g->pool));
    ASY_TRY(asy_abi_read_u128(r, &g->fees));
    ASY_TRY(asy_abi_read_u64(r, &g->oldest));
    ASY_TRY(asy_abi_read_u64(r, &g->exit_at_s));
    ASY_TRY(read_u32(r, &g->lanes));
    ASY_TRY(read_u32(r, &g->links));
    return asy_abi_read_bool(r, &g->jailed);
}

static enum asy_err read_lane(struct asy_abi_reader *r, struct asy_evm_lane *l) {
    ASY_TRY(asy_abi_read_u128(r, &l->locked));
    ASY_TRY(asy_abi_read_u128(r, &l->spent));
    ASY_TRY(asy_abi_read_u64(r, &l->seq));
    ASY_TRY(asy_abi_read_addr(r, &l->owner));
    ASY_TRY(asy_abi_read_u64(r, &l->close_at_s));
    return asy_abi_read_addr(r, &l->voucher_signer);
}

static enum asy_err read_cap_state(struct asy_abi_reader *r, struct asy_evm_cap_state *c) {
    ASY_TRY(read_u32(r, &c->lane));
    ASY_TRY(asy_abi_read_u64(r, &c->ends_at_s));
    ASY_TRY(asy_abi_read_u128(r, &c->pulled));
    return asy_abi_read_u64(r, &c->nonce);
}

static enum asy_err read_link(struct asy_abi_reader *r, struct asy_evm_link *l) {
    uint64_t held;
    ASY_TRY(asy_abi_read_u128(r, &l->cum));
    ASY_TRY(
        asy_abi_read_u64(r, &held)); /* cur and prev: what is in hold, by asy_evm_vault_claimable */
    ASY_TRY(asy_abi_read_u64(r, &held));
    ASY_TRY(read_u32(r, &l->epoch));
    ASY_TRY(read_u16(r, &l->share_bps));
    return asy_abi_read_addr(r, &l->node);
}

static enum asy_err read_batch(struct asy_abi_reader *r, struct asy_evm_batch *b) {
    ASY_TRY(asy_abi_read_u128(r, &b->total));
    ASY_TRY(asy_abi_read_u64(r, &b->at_s));
    ASY_TRY(read_u32(r, &b->entries));
    return asy_abi_read_hash(r, &b->root);
}

static enum asy_err read_stake(struct asy_abi_reader *r, struct asy_evm_stake *s) {
    struct asy_abi_reader in;
    ASY_TRY(asy_abi_read_tuple(r, &in)); /* it holds a string, so it stands behind an offset */
    ASY_TRY(asy_abi_read_u128(&in, &s->stake));
    ASY_TRY(asy_abi_read_u128(&in, &s->unbonding));
    ASY_TRY(asy_abi_read_u64(&in, &s->unbonds_at_s));
    ASY_TRY(asy_abi_read_bool(&in, &s->registered));
    return asy_abi_read_bool(&in, &s->banned);
}

/* A view that returns a struct: call, read into a fresh value, hand it over. */
#define STRUCT_VIEW(type, read, ret, signature, ...)                                               \
    do {                                                                                           \
        struct asy_buf buf;                                                                        \
        struct asy_abi_reader r;                                                                   \
        type value;                                                                                \
        enum asy_err err_ = VIEW(signature, __VA_ARGS__);                                          \
        bool called = err_ == ASY_OK;                                                              \
        if (called) {                                                                              \
            err_ = read(&r, &value);                                                               \
        }                                                                                          \
        if (err_ == ASY_OK) {                                                                      \
            *(ret) = value;                                                                        \
        }                                                                                          \
        return view_end(&buf, err_, called, reterr_why);                                           \
    } while (0)

enum asy_err asy_evm_vault_gateway(struct asy_evm *evm, struct asy_evm_gateway *ret_gateway,
                                   const struct asy_addr *contract, const struct asy_addr *gateway,
                                   struct asy_why *reterr_why) {
    STRUCT_VIEW(struct asy_evm_gateway, read_gateway, ret_gateway, "gatewayOf(address)",
                ADDR(gateway));
}
enum asy_err asy_evm_vault_lane(struct asy_evm *evm, struct asy_evm_lane *ret_lane,
                                const struct asy_addr *contract, const struct asy_addr *gateway,
                                uint32_t lane, struct asy_why *reterr_why) {
    STRUCT_VIEW(struct asy_evm_lane, read_lane, ret_lane, "laneAt(address,uint32)", ADDR(gateway),
                U128(lane));
}
enum asy_err asy_evm_vault_cap(struct asy_evm *evm, struct asy_evm_cap_state *ret_cap,
                               const struct asy_addr *contract, const struct asy_hash *cap_hash,
                               struct asy_why *reterr_why) {
    STRUCT_VIEW(struct asy_evm_cap_state, read_cap_state, ret_cap, "capOf(bytes32)",
                HASH(cap_hash));
}
enum asy_err asy_evm_vault_link(struct asy_evm *evm, struct asy_evm_link *ret_link,
                                const struct asy_addr *contract, const struct asy_addr *gateway,
                                uint32_t link, struct asy_why *reterr_why) {
    STRUCT_VIEW(struct asy_evm_link, read_link, ret_link, "linkAt(address,uint32)", ADDR(gateway),
                U128(link));
}
enum asy_err asy_evm_vault_batch(struct asy_evm *evm, struct asy_evm_batch *ret_batch,
                                 const struct asy_addr *contract, const struct asy_addr *gateway,
                                 uint64_t number, struct asy_why *reterr_why) {
    STRUCT_VIEW(struct asy_evm_batch, read_batch, ret_batch, "batchAt(address,uint64)",
                ADDR(gateway), U128(number));
}
enum asy_err asy_evm_vault_domain(struct asy_evm *evm, struct asy_hash *ret_separator,
                                  const struct asy_addr *contract, struct asy_why *reterr_why) {
    struct asy_buf buf;
    struct asy_abi_reader r;
    enum asy_err err = view(evm, &buf, &r, contract, "domainSeparator()", 0, NULL, reterr_why);
    bool called = err == ASY_OK;
    if (called) {
        err = asy_abi_read_hash(&r, ret_separator);
    }
    return view_end(&buf, err, called, reterr_why);
}
enum asy_err asy_evm_stake_position(struct asy_evm *evm, struct asy_evm_stake *ret_stake,
                                    const struct asy_addr *contract, enum asy_evm_role role,
                                    const struct asy_addr *account, struct asy_why *reterr_why) {
    STRUCT_VIEW(struct asy_evm_stake, read_stake, ret_stake, "position(uint8,address)", U128(role),
                ADDR(account));
}
enum asy_err asy_evm_stake_active(struct asy_evm *evm, bool *ret_active,
                                  const struct asy_addr *contract, enum asy_evm_role role,
                                  const struct asy_addr *account, struct asy_why *reterr_why) {
    STRUCT_VIEW(bool, asy_abi_read_bool, ret_active, "isActive(uint8,address)", U128(role),
                ADDR(account));
}

struct model {
    struct asy_addr publisher;
    bool official;
};
static enum asy_err read_model(struct asy_abi_reader *r, struct model *m) {
    struct asy_abi_reader in;
    uint64_t at;
    ASY_TRY(asy_abi_read_tuple(r, &in));
    ASY_TRY(asy_abi_read_addr(&in, &m->publisher));
    ASY_TRY(asy_abi_read_u64(&in, &at));
    return asy_abi_read_bool(&in, &m->official);
}
static enum asy_err get_model(struct asy_evm *evm, struct model *ret_model,
                              const struct asy_addr *contract, const struct asy_hash *digest,
                              struct asy_why *reterr_why) {
    STRUCT_VIEW(struct model, read_model, ret_model, "model(bytes32)", HASH(digest));
}
enum asy_err asy_evm_model_publisher(struct asy_evm *evm, struct asy_addr *ret_publisher,
                                     bool *ret_official, const struct asy_addr *registry,
                                     const struct asy_hash *digest, struct asy_why *reterr_why) {
    struct model m = {0};
    ASY_TRY(get_model(evm, &m, registry, digest, reterr_why));
    *ret_publisher = m.publisher;
    *ret_official = m.official;
    return ASY_OK;
}
