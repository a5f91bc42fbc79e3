#include <endian.h>

#include "crypto/crypto.h"

#define RATE 136u /* bytes of a block: 200 - 2 * 32 */

static const uint64_t round_constants[24] = {
    0x0000000000000001u, 0x0000000000008082u, 0x800000000000808au, 0x8000000080008000u,
    0x000000000000808bu, 0x0000000080000001u, 0x8000000080008081u, 0x8000000000008009u,
    0x000000000000008au, 0x0000000000000088u, 0x0000000080008009u, 0x000000008000000au,
    0x000000008000808bu, 0x800000000000008bu, 0x8000000000008089u, 0x8000000000008003u,
    0x8000000000008002u, 0x8000000000000080u, 0x000000000000800au, 0x800000008000000au,
    0x8000000080008081u, 0x8000000000008080u, 0x0000000080000001u, 0x8000000080008008u,
};

static inline uint64_t rotl(uint64_t v, unsigned bits) { return v << bits | v >> (64 - bits); }

/* chi of one plane: bits of each lane are flipped where the next lane is 0 and the one after is 1.
 */
#define CHI(y)                                                                                     \
    do {                                                                                           \
        a[5 * (y) + 0] = b[5 * (y) + 0] ^ (~b[5 * (y) + 1] & b[5 * (y) + 2]);                      \
        a[5 * (y) + 1] = b[5 * (y) + 1] ^ (~b[5 * (y) + 2] & b[5 * (y) + 3]);                      \
        a[5 * (y) + 2] = b[5 * (y) + 2] ^ (~b[5 * (y) + 3] & b[5 * (y) + 4]);                      \
        a[5 * (y) + 3] = b[5 * (y) + 3] ^ (~b[5 * (y) + 4] & b[5 * (y) + 0]);                      \
        a[5 * (y) + 4] = b[5 * (y) + 4] ^ (~b[5 * (y) + 0] & b[5 * (y) + 1]);                      \
    } while (0)

/* Keccak-f[1600]. Lane (x, y) is a[x + 5 * y]. Every index and rotation is a constant, so that
 * compilers keep b in registers. */
static void permute(uint64_t a[25]) {
    for (size_t round = 0; round < 24; round++) {
        const uint64_t c0 = a[0] ^ a[5] ^ a[10] ^ a[15] ^ a[20];
        const uint64_t c1 = a[1] ^ a[6] ^ a[11] ^ a[16] ^ a[21];
        const uint64_t c2 = a[2] ^ a[7] ^ a[12] ^ a[17] ^ a[22];
        const uint64_t c3 = a[3] ^ a[8] ^ a[13] ^ a[18] ^ a[23];
        const uint64_t c4 = a[4] ^ a[9] ^ a[14] ^ a[19] ^ a[24];
        const uint64_t d0 = c4 ^ rotl(c1, 1);
        const uint64_t d1 = c0 ^ rotl(c2, 1);
        const uint64_t d2 = c1 ^ rotl(c3, 1);
        const uint64_t d3 = c2 ^ rotl(c4, 1);
        const uint64_t d4 = c3 ^ rotl(c0, 1);
        /* theta's second half, rho and pi: lane (x, y) goes to (y, 2x + 3y) */
        uint64_t b[25];
        b[0] = a[0] ^ d0;
        b[1] = rotl(a[6] ^ d1, 44);
        b[2] = rotl(a[12] ^ d2, 43);
        b[3] = rotl(a[18] ^ d3, 21);
        b[4] = rotl(a[24] ^ d4, 14);
        b[5] = rotl(a[3] ^ d3, 28);
        b[6] = rotl(a[9] ^ d4, 20);
        b[7] = rotl(a[10] ^ d0, 3);
        b[8] = rotl(a[16] ^ d1, 45);
        b[9] = rotl(a[22] ^ d2, 61);
        b[10] = rotl(a[1] ^ d1, 1);
        b[11] = rotl(a[7] ^ d2, 6);
        b[12] = rotl(a[13] ^ d3, 25);
        b[13] = rotl(a[19] ^ d4, 8);
        b[14] = rotl(a[20] ^ d0, 18);
        b[15] = rotl(a[4] ^ d4, 27);
        b[16] = rotl(a[5] ^ d0, 36);
        b[17] = rotl(a[11] ^ d1, 10);
        b[18] = rotl(a[17] ^ d2, 15);
        b[19] = rotl(a[23] ^ d3, 56);
        b[20] = rotl(a[2] ^ d2, 62);
        b[21] = rotl(a[8] ^ d3, 55);
        b[22] = rotl(a[14] ^ d4, 39);
        b[23] = rotl(a[15] ^ d0, 41);
        b[24] = rotl(a[21] ^ d1, 2);
        CHI(0);
        CHI(1);
        CHI(2);
        CHI(3);
        CHI(4);
        a[0] ^= round_constants[round];
    }
}

void asy_keccak_init(struct asy_keccak *k) { memset(k, 0, sizeof *k); }

void asy_keccak_add(struct asy_keccak *k, struct asy_bytes in) {
    const uint8_t *p = in.p;
    size_t left = in.n;
    while (left > 0) {
        if (k->n % 8 == 0 && left >= 8) {
            uint64_t word;
            memcpy(&word, p, 8);
            k->lane[k->n / 8] ^= le64toh(word);
            k->n += 8;
            p += 8;
            left -= 8;
        } else {
            k->lane[k->n / 8] ^= (uint64_t)*p << (8 * (k->n % 8));
            k->n++;
            p++;
            left--;
        }
        if (k->n == RATE) {
            permute(k->lane);
            k->n = 0;
        }
    }
}

void asy_keccak_final(struct asy_keccak *k, struct asy_hash *ret_hash) {
    k->lane[k->n / 8] ^= (uint64_t)0x01 << (8 * (k->n % 8));
    k->lane[RATE / 8 - 1] ^= (uint64_t)1 << 63;
    permute(k->lane);
    for (size_t i = 0; i < 4; i++) {
        asy_le64_put(ret_hash->b + 8 * i, k->lane[i]);
    }
}

void asy_keccak256(struct asy_hash *ret_hash, struct asy_bytes in) {
    struct asy_keccak k;
    asy_keccak_init(&k);
    asy_keccak_add(&k, in);
    asy_keccak_final(&k, ret_hash);
}

void asy_keccak256_two(struct asy_hash *ret_hash, const struct asy_hash *left,
                       const struct asy_hash *right) {
    struct asy_keccak k;
    asy_keccak_init(&k);
    asy_keccak_add(&k, asy_bytes_of(left->b, sizeof left->b));
    asy_keccak_add(&k, asy_bytes_of(right->b, sizeof right->b));
    asy_keccak_final(&k, ret_hash);
}
