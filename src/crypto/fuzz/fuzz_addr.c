/* An address that parses has one checksummed spelling, which parses to the same address. */
#include "crypto/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_addr addr, again;
    char text[ASY_ADDR_STR];
    if (asy_addr_parse(&addr, asy_bytes_of(data, len)) != ASY_OK) {
        return 0;
    }
    asy_addr_format(text, &addr);
    const enum asy_err err = asy_addr_parse(&again, asy_bytes_cstr(text));
    ASY_ASSERT(err == ASY_OK && asy_addr_eq(&addr, &again));
    return 0;
}
