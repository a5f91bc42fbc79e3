/* Loop, timers, posts, signals, the order of a turn, pipes, children. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"
#include "net/net.h"

static struct asy_loop *loop;

static uint64_t now_ns(void) { return asy_env_mono_ns(asy_env_system()); }

static void on_stop(void *arg) {
    (void)arg;
    asy_loop_stop(loop);
}

/* ---- timers ---- */

enum { TIMERS = 200 };
static struct {
    struct asy_timer *timer;
    uint64_t at_ns;
    bool fired;
} timers[TIMERS];
static size_t timers_fired;
static uint64_t last_ms;

static void on_timer(void *arg) {
    size_t i = (size_t)(uintptr_t)arg;
    CHECK(!timers[i].fired);
    CHECK(now_ns() >= timers[i].at_ns);
    uint64_t at_ms = (timers[i].at_ns + 999999) / 1000000;
    CHECK(at_ms >= last_ms);
    last_ms = at_ms;
    timers[i].fired = true;
    if (++timers_fired == TIMERS / 2) {
        asy_loop_stop(loop);
    }
}

static void check_timers(void) {
    uint64_t start_ns = now_ns();
    for (size_t i = 0; i < TIMERS; i++) {
        timers[i].timer = asy_timer_new(loop, on_timer, (void *)(uintptr_t)i);
        timers[i].at_ns = start_ns + asy_test_random() % 50000000;
        asy_timer_at(timers[i].timer, start_ns + 3600000000000u);
        asy_timer_at(timers[i].timer, timers[i].at_ns); /* replaces the first */
        if (i % 2 == 1) {
            asy_timer_stop(timers[i].timer);
        }
    }
    asy_loop_run(loop);
    for (size_t i = 0; i < TIMERS; i++) {
        CHECK(timers[i].fired == (i % 2 == 0));
        asy_timer_free(timers[i].timer);
    }
    asy_timer_free(NULL);
}

/* ---- posts and signals ---- */

enum { THREADS = 4, POSTS = 5000 };
static size_t next_post[THREADS], posts_run;

static void on_post(void *arg) {
    size_t value = (size_t)(uintptr_t)arg;
    CHECK_U64(value / THREADS, next_post[value % THREADS]);
    next_post[value % THREADS]++;
    if (++posts_run == THREADS * POSTS) {
        asy_loop_stop(loop);
    }
}

static void *poster(void *arg) {
    for (size_t i = 0; i < POSTS; i++) {
        asy_loop_post(loop, on_post, (void *)(i * THREADS + (uintptr_t)arg));
    }
    return NULL;
}

static void on_signal(void *arg, int signum) {
    CHECK(arg == &loop);
    CHECK_U64(signum, SIGUSR1);
    asy_loop_stop(loop);
}

static void check_posts(void) {
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, poster, (void *)(uintptr_t)i) == 0);
    }
    asy_loop_run(loop);
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK_U64(next_post[i], POSTS);
    }
    CHECK_OK(asy_loop_on_signal(loop, SIGUSR1, on_signal, &loop));
    CHECK_ERR(asy_loop_on_signal(loop, SIGKILL, on_signal, &loop), ASY_ERR_RANGE);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    asy_loop_run(loop);
}

/* ---- the order of a turn ----
 * Every message carries the number of the turn that queued it. A hook counts the turns that are
 * committed. No message may be seen outside whose turn is not; the hook itself looks with a peek on
 * the other end. */

static struct asy_pipe *order_pipe;
static int order_outside;
static uint32_t order_turn = 1, order_committed;
static size_t order_left, order_seen;
static struct asy_buf order_in;

static void order_read_outside(void) {
    uint8_t in[4096];
    ssize_t n;
    while ((n = recv(order_outside, in, sizeof in, MSG_DONTWAIT)) > 0) {
        CHECK_OK(asy_buf_add(&order_in, in, (size_t)n));
        while (order_in.n >= 4) {
            CHECK(asy_le32_get(order_in.p) <= order_committed);
            order_seen++;
            asy_buf_consume(&order_in, 4);
        }
    }
}

static bool order_queue(void) {
    uint8_t out[4];
    asy_le32_put(out, order_turn);
    enum asy_err err = asy_pipe_write(order_pipe, asy_bytes_of(out, 4));
    CHECK(err == ASY_OK || err == ASY_ERR_FULL);
    order_read_outside(); /* what was queued in this turn is not out */
    return err == ASY_OK;
}

static void order_more(void *arg) {
    (void)arg;
    for (int i = 0; i < 300 && order_left != 0 && order_queue(); i++) {
        order_left--;
    }
    if (order_left != 0) {
        asy_loop_post(loop, order_more, NULL);
    }
}

