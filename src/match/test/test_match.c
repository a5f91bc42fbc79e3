#include "base/test.h"
#include "crypto/crypto.h"
#include "match/match.h"

enum { MAX = 300 };

static struct asy_match_candidate cands[MAX];
static struct asy_match_verdict verdicts[MAX];
static struct asy_match_request request;
static struct asy_match_rules rules;
static struct asy_match_result result;

static struct asy_addr addr_of(unsigned n) {
    struct asy_addr a = {{0}};
    asy_be32_put(a.b + 16, n);
    return a;
}

/* Equal, idle, well-known nodes. */
static void plain(size_t count) {
    memset(&request, 0, sizeof request);
    request.in_tokens = 1000;
    request.out_tokens = 500;
    request.max_price_in.pico = request.max_price_out.pico = ASY_MATCH_NO_LIMIT;
    rules = (struct asy_match_rules){
        .weights = {35, 40, 20, 5, 0, 25}, .spread_ppm = 50000, .max_queue = 8};
    for (size_t i = 0; i < count; i++) {
        cands[i] = (struct asy_match_candidate){
            .node = addr_of((unsigned)i + 1),
            .prices = {.in = {100000}, .cached = {50000}, .out = {400000}},
            .context = 8192,
            .first_token_us = 200000,
            .tokens_per_s = 50,
            .slots = 4,
            .reputation_ppm = 800000,
            .tiers = 1};
    }
}
static void next_job(void) { asy_test_fill(request.draw.b, sizeof request.draw.b); }
static void rank(size_t count) {
    CHECK_OK(asy_match_rank(&result, verdicts, &request, &rules, cands, count));
}
static size_t winner(size_t count) {
    rank(count);
    CHECK(result.ranked_count > 0);
    return result.ranked[0];
}

/* Anything at all, within and beyond what makes sense. */
static void wild(size_t count) {
    plain(count);
    next_job();
    uint32_t *w = &rules.weights.price;
    for (int i = 0; i < 6; i++) {
        w[i] = (uint32_t)(asy_test_random() % 101);
    }
    w[5] += 1;
    rules.spread_ppm = (uint32_t)(asy_test_random() % 3 * 50000);
    rules.full_stake.pico = asy_test_random() % 3 * ASY_PICO_PER_USD;
    request.tier = asy_test_random() % 4 == 0 ? 7 : 3;
    request.min_reputation_ppm = asy_test_random() % 2 == 0 ? 0 : 300000;
    request.max_price_in.pico =
        asy_test_random() % 2 == 0 ? ASY_MATCH_NO_LIMIT : asy_test_random() % 1000000;
    request.max_price_out.pico =
        asy_test_random() % 2 == 0 ? ASY_MATCH_NO_LIMIT : asy_test_random() % 1000000;
    for (size_t i = 0; i < count; i++) {
        struct asy_match_candidate *c = &cands[i];
        asy_test_fill(c->node.b, sizeof c->node.b);
        /* few different values, so that ties happen */
        c->prices.in.pico = asy_test_random() % 10 * 100000;
        c->prices.cached.pico = c->prices.in.pico / 2;
        c->prices.out.pico = asy_test_random() % 10 * 100000;
        c->first_token_us = asy_test_random() % 5 * 100000;
        c->tokens_per_s = (uint32_t)(asy_test_random() % 4 * 25);
        c->slots = (uint32_t)(asy_test_random() % 5);
        c->running = (uint32_t)(asy_test_random() % 6);
        c->queued = (uint32_t)(asy_test_random() % 10);
        c->reputation_ppm = (uint32_t)(asy_test_random() % 11 * 100000);
        c->stake.pico = asy_test_random() % 4 * ASY_PICO_PER_USD;
        c->draining = asy_test_random() % 10 == 0;
        c->model.b[0] = asy_test_random() % 8 == 0;
        c->tiers = (uint32_t)asy_test_random() | 1u << 3;
        c->context = asy_test_random() % 8 == 0 ? 1499 : 1500;
    }
}

