/* ws.c: WebSockets, both ends, over wslay, which keeps RFC 6455's framing. Dialling is in dial.c.
 */
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <wslay/wslay.h>

#include "ws_priv.h"

enum {
    FRAME_HEAD_LEN = 14,
    /* answers to pings come on top of what asy_ws_send may queue; a peer that sends pings and reads
       nothing is cut here */
    CONTROL_LEN = 64 * 1024,
    OUT_LEN = 2 * (int)ASY_MAX_LINK_QUEUE + 4 * CONTROL_LEN,
};

/* ---- handshake ---- */

bool net_ws_key_valid(struct asy_bytes key) {
    uint8_t raw[20];
    /* 16 bytes in base64: 22 characters and "==" */
    return key.n == 24 && key.p[22] == '=' && key.p[23] == '=' && key.p[21] != '=' &&
           EVP_DecodeBlock(raw, key.p, 24) == 18;
}

void ws_accept_value(char ret_text[WS_ACCEPT_LEN], struct asy_bytes key) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 section 1.3 */
    uint8_t joined[64], digest[SHA_DIGEST_LENGTH];
    ASY_ASSERT(key.n + sizeof guid - 1 <= sizeof joined);
    memcpy(joined, key.p, key.n);
    memcpy(joined + key.n, guid, sizeof guid - 1);
    ASY_ASSERT(EVP_Digest(joined, key.n + sizeof guid - 1, digest, NULL, EVP_sha1(), NULL) == 1);
    ASY_ASSERT(EVP_EncodeBlock((uint8_t *)ret_text, digest, sizeof digest) == WS_ACCEPT_LEN - 1);
}

/* ---- the end ---- */

static void ws_free(void *owner) {
    struct asy_ws *ws = owner;
    if (ws->ctx != NULL) {
        wslay_event_context_free(ws->ctx);
    }
    asy_buf_done(&ws->rest);
    asy_buf_done(&ws->held);
    asy_free(ws);
}

/* Out of every list; the peer is not told. */
static void ws_release(struct asy_ws *ws) {
    ws->state = WS_DEAD;
    net_list_del(&ws->node);
    net_tick_del(ws->loop, &ws->tick);
    dial_free(ws->dial);
    ws->dial = NULL;
    if (ws->on_closed != NULL) {
        ws->on_closed(ws->owner);
    } else {
        ws->loop->object_count--;
    }
}

static void ws_let_go(struct asy_ws *ws) {
    if (ws->stream != NULL) {
        net_stream_close(ws->stream, ws_free, ws);
    } else {
        asy_buf_done(&ws->rest);
        asy_buf_done(&ws->held);
        net_loop_bury(ws->loop, ws);
    }
}

void ws_finish(struct asy_ws *ws, uint16_t code, const char *reason) {
    ASY_ASSERT(ws->state != WS_DEAD);
    ws_release(ws);
    ws->handlers->on_close(ws->arg, ws, code, reason);
    ws_let_go(ws);
}

void net_ws_cut(struct asy_ws *ws) {
    ws_finish(ws, ws->state == WS_CLOSING ? ws->close_code : ASY_WS_ABNORMAL, ws->close_text);
}

void asy_ws_drop(struct asy_ws *ws) {
    if (ws->state != WS_DEAD) {
        ws_release(ws);
        ws_let_go(ws);
    }
}

/* From now on only the close handshake matters. */
static void ws_closing(struct asy_ws *ws, uint16_t code, const void *reason, size_t reason_len) {
    ws->state = WS_CLOSING;
    ws->close_code = code;
    memcpy(ws->close_text, reason, reason_len);
    ws->close_text[reason_len] = '\0';
    ws->deadline_ms = net_now_ms(ws->loop) + NET_LINGER_MS;
    asy_buf_done(&ws->held);
    if (ws->paused) {
        ws->paused = false;
        net_stream_resume(ws->stream);
        net_stream_kick(ws->stream);
    }
    net_stream_tell_flushed(ws->stream);
}

void asy_ws_close(struct asy_ws *ws, uint16_t code, const char *reason) {
    ASY_ASSERT((code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
               (code >= 3000 && code <= 4999));
    if (ws->state == WS_DIALLING) {
        ws->close_code = code;
        ws->deadline_ms = net_now_ms(ws->loop); /* nothing was agreed: the next tick ends it */
        ws->close_wanted = true;
        return;
    }
    if (ws->state != WS_OPEN) {
        return;
    }
    struct asy_bytes text = asy_bytes_cstr(reason);
    if (text.n > WS_REASON_LEN) {
        text.n = WS_REASON_LEN;
        text.n = asy_utf8_whole(text);
    }
    ASY_ASSERT(wslay_event_queue_close(ws->ctx, code, text.p, text.n) == 0);
    ws_closing(ws, code, text.n != 0 ? (const char *)text.p : "", text.n);
    (void)wslay_event_send(ws->ctx); /* a failure ends the connection, which reading tells */
}

/* ---- wslay's callbacks ---- */

static ssize_t on_wslay_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags,
                             void *arg) {
    struct asy_ws *ws = arg;
    (void)flags; /* none is defined for reading */
    if (ws->in.n == 0 || ws->paused || ws->state == WS_DEAD) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = ws->in.n < len ? ws->in.n : len;
    memcpy(buf, ws->in.p, n);
    ws->in.p += n;
    ws->in.n -= n;
    return (ssize_t)n;
}

