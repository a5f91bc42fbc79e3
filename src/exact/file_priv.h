/* file_priv.h: where everything lies in a model file; shared by reader and writer.
 *
 *   header 256 | layer table 8 * layers | rope tables | embedding: w m s | head: [w] m s |
 *   layers: attn norm, qkv, [q norm, k norm], out, [attn post norm], ffn norm, gate_up, down,
 *           [ffn post norm] | final norm | vocabulary | recipe
 *
 * Every array starts at a multiple of 64 and is followed by zeros up to the next. A linear is
 * w int8 tiles, m int16, s int16, [bias int32]; a norm is 64 bytes of constants and int32 gains.
 * source: docs/protocol/exact-file.md
 */
#ifndef ASY_EXACT_FILE_PRIV_H
#define ASY_EXACT_FILE_PRIV_H

#include "exact/ops_priv.h"

#define FILE_MAGIC   "ASYEXACT"
#define FILE_VERSION 1u
#define FILE_HEAD    256u
#define FILE_LAYER   8u
#define FILE_FINE    256u /* fine entries of a rope table */
/* ... and coarse ones */
#define FILE_COARSE(positions) (((positions) + FILE_FINE - 1) / FILE_FINE)
#define FILE_MAX_TEXT          (64u * 1024u * 1024u)

/* Fills model's pointers for a file of this shape at base (may be NULL: only the length counts),
 * and model->layers, which the caller provides: [shape->layers]. The shape was checked. */
uint64_t exact_file_lay(struct asy_exact_model *model, const struct asy_exact_shape *shape,
                        const uint8_t *base);
/* RANGE, TOO_LONG, UNSUPPORTED */
enum asy_err exact_shape_check(const struct asy_exact_shape *shape, struct asy_why *reterr_why);
/* sums[row] of one linear's tiles */
void exact_row_sums(int32_t *ret_sums, const int8_t *w, uint32_t rows, uint32_t cols);

#endif
