/*~ cancel: how long a gateway takes from a client's going to the Cancel frame at the node.
 *
 *     cancel DATA PORT API_KEY NODE_KEY TRIALS
 *
 * DATA is the folder of an `assay up` that runs; NODE_KEY is the key of a node that is staked and
 * linked on its chain, but not running (the second node of a first start with two). This program is
 * that node: a real link over a real WebSocket, in a thread of its own. It accepts each offer,
 * sends the tokens it is told to, and notes when Cancel comes. The main thread is the client, and
 * closes its socket at the moment to be measured. Both clocks are one. Prints one line of JSON;
 * exits 1 when a Cancel did not come.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "evm/evm.h"
#include "link/link.h"
#include "model/model.h"
#include "net/net.h"
#include "signer/signer.h"

enum { TIMEOUT_S = 10, STREAM_TOKENS = 5, MAX_TRIALS = 1000, CONTEXT = 4096 };
#define MODEL "cancel-bench"

_Noreturn static void die(const char *what, const char *why) {
    fprintf(stderr, "cancel: %s: %s\n", what, why);
    exit(2);
}

static void must(enum asy_err err, const char *what, const struct asy_why *why) {
    if (err != ASY_OK) {
        die(what, why != NULL && why->text[0] != '\0' ? why->text : asy_err_text(err));
    }
}

static uint64_t now_ns(void) { return asy_env_mono_ns(asy_env_system()); }

/* ---- the node: all in its loop's thread but `shared` --------------------------------------------
 */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned offers, cancels; /* so far */
    uint32_t tokens;          /* to send for the next offer */
    uint64_t cancelled_ns;    /* when the last Cancel came */
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct {
    struct asy_loop *loop;
    struct asy_timer *timer;
    struct asy_ws *ws;
    struct asy_link_node *link;
    struct asy_link_hello hello;
    struct asy_domain domain;
} node;

static void set_timer(void) {
    uint64_t at_ns = asy_link_node_deadline(node.link);
    if (at_ns != UINT64_MAX) {
        asy_timer_at(node.timer, at_ns);
    }
}

static void on_timer(void *arg) {
    (void)arg;
    must(asy_link_node_tick(node.link), "tick", NULL);
    set_timer();
}

static void on_send(void *arg, struct asy_bytes frame) {
    (void)arg;
    must(asy_ws_send(node.ws, frame), "send", NULL);
}

static enum asy_err on_welcome(void *arg, const struct asy_addr *gateway,
                               const struct asy_link_welcome *welcome, struct asy_why *why) {
    (void)arg;
    (void)gateway;
    (void)why;
    (void)welcome;
    return ASY_OK;
}

static void on_offer(void *arg, uint64_t job, const struct asy_link_offer *offer) {
    static const uint32_t id = 3u << 24 | 'a' << 16 | 'b' << 8 | 'c';
    (void)arg;
    (void)offer;
    must(asy_link_node_accept(node.link, job), "accept", NULL);
    pthread_mutex_lock(&shared.lock);
    uint32_t tokens = shared.tokens;
    shared.offers++;
    pthread_cond_signal(&shared.changed);
    pthread_mutex_unlock(&shared.lock);
    for (uint32_t i = 0; i < tokens; i++) {
        must(asy_link_node_tokens(node.link, job, &id, 1, ASY_STR("abc")), "tokens", NULL);
    }
}

static void on_cancel(void *arg, uint64_t job, uint32_t keep, uint32_t reason) {
    uint64_t at_ns = now_ns();
    (void)arg;
    (void)keep;
    (void)reason;
    must(asy_link_node_fail(node.link, job, ASY_ERR_CANCELLED, "cancelled"), "fail", NULL);
    pthread_mutex_lock(&shared.lock);
    shared.cancelled_ns = at_ns;
    shared.cancels++;
    pthread_cond_signal(&shared.changed);
    pthread_mutex_unlock(&shared.lock);
}

static void on_credit(void *arg, uint64_t job, uint32_t tokens) {
    (void)arg;
    (void)job;
    (void)tokens;
}
static void on_checkpoint(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    (void)arg;
    (void)c;
    (void)sig;
}
static void on_ack(void *arg, const struct asy_ack *ack, const struct asy_sig *sig) {
    (void)arg;
    (void)ack;
    (void)sig;
}
static void on_batch(void *arg, uint64_t number, const struct asy_hash *root,
                     const struct asy_hash *tx, uint64_t block, asy_u128 credited) {
    (void)arg;
    (void)number;
    (void)root;
    (void)tx;
    (void)block;
    (void)credited;
}
static void on_drain(void *arg, uint32_t seconds) {
    (void)arg;
    (void)seconds;
}

