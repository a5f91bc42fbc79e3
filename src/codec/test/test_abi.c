/* The contract ABI: the examples of its specification, settlement's call, hostile data, reverts. */
#include "base/test.h"
#include "codec/codec.h"

/* What a buffer holds against hex digits in which blanks and line ends do not count. */
static void check_hex(const struct asy_buf *buf, const char *want) {
    char *digits = asy_alloc(strlen(want) + 1);
    size_t n = 0;
    for (const char *p = want; *p != '\0'; p++) {
        if (*p != ' ') {
            digits[n++] = *p;
        }
    }
    digits[n] = '\0';
    char *got = asy_alloc(2 * buf->n + 1);
    asy_hex_encode(got, buf->p, buf->n);
    CHECK_STR(got, digits);
    asy_free(got);
    asy_free(digits);
}

#define Z8  "00000000"
#define Z24 Z8 Z8 Z8
#define Z56 Z24 Z24 Z8

/* Solidity documentation, "Contract ABI Specification", sections "Examples" and "Use of Dynamic
 * Types". */
static void specification(void) {
    struct asy_buf buf;
    struct asy_abi w;
    asy_buf_init(&buf, 4096);
    asy_abi_call(&w, &buf, "baz(uint32,bool)", 2);
    asy_abi_u64(&w, 69);
    asy_abi_bool(&w, true);
    CHECK_OK(asy_abi_finish(&w));
    check_hex(&buf, "cdcd77c0" Z56 "00000045" Z56 "00000001");

    asy_buf_clear(&buf);
    uint8_t abc[32] = "abc", def[32] = "def";
    asy_abi_call(&w, &buf, "bar(bytes3[2])", 2);
    asy_abi_word(&w, abc);
    asy_abi_word(&w, def);
    CHECK_OK(asy_abi_finish(&w));
    check_hex(&buf, "fce353f6 61626300" Z56 "64656600" Z56);

    asy_buf_clear(&buf);
    asy_abi_call(&w, &buf, "sam(bytes,bool,uint256[])", 3);
    asy_abi_bytes(&w, ASY_STR("dave"));
    asy_abi_bool(&w, true);
    asy_abi_array(&w, 3, 1);
    for (uint64_t i = 1; i <= 3; i++) {
        asy_abi_u64(&w, i);
    }
    asy_abi_end(&w);
    CHECK_OK(asy_abi_finish(&w));
    check_hex(&buf,
              "a5643bf2" Z56 "00000060" Z56 "00000001" Z56 "000000a0" Z56
              "00000004 64617665" Z56 Z56 "00000003" Z56 "00000001" Z56 "00000002" Z56 "00000003");

    asy_buf_clear(&buf);
    uint8_t ten[32] = "1234567890";
    asy_abi_call(&w, &buf, "f(uint256,uint32[],bytes10,bytes)", 4);
    asy_abi_u64(&w, 0x123);
    asy_abi_array(&w, 2, 1);
    asy_abi_u64(&w, 0x456);
    asy_abi_u64(&w, 0x789);
    asy_abi_end(&w);
    asy_abi_word(&w, ten);
    asy_abi_bytes(&w, ASY_STR("Hello, world!"));
    CHECK_OK(asy_abi_finish(&w));
    check_hex(&buf,
              "8be65246" Z56 "00000123" Z56 "00000080 31323334 35363738 39300000" Z24 Z8 Z8 Z56
              "000000e0" Z56 "00000002" Z56 "00000456" Z56 "00000789" Z56
              "0000000d 48656c6c 6f2c2077 6f726c64 21000000" Z24 Z8);

    asy_buf_clear(&buf);
    static const char *const words[] = {"one", "two", "three"};
    asy_abi_call(&w, &buf, "g(uint256[][],string[])", 2);
    asy_abi_array(&w, 2, 1);
    asy_abi_array(&w, 2, 1);
    asy_abi_u64(&w, 1);
    asy_abi_u64(&w, 2);
    asy_abi_end(&w);
    asy_abi_array(&w, 1, 1);
    asy_abi_u64(&w, 3);
    asy_abi_end(&w);
    asy_abi_end(&w);
    asy_abi_array(&w, 3, 1);
    for (size_t i = 0; i < 3; i++) {
        asy_abi_bytes(&w, asy_bytes_cstr(words[i]));
    }
    asy_abi_end(&w);
    CHECK_OK(asy_abi_finish(&w));
    check_hex(&buf, "2289b18c" Z56 "00000040" Z56 "00000140" Z56 "00000002" Z56 "00000040" Z56
                    "000000a0" Z56 "00000002" Z56 "00000001" Z56 "00000002" Z56 "00000001" Z56
                    "00000003" Z56 "00000003" Z56 "00000060" Z56 "000000a0" Z56 "000000e0" Z56
                    "00000003 6f6e6500" Z56 Z56 "00000003 74776f00" Z56 Z56
                    "00000005 74687265 65000000" Z24 Z24);
    asy_buf_done(&buf);
}

