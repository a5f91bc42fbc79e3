/* worker.c: the worker process: jobs share a model's slots by continuous batching.
 *
 * One thread goes round: read what the parent sent, compute one batch, send what came of it. A
 * batch holds one token of every job that is answering, then as much of the waiting prompts as
 * fits, so that a long prompt neither waits for nor stops the others. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/exact_priv.h"
#include "engine/frame_priv.h"
#include "engine/gate_priv.h"
#include "engine/runtime_priv.h"

#define WORKER_FD   3
#define WORKER_READ (64u * 1024u)

struct slot {
    bool used;
    uint64_t key;
    uint32_t *ids; /* prompt, prior output, output */
    size_t count;
    size_t computed; /* of them, what the model's cache holds */
    size_t prompt_count;
    uint32_t prior;
    uint32_t max_tokens;
    uint32_t delivered;
    uint64_t credit; /* tokens it may still choose */
    struct asy_sample_settings sampling;
    uint8_t seed[ASY_SAMPLE_SEED_LEN];
    struct asy_sample_bias *bias;
    size_t bias_count;
    struct asy_sample_count *counts; /* of the output tokens; NULL: no penalty asks for them */
    size_t counts_len;
    struct asy_gate gate;
    /* Stays behind its job where the runtime can copy: what the cache holds, for whom. */
    uint64_t scope;
    uint64_t last_used; /* the job's number */
};

struct worker {
    struct asy_engine_runtime_config config;
    struct asy_engine_runtime rt;
    struct asy_bytes file; /* mapped */
    struct slot slot[ASY_MAX_SLOTS];
    uint64_t jobs; /* so far */
    uint32_t turn; /* the slot whose prompt comes first in the next batch */
    struct asy_engine_row *rows;
    int32_t *logits;
    void *workspace;
    uint32_t *prompt; /* config.context ids */
    struct asy_buf in, out;
    bool eof;
};

/* ---- to the parent ---- */

/* The socket blocks: a parent that does not read stops the worker, as it should. A parent that is
 * gone ends it. */
static void flush(struct worker *w) {
    size_t at = 0;
    while (at < w->out.n && !w->eof) {
        ssize_t n = write(WORKER_FD, w->out.p + at, w->out.n - at);
        if (n > 0) {
            at += (size_t)n;
        } else if (errno != EINTR) {
            w->eof = true;
        }
    }
    asy_buf_clear(&w->out);
}

static void say(struct worker *w, Assay__Engine__FromWorker *message) {
    if (asy_engine_frame_add(&w->out, &message->base) != ASY_OK) {
        flush(w);
        enum asy_err err = asy_engine_frame_add(&w->out, &message->base);
        ASY_ASSERT(err ==
                   ASY_OK); /* a prompt is at most context ids, tokens and texts are far smaller */
    }
}

static void say_ready(struct worker *w) {
    Assay__Engine__Ready ready;
    assay__engine__ready__init(&ready);
    ready.vocab_count = w->rt.vocab_count;
    ready.context = w->config.context;
    ready.context_train = w->rt.context_train;
    ready.slots = w->config.slots;
    ready.backend = w->rt.backend;
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_READY;
    message.ready = &ready;
    say(w, &message);
}

static void say_fatal(struct worker *w, char *why) {
    Assay__Engine__Fatal fatal;
    assay__engine__fatal__init(&fatal);
    fatal.why = why;
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_FATAL;
    message.fatal = &fatal;
    say(w, &message);
    flush(w);
}

static void say_prompt(struct worker *w, const struct slot *s, size_t cached) {
    Assay__Engine__Prompt prompt;
    assay__engine__prompt__init(&prompt);
    prompt.key = s->key;
    prompt.ids = s->ids;
    prompt.n_ids = s->prompt_count;
    prompt.cached = (uint32_t)cached;
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_PROMPT;
    message.prompt = &prompt;
    say(w, &message);
}

