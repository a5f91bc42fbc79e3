/* node.c: the object, its engine, and its affairs on chain. */
#include "node/node_priv.h"

#include <stdio.h>
#include <unistd.h>

enum {
    TICK_NS = 1000 * 1000 * 1000,
    RETRY_NS = 2000000000, /* after a failed registration */
    CLAIM_MS = 60000,
};

_Noreturn void node_die(enum asy_err err, const struct asy_why *why) {
    /* memory is ahead of the disk, or the key is gone: nothing of this turn may leave */
    asy_log(ASY_LOG_BROKEN, "node.stop", "err=%s why=\"%s\"", asy_err_name(err),
            why != NULL ? why->text : "");
    _exit(70);
}

/* The timer only ever moves nearer: a wish that is there already is not put off by a later one. */
static void wake_by(struct asy_node *n, uint64_t at_ns) {
    if (at_ns < n->wake_at_ns) {
        n->wake_at_ns = at_ns;
        asy_timer_at(n->timer, at_ns);
    }
}

void node_wake(struct asy_node *n) { wake_by(n, 0); }

/* ---- registration: stake, and a link to the gateway ------------------------------------------ */

struct register_task {
    struct asy_node *n;
    struct asy_addr self, gateway, registry, vault, token, models;
    struct asy_hash x25519, model;
    bool registers;
    asy_u128 stake;
    uint32_t link;
    bool active;
};

static enum asy_err call(struct asy_evm *evm, struct asy_evm_account *account,
                         const struct asy_addr *to, struct asy_buf *data, enum asy_err encoded,
                         struct asy_why *why) {
    ASY_TRY(encoded);
    enum asy_err err = asy_evm_call_and_wait(account, evm, NULL, to, asy_buf_bytes(data), 90, why);
    asy_buf_clear(data);
    return err;
}

/* The model's manifest digest stands on chain, so that what a receipt names can be looked up. */
static enum asy_err register_model(struct register_task *t, struct asy_evm *evm,
                                   struct asy_evm_account *account, struct asy_buf *data,
                                   struct asy_why *why) {
    static const struct asy_hash no_root;
    struct asy_addr publisher;
    bool official;
    ASY_TRY(asy_evm_model_publisher(evm, &publisher, &official, &t->models, &t->model, why));
    if (!asy_addr_is_zero(&publisher)) {
        return ASY_OK;
    }
    enum asy_err err =
        call(evm, account, &t->models, data,
             asy_evm_enc_model_register(data, &t->model, asy_bytes_cstr(t->n->c.model.name),
                                        (struct asy_bytes){0}, &no_root),
             why);
    return err == ASY_ERR_REVERTED ? ASY_OK : err; /* another node was faster */
}

static enum asy_err register_run(void *task, struct asy_evm *evm, struct asy_evm_account *account,
                                 struct asy_why *why) {
    struct register_task *t = task;
    struct asy_buf data;
    asy_buf_init(&data, 4096);
    enum asy_err err =
        asy_evm_stake_active(evm, &t->active, &t->registry, ASY_EVM_ROLE_NODE, &t->self, why);
    if (err == ASY_OK && !t->active && t->registers) {
        err = call(evm, account, &t->token, &data,
                   asy_evm_enc_approve(&data, &t->registry, t->stake), why);
        if (err == ASY_OK) {
            err = call(evm, account, &t->registry, &data,
                       asy_evm_enc_stake_register(&data, ASY_EVM_ROLE_NODE, t->stake,
                                                  (struct asy_bytes){0}, &t->x25519),
                       why);
        }
        if (err == ASY_OK) {
            err = asy_evm_stake_active(evm, &t->active, &t->registry, ASY_EVM_ROLE_NODE, &t->self,
                                       why);
        }
    }
    if (err == ASY_OK && t->active) {
        err = asy_evm_vault_link_of(evm, &t->link, &t->vault, &t->gateway, &t->self, why);
        if (err == ASY_OK && t->link == 0) {
            err = call(evm, account, &t->vault, &data, asy_evm_enc_open_link(&data, &t->gateway),
                       why);
            if (err == ASY_OK) {
                err = asy_evm_vault_link_of(evm, &t->link, &t->vault, &t->gateway, &t->self, why);
            }
        }
    }
    if (err == ASY_OK && t->active && t->registers) {
        err = register_model(t, evm, account, &data, why);
    }
    asy_buf_done(&data);
    return err;
}

