/*~ load: a closed-loop load generator for an OpenAI-compatible endpoint that echoes its prompt. One
 * thread, epoll, keep-alive.
 *
 *     load --port P [--key K] [--model M] [--stream 1] [--connections N]
 *          [--seconds S | --count N] [--warm N] [--tokens N] [--prompt BYTES] [--pace-ms MS]
 *          [--ramp-ms MS] [--watch NAME=PID]...
 *
 * A connection sends its next request when its answer is whole. Each prompt begins with a tag of
 * its own, and the other end says the prompt again, three bytes a token: so the answer tells whose
 * it is. An answer counts as good only when its status is 200, its text is exactly the first 3 *
 * tokens bytes of its own prompt in order, and a stream ended with one [DONE]. A paced stream with
 * a gap of more than ten paces is counted as late.
 *
 * --watch measures the CPU of a process and its children (user and system, from schedstat) over
 * exactly the measured window. Prints one line of JSON; exits 1 when an answer was not good.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"

enum {
    MAX_CONNECTIONS = 4096,
    MAX_WATCHES = 4,
    MAX_TREE = 64,
    TAG_AT = 4, /* "tag=" and then the digits */
    TAG_LEN = 16,
    TIMEOUT_S = 60,
};

static struct {
    uint64_t port, stream, connections, seconds, count, warm, tokens, prompt, pace_ms, ramp_ms;
    const char *key, *model;
} o = {.connections = 1, .tokens = 64, .prompt = 1024, .key = "none", .model = "echo"};

static uint64_t now_ns(void) { return asy_env_mono_ns(asy_env_system()); }

_Noreturn static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- CPU of a process and its children ---------------------------------------------------------
 */

struct watch {
    char name[32];
    uint64_t pid, begin_ns;
};
static struct watch watches[MAX_WATCHES];
static unsigned watch_count;

static bool read_file(char *ret_text, size_t max_len, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, ret_text, max_len - 1);
    close(fd);
    ret_text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool first_number(uint64_t *ret, const char *text) {
    return asy_bytes_to_u64(ret, asy_bytes_of(text, strspn(text, "0123456789"))) == ASY_OK;
}

/* Run time of all threads of a process; its children are appended to pids. */
static uint64_t process_ns(uint64_t pid, uint64_t *pids, unsigned *count) {
    char path[96], text[1024];
    uint64_t sum = 0, ns, child;
    (void)snprintf(path, sizeof path, "/proc/%llu/task", (unsigned long long)pid);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return 0;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.') {
            continue;
        }
        (void)snprintf(path, sizeof path, "/proc/%llu/task/%.20s/schedstat",
                       (unsigned long long)pid, e->d_name);
        if (read_file(text, sizeof text, path) && first_number(&ns, text)) {
            sum += ns;
        }
        (void)snprintf(path, sizeof path, "/proc/%llu/task/%.20s/children", (unsigned long long)pid,
                       e->d_name);
        if (!read_file(text, sizeof text, path)) {
            continue;
        }
        for (char *p = text; *count < MAX_TREE && first_number(&child, p);) {
            pids[(*count)++] = child;
            p += strspn(p, "0123456789");
            p += strspn(p, " ");
        }
    }
    closedir(dir);
    return sum;
}

static uint64_t tree_ns(uint64_t root) {
    uint64_t pids[MAX_TREE] = {root}, sum = 0;
    unsigned count = 1;
    for (unsigned i = 0; i < count; i++) {
        sum += process_ns(pids[i], pids, &count);
    }
    return sum;
}

/* ---- samples
 * ------------------------------------------------------------------------------------- */

struct samples {
    float *v; /* us */
    size_t count, cap;
};

