/* dial.c: how a WebSocket client gets its connection: name, TCP, TLS, HTTP upgrade. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_parse.h"
#include "url.h"
#include "ws_priv.h"

struct dial {
    struct asy_ws *ws; /* NULL: dropped while the resolver still works */
    struct asy_timer *start;
    uv_getaddrinfo_t resolve;
    bool resolving;
    struct addrinfo *addrs, *next_addr;
    struct ws_url url;
    char *subprotocol; /* NULL: none */
    SSL_CTX *tls;
    char key[25];
    char peer[NET_PEER_LEN];
    struct http_scan scan;
};

void dial_free(struct dial *dial) {
    if (dial == NULL) {
        return;
    }
    dial->ws = NULL;
    asy_timer_free(dial->start);
    dial->start = NULL;
    if (dial->resolving) {
        (void)uv_cancel((uv_req_t *)&dial->resolve); /* if it runs already, its callback frees */
        return;
    }
    if (dial->addrs != NULL) {
        uv_freeaddrinfo(dial->addrs);
    }
    SSL_CTX_free(dial->tls);
    asy_free(dial->subprotocol);
    asy_free(dial);
}

/* ---- TLS ---- */

static SSL_CTX *tls_new(const char *ca_file) {
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    ASY_ASSERT(tls != NULL);
    ASY_ASSERT(SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    int rc = ca_file != NULL ? SSL_CTX_load_verify_locations(tls, ca_file, NULL)
                             : SSL_CTX_set_default_verify_paths(tls);
    if (rc != 1) {
        SSL_CTX_free(tls);
        return NULL;
    }
    return tls;
}

static SSL *ssl_new(struct dial *dial) {
    SSL *ssl = SSL_new(dial->tls);
    ASY_ASSERT(ssl != NULL);
    /* an address is checked as one, and not sent as a server name */
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), dial->url.host) != 1) {
        ASY_ASSERT(SSL_set1_host(ssl, dial->url.host) == 1);
        ASY_ASSERT(SSL_set_tlsext_host_name(ssl, dial->url.host) == 1);
    }
    return ssl;
}

/* ---- connecting ---- */

static void fail(struct asy_ws *ws, const char *what, const char *text) {
    char reason[160];
    (void)snprintf(reason, sizeof reason, "%s: %s", what, text); /* cut is fine */
    bool is_tls = ws->stream != NULL && ws->stream->ssl != NULL && strcmp(what, "TLS") == 0;
    ws_finish(ws, is_tls ? ASY_WS_TLS : ASY_WS_ABNORMAL, reason);
}

