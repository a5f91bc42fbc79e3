/* sample.c: the sampler in integers. Every formula is docs/protocol/sampling.md's; how ids are
 * skipped is proved where it is done. */
#include "sample/sample_priv.h"

/* Right shifts of negative numbers round down here, as the document's formulas do; C leaves that to
 * the compiler. */
static_assert((-3 >> 1) == -2, "arithmetic right shift");

#define BLOCK NOISE_IDS

#define LOG2E      1549082005u                   /* round(2^30 / ln 2) */
#define GUMBEL_MAX asy_sample_gumbel_table[1][0] /* gumbel of the largest word */
#define WEIGHT_END 1362784u                      /* the first distance whose weight is 0 */
#define NO_CUT     UINT64_MAX

/* Selection works by histograms over the distance from the best logit, which is where the ids are
 * that matter: first up to 4 nats away, in steps of 1/64 nat, then up to 8, 16 and 32, where all
 * weights lie, then all others. */
#define BUCKET_BITS 11u
#define BUCKETS     (1u << BUCKET_BITS)
#define FIRST_SHIFT 10u
#define FIRST_LEN   (UINT64_C(1) << 18)
#define FAR         (UINT64_C(1) << 21)
#define FAR_SHIFT   21u
static_assert(WEIGHT_END < FAR, "no weight lies in the far histogram");
static_assert(FAR <= BUCKETS << FIRST_SHIFT, "the near ones have their buckets");

/* What one call works on. Ids are ordered by key = distance << 32 | id: best logit first, then
 * lowest id. A filter keeps a prefix of that order, so it is one number, its cut: an id is allowed
 * when its key is below it. */
struct view {
    const int32_t *logits;
    uint32_t vocab;
    int32_t best;      /* the highest logit */
    int32_t *tops;     /* highest logit of each block of 16 ids: workspace */
    uint64_t *buckets; /* [BUCKETS]: workspace */
    enum sample_width width;
};

/* The winner so far and the score of the next best. INT64_MIN = none: a score is above -2^58. */
struct lead {
    int64_t score;
    int64_t second;
    uint32_t id;
};

/* ---- settings ---- */

enum asy_err asy_sample_settings_check(const struct asy_sample_settings *s,
                                       struct asy_why *reterr_why) {
    if (s->temperature_milli > ASY_SAMPLE_MAX_TEMPERATURE_MILLI) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "temperature", "temperature is above %u",
                           ASY_SAMPLE_MAX_TEMPERATURE_MILLI / 1000u);
    }
    if (s->top_p_ppm > ASY_SAMPLE_PPM) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "top_p", "top_p is above 1");
    }
    if (s->min_p_ppm > ASY_SAMPLE_PPM) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "min_p", "min_p is above 1");
    }
    if (s->presence_penalty_milli < -ASY_SAMPLE_MAX_PENALTY_MILLI ||
        s->presence_penalty_milli > ASY_SAMPLE_MAX_PENALTY_MILLI) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "presence_penalty",
                           "presence_penalty is not from -2 to 2");
    }
    if (s->frequency_penalty_milli < -ASY_SAMPLE_MAX_PENALTY_MILLI ||
        s->frequency_penalty_milli > ASY_SAMPLE_MAX_PENALTY_MILLI) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "frequency_penalty",
                           "frequency_penalty is not from -2 to 2");
    }
    if (s->repeat_penalty_milli > ASY_SAMPLE_MAX_PENALTY_MILLI || s->repeat_penalty_milli == 1000) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "repetition_penalty",
                           "repetition_penalty is above 2, or 1 and not written as 0");
    }
    return ASY_OK;
}

void asy_sample_settings_encode(uint8_t ret_bytes[ASY_SAMPLE_SETTINGS_LEN],
                                const struct asy_sample_settings *s) {
    ASY_ASSERT(asy_sample_settings_check(s, NULL) == ASY_OK);
    asy_be32_put(ret_bytes, s->temperature_milli);
    asy_be32_put(ret_bytes + 4, s->top_k);
    asy_be32_put(ret_bytes + 8, s->top_p_ppm);
    asy_be32_put(ret_bytes + 12, s->min_p_ppm);
    asy_be32_put(ret_bytes + 16, (uint32_t)s->presence_penalty_milli);
    asy_be32_put(ret_bytes + 20, (uint32_t)s->frequency_penalty_milli);
    asy_be32_put(ret_bytes + 24, s->repeat_penalty_milli);
    asy_be32_put(ret_bytes + 28, 0);
    memcpy(ret_bytes + 32, s->logit_bias.b, sizeof(s->logit_bias.b));
}

