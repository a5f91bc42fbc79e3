/* settle.c: what happens on chain. All of it runs as tasks on the chain's thread; here is what is
 * asked, and what follows from the answers.
 *
 * A batch is BUILT in the ledger, its transaction is signed and written down (SENT) and only then
 * sent; confirmed, it becomes CONFIRMED, and FINAL when enough blocks stand on it. Every step can
 * be repeated: after a crash it goes on from the state in the ledger, with the very bytes that were
 * written down; the contract takes a number once. */
#include "gateway/gateway_priv.h"

#include <stdio.h>

enum {
    POLL_NS = 1000 * 1000 * 1000,  /* between looks at the chain */
    RETRY_NS = 1000 * 1000 * 1000, /* after a failure; doubled with each further one ... */
    RETRY_DOUBLINGS = 6,           /* ... this often at most */
    BUSY_NS = 200 * 1000 * 1000,   /* until an account that waits for a batch is looked at again */
    WAIT_RECEIPT_S = 90,
    MAX_ENTRIES = 450, /* fresh lanes and links of one transaction under EIP-7825: settlement
                          format, section 7 */
    MAX_CREDITS = 450,
    /* A job's Ack is due 600 s after its receipt. Until then: its lane may wait for an open ticket
     * (300 s), the batch for its interval (60 s), the credit for this long, and the chain for its
     * block. */
    CREDIT_AFTER_MS = 180 * 1000,
    MAX_DIRTY = 4096,
};

/* An account about which something is to be found out or done: one task at a time, repeated until
 * the chain says what it should. */
struct watch {
    struct asy_addr addr;
    bool running, again; /* a task is; news came meanwhile */
    uint64_t due_ns;     /* when it is looked at again; 0 while a task runs */
    uint32_t failures;   /* in a row */
    UT_hash_handle hh;
};

struct settle {
    struct asy_evm_follower follower; /* the thread's while `polling` */
    struct watch *watches;
    bool polling, synced, want_all, force;
    bool reorged; /* since the accounts were last compared with the chain */
    uint32_t retries;
    uint64_t poll_at_ns, batch_since_ms, uncredited_since_ms;
    uint64_t head, final;
    /* one batch at a time */
    bool busy; /* a task about the oldest unconfirmed batch runs */
    uint64_t retry_at_ns;
};

static void must(enum asy_err err) {
    if (err != ASY_OK) {
        gateway_die(err, NULL);
    }
}

static uint64_t now_ns(const struct asy_gateway *g) { return asy_env_mono_ns(g->env); }
static uint64_t now_ms(const struct asy_gateway *g) { return asy_env_wall_ms(g->env); }

uint64_t settle_head(const struct asy_gateway *g) { return g->settle->head; }

/* ---- one account: what the chain says of it, and what is to be done -------------------------- */

enum account_action { ACCOUNT_LOOK, ACCOUNT_OPEN, ACCOUNT_PULL };

struct account_task {
    struct asy_gateway *g;
    struct asy_addr vault, self, requester;
    bool has_cap;
    struct asy_cap cap;
    struct asy_sig sig;
    struct asy_hash cap_hash;
    enum account_action action;
    asy_u128 pull;
    /* found */
    struct asy_lane_facts facts;
    asy_u128 locked, pulled;
};

static struct asy_evm_cap evm_cap(const struct asy_cap *c) {
    return (struct asy_evm_cap){.requester = c->requester,
                                .gateway = c->gateway,
                                .max_spend = c->max_spend,
                                .max_locked = c->max_locked,
                                .max_price_in = c->max_price_in,
                                .max_price_out = c->max_price_out,
                                .models = c->models,
                                .voucher_signer = c->voucher_signer,
                                .nonce = c->nonce,
                                .deadline_s = c->deadline};
}

