/* nodes.c: the nodes' connections, and the gateway's side of the link protocol. */
#include "gateway/gateway_priv.h"

#include <stdio.h>

bool node_ready(const struct node *n) {
    return n->ws != NULL && !n->dead && n->admitted && asy_link_gw_live(n->link) &&
           !n->status.draining;
}

const struct asy_link_model *node_model(const struct node *n, struct asy_bytes name) {
    for (uint32_t i = 0; i < n->hello.model_count; i++) {
        if (asy_bytes_eq(name, asy_bytes_cstr(n->hello.models[i].name))) {
            return &n->hello.models[i];
        }
    }
    return NULL;
}

static void must(enum asy_err err) {
    if (err != ASY_OK) {
        gateway_die(err, NULL);
    }
}

/* ---- is it registered? ----------------------------------------------------------------------- */

struct admission {
    struct asy_gateway *g;
    struct asy_addr node;
    struct asy_addr vault, registry, self;
    uint32_t link;
    asy_u128 credited;
    bool active;
};

static enum asy_err admission_run(void *task, struct asy_evm *evm, struct asy_evm_account *account,
                                  struct asy_why *why) {
    (void)account;
    struct admission *a = task;
    ASY_TRY(asy_evm_stake_active(evm, &a->active, &a->registry, ASY_EVM_ROLE_NODE, &a->node, why));
    ASY_TRY(asy_evm_vault_link_of(evm, &a->link, &a->vault, &a->self, &a->node, why));
    if (a->link != 0) {
        struct asy_evm_link link;
        ASY_TRY(asy_evm_vault_link(evm, &link, &a->vault, &a->self, a->link, why));
        a->credited = link.cum;
    }
    return ASY_OK;
}

static struct node *find(const struct asy_gateway *g, const struct asy_addr *addr) {
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (n->book != NULL && !n->dead && asy_addr_eq(&n->hello.node, addr)) {
            return n;
        }
    }
    return NULL;
}

static bool is_stranger(const struct node *n) { return n->book == &n->stranger; }

/* Names that were served once: who asks for one later is told that no node has it now, and not that
 * there is no such model. */
static void remember_models(const struct node *n) {
    for (uint32_t i = 0; i < n->hello.model_count; i++) {
        char name[ASY_MAX_NAME + 16];
        (void)snprintf(name, sizeof name, "model/%s", n->hello.models[i].name);
        must(asy_ledger_put(n->g->ledger, name, asy_bytes_of(n->hello.models[i].digest.b, 32)));
    }
}

static void admission_done(void *task, enum asy_err err, const struct asy_why *why) {
    struct admission *a = task;
    struct asy_gateway *g = a->g;
    struct node *n = find(g, &a->node); /* it may have left meanwhile */
    char addr[ASY_ADDR_STR];
    asy_addr_format(addr, &a->node);
    if (n != NULL) {
        n->chain_asked = false;
        if (err != ASY_OK) {
            asy_log(ASY_LOG_ODD, "node.admission", "node=%s err=%s why=\"%s\"", addr,
                    asy_err_name(err), why->text);
        } else {
            bool admitted = a->active && a->link != 0;
            if (admitted && is_stranger(n)) {
                must(asy_ledger_node(g->ledger, &n->book, &n->hello.node));
            }
            if (!is_stranger(n)) {
                must(asy_ledger_set_link(g->ledger, n->book, a->link,
                                         a->credited > n->book->credited ? a->credited
                                                                         : n->book->credited));
            }
            if (admitted != n->admitted) {
                asy_log(ASY_LOG_INFO, "node.admission", "node=%s link=%u staked=%d admitted=%d",
                        addr, a->link, a->active, admitted);
            }
            n->admitted = admitted;
            if (admitted) {
                remember_models(n);
                g->slot_freed = true;
            }
        }
    }
    asy_free(a);
}

void nodes_check_chain(struct node *n) {
    if (n->chain_asked || n->book == NULL) {
        return;
    }
    n->chain_asked = true;
    struct admission *a = asy_alloc(sizeof *a);
    *a = (struct admission){.g = n->g,
                            .node = n->hello.node,
                            .vault = n->g->c.market->vault,
                            .registry = n->g->c.market->stake_registry,
                            .self = n->g->self};
    asy_chain_post(n->g->chain, admission_run, admission_done, a);
}

/* ---- link handlers --------------------------------------------------------------------------- */

static void end(struct node *n, uint16_t code, const char *why) {
    if (!n->dead) {
        n->dead = true;
        asy_log(ASY_LOG_ODD, "node.closed", "peer=%s why=\"%s\"", n->peer, why);
        asy_ws_close(n->ws, code, why);
    }
}