static void register_done(void *task, enum asy_err err, const struct asy_why *why) {
    struct register_task *t = task;
    struct asy_node *n = t->n;
    n->registering = false;
    if (err == ASY_OK && t->active && t->link != 0) {
        n->registered = true;
        n->up.link_number = t->link;
        asy_log(ASY_LOG_INFO, "node.registered", "link=%u", t->link);
    } else if (err != ASY_ERR_CANCELLED) {
        n->register_at_ns = asy_env_mono_ns(n->env) + RETRY_NS;
        asy_log(ASY_LOG_ODD, "node.register", "err=%s why=\"%s\"", asy_err_name(err),
                err == ASY_OK ? "this node has no active stake: register it first" : why->text);
    }
    asy_free(t);
    node_wake(n);
}

static void start_register(struct asy_node *n) {
    struct register_task *t = asy_alloc(sizeof *t);
    *t = (struct register_task){.n = n,
                                .self = n->self,
                                .gateway = n->c.gateway,
                                .registry = n->c.market->stake_registry,
                                .vault = n->c.market->vault,
                                .token = n->c.market->token,
                                .models = n->c.market->model_registry,
                                .model = n->c.model.digest,
                                .registers = n->c.registers,
                                .stake = n->c.stake * ASY_STAKE_PER_PICO};
    memcpy(t->x25519.b, n->c.x25519.b, 32);
    n->registering = true;
    asy_chain_post(n->chain, register_run, register_done, t);
}

/* ---- money: claim what has matured, redeem what is overdue ----------------------------------- */

struct claim_task {
    struct asy_node *n;
    struct asy_addr self, gateway, vault;
    uint32_t link;
    asy_u128 min_claim, claimed;
    bool has_ack, redeemed;
    struct asy_ack ack;
    struct asy_sig ack_sig;
    uint64_t now_s;
    asy_u128 credited;
};

static enum asy_err claim_run(void *task, struct asy_evm *evm, struct asy_evm_account *account,
                              struct asy_why *why) {
    struct claim_task *t = task;
    struct asy_evm_link link;
    asy_u128 claimable;
    struct asy_buf data;
    asy_buf_init(&data, 4096);
    enum asy_err err = asy_evm_vault_link(evm, &link, &t->vault, &t->gateway, t->link, why);
    if (err == ASY_OK) {
        t->credited = link.cum;
        err = asy_evm_vault_claimable(evm, &claimable, &t->vault, &t->gateway, t->link, why);
    }
    if (err == ASY_OK && t->has_ack && t->now_s > t->ack.pay_by && link.cum < t->ack.cum) {
        struct asy_evm_ack ack = {.gateway = t->ack.gateway,
                                  .node = t->ack.node,
                                  .up_to = t->ack.up_to,
                                  .cum = t->ack.cum,
                                  .pay_by_s = t->ack.pay_by};
        err = call(evm, account, &t->vault, &data,
                   asy_evm_enc_redeem(&data, &ack, asy_bytes_of(t->ack_sig.b, sizeof t->ack_sig.b)),
                   why);
        t->redeemed = err == ASY_OK;
    }
    if (err == ASY_OK && claimable >= ASY_PICO_PER_UNIT && claimable >= t->min_claim) {
        err = call(evm, account, &t->vault, &data, asy_evm_enc_claim(&data, &t->gateway), why);
        t->claimed = err == ASY_OK ? claimable : 0;
    }
    asy_buf_done(&data);
    return err;
}

