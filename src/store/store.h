/*~ store: tables on disk, committed once per loop turn.
 *
 * An adapter over SQLite; no type of SQLite's leaves it. The same interface can be kept over
 * PostgreSQL, for gateways that share accounts: SQL here is the common subset (numbered parameters
 * ?1 ?2, ON CONFLICT, RETURNING, savepoints; INTEGER, TEXT and BLOB columns), migrations are
 * recorded in a table, and nothing returns a row number or a file page. What is SQLite's alone is
 * marked "files only".
 *
 * GROUP COMMIT. The first write of a loop turn opens a transaction; the program ends the turn with
 * asy_store_commit. Until then nothing is durable, so no reply, ticket or signature that depends on
 * a write may leave the process before that commit. A failed write that is not a mere constraint
 * dooms the whole turn: later writes are refused, and the commit fails and undoes all of it.
 * Nothing is ever half-written.
 *
 * DURABILITY. A committed turn survives the death of the process at once. It survives the loss of
 * power when options.sync is FULL (one fsync per commit, on the caller's thread), and with NORMAL
 * once the checkpointer has run, by default within a second.
 *
 * THREADS. A store belongs to one thread. Another thread opens its own with asy_store_open_reader.
 * One writer per file.
 * LIFETIMES. Statements belong to their store and end with it. Views returned by columns end with
 * the next step, end or reset.
 * Depends on: base, libsqlite3.
 */
#ifndef ASY_STORE_H
#define ASY_STORE_H

#include "base/base.h"

struct asy_store;
struct asy_stmt;

/* Step i + 1 of a schema's history. A migration that has shipped never changes; a new one is
 * appended. name is recorded in the file and compared on every open, so that an edited history is
 * noticed. sql: one or more statements. */
struct asy_store_migration {
    const char *name;
    const char *sql;
};

enum asy_store_sync {
    ASY_STORE_SYNC_NORMAL, /* commits wait for no disk; see DURABILITY */
    ASY_STORE_SYNC_FULL,   /* each commit waits for the disk */
};

struct asy_store_options {
    uint32_t application_id; /* marks the file as this program's; not 0 */
    enum asy_store_sync sync;
    uint32_t busy_timeout_ms; /* how long to wait for another connection's lock; 0 = 5000 */
    uint64_t max_len; /* bytes the file may grow to, rounded up to pages; 0 = as the disk allows */
    bool check;       /* run asy_store_check while opening */
};

/* asy_store_open opens or creates a file, applies the migrations it lacks (each in a transaction of
 * its own) and makes ready to write.
 * in:     path: created with mode 0600; its folder must exist. Beside it lie path-wal and path-shm
 *         migrations[count]: borrowed during the call
 * out:    ret_store: free with asy_store_close
 * errors: VERSION the file is newer than the program, or its history differs
 *         MISMATCH another program's file
 *         STORE cannot open, locked, corrupt, full, read-only, or a migration failed (it then left
 *         nothing behind) */
ASY_MUST_USE enum asy_err asy_store_open(struct asy_store **ret_store, const char *path,
                                         const struct asy_store_migration *migrations, size_t count,
                                         const struct asy_store_options *options,
                                         struct asy_why *reterr_why);

/* asy_store_open_reader opens an existing file for reading, for the calling thread. It sees whole
 * turns only, and those committed before each of its statements began. Writes and marks on it are
 * bugs (asserted).
 * errors: MISMATCH, STORE */
ASY_MUST_USE enum asy_err asy_store_open_reader(struct asy_store **ret_store, const char *path,
                                                const struct asy_store_options *options,
                                                struct asy_why *reterr_why);

/* Undoes what was not committed, stops the checkpointer, frees the statements. NULL is fine. */
void asy_store_close(struct asy_store *store);

/* Number of the last migration applied; 0 = none. */
uint32_t asy_store_version(const struct asy_store *store);
/* Reads the whole file and checks its structure and foreign keys (seconds for gigabytes). STORE,
 * with the first finding. */
