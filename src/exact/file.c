/* file.c: model files, read and written. The reader trusts nothing: every byte is either checked
 * or free to have any value. */
#include "exact/file_priv.h"

#include "crypto/crypto.h"

/* ---- header ---- */

enum {
    AT_VERSION = 8,
    AT_FLAGS = 12,
    AT_LEN = 16,
    AT_DIMS = 24, /* 14 words */
    AT_VOCABULARY = 80,
    AT_RECIPE = 84,
    AT_SOURCE = 96,
    AT_WEIGHTS = 128,
    AT_SUM = 160, /* SHA-256 of the file with these 32 bytes zero */
    AT_END = 192
};
#define FLAG_TIED       1u
#define FLAG_POST_NORMS 2u
#define FLAG_QK_NORMS   4u
#define FLAG_HEAD_WIDE  8u
#define FLAGS_KNOWN     15u

enum { DIMS = 12 };
/* The order of the dimensions in the header. */
static void dims_of(uint32_t *ret[DIMS], struct asy_exact_shape *s, uint32_t *activation) {
    uint32_t *dims[DIMS] = {&s->layers,   &s->dim,      &s->inner,  &s->heads,
                            &s->kv_heads, &s->head_dim, &s->vocab,  &s->positions,
                            &s->window,   &s->ropes,    activation, &s->residual_bits};
    memcpy(ret, dims, sizeof dims);
}

static void head_write(uint8_t *head, const struct asy_exact_shape *shape, uint64_t len) {
    struct asy_exact_shape s = *shape;
    uint32_t activation = (uint32_t)s.activation, *dims[DIMS];
    dims_of(dims, &s, &activation);
    memcpy(head, FILE_MAGIC, 8);
    asy_le32_put(head + AT_VERSION, FILE_VERSION);
    asy_le32_put(head + AT_FLAGS, (s.tied ? FLAG_TIED : 0) | (s.post_norms ? FLAG_POST_NORMS : 0) |
                                      (s.qk_norms ? FLAG_QK_NORMS : 0) |
                                      (s.head_wide ? FLAG_HEAD_WIDE : 0));
    asy_le64_put(head + AT_LEN, len);
    for (int i = 0; i < DIMS; i++) {
        asy_le32_put(head + AT_DIMS + 4 * i, *dims[i]);
    }
    asy_le32_put(head + AT_VOCABULARY, s.vocabulary_len);
    asy_le32_put(head + AT_RECIPE, s.recipe_len);
    for (uint32_t l = 0; l < s.layers; l++) {
        uint8_t *at = head + FILE_HEAD + FILE_LAYER * l;
        at[0] = s.layer[l].window;
        at[1] = s.layer[l].rope;
        at[2] = s.layer[l].wide;
        at[3] = s.layer[l].bias;
    }
}

