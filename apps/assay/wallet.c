/* wallet.c: `assay wallet`: keys, spending caps, and the money in the vault. */
#include <stdio.h>

#include "assay_priv.h"
#include "chain/chain.h"
#include "client_priv.h"
#include "money/money.h"

static const char help[] =
    "usage: assay wallet new FILE --password-file FILE [--type TYPE]\n"
    "       assay wallet show FILE [--password-file FILE]\n"
    "       assay wallet sign-cap --key FILE --password-file FILE --gateway ADDR\n"
    "           (--market FILE | --chain-id N --vault ADDR) --max-spend USD --max-locked USD\n"
    "           --max-price-in USD --max-price-out USD --deadline TIME --nonce N [--register URL]\n"
    "       assay wallet deposit|withdraw --key FILE --password-file FILE --rpc URL\n"
    "           --market FILE AMOUNT\n"
    "       assay wallet close-lane --key FILE --password-file FILE --rpc URL --market FILE\n"
    "           --gateway ADDR\n"
    "       assay wallet balance (--key FILE | --account ADDR) --rpc URL --market FILE\n"
    "           [--gateway ADDR]\n\n"
    "Your money stands in the market's Vault, in your name. You sign one cap per gateway: what it\n"
    "may move from there into your lane, and the highest prices it may charge. Nothing else that "
    "a\n"
    "gateway does costs you anything.\n\n"
    "  new                  make a key and write it to FILE, encrypted; an existing file is never\n"
    "                       replaced. A lost key, or a lost password, is lost money\n"
    "  show                 print the address of a key file; with the password, prove that it "
    "opens\n"
    "  sign-cap             print a signed spending cap: the body of POST /v1/caps\n"
    "  deposit              move AMOUNT dollars of the payment token into the Vault\n"
    "  withdraw             move AMOUNT dollars, or `all`, that are not in a lane out of it\n"
    "  close-lane           take your money back from a gateway: the first call gives notice, and\n"
    "                       one after the notice moves what the gateway has not debited out\n"
    "  balance              what the account has: in its own hands, in the Vault, in a lane\n\n"
    "  --key FILE           your key file; --password-file FILE: the file with its password\n"
    "  --type TYPE          account (default), or x25519: a node's key for sealed jobs\n"
    "  --gateway ADDR       the gateway's address: GET /v1/domain tells it\n"
    "  --market FILE        addresses of the market's contracts, as `assay up` writes them\n"
    "  --chain-id N, --vault ADDR  the same for sign-cap, where there is no such file\n"
    "  --max-spend USD      over the cap's life        --max-locked USD  in the lane at any time\n"
    "  --max-price-in USD   per million prompt tokens  --max-price-out USD  per million of answer\n"
    "  --deadline TIME      how long the cap holds: 90m, 24h, 30d\n"
    "  --nonce N            higher than that of your last cap for this gateway\n"
    "  --register URL       send the cap to the gateway with this base URL; needs your API key, "
    "in\n"
    "                       ASSAY_API_KEY or --api-key-file FILE\n"
    "  --to ADDR            deposit for another account\n"
    "  --rpc URL            JSON-RPC endpoint of the chain\n";

enum {
    OPT_KEY = OPT_OWN,
    OPT_PASSWORD,
    OPT_GATEWAY,
    OPT_MARKET,
    OPT_CHAIN_ID,
    OPT_VAULT,
    OPT_SPEND,
    OPT_LOCKED,
    OPT_PRICE_IN,
    OPT_PRICE_OUT,
    OPT_DEADLINE,
    OPT_NONCE,
    OPT_REGISTER,
    OPT_TO,
    OPT_RPC,
    OPT_ACCOUNT,
    OPT_TYPE,
    OPT_END
};
#define VALUE(name, id)                                                                            \
    { name, required_argument, NULL, id }
static const struct option options[] = {VALUE("key", OPT_KEY),
                                        VALUE("password-file", OPT_PASSWORD),
                                        VALUE("gateway", OPT_GATEWAY),
                                        VALUE("market", OPT_MARKET),
                                        VALUE("chain-id", OPT_CHAIN_ID),
                                        VALUE("vault", OPT_VAULT),
                                        VALUE("max-spend", OPT_SPEND),
                                        VALUE("max-locked", OPT_LOCKED),
                                        VALUE("max-price-in", OPT_PRICE_IN),
                                        VALUE("max-price-out", OPT_PRICE_OUT),
                                        VALUE("deadline", OPT_DEADLINE),
                                        VALUE("nonce", OPT_NONCE),
                                        VALUE("register", OPT_REGISTER),
                                        VALUE("to", OPT_TO),
                                        VALUE("rpc", OPT_RPC),
                                        VALUE("account", OPT_ACCOUNT),
                                        VALUE("type", OPT_TYPE),
                                        VALUE("api-key-file", OPT_KEY_FILE),
                                        CLIENT_OPTION_HELP};

