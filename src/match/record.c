/* The canonical record of a decision: docs/protocol/match.md section 6. All integers are big
 * endian. */
#include "crypto/crypto.h"
#include "match/match.h"

#include <stdlib.h>

static const char domain[] = "assay/match/1";
enum {
    DOMAIN_LEN = sizeof domain - 1,
    ADDR_LEN = 20,
    REQUEST_LEN = 32 + 32 + 8 + 8 + 16 + 16 + 4 + 1 + (int)ASY_MATCH_REGION,
    LISTS_LEN = 3 * 2,
    RULES_LEN = 6 * 4 + 4 + 4 + 16,
    CANDIDATE_LEN = 20 + 32 + 4 * 16 + 8 + 8 + 4 + 3 * 4 + 4 + 4 + (int)ASY_MATCH_REGION + 1,
    VERDICT_LEN = 1 + 4,
    WINNER_LEN = 1 + 20
};

size_t asy_match_record_len(size_t candidates, size_t listed) {
    return DOMAIN_LEN + REQUEST_LEN + LISTS_LEN + listed * ADDR_LEN + RULES_LEN + 4 +
           candidates * (CANDIDATE_LEN + VERDICT_LEN) + WINNER_LEN;
}

/* ---- writing: into memory whose length was computed ---- */

struct writer {
    uint8_t *p;
};
static void put_raw(struct writer *w, const void *p, size_t len) {
    if (len != 0) {
        memcpy(w->p, p, len);
    }
    w->p += len;
}
static void put_u8(struct writer *w, uint8_t v) { *w->p++ = v; }
static void put_u16(struct writer *w, uint16_t v) {
    asy_be16_put(w->p, v);
    w->p += 2;
}
static void put_u32(struct writer *w, uint32_t v) {
    asy_be32_put(w->p, v);
    w->p += 4;
}
static void put_u64(struct writer *w, uint64_t v) {
    asy_be64_put(w->p, v);
    w->p += 8;
}
static void put_u128(struct writer *w, asy_u128 v) {
    asy_be128_put(w->p, v);
    w->p += 16;
}

/* for qsort, which hands over no context: pointers to candidates */
static int by_address(const void *a, const void *b) {
    const struct asy_match_candidate *const *x = a, *const *y = b;
    return memcmp((*x)->node.b, (*y)->node.b, ADDR_LEN);
}

enum asy_err asy_match_record_encode(struct asy_buf *buf, const struct asy_match_request *request,
                                     const struct asy_match_rules *rules,
                                     const struct asy_match_candidate *candidates, size_t count,
                                     const struct asy_match_verdict *verdicts,
                                     const struct asy_match_result *result) {
    const struct asy_match_request *r = request;
    const struct asy_match_weights *weights = &rules->weights;
    size_t len = asy_match_record_len(count, r->only_count + r->ignore_count + r->order_count);
    uint8_t *start;
    ASY_TRY(asy_buf_reserve(buf, &start, len));
    struct writer w = {start};
    put_raw(&w, domain, DOMAIN_LEN);
    put_raw(&w, r->model.b, 32);
    put_raw(&w, r->draw.b, 32);
    put_u64(&w, r->in_tokens);
    put_u64(&w, r->out_tokens);
    put_u128(&w, r->max_price_in.pico);
    put_u128(&w, r->max_price_out.pico);
    put_u32(&w, r->min_reputation_ppm);
    put_u8(&w, r->tier);
    put_raw(&w, r->region, ASY_MATCH_REGION);
    const struct {
        const struct asy_addr *addr;
        size_t count;
    } lists[] = {
        {r->only, r->only_count}, {r->ignore, r->ignore_count}, {r->order, r->order_count}};
    for (size_t i = 0; i < ASY_COUNT(lists); i++) {
        put_u16(&w, (uint16_t)lists[i].count);
        for (size_t k = 0; k < lists[i].count; k++) {
            put_raw(&w, lists[i].addr[k].b, ADDR_LEN);
        }
    }
    const uint32_t points[] = {weights->price,      weights->reputation, weights->latency,
                               weights->capability, weights->stake,      weights->load};
    for (size_t i = 0; i < ASY_COUNT(points); i++) {
        put_u32(&w, points[i]);
    }
    put_u32(&w, rules->spread_ppm);
    put_u32(&w, rules->max_queue);
    put_u128(&w, rules->full_stake.pico);

    put_u32(&w, (uint32_t)count);
    const struct asy_match_candidate **sorted = asy_alloc(count * sizeof(*sorted));
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &candidates[i];
    }
    qsort(sorted, count, sizeof(*sorted), by_address);
    for (size_t i = 0; i < count; i++) {
        const struct asy_match_candidate *c = sorted[i];
        const struct asy_match_verdict *v = &verdicts[c - candidates];
        put_raw(&w, c->node.b, ADDR_LEN);
        put_raw(&w, c->model.b, 32);
        put_u128(&w, c->prices.in.pico);
        put_u128(&w, c->prices.cached.pico);
        put_u128(&w, c->prices.out.pico);
        put_u128(&w, c->stake.pico);
        put_u64(&w, c->context);
        put_u64(&w, c->first_token_us);
        put_u32(&w, c->tokens_per_s);
        put_u32(&w, c->slots);
        put_u32(&w, c->running);
        put_u32(&w, c->queued);
        put_u32(&w, c->reputation_ppm);
        put_u32(&w, c->tiers);
        put_raw(&w, c->region, ASY_MATCH_REGION);
        put_u8(&w, c->draining ? 1 : 0);
        put_u8(&w, (uint8_t)v->reject);
        put_u32(&w, v->score_ppm);
    }
    asy_free(sorted);
    static const struct asy_addr nobody;
    put_u8(&w, result->ranked_count != 0 ? 1 : 0);
    put_raw(&w, result->ranked_count != 0 ? candidates[result->ranked[0]].node.b : nobody.b,
            ADDR_LEN);
    ASY_ASSERT((size_t)(w.p - start) == len);
    asy_buf_grow(buf, len);
    return ASY_OK;
}

