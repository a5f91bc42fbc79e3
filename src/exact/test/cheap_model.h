/* cheap_model.h: cheaper models made of a real one, as somebody would who sells the real one and
 * wants to save. They are model files of their own, changed in memory. */
#ifndef ASY_EXACT_TEST_CHEAP_MODEL_H
#define ASY_EXACT_TEST_CHEAP_MODEL_H

#include "base/test.h"
#include "crypto/crypto.h"
#include "exact/file_priv.h"

struct cheap_model {
    uint8_t *file;
    size_t len;
    struct asy_exact_model *model;
};

/* The arrays are the file's, which is ours. */
#define CHEAP_WRITABLE(type, p) ((type *)(uintptr_t)(p))

/* Weights of a linear, each group of 32 of a row brought to `bits` bits with one scale. */
static void cheap_round(int8_t *w, uint32_t rows, uint32_t cols, int bits) {
    int most = (1 << (bits - 1)) - 1;
    for (uint32_t row = 0; row < rows; row++) {
        for (uint32_t group = 0; group < cols; group += 32) {
            int max = 1;
            for (uint32_t k = group; k < group + 32; k++) {
                int v = abs(w[weight_at(cols, row, k)]);
                max = v > max ? v : max;
            }
            for (uint32_t k = group; k < group + 32; k++) {
                int8_t *at = &w[weight_at(cols, row, k)];
                int few = (abs(*at) * most + max / 2) / max; /* halves away from zero */
                int v = (few * max + most / 2) / most;
                *at = (int8_t)(*at < 0 ? -v : v);
            }
        }
    }
}

/* All matrices of all layers; the embedding, which is the head, too where asked for. */
__attribute__((unused)) static void cheap_round_all(struct cheap_model *c, int bits, bool embed) {
    const struct asy_exact_model *m = c->model;
    for (uint32_t l = 0; l < m->info.layers; l++) {
        const struct layer *y = &m->layers[l];
        const struct linear *all[] = {&y->qkv, &y->out, &y->gate_up, &y->down};
        for (size_t i = 0; i < ASY_COUNT(all); i++) {
            cheap_round(CHEAP_WRITABLE(int8_t, all[i]->w), all[i]->rows, all[i]->cols, bits);
        }
    }
    if (embed) {
        cheap_round(CHEAP_WRITABLE(int8_t, m->embed_w), m->info.vocab, m->info.dim, bits);
    }
}

/* Layers that add nothing to the residual: as if they were left out. */
__attribute__((unused)) static void cheap_skip(struct cheap_model *c, uint32_t first,
                                               uint32_t count) {
    for (uint32_t l = first; l < first + count; l++) {
        const struct linear *all[] = {&c->model->layers[l].out, &c->model->layers[l].down};
        for (size_t i = 0; i < ASY_COUNT(all); i++) {
            memset(CHEAP_WRITABLE(int16_t, all[i]->m), 0, all[i]->rows * sizeof *all[i]->m);
        }
    }
}

/* The head's input in 8 bits instead of 16: byte for byte what a conversion with `--wide down`
 * makes, but for recipe and hashes, since a sum over wide inputs is 2^(8 - shift) times that over
 * narrow ones (exact.md 4.5). */
__attribute__((unused)) static void cheap_narrow_head(struct cheap_model *c) {
    const struct linear *head = &c->model->head;
    ASY_ASSERT(head->wide);
    uint32_t flags = asy_le32_get(c->file + 12);
    asy_le32_put(c->file + 12, flags & ~8u);
    for (uint32_t n = 0; n < head->rows; n++) {
        CHEAP_WRITABLE(int16_t, head->s)[n] = (int16_t)(head->s[n] - (8 - head->shift));
    }
}

/* A copy, which the functions above change; cheap_model_finish makes a model file of it again. */
static void cheap_model_init(struct cheap_model *c, struct asy_bytes file) {
    *c = (struct cheap_model){.file = asy_alloc_aligned(file.n, EXACT_ALIGN), .len = file.n};
    memcpy(c->file, file.p, file.n);
    CHECK_OK(asy_exact_model_open(&c->model, asy_bytes_of(c->file, c->len), NULL));
}
static void cheap_model_finish(struct cheap_model *c) {
    struct asy_why why = {{0}, {0}};
    struct asy_hash sum;
    asy_exact_model_free(c->model);
    memset(c->file + 160, 0, sizeof sum.b);
    asy_sha256(&sum, asy_bytes_of(c->file, c->len));
    memcpy(c->file + 160, sum.b, sizeof sum.b);
    CHECK_OK(asy_exact_model_open(&c->model, asy_bytes_of(c->file, c->len), &why));
}
static void cheap_model_done(struct cheap_model *c) {
    asy_exact_model_free(c->model);
    asy_free(c->file);
}

#endif
