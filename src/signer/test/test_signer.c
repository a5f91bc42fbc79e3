/* Every role against every object, message and transaction, on both implementations; the child's
 * life and death; hostile requests; many callers. */
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"
#include "signer/signer_priv.h"

/* A test key: the bytes 1 to 32. */
static struct asy_seckey test_key(void) {
    struct asy_seckey key;
    for (size_t i = 0; i < sizeof key.b; i++) {
        key.b[i] = (uint8_t)(i + 1);
    }
    return key;
}

static const struct asy_addr other = {{0xee}};
static struct asy_addr self;
static struct asy_domain domain;

typedef enum asy_err (*new_fn)(struct asy_signer **, enum asy_signer_role,
                               const struct asy_seckey *);
static const new_fn implementations[] = {asy_signer_new_local, asy_signer_new_process};

static const enum asy_signer_role roles[] = {ASY_SIGNER_GATEWAY, ASY_SIGNER_NODE,
                                             ASY_SIGNER_REQUESTER};

/* ---- objects --------------------------------------------------------------------------------- */

static const struct asy_cap cap_own = {.max_spend = 5, .nonce = 1, .deadline = 9};
static const struct asy_ack ack_own = {.up_to = 3, .cum = 7};
static const struct asy_checkpoint tickets_own = {.kind = ASY_CHECKPOINT_TICKETS, .count = 1};

/* Objects as test data; `named` is the address in the field that tells whose it is. */
static void make_object(union asy_any_object *o, enum asy_object type, uint8_t kind,
                        const struct asy_addr *named) {
    memset(o, 0, sizeof *o);
    switch (type) {
    case ASY_OBJ_CAP:
        o->cap = cap_own;
        o->cap.requester = *named;
        return;
    case ASY_OBJ_TERMS:
        o->terms.gateway = o->terms.node = o->terms.requester = *named;
        return;
    case ASY_OBJ_RECEIPT:
        o->receipt.finish = ASY_FINISH_STOP;
        return;
    case ASY_OBJ_CHECKPOINT:
        o->checkpoint = tickets_own;
        o->checkpoint.kind = kind;
        o->checkpoint.signer = *named;
        return;
    case ASY_OBJ_ACK:
        o->ack = ack_own;
        o->ack.gateway = *named;
        return;
    case ASY_OBJ_VOUCHER:
        o->voucher.requester = *named;
        return;
    }
}

#define ALLOW   1
#define ANYBODY 2 /* whomever the object names */
static const struct {
    enum asy_object type;
    uint8_t kind;
    int may[3]; /* gateway, node, requester */
} object_rules[] = {
    {ASY_OBJ_CAP, 0, {0, 0, ALLOW}},
    {ASY_OBJ_TERMS, 0, {0, 0, 0}},
    {ASY_OBJ_RECEIPT, 0, {0, 0, 0}},
    {ASY_OBJ_CHECKPOINT, ASY_CHECKPOINT_TICKETS, {ALLOW, 0, 0}},
    {ASY_OBJ_CHECKPOINT, ASY_CHECKPOINT_RECEIPTS, {0, ALLOW, 0}},
    {ASY_OBJ_CHECKPOINT, 0, {0, 0, 0}},
    {ASY_OBJ_CHECKPOINT, 3, {0, 0, 0}},
    {ASY_OBJ_ACK, 0, {ALLOW, 0, 0}},
    {ASY_OBJ_VOUCHER, 0, {0, 0, ANYBODY}},
};

/* The signature is the one that the key gives for this digest, and nothing was written if not. */
static void check_result(enum asy_err err, bool may, const struct asy_sig *sig,
                         const struct asy_hash *digest) {
    static const struct asy_sig untouched = {{0xaa}};
    struct asy_seckey key = test_key();
    struct asy_sig want;
    CHECK_OK(asy_secp_sign(&want, &key, digest));
    CHECK_ERR(err, may ? ASY_OK : ASY_ERR_FORBIDDEN);
    CHECK_MEM(sig, may ? &want : &untouched, sizeof want);
}

