#include "base/test.h"
#include "config/config.h"

static struct asy_why why;

static struct asy_profile *load(const char *name) {
    char path[64];
    struct asy_profile *p = NULL;
    snprintf(path, sizeof path, "profiles/%s.ini", name);
    CHECK_OK(asy_profile_load(&p, path, &why));
    if (p == NULL) {
        fprintf(stderr, "%s\n", why.text);
        exit(1);
    }
    CHECK_STR(p->name, name);
    return p;
}

static asy_u128 whole(uint64_t n) { return (asy_u128)n * ASY_PICO_PER_USD; }

/* The numbers that the four systems are known by. */
static void test_known_values(void) {
    struct asy_profile *p = load("querais");
    CHECK(p->fees.node_bps == 9500 && p->fees.gateway_bps == 0 && p->fees.treasury_bps == 500);
    CHECK(p->treasury.operations_bps == 6000 && p->treasury.burn_bps == 2000 &&
          p->treasury.stakers_bps == 2000);
    CHECK(p->stake.node_min.pico == whole(100) && p->stake.tier[3].pico == whole(10000));
    CHECK(p->stake.unbonding_ms == 7u * 86400000u && p->settlement.batch_interval_ms == 60000);
    CHECK(p->slash.burn_bps == 5000 && p->slash.challenger_bps == 3000 &&
          p->slash.treasury_bps == 2000);
    const struct asy_profile_weights *w = p->match.weights;
    CHECK(w[ASY_MODE_BALANCED].price == 35 && w[ASY_MODE_BALANCED].reputation == 40 &&
          w[ASY_MODE_BALANCED].latency == 20);
    CHECK(w[ASY_MODE_CHEAPEST].price == 80 && w[ASY_MODE_FASTEST].latency == 70 &&
          w[ASY_MODE_TRUSTED].reputation == 80);
    CHECK(p->dispute.bond.pico == whole(50) && p->dispute.panel == 5 &&
          p->dispute.commit_ms == 48u * 3600000u);
    CHECK(p->reputation.accuracy == 40 && p->reputation.start_ppm == 700000 &&
          p->audit.known_ppm == 50000);
    asy_profile_free(p);

    p = load("decentral");
    CHECK(p->fees.node_bps == 7500 && p->fees.staked_bps == 8500 &&
          p->fees.share_stake.pico == whole(1000));
    CHECK(p->job.first_token_ms == 8000 && p->job.deadline_ms == 120000 &&
          p->dispute.window_ms == 60000);
    CHECK(p->stake.node_min.pico == 0 && p->slash.dispute_major_bps == 500);
    asy_profile_free(p);

    p = load("qvac");
    CHECK(p->fees.node_bps == 10000 && p->fees.gateway_bps == 0 && p->fees.treasury_bps == 0 &&
          p->fees.cap_bps == 0);
    CHECK(p->stake.node_min.pico == 0 && p->settlement.hold_ms == 300000 &&
          p->job.deadline_ms == 600000);
    CHECK(p->later[ASY_FEATURE_native_coin] && p->later[ASY_FEATURE_solana]);
    asy_profile_free(p);

    p = load("infera");
    CHECK(p->fees.node_bps == 9700 && p->fees.gateway_bps == 150 && p->fees.treasury_bps == 150);
    CHECK(p->slash.harmed_bps == 4000 && p->slash.challenger_bps == 4000 &&
          p->slash.burn_bps == 2000);
    CHECK(p->settlement.batch_jobs == 10000 && p->settlement.batch_interval_ms == 60000);
    CHECK(p->audit.new_ppm == 100000 && p->later[ASY_FEATURE_tee] &&
          p->later[ASY_FEATURE_bisection]);
    asy_profile_free(p);
}

