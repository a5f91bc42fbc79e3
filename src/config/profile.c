#include "config/config.h"

#include <stdio.h>

/* Shorthands of the table below. P(member) is the place in the profile. */
#define P(member) ASY_CONFIG_AT(struct asy_profile, member)
#define NEEDED    .required = true
#define BPS(section, key, member, text)                                                            \
    { section, key, ASY_CONFIG_U64, P(member), NEEDED, .max = ASY_BPS, .unit = "bps", .help = text }
#define PPM(section, key, member, text)                                                            \
    { section, key, ASY_CONFIG_U64, P(member), NEEDED, .max = 1000000, .unit = "ppm", .help = text }
#define TIME(section, key, member, lo, hi, text)                                                   \
    { section, key, ASY_CONFIG_DURATION, P(member), NEEDED, .min = lo, .max = hi, .help = text }
#define COUNT(section, key, member, lo, hi, text)                                                  \
    { section, key, ASY_CONFIG_U64, P(member), NEEDED, .min = lo, .max = hi, .help = text }
#define PAID(section, key, member, text)                                                           \
    { section, key, ASY_CONFIG_USD, P(member), NEEDED, .unit = "payment token", .help = text }
#define STAKED(section, key, member, text)                                                         \
    { section, key, ASY_CONFIG_USD, P(member), NEEDED, .unit = "stake token", .help = text }
#define WEIGHTS(name, mode)                                                                        \
    COUNT("match." name, "price", match.weights[mode].price, 0, 1000, "Points for a low price."),  \
        COUNT("match." name, "reputation", match.weights[mode].reputation, 0, 1000,                \
              "Points for reputation."),                                                           \
        COUNT("match." name, "latency", match.weights[mode].latency, 0, 1000,                      \
              "Points for an early first token."),                                                 \
        COUNT("match." name, "capability", match.weights[mode].capability, 0, 1000,                \
              "Points for tokens per second."),                                                    \
        COUNT("match." name, "stake", match.weights[mode].stake, 0, 1000, "Points for stake."),    \
        COUNT("match." name, "load", match.weights[mode].load, 0, 1000, "Points for free slots."), \
        PPM("match." name, "spread", match.weights[mode].spread_ppm,                               \
            "Nodes whose score is this close to the best share the jobs.")

enum { MINUTE_MS = 60000, HOUR_MS = 60 * MINUTE_MS, DAY_MS = 24 * HOUR_MS };

static const char *const modes[] = {"balanced", "cheapest", "fastest", "trusted", NULL};

