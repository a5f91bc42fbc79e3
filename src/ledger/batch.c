/* batch.c: batches, and the check that the books balance. */
#include "ledger/ledger_priv.h"

#include <stdio.h>
#include <stdlib.h>

uint64_t asy_ledger_unposted(const struct asy_ledger *l) { return l->unposted; }
asy_u128 asy_ledger_unposted_pay(const struct asy_ledger *l) {
    asy_u128 sum = 0;
    struct node_slot *node, *next;
    HASH_ITER(by_addr, l->nodes, node, next) {
        sum += node->ready + (node->n.batched - node->n.posted);
    }
    return sum;
}
bool asy_ledger_lane_full(const struct asy_ledger *l) { return l->full_lanes != 0; }
uint64_t asy_ledger_batch_count(const struct asy_ledger *l) { return l->batch_count; }

/* ---- building -------------------------------------------------------------------------------- */

/* Who has waited longest comes first. */
static int by_turn(const void *a, const void *b) {
    const struct account_slot *x = *(struct account_slot *const *)a;
    const struct account_slot *y = *(struct account_slot *const *)b;
    if (x->batched_at != y->batched_at) {
        return x->batched_at < y->batched_at ? -1 : 1;
    }
    return x->a.lane < y->a.lane ? -1 : x->a.lane > y->a.lane;
}

static enum asy_err add_entry(struct asy_ledger *l, const struct asy_entry *e, uint64_t number,
                              uint32_t index) {
    struct asy_stmt *q = l->entry_add;
    asy_stmt_bind_u64(q, 1, e->lane);
    asy_stmt_bind_u64(q, 2, e->first);
    asy_stmt_bind_u64(q, 3, e->count);
    asy_stmt_bind_u64(q, 4, number);
    asy_stmt_bind_u64(q, 5, index);
    asy_stmt_bind_u128(q, 6, e->before);
    asy_stmt_bind_u128(q, 7, e->spent);
    asy_stmt_bind_hash(q, 8, &e->tree);
    return ledger_run(q);
}

/* Credits links whose batched pay is not posted yet, beginning where the last batch with credits
 * left off. */
static enum asy_err add_credits(struct asy_ledger *l, struct asy_batch *b, uint32_t max_credits) {
    uint64_t nodes = l->next_node - 1, from = l->credit_from;
    for (uint64_t i = 0; i < nodes; i++) {
        uint64_t id = 1 + (from + i) % nodes; /* ids are given without gaps */
        struct node_slot *node = ledger_node_by_id(l, id);
        ASY_ASSERT(node != NULL);
        if (node->n.batched == node->n.posted || node->n.link == 0) {
            continue;
        }
        if (b->credit_count == max_credits) {
            break; /* the others come with a later batch */
        }
        struct asy_stmt *q = l->credit_add;
        asy_stmt_bind_u64(q, 1, b->number);
        asy_stmt_bind_u64(q, 2, b->credit_count);
        asy_stmt_bind_u64(q, 3, node->n.id);
        asy_stmt_bind_u64(q, 4, node->n.link);
        asy_stmt_bind_u128(q, 5, node->n.batched);
        ASY_TRY(ledger_run(q));
        b->credited += node->n.batched - node->n.posted;
        node->n.posted = node->n.batched;
        ledger_touch_node(l, node);
        b->credit_count++;
        l->credit_from = id;
    }
    return ASY_OK;
}

/* Walks the leaves of a lane's tree: all of them leave `ready`, the first `count` become batched
 * pay. ret_root: of the first `count`. */
