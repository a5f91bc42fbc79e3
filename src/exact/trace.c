/* trace.c: the leaves of exact.md section 9, made while the executor computes a job again. */
#include "crypto/crypto.h"
#include "exact/exec_priv.h"
#include "exact/rows_priv.h"
#include "sample/sample.h"

#define LEAF     ASY_EXACT_LEAF
#define LIST_MAX 64u /* ids of a list of top-k */
#define ROWS_MAX 64u /* positions computed at once */

/* Where the blocks of a layer slot start, in leaves (SPEC exact 9.2). */
struct layout {
    uint64_t attn_q, qkv, q_heads, kv_heads, soft, attended, out_q, out_y, out_s, x_attn, ffn_q,
        gate_up, down_q, down_y, down_s, x_ffn, head_q, choice;
    uint32_t q_leaves, kv_leaves, soft_leaves; /* of one head */
    struct asy_exact_trace_shape shape;
};

struct asy_exact_trace {
    struct asy_exact *x;
    const struct asy_exact_info *info;
    struct asy_exact_job job;
    struct layout layout;
    uint32_t positions;
    uint32_t base;              /* first position of the rows at hand */
    uint32_t rows;              /* computed at once */
    uint8_t *leaves;            /* [rows][leaves of a layer slot][LEAF]: the slot at hand */
    struct asy_hash *slot_root; /* [rows][layer slots] */
    struct asy_hash *slots;     /* [layer slots]: being folded */
    struct asy_hash *nodes;     /* [threads][leaves of a layer slot] */
    int32_t *row;               /* [threads][most elements of a vector] */
    int16_t *limbs;             /* the same */
    uint32_t *order;            /* [threads][vocab] ids in order of their logits */
    int32_t *adjusted;          /* [threads][vocab] logits; NULL: the settings adjust none */
    /* Of the output before the choice of the first of the rows at hand, and room for each thread
     * to go on from there; NULL: no penalty asks. */
    struct asy_sample_count *counts; /* [1 + threads][most] */
    size_t counts_len, counts_most;
    uint32_t counted; /* output ids in the first of them, earlier segments' too */
    struct asy_hash *position_root;
    struct asy_hash empty[ASY_EXACT_MAX_TRACE_PATH + 1]; /* trees of nothing, by height */
    uint8_t *opened; /* leaves of the layer slot that is being opened, or NULL */
    uint32_t opened_position, opened_slot;
};

/* ---- shape ---- */

static uint64_t leaves_of(uint64_t bytes) { return (bytes + LEAF - 1) / LEAF; }

/* Leaves of each of the four parts of a quantised row. */
static uint64_t part_of(uint32_t count) { return (uint64_t)1 << exact_log2_up(leaves_of(count)); }

static struct layout layout_of(const struct asy_exact_info *i, uint32_t positions) {
    struct layout y = {0};
    struct places p = {0}, last = {0};
    uint32_t queries = i->heads * i->head_dim, blocks = (positions + EXACT_BLOCK - 1) / EXACT_BLOCK;
    bool post = i->post_norms;
    y.q_leaves = 1u << exact_log2_up(leaves_of(64 + i->head_dim));
    y.kv_leaves = 1u << exact_log2_up(leaves_of(64 + 2 * i->head_dim));
    y.soft_leaves = 1u << exact_log2_up(leaves_of(32 + 2 * blocks));
    y.attn_q = exact_place(&p, 4 * part_of(i->dim));
    y.qkv = exact_place(&p, leaves_of(4ull * (i->heads + 2 * i->kv_heads) * i->head_dim));
    y.q_heads = exact_place(&p, (uint64_t)i->heads * y.q_leaves);
    y.kv_heads = exact_place(&p, (uint64_t)i->kv_heads * y.kv_leaves);
    y.soft = exact_place(&p, (uint64_t)i->heads * y.soft_leaves);
    y.attended = exact_place(&p, leaves_of(4ull * queries));
    y.out_q = exact_place(&p, 4 * part_of(queries));
    y.out_y = exact_place(&p, post ? leaves_of(4ull * i->dim) : 0);
    y.out_s = exact_place(&p, post);
    y.x_attn = exact_place(&p, leaves_of(4ull * i->dim));
    y.ffn_q = exact_place(&p, 4 * part_of(i->dim));
    y.gate_up = exact_place(&p, leaves_of(8ull * i->inner));
    y.down_q = exact_place(&p, 4 * part_of(i->inner));
    y.down_y = exact_place(&p, post ? leaves_of(4ull * i->dim) : 0);
    y.down_s = exact_place(&p, post);
    y.x_ffn = exact_place(&p, leaves_of(4ull * i->dim));
    y.head_q = exact_place(&last, 4 * part_of(i->dim));
    y.choice = exact_place(&last, 4);
    y.shape = (struct asy_exact_trace_shape){.position_bits = exact_log2_up(positions),
                                             .layer_bits = exact_log2_up(i->layers + 2),
                                             .leaf_bits = exact_log2_up(p.end)};
    ASY_ASSERT(exact_log2_up(last.end) <= y.shape.leaf_bits);
    return y;
}