static ssize_t on_wslay_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len,
                             int flags, void *arg) {
    struct asy_ws *ws = arg;
    (void)flags; /* "more is coming" is of no use: output is gathered anyway */
    if (ws->state == WS_DEAD ||
        net_stream_queued(ws->stream) + len > ASY_MAX_LINK_QUEUE + CONTROL_LEN) {
        wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    net_stream_write(ws->stream, data, len);
    return (ssize_t)len;
}

static int on_wslay_mask(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, void *arg) {
    (void)ctx;
    (void)arg;
    ASY_ASSERT(RAND_bytes(buf, (int)len) == 1);
    return 0;
}

static void on_wslay_frame(wslay_event_context_ptr ctx,
                           const struct wslay_event_on_frame_recv_start_arg *frame, void *arg) {
    struct asy_ws *ws = arg;
    if (frame->opcode == WSLAY_TEXT_FRAME && ws->state == WS_OPEN) {
        (void)wslay_event_queue_close(ctx, ASY_WS_UNSUPPORTED, NULL, 0); /* fails when closing */
        wslay_event_shutdown_read(ctx);
    }
}

static void on_wslay_message(wslay_event_context_ptr ctx,
                             const struct wslay_event_on_msg_recv_arg *msg, void *arg) {
    struct asy_ws *ws = arg;
    (void)ctx;
    if (ws->state != WS_OPEN) {
        return;
    }
    if (msg->opcode == WSLAY_CONNECTION_CLOSE) {
        size_t skip = msg->msg_length >= 2 ? 2 : 0;
        uint16_t code = msg->status_code != 0 ? msg->status_code : WSLAY_CODE_NO_STATUS_RCVD;
        ws_closing(ws, code, msg->msg_length > 2 ? (const char *)msg->msg + skip : "",
                   msg->msg_length > 2 ? msg->msg_length - skip : 0);
    } else if (msg->opcode == WSLAY_BINARY_FRAME) {
        if (ws->paused) {
            /* wslay holds up to 4 KiB of input that cannot be taken back */
            uint8_t *to;
            ASY_ASSERT(asy_buf_reserve(&ws->held, &to, 4 + msg->msg_length) == ASY_OK);
            asy_le32_put(to, (uint32_t)msg->msg_length);
            if (msg->msg_length != 0) {
                memcpy(to + 4, msg->msg, msg->msg_length);
            }
            asy_buf_grow(&ws->held, 4 + msg->msg_length);
        } else {
            ws->handlers->on_message(ws->arg, ws, asy_bytes_of(msg->msg, msg->msg_length));
        }
    }
}

/* ---- input ---- */

static void ws_take(struct asy_ws *ws, struct asy_bytes in) {
    ws->in = in;
    int rc = wslay_event_recv(ws->ctx);
    if (ws->state == WS_DEAD) {
        return;
    }
    ASY_ASSERT(rc != WSLAY_ERR_NOMEM);
    if (wslay_event_send(ws->ctx) != 0) {
        ws_finish(ws, ASY_WS_ABNORMAL, "the peer does not read");
        return;
    }
    /* against the rules: wslay has queued the close frame, and for some faults fails too */
    if (ws->state == WS_OPEN && (rc != 0 || !wslay_event_get_read_enabled(ws->ctx))) {
        /* broken framing it answers with a close frame that names no code */
        uint16_t code = rc != 0 ? ASY_WS_PROTOCOL : wslay_event_get_status_code_sent(ws->ctx);
        const char *text = code == ASY_WS_UNSUPPORTED ? "text message"
                           : code == ASY_WS_TOO_BIG   ? "message is too long"
                                                      : "malformed frame";
        ws_closing(ws, code, text, strlen(text));
        ws->half_close = true;
    }
    if (ws->in.n != 0 && ws->paused) {
        ASY_ASSERT(asy_buf_add_bytes(&ws->rest, ws->in) == ASY_OK); /* reading stops meanwhile */
    }
    if (ws->state == WS_CLOSING && wslay_event_get_close_received(ws->ctx)) {
        net_stream_tell_flushed(ws->stream);
    }
}

static void on_input(void *owner, struct asy_bytes in) {
    struct asy_ws *ws = owner;
    ws->heard_ms = net_now_ms(ws->loop);
    ws->pinged = false;
    if (ws->state == WS_DIALLING) {
        dial_input(ws, in);
    } else {
        ws_take(ws, in);
    }
}

/* After a pause, or with input that came behind the handshake. */
static void on_kick(void *owner) {
    struct asy_ws *ws = owner;
    ws->heard_ms = net_now_ms(ws->loop);
    while (ws->held.n != 0 && !ws->paused && ws->state == WS_OPEN) {
        struct asy_buf held = ws->held;
        asy_buf_init(&ws->held, held.max);
        size_t pos = 0;
        while (pos < held.n && !ws->paused && ws->state == WS_OPEN) {
            size_t len = asy_le32_get(held.p + pos);
            ws->handlers->on_message(ws->arg, ws, asy_bytes_of(held.p + pos + 4, len));
            pos += 4 + len;
        }
        if (ws->state == WS_OPEN && pos < held.n) {
            ASY_ASSERT(asy_buf_add(&ws->held, held.p + pos, held.n - pos) == ASY_OK);
        }
        asy_buf_done(&held);
    }
    if (ws->rest.n != 0 && !ws->paused && ws->state != WS_DEAD) {
        struct asy_buf rest = ws->rest;
        asy_buf_init(&ws->rest, rest.max);
        ws_take(ws, asy_buf_bytes(&rest));
        asy_buf_done(&rest);
    }
}

static void on_eof(void *owner) {
    struct asy_ws *ws = owner;
    if (ws->state == WS_CLOSING) {
        ws_finish(ws, ws->close_code, ws->close_text);
    } else {
        ws_finish(ws, ASY_WS_ABNORMAL, "the connection ended");
    }
}

static void on_gone(void *owner, const char *text) {
    struct asy_ws *ws = owner;
    switch (ws->state) {
    case WS_DIALLING:
        dial_gone(ws, text);
        break;
    case WS_OPEN:
        ws_finish(ws, ASY_WS_ABNORMAL, text);
        break;
    case WS_CLOSING:
        ws_finish(ws, ws->close_code, ws->close_text);
        break;
    case WS_DEAD:
        break;
    }
}

static void on_up(void *owner) { dial_up(owner); }

static void on_drained(void *owner) {
    struct asy_ws *ws = owner;
    if (ws->state == WS_OPEN && ws->handlers->on_drain != NULL) {
        ws->handlers->on_drain(ws->arg, ws);
    }
}

static void on_flushed(void *owner) {
    struct asy_ws *ws = owner;
    if (ws->state == WS_CLOSING) {
        if (wslay_event_get_close_received(ws->ctx)) {
            ws_finish(ws, ws->close_code, ws->close_text);
        } else if (ws->half_close) {
            net_stream_end(ws->stream);
        }
    }
}

const struct net_stream_ops ws_ops = {.up = on_up,
                                      .input = on_input,
                                      .eof = on_eof,
                                      .gone = on_gone,
                                      .drained = on_drained,
                                      .flushed = on_flushed,
                                      .kick = on_kick};

static void on_tick(void *owner, uint64_t now_ms) {
    struct asy_ws *ws = owner;
    switch (ws->state) {
    case WS_DIALLING:
        if (now_ms >= ws->deadline_ms) {
            ws_finish(ws, ws->close_wanted ? ws->close_code : ASY_WS_ABNORMAL,
                      ws->close_wanted ? "closed before it opened" : "connect: timed out");
        }
        break;
    case WS_OPEN:
        if (ws->paused) {
            break;
        }
        if (now_ms - ws->heard_ms >= ws->dead_ms) {
            ws_finish(ws, ASY_WS_ABNORMAL, "peer is silent");
        } else if (now_ms - ws->heard_ms >= ws->ping_ms && !ws->pinged) {
            ws->pinged = true;
            struct wslay_event_msg ping = {WSLAY_PING, NULL, 0};
            if (wslay_event_queue_msg(ws->ctx, &ping) != 0 || wslay_event_send(ws->ctx) != 0) {
                ws_finish(ws, ASY_WS_ABNORMAL, "the peer does not read");
            }
        }
        break;
    case WS_CLOSING:
        if (now_ms >= ws->deadline_ms) {
            ws_finish(ws, ws->close_code, ws->close_text);
        }
        break;
    case WS_DEAD:
        break;
    }
}

/* ---- making ---- */

struct asy_ws *ws_new(struct asy_loop *loop, const struct asy_ws_handlers *handlers, void *arg,
                      uint32_t ping_ms, uint32_t dead_ms) {
    struct asy_ws *ws = asy_alloc(sizeof *ws);
    ws->loop = loop;
    ws->handlers = handlers;
    ws->arg = arg;
    ws->ping_ms = ping_ms != 0 ? ping_ms : 15000;
    ws->dead_ms = dead_ms != 0 ? dead_ms : 45000;
    ws->heard_ms = net_now_ms(loop);
    net_list_init(&ws->node);
    asy_buf_init(&ws->rest, 2 * NET_READ_LEN);
    asy_buf_init(&ws->held, ASY_MAX_FRAME + NET_READ_LEN);
    net_tick_add(loop, &ws->tick, on_tick, ws);
    return ws;
}

void ws_open(struct asy_ws *ws, bool is_client, const char *peer) {
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_wslay_recv,
        .send_callback = on_wslay_send,
        .genmask_callback = on_wslay_mask,
        .on_frame_recv_start_callback = on_wslay_frame,
        .on_msg_recv_callback = on_wslay_message};
    int rc = is_client ? wslay_event_context_client_init(&ws->ctx, &callbacks, ws)
                       : wslay_event_context_server_init(&ws->ctx, &callbacks, ws);
    ASY_ASSERT(rc == 0); /* fails for lack of memory only */
    wslay_event_config_set_max_recv_msg_length(ws->ctx, ASY_MAX_FRAME);
    ws->state = WS_OPEN;
    net_stream_own(ws->stream, &ws_ops, ws, ASY_MAX_LINK_QUEUE, OUT_LEN);
    ws->handlers->on_open(ws->arg, ws, peer);
    if (ws->state != WS_DEAD && ws->rest.n != 0) {
        net_stream_kick(ws->stream);
    }
}