static enum asy_err head_read(struct asy_exact_shape *ret_s, struct asy_bytes file,
                              struct asy_why *why) {
    const uint8_t *head = file.p;
    if (file.n < FILE_HEAD || memcmp(head, FILE_MAGIC, 8) != 0) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "not a model file of the exact engine");
    }
    if (asy_le32_get(head + AT_VERSION) != FILE_VERSION) {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, NULL,
                           "model file of version %u; this program reads version %u",
                           asy_le32_get(head + AT_VERSION), FILE_VERSION);
    }
    uint32_t flags = asy_le32_get(head + AT_FLAGS);
    bool zero = flags <= FLAGS_KNOWN && asy_le64_get(head + 88) == 0;
    for (size_t i = AT_DIMS + 4 * DIMS; i < AT_VOCABULARY; i++) {
        zero = zero && head[i] == 0;
    }
    for (size_t i = AT_END; i < FILE_HEAD; i++) {
        zero = zero && head[i] == 0;
    }
    if (!zero) {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, NULL,
                           "a reserved field of the header is used");
    }
    uint32_t activation = 0, *dims[DIMS];
    *ret_s = (struct asy_exact_shape){
        .tied = flags & FLAG_TIED,
        .post_norms = flags & FLAG_POST_NORMS,
        .qk_norms = flags & FLAG_QK_NORMS,
        .head_wide = flags & FLAG_HEAD_WIDE,
        .vocabulary_len = asy_le32_get(head + AT_VOCABULARY),
        .recipe_len = asy_le32_get(head + AT_RECIPE),
    };
    dims_of(dims, ret_s, &activation);
    for (int i = 0; i < DIMS; i++) {
        *dims[i] = asy_le32_get(head + AT_DIMS + 4 * i);
    }
    if (activation > ASY_EXACT_GELU) {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, NULL, "unknown activation %u", activation);
    }
    ret_s->activation = (enum asy_exact_activation)activation;
    if (ret_s->layers > ASY_EXACT_MAX_LAYERS || file.n < FILE_HEAD + FILE_LAYER * ret_s->layers) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "the layer table is cut off or too long");
    }
    for (uint32_t l = 0; l < ret_s->layers; l++) {
        const uint8_t *at = head + FILE_HEAD + FILE_LAYER * l;
        if (at[0] > 1 || at[4] != 0 || at[5] != 0 || at[6] != 0 || at[7] != 0) {
            return asy_why_set(why, ASY_ERR_UNSUPPORTED, NULL, "layer %u: a reserved field is used",
                               l);
        }
        ret_s->layer[l] = (struct asy_exact_layer_shape){
            .window = at[0], .rope = at[1], .wide = at[2], .bias = at[3]};
    }
    return ASY_OK;
}

/* ---- shape ---- */

static enum asy_err within(struct asy_why *why, const char *name, uint32_t value, uint32_t max) {
    return value >= 1 && value <= max ? ASY_OK
                                      : asy_why_set(why, ASY_ERR_RANGE, name,
                                                    "%s is %u, not in [1, %u]", name, value, max);
}

enum asy_err exact_shape_check(const struct asy_exact_shape *s, struct asy_why *why) {
    ASY_TRY(within(why, "layers", s->layers, ASY_EXACT_MAX_LAYERS));
    ASY_TRY(within(why, "dim", s->dim, ASY_EXACT_MAX_DIM));
    ASY_TRY(within(why, "inner", s->inner, ASY_EXACT_MAX_INNER));
    ASY_TRY(within(why, "heads", s->heads, ASY_EXACT_MAX_HEADS));
    ASY_TRY(within(why, "kv_heads", s->kv_heads, s->heads));
    ASY_TRY(within(why, "head_dim", s->head_dim, ASY_EXACT_MAX_HEAD_DIM));
    ASY_TRY(within(why, "vocab", s->vocab, ASY_EXACT_MAX_VOCAB));
    ASY_TRY(within(why, "positions", s->positions, ASY_EXACT_MAX_POSITIONS));
    ASY_TRY(within(why, "rope tables", s->ropes, ASY_EXACT_MAX_ROPES));
    if (s->dim % 32 != 0 || s->inner % 32 != 0 || s->head_dim % 16 != 0 ||
        s->heads * s->head_dim % 32 != 0 || s->heads % s->kv_heads != 0) {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, NULL,
                           "dim, inner and heads * head_dim must be multiples of 32, head_dim of "
                           "16, heads of kv_heads");
    }
    if (s->heads * s->head_dim > ASY_EXACT_MAX_INNER || s->residual_bits > 24 ||
        s->window > ASY_EXACT_MAX_POSITIONS) {
        return asy_why_set(why, ASY_ERR_RANGE, NULL, "heads, residual unit or window out of range");
    }
    if (s->vocabulary_len > FILE_MAX_TEXT || s->recipe_len > FILE_MAX_TEXT) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, NULL, "vocabulary or recipe is too long");
    }
    for (uint32_t l = 0; l < s->layers; l++) {
        const struct asy_exact_layer_shape *y = &s->layer[l];
        if (y->rope >= s->ropes || y->wide > 15 || y->bias > 15 || (y->window && s->window == 0)) {
            return asy_why_set(why, ASY_ERR_RANGE, NULL, "layer %u: a field is out of range", l);
        }
    }
    return ASY_OK;
}

