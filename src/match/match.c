#include "match/match.h"

#include "crypto/crypto.h"

enum {
    UNKNOWN_PPM = 500000, /* for a speed that is not known yet: the middle */
    UNNOTICED_US =
        100000 /* differences in the time to the first token well below this count little */
};

const char *asy_match_reject_name(enum asy_match_reject reject) {
    switch (reject) {
#define X(name, value, text)                                                                       \
    case ASY_MATCH_REJECT_##name:                                                                  \
        return #name;
        ASY_MATCH_REJECT_TABLE(X)
#undef X
    }
    return "INVALID";
}

const char *asy_match_reject_text(enum asy_match_reject reject) {
    switch (reject) {
#define X(name, value, text)                                                                       \
    case ASY_MATCH_REJECT_##name:                                                                  \
        return text;
        ASY_MATCH_REJECT_TABLE(X)
#undef X
    }
    return "";
}

/* ---- filter ---- */

static size_t list_find(const struct asy_addr *list, size_t count, const struct asy_addr *addr) {
    size_t i = 0;
    while (i < count && !asy_addr_eq(&list[i], addr)) {
        i++;
    }
    return i;
}

static bool region_ok(const char region[ASY_MATCH_REGION]) {
    size_t n = strnlen(region, ASY_MATCH_REGION);
    for (size_t i = n; i < ASY_MATCH_REGION; i++) {
        if (region[i] != '\0') {
            return false;
        }
    }
    return true;
}

/* What the request would cost at most with this candidate; false: more than we count. */
static bool job_cost(asy_u128 *ret_pico, const struct asy_match_request *r,
                     const struct asy_match_candidate *c) {
    struct asy_usd cost;
    struct asy_tokens tokens = {.in = r->in_tokens, .cached = 0, .out = r->out_tokens};
    if (asy_cost(&cost, &c->prices, &tokens) != ASY_OK || cost.pico >= ASY_MATCH_MAX_PICO) {
        return false;
    }
    *ret_pico = cost.pico;
    return true;
}

static enum asy_match_reject reject_reason(const struct asy_match_request *r,
                                           const struct asy_match_rules *rules,
                                           const struct asy_match_candidate *c,
                                           asy_u128 *ret_cost) {
    if (!asy_hash_eq(&c->model, &r->model)) {
        return ASY_MATCH_REJECT_MODEL;
    }
    if (r->only_count != 0 && list_find(r->only, r->only_count, &c->node) == r->only_count) {
        return ASY_MATCH_REJECT_ONLY;
    }
    if (list_find(r->ignore, r->ignore_count, &c->node) != r->ignore_count) {
        return ASY_MATCH_REJECT_IGNORED;
    }
    if (c->draining) {
        return ASY_MATCH_REJECT_DRAINING;
    }
    if ((c->tiers >> r->tier & 1) == 0) {
        return ASY_MATCH_REJECT_TIER;
    }
    if (r->region[0] != '\0' && memcmp(c->region, r->region, ASY_MATCH_REGION) != 0) {
        return ASY_MATCH_REJECT_REGION;
    }
    uint64_t tokens;
    if (!asy_add_u64(&tokens, r->in_tokens, r->out_tokens) || tokens > c->context) {
        return ASY_MATCH_REJECT_CONTEXT;
    }
    if (c->reputation_ppm < r->min_reputation_ppm) {
        return ASY_MATCH_REJECT_REPUTATION;
    }
    if (c->prices.in.pico > r->max_price_in.pico || c->prices.out.pico > r->max_price_out.pico ||
        !job_cost(ret_cost, r, c)) {
        return ASY_MATCH_REJECT_PRICE;
    }
    if (c->running >= c->slots && c->queued >= rules->max_queue) {
        return ASY_MATCH_REJECT_BUSY;
    }
    if (c->slots == 0 || c->reputation_ppm > ASY_MATCH_ONE || c->stake.pico >= ASY_MATCH_MAX_PICO ||
        c->prices.cached.pico > c->prices.in.pico || !region_ok(c->region)) {
        return ASY_MATCH_REJECT_INVALID;
    }
    return ASY_MATCH_REJECT_NONE;
}

