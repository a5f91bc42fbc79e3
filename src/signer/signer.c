/* signer.c: the interface in front of both implementations. Each call becomes a request, which the
 * core answers: in this process or in the child. */
#include "signer/signer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "signer/signer_priv.h"

struct asy_signer {
    struct asy_addr addr;
    struct signer_core *core; /* local */
    int fd;                   /* process; -1 after the child failed */
    pid_t pid;                /* process; 0: local */
    pthread_mutex_t lock;     /* of core and fd */
};

static struct asy_signer *make(const struct asy_addr *addr) {
    struct asy_signer *s = asy_alloc(sizeof *s);
    s->addr = *addr;
    s->fd = -1;
    ASY_ASSERT(pthread_mutex_init(&s->lock, NULL) == 0);
    return s;
}

enum asy_err asy_signer_new_local(struct asy_signer **ret_signer, enum asy_signer_role role,
                                  const struct asy_seckey *key) {
    struct signer_core *core;
    ASY_TRY(signer_core_new(&core, role, key));
    struct asy_signer *s = make(signer_core_addr(core));
    s->core = core;
    *ret_signer = s;
    return ASY_OK;
}

enum asy_err asy_signer_new_process(struct asy_signer **ret_signer, enum asy_signer_role role,
                                    const struct asy_seckey *key) {
    struct asy_addr addr;
    int fd;
    pid_t pid;
    ASY_TRY(asy_secp_addr(&addr, key));
    ASY_TRY(signer_spawn(&fd, &pid, role, key));
    struct asy_signer *s = make(&addr);
    s->fd = fd;
    s->pid = pid;
    *ret_signer = s;
    return ASY_OK;
}

void asy_signer_free(struct asy_signer *s) {
    if (s == NULL) {
        return;
    }
    if (s->pid != 0) {
        if (s->fd >= 0) {
            (void)close(s->fd);
        }
        /* Closing would do, unless somebody has stopped the child. */
        (void)kill(s->pid, SIGKILL);
        (void)waitpid(s->pid, NULL, 0);
    }
    signer_core_free(s->core);
    (void)pthread_mutex_destroy(&s->lock);
    asy_free(s);
}

struct asy_addr asy_signer_addr(const struct asy_signer *s) {
    return s->addr;
}

pid_t signer_child(const struct asy_signer *s) { return s->pid; }

static enum asy_err answer(struct asy_signer *s, struct asy_sig *ret_sig, struct asy_bytes frame) {
    if (s->core != NULL) {
        return signer_core_answer(s->core, ret_sig, asy_bytes_of(frame.p + 4, frame.n - 4));
    }
    if (s->fd < 0) {
        return ASY_ERR_CLOSED;
    }
    enum asy_err err = signer_exchange(s->fd, ret_sig, frame);
    if (err == ASY_ERR_CLOSED) { /* what comes next would not be the next answer */
        (void)close(s->fd);
        s->fd = -1;
    }
    return err;
}

/* head: the request's bytes before what is signed. */
static enum asy_err ask(struct asy_signer *s, struct asy_sig *ret_sig, const uint8_t *head,
                        size_t head_len, struct asy_bytes in) {
    struct asy_buf frame;
    struct asy_sig sig;
    uint8_t *p;
    if (in.n > ASY_MAX_SIGN) {
        return ASY_ERR_TOO_LONG;
    }
    size_t len = head_len + in.n;
    asy_buf_init(&frame, 4 + SIGNER_MAX_LEN);
    enum asy_err err = asy_buf_reserve(&frame, &p, 4 + len);
    ASY_ASSERT(err == ASY_OK);
    asy_be32_put(p, (uint32_t)len);
    memcpy(p + 4, head, head_len);
    if (in.n != 0) {
        memcpy(p + 4 + head_len, in.p, in.n);
    }
    asy_buf_grow(&frame, 4 + len);
    (void)pthread_mutex_lock(&s->lock);
    err = answer(s, &sig, asy_buf_bytes(&frame));
    (void)pthread_mutex_unlock(&s->lock);
    asy_buf_done(&frame);
    if (err == ASY_OK && ret_sig != NULL) {
        *ret_sig = sig;
    }
    return err;
}

enum asy_err asy_signer_set_domain(struct asy_signer *s, const struct asy_domain *domain) {
    static const uint8_t head[] = {SIGNER_REQUEST_DOMAIN};
    uint8_t body[8 + sizeof domain->vault];
    asy_be64_put(body, domain->chain_id);
    memcpy(body + 8, &domain->vault, sizeof domain->vault);
    return ask(s, NULL, head, sizeof head, asy_bytes_of(body, sizeof body));
}

enum asy_err asy_signer_sign_object(struct asy_signer *s, struct asy_sig *ret_sig,
                                    enum asy_object type, const void *object) {
    const uint8_t head[] = {SIGNER_REQUEST_OBJECT, (uint8_t)type};
    uint8_t body[ASY_OBJECT_MAX_LEN];
    asy_object_encode(body, type, object);
    return ask(s, ret_sig, head, sizeof head, asy_bytes_of(body, asy_object_len(type)));
}

enum asy_err asy_signer_sign_message(struct asy_signer *s, struct asy_sig *ret_sig,
                                     enum asy_signer_message message, struct asy_bytes body) {
    const uint8_t head[] = {SIGNER_REQUEST_MESSAGE, (uint8_t)message};
    return ask(s, ret_sig, head, sizeof head, body);
}

enum asy_err asy_signer_sign_tx(struct asy_signer *s, struct asy_sig *ret_sig,
                                struct asy_bytes unsigned_tx) {
    static const uint8_t head[] = {SIGNER_REQUEST_TX};
    return ask(s, ret_sig, head, sizeof head, unsigned_tx);
}
