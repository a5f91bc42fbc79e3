/* ABI decoding: views stay inside the data; what is read as
 * (bytes,bool,uint256[],(address,bytes)[]) encodes to a value that reads the same. Revert data
 * gives one printable line. */
#include "codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool inside(struct asy_bytes all, struct asy_bytes part) {
    return part.n == 0 ||
           (part.p >= all.p && part.n <= all.n && (size_t)(part.p - all.p) <= all.n - part.n);
}

static void read_all(struct asy_bytes data) {
    struct asy_abi_reader r, numbers, tuples, tuple;
    struct asy_bytes s, inner;
    struct asy_addr addr;
    bool flag;
    size_t count, tuple_count;
    uint8_t word[32];
    asy_abi_read(&r, data);
    if (asy_abi_read_bytes(&r, &s) != ASY_OK || asy_abi_read_bool(&r, &flag) != ASY_OK ||
        asy_abi_read_array(&r, &numbers, &count, 1) != ASY_OK) {
        return;
    }
    ASY_ASSERT(inside(data, s));
    struct asy_buf buf;
    struct asy_abi w;
    asy_buf_init(&buf, 8 * data.n + 4096);
    asy_abi_init(&w, &buf, 3);
    asy_abi_bytes(&w, s);
    asy_abi_bool(&w, flag);
    asy_abi_array(&w, count, 1);
    for (size_t i = 0; i < count; i++) { /* the heads were checked to be there */
        ASY_ASSERT(asy_abi_read_word(&numbers, word) == ASY_OK);
        asy_abi_word(&w, word);
    }
    asy_abi_end(&w);
    ASY_ASSERT(asy_abi_finish(&w) == ASY_OK);
    struct asy_abi_reader again;
    asy_abi_read(&again, asy_buf_bytes(&buf));
    ASY_ASSERT(asy_abi_read_bytes(&again, &inner) == ASY_OK && asy_bytes_eq(s, inner));
    asy_buf_done(&buf);
    if (asy_abi_read_array(&r, &tuples, &tuple_count, 1) != ASY_OK) {
        return;
    }
    for (size_t i = 0; i < tuple_count && i < 64; i++) {
        if (asy_abi_read_tuple(&tuples, &tuple) != ASY_OK ||
            asy_abi_read_addr(&tuple, &addr) != ASY_OK ||
            asy_abi_read_bytes(&tuple, &inner) != ASY_OK) {
            return;
        }
        ASY_ASSERT(inside(data, inner));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_bytes in = asy_bytes_of(data, len);
    read_all(in);
    struct asy_abi_revert revert;
    char text[80];
    asy_abi_revert_parse(&revert, in);
    ASY_ASSERT(inside(in, revert.reason));
    asy_abi_revert_format(text, sizeof text, &revert);
    for (const char *p = text; *p != '\0'; p++) {
        ASY_ASSERT(*p >= 0x20 && *p < 0x7f);
    }
    return 0;
}
