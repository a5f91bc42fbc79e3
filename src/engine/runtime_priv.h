/* runtime_priv.h: what the worker's scheduler asks of a model runtime, and how the plugin with
 * llama.cpp offers it.
 *
 * The plugin is a shared object of its own (assay-llama.so), so that no process that serves
 * strangers ever loads libllama, and plain C at this boundary: it uses nothing of ours but this
 * header and library_priv.h. One thread.
 * Errors are text, since there is nothing to decide upon. */
#ifndef ASY_ENGINE_RUNTIME_PRIV_H
#define ASY_ENGINE_RUNTIME_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASY_ENGINE_RUNTIME_VERSION 1u
#define ASY_ENGINE_PIECE_MAX       4096u /* bytes one token may stand for; engine.h says it too */
#define ASY_ENGINE_TEXT_MAX        256u

struct asy_engine_runtime_config {
    const char *model_path;
    const char *backend; /* CPU variant, NULL: the best */
    uint32_t slots;
    uint32_t context; /* tokens of one slot */
    uint32_t batch;   /* tokens of one forward call */
    uint32_t threads;
    bool vocabulary_only; /* only render, piece and is_end will be called */
};

/* One token to compute: token stands at position pos of what slot holds; positions of a slot come
 * without gaps. */
struct asy_engine_row {
    uint32_t slot;
    uint32_t pos;
    uint32_t token;
    bool want_logits;
};

struct asy_engine_runtime {
    uint32_t vocab_count;
    uint32_t context_train;
    char backend[64];
    void *self;

    /* The chat template over a JSON array of messages, then the tokenizer. Ids go to ret_ids, their
     * number to ret_count, which is right also when it exceeds cap. time: the job's. */
    bool (*render)(void *self, uint32_t *ret_ids, size_t cap, size_t *ret_count,
                   const char *messages, size_t len, uint64_t time,
                   char ret_why[ASY_ENGINE_TEXT_MAX]);
    /* The bytes a token stands for (none for control tokens): their number, at most
     * ASY_ENGINE_PIECE_MAX. */
    size_t (*piece)(void *self, char ret_piece[ASY_ENGINE_PIECE_MAX], uint32_t token);
    bool (*is_end)(void *self, uint32_t token);
    /* rows: 1..batch of them, those of a slot in order of position. After a failure the slots of
     * rows are to be cleared. */
    bool (*forward)(void *self, const struct asy_engine_row *rows, size_t count,
                    char ret_why[ASY_ENGINE_TEXT_MAX]);
    /* float[vocab_count] of a row that wanted them; valid until the next forward. */
    const float *(*logits)(void *self, size_t row);
    /* Integer logits instead, in the sampler's unit: engines that have them. NULL: floats. */
    const int32_t *(*integer_logits)(void *self, size_t row);
    void (*clear)(void *self, uint32_t slot); /* forgets what the slot holds */
    /* Copies what the first count positions of a slot hold: engines whose numbers do not depend on
     * how they were computed. NULL for the others, which compute each prompt anew. */
    void (*copy)(void *self, uint32_t to, uint32_t from, uint32_t count);
    void (*free)(void *self);
};

/* The plugin's one symbol. */
struct asy_engine_plugin {
    uint32_t version; /* ASY_ENGINE_RUNTIME_VERSION */
    bool (*load)(struct asy_engine_runtime *ret_runtime,
                 const struct asy_engine_runtime_config *config, char ret_why[ASY_ENGINE_TEXT_MAX]);
};
#define ASY_ENGINE_PLUGIN_SYMBOL "asy_engine_plugin"

#endif
