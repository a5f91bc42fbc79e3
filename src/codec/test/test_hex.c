/* Hex, quantities, decimal u128, base64. */
#include "base/test.h"
#include "codec/codec.h"

static void hex_all_bytes(void) {
    uint8_t all[256], back[256];
    char text[513];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = (uint8_t)i;
    }
    asy_hex_encode(text, all, sizeof all);
    CHECK(memcmp(text, "000102030405060708090a0b", 24) == 0 && text[512] == '\0');
    CHECK_OK(asy_hex_decode(back, sizeof back, asy_bytes_cstr(text)));
    CHECK_MEM(back, all, sizeof all);
    for (int c = 0; c < 256; c++) { /* every character, in both places */
        uint8_t pair[2] = {(uint8_t)c, '0'}, swapped[2] = {'0', (uint8_t)c}, b;
        enum asy_err want =
            memchr("0123456789abcdefABCDEF", c, 22) != NULL ? ASY_OK : ASY_ERR_SYNTAX;
        CHECK_ERR(asy_hex_decode(&b, 1, asy_bytes_of(pair, 2)), want);
        CHECK_ERR(asy_hex_decode(&b, 1, asy_bytes_of(swapped, 2)), want);
    }
    uint8_t kept[2] = {7, 7};
    CHECK_ERR(asy_hex_decode(kept, 2, ASY_STR("abc")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_hex_decode(kept, 1, ASY_STR("abc")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_hex_decode(kept, 2, ASY_STR("abcdef")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_hex_decode(kept, 2, ASY_STR("ffgg")), ASY_ERR_SYNTAX);
    CHECK(kept[0] == 7 && kept[1] == 7);
}

static void data(void) {
    struct asy_buf buf;
    asy_buf_init(&buf, 8);
    CHECK_OK(asy_0x_add(&buf, asy_bytes_of("\x12\xab", 2)));
    CHECK_STR(asy_buf_cstr(&buf), "0x12ab");
    CHECK_ERR(asy_0x_add(&buf, asy_bytes_of("\x12", 1)), ASY_ERR_TOO_LONG);
    CHECK_STR(asy_buf_cstr(&buf), "0x12ab");
    asy_buf_clear(&buf);
    CHECK_OK(asy_0x_add(&buf, asy_bytes_of(NULL, 0)));
    CHECK_STR(asy_buf_cstr(&buf), "0x");
    asy_buf_clear(&buf);
    CHECK_OK(asy_0x_decode_buf(&buf, ASY_STR("0x0041fF")));
    CHECK_U64(buf.n, 3);
    CHECK_MEM(buf.p, "\x00\x41\xff", 3);
    CHECK_OK(asy_0x_decode_buf(&buf, ASY_STR("0x")));
    CHECK_ERR(asy_0x_decode_buf(&buf, ASY_STR("0x1")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_0x_decode_buf(&buf, ASY_STR("0X12")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_0x_decode_buf(&buf, ASY_STR("12")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_0x_decode_buf(&buf, ASY_STR("")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_0x_decode_buf(&buf, ASY_STR("0x0011zz")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_0x_decode_buf(&buf, ASY_STR("0x001122334455")), ASY_ERR_TOO_LONG);
    CHECK_U64(buf.n, 3);
    asy_buf_done(&buf);

    struct asy_hash hash, back;
    asy_test_fill(&hash, sizeof hash);
    char text[ASY_HASH_TEXT];
    asy_hash_format(text, &hash);
    CHECK_U64(strlen(text), 66);
    CHECK_OK(asy_hash_parse(&back, asy_bytes_cstr(text)));
    CHECK(asy_hash_eq(&hash, &back));
    CHECK_ERR(asy_hash_parse(&back, asy_bytes_of(text, 65)), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_hash_parse(&back, asy_bytes_of(text + 2, 64)), ASY_ERR_SYNTAX);
}

/* Examples of the Ethereum JSON-RPC documentation ("Conventions: Quantities"), and the edges of
 * each type. */
static void quantities(void) {
    static const struct {
        const char *text;
        enum asy_err err;
        uint64_t value;
    } cases[] = {
        {"0x0", ASY_OK, 0},
        {"0x41", ASY_OK, 65},
        {"0x400", ASY_OK, 1024},
        {"0xAbC", ASY_OK, 0xabc},
        {"0xffffffffffffffff", ASY_OK, UINT64_MAX},
        {"0x", ASY_ERR_SYNTAX, 0},
        {"0x0400", ASY_ERR_SYNTAX, 0},
        {"0x00", ASY_ERR_SYNTAX, 0},
        {"ff", ASY_ERR_SYNTAX, 0},
        {"", ASY_ERR_SYNTAX, 0},
        {"0x-1", ASY_ERR_SYNTAX, 0},
        {"0x1 ", ASY_ERR_SYNTAX, 0},
        {"0x10000000000000000", ASY_ERR_OVERFLOW, 0},
        {"0xg0000000000000000", ASY_ERR_SYNTAX, 0},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        uint64_t v = 99;
        CHECK_ERR(asy_quantity_parse_u64(&v, asy_bytes_cstr(cases[i].text)), cases[i].err);
        CHECK_U64(v, cases[i].err == ASY_OK ? cases[i].value : 99);
    }
    char text[ASY_QUANTITY_TEXT];
    asy_quantity_format_u64(text, 0);
    CHECK_STR(text, "0x0");
    asy_quantity_format_u64(text, 1024);
    CHECK_STR(text, "0x400");
    asy_quantity_format_u128(text, ~(asy_u128)0);
    CHECK_STR(text, "0xffffffffffffffffffffffffffffffff");
    asy_u128 wide;
    CHECK_OK(asy_quantity_parse_u128(&wide, asy_bytes_cstr(text)));
    CHECK(wide == ~(asy_u128)0);
    CHECK_ERR(asy_quantity_parse_u128(&wide, ASY_STR("0x100000000000000000000000000000000")),
              ASY_ERR_OVERFLOW);
    for (int i = 0; i < 2000; i++) {
        uint8_t word[32] = {0}, back[32];
        size_t len = asy_test_random() % 33;
        asy_test_fill(word + 32 - len, len);
        asy_quantity_format_u256(text, word);
        CHECK_OK(asy_quantity_parse_u256(back, asy_bytes_cstr(text)));
        CHECK_MEM(back, word, 32);
    }
}

static void decimal(void) {
    char text[ASY_U128_TEXT];
    CHECK_U64(asy_u128_format(text, 0), 1);
    CHECK_STR(text, "0");
    CHECK_U64(asy_u128_format(text, ~(asy_u128)0), 39);
    CHECK_STR(text, "340282366920938463463374607431768211455");
    asy_u128 v = 5;
    CHECK_OK(asy_u128_parse(&v, asy_bytes_cstr(text)));
    CHECK(v == ~(asy_u128)0);
    CHECK_ERR(asy_u128_parse(&v, ASY_STR("340282366920938463463374607431768211456")),
              ASY_ERR_OVERFLOW);
    CHECK_ERR(asy_u128_parse(&v, ASY_STR("9999999999999999999999999999999999999999x")),
              ASY_ERR_SYNTAX);
    CHECK_ERR(asy_u128_parse(&v, ASY_STR("")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_u128_parse(&v, ASY_STR("01")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_u128_parse(&v, ASY_STR("+1")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_u128_parse(&v, ASY_STR("1.0")), ASY_ERR_SYNTAX);
    CHECK(v == ~(asy_u128)0);
    CHECK_OK(asy_u128_parse(&v, ASY_STR("0")));
    CHECK(v == 0);
}

/* RFC 4648 section 10. */
static void base64_vectors(void) {
    static const char *const std[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                      "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    static const char *const url[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
    struct asy_buf buf;
    asy_buf_init(&buf, 64);
    for (size_t i = 0; i < ASY_COUNT(std); i++) {
        asy_buf_clear(&buf);
        CHECK_OK(asy_base64_encode(&buf, asy_bytes_of("foobar", i), ASY_BASE64_STD));
        CHECK_STR(asy_buf_cstr(&buf), std[i]);
        asy_buf_clear(&buf);
        CHECK_OK(asy_base64_encode(&buf, asy_bytes_of("foobar", i), ASY_BASE64_URL));
        CHECK_STR(asy_buf_cstr(&buf), url[i]);
        asy_buf_clear(&buf);
        CHECK_OK(asy_base64_decode(&buf, asy_bytes_cstr(std[i]), ASY_BASE64_STD));
        CHECK(buf.n == i && memcmp(asy_buf_cstr(&buf), "foobar", i) == 0);
        asy_buf_clear(&buf);
        CHECK_OK(asy_base64_decode(&buf, asy_bytes_cstr(url[i]), ASY_BASE64_URL));
        CHECK(buf.n == i && memcmp(asy_buf_cstr(&buf), "foobar", i) == 0);
    }
    static const char *const bad_std[] = {"Zg",     "Zg=",      "Zh==", "Zm9=", "Z===",    "====",
                                          "Zm9v\n", "Zm 9v===", "Zm-_", "=Zm9", "Zg==Zg=="};
    for (size_t i = 0; i < ASY_COUNT(bad_std); i++) {
        asy_buf_clear(&buf);
        CHECK_ERR(asy_base64_decode(&buf, asy_bytes_cstr(bad_std[i]), ASY_BASE64_STD),
                  ASY_ERR_SYNTAX);
        CHECK_U64(buf.n, 0);
    }
    static const char *const bad_url[] = {"Zg==", "Z", "Zh", "Zm9", "Zm+/", "Zm9vY"};
    for (size_t i = 0; i < ASY_COUNT(bad_url); i++) {
        CHECK_ERR(asy_base64_decode(&buf, asy_bytes_cstr(bad_url[i]), ASY_BASE64_URL),
                  ASY_ERR_SYNTAX);
    }
    asy_buf_done(&buf);
}

/* Every quad of two characters: decoding takes a text exactly when encoding gives it back. */
static void base64_exhaustive(void) {
    struct asy_buf bytes, text;
    asy_buf_init(&bytes, 64);
    asy_buf_init(&text, 64);
    for (unsigned i = 0; i < 65536; i++) {
        uint8_t quad[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        asy_buf_clear(&bytes);
        asy_buf_clear(&text);
        if (asy_base64_decode(&bytes, asy_bytes_of(quad, 2), ASY_BASE64_URL) == ASY_OK) {
            CHECK_OK(asy_base64_encode(&text, asy_buf_bytes(&bytes), ASY_BASE64_URL));
            CHECK(asy_bytes_eq(asy_buf_bytes(&text), asy_bytes_of(quad, 2)));
        }
    }
    for (int i = 0; i < 2000; i++) {
        uint8_t in[45];
        size_t len = asy_test_random() % sizeof in;
        enum asy_base64 variant = i % 2 != 0 ? ASY_BASE64_STD : ASY_BASE64_URL;
        asy_test_fill(in, len);
        asy_buf_clear(&bytes);
        asy_buf_clear(&text);
        CHECK_OK(asy_base64_encode(&text, asy_bytes_of(in, len), variant));
        CHECK_OK(asy_base64_decode(&bytes, asy_buf_bytes(&text), variant));
        CHECK(asy_bytes_eq(asy_buf_bytes(&bytes), asy_bytes_of(in, len)));
    }
    asy_buf_done(&bytes);
    asy_buf_done(&text);
}

int main(void) {
    hex_all_bytes();
    data();
    quantities();
    decimal();
    base64_vectors();
    base64_exhaustive();
    return asy_test_end();
}
