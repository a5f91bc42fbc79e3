/* exec.c: the graph. Which operator follows which, and who computes what; no arithmetic but the
 * embedding's stands here. */
#include "exact/exec_priv.h"

/* ---- sizes ---- */

/* Bytes of one head's entries. */
static uint64_t head_len(const struct asy_exact_info *i, uint32_t context) {
    return (uint64_t)context * (2 * i->head_dim + 12);
}
static uint32_t pad_context(uint32_t context) {
    return (context + EXACT_BLOCK - 1) / EXACT_BLOCK * EXACT_BLOCK;
}
static uint64_t scratch_len(uint32_t context) {
    return (4ull * EXACT_QUERIES + 8) * context + 4ull * ASY_EXACT_MAX_DIM;
}

uint32_t asy_exact_logits_stride(const struct asy_exact_model *m) {
    return pad_rows(m->info.vocab);
}

struct sizes {
    uint64_t entries, rope, x, qkv, o, gu, h, logits, quant, scratch;
};

static struct sizes sizes_of(const struct asy_exact_model *m, const struct asy_exact_config *c) {
    const struct asy_exact_info *i = &m->info;
    uint32_t context = pad_context(c->context);
    uint64_t rows = c->rows;
    return (struct sizes){
        .entries = c->slots * (uint64_t)i->layers * i->kv_heads * head_len(i, context),
        .rope = 2ull * context * i->head_dim,
        .x = 4 * rows * pad_rows(i->dim),
        .qkv = 4 * rows * qkv_stride(i),
        .o = 4 * rows * queries_of(i),
        .gu = 4 * rows * pad_rows(2 * i->inner),
        .h = 4 * rows * i->inner,
        .logits = 4ull * c->logits_rows * asy_exact_logits_stride(m),
        .quant = rows * 2 * max_cols(i),
        .scratch = c->threads * scratch_len(context),
    };
}

static enum asy_err config_check(const struct asy_exact_model *m, const struct asy_exact_config *c,
                                 struct asy_why *why) {
    const struct {
        const char *name;
        uint32_t value, max;
    } fields[] = {
        {"threads", c->threads, 64},
        {"slots", c->slots, 4096},
        {"context", c->context, m->info.positions},
        {"rows", c->rows, ASY_EXACT_MAX_ROWS},
        {"logits_rows", c->logits_rows, c->rows},
    };
    for (size_t i = 0; i < ASY_COUNT(fields); i++) {
        if (fields[i].value < 1 || fields[i].value > fields[i].max) {
            return asy_why_set(why, ASY_ERR_RANGE, fields[i].name, "%s is %u, not in [1, %u]",
                               fields[i].name, fields[i].value, fields[i].max);
        }
    }
    return ASY_OK;
}

uint64_t asy_exact_memory(const struct asy_exact_model *m, const struct asy_exact_config *c) {
    if (config_check(m, c, NULL) != ASY_OK) {
        return 0;
    }
    struct sizes s = sizes_of(m, c);
    return sizeof(struct asy_exact) + s.entries + m->ropes * s.rope + 2 * s.x + s.qkv + s.o + s.gu +
           s.h + s.logits + s.quant + s.scratch +
           c->rows * (sizeof(struct quant) + sizeof(struct asy_exact_row)) +
           c->threads * sizeof(struct scratch);
}

/* ---- making ---- */

/* SPEC exact 5.3: an entry is the product of a coarse and a fine one. */
static void rope_fill(const struct asy_exact_model *m, uint32_t table, int16_t *ret,
                      uint32_t context) {
    uint32_t hd = m->info.head_dim;
    for (uint32_t p = 0; p < context && p < m->info.positions; p++) {
        const int32_t *fine = m->rope[table] + (size_t)(p % FILE_FINE) * hd;
        const int32_t *coarse = m->rope[table] + (size_t)(FILE_FINE + p / FILE_FINE) * hd;
        for (uint32_t i = 0; i < hd; i += 2) {
            int64_t a = coarse[i], b = coarse[i + 1], c = fine[i], d = fine[i + 1];
            int64_t pair[2] = {round_shift(a * c - b * d, 45), round_shift(a * d + b * c, 45)};
            for (int k = 0; k < 2; k++) {
                int64_t v = pair[k] > INT16_MAX ? INT16_MAX : pair[k];
                ret[(size_t)p * hd + i + (uint32_t)k] = (int16_t)(v < -INT16_MAX ? -INT16_MAX : v);
            }
        }
    }
}

