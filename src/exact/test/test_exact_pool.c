/* The pool: every piece of every job once, whoever computes it, with threads that fall behind. */
#include "base/test.h"
#include "exact/pool_priv.h"

#include <stdatomic.h>

#define PIECES 200u
#define JOBS   3000u

struct job {
    uint32_t threads, slow; /* slow: the thread that takes long over each piece; none: threads */
    atomic_uint done[PIECES];
    atomic_uint strangers; /* calls with a piece or thread out of range */
    uint32_t count;
};

static void piece(void *arg, uint32_t n, uint32_t thread) {
    struct job *j = arg;
    if (n >= j->count || thread >= j->threads) {
        atomic_fetch_add(&j->strangers, 1);
        return;
    }
    for (volatile uint32_t i = 0; thread == j->slow && i < 2000; i++) {
    }
    atomic_fetch_add(&j->done[n], 1);
}

/* Jobs of all sizes, one behind the other: what is left over of one must not reach the next. */
static void test_jobs(uint32_t threads) {
    struct pool *p = pool_new(threads);
    CHECK(p != NULL);
    static struct job jobs[2];
    for (uint32_t n = 0; n < JOBS; n++) {
        struct job *j = &jobs[n % 2];
        memset(j, 0, sizeof *j);
        j->threads = threads;
        j->slow = (uint32_t)asy_test_random() % (threads + 1);
        j->count = (uint32_t)asy_test_random() % (n % 8 == 0 ? PIECES : 3 * threads) + 1;
        j->count = j->count <= PIECES ? j->count : PIECES;
        pool_run(p, piece, j, j->count);
        for (uint32_t i = 0; i < j->count; i++) {
            CHECK_U64(atomic_load(&j->done[i]), 1);
        }
        CHECK_U64(atomic_load(&j->strangers), 0);
    }
    pool_run(p, piece, &jobs[0], 0);
    pool_free(p);
}

/* A thread alone at work does all of it: nobody waits for one that never comes. */
static void nothing(void *arg, uint32_t n, uint32_t thread) {
    (void)thread;
    ((uint8_t *)arg)[n] = 1;
}
static void test_fresh(void) {
    for (uint32_t i = 0; i < 50; i++) {
        uint8_t seen[PIECES] = {0};
        struct pool *p = pool_new(8); /* its helpers may not run yet */
        pool_run(p, nothing, seen, PIECES);
        for (uint32_t k = 0; k < PIECES; k++) {
            CHECK(seen[k] == 1);
        }
        pool_free(p);
    }
    pool_free(NULL);
}

int main(void) {
    for (uint32_t threads = 1; threads <= 5; threads++) {
        test_jobs(threads);
    }
    test_jobs(64);
    test_fresh();
    return asy_test_end();
}
