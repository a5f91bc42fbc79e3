/* Input: hash || r || s || v. What recovers is unambiguous: the same signature with the other v is
 * another's, with the other s nobody's. */
#include "crypto/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_hash hash;
    struct asy_sig sig;
    struct asy_addr addr, other;
    if (len != sizeof hash.b + sizeof sig.b) {
        return 0;
    }
    memcpy(hash.b, data, sizeof hash.b);
    memcpy(sig.b, data + sizeof hash.b, sizeof sig.b);
    if (asy_secp_recover(&addr, &hash, &sig) != ASY_OK) {
        return 0;
    }
    enum asy_err err = asy_secp_verify(&addr, &hash, &sig);
    ASY_ASSERT(err == ASY_OK);
    ASY_ASSERT((sig.b[32] & 0x80) == 0); /* low s */
    sig.b[64] ^= 27 ^ 28;
    err = asy_secp_recover(&other, &hash, &sig);
    ASY_ASSERT(err != ASY_OK || !asy_addr_eq(&addr, &other));
    sig.b[32] |= 0x80; /* high s */
    err = asy_secp_recover(&other, &hash, &sig);
    ASY_ASSERT(err == ASY_ERR_SIGNATURE);
    return 0;
}
