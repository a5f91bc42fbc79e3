#include "codec/codec.h"
#include "engine/engine_priv.h"
#include "engine/gate_priv.h"

#define uthash_malloc(len)  asy_alloc(len)
#define uthash_free(p, len) asy_free(p)
#include <uthash.h>

#define ECHO_PIECE   3u         /* bytes of a token */
#define ECHO_END     0u         /* the end token */
#define ECHO_LATE_NS 100000000u /* a job further behind its pace than this does not catch up */

struct echo_job {
    uint64_t key;
    UT_hash_handle hh;
    size_t index;  /* in echo.run */
    uint8_t *said; /* what it says, again and again */
    size_t said_len;
    uint64_t total;   /* bytes it says in all; UINT64_MAX: endless */
    uint32_t *prompt; /* until it was told */
    size_t prompt_count;
    uint32_t pos; /* output position of the next token */
    uint32_t prior;
    uint32_t max_tokens;
    uint32_t delivered;
    uint64_t credit; /* tokens it may still say */
    uint64_t due_ns;
    bool begun, cancelled;
    enum asy_err failed; /* the prompt cannot be run */
    struct asy_why why;
    struct asy_gate gate;
};

struct echo {
    struct asy_engine base;
    struct asy_engine_echo_config config;
    bool up;
    struct echo_job *by_key;
    struct echo_job **run; /* config.slots entries; base.used of them in use */
    uint64_t next_ns;
};

static uint32_t token_of(const uint8_t *p, size_t len) {
    return (uint32_t)len << 24 | (uint32_t)p[0] << 16 | (len > 1 ? (uint32_t)p[1] << 8 : 0) |
           (len > 2 ? p[2] : 0u);
}

enum asy_err asy_engine_echo_text(struct asy_buf *text, const uint32_t *ids, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint8_t piece[ECHO_PIECE] = {(uint8_t)(ids[i] >> 16), (uint8_t)(ids[i] >> 8),
                                     (uint8_t)ids[i]};
        uint32_t len = ids[i] >> 24;
        if (len > ECHO_PIECE || (len == 0 && ids[i] != ECHO_END)) {
            return ASY_ERR_RANGE;
        }
        ASY_TRY(asy_buf_add(text, piece, len));
    }
    return ASY_OK;
}

/* ---- from the prompt to what is said
 * ------------------------------------------------------------------------------------- */

static enum asy_err add_content(struct asy_buf *text, const struct asy_json *content,
                                struct asy_why *why) {
    struct asy_bytes s;
    if (content == NULL) {
        return asy_why_set(why, ASY_ERR_MISSING, "messages", "a message without content");
    }
    if (asy_json_type(content) == ASY_JSON_STR) {
        ASY_TRY(asy_json_str(&s, content));
        return asy_buf_add_bytes(text, s);
    }
    if (asy_json_type(content) != ASY_JSON_ARRAY) {
        return asy_why_set(why, ASY_ERR_TYPE, "messages",
                           "the content is neither a string nor an array of parts");
    }
    for (size_t i = 0; i < asy_json_len(content); i++) {
        ASY_TRY(asy_json_get_str(&s, NULL, asy_json_at(content, i), "content", "text",
                                 ASY_MAX_PROMPT, why));
        ASY_TRY(asy_buf_add_bytes(text, s));
    }
    return ASY_OK;
}

/* Appends "role: content\n" of every message to text; *ret_last is where the last content
 * begins. */
static enum asy_err read_messages(struct asy_buf *text, size_t *ret_last, struct asy_bytes messages,
                                  struct asy_why *why) {
    struct asy_json *root;
    ASY_TRY(asy_json_parse(&root, messages, ASY_MAX_JSON_DEPTH, why));
    size_t count = asy_json_type(root) == ASY_JSON_ARRAY ? asy_json_len(root) : 0;
    enum asy_err err =
        count > 0 ? ASY_OK : asy_why_set(why, ASY_ERR_TYPE, "messages", "not an array of messages");
    for (size_t i = 0; i < count && err == ASY_OK; i++) {
        const struct asy_json *message = asy_json_at(root, i);
        struct asy_bytes role;
        err = asy_json_get_str(&role, NULL, message, "messages", "role", ASY_MAX_NAME, why);
        if (err == ASY_OK) {
            err = asy_buf_add_bytes(text, role);
        }
        if (err == ASY_OK) {
            err = asy_buf_add_str(text, ": ");
        }
        if (err == ASY_OK) {
            *ret_last = text->n;
            err = add_content(text, asy_json_get(message, "content"), why);
        }
        if (err == ASY_OK && i + 1 < count) {
            err = asy_buf_add_u8(text, '\n');
        }
    }
    asy_json_free(root);
    return err;
}