enum asy_err asy_exact_new(struct asy_exact **ret_exact, const struct asy_exact_model *model,
                           const struct asy_exact_config *config, struct asy_why *reterr_why) {
    ASY_TRY(config_check(model, config, reterr_why));
    const struct ops *ops = exact_ops(config->kernel);
    if (ops == NULL) {
        return asy_why_set(reterr_why, ASY_ERR_UNSUPPORTED, "kernel",
                           "the %s kernel does not run on this machine",
                           asy_exact_kernel_name(config->kernel));
    }
    struct pool *pool = pool_new(config->threads);
    if (pool == NULL) {
        return asy_why_set(reterr_why, ASY_ERR_FULL, "threads", "no more threads");
    }
    struct asy_exact *x = asy_alloc(sizeof *x);
    struct sizes s = sizes_of(model, config);
    *x = (struct asy_exact){.model = model,
                            .ops = ops,
                            .kernel = ops->kernel,
                            .config = *config,
                            .pool = pool,
                            .context = pad_context(config->context)};
    x->entries = asy_alloc_aligned(s.entries, EXACT_ALIGN);
    for (uint32_t r = 0; r < model->ropes; r++) {
        x->rope[r] = asy_alloc_aligned(s.rope, EXACT_ALIGN);
        rope_fill(model, r, x->rope[r], x->context);
    }
    x->x = asy_alloc_aligned(s.x, EXACT_ALIGN);
    x->y = asy_alloc_aligned(s.x, EXACT_ALIGN);
    x->qkv = asy_alloc_aligned(s.qkv, EXACT_ALIGN);
    x->o = asy_alloc_aligned(s.o, EXACT_ALIGN);
    x->gu = asy_alloc_aligned(s.gu, EXACT_ALIGN);
    x->h = asy_alloc_aligned(s.h, EXACT_ALIGN);
    x->logits = asy_alloc_aligned(s.logits, EXACT_ALIGN);
    x->quant_data = asy_alloc_aligned(s.quant, EXACT_ALIGN);
    x->quant = asy_alloc(config->rows * sizeof *x->quant);
    for (uint32_t t = 0; t < config->rows; t++) {
        x->quant[t].q = x->quant_data + (size_t)t * 2 * max_cols(&model->info);
    }
    x->rows = asy_alloc(config->rows * sizeof *x->rows);
    x->scratch = asy_alloc(config->threads * sizeof *x->scratch);
    x->scratch_data = asy_alloc_aligned(s.scratch, EXACT_ALIGN);
    for (uint32_t i = 0; i < config->threads; i++) {
        uint8_t *at = x->scratch_data + i * scratch_len(x->context);
        x->scratch[i] = (struct scratch){
            .share = (uint64_t *)(void *)at,
            .score = (int32_t *)(void *)(at + 8ull * x->context),
            .stride = x->context,
            .row = (int32_t *)(void *)(at + (4ull * EXACT_QUERIES + 8) * x->context),
        };
    }
    *ret_exact = x;
    return ASY_OK;
}

void asy_exact_free(struct asy_exact *x) {
    if (x == NULL) {
        return;
    }
    pool_free(x->pool);
    asy_free(x->entries);
    for (uint32_t r = 0; r < ASY_EXACT_MAX_ROPES; r++) {
        asy_free(x->rope[r]);
    }
    asy_free(x->x);
    asy_free(x->y);
    asy_free(x->qkv);
    asy_free(x->o);
    asy_free(x->gu);
    asy_free(x->h);
    asy_free(x->logits);
    asy_free(x->quant_data);
    asy_free(x->quant);
    asy_free(x->rows);
    asy_free(x->scratch);
    asy_free(x->scratch_data);
    asy_free(x);
}

