/* walk.h: random work on a ledger, as a gateway with a few accounts and nodes would do it, and its
 * state as one digest. */
#ifndef ASY_LEDGER_TEST_WALK_H
#define ASY_LEDGER_TEST_WALK_H

#include "ledger/test/rig.h"

enum { WALK_ACCOUNTS = 4, WALK_NODES = 3, WALK_OPEN = 4096 };

static struct asy_terms walk_open[WALK_OPEN];
static uint32_t walk_open_count;

static uint64_t walk_below(uint64_t n) { return asy_test_random() % n; }
static unsigned walk_node_of(const struct asy_terms *t) {
    return (unsigned)t->node.b[1] << 8 | t->node.b[2];
}

static void walk_add_open(void *arg, const struct asy_ticket *t) {
    (void)arg;
    ASY_ASSERT(walk_open_count < WALK_OPEN);
    walk_open[walk_open_count++] = t->terms;
}
struct walk_unsigned {
    struct asy_addr node;
    uint64_t from;
    struct asy_hash hashes[2 * ASY_MAX_CHECKPOINT];
    uint64_t end;
};
static void walk_find_unsigned(void *arg, const struct asy_ticket *t) {
    struct walk_unsigned *u = arg;
    if (t->has_receipt && t->item >= u->from && asy_addr_eq(&t->terms.node, &u->node)) {
        uint64_t at = t->item - u->from;
        ASY_ASSERT(at < ASY_COUNT(u->hashes));
        asy_object_hash(&u->hashes[at], ASY_OBJ_RECEIPT, &t->receipt);
        u->end = at + 1 > u->end ? at + 1 : u->end;
    }
}
/* After the ledger was opened: the open tickets, and what the nodes have sent and not signed, as
 * they would send it again. */
static void walk_resume(void) {
    walk_open_count = 0;
    for (unsigned i = 0; i < WALK_NODES; i++) {
        struct asy_node_book *n = rig_node(i);
        MUST(asy_ledger_open_tickets(rig_ledger, n, walk_add_open, NULL));
        rig_restart_numbering(i);
        static struct walk_unsigned u;
        memset(&u, 0, sizeof u);
        u.node = n->addr;
        u.from = n->receipts_have;
        for (unsigned a = 0; a < WALK_ACCOUNTS; a++) {
            MUST(asy_ledger_tickets_of_account(rig_ledger, rig_account(a), UINT64_MAX, 1500,
                                               walk_find_unsigned, &u));
        }
        for (uint64_t k = 0; k < u.end;
             k++) { /* a place without a receipt was refused: something else stands there */
            if (rig_signing[i].count == ASY_MAX_CHECKPOINT) {
                rig_sign(i);
            }
            if (asy_hash_is_zero(&u.hashes[k])) {
                u.hashes[k].b[0] = 1;
                MUST(asy_ledger_refuse_item(rig_ledger, n, u.from + k, &u.hashes[k]));
            }
            (void)asy_checkpointer_add(&rig_signing[i], &u.hashes[k]);
        }
    }
}

static struct asy_terms walk_take_open(void) {
    uint64_t i = walk_below(walk_open_count);
    struct asy_terms t = walk_open[i];
    walk_open[i] = walk_open[--walk_open_count];
    return t;
}
static void walk_forget_expired(uint64_t before_s) {
    for (uint32_t i = 0; i < walk_open_count;) {
        if (walk_open[i].deadline < before_s) {
            walk_open[i] = walk_open[--walk_open_count];
        } else {
            i++;
        }
    }
}

