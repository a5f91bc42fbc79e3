/* rig.h: both ends of links in one process, each with the memory that its program would keep on
 * disk.
 *
 * A turn's frames wait in `pending` until the turn is committed, as in the programs: then what was
 * written down is durable and the frames travel, one by one, when the test delivers them. A crash
 * forgets what was not committed and all frames on their way. */
#ifndef ASY_LINK_TEST_RIG_H
#define ASY_LINK_TEST_RIG_H

#include "base/test.h"
#include "link/link.h"
#include "link/link_priv.h"
#include "merkle/merkle.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* no test needs all of them */

/* ---- frames on their way --------------------------------------------------------------------- */

enum { RIG_FRAMES = 2048, RIG_ITEMS = 700, RIG_CHECKPOINTS = 200 };

struct frames {
    struct {
        uint8_t *p;
        size_t n;
    } at[RIG_FRAMES];
    size_t first, count;
};
static void frames_push(struct frames *q, struct asy_bytes frame) {
    ASY_ASSERT(q->count < RIG_FRAMES);
    size_t i = (q->first + q->count++) % RIG_FRAMES;
    q->at[i].p = asy_alloc(frame.n);
    q->at[i].n = frame.n;
    if (frame.n != 0) {
        memcpy(q->at[i].p, frame.p, frame.n);
    }
}
/* The oldest; the caller frees ret->p. */
static bool frames_pop(struct frames *q, struct asy_bytes *ret) {
    if (q->count == 0) {
        return false;
    }
    *ret = (struct asy_bytes){q->at[q->first].p, q->at[q->first].n};
    q->first = (q->first + 1) % RIG_FRAMES;
    q->count--;
    return true;
}
static void frames_clear(struct frames *q) {
    struct asy_bytes f;
    while (frames_pop(q, &f)) {
        asy_free((void *)(uintptr_t)f.p);
    }
}
static void frames_move(struct frames *to, struct frames *from) {
    struct asy_bytes f;
    while (frames_pop(from, &f)) {
        frames_push(to, f);
        asy_free((void *)(uintptr_t)f.p);
    }
}

/* ---- who takes part -------------------------------------------------------------------------- */

static struct asy_test_env rig_env;
static struct asy_domain rig_domain;
static struct asy_signer *rig_gw_signer, *rig_node_signers[2],
    *rig_stranger; /* the stranger is a node too */
static struct asy_addr rig_gw_addr, rig_node_addrs[2];

static struct asy_signer *rig_signer(enum asy_signer_role role, uint8_t number) {
    struct asy_seckey key = {{0x7e, 0x57, number}}; /* a test key: public, never to be used */
    struct asy_signer *signer;
    ASY_ASSERT(asy_signer_new_local(&signer, role, &key) == ASY_OK);
    ASY_ASSERT(asy_signer_set_domain(signer, &rig_domain) == ASY_OK);
    return signer;
}
static void rig_begin(void) {
    asy_test_env_init(&rig_env);
    struct asy_addr vault = {{0xa5, 0x5a, 1}};
    asy_domain_init(&rig_domain, 31337, &vault);
    rig_gw_signer = rig_signer(ASY_SIGNER_GATEWAY, 1);
    rig_gw_addr = asy_signer_addr(rig_gw_signer);
    for (uint8_t i = 0; i < 2; i++) {
        rig_node_signers[i] = rig_signer(ASY_SIGNER_NODE, (uint8_t)(10 + i));
        rig_node_addrs[i] = asy_signer_addr(rig_node_signers[i]);
    }
    rig_stranger = rig_signer(ASY_SIGNER_NODE, 99);
}
static void rig_end(void) {
    asy_signer_free(rig_gw_signer);
    asy_signer_free(rig_node_signers[0]);
    asy_signer_free(rig_node_signers[1]);
    asy_signer_free(rig_stranger);
}

/* ---- what the two programs remember ---------------------------------------------------------- */