static void order_hook(void *arg) {
    CHECK(arg == &order_pipe);
    order_read_outside();
    order_committed = order_turn++;
}

static void order_last_hook(void *arg) {
    CHECK(arg == &order_pipe);
    CHECK_U64(order_committed + 1, order_turn); /* hooks run in the order added */
    if (order_left == 0 && asy_pipe_queued(order_pipe) == 0) {
        asy_loop_stop(loop);
    }
}

static void order_unblock(void *arg) {
    order_read_outside();
    asy_timer_at(*(struct asy_timer **)arg, 0);
}

static void ignore_close(void *arg, struct asy_pipe *pipe, enum asy_err err) {
    (void)arg;
    (void)pipe;
    (void)err;
}

static void check_order(void) {
    enum { MESSAGES = 100000 };
    static const struct asy_pipe_handlers handlers = {.on_close = ignore_close};
    int ours;
    CHECK_OK(asy_pipe_pair(&ours, &order_outside));
    int len = 4096; /* so that the kernel's queue is full at times, and writing is taken up again by
                       the poll */
    CHECK(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &len, sizeof len) == 0);
    CHECK_OK(asy_pipe_new(loop, &order_pipe, ours, 16384, &handlers, NULL, NULL));
    asy_buf_init(&order_in, 65536);
    asy_loop_on_turn(loop, order_hook, &order_pipe);
    asy_loop_on_turn(loop, order_last_hook, &order_pipe);
    order_left = MESSAGES;
    asy_loop_post(loop, order_more, NULL);
    struct asy_timer *timer = asy_timer_new(loop, order_unblock, &timer);
    asy_timer_at(timer, 0);
    asy_loop_run(loop);
    order_read_outside();
    CHECK_U64(order_seen, MESSAGES);
    /* output of a hook, and of the turn that stops the loop, leaves too */
    CHECK(order_queue());
    asy_loop_post(loop, on_stop, NULL);
    asy_loop_run(loop);
    order_read_outside();
    CHECK_U64(order_seen, MESSAGES + 1);
    asy_timer_free(timer);
    asy_loop_off_turn(loop, order_hook, &order_pipe);
    asy_loop_off_turn(loop, order_last_hook, &order_pipe);
    asy_pipe_free(order_pipe);
    asy_buf_done(&order_in);
    CHECK(close(order_outside) == 0);
}

/* The same for HTTP: no byte of an answer is out before the hooks of its turn have run. */

static int web_fd;
static enum { WEB_WAITS, WEB_ANSWERED, WEB_COMMITTED } web_state;

static bool web_silent(void) {
    char c;
    return recv(web_fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) == -1 && errno == EAGAIN;
}
static void on_web_request(void *arg, struct asy_http_req *req) {
    (void)arg;
    struct asy_bytes body = ASY_STR("body");
    if (asy_bytes_eq(asy_http_path(req), ASY_STR("/stream"))) {
        CHECK_OK(asy_http_stream_begin(req, 200, NULL, 0));
        CHECK_OK(asy_http_stream_write(req, body));
        CHECK_OK(asy_http_stream_end(req));
    } else {
        CHECK_OK(asy_http_respond(req, 200, NULL, 0, body));
    }
    web_state = WEB_ANSWERED;
    CHECK(web_silent());
}
static void on_web_gone(void *arg, struct asy_http_req *req) {
    (void)arg;
    (void)req;
    CHECK(false);
}
static void web_hook(void *arg) {
    (void)arg;
    if (web_state == WEB_ANSWERED) {
        CHECK(web_silent());
        web_state = WEB_COMMITTED;
        asy_loop_stop(loop);
    }
}

static void check_order_http(void) {
    static const struct asy_http_handlers handlers = {.on_request = on_web_request,
                                                      .on_gone = on_web_gone};
    static const struct asy_http_config config = {.host = NULL};
    static const char *const requests[] = {"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n",
                                           "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"};
    struct asy_http_server *server;
    CHECK_OK(asy_http_server_new(loop, &server, &config, &handlers, NULL, NULL));
    asy_loop_on_turn(loop, web_hook, NULL);
    for (size_t i = 0; i < ASY_COUNT(requests); i++) {
        struct sockaddr_in addr = {.sin_family = AF_INET,
                                   .sin_port = htons(asy_http_server_port(server)),
                                   .sin_addr = {htonl(INADDR_LOOPBACK)}};
        web_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(connect(web_fd, (struct sockaddr *)&addr, sizeof addr) == 0);
        CHECK(send(web_fd, requests[i], strlen(requests[i]), 0) > 0);
        web_state = WEB_WAITS;
        asy_loop_run(loop);
        CHECK(web_state == WEB_COMMITTED);
        CHECK(!web_silent()); /* and now it is out */
        CHECK(close(web_fd) == 0);
    }
    asy_loop_off_turn(loop, web_hook, NULL);
    asy_http_server_free(server);
}

