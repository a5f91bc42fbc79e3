/* Reading a chat request: every field is honoured or refused by name. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/api.h"
#include "codec/codec.h"
#include "crypto/crypto.h"

enum { PATH_LEN = sizeof((struct asy_why *)NULL)->param };

struct parser {
    struct asy_chat_request *req;
    struct asy_arena *a;
    struct asy_why *why;
};

static enum asy_err refuse(struct parser *p, enum asy_err err, const char *at, const char *key,
                           const char *problem) {
    char path[PATH_LEN];
    asy_json_path(path, sizeof path, at, key);
    return asy_why_set(p->why, err, path, "'%s' %s", path, problem);
}

/* Moves a view out of the JSON document, which ends before the request does. */
static enum asy_err keep(struct parser *p, struct asy_bytes *view) {
    char *copy = asy_arena_str(p->a, *view);
    if (copy == NULL) {
        return asy_why_set(p->why, ASY_ERR_TOO_LONG, NULL, "the request is too large");
    }
    *view = asy_bytes_of(copy, view->n);
    return ASY_OK;
}

/* ---- fields that ask for nothing ---- */

/* Fields of the OpenAI API that are not supported; each has values that ask for nothing, and these
 * are accepted. */
enum neutral {
    NEUTRAL_NULL,  /* null alone */
    NEUTRAL_FALSE, /* a boolean: false */
    NEUTRAL_BOOL,  /* a boolean that has no effect without other, refused fields */
    NEUTRAL_ZERO,  /* a number: 0 */
    NEUTRAL_ONE,   /* an integer: 1 */
    NEUTRAL_EMPTY, /* an empty array or object */
    NEUTRAL_WORD,  /* one of two strings */
    NEUTRAL_TEXT,  /* {"type":"text"} */
    NEUTRAL_TEXTS, /* ["text"] */
};
struct unsupported {
    const char *name;
    enum neutral neutral;
    const char *word[2];
};

static const struct unsupported request_unsupported[] = {
    {"n", NEUTRAL_ONE, {NULL, NULL}},
    {"logprobs", NEUTRAL_FALSE, {NULL, NULL}},
    {"top_logprobs", NEUTRAL_ZERO, {NULL, NULL}},
    {"tools", NEUTRAL_EMPTY, {NULL, NULL}},
    {"tool_choice", NEUTRAL_WORD, {"none", "auto"}},
    {"parallel_tool_calls", NEUTRAL_BOOL, {NULL, NULL}},
    {"functions", NEUTRAL_EMPTY, {NULL, NULL}},
    {"function_call", NEUTRAL_WORD, {"none", "auto"}},
    {"response_format", NEUTRAL_TEXT, {NULL, NULL}},
    {"modalities", NEUTRAL_TEXTS, {NULL, NULL}},
    {"reasoning_effort", NEUTRAL_WORD, {"none", "none"}},
    {"service_tier", NEUTRAL_WORD, {"auto", "default"}},
    {"store", NEUTRAL_FALSE, {NULL, NULL}},
    {"metadata", NEUTRAL_EMPTY, {NULL, NULL}},
    {"audio", NEUTRAL_NULL, {NULL, NULL}},
    {"moderation", NEUTRAL_NULL, {NULL, NULL}},
    {"prediction", NEUTRAL_NULL, {NULL, NULL}},
    {"prompt_cache_key", NEUTRAL_NULL, {NULL, NULL}},
    {"prompt_cache_options", NEUTRAL_NULL, {NULL, NULL}},
    {"prompt_cache_retention", NEUTRAL_NULL, {NULL, NULL}},
    {"safety_identifier", NEUTRAL_NULL, {NULL, NULL}},
    {"verbosity", NEUTRAL_NULL, {NULL, NULL}},
    {"web_search_options", NEUTRAL_NULL, {NULL, NULL}},
    {"models", NEUTRAL_EMPTY, {NULL, NULL}}, /* OpenRouter's list of fallbacks */
};

