/* recorder.h: events of an engine, written down for tests. Header only. */
#ifndef ASY_ENGINE_TEST_RECORDER_H
#define ASY_ENGINE_TEST_RECORDER_H

#include "base/test.h"
#include "engine/engine.h"

#define RECORDER_JOBS 32

struct recorded {
    uint64_t key;
    bool prompt_seen, ended;
    uint32_t *prompt;
    size_t prompt_count;
    uint32_t *ids;
    size_t count, events;
    uint32_t first; /* position of ids[0] */
    struct asy_buf text;
    enum asy_engine_finish finish;
    enum asy_err err;
    char why[240];
};

struct recorder {
    struct recorded job[RECORDER_JOBS];
    size_t job_count;
    size_t ups, downs;
    uint32_t used, slots;
    struct asy_engine_model model;
    char backend[64];
    char down[240];
    void (*hook)(struct recorder *r,
                 struct recorded *job); /* after each tokens event and each end */
    void *hook_arg;
};

/* The newest record of a key: a job begins with its prompt or, when it fails, with its end. */
static struct recorded *recorder_job(struct recorder *r, uint64_t key) {
    for (size_t i = r->job_count; i > 0; i--) {
        if (r->job[i - 1].key == key) {
            return &r->job[i - 1];
        }
    }
    return NULL;
}

static struct recorded *recorder_begin(struct recorder *r, uint64_t key) {
    struct recorded *job = recorder_job(r, key);
    if (job != NULL && !job->ended) {
        return job;
    }
    ASY_ASSERT(r->job_count < RECORDER_JOBS);
    job = &r->job[r->job_count++];
    *job = (struct recorded){.key = key};
    job->ids = asy_alloc(ASY_MAX_TOKENS * sizeof *job->ids);
    asy_buf_init(&job->text, 16u * 1024u * 1024u);
    return job;
}

static void recorder_on_up(void *arg, const struct asy_engine_model *model) {
    struct recorder *r = arg;
    r->ups++;
    r->model = *model;
    snprintf(r->backend, sizeof r->backend, "%s", model->backend);
    r->model.backend = r->backend;
    if (r->hook != NULL) {
        r->hook(r, NULL);
    }
}

static void recorder_on_prompt(void *arg, uint64_t key, const uint32_t *ids, size_t count,
                               size_t cached) {
    (void)cached;
    struct recorded *job = recorder_begin(arg, key);
    CHECK(!job->prompt_seen && job->count == 0);
    job->prompt_seen = true;
    job->prompt = asy_alloc(count * sizeof *ids);
    memcpy(job->prompt, ids, count * sizeof *ids);
    job->prompt_count = count;
}

static void recorder_on_tokens(void *arg, uint64_t key, const struct asy_engine_tokens *tokens) {
    struct recorder *r = arg;
    struct recorded *job = recorder_job(r, key);
    CHECK(job != NULL && job->prompt_seen && !job->ended && tokens->count > 0);
    if (job == NULL || job->count + tokens->count > ASY_MAX_TOKENS) {
        return;
    }
    if (job->count == 0) {
        job->first = tokens->first;
    }
    CHECK_U64(tokens->first, job->first + job->count);
    CHECK(asy_utf8_valid(tokens->text));
    memcpy(job->ids + job->count, tokens->ids, tokens->count * sizeof *tokens->ids);
    job->count += tokens->count;
    job->events++;
    CHECK_OK(asy_buf_add_bytes(&job->text, tokens->text));
    if (r->hook != NULL) {
        r->hook(r, job);
    }
}

static void recorder_on_done(void *arg, uint64_t key, const struct asy_engine_done *done) {
    struct recorder *r = arg;
    struct recorded *job = recorder_begin(r, key);
    CHECK(!job->ended);
    CHECK_U64(done->output_count, job->count);
    CHECK((done->finish == ASY_ENGINE_FAILED) == (done->err != ASY_OK));
    job->ended = true;
    job->finish = done->finish;
    job->err = done->err;
    snprintf(job->why, sizeof job->why, "%s", done->why);
    if (r->hook != NULL) {
        r->hook(r, job);
    }
}

static void recorder_on_load(void *arg, uint32_t used, uint32_t slots) {
    struct recorder *r = arg;
    r->used = used;
    r->slots = slots;
}

static void recorder_on_down(void *arg, const char *why) {
    struct recorder *r = arg;
    r->downs++;
    snprintf(r->down, sizeof r->down, "%s", why);
    if (r->hook != NULL) {
        r->hook(r, NULL);
    }
}

static const struct asy_engine_events recorder_events = {.on_up = recorder_on_up,
                                                         .on_prompt = recorder_on_prompt,
                                                         .on_tokens = recorder_on_tokens,
                                                         .on_done = recorder_on_done,
                                                         .on_load = recorder_on_load,
                                                         .on_down = recorder_on_down};

static void recorder_done(struct recorder *r) {
    for (size_t i = 0; i < r->job_count; i++) {
        asy_free(r->job[i].prompt);
        asy_free(r->job[i].ids);
        asy_buf_done(&r->job[i].text);
    }
    *r = (struct recorder){0};
}

/* A job with nothing special; the tests change what they are about. */
__attribute__((unused)) static struct asy_engine_job plain_job(uint64_t key, const char *messages) {
    return (struct asy_engine_job){.key = key,
                                   .messages = asy_bytes_cstr(messages),
                                   .sampling = ASY_SAMPLE_SETTINGS_DEFAULT,
                                   .max_tokens = 256,
                                   .credit = 1000};
}

#endif
