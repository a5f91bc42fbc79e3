/* client.c: an engine whose model runs in a worker process: this process's side. */
#include <stdio.h>

#include "engine/engine_priv.h"
#include "engine/frame_priv.h"

#define uthash_malloc(len)  asy_alloc(len)
#define uthash_free(p, len) asy_free(p)
#include <uthash.h>

#define START_MS 120000u
#define PING_NS                                                                                    \
    10000000000u /* silence, with jobs running, after which the worker is asked whether it lives   \
                    ... */
#define HANG_NS      30000000000u /* ... and after which it is taken to hang */
#define PAUSE_MIN_NS 100000000u   /* before a new worker, doubling ... */
#define PAUSE_MAX_NS 10000000000u
#define STEADY_NS    60000000000u /* ... unless the last one was up that long */

struct client_job {
    uint64_t key;
    UT_hash_handle hh;
    uint32_t prior;
    uint32_t max_tokens;
    uint32_t delivered;
    uint32_t credit; /* granted in all */
    bool prompt_told;
    bool cancelled;
};

enum client_state {
    CLIENT_DOWN,     /* no worker; the next one from restart_ns on */
    CLIENT_STARTING, /* attached, loading its model */
    CLIENT_UP,
    CLIENT_BROKEN, /* to be killed */
};

struct client {
    struct asy_engine base;
    struct asy_engine_worker_config config;
    struct asy_buf plugin; /* path */
    char number[4][16];    /* numeric arguments as text */
    const char *argv[20];
    enum client_state state;
    bool attached_before;
    uint64_t restart_ns;
    uint64_t pause_ns; /* before the next restart */
    uint64_t since_ns; /* of this state */
    bool watching;     /* there are jobs, so silence means something */
    bool pinged;
    uint64_t heard_ns;
    uint64_t nonce;
    struct asy_engine_model model;
    struct client_job *jobs;
    struct asy_buf in, out;
    char why[240]; /* why it is BROKEN, or what it said when it gave up */
};

static void set_state(struct client *c, enum client_state state, uint64_t now_ns) {
    c->state = state;
    c->since_ns = now_ns;
}

static struct client_job *job_find(struct client *c, uint64_t key) {
    struct client_job *j;
    HASH_FIND(hh, c->jobs, &key, sizeof key, j);
    return j;
}

/* Ends a job here. The key is free for use again when the callback runs. */
static void job_end(struct client *c, struct client_job *j, enum asy_engine_finish finish,
                    enum asy_err err, const char *why) {
    uint64_t key = j->key;
    uint32_t delivered = j->delivered;
    HASH_DEL(c->jobs, j);
    asy_free(j);
    c->base.used--;
    asy_engine_tell_done(&c->base, key, finish, delivered, err, why);
}

/* ---- to the worker ---- */

static enum asy_err enqueue(struct client *c, Assay__Engine__ToWorker *message) {
    return asy_engine_frame_add(&c->out, &message->base);
}

