/* The worker thread's contract: tasks in order on one thread, `done` on the loop, once each, also
 * for those that never ran; and nothing of a chain that was freed comes back on a loop that goes
 * on. No endpoint is reached: what is tested is who runs what, where and when. */
#include "chain/chain.h"

#include <pthread.h>
#include <semaphore.h>

#include "base/test.h"

static struct asy_loop *loop;
static struct asy_chain *chain;
static struct asy_signer *signer;
static pthread_t loop_thread;

struct task {
    uint32_t number;
    enum asy_err result;
    bool ran;
    pthread_t ran_on;
    uint32_t pause_ms;   /* waits in the endpoint's client, as a call that hangs does */
    sem_t *started;      /* told that it runs */
    struct task *follow; /* posted by its done */
    bool stop;           /* its done ends the loop */
    /* by done */
    uint32_t done_count, done_order;
    enum asy_err done_err;
};
static uint32_t ran_count, done_count;
static uint32_t ran_order[64];

static enum asy_err run(void *arg, struct asy_evm *evm, struct asy_evm_account *account,
                        struct asy_why *why) {
    struct task *t = arg;
    t->ran = true;
    t->ran_on = pthread_self();
    ran_order[ran_count++] = t->number;
    CHECK_U64(account->chain_id, 31337);
    if (t->started != NULL) {
        CHECK(sem_post(t->started) == 0);
    }
    if (t->pause_ms != 0) {
        return asy_evm_pause(evm, t->pause_ms);
    }
    return t->result == ASY_OK ? ASY_OK
                               : asy_why_set(why, t->result, "param", "task %u", t->number);
}

static void done(void *arg, enum asy_err err, const struct asy_why *why) {
    struct task *t = arg;
    CHECK(pthread_equal(pthread_self(), loop_thread));
    t->done_count++;
    t->done_err = err;
    t->done_order = done_count++;
    if (err != ASY_OK && err != ASY_ERR_CANCELLED) {
        char want[32];
        (void)snprintf(want, sizeof want, "task %u", t->number);
        CHECK_STR(why->text, want);
    }
    if (t->follow != NULL) {
        asy_chain_post(chain, run, done, t->follow);
    }
    if (t->stop) {
        asy_loop_stop(loop);
    }
}

static void begin(void) {
    struct asy_why why = {{0}, {0}};
    ran_count = done_count = 0;
    CHECK_OK(asy_chain_new(&chain, loop, "http://127.0.0.1:9", 31337, signer, &why));
}

static void post(struct task *t) { asy_chain_post(chain, run, done, t); }

static void on_time(void *arg) {
    (void)arg;
    asy_loop_stop(loop);
}

/* Some turns of a loop that goes on without the chain. */
static void go_on(void) {
    for (int i = 0; i < 3; i++) {
        struct asy_timer *timer = asy_timer_new(loop, on_time, NULL);
        asy_timer_at(timer, 0);
        asy_loop_run(loop);
        asy_timer_free(timer);
    }
}

static void test_order(void) {
    enum { COUNT = 40 };
    struct task t[COUNT], last = {.number = COUNT, .stop = true};
    begin();
    for (uint32_t i = 0; i < COUNT; i++) {
        t[i] = (struct task){.number = i, .result = i % 3 == 1 ? ASY_ERR_CHAIN : ASY_OK};
    }
    t[COUNT - 1].follow = &last; /* posted by a done */
    for (uint32_t i = 0; i < COUNT; i++) {
        post(&t[i]);
    }
    asy_loop_run(loop);
    CHECK_U64(asy_chain_waiting(chain), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        CHECK_U64(t[i].done_count, 1);
        CHECK_U64(t[i].done_order, i);
        CHECK_U64(ran_order[i], i);
        CHECK_ERR(t[i].done_err, t[i].result);
        CHECK(!pthread_equal(t[i].ran_on, loop_thread) && pthread_equal(t[i].ran_on, t[0].ran_on));
    }
    CHECK(last.ran && last.done_count == 1);
    asy_chain_free(chain);
    go_on();
}

/* Freed with one task in a call that would last a minute, and others behind it. */
static void test_free_running(void) {
    sem_t started;
    CHECK(sem_init(&started, 0, 0) == 0);
    struct task hangs = {.pause_ms = 60000, .started = &started}, behind[3] = {{0}},
                late = {.number = 9};
    begin();
    behind[1].follow = &late; /* what a done posts now does not run either */
    post(&hangs);
    for (size_t i = 0; i < ASY_COUNT(behind); i++) {
        post(&behind[i]);
    }
    CHECK(sem_wait(&started) == 0);
    CHECK_U64(asy_chain_waiting(chain), 4);
    asy_chain_free(chain);
    CHECK(hangs.ran && hangs.done_count == 1);
    CHECK_ERR(hangs.done_err, ASY_ERR_CANCELLED);
    for (size_t i = 0; i < ASY_COUNT(behind); i++) {
        CHECK(!behind[i].ran && behind[i].done_count == 1);
        CHECK_ERR(behind[i].done_err, ASY_ERR_CANCELLED);
    }
    CHECK(!late.ran && late.done_count == 1);
    CHECK(sem_destroy(&started) == 0);
    go_on();
    CHECK_U64(done_count, 5);
}

/* Freed with results that the loop has not looked at: they are handed back by the free, and by
 * nothing after it. */
static void test_free_finished(void) {
    sem_t started;
    CHECK(sem_init(&started, 0, 0) == 0);
    struct task first[3] = {{.number = 0}, {.number = 1, .result = ASY_ERR_CHAIN}, {.number = 2}};
    struct task hangs = {.number = 3, .pause_ms = 60000, .started = &started};
    begin();
    for (size_t i = 0; i < ASY_COUNT(first); i++) {
        post(&first[i]);
    }
    post(&hangs);
    CHECK(sem_wait(&started) == 0); /* so the three before it have finished */
    CHECK_U64(done_count, 0);
    asy_chain_free(chain);
    for (size_t i = 0; i < ASY_COUNT(first); i++) {
        CHECK(first[i].ran && first[i].done_count == 1);
        CHECK_U64(first[i].done_order, i);
        CHECK_ERR(first[i].done_err, first[i].result);
    }
    go_on();
    CHECK_U64(done_count, 4);
    CHECK(sem_destroy(&started) == 0);
}

static void test_bad_url(void) {
    struct asy_why why = {{0}, {0}};
    struct asy_chain *none = NULL;
    CHECK_ERR(asy_chain_new(&none, loop, "ftp://127.0.0.1", 31337, signer, &why), ASY_ERR_SYNTAX);
    CHECK(none == NULL);
    asy_chain_free(NULL);
}

int main(void) {
    struct asy_why why = {{0}, {0}};
    struct asy_seckey key; /* of this test alone */
    memset(key.b, 0x42, sizeof key.b);
    loop_thread = pthread_self();
    CHECK_OK(asy_signer_new_local(&signer, ASY_SIGNER_GATEWAY, &key));
    CHECK_OK(asy_loop_new(&loop, &why));
    test_order();
    test_free_running();
    test_free_finished();
    test_bad_url();
    asy_loop_free(loop);
    asy_signer_free(signer);
    return asy_test_end();
}