static enum asy_err look(struct account_task *t, struct asy_evm *evm, struct asy_why *why) {
    ASY_TRY(asy_evm_vault_lane_of(evm, &t->facts.lane, &t->vault, &t->self, &t->requester, why));
    ASY_TRY(asy_evm_vault_free(evm, &t->facts.free, &t->vault, &t->requester, why));
    if (t->facts.lane != 0) {
        struct asy_evm_lane lane;
        ASY_TRY(asy_evm_vault_lane(evm, &lane, &t->vault, &t->self, t->facts.lane, why));
        t->locked = lane.locked;
        t->facts.funded = lane.locked + lane.spent;
        t->facts.closes_at = lane.close_at_s;
    }
    if (t->has_cap) {
        struct asy_evm_cap_state state;
        ASY_TRY(asy_evm_vault_cap(evm, &state, &t->vault, &t->cap_hash, why));
        t->facts.cap_open = state.lane != 0 && state.lane == t->facts.lane;
        t->pulled = state.pulled;
    }
    return ASY_OK;
}

static enum asy_err account_run(void *task, struct asy_evm *evm, struct asy_evm_account *account,
                                struct asy_why *why) {
    struct account_task *t = task;
    enum asy_err err = ASY_OK;
    if (t->action != ACCOUNT_LOOK) {
        struct asy_buf data;
        struct asy_evm_cap cap = evm_cap(&t->cap);
        asy_buf_init(&data, 4096);
        err = t->action == ACCOUNT_OPEN
                  ? asy_evm_enc_open_lane(&data, &cap, asy_bytes_of(t->sig.b, sizeof t->sig.b),
                                          t->pull)
                  : asy_evm_enc_pull(&data, &cap, t->pull);
        if (err == ASY_OK) {
            err = asy_evm_call_and_wait(account, evm, NULL, &t->vault, asy_buf_bytes(&data),
                                        WAIT_RECEIPT_S, why);
        }
        asy_buf_done(&data);
    }
    ASY_TRY(err);
    return look(t, evm, why);
}

static void account_done(void *task, enum asy_err err, const struct asy_why *why);

static void post_account(struct asy_gateway *g, struct watch *w, const struct asy_account *a,
                         enum account_action action, asy_u128 pull) {
    w->running = true;
    w->due_ns = 0;
    struct account_task *t = asy_alloc(sizeof *t);
    *t = (struct account_task){.g = g,
                               .vault = g->c.market->vault,
                               .self = g->self,
                               .requester = a->addr,
                               .has_cap = a->has_cap,
                               .cap = a->cap,
                               .sig = a->cap_sig,
                               .cap_hash = a->cap_hash,
                               .action = action,
                               .pull = pull};
    asy_chain_post(g->chain, account_run, account_done, t);
}

static asy_u128 least(asy_u128 a, asy_u128 b) { return a < b ? a : b; }

static uint64_t retry_ns(const struct asy_gateway *g, uint32_t failures) {
    return now_ns(g) +
           ((uint64_t)RETRY_NS << (failures < RETRY_DOUBLINGS ? failures : RETRY_DOUBLINGS));
}

/* A signed batch holds a nonce that the chain has not seen: a transaction behind it would wait for
 * it, and it for the thread. */
static bool batch_pending(const struct asy_gateway *g) {
    struct asy_batch b;
    return g->settle->busy || (asy_ledger_oldest_batch(g->ledger, &b, ASY_BATCH_SENT) == ASY_OK &&
                               b.state == ASY_BATCH_SENT);
}