static void say_tokens(struct worker *w, struct slot *s) {
    struct asy_gate *gate = &s->gate;
    if (gate->out_count == 0) {
        return;
    }
    Assay__Engine__Tokens tokens;
    assay__engine__tokens__init(&tokens);
    tokens.key = s->key;
    tokens.first = s->prior + s->delivered;
    tokens.ids = gate->id;
    tokens.n_ids = gate->out_count;
    tokens.text = (ProtobufCBinaryData){.data = gate->text.p, .len = gate->out_len};
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_TOKENS;
    message.tokens = &tokens;
    say(w, &message);
    s->delivered += (uint32_t)gate->out_count;
    asy_gate_take(gate);
}

static void say_done(struct worker *w, uint64_t key, enum asy_engine_finish finish,
                     enum asy_err err, const char *why) {
    Assay__Engine__Done done;
    assay__engine__done__init(&done);
    done.key = key;
    done.finish = finish;
    done.err = err;
    done.why = (char *)(uintptr_t)why; /* only read */
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_DONE;
    message.done = &done;
    say(w, &message);
}

/* ---- jobs ---- */

static void slot_free(struct slot *s) {
    asy_gate_done(&s->gate);
    asy_free(s->ids);
    asy_free(s->bias);
    asy_free(s->counts);
    *s = (struct slot){0};
}

static void slot_end(struct worker *w, struct slot *s, enum asy_engine_finish finish,
                     enum asy_err err, const char *why) {
    say_done(w, s->key, finish, err, why);
    w->rt.clear(w->rt.self, (uint32_t)(s - w->slot));
    struct slot keep = {.ids = s->ids,
                        .count = s->count,
                        .computed = s->computed,
                        .scope = s->scope,
                        .last_used = s->last_used};
    bool reuse = w->rt.copy != NULL && s->scope != 0;
    s->ids = reuse ? NULL : s->ids;
    slot_free(s);
    if (reuse) {
        *s = keep;
    }
}

static struct slot *slot_find(struct worker *w, uint64_t key) {
    for (uint32_t i = 0; i < w->config.slots; i++) {
        if (w->slot[i].used && w->slot[i].key == key) {
            return &w->slot[i];
        }
    }
    return NULL;
}

/* The prompt's ids to w->prompt. */
static enum asy_err read_prompt(struct worker *w, size_t *ret_count,
                                const Assay__Engine__Submit *submit, struct asy_why *why) {
    size_t count = submit->n_prompt;
    if (count == 0) {
        char text[ASY_ENGINE_TEXT_MAX] = "";
        if (!w->rt.render(w->rt.self, w->prompt, w->config.context, &count,
                          (const char *)submit->messages.data, submit->messages.len, submit->time,
                          text)) {
            return asy_why_set(why, ASY_ERR_SYNTAX, "messages", "%s", text);
        }
    } else if (count <= w->config.context) {
        memcpy(w->prompt, submit->prompt, count * sizeof *w->prompt);
    }
    if (count + submit->n_prior >= w->config.context) {
        return asy_why_set(why, ASY_ERR_RANGE, "messages",
                           "%zu prompt tokens leave no room in the context of %u tokens", count,
                           w->config.context);
    }
    if (count == 0) {
        return asy_why_set(why, ASY_ERR_RANGE, "messages", "the prompt has no tokens");
    }
    for (size_t i = 0; i < count; i++) {
        if (w->prompt[i] >= w->rt.vocab_count) {
            return asy_why_set(why, ASY_ERR_RANGE, "messages",
                               "prompt id %zu is outside the vocabulary", i);
        }
    }
    for (size_t i = 0; i < submit->n_prior; i++) {
        if (submit->prior[i] >= w->rt.vocab_count) {
            return asy_why_set(why, ASY_ERR_RANGE, "prior",
                               "prior id %zu is outside the vocabulary", i);
        }
    }
    *ret_count = count;
    return ASY_OK;
}