static void ws_open(void *arg, struct asy_ws *ws, const char *peer) {
    (void)arg;
    (void)ws;
    (void)peer; /* the gateway speaks first */
}
static void ws_message(void *arg, struct asy_ws *ws, struct asy_bytes in) {
    struct asy_why why = {{0}, {0}};
    (void)arg;
    (void)ws;
    must(asy_link_node_recv(node.link, in, &why), "the gateway", &why);
    set_timer();
}
static void ws_close(void *arg, struct asy_ws *ws, uint16_t code, const char *reason) {
    (void)arg;
    (void)ws;
    (void)code;
    die("the gateway closed the link", reason);
}

static void *serve(void *arg) {
    (void)arg;
    asy_loop_run(node.loop);
    return NULL;
}

/* ---- setting the node up
 * ---------------------------------------------------------------------------- */

static void read_file(struct asy_buf *ret_text, const char *folder, const char *name) {
    char path[4096], text[16384];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        die(path, strerror(errno));
    }
    asy_buf_init(ret_text, sizeof text);
    must(asy_buf_add(ret_text, text, fread(text, 1, sizeof text, f)), path, NULL);
    fclose(f);
}

static struct asy_signer *load_signer(const char *folder, const char *key_path) {
    struct asy_keyfile file;
    struct asy_buf password;
    struct asy_secret secret;
    struct asy_seckey key;
    struct asy_signer *signer;
    struct asy_why why = {{0}, {0}};
    must(asy_keyfile_load(&file, key_path, &why), key_path, &why);
    read_file(&password, folder, "password");
    must(asy_keyfile_open(&secret, &file, asy_buf_bytes(&password)), key_path, NULL);
    memcpy(key.b, secret.b, sizeof key.b);
    must(asy_signer_new_local(&signer, ASY_SIGNER_NODE, &key), "signer", NULL);
    asy_secret_wipe(&secret, sizeof secret);
    asy_secret_wipe(&key, sizeof key);
    asy_buf_done(&password);
    return signer;
}

static void start_node(const char *folder, uint64_t port, const char *key_path) {
    static const struct asy_ws_handlers handlers = {
        .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};
    struct asy_why why = {{0}, {0}};
    struct asy_evm_market market;
    struct asy_manifest manifest;
    struct asy_buf text;
    char url[64];
    read_file(&text, folder, "market.json");
    must(asy_evm_market_parse(&market, asy_buf_bytes(&text), &why), "market.json", &why);
    asy_buf_done(&text);
    asy_domain_init(&node.domain, market.chain_id, &market.vault);
    struct asy_signer *signer = load_signer(folder, key_path);
    must(asy_signer_set_domain(signer, &node.domain), "signer", NULL);
    must(asy_manifest_echo(&manifest, MODEL, CONTEXT, &why), "manifest", &why);
    node.hello = (struct asy_link_hello){
        .node = asy_signer_addr(signer), .model_count = 1, .slots = 4, .software = "bench"};
    node.hello.models[0] = (struct asy_link_model){.name = MODEL,
                                                   .engine = "echo/1",
                                                   .price_in = 1,
                                                   .price_cached = 1,
                                                   .price_out = 1,
                                                   .context = CONTEXT,
                                                   .max_out = CONTEXT,
                                                   .tier = ASY_TIER_FORMAT};
    asy_manifest_digest(&node.hello.models[0].digest, &manifest);
    struct asy_link_node_options options = {
        .env = asy_env_system(),
        .domain = &node.domain,
        .signer = signer,
        .hello = &node.hello,
        .on = {.send = on_send,
               .on_welcome = on_welcome,
               .on_offer = on_offer,
               .on_cancel = on_cancel,
               .on_credit = on_credit,
               .on_tickets = on_checkpoint,
               .on_signed = on_checkpoint,
               .on_ack = on_ack,
               .on_batch = on_batch,
               .on_drain = on_drain},
    };
    (void)snprintf(url, sizeof url, "ws://127.0.0.1:%u/link", (unsigned)port);
    struct asy_ws_client_config config = {.url = url, .subprotocol = ASY_LINK_SUBPROTOCOL};
    must(asy_loop_new(&node.loop, &why), "loop", &why);
    node.timer = asy_timer_new(node.loop, on_timer, NULL);
    node.link = asy_link_node_new(&options);
    must(asy_ws_connect(node.loop, &node.ws, &config, &handlers, NULL, &why), url, &why);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, NULL) != 0) {
        die("thread", strerror(errno));
    }
}

/* ---- the client
 * ---------------------------------------------------------------------------------------- */

static int send_request(uint64_t port, const char *key, const char *method, const char *path,
                        const char *body) {
    const int on = 1;
    const struct timeval limit = {TIMEOUT_S, 0};
    char text[2048];
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int n = snprintf(text, sizeof text,
                     "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                     "Authorization: Bearer %s\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     method, path, key, strlen(body), body);
    /* allowed: a client that measures the server must not be made of the server's own code */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, sizeof addr) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
        send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
        die("request", strerror(errno));
    }
    return fd;
}