static void account_done(void *task, enum asy_err err, const struct asy_why *why) {
    struct account_task *t = task;
    struct asy_gateway *g = t->g;
    struct asy_account *a = asy_ledger_find_account(g->ledger, &t->requester);
    struct watch *w;
    HASH_FIND(hh, g->settle->watches, &t->requester, sizeof t->requester, w);
    ASY_ASSERT(w != NULL && w->running);
    w->running = false;
    char addr[ASY_ADDR_STR];
    asy_addr_format(addr, &t->requester);
    if (err != ASY_OK && err != ASY_ERR_CANCELLED) {
        w->due_ns = retry_ns(g, w->failures++);
        asy_log(ASY_LOG_ODD, "settle.account", "account=%s action=%d err=%s why=\"%s\"", addr,
                t->action, asy_err_name(err), why->text);
    }
    if (err == ASY_OK) {
        w->failures = 0;
        w->due_ns = w->again ? now_ns(g) : 0;
        w->again = false;
    }
    if (err == ASY_OK && a != NULL && (t->facts.lane != 0 || a->lane == 0)) {
        bool current = a->has_cap && asy_hash_eq(&a->cap_hash, &t->cap_hash);
        if (!current) { /* the answer is about a cap that was replaced meanwhile */
            t->facts.cap_open = a->cap_open;
        }
        if (t->facts.lane != 0) {
            must(asy_ledger_set_lane(g->ledger, a, &t->facts));
        }
        bool alive = current && t->cap.deadline > now_ms(g) / 1000 && t->facts.closes_at == 0;
        asy_u128 room = t->cap.max_locked > t->locked ? t->cap.max_locked - t->locked : 0;
        asy_u128 left = t->cap.max_spend > t->pulled ? t->cap.max_spend - t->pulled : 0;
        asy_u128 want = least(least(room, left), t->facts.free);
        bool open = alive && !t->facts.cap_open && t->action != ACCOUNT_OPEN;
        bool pull = alive && t->facts.cap_open && t->action == ACCOUNT_LOOK && want != 0 &&
                    want >= t->cap.max_locked /
                                4; /* in tranches: small change is not worth a transaction */
        if ((open || pull) && batch_pending(g)) {
            w->due_ns = now_ns(g) + BUSY_NS;
        } else if (open || pull) {
            post_account(g, w, a, open ? ACCOUNT_OPEN : ACCOUNT_PULL, want);
        } else if (t->action != ACCOUNT_LOOK) {
            asy_log(ASY_LOG_INFO, "lane.funded", "account=%s lane=%u", addr, t->facts.lane);
        }
    }
    if (!w->running && w->due_ns == 0) {
        HASH_DEL(g->settle->watches, w);
        asy_free(w);
    }
    asy_free(t);
}

void settle_account(struct asy_gateway *g, struct asy_account *a) {
    struct watch *w;
    HASH_FIND(hh, g->settle->watches, &a->addr, sizeof a->addr, w);
    if (w == NULL) {
        w = asy_alloc(sizeof *w);
        w->addr = a->addr;
        HASH_ADD(hh, g->settle->watches, addr, sizeof w->addr, w);
    }
    if (w->running) {
        w->again = true;
    } else {
        post_account(g, w, a, ACCOUNT_LOOK, 0);
    }
}

static void look_at_due(struct asy_gateway *g, uint64_t now) {
    struct watch *w, *next;
    HASH_ITER(hh, g->settle->watches, w, next) {
        if (!w->running && w->due_ns <= now) {
            post_account(g, w, asy_ledger_find_account(g->ledger, &w->addr), ACCOUNT_LOOK, 0);
        }
    }
}

static void look_at(void *arg, struct asy_account *a) {
    if (a->has_cap || a->lane != 0) {
        settle_account(arg, a);
    }
}

/* ---- following the chain --------------------------------------------------------------------- */

struct poll_task {
    struct asy_gateway *g;
    struct asy_addr vault, registry, self;
    struct asy_evm_follower *follower;
    bool idle, reverted, lost, overflow;
    struct asy_addr accounts[MAX_DIRTY];
    uint32_t lanes[MAX_DIRTY];
    struct asy_addr nodes[MAX_DIRTY];
    uint32_t account_count, lane_count, node_count;
    uint64_t final;
    struct asy_evm_gateway view; /* how many batches the chain knows */
};

