/*~ net: the event loop and every socket, pipe and child process.
 *
 * One thread runs one loop; all functions here belong to that thread, but asy_loop_post.
 *
 * Turns. The loop waits, then calls back for everything that happened: input, timers, signals,
 * posts, exits. That is one turn. Whatever the callbacks send is only queued. At the end of the
 * turn the asy_loop_on_turn hooks run, then each connection's queued output leaves in one send,
 * then the loop waits again. So nothing that a turn produced is on the wire before its hooks have
 * run: a journal is committed there. Output that a hook queues leaves right behind it.
 *
 * Callbacks. None is ever called from inside a function of this header, except from asy_loop_run:
 * calling anything from any callback is safe, also freeing or closing the object that calls.
 *
 * Lifetimes. What `_new`, `_spawn` and `_connect` give is freed by its owner before the loop is. A
 * request and a WebSocket have rules of their own, stated with them. Every `p` given to a callback
 * is borrowed for the call; everything sent is copied.
 *
 * Every descriptor is close-on-exec. asy_loop_new makes the process ignore SIGPIPE.
 */
#ifndef ASY_NET_H
#define ASY_NET_H

#include <sys/types.h>

#include "base/base.h"

/* ---- loop ---------------------------------------------------------------------------------- */

struct asy_loop;
typedef void (*asy_loop_cb)(void *arg);
typedef void (*asy_signal_cb)(void *arg, int signum);

/* errors: IO (no descriptors left) */
ASY_MUST_USE enum asy_err asy_loop_new(struct asy_loop **ret_loop, struct asy_why *reterr_why);
/* asy_loop_free: everything made on the loop has been freed before (asserted). Posts that did not
 * run yet are dropped. */
void asy_loop_free(struct asy_loop *loop);
/* asy_loop_run returns after asy_loop_stop, with that turn ended: hooks called, output written as
 * far as the sockets take it. It may be called again. */
void asy_loop_run(struct asy_loop *loop);
void asy_loop_stop(struct asy_loop *loop); /* from its callbacks; else no effect */
/* asy_loop_post calls cb(arg) in the loop's thread, soon. From any thread; calls of one thread keep
 * their order. */
void asy_loop_post(struct asy_loop *loop, asy_loop_cb cb, void *arg);
/* asy_loop_on_turn adds a hook for the end of each turn, called in the order added (at most 8).
 * asy_loop_off_turn removes the hook with the same cb and arg; not from inside a hook. */
void asy_loop_on_turn(struct asy_loop *loop, asy_loop_cb cb, void *arg);
void asy_loop_off_turn(struct asy_loop *loop, asy_loop_cb cb, void *arg);
/* asy_loop_on_signal calls cb for each signum that arrives, for the rest of the loop's life; at
 * most 8 signals. errors: RANGE not a signal that can be caught */
ASY_MUST_USE enum asy_err asy_loop_on_signal(struct asy_loop *loop, int signum, asy_signal_cb cb,
                                             void *arg);

/* ---- timers -------------------------------------------------------------------------------- */

struct asy_timer;

/* asy_timer_new makes a timer that is not set. cb may set it again, and free it. */
struct asy_timer *asy_timer_new(struct asy_loop *loop, asy_loop_cb cb, void *arg);
/* asy_timer_at calls cb once, at or up to a millisecond after at_ns on CLOCK_MONOTONIC (the clock
 * of asy_env_system), never before; a time in the past means the next turn. A second call replaces
 * the first. */
void asy_timer_at(struct asy_timer *timer, uint64_t at_ns);
void asy_timer_stop(struct asy_timer *timer);
void asy_timer_free(struct asy_timer *timer);

/* ---- pipes: byte streams on a descriptor ---------------------------------------------------- */

struct asy_pipe;
struct asy_pipe_handlers {
    void (*on_read)(void *arg, struct asy_pipe *pipe, struct asy_bytes in); /* NULL: never read */
    /* The queue went above half of its ceiling, or a write was refused, and it is now at most a
     * quarter full. May be NULL. */
    void (*on_drain)(void *arg, struct asy_pipe *pipe);
    /* Once: the other end is gone (OK) or the descriptor failed (IO). Nothing comes after it. The
     * owner still calls asy_pipe_free. Not after asy_pipe_end of an end that only writes. */
    void (*on_close)(void *arg, struct asy_pipe *pipe, enum asy_err err);
};

/* asy_pipe_pair makes a connected pair of sockets, one to keep and one for a child. errors: IO */
ASY_MUST_USE enum asy_err asy_pipe_pair(int *ret_ours, int *ret_theirs);
/* in: fd: a pipe end or stream socket, either direction or both; taken, also on failure
 *     max_queue_len: ceiling of bytes that wait to be written
 * errors: IO not a descriptor that can be waited on */
