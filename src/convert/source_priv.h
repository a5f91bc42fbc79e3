/* source_priv.h: a GGUF file as a model of a family that exact/1 can run. */
#ifndef ASY_CONVERT_SOURCE_PRIV_H
#define ASY_CONVERT_SOURCE_PRIV_H

#include "convert/convert.h"
#include "engine/engine.h"
#include "exact/exact.h"

enum family { FAMILY_LLAMA, FAMILY_QWEN2, FAMILY_QWEN3, FAMILY_GEMMA3 };

/* Rows [first, ...) of a tensor; tensor NULL: the model has none. */
struct part {
    const struct asy_gguf_tensor *tensor;
    uint32_t first;
};
enum source_linear { Q, K, V, OUT, GATE, UP, DOWN, LINEARS };
struct source_layer {
    struct part weight[LINEARS], bias[LINEARS];
    struct part attn_norm, q_norm, k_norm, attn_post, ffn_norm, ffn_post;
    bool window;
};

struct source {
    const struct asy_llama *llama;
    struct asy_bytes file;
    struct asy_gguf_file *gguf;
    struct asy_hash sha256;
    enum family family;
    const char *name; /* of the family: what general.architecture says */
    uint32_t layers, dim, inner, heads, kv_heads, head_dim, vocab, context, window;
    bool neox; /* rotated pairs are (i, i + head_dim / 2) in the file, not (2i, 2i + 1) */
    bool post_norms, qk_norms, tied, gelu;
    double eps, embed_scale, query_scale; /* query_scale: without log2(e) */
    /* Rotation of layers without a window [0], and with one [1]. */
    float rope_base[2], rope_factor[2];
    struct part rope_freqs; /* a divisor for each pair, of layers without a window */
    struct part embed, head, final_norm;
    struct source_layer *layer;
};

/* Keeps file. errors: of asy_gguf_open; UNSUPPORTED a feature that exact/1 or this converter lacks,
 * by name; MISSING a key or tensor; TYPE, RANGE, MISMATCH a value or shape */
ASY_MUST_USE enum asy_err source_open(struct source *ret_source, const struct asy_llama *llama,
                                      struct asy_bytes file, struct asy_why *reterr_why);
void source_done(struct source *s);

/* Row `row` of a matrix; elements [first, first + count) of a vector. errors: RANGE a number is
 * infinite or NaN */
ASY_MUST_USE enum asy_err source_row(const struct source *s, float *ret, const struct part *p,
                                     uint32_t row, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err source_vector(const struct source *s, float *ret, const struct part *p,
                                        uint32_t count, struct asy_why *reterr_why);

#endif