static enum asy_err on_event(void *arg, const struct asy_evm_follow_event *event) {
    struct poll_task *p = arg;
    switch (event->kind) {
    case ASY_EVM_FOLLOW_BLOCK:
        return ASY_OK;
    case ASY_EVM_FOLLOW_REVERT:
        p->reverted = true;
        return ASY_OK;
    case ASY_EVM_FOLLOW_FINAL:
        p->final = event->number;
        return ASY_OK;
    case ASY_EVM_FOLLOW_LOST:
        p->lost = true;
        return ASY_OK;
    case ASY_EVM_FOLLOW_APPLY:
        break;
    }
    struct asy_evm_event e;
    if (asy_evm_event_decode(&e, event->log) != ASY_OK) {
        return ASY_OK; /* an event that this program does not know */
    }
    if (p->account_count == MAX_DIRTY || p->lane_count == MAX_DIRTY || p->node_count == MAX_DIRTY) {
        p->overflow = true;
        return ASY_OK;
    }
    bool ours = asy_addr_eq(&e.gateway, &p->self);
    if (e.type == ASY_EVM_EVENT_DEPOSITED || e.type == ASY_EVM_EVENT_WITHDRAWN ||
        (ours && (e.type == ASY_EVM_EVENT_LANE_OPENED || e.type == ASY_EVM_EVENT_CAP_REVOKED))) {
        p->accounts[p->account_count++] = e.account;
    } else if (ours &&
               (e.type == ASY_EVM_EVENT_PULLED || e.type == ASY_EVM_EVENT_CAP_REGISTERED ||
                e.type == ASY_EVM_EVENT_LANE_CLOSING || e.type == ASY_EVM_EVENT_LANE_CLOSED)) {
        p->lanes[p->lane_count++] = e.id;
    } else if ((ours && e.type == ASY_EVM_EVENT_LINK_OPENED) || e.type == ASY_EVM_EVENT_STAKED ||
               e.type == ASY_EVM_EVENT_UNBOND_ANNOUNCED || e.type == ASY_EVM_EVENT_BANNED) {
        p->nodes[p->node_count++] = e.account;
    }
    return ASY_OK;
}

static enum asy_err poll_run(void *task, struct asy_evm *evm, struct asy_evm_account *account,
                             struct asy_why *why) {
    (void)account;
    struct poll_task *p = task;
    struct asy_addr watched[2] = {p->vault, p->registry};
    struct asy_evm_filter filter = {.addrs = watched, .addr_count = ASY_COUNT(watched)};
    p->follower->arg = p;
    ASY_TRY(asy_evm_follow(evm, p->follower, &p->idle, &filter, 2000, why));
    return asy_evm_vault_gateway(evm, &p->view, &p->vault, &p->self, why);
}

/* The chain knows fewer batches than we have confirmed: a re-organisation took some back. They are
 * sent again, as they are. */
static void step_back(struct asy_gateway *g, uint64_t chain_batches) {
    for (uint64_t n = chain_batches; n < asy_ledger_batch_count(g->ledger); n++) {
        struct asy_batch b;
        must(asy_ledger_get_batch(g->ledger, &b, n));
        if (b.state >= ASY_BATCH_CONFIRMED) {
            asy_log(ASY_LOG_ODD, "batch.reorg", "number=%llu", (unsigned long long)n);
            must(asy_ledger_set_batch_state(g->ledger, n, ASY_BATCH_SENT, 0));
        }
    }
}

static void make_final(struct asy_gateway *g) {
    struct asy_batch b;
    while (asy_ledger_oldest_batch(g->ledger, &b, ASY_BATCH_CONFIRMED) == ASY_OK &&
           b.state == ASY_BATCH_CONFIRMED && b.block <= g->settle->final) {
        must(asy_ledger_set_batch_state(g->ledger, b.number, ASY_BATCH_FINAL, b.block));
    }
}

static void save_cursor(struct asy_gateway *g) {
    struct asy_buf cursor;
    asy_buf_init(&cursor, ASY_EVM_CURSOR_MAX);
    enum asy_err err = asy_evm_follower_save(&g->settle->follower, &cursor);
    ASY_ASSERT(err == ASY_OK); /* the ceiling is its own */
    must(asy_ledger_put(g->ledger, "chain/cursor", asy_buf_bytes(&cursor)));
    asy_buf_done(&cursor);
}

