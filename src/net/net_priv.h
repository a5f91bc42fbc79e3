/* net_priv.h: what the files of this module share. The loop's inside, and `struct net_stream`: a
 * non-blocking descriptor with an output queue, on which pipes, HTTP connections and WebSockets
 * stand. */
#ifndef ASY_NET_PRIV_H
#define ASY_NET_PRIV_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <uv.h>

#include "net/net.h"

enum {
    NET_READ_LEN = 64 * 1024, /* bytes taken from one descriptor in one turn, TLS apart */
    NET_TICK_MS = 250,        /* grain of all timeouts but timers */
    NET_LINGER_MS = 2000,     /* how long a peer may take to close after us */
    NET_KEEP_LEN = 4096,      /* an empty output queue keeps memory up to this */
};

/* ---- intrusive lists: a node that is in no list points to itself ---- */

struct net_list {
    struct net_list *prev, *next;
};
#define NET_OF(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))
void net_list_init(struct net_list *node);
bool net_list_empty(const struct net_list *node);
void net_list_add(struct net_list *head, struct net_list *node); /* at the end; moves it there */
void net_list_del(struct net_list *node);

/* ---- loop ---- */

enum { NET_HOOKS_MAX = 8, NET_SIGNALS_MAX = 8 };

/* Called every NET_TICK_MS while it is in the loop's list. */
struct net_tick {
    struct net_list node;
    void (*fn)(void *owner, uint64_t now_ms);
    void *owner;
};

struct net_hook {
    asy_loop_cb cb;
    void *arg;
};

struct net_signal {
    uv_signal_t uv;
    asy_signal_cb cb;
    void *arg;
};

struct asy_loop {
    uv_loop_t uv;
    uv_async_t wake;   /* posts are waiting */
    uv_prepare_t turn; /* the end of a turn */
    uv_idle_t busy;    /* active while something is left to do: the poll does not block */
    uv_timer_t tick;
    struct net_hook hooks[NET_HOOKS_MAX];
    size_t hook_count;
    struct net_signal *signals[NET_SIGNALS_MAX];
    size_t signal_count;
    struct net_list dirty; /* streams with output to write at the end of the turn */
    struct net_list ready; /* streams with events to deliver before the hooks run */
    struct net_list ticks;
    struct net_list late; /* timers to start when this turn ends */
    bool running;
    bool in_timers; /* in this turn, timers ran */
    struct net_grave *graves;
    struct net_list *tick_next; /* the one to call after this; moved on when that one leaves */
    size_t object_count;        /* what must be freed before the loop */
    SSL_CTX *tls_default;       /* with the system's roots; made when first needed */
    pthread_mutex_t lock;       /* guards the two below */
    struct net_post *posts, **posts_end;
    uint8_t read_buf[NET_READ_LEN];
};

uint64_t net_now_ms(const struct asy_loop *loop); /* of this turn */
void net_tick_add(struct asy_loop *loop, struct net_tick *tick, void (*fn)(void *, uint64_t),
                  void *owner);
void net_tick_del(struct asy_loop *loop, struct net_tick *tick);
/* net_loop_bury frees p at the end of the turn, when no caller up the stack can hold it any more.
 */
void net_loop_bury(struct asy_loop *loop, void *p);

/* ---- streams ---- */

struct net_stream;
/* Called from the loop alone. Any of them may close the stream. */
struct net_stream_ops {
    void (*up)(void *owner); /* connected and, with TLS, secured; NULL where streams start open */
    void (*input)(void *owner, struct asy_bytes in);
    void (*eof)(void *owner); /* no more input; output still works */
    void (*hup)(void *owner); /* the peer closed while reading was paused; may be NULL */
    void (*gone)(void *owner, const char *text); /* broken; nothing works any more */
    void (*drained)(void *owner);                /* see asy_pipe_handlers; may be NULL */
    void (*flushed)(void *owner); /* the kernel took everything; after net_stream_tell_flushed */
    void (*kick)(void *owner);    /* after net_stream_kick */
};

