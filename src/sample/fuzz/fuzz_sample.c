/* Settings, bias and logits from a stranger: 64 bytes of settings, the count of bias pairs, the
 * pairs, the count of output tokens, these a byte each, then logits. What is taken must come out as
 * it went in, and chooser and judge must agree on whatever it is. */
#include "sample/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { VOCAB = 256 };

static struct asy_bytes take(struct asy_bytes *in, size_t n) {
    struct asy_bytes head = {in->p, n < in->n ? n : in->n};
    *in = asy_bytes_of(in->p + head.n, in->n - head.n);
    return head;
}

static void choose(const int32_t *logits, uint32_t vocab, const struct asy_sample_settings *s,
                   const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos) {
    static uint64_t workspace[4096];
    ASY_ASSERT(asy_sample_workspace_len(vocab) <= sizeof workspace);
    uint32_t id = 0, again = 0;
    int64_t lead = -1, margin = -1;
    enum asy_err err = asy_sample_token(&id, &lead, workspace, logits, vocab, s, seed, pos);
    bool all_masked = true;
    for (uint32_t i = 0; i < vocab; i++) {
        all_masked = all_masked && logits[i] == ASY_SAMPLE_MASKED;
    }
    ASY_ASSERT(err == (all_masked ? ASY_ERR_RANGE : ASY_OK));
    if (all_masked) {
        return;
    }
    ASY_ASSERT(id < vocab && lead >= 0 && logits[id] != ASY_SAMPLE_MASKED);
    for (uint32_t claimed = 0; claimed < vocab; claimed++) {
        err = asy_sample_margin(&margin, &again, workspace, logits, vocab, s, seed, pos, claimed);
        ASY_ASSERT(err == ASY_OK && again == id && (margin == 0) == (claimed == id));
        ASY_ASSERT(margin >= 0 && (claimed == id || margin >= lead || lead == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_bytes in = asy_bytes_of(data, len);
    struct asy_sample_settings s;
    struct asy_why why = {{0}, {0}};
    struct asy_bytes bytes = take(&in, ASY_SAMPLE_SETTINGS_LEN);
    enum asy_err err = asy_sample_settings_decode(&s, bytes, &why);
    ASY_ASSERT((err == ASY_OK) == (why.text[0] == '\0'));
    if (err != ASY_OK) {
        return 0;
    }
    uint8_t again[ASY_SAMPLE_BIAS_LEN * ASY_MAX_BIAS];
    asy_sample_settings_encode(again, &s);
    ASY_ASSERT(memcmp(again, bytes.p, bytes.n) == 0);

    static struct asy_sample_bias bias[ASY_MAX_BIAS];
    size_t bias_len = 0;
    bytes = take(&in, 1);
    bytes = take(&in, bytes.n == 0 ? 0 : ASY_SAMPLE_BIAS_LEN * (size_t)bytes.p[0]);
    if (asy_sample_bias_decode(bias, &bias_len, bytes, &why) != ASY_OK) {
        ASY_ASSERT(why.text[0] != '\0' && strcmp(why.param, "logit_bias") == 0);
        return 0;
    }
    asy_sample_bias_encode(again, bias, bias_len);
    ASY_ASSERT(bytes.n == ASY_SAMPLE_BIAS_LEN * bias_len &&
               (bytes.n == 0 || memcmp(again, bytes.p, bytes.n) == 0));
    memset(s.logit_bias.b, bias_len != 0, sizeof s.logit_bias.b);

    static struct asy_sample_count counts[VOCAB + 1];
    size_t counts_len = 0;
    bytes = take(&in, 1);
    bytes = take(&in, bytes.n == 0 ? 0 : bytes.p[0]);
    for (size_t i = 0; i < bytes.n; i++) {
        asy_sample_count_add(counts, &counts_len, bytes.p[i]);
    }
    uint32_t pos = (uint32_t)bytes.n;
    static int32_t logits[VOCAB];
    uint32_t vocab = 0;
    while (vocab < VOCAB && in.n >= 4) {
        logits[vocab++] = (int32_t)asy_be32_get(take(&in, 4).p);
    }
    if (vocab == 0) {
        return 0;
    }
    static const uint8_t seed[ASY_SAMPLE_SEED_LEN] = "fuzz";
    static int32_t before[VOCAB];
    memcpy(before, logits, sizeof logits);
    err = asy_sample_adjust(logits, vocab, &s, bias, bias_len, counts, counts_len);
    if (err != ASY_OK) {
        ASY_ASSERT(err == ASY_ERR_RANGE && memcmp(before, logits, sizeof logits) == 0);
        return 0;
    }
    for (size_t i = 0; i < bias_len; i++) {
        ASY_ASSERT(bias[i].milli != ASY_SAMPLE_BAN_MILLI ||
                   logits[bias[i].id] == ASY_SAMPLE_MASKED);
    }
    for (uint32_t id = 0; id < vocab; id++) {
        ASY_ASSERT(before[id] != ASY_SAMPLE_MASKED || logits[id] == ASY_SAMPLE_MASKED);
    }
    choose(logits, vocab, &s, seed, pos);
    return 0;
}