struct asy_ws *net_ws_of(struct net_list *node) {
    return NET_OF(node, struct asy_ws, node);
}

void net_ws_accept(struct net_stream *stream, const struct asy_ws_route *route,
                   const struct ws_upgrade *upgrade, struct net_list *list,
                   void (*on_closed)(void *owner), void *owner) {
    struct asy_ws *ws =
        ws_new(stream->loop, route->handlers, route->arg, route->ping_ms, route->dead_ms);
    ws->stream = stream;
    ws->on_closed = on_closed;
    ws->owner = owner;
    net_list_add(list, &ws->node);
    char accept[WS_ACCEPT_LEN];
    ws_accept_value(accept, upgrade->key);
    static const char head[] = "HTTP/1.1 101 Switching Protocols\r\n"
                               "Upgrade: websocket\r\n"
                               "Connection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: ";
    net_stream_write(stream, head, sizeof head - 1);
    net_stream_write(stream, accept, WS_ACCEPT_LEN - 1);
    if (route->subprotocol != NULL) {
        static const char name[] = "\r\nSec-WebSocket-Protocol: ";
        net_stream_write(stream, name, sizeof name - 1);
        net_stream_write(stream, route->subprotocol, strlen(route->subprotocol));
    }
    net_stream_write(stream, "\r\n\r\n", 4);
    ASY_ASSERT(asy_buf_add_bytes(&ws->rest, upgrade->rest) == ASY_OK); /* less than one read */
    ws_open(ws, false, upgrade->peer);
}