static enum asy_err take_leaves(struct asy_ledger *l, struct account_slot *s, uint32_t count,
                                struct asy_sum_node *ret_root) {
    struct asy_stmt *q = l->ticket_tail;
    struct asy_sum_stream head;
    asy_sum_stream_init(&head);
    enum asy_err err = ASY_OK;
    asy_stmt_bind_u64(q, 1, s->a.lane);
    asy_stmt_bind_u64(q, 2, s->posted_seq);
    for (uint32_t i = 0; i < s->tree.count && err == ASY_OK; i++) {
        bool row;
        struct asy_sum_node leaf;
        struct node_slot *node;
        ASY_TRY(ledger_row(&row, q));
        ASY_ASSERT(row);
        err = ledger_tail_leaf(l, &leaf, &node);
        if (err == ASY_OK && node != NULL) {
            ASY_ASSERT(node->ready >= leaf.sum);
            node->ready -= leaf.sum;
            node->n.batched += i < count ? leaf.sum : 0;
            ledger_touch_node(l, node);
        }
        if (err == ASY_OK && i < count && count < s->tree.count) {
            err = asy_sum_stream_add(&head, &leaf);
        }
    }
    asy_stmt_reset(q);
    ASY_TRY(err);
    return asy_sum_stream_root(count < s->tree.count ? &head : &s->tree, ret_root);
}

/* Moves the first `count` leaves of a lane's tree into the batch as an entry. */
static enum asy_err take_lane(struct asy_ledger *l, struct account_slot *s, uint32_t count,
                              struct asy_batch *b, struct asy_hash *ret_hash) {
    struct asy_sum_node root;
    struct asy_entry e = {
        .lane = s->a.lane, .count = count, .first = s->posted_seq, .before = s->posted};
    ASY_TRY(take_leaves(l, s, count, &root));
    if (!asy_add_u128(&e.spent, e.before, root.sum)) {
        return ASY_ERR_OVERFLOW;
    }
    e.tree = root.hash;
    ASY_TRY(add_entry(l, &e, b->number, b->entry_count));
    asy_entry_hash(ret_hash, &e);
    b->entry_count++;
    b->jobs += count;
    b->debited += root.sum;
    l->unposted -= s->tree.count;
    s->posted_seq += count;
    s->posted = e.spent;
    s->batched_at = b->number + 1;
    asy_sum_stream_init(&s->tree);
    return ledger_grow_tree(l, s); /* what is left, and what did not fit before */
}

enum asy_err asy_ledger_build_batch(struct asy_ledger *l, struct asy_batch *ret_batch,
                                    uint64_t number, uint32_t max_jobs, uint32_t max_entries,
                                    uint32_t max_credits, bool with_credits) {
    ASY_ASSERT(number == l->batch_count && max_entries <= ASY_MAX_BATCH_JOBS);
    struct asy_batch b = {.number = number, .built_ms = asy_env_wall_ms(l->env)};
    unsigned lane_count = 0;
    struct account_slot **lanes =
        asy_alloc(((size_t)HASH_CNT(by_lane, l->lanes) + 1) * sizeof *lanes);
    struct account_slot *s, *next;
    HASH_ITER(by_lane, l->lanes, s, next) {
        if (s->tree.count != 0) {
            lanes[lane_count++] = s;
        }
    }
    qsort(lanes, lane_count, sizeof lanes[0], by_turn);
    struct asy_hash *hashes = asy_alloc((2 * (size_t)max_entries + 16) * sizeof *hashes);
    enum asy_err err = ASY_OK;
    for (unsigned i = 0; i < lane_count && b.entry_count < max_entries && err == ASY_OK; i++) {
        uint32_t count = lanes[i]->tree.count, room = max_jobs - (uint32_t)b.jobs;
        if (count > room && b.jobs == 0) {
            count = room; /* more than any batch takes: cut */
        }
        if (count != 0 && count <= room) { /* else it waits, and comes first the next time */
            err = take_lane(l, lanes[i], count, &b, &hashes[b.entry_count]);
        }
    }
    if (err == ASY_OK && with_credits) {
        err = add_credits(l, &b, max_credits);
    }
    if (err == ASY_OK && b.entry_count != 0) {
        err = asy_batch_tree_build(hashes, b.entry_count);
        b.root = asy_batch_tree_root(hashes, b.entry_count);
    }
    if (err == ASY_OK && (b.entry_count != 0 || b.credit_count != 0)) {
        struct asy_stmt *q = l->batch_add;
        asy_stmt_bind_u64(q, 1, b.number);
        asy_stmt_bind_hash(q, 2, &b.root);
        asy_stmt_bind_u64(q, 3, b.built_ms);
        asy_stmt_bind_u64(q, 4, b.jobs);
        asy_stmt_bind_u64(q, 5, b.entry_count);
        asy_stmt_bind_u64(q, 6, b.credit_count);
        asy_stmt_bind_u128(q, 7, b.debited);
        asy_stmt_bind_u128(q, 8, b.credited);
        err = ledger_run(q);
        l->batch_count++;
    }
    asy_free(hashes);
    asy_free(lanes);
    if (err == ASY_OK) {
        *ret_batch = b;
    }
    return err;
}

