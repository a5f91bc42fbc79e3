/* chain.h: a real anvil for tests, on a folder of its own. */
#ifndef ASY_EVM_TEST_CHAIN_H
#define ASY_EVM_TEST_CHAIN_H

#include <dirent.h>
#include <unistd.h>

#include "base/test.h"
#include "evm/evm.h"

#define SECOND 1000000000ull /* ns */

struct chain {
    char dir[64], state[80];
    struct asy_evm_anvil_options options;
    struct asy_evm_anvil anvil;
    struct asy_evm *evm;
};
struct user {
    struct asy_seckey key;
    struct asy_evm_account acc;
};

__attribute__((unused)) static uint64_t in_s(uint64_t seconds) {
    return asy_env_mono_ns(asy_env_system()) + seconds * SECOND;
}

/* The program, or NULL when it is not installed. */
__attribute__((unused)) static const char *anvil_path(void) {
    const char *path = getenv("ANVIL");
    path = path != NULL ? path : ".deps/bin/anvil";
    return access(path, X_OK) == 0 ? path : NULL;
}

/* A failed step prints why and ends the program: what follows could only fail too. */
__attribute__((unused)) static void must_(enum asy_err err, const struct asy_why *why,
                                          const char *what, int line) {
    if (err != ASY_OK) {
        fprintf(stderr, "line %d: %s: %s (%s)\n", line, what, asy_err_name(err), why->text);
        exit(1);
    }
}
static struct asy_why why; /* of the last call */
#define MUST(call) must_(call, &why, #call, __LINE__)

__attribute__((unused)) static void chain_up(struct chain *c) {
    MUST(asy_evm_anvil_start(&c->anvil, NULL, &c->options, in_s(30), &why));
    MUST(asy_evm_new(&c->evm, c->anvil.url, NULL, &why));
}

__attribute__((unused)) static void chain_down(struct chain *c) {
    asy_evm_free(c->evm);
    CHECK_OK(asy_evm_anvil_stop(&c->anvil, in_s(30)));
}

__attribute__((unused)) static void chain_begin(struct chain *c, const char *bin) {
    *c = (struct chain){0};
    (void)snprintf(c->dir, sizeof c->dir, "/tmp/assay-test-evm-XXXXXX");
    if (mkdtemp(c->dir) == NULL) {
        perror("mkdtemp");
        exit(1);
    }
    (void)snprintf(c->state, sizeof c->state, "%s/chain.json", c->dir);
    c->options = (struct asy_evm_anvil_options){.bin = bin, .state = c->state, .chain_id = 31337};
    chain_up(c);
}

__attribute__((unused)) static void chain_end(struct chain *c) {
    chain_down(c);
    DIR *dir = opendir(c->dir);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/%s", c->dir, e->d_name);
        (void)unlink(path); /* "." and ".." refuse */
    }
    (void)closedir(dir);
    CHECK(rmdir(c->dir) == 0);
}

__attribute__((unused)) static enum asy_err sign_with_key(void *arg, struct asy_sig *ret_sig,
                                                          struct asy_bytes unsigned_tx) {
    struct asy_hash digest;
    asy_keccak256(&digest, unsigned_tx);
    return asy_secp_sign(ret_sig, arg, &digest);
}

/* A test key of its own, with money for gas. */
__attribute__((unused)) static void user_init(struct user *u, struct asy_evm *evm, uint8_t number) {
    struct asy_addr addr;
    memset(u->key.b, number, sizeof u->key.b);
    CHECK_OK(asy_secp_addr(&addr, &u->key));
    asy_evm_account_init(&u->acc, &addr, 31337, sign_with_key, &u->key);
    MUST(asy_evm_anvil_set_balance(evm, &addr, (asy_u128)1000000 * 1000000000000000000u, &why));
}

/* A market as most tests want it, everything in one hand. min_stake is left to the caller. */
__attribute__((unused)) static struct asy_evm_market_params
chain_market_params(const struct asy_addr *owner) {
    return (struct asy_evm_market_params){.window_s = 86400,
                                          .answer_s = 14400,
                                          .hold_s = 1800,
                                          .notice_s = 86400,
                                          .exit_s = 259200,
                                          .grace_s = 60,
                                          .node_bps = 9500,
                                          .gateway_bps = 250,
                                          .treasury_bps = 250,
                                          .staked_bps = 9500,
                                          .min_bond_pico = (asy_u128)1000 * 1000000000000u,
                                          .leaf_fee_pico = 50000000000u,
                                          .open_fee_pico = 500000000u,
                                          .unbonding_s = 604800,
                                          .slash_burn_bps = 5000,
                                          .slash_challenger_bps = 3000,
                                          .slash_harmed_bps = 1000,
                                          .slash_treasury_bps = 1000,
                                          .treasury = *owner,
                                          .guardian = *owner,
                                          .admin = *owner,
                                          .token_holder = *owner};
}

#endif