/* ---- layout ---- */

struct cursor {
    const uint8_t *base;
    uint64_t at;
};

/* The next array. The ceilings keep the sum of all far below 2^63. */
static const void *take(struct cursor *c, uint64_t len) {
    uint64_t at = c->at;
    c->at += (len + EXACT_ALIGN - 1) / EXACT_ALIGN * EXACT_ALIGN;
    return c->base == NULL ? NULL : c->base + at;
}

static struct linear take_linear(struct cursor *c, uint32_t rows, uint32_t cols, bool matrix,
                                 bool wide, bool bias) {
    uint32_t padded = pad_rows(rows);
    struct linear l = {.rows = rows, .cols = cols, .shift = wide_shift(cols), .wide = wide};
    l.w = matrix ? take(c, (uint64_t)padded * cols) : NULL;
    l.m = take(c, 2ull * padded);
    l.s = take(c, 2ull * padded);
    l.bias = bias ? take(c, 4ull * padded) : NULL;
    return l;
}

/* The constants are copied into the struct by the reader; the writer finds them 64 bytes below the
 * gains. */
static struct norm take_norm(struct cursor *c, uint32_t count) {
    struct norm n = {.count = count};
    const uint8_t *head = take(c, EXACT_ALIGN);
    if (head != NULL) {
        n.eps = (int64_t)asy_le64_get(head);
        n.shift = (int32_t)asy_le32_get(head + 8);
    }
    n.gain = take(c, 4ull * count);
    return n;
}

uint64_t exact_file_lay(struct asy_exact_model *model, const struct asy_exact_shape *s,
                        const uint8_t *base) {
    struct cursor c = {.base = base, .at = 0};
    uint32_t queries = s->heads * s->head_dim, keys = s->kv_heads * s->head_dim;
    (void)take(&c, FILE_HEAD);
    (void)take(&c, (uint64_t)FILE_LAYER * s->layers);
    model->ropes = s->ropes;
    for (uint32_t r = 0; r < s->ropes; r++) {
        model->rope[r] = take(&c, 4ull * (FILE_FINE + FILE_COARSE(s->positions)) * s->head_dim);
    }
    struct linear embed = take_linear(&c, s->vocab, s->dim, true, false, false);
    const uint64_t behind_embed = c.at;
    model->embed_w = embed.w;
    model->embed_m = embed.m;
    model->embed_s = embed.s;
    model->head = take_linear(&c, s->vocab, s->dim, !s->tied, s->head_wide, false);
    if (s->tied) {
        model->head.w = embed.w;
    }
    const uint64_t head_len = s->tied ? (uint64_t)pad_rows(s->vocab) * s->dim : 0;
    for (uint32_t l = 0; l < s->layers; l++) {
        const struct asy_exact_layer_shape *from = &s->layer[l];
        struct layer *y = &model->layers[l];
        *y = (struct layer){.window = from->window, .rope = from->rope};
        y->attn = take_norm(&c, s->dim);
        y->qkv = take_linear(&c, queries + 2 * keys, s->dim, true, from->wide >> ASY_EXACT_QKV & 1,
                             from->bias >> ASY_EXACT_QKV & 1);
        if (s->qk_norms) {
            y->q = take_norm(&c, s->head_dim);
            y->k = take_norm(&c, s->head_dim);
        }
        y->out = take_linear(&c, s->dim, queries, true, from->wide >> ASY_EXACT_OUT & 1,
                             from->bias >> ASY_EXACT_OUT & 1);
        if (s->post_norms) {
            y->attn_post = take_norm(&c, s->dim);
        }
        y->ffn = take_norm(&c, s->dim);
        y->gate_up =
            take_linear(&c, 2 * s->inner, s->dim, true, from->wide >> ASY_EXACT_GATE_UP & 1,
                        from->bias >> ASY_EXACT_GATE_UP & 1);
        y->down = take_linear(&c, s->dim, s->inner, true, from->wide >> ASY_EXACT_DOWN & 1,
                              from->bias >> ASY_EXACT_DOWN & 1);
        if (s->post_norms) {
            y->ffn_post = take_norm(&c, s->dim);
        }
    }
    model->final = take_norm(&c, s->dim);
    model->info.step_len = c.at - behind_embed + head_len;
    model->info.vocabulary = asy_bytes_of(take(&c, s->vocabulary_len), s->vocabulary_len);
    model->info.recipe = asy_bytes_of(take(&c, s->recipe_len), s->recipe_len);
    return c.at;
}

