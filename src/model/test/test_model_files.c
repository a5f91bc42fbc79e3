/* The cache of hashed files, and the store with its downloads from a server on loopback. */
#include <arpa/inet.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/socket.h>

#include "crypto/crypto.h"
#include "gguf_file.h"
#include "model/model_priv.h"

static char dir[PATH_MAX - 256]; /* of this run; room for names below it */

static void path_in(char ret[PATH_MAX], const char *name) {
    snprintf(ret, PATH_MAX, "%s/%s", dir, name);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

static uint64_t file_len(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

/* ---- cache ----------------------------------------------------------------------------------- */

/* The one entry in the cache folder, or false. */
static bool entry_of(char ret[PATH_MAX], const char *path) {
    struct asy_hash h;
    char name[128] = "cache/";
    asy_sha256(&h, asy_bytes_cstr(path));
    for (size_t i = 0; i < sizeof h.b; i++) {
        snprintf(name + 6 + 2 * i, 3, "%02x", h.b[i]);
    }
    memcpy(name + 6 + 64, ".json", 6);
    path_in(ret, name);
    return access(ret, R_OK) == 0;
}

/* Changes a digest in the cache, so that an answer from there can be told from one of the file. */
static void mark_entry(const char *entry) {
    uint8_t text[MODEL_CACHE_MAX] = {0};
    int fd = open(entry, O_RDWR);
    CHECK(fd >= 0 && pread(fd, text, sizeof text - 1, 0) > 0);
    char *sha = strstr((char *)text, "\"sha256\":\"0x");
    CHECK(sha != NULL);
    if (sha != NULL) {
        CHECK(pwrite(fd, "ffffffff", 8, sha + 12 - (char *)text) == 8);
    }
    (void)close(fd);
}

static bool is_marked(const struct asy_gguf *g) { return asy_be32_get(g->sha256.b) == UINT32_MAX; }

static void test_cache(void) {
    char path[PATH_MAX], other[PATH_MAX], cache[PATH_MAX], entry[PATH_MAX];
    struct asy_buf bytes;
    struct asy_gguf g, direct;
    struct asy_test_env later, now;
    asy_test_env_init(&later);
    asy_test_env_init(&now);
    later.wall_ms = asy_env_wall_ms(asy_env_system()) + 60000;
    now.wall_ms = later.wall_ms - 60000;
    path_in(path, "m.gguf");
    path_in(other, "other.gguf");
    path_in(cache, "cache");
    asy_buf_init(&bytes, 65536);
    gguf_make(&bytes, "template", 3);
    write_file(path, asy_buf_bytes(&bytes));
    CHECK_OK(asy_gguf_read(&direct, path, NULL));

    /* just written: not remembered */
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &now.env, NULL));
    CHECK(!entry_of(entry, path));
    /* nor when it says that it is old */
    CHECK(utimensat(AT_FDCWD, path, (struct timespec[2]){{1, 0}, {1, 0}}, 0) == 0);
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &now.env, NULL));
    CHECK(!entry_of(entry, path));
    /* a minute later: remembered, and whole */
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &later.env, NULL));
    CHECK(entry_of(entry, path));
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &later.env, NULL));
    CHECK(g.file_len == direct.file_len && asy_hash_eq(&g.sha256, &direct.sha256) &&
          asy_hash_eq(&g.tokenizer, &direct.tokenizer) &&
          asy_hash_eq(&g.template, &direct.template) && g.vocab_count == direct.vocab_count &&
          g.context_train == direct.context_train && g.file_type == direct.file_type);
    CHECK_STR(g.architecture, direct.architecture);
    CHECK_STR(g.name, direct.name);
    mark_entry(entry);
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &later.env, NULL));
    CHECK(is_marked(&g));

    /* written again with the same length and the same time of modification */
    struct stat st;
    CHECK(stat(path, &st) == 0);
    bytes.p[bytes.n - 1] ^= 1;
    write_file(path, asy_buf_bytes(&bytes));
    CHECK(utimensat(AT_FDCWD, path, (struct timespec[2]){st.st_mtim, st.st_mtim}, 0) == 0);
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &later.env, NULL));
    CHECK(!is_marked(&g) && !asy_hash_eq(&g.sha256, &direct.sha256));

    /* replaced by another file: again what stands there now */
    mark_entry(entry);
    gguf_make(&bytes, "another", 3);
    write_file(other, asy_buf_bytes(&bytes));
    CHECK(rename(other, path) == 0);
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &later.env, NULL));
    CHECK(!is_marked(&g) && !asy_hash_eq(&g.template, &direct.template));

    /* an entry that is none, an entry of another path */
    write_file(entry, ASY_STR("{}"));
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &later.env, NULL));
    CHECK(g.file_len == bytes.n);
    write_file(entry, ASY_STR(""));
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &later.env, NULL));
    char theirs[PATH_MAX];
    CHECK(link(path, other) == 0);
    CHECK_OK(asy_model_read_gguf(&g, path, cache, &later.env, NULL)); /* linking is a change */
    mark_entry(entry);
    (void)entry_of(theirs, other);
    CHECK(rename(entry, theirs) == 0);
    CHECK_OK(asy_model_read_gguf(&g, other, cache, &later.env, NULL));
    CHECK(!is_marked(&g));

    /* no folder for it, no file */
    CHECK_OK(asy_model_read_gguf(&g, path, "/dev/null/none", &later.env, NULL));
    CHECK(unlink(path) == 0);
    CHECK_ERR(asy_model_read_gguf(&g, path, cache, &later.env, NULL), ASY_ERR_NOT_FOUND);
    asy_buf_done(&bytes);
}