/* ---- use ---- */

enum asy_err asy_ws_send(struct asy_ws *ws, struct asy_bytes in) {
    if (ws->state != WS_OPEN) {
        return ASY_ERR_CLOSED;
    }
    if (in.n > ASY_MAX_FRAME) {
        return ASY_ERR_TOO_LONG;
    }
    if (net_stream_full(ws->stream, in.n + FRAME_HEAD_LEN)) {
        return ASY_ERR_FULL;
    }
    struct wslay_event_msg msg = {WSLAY_BINARY_FRAME, in.p, in.n};
    if (wslay_event_queue_msg(ws->ctx, &msg) != 0 || wslay_event_send(ws->ctx) != 0) {
        return ASY_ERR_CLOSED; /* the peer's close frame is being handled up the stack */
    }
    net_stream_note_high(ws->stream);
    return ASY_OK;
}

size_t asy_ws_queued(const struct asy_ws *ws) {
    return ws->stream != NULL ? net_stream_queued(ws->stream) : 0;
}

void asy_ws_pause(struct asy_ws *ws) {
    if (ws->state == WS_OPEN) {
        ws->paused = true;
        net_stream_pause(ws->stream);
    }
}

void asy_ws_resume(struct asy_ws *ws) {
    if (ws->state == WS_OPEN && ws->paused) {
        ws->paused = false;
        net_stream_resume(ws->stream);
        net_stream_kick(ws->stream);
    }
}

void asy_ws_set_user(struct asy_ws *ws, void *user) { ws->user = user; }

void *asy_ws_user(const struct asy_ws *ws) { return ws->user; }