enum net_phase {
    NET_CONNECTING,
    NET_HANDSHAKE, /* of TLS */
    NET_OPEN,
    NET_BROKEN, /* gone was or will be called */
    NET_CLOSED, /* freed when libuv lets go */
};

struct net_stream {
    uv_poll_t poll;
    struct asy_loop *loop;
    const struct net_stream_ops *ops;
    void *owner;
    SSL *ssl;
    int fd;
    enum net_phase phase;
    int mask; /* what poll waits for */
    bool is_socket;
    bool can_read; /* a direction that it has, and its end was not seen */
    bool can_write;
    bool was_connected; /* TCP is up */
    bool paused;
    bool hup;     /* the peer closed while paused */
    bool failed;  /* poll reported an error */
    bool blocked; /* the kernel takes no more now */
    bool above;   /* drained will be called */
    bool tell_flushed;
    bool end_wanted; /* close the write side when all is written */
    bool ev_gone, ev_drained, ev_flushed, ev_kick, ev_read;
    struct asy_buf out;
    size_t out_off;       /* bytes at the front of out that are written */
    size_t high_len;      /* ceiling that half and quarter refer to */
    uint64_t progress_ms; /* output last moved, or began to wait */
    struct net_list dirty, ready;
    char text[120]; /* why it broke */
    void (*free_owner)(void *owner);
    void *freed_owner;
};

/* Takes fd (non-blocking afterwards), NULL when it cannot be waited on (then fd is closed). The
 * stream is open, or connecting if is_connecting. high_len: ceiling for FULL and drained; max_len:
 * ceiling of memory. */
struct net_stream *net_stream_new(struct asy_loop *loop, int fd, bool is_connecting,
                                  size_t high_len, size_t max_len, const struct net_stream_ops *ops,
                                  void *owner);
void net_stream_own(struct net_stream *s, const struct net_stream_ops *ops, void *owner,
                    size_t high_len, size_t max_len);
/* Closes at once. free_owner(owner) is called when no callback can come any more. */
void net_stream_close(struct net_stream *s, void (*free_owner)(void *), void *owner);
void net_stream_secure(struct net_stream *s,
                       SSL *ssl); /* takes ssl; before or in `up` of the connection */
void net_stream_write(struct net_stream *s, const void *p,
                      size_t len); /* never refuses below max_len */
/* True, and drained will come, when len more bytes do not fit below high_len. */
bool net_stream_full(struct net_stream *s, size_t len);
void net_stream_note_high(struct net_stream *s); /* drained will come if above half */
size_t net_stream_queued(const struct net_stream *s);
void net_stream_pause(struct net_stream *s);
void net_stream_resume(struct net_stream *s);
void net_stream_tell_flushed(struct net_stream *s);
void net_stream_kick(struct net_stream *s);
void net_stream_end(struct net_stream *s); /* write side closed when all is written */

/* For the loop. */
void net_stream_flush(struct net_stream *s);
void net_stream_deliver(struct net_stream *s);

/* ---- helpers ---- */

/* "127.0.0.1:1234" or "[::1]:1234" */
enum { NET_PEER_LEN = 64 };
void net_peer_format(char ret_text[NET_PEER_LEN], const struct sockaddr *addr);

/* ---- WebSocket, between http.c and ws.c ---- */

struct ws_upgrade {
    struct asy_bytes key;  /* Sec-WebSocket-Key as sent */
    struct asy_bytes rest; /* input behind the request's head */
    const char *peer;
};
/* net_ws_accept makes a WebSocket of an HTTP connection's stream, which it takes, writes the 101
 * and calls on_open. It stands in list until on_closed(owner) is called, before its own on_close.
 */
void net_ws_accept(struct net_stream *stream, const struct asy_ws_route *route,
                   const struct ws_upgrade *upgrade, struct net_list *list,
                   void (*on_closed)(void *owner), void *owner);
struct asy_ws *net_ws_of(struct net_list *node); /* the WebSocket of a node of list */
/* net_ws_cut ends it at once, and calls on_close. From the loop only. */
void net_ws_cut(struct asy_ws *ws);
bool net_ws_key_valid(struct asy_bytes key);

#endif
