/*~ api: the shapes of the OpenAI API, read strictly and written exactly. Pure: bytes in, bytes out.
 *
 * Rule of the requests: every field is honoured or refused by name; nothing is ignored. A field
 * whose value asks for nothing (null, `tools: []`, `n: 1`, `logprobs: false`) is accepted. An
 * official client may send null for any optional field.
 *
 * Rule of the answers: what the official clients need, plus one object `assay` which they pass
 * through.
 */
#ifndef ASY_API_H
#define ASY_API_H

#include "base/base.h"
#include "money/money.h"
#include "sample/sample.h"

/* ---- chat request ---------------------------------------------------------------------------- */

enum asy_chat_role { ASY_CHAT_SYSTEM, ASY_CHAT_USER, ASY_CHAT_ASSISTANT };
const char *asy_chat_role_name(enum asy_chat_role role); /* "system" */

struct asy_chat_message {
    enum asy_chat_role role;  /* `developer` is read as system */
    struct asy_bytes content; /* UTF-8 without NUL; text parts joined, nothing between them */
};

enum asy_chat_sort {
    ASY_CHAT_SORT_NONE,
    ASY_CHAT_SORT_PRICE,
    ASY_CHAT_SORT_THROUGHPUT,
    ASY_CHAT_SORT_LATENCY
};
enum { ASY_CHAT_MAX_NODES = 16 }; /* names in one list of `provider` */
/* A node's address or name as sent, 1..ASY_MAX_NAME bytes each. */
struct asy_chat_names {
    struct asy_bytes name[ASY_CHAT_MAX_NODES];
    size_t count;
};
/* `provider`: which nodes may serve, as OpenRouter spells it. */
struct asy_chat_provider {
    struct asy_chat_names only;   /* these alone, if any is named */
    struct asy_chat_names ignore; /* never these */
    struct asy_chat_names order;  /* these first, in this order */
    enum asy_chat_sort sort;
    bool allow_fallbacks; /* default true; false: `order` (or the best node) or nothing */
    bool has_max_price_in, has_max_price_out;
    struct asy_usd max_price_in, max_price_out; /* per token; JSON says USD per million tokens */
};

/* Terms resolve temperature, penalties and biases to 0.001, top_p and min_p to 0.000001: the
 * client's numbers are rounded half up in decimal. */
struct asy_chat_request {
    struct asy_bytes model; /* 1..ASY_MAX_NAME bytes */
    struct asy_chat_message *messages;
    size_t message_count; /* 1..ASY_MAX_MESSAGES */
    size_t text_len;      /* bytes of all contents, at most ASY_MAX_PROMPT */
    uint64_t max_tokens;  /* 1..ASY_MAX_TOKENS; 0: the client named none */
    /* passes asy_sample_settings_check; temperature at most 2, top_p not 0. logit_bias is left
     * zero: its digest is the caller's to make (job.h) */
    struct asy_sample_settings sampling;
    struct asy_sample_bias *bias; /* passes asy_sample_bias_check */
    size_t bias_count;
    struct asy_bytes stops[ASY_MAX_STOPS]; /* 1..ASY_MAX_STOP_LEN bytes each */
    size_t stop_count;
    bool has_seed;
    int64_t seed;
    bool stream;
    bool include_usage; /* only with stream */
    struct asy_bytes user;
    struct asy_chat_provider provider;
};

/* asy_api_chat_parse reads the body of POST /v1/chat/completions.
 * in:     a: receives everything that ret_request points to; 2 * body.n + 32 KiB is always enough
 * out:    reterr_why: always a text; param names the field at fault, if one is
 *         ("messages[2].content[0].type")
 * errors: SYNTAX (no JSON), DUPLICATE, MISSING, TYPE, RANGE, UNKNOWN, UNSUPPORTED;
 *         TOO_LONG: the text is over ASY_MAX_PROMPT, the body over ASY_MAX_HTTP_BODY, the JSON too
 *         fine-grained, or the arena full */
ASY_MUST_USE enum asy_err asy_api_chat_parse(struct asy_chat_request *ret_request,
                                             struct asy_arena *a, struct asy_bytes body,
                                             struct asy_why *reterr_why);

/* ---- canonical request (docs/protocol/request.md) -------------------------------------------- */

/* Appends {"messages":[{"content":...,"role":...},...]} in RFC 8785 form: the bytes that the node
 * receives. TOO_LONG */
ASY_MUST_USE enum asy_err
asy_api_messages_format(struct asy_buf *buf, const struct asy_chat_message *messages, size_t count);
/* The other end: reads those bytes, and only exactly those (anything not canonical: MISMATCH).
 * Errors as asy_api_chat_parse. a: 2 * in.n + 32 KiB is always enough. */
ASY_MUST_USE enum asy_err asy_api_messages_parse(struct asy_chat_message **ret_messages,
                                                 size_t *ret_count, struct asy_arena *a,
                                                 struct asy_bytes in, struct asy_why *reterr_why);
/* keccak256("assay/request/1" || canonical): `request` of the terms. */
void asy_api_request_digest(struct asy_hash *ret_digest, struct asy_bytes canonical);