/* ---- pipes ---- */

enum { QUEUE_LEN = 100000, BULK = 5000000 };
struct end {
    struct asy_pipe *pipe;
    size_t sent, got, fulls, drains;
    int closes;
    enum asy_err err;
    bool pause_often;
};
static struct end left, right;
static struct asy_timer *resume_timer;

static uint8_t pattern(size_t at) { return (uint8_t)(at * 7 + at / 256); }

static void end_fill(struct end *end) {
    uint8_t piece[1000];
    while (end->sent < BULK) {
        for (size_t i = 0; i < sizeof piece; i++) {
            piece[i] = pattern(end->sent + i);
        }
        if (asy_pipe_write(end->pipe, asy_bytes_of(piece, sizeof piece)) != ASY_OK) {
            CHECK(asy_pipe_queued(end->pipe) + sizeof piece > QUEUE_LEN);
            end->fulls++;
            return;
        }
        end->sent += sizeof piece;
    }
    asy_pipe_end(end->pipe);
    CHECK_ERR(asy_pipe_write(end->pipe, ASY_STR("x")), ASY_ERR_CLOSED);
}

static void on_end_read(void *arg, struct asy_pipe *pipe, struct asy_bytes in) {
    struct end *end = arg;
    CHECK(pipe == end->pipe);
    bool same = true;
    for (size_t i = 0; i < in.n; i++) {
        same = same && in.p[i] == pattern(end->got + i);
    }
    CHECK(same);
    end->got += in.n;
    if (end->pause_often) {
        asy_pipe_pause(pipe);
        asy_timer_at(resume_timer, 0);
    }
}
static void on_end_drain(void *arg, struct asy_pipe *pipe) {
    struct end *end = arg;
    CHECK(asy_pipe_queued(pipe) <= QUEUE_LEN / 4);
    end->drains++;
    end_fill(end);
}
static void on_end_close(void *arg, struct asy_pipe *pipe, enum asy_err err) {
    struct end *end = arg;
    (void)pipe;
    end->closes++;
    end->err = err;
    asy_loop_stop(loop);
}
static const struct asy_pipe_handlers end_handlers = {on_end_read, on_end_drain, on_end_close};

static void on_resume(void *arg) {
    (void)arg;
    asy_pipe_resume(right.pipe);
}

static void check_pipes(void) {
    resume_timer = asy_timer_new(loop, on_resume, NULL);
    /* a socket pair, then an old pipe; the reader pauses all the time */
    for (int kind = 0; kind < 2; kind++) {
        int fds[2];
        if (kind == 0) {
            CHECK_OK(asy_pipe_pair(&fds[1], &fds[0]));
        } else {
            CHECK(pipe(fds) == 0);
        }
        left = right = (struct end){.closes = 0};
        right.pause_often = true;
        CHECK_OK(asy_pipe_new(loop, &right.pipe, fds[0], QUEUE_LEN, &end_handlers, &right, NULL));
        CHECK_OK(asy_pipe_new(loop, &left.pipe, fds[1], QUEUE_LEN, &end_handlers, &left, NULL));
        CHECK((fcntl(fds[0], F_GETFD) & FD_CLOEXEC) != 0);
        if (kind == 1) {
            CHECK_ERR(asy_pipe_write(right.pipe, ASY_STR("x")), ASY_ERR_CLOSED);
        }
        CHECK_ERR(asy_pipe_write(left.pipe, asy_bytes_of(fds, QUEUE_LEN + 1)), ASY_ERR_FULL);
        end_fill(&left);
        CHECK(left.fulls > 0);
        asy_loop_run(loop); /* until the reader has seen the end */
        CHECK_U64(right.got, BULK);
        CHECK_U64(right.closes, 1);
        CHECK_OK(right.err);
        CHECK(left.drains > 0);
        asy_pipe_free(right.pipe);
        if (kind == 0) {
            asy_loop_run(loop); /* and the writer hears that the reader went */
            CHECK_U64(left.closes, 1);
        }
        asy_pipe_free(left.pipe);
    }
    asy_timer_free(resume_timer);
    /* a write-only pipe hears of its reader's end without writing */
    int fds[2];
    CHECK(pipe(fds) == 0);
    left = (struct end){.closes = 0};
    CHECK_OK(asy_pipe_new(loop, &left.pipe, fds[1], QUEUE_LEN, &end_handlers, &left, NULL));
    CHECK(close(fds[0]) == 0);
    asy_loop_run(loop);
    CHECK_U64(left.closes, 1);
    CHECK_ERR(asy_pipe_write(left.pipe, ASY_STR("x")), ASY_ERR_CLOSED);
    asy_pipe_free(left.pipe);
    /* what is no pipe */
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    struct asy_why why;
    CHECK_ERR(asy_pipe_new(loop, &left.pipe, file, 1, &end_handlers, NULL, &why), ASY_ERR_IO);
    CHECK(fcntl(file, F_GETFD) == -1);
    asy_pipe_free(NULL);
}

