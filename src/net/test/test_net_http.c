/* The HTTP server on loopback: the loop runs here, blocking clients in a thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "net/net.h"

static struct asy_loop *loop;
static struct asy_http_server *server;
static uint16_t port;

/* ---- the application: what it does is in the path ---- */

static int event_fds[2]; /* one byte per thing that a client waits for */
static atomic_int gone_count, drain_count, full_count, request_count;
static struct asy_http_req *held; /* of /hold, until /release */

static void tell(char what) { CHECK(write(event_fds[1], &what, 1) == 1); }

struct stream {
    struct asy_http_req *req;
    size_t sent, len;
    struct asy_timer *timer;
};
enum { PIECE = 1000 };

static uint8_t pattern(size_t at) { return (uint8_t)(at * 131 + at / 251); }

static void stream_end(struct stream *s) {
    asy_timer_free(s->timer);
    asy_free(s);
}

static void stream_on(struct stream *s, size_t pieces) {
    for (size_t i = 0; i < pieces && s->sent < s->len; i++) {
        uint8_t piece[PIECE];
        size_t n = s->len - s->sent < PIECE ? s->len - s->sent : PIECE;
        for (size_t k = 0; k < n; k++) {
            piece[k] = pattern(s->sent + k);
        }
        enum asy_err err = asy_http_stream_write(s->req, asy_bytes_of(piece, n));
        if (err == ASY_ERR_FULL) {
            CHECK(asy_http_stream_queued(s->req) + PIECE + 16 > ASY_MAX_STREAM_QUEUE);
            if (atomic_fetch_add(&full_count, 1) == 0) {
                tell('f');
            }
            return;
        }
        CHECK_OK(err);
        s->sent += n;
    }
    if (s->sent == s->len) {
        CHECK_OK(asy_http_stream_end(s->req));
        stream_end(s);
    } else if (s->timer != NULL) {
        asy_timer_at(s->timer, 0);
    }
}

static void on_stream_timer(void *arg) { stream_on(arg, 1); }

static void respond(struct asy_http_req *req, int status, struct asy_bytes body) {
    struct asy_http_header headers[] = {{"Content-Type", "text/plain"}, {"X-Test", "yes"}};
    CHECK_OK(asy_http_respond(req, status, headers, 2, body));
}

static void on_late(void *arg) { respond(arg, 200, asy_http_path(arg)); }

