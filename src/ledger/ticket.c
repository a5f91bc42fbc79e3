/* ticket.c: tickets, receipts, checkpoints, usage, audit records. */
#include "ledger/ledger_priv.h"

enum { DAY_MS = 24 * 3600 * 1000 };

enum asy_err asy_ledger_issue(struct asy_ledger *l, struct asy_account *account,
                              struct asy_node_book *node, struct asy_terms *terms,
                              const struct asy_ticket_note *note, struct asy_why *reterr_why) {
    struct account_slot *s = (struct account_slot *)account;
    if (account->lane == 0 || !account->cap_open) {
        return asy_why_set(reterr_why, ASY_ERR_STATE, NULL,
                           "this account has no open lane yet: register a spending cap first");
    }
    /* late batches revert, so the last ticket must be settled before the lane closes */
    if (account->closes_at != 0 && terms->deadline + ASY_LEDGER_CLOSE_LAG_S > account->closes_at) {
        return asy_why_set(reterr_why, ASY_ERR_STATE, NULL, "this account's lane is closing");
    }
    if (terms->issued_at > account->cap.deadline) {
        return asy_why_set(reterr_why, ASY_ERR_STATE, NULL,
                           "this account's spending cap has ended");
    }
    ASY_ASSERT(asy_addr_eq(&terms->requester, &account->addr) &&
               asy_addr_eq(&terms->node, &node->addr));
    terms->cap = account->cap_hash;
    terms->lane_seq = account->lane_seq;
    terms->link_seq = node->link_seq;
    ASY_TRY(asy_terms_check(terms, &account->cap, reterr_why));
    asy_u128 worst, reserved;
    ASY_TRY(asy_job_worst_cost(&worst, terms));
    if (!asy_add_u128(&reserved, account->reserved, worst) ||
        worst > asy_ledger_headroom(account)) {
        return asy_why_set(reterr_why, ASY_ERR_CREDIT, NULL,
                           "the request could cost more than what is left in this account's lane");
    }
    uint8_t body[ASY_TERMS_LEN];
    asy_object_encode(body, ASY_OBJ_TERMS, terms);
    struct asy_stmt *q = l->ticket_add;
    asy_stmt_bind_u64(q, 1, account->lane);
    asy_stmt_bind_u64(q, 2, terms->lane_seq);
    asy_stmt_bind_u64(q, 3, node->id);
    asy_stmt_bind_u64(q, 4, terms->link_seq);
    asy_stmt_bind_hash(q, 5, &terms->job_id);
    asy_stmt_bind_u64(q, 6, terms->segment);
    asy_stmt_bind_u64(q, 7, terms->deadline);
    asy_stmt_bind_u64(q, 8, asy_env_wall_ms(l->env));
    asy_stmt_bind_bytes(q, 9, asy_bytes_of(body, sizeof body));
    asy_stmt_bind_text(q, 10, note->model);
    asy_stmt_bind_text(q, 11, note->request_id);
    ASY_TRY(ledger_run(q));
    account->reserved = reserved;
    account->lane_seq++;
    node->link_seq++;
    s->open_count++;
    return ASY_OK;
}

/* ---- closing --------------------------------------------------------------------------------- */

enum asy_err ledger_tail_leaf(struct asy_ledger *l, struct asy_sum_node *ret_leaf,
                              struct node_slot **ret_node) {
    struct asy_stmt *q = l->ticket_tail;
    asy_u128 amount = 0;
    struct asy_hash hash = {{0}};
    struct node_slot *node = NULL;
    if (asy_stmt_col_u64(q, 1) == ASY_TICKET_PAID) {
        struct asy_receipt receipt;
        enum asy_err err = asy_object_decode(&receipt, ASY_OBJ_RECEIPT, asy_stmt_col_bytes(q, 5));
        node = ledger_node_by_id(l, asy_stmt_col_u64(q, 4));
        ASY_ASSERT(err == ASY_OK && node != NULL); /* only this program writes the file */
        asy_object_hash(&hash, ASY_OBJ_RECEIPT, &receipt);
        amount = receipt.amount;
    }
    *ret_node = node;
    return asy_sum_leaf(ret_leaf, asy_stmt_col_u64(q, 0), amount, &hash);
}

