/* Signing and recovery: published signatures, Wycheproof's edge cases, and every way in which a
 * signature may be malformed. */
#include <pthread.h>

#include "crypto/crypto.h"
#include "vectors.h"

static const uint8_t group_order[32] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41};

/* ret = a - b, big endian. */
static void sub32(uint8_t *ret, const uint8_t *a, const uint8_t *b) {
    int borrow = 0;
    for (size_t i = 32; i-- > 0;) {
        const int d = a[i] - b[i] - borrow;
        borrow = d < 0;
        ret[i] = (uint8_t)(d & 255);
    }
}

static void key_from_hex_byte(struct asy_seckey *key, uint8_t last) {
    memset(key, 0, sizeof *key);
    key->b[31] = last;
}

static void published(void) {
    struct vectors v;
    vectors_open(&v, "secp256k1_sign.txt");
    while (vectors_next(&v)) {
        struct asy_seckey key;
        struct asy_hash hash;
        struct asy_sig sig;
        struct asy_addr addr;
        memcpy(key.b, v.field[0].p, 32);
        memcpy(hash.b, v.field[1].p, 32);
        CHECK_OK(asy_secp_sign(&sig, &key, &hash));
        CHECK_MEM(sig.b, v.field[2].p, 65);
        CHECK_OK(asy_secp_addr(&addr, &key));
        CHECK_OK(asy_secp_verify(&addr, &hash, &sig));
    }
    CHECK_U64(v.cases, 8);
}

