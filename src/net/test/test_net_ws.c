/* WebSockets on loopback: our client against our server, and hand-made frames and answers against
 * both. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "net/net.h"

static struct asy_loop *loop;
static struct asy_http_server *server;
static uint16_t port;

/* ---- the server: sends everything back; what a message begins with may ask for more ---- */

static int server_opens, server_closes;
static uint16_t server_code;
static char server_reason[200];
static atomic_int event_code; /* of the last close, for threads */
static int event_fds[2];
static struct asy_ws *paused_ws;
static size_t paused_messages;

static void on_server_open(void *arg, struct asy_ws *ws, const char *peer) {
    CHECK(arg == &server);
    CHECK(strncmp(peer, "127.0.0.1:", 10) == 0);
    server_opens++;
    asy_ws_set_user(ws, &server_opens);
}

static void on_server_message(void *arg, struct asy_ws *ws, struct asy_bytes in) {
    (void)arg;
    CHECK(asy_ws_user(ws) == &server_opens);
    if (asy_bytes_eq(in, ASY_STR("close me"))) {
        asy_ws_close(ws, 4001, "as you wish");
        CHECK_ERR(asy_ws_send(ws, in), ASY_ERR_CLOSED);
    } else if (asy_bytes_eq(in, ASY_STR("drop me"))) {
        server_closes++; /* there will be no on_close */
        asy_ws_drop(ws);
    } else if (asy_bytes_eq(in, ASY_STR("pause"))) {
        asy_ws_pause(ws);
        paused_ws = ws;
        paused_messages = 0;
    } else if (paused_ws == ws && in.n > 0 && in.p[0] == 'n') {
        CHECK_U64(asy_le32_get(in.p + 1), paused_messages);
        paused_messages++;
        if (paused_messages % 7 == 0) {
            asy_ws_pause(ws); /* from within, with messages waiting */
            asy_ws_resume(ws);
        }
        CHECK_OK(asy_ws_send(ws, in));
    } else {
        CHECK_OK(asy_ws_send(ws, in));
    }
}

static void on_server_close(void *arg, struct asy_ws *ws, uint16_t code, const char *reason) {
    (void)arg;
    CHECK_ERR(asy_ws_send(ws, ASY_STR("x")), ASY_ERR_CLOSED);
    server_closes++;
    server_code = code;
    (void)snprintf(server_reason, sizeof server_reason, "%s", reason);
    atomic_store(&event_code, code);
    CHECK(write(event_fds[1], "c", 1) == 1);
}

static const struct asy_ws_handlers server_handlers = {on_server_open, on_server_message, NULL,
                                                       on_server_close};

static void on_request(void *arg, struct asy_http_req *req) {
    (void)arg;
    CHECK_OK(asy_http_respond(req, 403, NULL, 0, ASY_STR("no")));
}
static void on_gone(void *arg, struct asy_http_req *req) {
    (void)arg;
    (void)req;
    CHECK(false);
}
static const struct asy_http_handlers http_handlers = {.on_request = on_request,
                                                       .on_gone = on_gone};
static const struct asy_ws_route routes[] = {
    {"/link", "assay-link.1", &server_handlers, &server, 0, 0},
    {"/nervous", NULL, &server_handlers, &server, 250, 600},
};

/* ---- the client: a list of steps ---- */

struct client {
    struct asy_ws *ws;
    int opens, closes, drains;
    uint16_t code;
    char reason[200];
    size_t got, want;
    uint8_t *data;
    void (*on_message)(struct client *client, struct asy_bytes in);
};

static void on_client_open(void *arg, struct asy_ws *ws, const char *peer) {
    struct client *client = arg;
    CHECK(ws == client->ws);
    CHECK(strchr(peer, ':') != NULL);
    client->opens++;
    if (client->on_message != NULL) {
        client->on_message(client, (struct asy_bytes){NULL, 0});
    }
}
static void on_client_message(void *arg, struct asy_ws *ws, struct asy_bytes in) {
    struct client *client = arg;
    (void)ws;
    client->on_message(client, in);
}
static void on_client_drain(void *arg, struct asy_ws *ws) {
    struct client *client = arg;
    CHECK(asy_ws_queued(ws) <= ASY_MAX_LINK_QUEUE / 4);
    client->drains++;
    client->on_message(client, (struct asy_bytes){NULL, 0});
}
static void on_client_close(void *arg, struct asy_ws *ws, uint16_t code, const char *reason) {
    struct client *client = arg;
    CHECK(ws == client->ws);
    client->closes++;
    client->code = code;
    (void)snprintf(client->reason, sizeof client->reason, "%s", reason);
    asy_loop_stop(loop);
}
static const struct asy_ws_handlers client_handlers = {on_client_open, on_client_message,
                                                       on_client_drain, on_client_close};

