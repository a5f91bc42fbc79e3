/* exact.c: the integer engine as a runtime of the worker: src/exact computes, and libllama, which
 * only sees the vocabulary, tokenizes. */
#include "exact/exact.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/exact_priv.h"

/* Rows of one step. More make prompts no faster, and other jobs wait longer for their next token.
 */
#define STEP_ROWS 128u

struct exact {
    struct asy_exact_model *model;
    struct asy_exact *x;
    struct asy_engine_runtime vocabulary;
    struct asy_exact_row *rows;
    uint32_t *place; /* of a row's logits among those wanted */
    const int32_t *logits;
    uint32_t stride;
};

bool asy_engine_exact_is(struct asy_bytes file) {
    return asy_bytes_starts(file, asy_bytes_cstr("ASYEXACT"));
}

/* ---- the runtime ---- */

static bool render(void *self, uint32_t *ret_ids, size_t cap, size_t *ret_count,
                   const char *messages, size_t len, uint64_t time,
                   char ret_why[ASY_ENGINE_TEXT_MAX]) {
    struct exact *e = self;
    return e->vocabulary.render(e->vocabulary.self, ret_ids, cap, ret_count, messages, len, time,
                                ret_why);
}

static size_t piece(void *self, char ret_piece[ASY_ENGINE_PIECE_MAX], uint32_t token) {
    struct exact *e = self;
    return e->vocabulary.piece(e->vocabulary.self, ret_piece, token);
}

static bool is_end(void *self, uint32_t token) {
    struct exact *e = self;
    return e->vocabulary.is_end(e->vocabulary.self, token);
}

static bool forward(void *self, const struct asy_engine_row *rows, size_t count,
                    char ret_why[ASY_ENGINE_TEXT_MAX]) {
    struct exact *e = self;
    uint32_t wanted = 0;
    for (size_t i = 0; i < count; i++) {
        e->rows[i] = (struct asy_exact_row){.token = rows[i].token,
                                            .slot = rows[i].slot,
                                            .pos = rows[i].pos,
                                            .logits = rows[i].want_logits};
        e->place[i] = wanted;
        wanted += rows[i].want_logits;
    }
    enum asy_err err = asy_exact_step(e->x, &e->logits, e->rows, (uint32_t)count);
    if (err != ASY_OK) {
        (void)snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "the integer engine refused a step: %s",
                       asy_err_name(err));
    }
    return err == ASY_OK;
}

static const int32_t *integer_logits(void *self, size_t row) {
    struct exact *e = self;
    return e->logits + (size_t)e->place[row] * e->stride;
}

static void copy(void *self, uint32_t to, uint32_t from, uint32_t count) {
    struct exact *e = self;
    enum asy_err err = asy_exact_copy(e->x, to, from, count);
    ASY_ASSERT(err == ASY_OK); /* slots and positions are the worker's own */
}

static void clear(void *self, uint32_t slot) {
    (void)self; /* what a slot holds is never read behind what its job has computed */
    (void)slot;
}

static void done(void *self) {
    struct exact *e = self;
    if (e->vocabulary.free != NULL) {
        e->vocabulary.free(e->vocabulary.self);
    }
    asy_exact_free(e->x);
    asy_exact_model_free(e->model);
    asy_free(e->rows);
    asy_free(e->place);
    asy_free(e);
}

/* ---- loading ---- */

static bool write_all(int fd, struct asy_bytes in) {
    size_t at = 0;
    while (at < in.n) {
        ssize_t n = write(fd, in.p + at, in.n - at);
        if (n <= 0) {
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

/* libllama reads files by name, so the vocabulary becomes one, in memory. */
static bool load_vocabulary(struct exact *e, const struct asy_engine_plugin *plugin,
                            char ret_why[ASY_ENGINE_TEXT_MAX]) {
    char path[64];
    int fd = memfd_create("assay-vocabulary", MFD_CLOEXEC);
    bool ok = fd >= 0 && write_all(fd, asy_exact_model_info(e->model)->vocabulary);
    if (!ok) {
        (void)snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "no memory for the vocabulary");
    } else {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        struct asy_engine_runtime_config config = {.model_path = path, .vocabulary_only = true};
        ok = plugin->load(&e->vocabulary, &config, ret_why);
    }
    if (fd >= 0) {
        (void)close(fd); /* it was read */
    }
    return ok;
}

bool asy_engine_exact_load(struct asy_engine_runtime *ret_runtime,
                           struct asy_engine_runtime_config *config, struct asy_bytes file,
                           const struct asy_engine_plugin *plugin,
                           char ret_why[ASY_ENGINE_TEXT_MAX]) {
    struct exact *e = asy_alloc(sizeof *e);
    struct asy_why why = {{0}, {0}};
    enum asy_exact_kernel kernel = ASY_EXACT_AUTO;
    if (config->batch > STEP_ROWS) {
        config->batch = config->slots > STEP_ROWS ? config->slots : STEP_ROWS;
    }
    enum asy_err err = asy_exact_model_open(&e->model, file, &why);
    if (err == ASY_OK && config->backend != NULL &&
        asy_exact_kernel_parse(&kernel, asy_bytes_cstr(config->backend)) != ASY_OK) {
        err = asy_why_set(&why, ASY_ERR_UNSUPPORTED, NULL, "there is no kernel \"%s\"",
                          config->backend);
    }
    if (err == ASY_OK) {
        struct asy_exact_config x = {.kernel = kernel,
                                     .threads = config->threads < 64 ? config->threads : 64,
                                     .slots = config->slots,
                                     .context = config->context,
                                     .rows = config->batch,
                                     .logits_rows = config->slots};
        err = asy_exact_new(&e->x, e->model, &x, &why);
    }
    if (err != ASY_OK || !load_vocabulary(e, plugin, ret_why)) {
        if (err != ASY_OK) {
            (void)snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "%s", why.text);
        }
        done(e);
        return false;
    }
    const struct asy_exact_info *info = asy_exact_model_info(e->model);
    if (e->vocabulary.vocab_count != info->vocab) {
        (void)snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "the model file's vocabulary does not fit it");
        done(e);
        return false;
    }
    e->rows = asy_alloc(config->batch * sizeof *e->rows);
    e->place = asy_alloc(config->batch * sizeof *e->place);
    e->stride = asy_exact_logits_stride(e->model);
    *ret_runtime = (struct asy_engine_runtime){.vocab_count = info->vocab,
                                               .context_train = e->vocabulary.context_train,
                                               .self = e,
                                               .render = render,
                                               .piece = piece,
                                               .is_end = is_end,
                                               .forward = forward,
                                               .integer_logits = integer_logits,
                                               .clear = clear,
                                               .copy = copy,
                                               .free = done};
    (void)snprintf(ret_runtime->backend, sizeof ret_runtime->backend, "exact %s",
                   asy_exact_kernel_name(asy_exact_kernel_of(e->x)));
    return true;
}
