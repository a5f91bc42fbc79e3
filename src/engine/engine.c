#include "engine/engine_priv.h"

const char *asy_engine_finish_name(enum asy_engine_finish finish) {
    switch (finish) {
    case ASY_ENGINE_STOP:
        return "stop";
    case ASY_ENGINE_LENGTH:
        return "length";
    case ASY_ENGINE_CANCELLED:
        return "cancelled";
    case ASY_ENGINE_FAILED:
        return "failed";
    }
    return "unknown";
}

/* ---- what callers call ---- */

static enum asy_err check_job(const struct asy_engine_job *job, struct asy_why *why) {
    bool by_ids = job->prompt_ids != NULL;
    if (by_ids ? job->prompt_count == 0 : job->messages.n == 0) {
        return asy_why_set(why, ASY_ERR_MISSING, "messages", "the prompt is empty");
    }
    /* the other half of a frame has room for everything else: ids take at most 5 bytes each */
    if (by_ids ? job->prompt_count > ASY_MAX_ENGINE_FRAME / 16
               : job->messages.n > ASY_MAX_ENGINE_FRAME / 2) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, "messages",
                           "the prompt is longer than an engine takes");
    }
    if (job->max_tokens == 0 || job->max_tokens > ASY_MAX_TOKENS) {
        return asy_why_set(why, ASY_ERR_RANGE, "max_tokens", "max_tokens must be between 1 and %u",
                           ASY_MAX_TOKENS);
    }
    if (job->prior_count >= job->max_tokens) {
        return asy_why_set(why, ASY_ERR_RANGE, "prior", "all %u tokens were delivered before",
                           job->max_tokens);
    }
    if (job->stop_count > ASY_MAX_STOPS) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, "stop", "at most %u stop strings", ASY_MAX_STOPS);
    }
    for (size_t i = 0; i < job->stop_count; i++) {
        if (job->stops[i].n == 0 || job->stops[i].n > ASY_MAX_STOP_LEN ||
            !asy_utf8_valid(job->stops[i])) {
            return asy_why_set(why, ASY_ERR_RANGE, "stop",
                               "a stop string must be UTF-8 of 1 to %u bytes", ASY_MAX_STOP_LEN);
        }
    }
    ASY_TRY(asy_sample_settings_check(&job->sampling, why));
    ASY_TRY(asy_sample_bias_check(job->bias, job->bias_count, why));
    if (asy_hash_is_zero(&job->sampling.logit_bias) != (job->bias_count == 0)) {
        return asy_why_set(why, ASY_ERR_MISMATCH, "logit_bias",
                           "the settings name another logit_bias");
    }
    return ASY_OK;
}

enum asy_err asy_engine_submit(struct asy_engine *e, const struct asy_engine_job *job,
                               struct asy_why *why) {
    ASY_TRY(check_job(job, why));
    return e->ops->submit(e, job, why);
}

void asy_engine_cancel(struct asy_engine *e, uint64_t key) { e->ops->cancel(e, key); }

void asy_engine_credit(struct asy_engine *e, uint64_t key, uint32_t count) {
    e->ops->credit(e, key, count);
}

uint32_t asy_engine_used(const struct asy_engine *e) { return e->used; }

uint32_t asy_engine_free_slots(const struct asy_engine *e) {
    return e->slots > e->used ? e->slots - e->used : 0;
}

void asy_engine_poll(struct asy_engine *e, uint64_t now_ns) { e->ops->poll(e, now_ns); }

uint64_t asy_engine_next_ns(const struct asy_engine *e) { return e->ops->next_ns(e); }

void asy_engine_free(struct asy_engine *e) {
    if (e != NULL) {
        e->ops->free(e);
    }
}

enum asy_engine_wish asy_engine_wish(const struct asy_engine *e, uint64_t now_ns) {
    return e->ops->wish == NULL ? ASY_ENGINE_WISH_NOTHING : e->ops->wish(e, now_ns);
}

/* The others make sense only after a wish, so an engine without a worker never gets here. */
const char *const *asy_engine_worker_argv(const struct asy_engine *e) {
    return e->ops->worker_argv(e);
}

void asy_engine_attach(struct asy_engine *e, uint64_t now_ns) { e->ops->attach(e, now_ns); }

void asy_engine_detach(struct asy_engine *e, uint64_t now_ns, const char *why) {
    e->ops->detach(e, now_ns, why);
}

void asy_engine_input(struct asy_engine *e, uint64_t now_ns, struct asy_bytes in) {
    e->ops->input(e, now_ns, in);
}

struct asy_bytes asy_engine_output(const struct asy_engine *e) {
    return e->ops->output == NULL ? (struct asy_bytes){0} : e->ops->output(e);
}

void asy_engine_output_taken(struct asy_engine *e, size_t len) { e->ops->output_taken(e, len); }

/* ---- what engines call ---- */

void asy_engine_tell_up(struct asy_engine *e, const struct asy_engine_model *model) {
    if (e->events->on_up != NULL) {
        e->events->on_up(e->arg, model);
    }
}

void asy_engine_tell_prompt(struct asy_engine *e, uint64_t key, const uint32_t *ids, size_t count,
                            size_t cached) {
    if (e->events->on_prompt != NULL) {
        e->events->on_prompt(e->arg, key, ids, count, cached);
    }
}

void asy_engine_tell_tokens(struct asy_engine *e, uint64_t key,
                            const struct asy_engine_tokens *tokens) {
    if (e->events->on_tokens != NULL) {
        e->events->on_tokens(e->arg, key, tokens);
    }
}

void asy_engine_tell_done(struct asy_engine *e, uint64_t key, enum asy_engine_finish finish,
                          uint32_t output_count, enum asy_err err, const char *why) {
    struct asy_engine_done done = {
        .finish = finish, .output_count = output_count, .err = err, .why = why};
    if (e->events->on_done != NULL) {
        e->events->on_done(e->arg, key, &done);
    }
}

void asy_engine_tell_load(struct asy_engine *e) {
    if (e->used != e->reported) {
        e->reported = e->used;
        if (e->events->on_load != NULL) {
            e->events->on_load(e->arg, e->used, e->slots);
        }
    }
}

void asy_engine_tell_down(struct asy_engine *e, const char *why) {
    if (e->events->on_down != NULL) {
        e->events->on_down(e->arg, why);
    }
}
