#include <pthread.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>

#include "crypto/crypto.h"

/* Half of the group order: the largest s that Ethereum and the contracts take (EIP-2). */
static const uint8_t half_order[32] = {
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
};

static pthread_once_t context_once = PTHREAD_ONCE_INIT;
static secp256k1_context *shared_context;

static void make_context(void) {
    secp256k1_context *c =
        secp256k1_context_create(SECP256K1_CONTEXT_SIGN | SECP256K1_CONTEXT_VERIFY);
    ASY_ASSERT(c != NULL);
    uint8_t blind[32];
    asy_env_random(asy_env_system(), blind,
                   sizeof blind); /* never seen in a result, so not part of a caller's env */
    ASY_ASSERT(secp256k1_context_randomize(c, blind) == 1);
    asy_secret_wipe(blind, sizeof blind);
    shared_context = c;
}

/* After the first call the context is only read, which any number of threads may do. It lives as
 * long as the process. */
static const secp256k1_context *context(void) {
    ASY_ASSERT(pthread_once(&context_once, make_context) == 0);
    return shared_context;
}

static void serialize(struct asy_pubkey *ret_pub, const secp256k1_pubkey *pub) {
    uint8_t out[65];
    size_t len = sizeof out;
    ASY_ASSERT(
        secp256k1_ec_pubkey_serialize(context(), out, &len, pub, SECP256K1_EC_UNCOMPRESSED) == 1);
    memcpy(ret_pub->b, out + 1, sizeof ret_pub->b);
}

void asy_seckey_generate(struct asy_seckey *ret_key, const struct asy_env *env) {
    do {
        asy_env_random(env, ret_key->b, sizeof ret_key->b);
    } while (secp256k1_ec_seckey_verify(context(), ret_key->b) != 1); /* again: chance 2^-127 */
}

enum asy_err asy_seckey_check(const struct asy_seckey *key) {
    return secp256k1_ec_seckey_verify(context(), key->b) == 1 ? ASY_OK : ASY_ERR_RANGE;
}

enum asy_err asy_secp_pubkey(struct asy_pubkey *ret_pub, const struct asy_seckey *key) {
    secp256k1_pubkey pub;
    if (secp256k1_ec_pubkey_create(context(), &pub, key->b) != 1) {
        return ASY_ERR_RANGE;
    }
    serialize(ret_pub, &pub);
    return ASY_OK;
}

void asy_pubkey_addr(struct asy_addr *ret_addr, const struct asy_pubkey *pub) {
    struct asy_hash hash;
    asy_keccak256(&hash, asy_bytes_of(pub->b, sizeof pub->b));
    memcpy(ret_addr->b, hash.b + 12, sizeof ret_addr->b);
}

enum asy_err asy_secp_addr(struct asy_addr *ret_addr, const struct asy_seckey *key) {
    struct asy_pubkey pub;
    ASY_TRY(asy_secp_pubkey(&pub, key));
    asy_pubkey_addr(ret_addr, &pub);
    return ASY_OK;
}

enum asy_err asy_secp_sign(struct asy_sig *ret_sig, const struct asy_seckey *key,
                           const struct asy_hash *hash) {
    secp256k1_ecdsa_recoverable_signature sig;
    /* no extra entropy: RFC 6979 as written; the library lowers s itself */
    if (secp256k1_ecdsa_sign_recoverable(context(), &sig, hash->b, key->b,
                                         secp256k1_nonce_function_rfc6979, NULL) != 1) {
        return ASY_ERR_RANGE;
    }
    uint8_t out[64];
    int parity;
    (void)secp256k1_ecdsa_recoverable_signature_serialize_compact(context(), out, &parity,
                                                                  &sig); /* always 1 */
    if (parity > 1) {
        return ASY_ERR_INTERNAL;
    }
    memcpy(ret_sig->b, out, sizeof out);
    ret_sig->b[64] = (uint8_t)(27 + parity);
    return ASY_OK;
}

enum asy_err asy_secp_recover_pubkey(struct asy_pubkey *ret_pub, const struct asy_hash *hash,
                                     const struct asy_sig *sig) {
    const uint8_t v = sig->b[64];
    if ((v != 27 && v != 28) || memcmp(sig->b + 32, half_order, sizeof half_order) > 0) {
        return ASY_ERR_SIGNATURE;
    }
    secp256k1_ecdsa_recoverable_signature parsed;
    secp256k1_pubkey pub;
    if (secp256k1_ecdsa_recoverable_signature_parse_compact(context(), &parsed, sig->b, v - 27) !=
            1 ||
        secp256k1_ecdsa_recover(context(), &pub, &parsed, hash->b) != 1) {
        return ASY_ERR_SIGNATURE;
    }
    serialize(ret_pub, &pub);
    return ASY_OK;
}

enum asy_err asy_secp_recover(struct asy_addr *ret_addr, const struct asy_hash *hash,
                              const struct asy_sig *sig) {
    struct asy_pubkey pub;
    ASY_TRY(asy_secp_recover_pubkey(&pub, hash, sig));
    asy_pubkey_addr(ret_addr, &pub);
    return ASY_OK;
}

enum asy_err asy_secp_verify(const struct asy_addr *signer, const struct asy_hash *hash,
                             const struct asy_sig *sig) {
    struct asy_addr addr;
    ASY_TRY(asy_secp_recover(&addr, hash, sig));
    return asy_addr_eq(&addr, signer) ? ASY_OK : ASY_ERR_SIGNATURE;
}
