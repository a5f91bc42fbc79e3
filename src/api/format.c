/* Writing answers, streams, errors and model lists. */
#include "api/api.h"
#include "codec/codec.h"

/* Takes back what a failed append left. */
static enum asy_err undo(struct asy_buf *buf, size_t before, enum asy_err err) {
    if (err != ASY_OK && buf->p != NULL) {
        buf->n = before;
        buf->p[before] = '\0';
    }
    return err;
}

/* ---- chat ---- */

void asy_chat_id_format(char ret_text[ASY_CHAT_ID_TEXT], const struct asy_hash *job_id) {
    memcpy(ret_text, "chatcmpl-", 9);
    asy_hex_encode(ret_text + 9, job_id->b, 16);
}

static const char *finish_name(enum asy_chat_finish finish) {
    switch (finish) {
    case ASY_CHAT_FINISH_STOP:
        return "stop";
    case ASY_CHAT_FINISH_LENGTH:
        return "length";
    }
    return "stop";
}

static void put_usage(struct asy_jw *w, const struct asy_chat_usage *usage) {
    asy_jw_kv_object(w, "usage");
    asy_jw_kv_u64(w, "prompt_tokens", usage->prompt_tokens);
    asy_jw_kv_u64(w, "completion_tokens", usage->completion_tokens);
    asy_jw_kv_u64(w, "total_tokens", usage->prompt_tokens + usage->completion_tokens);
    asy_jw_kv_object(w, "prompt_tokens_details");
    asy_jw_kv_u64(w, "cached_tokens", usage->cached_tokens);
    asy_jw_end(w);
    asy_jw_end(w);
}

static void put_assay(struct asy_jw *w, const struct asy_hash *job_id,
                      struct asy_bytes receipt_url) {
    asy_jw_kv_object(w, "assay");
    asy_jw_kv_hash(w, "job_id", job_id);
    if (receipt_url.n != 0) {
        asy_jw_kv_str(w, "receipt", receipt_url);
    }
    asy_jw_end(w);
}

/* The members that every answer begins with. */
static void put_meta(struct asy_jw *w, const struct asy_chat_meta *meta, const char *object) {
    char id[ASY_CHAT_ID_TEXT];
    asy_chat_id_format(id, &meta->job_id);
    asy_jw_kv_cstr(w, "id", id);
    asy_jw_kv_cstr(w, "object", object);
    asy_jw_kv_u64(w, "created", meta->created_s);
    asy_jw_kv_str(w, "model", meta->model);
}

enum asy_err asy_chat_response(struct asy_buf *buf, const struct asy_chat_meta *meta,
                               struct asy_bytes content, enum asy_chat_finish finish,
                               const struct asy_chat_usage *usage) {
    size_t before = buf->n;
    struct asy_jw w;
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    put_meta(&w, meta, "chat.completion");
    asy_jw_kv_array(&w, "choices");
    asy_jw_object(&w);
    asy_jw_kv_u64(&w, "index", 0);
    asy_jw_kv_object(&w, "message");
    asy_jw_kv_cstr(&w, "role", "assistant");
    asy_jw_kv_str(&w, "content", content);
    asy_jw_kv_null(&w, "refusal");
    asy_jw_end(&w);
    asy_jw_kv_null(&w, "logprobs");
    asy_jw_kv_cstr(&w, "finish_reason", finish_name(finish));
    asy_jw_end(&w);
    asy_jw_end(&w);
    put_usage(&w, usage);
    put_assay(&w, &meta->job_id, meta->receipt_url);
    asy_jw_end(&w);
    return undo(buf, before, asy_jw_finish(&w));
}

/* ---- streams ---- */

enum {
    MAX_HEAD = 2048
}; /* bytes: a model's name of ASY_MAX_NAME bytes, each escaped, and 300 more */

