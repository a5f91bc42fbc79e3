/* record.c: what a replay takes: is it what terms and receipt are the digests of? */
#include <stdio.h>

#include "api/api.h"
#include "sample/sample.h"
#include "verify/verify_priv.h"

/* ---- reading --------------------------------------------------------------------------------- */

static enum asy_err full(struct asy_why *why, const char *at) {
    return asy_why_set(why, ASY_ERR_TOO_LONG, at, "the records are too long together");
}

static enum asy_err copy(struct asy_bytes *ret, struct asy_arena *arena, struct asy_bytes in,
                         const char *at, struct asy_why *why) {
    char *p = asy_arena_str(arena, in);
    if (p == NULL) {
        return full(why, at);
    }
    *ret = asy_bytes_of(p, in.n);
    return ASY_OK;
}

static enum asy_err get_ids(const uint32_t **ret_ids, uint32_t *ret_count, struct asy_arena *arena,
                            const struct asy_json *obj, const char *at, const char *key,
                            struct asy_why *why) {
    const struct asy_json *list;
    ASY_TRY(asy_json_get_array(&list, NULL, obj, at, key, 0, ASY_MAX_TOKENS, why));
    uint32_t count = (uint32_t)asy_json_len(list);
    uint32_t *ids = asy_arena_alloc(arena, (count + 1) * sizeof *ids);
    if (ids == NULL) {
        return full(why, at);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t id;
        if (asy_json_u64(&id, asy_json_at(list, i)) != ASY_OK || id > UINT32_MAX) {
            char path[VERIFY_AT_LEN];
            (void)snprintf(path, sizeof path, "%.48s.%.8s[%u]", at, key, i);
            return asy_why_set(why, ASY_ERR_TYPE, path, "must be the id of a token");
        }
        ids[i] = (uint32_t)id;
    }
    *ret_ids = ids;
    *ret_count = count;
    return ASY_OK;
}

static enum asy_err get_bias(struct asy_bytes *ret, struct asy_arena *arena,
                             const struct asy_json *obj, const char *at, struct asy_why *why) {
    struct asy_bytes text;
    enum { MAX_LEN = ASY_MAX_BIAS * ASY_SAMPLE_BIAS_LEN };
    ASY_TRY(asy_json_get_str(&text, NULL, obj, at, "bias", 2 + 2 * MAX_LEN, why));
    size_t len = text.n < 2 ? 0 : text.n / 2 - 1;
    uint8_t *p = asy_arena_alloc(arena, len + 1);
    if (p == NULL) {
        return full(why, at);
    }
    if (asy_0x_decode(p, len, text) != ASY_OK) {
        char path[VERIFY_AT_LEN];
        asy_json_path(path, sizeof path, at, "bias");
        return asy_why_set(why, ASY_ERR_SYNTAX, path, "pairs are 0x and 16 hex digits each");
    }
    *ret = asy_bytes_of(p, len);
    return ASY_OK;
}

enum asy_err verify_record_read(struct asy_audit_record *ret, struct asy_arena *arena,
                                const struct asy_json *json, const char *at, struct asy_why *why) {
    static const char *const known[] = {"request", "bias", "prior", "output"};
    struct asy_bytes request;
    ASY_TRY(verify_object_of(json, at, known, ASY_COUNT(known), why));
    ASY_TRY(asy_json_get_str(&request, NULL, json, at, "request", ASY_MAX_FRAME, why));
    ASY_TRY(copy(&ret->messages, arena, request, at, why));
    ASY_TRY(get_bias(&ret->bias, arena, json, at, why));
    ASY_TRY(get_ids(&ret->prior, &ret->prior_count, arena, json, at, "prior", why));
    return get_ids(&ret->ids, &ret->count, arena, json, at, "output", why);
}

/* ---- checking -------------------------------------------------------------------------------- */

