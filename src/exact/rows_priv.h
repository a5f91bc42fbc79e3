/* rows_priv.h: places of rows in a model's tree (exact.md section 8.2); shared by what builds the
 * tree and what opens steps. */
#ifndef ASY_EXACT_ROWS_PRIV_H
#define ASY_EXACT_ROWS_PRIV_H

#include "exact/file_priv.h"

/* Blocks are placed one behind the other, each at a multiple of its size rounded up to a power of
 * two. */
struct places {
    uint64_t end;
};
uint64_t exact_place(struct places *p, uint64_t items); /* where the block starts */
uint32_t exact_log2_up(uint64_t n);

struct row_map {
    uint64_t gate_up, qkv, out, down, attn, q, k, attn_post, ffn, ffn_post, layer; /* in a layer */
    uint64_t layers, embed, head, final, fine[ASY_EXACT_MAX_ROPES], coarse[ASY_EXACT_MAX_ROPES];
    uint32_t layer_bits; /* of a layer's places */
    uint32_t pair_bits;  /* of a rotation entry's rows */
    uint32_t depth;
};
struct row_map exact_row_map(const struct asy_exact_model *m);

/* weights_root from the root over the rows */
void exact_header_hash(struct asy_hash *ret, const struct asy_exact_model *m,
                       const struct asy_hash *rows_root);

#endif
