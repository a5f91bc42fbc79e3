/* deploy.c: contracts of a market, brought on chain in order. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "evm/evm_priv.h"

#define MAX_CREATION    (256u * 1024u) /* bytes; EIP-3860 stops at 48 KiB */
#define MAX_MARKET_FILE (64u * 1024u)
#define STUCK_MS        30000u
#define PAIR_TRIES      3u

/* ---- addresses as JSON ---- */

static const struct place {
    const char *name;
    size_t offset;
} places[] = {
    {"USD", offsetof(struct asy_evm_market, usd)},
    {"Token", offsetof(struct asy_evm_market, token)},
    {"StakeRegistry", offsetof(struct asy_evm_market, stake_registry)},
    {"ModelRegistry", offsetof(struct asy_evm_market, model_registry)},
    {"Vault", offsetof(struct asy_evm_market, vault)},
    {"Court", offsetof(struct asy_evm_market, court)},
};

static struct asy_addr *addr_at(struct asy_evm_market *m, size_t i) {
    return (struct asy_addr *)(void *)((uint8_t *)m + places[i].offset);
}

enum asy_err asy_evm_market_format(struct asy_buf *buf, const struct asy_evm_market *market) {
    struct asy_evm_market m = *market;
    struct asy_jw w;
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    asy_jw_kv_u64(&w, "chain_id", m.chain_id);
    asy_jw_kv_u64(&w, "from_block", m.from_block);
    asy_jw_kv_object(&w, "contracts");
    for (size_t i = 0; i < ASY_COUNT(places); i++) {
        if (!asy_addr_is_zero(addr_at(&m, i))) {
            asy_jw_kv_addr(&w, places[i].name, addr_at(&m, i));
        }
    }
    asy_jw_end(&w);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

static enum asy_err market_fields(struct asy_evm_market *m, const struct asy_json *doc,
                                  struct asy_why *reterr_why) {
    const struct asy_json *contracts;
    ASY_TRY(asy_json_get_u64(&m->chain_id, NULL, doc, NULL, "chain_id", 1, INT64_MAX, reterr_why));
    ASY_TRY(
        asy_json_get_u64(&m->from_block, NULL, doc, NULL, "from_block", 0, INT64_MAX, reterr_why));
    ASY_TRY(asy_json_get_object(&contracts, NULL, doc, NULL, "contracts", reterr_why));
    for (size_t i = 0; i < ASY_COUNT(places); i++) {
        bool present;
        ASY_TRY(asy_json_get_addr(addr_at(m, i), &present, contracts, "contracts", places[i].name,
                                  reterr_why));
    }
    return ASY_OK;
}

enum asy_err asy_evm_market_parse(struct asy_evm_market *ret_market, struct asy_bytes json,
                                  struct asy_why *reterr_why) {
    struct asy_json *doc;
    struct asy_evm_market m = {0};
    ASY_TRY(asy_json_parse(&doc, json, ASY_MAX_JSON_DEPTH, reterr_why));
    enum asy_err err = market_fields(&m, doc, reterr_why);
    asy_json_free(doc);
    if (err == ASY_OK) {
        *ret_market = m;
    }
    return err;
}

/* ---- the addresses file ---- */

static enum asy_err io_failed(struct asy_why *reterr_why, const char *what, const char *path) {
    return asy_why_set(reterr_why, ASY_ERR_IO, NULL, "%s %s: %s", what, path, strerror(errno));
}

/* NOT_FOUND: there is no file yet. */
static enum asy_err load_market(struct asy_evm_market *ret_market, const char *path,
                                struct asy_why *reterr_why) {
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        return errno == ENOENT ? ASY_ERR_NOT_FOUND : io_failed(reterr_why, "cannot open", path);
    }
    struct asy_buf text;
    uint8_t *p;
    asy_buf_init(&text, MAX_MARKET_FILE);
    enum asy_err err = asy_buf_reserve(&text, &p, MAX_MARKET_FILE);
    if (err == ASY_OK) {
        asy_buf_grow(&text, fread(p, 1, MAX_MARKET_FILE, in));
        err = ferror(in) != 0 ? io_failed(reterr_why, "cannot read", path) : ASY_OK;
    }
    (void)fclose(in); /* it was only read */
    if (err == ASY_OK) {
        err = asy_evm_market_parse(ret_market, asy_buf_bytes(&text), reterr_why);
    }
    asy_buf_done(&text);
    return err;
}

static bool write_all(int fd, struct asy_bytes data) {
    while (data.n > 0) {
        ssize_t n = write(fd, data.p, data.n);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        data = n > 0 ? asy_bytes_of(data.p + n, data.n - (size_t)n) : data;
    }
    return true;
}