static void add_sample(struct samples *s, uint64_t ns) {
    if (s->count == s->cap) {
        s->cap = s->cap != 0 ? 2 * s->cap : 4096;
        s->v = asy_realloc(s->v, s->cap * sizeof s->v[0]);
    }
    s->v[s->count++] = (float)ns / 1e3f;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_samples(const char *name, struct samples *s) {
    if (s->count != 0) {
        qsort(s->v, s->count, sizeof s->v[0], by_value);
        printf(",\"%s\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}", name,
               (double)s->v[(s->count - 1) / 2], (double)s->v[(s->count - 1) * 9 / 10],
               (double)s->v[(s->count - 1) * 99 / 100], (double)s->v[s->count - 1]);
    }
}

/* ---- one connection
 * ------------------------------------------------------------------------------- */

enum state { IDLE, HEAD, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, LAST_END, PLAIN };

struct conn {
    int fd;
    enum state state;
    uint64_t left; /* bytes of the chunk or body to come; while in CHUNK_SIZE: the number so far */
    uint64_t began_ns, first_ns, last_ns;
    char tag[TAG_LEN + 1];
    uint64_t said; /* bytes of text that came and were right */
    uint32_t done_count;
    int status;
    const char *wrong;
    bool late;
    struct asy_buf line; /* the head; a line that is not whole; a body */
};

static struct asy_buf request;
static size_t prompt_at; /* where the prompt begins in it */
static uint64_t serial;
static struct conn conns[MAX_CONNECTIONS];
static int poll_fd;

static bool measuring;
static struct samples latency, first, gap;
static uint64_t started, ended, good, bad, late, events;
static const char *first_wrong;

static void must(enum asy_err err) {
    if (err != ASY_OK) {
        die(asy_err_text(err));
    }
}

static void make_request(void) {
    static const char *const words[] = {"the",   "quick", "brown", "fox",   "jumps", "over",
                                        "lazy",  "dogs",  "while", "seven", "geese", "watch",
                                        "river", "stone", "light", "from"};
    struct asy_buf body;
    asy_buf_init(&body, ASY_MAX_HTTP_BODY);
    asy_buf_init(&request, ASY_MAX_HTTP_BODY + 4096);
    must(asy_buf_printf(&body, "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"",
                        o.model));
    size_t at = body.n;
    must(asy_buf_printf(&body, "tag=%0*d", TAG_LEN, 0));
    for (uint32_t r = 12345; body.n - at < o.prompt;) {
        r = r * 1664525u + 1013904223u;
        must(asy_buf_printf(&body, " %s", words[r >> 28]));
    }
    must(asy_buf_printf(&body, "\"}],\"max_tokens\":%llu,\"temperature\":0.7%s}",
                        (unsigned long long)o.tokens, o.stream ? ",\"stream\":true" : ""));
    must(asy_buf_printf(&request,
                        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%llu\r\n"
                        "User-Agent: load/1\r\nAccept: */*\r\nAuthorization: Bearer %s\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        (unsigned long long)o.port, o.key, body.n));
    prompt_at = request.n + at;
    must(asy_buf_add_bytes(&request, asy_buf_bytes(&body)));
    asy_buf_done(&body);
}

static void dial(struct conn *c) {
    const int on = 1;
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)o.port),
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    /* allowed: a client that measures the server must not be made of the server's own code */
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&addr, sizeof addr) != 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        die("connect");
    }
}

static void begin(struct conn *c) {
    if (c->fd < 0) {
        dial(c);
    }
    (void)snprintf(c->tag, sizeof c->tag, "%08x%08llx", (unsigned)getpid(),
                   (unsigned long long)++serial);
    memcpy(request.p + prompt_at + TAG_AT, c->tag, TAG_LEN);
    c->state = HEAD;
    c->said = c->first_ns = 0;
    c->done_count = 0;
    c->wrong = NULL;
    c->late = false;
    asy_buf_clear(&c->line);
    started++;
    c->began_ns = now_ns();
    for (size_t sent = 0; sent < request.n;) { /* blocking: a request fits the socket's buffer */
        ssize_t n = send(c->fd, request.p + sent, request.n - sent, MSG_NOSIGNAL);
        if (n <= 0) {
            die("send");
        }
        sent += (size_t)n;
    }
}

/* ---- answers
 * -------------------------------------------------------------------------------------- */

static void blame(struct conn *c, const char *what) {
    c->wrong = c->wrong != NULL ? c->wrong : what;
}

