/*~ floor: what the gateway is measured against.
 *
 *     floor upstream [PACE_MS]
 *     floor relay PORT
 *
 * `upstream` is an OpenAI-compatible server that says the last message again, three bytes a token,
 * each delta a send of its own; its streams and answers are as long as the gateway's. `relay`
 * copies bytes between each client and a connection of its own to PORT, and reads none of them:
 * no relay can do with less.
 *
 * Both print the port they took, then serve until a signal ends them. One thread, epoll,
 * TCP_NODELAY.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"

enum { PIECE = 3, MAX_DEAD = 4096, READ_LEN = 256 * 1024 };

static int poll_fd;
static uint8_t input[READ_LEN];

_Noreturn static void die(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void must(enum asy_err err) {
    if (err != ASY_OK) {
        die(asy_err_text(err));
    }
}

static int new_socket(void) {
    const int on = 1;
    /* allowed: what the server is measured against must not be made of the server's own code */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        die("socket");
    }
    return fd;
}

static struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static void watch(int op, int fd, uint32_t what, void *user) {
    struct epoll_event event = {.events = what, .data.ptr = user};
    if (epoll_ctl(poll_fd, op, fd, &event) != 0) {
        die("epoll");
    }
}

/* Listens on a free port of the loopback and prints it; its events carry NULL. */
static int listen_anywhere(void) {
    struct sockaddr_in addr = loopback(0);
    socklen_t len = sizeof addr;
    int fd = new_socket();
    if (bind(fd, (const struct sockaddr *)&addr, sizeof addr) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0) {
        die("listen");
    }
    watch(EPOLL_CTL_ADD, fd, EPOLLIN, NULL);
    printf("%u\n", ntohs(addr.sin_port));
    fflush(stdout);
    return fd;
}

static int accept_one(int listener) {
    const int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        die("accept");
    }
    return fd;
}

/* ---- relay --------------------------------------------------------------------------------------
 */

struct half {
    int fd; /* -1: closed, to be freed at the end of the turn */
    struct half *other;
    struct asy_buf queue; /* for fd */
};

static struct half *dead[MAX_DEAD];
static unsigned dead_count;

static void close_both(struct half *h) {
    struct half *both[2] = {h, h->other};
    for (int i = 0; i < 2; i++) {
        if (both[i]->fd >= 0) {
            close(both[i]->fd);
            both[i]->fd = -1;
            dead[dead_count++] = both[i];
        }
    }
}

static void pair(int client, uint16_t port) {
    struct sockaddr_in addr = loopback(port);
    int fds[2] = {client, new_socket()};
    if (connect(fds[1], (const struct sockaddr *)&addr, sizeof addr) != 0) {
        die("connect");
    }
    struct half *h[2] = {asy_alloc(sizeof *h[0]), asy_alloc(sizeof *h[1])};
    for (int i = 0; i < 2; i++) {
        *h[i] = (struct half){.fd = fds[i], .other = h[1 - i]};
        asy_buf_init(&h[i]->queue, READ_LEN);
        watch(EPOLL_CTL_ADD, fds[i], EPOLLIN, h[i]);
    }
}

/* A slow reader stops its writer: reading goes on when the queue is empty. */
static bool flush_half(struct half *h) {
    ssize_t n = send(h->fd, h->queue.p, h->queue.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        return errno == EAGAIN;
    }
    asy_buf_consume(&h->queue, (size_t)n);
    if (h->queue.n == 0) {
        watch(EPOLL_CTL_MOD, h->fd, EPOLLIN, h);
        watch(EPOLL_CTL_MOD, h->other->fd, EPOLLIN, h->other);
    }
    return true;
}

static bool copy(struct half *h) {
    struct half *to = h->other;
    if (to->queue.n != 0) {
        return true;
    }
    ssize_t got = recv(h->fd, input, sizeof input, MSG_DONTWAIT);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN;
    }
    ssize_t sent = send(to->fd, input, (size_t)got, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) {
        return false;
    }
    sent = sent < 0 ? 0 : sent;
    if (sent < got) {
        must(asy_buf_add(&to->queue, input + sent, (size_t)(got - sent)));
        watch(EPOLL_CTL_MOD, to->fd, EPOLLIN | EPOLLOUT, to);
        watch(EPOLL_CTL_MOD, h->fd, 0, h);
    }
    return true;
}

