/* stream.c: a non-blocking descriptor with an output queue. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net_priv.h"

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct net_stream *s, int mask) {
    if (mask == s->mask) {
        return;
    }
    s->mask = mask;
    if (mask != 0) {
        ASY_ASSERT(uv_poll_start(&s->poll, mask, on_poll) == 0);
    } else {
        ASY_ASSERT(uv_poll_stop(&s->poll) == 0);
    }
}

/* Waits for what the open stream can use now. A paused one still hears that its peer closed, once.
 */
static void watch_open(struct net_stream *s) {
    if (s->phase != NET_OPEN || s->failed) {
        return;
    }
    int mask = s->blocked ? UV_WRITABLE : 0;
    if (s->can_read && !s->paused) {
        mask |= UV_READABLE;
    } else if (!s->hup) {
        mask |= UV_DISCONNECT;
    }
    watch(s, mask);
}

static void mark_ready(struct net_stream *s) { net_list_add(&s->loop->ready, &s->ready); }

static void mark_dirty(struct net_stream *s) {
    if (net_list_empty(&s->dirty)) {
        net_list_add(&s->loop->dirty, &s->dirty);
    }
}

struct net_stream *net_stream_new(struct asy_loop *loop, int fd, bool is_connecting,
                                  size_t high_len, size_t max_len, const struct net_stream_ops *ops,
                                  void *owner) {
    struct net_stream *s = asy_alloc(sizeof *s);
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        uv_poll_init(&loop->uv, &s->poll, fd) != 0) {
        (void)close(fd); /* nothing was written to it */
        asy_free(s);
        return NULL;
    }
    s->poll.data = s;
    s->loop = loop;
    s->fd = fd;
    s->is_socket = S_ISSOCK(st.st_mode);
    s->can_read = (flags & O_ACCMODE) != O_WRONLY;
    s->can_write = (flags & O_ACCMODE) != O_RDONLY;
    s->progress_ms = net_now_ms(loop);
    net_list_init(&s->dirty);
    net_list_init(&s->ready);
    asy_buf_init(&s->out, max_len);
    net_stream_own(s, ops, owner, high_len, max_len);
    if (is_connecting) {
        s->phase = NET_CONNECTING;
        watch(s, UV_WRITABLE);
    } else {
        s->phase = NET_OPEN;
        watch_open(s);
    }
    return s;
}

void net_stream_own(struct net_stream *s, const struct net_stream_ops *ops, void *owner,
                    size_t high_len, size_t max_len) {
    s->ops = ops;
    s->owner = owner;
    s->high_len = high_len;
    s->out.max = max_len;
}

static void on_closed(uv_handle_t *handle) {
    struct net_stream *s = handle->data;
    if (s->free_owner != NULL) {
        s->free_owner(s->freed_owner);
    }
    asy_free(s);
}

void net_stream_close(struct net_stream *s, void (*free_owner)(void *), void *owner) {
    ASY_ASSERT(s->phase != NET_CLOSED);
    s->free_owner = free_owner;
    s->freed_owner = owner;
    net_list_del(&s->dirty);
    net_list_del(&s->ready);
    asy_buf_done(&s->out);
    uv_close((uv_handle_t *)&s->poll, on_closed);
    if (s->ssl != NULL) {
        if (s->phase == NET_OPEN) {
            ERR_clear_error();
            (void)SSL_shutdown(s->ssl); /* as far as it goes: the peer may be gone */
        }
        SSL_free(s->ssl);
        s->ssl = NULL;
    }
    (void)close(s->fd); /* errors of what was written before have no one to go to */
    s->phase = NET_CLOSED;
}

/* ---- events ---- */

static void broken(struct net_stream *s, const char *text) {
    (void)snprintf(s->text, sizeof s->text, "%s", text); /* cut is fine */
    s->phase = NET_BROKEN;
    watch(s, 0);
}

static void go_gone(struct net_stream *s, const char *text) {
    broken(s, text);
    s->ops->gone(s->owner, s->text);
}

static int socket_errno(const struct net_stream *s) {
    int error = 0;
    socklen_t len = sizeof error;
    if (!s->is_socket || getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        return EPIPE;
    }
    return error;
}

static const char *tls_text(const struct net_stream *s) {
    long verify = SSL_get_verify_result(s->ssl);
    if (verify != X509_V_OK) {
        return X509_verify_cert_error_string(verify);
    }
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason != NULL ? reason : "TLS failed";
}