/* settle(uint64,uint256[2][],uint256[]): static tuples inside a dynamic array, then back through
 * the decoder. */
static void settlement(void) {
    enum { DEBITS = 50, CREDITS = 100 };
    uint8_t debit[DEBITS][2][32], credit[CREDITS][32];
    asy_test_fill(debit, sizeof debit);
    asy_test_fill(credit, sizeof credit);
    struct asy_buf buf;
    struct asy_abi w;
    asy_buf_init(&buf, 1 << 20);
    asy_abi_call(&w, &buf, "settle(uint64,uint256[2][],uint256[])", 3);
    asy_abi_u64(&w, 7);
    asy_abi_array(&w, DEBITS, 2);
    for (size_t i = 0; i < DEBITS; i++) {
        asy_abi_word(&w, debit[i][0]);
        asy_abi_word(&w, debit[i][1]);
    }
    asy_abi_end(&w);
    asy_abi_array(&w, CREDITS, 1);
    for (size_t i = 0; i < CREDITS; i++) {
        asy_abi_word(&w, credit[i]);
    }
    asy_abi_end(&w);
    CHECK_OK(asy_abi_finish(&w));
    CHECK_U64(buf.n, 4 + 32 * (3 + 1 + 2 * DEBITS + 1 + CREDITS));

    struct asy_abi_reader r, in;
    asy_abi_read(&r, asy_bytes_of(buf.p + 4, buf.n - 4));
    uint64_t number;
    size_t count;
    uint8_t word[32];
    CHECK_OK(asy_abi_read_u64(&r, &number));
    CHECK_U64(number, 7);
    CHECK_OK(asy_abi_read_array(&r, &in, &count, 2));
    CHECK_U64(count, DEBITS);
    for (size_t i = 0; i < DEBITS; i++) {
        CHECK_OK(asy_abi_read_word(&in, word));
        CHECK_MEM(word, debit[i][0], 32);
        CHECK_OK(asy_abi_read_word(&in, word));
        CHECK_MEM(word, debit[i][1], 32);
    }
    CHECK_OK(asy_abi_read_array(&r, &in, &count, 1));
    CHECK_U64(count, CREDITS);
    for (size_t i = 0; i < CREDITS; i++) {
        CHECK_OK(asy_abi_read_word(&in, word));
        CHECK_MEM(word, credit[i], 32);
    }
    asy_buf_done(&buf);
}