static void fill_info(struct asy_exact_info *i, const struct asy_exact_shape *s) {
    i->layers = s->layers;
    i->dim = s->dim;
    i->inner = s->inner;
    i->heads = s->heads;
    i->kv_heads = s->kv_heads;
    i->head_dim = s->head_dim;
    i->vocab = s->vocab;
    i->positions = s->positions;
    i->window = s->window;
    i->activation = s->activation;
    i->residual_bits = s->residual_bits;
    i->tied = s->tied;
    i->post_norms = s->post_norms;
    i->qk_norms = s->qk_norms;
    i->entry_len = (uint64_t)s->layers * s->kv_heads * (2 * s->head_dim + 12);
}

enum asy_err asy_exact_file_len(uint64_t *ret_len, const struct asy_exact_shape *shape,
                                struct asy_why *reterr_why) {
    ASY_TRY(exact_shape_check(shape, reterr_why));
    struct layer layers[ASY_EXACT_MAX_LAYERS];
    struct asy_exact_model model = {.layers = layers};
    *ret_len = exact_file_lay(&model, shape, NULL);
    return ASY_OK;
}

/* SHA-256 of the file with the checksum's own bytes as zeros. */
static struct asy_hash checksum(struct asy_bytes file) {
    static const uint8_t zero[32];
    struct asy_sha256 sha;
    struct asy_hash h;
    asy_sha256_init(&sha);
    asy_sha256_add(&sha, asy_bytes_of(file.p, AT_SUM));
    asy_sha256_add(&sha, asy_bytes_of(zero, sizeof zero));
    asy_sha256_add(&sha, asy_bytes_of(file.p + AT_SUM + 32, file.n - AT_SUM - 32));
    asy_sha256_final(&sha, &h);
    return h;
}

/* ---- reading ---- */

void exact_row_sums(int32_t *ret_sums, const int8_t *w, uint32_t rows, uint32_t cols) {
    for (uint32_t tile = 0; tile < pad_rows(rows) / EXACT_TILE; tile++) {
        int32_t sum[EXACT_TILE] = {0};
        for (uint32_t k = 0; k < cols / 4; k++, w += 4 * EXACT_TILE) {
            for (uint32_t r = 0; r < EXACT_TILE; r++) {
                sum[r] += w[4 * r] + w[4 * r + 1] + w[4 * r + 2] + w[4 * r + 3];
            }
        }
        memcpy(ret_sums + (size_t)tile * EXACT_TILE, sum, sizeof sum);
    }
}

/* -128 is no weight: its sums would break the bounds. */
static bool weights_ok(const int8_t *w, size_t len) {
    uint8_t bad = 0;
    for (size_t i = 0; i < len; i++) {
        bad |= (uint8_t)w[i] == 0x80;
    }
    return bad == 0;
}

static bool constants_ok(const struct linear *l) {
    bool ok = true;
    for (uint32_t n = 0; n < pad_rows(l->rows); n++) {
        ok = ok && (l->m[n] == 0 || l->m[n] >= 1 << 14);
        ok = ok && (n < l->rows || (l->m[n] == 0 && l->s[n] == 0));
        ok = ok && (l->bias == NULL || (l->bias[n] >= -EXACT_CAP && l->bias[n] <= EXACT_CAP));
    }
    return ok;
}