ASY_MUST_USE enum asy_err asy_store_check(struct asy_store *store, struct asy_why *reterr_why);

/* ---- turns ----------------------------------------------------------------------------------- */

/* True from the first write of a turn (or a mark) until commit or rollback. */
bool asy_store_dirty(const struct asy_store *store);
/* asy_store_commit ends the turn. Nothing written = nothing done, OK. Every statement must be at
 * rest (asserted): one left on a row would pin the log. Marks still set are kept with the rest.
 * errors: STORE the turn is undone, whole; the store can be used again */
ASY_MUST_USE enum asy_err asy_store_commit(struct asy_store *store, struct asy_why *reterr_why);
/* Undoes the turn. */
void asy_store_rollback(struct asy_store *store);

/* Marks nest, up to ASY_STORE_MAX_MARKS: an atomic step inside a turn. asy_store_mark opens the
 * turn when it is not open. */
#define ASY_STORE_MAX_MARKS 8u
ASY_MUST_USE enum asy_err asy_store_mark(struct asy_store *store, uint32_t *ret_mark,
                                         struct asy_why *reterr_why); /* STORE */
/* Undoes everything since the mark, and drops it and those set after it. STORE when the turn is
 * doomed: then only commit or rollback ends it. */
ASY_MUST_USE enum asy_err asy_store_rollback_to(struct asy_store *store, uint32_t mark,
                                                struct asy_why *reterr_why);
/* Keeps what was written since the mark, and drops it and those set after it. STORE as above. */
ASY_MUST_USE enum asy_err asy_store_keep(struct asy_store *store, uint32_t mark,
                                         struct asy_why *reterr_why);

/* ---- statements ------------------------------------------------------------------------------ */

/* Runs one or more statements without parameters or rows inside the turn, all or none of them (it
 * sets a mark while it runs). errors: CONFLICT the turn goes on; STORE */
ASY_MUST_USE enum asy_err asy_store_exec(struct asy_store *store, const char *sql,
                                         struct asy_why *reterr_why);

/* asy_store_prepare compiles one statement, to be kept by the caller and run many times. Owned by
 * the store. STORE with the parser's message. Parameters are ?1 .. ?n. */
ASY_MUST_USE enum asy_err asy_store_prepare(struct asy_stmt **ret_stmt, struct asy_store *store,
                                            const char *sql, struct asy_why *reterr_why);

/* Binding. index from 1; an index the statement does not have is a bug (asserted). Only while the
 * statement is at rest; all parameters are NULL after it has run. Bytes and text are borrowed until
 * the statement is at rest again, all else is copied; empty bytes are an empty BLOB, not NULL; text
 * is valid UTF-8. Integers are checked when the statement runs: a u64 of 2^63 or more makes the
 * step fail with RANGE. A u128 is stored as 16 bytes, big endian, so that its order is the order of
 * the bytes. */
void asy_stmt_bind_i64(struct asy_stmt *stmt, int index, int64_t value);
void asy_stmt_bind_u64(struct asy_stmt *stmt, int index, uint64_t value);
void asy_stmt_bind_u128(struct asy_stmt *stmt, int index, asy_u128 value);
void asy_stmt_bind_bytes(struct asy_stmt *stmt, int index, struct asy_bytes value);
void asy_stmt_bind_text(struct asy_stmt *stmt, int index, struct asy_bytes value);
void asy_stmt_bind_null(struct asy_stmt *stmt, int index);
void asy_stmt_bind_hash(struct asy_stmt *stmt, int index, const struct asy_hash *value);
void asy_stmt_bind_addr(struct asy_stmt *stmt, int index, const struct asy_addr *value);

/* asy_stmt_step runs to the next row. A statement that writes opens the turn.
 * out:    ret_row: true = a row is there to be read; false = done, and the statement is at rest
 * errors: CONFLICT a constraint (unique, check, foreign key, not null): the statement did nothing,
 *         and the turn goes on
 *         RANGE a bound u64 is too large
 *         STORE full, locked, corrupt, read-only, or a column of the row before had another type
 * After an error the statement is at rest. */