enum asy_exact_kernel asy_exact_kernel_of(const struct asy_exact *x) { return x->kernel; }
const struct asy_exact_model *asy_exact_model_of(const struct asy_exact *x) { return x->model; }
const struct asy_exact_config *asy_exact_config_of(const struct asy_exact *x) { return &x->config; }

struct kv exact_kv_of(const struct asy_exact *x, uint32_t slot, uint32_t layer, uint32_t head) {
    const struct asy_exact_info *i = &x->model->info;
    uint64_t n = ((uint64_t)slot * i->layers + layer) * i->kv_heads + head;
    uint8_t *at = x->entries + n * head_len(i, x->context);
    uint64_t values = (uint64_t)x->context * i->head_dim, words = 4ull * x->context;
    uint8_t *scales = at + 2 * values;
    return (struct kv){.k = (int8_t *)at,
                       .v = (int8_t *)(at + values),
                       .k_scale = (int32_t *)(void *)scales,
                       .k_sum = (int32_t *)(void *)(scales + words),
                       .v_max = (int32_t *)(void *)(scales + 2 * words)};
}

/* ---- pieces of a step ---- */

typedef void (*row_fn)(struct asy_exact *x, uint32_t t, uint32_t thread);
struct row_job {
    struct asy_exact *x;
    row_fn fn;
};

static void row_piece(void *arg, uint32_t piece, uint32_t thread) {
    struct row_job *job = arg;
    struct asy_exact *x = job->x;
    uint32_t from = piece * x->rows_per_piece, to = from + x->rows_per_piece;
    for (uint32_t t = from; t < to && t < x->count; t++) {
        job->fn(x, t, thread);
    }
}

/* Sets rows_per_piece; returns how many pieces that makes. */
static uint32_t cut_rows(struct asy_exact *x) {
    x->rows_per_piece = (x->count + 4 * x->config.threads - 1) / (4 * x->config.threads);
    return (x->count + x->rows_per_piece - 1) / x->rows_per_piece;
}

static void each_row(struct asy_exact *x, row_fn fn) {
    struct row_job job = {.x = x, .fn = fn};
    pool_run(x->pool, row_piece, &job, cut_rows(x));
}

static void row_observe(struct asy_exact *x, uint32_t t, uint32_t thread) {
    x->observe(x->observer, x->stage, t, thread);
}

static void observe(struct asy_exact *x, enum stage stage) {
    if (x->observe != NULL) {
        x->stage = stage;
        each_row(x, row_observe);
    }
}

static void linear_tiles_piece(void *arg, uint32_t piece, uint32_t thread) {
    struct asy_exact *x = arg;
    (void)thread;
    const struct linear *l = x->linear.l;
    uint32_t step = x->linear.tiles_per_piece * EXACT_TILE, first = piece * step;
    uint32_t last = first + step < pad_rows(l->rows) ? first + step : pad_rows(l->rows);
    x->ops->linear(l, x->quant, x->count, first, last, x->linear.y, x->linear.stride,
                   x->linear.add);
}

static void linear_rows_piece(void *arg, uint32_t piece, uint32_t thread) {
    struct asy_exact *x = arg;
    (void)thread;
    uint32_t from = piece * x->linear.rows_per_piece, count = x->linear.rows_per_piece;
    count = x->count - from < count ? x->count - from : count;
    x->ops->linear(x->linear.l, x->quant + from, count, 0, pad_rows(x->linear.l->rows),
                   x->linear.y + from * x->linear.stride, x->linear.stride, x->linear.add);
}

/* Threads share the rows where each gets so many that reading all weights for them is cheap: what a
 * row's operators hand on then stays in one core's cache (measured with two threads and 64 rows
 * each: 1.5 times as fast as one thread by tiles, 1.8 by rows). Fewer rows share out the weights.
 */
#define LINEAR_ROWS 32u