static void check_objects(struct asy_signer *s, size_t role) {
    for (size_t i = 0; i < ASY_COUNT(object_rules); i++) {
        for (int own = 0; own < 2; own++) {
            union asy_any_object o;
            struct asy_sig sig = {{0xaa}};
            struct asy_hash digest;
            enum asy_object type = object_rules[i].type;
            int may = object_rules[i].may[role];
            make_object(&o, type, object_rules[i].kind, own ? &self : &other);
            asy_object_digest(&digest, &domain, type, &o);
            check_result(asy_signer_sign_object(s, &sig, type, &o), may == ANYBODY || (may && own),
                         &sig, &digest);
        }
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

static const struct {
    enum asy_signer_message message;
    const char *text; /* domain string, body */
    int may[3];
} message_rules[] = {
    {ASY_SIGNER_HELLO, "assay/hello/1body", {0, ALLOW, 0}},
    {ASY_SIGNER_WELCOME, "assay/welcome/1body", {ALLOW, 0, 0}},
    {ASY_SIGNER_X25519, "assay/x25519/1body", {0, ALLOW, 0}},
};

static void check_messages(struct asy_signer *s, size_t role) {
    for (size_t i = 0; i < ASY_COUNT(message_rules); i++) {
        struct asy_sig sig = {{0xaa}};
        struct asy_hash digest, again;
        enum asy_signer_message message = message_rules[i].message;
        asy_keccak256(&digest, asy_bytes_cstr(message_rules[i].text));
        asy_signer_message_digest(&again, message, ASY_STR("body"));
        CHECK(asy_hash_eq(&digest, &again));
        check_result(asy_signer_sign_message(s, &sig, message, ASY_STR("body")),
                     message_rules[i].may[role], &sig, &digest);
    }
}

/* ---- transactions ---------------------------------------------------------------------------- */

struct tx {
    uint8_t type;
    uint64_t chain_id;
    size_t to_len;
    size_t access; /* entries of the access list */
    bool leading;  /* a zero in front of the nonce */
    size_t more;   /* fields after the ninth */
    size_t data_len;
    bool string; /* a string instead of the list */
};
static void encode_tx(struct asy_buf *buf, const struct tx *tx) {
    static const uint8_t bytes[32] = {0, 1};
    struct asy_buf fields, data;
    struct asy_rlp w;
    asy_buf_init(&fields, 1u << 23);
    asy_buf_init(&data, 1u << 23);
    uint8_t *p;
    CHECK_OK(asy_buf_reserve(&data, &p, tx->data_len));
    memset(p, 0x5a, tx->data_len);
    asy_buf_grow(&data, tx->data_len);
    asy_rlp_init(&w, &fields);
    asy_rlp_u64(&w, tx->chain_id);
    if (tx->leading) {
        asy_rlp_bytes(&w, asy_bytes_of(bytes, 2));
    } else {
        asy_rlp_u64(&w, 1);
    }
    asy_rlp_u64(&w, 1000);
    asy_rlp_u128(&w, (asy_u128)1 << 100);
    asy_rlp_u64(&w, 21000);
    asy_rlp_bytes(&w, asy_bytes_of(bytes, tx->to_len));
    asy_rlp_u64(&w, 0);
    asy_rlp_bytes(&w, asy_buf_bytes(&data));
    asy_rlp_list(&w);
    for (size_t i = 0; i < tx->access; i++) {
        asy_rlp_list(&w);
        asy_rlp_bytes(&w, asy_bytes_of(bytes, 20));
        asy_rlp_list(&w);
        asy_rlp_end(&w);
        asy_rlp_end(&w);
    }
    asy_rlp_end(&w);
    for (size_t i = 0; i < tx->more; i++) {
        asy_rlp_u64(&w, 0);
    }
    CHECK_OK(asy_rlp_finish(&w));
    CHECK_OK(asy_buf_add_u8(buf, tx->type));
    asy_rlp_init(&w, buf);
    if (tx->string) {
        asy_rlp_bytes(&w, asy_buf_bytes(&fields));
    } else {
        asy_rlp_list(&w);
        asy_rlp_raw(&w, asy_buf_bytes(&fields));
        asy_rlp_end(&w);
    }
    CHECK_OK(asy_rlp_finish(&w));
    asy_buf_done(&fields);
    asy_buf_done(&data);
}

static const struct tx good_tx = {.type = 2, .chain_id = 31337, .to_len = 20, .data_len = 4};

static void check_tx(struct asy_signer *s, struct tx tx, enum asy_err want) {
    struct asy_buf buf;
    struct asy_sig sig = {{0xaa}}, expected = {{0xaa}};
    struct asy_hash digest;
    struct asy_seckey key = test_key();
    asy_buf_init(&buf, 1u << 24);
    encode_tx(&buf, &tx);
    if (want == ASY_OK) {
        asy_keccak256(&digest, asy_buf_bytes(&buf));
        CHECK_OK(asy_secp_sign(&expected, &key, &digest));
    }
    CHECK_ERR(asy_signer_sign_tx(s, &sig, asy_buf_bytes(&buf)), want);
    CHECK_MEM(&sig, &expected, sizeof sig);
    asy_buf_done(&buf);
}

#define TX(...) ((struct tx){.type = 2, .chain_id = 31337, .to_len = 20, __VA_ARGS__})
static void check_txs(struct asy_signer *s) {
    struct asy_buf buf;
    struct asy_sig sig;
    check_tx(s, good_tx, ASY_OK);
    check_tx(s, (struct tx){.type = 2, .chain_id = 31337, .data_len = 300000}, ASY_OK); /* create */
    check_tx(s, (struct tx){.type = 2, .chain_id = 1, .to_len = 20}, ASY_ERR_MISMATCH);
    check_tx(s, (struct tx){.type = 1, .chain_id = 31337, .to_len = 20}, ASY_ERR_SYNTAX);
    check_tx(s, (struct tx){.type = 2, .chain_id = 31337, .to_len = 19}, ASY_ERR_SYNTAX);
    check_tx(s, (struct tx){.type = 2, .chain_id = 31337, .to_len = 32}, ASY_ERR_SYNTAX);
    check_tx(s, TX(.access = 1), ASY_ERR_SYNTAX);
    check_tx(s, TX(.leading = true), ASY_ERR_SYNTAX);
    check_tx(s, TX(.more = 1), ASY_ERR_SYNTAX);
    check_tx(s, TX(.more = 3), ASY_ERR_SYNTAX); /* a signed one */
    check_tx(s, TX(.string = true), ASY_ERR_SYNTAX);
    check_tx(s, TX(.data_len = ASY_MAX_SIGN), ASY_ERR_TOO_LONG);
    asy_buf_init(&buf, 1u << 16);
    encode_tx(&buf, &good_tx);
    for (size_t n = 0; n < buf.n; n++) { /* cut off anywhere */
        CHECK_ERR(asy_signer_sign_tx(s, &sig, asy_bytes_of(buf.p, n)), ASY_ERR_SYNTAX);
    }
    CHECK_OK(asy_buf_add_u8(&buf, 0));
    CHECK_ERR(asy_signer_sign_tx(s, &sig, asy_buf_bytes(&buf)), ASY_ERR_SYNTAX);
    asy_buf_done(&buf);
}

static void test_rules(new_fn make, size_t role) {
    struct asy_seckey key = test_key();
    struct asy_signer *s;
    struct asy_sig sig;
    union asy_any_object o;
    CHECK_OK(make(&s, roles[role], &key));
    struct asy_addr addr = asy_signer_addr(s);
    CHECK(asy_addr_eq(&addr, &self));

    /* Before the domain: no objects, transactions for any chain. */
    for (size_t i = 0; i < ASY_COUNT(object_rules); i++) {
        bool type_may = object_rules[i].type == ASY_OBJ_CHECKPOINT
                            ? roles[role] != ASY_SIGNER_REQUESTER
                            : object_rules[i].may[role] != 0;
        make_object(&o, object_rules[i].type, object_rules[i].kind, &self);
        CHECK_ERR(asy_signer_sign_object(s, &sig, object_rules[i].type, &o),
                  type_may ? ASY_ERR_STATE : ASY_ERR_FORBIDDEN);
    }
    check_tx(s, (struct tx){.type = 2, .chain_id = 1, .to_len = 20}, ASY_OK);
    check_tx(s, (struct tx){.type = 2, .chain_id = UINT64_MAX, .to_len = 20}, ASY_OK);

    struct asy_domain odd = domain; /* a separator that does not belong to chain and vault */
    odd.separator.b[0] ^= 1;
    CHECK_OK(asy_signer_set_domain(s, &odd));
    CHECK_ERR(asy_signer_set_domain(s, &domain), ASY_ERR_STATE);
    check_objects(s, role);
    check_messages(s, role);
    check_txs(s);
    asy_signer_free(s);
}

static void test_bad_key(new_fn make) {
    struct asy_seckey zero = {{0}};
    struct asy_signer *s = NULL;
    CHECK_ERR(make(&s, ASY_SIGNER_NODE, &zero), ASY_ERR_RANGE);
    CHECK(s == NULL);
    asy_signer_free(NULL);
}

/* ---- the child ------------------------------------------------------------------------------- */

static void test_killed_child(void) {
    struct asy_seckey key = test_key();
    struct asy_signer *s;
    struct asy_sig sig;
    CHECK_OK(asy_signer_new_process(&s, ASY_SIGNER_NODE, &key));
    CHECK_OK(asy_signer_sign_message(s, &sig, ASY_SIGNER_HELLO, ASY_STR("x")));
    CHECK(kill(signer_child(s), SIGINT) == 0); /* ignored, as SIGTERM */
    CHECK(kill(signer_child(s), SIGTERM) == 0);
    CHECK_OK(asy_signer_sign_message(s, &sig, ASY_SIGNER_HELLO, ASY_STR("x")));
    CHECK(kill(signer_child(s), SIGKILL) == 0);
    siginfo_t info;
    CHECK(waitid(P_PID, (id_t)signer_child(s), &info, WEXITED | WNOWAIT) == 0);
    CHECK_ERR(asy_signer_sign_message(s, &sig, ASY_SIGNER_HELLO, ASY_STR("x")), ASY_ERR_CLOSED);
    /* a descriptor that takes the place of the closed one is nobody's signer */
    static const uint8_t answer[SIGNER_ANSWER_LEN];
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(send(fds[i], answer, sizeof answer, 0) == sizeof answer);
    }
    CHECK_ERR(asy_signer_set_domain(s, &domain), ASY_ERR_CLOSED);
    check_tx(s, good_tx, ASY_ERR_CLOSED);
    (void)close(fds[0]);
    (void)close(fds[1]);
    asy_signer_free(s);
}

/* The child must not keep descriptors of the parent's open: a reader would wait for ever. */
static void test_child_keeps_nothing(void) {
    struct asy_seckey key = test_key();
    struct asy_signer *s;
    int fds[2];
    char byte;
    CHECK(pipe(fds) == 0);
    CHECK_OK(asy_signer_new_process(&s, ASY_SIGNER_NODE, &key));
    struct asy_sig sig; /* once it answers, it has closed them */
    CHECK_OK(asy_signer_sign_message(s, &sig, ASY_SIGNER_HELLO, ASY_STR("x")));
    (void)close(fds[1]);
    CHECK(read(fds[0], &byte, 1) == 0);
    (void)close(fds[0]);
    asy_signer_free(s);
}

/* A bare child on a socket of the test's, to say things that the interface cannot. */
static int start_raw(pid_t *ret_pid) {
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    *ret_pid = fork();
    if (*ret_pid == 0) {
        struct asy_seckey key = test_key();
        struct signer_core *core;
        (void)close(fds[0]);
        int status = signer_core_new(&core, ASY_SIGNER_NODE, &key) == ASY_OK
                         ? signer_serve(fds[1], core)
                         : 99;
        signer_core_free(core);
        _exit(status);
    }
    (void)close(fds[1]);
    return fds[0];
}

/* Sends raw bytes, closes the sending side, and gives the child's exit status. */
static int raw_exit(struct asy_bytes in) {
    pid_t pid;
    int status, fd = start_raw(&pid);
    uint8_t answers[1024];
    CHECK(send(fd, in.p, in.n, MSG_NOSIGNAL) == (ssize_t)in.n);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    while (read(fd, answers, sizeof answers) > 0) {
    }
    (void)close(fd);
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_end_of_stream(void) {
    CHECK(raw_exit(ASY_STR("")) == 0);                 /* the parent is gone: all is well */
    CHECK(raw_exit(ASY_STR("\0\0\0")) == 1);           /* inside of a length */
    CHECK(raw_exit(ASY_STR("\0\0\0\5\2")) == 1);       /* inside of a request */
    CHECK(raw_exit(ASY_STR("\0\0\0\0")) == 1);         /* no request */
    CHECK(raw_exit(ASY_STR("\xff\xff\xff\xff")) == 1); /* too long */
    CHECK(raw_exit(ASY_STR("\0\x20\0\3")) == 1);       /* one more than the maximum */
    CHECK(raw_exit(ASY_STR("\0\0\0\3\2\0x\0\0\0\1\xff")) == 0); /* one good, one odd */
}

/* Requests that are none get an error, and the next one is served. */
static void test_hostile_requests(void) {
    static const struct {
        struct asy_bytes request;
        enum asy_err want;
    } cases[] = {
        {ASY_STR("\0"), ASY_ERR_SYNTAX},
        {ASY_STR("\5"), ASY_ERR_SYNTAX},
        {ASY_STR("\1"), ASY_ERR_SYNTAX},
        {ASY_STR("\1\6"), ASY_ERR_SYNTAX},
        {ASY_STR("\1\1"), ASY_ERR_FORBIDDEN},
        {ASY_STR("\1\3"), ASY_ERR_STATE},
        {ASY_STR("\2"), ASY_ERR_SYNTAX},
        {ASY_STR("\2\3"), ASY_ERR_SYNTAX},
        {ASY_STR("\2\xff"), ASY_ERR_SYNTAX},
        {ASY_STR("\2\1"), ASY_ERR_FORBIDDEN},
        {ASY_STR("\3"), ASY_ERR_SYNTAX},
        {ASY_STR("\3\2\xc0"), ASY_ERR_SYNTAX},
        {ASY_STR("\4\0\0\0\0"), ASY_ERR_SYNTAX},
        {ASY_STR("\4\0\0\0\0\0\0\0\1aaaaaaaaaaaaaaaaaaaa"), ASY_OK},
        {ASY_STR("\4\0\0\0\0\0\0\0\1aaaaaaaaaaaaaaaaaaaa"), ASY_ERR_STATE},
        {ASY_STR("\1\3"), ASY_ERR_SYNTAX},
        {ASY_STR("\1\3\1"), ASY_ERR_SYNTAX},
        {ASY_STR("\2\0good"), ASY_OK},
    };
    pid_t pid;
    int status, fd = start_raw(&pid);
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_buf frame;
        struct asy_sig sig;
        uint8_t len[4];
        asy_buf_init(&frame, 1024);
        asy_be32_put(len, (uint32_t)cases[i].request.n);
        CHECK_OK(asy_buf_add(&frame, len, sizeof len));
        CHECK_OK(asy_buf_add_bytes(&frame, cases[i].request));
        CHECK_ERR(signer_exchange(fd, &sig, asy_buf_bytes(&frame)), cases[i].want);
        asy_buf_done(&frame);
    }
    (void)close(fd);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- threads --------------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS  50
struct caller {
    pthread_t thread;
    struct asy_signer *signer;
    uint8_t id;
    unsigned bad;
};
static void *call_often(void *arg) {
    struct caller *c = arg;
    for (uint8_t i = 0; i < ROUNDS; i++) {
        const uint8_t body[2] = {c->id, i};
        struct asy_sig sig;
        struct asy_hash digest;
        asy_signer_message_digest(&digest, ASY_SIGNER_HELLO, asy_bytes_of(body, 2));
        c->bad += asy_signer_sign_message(c->signer, &sig, ASY_SIGNER_HELLO,
                                          asy_bytes_of(body, 2)) != ASY_OK ||
                  asy_secp_verify(&self, &digest, &sig) != ASY_OK;
    }
    return NULL;
}

static void test_threads(new_fn make) {
    struct asy_seckey key = test_key();
    struct asy_signer *s;
    struct caller callers[THREADS];
    CHECK_OK(make(&s, ASY_SIGNER_NODE, &key));
    for (uint8_t i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.signer = s, .id = i};
        CHECK(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(callers[i].thread, NULL) == 0);
        CHECK_U64(callers[i].bad, 0);
    }
    asy_signer_free(s);
}

/* A local signer's key is empty in a forked child. */
static void test_local_is_wiped_on_fork(void) {
    struct asy_seckey key = test_key();
    struct asy_signer *s;
    struct asy_sig sig;
    int status;
    CHECK_OK(asy_signer_new_local(&s, ASY_SIGNER_NODE, &key));
    pid_t pid = fork();
    if (pid == 0) {
        _exit(asy_signer_sign_message(s, &sig, ASY_SIGNER_HELLO, ASY_STR("x")) == ASY_OK);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_OK(asy_signer_sign_message(s, &sig, ASY_SIGNER_HELLO, ASY_STR("x")));
    asy_signer_free(s);
}

int main(void) {
    struct asy_seckey key = test_key();
    struct asy_addr vault = {{0xaa, 1}};
    CHECK_OK(asy_secp_addr(&self, &key));
    asy_domain_init(&domain, 31337, &vault);
    test_local_is_wiped_on_fork();
    test_killed_child();
    test_child_keeps_nothing();
    test_end_of_stream();
    test_hostile_requests();
    for (size_t i = 0; i < ASY_COUNT(implementations); i++) {
        test_bad_key(implementations[i]);
        for (size_t role = 0; role < ASY_COUNT(roles); role++) {
            test_rules(implementations[i], role);
        }
    }
    for (size_t i = 0; i < ASY_COUNT(implementations); i++) {
        test_threads(implementations[i]); /* last: the other tests fork */
    }
    return asy_test_end();
}