static void test_rejects(void) {
    static const struct asy_addr listed[] = {{{1}}, {{2}}};
    struct asy_match_candidate *c = &cands[0];
#define REFUSED(change, reason)                                                                    \
    do {                                                                                           \
        plain(1);                                                                                  \
        rules.max_queue = 2;                                                                       \
        change;                                                                                    \
        rank(1);                                                                                   \
        CHECK(verdicts[0].reject == (reason));                                                     \
        CHECK(result.eligible == ((reason) == ASY_MATCH_REJECT_NONE));                             \
        CHECK(result.ranked_count == result.eligible);                                             \
        CHECK((verdicts[0].score_ppm == 0) == ((reason) != ASY_MATCH_REJECT_NONE));                \
    } while (0)
    REFUSED((void)0, ASY_MATCH_REJECT_NONE);
    REFUSED(c->model.b[31] = 1, ASY_MATCH_REJECT_MODEL);
    REFUSED((request.only = listed, request.only_count = 2), ASY_MATCH_REJECT_ONLY);
    REFUSED((c->node = listed[1], request.only = listed, request.only_count = 2),
            ASY_MATCH_REJECT_NONE);
    REFUSED((c->node = listed[1], request.ignore = listed, request.ignore_count = 2),
            ASY_MATCH_REJECT_IGNORED);
    REFUSED((request.ignore = listed, request.ignore_count = 2), ASY_MATCH_REJECT_NONE);
    REFUSED(c->draining = true, ASY_MATCH_REJECT_DRAINING);
    REFUSED(request.tier = 1, ASY_MATCH_REJECT_TIER);
    REFUSED((request.tier = 31, c->tiers = 1u << 31), ASY_MATCH_REJECT_NONE);
    REFUSED(strncpy(request.region, "eu", 3), ASY_MATCH_REJECT_REGION);
    REFUSED((strncpy(request.region, "eu", 3), strncpy(c->region, "eu", 3)), ASY_MATCH_REJECT_NONE);
    REFUSED((strncpy(request.region, "eu", 3), strncpy(c->region, "eu2", 4)),
            ASY_MATCH_REJECT_REGION);
    REFUSED(strncpy(c->region, "us", 3), ASY_MATCH_REJECT_NONE);
    REFUSED(c->context = 1499, ASY_MATCH_REJECT_CONTEXT);
    REFUSED(c->context = 1500, ASY_MATCH_REJECT_NONE);
    REFUSED((request.in_tokens = UINT64_MAX, c->context = UINT64_MAX),
            ASY_MATCH_REJECT_CONTEXT); /* the sum wraps */
    REFUSED(request.min_reputation_ppm = 800001, ASY_MATCH_REJECT_REPUTATION);
    REFUSED(request.min_reputation_ppm = 800000, ASY_MATCH_REJECT_NONE);
    REFUSED(request.max_price_in.pico = 99999, ASY_MATCH_REJECT_PRICE);
    REFUSED(request.max_price_in.pico = 100000, ASY_MATCH_REJECT_NONE);
    REFUSED(request.max_price_out.pico = 399999, ASY_MATCH_REJECT_PRICE);
    REFUSED(request.max_price_out.pico = 400000, ASY_MATCH_REJECT_NONE);
    REFUSED(c->prices.out.pico = ASY_MATCH_NO_LIMIT,
            ASY_MATCH_REJECT_PRICE); /* the cost overflows */
    REFUSED(c->prices.out.pico = ASY_MATCH_MAX_PICO, ASY_MATCH_REJECT_PRICE);
    REFUSED((c->running = 4, c->queued = 2), ASY_MATCH_REJECT_BUSY);
    REFUSED((c->running = 9, c->queued = 9), ASY_MATCH_REJECT_BUSY);
    REFUSED((c->running = 4, c->queued = 1), ASY_MATCH_REJECT_NONE);
    REFUSED((c->running = 3, c->queued = 2), ASY_MATCH_REJECT_NONE);
    REFUSED(c->slots = 0, ASY_MATCH_REJECT_INVALID);
    REFUSED(c->reputation_ppm = 1000001, ASY_MATCH_REJECT_INVALID);
    REFUSED(c->stake.pico = ASY_MATCH_MAX_PICO, ASY_MATCH_REJECT_INVALID);
    REFUSED(c->prices.cached.pico = 100001, ASY_MATCH_REJECT_INVALID);
    REFUSED(c->region[3] = 'x', ASY_MATCH_REJECT_INVALID);
    /* several reasons: the first of the table */
    REFUSED((c->draining = true, c->slots = 0, c->context = 0), ASY_MATCH_REJECT_DRAINING);
#undef REFUSED
    plain(1);
    rank(0);
    CHECK(result.eligible == 0 && result.ranked_count == 0);
    CHECK_STR(asy_match_reject_name(ASY_MATCH_REJECT_BUSY), "BUSY");
    CHECK_STR(asy_match_reject_text(ASY_MATCH_REJECT_PRICE), "is too expensive");
}

