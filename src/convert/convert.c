/* convert.c: the stages of a conversion, and its files. */
#include "convert/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "convert/emit_priv.h"

enum { WINDOW = 512, TOKENS = 8192, CAP = (1 << 30) - 1, LEAST_BITS = 4, CHECKED = 2 };

struct job {
    const struct asy_llama *llama;
    const struct asy_convert_options *options;
    struct source source;
    struct asy_buf vocabulary;
    struct asy_windows windows;
    struct asy_why *why;
};

/* ---- the file being written ---- */

struct output {
    uint8_t *p;
    size_t len;
};

static enum asy_err output_new(struct output *ret, const char *path, uint64_t len,
                               struct asy_why *why) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return asy_why_set(why, ASY_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    }
    /* room is taken now: a full disk would kill the process at some later write */
    int rc = posix_fallocate(fd, 0, (off_t)len);
    void *p = rc == 0 ? mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    int number = rc != 0 ? rc : errno;
    (void)close(fd);
    if (p == MAP_FAILED) {
        return asy_why_set(why, ASY_ERR_IO, NULL, "%s: %s", path, strerror(number));
    }
    *ret = (struct output){.p = p, .len = len};
    return ASY_OK;
}

static void output_done(struct output *o) {
    if (o->p != NULL) {
        (void)munmap(o->p, o->len); /* cannot fail for a mapping of ours */
    }
    *o = (struct output){0};
}

/* ---- stages ---- */

/* Writes a model file by a recipe to path, and leaves it mapped. */
static enum asy_err write_model(struct job *j, struct output *ret, const char *path,
                                const struct recipe *r, const struct energies *m,
                                const char *stage) {
    struct asy_exact_shape *shape = asy_alloc(sizeof *shape);
    struct asy_exact_writer *writer;
    struct output out = {0};
    char *text = asy_alloc(ASY_CONVERT_MAX_RECIPE);
    uint64_t len;
    emit_shape(shape, &j->source, r);
    recipe_format(text, r, &j->source);
    shape->vocabulary_len = (uint32_t)j->vocabulary.n;
    shape->recipe_len = (uint32_t)strlen(text);
    enum asy_err err = asy_exact_file_len(&len, shape, j->why);
    if (err == ASY_OK) {
        err = output_new(&out, path, len, j->why);
    }
    if (err == ASY_OK) {
        err = asy_exact_writer_new(&writer, shape, out.p, j->why);
        ASY_ASSERT(err == ASY_OK); /* the shape has a length */
        err = emit(writer, &j->source, r, m, j->options, stage, j->why);
        asy_exact_writer_finish(writer, &j->source.sha256, asy_buf_bytes(&j->vocabulary),
                                asy_bytes_cstr(text),
                                j->options->threads != 0 ? j->options->threads : 1);
    }
    asy_free(text);
    asy_free(shape);
    if (err != ASY_OK) {
        output_done(&out);
        return err;
    }
    *ret = out;
    return ASY_OK;
}

static enum asy_err run_model(struct job *j, struct energies *ret_m,
                              struct asy_exact_info *ret_info, const struct output *o,
                              uint32_t windows, const char *stage) {
    struct asy_exact_model *model;
    struct asy_windows w = j->windows;
    w.count = windows < w.count ? windows : w.count;
    ASY_TRY(asy_exact_model_open(&model, asy_bytes_of(o->p, o->len), j->why));
    enum asy_err err = calibrate(ret_m, model, &w, j->options, stage, j->why);
    *ret_info = *asy_exact_model_info(model);
    asy_exact_model_free(model);
    return err;
}

/* Writes a model and runs the text. OVERFLOW: the residual needs a coarser unit. */
static enum asy_err try_unit(struct job *j, struct output *ret, struct energies *ret_m,
                             struct asy_exact_info *ret_info, const char *path,
                             const struct recipe *r, const struct energies *m,
                             const char *const stages[2]) {
    struct output out;
    struct energies seen;
    ASY_TRY(write_model(j, &out, path, r, m, stages[0]));
    /* a folded model is not run on all of the text again: its residual is the plain one's */
    enum asy_err err =
        run_model(j, &seen, ret_info, &out, m != NULL ? CHECKED : UINT32_MAX, stages[1]);
    if (err == ASY_OK && seen.residual > CAP / 2) {
        energies_done(&seen);
        err = asy_why_set(j->why, ASY_ERR_OVERFLOW, "residual-bits",
                          "the residual comes too near to its cap: with unit 2^-%u it has less "
                          "than twofold headroom",
                          r->residual_bits);
    }
    if (err != ASY_OK) {
        output_done(&out);
        return err;
    }
    *ret = out;
    *ret_m = seen;
    return ASY_OK;
}

