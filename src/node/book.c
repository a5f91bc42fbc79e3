/* book.c: the node's memory on disk. */
#include "node/node_priv.h"

static const struct asy_store_migration migrations[] = {
    {"first",
     "CREATE TABLE ticket (gateway BLOB NOT NULL, link_seq INTEGER NOT NULL, terms BLOB NOT NULL,"
     "  PRIMARY KEY (gateway, link_seq)) WITHOUT ROWID;"
     "CREATE TABLE receipt (gateway BLOB NOT NULL, item INTEGER NOT NULL, terms BLOB NOT NULL,"
     "  receipt BLOB NOT NULL, prompt_digest BLOB NOT NULL, PRIMARY KEY (gateway, item)) WITHOUT "
     "ROWID;"
     "CREATE TABLE checkpoint (gateway BLOB NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT "
     "NULL,"
     "  first INTEGER NOT NULL, count INTEGER NOT NULL, body BLOB NOT NULL, sig BLOB NOT NULL,"
     "  PRIMARY KEY (gateway, kind, number)) WITHOUT ROWID;"
     "CREATE TABLE total (gateway BLOB PRIMARY KEY, items INTEGER NOT NULL, owed BLOB NOT NULL)"
     "  WITHOUT ROWID;"
     "CREATE TABLE ack (gateway BLOB PRIMARY KEY, body BLOB NOT NULL, sig BLOB NOT NULL) WITHOUT "
     "ROWID;"},
};
enum { APPLICATION_ID = 0x41534e31 }; /* "ASN1" */

