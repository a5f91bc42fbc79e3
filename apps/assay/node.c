/* node.c: `assay node`: settings, objects, loop. */
#include "assay_priv.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "config/config.h"
#include "model/model.h"
#include "node/node.h"

struct settings {
    const char *data, *gateway_url, *gateway, *region, *log;
    const char *key, *password, *encryption_key;
    const char *rpc, *market;
    const char *model_name, *model_file, *licence, *backend, *plugin;
    uint32_t slots, context, max_out, threads, batch, ready_fd, echo_rate, echo_first_ms;
    struct asy_usd price_in, price_cached, price_out, stake, min_claim, max_unsettled;
    uint64_t claim_ms;
    bool registers;
};
#define AT(field) ASY_CONFIG_AT(struct settings, field)

static const struct asy_config_item items[] = {
    {"node", "data", ASY_CONFIG_PATH, AT(data), .required = true, .flag = "data",
     .help = "Folder of the node's book: tickets and receipts that are not paid on chain yet."},
    {"node", "gateway_url", ASY_CONFIG_STRING, AT(gateway_url), .required = true,
     .flag = "gateway-url", .help = "ws://host:port/link or wss://... of the gateway to work for."},
    {"node", "gateway", ASY_CONFIG_STRING, AT(gateway), .required = true, .flag = "gateway",
     .help = "The gateway's chain address: the node talks to no other."},
    {"node", "region", ASY_CONFIG_STRING, AT(region), "", .flag = "region", .max = 16,
     .help = "Where it stands, for requests that ask for a region."},
    {"node", "claim_interval", ASY_CONFIG_DURATION, AT(claim_ms), "60s",
     .help = "How often it looks whether pay has matured on chain."},
    {"node", "min_claim", ASY_CONFIG_USD, AT(min_claim), "0.01",
     .help = "Pay below this stays in the vault: a claim costs gas."},
    {"node", "max_unsettled", ASY_CONFIG_USD, AT(max_unsettled), "100",
     .help = "Offers are refused while the gateway has acknowledged more than this beyond what is "
             "on chain."},
    {"node", "register", ASY_CONFIG_BOOL, AT(registers), "no",
     .help = "Registers itself on chain, with the stake below, if it is not registered yet."},
    {"node", "stake", ASY_CONFIG_USD, AT(stake), "0", .unit = "stake tokens",
     .help = "Stake to register with."},
    {"node", "log", ASY_CONFIG_STRING, AT(log), "info", .flag = "log-level",
     .help = "trace, debug, info, odd or broken: what is told on standard error."},
    {"node", "ready_fd", ASY_CONFIG_U64, AT(ready_fd), .flag = "ready-fd", .max = 1023,
     .help = "Descriptor on which one line of JSON tells that the node runs; 0: none."},
    {"key", "file", ASY_CONFIG_PATH, AT(key), .required = true, .flag = "key",
     .help = "Key file of the node's identity (assay wallet new)."},
    {"key", "encryption", ASY_CONFIG_PATH, AT(encryption_key), .required = true,
     .flag = "encryption-key", .help = "X25519 key file, for sealed jobs."},
    {"key", "password", ASY_CONFIG_PATH, AT(password), .required = true, .flag = "password",
     .help = "File with the password of both key files."},
    {"chain", "rpc", ASY_CONFIG_STRING, AT(rpc), .required = true, .flag = "rpc",
     .help = "JSON-RPC endpoint of the chain."},
    {"chain", "market", ASY_CONFIG_PATH, AT(market), .required = true, .flag = "market",
     .help = "Addresses file of the deployed contracts."},
    {"model", "name", ASY_CONFIG_STRING, AT(model_name), .required = true, .flag = "model",
     .max = ASY_MAX_NAME,
     .help = "Name that clients ask for. `echo` without a file is the echo engine, for tests."},
    {"model", "file", ASY_CONFIG_PATH, AT(model_file), .flag = "model-file",
     .help = "GGUF file; without it the echo engine answers."},
    {"model", "licence", ASY_CONFIG_STRING, AT(licence), "Apache-2.0",
     .help = "SPDX expression of the model's licence: part of its manifest."},
    {"model", "price_in", ASY_CONFIG_USD, AT(price_in), "0.01", .flag = "price-in",
     .unit = "USD per million tokens", .help = "Asked for prompt tokens."},
    {"model", "price_cached", ASY_CONFIG_USD, AT(price_cached), "0.01",
     .unit = "USD per million tokens", .help = "Asked for prompt tokens that are cached already."},
    {"model", "price_out", ASY_CONFIG_USD, AT(price_out), "0.04", .flag = "price-out",
     .unit = "USD per million tokens", .help = "Asked for output tokens."},
    {"model", "slots", ASY_CONFIG_U64, AT(slots), "4", .flag = "slots", .min = 1,
     .max = ASY_MAX_JOBS,
     .help = "Jobs at once. Memory grows with slots times context; llama.cpp takes at most 64."},
    {"model", "context", ASY_CONFIG_U64, AT(context), "2048", .flag = "context", .min = 64,
     .max = 1048576, .unit = "tokens",
     .help = "Prompt and answer of one job together; at most what the model is made for."},
    {"model", "max_out", ASY_CONFIG_U64, AT(max_out), "1024", .min = 1, .max = ASY_MAX_TOKENS,
     .unit = "tokens", .help = "Longest answer."},
    {"engine", "backend", ASY_CONFIG_STRING, AT(backend),
     .help =
         "llama.cpp's CPU variant (haswell, icelake ...); unset: the best this machine can run."},
    {"engine", "plugin", ASY_CONFIG_PATH, AT(plugin),
     .help = "assay-llama.so; unset: in ../lib beside the program."},
    {"engine", "threads", ASY_CONFIG_U64, AT(threads), "0", .max = 1024,
     .help = "0: one for each processor."},
    {"engine", "batch", ASY_CONFIG_U64, AT(batch), "512", .min = 16, .max = 8192, .unit = "tokens",
     .help = "Tokens computed in one go: more is faster on long prompts, and makes other jobs wait "
             "longer."},
    {"engine", "echo_rate", ASY_CONFIG_U64, AT(echo_rate), "0", .flag = "echo-rate",
     .unit = "tokens a second",
     .help = "Pace of each job of the echo engine; 0: as fast as it goes."},
    {"engine", "echo_first_ms", ASY_CONFIG_U64, AT(echo_first_ms), "0", .flag = "echo-first-ms",
     .unit = "ms", .help = "Time to the echo engine's first token."},
};