/* What official clients put into a message that came from an earlier answer. */
static const struct unsupported message_unsupported[] = {
    {"name", NEUTRAL_NULL, {NULL, NULL}},          {"refusal", NEUTRAL_NULL, {NULL, NULL}},
    {"audio", NEUTRAL_NULL, {NULL, NULL}},         {"annotations", NEUTRAL_EMPTY, {NULL, NULL}},
    {"tool_calls", NEUTRAL_EMPTY, {NULL, NULL}},   {"tool_call_id", NEUTRAL_NULL, {NULL, NULL}},
    {"function_call", NEUTRAL_NULL, {NULL, NULL}},
};

static const struct unsupported stream_unsupported[] = {
    {"include_obfuscation", NEUTRAL_FALSE, {NULL, NULL}},
};

static bool is_text(const struct asy_json *v, const char *want) {
    struct asy_bytes s;
    return asy_json_str(&s, v) == ASY_OK && asy_bytes_eq(s, asy_bytes_cstr(want));
}

static enum asy_err check_neutral(struct parser *p, const char *at, const struct unsupported *u,
                                  const struct asy_json *v) {
    bool fits = false, neutral = false, b;
    double d;
    const char *only = "is not supported";
    enum asy_json_type type = asy_json_type(v);
    switch (u->neutral) {
    case NEUTRAL_NULL:
        fits = true;
        break;
    case NEUTRAL_FALSE:
    case NEUTRAL_BOOL:
        fits = asy_json_bool(&b, v) == ASY_OK;
        neutral = fits && (!b || u->neutral == NEUTRAL_BOOL);
        break;
    case NEUTRAL_ZERO:
        fits = asy_json_double(&d, v) == ASY_OK;
        neutral = fits && d == 0;
        only = "is supported only as 0";
        break;
    case NEUTRAL_ONE:
        fits = type == ASY_JSON_INT && asy_json_double(&d, v) == ASY_OK;
        neutral = fits && d == 1;
        only = "is supported only as 1";
        break;
    case NEUTRAL_EMPTY:
        fits = type == ASY_JSON_ARRAY || type == ASY_JSON_OBJECT;
        neutral = fits && asy_json_len(v) == 0;
        break;
    case NEUTRAL_WORD:
        fits = type == ASY_JSON_STR || type == ASY_JSON_OBJECT;
        neutral = is_text(v, u->word[0]) || is_text(v, u->word[1]);
        break;
    case NEUTRAL_TEXT:
        fits = type == ASY_JSON_OBJECT;
        neutral = fits && asy_json_len(v) == 1 && is_text(asy_json_get(v, "type"), "text");
        only = "is supported only as {\"type\":\"text\"}";
        break;
    case NEUTRAL_TEXTS:
        fits = type == ASY_JSON_ARRAY;
        neutral = fits && asy_json_len(v) == 1 && is_text(asy_json_at(v, 0), "text");
        only = "is supported only as [\"text\"]";
        break;
    }
    if (neutral) {
        return ASY_OK;
    }
    return fits ? refuse(p, ASY_ERR_UNSUPPORTED, at, u->name, only)
                : refuse(p, ASY_ERR_TYPE, at, u->name, "has the wrong type");
}

/* Every member of obj is known, or unsupported with a neutral value. */
static enum asy_err check_members(struct parser *p, const struct asy_json *obj, const char *at,
                                  const char *const *known, size_t known_count,
                                  const struct unsupported *table, size_t table_count) {
    struct asy_json_iter it = {obj, NULL};
    struct asy_bytes key;
    const struct asy_json *v;
    while (asy_json_next(&it, &key, &v)) {
        bool found = false;
        for (size_t i = 0; i < known_count && !found; i++) {
            found = asy_bytes_eq(key, asy_bytes_cstr(known[i]));
        }
        for (size_t i = 0; i < table_count && !found; i++) {
            found = asy_bytes_eq(key, asy_bytes_cstr(table[i].name));
            if (found && !asy_json_is_null(v)) {
                ASY_TRY(check_neutral(p, at, &table[i], v));
            }
        }
        if (!found) {
            return refuse(p, ASY_ERR_UNKNOWN, at, (const char *)key.p, "is not a known field");
        }
    }
    return ASY_OK;
}

