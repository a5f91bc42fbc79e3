/* library.c: the plugin's part for commands that use llama.cpp in their own process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ggml-backend.h>
#include <ggml.h>
#include <llama.h>

#include "engine/library_priv.h"
#include "engine/llama/backend.h"
#include "engine/llama/render.h"

static bool fail(char *ret_why, const char *text) {
    snprintf(ret_why, ASY_ENGINE_LIBRARY_WHY, "%s", text);
    return false;
}

/* ---- numbers ---- */

static const char *type_name(uint32_t type) {
    if (type >= GGML_TYPE_COUNT) {
        return NULL;
    }
    const struct ggml_type_traits *t = ggml_get_type_traits((enum ggml_type)type);
    bool usable = type == GGML_TYPE_F32 || (t->to_float != NULL && t->blck_size_interleave == 0);
    return usable && t->type_size != 0 ? t->type_name : NULL;
}

static void type_block(uint32_t type, uint32_t *ret_count, uint32_t *ret_len) {
    const struct ggml_type_traits *t = ggml_get_type_traits((enum ggml_type)type);
    *ret_count = (uint32_t)t->blck_size;
    *ret_len = (uint32_t)t->type_size;
}

static void to_floats(uint32_t type, float *ret, const void *data, size_t count) {
    if (type == GGML_TYPE_F32) {
        memcpy(ret, data, count * sizeof *ret);
    } else {
        ggml_get_type_traits((enum ggml_type)type)->to_float(data, ret, (int64_t)count);
    }
}

/* ---- tokenizer ---- */

static void *vocab_new(int fd, char *ret_why) {
    llama_log_set(asy_backend_log, NULL);
    FILE *file = fdopen(dup(fd), "rb");
    if (file == NULL) {
        fail(ret_why, "the vocabulary cannot be read");
        return NULL;
    }
    struct llama_model_params p = llama_model_default_params();
    p.vocab_only = true;
    p.load_mode = LLAMA_LOAD_MODE_NONE; /* nothing behind the keys to be mapped */
    p.progress_callback = asy_backend_progress;
    struct llama_model *model = llama_model_load_from_file_ptr(file, p);
    (void)fclose(file); /* only read */
    if (model == NULL) {
        fail(ret_why, "llama.cpp cannot load the vocabulary");
    }
    return model;
}

static void vocab_free(void *vocab) { llama_model_free(vocab); }

static const struct llama_vocab *vocab_of(const void *vocab) {
    return llama_model_get_vocab(vocab);
}

static uint32_t vocab_count(const void *vocab) {
    return (uint32_t)llama_vocab_n_tokens(vocab_of(vocab));
}

static int32_t vocab_first(const void *vocab) {
    return llama_vocab_get_add_bos(vocab_of(vocab)) ? llama_vocab_bos(vocab_of(vocab)) : -1;
}

static bool vocab_end(const void *vocab, uint32_t id) {
    return llama_vocab_is_eog(vocab_of(vocab), (llama_token)id);
}

static int32_t tokenize(const void *vocab, uint32_t *ret_ids, size_t cap, const void *text,
                        size_t len) {
    return llama_tokenize(vocab_of(vocab), text, (int32_t)len, (llama_token *)ret_ids, (int32_t)cap,
                          false, false);
}

static bool chat(const void *vocab, uint32_t *ret_ids, size_t cap, size_t *ret_count,
                 const char *messages, size_t len, uint64_t time, char *ret_why) {
    struct asy_chat *c = asy_chat_new(vocab, ret_why, ASY_ENGINE_LIBRARY_WHY);
    bool ok = c != NULL && asy_chat_ids(c, vocab, ret_ids, cap, ret_count, messages, len, time,
                                        ret_why, ASY_ENGINE_LIBRARY_WHY);
    asy_chat_free(c);
    return ok;
}

static size_t piece(const void *vocab, char *ret, size_t cap, uint32_t id) {
    int32_t len =
        llama_token_to_piece(vocab_of(vocab), (llama_token)id, ret, (int32_t)cap, 0, false);
    return len > 0 ? (size_t)len : 0;
}

/* ---- float models ---- */

struct model {
    struct asy_engine_library_model config;
    struct llama_model *model;
    struct llama_context *context;
    struct llama_batch batch;
};

/* A layer's output is called "l_out-N". */
static bool observe(struct ggml_tensor *t, bool ask, void *arg) {
    struct model *m = arg;
    bool wanted = strncmp(t->name, "l_out-", 6) == 0 && t->type == GGML_TYPE_F32;
    if (ask || !wanted) {
        return wanted;
    }
    uint32_t layer = 0;
    for (const char *p = t->name + 6; *p >= '0' && *p <= '9'; p++) {
        layer = layer * 10 + (uint32_t)(*p - '0');
    }
    if (ggml_backend_buffer_is_host(t->buffer)) {
        m->config.on_residual(m->config.arg, layer, t->data, (uint32_t)t->ne[1],
                              (uint32_t)t->ne[0]);
    }
    return true;
}

