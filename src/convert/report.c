/* report.c: what a conversion cost, measured beside floats and beside llama.cpp's quantisations. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/measure_priv.h"
#include "crypto/crypto.h"

enum { CLOSE_TOKENS = 256, CLOSE_WINDOWS = 2, CHUNK = 32, CAP = (1 << 30) - 1 };

void asy_report_done(struct asy_report *r) {
    asy_free(r->layer_error);
    *r = (struct asy_report){0};
}

/* ---- a closer look: both models, chunk by chunk ---- */

struct look {
    const struct asy_exact_info *info;
    uint32_t dim, rows; /* of the chunk */
    float *floats;      /* [layers][CHUNK][dim] */
    float *exact;       /* the same */
    double *error;      /* [layers]: sums */
    uint64_t saturated[64];
    double correlation, least;
    uint32_t tokens;
};

static void on_float(void *arg, uint32_t layer, const float *values, uint32_t rows,
                     uint32_t columns) {
    struct look *l = arg;
    if (layer < l->info->layers && rows <= CHUNK && columns == l->dim) {
        memcpy(l->floats + (size_t)layer * CHUNK * l->dim, values,
               (size_t)rows * columns * sizeof *values);
    }
}

static void on_exact(void *arg, enum asy_exact_point point, uint32_t layer, uint32_t row,
                     const int32_t *values, uint32_t count, uint32_t thread) {
    struct look *l = arg;
    for (uint32_t i = 0; i < count; i++) {
        l->saturated[thread] += values[i] == CAP || values[i] == -CAP;
    }
    if (point == ASY_EXACT_AT_RESIDUAL && layer > 0) {
        float *to = l->exact + ((size_t)(layer - 1) * CHUNK + row) * l->dim;
        for (uint32_t i = 0; i < count; i++) {
            to[i] = (float)ldexp((double)values[i], -(int)l->info->residual_bits);
        }
    }
}

static void add_errors(struct look *l) {
    for (uint32_t layer = 0; layer < l->info->layers; layer++) {
        for (uint32_t t = 0; t < l->rows; t++) {
            size_t at = ((size_t)layer * CHUNK + t) * l->dim;
            double length = 0, off = 0;
            for (uint32_t i = 0; i < l->dim; i++) {
                double f = (double)l->floats[at + i], d = (double)l->exact[at + i] - f;
                length += f * f;
                off += d * d;
            }
            l->error[layer] += length > 0 ? sqrt(off / length) : 0;
        }
    }
}

static double correlation(const float *f, const int32_t *x, uint32_t count) {
    double sf = 0, sx = 0, sff = 0, sxx = 0, sfx = 0, n = count;
    for (uint32_t i = 0; i < count; i++) {
        double a = (double)f[i], b = (double)x[i] / 65536;
        sf += a;
        sx += b;
        sff += a * a;
        sxx += b * b;
        sfx += a * b;
    }
    double vf = sff - sf * sf / n, vx = sxx - sx * sx / n;
    return vf > 0 && vx > 0 ? (sfx - sf * sx / n) / sqrt(vf * vx) : 0;
}

static enum asy_err look_at_window(struct look *l, struct asy_llama_model *floats,
                                   struct asy_exact *exact, const uint32_t *ids, uint32_t count,
                                   struct asy_why *why) {
    struct asy_exact_row rows[CHUNK];
    size_t stride = asy_exact_logits_stride(asy_exact_model_of(exact));
    for (uint32_t at = 0; at < count; at += CHUNK) {
        const float *f;
        const int32_t *x;
        l->rows = count - at < CHUNK ? count - at : CHUNK;
        for (uint32_t t = 0; t < l->rows; t++) {
            rows[t] = (struct asy_exact_row){.token = ids[at + t], .pos = at + t, .logits = true};
        }
        ASY_TRY(asy_llama_model_step(floats, &f, ids + at, at, l->rows, why));
        ASY_TRY(asy_exact_step(exact, &x, rows, l->rows));
        for (uint32_t t = 0; t < l->rows; t++) {
            double c = correlation(f + (size_t)t * l->info->vocab, x + t * stride, l->info->vocab);
            l->correlation += c;
            l->least = c < l->least ? c : l->least;
        }
        add_errors(l);
        l->tokens += l->rows;
    }
    return ASY_OK;
}