/* A new file beside it, synced, moved into place. */
static enum asy_err save_market(const struct asy_evm_market *market, const char *path,
                                struct asy_why *reterr_why) {
    if (path == NULL) {
        return ASY_OK;
    }
    struct asy_buf text, temp;
    asy_buf_init(&text, MAX_MARKET_FILE);
    asy_buf_init(&temp, 4096);
    enum asy_err err = asy_evm_market_format(&text, market);
    err = err == ASY_OK ? asy_buf_add_u8(&text, '\n') : err;
    err = err == ASY_OK ? asy_buf_printf(&temp, "%s.new", path) : err;
    int fd = err == ASY_OK
                 ? open(asy_buf_cstr(&temp), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)
                 : -1;
    if (err == ASY_OK) {
        bool good = fd >= 0 && write_all(fd, asy_buf_bytes(&text)) && fsync(fd) == 0;
        if (fd >= 0) {
            good = close(fd) == 0 && good;
        }
        if (!good || rename(asy_buf_cstr(&temp), path) != 0) {
            err = io_failed(reterr_why, "cannot write", path);
        }
    }
    asy_buf_done(&text);
    asy_buf_done(&temp);
    return err;
}

/* ---- one contract ---- */

enum asy_err asy_evm_deploy(struct asy_evm_account *acc, struct asy_evm *evm,
                            struct asy_addr *ret_addr, uint64_t *ret_gas, const char *name,
                            struct asy_bytes constructor_args, uint64_t deadline_ns,
                            struct asy_why *reterr_why) {
    struct asy_buf code;
    struct asy_evm_receipt receipt;
    struct asy_evm_submit_options options = {
        .confirmations = 1, .stuck_ms = STUCK_MS, .deadline_ns = deadline_ns};
    asy_buf_init(&code, MAX_CREATION);
    enum asy_err err = asy_evm_creation_code(&code, name);
    err = err == ASY_OK ? asy_buf_add_bytes(&code, constructor_args) : err;
    if (err == ASY_OK) {
        struct asy_evm_intent intent = {.data = asy_buf_bytes(&code)};
        err = asy_evm_submit(acc, evm, &receipt, NULL, &intent, &options, reterr_why);
    } else {
        (void)asy_why_set(reterr_why, err, NULL, "no creation code of %s: %s", name,
                          asy_err_text(err));
    }
    asy_buf_done(&code);
    ASY_TRY(err);
    *ret_addr = receipt.contract;
    if (ret_gas != NULL) {
        *ret_gas = receipt.gas_used;
    }
    return ASY_OK;
}

/* ---- constructor arguments ---- */

static enum asy_err args_registry(struct asy_buf *buf, const struct asy_evm_market_params *p,
                                  const struct asy_evm_market *m) {
    struct asy_abi w;
    asy_abi_init(&w, buf, 11);
    asy_abi_addr(&w, &m->token);
    for (size_t i = 0; i < ASY_COUNT(p->min_stake); i++) {
        asy_abi_u128(&w, p->min_stake[i]);
    }
    asy_abi_u64(&w, p->unbonding_s);
    asy_abi_u64(&w, p->slash_burn_bps);
    asy_abi_u64(&w, p->slash_challenger_bps);
    asy_abi_u64(&w, p->slash_harmed_bps);
    asy_abi_u64(&w, p->slash_treasury_bps);
    asy_abi_addr(&w, &p->treasury);
    asy_abi_addr(&w, &p->admin);
    return asy_abi_finish(&w);
}

static enum asy_err args_vault(struct asy_buf *buf, const struct asy_evm_market_params *p,
                               const struct asy_evm_market *m, const struct asy_addr *court) {
    struct asy_abi w;
    asy_abi_init(&w, buf, 19);
    asy_abi_addr(&w, &m->usd);
    asy_abi_u64(&w, p->window_s);
    asy_abi_u64(&w, p->answer_s);
    asy_abi_u64(&w, p->hold_s);
    asy_abi_u64(&w, p->notice_s);
    asy_abi_u64(&w, p->exit_s);
    asy_abi_u64(&w, p->grace_s);
    asy_abi_u64(&w, p->node_bps);
    asy_abi_u64(&w, p->gateway_bps);
    asy_abi_u64(&w, p->treasury_bps);
    asy_abi_u64(&w, p->staked_bps);
    asy_abi_u128(&w, p->min_bond_pico);
    asy_abi_u128(&w, p->leaf_fee_pico);
    asy_abi_u128(&w, p->open_fee_pico);
    asy_abi_u128(&w, p->share_stake);
    asy_abi_addr(&w, &p->treasury);
    asy_abi_addr(&w, &p->guardian);
    asy_abi_addr(&w, court);
    asy_abi_addr(&w, &m->stake_registry);
    return asy_abi_finish(&w);
}

static enum asy_err args_addr(struct asy_buf *buf, const struct asy_addr *addr) {
    struct asy_abi w;
    asy_abi_init(&w, buf, 1);
    asy_abi_addr(&w, addr);
    return asy_abi_finish(&w);
}

/* ---- the market ---- */

struct work {
    struct asy_evm_account *acc;
    struct asy_evm *evm;
    struct asy_evm_market *market;
    const struct asy_evm_market_params *params;
    const char *path;
    uint64_t deadline_ns;
    struct asy_why *why;
};

