/* The fast sampler against the plainest reading of the document (sort everything, then look), on
 * random and hostile input; and the facts that its skipping of ids rests on. */
#include "base/test.h"
#include "sample/sample_priv.h"

enum { MAX_VOCAB = 2100 };

struct ranked {
    int32_t logit;
    uint32_t id;
};

static int by_rank(const void *pa, const void *pb) {
    const struct ranked *a = pa, *b = pb;
    if (a->logit != b->logit) {
        return a->logit > b->logit ? -1 : 1;
    }
    return a->id < b->id ? -1 : 1;
}

/* The document's formula, section 6. */
static uint32_t plain_weight(uint32_t d) {
    uint64_t t = (uint64_t)d * 1549082005u >> 30, n = t >> 16, i = (t >> 11) % 32, f = t % 2048;
    uint64_t from = (uint64_t)asy_sample_exp2_table[i], to = (uint64_t)asy_sample_exp2_table[i + 1];
    uint64_t m = from - ((from - to) * f >> 11);
    return n <= 31 ? (uint32_t)(m * 64 >> n) : 0;
}

/* Score of every allowed id, INT64_MIN for the others. */
static void plain_scores(int64_t *ret_score, const int32_t *logits, uint32_t vocab,
                         const struct asy_sample_settings *s, const uint8_t *seed, uint32_t pos) {
    struct ranked r[MAX_VOCAB];
    uint32_t n = 0;
    for (uint32_t id = 0; id < vocab; id++) {
        ret_score[id] = INT64_MIN;
        if (logits[id] != ASY_SAMPLE_MASKED) {
            r[n++] = (struct ranked){logits[id], id};
        }
    }
    if (n == 0) {
        return;
    }
    qsort(r, n, sizeof(r[0]), by_rank);
    bool greedy = s->temperature_milli == 0;
    if (!greedy && s->top_k != 0 && s->top_k < n) {
        n = s->top_k;
    }
    if (!greedy && s->top_p_ppm < ASY_SAMPLE_PPM) {
        uint64_t sum = 0, held = 0;
        for (uint32_t i = 0; i < n; i++) {
            sum += plain_weight((uint32_t)((int64_t)r[0].logit - r[i].logit));
        }
        asy_u128 need = (asy_u128)sum * s->top_p_ppm;
        uint32_t kept = 0;
        do {
            held += plain_weight((uint32_t)((int64_t)r[0].logit - r[kept++].logit));
        } while ((asy_u128)held * ASY_SAMPLE_PPM < need);
        n = kept;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t weight = plain_weight((uint32_t)((int64_t)r[0].logit - r[i].logit));
        if (greedy) {
            ret_score[r[i].id] = r[i].logit;
        } else if (weight * ASY_SAMPLE_PPM >= (uint64_t)s->min_p_ppm << 30) {
            ret_score[r[i].id] =
                asy_sample_score(r[i].logit, asy_sample_inv_temperature(s->temperature_milli),
                                 asy_sample_word(seed, pos, r[i].id));
        }
    }
}

static uint32_t random_below(uint32_t n) { return (uint32_t)(asy_test_random() % n); }

static void random_logits(int32_t *logits, uint32_t vocab) {
    static const uint32_t edges[] = {0,       1,        1023,          1024,    262143,  262144,
                                     524287,  524288,   1048575,       1048576, 1362783, 1362784,
                                     2096127, 2096128,  2097151,       2097152, 2097153, 4194303,
                                     4194304, 1u << 31, UINT32_MAX - 1};
    uint32_t kind = random_below(9);
    for (uint32_t i = 0; i < vocab; i++) {
        uint32_t bits = (uint32_t)asy_test_random();
        switch (kind) {
        case 0:
            logits[i] = (int32_t)bits;
            break; /* the whole range */
        case 1:
            logits[i] = 12345;
            break; /* all equal */
        case 2:
            logits[i] = (int32_t)(bits % 5) * 30000;
            break; /* many ties */
        case 3:
            logits[i] = (int32_t)(bits % 3) - 1;
            break; /* ties a unit apart */
        case 4:
            logits[i] = bits & 1 ? INT32_MAX : INT32_MIN + 1;
            break; /* the ends */
        case 5:
            logits[i] = -(int32_t)(i * 1024);
            break; /* bucket edges, in order */
        case 6:
            logits[i] = (int32_t)(i * 1023) + (int32_t)(bits % 3);
            break;
        case 7:
            /* distances where a histogram, or all weight, ends */
            logits[i] = (int32_t)(INT32_MAX - (int64_t)edges[bits % ASY_COUNT(edges)]);
            break;
        default:
            logits[i] =
                asy_sample_gumbel(bits) * (int32_t)(1 + random_below(4)); /* like a model's */
        }
    }
    if (random_below(4) == 0) {
        for (uint32_t n = random_below(vocab + 1); n > 0; n--) {
            logits[random_below(vocab)] = ASY_SAMPLE_MASKED;
        }
    }
}

