/* Hex, quantities, decimals, base64: whatever is taken has one spelling, but for the case of hex
 * digits. */
#include "codec/codec.h"

#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_bytes in = asy_bytes_of(data, len);
    struct asy_buf bytes, text;
    asy_buf_init(&bytes, len + 8);
    asy_buf_init(&text, 2 * len + 8);
    static const enum asy_base64 variants[] = {ASY_BASE64_STD, ASY_BASE64_URL};
    for (size_t i = 0; i < ASY_COUNT(variants); i++) {
        asy_buf_clear(&bytes);
        asy_buf_clear(&text);
        if (asy_base64_decode(&bytes, in, variants[i]) == ASY_OK) {
            ASY_ASSERT(asy_base64_encode(&text, asy_buf_bytes(&bytes), variants[i]) == ASY_OK);
            ASY_ASSERT(asy_bytes_eq(asy_buf_bytes(&text), in));
        }
    }
    asy_buf_clear(&bytes);
    asy_buf_clear(&text);
    if (asy_0x_decode_buf(&bytes, in) == ASY_OK) {
        ASY_ASSERT(asy_0x_add(&text, asy_buf_bytes(&bytes)) == ASY_OK && text.n == len);
        ASY_ASSERT(strncasecmp(asy_buf_cstr(&text), (const char *)data, len) == 0);
    }
    uint8_t word[32];
    uint64_t small;
    asy_u128 wide;
    char spelling[ASY_QUANTITY_TEXT];
    if (asy_quantity_parse_u256(word, in) == ASY_OK) {
        asy_quantity_format_u256(spelling, word);
        ASY_ASSERT(strlen(spelling) == len && strncasecmp(spelling, (const char *)data, len) == 0);
    }
    if (asy_quantity_parse_u64(&small, in) == ASY_OK) {
        asy_quantity_format_u64(spelling, small);
        ASY_ASSERT(strlen(spelling) == len && strncasecmp(spelling, (const char *)data, len) == 0);
    }
    char decimal[ASY_U128_TEXT];
    if (asy_u128_parse(&wide, in) == ASY_OK) {
        size_t n = asy_u128_format(decimal, wide);
        ASY_ASSERT(asy_bytes_eq(asy_bytes_of(decimal, n), in));
    }
    struct asy_hash hash;
    (void)!asy_hash_parse(&hash, in); /* any answer, no fault */
    asy_buf_done(&bytes);
    asy_buf_done(&text);
    return 0;
}
