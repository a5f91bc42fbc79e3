/* pool.c: one word decides who computes what. It holds the job's number, how many pieces the job
 * has, and how many are taken; whoever moves it from n to n + 1 taken owns piece n. A helper that
 * slept through a job finds another number in the word and takes nothing. */
#include "exact/pool_priv.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define COUNT_BITS 20u
#define COUNT_MASK ((1u << COUNT_BITS) - 1)
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
    _Alignas(64) atomic_uint_fast64_t word; /* job number | count | taken */
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

/* Takes and computes pieces of the job that word names, until none is left. */
static void work(struct pool *p, uint64_t word, uint32_t thread) {
    uint64_t number = number_of(word);
    const struct job *job = &p->jobs[number % 2];
    for (;;) {
        uint32_t count = (uint32_t)(word >> COUNT_BITS) & COUNT_MASK;
        uint32_t taken = (uint32_t)word & COUNT_MASK;
        if (number_of(word) != number || taken >= count) {
            return;
        }
        pool_fn fn = atomic_load_explicit(&job->fn, memory_order_relaxed);
        void *arg = atomic_load_explicit(&job->arg, memory_order_relaxed);
        if (atomic_compare_exchange_weak(&p->word, &word, word + 1)) {
            fn(arg, taken, thread);
            atomic_fetch_add(&p->done, 1);
            word = atomic_load(&p->word);
        }
    }
}

static bool news(struct pool *p, uint64_t seen) {
    return number_of(atomic_load(&p->word)) != seen || atomic_load(&p->stop);
}

static void *helper_main(void *arg) {
    struct helper *h = arg;
    struct pool *p = h->pool;
    uint64_t seen = 0;
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
        uint64_t word = atomic_load(&p->word);
        seen = number_of(word);
        work(p, word, h->index);
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
    uint64_t number = (number_of(atomic_load(&p->word)) + 1) & ((1u << 24) - 1);
    atomic_store_explicit(&p->jobs[number % 2].fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->jobs[number % 2].arg, arg, memory_order_relaxed);
    atomic_store(&p->done, 0);
    uint64_t word = number << (2 * COUNT_BITS) | (uint64_t)count << COUNT_BITS;
    atomic_store(&p->word, word);
    wake(p);
    work(p, word, 0);
    uint32_t looks = 0;
    while (atomic_load(&p->done) != count) { /* what helpers have begun */
        if (++looks < LOOKS) {
            relax();
        } else {
            (void)sched_yield(); /* the helper may wait for this very processor */
        }
    }
}