/* Runs one client to its end. */
static struct client run(const char *url, const char *subprotocol, const char *ca_file,
                         void (*on_message)(struct client *, struct asy_bytes)) {
    struct client client = {.on_message = on_message};
    struct asy_ws_client_config config = {
        .url = url, .subprotocol = subprotocol, .ca_file = ca_file};
    CHECK_OK(asy_ws_connect(loop, &client.ws, &config, &client_handlers, &client, NULL));
    CHECK_ERR(asy_ws_send(client.ws, ASY_STR("early")), ASY_ERR_CLOSED);
    asy_loop_run(loop);
    CHECK_U64(client.closes, 1);
    asy_free(client.data);
    return client;
}

static const char *url_of(const char *scheme, const char *host, uint16_t to, const char *path) {
    static char url[200];
    (void)snprintf(url, sizeof url, "%s://%s:%u%s", scheme, host, to, path);
    return url;
}

/* every size that changes the frame's form, and the largest */
static const size_t sizes[] = {1,     125,   126,   127,     4095,          4096, 4097,
                               65535, 65536, 65537, 1000000, ASY_MAX_FRAME, 0};

static void echo_step(struct client *client, struct asy_bytes in) {
    if (client->data == NULL) {
        client->data = asy_alloc(ASY_MAX_FRAME + 1);
        asy_test_fill(client->data, ASY_MAX_FRAME + 1);
    } else {
        CHECK_U64(in.n, sizes[client->got]);
        CHECK(in.n == 0 || memcmp(in.p, client->data, in.n) == 0);
        client->got++;
    }
    if (client->got == ASY_COUNT(sizes)) {
        CHECK_ERR(asy_ws_send(client->ws, asy_bytes_of(client->data, ASY_MAX_FRAME + 1)),
                  ASY_ERR_TOO_LONG);
        asy_ws_close(client->ws, ASY_WS_NORMAL, "done");
        asy_ws_close(client->ws, ASY_WS_INTERNAL, "twice");
    } else {
        CHECK_OK(asy_ws_send(client->ws, asy_bytes_of(client->data, sizes[client->got])));
    }
}

/* Fills the queue, and again when it has drained; every byte comes back. */
static void flood_step(struct client *client, struct asy_bytes in) {
    enum { PIECE = 100000, TOTAL = 300 };
    if (client->data == NULL) {
        client->data = asy_alloc(PIECE);
    }
    if (in.n != 0) {
        CHECK_U64(in.n, PIECE);
        CHECK_U64(asy_le32_get(in.p), client->got);
        if (++client->got == TOTAL) {
            asy_ws_close(client->ws, ASY_WS_NORMAL, "");
        }
        return;
    }
    while (client->want < TOTAL) {
        asy_le32_put(client->data, (uint32_t)client->want);
        enum asy_err err = asy_ws_send(client->ws, asy_bytes_of(client->data, PIECE));
        if (err != ASY_OK) {
            CHECK_ERR(err, ASY_ERR_FULL);
            CHECK(asy_ws_queued(client->ws) + PIECE + 14 > ASY_MAX_LINK_QUEUE);
            return;
        }
        client->want++;
    }
}

static void close_step(struct client *client, struct asy_bytes in) {
    (void)in;
    CHECK_OK(asy_ws_send(client->ws, ASY_STR("close me")));
}

static void drop_step(struct client *client, struct asy_bytes in) {
    (void)in;
    CHECK_OK(asy_ws_send(client->ws, ASY_STR("drop me")));
}

static void on_resume(void *arg) {
    CHECK_U64(paused_messages, 0);
    asy_ws_resume(paused_ws);
    asy_timer_free(*(struct asy_timer **)arg);
}

