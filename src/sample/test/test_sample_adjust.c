/* Bias and penalties: what must hold for every logit and every setting, and what they do to the
 * tokens that come. The values themselves are checked against the vectors. */
#include "base/test.h"
#include "sample/sample.h"

enum { VOCAB = 300 };

static uint32_t random_below(uint32_t n) { return (uint32_t)(asy_test_random() % n); }

static int32_t random_logit(void) {
    static const int32_t edges[] = {0,
                                    1,
                                    -1,
                                    ASY_SAMPLE_LOGIT_MAX,
                                    -ASY_SAMPLE_LOGIT_MAX,
                                    ASY_SAMPLE_LOGIT_MAX + 1,
                                    INT32_MAX,
                                    INT32_MIN + 1,
                                    ASY_SAMPLE_MASKED};
    if (random_below(4) == 0) {
        return edges[random_below(ASY_COUNT(edges))];
    }
    return (int32_t)(uint32_t)asy_test_random() >> random_below(24);
}

static struct asy_sample_settings random_settings(void) {
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    s.presence_penalty_milli = random_below(2) ? (int32_t)random_below(4001) - 2000 : 0;
    s.frequency_penalty_milli = random_below(2) ? (int32_t)random_below(4001) - 2000 : 0;
    s.repeat_penalty_milli = random_below(2) ? random_below(2001) : 0;
    s.repeat_penalty_milli = s.repeat_penalty_milli == 1000 ? 0 : s.repeat_penalty_milli;
    return s;
}

/* Ascending ids with random biases. */
static size_t random_bias(struct asy_sample_bias *ret_bias, uint32_t max) {
    size_t count = 0;
    for (uint32_t id = random_below(8); id < VOCAB && count < max; id += 1 + random_below(8)) {
        int32_t milli =
            (int32_t)random_below(2 * ASY_SAMPLE_MAX_BIAS_MILLI + 1) - ASY_SAMPLE_MAX_BIAS_MILLI;
        ret_bias[count++] = (struct asy_sample_bias){id, random_below(6) == 0 ? ASY_SAMPLE_BAN_MILLI
                                                         : milli == 0         ? 1
                                                                              : milli};
    }
    return count;
}

/* The document's formula, with the wide integers it assumes. */
static __int128 nearest(__int128 a, __int128 b) {
    __int128 n = 2 * a + b, d = 2 * b, q = n / d;
    return q * d > n ? q - 1 : q;
}
static __int128 clamp(__int128 x) {
    return x > ASY_SAMPLE_LOGIT_MAX    ? ASY_SAMPLE_LOGIT_MAX
           : x < -ASY_SAMPLE_LOGIT_MAX ? -ASY_SAMPLE_LOGIT_MAX
                                       : x;
}
static int32_t plain(int32_t logit, const struct asy_sample_settings *s, int32_t bias_milli,
                     uint32_t count) {
    __int128 x = logit;
    if (logit == ASY_SAMPLE_MASKED || bias_milli == ASY_SAMPLE_BAN_MILLI) {
        return ASY_SAMPLE_MASKED;
    }
    if (bias_milli != 0) {
        x = clamp(x + nearest((__int128)bias_milli * 65536, 1000));
    }
    if (count != 0 && s->repeat_penalty_milli != 0) {
        __int128 r = s->repeat_penalty_milli;
        x = clamp(x > 0 ? nearest(x * 1000, r) : nearest(x * r, 1000));
    }
    if (count != 0 && (s->presence_penalty_milli != 0 || s->frequency_penalty_milli != 0)) {
        __int128 milli = s->presence_penalty_milli + (__int128)s->frequency_penalty_milli * count;
        x = clamp(x - nearest(milli * 65536, 1000));
    }
    return (int32_t)x;
}