/* ---- messages ---- */

const char *asy_chat_role_name(enum asy_chat_role role) {
    switch (role) {
    case ASY_CHAT_SYSTEM:
        return "system";
    case ASY_CHAT_USER:
        return "user";
    case ASY_CHAT_ASSISTANT:
        return "assistant";
    }
    return "user";
}

static bool role_parse(enum asy_chat_role *ret_role, struct asy_bytes name) {
    static const enum asy_chat_role roles[] = {ASY_CHAT_SYSTEM, ASY_CHAT_USER, ASY_CHAT_ASSISTANT};
    for (size_t i = 0; i < ASY_COUNT(roles); i++) {
        if (asy_bytes_eq(name, asy_bytes_cstr(asy_chat_role_name(roles[i])))) {
            *ret_role = roles[i];
            return true;
        }
    }
    return false;
}

static enum asy_err read_role(struct parser *p, const struct asy_json *msg, const char *at,
                              enum asy_chat_role *ret_role) {
    struct asy_bytes name;
    ASY_TRY(asy_json_get_str(&name, NULL, msg, at, "role", SIZE_MAX, p->why));
    if (role_parse(ret_role, name)) {
        return ASY_OK;
    }
    if (asy_bytes_eq(name, ASY_STR("developer"))) {
        *ret_role = ASY_CHAT_SYSTEM;
        return ASY_OK;
    }
    if (asy_bytes_eq(name, ASY_STR("tool")) || asy_bytes_eq(name, ASY_STR("function"))) {
        return refuse(p, ASY_ERR_UNSUPPORTED, at, "role", "is a tool's: tools are not supported");
    }
    return refuse(p, ASY_ERR_RANGE, at, "role", "must be system, developer, user or assistant");
}

static enum asy_err read_part(struct parser *p, const struct asy_json *part, const char *at,
                              struct asy_bytes *ret_text) {
    if (asy_json_type(part) != ASY_JSON_OBJECT) {
        return asy_why_set(p->why, ASY_ERR_TYPE, at, "'%s' must be an object", at);
    }
    struct asy_bytes type;
    ASY_TRY(asy_json_get_str(&type, NULL, part, at, "type", SIZE_MAX, p->why));
    if (!asy_bytes_eq(type, ASY_STR("text"))) {
        return refuse(p, ASY_ERR_UNSUPPORTED, at, "type", "is not supported: only text parts are");
    }
    static const char *const known[] = {"type", "text"};
    ASY_TRY(asy_json_refuse_unknown(part, at, known, ASY_COUNT(known), p->why));
    return asy_json_get_str(ret_text, NULL, part, at, "text", SIZE_MAX, p->why);
}

static enum asy_err read_parts(struct parser *p, const struct asy_json *parts, const char *at,
                               struct asy_bytes *ret_text) {
    size_t len = 0, count = asy_json_len(parts);
    if (count == 0) {
        return refuse(p, ASY_ERR_RANGE, at, "content", "must not be empty");
    }
    struct asy_bytes text = {NULL, 0};
    for (size_t i = 0; i < count; i++) {
        char path[PATH_LEN];
        (void)snprintf(path, sizeof path, "%s.content[%zu]", at, i); /* at is short: it fits */
        ASY_TRY(read_part(p, asy_json_at(parts, i), path, &text));
        len += text.n;
    }
    uint8_t *joined = asy_arena_alloc(p->a, len + 1);
    if (joined == NULL) {
        return asy_why_set(p->why, ASY_ERR_TOO_LONG, NULL, "the request is too large");
    }
    len = 0;
    for (size_t i = 0; i < count; i++) {
        ASY_TRY(asy_json_str(&text, asy_json_get(asy_json_at(parts, i), "text")));
        memcpy(joined + len, text.p, text.n);
        len += text.n;
    }
    *ret_text = asy_bytes_of(joined, len);
    return ASY_OK;
}