/* Small messages behind a pause: those in wslay's hands, in ours and in the kernel all wait, and
 * keep their order. */
static void pause_step(struct client *client, struct asy_bytes in) {
    enum { COUNT = 30000 };
    static struct asy_timer *timer;
    if (in.n == 0 && client->want == 0) {
        CHECK_OK(asy_ws_send(client->ws, ASY_STR("pause")));
        for (; client->want < COUNT; client->want++) {
            uint8_t message[5] = {'n'};
            asy_le32_put(message + 1, (uint32_t)client->want);
            CHECK_OK(asy_ws_send(client->ws, asy_bytes_of(message, sizeof message)));
        }
        timer = asy_timer_new(loop, on_resume, &timer);
        asy_timer_at(timer, asy_env_mono_ns(asy_env_system()) + 50000000);
    } else if (in.n != 0) {
        CHECK_U64(asy_le32_get(in.p + 1), client->got);
        if (++client->got == COUNT) {
            asy_ws_close(client->ws, ASY_WS_NORMAL, "");
        }
    }
}

static void check_pair(void) {
    struct client c =
        run(url_of("ws", "127.0.0.1", port, "/link"), "assay-link.1", NULL, echo_step);
    CHECK_U64(c.got, ASY_COUNT(sizes));
    CHECK_U64(c.code, 1000);
    CHECK_STR(c.reason, "done");
    CHECK_U64(server_code, 1000);
    CHECK_STR(server_reason, "done");
    c = run(url_of("ws", "localhost", port, "/link?x=1"), "assay-link.1", NULL, flood_step);
    CHECK_U64(c.got, 300);
    CHECK(c.drains > 0);
    c = run(url_of("ws", "127.0.0.1", port, "/link"), "assay-link.1", NULL, pause_step);
    CHECK_U64(c.got, 30000);
    c = run(url_of("ws", "127.0.0.1", port, "/link"), "assay-link.1", NULL, close_step);
    CHECK_U64(c.code, 4001);
    CHECK_STR(c.reason, "as you wish");
    CHECK_U64(server_code, 4001);
    c = run(url_of("ws", "127.0.0.1", port, "/link"), "assay-link.1", NULL, drop_step);
    CHECK_U64(c.code, ASY_WS_ABNORMAL);
    CHECK_U64(server_opens, 5);
    CHECK_U64(server_closes, 5);
    /* refusals */
    c = run(url_of("ws", "127.0.0.1", port, "/other"), NULL, NULL, NULL);
    CHECK_STR(c.reason, "HTTP 403");
    c = run(url_of("ws", "127.0.0.1", port, "/link"), "other.1", NULL, NULL);
    CHECK_STR(c.reason, "HTTP 400");
    c = run(url_of("ws", "127.0.0.1", port, "/link"), NULL, NULL, NULL);
    CHECK_STR(c.reason, "HTTP 400");
    c = run(url_of("ws", "127.0.0.1", port, "/nervous"), "assay-link.1", NULL, NULL);
    CHECK_STR(c.reason, "handshake: wrong subprotocol");
    c = run(url_of("wss", "127.0.0.1", port, "/link"), NULL, NULL, NULL);
    CHECK_U64(c.code, ASY_WS_TLS);
    struct asy_http_server *other;
    static const struct asy_http_config any = {.port = 0};
    CHECK_OK(asy_http_server_new(loop, &other, &any, &http_handlers, NULL, NULL));
    uint16_t free_port = asy_http_server_port(other);
    asy_http_server_free(other);
    c = run(url_of("ws", "127.0.0.1", free_port, "/"), NULL, NULL, NULL);
    CHECK_U64(c.opens, 0);
    CHECK_U64(c.code, ASY_WS_ABNORMAL);
    CHECK_STR(c.reason, "connect: Connection refused");
    /* dropped at every stage before it opens: nothing is called */
    for (int turns = 0; turns < 4; turns++) {
        struct client quiet = {.opens = 0};
        struct asy_ws_client_config config = {
            .url = url_of("ws", turns % 2 == 0 ? "localhost" : "127.0.0.1", port, "/link")};
        CHECK_OK(asy_ws_connect(loop, &quiet.ws, &config, &client_handlers, &quiet, NULL));
        for (int i = 0; i < turns / 2; i++) {
            asy_loop_post(loop, (asy_loop_cb)asy_loop_stop, loop);
            asy_loop_run(loop);
        }
        asy_ws_drop(quiet.ws);
        CHECK_U64(quiet.closes, 0);
    }
    static const char *const bad[] = {"",           "http://x/",  "ws://",     "ws:///x",
                                      "ws://a b/",  "ws://u@h/",  "ws://h:0/", "ws://h:65536/",
                                      "ws://h:x/",  "ws://[::1/", "ws://h/#f", "ws://h:80x/",
                                      "ws://h\xc3/"};
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        struct asy_ws *ws = NULL;
        struct asy_ws_client_config config = {.url = bad[i]};
        struct asy_why why;
        CHECK_ERR(asy_ws_connect(loop, &ws, &config, &client_handlers, NULL, &why), ASY_ERR_SYNTAX);
    }
}

