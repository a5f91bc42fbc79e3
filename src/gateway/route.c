/* route.c: from an HTTP request to what answers it. */
#include "gateway/gateway_priv.h"

#include <stdio.h>

static const struct asy_http_header json_header = {"Content-Type", "application/json"};

void gateway_respond(struct asy_gateway *g, struct asy_http_req *req, int status,
                     struct asy_bytes body) {
    const struct asy_http_header headers[2] = {json_header, {"x-request-id", g->request_id}};
    enum asy_err err = asy_http_respond(req, status, headers, ASY_COUNT(headers), body);
    if (err != ASY_OK) {
        asy_http_abort(req);
    }
}

void gateway_respond_error(struct asy_gateway *g, struct asy_http_req *req, enum asy_err err,
                           const struct asy_why *why) {
    gateway_respond_job_error(g, req, g->request_id, NULL, err, why);
}

void gateway_respond_job_error(struct asy_gateway *g, struct asy_http_req *req,
                               const char *request_id, const struct asy_hash *job_id,
                               enum asy_err err, const struct asy_why *why) {
    asy_metric_add(ASY_M_http_errors_total, 1);
    struct asy_http_header headers[4] = {json_header, {"x-request-id", request_id}};
    size_t count = 2;
    char retry[16], id[ASY_HASH_TEXT];
    if (job_id != NULL) {
        asy_hash_format(id, job_id);
        headers[count++] = (struct asy_http_header){"x-assay-job-id", id};
    }
    unsigned after = asy_api_retry_after_s(err);
    if (after != 0) {
        (void)snprintf(retry, sizeof retry, "%u", after);
        headers[count++] = (struct asy_http_header){"Retry-After", retry};
    }
    asy_buf_clear(&g->body);
    if (asy_api_error(&g->body, err, why) != ASY_OK ||
        asy_http_respond(req, asy_err_http(err), headers, count, asy_buf_bytes(&g->body)) !=
            ASY_OK) {
        asy_http_abort(req);
    }
}

const char *gateway_on_error(void *arg, int status, const char *text, struct asy_buf *ret_body) {
    (void)arg;
    enum asy_err err = status == 413 || status == 431 ? ASY_ERR_TOO_LONG
                       : status == 408                ? ASY_ERR_TIMEOUT
                       : status == 503                ? ASY_ERR_FULL
                       : status >= 500                ? ASY_ERR_UNSUPPORTED
                                                      : ASY_ERR_SYNTAX;
    struct asy_why why;
    (void)asy_why_set(&why, err, NULL, "%s", text);
    if (asy_api_error(ret_body, err, &why) != ASY_OK) { /* no room: an empty body says it too */
        asy_buf_clear(ret_body);
    }
    return json_header.value;
}

/* ---- who asks -------------------------------------------------------------------------------- */

static bool bearer(const struct asy_http_req *req, struct asy_bytes *ret_token) {
    struct asy_bytes value;
    if (!asy_http_header(req, "Authorization", &value) || value.n < 7) {
        return false;
    }
    static const char scheme[] = "bearer ";
    for (size_t i = 0; i < 7; i++) {
        if ((value.p[i] | 0x20) != scheme[i]) { /* "B" and "b"; the blank has the bit already */
            return false;
        }
    }
    *ret_token = asy_bytes_of(value.p + 7, value.n - 7);
    return true;
}

struct asy_account *gateway_authenticate(struct asy_gateway *g, struct asy_http_req *req) {
    struct asy_bytes token;
    struct asy_why why;
    if (!bearer(req, &token)) {
        (void)asy_why_set(&why, ASY_ERR_AUTH, NULL,
                          "No API key. Send it as `Authorization: Bearer sk-assay-...`.");
        gateway_respond_error(g, req, ASY_ERR_AUTH, &why);
        return NULL;
    }
    struct asy_account *account = asy_ledger_find_key(g->ledger, token);
    if (account == NULL) {
        (void)asy_why_set(&why, ASY_ERR_AUTH, NULL, "This API key is unknown or was revoked.");
        gateway_respond_error(g, req, ASY_ERR_AUTH, &why);
    }
    return account;
}

