/* ws_priv.h: the inside of a WebSocket, between ws.c and dial.c. */
#ifndef ASY_NET_WS_PRIV_H
#define ASY_NET_WS_PRIV_H

#include "net_priv.h"

enum {
    WS_ACCEPT_LEN = 29, /* Sec-WebSocket-Accept and a zero byte */
    WS_REASON_LEN = 123 /* bytes of a close frame's text */
};

/* state      what is going on                    event -> next
 * DIALLING   client: not agreed yet (dial.c)     101 -> OPEN; failure, deadline -> DEAD
 * OPEN       messages go both ways               close frame either way, fault -> CLOSING; end,
 * silence -> DEAD CLOSING    the close frame leaves, and the     all done, end, deadline -> DEAD
 *            peer's is waited for, 2 s
 * DEAD       on_close was called, or dropped */
enum ws_state { WS_DIALLING, WS_OPEN, WS_CLOSING, WS_DEAD };

struct wslay_event_context;
struct dial;

struct asy_ws {
    struct asy_loop *loop;
    struct net_stream *stream; /* NULL until there is a connection */
    struct wslay_event_context *ctx;
    struct dial *dial; /* while DIALLING */
    const struct asy_ws_handlers *handlers;
    void *arg, *user;
    enum ws_state state;
    bool paused;
    bool pinged;         /* since the peer was last heard */
    bool half_close;     /* the peer broke the rules: no close frame of it will be read */
    bool close_wanted;   /* by asy_ws_close while DIALLING */
    struct asy_bytes in; /* what wslay reads now */
    struct asy_buf rest; /* input kept over a pause; while DIALLING the head of the answer */
    struct asy_buf held; /* whole messages kept over a pause: length as le32, bytes */
    uint64_t heard_ms, deadline_ms;
    uint32_t ping_ms, dead_ms;
    uint16_t close_code;
    char close_text[WS_REASON_LEN + 1];
    struct net_tick tick;
    struct net_list node;           /* of the server's links */
    void (*on_closed)(void *owner); /* of the server; NULL: a client */
    void *owner;
};

extern const struct net_stream_ops ws_ops;

struct asy_ws *ws_new(struct asy_loop *loop, const struct asy_ws_handlers *handlers, void *arg,
                      uint32_t ping_ms, uint32_t dead_ms);
void ws_open(struct asy_ws *ws, bool is_client, const char *peer);    /* calls on_open */
void ws_finish(struct asy_ws *ws, uint16_t code, const char *reason); /* calls on_close */
void ws_accept_value(char ret_text[WS_ACCEPT_LEN], struct asy_bytes key);

void dial_up(struct asy_ws *ws);
void dial_input(struct asy_ws *ws, struct asy_bytes in);
void dial_gone(struct asy_ws *ws, const char *text);
void dial_free(struct dial *dial);

#endif