/* Deploys into *addr and saves; nothing when it stands already. */
static enum asy_err step(struct work *w, struct asy_addr *addr, const char *name,
                         enum asy_err args_err, const struct asy_buf *args) {
    if (!asy_addr_is_zero(addr)) {
        return ASY_OK;
    }
    ASY_TRY(args_err);
    ASY_TRY(asy_evm_deploy(w->acc, w->evm, addr, NULL, name, asy_buf_bytes(args), w->deadline_ns,
                           w->why));
    return save_market(w->market, w->path, w->why);
}

/* Vault and Court name each other: the Court's address is that of the transaction after the
 * Vault's. Where another transaction came in between, the Court refuses, and both are deployed
 * again; nobody knows the first Vault yet. */
static enum asy_err deploy_pair(struct work *w, struct asy_buf *args) {
    struct asy_evm_market *m = w->market;
    enum asy_err err = ASY_ERR_CHAIN;
    for (uint32_t tries = 0; tries < PAIR_TRIES; tries++) {
        struct asy_addr vault, court, predicted;
        ASY_TRY(asy_evm_account_sync(w->acc, w->evm, w->why));
        asy_evm_create_addr(&predicted, &w->acc->addr, w->acc->next_nonce + 1);
        asy_buf_clear(args);
        ASY_TRY(args_vault(args, w->params, m, &predicted));
        ASY_TRY(asy_evm_deploy(w->acc, w->evm, &vault, NULL, "Vault", asy_buf_bytes(args),
                               w->deadline_ns, w->why));
        asy_buf_clear(args);
        ASY_TRY(args_addr(args, &vault));
        err = asy_evm_deploy(w->acc, w->evm, &court, NULL, "Court", asy_buf_bytes(args),
                             w->deadline_ns, w->why);
        if (err == ASY_OK) {
            m->vault = vault;
            m->court = court;
            return save_market(m, w->path, w->why);
        }
        if (err != ASY_ERR_REVERTED) {
            return err;
        }
    }
    return err;
}

static enum asy_err deploy_all(struct work *w, struct asy_buf *args) {
    struct asy_evm_market *m = w->market;
    ASY_TRY(step(w, &m->usd, "DevUSD", ASY_OK, args));
    asy_buf_clear(args);
    ASY_TRY(step(w, &m->token, "Token", args_addr(args, &w->params->token_holder), args));
    asy_buf_clear(args);
    ASY_TRY(step(w, &m->stake_registry, "StakeRegistry", args_registry(args, w->params, m), args));
    asy_buf_clear(args);
    ASY_TRY(step(w, &m->model_registry, "ModelRegistry", args_addr(args, &w->params->admin), args));
    return asy_addr_is_zero(&m->vault) ? deploy_pair(w, args) : ASY_OK;
}

static enum asy_err check_code(struct asy_evm *evm, struct asy_evm_market *m,
                               struct asy_why *reterr_why) {
    for (size_t i = 0; i < ASY_COUNT(places); i++) {
        size_t len = 1;
        if (!asy_addr_is_zero(addr_at(m, i))) {
            ASY_TRY(asy_evm_get_code_len(evm, &len, addr_at(m, i), reterr_why));
        }
        if (len == 0) {
            return asy_why_set(reterr_why, ASY_ERR_MISMATCH, places[i].name,
                               "the chain has no contract at the address of %s: another chain, or "
                               "its state was lost",
                               places[i].name);
        }
    }
    return ASY_OK;
}

enum asy_err asy_evm_deploy_market(struct asy_evm_account *acc, struct asy_evm *evm,
                                   struct asy_evm_market *ret_market,
                                   const struct asy_evm_market_params *params, const char *path,
                                   uint64_t deadline_ns, struct asy_why *reterr_why) {
    struct asy_evm_market market = {.chain_id = acc->chain_id, .usd = params->usd};
    enum asy_err err = path == NULL ? ASY_ERR_NOT_FOUND : load_market(&market, path, reterr_why);
    if (err == ASY_ERR_NOT_FOUND) {
        err = asy_evm_get_block_number(evm, &market.from_block, reterr_why);
    }
    ASY_TRY(err);
    if (market.chain_id != acc->chain_id) {
        return asy_why_set(reterr_why, ASY_ERR_MISMATCH, "chain_id",
                           "the addresses are of chain %llu, the endpoint's is %llu",
                           (unsigned long long)market.chain_id, (unsigned long long)acc->chain_id);
    }
    ASY_TRY(check_code(evm, &market, reterr_why));
    struct work w = {.acc = acc,
                     .evm = evm,
                     .market = &market,
                     .params = params,
                     .path = path,
                     .deadline_ns = deadline_ns,
                     .why = reterr_why};
    struct asy_buf args;
    asy_buf_init(&args, 4096);
    err = deploy_all(&w, &args);
    asy_buf_done(&args);
    if (err == ASY_OK) {
        *ret_market = market;
    }
    return err;
}