struct rig_checkpoints {
    struct {
        struct asy_checkpoint c;
        struct asy_sig sig;
    } at[RIG_CHECKPOINTS];
    uint32_t count;
};
static uint64_t rig_items_of(const struct rig_checkpoints *s) {
    return s->count == 0 ? 0 : s->at[s->count - 1].c.first + s->at[s->count - 1].c.count;
}
static void rig_keep(struct rig_checkpoints *s, const struct asy_checkpoint *c,
                     const struct asy_sig *sig) {
    ASY_ASSERT(s->count < RIG_CHECKPOINTS);
    CHECK_U64(c->number, s->count);
    CHECK_U64(c->first, rig_items_of(s));
    s->at[s->count].c = *c;
    s->at[s->count++].sig = *sig;
}

struct gw_memory {
    uint64_t ticket_count, paid_count,
        item_count;                    /* item_count: receipt items seen, signed or not */
    struct asy_terms terms[RIG_ITEMS]; /* by linkSeq */
    struct {
        bool paid, cut;
        uint32_t keep; /* of a cut one: a receipt over more is refused */
        uint64_t item;
        asy_u128 amount;
    } tickets[RIG_ITEMS];
    struct asy_hash items[RIG_ITEMS];
    asy_u128 owed;
    struct rig_checkpoints own, nodes;
    bool has_ack;
    struct asy_ack ack;
    struct asy_sig ack_sig;
};
struct node_memory {
    uint64_t item_count, ticket_seen;
    bool seen[RIG_ITEMS];
    struct asy_hash tickets[RIG_ITEMS]; /* by linkSeq, of those seen */
    struct {
        struct asy_terms terms;
        struct asy_receipt receipt;
        struct asy_hash prompt;
    } items[RIG_ITEMS];
    asy_u128 owed;
    struct rig_checkpoints own, gateways;
    bool has_ack;
    struct asy_ack ack;
};

enum rig_node_job { RIG_NONE, RIG_OFFERED, RIG_RUNNING, RIG_GONE };
struct rig_job { /* the node's, in memory only */
    enum rig_node_job state;
    struct asy_terms terms;
    uint32_t credit, sent, keep;
    bool cancelled;
    uint64_t item; /* of its receipt */
};

struct rig {
    unsigned who; /* which node */
    struct asy_link_gw *gw;
    struct asy_link_node *node;
    struct asy_link_hello hello, own_hello; /* as received; as the node says it */
    struct gw_memory g, g_committed;
    struct node_memory n, n_committed;
    struct frames to_node, to_gw, pending_node, pending_gw;
    struct rig_job jobs[RIG_ITEMS];
    uint32_t relayed[RIG_ITEMS]; /* tokens that the gateway has taken, by linkSeq */
    bool cut[RIG_ITEMS];
    bool catching_up;
    /* counters for tests */
    uint64_t accepts, rejects, fails, token_frames, dones, resent, refused, statuses, cancels,
        late_cancels, credits, batches, drains, acks, ticket_checkpoints;
    struct asy_link_status last_status;
    uint32_t last_reason;
    char last_text[128];
    char last_param[ASY_MAX_NAME + 1];
    size_t last_bias_len;
    asy_u128 last_credited;
    enum asy_err refuse_hello, refuse_welcome;
};

/* ---- handlers: the gateway's ----------------------------------------------------------------- */

