/* child.c: child processes over libuv, which reaps them on SIGCHLD. */
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <unistd.h>

#include "net_priv.h"

enum { FDS_MAX = 16 };

struct asy_child {
    uv_process_t uv;
    struct asy_loop *loop;
    asy_child_exit_cb on_exit;
    void *arg;
    bool exited;
    bool freed; /* the owner is gone; only the reaping is left */
};

static void on_closed(uv_handle_t *handle) { asy_free(handle->data); }

static void on_exit_uv(uv_process_t *uv, int64_t status, int signum) {
    struct asy_child *child = uv->data;
    child->exited = true;
    if (child->freed) {
        uv_close((uv_handle_t *)uv, on_closed);
    } else {
        child->on_exit(child->arg, child, (int)status, signum);
    }
}

enum asy_err asy_child_spawn(struct asy_loop *loop, struct asy_child **ret_child,
                             const struct asy_child_spec *spec, asy_child_exit_cb on_exit,
                             void *arg, struct asy_why *reterr_why) {
    ASY_ASSERT(spec->fd_count >= 3 && spec->fd_count <= FDS_MAX);
    uv_stdio_container_t stdio[FDS_MAX];
    for (size_t i = 0; i < spec->fd_count; i++) {
        stdio[i].flags = spec->fds[i] < 0 ? UV_IGNORE : UV_INHERIT_FD;
        stdio[i].data.fd = spec->fds[i];
    }
    struct asy_child *child = asy_alloc(sizeof *child);
    child->loop = loop;
    child->on_exit = on_exit;
    child->arg = arg;
    /* libuv takes the strings without const and does not write to them */
    uv_process_options_t options = {.exit_cb = on_exit_uv,
                                    .file = spec->argv[0],
                                    .args = (char **)(uintptr_t)spec->argv,
                                    .env = (char **)(uintptr_t)spec->env,
                                    .cwd = spec->cwd,
                                    .stdio_count = (int)spec->fd_count,
                                    .stdio = stdio};
    child->uv.data = child;
    /* ours are close-on-exec already; those that this process was started with may not be. Kernels
     * before 5.11 cannot. */
    (void)close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
    int rc = uv_spawn(&loop->uv, &child->uv, &options);
    if (rc != 0) {
        uv_close((uv_handle_t *)&child->uv, on_closed);
        return asy_why_set(reterr_why, rc == UV_ENOENT ? ASY_ERR_NOT_FOUND : ASY_ERR_IO, NULL,
                           "%s: %s", spec->argv[0], uv_strerror(rc));
    }
    loop->object_count++;
    *ret_child = child;
    return ASY_OK;
}

pid_t asy_child_pid(const struct asy_child *child) { return child->uv.pid; }

enum asy_err asy_child_kill(struct asy_child *child, int signum) {
    /* until libuv has reaped it the pid cannot belong to another process */
    if (child->exited || uv_process_kill(&child->uv, signum) != 0) {
        return ASY_ERR_STATE;
    }
    return ASY_OK;
}

void asy_child_free(struct asy_child *child) {
    if (child == NULL) {
        return;
    }
    child->loop->object_count--;
    if (child->exited) {
        uv_close((uv_handle_t *)&child->uv, on_closed);
    } else {
        child->freed = true;
        (void)uv_process_kill(&child->uv, SIGKILL); /* fails only when it has just exited */
    }
}
