/* JSON: what is refused and how, values and fields, the writer. */
#include <math.h>

#include "base/test.h"
#include "codec/codec.h"

static struct asy_json *parsed(const char *text) {
    struct asy_json *v = NULL;
    struct asy_why why = {0};
    enum asy_err err = asy_json_parse(&v, asy_bytes_cstr(text), ASY_MAX_JSON_DEPTH, &why);
    if (err != ASY_OK) {
        fprintf(stderr, "%s: %s\n", text, why.text);
    }
    CHECK_OK(err);
    ASY_ASSERT(v != NULL);
    return v;
}

static void refusals(void) {
    static const struct {
        const char *text;
        enum asy_err err;
        const char *why;
    } cases[] = {
        {"", ASY_ERR_SYNTAX, "JSON ends too early (line 1, column 0, byte 0)"},
        {" \n ", ASY_ERR_SYNTAX, "JSON ends too early"},
        {"{\"a\":1", ASY_ERR_SYNTAX, "JSON ends too early"},
        {"[1,2", ASY_ERR_SYNTAX, "JSON ends too early"},
        {"[1,]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"{\"a\":1,}", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"{a:1}", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"{'a':1}", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[01]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[+1]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[.5]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[1.]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[0x10]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[NaN]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[Infinity]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[-Infinity]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[tru]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"/*x*/1", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"\xef\xbb\xbf{}", ASY_ERR_SYNTAX, "JSON is malformed"}, /* a byte order mark */
        {"[\"a\nb\"]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[\"\\x\"]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[\"\\u12\"]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[\"\\ud800\"]", ASY_ERR_SYNTAX, "JSON is malformed"}, /* lone surrogates */
        {"[\"\\ud800\\u0041\"]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[\"\\udc00\"]", ASY_ERR_SYNTAX, "JSON is malformed"},
        {"[\"\\u0000\"]", ASY_ERR_SYNTAX, "JSON string holds a NUL character"},
        {"{\"a\\u0000b\":1}", ASY_ERR_SYNTAX, "JSON string holds a NUL character"},
        {"[\"\xff\"]", ASY_ERR_SYNTAX, "JSON is not valid UTF-8"},
        {"[\"\xc0\xaf\"]", ASY_ERR_SYNTAX, "JSON is not valid UTF-8"},         /* overlong */
        {"[\"\xed\xa0\x80\"]", ASY_ERR_SYNTAX, "JSON is not valid UTF-8"},     /* a surrogate */
        {"[\"\xf4\x90\x80\x80\"]", ASY_ERR_SYNTAX, "JSON is not valid UTF-8"}, /* above U+10FFFF */
        {"[\"\xe2\x82\"]", ASY_ERR_SYNTAX, "JSON is not valid UTF-8"},
        {"1 2", ASY_ERR_SYNTAX, "JSON is followed by something else"},
        {"{} x", ASY_ERR_SYNTAX, "JSON is followed by something else"},
        {"{\"a\":1,\"b\":2,\"a\":1}", ASY_ERR_DUPLICATE, "JSON object has a key twice"},
        {"{\"a\":1,\"\\u0061\":1}", ASY_ERR_DUPLICATE, "JSON object has a key twice"},
        {"[{\"x\":{\"a\":1,\"a\":1}}]", ASY_ERR_DUPLICATE, "JSON object has a key twice"},
        {"9223372036854775808", ASY_ERR_RANGE, "JSON number is too large"},
        {"-9223372036854775809", ASY_ERR_RANGE, "JSON number is too large"},
        {"1e400", ASY_ERR_RANGE, "JSON number is too large"},
        {"[\n\n  ?]", ASY_ERR_SYNTAX, "JSON is malformed (line 3, column 3, byte 6)"},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_json *v = NULL;
        struct asy_why why = {0};
        enum asy_err err =
            asy_json_parse(&v, asy_bytes_cstr(cases[i].text), ASY_MAX_JSON_DEPTH, &why);
        if (err != cases[i].err || strncmp(why.text, cases[i].why, strlen(cases[i].why)) != 0) {
            fprintf(stderr, "case %zu (%s): %s, %s\n", i, cases[i].text, asy_err_name(err),
                    why.text);
            CHECK(false);
        }
        CHECK(v == NULL);
    }
    struct asy_json *v = NULL; /* a NUL byte outside of strings, and none at all */
    CHECK_ERR(asy_json_parse(&v, asy_bytes_of("1\0", 2), 4, NULL), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_json_parse(&v, asy_bytes_of("{}\0x", 4), 4, NULL), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_json_parse(&v, asy_bytes_of("[\"\0\"]", 5), 4, NULL), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_json_parse(&v, asy_bytes_of(NULL, 0), 4, NULL), ASY_ERR_SYNTAX);
}

static void depth(void) {
    char text[200001];
    for (size_t d = 1; d <= 40; d++) {
        struct asy_json *v = NULL;
        memset(text, '[', d);
        memset(text + d, ']', d);
        text[2 * d] = '\0';
        enum asy_err err = asy_json_parse(&v, asy_bytes_cstr(text), ASY_MAX_JSON_DEPTH, NULL);
        CHECK_ERR(err, d <= ASY_MAX_JSON_DEPTH ? ASY_OK : ASY_ERR_SYNTAX);
        asy_json_free(v);
    }
    struct asy_json *v = NULL;
    struct asy_why why;
    memset(text, '[', sizeof text); /* never closed */
    CHECK_ERR(asy_json_parse(&v, asy_bytes_of(text, sizeof text), ASY_MAX_JSON_DEPTH, &why),
              ASY_ERR_SYNTAX);
    CHECK_STR(why.text, "JSON is nested deeper than 32 levels (byte 32)");
    for (size_t i = 0; i + 5 < sizeof text; i += 5) {
        memcpy(text + i, "{\"a\":", 5);
    }
    CHECK_ERR(asy_json_parse(&v, asy_bytes_of(text, sizeof text), 3, NULL), ASY_ERR_SYNTAX);
    /* brackets in strings do not nest; an escaped quote does not end a string, an escaped backslash
     * before the quote does not keep it open */
#define MANY "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
    asy_json_free(parsed("[\"" MANY "\\\"" MANY "\\\\\",{}]"));
    CHECK_ERR(asy_json_parse(&v, ASY_STR("[\"\\\\\"," MANY), ASY_MAX_JSON_DEPTH, &why),
              ASY_ERR_SYNTAX);
    CHECK(strstr(why.text, "nested deeper") != NULL);
#undef MANY
    CHECK_OK(asy_json_parse(&v, ASY_STR("[[1],[2],[3],{\"a\":4}]"), 2, NULL));
    asy_json_free(v);
}

static void memory(void) {
    size_t len = 3u << 20;
    char *text = asy_alloc(len);
    memset(text, ' ', len);
    text[0] = '[';
    for (size_t i = 1; i + 3 < len; i += 3) {
        memcpy(text + i, "{},", 3);
    }
    struct asy_json *v = NULL;
    CHECK_ERR(asy_json_parse(&v, asy_bytes_of(text, len), ASY_MAX_JSON_DEPTH, NULL),
              ASY_ERR_TOO_LONG);
    memset(text, 'x', len); /* one long string is fine */
    text[0] = '"';
    text[len - 1] = '"';
    CHECK_OK(asy_json_parse(&v, asy_bytes_of(text, len), ASY_MAX_JSON_DEPTH, NULL));
    CHECK_U64(asy_json_len(v), 0);
    asy_json_free(v);
    asy_free(text);
}

static void values(void) {
    struct asy_json *v =
        parsed(" {\"s\":\"a\\u00e9\\ud83d\\ude00\\/"
               "\",\"i\":-5,\"u\":9223372036854775807,\"r\":1.5,\"e\":1e2,"
               "\"t\":true,\"f\":false,\"n\":null,\"a\":[1,\"x\"],\"o\":{\"k\":1}} ");
    struct asy_bytes s;
    int64_t i = 0;
    uint64_t u = 0;
    double d = 0;
    bool b = false;
    CHECK_OK(asy_json_str(&s, asy_json_get(v, "s")));
    CHECK(asy_bytes_eq(s, ASY_STR("a\xc3\xa9\xf0\x9f\x98\x80/")));
    CHECK(s.p[s.n] == 0);
    CHECK_OK(asy_json_i64(&i, asy_json_get(v, "i")));
    CHECK(i == -5);
    CHECK_ERR(asy_json_u64(&u, asy_json_get(v, "i")), ASY_ERR_RANGE);
    CHECK_OK(asy_json_u64(&u, asy_json_get(v, "u")));
    CHECK_U64(u, INT64_MAX);
    CHECK_ERR(asy_json_u64(&u, asy_json_get(v, "r")), ASY_ERR_TYPE);
    CHECK_ERR(asy_json_i64(&i, asy_json_get(v, "e")),
              ASY_ERR_TYPE); /* 1e2 is no integer as written */
    CHECK_OK(asy_json_double(&d, asy_json_get(v, "r")));
    CHECK(d == 1.5);
    CHECK_OK(asy_json_double(&d, asy_json_get(v, "i")));
    CHECK(d == -5);
    CHECK_OK(asy_json_bool(&b, asy_json_get(v, "t")));
    CHECK(b);
    CHECK_ERR(asy_json_bool(&b, asy_json_get(v, "n")), ASY_ERR_TYPE);
    CHECK_ERR(asy_json_str(&s, NULL), ASY_ERR_TYPE);
    CHECK(asy_json_is_null(asy_json_get(v, "n")) && asy_json_is_null(asy_json_get(v, "none")));
    CHECK(asy_json_get(asy_json_get(v, "a"), "k") == NULL && asy_json_at(v, 0) == NULL);
    CHECK_U64(asy_json_len(asy_json_get(v, "a")), 2);
    CHECK_U64(asy_json_len(v), 10);
    CHECK(asy_json_at(asy_json_get(v, "a"), 2) == NULL);
    static const enum asy_json_type types[] = {
        ASY_JSON_STR,  ASY_JSON_INT,  ASY_JSON_INT,  ASY_JSON_REAL,  ASY_JSON_REAL,
        ASY_JSON_BOOL, ASY_JSON_BOOL, ASY_JSON_NULL, ASY_JSON_ARRAY, ASY_JSON_OBJECT};
    struct asy_json_iter it = {v, NULL};
    struct asy_bytes key;
    const struct asy_json *value;
    size_t n = 0;
    while (asy_json_next(&it, &key, &value)) { /* in the order of the text */
        CHECK(key.n == 1 && key.p[0] == (uint8_t) "siuretfnao"[n]);
        CHECK(asy_json_type(value) == types[n]);
        n++;
    }
    CHECK_U64(n, 10);
    asy_json_free(v);
    asy_json_free(NULL);
}

static void scaled(void) {
    static const struct {
        const char *text;
        unsigned decimals;
        enum asy_err err;
        uint64_t value;
    } cases[] = {
        {"0.7", 3, ASY_OK, 700},
        {"0.699999988079071", 3, ASY_OK, 700}, /* what a float32 of 0.7 prints as */
        {"1", 3, ASY_OK, 1000},
        {"2.0", 3, ASY_OK, 2000},
        {"0", 3, ASY_OK, 0},
        {"0.0", 3, ASY_OK, 0},
        {"-0.0", 3, ASY_OK, 0},
        {"0.0005", 3, ASY_OK, 1},
        {"0.00049999", 3, ASY_OK, 0},
        {"0.0004", 3, ASY_OK, 0},
        {"0.00005", 3, ASY_OK, 0},
        {"1.0005", 3, ASY_OK, 1001}, /* its double is below the tie; the decimal decides */
        {"1e-300", 3, ASY_OK, 0},
        {"5e-324", 12, ASY_OK, 0},
        {"0.9999995", 6, ASY_OK, 1000000},
        {"1e3", 3, ASY_OK, 1000000},
        {"9223372036854775807", 0, ASY_OK, INT64_MAX},
        {"9223372036854775", 3, ASY_OK, 9223372036854775000},
        {"9223372036854776", 3, ASY_ERR_RANGE, 0},
        {"1e19", 0, ASY_ERR_RANGE, 0},
        {"1e308", 0, ASY_ERR_RANGE, 0},
        {"-1", 3, ASY_ERR_RANGE, 0},
        {"-0.1", 3, ASY_ERR_RANGE, 0},
        {"\"0.7\"", 3, ASY_ERR_TYPE, 0},
        {"null", 3, ASY_ERR_TYPE, 0},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_json *v = parsed(cases[i].text);
        uint64_t got = 77;
        enum asy_err err = asy_json_scaled(&got, v, cases[i].decimals);
        if (err != cases[i].err || got != (err == ASY_OK ? cases[i].value : 77)) {
            fprintf(stderr, "%s with %u: %s, %" PRIu64 "\n", cases[i].text, cases[i].decimals,
                    asy_err_name(err), got);
            CHECK(false);
        }
        asy_json_free(v);
    }
    static const struct {
        const char *text;
        unsigned decimals;
        enum asy_err err;
        int64_t value;
    } either[] = {
        {"-0.7", 3, ASY_OK, -700},
        {"0.7", 3, ASY_OK, 700},
        {"-2", 3, ASY_OK, -2000},
        {"-2.0", 3, ASY_OK, -2000},
        {"-0.0", 3, ASY_OK, 0},
        {"0.0005", 3, ASY_OK, 1},
        {"-0.0005", 3, ASY_OK, 0}, /* half up */
        {"-0.00050001", 3, ASY_OK, -1},
        {"-0.0004", 3, ASY_OK, 0},
        {"-1.0005", 3, ASY_OK, -1000},
        {"-1.0015", 3, ASY_OK, -1001},
        {"-1.00051", 3, ASY_OK, -1001},
        {"-1.0006", 3, ASY_OK, -1001},
        {"-1e-300", 3, ASY_OK, 0},
        {"-9223372036854775807", 0, ASY_OK, -INT64_MAX},
        {"-9223372036854775808", 0, ASY_ERR_RANGE, 0},
        {"-9223372036854776", 3, ASY_ERR_RANGE, 0},
        {"-1e19", 0, ASY_ERR_RANGE, 0},
        {"\"-0.7\"", 3, ASY_ERR_TYPE, 0},
        {"true", 3, ASY_ERR_TYPE, 0},
    };
    for (size_t i = 0; i < ASY_COUNT(either); i++) {
        struct asy_json *v = parsed(either[i].text);
        int64_t got = 77;
        enum asy_err err = asy_json_scaled_i64(&got, v, either[i].decimals);
        if (err != either[i].err || got != (err == ASY_OK ? either[i].value : 77)) {
            fprintf(stderr, "%s with %u: %s, %" PRId64 "\n", either[i].text, either[i].decimals,
                    asy_err_name(err), got);
            CHECK(false);
        }
        asy_json_free(v);
    }
    for (int i = 0; i < 3000; i++) { /* every number of 6 decimals comes back as it was written */
        uint64_t want = asy_test_random() % 10000000000u, got;
        char text[40];
        snprintf(text, sizeof text, "%" PRIu64 ".%06" PRIu64, want / 1000000, want % 1000000);
        struct asy_json *v = parsed(text);
        CHECK_OK(asy_json_scaled(&got, v, 6));
        CHECK_U64(got, want);
        asy_json_free(v);
    }
}

static void fields(void) {
    struct asy_json *v = parsed(
        "{\"s\":\"abc\",\"n\":7,\"neg\":-7,\"b\":true,\"nul\":null,\"o\":{},\"a\":[1,2],\"f\":0.25,"
        "\"h\":\"0x12\",\"ad\":\"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\","
        "\"bad\":\"0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\",\"q\":\"0x10\"}");
    struct asy_why why = {0};
    struct asy_bytes s = ASY_STR("default");
    uint64_t u = 42;
    int64_t i = 42;
    bool b = false, present = true;
    const struct asy_json *inner;
    CHECK_OK(asy_json_get_str(&s, &present, v, "x", "missing", 10, &why));
    CHECK(!present && asy_bytes_eq(s, ASY_STR("default")));
    CHECK_OK(asy_json_get_str(&s, &present, v, "x", "nul", 10, &why));
    CHECK(!present && asy_bytes_eq(s, ASY_STR("default")));
    CHECK_ERR(asy_json_get_str(&s, NULL, v, "x", "nul", 10, &why), ASY_ERR_MISSING);
    CHECK_STR(why.param, "x.nul");
    CHECK_STR(why.text, "'x.nul' is required");
    CHECK_ERR(asy_json_get_str(&s, NULL, v, NULL, "n", 10, &why), ASY_ERR_TYPE);
    CHECK_STR(why.text, "'n' must be a string, not an integer");
    CHECK_ERR(asy_json_get_str(&s, NULL, v, "", "s", 2, &why), ASY_ERR_RANGE);
    CHECK_STR(why.text, "'s' is longer than 2 bytes");
    CHECK(asy_bytes_eq(s, ASY_STR("default")));
    CHECK_OK(asy_json_get_str(&s, &present, v, NULL, "s", 3, &why));
    CHECK(present && asy_bytes_eq(s, ASY_STR("abc")));
    CHECK_OK(asy_json_get_u64(&u, NULL, v, NULL, "n", 7, 7, &why));
    CHECK_U64(u, 7);
    CHECK_ERR(asy_json_get_u64(&u, NULL, v, "m[3]", "n", 8, 9, &why), ASY_ERR_RANGE);
    CHECK_STR(why.text, "'m[3].n' must be from 8 to 9");
    CHECK_ERR(asy_json_get_u64(&u, NULL, v, NULL, "neg", 0, 9, &why), ASY_ERR_RANGE);
    CHECK_ERR(asy_json_get_u64(&u, NULL, v, NULL, "f", 0, 9, &why), ASY_ERR_TYPE);
    CHECK_OK(asy_json_get_i64(&i, NULL, v, NULL, "neg", -7, 9, &why));
    CHECK(i == -7);
    CHECK_ERR(asy_json_get_i64(&i, NULL, v, NULL, "neg", -6, 9, &why), ASY_ERR_RANGE);
    CHECK_OK(asy_json_get_bool(&b, NULL, v, NULL, "b", &why));
    CHECK(b);
    CHECK_ERR(asy_json_get_bool(&b, NULL, v, NULL, "n", &why), ASY_ERR_TYPE);
    CHECK_OK(asy_json_get_scaled(&u, NULL, v, NULL, "f", 2, 0, 25, &why));
    CHECK_U64(u, 25);
    CHECK_ERR(asy_json_get_scaled(&u, NULL, v, NULL, "f", 2, 26, 250, &why), ASY_ERR_RANGE);
    CHECK_STR(why.text, "'f' must be from 0.26 to 2.5");
    CHECK_ERR(asy_json_get_scaled(&u, NULL, v, NULL, "neg", 2, 0, 250, &why), ASY_ERR_RANGE);
    int64_t scaled_i64 = 5;
    CHECK_OK(asy_json_get_scaled_i64(&scaled_i64, NULL, v, NULL, "neg", 2, -700, 0, &why));
    CHECK(scaled_i64 == -700);
    CHECK_ERR(asy_json_get_scaled_i64(&scaled_i64, NULL, v, NULL, "neg", 2, -699, 0, &why),
              ASY_ERR_RANGE);
    CHECK_STR(why.text, "'neg' must be from -6.99 to 0");
    CHECK_OK(asy_json_get_scaled_i64(&scaled_i64, &present, v, NULL, "nul", 2, 0, 1, &why));
    CHECK(scaled_i64 == -700 && !present);
    CHECK_OK(asy_json_get_object(&inner, NULL, v, NULL, "o", &why));
    CHECK_ERR(asy_json_get_object(&inner, NULL, v, NULL, "a", &why), ASY_ERR_TYPE);
    CHECK_OK(asy_json_get_array(&inner, NULL, v, NULL, "a", 1, 2, &why));
    CHECK_ERR(asy_json_get_array(&inner, NULL, v, NULL, "a", 3, 9, &why), ASY_ERR_RANGE);
    CHECK_STR(why.text, "'a' must have from 3 to 9 elements");
    struct asy_hash hash;
    struct asy_addr addr;
    CHECK_ERR(asy_json_get_hash(&hash, NULL, v, NULL, "h", &why), ASY_ERR_SYNTAX);
    CHECK_OK(asy_json_get_hash(&hash, &present, v, NULL, "nul", &why));
    CHECK(!present);
    CHECK_OK(asy_json_get_addr(&addr, &present, v, NULL, "ad", &why));
    CHECK(present && addr.b[0] == 0x5a);
    CHECK_ERR(asy_json_get_addr(&addr, NULL, v, NULL, "bad", &why), ASY_ERR_MISMATCH);
    CHECK_OK(asy_json_get_quantity(&u, NULL, v, NULL, "q", &why));
    CHECK_U64(u, 16);
    CHECK_ERR(asy_json_get_quantity(&u, NULL, v, NULL, "s", &why), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_json_get_str(&s, NULL, v, NULL, "missing", 1, NULL), ASY_ERR_MISSING);
    static const char *const known[] = {"s", "n", "neg", "b", "nul", "o", "a", "f", "h", "ad", "q"};
    CHECK_ERR(asy_json_refuse_unknown(v, "at", known, ASY_COUNT(known), &why), ASY_ERR_UNKNOWN);
    CHECK_STR(why.param, "at.bad");
    CHECK_OK(asy_json_refuse_unknown(asy_json_get(v, "o"), "at", known, ASY_COUNT(known), &why));
    asy_json_free(v);
}

static void writer(void) {
    struct asy_buf buf;
    struct asy_jw w;
    struct asy_hash hash = {{1}};
    struct asy_addr addr = {{0}};
    asy_buf_init(&buf, 4096);
    asy_jw_init(&w, &buf);
    asy_jw_object(&w);
    asy_jw_kv_str(&w, "s", ASY_STR("a\"b\\c/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9"));
    asy_jw_kv_cstr(&w, "n", NULL);
    asy_jw_kv_u64(&w, "u", UINT64_MAX);
    asy_jw_kv_i64(&w, "i", INT64_MIN);
    asy_jw_kv_u128_str(&w, "w", (asy_u128)1 << 64);
    asy_jw_kv_bool(&w, "b", true);
    asy_jw_kv_null(&w, "z");
    asy_jw_kv_object(&w, "o");
    asy_jw_end(&w);
    asy_jw_kv_array(&w, "a");
    asy_jw_array(&w);
    asy_jw_end(&w);
    asy_jw_object(&w);
    asy_jw_kv_i64(&w, "\"", -1);
    asy_jw_end(&w);
    asy_jw_f64(&w, 0.1);
    asy_jw_raw(&w, ASY_STR("[1]"));
    asy_jw_hex(&w, ASY_STR("\x0f"));
    asy_jw_end(&w);
    asy_jw_kv_hash(&w, "h", &hash);
    asy_jw_kv_addr(&w, "ad", &addr);
    asy_jw_kv_quantity(&w, "q", 255);
    asy_jw_end(&w);
    CHECK_OK(asy_jw_finish(&w));
    CHECK_STR(
        asy_buf_cstr(&buf),
        "{\"s\":\"a\\\"b\\\\c/"
        "\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\",\"n\":null,\"u\":18446744073709551615,"
        "\"i\":-9223372036854775808,\"w\":\"18446744073709551616\",\"b\":true,\"z\":null,\"o\":{},"
        "\"a\":[[],{\"\\\"\":-1},0.1,[1],\"0x0f\"],"
        "\"h\":\"0x0100000000000000000000000000000000000000000000000000000000000000\","
        "\"ad\":\"0x0000000000000000000000000000000000000000\",\"q\":\"0xff\"}");

    asy_buf_clear(&buf);
    CHECK_OK(asy_buf_add_str(&buf, "{\"a\":1"));
    asy_jw_init_inside(&w, &buf);
    asy_jw_kv_u64(&w, "b", 0);
    asy_jw_end(&w);
    CHECK_OK(asy_jw_finish(&w));
    CHECK_STR(asy_buf_cstr(&buf), "{\"a\":1,\"b\":0}");

    static const struct {
        uint64_t v;
        unsigned decimals;
        const char *text;
    } cases[] = {{700, 3, "0.7"},          {0, 3, "0"},
                 {2000, 3, "2"},           {1, 6, "0.000001"},
                 {1234567, 3, "1234.567"}, {1000, 0, "1000"},
                 {1050, 3, "1.05"},        {UINT64_MAX, 18, "18.446744073709551615"}};
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        asy_buf_clear(&buf);
        asy_jw_init(&w, &buf);
        asy_jw_scaled(&w, cases[i].v, cases[i].decimals);
        CHECK_OK(asy_jw_finish(&w));
        CHECK_STR(asy_buf_cstr(&buf), cases[i].text);
    }
    asy_buf_clear(&buf);
    asy_jw_init(&w, &buf);
    asy_jw_f64(&w, INFINITY);
    CHECK_ERR(asy_jw_finish(&w), ASY_ERR_RANGE);
    asy_buf_done(&buf);

    asy_buf_init(&buf, 5);
    asy_jw_init(&w, &buf);
    asy_jw_array(&w);
    asy_jw_u64(&w, 123456);
    asy_jw_end(&w);
    CHECK_ERR(asy_jw_finish(&w), ASY_ERR_TOO_LONG);
    asy_buf_clear(&buf);
    CHECK_OK(asy_buf_add_str(&buf, "ab"));
    CHECK_ERR(asy_json_escape(&buf, ASY_STR("c\n\n")),
              ASY_ERR_TOO_LONG); /* the first run fitted: taken back */
    CHECK_STR(asy_buf_cstr(&buf), "ab");
    CHECK_OK(asy_json_escape(&buf, ASY_STR("c\n")));
    CHECK_STR(asy_buf_cstr(&buf), "abc\\n");
    asy_buf_done(&buf);
}