static enum asy_err format_head(struct asy_buf *buf, const struct asy_chat_meta *meta) {
    struct asy_jw w;
    ASY_TRY(asy_buf_add_str(buf, "data: "));
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    put_meta(&w, meta, "chat.completion.chunk");
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

enum asy_err asy_chat_stream_init(struct asy_chat_stream *ret_stream, struct asy_arena *a,
                                  const struct asy_chat_meta *meta, bool include_usage) {
    static const char choice[] = ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"";
    struct asy_buf head;
    asy_buf_init(&head, MAX_HEAD);
    enum asy_err err = format_head(&head, meta);
    size_t head_len = err == ASY_OK ? head.n - 1 : 0; /* without the brace: each chunk goes on */
    uint8_t *p = err == ASY_OK ? asy_arena_alloc(a, head_len + sizeof choice) : NULL;
    if (p != NULL) {
        memcpy(p, head.p, head_len);
        memcpy(p + head_len, choice, sizeof choice);
    }
    asy_buf_done(&head);
    if (p == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    *ret_stream = (struct asy_chat_stream){
        .head = asy_bytes_of(p, head_len),
        .delta = asy_bytes_of(p, head_len + sizeof choice - 1),
        .after = include_usage ? ASY_STR("\"},\"finish_reason\":null}],\"usage\":null}\n\n")
                               : ASY_STR("\"},\"finish_reason\":null}]}\n\n"),
        .job_id = meta->job_id,
        .receipt_url = meta->receipt_url,
        .include_usage = include_usage,
    };
    return ASY_OK;
}

enum asy_err asy_chat_stream_delta(struct asy_buf *buf, const struct asy_chat_stream *stream,
                                   struct asy_bytes text) {
    size_t before = buf->n;
    enum asy_err err = asy_buf_add_bytes(buf, stream->delta);
    err = err != ASY_OK ? err : asy_json_escape(buf, text);
    err = err != ASY_OK ? err : asy_buf_add_bytes(buf, stream->after);
    return undo(buf, before, err);
}

/* A chunk off the hot path: opened after the head, closed with the blank line that ends an event.
 */
static enum asy_err open_chunk(struct asy_jw *w, struct asy_buf *buf,
                               const struct asy_chat_stream *stream) {
    ASY_TRY(asy_buf_add_bytes(buf, stream->head));
    asy_jw_init_inside(w, buf);
    asy_jw_kv_array(w, "choices");
    return ASY_OK;
}

static enum asy_err close_chunk(struct asy_jw *w, struct asy_buf *buf) {
    asy_jw_end(w);
    ASY_TRY(asy_jw_finish(w));
    return asy_buf_add_str(buf, "\n\n");
}

static enum asy_err role_chunk(struct asy_buf *buf, const struct asy_chat_stream *stream) {
    struct asy_jw w;
    ASY_TRY(open_chunk(&w, buf, stream));
    asy_jw_object(&w);
    asy_jw_kv_u64(&w, "index", 0);
    asy_jw_kv_object(&w, "delta");
    asy_jw_kv_cstr(&w, "role", "assistant");
    asy_jw_kv_cstr(&w, "content", "");
    asy_jw_end(&w);
    asy_jw_kv_null(&w, "finish_reason");
    asy_jw_end(&w);
    asy_jw_end(&w);
    if (stream->include_usage) {
        asy_jw_kv_null(&w, "usage");
    }
    return close_chunk(&w, buf);
}

enum asy_err asy_chat_stream_role(struct asy_buf *buf, const struct asy_chat_stream *stream) {
    size_t before = buf->n;
    return undo(buf, before, role_chunk(buf, stream));
}

static enum asy_err finish_chunk(struct asy_buf *buf, const struct asy_chat_stream *stream,
                                 enum asy_chat_finish finish) {
    struct asy_jw w;
    ASY_TRY(open_chunk(&w, buf, stream));
    asy_jw_object(&w);
    asy_jw_kv_u64(&w, "index", 0);
    asy_jw_kv_object(&w, "delta");
    asy_jw_end(&w);
    asy_jw_kv_cstr(&w, "finish_reason", finish_name(finish));
    asy_jw_end(&w);
    asy_jw_end(&w);
    if (stream->include_usage) {
        asy_jw_kv_null(&w, "usage");
    }
    put_assay(&w, &stream->job_id, stream->receipt_url);
    return close_chunk(&w, buf);
}

static enum asy_err usage_chunk(struct asy_buf *buf, const struct asy_chat_stream *stream,
                                const struct asy_chat_usage *usage) {
    struct asy_jw w;
    ASY_TRY(open_chunk(&w, buf, stream));
    asy_jw_end(&w);
    put_usage(&w, usage);
    return close_chunk(&w, buf);
}

enum asy_err asy_chat_stream_end(struct asy_buf *buf, const struct asy_chat_stream *stream,
                                 enum asy_chat_finish finish, const struct asy_chat_usage *usage) {
    size_t before = buf->n;
    enum asy_err err = finish_chunk(buf, stream, finish);
    if (err == ASY_OK && stream->include_usage) {
        err = usage_chunk(buf, stream, usage);
    }
    err = err != ASY_OK ? err : asy_buf_add_str(buf, "data: [DONE]\n\n");
    return undo(buf, before, err);
}

enum asy_err asy_chat_stream_error(struct asy_buf *buf, enum asy_err error,
                                   const struct asy_why *why) {
    size_t before = buf->n;
    enum asy_err err = asy_buf_add_str(buf, "data: ");
    err = err != ASY_OK ? err : asy_api_error(buf, error, why);
    err = err != ASY_OK ? err : asy_buf_add_str(buf, "\n\n");
    return undo(buf, before, err);
}

/* ---- errors ---- */

struct face {
    const char *type, *code;
};

/* One line per error, so that a new one cannot be forgotten. */
static struct face face_of(enum asy_err err) {
    static const char invalid[] = "invalid_request_error", server[] = "server_error";
    switch (err) {
    case ASY_OK:
        return (struct face){server, "ok"};
    case ASY_ERR_AGAIN:
        return (struct face){server, "again"};
    case ASY_ERR_FULL:
        return (struct face){server, "full"};
    case ASY_ERR_SYNTAX:
        return (struct face){invalid, "syntax"};
    case ASY_ERR_RANGE:
        return (struct face){invalid, "range"};
    case ASY_ERR_TYPE:
        return (struct face){invalid, "type"};
    case ASY_ERR_MISSING:
        return (struct face){invalid, "missing"};
    case ASY_ERR_UNKNOWN:
        return (struct face){invalid, "unknown"};
    case ASY_ERR_UNSUPPORTED:
        return (struct face){invalid, "unsupported"};
    case ASY_ERR_TOO_LONG:
        return (struct face){invalid, "too_long"};
    case ASY_ERR_DUPLICATE:
        return (struct face){invalid, "duplicate"};
    case ASY_ERR_AUTH:
        return (struct face){"authentication_error", "invalid_api_key"};
    case ASY_ERR_FORBIDDEN:
        return (struct face){"permission_error", "forbidden"};
    case ASY_ERR_NOT_FOUND:
        return (struct face){invalid, "not_found"};
    case ASY_ERR_CONFLICT:
        return (struct face){invalid, "conflict"};
    case ASY_ERR_CREDIT:
        return (struct face){"insufficient_quota", "insufficient_credit"};
    case ASY_ERR_RATE:
        return (struct face){"rate_limit_error", "rate_limit_exceeded"};
    case ASY_ERR_TIMEOUT:
        return (struct face){server, "timeout"};
    case ASY_ERR_NO_NODE:
        return (struct face){server, "no_node_available"};
    case ASY_ERR_PEER:
        return (struct face){server, "peer"};
    case ASY_ERR_CLOSED:
        return (struct face){server, "closed"};
    case ASY_ERR_SIGNATURE:
        return (struct face){invalid, "signature"};
    case ASY_ERR_STATE:
        return (struct face){invalid, "state"};
    case ASY_ERR_IO:
        return (struct face){server, "io"};
    case ASY_ERR_STORE:
        return (struct face){server, "store"};
    case ASY_ERR_CHAIN:
        return (struct face){server, "chain"};
    case ASY_ERR_REVERTED:
        return (struct face){server, "reverted"};
    case ASY_ERR_CANCELLED:
        return (struct face){invalid, "cancelled"};
    case ASY_ERR_OVERFLOW:
        return (struct face){invalid, "overflow"};
    case ASY_ERR_MISMATCH:
        return (struct face){invalid, "mismatch"};
    case ASY_ERR_VERSION:
        return (struct face){invalid, "version"};
    case ASY_ERR_INTERNAL:
        return (struct face){server, "internal"};
    }
    return (struct face){server, "internal"};
}

const char *asy_api_error_type(enum asy_err err) { return face_of(err).type; }

const char *asy_api_error_code(enum asy_err err, const char *param) {
    bool is_model = err == ASY_ERR_NOT_FOUND && param != NULL && strcmp(param, "model") == 0;
    return is_model ? "model_not_found" : face_of(err).code;
}

unsigned asy_api_retry_after_s(enum asy_err err) {
    bool helps = err == ASY_ERR_AGAIN || err == ASY_ERR_FULL || err == ASY_ERR_RATE ||
                 err == ASY_ERR_NO_NODE;
    return helps ? 1 : 0;
}

enum asy_err asy_api_error(struct asy_buf *buf, enum asy_err err, const struct asy_why *why) {
    bool inner = err == ASY_ERR_INTERNAL || err == ASY_ERR_IO || err == ASY_ERR_STORE;
    bool told = why != NULL && !inner;
    const char *param = told && why->param[0] != '\0' ? why->param : NULL;
    size_t before = buf->n;
    struct asy_jw w;
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    asy_jw_kv_object(&w, "error");
    asy_jw_kv_cstr(&w, "message", told && why->text[0] != '\0' ? why->text : asy_err_text(err));
    asy_jw_kv_cstr(&w, "type", asy_api_error_type(err));
    asy_jw_kv_cstr(&w, "param", param);
    asy_jw_kv_cstr(&w, "code", asy_api_error_code(err, param));
    asy_jw_end(&w);
    asy_jw_end(&w);
    return undo(buf, before, asy_jw_finish(&w));
}

/* ---- models ---- */

static void put_price(struct asy_jw *w, const char *key, struct asy_usd price) {
    char text[ASY_USD_STR];
    asy_usd_format(text, price);
    asy_jw_kv_cstr(w, key, text);
}

static void put_model(struct asy_jw *w, const struct asy_api_model *model) {
    asy_jw_object(w);
    asy_jw_kv_str(w, "id", model->name);
    asy_jw_kv_cstr(w, "object", "model");
    asy_jw_kv_u64(w, "created", model->created_s);
    asy_jw_kv_cstr(w, "owned_by", "assay");
    asy_jw_kv_u64(w, "context_length", model->context_length);
    asy_jw_kv_object(w, "pricing"); /* USD per token, as OpenRouter writes it */
    put_price(w, "prompt", model->min_price_in);
    put_price(w, "completion", model->min_price_out);
    asy_jw_end(w);
    asy_jw_kv_object(w, "assay");
    asy_jw_kv_hash(w, "digest", &model->digest);
    asy_jw_kv_str(w, "engine", model->engine);
    asy_jw_kv_u64(w, "nodes", model->node_count);
    asy_jw_end(w);
    asy_jw_end(w);
}

enum asy_err asy_api_model(struct asy_buf *buf, const struct asy_api_model *model) {
    size_t before = buf->n;
    struct asy_jw w;
    asy_jw_init(&w, buf);
    put_model(&w, model);
    return undo(buf, before, asy_jw_finish(&w));
}

enum asy_err asy_api_models(struct asy_buf *buf, const struct asy_api_model *models, size_t count) {
    size_t before = buf->n;
    struct asy_jw w;
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "list");
    asy_jw_kv_array(&w, "data");
    for (size_t i = 0; i < count; i++) {
        put_model(&w, &models[i]);
    }
    asy_jw_end(&w);
    asy_jw_end(&w);
    return undo(buf, before, asy_jw_finish(&w));
}
