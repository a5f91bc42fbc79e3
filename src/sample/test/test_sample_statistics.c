/* Over many positions the tokens must follow softmax(logit / T) on the ids that the filters leave.
 * Seeds are fixed, so a result never changes from run to run; limits are the 99.9 % points of the
 * chi-square distribution. */
#include "base/test.h"
#include "sample/sample.h"

enum { IDS = 6, POSITIONS = 100000 };

/* round(65536 * ln q) for q = 36, 25, 16, 9, 4, 1, in an order that is not the ids': at T = 1 the
 * odds are q, at 2 sqrt(q), at 1/2 q^2 */
static const int32_t logits[IDS] = {90852, 0, 210950, 143998, 181704, 234849};
static const uint64_t odds[IDS] = {4, 1, 25, 9, 16, 36};
static const uint64_t roots[IDS] = {2, 1, 5, 3, 4, 6};

static uint8_t seed[ASY_SAMPLE_SEED_LEN] = "statistics test seed, number 01";

/* 99.9 % points for 1 .. 5 degrees of freedom */
static const double limit[IDS] = {0, 10.828, 13.816, 16.266, 18.467, 20.515};

/* weight[id]: odds of the ids that may come; 0 = never. */
static void expect(const char *name, const struct asy_sample_settings *s,
                   const uint64_t weight[IDS]) {
    uint64_t workspace[4096];
    ASY_ASSERT(asy_sample_workspace_len(IDS) <= sizeof(workspace));
    uint32_t seen[IDS] = {0};
    for (uint32_t pos = 0; pos < POSITIONS; pos++) {
        uint32_t id;
        CHECK_OK(asy_sample_token(&id, NULL, workspace, logits, IDS, s, seed, pos));
        seen[id]++;
    }
    double sum = 0, chi2 = 0;
    unsigned kinds = 0;
    for (unsigned id = 0; id < IDS; id++) {
        sum += (double)weight[id];
    }
    for (unsigned id = 0; id < IDS; id++) {
        double want = POSITIONS * (double)weight[id] / sum;
        if (weight[id] == 0) {
            CHECK_U64(seen[id], 0);
            continue;
        }
        kinds++;
        chi2 += ((double)seen[id] - want) * ((double)seen[id] - want) / want;
    }
    if (chi2 > limit[kinds - 1]) {
        fprintf(stderr, "%s: chi-square %.2f over %u ids\n", name, chi2, kinds);
        asy_test_failures++;
    }
}

static void test_temperatures(void) {
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    expect("T 1", &s, odds);
    s.temperature_milli = 2000;
    expect("T 2", &s, roots);
    s.temperature_milli = 500;
    uint64_t squares[IDS];
    for (unsigned id = 0; id < IDS; id++) {
        squares[id] = odds[id] * odds[id];
    }
    expect("T 1/2", &s, squares);
    s.temperature_milli = 0;
    expect("T 0", &s, (const uint64_t[IDS]){0, 0, 0, 0, 0, 1});
}

static void test_filters(void) {
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    s.top_k = 3;
    expect("top-k 3", &s, (const uint64_t[IDS]){0, 0, 25, 0, 16, 36});
    s.top_k = 0;
    s.top_p_ppm = 670000; /* 36 + 25 of 91 is .6703 */
    expect("top-p .67", &s, (const uint64_t[IDS]){0, 0, 25, 0, 0, 36});
    s.top_p_ppm = 671000;
    expect("top-p .671", &s, (const uint64_t[IDS]){0, 0, 25, 0, 16, 36});
    s.top_p_ppm = ASY_SAMPLE_PPM;
    s.min_p_ppm = 249000; /* 9 / 36 */
    expect("min-p .249", &s, (const uint64_t[IDS]){0, 0, 25, 9, 16, 36});
    s.min_p_ppm = 251000;
    expect("min-p .251", &s, (const uint64_t[IDS]){0, 0, 25, 0, 16, 36});
    s.min_p_ppm = 0;
    s.top_k = 4; /* top-p counts what top-k leaves: 36 + 25 + 16 of 86 is .895, of 91 .846 */
    s.top_p_ppm = 890000;
    s.temperature_milli = 2000; /* and filters look at T = 1 */
    expect("top-k 4, top-p .89, T 2", &s, (const uint64_t[IDS]){0, 0, 5, 0, 4, 6});
}

/* Equal logits over 64 ids: no id, and no place in a block, is better off; and neighbours in
 * position are independent. */
static void test_flat(void) {
    enum { FLAT = 64 };
    static const int32_t flat[FLAT];
    static uint32_t seen[FLAT], pairs[4][4];
    uint64_t workspace[4096];
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    uint32_t before = 0;
    for (uint32_t pos = 0; pos < POSITIONS; pos++) {
        uint32_t id;
        CHECK_OK(asy_sample_token(&id, NULL, workspace, flat, FLAT, &s, seed, pos));
        seen[id]++;
        if (pos % 2 == 1) {
            pairs[before % 4][id % 4]++;
        }
        before = id;
    }
    double chi2 = 0, want = (double)POSITIONS / FLAT, chi2_pairs = 0, want_pairs = POSITIONS / 32.0;
    for (unsigned id = 0; id < FLAT; id++) {
        chi2 += ((double)seen[id] - want) * ((double)seen[id] - want) / want;
    }
    for (unsigned i = 0; i < 16; i++) {
        double d = (double)pairs[i / 4][i % 4] - want_pairs;
        chi2_pairs += d * d / want_pairs;
    }
    CHECK(chi2 < 103.442);      /* 63 degrees of freedom */
    CHECK(chi2_pairs < 37.697); /* 15 */
}

int main(void) {
    test_temperatures();
    test_filters();
    test_flat();
    return asy_test_end();
}