static enum asy_err client_submit(struct asy_engine *base, const struct asy_engine_job *job,
                                  struct asy_why *why) {
    struct client *c = (struct client *)base;
    if (c->state != CLIENT_UP) {
        return asy_why_set(why, ASY_ERR_AGAIN, NULL, "the engine is starting");
    }
    /* sorted: the last one is the highest */
    if (job->bias_count != 0 && job->bias[job->bias_count - 1].id >= c->model.vocab_count) {
        return asy_why_set(why, ASY_ERR_RANGE, "logit_bias",
                           "'logit_bias' names token %u; this model has tokens 0 to %u",
                           job->bias[job->bias_count - 1].id, c->model.vocab_count - 1);
    }
    if (job_find(c, job->key) != NULL) {
        return asy_why_set(why, ASY_ERR_DUPLICATE, "key", "a job with this key is running");
    }
    if (base->used >= base->slots) {
        return asy_why_set(why, ASY_ERR_FULL, NULL, "all %u slots are in use", base->slots);
    }
    Assay__Engine__Submit submit;
    assay__engine__submit__init(&submit);
    ProtobufCBinaryData stops[ASY_MAX_STOPS];
    submit.key = job->key;
    /* protobuf-c's structures have no const; packing only reads them */
    if (job->prompt_ids != NULL) {
        submit.prompt = (uint32_t *)(uintptr_t)job->prompt_ids;
        submit.n_prompt = job->prompt_count;
    } else {
        submit.messages = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)job->messages.p,
                                                .len = job->messages.n};
    }
    submit.prior = (uint32_t *)(uintptr_t)job->prior_ids;
    submit.n_prior = job->prior_count;
    uint8_t settings[ASY_SAMPLE_SETTINGS_LEN], bias[ASY_SAMPLE_BIAS_LEN * ASY_MAX_BIAS];
    asy_sample_settings_encode(settings, &job->sampling);
    asy_sample_bias_encode(bias, job->bias, job->bias_count);
    submit.settings = (ProtobufCBinaryData){.data = settings, .len = sizeof settings};
    submit.bias = (ProtobufCBinaryData){.data = bias, .len = ASY_SAMPLE_BIAS_LEN * job->bias_count};
    submit.seed =
        (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)job->seed, .len = sizeof job->seed};
    submit.max_tokens = job->max_tokens;
    for (size_t i = 0; i < job->stop_count; i++) {
        stops[i] = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)job->stops[i].p,
                                         .len = job->stops[i].n};
    }
    submit.stops = stops;
    submit.n_stops = job->stop_count;
    submit.credit = job->credit;
    submit.scope = job->scope;
    submit.time = job->time;
    Assay__Engine__ToWorker message;
    assay__engine__to_worker__init(&message);
    message.body_case = ASSAY__ENGINE__TO_WORKER__BODY_SUBMIT;
    message.submit = &submit;
    if (enqueue(c, &message) != ASY_OK) {
        return asy_why_set(why, ASY_ERR_FULL, NULL, "the worker does not keep up with its input");
    }
    struct client_job *j = asy_alloc(sizeof *j);
    j->key = job->key;
    j->prior = (uint32_t)job->prior_count;
    j->max_tokens = job->max_tokens;
    j->credit = job->credit;
    HASH_ADD(hh, c->jobs, key, sizeof j->key, j);
    base->used++;
    return ASY_OK;
}

/* A worker that does not take the small messages either is as good as dead; poll will see its
 * silence. */
static void client_cancel(struct asy_engine *base, uint64_t key) {
    struct client *c = (struct client *)base;
    struct client_job *j = job_find(c, key);
    if (j == NULL || j->cancelled) {
        return;
    }
    j->cancelled = true;
    Assay__Engine__Cancel cancel;
    assay__engine__cancel__init(&cancel);
    cancel.key = key;
    Assay__Engine__ToWorker message;
    assay__engine__to_worker__init(&message);
    message.body_case = ASSAY__ENGINE__TO_WORKER__BODY_CANCEL;
    message.cancel = &cancel;
    (void)enqueue(c, &message);
}

static void client_credit(struct asy_engine *base, uint64_t key, uint32_t count) {
    struct client *c = (struct client *)base;
    struct client_job *j = job_find(c, key);
    if (j == NULL || j->cancelled) {
        return;
    }
    j->credit = count > UINT32_MAX - j->credit ? UINT32_MAX : j->credit + count;
    Assay__Engine__Credit credit;
    assay__engine__credit__init(&credit);
    credit.key = key;
    credit.tokens = count;
    Assay__Engine__ToWorker message;
    assay__engine__to_worker__init(&message);
    message.body_case = ASSAY__ENGINE__TO_WORKER__BODY_CREDIT;
    message.credit = &credit;
    (void)enqueue(c, &message);
}