/* What was typed: the values by option, and the word behind the command. */
struct words {
    const char *name; /* "wallet deposit", for messages */
    const char *value[OPT_END];
    const char *word; /* FILE or AMOUNT; NULL: none */
};

static const char *option_name(int id) {
    for (size_t i = 0; i + 1 < ASY_COUNT(options); i++) {
        if (options[i].val == id) {
            return options[i].name;
        }
    }
    return "";
}

/* A value that the command cannot do without. */
static bool need(const struct words *w, int id) {
    if (w->value[id] != NULL) {
        return true;
    }
    (void)client_usage(w->name, "--%s is missing", option_name(id));
    return false;
}

static bool bad(const struct words *w, int id, const char *what) {
    (void)client_usage(w->name, "--%s takes %s", option_name(id), what);
    return false;
}

static bool get_addr(const struct words *w, int id, struct asy_addr *ret) {
    if (!need(w, id)) {
        return false;
    }
    enum asy_err err = asy_addr_parse(ret, asy_bytes_cstr(w->value[id]));
    return err == ASY_OK ||
           bad(w, id,
               err == ASY_ERR_MISMATCH ? "an address; this one has a typing error (its checksum)"
                                       : "an address: 0x and 40 hex digits");
}

static bool get_number(const struct words *w, int id, uint64_t *ret) {
    return need(w, id) && (asy_bytes_to_u64(ret, asy_bytes_cstr(w->value[id])) == ASY_OK ||
                           bad(w, id, "a whole number"));
}

static bool get_usd(const struct words *w, int id, bool per_million, asy_u128 *ret_pico) {
    struct asy_usd usd;
    if (!need(w, id)) {
        return false;
    }
    if (asy_usd_parse(&usd, asy_bytes_cstr(w->value[id])) != ASY_OK ||
        usd.pico > ASY_USD_CHAIN_MAX) {
        return bad(w, id, "dollars, such as 12 or 0.25");
    }
    if (per_million && asy_price_from_million(&usd, usd) != ASY_OK) {
        return bad(w, id, "dollars per million tokens with at most 6 decimals");
    }
    *ret_pico = usd.pico;
    return true;
}

