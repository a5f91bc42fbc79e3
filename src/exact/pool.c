/* pool.c: one word for each thread says which pieces are its share: the job's number, the first
 * that is left and the end. Its thread takes from the front, so that it goes through neighbouring
 * memory; who has nothing left takes from the end of another's. Whoever moves a word owns the
 * piece. A helper that slept through a job finds another number in the words and takes nothing. */
#include "exact/pool_priv.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define COUNT_BITS 20u
#define COUNT_MASK ((1u << COUNT_BITS) - 1)
/* Job numbers wrap around; soon after the first, so that tests see it. */
#define NUMBER_MASK  ((UINT64_C(1) << (64 - 2 * COUNT_BITS)) - 1)
#define FIRST_NUMBER (NUMBER_MASK - 999)
/* Looks for work before it sleeps: some 20 us, the gap between two operators of a step. */
#define LOOKS 4000u

struct job {
    _Atomic(pool_fn) fn;
    _Atomic(void *) arg;
};

struct helper {
    struct pool *pool;
    pthread_t thread;
    uint32_t index;
};

struct pool {
    _Alignas(64) atomic_uint_fast64_t number;     /* of the job; changes when all shares are set */
    _Alignas(64) atomic_uint_fast64_t shares[64]; /* job number | end | first that is left */
    _Alignas(64) atomic_uint done;
    _Alignas(64) atomic_uint asleep;
    atomic_bool stop;
    /* Those of job n stand in n % 2: they are written again for n + 2 only, when n is done. */
    struct job jobs[2];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint32_t threads;
    struct helper helpers[63];
};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint64_t number_of(uint64_t word) { return word >> (2 * COUNT_BITS); }

/* One piece of a share, from its front or its end. */
static bool take(struct pool *p, uint32_t share, bool front, uint64_t number, uint32_t *ret_piece) {
    uint64_t word = atomic_load(&p->shares[share]);
    for (;;) {
        const uint32_t first = (uint32_t)word & COUNT_MASK;
        const uint32_t end = (uint32_t)(word >> COUNT_BITS) & COUNT_MASK;
        if (number_of(word) != number || first >= end) {
            return false;
        }
        const uint64_t less = front ? word + 1 : word - (1u << COUNT_BITS);
        if (atomic_compare_exchange_weak(&p->shares[share], &word, less)) {
            *ret_piece = front ? first : end - 1;
            return true;
        }
    }
}

/* Takes and computes pieces of job `number`, until none is left. */
static void work(struct pool *p, uint64_t number, uint32_t thread) {
    const struct job *job = &p->jobs[number % 2];
    for (uint32_t i = 0; i < p->threads; i++) {
        uint32_t share = (thread + i) % p->threads, piece;
        while (take(p, share, i == 0, number, &piece)) {
            /* a piece is owned, so the job is not done, and what stands here is still its own */
            pool_fn fn = atomic_load_explicit(&job->fn, memory_order_relaxed);
            fn(atomic_load_explicit(&job->arg, memory_order_relaxed), piece, thread);
            atomic_fetch_add(&p->done, 1);
        }
    }
}

static bool news(struct pool *p, uint64_t seen) {
    return atomic_load(&p->number) != seen || atomic_load(&p->stop);
}

static void *helper_main(void *arg) {
    struct helper *h = arg;
    struct pool *p = h->pool;
    uint64_t seen = FIRST_NUMBER;
    while (!atomic_load(&p->stop)) {
        uint32_t looks = 0;
        while (!news(p, seen) && looks < LOOKS) {
            relax();
            looks++;
        }
        if (looks == LOOKS) {
            /* told of its sleep before the last look: the caller sees one or the other */
            pthread_mutex_lock(&p->lock);
            atomic_fetch_add(&p->asleep, 1);
            while (!news(p, seen)) {
                pthread_cond_wait(&p->wake, &p->lock);
            }
            atomic_fetch_sub(&p->asleep, 1);
            pthread_mutex_unlock(&p->lock);
        }
        seen = atomic_load(&p->number);
        work(p, seen, h->index);
    }
    return NULL;
}

static void wake(struct pool *p) {
    if (atomic_load(&p->asleep) != 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

struct pool *pool_new(uint32_t threads) {
    ASY_ASSERT(threads >= 1 && threads <= 64);
    struct pool *p = asy_alloc_aligned(sizeof *p, 64);
    atomic_store(&p->number, FIRST_NUMBER);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (p->threads = 1; p->threads < threads; p->threads++) {
        struct helper *h = &p->helpers[p->threads - 1];
        *h = (struct helper){.pool = p, .index = p->threads};
        if (pthread_create(&h->thread, NULL, helper_main, h) != 0) {
            pool_free(p);
            return NULL;
        }
    }
    return p;
}

void pool_free(struct pool *p) {
    if (p == NULL) {
        return;
    }
    atomic_store(&p->stop, true);
    wake(p);
    for (uint32_t i = 1; i < p->threads; i++) {
        pthread_join(p->helpers[i - 1].thread, NULL);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    asy_free(p);
}

void pool_run(struct pool *p, pool_fn fn, void *arg, uint32_t count) {
    ASY_ASSERT(count <= COUNT_MASK);
    if (p->threads == 1 || count <= 1) {
        for (uint32_t i = 0; i < count; i++) {
            fn(arg, i, 0);
        }
        return;
    }
    uint64_t number = (atomic_load(&p->number) + 1) & NUMBER_MASK;
    atomic_store_explicit(&p->jobs[number % 2].fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->jobs[number % 2].arg, arg, memory_order_relaxed);
    atomic_store(&p->done, 0);
    for (uint64_t t = 0; t < p->threads; t++) {
        uint64_t first = count * t / p->threads, end = count * (t + 1) / p->threads;
        atomic_store(&p->shares[t], number << (2 * COUNT_BITS) | end << COUNT_BITS | first);
    }
    atomic_store(&p->number, number);
    wake(p);
    work(p, number, 0);
    uint32_t looks = 0;
    while (atomic_load(&p->done) != count) { /* what helpers have begun */
        if (++looks < LOOKS) {
            relax();
        } else {
            (void)sched_yield(); /* the helper may wait for this very processor */
        }
    }
}