static void gw_send(void *arg, struct asy_bytes f) {
    frames_push(&((struct rig *)arg)->pending_node, f);
}
static enum asy_err gw_on_hello(void *arg, const struct asy_link_hello *hello,
                                struct asy_link_welcome *w, struct asy_why *why) {
    struct rig *r = arg;
    (void)why;
    ASY_TRY(r->refuse_hello);
    CHECK(asy_addr_eq(&hello->node, &rig_node_addrs[r->who]));
    r->hello = *hello;
    *w = (struct asy_link_welcome){.link = 7 + r->who,
                                   .next_link_seq = r->g.ticket_count,
                                   .receipts_have = rig_items_of(&r->g.nodes),
                                   .has_ack = r->g.has_ack,
                                   .ack = r->g.ack,
                                   .ack_sig = r->g.ack_sig,
                                   .credited = 12345,
                                   .ticket_checkpoint_next = r->g.own.count,
                                   .tickets_signed = rig_items_of(&r->g.own),
                                   .receipt_checkpoint_next = r->g.nodes.count};
    r->g.item_count = w->receipts_have; /* the rest comes again */
    r->catching_up = true;
    return ASY_OK;
}
static void gw_on_status(void *arg, const struct asy_link_status *s) {
    struct rig *r = arg;
    r->statuses++;
    r->last_status = *s;
}
static void gw_on_accept(void *arg, uint64_t job, void *user) {
    struct rig *r = arg;
    (void)job;
    (void)user;
    r->accepts++;
}
static void rig_note(struct rig *r, struct asy_bytes text) {
    (void)snprintf(r->last_text, sizeof r->last_text, "%.*s", (int)text.n, text.p);
}
static void gw_on_reject(void *arg, uint64_t job, void *user, uint32_t reason, const char *param,
                         struct asy_bytes text) {
    struct rig *r = arg;
    (void)job;
    (void)user;
    r->rejects++;
    r->last_reason = reason;
    (void)snprintf(r->last_param, sizeof r->last_param, "%s", param);
    rig_note(r, text);
}
static void gw_on_fail(void *arg, uint64_t job, void *user, enum asy_err code,
                       struct asy_bytes text) {
    struct rig *r = arg;
    (void)job;
    (void)user;
    CHECK(code == ASY_ERR_PEER);
    r->fails++;
    rig_note(r, text);
}
static void gw_on_tokens(void *arg, uint64_t job, void *user, const uint32_t *ids, uint32_t count,
                         struct asy_bytes text) {
    struct rig *r = arg;
    (void)user;
    (void)text;
    CHECK(!r->cut[job]);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_U64(ids[i], r->relayed[job] + i); /* the rig's token n of a job is n */
    }
    r->relayed[job] += count;
    r->token_frames++;
}
static void gw_pay(struct rig *r, uint64_t job, const struct asy_receipt *receipt, uint64_t item) {
    ASY_ASSERT(job < RIG_ITEMS && item < RIG_ITEMS);
    CHECK_U64(item, r->g.item_count);
    r->g.item_count = item + 1;
    asy_object_hash(&r->g.items[item], ASY_OBJ_RECEIPT, receipt);
    CHECK(job < r->g.ticket_count);
    CHECK_OK(asy_receipt_check(receipt, &r->g.terms[job], NULL));
    if (r->g.tickets[job].cut && receipt->out_tokens > r->g.tickets[job].keep) {
        r->refused++;
        return;
    }
    if (r->g.tickets[job].paid) { /* sent again */
        CHECK_U64(r->g.tickets[job].item, item);
        CHECK(r->g.tickets[job].amount == receipt->amount);
        return;
    }
    r->g.tickets[job].paid = true;
    r->g.tickets[job].item = item;
    r->g.tickets[job].amount = receipt->amount;
    r->g.paid_count++;
    r->g.owed += receipt->amount;
}
static void gw_on_done(void *arg, uint64_t job, void *user, const struct asy_receipt *receipt,
                       const struct asy_hash *prompt, uint64_t item) {
    struct rig *r = arg;
    (void)user;
    (void)prompt;
    r->dones++;
    gw_pay(r, job, receipt, item);
}
static void gw_on_resent(void *arg, const struct asy_terms *terms,
                         const struct asy_receipt *receipt, const struct asy_hash *prompt,
                         uint64_t item) {
    struct rig *r = arg;
    (void)prompt;
    r->resent++;
    gw_pay(r, terms->link_seq, receipt, item);
}
static void gw_on_checkpoint(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig,
                             const struct asy_hash *items) {
    struct rig *r = arg;
    rig_keep(&r->g.nodes, c, sig);
    CHECK_MEM(items, &r->g.items[c->first], c->count * sizeof *items);
    struct asy_ack ack = {.gateway = rig_gw_addr,
                          .node = rig_node_addrs[r->who],
                          .up_to = 0,
                          .cum = r->g.owed,
                          .pay_by = rig_env.wall_ms / 1000 + 300};
    CHECK_OK(asy_signer_sign_object(rig_gw_signer, &r->g.ack_sig, ASY_OBJ_ACK, &ack));
    r->g.ack = ack;
    r->g.has_ack = true;
    asy_link_gw_ack(r->gw, &r->g.ack, &r->g.ack_sig);
}
static void gw_on_signed(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    rig_keep(&((struct rig *)arg)->g.own, c, sig);
}

