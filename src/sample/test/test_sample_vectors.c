/* The C sampler against schema/vectors/sampling/, which an independent program made from the
 * document. Runs in the repository's root. */
#include <jansson.h>

#include "base/test.h"
#include "sample/sample.h"

static json_t *load(const char *name) {
    char path[128];
    snprintf(path, sizeof(path), "schema/vectors/sampling/%s.json", name);
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (root == NULL) {
        fprintf(stderr, "%s: %s\n", path, error.text);
        exit(1);
    }
    return root;
}

static json_int_t number(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    ASY_ASSERT(json_is_integer(value));
    return json_integer_value(value);
}
static uint32_t number_u32(const json_t *object, const char *name) {
    json_int_t n = number(object, name);
    ASY_ASSERT(n >= 0 && n <= UINT32_MAX);
    return (uint32_t)n;
}

static void hex(uint8_t *ret_bytes, size_t len, const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    ASY_ASSERT(text != NULL && strlen(text) == 2 * len);
    for (size_t i = 0; i < len; i++) {
        unsigned byte = 0;
        for (size_t k = 0; k < 2; k++) {
            const char *digits = "0123456789abcdef", *at = strchr(digits, text[2 * i + k]);
            ASY_ASSERT(at != NULL);
            byte = 16 * byte + (unsigned)(at - digits);
        }
        ret_bytes[i] = (uint8_t)byte;
    }
}

static struct asy_sample_settings settings_of(const json_t *object) {
    struct asy_sample_settings s = {
        .temperature_milli = number_u32(object, "temperature_milli"),
        .top_k = number_u32(object, "top_k"),
        .top_p_ppm = number_u32(object, "top_p_ppm"),
        .min_p_ppm = number_u32(object, "min_p_ppm"),
        .presence_penalty_milli = (int32_t)number(object, "presence_penalty_milli"),
        .frequency_penalty_milli = (int32_t)number(object, "frequency_penalty_milli"),
        .repeat_penalty_milli = number_u32(object, "repeat_penalty_milli"),
    };
    hex(s.logit_bias.b, sizeof(s.logit_bias.b), object, "logit_bias");
    return s;
}

static void test_tables(void) {
    json_t *root = load("tables");
    const json_t *exp2 = json_object_get(json_object_get(root, "exp2"), "values");
    const json_t *gumbel = json_object_get(json_object_get(root, "gumbel"), "values");
    CHECK_U64(json_array_size(exp2), ASY_SAMPLE_EXP2_COUNT);
    for (size_t i = 0; i < ASY_SAMPLE_EXP2_COUNT; i++) {
        CHECK(json_integer_value(json_array_get(exp2, i)) == asy_sample_exp2_table[i]);
    }
    for (size_t side = 0; side < 2; side++) {
        const json_t *row = json_array_get(gumbel, side);
        CHECK_U64(json_array_size(row), ASY_SAMPLE_GUMBEL_COUNT);
        for (size_t i = 0; i < ASY_SAMPLE_GUMBEL_COUNT; i++) {
            CHECK(json_integer_value(json_array_get(row, i)) == asy_sample_gumbel_table[side][i]);
        }
    }
    json_decref(root);
}

static void test_pieces(void) {
    size_t i;
    json_t *item, *root = load("words");
    CHECK(json_array_size(root) > 50);
    json_array_foreach(root, i, item) {
        uint8_t seed[ASY_SAMPLE_SEED_LEN];
        hex(seed, sizeof(seed), item, "seed");
        CHECK_U64(asy_sample_word(seed, number_u32(item, "pos"), number_u32(item, "id")),
                  number_u32(item, "word"));
    }
    json_decref(root);
    root = load("gumbel");
    CHECK(json_array_size(root) > 300);
    json_array_foreach(root, i, item) {
        CHECK(asy_sample_gumbel(number_u32(item, "word")) == number(item, "value"));
    }
    json_decref(root);
    root = load("weights");
    CHECK(json_array_size(root) > 200);
    json_array_foreach(root, i, item) {
        CHECK_U64(asy_sample_weight(number_u32(item, "distance")), number_u32(item, "weight"));
    }
    json_decref(root);
    root = load("inverse");
    CHECK(json_array_size(root) > 10);
    json_array_foreach(root, i, item) {
        CHECK_U64(asy_sample_inv_temperature(number_u32(item, "temperature_milli")),
                  number_u32(item, "inverse"));
    }
    json_decref(root);
}