static enum asy_err linear_check(struct linear *l, int32_t **sums, const char *name, uint32_t layer,
                                 struct asy_why *why) {
    if (!constants_ok(l)) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "layer %u, %s: a constant is out of range",
                           layer, name);
    }
    if (!weights_ok(l->w, (size_t)pad_rows(l->rows) * l->cols)) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "layer %u, %s: a weight is -128", layer,
                           name);
    }
    exact_row_sums(*sums, l->w, l->rows, l->cols);
    l->sums = *sums;
    *sums += pad_rows(l->rows);
    return ASY_OK;
}

static enum asy_err norm_check(const struct norm *n, const char *name, uint32_t layer,
                               struct asy_why *why) {
    bool ok = n->eps >= 0 && n->eps < (int64_t)1 << 58 && n->shift >= -64 && n->shift <= 64;
    for (uint32_t i = 0; i < n->count; i++) {
        ok = ok && n->gain[i] > -(1 << 23) && n->gain[i] < 1 << 23;
    }
    return ok ? ASY_OK
              : asy_why_set(why, ASY_ERR_SYNTAX, NULL,
                            "layer %u, %s norm: a number is out of range", layer, name);
}

/* What no array covers is zero: the rest of the 64 bytes in front of a norm's gains, and the gaps
 * behind arrays. */
static enum asy_err gaps_check(const struct asy_exact_model *m, const struct asy_exact_shape *s,
                               struct asy_why *why);

static enum asy_err body_check(struct asy_exact_model *m, const struct asy_exact_shape *s,
                               struct asy_why *why) {
    int32_t *sums = m->sums;
    for (uint32_t r = 0; r < m->ropes; r++) {
        size_t count = (size_t)(FILE_FINE + FILE_COARSE(s->positions)) * s->head_dim;
        for (size_t i = 0; i < count; i++) {
            if (m->rope[r][i] > 1 << 30 || m->rope[r][i] < -(1 << 30)) {
                return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "rope table %u: entry out of range",
                                   r);
            }
        }
    }
    const struct linear embed = {
        .rows = s->vocab, .cols = s->dim, .m = m->embed_m, .s = m->embed_s};
    if (!constants_ok(&embed)) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "embedding: a constant is out of range");
    }
    if (!s->tied && !weights_ok(m->embed_w, (size_t)pad_rows(s->vocab) * s->dim)) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "embedding: a weight is -128");
    }
    ASY_TRY(linear_check(&m->head, &sums, "head", s->layers, why));
    for (uint32_t l = 0; l < s->layers; l++) {
        struct layer *y = &m->layers[l];
        ASY_TRY(norm_check(&y->attn, "attention", l, why));
        ASY_TRY(linear_check(&y->qkv, &sums, "qkv", l, why));
        if (s->qk_norms) {
            ASY_TRY(norm_check(&y->q, "query", l, why));
            ASY_TRY(norm_check(&y->k, "key", l, why));
        }
        ASY_TRY(linear_check(&y->out, &sums, "output", l, why));
        ASY_TRY(norm_check(&y->ffn, "feed-forward", l, why));
        ASY_TRY(linear_check(&y->gate_up, &sums, "gate and up", l, why));
        ASY_TRY(linear_check(&y->down, &sums, "down", l, why));
        if (s->post_norms) {
            ASY_TRY(norm_check(&y->attn_post, "attention post", l, why));
            ASY_TRY(norm_check(&y->ffn_post, "feed-forward post", l, why));
        }
    }
    ASY_TRY(norm_check(&m->final, "final", s->layers, why));
    return gaps_check(m, s, why);
}

/* Marks what arrays cover by walking the same layout once more. */
struct gap_walk {
    const uint8_t *base;
    uint64_t at;
    bool ok;
};

static void covered(struct gap_walk *g, const void *array, uint64_t len) {
    uint64_t from = (uint64_t)((const uint8_t *)array - g->base);
    for (uint64_t i = g->at; i < from; i++) {
        g->ok = g->ok && g->base[i] == 0;
    }
    g->at = from + len;
}

