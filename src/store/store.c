/* store.c: opening, migrations, turns. Statements are in stmt.c, the checkpointer and backups in
 * upkeep.c. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_BUSY_MS 5000u

enum asy_err asy_store_failed(sqlite3 *db, const char *what, struct asy_why *reterr_why) {
    int os = sqlite3_system_errno(db);
    return asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "%s: %s (%d%s%s)", what, sqlite3_errmsg(db),
                       sqlite3_extended_errcode(db), os != 0 ? ", " : "",
                       os != 0 ? strerrordesc_np(os) : "");
}

/* Runs SQL without rows, outside of turns. */
static enum asy_err run_sql(sqlite3 *db, const char *sql, struct asy_why *reterr_why) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        return asy_store_failed(db, sql, reterr_why);
    }
    return ASY_OK;
}

static enum asy_err prepare_sql(sqlite3_stmt **ret_stmt, sqlite3 *db, const char *sql,
                                struct asy_why *reterr_why) {
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_stmt, NULL) != SQLITE_OK) {
        return asy_store_failed(db, sql, reterr_why);
    }
    return ASY_OK;
}

/* Runs a prepared statement without rows. The statement is at rest afterwards, and the connection
 * still holds its error. */
static bool run_stmt(sqlite3_stmt *stmt) {
    int rc = sqlite3_step(stmt);
    return sqlite3_reset(stmt) == SQLITE_OK && rc == SQLITE_DONE;
}

/* The single number that a query gives. */
static enum asy_err query_number(int64_t *ret_value, sqlite3 *db, const char *sql,
                                 struct asy_why *reterr_why) {
    sqlite3_stmt *stmt;
    ASY_TRY(prepare_sql(&stmt, db, sql, reterr_why));
    enum asy_err err = ASY_OK;
    if (sqlite3_step(stmt) == SQLITE_ROW) {
        *ret_value = sqlite3_column_int64(stmt, 0);
    } else {
        err = asy_store_failed(db, sql, reterr_why);
    }
    sqlite3_finalize(stmt);
    return err;
}

/* ---- opening ---- */

enum asy_err asy_store_connect(sqlite3 **ret_db, const char *path, int flags,
                               uint32_t busy_timeout_ms, struct asy_why *reterr_why) {
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db,
                        flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                            SQLITE_OPEN_EXRESCODE,
                        NULL) != SQLITE_OK) {
        enum asy_err err = asy_store_failed(db, path, reterr_why);
        (void)sqlite3_close(db); /* nothing is open in it */
        return err;
    }
    sqlite3_busy_timeout(db, (int)busy_timeout_ms);
    /* a file from elsewhere must not bring code along, and SQL that we write must mean what it says
     */
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    *ret_db = db;
    return ASY_OK;
}

/* Whose file is it? *ret_new: nobody's yet. */
static enum asy_err check_owner(bool *ret_new, sqlite3 *db, uint32_t application_id,
                                struct asy_why *reterr_why) {
    int64_t id, objects;
    ASY_TRY(query_number(&id, db, "PRAGMA application_id", reterr_why));
    ASY_TRY(query_number(&objects, db, "SELECT count(*) FROM sqlite_schema", reterr_why));
    *ret_new = id == 0 && objects == 0;
    if (!*ret_new && (uint32_t)id != application_id) {
        return asy_why_set(reterr_why, ASY_ERR_MISMATCH, NULL,
                           "the file belongs to another program (application id %u, wanted %u)",
                           (unsigned)id, (unsigned)application_id);
    }
    return ASY_OK;
}