static void claim_done(void *task, enum asy_err err, const struct asy_why *why) {
    struct claim_task *t = task;
    struct asy_node *n = t->n;
    char usd[ASY_USD_STR];
    n->claiming = false;
    n->claim_at_ns = asy_env_mono_ns(n->env) + n->c.claim_interval_ms * 1000000u;
    if (err != ASY_OK && err != ASY_ERR_CANCELLED) {
        asy_log(ASY_LOG_ODD, "claim", "err=%s why=\"%s\"", asy_err_name(err), why->text);
    }
    if (t->redeemed) {
        asy_log(ASY_LOG_ODD, "ack.redeemed", "why=\"the gateway did not settle in time\"");
    }
    if (t->claimed != 0) {
        asy_usd_format(usd, (struct asy_usd){t->claimed});
        asy_log(ASY_LOG_INFO, "claim", "usd=%s", usd);
    }
    n->up.credited = t->credited > n->up.credited ? t->credited : n->up.credited;
    asy_free(t);
}

static void start_claim(struct asy_node *n) {
    struct claim_task *t = asy_alloc(sizeof *t);
    *t = (struct claim_task){.n = n,
                             .self = n->self,
                             .gateway = n->c.gateway,
                             .vault = n->c.market->vault,
                             .link = n->up.link_number,
                             .min_claim = n->c.min_claim.pico,
                             .has_ack = n->up.totals.has_ack,
                             .ack = n->up.totals.ack,
                             .ack_sig = n->up.totals.ack_sig,
                             .now_s = asy_env_wall_ms(n->env) / 1000};
    n->claiming = true;
    asy_chain_post(n->chain, claim_run, claim_done, t);
}

/* ---- the engine ------------------------------------------------------------------------------ */

static struct job *by_key(struct asy_node *n, uint64_t key) {
    struct job *job;
    HASH_FIND(by_key, n->by_key, &key, sizeof key, job);
    return job;
}

