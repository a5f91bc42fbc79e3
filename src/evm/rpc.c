/* rpc.c: JSON-RPC over HTTP with libcurl. A curl multi handle with one transfer in it, because its
 * wait can be woken by another thread. */
#include <curl/curl.h>
#include <stdatomic.h>

#include "evm/evm_priv.h"

#define MS             1000000u /* ns */
#define RETRY_FIRST_MS 100u
#define RETRY_MAX_MS   3000u

struct asy_evm {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    struct asy_evm_options options;
    atomic_bool cancelled;
    uint64_t next_id;
    struct asy_buf request, response;
    bool response_too_long;
    struct asy_evm_failure failure;
    char curl_error[CURL_ERROR_SIZE];
};

static size_t on_body(char *p, size_t size, size_t count, void *arg) {
    struct asy_evm *evm = arg;
    if (asy_buf_add(&evm->response, p, size * count) != ASY_OK) {
        evm->response_too_long = true;
        return 0;
    }
    return size * count;
}

static bool is_loopback(const char *host) {
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "[::1]") == 0;
}

/* Checks the URL; ret_loopback tells whether it stays on this machine. */
static enum asy_err check_url(bool *ret_loopback, const char *url, struct asy_why *reterr_why) {
    char *scheme = NULL, *host = NULL;
    CURLU *parts = curl_url();
    ASY_ASSERT(parts != NULL);
    bool good = strlen(url) <= ASY_MAX_URL &&
                curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK && host[0] != 0 &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    if (good) {
        *ret_loopback = is_loopback(host);
    }
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(parts);
    return good ? ASY_OK
                : asy_why_set(reterr_why, ASY_ERR_SYNTAX, "url", "not an http or https URL");
}

static bool set_up(struct asy_evm *evm, const char *url, bool loopback) {
    CURL *c = evm->easy;
    evm->headers = curl_slist_append(NULL, "Content-Type: application/json");
    struct curl_slist *more =
        evm->headers == NULL ? NULL : curl_slist_append(evm->headers, "Expect:");
    if (more == NULL) {
        return false;
    }
    return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTPHEADER, evm->headers) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_ERRORBUFFER, evm->curl_error) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEDATA, evm) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)evm->options.timeout_ms) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
           (!loopback || curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK);
}

enum asy_err asy_evm_new(struct asy_evm **ret_evm, const char *url,
                         const struct asy_evm_options *options, struct asy_why *reterr_why) {
    struct asy_evm_options o = options == NULL ? ASY_EVM_OPTIONS : *options;
    if (o.timeout_ms == 0 || o.timeout_ms > 600000 || o.retries > 10) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "options",
                           "timeout_ms is in [1, 600000], retries in [0, 10]");
    }
    bool loopback = false;
    ASY_TRY(check_url(&loopback, url, reterr_why));
    struct asy_evm *evm = asy_alloc(sizeof *evm);
    evm->options = o;
    asy_buf_init(&evm->request, ASY_MAX_RPC_BODY);
    asy_buf_init(&evm->response, ASY_MAX_RPC_BODY);
    evm->multi = curl_multi_init();
    evm->easy = curl_easy_init();
    if (evm->multi == NULL || evm->easy == NULL || !set_up(evm, url, loopback)) {
        asy_evm_free(evm);
        return asy_why_set(reterr_why, ASY_ERR_INTERNAL, NULL, "libcurl could not be set up");
    }
    *ret_evm = evm;
    return ASY_OK;
}

void asy_evm_free(struct asy_evm *evm) {
    if (evm == NULL) {
        return;
    }
    curl_easy_cleanup(evm->easy);
    curl_multi_cleanup(evm->multi);
    curl_slist_free_all(evm->headers);
    asy_buf_done(&evm->request);
    asy_buf_done(&evm->response);
    asy_free(evm);
}

void asy_evm_cancel(struct asy_evm *evm) {
    atomic_store(&evm->cancelled, true);
    (void)curl_multi_wakeup(evm->multi); /* fails only for lack of memory; the wait then ends by
                                            itself within a second */
}

