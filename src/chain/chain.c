#include "chain/chain.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

struct task {
    asy_chain_task_fn run;
    asy_chain_done_fn done;
    void *arg;
    enum asy_err err;
    struct asy_why why;
    struct task *next;
};

struct queue {
    struct task *first, **last;
};

struct asy_chain {
    struct asy_evm *evm;
    struct asy_evm_account account;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;             /* under lock */
    struct queue todo;     /* under lock: for the thread */
    struct queue finished; /* under lock: for the loop */
    int bell;              /* the thread writes a byte when `finished` stops being empty ... */
    struct asy_pipe
        *ear;         /* ... and the loop reads it: nothing of this can outlive asy_chain_free */
    uint32_t waiting; /* loop only */
};

static void queue_init(struct queue *q) {
    q->first = NULL;
    q->last = &q->first;
}
static void queue_add(struct queue *q, struct task *t) {
    t->next = NULL;
    *q->last = t;
    q->last = &t->next;
}
static struct task *queue_take(struct queue *q) {
    struct task *t = q->first;
    if (t != NULL) {
        q->first = t->next;
        if (q->first == NULL) {
            q->last = &q->first;
        }
    }
    return t;
}

enum asy_err asy_chain_sign(void *signer, struct asy_sig *ret_sig, struct asy_bytes unsigned_tx) {
    return asy_signer_sign_tx(signer, ret_sig, unsigned_tx);
}

/* On the loop: hands back what is finished. */
static void deliver(void *arg, struct asy_pipe *ear, struct asy_bytes in) {
    (void)ear;
    (void)in; /* how often it rang does not matter */
    struct asy_chain *c = arg;
    for (;;) {
        (void)pthread_mutex_lock(&c->lock);
        struct task *t = queue_take(&c->finished);
        (void)pthread_mutex_unlock(&c->lock);
        if (t == NULL) {
            return;
        }
        c->waiting--;
        t->done(t->arg, t->err, &t->why);
        asy_free(t);
    }
}

static void on_ear_closed(void *arg, struct asy_pipe *ear, enum asy_err err) {
    (void)arg;
    (void)ear;
    (void)err;
    ASY_ASSERT(false); /* the other end is ours, and open until asy_chain_free */
}

static void ring(const struct asy_chain *c) {
    ssize_t n;
    do {
        n = write(c->bell, "", 1);
    } while (n < 0 && errno == EINTR);
    ASY_ASSERT(n == 1); /* at most one byte waits for each time that the loop looked */
}

static void *work(void *arg) {
    struct asy_chain *c = arg;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->stop && c->todo.first == NULL) {
            pthread_cond_wait(&c->wake, &c->lock);
        }
        if (c->stop) {
            break;
        }
        struct task *t = queue_take(&c->todo);
        pthread_mutex_unlock(&c->lock);
        t->err = t->run(t->arg, c->evm, &c->account, &t->why);
        pthread_mutex_lock(&c->lock);
        bool silent = c->finished.first == NULL;
        queue_add(&c->finished, t);
        if (silent) {
            ring(c);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Threads are no more, or were never started. */
static void let_go(struct asy_chain *c) {
    asy_pipe_free(c->ear);
    close(c->bell);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_cond_destroy(&c->wake);
    asy_evm_free(c->evm);
    asy_free(c);
}

enum asy_err asy_chain_new(struct asy_chain **ret_chain, struct asy_loop *loop, const char *url,
                           uint64_t chain_id, struct asy_signer *signer,
                           struct asy_why *reterr_why) {
    static const struct asy_pipe_handlers ear = {.on_read = deliver, .on_close = on_ear_closed};
    struct asy_chain *c = asy_alloc(sizeof *c);
    int ours;
    enum asy_err err = asy_evm_new(&c->evm, url, NULL, reterr_why);
    if (err != ASY_OK) {
        asy_free(c);
        return err;
    }
    err = asy_pipe_pair(&ours, &c->bell);
    if (err == ASY_OK &&
        (err = asy_pipe_new(loop, &c->ear, ours, 1, &ear, c, reterr_why)) != ASY_OK) {
        close(c->bell);
    }
    if (err != ASY_OK) {
        asy_evm_free(c->evm);
        asy_free(c);
        return err;
    }
    struct asy_addr self = asy_signer_addr(signer);
    asy_evm_account_init(&c->account, &self, chain_id, asy_chain_sign, signer);
    queue_init(&c->todo);
    queue_init(&c->finished);
    ASY_ASSERT(pthread_mutex_init(&c->lock, NULL) == 0);
    ASY_ASSERT(pthread_cond_init(&c->wake, NULL) == 0);
    if (pthread_create(&c->thread, NULL, work, c) != 0) {
        let_go(c);
        return asy_why_set(reterr_why, ASY_ERR_IO, NULL, "cannot start a thread");
    }
    *ret_chain = c;
    return ASY_OK;
}

void asy_chain_post(struct asy_chain *c, asy_chain_task_fn run, asy_chain_done_fn done, void *arg) {
    struct task *t = asy_alloc(sizeof *t);
    t->run = run;
    t->done = done;
    t->arg = arg;
    c->waiting++;
    pthread_mutex_lock(&c->lock);
    queue_add(&c->todo, t);
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

uint32_t asy_chain_waiting(const struct asy_chain *c) { return c->waiting; }

void asy_chain_free(struct asy_chain *c) {
    if (c == NULL) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    asy_evm_cancel(c->evm);
    pthread_join(c->thread, NULL);
    struct task *t;
    while ((t = queue_take(&c->finished)) != NULL) {
        c->waiting--;
        t->done(t->arg, t->err, &t->why);
        asy_free(t);
    }
    while ((t = queue_take(&c->todo)) != NULL) { /* also what those callbacks posted */
        struct asy_why why = {.text = "shutting down"};
        c->waiting--;
        t->done(t->arg, ASY_ERR_CANCELLED, &why);
        asy_free(t);
    }
    let_go(c);
}