ASY_MUST_USE enum asy_err asy_pipe_new(struct asy_loop *loop, struct asy_pipe **ret_pipe, int fd,
                                       size_t max_queue_len,
                                       const struct asy_pipe_handlers *handlers, void *arg,
                                       struct asy_why *reterr_why); /* keeps handlers */
/* errors: FULL nothing was taken, on_drain will come; CLOSED after on_close or asy_pipe_end */
ASY_MUST_USE enum asy_err asy_pipe_write(struct asy_pipe *pipe, struct asy_bytes in);
size_t asy_pipe_queued(const struct asy_pipe *pipe);
/* While paused, input and the end that stands behind it wait. */
void asy_pipe_pause(struct asy_pipe *pipe);
void asy_pipe_resume(struct asy_pipe *pipe);
/* asy_pipe_end: the other side reads to the end of what was queued, then end of file. Reading goes
 * on. */
void asy_pipe_end(struct asy_pipe *pipe);
void asy_pipe_free(struct asy_pipe *pipe); /* closes at once; what is queued is lost */

/* ---- child processes ------------------------------------------------------------------------ */

struct asy_child;
/* status: exit status, 0 when a signal ended it; signum: that signal, else 0 */
typedef void (*asy_child_exit_cb)(void *arg, struct asy_child *child, int status, int signum);

struct asy_child_spec {
    const char *const *argv; /* ends with NULL; argv[0] is looked up in PATH when it has no slash */
    const char *const *env;  /* ends with NULL; NULL: this process's own */
    const char *cwd;         /* NULL: this process's own */
    const int *fds;  /* the child's descriptor i is a copy of fds[i]; -1 in 0..2: /dev/null */
    size_t fd_count; /* at least 3, at most 16; borrowed: the caller closes its own */
};
/* The child gets no other descriptor, and default signal handling.
 * errors: NOT_FOUND no such program; IO anything else */
ASY_MUST_USE enum asy_err asy_child_spawn(struct asy_loop *loop, struct asy_child **ret_child,
                                          const struct asy_child_spec *spec,
                                          asy_child_exit_cb on_exit, void *arg,
                                          struct asy_why *reterr_why);
pid_t asy_child_pid(const struct asy_child *child);
/* errors: STATE it has exited */
ASY_MUST_USE enum asy_err asy_child_kill(struct asy_child *child, int signum);
/* asy_child_free: a child that still runs is killed (SIGKILL) and reaped without a callback. */
void asy_child_free(struct asy_child *child);

/* ---- WebSocket: both ends ------------------------------------------------------------------- */

/* Binary messages only, each whole. A ws is valid from on_open (or the return of asy_ws_connect)
 * until on_close has returned; each gets exactly one on_close, also when this side closed it,
 * unless asy_ws_drop or asy_http_server_free came first. */
struct asy_ws;
struct asy_ws_handlers {
    void (*on_open)(void *arg, struct asy_ws *ws, const char *peer); /* peer: "127.0.0.1:1234" */
    void (*on_message)(void *arg, struct asy_ws *ws, struct asy_bytes in);
    void (*on_drain)(void *arg, struct asy_ws *ws); /* as for pipes; may be NULL */
    /* code: the peer's close code; ours when we closed; 1006 when the connection ended without one
     * (reason then says why: "connect: Connection refused", "HTTP 403", "peer is silent"); 1015 TLS
     * failed. reason: never NULL. */
    void (*on_close)(void *arg, struct asy_ws *ws, uint16_t code, const char *reason);
};

enum { /* close codes in use: RFC 6455 section 7.4.1 */
       ASY_WS_NORMAL = 1000,
       ASY_WS_GOING_AWAY = 1001,
       ASY_WS_PROTOCOL = 1002,
       ASY_WS_UNSUPPORTED = 1003, /* a text message came */
       ASY_WS_ABNORMAL = 1006,    /* never on the wire */
       ASY_WS_POLICY = 1008,
       ASY_WS_TOO_BIG = 1009, /* a message above ASY_MAX_FRAME came */
       ASY_WS_INTERNAL = 1011,
       ASY_WS_TRY_LATER = 1013,
       ASY_WS_TLS = 1015 /* never on the wire */
};

/* asy_ws_send queues a copy.
 * in:     at most ASY_MAX_FRAME bytes
 * errors: FULL it would exceed ASY_MAX_LINK_QUEUE; CLOSED not open yet, or closing; TOO_LONG */