/* How many migrations the file has; VERSION when they are not the first ones of this program. */
static enum asy_err check_history(size_t *ret_done, sqlite3 *db,
                                  const struct asy_store_migration *migrations, size_t count,
                                  struct asy_why *reterr_why) {
    static const char sql[] = "SELECT version, name FROM asy_migration ORDER BY version";
    sqlite3_stmt *stmt;
    ASY_TRY(prepare_sql(&stmt, db, sql, reterr_why));
    enum asy_err err = ASY_OK;
    size_t done = 0;
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(stmt, 1);
        if (done >= count) {
            err = asy_why_set(reterr_why, ASY_ERR_VERSION, NULL,
                              "the file is newer than this program: it has migration %d, %s",
                              sqlite3_column_int(stmt, 0), name);
            break;
        }
        if (sqlite3_column_int64(stmt, 0) != (int64_t)done + 1 || name == NULL ||
            strcmp(name, migrations[done].name) != 0) {
            err = asy_why_set(reterr_why, ASY_ERR_VERSION, NULL,
                              "the file's migration %zu is %s, this program's is %s", done + 1,
                              name != NULL ? name : "missing", migrations[done].name);
            break;
        }
        done++;
    }
    if (err == ASY_OK && rc != SQLITE_DONE) {
        err = asy_store_failed(db, sql, reterr_why);
    }
    sqlite3_finalize(stmt);
    *ret_done = done;
    return err;
}

/* The body of a migration's transaction. */
static enum asy_err migrate_inside(sqlite3 *db, uint32_t version,
                                   const struct asy_store_migration *migration,
                                   struct asy_why *reterr_why) {
    ASY_TRY(run_sql(db, migration->sql, reterr_why));
    sqlite3_stmt *stmt;
    ASY_TRY(prepare_sql(&stmt, db, "INSERT INTO asy_migration(version, name) VALUES(?1, ?2)",
                        reterr_why));
    sqlite3_bind_int64(stmt, 1, version);
    sqlite3_bind_text(stmt, 2, migration->name, -1, SQLITE_STATIC);
    bool ok = run_stmt(stmt);
    sqlite3_finalize(stmt);
    if (!ok) {
        return asy_store_failed(db, "asy_migration", reterr_why);
    }
    ASY_TRY(prepare_sql(&stmt, db, "PRAGMA foreign_key_check", reterr_why));
    int rc = sqlite3_step(stmt);
    sqlite3_finalize(stmt);
    if (rc == SQLITE_ROW) {
        return asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "a foreign key points nowhere");
    }
    return rc == SQLITE_DONE ? ASY_OK : asy_store_failed(db, "foreign_key_check", reterr_why);
}

static enum asy_err migrate(sqlite3 *db, uint32_t version,
                            const struct asy_store_migration *migration,
                            struct asy_why *reterr_why) {
    struct asy_why inner = {0};
    enum asy_err err = run_sql(db, "BEGIN IMMEDIATE", &inner);
    if (err == ASY_OK) {
        err = migrate_inside(db, version, migration, &inner);
    }
    if (err == ASY_OK) {
        err = run_sql(db, "COMMIT", &inner);
    }
    if (err == ASY_OK) {
        return ASY_OK;
    }
    if (sqlite3_get_autocommit(db) == 0) {
        /* the first error is the one to tell */
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }
    return asy_why_set(reterr_why, err, NULL, "migration %u, %s: %s", (unsigned)version,
                       migration->name, inner.text);
}

/* SQLite calls this after each commit, with the number of pages in the log. It takes the place of
 * its own automatic checkpoints. */