static enum asy_err look_closer(struct asy_report *r, const struct asy_llama *llama,
                                const char *path, const struct asy_exact_model *model,
                                const struct asy_windows *w, const struct asy_measure_config *c,
                                struct asy_why *why) {
    const struct asy_exact_info *i = asy_exact_model_info(model);
    uint32_t count = w->window < CLOSE_TOKENS ? w->window : CLOSE_TOKENS;
    struct look l = {.info = i, .dim = i->dim, .least = 1};
    size_t len = (size_t)i->layers * CHUNK * i->dim;
    struct asy_llama_model_config float_config = {.path = path,
                                                  .context = CLOSE_TOKENS,
                                                  .batch = CHUNK,
                                                  .threads = c->threads,
                                                  .on_residual = on_float,
                                                  .arg = &l};
    struct asy_exact_config config = {.kernel = c->kernel,
                                      .threads = c->threads,
                                      .slots = 1,
                                      .context = count,
                                      .rows = CHUNK,
                                      .logits_rows = CHUNK};
    struct asy_llama_model *floats = NULL;
    struct asy_exact *exact = NULL;
    struct asy_exact_watch *watch = NULL;
    l.floats = asy_alloc(len * sizeof *l.floats);
    l.exact = asy_alloc(len * sizeof *l.exact);
    l.error = asy_alloc(i->layers * sizeof *l.error);
    enum asy_err err = asy_llama_model_new(&floats, llama, &float_config, why);
    if (err == ASY_OK) {
        err = asy_exact_new(&exact, model, &config, why);
    }
    if (err == ASY_OK && asy_llama_model_vocab(floats) != i->vocab) {
        err = asy_why_set(why, ASY_ERR_MISMATCH, NULL, "the models' vocabularies differ");
    }
    if (err == ASY_OK) {
        watch = asy_exact_watch_new(exact, on_exact, &l);
    }
    for (uint32_t n = 0; n < w->count && n < CLOSE_WINDOWS && err == ASY_OK; n++) {
        err = look_at_window(&l, floats, exact, w->ids + (size_t)n * w->window, count, why);
    }
    if (err == ASY_OK) {
        r->close_tokens = l.tokens;
        r->correlation = l.correlation / l.tokens;
        r->least_correlation = l.least;
        r->layers = i->layers;
        r->layer_error = l.error;
        for (uint32_t n = 0; n < i->layers; n++) {
            r->layer_error[n] /= l.tokens;
        }
        for (size_t n = 0; n < ASY_COUNT(l.saturated); n++) {
            r->saturated += l.saturated[n];
        }
        l.error = NULL;
    }
    asy_exact_watch_free(watch);
    asy_exact_free(exact);
    asy_llama_model_free(floats);
    asy_free(l.floats);
    asy_free(l.exact);
    asy_free(l.error);
    return err;
}

/* ---- the models ---- */

struct maker {
    struct asy_report report;
    struct asy_measure floats;
    const struct asy_llama *llama;
    const struct asy_windows *w;
    const struct asy_report_config *c;
    char dir[4096 - 64];
    struct asy_why *why;
};

/* Takes the measurement. */
static void add_model(struct maker *k, const char *name, uint64_t file_len,
                      struct asy_measure *measure) {
    struct asy_report_model *m = &k->report.models[k->report.count++];
    double tokens = (double)k->w->count * k->w->window;
    (void)snprintf(m->name, sizeof m->name, "%s", name);
    for (char *p = m->name; *p != '\0'; p++) { /* it goes into JSON and SVG as it is */
        *p = *p < ' ' || *p > '~' || strchr("\"\\<>&", *p) != NULL ? '-' : *p;
    }
    m->file_len = file_len;
    m->mean = asy_measure_mean(measure);
    m->cpu_ms = measure->cpu_s * 1000 / tokens;
    m->difference = asy_measure_compare(measure, k->report.count == 1 ? measure : &k->floats);
    if (k->report.count == 1) {
        k->floats = *measure;
    } else {
        asy_measure_done(measure);
    }
}

static uint64_t file_len_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static enum asy_err add_float(struct maker *k, const char *path) {
    struct asy_measure m;
    ASY_TRY(asy_measure_llama(&m, k->llama, path, false, "float", k->w, &k->c->run, k->why));
    add_model(k, "float", file_len_of(path), &m);
    return ASY_OK;
}

static enum asy_err add_type(struct maker *k, const char *from, const char *type) {
    char path[4096];
    struct asy_measure m;
    (void)snprintf(path, sizeof path, "%s/type.gguf", k->dir); /* a type is any text of a caller */
    enum asy_err err = asy_llama_requantize(k->llama, from, path, type, k->c->run.threads, k->why);
    if (err == ASY_OK) {
        err = asy_measure_llama(&m, k->llama, path, true, type, k->w, &k->c->run, k->why);
    }
    if (err == ASY_OK) {
        add_model(k, type, file_len_of(path), &m);
    }
    (void)unlink(path); /* it may not be there */
    return err;
}