static void test_floats(void) {
    size_t i;
    json_t *item, *root = load("floats");
    size_t count = json_array_size(root), nans = 0, numbers = 0;
    CHECK(count > 100);
    float *all = asy_alloc(count * sizeof(*all));
    int32_t *want = asy_alloc(count * sizeof(*want)), *got = asy_alloc(count * sizeof(*got));
    json_array_foreach(root, i, item) {
        uint8_t bytes[4];
        hex(bytes, sizeof(bytes), item, "bits");
        uint32_t bits = asy_be32_get(bytes);
        float x;
        memcpy(&x, &bits, sizeof(x));
        if (json_is_null(json_object_get(item, "logit"))) {
            CHECK_ERR(asy_sample_logits_from_float(got, &x, 1), ASY_ERR_RANGE);
            nans++;
            continue;
        }
        want[numbers] = (int32_t)number(item, "logit");
        all[numbers++] = x;
        CHECK_OK(asy_sample_logits_from_float(got, &x, 1));
        CHECK(got[0] == want[numbers - 1]);
    }
    CHECK(nans >= 2);
    CHECK_OK(asy_sample_logits_from_float(got, all, numbers)); /* the vectorised loop */
    CHECK_MEM(got, want, numbers * sizeof(*want));
    uint32_t nan = 0x7fc00000u;
    memcpy(&all[numbers / 2], &nan, sizeof(nan));
    CHECK_ERR(asy_sample_logits_from_float(got, all, numbers), ASY_ERR_RANGE);
    asy_free(all);
    asy_free(want);
    asy_free(got);
    json_decref(root);
}

static void test_settings(void) {
    size_t i, refused = 0;
    json_t *item, *root = load("settings");
    json_array_foreach(root, i, item) {
        struct asy_sample_settings s = settings_of(json_object_get(item, "settings"));
        const char *error = json_string_value(json_object_get(item, "error"));
        struct asy_why why = {0};
        enum asy_err err = asy_sample_settings_check(&s, &why);
        if (error != NULL) {
            CHECK_STR(asy_err_name(err), error);
            CHECK(why.param[0] != 0 && why.text[0] != 0);
            refused++;
            continue;
        }
        CHECK_OK(err);
        uint8_t want[ASY_SAMPLE_SETTINGS_LEN], got[ASY_SAMPLE_SETTINGS_LEN];
        hex(want, sizeof(want), item, "bytes");
        asy_sample_settings_encode(got, &s);
        CHECK_MEM(got, want, sizeof(want));
        struct asy_sample_settings back;
        CHECK_OK(asy_sample_settings_decode(&back, asy_bytes_of(got, sizeof got), NULL));
        asy_sample_settings_encode(got, &back);
        CHECK_MEM(got, want, sizeof(want));
        got[31] = 1;
        CHECK_ERR(asy_sample_settings_decode(&back, asy_bytes_of(got, sizeof got), NULL),
                  ASY_ERR_UNSUPPORTED);
        CHECK_ERR(asy_sample_settings_decode(&back, asy_bytes_of(got, 63), NULL), ASY_ERR_SYNTAX);
    }
    CHECK_U64(refused, 11);
    struct asy_sample_settings plain = ASY_SAMPLE_SETTINGS_DEFAULT;
    CHECK_OK(asy_sample_settings_check(&plain, NULL));
    json_decref(root);
}

static size_t pairs_of(struct asy_sample_bias *ret_pairs, const json_t *list) {
    size_t count = json_array_size(list);
    ASY_ASSERT(count <= ASY_MAX_BIAS);
    for (size_t i = 0; i < count; i++) {
        const json_t *pair = json_array_get(list, i);
        ret_pairs[i].id = (uint32_t)json_integer_value(json_array_get(pair, 0));
        ret_pairs[i].milli = (int32_t)json_integer_value(json_array_get(pair, 1));
    }
    return count;
}

static void test_bias(void) {
    size_t i, refused = 0;
    json_t *item, *root = load("bias");
    json_array_foreach(root, i, item) {
        static uint8_t bytes[ASY_SAMPLE_BIAS_LEN * (ASY_MAX_BIAS + 1)], again[sizeof(bytes)];
        static struct asy_sample_bias want[ASY_MAX_BIAS], got[ASY_MAX_BIAS];
        struct asy_why why = {0};
        size_t len = strlen(json_string_value(json_object_get(item, "bytes"))) / 2, count = 77;
        ASY_ASSERT(len <= sizeof(bytes));
        hex(bytes, len, item, "bytes");
        enum asy_err err = asy_sample_bias_decode(got, &count, asy_bytes_of(bytes, len), &why);
        const char *error = json_string_value(json_object_get(item, "error"));
        if (error != NULL) {
            CHECK_STR(asy_err_name(err), error);
            CHECK_STR(why.param, "logit_bias");
            CHECK(why.text[0] != 0 && count == 77);
            refused++;
            continue;
        }
        CHECK_OK(err);
        CHECK_U64(count, pairs_of(want, json_object_get(item, "pairs")));
        CHECK_MEM(got, want, count * sizeof(got[0]));
        asy_sample_bias_encode(again, got, count);
        CHECK_MEM(again, bytes, len);
    }
    CHECK_U64(refused, 11);
    json_decref(root);
}