/* Settings, bias, and what the penalties need to know of the output before. */
static void read_sampling(struct slot *s, const Assay__Engine__Submit *submit) {
    enum asy_err err = asy_sample_settings_decode(
        &s->sampling, asy_bytes_of(submit->settings.data, submit->settings.len), NULL);
    ASY_ASSERT(err == ASY_OK); /* the parent checked it all */
    s->bias = asy_alloc(submit->bias.len / ASY_SAMPLE_BIAS_LEN * sizeof *s->bias);
    err = asy_sample_bias_decode(s->bias, &s->bias_count,
                                 asy_bytes_of(submit->bias.data, submit->bias.len), NULL);
    ASY_ASSERT(err == ASY_OK);
    memcpy(s->seed, submit->seed.data, sizeof s->seed);
    if ((asy_sample_uses(&s->sampling) & ASY_SAMPLE_USES_COUNTS) != 0) {
        s->counts = asy_alloc(s->max_tokens * sizeof *s->counts);
        for (size_t i = 0; i < submit->n_prior; i++) {
            asy_sample_count_add(s->counts, &s->counts_len, submit->prior[i]);
        }
    }
}

/* How many positions of a slot's cache a new sequence could use. All but its last token: that one
 * is computed for its logits. */
static size_t common(const struct slot *s, uint64_t scope, const uint32_t *ids, size_t count) {
    size_t n = 0;
    if (scope != 0 && s->scope == scope) {
        while (n < s->computed && n + 1 < count && s->ids[n] == ids[n]) {
            n++;
        }
    }
    return n;
}

/* The free slot that a sequence goes to: the one whose cache serves it best, else the one that was
 * idle longest. ret_from has what to copy, ret_cached positions of it. */
static uint32_t place(struct worker *w, uint32_t *ret_from, size_t *ret_cached, uint64_t scope,
                      const uint32_t *ids, size_t count) {
    uint32_t to = UINT32_MAX, from = UINT32_MAX;
    size_t most = 0, here = 0;
    for (uint32_t i = 0; i < w->config.slots; i++) {
        const struct slot *s = &w->slot[i];
        size_t n = w->rt.copy != NULL ? common(s, scope, ids, count) : 0;
        if (n > most) {
            most = n;
            from = i;
        }
        if (!s->used &&
            (to == UINT32_MAX || n > here || (n == here && s->last_used < w->slot[to].last_used))) {
            to = i;
            here = n;
        }
    }
    ASY_ASSERT(to != UINT32_MAX); /* the parent counts them */
    *ret_from = here == most ? to : from;
    *ret_cached = most;
    return to;
}

static void on_submit(struct worker *w, const Assay__Engine__Submit *submit) {
    ASY_ASSERT(submit->seed.len == ASY_SAMPLE_SEED_LEN && submit->n_prior < submit->max_tokens &&
               submit->n_stops <= ASY_MAX_STOPS);
    struct asy_why why = {0};
    size_t count = 0;
    enum asy_err err = read_prompt(w, &count, submit, &why);
    if (err != ASY_OK) {
        say_done(w, submit->key, ASY_ENGINE_FAILED, err, why.text);
        return;
    }
    uint32_t from;
    size_t cached, total = count + submit->n_prior;
    if (submit->n_prior > 0) {
        memcpy(w->prompt + count, submit->prior, submit->n_prior * sizeof *w->prompt);
    }
    uint32_t to = place(w, &from, &cached, submit->scope, w->prompt, total);
    if (from != to && cached > 0) {
        w->rt.copy(w->rt.self, to, from, (uint32_t)cached);
    }
    struct slot *s = &w->slot[to];
    asy_free(s->ids);
    uint32_t room = w->config.context - (uint32_t)count; /* the answer ends with the context */
    *s = (struct slot){.used = true,
                       .key = submit->key,
                       .prompt_count = count,
                       .prior = (uint32_t)submit->n_prior,
                       .max_tokens = submit->max_tokens < room ? submit->max_tokens : room,
                       .credit = submit->credit,
                       .computed = cached,
                       .scope = submit->scope,
                       .last_used = ++w->jobs};
    read_sampling(s, submit);
    s->ids = asy_alloc((count + s->max_tokens) * sizeof *s->ids);
    memcpy(s->ids, w->prompt, total * sizeof *s->ids);
    s->count = total;
    struct asy_bytes stops[ASY_MAX_STOPS];
    for (size_t i = 0; i < submit->n_stops; i++) {
        stops[i] = (struct asy_bytes){submit->stops[i].data, submit->stops[i].len};
    }
    asy_gate_init(&s->gate, stops, submit->n_stops);
    say_prompt(w, s, cached < count ? cached : count - 1);
}

