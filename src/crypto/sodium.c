#include <sodium.h>

#include "crypto/crypto_priv.h"

static_assert(crypto_sign_SECRETKEYBYTES == sizeof(struct asy_ed25519_seckey), "");
static_assert(crypto_sign_PUBLICKEYBYTES == sizeof(struct asy_ed25519_pubkey), "");
static_assert(crypto_sign_BYTES == sizeof(struct asy_ed25519_sig), "");
static_assert(crypto_scalarmult_BYTES == sizeof(struct asy_x25519_pubkey), "");
static_assert(crypto_scalarmult_SCALARBYTES == sizeof(struct asy_x25519_seckey), "");
static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == ASY_AEAD_TAG, "");
static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == sizeof(struct asy_aead_key), "");
static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == sizeof(struct asy_aead_nonce), "");

void asy_crypto_sodium(void) {
    ASY_ASSERT(sodium_init() >= 0); /* thread safe; 1 when done before */
}

/* ---- Ed25519 --------------------------------------------------------------------------------- */

void asy_ed25519_from_seed(struct asy_ed25519_seckey *ret_key, const uint8_t seed[32]) {
    struct asy_ed25519_pubkey pub;
    asy_crypto_sodium();
    (void)crypto_sign_seed_keypair(pub.b, ret_key->b, seed); /* always 0 */
}

void asy_ed25519_generate(struct asy_ed25519_seckey *ret_key, const struct asy_env *env) {
    uint8_t seed[32];
    asy_env_random(env, seed, sizeof seed);
    asy_ed25519_from_seed(ret_key, seed);
    asy_secret_wipe(seed, sizeof seed);
}

void asy_ed25519_pubkey(struct asy_ed25519_pubkey *ret_pub, const struct asy_ed25519_seckey *key) {
    memcpy(ret_pub->b, key->b + 32, sizeof ret_pub->b);
}

void asy_ed25519_sign(struct asy_ed25519_sig *ret_sig, const struct asy_ed25519_seckey *key,
                      struct asy_bytes message) {
    asy_crypto_sodium();
    (void)crypto_sign_detached(ret_sig->b, NULL, message.p, message.n, key->b); /* always 0 */
}

enum asy_err asy_ed25519_verify(const struct asy_ed25519_pubkey *pub, struct asy_bytes message,
                                const struct asy_ed25519_sig *sig) {
    asy_crypto_sodium();
    return crypto_sign_verify_detached(sig->b, message.p, message.n, pub->b) == 0
               ? ASY_OK
               : ASY_ERR_SIGNATURE;
}

/* ---- X25519 ---------------------------------------------------------------------------------- */

void asy_x25519_generate(struct asy_x25519_seckey *ret_key, const struct asy_env *env) {
    asy_env_random(env, ret_key->b, sizeof ret_key->b);
}

void asy_x25519_pubkey(struct asy_x25519_pubkey *ret_pub, const struct asy_x25519_seckey *key) {
    asy_crypto_sodium();
    (void)crypto_scalarmult_base(ret_pub->b, key->b); /* always 0 */
}

enum asy_err asy_x25519_shared(uint8_t ret_shared[32], const struct asy_x25519_seckey *key,
                               const struct asy_x25519_pubkey *peer) {
    asy_crypto_sodium();
    uint8_t shared[32];
    enum asy_err err = crypto_scalarmult(shared, key->b, peer->b) == 0 ? ASY_OK : ASY_ERR_RANGE;
    if (err == ASY_OK) {
        memcpy(ret_shared, shared, sizeof shared);
    }
    asy_secret_wipe(shared, sizeof shared);
    return err;
}

/* ---- AEAD ------------------------------------------------------------------------------------ */

void asy_aead_nonce_generate(struct asy_aead_nonce *ret_nonce, const struct asy_env *env) {
    asy_env_random(env, ret_nonce->b, sizeof ret_nonce->b);
}

void asy_aead_seal(uint8_t *ret_out, const struct asy_aead_key *key,
                   const struct asy_aead_nonce *nonce, struct asy_bytes ad, struct asy_bytes in) {
    asy_crypto_sodium();
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(ret_out, NULL, in.p, in.n, ad.p, ad.n, NULL,
                                                     nonce->b, key->b); /* always 0 */
}

enum asy_err asy_aead_open(uint8_t *ret_out, const struct asy_aead_key *key,
                           const struct asy_aead_nonce *nonce, struct asy_bytes ad,
                           struct asy_bytes in) {
    asy_crypto_sodium();
    return crypto_aead_xchacha20poly1305_ietf_decrypt(ret_out, NULL, NULL, in.p, in.n, ad.p, ad.n,
                                                      nonce->b, key->b) == 0
               ? ASY_OK
               : ASY_ERR_AUTH;
}