struct asy_exact_trace_shape asy_exact_trace_shape(const struct asy_exact_model *m,
                                                   uint32_t positions) {
    return layout_of(&m->info, positions).shape;
}

/* ---- writing leaves ---- */

static void put_words(uint8_t *at, const int64_t *words, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        asy_le64_put(at + 8 * (size_t)i, (uint64_t)words[i]);
    }
}

static void put_i32(uint8_t *at, const int32_t *values, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        asy_le32_put(at + 4 * (size_t)i, (uint32_t)values[i]);
    }
}

/* SPEC exact 9.3: a maximum and the lowest index that attains it; 1 and 0 for zeros. */
static int32_t put_max(int64_t ret_words[2], const int32_t *y, uint32_t count) {
    int32_t max = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        int32_t a = y[i] < 0 ? -y[i] : y[i];
        if (a > max) {
            max = a;
            at = i;
        }
    }
    max = max != 0 ? max : 1;
    ret_words[0] = max;
    ret_words[1] = at;
    return max;
}

struct view { /* one row, as the observer sees it */
    struct asy_exact_trace *t;
    uint32_t row;      /* of the executor */
    uint32_t position; /* of the job */
    uint32_t thread;
    uint8_t *leaves; /* of the layer slot at hand */
    int32_t *y;      /* scratch */
    int16_t *q;
};

static uint8_t *leaf(const struct view *v, uint64_t n) { return v->leaves + n * LEAF; }

/* A quantised row: words in its first part, then high and low limbs. */
static void put_quant(const struct view *v, uint64_t at, const int64_t words[5], const int32_t *y,
                      uint32_t count, bool wide) {
    uint64_t part = part_of(count);
    int8_t *high = (int8_t *)leaf(v, at + part), *low = (int8_t *)leaf(v, at + 2 * part);
    put_words(leaf(v, at), words, 5);
    exact_quant_row(y, count, wide, (int32_t)words[3], v->q);
    for (uint32_t i = 0; i < count; i++) {
        int32_t h = wide ? (v->q[i] + 128) >> 8 : v->q[i];
        high[i] = (int8_t)h;
        low[i] = wide ? (int8_t)(v->q[i] - 256 * h) : 0;
    }
}

static void put_norm_quant(const struct view *v, uint64_t at, const struct norm *n,
                           const int32_t *x, bool wide) {
    int64_t words[5];
    put_max(words, x, n->count);
    words[2] = (int64_t)exact_norm_core(n, x, v->y);
    put_max(words + 3, v->y, n->count);
    put_quant(v, at, words, v->y, n->count, wide);
}

static void put_plain_quant(const struct view *v, uint64_t at, const int32_t *y, uint32_t count,
                            bool wide) {
    int64_t words[5] = {0};
    put_max(words + 3, y, count);
    put_quant(v, at, words, y, count, wide);
}

/* Ax, its index, S of a norm with int32 output. */
static void put_norm_out(const struct view *v, uint8_t *at, const struct norm *n,
                         const int32_t *x) {
    int64_t words[3];
    put_max(words, x, n->count);
    words[2] = (int64_t)exact_norm_core(n, x, v->y);
    put_words(at, words, 3);
}

/* ---- attention ---- */

static void put_raw_heads(const struct view *v) {
    const struct asy_exact_trace *t = v->t;
    const struct asy_exact_info *i = t->info;
    const struct layer *y = t->x->layer;
    const int32_t *q = t->x->qkv + (size_t)v->row * qkv_stride(i);
    put_i32(leaf(v, t->layout.qkv), q, queries_of(i) + 2 * keys_of(i));
    for (uint32_t h = 0; i->qk_norms && h < i->heads; h++) {
        put_norm_out(v, leaf(v, t->layout.q_heads + (uint64_t)h * t->layout.q_leaves), &y->q,
                     q + (size_t)h * i->head_dim);
    }
    for (uint32_t h = 0; i->qk_norms && h < i->kv_heads; h++) {
        put_norm_out(v, leaf(v, t->layout.kv_heads + (uint64_t)h * t->layout.kv_leaves), &y->k,
                     q + queries_of(i) + (size_t)h * i->head_dim);
    }
}