/* Takes the chosen token. */
static void add_token(struct worker *w, struct slot *s, uint32_t id) {
    char piece[ASY_ENGINE_PIECE_MAX];
    bool end = w->rt.is_end(w->rt.self, id);
    size_t len = end ? 0 : w->rt.piece(w->rt.self, piece, id);
    s->ids[s->count++] = id;
    if (s->counts != NULL) {
        asy_sample_count_add(s->counts, &s->counts_len, id);
    }
    s->credit--;
    bool stop = asy_gate_push(&s->gate, id, asy_bytes_of(piece, len)) || end;
    bool full = s->count - s->prompt_count == s->max_tokens;
    if (stop || full) {
        asy_gate_flush(&s->gate);
    }
    say_tokens(w, s);
    if (stop || full) {
        slot_end(w, s, stop ? ASY_ENGINE_STOP : ASY_ENGINE_LENGTH, ASY_OK, "");
    }
}

/* Fills w->rows; returns how many. */
static size_t plan(struct worker *w) {
    size_t count = 0;
    for (uint32_t i = 0; i < w->config.slots; i++) {
        const struct slot *s = &w->slot[i];
        if (s->used && s->credit > 0 && s->computed + 1 == s->count) {
            w->rows[count++] =
                (struct asy_engine_row){i, (uint32_t)s->computed, s->ids[s->computed], true};
        }
    }
    for (uint32_t k = 0; k < w->config.slots; k++) {
        uint32_t i = (w->turn + k) % w->config.slots;
        const struct slot *s = &w->slot[i];
        if (s->used && s->credit > 0 && s->computed + 1 < s->count) {
            for (size_t pos = s->computed; pos < s->count && count < w->config.batch; pos++) {
                w->rows[count++] =
                    (struct asy_engine_row){i, (uint32_t)pos, s->ids[pos], pos + 1 == s->count};
            }
        }
    }
    w->turn = (w->turn + 1) % w->config.slots;
    return count;
}

/* A row's logits as integers, adjusted as the job asks; NULL: the engine is broken. */
static const int32_t *logits_of(struct worker *w, const struct slot *s, size_t row) {
    uint32_t vocab = w->rt.vocab_count;
    bool adjusts = s->bias_count != 0 || s->counts != NULL;
    bool ok = true;
    if (w->rt.integer_logits != NULL) {
        const int32_t *logits = w->rt.integer_logits(w->rt.self, row);
        if (!adjusts) {
            return logits;
        }
        memcpy(w->logits, logits, vocab * sizeof *logits);
    } else {
        const float *logits = w->rt.logits(w->rt.self, row);
        ok = logits != NULL && asy_sample_logits_from_float(w->logits, logits, vocab) == ASY_OK;
    }
    ok = ok && asy_sample_adjust(w->logits, vocab, &s->sampling, s->bias, s->bias_count, s->counts,
                                 s->counts_len) == ASY_OK;
    return ok ? w->logits : NULL;
}

static void choose(struct worker *w, struct slot *s, size_t row) {
    const int32_t *logits = logits_of(w, s, row);
    uint32_t id;
    uint32_t pos = (uint32_t)(s->count - s->prompt_count);
    enum asy_err err = ASY_ERR_INTERNAL;
    if (logits != NULL) {
        err = asy_sample_token(&id, NULL, w->workspace, logits, w->rt.vocab_count, &s->sampling,
                               s->seed, pos);
    }
    if (err != ASY_OK) {
        slot_end(w, s, ASY_ENGINE_FAILED, ASY_ERR_INTERNAL, "the model gave no usable logits");
        return;
    }
    add_token(w, s, id);
}