/* ---- hand-made clients, in a thread ---- */

static int dial(uint16_t to) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(to), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval limit = {.tv_sec = 20};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    return fd;
}

static void put(int fd, const void *p, size_t n) {
    while (n != 0) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
        if (done <= 0) {
            return; /* the server may have closed */
        }
        p = (const char *)p + done;
        n -= (size_t)done;
    }
}

static void read_head(int fd, char *ret_text, size_t cap) {
    size_t n = 0;
    while (n + 1 < cap && (n < 4 || memcmp(ret_text + n - 4, "\r\n\r\n", 4) != 0)) {
        if (recv(fd, ret_text + n, 1, 0) != 1) {
            break;
        }
        n++;
    }
    ret_text[n] = '\0';
}

static int open_raw(const char *path) {
    int fd = dial(port);
    char text[1000];
    /* key and answer of RFC 6455 section 1.3 */
    int n = snprintf(
        text, sizeof text,
        "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: other, assay-link.1\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        path);
    put(fd, text, (size_t)n);
    read_head(fd, text, sizeof text);
    CHECK(strncmp(text, "HTTP/1.1 101 ", 13) == 0);
    CHECK(strstr(text, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") != NULL);
    return fd;
}

static void frame(int fd, int first_byte, bool masked, const void *p, size_t n) {
    uint8_t head[14] = {(uint8_t)first_byte};
    size_t len = 2;
    if (n < 126) {
        head[1] = (uint8_t)n;
    } else if (n < 65536) {
        head[1] = 126;
        asy_be16_put(head + 2, (uint16_t)n);
        len = 4;
    } else {
        head[1] = 127;
        asy_be64_put(head + 2, n);
        len = 10;
    }
    if (masked) { /* with a mask of zeros the payload stays as it is */
        head[1] |= 0x80;
        len += 4;
    }
    put(fd, head, len);
    put(fd, p, n);
}

/* Reads one unmasked frame with a short payload; -1 at the end. */
static int read_frame(int fd, uint8_t ret_payload[65536], size_t *ret_n) {
    uint8_t head[4];
    if (recv(fd, head, 2, MSG_WAITALL) != 2) {
        return -1;
    }
    size_t n = head[1];
    if (n == 126) {
        CHECK(recv(fd, head + 2, 2, MSG_WAITALL) == 2);
        n = asy_be16_get(head + 2);
    }
    CHECK(n < 65536);
    CHECK(n == 0 || recv(fd, ret_payload, n, MSG_WAITALL) == (ssize_t)n);
    *ret_n = n;
    return head[0];
}

static void await_close(uint16_t code) {
    char c;
    CHECK(read(event_fds[0], &c, 1) == 1);
    CHECK_U64(atomic_load(&event_code), code);
}

static void expect_close(int fd, uint16_t code) {
    uint8_t payload[65536];
    size_t n = 0;
    CHECK_U64(read_frame(fd, payload, &n), 0x88);
    /* the frame that answers broken framing may name no code */
    CHECK(n >= 2 ? asy_be16_get(payload) == code : code == 1002);
    CHECK(close(fd) == 0);
    await_close(code);
}

static void on_stop(void *arg) {
    (void)arg;
    asy_loop_stop(loop);
}

static void *raw_clients(void *arg) {
    (void)arg;
    uint8_t payload[65536], big[1000];
    size_t n = 0;
    memset(big, 'x', sizeof big);
    /* fragments, with a ping between them; byte by byte too */
    int fd = open_raw("/link");
    frame(fd, 0x02, true, "frag", 4);
    frame(fd, 0x89, true, "ping", 4);
    frame(fd, 0x00, true, "", 0);
    frame(fd, 0x00, true, big, 600);
    frame(fd, 0x80, true, "ment", 4);
    CHECK_U64(read_frame(fd, payload, &n), 0x8a);
    CHECK(n == 4 && memcmp(payload, "ping", 4) == 0);
    CHECK_U64(read_frame(fd, payload, &n), 0x82);
    CHECK(n == 608 && memcmp(payload, "fragxx", 6) == 0 && memcmp(payload + 602, "xxment", 6) == 0);
    static const uint8_t hello[] = {
        0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d,
        0x7f, 0x9f, 0x4d, 0x51, 0x58}; /* RFC 6455 section 5.7, as binary */
    for (size_t i = 0; i < sizeof hello; i++) {
        put(fd, hello + i, 1);
    }
    CHECK_U64(read_frame(fd, payload, &n), 0x82);
    CHECK(n == 5 && memcmp(payload, "Hello", 5) == 0);
    frame(fd, 0x88, true,
          "\x0f\xa0"
          "bye",
          5);
    expect_close(fd, 4000);
    /* against the rules */
    static const struct {
        int first_byte;
        bool masked;
        size_t n;
        uint16_t code;
    } table[] = {
        {0x81, true, 5, 1003}, {0x82, false, 5, 1002},  {0x80, true, 5, 1002},
        {0xc2, true, 5, 1002}, {0x83, true, 5, 1002},   {0x8b, true, 0, 1002},
        {0x09, true, 0, 1002}, {0x89, true, 126, 1002},
    };
    for (size_t i = 0; i < ASY_COUNT(table); i++) {
        fd = open_raw("/link");
        frame(fd, table[i].first_byte, table[i].masked, big, table[i].n);
        expect_close(fd, table[i].code);
    }
    fd = open_raw("/link"); /* too long in one frame, and over fragments */
    static const uint8_t too_big[] = {0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 1, 0, 0, 0, 0, 'x'};
    put(fd, too_big, sizeof too_big);
    expect_close(fd, 1009);
    fd = open_raw("/link");
    uint8_t *part = asy_alloc(700000);
    for (int i = 0; i < 4; i++) {
        frame(fd, i == 0 ? 0x02 : 0x00, true, part, 700000);
    }
    asy_free(part);
    expect_close(fd, 1009);
    fd = open_raw("/link"); /* a close frame without a code */
    frame(fd, 0x88, true, "", 0);
    CHECK_U64(read_frame(fd, payload, &n), 0x88);
    CHECK_U64(read_frame(fd, payload, &n), (uint64_t)-1);
    CHECK(close(fd) == 0);
    await_close(1005);
    /* gone without a word: FIN, RST */
    fd = open_raw("/link");
    CHECK(close(fd) == 0);
    await_close(1006);
    fd = open_raw("/link");
    struct linger linger = {1, 0};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    CHECK(close(fd) == 0);
    await_close(1006);
    /* silent: a ping, then the end */
    fd = dial(port);
    static const char request[] =
        "GET /nervous HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    put(fd, request, sizeof request - 1);
    char text[1000];
    read_head(fd, text, sizeof text);
    CHECK_U64(read_frame(fd, payload, &n), 0x89);
    CHECK_U64(read_frame(fd, payload, &n), (uint64_t)-1);
    CHECK(close(fd) == 0);
    await_close(1006);
    /* handshakes that are none */
    static const struct {
        const char *status, *fields;
    } bad[] = {
        {"426", ""},
        {"426", "Upgrade: websocket\r\n"},
        {"426", "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 8\r\n"},
        {"400", "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"},
        {"400", "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: "
                "13\r\nSec-WebSocket-Key: short\r\n"},
        {"400", "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: "
                "13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"},
    };
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        fd = dial(port);
        int len =
            snprintf(text, sizeof text, "GET /link HTTP/1.1\r\nHost: x\r\n%s\r\n", bad[i].fields);
        put(fd, text, (size_t)len);
        read_head(fd, text, sizeof text);
        CHECK(memcmp(text + 9, bad[i].status, 3) == 0);
        CHECK(close(fd) == 0);
    }
    asy_loop_post(loop, on_stop, NULL);
    return NULL;
}

/* ---- TLS: a server of one connection in a thread, with a certificate made here ---- */

struct tls_server {
    int listen_fd;
    EVP_PKEY *key;
    X509 *cert;
    char ca_file[64];
};

static void tls_make(struct tls_server *t) {
    t->key = EVP_EC_gen("P-256");
    t->cert = X509_new();
    CHECK(t->key != NULL && X509_set_version(t->cert, 2) == 1);
    CHECK(ASN1_INTEGER_set(X509_get_serialNumber(t->cert), 1) == 1);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(t->cert), -60) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(t->cert), 3600) != NULL);
    CHECK(X509_set_pubkey(t->cert, t->key) == 1);
    X509_NAME *name = X509_get_subject_name(t->cert);
    CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"assay test",
                                     -1, -1, 0) == 1);
    CHECK(X509_set_issuer_name(t->cert, name) == 1);
    static const struct {
        int nid;
        const char *value;
    } extensions[] = {{NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1"},
                      {NID_basic_constraints, "critical,CA:TRUE"}};
    for (size_t i = 0; i < ASY_COUNT(extensions); i++) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, extensions[i].nid, extensions[i].value);
        CHECK(e != NULL && X509_add_ext(t->cert, e, -1) == 1);
        X509_EXTENSION_free(e);
    }
    CHECK(X509_sign(t->cert, t->key, EVP_sha256()) > 0);
    (void)snprintf(t->ca_file, sizeof t->ca_file, "/tmp/assay-test-XXXXXX");
    int fd = mkstemp(t->ca_file);
    FILE *file = fdopen(fd, "w");
    CHECK(file != NULL && PEM_write_X509(file, t->cert) == 1 && fclose(file) == 0);
}