/* ---- handlers: the node's -------------------------------------------------------------------- */

static void node_send(void *arg, struct asy_bytes f) {
    frames_push(&((struct rig *)arg)->pending_gw, f);
}
static void node_resend(struct rig *r, uint64_t from, uint64_t to, bool adopt) {
    for (uint64_t i = from; i < to; i++) {
        asy_link_node_resend_receipt(r->node, &r->n.items[i].terms, &r->n.items[i].receipt,
                                     &r->n.items[i].prompt, i);
        if (adopt) {
            struct asy_hash h;
            asy_object_hash(&h, ASY_OBJ_RECEIPT, &r->n.items[i].receipt);
            asy_link_node_adopt_unsigned(r->node, &h);
        }
    }
}
static void node_take_ack(struct rig *r, const struct asy_ack *ack) {
    CHECK(!r->n.has_ack || ack->cum >= r->n.ack.cum);
    r->n.has_ack = true;
    r->n.ack = *ack;
}
static enum asy_err node_on_welcome(void *arg, const struct asy_addr *gateway,
                                    const struct asy_link_welcome *w, struct asy_why *why) {
    struct rig *r = arg;
    (void)why;
    ASY_TRY(r->refuse_welcome);
    CHECK(asy_addr_eq(gateway, &rig_gw_addr));
    CHECK_U64(w->link, 7 + r->who);
    CHECK(w->credited == 12345);
    if (w->has_ack) {
        node_take_ack(r, &w->ack);
    }
    for (uint32_t i = 0; i < r->n.own.count; i++) {
        const struct asy_checkpoint *c = &r->n.own.at[i].c;
        if (c->first >= w->receipts_have) {
            node_resend(r, c->first, c->first + c->count, false);
            asy_link_node_resend_checkpoint(r->node, c, &r->n.own.at[i].sig);
        }
    }
    node_resend(r, rig_items_of(&r->n.own), r->n.item_count, true);
    return ASY_OK;
}
static void node_on_offer(void *arg, uint64_t job, const struct asy_link_offer *o) {
    struct rig *r = arg;
    ASY_ASSERT(job < RIG_ITEMS && r->jobs[job].state == RIG_NONE);
    CHECK_U64(o->terms->link_seq, job);
    asy_object_hash(&r->n.tickets[job], ASY_OBJ_TERMS, o->terms);
    r->n.seen[job] = true;
    r->last_bias_len = o->bias.n;
    r->jobs[job] = (struct rig_job){.state = RIG_OFFERED, .terms = *o->terms, .credit = o->credit};
}
static void node_on_cancel(void *arg, uint64_t job, uint32_t keep, uint32_t reason) {
    struct rig *r = arg;
    r->cancels++;
    r->last_reason = reason;
    r->jobs[job].cancelled = true;
    r->jobs[job].keep = keep;
}
static void node_make_receipt(struct rig *r, const struct asy_terms *terms, uint32_t out,
                              enum asy_finish finish);
/* The receipt has gone out and covers more than the gateway has kept: another, over what it kept.
 */
static void node_on_late_cancel(void *arg, uint64_t job, uint32_t keep, uint32_t reason) {
    struct rig *r = arg;
    r->late_cancels++;
    r->last_reason = reason;
    const struct rig_job *j = &r->jobs[job];
    if (j->state == RIG_GONE && j->item != UINT64_MAX &&
        r->n.items[j->item].receipt.out_tokens > keep) {
        uint64_t item = r->n.item_count;
        node_make_receipt(r, &j->terms, keep, ASY_FINISH_CANCELLED);
        node_resend(r, item, item + 1, true);
    }
}
static void node_on_credit(void *arg, uint64_t job, uint32_t tokens) {
    struct rig *r = arg;
    r->credits++;
    r->jobs[job].credit += tokens;
}
static void node_on_tickets(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    struct rig *r = arg;
    r->ticket_checkpoints++;
    rig_keep(&r->n.gateways, c, sig);
}
static void node_on_signed(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    rig_keep(&((struct rig *)arg)->n.own, c, sig);
}
static void node_on_ack(void *arg, const struct asy_ack *ack, const struct asy_sig *sig) {
    struct rig *r = arg;
    (void)sig;
    r->acks++;
    node_take_ack(r, ack);
}
static void node_on_batch(void *arg, uint64_t number, const struct asy_hash *root,
                          const struct asy_hash *tx, uint64_t block, asy_u128 credited) {
    struct rig *r = arg;
    (void)number;
    (void)root;
    (void)tx;
    (void)block;
    r->batches++;
    r->last_credited = credited;
}
static void node_on_drain(void *arg, uint32_t seconds) {
    (void)seconds;
    ((struct rig *)arg)->drains++;
}