static void poll_done(void *task, enum asy_err err, const struct asy_why *why) {
    struct poll_task *p = task;
    struct asy_gateway *g = p->g;
    struct settle *s = g->settle;
    s->polling = false;
    s->poll_at_ns = now_ns(g) + POLL_NS;
    s->reorged =
        s->reorged || p->reverted || p->lost; /* the follower went on, whatever failed afterwards */
    if (err == ASY_ERR_STATE || p->lost) {
        asy_log(ASY_LOG_BROKEN, "chain.lost", "action=\"reading the chain anew\"");
        asy_evm_follower_init(&s->follower, g->c.market->from_block, g->c.final_depth, on_event,
                              NULL);
        s->want_all = true;
        err = ASY_ERR_AGAIN;
    }
    if (err != ASY_OK) {
        s->want_all =
            s->want_all || p->overflow || p->account_count + p->lane_count + p->node_count != 0;
        if (err != ASY_ERR_CANCELLED && err != ASY_ERR_AGAIN) {
            asy_log(ASY_LOG_ODD, "chain.poll", "err=%s why=\"%s\"", asy_err_name(err), why->text);
        }
        asy_free(p);
        return;
    }
    if (p->reverted) {
        asy_metric_add(ASY_M_chain_reorgs_total, 1);
    }
    s->head = s->follower.head;
    s->final = p->final > s->final ? p->final : s->final;
    save_cursor(g);
    if (p->view.batches > asy_ledger_batch_count(g->ledger)) {
        asy_log(ASY_LOG_BROKEN, "ledger.behind",
                "chain=%llu ledger=%llu action=\"stopping: this ledger is older than the chain; "
                "restore the newest\"",
                (unsigned long long)p->view.batches,
                (unsigned long long)asy_ledger_batch_count(g->ledger));
        gateway_die(ASY_ERR_CONFLICT, NULL);
    }
    step_back(
        g,
        p->view.batches); /* always: a batch may be taken back before the follower saw its block */
    make_final(g);
    if (s->reorged || p->overflow || s->want_all || !s->synced) {
        s->want_all = s->reorged = false;
        asy_ledger_each_account(g->ledger, look_at, g);
        for (struct node *n = g->nodes; n != NULL; n = n->next) {
            nodes_check_chain(n);
        }
    } else {
        for (uint32_t i = 0; i < p->account_count; i++) {
            struct asy_account *a = asy_ledger_find_account(g->ledger, &p->accounts[i]);
            if (a != NULL) {
                settle_account(g, a);
            }
        }
        for (uint32_t i = 0; i < p->lane_count; i++) {
            struct asy_account *a = asy_ledger_lane_account(g->ledger, p->lanes[i]);
            if (a != NULL) {
                settle_account(g, a);
            }
        }
        for (struct node *n = g->nodes; n != NULL; n = n->next) {
            for (uint32_t i = 0; i < p->node_count && n->book != NULL; i++) {
                if (asy_addr_eq(&n->hello.node, &p->nodes[i])) {
                    nodes_check_chain(n);
                }
            }
        }
    }
    s->synced = true;
    if (!p->idle) {
        s->poll_at_ns = 0; /* there is more */
    }
    asy_free(p);
    gateway_wake(g);
}

static void start_poll(struct asy_gateway *g) {
    struct settle *s = g->settle;
    struct poll_task *p = asy_alloc(sizeof *p);
    p->g = g;
    p->vault = g->c.market->vault;
    p->registry = g->c.market->stake_registry;
    p->self = g->self;
    p->follower = &s->follower;
    s->polling = true;
    asy_chain_post(g->chain, poll_run, poll_done, p);
}

/* ---- batches --------------------------------------------------------------------------------- */