static void on_request(void *arg, struct asy_http_req *req) {
    CHECK(arg == &server);
    atomic_fetch_add(&request_count, 1);
    struct asy_bytes path = asy_http_path(req);
    struct asy_bytes value;
    struct asy_buf param;
    asy_buf_init(&param, 1000);
    if (asy_bytes_eq(path, ASY_STR("/echo"))) {
        respond(req, 200, asy_http_body(req));
    } else if (asy_bytes_eq(path, ASY_STR("/describe"))) {
        struct asy_buf text;
        asy_buf_init(&text, 4096);
        struct asy_bytes q = asy_http_query(req);
        CHECK(asy_http_header(req, "X-CASE", &value));
        CHECK_ERR(asy_http_param(req, "none", &param), ASY_ERR_NOT_FOUND);
        CHECK_ERR(asy_http_param(req, "bad", &param), ASY_ERR_SYNTAX);
        CHECK_U64(param.n, 0);
        CHECK_OK(asy_http_param(req, "b", &param));
        CHECK_OK(asy_buf_printf(&text, "%s %.*s [%.*s] [%s] %.1s", asy_http_method(req), (int)q.n,
                                (const char *)q.p, (int)value.n, (const char *)value.p,
                                asy_buf_cstr(&param), asy_http_peer(req)));
        struct asy_bytes name;
        CHECK(asy_http_header_at(req, 0, &name, &value) && asy_bytes_eq(name, ASY_STR("Host")));
        CHECK(!asy_http_header_at(req, 100, &name, &value));
        /* refused answers leave the request open */
        struct asy_http_header ours = {"Content-length", "3"}, split = {"A", "b\r\nc: d"},
                               none = {"", "x"};
        CHECK_ERR(asy_http_respond(req, 200, &ours, 1, ASY_STR("")), ASY_ERR_SYNTAX);
        CHECK_ERR(asy_http_respond(req, 200, &split, 1, ASY_STR("")), ASY_ERR_SYNTAX);
        CHECK_ERR(asy_http_respond(req, 200, &none, 1, ASY_STR("")), ASY_ERR_SYNTAX);
        CHECK_ERR(asy_http_stream_write(req, ASY_STR("x")), ASY_ERR_STATE);
        CHECK_ERR(asy_http_stream_end(req), ASY_ERR_STATE);
        respond(req, 200, asy_buf_bytes(&text));
        asy_buf_done(&text);
    } else if (asy_bytes_starts(path, ASY_STR("/late"))) {
        asy_loop_post(loop, on_late, req);
    } else if (asy_bytes_eq(path, ASY_STR("/hold"))) {
        held = req;
        tell('h');
    } else if (asy_bytes_eq(path, ASY_STR("/release"))) {
        respond(held, 200, ASY_STR("held"));
        held = NULL;
        respond(req, 204, ASY_STR(""));
    } else if (asy_bytes_eq(path, ASY_STR("/abort"))) {
        CHECK_OK(asy_http_stream_begin(req, 200, NULL, 0));
        CHECK_OK(asy_http_stream_write(req, ASY_STR("part")));
        asy_http_abort(req);
    } else if (asy_bytes_eq(path, ASY_STR("/stream")) || asy_bytes_eq(path, ASY_STR("/trickle"))) {
        struct stream *s = asy_alloc(sizeof *s);
        s->req = req;
        uint64_t len;
        CHECK_OK(asy_http_param(req, "n", &param));
        CHECK_OK(asy_bytes_to_u64(&len, asy_buf_bytes(&param)));
        s->len = (size_t)len;
        asy_http_set_user(req, s);
        struct asy_http_header type = {"Content-Type", "text/event-stream"};
        CHECK_OK(asy_http_stream_begin(req, 200, &type, 1));
        CHECK_ERR(asy_http_stream_begin(req, 200, &type, 1), ASY_ERR_STATE);
        CHECK_ERR(asy_http_respond(req, 200, NULL, 0, ASY_STR("")), ASY_ERR_STATE);
        CHECK_ERR(asy_http_stream_write(req, asy_bytes_of(s, ASY_MAX_STREAM_QUEUE + 1)),
                  ASY_ERR_TOO_LONG);
        if (asy_bytes_eq(path, ASY_STR("/trickle"))) {
            s->timer = asy_timer_new(loop, on_stream_timer, s);
            stream_on(s, 1);
        } else {
            stream_on(s, SIZE_MAX);
        }
    } else {
        respond(req, 404, path);
    }
    asy_buf_done(&param);
}

static void on_gone(void *arg, struct asy_http_req *req) {
    (void)arg;
    if (asy_http_user(req) != NULL) {
        stream_end(asy_http_user(req));
    }
    if (req == held) {
        held = NULL;
    }
    atomic_fetch_add(&gone_count, 1);
    tell('g');
}

static void on_drain(void *arg, struct asy_http_req *req) {
    (void)arg;
    CHECK(asy_http_stream_queued(req) <= ASY_MAX_STREAM_QUEUE / 4);
    atomic_fetch_add(&drain_count, 1);
    struct stream *s = asy_http_user(req);
    if (s->timer == NULL) {
        stream_on(s, SIZE_MAX);
    }
}

static const char *on_error(void *arg, int status, const char *text, struct asy_buf *ret_body) {
    (void)arg;
    CHECK_OK(asy_buf_printf(ret_body, "{\"status\":%d,\"text\":\"%s\"}", status, text));
    return "application/json";
}

static const struct asy_http_handlers handlers = {on_request, on_gone, on_drain, on_error};

/* ---- clients ---- */

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval limit = {.tv_sec = 20};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    return fd;
}

static void put(int fd, const void *p, size_t n) {
    const uint8_t *at = p;
    while (n != 0) {
        ssize_t done = send(fd, at, n, MSG_NOSIGNAL);
        if (done <= 0) {
            return; /* the server may close early; the answer tells */
        }
        at += done;
        n -= (size_t)done;
    }
}

