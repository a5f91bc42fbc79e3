/* Ed25519, X25519 and the AEAD against published vectors and Wycheproof. */
#include "crypto/crypto.h"
#include "vectors.h"

static void ed25519_sign(void) {
    struct vectors v;
    vectors_open(&v, "ed25519_sign.txt");
    while (vectors_next(&v)) {
        struct asy_ed25519_seckey key;
        struct asy_ed25519_pubkey pub;
        struct asy_ed25519_sig sig;
        asy_ed25519_from_seed(&key, v.field[0].p);
        asy_ed25519_pubkey(&pub, &key);
        CHECK_MEM(pub.b, v.field[1].p, 32);
        asy_ed25519_sign(&sig, &key, v.field[2]);
        CHECK_MEM(sig.b, v.field[3].p, 64);
        CHECK_OK(asy_ed25519_verify(&pub, v.field[2], &sig));
        sig.b[asy_test_random() % 64] ^= (uint8_t)(1u << asy_test_random() % 8);
        CHECK_ERR(asy_ed25519_verify(&pub, v.field[2], &sig), ASY_ERR_SIGNATURE);
    }
    CHECK_U64(v.cases, 64);
}

static void ed25519_verify(void) {
    struct vectors v;
    vectors_open(&v, "ed25519_verify.txt");
    while (vectors_next(&v)) {
        struct asy_ed25519_pubkey pub;
        struct asy_ed25519_sig sig;
        memcpy(pub.b, v.field[1].p, 32);
        memcpy(sig.b, v.field[3].p, 64);
        CHECK_ERR(asy_ed25519_verify(&pub, v.field[2], &sig),
                  strcmp(v.word[0], "valid") == 0 ? ASY_OK : ASY_ERR_SIGNATURE);
    }
    CHECK_U64(v.cases, 138);
    /* the neutral element as key and R with s = 0 fits every message: small order must be refused
     */
    const struct asy_ed25519_pubkey neutral = {{1}};
    const struct asy_ed25519_sig zero = {{1}};
    CHECK_ERR(asy_ed25519_verify(&neutral, ASY_STR("anything"), &zero), ASY_ERR_SIGNATURE);
}

static void x25519_vectors(void) {
    struct vectors v;
    size_t zero = 0;
    vectors_open(&v, "x25519.txt");
    while (vectors_next(&v)) {
        struct asy_x25519_seckey key;
        struct asy_x25519_pubkey peer;
        uint8_t shared[32] = {0xaa}, before[32] = {0xaa};
        memcpy(key.b, v.field[1].p, 32);
        memcpy(peer.b, v.field[2].p, 32);
        if (strcmp(v.word[0], "zero") == 0) {
            CHECK_ERR(asy_x25519_shared(shared, &key, &peer), ASY_ERR_RANGE);
            CHECK_MEM(shared, before, 32);
            zero++;
        } else {
            CHECK_OK(asy_x25519_shared(shared, &key, &peer));
            CHECK_MEM(shared, v.field[3].p, 32);
        }
    }
    CHECK_U64(v.cases, 518);
    CHECK(zero >= 20);
}

/* RFC 7748 section 5.2: k, u = X25519(k, u), k, a thousand times from the base point. */
static void x25519_iterated(void) {
    static const uint8_t want[32] = {0x68, 0x4c, 0xf5, 0x9b, 0xa8, 0x33, 0x09, 0x55,
                                     0x28, 0x00, 0xef, 0x56, 0x6f, 0x2f, 0x4d, 0x3c,
                                     0x1c, 0x38, 0x87, 0xc4, 0x93, 0x60, 0xe3, 0x87,
                                     0x5f, 0x2e, 0xb9, 0x4d, 0x99, 0x53, 0x2c, 0x51};
    struct asy_x25519_seckey k = {{9}};
    struct asy_x25519_pubkey u = {{9}};
    for (int i = 0; i < 1000; i++) {
        uint8_t out[32];
        CHECK_OK(asy_x25519_shared(out, &k, &u));
        memcpy(u.b, k.b, 32);
        memcpy(k.b, out, 32);
    }
    CHECK_MEM(k.b, want, 32);
}