static void test_adjust(void) {
    size_t i;
    json_t *item, *root = load("adjust");
    const json_t *cases = json_object_get(root, "cases");
    CHECK(json_array_size(cases) > 1000);
    json_array_foreach(cases, i, item) {
        json_int_t n[7];
        for (size_t k = 0; k < ASY_COUNT(n); k++) {
            n[k] = json_integer_value(json_array_get(item, k)); /* null, no bias: 0 */
        }
        struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
        s.repeat_penalty_milli = (uint32_t)n[0];
        s.presence_penalty_milli = (int32_t)n[1];
        s.frequency_penalty_milli = (int32_t)n[2];
        s.logit_bias.b[0] = n[4] != 0;
        struct asy_sample_bias bias = {1, (int32_t)n[4]};
        struct asy_sample_count count = {1, (uint32_t)n[5]};
        int32_t logits[3] = {(int32_t)n[3], (int32_t)n[3], (int32_t)n[3]};
        CHECK_OK(asy_sample_adjust(logits, 3, &s, &bias, n[4] != 0, &count, n[5] != 0));
        CHECK(logits[0] == n[3] && logits[2] == n[3]);
        if (logits[1] != n[6]) {
            fprintf(stderr, "adjust case %zu: %d, wanted %lld\n", i, logits[1], (long long)n[6]);
            asy_test_failures++;
            break;
        }
    }
    json_decref(root);
}

static void test_tokens(void) {
    json_t *root = load("tokens");
    const json_t *wide = json_object_get(root, "wide"), *shapes = json_object_get(root, "logits");
    uint32_t wide_vocab = number_u32(wide, "vocab");
    uint8_t wide_seed[ASY_SAMPLE_SEED_LEN];
    hex(wide_seed, sizeof(wide_seed), wide, "seed");
    int32_t *wide_logits = asy_alloc(wide_vocab * sizeof(*wide_logits));
    for (uint32_t id = 0; id < wide_vocab; id++) {
        wide_logits[id] = 2 * asy_sample_gumbel(asy_sample_word(wide_seed, 0, id));
    }
    void *workspace = asy_alloc(asy_sample_workspace_len(wide_vocab));

    size_t i, changed = 0;
    json_t *item;
    const json_t *cases = json_object_get(root, "cases");
    CHECK(json_array_size(cases) > 300);
    json_array_foreach(cases, i, item) {
        const char *name = json_string_value(json_object_get(item, "logits"));
        const int32_t *logits = wide_logits;
        int32_t small[256];
        uint32_t vocab = wide_vocab;
        if (strcmp(name, "wide") != 0) {
            const json_t *list = json_object_get(shapes, name);
            vocab = (uint32_t)json_array_size(list);
            ASY_ASSERT(vocab >= 1 && vocab <= ASY_COUNT(small));
            for (uint32_t id = 0; id < vocab; id++) {
                small[id] = (int32_t)json_integer_value(json_array_get(list, id));
            }
            logits = small;
        }
        struct asy_sample_settings s = settings_of(json_object_get(item, "settings"));
        if (json_object_get(item, "bias") != NULL) {
            struct asy_sample_bias bias[ASY_MAX_BIAS];
            struct asy_sample_count counts[64];
            const json_t *output = json_object_get(item, "output");
            size_t counts_len = 0, bias_len = pairs_of(bias, json_object_get(item, "bias"));
            for (size_t k = 0; k < json_array_size(output); k++) {
                asy_sample_count_add(counts, &counts_len,
                                     (uint32_t)json_integer_value(json_array_get(output, k)));
            }
            CHECK_OK(asy_sample_adjust(small, vocab, &s, bias, bias_len, counts, counts_len));
            changed++;
        }
        uint8_t seed[ASY_SAMPLE_SEED_LEN];
        hex(seed, sizeof(seed), item, "seed");
        uint32_t pos = number_u32(item, "pos"), id, again, judged;
        int64_t lead, margin;
        CHECK_OK(asy_sample_token(&id, NULL, workspace, logits, vocab, &s, seed, pos));
        CHECK_U64(id, number_u32(item, "id"));
        CHECK_OK(asy_sample_token(&again, &lead, workspace, logits, vocab, &s, seed, pos));
        CHECK_U64(again, id);
        bool alone = json_is_null(json_object_get(item, "lead"));
        CHECK(lead == (alone ? ASY_SAMPLE_OUTSIDE : number(item, "lead")));
        CHECK_OK(asy_sample_margin(&margin, &judged, workspace, logits, vocab, &s, seed, pos, id));
        CHECK(margin == 0 && judged == id);
        if (asy_test_failures != 0) {
            fprintf(stderr, "in case %zu (%s)\n", i, name);
            break;
        }
    }
    CHECK(changed > 50 || asy_test_failures != 0);
    asy_free(workspace);
    asy_free(wide_logits);
    json_decref(root);
}

int main(void) {
    test_tables();
    test_pieces();
    test_floats();
    test_settings();
    test_bias();
    test_adjust();
    test_tokens();
    return asy_test_end();
}