static void on_send(void *arg, struct asy_bytes frame) {
    struct node *n = arg;
    asy_metric_add(ASY_M_link_frames_out_total, 1);
    if (n->ws == NULL || n->dead) {
        return;
    }
    enum asy_err err = asy_ws_send(n->ws, frame);
    if (err != ASY_OK) { /* it does not read: its jobs fail, the others do not wait */
        end(n, ASY_WS_TRY_LATER, "the node does not read its frames");
    }
}

static void job_lost(void *arg, uint64_t seq, void *user) {
    struct node *n = arg;
    if (user != NULL) {
        if (asy_link_gw_forget(n->link, seq) != ASY_OK) {
            asy_log(ASY_LOG_ODD, "node.job_lost", "peer=%s err=not_held", n->peer);
        }
        chat_on_fail(user, ASY_ERR_CLOSED, "the node's connection broke");
    }
}

/* The jobs of a dead node end now: their clients do not wait until its socket is closed, and what
 * it claims for them on another connection is judged by what was relayed until now. */
static void lose_jobs(struct node *n) {
    if (n->inflight != 0) {
        asy_link_gw_each_job(n->link, job_lost, n);
    }
}

static enum asy_err on_hello(void *arg, const struct asy_link_hello *hello,
                             struct asy_link_welcome *w, struct asy_why *why) {
    struct node *n = arg;
    struct asy_gateway *g = n->g;
    if (g->draining) {
        return asy_why_set(why, ASY_ERR_STATE, NULL, "this gateway is shutting down");
    }
    struct node *other = find(g, &hello->node);
    if (other != NULL) { /* a node that reconnects faster than its old socket dies */
        end(other, ASY_WS_POLICY, "the node connected again");
        lose_jobs(other);
    }
    struct asy_node_book *book = asy_ledger_find_node(g->ledger, &hello->node);
    if (book == NULL) { /* nothing is written for it before it has shown its stake */
        book = &n->stranger;
        book->addr = hello->node;
    }
    if (hello->tickets_have > book->link_seq) {
        return asy_why_set(why, ASY_ERR_STATE, NULL,
                           "the node holds tickets that this gateway's ledger does not know");
    }
    n->hello = *hello;
    n->book = book;
    n->status = (struct asy_link_status){.slots = hello->slots};
    *w = (struct asy_link_welcome){.link = book->link,
                                   .next_link_seq = book->link_seq,
                                   .receipts_have = book->receipts_have,
                                   .has_ack = book->has_ack,
                                   .ack = book->ack,
                                   .ack_sig = book->ack_sig,
                                   .credited = book->credited,
                                   .ticket_checkpoint_next = book->ticket_checkpoint_next,
                                   .tickets_signed = book->tickets_signed,
                                   .receipt_checkpoint_next = book->receipt_checkpoint_next};
    return ASY_OK;
}

static void resend_checkpoint(void *arg, const struct asy_checkpoint *c,
                              const struct asy_sig *sig) {
    struct node *n = arg;
    struct asy_hash items[ASY_MAX_CHECKPOINT];
    must(asy_ledger_ticket_hashes(n->g->ledger, n->book, c->first, c->count, items));
    asy_link_gw_resend_checkpoint(n->link, c, sig, items);
}

/* The link has just come alive: what the node lacks is sent, what was never signed will be. */
static void catch_up(struct node *n) {
    struct asy_gateway *g = n->g;
    struct asy_node_book *book = n->book;
    if (!is_stranger(n)) {
        must(asy_ledger_checkpoints_from(g->ledger, book, ASY_CHECKPOINT_TICKETS,
                                         n->hello.tickets_have, resend_checkpoint, n));
    }
    for (uint64_t seq = book->tickets_signed; seq < book->link_seq; seq++) {
        struct asy_hash h;
        must(asy_ledger_ticket_hashes(g->ledger, book, seq, 1, &h));
        asy_link_gw_adopt_unsigned(n->link, &h);
    }
    char addr[ASY_ADDR_STR];
    asy_addr_format(addr, &n->hello.node);
    asy_log(ASY_LOG_INFO, "node.live", "node=%s peer=%s models=%u slots=%u", addr, n->peer,
            n->hello.model_count, n->hello.slots);
    nodes_check_chain(n);
}

static void on_status(void *arg, const struct asy_link_status *status) {
    struct node *n = arg;
    n->status = *status;
    n->g->slot_freed = true;
}

static void on_accept(void *arg, uint64_t seq, void *user) {
    (void)arg;
    (void)seq;
    if (user != NULL) {
        chat_on_accept(user);
    }
}

