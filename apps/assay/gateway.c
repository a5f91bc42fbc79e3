/* gateway.c: `assay gateway`: settings, objects, loop. */
#include "assay_priv.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "config/config.h"
#include "gateway/gateway.h"

struct settings {
    const char *data, *host, *rpc, *market, *profile, *key, *password, *admin_token, *log;
    uint32_t port, confirmations, final_depth, ready_fd;
    uint64_t batch_interval_ms, ticket_life_ms;
    bool sync_full;
};
#define AT(field) ASY_CONFIG_AT(struct settings, field)

static const struct asy_config_item items[] = {
    {"gateway", "data", ASY_CONFIG_PATH, AT(data), .required = true, .flag = "data",
     .help = "Folder of the ledger. Losing it loses what nodes have not been credited yet: back it "
             "up."},
    {"gateway", "host", ASY_CONFIG_STRING, AT(host), "127.0.0.1", .flag = "host",
     .help =
         "Numeric address to listen on. Put a TLS proxy in front before you open it to others."},
    {"gateway", "port", ASY_CONFIG_U64, AT(port), "8080", .flag = "port", .max = 65535,
     .help = "Port to listen on; 0 lets the kernel choose."},
    {"gateway", "profile", ASY_CONFIG_PATH, AT(profile), .required = true, .flag = "profile",
     .help = "Profile of the market: fees, windows, weights. Must be the one the contracts were "
             "deployed with."},
    {"gateway", "admin_token", ASY_CONFIG_PATH, AT(admin_token), .flag = "admin-token",
     .help = "File with the token of the /admin routes; without it there are none."},
    {"gateway", "sync_full", ASY_CONFIG_BOOL, AT(sync_full), "no",
     .help = "Every commit waits for the disk: survives loss of power, costs about a millisecond "
             "per request."},
    {"gateway", "log", ASY_CONFIG_STRING, AT(log), "info", .flag = "log-level",
     .help = "trace, debug, info, odd or broken: what is told on standard error."},
    {"gateway", "ready_fd", ASY_CONFIG_U64, AT(ready_fd), .flag = "ready-fd", .max = 1023,
     .help = "Descriptor on which one line of JSON tells that the gateway serves; 0: none."},
    {"key", "file", ASY_CONFIG_PATH, AT(key), .required = true, .flag = "key",
     .help = "Key file of the gateway's identity (assay wallet new)."},
    {"key", "password", ASY_CONFIG_PATH, AT(password), .required = true, .flag = "password",
     .help = "File with the password of the key file."},
    {"chain", "rpc", ASY_CONFIG_STRING, AT(rpc), .required = true, .flag = "rpc",
     .help = "JSON-RPC endpoint of the chain."},
    {"chain", "market", ASY_CONFIG_PATH, AT(market), .required = true, .flag = "market",
     .help = "Addresses file of the deployed contracts."},
    {"chain", "confirmations", ASY_CONFIG_U64, AT(confirmations), "1", .min = 1, .max = 1000,
     .unit = "blocks", .help = "Blocks until a batch counts as confirmed, its own included."},
    {"chain", "final_depth", ASY_CONFIG_U64, AT(final_depth), "64", .min = 1,
     .max = ASY_EVM_MAX_DEPTH, .unit = "blocks",
     .help = "Blocks until a batch counts as final; re-organisations deeper than this are not "
             "survived."},
    {"settlement", "interval", ASY_CONFIG_DURATION, AT(batch_interval_ms), "0",
     .flag = "batch-interval", .max = 540000,
     .help = "How long a batch collects jobs; 0 takes the profile's. Below the 600 s in which Acks "
             "are due."},
    {"settlement", "ticket_life", ASY_CONFIG_DURATION, AT(ticket_life_ms), "300s",
     .flag = "ticket-life", .min = 5000, .max = 480000, .help = "How long one job may take."},
};

static void shutdown(void *object, uint64_t deadline_ns, asy_loop_cb done, void *arg) {
    asy_gateway_shutdown(object, deadline_ns, done, arg);
}

static enum asy_err run(const struct settings *s, struct asy_why *why) {
    struct asy_evm_market market;
    struct asy_profile *profile = NULL;
    struct asy_signer *signer = NULL;
    struct asy_buf token;
    struct asy_loop *loop = NULL;
    struct asy_gateway *gateway = NULL;
    asy_buf_init(&token, 4096);
    enum asy_err err = app_load_market(&market, s->market, why);
    if (err == ASY_OK) {
        err = asy_profile_load(&profile, s->profile, why);
    }
    if (err == ASY_OK && s->admin_token != NULL) {
        err = app_read_file(&token, s->admin_token, true, why);
    }
    if (err == ASY_OK) {
        err = app_start_signer(&signer, ASY_SIGNER_GATEWAY, s->key, s->password, &market, why);
    }
    if (err == ASY_OK) {
        err = app_lock_folder(s->data, why);
    }
    if (err == ASY_OK) {
        err = asy_loop_new(&loop, why);
    }
    struct asy_gateway_config config = {
        .host = s->host,
        .port = (uint16_t)s->port,
        .data_dir = s->data,
        .rpc_url = s->rpc,
        .market = &market,
        .profile = profile,
        .signer = signer,
        .admin_token = token.n != 0 ? asy_buf_cstr(&token) : NULL,
        .batch_interval_ms = s->batch_interval_ms,
        .confirmations = s->confirmations,
        .final_depth = s->final_depth,
        .ticket_life_s = s->ticket_life_ms / 1000,
        .sync_full = s->sync_full,
    };
    if (err == ASY_OK) {
        err = asy_gateway_new(&gateway, loop, &config, why);
    }
    if (err == ASY_OK) {
        uint16_t port = asy_gateway_port(gateway);
        asy_log(ASY_LOG_INFO, "serving", "base_url=http://%s:%u/v1", s->host, port);
        app_ready(s->ready_fd != 0 ? (int)s->ready_fd : -1, "{\"port\":%u}\n", port);
        err = app_run(loop, shutdown, gateway, why);
    }
    asy_gateway_free(gateway);
    if (loop != NULL) {
        asy_loop_free(loop);
    }
    asy_signer_free(signer);
    asy_profile_free(profile);
    if (token.p != NULL) {
        asy_secret_wipe(token.p, token.n);
    }
    asy_buf_done(&token);
    return err;
}

int cmd_gateway(int argc, char **argv) {
    struct settings s;
    struct asy_why why = {{0}, {0}};
    enum asy_log_level level = ASY_LOG_INFO;
    bool help;
    struct asy_config *config = app_settings("gateway", "the OpenAI-compatible front of the market",
                                             items, ASY_COUNT(items), &s, argc, argv, &help);
    if (config == NULL) {
        return help ? 0 : 2;
    }
    enum asy_err err = asy_log_level_parse(&level, asy_bytes_cstr(s.log));
    asy_log_init("gateway", level);
    if (err == ASY_OK) {
        if (s.ready_fd != 0) { /* started by another program: it does not outlive it */
            (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        }
        err = run(&s, &why);
    }
    asy_config_free(config);
    return err == ASY_OK ? 0 : app_fail("gateway", err, &why);
}
