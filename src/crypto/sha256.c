/* SHA-256 through libcrypto's low-level interface. It is marked as deprecated because it goes past
 * OpenSSL's providers; it is used here all the same since its state is a plain value (the EVP
 * interface allocates one per digest) and it uses the CPU's SHA instructions. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "crypto/crypto.h"

static_assert(sizeof(SHA256_CTX) <= sizeof(struct asy_sha256),
              "struct asy_sha256 holds libcrypto's state");
static_assert(_Alignof(SHA256_CTX) <= _Alignof(struct asy_sha256), "and its alignment");

/* The library's calls fail only on a NULL state. */
static void must(int rc) { ASY_ASSERT(rc == 1); }

void asy_sha256_init(struct asy_sha256 *s) {
    SHA256_CTX c;
    must(SHA256_Init(&c));
    memcpy(s->opaque, &c, sizeof c);
}

void asy_sha256_add(struct asy_sha256 *s, struct asy_bytes in) {
    SHA256_CTX c;
    memcpy(&c, s->opaque, sizeof c);
    must(SHA256_Update(&c, in.p, in.n));
    memcpy(s->opaque, &c, sizeof c);
}

void asy_sha256_final(struct asy_sha256 *s, struct asy_hash *ret_hash) {
    SHA256_CTX c;
    memcpy(&c, s->opaque, sizeof c);
    must(SHA256_Final(ret_hash->b, &c));
    memset(s, 0, sizeof *s);
    asy_secret_wipe(&c, sizeof c);
}

void asy_sha256(struct asy_hash *ret_hash, struct asy_bytes in) {
    struct asy_sha256 s;
    asy_sha256_init(&s);
    asy_sha256_add(&s, in);
    asy_sha256_final(&s, ret_hash);
}

struct hmac {
    struct asy_sha256 inner, outer;
};

static void hmac_init(struct hmac *h, struct asy_bytes key) {
    uint8_t block[64] = {0};
    if (key.n > sizeof block) {
        struct asy_hash hashed;
        asy_sha256(&hashed, key);
        memcpy(block, hashed.b, sizeof hashed.b);
        asy_secret_wipe(&hashed, sizeof hashed);
    } else if (key.n > 0) {
        memcpy(block, key.p, key.n);
    }
    for (size_t i = 0; i < sizeof block; i++) {
        block[i] ^= 0x36;
    }
    asy_sha256_init(&h->inner);
    asy_sha256_add(&h->inner, asy_bytes_of(block, sizeof block));
    for (size_t i = 0; i < sizeof block; i++) {
        block[i] ^= 0x36 ^ 0x5c;
    }
    asy_sha256_init(&h->outer);
    asy_sha256_add(&h->outer, asy_bytes_of(block, sizeof block));
    asy_secret_wipe(block, sizeof block);
}

static void hmac_final(struct hmac *h, struct asy_hash *ret_mac) {
    struct asy_hash inner;
    asy_sha256_final(&h->inner, &inner);
    asy_sha256_add(&h->outer, asy_bytes_of(inner.b, sizeof inner.b));
    asy_sha256_final(&h->outer, ret_mac);
    asy_secret_wipe(&inner, sizeof inner);
}

void asy_hmac_sha256(struct asy_hash *ret_mac, struct asy_bytes key, struct asy_bytes in) {
    struct hmac h;
    hmac_init(&h, key);
    asy_sha256_add(&h.inner, in);
    hmac_final(&h, ret_mac);
}

void asy_hkdf_sha256(uint8_t *ret_out, size_t len, struct asy_bytes salt, struct asy_bytes key,
                     struct asy_bytes info) {
    ASY_ASSERT(len <= ASY_HKDF_MAX);
    struct asy_hash prk, block;
    struct hmac keyed;
    asy_hmac_sha256(&prk, salt, key); /* HMAC pads an empty salt with zeros, as the RFC asks */
    hmac_init(&keyed, asy_bytes_of(prk.b, sizeof prk.b));
    for (size_t done = 0, i = 1; done < len; i++) {
        struct hmac h = keyed;
        if (i > 1) {
            asy_sha256_add(&h.inner, asy_bytes_of(block.b, sizeof block.b));
        }
        asy_sha256_add(&h.inner, info);
        const uint8_t counter = (uint8_t)i;
        asy_sha256_add(&h.inner, asy_bytes_of(&counter, 1));
        hmac_final(&h, &block);
        const size_t n = len - done < sizeof block.b ? len - done : sizeof block.b;
        memcpy(ret_out + done, block.b, n);
        done += n;
    }
    asy_secret_wipe(&prk, sizeof prk);
    asy_secret_wipe(&block, sizeof block);
    asy_secret_wipe(&keyed, sizeof keyed);
}