/* ---- connecting ------------------------------------------------------------------------------ */

static void rig_commit_gw(struct rig *r) {
    r->g_committed = r->g;
    frames_move(&r->to_node, &r->pending_node);
}
static void rig_commit_node(struct rig *r) {
    r->n_committed = r->n;
    frames_move(&r->to_gw, &r->pending_gw);
}

static struct asy_link_hello rig_hello; /* what nodes say of themselves */
static void rig_hello_default(void) {
    rig_hello = (struct asy_link_hello){.x25519 = {{1, 2, 3}}, .slots = 4, .model_count = 1};
    struct asy_link_model *m = &rig_hello.models[0];
    memcpy(m->name, "test-model", 11);
    memcpy(m->engine, "echo", 5);
    m->digest.b[0] = 9;
    m->price_in = 2;
    m->price_cached = 1;
    m->price_out = 3;
    m->context = 2048;
    m->max_out = 512;
    m->tier = ASY_TIER_AUDITED;
    memcpy(rig_hello.software, "rig", 4);
    memcpy(rig_hello.region, "test", 5);
}

static struct asy_link_gw *rig_gw_new(struct rig *r) {
    struct asy_link_gw_options o = {
        .env = &rig_env.env,
        .domain = &rig_domain,
        .signer = rig_gw_signer,
        .on = {gw_send, gw_on_hello, gw_on_status, gw_on_accept, gw_on_reject, gw_on_fail,
               gw_on_tokens, gw_on_done, gw_on_resent, gw_on_checkpoint, gw_on_signed},
        .arg = r,
    };
    return asy_link_gw_new(&o);
}
static struct asy_link_node *rig_node_new(struct rig *r) {
    r->own_hello = rig_hello;
    r->own_hello.tickets_have = rig_items_of(&r->n.gateways);
    struct asy_link_node_options o = {
        .env = &rig_env.env,
        .domain = &rig_domain,
        .signer = rig_node_signers[r->who],
        .gateway = &rig_gw_addr,
        .hello = &r->own_hello,
        .next_item = rig_items_of(&r->n.own),
        .next_checkpoint = r->n.own.count,
        .on = {node_send, node_on_welcome, node_on_offer, node_on_cancel, node_on_credit,
               node_on_tickets, node_on_signed, node_on_ack, node_on_batch, node_on_drain,
               node_on_late_cancel},
        .arg = r,
    };
    return asy_link_node_new(&o);
}
static void rig_connect(struct rig *r) {
    ASY_ASSERT(r->gw == NULL && r->node == NULL);
    r->gw = rig_gw_new(r);
    r->node = rig_node_new(r);
    memset(r->cut, 0, sizeof r->cut);
    memset(r->relayed, 0, sizeof r->relayed);
}
/* The link is gone, with all that was on its way. A program that lives on has committed its turn.
 */
static void rig_disconnect(struct rig *r) {
    asy_link_gw_free(r->gw);
    asy_link_node_free(r->node);
    r->gw = NULL;
    r->node = NULL;
    r->catching_up = false;
    frames_clear(&r->to_node);
    frames_clear(&r->to_gw);
    frames_clear(&r->pending_node);
    frames_clear(&r->pending_gw);
    memset(r->jobs, 0, sizeof r->jobs);
}
static void rig_free(struct rig *r) {
    rig_disconnect(r);
    asy_free(r);
}

/* What a gateway does once its link is live: checkpoints that the node lacks, tickets that were
 * never signed. */