enum asy_err asy_sample_settings_decode(struct asy_sample_settings *ret_settings,
                                        struct asy_bytes in, struct asy_why *reterr_why) {
    if (in.n != ASY_SAMPLE_SETTINGS_LEN) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, NULL, "settings of %zu bytes", in.n);
    }
    struct asy_sample_settings s = {
        .temperature_milli = asy_be32_get(in.p),
        .top_k = asy_be32_get(in.p + 4),
        .top_p_ppm = asy_be32_get(in.p + 8),
        .min_p_ppm = asy_be32_get(in.p + 12),
        .presence_penalty_milli = (int32_t)asy_be32_get(in.p + 16),
        .frequency_penalty_milli = (int32_t)asy_be32_get(in.p + 20),
        .repeat_penalty_milli = asy_be32_get(in.p + 24),
    };
    memcpy(s.logit_bias.b, in.p + 32, sizeof s.logit_bias.b);
    if (asy_be32_get(in.p + 28) != 0) {
        return asy_why_set(reterr_why, ASY_ERR_UNSUPPORTED, NULL, "a reserved field is not zero");
    }
    ASY_TRY(asy_sample_settings_check(&s, reterr_why));
    *ret_settings = s;
    return ASY_OK;
}

/* ---- noise ---- */

int32_t asy_sample_gumbel(uint32_t word) {
    uint64_t w = 2 * (uint64_t)word + 1; /* the uniform number is w / 2^33 */
    unsigned side = (unsigned)(w >> 32);
    if (side != 0) {
        w = (UINT64_C(1) << 33) - w;
    }
    unsigned octave = 31u - (unsigned)__builtin_clz((uint32_t)w); /* w is odd and below 2^32 */
    uint32_t n = (uint32_t)w << (31u - octave);
    const int32_t *at = &asy_sample_gumbel_table[side][64u * octave + (n >> 25 & 63u)];
    /* neighbours differ by less than 2^16, so the product is below 2^32 */
    return at[0] + (int32_t)(((int64_t)(at[1] - at[0]) * (int64_t)(n >> 9 & 0xffffu)) >> 16);
}

/* ---- scores and weights ---- */

uint32_t asy_sample_inv_temperature(uint32_t milli) {
    ASY_ASSERT(milli >= 1 && milli <= ASY_SAMPLE_MAX_TEMPERATURE_MILLI);
    return (65536000u + milli / 2u) / milli;
}

/* |logit| <= 2^31 and inv_temperature < 2^26: the product is below 2^57. */
static inline int64_t scaled(int32_t logit, uint32_t inv_temperature) {
    return ((int64_t)logit * (int64_t)inv_temperature + 32768) >> 16;
}

int64_t asy_sample_score(int32_t logit, uint32_t inv_temperature, uint32_t word) {
    return scaled(logit, inv_temperature) + asy_sample_gumbel(word);
}

/* distance <= WEIGHT_END */
static inline uint32_t weight_near(uint32_t distance) {
    /* log2 units of 2^-16, below 2^21: the product is below 2^52 */
    uint32_t t = (uint32_t)((uint64_t)distance * LOG2E >> 30);
    uint32_t i = t >> 11 & 31, power = (uint32_t)asy_sample_exp2_table[i];
    uint32_t drop = (power - (uint32_t)asy_sample_exp2_table[i + 1]) * (t & 2047);
    return ((power - (drop >> 11)) << 6) >> (t >> 16); /* drop < 2^19 * 2^11 */
}
static_assert((uint64_t)WEIGHT_END * LOG2E >> 46 == 30, "a shift of 32 bits");

static inline uint32_t weight(uint32_t distance) {
    return distance < WEIGHT_END ? weight_near(distance) : 0;
}

