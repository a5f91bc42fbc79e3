/* ledger.c: opening, accounts, keys, caps, nodes. */
#include "ledger/ledger_priv.h"

#include <stdio.h>

static const struct asy_store_migration migrations[] = {
    {"first",
     "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
     "CREATE TABLE account (addr BLOB PRIMARY KEY, created_ms INTEGER NOT NULL, cap BLOB, cap_sig "
     "BLOB,"
     "  cap_open INTEGER NOT NULL DEFAULT 0, lane INTEGER, funded BLOB, free BLOB, closes_at "
     "INTEGER)"
     "  WITHOUT ROWID;"
     "CREATE TABLE api_key (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, account BLOB NOT "
     "NULL,"
     "  label TEXT NOT NULL, created_ms INTEGER NOT NULL, revoked_ms INTEGER);"
     "CREATE TABLE node (id INTEGER PRIMARY KEY, addr BLOB NOT NULL UNIQUE, link INTEGER, owed "
     "BLOB,"
     "  posted BLOB, credited BLOB, closed_below INTEGER, ack BLOB, ack_sig BLOB, batched BLOB);"
     "CREATE TABLE ticket (lane INTEGER NOT NULL, lane_seq INTEGER NOT NULL, node INTEGER NOT NULL,"
     "  link_seq INTEGER NOT NULL, job_id BLOB NOT NULL, segment INTEGER NOT NULL,"
     "  state INTEGER NOT NULL, deadline INTEGER NOT NULL, issued_ms INTEGER NOT NULL,"
     "  ended_ms INTEGER, terms BLOB NOT NULL, receipt BLOB, amount BLOB, item INTEGER,"
     "  prompt_digest BLOB, model TEXT NOT NULL, request_id TEXT NOT NULL, error TEXT,"
     "  PRIMARY KEY (lane, lane_seq)) WITHOUT ROWID;"
     "CREATE UNIQUE INDEX ticket_link ON ticket (node, link_seq);"
     "CREATE INDEX ticket_job ON ticket (job_id);"
     "CREATE INDEX ticket_open ON ticket (deadline) WHERE state = 0;"
     "CREATE INDEX ticket_open_node ON ticket (node, link_seq) WHERE state = 0;"
     "CREATE TABLE usage (account BLOB NOT NULL, day INTEGER NOT NULL, jobs INTEGER NOT NULL,"
     "  in_tokens INTEGER NOT NULL, out_tokens INTEGER NOT NULL, spent BLOB NOT NULL,"
     "  PRIMARY KEY (account, day)) WITHOUT ROWID;"
     "CREATE TABLE item (node INTEGER NOT NULL, item INTEGER NOT NULL, hash BLOB NOT NULL,"
     "  amount BLOB NOT NULL, PRIMARY KEY (node, item)) WITHOUT ROWID;"
     "CREATE TABLE checkpoint (node INTEGER NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT "
     "NULL,"
     "  first INTEGER NOT NULL, count INTEGER NOT NULL, body BLOB NOT NULL, sig BLOB NOT NULL,"
     "  PRIMARY KEY (node, kind, number)) WITHOUT ROWID;"
     "CREATE INDEX checkpoint_first ON checkpoint (node, kind, first);"
     "CREATE TABLE batch (number INTEGER PRIMARY KEY, state INTEGER NOT NULL, root BLOB NOT NULL,"
     "  tx BLOB, raw BLOB, block INTEGER, built_ms INTEGER NOT NULL, jobs INTEGER NOT NULL,"
     "  entries INTEGER NOT NULL, credits INTEGER NOT NULL, debited BLOB NOT NULL,"
     "  credited BLOB NOT NULL);"
     "CREATE INDEX batch_moving ON batch (number) WHERE state <> 3;"
     "CREATE TABLE entry (lane INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,"
     "  number INTEGER NOT NULL, idx INTEGER NOT NULL, before BLOB NOT NULL, spent BLOB NOT NULL,"
     "  tree BLOB NOT NULL, PRIMARY KEY (lane, first)) WITHOUT ROWID;"
     "CREATE INDEX entry_batch ON entry (number, idx);"
     "CREATE TABLE credit (number INTEGER NOT NULL, idx INTEGER NOT NULL, node INTEGER NOT NULL,"
     "  link INTEGER NOT NULL, cum BLOB NOT NULL, PRIMARY KEY (number, idx)) WITHOUT ROWID;"
     "CREATE TABLE journal (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind TEXT NOT NULL,"
     "  source TEXT NOT NULL, target TEXT NOT NULL, amount BLOB NOT NULL, lane INTEGER, seq "
     "INTEGER);"
     /* with a row number: rows of some KiB lie one behind the other, not where a random key puts
        them */
     "CREATE TABLE audit (lane INTEGER NOT NULL, lane_seq INTEGER NOT NULL, sealed BLOB NOT NULL,"
     "  PRIMARY KEY (lane, lane_seq));"},
};
enum { APPLICATION_ID = 0x41534c31 }; /* "ASL1" */