ASY_MUST_USE enum asy_err asy_ws_send(struct asy_ws *ws, struct asy_bytes in);
size_t asy_ws_queued(const struct asy_ws *ws); /* bytes not yet taken by the kernel */
/* While paused no on_message comes; input and an end behind it wait. Keep-alive rests too. */
void asy_ws_pause(struct asy_ws *ws);
void asy_ws_resume(struct asy_ws *ws);
/* asy_ws_close sends what is queued, then the close frame, and waits up to 2 s for the peer's. No
 * more on_message comes. code: one that may be sent; reason: at most 123 bytes of UTF-8, cut there.
 * A second call changes nothing. */
void asy_ws_close(struct asy_ws *ws, uint16_t code, const char *reason);
/* asy_ws_drop closes at once, sends nothing, calls nothing; ws is dead. */
void asy_ws_drop(struct asy_ws *ws);
void asy_ws_set_user(struct asy_ws *ws, void *user);
void *asy_ws_user(const struct asy_ws *ws);

struct asy_ws_client_config {
    const char *url;             /* ws://host[:port]/path or wss://...; host may be [IPv6] */
    const char *subprotocol;     /* the server must choose it; NULL: none */
    const char *ca_file;         /* wss: PEM of trusted roots; NULL: the system's */
    uint32_t connect_timeout_ms; /* until on_open; 0: 10,000 */
    uint32_t ping_ms;            /* a ping after this silence of the peer; 0: 15,000 */
    uint32_t dead_ms;            /* closed after this silence; 0: 45,000 */
};
/* asy_ws_connect begins to connect; on_open or on_close tells the end. Connecting again is the
 * caller's job. config is borrowed, handlers kept.
 * errors: SYNTAX a bad url, then nothing is called; IO no descriptors */
ASY_MUST_USE enum asy_err asy_ws_connect(struct asy_loop *loop, struct asy_ws **ret_ws,
                                         const struct asy_ws_client_config *config,
                                         const struct asy_ws_handlers *handlers, void *arg,
                                         struct asy_why *reterr_why);

/* ---- HTTP server ---------------------------------------------------------------------------- */

struct asy_http_server;

/* A request is valid from on_request until ONE of these: asy_http_respond or asy_http_stream_end
 * returned OK; asy_http_abort returned; on_gone has returned; asy_http_server_free. Its views
 * (path, headers, body) live as long. Requests of one connection come one at a time: the next of a
 * pipeline after the response to the one before was ended. */
struct asy_http_req;

struct asy_http_header {
    const char *name;
    const char *value;
};

struct asy_http_handlers {
    /* The whole request is there. Answer now or later. */
    void (*on_request)(void *arg, struct asy_http_req *req);
    /* The client went away (also by half-closing), stalled, or the server shut down before the
     * response was ended. Heard at once, unless more than 64 KiB of further requests were sent
     * behind this one: then an end behind them is heard when the answer has been given. */
    void (*on_gone)(void *arg, struct asy_http_req *req);
    /* As for pipes, with ceiling ASY_MAX_STREAM_QUEUE. May be NULL. */
    void (*on_drain)(void *arg, struct asy_http_req *req);
    /* Body for an answer that the server gives by itself: 400, 408, 413, 417, 426, 431, 501, 503,
     * 505. text says what is wrong. Returns the content type (static). NULL: plain text. */
    const char *(*on_error)(void *arg, int status, const char *text, struct asy_buf *ret_body);
};

/* A path at which a GET that asks for an upgrade becomes a WebSocket. */
struct asy_ws_route {
    const char *path;        /* exact */
    const char *subprotocol; /* refused with 400 unless the client offers it; NULL: none */
    const struct asy_ws_handlers *handlers;
    void *arg;
    uint32_t ping_ms; /* as for clients */
    uint32_t dead_ms;
};

/* 0 or NULL stands for the default in brackets. Strings and routes are kept, not copied. */
struct asy_http_config {
    const char *host;          /* numeric IPv4 or IPv6 address ["127.0.0.1"] */
    uint16_t port;             /* 0: the kernel picks one */
    uint32_t max_conns;        /* open HTTP connections; 503 above [ASY_MAX_HTTP_CONNS] */
    uint32_t max_links;        /* open WebSockets; 503 above [ASY_MAX_NODES] */
    uint32_t max_body_len;     /* bytes; 413 above [ASY_MAX_HTTP_BODY] */
    uint32_t head_timeout_ms;  /* first byte of a request to the end of its head; 408 [10,000] */
    uint32_t body_timeout_ms;  /* end of the head to the end of the body; 408 [60,000] */
    uint32_t idle_timeout_ms;  /* connection without a request; closed silently [75,000] */
    uint32_t stall_timeout_ms; /* the client takes none of the waiting output; on_gone [30,000] */
    const struct asy_ws_route *routes;
    size_t route_count;
};

