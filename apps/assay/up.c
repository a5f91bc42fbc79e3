/*~ up.c: `assay up`: a whole market on one machine.
 *
 * It starts a chain (anvil) or uses one, brings the contracts there, makes keys and money for a
 * gateway, nodes and one requester, starts gateway and nodes as processes of their own, sends a
 * first chat through, and stays to restart what dies. Everything is kept in the data folder and
 * found again at the next start; each step looks first whether it was done.
 *
 *     market.c  what happens on chain before the first job; here: processes, settings, the
 * self-test
 */
#include "up_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client_priv.h"
#include "convert/convert.h"
#include "verify/verify.h"

#define AT(field) ASY_CONFIG_AT(struct up_settings, field)
static const struct asy_config_item items[] = {
    {"up", "data", ASY_CONFIG_PATH, AT(data), "assay-data", .flag = "data",
     .help = "Folder that keeps everything: chain, keys, ledger. Made if it is not there."},
    {"up", "port", ASY_CONFIG_U64, AT(port), "0", .flag = "port", .max = 65535,
     .help = "Port of the gateway on 127.0.0.1; 0 takes a free one, the same again at the next "
             "start if it is still free."},
    {"up", "chain", ASY_CONFIG_STRING, AT(chain), "embedded", .flag = "chain",
     .help = "`embedded` (anvil on this machine), or the URL of a JSON-RPC endpoint."},
    {"up", "model", ASY_CONFIG_STRING, AT(model), "smollm2-135m-instruct", .flag = "model",
     .help = "smollm2-135m-instruct, the path of a GGUF file or of a model that `assay models "
             "convert` made, or `echo` for the echo engine."},
    {"up", "engine", ASY_CONFIG_STRING, AT(engine), "exact", .flag = "engine",
     .help = "What runs a model: `exact`, the integer engine, whose answers can be proved (a GGUF "
             "file is converted first, once), or `llama`, llama.cpp."},
    {"up", "nodes", ASY_CONFIG_U64, AT(nodes), "1", .flag = "nodes", .min = 1, .max = UP_MAX_NODES,
     .help = "Nodes to start."},
    {"up", "slots", ASY_CONFIG_U64, AT(slots), "0", .flag = "slots", .max = ASY_MAX_JOBS,
     .help = "Jobs at once of each node; 0: 4 with a model, 256 with echo."},
    {"up", "profile", ASY_CONFIG_STRING, AT(profile), "infera", .flag = "profile",
     .help =
         "Parameters of the market: querais, decentral, qvac or infera, or the path of a profile."},
    {"up", "json", ASY_CONFIG_BOOL, AT(json), "no", .flag = "json",
     .help = "When ready, print one line of JSON on standard output."},
    {"up", "self_test", ASY_CONFIG_BOOL, AT(self_test), "yes", .flag = "self-test",
     .help = "Send a first chat through, verify its receipt, settle it."},
    {"up", "demo", ASY_CONFIG_BOOL, AT(demo), "no", .flag = "demo",
     .help = "End after the self-test, with status 0 if all of it worked."},
    {"up", "batch_interval", ASY_CONFIG_DURATION, AT(batch_interval_ms), "0",
     .flag = "batch-interval", .max = 540000,
     .help = "How long a settlement batch collects jobs; 0 takes the profile's."},
    {"up", "ticket_life", ASY_CONFIG_DURATION, AT(ticket_life_ms), "300s", .flag = "ticket-life",
     .min = 5000, .max = 480000, .help = "How long one job may take."},
    {"up", "echo_rate", ASY_CONFIG_U64, AT(echo_rate), "0", .flag = "echo-rate",
     .unit = "tokens a second", .help = "Pace of the echo engine; 0: as fast as it goes."},
    {"up", "echo_first_ms", ASY_CONFIG_U64, AT(echo_first_ms), "0", .flag = "echo-first-ms",
     .unit = "ms", .help = "Time to the echo engine's first token."},
    {"up", "deployer_key", ASY_CONFIG_PATH, AT(deployer_key), .flag = "deployer-key",
     .help = "Key file with funds on the chain named by --chain; its password stands in "
             "DATA/password."},
    {"up", "anvil", ASY_CONFIG_PATH, AT(anvil), .flag = "anvil",
     .help = "The anvil program; unset: where tools/setup put it."},
    {"up", "log", ASY_CONFIG_STRING, AT(log), "odd", .flag = "log-level",
     .help = "What gateway and nodes tell in DATA/*/log: trace, debug, info, odd or broken."},
};

/* ---- talking --------------------------------------------------------------------------------- */

static uint64_t now_ns(void) { return asy_env_mono_ns(asy_env_system()); }

