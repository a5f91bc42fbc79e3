/* Constant time: under valgrind every secret is marked undefined, so that memcheck reports each
 * branch and each address that depends on one. The program starts itself again under valgrind;
 * without it it skips, and so it does under a sanitizer, which cannot run there, and with clang,
 * whose debug information valgrind 3.19 cannot read.
 *
 * What may depend on a secret is said openly: results that are public are made defined here, and
 * the branches on verdicts (the tag fits, the key is in range) are listed, each with its reason, in
 * constant_time.supp. */
#include <unistd.h>

#include "base/test.h"
#include "crypto/crypto.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(SANITIZED) || defined(__clang__) || !__has_include(<valgrind/memcheck.h>)

int main(void) {
    return asy_test_skip("needs valgrind and its header, and a build by gcc without sanitizers");
}

#else
#include <valgrind/memcheck.h>

static void hide(void *p, size_t len) { VALGRIND_MAKE_MEM_UNDEFINED(p, len); }
static void show(void *p, size_t len) { VALGRIND_MAKE_MEM_DEFINED(p, len); }

static void secp256k1(void) {
    const struct asy_hash hash = {{3}};
    for (uint8_t i = 1; i < 4; i++) {
        struct asy_seckey key = {{i, 7, 9}};
        struct asy_sig sig;
        struct asy_pubkey pub;
        struct asy_addr want, got;
        CHECK_OK(asy_secp_addr(&want, &key));
        hide(&key, sizeof key);
        enum asy_err err = asy_secp_sign(&sig, &key, &hash);
        show(&err, sizeof err);
        show(&sig, sizeof sig);
        CHECK_OK(err);
        CHECK_OK(asy_secp_recover(&got, &hash, &sig));
        CHECK(asy_addr_eq(&want, &got));
        err = asy_secp_pubkey(&pub, &key);
        show(&err, sizeof err);
        show(&pub, sizeof pub);
        CHECK_OK(err);
        asy_pubkey_addr(&got, &pub);
        CHECK(asy_addr_eq(&want, &got));
    }
}

static void sodium(void) {
    struct asy_ed25519_seckey ed;
    struct asy_ed25519_pubkey ed_pub;
    struct asy_ed25519_sig sig;
    uint8_t seed[32] = {5};
    hide(seed, sizeof seed);
    asy_ed25519_from_seed(&ed, seed);
    asy_ed25519_sign(&sig, &ed, ASY_STR("message"));
    asy_ed25519_pubkey(&ed_pub, &ed);
    show(&sig, sizeof sig);
    show(&ed_pub, sizeof ed_pub);
    CHECK_OK(asy_ed25519_verify(&ed_pub, ASY_STR("message"), &sig));

    struct asy_x25519_seckey x = {{6}};
    struct asy_x25519_pubkey x_pub;
    uint8_t shared[32];
    hide(&x, sizeof x);
    asy_x25519_pubkey(&x_pub, &x);
    show(&x_pub, sizeof x_pub);
    enum asy_err err = asy_x25519_shared(shared, &x, &x_pub);
    show(&err, sizeof err);
    CHECK_OK(err);

    struct asy_aead_key key;
    const struct asy_aead_nonce nonce = {{8}};
    uint8_t box[40 + ASY_AEAD_TAG] = "secret text";
    asy_hkdf_sha256(key.b, sizeof key.b, ASY_STR("salt"), asy_bytes_of(shared, sizeof shared),
                    ASY_STR("info"));
    hide(box, 40);
    asy_aead_seal(box, &key, &nonce, ASY_STR("ad"), asy_bytes_of(box, 40));
    show(box, sizeof box);
    err = asy_aead_open(box, &key, &nonce, ASY_STR("ad"), asy_bytes_of(box, sizeof box));
    show(&err, sizeof err);
    CHECK_OK(err);
}

static void compare(void) {
    uint8_t a[64] = {1}, b[64] = {1};
    for (size_t len = 0; len <= sizeof a; len++) {
        hide(a, sizeof a);
        bool eq = asy_secret_eq(a, b, len);
        show(&eq, sizeof eq);
        CHECK(eq);
    }
}

/* The tool must be able to fail: a comparison that leaks is seen. */
static void leak_is_seen(void) {
    uint8_t a[4] = {1, 2, 3, 4};
    const unsigned before = VALGRIND_COUNT_ERRORS;
    hide(a, sizeof a);
    volatile int leaked = 0;
    if (a[2] == 3) {
        leaked = 1;
    }
    CHECK(VALGRIND_COUNT_ERRORS == before + 1);
    CHECK(leaked == 1);
}

int main(int argc, char **argv) {
    if (RUNNING_ON_VALGRIND == 0) {
        (void)argc;
        execlp("valgrind", "valgrind", "-q", "--suppressions=src/crypto/test/constant_time.supp",
               argv[0], (char *)NULL);
        return asy_test_skip("no valgrind");
    }
    compare();
    sodium();
    secp256k1();
    CHECK_U64(VALGRIND_COUNT_ERRORS, 0);
    leak_is_seen();
    return asy_test_end();
}
#endif
