/* exec_priv.h: the executor's state, for what looks on while it computes (trace.c). */
#ifndef ASY_EXACT_EXEC_PRIV_H
#define ASY_EXACT_EXEC_PRIV_H

#include "exact/file_priv.h"
#include "exact/pool_priv.h"

/* What an observer is told: the named vector has just been computed. */
enum stage {
    STAGE_EMBED,     /* x */
    STAGE_ATTN_NORM, /* quant, from x */
    STAGE_QKV,       /* qkv, as the linear gave it */
    STAGE_HEADS,     /* qkv, normed and rotated; keys and values stored */
    STAGE_ATTEND,    /* o */
    STAGE_OUT_QUANT, /* quant, from o */
    STAGE_OUT,       /* x, or y in front of the post-norm */
    STAGE_FFN_NORM,  /* x behind the post-norm; quant */
    STAGE_GATE_UP,   /* gu */
    STAGE_GATE,      /* h, and quant from it */
    STAGE_DOWN,      /* x, or y in front of the post-norm */
    STAGE_LAYER,     /* x: the layer is done */
    STAGE_FINAL,     /* quant, from x */
    STAGE_LOGITS,    /* logits; rows are those that wanted them */
};

struct asy_exact {
    const struct asy_exact_model *model;
    const struct ops *ops;
    enum asy_exact_kernel kernel;
    struct asy_exact_config config;
    struct pool *pool;
    uint32_t context; /* of a slot's arrays: a multiple of EXACT_BLOCK */

    uint8_t *entries;                   /* keys and values: slot, layer, head */
    int16_t *rope[ASY_EXACT_MAX_ROPES]; /* [context][head_dim] of (cos, sin), Q15 */
    int32_t *x;                         /* residual [rows][dim] */
    int32_t *y;                         /* in front of a post-norm [rows][dim] */
    int32_t *qkv;                       /* [rows][queries + keys + values] */
    int32_t *o;                         /* attention output [rows][queries] */
    int32_t *gu;                        /* gate and up [rows][2 * inner] */
    int32_t *h;                         /* [rows][inner] */
    int32_t *logits;
    uint8_t *quant_data;
    struct quant *quant; /* [rows] */
    struct scratch *scratch;
    uint8_t *scratch_data;

    /* the step at hand */
    struct asy_exact_row *rows;
    uint32_t count;
    const struct layer *layer;
    uint32_t layer_index;
    struct {
        const struct linear *l;
        int32_t *y;
        size_t stride;
        bool add;
        /* a piece is this many rows, or all rows and this many tiles; the other one is 0 */
        uint32_t rows_per_piece, tiles_per_piece;
    } linear;
    uint32_t rows_per_piece;

    /* Sees every row behind every stage, from several threads; NULL: nobody does. */
    void (*observe)(void *arg, enum stage stage, uint32_t row, uint32_t thread);
    void *observer;
    enum stage stage;
};

static inline uint32_t queries_of(const struct asy_exact_info *i) { return i->heads * i->head_dim; }
static inline uint32_t keys_of(const struct asy_exact_info *i) { return i->kv_heads * i->head_dim; }
static inline uint32_t qkv_stride(const struct asy_exact_info *i) {
    return pad_rows(queries_of(i) + 2 * keys_of(i));
}
static inline uint32_t max_cols(const struct asy_exact_info *i) {
    uint32_t most = i->dim > i->inner ? i->dim : i->inner;
    return most > queries_of(i) ? most : queries_of(i);
}

struct kv exact_kv_of(const struct asy_exact *x, uint32_t slot, uint32_t layer, uint32_t head);

#endif