static void put_heads(const struct view *v) {
    const struct asy_exact_trace *t = v->t;
    const struct asy_exact_info *i = t->info;
    uint32_t hd = i->head_dim;
    const int32_t *q = t->x->qkv + (size_t)v->row * qkv_stride(i), *k = q + queries_of(i),
                  *values = k + keys_of(i);
    int64_t words[4];
    for (uint32_t h = 0; h < i->heads; h++) {
        uint8_t *at = leaf(v, t->layout.q_heads + (uint64_t)h * t->layout.q_leaves);
        int32_t max = put_max(words, q + (size_t)h * hd, hd);
        put_words(at + 24, words, 2);
        exact_quant_row(q + (size_t)h * hd, hd, false, max, v->q);
        for (uint32_t e = 0; e < hd; e++) {
            at[64 + e] = (uint8_t)v->q[e];
        }
    }
    for (uint32_t h = 0; h < i->kv_heads; h++) {
        uint8_t *at = leaf(v, t->layout.kv_heads + (uint64_t)h * t->layout.kv_leaves);
        struct kv kv = exact_kv_of(t->x, 0, t->x->layer_index, h);
        put_max(words, k + (size_t)h * hd, hd);
        put_max(words + 2, values + (size_t)h * hd, hd);
        put_words(at + 24, words, 4);
        for (uint32_t e = 0; e < hd; e++) {
            at[64 + e] = (uint8_t)kv.k[key_at(hd, v->position, e)];
            at[64 + hd + e] = (uint8_t)kv.v[value_at(hd, v->position, e)];
        }
    }
}

static void put_soft(const struct view *v) {
    const struct asy_exact_trace *t = v->t;
    const struct asy_exact_info *i = t->info;
    const struct scratch *s = &t->x->scratch[v->thread];
    uint32_t pos = v->position, first = 0;
    if (t->x->layer->window && pos >= i->window) {
        first = pos - i->window + 1;
    }
    for (uint32_t h = 0; h < i->heads; h++) {
        uint8_t *at = leaf(v, t->layout.soft + (uint64_t)h * t->layout.soft_leaves);
        struct kv kv = exact_kv_of(t->x, 0, t->x->layer_index, h / (i->heads / i->kv_heads));
        struct shares r = exact_shares(
            i->head_dim, &kv, t->x->qkv + (size_t)v->row * qkv_stride(i) + (size_t)h * i->head_dim,
            first, pos, s);
        uint32_t best_at = first, block = first / EXACT_BLOCK;
        while (s->score[best_at] != r.best) {
            best_at++;
        }
        int most = -1;
        for (uint32_t b = first / EXACT_BLOCK; b <= pos / EXACT_BLOCK; b++) {
            int bits = -1;
            uint32_t where = 0;
            for (uint32_t j = b * EXACT_BLOCK; j < (b + 1) * EXACT_BLOCK && j <= pos; j++) {
                if (j >= first && bit_len(s->share[j]) > bits) {
                    bits = bit_len(s->share[j]);
                    where = j - b * EXACT_BLOCK;
                }
            }
            if (bits > most) {
                most = bits;
                block = b;
            }
            at[32 + 2 * (size_t)b] = (uint8_t)where;
            at[33 + 2 * (size_t)b] = (uint8_t)bits;
        }
        const int64_t words[4] = {r.best, best_at, (int64_t)r.sum, block};
        put_words(at, words, 4);
    }
    put_i32(leaf(v, t->layout.attended), t->x->o + (size_t)v->row * queries_of(i), queries_of(i));
}

/* ---- the choice ---- */

struct choice {
    const int32_t *logits;
    uint32_t *ids; /* in order: logit descending, id ascending */
    uint32_t vocab;
};

static bool earlier(const int32_t *logits, uint32_t a, uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
}