ASY_MUST_USE enum asy_err asy_stmt_step(bool *ret_row, struct asy_stmt *stmt,
                                        struct asy_why *reterr_why);
/* Runs a statement that gives no row, or whose rows do not matter. Errors as above. */
ASY_MUST_USE enum asy_err asy_stmt_run(struct asy_stmt *stmt, struct asy_why *reterr_why);
/* asy_stmt_end puts a statement to rest before its last row, as after a lookup. STORE when a column
 * that was read had another type. */
ASY_MUST_USE enum asy_err asy_stmt_end(struct asy_stmt *stmt, struct asy_why *reterr_why);
/* The same without a verdict, for the way out after another error. */
void asy_stmt_reset(struct asy_stmt *stmt);
/* Rows changed by the last INSERT, UPDATE or DELETE of this store that has ended. */
uint64_t asy_store_changes(const struct asy_store *store);

/* Columns of the current row, from 0. A value of another type or length (damage, or a bug) reads as
 * zero or empty, and the next asy_stmt_step or asy_stmt_end says STORE. NULL is another type for
 * all but _is_null. */
bool asy_stmt_col_is_null(const struct asy_stmt *stmt, int col);
int64_t asy_stmt_col_i64(struct asy_stmt *stmt, int col);
uint64_t asy_stmt_col_u64(struct asy_stmt *stmt, int col); /* a negative number is another type */
asy_u128 asy_stmt_col_u128(struct asy_stmt *stmt, int col);
struct asy_bytes asy_stmt_col_bytes(struct asy_stmt *stmt, int col);
struct asy_bytes asy_stmt_col_text(struct asy_stmt *stmt, int col); /* a zero byte follows */
struct asy_hash asy_stmt_col_hash(struct asy_stmt *stmt, int col);
struct asy_addr asy_stmt_col_addr(struct asy_stmt *stmt, int col);

/* ---- upkeep (files only) --------------------------------------------------------------------- */

/* The checkpointer is a thread with a connection of its own that moves committed pages from the log
 * into the file, so that the writer's thread seldom waits for the disk. It wakes when the log holds
 * ASY_STORE_LOG_SOFT bytes, or interval_ms after a commit (0 = 1000).
 * With sync NORMAL the writer waits for the disk only where a log ends: once (one fsync) when it
 * begins anew; and since a log that never rests is never moved to its end, above ASY_STORE_LOG_HARD
 * bytes one commit waits while the last piece is moved (two fsyncs). At ASY_STORE_LOG_MAX bytes,
 * when the disk is slower than the load, it waits for however much there is: that bounds the log.
 * A reader that stays on a row keeps the log from beginning anew: then it grows, and every
 * ASY_STORE_LOG_SOFT bytes there is such a wait, 100 ms at most for the reader.
 * Without it, commits move pages themselves when the log holds ASY_STORE_LOG_SOFT bytes. */
#define ASY_STORE_LOG_SOFT (4u * 1024u * 1024u)
#define ASY_STORE_LOG_HARD (16u * 1024u * 1024u)
#define ASY_STORE_LOG_MAX  (64u * 1024u * 1024u)
ASY_MUST_USE enum asy_err asy_store_checkpointer_start(struct asy_store *store,
                                                       uint32_t interval_ms,
                                                       struct asy_why *reterr_why); /* STORE */
/* Waits for a checkpoint that is running. Fine when none was started. */
void asy_store_checkpointer_stop(struct asy_store *store);
/* Bytes in the log after the last commit: what a restart has to read. */
uint64_t asy_store_log_len(const struct asy_store *store);

/* asy_store_backup copies the last committed state to a new file, complete or not there at all. May
 * run on any thread, and while the writer works; path is the store's own file.
 * errors: CONFLICT `to` exists; STORE */
ASY_MUST_USE enum asy_err asy_store_backup(const char *path, const char *to,
                                           struct asy_why *reterr_why);

#endif