static bool is_cancelled(struct asy_evm *evm) { return atomic_load(&evm->cancelled); }

static enum asy_err cancelled(struct asy_why *reterr_why) {
    return asy_why_set(reterr_why, ASY_ERR_CANCELLED, NULL, "the chain client is shutting down");
}

enum asy_err asy_evm_pause(struct asy_evm *evm, uint32_t ms) {
    const struct asy_env *env = asy_env_system();
    uint64_t now = asy_env_mono_ns(env), end = now + (uint64_t)ms * MS;
    while (!is_cancelled(evm) && now < end) {
        uint64_t left_ms = (end - now + MS - 1) / MS;
        (void)curl_multi_poll(evm->multi, NULL, 0, (int)(left_ms < 1000 ? left_ms : 1000),
                              NULL); /* early is fine: the loop looks */
        now = asy_env_mono_ns(env);
    }
    return is_cancelled(evm) ? ASY_ERR_CANCELLED : ASY_OK;
}

const struct asy_evm_failure *asy_evm_failure(const struct asy_evm *evm) { return &evm->failure; }

bool evm_is_unreachable(const struct asy_evm *evm) { return evm->failure.code == 0; }

/* ---- one exchange ---- */

/* Runs the transfer to its end. The easy handle keeps the connection between exchanges. */
static CURLcode transfer(struct asy_evm *evm) {
    CURLcode result = CURLE_ABORTED_BY_CALLBACK;
    if (curl_multi_add_handle(evm->multi, evm->easy) != CURLM_OK) {
        return CURLE_FAILED_INIT;
    }
    int running = 1;
    while (running > 0 && !is_cancelled(evm)) {
        if (curl_multi_perform(evm->multi, &running) != CURLM_OK ||
            (running > 0 && curl_multi_poll(evm->multi, NULL, 0, 1000, NULL) != CURLM_OK)) {
            result = CURLE_FAILED_INIT;
            break;
        }
    }
    int queued;
    for (CURLMsg *msg; (msg = curl_multi_info_read(evm->multi, &queued)) != NULL;) {
        if (msg->msg == CURLMSG_DONE) {
            result = msg->data.result;
        }
    }
    (void)curl_multi_remove_handle(evm->multi, evm->easy);
    return result;
}

static void set_message(struct asy_evm_failure *failure, struct asy_bytes text) {
    size_t n = 0;
    for (; n < text.n && n < sizeof failure->message - 1; n++) {
        failure->message[n] = text.p[n] >= 0x20 && text.p[n] < 0x7f ? (char)text.p[n] : '?';
    }
    failure->message[n] = 0;
}

/* Revert data is `data` itself, or in some servers an object with it inside. */
static void set_data(struct asy_evm_failure *failure, const struct asy_json *data) {
    struct asy_bytes text;
    if (asy_json_type(data) == ASY_JSON_OBJECT) {
        data = asy_json_get(data, "data");
    }
    if (asy_json_str(&text, data) != ASY_OK || text.n < 2) {
        return;
    }
    size_t len = (text.n - 2) / 2;
    if (len > sizeof failure->data) {
        len = sizeof failure->data;
    }
    if (asy_0x_decode(failure->data, len, asy_bytes_of(text.p, 2 + 2 * len)) == ASY_OK) {
        failure->data_len = len;
    }
}

static bool is_revert(const struct asy_evm_failure *failure) {
    /* Code 3 is what all servers that give the data use; others only say so. */
    return failure->code == 3 || strstr(failure->message, "revert") != NULL;
}

