/* http.c: the HTTP server: connections, requests, answers. Parsing is in http_parse.c, bytes move
 * in stream.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http_parse.h"
#include "net_priv.h"

enum {
    ACCEPT_MAX = 64,          /* connections accepted in one turn */
    REFUSED_MAX = 64,         /* connections beyond the limit that still hear a 503 */
    PIPELINE_LEN = 64 * 1024, /* input that may wait behind a request in hand */
    ERROR_BODY_LEN = 4096,
    SENT_LEN = 256 * 1024, /* output that a socket's kernel queue holds unsent */
    OUT_LEN = (int)(ASY_MAX_RESPONSE + 4 * ASY_MAX_STREAM_QUEUE),
};

/* state     what is going on             event -> next
 * HEAD      idle, or a head is coming    head done -> BODY; fault -> CLOSING; upgrade -> gone to
 * ws.c BODY      the body is coming           body done -> REQUEST; fault -> CLOSING REQUEST   the
 * application answers      answer ended -> HEAD, or CLOSING without keep-alive CLOSING   the last
 * output is leaving   all written -> LINGER LINGER    waits for the client to close, so that it
 * reads the answer before a reset; 2 s DEAD      waits for its memory to be freed Deadlines: HEAD
 * idle or head, BODY body, LINGER its own; REQUEST has none but the stall of its output. */
enum conn_state { CONN_HEAD, CONN_BODY, CONN_REQUEST, CONN_CLOSING, CONN_LINGER, CONN_DEAD };

struct conn {
    struct asy_http_server *server;
    struct net_stream *stream;
    struct net_list node;
    struct net_tick tick;
    enum conn_state state;
    struct asy_buf in; /* input not used yet */
    struct http_scan scan;
    uint64_t deadline_ms;     /* 0: none */
    struct asy_http_req *req; /* in BODY and REQUEST */
    bool refused;             /* beyond the limit of connections */
    bool head_begun;          /* a byte of the request came */
    bool skipped_line;        /* an empty line before the request */
    bool eof;
    bool in_process; /* conn_take runs, and will see what is left */
    char peer[NET_PEER_LEN];
};

/* EMPTY: a stream whose pieces are not sent, as to HEAD. */
enum answer_state { ANSWER_NONE, ANSWER_STREAM, ANSWER_STREAM_EMPTY };

struct asy_http_req {
    struct conn *conn;
    struct http_request head;
    struct http_chunked chunked;
    struct asy_buf body;
    enum answer_state answer;
    bool chunked_answer;
    void *user;
    uint8_t head_bytes[];
};

/* Apart from its server, since libuv lets go of it later. */
struct listener {
    uv_poll_t poll;
    struct asy_http_server *server;
};

struct asy_http_server {
    struct asy_loop *loop;
    struct listener *listener;
    int fd; /* -1 once closed */
    bool accept_paused;
    bool freed;
    struct asy_http_config config;
    const struct asy_http_handlers *handlers;
    void *arg;
    struct net_list conns;
    struct net_list links;
    size_t conn_count, link_count, refused_count;
    uint16_t port;
    bool closing;
    struct asy_timer *timer; /* end of a shutdown, or time to accept again */
    uint64_t deadline_ns;
    asy_loop_cb on_done;
    void *done_arg;
    time_t date_at;
    char date[48];
};

/* ---- texts ---- */