static void shutdown(void *object, uint64_t deadline_ns, asy_loop_cb done, void *arg) {
    asy_node_shutdown(object, deadline_ns, done, arg);
}

static enum asy_err price(asy_u128 *ret, struct asy_usd per_million, const char *name,
                          struct asy_why *why) {
    struct asy_usd p;
    enum asy_err err = asy_price_from_million(&p, per_million);
    *ret = p.pico;
    return err == ASY_OK ? ASY_OK
                         : asy_why_set(why, err, name,
                                       "has more than 6 decimals of a dollar per million tokens");
}

/* What is offered: name, manifest digest, prices, limits. */
static enum asy_err describe(struct asy_link_model *m, const struct settings *s,
                             struct asy_why *why) {
    struct asy_manifest manifest;
    memset(m, 0, sizeof *m);
    (void)snprintf(m->name, sizeof m->name, "%s", s->model_name);
    ASY_TRY(price(&m->price_in, s->price_in, "model.price_in", why));
    ASY_TRY(price(&m->price_cached, s->price_cached, "model.price_cached", why));
    ASY_TRY(price(&m->price_out, s->price_out, "model.price_out", why));
    m->tier = s->model_file != NULL ? ASY_TIER_AUDITED : ASY_TIER_FORMAT;
    if (s->model_file == NULL) {
        ASY_TRY(asy_manifest_echo(&manifest, s->model_name, s->context, why));
        (void)snprintf(m->engine, sizeof m->engine, "echo/1");
    } else {
        struct asy_gguf gguf;
        ASY_TRY(asy_model_read_gguf(&gguf, s->model_file, s->data, asy_env_system(), why));
        ASY_TRY(app_manifest(&manifest, &gguf, s->model_file, s->model_name, s->licence, why));
        if (gguf.exact) {
            m->tier = ASY_TIER_EXACT;
            (void)snprintf(m->engine, sizeof m->engine, "exact/1");
        } else {
            (void)snprintf(m->engine, sizeof m->engine, "llama.cpp/%s", manifest.llama_versions);
        }
    }
    m->context = s->context < manifest.context ? s->context : manifest.context;
    m->max_out = s->max_out < m->context ? s->max_out : m->context;
    asy_manifest_digest(&m->digest, &manifest);
    return ASY_OK;
}

