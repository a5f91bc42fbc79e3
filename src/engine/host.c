/* host.c: an engine on an event loop. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/frame_priv.h"

struct asy_engine_host {
    struct asy_loop *loop;
    struct asy_engine *e;
    struct asy_timer *timer;
    struct asy_pipe *pipe;   /* NULL when it has closed */
    struct asy_child *child; /* NULL when it has exited */
    bool attached;           /* the engine counts on the two */
    char why[96];            /* how the child ended */
};

static void drive(struct asy_engine_host *h);

static uint64_t now(void) { return asy_env_mono_ns(asy_env_system()); }

/* The worker is gone when all it wrote was read and its process has ended. */
static void check_gone(struct asy_engine_host *h) {
    if (h->attached && h->pipe == NULL && h->child == NULL) {
        h->attached = false;
        asy_engine_detach(h->e, now(), h->why);
        drive(h);
    }
}

static void kill_child(struct asy_engine_host *h) {
    if (h->child != NULL && asy_child_kill(h->child, SIGKILL) != ASY_OK) {
        return; /* it has exited, and on_exit_child is under way */
    }
}

static void on_read(void *arg, struct asy_pipe *pipe, struct asy_bytes in) {
    struct asy_engine_host *h = arg;
    (void)pipe;
    asy_engine_input(h->e, now(), in);
    drive(h);
}

static void on_drain(void *arg, struct asy_pipe *pipe) {
    (void)pipe;
    drive(arg);
}

static void on_close(void *arg, struct asy_pipe *pipe, enum asy_err err) {
    struct asy_engine_host *h = arg;
    (void)err;
    asy_pipe_free(pipe);
    h->pipe = NULL;
    kill_child(h); /* without its socket it is of no use */
    check_gone(h);
}

static void on_exit_child(void *arg, struct asy_child *child, int status, int signum) {
    struct asy_engine_host *h = arg;
    if (signum != 0) {
        snprintf(h->why, sizeof h->why, "the worker was ended by signal %d", signum);
    } else {
        snprintf(h->why, sizeof h->why, "the worker exited with status %d", status);
    }
    asy_child_free(child);
    h->child = NULL;
    check_gone(h);
}

static enum asy_err spawn(struct asy_engine_host *h, struct asy_why *why) {
    static const struct asy_pipe_handlers handlers = {
        .on_read = on_read, .on_drain = on_drain, .on_close = on_close};
    int ours, theirs;
    enum asy_err err = asy_pipe_pair(&ours, &theirs);
    if (err != ASY_OK) {
        return asy_why_set(why, err, NULL, "no socket for the worker: %s", strerror(errno));
    }
    const int fds[] = {-1, -1, STDERR_FILENO, theirs};
    struct asy_child_spec spec = {
        .argv = asy_engine_worker_argv(h->e), .fds = fds, .fd_count = ASY_COUNT(fds)};
    err = asy_pipe_new(h->loop, &h->pipe, ours, ASY_ENGINE_QUEUE, &handlers, h, why);
    if (err == ASY_OK) {
        err = asy_child_spawn(h->loop, &h->child, &spec, on_exit_child, h, why);
        if (err != ASY_OK) {
            asy_pipe_free(h->pipe);
            h->pipe = NULL;
        }
    }
    close(theirs);
    return err;
}

/* Does what the engine wishes, until it wishes nothing more. */
static void drive(struct asy_engine_host *h) {
    asy_engine_poll(h->e, now());
    switch (asy_engine_wish(h->e, now())) {
    case ASY_ENGINE_WISH_NOTHING:
        break;
    case ASY_ENGINE_WISH_SPAWN: {
        struct asy_why why = {0};
        if (spawn(h, &why) == ASY_OK) {
            h->attached = true;
            asy_engine_attach(h->e, now());
        } else {
            asy_engine_detach(h->e, now(), why.text);
        }
        break;
    }
    case ASY_ENGINE_WISH_KILL:
        kill_child(h);
        break;
    }
    struct asy_bytes out = asy_engine_output(h->e);
    if (out.n > 0 && h->pipe != NULL && asy_pipe_write(h->pipe, out) == ASY_OK) {
        asy_engine_output_taken(h->e, out.n);
    }
    uint64_t next_ns = asy_engine_next_ns(h->e);
    if (next_ns == UINT64_MAX) {
        asy_timer_stop(h->timer);
    } else {
        asy_timer_at(h->timer, next_ns);
    }
}

static void on_timer(void *arg) { drive(arg); }

struct asy_engine_host *asy_engine_host_new(struct asy_loop *loop, struct asy_engine *e) {
    struct asy_engine_host *h = asy_alloc(sizeof *h);
    h->loop = loop;
    h->e = e;
    h->timer = asy_timer_new(loop, on_timer, h);
    asy_timer_at(h->timer, 0);
    return h;
}

void asy_engine_host_wake(struct asy_engine_host *h) { asy_timer_at(h->timer, 0); }

pid_t asy_engine_host_worker(const struct asy_engine_host *h) {
    return h->child == NULL ? 0 : asy_child_pid(h->child);
}

void asy_engine_host_free(struct asy_engine_host *h) {
    if (h == NULL) {
        return;
    }
    if (h->pipe != NULL) {
        asy_pipe_free(h->pipe);
    }
    if (h->child != NULL) {
        asy_child_free(h->child);
    }
    asy_timer_free(h->timer);
    asy_free(h);
}