static void addresses(void) {
    /* the address of key 1, and that of the first account of Ethereum's development mnemonic ("test
     * test ... junk") */
    static const uint8_t dev_key[32] = {0xac, 0x09, 0x74, 0xbe, 0xc3, 0x9a, 0x17, 0xe3,
                                        0x6b, 0xa4, 0xa6, 0xb4, 0xd2, 0x38, 0xff, 0x94,
                                        0x4b, 0xac, 0xb4, 0x78, 0xcb, 0xed, 0x5e, 0xfc,
                                        0xae, 0x78, 0x4d, 0x7b, 0xf4, 0xf2, 0xff, 0x80};
    struct asy_seckey key;
    struct asy_addr addr;
    char text[ASY_ADDR_STR];
    key_from_hex_byte(&key, 1);
    CHECK_OK(asy_secp_addr(&addr, &key));
    asy_addr_format(text, &addr);
    CHECK_STR(text, "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
    memcpy(key.b, dev_key, 32);
    CHECK_OK(asy_secp_addr(&addr, &key));
    asy_addr_format(text, &addr);
    CHECK_STR(text, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
}

static void key_ranges(void) {
    struct asy_seckey key;
    struct asy_sig sig;
    struct asy_addr addr;
    const struct asy_hash hash = {{1}};
    key_from_hex_byte(&key, 0);
    CHECK_ERR(asy_seckey_check(&key), ASY_ERR_RANGE);
    CHECK_ERR(asy_secp_sign(&sig, &key, &hash), ASY_ERR_RANGE);
    CHECK_ERR(asy_secp_addr(&addr, &key), ASY_ERR_RANGE);
    memcpy(key.b, group_order, 32);
    CHECK_ERR(asy_seckey_check(&key), ASY_ERR_RANGE);
    CHECK_ERR(asy_secp_sign(&sig, &key, &hash), ASY_ERR_RANGE);
    key.b[31]--;
    CHECK_OK(asy_seckey_check(&key));
    CHECK_OK(asy_secp_sign(&sig, &key, &hash));
}

/* Random keys and hashes: the signature names the signer; any other hash, signer or bit does not.
 */
static void round_trip(void) {
    struct asy_test_env t;
    asy_test_env_init(&t);
    for (int i = 0; i < 200; i++) {
        struct asy_seckey key;
        struct asy_hash hash, other;
        struct asy_sig sig;
        struct asy_addr addr, got;
        asy_seckey_generate(&key, &t.env);
        asy_test_fill(hash.b, 32);
        CHECK_OK(asy_secp_addr(&addr, &key));
        CHECK_OK(asy_secp_sign(&sig, &key, &hash));
        CHECK_OK(asy_secp_recover(&got, &hash, &sig));
        CHECK(asy_addr_eq(&addr, &got));
        CHECK_OK(asy_secp_verify(&addr, &hash, &sig));

        other = hash;
        other.b[asy_test_random() % 32] ^= (uint8_t)(1u << asy_test_random() % 8);
        CHECK_ERR(asy_secp_verify(&addr, &other, &sig), ASY_ERR_SIGNATURE);
        got.b[asy_test_random() % 20] ^= (uint8_t)(1u << asy_test_random() % 8);
        CHECK_ERR(asy_secp_verify(&got, &hash, &sig), ASY_ERR_SIGNATURE);

        /* the twin with the other s and v is a good ECDSA signature, and must not be taken */
        struct asy_sig twin = sig;
        sub32(twin.b + 32, group_order, sig.b + 32);
        twin.b[64] ^= 27 ^ 28;
        CHECK_ERR(asy_secp_verify(&addr, &hash, &twin), ASY_ERR_SIGNATURE);

        struct asy_sig bad = sig;
        bad.b[asy_test_random() % 65] ^= (uint8_t)(1u << asy_test_random() % 8);
        CHECK_ERR(asy_secp_verify(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
    }
}

static void malformed(void) {
    struct asy_seckey key;
    struct asy_sig good, bad;
    struct asy_addr addr = {{0xee}};
    const struct asy_addr before = addr;
    const struct asy_hash hash = {{7}};
    key_from_hex_byte(&key, 42);
    CHECK_OK(asy_secp_sign(&good, &key, &hash));
    for (unsigned v = 0; v < 256; v++) {
        bad = good;
        bad.b[64] = (uint8_t)v;
        if (v != 27 && v != 28) {
            CHECK_ERR(asy_secp_recover(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
        }
    }
    bad = good;
    memset(bad.b, 0, 32);
    CHECK_ERR(asy_secp_recover(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
    bad = good;
    memset(bad.b + 32, 0, 32);
    CHECK_ERR(asy_secp_recover(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
    bad = good;
    memcpy(bad.b, group_order, 32);
    CHECK_ERR(asy_secp_recover(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
    bad = good;
    memcpy(bad.b + 32, group_order, 32);
    CHECK_ERR(asy_secp_recover(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
    memset(bad.b, 0, 65);
    CHECK_ERR(asy_secp_recover(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
    memset(bad.b, 0xff, 64);
    bad.b[64] = 27;
    CHECK_ERR(asy_secp_recover(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
    /* x = 5 lies on no point of the curve */
    memset(bad.b, 0, 32);
    bad.b[31] = 5;
    memcpy(bad.b + 32, good.b + 32, 32);
    CHECK_ERR(asy_secp_recover(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
    CHECK(asy_addr_eq(&addr, &before));

    /* the border of low s: half of the order passes, one more does not */
    bad = good;
    uint8_t half[32];
    int carry = 0;
    for (size_t i = 0; i < 32; i++) {
        half[i] = (uint8_t)(group_order[i] >> 1 | carry << 7);
        carry = group_order[i] & 1;
    }
    memcpy(bad.b + 32, half, 32);
    CHECK_OK(asy_secp_recover(&addr, &hash, &bad));
    bad.b[63]++;
    CHECK_ERR(asy_secp_recover(&addr, &hash, &bad), ASY_ERR_SIGNATURE);
}

/* Wycheproof judges plain ECDSA. Ours is narrower: s must be low (a high one is lowered here
 * first), and r must be below the order as x is, since v has no room for the 2^-127 case that it
 * is not. */
static void wycheproof(void) {
    struct vectors v;
    size_t passed = 0, wide = 0;
    vectors_open(&v, "ecdsa_secp256k1.txt");
    while (vectors_next(&v)) {
        const bool valid = strcmp(v.word[0], "valid") == 0;
        struct asy_hash hash;
        struct asy_sig sig;
        struct asy_addr signer;
        struct asy_pubkey pub;
        memcpy(pub.b, v.field[1].p, 64);
        asy_pubkey_addr(&signer, &pub);
        asy_sha256(&hash, v.field[2]);
        memcpy(sig.b, v.field[3].p, 64);
        sig.b[64] = 27;
        uint8_t mirrored[32];
        sub32(mirrored, group_order, sig.b + 32);
        const bool high = memcmp(sig.b + 32, mirrored, 32) > 0;
        if (high) {
            CHECK_ERR(asy_secp_verify(&signer, &hash, &sig), ASY_ERR_SIGNATURE);
            sig.b[64] = 28;
            CHECK_ERR(asy_secp_verify(&signer, &hash, &sig), ASY_ERR_SIGNATURE);
            if (memcmp(v.field[3].p + 32, group_order, 32) < 0) {
                memcpy(sig.b + 32, mirrored, 32);
            }
        }
        bool ok = false;
        for (uint8_t parity = 0; parity < 2; parity++) {
            sig.b[64] = (uint8_t)(27 + parity);
            struct asy_pubkey got;
            ok = ok || (asy_secp_recover_pubkey(&got, &hash, &sig) == ASY_OK &&
                        memcmp(got.b, pub.b, 64) == 0);
        }
        CHECK(valid || !ok);
        for (uint8_t v29 = 29; v29 <= 30; v29++) {
            struct asy_addr got;
            sig.b[64] = v29;
            CHECK_ERR(asy_secp_recover(&got, &hash, &sig), ASY_ERR_SIGNATURE);
        }
        passed += valid && ok;
        wide += valid && !ok;
    }
    CHECK_U64(v.cases, 224);
    printf("wycheproof: %zu valid recovered, %zu valid need v 29 or 30\n", passed, wide);
    CHECK_U64(wide, 1);
    CHECK(passed > 150);
}

/* The shared context is made by whichever thread comes first. */
static void *sign_many(void *arg) {
    const struct asy_seckey *key = arg;
    struct asy_addr addr;
    for (uint8_t i = 0; i < 50; i++) {
        const struct asy_hash hash = {{i, 1}};
        struct asy_sig sig;
        if (asy_secp_addr(&addr, key) != ASY_OK || asy_secp_sign(&sig, key, &hash) != ASY_OK ||
            asy_secp_verify(&addr, &hash, &sig) != ASY_OK) {
            return arg;
        }
    }
    return NULL;
}

static void threads(void) {
    struct asy_seckey key[4];
    pthread_t thread[4];
    for (uint8_t i = 0; i < 4; i++) {
        key_from_hex_byte(&key[i], (uint8_t)(i + 1));
        CHECK(pthread_create(&thread[i], NULL, sign_many, &key[i]) == 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *failed;
        CHECK(pthread_join(thread[i], &failed) == 0 && failed == NULL);
    }
}

int main(void) {
    threads(); /* first: the context does not exist yet */
    published();
    addresses();
    key_ranges();
    round_trip();
    malformed();
    wycheproof();
    return asy_test_end();
}
