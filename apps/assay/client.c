/* client.c: HTTP to a gateway, and the commands that show what it knows: models, nodes, jobs, job,
 * receipt, credit, usage, admin. */
#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "assay_priv.h"
#include "client_priv.h"
#include "exact_priv.h"
#include "money/money.h"

/* ---- HTTP ------------------------------------------------------------------------------------ */

enum { CONNECT_S = 10, SILENCE_S = 120 };

static atomic_bool cancelled;

void client_cancel(void) { atomic_store(&cancelled, true); }
bool client_cancelled(void) { return atomic_load(&cancelled); }

void client_response_done(struct client_response *response) { asy_buf_done(&response->body); }

struct fetch {
    CURL *curl;
    struct client_response *ret;
    client_chunk_fn on_chunk;
    void *arg;
    enum asy_err err; /* of taking the body */
};

static void copy_value(char *to, size_t cap, const char *from, size_t len) {
    (void)snprintf(to, cap, "%.*s", (int)(len < cap ? len : cap - 1), from);
}

static size_t on_header(char *p, size_t size, size_t count, void *arg) {
    struct client_response *r = ((struct fetch *)arg)->ret;
    size_t n = size * count, end = n;
    const char *colon = memchr(p, ':', n);
    if (colon == NULL) {
        return n;
    }
    size_t name = (size_t)(colon - p), at = name + 1;
    while (at < end && p[at] == ' ') {
        at++;
    }
    while (end > at && (p[end - 1] == '\r' || p[end - 1] == '\n' || p[end - 1] == ' ')) {
        end--;
    }
    if (name == 12 && strncasecmp(p, "x-request-id", name) == 0) {
        copy_value(r->request_id, sizeof r->request_id, p + at, end - at);
    } else if (name == 14 && strncasecmp(p, "x-assay-job-id", name) == 0) {
        copy_value(r->job_id, sizeof r->job_id, p + at, end - at);
    } else if (name == 11 && strncasecmp(p, "retry-after", name) == 0) {
        uint64_t s;
        if (asy_bytes_to_u64(&s, asy_bytes_of(p + at, end - at)) == ASY_OK && s <= UINT32_MAX) {
            r->retry_after_s = (uint32_t)s;
        }
    }
    return n;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg) {
    struct fetch *f = arg;
    long status = 0;
    (void)curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    struct asy_bytes chunk = asy_bytes_of(p, size * count);
    f->err = f->on_chunk != NULL && status == 200 ? f->on_chunk(f->arg, chunk)
                                                  : asy_buf_add_bytes(&f->ret->body, chunk);
    return f->err == ASY_OK ? chunk.n : 0;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)arg, (void)a, (void)b, (void)c, (void)d;
    return atomic_load(&cancelled) ? 1 : 0;
}

static bool is_loopback(const char *url) {
    char *host = NULL;
    CURLU *parts = curl_url();
    ASY_ASSERT(parts != NULL);
    bool loopback = curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                    curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                    (strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
                     strcmp(host, "[::1]") == 0);
    curl_free(host);
    curl_url_cleanup(parts);
    return loopback;
}

static bool set_up(struct fetch *f, const char *method, const char *url,
                   const struct curl_slist *headers, struct asy_bytes body, char *error) {
    CURL *c = f->curl;
    bool has_body = body.n != 0 || strcmp(method, "POST") == 0;
    return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           (!is_loopback(url) || curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK) &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK &&
           (!has_body ||
            (curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n) == CURLE_OK &&
             curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.n != 0 ? (const char *)body.p : "") ==
                 CURLE_OK)) &&
           curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HEADERDATA, f) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEDATA, f) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_S) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error) == CURLE_OK;
}

static enum asy_err fetch_error(const struct fetch *f, CURLcode code, const char *error,
                                struct asy_why *why) {
    const char *text = error[0] != '\0' ? error : curl_easy_strerror(code);
    if (f->err == ASY_ERR_TOO_LONG && f->on_chunk == NULL) {
        return asy_why_set(why, f->err, NULL, "the answer is longer than %u bytes",
                           ASY_MAX_RESPONSE);
    }
    if (f->err != ASY_OK) {
        return f->err;
    }
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        return asy_why_set(why, ASY_ERR_CANCELLED, NULL, "cancelled");
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return asy_why_set(why, ASY_ERR_TIMEOUT, NULL, "%.200s", text);
    }
    bool bad_url = code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
    return asy_why_set(why, bad_url ? ASY_ERR_SYNTAX : ASY_ERR_CLOSED, NULL, "%.200s", text);
}

/* The list takes a copy of the line; NULL is only what a lack of memory gives. */
static struct curl_slist *add_header(struct curl_slist *list, const char *line) {
    list = curl_slist_append(list, line);
    ASY_ASSERT(list != NULL);
    return list;
}