static void covered_linear(struct gap_walk *g, const struct linear *l, bool matrix) {
    uint64_t padded = pad_rows(l->rows);
    if (matrix) {
        covered(g, l->w, padded * l->cols);
    }
    covered(g, l->m, 2 * padded);
    covered(g, l->s, 2 * padded);
    if (l->bias != NULL) {
        covered(g, l->bias, 4 * padded);
    }
}

static void covered_norm(struct gap_walk *g, const struct norm *n) {
    covered(g, (const uint8_t *)n->gain - EXACT_ALIGN, 12);
    covered(g, n->gain, 4ull * n->count);
}

static enum asy_err gaps_check(const struct asy_exact_model *m, const struct asy_exact_shape *s,
                               struct asy_why *why) {
    struct gap_walk g = {.base = m->file.p, .at = FILE_HEAD, .ok = true};
    covered(&g, m->file.p + FILE_HEAD, (uint64_t)FILE_LAYER * s->layers);
    for (uint32_t r = 0; r < m->ropes; r++) {
        covered(&g, m->rope[r], 4ull * (FILE_FINE + FILE_COARSE(s->positions)) * s->head_dim);
    }
    covered(&g, m->embed_w, (uint64_t)pad_rows(s->vocab) * s->dim);
    covered(&g, m->embed_m, 2ull * pad_rows(s->vocab));
    covered(&g, m->embed_s, 2ull * pad_rows(s->vocab));
    covered_linear(&g, &m->head, !s->tied);
    for (uint32_t l = 0; l < s->layers; l++) {
        const struct layer *y = &m->layers[l];
        covered_norm(&g, &y->attn);
        covered_linear(&g, &y->qkv, true);
        if (s->qk_norms) {
            covered_norm(&g, &y->q);
            covered_norm(&g, &y->k);
        }
        covered_linear(&g, &y->out, true);
        if (s->post_norms) {
            covered_norm(&g, &y->attn_post);
        }
        covered_norm(&g, &y->ffn);
        covered_linear(&g, &y->gate_up, true);
        covered_linear(&g, &y->down, true);
        if (s->post_norms) {
            covered_norm(&g, &y->ffn_post);
        }
    }
    covered_norm(&g, &m->final);
    covered(&g, m->info.vocabulary.p, m->info.vocabulary.n);
    covered(&g, m->info.recipe.p, m->info.recipe.n);
    covered(&g, m->file.p + m->file.n, 0);
    return g.ok ? ASY_OK
                : asy_why_set(why, ASY_ERR_SYNTAX, NULL, "padding of the model file is not zero");
}

static size_t sums_count(const struct asy_exact_shape *s) {
    size_t layer = (size_t)pad_rows((s->heads + 2 * s->kv_heads) * s->head_dim) +
                   2 * (size_t)pad_rows(s->dim) + pad_rows(2 * s->inner);
    return pad_rows(s->vocab) + s->layers * layer;
}

enum asy_err asy_exact_model_open(struct asy_exact_model **ret_model, struct asy_bytes file,
                                  struct asy_why *reterr_why) {
    struct asy_exact_shape *s = asy_alloc(sizeof *s);
    struct asy_exact_model *m = NULL;
    enum asy_err err = head_read(s, file, reterr_why);
    uint64_t len = 0;
    if (err == ASY_OK) {
        err = asy_exact_file_len(&len, s, reterr_why);
    }
    if (err == ASY_OK && (len != file.n || asy_le64_get(file.p + AT_LEN) != len)) {
        err = asy_why_set(reterr_why, ASY_ERR_SYNTAX, NULL,
                          "the model file has %zu bytes, but its dimensions make %llu", file.n,
                          (unsigned long long)len);
    }
    if (err != ASY_OK) {
        goto out;
    }
    ASY_ASSERT((uintptr_t)file.p % EXACT_ALIGN == 0);
    struct asy_hash sum = checksum(file);
    if (memcmp(sum.b, file.p + AT_SUM, sizeof sum.b) != 0) {
        err = asy_why_set(reterr_why, ASY_ERR_MISMATCH, NULL,
                          "the model file is damaged: its checksum does not match");
        goto out;
    }
    m = asy_alloc(sizeof *m);
    *m = (struct asy_exact_model){.file = file};
    m->layers = asy_alloc(s->layers * sizeof *m->layers);
    m->sums = asy_alloc(sums_count(s) * sizeof *m->sums);
    (void)exact_file_lay(m, s, file.p);
    fill_info(&m->info, s);
    memcpy(m->info.source.b, file.p + AT_SOURCE, 32);
    memcpy(m->info.weights.b, file.p + AT_WEIGHTS, 32);
    err = body_check(m, s, reterr_why);
    if (err == ASY_OK) {
        *ret_model = m;
        m = NULL;
    }
out:
    asy_exact_model_free(m);
    asy_free(s);
    return err;
}

