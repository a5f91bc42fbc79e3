/* measure.c: how well a model predicts a text. For people: floats and libm, unlike the rest. */
#include <math.h>
#include <time.h>

#include "convert/measure_priv.h"

enum { BLOCK = 64 };

static double seconds(clockid_t clock) {
    struct timespec t;
    (void)clock_gettime(clock, &t); /* these two clocks are always there */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct stopwatch stopwatch_start(void) {
    return (struct stopwatch){seconds(CLOCK_PROCESS_CPUTIME_ID), seconds(CLOCK_MONOTONIC)};
}

void stopwatch_stop(struct asy_measure *m, struct stopwatch s) {
    m->cpu_s += seconds(CLOCK_PROCESS_CPUTIME_ID) - s.cpu_s;
    m->wall_s += seconds(CLOCK_MONOTONIC) - s.wall_s;
}

void measure_init(struct asy_measure *m, const struct asy_windows *w) {
    *m = (struct asy_measure){.count = (size_t)w->count * (w->window - 1)};
    m->nll = asy_alloc(m->count * sizeof *m->nll);
    m->top = asy_alloc(m->count * sizeof *m->top);
}

void asy_measure_done(struct asy_measure *m) {
    asy_free(m->nll);
    asy_free(m->top);
    *m = (struct asy_measure){0};
}

/* ---- integer logits ---- */

/* exp(-d / 65536) = coarse[d >> 12] * fine[d & 4095]; 0 from 40 on. */
static struct {
    bool made;
    double coarse[640], fine[4096];
} table;

static void make_table(void) {
    for (int i = 0; i < 640 && !table.made; i++) {
        table.coarse[i] = exp(-i / 16.0);
    }
    for (int i = 0; i < 4096 && !table.made; i++) {
        table.fine[i] = exp(-i / 65536.0);
    }
    table.made = true;
}

static void score(struct asy_measure *m, size_t at, const int32_t *logits, uint32_t vocab,
                  uint32_t next) {
    uint32_t top = 0;
    double sum = 0;
    for (uint32_t i = 1; i < vocab; i++) {
        top = logits[i] > logits[top] ? i : top;
    }
    for (uint32_t i = 0; i < vocab; i++) {
        uint32_t d = (uint32_t)(logits[top] - logits[i]);
        sum += d >> 12 < 640 ? table.coarse[d >> 12] * table.fine[d & 4095] : 0;
    }
    m->nll[at] = (float)(log(sum) + (double)(logits[top] - logits[next]) / 65536);
    m->top[at] = top;
}

struct run {
    struct asy_exact *x;
    const struct asy_windows *w;
    const struct asy_measure_config *c;
    struct asy_exact_row *rows;
    uint32_t vocab;
    size_t stride;
};

/* Windows [first, first + batch), side by side. */
static enum asy_err run_group(const struct run *r, struct asy_measure *m, uint32_t first,
                              uint32_t batch) {
    uint32_t window = r->w->window;
    for (uint32_t at = 0; at < window; at += r->c->chunk) {
        uint32_t count = window - at < r->c->chunk ? window - at : r->c->chunk, rows = 0;
        const int32_t *logits;
        for (uint32_t b = 0; b < batch; b++) {
            const uint32_t *ids = r->w->ids + (size_t)(first + b) * window;
            for (uint32_t t = at; t < at + count; t++) {
                r->rows[rows++] =
                    (struct asy_exact_row){.token = ids[t], .slot = b, .pos = t, .logits = true};
            }
        }
        struct stopwatch s = stopwatch_start();
        ASY_TRY(asy_exact_step(r->x, &logits, r->rows, rows));
        stopwatch_stop(m, s);
        for (uint32_t n = 0; n < rows; n++) {
            uint32_t b = first + n / count, t = at + n % count;
            const uint32_t *ids = r->w->ids + (size_t)b * window;
            if (t + 1 < window && ids[t + 1] < r->vocab) {
                score(m, (size_t)b * (window - 1) + t, logits + n * r->stride, r->vocab,
                      ids[t + 1]);
            }
        }
        if (r->c->progress != NULL) {
            r->c->progress(r->c->arg, "exact",
                           (uint64_t)first * window + (uint64_t)batch * (at + count),
                           (uint64_t)r->w->count * window);
        }
    }
    return ASY_OK;
}

enum asy_err asy_measure_exact(struct asy_measure *ret_m, const struct asy_exact_model *model,
                               const struct asy_windows *w, const struct asy_measure_config *c,
                               struct asy_why *reterr_why) {
    uint32_t batch = c->batch < w->count ? c->batch : w->count;
    if (c->chunk < 1 || batch < 1 || (uint64_t)batch * c->chunk > ASY_EXACT_MAX_ROWS) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "chunk",
                           "batch times chunk is not in [1, %u]", ASY_EXACT_MAX_ROWS);
    }
    struct asy_exact_config config = {.kernel = c->kernel,
                                      .threads = c->threads,
                                      .slots = batch,
                                      .context = w->window,
                                      .rows = batch * c->chunk,
                                      .logits_rows = batch * c->chunk};
    struct run r = {.w = w,
                    .c = c,
                    .vocab = asy_exact_model_info(model)->vocab,
                    .stride = asy_exact_logits_stride(model)};
    ASY_TRY(asy_exact_new(&r.x, model, &config, reterr_why));
    struct asy_measure m;
    measure_init(&m, w);
    make_table();
    r.rows = asy_alloc(config.rows * sizeof *r.rows);
    enum asy_err err = ASY_OK;
    for (uint32_t first = 0; first < w->count && err == ASY_OK; first += batch) {
        err = run_group(&r, &m, first, w->count - first < batch ? w->count - first : batch);
    }
    asy_free(r.rows);
    asy_exact_free(r.x);
    if (err != ASY_OK) {
        asy_measure_done(&m);
        return asy_why_set(reterr_why, err, NULL, "the text has a token that the model lacks");
    }
    *ret_m = m;
    return ASY_OK;
}

