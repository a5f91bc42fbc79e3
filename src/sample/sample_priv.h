/* sample_priv.h: how wide the sampler's vectors are, and the random words of many ids at once. */
#ifndef ASY_SAMPLE_PRIV_H
#define ASY_SAMPLE_PRIV_H

#include "sample/sample.h"

/* How many 32-bit numbers an instruction works on: which way something is computed, never what. */
enum sample_width {
    SAMPLE_WIDTH_4 = 4, /* every machine */
    SAMPLE_WIDTH_8 = 8,
    SAMPLE_WIDTH_16 = 16,
};
/* The widest that this machine has. */
enum sample_width sample_width(void);

/* asy_sample_token with a width: at most sample_width(). */
ASY_MUST_USE enum asy_err sample_token(uint32_t *ret_id, int64_t *ret_lead, void *workspace,
                                       const int32_t *logits, uint32_t vocab,
                                       const struct asy_sample_settings *settings,
                                       const uint8_t seed[ASY_SAMPLE_SEED_LEN], uint32_t pos,
                                       enum sample_width width);

#define NOISE_IDS   16u /* ids that share one ChaCha block */
#define NOISE_LANES 16u /* most blocks of one call */

/* Words of NOISE_IDS * NOISE_LANES ids, and the largest of each block. */
struct noise {
    uint32_t word[NOISE_IDS][NOISE_LANES];
    uint32_t max[NOISE_LANES];
};
/* The input words of a seed's and position's blocks; word 12, the block's number, is 0. */
void sample_noise_input(uint32_t ret_input[16], const uint8_t seed[ASY_SAMPLE_SEED_LEN],
                        uint32_t pos);
/* Blocks number block[0..count) under an input: lanes [0, count); others hold anything.
 * in:     width: at most sample_width()
 *         count: in [1, NOISE_LANES] */
void sample_noise(struct noise *ret_noise, enum sample_width width, const uint32_t input[16],
                  const uint32_t *block, uint32_t count);

#endif