static void puts_to(int fd, const char *s) { put(fd, s, strlen(s)); }

static void await_event(char what) {
    char got = 0;
    CHECK(read(event_fds[0], &got, 1) == 1);
    CHECK(got == what);
}

/* A buffered reader of answers. */
struct reader {
    int fd;
    size_t n, pos;
    uint8_t buf[65536];
};

static int next_byte(struct reader *r) {
    if (r->pos == r->n) {
        ssize_t got = recv(r->fd, r->buf, sizeof r->buf, 0);
        if (got <= 0) {
            return -1;
        }
        r->n = (size_t)got;
        r->pos = 0;
    }
    return r->buf[r->pos++];
}

static bool line(struct reader *r, char *ret, size_t cap) {
    size_t n = 0;
    for (;;) {
        int c = next_byte(r);
        if (c < 0 || n + 1 == cap) {
            return false;
        }
        if (c == '\n') {
            CHECK(n > 0 && ret[n - 1] == '\r');
            ret[n - 1] = '\0';
            return true;
        }
        ret[n++] = (char)c;
    }
}

/* Reads one answer; -1 when the connection ended. */
static int answer(struct reader *r, struct asy_buf *ret_body, bool is_head, bool *ret_close) {
    char text[512];
    asy_buf_clear(ret_body);
    if (!line(r, text, sizeof text)) {
        return -1;
    }
    CHECK(memcmp(text, "HTTP/1.1 ", 9) == 0);
    int status = (text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0');
    uint64_t len = 0;
    bool chunked = false, close = false;
    while (line(r, text, sizeof text) && text[0] != '\0') {
        if (strncmp(text, "Content-Length: ", 16) == 0) {
            CHECK_OK(asy_bytes_to_u64(&len, asy_bytes_cstr(text + 16)));
        }
        chunked = chunked || strcmp(text, "Transfer-Encoding: chunked") == 0;
        close = close || strcmp(text, "Connection: close") == 0;
    }
    if (ret_close != NULL) {
        *ret_close = close;
    }
    while (!is_head && (len != 0 || chunked)) {
        if (chunked) {
            if (!line(r, text, sizeof text)) {
                return -1;
            }
            len = strtoull(text, NULL, 16); /* allowed: the server's own output */
            chunked = len != 0;
        }
        bool last = len == 0;
        for (; len != 0; len--) {
            int c = next_byte(r);
            if (c < 0) {
                return -1;
            }
            CHECK_OK(asy_buf_add_u8(ret_body, (uint8_t)c));
        }
        if (chunked || last) {
            CHECK(line(r, text, sizeof text) && text[0] == '\0');
        }
    }
    return status;
}

static struct reader *reader_new(int fd) {
    struct reader *r = asy_alloc(sizeof *r);
    r->fd = fd;
    return r;
}

static void hang_up(struct reader *r) {
    CHECK(close(r->fd) == 0);
    asy_free(r);
}

static void reset(int fd) {
    struct linger linger = {1, 0};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    CHECK(close(fd) == 0);
}

static void is(const struct asy_buf *body, const char *text) {
    CHECK_STR(asy_buf_cstr(body), text);
}

static void check_round_trips(void) {
    struct reader *r = reader_new(dial());
    struct asy_buf body;
    asy_buf_init(&body, ASY_MAX_HTTP_BODY + 1000);
    uint8_t *data = asy_alloc(ASY_MAX_HTTP_BODY);
    asy_test_fill(data, ASY_MAX_HTTP_BODY);
    static const size_t sizes[] = {0, 1, 100, 65535, 65536, 200000, ASY_MAX_HTTP_BODY};
    char head[256];
    bool closes;
    for (size_t i = 0; i < ASY_COUNT(sizes); i++) {
        (void)snprintf(head, sizeof head,
                       "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", sizes[i]);
        puts_to(r->fd, head);
        put(r->fd, data, sizes[i]);
        CHECK_U64(answer(r, &body, false, &closes), 200);
        CHECK(!closes);
        CHECK_U64(body.n, sizes[i]);
        CHECK(sizes[i] == 0 || memcmp(body.p, data, sizes[i]) == 0);
    }
    puts_to(r->fd, "\r\nGET /describe?a=1&b=x%20y+z&bad=%2 HTTP/1.1\r\nHost: x\r\nx-case:  some "
                   "value \t\r\n\r\n");
    CHECK_U64(answer(r, &body, false, NULL), 200);
    is(&body, "GET a=1&b=x%20y+z&bad=%2 [some value] [x y z] 1");
    puts_to(r->fd, "HEAD /describe?b=%41&bad=% HTTP/1.1\r\nHost: x\r\nX-Case:\r\n\r\n"
                   "OPTIONS /echo HTTP/1.1\r\nHost: x\r\n\r\n"
                   "GET http://host/none?x HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_U64(answer(r, &body, true, NULL), 200);
    CHECK_U64(answer(r, &body, false, NULL), 200);
    CHECK_U64(answer(r, &body, false, NULL), 404);
    is(&body, "/none");
    /* a chunked body, cut everywhere */
    static const char chunked[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
        "5\r\nhello\r\n0a;ext=\"1\"\r\n, chunked \r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n";
    for (size_t cut = 1; cut < sizeof chunked - 1; cut += 3) {
        put(r->fd, chunked, cut);
        put(r->fd, chunked + cut, sizeof chunked - 1 - cut);
        CHECK_U64(answer(r, &body, false, NULL), 200);
        is(&body, "hello, chunked !");
    }
    /* 100-continue, then close on wish */
    puts_to(r->fd, "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: "
                   "100-continue\r\nContent-Length: 2\r\n\r\n");
    CHECK_U64(answer(r, &body, true, NULL), 100);
    puts_to(r->fd, "ok");
    CHECK_U64(answer(r, &body, false, &closes), 200);
    CHECK(closes);
    is(&body, "ok");
    CHECK(next_byte(r) == -1);
    hang_up(r);
    /* HTTP/1.0: no chunks, closed behind the answer */
    r = reader_new(dial());
    puts_to(r->fd, "GET /stream?n=3 HTTP/1.0\r\n\r\n");
    CHECK_U64(answer(r, &body, false, &closes), 200);
    CHECK(closes);
    for (size_t i = 0; i < 3; i++) {
        CHECK(next_byte(r) == pattern(i));
    }
    CHECK(next_byte(r) == -1);
    hang_up(r);
    /* half-closed behind the request: an answer given at once still arrives */
    r = reader_new(dial());
    puts_to(r->fd, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(shutdown(r->fd, SHUT_WR) == 0);
    CHECK_U64(answer(r, &body, false, NULL), 404);
    CHECK(next_byte(r) == -1);
    hang_up(r);
    asy_free(data);
    asy_buf_done(&body);
}

static void check_pipeline(void) {
    enum { COUNT = 3000 }; /* more than may wait behind a request in hand */
    struct reader *r = reader_new(dial());
    struct asy_buf body, all;
    asy_buf_init(&body, 1000);
    asy_buf_init(&all, COUNT * 100);
    for (int i = 0; i < COUNT; i++) {
        CHECK_OK(asy_buf_printf(&all, "GET /%s%d HTTP/1.1\r\nHost: x\r\nX-Pad: 0123456789\r\n\r\n",
                                i % 3 == 0 ? "late" : "now", i));
    }
    put(r->fd, all.p, all.n);
    for (int i = 0; i < COUNT; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "/%s%d", i % 3 == 0 ? "late" : "now", i);
        CHECK_U64(answer(r, &body, false, NULL), i % 3 == 0 ? 200 : 404);
        is(&body, path);
    }
    hang_up(r);
    asy_buf_done(&body);
    asy_buf_done(&all);
}

static void check_malformed(void) {
#define H "Host: x\r\n"
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {400, "POST /echo HTTP/1.1\r\n" H
              "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\n" H
              "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
        {400, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\ncontent-length: 3\r\n\r\nhello"},
        {400, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\nhello"},
        {400, "POST /echo HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\nhello"},
        {400, "POST /echo HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\nhello"},
        {400, "POST /echo HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\nhello"},
        {400, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\nhello"},
        {400, "POST /echo HTTP/1.1\r\n" H "Content-Length:\r\n\r\nhello"},
        {400, "POST /echo HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\nhello"},
        {413, "POST /echo HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n"},
        {413, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5242881\r\n\r\n"},
        {413, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n500001\r\n"},
        {413, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n00000000\r\n"},
        {501, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
        {501, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
        {501, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
        {501, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\n" H
              "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nx\r\n"},
        {400,
         "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n"},
        {400,
         "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\n" H
              "Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n"},
        {400,
         "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n"},
        {400, "POST /echo HTTP/1.1\r\n" H
              "Transfer-Encoding: chunked\r\n\r\n0\r\n bad: trailer\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n" H "X: a\rb\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\nHost: x\n\n"},
        {400, "GET /echo HTTP/1.1\r\nHost: x\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n" H "X\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n" H ": x\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n" H "X Y: x\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n" H "X\x80: x\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n" H "X: \x01\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n\r\n"},
        {400, "GET /echo HTTP/1.1\r\n" H H "\r\n"},
        {400, "GET /echo HTTP/1.1\r\nHost: a b\r\n\r\n"},
        {400,
         "GET /echo HTTP/1.1\r\n" H "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"},
        {400, "\r\n\r\nGET /echo HTTP/1.1\r\n" H "\r\n"},
        {400, " GET /echo HTTP/1.1\r\n" H "\r\n"},
        {400, "GET  /echo HTTP/1.1\r\n" H "\r\n"},
        {400, "GET\t/echo HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /echo  HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /echo HTTP/1.1 \r\n" H "\r\n"},
        {400, "GET /echo\r\n" H "\r\n"},
        {400, "GET echo HTTP/1.1\r\n" H "\r\n"},
        {400, "GET * HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /a#b HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /echo http/1.1\r\n" H "\r\n"},
        {400, "GET /echo HTTP/1.11\r\n" H "\r\n"},
        {400, "G(T /echo HTTP/1.1\r\n" H "\r\n"},
        {501, "get /echo HTTP/1.1\r\n" H "\r\n"},
        {501, "CONNECT /x HTTP/1.1\r\n" H "\r\n"},
        {501, "BREW /echo HTTP/1.1\r\n" H "\r\n"},
        {505, "GET /echo HTTP/1.2\r\n" H "\r\n"},
        {505, "GET /echo HTTP/2.0\r\n" H "\r\n"},
        {417, "GET /echo HTTP/1.1\r\n" H "Expect: wonders\r\n\r\n"},
    };
    struct asy_buf body;
    asy_buf_init(&body, 10000);
    int before = atomic_load(&request_count);
    for (size_t i = 0; i < ASY_COUNT(table); i++) {
        struct reader *r = reader_new(dial());
        bool closes = false;
        puts_to(r->fd, table[i].text);
        int status = answer(r, &body, false, &closes);
        if (status != table[i].status || !closes || body.n == 0 || body.p[0] != '{' ||
            next_byte(r) != -1) {
            fprintf(stderr, "case %zu gave %d: %s\n", i, status, table[i].text);
            CHECK(false);
        }
        hang_up(r);
    }
    CHECK_U64(atomic_load(&request_count), before);
    /* too much of everything; a NUL byte */
    struct asy_buf big;
    asy_buf_init(&big, 100000);
    for (int kind = 0; kind < 4; kind++) {
        asy_buf_clear(&big);
        CHECK_OK(asy_buf_printf(&big, "GET /echo HTTP/1.1\r\n" H));
        for (int i = 0; i < (kind == 0 ? 100 : 30); i++) {
            CHECK_OK(asy_buf_printf(&big, "X-%d: %0*d\r\n", i, kind == 0 ? 1 : 700, 0));
        }
        if (kind == 2) {
            big.n = 17000; /* no end in sight */
        } else if (kind == 3) {
            big.n = 500;
            CHECK_OK(asy_buf_add(&big, "\0\r\n\r\n", 5));
        } else {
            CHECK_OK(asy_buf_add_str(&big, "\r\n"));
        }
        struct reader *r = reader_new(dial());
        put(r->fd, big.p, big.n);
        CHECK_U64(answer(r, &body, false, NULL), kind == 3 ? 400 : 431);
        CHECK(next_byte(r) == -1);
        hang_up(r);
    }
    asy_buf_done(&big);
    asy_buf_done(&body);
#undef H
}

static void check_gone(void) {
    int before = atomic_load(&gone_count);
    /* before the first byte, by FIN and by RST, and with unread input behind the request */
    for (int kind = 0; kind < 3; kind++) {
        int fd = dial();
        puts_to(fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
        await_event('h');
        if (kind == 1) {
            reset(fd);
        } else {
            if (kind == 2) { /* enough that the server reads no more of it */
                static const uint8_t junk[70000];
                put(fd, junk, sizeof junk);
            }
            CHECK(close(fd) == 0);
        }
        await_event('g');
    }
    /* in mid-stream */
    for (int kind = 0; kind < 2; kind++) {
        struct reader *r = reader_new(dial());
        puts_to(r->fd, "GET /trickle?n=1000000000 HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(next_byte(r) == 'H');
        if (kind == 0) {
            hang_up(r);
        } else {
            reset(r->fd);
            asy_free(r);
        }
        char got = 0;
        while (got != 'g') { /* the queue may fill up before */
            CHECK(read(event_fds[0], &got, 1) == 1);
        }
        atomic_store(&full_count, 1);
    }
    CHECK_U64(atomic_load(&gone_count), before + 5);
    /* the server cuts */
    struct reader *r = reader_new(dial());
    puts_to(r->fd, "GET /abort HTTP/1.1\r\nHost: x\r\n\r\n");
    while (next_byte(r) >= 0) {
    }
    CHECK(errno == ECONNRESET);
    hang_up(r);
    CHECK_U64(atomic_load(&gone_count), before + 5);
}

static void check_slow_reader(void) {
    enum { LEN = 30 * 1000 * 1000 };
    atomic_store(&full_count, 0);
    int drains = atomic_load(&drain_count);
    struct reader *r = reader_new(dial());
    struct asy_buf body;
    asy_buf_init(&body, LEN + 1);
    char text[100];
    (void)snprintf(text, sizeof text, "GET /stream?n=%d HTTP/1.1\r\nHost: x\r\n\r\n", LEN);
    puts_to(r->fd, text);
    await_event('f');
    CHECK_U64(answer(r, &body, false, NULL), 200);
    CHECK_U64(body.n, LEN);
    bool same = true;
    for (size_t i = 0; i < body.n; i++) {
        same = same && body.p[i] == pattern(i);
    }
    CHECK(same);
    CHECK(atomic_load(&drain_count) > drains);
    hang_up(r);
    asy_buf_done(&body);
}

static void check_many_streams(void) {
    enum { COUNT = 500, LEN = 20 * PIECE + 7 };
    struct reader **all = asy_alloc(COUNT * sizeof(struct reader *));
    struct asy_buf body;
    asy_buf_init(&body, LEN + 1);
    char text[100];
    (void)snprintf(text, sizeof text, "GET /trickle?n=%d HTTP/1.1\r\nHost: x\r\n\r\n", LEN);
    for (int i = 0; i < COUNT; i++) {
        all[i] = reader_new(dial());
        puts_to(all[i]->fd, text);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_U64(answer(all[i], &body, false, NULL), 200);
        CHECK_U64(body.n, LEN);
        bool same = true;
        for (size_t k = 0; k < body.n; k++) {
            same = same && body.p[k] == pattern(k);
        }
        CHECK(same);
        hang_up(all[i]);
    }
    asy_free(all);
    asy_buf_done(&body);
}

/* ---- a second server with small limits ---- */

static struct asy_http_server *small;
static bool small_done;

static void on_small_done(void *arg) {
    CHECK(arg == &small);
    small_done = true;
    tell('d');
}

static void on_small_shutdown(void *arg) {
    (void)arg;
    asy_http_server_shutdown(small, asy_env_mono_ns(asy_env_system()) + 20000000000u, on_small_done,
                             &small);
}

static void check_limits(void) {
    struct asy_buf body;
    asy_buf_init(&body, 10000);
    /* two connections may be open; the third hears why not */
    struct reader *a = reader_new(dial()), *b = reader_new(dial());
    puts_to(a->fd, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    puts_to(b->fd, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_U64(answer(a, &body, false, NULL), 404);
    CHECK_U64(answer(b, &body, false, NULL), 404);
    struct reader *c = reader_new(dial());
    CHECK_U64(answer(c, &body, false, NULL), 503);
    CHECK(next_byte(c) == -1);
    hang_up(c);
    /* idle: closed without a word */
    CHECK(next_byte(a) == -1);
    CHECK(next_byte(b) == -1);
    hang_up(a);
    hang_up(b);
    /* half a head, half a body */
    a = reader_new(dial());
    puts_to(a->fd, "GET /none HTTP/1.1\r\nHost");
    CHECK_U64(answer(a, &body, false, NULL), 408);
    CHECK(next_byte(a) == -1);
    hang_up(a);
    a = reader_new(dial());
    puts_to(a->fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
    CHECK_U64(answer(a, &body, false, NULL), 408);
    CHECK(next_byte(a) == -1);
    hang_up(a);
    /* a body limit of its own */
    a = reader_new(dial());
    puts_to(a->fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n");
    CHECK_U64(answer(a, &body, false, NULL), 413);
    hang_up(a);
    /* takes nothing of the output: cut */
    a = reader_new(dial());
    puts_to(a->fd, "GET /stream?n=100000000 HTTP/1.1\r\nHost: x\r\n\r\n");
    await_event('g');
    hang_up(a);
    /* shutdown waits for the request in hand, and takes nothing new */
    a = reader_new(dial());
    puts_to(a->fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    await_event('h');
    asy_loop_post(loop, on_small_shutdown, NULL);
    asy_loop_post(loop, on_late, held);
    bool closes = false;
    CHECK_U64(answer(a, &body, false, &closes), 200);
    CHECK(closes);
    is(&body, "/hold");
    CHECK(next_byte(a) == -1);
    hang_up(a);
    await_event('d');
    CHECK(small_done);
    asy_buf_done(&body);
}

/* ---- */

static void on_swap(void *arg) {
    (void)arg;
    static const struct asy_http_config config = {.max_conns = 2,
                                                  .max_body_len = 100,
                                                  .head_timeout_ms = 50,
                                                  .body_timeout_ms = 50,
                                                  .idle_timeout_ms = 50,
                                                  .stall_timeout_ms = 50};
    CHECK_OK(asy_http_server_new(loop, &small, &config, &handlers, &server, NULL));
    port = asy_http_server_port(small);
    atomic_store(&full_count, 1);
    tell('s');
}

static void on_stop(void *arg) {
    (void)arg;
    asy_loop_stop(loop);
}

static void *clients(void *arg) {
    (void)arg;
    check_round_trips();
    check_pipeline();
    check_malformed();
    check_slow_reader();
    check_gone();
    check_many_streams();
    asy_loop_post(loop, on_swap, NULL);
    await_event('s');
    check_limits();
    asy_loop_post(loop, on_stop, NULL);
    return NULL;
}

int main(void) {
    CHECK(pipe(event_fds) == 0);
    CHECK_OK(asy_loop_new(&loop, NULL));
    static const struct asy_http_config config = {.host = "127.0.0.1"};
    CHECK_OK(asy_http_server_new(loop, &server, &config, &handlers, &server, NULL));
    port = asy_http_server_port(server);
    struct asy_http_config taken = {.port = port}, odd = {.host = "localhost"};
    struct asy_http_server *other = NULL;
    struct asy_why why;
    CHECK_ERR(asy_http_server_new(loop, &other, &taken, &handlers, NULL, &why), ASY_ERR_IO);
    CHECK_ERR(asy_http_server_new(loop, &other, &odd, &handlers, NULL, &why), ASY_ERR_RANGE);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, clients, NULL) == 0);
    asy_loop_run(loop);
    CHECK(pthread_join(thread, NULL) == 0);
    asy_http_server_free(small);
    asy_http_server_free(server);
    asy_loop_free(loop);
    return asy_test_end();
}