/* ---- reading and moving on ------------------------------------------------------------------- */

enum asy_err asy_ledger_get_batch(struct asy_ledger *l, struct asy_batch *ret_batch,
                                  uint64_t number) {
    bool row;
    struct asy_stmt *q = l->batch_get;
    asy_stmt_bind_u64(q, 1, number);
    ASY_TRY(ledger_row(&row, q));
    if (!row) {
        return ASY_ERR_NOT_FOUND;
    }
    struct asy_batch b = {
        .number = asy_stmt_col_u64(q, 0),
        .state = (enum asy_batch_state)asy_stmt_col_u64(q, 1),
        .root = asy_stmt_col_hash(q, 2),
        .built_ms = asy_stmt_col_u64(q, 5),
        .jobs = asy_stmt_col_u64(q, 6),
        .entry_count = (uint32_t)asy_stmt_col_u64(q, 7),
        .credit_count = (uint32_t)asy_stmt_col_u64(q, 8),
        .debited = asy_stmt_col_u128(q, 9),
        .credited = asy_stmt_col_u128(q, 10),
    };
    if (!asy_stmt_col_is_null(q, 3)) {
        b.tx = asy_stmt_col_hash(q, 3);
    }
    if (!asy_stmt_col_is_null(q, 4)) {
        b.block = asy_stmt_col_u64(q, 4);
    }
    ASY_TRY(ledger_end(q));
    *ret_batch = b;
    return ASY_OK;
}

enum asy_err asy_ledger_oldest_batch(struct asy_ledger *l, struct asy_batch *ret_batch,
                                     enum asy_batch_state state) {
    bool row;
    ASY_ASSERT(state < ASY_BATCH_FINAL);
    asy_stmt_bind_u64(l->batch_oldest, 1, (uint64_t)state);
    ASY_TRY(ledger_row(&row, l->batch_oldest));
    if (!row) {
        return ASY_ERR_NOT_FOUND;
    }
    uint64_t number = asy_stmt_col_u64(l->batch_oldest, 0);
    ASY_TRY(ledger_end(l->batch_oldest));
    return asy_ledger_get_batch(l, ret_batch, number);
}

static void read_entry(struct asy_stmt *q, struct asy_entry *ret) {
    *ret = (struct asy_entry){.lane = (uint32_t)asy_stmt_col_u64(q, 0),
                              .first = asy_stmt_col_u64(q, 1),
                              .count = (uint32_t)asy_stmt_col_u64(q, 2),
                              .before = asy_stmt_col_u128(q, 3),
                              .spent = asy_stmt_col_u128(q, 4),
                              .tree = asy_stmt_col_hash(q, 5)};
}