static enum asy_err check_source(const char *gguf, const struct asy_exact_model *model,
                                 struct asy_why *why) {
    struct asy_bytes file;
    struct asy_hash hash;
    ASY_TRY(asy_file_map(&file, gguf, why));
    asy_sha256(&hash, file);
    asy_file_unmap(file);
    return asy_hash_eq(&hash, &asy_exact_model_info(model)->source)
               ? ASY_OK
               : asy_why_set(why, ASY_ERR_MISMATCH, NULL, "the model was not made from %s", gguf);
}

static enum asy_err add_exact(struct maker *k, const struct asy_report_exact *x) {
    struct asy_measure m;
    ASY_TRY(asy_measure_exact(&m, x->model, k->w, &k->c->run, k->why));
    add_model(k, x->name, x->file_len, &m);
    k->report.exact_count++;
    return ASY_OK;
}

/* All but the float file, which lies at path. */
static enum asy_err make_all(struct maker *k, const char *path,
                             const struct asy_report_exact *models, uint32_t count) {
    ASY_TRY(add_float(k, path));
    for (uint32_t i = 0; i < count && k->report.count < ASY_REPORT_MAX_MODELS; i++) {
        ASY_TRY(add_exact(k, &models[i]));
    }
    ASY_TRY(look_closer(&k->report, k->llama, path, models[0].model, k->w, &k->c->run, k->why));
    for (size_t i = 0; k->c->types[i] != NULL && k->report.count < ASY_REPORT_MAX_MODELS; i++) {
        ASY_TRY(add_type(k, path, k->c->types[i]));
    }
    return ASY_OK;
}

enum asy_err asy_report_make(struct asy_report *ret_report, const struct asy_llama *llama,
                             const char *gguf, const struct asy_report_exact *models,
                             uint32_t count, const struct asy_windows *w,
                             const struct asy_report_config *config, struct asy_why *reterr_why) {
    struct maker *k = asy_alloc(sizeof *k);
    *k = (struct maker){.llama = llama, .w = w, .c = config, .why = reterr_why};
    char path[4096] = "";
    enum asy_err err = ASY_OK;
    ASY_ASSERT(count >= 1);
    k->report.windows = w->count;
    k->report.window = w->window;
    for (uint32_t i = 0; i < count && err == ASY_OK && !config->any_source; i++) {
        err = check_source(gguf, models[i].model, reterr_why);
    }
    (void)snprintf(k->dir, sizeof k->dir, "%s/assay-report-XXXXXX", config->temp);
    if (err == ASY_OK && mkdtemp(k->dir) == NULL) {
        err = asy_why_set(reterr_why, ASY_ERR_IO, NULL, "%s: %s", k->dir, strerror(errno));
        k->dir[0] = '\0';
    }
    if (err == ASY_OK) {
        (void)snprintf(path, sizeof path, "%s/float.gguf", k->dir);
        err = asy_llama_requantize(llama, gguf, path, "F32", config->run.threads, reterr_why);
    }
    if (err == ASY_OK) {
        err = make_all(k, path, models, count);
    }
    if (path[0] != '\0') {
        (void)unlink(path); /* it may not be there */
        (void)rmdir(k->dir);
    }
    asy_measure_done(&k->floats);
    if (err == ASY_OK) {
        *ret_report = k->report;
    } else {
        asy_report_done(&k->report);
    }
    asy_free(k);
    return err;
}

/* ---- text and JSON ---- */