static void rig_catch_up(struct rig *r) {
    if (!r->catching_up || !asy_link_gw_live(r->gw)) {
        return;
    }
    r->catching_up = false;
    for (uint32_t i = 0; i < r->g.own.count; i++) {
        const struct asy_checkpoint *c = &r->g.own.at[i].c;
        if (c->first >= r->hello.tickets_have) {
            struct asy_hash items[ASY_MAX_CHECKPOINT];
            for (uint32_t k = 0; k < c->count; k++) {
                asy_object_hash(&items[k], ASY_OBJ_TERMS, &r->g.terms[c->first + k]);
            }
            asy_link_gw_resend_checkpoint(r->gw, c, &r->g.own.at[i].sig, items);
        }
    }
    for (uint64_t i = rig_items_of(&r->g.own); i < r->g.ticket_count; i++) {
        struct asy_hash h;
        asy_object_hash(&h, ASY_OBJ_TERMS, &r->g.terms[i]);
        asy_link_gw_adopt_unsigned(r->gw, &h);
    }
}

static struct asy_why rig_why;
static enum asy_err rig_deliver_gw(struct rig *r) {
    struct asy_bytes f;
    if (!frames_pop(&r->to_gw, &f)) {
        return ASY_OK;
    }
    enum asy_err err = asy_link_gw_recv(r->gw, f, &rig_why);
    asy_free((void *)(uintptr_t)f.p);
    if (err == ASY_OK) {
        rig_catch_up(r);
    }
    return err;
}
static enum asy_err rig_deliver_node(struct rig *r) {
    struct asy_bytes f;
    if (!frames_pop(&r->to_node, &f)) {
        return ASY_OK;
    }
    enum asy_err err = asy_link_node_recv(r->node, f, &rig_why);
    asy_free((void *)(uintptr_t)f.p);
    return err;
}
/* Commits and delivers until nothing is on its way. */
static void rig_settle_frames(struct rig *r) {
    do {
        rig_commit_gw(r);
        rig_commit_node(r);
        enum asy_err a = rig_deliver_gw(r), b = rig_deliver_node(r);
        if (a != ASY_OK || b != ASY_OK) {
            fprintf(stderr, "link ended: %s\n", rig_why.text);
            CHECK(a == ASY_OK && b == ASY_OK);
            return;
        }
    } while (r->to_node.count + r->to_gw.count + r->pending_node.count + r->pending_gw.count != 0);
}
static void rig_tick(struct rig *r, uint64_t ms) {
    rig_env.mono_ns += ms * 1000000u;
    rig_env.wall_ms += ms;
    CHECK_OK(asy_link_gw_tick(r->gw));
    CHECK_OK(asy_link_node_tick(r->node));
}
static struct rig *rig_live(unsigned who) {
    struct rig *r = asy_alloc(sizeof *r);
    r->who = who;
    rig_connect(r);
    rig_settle_frames(r);
    CHECK(asy_link_gw_live(r->gw) && asy_link_node_live(r->node));
    return r;
}

/* ---- the programs' doings -------------------------------------------------------------------- */

static const struct asy_cap rig_cap = {.max_spend = 1u << 30,
                                       .max_locked = 1u << 30,
                                       .max_price_in = 10,
                                       .max_price_out = 10,
                                       .deadline = 4000000000u};