/* Logits that make up for the noise: at temperature 1 all scores are equal, or nearly. In some, a
 * block has one id, that of its largest word: what is known of the block is then its score. */
static void equal_scores(int32_t *logits, uint32_t vocab, const uint8_t *seed, uint32_t pos) {
    uint32_t spread = 1 + random_below(2);
    bool alone = random_below(2) != 0;
    for (uint32_t first = 0; first < vocab; first += NOISE_IDS) {
        uint32_t best = first;
        for (uint32_t id = first; id < vocab && id < first + NOISE_IDS; id++) {
            uint32_t word = asy_sample_word(seed, pos, id);
            best = word > asy_sample_word(seed, pos, best) ? id : best;
            logits[id] = (int32_t)random_below(spread) - asy_sample_gumbel(word);
        }
        for (uint32_t id = first; alone && id < vocab && id < first + NOISE_IDS; id++) {
            logits[id] = id == best ? logits[id] : ASY_SAMPLE_MASKED;
        }
    }
}

static uint32_t pick(const uint32_t *from, size_t count) {
    return from[random_below((uint32_t)count)];
}

static void test_equal_to_plain(void) {
    static const uint32_t temperatures[] = {0, 1, 50, 300, 700, 1000, 1300, 2000, 100000};
    static const uint32_t ks[] = {0, 0, 1, 2, 7, 16, 40, 300, MAX_VOCAB, UINT32_MAX};
    static const uint32_t ps[] = {ASY_SAMPLE_PPM, ASY_SAMPLE_PPM, 999999, 950000,
                                  500000,         100000,         1,      0};
    static const uint32_t ms[] = {0, 0, 1, 10000, 50000, 300000, 999999, ASY_SAMPLE_PPM};
    static int32_t logits[MAX_VOCAB];
    static int64_t score[MAX_VOCAB];
    void *workspace = asy_alloc(asy_sample_workspace_len(MAX_VOCAB));
    for (int round = 0; round < 3000 && asy_test_failures == 0; round++) {
        uint32_t vocab = 1 + random_below(random_below(2) != 0 ? MAX_VOCAB : 20),
                 pos = (uint32_t)asy_test_random();
        struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
        uint8_t seed[ASY_SAMPLE_SEED_LEN];
        random_logits(logits, vocab);
        asy_test_fill(seed, sizeof(seed));
        asy_test_fill(workspace, asy_sample_workspace_len(vocab)); /* its content must not matter */
        s.temperature_milli = pick(temperatures, ASY_COUNT(temperatures));
        if (random_below(16) == 0) {
            s.temperature_milli = 1000;
            equal_scores(logits, vocab, seed, pos);
        }
        s.top_k = random_below(4) == 0 ? random_below(vocab) : pick(ks, ASY_COUNT(ks));
        s.top_p_ppm = random_below(4) == 0 ? random_below(ASY_SAMPLE_PPM) : pick(ps, ASY_COUNT(ps));
        s.min_p_ppm = random_below(4) == 0 ? random_below(ASY_SAMPLE_PPM) : pick(ms, ASY_COUNT(ms));
        plain_scores(score, logits, vocab, &s, seed, pos);
        uint32_t want = UINT32_MAX;
        int64_t best = INT64_MIN, second = INT64_MIN;
        for (uint32_t id = 0; id < vocab; id++) {
            if (score[id] > best) {
                second = best;
                best = score[id];
                want = id;
            } else if (score[id] > second) {
                second = score[id];
            }
        }
        uint32_t id = 0;
        int64_t lead = 0, margin = 0;
        if (want == UINT32_MAX) {
            CHECK_ERR(asy_sample_token(&id, NULL, workspace, logits, vocab, &s, seed, pos),
                      ASY_ERR_RANGE);
            continue;
        }
        CHECK_OK(asy_sample_token(&id, NULL, workspace, logits, vocab, &s, seed, pos));
        CHECK_U64(id, want);
        for (unsigned width = SAMPLE_WIDTH_4; width <= sample_width(); width *= 2) {
            CHECK_OK(sample_token(&id, NULL, workspace, logits, vocab, &s, seed, pos,
                                  (enum sample_width)width));
            CHECK_U64(id, want);
            CHECK_OK(sample_token(&id, &lead, workspace, logits, vocab, &s, seed, pos,
                                  (enum sample_width)width));
            CHECK_U64(id, want);
            CHECK(lead == (second == INT64_MIN ? ASY_SAMPLE_OUTSIDE : best - second));
        }
        for (int tries = 0; tries < 4; tries++) {
            uint32_t claimed = random_below(vocab), judged = 0;
            CHECK_OK(asy_sample_margin(&margin, &judged, workspace, logits, vocab, &s, seed, pos,
                                       claimed));
            CHECK_U64(judged, want);
            int64_t expect = score[claimed] == INT64_MIN ? ASY_SAMPLE_OUTSIDE
                             : claimed == want           ? 0
                             : score[claimed] == best    ? 1
                                                         : best - score[claimed];
            CHECK(margin == expect);
        }
    }
    asy_free(workspace);
}

