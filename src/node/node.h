/*~ node: runs a model and sells its tokens.
 *
 *     node.c    the object: engine, timers, turns; registration, stake, links and claims on chain
 *     uplink.c  one gateway: its socket, offers accepted or refused, tokens, receipts
 *     book.c    what must not be forgotten: tickets, receipts, checkpoints and Acks, until the
 * chain has paid for them
 *
 * The node dials the gateway and speaks link.h. A receipt is written down before it is sent; after
 * a reconnect everything that the gateway has no signed checkpoint for is sent again, so a
 * gateway's crash costs the node nothing.
 */
#ifndef ASY_NODE_H
#define ASY_NODE_H

#include "base/base.h"
#include "config/config.h"
#include "engine/engine.h"
#include "evm/evm.h"
#include "link/link.h"
#include "net/net.h"
#include "signer/signer.h"

struct asy_node;

/* All pointers are kept. */
struct asy_node_config {
    const char *data_dir; /* exists; gets node.db */
    const char *rpc_url;
    const struct asy_evm_market *market;
    struct asy_signer *signer; /* the node's identity, domain set */
    struct asy_x25519_pubkey x25519;
    const char *gateway_url; /* ws://host:port/link */
    struct asy_addr gateway; /* whom it expects there */
    struct asy_link_model
        model; /* what it offers: name, digest, prices, context, max_out, tier, engine */
    uint32_t slots;
    const char *region;
    struct asy_engine_echo_config echo; /* used when use_worker is false */
    bool use_worker;
    struct asy_engine_worker_config worker;
    bool registers; /* registers itself with this stake, and its model */
    asy_u128 stake; /* pico-units of the stake token */
    uint64_t
        claim_interval_ms; /* how often it looks whether there is something to claim; 0: 60,000 */
    struct asy_usd min_claim;     /* leaves less than this where it is */
    struct asy_usd max_unsettled; /* stops accepting when the gateway owes more than this beyond the
                                     chain; 0: 100 USD */
};

/* Starts the engine, registers if needed, dials. errors: as asy_store_open, asy_engine_*_new,
 * asy_chain_new */
ASY_MUST_USE enum asy_err asy_node_new(struct asy_node **ret_node, struct asy_loop *loop,
                                       const struct asy_node_config *config,
                                       struct asy_why *reterr_why);
/* Takes no new jobs, lets the running ones end until deadline_ns, closes the link, then calls
 * on_done once. */
void asy_node_shutdown(struct asy_node *node, uint64_t deadline_ns, asy_loop_cb on_done, void *arg);
void asy_node_free(struct asy_node *node);

#endif
