/* RLP: the vectors of ethereum/tests, round trips, strictness. */
#include "codec/codec.h"
#include "lines.h"

/* Writes the value that `text` stands for ("-", hex, or [a,b]); returns what follows it. */
static const char *write_value(struct asy_rlp *w, const char *text) {
    if (*text == '[') {
        asy_rlp_list(w);
        text++;
        while (*text != ']') {
            text = write_value(w, text);
            text += *text == ',' ? 1 : 0;
        }
        asy_rlp_end(w);
        return text + 1;
    }
    size_t len = strcspn(text, ",]");
    uint8_t bytes[2048];
    if (*text == '-') {
        asy_rlp_bytes(w, asy_bytes_of(NULL, 0));
    } else {
        CHECK_OK(asy_hex_decode(bytes, len / 2, asy_bytes_of(text, len)));
        asy_rlp_bytes(w, asy_bytes_of(bytes, len / 2));
    }
    return text + len;
}

/* Decodes everything, writing it again. */
static enum asy_err copy_items(struct asy_rlp *w, struct asy_bytes in, int depth) {
    while (in.n != 0) {
        struct asy_rlp_item item;
        ASY_TRY(asy_rlp_next(&item, &in));
        if (!item.list) {
            asy_rlp_bytes(w, item.data);
            continue;
        }
        if (depth == 0) {
            return ASY_ERR_SYNTAX;
        }
        asy_rlp_list(w);
        enum asy_err err = copy_items(w, item.data, depth - 1);
        asy_rlp_end(w);
        ASY_TRY(err);
    }
    return ASY_OK;
}

static void vectors(void) {
    struct lines l;
    lines_open(&l, "src/codec/vectors/rlp.txt");
    while (lines_next(&l)) {
        struct asy_buf want, got;
        asy_buf_init(&want, 4096);
        asy_buf_init(&got, 4096);
        uint8_t *to;
        size_t len = strlen(l.field[1]) / 2;
        CHECK_OK(asy_buf_reserve(&want, &to, len));
        CHECK_OK(asy_hex_decode(to, len, asy_bytes_cstr(l.field[1])));
        asy_buf_grow(&want, len);
        struct asy_rlp w;
        asy_rlp_init(&w, &got);
        struct asy_rlp_item item;
        if (strcmp(l.field[0], "valid") == 0) {
            write_value(&w, l.field[2]);
            CHECK_OK(asy_rlp_finish(&w));
            CHECK(asy_bytes_eq(asy_buf_bytes(&got), asy_buf_bytes(&want)));
            CHECK_OK(asy_rlp_one(&item, asy_buf_bytes(&want)));
            asy_buf_clear(&got);
            CHECK_OK(copy_items(&w, asy_buf_bytes(&want), 8));
            CHECK(asy_bytes_eq(asy_buf_bytes(&got), asy_buf_bytes(&want)));
        } else {
            CHECK_ERR(copy_items(&w, asy_buf_bytes(&want), 8), ASY_ERR_SYNTAX);
        }
        asy_buf_done(&want);
        asy_buf_done(&got);
    }
    CHECK_U64(l.cases, 44);
}

static struct asy_bytes hex(uint8_t *to, const char *text) {
    size_t len = strlen(text) / 2;
    CHECK_OK(asy_hex_decode(to, len, asy_bytes_cstr(text)));
    return asy_bytes_of(to, len);
}

