/*~ config: what an operator sets (settings of a program) and what a market agrees on (a profile).
 *
 * Settings. A program declares one table of `struct asy_config_item`, each row a place in its own
 * settings struct. From that table come: the parser of the file (INI: [section], key = value,
 * comments with # or ;), the environment (ASSAY_<SECTION>_<KEY>), the flags (--section-key VALUE),
 * the help text, the example file and the print-out of what is in force. Later in this list wins:
 * default, file, environment, flag; the order of the calls does not matter, and a wrong value is an
 * error even where another one wins. An unknown section or key is an error with line and column.
 *
 * Profiles. A `struct asy_profile` is the parameter set of one market: fees, windows, stakes,
 * weights. It is one INI file that states every value; there are no silent defaults. What a profile
 * cannot do without and this build cannot do is refused by name (asy_profile_check); what it lacks
 * for now is said at start (asy_profile_missing).
 *
 * Threads: none; an object belongs to one thread. Only asy_config_read and asy_profile_load touch
 * the disk.
 */
#ifndef ASY_CONFIG_CONFIG_H
#define ASY_CONFIG_CONFIG_H

#include "base/base.h"
#include "money/money.h"

/* ---- settings ---- */

#define ASY_CONFIG_MAX_FILE   (256u * 1024u) /* bytes of a settings or profile file */
#define ASY_CONFIG_MAX_LINE   198u /* bytes of a line, not counting its indentation: inih's limit */
#define ASY_CONFIG_MAX_ITEMS  512u /* rows of a table */
#define ASY_CONFIG_MAX_STRING 512u /* bytes of a STRING or PATH whose row names no other limit */

enum asy_config_type {
    ASY_CONFIG_BOOL,     /* bool: yes, no, true, false */
    ASY_CONFIG_U64,      /* uint64_t or uint32_t: decimal digits */
    ASY_CONFIG_DURATION, /* uint64_t, in ms: 250ms, 8s, 30m, 24h, 7d; 0 needs no unit */
    ASY_CONFIG_BYTES,    /* uint64_t: 512, 64KiB, 5MiB, 1GiB */
    ASY_CONFIG_USD,      /* struct asy_usd: up to 12 decimals, of what `unit` names */
    ASY_CONFIG_STRING,   /* const char *: UTF-8; in a file a blank and ; end it */
    ASY_CONFIG_PATH,     /* const char *: the same, a file's name */
    ASY_CONFIG_ENUM,     /* an enum (4 bytes): one of `names`, stored as its index */
};

/* One row. Section and key are of a-z, 0-9, _ and (sections only) a dot. Texts are static. */
struct asy_config_item {
    const char *section, *key;
    enum asy_config_type type;
    size_t offset, size;      /* of the field: ASY_CONFIG_AT(struct settings, field) */
    const char *preset;       /* the default, as in a file; NULL: none, the field stays zero */
    const char *flag;         /* a shorter flag: "port" for --port, "p" for -p; NULL: none */
    uint64_t min, max;        /* of a number; of a text max is its bytes; max 0: no limit here */
    const char *unit;         /* for people: "tokens"; NULL: none */
    const char *const *names; /* ENUM: ends with NULL */
    bool required;            /* must be set somewhere */
    bool secret;      /* never printed, and no flag, which all users of a machine can read */
    const char *help; /* one or two sentences: what it does, what follows from it */
};
#define ASY_CONFIG_AT(type, field)                                                                 \
    .offset = offsetof(type, field), .size = sizeof(((type *)NULL)->field)

enum asy_config_source {
    ASY_CONFIG_FROM_DEFAULT,
    ASY_CONFIG_FROM_FILE,
    ASY_CONFIG_FROM_ENV,
    ASY_CONFIG_FROM_FLAG
};

struct asy_config;

/* asy_config_new fills target with the defaults.
 * in: items, target: kept until asy_config_free; a wrong table (bad default, size, name twice) is a
 * bug and aborts. Strings in target stay valid until asy_config_free. */