/* ---- score ---- */

/* The best of each measure among the eligible: the others are measured against it. */
struct best {
    asy_u128 cost;
    uint64_t first_token_us; /* 0: nobody's is known */
    uint32_t tokens_per_s;
};

/* part / whole in ppm, rounded down; part <= whole < 2^100, so the product fits in 128 bits */
static uint64_t share_ppm(asy_u128 part, asy_u128 whole) {
    if (whole == 0) {
        return ASY_MATCH_ONE; /* 0 of 0: as good as the best */
    }
    if (whole >> 44 == 0) { /* 2^44 * 10^6 < 2^64 */
        return (uint64_t)part * ASY_MATCH_ONE / (uint64_t)whole;
    }
    return (uint64_t)(part * ASY_MATCH_ONE / whole);
}

static bool has_room(const struct asy_match_candidate *c) { return c->running < c->slots; }

/* SPEC match 3: half for free slots, half for an empty queue */
static uint64_t load_ppm(const struct asy_match_rules *rules, const struct asy_match_candidate *c) {
    uint64_t free = has_room(c) ? c->slots - c->running : 0;
    uint64_t places = c->queued < rules->max_queue ? rules->max_queue - c->queued : 0;
    return share_ppm(free, c->slots) / 2 + share_ppm(places, rules->max_queue) / 2;
}

static uint32_t score(const struct asy_match_rules *rules, const struct best *best,
                      const struct asy_match_candidate *c, asy_u128 cost) {
    const struct asy_match_weights *w = &rules->weights;
    uint64_t price = share_ppm(best->cost, cost);
    uint64_t latency = c->first_token_us != 0
                           ? share_ppm((asy_u128)best->first_token_us + UNNOTICED_US,
                                       (asy_u128)c->first_token_us + UNNOTICED_US)
                           : ASY_MATCH_ONE; /* so that it is asked, and gets known */
    uint64_t capability =
        c->tokens_per_s != 0 ? share_ppm(c->tokens_per_s, best->tokens_per_s) : UNKNOWN_PPM;
    bool full = c->stake.pico >= rules->full_stake.pico;
    uint64_t stake = full ? ASY_MATCH_ONE : share_ppm(c->stake.pico, rules->full_stake.pico);
    /* 6 weights of at most 1,000 times 10^6: far below 2^64 */
    uint64_t sum = w->price * price + w->reputation * (uint64_t)c->reputation_ppm +
                   w->latency * latency + w->capability * capability + w->stake * stake +
                   w->load * load_ppm(rules, c);
    uint64_t points =
        (uint64_t)w->price + w->reputation + w->latency + w->capability + w->stake + w->load;
    return (uint32_t)(sum / points);
}

/* ---- latency ---- */

uint64_t asy_match_latency_at(const struct asy_match_latency *l, uint64_t now_ns) {
    uint64_t halves = now_ns > l->at_ns ? (now_ns - l->at_ns) / ASY_MATCH_LATENCY_HALF_NS : 0;
    return halves < 64 ? l->us >> halves : 0;
}

void asy_match_latency_add(struct asy_match_latency *l, uint64_t us, uint64_t now_ns) {
    uint64_t old = asy_match_latency_at(l, now_ns);
    us = us != 0 ? us : 1; /* 0 is: not known */
    *l = (struct asy_match_latency){.us = old == 0 ? us : old - old / 8 + us / 8, .at_ns = now_ns};
}

/* ---- rank ---- */

/* One eligible candidate with what it is compared by. */
struct place {
    size_t index;
    size_t order; /* its place in the request's order; order_count: none */
    uint32_t score_ppm;
    asy_u128 cost;
};