static void linear(struct asy_exact *x, const struct linear *l, int32_t *y, size_t stride,
                   bool add) {
    const uint32_t threads = x->config.threads, tiles = pad_rows(l->rows) / EXACT_TILE;
    const bool by_rows = threads > 1 && x->count >= LINEAR_ROWS * threads;
    const uint32_t all = by_rows ? x->count : tiles;
    uint32_t pieces = threads == 1 ? 1 : (by_rows ? 2 : 4) * threads;
    uint32_t per_piece = (all + pieces - 1) / pieces;
    pieces = (all + per_piece - 1) / per_piece;
    x->linear.l = l;
    x->linear.y = y;
    x->linear.stride = stride;
    x->linear.add = add;
    x->linear.rows_per_piece = by_rows ? per_piece : 0;
    x->linear.tiles_per_piece = by_rows ? 0 : per_piece;
    pool_run(x->pool, by_rows ? linear_rows_piece : linear_tiles_piece, x, pieces);
}

/* ---- the graph ---- */

static size_t dim_stride(const struct asy_exact *x) { return pad_rows(x->model->info.dim); }

static void row_embed(struct asy_exact *x, uint32_t t, uint32_t thread) {
    (void)thread;
    const struct asy_exact_model *m = x->model;
    uint32_t id = x->rows[t].token, dim = m->info.dim;
    int32_t *o = x->x + t * dim_stride(x);
    int64_t scale = m->embed_m[id];
    int shift = clamp_shift(m->embed_s[id]);
    for (uint32_t i = 0; i < dim; i++) {
        o[i] = cap(round_shift(m->embed_w[weight_at(dim, id, i)] * scale, shift));
    }
}

static void row_attn_norm(struct asy_exact *x, uint32_t t, uint32_t thread) {
    x->ops->norm_quant(&x->layer->attn, x->x + t * dim_stride(x), x->layer->qkv.wide, &x->quant[t],
                       x->scratch[thread].row);
}

/* Norms and rotates queries and keys, and stores keys and values. */
static void row_heads(struct asy_exact *x, uint32_t t, uint32_t thread) {
    const struct asy_exact_info *i = &x->model->info;
    const struct layer *y = x->layer;
    const struct asy_exact_row *row = &x->rows[t];
    int32_t *q = x->qkv + (size_t)t * qkv_stride(i), *k = q + queries_of(i), *v = k + keys_of(i);
    const int16_t *rope = x->rope[y->rope] + (size_t)row->pos * i->head_dim;
    for (uint32_t h = 0; h < i->heads + i->kv_heads; h++) {
        int32_t *head = q + (size_t)h * i->head_dim;
        if (i->qk_norms) {
            x->ops->norm_out(h < i->heads ? &y->q : &y->k, head, head, false,
                             x->scratch[thread].row);
        }
        x->ops->rope(i->head_dim, rope, head);
    }
    for (uint32_t h = 0; h < i->kv_heads; h++) {
        struct kv kv = exact_kv_of(x, row->slot, x->layer_index, h);
        x->ops->put(i->head_dim, &kv, k + (size_t)h * i->head_dim, v + (size_t)h * i->head_dim,
                    row->pos);
    }
}

/* Attention of rows [from, to), by the heads that share one head of keys: neighbouring rows of a
 * slot go together as far as one call takes them. */
static void attend(struct asy_exact *x, uint32_t from, uint32_t to, uint32_t kv_head,
                   uint32_t thread) {
    const struct asy_exact_info *i = &x->model->info;
    const uint32_t group = i->heads / i->kv_heads, last = (kv_head + 1) * group - 1;
    struct query queries[EXACT_QUERIES];
    uint32_t n = 0;
    for (uint32_t t = from; t < to; t++) {
        const struct asy_exact_row *row = &x->rows[t];
        const bool windowed = x->layer->window && row->pos >= i->window;
        const bool alone = t + 1 == to || x->rows[t + 1].slot != row->slot;
        for (uint32_t h = kv_head * group; h <= last; h++) {
            queries[n++] = (struct query){
                .q = x->qkv + (size_t)t * qkv_stride(i) + (size_t)h * i->head_dim,
                .o = x->o + (size_t)t * queries_of(i) + (size_t)h * i->head_dim,
                .first = windowed ? row->pos - i->window + 1 : 0,
                .pos = row->pos,
            };
            if (n == EXACT_QUERIES || (alone && h == last)) {
                struct kv kv = exact_kv_of(x, row->slot, x->layer_index, kv_head);
                x->ops->attend(i->head_dim, &kv, queries, n, &x->scratch[thread]);
                n = 0;
            }
        }
    }
}