bool gateway_is_admin(const struct asy_gateway *g, const struct asy_http_req *req) {
    struct asy_bytes token;
    if (g->c.admin_token == NULL || !bearer(req, &token)) {
        return false;
    }
    struct asy_hash want,
        got; /* hashed, so that neither length nor content shows in the time taken */
    asy_sha256(&want, asy_bytes_cstr(g->c.admin_token));
    asy_sha256(&got, token);
    return asy_secret_eq(want.b, got.b, sizeof want.b);
}

/* ---- caps and keys --------------------------------------------------------------------------- */

static enum asy_err read_cap(struct asy_gateway *g, const struct asy_json *body,
                             struct asy_cap *ret_cap, struct asy_sig *ret_sig,
                             struct asy_why *why) {
    static const char *const known[] = {"cap", "signature"};
    struct asy_bytes text;
    if (asy_json_type(body) != ASY_JSON_OBJECT) {
        return asy_why_set(why, ASY_ERR_TYPE, NULL,
                           "the body must be an object with `cap` and `signature`");
    }
    ASY_TRY(asy_json_refuse_unknown(body, NULL, known, ASY_COUNT(known), why));
    ASY_TRY(asy_object_read_json(ret_cap, ASY_OBJ_CAP, asy_json_get(body, "cap"), "cap", why));
    ASY_TRY(asy_json_get_str(&text, NULL, body, NULL, "signature", 2 + 2 * sizeof ret_sig->b, why));
    if (asy_0x_decode(ret_sig->b, sizeof ret_sig->b, text) != ASY_OK) {
        return asy_why_set(why, ASY_ERR_SYNTAX, "signature",
                           "a signature is 0x and 130 hex digits");
    }
    if (!asy_addr_eq(&ret_cap->gateway, &g->self)) {
        return asy_why_set(why, ASY_ERR_MISMATCH, "cap.gateway", "the cap names another gateway");
    }
    if (!asy_hash_is_zero(&ret_cap->models)) {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, "cap.models",
                           "only 0 (any model) is supported");
    }
    if (ret_cap->deadline <= asy_env_wall_ms(g->env) / 1000) {
        return asy_why_set(why, ASY_ERR_RANGE, "cap.deadline", "the cap has expired");
    }
    /* a cap for another chain or vault has another domain, so its signature does not fit here */
    if (asy_object_verify(&g->domain, ASY_OBJ_CAP, ret_cap, ret_sig, &ret_cap->requester) !=
        ASY_OK) {
        return asy_why_set(
            why, ASY_ERR_SIGNATURE, "signature",
            "not the requester's signature over this cap on chain %llu with this vault",
            (unsigned long long)g->domain.chain_id);
    }
    return ASY_OK;
}

static enum asy_err post_cap(struct asy_gateway *g, struct asy_http_req *req,
                             struct asy_account *account, struct asy_why *why) {
    struct asy_json *body;
    struct asy_cap cap;
    struct asy_sig sig;
    ASY_TRY(asy_json_parse(&body, asy_http_body(req), ASY_MAX_JSON_DEPTH, why));
    enum asy_err err = read_cap(g, body, &cap, &sig, why);
    asy_json_free(body);
    ASY_TRY(err);
    if (!asy_addr_eq(&cap.requester, &account->addr)) {
        return asy_why_set(why, ASY_ERR_FORBIDDEN, "cap.requester",
                           "this API key belongs to another account");
    }
    err = asy_ledger_set_cap(g->ledger, account, &cap, &sig);
    if (err == ASY_ERR_CONFLICT) {
        return asy_why_set(why, err, "cap.nonce",
                           "a cap with nonce %llu is in force; sign a higher one",
                           (unsigned long long)account->cap.nonce);
    }
    ASY_TRY(err);
    settle_account(g, account);
    return view_credit(g, account);
}