/* Does the node's own signature cover this receipt, at the place where we wrote it down? */
static enum asy_err is_signed(struct asy_ledger *l, const struct node_slot *node, uint64_t item,
                              struct asy_bytes receipt, bool *ret_signed) {
    *ret_signed = false;
    if (item >= node->n.receipts_have) {
        return ASY_OK;
    }
    bool row;
    asy_stmt_bind_u64(l->item_get, 1, node->n.id);
    asy_stmt_bind_u64(l->item_get, 2, item);
    ASY_TRY(ledger_row(&row, l->item_get));
    if (!row) {
        return ASY_OK;
    }
    struct asy_hash signed_hash = asy_stmt_col_hash(l->item_get, 0), hash;
    ASY_TRY(ledger_end(l->item_get));
    struct asy_receipt r;
    enum asy_err err = asy_object_decode(&r, ASY_OBJ_RECEIPT, receipt);
    ASY_ASSERT(err == ASY_OK); /* only this program writes the file */
    asy_object_hash(&hash, ASY_OBJ_RECEIPT, &r);
    *ret_signed = asy_hash_eq(&hash, &signed_hash);
    return ASY_OK;
}

void ledger_stop_waiting(struct account_slot *s) {
    if (s->waits_for == NULL) {
        return;
    }
    struct account_slot **at = &s->waits_for->waiting;
    while (*at != s) {
        at = &(*at)->next_waiting;
    }
    *at = s->next_waiting;
    s->waits_for = NULL;
    s->next_waiting = NULL;
}

static void wait_for(struct account_slot *s, struct node_slot *node, uint64_t deadline) {
    ledger_stop_waiting(s);
    s->waits_for = node;
    s->waits_until = deadline;
    s->next_waiting = node->waiting;
    node->waiting = s;
}

/* One ticket at ticket_tail's row. Adds it, or says that the tree ends before it. */
static enum asy_err grow_by_one(struct asy_ledger *l, struct account_slot *s, bool *ret_grown) {
    struct asy_stmt *q = l->ticket_tail;
    *ret_grown = false;
    uint64_t state = asy_stmt_col_u64(q, 1);
    if (state == ASY_TICKET_OPEN) {
        return ASY_OK;
    }
    ASY_ASSERT(asy_stmt_col_u64(q, 0) == s->posted_seq + s->tree.count);
    struct asy_sum_node leaf;
    struct node_slot *node;
    ASY_TRY(ledger_tail_leaf(l, &leaf, &node));
    if (node != NULL) {
        bool is;
        ASY_TRY(is_signed(l, node, asy_stmt_col_u64(q, 6), asy_stmt_col_bytes(q, 5), &is));
        if (!is) { /* a debit that could not be justified, if it were posted now */
            struct asy_terms terms;
            enum asy_err err = asy_object_decode(&terms, ASY_OBJ_TERMS, asy_stmt_col_bytes(q, 3));
            ASY_ASSERT(err == ASY_OK); /* only this program writes the file */
            wait_for(s, node, terms.deadline);
            return ASY_OK;
        }
    }
    ASY_TRY(asy_sum_stream_add(&s->tree, &leaf));
    if (node != NULL) {
        node->ready += leaf.sum;
    }
    l->unposted++;
    *ret_grown = true;
    return ASY_OK;
}

enum asy_err ledger_grow_tree(struct asy_ledger *l, struct account_slot *s) {
    struct asy_stmt *q = l->ticket_tail;
    enum asy_err err = ASY_OK;
    bool grown = true, row = false;
    asy_stmt_bind_u64(q, 1, s->a.lane);
    asy_stmt_bind_u64(q, 2, s->posted_seq + s->tree.count);
    while (err == ASY_OK && grown && s->tree.count < ASY_MAX_ENTRY_LEAVES) {
        err = ledger_row(&row, q);
        if (err != ASY_OK || !row) {
            break;
        }
        err = grow_by_one(l, s, &grown);
    }
    asy_stmt_reset(q);
    ledger_count_full(l, s);
    return err;
}

void ledger_count_full(struct asy_ledger *l, struct account_slot *s) {
    bool full = s->tree.count == ASY_MAX_ENTRY_LEAVES;
    l->full_lanes += full && !s->full;
    l->full_lanes -= !full && s->full;
    s->full = full;
}

/* A ticket that is in the file. */
struct found {
    struct account_slot *account;
    struct node_slot *node;
    uint32_t lane;
    bool current; /* its lane is still the account's */
    enum asy_ticket_state state;
    bool same;     /* paid, and by the receipt in question */
    uint64_t item; /* of its receipt, when paid */
};

/* Finds the ticket by its place on the link and compares it with the terms. errors: NOT_FOUND no
 * such ticket, or with other terms */