void asy_exact_model_free(struct asy_exact_model *m) {
    if (m != NULL) {
        asy_free(m->layers);
        asy_free(m->sums);
        asy_free(m);
    }
}

const struct asy_exact_info *asy_exact_model_info(const struct asy_exact_model *m) {
    return &m->info;
}

/* ---- writing ---- */

struct asy_exact_writer {
    struct asy_exact_shape shape;
    struct asy_exact_model model;
    struct layer layers[ASY_EXACT_MAX_LAYERS];
    uint8_t *file;
    uint64_t len;
};

enum asy_err asy_exact_writer_new(struct asy_exact_writer **ret_writer,
                                  const struct asy_exact_shape *shape, uint8_t *file,
                                  struct asy_why *reterr_why) {
    ASY_TRY(exact_shape_check(shape, reterr_why));
    ASY_ASSERT((uintptr_t)file % EXACT_ALIGN == 0);
    struct asy_exact_writer *w = asy_alloc(sizeof *w);
    *w = (struct asy_exact_writer){.shape = *shape, .file = file};
    w->model.layers = w->layers;
    w->len = exact_file_lay(&w->model, shape, file);
    *ret_writer = w;
    return ASY_OK;
}

/* The model's pointers are constant for its readers; here they lie in the caller's memory. */
static uint8_t *writable(struct asy_exact_writer *w, const void *p) {
    return w->file + ((const uint8_t *)p - w->file);
}

static struct linear *linear_of(struct asy_exact_writer *w, enum asy_exact_linear linear,
                                uint32_t layer) {
    struct layer *y = &w->layers[layer];
    switch (linear) {
    case ASY_EXACT_QKV:
        return &y->qkv;
    case ASY_EXACT_OUT:
        return &y->out;
    case ASY_EXACT_GATE_UP:
        return &y->gate_up;
    case ASY_EXACT_DOWN:
        return &y->down;
    case ASY_EXACT_HEAD:
    case ASY_EXACT_EMBED:
        return &w->model.head;
    }
    ASY_ASSERT(false);
}

void asy_exact_write_row(struct asy_exact_writer *w, enum asy_exact_linear linear, uint32_t layer,
                         uint32_t row, const int8_t *weights, int16_t m, int16_t s, int32_t bias) {
    bool of_layer = linear <= ASY_EXACT_DOWN;
    ASY_ASSERT(!of_layer || layer < w->shape.layers);
    struct linear l = *linear_of(w, linear, of_layer ? layer : 0);
    if (linear == ASY_EXACT_EMBED) {
        l.w = w->model.embed_w;
        l.m = w->model.embed_m;
        l.s = w->model.embed_s;
    }
    ASY_ASSERT(row < l.rows && (m == 0 || m >= 1 << 14));
    ASY_ASSERT((weights == NULL) == (linear == ASY_EXACT_HEAD && w->shape.tied));
    if (weights != NULL) {
        uint8_t *tiles = writable(w, l.w);
        for (uint32_t k = 0; k < l.cols; k++) {
            ASY_ASSERT(weights[k] != INT8_MIN);
            tiles[weight_at(l.cols, row, k)] = (uint8_t)weights[k];
        }
    }
    memcpy(writable(w, l.m + row), &m, sizeof m);
    memcpy(writable(w, l.s + row), &s, sizeof s);
    if (l.bias != NULL) {
        ASY_ASSERT(bias >= -EXACT_CAP && bias <= EXACT_CAP);
        memcpy(writable(w, l.bias + row), &bias, sizeof bias);
    }
}