/* "90m", "24h", "30d": seconds. */
static bool get_seconds(const struct words *w, int id, uint64_t *ret) {
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    if (!need(w, id)) {
        return false;
    }
    size_t n = strlen(w->value[id]);
    uint64_t count;
    for (size_t i = 0; i < ASY_COUNT(units) && n > 1; i++) {
        if (w->value[id][n - 1] == units[i].unit &&
            asy_bytes_to_u64(&count, asy_bytes_of(w->value[id], n - 1)) == ASY_OK && count != 0 &&
            asy_mul_u64(ret, count, units[i].seconds) && *ret < (uint64_t)UINT32_MAX) {
            return true;
        }
    }
    return bad(w, id, "a time, such as 90m, 24h or 30d");
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void generate(struct asy_secret *ret_secret, enum asy_key_kind kind) {
    struct asy_seckey key;
    if (kind != ASY_KEY_SECP256K1) {
        asy_env_random(asy_env_system(), ret_secret->b, sizeof ret_secret->b);
        return;
    }
    asy_seckey_generate(&key, asy_env_system());
    static_assert(sizeof ret_secret->b == sizeof key.b, "a key file keeps the scalar");
    memcpy(ret_secret->b, key.b, sizeof ret_secret->b);
    asy_secret_wipe(&key, sizeof key);
}

static int cmd_new(const struct words *w) {
    struct asy_why why = {{0}, {0}};
    struct asy_buf password;
    struct asy_secret secret;
    struct asy_keyfile file;
    const char *type = w->value[OPT_TYPE] != NULL ? w->value[OPT_TYPE] : "account";
    bool x25519 = strcmp(type, "x25519") == 0;
    enum asy_key_kind kind = x25519 ? ASY_KEY_X25519 : ASY_KEY_SECP256K1;
    if (w->word == NULL) {
        return client_usage(w->name, "name the file to write");
    }
    if (!need(w, OPT_PASSWORD)) {
        return 2;
    }
    if (!x25519 && strcmp(type, "account") != 0) {
        (void)bad(w, OPT_TYPE, "account or x25519");
        return 2;
    }
    asy_buf_init(&password, 4096);
    enum asy_err err = app_read_file(&password, w->value[OPT_PASSWORD], true, &why);
    if (err == ASY_OK && password.n == 0) {
        err = asy_why_set(&why, ASY_ERR_RANGE, NULL, "the password is empty");
    }
    if (err == ASY_OK) {
        generate(&secret, kind);
        err = asy_keyfile_seal(&file, kind, &secret, asy_buf_bytes(&password), ASY_KDF_DEFAULT,
                               asy_env_system());
        asy_secret_wipe(&secret, sizeof secret);
    }
    if (err == ASY_OK) {
        err = asy_keyfile_save(w->word, &file, false, &why);
    }
    if (password.p != NULL) {
        asy_secret_wipe(password.p, password.n);
    }
    asy_buf_done(&password);
    if (err != ASY_OK) {
        return app_fail(w->name, err, &why);
    }
    printf("%s\n", file.id);
    return 0;
}

static int cmd_show(const struct words *w) {
    struct asy_why why = {{0}, {0}};
    struct asy_keyfile file;
    struct asy_secret secret;
    if (w->word == NULL) {
        return client_usage(w->name, "name the key file");
    }
    enum asy_err err = asy_keyfile_load(&file, w->word, &why);
    if (err == ASY_OK && w->value[OPT_PASSWORD] != NULL) {
        err = app_load_key(&secret, w->word, w->value[OPT_PASSWORD], &why);
        asy_secret_wipe(&secret, sizeof secret);
    }
    if (err != ASY_OK) {
        return app_fail(w->name, err, &why);
    }
    printf("%s\n", file.id);
    return 0;
}

/* A signer in this process: the command reads no stranger's bytes but the chain's and the gateway's
 * answers, and ends at once. */
static enum asy_err open_key(struct asy_signer **ret_signer, const struct words *w,
                             struct asy_why *why) {
    struct asy_secret secret;
    struct asy_seckey key;
    ASY_TRY(app_load_key(&secret, w->value[OPT_KEY], w->value[OPT_PASSWORD], why));
    memcpy(key.b, secret.b, sizeof key.b);
    asy_secret_wipe(&secret, sizeof secret);
    enum asy_err err = asy_signer_new_local(ret_signer, ASY_SIGNER_REQUESTER, &key);
    asy_secret_wipe(&key, sizeof key);
    return err == ASY_OK
               ? ASY_OK
               : asy_why_set(why, err, NULL, "%.180s holds no key for a chain", w->value[OPT_KEY]);
}

/* ---- caps ------------------------------------------------------------------------------------ */

static int register_cap(const struct words *w, struct asy_bytes body) {
    struct client c = {
        .name = w->name, .base_url = w->value[OPT_REGISTER], .key_file = w->value[OPT_KEY_FILE]};
    struct client_response r;
    int rc = 2;
    if (client_open(&c, true)) {
        rc = 1;
        if (client_post(&c, &r, "/v1/caps", body)) {
            fprintf(stderr, "registered; `assay credit` shows it\n");
            client_response_done(&r);
            rc = 0;
        }
    }
    client_done(&c);
    return rc;
}

/* Chain and vault, from --market or one by one. 0, or the exit status. */
static int cap_domain(const struct words *w, struct asy_domain *ret) {
    struct asy_why why = {{0}, {0}};
    struct asy_evm_market market;
    struct asy_addr vault;
    uint64_t chain_id;
    if (w->value[OPT_MARKET] == NULL) {
        if (!get_number(w, OPT_CHAIN_ID, &chain_id) || !get_addr(w, OPT_VAULT, &vault)) {
            return 2;
        }
        asy_domain_init(ret, chain_id, &vault);
        return 0;
    }
    if (w->value[OPT_CHAIN_ID] != NULL || w->value[OPT_VAULT] != NULL) {
        return client_usage(w->name, "--market already says chain and vault");
    }
    enum asy_err err = app_load_market(&market, w->value[OPT_MARKET], &why);
    if (err != ASY_OK) {
        return app_fail(w->name, err, &why);
    }
    asy_domain_init(ret, market.chain_id, &market.vault);
    return 0;
}

static int cmd_sign_cap(const struct words *w) {
    struct asy_why why = {{0}, {0}};
    struct asy_domain domain;
    struct asy_cap cap = {0};
    struct asy_sig sig;
    struct asy_signer *signer;
    uint64_t seconds;
    if (!need(w, OPT_KEY) || !need(w, OPT_PASSWORD) || !get_addr(w, OPT_GATEWAY, &cap.gateway) ||
        !get_usd(w, OPT_SPEND, false, &cap.max_spend) ||
        !get_usd(w, OPT_LOCKED, false, &cap.max_locked) ||
        !get_usd(w, OPT_PRICE_IN, true, &cap.max_price_in) ||
        !get_usd(w, OPT_PRICE_OUT, true, &cap.max_price_out) ||
        !get_seconds(w, OPT_DEADLINE, &seconds) || !get_number(w, OPT_NONCE, &cap.nonce)) {
        return 2;
    }
    int rc = cap_domain(w, &domain);
    if (rc != 0) {
        return rc;
    }
    cap.deadline = asy_env_wall_ms(asy_env_system()) / 1000 + seconds;
    enum asy_err err = open_key(&signer, w, &why);
    if (err != ASY_OK) {
        return app_fail(w->name, err, &why);
    }
    cap.requester = asy_signer_addr(signer);
    err = asy_signer_set_domain(signer, &domain);
    err = err == ASY_OK ? asy_signer_sign_object(signer, &sig, ASY_OBJ_CAP, &cap) : err;
    asy_signer_free(signer);
    struct asy_buf body;
    asy_buf_init(&body, 4096);
    err = err == ASY_OK ? asy_signed_cap_write_json(&body, &cap, &sig) : err;
    if (err != ASY_OK) {
        rc = app_fail(w->name, err, NULL);
    } else {
        client_print_json(asy_buf_bytes(&body));
        rc = w->value[OPT_REGISTER] != NULL ? register_cap(w, asy_buf_bytes(&body)) : 0;
    }
    asy_buf_done(&body);
    return rc;
}

/* ---- money ----------------------------------------------------------------------------------- */

struct purse {
    struct asy_evm *evm;
    struct asy_evm_market market;
    struct asy_signer *signer; /* NULL: looking only */
    struct asy_evm_account account;
    struct asy_addr addr;
};

static void purse_done(struct purse *p) {
    asy_signer_free(p->signer);
    asy_evm_free(p->evm);
}

static enum asy_err purse_open(struct purse *p, const struct words *w, struct asy_why *why) {
    uint64_t chain_id;
    ASY_TRY(app_load_market(&p->market, w->value[OPT_MARKET], why));
    ASY_TRY(asy_evm_new(&p->evm, w->value[OPT_RPC], NULL, why));
    ASY_TRY(asy_evm_get_chain_id(p->evm, &chain_id, why));
    return chain_id == p->market.chain_id
               ? ASY_OK
               : asy_why_set(why, ASY_ERR_MISMATCH, NULL,
                             "the endpoint is of chain %llu, the market of chain %llu",
                             (unsigned long long)chain_id, (unsigned long long)p->market.chain_id);
}

static enum asy_err purse_unlock(struct purse *p, const struct words *w, struct asy_why *why) {
    ASY_TRY(open_key(&p->signer, w, why));
    p->addr = asy_signer_addr(p->signer);
    asy_evm_account_init(&p->account, &p->addr, p->market.chain_id, asy_chain_sign, p->signer);
    return ASY_OK;
}

/* Sends one call and waits until it is mined. `encoded` is what the encoder of data returned. */
static enum asy_err call(struct purse *p, const struct asy_addr *to, struct asy_buf *data,
                         enum asy_err encoded, const char *what, struct asy_why *why) {
    ASY_TRY(encoded);
    struct asy_evm_receipt receipt;
    char tx[ASY_HASH_TEXT];
    fprintf(stderr, "%s ...\n", what);
    ASY_TRY(
        asy_evm_call_and_wait(&p->account, p->evm, &receipt, to, asy_buf_bytes(data), 180, why));
    asy_hash_format(tx, &receipt.tx_hash);
    fprintf(stderr, "  block %llu, transaction %s\n", (unsigned long long)receipt.block_number, tx);
    asy_buf_clear(data);
    return ASY_OK;
}

/* Base units of the payment token in dollars. */
static void units_text(char ret_text[ASY_USD_STR], asy_u128 base) {
    asy_u128 pico;
    if (asy_mul_u128(&pico, base, ASY_PICO_PER_UNIT)) {
        asy_usd_format(ret_text, (struct asy_usd){pico});
    } else {
        (void)snprintf(ret_text, ASY_USD_STR, "more than 2^128 pico");
    }
}

static void pico_text(char ret_text[ASY_USD_STR], asy_u128 pico) {
    asy_usd_format(ret_text, (struct asy_usd){pico});
}

/* AMOUNT in base units of the token. */
static bool get_amount(const struct words *w, uint64_t *ret_base) {
    struct asy_usd usd;
    if (w->word == NULL) {
        (void)client_usage(w->name, "how many dollars?");
        return false;
    }
    if (asy_usd_parse(&usd, asy_bytes_cstr(w->word)) != ASY_OK || usd.pico == 0 ||
        usd.pico % ASY_PICO_PER_UNIT != 0 || usd.pico / ASY_PICO_PER_UNIT > UINT64_MAX) {
        (void)client_usage(w->name, "an amount is dollars with at most 6 decimals, more than 0");
        return false;
    }
    *ret_base = (uint64_t)(usd.pico / ASY_PICO_PER_UNIT);
    return true;
}

static enum asy_err deposit(struct purse *p, const struct asy_addr *to, uint64_t base,
                            struct asy_why *why) {
    asy_u128 have, allowed;
    char text[ASY_USD_STR];
    ASY_TRY(asy_evm_token_balance(p->evm, &have, &p->market.usd, &p->addr, why));
    if (have < base) {
        units_text(text, have);
        return asy_why_set(why, ASY_ERR_CREDIT, NULL, "the account holds %s USD only", text);
    }
    ASY_TRY(
        asy_evm_token_allowance(p->evm, &allowed, &p->market.usd, &p->addr, &p->market.vault, why));
    struct asy_buf data;
    enum asy_err err = ASY_OK;
    asy_buf_init(&data, 4096);
    if (allowed < base) {
        err = call(p, &p->market.usd, &data, asy_evm_enc_approve(&data, &p->market.vault, base),
                   "allowing the vault to take it", why);
    }
    if (err == ASY_OK) {
        err = call(p, &p->market.vault, &data, asy_evm_enc_deposit(&data, to, base), "depositing",
                   why);
    }
    asy_buf_done(&data);
    return err;
}

/* base 0: all whole units. */
static enum asy_err withdraw(struct purse *p, uint64_t *base, struct asy_why *why) {
    asy_u128 free_pico;
    char text[ASY_USD_STR];
    ASY_TRY(asy_evm_vault_free(p->evm, &free_pico, &p->market.vault, &p->addr, why));
    const asy_u128 units = free_pico / ASY_PICO_PER_UNIT; /* down: the rest stays in the account */
    if (units == 0 || units < *base) {
        pico_text(text, free_pico);
        return asy_why_set(why, ASY_ERR_CREDIT, NULL,
                           "%s USD are free; what is in a lane comes back when the lane is closed",
                           text);
    }
    if (*base == 0) {
        *base = units < UINT64_MAX ? (uint64_t)units : UINT64_MAX;
    }
    struct asy_buf data;
    asy_buf_init(&data, 4096);
    enum asy_err err =
        call(p, &p->market.vault, &data, asy_evm_enc_withdraw(&data, *base), "withdrawing", why);
    asy_buf_done(&data);
    return err;
}

static int move_money(const struct words *w, bool in) {
    struct asy_why why = {{0}, {0}};
    struct purse p = {0};
    struct asy_addr to;
    uint64_t base = 0;
    bool all = !in && w->word != NULL && strcmp(w->word, "all") == 0;
    if (!need(w, OPT_KEY) || !need(w, OPT_PASSWORD) || !need(w, OPT_RPC) || !need(w, OPT_MARKET) ||
        (!all && !get_amount(w, &base)) ||
        (w->value[OPT_TO] != NULL && !get_addr(w, OPT_TO, &to))) {
        return 2;
    }
    enum asy_err err = purse_open(&p, w, &why);
    err = err == ASY_OK ? purse_unlock(&p, w, &why) : err;
    if (err == ASY_OK && in) {
        err = deposit(&p, w->value[OPT_TO] != NULL ? &to : &p.addr, base, &why);
    } else if (err == ASY_OK) {
        err = withdraw(&p, &base, &why);
    }
    purse_done(&p);
    if (err != ASY_OK) {
        return app_fail(w->name, err, &why);
    }
    char text[ASY_USD_STR];
    units_text(text, base);
    printf("%s %s USD\n", in ? "deposited" : "withdrew", text);
    return 0;
}

static int cmd_deposit(const struct words *w) { return move_money(w, true); }

static int cmd_withdraw(const struct words *w) {
    if (w->value[OPT_TO] != NULL) {
        return client_usage(w->name, "the vault pays the account itself; there is no --to");
    }
    return move_money(w, false);
}

/* Notice, or the end: whichever is due. */
static enum asy_err close_lane(struct purse *p, const struct asy_addr *gateway,
                               struct asy_why *why) {
    uint32_t id;
    struct asy_evm_lane lane;
    struct asy_evm_block now;
    struct asy_buf data;
    ASY_TRY(asy_evm_vault_lane_of(p->evm, &id, &p->market.vault, gateway, &p->addr, why));
    if (id == 0) {
        return asy_why_set(why, ASY_ERR_NOT_FOUND, NULL, "you have no lane at this gateway");
    }
    ASY_TRY(asy_evm_vault_lane(p->evm, &lane, &p->market.vault, gateway, id, why));
    ASY_TRY(asy_evm_get_block_tag(p->evm, &now, ASY_EVM_LATEST, why));
    if (lane.close_at_s != 0 && now.time_s < lane.close_at_s) {
        return asy_why_set(why, ASY_ERR_STATE, NULL,
                           "notice was given; lane %u can be closed in %llu s", id,
                           (unsigned long long)(lane.close_at_s - now.time_s));
    }
    bool notice = lane.close_at_s == 0;
    asy_buf_init(&data, 4096);
    enum asy_err err = call(p, &p->market.vault, &data,
                            notice ? asy_evm_enc_announce_close(&data, gateway)
                                   : asy_evm_enc_close(&data, gateway),
                            notice ? "giving notice" : "closing the lane", why);
    asy_buf_done(&data);
    if (err == ASY_OK && notice) {
        err = asy_evm_vault_lane(p->evm, &lane, &p->market.vault, gateway, id, why);
        if (err == ASY_OK) {
            printf("notice given: lane %u can be closed from Unix time %llu on\n", id,
                   (unsigned long long)lane.close_at_s);
        }
    } else if (err == ASY_OK) {
        char text[ASY_USD_STR];
        pico_text(text, lane.locked);
        printf("lane %u is closed; %s USD are free to withdraw\n", id, text);
    }
    return err;
}

static int cmd_close_lane(const struct words *w) {
    struct asy_why why = {{0}, {0}};
    struct purse p = {0};
    struct asy_addr gateway;
    if (!need(w, OPT_KEY) || !need(w, OPT_PASSWORD) || !need(w, OPT_RPC) || !need(w, OPT_MARKET) ||
        !need(w, OPT_GATEWAY) || !get_addr(w, OPT_GATEWAY, &gateway)) {
        return 2;
    }
    enum asy_err err = purse_open(&p, w, &why);
    err = err == ASY_OK ? purse_unlock(&p, w, &why) : err;
    err = err == ASY_OK ? close_lane(&p, &gateway, &why) : err;
    purse_done(&p);
    return err == ASY_OK ? 0 : app_fail(w->name, err, &why);
}

static enum asy_err print_lane(struct purse *p, const struct asy_addr *gateway,
                               struct asy_why *why) {
    uint32_t id;
    struct asy_evm_lane lane;
    char text[ASY_USD_STR];
    ASY_TRY(asy_evm_vault_lane_of(p->evm, &id, &p->market.vault, gateway, &p->addr, why));
    if (id == 0) {
        printf("no lane at this gateway\n");
        return ASY_OK;
    }
    ASY_TRY(asy_evm_vault_lane(p->evm, &lane, &p->market.vault, gateway, id, why));
    pico_text(text, lane.locked);
    printf("%20s USD in lane %u, for this gateway to debit\n", text, id);
    pico_text(text, lane.spent);
    printf("%20s USD debited from it so far, for %llu jobs\n", text, (unsigned long long)lane.seq);
    if (lane.close_at_s != 0) {
        printf("the lane can be closed from Unix time %llu on\n",
               (unsigned long long)lane.close_at_s);
    }
    return ASY_OK;
}

static enum asy_err print_balance(struct purse *p, const struct asy_addr *gateway,
                                  struct asy_why *why) {
    asy_u128 base, free_pico, wei;
    char text[ASY_USD_STR], addr[ASY_ADDR_STR];
    ASY_TRY(asy_evm_token_balance(p->evm, &base, &p->market.usd, &p->addr, why));
    ASY_TRY(asy_evm_vault_free(p->evm, &free_pico, &p->market.vault, &p->addr, why));
    ASY_TRY(asy_evm_get_balance(p->evm, &wei, &p->addr, why));
    asy_addr_format(addr, &p->addr);
    printf("account %s on chain %llu\n", addr, (unsigned long long)p->market.chain_id);
    units_text(text, base);
    printf("%20s USD in its own hands\n", text);
    pico_text(text, free_pico);
    printf("%20s USD in the vault, free to withdraw\n", text);
    /* 18 decimals, of which the 12 that asy_usd_format writes are shown, rounded down */
    pico_text(text, wei / 1000000u);
    printf("%20s of the chain's coin, for gas\n", text);
    return gateway != NULL ? print_lane(p, gateway, why) : ASY_OK;
}

static int cmd_balance(const struct words *w) {
    struct asy_why why = {{0}, {0}};
    struct purse p = {0};
    struct asy_addr gateway;
    struct asy_keyfile file;
    if (!need(w, OPT_RPC) || !need(w, OPT_MARKET) ||
        (w->value[OPT_GATEWAY] != NULL && !get_addr(w, OPT_GATEWAY, &gateway))) {
        return 2;
    }
    if ((w->value[OPT_ACCOUNT] == NULL) == (w->value[OPT_KEY] == NULL)) {
        return client_usage(w->name, "name the account, by --account or by --key");
    }
    enum asy_err err = ASY_OK;
    if (w->value[OPT_ACCOUNT] != NULL) {
        if (!get_addr(w, OPT_ACCOUNT, &p.addr)) {
            return 2;
        }
    } else {
        err = asy_keyfile_load(&file, w->value[OPT_KEY], &why);
        if (err == ASY_OK && asy_addr_parse(&p.addr, asy_bytes_cstr(file.id)) != ASY_OK) {
            err = asy_why_set(&why, ASY_ERR_UNSUPPORTED, NULL, "%.180s holds no key for a chain",
                              w->value[OPT_KEY]);
        }
    }
    err = err == ASY_OK ? purse_open(&p, w, &why) : err;
    if (err == ASY_OK) {
        err = print_balance(&p, w->value[OPT_GATEWAY] != NULL ? &gateway : NULL, &why);
    }
    purse_done(&p);
    return err == ASY_OK ? 0 : app_fail(w->name, err, &why);
}

/* ---- the command ----------------------------------------------------------------------------- */

int cmd_wallet(int argc, char **argv) {
    static const struct {
        const char *name, *full;
        int (*run)(const struct words *w);
        bool takes_word;
    } commands[] = {
        {"new", "wallet new", cmd_new, true},
        {"show", "wallet show", cmd_show, true},
        {"sign-cap", "wallet sign-cap", cmd_sign_cap, false},
        {"deposit", "wallet deposit", cmd_deposit, true},
        {"withdraw", "wallet withdraw", cmd_withdraw, true},
        {"close-lane", "wallet close-lane", cmd_close_lane, false},
        {"balance", "wallet balance", cmd_balance, false},
    };
    struct words w = {.name = argv[0]};
    for (int o; (o = client_option(argc, argv, argv[0], help, "", options)) != -1;) {
        if (o == OPT_HELP || o == OPT_BAD) {
            return o == OPT_HELP ? 0 : 2;
        }
        w.value[o] = optarg;
    }
    int count = argc - optind;
    for (size_t i = 0; i < ASY_COUNT(commands) && count >= 1; i++) {
        if (strcmp(argv[optind], commands[i].name) == 0) {
            w.name = commands[i].full;
            if (count > (commands[i].takes_word ? 2 : 1)) {
                return client_usage(w.name, "`%s` is one word too many", argv[argc - 1]);
            }
            w.word = count == 2 ? argv[optind + 1] : NULL;
            return commands[i].run(&w);
        }
    }
    return client_usage(argv[0],
                        "say new, show, sign-cap, deposit, withdraw, close-lane or balance");
}
