/* The follower against a simulated chain that re-organises at random, an endpoint that lags, and a
 * consumer that crashes: whatever happens, what is applied is what the chain holds. */
#include "base/test.h"
#include "evm/evm.h"

#define MAX_BLOCKS    3000u
#define MAX_PER_BLOCK 4u

/* ---- the chain ---- */

struct sim_block {
    struct asy_evm_block head;
    uint32_t log_count;
};
static struct sim_block chain[MAX_BLOCKS];
static uint64_t length; /* blocks; the latest is length - 1 */
static uint64_t forks;

static void fill_hash(struct asy_hash *h, uint64_t number) {
    memset(h, 0, sizeof *h);
    asy_be64_put(h->b, number);
    asy_be64_put(h->b + 8, ++forks); /* never the same twice */
}

static void add_block(void) {
    ASY_ASSERT(length < MAX_BLOCKS);
    struct sim_block *b = &chain[length];
    *b = (struct sim_block){.head.number = length,
                            .log_count = (uint32_t)(asy_test_random() % MAX_PER_BLOCK)};
    fill_hash(&b->head.hash, length);
    if (length > 0) {
        b->head.parent = chain[length - 1].head.hash;
    }
    length++;
}

static void reorg(uint64_t depth, uint64_t grow) {
    length -= depth;
    for (uint64_t i = 0; i < depth + grow; i++) {
        add_block();
    }
}

static void logs_of(struct asy_evm_log *items, size_t *count, uint64_t from, uint64_t to) {
    *count = 0;
    for (uint64_t n = from; n <= to && n < length; n++) {
        for (uint32_t i = 0; i < chain[n].log_count; i++) {
            items[(*count)++] = (struct asy_evm_log){
                .block_number = n, .block_hash = chain[n].head.hash, .index = i};
        }
    }
}

/* ---- the consumer: what it applied, by block; and what it saved ---- */

struct consumer {
    struct asy_hash hash[MAX_BLOCKS];
    uint32_t count[MAX_BLOCKS];
    uint64_t final;                     /* blocks below are final */
    uint64_t applies, reverts, fail_in; /* fail_in: events until the next failure; 0: never */
    bool lost;
};
static struct consumer now, saved;
static struct asy_buf cursor;
static struct asy_evm_follower f;

static enum asy_err on_event(void *arg, const struct asy_evm_follow_event *e) {
    (void)arg;
    if (now.fail_in != 0 && --now.fail_in == 0) {
        return ASY_ERR_STORE;
    }
    switch (e->kind) {
    case ASY_EVM_FOLLOW_APPLY:
        CHECK(now.count[e->number] == e->log->index);
        CHECK(e->number >= now.final);
        CHECK(now.count[e->number] == 0 || asy_hash_eq(&now.hash[e->number], &e->hash));
        now.hash[e->number] = e->hash;
        now.count[e->number]++;
        now.applies++;
        return ASY_OK;
    case ASY_EVM_FOLLOW_REVERT:
        CHECK(e->number >= now.final);
        CHECK(now.count[e->number] == 0 || asy_hash_eq(&now.hash[e->number], &e->hash));
        for (uint64_t n = e->number + 1; n < MAX_BLOCKS && n < e->number + 300; n++) {
            CHECK(now.count[n] == 0); /* newest first */
        }
        now.count[e->number] = 0;
        now.reverts++;
        break;
    case ASY_EVM_FOLLOW_FINAL:
        CHECK(e->number >= now.final);
        now.final = e->number + 1;
        return ASY_OK;
    case ASY_EVM_FOLLOW_LOST:
        now.lost = true;
        return ASY_OK;
    case ASY_EVM_FOLLOW_BLOCK:
        break;
    }
    saved = now; /* one transaction: what was applied, and the cursor */
    asy_buf_clear(&cursor);
    return asy_evm_follower_save(&f, &cursor);
}

/* ---- the endpoint ---- */

static struct asy_evm_log items[MAX_BLOCKS * MAX_PER_BLOCK];

/* Answers one want. lag: the endpoint knows only so many blocks less. */
static enum asy_err answer(uint64_t lag) {
    struct asy_evm_want want;
    uint64_t known = length - (lag < length ? lag : length - 1);
    asy_evm_follower_want(&f, &want);
    struct asy_evm_logs logs = {.items = items};
    switch (want.kind) {
    case ASY_EVM_WANT_NOTHING:
        return ASY_OK;
    case ASY_EVM_WANT_HEAD:
        return asy_evm_follower_on_block(&f, &chain[known - 1].head);
    case ASY_EVM_WANT_BLOCK:
        return asy_evm_follower_on_block(&f, want.number < known ? &chain[want.number].head : NULL);
    case ASY_EVM_WANT_RANGE:
        logs_of(items, &logs.count, want.number, want.to);
        return asy_evm_follower_on_logs(&f, &logs);
    case ASY_EVM_WANT_LOGS:
        if (want.number >= known || !asy_hash_eq(&chain[want.number].head.hash, &want.hash)) {
            return asy_evm_follower_on_logs(&f, NULL);
        }
        logs_of(items, &logs.count, want.number, want.number);
        return asy_evm_follower_on_logs(&f, &logs);
    }
    return ASY_ERR_INTERNAL;
}

