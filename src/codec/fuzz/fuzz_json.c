/* JSON: whatever parses has a canonical form, which is a fixed point and keeps within the limits.
 */
#include "codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_json *v, *again;
    struct asy_why why = {0};
    enum asy_err err = asy_json_parse(&v, asy_bytes_of(data, len), ASY_MAX_JSON_DEPTH, &why);
    if (err != ASY_OK) {
        ASY_ASSERT(why.text[0] != '\0' && asy_utf8_valid(asy_bytes_cstr(why.text)));
        return 0;
    }
    ASY_ASSERT(asy_utf8_valid(asy_bytes_of(data, len)));
    uint64_t scaled;
    int64_t scaled_i64;
    if (asy_json_scaled(&scaled, v, 6) == ASY_OK) { /* any answer, no fault */
        err = asy_json_scaled_i64(&scaled_i64, v, 6);
        ASY_ASSERT(err == ASY_OK && scaled_i64 >= 0 && (uint64_t)scaled_i64 == scaled);
    }
    (void)!asy_json_scaled_i64(&scaled_i64, v, 3);
    (void)!asy_json_refuse_unknown(v, "at", NULL, 0, &why);
    struct asy_buf one, two;
    asy_buf_init(&one, 32 * len + 64); /* a number like 1e21 grows to 22 digits */
    asy_buf_init(&two, 32 * len + 64);
    err = asy_json_canonical(&one, v);
    ASY_ASSERT(err == ASY_OK || err == ASY_ERR_RANGE);
    if (err == ASY_OK) {
        err = asy_json_parse(&again, asy_buf_bytes(&one), ASY_MAX_JSON_DEPTH, &why);
        /* a real like 1e20 is written as an integer that int64 does not hold */
        ASY_ASSERT(err == ASY_OK || err == ASY_ERR_RANGE || err == ASY_ERR_TOO_LONG);
        if (err == ASY_OK) {
            err = asy_json_canonical(&two, again);
            ASY_ASSERT(err == ASY_ERR_RANGE ||
                       asy_bytes_eq(asy_buf_bytes(&one), asy_buf_bytes(&two)));
            asy_json_free(again);
        }
    }
    asy_buf_done(&one);
    asy_buf_done(&two);
    asy_json_free(v);
    return 0;
}