static void test_equal_to_plain(void) {
    for (int round = 0; round < 2000 && asy_test_failures == 0; round++) {
        struct asy_sample_settings s = random_settings();
        struct asy_sample_bias bias[VOCAB];
        struct asy_sample_count counts[VOCAB + 1];
        uint32_t times[VOCAB] = {0};
        int32_t before[VOCAB], after[VOCAB], milli[VOCAB] = {0};
        size_t bias_len = random_below(2) ? random_bias(bias, ASY_MAX_BIAS) : 0, counts_len = 0;
        s.logit_bias.b[31] = bias_len != 0;
        CHECK_OK(asy_sample_bias_check(bias, bias_len, NULL));
        for (size_t i = 0; i < bias_len; i++) {
            milli[bias[i].id] = bias[i].milli;
        }
        for (uint32_t i = random_below(100); i > 0; i--) {
            uint32_t id = random_below(random_below(2) ? VOCAB : 10);
            times[id]++;
            asy_sample_count_add(counts, &counts_len, id);
        }
        for (size_t i = 0; i < counts_len; i++) { /* sorted, each once, and right */
            CHECK(i == 0 || counts[i - 1].id < counts[i].id);
            CHECK(counts[i].count != 0 && counts[i].count == times[counts[i].id]);
            if (random_below(20) == 0) {
                counts[i].count = times[counts[i].id] = (uint32_t)asy_test_random() | 1;
            }
        }
        for (uint32_t id = 0; id < VOCAB; id++) {
            before[id] = after[id] = random_logit();
        }
        CHECK_OK(asy_sample_adjust(after, VOCAB, &s, bias, bias_len, counts, counts_len));
        for (uint32_t id = 0; id < VOCAB; id++) {
            int32_t want = plain(before[id], &s, milli[id], times[id]);
            if (after[id] != want) {
                fprintf(stderr, "id %u: %d became %d, wanted %d\n", id, before[id], after[id],
                        want);
                asy_test_failures++;
            }
            if (milli[id] == 0 && times[id] == 0) {
                CHECK(after[id] == before[id]);
            }
        }
    }
}

/* A step never changes the order of two ids that it treats alike: the winner among unseen ids, or
 * among ids seen equally often, stays the winner. */
static void test_monotone(void) {
    for (int round = 0; round < 20000; round++) {
        struct asy_sample_settings s = random_settings();
        uint32_t times = random_below(5);
        int32_t milli =
            (int32_t)random_below(2 * ASY_SAMPLE_MAX_BIAS_MILLI) - ASY_SAMPLE_MAX_BIAS_MILLI + 1;
        struct asy_sample_bias bias[2] = {{0, milli}, {1, milli}};
        struct asy_sample_count counts[2] = {{0, times}, {1, times}};
        size_t bias_len = milli != 0 && random_below(2) ? 2 : 0;
        s.logit_bias.b[0] = bias_len != 0;
        int32_t a = random_logit(), b = random_below(2) ? a + (a < INT32_MAX) : random_logit();
        int32_t logits[2] = {a < b ? a : b, a < b ? b : a};
        CHECK_OK(asy_sample_adjust(logits, 2, &s, bias, bias_len, counts, times != 0 ? 2 : 0));
        CHECK(logits[0] <= logits[1]);
    }
}

/* Penalties that are positive never raise a logit within the range, negative ones never lower
 * it. */
static void test_directions(void) {
    for (int round = 0; round < 20000; round++) {
        struct asy_sample_settings s = random_settings();
        bool up = random_below(2);
        int32_t before = random_logit(), after;
        struct asy_sample_count count = {0, 1 + random_below(5)};
        if (before > ASY_SAMPLE_LOGIT_MAX || before < -ASY_SAMPLE_LOGIT_MAX) {
            continue;
        }
        s.presence_penalty_milli = abs(s.presence_penalty_milli) * (up ? -1 : 1);
        s.frequency_penalty_milli = abs(s.frequency_penalty_milli) * (up ? -1 : 1);
        s.repeat_penalty_milli = s.repeat_penalty_milli == 0 ? 0
                                 : up                        ? 1 + s.repeat_penalty_milli % 999
                                                             : 1001 + s.repeat_penalty_milli % 1000;
        after = before;
        CHECK_OK(asy_sample_adjust(&after, 1, &s, NULL, 0, &count, 1));
        CHECK(up ? after >= before : after <= before);
    }
}

static void test_refusals(void) {
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    struct asy_sample_bias bias[2] = {{1, 5}, {4, 5}};
    struct asy_sample_count counts[2] = {{0, 1}, {4, 1}};
    int32_t logits[4] = {1, 2, 3, 4};
    s.logit_bias.b[0] = 1;
    CHECK_ERR(asy_sample_adjust(logits, 4, &s, bias, 2, NULL, 0), ASY_ERR_RANGE);
    CHECK(logits[1] == 2); /* untouched on failure */
    s.logit_bias.b[0] = 0;
    s.frequency_penalty_milli = 1;
    CHECK_ERR(asy_sample_adjust(logits, 4, &s, NULL, 0, counts, 2), ASY_ERR_RANGE);
    CHECK(logits[0] == 1);
    s.frequency_penalty_milli = 0; /* without a penalty nobody looks at the counts */
    CHECK_OK(asy_sample_adjust(logits, 4, &s, NULL, 0, counts, 2));
    CHECK(logits[0] == 1);
    /* the message names the first pair that is wrong */
    struct asy_why why = {{0}, {0}};
    bias[1].id = 1;
    CHECK_ERR(asy_sample_bias_check(bias, 2, &why), ASY_ERR_RANGE);
    CHECK_STR(why.param, "logit_bias");
    CHECK(strstr(why.text, "id 1 ") != NULL);
}

