/* gateway.c: the object, its clock, its turns. */
#include "gateway/gateway_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TICK_NS = 100 * 1000 * 1000 };

_Noreturn void gateway_die(enum asy_err err, const struct asy_why *why) {
    /* memory is ahead of the disk: nothing of this turn may leave, and the next start begins from
     * what is written */
    asy_log(ASY_LOG_BROKEN, "gateway.ledger", "err=%s why=\"%s\" action=stopping",
            asy_err_name(err), why != NULL ? why->text : "");
    _exit(70);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* The timer only ever moves nearer: a wish that is there already is not put off by a later one. */
static void wake_by(struct asy_gateway *g, uint64_t at_ns) {
    if (at_ns < g->wake_at_ns) {
        g->wake_at_ns = at_ns;
        asy_timer_at(g->timer, at_ns);
    }
}

void gateway_wake(struct asy_gateway *g) { wake_by(g, 0); }

static void on_timer(void *arg) {
    struct asy_gateway *g = arg;
    g->wake_at_ns = UINT64_MAX;
    uint64_t now = asy_env_mono_ns(g->env);
    uint64_t next = now + TICK_NS;
    nodes_tick(g, &next);
    chat_tick(g, now, &next);
    settle_tick(g, now, &next);
    if (now >= g->next_expire_ns) {
        uint64_t count;
        enum asy_err err =
            asy_ledger_expire(g->ledger, &count, asy_env_wall_ms(g->env) / 1000, EXPIRE_GRACE_S);
        if (err != ASY_OK) {
            gateway_die(err, NULL);
        }
        g->next_expire_ns = now + 1000000000u;
    }
    if (g->draining && !g->stopping && (g->jobs == NULL || now >= g->drain_deadline_ns)) {
        g->stopping = true;
        chat_cancel_all(g);
        asy_http_server_shutdown(g->http, now + 2000000000u, g->on_done, g->on_done_arg);
    }
    wake_by(g, next);
}

/* The end of a turn: what is due is signed, then the journal is committed; only then does output
 * leave. */
static void on_turn(void *arg) {
    struct asy_gateway *g = arg;
    uint64_t next = UINT64_MAX;
    nodes_reap(g);
    if (g->slot_freed) {
        g->slot_freed = false;
        chat_dispatch_waiting(g);
    }
    nodes_tick(g, &next);
    wake_by(g, next);
    if (asy_ledger_dirty(g->ledger)) {
        struct asy_why why = {{0}, {0}};
        enum asy_err err = asy_ledger_commit(g->ledger, &why);
        if (err != ASY_OK) {
            gateway_die(err, &why);
        }
    }
}

/* ---- storage key ----------------------------------------------------------------------------- */

/* 32 random bytes in a file of their own, made at the first start: whoever has the database alone
 * reads no prompt. */
static enum asy_err load_storage_key(struct asy_gateway *g, struct asy_why *why) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/storage.key", g->c.data_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        char temp[4096 + 8]; /* renamed when it is whole: a crash here leaves no half key */
        (void)snprintf(temp, sizeof temp, "%s.new", path);
        asy_env_random(g->env, g->storage_key.b, sizeof g->storage_key.b);
        fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        bool ok = fd >= 0 &&
                  write(fd, g->storage_key.b, sizeof g->storage_key.b) ==
                      (ssize_t)sizeof g->storage_key.b &&
                  fsync(fd) == 0 && rename(temp, path) == 0;
        if (fd >= 0) {
            close(fd);
        }
        return ok ? ASY_OK : asy_why_set(why, ASY_ERR_IO, NULL, "cannot write %.200s", path);
    }
    bool ok = fd >= 0 && read(fd, g->storage_key.b, sizeof g->storage_key.b) ==
                             (ssize_t)sizeof g->storage_key.b;
    if (fd >= 0) {
        close(fd);
    }
    return ok ? ASY_OK : asy_why_set(why, ASY_ERR_IO, NULL, "cannot read %.200s", path);
}

/* ---- life ------------------------------------------------------------------------------------ */