enum asy_err client_fetch(struct client_response *ret, const char *method, const char *url,
                          const char *bearer, struct asy_bytes body, client_chunk_fn on_chunk,
                          void *arg, struct asy_why *reterr_why) {
    char error[CURL_ERROR_SIZE] = "", auth[1024];
    struct curl_slist *headers = add_header(NULL, "Expect:"); /* no 100-continue: one trip */
    *ret = (struct client_response){0};
    asy_buf_init(&ret->body, ASY_MAX_RESPONSE);
    struct fetch f = {.curl = curl_easy_init(), .ret = ret, .on_chunk = on_chunk, .arg = arg};
    ASY_ASSERT(f.curl != NULL);
    if (body.n != 0) {
        headers = add_header(headers, "Content-Type: application/json");
    }
    if (bearer != NULL) {
        (void)snprintf(auth, sizeof auth, "Authorization: Bearer %s", bearer);
        headers = add_header(headers, auth);
        asy_secret_wipe(auth, sizeof auth);
    }
    CURLcode code = CURLE_FAILED_INIT;
    if (set_up(&f, method, url, headers, body, error)) {
        code = curl_easy_perform(f.curl);
    }
    long status = 0;
    (void)curl_easy_getinfo(f.curl, CURLINFO_RESPONSE_CODE, &status);
    ret->status = (int)status;
    enum asy_err err = code == CURLE_OK ? ASY_OK : fetch_error(&f, code, error, reterr_why);
    curl_easy_cleanup(f.curl);
    curl_slist_free_all(headers);
    if (err != ASY_OK) {
        client_response_done(ret);
    }
    return err;
}

/* ---- options --------------------------------------------------------------------------------- */

int client_usage(const char *name, const char *fmt, ...) {
    va_list args;
    fprintf(stderr, "assay %s: ", name);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "; `assay %s --help` tells more\n", name);
    return 2;
}

int client_option(int argc, char **argv, const char *name, const char *help, const char *shorts,
                  const struct option *options) {
    char spec[32];
    (void)snprintf(spec, sizeof spec, ":h%s", shorts);
    opterr = 0;
    int o = getopt_long(argc, argv, spec, options, NULL);
    if (o == 'h' || o == OPT_HELP) {
        fputs(help, stdout);
        return OPT_HELP;
    }
    if (o == ':' || o == '?') {
        (void)client_usage(name, o == ':' ? "%s needs a value" : "there is no option %s",
                           argv[optind - 1]);
        return OPT_BAD;
    }
    return o;
}

/* ---- a gateway ------------------------------------------------------------------------------- */

bool client_common(struct client *c, int option) {
    switch (option) {
    case OPT_BASE_URL:
        c->base_url = optarg;
        return true;
    case OPT_KEY_FILE:
        c->key_file = optarg;
        return true;
    case OPT_JSON:
        c->json = true;
        return true;
    default:
        return false;
    }
}

bool client_open(struct client *c, bool key_is_needed) {
    struct asy_why why = {{0}, {0}};
    const char *url = c->base_url != NULL ? c->base_url : getenv("ASSAY_BASE_URL");
    const char *key = getenv("ASSAY_API_KEY");
    url = url != NULL && url[0] != '\0' ? url : CLIENT_BASE_URL;
    size_t len = strlen(url);
    while (len != 0 && url[len - 1] == '/') {
        len--;
    }
    len -= len >= 3 && memcmp(url + len - 3, "/v1", 3) == 0 ? 3 : 0;
    asy_buf_init(&c->key, 512);
    if (len == 0 || len >= sizeof c->root) {
        (void)client_usage(c->name, "the base URL is empty or too long");
        return false;
    }
    (void)snprintf(c->root, sizeof c->root, "%.*s", (int)len, url);
    enum asy_err err = ASY_OK;
    if (c->key_file != NULL) {
        err = app_read_file(&c->key, c->key_file, true, &why);
    } else if (key != NULL) {
        err = asy_buf_add_str(&c->key, key);
    }
    if (err != ASY_OK) {
        (void)app_fail(c->name, err, &why);
        return false;
    }
    for (size_t i = 0; i < c->key.n; i++) {
        if (c->key.p[i] <= ' ' || c->key.p[i] >= 0x7f) {
            (void)client_usage(c->name, "the key is not one word of printable ASCII");
            return false;
        }
    }
    if (key_is_needed && c->key.n == 0) {
        (void)client_usage(c->name, "no API key; set ASSAY_API_KEY, or name a file that holds it "
                                    "with --api-key-file");
        return false;
    }
    return true;
}

void client_done(struct client *c) {
    if (c->key.p != NULL) {
        asy_secret_wipe(c->key.p, c->key.n);
    }
    asy_buf_done(&c->key);
}

/* What a person can do about an answer. NULL: the message says it all. */
static const char *hint_for(int status, const char *code) {
    if (strcmp(code, "model_not_found") == 0) {
        return "`assay models` lists what is served now.";
    }
    switch (status) {
    case 401:
        return "Give a valid key: ASSAY_API_KEY, or --api-key-file. `assay admin key ACCOUNT` "
               "issues one.";
    case 402:
        return "`assay credit` shows what is left; `assay wallet deposit` adds money, `assay "
               "wallet "
               "sign-cap` raises the cap.";
    case 403:
        return "This key may not do that.";
    case 404:
        return "`assay jobs` lists the jobs of your key.";
    case 413:
        return "Send less: a shorter prompt.";
    case 429:
        return "Slow down, then try again.";
    case 503:
        return "`assay nodes` shows who is there; try again in a moment.";
    default:
        return status >= 500 ? "The gateway's log says more; the request can be repeated." : NULL;
    }
}

