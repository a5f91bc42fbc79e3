/* noise.c: ChaCha12 (docs/protocol/sampling.md 3.1): one block as the document has it, and many at
 * once as the sampler wants them. */
#include "sample/sample_priv.h"

#define ROUNDS 12

#define ROTL(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define QUARTER(a, b, c, d)                                                                        \
    do {                                                                                           \
        (a) += (b), (d) ^= (a), (d) = ROTL(d, 16);                                                 \
        (c) += (d), (b) ^= (c), (b) = ROTL(b, 12);                                                 \
        (a) += (b), (d) ^= (a), (d) = ROTL(d, 8);                                                  \
        (c) += (d), (b) ^= (c), (b) = ROTL(b, 7);                                                  \
    } while (0)
#define DOUBLE_ROUND(x)                                                                            \
    do {                                                                                           \
        QUARTER((x)[0], (x)[4], (x)[8], (x)[12]);                                                  \
        QUARTER((x)[1], (x)[5], (x)[9], (x)[13]);                                                  \
        QUARTER((x)[2], (x)[6], (x)[10], (x)[14]);                                                 \
        QUARTER((x)[3], (x)[7], (x)[11], (x)[15]);                                                 \
        QUARTER((x)[0], (x)[5], (x)[10], (x)[15]);                                                 \
        QUARTER((x)[1], (x)[6], (x)[11], (x)[12]);                                                 \
        QUARTER((x)[2], (x)[7], (x)[8], (x)[13]);                                                  \
        QUARTER((x)[3], (x)[4], (x)[9], (x)[14]);                                                  \
    } while (0)

void sample_noise_input(uint32_t ret_input[16], const uint8_t seed[ASY_SAMPLE_SEED_LEN],
                        uint32_t pos) {
    static const uint32_t constants[4] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
    memcpy(ret_input, constants, sizeof constants);
    for (unsigned i = 0; i < 8; i++) {
        ret_input[4 + i] = asy_le32_get(seed + 4 * i);
    }
    ret_input[12] = ret_input[13] = 0;
    ret_input[14] = pos;
    ret_input[15] = 0x494e5431u;
}

/* ---- one ---- */

uint32_t asy_sample_word(const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos, uint32_t id) {
    uint32_t input[16], x[16];
    sample_noise_input(input, seed, pos);
    input[12] = id / NOISE_IDS;
    memcpy(x, input, sizeof x);
    for (unsigned i = 0; i < ROUNDS / 2; i++) {
        DOUBLE_ROUND(x);
    }
    return x[id % NOISE_IDS] + input[id % NOISE_IDS];
}

/* ---- many ---- */

/* A function that makes LANES blocks at once. GNU C vectors are cut to the registers of the
 * function that they stand in, so there is one for each width, allowed to use TARGET's
 * instructions. */
#define NOISE_FN(name, LANES, TARGET)                                                              \
    TARGET static void name(struct noise *ret_noise, uint32_t lane, const uint32_t input[16],      \
                            const uint32_t block[LANES]) {                                         \
        typedef uint32_t lanes __attribute__((vector_size(4 * (LANES))));                          \
        const lanes zero = {0};                                                                    \
        lanes start[16], x[16], max = zero;                                                        \
        for (unsigned i = 0; i < 16; i++) {                                                        \
            start[i] = zero + input[i];                                                            \
        }                                                                                          \
        memcpy(&start[12], block, sizeof start[12]);                                               \
        memcpy(x, start, sizeof x);                                                                \
        for (unsigned i = 0; i < ROUNDS / 2; i++) {                                                \
            DOUBLE_ROUND(x);                                                                       \
        }                                                                                          \
        for (unsigned w = 0; w < NOISE_IDS; w++) {                                                 \
            x[w] += start[w];                                                                      \
            lanes more = (lanes)(x[w] > max);                                                      \
            max = (x[w] & more) | (max & ~more);                                                   \
            memcpy(&ret_noise->word[w][lane], &x[w], sizeof x[w]);                                 \
        }                                                                                          \
        memcpy(&ret_noise->max[lane], &max, sizeof max);                                           \
    }
/* Four lanes fill the 16 vector registers of any x86-64, and half of ARM64's. */
NOISE_FN(noise_4, 4, )
#if defined(__x86_64__)
NOISE_FN(noise_8, 8, __attribute__((target("avx2"))))
NOISE_FN(noise_16, 16, __attribute__((target("avx512f"))))
#endif

enum sample_width sample_width(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") ? SAMPLE_WIDTH_16
           : __builtin_cpu_supports("avx2")  ? SAMPLE_WIDTH_8
                                             : SAMPLE_WIDTH_4;
#else
    return SAMPLE_WIDTH_4;
#endif
}

void sample_noise(struct noise *ret_noise, enum sample_width width, const uint32_t input[16],
                  const uint32_t *block, uint32_t count) {
    uint32_t padded[NOISE_LANES] = {0};
    memcpy(padded, block, count * sizeof *block);
    for (uint32_t lane = 0; lane < count; lane += width) {
        switch (width) {
        case SAMPLE_WIDTH_4:
            noise_4(ret_noise, lane, input, padded + lane);
            break;
#if defined(__x86_64__)
        case SAMPLE_WIDTH_8:
            noise_8(ret_noise, lane, input, padded + lane);
            break;
        case SAMPLE_WIDTH_16:
            noise_16(ret_noise, lane, input, padded + lane);
            break;
#else
        case SAMPLE_WIDTH_8:
        case SAMPLE_WIDTH_16:
            ASY_ASSERT(false); /* not this machine's */
#endif
        }
    }
}