static void test_limits(void) {
#define LIMIT(change, want)                                                                        \
    do {                                                                                           \
        plain(2);                                                                                  \
        change;                                                                                    \
        CHECK_ERR(asy_match_rank(&result, verdicts, &request, &rules, cands, 2), want);            \
    } while (0)
    LIMIT(memset(&rules.weights, 0, sizeof rules.weights), ASY_ERR_RANGE);
    LIMIT(rules.weights.load = 1001, ASY_ERR_RANGE);
    LIMIT(rules.weights.price = UINT32_MAX, ASY_ERR_RANGE);
    LIMIT(rules.spread_ppm = 1000001, ASY_ERR_RANGE);
    LIMIT(rules.full_stake.pico = ASY_MATCH_MAX_PICO, ASY_ERR_RANGE);
    LIMIT(request.only_count = ASY_MAX_MATCH_LIST + 1, ASY_ERR_RANGE);
    LIMIT(request.ignore_count = ASY_MAX_MATCH_LIST + 1, ASY_ERR_RANGE);
    LIMIT(request.order_count = ASY_MAX_MATCH_LIST + 1, ASY_ERR_RANGE);
    LIMIT(request.tier = 32, ASY_ERR_RANGE);
    LIMIT(request.region[1] = 'x', ASY_ERR_RANGE);
    plain(2);
    CHECK_ERR(asy_match_rank(&result, verdicts, &request, &rules, cands, ASY_MAX_NODES + 1),
              ASY_ERR_RANGE);
    /* the extremes are fine */
    plain(2);
    rules.weights = (struct asy_match_weights){1000, 1000, 1000, 1000, 1000, 1000};
    rules.full_stake.pico = ASY_MATCH_MAX_PICO - 1;
    request.in_tokens = 1;
    request.out_tokens = 0;
    for (int i = 0; i < 2; i++) {
        cands[i].prices.in.pico = ASY_MATCH_MAX_PICO - 1;
        cands[i].stake.pico = ASY_MATCH_MAX_PICO - 2;
        cands[i].first_token_us = UINT64_MAX;
        cands[i].tokens_per_s = UINT32_MAX;
        cands[i].slots = UINT32_MAX;
        cands[i].queued = 0;
        cands[i].reputation_ppm = 1000000;
    }
    rank(2);
    CHECK(result.eligible == 2 &&
          verdicts[0].score_ppm == 999999); /* only the stake is one short */
}

/* Scores by hand, in each part alone and in a blend. */
static void test_scores(void) {
    plain(2);
    rules.weights = (struct asy_match_weights){.price = 1};
    cands[1].prices.in.pico = 300000; /* 1000 * 0.3 + 500 * 0.4 = 500 against 300 */
    rank(2);
    CHECK(verdicts[0].score_ppm == 1000000 && verdicts[1].score_ppm == 600000);
    cands[0].prices = cands[1].prices = (struct asy_prices){{0}, {0}, {0}};
    rank(2);
    CHECK(verdicts[0].score_ppm == 1000000 && verdicts[1].score_ppm == 1000000);
    cands[1].prices.out.pico = 1;
    rank(2);
    CHECK(verdicts[0].score_ppm == 1000000 &&
          verdicts[1].score_ppm == 0); /* nothing is cheaper than free */

    rules.weights = (struct asy_match_weights){.reputation = 7};
    cands[1].reputation_ppm = 123456;
    rank(2);
    CHECK(verdicts[0].score_ppm == 800000 && verdicts[1].score_ppm == 123456);

    rules.weights = (struct asy_match_weights){.latency = 3};
    cands[1].first_token_us = 300000;
    rank(2);
    CHECK(verdicts[0].score_ppm == 1000000 && verdicts[1].score_ppm == 750000);
    cands[1].first_token_us = 0;
    rank(2);
    CHECK(verdicts[0].score_ppm == 1000000 && verdicts[1].score_ppm == 1000000);
    cands[1].first_token_us = UINT64_MAX;
    rank(2);
    CHECK(verdicts[0].score_ppm == 1000000 && verdicts[1].score_ppm == 0);

    rules.weights = (struct asy_match_weights){.capability = 1};
    cands[1].tokens_per_s = 20;
    rank(2);
    CHECK(verdicts[0].score_ppm == 1000000 && verdicts[1].score_ppm == 400000);

    rules.weights = (struct asy_match_weights){.stake = 1};
    rules.full_stake.pico = 1000 * ASY_PICO_PER_USD;
    cands[0].stake.pico = 5000 * ASY_PICO_PER_USD;
    cands[1].stake.pico = 250 * ASY_PICO_PER_USD;
    rank(2);
    CHECK(verdicts[0].score_ppm == 1000000 && verdicts[1].score_ppm == 250000);

    rules.weights = (struct asy_match_weights){.load = 1};
    cands[0].running = 1;
    cands[1].running = 4;
    cands[1].queued = 4;
    rank(2);
    CHECK(verdicts[0].score_ppm == 875000 &&
          verdicts[1].score_ppm == 250000); /* 3/4 free, 1/2 of the queue of 8 */
    rules.max_queue = 5;
    rank(2);
    CHECK(verdicts[1].score_ppm == 100000);
    rules.max_queue = 0;
    cands[1].running = 3;
    rank(2);
    CHECK(verdicts[0].score_ppm == 875000 && verdicts[1].score_ppm == 625000);

    plain(2);
    rules.weights = (struct asy_match_weights){.price = 50, .reputation = 30, .load = 20};
    cands[1].prices.in.pico = 300000;
    cands[1].reputation_ppm = 1000000;
    cands[0].running = 2;
    rank(2);
    CHECK_U64(verdicts[0].score_ppm, 890000); /* .5 * 1 + .3 * .8 + .2 * .75 */
    CHECK_U64(verdicts[1].score_ppm, 800000); /* .5 * .6 + .3 * 1 + .2 * 1 */
}