static void handshake(struct net_stream *s) {
    ERR_clear_error();
    int rc = SSL_do_handshake(s->ssl);
    if (rc == 1) {
        s->phase = NET_OPEN;
        watch_open(s);
        s->ops->up(s->owner);
        return;
    }
    switch (SSL_get_error(s->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        watch(s, UV_READABLE);
        break;
    case SSL_ERROR_WANT_WRITE:
        watch(s, UV_WRITABLE);
        break;
    default:
        go_gone(s, tls_text(s));
        break;
    }
}

void net_stream_secure(struct net_stream *s, SSL *ssl) {
    s->ssl = ssl;
    ASY_ASSERT(SSL_set_fd(ssl, s->fd) == 1);
    SSL_set_connect_state(ssl);
}

static void connected(struct net_stream *s) {
    int error = socket_errno(s);
    if (error != 0) {
        go_gone(s, strerror(error));
        return;
    }
    s->was_connected = true;
    if (s->ssl != NULL) {
        s->phase = NET_HANDSHAKE;
        handshake(s);
    } else {
        s->phase = NET_OPEN;
        watch_open(s);
        s->ops->up(s->owner);
    }
}

/* Bytes read, 0 at the end, -1: nothing now, -2: broken. */
static ssize_t read_some(struct net_stream *s, const char **ret_text) {
    uint8_t *to = s->loop->read_buf;
    if (s->ssl != NULL) {
        ERR_clear_error();
        int n = SSL_read(s->ssl, to, NET_READ_LEN);
        if (n > 0) {
            return n;
        }
        switch (SSL_get_error(s->ssl, n)) {
        case SSL_ERROR_ZERO_RETURN:
            return 0;
        case SSL_ERROR_WANT_READ:
            return -1;
        case SSL_ERROR_WANT_WRITE:
            s->blocked = true;
            return -1;
        default:
            *ret_text = tls_text(s);
            return -2;
        }
    }
    ssize_t n;
    do {
        n = s->is_socket ? recv(s->fd, to, NET_READ_LEN, 0) : read(s->fd, to, NET_READ_LEN);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN) {
        return -1;
    }
    *ret_text = strerror(errno);
    return -2;
}

/* One read is enough where the poll reports what is left; TLS may hold bytes that the poll does not
 * see, and after an error the poll reports nothing, so there we read to the end. */
static void read_in(struct net_stream *s) {
    enum { ROUNDS_MAX = 256 };
    for (int i = 0; i < ROUNDS_MAX && s->phase == NET_OPEN && s->can_read && !s->paused; i++) {
        const char *text = NULL;
        ssize_t n = read_some(s, &text);
        if (n > 0) {
            s->ops->input(s->owner, asy_bytes_of(s->loop->read_buf, (size_t)n));
            if (s->ssl == NULL && !s->failed) {
                return;
            }
        } else if (n == 0) {
            s->can_read = false;
            s->hup = true;
            watch_open(s);
            s->ops->eof(s->owner);
            return;
        } else if (n == -1) {
            watch_open(s);
            return;
        } else {
            go_gone(s, text);
            return;
        }
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct net_stream *s = poll->data;
    switch (s->phase) {
    case NET_CONNECTING:
        connected(s);
        return;
    case NET_HANDSHAKE:
        handshake(s);
        return;
    case NET_OPEN:
        break;
    case NET_BROKEN:
    case NET_CLOSED:
        return;
    }
    if (status < 0) { /* libuv stopped the poll */
        s->mask = 0;
        s->failed = true;
        if (!s->paused || !s->can_read) {
            read_in(s);
            if (s->phase == NET_OPEN) {
                int error = socket_errno(s);
                go_gone(s, strerror(error != 0 ? error : ECONNRESET));
            }
        }
        return;
    }
    if ((events & UV_WRITABLE) != 0) {
        s->blocked = false;
        mark_dirty(s); /* what was queued in this turn waits for its end */
    }
    if ((events & UV_READABLE) != 0) {
        read_in(s);
    }
    if ((events & UV_DISCONNECT) != 0 && s->phase == NET_OPEN && !s->hup) {
        s->hup = true;
        watch_open(s);
        if (!s->can_read) {
            s->ops->eof(s->owner); /* a write-only pipe whose reader is gone */
        } else if (s->ops->hup != NULL) {
            s->ops->hup(s->owner);
        }
    }
}

void net_stream_deliver(struct net_stream *s) {
    /* what the owner kept comes before what is read */
    if (s->ev_kick && s->phase == NET_OPEN) {
        s->ev_kick = false;
        s->ops->kick(s->owner);
    }
    if (s->ev_read) {
        s->ev_read = false;
        read_in(s);
        if (s->phase == NET_OPEN && s->failed && !s->paused) {
            go_gone(s, "Connection reset by peer");
        }
    }
    if (s->ev_drained && s->phase == NET_OPEN) {
        s->ev_drained = false;
        if (s->ops->drained != NULL) {
            s->ops->drained(s->owner);
        }
    }
    if (s->ev_flushed && s->phase == NET_OPEN) {
        s->ev_flushed = false;
        if (s->out.n == 0) {
            s->ops->flushed(s->owner);
        } else {
            s->tell_flushed = true;
        }
    }
    if (s->ev_gone && s->phase == NET_BROKEN) {
        s->ev_gone = false;
        s->ops->gone(s->owner, s->text);
    }
}

/* ---- output ---- */

/* Bytes written, -1: no more now, -2: broken. */
static ssize_t write_some(struct net_stream *s, const uint8_t *p, size_t len,
                          const char **ret_text) {
    if (s->ssl != NULL) {
        ERR_clear_error();
        size_t done;
        int rc = SSL_write_ex(s->ssl, p, len, &done);
        if (rc == 1) {
            return (ssize_t)done;
        }
        int error = SSL_get_error(s->ssl, rc);
        if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) {
            return -1;
        }
        *ret_text = tls_text(s);
        return -2;
    }
    ssize_t n;
    do {
        n = s->is_socket ? send(s->fd, p, len, MSG_NOSIGNAL) : write(s->fd, p, len);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN) {
        return -1;
    }
    *ret_text = strerror(errno);
    return -2;
}

static void write_end(struct net_stream *s) {
    s->end_wanted = false;
    if (s->is_socket) {
        (void)shutdown(s->fd, SHUT_WR); /* fails only when the peer is gone, which reading tells */
    } else if (!s->can_read) {
        /* the only way to end a pipe is to close it: an idle descriptor stands in until the owner
         * frees the stream */
        watch(s, 0);
        s->phase = NET_BROKEN;
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null_fd >= 0) {
            (void)dup3(null_fd, s->fd, O_CLOEXEC); /* fd is open: cannot fail */
            (void)close(null_fd);
        }
    }
}

