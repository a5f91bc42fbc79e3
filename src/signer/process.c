/* process.c: the child that holds the key, and the way to it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "signer/signer_priv.h"

#define CHILD_FD 3

/* Reads len bytes. NOT_FOUND: the end came before the first one; CLOSED: later, or a failure. */
static enum asy_err read_all(int fd, uint8_t *to, size_t len) {
    for (size_t got = 0; got < len;) {
        ssize_t n = read(fd, to + got, len - got);
        if (n == 0 && got == 0) {
            return ASY_ERR_NOT_FOUND;
        }
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return ASY_ERR_CLOSED;
        }
        got += n > 0 ? (size_t)n : 0;
    }
    return ASY_OK;
}

static enum asy_err write_all(int fd, const uint8_t *from, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, from + done, len - done, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return ASY_ERR_CLOSED;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return ASY_OK;
}

/* ---- the child ---- */

static enum asy_err serve_one(int fd, struct signer_core *core, struct asy_buf *request) {
    uint8_t head[4], answer[SIGNER_ANSWER_LEN] = {0};
    uint8_t *body;
    struct asy_sig sig = {{0}};
    ASY_TRY(read_all(fd, head, sizeof head));
    uint32_t len = asy_be32_get(head);
    asy_buf_clear(request);
    if (len == 0 || asy_buf_reserve(request, &body, len) != ASY_OK ||
        read_all(fd, body, len) != ASY_OK) {
        return ASY_ERR_CLOSED;
    }
    asy_buf_grow(request, len);
    enum asy_err err = signer_core_answer(core, &sig, asy_buf_bytes(request));
    asy_be32_put(answer, (uint32_t)err);
    memcpy(answer + 4, &sig, sizeof sig);
    return write_all(fd, answer, sizeof answer);
}

int signer_serve(int fd, struct signer_core *core) {
    struct asy_buf request;
    enum asy_err err;
    asy_buf_init(&request, SIGNER_MAX_LEN);
    do {
        err = serve_one(fd, core, &request);
    } while (err == ASY_OK);
    asy_buf_done(&request);
    return err == ASY_ERR_NOT_FOUND ? 0 : 1;
}

/* The parent's handlers would run on the parent's objects; what a terminal or a service manager
 * sends to everybody is the parent's to act on: it may still need signatures to shut down. */
static void reset_signals(void) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    sigset_t none;
    for (int s = 1; s < NSIG; s++) {
        (void)signal(s, SIG_DFL); /* fails for those that cannot be caught */
    }
    for (size_t i = 0; i < ASY_COUNT(ignored); i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Keeps fd as CHILD_FD and standard error (for a failed assertion), and drops everything else. */
static bool keep_only(int fd) {
    if (fd != CHILD_FD && dup2(fd, CHILD_FD) < 0) {
        return false;
    }
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0) {
        return false;
    }
    closefrom(CHILD_FD + 1);
    return true;
}

_Noreturn static void child_main(int fd, pid_t parent, enum asy_signer_role role,
                                 const struct asy_seckey *key) {
    static const struct rlimit no_core = {0, 0};
    struct signer_core *core = NULL;
    int status = 1;
    reset_signals();
    bool ready = prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                 setrlimit(RLIMIT_CORE, &no_core) == 0 && keep_only(fd);
    (void)prctl(PR_SET_NAME, "assay-signer");
    /* a parent that died before prctl sends nothing */
    if (ready && getppid() == parent && signer_core_new(&core, role, key) == ASY_OK) {
        status = signer_serve(CHILD_FD, core);
    }
    signer_core_free(core);
    _exit(status); /* not exit: the parent's atexit handlers and buffers are not the child's */
}

enum asy_err signer_spawn(int *ret_fd, pid_t *ret_pid, enum asy_signer_role role,
                          const struct asy_seckey *key) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return ASY_ERR_IO;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        child_main(fds[1], parent, role, key);
    }
    (void)close(fds[1]);
    if (pid < 0) {
        (void)close(fds[0]);
        return ASY_ERR_IO;
    }
    *ret_fd = fds[0];
    *ret_pid = pid;
    return ASY_OK;
}

/* ---- the parent ---- */

enum asy_err signer_exchange(int fd, struct asy_sig *ret_sig, struct asy_bytes frame) {
    uint8_t answer[SIGNER_ANSWER_LEN];
    if (write_all(fd, frame.p, frame.n) != ASY_OK ||
        read_all(fd, answer, sizeof answer) != ASY_OK) {
        return ASY_ERR_CLOSED;
    }
    enum asy_err err = (enum asy_err)(int32_t)asy_be32_get(answer);
    if (err == ASY_OK) {
        memcpy(ret_sig, answer + 4, sizeof *ret_sig);
    }
    return err;
}