/* SPEC match 4: order list, score, cheaper, reputation, address */
static bool before(const struct asy_match_candidate *candidates, const struct place *a,
                   const struct place *b) {
    const struct asy_match_candidate *x = &candidates[a->index], *y = &candidates[b->index];
    if (a->order != b->order) {
        return a->order < b->order;
    }
    if (a->score_ppm != b->score_ppm) {
        return a->score_ppm > b->score_ppm;
    }
    if (a->cost != b->cost) {
        return a->cost < b->cost;
    }
    if (x->reputation_ppm != y->reputation_ppm) {
        return x->reputation_ppm > y->reputation_ppm;
    }
    return memcmp(x->node.b, y->node.b, sizeof x->node.b) < 0;
}

/* Keeps the best places, sorted: a bounded insertion, since only the first few are ever asked. */
static void top_add(struct place *top, size_t *count, const struct asy_match_candidate *candidates,
                    const struct place *new) {
    size_t at = *count;
    if (at == ASY_MATCH_MAX_RANKED) {
        if (!before(candidates, new, &top[at - 1])) {
            return;
        }
        at--;
    } else {
        ++*count;
    }
    while (at > 0 && before(candidates, new, &top[at - 1])) {
        top[at] = top[at - 1];
        at--;
    }
    top[at] = *new;
}

