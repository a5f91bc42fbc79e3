/* market.c: keys, contracts and money for `assay up`. Each step looks first whether the chain has
 * it already. */
#include <stdio.h>
#include <unistd.h>

#include "chain/chain.h"
#include "job/job.h"
#include "money/money.h"
#include "up_priv.h"
#include "verify/verify.h"

enum { STAKE_UNITS_PER_PICO = 1000000 }; /* the stake token has 18 decimals */

/* Money of the development chain, in dollars. */
enum { DEPOSIT_USD = 500, CAP_USD = 500, CAP_DAYS = 30 };

/* Somebody who sends transactions from this process, while the market is made. */
struct actor {
    struct asy_signer *signer;
    struct asy_evm_account account;
    struct asy_addr addr;
};

static void actor_done(struct actor *a) { asy_signer_free(a->signer); }

/* ---- keys ------------------------------------------------------------------------------------ */

/* The password is 24 random bytes: no dictionary finds it, so the key files need no slow
 * derivation. */
static const struct asy_kdf_cost kdf = {8192, 1};

static enum asy_err make_key(struct up *u, const char *name, enum asy_key_kind kind,
                             struct asy_why *why) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s.key", up_path(u, "keys"), name);
    if (access(path, F_OK) == 0) {
        return ASY_OK;
    }
    struct asy_buf password;
    struct asy_secret secret;
    struct asy_keyfile file;
    asy_buf_init(&password, 4096);
    enum asy_err err = app_read_file(&password, up_path(u, "password"), true, why);
    if (err == ASY_OK) {
        if (kind == ASY_KEY_SECP256K1) {
            struct asy_seckey key;
            asy_seckey_generate(&key, asy_env_system());
            memcpy(secret.b, key.b, sizeof secret.b);
            asy_secret_wipe(&key, sizeof key);
        } else {
            asy_env_random(asy_env_system(), secret.b, sizeof secret.b);
        }
        err =
            asy_keyfile_seal(&file, kind, &secret, asy_buf_bytes(&password), kdf, asy_env_system());
        asy_secret_wipe(&secret, sizeof secret);
    }
    if (err == ASY_OK) {
        err = asy_keyfile_save(path, &file, false, why);
    }
    asy_buf_done(&password);
    return err;
}

static enum asy_err load_actor(struct up *u, struct actor *a, const char *path, uint64_t chain_id,
                               struct asy_why *why) {
    struct asy_secret secret;
    struct asy_seckey key;
    ASY_TRY(app_load_key(&secret, path, up_path(u, "password"), why));
    memcpy(key.b, secret.b, sizeof key.b);
    asy_secret_wipe(&secret, sizeof secret);
    enum asy_err err = asy_signer_new_local(&a->signer, ASY_SIGNER_REQUESTER, &key);
    asy_secret_wipe(&key, sizeof key);
    ASY_TRY(err);
    a->addr = asy_signer_addr(a->signer);
    asy_evm_account_init(&a->account, &a->addr, chain_id, asy_chain_sign, a->signer);
    return ASY_OK;
}

static enum asy_err key_addr(struct up *u, const char *name, struct asy_addr *ret_addr,
                             struct asy_why *why) {
    char path[4096];
    struct asy_keyfile file;
    (void)snprintf(path, sizeof path, "%s/%s.key", up_path(u, "keys"), name);
    ASY_TRY(asy_keyfile_load(&file, path, why));
    return asy_addr_parse(ret_addr, asy_bytes_cstr(file.id));
}