/* Two nodes that differ by less than anyone notices share the jobs; one that was slow once is asked
 * again after a while. */
static void test_latency(void) {
    plain(2);
    rules.weights = (struct asy_match_weights){.price = 50, .reputation = 30, .latency = 20};
    cands[0].first_token_us = 1000;
    cands[1].first_token_us = 15000;
    int wins = 0;
    for (int i = 0; i < 100; i++) {
        next_job();
        rank(2);
        wins += result.ranked[0] == 1;
    }
    CHECK(wins > 25 && wins < 75);

    struct asy_match_latency l = {.us = 0, .at_ns = 0};
    uint64_t now = 5, half = ASY_MATCH_LATENCY_HALF_NS;
    CHECK_U64(asy_match_latency_at(&l, now), 0);
    asy_match_latency_add(&l, 8000000, now);
    CHECK_U64(asy_match_latency_at(&l, now), 8000000);
    CHECK_U64(asy_match_latency_at(&l, now + half - 1), 8000000);
    CHECK_U64(asy_match_latency_at(&l, now + half), 4000000);
    CHECK_U64(asy_match_latency_at(&l, now + 10 * half), 7812);
    CHECK_U64(asy_match_latency_at(&l, now + 64 * half), 0);
    asy_match_latency_add(&l, 800, now + half); /* 7/8 of what is left of the old */
    CHECK_U64(asy_match_latency_at(&l, now + half), 3500100);
    asy_match_latency_add(&l, 0, now + 80 * half);
    CHECK_U64(asy_match_latency_at(&l, now + 80 * half), 1);
    CHECK_U64(asy_match_latency_at(&l, 0), 1); /* a clock never runs backwards, but 0 < at_ns */
}

static void test_ties(void) {
    /* same score by different ways: the cheaper, then the better known, then the lower address */
    plain(3);
    rules.spread_ppm = 0;
    rules.weights = (struct asy_match_weights){.latency = 1};
    cands[0].prices.out.pico++;
    cands[1].reputation_ppm--;
    cands[2].reputation_ppm = cands[1].reputation_ppm;
    rank(3);
    CHECK(result.ranked_count == 3);
    /* the draw picks one of the equals; who follows is in order */
    size_t rest[2], n = 0;
    const size_t order[] = {1, 2, 0};
    for (size_t i = 0; i < 3; i++) {
        if (order[i] != result.ranked[0]) {
            rest[n++] = order[i];
        }
    }
    CHECK(n == 2 && result.ranked[1] == rest[0] && result.ranked[2] == rest[1]);
    /* reputation before address */
    cands[0].prices.out.pico--;
    cands[0].node = addr_of(99);
    cands[1].first_token_us++;
    cands[2].first_token_us++;
    rank(3);
    CHECK(result.ranked[0] == 0 && result.ranked[1] == 1 && result.ranked[2] == 2);
}

/* Equal scores and costs: who follows the winner stands by reputation, then by address. */
static void test_ties_in_full(void) {
    static const uint32_t reputation[] = {5, 7, 9, 9, 7, 5};
    static const size_t order[] = {3, 2, 4, 1, 5, 0};
    plain(6);
    rules.weights = (struct asy_match_weights){.latency = 1};
    for (size_t i = 0; i < 6; i++) {
        cands[i].reputation_ppm = reputation[i];
        cands[i].node = addr_of((unsigned)(10 - i));
    }
    rank(6);
    for (size_t i = 0, at = 1; i < 6; i++) {
        if (order[i] != result.ranked[0]) {
            CHECK(result.ranked[at++] == order[i]);
        }
    }
}