void up_say(struct up *u, const char *what, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%6.2f s  %-10s ", (double)(now_ns() - u->begin_ns) / 1e9, what);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

const char *up_path(const struct up *u, const char *name) {
    static char paths[8][4096];
    static unsigned next;
    char *p = paths[next++ % 8];
    (void)snprintf(p, sizeof paths[0], "%s/%s", u->s.data, name);
    return p;
}

/* ---- processes ------------------------------------------------------------------------------- */

extern char **environ;

/* Starts a child with its ready descriptor, its output in DATA/NAME/log. ready_line: filled when
 * the child says it is ready. */
static enum asy_err start_child(struct up *u, struct up_child *c, char ready_line[256],
                                struct asy_why *why) {
    int ready[2];
    char log[4096];
    (void)snprintf(log, sizeof log, "%s/log", up_path(u, c->name));
    if (pipe2(ready, O_CLOEXEC) != 0) {
        return asy_why_set(why, ASY_ERR_IO, NULL, "no descriptors left");
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawn_file_actions_adddup2(&actions, ready[1], UP_READY_FD);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setpgroup(
        &attr,
        0); /* Ctrl-C at the terminal is for this process, which then ends the others in order */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawn(&c->pid, app_self(), &actions, &attr, c->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    close(ready[1]);
    if (rc != 0) {
        c->pid = 0;
        close(ready[0]);
        return asy_why_set(why, ASY_ERR_IO, NULL, "cannot start %s: %s", c->name, strerror(rc));
    }
    /* the line, or the end of the pipe: the child has died */
    size_t n = 0;
    uint64_t deadline = now_ns() + 60000000000ull;
    for (;;) {
        struct pollfd p = {.fd = ready[0], .events = POLLIN};
        int got = poll(&p, 1, 200);
        if (got > 0) {
            ssize_t k = read(ready[0], ready_line + n, 255 - n);
            if (k <= 0) {
                break;
            }
            n += (size_t)k;
            if (ready_line[n - 1] == '\n' || n == 255) {
                break;
            }
        } else if (now_ns() > deadline) {
            break;
        }
    }
    ready_line[n] = '\0';
    close(ready[0]);
    if (n == 0) {
        return asy_why_set(why, ASY_ERR_CLOSED, NULL,
                           "%s did not start; its last words are in %.150s", c->name, log);
    }
    return ASY_OK;
}

static void arg(struct up_child *c, const char *fmt, ...) ASY_PRINTF(2, 3);
static void arg(struct up_child *c, const char *fmt, ...) {
    ASY_ASSERT(c->argc + 1 < UP_MAX_ARGS);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(c->text[c->argc], sizeof c->text[0], fmt, ap);
    va_end(ap);
    c->argv[c->argc] = c->text[c->argc];
    c->argc++;
}

static enum asy_err start_gateway(struct up *u, struct asy_why *why) {
    struct up_child *c = &u->gateway;
    c->argc = 0;
    memset(c->argv, 0, sizeof c->argv);
    (void)snprintf(c->name, sizeof c->name, "gateway");
    arg(c, "assay");
    arg(c, "gateway");
    arg(c, "--data=%s", up_path(u, "gateway"));
    arg(c, "--port=%u", u->port);
    arg(c, "--rpc=%s", u->rpc_url);
    arg(c, "--market=%s", up_path(u, "market.json"));
    arg(c, "--profile=%s", u->profile_path);
    arg(c, "--key=%s", up_path(u, "keys/gateway.key"));
    arg(c, "--password=%s", up_path(u, "password"));
    arg(c, "--admin-token=%s", up_path(u, "admin-token"));
    arg(c, "--batch-interval=%llums", (unsigned long long)u->s.batch_interval_ms);
    arg(c, "--ticket-life=%llums", (unsigned long long)u->s.ticket_life_ms);
    arg(c, "--log-level=%s", u->s.log);
    arg(c, "--ready-fd=%d", UP_READY_FD);
    char line[256];
    struct asy_json *json;
    ASY_TRY(start_child(u, c, line, why));
    uint64_t port = 0;
    ASY_TRY(asy_json_parse(&json, asy_bytes_cstr(line), 4, why));
    enum asy_err err = asy_json_get_u64(&port, NULL, json, NULL, "port", 1, 65535, why);
    asy_json_free(json);
    u->port = (uint32_t)port;
    return err;
}

static enum asy_err start_node(struct up *u, uint32_t i, struct asy_why *why) {
    struct up_child *c = &u->nodes[i];
    char gateway[ASY_ADDR_STR], stake[ASY_USD_STR], name[64];
    asy_addr_format(gateway, &u->gateway_addr);
    asy_usd_format(stake, u->profile->stake.node_min);
    c->argc = 0;
    memset(c->argv, 0, sizeof c->argv);
    (void)snprintf(c->name, sizeof c->name, "node-%u", i + 1);
    arg(c, "assay");
    arg(c, "node");
    arg(c, "--data=%s", up_path(u, c->name));
    arg(c, "--gateway-url=ws://127.0.0.1:%u/link", u->port);
    arg(c, "--gateway=%s", gateway);
    arg(c, "--rpc=%s", u->rpc_url);
    arg(c, "--market=%s", up_path(u, "market.json"));
    (void)snprintf(name, sizeof name, "keys/%s.key", c->name);
    arg(c, "--key=%s", up_path(u, name));
    (void)snprintf(name, sizeof name, "keys/%s-x25519.key", c->name);
    arg(c, "--encryption-key=%s", up_path(u, name));
    arg(c, "--password=%s", up_path(u, "password"));
    arg(c, "--node-register");
    arg(c, "--node-stake=%s", stake);
    arg(c, "--node-claim-interval=5s");
    arg(c, "--model=%s", u->model_name);
    arg(c, "--slots=%u", u->slots);
    if (u->model_file[0] != '\0') {
        arg(c, "--model-file=%s", u->model_file);
    } else {
        arg(c, "--context=65536");
        arg(c, "--model-max-out=32768");
        arg(c, "--echo-rate=%u", u->s.echo_rate);
        arg(c, "--echo-first-ms=%u", u->s.echo_first_ms);
    }
    arg(c, "--log-level=%s", u->s.log);
    arg(c, "--ready-fd=%d", UP_READY_FD);
    char line[256];
    return start_child(u, c, line, why);
}

/* Asks once: a second signal tells a node or gateway to drop the jobs that it would let finish. */
static void ask_child(const struct up_child *c) {
    if (c->pid != 0) {
        (void)kill(c->pid, SIGTERM);
    }
}

static void await_child(struct up_child *c, uint64_t deadline_ns) {
    while (c->pid != 0) {
        int status;
        pid_t got = waitpid(c->pid, &status, WNOHANG);
        if (got == c->pid || (got < 0 && errno == ECHILD)) {
            c->pid = 0;
        } else if (now_ns() > deadline_ns) {
            (void)kill(c->pid, SIGKILL);
            (void)waitpid(c->pid, &status, 0);
            c->pid = 0;
        } else {
            struct timespec pause = {0, 5000000};
            (void)nanosleep(&pause, NULL);
        }
    }
}

static void stop_all(struct up *u) {
    for (uint32_t i = 0; i < u->s.nodes; i++) {
        ask_child(&u->nodes[i]);
    }
    uint64_t deadline = now_ns() + 12000000000ull;
    for (uint32_t i = 0; i < u->s.nodes; i++) {
        await_child(&u->nodes[i], deadline);
    }
    ask_child(&u->gateway);
    await_child(&u->gateway, deadline);
    if (u->anvil.pid != 0 && asy_evm_anvil_stop(&u->anvil, now_ns() + 10000000000ull) != ASY_OK) {
        up_say(u, "chain", "anvil had to be killed: its last second is lost");
    }
}

/* ---- what the gateway says ------------------------------------------------------------------- */

enum asy_err up_fetch(struct up *u, const char *method, const char *route, const char *token,
                      struct asy_bytes body, struct asy_json **ret_json, struct asy_why *why) {
    char url[512];
    struct client_response r;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u%s", u->port, route);
    ASY_TRY(client_fetch(&r, method, url, token, body, NULL, NULL, why));
    enum asy_err err = ASY_OK;
    if (r.status != 200) {
        err = asy_why_set(why, ASY_ERR_PEER, NULL, "%s %.60s gave HTTP %d: %.120s", method, route,
                          r.status, asy_buf_cstr(&r.body));
    } else if (ret_json != NULL) {
        err = asy_json_parse(ret_json, asy_buf_bytes(&r.body), ASY_MAX_JSON_DEPTH, why);
    }
    client_response_done(&r);
    return err;
}

/* Waits wait_ms at most; whether a signal says that all is to end. */
static bool stop_asked(struct up *u, int wait_ms) {
    struct signalfd_siginfo info;
    struct pollfd p = {.fd = u->signals, .events = POLLIN};
    if (poll(&p, 1, wait_ms) <= 0 || read(u->signals, &info, sizeof info) != (ssize_t)sizeof info ||
        info.ssi_signo == SIGCHLD) {
        return false;
    }
    up_say(u, "stopping", "on signal %u", info.ssi_signo);
    return true;
}

/* Asks again and again until `done` likes the answer. */
static enum asy_err until(struct up *u, const char *route,
                          bool (*done)(const struct asy_json *json), uint32_t seconds,
                          const char *what, struct asy_why *why) {
    uint64_t deadline = now_ns() + seconds * 1000000000ull, told = now_ns() + 2000000000ull;
    for (;;) {
        struct asy_json *json = NULL;
        enum asy_err err =
            up_fetch(u, "GET", route, asy_buf_cstr(&u->api_key), (struct asy_bytes){0}, &json, why);
        bool ok = err == ASY_OK && done(json);
        asy_json_free(json);
        if (ok) {
            return ASY_OK;
        }
        int status;
        for (uint32_t i = 0; i <= u->s.nodes; i++) {
            struct up_child *c = i < u->s.nodes ? &u->nodes[i] : &u->gateway;
            if (c->pid != 0 && waitpid(c->pid, &status, WNOHANG) == c->pid) {
                c->pid = 0;
                return asy_why_set(why, ASY_ERR_CLOSED, NULL,
                                   "%s died; its last words are in %.150s/log", c->name,
                                   up_path(u, c->name));
            }
        }
        if (now_ns() > deadline) {
            return asy_why_set(why, ASY_ERR_TIMEOUT, NULL, "gave up waiting for %s after %u s",
                               what, seconds);
        }
        if (now_ns() > told) {
            up_say(u, "waiting", "for %s", what);
            told = now_ns() + 5000000000ull;
        }
        if (stop_asked(u, 20)) {
            return asy_why_set(why, ASY_ERR_CANCELLED, NULL, "stopped while waiting for %s", what);
        }
    }
}

static bool any(const struct asy_json *json) {
    (void)json;
    return true;
}

static bool lane_open(const struct asy_json *json) {
    struct asy_bytes headroom;
    bool open = false;
    return asy_json_bool(&open, asy_json_get(json, "cap_open")) == ASY_OK && open &&
           asy_json_str(&headroom, asy_json_get(json, "headroom")) == ASY_OK &&
           !asy_bytes_eq(headroom, ASY_STR("0"));
}

static bool settled(const struct asy_json *json) {
    bool confirmed = false;
    const struct asy_json *settlement =
        asy_json_get(asy_json_at(asy_json_get(json, "segments"), 0), "settlement");
    return asy_json_bool(&confirmed, asy_json_get(settlement, "confirmed")) == ASY_OK && confirmed;
}

/* ---- the requester's key and cap ------------------------------------------------------------- */

static enum asy_err ensure_api_key(struct up *u, struct asy_why *why) {
    const char *path = up_path(u, "api-key");
    struct asy_json *json = NULL;
    asy_buf_clear(&u->api_key);
    if (app_read_file(&u->api_key, path, true, why) == ASY_OK) {
        if (up_fetch(u, "GET", "/v1/credit", asy_buf_cstr(&u->api_key), (struct asy_bytes){0}, NULL,
                     why) == ASY_OK) {
            return ASY_OK;
        }
        asy_buf_clear(&u->api_key); /* of a ledger that is gone */
    }
    struct asy_buf token, body;
    char addr[ASY_ADDR_STR];
    asy_addr_format(addr, &u->requester_addr);
    asy_buf_init(&token, 4096);
    asy_buf_init(&body, 4096);
    enum asy_err err = app_read_file(&token, up_path(u, "admin-token"), true, why);
    if (err == ASY_OK) {
        err = asy_buf_printf(&body, "{\"account\":\"%s\",\"label\":\"assay up\"}", addr);
    }
    if (err == ASY_OK) {
        err = up_fetch(u, "POST", "/admin/keys", asy_buf_cstr(&token), asy_buf_bytes(&body), &json,
                       why);
    }
    struct asy_bytes key;
    if (err == ASY_OK) {
        err = asy_json_get_str(&key, NULL, json, NULL, "key", 256, why);
    }
    if (err == ASY_OK) {
        err = asy_buf_add_bytes(&u->api_key, key);
    }
    if (err == ASY_OK) {
        err = app_write_file(path, asy_buf_bytes(&u->api_key), why);
    }
    asy_json_free(json);
    asy_buf_done(&token);
    asy_buf_done(&body);
    return err;
}

static enum asy_err ensure_cap(struct up *u, struct asy_why *why) {
    struct asy_json *json;
    ASY_TRY(up_fetch(u, "GET", "/v1/credit", asy_buf_cstr(&u->api_key), (struct asy_bytes){0},
                     &json, why));
    uint64_t deadline = 0, nonce = 0, now_s = asy_env_wall_ms(asy_env_system()) / 1000;
    const struct asy_json *cap = asy_json_get(json, "cap");
    bool has = !asy_json_is_null(cap) &&
               asy_json_u64(&deadline, asy_json_get(cap, "deadline")) == ASY_OK &&
               asy_json_u64(&nonce, asy_json_get(cap, "nonce")) == ASY_OK;
    asy_json_free(json);
    if (has && deadline > now_s + 86400) {
        return ASY_OK;
    }
    struct asy_buf body;
    asy_buf_init(&body, 8192);
    enum asy_err err = up_sign_cap(u, &body, nonce + 1, why);
    if (err == ASY_OK) {
        err = up_fetch(u, "POST", "/v1/caps", asy_buf_cstr(&u->api_key), asy_buf_bytes(&body), NULL,
                       why);
    }
    asy_buf_done(&body);
    return err;
}

/* ---- the first chat -------------------------------------------------------------------------- */

static enum asy_err self_test(struct up *u, struct asy_why *why) {
    struct asy_buf body, route;
    struct asy_json *json = NULL, *receipt = NULL;
    struct asy_bytes answer = {0}, text;
    char url[128];
    static const char question[] = "What does a baker do? One sentence.";
    asy_buf_init(&body, 4096);
    asy_buf_init(&route, 256);
    up_say(u, "chat", "asking %s: %s", u->model_name, question);
    enum asy_err err =
        asy_buf_printf(&body,
                       "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}],"
                       "\"max_tokens\":64,\"temperature\":0}",
                       u->model_name, question);
    if (err == ASY_OK) {
        err = up_fetch(u, "POST", "/v1/chat/completions", asy_buf_cstr(&u->api_key),
                       asy_buf_bytes(&body), &json, why);
    }
    if (err == ASY_OK) {
        const struct asy_json *message =
            asy_json_get(asy_json_at(asy_json_get(json, "choices"), 0), "message");
        err = asy_json_get_str(&answer, NULL, message, "message", "content", ASY_MAX_RESPONSE, why);
    }
    if (err == ASY_OK) {
        up_say(u, "answer", "%.*s", (int)answer.n, answer.p);
        err = asy_json_get_str(&text, NULL, asy_json_get(json, "assay"), "assay", "receipt", 128,
                               why);
    }
    if (err == ASY_OK) {
        (void)snprintf(url, sizeof url, "%.*s", (int)text.n, text.p);
        struct asy_buf token;
        asy_buf_init(&token, 4096);
        err = app_read_file(&token, up_path(u, "admin-token"), true, why);
        if (err == ASY_OK) {
            err = up_fetch(u, "POST", "/admin/settle", asy_buf_cstr(&token), (struct asy_bytes){0},
                           NULL, why);
        }
        asy_buf_done(&token);
    }
    if (err == ASY_OK) {
        err = until(u, url, settled, 60, "settlement on chain", why);
    }
    struct client_response r;
    if (err == ASY_OK) {
        char full[256];
        (void)snprintf(full, sizeof full, "http://127.0.0.1:%u%s", u->port, url);
        err = client_fetch(&r, "GET", full, asy_buf_cstr(&u->api_key), (struct asy_bytes){0}, NULL,
                           NULL, why);
        if (err == ASY_OK) {
            err = r.status == 200
                      ? up_report_receipt(u, asy_buf_bytes(&r.body), why)
                      : asy_why_set(why, ASY_ERR_PEER, NULL, "no receipt: HTTP %d", r.status);
            client_response_done(&r);
        }
    }
    asy_json_free(json);
    asy_json_free(receipt);
    asy_buf_done(&body);
    asy_buf_done(&route);
    return err;
}

/* ---- ready ----------------------------------------------------------------------------------- */

static void print_json(struct up *u) {
    struct asy_buf b;
    struct asy_jw w;
    char url[64];
    char full[4096];
    asy_buf_init(&b, 1u << 16);
    asy_jw_init(&w, &b);
    asy_jw_object(&w);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/v1", u->port);
    asy_jw_kv_cstr(&w, "base_url", url);
    asy_jw_kv_cstr(&w, "api_key", asy_buf_cstr(&u->api_key));
    asy_jw_kv_cstr(&w, "admin_token_file", up_path(u, "admin-token"));
    asy_jw_kv_cstr(&w, "rpc_url", u->rpc_url);
    asy_jw_kv_u64(&w, "chain_id", u->market.chain_id);
    asy_jw_kv_object(&w, "contracts");
    asy_jw_kv_addr(&w, "USD", &u->market.usd);
    asy_jw_kv_addr(&w, "Token", &u->market.token);
    asy_jw_kv_addr(&w, "StakeRegistry", &u->market.stake_registry);
    asy_jw_kv_addr(&w, "ModelRegistry", &u->market.model_registry);
    asy_jw_kv_addr(&w, "Vault", &u->market.vault);
    asy_jw_kv_addr(&w, "Court", &u->market.court);
    asy_jw_end(&w);
    asy_jw_kv_addr(&w, "gateway", &u->gateway_addr);
    asy_jw_kv_addr(&w, "requester", &u->requester_addr);
    asy_jw_kv_cstr(&w, "requester_key_file", up_path(u, "keys/requester.key"));
    asy_jw_kv_cstr(&w, "password_file", up_path(u, "password"));
    asy_jw_kv_array(&w, "nodes");
    for (uint32_t i = 0; i < u->s.nodes; i++) {
        asy_jw_addr(&w, &u->node_addrs[i]);
    }
    asy_jw_end(&w);
    asy_jw_kv_cstr(&w, "model", u->model_name);
    asy_jw_kv_cstr(&w, "profile", u->profile->name);
    asy_jw_kv_cstr(&w, "data_dir", realpath(u->s.data, full) != NULL ? full : u->s.data);
    asy_jw_kv_u64(&w, "ready_ms", (now_ns() - u->begin_ns) / 1000000u);
    asy_jw_kv_object(&w, "pids");
    asy_jw_kv_u64(&w, "anvil", (uint64_t)u->anvil.pid);
    asy_jw_kv_u64(&w, "gateway", (uint64_t)u->gateway.pid);
    asy_jw_kv_array(&w, "nodes");
    for (uint32_t i = 0; i < u->s.nodes; i++) {
        asy_jw_u64(&w, (uint64_t)u->nodes[i].pid);
    }
    asy_jw_end(&w);
    asy_jw_end(&w);
    asy_jw_end(&w);
    if (asy_jw_finish(&w) == ASY_OK) {
        printf("%s\n", asy_buf_cstr(&b));
        fflush(stdout);
    }
    asy_buf_done(&b);
}

static void print_how(const struct up *u) {
    fprintf(
        stderr,
        "\n  base URL   http://127.0.0.1:%u/v1\n  API key    %s\n\n"
        "  curl http://127.0.0.1:%u/v1/chat/completions -H 'Authorization: Bearer %s' \\\n"
        "    -H 'Content-Type: application/json' \\\n"
        "    -d '{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}]}'\n\n"
        "  Ctrl-C stops everything; the next start goes on from here.\n\n",
        u->port, asy_buf_cstr(&u->api_key), u->port, asy_buf_cstr(&u->api_key), u->model_name);
}

/* ---- staying up ------------------------------------------------------------------------------ */

/* Restarts what dies, until a signal says stop. */
static enum asy_err watch(struct up *u, struct asy_why *why) {
    int wait_ms = 1000;
    for (;;) {
        if (stop_asked(u, wait_ms)) {
            return ASY_OK;
        }
        wait_ms = 1000;
        for (uint32_t i = 0; i <= u->s.nodes; i++) {
            struct up_child *c = i < u->s.nodes ? &u->nodes[i] : &u->gateway;
            int status;
            if (c->pid != 0 && waitpid(c->pid, &status, WNOHANG) == c->pid) {
                c->pid = 0;
                up_say(u, "died", "%s, %s %d; starting it again", c->name,
                       WIFSIGNALED(status) ? "by signal" : "with status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
                c->restart_at_ns =
                    now_ns() + (now_ns() - c->started_ns < 2000000000u ? 100000000u : 0);
            }
            if (c->pid == 0 && now_ns() >= c->restart_at_ns) {
                c->started_ns = now_ns();
                enum asy_err err = i < u->s.nodes ? start_node(u, i, why) : start_gateway(u, why);
                if (err != ASY_OK) {
                    up_say(u, "died", "%s", why->text);
                    c->restart_at_ns = now_ns() + 1000000000u;
                } else {
                    up_say(u, "started", "%s, process %d", c->name, (int)c->pid);
                }
            }
            wait_ms = c->pid == 0 ? 50 : wait_ms; /* it is started again soon */
        }
        if (u->embedded && !asy_evm_anvil_alive(&u->anvil)) {
            return asy_why_set(why, ASY_ERR_CHAIN, NULL, "the embedded chain died");
        }
    }
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* `name` beside the program (as installed), in the checkout it was built in, or under the working
 * folder. */
static bool find_file(char ret[4096], const char *name) {
    char dir[4096];
    (void)snprintf(dir, sizeof dir, "%s", app_self());
    for (int up = 0; up < 5; up++) {
        char *slash = strrchr(dir, '/');
        if (slash == NULL) {
            break;
        }
        *slash = '\0';
        if (snprintf(ret, 4096, "%s/%s", dir, name) < 4096 && access(ret, R_OK) == 0) {
            return true;
        }
    }
    return snprintf(ret, 4096, "%s", name) < 4096 && access(ret, R_OK) == 0;
}

/* The name of a model file without folders and its ending. */
static void model_stem(char *ret, size_t cap, const char *path) {
    const char *base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t n = dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
    (void)snprintf(ret, cap, "%.*s", (int)(n < ASY_MAX_NAME - 1 ? n : ASY_MAX_NAME - 1), base);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), k = strlen(end);
    return n > k && strcmp(text + n - k, end) == 0;
}

static enum asy_err find_model(struct up *u, struct asy_why *why) {
    static const char builtin[] = "smollm2-135m-instruct";
    bool exact = strcmp(u->s.engine, "exact") == 0;
    if (!exact && strcmp(u->s.engine, "llama") != 0) {
        return asy_why_set(why, ASY_ERR_RANGE, "engine", "must be exact or llama");
    }
    if (strcmp(u->s.model, "echo") == 0) {
        (void)snprintf(u->model_name, sizeof u->model_name, "echo");
        return ASY_OK;
    }
    if (strcmp(u->s.model, builtin) == 0) {
        (void)snprintf(u->model_name, sizeof u->model_name, "%s", builtin);
        if (exact && find_file(u->model_file, "models/SmolLM2-135M-Instruct.Q4_1.exact")) {
            return ASY_OK;
        }
        if (!find_file(u->model_file, ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf")) {
            return asy_why_set(
                why, ASY_ERR_NOT_FOUND, "model",
                "the model is not here; `tools/setup run` fetches it, or take --model echo");
        }
    } else if ((ends_with(u->s.model, ".gguf") || ends_with(u->s.model, ".exact")) &&
               access(u->s.model, R_OK) == 0) {
        (void)snprintf(u->model_file, sizeof u->model_file, "%s", u->s.model);
        model_stem(u->model_name, sizeof u->model_name, u->s.model);
    } else {
        return asy_why_set(why, ASY_ERR_NOT_FOUND, "model",
                           "`%.100s` is neither a known model (%s, echo) nor a readable .gguf or "
                           ".exact file",
                           u->s.model, builtin);
    }
    u->convert = exact && ends_with(u->model_file, ".gguf");
    return ASY_OK;
}

static enum asy_err load_profile(struct up *u, struct asy_why *why) {
    char name[128];
    if (strchr(u->s.profile, '/') != NULL || strstr(u->s.profile, ".ini") != NULL) {
        (void)snprintf(u->profile_path, sizeof u->profile_path, "%s", u->s.profile);
    } else {
        (void)snprintf(name, sizeof name, "profiles/%.100s.ini", u->s.profile);
        if (!find_file(u->profile_path, name)) {
            return asy_why_set(why, ASY_ERR_NOT_FOUND, "profile",
                               "no profile `%.60s`; there are querais, decentral, qvac and infera",
                               u->s.profile);
        }
    }
    ASY_TRY(asy_profile_load(&u->profile, u->profile_path, why));
    ASY_TRY(asy_profile_check(u->profile, NULL, 0, why));
    up_say(u, "profile", "%s", u->profile->title);
    char names[512] = "";
    for (int f = 0; f < ASY_FEATURE_COUNT; f++) {
        if (u->profile->later[f]) {
            size_t n = strlen(names);
            (void)snprintf(names + n, sizeof names - n, "%s%s", n != 0 ? ", " : "",
                           asy_feature_name((enum asy_feature)f));
        }
    }
    if (names[0] != '\0') {
        up_say(u, "profile", "not available yet: %s", names);
    }
    return ASY_OK;
}

static enum asy_err make_folder(const char *path, struct asy_why *why) {
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return asy_why_set(why, ASY_ERR_IO, NULL, "cannot make the folder %.150s: %s", path,
                           strerror(errno));
    }
    return ASY_OK;
}

/* The model for the integer engine, made once and kept in the data folder: in a folder of its own
 * for each GGUF file, told apart by length and time, and for each version of the converter. */
static enum asy_err convert_model(struct up *u, struct asy_why *why) {
    char stem[ASY_MAX_NAME], folder[4096 + 64], to[sizeof folder + ASY_MAX_NAME + 16];
    struct stat st;
    if (stat(u->model_file, &st) != 0) {
        return asy_why_set(why, ASY_ERR_IO, "model", "%.150s: %s", u->model_file, strerror(errno));
    }
    model_stem(stem, sizeof stem, u->model_file);
    ASY_TRY(make_folder(up_path(u, "models"), why));
    (void)snprintf(folder, sizeof folder, "%s/%llx-%llx.%lx-%u", up_path(u, "models"),
                   (unsigned long long)st.st_size, (unsigned long long)st.st_mtim.tv_sec,
                   (unsigned long)st.st_mtim.tv_nsec, ASY_CONVERT_VERSION);
    (void)snprintf(to, sizeof to, "%s/%s.exact", folder, stem);
    ASY_TRY(make_folder(folder, why));
    if (access(to, R_OK) != 0) {
        up_say(u, "model", "converting %s for the integer engine", stem);
        char *const argv[] = {(char *)(uintptr_t) "assay",
                              (char *)(uintptr_t) "models",
                              (char *)(uintptr_t) "convert",
                              u->model_file,
                              to,
                              NULL};
        pid_t pid;
        int status = -1;
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        int rc = posix_spawn(&pid, app_self(), &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        while (rc == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        if (rc != 0 || status != 0) {
            return asy_why_set(why, ASY_ERR_UNSUPPORTED, "model",
                               "%.100s has no exact form; --engine llama runs it", stem);
        }
    }
    if (strlen(to) >= sizeof u->model_file) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, "data", "the folder's path is too long");
    }
    memcpy(u->model_file, to, strlen(to) + 1);
    return ASY_OK;
}

/* The contracts were made with one profile's parameters: another cannot be put on top. */
static enum asy_err keep_profile(struct up *u, struct asy_why *why) {
    struct asy_buf name;
    asy_buf_init(&name, 256);
    enum asy_err err = app_read_file(&name, up_path(u, "profile"), true, why);
    if (err == ASY_ERR_NOT_FOUND) {
        err = app_write_file(up_path(u, "profile"), asy_bytes_cstr(u->profile->name), why);
    } else if (err == ASY_OK && strcmp(asy_buf_cstr(&name), u->profile->name) != 0) {
        err = asy_why_set(
            why, ASY_ERR_CONFLICT, "profile",
            "%.100s was made with profile %.32s; take --profile %.32s or another --data", u->s.data,
            asy_buf_cstr(&name), asy_buf_cstr(&name));
    }
    asy_buf_done(&name);
    return err;
}

static enum asy_err make_secret(struct up *u, const char *name, struct asy_why *why) {
    const char *path = up_path(u, name);
    if (access(path, F_OK) == 0) {
        return ASY_OK;
    }
    uint8_t secret[24];
    char text[2 * sizeof secret + 1];
    asy_env_random(asy_env_system(), secret, sizeof secret);
    asy_hex_encode(text, secret, sizeof secret);
    return app_write_file(path, asy_bytes_cstr(text), why);
}

static enum asy_err prepare(struct up *u, int *ret_lock, struct asy_why *why) {
    ASY_TRY(find_model(u, why));
    u->slots = u->s.slots != 0 ? u->s.slots : u->model_file[0] != '\0' ? 4 : 256;
    ASY_TRY(load_profile(u, why));
    ASY_TRY(make_folder(u->s.data, why));
    ASY_TRY(make_folder(up_path(u, "keys"), why));
    ASY_TRY(make_folder(up_path(u, "gateway"), why));
    ASY_TRY(make_folder(up_path(u, "chain"), why));
    for (uint32_t i = 0; i < u->s.nodes; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "node-%u", i + 1);
        ASY_TRY(make_folder(up_path(u, name), why));
    }
    *ret_lock = open(up_path(u, "lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*ret_lock < 0 || flock(*ret_lock, LOCK_EX | LOCK_NB) != 0) {
        return asy_why_set(why, ASY_ERR_CONFLICT, NULL, "another `assay up` works in %.150s",
                           u->s.data);
    }
    ASY_TRY(keep_profile(u, why));
    if (u->convert) {
        ASY_TRY(convert_model(u, why));
    }
    ASY_TRY(make_secret(u, "password", why));
    ASY_TRY(make_secret(u, "admin-token", why));
    /* the port of the last time, if it is still free: base URLs that people noted stay good */
    struct asy_buf port;
    uint64_t last = 0;
    asy_buf_init(&port, 16);
    u->port = u->s.port;
    if (u->port == 0 && app_read_file(&port, up_path(u, "port"), true, why) == ASY_OK &&
        asy_bytes_to_u64(&last, asy_buf_bytes(&port)) == ASY_OK && last < 65536) {
        u->port = (uint32_t)last;
    }
    asy_buf_done(&port);
    return ASY_OK;
}

static enum asy_err start_chain(struct up *u, struct asy_why *why) {
    u->embedded = strcmp(u->s.chain, "embedded") == 0;
    if (!u->embedded) {
        (void)snprintf(u->rpc_url, sizeof u->rpc_url, "%s", u->s.chain);
        up_say(u, "chain", "%s", u->rpc_url);
        return ASY_OK;
    }
    char bin[4096], state[4096];
    if (u->s.anvil != NULL) {
        (void)snprintf(bin, sizeof bin, "%s", u->s.anvil);
    } else if (!find_file(bin, ".deps/bin/anvil")) {
        return asy_why_set(why, ASY_ERR_NOT_FOUND, "chain",
                           "anvil is not here; `tools/setup run` fetches it, or give --chain URL");
    }
    (void)snprintf(state, sizeof state, "%s", up_path(u, "chain/state.json"));
    struct asy_evm_anvil_options options = {.bin = bin,
                                            .state = state,
                                            .chain_id = UP_CHAIN_ID,
                                            .block_time_s = 1,
                                            .state_interval_s = 10};
    bool restored = false;
    ASY_TRY(asy_evm_anvil_start(&u->anvil, &restored, &options, now_ns() + 30000000000ull, why));
    (void)snprintf(u->rpc_url, sizeof u->rpc_url, "%s", u->anvil.url);
    up_say(u, "chain", "anvil, process %d, %s%s", (int)u->anvil.pid, u->rpc_url,
           restored ? " (its state file was cut off; the copy before it was taken)" : "");
    return ASY_OK;
}

static enum asy_err start_programs(struct up *u, struct asy_why *why) {
    enum asy_err err = start_gateway(u, why);
    if (err != ASY_OK && u->s.port == 0 &&
        u->port != 0) { /* the old port is taken by somebody else */
        u->port = 0;
        err = start_gateway(u, why);
    }
    ASY_TRY(err);
    char port[16];
    (void)snprintf(port, sizeof port, "%u", u->port);
    ASY_TRY(app_write_file(up_path(u, "port"), asy_bytes_cstr(port), why));
    u->gateway.started_ns = now_ns();
    up_say(u, "gateway", "process %d, http://127.0.0.1:%u/v1", (int)u->gateway.pid, u->port);
    for (uint32_t i = 0; i < u->s.nodes; i++) {
        ASY_TRY(start_node(u, i, why));
        u->nodes[i].started_ns = now_ns();
        up_say(u, "node", "%s, process %d, %u slots, %s", u->nodes[i].name, (int)u->nodes[i].pid,
               u->slots, u->model_name);
    }
    ASY_TRY(ensure_api_key(u, why));
    ASY_TRY(ensure_cap(u, why));
    ASY_TRY(
        until(u, "/ready", any, 120, "a node that is registered and has its model loaded", why));
    ASY_TRY(until(u, "/v1/credit", lane_open, 60, "the lane on chain", why));
    return up_start_clock(u, why);
}

static enum asy_err run(struct up *u, struct asy_why *why) {
    int lock = -1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    u->signals = signalfd(-1, &set, SFD_CLOEXEC);
    enum asy_err err = u->signals >= 0 ? prepare(u, &lock, why) : ASY_ERR_IO;
    if (err == ASY_OK) {
        err = start_chain(u, why);
    }
    if (err == ASY_OK) {
        err = up_make_market(u, why);
    }
    if (err == ASY_OK) {
        err = start_programs(u, why);
    }
    if (err == ASY_OK) {
        up_say(u, "ready", "after %.2f s", (double)(now_ns() - u->begin_ns) / 1e9);
    }
    if (err == ASY_OK && u->s.self_test) {
        err = self_test(u, why);
    }
    if (err == ASY_OK && u->s.json) {
        print_json(u);
    }
    if (err == ASY_OK && !u->s.demo) {
        if (!u->s.json) {
            print_how(u);
        }
        err = watch(u, why);
    }
    stop_all(u);
    if (u->signals >= 0) {
        close(u->signals);
    }
    if (lock >= 0) {
        close(lock);
    }
    return err;
}

int cmd_up(int argc, char **argv) {
    static struct up u;
    struct asy_why why = {{0}, {0}};
    bool help;
    u.begin_ns = now_ns();
    asy_log_init("up", ASY_LOG_ODD);
    struct asy_config *config = app_settings("up", "a whole market on this machine", items,
                                             ASY_COUNT(items), &u.s, argc, argv, &help);
    if (config == NULL) {
        return help ? 0 : 2;
    }
    asy_buf_init(&u.api_key, 256);
    enum asy_err err = run(&u, &why);
    asy_profile_free(u.profile);
    asy_buf_done(&u.api_key);
    asy_config_free(config);
    return err == ASY_OK ? 0 : app_fail("up", err, &why);
}