struct batch_task {
    struct asy_gateway *g;
    uint64_t number;
    struct asy_addr vault, self;
    struct asy_buf data; /* calldata: to be signed */
    struct asy_buf raw;  /* signed: to be sent */
    struct asy_evm_signed signed_tx;
    bool bump; /* sign raw again, for more */
    bool confirmed, already, reverted;
    struct asy_evm_receipt receipt;
    uint32_t confirmations;
};

static void free_batch_task(struct batch_task *t) {
    asy_buf_done(&t->data);
    asy_buf_done(&t->raw);
    asy_evm_signed_done(&t->signed_tx);
    asy_free(t);
}

static struct batch_task *new_batch_task(struct asy_gateway *g, uint64_t number) {
    struct batch_task *t = asy_alloc(sizeof *t);
    t->g = g;
    t->number = number;
    t->vault = g->c.market->vault;
    t->self = g->self;
    t->confirmations = g->c.confirmations;
    asy_buf_init(&t->data, 1u << 20);
    asy_buf_init(&t->raw, 1u << 20);
    g->settle->busy = true;
    return t;
}

/* Whether the chain has this batch already. */
static enum asy_err ask(struct batch_task *t, struct asy_evm *evm, struct asy_why *why) {
    struct asy_evm_gateway view;
    ASY_TRY(asy_evm_vault_gateway(evm, &view, &t->vault, &t->self, why));
    t->already = view.batches > t->number;
    return ASY_OK;
}

static enum asy_err sign_run(void *task, struct asy_evm *evm, struct asy_evm_account *account,
                             struct asy_why *why) {
    struct batch_task *t = task;
    ASY_TRY(ask(t, evm, why));
    if (t->already) {
        return ASY_OK;
    }
    if (t->bump) {
        return asy_evm_bump(account, evm, &t->signed_tx, asy_buf_bytes(&t->raw), why);
    }
    struct asy_evm_intent intent = {.to = &t->vault, .data = asy_buf_bytes(&t->data)};
    return asy_evm_sign(account, evm, &t->signed_tx, &intent, why);
}

static void batch_confirmed(struct asy_gateway *g, uint64_t number, uint64_t block, uint64_t gas) {
    struct asy_batch b;
    g->settle->retries = 0;
    must(asy_ledger_set_batch_state(g->ledger, number, ASY_BATCH_CONFIRMED, block));
    must(asy_ledger_get_batch(g->ledger, &b, number));
    asy_metric_add(ASY_M_batches_posted_total, 1);
    asy_metric_add(ASY_M_batch_jobs_total, b.jobs);
    asy_log(ASY_LOG_INFO, "batch.confirmed",
            "number=%llu jobs=%llu entries=%u credits=%u block=%llu gas=%llu",
            (unsigned long long)number, (unsigned long long)b.jobs, b.entry_count, b.credit_count,
            (unsigned long long)block, (unsigned long long)gas);
    nodes_batch_confirmed(g, &b);
}

static void retry_later(struct asy_gateway *g, const char *what, uint64_t number, enum asy_err err,
                        const struct asy_why *why) {
    g->settle->retry_at_ns = retry_ns(g, g->settle->retries++);
    if (err != ASY_ERR_CANCELLED) {
        asy_log(ASY_LOG_ODD, what, "number=%llu err=%s why=\"%s\"", (unsigned long long)number,
                asy_err_name(err), why->text);
    }
}

static void sign_done(void *task, enum asy_err err, const struct asy_why *why) {
    struct batch_task *t = task;
    struct asy_gateway *g = t->g;
    g->settle->busy = false;
    if (err != ASY_OK) {
        retry_later(g, "batch.sign", t->number, err, why);
    } else if (t->already) {
        batch_confirmed(g, t->number, g->settle->head, 0);
    } else {
        must(asy_ledger_set_batch_tx(g->ledger, t->number, &t->signed_tx.hash,
                                     asy_buf_bytes(&t->signed_tx.raw)));
    }
    gateway_wake(g); /* the next turn sends: by then this one is committed */
    free_batch_task(t);
}