static enum asy_err refuse(struct asy_evm_failure *failure, const struct asy_json *error,
                           struct asy_why *reterr_why) {
    struct asy_bytes message;
    if (asy_json_i64(&failure->code, asy_json_get(error, "code")) != ASY_OK ||
        asy_json_str(&message, asy_json_get(error, "message")) != ASY_OK) {
        return asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL, "the endpoint sent a malformed error");
    }
    set_message(failure, message);
    if (asy_json_get(error, "data") != NULL) {
        set_data(failure, asy_json_get(error, "data"));
    }
    if (is_revert(failure)) {
        char text[200];
        asy_evm_revert_text(text, sizeof text, asy_bytes_of(failure->data, failure->data_len));
        return asy_why_set(reterr_why, ASY_ERR_REVERTED, NULL, "reverted: %s",
                           failure->data_len > 0 ? text : failure->message);
    }
    return asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL, "the endpoint answered error %lld: %s",
                       (long long)failure->code, failure->message);
}

enum asy_err evm_response_parse(struct asy_json **ret_doc, const struct asy_json **ret_result,
                                struct asy_evm_failure *failure, struct asy_bytes body, uint64_t id,
                                struct asy_why *reterr_why) {
    struct asy_json *doc;
    struct asy_why why = {0};
    if (asy_json_parse(&doc, body, ASY_MAX_JSON_DEPTH, &why) != ASY_OK) {
        return asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL,
                           "the endpoint did not answer with JSON: %s", why.text);
    }
    uint64_t got_id;
    const struct asy_json *error = asy_json_get(doc, "error"),
                          *result = asy_json_get(doc, "result");
    enum asy_err err = ASY_OK;
    if (asy_json_type(doc) != ASY_JSON_OBJECT) {
        err = asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL,
                          "the endpoint did not answer with a JSON-RPC response");
    } else if (!asy_json_is_null(error)) {
        err = refuse(failure, error,
                     reterr_why); /* its id may be null: the server could not read the request */
    } else if (result == NULL || asy_json_u64(&got_id, asy_json_get(doc, "id")) != ASY_OK ||
               got_id != id) {
        err = asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL,
                          "the endpoint's answer has no result, or another request's id");
    }
    if (err != ASY_OK) {
        asy_json_free(doc);
        return err;
    }
    *ret_doc = doc;
    *ret_result = result;
    return ASY_OK;
}

/* Some servers put the bytes of a revert into the message as text, zeros too, which our JSON
 * refuses. A question mark has the same length. */
static void mend_zeros(struct asy_buf *body) {
    if (body->n == 0) {
        return;
    }
    uint8_t *end = body->p + body->n;
    for (uint8_t *p = body->p; p < end && (p = memchr(p, '\\', (size_t)(end - p))) != NULL;
         p += 2) {
        if (end - p >= 6 && memcmp(p, "\\u0000", 6) == 0) {
            memcpy(p, "\\u003f", 6);
        }
    }
}

/* One try. ret_again: whether another one may help. */
static enum asy_err exchange(struct asy_evm *evm, struct asy_json **ret_doc,
                             const struct asy_json **ret_result, bool *ret_again,
                             struct asy_why *reterr_why) {
    asy_buf_clear(&evm->response);
    evm->response_too_long = false;
    evm->curl_error[0] = 0;
    evm->failure = (struct asy_evm_failure){0};
    *ret_again = false;
    if (curl_easy_setopt(evm->easy, CURLOPT_POSTFIELDS, asy_buf_cstr(&evm->request)) != CURLE_OK ||
        curl_easy_setopt(evm->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)evm->request.n) !=
            CURLE_OK) {
        return asy_why_set(reterr_why, ASY_ERR_INTERNAL, NULL, "libcurl could not be set up");
    }
    asy_metric_add(ASY_M_rpc_requests_total, 1);
    CURLcode code = transfer(evm);
    if (is_cancelled(evm)) {
        return cancelled(reterr_why);
    }
    if (evm->response_too_long) {
        return asy_why_set(reterr_why, ASY_ERR_TOO_LONG, NULL,
                           "the endpoint's answer is longer than %u bytes", ASY_MAX_RPC_BODY);
    }
    if (code != CURLE_OK) {
        *ret_again = true;
        const char *text = evm->curl_error[0] != 0 ? evm->curl_error : curl_easy_strerror(code);
        set_message(&evm->failure, asy_bytes_cstr(text));
        return asy_why_set(reterr_why,
                           code == CURLE_OPERATION_TIMEDOUT ? ASY_ERR_TIMEOUT : ASY_ERR_CHAIN, NULL,
                           "the endpoint cannot be reached: %s", evm->failure.message);
    }
    long status = 0;
    (void)curl_easy_getinfo(evm->easy, CURLINFO_RESPONSE_CODE,
                            &status); /* fails only for an unknown name */
    evm->failure.http_status = (int)status;
    if (status == 429 || status >= 500) {
        *ret_again = true;
        return asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL,
                           "the endpoint answered with HTTP status %ld", status);
    }
    mend_zeros(&evm->response);
    /* Some servers answer a JSON-RPC error with status 4xx: the body tells more, when it is one. */
    enum asy_err err = evm_response_parse(ret_doc, ret_result, &evm->failure,
                                          asy_buf_bytes(&evm->response), evm->next_id, reterr_why);
    if (err != ASY_OK && evm->failure.code == 0 && status != 200) {
        return asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL,
                           "the endpoint answered with HTTP status %ld", status);
    }
    return err;
}