static void on_up(void *arg, const struct asy_engine_model *model) {
    struct asy_node *n = arg;
    n->engine_up = true;
    asy_log(ASY_LOG_INFO, "engine.up", "context=%u slots=%u backend=\"%s\"", model->context,
            model->slots, model->backend);
    uplink_send_status(&n->up);
    node_wake(n);
}
static void on_prompt(void *arg, uint64_t key, const uint32_t *ids, size_t count, size_t cached) {
    struct job *job = by_key(arg, key);
    if (job != NULL) {
        uplink_on_prompt(job, ids, count, cached);
    }
}
static void on_tokens(void *arg, uint64_t key, const struct asy_engine_tokens *tokens) {
    struct job *job = by_key(arg, key);
    if (job != NULL) {
        uplink_on_tokens(job, tokens);
    }
}
static void on_done(void *arg, uint64_t key, const struct asy_engine_done *done) {
    struct job *job = by_key(arg, key);
    if (job != NULL) {
        uplink_on_done(job, done);
    }
}
static void on_load(void *arg, uint32_t used, uint32_t slots) {
    (void)slots;
    struct asy_node *n = arg;
    asy_metric_set(ASY_M_engine_slots_used, used);
    n->status_used = used;
}
static void on_down(void *arg, const char *why) {
    struct asy_node *n = arg;
    n->engine_up = false;
    asy_metric_add(ASY_M_engine_restarts_total, 1);
    asy_log(ASY_LOG_ODD, "engine.down", "why=\"%s\"", why);
    uplink_send_status(&n->up);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void on_timer(void *arg) {
    struct asy_node *n = arg;
    n->wake_at_ns = UINT64_MAX;
    uint64_t now = asy_env_mono_ns(n->env), next = now + TICK_NS;
    if (!n->registered && !n->registering && now >= n->register_at_ns) {
        start_register(n);
    }
    if (n->registered && !n->claiming && now >= n->claim_at_ns && !n->draining) {
        start_claim(n);
    }
    uplink_tick(&n->up, now, &next);
    if (n->draining && !n->closing && (n->up.jobs == NULL || now >= n->drain_deadline_ns)) {
        n->closing = true;
        if (n->up.ws != NULL) {
            asy_ws_close(n->up.ws, ASY_WS_GOING_AWAY, "shutting down");
        }
    }
    if (n->closing && n->up.ws == NULL && n->on_done != NULL) {
        asy_loop_cb done = n->on_done;
        n->on_done = NULL;
        done(n->on_done_arg);
        return;
    }
    wake_by(n, n->closing ? now + 20000000u : next);
}

static void on_turn(void *arg) {
    struct asy_node *n = arg;
    uint64_t next = UINT64_MAX, now = asy_env_mono_ns(n->env);
    if (n->up.ws != NULL) {
        uplink_tick(&n->up, now, &next);
    }
    wake_by(n, next);
    if (book_dirty(n->book)) {
        struct asy_why why = {{0}, {0}};
        enum asy_err err = book_commit(n->book, &why);
        if (err != ASY_OK) {
            node_die(err, &why);
        }
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

enum asy_err asy_node_new(struct asy_node **ret_node, struct asy_loop *loop,
                          const struct asy_node_config *config, struct asy_why *reterr_why) {
    static const struct asy_engine_events events = {on_up,   on_prompt, on_tokens,
                                                    on_done, on_load,   on_down};
    struct asy_node *n = asy_alloc(sizeof *n);
    n->c = *config;
    n->env = asy_env_system();
    n->loop = loop;
    n->self = asy_signer_addr(config->signer);
    n->c.claim_interval_ms = n->c.claim_interval_ms != 0 ? n->c.claim_interval_ms : CLAIM_MS;
    if (n->c.max_unsettled.pico == 0) {
        n->c.max_unsettled.pico = 100 * ASY_PICO_PER_USD;
    }
    asy_domain_init(&n->domain, config->market->chain_id, &config->market->vault);
    uplink_init(&n->up, n);
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/node.db", config->data_dir);
    enum asy_err err = book_open(&n->book, path, n->env, reterr_why);
    if (err == ASY_OK) {
        err = book_totals(n->book, &n->up.totals, &n->up.gateway);
    }
    if (err == ASY_OK) {
        err = asy_chain_new(&n->chain, loop, config->rpc_url, config->market->chain_id,
                            config->signer, reterr_why);
    }
    if (err == ASY_OK) {
        err = config->use_worker
                  ? asy_engine_worker_new(&n->engine, &n->c.worker, &events, n, reterr_why)
                  : asy_engine_echo_new(&n->engine, &n->c.echo, &events, n);
    }
    if (err != ASY_OK) {
        asy_node_free(n);
        return err;
    }
    n->timer = asy_timer_new(loop, on_timer, n);
    n->host = asy_engine_host_new(loop, n->engine);
    asy_loop_on_turn(loop, on_turn, n);
    n->wake_at_ns = UINT64_MAX;
    node_wake(n);
    *ret_node = n;
    return ASY_OK;
}

void asy_node_shutdown(struct asy_node *n, uint64_t deadline_ns, asy_loop_cb done, void *arg) {
    n->draining = true;
    n->drain_deadline_ns = deadline_ns;
    n->on_done = done;
    n->on_done_arg = arg;
    uplink_send_status(&n->up);
    node_wake(n);
}

void asy_node_free(struct asy_node *n) {
    if (n == NULL) {
        return;
    }
    asy_loop_off_turn(n->loop, on_turn, n);
    asy_chain_free(n->chain); /* hands back its tasks, which use the rest */
    uplink_done(&n->up);
    if (n->host != NULL) {
        asy_engine_host_free(n->host);
    }
    asy_engine_free(n->engine);
    if (n->timer != NULL) {
        asy_timer_free(n->timer);
    }
    if (n->book != NULL && book_dirty(n->book)) {
        struct asy_why why;
        if (book_commit(n->book, &why) != ASY_OK) { /* found again at the next start */
            asy_log(ASY_LOG_BROKEN, "node.book", "why=\"%s\"", why.text);
        }
    }
    book_close(n->book);
    asy_free(n);
}