static const struct asy_config_item items[] = {
    {"profile", "name", ASY_CONFIG_STRING, P(name), NEEDED, .max = 32,
     .help = "Its name, as --profile takes it."},
    {"profile", "title", ASY_CONFIG_STRING, P(title), NEEDED, .max = 128,
     .help = "Its name for people."},

    {"token", "symbol", ASY_CONFIG_STRING, P(token.symbol), NEEDED, .max = 16,
     .help = "Symbol of the payment token."},
    COUNT("token", "decimals", token.decimals, 6, 6,
          "Its decimals. The Vault takes tokens with six."),
    {"token", "stake_symbol", ASY_CONFIG_STRING, P(token.stake_symbol), NEEDED, .max = 16,
     .help = "Symbol of the token that is staked."},

    BPS("fees", "node", fees.node_bps, "The node's share of what a requester pays."),
    BPS("fees", "gateway", fees.gateway_bps, "The gateway's share."),
    BPS("fees", "treasury", fees.treasury_bps, "The treasury's share."),
    BPS("fees", "node_staked", fees.staked_bps,
        "The share of a node that stakes share_stake or more."),
    STAKED("fees", "share_stake", fees.share_stake, "Stake for that share."),
    BPS("fees", "cap", fees.cap_bps, "The most that gateway and treasury may ever take together."),

    BPS("treasury", "operations", treasury.operations_bps,
        "Share of the treasury's income kept for operations."),
    BPS("treasury", "burn", treasury.burn_bps, "Share that is burned, or buys back and burns."),
    BPS("treasury", "stakers", treasury.stakers_bps, "Share that goes to stakers."),
    BPS("treasury", "validators", treasury.validators_bps, "Share that goes to validators."),

    TIME("settlement", "window", settlement.window_ms, MINUTE_MS, 30u * DAY_MS,
         "A debit can be challenged this long."),
    TIME("settlement", "answer", settlement.answer_ms, MINUTE_MS, 7u * DAY_MS,
         "Time to answer a demand."),
    TIME("settlement", "hold", settlement.hold_ms, 1000, 7u * DAY_MS,
         "Credits mature after one to two of these."),
    TIME("settlement", "notice", settlement.notice_ms, 20 * MINUTE_MS, 7u * DAY_MS,
         "From announcing a lane's end to closing it."),
    TIME("settlement", "exit", settlement.exit_ms, MINUTE_MS, 49u * DAY_MS,
         "From announcing a gateway's exit to taking its bond."),
    TIME("settlement", "grace", settlement.grace_ms, 0, HOUR_MS,
         "Tickets this young at a revocation stay payable."),
    PAID("settlement", "min_bond", settlement.min_bond,
         "A gateway's bond for rewards and penalties."),
    PAID("settlement", "leaf_fee", settlement.leaf_fee, "Stake of a demand for one leaf."),
    PAID("settlement", "open_fee", settlement.open_fee,
         "Stake of a demand for all leaves, per leaf."),
    TIME("settlement", "batch_interval", settlement.batch_interval_ms, 1000, DAY_MS,
         "A batch closes at the latest after this."),
    COUNT("settlement", "batch_jobs", settlement.batch_jobs, 1, ASY_MAX_BATCH_JOBS,
          "A batch closes with this many jobs."),
    COUNT("settlement", "credit_every", settlement.credit_every, 1, 100,
          "Nodes are credited in every n-th batch, sooner where pay_by asks for it."),
    TIME("settlement", "pay_by", settlement.pay_by_ms, 1000, 600000,
         "An Ack promises the credit within this time."),

    STAKED("stake", "node", stake.node_min, "Least stake of a node; 0: none."),
    STAKED("stake", "gateway", stake.gateway_min, "Least stake of a gateway."),
    STAKED("stake", "validator", stake.validator_min, "Least stake of a validator."),
    STAKED("stake", "tier1", stake.tier[0], "First tier."),
    STAKED("stake", "tier2", stake.tier[1], "Second tier."),
    STAKED("stake", "tier3", stake.tier[2], "Third tier."),
    STAKED("stake", "tier4", stake.tier[3], "Fourth tier."),
    TIME("stake", "unbonding", stake.unbonding_ms, 0, 49u * DAY_MS,
         "Wait from unstaking to withdrawal; slashable meanwhile."),

    BPS("slash", "abandoned", slash.abandoned_bps, "Job dropped after it was accepted."),
    BPS("slash", "failed", slash.failed_bps, "First answer that fails verification."),
    BPS("slash", "repeated", slash.repeated_bps, "Further ones; each doubles."),
    BPS("slash", "downtime", slash.downtime_bps, "Downtime beyond what was promised."),
    BPS("slash", "dispute_minor", slash.dispute_minor_bps, "Lost dispute, minor."),
    BPS("slash", "dispute_major", slash.dispute_major_bps, "Lost dispute, fraud."),
    BPS("slash", "collusion", slash.collusion_bps, "Collusion found."),
    BPS("slash", "to_burn", slash.burn_bps, "Share of slashed stake that is burned."),
    BPS("slash", "to_challenger", slash.challenger_bps, "Share of who found it."),
    BPS("slash", "to_harmed", slash.harmed_bps, "Share of the requester who was harmed."),
    BPS("slash", "to_treasury", slash.treasury_bps, "Share of the treasury."),

    {"match", "mode", ASY_CONFIG_ENUM, P(match.mode), NEEDED, .names = modes,
     .help = "When a request names none."},
    STAKED("match", "full_stake", match.full_stake, "More stake than this gives no better score."),
    WEIGHTS("balanced", ASY_MODE_BALANCED),
    WEIGHTS("cheapest", ASY_MODE_CHEAPEST),
    WEIGHTS("fastest", ASY_MODE_FASTEST),
    WEIGHTS("trusted", ASY_MODE_TRUSTED),

    TIME("job", "first_token", job.first_token_ms, 100, 600000,
         "Without a token by then the next node is tried."),
    TIME("job", "silence", job.silence_ms, 100, 600000, "The same between two tokens."),
    TIME("job", "deadline", job.deadline_ms, 1000, 1000 * ASY_MAX_TICKET_LIFE_S,
         "Longest life of a ticket."),

    COUNT("limits", "requests_per_minute", limits.requests_per_minute, 1, 1000000, "Per API key."),
    COUNT("limits", "jobs_per_day", limits.jobs_per_day, 0, 0,
          "Daily quota of a free key; 0: none."),
    COUNT("limits", "tokens_per_day", limits.tokens_per_day, 0, 0,
          "Daily quota of a free key; 0: none."),
    COUNT("limits", "messages", limits.max_messages, 1, ASY_MAX_MESSAGES,
          "Messages of one request."),
    COUNT("limits", "output_tokens", limits.max_output_tokens, 1, ASY_MAX_TOKENS,
          "Output tokens one request may ask for."),
    {"limits", "prompt", ASY_CONFIG_BYTES, P(limits.max_prompt_bytes), NEEDED, .min = 1,
     .max = ASY_MAX_PROMPT, .help = "Text of all messages of one request."},

    STAKED("dispute", "bond", dispute.bond, "Bond of who files a dispute."),
    TIME("dispute", "window", dispute.window_ms, 0, 30u * DAY_MS,
         "A dispute over an answer is filed within this time."),
    TIME("dispute", "evidence", dispute.evidence_ms, 0, 30u * DAY_MS,
         "Time to answer with evidence."),
    TIME("dispute", "commit", dispute.commit_ms, 0, 30u * DAY_MS,
         "Arbiters commit their votes within this time."),
    TIME("dispute", "reveal", dispute.reveal_ms, 0, 30u * DAY_MS,
         "They reveal them within this time."),
    COUNT("dispute", "panel", dispute.panel, 0, 99, "Arbiters of a panel; 0: no panel."),

    PPM("reputation", "start", reputation.start_ppm, "A newcomer's."),
    COUNT("reputation", "onboarding_jobs", reputation.onboarding_jobs, 0, 1000000,
          "Verified jobs before it can slash."),
    COUNT("reputation", "accuracy", reputation.accuracy, 0, 100, "Points for passed audits."),
    COUNT("reputation", "uptime", reputation.uptime, 0, 100, "Points for being there."),
    COUNT("reputation", "latency", reputation.latency, 0, 100, "Points for early first tokens."),
    COUNT("reputation", "longevity", reputation.longevity, 0, 100, "Points for age."),
    COUNT("reputation", "stake", reputation.stake, 0, 100, "Points for stake."),
    PPM("reputation", "gain", reputation.gain_ppm, "How far one passed audit moves the average."),
    PPM("reputation", "loss", reputation.loss_ppm, "How far one failed audit moves it."),
    TIME("reputation", "snapshot", reputation.snapshot_ms, 0, 30u * DAY_MS,
         "Written on chain this often; 0: after each job."),

    PPM("audit", "new", audit.new_ppm, "Share of a newcomer's jobs that is audited."),
    PPM("audit", "known", audit.known_ppm, "The same after onboarding."),
    PPM("audit", "trusted", audit.trusted_ppm, "The same for nodes of long good standing."),
    PPM("audit", "similar", audit.similar_ppm,
        "Published baseline: similarity of a re-run below this is an anomaly."),

#define X(feature, text)                                                                           \
    {"requires",     #feature,    ASY_CONFIG_BOOL, P(requires[ASY_FEATURE_##feature]),             \
     .preset = "no", .help = text},
    ASY_FEATURE_TABLE(X)
#undef X
#define X(feature, text)                                                                           \
    {"later",        #feature,    ASY_CONFIG_BOOL, P(later[ASY_FEATURE_##feature]),                \
     .preset = "no", .help = text},
        ASY_FEATURE_TABLE(X)
#undef X
};

