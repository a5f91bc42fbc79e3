/* rig.h: a ledger in a file of its own, and the few things that tests do with it. Signatures are
 * random bytes: the ledger keeps them and does not look at them. */
#ifndef ASY_LEDGER_TEST_RIG_H
#define ASY_LEDGER_TEST_RIG_H

#include <unistd.h>

#include "base/test.h"
#include "ledger/ledger.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* no test needs all of them */

static char rig_path[320];
static struct asy_test_env rig_env;
static struct asy_ledger *rig_ledger;
static struct asy_why rig_why;

#define MUST(call)                                                                                 \
    do {                                                                                           \
        enum asy_err must_ = (call);                                                               \
        if (must_ != ASY_OK) {                                                                     \
            fprintf(stderr, "%s:%d: %s: %s: %s (SEED=%" PRIu64 ")\n", __FILE__, __LINE__, #call,   \
                    asy_err_name(must_), rig_why.text, asy_test_seed_value);                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void rig_remove(void) {
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ASY_COUNT(suffixes); i++) {
        char path[340];
        (void)snprintf(path, sizeof path, "%s%s", rig_path, suffixes[i]);
        (void)unlink(path); /* may not be there */
    }
}
static void rig_open(void) {
    MUST(asy_ledger_open(&rig_ledger, rig_path, &rig_env.env, ASY_STORE_SYNC_NORMAL, &rig_why));
}
static void rig_begin(void) {
    const char *dir = getenv("TMPDIR");
    (void)snprintf(rig_path, sizeof rig_path, "%s/ledger-%d", dir != NULL ? dir : "/tmp",
                   (int)getpid());
    rig_remove();
    asy_test_env_init(&rig_env);
    rig_open();
}
static void rig_end(void) {
    asy_ledger_close(rig_ledger);
    rig_remove();
}
static void rig_commit(void) { MUST(asy_ledger_commit(rig_ledger, &rig_why)); }
/* Commits, closes and opens again: what is in memory afterwards comes from the file. */
static void rig_reopen(void) {
    rig_commit();
    asy_ledger_close(rig_ledger);
    rig_open();
}
static void rig_check(int line) {
    if (asy_ledger_check(rig_ledger, &rig_why) != ASY_OK) {
        asy_test_failures++;
        fprintf(stderr, "line %d: the books do not balance: %s\n", line, rig_why.text);
    }
}
#define BALANCED() rig_check(__LINE__)

/* ---- who takes part -------------------------------------------------------------------------- */

static struct asy_addr rig_addr(char kind, unsigned number) {
    struct asy_addr a = {{(uint8_t)kind, (uint8_t)(number >> 8), (uint8_t)number, 1}};
    return a;
}
static struct asy_account *rig_account(unsigned i) {
    struct asy_addr addr = rig_addr('r', i);
    struct asy_account *a;
    MUST(asy_ledger_account(rig_ledger, &a, &addr));
    return a;
}
static struct asy_node_book *rig_node(unsigned i) {
    struct asy_addr addr = rig_addr('n', i);
    struct asy_node_book *n;
    MUST(asy_ledger_node(rig_ledger, &n, &addr));
    return n;
}
static struct asy_cap rig_cap(const struct asy_account *a, uint64_t nonce) {
    return (struct asy_cap){.requester = a->addr,
                            .gateway = rig_addr('g', 0),
                            .max_spend = (asy_u128)1 << 90,
                            .max_locked = (asy_u128)1 << 90,
                            .max_price_in = 1000,
                            .max_price_out = 1000,
                            .nonce = nonce,
                            .deadline = 4000000000u};
}
/* An account with an open cap and `funded` in its lane, which has number i + 1. */
static struct asy_account *rig_funded(unsigned i, asy_u128 funded) {
    struct asy_account *a = rig_account(i);
    struct asy_sig sig = {{1}};
    if (!a->has_cap) {
        struct asy_cap cap = rig_cap(a, 1);
        MUST(asy_ledger_set_cap(rig_ledger, a, &cap, &sig));
    }
    struct asy_lane_facts facts = {
        .lane = a->lane != 0 ? a->lane : i + 1, .cap_open = true, .funded = funded, .free = 7};
    MUST(asy_ledger_set_lane(rig_ledger, a, &facts));
    return a;
}

/* ---- tickets --------------------------------------------------------------------------------- */

enum {
    PRICE_IN = 2,
    PRICE_OUT = 3,
    MAX_IN = 10,
    MAX_OUT = 100,
    WORST = MAX_IN * PRICE_IN + MAX_OUT * PRICE_OUT
};

static struct asy_terms rig_terms(const struct asy_account *a, const struct asy_node_book *n) {
    uint64_t now_s = rig_env.wall_ms / 1000;
    struct asy_terms t = {.requester = a->addr,
                          .gateway = rig_addr('g', 0),
                          .node = n->addr,
                          .max_in = MAX_IN,
                          .max_out = MAX_OUT,
                          .price_in = PRICE_IN,
                          .price_cached = 1,
                          .price_out = PRICE_OUT,
                          .tier = ASY_TIER_AUDITED,
                          .issued_at = now_s,
                          .deadline = now_s + 600};
    asy_test_fill(&t.job_id, sizeof t.job_id);
    return t;
}
static enum asy_err rig_try_issue(struct asy_terms *ret_terms, struct asy_account *a,
                                  struct asy_node_book *n) {
    struct asy_ticket_note note = {.model = ASY_STR("test-model"), .request_id = ASY_STR("req_1")};
    *ret_terms = rig_terms(a, n);
    return asy_ledger_issue(rig_ledger, a, n, ret_terms, &note, &rig_why);
}
static struct asy_terms rig_issue(struct asy_account *a, struct asy_node_book *n) {
    struct asy_terms t;
    MUST(rig_try_issue(&t, a, n));
    return t;
}
static struct asy_receipt rig_receipt(const struct asy_terms *t, uint64_t out) {
    struct asy_receipt r = {
        .in_tokens = 4, .cached_tokens = 1, .out_tokens = out, .finish = ASY_FINISH_STOP};
    asy_object_hash(&r.terms, ASY_OBJ_TERMS, t);
    MUST(asy_job_cost(&r.amount, t, 4, 1, out));
    return r;
}

/* ---- the nodes' numbering -------------------------------------------------------------------- */

enum { RIG_NODES = 8 };
static struct asy_checkpointer
    rig_signing[RIG_NODES]; /* receipts that node i has sent, but not signed */

/* After a restart of either side: the node's numbering goes on where the ledger's signed part ends.
 */
static void rig_restart_numbering(unsigned i) {
    struct asy_node_book *n = rig_node(i);
    struct asy_addr gateway = rig_addr('g', 0);
    asy_checkpointer_init(&rig_signing[i], ASY_CHECKPOINT_RECEIPTS, &n->addr, &gateway,
                          n->receipt_checkpoint_next, n->receipts_have);
}
static void rig_sign(unsigned i) {
    if (rig_signing[i].count != 0) {
        struct asy_checkpoint c;
        struct asy_sig sig;
        asy_test_fill(&sig, sizeof sig);
        asy_checkpointer_close(&rig_signing[i], &c);
        MUST(asy_ledger_add_checkpoint(rig_ledger, rig_node(i), &c, &sig));
    }
}
/* The node's next item. */
static uint64_t rig_item(unsigned i, const struct asy_receipt *r) {
    struct asy_hash h;
    if (rig_signing[i].count == ASY_MAX_CHECKPOINT) {
        rig_sign(i);
    }
    asy_object_hash(&h, ASY_OBJ_RECEIPT, r);
    return asy_checkpointer_add(&rig_signing[i], &h);
}
/* Pays, unsigned. Returns the item. */
static uint64_t rig_pay(unsigned node, const struct asy_terms *t, uint64_t out) {
    struct asy_receipt r = rig_receipt(t, out);
    struct asy_hash prompt = {{5}};
    uint64_t item = rig_item(node, &r);
    MUST(asy_ledger_pay(rig_ledger, t, &r, &prompt, item));
    return item;
}
static void rig_pay_signed(unsigned node, const struct asy_terms *t, uint64_t out) {
    (void)rig_pay(node, t, out);
    rig_sign(node);
}
static struct asy_batch rig_batch(bool with_credits) {
    struct asy_batch b;
    MUST(asy_ledger_build_batch(rig_ledger, &b, asy_ledger_batch_count(rig_ledger), 10000, 450, 450,
                                with_credits));
    return b;
}

#endif