static int on_log(void *arg, sqlite3 *db, const char *name, int pages) {
    struct asy_store *store = arg;
    store->log_len = (uint64_t)pages * store->page_len;
    if (store->checkpointer != NULL) {
        asy_store_checkpointer_notify(store->checkpointer, store->log_len);
    } else if (store->log_len >= ASY_STORE_LOG_SOFT) {
        /* busy or failed: the log stays as it is, and the next commit tries again */
        (void)sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
    return SQLITE_OK;
}

/* Settings of the writing connection, once the file is known to be ours. */
static enum asy_err configure(struct asy_store *store, const struct asy_store_options *options,
                              struct asy_why *reterr_why) {
    char sql[96];
    int64_t page_len;
    ASY_TRY(run_sql(store->db,
                    options->sync == ASY_STORE_SYNC_FULL ? "PRAGMA synchronous = FULL"
                                                         : "PRAGMA synchronous = NORMAL",
                    reterr_why));
    ASY_TRY(
        run_sql(store->db, "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON", reterr_why));
    /* a log that grew shrinks again */
    snprintf(sql, sizeof(sql), "PRAGMA journal_size_limit = %u", ASY_STORE_LOG_MAX);
    ASY_TRY(run_sql(store->db, sql, reterr_why));
    ASY_TRY(query_number(&page_len, store->db, "PRAGMA page_size", reterr_why));
    store->page_len = (uint64_t)page_len;
    if (options->max_len != 0) {
        uint64_t pages = (options->max_len + store->page_len - 1) / store->page_len;
        snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %llu", (unsigned long long)pages);
        ASY_TRY(run_sql(store->db, sql, reterr_why));
    }
    return ASY_OK;
}

static enum asy_err open_inside(struct asy_store *store,
                                const struct asy_store_migration *migrations, size_t count,
                                const struct asy_store_options *options,
                                struct asy_why *reterr_why) {
    struct stat st;
    if (stat(store->path, &st) != 0 && errno == ENOENT) {
        /* Made here for its mode. Never for a file that exists: closing it would drop the locks
         * that other connections of this process hold on it. */
        int fd = open(store->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST) {
            return asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "%s: %s", store->path,
                               strerrordesc_np(errno));
        }
        if (fd >= 0) {
            (void)close(fd); /* nothing was written */
        }
    }
    ASY_TRY(asy_store_connect(&store->db, store->path, SQLITE_OPEN_READWRITE,
                              store->busy_timeout_ms, reterr_why));
    if (sqlite3_db_readonly(store->db, "main") == 1) {
        return asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "%s: the file is read-only",
                           store->path);
    }
    bool is_new;
    ASY_TRY(check_owner(&is_new, store->db, options->application_id, reterr_why));
    sqlite3_stmt *stmt;
    ASY_TRY(prepare_sql(&stmt, store->db, "PRAGMA journal_mode = WAL", reterr_why));
    bool wal = sqlite3_step(stmt) == SQLITE_ROW &&
               strcmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
    sqlite3_finalize(stmt);
    if (!wal) {
        return asy_store_failed(store->db, "write-ahead log", reterr_why);
    }
    ASY_TRY(configure(store, options, reterr_why));
    if (is_new) {
        char sql[256];
        snprintf(sql, sizeof(sql),
                 "BEGIN IMMEDIATE; PRAGMA application_id = %d;"
                 "CREATE TABLE asy_migration(version INTEGER PRIMARY KEY, name TEXT NOT NULL) "
                 "STRICT; COMMIT",
                 (int)options->application_id);
        ASY_TRY(run_sql(store->db, sql, reterr_why));
    }
    size_t done;
    ASY_TRY(check_history(&done, store->db, migrations, count, reterr_why));
    /* a migration may rebuild a table that others point to; each is checked as a whole before it
     * commits */
    ASY_TRY(run_sql(store->db, "PRAGMA foreign_keys = OFF", reterr_why));
    for (; done < count; done++) {
        ASY_TRY(migrate(store->db, (uint32_t)done + 1, &migrations[done], reterr_why));
    }
    store->version = (uint32_t)count;
    ASY_TRY(run_sql(store->db, "PRAGMA foreign_keys = ON", reterr_why));
    ASY_TRY(prepare_sql(&store->begin, store->db, "BEGIN IMMEDIATE", reterr_why));
    ASY_TRY(prepare_sql(&store->commit, store->db, "COMMIT", reterr_why));
    ASY_TRY(prepare_sql(&store->rollback, store->db, "ROLLBACK", reterr_why));
    sqlite3_wal_hook(store->db, on_log, store);
    return options->check ? asy_store_check(store, reterr_why) : ASY_OK;
}

static struct asy_store *store_new(const char *path, const struct asy_store_options *options) {
    ASY_ASSERT(options->application_id != 0);
    struct asy_store *store = asy_alloc(sizeof(*store));
    size_t len = strlen(path);
    store->path = asy_alloc(len + 1);
    memcpy(store->path, path, len);
    store->busy_timeout_ms =
        options->busy_timeout_ms != 0 ? options->busy_timeout_ms : DEFAULT_BUSY_MS;
    return store;
}