static uint64_t mix(uint64_t z) { /* the finalizer of splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* SPEC match 5: a candidate's lot in this job's draw */
static uint64_t lot(uint64_t seed, const struct asy_addr *node) {
    uint64_t z = mix(seed ^ asy_be64_get(node->b));
    z = mix(z ^ asy_be64_get(node->b + 8));
    return mix(z ^ asy_be32_get(node->b + 16));
}

static uint64_t draw_seed(const struct asy_hash *job) {
    static const char domain[] = "assay/match/draw/1";
    struct asy_keccak k;
    struct asy_hash h;
    asy_keccak_init(&k);
    asy_keccak_add(&k, asy_bytes_of(domain, sizeof domain - 1));
    asy_keccak_add(&k, asy_bytes_of(job->b, sizeof job->b));
    asy_keccak_final(&k, &h);
    return asy_be64_get(h.b);
}

/* SPEC match 5: of the near-equals of the best (of those with a free slot, if there are any), the
 * two with the lowest lots; of these the less loaded one. */
static size_t draw(const struct asy_match_request *r, const struct asy_match_rules *rules,
                   const struct asy_match_candidate *candidates, size_t count,
                   const struct asy_match_verdict *verdicts, uint32_t best_ppm) {
    uint64_t seed = draw_seed(&r->draw), lots[2] = {0, 0};
    size_t drawn[2] = {count, count};
    bool room = false;
    for (size_t i = 0; i < count; i++) {
        bool equal = verdicts[i].reject == ASY_MATCH_REJECT_NONE &&
                     best_ppm - verdicts[i].score_ppm <= rules->spread_ppm;
        if (!equal || (room && !has_room(&candidates[i]))) {
            continue;
        }
        if (!room && has_room(&candidates[i])) { /* the first with room: forget those without */
            room = true;
            drawn[0] = drawn[1] = count;
        }
        uint64_t l = lot(seed, &candidates[i].node);
        /* equal lots (1 in 2^64) go by address, so that the order of candidates never matters */
        for (size_t k = 0; k < 2; k++) {
            if (drawn[k] == count || l < lots[k] ||
                (l == lots[k] &&
                 memcmp(candidates[i].node.b, candidates[drawn[k]].node.b, 20) < 0)) {
                if (k == 0) {
                    lots[1] = lots[0];
                    drawn[1] = drawn[0];
                }
                lots[k] = l;
                drawn[k] = i;
                break;
            }
        }
    }
    if (drawn[1] == count) {
        return drawn[0];
    }
    uint64_t first = load_ppm(rules, &candidates[drawn[0]]),
             second = load_ppm(rules, &candidates[drawn[1]]);
    return second > first ? drawn[1] : drawn[0];
}

enum asy_err asy_match_rank(struct asy_match_result *ret_result,
                            struct asy_match_verdict *ret_verdicts,
                            const struct asy_match_request *request,
                            const struct asy_match_rules *rules,
                            const struct asy_match_candidate *candidates, size_t count) {
    const struct asy_match_request *r = request;
    const struct asy_match_weights *w = &rules->weights;
    const uint32_t weights[] = {w->price,      w->reputation, w->latency,
                                w->capability, w->stake,      w->load};
    uint32_t points = 0;
    for (size_t i = 0; i < ASY_COUNT(weights); i++) {
        if (weights[i] > ASY_MATCH_MAX_WEIGHT) {
            return ASY_ERR_RANGE;
        }
        points += weights[i];
    }
    if (points == 0 || rules->spread_ppm > ASY_MATCH_ONE ||
        rules->full_stake.pico >= ASY_MATCH_MAX_PICO || count > ASY_MAX_NODES ||
        r->only_count > ASY_MAX_MATCH_LIST || r->ignore_count > ASY_MAX_MATCH_LIST ||
        r->order_count > ASY_MAX_MATCH_LIST || r->tier >= 32 || !region_ok(r->region)) {
        return ASY_ERR_RANGE;
    }

    struct best best = {.cost = ASY_MATCH_MAX_PICO, .first_token_us = 0, .tokens_per_s = 0};
    for (size_t i = 0; i < count; i++) {
        const struct asy_match_candidate *c = &candidates[i];
        asy_u128 cost = 0;
        ret_verdicts[i] =
            (struct asy_match_verdict){.reject = reject_reason(r, rules, c, &cost), .score_ppm = 0};
        if (ret_verdicts[i].reject != ASY_MATCH_REJECT_NONE) {
            continue;
        }
        best.cost = cost < best.cost ? cost : best.cost;
        bool faster = c->first_token_us != 0 &&
                      (best.first_token_us == 0 || c->first_token_us < best.first_token_us);
        best.first_token_us = faster ? c->first_token_us : best.first_token_us;
        best.tokens_per_s =
            c->tokens_per_s > best.tokens_per_s ? c->tokens_per_s : best.tokens_per_s;
    }

    struct place top[ASY_MATCH_MAX_RANKED];
    size_t top_count = 0, eligible = 0;
    uint32_t best_ppm = 0;
    for (size_t i = 0; i < count; i++) {
        if (ret_verdicts[i].reject != ASY_MATCH_REJECT_NONE) {
            continue;
        }
        struct place place = {.index = i,
                              .order = list_find(r->order, r->order_count, &candidates[i].node)};
        bool counted = job_cost(&place.cost, r, &candidates[i]);
        ASY_ASSERT(counted); /* it was, above */
        place.score_ppm = score(rules, &best, &candidates[i], place.cost);
        ret_verdicts[i].score_ppm = place.score_ppm;
        best_ppm = place.score_ppm > best_ppm ? place.score_ppm : best_ppm;
        top_add(top, &top_count, candidates, &place);
        eligible++;
    }

    *ret_result = (struct asy_match_result){.eligible = eligible, .ranked_count = top_count};
    if (eligible == 0) {
        return ASY_OK;
    }
    /* SPEC match 5: a request that names an order gets it, and no draw */
    size_t winner = top[0].order < r->order_count
                        ? top[0].index
                        : draw(r, rules, candidates, count, ret_verdicts, best_ppm);
    ret_result->ranked[0] = winner;
    for (size_t i = 0, n = 1; n < top_count; i++) {
        if (top[i].index != winner) {
            ret_result->ranked[n++] = top[i].index;
        }
    }
    return ASY_OK;
}