/* Reads until `what` has come `count` times. */
static bool read_until(int fd, const char *what, unsigned count) {
    static char in[65536];
    size_t n = 0;
    while (n < sizeof in - 1) {
        ssize_t got = recv(fd, in + n, sizeof in - 1 - n, 0);
        if (got <= 0) {
            return false;
        }
        n += (size_t)got;
        in[n] = '\0';
        unsigned found = 0;
        for (const char *p = in; (p = strstr(p, what)) != NULL; p += strlen(what)) {
            found++;
        }
        if (found >= count) {
            return true;
        }
    }
    return false;
}

/* The gateway asks the chain about the node before it offers it anything. */
static void wait_until_served(uint64_t port, const char *key) {
    uint64_t deadline = now_ns() + TIMEOUT_S * 1000000000ull;
    const struct timespec pause = {0, 20000000};
    for (;;) {
        int fd = send_request(port, key, "GET", "/v1/models/" MODEL, "");
        bool there = read_until(fd, MODEL "\",\"object\"", 1);
        close(fd);
        if (there) {
            return;
        }
        if (now_ns() > deadline) {
            die("the gateway", "does not offer this node's model");
        }
        (void)nanosleep(&pause, NULL);
    }
}

/* Waits until *counter is above `was`; false when time is up. */
static bool wait_count(const unsigned *counter, unsigned was) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += TIMEOUT_S;
    int rc = 0;
    while (rc == 0 && *counter == was) {
        rc = pthread_cond_timedwait(&shared.changed, &shared.lock, &until);
    }
    return *counter != was;
}

/* One trial; false when no Cancel came. */
static bool trial(uint64_t *ret_ns, uint64_t port, const char *key, bool stream, uint32_t tokens) {
    char body[512];
    (void)snprintf(body, sizeof body,
                   "{\"model\":\"" MODEL "\",\"max_tokens\":64,\"stream\":%s,"
                   "\"messages\":[{\"role\":\"user\",\"content\":\"wait\"}]}",
                   stream ? "true" : "false");
    pthread_mutex_lock(&shared.lock);
    shared.tokens = tokens;
    unsigned offers = shared.offers, cancels = shared.cancels;
    pthread_mutex_unlock(&shared.lock);
    int fd = send_request(port, key, "POST", "/v1/chat/completions", body);
    pthread_mutex_lock(&shared.lock);
    bool ok = wait_count(&shared.offers, offers);
    pthread_mutex_unlock(&shared.lock);
    if (ok && tokens != 0) {
        ok = read_until(fd, "{\"content\":\"abc\"}", tokens);
    }
    uint64_t closed_ns = now_ns();
    close(fd);
    pthread_mutex_lock(&shared.lock);
    ok = ok && wait_count(&shared.cancels, cancels);
    *ret_ns = shared.cancelled_ns - closed_ns;
    pthread_mutex_unlock(&shared.lock);
    return ok;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static unsigned measure(const char *name, uint64_t trials, uint64_t port, const char *key,
                        bool stream, uint32_t tokens) {
    static uint64_t took[MAX_TRIALS];
    unsigned told = 0;
    for (uint64_t i = 0; i < trials; i++) {
        told += trial(&took[told], port, key, stream, tokens);
    }
    qsort(took, told, sizeof took[0], by_value);
    printf("\"%s\":{\"told\":%u", name, told);
    if (told != 0) {
        printf(",\"min_us\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f",
               (double)took[0] / 1e3, (double)took[(told - 1) / 2] / 1e3,
               (double)took[(told - 1) * 99 / 100] / 1e3, (double)took[told - 1] / 1e3);
    }
    printf("},");
    return told;
}

int main(int argc, char **argv) {
    uint64_t port, trials;
    if (argc != 6 || asy_bytes_to_u64(&port, asy_bytes_cstr(argv[2])) != ASY_OK ||
        asy_bytes_to_u64(&trials, asy_bytes_cstr(argv[5])) != ASY_OK || trials > MAX_TRIALS) {
        fprintf(stderr, "usage: cancel DATA PORT API_KEY NODE_KEY TRIALS\n");
        return 2;
    }
    pthread_cond_init(&shared.changed, NULL);
    start_node(argv[1], port, argv[4]);
    wait_until_served(port, argv[3]);
    printf("{");
    unsigned told = measure("pending_json", trials, port, argv[3], false, 0);
    told += measure("before_first_token", trials, port, argv[3], true, 0);
    told += measure("mid_stream", trials, port, argv[3], true, STREAM_TOKENS);
    printf("\"trials\":%llu}\n", (unsigned long long)trials);
    return told == 3 * trials ? 0 : 1; /* the node's thread ends with the process */
}