static enum asy_err read_prompt(struct echo_job *j, const struct asy_engine_job *job,
                                struct asy_why *why) {
    struct asy_buf text;
    asy_buf_init(&text, ASY_MAX_ENGINE_FRAME);
    size_t last = 0;
    enum asy_err err = job->prompt_ids != NULL
                           ? asy_engine_echo_text(&text, job->prompt_ids, job->prompt_count)
                           : read_messages(&text, &last, job->messages, why);
    if (err == ASY_OK) {
        j->prompt_count = (text.n + ECHO_PIECE - 1) / ECHO_PIECE;
        j->prompt = asy_alloc(j->prompt_count * sizeof *j->prompt);
        for (size_t i = 0; i < j->prompt_count; i++) {
            size_t at = i * ECHO_PIECE;
            j->prompt[i] =
                token_of(text.p + at, text.n - at < ECHO_PIECE ? text.n - at : ECHO_PIECE);
        }
        j->said_len = text.n - last;
        j->said = asy_alloc(j->said_len);
        memcpy(j->said, text.p + last, j->said_len);
    }
    asy_buf_done(&text);
    return err;
}

/* ---- jobs ---- */

static void job_free(struct echo_job *j) {
    asy_gate_done(&j->gate);
    asy_free(j->prompt);
    asy_free(j->said);
    asy_free(j);
}

static struct echo_job *job_find(struct echo *e, uint64_t key) {
    struct echo_job *j;
    HASH_FIND(hh, e->by_key, &key, sizeof key, j);
    return j;
}

static enum asy_err echo_submit(struct asy_engine *base, const struct asy_engine_job *job,
                                struct asy_why *why) {
    struct echo *e = (struct echo *)base;
    if (job_find(e, job->key) != NULL) {
        return asy_why_set(why, ASY_ERR_DUPLICATE, "key", "a job with this key is running");
    }
    if (base->used == base->slots) {
        return asy_why_set(why, ASY_ERR_FULL, NULL, "all %u slots are in use", base->slots);
    }
    struct echo_job *j = asy_alloc(sizeof *j);
    j->failed = read_prompt(j, job, &j->why);
    if (j->failed == ASY_OK && j->prompt_count + job->prior_count >= e->config.context) {
        j->failed = asy_why_set(&j->why, ASY_ERR_RANGE, "messages",
                                "%zu prompt tokens leave no room in the context of %u tokens",
                                j->prompt_count, e->config.context);
    }
    j->key = job->key;
    j->total = j->said_len == 0         ? 0
               : e->config.repeats == 0 ? UINT64_MAX
                                        : (uint64_t)j->said_len * e->config.repeats;
    j->pos = j->prior = (uint32_t)job->prior_count;
    j->max_tokens = job->max_tokens;
    if (j->failed == ASY_OK && j->max_tokens > e->config.context - j->prompt_count) {
        j->max_tokens = (uint32_t)(e->config.context - j->prompt_count); /* ends with the context */
    }
    j->credit = job->credit;
    asy_gate_init(&j->gate, job->stops, job->stop_count);
    j->index = base->used;
    e->run[base->used++] = j;
    HASH_ADD(hh, e->by_key, key, sizeof j->key, j);
    e->next_ns = 0;
    return ASY_OK;
}

static void echo_cancel(struct asy_engine *base, uint64_t key) {
    struct echo *e = (struct echo *)base;
    struct echo_job *j = job_find(e, key);
    if (j != NULL) {
        j->cancelled = true;
        e->next_ns = 0;
    }
}

static void echo_credit(struct asy_engine *base, uint64_t key, uint32_t count) {
    struct echo *e = (struct echo *)base;
    struct echo_job *j = job_find(e, key);
    if (j != NULL) {
        j->credit = j->credit + count > UINT32_MAX ? UINT32_MAX : j->credit + count;
        e->next_ns = 0;
    }
}

static void finish(struct echo *e, struct echo_job *j, enum asy_engine_finish how) {
    HASH_DEL(e->by_key, j);
    e->run[j->index] = e->run[--e->base.used];
    e->run[j->index]->index = j->index;
    uint64_t key = j->key;
    uint32_t delivered = j->delivered;
    enum asy_err err = how == ASY_ENGINE_FAILED ? j->failed : ASY_OK;
    struct asy_why why = j->why;
    job_free(j); /* before the callback: it may use the key again */
    asy_engine_tell_done(&e->base, key, how, delivered, err, err == ASY_OK ? "" : why.text);
}

static void deliver(struct echo *e, struct echo_job *j) {
    struct asy_gate *gate = &j->gate;
    if (gate->out_count > 0) {
        struct asy_engine_tokens tokens = {.first = j->prior + j->delivered,
                                           .ids = gate->id,
                                           .count = gate->out_count,
                                           .text = {gate->text.p, gate->out_len}};
        j->delivered += (uint32_t)gate->out_count;
        asy_engine_tell_tokens(&e->base, j->key, &tokens);
        asy_gate_take(gate);
    }
}