static void test_order_list(void) {
    plain(20);
    const struct asy_addr order[] = {addr_of(500), addr_of(7), addr_of(3)};
    request.order = order;
    request.order_count = 3;
    cands[6].reputation_ppm = 1; /* bad, but wanted */
    for (int i = 0; i < 20; i++) {
        next_job();
        rank(20);
        CHECK(result.ranked[0] == 6 && result.ranked[1] == 2);
        CHECK(result.ranked_count == ASY_MATCH_MAX_RANKED && result.eligible == 20);
    }
    cands[6].draining = true;
    rank(20);
    CHECK(result.ranked[0] == 2);
    cands[2].draining = true; /* nobody of the list is there: the others stand in */
    rank(20);
    CHECK(result.eligible == 18 && result.ranked[0] != 2 && result.ranked[0] != 6);
}

static int by_rank(const struct asy_match_candidate *c, const struct asy_match_verdict *v, size_t a,
                   size_t b) {
    if (v[a].score_ppm != v[b].score_ppm) {
        return v[a].score_ppm > v[b].score_ppm ? -1 : 1;
    }
    struct asy_usd x, y;
    struct asy_tokens t = {.in = request.in_tokens, .out = request.out_tokens};
    CHECK_OK(asy_cost(&x, &c[a].prices, &t));
    CHECK_OK(asy_cost(&y, &c[b].prices, &t));
    if (x.pico != y.pico) {
        return x.pico < y.pico ? -1 : 1;
    }
    if (c[a].reputation_ppm != c[b].reputation_ppm) {
        return c[a].reputation_ppm > c[b].reputation_ppm ? -1 : 1;
    }
    return memcmp(c[a].node.b, c[b].node.b, 20);
}

/* Random markets: the ranking is the sorted list (by a plain selection sort), but for the winner,
 * which is one of the near-equals; nobody over a limit is in it; the order of the input does not
 * matter. */
static void test_random_markets(void) {
    static struct asy_match_candidate shuffled[MAX];
    static struct asy_match_verdict verdicts2[MAX];
    for (int round = 0; round < 300; round++) {
        size_t count = 1 + asy_test_random() % 60;
        wild(count);
        rank(count);
        size_t sorted[MAX], n = 0;
        for (size_t i = 0; i < count; i++) {
            if (verdicts[i].reject == ASY_MATCH_REJECT_NONE) {
                CHECK(cands[i].prices.in.pico <= request.max_price_in.pico &&
                      cands[i].prices.out.pico <= request.max_price_out.pico);
                CHECK(cands[i].reputation_ppm >= request.min_reputation_ppm && !cands[i].draining);
                sorted[n++] = i;
            }
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t k = i + 1; k < n; k++) {
                if (by_rank(cands, verdicts, sorted[k], sorted[i]) < 0) {
                    size_t t = sorted[i];
                    sorted[i] = sorted[k];
                    sorted[k] = t;
                }
            }
        }
        CHECK(result.eligible == n &&
              result.ranked_count == (n < ASY_MATCH_MAX_RANKED ? n : ASY_MATCH_MAX_RANKED));
        if (n == 0) {
            continue;
        }
        size_t w = result.ranked[0];
        CHECK(verdicts[sorted[0]].score_ppm - verdicts[w].score_ppm <= rules.spread_ppm);
        for (size_t i = 0, at = 1; i < n && at < result.ranked_count; i++) {
            if (sorted[i] != w) {
                CHECK(result.ranked[at++] == sorted[i]);
            }
        }
        /* permutation */
        size_t map[MAX];
        for (size_t i = 0; i < count; i++) {
            map[i] = i;
        }
        for (size_t i = count; i > 1; i--) {
            size_t k = asy_test_random() % i, t = map[k];
            map[k] = map[i - 1];
            map[i - 1] = t;
        }
        for (size_t i = 0; i < count; i++) {
            shuffled[i] = cands[map[i]];
        }
        struct asy_match_result again;
        CHECK_OK(asy_match_rank(&again, verdicts2, &request, &rules, shuffled, count));
        CHECK(again.eligible == result.eligible && again.ranked_count == result.ranked_count);
        for (size_t i = 0; i < count; i++) {
            CHECK(verdicts2[i].reject == verdicts[map[i]].reject &&
                  verdicts2[i].score_ppm == verdicts[map[i]].score_ppm);
        }
        for (size_t i = 0; i < again.ranked_count; i++) {
            CHECK(map[again.ranked[i]] == result.ranked[i]);
        }
    }
}