/* ---- children ---- */

static int child_status, child_signum, child_exits;

static void on_exit_child(void *arg, struct asy_child *child, int status, int signum) {
    CHECK(arg == &child_exits);
    CHECK_ERR(asy_child_kill(child, SIGTERM), ASY_ERR_STATE);
    child_exits++;
    child_status = status;
    child_signum = signum;
    asy_loop_stop(loop);
}

static struct asy_child *spawn(const char *script, int in, int out) {
    const char *argv[] = {"sh", "-c", script, NULL};
    const char *env[] = {"PATH=/usr/bin:/bin", "COLOUR=blue", NULL};
    int fds[] = {in, out, 2};
    struct asy_child_spec spec = {.argv = argv, .env = env, .cwd = "/", .fds = fds, .fd_count = 3};
    struct asy_child *child = NULL;
    CHECK_OK(asy_child_spawn(loop, &child, &spec, on_exit_child, &child_exits, NULL));
    return child;
}

static struct asy_buf child_output;
static void on_output(void *arg, struct asy_pipe *pipe, struct asy_bytes in) {
    (void)arg;
    (void)pipe;
    CHECK_OK(asy_buf_add_bytes(&child_output, in));
}
static void on_output_close(void *arg, struct asy_pipe *pipe, enum asy_err err) {
    (void)pipe;
    CHECK_OK(err);
    *(bool *)arg = true;
    asy_loop_stop(loop);
}

static void check_children(void) {
    struct asy_child *child = spawn("exit 7", -1, -1);
    CHECK(asy_child_pid(child) > 0);
    asy_loop_run(loop);
    CHECK_U64(child_exits, 1);
    CHECK_U64(child_status, 7);
    CHECK_U64(child_signum, 0);
    asy_child_free(child);
    child = spawn("kill -STOP $$", -1, -1);
    CHECK_OK(asy_child_kill(child, SIGKILL));
    asy_loop_run(loop);
    CHECK_U64(child_signum, SIGKILL);
    asy_child_free(child);
    /* what it inherits: its environment, its directory, its three descriptors, no ignored signal
     * (the C library keeps 32 and 33 for itself) */
    asy_buf_init(&child_output, 10000);
    int ours, theirs;
    CHECK_OK(asy_pipe_pair(&ours, &theirs));
    static const struct asy_pipe_handlers handlers = {.on_read = on_output,
                                                      .on_close = on_output_close};
    struct asy_pipe *pipe;
    bool closed = false;
    CHECK_OK(asy_pipe_new(loop, &pipe, ours, 1000, &handlers, &closed, NULL));
    int stray = dup(0); /* inheritable */
    CHECK(stray > 2);
    child = spawn("read line; echo \"$line $COLOUR $PWD\"; "
                  "grep -c '^SigIgn:.*0000000[01][08]0000000' /proc/$$/status; "
                  "exec ls /proc/self/fd", /* which opens 3 */
                  theirs, theirs);
    CHECK(close(stray) == 0);
    CHECK(close(theirs) == 0);
    CHECK_OK(asy_pipe_write(pipe, ASY_STR("hello\n")));
    while (child_exits < 3 || !closed) {
        asy_loop_run(loop);
    }
    CHECK_STR(asy_buf_cstr(&child_output), "hello blue /\n1\n0\n1\n2\n3\n");
    asy_buf_done(&child_output);
    asy_pipe_free(pipe);
    asy_child_free(child);
    /* no such program */
    const char *argv[] = {"/nonexistent/program", NULL};
    int fds[] = {-1, -1, 2};
    struct asy_child_spec spec = {.argv = argv, .fds = fds, .fd_count = 3};
    struct asy_why why;
    CHECK_ERR(asy_child_spawn(loop, &child, &spec, on_exit_child, NULL, &why), ASY_ERR_NOT_FOUND);
    /* freed while it runs: killed and reaped with the loop */
    child = spawn("exec sleep 1000", -1, -1);
    asy_child_free(child);
    asy_child_free(NULL);
}

int main(void) {
    CHECK_OK(asy_loop_new(&loop, NULL));
    check_timers();
    check_posts();
    check_order();
    check_order_http();
    check_pipes();
    check_children();
    asy_loop_post(loop, on_stop, NULL); /* dropped with the loop */
    asy_loop_free(loop);
    asy_loop_free(NULL);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD); /* no zombie is left */
    CHECK_U64(child_exits, 3);
    return asy_test_end();
}