/* ---- small things ---------------------------------------------------------------------------- */

enum asy_err ledger_run(struct asy_stmt *stmt) {
    struct asy_why why;
    enum asy_err err = asy_stmt_run(stmt, &why);
    if (err != ASY_OK && err != ASY_ERR_CONFLICT) {
        asy_log(ASY_LOG_BROKEN, "ledger.store", "err=%s why=\"%s\"", asy_err_name(err), why.text);
    }
    return err;
}

enum asy_err ledger_row(bool *ret_row, struct asy_stmt *stmt) {
    struct asy_why why;
    enum asy_err err = asy_stmt_step(ret_row, stmt, &why);
    if (err != ASY_OK) {
        asy_log(ASY_LOG_BROKEN, "ledger.store", "err=%s why=\"%s\"", asy_err_name(err), why.text);
    }
    return err;
}

enum asy_err ledger_end(struct asy_stmt *stmt) {
    struct asy_why why;
    enum asy_err err = asy_stmt_end(stmt, &why);
    if (err != ASY_OK) {
        asy_log(ASY_LOG_BROKEN, "ledger.store", "err=%s why=\"%s\"", asy_err_name(err), why.text);
    }
    return err;
}

enum asy_err ledger_journal(struct asy_ledger *l, const char *kind, const char *from,
                            uint64_t from_id, const char *to, uint64_t to_id, asy_u128 amount,
                            uint32_t lane, uint64_t seq) {
    char source[48], target[48];
    (void)snprintf(source, sizeof source, "%s:%llu", from, (unsigned long long)from_id);
    (void)snprintf(target, sizeof target, "%s:%llu", to, (unsigned long long)to_id);
    asy_stmt_bind_u64(l->journal_add, 1, asy_env_wall_ms(l->env));
    asy_stmt_bind_text(l->journal_add, 2, asy_bytes_cstr(kind));
    asy_stmt_bind_text(l->journal_add, 3, asy_bytes_cstr(source));
    asy_stmt_bind_text(l->journal_add, 4, asy_bytes_cstr(target));
    asy_stmt_bind_u128(l->journal_add, 5, amount);
    asy_stmt_bind_u64(l->journal_add, 6, lane);
    asy_stmt_bind_u64(l->journal_add, 7, seq);
    return ledger_run(l->journal_add);
}

enum asy_err asy_ledger_get(struct asy_ledger *l, const char *name, struct asy_buf *ret_value) {
    bool row;
    asy_stmt_bind_text(l->meta_get, 1, asy_bytes_cstr(name));
    ASY_TRY(ledger_row(&row, l->meta_get));
    if (!row) {
        return ASY_ERR_NOT_FOUND;
    }
    enum asy_err err = asy_buf_add_bytes(ret_value, asy_stmt_col_bytes(l->meta_get, 0));
    enum asy_err end = ledger_end(l->meta_get);
    return err != ASY_OK ? err : end;
}