/* An answer that was cut off ends its line, so that what is said next has one of its own. */
void client_end_line(struct client *c) {
    if (c->mid_line) {
        (void)putchar('\n');
        (void)fflush(stdout);
        c->mid_line = false;
    }
}

/* The message of an OpenAI error document, and what to do. */
void client_error(struct client *c, int status, uint32_t retry_after_s, struct asy_bytes body) {
    struct asy_json *doc = NULL;
    char message[512] = "", code[64] = "";
    client_end_line(c);
    if (asy_json_parse(&doc, body, ASY_MAX_JSON_DEPTH, NULL) == ASY_OK) {
        const struct asy_json *e = asy_json_get(doc, "error");
        if (e != NULL) {
            (void)client_text(message, sizeof message, e, "message");
            (void)client_text(code, sizeof code, e, "code");
        }
    }
    asy_json_free(doc);
    if (message[0] == '\0') {
        fprintf(stderr,
                "assay %s: HTTP %d, which is no answer of a gateway\n  Is %s the base URL?\n",
                c->name, status, c->root);
        return;
    }
    fprintf(stderr, "assay %s: %s (%s)\n", c->name, message, code);
    bool admin = status == 401 && strcmp(c->name, "admin") == 0;
    const char *hint =
        admin ? "Give the token that the gateway was started with." : hint_for(status, code);
    if (retry_after_s != 0) {
        fprintf(stderr, "  Try again in %u s.\n", retry_after_s);
    }
    if (hint != NULL) {
        fprintf(stderr, "  %s\n", hint);
    }
}

static void print_failure(struct client *c, enum asy_err err, const struct asy_why *why) {
    client_end_line(c);
    (void)app_fail(c->name, err, why);
    if (err == ASY_ERR_CLOSED) {
        fprintf(stderr,
                "  Is a gateway there? Asked: %s. `assay up` starts one here; --base-url or "
                "ASSAY_BASE_URL name another.\n",
                c->root);
    }
}

bool client_exchange(struct client *c, struct client_response *ret, const char *method,
                     const char *path, struct asy_bytes body, client_chunk_fn on_chunk, void *arg) {
    char url[ASY_MAX_URL + 200];
    struct asy_why why = {{0}, {0}};
    (void)snprintf(url, sizeof url, "%s%s", c->root, path);
    enum asy_err err = client_fetch(ret, method, url, c->key.n != 0 ? asy_buf_cstr(&c->key) : NULL,
                                    body, on_chunk, arg, &why);
    if (err != ASY_OK) {
        print_failure(c, err, &why);
        return false;
    }
    if (ret->status != 200) {
        client_error(c, ret->status, ret->retry_after_s, asy_buf_bytes(&ret->body));
        client_response_done(ret);
        return false;
    }
    return true;
}

bool client_get(struct client *c, struct client_response *ret, const char *path) {
    return client_exchange(c, ret, "GET", path, (struct asy_bytes){0}, NULL, NULL);
}

bool client_post(struct client *c, struct client_response *ret, const char *path,
                 struct asy_bytes body) {
    return client_exchange(c, ret, "POST", path, body, NULL, NULL);
}

/* ---- printing -------------------------------------------------------------------------------- */

const char *client_text(char *ret_text, size_t cap, const struct asy_json *obj, const char *key) {
    struct asy_bytes s;
    if (asy_json_str(&s, asy_json_get(obj, key)) != ASY_OK || s.n == 0) {
        (void)snprintf(ret_text, cap, "-");
        return ret_text;
    }
    size_t n = s.n < cap ? s.n : asy_utf8_whole(asy_bytes_of(s.p, cap - 1));
    for (size_t i = 0; i < n; i++) {
        bool c1 = s.p[i] == 0xc2 && i + 1 < n && s.p[i + 1] < 0xa0; /* U+0080 to U+009F */
        ret_text[i] = s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : (char)s.p[i];
        if (c1) {
            ret_text[i] = ret_text[i + 1] = '?';
            i++;
        }
    }
    ret_text[n] = '\0';
    return ret_text;
}

void client_print(struct asy_bytes text) {
    bool terminal = isatty(STDOUT_FILENO) == 1;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t b = text.p[i];
        bool control = (b < ' ' && b != '\n' && b != '\t') || b == 0x7f;
        bool c1 = b == 0xc2 && i + 1 < text.n && text.p[i + 1] < 0xa0;
        if (terminal && (control || c1)) {
            (void)putchar('?');
            i += c1;
        } else {
            (void)putchar(b);
        }
    }
    (void)fflush(stdout);
}

void client_print_json(struct asy_bytes json) {
    (void)fwrite(json.p, 1, json.n, stdout);
    (void)putchar('\n');
}

uint64_t client_number(const struct asy_json *obj, const char *key) {
    uint64_t v; /* a missing number prints as 0 */
    return asy_json_u64(&v, asy_json_get(obj, key)) == ASY_OK ? v : 0;
}