uint32_t asy_sample_weight(uint32_t distance) { return weight(distance); }

/* ---- filters ---- */

static inline uint32_t distance_of(const struct view *v, int32_t logit) {
    return (uint32_t)v->best - (uint32_t)logit;
}

static inline uint64_t key_of(const struct view *v, uint32_t id) {
    return (uint64_t)distance_of(v, v->logits[id]) << 32 | id;
}

static inline uint32_t block_count(uint32_t vocab) { return (vocab + BLOCK - 1) / BLOCK; }

static inline uint32_t block_end(const struct view *v, uint32_t block) {
    uint32_t end = (block + 1) * BLOCK;
    return end < v->vocab ? end : v->vocab;
}

/* The nearest distance in a block. A block of masked ids alone counts as farther than any logit can
 * be. */
static inline uint64_t block_nearest(const struct view *v, uint32_t block) {
    return v->tops[block] == ASY_SAMPLE_MASKED ? UINT64_MAX : distance_of(v, v->tops[block]);
}

/* Fills the buckets with the allowed ids of [from, from + len): how many, or their weights. Returns
 * the sum. len is at most BUCKETS << shift. */
static uint64_t histogram(const struct view *v, uint64_t cut, bool weighted, uint64_t from,
                          uint64_t len, unsigned shift) {
    uint64_t sum = 0;
    memset(v->buckets, 0, BUCKETS * sizeof(v->buckets[0]));
    for (uint32_t block = 0; block < block_count(v->vocab); block++) {
        uint64_t nearest = block_nearest(v, block);
        if (nearest >= from + len || nearest > cut >> 32) {
            continue;
        }
        for (uint32_t id = block * BLOCK; id < block_end(v, block); id++) {
            /* wraps, and so is too far, when nearer than from */
            uint64_t at = distance_of(v, v->logits[id]) - from;
            if (at >= len || key_of(v, id) >= cut || v->logits[id] == ASY_SAMPLE_MASKED) {
                continue;
            }
            uint64_t amount = weighted ? weight((uint32_t)(at + from)) : 1;
            v->buckets[at >> shift] += amount;
            sum += amount;
        }
    }
    return sum;
}

/* The weights of all allowed ids. The one place where every id's is looked up; so it is built
 * again for instructions that look up many at once. */
static inline __attribute__((always_inline)) uint64_t weight_sum_any(const struct view *v,
                                                                     uint64_t cut) {
    const uint32_t far = (uint32_t)(cut >> 32), far_id = (uint32_t)cut;
    uint64_t sum = 0;
    for (uint32_t block = 0; block < block_count(v->vocab); block++) {
        uint64_t nearest = block_nearest(v, block);
        if (nearest >= WEIGHT_END || nearest > far) {
            continue;
        }
        int32_t logits[BLOCK];
        uint32_t first = block * BLOCK, count = block_end(v, block) - first;
        for (uint32_t i = count; i < BLOCK; i++) {
            logits[i] = ASY_SAMPLE_MASKED;
        }
        memcpy(logits, v->logits + first, count * sizeof logits[0]);
        for (uint32_t i = 0; i < BLOCK; i++) {
            uint32_t d = distance_of(v, logits[i]);
            /* no branches: the compiler makes vectors of it */
            uint32_t allowed = (d < far) | ((d == far) & (first + i < far_id));
            allowed &= (logits[i] != ASY_SAMPLE_MASKED) & (d < WEIGHT_END);
            sum += weight_near(allowed ? d : WEIGHT_END); /* whose weight is 0 */
        }
    }
    return sum;
}
#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t weight_sum_512(const struct view *v,
                                                                  uint64_t cut) {
    return weight_sum_any(v, cut);
}
__attribute__((target("avx2"))) static uint64_t weight_sum_256(const struct view *v, uint64_t cut) {
    return weight_sum_any(v, cut);
}
#endif
static uint64_t weight_sum(const struct view *v, uint64_t cut) {
#if defined(__x86_64__)
    switch (v->width) {
    case SAMPLE_WIDTH_16:
        return weight_sum_512(v, cut);
    case SAMPLE_WIDTH_8:
        return weight_sum_256(v, cut);
    case SAMPLE_WIDTH_4:
        break;
    }
#endif
    return weight_sum_any(v, cut);
}