static void typed_reading(void) {
    uint8_t b[64], fixed[2], word[32];
    uint64_t v = 7;
    asy_u128 wide = 7;
    struct asy_bytes in = hex(b, "80"), items;
    CHECK_OK(asy_rlp_next_u64(&v, &in));
    CHECK(v == 0 && in.n == 0);
    in = hex(b, "88ffffffffffffffff83646f67c0");
    CHECK_OK(asy_rlp_next_u64(&v, &in));
    CHECK_U64(v, UINT64_MAX);
    CHECK_ERR(asy_rlp_next_fixed(fixed, 2, &in), ASY_ERR_MISMATCH);
    CHECK_ERR(asy_rlp_next_list(&items, &in), ASY_ERR_TYPE);
    CHECK_OK(asy_rlp_next_bytes(&items, &in));
    CHECK(asy_bytes_eq(items, ASY_STR("dog")));
    CHECK_ERR(asy_rlp_next_u64(&v, &in), ASY_ERR_TYPE);
    CHECK_OK(asy_rlp_next_list(&items, &in));
    CHECK(items.n == 0 && in.n == 0);
    CHECK_ERR(asy_rlp_next_list(&items, &in), ASY_ERR_SYNTAX);
    in = hex(b, "820001"); /* a number with a leading zero */
    CHECK_ERR(asy_rlp_next_u64(&v, &in), ASY_ERR_SYNTAX);
    CHECK_U64(in.n, 3);
    CHECK_OK(asy_rlp_next_fixed(fixed, 2, &in));
    CHECK(fixed[0] == 0 && fixed[1] == 1);
    in = hex(b, "00"); /* zero is 80, not 00 */
    CHECK_ERR(asy_rlp_next_u64(&v, &in), ASY_ERR_SYNTAX);
    in = hex(b, "89010000000000000000");
    CHECK_ERR(asy_rlp_next_u64(&v, &in), ASY_ERR_OVERFLOW);
    CHECK_OK(asy_rlp_next_u128(&wide, &in));
    CHECK(wide == (asy_u128)1 << 64);
    in = hex(b, "a1010000000000000000000000000000000000000000000000000000000000000000");
    CHECK_ERR(asy_rlp_next_u256(word, &in), ASY_ERR_OVERFLOW);
    struct asy_rlp_item item;
    CHECK_ERR(asy_rlp_one(&item, hex(b, "0101")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_rlp_one(&item, asy_bytes_of(NULL, 0)), ASY_ERR_SYNTAX);
}

/* 55 bytes have the short header, 56 the long one; each way only. */
static void length_boundary(void) {
    for (size_t len = 55; len <= 56; len++) {
        uint8_t in[58] = {0};
        struct asy_rlp_item item;
        static const uint8_t bases[] = {0x80, 0xc0};
        for (size_t i = 0; i < ASY_COUNT(bases); i++) {
            in[0] = (uint8_t)(bases[i] + 56); /* one byte of length */
            in[1] = (uint8_t)len;
            CHECK_ERR(asy_rlp_one(&item, asy_bytes_of(in, len + 2)),
                      len == 56 ? ASY_OK : ASY_ERR_SYNTAX);
            in[0] = (uint8_t)(bases[i] + 55);
            CHECK_ERR(asy_rlp_one(&item, asy_bytes_of(in, 56)), ASY_OK);
        }
    }
}

static void numbers_round_trip(void) {
    for (int i = 0; i < 500; i++) {
        uint64_t v = asy_test_random() >> (asy_test_random() % 64), v2;
        asy_u128 w = ((asy_u128)asy_test_random() << 64 | asy_test_random()) >>
                     (asy_test_random() % 128),
                 w2;
        uint8_t x[32] = {0}, x2[32];
        size_t len = asy_test_random() % 33;
        asy_test_fill(x + 32 - len, len);
        struct asy_hash h;
        struct asy_addr a;
        asy_test_fill(&h, sizeof h);
        asy_test_fill(&a, sizeof a);
        struct asy_buf buf;
        asy_buf_init(&buf, 512);
        struct asy_rlp rlp;
        asy_rlp_init(&rlp, &buf);
        asy_rlp_list(&rlp);
        asy_rlp_u64(&rlp, v);
        asy_rlp_u128(&rlp, w);
        asy_rlp_u256(&rlp, x);
        asy_rlp_hash(&rlp, &h);
        asy_rlp_addr(&rlp, &a);
        asy_rlp_raw(&rlp, ASY_STR("\x01"));
        asy_rlp_end(&rlp);
        CHECK_OK(asy_rlp_finish(&rlp));
        struct asy_bytes in = asy_buf_bytes(&buf), items;
        CHECK_OK(asy_rlp_next_list(&items, &in));
        CHECK_OK(asy_rlp_next_u64(&v2, &items));
        CHECK_OK(asy_rlp_next_u128(&w2, &items));
        CHECK_OK(asy_rlp_next_u256(x2, &items));
        CHECK(v == v2 && w == w2 && memcmp(x, x2, 32) == 0);
        struct asy_hash h2;
        struct asy_addr a2;
        CHECK_OK(asy_rlp_next_fixed(h2.b, 32, &items));
        CHECK_OK(asy_rlp_next_fixed(a2.b, 20, &items));
        CHECK(asy_hash_eq(&h, &h2) && asy_addr_eq(&a, &a2));
        CHECK_OK(asy_rlp_next_u64(&v2, &items));
        CHECK(v2 == 1 && items.n == 0);
        asy_buf_done(&buf);
    }
}

static void too_long(void) {
    struct asy_buf buf;
    asy_buf_init(&buf, 56); /* the payload fits, its header does not */
    uint8_t bytes[55] = {1};
    struct asy_rlp w;
    asy_rlp_init(&w, &buf);
    asy_rlp_list(&w);
    asy_rlp_bytes(&w, asy_bytes_of(bytes, sizeof bytes));
    asy_rlp_end(&w);
    CHECK_ERR(asy_rlp_finish(&w), ASY_ERR_TOO_LONG);
    asy_buf_done(&buf);
}

int main(void) {
    vectors();
    typed_reading();
    length_boundary();
    numbers_round_trip();
    too_long();
    return asy_test_end();
}
