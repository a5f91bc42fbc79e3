/* Measures the HTTP server on loopback, 1 and 64 connections: server thread on one CPU, clients on
 * another. json    POST of 1 KB, answer of 300 bytes paced   64 chunks of 180 bytes, each in a turn
 * of its own (one send each) gathered the same, eight to a turn ws      binary messages of 200
 * bytes echoed Prints CPU time of the server's thread, user and system, which loopback makes pay
 * for the receiving side too. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/net.h"

enum { CHUNKS = 64, CHUNK_LEN = 180, CONNS_MAX = 64, ROUNDS = 5, ROUND_MS = 400 };

static struct asy_loop *loop;
static uint16_t port;
static int chunks_per_turn;

/* ---- server ---- */

struct stream {
    struct asy_http_req *req;
    int left;
    bool gone;
};

static void stream_on(void *arg) {
    static const uint8_t chunk[CHUNK_LEN] = "data: {}\n\n";
    struct stream *s = arg;
    for (int i = 0; i < chunks_per_turn && s->left != 0 && !s->gone; i++, s->left--) {
        if (asy_http_stream_write(s->req, asy_bytes_of(chunk, sizeof chunk)) != ASY_OK) {
            break; /* a slow client: next turn */
        }
    }
    if (s->left != 0 && !s->gone) {
        asy_loop_post(loop, stream_on, s);
        return;
    }
    if (!s->gone && asy_http_stream_end(s->req) != ASY_OK) {
        abort();
    }
    asy_free(s);
}

static void on_request(void *arg, struct asy_http_req *req) {
    static const uint8_t json[300] = "{\"id\":1}";
    (void)arg;
    struct asy_bytes value;
    struct asy_http_header type = {"Content-Type", "application/json"};
    if (asy_bytes_eq(asy_http_path(req), ASY_STR("/json")) &&
        asy_http_header(req, "authorization", &value)) {
        if (asy_http_respond(req, 200, &type, 1, asy_bytes_of(json, sizeof json)) != ASY_OK) {
            abort();
        }
        return;
    }
    struct stream *s = asy_alloc(sizeof *s);
    *s = (struct stream){req, CHUNKS, false};
    asy_http_set_user(req, s);
    type.value = "text/event-stream";
    if (asy_http_stream_begin(req, 200, &type, 1) != ASY_OK) {
        abort();
    }
    stream_on(s);
}
static void on_gone(void *arg, struct asy_http_req *req) {
    (void)arg;
    ((struct stream *)asy_http_user(req))->gone = true;
}
static const struct asy_http_handlers handlers = {.on_request = on_request, .on_gone = on_gone};

static void on_open(void *arg, struct asy_ws *ws, const char *peer) {
    (void)arg;
    (void)ws;
    (void)peer;
}
static void on_message(void *arg, struct asy_ws *ws, struct asy_bytes in) {
    (void)arg;
    if (asy_ws_send(ws, in) != ASY_OK) {
        abort();
    }
}
static void on_close(void *arg, struct asy_ws *ws, uint16_t code, const char *reason) {
    (void)arg;
    (void)ws;
    (void)code;
    (void)reason;
}
static const struct asy_ws_handlers ws_handlers = {on_open, on_message, NULL, on_close};

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)pthread_setaffinity_np(pthread_self(), sizeof set,
                                 &set); /* one CPU only: measured all the same */
}

static clockid_t server_clock;

static void on_stop(void *arg) {
    (void)arg;
    asy_loop_stop(loop);
}

static void *serve(void *arg) {
    (void)arg;
    pin(0);
    asy_loop_run(loop);
    return NULL;
}

/* ---- clients: one epoll, each connection sends a request when its answer is whole ---- */

struct client {
    int fd;
    size_t want, got;
};

static uint64_t clock_us(clockid_t id) {
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void send_all(int fd, const void *p, size_t n) {
    if (send(fd, p, n, MSG_NOSIGNAL) != (ssize_t)n) {
        abort();
    }
}

static int dial(void) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        abort();
    }
    return fd;
}