static const struct norm *norm_of(const struct asy_exact_writer *w, enum asy_exact_norm norm,
                                  uint32_t layer) {
    const struct layer *y = &w->layers[layer];
    switch (norm) {
    case ASY_EXACT_NORM_ATTN:
        return &y->attn;
    case ASY_EXACT_NORM_Q:
        return &y->q;
    case ASY_EXACT_NORM_K:
        return &y->k;
    case ASY_EXACT_NORM_ATTN_POST:
        return &y->attn_post;
    case ASY_EXACT_NORM_FFN:
        return &y->ffn;
    case ASY_EXACT_NORM_FFN_POST:
        return &y->ffn_post;
    case ASY_EXACT_NORM_FINAL:
        return &w->model.final;
    }
    ASY_ASSERT(false);
}

void asy_exact_write_norm(struct asy_exact_writer *w, enum asy_exact_norm norm, uint32_t layer,
                          const int32_t *gain, int64_t eps, int32_t shift) {
    ASY_ASSERT(norm == ASY_EXACT_NORM_FINAL || layer < w->shape.layers);
    const struct norm *n = norm_of(w, norm, norm == ASY_EXACT_NORM_FINAL ? 0 : layer);
    ASY_ASSERT(n->gain != NULL && eps >= 0 && eps < (int64_t)1 << 58 && shift >= -64 &&
               shift <= 64);
    uint8_t *at = writable(w, n->gain);
    asy_le64_put(at - EXACT_ALIGN, (uint64_t)eps);
    asy_le32_put(at - EXACT_ALIGN + 8, (uint32_t)shift);
    for (uint32_t i = 0; i < n->count; i++) {
        ASY_ASSERT(gain[i] > -(1 << 23) && gain[i] < 1 << 23);
        asy_le32_put(at + 4 * (size_t)i, (uint32_t)gain[i]);
    }
}

void asy_exact_write_rope(struct asy_exact_writer *w, uint32_t table, uint32_t entry,
                          const int32_t *pairs) {
    uint32_t count = w->shape.head_dim;
    ASY_ASSERT(table < w->shape.ropes && entry < FILE_FINE + FILE_COARSE(w->shape.positions));
    uint8_t *at = writable(w, w->model.rope[table] + (size_t)entry * count);
    for (uint32_t i = 0; i < count; i++) {
        ASY_ASSERT(pairs[i] <= 1 << 30 && pairs[i] >= -(1 << 30));
        asy_le32_put(at + 4 * (size_t)i, (uint32_t)pairs[i]);
    }
}

void asy_exact_writer_finish(struct asy_exact_writer *w, const struct asy_hash *source,
                             struct asy_bytes vocabulary, struct asy_bytes recipe,
                             uint32_t threads) {
    ASY_ASSERT(vocabulary.n == w->shape.vocabulary_len && recipe.n == w->shape.recipe_len);
    head_write(w->file, &w->shape, w->len);
    memcpy(w->file + AT_SOURCE, source->b, 32);
    if (vocabulary.n != 0) {
        memcpy(writable(w, w->model.info.vocabulary.p), vocabulary.p, vocabulary.n);
    }
    if (recipe.n != 0) {
        memcpy(writable(w, w->model.info.recipe.p), recipe.p, recipe.n);
    }
    fill_info(&w->model.info, &w->shape);
    (void)exact_file_lay(&w->model, &w->shape, w->file); /* once more: norms have constants now */
    struct asy_exact_rows *rows = asy_exact_rows_new(&w->model, threads);
    struct asy_hash root = asy_exact_rows_root(rows);
    asy_exact_rows_free(rows);
    memcpy(w->file + AT_WEIGHTS, root.b, sizeof root.b);
    struct asy_hash sum = checksum(asy_bytes_of(w->file, w->len));
    memcpy(w->file + AT_SUM, sum.b, sizeof sum.b);
    asy_free(w);
}
