/* rows.c: the rows of a model as exact.md section 8 numbers and hashes them, and their tree. */
#include "exact/rows_priv.h"

#include "crypto/crypto.h"
#include "exact/pool_priv.h"

#define PIECE     1024u
#define CONSTANTS 32u

/* ---- places ---- */

uint32_t exact_log2_up(uint64_t n) { return n <= 1 ? 0 : (uint32_t)bit_len(n - 1); }

uint64_t exact_place(struct places *p, uint64_t items) {
    if (items == 0) {
        return p->end;
    }
    uint64_t size = (uint64_t)1 << exact_log2_up(items);
    uint64_t start = (p->end + size - 1) / size * size;
    p->end = start + size;
    return start;
}

static uint32_t groups(uint32_t n) { return (n + 31) / 32; }

struct row_map exact_row_map(const struct asy_exact_model *m) {
    const struct asy_exact_info *i = &m->info;
    struct row_map map = {0};
    struct places layer = {0}, model = {0};
    map.gate_up = exact_place(&layer, 2ull * i->inner);
    map.qkv = exact_place(&layer, (uint64_t)(i->heads + 2 * i->kv_heads) * i->head_dim);
    map.out = exact_place(&layer, i->dim);
    map.down = exact_place(&layer, i->dim);
    map.attn = exact_place(&layer, groups(i->dim));
    map.q = exact_place(&layer, i->qk_norms ? groups(i->head_dim) : 0);
    map.k = exact_place(&layer, i->qk_norms ? groups(i->head_dim) : 0);
    map.attn_post = exact_place(&layer, i->post_norms ? groups(i->dim) : 0);
    map.ffn = exact_place(&layer, groups(i->dim));
    map.ffn_post = exact_place(&layer, i->post_norms ? groups(i->dim) : 0);
    map.layer = exact_place(&layer, 1);
    map.layer_bits = exact_log2_up(layer.end);
    map.layers = exact_place(&model, (uint64_t)i->layers << map.layer_bits);
    map.embed = exact_place(&model, i->vocab);
    map.head = i->tied ? map.embed : exact_place(&model, i->vocab);
    map.final = exact_place(&model, groups(i->dim));
    map.pair_bits = exact_log2_up(groups(i->head_dim));
    for (uint32_t r = 0; r < m->ropes; r++) {
        map.fine[r] = exact_place(&model, (uint64_t)FILE_FINE << map.pair_bits);
        map.coarse[r] = exact_place(&model, (uint64_t)(FILE_COARSE(i->positions)) << map.pair_bits);
    }
    map.depth = exact_log2_up(model.end);
    return map;
}

/* ---- one row ---- */

static void row_hash(struct asy_hash *ret, const uint8_t constants[CONSTANTS],
                     const uint8_t *content, uint32_t len) {
    struct asy_hash piece[ASY_EXACT_MAX_INNER / PIECE] = {{{0}}};
    uint32_t count = (len + PIECE - 1) / PIECE;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = len - i * PIECE < PIECE ? len - i * PIECE : PIECE;
        asy_keccak256(&piece[i], asy_bytes_of(content + (size_t)i * PIECE, n));
    }
    for (uint32_t width = 1u << exact_log2_up(count); width > 1; width /= 2) {
        for (uint32_t i = 0; i < width / 2; i++) {
            asy_keccak256_two(&piece[i], &piece[2 * i], &piece[2 * i + 1]);
        }
    }
    uint8_t both[CONSTANTS + 32];
    memcpy(both, constants, CONSTANTS);
    memcpy(both + CONSTANTS, piece[0].b, 32);
    asy_keccak256(ret, asy_bytes_of(both, sizeof both));
}

static void put16(uint8_t *at, int16_t v) {
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)((uint16_t)v >> 8);
}

static void weights_row(struct asy_hash *ret, const struct linear *l, uint32_t row,
                        const int16_t *em, const int16_t *es, uint8_t *content) {
    uint8_t constants[CONSTANTS] = {0};
    if (l->m != NULL) {
        put16(constants, l->m[row]);
        put16(constants + 2, l->s[row]);
        asy_le32_put(constants + 4, l->bias != NULL ? (uint32_t)l->bias[row] : 0);
    }
    if (em != NULL) {
        put16(constants + 8, em[row]);
        put16(constants + 10, es[row]);
    }
    for (uint32_t k = 0; k < l->cols; k++) {
        content[k] = (uint8_t)l->w[weight_at(l->cols, row, k)];
    }
    row_hash(ret, constants, content, l->cols);
}

