/* store_priv.h: what the files of this folder share. */
#ifndef ASY_STORE_PRIV_H
#define ASY_STORE_PRIV_H

#include <sqlite3.h>

#include "store/store.h"

struct checkpointer;

enum mark_action { MARK_SET, MARK_UNDO, MARK_DROP, MARK_ACTIONS };

struct asy_store {
    sqlite3 *db;
    char *path;
    bool reader;
    bool dirty;          /* a transaction is open */
    bool doomed;         /* a write failed: the turn can only be undone */
    struct asy_why doom; /* why */
    uint32_t marks;      /* savepoints that are set */
    uint32_t rows_open;  /* statements standing on a row */
    uint32_t version;
    uint32_t busy_timeout_ms;
    uint64_t page_len;
    uint64_t log_len; /* bytes in the log after the last commit */
    sqlite3_stmt *begin, *commit, *rollback;
    sqlite3_stmt *mark[ASY_STORE_MAX_MARKS][MARK_ACTIONS];
    struct asy_stmt *stmts;
    struct checkpointer *checkpointer;
};

struct asy_stmt {
    struct asy_store *store;
    struct asy_stmt *next;
    sqlite3_stmt *sql;
    bool writes;
    bool on_row;
    enum asy_err bad_bind; /* found while binding, told when the statement runs */
    int bad_bind_index;
    int bad_col; /* first column read as something it is not; -1 = none */
};

/* STORE, with SQLite's message for the connection's last error. Call it before anything else
 * touches the connection. */
enum asy_err asy_store_failed(sqlite3 *db, const char *what, struct asy_why *reterr_why);
/* Opens the turn unless it is open; STORE when that fails or the turn is doomed. */
ASY_MUST_USE enum asy_err asy_store_turn_open(struct asy_store *store, struct asy_why *reterr_why);
void asy_store_doom(struct asy_store *store, const struct asy_why *why);
/* A connection of its own to an existing file, for the thread that calls. flags:
 * SQLITE_OPEN_READONLY or READWRITE. */
ASY_MUST_USE enum asy_err asy_store_connect(sqlite3 **ret_db, const char *path, int flags,
                                            uint32_t busy_timeout_ms, struct asy_why *reterr_why);
/* Tells the checkpointer how long the log is after a commit. */
void asy_store_checkpointer_notify(struct checkpointer *checkpointer, uint64_t log_len);

#endif