static enum asy_err make_keys(struct up *u, struct asy_why *why) {
    char name[64];
    ASY_TRY(make_key(u, "deployer", ASY_KEY_SECP256K1, why));
    ASY_TRY(make_key(u, "gateway", ASY_KEY_SECP256K1, why));
    ASY_TRY(make_key(u, "requester", ASY_KEY_SECP256K1, why));
    ASY_TRY(key_addr(u, "gateway", &u->gateway_addr, why));
    ASY_TRY(key_addr(u, "requester", &u->requester_addr, why));
    for (uint32_t i = 0; i < u->s.nodes; i++) {
        (void)snprintf(name, sizeof name, "node-%u", i + 1);
        ASY_TRY(make_key(u, name, ASY_KEY_SECP256K1, why));
        ASY_TRY(key_addr(u, name, &u->node_addrs[i], why));
        (void)snprintf(name, sizeof name, "node-%u-x25519", i + 1);
        ASY_TRY(make_key(u, name, ASY_KEY_X25519, why));
    }
    return ASY_OK;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Sends one call and waits for it. `encoded` is what the encoder returned; data is cleared for the
 * next. */
static enum asy_err call(struct asy_evm *evm, struct actor *from, const struct asy_addr *to,
                         struct asy_buf *data, enum asy_err encoded, struct asy_why *why) {
    ASY_TRY(encoded);
    enum asy_err err =
        asy_evm_call_and_wait(&from->account, evm, NULL, to, asy_buf_bytes(data), 90, why);
    asy_buf_clear(data);
    return err;
}

/* Everyone who sends transactions has gas: given on the embedded chain, asked for elsewhere. */
static enum asy_err check_gas(struct up *u, struct asy_evm *evm, const struct asy_addr *addr,
                              const char *who, struct asy_why *why) {
    enum { ENOUGH = 10 };
    const asy_u128 ether = (asy_u128)1000000000000000000u;
    asy_u128 wei;
    ASY_TRY(asy_evm_get_balance(evm, &wei, addr, why));
    if (u->embedded) {
        return wei >= ENOUGH * ether ? ASY_OK
                                     : asy_evm_anvil_set_balance(evm, addr, 1000 * ether, why);
    }
    char text[ASY_ADDR_STR];
    asy_addr_format(text, addr);
    return wei != 0
               ? ASY_OK
               : asy_why_set(why, ASY_ERR_CREDIT, NULL,
                             "%s (%s) has no coin for gas on this chain: send it some", who, text);
}

static enum asy_err all_gas(struct up *u, struct asy_evm *evm, const struct asy_addr *deployer,
                            struct asy_why *why) {
    ASY_TRY(check_gas(u, evm, deployer, "the deployer", why));
    ASY_TRY(check_gas(u, evm, &u->gateway_addr, "the gateway", why));
    ASY_TRY(check_gas(u, evm, &u->requester_addr, "the requester", why));
    for (uint32_t i = 0; i < u->s.nodes; i++) {
        ASY_TRY(check_gas(u, evm, &u->node_addrs[i], "a node", why));
    }
    return ASY_OK;
}

static struct asy_evm_market_params params_of(const struct up *u, const struct asy_addr *deployer) {
    const struct asy_profile *p = u->profile;
    return (struct asy_evm_market_params){
        .window_s = p->settlement.window_ms / 1000,
        .answer_s = p->settlement.answer_ms / 1000,
        .hold_s = p->settlement.hold_ms / 1000,
        .notice_s = p->settlement.notice_ms / 1000,
        .exit_s = p->settlement.exit_ms / 1000,
        .grace_s = p->settlement.grace_ms / 1000,
        .node_bps = (uint16_t)p->fees.node_bps,
        .gateway_bps = (uint16_t)p->fees.gateway_bps,
        .treasury_bps = (uint16_t)p->fees.treasury_bps,
        .staked_bps = (uint16_t)p->fees.staked_bps,
        .min_bond_pico = p->settlement.min_bond.pico,
        .leaf_fee_pico = p->settlement.leaf_fee.pico,
        .open_fee_pico = p->settlement.open_fee.pico,
        .share_stake = p->fees.share_stake.pico * STAKE_UNITS_PER_PICO,
        .min_stake = {p->stake.node_min.pico * STAKE_UNITS_PER_PICO,
                      p->stake.gateway_min.pico * STAKE_UNITS_PER_PICO,
                      p->stake.validator_min.pico * STAKE_UNITS_PER_PICO},
        .unbonding_s = p->stake.unbonding_ms / 1000,
        .slash_burn_bps = (uint16_t)p->slash.burn_bps,
        .slash_challenger_bps = (uint16_t)p->slash.challenger_bps,
        .slash_harmed_bps = (uint16_t)p->slash.harmed_bps,
        .slash_treasury_bps = (uint16_t)p->slash.treasury_bps,
        .treasury = *deployer,
        .guardian = *deployer,
        .admin = *deployer,
        .token_holder = *deployer,
    };
}

/* Puts `base` base units of the payment token into somebody's free account. */
static enum asy_err deposit(struct up *u, struct asy_evm *evm, struct actor *deployer,
                            struct actor *who, uint64_t usd, struct asy_why *why) {
    const uint64_t base = usd * 1000000u;
    struct asy_buf data;
    asy_buf_init(&data, 4096);
    asy_u128 have;
    enum asy_err err = asy_evm_token_balance(evm, &have, &u->market.usd, &who->addr, why);
    if (err == ASY_OK && have < base) {
        err = call(evm, deployer, &u->market.usd, &data,
                   asy_evm_enc_mint(&data, &who->addr, base - have), why);
    }
    if (err == ASY_OK) {
        err = call(evm, who, &u->market.usd, &data,
                   asy_evm_enc_approve(&data, &u->market.vault, base), why);
    }
    if (err == ASY_OK) {
        err = call(evm, who, &u->market.vault, &data, asy_evm_enc_deposit(&data, &who->addr, base),
                   why);
    }
    asy_buf_done(&data);
    return err;
}

static enum asy_err fund_requester(struct up *u, struct asy_evm *evm, struct actor *deployer,
                                   struct asy_why *why) {
    asy_u128 free_pico;
    uint32_t lane;
    ASY_TRY(asy_evm_vault_free(evm, &free_pico, &u->market.vault, &u->requester_addr, why));
    ASY_TRY(asy_evm_vault_lane_of(evm, &lane, &u->market.vault, &u->gateway_addr,
                                  &u->requester_addr, why));
    if (free_pico != 0 || lane != 0) {
        return ASY_OK;
    }
    struct actor who = {0};
    ASY_TRY(load_actor(u, &who, up_path(u, "keys/requester.key"), u->market.chain_id, why));
    enum asy_err err = deposit(u, evm, deployer, &who, DEPOSIT_USD, why);
    actor_done(&who);
    up_say(u, "requester", "deposited %d USD", DEPOSIT_USD);
    return err;
}

/* The gateway's bond covers everything that can still be challenged, and its stake makes it one. */
static enum asy_err fund_gateway(struct up *u, struct asy_evm *evm, struct actor *deployer,
                                 struct asy_why *why) {
    struct asy_evm_gateway view;
    bool active;
    struct asy_evm_market *m = &u->market;
    ASY_TRY(asy_evm_vault_gateway(evm, &view, &m->vault, &u->gateway_addr, why));
    ASY_TRY(asy_evm_stake_active(evm, &active, &m->stake_registry, ASY_EVM_ROLE_GATEWAY,
                                 &u->gateway_addr, why));
    if (view.bond != 0 && active) {
        return ASY_OK;
    }
    struct actor who = {0};
    struct asy_buf data;
    asy_buf_init(&data, 4096);
    ASY_TRY(load_actor(u, &who, up_path(u, "keys/gateway.key"), m->chain_id, why));
    enum asy_err err = ASY_OK;
    if (view.bond == 0) {
        asy_u128 bond = u->profile->settlement.min_bond.pico + 10000 * ASY_PICO_PER_USD;
        err = deposit(u, evm, deployer, &who, (uint64_t)(bond / ASY_PICO_PER_USD) + 1, why);
        if (err == ASY_OK) {
            err = call(evm, &who, &m->vault, &data, asy_evm_enc_add_bond(&data, &who.addr, bond),
                       why);
        }
    }
    if (err == ASY_OK && !active) {
        asy_u128 stake = u->profile->stake.gateway_min.pico * STAKE_UNITS_PER_PICO;
        static const struct asy_hash no_key;
        err = call(evm, deployer, &m->token, &data, asy_evm_enc_transfer(&data, &who.addr, stake),
                   why);
        if (err == ASY_OK) {
            err = call(evm, &who, &m->token, &data,
                       asy_evm_enc_approve(&data, &m->stake_registry, stake), why);
        }
        if (err == ASY_OK) {
            err = call(evm, &who, &m->stake_registry, &data,
                       asy_evm_enc_stake_register(&data, ASY_EVM_ROLE_GATEWAY, stake,
                                                  (struct asy_bytes){0}, &no_key),
                       why);
        }
    }
    actor_done(&who);
    asy_buf_done(&data);
    up_say(u, "gateway", "bond and stake are on chain");
    return err;
}

/* Nodes register by themselves; they need the stake in their pocket. */
static enum asy_err fund_nodes(struct up *u, struct asy_evm *evm, struct actor *deployer,
                               struct asy_why *why) {
    asy_u128 stake = u->profile->stake.node_min.pico * STAKE_UNITS_PER_PICO;
    struct asy_buf data;
    enum asy_err err = ASY_OK;
    asy_buf_init(&data, 4096);
    for (uint32_t i = 0; i < u->s.nodes && err == ASY_OK; i++) {
        struct asy_evm_stake position;
        asy_u128 have = 0;
        err = asy_evm_stake_position(evm, &position, &u->market.stake_registry, ASY_EVM_ROLE_NODE,
                                     &u->node_addrs[i], why);
        if (err == ASY_OK && !position.registered) {
            err = asy_evm_token_balance(evm, &have, &u->market.token, &u->node_addrs[i], why);
            if (err == ASY_OK && have < stake) {
                err = call(evm, deployer, &u->market.token, &data,
                           asy_evm_enc_transfer(&data, &u->node_addrs[i], stake - have), why);
            }
        }
    }
    asy_buf_done(&data);
    return err;
}

enum asy_err up_make_market(struct up *u, struct asy_why *why) {
    struct asy_evm *evm = NULL;
    struct actor deployer = {0};
    uint64_t chain_id = 0;
    ASY_TRY(make_keys(u, why));
    enum asy_err err = asy_evm_new(&evm, u->rpc_url, NULL, why);
    if (err == ASY_OK) {
        err = asy_evm_get_chain_id(evm, &chain_id, why);
    }
    if (err == ASY_OK) {
        const char *key =
            u->s.deployer_key != NULL ? u->s.deployer_key : up_path(u, "keys/deployer.key");
        err = load_actor(u, &deployer, key, chain_id, why);
    }
    if (err == ASY_OK) {
        err = all_gas(u, evm, &deployer.addr, why);
    }
    if (err == ASY_OK && u->embedded) { /* one sender: each transaction is mined at once */
        err = asy_evm_anvil_automine(evm, why);
    }
    if (err == ASY_OK) {
        struct asy_evm_market_params params = params_of(u, &deployer.addr);
        err = asy_evm_deploy_market(&deployer.account, evm, &u->market, &params,
                                    up_path(u, "market.json"),
                                    asy_env_mono_ns(asy_env_system()) + 300000000000ull, why);
    }
    if (err == ASY_OK) {
        char vault[ASY_ADDR_STR];
        asy_addr_format(vault, &u->market.vault);
        up_say(u, "contracts", "chain %llu, vault %s", (unsigned long long)chain_id, vault);
        err = fund_gateway(u, evm, &deployer, why);
    }
    if (err == ASY_OK) {
        err = fund_requester(u, evm, &deployer, why);
    }
    if (err == ASY_OK) {
        err = fund_nodes(u, evm, &deployer, why);
    }
    actor_done(&deployer);
    asy_evm_free(evm);
    return err;
}

/* From now on many send at once, for which anvil's mining on demand is not made: blocks come by the
 * clock. */
enum asy_err up_start_clock(struct up *u, struct asy_why *why) {
    struct asy_evm *evm;
    if (!u->embedded) {
        return ASY_OK;
    }
    ASY_TRY(asy_evm_new(&evm, u->rpc_url, NULL, why));
    enum asy_err err = asy_evm_anvil_interval(evm, 1, why);
    asy_evm_free(evm);
    return err;
}

/* ---- the cap --------------------------------------------------------------------------------- */

enum asy_err up_sign_cap(struct up *u, struct asy_buf *body, uint64_t nonce, struct asy_why *why) {
    struct actor who = {0};
    struct asy_domain domain;
    struct asy_sig sig;
    struct asy_cap cap = {
        .requester = u->requester_addr,
        .gateway = u->gateway_addr,
        .max_spend = CAP_USD * ASY_PICO_PER_USD,
        .max_locked = 50 * ASY_PICO_PER_USD,
        .max_price_in = 100 * ASY_PICO_PER_USD / 1000000,
        .max_price_out = 100 * ASY_PICO_PER_USD / 1000000,
        .nonce = nonce,
        .deadline = asy_env_wall_ms(asy_env_system()) / 1000 + CAP_DAYS * 86400,
    };
    asy_domain_init(&domain, u->market.chain_id, &u->market.vault);
    ASY_TRY(load_actor(u, &who, up_path(u, "keys/requester.key"), u->market.chain_id, why));
    enum asy_err err = asy_signer_set_domain(who.signer, &domain);
    if (err == ASY_OK) {
        err = asy_signer_sign_object(who.signer, &sig, ASY_OBJ_CAP, &cap);
    }
    actor_done(&who);
    ASY_TRY(err);
    return asy_signed_cap_write_json(body, &cap, &sig);
}

/* ---- the receipt ----------------------------------------------------------------------------- */

enum asy_err up_report_receipt(struct up *u, struct asy_bytes document, struct asy_why *why) {
    struct asy_domain domain;
    struct asy_verify_report *r = asy_alloc(sizeof *r); /* large */
    char usd[ASY_USD_STR], root[ASY_HASH_TEXT], tx[ASY_HASH_TEXT];
    asy_domain_init(&domain, u->market.chain_id, &u->market.vault);
    enum asy_err err = asy_verify_receipt(r, NULL, document, &domain, why);
    if (err == ASY_OK && !r->good) {
        err = asy_why_set(why, ASY_ERR_SIGNATURE, NULL,
                          "the receipt of the first chat does not verify");
    }
    const struct asy_verify_segment *last =
        err == ASY_OK ? &r->segments[r->segment_count - 1] : NULL;
    if (err == ASY_OK) {
        asy_usd_format(usd, (struct asy_usd){r->amount});
        up_say(u, "receipt", "verified: %llu + %llu tokens, %s USD, signed by the node",
               (unsigned long long)r->in_tokens, (unsigned long long)r->out_tokens, usd);
    }
    if (err == ASY_OK && last->has_settlement) {
        asy_hash_format(root, &last->settlement.root);
        asy_hash_format(tx, &last->settlement.tx);
        up_say(u, "settled", "batch %llu in block %llu, root %.18s..., transaction %s",
               (unsigned long long)last->settlement.number,
               (unsigned long long)last->settlement.block, root, tx);
    }
    asy_free(r);
    return err;
}