struct asy_config *asy_config_new(const struct asy_config_item *items, size_t count, void *target);
void asy_config_free(struct asy_config *config);

/* asy_config_args takes the flags out of a command line: --section-key VALUE, --section-key=VALUE,
 * for a bool also --section-key and --no-section-key; the same with `flag`. --config PATH and
 * --help (-h) are always known; -- ends the flags. A flag given twice: the last one counts.
 * in:     argv: argc words without the program's name; kept
 * out:    ret_rest: room for argc words; gets those that are no flags, in order
 * errors: UNKNOWN no such flag; MISSING its value; FORBIDDEN a secret;
 *         SYNTAX, RANGE, TOO_LONG a bad value */
ASY_MUST_USE enum asy_err asy_config_args(struct asy_config *config, const char **ret_rest,
                                          size_t *ret_rest_count, int argc, char *const *argv,
                                          struct asy_why *reterr_why);
/* asy_config_env takes ASSAY_<SECTION>_<KEY> (dots as _) out of an environment ("NAME=value", NULL
 * at the end), and ASSAY_CONFIG. A name that starts with a section of the table but fits no key is
 * UNKNOWN; others are not looked at.
 * errors: UNKNOWN; SYNTAX, RANGE, TOO_LONG a bad value */
ASY_MUST_USE enum asy_err asy_config_env(struct asy_config *config, char *const *envp,
                                         struct asy_why *reterr_why);
/* asy_config_parse takes a file's text; name stands in error texts, as `name:line:column: what`.
 * After an error the target holds a part of the file (this goes for flags and environment, too):
 * stop there.
 * errors: SYNTAX; UNKNOWN section or key; DUPLICATE key; RANGE, TOO_LONG a bad value, line or file
 */
ASY_MUST_USE enum asy_err asy_config_parse(struct asy_config *config, const char *name,
                                           struct asy_bytes text, struct asy_why *reterr_why);
/* asy_config_read: the same for a file on disk. errors: also NOT_FOUND, IO */
ASY_MUST_USE enum asy_err asy_config_read(struct asy_config *config, const char *path,
                                          struct asy_why *reterr_why);
/* asy_config_check: MISSING when a required item has no value. Call it last. */
ASY_MUST_USE enum asy_err asy_config_check(const struct asy_config *config,
                                           struct asy_why *reterr_why);

/* The file named by --config, else by ASSAY_CONFIG, else NULL; and whether --help was there. */
const char *asy_config_file(const struct asy_config *config);
bool asy_config_help_asked(const struct asy_config *config);
/* Where the value in force comes from. The item must be in the table. */
enum asy_config_source asy_config_source(const struct asy_config *config, const char *section,
                                         const char *key);

/* The flags with their help; a commented example file that sets every default; the values in force,
 * each with its source, in the form of a file (without the secrets). errors: TOO_LONG */
ASY_MUST_USE enum asy_err asy_config_format_help(struct asy_buf *buf,
                                                 const struct asy_config *config);
ASY_MUST_USE enum asy_err asy_config_format_example(struct asy_buf *buf,
                                                    const struct asy_config *config);
ASY_MUST_USE enum asy_err asy_config_format_values(struct asy_buf *buf,
                                                   const struct asy_config *config);

/* ---- profiles ---- */

/* Features that a profile may need: X(name, what it is, for people). A profile names them in
 * [requires] or [later]. */