static void send_ping(struct client *c) {
    Assay__Engine__Ping ping;
    assay__engine__ping__init(&ping);
    ping.nonce = ++c->nonce;
    Assay__Engine__ToWorker message;
    assay__engine__to_worker__init(&message);
    message.body_case = ASSAY__ENGINE__TO_WORKER__BODY_PING;
    message.ping = &ping;
    (void)enqueue(c, &message);
}

static struct asy_bytes client_output(const struct asy_engine *base) {
    return asy_buf_bytes(&((const struct client *)base)->out);
}

static void client_output_taken(struct asy_engine *base, size_t len) {
    asy_buf_consume(&((struct client *)base)->out, len);
}

/* ---- from the worker: another process around a large library, so nothing it says is taken on
 * trust ------------------------------ */

static enum asy_err on_ready(struct client *c, const Assay__Engine__Ready *ready, uint64_t now_ns,
                             struct asy_why *why) {
    if (c->state != CLIENT_STARTING || ready->slots != c->config.slots || ready->vocab_count == 0 ||
        ready->context == 0) {
        return asy_why_set(why, ASY_ERR_PEER, NULL, "an unexpected Ready");
    }
    set_state(c, CLIENT_UP, now_ns);
    c->base.slots = ready->slots;
    c->model = (struct asy_engine_model){.vocab_count = ready->vocab_count,
                                         .context = ready->context,
                                         .context_train = ready->context_train,
                                         .slots = ready->slots,
                                         .backend = ready->backend};
    asy_engine_tell_up(&c->base, &c->model);
    c->model.backend = NULL; /* belongs to the message */
    return ASY_OK;
}

static enum asy_err on_prompt(struct client *c, const Assay__Engine__Prompt *prompt,
                              struct asy_why *why) {
    struct client_job *j = job_find(c, prompt->key);
    if (j == NULL || j->prompt_told || prompt->n_ids == 0 || prompt->cached >= prompt->n_ids) {
        return asy_why_set(why, ASY_ERR_PEER, NULL, "an unexpected Prompt");
    }
    j->prompt_told = true;
    if (!j->cancelled) {
        asy_engine_tell_prompt(&c->base, prompt->key, prompt->ids, prompt->n_ids, prompt->cached);
    }
    return ASY_OK;
}

static enum asy_err on_tokens(struct client *c, const Assay__Engine__Tokens *tokens,
                              struct asy_why *why) {
    struct client_job *j = job_find(c, tokens->key);
    struct asy_bytes text = {tokens->text.data, tokens->text.len};
    if (j == NULL || !j->prompt_told || tokens->n_ids == 0 ||
        tokens->n_ids > j->max_tokens - j->prior - j->delivered ||
        tokens->n_ids > j->credit - j->delivered || tokens->first != j->prior + j->delivered ||
        !asy_utf8_valid(text)) {
        return asy_why_set(why, ASY_ERR_PEER, NULL, "unexpected Tokens");
    }
    for (size_t i = 0; i < tokens->n_ids; i++) {
        if (tokens->ids[i] >= c->model.vocab_count) {
            return asy_why_set(why, ASY_ERR_PEER, NULL, "a token outside the vocabulary");
        }
    }
    if (!j->cancelled) {
        j->delivered += (uint32_t)tokens->n_ids;
        struct asy_engine_tokens told = {
            .first = tokens->first, .ids = tokens->ids, .count = tokens->n_ids, .text = text};
        asy_engine_tell_tokens(&c->base, tokens->key, &told);
    }
    return ASY_OK;
}

/* A worker's text for people may be cut inside a character, or be anything. */
static const char *readable(char *ret, size_t cap, const char *text) {
    snprintf(ret, cap, "%s", text);
    ret[asy_utf8_whole(asy_bytes_cstr(ret))] = '\0';
    return asy_utf8_valid(asy_bytes_cstr(ret)) ? ret : "no reason that can be read";
}