static void test_features(void) {
    static const char *const names[] = {"querais", "decentral", "qvac", "infera"};
    for (size_t i = 0; i < ASY_COUNT(names); i++) {
        struct asy_profile *p = load(names[i]);
        CHECK_OK(asy_profile_check(p, NULL, 0, &why)); /* each runs on what there is */
        struct asy_buf b;
        asy_buf_init(&b, 8192);
        CHECK_OK(asy_profile_missing(&b, p, NULL, 0));
        CHECK(b.n > 0);
        enum asy_feature all[ASY_FEATURE_COUNT];
        for (unsigned f = 0; f < ASY_FEATURE_COUNT; f++) {
            all[f] = (enum asy_feature)f;
            CHECK((strstr(asy_buf_cstr(&b), asy_feature_text(all[f])) != NULL) == p->later[f]);
        }
        asy_buf_clear(&b);
        CHECK_OK(asy_profile_missing(&b, p, all, ASY_COUNT(all)));
        CHECK_STR(asy_buf_cstr(&b), "");
        asy_buf_done(&b);

        p->requires[ASY_FEATURE_auction] = true;
        p->requires[ASY_FEATURE_escrow] = true;
        static const enum asy_feature some[] = {ASY_FEATURE_escrow, ASY_FEATURE_zk};
        CHECK_ERR(asy_profile_check(p, some, ASY_COUNT(some), &why), ASY_ERR_UNSUPPORTED);
        CHECK_STR(why.param, "auction");
        CHECK(strstr(why.text, names[i]) != NULL && strstr(why.text, "sealed-bid") != NULL);
        CHECK_OK(asy_profile_check(p, all, ASY_COUNT(all), &why));
        asy_profile_free(p);
    }
}

static struct asy_buf text_of(const struct asy_profile *p) {
    struct asy_buf b;
    asy_buf_init(&b, ASY_CONFIG_MAX_FILE);
    CHECK_OK(asy_profile_format(&b, p));
    return b;
}

static void test_round_trip(void) {
    struct asy_profile *p = load("infera"), *q = NULL, *r = NULL;
    struct asy_buf text = text_of(p);
    CHECK_OK(asy_profile_parse(&q, "again", asy_buf_bytes(&text), &why));
    struct asy_buf again = text_of(q);
    asy_profile_free(p);
    CHECK_STR(q->title, "INFERA: USDC, 97/1.5/1.5, batches of 10,000"); /* strings are its own */
    CHECK(q->settlement.exit_ms == 3u * 86400000u);
    /* now every value comes from a file, so the third text is the second */
    CHECK_OK(asy_profile_parse(&r, "again", asy_buf_bytes(&again), &why));
    struct asy_buf third = text_of(r);
    CHECK_STR(asy_buf_cstr(&third), asy_buf_cstr(&again));
    asy_buf_done(&text);
    asy_buf_done(&again);
    asy_buf_done(&third);
    asy_profile_free(q);
    asy_profile_free(r);
}

/* Takes the printed querais profile, puts one value in place of another, and asks for the answer.
 */
static enum asy_err with(const char *line, const char *instead) {
    struct asy_profile *p = load("querais"), *q = NULL;
    struct asy_buf text = text_of(p), changed;
    const char *at = strstr(asy_buf_cstr(&text), line);
    CHECK(at != NULL);
    asy_buf_init(&changed, ASY_CONFIG_MAX_FILE);
    if (at != NULL) {
        size_t before = (size_t)(at - asy_buf_cstr(&text));
        const char *end = strchr(at + strlen(line), '\n');
        CHECK_OK(asy_buf_add(&changed, text.p, before));
        CHECK_OK(asy_buf_add_str(&changed, instead));
        CHECK_OK(asy_buf_add_str(&changed, end));
    }
    enum asy_err err = asy_profile_parse(&q, "changed", asy_buf_bytes(&changed), &why);
    asy_profile_free(q);
    asy_profile_free(p);
    asy_buf_done(&text);
    asy_buf_done(&changed);
    return err;
}

