/* A chain amount that parses is written back byte for byte, in decimal and as an ABI word. */
#include "money/money.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_units units;
    char text[ASY_UNITS_STR];
    uint8_t word[32];
    if (asy_units_parse(&units, asy_bytes_of(data, len)) != ASY_OK) {
        return 0;
    }
    asy_units_format(text, units);
    ASY_ASSERT(asy_bytes_eq(asy_bytes_cstr(text), asy_bytes_of(data, len)));
    asy_units_put_be32(word, units);
    ASY_ASSERT(asy_units_cmp(asy_units_get_be32(word), units) == 0);
    return 0;
}