/* Heap sort: bounded, in place, and needs no global for the comparison. */
static void sift(const struct choice *c, uint32_t root, uint32_t count) {
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= count) {
            return;
        }
        if (child + 1 < count && earlier(c->logits, c->ids[child], c->ids[child + 1])) {
            child++;
        }
        if (!earlier(c->logits, c->ids[root], c->ids[child])) {
            return;
        }
        uint32_t swap = c->ids[root];
        c->ids[root] = c->ids[child];
        c->ids[child] = swap;
        root = child;
    }
}

static void sort_ids(const struct choice *c) {
    for (uint32_t i = 0; i < c->vocab; i++) {
        c->ids[i] = i;
    }
    for (uint32_t i = c->vocab / 2; i-- > 0;) {
        sift(c, i, c->vocab);
    }
    for (uint32_t end = c->vocab; end-- > 1;) {
        uint32_t swap = c->ids[0];
        c->ids[0] = c->ids[end];
        c->ids[end] = swap;
        sift(c, 0, end);
    }
}

static uint32_t id_at(const struct asy_exact_job *job, uint32_t n) {
    return n < job->prompt_count ? job->prompt_ids[n] : job->output_ids[n - job->prompt_count];
}

/* How many output ids stand before the one that is chosen at a position, earlier segments' too. */
static uint32_t before_choice(const struct asy_exact_job *job, uint32_t position) {
    return position + 1 < job->prompt_count ? job->first
                                            : job->first + position + 1 - job->prompt_count;
}

/* Counts output ids [from, to) of the answer. */
static void count_output(const struct asy_exact_job *job, struct asy_sample_count *counts,
                         size_t *inout_len, uint32_t from, uint32_t to) {
    uint32_t begin = job->prompt_count - job->first; /* the answer's first id, among all ids */
    for (uint32_t n = from; n < to; n++) {
        asy_sample_count_add(counts, inout_len, id_at(job, begin + n));
    }
}

/* SPEC sampling 4.2: "From here on "logit" means what they leave." */
static const int32_t *adjust(const struct view *v, const int32_t *logits) {
    const struct asy_exact_trace *t = v->t;
    uint32_t vocab = t->info->vocab;
    if (t->adjusted == NULL) {
        return logits;
    }
    int32_t *own = t->adjusted + (size_t)v->thread * vocab;
    struct asy_sample_count *counts = NULL;
    size_t len = 0;
    memcpy(own, logits, vocab * sizeof *own);
    if (t->counts != NULL) {
        counts = t->counts + (1 + (size_t)v->thread) * t->counts_most;
        len = t->counts_len;
        memcpy(counts, t->counts, len * sizeof *counts);
        count_output(&t->job, counts, &len, t->counted, before_choice(&t->job, v->position));
    }
    enum asy_err err = asy_sample_adjust(own, vocab, &t->job.sampling, t->job.bias,
                                         t->job.bias_count, counts, len);
    ASY_ASSERT(err == ASY_OK); /* ids were checked */
    return own;
}

/* SPEC exact 9.4 */
static void put_choice(const struct view *v) {
    const struct asy_exact_trace *t = v->t;
    const struct asy_sample_settings *s = &t->job.sampling;
    uint8_t *at = leaf(v, t->layout.choice);
    struct choice c = {.ids = t->order + (size_t)v->thread * t->info->vocab,
                       .vocab = t->info->vocab};
    uint32_t claimed = t->job.output_ids[v->position + 1 - t->job.prompt_count];
    asy_le32_put(at + 3 * LEAF, claimed);
    bool top_k = s->top_k > 0 && s->top_k < c.vocab, top_p = s->top_p_ppm < ASY_SAMPLE_PPM;
    if (s->temperature_milli == 0 || (!top_k && !top_p && s->min_p_ppm == 0)) {
        return;
    }
    c.logits = adjust(v, t->x->logits + (size_t)v->row * asy_exact_logits_stride(t->x->model));
    sort_ids(&c);
    uint32_t there = c.vocab; /* ids that no bias masks: they come last */
    while (there > 0 && c.logits[c.ids[there - 1]] == ASY_SAMPLE_MASKED) {
        there--;
    }
    if (there == 0) {
        return;
    }
    uint32_t kept = top_k && s->top_k < there ? s->top_k : there;
    int64_t words[5] = {0};
    if (top_k && kept <= LIST_MAX) {
        for (uint32_t i = 0; i < kept; i++) {
            asy_le32_put(at + 4 * (size_t)i, c.ids[i]);
        }
    }
    words[0] = top_p || s->min_p_ppm > 0 ? c.ids[0] : 0;
    words[1] = top_k ? c.ids[kept - 1] : 0;
    if (top_p) {
        uint64_t sum = 0, upto = 0, need;
        int32_t best = c.logits[c.ids[0]];
        for (uint32_t i = 0; i < kept; i++) {
            sum += asy_sample_weight((uint32_t)((int64_t)best - c.logits[c.ids[i]]));
        }
        need = (uint64_t)(((asy_u128)sum * s->top_p_ppm + ASY_SAMPLE_PPM - 1) / ASY_SAMPLE_PPM);
        uint32_t n = 0;
        do {
            upto += asy_sample_weight((uint32_t)((int64_t)best - c.logits[c.ids[n]]));
        } while (upto < need && ++n < kept);
        words[2] = (int64_t)sum;
        words[3] = c.ids[n];
        words[4] = (int64_t)upto;
    }
    put_words(at + 2 * LEAF, words, 5);
}