static enum asy_err on_done(struct client *c, const Assay__Engine__Done *done,
                            struct asy_why *why) {
    struct client_job *j = job_find(c, done->key);
    bool failed = done->finish == ASY_ENGINE_FAILED;
    bool known =
        done->err == ASY_ERR_RANGE || done->err == ASY_ERR_SYNTAX || done->err == ASY_ERR_INTERNAL;
    if (j == NULL || done->finish < ASY_ENGINE_STOP || done->finish > ASY_ENGINE_FAILED ||
        (failed ? !known : done->err != ASY_OK) ||
        (done->finish == ASY_ENGINE_CANCELLED && !j->cancelled)) {
        return asy_why_set(why, ASY_ERR_PEER, NULL, "an unexpected Done");
    }
    if (j->cancelled) {
        job_end(c, j, ASY_ENGINE_CANCELLED, ASY_OK, "");
    } else {
        char text[sizeof c->why];
        job_end(c, j, (enum asy_engine_finish)done->finish, (enum asy_err)done->err,
                readable(text, sizeof text, done->why));
    }
    return ASY_OK;
}

static enum asy_err on_frame(struct client *c, struct asy_bytes content, uint64_t now_ns,
                             struct asy_why *why) {
    Assay__Engine__FromWorker *message =
        assay__engine__from_worker__unpack(NULL, content.n, content.p);
    if (message == NULL) {
        return asy_why_set(why, ASY_ERR_PEER, NULL, "a message that cannot be decoded");
    }
    enum asy_err err = ASY_ERR_INTERNAL;
    char text[sizeof c->why];
    switch (message->body_case) {
    case ASSAY__ENGINE__FROM_WORKER__BODY_READY:
        err = on_ready(c, message->ready, now_ns, why);
        break;
    case ASSAY__ENGINE__FROM_WORKER__BODY_PROMPT:
        err = on_prompt(c, message->prompt, why);
        break;
    case ASSAY__ENGINE__FROM_WORKER__BODY_TOKENS:
        err = on_tokens(c, message->tokens, why);
        break;
    case ASSAY__ENGINE__FROM_WORKER__BODY_DONE:
        err = on_done(c, message->done, why);
        break;
    case ASSAY__ENGINE__FROM_WORKER__BODY_PONG:
        err = ASY_OK; /* it was heard: that is all it is for */
        break;
    case ASSAY__ENGINE__FROM_WORKER__BODY_FATAL:
        err = asy_why_set(why, ASY_ERR_PEER, NULL, "%s",
                          readable(text, sizeof text, message->fatal->why));
        break;
    case ASSAY__ENGINE__FROM_WORKER__BODY__NOT_SET:
    case _ASSAY__ENGINE__FROM_WORKER__BODY__CASE_IS_INT_SIZE:
        err = asy_why_set(why, ASY_ERR_PEER, NULL, "an empty message");
        break;
    }
    assay__engine__from_worker__free_unpacked(message, NULL);
    return err;
}

static void client_input(struct asy_engine *base, uint64_t now_ns, struct asy_bytes in) {
    struct client *c = (struct client *)base;
    if (c->state != CLIENT_STARTING && c->state != CLIENT_UP) {
        return; /* from a worker that was given up */
    }
    c->heard_ns = now_ns;
    c->pinged = false;
    struct asy_why why = {0};
    enum asy_err err = asy_buf_add_bytes(&c->in, in);
    size_t at = 0;
    while (err == ASY_OK) {
        struct asy_bytes content;
        size_t len;
        err = asy_engine_frame_next(&content, &len, (struct asy_bytes){c->in.p + at, c->in.n - at});
        if (err == ASY_OK) {
            at += len;
            err = on_frame(c, content, now_ns, &why);
        }
    }
    asy_buf_consume(&c->in, at);
    asy_engine_tell_load(base);
    if (err != ASY_ERR_AGAIN) {
        snprintf(c->why, sizeof c->why, "%s",
                 why.text[0] != '\0' ? why.text : "a message that is too long");
        set_state(c, CLIENT_BROKEN, now_ns);
    }
}

/* ---- the worker's life ---- */