static enum asy_err read_content(struct parser *p, const struct asy_json *msg, const char *at,
                                 struct asy_bytes *ret_text) {
    const struct asy_json *content = asy_json_get(msg, "content");
    if (asy_json_is_null(content)) {
        return refuse(p, ASY_ERR_MISSING, at, "content", "is required");
    }
    if (asy_json_type(content) == ASY_JSON_ARRAY) {
        return read_parts(p, content, at, ret_text);
    }
    struct asy_bytes text;
    if (asy_json_str(&text, content) != ASY_OK) {
        return refuse(p, ASY_ERR_TYPE, at, "content", "must be a string or an array of text parts");
    }
    ASY_TRY(keep(p, &text));
    *ret_text = text;
    return ASY_OK;
}

static enum asy_err read_messages(struct parser *p, const struct asy_json *root) {
    static const char *const known[] = {"role", "content"};
    const struct asy_json *messages;
    ASY_TRY(
        asy_json_get_array(&messages, NULL, root, NULL, "messages", 1, ASY_MAX_MESSAGES, p->why));
    size_t count = asy_json_len(messages);
    p->req->messages = asy_arena_alloc(p->a, count * sizeof *p->req->messages);
    if (p->req->messages == NULL) {
        return asy_why_set(p->why, ASY_ERR_TOO_LONG, NULL, "the request is too large");
    }
    for (size_t i = 0; i < count; i++) {
        const struct asy_json *msg = asy_json_at(messages, i);
        char at[32];
        (void)snprintf(at, sizeof at, "messages[%zu]", i); /* it fits */
        if (asy_json_type(msg) != ASY_JSON_OBJECT) {
            return asy_why_set(p->why, ASY_ERR_TYPE, at, "'%s' must be an object", at);
        }
        struct asy_chat_message *m = &p->req->messages[i];
        ASY_TRY(read_role(p, msg, at, &m->role));
        ASY_TRY(check_members(p, msg, at, known, ASY_COUNT(known), message_unsupported,
                              ASY_COUNT(message_unsupported)));
        ASY_TRY(read_content(p, msg, at, &m->content));
        p->req->text_len += m->content.n;
        if (p->req->text_len > ASY_MAX_PROMPT) {
            return asy_why_set(p->why, ASY_ERR_TOO_LONG, "messages",
                               "'messages' hold more than %u bytes of text", ASY_MAX_PROMPT);
        }
    }
    p->req->message_count = count;
    return ASY_OK;
}

/* ---- the other fields ---- */

static enum asy_err read_max_tokens(struct parser *p, const struct asy_json *root) {
    uint64_t old = 0, now = 0;
    bool has_old, has_now;
    ASY_TRY(asy_json_get_u64(&old, &has_old, root, NULL, "max_tokens", 1, ASY_MAX_TOKENS, p->why));
    ASY_TRY(asy_json_get_u64(&now, &has_now, root, NULL, "max_completion_tokens", 1, ASY_MAX_TOKENS,
                             p->why));
    if (has_old && has_now && old != now) {
        return refuse(p, ASY_ERR_RANGE, NULL, "max_tokens",
                      "and 'max_completion_tokens' differ: give one of them");
    }
    p->req->max_tokens = has_now ? now : old;
    return ASY_OK;
}

static enum asy_err read_stop(struct parser *p, const struct asy_json *v, const char *path) {
    struct asy_bytes s;
    if (asy_json_str(&s, v) != ASY_OK) {
        return asy_why_set(p->why, ASY_ERR_TYPE, path, "'%s' must be a string", path);
    }
    if (s.n == 0 || s.n > ASY_MAX_STOP_LEN) {
        return asy_why_set(p->why, ASY_ERR_RANGE, path, "'%s' must have from 1 to %u bytes", path,
                           ASY_MAX_STOP_LEN);
    }
    ASY_TRY(keep(p, &s));
    p->req->stops[p->req->stop_count++] = s;
    return ASY_OK;
}