static enum asy_err send_run(void *task, struct asy_evm *evm, struct asy_evm_account *account,
                             struct asy_why *why) {
    (void)account;
    struct batch_task *t = task;
    struct asy_hash tx;
    enum asy_err err = asy_evm_send_stored(evm, &tx, asy_buf_bytes(&t->raw), why);
    if (err == ASY_OK) {
        err = asy_evm_wait_receipt(evm, &t->receipt, NULL, &tx, t->confirmations,
                                   asy_env_mono_ns(asy_env_system()) + 30 * 1000000000ull, why);
        t->confirmed = err == ASY_OK && t->receipt.ok;
        t->reverted = err == ASY_OK && !t->receipt.ok;
    }
    if (!t->confirmed &&
        err != ASY_ERR_CANCELLED) { /* another transaction of ours may have done it */
        ASY_TRY(ask(t, evm, why));
        if (t->already) {
            return ASY_OK;
        }
    }
    return err;
}

static void send_done(void *task, enum asy_err err, const struct asy_why *why) {
    struct batch_task *t = task;
    struct asy_gateway *g = t->g;
    g->settle->busy = false;
    if (t->confirmed) {
        batch_confirmed(g, t->number, t->receipt.block_number, t->receipt.gas_used);
    } else if (t->already) {
        batch_confirmed(g, t->number, g->settle->head, 0);
    } else if (err == ASY_ERR_CONFLICT ||
               t->reverted) { /* its nonce is used up: the same call is signed again */
        must(asy_ledger_set_batch_state(g->ledger, t->number, ASY_BATCH_BUILT, 0));
        retry_later(g, "batch.again", t->number, err == ASY_OK ? ASY_ERR_REVERTED : err, why);
    } else if (err == ASY_ERR_TIMEOUT) {
        struct batch_task *again = new_batch_task(g, t->number);
        again->bump = true;
        must(asy_buf_add_bytes(&again->raw, asy_buf_bytes(&t->raw)));
        asy_chain_post(g->chain, sign_run, sign_done, again);
    } else {
        retry_later(g, "batch.send", t->number, err, why);
    }
    gateway_wake(g);
    free_batch_task(t);
}

