/* What one job costs the ledger: a ticket issued, its receipt accepted, a share of a checkpoint and of a commit. With no past, and with
 * 200,000 past tickets, most of them in batches: the two must be the same within noise. Then what a batch and a restart cost. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ledger/ledger.h"

enum { ACCOUNTS = 50, NODES = 20, PER_TURN = 8, PAST = 200000, MEASURED = 20000, BATCH = 10000 };

static struct asy_why why;
static void must(enum asy_err err) {
    if (err != ASY_OK) {
        fprintf(stderr, "%s: %s\n", asy_err_name(err), why.text);
        exit(1);
    }
}
static uint64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct asy_ledger *ledger;
static struct asy_account *accounts[ACCOUNTS];
static struct asy_node_book *nodes[NODES];
static struct asy_checkpointer signing[NODES];
static uint64_t made;

static void open_all(const char *path) {
    must(asy_ledger_open(&ledger, path, asy_env_system(), ASY_STORE_SYNC_NORMAL, &why));
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        struct asy_addr a = {{'r', (uint8_t)i}};
        must(asy_ledger_account(ledger, &accounts[i], &a));
        struct asy_cap cap = {.requester = a, .max_price_in = 100, .max_price_out = 100, .nonce = 1, .deadline = UINT32_MAX};
        struct asy_sig sig = {{1}};
        struct asy_lane_facts facts = {.lane = i + 1, .cap_open = true, .funded = (asy_u128)1 << 80};
        if (!accounts[i]->has_cap) {
            must(asy_ledger_set_cap(ledger, accounts[i], &cap, &sig));
        }
        must(asy_ledger_set_lane(ledger, accounts[i], &facts));
    }
    for (unsigned i = 0; i < NODES; i++) {
        struct asy_addr a = {{'n', (uint8_t)i}}, gateway = {{0}};
        must(asy_ledger_node(ledger, &nodes[i], &a));
        must(asy_ledger_set_link(ledger, nodes[i], i + 1, nodes[i]->credited));
        asy_checkpointer_init(&signing[i], ASY_CHECKPOINT_RECEIPTS, &a, &gateway, nodes[i]->receipt_checkpoint_next,
                              nodes[i]->receipts_have);
    }
    must(asy_ledger_commit(ledger, &why));
}
static void sign(unsigned i) {
    struct asy_checkpoint c;
    struct asy_sig sig = {{2}};
    if (signing[i].count != 0) {
        asy_checkpointer_close(&signing[i], &c);
        must(asy_ledger_add_checkpoint(ledger, nodes[i], &c, &sig));
    }
}
/* One turn: PER_TURN tickets issued, as many receipts accepted, a commit. Each node signs every 32 receipts. */
static void turn(void) {
    struct asy_terms t[PER_TURN];
    struct asy_ticket_note note = {.model = ASY_STR("model"), .request_id = ASY_STR("req_0123456789abcdef")};
    uint64_t now_s = (uint64_t)time(NULL);
    for (unsigned i = 0; i < PER_TURN; i++) {
        struct asy_account *a = accounts[(made + i) % ACCOUNTS];
        struct asy_node_book *n = nodes[(made + i) % NODES];
        t[i] = (struct asy_terms){.requester = a->addr, .node = n->addr, .max_in = 1000, .max_out = 1000, .price_in = 20,
                                  .price_out = 60, .issued_at = now_s, .deadline = now_s + 600};
        asy_env_random(asy_env_system(), &t[i].job_id, sizeof t[i].job_id);
        must(asy_ledger_issue(ledger, a, n, &t[i], &note, &why));
    }
    for (unsigned i = 0; i < PER_TURN; i++) {
        unsigned node = (unsigned)((made + i) % NODES);
        struct asy_receipt r = {.in_tokens = 100, .out_tokens = 200, .finish = ASY_FINISH_STOP};
        struct asy_hash prompt = {{3}}, h;
        asy_object_hash(&r.terms, ASY_OBJ_TERMS, &t[i]);
        must(asy_job_cost(&r.amount, &t[i], 100, 0, 200));
        asy_object_hash(&h, ASY_OBJ_RECEIPT, &r);
        must(asy_ledger_pay(ledger, &t[i], &r, &prompt, asy_checkpointer_add(&signing[node], &h)));
        if (signing[node].count == 32) {
            sign(node);
        }
    }
    made += PER_TURN;
    must(asy_ledger_commit(ledger, &why));
}
static uint64_t batches(void) {
    uint64_t count = 0;
    for (unsigned i = 0; i < NODES; i++) {
        sign(i);
    }
    for (; asy_ledger_unposted(ledger) != 0; count++) {
        struct asy_batch b;
        must(asy_ledger_build_batch(ledger, &b, asy_ledger_batch_count(ledger), BATCH, 450, 450, true));
        must(asy_ledger_set_batch_state(ledger, b.number, ASY_BATCH_FINAL, b.number));
        must(asy_ledger_commit(ledger, &why));
    }
    return count;
}
static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}
static void measure(const char *label) {
    static uint64_t took[MEASURED / PER_TURN];
    uint64_t cpu = now_ns(CLOCK_THREAD_CPUTIME_ID), wall = now_ns(CLOCK_MONOTONIC);
    for (size_t i = 0; i < ASY_COUNT(took); i++) {
        uint64_t begun = now_ns(CLOCK_MONOTONIC);
        turn();
        took[i] = now_ns(CLOCK_MONOTONIC) - begun;
    }
    wall = now_ns(CLOCK_MONOTONIC) - wall;
    cpu = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    qsort(took, ASY_COUNT(took), sizeof took[0], by_size);
    printf("ledger: %-22s issue + pay %5.1f us cpu, %5.1f us a job (turns of %d jobs: p50 %6.1f us, p99 %6.1f us)\n", label,
           (double)cpu / 1e3 / MEASURED, (double)wall / 1e3 / MEASURED, PER_TURN, (double)took[ASY_COUNT(took) / 2] / 1e3,
           (double)took[ASY_COUNT(took) - ASY_COUNT(took) / 100] / 1e3);
}

int main(int argc, char **argv) {
    char path[512];
    snprintf(path, sizeof path, "%s/ledger", argc > 1 ? argv[1] : ".");
    open_all(path);
    measure("no past:");
    while (made < PAST) {
        turn();
        if (made % 50000 < PER_TURN) {
            (void)batches();
        }
    }
    measure("200,000 past tickets:");
    uint64_t begun = now_ns(CLOCK_MONOTONIC), count = batches();
    printf("ledger: %" PRIu64 " batches of at most %d jobs: %.1f ms each\n", count, BATCH,
           (double)(now_ns(CLOCK_MONOTONIC) - begun) / 1e6 / (double)count);
    for (int i = 0; i < 1000; i++) {
        turn(); /* not in a batch: what a restart has to read */
    }
    asy_ledger_close(ledger);
    begun = now_ns(CLOCK_MONOTONIC);
    open_all(path);
    printf("ledger: opened with %" PRIu64 " tickets, %d of them not in a batch: %.1f ms\n", made, 1000 * PER_TURN,
           (double)(now_ns(CLOCK_MONOTONIC) - begun) / 1e6);
    begun = now_ns(CLOCK_MONOTONIC);
    must(asy_ledger_check(ledger, &why));
    printf("ledger: the whole check: %.0f ms\n", (double)(now_ns(CLOCK_MONOTONIC) - begun) / 1e6);
    asy_ledger_close(ledger);
    return 0;
}
