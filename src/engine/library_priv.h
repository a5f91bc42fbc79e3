/* library_priv.h: what the plugin with llama.cpp in it offers to commands that use the library in
 * their own process. Plain C at the boundary, as in runtime_priv.h. */
#ifndef ASY_ENGINE_LIBRARY_PRIV_H
#define ASY_ENGINE_LIBRARY_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASY_ENGINE_LIBRARY_VERSION 2u
#define ASY_ENGINE_LIBRARY_SYMBOL  "asy_engine_library"
#define ASY_ENGINE_LIBRARY_WHY     256u

struct asy_engine_library_model {
    const char *path;
    uint32_t context, batch, threads;
    bool half; /* keys and values in 16 bits, as llama.cpp runs by default; else in 32 */
    void (*on_residual)(void *arg, uint32_t layer, const float *values, uint32_t rows,
                        uint32_t columns);
    void *arg;
};

/* Functions that return false or NULL filled why. */
struct asy_engine_library {
    uint32_t version; /* ASY_ENGINE_LIBRARY_VERSION */

    const char *(*type_name)(uint32_t type); /* NULL: there is no such type, or no way to floats */
    void (*type_block)(uint32_t type, uint32_t *ret_count, uint32_t *ret_len);
    void (*to_floats)(uint32_t type, float *ret, const void *data, size_t count);

    void *(*vocab_new)(int fd, char why[ASY_ENGINE_LIBRARY_WHY]); /* a GGUF file; stays open */
    void (*vocab_free)(void *vocab);
    uint32_t (*vocab_count)(const void *vocab);
    int32_t (*vocab_first)(const void *vocab); /* the token every text begins with; -1: none */
    bool (*vocab_end)(const void *vocab, uint32_t id);
    int32_t (*tokenize)(const void *vocab, uint32_t *ret_ids, size_t cap, const void *text,
                        size_t len);
    /* The chat template over a JSON array of messages, then the tokenizer. ret_count is right also
     * when it exceeds cap. time: of a template that prints it. */
    bool (*chat)(const void *vocab, uint32_t *ret_ids, size_t cap, size_t *ret_count,
                 const char *messages, size_t len, uint64_t time, char why[ASY_ENGINE_LIBRARY_WHY]);
    size_t (*piece)(const void *vocab, char *ret, size_t cap, uint32_t id);

    void *(*model_new)(const struct asy_engine_library_model *m, char why[ASY_ENGINE_LIBRARY_WHY]);
    void (*model_free)(void *model);
    uint32_t (*model_vocab)(const void *model);
    /* Computes ids at positions [from, from + count); from 0 forgets what was there. */
    bool (*model_step)(void *model, const float **ret_logits, const uint32_t *ids, uint32_t from,
                       uint32_t count, char why[ASY_ENGINE_LIBRARY_WHY]);

    bool (*requantize)(const char *from, const char *to, const char *type, uint32_t threads,
                       char why[ASY_ENGINE_LIBRARY_WHY]);
};

#endif