static void walk_issue(void) {
    struct asy_account *a = rig_account((unsigned)walk_below(WALK_ACCOUNTS));
    struct asy_node_book *n = rig_node((unsigned)walk_below(WALK_NODES));
    struct asy_terms t;
    asy_u128 room = asy_ledger_headroom(a);
    enum asy_err want = a->lane == 0 ? ASY_ERR_STATE : room < WORST ? ASY_ERR_CREDIT : ASY_OK;
    CHECK_ERR(rig_try_issue(&t, a, n), want);
    if (want == ASY_OK) {
        CHECK(asy_ledger_headroom(a) == room - WORST);
        ASY_ASSERT(walk_open_count < WALK_OPEN);
        walk_open[walk_open_count++] = t;
    }
}
static void walk_end_one(void) {
    if (walk_open_count == 0) {
        return;
    }
    struct asy_terms t = walk_take_open();
    unsigned node = walk_node_of(&t);
    struct asy_receipt r = rig_receipt(&t, walk_below(MAX_OUT + 1));
    struct asy_hash prompt = {{1}}, h;
    switch (walk_below(6)) {
    case 0:
        MUST(asy_ledger_void(rig_ledger, &t, ASY_STR("failed")));
        return;
    case 1: /* a receipt that is refused */
        asy_object_hash(&h, ASY_OBJ_RECEIPT, &r);
        MUST(asy_ledger_refuse_item(rig_ledger, rig_node(node), rig_item(node, &r), &h));
        MUST(asy_ledger_void(rig_ledger, &t, ASY_STR("refused")));
        return;
    default: {
        uint64_t item = rig_item(node, &r);
        MUST(asy_ledger_pay(rig_ledger, &t, &r, &prompt, item));
        if (walk_below(8) == 0) { /* sent again */
            MUST(asy_ledger_pay(rig_ledger, &t, &r, &prompt, item));
        }
    }
    }
}
static void walk_chain(void) {
    struct asy_batch b;
    switch (walk_below(4)) {
    case 0: { /* a pull, or what the chain says once more */
        unsigned i = (unsigned)walk_below(WALK_ACCOUNTS);
        (void)rig_funded(i, rig_account(i)->funded + walk_below(2) * walk_below(40 * WORST));
        return;
    }
    case 1: {
        struct asy_node_book *n = rig_node((unsigned)walk_below(WALK_NODES));
        asy_u128 credited = n->credited;
        if (walk_below(4) == 0 &&
            n->posted > credited) { /* seen on chain before the batch is known to be confirmed */
            credited += (asy_u128)walk_below((uint64_t)(n->posted - credited) + 1);
        }
        MUST(asy_ledger_set_link(rig_ledger, n, n->link != 0 ? n->link : (uint32_t)(30 + n->id),
                                 credited));
        return;
    }
    case 2:
        MUST(asy_ledger_build_batch(rig_ledger, &b, asy_ledger_batch_count(rig_ledger),
                                    1 + (uint32_t)walk_below(60), 1 + (uint32_t)walk_below(5),
                                    (uint32_t)walk_below(4), walk_below(2) == 0));
        CHECK(b.entry_count == 0 || b.jobs != 0);
        return;
    default:
        if (asy_ledger_oldest_batch(rig_ledger, &b, ASY_BATCH_CONFIRMED) == ASY_OK) {
            struct asy_hash tx = {{(uint8_t)b.number}};
            enum asy_batch_state to = b.state == ASY_BATCH_CONFIRMED && walk_below(3) == 0
                                          ? ASY_BATCH_SENT /* a re-organisation */
                                          : (enum asy_batch_state)(b.state + 1);
            if (b.state == ASY_BATCH_BUILT) {
                MUST(asy_ledger_set_batch_tx(rig_ledger, b.number, &tx, ASY_STR("raw")));
            } else {
                MUST(asy_ledger_set_batch_state(rig_ledger, b.number, to, 100 + b.number));
            }
        }
    }
}

/* One of the things that happen to a gateway. */
static void walk_step(void) {
    uint64_t count;
    rig_env.wall_ms += walk_below(3000);
    switch (walk_below(10)) {
    case 0:
    case 1:
    case 2:
        walk_issue();
        return;
    case 3:
    case 4:
    case 5:
        walk_end_one();
        return;
    case 6:
    case 7:
        rig_sign((unsigned)walk_below(WALK_NODES));
        return;
    case 8:
        walk_chain();
        return;
    default:
        if (walk_below(10) == 0) { /* a long silence: nodes do not sign, jobs do not end */
            rig_env.wall_ms += walk_below(2) * 700000;
            uint64_t now_s = rig_env.wall_ms / 1000;
            MUST(asy_ledger_expire(rig_ledger, &count, now_s, 30));
            walk_forget_expired(now_s - 30);
        } else if (walk_below(20) == 0) {
            char key[ASY_KEY_TEXT];
            uint64_t id;
            MUST(asy_ledger_issue_key(rig_ledger, key, &id, rig_account(0), ASY_STR("walk")));
        }
    }
}

/* All that the ledger says of itself through its interface, as one number. */
static struct asy_hash walk_digest(void) {
    struct asy_keccak k;
    struct asy_hash h;
    asy_keccak_init(&k);
    for (unsigned i = 0; i < WALK_ACCOUNTS; i++) {
        const struct asy_account *a = rig_account(i);
        struct asy_usage u;
        MUST(asy_ledger_usage(rig_ledger, &u, a, 0));
        uint8_t bytes[160] = {0};
        asy_be64_put(bytes, a->lane);
        asy_be64_put(bytes + 8, a->lane_seq);
        asy_be128_put(bytes + 16, a->funded);
        asy_be128_put(bytes + 32, a->paid);
        asy_be128_put(bytes + 48, a->reserved);
        asy_be128_put(bytes + 64, a->free);
        asy_be64_put(bytes + 80, u.jobs);
        asy_be64_put(bytes + 88, u.in_tokens);
        asy_be64_put(bytes + 96, u.out_tokens);
        asy_be128_put(bytes + 104, u.spent);
        asy_keccak_add(&k, asy_bytes_of(bytes, sizeof bytes));
    }
    for (unsigned i = 0; i < WALK_NODES; i++) {
        const struct asy_node_book *n = rig_node(i);
        uint8_t bytes[160] = {0};
        asy_be64_put(bytes, n->link);
        asy_be64_put(bytes + 8, n->link_seq);
        asy_be64_put(bytes + 16, n->receipt_checkpoint_next);
        asy_be64_put(bytes + 24, n->receipts_have);
        asy_be64_put(bytes + 32, n->closed_below);
        asy_be128_put(bytes + 40, n->owed);
        asy_be128_put(bytes + 56, n->batched);
        asy_be128_put(bytes + 72, n->posted);
        asy_be128_put(bytes + 88, n->credited);
        asy_keccak_add(&k, asy_bytes_of(bytes, sizeof bytes));
    }
    uint8_t bytes[32];
    asy_be64_put(bytes, asy_ledger_unposted(rig_ledger));
    asy_be64_put(bytes + 8, asy_ledger_batch_count(rig_ledger));
    asy_be128_put(bytes + 16, asy_ledger_unposted_pay(rig_ledger));
    asy_keccak_add(&k, asy_bytes_of(bytes, sizeof bytes));
    asy_keccak_final(&k, &h);
    return h;
}

#endif
