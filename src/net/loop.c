/* loop.c: the loop over libuv: turns, posts, signals, timers. */
#include <signal.h>
#include <unistd.h>

#include "net_priv.h"

/* ---- lists ---- */

void net_list_init(struct net_list *node) { node->prev = node->next = node; }

bool net_list_empty(const struct net_list *node) { return node->next == node; }

void net_list_del(struct net_list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    net_list_init(node);
}

void net_list_add(struct net_list *head, struct net_list *node) {
    net_list_del(node);
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* ---- turns ---- */

/* Moves what is in `from` now to an empty list, so that what is added meanwhile waits for the next
 * turn. */
static void list_take(struct net_list *to, struct net_list *from) {
    net_list_init(to);
    if (!net_list_empty(from)) {
        *to = *from;
        to->prev->next = to;
        to->next->prev = to;
        net_list_init(from);
    }
}

struct net_grave {
    struct net_grave *next;
    void *p;
};

void net_loop_bury(struct asy_loop *loop, void *p) {
    struct net_grave *grave = asy_alloc(sizeof *grave);
    *grave = (struct net_grave){loop->graves, p};
    loop->graves = grave;
}

static void graves_free(struct asy_loop *loop) {
    while (loop->graves != NULL) {
        struct net_grave *grave = loop->graves;
        loop->graves = grave->next;
        asy_free(grave->p);
        asy_free(grave);
    }
}

/* Everything a turn queued leaves here, and only here: after the hooks. */
static void turn_end(struct asy_loop *loop) {
    struct net_list now;
    list_take(&now, &loop->ready);
    while (!net_list_empty(&now)) {
        struct net_stream *s = NET_OF(now.next, struct net_stream, ready);
        net_list_del(&s->ready);
        net_stream_deliver(s);
    }
    for (size_t i = 0; i < loop->hook_count; i++) {
        loop->hooks[i].cb(loop->hooks[i].arg);
    }
    list_take(&now, &loop->dirty);
    while (!net_list_empty(&now)) {
        struct net_stream *s = NET_OF(now.next, struct net_stream, dirty);
        net_list_del(&s->dirty);
        net_stream_flush(s);
    }
    graves_free(loop);
}

static void late_timers_start(struct asy_loop *loop);

static void on_busy(uv_idle_t *idle) { (void)idle; }

static void on_prepare(uv_prepare_t *prepare) {
    struct asy_loop *loop = prepare->data;
    turn_end(loop);
    late_timers_start(loop);
    bool busy = !net_list_empty(&loop->ready) || !net_list_empty(&loop->dirty);
    if (busy && !uv_is_active((uv_handle_t *)&loop->busy)) {
        (void)uv_idle_start(&loop->busy, on_busy); /* cannot fail with a callback */
    } else if (!busy && uv_is_active((uv_handle_t *)&loop->busy)) {
        (void)uv_idle_stop(&loop->busy); /* cannot fail */
    }
}

void asy_loop_on_turn(struct asy_loop *loop, asy_loop_cb cb, void *arg) {
    ASY_ASSERT(loop->hook_count < NET_HOOKS_MAX);
    loop->hooks[loop->hook_count++] = (struct net_hook){cb, arg};
}

void asy_loop_off_turn(struct asy_loop *loop, asy_loop_cb cb, void *arg) {
    size_t kept = 0;
    for (size_t i = 0; i < loop->hook_count; i++) {
        if (loop->hooks[i].cb != cb || loop->hooks[i].arg != arg) {
            loop->hooks[kept++] = loop->hooks[i];
        }
    }
    loop->hook_count = kept;
}

/* ---- ticks ---- */

static void on_tick(uv_timer_t *timer) {
    struct asy_loop *loop = timer->data;
    uint64_t now_ms = net_now_ms(loop);
    loop->tick_next = loop->ticks.next;
    while (loop->tick_next != &loop->ticks) {
        struct net_tick *tick = NET_OF(loop->tick_next, struct net_tick, node);
        loop->tick_next = loop->tick_next->next;
        tick->fn(tick->owner, now_ms);
    }
    if (net_list_empty(&loop->ticks)) {
        (void)uv_timer_stop(&loop->tick); /* cannot fail */
    }
}

uint64_t net_now_ms(const struct asy_loop *loop) { return uv_now(&loop->uv); }

void net_tick_add(struct asy_loop *loop, struct net_tick *tick, void (*fn)(void *, uint64_t),
                  void *owner) {
    tick->fn = fn;
    tick->owner = owner;
    net_list_init(&tick->node);
    net_list_add(&loop->ticks, &tick->node);
    if (!uv_is_active((uv_handle_t *)&loop->tick)) {
        (void)uv_timer_start(&loop->tick, on_tick, NET_TICK_MS, NET_TICK_MS); /* has a callback */
    }
}

void net_tick_del(struct asy_loop *loop, struct net_tick *tick) {
    if (loop->tick_next == &tick->node) {
        loop->tick_next = tick->node.next;
    }
    net_list_del(&tick->node);
}

/* ---- posts ---- */

struct net_post {
    struct net_post *next;
    asy_loop_cb cb;
    void *arg;
};

static struct net_post *posts_take(struct asy_loop *loop) {
    ASY_ASSERT(pthread_mutex_lock(&loop->lock) == 0);
    struct net_post *first = loop->posts;
    loop->posts = NULL;
    loop->posts_end = &loop->posts;
    ASY_ASSERT(pthread_mutex_unlock(&loop->lock) == 0);
    return first;
}

static void on_wake(uv_async_t *wake) {
    struct net_post *post = posts_take(wake->data);
    while (post != NULL) {
        struct net_post *next = post->next;
        post->cb(post->arg);
        asy_free(post);
        post = next;
    }
}

void asy_loop_post(struct asy_loop *loop, asy_loop_cb cb, void *arg) {
    struct net_post *post = asy_alloc(sizeof *post);
    *post = (struct net_post){NULL, cb, arg};
    ASY_ASSERT(pthread_mutex_lock(&loop->lock) == 0);
    bool first = loop->posts == NULL;
    *loop->posts_end = post;
    loop->posts_end = &post->next;
    /* within the lock, so that the loop cannot take the post and be freed before this */
    if (first) {
        ASY_ASSERT(uv_async_send(&loop->wake) == 0);
    }
    ASY_ASSERT(pthread_mutex_unlock(&loop->lock) == 0);
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *uv, int signum) {
    struct net_signal *sig = uv->data;
    sig->cb(sig->arg, signum);
}

enum asy_err asy_loop_on_signal(struct asy_loop *loop, int signum, asy_signal_cb cb, void *arg) {
    ASY_ASSERT(loop->signal_count < NET_SIGNALS_MAX);
    struct net_signal *sig = asy_alloc(sizeof *sig);
    sig->cb = cb;
    sig->arg = arg;
    ASY_ASSERT(uv_signal_init(&loop->uv, &sig->uv) == 0);
    sig->uv.data = sig;
    loop->signals[loop->signal_count++] = sig;
    if (uv_signal_start(&sig->uv, on_signal, signum) != 0) {
        return ASY_ERR_RANGE; /* the handle stays idle until the loop is freed */
    }
    return ASY_OK;
}

/* ---- timers ---- */

struct asy_timer {
    uv_timer_t uv;
    struct asy_loop *loop;
    struct net_list late;
    asy_loop_cb cb;
    void *arg;
};

struct asy_timer *asy_timer_new(struct asy_loop *loop, asy_loop_cb cb, void *arg) {
    struct asy_timer *timer = asy_alloc(sizeof *timer);
    timer->loop = loop;
    timer->cb = cb;
    timer->arg = arg;
    ASY_ASSERT(uv_timer_init(&loop->uv, &timer->uv) == 0);
    timer->uv.data = timer;
    net_list_init(&timer->late);
    loop->object_count++;
    return timer;
}

static void on_timer(uv_timer_t *uv) {
    struct asy_timer *timer = uv->data;
    timer->loop->in_timers = true;
    timer->cb(timer->arg);
}

void asy_timer_at(struct asy_timer *timer, uint64_t at_ns) {
    /* libuv's clock is CLOCK_MONOTONIC in whole milliseconds, rounded down; the timer runs when it
     * has reached at_ns rounded up */
    uint64_t at_ms = at_ns / 1000000 + (at_ns % 1000000 != 0);
    uint64_t now_ms = uv_now(&timer->loop->uv);
    asy_timer_stop(timer);
    if (at_ms <= now_ms && timer->loop->in_timers) {
        /* libuv would run it in this same turn, and for ever if it does this each time */
        net_list_add(&timer->loop->late, &timer->late);
        return;
    }
    (void)uv_timer_start(&timer->uv, on_timer, at_ms > now_ms ? at_ms - now_ms : 0,
                         0); /* has a callback */
}

void asy_timer_stop(struct asy_timer *timer) {
    net_list_del(&timer->late);
    (void)uv_timer_stop(&timer->uv); /* cannot fail */
}

static void late_timers_start(struct asy_loop *loop) {
    loop->in_timers = false;
    while (!net_list_empty(&loop->late)) {
        struct asy_timer *timer = NET_OF(loop->late.next, struct asy_timer, late);
        net_list_del(&timer->late);
        (void)uv_timer_start(&timer->uv, on_timer, 0, 0); /* has a callback */
    }
}

static void on_timer_closed(uv_handle_t *handle) { asy_free(handle->data); }

void asy_timer_free(struct asy_timer *timer) {
    if (timer != NULL) {
        timer->loop->object_count--;
        net_list_del(&timer->late);
        uv_close((uv_handle_t *)&timer->uv, on_timer_closed);
    }
}

/* ---- the loop ---- */

enum asy_err asy_loop_new(struct asy_loop **ret_loop, struct asy_why *reterr_why) {
    struct asy_loop *loop = asy_alloc(sizeof *loop);
    int rc = uv_loop_init(&loop->uv);
    if (rc == 0) {
        rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
        if (rc != 0) {
            ASY_ASSERT(uv_loop_close(&loop->uv) == 0);
        }
    }
    if (rc != 0) {
        asy_free(loop);
        return asy_why_set(reterr_why, ASY_ERR_IO, NULL, "event loop: %s", uv_strerror(rc));
    }
    (void)signal(SIGPIPE, SIG_IGN); /* a valid signal */
    /* libuv gives children default handling of the first 31 signals only; whoever started this
     * process may have ignored others */
    for (int n = SIGRTMIN; n <= SIGRTMAX; n++) {
        struct sigaction now;
        if (sigaction(n, NULL, &now) == 0 && now.sa_handler == SIG_IGN) {
            (void)signal(n, SIG_DFL); /* a valid signal */
        }
    }
    loop->wake.data = loop;
    ASY_ASSERT(uv_prepare_init(&loop->uv, &loop->turn) == 0);
    ASY_ASSERT(uv_idle_init(&loop->uv, &loop->busy) == 0);
    ASY_ASSERT(uv_timer_init(&loop->uv, &loop->tick) == 0);
    loop->turn.data = loop->tick.data = loop;
    ASY_ASSERT(uv_prepare_start(&loop->turn, on_prepare) == 0);
    net_list_init(&loop->dirty);
    net_list_init(&loop->ready);
    net_list_init(&loop->ticks);
    net_list_init(&loop->late);
    loop->tick_next = &loop->ticks;
    loop->posts_end = &loop->posts;
    ASY_ASSERT(pthread_mutex_init(&loop->lock, NULL) == 0);
    *ret_loop = loop;
    return ASY_OK;
}

void asy_loop_run(struct asy_loop *loop) {
    loop->running = true;
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT); /* ends by asy_loop_stop: `wake` keeps it alive */
    loop->running = false;
    turn_end(loop);
}

void asy_loop_stop(struct asy_loop *loop) {
    if (loop->running) { /* libuv would keep it for the next run */
        uv_stop(&loop->uv);
    }
}

static void on_signal_closed(uv_handle_t *handle) { asy_free(handle->data); }

void asy_loop_free(struct asy_loop *loop) {
    if (loop == NULL) {
        return;
    }
    ASY_ASSERT(loop->object_count == 0);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->turn, NULL);
    uv_close((uv_handle_t *)&loop->busy, NULL);
    uv_close((uv_handle_t *)&loop->tick, NULL);
    for (size_t i = 0; i < loop->signal_count; i++) {
        uv_close((uv_handle_t *)&loop->signals[i]->uv, on_signal_closed);
    }
    /* objects freed before let go of their handles here; killed children are reaped */
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0) {
    }
    ASY_ASSERT(uv_loop_close(&loop->uv) == 0);
    graves_free(loop);
    for (struct net_post *post = posts_take(loop), *next; post != NULL; post = next) {
        next = post->next;
        asy_free(post);
    }
    ASY_ASSERT(pthread_mutex_destroy(&loop->lock) == 0);
    SSL_CTX_free(loop->tls_default);
    asy_free(loop);
}