/* ---- chat answers ---------------------------------------------------------------------------- */

enum asy_chat_finish { ASY_CHAT_FINISH_STOP, ASY_CHAT_FINISH_LENGTH };

struct asy_chat_usage {
    uint64_t prompt_tokens, completion_tokens;
    uint64_t cached_tokens; /* of the prompt tokens */
};

/* What stands in every chunk of an answer. */
struct asy_chat_meta {
    struct asy_hash job_id;       /* the answer's id is "chatcmpl-" + 32 hex digits of it */
    uint64_t created_s;           /* Unix time */
    struct asy_bytes model;       /* as the client named it */
    struct asy_bytes receipt_url; /* path of the receipt for the `assay` object; empty: left out */
};

/* "chatcmpl-" and the first 16 bytes of the job id in hex, with a zero byte. */
enum { ASY_CHAT_ID_TEXT = 42 };
void asy_chat_id_format(char ret_text[ASY_CHAT_ID_TEXT], const struct asy_hash *job_id);

/* The whole answer when not streaming: object `chat.completion`. TOO_LONG */
ASY_MUST_USE enum asy_err asy_chat_response(struct asy_buf *buf, const struct asy_chat_meta *meta,
                                            struct asy_bytes content, enum asy_chat_finish finish,
                                            const struct asy_chat_usage *usage);

/* A stream of server-sent events: one role chunk, deltas, then the end (finish chunk, usage chunk
 * if asked for, [DONE]) or an error event, after which nothing follows. All that is the same in
 * every chunk is formatted once, at init. */
struct asy_chat_stream {
    struct asy_bytes head;         /* `data: {"id":...,"model":"..."` */
    struct asy_bytes delta, after; /* around the content of a delta chunk; delta begins with head */
    struct asy_hash job_id;
    struct asy_bytes receipt_url;
    bool include_usage;
};
/* Borrows meta->receipt_url as long as the stream lives. a: 4 KiB is always enough, else TOO_LONG.
 */
ASY_MUST_USE enum asy_err asy_chat_stream_init(struct asy_chat_stream *ret_stream,
                                               struct asy_arena *a,
                                               const struct asy_chat_meta *meta,
                                               bool include_usage);
/* Each appends whole events to buf. TOO_LONG */
ASY_MUST_USE enum asy_err asy_chat_stream_role(struct asy_buf *buf,
                                               const struct asy_chat_stream *stream);
/* text: whole UTF-8 characters; several ready tokens may share a chunk. The hot path. */
ASY_MUST_USE enum asy_err asy_chat_stream_delta(struct asy_buf *buf,
                                                const struct asy_chat_stream *stream,
                                                struct asy_bytes text);
ASY_MUST_USE enum asy_err asy_chat_stream_end(struct asy_buf *buf,
                                              const struct asy_chat_stream *stream,
                                              enum asy_chat_finish finish,
                                              const struct asy_chat_usage *usage);
/* The error envelope as an event, for a failure after the headers went out. */
ASY_MUST_USE enum asy_err asy_chat_stream_error(struct asy_buf *buf, enum asy_err err,
                                                const struct asy_why *why);

/* ---- errors ---------------------------------------------------------------------------------- */

/* {"error":{"message","type","param","code"}}, all four always there, param null when no field is
 * at fault. The status is asy_err_http(err). why may be NULL. The text of internal failures
 * (INTERNAL, IO, STORE) never reaches a client. TOO_LONG */
ASY_MUST_USE enum asy_err asy_api_error(struct asy_buf *buf, enum asy_err err,
                                        const struct asy_why *why);
/* OpenAI's type: "invalid_request_error", "authentication_error", "permission_error",
 * "insufficient_quota", "rate_limit_error", "server_error". */
const char *asy_api_error_type(enum asy_err err);
/* Stable code: "invalid_api_key", "insufficient_credit", "rate_limit_exceeded",
 * "no_node_available", "model_not_found" (NOT_FOUND with param "model"); otherwise the error's name
 * in lower case. param may be NULL. */
const char *asy_api_error_code(enum asy_err err, const char *param);
/* Seconds for a Retry-After header; 0: none (trying again would not help). */
unsigned asy_api_retry_after_s(enum asy_err err);

/* ---- models ---------------------------------------------------------------------------------- */

struct asy_api_model {
    struct asy_bytes name;
    uint64_t created_s; /* when the manifest was registered */
    struct asy_hash digest;
    uint64_t context_length;                    /* tokens */
    struct asy_bytes engine;                    /* "llama.cpp/...", "exact/1", "remote", "echo" */
    uint64_t node_count;                        /* live nodes that serve it */
    struct asy_usd min_price_in, min_price_out; /* per token, each the cheapest live offer */
};
/* GET /v1/models: {"object":"list","data":[...]}; GET /v1/models/{name}: one model. TOO_LONG */
ASY_MUST_USE enum asy_err asy_api_models(struct asy_buf *buf, const struct asy_api_model *models,
                                         size_t count);
ASY_MUST_USE enum asy_err asy_api_model(struct asy_buf *buf, const struct asy_api_model *model);

#endif