/* Text of the answer: it must go on where it stopped, and be this request's own. */
static void on_text(struct conn *c, struct asy_bytes text, uint64_t at_ns) {
    if (text.n == 0) {
        return;
    }
    if (c->said + text.n > o.tokens * 3) {
        blame(c, "too much text");
        return;
    }
    for (size_t i = 0; i < text.n; i++) {
        uint64_t at = c->said + i;
        uint8_t want = at >= TAG_AT && at < TAG_AT + TAG_LEN ? (uint8_t)c->tag[at - TAG_AT]
                                                             : request.p[prompt_at + at];
        if (text.p[i] != want) {
            blame(c, "text of another request, or out of order");
            return;
        }
    }
    c->said += text.n;
    if (c->first_ns == 0) {
        c->first_ns = at_ns;
    } else if (measuring && o.stream) {
        add_sample(&gap, at_ns - c->last_ns);
        c->late |= o.pace_ms != 0 && at_ns - c->last_ns > 10 * o.pace_ms * 1000000u;
    }
    c->last_ns = at_ns;
}

/* The first "content" of a JSON text; the prompts hold nothing that JSON would escape. */
static struct asy_bytes content_of(struct asy_bytes json) {
    static const char name[] = "\"content\":\"";
    const uint8_t *p = memmem(json.p, json.n, name, sizeof name - 1);
    if (p == NULL) {
        return (struct asy_bytes){0};
    }
    p += sizeof name - 1;
    const uint8_t *end = memchr(p, '"', json.n - (size_t)(p - json.p));
    return end != NULL ? asy_bytes_of(p, (size_t)(end - p)) : (struct asy_bytes){0};
}

static void on_event(struct conn *c, struct asy_bytes line, uint64_t at_ns) {
    if (line.n != 0 && line.p[line.n - 1] == '\r') {
        line.n--;
    }
    if (!asy_bytes_starts(line, ASY_STR("data: "))) {
        return;
    }
    events += measuring;
    if (asy_bytes_eq(line, ASY_STR("data: [DONE]"))) {
        c->done_count++;
    } else if (memmem(line.p, line.n, "\"error\":{", 9) != NULL) {
        blame(c, "an error event");
    } else {
        on_text(c, content_of(line), at_ns);
    }
}

static void on_body(struct conn *c, struct asy_bytes in, uint64_t at_ns) {
    while (c->status == 200 && o.stream) {
        const uint8_t *end = memchr(in.p, '\n', in.n);
        if (end == NULL) {
            break;
        }
        struct asy_bytes line = asy_bytes_of(in.p, (size_t)(end - in.p));
        if (c->line.n != 0) {
            must(asy_buf_add_bytes(&c->line, line));
            line = asy_buf_bytes(&c->line);
        }
        on_event(c, line, at_ns);
        asy_buf_clear(&c->line);
        in = asy_bytes_of(end + 1, in.n - (size_t)(end + 1 - in.p));
    }
    must(asy_buf_add_bytes(&c->line, in));
}

static int hex_digit(uint8_t b) {
    return b >= '0' && b <= '9' ? b - '0' : b >= 'a' && b <= 'f' ? b - 'a' + 10 : -1;
}

/* The head is whole in c->line: status, and how the body will end. */
static void on_head(struct conn *c) {
    const char *head = asy_buf_cstr(&c->line);
    uint64_t status = 0;
    if (c->line.n < 12 || !first_number(&status, head + 9)) {
        die("not an HTTP answer");
    }
    c->status = (int)status;
    const char *len = strcasestr(head, "\r\ncontent-length: ");
    c->left = 0;
    c->state = len != NULL && first_number(&c->left, len + 18) ? PLAIN : CHUNK_SIZE;
    asy_buf_clear(&c->line);
}