static enum asy_err read_stops(struct parser *p, const struct asy_json *root) {
    const struct asy_json *v = asy_json_get(root, "stop");
    if (asy_json_is_null(v)) {
        return ASY_OK;
    }
    if (asy_json_type(v) == ASY_JSON_STR) {
        return read_stop(p, v, "stop");
    }
    if (asy_json_type(v) != ASY_JSON_ARRAY) {
        return refuse(p, ASY_ERR_TYPE, NULL, "stop", "must be a string or an array of strings");
    }
    ASY_TRY(asy_json_get_array(&v, NULL, root, NULL, "stop", 0, ASY_MAX_STOPS, p->why));
    for (size_t i = 0; i < asy_json_len(v); i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "stop[%zu]", i); /* it fits */
        ASY_TRY(read_stop(p, asy_json_at(v, i), path));
    }
    return ASY_OK;
}

/* A member of logit_bias: the id is its name, in decimal as JSON writes integers. */
static enum asy_err read_pair(struct parser *p, struct asy_sample_bias *ret_pair,
                              struct asy_bytes key, const struct asy_json *v) {
    static const char at[] = "logit_bias";
    const char *name = (const char *)key.p;
    uint64_t id;
    int64_t milli;
    if (asy_bytes_to_u64(&id, key) != ASY_OK || (key.n > 1 && key.p[0] == '0') ||
        id >= ASY_SAMPLE_MAX_VOCAB) {
        return refuse(p, ASY_ERR_RANGE, at, name, "is not the id of a token");
    }
    enum asy_err err = asy_json_scaled_i64(&milli, v, 3);
    if (err == ASY_ERR_TYPE) {
        return refuse(p, err, at, name, "must be a number");
    }
    if (err != ASY_OK || milli < -ASY_SAMPLE_MAX_BIAS_MILLI || milli > ASY_SAMPLE_MAX_BIAS_MILLI) {
        return refuse(p, ASY_ERR_RANGE, at, name, "must be from -100 to 100");
    }
    *ret_pair = (struct asy_sample_bias){(uint32_t)id, (int32_t)milli};
    return ASY_OK;
}