static enum asy_err run(const struct settings *s, struct asy_why *why) {
    struct asy_evm_market market;
    struct asy_signer *signer = NULL;
    struct asy_secret secret;
    struct asy_loop *loop = NULL;
    struct asy_node *node = NULL;
    struct asy_node_config config = {
        .data_dir = s->data,
        .rpc_url = s->rpc,
        .market = &market,
        .gateway_url = s->gateway_url,
        .slots = s->slots,
        .region = s->region,
        .registers = s->registers,
        .stake = s->stake.pico,
        .claim_interval_ms = s->claim_ms,
        .min_claim = s->min_claim,
        .max_unsettled = s->max_unsettled,
        .use_worker = s->model_file != NULL,
        .echo = {.slots = s->slots,
                 .context = s->context,
                 .repeats = 1,
                 .tokens_per_s = s->echo_rate,
                 .first_token_ms = s->echo_first_ms},
        .worker = {.program = app_self(),
                   .plugin = s->plugin,
                   .model_path = s->model_file,
                   .backend = s->backend,
                   .slots = s->slots,
                   .context = s->context,
                   .batch = s->batch,
                   .threads = s->threads},
    };
    enum asy_err err = app_load_market(&market, s->market, why);
    if (err == ASY_OK && asy_addr_parse(&config.gateway, asy_bytes_cstr(s->gateway)) != ASY_OK) {
        err = asy_why_set(why, ASY_ERR_SYNTAX, "node.gateway", "is not an address");
    }
    if (err == ASY_OK) {
        err = describe(&config.model, s, why);
        config.worker.context = config.model.context;
    }
    if (err == ASY_OK) {
        err = app_load_key(&secret, s->encryption_key, s->password, why);
    }
    if (err == ASY_OK) {
        struct asy_x25519_seckey x;
        memcpy(x.b, secret.b, sizeof x.b);
        asy_x25519_pubkey(&config.x25519, &x);
        asy_secret_wipe(&x, sizeof x);
        asy_secret_wipe(&secret, sizeof secret);
        err = app_start_signer(&signer, ASY_SIGNER_NODE, s->key, s->password, &market, why);
        config.signer = signer;
    }
    if (err == ASY_OK) {
        err = app_lock_folder(s->data, why);
    }
    if (err == ASY_OK) {
        err = asy_loop_new(&loop, why);
    }
    if (err == ASY_OK) {
        err = asy_node_new(&node, loop, &config, why);
    }
    if (err == ASY_OK) {
        app_ready(s->ready_fd != 0 ? (int)s->ready_fd : -1, "{}\n");
        err = app_run(loop, shutdown, node, why);
    }
    asy_node_free(node);
    if (loop != NULL) {
        asy_loop_free(loop);
    }
    asy_signer_free(signer);
    return err;
}

int cmd_node(int argc, char **argv) {
    struct settings s;
    struct asy_why why = {{0}, {0}};
    enum asy_log_level level = ASY_LOG_INFO;
    bool help;
    struct asy_config *config = app_settings("node", "runs a model and sells its tokens", items,
                                             ASY_COUNT(items), &s, argc, argv, &help);
    if (config == NULL) {
        return help ? 0 : 2;
    }
    enum asy_err err = asy_log_level_parse(&level, asy_bytes_cstr(s.log));
    asy_log_init("node", level);
    if (err == ASY_OK) {
        if (s.ready_fd != 0) { /* started by another program: it does not outlive it */
            (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        }
        err = run(&s, &why);
    }
    asy_config_free(config);
    return err == ASY_OK ? 0 : app_fail("node", err, &why);
}