void net_stream_flush(struct net_stream *s) {
    if (s->phase != NET_OPEN || s->blocked) {
        return;
    }
    bool moved = false;
    while (s->out_off < s->out.n && !s->blocked) {
        const char *text = NULL;
        ssize_t n = write_some(s, s->out.p + s->out_off, s->out.n - s->out_off, &text);
        if (n >= 0) {
            s->out_off += (size_t)n;
            moved = true;
        } else if (n == -1) {
            s->blocked = true;
        } else {
            broken(s, text);
            s->ev_gone = true;
            mark_ready(s);
            return;
        }
    }
    if (moved) {
        s->progress_ms = net_now_ms(s->loop);
    }
    if (s->out_off == s->out.n) {
        s->out_off = 0;
        if (s->out.cap > NET_KEEP_LEN) {
            asy_buf_done(&s->out);
        } else {
            asy_buf_clear(&s->out);
        }
        if (s->tell_flushed) {
            s->tell_flushed = false;
            s->ev_flushed = true;
            mark_ready(s);
        }
        if (s->end_wanted) {
            write_end(s);
        }
    }
    if (s->above && net_stream_queued(s) <= s->high_len / 4) {
        s->above = false;
        s->ev_drained = true;
        mark_ready(s);
    }
    watch_open(s);
}

void net_stream_write(struct net_stream *s, const void *p, size_t len) {
    if (s->phase == NET_BROKEN || len == 0) {
        return; /* its owner is about to hear */
    }
    if (s->out_off == s->out.n) {
        s->progress_ms = net_now_ms(s->loop);
    }
    if (s->out_off > NET_READ_LEN && s->out_off > s->out.n / 2) {
        asy_buf_consume(&s->out, s->out_off);
        s->out_off = 0;
    }
    enum asy_err err = asy_buf_add(&s->out, p, len);
    ASY_ASSERT(err == ASY_OK); /* owners keep below max_len */
    mark_dirty(s);
}

bool net_stream_full(struct net_stream *s, size_t len) {
    if (net_stream_queued(s) + len <= s->high_len) {
        return false;
    }
    s->above = true;
    return true;
}

void net_stream_note_high(struct net_stream *s) {
    if (net_stream_queued(s) > s->high_len / 2) {
        s->above = true;
    }
}

size_t net_stream_queued(const struct net_stream *s) { return s->out.n - s->out_off; }

void net_stream_pause(struct net_stream *s) {
    s->paused = true;
    watch_open(s);
}

void net_stream_resume(struct net_stream *s) {
    if (s->paused) {
        s->paused = false;
        watch_open(s);
        if (s->ssl != NULL || s->failed) {
            s->ev_read = true;
            mark_ready(s);
        }
    }
}

void net_stream_tell_flushed(struct net_stream *s) {
    s->tell_flushed = true;
    mark_dirty(s);
}

void net_stream_kick(struct net_stream *s) {
    s->ev_kick = true;
    mark_ready(s);
}

void net_stream_end(struct net_stream *s) {
    s->end_wanted = true;
    mark_dirty(s);
}

/* ---- addresses ---- */

void net_peer_format(char ret_text[NET_PEER_LEN], const struct sockaddr *addr) {
    char host[INET6_ADDRSTRLEN] = "?";
    if (addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, addr, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host); /* host is large enough */
        (void)snprintf(ret_text, NET_PEER_LEN, "[%s]:%u", host, ntohs(in6.sin6_port));
    } else {
        struct sockaddr_in in4;
        memcpy(&in4, addr, sizeof in4);
        (void)inet_ntop(AF_INET, &in4.sin_addr, host, sizeof host); /* host is large enough */
        (void)snprintf(ret_text, NET_PEER_LEN, "%s:%u", host, ntohs(in4.sin_port));
    }
}
