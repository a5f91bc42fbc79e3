/* up_priv.h: what up.c and market.c share. */
#ifndef ASSAY_UP_PRIV_H
#define ASSAY_UP_PRIV_H

#include "assay_priv.h"
#include "codec/codec.h"
#include "config/config.h"

enum {
    UP_MAX_NODES = 16,
    UP_MAX_ARGS = 32,
    UP_READY_FD = 3,
    UP_CHAIN_ID = 31337, /* of the embedded chain */
};

struct up_settings {
    const char *data, *chain, *model, *engine, *profile, *deployer_key, *anvil, *log;
    uint32_t port, nodes, slots, echo_rate, echo_first_ms;
    uint64_t batch_interval_ms, ticket_life_ms;
    bool json, self_test, demo;
};

/* A process that is started again when it dies. */
struct up_child {
    char name[16];
    pid_t pid; /* 0: not running */
    uint64_t started_ns, restart_at_ns;
    int argc;
    char *argv[UP_MAX_ARGS];
    char text[UP_MAX_ARGS][4200];
};

struct up {
    struct up_settings s;
    uint64_t begin_ns;
    struct asy_profile *profile;
    char profile_path[4096];
    char model_name[ASY_MAX_NAME], model_file[4096]; /* no file: echo */
    bool convert;                                    /* to the exact engine's form, first */
    uint32_t slots, port;
    int signals; /* descriptor: INT, TERM, HUP, CHLD */
    bool embedded;
    struct asy_evm_anvil anvil;
    char rpc_url[ASY_MAX_URL + 1];
    struct asy_evm_market market;
    struct asy_addr gateway_addr, requester_addr, node_addrs[UP_MAX_NODES];
    struct asy_buf api_key;
    struct up_child gateway, nodes[UP_MAX_NODES];
};

/* One line for people on standard error: seconds since the start, what, and the text. */
void up_say(struct up *u, const char *what, const char *fmt, ...) ASY_PRINTF(3, 4);
/* A path under the data folder; static storage, good for the next 7 calls. */
const char *up_path(const struct up *u, const char *name);
/* A request to the gateway; errors other than HTTP 200 are PEER with the body's beginning. ret_json
 * may be NULL. */
ASY_MUST_USE enum asy_err up_fetch(struct up *u, const char *method, const char *route,
                                   const char *token, struct asy_bytes body,
                                   struct asy_json **ret_json, struct asy_why *why);

/* market.c: keys, contracts, stakes, deposits, bond: everything on chain that must stand before the
 * first job. */
ASY_MUST_USE enum asy_err up_make_market(struct up *u, struct asy_why *why);
/* Lets the embedded chain's blocks come once a second, after the beginning in which each
 * transaction was mined at once. */
ASY_MUST_USE enum asy_err up_start_clock(struct up *u, struct asy_why *why);
/* Appends the body of POST /v1/caps: the requester's cap for this gateway, signed. */
ASY_MUST_USE enum asy_err up_sign_cap(struct up *u, struct asy_buf *body, uint64_t nonce,
                                      struct asy_why *why);
/* Verifies a receipt document and says what it found. errors: SIGNATURE, MISMATCH ... it does not
 * hold */
ASY_MUST_USE enum asy_err up_report_receipt(struct up *u, struct asy_bytes document,
                                            struct asy_why *why);

#endif