static enum asy_err settle(struct job *j, struct output *ret, struct energies *ret_m,
                           struct asy_exact_info *ret_info, const char *path, struct recipe *r,
                           const struct energies *m, const char *const stages[2]) {
    enum asy_err err = try_unit(j, ret, ret_m, ret_info, path, r, m, stages);
    while (err == ASY_ERR_OVERFLOW && !r->bits_fixed && r->residual_bits > LEAST_BITS) {
        r->residual_bits -= 2;
        err = try_unit(j, ret, ret_m, ret_info, path, r, m, stages);
    }
    return err;
}

static enum asy_err prepare(struct job *j, struct recipe *r) {
    const struct asy_convert_options *o = j->options;
    struct asy_llama_vocab *vocab;
    uint32_t tokens = o->calibration_tokens != 0 ? o->calibration_tokens : TOKENS;
    ASY_TRY(asy_gguf_without_tensors(&j->vocabulary, j->source.gguf));
    ASY_TRY(asy_llama_vocab_new(&vocab, j->llama, asy_buf_bytes(&j->vocabulary), j->why));
    uint32_t window = r->positions < WINDOW ? r->positions : WINDOW;
    enum asy_err err = asy_windows_new(&j->windows, vocab,
                                       o->calibration.n != 0 ? o->calibration : asy_convert_text,
                                       window, (tokens + window - 1) / window, j->why);
    asy_llama_vocab_free(vocab);
    r->window = j->windows.window;
    r->tokens = j->windows.window * j->windows.count;
    return err;
}

static enum asy_err make(struct job *j, struct asy_convert_result *ret, const char *path) {
    static const char *const plain_stages[2] = {"writing the plain model", "calibrating"};
    static const char *const stages[2] = {"writing the model", "checking"};
    struct recipe *r = asy_alloc(sizeof *r), *plain = asy_alloc(sizeof *plain);
    struct energies m = {0}, seen = {0};
    struct output out = {0};
    struct asy_exact_info info = {0};
    enum asy_err err = recipe_make(r, &j->source, j->options, j->why);
    if (err == ASY_OK) {
        err = prepare(j, r);
    }
    if (err == ASY_OK && r->fold != 0) {
        *plain = recipe_plain(r);
        err = settle(j, &out, &m, &info, path, plain, NULL, plain_stages);
        output_done(&out);
        r->residual_bits = plain->residual_bits;
    }
    if (err == ASY_OK) {
        err = settle(j, &out, &seen, &info, path, r, r->fold != 0 ? &m : NULL, stages);
    }
    if (err == ASY_OK) {
        *ret = (struct asy_convert_result){.file_len = out.len,
                                           .source = info.source,
                                           .weights = info.weights,
                                           .residual_bits = r->residual_bits,
                                           .residual_max = seen.residual,
                                           .saturated = seen.saturated,
                                           .calibration_tokens = r->tokens};
        recipe_format(ret->recipe, r, &j->source);
    }
    output_done(&out);
    energies_done(&m);
    energies_done(&seen);
    asy_free(r);
    asy_free(plain);
    return err;
}

enum asy_err asy_convert(struct asy_convert_result *ret_result, const struct asy_llama *llama,
                         const char *from, const char *to,
                         const struct asy_convert_options *options, struct asy_why *reterr_why) {
    struct job j = {.llama = llama, .options = options, .why = reterr_why};
    struct asy_bytes file;
    char part[4096];
    if (snprintf(part, sizeof part, "%s.part", to) >= (int)sizeof part) {
        return asy_why_set(reterr_why, ASY_ERR_TOO_LONG, NULL, "the path is too long");
    }
    ASY_TRY(asy_file_map(&file, from, reterr_why));
    asy_buf_init(&j.vocabulary, ASY_CONVERT_MAX_VOCABULARY);
    enum asy_err err = source_open(&j.source, llama, file, reterr_why);
    if (err == ASY_OK) {
        err = make(&j, ret_result, part);
        source_done(&j.source);
    }
    if (err == ASY_OK && rename(part, to) != 0) {
        err = asy_why_set(reterr_why, ASY_ERR_IO, NULL, "%s: %s", to, strerror(errno));
    }
    if (err != ASY_OK) {
        (void)unlink(part); /* it may not be there */
    }
    asy_windows_done(&j.windows);
    asy_buf_done(&j.vocabulary);
    asy_file_unmap(file);
    return err;
}
