/* pipe.c: byte streams on descriptors that someone else made. */
#include <sys/socket.h>

#include "net_priv.h"

struct asy_pipe {
    struct net_stream *stream;
    const struct asy_pipe_handlers *handlers;
    void *arg;
    bool closed; /* on_close was called */
    bool ended;
};

static void on_input(void *owner, struct asy_bytes in) {
    struct asy_pipe *pipe = owner;
    if (pipe->handlers->on_read != NULL) {
        pipe->handlers->on_read(pipe->arg, pipe, in);
    }
}

static void close_once(struct asy_pipe *pipe, enum asy_err err) {
    if (!pipe->closed) {
        pipe->closed = true;
        pipe->handlers->on_close(pipe->arg, pipe, err);
    }
}

static void on_eof(void *owner) { close_once(owner, ASY_OK); }

static void on_gone(void *owner, const char *text) {
    (void)text; /* the enum is all that pipes tell */
    close_once(owner, ASY_ERR_IO);
}

static void on_drained(void *owner) {
    struct asy_pipe *pipe = owner;
    if (pipe->handlers->on_drain != NULL && !pipe->closed) {
        pipe->handlers->on_drain(pipe->arg, pipe);
    }
}

static const struct net_stream_ops pipe_ops = {
    .input = on_input, .eof = on_eof, .gone = on_gone, .drained = on_drained};

enum asy_err asy_pipe_pair(int *ret_ours, int *ret_theirs) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return ASY_ERR_IO;
    }
    *ret_ours = fds[0];
    *ret_theirs = fds[1];
    return ASY_OK;
}

enum asy_err asy_pipe_new(struct asy_loop *loop, struct asy_pipe **ret_pipe, int fd,
                          size_t max_queue_len, const struct asy_pipe_handlers *handlers, void *arg,
                          struct asy_why *reterr_why) {
    struct asy_pipe *pipe = asy_alloc(sizeof *pipe);
    pipe->handlers = handlers;
    pipe->arg = arg;
    /* written bytes stay at the front of the queue until they are more than half of it */
    pipe->stream = net_stream_new(loop, fd, false, max_queue_len,
                                  2 * max_queue_len + 2 * NET_READ_LEN, &pipe_ops, pipe);
    if (pipe->stream == NULL) {
        asy_free(pipe);
        return asy_why_set(reterr_why, ASY_ERR_IO, NULL, "descriptor %d cannot be waited on", fd);
    }
    if (handlers->on_read == NULL) {
        net_stream_pause(pipe->stream);
    }
    loop->object_count++;
    *ret_pipe = pipe;
    return ASY_OK;
}

enum asy_err asy_pipe_write(struct asy_pipe *pipe, struct asy_bytes in) {
    if (pipe->closed || pipe->ended || !pipe->stream->can_write) {
        return ASY_ERR_CLOSED;
    }
    if (net_stream_full(pipe->stream, in.n)) {
        return ASY_ERR_FULL;
    }
    net_stream_write(pipe->stream, in.p, in.n);
    net_stream_note_high(pipe->stream);
    return ASY_OK;
}

size_t asy_pipe_queued(const struct asy_pipe *pipe) { return net_stream_queued(pipe->stream); }

void asy_pipe_pause(struct asy_pipe *pipe) { net_stream_pause(pipe->stream); }

void asy_pipe_resume(struct asy_pipe *pipe) { net_stream_resume(pipe->stream); }

void asy_pipe_end(struct asy_pipe *pipe) {
    if (!pipe->ended && !pipe->closed) {
        pipe->ended = true;
        net_stream_end(pipe->stream);
    }
}

void asy_pipe_free(struct asy_pipe *pipe) {
    if (pipe != NULL) {
        pipe->stream->loop->object_count--;
        net_stream_close(pipe->stream, asy_free, pipe);
    }
}
