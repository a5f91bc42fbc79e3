/* calibrate.c: runs a text through the engine, and watches. Integers only: the same everywhere. */
#include "convert/calibrate_priv.h"

enum { ROWS = 64, CAP = (1 << 30) - 1 };

static int32_t max_abs(int32_t max, int32_t v) {
    int32_t a = v < 0 ? -v : v;
    return a > max ? a : max;
}

/* arg: struct energies [threads] */
static void look(void *arg, enum asy_exact_point point, uint32_t layer, uint32_t row,
                 const int32_t *values, uint32_t count, uint32_t thread) {
    struct energies *m = (struct energies *)arg + thread;
    asy_u128 *to = NULL;
    int32_t most = 0;
    (void)row;
    switch (point) {
    case ASY_EXACT_AT_ATTN_NORM:
        to = m->attn_norm + (size_t)layer * m->dim;
        break;
    case ASY_EXACT_AT_HEADS:
        to = m->head + (size_t)layer * m->heads;
        break;
    case ASY_EXACT_AT_ATTENTION:
        to = m->attention + (size_t)layer * m->out;
        break;
    case ASY_EXACT_AT_FFN_NORM:
        to = m->ffn_norm + (size_t)layer * m->dim;
        break;
    case ASY_EXACT_AT_GATED:
        to = m->gated + (size_t)layer * m->inner;
        break;
    case ASY_EXACT_AT_RESIDUAL:
    case ASY_EXACT_AT_QKV:
    case ASY_EXACT_AT_OUT:
    case ASY_EXACT_AT_GATE_UP:
    case ASY_EXACT_AT_DOWN:
    case ASY_EXACT_AT_FINAL_NORM:
    case ASY_EXACT_AT_LOGITS:
        break;
    }
    for (uint32_t i = 0; i < count; i++) {
        most = max_abs(most, values[i]);
    }
    for (uint32_t i = 0; to != NULL && i < count; i++) {
        to[i] += (uint64_t)((int64_t)values[i] * values[i]);
    }
    for (uint32_t i = 0; most == CAP && i < count; i++) {
        m->saturated += values[i] == CAP || values[i] == -CAP;
    }
    if (point == ASY_EXACT_AT_RESIDUAL && most > m->residual) {
        m->residual = most;
    }
}

static enum asy_err run(struct asy_exact *x, const struct asy_windows *w,
                        const struct asy_convert_options *o, const char *stage) {
    struct asy_exact_row rows[ROWS];
    uint64_t total = (uint64_t)w->count * w->window, done = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        const uint32_t *ids = w->ids + (size_t)i * w->window;
        for (uint32_t at = 0; at < w->window;) {
            uint32_t count = w->window - at < ROWS ? w->window - at : ROWS;
            for (uint32_t t = 0; t < count; t++) {
                rows[t] = (struct asy_exact_row){.token = ids[at + t], .pos = at + t};
            }
            ASY_TRY(asy_exact_step(x, NULL, rows, count));
            at += count;
            done += count;
            if (o->progress != NULL) {
                o->progress(o->arg, stage, done, total);
            }
        }
    }
    return ASY_OK;
}

static void energies_init(struct energies *m, const struct asy_exact_info *i) {
    size_t layers = i->layers;
    *m = (struct energies){.dim = i->dim,
                           .heads = (i->heads + 2 * i->kv_heads) * i->head_dim,
                           .out = i->heads * i->head_dim,
                           .inner = i->inner};
    m->attn_norm = asy_alloc(layers * m->dim * sizeof *m->attn_norm);
    m->head = asy_alloc(layers * m->heads * sizeof *m->head);
    m->attention = asy_alloc(layers * m->out * sizeof *m->attention);
    m->ffn_norm = asy_alloc(layers * m->dim * sizeof *m->ffn_norm);
    m->gated = asy_alloc(layers * m->inner * sizeof *m->gated);
}

void energies_done(struct energies *m) {
    asy_free(m->attn_norm);
    asy_free(m->head);
    asy_free(m->attention);
    asy_free(m->ffn_norm);
    asy_free(m->gated);
    *m = (struct energies){0};
}

static void merge(asy_u128 *to, const asy_u128 *from, size_t count) {
    for (size_t i = 0; i < count; i++) {
        to[i] += from[i];
    }
}

static void energies_merge(struct energies *to, const struct energies *from, size_t layers) {
    merge(to->attn_norm, from->attn_norm, layers * to->dim);
    merge(to->head, from->head, layers * to->heads);
    merge(to->attention, from->attention, layers * to->out);
    merge(to->ffn_norm, from->ffn_norm, layers * to->dim);
    merge(to->gated, from->gated, layers * to->inner);
    to->residual = max_abs(to->residual, from->residual);
    to->saturated += from->saturated;
}

enum asy_err calibrate(struct energies *ret_e, const struct asy_exact_model *model,
                       const struct asy_windows *w, const struct asy_convert_options *o,
                       const char *stage, struct asy_why *reterr_why) {
    const struct asy_exact_info *i = asy_exact_model_info(model);
    struct asy_exact_config config = {.kernel = o->kernel,
                                      .threads = o->threads != 0 ? o->threads : 1,
                                      .slots = 1,
                                      .context = w->window,
                                      .rows = ROWS,
                                      .logits_rows = 1};
    struct asy_exact *x;
    ASY_TRY(asy_exact_new(&x, model, &config, reterr_why));
    struct energies *m = asy_alloc(config.threads * sizeof *m);
    for (uint32_t t = 0; t < config.threads; t++) {
        energies_init(&m[t], i);
    }
    struct asy_exact_watch *watch = asy_exact_watch_new(x, look, m);
    enum asy_err err = run(x, w, o, stage);
    asy_exact_watch_free(watch);
    asy_exact_free(x);
    for (uint32_t t = 1; t < config.threads; t++) {
        energies_merge(&m[0], &m[t], i->layers);
        energies_done(&m[t]);
    }
    *ret_e = m[0];
    asy_free(m);
    if (err != ASY_OK) {
        energies_done(ret_e);
        return asy_why_set(reterr_why, err, NULL, "the text has a token that the model lacks");
    }
    return ASY_OK;
}