/* ---- hashing ---- */

static bool is_zero(const uint8_t *p, size_t len) {
    uint64_t any = 0;
    for (size_t i = 0; i < len; i += 8) {
        any |= asy_le64_get(p + i);
    }
    return any == 0;
}

/* Folds a level of nodes into the one above it. height: of the nodes of the level. */
static void fold(const struct asy_exact_trace *t, struct asy_hash *nodes, uint64_t width,
                 uint32_t height) {
    for (uint64_t n = 0; n < width / 2; n++) {
        if (asy_hash_eq(&nodes[2 * n], &t->empty[height]) &&
            asy_hash_eq(&nodes[2 * n + 1], &t->empty[height])) {
            nodes[n] = t->empty[height + 1];
        } else {
            asy_keccak256_two(&nodes[n], &nodes[2 * n], &nodes[2 * n + 1]);
        }
    }
}

static void hash_leaves(const struct asy_exact_trace *t, struct asy_hash *nodes,
                        const uint8_t *leaves) {
    for (uint64_t n = 0; n < (uint64_t)1 << t->layout.shape.leaf_bits; n++) {
        if (is_zero(leaves + n * LEAF, LEAF)) {
            nodes[n] = t->empty[0];
        } else {
            asy_keccak256(&nodes[n], asy_bytes_of(leaves + n * LEAF, LEAF));
        }
    }
}

/* The layer slot at hand is whole: its root, and a clean slate. */
static void end_slot(const struct view *v, uint32_t slot) {
    struct asy_exact_trace *t = v->t;
    uint32_t bits = t->layout.shape.leaf_bits;
    struct asy_hash *nodes = t->nodes + ((size_t)v->thread << bits);
    if (t->opened != NULL) {
        if (v->position == t->opened_position && slot == t->opened_slot) {
            memcpy(t->opened, v->leaves, (size_t)LEAF << bits);
        }
    }
    hash_leaves(t, nodes, v->leaves);
    for (uint32_t h = 0; h < bits; h++) {
        fold(t, nodes, (uint64_t)1 << (bits - h), h);
    }
    t->slot_root[((size_t)(v->position - t->base) << t->layout.shape.layer_bits) + slot] = nodes[0];
    memset(v->leaves, 0, (size_t)LEAF << bits);
}

/* ---- the observer ---- */