/* The cut behind the nth id (n >= 1) of those at exactly this distance. There are as many, and an
 * earlier cut that goes through them leaves the lowest ids, so it need not be looked at. */
static uint64_t cut_behind(const struct view *v, uint32_t distance, uint64_t n) {
    uint64_t behind = NO_CUT;
    for (uint32_t block = 0; block < block_count(v->vocab) && n > 0; block++) {
        if (block_nearest(v, block) > distance) {
            continue;
        }
        for (uint32_t id = block * BLOCK; id < block_end(v, block) && n > 0; id++) {
            uint64_t key = key_of(v, id);
            if (key >> 32 == distance && v->logits[id] != ASY_SAMPLE_MASKED) {
                behind = key + 1;
                n--;
            }
        }
    }
    return behind;
}

/* The shortest prefix of the allowed ids that holds `need` ids; or, weighted, `need` millionths of
 * their weight. Histograms find the distance where it ends, ever finer ones from the bucket in
 * which it does; one scan finds the id. */
static uint64_t prefix(const struct view *v, uint64_t cut, bool weighted, uint64_t need) {
    if (weighted) {
        uint64_t sum = weight_sum(v, cut);
        /* ceil(sum * need / PPM) without a product that is too wide; at least 1: one id stays */
        need = sum / ASY_SAMPLE_PPM * need +
               (sum % ASY_SAMPLE_PPM * need + ASY_SAMPLE_PPM - 1) / ASY_SAMPLE_PPM;
        need = need == 0 ? 1 : need;
    }
    uint64_t from = 0, len = FIRST_LEN;
    unsigned shift = FIRST_SHIFT;
    for (uint64_t sum; (sum = histogram(v, cut, weighted, from, len, shift)) < need;) {
        if (shift == FAR_SHIFT) {
            return cut; /* fewer ids than asked for */
        }
        need -= sum;
        from += len;
        if (from < FAR) {
            len = from; /* twice as far */
        } else {
            shift = FAR_SHIFT;
            len = (uint64_t)BUCKETS << shift;
        }
    }
    for (;;) {
        uint32_t bucket = 0;
        while (v->buckets[bucket] < need) {
            need -= v->buckets[bucket++];
        }
        from += (uint64_t)bucket << shift;
        if (shift == 0) {
            break;
        }
        shift = shift > BUCKET_BITS ? shift - BUCKET_BITS : 0;
        /* its sum is known to reach need */
        (void)histogram(v, cut, weighted, from, (uint64_t)BUCKETS << shift, shift);
    }
    uint64_t each = weighted ? weight((uint32_t)from) : 1; /* not 0: the bucket held some */
    return cut_behind(v, (uint32_t)from, (need + each - 1) / each);
}

/* The first distance that min-p excludes. */
static uint64_t min_p_cut(uint32_t min_p_ppm) {
    uint32_t low = 0, high = WEIGHT_END;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if ((uint64_t)weight(mid) * ASY_SAMPLE_PPM < (uint64_t)min_p_ppm << 30) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return (uint64_t)low << 32;
}

static uint64_t filters_cut(const struct view *v, const struct asy_sample_settings *s) {
    uint64_t cut = NO_CUT;
    if (s->top_k != 0 && s->top_k < v->vocab) {
        cut = prefix(v, cut, false, s->top_k);
    }
    if (s->top_p_ppm < ASY_SAMPLE_PPM) {
        cut = prefix(v, cut, true, s->top_p_ppm);
    }
    if (s->min_p_ppm != 0) {
        uint64_t near = min_p_cut(s->min_p_ppm);
        cut = near < cut ? near : cut;
    }
    return cut;
}

/* ---- choosing ---- */

static inline void lead_offer(struct lead *lead, int64_t score, uint32_t id) {
    if (score > lead->score || (score == lead->score && id < lead->id)) {
        lead->second = lead->score;
        lead->score = score;
        lead->id = id;
    } else if (score > lead->second) {
        lead->second = score;
    }
}