static void client_poll(struct asy_engine *base, uint64_t now_ns) {
    struct client *c = (struct client *)base;
    if (c->state == CLIENT_STARTING &&
        now_ns - c->since_ns >= (uint64_t)c->config.start_ms * 1000000u) {
        snprintf(c->why, sizeof c->why, "the model was not loaded within %u ms",
                 c->config.start_ms);
        set_state(c, CLIENT_BROKEN, now_ns);
    }
    if (c->state == CLIENT_UP && base->used > 0) {
        if (!c->watching) {
            c->watching = true;
            c->heard_ns = now_ns;
        }
        if (now_ns - c->heard_ns >= HANG_NS) {
            snprintf(c->why, sizeof c->why, "the worker has not answered for %u s",
                     (unsigned)(HANG_NS / 1000000000u));
            set_state(c, CLIENT_BROKEN, now_ns);
        } else if (now_ns - c->heard_ns >= PING_NS && !c->pinged) {
            c->pinged = true;
            send_ping(c);
        }
    } else {
        c->watching = false;
    }
    asy_engine_tell_load(base);
}

static uint64_t client_next_ns(const struct asy_engine *base) {
    const struct client *c = (const struct client *)base;
    switch (c->state) {
    case CLIENT_DOWN:
        return c->restart_ns;
    case CLIENT_STARTING:
        return c->since_ns + (uint64_t)c->config.start_ms * 1000000u;
    case CLIENT_UP:
        if (base->used == 0) {
            return base->reported == 0 ? UINT64_MAX : 0;
        }
        return !c->watching || base->used != base->reported
                   ? 0
                   : c->heard_ns + (c->pinged ? HANG_NS : PING_NS);
    case CLIENT_BROKEN:
        return UINT64_MAX;
    }
    return UINT64_MAX;
}

static enum asy_engine_wish client_wish(const struct asy_engine *base, uint64_t now_ns) {
    const struct client *c = (const struct client *)base;
    if (c->state == CLIENT_BROKEN) {
        return ASY_ENGINE_WISH_KILL;
    }
    return c->state == CLIENT_DOWN && now_ns >= c->restart_ns ? ASY_ENGINE_WISH_SPAWN
                                                              : ASY_ENGINE_WISH_NOTHING;
}

static void client_attach(struct asy_engine *base, uint64_t now_ns) {
    struct client *c = (struct client *)base;
    ASY_ASSERT(c->state == CLIENT_DOWN);
    if (c->attached_before) {
        asy_metric_add(ASY_M_engine_restarts_total, 1);
    }
    c->attached_before = true;
    c->why[0] = '\0';
    set_state(c, CLIENT_STARTING, now_ns);
}

static void client_detach(struct asy_engine *base, uint64_t now_ns, const char *why) {
    struct client *c = (struct client *)base;
    bool steady = c->state == CLIENT_UP && now_ns - c->since_ns >= STEADY_NS;
    c->pause_ns = steady || c->pause_ns == 0       ? PAUSE_MIN_NS
                  : c->pause_ns * 2 > PAUSE_MAX_NS ? PAUSE_MAX_NS
                                                   : c->pause_ns * 2;
    c->restart_ns = now_ns + c->pause_ns;
    set_state(c, CLIENT_DOWN, now_ns);
    base->slots = 0;
    c->watching = c->pinged = false;
    asy_buf_clear(&c->in);
    asy_buf_clear(&c->out);
    char text[sizeof c->why];
    snprintf(text, sizeof text, "%s", c->why[0] != '\0' ? c->why : why);
    while (c->jobs != NULL) {
        bool cancelled = c->jobs->cancelled;
        job_end(c, c->jobs, cancelled ? ASY_ENGINE_CANCELLED : ASY_ENGINE_FAILED,
                cancelled ? ASY_OK : ASY_ERR_CLOSED, cancelled ? "" : text);
    }
    asy_engine_tell_load(base);
    asy_engine_tell_down(base, text);
}

static const char *const *client_worker_argv(const struct asy_engine *base) {
    return ((const struct client *)base)->argv;
}