enum asy_err asy_report_text(struct asy_buf *buf, const struct asy_report *r) {
    const struct asy_report_model *m = r->models;
    ASY_TRY(asy_buf_printf(buf,
                           "%u windows of %u tokens; errors are standard errors, paired with "
                           "the float model\n\n"
                           "%-24s %8s %11s %22s %10s %8s\n",
                           r->windows, r->window, "model", "MB", "perplexity",
                           "over float, per cent", "same top", "CPU ms"));
    for (uint32_t i = 0; i < r->count; i++) {
        ASY_TRY(asy_buf_printf(buf, "%-24s %8.1f %11.4f %+13.2f +- %5.2f %8.1f %% %8.2f\n",
                               m[i].name, (double)m[i].file_len / 1e6, exp(m[i].mean.nll),
                               100 * (m[i].difference.ratio - 1), 100 * m[i].difference.ratio_error,
                               100 * m[i].difference.same_top, m[i].cpu_ms));
    }
    ASY_TRY(
        asy_buf_printf(buf,
                       "\n%s, %u tokens closer: logits correlate with the float model's by "
                       "%.5f in the mean, %.5f at least; %llu numbers at the cap\n"
                       "difference of the residual, per cent of its length, behind each layer:\n",
                       m[1].name, r->close_tokens, r->correlation, r->least_correlation,
                       (unsigned long long)r->saturated));
    for (uint32_t l = 0; l < r->layers; l++) {
        ASY_TRY(asy_buf_printf(buf, "%s%6.2f", l % 10 == 0 && l != 0 ? "\n" : "",
                               100 * r->layer_error[l]));
    }
    return asy_buf_add_str(buf, "\n");
}

/* JSON has no infinities: a perplexity beyond all bounds is null. */
static enum asy_err add_number(struct asy_buf *buf, const char *name, double v) {
    return isfinite(v) ? asy_buf_printf(buf, ",\"%s\":%.6f", name, v)
                       : asy_buf_printf(buf, ",\"%s\":null", name);
}

enum asy_err asy_report_json(struct asy_buf *buf, const struct asy_report *r) {
    ASY_TRY(
        asy_buf_printf(buf, "{\"windows\":%u,\"window\":%u,\"models\":[", r->windows, r->window));
    for (uint32_t i = 0; i < r->count; i++) {
        const struct asy_report_model *m = &r->models[i];
        ASY_TRY(asy_buf_printf(buf, "%s{\"name\":\"%s\",\"bytes\":%llu", i != 0 ? "," : "", m->name,
                               (unsigned long long)m->file_len));
        ASY_TRY(add_number(buf, "nll", m->mean.nll));
        ASY_TRY(add_number(buf, "nll_error", m->mean.error));
        ASY_TRY(add_number(buf, "perplexity", exp(m->mean.nll)));
        ASY_TRY(add_number(buf, "ratio", m->difference.ratio));
        ASY_TRY(add_number(buf, "ratio_error", m->difference.ratio_error));
        ASY_TRY(add_number(buf, "same_top", m->difference.same_top));
        ASY_TRY(add_number(buf, "cpu_ms_per_token", m->cpu_ms));
        ASY_TRY(asy_buf_add_str(buf, "}"));
    }
    ASY_TRY(asy_buf_printf(buf,
                           "],\"close_tokens\":%u,\"correlation\":%.8f,\"least_correlation\":%.8f,"
                           "\"saturated\":%llu,\"layer_error\":[",
                           r->close_tokens, r->correlation, r->least_correlation,
                           (unsigned long long)r->saturated));
    for (uint32_t l = 0; l < r->layers; l++) {
        ASY_TRY(asy_buf_printf(buf, "%s%.6f", l != 0 ? "," : "", r->layer_error[l]));
    }
    return asy_buf_add_str(buf, "]}\n");
}

/* ---- picture ---- */

enum {
    WIDTH = 820,
    TOP = 92, /* of the bars */
    ROW = 24, /* height of a bar and the gap below */
    NAMES = 190,
    BARS = 330,
    LAYERS = 150, /* height of the curve */
};

static enum asy_err text_at(struct asy_buf *buf, double x, double y, const char *anchor,
                            const char *text) {
    return asy_buf_printf(buf, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y,
                          anchor, text);
}

static enum asy_err line_at(struct asy_buf *buf, double x1, double y1, double x2, double y2,
                            const char *colour) {
    return asy_buf_printf(buf,
                          "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
                          x1, y1, x2, y2, colour);
}

/* Where a rise in per cent stands: logarithmic, from 0.1 to 100. */
static double place(double rise) {
    double at = (log10(rise > 0.1 ? rise : 0.1) + 1) / 3;
    return NAMES + BARS * (at < 1 ? at : 1);
}

