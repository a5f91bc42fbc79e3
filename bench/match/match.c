/* Measures matching: candidates against time, with and without the record. Prints one line per
 * size. */
#include <inttypes.h>
#include <stdio.h>

#include "match/match.h"

enum { MAX = 4096, ROUNDS = 200 };
static struct asy_match_candidate candidates[MAX];
static struct asy_match_verdict verdicts[MAX];

static uint64_t random_state = 1;
static uint64_t next_random(void) {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int main(void) {
    const struct asy_env *env = asy_env_system();
    struct asy_match_request request = {.in_tokens = 1000, .out_tokens = 500};
    request.max_price_in.pico = request.max_price_out.pico = ASY_MATCH_NO_LIMIT;
    const struct asy_match_rules rules = {
        .weights = {35, 40, 20, 5, 0, 25}, .spread_ppm = 50000, .max_queue = 8};
    for (size_t i = 0; i < MAX; i++) {
        struct asy_match_candidate *c = &candidates[i];
        asy_env_random(env, c->node.b, sizeof c->node.b);
        c->prices.in.pico = 100000 + next_random() % 900000;
        c->prices.out.pico = 400000 + next_random() % 900000;
        c->context = 8192;
        c->first_token_us = 50000 + next_random() % 1000000;
        c->tokens_per_s = (uint32_t)(10 + next_random() % 100);
        c->slots = 4;
        c->running = (uint32_t)(next_random() % 5);
        c->reputation_ppm = (uint32_t)(500000 + next_random() % 500001);
        c->tiers = 1;
    }
    struct asy_buf record;
    asy_buf_init(&record, 1u << 20);
    static const size_t sizes[] = {10, 100, 1000, 4096};
    for (size_t s = 0; s < ASY_COUNT(sizes); s++) {
        struct asy_match_result result = {0};
        struct asy_hash digest;
        uint64_t best_rank = UINT64_MAX, best_record = UINT64_MAX, best_check = UINT64_MAX;
        for (int round = 0; round < ROUNDS; round++) {
            asy_env_random(env, request.draw.b, sizeof request.draw.b);
            asy_buf_clear(&record);
            uint64_t start = asy_env_mono_ns(env);
            enum asy_err err =
                asy_match_rank(&result, verdicts, &request, &rules, candidates, sizes[s]);
            uint64_t ranked = asy_env_mono_ns(env);
            ASY_ASSERT(err == ASY_OK && result.eligible != 0);
            err = asy_match_record_encode(&record, &request, &rules, candidates, sizes[s], verdicts,
                                          &result);
            asy_match_digest(&digest, asy_buf_bytes(&record));
            uint64_t recorded = asy_env_mono_ns(env);
            ASY_ASSERT(err == ASY_OK);
            err = asy_match_record_check(asy_buf_bytes(&record), NULL);
            uint64_t checked = asy_env_mono_ns(env);
            ASY_ASSERT(err == ASY_OK);
            best_rank = ranked - start < best_rank ? ranked - start : best_rank;
            best_record = recorded - ranked < best_record ? recorded - ranked : best_record;
            best_check = checked - recorded < best_check ? checked - recorded : best_check;
        }
        printf("match %4zu candidates: rank %8.1f us, record and digest %8.1f us (%zu bytes), "
               "check %8.1f us\n",
               sizes[s], (double)best_rank / 1000, (double)best_record / 1000, record.n,
               (double)best_check / 1000);
    }
    asy_buf_done(&record);
    return 0;
}