/* Computes one batch. Returns false when there is nothing to compute. */
static bool step(struct worker *w) {
    size_t count = plan(w);
    if (count == 0) {
        return false;
    }
    char why[ASY_ENGINE_TEXT_MAX] = "";
    bool ok = w->rt.forward(w->rt.self, w->rows, count, why);
    for (size_t row = 0; row < count; row++) {
        struct slot *s = &w->slot[w->rows[row].slot];
        if (ok) {
            s->computed = w->rows[row].pos + 1;
        } else if (s->used) {
            slot_end(w, s, ASY_ENGINE_FAILED, ASY_ERR_INTERNAL, why);
        }
    }
    for (size_t row = 0; ok && row < count; row++) {
        if (w->rows[row].want_logits) {
            choose(w, &w->slot[w->rows[row].slot], row);
        }
    }
    return true;
}

/* ---- from the parent ---- */

static void on_frame(struct worker *w, struct asy_bytes content) {
    Assay__Engine__ToWorker *message = assay__engine__to_worker__unpack(NULL, content.n, content.p);
    ASY_ASSERT(message != NULL); /* the parent is the same program */
    switch (message->body_case) {
    case ASSAY__ENGINE__TO_WORKER__BODY_SUBMIT:
        on_submit(w, message->submit);
        break;
    case ASSAY__ENGINE__TO_WORKER__BODY_CANCEL: {
        struct slot *s = slot_find(w, message->cancel->key);
        if (s != NULL) {
            slot_end(w, s, ASY_ENGINE_CANCELLED, ASY_OK, "");
        }
        break;
    }
    case ASSAY__ENGINE__TO_WORKER__BODY_CREDIT: {
        struct slot *s = slot_find(w, message->credit->key);
        if (s != NULL) {
            s->credit +=
                message->credit
                    ->tokens; /* at most 2^32 each: no overflow in any number of messages */
        }
        break;
    }
    case ASSAY__ENGINE__TO_WORKER__BODY_PING: {
        Assay__Engine__Pong pong;
        assay__engine__pong__init(&pong);
        pong.nonce = message->ping->nonce;
        Assay__Engine__FromWorker answer;
        assay__engine__from_worker__init(&answer);
        answer.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_PONG;
        answer.pong = &pong;
        say(w, &answer);
        break;
    }
    case ASSAY__ENGINE__TO_WORKER__BODY__NOT_SET:
    case _ASSAY__ENGINE__TO_WORKER__BODY__CASE_IS_INT_SIZE:
        break;
    }
    assay__engine__to_worker__free_unpacked(message, NULL);
}

/* Reads what is there; waits for something when there is nothing else to do. */
static void receive(struct worker *w, bool wait) {
    struct pollfd pfd = {.fd = WORKER_FD, .events = POLLIN};
    int ready = poll(&pfd, 1, wait ? -1 : 0);
    if (ready <= 0) {
        return;
    }
    uint8_t *p;
    enum asy_err err = asy_buf_reserve(&w->in, &p, WORKER_READ);
    ASY_ASSERT(err == ASY_OK); /* whole frames were taken out, and one frame fits */
    ssize_t n = read(WORKER_FD, p, WORKER_READ);
    if (n < 0 && errno == EINTR) {
        return;
    }
    if (n <= 0) {
        w->eof = true;
        return;
    }
    asy_buf_grow(&w->in, (size_t)n);
    size_t at = 0;
    struct asy_bytes content;
    size_t len;
    while (asy_engine_frame_next(&content, &len, (struct asy_bytes){w->in.p + at, w->in.n - at}) ==
           ASY_OK) {
        at += len;
        on_frame(w, content);
    }
    asy_buf_consume(&w->in, at);
}

static void serve(struct worker *w) {
    bool busy = false;
    while (!w->eof) {
        receive(w, !busy);
        busy = step(w);
        flush(w);
    }
}

/* ---- the process ---- */