static void on_reject(void *arg, uint64_t seq, void *user, uint32_t reason, const char *param,
                      struct asy_bytes text) {
    (void)arg;
    (void)seq;
    if (user != NULL) {
        chat_on_reject(user, reason, param, text);
    }
}

static void on_fail(void *arg, uint64_t seq, void *user, enum asy_err code, struct asy_bytes text) {
    (void)arg;
    (void)seq;
    char why[128];
    (void)snprintf(why, sizeof why, "%.*s", (int)(text.n < 100 ? text.n : 100), text.p);
    if (user != NULL) {
        chat_on_fail(user, code, why);
    }
}

static void on_tokens(void *arg, uint64_t seq, void *user, const uint32_t *ids, uint32_t count,
                      struct asy_bytes text) {
    (void)arg;
    (void)seq;
    if (user != NULL) {
        chat_on_tokens(user, ids, count, text);
    }
}

static void refuse(struct node *n, const struct asy_receipt *receipt, uint64_t item,
                   const char *why) {
    struct asy_hash h;
    asy_object_hash(&h, ASY_OBJ_RECEIPT, receipt);
    asy_metric_add(ASY_M_receipts_refused_total, 1);
    asy_log(ASY_LOG_ODD, "receipt.refused", "peer=%s item=%llu why=\"%s\"", n->peer,
            (unsigned long long)item, why);
    must(asy_ledger_refuse_item(n->g->ledger, n->book, item, &h));
}

static void on_done(void *arg, uint64_t seq, void *user, const struct asy_receipt *receipt,
                    const struct asy_hash *prompt_digest, uint64_t item) {
    (void)seq;
    struct node *n = arg;
    if (user != NULL) {
        chat_on_done(user, receipt, prompt_digest, item);
    } else {
        refuse(n, receipt, item, "the ticket has expired");
    }
}

struct resent {
    struct node *n;
    const struct asy_terms *terms;
    const struct asy_receipt *receipt;
    const struct asy_hash *prompt_digest;
    bool fits;
};

/* Is the ticket one of ours, and does the receipt say no more than was relayed (where that is still
 * known)? */
static void judge_resent(void *arg, const struct asy_ticket *t) {
    struct resent *r = arg;
    struct asy_hash ours, theirs;
    asy_object_hash(&ours, ASY_OBJ_TERMS, &t->terms);
    asy_object_hash(&theirs, ASY_OBJ_TERMS, r->terms);
    if (!asy_hash_eq(&ours, &theirs) || t->state == ASY_TICKET_VOID ||
        asy_receipt_check(r->receipt, r->terms, NULL) != ASY_OK) {
        return;
    }
    struct orphan *o;
    HASH_FIND(hh, r->n->g->orphans, &ours, sizeof ours, o);
    if (o != NULL &&
        (r->receipt->out_tokens > o->count ||
         asy_receipt_output_check(r->receipt, r->prompt_digest, NULL, 0, o->ids) != ASY_OK)) {
        return;
    }
    r->fits = true;
}

static void on_resent(void *arg, const struct asy_terms *terms, const struct asy_receipt *receipt,
                      const struct asy_hash *prompt_digest, uint64_t item) {
    struct node *n = arg;
    if (is_stranger(n)) {
        end(n, ASY_WS_POLICY, "a receipt from a node that never had a ticket");
        return;
    }
    struct resent r = {n, terms, receipt, prompt_digest, false};
    enum asy_err err =
        asy_ledger_ticket_by_link(n->g->ledger, n->book, terms->link_seq, judge_resent, &r);
    if (err == ASY_ERR_STORE) {
        gateway_die(err, NULL);
    }
    if (r.fits) {
        err = asy_ledger_pay(n->g->ledger, terms, receipt, prompt_digest, item);
        if (err == ASY_ERR_STORE) {
            gateway_die(err, NULL);
        }
        r.fits = err == ASY_OK; /* STATE: paid already by another receipt */
    }
    if (!r.fits) {
        refuse(n, receipt, item, "sent again, but not of an open ticket, or more than was relayed");
    }
    settle_poke(n->g);
}

static void on_checkpoint(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig,
                          const struct asy_hash *items) {
    (void)items;
    struct node *n = arg;
    struct asy_gateway *g = n->g;
    if (is_stranger(n)) { /* its receipts have ended the link already */
        return;
    }
    must(asy_ledger_add_checkpoint(g->ledger, n->book, c, sig));
    struct asy_ack ack = {.gateway = g->self,
                          .node = n->hello.node,
                          .up_to = n->book->closed_below,
                          .cum = n->book->owed,
                          .pay_by = asy_env_wall_ms(g->env) / 1000 + ACK_PAY_BY_S};
    struct asy_sig ack_sig;
    enum asy_err err = asy_signer_sign_object(g->c.signer, &ack_sig, ASY_OBJ_ACK, &ack);
    if (err != ASY_OK) {
        gateway_die(err, NULL);
    }
    must(asy_ledger_set_ack(g->ledger, n->book, &ack, &ack_sig));
    asy_link_gw_ack(n->link, &ack, &ack_sig);
}