enum asy_err asy_ledger_batch_entries(struct asy_ledger *l, struct asy_arena *arena,
                                      struct asy_entry **ret_entries, uint32_t *ret_count,
                                      uint64_t number) {
    struct asy_batch b;
    ASY_TRY(asy_ledger_get_batch(l, &b, number));
    struct asy_entry *entries = asy_arena_alloc(arena, b.entry_count * sizeof *entries);
    if (entries == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    asy_stmt_bind_u64(l->entry_batch, 1, number);
    for (uint32_t i = 0; i <= b.entry_count; i++) {
        bool row;
        ASY_TRY(ledger_row(&row, l->entry_batch));
        ASY_ASSERT(row == (i < b.entry_count)); /* written in one turn with the batch */
        if (row) {
            read_entry(l->entry_batch, &entries[i]);
        }
    }
    *ret_entries = entries;
    *ret_count = b.entry_count;
    return ASY_OK;
}

enum asy_err asy_ledger_batch_credits(struct asy_ledger *l, struct asy_arena *arena,
                                      struct asy_batch_credit **ret_credits, uint32_t *ret_count,
                                      uint64_t number) {
    struct asy_batch b;
    ASY_TRY(asy_ledger_get_batch(l, &b, number));
    struct asy_batch_credit *credits = asy_arena_alloc(arena, b.credit_count * sizeof *credits);
    if (credits == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    asy_stmt_bind_u64(l->credit_batch, 1, number);
    for (uint32_t i = 0; i <= b.credit_count; i++) {
        bool row;
        ASY_TRY(ledger_row(&row, l->credit_batch));
        ASY_ASSERT(row == (i < b.credit_count)); /* written in one turn with the batch */
        if (row) {
            credits[i] =
                (struct asy_batch_credit){.node_id = asy_stmt_col_u64(l->credit_batch, 0),
                                          .link = (uint32_t)asy_stmt_col_u64(l->credit_batch, 1),
                                          .cum = asy_stmt_col_u128(l->credit_batch, 2)};
        }
    }
    *ret_credits = credits;
    *ret_count = b.credit_count;
    return ASY_OK;
}

enum asy_err asy_ledger_set_batch_tx(struct asy_ledger *l, uint64_t number,
                                     const struct asy_hash *tx, struct asy_bytes raw) {
    asy_stmt_bind_u64(l->batch_tx, 1, number);
    asy_stmt_bind_hash(l->batch_tx, 2, tx);
    asy_stmt_bind_bytes(l->batch_tx, 3, raw);
    ASY_TRY(ledger_run(l->batch_tx));
    return asy_store_changes(l->store) == 1 ? ASY_OK : ASY_ERR_NOT_FOUND;
}

enum asy_err asy_ledger_batch_raw(struct asy_ledger *l, struct asy_buf *ret_raw, uint64_t number) {
    bool row;
    asy_stmt_bind_u64(l->batch_raw, 1, number);
    ASY_TRY(ledger_row(&row, l->batch_raw));
    if (!row) {
        return ASY_ERR_NOT_FOUND;
    }
    enum asy_err err = ASY_ERR_NOT_FOUND;
    if (!asy_stmt_col_is_null(l->batch_raw, 0)) {
        err = asy_buf_add_bytes(ret_raw, asy_stmt_col_bytes(l->batch_raw, 0));
    }
    enum asy_err end = ledger_end(l->batch_raw);
    return err != ASY_OK ? err : end;
}

/* The first confirmation: what the batch credits has now moved from the gateway's debt to the
 * chain. A re-organisation changes that for minutes only, since the same bytes are sent again, so
 * the journal keeps it. */
static enum asy_err journal_credits(struct asy_ledger *l, uint64_t number) {
    struct asy_arena arena;
    asy_arena_init(&arena, 1u << 20);
    struct asy_batch_credit *credits;
    uint32_t count = 0;
    enum asy_err err = asy_ledger_batch_credits(l, &arena, &credits, &count, number);
    for (uint32_t i = 0; i < count && err == ASY_OK; i++) {
        struct node_slot *node = ledger_node_by_id(l, credits[i].node_id);
        ASY_ASSERT(node != NULL);
        if (credits[i].cum > node->n.credited) { /* else the chain was looked at before */
            err = ledger_set_credited(l, node, credits[i].cum, number);
        }
    }
    asy_arena_done(&arena);
    return err;
}

enum asy_err asy_ledger_set_batch_state(struct asy_ledger *l, uint64_t number,
                                        enum asy_batch_state state, uint64_t block) {
    struct asy_batch b;
    ASY_TRY(asy_ledger_get_batch(l, &b, number));
    if (state >= ASY_BATCH_CONFIRMED && b.state < ASY_BATCH_CONFIRMED) {
        ASY_TRY(journal_credits(l, number));
    }
    asy_stmt_bind_u64(l->batch_state, 1, number);
    asy_stmt_bind_u64(l->batch_state, 2, (uint64_t)state);
    asy_stmt_bind_u64(l->batch_state, 3, block);
    return ledger_run(l->batch_state);
}

enum asy_err asy_ledger_find_entry(struct asy_ledger *l, uint64_t *ret_number, uint32_t *ret_index,
                                   struct asy_entry *ret_entry, uint32_t lane, uint64_t lane_seq) {
    bool row;
    asy_stmt_bind_u64(l->entry_at, 1, lane);
    asy_stmt_bind_u64(l->entry_at, 2, lane_seq);
    ASY_TRY(ledger_row(&row, l->entry_at));
    if (!row) {
        return ASY_ERR_NOT_FOUND;
    }
    struct asy_entry e;
    read_entry(l->entry_at, &e);
    uint64_t number = asy_stmt_col_u64(l->entry_at, 6);
    uint32_t index = (uint32_t)asy_stmt_col_u64(l->entry_at, 7);
    ASY_TRY(ledger_end(l->entry_at));
    if (lane_seq >= e.first + e.count) {
        return ASY_ERR_NOT_FOUND;
    }
    *ret_entry = e;
    *ret_number = number;
    *ret_index = index;
    return ASY_OK;
}

/* ---- the check ------------------------------------------------------------------------------- */

static enum asy_err differ(struct asy_why *why, const char *what, uint64_t id, asy_u128 a,
                           asy_u128 b) {
    char x[ASY_U128_TEXT], y[ASY_U128_TEXT];
    (void)asy_u128_format(x, a);
    (void)asy_u128_format(y, b);
    return asy_why_set(why, ASY_ERR_STORE, NULL, "%s %llu: %s against %s", what,
                       (unsigned long long)id, x, y);
}

/* What the journal says of one account ("lane:7"), and what the tickets say of one node. */
struct tally {
    char name[48];
    asy_u128 in, out;
    UT_hash_handle hh;
};
struct checker {
    struct asy_ledger *l;
    struct asy_why *why;
    struct tally *tallies;
};

static struct tally *tally_of(struct checker *c, struct asy_bytes name) {
    struct tally *t;
    HASH_FIND(hh, c->tallies, name.p, name.n, t);
    if (t == NULL) {
        t = asy_alloc(sizeof *t);
        ASY_ASSERT(name.n < sizeof t->name); /* ledger_journal made it */
        memcpy(t->name, name.p, name.n);
        HASH_ADD(hh, c->tallies, name, (unsigned)name.n, t);
    }
    return t;
}
static const struct tally *tally_named(struct checker *c, const char *kind, uint64_t id) {
    char name[48];
    (void)snprintf(name, sizeof name, "%s:%llu", kind, (unsigned long long)id);
    return tally_of(c, asy_bytes_cstr(name));
}

static enum asy_err read_journal(struct checker *c) {
    struct asy_stmt *q = c->l->journal_all;
    for (;;) {
        bool row;
        ASY_TRY(ledger_row(&row, q));
        if (!row) {
            return ASY_OK;
        }
        asy_u128 amount = asy_stmt_col_u128(q, 3);
        tally_of(c, asy_stmt_col_text(q, 1))->out += amount;
        tally_of(c, asy_stmt_col_text(q, 2))->in += amount;
    }
}

struct totals {
    asy_u128 paid, worst;
    uint64_t next, open;
    bool gap;
};
static void add_ticket(void *arg, const struct asy_ticket *t) {
    struct totals *sum = arg;
    asy_u128 worst = 0;
    sum->gap |= t->terms.lane_seq != sum->next;
    sum->next = t->terms.lane_seq + 1;
    sum->paid += t->state == ASY_TICKET_PAID ? t->receipt.amount : 0;
    if (t->state == ASY_TICKET_OPEN) {
        sum->open++;
        sum->gap |= asy_job_worst_cost(&worst, &t->terms) != ASY_OK;
        sum->worst += worst;
    }
}

static enum asy_err check_lane(struct checker *c, const struct account_slot *s) {
    enum { STRIDE = 4096 };
    struct totals sum = {0};
    for (uint64_t first = 0; first < s->a.lane_seq; first += STRIDE) {
        ASY_TRY(asy_ledger_entry_tickets(c->l, s->a.lane, first, STRIDE, add_ticket, &sum));
    }
    if (sum.gap || sum.next != s->a.lane_seq || sum.open != s->open_count) {
        return asy_why_set(c->why, ASY_ERR_STORE, NULL, "lane %u has a gap in its tickets",
                           s->a.lane);
    }
    if (sum.paid != s->a.paid) {
        return differ(c->why, "receipts of lane", s->a.lane, sum.paid, s->a.paid);
    }
    if (sum.worst != s->a.reserved) {
        return differ(c->why, "reservations of lane", s->a.lane, sum.worst, s->a.reserved);
    }
    if (sum.paid + sum.worst > s->a.funded) {
        return differ(c->why, "more promised than funded in lane", s->a.lane, sum.paid + sum.worst,
                      s->a.funded);
    }
    const struct tally *t = tally_named(c, "lane", s->a.lane);
    if (t->in < t->out || t->in - t->out != s->a.funded - s->a.paid) {
        return differ(c->why, "journal of lane", s->a.lane, t->in - t->out,
                      s->a.funded - s->a.paid);
    }
    return ASY_OK;
}

static enum asy_err check_node(struct checker *c, const struct node_slot *n) {
    asy_u128 paid = 0, items = 0;
    uint64_t next = 0, closed_below = UINT64_MAX;
    bool row;
    struct asy_stmt *q = c->l->ticket_node;
    asy_stmt_bind_u64(q, 1, n->n.id);
    for (;;) {
        ASY_TRY(ledger_row(&row, q));
        if (!row) {
            break;
        }
        uint64_t seq = asy_stmt_col_u64(q, 0), state = asy_stmt_col_u64(q, 1);
        paid += state == ASY_TICKET_PAID ? asy_stmt_col_u128(q, 2) : 0;
        closed_below = state == ASY_TICKET_OPEN && seq < closed_below ? seq : closed_below;
        if (seq != next++) {
            asy_stmt_reset(q);
            return differ(c->why, "a gap in the tickets of node", n->n.id, seq, next - 1);
        }
    }
    closed_below = closed_below == UINT64_MAX ? next : closed_below;
    if (next != n->n.link_seq || closed_below != n->n.closed_below) {
        return differ(c->why, "closed tickets of node", n->n.id, closed_below, n->n.closed_below);
    }
    q = c->l->item_amounts;
    asy_stmt_bind_u64(q, 1, n->n.id);
    asy_stmt_bind_u64(q, 2, 0);
    asy_stmt_bind_u64(q, 3, INT64_MAX);
    for (;;) {
        ASY_TRY(ledger_row(&row, q));
        if (!row) {
            break;
        }
        items += asy_stmt_col_u128(q, 1);
    }
    if (items != n->n.owed + n->unsigned_pay) {
        return differ(c->why, "receipt items of node", n->n.id, items, n->n.owed + n->unsigned_pay);
    }
    if (items > paid) { /* less: a receipt whose place the node gave to another waits for its end */
        return differ(c->why, "more owed than paid to node", n->n.id, items, paid);
    }
    const struct tally *t = tally_named(c, "owed", n->n.id),
                       *credited = tally_named(c, "credited", n->n.id);
    if (credited->in - credited->out != n->n.credited) {
        return differ(c->why, "journal of what is credited to node", n->n.id,
                      credited->in - credited->out, n->n.credited);
    }
    if (t->in + n->n.credited != t->out + paid) {
        return differ(c->why, "journal of what is owed to node", n->n.id, t->in - t->out, paid);
    }
    return ASY_OK;
}

/* One entry's tickets, against what was posted of them. */
struct entry_check {
    struct checker *c;
    struct totals sum;
    struct asy_sum_stream tree;
    enum asy_err err;
};
static void add_leaf(void *arg, const struct asy_ticket *t) {
    struct entry_check *e = arg;
    struct asy_sum_node leaf;
    struct asy_hash hash = {{0}};
    asy_u128 amount = 0;
    add_ticket(&e->sum, t);
    if (t->has_receipt) {
        asy_object_hash(&hash, ASY_OBJ_RECEIPT, &t->receipt);
        amount = t->receipt.amount;
        const struct node_slot *node = ledger_node_of(e->c->l, &t->terms.node);
        char name[48];
        (void)snprintf(name, sizeof name, "batched:%llu",
                       node != NULL ? (unsigned long long)node->n.id : 0);
        tally_of(e->c, asy_bytes_cstr(name))->in += amount;
    }
    e->err = e->err == ASY_OK ? asy_sum_leaf(&leaf, t->terms.lane_seq, amount, &hash) : e->err;
    e->err = e->err == ASY_OK ? asy_sum_stream_add(&e->tree, &leaf) : e->err;
}

static enum asy_err check_entry(struct checker *c, uint64_t number, const struct asy_entry *e) {
    struct entry_check check = {.c = c, .sum = {.next = e->first}};
    struct asy_sum_node root;
    asy_sum_stream_init(&check.tree);
    ASY_TRY(asy_ledger_entry_tickets(c->l, e->lane, e->first, e->count, add_leaf, &check));
    ASY_TRY(check.err);
    ASY_TRY(asy_sum_stream_root(&check.tree, &root));
    if (check.sum.gap || check.sum.open != 0 || check.sum.paid != e->spent - e->before) {
        return differ(c->why, "entry of batch", number, check.sum.paid, e->spent - e->before);
    }
    if (check.tree.count != e->count || !asy_hash_eq(&root.hash, &e->tree)) {
        return differ(c->why, "tree of an entry of batch", number, check.tree.count, e->count);
    }
    char name[48]; /* lane by lane the totals go on where the last entry ended */
    (void)snprintf(name, sizeof name, "posted:%u", e->lane);
    struct tally *t = tally_of(c, asy_bytes_cstr(name));
    if (t->in != e->before || t->out != e->first) {
        return differ(c->why, "an entry does not follow the one before it, batch", number, t->in,
                      e->before);
    }
    t->in = e->spent;
    t->out = e->first + e->count;
    return ASY_OK;
}

static enum asy_err check_batch(struct checker *c, uint64_t number, struct asy_arena *arena) {
    struct asy_ledger *l = c->l;
    struct asy_entry *entries;
    struct asy_batch_credit *credits;
    struct asy_batch b;
    uint32_t count, credit_count;
    asy_u128 sum = 0;
    asy_arena_reset(arena);
    ASY_TRY(asy_ledger_get_batch(l, &b, number));
    ASY_TRY(asy_ledger_batch_entries(l, arena, &entries, &count, number));
    ASY_TRY(asy_ledger_batch_credits(l, arena, &credits, &credit_count, number));
    struct asy_hash *hashes = asy_arena_alloc(arena, (2 * (size_t)count + 16) * sizeof *hashes);
    if (hashes == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    for (uint32_t i = 0; i < count; i++) {
        ASY_TRY(check_entry(c, number, &entries[i]));
        sum += entries[i].spent - entries[i].before;
        asy_entry_hash(&hashes[i], &entries[i]);
    }
    if (sum != b.debited) {
        return differ(c->why, "debits of batch", number, sum, b.debited);
    }
    struct asy_hash root = {{0}};
    if (count != 0) {
        ASY_TRY(asy_batch_tree_build(hashes, count));
        root = asy_batch_tree_root(hashes, count);
    }
    if (!asy_hash_eq(&root, &b.root)) {
        return asy_why_set(c->why, ASY_ERR_STORE, NULL, "the root of batch %llu is another",
                           (unsigned long long)number);
    }
    sum = 0;
    for (uint32_t i = 0; i < credit_count; i++) {
        char name[48];
        (void)snprintf(name, sizeof name, "cum:%llu", (unsigned long long)credits[i].node_id);
        struct tally *t = tally_of(c, asy_bytes_cstr(name));
        const struct tally *batched = tally_named(c, "batched", credits[i].node_id);
        if (credits[i].cum <= t->in || credits[i].cum > batched->in) {
            return differ(c->why, "a credit of batch", number, credits[i].cum, batched->in);
        }
        sum += credits[i].cum - t->in;
        t->in = credits[i].cum;
    }
    return sum == b.credited ? ASY_OK : differ(c->why, "credits of batch", number, sum, b.credited);
}

/* What memory says of batches, once all of them were read. */
static enum asy_err check_ends(struct checker *c) {
    struct asy_ledger *l = c->l;
    struct account_slot *s, *next_lane;
    struct node_slot *n, *next_node;
    uint64_t unposted = 0;
    HASH_ITER(by_lane, l->lanes, s, next_lane) {
        const struct tally *t = tally_named(c, "posted", s->a.lane);
        unposted += s->tree.count;
        if (t->in != s->posted || t->out != s->posted_seq) {
            return differ(c->why, "posted total of lane", s->a.lane, t->in, s->posted);
        }
    }
    if (unposted != l->unposted) {
        return differ(c->why, "tickets in line", 0, unposted, l->unposted);
    }
    HASH_ITER(by_addr, l->nodes, n, next_node) {
        const struct tally *batched = tally_named(c, "batched", n->n.id),
                           *cum = tally_named(c, "cum", n->n.id);
        if (batched->in != n->n.batched || cum->in != n->n.posted) {
            return differ(c->why, "batched or posted total of node", n->n.id, batched->in,
                          n->n.batched);
        }
        if (n->n.batched + n->ready > n->n.owed) {
            return differ(c->why, "more settled than signed by node", n->n.id,
                          n->n.batched + n->ready, n->n.owed);
        }
    }
    return ASY_OK;
}

enum asy_err asy_ledger_check(struct asy_ledger *l, struct asy_why *reterr_why) {
    struct checker c = {l, reterr_why, NULL};
    struct account_slot *s, *next_lane;
    struct node_slot *n, *next_node;
    struct asy_arena arena;
    asy_arena_init(&arena, 8u << 20);
    enum asy_err err = read_journal(&c);
    HASH_ITER(by_lane, l->lanes, s, next_lane) { err = err == ASY_OK ? check_lane(&c, s) : err; }
    HASH_ITER(by_addr, l->nodes, n, next_node) { err = err == ASY_OK ? check_node(&c, n) : err; }
    for (uint64_t number = 0; number < l->batch_count && err == ASY_OK; number++) {
        err = check_batch(&c, number, &arena);
    }
    err = err == ASY_OK ? check_ends(&c) : err;
    asy_arena_done(&arena);
    struct tally *t, *next_tally;
    HASH_ITER(hh, c.tallies, t, next_tally) {
        HASH_DEL(c.tallies, t);
        asy_free(t);
    }
    return err;
}
