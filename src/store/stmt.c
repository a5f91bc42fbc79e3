/* stmt.c: statements: bind, step, read. */
#include "store/store_priv.h"

static bool is_constraint(int extended_code) { return (extended_code & 0xff) == SQLITE_CONSTRAINT; }

/* A failed statement or script: CONFLICT leaves the turn alone, anything else may have torn it. */
static enum asy_err failed(struct asy_store *store, const char *sql, bool writes,
                           struct asy_why *reterr_why) {
    bool conflict = is_constraint(sqlite3_extended_errcode(store->db));
    struct asy_why why = {0};
    (void)asy_store_failed(store->db, sql, &why); /* for its text */
    if (store->dirty && ((writes && !conflict) || sqlite3_get_autocommit(store->db) != 0)) {
        asy_store_doom(store, &why);
        conflict = false;
    }
    return asy_why_set(reterr_why, conflict ? ASY_ERR_CONFLICT : ASY_ERR_STORE, NULL, "%s",
                       why.text);
}

enum asy_err asy_store_exec(struct asy_store *store, const char *sql, struct asy_why *reterr_why) {
    uint32_t mark;
    ASY_TRY(asy_store_mark(store, &mark, reterr_why));
    if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        enum asy_err err = failed(store, sql, true, reterr_why);
        if (err == ASY_ERR_CONFLICT) {
            ASY_TRY(asy_store_rollback_to(store, mark, reterr_why));
        }
        return err;
    }
    /* turns belong to the store: no COMMIT in SQL */
    ASY_ASSERT(sqlite3_get_autocommit(store->db) == 0);
    return asy_store_keep(store, mark, reterr_why);
}

enum asy_err asy_store_prepare(struct asy_stmt **ret_stmt, struct asy_store *store, const char *sql,
                               struct asy_why *reterr_why) {
    sqlite3_stmt *compiled;
    const char *tail;
    if (sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &compiled, &tail) !=
        SQLITE_OK) {
        return asy_store_failed(store->db, sql, reterr_why);
    }
    ASY_ASSERT(compiled != NULL && tail[strspn(tail, " \n\t;")] == 0); /* one statement */
    struct asy_stmt *stmt = asy_alloc(sizeof(*stmt));
    *stmt = (struct asy_stmt){
        .store = store,
        .next = store->stmts,
        .sql = compiled,
        .writes = sqlite3_stmt_readonly(compiled) == 0,
        .bad_col = -1,
    };
    ASY_ASSERT(!(stmt->writes && store->reader));
    store->stmts = stmt;
    *ret_stmt = stmt;
    return ASY_OK;
}

/* ---- binding ---- */

static void bind_bad(struct asy_stmt *stmt, int index, enum asy_err err) {
    if (stmt->bad_bind == ASY_OK) {
        stmt->bad_bind = err;
        stmt->bad_bind_index = index;
    }
}

static void bound(struct asy_stmt *stmt, int index, int rc) {
    /* no such parameter; not at rest */
    ASY_ASSERT((rc & 0xff) != SQLITE_RANGE && (rc & 0xff) != SQLITE_MISUSE);
    if (rc != SQLITE_OK) {
        bind_bad(stmt, index, ASY_ERR_RANGE); /* longer than SQLite takes */
    }
}

void asy_stmt_bind_i64(struct asy_stmt *stmt, int index, int64_t value) {
    bound(stmt, index, sqlite3_bind_int64(stmt->sql, index, value));
}

void asy_stmt_bind_u64(struct asy_stmt *stmt, int index, uint64_t value) {
    if (value > INT64_MAX) {
        bind_bad(stmt, index, ASY_ERR_RANGE);
        return;
    }
    bound(stmt, index, sqlite3_bind_int64(stmt->sql, index, (int64_t)value));
}

static void bind_copy(struct asy_stmt *stmt, int index, const uint8_t *p, int len) {
    bound(stmt, index, sqlite3_bind_blob(stmt->sql, index, p, len, SQLITE_TRANSIENT));
}

void asy_stmt_bind_u128(struct asy_stmt *stmt, int index, asy_u128 value) {
    uint8_t bytes[16];
    asy_be128_put(bytes, value);
    bind_copy(stmt, index, bytes, sizeof(bytes));
}

void asy_stmt_bind_hash(struct asy_stmt *stmt, int index, const struct asy_hash *value) {
    bind_copy(stmt, index, value->b, sizeof(value->b));
}

void asy_stmt_bind_addr(struct asy_stmt *stmt, int index, const struct asy_addr *value) {
    bind_copy(stmt, index, value->b, sizeof(value->b));
}

void asy_stmt_bind_bytes(struct asy_stmt *stmt, int index, struct asy_bytes value) {
    /* a null pointer would bind NULL */
    const void *p = value.n != 0 ? (const void *)value.p : "";
    bound(stmt, index, sqlite3_bind_blob64(stmt->sql, index, p, value.n, SQLITE_STATIC));
}

void asy_stmt_bind_text(struct asy_stmt *stmt, int index, struct asy_bytes value) {
    const char *p = value.n != 0 ? (const char *)value.p : "";
    bound(stmt, index,
          sqlite3_bind_text64(stmt->sql, index, p, value.n, SQLITE_STATIC, SQLITE_UTF8));
}

void asy_stmt_bind_null(struct asy_stmt *stmt, int index) {
    bound(stmt, index, sqlite3_bind_null(stmt->sql, index));
}

/* ---- running ---- */

