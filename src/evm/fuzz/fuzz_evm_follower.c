/* The follower with any answers in any order, right, wrong and unasked, and any cursor. Its own
 * account of events must add up: logs are applied above what is final, and reverts take back
 * exactly the newest block. */
#include "evm/evm.h"

struct account {
    struct asy_evm_follower *f;
    uint64_t top, final; /* blocks below top are applied */
};

static enum asy_err on_event(void *arg, const struct asy_evm_follow_event *e) {
    struct account *a = arg;
    switch (e->kind) {
    case ASY_EVM_FOLLOW_APPLY:
        ASY_ASSERT(e->number >= a->top && e->log->block_number == e->number);
        break;
    case ASY_EVM_FOLLOW_BLOCK:
        ASY_ASSERT(e->number >= a->top && a->f->next == e->number + 1);
        a->top = e->number + 1;
        break;
    case ASY_EVM_FOLLOW_REVERT:
        ASY_ASSERT(e->number + 1 == a->top && e->number >= a->final && a->f->next == e->number);
        a->top = e->number;
        break;
    case ASY_EVM_FOLLOW_FINAL:
        ASY_ASSERT(e->number + 1 >= a->final);
        a->final = e->number + 1;
        break;
    case ASY_EVM_FOLLOW_LOST:
        ASY_ASSERT(a->f->state == ASY_EVM_FOLLOWER_LOST);
        break;
    }
    return ASY_OK;
}

/* A block: number near the wanted one, hash and parent from four forks. */
static void make_block(struct asy_evm_block *b, uint64_t number, uint8_t forks) {
    *b = (struct asy_evm_block){.number = number};
    asy_be64_put(b->hash.b, number);
    b->hash.b[8] = forks & 3;
    asy_be64_put(b->parent.b, number - 1);
    b->parent.b[8] = (forks >> 2) & 3;
}

static void feed(struct asy_evm_follower *f, uint8_t op, uint8_t x) {
    struct asy_evm_want want;
    struct asy_evm_block b;
    struct asy_evm_log logs[2];
    struct asy_evm_logs list = {logs, op >> 6 & 1 ? 2 : op >> 7};
    asy_evm_follower_want(f, &want);
    switch (op & 7) {
    case 0:
        asy_evm_follower_poll(f);
        return;
    case 1:
        (void)!asy_evm_follower_on_block(f, NULL);
        return;
    case 2:
        (void)!asy_evm_follower_on_logs(f, NULL);
        return;
    case 3:
    case 4:
        for (size_t i = 0; i < 2; i++) {
            logs[i] = (struct asy_evm_log){.block_number = want.number + (x >> i & 1),
                                           .block_hash = want.hash,
                                           .index = x >> (2 + i) & 3};
        }
        (void)!asy_evm_follower_on_logs(f, &list);
        return;
    default:
        make_block(&b, want.kind == ASY_EVM_WANT_HEAD ? x : want.number + (op >> 3 & 1), x);
        (void)!asy_evm_follower_on_block(f, &b);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static struct asy_evm_follower f;
    struct account a = {.f = &f};
    if (asy_evm_follower_load(&f, asy_bytes_of(p, n), on_event, &a) == ASY_OK) {
        struct asy_buf again;
        asy_buf_init(&again, ASY_EVM_CURSOR_MAX);
        enum asy_err err = asy_evm_follower_save(&f, &again);
        ASY_ASSERT(err == ASY_OK && again.n == n);
        asy_buf_done(&again);
        return 0;
    }
    if (n < 2) {
        return 0;
    }
    asy_evm_follower_init(&f, p[0], 1 + p[1] % 8, on_event, &a);
    a.top = a.final = p[0];
    for (size_t i = 2; i + 1 < n; i += 2) {
        feed(&f, p[i], p[i + 1]);
    }
    return 0;
}