static bool flag(const struct asy_json *obj, const char *key) {
    bool v;
    return asy_json_bool(&v, asy_json_get(obj, key)) == ASY_OK && v;
}

/* Unix ms as local time, or "-". */
static void time_text(char *ret_text, size_t cap, uint64_t ms) {
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    if (ms == 0 || localtime_r(&s, &tm) == NULL || strftime(ret_text, cap, "%F %T", &tm) == 0) {
        (void)snprintf(ret_text, cap, "-");
    }
}

/* USD per token, as documents have it, in USD per million, as people have it. */
static void price_text(char ret_text[ASY_USD_STR], const struct asy_json *obj, const char *key) {
    char text[ASY_USD_STR];
    struct asy_usd price, million;
    if (asy_usd_parse(&price, asy_bytes_cstr(client_text(text, sizeof text, obj, key))) == ASY_OK &&
        asy_price_to_million(&million, price) == ASY_OK) {
        asy_usd_format(ret_text, million);
    } else {
        (void)snprintf(ret_text, ASY_USD_STR, "-");
    }
}

/* Scalars of an object, one a line: what a document says where no table fits. */
static void print_members(const struct asy_json *obj) {
    struct asy_json_iter it = {obj, NULL};
    struct asy_bytes key;
    const struct asy_json *v;
    while (asy_json_next(&it, &key, &v)) {
        char name[64], text[400];
        uint64_t n;
        bool b;
        (void)snprintf(name, sizeof name, "%.*s", (int)(key.n < 63 ? key.n : 63), key.p);
        if (asy_json_u64(&n, v) == ASY_OK) {
            size_t len = strlen(name);
            if (len > 3 && strcmp(name + len - 3, "_ms") == 0) {
                time_text(text, sizeof text, n);
                printf("%-18.*s %s\n", (int)(len - 3), name, text);
            } else {
                printf("%-18s %llu\n", name, (unsigned long long)n);
            }
        } else if (asy_json_bool(&b, v) == ASY_OK) {
            printf("%-18s %s\n", name, b ? "yes" : "no");
        } else if (asy_json_type(v) == ASY_JSON_STR) {
            printf("%-18s %s\n", name, client_text(text, sizeof text, obj, name));
        }
    }
}

/* ---- commands that show one document --------------------------------------------------------- */

bool client_parse(struct client *c, struct asy_json **ret_doc, const struct client_response *r) {
    struct asy_why why = {{0}, {0}};
    enum asy_err err = asy_json_parse(ret_doc, asy_buf_bytes(&r->body), ASY_MAX_JSON_DEPTH, &why);
    if (err != ASY_OK) {
        (void)app_fail(c->name, err, &why);
    }
    return err == ASY_OK;
}

/* Fetches path and prints it: raw, or by `print`. */
static int show(struct client *c, const char *path, void (*print)(const struct asy_json *doc)) {
    struct client_response r;
    struct asy_json *doc;
    if (!client_get(c, &r, path)) {
        return 1;
    }
    bool ok = client_parse(c, &doc, &r);
    if (ok && c->json) {
        client_print_json(asy_buf_bytes(&r.body));
    } else if (ok) {
        print(doc);
    }
    if (ok) {
        asy_json_free(doc);
    }
    client_response_done(&r);
    return ok ? 0 : 1;
}

/* A command without words or options of its own. */
static int plain(int argc, char **argv, const char *help, const char *path, bool needs_key,
                 void (*print)(const struct asy_json *doc)) {
    static const struct option options[] = {CLIENT_OPTIONS};
    struct client c = {.name = argv[0]};
    for (int o; (o = client_option(argc, argv, c.name, help, "", options)) != -1;) {
        if (!client_common(&c, o)) {
            return o == OPT_HELP ? 0 : 2;
        }
    }
    if (optind != argc) {
        return client_usage(c.name, "`%s` is one word too many", argv[optind]);
    }
    int rc = client_open(&c, needs_key) ? show(&c, path, print) : 2;
    client_done(&c);
    return rc;
}

static void print_models(const struct asy_json *doc) {
    const struct asy_json *list = asy_json_get(doc, "data");
    if (asy_json_len(list) == 0) {
        printf("No node serves a model now; `assay nodes` shows who is connected.\n");
        return;
    }
    printf("%-36s %8s %6s %14s %14s  %s\n", "MODEL", "CONTEXT", "NODES", "USD/M IN", "USD/M OUT",
           "ENGINE");
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *m = asy_json_at(list, i), *a = asy_json_get(m, "assay");
        const struct asy_json *p = asy_json_get(m, "pricing");
        char id[ASY_MAX_NAME + 1], engine[64], in[ASY_USD_STR], out[ASY_USD_STR];
        price_text(in, p, "prompt");
        price_text(out, p, "completion");
        printf("%-36s %8llu %6llu %14s %14s  %s\n", client_text(id, sizeof id, m, "id"),
               (unsigned long long)client_number(m, "context_length"),
               (unsigned long long)client_number(a, "nodes"), in, out,
               client_text(engine, sizeof engine, a, "engine"));
    }
}