static void gains_row(struct asy_hash *ret, const struct norm *n, uint32_t group) {
    uint8_t constants[CONSTANTS] = {0}, content[128] = {0};
    asy_le64_put(constants, (uint64_t)n->eps);
    asy_le32_put(constants + 8, (uint32_t)n->shift);
    for (uint32_t i = 0; i < 32 && 32 * group + i < n->count; i++) {
        asy_le32_put(content + 4 * i, (uint32_t)n->gain[32 * group + i]);
    }
    row_hash(ret, constants, content, sizeof content);
}

static void rope_row(struct asy_hash *ret, const int32_t *entry, uint32_t head_dim,
                     uint32_t group) {
    uint8_t constants[CONSTANTS] = {0}, content[128] = {0};
    for (uint32_t i = 0; i < 32 && 32 * group + i < head_dim; i++) {
        asy_le32_put(content + 4 * i, (uint32_t)entry[32 * group + i]);
    }
    row_hash(ret, constants, content, sizeof content);
}

/* ---- all rows ---- */

struct asy_exact_rows {
    const struct asy_exact_model *model;
    struct row_map map;
    struct asy_hash *nodes; /* the leaves, then each level above, the root last */
    uint8_t *content;       /* [threads][ASY_EXACT_MAX_INNER] */
};

/* What one piece of the pool's work hashes: rows of one linear. */
struct batch {
    struct asy_exact_rows *r;
    const struct linear *l;
    const int16_t *em, *es;
    uint64_t start;
};
#define BATCH 256u

static void batch_piece(void *arg, uint32_t piece, uint32_t thread) {
    struct batch *b = arg;
    uint8_t *content = b->r->content + (size_t)thread * ASY_EXACT_MAX_INNER;
    for (uint32_t n = piece * BATCH; n < (piece + 1) * BATCH && n < b->l->rows; n++) {
        weights_row(&b->r->nodes[b->start + n], b->l, n, b->em, b->es, content);
    }
}

static void add_weights(struct asy_exact_rows *r, struct pool *pool, uint64_t start,
                        const struct linear *l, const int16_t *em, const int16_t *es) {
    struct batch b = {.r = r, .l = l, .em = em, .es = es, .start = start};
    pool_run(pool, batch_piece, &b, (l->rows + BATCH - 1) / BATCH);
}

static void add_norm(struct asy_exact_rows *r, uint64_t start, const struct norm *n) {
    for (uint32_t g = 0; g < groups(n->count); g++) {
        gains_row(&r->nodes[start + g], n, g);
    }
}

static void add_rope(struct asy_exact_rows *r, uint64_t start, const int32_t *entries,
                     uint32_t count) {
    uint32_t hd = r->model->info.head_dim;
    for (uint32_t e = 0; e < count; e++) {
        for (uint32_t g = 0; g < groups(hd); g++) {
            rope_row(&r->nodes[start + ((uint64_t)e << r->map.pair_bits) + g],
                     entries + (size_t)e * hd, hd, g);
        }
    }
}

static void add_layer(struct asy_exact_rows *r, struct pool *pool, uint32_t index) {
    const struct asy_exact_model *m = r->model;
    const struct row_map *map = &r->map;
    const struct layer *y = &m->layers[index];
    uint64_t base = map->layers + ((uint64_t)index << map->layer_bits);
    add_weights(r, pool, base + map->gate_up, &y->gate_up, NULL, NULL);
    add_weights(r, pool, base + map->qkv, &y->qkv, NULL, NULL);
    add_weights(r, pool, base + map->out, &y->out, NULL, NULL);
    add_weights(r, pool, base + map->down, &y->down, NULL, NULL);
    add_norm(r, base + map->attn, &y->attn);
    if (m->info.qk_norms) {
        add_norm(r, base + map->q, &y->q);
        add_norm(r, base + map->k, &y->k);
    }
    add_norm(r, base + map->ffn, &y->ffn);
    if (m->info.post_norms) {
        add_norm(r, base + map->attn_post, &y->attn_post);
        add_norm(r, base + map->ffn_post, &y->ffn_post);
    }
    uint8_t constants[CONSTANTS] = {0};
    constants[0] = y->window;
    constants[1] = y->rope;
    constants[2] =
        (uint8_t)(y->qkv.wide | y->out.wide << 1 | y->gate_up.wide << 2 | y->down.wide << 3);
    row_hash(&r->nodes[base + map->layer], constants, NULL, 0);
}