static void attend_head_piece(void *arg, uint32_t piece, uint32_t thread) {
    struct asy_exact *x = arg;
    uint32_t heads = x->model->info.kv_heads, t = piece / heads;
    attend(x, t, t + 1, piece % heads, thread);
}

static void attend_rows_piece(void *arg, uint32_t piece, uint32_t thread) {
    struct asy_exact *x = arg;
    uint32_t from = piece * x->rows_per_piece, to = from + x->rows_per_piece;
    for (uint32_t h = 0; h < x->model->info.kv_heads; h++) {
        attend(x, from, to < x->count ? to : x->count, h, thread);
    }
}

static void row_out_quant(struct asy_exact *x, uint32_t t, uint32_t thread) {
    (void)thread;
    uint32_t n = queries_of(&x->model->info);
    x->ops->quant(x->o + (size_t)t * n, n, x->layer->out.wide, &x->quant[t]);
}

static void row_ffn_norm(struct asy_exact *x, uint32_t t, uint32_t thread) {
    int32_t *row = x->x + t * dim_stride(x), *scratch = x->scratch[thread].row;
    if (x->model->info.post_norms) {
        x->ops->norm_out(&x->layer->attn_post, x->y + t * dim_stride(x), row, true, scratch);
    }
    x->ops->norm_quant(&x->layer->ffn, row, x->layer->gate_up.wide, &x->quant[t], scratch);
}

static void row_gate(struct asy_exact *x, uint32_t t, uint32_t thread) {
    (void)thread;
    const struct asy_exact_info *i = &x->model->info;
    int32_t *h = x->h + (size_t)t * i->inner;
    x->ops->gate(i->activation, x->gu + (size_t)t * pad_rows(2 * i->inner), i->inner, h);
    x->ops->quant(h, i->inner, x->layer->down.wide, &x->quant[t]);
}

static void row_ffn_post(struct asy_exact *x, uint32_t t, uint32_t thread) {
    x->ops->norm_out(&x->layer->ffn_post, x->y + t * dim_stride(x), x->x + t * dim_stride(x), true,
                     x->scratch[thread].row);
}

static void row_final_norm(struct asy_exact *x, uint32_t t, uint32_t thread) {
    x->ops->norm_quant(&x->model->final, x->x + t * dim_stride(x), x->model->head.wide,
                       &x->quant[t], x->scratch[thread].row);
}

/* A linear whose output is added to the residual, through a post-norm where the model has them. */
static void linear_residual(struct asy_exact *x, const struct linear *l) {
    bool post = x->model->info.post_norms;
    linear(x, l, post ? x->y : x->x, dim_stride(x), !post);
}

/* Behind the last layer's keys and values only rows whose logits are wanted matter. */
static void keep_wanted(struct asy_exact *x) {
    uint32_t kept = 0;
    size_t dim = dim_stride(x), qkv = qkv_stride(&x->model->info);
    for (uint32_t t = 0; t < x->count; t++) {
        if (!x->rows[t].logits) {
            continue;
        }
        if (kept != t) {
            x->rows[kept] = x->rows[t];
            memcpy(x->x + kept * dim, x->x + t * dim, 4 * dim);
            memcpy(x->qkv + kept * qkv, x->qkv + t * qkv, 4 * qkv);
        }
        kept++;
    }
    x->count = kept;
}