static void client_free(struct asy_engine *base) {
    struct client *c = (struct client *)base;
    struct client_job *j, *next;
    HASH_ITER(hh, c->jobs, j, next) {
        HASH_DEL(c->jobs, j);
        asy_free(j);
    }
    asy_buf_done(&c->plugin);
    asy_buf_done(&c->in);
    asy_buf_done(&c->out);
    asy_free(c);
}

static void set_argv(struct client *c) {
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {{"--slots", c->config.slots},
                   {"--context", c->config.context},
                   {"--batch", c->config.batch},
                   {"--threads", c->config.threads}};
    size_t n = 0;
    c->argv[n++] = c->config.program;
    c->argv[n++] = "engine-worker";
    c->argv[n++] = "--plugin";
    c->argv[n++] = asy_buf_cstr(&c->plugin);
    c->argv[n++] = "--model";
    c->argv[n++] = c->config.model_path;
    for (size_t i = 0; i < ASY_COUNT(numbers); i++) {
        snprintf(c->number[i], sizeof c->number[i], "%u", numbers[i].value);
        c->argv[n++] = numbers[i].name;
        c->argv[n++] = c->number[i];
    }
    if (c->config.backend != NULL) {
        c->argv[n++] = "--backend";
        c->argv[n++] = c->config.backend;
    }
    ASY_ASSERT(n < ASY_COUNT(c->argv));
}

enum asy_err asy_engine_worker_new(struct asy_engine **ret_e,
                                   const struct asy_engine_worker_config *config,
                                   const struct asy_engine_events *events, void *arg,
                                   struct asy_why *why) {
    static const struct asy_engine_ops ops = {.submit = client_submit,
                                              .cancel = client_cancel,
                                              .credit = client_credit,
                                              .poll = client_poll,
                                              .next_ns = client_next_ns,
                                              .free = client_free,
                                              .wish = client_wish,
                                              .worker_argv = client_worker_argv,
                                              .attach = client_attach,
                                              .detach = client_detach,
                                              .input = client_input,
                                              .output = client_output,
                                              .output_taken = client_output_taken};
    if (config->program == NULL || config->model_path == NULL) {
        return asy_why_set(why, ASY_ERR_MISSING, "model_path",
                           "an engine needs a program and a model file");
    }
    if (config->slots == 0 || config->slots > ASY_MAX_SLOTS) {
        return asy_why_set(why, ASY_ERR_RANGE, "slots", "slots must be between 1 and %u",
                           ASY_MAX_SLOTS);
    }
    if (config->context < 64 || config->context > 1048576) {
        return asy_why_set(why, ASY_ERR_RANGE, "context",
                           "context must be between 64 and 1048576 tokens");
    }
    if (config->batch < config->slots || config->batch > 8192) {
        return asy_why_set(why, ASY_ERR_RANGE, "batch",
                           "batch must be between the number of slots and 8192 tokens");
    }
    struct client *c = asy_alloc(sizeof *c);
    c->base = (struct asy_engine){.ops = &ops, .events = events, .arg = arg};
    c->config = *config;
    if (config->start_ms == 0) {
        c->config.start_ms = START_MS;
    }
    asy_buf_init(&c->plugin, 4096);
    asy_buf_init(&c->in, ASY_ENGINE_QUEUE);
    asy_buf_init(&c->out, ASY_ENGINE_QUEUE);
    const char *slash = strrchr(config->program, '/');
    enum asy_err err = config->plugin != NULL
                           ? asy_buf_add_str(&c->plugin, config->plugin)
                           : asy_buf_printf(&c->plugin, "%.*s../lib/assay-llama.so",
                                            slash == NULL ? 0 : (int)(slash - config->program + 1),
                                            config->program);
    if (err != ASY_OK) {
        client_free(&c->base);
        return asy_why_set(why, ASY_ERR_TOO_LONG, "plugin", "the path is too long");
    }
    set_argv(c);
    *ret_e = &c->base;
    return ASY_OK;
}