static struct asy_terms rig_terms(const struct rig *r, uint64_t seq) {
    struct asy_terms t = {.gateway = rig_gw_addr,
                          .node = rig_node_addrs[r->who],
                          .lane_seq = 1000 + seq,
                          .link_seq = seq,
                          .max_in = 100,
                          .max_out = 400,
                          .price_in = 2,
                          .price_cached = 1,
                          .price_out = 3,
                          .tier = ASY_TIER_AUDITED,
                          .issued_at = rig_env.wall_ms / 1000,
                          .deadline = rig_env.wall_ms / 1000 + 600};
    struct asy_hash seed = {{0x5e}};
    asy_object_hash(&t.cap, ASY_OBJ_CAP, &rig_cap);
    asy_job_sampling_hash(&t.sampling, ASY_STR("settings"), &seed, NULL, 0);
    asy_test_fill(&t.job_id, sizeof t.job_id);
    return t;
}
static struct asy_link_offer rig_offer_of(const struct asy_terms *terms, uint32_t credit) {
    return (struct asy_link_offer){.terms = terms,
                                   .messages = ASY_STR("[]"),
                                   .settings = ASY_STR("settings"),
                                   .seed = {{0x5e}},
                                   .credit = credit,
                                   .model = ASY_STR("test-model"),
                                   .cap = &rig_cap};
}
/* Issues and offers a ticket; its linkSeq. */
static uint64_t rig_offer(struct rig *r, uint32_t credit) {
    uint64_t seq = r->g.ticket_count;
    ASY_ASSERT(seq < RIG_ITEMS);
    CHECK_U64(asy_link_gw_next_seq(r->gw), seq);
    r->g.terms[seq] = rig_terms(r, seq);
    r->g.ticket_count++;
    struct asy_link_offer o = rig_offer_of(&r->g.terms[seq], credit);
    CHECK_OK(asy_link_gw_offer(r->gw, &o, r));
    return seq;
}
static void rig_accept(struct rig *r, uint64_t job) {
    CHECK_OK(asy_link_node_accept(r->node, job));
    r->jobs[job].state = RIG_RUNNING;
}
static void rig_send_tokens(struct rig *r, uint64_t job, uint32_t count) {
    uint32_t ids[400];
    ASY_ASSERT(count <= ASY_COUNT(ids));
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = r->jobs[job].sent + i;
    }
    CHECK_OK(asy_link_node_tokens(r->node, job, ids, count, ASY_STR("text")));
    r->jobs[job].sent += count;
    r->jobs[job].credit -= count;
}
static struct asy_receipt rig_receipt(const struct asy_terms *terms, uint32_t out,
                                      enum asy_finish finish) {
    struct asy_receipt receipt = {
        .in_tokens = 5, .cached_tokens = 2, .out_tokens = out, .finish = (uint8_t)finish};
    asy_object_hash(&receipt.terms, ASY_OBJ_TERMS, terms);
    ASY_ASSERT(asy_job_cost(&receipt.amount, terms, 5, 2, out) == ASY_OK);
    return receipt;
}
static void node_make_receipt(struct rig *r, const struct asy_terms *terms, uint32_t out,
                              enum asy_finish finish) {
    uint64_t item = r->n.item_count++;
    ASY_ASSERT(item < RIG_ITEMS);
    r->n.items[item].terms = *terms;
    r->n.items[item].receipt = rig_receipt(terms, out, finish);
    r->n.items[item].prompt = (struct asy_hash){{(uint8_t)terms->link_seq}};
    r->n.owed += r->n.items[item].receipt.amount;
}
/* The node makes a receipt and writes it down; with the link alive it is sent. */
static void rig_make_receipt(struct rig *r, uint64_t job, uint32_t out, enum asy_finish finish,
                             bool send) {
    uint64_t item = r->n.item_count, got = item;
    node_make_receipt(r, &r->jobs[job].terms, out, finish);
    r->jobs[job].state = RIG_GONE;
    r->jobs[job].item = item;
    if (send) {
        CHECK_OK(asy_link_node_done(r->node, &got, job, &r->n.items[item].receipt,
                                    &r->n.items[item].prompt));
    }
    CHECK_U64(got, item);
}
/* Ends a job that the node gives up, without a receipt. */
static void rig_gone(struct rig *r, uint64_t job) {
    r->jobs[job].state = RIG_GONE;
    r->jobs[job].item = UINT64_MAX;
}
/* The gateway cuts a job that it holds, once. */
static enum asy_err rig_cancel(struct rig *r, uint64_t job, uint32_t keep, enum asy_cancel reason) {
    enum asy_err err = asy_link_gw_cancel(r->gw, job, keep, reason);
    if (err == ASY_OK && !r->cut[job]) {
        r->cut[job] = r->g.tickets[job].cut = true;
        r->g.tickets[job].keep = keep;
    }
    return err;
}
static void rig_done(struct rig *r, uint64_t job) {
    uint32_t out = r->jobs[job].sent;
    if (r->jobs[job].cancelled && r->jobs[job].keep < out) {
        out = r->jobs[job].keep;
    }
    rig_make_receipt(r, job, out, r->jobs[job].cancelled ? ASY_FINISH_CANCELLED : ASY_FINISH_STOP,
                     true);
}

#endif