/* What the skipping of blocks rests on: gumbel never falls. Inside a segment it is a rounded line;
 * so the ends of all segments decide. */
static void test_gumbel_rises(void) {
    int32_t low = INT32_MAX, high = INT32_MIN;
    for (size_t i = 0; i + 1 < ASY_SAMPLE_GUMBEL_COUNT; i++) {
        CHECK(asy_sample_gumbel_table[0][i] < asy_sample_gumbel_table[0][i + 1]);
        CHECK(asy_sample_gumbel_table[1][i] > asy_sample_gumbel_table[1][i + 1]);
    }
    CHECK(asy_sample_gumbel_table[0][ASY_SAMPLE_GUMBEL_COUNT - 1] ==
          asy_sample_gumbel_table[1][ASY_SAMPLE_GUMBEL_COUNT - 1]);
    for (unsigned octave = 0; octave < 31; octave++) {
        for (uint64_t segment = 0; segment <= 64; segment++) {
            uint64_t at = (64 + segment) << octave >> 6;
            for (uint64_t word = at < 3 ? 0 : at - 3; word < at + 3; word++) {
                uint32_t w = (uint32_t)word;
                CHECK(asy_sample_gumbel(w) <= asy_sample_gumbel(w + 1));
                CHECK(asy_sample_gumbel(~w) >= asy_sample_gumbel(~w - 1));
            }
        }
    }
    for (int i = 0; i < 100000; i++) {
        uint32_t a = (uint32_t)asy_test_random() >> random_below(32),
                 b = a + 1 + random_below(1000);
        if (b > a) {
            CHECK(asy_sample_gumbel(a) <= asy_sample_gumbel(b));
        }
        low = asy_sample_gumbel(a) < low ? asy_sample_gumbel(a) : low;
        high = asy_sample_gumbel(~a) > high ? asy_sample_gumbel(~a) : high;
    }
    CHECK(asy_sample_gumbel(0) == -205127 &&
          asy_sample_gumbel(UINT32_MAX) == 1499061); /* the bounds in the header */
    CHECK(low >= asy_sample_gumbel(0) && high <= asy_sample_gumbel(UINT32_MAX));
}

/* Many blocks at once are what one is: each lane, in each width, of any number of blocks. */
static void test_noise(void) {
    for (int round = 0; round < 200; round++) {
        uint8_t seed[ASY_SAMPLE_SEED_LEN];
        uint32_t input[16], block[NOISE_LANES], pos = (uint32_t)asy_test_random();
        uint32_t count = 1 + random_below(NOISE_LANES);
        asy_test_fill(seed, sizeof seed);
        for (uint32_t i = 0; i < count; i++) {
            block[i] = random_below(ASY_SAMPLE_MAX_VOCAB / NOISE_IDS);
        }
        sample_noise_input(input, seed, pos);
        for (unsigned width = SAMPLE_WIDTH_4; width <= sample_width(); width *= 2) {
            struct noise noise;
            sample_noise(&noise, (enum sample_width)width, input, block, count);
            for (uint32_t lane = 0; lane < count; lane++) {
                uint32_t max = 0;
                for (uint32_t i = 0; i < NOISE_IDS; i++) {
                    uint32_t word = asy_sample_word(seed, pos, block[lane] * NOISE_IDS + i);
                    CHECK_U64(noise.word[i][lane], word);
                    max = word > max ? word : max;
                }
                CHECK_U64(noise.max[lane], max);
            }
        }
    }
}