static size_t rank_of(size_t count, size_t index) {
    size_t ahead = 0;
    for (size_t i = 0; i < count; i++) {
        ahead += i != index && verdicts[i].reject == ASY_MATCH_REJECT_NONE &&
                 by_rank(cands, verdicts, i, index) < 0;
    }
    return ahead;
}

/* Getting better in one respect never makes a node's place worse. */
static void test_monotonic(void) {
    for (int round = 0; round < 2000; round++) {
        size_t count = 2 + asy_test_random() % 20, i = asy_test_random() % count;
        wild(count);
        rank(count);
        if (verdicts[i].reject != ASY_MATCH_REJECT_NONE) {
            continue;
        }
        size_t was = rank_of(count, i);
        uint32_t score_was = verdicts[i].score_ppm;
        struct asy_match_candidate *c = &cands[i];
        switch (asy_test_random() % 5) {
        case 0:
            c->prices.in.pico -=
                c->prices.in.pico != 0 ? 1 + asy_test_random() % (uint64_t)c->prices.in.pico : 0;
            c->prices.cached.pico = 0;
            break;
        case 1:
            c->prices.out.pico -=
                c->prices.out.pico != 0 ? 1 + asy_test_random() % (uint64_t)c->prices.out.pico : 0;
            break;
        case 2:
            c->reputation_ppm += (uint32_t)(asy_test_random() % (1000001 - c->reputation_ppm));
            break;
        case 3:
            c->running = 0;
            c->queued = 0;
            break;
        default:
            c->first_token_us -=
                c->first_token_us > 1 ? asy_test_random() % (c->first_token_us - 1) : 0;
            break;
        }
        rank(count);
        CHECK(verdicts[i].reject == ASY_MATCH_REJECT_NONE);
        CHECK(verdicts[i].score_ppm >= score_was);
        CHECK(rank_of(count, i) <= was);
    }
}

/* Jobs one by one over equal, idle nodes: each gets its share. 10,000 jobs over 10 nodes, drawn as
 * the minimum of fair lots: 1,000 each with a standard deviation of 30; six of these are allowed.
 */
static void test_fair_when_idle(void) {
    enum { NODES = 10, JOBS = 10000 };
    unsigned got[NODES] = {0};
    plain(NODES);
    for (int j = 0; j < JOBS; j++) {
        next_job();
        got[winner(NODES)]++;
    }
    for (int i = 0; i < NODES; i++) {
        CHECK(got[i] > 820 && got[i] < 1180);
    }
    /* a node that is clearly worse gets nothing while the others are idle */
    cands[0].reputation_ppm = 300000;
    for (int j = 0; j < 1000; j++) {
        next_job();
        CHECK(winner(NODES) != 0);
    }
    /* spread 0 and no equals: always the best */
    plain(NODES);
    rules.spread_ppm = 0;
    cands[4].reputation_ppm += 10;
    for (int j = 0; j < 1000; j++) {
        next_job();
        CHECK(winner(NODES) == 4);
    }
}

/* A burst that stays: jobs come and none ends. The best node does not take all; nobody waits while
 * a slot is free; then queues fill evenly, too. The bounds follow from spread and weights: one slot
 * of 16 is .2 / 2 / 16 of the score, so a node that is 8 jobs ahead is no near-equal any more, 13
 * ahead with a reputation that is .1 higher. */
static void test_load_spreads(void) {
    enum { NODES = 8, SLOTS = 16, QUEUE = 16 };
    plain(NODES);
    rules.max_queue = QUEUE;
    for (int i = 0; i < NODES; i++) {
        cands[i].slots = SLOTS;
    }
    cands[3].reputation_ppm = 900000;
    for (int j = 0; j < NODES * (SLOTS + QUEUE); j++) {
        next_job();
        struct asy_match_candidate *c = &cands[winner(NODES)];
        if (j < NODES * SLOTS) {
            CHECK(c->running < SLOTS);
            c->running++;
        } else {
            CHECK(c->running == SLOTS && c->queued < QUEUE);
            c->queued++;
        }
        uint32_t least = UINT32_MAX;
        for (int i = 0; i < NODES; i++) {
            uint32_t jobs = cands[i].running + cands[i].queued;
            least = jobs < least ? jobs : least;
        }
        CHECK(c->running + c->queued - least <= (c == &cands[3] ? 14u : 9u));
    }
    next_job();
    rank(NODES);
    CHECK(result.eligible == 0); /* all are full to the last place */

    /* two choices keep equal nodes level: far below what one random choice gives (8 or more ahead
     * here) */
    plain(NODES);
    for (int i = 0; i < NODES; i++) {
        cands[i].slots = 1000;
    }
    for (int j = 0; j < NODES * 100; j++) {
        next_job();
        cands[winner(NODES)].running++;
    }
    for (int i = 0; i < NODES; i++) {
        CHECK(cands[i].running >= 95 && cands[i].running <= 105);
    }
}