/* (uint64,(address,bytes)[],uint128,bool,bytes32): dynamic tuples in an array. */
static void nested(void) {
    struct asy_addr addr[3];
    struct asy_hash hash, hash2;
    uint8_t text[3][70];
    asy_test_fill(addr, sizeof addr);
    asy_test_fill(&hash, sizeof hash);
    asy_test_fill(text, sizeof text);
    asy_u128 wide = (asy_u128)asy_test_random() << 64 | asy_test_random(), wide2;
    struct asy_buf buf;
    struct asy_abi w;
    asy_buf_init(&buf, 4096);
    CHECK_OK(
        asy_buf_add_str(&buf, "before")); /* offsets count from the frame, not from the buffer */
    asy_abi_init(&w, &buf, 5);
    asy_abi_u64(&w, 1);
    asy_abi_array(&w, 3, 1);
    for (size_t i = 0; i < 3; i++) {
        asy_abi_tuple(&w, 2);
        asy_abi_addr(&w, &addr[i]);
        asy_abi_bytes(&w, asy_bytes_of(text[i], 31 + i)); /* around the padding */
        asy_abi_end(&w);
    }
    asy_abi_end(&w);
    asy_abi_u128(&w, wide);
    asy_abi_bool(&w, false);
    asy_abi_hash(&w, &hash);
    CHECK_OK(asy_abi_finish(&w));

    struct asy_abi_reader r, list, tuple;
    asy_abi_read(&r, asy_bytes_of(buf.p + 6, buf.n - 6));
    uint64_t one;
    size_t count;
    bool flag = true;
    CHECK_OK(asy_abi_read_u64(&r, &one));
    CHECK_OK(asy_abi_read_array(&r, &list, &count, 1));
    CHECK_U64(count, 3);
    for (size_t i = 0; i < count; i++) {
        struct asy_addr got;
        struct asy_bytes s;
        CHECK_OK(asy_abi_read_tuple(&list, &tuple));
        CHECK_OK(asy_abi_read_addr(&tuple, &got));
        CHECK(asy_addr_eq(&got, &addr[i]));
        CHECK_OK(asy_abi_read_bytes(&tuple, &s));
        CHECK(asy_bytes_eq(s, asy_bytes_of(text[i], 31 + i)));
    }
    CHECK_OK(asy_abi_read_u128(&r, &wide2));
    CHECK_OK(asy_abi_read_bool(&r, &flag));
    CHECK_OK(asy_abi_read_hash(&r, &hash2));
    CHECK(wide == wide2 && !flag && asy_hash_eq(&hash, &hash2));
    asy_buf_done(&buf);
}

static void bounds(void) {
    uint8_t data[96] = {0}, word[32];
    struct asy_abi_reader r, in;
    uint64_t v = 5;
    asy_u128 wide;
    bool flag;
    struct asy_addr addr;
    struct asy_bytes s;
    size_t count;
#define AT(len) asy_abi_read(&r, asy_bytes_of(data, (len)))
    AT(31);
    CHECK_ERR(asy_abi_read_word(&r, word), ASY_ERR_SYNTAX);
    AT(0);
    CHECK_ERR(asy_abi_read_word(&r, word), ASY_ERR_SYNTAX);
    memset(data, 0xff, 32);
    AT(96);
    CHECK_ERR(asy_abi_read_u64(&r, &v), ASY_ERR_RANGE);
    CHECK_ERR(asy_abi_read_u128(&r, &wide), ASY_ERR_RANGE);
    CHECK_ERR(asy_abi_read_bool(&r, &flag), ASY_ERR_RANGE);
    CHECK_ERR(asy_abi_read_addr(&r, &addr), ASY_ERR_RANGE);
    CHECK_ERR(asy_abi_read_bytes(&r, &s), ASY_ERR_SYNTAX); /* an offset of 2^256 - 1 */
    CHECK_ERR(asy_abi_read_array(&r, &in, &count, 1), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_abi_read_tuple(&r, &in), ASY_ERR_SYNTAX);
    CHECK_U64(r.pos, 0); /* a failed read takes nothing */
    CHECK_U64(v, 5);
    memset(data, 0, sizeof data);
    data[31] = 2;
    AT(96);
    CHECK_ERR(asy_abi_read_bool(&r, &flag), ASY_ERR_RANGE);
    data[23] = 1; /* 2^64 + 2 */
    CHECK_ERR(asy_abi_read_u64(&r, &v), ASY_ERR_RANGE);
    CHECK_OK(asy_abi_read_u128(&r, &wide));
    CHECK(wide == ((asy_u128)1 << 64) + 2);
    data[23] = 0;
    data[31] = 32; /* bytes at offset 32, whose length word is next */
    data[63] = 33; /* longer than the one word that is left */
    AT(96);
    CHECK_ERR(asy_abi_read_bytes(&r, &s), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_abi_read_array(&r, &in, &count, 1), ASY_ERR_SYNTAX);
    data[63] = 1;
    data[64] = 'x';
    CHECK_OK(asy_abi_read_bytes(&r, &s));
    CHECK(asy_bytes_eq(s, ASY_STR("x")));
    data[95] = 1; /* padding that is not zero */
    AT(96);
    CHECK_ERR(asy_abi_read_bytes(&r, &s), ASY_ERR_SYNTAX);
    AT(95); /* padding that is cut off */
    CHECK_ERR(asy_abi_read_bytes(&r, &s), ASY_ERR_SYNTAX);
    AT(63); /* the length word is cut off */
    CHECK_ERR(asy_abi_read_bytes(&r, &s), ASY_ERR_SYNTAX);
    memset(data + 32, 0xff, 32); /* count of 2^256 - 1 */
    AT(96);
    CHECK_ERR(asy_abi_read_array(&r, &in, &count, 1), ASY_ERR_SYNTAX);
    memset(data + 32, 0, 32);
    data[56] = 0x08; /* count * 32 is 2^64: would wrap to 0 */
    AT(96);
    CHECK_ERR(asy_abi_read_array(&r, &in, &count, 1), ASY_ERR_SYNTAX);
#undef AT
    struct asy_buf buf;
    struct asy_abi w;
    asy_buf_init(&buf, 64);
    asy_abi_init(&w, &buf, 1);
    asy_abi_array(&w, SIZE_MAX, 2);
    asy_abi_end(&w);
    CHECK_ERR(asy_abi_finish(&w), ASY_ERR_TOO_LONG);
    asy_buf_done(&buf);
}

