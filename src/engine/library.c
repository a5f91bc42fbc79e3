/* library.c: llama.cpp in this process, through the plugin. */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/library_priv.h"

struct asy_llama {
    void *plugin;
    const struct asy_engine_library *f;
};

enum asy_err asy_llama_open(struct asy_llama **ret_llama, const char *plugin,
                            struct asy_why *reterr_why) {
    void *handle = dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return asy_why_set(reterr_why, ASY_ERR_NOT_FOUND, NULL, "%s", dlerror());
    }
    const struct asy_engine_library *f = dlsym(handle, ASY_ENGINE_LIBRARY_SYMBOL);
    if (f == NULL || f->version != ASY_ENGINE_LIBRARY_VERSION) {
        dlclose(handle);
        return asy_why_set(reterr_why, ASY_ERR_VERSION, NULL, "%s is not of this build", plugin);
    }
    *ret_llama = asy_alloc(sizeof **ret_llama);
    **ret_llama = (struct asy_llama){.plugin = handle, .f = f};
    return ASY_OK;
}

void asy_llama_free(struct asy_llama *l) {
    if (l != NULL) {
        /* not closed: the library's threads and its own exit handlers may still need the code */
        asy_free(l);
    }
}

/* ---- numbers ---- */

enum asy_err asy_llama_type(const struct asy_llama *l, struct asy_llama_type *ret_type,
                            uint32_t type) {
    const char *name = l->f->type_name(type);
    if (name == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    ret_type->name = name;
    l->f->type_block(type, &ret_type->block_count, &ret_type->block_len);
    return ASY_OK;
}

void asy_llama_floats(const struct asy_llama *l, uint32_t type, float *ret, const uint8_t *data,
                      size_t count) {
    l->f->to_floats(type, ret, data, count);
}

/* ---- tokenizer ---- */

struct asy_llama_vocab {
    const struct asy_engine_library *f;
    void *vocab;
};

/* The library reads files only, so the bytes become one without a name. */
static int as_file(struct asy_bytes in) {
    int fd = memfd_create("vocabulary", MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < in.n;) {
        ssize_t n = write(fd, in.p + at, in.n - at);
        if (n > 0) {
            at += (size_t)n;
        } else if (errno != EINTR) {
            (void)close(fd);
            fd = -1;
        }
    }
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

enum asy_err asy_llama_vocab_new(struct asy_llama_vocab **ret_vocab, const struct asy_llama *l,
                                 struct asy_bytes gguf, struct asy_why *reterr_why) {
    char why[ASY_ENGINE_LIBRARY_WHY] = "";
    int fd = as_file(gguf);
    if (fd < 0) {
        return asy_why_set(reterr_why, ASY_ERR_IO, NULL, "no file in memory: %s", strerror(errno));
    }
    void *vocab = l->f->vocab_new(fd, why);
    (void)close(fd);
    if (vocab == NULL) {
        return asy_why_set(reterr_why, ASY_ERR_UNSUPPORTED, NULL, "%s", why);
    }
    *ret_vocab = asy_alloc(sizeof **ret_vocab);
    **ret_vocab = (struct asy_llama_vocab){.f = l->f, .vocab = vocab};
    return ASY_OK;
}

void asy_llama_vocab_free(struct asy_llama_vocab *v) {
    if (v != NULL) {
        v->f->vocab_free(v->vocab);
        asy_free(v);
    }
}

uint32_t asy_llama_vocab_count(const struct asy_llama_vocab *v) {
    return v->f->vocab_count(v->vocab);
}
bool asy_llama_vocab_first(const struct asy_llama_vocab *v, uint32_t *ret_id) {
    int32_t id = v->f->vocab_first(v->vocab);
    if (id >= 0) {
        *ret_id = (uint32_t)id;
    }
    return id >= 0;
}
bool asy_llama_vocab_end(const struct asy_llama_vocab *v, uint32_t id) {
    return v->f->vocab_end(v->vocab, id);
}

enum asy_err asy_llama_tokenize(const struct asy_llama_vocab *v, uint32_t **ret_ids,
                                size_t *ret_count, struct asy_bytes text) {
    if (text.n > INT32_MAX / 2) {
        return ASY_ERR_TOO_LONG;
    }
    size_t cap = text.n + 16; /* a token stands for a byte at least, but for a few at the ends */
    uint32_t *ids = asy_alloc(cap * sizeof *ids);
    int32_t count = v->f->tokenize(v->vocab, ids, cap, text.p, text.n);
    if (count < 0) {
        asy_free(ids);
        return ASY_ERR_INTERNAL;
    }
    *ret_ids = ids;
    *ret_count = (size_t)count;
    return ASY_OK;
}

enum asy_err asy_llama_chat(const struct asy_llama_vocab *v, uint32_t **ret_ids, size_t *ret_count,
                            struct asy_bytes messages, uint64_t time, struct asy_why *reterr_why) {
    char why[ASY_ENGINE_LIBRARY_WHY] = "";
    size_t cap = messages.n + 1024, count = 0; /* as a guess: templates add to it, escapes do not */
    for (;;) {
        uint32_t *ids = asy_alloc(cap * sizeof *ids);
        if (!v->f->chat(v->vocab, ids, cap, &count, (const char *)messages.p, messages.n, time,
                        why)) {
            asy_free(ids);
            return asy_why_set(reterr_why, ASY_ERR_SYNTAX, "messages", "%s", why);
        }
        if (count <= cap) {
            *ret_ids = ids;
            *ret_count = count;
            return ASY_OK;
        }
        asy_free(ids);
        if (count > ASY_MAX_ENGINE_FRAME) {
            return asy_why_set(reterr_why, ASY_ERR_TOO_LONG, "messages", "%zu tokens", count);
        }
        cap = count;
    }
}

size_t asy_llama_piece(const struct asy_llama_vocab *v, char *ret, size_t cap, uint32_t id) {
    return v->f->piece(v->vocab, ret, cap, id);
}

/* ---- float models ---- */

struct asy_llama_model {
    const struct asy_engine_library *f;
    void *model;
};

enum asy_err asy_llama_model_new(struct asy_llama_model **ret_model, const struct asy_llama *l,
                                 const struct asy_llama_model_config *config,
                                 struct asy_why *reterr_why) {
    char why[ASY_ENGINE_LIBRARY_WHY] = "";
    struct asy_engine_library_model m = {.path = config->path,
                                         .context = config->context,
                                         .batch = config->batch,
                                         .threads = config->threads,
                                         .half = config->half,
                                         .on_residual = config->on_residual,
                                         .arg = config->arg};
    void *model = l->f->model_new(&m, why);
    if (model == NULL) {
        return asy_why_set(reterr_why, ASY_ERR_UNSUPPORTED, NULL, "%s", why);
    }
    *ret_model = asy_alloc(sizeof **ret_model);
    **ret_model = (struct asy_llama_model){.f = l->f, .model = model};
    return ASY_OK;
}

void asy_llama_model_free(struct asy_llama_model *m) {
    if (m != NULL) {
        m->f->model_free(m->model);
        asy_free(m);
    }
}

uint32_t asy_llama_model_vocab(const struct asy_llama_model *m) {
    return m->f->model_vocab(m->model);
}

enum asy_err asy_llama_model_step(struct asy_llama_model *m, const float **ret_logits,
                                  const uint32_t *ids, uint32_t from, uint32_t count,
                                  struct asy_why *reterr_why) {
    char why[ASY_ENGINE_LIBRARY_WHY] = "";
    return m->f->model_step(m->model, ret_logits, ids, from, count, why)
               ? ASY_OK
               : asy_why_set(reterr_why, ASY_ERR_INTERNAL, NULL, "%s", why);
}

enum asy_err asy_llama_requantize(const struct asy_llama *l, const char *from, const char *to,
                                  const char *type, uint32_t threads, struct asy_why *reterr_why) {
    char why[ASY_ENGINE_LIBRARY_WHY] = "";
    return l->f->requantize(from, to, type, threads, why)
               ? ASY_OK
               : asy_why_set(reterr_why, ASY_ERR_UNSUPPORTED, NULL, "%s", why);
}
