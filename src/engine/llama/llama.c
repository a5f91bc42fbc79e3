/* llama.c: the plugin with llama.cpp in it, for workers. */
#include <link.h>
#include <stdio.h>
#include <string.h>

#include <ggml-backend.h>
#include <llama.h>

#include "engine/llama/backend.h"
#include "engine/llama/render.h"
#include "engine/runtime_priv.h"

struct llama {
    struct llama_model *model;
    const struct llama_vocab *vocab;
    struct llama_context *context;
    struct llama_batch batch;
    struct asy_chat *chat;
};

static bool fail(char *ret_why, const char *text) {
    snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "%s", text);
    return false;
}

/* ---- the runtime ---- */

static bool render(void *self, uint32_t *ret_ids, size_t cap, size_t *ret_count,
                   const char *messages, size_t len, uint64_t time,
                   char ret_why[ASY_ENGINE_TEXT_MAX]) {
    struct llama *l = self;
    return asy_chat_ids(l->chat, l->model, ret_ids, cap, ret_count, messages, len, time, ret_why,
                        ASY_ENGINE_TEXT_MAX);
}

static size_t piece(void *self, char ret_piece[ASY_ENGINE_PIECE_MAX], uint32_t token) {
    struct llama *l = self;
    int32_t len = llama_token_to_piece(l->vocab, (llama_token)token, ret_piece,
                                       ASY_ENGINE_PIECE_MAX, 0, false);
    return len > 0 ? (size_t)len : 0;
}

static bool is_end(void *self, uint32_t token) {
    struct llama *l = self;
    return llama_vocab_is_eog(l->vocab, (llama_token)token);
}

static bool forward(void *self, const struct asy_engine_row *rows, size_t count,
                    char ret_why[ASY_ENGINE_TEXT_MAX]) {
    struct llama *l = self;
    for (size_t i = 0; i < count; i++) {
        l->batch.token[i] = (llama_token)rows[i].token;
        l->batch.pos[i] = (llama_pos)rows[i].pos;
        l->batch.n_seq_id[i] = 1;
        l->batch.seq_id[i][0] = (llama_seq_id)rows[i].slot;
        l->batch.logits[i] = rows[i].want_logits;
    }
    l->batch.n_tokens = (int32_t)count;
    int32_t rc = llama_decode(l->context, l->batch);
    if (rc != 0) {
        snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "llama_decode failed with %d", rc);
        return false;
    }
    return true;
}

static const float *logits(void *self, size_t row) {
    struct llama *l = self;
    return llama_get_logits_ith(l->context, (int32_t)row);
}

static void clear(void *self, uint32_t slot) {
    struct llama *l = self;
    llama_memory_seq_rm(llama_get_memory(l->context), (llama_seq_id)slot, -1, -1);
}

static void llama_done(void *self) {
    struct llama *l = self;
    asy_chat_free(l->chat);
    if (l->batch.token != NULL) {
        llama_batch_free(l->batch);
    }
    if (l->context != NULL) {
        llama_free(l->context);
    }
    if (l->model != NULL) {
        llama_model_free(l->model);
    }
    llama_backend_free();
}

/* ---- loading ---- */

/* The variant's name is only in the name of the file that was loaded. */
static int find_variant(struct dl_phdr_info *info, size_t info_len, void *arg) {
    (void)info_len;
    const char *name = strstr(info->dlpi_name, "/libggml-cpu-");
    if (name != NULL) {
        name += strlen("/libggml-cpu-");
        snprintf(arg, sizeof((struct asy_engine_runtime *)NULL)->backend, "CPU %.*s",
                 (int)strcspn(name, "."), name);
    }
    return name != NULL;
}

static bool load(struct asy_engine_runtime *ret_runtime,
                 const struct asy_engine_runtime_config *config,
                 char ret_why[ASY_ENGINE_TEXT_MAX]) {
    static struct llama the_one; /* a worker has one model */
    struct llama *l = &the_one;
    *l = (struct llama){0};
    llama_log_set(asy_backend_log, NULL);
    bool ok =
        config->vocabulary_only || asy_backend_load(config->backend, ret_why, ASY_ENGINE_TEXT_MAX);
    if (ok) {
        llama_backend_init();
        struct llama_model_params model = llama_model_default_params();
        model.progress_callback = asy_backend_progress;
        model.vocab_only = config->vocabulary_only;
        l->model = llama_model_load_from_file(config->model_path, model);
        ok = l->model != NULL || fail(ret_why, "llama.cpp cannot load the model file");
    }
    if (ok && !config->vocabulary_only) {
        struct llama_context_params context = llama_context_default_params();
        context.n_ctx = config->slots * config->context;
        context.n_seq_max = config->slots;
        context.n_batch = config->batch;
        context.n_ubatch = config->batch;
        context.n_outputs_max = config->slots;
        context.n_threads = (int32_t)config->threads;
        context.n_threads_batch = (int32_t)config->threads;
        /* What a manifest's calibration pins: the cache in half precision, no flash attention, and
         * each slot's attention over its own cells only, so that neighbours do not change its
         * numbers more than the batch's shape does. */
        context.type_k = GGML_TYPE_F16;
        context.type_v = GGML_TYPE_F16;
        context.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
        context.kv_unified = false;
        context.no_perf = true;
        l->context = llama_init_from_model(l->model, context);
        ok = l->context != NULL ||
             fail(ret_why, "not enough memory for the context, or the model cannot be run");
        l->batch = llama_batch_init((int32_t)config->batch, 0, 1);
    }
    if (ok) {
        l->vocab = llama_model_get_vocab(l->model);
        l->chat = asy_chat_new(l->model, ret_why, ASY_ENGINE_TEXT_MAX);
        ok = l->chat != NULL;
    }
    if (!ok) {
        llama_done(l);
        return false;
    }
    *ret_runtime =
        (struct asy_engine_runtime){.vocab_count = (uint32_t)llama_vocab_n_tokens(l->vocab),
                                    .context_train = (uint32_t)llama_model_n_ctx_train(l->model),
                                    .self = l,
                                    .render = render,
                                    .piece = piece,
                                    .is_end = is_end,
                                    .forward = forward,
                                    .logits = logits,
                                    .clear = clear,
                                    .free = llama_done};
    if (!config->vocabulary_only && dl_iterate_phdr(find_variant, ret_runtime->backend) == 0) {
        snprintf(ret_runtime->backend, sizeof ret_runtime->backend, "%s",
                 ggml_backend_dev_name(ggml_backend_dev_get(0)));
    }
    return true;
}

__attribute__((visibility("default"))) extern const struct asy_engine_plugin asy_engine_plugin;
const struct asy_engine_plugin asy_engine_plugin = {.version = ASY_ENGINE_RUNTIME_VERSION,
                                                    .load = load};