/* asy_http_server_new listens and serves HTTP/1.1 (and 1.0) without TLS.
 * Strict: a head of at most ASY_MAX_HTTP_HEADERS bytes and 100 fields, CRLF line ends only, no
 * folded lines, one Host, no Content-Length beside Transfer-Encoding, no second Content-Length,
 * Content-Type or Authorization. Methods: GET HEAD POST PUT PATCH DELETE OPTIONS; others 501.
 * Chunked bodies are decoded, `Expect: 100-continue` is answered, trailers are dropped.
 * errors: RANGE host is no address; IO cannot listen (address in use) */
ASY_MUST_USE enum asy_err asy_http_server_new(struct asy_loop *loop,
                                              struct asy_http_server **ret_server,
                                              const struct asy_http_config *config,
                                              const struct asy_http_handlers *handlers, void *arg,
                                              struct asy_why *reterr_why);
uint16_t asy_http_server_port(const struct asy_http_server *server);
/* Open HTTP connections, WebSockets apart. */
size_t asy_http_server_conns(const struct asy_http_server *server);
/* asy_http_server_shutdown stops accepting, closes idle connections, lets requests in hand be
 * answered and WebSockets close (1001), and cuts what is left at deadline_ns (on_gone, on_close are
 * called). Then on_done(done_arg), once. */
void asy_http_server_shutdown(struct asy_http_server *server, uint64_t deadline_ns,
                              asy_loop_cb on_done, void *done_arg);
/* asy_http_server_free closes everything at once and calls nothing. */
void asy_http_server_free(struct asy_http_server *server);

const char *asy_http_method(const struct asy_http_req *req); /* "POST" */
struct asy_bytes
asy_http_path(const struct asy_http_req *req); /* "/v1/x%20y": as sent, up to '?' */
struct asy_bytes asy_http_query(const struct asy_http_req *req); /* "a=1&b=2": as sent, or empty */
/* The first field of that name (any case); false when there is none. */
bool asy_http_header(const struct asy_http_req *req, const char *name, struct asy_bytes *ret_value);
/* Field i in the order sent; false at the end. */
bool asy_http_header_at(const struct asy_http_req *req, size_t i, struct asy_bytes *ret_name,
                        struct asy_bytes *ret_value);
struct asy_bytes asy_http_body(const struct asy_http_req *req);
const char *asy_http_peer(const struct asy_http_req *req); /* "127.0.0.1:1234", "[::1]:1234" */
void asy_http_set_user(struct asy_http_req *req, void *user);
void *asy_http_user(const struct asy_http_req *req);
/* asy_http_param appends the decoded value of the query's first parameter of that name.
 * errors: NOT_FOUND; SYNTAX a bad %-escape; TOO_LONG ret_value is full */
ASY_MUST_USE enum asy_err asy_http_param(const struct asy_http_req *req, const char *name,
                                         struct asy_buf *ret_value);
/* asy_url_decode appends in with %-escapes (and, in queries, '+') decoded. errors: SYNTAX, TOO_LONG
 */
ASY_MUST_USE enum asy_err asy_url_decode(struct asy_buf *ret_out, struct asy_bytes in,
                                         bool is_query);

/* Answering. Content-Length, Transfer-Encoding, Connection and Date are added here; naming one of
 * them in headers, or a control character in a value, is SYNTAX. To HEAD the same head goes without
 * body. On any error nothing was sent and the request is still open. */

/* asy_http_respond answers in one go. status: 200..599; body: copied.
 * errors: SYNTAX a header; TOO_LONG body above ASY_MAX_RESPONSE; STATE a stream was begun */
ASY_MUST_USE enum asy_err asy_http_respond(struct asy_http_req *req, int status,
                                           const struct asy_http_header *headers,
                                           size_t header_count, struct asy_bytes body);
/* asy_http_stream_begin sends the head of an answer of unknown length. errors: as above */
ASY_MUST_USE enum asy_err asy_http_stream_begin(struct asy_http_req *req, int status,
                                                const struct asy_http_header *headers,
                                                size_t header_count);
/* asy_http_stream_write queues a piece (empty: no effect).
 * errors: FULL the queue would exceed ASY_MAX_STREAM_QUEUE, nothing was taken, on_drain will come;
 *         TOO_LONG a piece that can never fit; STATE no stream was begun */
ASY_MUST_USE enum asy_err asy_http_stream_write(struct asy_http_req *req, struct asy_bytes in);
size_t
asy_http_stream_queued(const struct asy_http_req *req); /* bytes not yet taken by the kernel */
/* asy_http_stream_end ends the answer; req is dead. errors: STATE no stream was begun */
ASY_MUST_USE enum asy_err asy_http_stream_end(struct asy_http_req *req);
/* asy_http_abort closes the connection at once, so that the client sees a cut; req is dead. */
void asy_http_abort(struct asy_http_req *req);

#endif