#define ASY_FEATURE_TABLE(X)                                                                       \
    X(escrow, "one escrow per job, refunded at its deadline")                                      \
    X(quotes, "quotes that nodes sign per job")                                                    \
    X(credits, "fixed prices in credits per request")                                              \
    X(own_token, "payment in the system's own token")                                              \
    X(native_coin, "payment in the chain's own coin")                                              \
    X(solana, "settlement on Solana")                                                              \
    X(audits, "sampled re-computation of finished jobs")                                           \
    X(reputation, "reputation that moves with audits, kept on chain")                              \
    X(slashing, "slashing by the table of offences")                                               \
    X(disputes, "disputes over answers, with bonds")                                               \
    X(panel, "a commit-reveal panel of arbiters")                                                  \
    X(bisection, "an optimistic window with bisection to one step")                                \
    X(tee, "attested nodes")                                                                       \
    X(zk, "answers with a zero-knowledge proof")                                                   \
    X(stake_tiers, "tiers and locks of stake")                                                     \
    X(throughput_stake, "minimum stake by claimed throughput, in dollars")                         \
    X(treasury_split, "distribution of the treasury: burn, stakers, validators")                   \
    X(incentives, "payments for uptime and first nodes")                                           \
    X(auction, "sealed-bid auctions on chain")                                                     \
    X(hot_pool, "a subsidised pool of warm models")                                                \
    X(mesh, "discovery between strangers' gateways and nodes")                                     \
    X(sealed, "prompts encrypted end to end")                                                      \
    X(browser_nodes, "nodes in a browser tab")                                                     \
    X(quotas, "daily quotas by tier of key")                                                       \
    X(webhooks, "signed webhooks")                                                                 \
    X(wallet_login, "signing in with a wallet")                                                    \
    X(contract_calls, "jobs that contracts ask for")                                               \
    X(governance, "parameters and upgrades by vote")
enum asy_feature {
#define X(name, text) ASY_FEATURE_##name,
    ASY_FEATURE_TABLE(X)
#undef X
        ASY_FEATURE_COUNT
};
/* asy_feature_name: "escrow"; asy_feature_text: what it is. Static. */
const char *asy_feature_name(enum asy_feature feature);
const char *asy_feature_text(enum asy_feature feature);

/* How a request wants its node chosen; each has its weights. */
enum asy_profile_mode {
    ASY_MODE_BALANCED,
    ASY_MODE_CHEAPEST,
    ASY_MODE_FASTEST,
    ASY_MODE_TRUSTED,
    ASY_MODE_COUNT
};

/* Points, of any sum; all zero is refused. `spread_ppm`: nodes whose score is this close to the
 * best share the jobs. */
struct asy_profile_weights {
    uint32_t price, reputation, latency, capability, stake, load;
    uint32_t spread_ppm;
};

/* One market's parameters. Amounts are pico-units of the payment token, stakes pico-units of the
 * stake token; shares are in basis points (bps, 1/10,000) or millionths (ppm); times in ms. What
 * each value means to the market stands in profiles/README.md, where each comes from in the files
 * beside it. */
struct asy_profile {
    const char *name;  /* "querais" */
    const char *title; /* for people */

    struct {
        const char *symbol; /* of the payment token */
        uint32_t decimals;
        const char *stake_symbol;
    } token;

    struct { /* of what a requester pays; node + gateway + treasury = 10,000 */
        uint32_t node_bps, gateway_bps, treasury_bps;
        uint32_t staked_bps; /* a node's share once it stakes share_stake; never below node_bps */
        struct asy_usd share_stake;
        uint32_t cap_bps; /* no vote may raise gateway + treasury above it */
    } fees;

    struct { /* of the treasury's income; adds up to 10,000 */
        uint32_t operations_bps, burn_bps, stakers_bps, validators_bps;
    } treasury;

    struct { /* the Vault's and the Court's constants, and the settler's habits */
        uint64_t window_ms, answer_ms, hold_ms, notice_ms, exit_ms, grace_ms;
        struct asy_usd min_bond, leaf_fee, open_fee;
        uint64_t batch_interval_ms;
        uint32_t batch_jobs;
        uint32_t credit_every; /* nodes are credited in every n-th batch, or as pay_by asks */
        uint64_t pay_by_ms;
    } settlement;