/* Length of one answer, which is the same every time. */
static size_t probe(const char *request, size_t n, const char *end, size_t end_len) {
    static char in[65536];
    size_t got = 0;
    int fd = dial();
    send_all(fd, request, n);
    while (got < end_len || memcmp(in + got - end_len, end, end_len) != 0) {
        ssize_t r = recv(fd, in + got, sizeof in - got, 0);
        if (r <= 0) {
            abort();
        }
        got += (size_t)r;
    }
    close(fd);
    return got;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *name, int conns, const char *hello, const void *request, size_t len,
                    size_t answer_len, int units) {
    struct client clients[CONNS_MAX];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    static char in[65536];
    for (int i = 0; i < conns; i++) {
        clients[i] = (struct client){dial(), answer_len, 0};
        if (hello != NULL) {
            send_all(clients[i].fd, hello, strlen(hello));
            size_t got = 0;
            while (got < 4 || memcmp(in + got - 4, "\r\n\r\n", 4) != 0) {
                ssize_t r = recv(clients[i].fd, in + got, sizeof in - got, 0);
                if (r <= 0) {
                    abort();
                }
                got += (size_t)r;
            }
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, clients[i].fd, &event) != 0) {
            abort();
        }
        send_all(clients[i].fd, request, len);
    }
    double cpu[ROUNDS], rate[ROUNDS];
    for (int round = -1; round < ROUNDS; round++) { /* the first warms up */
        uint64_t begin = clock_us(CLOCK_MONOTONIC), begin_cpu = clock_us(server_clock), done = 0,
                 now = begin;
        while (now - begin < ROUND_MS * 1000u) {
            struct epoll_event events[CONNS_MAX];
            int n = epoll_wait(poll, events, CONNS_MAX, 1000);
            for (int i = 0; i < n; i++) {
                struct client *c = events[i].data.ptr;
                ssize_t r = recv(c->fd, in, sizeof in, 0);
                if (r <= 0) {
                    abort();
                }
                for (c->got += (size_t)r; c->got >= c->want; c->got -= c->want) {
                    done++;
                    send_all(c->fd, request, len);
                }
            }
            now = clock_us(CLOCK_MONOTONIC);
        }
        if (round >= 0) {
            cpu[round] =
                (double)(clock_us(server_clock) - begin_cpu) / (double)(done * (uint64_t)units);
            rate[round] = (double)(done * (uint64_t)units) * 1e6 / (double)(now - begin);
        }
    }
    qsort(cpu, ROUNDS, sizeof cpu[0], by_value);
    qsort(rate, ROUNDS, sizeof rate[0], by_value);
    printf("%-9s %3d connections: %6.2f us CPU each (median; lowest %.2f), %.0f/s\n", name, conns,
           cpu[ROUNDS / 2], cpu[0], rate[ROUNDS / 2]);
    for (int i = 0; i < conns; i++) {
        close(clients[i].fd);
    }
    close(poll);
}

int main(void) {
    static const struct asy_ws_route route = {.path = "/ws", .handlers = &ws_handlers};
    static const struct asy_http_config config = {.routes = &route, .route_count = 1};
    struct asy_http_server *server;
    struct asy_why why;
    if (asy_loop_new(&loop, &why) != ASY_OK ||
        asy_http_server_new(loop, &server, &config, &handlers, NULL, &why) != ASY_OK) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    port = asy_http_server_port(server);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, NULL) != 0 ||
        pthread_getcpuclockid(thread, &server_clock) != 0) {
        return 1;
    }
    pin(1);
    static char post[2000], body[1024];
    memset(body, 'x', sizeof body);
    int post_len = snprintf(
        post, sizeof post,
        "POST /json HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: "
        "*/*\r\nContent-Type: application/json\r\n"
        "Authorization: Bearer sk-test-0123456789abcdef\r\nContent-Length: 1024\r\n\r\n%.1024s",
        body);
    static const char get[] = "GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    static const char hello[] = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: "
                                "upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    static uint8_t frame[8 + 200] = {0x82, 0x80 | 126, 0, 200};
    static const int conns[] = {1, CONNS_MAX};
    chunks_per_turn = 1;
    size_t json_len = probe(post, (size_t)post_len, "\0", 1),
           sse_len = probe(get, sizeof get - 1, "\r\n0\r\n\r\n", 7);
    for (size_t i = 0; i < 2; i++) {
        measure("json", conns[i], NULL, post, (size_t)post_len, json_len, 1);
        chunks_per_turn = 1;
        measure("paced", conns[i], NULL, get, sizeof get - 1, sse_len, CHUNKS);
        chunks_per_turn = 8;
        measure("gathered", conns[i], NULL, get, sizeof get - 1, sse_len, CHUNKS);
        measure("ws", conns[i], hello, frame, sizeof frame, 4 + 200, 1);
    }
    asy_loop_post(loop, on_stop, NULL);
    pthread_join(thread, NULL);
    asy_http_server_free(server);
    asy_loop_free(loop);
    return 0;
}