enum asy_err asy_ledger_put(struct asy_ledger *l, const char *name, struct asy_bytes value) {
    asy_stmt_bind_text(l->meta_put, 1, asy_bytes_cstr(name));
    asy_stmt_bind_bytes(l->meta_put, 2, value);
    return ledger_run(l->meta_put);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void set_cap(struct asy_account *a, const struct asy_cap *cap, const struct asy_sig *sig) {
    a->has_cap = true;
    a->cap = *cap;
    a->cap_sig = *sig;
    asy_object_hash(&a->cap_hash, ASY_OBJ_CAP, cap);
}

/* Where the lane stands: sums of what no batch holds yet, and the place of its next ticket. */
static enum asy_err load_lane(struct asy_ledger *l, struct account_slot *s) {
    bool row;
    asy_stmt_bind_u64(l->entry_at, 1, s->a.lane);
    asy_stmt_bind_u64(l->entry_at, 2, INT64_MAX);
    ASY_TRY(ledger_row(&row, l->entry_at));
    if (row) {
        s->posted_seq = asy_stmt_col_u64(l->entry_at, 1) + asy_stmt_col_u64(l->entry_at, 2);
        s->posted = asy_stmt_col_u128(l->entry_at, 4);
        ASY_TRY(ledger_end(l->entry_at));
    }
    s->a.lane_seq = s->posted_seq;
    s->a.paid = s->posted;
    asy_sum_stream_init(&s->tree);
    asy_stmt_bind_u64(l->ticket_tail, 1, s->a.lane);
    asy_stmt_bind_u64(l->ticket_tail, 2, s->posted_seq);
    for (;;) {
        ASY_TRY(ledger_row(&row, l->ticket_tail));
        if (!row) {
            break;
        }
        uint64_t state = asy_stmt_col_u64(l->ticket_tail, 1);
        s->a.lane_seq = asy_stmt_col_u64(l->ticket_tail, 0) + 1;
        if (state == ASY_TICKET_OPEN) {
            struct asy_terms terms;
            asy_u128 worst;
            if (asy_object_decode(&terms, ASY_OBJ_TERMS, asy_stmt_col_bytes(l->ticket_tail, 3)) !=
                    ASY_OK ||
                asy_job_worst_cost(&worst, &terms) != ASY_OK) {
                asy_stmt_reset(l->ticket_tail);
                return ASY_ERR_STORE;
            }
            s->a.reserved += worst;
            s->open_count++;
        } else if (state == ASY_TICKET_PAID) {
            s->a.paid += asy_stmt_col_u128(l->ticket_tail, 2);
        }
    }
    return ledger_grow_tree(l, s);
}

static void index_lane(struct asy_ledger *l, struct account_slot *s) {
    HASH_ADD(by_lane, l->lanes, a.lane, sizeof s->a.lane, s);
}

static struct account_slot *add_account(struct asy_ledger *l, const struct asy_addr *addr,
                                        uint64_t created_ms) {
    struct account_slot *s = asy_alloc(sizeof *s);
    s->a.addr = *addr;
    s->a.created_ms = created_ms;
    HASH_ADD(by_addr, l->accounts, a.addr, sizeof s->a.addr, s);
    return s;
}

static enum asy_err load_accounts(struct asy_ledger *l) {
    for (;;) {
        bool row;
        ASY_TRY(ledger_row(&row, l->account_all));
        if (!row) {
            break;
        }
        struct asy_stmt *q = l->account_all;
        struct asy_addr addr = asy_stmt_col_addr(q, 0);
        struct account_slot *s = add_account(l, &addr, asy_stmt_col_u64(q, 1));
        if (!asy_stmt_col_is_null(q, 2)) {
            struct asy_cap cap;
            struct asy_sig sig;
            struct asy_bytes sig_bytes = asy_stmt_col_bytes(q, 3);
            if (asy_object_decode(&cap, ASY_OBJ_CAP, asy_stmt_col_bytes(q, 2)) != ASY_OK ||
                sig_bytes.n != sizeof sig.b) {
                asy_stmt_reset(q);
                return ASY_ERR_STORE;
            }
            memcpy(sig.b, sig_bytes.p, sizeof sig.b);
            set_cap(&s->a, &cap, &sig);
            s->a.cap_open = asy_stmt_col_u64(q, 4) != 0;
        }
        if (!asy_stmt_col_is_null(q, 5)) {
            s->a.lane = (uint32_t)asy_stmt_col_u64(q, 5);
            s->a.funded = asy_stmt_col_u128(q, 6);
            s->a.free = asy_stmt_col_u128(q, 7);
            s->a.closes_at = asy_stmt_col_u64(q, 8);
        }
    }
    struct account_slot *s, *next;
    HASH_ITER(by_addr, l->accounts, s, next) {
        if (s->a.lane != 0) {
            ASY_TRY(load_lane(l, s));
            index_lane(l, s);
        }
    }
    return ASY_OK;
}

static enum asy_err load_keys(struct asy_ledger *l) {
    bool row;
    ASY_TRY(ledger_row(&row, l->key_max));
    ASY_ASSERT(row); /* an aggregate always gives one */
    l->next_key = asy_stmt_col_u64(l->key_max, 0) + 1;
    ASY_TRY(ledger_end(l->key_max));
    for (;;) {
        ASY_TRY(ledger_row(&row, l->key_all));
        if (!row) {
            return ASY_OK;
        }
        struct asy_addr addr = asy_stmt_col_addr(l->key_all, 2);
        struct key_slot *k = asy_alloc(sizeof *k);
        k->id = asy_stmt_col_u64(l->key_all, 0);
        k->hash = asy_stmt_col_hash(l->key_all, 1);
        k->account = asy_ledger_find_account(l, &addr);
        ASY_ASSERT(k->account != NULL); /* issue_key made it in the same turn */
        HASH_ADD(hh, l->keys, hash, sizeof k->hash, k);
    }
}

static struct node_slot *add_node(struct asy_ledger *l, uint64_t id, const struct asy_addr *addr) {
    struct node_slot *s = asy_alloc(sizeof *s);
    s->n.id = id;
    s->n.addr = *addr;
    HASH_ADD(by_addr, l->nodes, n.addr, sizeof s->n.addr, s);
    HASH_ADD(by_id, l->node_ids, n.id, sizeof s->n.id, s);
    l->next_node = id >= l->next_node ? id + 1 : l->next_node;
    return s;
}

/* Numbers of the last checkpoint of a kind: where the next begins. */
static enum asy_err load_numbering(struct asy_ledger *l, uint64_t node,
                                   enum asy_checkpoint_kind kind, uint64_t *ret_number,
                                   uint64_t *ret_items) {
    bool row;
    asy_stmt_bind_u64(l->checkpoint_last, 1, node);
    asy_stmt_bind_u64(l->checkpoint_last, 2, (uint64_t)kind);
    ASY_TRY(ledger_row(&row, l->checkpoint_last));
    if (row) {
        *ret_number = asy_stmt_col_u64(l->checkpoint_last, 0) + 1;
        *ret_items =
            asy_stmt_col_u64(l->checkpoint_last, 1) + asy_stmt_col_u64(l->checkpoint_last, 2);
        ASY_TRY(ledger_end(l->checkpoint_last));
    }
    return ASY_OK;
}

/* What is accepted, but not signed yet. */
static enum asy_err load_unsigned(struct asy_ledger *l, struct node_slot *s) {
    struct asy_stmt *q = l->item_amounts;
    s->item_next = s->n.receipts_have;
    asy_stmt_bind_u64(q, 1, s->n.id);
    asy_stmt_bind_u64(q, 2, s->n.receipts_have);
    asy_stmt_bind_u64(q, 3, INT64_MAX);
    for (;;) {
        bool row;
        ASY_TRY(ledger_row(&row, q));
        if (!row) {
            return ASY_OK;
        }
        s->item_next = asy_stmt_col_u64(q, 0) + 1;
        s->unsigned_pay += asy_stmt_col_u128(q, 1);
    }
}

static enum asy_err load_nodes(struct asy_ledger *l) {
    bool row;
    for (;;) {
        ASY_TRY(ledger_row(&row, l->node_all));
        if (!row) {
            break;
        }
        struct asy_stmt *q = l->node_all;
        struct asy_addr addr = asy_stmt_col_addr(q, 1);
        struct node_slot *s = add_node(l, asy_stmt_col_u64(q, 0), &addr);
        if (asy_stmt_col_is_null(q, 2)) {
            continue; /* never written since it was made */
        }
        s->n.link = (uint32_t)asy_stmt_col_u64(q, 2);
        s->n.owed = asy_stmt_col_u128(q, 3);
        s->n.posted = asy_stmt_col_u128(q, 4);
        s->n.credited = asy_stmt_col_u128(q, 5);
        s->n.closed_below = asy_stmt_col_u64(q, 6);
        s->n.batched = asy_stmt_col_u128(q, 9);
        if (!asy_stmt_col_is_null(q, 7)) {
            struct asy_bytes sig = asy_stmt_col_bytes(q, 8);
            if (asy_object_decode(&s->n.ack, ASY_OBJ_ACK, asy_stmt_col_bytes(q, 7)) != ASY_OK ||
                sig.n != sizeof s->n.ack_sig.b) {
                asy_stmt_reset(q);
                return ASY_ERR_STORE;
            }
            memcpy(s->n.ack_sig.b, sig.p, sig.n);
            s->n.has_ack = true;
        }
    }
    struct node_slot *s, *next;
    HASH_ITER(by_addr, l->nodes, s, next) {
        asy_stmt_bind_u64(l->node_seq, 1, s->n.id);
        ASY_TRY(ledger_row(&row, l->node_seq));
        if (row) {
            s->n.link_seq = asy_stmt_col_u64(l->node_seq, 0) + 1;
            ASY_TRY(ledger_end(l->node_seq));
        }
        ASY_TRY(load_numbering(l, s->n.id, ASY_CHECKPOINT_TICKETS, &s->n.ticket_checkpoint_next,
                               &s->n.tickets_signed));
        ASY_TRY(load_numbering(l, s->n.id, ASY_CHECKPOINT_RECEIPTS, &s->n.receipt_checkpoint_next,
                               &s->n.receipts_have));
        ASY_TRY(load_unsigned(l, s));
    }
    return ASY_OK;
}

enum asy_err asy_ledger_open(struct asy_ledger **ret_ledger, const char *path,
                             const struct asy_env *env, enum asy_store_sync sync,
                             struct asy_why *reterr_why) {
    struct asy_ledger *l = asy_alloc(sizeof *l);
    l->env = env;
    l->next_node = 1;
    struct asy_store_options options = {.application_id = APPLICATION_ID, .sync = sync};
    enum asy_err err =
        asy_store_open(&l->store, path, migrations, ASY_COUNT(migrations), &options, reterr_why);
    if (err != ASY_OK) {
        asy_free(l);
        return err;
    }
    bool row = false;
#define X(name, sql)                                                                               \
    if (err == ASY_OK) {                                                                           \
        err = asy_store_prepare(&l->name, l->store, sql, reterr_why);                              \
    }
    LEDGER_STATEMENTS(X)
#undef X
    if (err == ASY_OK) {
        err = asy_store_checkpointer_start(l->store, 0, reterr_why);
    }
    if (err == ASY_OK && (err = ledger_row(&row, l->batch_max)) == ASY_OK) {
        l->batch_count = asy_stmt_col_u64(l->batch_max, 0);
        err = ledger_end(l->batch_max);
    }
    if (err == ASY_OK) {
        err = load_nodes(l);
    }
    if (err == ASY_OK) {
        err = load_accounts(l); /* after the nodes: their tickets are counted for them */
    }
    if (err == ASY_OK) {
        err = load_keys(l);
    }
    if (err != ASY_OK) {
        asy_ledger_close(l);
        return err;
    }
    *ret_ledger = l;
    return ASY_OK;
}

void asy_ledger_close(struct asy_ledger *l) {
    if (l == NULL) {
        return;
    }
    asy_store_close(l->store);
    struct key_slot *k, *next_key;
    HASH_ITER(hh, l->keys, k, next_key) {
        HASH_DEL(l->keys, k);
        asy_free(k);
    }
    struct account_slot *a, *next_account;
    HASH_CLEAR(by_lane, l->lanes);
    HASH_ITER(by_addr, l->accounts, a, next_account) {
        HASH_DELETE(by_addr, l->accounts, a);
        asy_free(a);
    }
    struct node_slot *n, *next_node;
    HASH_CLEAR(by_id, l->node_ids);
    HASH_ITER(by_addr, l->nodes, n, next_node) {
        HASH_DELETE(by_addr, l->nodes, n);
        asy_free(n);
    }
    asy_free(l);
}

static enum asy_err write_node(struct asy_ledger *l, struct node_slot *s) {
    struct asy_stmt *q = l->node_set;
    uint8_t ack[ASY_ACK_LEN];
    asy_stmt_bind_u64(q, 1, s->n.id);
    asy_stmt_bind_u64(q, 2, s->n.link);
    asy_stmt_bind_u128(q, 3, s->n.owed);
    asy_stmt_bind_u128(q, 4, s->n.posted);
    asy_stmt_bind_u128(q, 5, s->n.credited);
    asy_stmt_bind_u64(q, 6, s->n.closed_below);
    if (s->n.has_ack) {
        asy_object_encode(ack, ASY_OBJ_ACK, &s->n.ack);
        asy_stmt_bind_bytes(q, 7, asy_bytes_of(ack, sizeof ack));
        asy_stmt_bind_bytes(q, 8, asy_bytes_of(s->n.ack_sig.b, sizeof s->n.ack_sig.b));
    }
    asy_stmt_bind_u128(q, 9, s->n.batched);
    s->changed = false;
    return ledger_run(q);
}

void ledger_touch_node(struct asy_ledger *l, struct node_slot *node) {
    if (!node->changed) {
        node->changed = true;
        node->next_changed = l->changed;
        l->changed = node;
    }
}

bool asy_ledger_dirty(const struct asy_ledger *l) {
    return l->changed != NULL || asy_store_dirty(l->store);
}

enum asy_err asy_ledger_commit(struct asy_ledger *l, struct asy_why *reterr_why) {
    /* totals change with every receipt: written once a turn */
    for (; l->changed != NULL; l->changed = l->changed->next_changed) {
        ASY_TRY(write_node(l, l->changed));
    }
    return asy_store_commit(l->store, reterr_why);
}

/* ---- accounts -------------------------------------------------------------------------------- */

struct asy_account *asy_ledger_find_account(struct asy_ledger *l, const struct asy_addr *addr) {
    struct account_slot *s;
    HASH_FIND(by_addr, l->accounts, addr, sizeof *addr, s);
    return s != NULL ? &s->a : NULL;
}

struct asy_account *asy_ledger_lane_account(struct asy_ledger *l, uint32_t lane) {
    struct account_slot *s;
    HASH_FIND(by_lane, l->lanes, &lane, sizeof lane, s);
    return s != NULL ? &s->a : NULL;
}

enum asy_err asy_ledger_account(struct asy_ledger *l, struct asy_account **ret_account,
                                const struct asy_addr *addr) {
    struct asy_account *found = asy_ledger_find_account(l, addr);
    if (found == NULL) {
        uint64_t now = asy_env_wall_ms(l->env);
        asy_stmt_bind_addr(l->account_add, 1, addr);
        asy_stmt_bind_u64(l->account_add, 2, now);
        ASY_TRY(ledger_run(l->account_add));
        found = &add_account(l, addr, now)->a;
    }
    *ret_account = found;
    return ASY_OK;
}

void asy_ledger_each_account(struct asy_ledger *l,
                             void (*fn)(void *arg, struct asy_account *account), void *arg) {
    struct account_slot *s, *next;
    HASH_ITER(by_addr, l->accounts, s, next) { fn(arg, &s->a); }
}

asy_u128 asy_ledger_headroom(const struct asy_account *a) {
    asy_u128 used;
    bool fits = asy_add_u128(&used, a->paid, a->reserved);
    return fits && used < a->funded ? a->funded - used : 0;
}

/* ---- keys ------------------------------------------------------------------------------------ */

enum asy_err asy_ledger_issue_key(struct asy_ledger *l, char ret_key[ASY_KEY_TEXT],
                                  uint64_t *ret_id, struct asy_account *account,
                                  struct asy_bytes label) {
    uint8_t secret[32];
    asy_env_random(l->env, secret, sizeof secret);
    struct asy_buf text;
    asy_buf_init(&text, ASY_KEY_TEXT);
    enum asy_err err = asy_buf_add_str(&text, "sk-assay-");
    if (err == ASY_OK) {
        err = asy_base64_encode(&text, asy_bytes_of(secret, sizeof secret), ASY_BASE64_URL);
    }
    asy_secret_wipe(secret, sizeof secret);
    ASY_ASSERT(err == ASY_OK && text.n == ASY_KEY_TEXT - 1);