static void check_revert(const char *hex, enum asy_abi_revert_kind kind, const char *text) {
    uint8_t data[256];
    char got[64];
    struct asy_abi_revert revert;
    size_t len = strlen(hex) / 2;
    CHECK_OK(asy_hex_decode(data, len, asy_bytes_cstr(hex)));
    asy_abi_revert_parse(&revert, asy_bytes_of(data, len));
    CHECK_U64(revert.kind, kind);
    asy_abi_revert_format(got, sizeof got, &revert);
    CHECK_STR(got, text);
}

static void reverts(void) {
    /* Solidity documentation, "revert": revert("Not enough Ether provided."); */
    check_revert("08c379a0" Z56 "00000020" Z56
                 "0000001a4e6f7420656e6f7567682045746865722070726f76696465642e" Z8 "0000",
                 ASY_ABI_REVERT_ERROR, "Not enough Ether provided.");
    check_revert("4e487b71" Z56 "00000011", ASY_ABI_REVERT_PANIC,
                 "panic 0x11: arithmetic overflow");
    check_revert("4e487b71" Z56 "00000099", ASY_ABI_REVERT_PANIC, "panic 0x99: unknown");
    check_revert("", ASY_ABI_REVERT_EMPTY, "reverted without a reason");
    check_revert("08c379", ASY_ABI_REVERT_ODD, "reverted with data that is no ABI error");
    check_revert("08c379a0" Z56 "00000020", ASY_ABI_REVERT_ODD,
                 "reverted with data that is no ABI error");
    check_revert("deadbeef" Z56 "00000020", ASY_ABI_REVERT_CUSTOM,
                 "custom error 0xdeadbeef with 32 bytes");
    check_revert("08c379a0" Z56 "00000020" Z56 "00000003410aff00" Z56, ASY_ABI_REVERT_ERROR, "A??");
    struct asy_abi_revert revert = {.kind = ASY_ABI_REVERT_ERROR, .reason = ASY_STR("0123456789")};
    char small[5];
    asy_abi_revert_format(small, sizeof small, &revert);
    CHECK_STR(small, "0123");
    uint8_t selector[4];
    asy_abi_selector(selector, "Error(string)");
    CHECK_MEM(selector, "\x08\xc3\x79\xa0", 4);
    asy_abi_selector(selector, "Panic(uint256)");
    CHECK_MEM(selector, "\x4e\x48\x7b\x71", 4);
    struct asy_hash topic, want;
    asy_abi_topic(&topic, "Transfer(address,address,uint256)");
    CHECK_OK(asy_hash_parse(
        &want, ASY_STR("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")));
    CHECK(asy_hash_eq(&topic, &want));
}

int main(void) {
    specification();
    settlement();
    nested();
    bounds();
    reverts();
    return asy_test_end();
}
