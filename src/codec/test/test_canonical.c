/* RFC 8785: numbers of its appendix B, its examples, the order of keys. */
#include "codec/codec.h"
#include "lines.h"

static void check_canonical(const char *in, const char *want) {
    struct asy_json *v = NULL;
    struct asy_buf buf;
    asy_buf_init(&buf, 1 << 16);
    CHECK_OK(asy_json_parse(&v, asy_bytes_cstr(in), ASY_MAX_JSON_DEPTH, NULL));
    CHECK_OK(asy_json_canonical(&buf, v));
    CHECK_STR(asy_buf_cstr(&buf), want);
    asy_json_free(v);
    /* canonical form is its own canonical form */
    CHECK_OK(asy_json_parse(&v, asy_bytes_cstr(want), ASY_MAX_JSON_DEPTH, NULL));
    asy_buf_clear(&buf);
    CHECK_OK(asy_json_canonical(&buf, v));
    CHECK_STR(asy_buf_cstr(&buf), want);
    asy_json_free(v);
    asy_buf_done(&buf);
}

static void numbers(void) {
    struct lines l;
    lines_open(&l, "src/codec/vectors/f64.txt");
    while (lines_next(&l)) {
        uint8_t be[8];
        CHECK_OK(asy_hex_decode(be, 8, asy_bytes_cstr(l.field[0])));
        uint64_t bits = asy_be64_get(be);
        double v;
        memcpy(&v, &bits, sizeof v);
        char text[ASY_F64_TEXT];
        CHECK_U64(asy_f64_format(text, v), strlen(l.field[1]));
        CHECK_STR(text, l.field[1]);
    }
    CHECK_U64(l.cases, 27);
    for (int i = 0; i < 5000; i++) { /* any double reads back */
        uint64_t bits = asy_test_random();
        double v, back;
        memcpy(&v, &bits, sizeof v);
        if ((bits >> 52 & 0x7ff) == 0x7ff) {
            continue;
        }
        char text[ASY_F64_TEXT];
        asy_f64_format(text, v);
        back = strtod(text, NULL); /* allowed: the reference to compare with */
        CHECK(back == v);
        CHECK(strlen(text) < 26);
    }
}

static void rfc_examples(void) {
    /* section 3.2.2 */
    check_canonical(
        "{\n  \"numbers\": [333333333.33333329, 1E30, 4.50,\n              2e-3, "
        "0.000000000000000000000000001],\n"
        "  \"string\": \"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\",\n"
        "  \"literals\": [null, true, false]\n}",
        "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
        "\"string\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
    /* section 3.2.3 */
    check_canonical(
        "{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet "
        "With Dagesh\","
        "\"1\":\"One\",\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\","
        "\"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}",
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\","
        "\"\xc3\xb6\":\"Latin Small Letter O With Diaeresis\",\"\xe2\x82\xac\":\"Euro Sign\","
        "\"\xf0\x9f\x98\x80\":\"Emoji: Grinning Face\",\"\xef\xac\xb3\":\"Hebrew Letter Dalet With "
        "Dagesh\"}");
}

static void more(void) {
    check_canonical(" [ ] ", "[]");
    check_canonical("{ }", "{}");
    check_canonical("\"\\u007f\\u2028\"", "\"\x7f\xe2\x80\xa8\"");
    check_canonical("[-0, -0.0, 0e5, 1.0, 100e-2, 9007199254740991, -9007199254740991]",
                    "[0,0,0,1,1,9007199254740991,-9007199254740991]");
    check_canonical("{\"b\":{\"d\":1,\"c\":2},\"a\":[{\"z\":1,\"y\":2}]}",
                    "{\"a\":[{\"y\":2,\"z\":1}],\"b\":{\"c\":2,\"d\":1}}");
    check_canonical("{\"aa\":1,\"a\":2,\"\":3,\"b\":4,\"A\":5}",
                    "{\"\":3,\"A\":5,\"a\":2,\"aa\":1,\"b\":4}");
    /* U+D7FF, U+1F600, U+E000, U+FFFD: surrogates stand between the first and the third */
    check_canonical(
        "{\"\\ufffd\":4,\"\\ue000\":3,\"\\ud83d\\ude00\":2,\"\\ud7ff\":1,\"x\\ue000\":6,"
        "\"x\\ud83d\\ude00\":5}",
        "{\"x\xf0\x9f\x98\x80\":5,\"x\xee\x80\x80\":6,\"\xed\x9f\xbf\":1,\"\xf0\x9f\x98\x80\":2,"
        "\"\xee\x80\x80\":3,\"\xef\xbf\xbd\":4}");
    static const char *const beyond[] = {"9007199254740992", "-9007199254740992",
                                         "[9223372036854775807]"};
    for (size_t i = 0; i < ASY_COUNT(beyond); i++) {
        struct asy_json *v = NULL;
        struct asy_buf buf;
        asy_buf_init(&buf, 100);
        CHECK_OK(asy_json_parse(&v, asy_bytes_cstr(beyond[i]), 4, NULL));
        CHECK_ERR(asy_json_canonical(&buf, v), ASY_ERR_RANGE);
        asy_json_free(v);
        asy_buf_done(&buf);
    }
}

int main(void) {
    numbers();
    rfc_examples();
    more();
    return asy_test_end();
}