static enum asy_err look(struct asy_ledger *l, struct found *ret, const struct asy_terms *terms,
                         struct asy_bytes receipt) {
    struct found f = {.node = ledger_node_of(l, &terms->node)};
    HASH_FIND(by_addr, l->accounts, &terms->requester, sizeof terms->requester, f.account);
    if (f.account == NULL || f.node == NULL || terms->link_seq > INT64_MAX) {
        return ASY_ERR_NOT_FOUND;
    }
    bool row;
    struct asy_stmt *q = l->ticket_find;
    asy_stmt_bind_u64(q, 1, f.node->n.id);
    asy_stmt_bind_u64(q, 2, terms->link_seq);
    ASY_TRY(ledger_row(&row, q));
    if (!row) {
        return ASY_ERR_NOT_FOUND;
    }
    uint8_t body[ASY_TERMS_LEN];
    asy_object_encode(body, ASY_OBJ_TERMS, terms);
    bool is_it = asy_bytes_eq(asy_stmt_col_bytes(q, 4), asy_bytes_of(body, sizeof body));
    f.lane = (uint32_t)asy_stmt_col_u64(q, 0);
    f.current = f.lane == f.account->a.lane;
    f.state = (enum asy_ticket_state)asy_stmt_col_u64(q, 1);
    if (f.state == ASY_TICKET_PAID) {
        f.same = asy_bytes_eq(asy_stmt_col_bytes(q, 2), receipt);
        f.item = asy_stmt_col_u64(q, 3);
    }
    ASY_TRY(ledger_end(q));
    *ret = f;
    return is_it ? ASY_OK : ASY_ERR_NOT_FOUND;
}

/* After a ticket was closed: releases its reservation and moves the marks below which all is
 * closed. */
static enum asy_err close_ticket(struct asy_ledger *l, const struct found *f,
                                 const struct asy_terms *terms) {
    struct account_slot *s = f->account;
    if (f->current) {
        asy_u128 worst;
        ASY_TRY(asy_job_worst_cost(&worst, terms));
        ASY_ASSERT(s->a.reserved >= worst && s->open_count > 0);
        s->a.reserved -= worst;
        s->open_count--;
        if (terms->lane_seq == s->posted_seq + s->tree.count) {
            ASY_TRY(ledger_grow_tree(l, s));
        }
    }
    struct node_slot *node = f->node;
    if (terms->link_seq == node->n.closed_below) {
        bool row;
        uint64_t first_open = node->n.link_seq;
        asy_stmt_bind_u64(l->node_open, 1, node->n.id);
        ASY_TRY(ledger_row(&row, l->node_open));
        if (row) {
            first_open = asy_stmt_col_u64(l->node_open, 0);
            ASY_TRY(ledger_end(l->node_open));
        }
        node->n.closed_below = first_open;
        ledger_touch_node(l, node);
    }
    return ASY_OK;
}

/* ---- usage ----------------------------------------------------------------------------------- */

/* Counts a receipt in the day of `at_ms`, or takes it out again. */
static enum asy_err count_usage(struct asy_ledger *l, struct account_slot *s, uint64_t at_ms,
                                const struct asy_receipt *receipt, bool take_out) {
    uint64_t day = at_ms / DAY_MS;
    if (day != s->usage_day || s->usage.jobs == 0) { /* the day's row may be there from before */
        bool row;
        s->usage = (struct asy_usage){0};
        s->usage_day = day;
        asy_stmt_bind_addr(l->usage_day, 1, &s->a.addr);
        asy_stmt_bind_u64(l->usage_day, 2, day);
        ASY_TRY(ledger_row(&row, l->usage_day));
        if (row) {
            s->usage.jobs = asy_stmt_col_u64(l->usage_day, 0);
            s->usage.in_tokens = asy_stmt_col_u64(l->usage_day, 1);
            s->usage.out_tokens = asy_stmt_col_u64(l->usage_day, 2);
            s->usage.spent = asy_stmt_col_u128(l->usage_day, 3);
            ASY_TRY(ledger_end(l->usage_day));
        }
    }
    if (take_out) {
        ASY_ASSERT(s->usage.jobs > 0 && s->usage.spent >= receipt->amount);
        s->usage.jobs--;
        s->usage.in_tokens -= receipt->in_tokens;
        s->usage.out_tokens -= receipt->out_tokens;
        s->usage.spent -= receipt->amount;
    } else {
        s->usage.jobs++;
        s->usage.in_tokens += receipt->in_tokens;
        s->usage.out_tokens += receipt->out_tokens;
        s->usage.spent += receipt->amount;
    }
    struct asy_stmt *q = l->usage_add;
    asy_stmt_bind_addr(q, 1, &s->a.addr);
    asy_stmt_bind_u64(q, 2, day);
    asy_stmt_bind_u64(q, 3, s->usage.jobs);
    asy_stmt_bind_u64(q, 4, s->usage.in_tokens);
    asy_stmt_bind_u64(q, 5, s->usage.out_tokens);
    asy_stmt_bind_u128(q, 6, s->usage.spent);
    return ledger_run(q);
}

