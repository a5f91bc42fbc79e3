/* The JSON-RPC client against an endpoint that misbehaves by a script: which failures are tried
 * again, which are passed on, and with what text. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "evm/evm.h"

#define HUGE (ASY_MAX_RPC_BODY + 1u)

/* ---- the endpoint ---- */

struct reply {
    int status;       /* 0: close the connection without an answer; -1: never answer */
    const char *body; /* "ID" in it becomes the request's id */
    size_t pad;       /* spaces behind the body */
    size_t cut;       /* bytes of the body that are promised and not sent */
};
static struct {
    int listener;
    uint16_t port;
    const struct reply *script;
    size_t count, next;
    char requests[16][8192]; /* their bodies */
    pthread_mutex_t lock;
    pthread_cond_t hung; /* a request came that will not be answered */
    bool is_hung;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .hung = PTHREAD_COND_INITIALIZER};

/* Reads one request; false at the end of the connection. */
static bool read_request(int fd, char *ret_body, size_t cap) {
    static char text[65536];
    size_t n = 0, want = 0;
    const char *body = NULL;
    while (body == NULL || n < want) {
        ssize_t got = read(fd, text + n, sizeof text - 1 - n);
        if (got <= 0) {
            return false;
        }
        n += (size_t)got;
        text[n] = 0;
        const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length: ");
        if (body == NULL && end != NULL && length != NULL) {
            body = end + 4;
            want = (size_t)(body - text) +
                   strtoul(length + 16, NULL, 10); /* allowed: our own client wrote it */
        }
    }
    (void)snprintf(ret_body, cap, "%s", body);
    return true;
}

