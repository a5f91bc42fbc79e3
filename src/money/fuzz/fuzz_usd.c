/* An amount that parses is written in one shortest way, which parses to the same amount and is no
 * longer than the input. */
#include "money/money.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_usd usd, again;
    char text[ASY_USD_STR];
    if (asy_usd_parse(&usd, asy_bytes_of(data, len)) != ASY_OK) {
        return 0;
    }
    asy_usd_format(text, usd);
    const enum asy_err err = asy_usd_parse(&again, asy_bytes_cstr(text));
    ASY_ASSERT(err == ASY_OK && again.pico == usd.pico && strlen(text) <= len);
    return 0;
}