static void test_uses(void) {
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    CHECK_U64(asy_sample_uses(&s), ASY_SAMPLE_USE_TEMPERATURE);
    s.top_k = 5;
    s.min_p_ppm = 1;
    s.logit_bias.b[7] = 1;
    CHECK_U64(asy_sample_uses(&s), ASY_SAMPLE_USE_TEMPERATURE | ASY_SAMPLE_USE_TOP_K |
                                       ASY_SAMPLE_USE_MIN_P | ASY_SAMPLE_USE_BIAS);
    CHECK((asy_sample_uses(&s) & ASY_SAMPLE_USES_BY_REPLAY) == 0);
    s.top_p_ppm = ASY_SAMPLE_PPM - 1;
    CHECK((asy_sample_uses(&s) & ASY_SAMPLE_USES_BY_REPLAY) == ASY_SAMPLE_USE_TOP_P);
    s.temperature_milli = 0; /* the filters decide nothing any more */
    CHECK_U64(asy_sample_uses(&s), ASY_SAMPLE_USE_GREEDY | ASY_SAMPLE_USE_BIAS);
    s.presence_penalty_milli = -1;
    CHECK((asy_sample_uses(&s) & ASY_SAMPLE_USES_COUNTS) == ASY_SAMPLE_USE_PRESENCE);
    s.frequency_penalty_milli = 1;
    s.repeat_penalty_milli = 1100;
    CHECK((asy_sample_uses(&s) & ASY_SAMPLE_USES_BY_REPLAY) == ASY_SAMPLE_USES_COUNTS);
    for (unsigned i = 0; i < ASY_SAMPLE_USE_COUNT; i++) {
        const char *name = asy_sample_use_name((enum asy_sample_use)(1u << i));
        CHECK(strcmp(name, "unknown") != 0);
        for (unsigned k = 0; k < i; k++) {
            CHECK(strcmp(name, asy_sample_use_name((enum asy_sample_use)(1u << k))) != 0);
        }
    }
}

/* ---- what comes of it, over many tokens ---- */

enum { IDS = 6, POSITIONS = 100000 };

/* round(65536 * ln q) for q = 36, 25, 16, 9, 4, 1 */
static const int32_t model[IDS] = {234849, 210950, 181704, 143998, 90852, 0};

static double chi_square(const uint32_t *seen, const double *odds) {
    double sum = 0, chi2 = 0;
    for (unsigned id = 0; id < IDS; id++) {
        sum += odds[id];
    }
    for (unsigned id = 0; id < IDS; id++) {
        double want = POSITIONS * odds[id] / sum;
        if (want == 0) {
            CHECK_U64(seen[id], 0);
        } else {
            chi2 += ((double)seen[id] - want) * ((double)seen[id] - want) / want;
        }
    }
    return chi2;
}

/* A bias of ln q multiplies the odds by q, whatever came before; a ban takes an id out. The seed is
 * fixed: a result never changes from run to run. Limits: 99.9 % points. */
static void test_bias_statistics(void) {
    static const uint8_t seed[ASY_SAMPLE_SEED_LEN] = "statistics test seed, number 02";
    uint64_t workspace[4096];
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    s.logit_bias.b[0] = 1;
    /* round(1000 ln 4), -round(1000 ln 9) */
    const struct asy_sample_bias bias[] = {{0, -2197}, {2, ASY_SAMPLE_BAN_MILLI}, {4, 1386}};
    const double odds[IDS] = {4, 25, 0, 9, 16, 1};
    uint32_t seen[IDS] = {0};
    for (uint32_t pos = 0; pos < POSITIONS; pos++) {
        int32_t logits[IDS];
        uint32_t id;
        memcpy(logits, model, sizeof logits);
        CHECK_OK(asy_sample_adjust(logits, IDS, &s, bias, ASY_COUNT(bias), NULL, 0));
        CHECK_OK(asy_sample_token(&id, NULL, workspace, logits, IDS, &s, seed, pos));
        seen[id]++;
    }
    CHECK(chi_square(seen, odds) < 18.467); /* 4 degrees of freedom */
}