static bool write_full(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* False: close the connection. */
static bool answer(int fd, const struct reply *r, const char *request) {
    static char body[65536], head[256];
    static const char spaces[65536] = {[0 ... 65535] = ' '};
    const char *id = strstr(request, "\"id\":"), *place = strstr(r->body, "ID");
    if (place != NULL) {
        unsigned long number = strtoul(id + 5, NULL, 10); /* allowed: our own client wrote it */
        (void)snprintf(body, sizeof body, "%.*s%lu%s", (int)(place - r->body), r->body, number,
                       place + 2);
    } else {
        (void)snprintf(body, sizeof body, "%s", r->body);
    }
    (void)snprintf(head, sizeof head,
                   "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                   r->status, strlen(body) + r->pad);
    if (!write_full(fd, head, strlen(head)) || !write_full(fd, body, strlen(body) - r->cut)) {
        return false;
    }
    for (size_t left = r->pad; left > 0;) {
        size_t n = left < sizeof spaces ? left : sizeof spaces;
        if (!write_full(fd, spaces, n)) {
            return false;
        }
        left -= n;
    }
    return r->cut == 0;
}

static void serve(int fd) {
    static char text[8192];
    bool open = true;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    while (open && read_request(fd, text, sizeof text)) {
        (void)pthread_mutex_lock(&server.lock);
        ASY_ASSERT(server.next < server.count && server.next < ASY_COUNT(server.requests));
        memcpy(server.requests[server.next], text, sizeof text);
        struct reply r = server.script[server.next++]; /* a copy: the script is gone when the client
                                                          has its answer */
        if (r.status == -1) {
            server.is_hung = true;
            (void)pthread_cond_signal(&server.hung);
        }
        (void)pthread_mutex_unlock(&server.lock);
        if (r.status == -1) {
            char byte;
            open = read(fd, &byte, 1) > 0; /* until the client hangs up */
        } else {
            open = r.status != 0 && answer(fd, &r, text);
        }
    }
    (void)close(fd);
}

static void *run_server(void *arg) {
    (void)arg;
    for (int fd; (fd = accept(server.listener, NULL, NULL)) >= 0;) {
        serve(fd);
    }
    return NULL;
}

static void script(const struct reply *replies, size_t count) {
    (void)pthread_mutex_lock(&server.lock);
    server.script = replies;
    server.count = count;
    server.next = 0;
    server.is_hung = false;
    (void)pthread_mutex_unlock(&server.lock);
}
/* What the endpoint heard. */
static size_t heard(void) {
    (void)pthread_mutex_lock(&server.lock);
    size_t n = server.next;
    (void)pthread_mutex_unlock(&server.lock);
    return n;
}
static const char *request(size_t i) {
    ASY_ASSERT(i < heard());
    return server.requests[i];
}
#define SCRIPT(...)                                                                                \
    script((const struct reply[]){__VA_ARGS__}, ASY_COUNT(((const struct reply[]){__VA_ARGS__})))
#define OK(result)                                                                                 \
    { 200, "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":" result "}", 0, 0 }
#define FAIL(error)                                                                                \
    { 200, "{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":" error "}", 0, 0 }

/* ---- tests ---- */

static struct asy_why why;

static struct asy_evm *connect_to(uint32_t timeout_ms, uint32_t retries) {
    char url[64];
    struct asy_evm *evm;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/some/path", server.port);
    CHECK_OK(asy_evm_new(
        &evm, url, &(struct asy_evm_options){.timeout_ms = timeout_ms, .retries = retries}, &why));
    return evm;
}

static void test_url(void) {
    struct asy_evm *evm;
    char longer[ASY_MAX_URL + 32];
    memset(longer, 'a', sizeof longer);
    memcpy(longer, "http://", 7);
    longer[sizeof longer - 1] = 0;
    const char *const bad[] = {"",        "x",   "ftp://127.0.0.1/", "file:///etc/passwd",
                               "http://", longer};
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        CHECK_ERR(asy_evm_new(&evm, bad[i], NULL, &why), ASY_ERR_SYNTAX);
    }
    CHECK_ERR(
        asy_evm_new(&evm, "http://127.0.0.1/", &(struct asy_evm_options){.timeout_ms = 0}, &why),
        ASY_ERR_RANGE);
    CHECK_ERR(asy_evm_new(&evm, "http://127.0.0.1/",
                          &(struct asy_evm_options){.timeout_ms = 1, .retries = 11}, &why),
              ASY_ERR_RANGE);
}

/* What is tried again: a lost connection, a torn answer, 429 and 5xx. The metrics count all of it.
 */
static void test_retries(void) {
    struct asy_evm *evm = connect_to(5000, 4);
    uint64_t number, sent = asy_metric_get(ASY_M_rpc_requests_total),
                     failed = asy_metric_get(ASY_M_rpc_errors_total);
    SCRIPT({0, NULL, 0, 0}, {503, "busy", 0, 0}, OK("\"0x2a\""));
    CHECK_OK(asy_evm_get_block_number(evm, &number, &why));
    CHECK_U64(number, 42);
    CHECK_U64(heard(), 3);
    CHECK_U64(asy_metric_get(ASY_M_rpc_requests_total) - sent, 3);
    CHECK_U64(asy_metric_get(ASY_M_rpc_errors_total) - failed, 2);
    SCRIPT({200, "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x7\"}", 0, 5}, {429, "", 0, 0},
           OK("\"0x2b\""));
    CHECK_OK(asy_evm_get_block_number(evm, &number, &why));
    CHECK_U64(number, 43);
    asy_evm_free(evm);
    evm = connect_to(5000, 0);
    SCRIPT({502, "", 0, 0});
    CHECK_ERR(asy_evm_get_block_number(evm, &number, &why), ASY_ERR_CHAIN);
    CHECK_U64(asy_evm_failure(evm)->http_status, 502);
    asy_evm_free(evm);
}

/* What is not: any answer that is JSON-RPC, or nonsense with status 200. */
static void test_refusals(void) {
    static const struct reply bad[] = {{200, "", 0, 0},
                                       {200, "<html>", 0, 0},
                                       {200, "[]", 0, 0},
                                       {200, "{\"id\":ID}", 0, 0},
                                       {200, "{\"id\":999999,\"result\":\"0x1\"}", 0, 0},
                                       OK("7"),
                                       OK("\"0x\""),
                                       OK("\"0x01\""),
                                       OK("\"42\""),
                                       OK("null"),
                                       OK("\"0x1ffffffffffffffff\""),
                                       FAIL("7"),
                                       FAIL("{\"code\":\"x\"}"),
                                       {404, "no", 0, 0}};
    struct asy_evm *evm = connect_to(5000, 3);
    uint64_t number = 5;
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        script(&bad[i], 1);
        CHECK_ERR(asy_evm_get_block_number(evm, &number, &why), ASY_ERR_CHAIN);
        CHECK_U64(heard(), 1);
        CHECK_U64(number, 5);
    }
    SCRIPT(FAIL("{\"code\":-32005,\"message\":\"limit \\u0000 \\\\u0000 \\u00e4\"}"));
    CHECK_ERR(asy_evm_get_block_number(evm, &number, &why), ASY_ERR_CHAIN);
    CHECK(asy_evm_failure(evm)->code == -32005);
    CHECK_STR(asy_evm_failure(evm)->message, "limit ? \\u0000 ??");
    SCRIPT({400,
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"parse "
            "error\"}}",
            0, 0});
    CHECK_ERR(asy_evm_get_block_number(evm, &number, &why), ASY_ERR_CHAIN);
    CHECK_STR(why.text, "the endpoint answered error -32700: parse error");
    asy_u128 wei;
    struct asy_addr who = {{1}};
    SCRIPT(OK("\"0xffffffffffffffffffffffffffffffff1\""));
    CHECK_ERR(asy_evm_get_balance(evm, &wei, &who, &why), ASY_ERR_OVERFLOW);
    asy_evm_free(evm);
}