/* Echoes one message of 50,000 bytes per connection, on the second one; the others fail in their
 * handshake. */
static void *tls_serve(void *arg) {
    struct tls_server *t = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    CHECK(SSL_CTX_use_certificate(ctx, t->cert) == 1 && SSL_CTX_use_PrivateKey(ctx, t->key) == 1);
    for (int round = 0; round < 3; round++) {
        int fd = accept(t->listen_fd, NULL, NULL);
        SSL *ssl = SSL_new(ctx);
        CHECK(SSL_set_fd(ssl, fd) == 1);
        bool up = SSL_accept(ssl) == 1;
        char text[1000];
        int n = up ? SSL_read(ssl, text, sizeof text - 1) : 0;
        CHECK((n > 0) == (round != 0));
        if (n > 0) {
            text[n] = '\0';
            const char *key = strstr(text, "Sec-WebSocket-Key: ");
            CHECK(key != NULL);
            char joined[100], answer[300];
            (void)snprintf(joined, sizeof joined, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
                           key + 19);
            unsigned char digest[20], accept_text[40];
            CHECK(EVP_Digest(joined, strlen(joined), digest, NULL, EVP_sha1(), NULL) == 1);
            CHECK(EVP_EncodeBlock(accept_text, digest, sizeof digest) == 28);
            /* the answer and the first frame in one piece; the last round's accept value is wrong
             */
            int len = snprintf(answer, sizeof answer,
                               "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: "
                               "Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                               round == 1 ? (char *)accept_text : "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
            memcpy(answer + len, "\x82\x02hi", 4);
            CHECK(SSL_write(ssl, answer, len + 4) == len + 4);
            static uint8_t frame_in[60000];
            size_t got = 0, want = 8 + 50000;
            while (round == 1 && got < want) {
                n = SSL_read(ssl, frame_in + got, (int)(want - got));
                CHECK(n > 0);
                if (n <= 0) {
                    break;
                }
                got += (size_t)n;
            }
            if (round == 1) {
                uint8_t head[4] = {0x82, 126};
                asy_be16_put(head + 2, 50000);
                for (size_t i = 0; i < 50000; i++) {
                    frame_in[8 + i] ^= frame_in[4 + i % 4];
                }
                CHECK(SSL_write(ssl, head, 4) == 4 && SSL_write(ssl, frame_in + 8, 50000) == 50000);
                n = SSL_read(ssl, frame_in, 100); /* its close frame */
                CHECK(n >= 8 && frame_in[0] == 0x88);
                CHECK(SSL_write(ssl, "\x88\x02\x03\xe8", 4) == 4);
                CHECK(SSL_read(ssl, frame_in, 100) <= 0);
            }
        }
        SSL_free(ssl);
        CHECK(close(fd) == 0);
    }
    SSL_CTX_free(ctx);
    return NULL;
}

static void tls_step(struct client *client, struct asy_bytes in) {
    if (in.n == 0) {
        client->data = asy_alloc(50000);
        asy_test_fill(client->data, 50000);
    } else if (in.n == 2) {
        CHECK_MEM(in.p, "hi", 2);
        CHECK_OK(asy_ws_send(client->ws, asy_bytes_of(client->data, 50000)));
    } else {
        CHECK_U64(in.n, 50000);
        CHECK_MEM(in.p, client->data, 50000);
        asy_ws_close(client->ws, ASY_WS_NORMAL, "enough");
    }
}

static void check_tls(void) {
    struct tls_server t;
    tls_make(&t);
    t.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof addr;
    CHECK(bind(t.listen_fd, (struct sockaddr *)&addr, len) == 0 && listen(t.listen_fd, 5) == 0);
    CHECK(getsockname(t.listen_fd, (struct sockaddr *)&addr, &len) == 0);
    uint16_t to = ntohs(addr.sin_port);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, tls_serve, &t) == 0);
    /* not among the system's roots */
    struct client c = run(url_of("wss", "127.0.0.1", to, "/"), NULL, NULL, NULL);
    CHECK_U64(c.code, ASY_WS_TLS);
    CHECK(strstr(c.reason, "self") != NULL);
    c = run(url_of("wss", "localhost", to, "/"), NULL, t.ca_file, tls_step);
    CHECK_U64(c.opens, 1);
    CHECK_U64(c.code, 1000);
    CHECK_STR(c.reason, "enough");
    c = run(url_of("wss", "127.0.0.1", to, "/"), NULL, t.ca_file, NULL);
    CHECK_U64(c.opens, 0);
    CHECK_STR(c.reason, "handshake: malformed answer");
    CHECK(pthread_join(thread, NULL) == 0);
    struct asy_ws *ws;
    struct asy_ws_client_config config = {.url = "wss://localhost/", .ca_file = "/nonexistent"};
    CHECK_ERR(asy_ws_connect(loop, &ws, &config, &client_handlers, NULL, NULL), ASY_ERR_IO);
    CHECK(close(t.listen_fd) == 0 && unlink(t.ca_file) == 0);
    EVP_PKEY_free(t.key);
    X509_free(t.cert);
}