static void on_signed(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    struct node *n = arg;
    must(asy_ledger_add_checkpoint(n->g->ledger, n->book, c, sig));
}

/* ---- sockets --------------------------------------------------------------------------------- */

static void ws_open(void *arg, struct asy_ws *ws, const char *peer) {
    struct asy_gateway *g = arg;
    struct node *n = asy_alloc(sizeof *n);
    n->g = g;
    n->ws = ws;
    (void)snprintf(n->peer, sizeof n->peer, "%s", peer);
    asy_ws_set_user(ws, n);
    n->next = g->nodes;
    if (g->nodes != NULL) {
        g->nodes->prev = n;
    }
    g->nodes = n;
    g->node_count++;
    asy_metric_set(ASY_M_nodes_connected, g->node_count);
    struct asy_link_gw_options options = {
        .env = g->env,
        .domain = &g->domain,
        .signer = g->c.signer,
        .on = {on_send, on_hello, on_status, on_accept, on_reject, on_fail, on_tokens, on_done,
               on_resent, on_checkpoint, on_signed},
        .arg = n,
    };
    n->link = asy_link_gw_new(&options);
}

static void ws_message(void *arg, struct asy_ws *ws, struct asy_bytes in) {
    (void)arg;
    struct node *n = asy_ws_user(ws);
    if (n == NULL || n->dead) {
        return;
    }
    struct asy_why why = {{0}, {0}};
    bool was_live = asy_link_gw_live(n->link);
    enum asy_err err = asy_link_gw_recv(n->link, in, &why);
    if (err != ASY_OK) {
        end(n, err == ASY_ERR_PEER ? ASY_WS_PROTOCOL : ASY_WS_POLICY, why.text);
        return;
    }
    if (!was_live && asy_link_gw_live(n->link)) {
        catch_up(n);
    }
}

static void free_node(struct node *n) {
    struct asy_gateway *g = n->g;
    *(n->prev != NULL ? &n->prev->next : &g->nodes) = n->next;
    if (n->next != NULL) {
        n->next->prev = n->prev;
    }
    g->node_count--;
    asy_metric_set(ASY_M_nodes_connected, g->node_count);
    asy_link_gw_free(n->link);
    asy_free(n);
}

static void ws_close(void *arg, struct asy_ws *ws, uint16_t code, const char *reason) {
    (void)arg;
    struct node *n = asy_ws_user(ws);
    if (n == NULL) {
        return;
    }
    if (!n->dead && asy_link_gw_live(n->link)) {
        asy_log(ASY_LOG_INFO, "node.gone", "peer=%s code=%u why=\"%s\"", n->peer, code, reason);
    }
    n->dead = true; /* no job is offered to it any more */
    n->ws = NULL;
    lose_jobs(n);
    free_node(n);
}

const struct asy_ws_handlers nodes_ws_handlers = {
    .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};

/* ---- time ------------------------------------------------------------------------------------ */

void nodes_reap(struct asy_gateway *g) {
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (n->dead) {
            lose_jobs(n);
        }
    }
}

void nodes_tick(struct asy_gateway *g, uint64_t *min_deadline_ns) {
    uint64_t now = asy_env_mono_ns(g->env);
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (n->dead) {
            continue;
        }
        uint64_t deadline = asy_link_gw_deadline(n->link);
        if (deadline <= now) {
            enum asy_err err = asy_link_gw_tick(n->link);
            if (err == ASY_ERR_TIMEOUT) {
                end(n, ASY_WS_POLICY, "no hello in time");
                continue;
            }
            if (err != ASY_OK) { /* the signer is gone */
                gateway_die(err, NULL);
            }
            deadline = asy_link_gw_deadline(n->link);
        }
        *min_deadline_ns = deadline < *min_deadline_ns ? deadline : *min_deadline_ns;
    }
}

void nodes_free_all(struct asy_gateway *g) {
    while (g->nodes != NULL) {
        free_node(g->nodes);
    }
}

/* ---- settlement ------------------------------------------------------------------------------ */

void nodes_batch_confirmed(struct asy_gateway *g, const struct asy_batch *batch) {
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (!n->dead && asy_link_gw_live(n->link)) {
            asy_link_gw_batch_proof(n->link, batch->number, &batch->root, &batch->tx, batch->block,
                                    n->book->credited);
        }
    }
}