_Noreturn static void relay(uint16_t port) {
    int listener = listen_anywhere();
    for (;;) {
        struct epoll_event ready[256];
        int n = epoll_wait(poll_fd, ready, ASY_COUNT(ready), -1);
        for (int i = 0; i < n; i++) {
            struct half *h = ready[i].data.ptr;
            if (h == NULL) {
                pair(accept_one(listener), port);
                continue;
            }
            bool ok = h->fd < 0 || (ready[i].events & EPOLLOUT) == 0 || flush_half(h);
            if (h->fd >= 0 && (!ok || ((ready[i].events & ~(uint32_t)EPOLLOUT) != 0 && !copy(h)))) {
                close_both(h);
            }
        }
        while (dead_count != 0) {
            struct half *h = dead[--dead_count];
            asy_buf_done(&h->queue);
            asy_free(h);
        }
    }
}

/* ---- upstream
 * ------------------------------------------------------------------------------------ */

struct conn {
    int fd;
    struct asy_buf in; /* one request */
    struct asy_bytes said;
    uint64_t tokens, sent, due_ns;
    struct conn *prev, *next; /* of those that stream */
};

static struct conn *streams;
static uint64_t pace_ns;

static void send_all(struct conn *c, struct asy_bytes out) {
    while (out.n != 0) { /* blocking: the readers here are fast, or gone */
        ssize_t n = send(c->fd, out.p, out.n, MSG_NOSIGNAL);
        if (n <= 0) {
            return; /* its end is read next */
        }
        out = asy_bytes_of(out.p + n, out.n - (size_t)n);
    }
}

#define HEAD_OF_CHUNK                                                                              \
    "data: {\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":"                      \
    "\"chat.completion.chunk\",\"created\":1795265719,\"model\":\"echo\",\"choices\":[{\"index\":" \
    "0,"                                                                                           \
    "\"delta\":"
#define TAIL_OF_CHUNK                                                                              \
    "}],\"usage\":null,\"assay\":{\"job_id\":"                                                     \
    "\"0x0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"receipt\":"          \
    "\"/v1/receipts/0x0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}}\n\n"

static void add_chunk(struct asy_buf *out, const char *text) {
    must(asy_buf_printf(out, "%zx\r\n%s\r\n", strlen(text), text));
}

static void unlink_stream(struct conn *c) {
    *(c->prev != NULL ? &c->prev->next : &streams) = c->next;
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    c->prev = c->next = NULL;
}

static void step(struct conn *c, struct asy_buf *out) {
    char text[1024];
    asy_buf_clear(out);
    (void)snprintf(text, sizeof text,
                   HEAD_OF_CHUNK
                   "{\"content\":\"%.*s\"},\"finish_reason\":null}],\"usage\":null}\n\n",
                   PIECE, c->said.p + PIECE * c->sent++);
    add_chunk(out, text);
    send_all(c, asy_buf_bytes(out));
    c->due_ns += pace_ns;
    if (c->sent == c->tokens) {
        asy_buf_clear(out);
        add_chunk(out, HEAD_OF_CHUNK "{},\"finish_reason\":\"length\"" TAIL_OF_CHUNK);
        add_chunk(out, "data: [DONE]\n\n");
        must(asy_buf_add_str(out, "0\r\n\r\n"));
        send_all(c, asy_buf_bytes(out));
        unlink_stream(c);
        asy_buf_clear(&c->in);
    }
}