/* The request is that of the terms, and one that a node takes. NULL: it is. */
static const char *check_request(const struct asy_verify_segment *s) {
    struct asy_hash digest;
    struct asy_arena arena;
    struct asy_chat_message *messages;
    size_t count;
    asy_api_request_digest(&digest, s->record.messages);
    if (!asy_hash_eq(&digest, &s->terms.request)) {
        return "the request is not the one of the terms";
    }
    asy_arena_init(&arena, 2 * s->record.messages.n + (32u << 10));
    enum asy_err err = asy_api_messages_parse(&messages, &count, &arena, s->record.messages, NULL);
    asy_arena_done(&arena);
    return err == ASY_OK ? NULL : "what the terms name is no canonical request";
}

static const char *check_bias(const struct asy_verify_segment *s) {
    struct asy_sample_bias bias[ASY_MAX_BIAS];
    size_t count;
    if (asy_job_bias_check(s->record.settings, s->record.bias) != ASY_OK) {
        return "the bias is not the one that the settings name";
    }
    return asy_sample_bias_decode(bias, &count, s->record.bias, NULL) == ASY_OK
               ? NULL
               : "what the settings name is no encoded bias";
}

/* `prior` must be what the earlier segments gave, one behind the other. ret_unknown: an earlier
 * segment gave tokens that the document does not show. */
static const char *check_prior(const struct asy_verify_report *r, uint32_t segment,
                               bool *ret_unknown) {
    const struct asy_audit_record *own = &r->segments[segment].record;
    uint32_t at = 0;
    for (uint32_t i = 0; i < segment; i++) {
        const struct asy_verify_segment *s = &r->segments[i];
        if (!s->has_record) {
            *ret_unknown = *ret_unknown || (s->has_receipt && s->receipt.out_tokens != 0);
            continue;
        }
        const struct asy_audit_record *before = &s->record;
        if (before->count > own->prior_count - at ||
            (before->count != 0 &&
             memcmp(own->prior + at, before->ids, before->count * sizeof *own->prior) != 0)) {
            return *ret_unknown ? NULL : "it did not go on with what earlier segments gave";
        }
        at += before->count;
    }
    return at == own->prior_count || *ret_unknown
               ? NULL
               : "it went on with more than earlier segments gave";
}

/* A receipt may cover less than was relayed, where the link broke. */
static const char *check_output(const struct asy_verify_segment *s) {
    const struct asy_audit_record *own = &s->record;
    const struct asy_receipt *receipt = &s->receipt;
    if (own->count != receipt->out_tokens &&
        (receipt->finish != ASY_FINISH_LINK || own->count < receipt->out_tokens)) {
        return "it has another number of output ids than the receipt";
    }
    return asy_receipt_output_check(receipt, &s->prompt_digest, own->prior, own->prior_count,
                                    own->ids) == ASY_OK
               ? NULL
               : "prompt, earlier and own output ids are not what the receipt is about";
}

void verify_record_check(struct asy_verify_report *r, uint32_t segment) {
    struct asy_verify_segment *s = &r->segments[segment];
    struct asy_verify_findings *f = &s->findings;
    bool unknown = false;
    const char *wrong = check_request(s);
    wrong = wrong != NULL ? wrong : check_bias(s);
    wrong = wrong != NULL ? wrong : check_prior(r, segment, &unknown);
    if (wrong == NULL && s->has_receipt) {
        wrong = check_output(s);
    }
    if (wrong != NULL) {
        asy_verify_add(f, ASY_VERIFY_RECORD, ASY_VERIFY_FAILED, "%s", wrong);
    } else if (unknown) {
        asy_verify_add(f, ASY_VERIFY_RECORD, ASY_VERIFY_ABSENT,
                       "an earlier segment's record is missing, so what this one went on with is "
                       "not known");
    } else if (!s->has_receipt) {
        asy_verify_add(f, ASY_VERIFY_RECORD, ASY_VERIFY_PASSED,
                       "the request is that of the terms; no receipt covers the %u output ids",
                       s->record.count);
    } else {
        asy_verify_add(f, ASY_VERIFY_RECORD, ASY_VERIFY_PASSED,
                       "the request, and %llu output ids, of terms and receipt",
                       (unsigned long long)s->receipt.out_tokens);
    }
}