enum asy_err asy_evm_request(struct asy_evm *evm, struct asy_json **ret_doc,
                             const struct asy_json **ret_result, const char *method,
                             struct asy_bytes params, struct asy_why *reterr_why) {
    struct asy_jw w;
    asy_buf_clear(&evm->request);
    asy_jw_init(&w, &evm->request);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "jsonrpc", "2.0");
    asy_jw_kv_u64(&w, "id", ++evm->next_id);
    asy_jw_kv_cstr(&w, "method", method);
    asy_jw_key(&w, "params");
    asy_jw_raw(&w, params);
    asy_jw_end(&w);
    ASY_TRY(asy_jw_finish(&w));
    uint32_t wait_ms = RETRY_FIRST_MS;
    for (uint32_t tries = 0;; tries++) {
        if (is_cancelled(evm)) {
            return cancelled(reterr_why);
        }
        bool again;
        enum asy_err err = exchange(evm, ret_doc, ret_result, &again, reterr_why);
        if (err == ASY_OK) {
            return ASY_OK;
        }
        asy_metric_add(ASY_M_rpc_errors_total, 1);
        if (!again || tries == evm->options.retries) {
            return err;
        }
        if (asy_evm_pause(evm, wait_ms) != ASY_OK) {
            return cancelled(reterr_why);
        }
        wait_ms = wait_ms * 2 < RETRY_MAX_MS ? wait_ms * 2 : RETRY_MAX_MS;
    }
}

enum asy_err evm_request_only(struct asy_evm *evm, const char *method, struct asy_bytes params,
                              struct asy_why *reterr_why) {
    struct asy_json *doc;
    const struct asy_json *result;
    ASY_TRY(asy_evm_request(evm, &doc, &result, method, params, reterr_why));
    asy_json_free(doc);
    return ASY_OK;
}

enum asy_err evm_request_u128(struct asy_evm *evm, asy_u128 *ret_value, const char *method,
                              struct asy_bytes params, struct asy_why *reterr_why) {
    struct asy_json *doc;
    const struct asy_json *result;
    ASY_TRY(asy_evm_request(evm, &doc, &result, method, params, reterr_why));
    struct asy_bytes text;
    enum asy_err err = asy_json_str(&text, result);
    if (err == ASY_OK) {
        err = asy_quantity_parse_u128(ret_value, text);
    }
    asy_json_free(doc);
    if (err == ASY_ERR_OVERFLOW) {
        return asy_why_set(reterr_why, err, NULL, "%s: the number is above 128 bits", method);
    }
    return err == ASY_OK ? ASY_OK
                         : asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL,
                                       "%s: the endpoint did not answer with a number", method);
}