    struct key_slot *k = asy_alloc(sizeof *k);
    asy_sha256(&k->hash, asy_buf_bytes(&text));
    k->id = l->next_key++;
    k->account = account;
    asy_stmt_bind_u64(l->key_add, 1, k->id);
    asy_stmt_bind_hash(l->key_add, 2, &k->hash);
    asy_stmt_bind_addr(l->key_add, 3, &account->addr);
    asy_stmt_bind_text(l->key_add, 4, label);
    asy_stmt_bind_u64(l->key_add, 5, asy_env_wall_ms(l->env));
    err = ledger_run(l->key_add);
    if (err != ASY_OK) {
        asy_free(k);
    } else {
        HASH_ADD(hh, l->keys, hash, sizeof k->hash, k);
        memcpy(ret_key, asy_buf_cstr(&text), ASY_KEY_TEXT);
        *ret_id = k->id;
    }
    asy_secret_wipe(text.p, text.n);
    asy_buf_done(&text);
    return err;
}

struct asy_account *asy_ledger_find_key(struct asy_ledger *l, struct asy_bytes key) {
    struct asy_hash hash;
    asy_sha256(&hash, key);
    struct key_slot *k;
    HASH_FIND(hh, l->keys, &hash, sizeof hash, k);
    return k != NULL ? k->account : NULL;
}

enum asy_err asy_ledger_revoke_key(struct asy_ledger *l, uint64_t id) {
    struct key_slot *k, *next;
    HASH_ITER(hh, l->keys, k, next) {
        if (k->id == id) {
            asy_stmt_bind_u64(l->key_revoke, 1, id);
            asy_stmt_bind_u64(l->key_revoke, 2, asy_env_wall_ms(l->env));
            ASY_TRY(ledger_run(l->key_revoke));
            HASH_DEL(l->keys, k);
            asy_free(k);
            return ASY_OK;
        }
    }
    return ASY_ERR_NOT_FOUND;
}

/* ---- caps and lanes -------------------------------------------------------------------------- */

enum asy_err asy_ledger_set_cap(struct asy_ledger *l, struct asy_account *account,
                                const struct asy_cap *cap, const struct asy_sig *sig) {
    if (account->has_cap && cap->nonce <= account->cap.nonce) {
        return ASY_ERR_CONFLICT;
    }
    uint8_t body[ASY_CAP_LEN];
    asy_object_encode(body, ASY_OBJ_CAP, cap);
    asy_stmt_bind_addr(l->account_cap, 1, &account->addr);
    asy_stmt_bind_bytes(l->account_cap, 2, asy_bytes_of(body, sizeof body));
    asy_stmt_bind_bytes(l->account_cap, 3, asy_bytes_of(sig->b, sizeof sig->b));
    ASY_TRY(ledger_run(l->account_cap));
    set_cap(account, cap, sig);
    account->cap_open = false;
    return ASY_OK;
}

/* What the journal has moved into a lane from outside, and not back. */
static enum asy_err journaled_funds(struct asy_ledger *l, uint32_t lane, asy_u128 *ret_funded) {
    asy_u128 funded = 0;
    struct asy_stmt *q = l->journal_all;
    for (;;) {
        bool row;
        ASY_TRY(ledger_row(&row, q));
        if (!row) {
            *ret_funded = funded;
            return ASY_OK;
        }
        if (asy_stmt_col_u64(q, 4) == lane) {
            struct asy_bytes kind = asy_stmt_col_text(q, 0);
            asy_u128 amount = asy_stmt_col_u128(q, 3);
            funded += asy_bytes_eq(kind, ASY_STR("pull")) ? amount : 0;
            funded -= asy_bytes_eq(kind, ASY_STR("unpull")) ? amount : 0;
        }
    }
}

/* A requester's lane was closed and another opened (or, in a re-organisation, the other way round).
 * The contract takes no more debits of the old one, so what of it stands in no batch is the
 * gateway's loss; its nodes keep their Acks. */
static enum asy_err change_lane(struct asy_ledger *l, struct account_slot *s, uint32_t lane) {
    bool first = s->a.lane == 0;
    if (!first) {
        asy_stmt_bind_u64(l->ticket_tail, 1, s->a.lane);
        asy_stmt_bind_u64(l->ticket_tail, 2, s->posted_seq);
        for (uint32_t i = 0; i < s->tree.count; i++) {
            bool row;
            struct asy_sum_node leaf;
            struct node_slot *node;
            ASY_TRY(ledger_row(&row, l->ticket_tail));
            ASY_ASSERT(row);
            enum asy_err err = ledger_tail_leaf(l, &leaf, &node);
            ASY_ASSERT(err == ASY_OK); /* it was in the tree */
            if (node != NULL) {
                node->ready -= leaf.sum;
            }
        }
        asy_stmt_reset(l->ticket_tail);
        l->unposted -= s->tree.count;
        ledger_stop_waiting(s);
        HASH_DELETE(by_lane, l->lanes, s);
        asy_sum_stream_init(&s->tree);
        ledger_count_full(l, s);
    }
    s->a.lane = lane;
    s->a.lane_seq = s->posted_seq = s->batched_at = 0;
    s->a.paid = s->a.reserved = s->posted = s->a.funded = 0;
    s->open_count = 0;
    if (lane != 0) {
        if (!first) { /* a number that was in use before */
            ASY_TRY(journaled_funds(l, lane, &s->a.funded));
        }
        ASY_TRY(load_lane(l, s));
        index_lane(l, s);
    }
    return ASY_OK;
}

enum asy_err asy_ledger_set_lane(struct asy_ledger *l, struct asy_account *account,
                                 const struct asy_lane_facts *facts) {
    struct account_slot *s = (struct account_slot *)account;
    if (facts->lane == account->lane && facts->cap_open == account->cap_open &&
        facts->funded == account->funded && facts->free == account->free &&
        facts->closes_at == account->closes_at) {
        return ASY_OK;
    }
    if (facts->lane != account->lane) {
        ASY_TRY(change_lane(l, s, facts->lane));
    }
    if (facts->funded > account->funded) {
        ASY_TRY(ledger_journal(l, "pull", "free", facts->lane, "lane", facts->lane,
                               facts->funded - account->funded, facts->lane, 0));
    } else if (facts->funded <
               account->funded) { /* it was closed, or a re-organisation took a pull back */
        ASY_TRY(ledger_journal(l, "unpull", "lane", facts->lane, "free", facts->lane,
                               account->funded - facts->funded, facts->lane, 0));
    }
    asy_stmt_bind_addr(l->account_lane, 1, &account->addr);
    asy_stmt_bind_u64(l->account_lane, 2, facts->lane);
    asy_stmt_bind_u64(l->account_lane, 3, facts->cap_open);
    asy_stmt_bind_u128(l->account_lane, 4, facts->funded);
    asy_stmt_bind_u128(l->account_lane, 5, facts->free);
    asy_stmt_bind_u64(l->account_lane, 6, facts->closes_at);
    ASY_TRY(ledger_run(l->account_lane));
    account->cap_open = facts->cap_open;
    account->funded = facts->funded;
    account->free = facts->free;
    account->closes_at = facts->closes_at;
    return ASY_OK;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

struct node_slot *ledger_node_by_id(const struct asy_ledger *l, uint64_t id) {
    struct node_slot *s;
    HASH_FIND(by_id, l->node_ids, &id, sizeof id, s);
    return s;
}

struct node_slot *ledger_node_of(const struct asy_ledger *l, const struct asy_addr *addr) {
    struct node_slot *s;
    HASH_FIND(by_addr, l->nodes, addr, sizeof *addr, s);
    return s;
}

enum asy_err asy_ledger_node(struct asy_ledger *l, struct asy_node_book **ret_node,
                             const struct asy_addr *addr) {
    struct node_slot *s = ledger_node_of(l, addr);
    if (s == NULL) {
        asy_stmt_bind_u64(l->node_add, 1, l->next_node);
        asy_stmt_bind_addr(l->node_add, 2, addr);
        ASY_TRY(ledger_run(l->node_add));
        s = add_node(l, l->next_node, addr);
        ledger_touch_node(l, s);
    }
    *ret_node = &s->n;
    return ASY_OK;
}

struct asy_node_book *asy_ledger_find_node(struct asy_ledger *l, const struct asy_addr *addr) {
    struct node_slot *s = ledger_node_of(l, addr);
    return s != NULL ? &s->n : NULL;
}

void asy_ledger_each_node(struct asy_ledger *l, void (*fn)(void *arg, struct asy_node_book *node),
                          void *arg) {
    struct node_slot *s, *next;
    HASH_ITER(by_addr, l->nodes, s, next) { fn(arg, &s->n); }
}

enum asy_err asy_ledger_set_link(struct asy_ledger *l, struct asy_node_book *node, uint32_t link,
                                 asy_u128 credited) {
    if (node->link != link) {
        node->link = link;
        ledger_touch_node(l, (struct node_slot *)node);
    }
    return ledger_set_credited(l, (struct node_slot *)node, credited, 0);
}

enum asy_err ledger_set_credited(struct asy_ledger *l, struct node_slot *node, asy_u128 credited,
                                 uint64_t batch) {
    if (credited > node->n.credited) {
        ASY_TRY(ledger_journal(l, "credit", "owed", node->n.id, "credited", node->n.id,
                               credited - node->n.credited, 0, batch));
    } else if (credited < node->n.credited) { /* a re-organisation */
        ASY_TRY(ledger_journal(l, "uncredit", "credited", node->n.id, "owed", node->n.id,
                               node->n.credited - credited, 0, batch));
    } else {
        return ASY_OK;
    }
    node->n.credited = credited;
    ledger_touch_node(l, node);
    return ASY_OK;
}

enum asy_err asy_ledger_set_ack(struct asy_ledger *l, struct asy_node_book *node,
                                const struct asy_ack *ack, const struct asy_sig *sig) {
    node->has_ack = true;
    node->ack = *ack;
    node->ack_sig = *sig;
    ledger_touch_node(l, (struct node_slot *)node);
    return ASY_OK;
}