    struct {
        struct asy_usd node_min, gateway_min, validator_min;
        struct asy_usd tier[4]; /* rising; all zero: no tiers */
        uint64_t unbonding_ms;
    } stake;

    struct { /* shares of the stake; where they go (the last four) adds up to 10,000 */
        uint32_t abandoned_bps, failed_bps, repeated_bps, downtime_bps, dispute_minor_bps,
            dispute_major_bps, collusion_bps;
        uint32_t burn_bps, challenger_bps, harmed_bps, treasury_bps;
    } slash;

    struct {
        enum asy_profile_mode mode; /* when the request names none */
        struct asy_usd full_stake;  /* stake beyond this gives no better score */
        struct asy_profile_weights weights[ASY_MODE_COUNT];
    } match;

    struct {
        uint64_t first_token_ms; /* after this the next node is tried */
        uint64_t silence_ms;     /* the same between two tokens */
        uint64_t deadline_ms;    /* of a whole job; at most the life of a ticket */
    } job;

    struct {
        uint32_t requests_per_minute; /* per key */
        uint32_t jobs_per_day;        /* 0: no limit; needs quotas */
        uint64_t tokens_per_day;
        uint32_t max_messages;
        uint32_t max_output_tokens;
        uint64_t max_prompt_bytes;
    } limits;

    struct {
        struct asy_usd bond;
        uint64_t window_ms, evidence_ms, commit_ms, reveal_ms;
        uint32_t panel; /* arbiters; odd */
    } dispute;

    struct { /* weights are points of 100 */
        uint32_t start_ppm;
        uint32_t onboarding_jobs;
        uint32_t accuracy, uptime, latency, longevity, stake;
        uint32_t gain_ppm, loss_ppm; /* how far one passed, one failed audit moves the average */
        uint64_t snapshot_ms;
    } reputation;

    struct { /* share of jobs that is audited, by standing of the node */
        uint32_t new_ppm, known_ppm, trusted_ppm;
        uint32_t similar_ppm; /* published baseline: a re-run less similar (cosine) is an anomaly */
    } audit;

    bool requires[ASY_FEATURE_COUNT]; /* the market cannot run without */
    bool later[ASY_FEATURE_COUNT]; /* the system describes it; the market runs without it for now */

    struct asy_config *config; /* owns the strings; private */
};

/* asy_profile_parse reads a profile and checks that its parts fit together (shares add up, windows
 * fit, tiers rise).
 * out:    ret_profile: heap; free with asy_profile_free
 * errors: as asy_config_parse; MISSING a value; RANGE values that do not fit together */
ASY_MUST_USE enum asy_err asy_profile_parse(struct asy_profile **ret_profile, const char *name,
                                            struct asy_bytes text, struct asy_why *reterr_why);
/* asy_profile_load: the same for a file on disk. errors: also NOT_FOUND, IO */
ASY_MUST_USE enum asy_err asy_profile_load(struct asy_profile **ret_profile, const char *path,
                                           struct asy_why *reterr_why);
void asy_profile_free(struct asy_profile *profile); /* NULL too */

/* asy_profile_check: UNSUPPORTED, naming the first feature, when the profile requires what is not
 * in supported. */
ASY_MUST_USE enum asy_err asy_profile_check(const struct asy_profile *profile,
                                            const enum asy_feature *supported, size_t count,
                                            struct asy_why *reterr_why);
/* asy_profile_missing: what of [later] is not in supported, as "escrow (one escrow per job, ...),
 * ..."; empty if none. errors: TOO_LONG */
ASY_MUST_USE enum asy_err asy_profile_missing(struct asy_buf *buf,
                                              const struct asy_profile *profile,
                                              const enum asy_feature *supported, size_t count);
/* The values in force as a file; parsing it gives the same profile. errors: TOO_LONG */
ASY_MUST_USE enum asy_err asy_profile_format(struct asy_buf *buf,
                                             const struct asy_profile *profile);

#endif