static const char *status_text(int status) {
    static const struct {
        int status;
        const char *text;
    } table[] = {{200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {301, "Moved Permanently"},
                 {302, "Found"},
                 {304, "Not Modified"},
                 {307, "Temporary Redirect"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {402, "Payment Required"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {412, "Precondition Failed"},
                 {413, "Content Too Large"},
                 {415, "Unsupported Media Type"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {426, "Upgrade Required"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {499, "Client Closed Request"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < ASY_COUNT(table); i++) {
        if (table[i].status == status) {
            return table[i].text;
        }
    }
    return "Other";
}

static const char *date_line(struct asy_http_server *server) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now); /* the clock exists */
    if (now.tv_sec != server->date_at) {
        static const char days[] = "SunMonTueWedThuFriSat";
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        struct tm tm;
        (void)gmtime_r(&now.tv_sec, &tm); /* any time of this age has a date */
        (void)snprintf(server->date, sizeof server->date,
                       "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", days + 3 * tm.tm_wday,
                       tm.tm_mday, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000, tm.tm_hour,
                       tm.tm_min, tm.tm_sec);
        server->date_at = now.tv_sec;
    }
    return server->date;
}

/* ---- connections end ---- */

static void req_free(struct asy_http_req *req) {
    asy_buf_done(&req->body);
    asy_free(req);
}

static void conn_free(void *owner) { asy_free(owner); }

static void server_listen(struct asy_http_server *server);
static void server_check_done(struct asy_http_server *server);

/* Leaves the server's books; the stream is closed, or was given away. */
static void conn_leave(struct conn *conn) {
    struct asy_http_server *server = conn->server;
    conn->state = CONN_DEAD;
    net_list_del(&conn->node);
    net_tick_del(server->loop, &conn->tick);
    asy_buf_done(&conn->in);
    if (conn->refused) {
        server->refused_count--;
    } else {
        server->conn_count--;
    }
    if (server->accept_paused) {
        server_listen(server); /* a descriptor is free again */
    }
    server_check_done(server);
}

static void conn_close(struct conn *conn) {
    struct net_stream *stream = conn->stream;
    if (conn->req != NULL) {
        req_free(conn->req);
        conn->req = NULL;
    }
    conn_leave(conn);
    net_stream_close(stream, conn_free, conn);
}

/* The client is gone, or has to go: the application hears it when a request is in its hands. */
static void conn_gone(struct conn *conn) {
    if (conn->state == CONN_REQUEST) {
        const struct asy_http_server *server = conn->server;
        server->handlers->on_gone(server->arg, conn->req);
        if (conn->state == CONN_DEAD) {
            return;
        }
    }
    conn_close(conn);
}

static void conn_last_output(struct conn *conn) {
    conn->state = CONN_CLOSING;
    conn->deadline_ms = 0;
    asy_buf_done(&conn->in);
    net_stream_resume(conn->stream);
    net_stream_tell_flushed(conn->stream);
}

/* ---- answers ---- */

static void out_str(struct conn *conn, const char *s) {
    net_stream_write(conn->stream, s, strlen(s));
}

static bool keeps_alive(const struct conn *conn, const struct asy_http_req *req) {
    return req != NULL && req->head.keep_alive && !conn->server->closing && !conn->eof;
}

static void out_number(struct conn *conn, uint64_t value) {
    char text[24];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    net_stream_write(conn->stream, text, (size_t)len);
}

static void out_head(struct conn *conn, const struct asy_http_req *req, int status,
                     const struct asy_http_header *headers, size_t header_count) {
    char line[64];
    int len = snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\n", status, status_text(status));
    net_stream_write(conn->stream, line, (size_t)len);
    out_str(conn, date_line(conn->server));
    if (!keeps_alive(conn, req)) {
        out_str(conn, "Connection: close\r\n");
    }
    for (size_t i = 0; i < header_count; i++) {
        out_str(conn, headers[i].name);
        out_str(conn, ": ");
        out_str(conn, headers[i].value);
        out_str(conn, "\r\n");
    }
}

static bool has_body(int status) { return status != 204 && status != 304; }

static void out_whole(struct conn *conn, const struct asy_http_req *req, int status,
                      const struct asy_http_header *headers, size_t header_count,
                      struct asy_bytes body) {
    out_head(conn, req, status, headers, header_count);
    if (has_body(status)) {
        out_str(conn, "Content-Length: ");
        out_number(conn, body.n);
        out_str(conn, "\r\n");
    }
    out_str(conn, "\r\n");
    if (has_body(status) && (req == NULL || strcmp(req->head.method, "HEAD") != 0)) {
        net_stream_write(conn->stream, body.p, body.n);
    }
}

/* An answer by the server itself, after which the connection closes. */
static void conn_fault(struct conn *conn, int status, const char *text) {
    const struct asy_http_server *server = conn->server;
    struct asy_buf body;
    asy_buf_init(&body, ERROR_BODY_LEN);
    const char *type = "text/plain";
    if (server->handlers->on_error != NULL) {
        type = server->handlers->on_error(server->arg, status, text, &body);
    } else {
        ASY_ASSERT(asy_buf_printf(&body, "%s\n", text) == ASY_OK); /* static texts fit */
    }
    if (conn->state == CONN_DEAD) { /* the hook freed the server */
        asy_buf_done(&body);
        return;
    }
    if (conn->req != NULL) {
        conn->req->head.keep_alive = false;
    }
    struct asy_http_header headers[2] = {{"Content-Type", type}, {"Sec-WebSocket-Version", "13"}};
    out_whole(conn, conn->req, status, headers, status == 426 ? 2 : 1, asy_buf_bytes(&body));
    asy_buf_done(&body);
    if (conn->req != NULL) {
        req_free(conn->req);
        conn->req = NULL;
    }
    conn_last_output(conn);
}

static bool text_valid(const char *s, bool is_name) {
    if (is_name && *s == '\0') {
        return false;
    }
    for (; *s != '\0'; s++) {
        uint8_t c = (uint8_t)*s;
        if ((c < ' ' && (is_name || c != '\t')) || c == 0x7f ||
            (is_name && (c == ' ' || c == ':'))) {
            return false;
        }
    }
    return true;
}

static bool headers_valid(const struct asy_http_header *headers, size_t header_count) {
    static const char *const ours[] = {"content-length", "transfer-encoding", "connection", "date"};
    for (size_t i = 0; i < header_count; i++) {
        if (!text_valid(headers[i].name, true) || !text_valid(headers[i].value, false)) {
            return false;
        }
        for (size_t k = 0; k < ASY_COUNT(ours); k++) {
            if (strcasecmp(headers[i].name, ours[k]) == 0) {
                return false;
            }
        }
    }
    return true;
}

/* The answer is complete: the request ends here, and the next one may begin. */
static void answer_end(struct asy_http_req *req) {
    struct conn *conn = req->conn;
    bool again = keeps_alive(conn, req);
    conn->req = NULL;
    req_free(req);
    if (!again) {
        conn_last_output(conn);
        return;
    }
    conn->state = CONN_HEAD;
    conn->scan = (struct http_scan){0};
    conn->head_begun = conn->skipped_line = false;
    conn->deadline_ms = net_now_ms(conn->server->loop) + conn->server->config.idle_timeout_ms;
    net_stream_resume(conn->stream);
    if (conn->in.n != 0 && !conn->in_process) {
        net_stream_kick(conn->stream);
    }
}

enum asy_err asy_http_respond(struct asy_http_req *req, int status,
                              const struct asy_http_header *headers, size_t header_count,
                              struct asy_bytes body) {
    ASY_ASSERT(status >= 200 && status <= 599);
    if (req->answer != ANSWER_NONE) {
        return ASY_ERR_STATE;
    }
    if (!headers_valid(headers, header_count)) {
        return ASY_ERR_SYNTAX;
    }
    if (body.n > ASY_MAX_RESPONSE) {
        return ASY_ERR_TOO_LONG;
    }
    out_whole(req->conn, req, status, headers, header_count, body);
    answer_end(req);
    return ASY_OK;
}

enum asy_err asy_http_stream_begin(struct asy_http_req *req, int status,
                                   const struct asy_http_header *headers, size_t header_count) {
    ASY_ASSERT(status >= 200 && status <= 599);
    if (req->answer != ANSWER_NONE) {
        return ASY_ERR_STATE;
    }
    if (!headers_valid(headers, header_count)) {
        return ASY_ERR_SYNTAX;
    }
    req->answer = ANSWER_STREAM;
    req->chunked_answer = req->head.minor == 1 && has_body(status);
    out_head(req->conn, req, status, headers, header_count);
    out_str(req->conn, req->chunked_answer ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    if (strcmp(req->head.method, "HEAD") == 0 || !has_body(status)) {
        req->chunked_answer = false;
        req->answer = ANSWER_STREAM_EMPTY;
    }
    return ASY_OK;
}

enum asy_err asy_http_stream_write(struct asy_http_req *req, struct asy_bytes in) {
    enum { FRAMING_LEN = 16 };
    struct net_stream *stream = req->conn->stream;
    if (req->answer == ANSWER_NONE) {
        return ASY_ERR_STATE;
    }
    if (in.n > ASY_MAX_STREAM_QUEUE - FRAMING_LEN) {
        return ASY_ERR_TOO_LONG;
    }
    if (in.n == 0 || req->answer == ANSWER_STREAM_EMPTY) {
        return ASY_OK;
    }
    if (net_stream_full(stream, in.n + FRAMING_LEN)) {
        return ASY_ERR_FULL;
    }
    if (req->chunked_answer) {
        static const char hex[] = "0123456789abcdef";
        char size[FRAMING_LEN];
        size_t at = sizeof size;
        size[--at] = '\n';
        size[--at] = '\r';
        for (size_t n = in.n; n != 0; n >>= 4) {
            size[--at] = hex[n & 15];
        }
        net_stream_write(stream, size + at, sizeof size - at);
    }
    net_stream_write(stream, in.p, in.n);
    if (req->chunked_answer) {
        net_stream_write(stream, "\r\n", 2);
    }
    net_stream_note_high(stream);
    return ASY_OK;
}

size_t asy_http_stream_queued(const struct asy_http_req *req) {
    return net_stream_queued(req->conn->stream);
}

enum asy_err asy_http_stream_end(struct asy_http_req *req) {
    if (req->answer == ANSWER_NONE) {
        return ASY_ERR_STATE;
    }
    if (req->chunked_answer) {
        out_str(req->conn, "0\r\n\r\n");
    }
    answer_end(req);
    return ASY_OK;
}

void asy_http_abort(struct asy_http_req *req) {
    /* a reset, since an orderly end could pass for the end of an answer without length */
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(req->conn->stream->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    conn_close(req->conn);
}

/* ---- requests ---- */

const char *asy_http_method(const struct asy_http_req *req) { return req->head.method; }

struct asy_bytes asy_http_path(const struct asy_http_req *req) {
    return asy_bytes_of(req->head_bytes + req->head.path, req->head.path_len);
}

struct asy_bytes asy_http_query(const struct asy_http_req *req) {
    return asy_bytes_of(req->head_bytes + req->head.query, req->head.query_len);
}

bool asy_http_header(const struct asy_http_req *req, const char *name,
                     struct asy_bytes *ret_value) {
    return http_field_get(&req->head.fields, name, ret_value);
}

bool asy_http_header_at(const struct asy_http_req *req, size_t i, struct asy_bytes *ret_name,
                        struct asy_bytes *ret_value) {
    if (i >= req->head.fields.count) {
        return false;
    }
    const struct http_field *field = &req->head.fields.field[i];
    *ret_name = asy_bytes_of(req->head_bytes + field->name, field->name_len);
    *ret_value = asy_bytes_of(req->head_bytes + field->value, field->value_len);
    return true;
}

struct asy_bytes asy_http_body(const struct asy_http_req *req) {
    return asy_buf_bytes(&req->body);
}

const char *asy_http_peer(const struct asy_http_req *req) { return req->conn->peer; }

void asy_http_set_user(struct asy_http_req *req, void *user) { req->user = user; }

void *asy_http_user(const struct asy_http_req *req) { return req->user; }

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum asy_err asy_url_decode(struct asy_buf *ret_out, struct asy_bytes in, bool is_query) {
    size_t old_len = ret_out->n;
    enum asy_err err = ASY_OK;
    for (size_t i = 0; i < in.n && err == ASY_OK; i++) {
        uint8_t byte = in.p[i];
        if (byte == '%') {
            int high = i + 2 < in.n ? hex_digit(in.p[i + 1]) : -1;
            int low = i + 2 < in.n ? hex_digit(in.p[i + 2]) : -1;
            if (high < 0 || low < 0) {
                err = ASY_ERR_SYNTAX;
                break;
            }
            byte = (uint8_t)(high * 16 + low);
            i += 2;
        } else if (byte == '+' && is_query) {
            byte = ' ';
        }
        err = asy_buf_add_u8(ret_out, byte);
    }
    if (err != ASY_OK && ret_out->p != NULL) {
        ret_out->n = old_len;
        ret_out->p[old_len] = '\0';
    }
    return err;
}

enum asy_err asy_http_param(const struct asy_http_req *req, const char *name,
                            struct asy_buf *ret_value) {
    struct asy_bytes query = asy_http_query(req);
    size_t name_len = strlen(name);
    for (size_t i = 0; i < query.n;) {
        const uint8_t *begin = query.p + i;
        const uint8_t *amp = memchr(begin, '&', query.n - i);
        size_t len = amp != NULL ? (size_t)(amp - begin) : query.n - i;
        if (len >= name_len && memcmp(begin, name, name_len) == 0 &&
            (len == name_len || begin[name_len] == '=')) {
            size_t skip = len == name_len ? len : name_len + 1;
            return asy_url_decode(ret_value, asy_bytes_of(begin + skip, len - skip), true);
        }
        i += len + 1;
    }
    return ASY_ERR_NOT_FOUND;
}

/* ---- input ---- */

static const struct asy_ws_route *route_find(const struct asy_http_server *server,
                                             const struct asy_http_req *req) {
    for (size_t i = 0; i < server->config.route_count; i++) {
        const struct asy_ws_route *route = &server->config.routes[i];
        if (asy_bytes_eq(asy_http_path(req), asy_bytes_cstr(route->path))) {
            return route;
        }
    }
    return NULL;
}

static void on_link_closed(void *owner) {
    struct asy_http_server *server = owner;
    server->link_count--;
    if (server->accept_paused) {
        server_listen(server);
    }
    server_check_done(server);
}

/* A request at a WebSocket's path: the connection becomes one, or hears why not. */
static void conn_upgrade(struct conn *conn, const struct asy_ws_route *route,
                         struct asy_bytes rest) {
    struct asy_http_server *server = conn->server;
    const struct http_request *head = &conn->req->head;
    struct asy_bytes key = {NULL, 0}, version = {NULL, 0};
    if (!http_field_has_token(&head->fields, "upgrade", "websocket") ||
        !http_field_has_token(&head->fields, "connection", "upgrade") || head->minor == 0) {
        conn_fault(conn, 426, "this path speaks WebSocket");
        return;
    }
    if (!http_field_get(&head->fields, "sec-websocket-version", &version) ||
        !asy_bytes_eq(version, ASY_STR("13"))) {
        conn_fault(conn, 426, "WebSocket version is not supported");
        return;
    }
    if (strcmp(head->method, "GET") != 0 || head->chunked || head->length != 0 ||
        !http_field_get(&head->fields, "sec-websocket-key", &key) || !net_ws_key_valid(key)) {
        conn_fault(conn, 400, "malformed WebSocket handshake");
        return;
    }
    if (route->subprotocol != NULL &&
        !http_field_has_token(&head->fields, "sec-websocket-protocol", route->subprotocol)) {
        conn_fault(conn, 400, "WebSocket subprotocol is not supported");
        return;
    }
    if (server->link_count >= server->config.max_links || server->closing) {
        conn_fault(conn, 503, "too many connections");
        return;
    }
    server->link_count++;
    struct net_stream *stream = conn->stream;
    struct asy_http_req *req = conn->req;
    struct asy_buf in = conn->in; /* rest may point into it */
    asy_buf_init(&conn->in, PIPELINE_LEN);
    conn->req = NULL;
    conn_leave(conn);
    struct ws_upgrade upgrade = {key, rest, conn->peer};
    net_ws_accept(stream, route, &upgrade, &server->links, on_link_closed, server);
    asy_buf_done(&in);
    req_free(req);
    net_loop_bury(stream->loop, conn);
}

static void body_done(struct conn *conn) {
    struct asy_http_server *server = conn->server;
    conn->state = CONN_REQUEST;
    conn->deadline_ms = 0;
    server->handlers->on_request(server->arg, conn->req);
}

/* Uses in, or a part of it; false: wait for more (or the connection is done for). */
static bool take_head(struct conn *conn, struct asy_bytes in, size_t *ret_used) {
    struct asy_http_server *server = conn->server;
    uint64_t now_ms = net_now_ms(server->loop);
    if (!conn->head_begun) {
        conn->head_begun = true;
        conn->deadline_ms = now_ms + server->config.head_timeout_ms;
    }
    size_t len = 0;
    enum http_scan_result found = http_scan(&conn->scan, &len, in);
    if (found == HTTP_SCAN_DONE && len == 2 && !conn->skipped_line) {
        conn->skipped_line = true; /* RFC 9112 section 2.2: one empty line before a request */
        conn->scan = (struct http_scan){0};
        *ret_used = len;
        return true;
    }
    if (found == HTTP_SCAN_BAD || (found == HTTP_SCAN_DONE && len < 4)) {
        conn_fault(conn, 400, "a line does not end with CRLF");
        return false;
    }
    if ((found == HTTP_SCAN_DONE ? len : in.n) > ASY_MAX_HTTP_HEADERS) {
        conn_fault(conn, 431, "request head is too long");
        return false;
    }
    if (found == HTTP_SCAN_MORE) {
        return false;
    }
    struct asy_http_req *req = asy_alloc(sizeof *req + len);
    memcpy(req->head_bytes, in.p, len);
    req->conn = conn;
    conn->req = req;
    conn->state = CONN_BODY;
    conn->deadline_ms = now_ms + server->config.body_timeout_ms;
    asy_buf_init(&req->body, server->config.max_body_len);
    struct http_fault fault;
    if (!http_request_parse(&req->head, &fault, asy_bytes_of(req->head_bytes, len))) {
        /* what was read of a broken head means nothing */
        conn->req = NULL;
        req_free(req);
        conn_fault(conn, fault.status, fault.text);
        return false;
    }
    if (req->head.length > server->config.max_body_len) {
        conn_fault(conn, 413, "request body is too long");
        return false;
    }
    const struct asy_ws_route *route = route_find(server, req);
    if (route != NULL) {
        conn_upgrade(conn, route, asy_bytes_of(in.p + len, in.n - len));
        return false;
    }
    if (req->head.expect_continue && in.n == len && (req->head.chunked || req->head.length != 0)) {
        out_str(conn, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    *ret_used = len;
    return true;
}

static bool take_body(struct conn *conn, struct asy_bytes in, size_t *ret_used) {
    struct asy_http_req *req = conn->req;
    if (req->head.chunked) {
        size_t used = in.n;
        enum asy_err err = http_chunked_feed(&req->chunked, &used, &req->body, in);
        if (err == ASY_ERR_TOO_LONG) {
            conn_fault(conn, 413, "request body is too long");
            return false;
        }
        if (err == ASY_ERR_SYNTAX) {
            conn_fault(conn, 400, "malformed chunked body");
            return false;
        }
        *ret_used = used;
        if (err == ASY_ERR_AGAIN) {
            return used != 0;
        }
    } else {
        size_t left = (size_t)req->head.length - req->body.n;
        size_t len = in.n < left ? in.n : left;
        ASY_ASSERT(asy_buf_add(&req->body, in.p, len) == ASY_OK); /* checked against the limit */
        *ret_used = len;
        if (len < left) {
            return len != 0;
        }
    }
    body_done(conn);
    return true;
}

/* Works through input from the front; returns how much of it is used. The connection may be DEAD or
 * gone to ws.c afterwards. */
static size_t conn_take(struct conn *conn, struct asy_bytes in) {
    size_t pos = 0;
    for (;;) {
        struct asy_bytes rest = asy_bytes_of(in.p + pos, in.n - pos);
        size_t used = 0;
        bool more = false;
        switch (conn->state) {
        case CONN_HEAD:
            /* a client that sends requests but does not read answers waits */
            if (rest.n != 0 && net_stream_queued(conn->stream) <= ASY_MAX_STREAM_QUEUE) {
                more = take_head(conn, rest, &used);
            } else if (rest.n != 0) {
                net_stream_pause(conn->stream);
                net_stream_tell_flushed(conn->stream);
            }
            break;
        case CONN_BODY:
            more = take_body(conn, rest, &used);
            break;
        case CONN_REQUEST:
            break;
        case CONN_CLOSING:
        case CONN_LINGER:
        case CONN_DEAD:
            return in.n;
        }
        pos += used;
        if (!more || conn->state == CONN_DEAD) {
            return pos;
        }
    }
}

/* Takes from what waited. */
static void conn_process(struct conn *conn) {
    conn->in_process = true;
    size_t used = conn_take(conn, asy_buf_bytes(&conn->in));
    conn->in_process = false;
    if (conn->state != CONN_DEAD && conn->in.n != 0) {
        asy_buf_consume(&conn->in, used);
        if (conn->in.n == 0) {
            asy_buf_done(&conn->in);
        }
    }
}

static void on_input(void *owner, struct asy_bytes in) {
    struct conn *conn = owner;
    if (conn->state == CONN_CLOSING || conn->state == CONN_LINGER) {
        return;
    }
    size_t used = 0;
    if (conn->in.n == 0) {
        conn->in_process = true;
        used = conn_take(conn, in);
        conn->in_process = false;
        if (conn->state == CONN_DEAD || used == in.n) {
            return;
        }
    }
    if (conn->state == CONN_CLOSING || conn->state == CONN_LINGER) {
        return;
    }
    bool waited = conn->in.n != 0;
    ASY_ASSERT(asy_buf_add(&conn->in, in.p + used, in.n - used) == ASY_OK); /* paused before */
    if (waited) {
        conn_process(conn);
    }
    if (conn->state == CONN_REQUEST && conn->in.n >= PIPELINE_LEN) {
        net_stream_pause(conn->stream);
    }
}

/* No more input. Answers that were ended before still go out. */
static void on_eof(void *owner) {
    struct conn *conn = owner;
    conn->eof = true;
    switch (conn->state) {
    case CONN_HEAD:
    case CONN_BODY:
        if (net_stream_queued(conn->stream) != 0) {
            if (conn->req != NULL) {
                req_free(conn->req);
                conn->req = NULL;
            }
            conn_last_output(conn);
            return;
        }
        break;
    case CONN_CLOSING:
        return;
    case CONN_REQUEST:
    case CONN_LINGER:
    case CONN_DEAD:
        break;
    }
    conn_gone(conn);
}

static void on_gone(void *owner, const char *text) {
    (void)text; /* a client that is gone is gone */
    conn_gone(owner);
}

static void on_drained(void *owner) {
    struct conn *conn = owner;
    const struct asy_http_server *server = conn->server;
    if (conn->state == CONN_REQUEST && conn->req->answer == ANSWER_STREAM &&
        server->handlers->on_drain != NULL) {
        server->handlers->on_drain(server->arg, conn->req);
    }
}

static void on_flushed(void *owner) {
    struct conn *conn = owner;
    if (conn->state == CONN_HEAD) {
        net_stream_resume(conn->stream);
        conn_process(conn);
    } else if (conn->state == CONN_CLOSING) {
        if (conn->eof) {
            conn_close(conn);
            return;
        }
        conn->state = CONN_LINGER;
        conn->deadline_ms = net_now_ms(conn->server->loop) + NET_LINGER_MS;
        net_stream_end(conn->stream);
    }
}

static void on_kick(void *owner) {
    struct conn *conn = owner;
    if (conn->state == CONN_HEAD) {
        conn_process(conn);
    }
}

static const struct net_stream_ops conn_ops = {.input = on_input,
                                               .eof = on_eof,
                                               .hup = on_eof,
                                               .gone = on_gone,
                                               .drained = on_drained,
                                               .flushed = on_flushed,
                                               .kick = on_kick};

static void on_conn_tick(void *owner, uint64_t now_ms) {
    struct conn *conn = owner;
    const struct asy_http_config *config = &conn->server->config;
    if (net_stream_queued(conn->stream) != 0 &&
        now_ms - conn->stream->progress_ms > config->stall_timeout_ms) {
        conn_gone(conn);
        return;
    }
    if (conn->deadline_ms == 0 || now_ms < conn->deadline_ms) {
        return;
    }
    if (conn->state == CONN_BODY || (conn->state == CONN_HEAD && conn->head_begun)) {
        conn_fault(conn, 408, "the request took too long to arrive");
    } else {
        conn_gone(conn);
    }
}

/* ---- server ---- */

static void conn_new(struct asy_http_server *server, int fd, const struct sockaddr *addr,
                     bool refused) {
    struct conn *conn = asy_alloc(sizeof *conn);
    conn->server = server;
    conn->stream =
        net_stream_new(server->loop, fd, false, ASY_MAX_STREAM_QUEUE, OUT_LEN, &conn_ops, conn);
    if (conn->stream == NULL) {
        asy_free(conn);
        return;
    }
    asy_buf_init(&conn->in, PIPELINE_LEN + 2 * NET_READ_LEN);
    net_peer_format(conn->peer, addr);
    net_list_init(&conn->node);
    net_list_add(&server->conns, &conn->node);
    net_tick_add(server->loop, &conn->tick, on_conn_tick, conn);
    conn->deadline_ms = net_now_ms(server->loop) + server->config.head_timeout_ms;
    conn->refused = refused;
    if (refused) {
        server->refused_count++;
        conn_fault(conn, 503, "too many connections");
    } else {
        server->conn_count++;
    }
}

static void on_listen(uv_poll_t *poll, int status, int events) {
    struct asy_http_server *server = ((struct listener *)poll->data)->server;
    (void)status; /* accept tells */
    (void)events;
    for (int i = 0; i < ACCEPT_MAX && server->fd >= 0; i++) {
        struct sockaddr_storage addr;
        socklen_t addr_len = sizeof addr;
        int fd =
            accept4(server->fd, (struct sockaddr *)&addr, &addr_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            bool refused = server->conn_count >= server->config.max_conns;
            if (refused && server->refused_count >= REFUSED_MAX) {
                (void)close(fd); /* nothing was written */
            } else {
                conn_new(server, fd, (const struct sockaddr *)&addr, refused);
            }
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* the queue stays readable: wait for a connection to close, or a second */
            server->accept_paused = true;
            (void)uv_poll_stop(&server->listener->poll); /* cannot fail */
            if (!server->closing) {
                asy_timer_at(server->timer, uv_hrtime() + 1000000000u);
            }
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return; /* EAGAIN: all taken */
        }
    }
}

static void server_listen(struct asy_http_server *server) {
    server->accept_paused = false;
    if (server->listener != NULL) {
        (void)uv_poll_start(&server->listener->poll, UV_READABLE, on_listen); /* fd is open */
    }
}

static void on_listener_closed(uv_handle_t *handle) { asy_free(handle->data); }

static void listener_close(struct asy_http_server *server) {
    if (server->listener != NULL) {
        uv_close((uv_handle_t *)&server->listener->poll, on_listener_closed);
        server->listener = NULL;
        (void)close(server->fd); /* a listening socket has nothing to lose */
        server->fd = -1;
    }
}

static size_t server_count(const struct asy_http_server *server) {
    return server->conn_count + server->refused_count + server->link_count;
}

static void server_check_done(struct asy_http_server *server) {
    if (server->closing && !server->freed && server_count(server) == 0) {
        asy_timer_at(server->timer, 0);
    }
}

static void on_server_timer(void *arg) {
    struct asy_http_server *server = arg;
    if (!server->closing) {
        server_listen(server);
        return;
    }
    if (uv_hrtime() >= server->deadline_ns) {
        while (!net_list_empty(&server->conns) && !server->freed) {
            conn_gone(NET_OF(server->conns.next, struct conn, node));
        }
        while (!net_list_empty(&server->links) && !server->freed) {
            net_ws_cut(net_ws_of(server->links.next));
        }
    }
    if (!server->freed && server_count(server) == 0 && server->on_done != NULL) {
        asy_loop_cb on_done = server->on_done;
        server->on_done = NULL;
        on_done(server->done_arg);
    }
}

static int listen_on(const struct sockaddr *addr, socklen_t addr_len) {
    enum { BACKLOG = 4096 };
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, sent_len = SENT_LEN;
    /* accepted sockets inherit both TCP options */
    if (fd >= 0 &&
        (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
         setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
         setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &sent_len, sizeof sent_len) != 0 ||
         bind(fd, addr, addr_len) != 0 || listen(fd, BACKLOG) != 0)) {
        int error = errno;
        (void)close(fd); /* nothing was written */
        errno = error;
        return -1;
    }
    return fd;
}

static void set_default(uint32_t *value, uint32_t fallback) {
    if (*value == 0) {
        *value = fallback;
    }
}

enum asy_err asy_http_server_new(struct asy_loop *loop, struct asy_http_server **ret_server,
                                 const struct asy_http_config *config,
                                 const struct asy_http_handlers *handlers, void *arg,
                                 struct asy_why *reterr_why) {
    const char *host = config->host != NULL ? config->host : "127.0.0.1";
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } addr;
    memset(&addr, 0, sizeof addr);
    socklen_t addr_len;
    if (inet_pton(AF_INET, host, &addr.in4.sin_addr) == 1) {
        addr.in4.sin_family = AF_INET;
        addr.in4.sin_port = htons(config->port);
        addr_len = sizeof addr.in4;
    } else if (inet_pton(AF_INET6, host, &addr.in6.sin6_addr) == 1) {
        addr.in6.sin6_family = AF_INET6;
        addr.in6.sin6_port = htons(config->port);
        addr_len = sizeof addr.in6;
    } else {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "host", "\"%s\" is no numeric address", host);
    }
    int fd = listen_on(&addr.any, addr_len);
    if (fd < 0) {
        return asy_why_set(reterr_why, ASY_ERR_IO, NULL, "listening on %s port %u: %s", host,
                           config->port, strerror(errno));
    }
    ASY_ASSERT(getsockname(fd, &addr.any, &addr_len) == 0); /* cannot fail on a bound socket */
    struct listener *listener = asy_alloc(sizeof *listener);
    if (uv_poll_init(&loop->uv, &listener->poll, fd) != 0) {
        (void)close(fd); /* nothing was written */
        asy_free(listener);
        return asy_why_set(reterr_why, ASY_ERR_IO, NULL, "no descriptor can be waited on");
    }
    struct asy_http_server *server = asy_alloc(sizeof *server);
    listener->poll.data = listener;
    listener->server = server;
    server->loop = loop;
    server->listener = listener;
    server->fd = fd;
    server->port = ntohs(addr.any.sa_family == AF_INET ? addr.in4.sin_port : addr.in6.sin6_port);
    server->config = *config;
    set_default(&server->config.max_conns, ASY_MAX_HTTP_CONNS);
    set_default(&server->config.max_links, ASY_MAX_NODES);
    set_default(&server->config.max_body_len, ASY_MAX_HTTP_BODY);
    set_default(&server->config.head_timeout_ms, 10000);
    set_default(&server->config.body_timeout_ms, 60000);
    set_default(&server->config.idle_timeout_ms, 75000);
    set_default(&server->config.stall_timeout_ms, 30000);
    server->handlers = handlers;
    server->arg = arg;
    net_list_init(&server->conns);
    net_list_init(&server->links);
    server->timer = asy_timer_new(loop, on_server_timer, server);
    server_listen(server);
    loop->object_count++;
    *ret_server = server;
    return ASY_OK;
}

uint16_t asy_http_server_port(const struct asy_http_server *server) { return server->port; }

size_t asy_http_server_conns(const struct asy_http_server *server) { return server->conn_count; }

void asy_http_server_shutdown(struct asy_http_server *server, uint64_t deadline_ns,
                              asy_loop_cb on_done, void *done_arg) {
    if (server->closing) {
        return;
    }
    server->closing = true;
    server->deadline_ns = deadline_ns;
    server->on_done = on_done;
    server->done_arg = done_arg;
    listener_close(server);
    asy_timer_at(server->timer, deadline_ns);
    for (struct net_list *node = server->conns.next, *next; node != &server->conns; node = next) {
        struct conn *conn = NET_OF(node, struct conn, node);
        next = node->next;
        if (conn->state == CONN_HEAD && !conn->head_begun) {
            conn_last_output(conn);
        }
    }
    for (struct net_list *node = server->links.next; node != &server->links; node = node->next) {
        asy_ws_close(net_ws_of(node), ASY_WS_GOING_AWAY, "shutting down");
    }
    server_check_done(server);
}

void asy_http_server_free(struct asy_http_server *server) {
    if (server == NULL) {
        return;
    }
    server->freed = true;
    listener_close(server);
    while (!net_list_empty(&server->conns)) {
        conn_close(NET_OF(server->conns.next, struct conn, node));
    }
    while (!net_list_empty(&server->links)) {
        asy_ws_drop(net_ws_of(server->links.next));
    }
    asy_timer_free(server->timer);
    server->loop->object_count--;
    net_loop_bury(server->loop, server);
}