int cmd_models(int argc, char **argv) {
    static const char help[] =
        "usage: assay models [--json]\n"
        "       assay models convert IN.gguf OUT [...]\n"
        "       assay models report IN.gguf MODEL [...]\n"
        "       assay models check MODEL [...]\n"
        "       assay models manifest FILE --name NAME [...]\n\n"
        "Lists the models that can be asked now. Prices are the lowest live offers, in USD per\n"
        "million tokens; a request may be matched with a dearer node, never above your "
        "cap.\n\n" CLIENT_HELP "\nAsk one: assay chat --model NAME \"Hello\"\n"
        "`convert` makes a model of the exact engine, `report` measures it, `check` says whether "
        "one\n"
        "is whole, `manifest` prints what a file is named by; their own --help tells more.\n";
    if (argc > 1 && strcmp(argv[1], "convert") == 0) {
        return cmd_models_convert(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "report") == 0) {
        return cmd_models_report(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "check") == 0) {
        return cmd_models_check(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "manifest") == 0) {
        return cmd_models_manifest(argc - 1, argv + 1);
    }
    return plain(argc, argv, help, "/v1/models", false, print_models);
}

static void print_nodes(const struct asy_json *doc) {
    const struct asy_json *list = asy_json_get(doc, "data");
    if (asy_json_len(list) == 0) {
        printf("No node is connected.\n");
        return;
    }
    printf("%-42s %-5s %9s %9s %7s %7s  %s\n", "NODE", "READY", "RUNNING", "TTFT ms", "DONE",
           "FAILED", "MODELS");
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *n = asy_json_at(list, i), *models = asy_json_get(n, "models");
        char address[64], name[ASY_MAX_NAME + 1], load[48];
        (void)snprintf(load, sizeof load, "%llu/%llu",
                       (unsigned long long)client_number(n, "running"),
                       (unsigned long long)client_number(n, "slots"));
        uint64_t us = client_number(n, "first_token_us");
        printf("%-42s %-5s %9s %5llu.%03llu %7llu %7llu  ",
               client_text(address, sizeof address, n, "address"), flag(n, "ready") ? "yes" : "no",
               load, (unsigned long long)(us / 1000), (unsigned long long)(us % 1000),
               (unsigned long long)client_number(n, "jobs_done"),
               (unsigned long long)client_number(n, "jobs_failed"));
        for (size_t k = 0; k < asy_json_len(models); k++) {
            printf("%s%s", k != 0 ? ", " : "",
                   client_text(name, sizeof name, asy_json_at(models, k), "name"));
        }
        printf("\n");
    }
}

int cmd_nodes(int argc, char **argv) {
    static const char help[] =
        "usage: assay nodes [--json]\n\n"
        "Lists the nodes that are connected to the gateway: their load, the usual time to their\n"
        "first token, what they have done, and what they serve. --json tells prices "
        "too.\n\n" CLIENT_HELP;
    return plain(argc, argv, help, "/v1/nodes", false, print_nodes);
}

static void print_usage(const struct asy_json *doc) {
    char spent[ASY_USD_STR];
    printf("%llu jobs, %llu prompt tokens, %llu completion tokens: %s USD\n",
           (unsigned long long)client_number(doc, "jobs"),
           (unsigned long long)client_number(doc, "prompt_tokens"),
           (unsigned long long)client_number(doc, "completion_tokens"),
           client_text(spent, sizeof spent, doc, "spent"));
}

int cmd_usage(int argc, char **argv) {
    static const char help[] =
        "usage: assay usage [--json]\n\n"
        "What your account has used at this gateway, over its life.\n\n" CLIENT_HELP;
    return plain(argc, argv, help, "/v1/usage", true, print_usage);
}

/* Pico-units, as caps have them, in USD. */
static void pico_text(char ret_text[ASY_USD_STR], const struct asy_json *obj, const char *key,
                      bool per_million) {
    struct asy_bytes s;
    struct asy_usd usd;
    if (asy_json_str(&s, asy_json_get(obj, key)) == ASY_OK &&
        asy_u128_parse(&usd.pico, s) == ASY_OK &&
        (!per_million || asy_price_to_million(&usd, usd) == ASY_OK)) {
        asy_usd_format(ret_text, usd);
    } else {
        (void)snprintf(ret_text, ASY_USD_STR, "-");
    }
}

static void print_credit(const struct asy_json *doc) {
    static const struct {
        const char *key, *text;
    } rows[] = {
        {"headroom", "can be spent now"},
        {"reserved", "set aside for running jobs"},
        {"spent", "spent so far"},
        {"funded", "ever moved into the lane"},
        {"free", "in the vault, not in a lane"},
    };
    char text[128], usd[ASY_USD_STR];
    printf("account %s, lane %llu\n", client_text(text, sizeof text, doc, "account"),
           (unsigned long long)client_number(doc, "lane"));
    for (size_t i = 0; i < ASY_COUNT(rows); i++) {
        printf("  %18s USD  %s\n", client_text(usd, sizeof usd, doc, rows[i].key), rows[i].text);
    }
    const struct asy_json *cap = asy_json_get(doc, "cap");
    if (asy_json_is_null(cap)) {
        printf("No spending cap is registered; `assay wallet sign-cap --register` does it.\n");
        return;
    }
    time_text(text, sizeof text, client_number(cap, "deadline") * 1000);
    pico_text(usd, cap, "maxSpend", false);
    printf("cap, nonce %llu, until %s%s\n  %18s USD  over its life\n",
           (unsigned long long)client_number(cap, "nonce"), text,
           flag(doc, "cap_open") ? "" : ", not on chain yet", usd);
    pico_text(usd, cap, "maxLocked", false);
    printf("  %18s USD  in the lane at any time\n", usd);
    pico_text(usd, cap, "maxPriceIn", true);
    printf("  %18s USD  per million tokens in\n", usd);
    pico_text(usd, cap, "maxPriceOut", true);
    printf("  %18s USD  per million tokens out\n", usd);
    if (client_number(doc, "closes_at") != 0) {
        time_text(text, sizeof text, client_number(doc, "closes_at") * 1000);
        printf("The lane is closing: %s.\n", text);
    }
}