void exact_header_hash(struct asy_hash *ret, const struct asy_exact_model *m,
                       const struct asy_hash *rows_root) {
    const struct asy_exact_info *i = &m->info;
    uint32_t flags = (i->tied ? 1u : 0) | (i->post_norms ? 2u : 0) | (i->qk_norms ? 4u : 0) |
                     (m->head.wide ? 8u : 0);
    const uint32_t words[] = {i->layers,
                              i->dim,
                              i->inner,
                              i->heads,
                              i->kv_heads,
                              i->head_dim,
                              i->vocab,
                              i->positions,
                              i->window,
                              m->ropes,
                              (uint32_t)i->activation,
                              i->residual_bits,
                              flags};
    uint8_t header[160] = "assay/exact/1";
    for (size_t k = 0; k < ASY_COUNT(words); k++) {
        asy_le32_put(header + 16 + 4 * k, words[k]);
    }
    memcpy(header + 128, rows_root->b, 32);
    asy_keccak256(ret, asy_bytes_of(header, sizeof header));
}

struct asy_exact_rows *asy_exact_rows_new(const struct asy_exact_model *m, uint32_t threads) {
    struct pool *pool = pool_new(threads);
    if (pool == NULL) {
        pool = pool_new(1); /* slower */
    }
    struct asy_exact_rows *r = asy_alloc(sizeof *r);
    *r = (struct asy_exact_rows){.model = m, .map = exact_row_map(m)};
    uint64_t leaves = (uint64_t)1 << r->map.depth;
    r->nodes = asy_alloc(2 * leaves * sizeof *r->nodes);
    r->content = asy_alloc((size_t)threads * ASY_EXACT_MAX_INNER);
    for (uint32_t l = 0; l < m->info.layers; l++) {
        add_layer(r, pool, l);
    }
    if (m->info.tied) {
        add_weights(r, pool, r->map.embed, &m->head, m->embed_m, m->embed_s);
    } else {
        const struct linear embed = {.rows = m->info.vocab, .cols = m->info.dim, .w = m->embed_w};
        add_weights(r, pool, r->map.embed, &embed, m->embed_m, m->embed_s);
        add_weights(r, pool, r->map.head, &m->head, NULL, NULL);
    }
    add_norm(r, r->map.final, &m->final);
    for (uint32_t k = 0; k < m->ropes; k++) {
        add_rope(r, r->map.fine[k], m->rope[k], FILE_FINE);
        add_rope(r, r->map.coarse[k], m->rope[k] + (size_t)FILE_FINE * m->info.head_dim,
                 FILE_COARSE(m->info.positions));
    }
    pool_free(pool);
    /* most places are empty: their trees are known */
    struct asy_hash empty = {{0}};
    struct asy_hash *level = r->nodes;
    for (uint64_t width = leaves; width > 1; width /= 2) {
        struct asy_hash above;
        asy_keccak256_two(&above, &empty, &empty);
        for (uint64_t n = 0; n < width / 2; n++) {
            bool none =
                asy_hash_eq(&level[2 * n], &empty) && asy_hash_eq(&level[2 * n + 1], &empty);
            if (none) {
                level[width + n] = above;
            } else {
                asy_keccak256_two(&level[width + n], &level[2 * n], &level[2 * n + 1]);
            }
        }
        level += width;
        empty = above;
    }
    return r;
}

void asy_exact_rows_free(struct asy_exact_rows *r) {
    if (r != NULL) {
        asy_free(r->nodes);
        asy_free(r->content);
        asy_free(r);
    }
}

struct asy_hash asy_exact_rows_root(const struct asy_exact_rows *r) {
    struct asy_hash root;
    exact_header_hash(&root, r->model, &r->nodes[((uint64_t)2 << r->map.depth) - 2]);
    return root;
}

uint32_t asy_exact_rows_depth(const struct asy_exact_rows *r) { return r->map.depth; }

enum asy_err asy_exact_rows_path(const struct asy_exact_rows *r, struct asy_hash *ret_row,
                                 struct asy_hash *ret_path, uint64_t index) {
    if (index >> r->map.depth != 0) {
        return ASY_ERR_RANGE;
    }
    const struct asy_hash *level = r->nodes;
    *ret_row = level[index];
    for (uint32_t d = 0; d < r->map.depth; d++) {
        ret_path[d] = level[index ^ 1];
        level += (uint64_t)1 << (r->map.depth - d);
        index /= 2;
    }
    return ASY_OK;
}