void asy_match_digest(struct asy_hash *ret_digest, struct asy_bytes record) {
    asy_keccak256(ret_digest, record);
}

/* ---- reading ---- */

struct reader {
    struct asy_bytes in;
    bool cut; /* there was less than asked for; zeros were given */
};
static const uint8_t *take(struct reader *r, size_t len) {
    static const uint8_t zeros[64];
    ASY_ASSERT(len <= sizeof zeros);
    if (r->in.n < len) {
        r->cut = true;
        r->in.n = 0;
        return zeros;
    }
    const uint8_t *p = r->in.p;
    r->in = asy_bytes_of(p + len, r->in.n - len);
    return p;
}
static uint8_t take_u8(struct reader *r) { return *take(r, 1); }
static uint32_t take_u32(struct reader *r) { return asy_be32_get(take(r, 4)); }
static uint64_t take_u64(struct reader *r) { return asy_be64_get(take(r, 8)); }
static asy_u128 take_u128(struct reader *r) { return asy_be128_get(take(r, 16)); }
static void take_addr(struct asy_addr *ret, struct reader *r) {
    memcpy(ret->b, take(r, ADDR_LEN), ADDR_LEN);
}
static void take_hash(struct asy_hash *ret, struct reader *r) { memcpy(ret->b, take(r, 32), 32); }

/* Everything in a record, taken apart. */
struct decision {
    struct asy_match_request request;
    struct asy_match_rules rules;
    struct asy_addr lists[3][ASY_MAX_MATCH_LIST];
    struct asy_match_candidate *candidates;
    struct asy_match_verdict *claimed, *found;
    size_t count;
    bool has_winner;
    struct asy_addr winner;
};

static bool read_head(struct decision *d, struct reader *in) {
    if (!asy_bytes_starts(in->in, asy_bytes_of(domain, DOMAIN_LEN))) {
        return false;
    }
    (void)take(in, DOMAIN_LEN);
    struct asy_match_request *r = &d->request;
    take_hash(&r->model, in);
    take_hash(&r->draw, in);
    r->in_tokens = take_u64(in);
    r->out_tokens = take_u64(in);
    r->max_price_in.pico = take_u128(in);
    r->max_price_out.pico = take_u128(in);
    r->min_reputation_ppm = take_u32(in);
    r->tier = take_u8(in);
    memcpy(r->region, take(in, ASY_MATCH_REGION), ASY_MATCH_REGION);
    size_t counts[3];
    for (size_t i = 0; i < 3; i++) {
        counts[i] = asy_be16_get(take(in, 2));
        if (counts[i] > ASY_MAX_MATCH_LIST) {
            return false;
        }
        for (size_t k = 0; k < counts[i]; k++) {
            take_addr(&d->lists[i][k], in);
        }
    }
    r->only = d->lists[0];
    r->ignore = d->lists[1];
    r->order = d->lists[2];
    r->only_count = counts[0];
    r->ignore_count = counts[1];
    r->order_count = counts[2];
    struct asy_match_weights *w = &d->rules.weights;
    uint32_t *const points[] = {&w->price,      &w->reputation, &w->latency,
                                &w->capability, &w->stake,      &w->load};
    for (size_t i = 0; i < ASY_COUNT(points); i++) {
        *points[i] = take_u32(in);
    }
    d->rules.spread_ppm = take_u32(in);
    d->rules.max_queue = take_u32(in);
    d->rules.full_stake.pico = take_u128(in);
    d->count = take_u32(in);
    /* the length is fixed by the count, so no memory is taken for candidates that are not there */
    return !in->cut && d->count <= ASY_MAX_NODES &&
           in->in.n == d->count * (CANDIDATE_LEN + VERDICT_LEN) + WINNER_LEN;
}