static enum asy_err post_key(struct asy_gateway *g, struct asy_http_req *req, struct asy_why *why) {
    static const char *const known[] = {"account", "label"};
    struct asy_json *body;
    struct asy_addr addr;
    struct asy_bytes label = {0};
    bool has_label;
    ASY_TRY(asy_json_parse(&body, asy_http_body(req), ASY_MAX_JSON_DEPTH, why));
    enum asy_err err = asy_json_type(body) == ASY_JSON_OBJECT
                           ? asy_json_refuse_unknown(body, NULL, known, ASY_COUNT(known), why)
                           : asy_why_set(why, ASY_ERR_TYPE, NULL, "the body must be an object");
    struct asy_account *account = NULL;
    char key[ASY_KEY_TEXT];
    uint64_t id = 0;
    if (err == ASY_OK) {
        err = asy_json_get_addr(&addr, NULL, body, NULL, "account", why);
    }
    if (err == ASY_OK) {
        err = asy_json_get_str(&label, &has_label, body, NULL, "label", ASY_MAX_NAME, why);
    }
    if (err == ASY_OK) {
        err = asy_ledger_account(g->ledger, &account, &addr);
    }
    if (err == ASY_OK) {
        err = asy_ledger_issue_key(g->ledger, key, &id, account, label);
    }
    asy_json_free(body);
    ASY_TRY(err);
    struct asy_jw w;
    asy_jw_init(&w, &g->body);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "api_key");
    asy_jw_kv_u64(&w, "id", id);
    asy_jw_kv_cstr(&w, "key", key);
    asy_jw_kv_addr(&w, "account", &account->addr);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

/* ---- routes ---------------------------------------------------------------------------------- */

/* The part of path behind prefix, if it starts with it. */
static bool below(struct asy_bytes path, const char *prefix, struct asy_bytes *ret_rest) {
    struct asy_bytes p = asy_bytes_cstr(prefix);
    if (!asy_bytes_starts(path, p)) {
        return false;
    }
    *ret_rest = asy_bytes_of(path.p + p.n, path.n - p.n);
    return true;
}

static bool is(struct asy_bytes path, const char *want) {
    return asy_bytes_eq(path, asy_bytes_cstr(want));
}

static enum asy_err number_param(const struct asy_http_req *req, const char *name, uint64_t *ret,
                                 struct asy_why *why) {
    struct asy_buf text;
    asy_buf_init(&text, 32);
    enum asy_err err = asy_http_param(req, name, &text);
    if (err == ASY_ERR_NOT_FOUND) {
        err = ASY_OK; /* keeps its default */
    } else if (err == ASY_OK && asy_bytes_to_u64(ret, asy_buf_bytes(&text)) != ASY_OK) {
        err = ASY_ERR_RANGE;
    }
    asy_buf_done(&text);
    return err == ASY_OK
               ? ASY_OK
               : asy_why_set(why, ASY_ERR_RANGE, name, "`%s` must be a whole number", name);
}

static enum asy_err bool_param(const struct asy_http_req *req, const char *name, bool *ret,
                               struct asy_why *why) {
    struct asy_buf text;
    asy_buf_init(&text, 8);
    enum asy_err err = asy_http_param(req, name, &text);
    bool yes = err == ASY_OK && asy_bytes_eq(asy_buf_bytes(&text), ASY_STR("true"));
    bool no = err == ASY_OK && asy_bytes_eq(asy_buf_bytes(&text), ASY_STR("false"));
    asy_buf_done(&text);
    if (err == ASY_ERR_NOT_FOUND) {
        return ASY_OK; /* keeps its default */
    }
    if (!yes && !no) {
        return asy_why_set(why, ASY_ERR_RANGE, name, "`%s` must be true or false", name);
    }
    *ret = yes;
    return ASY_OK;
}

/* A batch is public, as on chain. The leaves of a lane are for its owner, and for the admin. */
static enum asy_err settlement(struct asy_gateway *g, const struct asy_http_req *req,
                               struct asy_bytes rest, struct asy_why *why) {
    const uint8_t *slash = memchr(rest.p, '/', rest.n);
    size_t digits = slash != NULL ? (size_t)(slash - rest.p) : rest.n;
    uint64_t number, lane;
    if (asy_bytes_to_u64(&number, asy_bytes_of(rest.p, digits)) != ASY_OK) {
        return asy_why_set(why, ASY_ERR_NOT_FOUND, NULL, "no such batch");
    }
    if (slash == NULL) {
        return view_batch(g, number, why);
    }
    struct asy_bytes lane_text;
    if (!below(asy_bytes_of(slash, rest.n - digits), "/lanes/", &lane_text) ||
        asy_bytes_to_u64(&lane, lane_text) != ASY_OK || lane > UINT32_MAX) {
        return asy_why_set(why, ASY_ERR_NOT_FOUND, NULL, "no such lane");
    }
    struct asy_bytes key;
    struct asy_account *account = bearer(req, &key) ? asy_ledger_find_key(g->ledger, key) : NULL;
    if (!gateway_is_admin(g, req) && (account == NULL || account->lane != lane)) {
        return asy_why_set(why, ASY_ERR_AUTH, NULL,
                           "The leaves of a lane are shown to its owner only.");
    }
    return view_lane(g, number, (uint32_t)lane, why);
}