static struct lead choose_greedy(const struct view *v, bool want_second) {
    struct lead lead = {INT64_MIN, INT64_MIN, UINT32_MAX};
    for (uint32_t block = 0; block < block_count(v->vocab); block++) {
        int64_t bar = want_second ? lead.second : lead.score;
        if (v->tops[block] == ASY_SAMPLE_MASKED || v->tops[block] <= bar) {
            continue; /* an equal logit at a higher id changes nothing */
        }
        for (uint32_t id = block * BLOCK; id < block_end(v, block); id++) {
            if (v->logits[id] != ASY_SAMPLE_MASKED) {
                lead_offer(&lead, v->logits[id], id);
            }
        }
    }
    return lead;
}

/* Scores blocks of 16 ids, some at a time. A block is skipped when no id in it can reach the bar,
 * in which case it cannot change the result: a score never falls as the logit or the word grows, so
 *   score(id) <= scaled(top logit of the block) + GUMBEL_MAX            known before the noise is
 * made, and score(id) <= scaled(top logit of the block) + gumbel(largest word)  after. */
struct chooser {
    const struct view *v;
    uint64_t cut;
    uint32_t inv_temperature;
    bool want_second;
    uint32_t input[16];
    uint32_t waiting;
    uint32_t block[NOISE_LANES];
    struct lead lead;
};

static inline bool can_matter(const struct chooser *c, uint32_t block, int32_t gumbel) {
    int64_t bar = c->want_second ? c->lead.second : c->lead.score;
    return scaled(c->v->tops[block], c->inv_temperature) + gumbel >= bar;
}

static void chooser_flush(struct chooser *c) {
    struct noise noise;
    sample_noise(&noise, c->v->width, c->input, c->block, c->waiting);
    for (uint32_t lane = 0; lane < c->waiting; lane++) {
        if (!can_matter(c, c->block[lane], asy_sample_gumbel(noise.max[lane]))) {
            continue;
        }
        uint32_t first = c->block[lane] * BLOCK;
        for (uint32_t id = first; id < block_end(c->v, c->block[lane]); id++) {
            int32_t logit = c->v->logits[id];
            if (logit != ASY_SAMPLE_MASKED && key_of(c->v, id) < c->cut) {
                lead_offer(
                    &c->lead,
                    asy_sample_score(logit, c->inv_temperature, noise.word[id - first][lane]), id);
            }
        }
    }
    c->waiting = 0;
}

static struct lead choose_seeded(const struct view *v, uint64_t cut,
                                 const struct asy_sample_settings *s,
                                 const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos,
                                 bool want_second) {
    struct chooser c = {
        .v = v,
        .cut = cut,
        .inv_temperature = asy_sample_inv_temperature(s->temperature_milli),
        .want_second = want_second,
        .lead = {INT64_MIN, INT64_MIN, UINT32_MAX},
    };
    sample_noise_input(c.input, seed, pos);
    /* the best block first: it sets a bar that spares most of the others */
    uint32_t best = 0;
    while (v->tops[best] != v->best) {
        best++;
    }
    c.block[c.waiting++] = best;
    chooser_flush(&c);
    for (uint32_t block = 0; block < block_count(v->vocab); block++) {
        if (block_nearest(v, block) > cut >> 32 || block == best ||
            !can_matter(&c, block, GUMBEL_MAX)) {
            continue;
        }
        c.block[c.waiting++] = block;
        if (c.waiting == NOISE_LANES) {
            chooser_flush(&c);
        }
    }
    if (c.waiting != 0) {
        chooser_flush(&c);
    }
    return c.lead;
}

size_t asy_sample_workspace_len(uint32_t vocab) {
    if (vocab == 0 || vocab > ASY_SAMPLE_MAX_VOCAB) {
        return 0;
    }
    return BUCKETS * sizeof(uint64_t) + block_count(vocab) * sizeof(int32_t);
}

