/* A gateway that sends anything, against a node's end. */
#include "link/fuzz/feed.h"

static uint64_t last_job, next_ticket;
static enum asy_err welcome(void *arg, const struct asy_addr *gateway,
                            const struct asy_link_welcome *w, struct asy_why *why) {
    (void)arg;
    (void)why;
    feed_look(gateway, sizeof *gateway);
    feed_look(w, sizeof *w);
    ASY_ASSERT(w->receipts_have <= 1);
    return ASY_OK;
}
static void offer(void *arg, uint64_t job, const struct asy_link_offer *o) {
    struct rig *r = arg;
    feed_look(o->terms, sizeof *o->terms);
    feed_look(o->cap, sizeof *o->cap);
    feed_look(o->messages.p, o->messages.n);
    feed_look(o->settings.p, o->settings.n);
    feed_look(o->bias.p, o->bias.n);
    feed_look(o->prefix, o->prefix_count * sizeof *o->prefix);
    for (uint32_t i = 0; i < o->stop_count; i++) {
        ASY_ASSERT(asy_utf8_valid(o->stops[i]));
    }
    ASY_ASSERT(asy_utf8_valid(o->model) && o->terms->link_seq == job);
    last_job = job;
    if (o->messages.n % 2 == 0) { /* a handler may call back */
        enum asy_err err = asy_link_node_accept(r->node, job);
        ASY_ASSERT(err == ASY_OK);
    }
}
static void cancel(void *arg, uint64_t job, uint32_t keep, uint32_t reason) {
    struct rig *r = arg;
    (void)keep;
    if (reason % 2 == 0) {
        enum asy_err err = asy_link_node_fail(r->node, job, ASY_ERR_CANCELLED, "cut");
        ASY_ASSERT(err == ASY_OK);
    }
}
static void credit(void *arg, uint64_t job, uint32_t count) {
    struct rig *r = arg;
    uint32_t taken;
    ASY_ASSERT(count <= ASY_MAX_TOKENS && asy_link_node_taken(r->node, job, &taken) == ASY_OK);
}
static void tickets(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    (void)arg;
    feed_look(sig, sizeof *sig);
    ASY_ASSERT(c->first == next_ticket && c->count != 0);
    next_ticket += c->count;
}
static void own(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    (void)arg;
    feed_look(c, sizeof *c);
    feed_look(sig, sizeof *sig);
}
static void ack(void *arg, const struct asy_ack *a, const struct asy_sig *sig) {
    (void)arg;
    ASY_ASSERT(asy_addr_eq(&a->node, &rig_node_addrs[0]));
    feed_look(sig, sizeof *sig);
}
static void batch(void *arg, uint64_t number, const struct asy_hash *root,
                  const struct asy_hash *tx, uint64_t block, asy_u128 credited) {
    (void)arg;
    (void)number;
    (void)block;
    (void)credited;
    feed_look(root, sizeof *root);
    feed_look(tx, sizeof *tx);
}
static void drain(void *arg, uint32_t seconds) {
    (void)arg;
    (void)seconds;
}

static void late_cancel(void *arg, uint64_t job, uint32_t keep, uint32_t reason) {
    struct rig *r = arg;
    uint32_t taken;
    (void)keep;
    (void)reason;
    ASY_ASSERT(asy_link_node_taken(r->node, job, &taken) == ASY_ERR_NOT_FOUND);
}

static void act(struct rig *r, uint8_t what) {
    static const uint32_t ids[32];
    struct asy_terms t = rig_terms(r, last_job);
    struct asy_receipt receipt = rig_receipt(&t, 0, ASY_FINISH_STOP);
    struct asy_hash prompt = {{0}};
    struct asy_link_status s = {.slots = 1};
    uint64_t item, job = last_job - (what >> 5) % 3;
    enum asy_err err = ASY_OK;
    switch (what & 7) {
    case 0:
        err = asy_link_node_accept(r->node, job);
        break;
    case 1:
        err = asy_link_node_reject(r->node, job, ASY_REJECT_BUSY, "", "busy");
        break;
    case 2:
        err = asy_link_node_fail(r->node, job, ASY_ERR_PEER, "died");
        break;
    case 3:
        err = asy_link_node_done(r->node, &item, job, &receipt, &prompt);
        break;
    case 4:
        asy_link_node_status(r->node, &s);
        break;
    default:
        err = asy_link_node_tokens(r->node, job, ids, what >> 3, ASY_STR("t"));
    }
    ASY_ASSERT(err == ASY_OK || err == ASY_ERR_NOT_FOUND || err == ASY_ERR_STATE ||
               err == ASY_ERR_FULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    static struct rig *r;
    r = r == NULL ? asy_alloc(sizeof *r) : r;
    feed_begin();
    struct feed f = {data, len};
    struct asy_link_hello hello = rig_hello;
    hello.tickets_have = next_ticket = 1;
    last_job = 0;
    struct asy_link_node_options o = {
        .env = &rig_env.env,
        .domain = &rig_domain,
        .signer = rig_node_signers[0],
        .hello = &hello,
        .next_item = 1,
        .next_checkpoint = 1,
        .on = {node_send, welcome, offer, cancel, credit, tickets, own, ack, batch, drain,
               late_cancel},
        .arg = r,
    };
    r->node = asy_link_node_new(&o);
    if (feed_u8(&f) & 1) { /* one ticket signed before, another offered but not signed */
        r->g.ticket_count = 2;
        r->g.own.count = 1;
        r->g.own.at[0].c.count = 1;
        r->gw = rig_gw_new(r);
        rig_commit_gw(r);
        CHECK_OK(rig_deliver_node(r));
        rig_commit_node(r);
        struct asy_bytes hello_frame;
        ASY_ASSERT(frames_pop(&r->to_gw, &hello_frame));
        CHECK_OK(asy_link_gw_recv(r->gw, hello_frame, NULL));
        asy_free((void *)(uintptr_t)hello_frame.p);
        rig_commit_gw(r);
        CHECK_OK(rig_deliver_node(r));
    }
    ASY_ASSERT(asy_test_failures == 0);
    enum asy_err err = ASY_OK;
    while (f.n != 0 && err == ASY_OK) {
        uint8_t what = feed_u8(&f);
        bool was_live = asy_link_node_live(r->node);
        if ((what & 7) < 6) {
            struct asy_why why = {{0}, {0}};
            err = asy_link_node_recv(r->node, feed_frame(&f), &why);
            ASY_ASSERT((err == ASY_OK) == (why.text[0] == '\0'));
        } else if ((what & 7) == 6) {
            rig_env.mono_ns += feed_u8(&f) * 10000000ull;
            err = asy_link_node_tick(r->node);
            ASY_ASSERT(err == ASY_OK || (err == ASY_ERR_TIMEOUT && !was_live));
        } else {
            act(r, feed_u8(&f));
        }
        frames_clear(&r->pending_gw);
    }
    rig_disconnect(r);
    return 0;
}