/* At each position the chance of an id is softmax(logit - penalty of its count): summed over a run,
 * what came less what was to be expected is a martingale, near zero on the scale of its deviation.
 * And the frequency penalty evens the ids out. */
static void test_penalty_statistics(void) {
    static const uint8_t seed[ASY_SAMPLE_SEED_LEN] = "statistics test seed, number 03";
    uint64_t workspace[4096];
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    s.frequency_penalty_milli = 100;
    s.presence_penalty_milli = 500;
    struct asy_sample_count counts[IDS + 1];
    size_t counts_len = 0;
    uint32_t seen[IDS] = {0};
    double excess[IDS] = {0}, variance[IDS] = {0};
    for (uint32_t pos = 0; pos < 20000; pos++) {
        int32_t logits[IDS];
        uint32_t id;
        double p[IDS], sum = 0;
        memcpy(logits, model, sizeof logits);
        CHECK_OK(asy_sample_adjust(logits, IDS, &s, NULL, 0, counts, counts_len));
        for (unsigned i = 0; i < IDS; i++) { /* from the counts, not from the adjusted logits */
            double x =
                model[i] / 65536.0 - 0.1 * seen[i] - (seen[i] != 0 ? 0.5 : 0) + 0.1 * pos / IDS;
            /* exp(x) = exp(x / 2^10)^(2^10), without libm */
            double y = x / 1024, e = 1 + y * (1 + y / 2 * (1 + y / 3 * (1 + y / 4)));
            for (int k = 0; k < 10; k++) {
                e *= e;
            }
            p[i] = e;
            sum += e;
        }
        CHECK_OK(asy_sample_token(&id, NULL, workspace, logits, IDS, &s, seed, pos));
        for (unsigned i = 0; i < IDS; i++) {
            double chance = p[i] / sum;
            excess[i] += (i == id) - chance;
            variance[i] += chance * (1 - chance);
        }
        seen[id]++;
        asy_sample_count_add(counts, &counts_len, id);
    }
    for (unsigned i = 0; i < IDS; i++) {
        CHECK(excess[i] * excess[i] < 10.8 * variance[i]); /* 3.29 standard deviations */
        CHECK(seen[i] > 20000 / IDS - 60 && seen[i] < 20000 / IDS + 60);
    }
}

/* Repeat penalty at temperature 0: what was said is said again only while it leads by that
 * factor. */
static void test_repeat_greedy(void) {
    uint64_t workspace[4096];
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    s.temperature_milli = 0;
    s.repeat_penalty_milli = 1500;
    static const int32_t logits[4] = {150000, 100001, -65536, -98303};
    static const uint32_t want[] = {0, 1, 0, 0};
    struct asy_sample_count counts[5];
    size_t counts_len = 0;
    for (uint32_t pos = 0; pos < ASY_COUNT(want); pos++) {
        int32_t now[4];
        uint32_t id;
        int64_t margin;
        memcpy(now, logits, sizeof now);
        CHECK_OK(asy_sample_adjust(now, 4, &s, NULL, 0, counts, counts_len));
        CHECK_OK(asy_sample_token(&id, NULL, workspace, now, 4, &s, (const uint8_t[32]){0}, pos));
        CHECK_U64(id, want[pos]); /* 150000 / 1.5 = 100000 */
        CHECK_OK(asy_sample_margin(&margin, NULL, workspace, now, 4, &s, (const uint8_t[32]){0},
                                   pos, id));
        CHECK(margin == 0);
        asy_sample_count_add(counts, &counts_len, id);
    }
    int32_t below[2] = {-65536, -98303}; /* -65536 * 1.5 = -98304 */
    const struct asy_sample_count one = {0, 1};
    CHECK_OK(asy_sample_adjust(below, 2, &s, NULL, 0, &one, 1));
    CHECK(below[0] == -98304 && below[1] == -98303);
}

int main(void) {
    test_equal_to_plain();
    test_monotone();
    test_directions();
    test_refusals();
    test_uses();
    test_bias_statistics();
    test_penalty_statistics();
    test_repeat_greedy();
    return asy_test_end();
}