/* ---- receipt items --------------------------------------------------------------------------- */

/* Writes down what stands at a place of the node's numbering. Until it is signed, the node may put
 * another receipt there: the last counts. */
static enum asy_err put_item(struct asy_ledger *l, struct node_slot *node, uint64_t item,
                             const struct asy_hash *hash, asy_u128 amount) {
    asy_u128 before = 0;
    if (item < node->item_next) {
        bool row;
        asy_stmt_bind_u64(l->item_get, 1, node->n.id);
        asy_stmt_bind_u64(l->item_get, 2, item);
        ASY_TRY(ledger_row(&row, l->item_get));
        if (row) {
            before = asy_stmt_col_u128(l->item_get, 1);
            ASY_TRY(ledger_end(l->item_get));
        }
    }
    asy_stmt_bind_u64(l->item_put, 1, node->n.id);
    asy_stmt_bind_u64(l->item_put, 2, item);
    asy_stmt_bind_hash(l->item_put, 3, hash);
    asy_stmt_bind_u128(l->item_put, 4, amount);
    ASY_TRY(ledger_run(l->item_put));
    node->unsigned_pay = node->unsigned_pay - before + amount;
    node->item_next = item >= node->item_next ? item + 1 : node->item_next;
    return ASY_OK;
}

enum asy_err asy_ledger_pay(struct asy_ledger *l, const struct asy_terms *terms,
                            const struct asy_receipt *receipt, const struct asy_hash *prompt_digest,
                            uint64_t item) {
    struct found f;
    uint8_t body[ASY_RECEIPT_LEN];
    struct asy_hash hash;
    asy_object_encode(body, ASY_OBJ_RECEIPT, receipt);
    asy_object_hash(&hash, ASY_OBJ_RECEIPT, receipt);
    ASY_TRY(look(l, &f, terms, asy_bytes_of(body, sizeof body)));
    ASY_ASSERT(item >= f.node->n.receipts_have); /* the link takes no others */
    if (f.state != ASY_TICKET_OPEN) {
        if (!f.same) {
            return ASY_ERR_STATE;
        }
        if (item != f.item) { /* pays nothing, but has its place */
            return put_item(l, f.node, item, &hash, 0);
        }
        return put_item(l, f.node, item, &hash, receipt->amount);
    }
    asy_u128 worst;
    ASY_TRY(asy_job_worst_cost(&worst, terms));
    if (receipt->amount > worst) {
        return ASY_ERR_RANGE;
    }
    struct account_slot *s = f.account;
    uint64_t now_ms = asy_env_wall_ms(l->env);
    ASY_TRY(put_item(l, f.node, item, &hash, receipt->amount));
    struct asy_stmt *q = l->ticket_pay;
    asy_stmt_bind_u64(q, 1, f.lane);
    asy_stmt_bind_u64(q, 2, terms->lane_seq);
    asy_stmt_bind_bytes(q, 3, asy_bytes_of(body, sizeof body));
    asy_stmt_bind_u128(q, 4, receipt->amount);
    asy_stmt_bind_u64(q, 5, item);
    asy_stmt_bind_hash(q, 6, prompt_digest);
    asy_stmt_bind_u64(q, 7, now_ms);
    ASY_TRY(ledger_run(q));
    ASY_TRY(ledger_journal(l, "job", "lane", f.lane, "owed", f.node->n.id, receipt->amount, f.lane,
                           terms->lane_seq));
    ASY_TRY(count_usage(l, s, now_ms, receipt, false));
    if (f.current) {
        s->a.paid += receipt->amount; /* at most what was reserved, which fitted */
    }
    return close_ticket(l, &f, terms);
}

enum asy_err asy_ledger_void(struct asy_ledger *l, const struct asy_terms *terms,
                             struct asy_bytes error) {
    struct found f;
    ASY_TRY(look(l, &f, terms, (struct asy_bytes){0}));
    if (f.state != ASY_TICKET_OPEN) {
        return ASY_OK;
    }
    asy_stmt_bind_u64(l->ticket_void, 1, f.lane);
    asy_stmt_bind_u64(l->ticket_void, 2, terms->lane_seq);
    asy_stmt_bind_text(l->ticket_void, 3, error);
    asy_stmt_bind_u64(l->ticket_void, 4, asy_env_wall_ms(l->env));
    ASY_TRY(ledger_run(l->ticket_void));
    return close_ticket(l, &f, terms);
}