/* Rise of the perplexity over the float model, with its standard error. */
static enum asy_err draw_bars(struct asy_buf *buf, const struct asy_report *r, double bottom) {
    static const double ticks[] = {0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100};
    char label[96];
    ASY_TRY(text_at(buf, NAMES, TOP - 26, "start", "perplexity over the float model's, per cent"));
    ASY_TRY(text_at(buf, WIDTH - 20, TOP - 26, "end", "+- standard error; same top token"));
    for (size_t i = 0; i < ASY_COUNT(ticks); i++) {
        (void)snprintf(label, sizeof label, "%g", ticks[i]);
        ASY_TRY(line_at(buf, place(ticks[i]), TOP - 6, place(ticks[i]), bottom, "#ddd"));
        ASY_TRY(text_at(buf, place(ticks[i]), TOP - 10, "middle", label));
    }
    for (uint32_t i = 1; i < r->count; i++) {
        const struct asy_report_model *m = &r->models[i];
        double rise = 100 * (m->difference.ratio - 1), error = 100 * m->difference.ratio_error;
        double y = TOP + ROW * (i - 1.0), middle = y + 0.5 * (ROW - 8);
        ASY_TRY(text_at(buf, NAMES - 10, middle + 4, "end", m->name));
        ASY_TRY(asy_buf_printf(
            buf, "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", NAMES, y,
            place(rise) - NAMES, ROW - 8, i <= r->exact_count ? "#1a7f5a" : "#8aa0b4"));
        ASY_TRY(line_at(buf, place(rise - error), middle, place(rise + error), middle, "#222"));
        (void)snprintf(label, sizeof label, "%+.2f &#177; %.2f; %.1f %%", rise, error,
                       100 * m->difference.same_top);
        ASY_TRY(text_at(buf, WIDTH - 20, middle + 4, "end", label));
    }
    return ASY_OK;
}

/* How far the first exact model's residual is from the float model's. */
static enum asy_err draw_layers(struct asy_buf *buf, const struct asy_report *r, double top) {
    double most = 0, width = WIDTH - 40 - 60, step = width / (r->layers > 1 ? r->layers - 1 : 1);
    char label[128];
    for (uint32_t l = 0; l < r->layers; l++) {
        most = r->layer_error[l] > most ? r->layer_error[l] : most;
    }
    most = ceil(100 * most * 1.0001);
    (void)snprintf(label, sizeof label,
                   "%s: difference of the residual behind each layer, per cent of its length",
                   r->models[1].name);
    ASY_TRY(text_at(buf, 60, top - 12, "start", label));
    for (int i = 0; i <= 2; i++) {
        double y = top + LAYERS - LAYERS * i / 2.0;
        (void)snprintf(label, sizeof label, "%.3g", most * i / 2);
        ASY_TRY(line_at(buf, 60, y, 60 + width, y, "#ddd"));
        ASY_TRY(text_at(buf, 52, y + 4, "end", label));
    }
    ASY_TRY(asy_buf_add_str(
        buf, "<polyline fill=\"none\" stroke=\"#1a7f5a\" stroke-width=\"2\" points=\""));
    for (uint32_t l = 0; l < r->layers; l++) {
        ASY_TRY(asy_buf_printf(buf, "%.1f,%.1f ", 60 + step * l,
                               top + LAYERS - LAYERS * 100 * r->layer_error[l] / most));
    }
    ASY_TRY(asy_buf_add_str(buf, "\"/>\n"));
    (void)snprintf(label, sizeof label, "%u", r->layers - 1);
    ASY_TRY(text_at(buf, 60, top + LAYERS + 18, "middle", "0"));
    return text_at(buf, 60 + step * (r->layers - 1), top + LAYERS + 18, "middle", label);
}

enum asy_err asy_report_svg(struct asy_buf *buf, const struct asy_report *r, const char *title) {
    char line[200];
    double bottom = TOP + ROW * (r->count - 1.0), height = bottom + 60 + LAYERS + 30;
    ASY_TRY(asy_buf_printf(buf,
                           "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" "
                           "viewBox=\"0 0 %d %.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
                           "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
                           "<text x=\"16\" y=\"24\" font-size=\"16\">",
                           WIDTH, height, WIDTH, height));
    for (const char *p = title; *p != '\0'; p++) { /* what would be markup is left out */
        if (strchr("<>&\"", *p) == NULL && (unsigned char)*p >= ' ') {
            ASY_TRY(asy_buf_add_u8(buf, (uint8_t)*p));
        }
    }
    (void)snprintf(line, sizeof line,
                   "float perplexity %.2f; %u windows of %u tokens; logits correlate by %.5f",
                   exp(r->models[0].mean.nll), r->windows, r->window, r->correlation);
    ASY_TRY(asy_buf_add_str(buf, "</text>\n"));
    ASY_TRY(text_at(buf, 16, 44, "start", line));
    ASY_TRY(draw_bars(buf, r, bottom));
    ASY_TRY(draw_layers(buf, r, bottom + 60));
    return asy_buf_add_str(buf, "</svg>\n");
}
