/* adjust.c: what happens to single logits before the sampler looks at them: bias, penalties. Also
 * who could judge the result. Every formula is docs/protocol/sampling.md's. */
#include "sample/sample.h"

/* ---- who could judge ---- */

static_assert((ASY_SAMPLE_USES_BY_CONTRACT ^ ASY_SAMPLE_USES_BY_REPLAY) ==
                  (1u << ASY_SAMPLE_USE_COUNT) - 1,
              "each use is judged by one of the two");

uint32_t asy_sample_uses(const struct asy_sample_settings *s) {
    uint32_t uses = 0;
    if (s->temperature_milli == 0) {
        uses |= ASY_SAMPLE_USE_GREEDY;
    } else {
        uses |= ASY_SAMPLE_USE_TEMPERATURE;
        uses |= s->top_k != 0 ? ASY_SAMPLE_USE_TOP_K : 0u;
        uses |= s->top_p_ppm < ASY_SAMPLE_PPM ? ASY_SAMPLE_USE_TOP_P : 0u;
        uses |= s->min_p_ppm != 0 ? ASY_SAMPLE_USE_MIN_P : 0u;
    }
    uses |= s->presence_penalty_milli != 0 ? ASY_SAMPLE_USE_PRESENCE : 0u;
    uses |= s->frequency_penalty_milli != 0 ? ASY_SAMPLE_USE_FREQUENCY : 0u;
    uses |= s->repeat_penalty_milli != 0 ? ASY_SAMPLE_USE_REPEAT : 0u;
    uses |= asy_hash_is_zero(&s->logit_bias) ? 0u : ASY_SAMPLE_USE_BIAS;
    return uses;
}

const char *asy_sample_use_name(enum asy_sample_use use) {
    switch (use) {
    case ASY_SAMPLE_USE_GREEDY:
        return "greedy";
    case ASY_SAMPLE_USE_TEMPERATURE:
        return "temperature";
    case ASY_SAMPLE_USE_TOP_K:
        return "top_k";
    case ASY_SAMPLE_USE_MIN_P:
        return "min_p";
    case ASY_SAMPLE_USE_BIAS:
        return "logit_bias";
    case ASY_SAMPLE_USE_TOP_P:
        return "top_p";
    case ASY_SAMPLE_USE_PRESENCE:
        return "presence_penalty";
    case ASY_SAMPLE_USE_FREQUENCY:
        return "frequency_penalty";
    case ASY_SAMPLE_USE_REPEAT:
        return "repetition_penalty";
    }
    return "unknown";
}

/* ---- pairs ---- */

enum asy_err asy_sample_bias_check(const struct asy_sample_bias *bias, size_t count,
                                   struct asy_why *reterr_why) {
    static const char param[] = "logit_bias";
    if (count > ASY_MAX_BIAS) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, param, "logit_bias has more than %u ids",
                           ASY_MAX_BIAS);
    }
    for (size_t i = 0; i < count; i++) {
        if (bias[i].id >= ASY_SAMPLE_MAX_VOCAB) {
            return asy_why_set(reterr_why, ASY_ERR_RANGE, param, "id %u of logit_bias is above %u",
                               bias[i].id, ASY_SAMPLE_MAX_VOCAB - 1);
        }
        if (i != 0 && bias[i].id <= bias[i - 1].id) {
            return asy_why_set(reterr_why, ASY_ERR_RANGE, param,
                               "id %u of logit_bias stands twice, or not in order", bias[i].id);
        }
        if (bias[i].milli == 0 || bias[i].milli < -ASY_SAMPLE_MAX_BIAS_MILLI ||
            bias[i].milli > ASY_SAMPLE_MAX_BIAS_MILLI) {
            return asy_why_set(reterr_why, ASY_ERR_RANGE, param,
                               "the bias of id %u is 0, or not from -100 to 100", bias[i].id);
        }
    }
    return ASY_OK;
}

void asy_sample_bias_encode(uint8_t *ret_bytes, const struct asy_sample_bias *bias, size_t count) {
    ASY_ASSERT(asy_sample_bias_check(bias, count, NULL) == ASY_OK);
    for (size_t i = 0; i < count; i++) {
        asy_be32_put(ret_bytes + ASY_SAMPLE_BIAS_LEN * i, bias[i].id);
        asy_be32_put(ret_bytes + ASY_SAMPLE_BIAS_LEN * i + 4, (uint32_t)bias[i].milli);
    }
}