int cmd_credit(int argc, char **argv) {
    static const char help[] =
        "usage: assay credit [--json]\n\n"
        "What is left of your money at this gateway. Money moves from the vault into your lane as\n"
        "the cap that you signed allows; a request needs room for its worst case in the "
        "lane.\n\n" CLIENT_HELP
        "\nMore room: assay wallet deposit, assay wallet sign-cap --register URL\n";
    return plain(argc, argv, help, "/v1/credit", true, print_credit);
}

static void print_jobs(const struct asy_json *doc) {
    const struct asy_json *list = asy_json_get(doc, "data");
    if (asy_json_len(list) == 0) {
        printf("No jobs yet. The first: assay chat \"Hello\"\n");
        return;
    }
    printf("%-66s %-19s %-8s %7s %7s %14s  %s\n", "JOB", "BEGAN", "STATUS", "IN", "OUT", "USD",
           "MODEL");
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *j = asy_json_at(list, i);
        char id[80], began[32], status[16], usd[ASY_USD_STR], model[ASY_MAX_NAME + 1];
        time_text(began, sizeof began, client_number(j, "created_ms"));
        printf("%-66s %-19s %-8s %7llu %7llu %14s  %s\n", client_text(id, sizeof id, j, "id"),
               began, client_text(status, sizeof status, j, "status"),
               (unsigned long long)client_number(j, "prompt_tokens"),
               (unsigned long long)client_number(j, "completion_tokens"),
               client_text(usd, sizeof usd, j, "amount"),
               client_text(model, sizeof model, j, "model"));
    }
}

int cmd_jobs(int argc, char **argv) {
    static const char help[] =
        "usage: assay jobs [--limit N] [--json]\n\n"
        "Lists the jobs of your account, newest first.\n\n"
        "  --limit N            at most N of them, up to 200; default 20\n" CLIENT_HELP
        "\nMore about one: assay job ID, assay receipt ID --verify\n";
    static const struct option options[] = {{"limit", required_argument, NULL, OPT_OWN},
                                            CLIENT_OPTIONS};
    struct client c = {.name = argv[0]};
    uint64_t limit = 20;
    for (int o; (o = client_option(argc, argv, c.name, help, "", options)) != -1;) {
        if (o == OPT_OWN) {
            if (asy_bytes_to_u64(&limit, asy_bytes_cstr(optarg)) != ASY_OK || limit == 0 ||
                limit > ASY_MAX_PAGE) {
                return client_usage(c.name, "--limit takes 1 to %u", ASY_MAX_PAGE);
            }
        } else if (!client_common(&c, o)) {
            return o == OPT_HELP ? 0 : 2;
        }
    }
    if (optind != argc) {
        return client_usage(c.name, "`%s` is one word too many", argv[optind]);
    }
    char path[64];
    (void)snprintf(path, sizeof path, "/v1/jobs?limit=%llu", (unsigned long long)limit);
    int rc = client_open(&c, true) ? show(&c, path, print_jobs) : 2;
    client_done(&c);
    return rc;
}

static void print_job(const struct asy_json *doc) {
    const struct asy_json *list = asy_json_get(doc, "data");
    for (size_t i = 0; i < asy_json_len(list); i++) {
        if (i != 0) {
            printf("\n");
        }
        print_members(asy_json_at(list, i));
    }
}

/* The one word of a command that is a job's id. */
static bool job_word(const struct client *c, int argc, char **argv, const char **ret_id) {
    struct asy_hash id;
    if (optind + 1 != argc) {
        (void)client_usage(c->name, "name one job");
        return false;
    }
    if (asy_hash_parse(&id, asy_bytes_cstr(argv[optind])) != ASY_OK) {
        (void)client_usage(c->name, "a job id is 0x and 64 hex digits, as `assay jobs` lists them");
        return false;
    }
    *ret_id = argv[optind];
    return true;
}