static bool load(struct worker *w, const char *plugin_path, char ret_why[ASY_ENGINE_TEXT_MAX]) {
    void *library = dlopen(plugin_path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "%s", dlerror());
        return false;
    }
    const struct asy_engine_plugin *plugin = dlsym(library, ASY_ENGINE_PLUGIN_SYMBOL);
    if (plugin == NULL || plugin->version != ASY_ENGINE_RUNTIME_VERSION) {
        snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "%s is not of this build", plugin_path);
        return false;
    }
    struct asy_why why = {{0}, {0}};
    if (asy_file_map(&w->file, w->config.model_path, &why) != ASY_OK) {
        snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "%s", why.text);
        return false;
    }
    bool loaded = asy_engine_exact_is(w->file)
                      ? asy_engine_exact_load(&w->rt, &w->config, w->file, plugin, ret_why)
                      : plugin->load(&w->rt, &w->config, ret_why);
    if (!loaded) {
        return false;
    }
    size_t workspace_len = asy_sample_workspace_len(w->rt.vocab_count);
    if (workspace_len == 0) {
        snprintf(ret_why, ASY_ENGINE_TEXT_MAX, "the vocabulary of %u tokens is too large",
                 w->rt.vocab_count);
        return false;
    }
    w->workspace = asy_alloc(workspace_len);
    w->logits = asy_alloc(w->rt.vocab_count * sizeof *w->logits);
    w->rows = asy_alloc(w->config.batch * sizeof *w->rows);
    w->prompt = asy_alloc(w->config.context * sizeof *w->prompt);
    return true;
}

static bool read_options(struct worker *w, const char **ret_plugin, int argc, char **argv) {
    for (int i = 2; i + 1 < argc; i += 2) {
        uint32_t *number = strcmp(argv[i], "--slots") == 0     ? &w->config.slots
                           : strcmp(argv[i], "--context") == 0 ? &w->config.context
                           : strcmp(argv[i], "--batch") == 0   ? &w->config.batch
                           : strcmp(argv[i], "--threads") == 0 ? &w->config.threads
                                                               : NULL;
        const char **text = strcmp(argv[i], "--plugin") == 0    ? ret_plugin
                            : strcmp(argv[i], "--model") == 0   ? &w->config.model_path
                            : strcmp(argv[i], "--backend") == 0 ? &w->config.backend
                                                                : NULL;
        uint64_t value = 0;
        if (text != NULL) {
            *text = argv[i + 1];
        } else if (number != NULL &&
                   asy_bytes_to_u64(&value, asy_bytes_cstr(argv[i + 1])) == ASY_OK &&
                   value <= 1u << 24) {
            *number = (uint32_t)value;
        } else {
            return false;
        }
    }
    return argc % 2 == 0 && *ret_plugin != NULL && w->config.model_path != NULL &&
           w->config.slots > 0 && w->config.slots <= ASY_MAX_SLOTS &&
           w->config.batch >= w->config.slots && w->config.context > 0;
}

int asy_engine_worker_main(int argc, char **argv) {
    struct worker *w = asy_alloc(sizeof *w);
    const char *plugin = NULL;
    if (!read_options(w, &plugin, argc, argv)) {
        fprintf(stderr, "engine-worker is started by the node\n");
        asy_free(w);
        return 2;
    }
    (void)signal(SIGINT, SIG_IGN); /* cannot fail for these two */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)fcntl(
        WORKER_FD, F_SETFL,
        0); /* blocking, whatever the parent made it; a bad descriptor shows at the first read */
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE,
                    &none); /* a core would hold prompts; lowering one's own limit cannot fail */
    if (w->config.threads == 0) {
        cpu_set_t cpus;
        int count = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
        w->config.threads = count > 1 ? (uint32_t)count / 2 : 1;
    }
    asy_buf_init(&w->in, ASY_ENGINE_QUEUE);
    asy_buf_init(&w->out, ASY_ENGINE_QUEUE);
    char why[ASY_ENGINE_TEXT_MAX] = "";
    bool ok = load(w, plugin, why);
    if (ok) {
        say_ready(w);
        flush(w);
        serve(w);
        for (uint32_t i = 0; i < w->config.slots; i++) {
            slot_free(&w->slot[i]);
        }
    } else {
        say_fatal(w, why);
    }
    if (w->rt.free != NULL) {
        w->rt.free(w->rt.self);
    }
    asy_file_unmap(w->file);
    asy_free(w->prompt);
    asy_free(w->rows);
    asy_free(w->logits);
    asy_free(w->workspace);
    asy_buf_done(&w->in);
    asy_buf_done(&w->out);
    asy_free(w);
    return ok ? 0 : 1;
}