enum asy_err asy_store_open(struct asy_store **ret_store, const char *path,
                            const struct asy_store_migration *migrations, size_t count,
                            const struct asy_store_options *options, struct asy_why *reterr_why) {
    struct asy_store *store = store_new(path, options);
    enum asy_err err = open_inside(store, migrations, count, options, reterr_why);
    if (err != ASY_OK) {
        asy_store_close(store);
        return err;
    }
    *ret_store = store;
    return ASY_OK;
}

static enum asy_err open_reader_inside(struct asy_store *store,
                                       const struct asy_store_options *options,
                                       struct asy_why *reterr_why) {
    ASY_TRY(asy_store_connect(&store->db, store->path, SQLITE_OPEN_READONLY, store->busy_timeout_ms,
                              reterr_why));
    bool is_new;
    ASY_TRY(check_owner(&is_new, store->db, options->application_id, reterr_why));
    if (is_new) {
        return asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "%s: the file is empty", store->path);
    }
    int64_t version;
    ASY_TRY(query_number(&version, store->db, "SELECT count(*) FROM asy_migration", reterr_why));
    store->version = (uint32_t)version;
    return ASY_OK;
}

enum asy_err asy_store_open_reader(struct asy_store **ret_store, const char *path,
                                   const struct asy_store_options *options,
                                   struct asy_why *reterr_why) {
    struct asy_store *store = store_new(path, options);
    store->reader = true;
    enum asy_err err = open_reader_inside(store, options, reterr_why);
    if (err != ASY_OK) {
        asy_store_close(store);
        return err;
    }
    *ret_store = store;
    return ASY_OK;
}

void asy_store_close(struct asy_store *store) {
    if (store == NULL) {
        return;
    }
    asy_store_checkpointer_stop(store);
    while (store->stmts != NULL) {
        struct asy_stmt *stmt = store->stmts;
        store->stmts = stmt->next;
        sqlite3_finalize(stmt->sql);
        asy_free(stmt);
    }
    sqlite3_finalize(store->begin);
    sqlite3_finalize(store->commit);
    sqlite3_finalize(store->rollback);
    for (size_t i = 0; i < ASY_STORE_MAX_MARKS; i++) {
        for (size_t k = 0; k < MARK_ACTIONS; k++) {
            sqlite3_finalize(store->mark[i][k]);
        }
    }
    /* rolls back; anything but OK means that a statement was left */
    ASY_ASSERT(sqlite3_close(store->db) == SQLITE_OK);
    asy_free(store->path);
    asy_free(store);
}

uint32_t asy_store_version(const struct asy_store *store) { return store->version; }

uint64_t asy_store_log_len(const struct asy_store *store) { return store->log_len; }

enum asy_err asy_store_check(struct asy_store *store, struct asy_why *reterr_why) {
    sqlite3_stmt *stmt;
    ASY_TRY(prepare_sql(&stmt, store->db, "PRAGMA integrity_check(1)", reterr_why));
    enum asy_err err = ASY_OK;
    if (sqlite3_step(stmt) != SQLITE_ROW) {
        err = asy_store_failed(store->db, "integrity check", reterr_why);
    } else if (strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") != 0) {
        err = asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "the file is damaged: %s",
                          (const char *)sqlite3_column_text(stmt, 0));
    }
    sqlite3_finalize(stmt);
    ASY_TRY(err);
    ASY_TRY(prepare_sql(&stmt, store->db, "PRAGMA foreign_key_check", reterr_why));
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        err = asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "a row of %s points nowhere",
                          (const char *)sqlite3_column_text(stmt, 0));
    } else if (rc != SQLITE_DONE) {
        err = asy_store_failed(store->db, "foreign key check", reterr_why);
    }
    sqlite3_finalize(stmt);
    return err;
}

/* ---- turns ---- */

bool asy_store_dirty(const struct asy_store *store) { return store->dirty; }

void asy_store_doom(struct asy_store *store, const struct asy_why *why) {
    if (!store->doomed) {
        store->doomed = true;
        store->doom = *why;
    }
}