/* Error(string) "no", a panic, nothing, and data in an object as some servers send it. */
static void test_reverts(void) {
#define ERROR_NO                                                                                   \
    "0x08c379a0"                                                                                   \
    "0000000000000000000000000000000000000000000000000000000000000020"                             \
    "0000000000000000000000000000000000000000000000000000000000000002"                             \
    "6e6f000000000000000000000000000000000000000000000000000000000000"
    struct asy_evm *evm = connect_to(5000, 3);
    struct asy_buf data;
    struct asy_addr to = {{1}};
    asy_buf_init(&data, 4096);
    SCRIPT(FAIL("{\"code\":3,\"message\":\"execution reverted\",\"data\":\"" ERROR_NO "\"}"),
           FAIL("{\"code\":-32000,\"message\":\"execution reverted\",\"data\":{\"data\":\"" ERROR_NO
                "\"}}"),
           FAIL("{\"code\":-32000,\"message\":\"VM Exception: revert\"}"), OK("\"0x1234\""),
           OK("\"1234\""));
    for (int i = 0; i < 2; i++) {
        CHECK_ERR(asy_evm_call(evm, &data, NULL, &to, ASY_STR("\x01\x02"), &why), ASY_ERR_REVERTED);
        CHECK(strstr(why.text, "no") != NULL && strncmp(why.text, "reverted: ", 10) == 0);
    }
    CHECK(strstr(request(0), "\"method\":\"eth_call\"") != NULL &&
          strstr(request(0), "\"data\":\"0x0102\"") != NULL);
    CHECK_ERR(asy_evm_call(evm, &data, NULL, &to, ASY_STR(""), &why), ASY_ERR_REVERTED);
    CHECK_STR(why.text, "reverted: VM Exception: revert");
    CHECK_OK(asy_evm_call(evm, &data, NULL, &to, ASY_STR(""), &why));
    CHECK(asy_bytes_eq(asy_buf_bytes(&data), ASY_STR("\x12\x34")));
    CHECK_ERR(asy_evm_call(evm, &data, NULL, &to, ASY_STR(""), &why), ASY_ERR_CHAIN);
    asy_buf_done(&data);
    asy_evm_free(evm);
}

static void test_limits(void) {
    struct asy_evm *evm = connect_to(60000, 3);
    uint64_t number;
    SCRIPT({200, "{", HUGE, 0});
    CHECK_ERR(asy_evm_get_block_number(evm, &number, &why), ASY_ERR_TOO_LONG);
    asy_evm_free(evm);
    evm = connect_to(30, 1);
    SCRIPT({-1, NULL, 0, 0}, {-1, NULL, 0, 0});
    CHECK_ERR(asy_evm_get_block_number(evm, &number, &why), ASY_ERR_TIMEOUT);
    CHECK_U64(heard(), 2);
    asy_evm_free(evm);
}

static void *cancel_when_hung(void *arg) {
    (void)pthread_mutex_lock(&server.lock);
    while (!server.is_hung) {
        (void)pthread_cond_wait(&server.hung, &server.lock);
    }
    (void)pthread_mutex_unlock(&server.lock);
    asy_evm_cancel(arg);
    return NULL;
}

static void test_cancel(void) {
    struct asy_evm *evm = connect_to(600000, 3);
    pthread_t thread;
    uint64_t number;
    SCRIPT({-1, NULL, 0, 0});
    CHECK(pthread_create(&thread, NULL, cancel_when_hung, evm) == 0);
    CHECK_ERR(asy_evm_get_block_number(evm, &number, &why), ASY_ERR_CANCELLED);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_ERR(asy_evm_pause(evm, 600000), ASY_ERR_CANCELLED);
    asy_evm_free(evm);
}