static bool read_candidate(struct asy_match_candidate *c, struct asy_match_verdict *v,
                           struct reader *in) {
    take_addr(&c->node, in);
    take_hash(&c->model, in);
    c->prices.in.pico = take_u128(in);
    c->prices.cached.pico = take_u128(in);
    c->prices.out.pico = take_u128(in);
    c->stake.pico = take_u128(in);
    c->context = take_u64(in);
    c->first_token_us = take_u64(in);
    c->tokens_per_s = take_u32(in);
    c->slots = take_u32(in);
    c->running = take_u32(in);
    c->queued = take_u32(in);
    c->reputation_ppm = take_u32(in);
    c->tiers = take_u32(in);
    memcpy(c->region, take(in, ASY_MATCH_REGION), ASY_MATCH_REGION);
    uint8_t draining = take_u8(in), reject = take_u8(in);
    c->draining = draining == 1;
    v->reject = (enum asy_match_reject)reject;
    v->score_ppm = take_u32(in);
    return draining <= 1 && reject <= ASY_MATCH_REJECT_INVALID;
}

static enum asy_err read_record(struct decision *d, struct asy_bytes record, struct asy_why *why) {
    struct reader in = {record, false};
    if (!read_head(d, &in)) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "not a match record of version 1");
    }
    d->candidates = asy_alloc(d->count * sizeof *d->candidates);
    d->claimed = asy_alloc(d->count * sizeof *d->claimed);
    d->found = asy_alloc(d->count * sizeof *d->found);
    for (size_t i = 0; i < d->count; i++) {
        if (!read_candidate(&d->candidates[i], &d->claimed[i], &in) ||
            (i > 0 &&
             memcmp(d->candidates[i - 1].node.b, d->candidates[i].node.b, ADDR_LEN) >= 0)) {
            return asy_why_set(why, ASY_ERR_SYNTAX, NULL,
                               "candidate %zu is malformed or out of order", i);
        }
    }
    uint8_t flag = take_u8(&in);
    take_addr(&d->winner, &in);
    d->has_winner = flag == 1;
    if (flag > 1 || (flag == 0 && !asy_addr_is_zero(&d->winner))) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "malformed winner");
    }
    return ASY_OK;
}

static enum asy_err compare(const struct decision *d, const struct asy_match_result *result,
                            struct asy_why *why) {
    for (size_t i = 0; i < d->count; i++) {
        const struct asy_match_verdict *is = &d->claimed[i], *should = &d->found[i];
        if (is->reject != should->reject || is->score_ppm != should->score_ppm) {
            return asy_why_set(why, ASY_ERR_MISMATCH, NULL,
                               "candidate %zu: recorded %s with %u ppm, but it is %s with %u ppm",
                               i, asy_match_reject_name(is->reject), is->score_ppm,
                               asy_match_reject_name(should->reject), should->score_ppm);
        }
    }
    bool same = d->has_winner == (result->ranked_count != 0) &&
                (!d->has_winner || asy_addr_eq(&d->winner, &d->candidates[result->ranked[0]].node));
    return same ? ASY_OK
                : asy_why_set(why, ASY_ERR_MISMATCH, NULL, "another candidate should have won");
}

enum asy_err asy_match_record_check(struct asy_bytes record, struct asy_why *reterr_why) {
    struct decision *d = asy_alloc(sizeof *d);
    struct asy_match_result result;
    enum asy_err err = read_record(d, record, reterr_why);
    if (err == ASY_OK) {
        err = asy_match_rank(&result, d->found, &d->request, &d->rules, d->candidates, d->count);
        if (err == ASY_OK) {
            err = compare(d, &result, reterr_why);
        } else {
            (void)asy_why_set(reterr_why, err, NULL, "rules outside of their limits");
        }
    }
    asy_free(d->candidates);
    asy_free(d->claimed);
    asy_free(d->found);
    asy_free(d);
    return err;
}