/* ---- shutdown with an open link ---- */

static int done_count;
static void on_done(void *arg) {
    (void)arg;
    done_count++;
    asy_loop_stop(loop);
}

static void shutdown_step(struct client *client, struct asy_bytes in) {
    (void)in;
    (void)client;
    asy_http_server_shutdown(server, asy_env_mono_ns(asy_env_system()) + 20000000000u, on_done,
                             NULL);
}

int main(void) {
    CHECK(pipe(event_fds) == 0);
    CHECK_OK(asy_loop_new(&loop, NULL));
    static const struct asy_http_config config = {.routes = routes,
                                                  .route_count = ASY_COUNT(routes)};
    CHECK_OK(asy_http_server_new(loop, &server, &config, &http_handlers, NULL, NULL));
    port = asy_http_server_port(server);
    check_pair();
    check_tls();
    CHECK(close(event_fds[0]) == 0 && close(event_fds[1]) == 0);
    CHECK(pipe(event_fds) == 0); /* without the closes so far */
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, raw_clients, NULL) == 0);
    asy_loop_run(loop);
    CHECK(pthread_join(thread, NULL) == 0);
    struct client c =
        run(url_of("ws", "127.0.0.1", port, "/link"), "assay-link.1", NULL, shutdown_step);
    CHECK_U64(c.code, ASY_WS_GOING_AWAY);
    if (done_count == 0) {
        asy_loop_run(loop);
    }
    CHECK_U64(done_count, 1);
    asy_http_server_free(server);
    asy_loop_free(loop);
    return asy_test_end();
}