/* Takes input; returns whether the answer is whole. */
static bool feed(struct conn *c, struct asy_bytes in, uint64_t at_ns) {
    for (size_t i = 0; i < in.n;) {
        uint8_t b = in.p[i];
        size_t n = in.n - i;
        switch (c->state) {
        case IDLE:
            die("an answer to no request");
        case HEAD:
            must(asy_buf_add_u8(&c->line, b));
            i++;
            if (c->line.n >= 4 && memcmp(c->line.p + c->line.n - 4, "\r\n\r\n", 4) == 0) {
                on_head(c);
                if (c->state == PLAIN && c->left == 0) {
                    return true;
                }
            }
            break;
        case CHUNK_SIZE:
            if (hex_digit(b) >= 0) {
                c->left = c->left * 16 + (uint64_t)hex_digit(b);
            } else if (b == '\n') {
                c->state = c->left != 0 ? CHUNK_DATA : LAST_END;
            }
            i++;
            break;
        case CHUNK_DATA:
        case PLAIN:
            n = n < c->left ? n : (size_t)c->left;
            on_body(c, asy_bytes_of(in.p + i, n), at_ns);
            i += n;
            c->left -= n;
            if (c->left == 0) {
                if (c->state == PLAIN) {
                    return true;
                }
                c->state = CHUNK_END;
            }
            break;
        case CHUNK_END:
            c->state = b == '\n' ? CHUNK_SIZE : CHUNK_END;
            i++;
            break;
        case LAST_END:
            if (b == '\n') {
                return true;
            }
            i++;
            break;
        }
    }
    return false;
}

static void finish(struct conn *c, uint64_t at_ns) {
    c->state = IDLE;
    ended++;
    if (c->status != 200) {
        blame(c, "status");
    } else if (!o.stream) {
        on_text(c, content_of(asy_buf_bytes(&c->line)), at_ns);
    } else if (c->done_count != 1) {
        blame(c, "a stream without one [DONE]");
    }
    if (c->said != o.tokens * 3) {
        blame(c, "text is missing");
    }
    if (c->wrong != NULL && first_wrong == NULL) {
        first_wrong = c->wrong;
        fprintf(stderr, "load: %s: status %d, %llu bytes of text: %.300s\n", c->wrong, c->status,
                (unsigned long long)c->said, asy_buf_cstr(&c->line));
    }
    if (!measuring) {
        return;
    }
    if (c->wrong != NULL) {
        bad++;
        return;
    }
    good++;
    late += c->late;
    add_sample(&latency, at_ns - c->began_ns);
    if (o.stream) {
        add_sample(&first, c->first_ns - c->began_ns);
    }
}

/* ---- running
 * ---------------------------------------------------------------------------------------- */

/* Connections begin one after the other over ramp_ms. Returns ms until the next is due; -1 when all
 * have begun. */
static int begin_due(uint64_t *begun, uint64_t count, uint64_t since_ns) {
    for (; *begun < o.connections && started < count; ++*begun) {
        uint64_t due_ns = since_ns + o.ramp_ms * 1000000u * *begun / o.connections, now = now_ns();
        if (due_ns > now) {
            return (int)((due_ns - now) / 1000000u + 1);
        }
        begin(&conns[*begun]);
    }
    return -1;
}

/* Runs until `count` requests were started, or `seconds` have passed, and all have ended. Returns
 * how long it took, in ns. */
static uint64_t run(uint64_t count, uint64_t seconds) {
    static uint8_t in[256 * 1024];
    uint64_t since = now_ns(), last = since, begun = 0;
    uint64_t until = seconds != 0 ? since + seconds * 1000000000u : UINT64_MAX;
    started = ended = 0;
    for (;;) {
        int next_ms = begin_due(&begun, count, since);
        if (next_ms < 0 && ended == started) {
            return last - since;
        }
        struct epoll_event ready[256];
        int n =
            epoll_wait(poll_fd, ready, ASY_COUNT(ready), next_ms >= 0 ? next_ms : TIMEOUT_S * 1000);
        if (n < 0 || (n == 0 && next_ms < 0)) {
            errno = n < 0 ? errno : ETIMEDOUT;
            die("no answer");
        }
        for (int i = 0; i < n; i++) {
            struct conn *c = ready[i].data.ptr;
            ssize_t got = recv(c->fd, in, sizeof in, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) {
                continue;
            }
            last = now_ns();
            if (got <= 0) {
                if (c->state != IDLE) {
                    blame(c, "connection cut");
                    finish(c, last);
                }
                close(c->fd);
                c->fd = -1;
            } else if (feed(c, asy_bytes_of(in, (size_t)got), last)) {
                finish(c, last);
            } else {
                continue;
            }
            if (started < count && last < until) {
                begin(c);
            }
        }
    }
}