/* Lays out the workspace and finds the highest logits. RANGE as the header says. */
static enum asy_err view_init(struct view *ret_view, void *workspace, const int32_t *logits,
                              uint32_t vocab, enum sample_width width) {
    if (vocab == 0 || vocab > ASY_SAMPLE_MAX_VOCAB) {
        return ASY_ERR_RANGE;
    }
    ASY_ASSERT((uintptr_t)workspace % sizeof(uint64_t) == 0);
    uint64_t *buckets = workspace;
    int32_t *tops = (int32_t *)(void *)(buckets + BUCKETS);
    int32_t best = ASY_SAMPLE_MASKED;
    uint32_t whole = vocab / BLOCK;
    for (uint32_t block = 0; block < whole; block++) {
        const int32_t *p = logits + block * BLOCK;
        int32_t top = p[0];
        for (uint32_t i = 1; i < BLOCK; i++) {
            top = p[i] > top ? p[i] : top;
        }
        tops[block] = top;
        best = top > best ? top : best;
    }
    if (whole * BLOCK < vocab) {
        int32_t top = ASY_SAMPLE_MASKED;
        for (uint32_t id = whole * BLOCK; id < vocab; id++) {
            top = logits[id] > top ? logits[id] : top;
        }
        tops[whole] = top;
        best = top > best ? top : best;
    }
    if (best == ASY_SAMPLE_MASKED) {
        return ASY_ERR_RANGE;
    }
    *ret_view = (struct view){logits, vocab, best, tops, buckets, width};
    return ASY_OK;
}

static struct lead choose(uint64_t *ret_cut, const struct view *v,
                          const struct asy_sample_settings *s,
                          const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos, bool want_second) {
    ASY_ASSERT(asy_sample_settings_check(s, NULL) == ASY_OK);
    if (s->temperature_milli == 0) {
        *ret_cut = NO_CUT;
        return choose_greedy(v, want_second);
    }
    *ret_cut = filters_cut(v, s);
    return choose_seeded(v, *ret_cut, s, seed, pos, want_second);
}

enum asy_err sample_token(uint32_t *ret_id, int64_t *ret_lead, void *workspace,
                          const int32_t *logits, uint32_t vocab,
                          const struct asy_sample_settings *settings,
                          const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos,
                          enum sample_width width) {
    struct view v;
    ASY_TRY(view_init(&v, workspace, logits, vocab, width));
    uint64_t cut;
    struct lead lead = choose(&cut, &v, settings, seed, pos, ret_lead != NULL);
    *ret_id = lead.id;
    if (ret_lead != NULL) {
        *ret_lead = lead.second == INT64_MIN ? ASY_SAMPLE_OUTSIDE : lead.score - lead.second;
    }
    return ASY_OK;
}

enum asy_err asy_sample_token(uint32_t *ret_id, int64_t *ret_lead, void *workspace,
                              const int32_t *logits, uint32_t vocab,
                              const struct asy_sample_settings *settings,
                              const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos) {
    return sample_token(ret_id, ret_lead, workspace, logits, vocab, settings, seed, pos,
                        sample_width());
}

enum asy_err asy_sample_margin(int64_t *ret_margin, uint32_t *ret_id, void *workspace,
                               const int32_t *logits, uint32_t vocab,
                               const struct asy_sample_settings *settings,
                               const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos,
                               uint32_t claimed) {
    if (claimed >= vocab) {
        return ASY_ERR_RANGE;
    }
    struct view v;
    ASY_TRY(view_init(&v, workspace, logits, vocab, sample_width()));
    uint64_t cut;
    struct lead lead = choose(&cut, &v, settings, seed, pos, false);
    int64_t margin;
    if (claimed == lead.id) {
        margin = 0;
    } else if (logits[claimed] == ASY_SAMPLE_MASKED || key_of(&v, claimed) >= cut) {
        margin = ASY_SAMPLE_OUTSIDE;
    } else {
        int64_t score = logits[claimed];
        if (settings->temperature_milli != 0) {
            score = asy_sample_score(logits[claimed],
                                     asy_sample_inv_temperature(settings->temperature_milli),
                                     asy_sample_word(seed, pos, claimed));
        }
        margin = lead.score > score ? lead.score - score : 1; /* equal, and lost to a lower id */
    }
    *ret_margin = margin;
    if (ret_id != NULL) {
        *ret_id = lead.id;
    }
    return ASY_OK;
}
