/* watch.c: the executor's stages as vectors of int32, for calibration and measurement. */
#include "exact/exec_priv.h"

struct asy_exact_watch {
    struct asy_exact *x;
    asy_exact_watch_fn fn;
    void *arg;
    int32_t *norm; /* [threads][dim] */
};

/* What a norm quantises is nowhere as int32, so it is computed once more. */
static void tell_norm(struct asy_exact_watch *w, enum asy_exact_point point,
                      const struct norm *norm, uint32_t layer, uint32_t row, uint32_t thread) {
    struct asy_exact *x = w->x;
    struct norm n = *norm;
    n.shift = 45 - 15 - 7; /* y * r is 2^30 * gain * x / |x| */
    int32_t *y = w->norm + (size_t)thread * n.count;
    exact_ops_scalar.norm_out(&n, x->x + (size_t)row * pad_rows(n.count), y, false,
                              x->scratch[thread].row);
    w->fn(w->arg, point, layer, row, y, n.count, thread);
}

static void look(void *arg, enum stage stage, uint32_t row, uint32_t thread) {
    struct asy_exact_watch *w = arg;
    const struct asy_exact *x = w->x;
    const struct asy_exact_info *i = &x->model->info;
    uint32_t layer = x->layer_index, queries = queries_of(i), heads = queries + 2 * keys_of(i);
    size_t dim = pad_rows(i->dim);
    const int32_t *residual = x->x + row * dim, *y = x->y + row * dim;
    const int32_t *qkv = x->qkv + row * (size_t)qkv_stride(i);
    switch (stage) {
    case STAGE_EMBED:
        w->fn(w->arg, ASY_EXACT_AT_RESIDUAL, 0, row, residual, i->dim, thread);
        break;
    case STAGE_ATTN_NORM:
        tell_norm(w, ASY_EXACT_AT_ATTN_NORM, &x->layer->attn, layer, row, thread);
        break;
    case STAGE_QKV:
        w->fn(w->arg, ASY_EXACT_AT_QKV, layer, row, qkv, heads, thread);
        break;
    case STAGE_HEADS:
        w->fn(w->arg, ASY_EXACT_AT_HEADS, layer, row, qkv, heads, thread);
        break;
    case STAGE_ATTEND:
        w->fn(w->arg, ASY_EXACT_AT_ATTENTION, layer, row, x->o + (size_t)row * queries, queries,
              thread);
        break;
    case STAGE_OUT_QUANT:
        break;
    case STAGE_OUT:
        if (i->post_norms) {
            w->fn(w->arg, ASY_EXACT_AT_OUT, layer, row, y, i->dim, thread);
        }
        break;
    case STAGE_FFN_NORM:
        tell_norm(w, ASY_EXACT_AT_FFN_NORM, &x->layer->ffn, layer, row, thread);
        break;
    case STAGE_GATE_UP:
        w->fn(w->arg, ASY_EXACT_AT_GATE_UP, layer, row,
              x->gu + row * (size_t)pad_rows(2 * i->inner), 2 * i->inner, thread);
        break;
    case STAGE_GATE:
        w->fn(w->arg, ASY_EXACT_AT_GATED, layer, row, x->h + (size_t)row * i->inner, i->inner,
              thread);
        break;
    case STAGE_DOWN:
        if (i->post_norms) {
            w->fn(w->arg, ASY_EXACT_AT_DOWN, layer, row, y, i->dim, thread);
        }
        break;
    case STAGE_LAYER:
        w->fn(w->arg, ASY_EXACT_AT_RESIDUAL, layer + 1, row, residual, i->dim, thread);
        break;
    case STAGE_FINAL:
        tell_norm(w, ASY_EXACT_AT_FINAL_NORM, &x->model->final, i->layers, row, thread);
        break;
    case STAGE_LOGITS:
        w->fn(w->arg, ASY_EXACT_AT_LOGITS, i->layers, row,
              x->logits + row * (size_t)asy_exact_logits_stride(x->model), i->vocab, thread);
        break;
    }
}

struct asy_exact_watch *asy_exact_watch_new(struct asy_exact *x, asy_exact_watch_fn fn, void *arg) {
    ASY_ASSERT(x->observe == NULL);
    struct asy_exact_watch *w = asy_alloc(sizeof *w);
    *w = (struct asy_exact_watch){.x = x, .fn = fn, .arg = arg};
    w->norm = asy_alloc((size_t)x->config.threads * x->model->info.dim * sizeof *w->norm);
    x->observe = look;
    x->observer = w;
    return w;
}

void asy_exact_watch_free(struct asy_exact_watch *w) {
    if (w != NULL) {
        w->x->observe = NULL;
        asy_free(w->norm);
        asy_free(w);
    }
}