static void restart(void) {
    uint64_t events = now.fail_in;
    now = saved;
    now.fail_in = events;
    CHECK_OK(asy_evm_follower_load(&f, asy_buf_bytes(&cursor), on_event, NULL));
}

static void begin(uint64_t start, uint32_t depth) {
    memset(&now, 0, sizeof now);
    now.final = start;
    saved = now;
    asy_evm_follower_init(&f, start, depth, on_event, NULL);
    asy_buf_clear(&cursor);
    CHECK_OK(asy_evm_follower_save(&f, &cursor));
}

static void catch_up(void) {
    asy_evm_follower_poll(&f);
    for (uint32_t i = 0; i < 20 * MAX_BLOCKS && f.state != ASY_EVM_FOLLOWER_IDLE &&
                         f.state != ASY_EVM_FOLLOWER_LOST;
         i++) {
        if (answer(0) != ASY_OK) {
            restart();
            asy_evm_follower_poll(&f);
        }
    }
}

static void check_equal(uint64_t start) {
    CHECK(f.state == ASY_EVM_FOLLOWER_IDLE);
    CHECK_U64(f.next, length);
    for (uint64_t n = 0; n < MAX_BLOCKS; n++) {
        uint32_t want = n >= start && n < length ? chain[n].log_count : 0;
        CHECK_U64(now.count[n], want);
        CHECK(want == 0 || asy_hash_eq(&now.hash[n], &chain[n].head.hash));
    }
}

/* ---- tests ---- */

/* Blocks come and go between any two answers, never deeper than the follower was told to expect. */
static void test_random(void) {
    uint32_t depth = 1 + (uint32_t)(asy_test_random() % 12);
    uint64_t start = asy_test_random() % 20, highest = 0;
    length = 0;
    for (int i = 0; i < 40; i++) {
        add_block();
    }
    begin(start, depth);
    for (int i = 0; i < 1500 && length < MAX_BLOCKS - 50; i++) {
        uint64_t what = asy_test_random() % 20;
        highest = length > highest ? length : highest;
        if (what < 4) {
            add_block();
        } else if (what == 4) {
            /* A block is final when `depth` blocks ever stood on it: a shorter chain must not cut
             * in deeper than that. */
            uint64_t may = length - (highest > depth ? highest - depth : 0),
                     cut = asy_test_random() % (may + 1);
            cut = cut < length ? cut : length - 1;
            reorg(cut, 0);
        } else if (what == 5 && i % 7 == 0) {
            for (uint64_t n = asy_test_random() % 40; n > 0; n--) {
                add_block(); /* far ahead: ranges */
            }
        } else if (what == 6) {
            now.fail_in = 1 + asy_test_random() % 10;
        } else if (what == 7) {
            restart();
        } else if (answer(what == 8 ? asy_test_random() % 4 : 0) != ASY_OK) {
            restart();
        }
        asy_evm_follower_poll(&f);
        CHECK(!now.lost);
        if (i % 100 == 99) {
            now.fail_in = 0;
            catch_up();
            catch_up(); /* the first may have ended in the middle of old news */
            check_equal(start);
        }
    }
}

/* Up to the far end in ranges, then block by block; what happened is counted. */
static void test_far(void) {
    length = 0;
    for (int i = 0; i < 2500; i++) {
        add_block();
    }
    begin(3, 8);
    catch_up();
    check_equal(3);
    CHECK_U64(now.final, 2500 - 8);
    CHECK_U64(now.reverts, 0);
    uint64_t before = asy_metric_get(ASY_M_chain_reorgs_total);
    reorg(5, 1);
    catch_up();
    check_equal(3);
    CHECK_U64(now.reverts, 5);
    CHECK_U64(asy_metric_get(ASY_M_chain_reorgs_total), before + 1);
    reorg(8, 0); /* the same height: the head's hash gives it away */
    catch_up();
    check_equal(3);
    CHECK_U64(now.reverts, 13);
}