static void model_free(void *self) {
    struct model *m = self;
    if (m->batch.token != NULL) {
        llama_batch_free(m->batch);
    }
    if (m->context != NULL) {
        llama_free(m->context);
    }
    if (m->model != NULL) {
        llama_model_free(m->model);
    }
    free(m); /* allowed: the plugin uses nothing of base */
}

static void *model_new(const struct asy_engine_library_model *config, char *ret_why) {
    if (!asy_backend_load(NULL, ret_why, ASY_ENGINE_LIBRARY_WHY)) {
        return NULL;
    }
    struct model *m = calloc(1, sizeof *m); /* allowed: the plugin uses nothing of base */
    if (m == NULL) {
        fail(ret_why, "not enough memory");
        return NULL;
    }
    m->config = *config;
    llama_log_set(asy_backend_log, NULL);
    llama_backend_init();
    struct llama_model_params mp = llama_model_default_params();
    mp.progress_callback = asy_backend_progress;
    mp.n_gpu_layers = 0;
    m->model = llama_model_load_from_file(config->path, mp);
    bool ok = m->model != NULL || fail(ret_why, "llama.cpp cannot load the model file");
    if (ok) {
        struct llama_context_params cp = llama_context_default_params();
        cp.n_ctx = config->context;
        cp.n_batch = config->batch;
        cp.n_ubatch = config->batch;
        cp.n_seq_max = 1;
        cp.n_threads = (int32_t)config->threads;
        cp.n_threads_batch = (int32_t)config->threads;
        cp.type_k = config->half ? GGML_TYPE_F16 : GGML_TYPE_F32;
        cp.type_v = cp.type_k;
        cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
        cp.swa_full = true;
        cp.no_perf = true;
        if (config->on_residual != NULL) {
            cp.cb_eval = observe;
            cp.cb_eval_user_data = m;
        }
        m->context = llama_init_from_model(m->model, cp);
        ok = m->context != NULL || fail(ret_why, "not enough memory for the context");
    }
    if (ok) {
        m->batch = llama_batch_init((int32_t)config->batch, 0, 1);
    }
    if (!ok) {
        model_free(m);
        return NULL;
    }
    return m;
}

static uint32_t model_vocab(const void *self) {
    const struct model *m = self;
    return (uint32_t)llama_vocab_n_tokens(llama_model_get_vocab(m->model));
}

static bool model_step(void *self, const float **ret_logits, const uint32_t *ids, uint32_t from,
                       uint32_t count, char *ret_why) {
    struct model *m = self;
    if (count > m->config.batch) {
        return fail(ret_why, "more rows than the batch has");
    }
    if (from == 0) {
        llama_memory_clear(llama_get_memory(m->context), true);
    }
    for (uint32_t i = 0; i < count; i++) {
        m->batch.token[i] = (llama_token)ids[i];
        m->batch.pos[i] = (llama_pos)(from + i);
        m->batch.n_seq_id[i] = 1;
        m->batch.seq_id[i][0] = 0;
        m->batch.logits[i] = 1;
    }
    m->batch.n_tokens = (int32_t)count;
    int32_t rc = llama_decode(m->context, m->batch);
    if (rc != 0) {
        snprintf(ret_why, ASY_ENGINE_LIBRARY_WHY, "llama_decode failed with %d", rc);
        return false;
    }
    *ret_logits = llama_get_logits(m->context);
    return true;
}

static bool requantize(const char *from, const char *to, const char *type, uint32_t threads,
                       char *ret_why) {
    static const struct {
        const char *name;
        enum llama_ftype ftype;
    } types[] = {{"F32", LLAMA_FTYPE_ALL_F32},
                 {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
                 {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
                 {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M}};
    llama_log_set(asy_backend_log, NULL);
    if (!asy_backend_load(NULL, ret_why, ASY_ENGINE_LIBRARY_WHY)) {
        return false;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].name) == 0) {
            struct llama_model_quantize_params p = llama_model_quantize_default_params();
            p.ftype = types[i].ftype;
            p.allow_requantize = true;
            p.nthread = (int32_t)threads;
            return llama_model_quantize(from, to, &p) == 0 ||
                   fail(ret_why, "llama.cpp cannot rewrite the model file");
        }
    }
    return fail(ret_why, "no such type");
}

__attribute__((visibility("default"))) extern const struct asy_engine_library asy_engine_library;
const struct asy_engine_library asy_engine_library = {
    .version = ASY_ENGINE_LIBRARY_VERSION,
    .type_name = type_name,
    .type_block = type_block,
    .to_floats = to_floats,
    .vocab_new = vocab_new,
    .vocab_free = vocab_free,
    .vocab_count = vocab_count,
    .vocab_first = vocab_first,
    .vocab_end = vocab_end,
    .tokenize = tokenize,
    .chat = chat,
    .piece = piece,
    .model_new = model_new,
    .model_free = model_free,
    .model_vocab = model_vocab,
    .model_step = model_step,
    .requantize = requantize,
};