static void look(void *arg, enum stage stage, uint32_t row, uint32_t thread) {
    struct asy_exact_trace *t = arg;
    const struct asy_exact *x = t->x;
    const struct asy_exact_info *i = t->info;
    const struct layer *y = x->layer;
    const struct layout *at = &t->layout;
    size_t most = i->inner > ASY_EXACT_MAX_DIM ? i->inner : ASY_EXACT_MAX_DIM;
    struct view v = {.t = t, .row = row, .position = x->rows[row].pos, .thread = thread};
    v.leaves = t->leaves + (((size_t)(v.position - t->base) * LEAF) << at->shape.leaf_bits);
    v.y = t->row + thread * most;
    v.q = t->limbs + thread * most;
    const int32_t *residual = x->x + (size_t)row * pad_rows(i->dim);
    const int32_t *before = x->y + (size_t)row * pad_rows(i->dim);
    switch (stage) {
    case STAGE_EMBED:
        put_i32(leaf(&v, 0), residual, i->dim);
        end_slot(&v, 0);
        break;
    case STAGE_ATTN_NORM:
        put_norm_quant(&v, at->attn_q, &y->attn, residual, y->qkv.wide);
        break;
    case STAGE_QKV:
        put_raw_heads(&v);
        break;
    case STAGE_HEADS:
        put_heads(&v);
        break;
    case STAGE_ATTEND:
        put_soft(&v);
        break;
    case STAGE_OUT_QUANT:
        put_plain_quant(&v, at->out_q, x->o + (size_t)row * queries_of(i), queries_of(i),
                        y->out.wide);
        break;
    case STAGE_OUT:
        if (i->post_norms) {
            put_i32(leaf(&v, at->out_y), before, i->dim);
            put_norm_out(&v, leaf(&v, at->out_s), &y->attn_post, before);
        }
        break;
    case STAGE_FFN_NORM:
        put_i32(leaf(&v, at->x_attn), residual, i->dim);
        put_norm_quant(&v, at->ffn_q, &y->ffn, residual, y->gate_up.wide);
        break;
    case STAGE_GATE_UP:
        put_i32(leaf(&v, at->gate_up), x->gu + (size_t)row * pad_rows(2 * i->inner), 2 * i->inner);
        break;
    case STAGE_GATE:
        put_plain_quant(&v, at->down_q, x->h + (size_t)row * i->inner, i->inner, y->down.wide);
        break;
    case STAGE_DOWN:
        if (i->post_norms) {
            put_i32(leaf(&v, at->down_y), before, i->dim);
            put_norm_out(&v, leaf(&v, at->down_s), &y->ffn_post, before);
        }
        break;
    case STAGE_LAYER:
        put_i32(leaf(&v, at->x_ffn), residual, i->dim);
        end_slot(&v, x->layer_index + 1);
        break;
    case STAGE_FINAL:
        put_norm_quant(&v, at->head_q, &x->model->final, residual, x->model->head.wide);
        break;
    case STAGE_LOGITS:
        put_choice(&v);
        end_slot(&v, i->layers + 1);
        break;
    }
}

/* ---- computing ---- */

/* Positions [from, to), their roots into t->position_root. */
static void compute(struct asy_exact_trace *t, uint32_t from, uint32_t to) {
    struct asy_exact_row rows[ROWS_MAX];
    uint32_t slots = t->info->layers + 2, bits = t->layout.shape.layer_bits;
    t->base = from;
    for (uint32_t p = from; p < to; p++) {
        rows[p - from] = (struct asy_exact_row){
            .token = id_at(&t->job, p), .pos = p, .logits = p + 1 >= t->job.prompt_count};
        for (uint32_t s = 0; s < 1u << bits; s++) {
            t->slot_root[((size_t)(p - from) << bits) + s] = t->empty[t->layout.shape.leaf_bits];
        }
    }
    ASY_ASSERT(slots <= 1u << bits);
    if (t->counts != NULL) {
        uint32_t before = before_choice(&t->job, from);
        if (before < t->counted) { /* a leaf that is opened: back to the beginning */
            t->counts_len = t->counted = 0;
        }
        count_output(&t->job, t->counts, &t->counts_len, t->counted, before);
        t->counted = before;
    }
    t->x->observe = look;
    t->x->observer = t;
    enum asy_err err = asy_exact_step(t->x, NULL, rows, to - from);
    t->x->observe = NULL;
    ASY_ASSERT(err == ASY_OK); /* ids and positions were checked */
    for (uint32_t p = from; p < to; p++) {
        memcpy(t->slots, t->slot_root + ((size_t)(p - from) << bits), sizeof *t->slots << bits);
        for (uint32_t h = 0; h < bits; h++) {
            fold(t, t->slots, (uint64_t)1 << (bits - h), t->layout.shape.leaf_bits + h);
        }
        t->position_root[p] = t->slots[0];
    }
}

static enum asy_err job_check(const struct asy_exact *x, const struct asy_exact_job *job,
                              struct asy_why *why) {
    uint64_t positions = (uint64_t)job->prompt_count + job->output_count - 1;
    if (job->prompt_count < 1 || job->output_count < 1 || positions > x->config.context) {
        return asy_why_set(
            why, ASY_ERR_RANGE, NULL,
            "a prompt of %u and an answer of %u tokens do not fit in a context of %u",
            job->prompt_count, job->output_count, x->config.context);
    }
    for (uint32_t n = 0; n <= positions; n++) {
        if (id_at(job, n) >= x->model->info.vocab) {
            return asy_why_set(why, ASY_ERR_RANGE, NULL, "id %u is not in the vocabulary",
                               id_at(job, n));
        }
    }
    ASY_TRY(asy_sample_settings_check(&job->sampling, why));
    ASY_TRY(asy_sample_bias_check(job->bias, job->bias_count, why));
    if (asy_hash_is_zero(&job->sampling.logit_bias) != (job->bias_count == 0) ||
        (job->bias_count != 0 && job->bias[job->bias_count - 1].id >= x->model->info.vocab)) {
        return asy_why_set(why, ASY_ERR_RANGE, "logit_bias",
                           "not the pairs of the settings, or an id is not in the vocabulary");
    }
    if (job->first >= job->prompt_count) {
        return asy_why_set(why, ASY_ERR_RANGE, NULL,
                           "%u ids of earlier segments do not fit before the answer", job->first);
    }
    return ASY_OK;
}