enum asy_err asy_sample_bias_decode(struct asy_sample_bias *ret_bias, size_t *ret_count,
                                    struct asy_bytes in, struct asy_why *reterr_why) {
    size_t count = in.n / ASY_SAMPLE_BIAS_LEN;
    if (in.n % ASY_SAMPLE_BIAS_LEN != 0) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, "logit_bias", "a logit_bias of %zu bytes",
                           in.n);
    }
    if (count == 0) {
        *ret_count = 0;
        return ASY_OK;
    }
    if (count > ASY_MAX_BIAS) {
        return asy_sample_bias_check(NULL, count, reterr_why);
    }
    struct asy_sample_bias bias[ASY_MAX_BIAS]; /* read aside: a failure touches nothing */
    for (size_t i = 0; i < count; i++) {
        bias[i].id = asy_be32_get(in.p + ASY_SAMPLE_BIAS_LEN * i);
        bias[i].milli = (int32_t)asy_be32_get(in.p + ASY_SAMPLE_BIAS_LEN * i + 4);
    }
    ASY_TRY(asy_sample_bias_check(bias, count, reterr_why));
    memcpy(ret_bias, bias, count * sizeof bias[0]);
    *ret_count = count;
    return ASY_OK;
}

/* ---- counts ---- */

void asy_sample_count_add(struct asy_sample_count *counts, size_t *inout_len, uint32_t id) {
    size_t low = 0, high = *inout_len;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (counts[mid].id < id) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low < *inout_len && counts[low].id == id) {
        counts[low].count++; /* a job's output is far below 2^32 tokens */
        return;
    }
    memmove(counts + low + 1, counts + low, (*inout_len - low) * sizeof counts[0]);
    counts[low] = (struct asy_sample_count){id, 1};
    ++*inout_len;
}

/* ---- the three steps ---- */

/* a / b to the nearest integer, ties up: floor((2a + b) / 2b). b > 0, |a| < 2^61. */
static int64_t nearest(int64_t a, int64_t b) {
    int64_t n = 2 * a + b, d = 2 * b;
    return n / d - (n % d < 0);
}

static int32_t clamp(int64_t logit) {
    return logit > ASY_SAMPLE_LOGIT_MAX    ? ASY_SAMPLE_LOGIT_MAX
           : logit < -ASY_SAMPLE_LOGIT_MAX ? -ASY_SAMPLE_LOGIT_MAX
                                           : (int32_t)logit;
}

/* Thousandths of a nat in units of a logit. |milli| < 2^44. */
static int64_t logit_of_milli(int64_t milli) { return nearest(milli * 65536, 1000); }

static int32_t penalised(int32_t logit, const struct asy_sample_settings *s, uint32_t count) {
    int32_t r = (int32_t)s->repeat_penalty_milli;
    if (r != 0) { /* |logit| <= 2^31, r < 2^11 */
        logit = clamp(logit > 0 ? nearest((int64_t)logit * 1000, r)
                                : nearest((int64_t)logit * r, 1000));
    }
    if (s->presence_penalty_milli != 0 || s->frequency_penalty_milli != 0) {
        /* below 2^11 + 2^11 * 2^32 */
        int64_t milli =
            s->presence_penalty_milli + (int64_t)s->frequency_penalty_milli * (int64_t)count;
        logit = clamp(logit - logit_of_milli(milli));
    }
    return logit;
}

enum asy_err asy_sample_adjust(int32_t *logits, uint32_t vocab,
                               const struct asy_sample_settings *settings,
                               const struct asy_sample_bias *bias, size_t bias_len,
                               const struct asy_sample_count *counts, size_t counts_len) {
    ASY_ASSERT(asy_sample_settings_check(settings, NULL) == ASY_OK);
    ASY_ASSERT(asy_hash_is_zero(&settings->logit_bias) == (bias_len == 0));
    if ((asy_sample_uses(settings) & ASY_SAMPLE_USES_COUNTS) == 0) {
        counts_len = 0;
    }
    /* both are sorted: the last id is the highest */
    if ((bias_len != 0 && bias[bias_len - 1].id >= vocab) ||
        (counts_len != 0 && counts[counts_len - 1].id >= vocab)) {
        return ASY_ERR_RANGE;
    }
    for (size_t i = 0; i < bias_len; i++) {
        int32_t *logit = &logits[bias[i].id];
        if (bias[i].milli == ASY_SAMPLE_BAN_MILLI) {
            *logit = ASY_SAMPLE_MASKED;
        } else if (*logit != ASY_SAMPLE_MASKED) {
            *logit = clamp(*logit + logit_of_milli(bias[i].milli));
        }
    }
    for (size_t i = 0; i < counts_len; i++) {
        int32_t *logit = &logits[counts[i].id];
        if (*logit != ASY_SAMPLE_MASKED) {
            *logit = penalised(*logit, settings, counts[i].count);
        }
    }
    return ASY_OK;
}