static int by_id(const void *pa, const void *pb) {
    const struct asy_sample_bias *a = pa, *b = pb;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Sorted, and without those that ask for nothing. No id comes twice: there is one way to write it,
 * and members are not repeated. */
static enum asy_err read_bias(struct parser *p, const struct asy_json *root) {
    const struct asy_json *object, *v;
    bool has_it;
    ASY_TRY(asy_json_get_object(&object, &has_it, root, NULL, "logit_bias", p->why));
    if (!has_it) {
        return ASY_OK;
    }
    if (asy_json_len(object) > ASY_MAX_BIAS) {
        return asy_why_set(p->why, ASY_ERR_RANGE, "logit_bias",
                           "'logit_bias' may name at most %u tokens", ASY_MAX_BIAS);
    }
    struct asy_sample_bias *bias = asy_arena_alloc(p->a, asy_json_len(object) * sizeof *bias);
    if (bias == NULL) {
        return asy_why_set(p->why, ASY_ERR_TOO_LONG, NULL, "the request is too large");
    }
    struct asy_json_iter it = {object, NULL};
    struct asy_bytes key;
    size_t count = 0;
    while (asy_json_next(&it, &key, &v)) {
        ASY_TRY(read_pair(p, &bias[count], key, v));
        count += bias[count].milli != 0;
    }
    qsort(bias, count, sizeof *bias, by_id);
    p->req->bias = bias;
    p->req->bias_count = count;
    return ASY_OK;
}

static enum asy_err read_sampling(struct parser *p, const struct asy_json *root) {
    uint64_t temperature_milli = 1000, top_p_ppm = ASY_SAMPLE_PPM, top_k = 0, min_p_ppm = 0,
             repeat_milli = 1000;
    int64_t presence_milli = 0, frequency_milli = 0;
    const int64_t most = ASY_SAMPLE_MAX_PENALTY_MILLI;
    bool has_it;
    ASY_TRY(asy_json_get_scaled(&temperature_milli, &has_it, root, NULL, "temperature", 3, 0, 2000,
                                p->why));
    ASY_TRY(asy_json_get_scaled(&top_p_ppm, &has_it, root, NULL, "top_p", 6, 1, ASY_SAMPLE_PPM,
                                p->why));
    ASY_TRY(
        asy_json_get_u64(&top_k, &has_it, root, NULL, "top_k", 0, ASY_SAMPLE_MAX_VOCAB, p->why));
    ASY_TRY(asy_json_get_scaled(&min_p_ppm, &has_it, root, NULL, "min_p", 6, 0, ASY_SAMPLE_PPM,
                                p->why));
    ASY_TRY(asy_json_get_scaled_i64(&presence_milli, &has_it, root, NULL, "presence_penalty", 3,
                                    -most, most, p->why));
    ASY_TRY(asy_json_get_scaled_i64(&frequency_milli, &has_it, root, NULL, "frequency_penalty", 3,
                                    -most, most, p->why));
    ASY_TRY(asy_json_get_scaled(&repeat_milli, &has_it, root, NULL, "repetition_penalty", 3, 1,
                                (uint64_t)most, p->why));
    p->req->sampling = (struct asy_sample_settings){
        .temperature_milli = (uint32_t)temperature_milli,
        .top_k = (uint32_t)top_k,
        .top_p_ppm = (uint32_t)top_p_ppm,
        .min_p_ppm = (uint32_t)min_p_ppm,
        .presence_penalty_milli = (int32_t)presence_milli,
        .frequency_penalty_milli = (int32_t)frequency_milli,
        .repeat_penalty_milli = repeat_milli == 1000 ? 0 : (uint32_t)repeat_milli,
    };
    ASY_TRY(read_bias(p, root));
    return asy_json_get_i64(&p->req->seed, &p->req->has_seed, root, NULL, "seed", INT64_MIN,
                            INT64_MAX, p->why);
}

static enum asy_err read_stream(struct parser *p, const struct asy_json *root) {
    static const char *const known[] = {"include_usage"};
    bool has_it;
    ASY_TRY(asy_json_get_bool(&p->req->stream, &has_it, root, NULL, "stream", p->why));
    const struct asy_json *options;
    ASY_TRY(asy_json_get_object(&options, &has_it, root, NULL, "stream_options", p->why));
    if (!has_it) {
        return ASY_OK;
    }
    if (!p->req->stream) {
        return refuse(p, ASY_ERR_UNSUPPORTED, NULL, "stream_options", "needs 'stream': true");
    }
    ASY_TRY(check_members(p, options, "stream_options", known, ASY_COUNT(known), stream_unsupported,
                          ASY_COUNT(stream_unsupported)));
    return asy_json_get_bool(&p->req->include_usage, &has_it, options, "stream_options",
                             "include_usage", p->why);
}

static enum asy_err read_names(struct parser *p, struct asy_chat_names *names,
                               const struct asy_json *provider, const char *key) {
    const struct asy_json *list;
    bool has_it;
    ASY_TRY(asy_json_get_array(&list, &has_it, provider, "provider", key, 0, ASY_CHAT_MAX_NODES,
                               p->why));
    for (size_t i = 0; has_it && i < asy_json_len(list); i++) {
        char path[PATH_LEN];
        (void)snprintf(path, sizeof path, "provider.%s[%zu]", key, i); /* it fits */
        struct asy_bytes s;
        if (asy_json_str(&s, asy_json_at(list, i)) != ASY_OK) {
            return asy_why_set(p->why, ASY_ERR_TYPE, path, "'%s' must be a string", path);
        }
        if (s.n == 0 || s.n > ASY_MAX_NAME) {
            return asy_why_set(p->why, ASY_ERR_RANGE, path, "'%s' must have from 1 to %u bytes",
                               path, ASY_MAX_NAME);
        }
        ASY_TRY(keep(p, &s));
        names->name[names->count++] = s;
    }
    return ASY_OK;
}

/* Dollars per million tokens, as a number or as a decimal string; exact to a pico-dollar per token.
 */
static enum asy_err read_price(struct parser *p, struct asy_usd *ret_price, bool *ret_present,
                               const struct asy_json *prices, const char *key) {
    static const char at[] = "provider.max_price";
    const struct asy_json *v = asy_json_get(prices, key);
    struct asy_bytes text;
    if (v != NULL && asy_json_str(&text, v) == ASY_OK) {
        struct asy_usd per_million;
        if (asy_usd_parse(&per_million, text) != ASY_OK ||
            asy_price_from_million(ret_price, per_million) != ASY_OK) {
            return refuse(p, ASY_ERR_RANGE, at, key,
                          "must be USD per million tokens with at most 6 decimals");
        }
        *ret_present = true;
        return ASY_OK;
    }
    uint64_t pico;
    ASY_TRY(asy_json_get_scaled(&pico, ret_present, prices, at, key, 6, 0, INT64_MAX, p->why));
    if (*ret_present) {
        ret_price->pico = pico;
    }
    return ASY_OK;
}

static enum asy_err read_sort(struct parser *p, const struct asy_json *provider) {
    static const struct {
        const char *name;
        enum asy_chat_sort sort;
    } sorts[] = {{"price", ASY_CHAT_SORT_PRICE},
                 {"throughput", ASY_CHAT_SORT_THROUGHPUT},
                 {"latency", ASY_CHAT_SORT_LATENCY}};
    struct asy_bytes name;
    bool has_it;
    ASY_TRY(asy_json_get_str(&name, &has_it, provider, "provider", "sort", SIZE_MAX, p->why));
    for (size_t i = 0; has_it && i < ASY_COUNT(sorts); i++) {
        if (asy_bytes_eq(name, asy_bytes_cstr(sorts[i].name))) {
            p->req->provider.sort = sorts[i].sort;
            return ASY_OK;
        }
    }
    return has_it ? refuse(p, ASY_ERR_RANGE, "provider", "sort",
                           "must be price, throughput or latency")
                  : ASY_OK;
}

static enum asy_err read_provider(struct parser *p, const struct asy_json *root) {
    static const char *const known[] = {"only", "ignore",          "order",
                                        "sort", "allow_fallbacks", "max_price"};
    static const char *const known_prices[] = {"prompt", "completion"};
    struct asy_chat_provider *to = &p->req->provider;
    const struct asy_json *provider, *prices;
    bool has_it;
    ASY_TRY(asy_json_get_object(&provider, &has_it, root, NULL, "provider", p->why));
    if (!has_it) {
        return ASY_OK;
    }
    ASY_TRY(asy_json_refuse_unknown(provider, "provider", known, ASY_COUNT(known), p->why));
    ASY_TRY(read_names(p, &to->only, provider, "only"));
    ASY_TRY(read_names(p, &to->ignore, provider, "ignore"));
    ASY_TRY(read_names(p, &to->order, provider, "order"));
    ASY_TRY(read_sort(p, provider));
    ASY_TRY(asy_json_get_bool(&to->allow_fallbacks, &has_it, provider, "provider",
                              "allow_fallbacks", p->why));
    ASY_TRY(asy_json_get_object(&prices, &has_it, provider, "provider", "max_price", p->why));
    if (!has_it) {
        return ASY_OK;
    }
    ASY_TRY(asy_json_refuse_unknown(prices, "provider.max_price", known_prices,
                                    ASY_COUNT(known_prices), p->why));
    ASY_TRY(read_price(p, &to->max_price_in, &to->has_max_price_in, prices, "prompt"));
    return read_price(p, &to->max_price_out, &to->has_max_price_out, prices, "completion");
}

static enum asy_err read_request(struct parser *p, const struct asy_json *root) {
    static const char *const known[] = {
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logit_bias",
        "stop",
        "seed",
        "stream",
        "user",
        "provider",
        "stream_options",
    };
    bool has_it;
    if (asy_json_type(root) != ASY_JSON_OBJECT) {
        return asy_why_set(p->why, ASY_ERR_TYPE, NULL, "the body must be a JSON object");
    }
    ASY_TRY(check_members(p, root, NULL, known, ASY_COUNT(known), request_unsupported,
                          ASY_COUNT(request_unsupported)));
    ASY_TRY(asy_json_get_str(&p->req->model, NULL, root, NULL, "model", ASY_MAX_NAME, p->why));
    if (p->req->model.n == 0) {
        return refuse(p, ASY_ERR_RANGE, NULL, "model", "must not be empty");
    }
    ASY_TRY(keep(p, &p->req->model));
    ASY_TRY(read_messages(p, root));
    ASY_TRY(read_max_tokens(p, root));
    ASY_TRY(read_sampling(p, root));
    ASY_TRY(read_stops(p, root));
    ASY_TRY(read_stream(p, root));
    ASY_TRY(asy_json_get_str(&p->req->user, &has_it, root, NULL, "user", ASY_MAX_USER_LEN, p->why));
    ASY_TRY(keep(p, &p->req->user));
    return read_provider(p, root);
}

enum asy_err asy_api_chat_parse(struct asy_chat_request *ret_request, struct asy_arena *a,
                                struct asy_bytes body, struct asy_why *reterr_why) {
    if (body.n > ASY_MAX_HTTP_BODY) {
        return asy_why_set(reterr_why, ASY_ERR_TOO_LONG, NULL, "the body is longer than %u bytes",
                           ASY_MAX_HTTP_BODY);
    }
    struct asy_json *root;
    ASY_TRY(asy_json_parse(&root, body, ASY_MAX_JSON_DEPTH, reterr_why));
    struct asy_chat_request req = {.provider.allow_fallbacks = true};
    struct parser p = {&req, a, reterr_why};
    enum asy_err err = read_request(&p, root);
    asy_json_free(root);
    if (err == ASY_OK) {
        *ret_request = req;
    }
    return err;
}

/* ---- canonical request ---- */

enum asy_err asy_api_messages_format(struct asy_buf *buf, const struct asy_chat_message *messages,
                                     size_t count) {
    struct asy_jw w;
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    asy_jw_kv_array(&w, "messages");
    for (size_t i = 0; i < count; i++) {
        asy_jw_object(&w);
        asy_jw_kv_str(&w, "content", messages[i].content); /* in the order of RFC 8785 */
        asy_jw_kv_cstr(&w, "role", asy_chat_role_name(messages[i].role));
        asy_jw_end(&w);
    }
    asy_jw_end(&w);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

enum asy_err asy_api_messages_parse(struct asy_chat_message **ret_messages, size_t *ret_count,
                                    struct asy_arena *a, struct asy_bytes in,
                                    struct asy_why *reterr_why) {
    struct asy_json *root;
    ASY_TRY(asy_json_parse(&root, in, ASY_MAX_JSON_DEPTH, reterr_why));
    struct asy_chat_request req = {0};
    struct parser p = {&req, a, reterr_why};
    enum asy_err err = read_messages(&p, root);
    asy_json_free(root);
    ASY_TRY(err);
    /* one request has one digest: whatever is not written exactly so is another request */
    struct asy_buf again;
    asy_buf_init(&again, in.n);
    bool same = asy_api_messages_format(&again, req.messages, req.message_count) == ASY_OK &&
                asy_bytes_eq(asy_buf_bytes(&again), in);
    asy_buf_done(&again);
    if (!same) {
        return asy_why_set(reterr_why, ASY_ERR_MISMATCH, "messages",
                           "the messages are not in canonical form");
    }
    *ret_messages = req.messages;
    *ret_count = req.message_count;
    return ASY_OK;
}

void asy_api_request_digest(struct asy_hash *ret_digest, struct asy_bytes canonical) {
    struct asy_keccak k;
    asy_keccak_init(&k);
    asy_keccak_add(&k, ASY_STR("assay/request/1"));
    asy_keccak_add(&k, canonical);
    asy_keccak_final(&k, ret_digest);
}