enum asy_err asy_ledger_refuse_item(struct asy_ledger *l, struct asy_node_book *node, uint64_t item,
                                    const struct asy_hash *receipt_hash) {
    ASY_ASSERT(item >= node->receipts_have); /* the link takes no others */
    return put_item(l, (struct node_slot *)node, item, receipt_hash, 0);
}

/* ---- what has run out ------------------------------------------------------------------------ */

/* Takes back the pay of the ticket behind the lane's tree, whose node never signed the receipt: it
 * becomes a zero leaf. */
static enum asy_err unpay(struct asy_ledger *l, struct account_slot *s) {
    struct node_slot *node = s->waits_for;
    struct asy_stmt *q = l->ticket_tail;
    struct asy_receipt receipt;
    struct asy_hash hash, none = {{0}};
    bool row;
    ledger_stop_waiting(s);
    asy_stmt_bind_u64(q, 1, s->a.lane);
    asy_stmt_bind_u64(q, 2, s->posted_seq + s->tree.count);
    ASY_TRY(ledger_row(&row, q));
    ASY_ASSERT(row && asy_stmt_col_u64(q, 1) == ASY_TICKET_PAID);
    enum asy_err err = asy_object_decode(&receipt, ASY_OBJ_RECEIPT, asy_stmt_col_bytes(q, 5));
    ASY_ASSERT(err == ASY_OK); /* only this program writes the file */
    uint64_t lane_seq = asy_stmt_col_u64(q, 0), item = asy_stmt_col_u64(q, 6),
             ended_ms = asy_stmt_col_u64(q, 7);
    ASY_TRY(ledger_end(q));
    asy_object_hash(&hash, ASY_OBJ_RECEIPT, &receipt);
    if (item >= node->n.receipts_have) { /* its place, too, if it is still this receipt's */
        asy_stmt_bind_u64(l->item_get, 1, node->n.id);
        asy_stmt_bind_u64(l->item_get, 2, item);
        ASY_TRY(ledger_row(&row, l->item_get));
        none = row ? asy_stmt_col_hash(l->item_get, 0) : none;
        asy_stmt_reset(l->item_get);
        if (asy_hash_eq(&none, &hash)) {
            ASY_TRY(put_item(l, node, item, &hash, 0));
        }
    }
    asy_stmt_bind_u64(l->ticket_unpay, 1, s->a.lane);
    asy_stmt_bind_u64(l->ticket_unpay, 2, lane_seq);
    asy_stmt_bind_text(l->ticket_unpay, 3, ASY_STR("the node did not sign its receipt"));
    ASY_TRY(ledger_run(l->ticket_unpay));
    ASY_TRY(ledger_journal(l, "unpay", "owed", node->n.id, "lane", s->a.lane, receipt.amount,
                           s->a.lane, lane_seq));
    ASY_TRY(count_usage(l, s, ended_ms, &receipt, true));
    s->a.paid -= receipt.amount;
    return ledger_grow_tree(l, s);
}

static enum asy_err expire_open(struct asy_ledger *l, uint64_t *ret_count, uint64_t before_s) {
    enum { AT_ONCE = 1000 };
    struct asy_terms *found = asy_alloc(AT_ONCE * sizeof *found);
    uint64_t count = 0;
    bool row = true;
    enum asy_err err = ASY_OK;
    asy_stmt_bind_u64(l->ticket_expired, 1, before_s);
    while ((err = ledger_row(&row, l->ticket_expired)) == ASY_OK && row) {
        err = asy_object_decode(&found[count++], ASY_OBJ_TERMS,
                                asy_stmt_col_bytes(l->ticket_expired, 0));
        ASY_ASSERT(err == ASY_OK); /* only this program writes the file */
    }
    for (uint64_t i = 0; i < count && err == ASY_OK; i++) {
        err = asy_ledger_void(l, &found[i], ASY_STR("expired without a receipt"));
    }
    asy_free(found);
    *ret_count = count;
    return err;
}