/* ---- features ---- */

const char *asy_feature_name(enum asy_feature feature) {
#define X(name, text) #name,
    static const char *const names[] = {ASY_FEATURE_TABLE(X)};
#undef X
    ASY_ASSERT(feature < ASY_FEATURE_COUNT);
    return names[feature];
}

const char *asy_feature_text(enum asy_feature feature) {
#define X(name, text) text,
    static const char *const texts[] = {ASY_FEATURE_TABLE(X)};
#undef X
    ASY_ASSERT(feature < ASY_FEATURE_COUNT);
    return texts[feature];
}

static bool is_supported(enum asy_feature feature, const enum asy_feature *supported,
                         size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (supported[i] == feature) {
            return true;
        }
    }
    return false;
}

enum asy_err asy_profile_check(const struct asy_profile *profile, const enum asy_feature *supported,
                               size_t count, struct asy_why *reterr_why) {
    for (unsigned i = 0; i < ASY_FEATURE_COUNT; i++) {
        enum asy_feature feature = (enum asy_feature)i;
        if (profile->requires[i] && !is_supported(feature, supported, count)) {
            return asy_why_set(reterr_why, ASY_ERR_UNSUPPORTED, asy_feature_name(feature),
                               "profile %s requires %s (%s), which this build cannot do",
                               profile->name, asy_feature_name(feature), asy_feature_text(feature));
        }
    }
    return ASY_OK;
}