/* A server that takes at most three blocks, and then one that knows no `safe`. */
static void test_fallbacks(void) {
    struct asy_evm *evm = connect_to(5000, 0);
    struct asy_evm_logs logs;
    struct asy_evm_filter none = {0};
    struct asy_arena arena;
    asy_arena_init(&arena, 65536);
    SCRIPT(FAIL("{\"code\":-32602,\"message\":\"range too large\"}"), OK("[]"), OK("[]"), OK("[]"));
    CHECK_OK(asy_evm_get_logs(evm, &logs, &arena, &none, 10, 14, &why));
    CHECK(strstr(request(0), "\"fromBlock\":\"0xa\",\"toBlock\":\"0xe\"") != NULL);
    CHECK(strstr(request(1), "\"fromBlock\":\"0xa\",\"toBlock\":\"0xb\"") != NULL);
    CHECK(strstr(request(2), "\"fromBlock\":\"0xc\",\"toBlock\":\"0xd\"") != NULL);
    CHECK(strstr(request(3), "\"fromBlock\":\"0xe\",\"toBlock\":\"0xe\"") != NULL);
    SCRIPT(FAIL("{\"code\":-32602,\"message\":\"no\"}"),
           FAIL("{\"code\":-32602,\"message\":\"no\"}"));
    CHECK_ERR(asy_evm_get_logs(evm, &logs, &arena, &none, 10, 11, &why),
              ASY_ERR_CHAIN); /* one block refused: given up */
    SCRIPT(OK("[]"), OK("[]"), OK("[]"));
    CHECK_OK(asy_evm_get_logs(evm, &logs, &arena, &none, 0, 2 * ASY_MAX_LOG_RANGE, &why));
    CHECK(strstr(request(2), "\"fromBlock\":\"0xfa0\",\"toBlock\":\"0xfa0\"") != NULL);
    asy_arena_done(&arena);

#define BLOCK(number)                                                                              \
    "{\"number\":\"" number                                                                        \
    "\",\"hash\":\"0x00000000000000000000000000000000000000000000000000000000000000aa\","          \
    "\"parentHash\":"                                                                              \
    "\"0x00000000000000000000000000000000000000000000000000000000000000bb\",\"timestamp\":"        \
    "\"0x5\",\"gasLimit\":\"0x6\"}"
    struct asy_evm_block b;
    SCRIPT(FAIL("{\"code\":-32602,\"message\":\"safe block not found\"}"), OK("\"0x64\""),
           OK(BLOCK("0x44")));
    CHECK_OK(asy_evm_get_block_tag(evm, &b, ASY_EVM_SAFE, &why));
    CHECK(b.number == 100 - ASY_EVM_SAFE_DEPTH && b.hash.b[31] == 0xaa && b.parent.b[31] == 0xbb &&
          b.time_s == 5 && b.base_fee_wei == 0);
    SCRIPT(OK("null"), OK("\"0x4\""), OK(BLOCK("0x0")));
    CHECK_OK(asy_evm_get_block_tag(evm, &b, ASY_EVM_FINALIZED, &why));
    CHECK_U64(b.number, 0);
    SCRIPT({500, "", 0, 0});
    CHECK_ERR(asy_evm_get_block_tag(evm, &b, ASY_EVM_SAFE, &why),
              ASY_ERR_CHAIN); /* unreachable is no reason to guess */
    SCRIPT(OK(BLOCK("0x9")));
    CHECK_ERR(asy_evm_get_block(evm, &b, 8, &why),
              ASY_ERR_CHAIN); /* another block than asked for */
    asy_evm_free(evm);
}

int main(void) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    pthread_t thread;
    server.listener =
        socket(AF_INET, SOCK_STREAM, 0); /* allowed: an endpoint that breaks HTTP on purpose */
    if (bind(server.listener, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(server.listener, 16) != 0 ||
        getsockname(server.listener, (struct sockaddr *)&addr, &len) != 0) {
        perror("listen");
        return 1;
    }
    server.port = ntohs(addr.sin_port);
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1); /* must not be used for loopback */
    CHECK(pthread_create(&thread, NULL, run_server, NULL) == 0);
    test_url();
    test_retries();
    test_refusals();
    test_reverts();
    test_limits();
    test_cancel();
    test_fallbacks();
    (void)shutdown(server.listener, SHUT_RDWR); /* ends accept */
    CHECK(pthread_join(thread, NULL) == 0);
    (void)close(server.listener);
    return asy_test_end();
}