enum asy_err asy_ledger_expire(struct asy_ledger *l, uint64_t *ret_count, uint64_t now_s,
                               uint64_t grace_s) {
    uint64_t before_s = now_s > grace_s ? now_s - grace_s : 0, count;
    ASY_TRY(expire_open(l, &count, before_s));
    struct node_slot *node, *next_node;
    HASH_ITER(by_addr, l->nodes, node, next_node) {
        for (struct account_slot *s = node->waiting; s != NULL;) {
            if (s->waits_until < before_s) {
                ASY_TRY(unpay(l, s));
                count++;
                s = node->waiting; /* the list has changed */
            } else {
                s = s->next_waiting;
            }
        }
    }
    *ret_count = count;
    return ASY_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

void ledger_read_ticket(struct asy_stmt *q, struct asy_ticket *ret) {
    *ret = (struct asy_ticket){.state = (enum asy_ticket_state)asy_stmt_col_u64(q, 1),
                               .issued_ms = asy_stmt_col_u64(q, 5),
                               .lane = (uint32_t)asy_stmt_col_u64(q, 7),
                               .model = asy_stmt_col_text(q, 8),
                               .request_id = asy_stmt_col_text(q, 9)};
    enum asy_err err = asy_object_decode(&ret->terms, ASY_OBJ_TERMS, asy_stmt_col_bytes(q, 0));
    if (err == ASY_OK && !asy_stmt_col_is_null(q, 2)) {
        err = asy_object_decode(&ret->receipt, ASY_OBJ_RECEIPT, asy_stmt_col_bytes(q, 2));
        ret->has_receipt = true;
        ret->prompt_digest = asy_stmt_col_hash(q, 3);
        ret->item = asy_stmt_col_u64(q, 4);
    }
    if (!asy_stmt_col_is_null(q, 6)) {
        ret->ended_ms = asy_stmt_col_u64(q, 6);
    }
    if (!asy_stmt_col_is_null(q, 10)) {
        ret->error = asy_stmt_col_text(q, 10);
    }
    ASY_ASSERT(err == ASY_OK); /* only this program writes the file */
}

static enum asy_err each(struct asy_stmt *q, uint32_t *ret_count, asy_ticket_fn fn, void *arg) {
    uint32_t count = 0;
    for (;;) {
        bool row;
        ASY_TRY(ledger_row(&row, q));
        if (!row) {
            *ret_count = count;
            return ASY_OK;
        }
        struct asy_ticket t;
        ledger_read_ticket(q, &t);
        fn(arg, &t);
        count++;
    }
}

enum asy_err asy_ledger_ticket_by_link(struct asy_ledger *l, const struct asy_node_book *node,
                                       uint64_t link_seq, asy_ticket_fn fn, void *arg) {
    uint32_t count;
    asy_stmt_bind_u64(l->ticket_link, 1, node->id);
    asy_stmt_bind_u64(l->ticket_link, 2, link_seq);
    ASY_TRY(each(l->ticket_link, &count, fn, arg));
    return count != 0 ? ASY_OK : ASY_ERR_NOT_FOUND;
}

enum asy_err asy_ledger_tickets_of_job(struct asy_ledger *l, uint32_t *ret_count,
                                       const struct asy_hash *job_id, asy_ticket_fn fn, void *arg) {
    asy_stmt_bind_hash(l->ticket_job, 1, job_id);
    return each(l->ticket_job, ret_count, fn, arg);
}

enum asy_err asy_ledger_tickets_of_account(struct asy_ledger *l, const struct asy_account *account,
                                           uint64_t before, uint32_t limit, asy_ticket_fn fn,
                                           void *arg) {
    uint32_t count;
    asy_stmt_bind_u64(l->ticket_account, 1, account->lane);
    asy_stmt_bind_u64(l->ticket_account, 2, before < INT64_MAX ? before : INT64_MAX);
    asy_stmt_bind_u64(l->ticket_account, 3, limit);
    return each(l->ticket_account, &count, fn, arg);
}

enum asy_err asy_ledger_open_tickets(struct asy_ledger *l, const struct asy_node_book *node,
                                     asy_ticket_fn fn, void *arg) {
    uint32_t count;
    asy_stmt_bind_u64(l->ticket_open, 1, node->id);
    return each(l->ticket_open, &count, fn, arg);
}

enum asy_err asy_ledger_entry_tickets(struct asy_ledger *l, uint32_t lane, uint64_t first,
                                      uint32_t count, asy_ticket_fn fn, void *arg) {
    uint32_t found;
    asy_stmt_bind_u64(l->ticket_entry, 1, lane);
    asy_stmt_bind_u64(l->ticket_entry, 2, first);
    asy_stmt_bind_u64(l->ticket_entry, 3, first + count);
    return each(l->ticket_entry, &found, fn, arg);
}

enum asy_err asy_ledger_ticket_hashes(struct asy_ledger *l, const struct asy_node_book *node,
                                      uint64_t from, uint32_t count, struct asy_hash *ret_hashes) {
    asy_stmt_bind_u64(l->ticket_terms, 1, node->id);
    asy_stmt_bind_u64(l->ticket_terms, 2, from);
    asy_stmt_bind_u64(l->ticket_terms, 3, count);
    uint32_t n = 0;
    for (;;) {
        bool row;
        ASY_TRY(ledger_row(&row, l->ticket_terms));
        if (!row) {
            return n == count ? ASY_OK : ASY_ERR_NOT_FOUND;
        }
        struct asy_terms terms;
        enum asy_err err =
            asy_object_decode(&terms, ASY_OBJ_TERMS, asy_stmt_col_bytes(l->ticket_terms, 0));
        ASY_ASSERT(err == ASY_OK); /* only this program writes the file */
        asy_object_hash(&ret_hashes[n++], ASY_OBJ_TERMS, &terms);
    }
}

enum asy_err asy_ledger_usage(struct asy_ledger *l, struct asy_usage *ret_usage,
                              const struct asy_account *account, uint64_t from_ms) {
    struct asy_usage sum = {0};
    struct asy_stmt *q = l->usage_get;
    asy_stmt_bind_addr(q, 1, &account->addr);
    asy_stmt_bind_u64(q, 2, from_ms / DAY_MS);
    for (;;) {
        bool row;
        ASY_TRY(ledger_row(&row, q));
        if (!row) {
            *ret_usage = sum;
            return ASY_OK;
        }
        sum.jobs += asy_stmt_col_u64(q, 0);
        sum.in_tokens += asy_stmt_col_u64(q, 1);
        sum.out_tokens += asy_stmt_col_u64(q, 2);
        sum.spent += asy_stmt_col_u128(q, 3);
    }
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* What the node has signed is owed to it for good, and may be settled. */
static enum asy_err receipts_signed(struct asy_ledger *l, struct node_slot *node,
                                    const struct asy_checkpoint *c) {
    struct asy_stmt *q = l->item_amounts;
    asy_stmt_bind_u64(q, 1, node->n.id);
    asy_stmt_bind_u64(q, 2, c->first);
    asy_stmt_bind_u64(q, 3, c->first + c->count);
    for (;;) {
        bool row;
        ASY_TRY(ledger_row(&row, q));
        if (!row) {
            break;
        }
        asy_u128 amount = asy_stmt_col_u128(q, 1);
        ASY_ASSERT(node->unsigned_pay >= amount);
        node->unsigned_pay -= amount;
        node->n.owed += amount;
    }
    ledger_touch_node(l, node);
    struct account_slot *waiting = node->waiting;
    node->waiting = NULL;
    while (waiting != NULL) {
        struct account_slot *s = waiting;
        waiting = s->next_waiting;
        s->waits_for = NULL;
        s->next_waiting = NULL;
        ASY_TRY(ledger_grow_tree(l, s)); /* it may wait again, for the next one */
    }
    return ASY_OK;
}

enum asy_err asy_ledger_add_checkpoint(struct asy_ledger *l, struct asy_node_book *node,
                                       const struct asy_checkpoint *c, const struct asy_sig *sig) {
    uint8_t body[ASY_CHECKPOINT_LEN];
    asy_object_encode(body, ASY_OBJ_CHECKPOINT, c);
    struct asy_stmt *q = l->checkpoint_add;
    asy_stmt_bind_u64(q, 1, node->id);
    asy_stmt_bind_u64(q, 2, c->kind);
    asy_stmt_bind_u64(q, 3, c->number);
    asy_stmt_bind_u64(q, 4, c->first);
    asy_stmt_bind_u64(q, 5, c->count);
    asy_stmt_bind_bytes(q, 6, asy_bytes_of(body, sizeof body));
    asy_stmt_bind_bytes(q, 7, asy_bytes_of(sig->b, sizeof sig->b));
    ASY_TRY(ledger_run(q));
    if (c->kind == ASY_CHECKPOINT_TICKETS) {
        node->ticket_checkpoint_next = c->number + 1;
        node->tickets_signed = c->first + c->count;
        return ASY_OK;
    }
    node->receipt_checkpoint_next = c->number + 1;
    node->receipts_have = c->first + c->count;
    return receipts_signed(l, (struct node_slot *)node, c);
}

static void read_checkpoint(struct asy_stmt *q, struct asy_checkpoint *ret_c,
                            struct asy_sig *ret_sig) {
    struct asy_bytes sig = asy_stmt_col_bytes(q, 1);
    enum asy_err err = asy_object_decode(ret_c, ASY_OBJ_CHECKPOINT, asy_stmt_col_bytes(q, 0));
    ASY_ASSERT(err == ASY_OK && sig.n == sizeof ret_sig->b); /* only this program writes the file */
    memcpy(ret_sig->b, sig.p, sig.n);
}

enum asy_err asy_ledger_checkpoints_from(struct asy_ledger *l, const struct asy_node_book *node,
                                         enum asy_checkpoint_kind kind, uint64_t item,
                                         asy_checkpoint_fn fn, void *arg) {
    asy_stmt_bind_u64(l->checkpoint_from, 1, node->id);
    asy_stmt_bind_u64(l->checkpoint_from, 2, (uint64_t)kind);
    asy_stmt_bind_u64(l->checkpoint_from, 3, item);
    for (;;) {
        bool row;
        ASY_TRY(ledger_row(&row, l->checkpoint_from));
        if (!row) {
            return ASY_OK;
        }
        struct asy_checkpoint c;
        struct asy_sig sig;
        read_checkpoint(l->checkpoint_from, &c, &sig);
        fn(arg, &c, &sig);
    }
}

enum asy_err asy_ledger_receipt_proof(struct asy_ledger *l, struct asy_receipt_proof *ret_proof,
                                      const struct asy_addr *node_addr, uint64_t item) {
    struct node_slot *node = ledger_node_of(l, node_addr);
    if (node == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    struct asy_receipt_proof p;
    bool row;
    asy_stmt_bind_u64(l->checkpoint_at, 1, node->n.id);
    asy_stmt_bind_u64(l->checkpoint_at, 2, ASY_CHECKPOINT_RECEIPTS);
    asy_stmt_bind_u64(l->checkpoint_at, 3, item);
    ASY_TRY(ledger_row(&row, l->checkpoint_at));
    if (!row) {
        return ASY_ERR_NOT_FOUND;
    }
    read_checkpoint(l->checkpoint_at, &p.checkpoint, &p.sig);
    ASY_TRY(ledger_end(l->checkpoint_at));
    if (item >= p.checkpoint.first + p.checkpoint.count) {
        return ASY_ERR_NOT_FOUND;
    }
    struct asy_hash nodes[2 * ASY_MAX_CHECKPOINT + 8];
    uint32_t n = 0;
    asy_stmt_bind_u64(l->item_range, 1, node->n.id);
    asy_stmt_bind_u64(l->item_range, 2, p.checkpoint.first);
    asy_stmt_bind_u64(l->item_range, 3, p.checkpoint.first + p.checkpoint.count);
    for (;;) {
        ASY_TRY(ledger_row(&row, l->item_range));
        if (!row) {
            break;
        }
        ASY_ASSERT(n < ASY_MAX_CHECKPOINT);
        nodes[n++] = asy_stmt_col_hash(l->item_range, 0);
    }
    if (n != p.checkpoint.count) {
        return ASY_ERR_STORE;
    }
    p.position = (uint32_t)(item - p.checkpoint.first);
    ASY_TRY(asy_checkpoint_tree_build(nodes, n));
    ASY_TRY(asy_checkpoint_tree_path(p.path, &p.path_count, nodes, n, p.position));
    *ret_proof = p;
    return ASY_OK;
}

/* ---- audit records --------------------------------------------------------------------------- */

enum asy_err asy_ledger_put_audit(struct asy_ledger *l, uint32_t lane, uint64_t lane_seq,
                                  struct asy_bytes sealed) {
    asy_stmt_bind_u64(l->audit_put, 1, lane);
    asy_stmt_bind_u64(l->audit_put, 2, lane_seq);
    asy_stmt_bind_bytes(l->audit_put, 3, sealed);
    return ledger_run(l->audit_put);
}

enum asy_err asy_ledger_get_audit(struct asy_ledger *l, struct asy_buf *ret_sealed, uint32_t lane,
                                  uint64_t lane_seq) {
    bool row;
    asy_stmt_bind_u64(l->audit_get, 1, lane);
    asy_stmt_bind_u64(l->audit_get, 2, lane_seq);
    ASY_TRY(ledger_row(&row, l->audit_get));
    if (!row) {
        return ASY_ERR_NOT_FOUND;
    }
    enum asy_err err = asy_buf_add_bytes(ret_sealed, asy_stmt_col_bytes(l->audit_get, 0));
    enum asy_err end = ledger_end(l->audit_get);
    return err != ASY_OK ? err : end;
}