static void begin_stream(struct conn *c, struct asy_buf *out) {
    asy_buf_clear(out);
    must(asy_buf_add_str(out,
                         "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                         "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"));
    add_chunk(out,
              HEAD_OF_CHUNK "{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],"
                            "\"usage\":null}\n\n");
    send_all(c, asy_buf_bytes(out));
    c->sent = 0;
    c->due_ns = asy_env_mono_ns(asy_env_system());
    c->next = streams;
    if (streams != NULL) {
        streams->prev = c;
    }
    streams = c;
}

static void answer(struct conn *c, struct asy_buf *out) {
    asy_buf_clear(out);
    char text[4096];
    int n = snprintf(
        text, sizeof text,
        "{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion\","
        "\"created\":1795265719,\"model\":\"echo\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
        "\"assistant\",\"content\":\"%.*s\",\"refusal\":null},\"logprobs\":null,"
        "\"finish_reason\":\"length\"" TAIL_OF_CHUNK,
        (int)(PIECE * c->tokens), c->said.p);
    must(asy_buf_printf(out,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Content-Length: %d\r\n\r\n%s",
                        n, text));
    send_all(c, asy_buf_bytes(out));
    asy_buf_clear(&c->in);
}

static const uint8_t *after(struct asy_bytes in, const char *what) {
    const uint8_t *p = memmem(in.p, in.n, what, strlen(what));
    return p != NULL ? p + strlen(what) : NULL;
}

static uint64_t number_at(const uint8_t *p) {
    uint64_t value = 0;
    const char *s = (const char *)p;
    return s != NULL && asy_bytes_to_u64(&value, asy_bytes_of(s, strspn(s, "0123456789"))) == ASY_OK
               ? value
               : 0;
}

/* Serves the request in c->in if it is whole. It knows the load generator's requests only. */
static void serve(struct conn *c, struct asy_buf *out) {
    struct asy_bytes in = asy_buf_bytes(&c->in);
    const uint8_t *body = after(in, "\r\n\r\n");
    if (body == NULL ||
        (size_t)(in.p + in.n - body) < number_at(after(in, "\r\nContent-Length: "))) {
        return;
    }
    in = asy_bytes_of(body, in.n - (size_t)(body - in.p));
    const uint8_t *said = after(in, "\"content\":\"");
    c->tokens = number_at(after(in, "\"max_tokens\":"));
    if (said == NULL || c->tokens == 0 || PIECE * c->tokens > 2048 ||
        PIECE * c->tokens > (size_t)(in.p + in.n - said)) {
        errno = EPROTO;
        die("a request of somebody else");
    }
    c->said = asy_bytes_of(said, PIECE * c->tokens);
    if (after(in, "\"stream\":true") != NULL) {
        begin_stream(c, out);
    } else {
        answer(c, out);
    }
}

static void read_some(struct conn *c, struct asy_buf *out) {
    ssize_t got = recv(c->fd, input, sizeof input, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        if (c->prev != NULL || streams == c) {
            unlink_stream(c);
        }
        close(c->fd);
        asy_buf_done(&c->in);
        asy_free(c);
        return;
    }
    must(asy_buf_add(&c->in, input, (size_t)got));
    serve(c, out);
}

/* One delta of every stream that is due; returns how long nothing will be, in ms. */
static int step_all(struct asy_buf *out) {
    uint64_t now = asy_env_mono_ns(asy_env_system()), next = UINT64_MAX;
    for (struct conn *c = streams, *after_it; c != NULL; c = after_it) {
        after_it = c->next;
        if (c->due_ns <= now) {
            step(c, out);
        } else if (c->due_ns < next) {
            next = c->due_ns;
        }
    }
    if (streams == NULL) {
        return -1;
    }
    return pace_ns == 0 || next == UINT64_MAX ? 0 : (int)((next - now + 999999) / 1000000);
}

_Noreturn static void upstream(void) {
    int listener = listen_anywhere();
    struct asy_buf out;
    asy_buf_init(&out, 64 * 1024);
    for (;;) {
        struct epoll_event ready[256];
        int n = epoll_wait(poll_fd, ready, ASY_COUNT(ready), step_all(&out));
        for (int i = 0; i < n; i++) {
            struct conn *c = ready[i].data.ptr;
            if (c != NULL) {
                read_some(c, &out);
                continue;
            }
            c = asy_alloc(sizeof *c);
            c->fd = accept_one(listener);
            asy_buf_init(&c->in, ASY_MAX_HTTP_BODY);
            watch(EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
        }
    }
}

int main(int argc, char **argv) {
    uint64_t number = 0;
    bool is_relay = argc == 3 && strcmp(argv[1], "relay") == 0;
    bool is_upstream = (argc == 2 || argc == 3) && strcmp(argv[1], "upstream") == 0;
    if ((!is_relay && !is_upstream) ||
        (argc == 3 && asy_bytes_to_u64(&number, asy_bytes_cstr(argv[2])) != ASY_OK) ||
        number > 65535) {
        fprintf(stderr, "usage: floor relay PORT | floor upstream [PACE_MS]\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (is_relay) {
        relay((uint16_t)number);
    }
    pace_ns = number * 1000000u;
    upstream();
}