static enum asy_err doomed(const struct asy_store *store, struct asy_why *reterr_why) {
    return asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "a write of this turn failed: %s",
                       store->doom.text);
}

enum asy_err asy_store_turn_open(struct asy_store *store, struct asy_why *reterr_why) {
    ASY_ASSERT(!store->reader);
    if (store->doomed) {
        return doomed(store, reterr_why);
    }
    if (store->dirty) {
        return ASY_OK;
    }
    if (!run_stmt(store->begin)) {
        return asy_store_failed(store->db, "begin", reterr_why);
    }
    store->dirty = true;
    return ASY_OK;
}

void asy_store_rollback(struct asy_store *store) {
    for (struct asy_stmt *stmt = store->stmts; stmt != NULL; stmt = stmt->next) {
        asy_stmt_reset(stmt);
    }
    /* SQLite undoes some failures by itself */
    if (store->dirty && sqlite3_get_autocommit(store->db) == 0) {
        (void)run_stmt(store->rollback); /* cannot fail while the transaction is open */
    }
    store->dirty = false;
    store->doomed = false;
    store->marks = 0;
}

enum asy_err asy_store_commit(struct asy_store *store, struct asy_why *reterr_why) {
    ASY_ASSERT(store->rows_open == 0);
    if (!store->dirty) {
        return ASY_OK;
    }
    enum asy_err err = ASY_OK;
    if (store->doomed) {
        err = doomed(store, reterr_why);
    } else if (!run_stmt(store->commit)) {
        err = asy_store_failed(store->db, "commit", reterr_why);
    }
    if (err != ASY_OK) {
        asy_store_rollback(store);
        return err;
    }
    store->dirty = false;
    store->marks = 0;
    asy_metric_add(ASY_M_store_commits_total, 1);
    return ASY_OK;
}

/* ---- marks ---- */

static enum asy_err mark_run(struct asy_store *store, uint32_t mark, enum mark_action action,
                             struct asy_why *reterr_why) {
    static const char *const verbs[MARK_ACTIONS] = {
        [MARK_SET] = "SAVEPOINT", [MARK_UNDO] = "ROLLBACK TO", [MARK_DROP] = "RELEASE"};
    sqlite3_stmt **stmt = &store->mark[mark][action];
    if (*stmt == NULL) {
        char sql[32];
        snprintf(sql, sizeof(sql), "%s asy_%u", verbs[action], (unsigned)mark);
        ASY_TRY(prepare_sql(stmt, store->db, sql, reterr_why));
    }
    if (run_stmt(*stmt)) {
        return ASY_OK;
    }
    struct asy_why why = {0};
    enum asy_err err = asy_store_failed(store->db, verbs[action], &why);
    asy_store_doom(store, &why); /* what stands where is no longer known */
    return asy_why_set(reterr_why, err, NULL, "%s", why.text);
}

enum asy_err asy_store_mark(struct asy_store *store, uint32_t *ret_mark,
                            struct asy_why *reterr_why) {
    ASY_ASSERT(store->marks < ASY_STORE_MAX_MARKS);
    ASY_TRY(asy_store_turn_open(store, reterr_why));
    ASY_TRY(mark_run(store, store->marks, MARK_SET, reterr_why));
    *ret_mark = store->marks++;
    return ASY_OK;
}

static enum asy_err mark_end(struct asy_store *store, uint32_t mark, bool keep,
                             struct asy_why *reterr_why) {
    ASY_ASSERT(mark < store->marks);
    if (store->doomed) {
        return doomed(store, reterr_why);
    }
    if (!keep) {
        ASY_TRY(mark_run(store, mark, MARK_UNDO, reterr_why));
    }
    ASY_TRY(mark_run(store, mark, MARK_DROP, reterr_why));
    store->marks = mark;
    return ASY_OK;
}

enum asy_err asy_store_rollback_to(struct asy_store *store, uint32_t mark,
                                   struct asy_why *reterr_why) {
    return mark_end(store, mark, false, reterr_why);
}

enum asy_err asy_store_keep(struct asy_store *store, uint32_t mark, struct asy_why *reterr_why) {
    return mark_end(store, mark, true, reterr_why);
}
