/* engine_priv.h: what the engines share. */
#ifndef ASY_ENGINE_PRIV_H
#define ASY_ENGINE_PRIV_H

#include "engine/engine.h"

struct asy_engine_ops {
    enum asy_err (*submit)(struct asy_engine *e, const struct asy_engine_job *job,
                           struct asy_why *why); /* job was checked */
    void (*cancel)(struct asy_engine *e, uint64_t key);
    void (*credit)(struct asy_engine *e, uint64_t key, uint32_t count);
    void (*poll)(struct asy_engine *e, uint64_t now_ns);
    uint64_t (*next_ns)(const struct asy_engine *e);
    void (*free)(struct asy_engine *e);
    /* engines with a worker; NULL for the others */
    enum asy_engine_wish (*wish)(const struct asy_engine *e, uint64_t now_ns);
    const char *const *(*worker_argv)(const struct asy_engine *e);
    void (*attach)(struct asy_engine *e, uint64_t now_ns);
    void (*detach)(struct asy_engine *e, uint64_t now_ns, const char *why);
    void (*input)(struct asy_engine *e, uint64_t now_ns, struct asy_bytes in);
    struct asy_bytes (*output)(const struct asy_engine *e);
    void (*output_taken)(struct asy_engine *e, size_t len);
};

/* The beginning of every engine. */
struct asy_engine {
    const struct asy_engine_ops *ops;
    const struct asy_engine_events *events;
    void *arg;
    uint32_t used;
    uint32_t slots;    /* 0 while none can be used */
    uint32_t reported; /* `used` as on_load last told it */
};

/* Call the caller's function, if there is one. */
void asy_engine_tell_up(struct asy_engine *e, const struct asy_engine_model *model);
void asy_engine_tell_prompt(struct asy_engine *e, uint64_t key, const uint32_t *ids, size_t count,
                            size_t cached);
void asy_engine_tell_tokens(struct asy_engine *e, uint64_t key,
                            const struct asy_engine_tokens *tokens);
void asy_engine_tell_done(struct asy_engine *e, uint64_t key, enum asy_engine_finish finish,
                          uint32_t output_count, enum asy_err err, const char *why);
void asy_engine_tell_load(struct asy_engine *e); /* when it changed */
void asy_engine_tell_down(struct asy_engine *e, const char *why);

#endif