enum asy_err asy_gateway_new(struct asy_gateway **ret_gateway, struct asy_loop *loop,
                             const struct asy_gateway_config *config, struct asy_why *reterr_why) {
    struct asy_gateway *g = asy_alloc(sizeof *g);
    g->c = *config;
    g->env = asy_env_system();
    g->loop = loop;
    g->self = asy_signer_addr(config->signer);
    if (g->c.batch_interval_ms == 0) {
        g->c.batch_interval_ms = config->profile->settlement.batch_interval_ms;
    }
    g->c.confirmations = g->c.confirmations != 0 ? g->c.confirmations : 1;
    g->c.final_depth = g->c.final_depth != 0 ? g->c.final_depth : ASY_EVM_FINALIZED_DEPTH;
    g->c.ticket_life_s = g->c.ticket_life_s != 0 ? g->c.ticket_life_s : 300;
    asy_domain_init(&g->domain, config->market->chain_id, &config->market->vault);
    asy_arena_init(&g->scratch, 64u << 20);
    asy_buf_init(&g->body, ASY_MAX_RESPONSE);

    static const struct asy_http_handlers handlers = {gateway_on_request, gateway_on_gone,
                                                      gateway_on_drain, gateway_on_error};
    g->route = (struct asy_ws_route){.path = "/link",
                                     .subprotocol = ASY_LINK_SUBPROTOCOL,
                                     .handlers = &nodes_ws_handlers,
                                     .arg = g};
    const struct asy_http_config http = {
        .host = config->host, .port = config->port, .routes = &g->route, .route_count = 1};
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/gateway.db", config->data_dir);

    enum asy_err err = asy_ledger_open(
        &g->ledger, path, g->env, config->sync_full ? ASY_STORE_SYNC_FULL : ASY_STORE_SYNC_NORMAL,
        reterr_why);
    if (err == ASY_OK) {
        err = load_storage_key(g, reterr_why);
    }
    if (err == ASY_OK) {
        err = asy_chain_new(&g->chain, loop, config->rpc_url, config->market->chain_id,
                            config->signer, reterr_why);
    }
    if (err == ASY_OK) {
        err = settle_new(g, reterr_why);
    }
    if (err == ASY_OK) {
        g->timer = asy_timer_new(loop, on_timer, g);
        err = asy_http_server_new(loop, &g->http, &http, &handlers, g, reterr_why);
    }
    if (err != ASY_OK) {
        asy_gateway_free(g);
        return err;
    }
    /* after an outage the nodes come back first and send again what they are owed */
    uint64_t wait_s = g->c.ticket_life_s < RECONNECT_S ? g->c.ticket_life_s : RECONNECT_S;
    g->next_expire_ns = asy_env_mono_ns(g->env) + wait_s * 1000000000u;
    asy_loop_on_turn(loop, on_turn, g);
    g->wake_at_ns = UINT64_MAX;
    gateway_wake(g);
    *ret_gateway = g;
    return ASY_OK;
}

uint16_t asy_gateway_port(const struct asy_gateway *g) { return asy_http_server_port(g->http); }

void asy_gateway_shutdown(struct asy_gateway *g, uint64_t deadline_ns, asy_loop_cb on_done,
                          void *arg) {
    g->draining = true;
    g->drain_deadline_ns = deadline_ns;
    g->on_done = on_done;
    g->on_done_arg = arg;
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (n->link != NULL && asy_link_gw_live(n->link)) {
            asy_link_gw_drain(n->link, 5);
        }
    }
    gateway_wake(g);
}

void asy_gateway_free(struct asy_gateway *g) {
    if (g == NULL) {
        return;
    }
    asy_loop_off_turn(g->loop, on_turn, g);
    asy_chain_free(g->chain); /* hands back its tasks, which use the rest */
    asy_http_server_free(g->http);
    chat_free_all(g);
    nodes_free_all(g);
    settle_free(g);
    if (g->timer != NULL) {
        asy_timer_free(g->timer);
    }
    if (g->ledger != NULL && asy_ledger_dirty(g->ledger)) {
        struct asy_why why;
        if (asy_ledger_commit(g->ledger, &why) !=
            ASY_OK) { /* what the tasks handed back last: found again at the next start */
            asy_log(ASY_LOG_BROKEN, "gateway.ledger", "why=\"%s\"", why.text);
        }
    }
    asy_ledger_close(g->ledger);
    asy_secret_wipe(&g->storage_key, sizeof g->storage_key);
    asy_arena_done(&g->scratch);
    asy_buf_done(&g->body);
    asy_free(g);
}