/* Any string of valid characters comes back from its escaped form. */
static void escape_round_trip(void) {
    for (int i = 0; i < 3000; i++) {
        char text[64];
        size_t n = 0, want = asy_test_random() % 40;
        while (n < want) {
            static const char *const some[] = {"\x01",
                                               "\x1f",
                                               "\"",
                                               "\\",
                                               "/",
                                               "\n",
                                               "a",
                                               "zz",
                                               "\x7f",
                                               "\xc3\xa9",
                                               "\xf0\x9f\x98\x80",
                                               "\xe2\x80\xa8"};
            const char *c = some[asy_test_random() % ASY_COUNT(some)];
            memcpy(text + n, c, strlen(c));
            n += strlen(c);
        }
        struct asy_buf buf;
        asy_buf_init(&buf, 1024);
        struct asy_jw w;
        asy_jw_init(&w, &buf);
        asy_jw_str(&w, asy_bytes_of(text, n));
        CHECK_OK(asy_jw_finish(&w));
        struct asy_json *v = parsed(asy_buf_cstr(&buf));
        struct asy_bytes back;
        CHECK_OK(asy_json_str(&back, v));
        CHECK(asy_bytes_eq(back, asy_bytes_of(text, n)));
        asy_json_free(v);
        asy_buf_done(&buf);
    }
}

int main(void) {
    refusals();
    depth();
    memory();
    values();
    scaled();
    fields();
    writer();
    escape_round_trip();
    return asy_test_end();
}