/* ---- a server that misbehaves as told -------------------------------------------------------- */

enum mode {
    WHOLE,     /* serves ranges */
    NO_RANGES, /* always all of it */
    BREAK,     /* closes after a part of what was asked for */
    BREAK_NO_RANGES,
    LONGER,   /* promises and sends more */
    SHORTER,  /* promises and sends less */
    OTHER,    /* right length, wrong bytes */
    ENDLESS,  /* no length, never ends */
    STALL,    /* a part, then nothing */
    MISSING,  /* 404 */
    SECRET,   /* 403 */
    BROKEN,   /* 500 */
    REDIRECT, /* to the same path with "x" behind it, which is served WHOLE */
    TO_FILE,  /* redirect to a file URL */
};

#define BODY_LEN 300000u
#define PART_LEN 70000u
static uint8_t body[BODY_LEN];
static struct asy_model_file spec_file;

static struct server {
    int fd;
    uint16_t port;
    pthread_t thread;
    _Atomic int mode; /* enum mode */
    atomic_uint requests;
    atomic_ullong sent; /* body bytes */
    atomic_bool stop;
} server;

static bool send_all(int fd, const void *p, size_t len) {
    const uint8_t *from = p;
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, from + done, len - done, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static void send_body(int fd, const void *p, size_t len) {
    server.sent += len; /* before: the client may be done first */
    (void)send_all(fd, p, len);
}

/* Reads a request's head; gives the first byte asked for. */
static size_t read_request(int fd, char path[256]) {
    char head[4096];
    size_t n = 0, from = 0;
    while (n < sizeof head - 1) {
        ssize_t got = recv(fd, head + n, sizeof head - 1 - n, 0);
        if (got <= 0) {
            break;
        }
        n += (size_t)got;
        head[n] = '\0';
        if (strstr(head, "\r\n\r\n") != NULL) {
            break;
        }
    }
    head[n] = '\0';
    /* allowed: a head that our own client wrote */
    CHECK(sscanf(head, "GET %255s", path) == 1);
    const char *range = strstr(head, "Range: bytes=");
    if (range != NULL) {
        from = (size_t)strtoull(range + 13, NULL, 10); /* allowed: our own client wrote it */
    }
    return from;
}

static void serve_ranges(int fd, size_t from, size_t to, size_t announced) {
    char head[256];
    if (from >= BODY_LEN) {
        (void)send_all(fd, "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n", 40);
        return;
    }
    int n = from == 0 ? snprintf(head, sizeof head,
                                 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", announced)
                      : snprintf(head, sizeof head,
                                 "HTTP/1.1 206 Part\r\nContent-Length: %zu\r\n"
                                 "Content-Range: bytes %zu-%u/%u\r\n\r\n",
                                 announced, from, BODY_LEN - 1, BODY_LEN);
    (void)send_all(fd, head, (size_t)n);
    send_body(fd, body + from, to - from);
}

static void serve_whole(int fd, size_t announced, size_t sent, uint8_t flip) {
    char head[128];
    static uint8_t copy[2 * BODY_LEN];
    memcpy(copy, body, BODY_LEN);
    copy[0] ^= flip;
    int n =
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", announced);
    (void)send_all(fd, head, (size_t)n);
    send_body(fd, copy, sent);
}

static void serve_status(int fd, const char *line, const char *location) {
    char head[512];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\n%s%s%sContent-Length: 0\r\n\r\n", line,
                     location != NULL ? "Location: " : "", location != NULL ? location : "",
                     location != NULL ? "\r\n" : "");
    (void)send_all(fd, head, (size_t)n);
}

static void serve(int fd) {
    char path[256] = "", byte;
    size_t from = read_request(fd, path), half = from + PART_LEN;
    if (half > BODY_LEN) {
        half = BODY_LEN;
    }
    bool redirected = path[0] != '\0' && path[strlen(path) - 1] == 'x';
    switch (redirected ? WHOLE : (enum mode)server.mode) {
    case WHOLE:
        serve_ranges(fd, from, BODY_LEN, BODY_LEN - from);
        break;
    case NO_RANGES:
        serve_whole(fd, BODY_LEN, BODY_LEN, 0);
        break;
    case BREAK:
        serve_ranges(fd, from, half, BODY_LEN - from);
        break;
    case BREAK_NO_RANGES:
        serve_whole(fd, BODY_LEN, server.requests == 1 ? PART_LEN : BODY_LEN, 0);
        break;
    case LONGER:
        serve_whole(fd, BODY_LEN + 1, BODY_LEN + 1, 0);
        break;
    case SHORTER:
        serve_whole(fd, BODY_LEN - 1, BODY_LEN - 1, 0);
        break;
    case OTHER:
        serve_whole(fd, BODY_LEN, BODY_LEN, 1);
        break;
    case ENDLESS:
        (void)send_all(fd, "HTTP/1.1 200 OK\r\n\r\n", 19);
        while (send_all(fd, body, BODY_LEN)) {
        }
        break;
    case STALL:
        serve_ranges(fd, from, half, BODY_LEN - from);
        (void)recv(fd, &byte, 1, 0); /* until the client leaves */
        break;
    case MISSING:
        serve_status(fd, "404 Not Found", NULL);
        break;
    case SECRET:
        serve_status(fd, "403 Forbidden", NULL);
        break;
    case BROKEN:
        serve_status(fd, "500 Oh", NULL);
        break;
    case REDIRECT:
        serve_status(fd, "302 Found", "/modelx");
        break;
    case TO_FILE:
        serve_status(fd, "302 Found", "file:///etc/passwd");
        break;
    }
}

static void *run_server(void *arg) {
    (void)arg;
    for (;;) {
        int fd = accept(server.fd, NULL, NULL);
        if (fd < 0 || server.stop) {
            (void)close(fd);
            return NULL;
        }
        server.requests++;
        serve(fd);
        (void)shutdown(fd, SHUT_RDWR);
        (void)close(fd);
    }
}

static void start_server(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* allowed: a test's own server */
    CHECK(bind(server.fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(server.fd, 8) == 0);
    CHECK(getsockname(server.fd, (struct sockaddr *)&at, &len) == 0);
    server.port = ntohs(at.sin_port);
    CHECK(pthread_create(&server.thread, NULL, run_server, NULL) == 0);
}

static void stop_server(void) {
    server.stop = true;
    (void)shutdown(server.fd, SHUT_RDWR);
    (void)pthread_join(server.thread, NULL);
    (void)close(server.fd);
}

/* ---- store ----------------------------------------------------------------------------------- */

static char store[PATH_MAX], part[PATH_MAX];

static enum asy_err fetch(enum mode mode, struct asy_model_fetch f) {
    char url[64], path[PATH_MAX] = "untouched";
    struct asy_why why;
    snprintf(url, sizeof url, "http://127.0.0.1:%u/model", server.port);
    server.mode = (int)mode;
    server.requests = 0;
    server.sent = 0;
    f.dir = store;
    f.url = f.url != NULL ? f.url : url;
    f.file = &spec_file;
    enum asy_err err = asy_model_store_fetch(path, &f, &why);
    if (err == ASY_OK) {
        uint8_t *got = asy_alloc(BODY_LEN + 1);
        int fd = open(path, O_RDONLY);
        CHECK(fd >= 0 && read(fd, got, BODY_LEN + 1) == BODY_LEN);
        CHECK_MEM(got, body, BODY_LEN);
        (void)close(fd);
        asy_free(got);
        CHECK(file_len(part) == UINT64_MAX);
    } else {
        CHECK_STR(path, "untouched");
    }
    return err;
}
#define FETCH(mode, ...) fetch(mode, (struct asy_model_fetch){__VA_ARGS__})

static void empty_store(void) {
    char path[PATH_MAX];
    if (asy_model_store_find(path, store, &spec_file) == ASY_OK) {
        CHECK(unlink(path) == 0);
    }
    (void)unlink(part);
}

/* What an earlier, broken download left. */
static void leave_part(size_t len, uint8_t flip) {
    static uint8_t copy[BODY_LEN]; /* the server reads body */
    empty_store();
    memcpy(copy, body, sizeof copy);
    copy[0] ^= flip;
    write_file(part, asy_bytes_of(copy, len));
}

struct seen {
    uint64_t last, calls, stop_at;
};
static bool on_progress(void *arg, uint64_t got, uint64_t len) {
    struct seen *s = arg;
    CHECK(got >= s->last && got <= len && len == BODY_LEN);
    s->last = got;
    s->calls++;
    return s->stop_at == 0 || got < s->stop_at;
}

static void test_whole(void) {
    struct seen seen = {0};
    char path[PATH_MAX];
    CHECK_ERR(asy_model_store_find(path, store, &spec_file), ASY_ERR_NOT_FOUND);
    CHECK_OK(FETCH(WHOLE, .progress = on_progress, .arg = &seen));
    CHECK(seen.calls > 0);
    CHECK_U64(server.requests, 1);
    CHECK_OK(asy_model_store_find(path, store, &spec_file));
    CHECK_OK(FETCH(MISSING)); /* there already: nobody is asked */
    CHECK_U64(server.requests, 0);
    empty_store();
    CHECK_OK(FETCH(REDIRECT));
    CHECK_U64(server.requests, 2);
    empty_store();
    CHECK_OK(FETCH(NO_RANGES));
    empty_store();
}

static void test_resume(void) {
    leave_part(BODY_LEN - 1000, 0);
    CHECK_OK(FETCH(WHOLE));
    CHECK_U64(server.sent, 1000);
    leave_part(BODY_LEN, 0); /* all there, but for the last step */
    CHECK_OK(FETCH(WHOLE));
    CHECK_U64(server.requests, 0);
    leave_part(PART_LEN, 0);
    CHECK_OK(FETCH(NO_RANGES)); /* from the start, then */
    leave_part(PART_LEN, 1);    /* of another file: found out at the end, and fetched anew */
    CHECK_OK(FETCH(WHOLE));
    CHECK_U64(server.requests, 2);
    leave_part(PART_LEN, 0);
    int fd = open(part, O_WRONLY | O_APPEND); /* longer than the file */
    CHECK(fd >= 0);
    for (int i = 0; i < 5; i++) {
        CHECK(write(fd, body, BODY_LEN) == BODY_LEN);
    }
    (void)close(fd);
    CHECK_OK(FETCH(WHOLE));
    CHECK_U64(server.requests, 1);
    CHECK_U64(server.sent, BODY_LEN);
    empty_store();
}

static void test_broken_connections(void) {
    CHECK_OK(FETCH(BREAK)); /* five connections, each with its part; nothing sent twice */
    CHECK_U64(server.requests, (BODY_LEN + PART_LEN - 1) / PART_LEN);
    CHECK_U64(server.sent, BODY_LEN);
    empty_store();
    CHECK_OK(FETCH(BREAK_NO_RANGES));
    empty_store();
    struct seen stop = {.stop_at = 1};
    CHECK_ERR(FETCH(STALL, .progress = on_progress, .arg = &stop), ASY_ERR_CANCELLED);
    uint64_t kept = file_len(part);
    CHECK(kept > 0 && kept <= PART_LEN);
    CHECK_OK(FETCH(WHOLE));
    CHECK_U64(server.sent, BODY_LEN - kept);
    empty_store();
}

/* Time stands still until a part has come, and then runs 20 s ahead whenever somebody looks. */
struct stall {
    struct asy_test_env env;
    bool running;
};
static uint64_t stall_mono(void *arg) {
    struct stall *s = arg;
    s->env.mono_ns += s->running ? 20000000000u : 0;
    return s->env.mono_ns;
}
static bool stall_progress(void *arg, uint64_t got, uint64_t len) {
    struct stall *s = arg;
    (void)len;
    s->running = got == PART_LEN;
    return true;
}

static void test_stall(void) {
    struct stall s = {.running = false};
    asy_test_env_init(&s.env);
    s.env.env.mono_ns = stall_mono;
    s.env.env.arg = &s;
    CHECK_ERR(FETCH(STALL, .progress = stall_progress, .arg = &s, .env = &s.env.env),
              ASY_ERR_TIMEOUT);
    CHECK_U64(file_len(part), PART_LEN);
    CHECK_OK(FETCH(WHOLE));
    empty_store();
}

static void test_wrong_bytes(void) {
    static const enum mode modes[] = {LONGER, SHORTER, OTHER, ENDLESS};
    for (size_t i = 0; i < ASY_COUNT(modes); i++) {
        CHECK_ERR(FETCH(modes[i]), ASY_ERR_MISMATCH);
        CHECK(file_len(part) == UINT64_MAX); /* dropped */
        CHECK_U64(server.requests, 1);
    }
    leave_part(PART_LEN, 1);
    CHECK_ERR(FETCH(OTHER), ASY_ERR_MISMATCH);
    CHECK(file_len(part) == UINT64_MAX);
}

static void test_refusals(void) {
    char long_url[ASY_MAX_URL + 2];
    memset(long_url, 'a', sizeof long_url - 1);
    long_url[sizeof long_url - 1] = '\0';
    CHECK_ERR(FETCH(MISSING), ASY_ERR_NOT_FOUND);
    CHECK_ERR(FETCH(SECRET), ASY_ERR_FORBIDDEN);
    CHECK_ERR(FETCH(BROKEN), ASY_ERR_PEER);
    CHECK_ERR(FETCH(TO_FILE), ASY_ERR_PEER);
    CHECK_ERR(FETCH(WHOLE, .url = "ftp://127.0.0.1/x"), ASY_ERR_SYNTAX);
    CHECK_ERR(FETCH(WHOLE, .url = "nothing"), ASY_ERR_SYNTAX);
    CHECK_ERR(FETCH(WHOLE, .url = long_url), ASY_ERR_TOO_LONG);
    CHECK_U64(server.requests, 0);
    leave_part(PART_LEN, 0); /* a failure elsewhere does not cost what is there */
    CHECK_ERR(FETCH(MISSING), ASY_ERR_NOT_FOUND);
    CHECK_U64(file_len(part), PART_LEN);
    int fd = open(part, O_RDWR);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0);
    CHECK_ERR(FETCH(WHOLE), ASY_ERR_CONFLICT);
    (void)close(fd);
    CHECK_OK(FETCH(WHOLE));
    empty_store();
    struct asy_model_fetch f = {.dir = "/dev/null/x", .url = "file:///x", .file = &spec_file};
    char path[PATH_MAX];
    CHECK_ERR(asy_model_store_fetch(path, &f, NULL), ASY_ERR_IO);
}

static void test_file_url(void) {
    char source[PATH_MAX], url[PATH_MAX + 8];
    path_in(source, "source");
    snprintf(url, sizeof url, "file://%s", source);
    CHECK_ERR(FETCH(WHOLE, .url = url), ASY_ERR_NOT_FOUND);
    write_file(source, asy_bytes_of(body, BODY_LEN));
    CHECK_OK(FETCH(WHOLE, .url = url));
    leave_part(PART_LEN, 0);
    CHECK_OK(FETCH(WHOLE, .url = url));
    empty_store();
    write_file(source, asy_bytes_of(body, BODY_LEN - 1));
    CHECK_ERR(FETCH(WHOLE, .url = url), ASY_ERR_MISMATCH);
    write_file(source, asy_bytes_of(body, 10));
    leave_part(PART_LEN, 0); /* goes on behind the end */
    CHECK_ERR(FETCH(WHOLE, .url = url), ASY_ERR_MISMATCH);
    empty_store();
}

static void test_store(void) {
    char hex[65], name[96];
    asy_test_fill(body, sizeof body);
    spec_file = (struct asy_model_file){.name = "model", .len = BODY_LEN};
    asy_sha256(&spec_file.sha256, asy_bytes_of(body, BODY_LEN));
    for (size_t i = 0; i < 32; i++) {
        snprintf(hex + 2 * i, 3, "%02x", spec_file.sha256.b[i]);
    }
    path_in(store, "store");
    snprintf(name, sizeof name, "store/%s.part", hex);
    path_in(part, name);
    start_server();
    test_whole();
    test_resume();
    test_broken_connections();
    test_stall();
    test_wrong_bytes();
    test_refusals();
    test_file_url();
    stop_server();
}

int main(void) {
    char made[PATH_MAX];
    make_dir(made);
    snprintf(dir, sizeof dir, "%.*s", (int)sizeof dir - 1, made);
    test_cache();
    test_store();
    CHECK(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
    return asy_test_end();
}