static void run_layer(struct asy_exact *x, uint32_t index) {
    const struct asy_exact_info *i = &x->model->info;
    const struct layer *y = x->layer = &x->model->layers[index];
    x->layer_index = index;
    each_row(x, row_attn_norm);
    observe(x, STAGE_ATTN_NORM);
    linear(x, &y->qkv, x->qkv, qkv_stride(i), false);
    observe(x, STAGE_QKV);
    each_row(x, row_heads);
    observe(x, STAGE_HEADS);
    if (index + 1 == i->layers && x->observe == NULL) {
        keep_wanted(x);
        if (x->count == 0) {
            return;
        }
    }
    if (x->count >= 4 * x->config.threads) {
        pool_run(x->pool, attend_rows_piece, x, cut_rows(x));
    } else {
        pool_run(x->pool, attend_head_piece, x, x->count * i->kv_heads);
    }
    observe(x, STAGE_ATTEND);
    each_row(x, row_out_quant);
    observe(x, STAGE_OUT_QUANT);
    linear_residual(x, &y->out);
    observe(x, STAGE_OUT);
    each_row(x, row_ffn_norm);
    observe(x, STAGE_FFN_NORM);
    linear(x, &y->gate_up, x->gu, pad_rows(2 * i->inner), false);
    observe(x, STAGE_GATE_UP);
    each_row(x, row_gate);
    observe(x, STAGE_GATE);
    linear_residual(x, &y->down);
    observe(x, STAGE_DOWN);
    if (i->post_norms) {
        each_row(x, row_ffn_post);
    }
    observe(x, STAGE_LAYER);
}

enum asy_err asy_exact_step(struct asy_exact *x, const int32_t **ret_logits,
                            const struct asy_exact_row *rows, uint32_t count) {
    const struct asy_exact_info *i = &x->model->info;
    uint32_t wanted = 0;
    if (count < 1 || count > x->config.rows) {
        return ASY_ERR_RANGE;
    }
    for (uint32_t t = 0; t < count; t++) {
        if (rows[t].token >= i->vocab || rows[t].slot >= x->config.slots ||
            rows[t].pos >= x->config.context) {
            return ASY_ERR_RANGE;
        }
        wanted += rows[t].logits;
    }
    if (wanted > x->config.logits_rows) {
        return ASY_ERR_RANGE;
    }
    memcpy(x->rows, rows, count * sizeof *rows);
    x->count = count;
    each_row(x, row_embed);
    observe(x, STAGE_EMBED);
    for (uint32_t l = 0; l < i->layers; l++) {
        run_layer(x, l);
    }
    keep_wanted(x);
    if (x->count != 0) {
        each_row(x, row_final_norm);
        observe(x, STAGE_FINAL);
        linear(x, &x->model->head, x->logits, asy_exact_logits_stride(x->model), false);
        observe(x, STAGE_LOGITS);
    }
    if (ret_logits != NULL) {
        *ret_logits = x->logits;
    }
    return ASY_OK;
}

/* ---- slots ---- */

enum asy_err asy_exact_copy(struct asy_exact *x, uint32_t to, uint32_t from, uint32_t count) {
    const struct asy_exact_info *i = &x->model->info;
    if (to >= x->config.slots || from >= x->config.slots || count > x->config.context) {
        return ASY_ERR_RANGE;
    }
    if (to == from) {
        return ASY_OK;
    }
    /* whole groups of 16 positions: what lies behind count is never read before it is written */
    size_t padded = ((size_t)count + 15) / 16 * 16;
    for (uint32_t l = 0; l < i->layers; l++) {
        for (uint32_t h = 0; h < i->kv_heads; h++) {
            struct kv a = exact_kv_of(x, from, l, h), b = exact_kv_of(x, to, l, h);
            memcpy(b.k, a.k, padded * i->head_dim);
            memcpy(b.v, a.v, padded * i->head_dim);
            memcpy(b.k_scale, a.k_scale, 4 * (size_t)count);
            memcpy(b.k_sum, a.k_sum, 4 * (size_t)count);
            memcpy(b.v_max, a.v_max, 4 * (size_t)count);
        }
    }
    return ASY_OK;
}

/* A save: "ASYKEYS1", count u32, layers u32, heads u32, head_dim u32 (little endian), then for each
 * layer, head and position: keys, values, mantissa u16, exponent i16, value maximum u32. */
#define SAVE_HEAD 24u

static uint64_t save_row(const struct asy_exact_info *i) { return 2ull * i->head_dim + 8; }

uint64_t asy_exact_save_len(const struct asy_exact_model *m, uint32_t count) {
    return SAVE_HEAD + (uint64_t)count * m->info.layers * m->info.kv_heads * save_row(&m->info);
}

