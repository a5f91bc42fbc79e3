/* ledger_priv.h: the object and its statements, shared by the files of this folder. */
#ifndef ASY_LEDGER_PRIV_H
#define ASY_LEDGER_PRIV_H

#include <uthash.h>

#include "ledger/ledger.h"

/* Every statement, prepared once: X(name, SQL). */
#define LEDGER_STATEMENTS(X)                                                                       \
    X(meta_get, "SELECT value FROM meta WHERE name = ?1")                                          \
    X(meta_put, "INSERT INTO meta (name, value) VALUES (?1, ?2) "                                  \
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value")                         \
    X(account_add, "INSERT INTO account (addr, created_ms) VALUES (?1, ?2)")                       \
    X(account_cap, "UPDATE account SET cap = ?2, cap_sig = ?3, cap_open = 0 WHERE addr = ?1")      \
    X(account_lane, "UPDATE account SET lane = ?2, cap_open = ?3, funded = ?4, free = ?5, "        \
                    "closes_at = ?6 WHERE addr = ?1")                                              \
    X(account_all, "SELECT addr, created_ms, cap, cap_sig, cap_open, lane, funded, free, "         \
                   "closes_at FROM account")                                                       \
    X(key_add, "INSERT INTO api_key (id, hash, account, label, created_ms) "                       \
               "VALUES (?1, ?2, ?3, ?4, ?5)")                                                      \
    X(key_all, "SELECT id, hash, account FROM api_key WHERE revoked_ms IS NULL")                   \
    X(key_max, "SELECT COALESCE(MAX(id), 0) FROM api_key")                                         \
    X(key_revoke, "UPDATE api_key SET revoked_ms = ?2 WHERE id = ?1")                              \
    X(node_add, "INSERT INTO node (id, addr) VALUES (?1, ?2)")                                     \
    X(node_all, "SELECT id, addr, link, owed, posted, credited, closed_below, ack, ack_sig, "      \
                "batched FROM node")                                                               \
    X(node_set, "UPDATE node SET link = ?2, owed = ?3, posted = ?4, credited = ?5, "               \
                "closed_below = ?6, ack = ?7, ack_sig = ?8, batched = ?9 WHERE id = ?1")           \
    X(node_seq, "SELECT link_seq FROM ticket WHERE node = ?1 ORDER BY link_seq DESC LIMIT 1")      \
    X(node_open, "SELECT link_seq FROM ticket WHERE node = ?1 AND state = 0 "                      \
                 "ORDER BY link_seq LIMIT 1")                                                      \
    X(ticket_add, "INSERT INTO ticket (lane, lane_seq, node, link_seq, job_id, segment, state, "   \
                  "deadline, issued_ms, terms, model, request_id) "                                \
                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, ?10, ?11)")                      \
    X(ticket_pay, "UPDATE ticket SET state = 1, receipt = ?3, amount = ?4, item = ?5, "            \
                  "prompt_digest = ?6, ended_ms = ?7 WHERE lane = ?1 AND lane_seq = ?2")           \
    X(ticket_void, "UPDATE ticket SET state = 2, error = ?3, ended_ms = ?4 "                       \
                   "WHERE lane = ?1 AND lane_seq = ?2")                                            \
    X(ticket_unpay, "UPDATE ticket SET state = 2, receipt = NULL, amount = NULL, item = NULL, "    \
                    "prompt_digest = NULL, error = ?3 WHERE lane = ?1 AND lane_seq = ?2")          \
    X(ticket_find, "SELECT lane, state, receipt, item, terms FROM ticket "                         \
                   "WHERE node = ?1 AND link_seq = ?2")                                            \
    X(ticket_tail, "SELECT lane_seq, state, amount, terms, node, receipt, item, ended_ms "         \
                   "FROM ticket WHERE lane = ?1 AND lane_seq >= ?2 ORDER BY lane_seq")             \
    X(ticket_link, "SELECT " LEDGER_TICKET_COLS " FROM ticket WHERE node = ?1 AND link_seq = ?2")  \
    X(ticket_job, "SELECT " LEDGER_TICKET_COLS " FROM ticket WHERE job_id = ?1 ORDER BY segment")  \
    X(ticket_account, "SELECT " LEDGER_TICKET_COLS " FROM ticket "                                 \
                      "WHERE lane = ?1 AND lane_seq < ?2 ORDER BY lane_seq DESC LIMIT ?3")         \
    X(ticket_node, "SELECT link_seq, state, amount FROM ticket WHERE node = ?1 ORDER BY link_seq") \
    X(ticket_open, "SELECT " LEDGER_TICKET_COLS " FROM ticket WHERE node = ?1 AND state = 0 "      \
                   "ORDER BY link_seq")                                                            \
    X(ticket_entry, "SELECT " LEDGER_TICKET_COLS " FROM ticket "                                   \
                    "WHERE lane = ?1 AND lane_seq >= ?2 AND lane_seq < ?3 ORDER BY lane_seq")      \
    X(ticket_expired, "SELECT terms FROM ticket WHERE state = 0 AND deadline < ?1 LIMIT 1000")     \
    X(ticket_terms, "SELECT terms FROM ticket WHERE node = ?1 AND link_seq >= ?2 "                 \
                    "ORDER BY link_seq LIMIT ?3")                                                  \
    X(usage_add, "INSERT INTO usage (account, day, jobs, in_tokens, out_tokens, spent) "           \
                 "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (account, day) DO UPDATE SET "       \
                 "jobs = excluded.jobs, in_tokens = excluded.in_tokens, "                          \
                 "out_tokens = excluded.out_tokens, spent = excluded.spent")                       \
    X(usage_get, "SELECT jobs, in_tokens, out_tokens, spent FROM usage "                           \
                 "WHERE account = ?1 AND day >= ?2")                                               \
    X(usage_day, "SELECT jobs, in_tokens, out_tokens, spent FROM usage "                           \
                 "WHERE account = ?1 AND day = ?2")                                                \
    X(item_put, "INSERT INTO item (node, item, hash, amount) VALUES (?1, ?2, ?3, ?4) "             \
                "ON CONFLICT (node, item) DO UPDATE SET hash = excluded.hash, "                    \
                "amount = excluded.amount")                                                        \
    X(item_get, "SELECT hash, amount FROM item WHERE node = ?1 AND item = ?2")                     \
    X(item_amounts, "SELECT item, amount FROM item WHERE node = ?1 AND item >= ?2 AND item < ?3 "  \
                    "ORDER BY item")                                                               \
    X(item_range, "SELECT hash FROM item WHERE node = ?1 AND item >= ?2 AND item < ?3 "            \
                  "ORDER BY item")                                                                 \
    X(checkpoint_add, "INSERT INTO checkpoint (node, kind, number, first, count, body, sig) "      \
                      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")                                       \
    X(checkpoint_last,                                                                             \
      "SELECT number, first, count FROM checkpoint WHERE node = ?1 AND kind = ?2 "                 \
      "ORDER BY number DESC LIMIT 1")                                                              \
    X(checkpoint_from, "SELECT body, sig FROM checkpoint WHERE node = ?1 AND kind = ?2 AND "       \
                       "first >= (SELECT COALESCE(MAX(first), 0) FROM checkpoint WHERE "           \
                       "node = ?1 AND kind = ?2 AND first <= ?3) AND first + count > ?3 "          \
                       "ORDER BY first")                                                           \
    X(checkpoint_at, "SELECT body, sig FROM checkpoint WHERE node = ?1 AND kind = ?2 AND "         \
                     "first <= ?3 ORDER BY first DESC LIMIT 1")                                    \
    X(batch_add, "INSERT INTO batch (number, state, root, built_ms, jobs, entries, credits, "      \
                 "debited, credited) VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                  \
    X(batch_get, "SELECT number, state, root, tx, block, built_ms, jobs, entries, credits, "       \
                 "debited, credited FROM batch WHERE number = ?1")                                 \
    X(batch_oldest, "SELECT number FROM batch WHERE state <> 3 AND state <= ?1 "                   \
                    "ORDER BY number LIMIT 1")                                                     \
    X(batch_max, "SELECT COUNT(*) FROM batch")                                                     \
    X(batch_tx, "UPDATE batch SET state = 1, tx = ?2, raw = ?3 WHERE number = ?1")                 \
    X(batch_raw, "SELECT raw FROM batch WHERE number = ?1")                                        \
    X(batch_state, "UPDATE batch SET state = ?2, block = ?3 WHERE number = ?1")                    \
    X(entry_add, "INSERT INTO entry (lane, first, count, number, idx, before, spent, tree) "       \
                 "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                                        \
    X(entry_batch, "SELECT lane, first, count, before, spent, tree, number, idx FROM entry "       \
                   "WHERE number = ?1 ORDER BY idx")                                               \
    X(entry_at, "SELECT lane, first, count, before, spent, tree, number, idx FROM entry "          \
                "WHERE lane = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1")                     \
    X(credit_add, "INSERT INTO credit (number, idx, node, link, cum) VALUES (?1, ?2, ?3, ?4, ?5)") \
    X(credit_batch, "SELECT node, link, cum FROM credit WHERE number = ?1 ORDER BY idx")           \
    X(journal_add, "INSERT INTO journal (at_ms, kind, source, target, amount, lane, seq) "         \
                   "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")                                          \
    X(journal_all, "SELECT kind, source, target, amount, lane FROM journal")                       \
    X(audit_put, "INSERT INTO audit (lane, lane_seq, sealed) VALUES (?1, ?2, ?3) "                 \
                 "ON CONFLICT (lane, lane_seq) DO UPDATE SET sealed = excluded.sealed")            \
    X(audit_get, "SELECT sealed FROM audit WHERE lane = ?1 AND lane_seq = ?2")

#define LEDGER_TICKET_COLS                                                                         \
    "terms, state, receipt, prompt_digest, item, issued_ms, ended_ms, lane, model, request_id, "   \
    "error"

struct key_slot {
    struct asy_hash hash;
    uint64_t id;
    struct asy_account *account;
    UT_hash_handle hh;
};

struct account_slot { /* the public part first, so that the pointers are one */
    struct asy_account a;
    uint64_t posted_seq; /* laneSeq of the first ticket that is in no batch */
    /* The lane's part of the next batch, grown ticket by ticket: its leaves are [posted_seq,
     * posted_seq + tree.count). */
    struct asy_sum_stream tree;
    bool full;           /* the tree takes no more leaves until a batch has taken it */
    asy_u128 posted;     /* the lane's running total in batches */
    uint64_t batched_at; /* number of the batch after the last that held the lane; 0: none since the
                            start */
    uint32_t open_count;
    /* The ticket behind the tree has a receipt that its node has not signed yet: the lane stands in
     * the node's list. */
    struct node_slot *waits_for;
    struct account_slot *next_waiting;
    uint64_t waits_until; /* deadline of that ticket */
    uint64_t usage_day;   /* Unix days of the sums below */
    struct asy_usage usage;
    UT_hash_handle by_addr, by_lane;
};

struct node_slot {
    struct asy_node_book n;
    asy_u128 unsigned_pay; /* of receipts that were accepted, but stand in no checkpoint yet */
    uint64_t item_next;    /* behind the highest item written down */
    asy_u128 ready;        /* pay for tickets that stand in the lanes' trees, but in no batch yet */
    struct account_slot *waiting;
    bool changed; /* in the list of those to be written at commit */
    struct node_slot *next_changed;
    UT_hash_handle by_addr, by_id;
};

struct asy_ledger {
    const struct asy_env *env;
    struct asy_store *store;
    struct key_slot *keys;
    struct account_slot *accounts, *lanes;
    uint32_t full_lanes;
    struct node_slot *nodes, *node_ids;
    struct node_slot *changed;
    uint64_t next_key, next_node, batch_count, unposted;
    uint64_t credit_from; /* where the next batch with credits begins among the nodes, so that none
                             is always left out */
    struct asy_stmt *
#define X(name, sql) name, *
        LEDGER_STATEMENTS(X)
#undef X
            end_of_statements;
};

/* Store failures say why in the log's words; the ledger passes only the code on. */
ASY_MUST_USE enum asy_err ledger_run(struct asy_stmt *stmt);
ASY_MUST_USE enum asy_err ledger_row(bool *ret_row, struct asy_stmt *stmt);
/* After a row that was looked up. errors: STORE a column was not what it should be */
ASY_MUST_USE enum asy_err ledger_end(struct asy_stmt *stmt);

ASY_MUST_USE enum asy_err ledger_journal(struct asy_ledger *l, const char *kind, const char *from,
                                         uint64_t from_id, const char *to, uint64_t to_id,
                                         asy_u128 amount, uint32_t lane, uint64_t seq);
/* Adds the closed tickets behind the lane's tree to it, until the end, a full tree, an open one, or
 * one whose receipt is not signed. */
ASY_MUST_USE enum asy_err ledger_grow_tree(struct asy_ledger *l, struct account_slot *s);
/* Keeps the count of full trees, after the lane's tree has changed. */
void ledger_count_full(struct asy_ledger *l, struct account_slot *s);
/* The ticket at ticket_tail's row as a leaf, and the node it pays (NULL: unpaid). */
ASY_MUST_USE enum asy_err ledger_tail_leaf(struct asy_ledger *l, struct asy_sum_node *ret_leaf,
                                           struct node_slot **ret_node);
/* Takes the lane out of the list that it stands in, if any. */
void ledger_stop_waiting(struct account_slot *s);
/* Writes down what the chain says of a link's total, and the difference in the journal. */
ASY_MUST_USE enum asy_err ledger_set_credited(struct asy_ledger *l, struct node_slot *node,
                                              asy_u128 credited, uint64_t batch);
struct node_slot *ledger_node_by_id(const struct asy_ledger *l, uint64_t id);
void ledger_touch_node(struct asy_ledger *l, struct node_slot *node);
struct node_slot *ledger_node_of(const struct asy_ledger *l, const struct asy_addr *addr);
void ledger_read_ticket(struct asy_stmt *stmt, struct asy_ticket *ret_ticket);

#endif