static bool set_number(const char *flag, const char *value) {
    static const struct {
        const char *name;
        uint64_t *at;
    } numbers[] = {
        {"--port", &o.port},       {"--stream", &o.stream}, {"--connections", &o.connections},
        {"--seconds", &o.seconds}, {"--count", &o.count},   {"--warm", &o.warm},
        {"--tokens", &o.tokens},   {"--prompt", &o.prompt}, {"--pace-ms", &o.pace_ms},
        {"--ramp-ms", &o.ramp_ms}};
    for (size_t i = 0; i < ASY_COUNT(numbers); i++) {
        if (strcmp(flag, numbers[i].name) == 0) {
            return asy_bytes_to_u64(numbers[i].at, asy_bytes_cstr(value)) == ASY_OK;
        }
    }
    return false;
}

static bool set_watch(const char *value) {
    const char *eq = strchr(value, '=');
    if (eq == NULL || watch_count == MAX_WATCHES) {
        return false;
    }
    struct watch *w = &watches[watch_count++];
    (void)snprintf(w->name, sizeof w->name, "%.*s", (int)(eq - value), value);
    return asy_bytes_to_u64(&w->pid, asy_bytes_cstr(eq + 1)) == ASY_OK;
}

static void read_flags(int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        bool ok = true;
        if (strcmp(argv[i], "--key") == 0) {
            o.key = value;
        } else if (strcmp(argv[i], "--model") == 0) {
            o.model = value;
        } else {
            ok = strcmp(argv[i], "--watch") == 0 ? set_watch(value) : set_number(argv[i], value);
        }
        if (!ok) {
            fprintf(stderr, "load: %s %s?\n", argv[i], value);
            exit(2);
        }
    }
    if (o.port == 0 || o.connections == 0 || o.connections > MAX_CONNECTIONS ||
        o.tokens * 3 > o.prompt || (o.seconds == 0 && o.count == 0)) {
        fprintf(stderr, "load: needs a port, a length, and a prompt of three bytes a token\n");
        exit(2);
    }
}

int main(int argc, char **argv) {
    (void)signal(SIGPIPE, SIG_IGN);
    read_flags(argc, argv);
    make_request();
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (uint64_t i = 0; i < o.connections; i++) {
        conns[i].fd = -1;
        asy_buf_init(&conns[i].line, ASY_MAX_RESPONSE);
    }
    if (o.warm != 0) {
        (void)run(o.warm, 0);
    }
    measuring = true;
    for (unsigned i = 0; i < watch_count; i++) {
        watches[i].begin_ns = tree_ns(watches[i].pid);
    }
    uint64_t self = tree_ns((uint64_t)getpid());
    double seconds = (double)run(o.count != 0 ? o.count : UINT64_MAX, o.seconds) / 1e9;
    printf("{\"good\":%llu,\"bad\":%llu,\"late\":%llu,\"seconds\":%.3f,\"events\":%llu",
           (unsigned long long)good, (unsigned long long)bad, (unsigned long long)late, seconds,
           (unsigned long long)events);
    printf(",\"cpu_us\":{\"load\":%.0f", (double)(tree_ns((uint64_t)getpid()) - self) / 1e3);
    for (unsigned i = 0; i < watch_count; i++) {
        printf(",\"%s\":%.0f", watches[i].name,
               (double)(tree_ns(watches[i].pid) - watches[i].begin_ns) / 1e3);
    }
    printf("}");
    print_samples("latency_us", &latency);
    print_samples("first_us", &first);
    print_samples("gap_us", &gap);
    printf("}\n");
    for (uint64_t i = 0; i < o.connections; i++) {
        asy_buf_done(&conns[i].line);
    }
    asy_buf_done(&request);
    return bad == 0 && first_wrong == NULL ? 0 : 1;
}