/* ---- records ---- */

static struct asy_buf record;

static void encode(size_t count) {
    asy_buf_clear(&record);
    CHECK_OK(asy_match_record_encode(&record, &request, &rules, cands, count, verdicts, &result));
    CHECK_U64(record.n, asy_match_record_len(count, request.only_count + request.ignore_count +
                                                        request.order_count));
}

static void test_records(void) {
    struct asy_why why;
    static struct asy_addr order[2], ignore[1];
    asy_buf_init(&record, 1 << 20);
    for (int round = 0; round < 100; round++) {
        size_t count = asy_test_random() % 30;
        wild(count);
        if (count > 3 && round % 2 == 0) {
            order[0] = cands[1].node;
            order[1] = cands[2].node;
            ignore[0] = cands[3].node;
            request.order = order;
            request.order_count = 2;
            request.ignore = ignore;
            request.ignore_count = 1;
        }
        rank(count);
        encode(count);
        CHECK_OK(asy_match_record_check(asy_buf_bytes(&record), &why));
        struct asy_hash digest, digest2;
        asy_match_digest(&digest, asy_buf_bytes(&record));
        asy_keccak256(&digest2, asy_buf_bytes(&record));
        CHECK(asy_hash_eq(&digest, &digest2));
        /* the same decision over the same candidates in another order has the same digest */
        if (count > 1) {
            struct asy_match_candidate t = cands[0];
            cands[0] = cands[count - 1];
            cands[count - 1] = t;
            rank(count);
            encode(count);
            asy_match_digest(&digest2, asy_buf_bytes(&record));
            CHECK(asy_hash_eq(&digest, &digest2));
        }
    }

    /* any truncation, and any byte too many, is refused */
    plain(5);
    next_job();
    rank(5);
    encode(5);
    for (size_t n = 0; n < record.n; n++) {
        CHECK_ERR(asy_match_record_check(asy_bytes_of(record.p, n), &why), ASY_ERR_SYNTAX);
    }
    CHECK_OK(asy_buf_add_u8(&record, 0));
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&record), &why), ASY_ERR_SYNTAX);

    /* a changed byte never goes unnoticed by the digest; where it changes a verdict or the winner,
     * the check says so */
    rank(5);
    encode(5);
    struct asy_hash honest, other;
    asy_match_digest(&honest, asy_buf_bytes(&record));
    size_t winner_at = record.n - 20, score_at = record.n - 21 - 4;
    for (size_t i = 0; i < record.n; i++) {
        record.p[i] ^= 1;
        asy_match_digest(&other, asy_buf_bytes(&record));
        CHECK(!asy_hash_eq(&honest, &other));
        enum asy_err err = asy_match_record_check(asy_buf_bytes(&record), &why);
        CHECK(err == ASY_OK || err == ASY_ERR_SYNTAX || err == ASY_ERR_RANGE ||
              err == ASY_ERR_MISMATCH);
        if (i >= winner_at || (i >= score_at && i < score_at + 4)) {
            CHECK_ERR(err, ASY_ERR_MISMATCH);
        }
        record.p[i] ^= 1;
    }

    /* not canonical: an address twice, flags that are neither 0 nor 1, a winner where there is none
     */
    size_t per_candidate = asy_match_record_len(1, 0) - asy_match_record_len(0, 0);
    size_t first_at = record.n - 21 - 5 * per_candidate;
    struct asy_addr saved = cands[0].node;
    memcpy(record.p + first_at, record.p + first_at + per_candidate, 20);
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&record), &why), ASY_ERR_SYNTAX);
    memcpy(record.p + first_at, saved.b, 20);
    CHECK_OK(asy_match_record_check(asy_buf_bytes(&record), &why));
    record.p[first_at + per_candidate - 6] = 2; /* draining */
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&record), &why), ASY_ERR_SYNTAX);
    record.p[first_at + per_candidate - 6] = 0;
    record.p[first_at + per_candidate - 5] = 12; /* a refusal that does not exist */
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&record), &why), ASY_ERR_SYNTAX);
    record.p[first_at + per_candidate - 5] = 0;
    record.p[winner_at - 1] = 2;
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&record), &why), ASY_ERR_SYNTAX);
    record.p[winner_at - 1] = 0;
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&record), &why), ASY_ERR_SYNTAX);
    record.p[winner_at - 1] = 1;
    /* more candidates than there can be, all bytes present */
    struct asy_buf big;
    asy_buf_init(&big, 1 << 20);
    CHECK_OK(asy_buf_add(&big, record.p, first_at));
    asy_be32_put(big.p + first_at - 4, ASY_MAX_NODES + 1);
    static const uint8_t zeros[1 << 10];
    for (size_t left = (ASY_MAX_NODES + 1) * per_candidate + 21; left != 0;) {
        size_t n = left < sizeof zeros ? left : sizeof zeros;
        CHECK_OK(asy_buf_add(&big, zeros, n));
        left -= n;
    }
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&big), &why), ASY_ERR_SYNTAX);
    asy_buf_done(&big);

    /* the thefts that a gateway could want: a friend as winner, a friend's score raised, a rival
     * refused */
    const size_t other_winner = result.ranked[1];
    memcpy(record.p + winner_at, cands[other_winner].node.b, 20);
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&record), &why), ASY_ERR_MISMATCH);
    CHECK_STR(why.text, "another candidate should have won");
    verdicts[2] = (struct asy_match_verdict){ASY_MATCH_REJECT_BUSY, 0};
    encode(5);
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&record), &why), ASY_ERR_MISMATCH);
    CHECK(strstr(why.text, "candidate 2: recorded BUSY with 0 ppm, but it is NONE") != NULL);
    rank(5);
    verdicts[1].score_ppm++;
    encode(5);
    CHECK_ERR(asy_match_record_check(asy_buf_bytes(&record), &why), ASY_ERR_MISMATCH);
    asy_buf_done(&record);

    asy_buf_init(&record, 100);
    rank(5);
    CHECK_ERR(asy_match_record_encode(&record, &request, &rules, cands, 5, verdicts, &result),
              ASY_ERR_TOO_LONG);
    CHECK(record.n == 0);
    asy_buf_done(&record);
}

