/*~ gateway: the OpenAI-compatible front of the market. It authenticates, matches, relays, keeps the
 * ledger and settles.
 *
 * The path of one request, and where it stands:
 *
 *     route.c   HTTP request -> route, API key -> account
 *     chat.c    parse, bound the cost, choose nodes (match), issue a ticket (ledger), offer it
 * (link), relay tokens, check the receipt nodes.c   the nodes' WebSockets: hello, candidates,
 * frames to and from link.h, Acks, receipts sent again settle.c  the chain: lanes opened and
 * pulled, batches built, sent, confirmed, final views.c   everything that can be read: jobs,
 * receipts, settlement, nodes, usage, credit
 *
 * One loop, one thread for all of it; the chain has a worker thread (chain.h). The journal is
 * committed at the end of each loop turn, before anything of that turn leaves (net.h, ledger.h), so
 * a crash at any instruction loses nothing that a peer has seen.
 */
#ifndef ASY_GATEWAY_H
#define ASY_GATEWAY_H

#include "base/base.h"
#include "config/config.h"
#include "evm/evm.h"
#include "net/net.h"
#include "signer/signer.h"

struct asy_gateway;

/* All pointers are kept. */
struct asy_gateway_config {
    const char *host;     /* numeric address */
    uint16_t port;        /* 0: the kernel picks one */
    const char *data_dir; /* exists; gets gateway.db and storage.key */
    const char *rpc_url;
    const struct asy_evm_market *market;
    const struct asy_profile *profile;
    struct asy_signer *signer;  /* the gateway's identity, domain set */
    const char *admin_token;    /* for the /admin routes; NULL: there are none */
    uint64_t batch_interval_ms; /* 0: the profile's */
    uint32_t confirmations; /* blocks until a batch counts as confirmed, its own included; 0: 1 */
    uint32_t final_depth;   /* blocks until it counts as final; 0: 64 */
    uint64_t ticket_life_s; /* 0: 300 */
    bool sync_full;         /* every commit waits for the disk */
};

/* Opens the ledger, binds the port, starts following the chain. Serves at once; jobs need an open
 * lane. errors: as asy_ledger_open, asy_http_server_new, asy_chain_new */
ASY_MUST_USE enum asy_err asy_gateway_new(struct asy_gateway **ret_gateway, struct asy_loop *loop,
                                          const struct asy_gateway_config *config,
                                          struct asy_why *reterr_why);
uint16_t asy_gateway_port(const struct asy_gateway *gateway);
/* Stops accepting, lets running jobs end until deadline_ns (then cancels them), then calls on_done
 * once. */
void asy_gateway_shutdown(struct asy_gateway *gateway, uint64_t deadline_ns, asy_loop_cb on_done,
                          void *arg);
/* After on_done, or instead of it. */
void asy_gateway_free(struct asy_gateway *gateway);

#endif