/* Says one token. Returns false when the job has ended. */
static bool say(struct echo *e, struct echo_job *j) {
    uint64_t at = (uint64_t)j->pos * ECHO_PIECE;
    uint8_t piece[ECHO_PIECE];
    size_t len = 0;
    for (; len < ECHO_PIECE && at + len < j->total; len++) {
        piece[len] = j->said[(at + len) % j->said_len];
    }
    uint32_t id = len == 0 ? ECHO_END : token_of(piece, len);
    j->credit--;
    j->pos++;
    bool stop = asy_gate_push(&j->gate, id, asy_bytes_of(piece, len)) || id == ECHO_END;
    if (!stop && j->pos < j->max_tokens) {
        deliver(e, j);
        return true;
    }
    asy_gate_flush(&j->gate);
    deliver(e, j);
    finish(e, j, j->cancelled ? ASY_ENGINE_CANCELLED : stop ? ASY_ENGINE_STOP : ASY_ENGINE_LENGTH);
    return false;
}

/* Does what is due for a job; returns when it is due next (0 at once, UINT64_MAX when it waits for
 * credit or has ended). */
static uint64_t run(struct echo *e, struct echo_job *j, uint64_t now_ns) {
    uint64_t interval_ns = e->config.tokens_per_s == 0 ? 0 : 1000000000u / e->config.tokens_per_s;
    if (!j->begun) {
        if (j->failed != ASY_OK) {
            finish(e, j, ASY_ENGINE_FAILED);
            return UINT64_MAX;
        }
        j->begun = true;
        j->due_ns = now_ns + (uint64_t)e->config.first_token_ms * 1000000u;
        uint32_t *prompt = j->prompt;
        size_t count = j->prompt_count;
        j->prompt = NULL;
        asy_engine_tell_prompt(&e->base, j->key, prompt, count, 0);
        asy_free(prompt);
    }
    while (!j->cancelled && j->credit > 0 && j->due_ns <= now_ns) {
        j->due_ns = j->due_ns + ECHO_LATE_NS < now_ns ? now_ns : j->due_ns + interval_ns;
        if (!say(e, j)) {
            return UINT64_MAX;
        }
        if (interval_ns == 0) {
            return 0;
        }
    }
    if (j->cancelled) {
        finish(e, j, ASY_ENGINE_CANCELLED);
        return UINT64_MAX;
    }
    return j->credit > 0 ? j->due_ns : UINT64_MAX;
}

static void echo_poll(struct asy_engine *base, uint64_t now_ns) {
    struct echo *e = (struct echo *)base;
    if (!e->up) {
        e->up = true;
        struct asy_engine_model model = {.vocab_count = (ECHO_PIECE + 1) << 24,
                                         .context = e->config.context,
                                         .context_train = e->config.context,
                                         .slots = e->config.slots,
                                         .backend = "echo"};
        asy_engine_tell_up(base, &model);
    }
    e->next_ns = UINT64_MAX;
    for (size_t i = base->used; i > 0;
         i--) { /* downwards: a job that ends is replaced by the last, which had its turn */
        uint64_t next_ns = run(e, e->run[i - 1], now_ns);
        e->next_ns = next_ns < e->next_ns ? next_ns : e->next_ns;
    }
    asy_engine_tell_load(base);
}

static uint64_t echo_next_ns(const struct asy_engine *base) {
    return ((const struct echo *)base)->next_ns;
}

static void echo_free(struct asy_engine *base) {
    struct echo *e = (struct echo *)base;
    HASH_CLEAR(hh, e->by_key);
    for (size_t i = 0; i < base->used; i++) {
        job_free(e->run[i]);
    }
    asy_free(e->run);
    asy_free(e);
}

enum asy_err asy_engine_echo_new(struct asy_engine **ret_e,
                                 const struct asy_engine_echo_config *config,
                                 const struct asy_engine_events *events, void *arg) {
    static const struct asy_engine_ops ops = {.submit = echo_submit,
                                              .cancel = echo_cancel,
                                              .credit = echo_credit,
                                              .poll = echo_poll,
                                              .next_ns = echo_next_ns,
                                              .free = echo_free};
    if (config->slots == 0 || config->slots > ASY_MAX_JOBS || config->tokens_per_s > 1000000000u) {
        return ASY_ERR_RANGE;
    }
    struct echo *e = asy_alloc(sizeof *e);
    e->base =
        (struct asy_engine){.ops = &ops, .events = events, .arg = arg, .slots = config->slots};
    e->config = *config;
    if (config->context == 0) {
        e->config.context = ASY_MAX_PROMPT / ECHO_PIECE + ASY_MAX_TOKENS;
    }
    e->run = asy_alloc(config->slots * sizeof(struct echo_job *));
    *ret_e = &e->base;
    return ASY_OK;
}
