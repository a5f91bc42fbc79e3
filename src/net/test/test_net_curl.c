/* The server as curl sees it: an upload with Expect: 100-continue, a refusal before the body, a
 * stream. curl runs as our child. */
#include <unistd.h>

#include "base/test.h"
#include "net/net.h"

static struct asy_loop *loop;
static struct asy_buf output;
static int ended; /* exit and end of output */
static int exit_status;
static uint32_t produced;
static struct asy_timer *timer;
static struct asy_http_req *stream;

static void on_timer(void *arg) {
    (void)arg;
    char text[20];
    int n = snprintf(text, sizeof text, "turn %u;", ++produced);
    CHECK_OK(asy_http_stream_write(stream, asy_bytes_of(text, (size_t)n)));
    if (produced == 50) {
        CHECK_OK(asy_http_stream_end(stream));
    } else {
        asy_timer_at(timer, 0);
    }
}

static void on_request(void *arg, struct asy_http_req *req) {
    (void)arg;
    if (asy_bytes_eq(asy_http_path(req), ASY_STR("/stream"))) {
        CHECK_OK(asy_http_stream_begin(req, 200, NULL, 0));
        stream = req;
        asy_timer_at(timer, 0);
        return;
    }
    struct asy_buf text;
    asy_buf_init(&text, 1000);
    CHECK_OK(asy_buf_printf(&text, "%s %zu", asy_http_method(req), asy_http_body(req).n));
    CHECK_OK(asy_http_respond(req, 200, NULL, 0, asy_buf_bytes(&text)));
    asy_buf_done(&text);
}
static void on_gone(void *arg, struct asy_http_req *req) {
    (void)arg;
    (void)req;
    CHECK(false);
}
static const struct asy_http_handlers handlers = {.on_request = on_request, .on_gone = on_gone};

static void step(void) {
    if (++ended == 2) {
        asy_loop_stop(loop);
    }
}
static void on_exit_curl(void *arg, struct asy_child *child, int status, int signum) {
    (void)arg;
    (void)child;
    CHECK_U64(signum, 0);
    exit_status = status;
    step();
}
static void on_read(void *arg, struct asy_pipe *pipe, struct asy_bytes in) {
    (void)arg;
    (void)pipe;
    CHECK_OK(asy_buf_add_bytes(&output, in));
}
static void on_close(void *arg, struct asy_pipe *pipe, enum asy_err err) {
    (void)arg;
    (void)pipe;
    CHECK_OK(err);
    step();
}

/* Exit status of curl, or -1 when there is none. */
static int curl(const char *const *argv) {
    static const struct asy_pipe_handlers pipe_handlers = {on_read, NULL, on_close};
    int ours, theirs;
    struct asy_pipe *pipe;
    struct asy_child *child;
    CHECK_OK(asy_pipe_pair(&ours, &theirs));
    CHECK_OK(asy_pipe_new(loop, &pipe, ours, 1, &pipe_handlers, NULL, NULL));
    int fds[] = {-1, theirs, 2};
    struct asy_child_spec spec = {.argv = argv, .fds = fds, .fd_count = 3};
    enum asy_err err = asy_child_spawn(loop, &child, &spec, on_exit_curl, NULL, NULL);
    asy_pipe_end(pipe);
    asy_buf_clear(&output);
    ended = 0;
    int done = close(theirs);
    CHECK(done == 0);
    if (err == ASY_OK) {
        asy_loop_run(loop);
        asy_child_free(child);
    }
    asy_pipe_free(pipe);
    return err == ASY_OK ? exit_status : -1;
}

int main(void) {
    struct asy_http_server *server;
    static const struct asy_http_config config = {.max_body_len = 4000000};
    CHECK_OK(asy_loop_new(&loop, NULL));
    CHECK_OK(asy_http_server_new(loop, &server, &config, &handlers, NULL, NULL));
    timer = asy_timer_new(loop, on_timer, NULL);
    asy_buf_init(&output, 100000);
    char url[100], file[] = "/tmp/assay-curl-XXXXXX", upload[100];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/x", asy_http_server_port(server));
    int fd = mkstemp(file);
    CHECK(fd >= 0 && ftruncate(fd, 3000000) == 0);
    (void)snprintf(upload, sizeof upload, "@%s", file);
    const char *version[] = {"curl", "--version", NULL};
    bool have_curl = curl(version) == 0;
    if (have_curl) {
        /* curl waits a second for the 100 before it sends anyway: "%{time_total}" is not looked at,
         * the exit and body are */
        const char *post[] = {"curl",
                              "-sS",
                              "--noproxy",
                              "*",
                              "-H",
                              "Expect: 100-continue",
                              "--expect100-timeout",
                              "30",
                              "--data-binary",
                              upload,
                              url,
                              NULL};
        CHECK_U64(curl(post), 0);
        CHECK_STR(asy_buf_cstr(&output), "POST 3000000");
        const char *chunked[] = {
            "curl", "-sS",     "--noproxy", "*",  "-H", "Transfer-Encoding: chunked",
            "-H",   "Expect:", "-T",        file, url,  NULL};
        CHECK_U64(curl(chunked), 0);
        CHECK_STR(asy_buf_cstr(&output), "PUT 3000000");
        CHECK(ftruncate(fd, 5000000) == 0);
        const char *large[] = {"curl",
                               "-sS",
                               "--noproxy",
                               "*",
                               "-o",
                               "/dev/null",
                               "-w",
                               "%{http_code}",
                               "-H",
                               "Expect: 100-continue",
                               "--expect100-timeout",
                               "30",
                               "--data-binary",
                               upload,
                               url,
                               NULL};
        CHECK_U64(curl(large), 0);
        CHECK_STR(asy_buf_cstr(&output), "413");
        const char *pushed[] = {
            "curl",      "-sS",     "--noproxy",    "*",  "-o",
            "/dev/null", "-w",      "%{http_code}", "-H", "Transfer-Encoding: chunked",
            "-H",        "Expect:", "-T",           file, url,
            NULL};
        (void)curl(
            pushed); /* curl may break off with an error: the answer came before its body was out */
        CHECK_STR(asy_buf_cstr(&output), "413");
        const char *head[] = {"curl",      "-sS", "--noproxy",
                              "*",         "-I",  "-o",
                              "/dev/null", "-w",  "%{http_code} %header{content-length}",
                              url,         NULL};
        CHECK_U64(curl(head), 0);
        CHECK_STR(asy_buf_cstr(&output), "200 6");
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/stream", asy_http_server_port(server));
        const char *streamed[] = {"curl", "-sS", "-N", "--noproxy", "*", url, NULL};
        CHECK_U64(curl(streamed), 0);
        struct asy_buf want;
        asy_buf_init(&want, 1000);
        for (uint32_t i = 1; i <= 50; i++) {
            CHECK_OK(asy_buf_printf(&want, "turn %u;", i));
        }
        CHECK_STR(asy_buf_cstr(&output), asy_buf_cstr(&want));
        asy_buf_done(&want);
    }
    CHECK(close(fd) == 0 && unlink(file) == 0);
    asy_buf_done(&output);
    asy_timer_free(timer);
    asy_http_server_free(server);
    asy_loop_free(loop);
    return have_curl ? asy_test_end() : asy_test_skip("curl is not installed");
}