static enum asy_err calldata(struct asy_gateway *g, uint64_t number, struct asy_buf *out) {
    struct asy_entry *entries;
    struct asy_batch_credit *credits;
    uint32_t entry_count, credit_count;
    asy_arena_reset(&g->scratch);
    ASY_TRY(asy_ledger_batch_entries(g->ledger, &g->scratch, &entries, &entry_count, number));
    ASY_TRY(asy_ledger_batch_credits(g->ledger, &g->scratch, &credits, &credit_count, number));
    struct asy_evm_debit *d = asy_arena_alloc(&g->scratch, (entry_count + 1) * sizeof *d);
    struct asy_evm_credit *c = asy_arena_alloc(&g->scratch, (credit_count + 1) * sizeof *c);
    if (d == NULL || c == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    for (uint32_t i = 0; i < entry_count; i++) {
        d[i] = (struct asy_evm_debit){entries[i].lane, entries[i].count, entries[i].spent,
                                      entries[i].tree};
    }
    for (uint32_t i = 0; i < credit_count; i++) {
        c[i] = (struct asy_evm_credit){credits[i].link, credits[i].cum};
    }
    return asy_evm_enc_settle(out, number, d, entry_count, c, credit_count);
}

/* Takes the oldest batch that is not confirmed one step further. Returns whether there is one. */
static bool push_batch(struct asy_gateway *g) {
    struct asy_batch b;
    if (asy_ledger_oldest_batch(g->ledger, &b, ASY_BATCH_SENT) != ASY_OK) {
        return false;
    }
    struct batch_task *t = new_batch_task(g, b.number);
    if (b.state == ASY_BATCH_BUILT) {
        must(calldata(g, b.number, &t->data));
        asy_chain_post(g->chain, sign_run, sign_done, t);
    } else {
        must(asy_ledger_batch_raw(g->ledger, &t->raw, b.number));
        asy_chain_post(g->chain, send_run, send_done, t);
    }
    return true;
}

static void build(struct asy_gateway *g) {
    struct settle *s = g->settle;
    uint64_t number = asy_ledger_batch_count(g->ledger), wall = now_ms(g);
    uint32_t every = g->c.profile->settlement.credit_every;
    bool credits =
        s->force || every <= 1 || number % every == every - 1 ||
        (s->uncredited_since_ms != 0 && wall - s->uncredited_since_ms >= CREDIT_AFTER_MS);
    struct asy_batch b;
    must(asy_ledger_build_batch(g->ledger, &b, number, g->c.profile->settlement.batch_jobs,
                                MAX_ENTRIES, MAX_CREDITS, credits));
    s->force = false;
    s->batch_since_ms = 0;
    if (credits) {
        s->uncredited_since_ms = 0;
    } else if (s->uncredited_since_ms == 0) {
        s->uncredited_since_ms = wall;
    }
    if (b.entry_count != 0 || b.credit_count != 0) {
        asy_log(ASY_LOG_INFO, "batch.built", "number=%llu jobs=%llu entries=%u credits=%u",
                (unsigned long long)number, (unsigned long long)b.jobs, b.entry_count,
                b.credit_count);
    }
}

static bool batch_full(const struct asy_gateway *g) {
    return asy_ledger_unposted(g->ledger) >= g->c.profile->settlement.batch_jobs ||
           asy_ledger_lane_full(g->ledger);
}

void settle_poke(struct asy_gateway *g) {
    struct settle *s = g->settle;
    if (s->batch_since_ms == 0) {
        s->batch_since_ms = now_ms(g);
    }
    if (batch_full(g)) {
        gateway_wake(g);
    }
}

void settle_now(struct asy_gateway *g) {
    g->settle->force = true;
    gateway_wake(g);
}

void settle_tick(struct asy_gateway *g, uint64_t now, uint64_t *min_deadline_ns) {
    struct settle *s = g->settle;
    if (!s->polling && now >= s->poll_at_ns) {
        start_poll(g);
    }
    look_at_due(g, now);
    if (!s->synced || s->busy || now < s->retry_at_ns) {
        return;
    }
    if (push_batch(g)) {
        return;
    }
    if (asy_ledger_unposted_pay(g->ledger) == 0 && !asy_ledger_lane_full(g->ledger)) {
        s->force = false;
        s->batch_since_ms = 0;
        return; /* only unpaid tickets, if any: not worth a transaction */
    }
    if (s->batch_since_ms == 0) {
        s->batch_since_ms = now_ms(g);
    }
    uint64_t age_ms = now_ms(g) - s->batch_since_ms;
    if (s->force || age_ms >= g->c.batch_interval_ms || batch_full(g)) {
        build(g);
        *min_deadline_ns = 0; /* the next turn signs it */
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

enum asy_err settle_new(struct asy_gateway *g, struct asy_why *why) {
    (void)why;
    struct settle *s = asy_alloc(sizeof *s);
    g->settle = s;
    struct asy_buf cursor;
    asy_buf_init(&cursor, ASY_EVM_CURSOR_MAX);
    enum asy_err err = asy_ledger_get(g->ledger, "chain/cursor", &cursor);
    if (err == ASY_OK) {
        err = asy_evm_follower_load(&s->follower, asy_buf_bytes(&cursor), on_event, NULL);
    }
    if (err != ASY_OK) {
        asy_evm_follower_init(&s->follower, g->c.market->from_block, g->c.final_depth, on_event,
                              NULL);
    }
    asy_buf_done(&cursor);
    return ASY_OK;
}

void settle_free(struct asy_gateway *g) {
    struct watch *w, *next;
    if (g->settle == NULL) {
        return;
    }
    HASH_ITER(hh, g->settle->watches, w, next) {
        HASH_DEL(g->settle->watches, w);
        asy_free(w);
    }
    asy_free(g->settle);
    g->settle = NULL;
}