static void test_refused(void) {
    static const struct {
        const char *line, *instead;
        enum asy_err err;
        const char *says;
    } table[] = {
        {"\nname = querais", "\nname = mine", ASY_OK, ""},
        {"\nname = querais", "\n", ASY_ERR_MISSING, "[profile] name is not set"},
        {"\ntreasury = 500", "\n", ASY_ERR_MISSING, "[fees] treasury is not set"},
        {"\ntreasury = 500", "\ntreasury = 501", ASY_ERR_RANGE, "add up to 10001, not 10000"},
        {"\ntreasury = 500", "\ntreasury = 10001", ASY_ERR_RANGE, "0 to 10000 bps"},
        {"\nnode_staked = 9500", "\nnode_staked = 9499", ASY_ERR_RANGE,
         "node_staked is below node"},
        {"\ncap = 1000", "\ncap = 499", ASY_ERR_RANGE, "more than cap"},
        {"\nstakers = 2000", "\nstakers = 1999", ASY_ERR_RANGE, "[treasury] shares add up to 9999"},
        {"\nto_burn = 5000", "\nto_burn = 0", ASY_ERR_RANGE, "[slash]"},
        {"\nlongevity = 10", "\nlongevity = 11", ASY_ERR_RANGE,
         "[reputation] points add up to 101"},
        {"\nexit = 3d", "\nexit = 32h", ASY_ERR_RANGE, "longer than window + 2 answer"},
        {"\nexit = 3d", "\nexit = 33h", ASY_OK, ""},
        {"\npay_by = 10m", "\npay_by = 60s", ASY_ERR_RANGE, "pay_by"},
        {"\nnotice = 1d", "\nnotice = 10m", ASY_ERR_RANGE, "20m to 7d"},
        {"\nfirst_token = 8s", "\nfirst_token = 121s", ASY_ERR_RANGE, "within deadline"},
        {"\ndeadline = 2m", "\ndeadline = 11m", ASY_ERR_RANGE, "deadline must be 1s to 10m"},
        {"\ntier2 = 500", "\ntier2 = 99", ASY_ERR_RANGE, "tiers must rise"},
        {"\npanel = 5", "\npanel = 4", ASY_ERR_RANGE, "odd"},
        {"\nbatch_jobs = 500", "\nbatch_jobs = 10001", ASY_ERR_RANGE,
         "batch_jobs must be 1 to 10000"},
        {"\ndecimals = 6", "\ndecimals = 18", ASY_ERR_RANGE, "decimals must be 6 to 6"},
        {"\nmode = balanced", "\nmode = best", ASY_ERR_SYNTAX,
         "one of balanced, cheapest, fastest, trusted"},
        {"\nload = 25", "\nload = 25\nlaod = 1", ASY_ERR_UNKNOWN, "has no key laod"},
        {"\n[requires]\nescrow = no", "\n[requires]\nescrow = yes", ASY_ERR_RANGE,
         "escrow stands in [requires] and in [later]"},
        {"\n[requires]\nescrow = no", "\n[requires]\nsorcery = yes", ASY_ERR_UNKNOWN,
         "[requires] has no key sorcery"},
    };
    for (size_t i = 0; i < ASY_COUNT(table); i++) {
        CHECK_ERR(with(table[i].line, table[i].instead), table[i].err);
        if (table[i].err != ASY_OK && strstr(why.text, table[i].says) == NULL) {
            fprintf(stderr, "case %zu: \"%s\", wanted \"%s\"\n", i, why.text, table[i].says);
            CHECK(false);
        }
    }
    struct asy_profile *p = NULL;
    CHECK_ERR(asy_profile_load(&p, "profiles/none.ini", &why), ASY_ERR_NOT_FOUND);
    CHECK(p == NULL);
    asy_profile_free(NULL);
}

int main(void) {
    test_known_values();
    test_features();
    test_round_trip();
    test_refused();
    return asy_test_end();
}