enum asy_err asy_profile_missing(struct asy_buf *buf, const struct asy_profile *profile,
                                 const enum asy_feature *supported, size_t count) {
    const char *comma = "";
    for (unsigned i = 0; i < ASY_FEATURE_COUNT; i++) {
        enum asy_feature feature = (enum asy_feature)i;
        if (profile->later[i] && !is_supported(feature, supported, count)) {
            ASY_TRY(asy_buf_printf(buf, "%s%s (%s)", comma, asy_feature_name(feature),
                                   asy_feature_text(feature)));
            comma = ", ";
        }
    }
    return ASY_OK;
}

/* ---- reading ---- */

static enum asy_err sum_check(const char *what, uint32_t sum, uint32_t want, struct asy_why *why) {
    return sum == want
               ? ASY_OK
               : asy_why_set(why, ASY_ERR_RANGE, what, "%s add up to %u, not %u", what, sum, want);
}

/* The rules that no single value can break. The Vault's and the StakeRegistry's constructors refuse
 * the same. */
static enum asy_err parts_fit(const struct asy_profile *p, struct asy_why *why) {
    ASY_TRY(sum_check("[fees] node, gateway and treasury",
                      p->fees.node_bps + p->fees.gateway_bps + p->fees.treasury_bps, ASY_BPS, why));
    ASY_TRY(sum_check("[treasury] shares",
                      p->treasury.operations_bps + p->treasury.burn_bps + p->treasury.stakers_bps +
                          p->treasury.validators_bps,
                      ASY_BPS, why));
    ASY_TRY(sum_check("[slash] to_burn, to_challenger, to_harmed and to_treasury",
                      p->slash.burn_bps + p->slash.challenger_bps + p->slash.harmed_bps +
                          p->slash.treasury_bps,
                      ASY_BPS, why));
    ASY_TRY(sum_check("[reputation] points",
                      p->reputation.accuracy + p->reputation.uptime + p->reputation.latency +
                          p->reputation.longevity + p->reputation.stake,
                      100, why));
    if (p->fees.staked_bps < p->fees.node_bps) {
        return asy_why_set(why, ASY_ERR_RANGE, "fees.node_staked",
                           "[fees] node_staked is below node");
    }
    if (p->fees.gateway_bps + p->fees.treasury_bps > p->fees.cap_bps) {
        return asy_why_set(why, ASY_ERR_RANGE, "fees.cap",
                           "[fees] gateway and treasury take more than cap");
    }
    if (p->settlement.exit_ms <= p->settlement.window_ms + 2 * p->settlement.answer_ms) {
        return asy_why_set(why, ASY_ERR_RANGE, "settlement.exit",
                           "[settlement] exit must be longer than window + 2 answer: a bond may "
                           "not leave while it covers");
    }
    if (p->settlement.batch_interval_ms >= p->settlement.pay_by_ms) {
        return asy_why_set(why, ASY_ERR_RANGE, "settlement.pay_by",
                           "[settlement] a batch takes longer than pay_by promises");
    }
    if (p->job.first_token_ms > p->job.deadline_ms || p->job.silence_ms > p->job.deadline_ms) {
        return asy_why_set(why, ASY_ERR_RANGE, "job.deadline",
                           "[job] first_token and silence must be within deadline");
    }
    for (size_t i = 1; i < ASY_COUNT(p->stake.tier); i++) {
        if (asy_usd_cmp(p->stake.tier[i - 1], p->stake.tier[i]) > 0) {
            return asy_why_set(why, ASY_ERR_RANGE, "stake.tier", "[stake] tiers must rise");
        }
    }
    for (size_t i = 0; i < ASY_MODE_COUNT; i++) {
        const struct asy_profile_weights *w = &p->match.weights[i];
        if (w->price + w->reputation + w->latency + w->capability + w->stake + w->load == 0) {
            return asy_why_set(why, ASY_ERR_RANGE, modes[i], "[match.%s] has no points at all",
                               modes[i]);
        }
    }
    if (p->dispute.panel != 0 && p->dispute.panel % 2 == 0) {
        return asy_why_set(why, ASY_ERR_RANGE, "dispute.panel",
                           "[dispute] a panel must be odd, or votes tie");
    }
    for (size_t i = 0; i < ASY_FEATURE_COUNT; i++) {
        if (p->requires[i] && p->later[i]) {
            return asy_why_set(why, ASY_ERR_RANGE, asy_feature_name((enum asy_feature)i),
                               "%s stands in [requires] and in [later]",
                               asy_feature_name((enum asy_feature)i));
        }
    }
    return ASY_OK;
}

