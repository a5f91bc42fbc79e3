/* market.h: the market's contracts on an anvil of their own, who acts there, and a loop to wait
 * with: for tests of whole programs. */
#ifndef ASY_CHAIN_TEST_MARKET_H
#define ASY_CHAIN_TEST_MARKET_H

#include "chain/chain.h"
#include "evm/test/chain.h"

#define USD(n)  ((asy_u128)(n)*1000000u) /* base units */
#define PICO(n) (USD(n) * 1000000u)
#define ETHER   ((asy_u128)1000000000000000000u)

enum { CHAIN_ID = 31337 };

/* ---- waiting --------------------------------------------------------------------------------- */

static struct asy_loop *loop;

static uint32_t hook_calls;
__attribute__((unused)) static void on_hook(void *arg) {
    (void)arg;
    if (++hook_calls == 2) { /* the first comes before anything was waited for */
        asy_loop_stop(loop);
    }
}

__attribute__((unused)) static void turn(const char *what, int line, uint64_t deadline_ns) {
    hook_calls = 0;
    asy_loop_run(loop);
    if (asy_env_mono_ns(asy_env_system()) > deadline_ns) {
        fprintf(stderr, "line %d: never: %s\n", line, what);
        exit(1);
    }
}
#define UNTIL(cond)                                                                                \
    for (uint64_t until_ = in_s(60); !(cond);) {                                                   \
        turn(#cond, __LINE__, until_);                                                             \
    }

/* ---- actors on chain ------------------------------------------------------------------------- */

static struct chain chain;
static struct asy_evm_market market;
static struct asy_domain domain;

struct actor {
    struct asy_signer *signer;
    struct asy_evm_account account;
    struct asy_addr addr;
};
static struct actor owner; /* has all stake tokens; anyone's dollars are minted by it */

__attribute__((unused)) static void actor_init(struct actor *a, uint8_t number,
                                               enum asy_signer_role role) {
    struct asy_seckey key; /* of this test alone */
    memset(key.b, number, sizeof key.b);
    MUST(asy_signer_new_local(&a->signer, role, &key));
    a->addr = asy_signer_addr(a->signer);
    asy_evm_account_init(&a->account, &a->addr, CHAIN_ID, asy_chain_sign, a->signer);
    MUST(asy_evm_anvil_set_balance(chain.evm, &a->addr, 1000 * ETHER, &why));
    if (market.chain_id != 0) {
        MUST(asy_signer_set_domain(a->signer, &domain));
    }
}

__attribute__((unused)) static void send_tx(struct actor *from, const struct asy_addr *to,
                                            struct asy_buf *data) {
    MUST(asy_evm_call_and_wait(&from->account, chain.evm, NULL, to, asy_buf_bytes(data), 60, &why));
    asy_buf_clear(data);
}
#define DO(from, to, encode)                                                                       \
    do {                                                                                           \
        MUST(encode);                                                                              \
        send_tx((from), &market.to, &data);                                                        \
    } while (0)

__attribute__((unused)) static void stake(struct actor *a, enum asy_evm_role role) {
    struct asy_buf data;
    static const struct asy_hash no_key;
    asy_buf_init(&data, 4096);
    DO(&owner, token, asy_evm_enc_transfer(&data, &a->addr, ETHER));
    DO(a, token, asy_evm_enc_approve(&data, &market.stake_registry, ETHER));
    DO(a, stake_registry,
       asy_evm_enc_stake_register(&data, role, ETHER, (struct asy_bytes){0}, &no_key));
    asy_buf_done(&data);
}

__attribute__((unused)) static void deposit(struct actor *a, uint64_t usd) {
    struct asy_buf data;
    asy_buf_init(&data, 4096);
    DO(&owner, usd, asy_evm_enc_mint(&data, &a->addr, USD(usd)));
    DO(a, usd, asy_evm_enc_approve(&data, &market.vault, USD(usd)));
    DO(a, vault, asy_evm_enc_deposit(&data, &a->addr, (uint64_t)USD(usd)));
    asy_buf_done(&data);
}

/* False: anvil is not installed. Actors that are made after it sign for its domain. */
__attribute__((unused)) static bool market_begin(void) {
    const char *bin = anvil_path();
    if (bin == NULL) {
        return false;
    }
    chain_begin(&chain, bin);
    MUST(asy_evm_anvil_automine(chain.evm, &why));
    actor_init(&owner, 1, ASY_SIGNER_REQUESTER);
    struct asy_evm_market_params params = chain_market_params(&owner.addr);
    for (size_t i = 0; i < ASY_COUNT(params.min_stake); i++) {
        params.min_stake[i] = ETHER;
    }
    MUST(asy_evm_deploy_market(&owner.account, chain.evm, &market, &params, NULL, in_s(60), &why));
    asy_domain_init(&domain, market.chain_id, &market.vault);
    return true;
}

__attribute__((unused)) static void market_end(void) {
    asy_signer_free(owner.signer);
    chain_end(&chain);
}

#endif