enum asy_err asy_exact_trace_new(struct asy_exact_trace **ret_trace, struct asy_exact *x,
                                 const struct asy_exact_job *job,
                                 void (*progress)(void *arg, uint32_t done, uint32_t count),
                                 void *arg, struct asy_why *reterr_why) {
    ASY_TRY(job_check(x, job, reterr_why));
    const struct asy_exact_info *i = &x->model->info;
    struct asy_exact_trace *t = asy_alloc(sizeof *t);
    *t = (struct asy_exact_trace){
        .x = x, .info = i, .job = *job, .positions = job->prompt_count + job->output_count - 1};
    t->layout = layout_of(i, t->positions);
    const struct asy_exact_trace_shape *shape = &t->layout.shape;
    size_t threads = x->config.threads;
    size_t most = i->inner > ASY_EXACT_MAX_DIM ? i->inner : ASY_EXACT_MAX_DIM;
    t->rows = x->config.logits_rows < ROWS_MAX ? x->config.logits_rows : ROWS_MAX;
    t->leaves = asy_alloc(((size_t)t->rows * LEAF) << shape->leaf_bits);
    t->slot_root = asy_alloc(((size_t)t->rows * sizeof(struct asy_hash)) << shape->layer_bits);
    t->slots = asy_alloc(sizeof *t->slots << shape->layer_bits);
    t->nodes = asy_alloc((threads * sizeof(struct asy_hash)) << shape->leaf_bits);
    t->row = asy_alloc(threads * most * sizeof *t->row);
    t->limbs = asy_alloc(threads * most * sizeof *t->limbs);
    t->order = asy_alloc(threads * i->vocab * sizeof *t->order);
    uint32_t uses = asy_sample_uses(&job->sampling);
    if ((uses & (ASY_SAMPLE_USES_COUNTS | ASY_SAMPLE_USE_BIAS)) != 0) {
        t->adjusted = asy_alloc(threads * i->vocab * sizeof *t->adjusted);
    }
    if ((uses & ASY_SAMPLE_USES_COUNTS) != 0) {
        t->counts_most = (size_t)job->first + job->output_count + 1;
        t->counts = asy_alloc((1 + threads) * t->counts_most * sizeof *t->counts);
    }
    t->position_root = asy_alloc(sizeof(struct asy_hash) << shape->position_bits);
    static const uint8_t nothing[LEAF];
    asy_keccak256(&t->empty[0], asy_bytes_of(nothing, LEAF));
    for (uint32_t h = 0; h < ASY_EXACT_MAX_TRACE_PATH; h++) {
        asy_keccak256_two(&t->empty[h + 1], &t->empty[h], &t->empty[h]);
    }
    for (uint32_t p = 0; p < t->positions; p += t->rows) {
        compute(t, p, p + t->rows < t->positions ? p + t->rows : t->positions);
        if (progress != NULL) {
            progress(arg, p + t->rows < t->positions ? p + t->rows : t->positions, t->positions);
        }
    }
    for (uint64_t p = t->positions; p < (uint64_t)1 << shape->position_bits; p++) {
        t->position_root[p] = t->empty[shape->leaf_bits + shape->layer_bits];
    }
    *ret_trace = t;
    return ASY_OK;
}

void asy_exact_trace_free(struct asy_exact_trace *t) {
    if (t != NULL) {
        asy_free(t->leaves);
        asy_free(t->slot_root);
        asy_free(t->slots);
        asy_free(t->nodes);
        asy_free(t->row);
        asy_free(t->limbs);
        asy_free(t->order);
        asy_free(t->adjusted);
        asy_free(t->counts);
        asy_free(t->position_root);
        asy_free(t);
    }
}