/* The worked example of docs/protocol/match.md section 7; its bytes and digest were also computed
 * from that text alone, in another language. */
static void test_vector(void) {
    plain(3);
    memset(request.model.b, 0x11, 32);
    memset(request.draw.b, 0x22, 32);
    request.max_price_out.pico = 500000;
    for (unsigned i = 0; i < 3; i++) {
        memset(cands[i].node.b, (int)(0xa0 + i), 20);
        cands[i].model = request.model;
    }
    cands[0].running = 1;
    cands[1].reputation_ppm = 900000;
    cands[2].prices.out.pico = 500001;
    rank(3);
    CHECK(verdicts[2].reject == ASY_MATCH_REJECT_PRICE);
    asy_buf_init(&record, 4096);
    encode(3);
    struct asy_hash digest;
    asy_match_digest(&digest, asy_buf_bytes(&record));
    char text[65];
    for (int i = 0; i < 32; i++) {
        snprintf(text + 2 * i, 3, "%02x", digest.b[i]);
    }
    CHECK_U64(verdicts[0].score_ppm, 911000);
    CHECK_U64(verdicts[1].score_ppm, 968000);
    CHECK(result.ranked[0] == 1);
    CHECK_U64(record.n, 759);
    CHECK_STR(text, "77dcdb90e296575ce05a04a14d8ef4ed9f529b06ee9aaa46be5bb4118a4523fa");
    asy_buf_done(&record);
}

/* The second example of section 7: winners of 32 draws, computed from the text in another language.
 */
static void test_draw_vector(void) {
    static const char want[] = "03313022111013022312010210310210";
    plain(5);
    for (unsigned i = 0; i < 5; i++) {
        memset(cands[i].node.b, (int)(0xa0 + i), 20);
    }
    cands[4].running = 1;
    for (int j = 0; j < 32; j++) {
        memset(request.draw.b, j, 32);
        CHECK_U64(winner(5), (uint64_t)(want[j] - '0'));
    }
}

int main(void) {
    test_rejects();
    test_limits();
    test_scores();
    test_latency();
    test_ties();
    test_ties_in_full();
    test_order_list();
    test_random_markets();
    test_monotonic();
    test_fair_when_idle();
    test_load_spreads();
    test_records();
    test_vector();
    test_draw_vector();
    return asy_test_end();
}