static void save_head(uint8_t *ret, const struct asy_exact_info *i, uint32_t count) {
    memcpy(ret, "ASYKEYS1", 8);
    asy_le32_put(ret + 8, count);
    asy_le32_put(ret + 12, i->layers);
    asy_le32_put(ret + 16, i->kv_heads);
    asy_le32_put(ret + 20, i->head_dim);
}

enum asy_err asy_exact_save(const struct asy_exact *x, uint8_t *ret, uint32_t slot,
                            uint32_t count) {
    const struct asy_exact_info *i = &x->model->info;
    uint32_t hd = i->head_dim;
    if (slot >= x->config.slots || count > x->config.context) {
        return ASY_ERR_RANGE;
    }
    save_head(ret, i, count);
    ret += SAVE_HEAD;
    for (uint32_t l = 0; l < i->layers; l++) {
        for (uint32_t h = 0; h < i->kv_heads; h++) {
            struct kv kv = exact_kv_of(x, slot, l, h);
            for (uint32_t p = 0; p < count; p++, ret += save_row(i)) {
                for (uint32_t e = 0; e < hd; e++) {
                    ret[e] = (uint8_t)kv.k[key_at(hd, p, e)];
                    ret[hd + e] = (uint8_t)kv.v[value_at(hd, p, e)];
                }
                asy_le32_put(ret + 2 * hd, (uint32_t)kv.k_scale[p]);
                asy_le32_put(ret + 2 * hd + 4, (uint32_t)kv.v_max[p]);
            }
        }
    }
    return ASY_OK;
}

/* What `put` can write, and nothing else: the operators' bounds rest on it. */
static bool entry_ok(const uint8_t *row, uint32_t hd) {
    int32_t scale = (int32_t)asy_le32_get(row + 2 * hd), exp = scale >> 16;
    uint32_t max = asy_le32_get(row + 2 * hd + 4);
    bool ok = (scale & 0xffff) >= 1 << 15 && exp >= 1 - 16 - EXACT_UNIT && exp <= EXACT_UNIT &&
              max >= 1 && max <= EXACT_CAP;
    for (uint32_t e = 0; e < 2 * hd; e++) {
        ok = ok && row[e] != 0x80;
    }
    return ok;
}

enum asy_err asy_exact_restore(struct asy_exact *x, uint32_t slot, struct asy_bytes save,
                               uint32_t *ret_count) {
    const struct asy_exact_info *i = &x->model->info;
    uint32_t hd = i->head_dim;
    uint8_t head[SAVE_HEAD];
    if (slot >= x->config.slots) {
        return ASY_ERR_RANGE;
    }
    if (save.n < SAVE_HEAD) {
        return ASY_ERR_SYNTAX;
    }
    uint32_t count = asy_le32_get(save.p + 8);
    save_head(head, i, count);
    if (memcmp(head, save.p, SAVE_HEAD) != 0 || save.n != asy_exact_save_len(x->model, count)) {
        return ASY_ERR_SYNTAX;
    }
    if (count > x->config.context) {
        return ASY_ERR_RANGE;
    }
    const uint8_t *row = save.p + SAVE_HEAD;
    uint64_t rows = (uint64_t)i->layers * i->kv_heads * count;
    for (uint64_t n = 0; n < rows; n++) {
        if (!entry_ok(row + n * save_row(i), hd)) {
            return ASY_ERR_SYNTAX;
        }
    }
    for (uint32_t l = 0; l < i->layers; l++) {
        for (uint32_t h = 0; h < i->kv_heads; h++) {
            struct kv kv = exact_kv_of(x, slot, l, h);
            for (uint32_t p = 0; p < count; p++, row += save_row(i)) {
                kv.k_sum[p] = 0;
                for (uint32_t e = 0; e < hd; e++) {
                    kv.k[key_at(hd, p, e)] = (int8_t)row[e];
                    kv.k_sum[p] += (int8_t)row[e];
                    kv.v[value_at(hd, p, e)] = (int8_t)row[hd + e];
                }
                kv.k_scale[p] = (int32_t)asy_le32_get(row + 2 * hd);
                kv.v_max[p] = (int32_t)asy_le32_get(row + 2 * hd + 4);
            }
        }
    }
    *ret_count = count;
    return ASY_OK;
}