/* GET routes that need no key. */
static bool get_open(struct asy_gateway *g, struct asy_http_req *req, struct asy_bytes path,
                     enum asy_err *ret_err) {
    struct asy_bytes rest;
    if (is(path, "/health")) {
        *ret_err = asy_buf_add_str(&g->body, "{\"status\":\"ok\"}");
    } else if (is(path, "/ready")) {
        bool ready = false;
        for (struct node *n = g->nodes; n != NULL && !ready; n = n->next) {
            ready = node_ready(n);
        }
        ready = ready && !g->draining;
        gateway_respond(g, req, ready ? 200 : 503,
                        ready ? ASY_STR("{\"status\":\"ready\"}")
                              : ASY_STR("{\"status\":\"no node can serve yet\"}"));
        return true;
    } else if (is(path, "/metrics")) {
        static const struct asy_http_header text = {"Content-Type",
                                                    "text/plain; version=0.0.4; charset=utf-8"};
        *ret_err = asy_metrics_format(&g->body);
        if (*ret_err == ASY_OK &&
            asy_http_respond(req, 200, &text, 1, asy_buf_bytes(&g->body)) != ASY_OK) {
            asy_http_abort(req);
        }
        return *ret_err == ASY_OK;
    } else if (is(path, "/v1/models")) {
        *ret_err = view_models(g, (struct asy_bytes){0});
    } else if (below(path, "/v1/models/", &rest)) {
        *ret_err = view_models(g, rest);
    } else if (is(path, "/v1/nodes")) {
        *ret_err = view_nodes(g);
    } else if (is(path, "/v1/domain")) {
        *ret_err = view_domain(g);
    } else {
        *ret_err = ASY_ERR_NOT_FOUND;
        return false;
    }
    if (*ret_err == ASY_OK) {
        gateway_respond(g, req, 200, asy_buf_bytes(&g->body));
        return true;
    }
    return false;
}

static enum asy_err get_own(struct asy_gateway *g, struct asy_http_req *req, struct asy_bytes path,
                            struct asy_account *account, struct asy_why *why) {
    struct asy_bytes rest;
    if (is(path, "/v1/jobs")) {
        uint64_t before = UINT64_MAX, limit = 50;
        ASY_TRY(number_param(req, "before", &before, why));
        ASY_TRY(number_param(req, "limit", &limit, why));
        if (limit == 0 || limit > ASY_MAX_PAGE) {
            return asy_why_set(why, ASY_ERR_RANGE, "limit", "1 to %u", ASY_MAX_PAGE);
        }
        return view_jobs(g, account, before, (uint32_t)limit);
    }
    if (below(path, "/v1/jobs/", &rest)) {
        return view_job(g, account, rest, why);
    }
    if (below(path, "/v1/receipts/", &rest)) {
        bool with_record = false;
        ASY_TRY(bool_param(req, "record", &with_record, why));
        return view_receipt(g, account, rest, with_record, why);
    }
    if (is(path, "/v1/usage")) {
        uint64_t from_ms = 0;
        ASY_TRY(number_param(req, "from_ms", &from_ms, why));
        return view_usage(g, account, from_ms);
    }
    if (is(path, "/v1/credit")) {
        return view_credit(g, account);
    }
    return asy_why_set(why, ASY_ERR_NOT_FOUND, NULL, "Unknown route: GET %.*s", (int)path.n,
                       path.p);
}