/* ---- float logits ---- */

static void score_floats(struct asy_measure *m, size_t at, const float *logits, uint32_t vocab,
                         uint32_t next) {
    uint32_t top = 0;
    double sum = 0;
    for (uint32_t i = 1; i < vocab; i++) {
        top = logits[i] > logits[top] ? i : top;
    }
    for (uint32_t i = 0; i < vocab; i++) {
        sum += (double)expf(logits[i] - logits[top]);
    }
    m->nll[at] = (float)(log(sum) + (double)logits[top] - (double)logits[next]);
    m->top[at] = top;
}

static enum asy_err run_llama(struct asy_llama_model *model, struct asy_measure *m,
                              const struct asy_windows *w, const struct asy_measure_config *c,
                              const char *stage, struct asy_why *why) {
    uint32_t vocab = asy_llama_model_vocab(model);
    for (size_t i = 0; i < (size_t)w->count * w->window; i++) {
        if (w->ids[i] >= vocab) {
            return asy_why_set(why, ASY_ERR_RANGE, NULL,
                               "the text has a token that the model lacks");
        }
    }
    for (uint32_t i = 0; i < w->count; i++) {
        const uint32_t *ids = w->ids + (size_t)i * w->window;
        for (uint32_t at = 0; at < w->window; at += c->chunk) {
            uint32_t count = w->window - at < c->chunk ? w->window - at : c->chunk;
            const float *logits;
            struct stopwatch s = stopwatch_start();
            ASY_TRY(asy_llama_model_step(model, &logits, ids + at, at, count, why));
            stopwatch_stop(m, s);
            for (uint32_t t = at; t < at + count && t + 1 < w->window; t++) {
                score_floats(m, (size_t)i * (w->window - 1) + t, logits + (size_t)(t - at) * vocab,
                             vocab, ids[t + 1]);
            }
            if (c->progress != NULL) {
                c->progress(c->arg, stage, (uint64_t)i * w->window + at + count,
                            (uint64_t)w->count * w->window);
            }
        }
    }
    return ASY_OK;
}

enum asy_err asy_measure_llama(struct asy_measure *ret_m, const struct asy_llama *llama,
                               const char *path, bool half, const char *stage,
                               const struct asy_windows *w, const struct asy_measure_config *c,
                               struct asy_why *reterr_why) {
    struct asy_llama_model_config config = {.path = path,
                                            .context = (w->window + 255) / 256 * 256,
                                            .batch = c->chunk,
                                            .threads = c->threads,
                                            .half = half};
    struct asy_llama_model *model;
    struct asy_measure m;
    ASY_TRY(asy_llama_model_new(&model, llama, &config, reterr_why));
    measure_init(&m, w);
    enum asy_err err = run_llama(model, &m, w, c, stage, reterr_why);
    asy_llama_model_free(model);
    if (err != ASY_OK) {
        asy_measure_done(&m);
        return err;
    }
    *ret_m = m;
    return ASY_OK;
}

/* ---- statistics ---- */

/* Mean of v over blocks, and its standard error. */
struct asy_measure_mean measure_blocks(size_t count, double (*v)(const void *arg, size_t i),
                                       const void *arg) {
    double sum = 0, squares = 0, all = 0;
    size_t blocks = 0;
    for (size_t from = 0; from < count; from += BLOCK) {
        size_t to = from + BLOCK < count ? from + BLOCK : count;
        double block = 0;
        for (size_t i = from; i < to; i++) {
            block += v(arg, i);
        }
        all += block;
        block /= (double)(to - from);
        sum += block;
        squares += block * block;
        blocks++;
    }
    double n = (double)blocks, mean = sum / n;
    double variance = blocks > 1 ? (squares - n * mean * mean) / (n - 1) : 0;
    return (struct asy_measure_mean){all / (double)count, sqrt(variance > 0 ? variance / n : 0)};
}

static double nll_at(const void *arg, size_t i) {
    const struct asy_measure *m = arg;
    return (double)m->nll[i];
}

struct asy_measure_mean asy_measure_mean(const struct asy_measure *m) {
    return measure_blocks(m->count, nll_at, m);
}

static double difference_at(const void *arg, size_t i) {
    const struct asy_measure *const *m = arg;
    return (double)m[0]->nll[i] - (double)m[1]->nll[i];
}

struct asy_measure_difference asy_measure_compare(const struct asy_measure *m,
                                                  const struct asy_measure *reference) {
    const struct asy_measure *both[2] = {m, reference};
    size_t same = 0;
    ASY_ASSERT(m->count == reference->count);
    for (size_t i = 0; i < m->count; i++) {
        same += m->top[i] == reference->top[i];
    }
    struct asy_measure_mean d = measure_blocks(m->count, difference_at, both);
    return (struct asy_measure_difference){.ratio = exp(d.nll),
                                           .ratio_error = exp(d.nll) * d.error,
                                           .same_top = (double)same / (double)m->count};
}