int cmd_job(int argc, char **argv) {
    static const char help[] =
        "usage: assay job ID [--json]\n\n"
        "Shows a job, segment by segment: each node that worked on it is one.\n\n"
        "  ID                   0x and 64 hex digits: from `assay jobs`, `assay chat -v`, or the\n"
        "                       header x-assay-job-id of an answer\n" CLIENT_HELP;
    static const struct option options[] = {CLIENT_OPTIONS};
    struct client c = {.name = argv[0]};
    const char *id;
    for (int o; (o = client_option(argc, argv, c.name, help, "", options)) != -1;) {
        if (!client_common(&c, o)) {
            return o == OPT_HELP ? 0 : 2;
        }
    }
    if (!job_word(&c, argc, argv, &id)) {
        return 2;
    }
    char path[128];
    (void)snprintf(path, sizeof path, "/v1/jobs/%s", id);
    int rc = client_open(&c, true) ? show(&c, path, print_job) : 2;
    client_done(&c);
    return rc;
}

/* ---- receipt --------------------------------------------------------------------------------- */

static void print_receipt(const struct asy_json *doc) {
    const struct asy_json *list = asy_json_get(doc, "segments");
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *s = asy_json_at(list, i), *t = asy_json_get(s, "terms");
        const struct asy_json *r = asy_json_get(s, "receipt"), *b = asy_json_get(s, "settlement");
        const struct asy_json *cp = asy_json_get(s, "checkpoint");
        char status[16], node[64], usd[ASY_USD_STR], tx[80];
        printf("segment %llu: %s, node %s\n", (unsigned long long)client_number(t, "segment"),
               client_text(status, sizeof status, s, "status"),
               client_text(node, sizeof node, t, "node"));
        if (r == NULL) {
            printf("  no receipt: nothing was charged\n");
        } else {
            pico_text(usd, r, "amount", false);
            printf("  %llu tokens in (%llu cached), %llu out: %s USD\n",
                   (unsigned long long)client_number(r, "inTokens"),
                   (unsigned long long)client_number(r, "cachedTokens"),
                   (unsigned long long)client_number(r, "outTokens"), usd);
            printf("  %s\n", asy_json_is_null(cp) ? "not signed yet" : "signed by the node");
        }
        if (asy_json_is_null(b)) {
            printf("  not in a batch yet\n");
        } else if (!flag(b, "confirmed")) {
            printf("  in batch %llu, which is not on chain yet\n",
                   (unsigned long long)client_number(b, "number"));
        } else {
            printf("  in batch %llu, block %llu%s, transaction %s\n",
                   (unsigned long long)client_number(b, "number"),
                   (unsigned long long)client_number(b, "block"),
                   flag(b, "final") ? " (final)" : "", client_text(tx, sizeof tx, b, "tx"));
        }
    }
    printf("That is what the gateway says; --verify checks it.\n");
}

static int take_receipt(struct client *c, const struct client_response *r, const char *out,
                        bool verify) {
    struct asy_why why = {{0}, {0}};
    struct asy_bytes body = asy_buf_bytes(&r->body);
    if (out != NULL) {
        enum asy_err err = app_write_file(out, body, &why);
        if (err != ASY_OK) {
            return app_fail(c->name, err, &why);
        }
    }
    if (verify) {
        return verify_print(c->name, body, NULL, c->json);
    }
    if (c->json) {
        client_print_json(body);
    } else if (out == NULL) {
        struct asy_json *doc;
        if (!client_parse(c, &doc, r)) {
            return 1;
        }
        print_receipt(doc);
        asy_json_free(doc);
    }
    return 0;
}

int cmd_receipt(int argc, char **argv) {
    static const char help[] =
        "usage: assay receipt ID [-o FILE] [--record] [--verify] [--json]\n\n"
        "Fetches the receipt of a job: the terms, the node's signed statement of what it did and\n"
        "what that cost, and its place in a batch once it is settled. Keep it; it needs no "
        "gateway\n"
        "to be checked.\n\n"
        "  ID                   0x and 64 hex digits, as `assay jobs` lists them\n"
        "  -o, --output FILE    write the document to FILE\n"
        "  --record             with the job's record: request, bias and token ids, which a "
        "replay\n"
        "                       needs. A receipt can be passed on; a record holds your prompt\n"
        "  --verify             check it, as `assay verify` does; the exit status tells the "
        "result\n" CLIENT_HELP "\nLater, anywhere: assay verify FILE --rpc URL --vault ADDR\n";
    enum { OPT_VERIFY = OPT_OWN, OPT_RECORD };
    static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                            {"verify", no_argument, NULL, OPT_VERIFY},
                                            {"record", no_argument, NULL, OPT_RECORD},
                                            CLIENT_OPTIONS};
    struct client c = {.name = argv[0]};
    const char *id, *out = NULL;
    bool verify = false, record = false;
    for (int o; (o = client_option(argc, argv, c.name, help, "o:", options)) != -1;) {
        if (o == 'o') {
            out = optarg;
        } else if (o == OPT_VERIFY) {
            verify = true;
        } else if (o == OPT_RECORD) {
            record = true;
        } else if (!client_common(&c, o)) {
            return o == OPT_HELP ? 0 : 2;
        }
    }
    if (!job_word(&c, argc, argv, &id)) {
        return 2;
    }
    char path[128];
    struct client_response r;
    (void)snprintf(path, sizeof path, "/v1/receipts/%s%s", id, record ? "?record=true" : "");
    int rc = 2;
    if (client_open(&c, true)) {
        rc = 1;
        if (client_get(&c, &r, path)) {
            rc = take_receipt(&c, &r, out, verify);
            client_response_done(&r);
        }
    }
    client_done(&c);
    return rc;
}