static void route_get(struct asy_gateway *g, struct asy_http_req *req, struct asy_bytes path) {
    struct asy_why why = {{0}, {0}};
    struct asy_bytes rest = {0};
    enum asy_err err;
    if (get_open(g, req, path, &err)) {
        return;
    }
    if (err != ASY_ERR_NOT_FOUND || below(path, "/v1/models/", &rest)) {
        (void)asy_why_set(&why, err, "model", "The model `%.*s` does not exist.", (int)rest.n,
                          rest.p);
        gateway_respond_error(g, req, err, &why);
        return;
    }
    if (below(path, "/v1/settlement/", &rest)) {
        err = settlement(g, req, rest, &why);
    } else {
        struct asy_account *account = gateway_authenticate(g, req);
        if (account == NULL) {
            return;
        }
        err = get_own(g, req, path, account, &why);
    }
    if (err == ASY_OK) {
        gateway_respond(g, req, 200, asy_buf_bytes(&g->body));
    } else {
        gateway_respond_error(g, req, err, &why);
    }
}

static void route_admin(struct asy_gateway *g, struct asy_http_req *req, struct asy_bytes path) {
    struct asy_why why = {{0}, {0}};
    enum asy_err err;
    struct asy_bytes rest;
    uint64_t id;
    const char *method = asy_http_method(req);
    if (!gateway_is_admin(g, req)) {
        err = asy_why_set(&why, ASY_ERR_AUTH, NULL, "This route needs the admin token.");
    } else if (strcmp(method, "POST") == 0 && is(path, "/admin/keys")) {
        err = post_key(g, req, &why);
    } else if (strcmp(method, "DELETE") == 0 && below(path, "/admin/keys/", &rest) &&
               asy_bytes_to_u64(&id, rest) == ASY_OK) {
        err = asy_ledger_revoke_key(g->ledger, id);
        if (err == ASY_OK) {
            err = asy_buf_add_str(&g->body, "{\"deleted\":true}");
        }
    } else if (strcmp(method, "POST") == 0 && is(path, "/admin/settle")) {
        settle_now(g);
        err = asy_buf_add_str(&g->body, "{\"settling\":true}");
    } else {
        err = asy_why_set(&why, ASY_ERR_NOT_FOUND, NULL, "Unknown admin route.");
    }
    if (err == ASY_OK) {
        gateway_respond(g, req, 200, asy_buf_bytes(&g->body));
    } else {
        gateway_respond_error(g, req, err, &why);
    }
}

static void route_post(struct asy_gateway *g, struct asy_http_req *req, struct asy_bytes path) {
    struct asy_why why = {{0}, {0}};
    bool chat = is(path, "/v1/chat/completions");
    if (!chat && !is(path, "/v1/caps")) {
        enum asy_err err = asy_why_set(&why, ASY_ERR_NOT_FOUND, NULL, "Unknown route: POST %.*s",
                                       (int)path.n, path.p);
        gateway_respond_error(g, req, err, &why);
        return;
    }
    struct asy_account *account = gateway_authenticate(g, req);
    if (account == NULL) {
        return;
    }
    if (chat) {
        chat_start(g, req, account);
        return;
    }
    enum asy_err err = post_cap(g, req, account, &why);
    if (err == ASY_OK) {
        gateway_respond(g, req, 200, asy_buf_bytes(&g->body));
    } else {
        gateway_respond_error(g, req, err, &why);
    }
}

void gateway_on_request(void *arg, struct asy_http_req *req) {
    struct asy_gateway *g = arg;
    asy_metric_add(ASY_M_http_requests_total, 1);
    uint8_t random[16];
    asy_env_random(g->env, random, sizeof random);
    asy_hex_encode(g->request_id, random, sizeof random);
    asy_buf_clear(&g->body);
    struct asy_bytes path = asy_http_path(req), rest;
    const char *method = asy_http_method(req);
    if (below(path, "/admin/", &rest)) {
        route_admin(g, req, path);
    } else if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        route_get(g, req, path);
    } else if (strcmp(method, "POST") == 0) {
        route_post(g, req, path);
    } else {
        struct asy_why why;
        enum asy_err err = asy_why_set(&why, ASY_ERR_NOT_FOUND, NULL, "Unknown route: %s %.*s",
                                       method, (int)path.n, path.p);
        gateway_respond_error(g, req, err, &why);
    }
}

void gateway_on_gone(void *arg, struct asy_http_req *req) {
    (void)arg;
    struct job *job = asy_http_user(req);
    if (job != NULL) {
        chat_client_gone(job);
    }
}

void gateway_on_drain(void *arg, struct asy_http_req *req) {
    (void)arg;
    struct job *job = asy_http_user(req);
    if (job != NULL) {
        chat_client_drained(job);
    }
}