static void x25519_agree(void) {
    struct asy_test_env t;
    asy_test_env_init(&t);
    struct asy_x25519_seckey a, b;
    struct asy_x25519_pubkey pa, pb;
    uint8_t ab[32], ba[32];
    asy_x25519_generate(&a, &t.env);
    asy_x25519_generate(&b, &t.env);
    asy_x25519_pubkey(&pa, &a);
    asy_x25519_pubkey(&pb, &b);
    CHECK_OK(asy_x25519_shared(ab, &a, &pb));
    CHECK_OK(asy_x25519_shared(ba, &b, &pa));
    CHECK_MEM(ab, ba, 32);
}

static void aead_vectors(void) {
    struct vectors v;
    vectors_open(&v, "xchacha20_poly1305.txt");
    while (vectors_next(&v)) {
        const bool valid = strcmp(v.word[0], "valid") == 0;
        struct asy_aead_key key;
        struct asy_aead_nonce nonce;
        uint8_t sealed[1024], opened[1024];
        memcpy(key.b, v.field[1].p, 32);
        memcpy(nonce.b, v.field[2].p, 24);
        const size_t n = v.field[4].n;
        CHECK(n + ASY_AEAD_TAG <= sizeof sealed && v.field[5].n == n &&
              v.field[6].n == ASY_AEAD_TAG);
        if (valid) {
            asy_aead_seal(sealed, &key, &nonce, v.field[3], v.field[4]);
            CHECK(n == 0 || memcmp(sealed, v.field[5].p, n) == 0);
            CHECK_MEM(sealed + n, v.field[6].p, ASY_AEAD_TAG);
        }
        if (n > 0) {
            memcpy(sealed, v.field[5].p, n);
        }
        memcpy(sealed + n, v.field[6].p, ASY_AEAD_TAG);
        const struct asy_bytes box = asy_bytes_of(sealed, n + ASY_AEAD_TAG);
        CHECK_ERR(asy_aead_open(opened, &key, &nonce, v.field[3], box),
                  valid ? ASY_OK : ASY_ERR_AUTH);
        CHECK(!valid || n == 0 || memcmp(opened, v.field[4].p, n) == 0);
    }
    CHECK_U64(v.cases, 306);
}

/* In place, and with anything changed. */
static void aead_round_trip(void) {
    struct asy_test_env t;
    asy_test_env_init(&t);
    for (size_t n = 0; n < 200; n++) {
        struct asy_aead_key key;
        struct asy_aead_nonce nonce;
        uint8_t plain[200], box[200 + ASY_AEAD_TAG], ad[20];
        asy_test_fill(key.b, 32);
        asy_test_fill(plain, n);
        asy_test_fill(ad, sizeof ad);
        asy_aead_nonce_generate(&nonce, &t.env);
        memcpy(box, plain, n);
        asy_aead_seal(box, &key, &nonce, asy_bytes_of(ad, n % 20), asy_bytes_of(box, n));
        uint8_t bad[sizeof box], out[sizeof box];
        memcpy(bad, box, n + ASY_AEAD_TAG);
        bad[asy_test_random() % (n + ASY_AEAD_TAG)] ^= (uint8_t)(1u << asy_test_random() % 8);
        CHECK_ERR(asy_aead_open(out, &key, &nonce, asy_bytes_of(ad, n % 20),
                                asy_bytes_of(bad, n + ASY_AEAD_TAG)),
                  ASY_ERR_AUTH);
        for (size_t i = 0; i < n; i++) {
            CHECK(out[i] == 0);
        }
        CHECK_ERR(asy_aead_open(out, &key, &nonce, asy_bytes_of(ad, n % 20 + 1),
                                asy_bytes_of(box, n + ASY_AEAD_TAG)),
                  ASY_ERR_AUTH);
        for (size_t cut = 1; cut <= ASY_AEAD_TAG; cut++) {
            CHECK_ERR(asy_aead_open(out, &key, &nonce, asy_bytes_of(ad, n % 20),
                                    asy_bytes_of(box, n + ASY_AEAD_TAG - cut)),
                      ASY_ERR_AUTH);
        }
        CHECK_OK(asy_aead_open(box, &key, &nonce, asy_bytes_of(ad, n % 20),
                               asy_bytes_of(box, n + ASY_AEAD_TAG)));
        CHECK(memcmp(box, plain, n) == 0);
    }
}

int main(void) {
    ed25519_sign();
    ed25519_verify();
    x25519_vectors();
    x25519_iterated();
    x25519_agree();
    aead_vectors();
    aead_round_trip();
    return asy_test_end();
}