/* A final block gone: said once, and nothing more is wanted. */
static void test_lost(void) {
    length = 0;
    for (int i = 0; i < 50; i++) {
        add_block();
    }
    begin(0, 4);
    catch_up();
    reorg(5, 1);
    catch_up();
    CHECK(now.lost);
    CHECK(f.state == ASY_EVM_FOLLOWER_LOST);
    struct asy_evm_want want;
    asy_evm_follower_poll(&f);
    asy_evm_follower_want(&f, &want);
    CHECK(want.kind == ASY_EVM_WANT_NOTHING);
    CHECK_ERR(asy_evm_follower_on_block(&f, &chain[0].head), ASY_ERR_STATE);
}

/* Several endpoints behind one name: one shows a long chain, the next does not have our tip yet. */
static void test_lagging_tip(void) {
    length = 0;
    for (int i = 0; i < 20; i++) {
        add_block();
    }
    begin(0, 4);
    catch_up();
    for (int i = 0; i < 10; i++) {
        add_block();
    }
    asy_evm_follower_poll(&f);
    CHECK_OK(answer(0));
    CHECK(f.state == ASY_EVM_FOLLOWER_TIP);
    CHECK_OK(answer(12));
    CHECK(f.state == ASY_EVM_FOLLOWER_IDLE);
    CHECK_U64(now.reverts, 0);
    catch_up();
    check_equal(0);
}

/* The very first blocks may be taken back too. */
static void test_start(void) {
    length = 0;
    for (int i = 0; i < 10; i++) {
        add_block();
    }
    begin(8, 16);
    catch_up();
    check_equal(8);
    reorg(6, 0);
    catch_up();
    check_equal(8);
    CHECK_U64(now.reverts, 2);
    begin(30, 4); /* in the future */
    catch_up();
    CHECK(f.state == ASY_EVM_FOLLOWER_IDLE && f.next == 30 && now.applies == 0);
}

static void test_refusals(void) {
    struct asy_evm_block other;
    struct asy_evm_logs logs = {.items = items, .count = 0};
    length = 0;
    for (int i = 0; i < 5; i++) {
        add_block();
    }
    begin(0, 8);
    CHECK_ERR(asy_evm_follower_on_logs(&f, &logs), ASY_ERR_STATE);
    CHECK_ERR(asy_evm_follower_on_block(&f, &chain[0].head), ASY_ERR_STATE);
    asy_evm_follower_poll(&f);
    CHECK_ERR(asy_evm_follower_on_block(&f, NULL), ASY_ERR_PEER);
    CHECK_OK(answer(0)); /* head 4: wants block 0 */
    other = chain[3].head;
    CHECK_ERR(asy_evm_follower_on_block(&f, &other), ASY_ERR_MISMATCH);
    CHECK_OK(answer(0)); /* block 0: wants its logs */
    items[0] = (struct asy_evm_log){.block_number = 0, .block_hash = chain[1].head.hash};
    logs.count = 1;
    CHECK_ERR(asy_evm_follower_on_logs(&f, &logs), ASY_ERR_MISMATCH); /* of another block */
    CHECK_U64(now.applies, 0);
    asy_evm_follower_poll(&f);
    CHECK_OK(answer(0));
    CHECK_OK(answer(0));
    for (int i = 0; i < 2; i++) {
        items[i] =
            (struct asy_evm_log){.block_number = 0, .block_hash = chain[0].head.hash, .index = 3};
    }
    logs.count = 2;
    CHECK_ERR(asy_evm_follower_on_logs(&f, &logs), ASY_ERR_MISMATCH); /* one twice */
    CHECK_U64(now.applies, 0);
    catch_up();
    check_equal(0);
}

static void test_cursor(void) {
    struct asy_evm_follower g;
    struct asy_buf again;
    length = 0;
    for (int i = 0; i < 30; i++) {
        add_block();
    }
    begin(2, 6);
    catch_up();
    asy_buf_init(&again, ASY_EVM_CURSOR_MAX);
    CHECK_OK(asy_evm_follower_load(&g, asy_buf_bytes(&cursor), on_event, NULL));
    CHECK_OK(asy_evm_follower_save(&g, &again));
    CHECK(asy_bytes_eq(asy_buf_bytes(&again), asy_buf_bytes(&cursor)));
    for (size_t n = 0; n < cursor.n; n++) {
        CHECK(asy_evm_follower_load(&g, asy_bytes_of(cursor.p, n), on_event, NULL) != ASY_OK);
    }
    cursor.p[0] ^= 1;
    CHECK_ERR(asy_evm_follower_load(&g, asy_buf_bytes(&cursor), on_event, NULL), ASY_ERR_VERSION);
    asy_buf_done(&again);
}

int main(void) {
    asy_buf_init(&cursor, ASY_EVM_CURSOR_MAX);
    for (int i = 0; i < 30; i++) {
        test_random();
    }
    test_far();
    test_lost();
    test_lagging_tip();
    test_start();
    test_refusals();
    test_cursor();
    asy_buf_done(&cursor);
    return asy_test_end();
}
