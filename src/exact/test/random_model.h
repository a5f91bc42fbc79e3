/* random_model.h: a small model file with random weights, whose values stay in a sensible range. */
#ifndef ASY_EXACT_TEST_RANDOM_MODEL_H
#define ASY_EXACT_TEST_RANDOM_MODEL_H

#include "base/test.h"
#include "exact/exact.h"

__attribute__((unused)) static struct asy_exact_shape small_shape(void) {
    struct asy_exact_shape s = {.layers = 3,
                                .dim = 96,
                                .inner = 160,
                                .heads = 4,
                                .kv_heads = 2,
                                .head_dim = 32,
                                .vocab = 300,
                                .positions = 1024,
                                .window = 40,
                                .ropes = 2,
                                .activation = ASY_EXACT_GELU,
                                .residual_bits = 14,
                                .tied = true,
                                .post_norms = true,
                                .qk_norms = true,
                                .head_wide = true,
                                .vocabulary_len = 5,
                                .recipe_len = 100};
    for (uint32_t l = 0; l < s.layers; l++) {
        s.layer[l] = (struct asy_exact_layer_shape){.window = l == 1,
                                                    .rope = l == 1,
                                                    .wide = (uint8_t)(5 * l),
                                                    .bias = (uint8_t)(3 + 4 * l)};
    }
    return s;
}

/* Every combination of what a shape can have. */
__attribute__((unused)) static struct asy_exact_shape random_shape(void) {
    struct asy_exact_shape s = small_shape();
    uint64_t r = asy_test_random();
    s.layers = 1 + (uint32_t)(r % 3);
    s.dim = 32 * (1 + (uint32_t)(r >> 8) % 5);
    s.inner = 32 * (1 + (uint32_t)(r >> 16) % 7);
    s.kv_heads = 1 + (uint32_t)(r >> 24) % 3;
    s.heads = s.kv_heads * (1 + (uint32_t)(r >> 28) % 3);
    s.head_dim = 32 * (1 + (uint32_t)(r >> 32) % 3);
    s.vocab = 1 + (uint32_t)(r >> 36) % 400;
    s.activation = r >> 50 & 1 ? ASY_EXACT_GELU : ASY_EXACT_SILU;
    s.tied = r >> 51 & 1;
    s.post_norms = r >> 52 & 1;
    s.qk_norms = r >> 53 & 1;
    s.head_wide = r >> 54 & 1;
    for (uint32_t l = 0; l < s.layers; l++) {
        s.layer[l] = (struct asy_exact_layer_shape){.window = asy_test_random() & 1,
                                                    .rope = asy_test_random() & 1,
                                                    .wide = asy_test_random() & 15,
                                                    .bias = asy_test_random() & 15};
    }
    return s;
}

__attribute__((unused)) static void random_rows(struct asy_exact_writer *w,
                                                enum asy_exact_linear linear, uint32_t layer,
                                                uint32_t rows, uint32_t cols, int s, bool bare) {
    int8_t row[2048];
    for (uint32_t n = 0; n < rows; n++) {
        for (uint32_t k = 0; k < cols; k++) {
            row[k] = (int8_t)((int)(asy_test_random() % 255) - 127);
        }
        uint64_t r = asy_test_random();
        int16_t m = r % 50 == 0 ? 0 : (int16_t)((1 << 14) + (r >> 8) % (1 << 14));
        asy_exact_write_row(w, linear, layer, n, bare ? NULL : row, m,
                            (int16_t)(s + (int)(r >> 32) % 3), (int32_t)(r >> 40) % 20000 - 10000);
    }
}

__attribute__((unused)) static void random_norm(struct asy_exact_writer *w,
                                                enum asy_exact_norm norm, uint32_t layer,
                                                uint32_t count, int32_t shift) {
    int32_t gain[2048];
    for (uint32_t i = 0; i < count; i++) {
        gain[i] = (int32_t)(asy_test_random() % (1 << 22)) - (1 << 20);
    }
    asy_exact_write_norm(w, norm, layer, gain, (int64_t)(asy_test_random() % 1000000), shift);
}

__attribute__((unused)) static struct asy_bytes random_model_file(const struct asy_exact_shape *s) {
    struct asy_exact_writer *w;
    struct asy_why why = {0};
    uint64_t len = 0;
    CHECK_OK(asy_exact_file_len(&len, s, &why));
    uint8_t *file = asy_alloc_aligned(len, 64);
    CHECK_OK(asy_exact_writer_new(&w, s, file, &why));
    for (uint32_t r = 0; r < s->ropes; r++) {
        for (uint32_t e = 0; e < 256 + s->positions / 256; e++) {
            int32_t pairs[ASY_EXACT_MAX_HEAD_DIM];
            for (uint32_t i = 0; i < s->head_dim; i++) { /* no rotation, but in range */
                pairs[i] = (int32_t)(asy_test_random() % (1u << 31)) - (1 << 30);
            }
            asy_exact_write_rope(w, r, e, pairs);
        }
    }
    uint32_t queries = s->heads * s->head_dim, keys = s->kv_heads * s->head_dim;
    random_rows(w, ASY_EXACT_EMBED, 0, s->vocab, s->dim, 5, false);
    random_rows(w, ASY_EXACT_HEAD, 0, s->vocab, s->dim, s->head_wide ? 28 : 24, s->tied);
    for (uint32_t l = 0; l < s->layers; l++) {
        uint8_t wide = s->layer[l].wide;
        random_norm(w, ASY_EXACT_NORM_ATTN, l, s->dim, 0);
        random_rows(w, ASY_EXACT_QKV, l, queries + 2 * keys, s->dim, wide & 1 ? 29 : 25, false);
        if (s->qk_norms) {
            random_norm(w, ASY_EXACT_NORM_Q, l, s->head_dim, 34);
            random_norm(w, ASY_EXACT_NORM_K, l, s->head_dim, 34);
        }
        random_rows(w, ASY_EXACT_OUT, l, s->dim, queries, wide & 2 ? 19 : 15, false);
        random_norm(w, ASY_EXACT_NORM_FFN, l, s->dim, 0);
        random_rows(w, ASY_EXACT_GATE_UP, l, 2 * s->inner, s->dim, wide & 4 ? 29 : 25, false);
        random_rows(w, ASY_EXACT_DOWN, l, s->dim, s->inner, wide & 8 ? 19 : 15, false);
        if (s->post_norms) {
            random_norm(w, ASY_EXACT_NORM_ATTN_POST, l, s->dim, 33);
            random_norm(w, ASY_EXACT_NORM_FFN_POST, l, s->dim, 33);
        }
    }
    random_norm(w, ASY_EXACT_NORM_FINAL, 0, s->dim, 0);
    uint8_t recipe[2048] = "random weights";
    struct asy_hash source = {{1, 2, 3}};
    asy_exact_writer_finish(w, &source, asy_bytes_of("vocab", s->vocabulary_len),
                            asy_bytes_of(recipe, s->recipe_len), 1);
    return asy_bytes_of(file, len);
}

#endif