void asy_stmt_reset(struct asy_stmt *stmt) {
    (void)sqlite3_reset(stmt->sql); /* repeats the step's error, which was told */
    sqlite3_clear_bindings(stmt->sql);
    stmt->store->rows_open -= stmt->on_row;
    stmt->on_row = false;
    stmt->bad_bind = ASY_OK;
    stmt->bad_col = -1;
}

/* What binding or reading found wrong. */
static enum asy_err verdict(const struct asy_stmt *stmt, struct asy_why *reterr_why) {
    if (stmt->bad_bind != ASY_OK) {
        return asy_why_set(reterr_why, stmt->bad_bind, NULL, "parameter %d is too large: %s",
                           stmt->bad_bind_index, sqlite3_sql(stmt->sql));
    }
    if (stmt->bad_col >= 0) {
        return asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "column %d has another type: %s",
                           stmt->bad_col, sqlite3_sql(stmt->sql));
    }
    return ASY_OK;
}

enum asy_err asy_stmt_end(struct asy_stmt *stmt, struct asy_why *reterr_why) {
    enum asy_err err = verdict(stmt, reterr_why);
    asy_stmt_reset(stmt);
    return err;
}

enum asy_err asy_stmt_step(bool *ret_row, struct asy_stmt *stmt, struct asy_why *reterr_why) {
    struct asy_store *store = stmt->store;
    enum asy_err err = verdict(stmt, reterr_why);
    if (err == ASY_OK && stmt->writes) {
        err = asy_store_turn_open(store, reterr_why);
    }
    if (err != ASY_OK) {
        asy_stmt_reset(stmt);
        return err;
    }
    int rc = sqlite3_step(stmt->sql);
    if (rc == SQLITE_ROW) {
        store->rows_open += !stmt->on_row;
        stmt->on_row = true;
        *ret_row = true;
        return ASY_OK;
    }
    if (rc != SQLITE_DONE) {
        err = failed(store, sqlite3_sql(stmt->sql), stmt->writes, reterr_why);
    }
    asy_stmt_reset(stmt);
    if (err == ASY_OK) {
        *ret_row = false;
    }
    return err;
}

enum asy_err asy_stmt_run(struct asy_stmt *stmt, struct asy_why *reterr_why) {
    bool row;
    ASY_TRY(asy_stmt_step(&row, stmt, reterr_why));
    asy_stmt_reset(stmt); /* a statement that changes rows did all of it in its first step */
    return ASY_OK;
}

uint64_t asy_store_changes(const struct asy_store *store) {
    return (uint64_t)sqlite3_changes64(store->db);
}

/* ---- reading ---- */

/* True when the column has this type; else remembers that it was asked for. len < 0: any. */
static bool col_is(struct asy_stmt *stmt, int col, int type, int len) {
    ASY_ASSERT(stmt->on_row && col >= 0 && col < sqlite3_column_count(stmt->sql));
    if (sqlite3_column_type(stmt->sql, col) == type &&
        (len < 0 || sqlite3_column_bytes(stmt->sql, col) == len)) {
        return true;
    }
    if (stmt->bad_col < 0) {
        stmt->bad_col = col;
    }
    return false;
}

bool asy_stmt_col_is_null(const struct asy_stmt *stmt, int col) {
    ASY_ASSERT(stmt->on_row && col >= 0 && col < sqlite3_column_count(stmt->sql));
    return sqlite3_column_type(stmt->sql, col) == SQLITE_NULL;
}

int64_t asy_stmt_col_i64(struct asy_stmt *stmt, int col) {
    return col_is(stmt, col, SQLITE_INTEGER, -1) ? sqlite3_column_int64(stmt->sql, col) : 0;
}

uint64_t asy_stmt_col_u64(struct asy_stmt *stmt, int col) {
    int64_t value = asy_stmt_col_i64(stmt, col);
    if (value < 0) {
        stmt->bad_col = stmt->bad_col < 0 ? col : stmt->bad_col;
        return 0;
    }
    return (uint64_t)value;
}

static bool col_copy(struct asy_stmt *stmt, int col, void *ret_p, int len) {
    if (!col_is(stmt, col, SQLITE_BLOB, len)) {
        return false;
    }
    memcpy(ret_p, sqlite3_column_blob(stmt->sql, col), (size_t)len);
    return true;
}

asy_u128 asy_stmt_col_u128(struct asy_stmt *stmt, int col) {
    uint8_t bytes[16];
    return col_copy(stmt, col, bytes, sizeof(bytes)) ? asy_be128_get(bytes) : 0;
}

struct asy_hash asy_stmt_col_hash(struct asy_stmt *stmt, int col) {
    struct asy_hash hash = {0};
    (void)col_copy(stmt, col, hash.b, sizeof(hash.b)); /* zero otherwise */
    return hash;
}

struct asy_addr asy_stmt_col_addr(struct asy_stmt *stmt, int col) {
    struct asy_addr addr = {0};
    (void)col_copy(stmt, col, addr.b, sizeof(addr.b)); /* zero otherwise */
    return addr;
}

struct asy_bytes asy_stmt_col_bytes(struct asy_stmt *stmt, int col) {
    if (!col_is(stmt, col, SQLITE_BLOB, -1)) {
        return (struct asy_bytes){NULL, 0};
    }
    const void *p = sqlite3_column_blob(stmt->sql, col);
    return asy_bytes_of(p, (size_t)sqlite3_column_bytes(stmt->sql, col));
}

struct asy_bytes asy_stmt_col_text(struct asy_stmt *stmt, int col) {
    if (!col_is(stmt, col, SQLITE_TEXT, -1)) {
        return ASY_STR("");
    }
    const void *p = sqlite3_column_text(stmt->sql, col);
    return asy_bytes_of(p, (size_t)sqlite3_column_bytes(stmt->sql, col));
}