static bool connect_to(struct asy_ws *ws, const struct addrinfo *addr) {
    int fd = socket(addr->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* only costs latency */
    if (connect(fd, addr->ai_addr, addr->ai_addrlen) != 0 && errno != EINPROGRESS) {
        int error = errno;
        (void)close(fd); /* nothing was written */
        errno = error;
        return false;
    }
    net_peer_format(ws->dial->peer, addr->ai_addr);
    ws->stream =
        net_stream_new(ws->loop, fd, true, ASY_MAX_LINK_QUEUE, ASY_MAX_LINK_QUEUE, &ws_ops, ws);
    if (ws->stream == NULL) {
        errno = ENOMEM;
        return false;
    }
    if (ws->dial->url.secure) {
        net_stream_secure(ws->stream, ssl_new(ws->dial));
    }
    return true;
}

static void connect_next(struct asy_ws *ws, const char *text) {
    struct dial *dial = ws->dial;
    while (dial->next_addr != NULL) {
        const struct addrinfo *addr = dial->next_addr;
        dial->next_addr = addr->ai_next;
        if (connect_to(ws, addr)) {
            return;
        }
        text = strerror(errno);
    }
    fail(ws, "connect", text);
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *addrs) {
    struct dial *dial = resolve->data;
    dial->resolving = false;
    dial->addrs = dial->next_addr = addrs;
    if (dial->ws == NULL) {
        dial_free(dial);
    } else if (status != 0) {
        fail(dial->ws, "name", uv_strerror(status));
    } else {
        connect_next(dial->ws, "no address");
    }
}

static void on_start(void *arg) {
    struct dial *dial = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    uv_loop_t *uv = &dial->ws->loop->uv;
    /* an address needs no resolver thread */
    int rc = uv_getaddrinfo(uv, &dial->resolve, NULL, dial->url.host, dial->url.port, &hints);
    dial->resolve.data = dial;
    if (rc == 0) {
        on_resolved(&dial->resolve, 0, dial->resolve.addrinfo);
        return;
    }
    hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
    rc = uv_getaddrinfo(uv, &dial->resolve, on_resolved, dial->url.host, dial->url.port, &hints);
    if (rc != 0) {
        fail(dial->ws, "name", uv_strerror(rc));
        return;
    }
    dial->resolving = true;
}

void dial_gone(struct asy_ws *ws, const char *text) {
    struct net_stream *stream = ws->stream;
    /* a refused connection leaves the other addresses; a failed TLS or HTTP handshake is an answer
     */
    if (ws->dial->key[0] != '\0') {
        fail(ws, "handshake", text);
    } else if (stream->ssl != NULL && stream->was_connected) {
        fail(ws, "TLS", text);
    } else {
        char kept[120];
        (void)snprintf(kept, sizeof kept, "%s", text); /* text goes with the stream */
        ws->stream = NULL;
        net_stream_close(stream, NULL, NULL);
        connect_next(ws, kept);
    }
}

/* ---- upgrade ---- */

void dial_up(struct asy_ws *ws) {
    struct dial *dial = ws->dial;
    uint8_t nonce[16];
    ASY_ASSERT(RAND_bytes(nonce, sizeof nonce) == 1);
    ASY_ASSERT(EVP_EncodeBlock((uint8_t *)dial->key, nonce, sizeof nonce) == 24);
    struct asy_buf head;
    asy_buf_init(&head, 4096);
    enum asy_err err = asy_buf_printf(&head,
                                      "GET %s HTTP/1.1\r\n"
                                      "Host: %s\r\n"
                                      "Upgrade: websocket\r\n"
                                      "Connection: Upgrade\r\n"
                                      "Sec-WebSocket-Version: 13\r\n"
                                      "Sec-WebSocket-Key: %s\r\n"
                                      "%s%s%s\r\n",
                                      dial->url.target, dial->url.authority, dial->key,
                                      dial->subprotocol != NULL ? "Sec-WebSocket-Protocol: " : "",
                                      dial->subprotocol != NULL ? dial->subprotocol : "",
                                      dial->subprotocol != NULL ? "\r\n" : "");
    ASY_ASSERT(err == ASY_OK); /* every part has its limit */
    net_stream_write(ws->stream, head.p, head.n);
    asy_buf_done(&head);
}

static const char *answer_fault(const struct dial *dial, const struct http_fields *fields) {
    char accept[WS_ACCEPT_LEN];
    struct asy_bytes value = {NULL, 0};
    ws_accept_value(accept, asy_bytes_cstr(dial->key));
    if (!http_field_has_token(fields, "upgrade", "websocket") ||
        !http_field_has_token(fields, "connection", "upgrade") ||
        !http_field_get(fields, "sec-websocket-accept", &value) ||
        !asy_bytes_eq(value, asy_bytes_cstr(accept)) ||
        http_field_get(fields, "sec-websocket-extensions", &value)) {
        return "malformed answer";
    }
    bool chosen = http_field_get(fields, "sec-websocket-protocol", &value);
    if (dial->subprotocol != NULL
            ? !chosen || !asy_bytes_eq(value, asy_bytes_cstr(dial->subprotocol))
            : chosen) {
        return "wrong subprotocol";
    }
    return NULL;
}

void dial_input(struct asy_ws *ws, struct asy_bytes in) {
    struct dial *dial = ws->dial;
    size_t len = 0;
    if (asy_buf_add_bytes(&ws->rest, in) != ASY_OK) {
        fail(ws, "handshake", "answer is too long");
        return;
    }
    enum http_scan_result found = http_scan(&dial->scan, &len, asy_buf_bytes(&ws->rest));
    if (found == HTTP_SCAN_MORE && ws->rest.n <= ASY_MAX_HTTP_HEADERS) {
        return;
    }
    int status = 0;
    struct http_fields fields;
    if (found != HTTP_SCAN_DONE || len < 4 || len > ASY_MAX_HTTP_HEADERS ||
        !http_response_parse(&status, &fields, asy_bytes_of(ws->rest.p, len))) {
        fail(ws, "handshake", "malformed answer");
        return;
    }
    if (status != 101) {
        char text[16];
        (void)snprintf(text, sizeof text, "HTTP %d", status); /* at most three digits */
        ws_finish(ws, ASY_WS_ABNORMAL, text);
        return;
    }
    const char *fault = answer_fault(dial, &fields);
    if (fault != NULL) {
        fail(ws, "handshake", fault);
        return;
    }
    asy_buf_consume(&ws->rest, len);
    char peer[NET_PEER_LEN];
    memcpy(peer, dial->peer, sizeof peer);
    dial_free(dial);
    ws->dial = NULL;
    ws_open(ws, true, peer);
}

enum asy_err asy_ws_connect(struct asy_loop *loop, struct asy_ws **ret_ws,
                            const struct asy_ws_client_config *config,
                            const struct asy_ws_handlers *handlers, void *arg,
                            struct asy_why *reterr_why) {
    struct dial *dial = asy_alloc(sizeof *dial);
    enum asy_err err = ws_url_parse(&dial->url, asy_bytes_cstr(config->url), reterr_why);
    struct asy_bytes subprotocol = asy_bytes_cstr(config->subprotocol);
    if (err == ASY_OK && subprotocol.n > ASY_MAX_NAME) {
        err = asy_why_set(reterr_why, ASY_ERR_TOO_LONG, "subprotocol", "longer than %u bytes",
                          ASY_MAX_NAME);
    }
    if (err == ASY_OK && dial->url.secure) {
        if (config->ca_file == NULL && loop->tls_default == NULL) {
            loop->tls_default = tls_new(NULL);
        }
        dial->tls = config->ca_file != NULL ? tls_new(config->ca_file) : loop->tls_default;
        if (dial->tls == NULL) {
            err = asy_why_set(reterr_why, ASY_ERR_IO, "ca_file", "cannot read trusted roots");
        } else if (config->ca_file == NULL) {
            ASY_ASSERT(SSL_CTX_up_ref(dial->tls) == 1);
        }
    }
    if (err != ASY_OK) {
        asy_free(dial);
        return err;
    }
    if (subprotocol.n != 0) {
        dial->subprotocol = asy_alloc(subprotocol.n + 1);
        memcpy(dial->subprotocol, subprotocol.p, subprotocol.n);
    }
    struct asy_ws *ws = ws_new(loop, handlers, arg, config->ping_ms, config->dead_ms);
    uint32_t timeout_ms = config->connect_timeout_ms != 0 ? config->connect_timeout_ms : 10000;
    ws->deadline_ms = net_now_ms(loop) + timeout_ms;
    ws->dial = dial;
    dial->ws = ws;
    dial->start = asy_timer_new(loop, on_start, dial);
    asy_timer_at(dial->start, 0); /* so that nothing is called from in here */
    loop->object_count++;
    *ret_ws = ws;
    return ASY_OK;
}