static void test_weight_falls(void) {
    CHECK_U64(asy_sample_weight(0), 1u << 30);
    uint32_t before = asy_sample_weight(0);
    for (uint32_t d = 1; d < 1400000; d++) {
        uint32_t now = asy_sample_weight(d);
        CHECK(now <= before);
        CHECK_U64(now, plain_weight(d));
        before = now;
    }
    for (int i = 0; i < 100000; i++) {
        uint32_t d = (uint32_t)asy_test_random();
        CHECK_U64(asy_sample_weight(d), plain_weight(d));
    }
    CHECK(asy_sample_weight(1362783) != 0);
    CHECK_U64(asy_sample_weight(1362784), 0);
    CHECK_U64(asy_sample_weight(UINT32_MAX), 0);
}

static void test_limits(void) {
    CHECK_U64(asy_sample_workspace_len(0), 0);
    CHECK_U64(asy_sample_workspace_len(ASY_SAMPLE_MAX_VOCAB + 1), 0);
    CHECK(asy_sample_workspace_len(ASY_SAMPLE_MAX_VOCAB) > 0);
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    const uint8_t seed[ASY_SAMPLE_SEED_LEN] = {1};
    void *workspace = asy_alloc(asy_sample_workspace_len(ASY_SAMPLE_MAX_VOCAB));
    int32_t *logits = asy_alloc(ASY_SAMPLE_MAX_VOCAB * sizeof(*logits));
    uint32_t id = 77;
    int64_t margin = 77;
    CHECK_ERR(asy_sample_token(&id, NULL, workspace, logits, 0, &s, seed, 0), ASY_ERR_RANGE);
    CHECK_ERR(asy_sample_margin(&margin, &id, workspace, logits, 5, &s, seed, 0, 5), ASY_ERR_RANGE);
    CHECK(id == 77 && margin == 77); /* untouched on failure */
    /* the largest vocabulary, every id with full weight: the widest sums */
    s.top_p_ppm = 999999;
    CHECK_OK(asy_sample_token(&id, NULL, workspace, logits, ASY_SAMPLE_MAX_VOCAB, &s, seed, 0));
    CHECK(id < (uint32_t)((uint64_t)ASY_SAMPLE_MAX_VOCAB * 999999u / 1000000u + 1));
    CHECK_OK(asy_sample_margin(&margin, NULL, workspace, logits, ASY_SAMPLE_MAX_VOCAB, &s, seed, 0,
                               ASY_SAMPLE_MAX_VOCAB - 1));
    CHECK(margin == ASY_SAMPLE_OUTSIDE); /* 2^20 equal ids, top-p .999999: all but the last stay */
    CHECK_OK(asy_sample_margin(&margin, NULL, workspace, logits, ASY_SAMPLE_MAX_VOCAB, &s, seed, 0,
                               ASY_SAMPLE_MAX_VOCAB - 2));
    CHECK(margin != ASY_SAMPLE_OUTSIDE);
    /* need is rounded up: one id of weight 2^30 and 1074 of weight 1 make it 2^30 + 0.257 */
    s = ASY_SAMPLE_SETTINGS_DEFAULT;
    s.top_p_ppm = 999999;
    CHECK_U64(asy_sample_weight(1362783), 1);
    for (uint32_t i = 1; i < 1075; i++) {
        logits[i] = -1362783;
    }
    CHECK_OK(asy_sample_margin(&margin, NULL, workspace, logits, 1075, &s, seed, 0, 1));
    CHECK(margin != ASY_SAMPLE_OUTSIDE);
    CHECK_OK(asy_sample_margin(&margin, NULL, workspace, logits, 1075, &s, seed, 0, 2));
    CHECK(margin == ASY_SAMPLE_OUTSIDE);
    /* blocks on both sides of where a histogram ends and the next begins */
    s = ASY_SAMPLE_SETTINGS_DEFAULT;
    for (int32_t edge = 1 << 18; edge <= 1 << 21; edge *= 2) {
        for (uint32_t i = 0; i < 48; i++) {
            logits[i] = i < 16 ? 0 : i < 32 ? 1 - edge : -edge;
        }
        for (s.top_k = 20; s.top_k <= 36; s.top_k += 16) {
            for (uint32_t i = 0; i < 48; i++) {
                CHECK_OK(asy_sample_margin(&margin, NULL, workspace, logits, 48, &s, seed, 0, i));
                CHECK((margin == ASY_SAMPLE_OUTSIDE) == (i >= s.top_k));
            }
        }
    }
    asy_free(logits);
    asy_free(workspace);
}

int main(void) {
    test_equal_to_plain();
    test_noise();
    test_gumbel_rises();
    test_weight_falls();
    test_limits();
    return asy_test_end();
}
