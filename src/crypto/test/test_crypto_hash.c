/* Keccak-256, SHA-256, HMAC, HKDF against published vectors, and incremental against one-shot for
 * every length around the blocks. */
#include "crypto/crypto.h"
#include "vectors.h"

static void keccak_vectors(void) {
    struct vectors v;
    struct asy_hash got;
    vectors_open(&v, "keccak256.txt");
    while (vectors_next(&v)) {
        asy_keccak256(&got, v.field[0]);
        CHECK_MEM(got.b, v.field[1].p, 32);
    }
    CHECK_U64(v.cases, 6);
}

/* The digest over the digests of all lengths from 0 to 1000, byte i of length n being 7 i + n; the
 * expected value is js-sha3's. */
static void keccak_all_lengths(void) {
    static const uint8_t want[32] = {0x91, 0x50, 0x52, 0x5b, 0xaa, 0xb7, 0xdf, 0x6f,
                                     0x02, 0xb2, 0x15, 0xca, 0xc4, 0x35, 0x15, 0xe2,
                                     0x38, 0x26, 0x81, 0xdd, 0x69, 0xef, 0xb0, 0x9e,
                                     0x67, 0xbb, 0x48, 0xe7, 0x8a, 0x37, 0xee, 0x14};
    struct asy_keccak all;
    struct asy_hash got;
    uint8_t in[1000];
    asy_keccak_init(&all);
    for (size_t n = 0; n <= sizeof in; n++) {
        for (size_t i = 0; i < n; i++) {
            in[i] = (uint8_t)(i * 7 + n);
        }
        asy_keccak256(&got, asy_bytes_of(in, n));
        asy_keccak_add(&all, asy_bytes_of(got.b, 32));
    }
    asy_keccak_final(&all, &got);
    CHECK_MEM(got.b, want, 32);
}

static void incremental(void) {
    uint8_t in[600];
    asy_test_fill(in, sizeof in);
    for (int round = 0; round < 2000; round++) {
        const size_t n = asy_test_random() % (sizeof in + 1);
        struct asy_keccak k;
        struct asy_sha256 s;
        asy_keccak_init(&k);
        asy_sha256_init(&s);
        for (size_t done = 0; done < n;) {
            size_t part = asy_test_random() % 150;
            part = part < n - done ? part : n - done;
            asy_keccak_add(&k, asy_bytes_of(in + done, part));
            asy_sha256_add(&s, asy_bytes_of(in + done, part));
            done += part;
        }
        struct asy_hash one, many;
        asy_keccak256(&one, asy_bytes_of(in, n));
        asy_keccak_final(&k, &many);
        CHECK(asy_hash_eq(&one, &many));
        asy_sha256(&one, asy_bytes_of(in, n));
        asy_sha256_final(&s, &many);
        CHECK(asy_hash_eq(&one, &many));
    }
}

/* FIPS 180-2, appendix B: one block, two blocks, a million times "a"; and the empty message. */
static void sha256_vectors(void) {
    static const struct {
        const char *in;
        uint8_t want[8];
    } cases[] = {
        {"", {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14}},
        {"abc", {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea}},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         {0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8}},
    };
    static const uint8_t million[8] = {0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92};
    struct asy_hash got;
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        asy_sha256(&got, asy_bytes_cstr(cases[i].in));
        CHECK_MEM(got.b, cases[i].want, 8);
    }
    struct asy_sha256 s;
    uint8_t block[1000];
    memset(block, 'a', sizeof block);
    asy_sha256_init(&s);
    for (int i = 0; i < 1000; i++) {
        asy_sha256_add(&s, asy_bytes_of(block, sizeof block));
    }
    asy_sha256_final(&s, &got);
    CHECK_MEM(got.b, million, 8);
}

static void hmac_vectors(void) {
    struct vectors v;
    struct asy_hash got;
    vectors_open(&v, "hmac_sha256.txt");
    while (vectors_next(&v)) {
        asy_hmac_sha256(&got, v.field[0], v.field[1]);
        CHECK(v.field[2].n == 16 || v.field[2].n == 32);
        CHECK_MEM(got.b, v.field[2].p, v.field[2].n);
    }
    CHECK_U64(v.cases, 66);
}

static void hkdf_vectors(void) {
    struct vectors v;
    vectors_open(&v, "hkdf_sha256.txt");
    while (vectors_next(&v)) {
        uint8_t got[ASY_HKDF_MAX];
        CHECK(v.field[3].n <= sizeof got);
        asy_hkdf_sha256(got, v.field[3].n, v.field[1], v.field[0], v.field[2]);
        CHECK_MEM(got, v.field[3].p, v.field[3].n);
    }
    CHECK_U64(v.cases, 83);
}

/* A node of a tree is the hash of both below it; it may take the place of one of them. */
static void test_two(void) {
    struct asy_hash pair[2], want, got;
    asy_test_fill(pair, sizeof pair);
    asy_keccak256(&want, asy_bytes_of(pair, sizeof pair));
    asy_keccak256_two(&got, &pair[0], &pair[1]);
    CHECK(asy_hash_eq(&got, &want));
    for (int i = 0; i < 2; i++) {
        struct asy_hash in_place[2] = {pair[0], pair[1]};
        asy_keccak256_two(&in_place[i], &in_place[0], &in_place[1]);
        CHECK(asy_hash_eq(&in_place[i], &want));
    }
}

int main(void) {
    keccak_vectors();
    keccak_all_lengths();
    sha256_vectors();
    incremental();
    test_two();
    hmac_vectors();
    hkdf_vectors();
    return asy_test_end();
}