/* ---- admin ----------------------------------------------------------------------------------- */

static int admin_key(struct client *c, const char *account, const char *label) {
    struct asy_buf body;
    struct asy_jw w;
    struct asy_addr addr;
    struct client_response r;
    struct asy_json *doc;
    if (asy_addr_parse(&addr, asy_bytes_cstr(account)) != ASY_OK ||
        (label != NULL && !asy_utf8_valid(asy_bytes_cstr(label)))) {
        return client_usage(c->name, "an account is 0x and 40 hex digits, a label is UTF-8");
    }
    asy_buf_init(&body, 1024);
    asy_jw_init(&w, &body);
    asy_jw_object(&w);
    asy_jw_kv_addr(&w, "account", &addr);
    if (label != NULL) {
        asy_jw_kv_cstr(&w, "label", label);
    }
    asy_jw_end(&w);
    enum asy_err err = asy_jw_finish(&w);
    bool ok = false;
    if (err != ASY_OK) {
        (void)app_fail(c->name, err, NULL);
    } else if (client_post(c, &r, "/admin/keys", asy_buf_bytes(&body))) {
        ok = client_parse(c, &doc, &r);
        if (ok && c->json) {
            client_print_json(asy_buf_bytes(&r.body));
        } else if (ok) {
            char key[256];
            printf("%s\n", client_text(key, sizeof key, doc, "key"));
            fprintf(stderr,
                    "Key %llu of %s. It is not shown again: the gateway keeps a hash of "
                    "it.\n",
                    (unsigned long long)client_number(doc, "id"),
                    client_text(key, sizeof key, doc, "account"));
        }
        if (ok) {
            asy_json_free(doc);
        }
        client_response_done(&r);
    }
    asy_buf_done(&body);
    return ok ? 0 : 1;
}

static int admin_do(struct client *c, const char *method, const char *path, const char *done) {
    struct client_response r;
    if (!client_exchange(c, &r, method, path, (struct asy_bytes){0}, NULL, NULL)) {
        return 1;
    }
    if (c->json) {
        client_print_json(asy_buf_bytes(&r.body));
    } else {
        printf("%s\n", done);
    }
    client_response_done(&r);
    return 0;
}

static int admin_run(struct client *c, int count, char **words, const char *label) {
    uint64_t id;
    if (count == 2 && strcmp(words[0], "key") == 0) {
        return admin_key(c, words[1], label);
    }
    if (count == 2 && strcmp(words[0], "revoke") == 0) {
        char path[64];
        if (asy_bytes_to_u64(&id, asy_bytes_cstr(words[1])) != ASY_OK) {
            return client_usage(c->name, "revoke takes the number of a key");
        }
        (void)snprintf(path, sizeof path, "/admin/keys/%llu", (unsigned long long)id);
        return admin_do(c, "DELETE", path, "The key is revoked.");
    }
    if (count == 1 && strcmp(words[0], "settle") == 0) {
        return admin_do(c, "POST", "/admin/settle", "A batch is being closed and posted.");
    }
    return client_usage(c->name, "say key ACCOUNT, revoke ID or settle");
}

int cmd_admin(int argc, char **argv) {
    static const char help[] =
        "usage: assay admin --admin-token-file FILE key ACCOUNT [--label TEXT]\n"
        "       assay admin --admin-token-file FILE revoke ID\n"
        "       assay admin --admin-token-file FILE settle\n\n"
        "For whoever runs the gateway.\n\n"
        "  key ACCOUNT          issue an API key that spends the money of ACCOUNT (0x...); the "
        "key\n"
        "                       goes to standard output, alone\n"
        "  revoke ID            end the key with this number\n"
        "  settle               close a batch now instead of at its time\n"
        "  --label TEXT         a name for the key\n"
        "  --admin-token-file FILE  file with the token that the gateway was started with\n"
        "  --base-url URL       the gateway; default ASSAY_BASE_URL, else " CLIENT_BASE_URL "\n"
        "  --json               print the document as the gateway sent it\n";
    enum { OPT_LABEL = OPT_OWN };
    static const struct option options[] = {
        {"label", required_argument, NULL, OPT_LABEL},
        {"admin-token-file", required_argument, NULL, OPT_KEY_FILE},
        {"base-url", required_argument, NULL, OPT_BASE_URL},
        {"json", no_argument, NULL, OPT_JSON},
        CLIENT_OPTION_HELP};
    struct client c = {.name = argv[0]};
    const char *label = NULL;
    for (int o; (o = client_option(argc, argv, c.name, help, "", options)) != -1;) {
        if (o == OPT_LABEL) {
            label = optarg;
        } else if (!client_common(&c, o)) {
            return o == OPT_HELP ? 0 : 2;
        }
    }
    if (c.key_file == NULL) {
        return client_usage(c.name, "--admin-token-file is missing");
    }
    int rc = client_open(&c, true) ? admin_run(&c, argc - optind, argv + optind, label) : 2;
    client_done(&c);
    return rc;
}