/* text NULL: reads the file called name */
static enum asy_err profile_new(struct asy_profile **ret_profile, const char *name,
                                const struct asy_bytes *text, struct asy_why *why) {
    struct asy_profile *profile = asy_alloc(sizeof *profile);
    profile->config = asy_config_new(items, ASY_COUNT(items), profile);
    enum asy_err err = text != NULL ? asy_config_parse(profile->config, name, *text, why)
                                    : asy_config_read(profile->config, name, why);
    if (err == ASY_OK) {
        err = asy_config_check(profile->config, why);
    }
    if (err == ASY_OK) {
        err = parts_fit(profile, why);
    }
    if (err != ASY_OK) {
        asy_profile_free(profile);
        return err;
    }
    *ret_profile = profile;
    return ASY_OK;
}

enum asy_err asy_profile_parse(struct asy_profile **ret_profile, const char *name,
                               struct asy_bytes text, struct asy_why *reterr_why) {
    return profile_new(ret_profile, name, &text, reterr_why);
}

enum asy_err asy_profile_load(struct asy_profile **ret_profile, const char *path,
                              struct asy_why *reterr_why) {
    return profile_new(ret_profile, path, NULL, reterr_why);
}

void asy_profile_free(struct asy_profile *profile) {
    if (profile != NULL) {
        asy_config_free(profile->config);
        asy_free(profile);
    }
}

enum asy_err asy_profile_format(struct asy_buf *buf, const struct asy_profile *profile) {
    return asy_config_format_values(buf, profile->config);
}