#define STATEMENTS(X)                                                                              \
    X(ticket_add, "INSERT INTO ticket (gateway, link_seq, terms) VALUES (?1, ?2, ?3)")             \
    X(receipt_add, "INSERT INTO receipt (gateway, item, terms, receipt, prompt_digest) "           \
                   "VALUES (?1, ?2, ?3, ?4, ?5)")                                                  \
    X(receipt_from, "SELECT terms, receipt, prompt_digest, item FROM receipt "                     \
                    "WHERE gateway = ?1 AND item >= ?2 AND item < ?3 ORDER BY item")               \
    X(checkpoint_add, "INSERT INTO checkpoint (gateway, kind, number, first, count, body, sig) "   \
                      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING")                \
    X(checkpoint_from, "SELECT body, sig FROM checkpoint WHERE gateway = ?1 AND kind = 2 "         \
                       "AND first >= ?2 ORDER BY number")                                          \
    X(checkpoint_last, "SELECT number, first, count FROM checkpoint WHERE gateway = ?1 "           \
                       "AND kind = ?2 ORDER BY number DESC LIMIT 1")                               \
    X(total_get, "SELECT items, owed FROM total WHERE gateway = ?1")                               \
    X(total_put,                                                                                   \
      "INSERT INTO total (gateway, items, owed) VALUES (?1, ?2, ?3) "                              \
      "ON CONFLICT (gateway) DO UPDATE SET items = excluded.items, owed = excluded.owed")          \
    X(ack_get, "SELECT body, sig FROM ack WHERE gateway = ?1")                                     \
    X(ack_put, "INSERT INTO ack (gateway, body, sig) VALUES (?1, ?2, ?3) "                         \
               "ON CONFLICT (gateway) DO UPDATE SET body = excluded.body, sig = excluded.sig")

struct book {
    struct asy_store *store;
#define X(name, sql) struct asy_stmt *name;
    STATEMENTS(X)
#undef X
};

enum asy_err book_open(struct book **ret_book, const char *path, const struct asy_env *env,
                       struct asy_why *why) {
    (void)env;
    struct book *b = asy_alloc(sizeof *b);
    struct asy_store_options options = {.application_id = APPLICATION_ID,
                                        .sync = ASY_STORE_SYNC_NORMAL};
    enum asy_err err =
        asy_store_open(&b->store, path, migrations, ASY_COUNT(migrations), &options, why);
    if (err != ASY_OK) {
        asy_free(b);
        return err;
    }
#define X(name, sql)                                                                               \
    if (err == ASY_OK) {                                                                           \
        err = asy_store_prepare(&b->name, b->store, sql, why);                                     \
    }
    STATEMENTS(X)
#undef X
    if (err == ASY_OK) {
        err = asy_store_checkpointer_start(b->store, 0, why);
    }
    if (err != ASY_OK) {
        book_close(b);
        return err;
    }
    *ret_book = b;
    return ASY_OK;
}

void book_close(struct book *b) {
    if (b != NULL) {
        asy_store_close(b->store);
        asy_free(b);
    }
}

enum asy_err book_commit(struct book *b, struct asy_why *why) {
    return asy_store_commit(b->store, why);
}
bool book_dirty(const struct book *b) { return asy_store_dirty(b->store); }

static void bind_object(struct asy_stmt *q, int index, uint8_t *bytes, enum asy_object type,
                        const void *object) {
    asy_object_encode(bytes, type, object);
    asy_stmt_bind_bytes(q, index, asy_bytes_of(bytes, asy_object_len(type)));
}

static void read_signed(struct asy_stmt *q, enum asy_object type, void *ret_object,
                        struct asy_sig *ret_sig) {
    struct asy_bytes sig = asy_stmt_col_bytes(q, 1);
    enum asy_err err = asy_object_decode(ret_object, type, asy_stmt_col_bytes(q, 0));
    ASY_ASSERT(err == ASY_OK && sig.n == sizeof ret_sig->b); /* only this program writes the file */
    memcpy(ret_sig->b, sig.p, sig.n);
}

static enum asy_err last(struct book *b, const struct asy_addr *gateway, uint64_t kind,
                         uint64_t *ret_number, uint64_t *ret_items) {
    bool row;
    asy_stmt_bind_addr(b->checkpoint_last, 1, gateway);
    asy_stmt_bind_u64(b->checkpoint_last, 2, kind);
    ASY_TRY(asy_stmt_step(&row, b->checkpoint_last, NULL));
    if (row) {
        *ret_number = asy_stmt_col_u64(b->checkpoint_last, 0) + 1;
        *ret_items =
            asy_stmt_col_u64(b->checkpoint_last, 1) + asy_stmt_col_u64(b->checkpoint_last, 2);
        asy_stmt_reset(b->checkpoint_last);
    }
    return ASY_OK;
}

static enum asy_err sums(struct book *b, const struct asy_addr *gateway, uint64_t *ret_items,
                         asy_u128 *ret_owed) {
    bool row;
    asy_stmt_bind_addr(b->total_get, 1, gateway);
    ASY_TRY(asy_stmt_step(&row, b->total_get, NULL));
    *ret_items = row ? asy_stmt_col_u64(b->total_get, 0) : 0;
    *ret_owed = row ? asy_stmt_col_u128(b->total_get, 1) : 0;
    if (row) {
        asy_stmt_reset(b->total_get);
    }
    return ASY_OK;
}

enum asy_err book_totals(struct book *b, struct book_totals *ret, const struct asy_addr *gateway) {
    struct book_totals t = {0};
    uint64_t ignored = 0;
    bool row;
    ASY_TRY(sums(b, gateway, &t.items, &t.owed));
    ASY_TRY(last(b, gateway, ASY_CHECKPOINT_RECEIPTS, &t.checkpoint_next, &t.items_signed));
    ASY_TRY(last(b, gateway, ASY_CHECKPOINT_TICKETS, &ignored, &t.tickets_have));
    asy_stmt_bind_addr(b->ack_get, 1, gateway);
    ASY_TRY(asy_stmt_step(&row, b->ack_get, NULL));
    if (row) {
        t.has_ack = true;
        read_signed(b->ack_get, ASY_OBJ_ACK, &t.ack, &t.ack_sig);
        asy_stmt_reset(b->ack_get);
    }
    *ret = t;
    return ASY_OK;
}

enum asy_err book_add_ticket(struct book *b, const struct asy_terms *terms) {
    uint8_t body[ASY_TERMS_LEN];
    asy_stmt_bind_addr(b->ticket_add, 1, &terms->gateway);
    asy_stmt_bind_u64(b->ticket_add, 2, terms->link_seq);
    bind_object(b->ticket_add, 3, body, ASY_OBJ_TERMS, terms);
    return asy_stmt_run(b->ticket_add, NULL);
}

enum asy_err book_add_receipt(struct book *b, const struct asy_terms *terms,
                              const struct asy_receipt *receipt,
                              const struct asy_hash *prompt_digest, uint64_t item) {
    uint64_t items;
    asy_u128 owed;
    ASY_TRY(sums(b, &terms->gateway, &items, &owed));
    ASY_ASSERT(item == items);
    uint8_t terms_body[ASY_TERMS_LEN], receipt_body[ASY_RECEIPT_LEN];
    asy_stmt_bind_addr(b->receipt_add, 1, &terms->gateway);
    asy_stmt_bind_u64(b->receipt_add, 2, item);
    bind_object(b->receipt_add, 3, terms_body, ASY_OBJ_TERMS, terms);
    bind_object(b->receipt_add, 4, receipt_body, ASY_OBJ_RECEIPT, receipt);
    asy_stmt_bind_hash(b->receipt_add, 5, prompt_digest);
    ASY_TRY(asy_stmt_run(b->receipt_add, NULL));
    asy_stmt_bind_addr(b->total_put, 1, &terms->gateway);
    asy_stmt_bind_u64(b->total_put, 2, item + 1);
    asy_stmt_bind_u128(b->total_put, 3, owed + receipt->amount);
    return asy_stmt_run(b->total_put, NULL);
}

enum asy_err book_add_checkpoint(struct book *b, const struct asy_addr *gateway,
                                 const struct asy_checkpoint *c, const struct asy_sig *sig) {
    uint8_t body[ASY_CHECKPOINT_LEN];
    struct asy_stmt *q = b->checkpoint_add;
    asy_stmt_bind_addr(q, 1, gateway);
    asy_stmt_bind_u64(q, 2, c->kind);
    asy_stmt_bind_u64(q, 3, c->number);
    asy_stmt_bind_u64(q, 4, c->first);
    asy_stmt_bind_u64(q, 5, c->count);
    bind_object(q, 6, body, ASY_OBJ_CHECKPOINT, c);
    asy_stmt_bind_bytes(q, 7, asy_bytes_of(sig->b, sizeof sig->b));
    return asy_stmt_run(q, NULL);
}

enum asy_err book_set_ack(struct book *b, const struct asy_ack *ack, const struct asy_sig *sig) {
    uint8_t body[ASY_ACK_LEN];
    asy_stmt_bind_addr(b->ack_put, 1, &ack->gateway);
    bind_object(b->ack_put, 2, body, ASY_OBJ_ACK, ack);
    asy_stmt_bind_bytes(b->ack_put, 3, asy_bytes_of(sig->b, sizeof sig->b));
    return asy_stmt_run(b->ack_put, NULL);
}

enum asy_err book_receipts(struct book *b, const struct asy_addr *gateway, uint64_t from,
                           uint64_t to, book_receipt_fn fn, void *arg) {
    struct asy_stmt *q = b->receipt_from;
    asy_stmt_bind_addr(q, 1, gateway);
    asy_stmt_bind_u64(q, 2, from);
    asy_stmt_bind_u64(q, 3, to);
    for (;;) {
        bool row;
        ASY_TRY(asy_stmt_step(&row, q, NULL));
        if (!row) {
            return ASY_OK;
        }
        struct asy_terms terms;
        struct asy_receipt receipt;
        enum asy_err err = asy_object_decode(&terms, ASY_OBJ_TERMS, asy_stmt_col_bytes(q, 0));
        err = err == ASY_OK ? asy_object_decode(&receipt, ASY_OBJ_RECEIPT, asy_stmt_col_bytes(q, 1))
                            : err;
        ASY_ASSERT(err == ASY_OK); /* only this program writes the file */
        struct asy_hash prompt = asy_stmt_col_hash(q, 2);
        fn(arg, &terms, &receipt, &prompt, asy_stmt_col_u64(q, 3));
    }
}

enum asy_err book_checkpoints(struct book *b, const struct asy_addr *gateway, uint64_t from,
                              book_checkpoint_fn fn, void *arg) {
    struct asy_stmt *q = b->checkpoint_from;
    asy_stmt_bind_addr(q, 1, gateway);
    asy_stmt_bind_u64(q, 2, from);
    for (;;) {
        bool row;
        ASY_TRY(asy_stmt_step(&row, q, NULL));
        if (!row) {
            return ASY_OK;
        }
        struct asy_checkpoint c;
        struct asy_sig sig;
        read_signed(q, ASY_OBJ_CHECKPOINT, &c, &sig);
        fn(arg, &c, &sig);
    }
}