/* ---- reading ---- */

/* The siblings of node n on the way up through `bits` levels; the root into ret_root, if wanted.
 * nodes is used up. */
static void climb(const struct asy_exact_trace *t, struct asy_hash *nodes, uint64_t n,
                  uint32_t bits, uint32_t height, struct asy_hash *ret_path,
                  struct asy_hash *ret_root) {
    for (uint32_t h = 0; h < bits; h++) {
        if (ret_path != NULL) {
            ret_path[h] = nodes[n ^ 1];
        }
        fold(t, nodes, (uint64_t)1 << (bits - h), height + h);
        n /= 2;
    }
    if (ret_root != NULL) {
        *ret_root = nodes[0];
    }
}

/* Siblings, and the root, among the positions. */
static void climb_positions(const struct asy_exact_trace *t, uint64_t n, struct asy_hash *ret_path,
                            struct asy_hash *ret_root) {
    const struct asy_exact_trace_shape *s = &t->layout.shape;
    struct asy_hash *nodes = asy_alloc(sizeof *nodes << s->position_bits);
    memcpy(nodes, t->position_root, sizeof *nodes << s->position_bits);
    climb(t, nodes, n, s->position_bits, s->leaf_bits + s->layer_bits, ret_path, ret_root);
    asy_free(nodes);
}

void asy_exact_trace_root(const struct asy_exact_trace *t, struct asy_hash *ret_root) {
    climb_positions(t, 0, NULL, ret_root);
}

enum asy_err asy_exact_trace_open(struct asy_exact_trace *t, uint64_t index,
                                  uint8_t ret_leaf[ASY_EXACT_LEAF],
                                  struct asy_hash ret_path[ASY_EXACT_MAX_TRACE_PATH]) {
    const struct asy_exact_trace_shape *s = &t->layout.shape;
    uint64_t in_slot = index & (((uint64_t)1 << s->leaf_bits) - 1);
    uint64_t slot = index >> s->leaf_bits & (((uint64_t)1 << s->layer_bits) - 1);
    uint64_t position = index >> (s->leaf_bits + s->layer_bits);
    if (position >> s->position_bits != 0) {
        return ASY_ERR_RANGE;
    }
    uint8_t *leaves = asy_alloc((size_t)LEAF << s->leaf_bits);
    struct asy_hash *nodes = asy_alloc(sizeof *nodes << s->leaf_bits);
    struct asy_hash *slots = asy_alloc(sizeof *slots << s->layer_bits);
    for (uint32_t n = 0; n < 1u << s->layer_bits; n++) {
        slots[n] = t->empty[s->leaf_bits];
    }
    if (position < t->positions) { /* the others hold nothing */
        struct asy_hash root = t->position_root[position];
        t->opened = leaves;
        t->opened_position = (uint32_t)position;
        t->opened_slot = (uint32_t)slot;
        /* keys and values of earlier positions still stand in the slot */
        compute(t, (uint32_t)position, (uint32_t)position + 1);
        t->opened = NULL;
        ASY_ASSERT(asy_hash_eq(&root, &t->position_root[position]));
        memcpy(slots, t->slot_root, sizeof *slots << s->layer_bits);
    }
    hash_leaves(t, nodes, leaves);
    memcpy(ret_leaf, leaves + in_slot * LEAF, LEAF);
    climb(t, nodes, in_slot, s->leaf_bits, 0, ret_path, NULL);
    climb(t, slots, slot, s->layer_bits, s->leaf_bits, ret_path + s->leaf_bits, NULL);
    climb_positions(t, position, ret_path + s->leaf_bits + s->layer_bits, NULL);
    asy_free(leaves);
    asy_free(nodes);
    asy_free(slots);
    return ASY_OK;
}

/* ---- the job ---- */

void asy_exact_job_hash(struct asy_hash *ret_hash, const struct asy_exact_job *job,
                        const struct asy_hash *weights, const struct asy_hash *output) {
    uint8_t in[32 + 32 + 32 + 32 + ASY_SAMPLE_SETTINGS_LEN + 4] = "assay/exact/job/2";
    memcpy(in + 32, weights->b, 32);
    memcpy(in + 64, output->b, 32);
    memcpy(in + 96, job->seed, 32);
    asy_sample_settings_encode(in + 128, &job->sampling);
    asy_be32_put(in + 192, 1); /* layout */
    asy_keccak256(ret_hash, asy_bytes_of(in, sizeof in));
}
