/* upkeep.c: the checkpointer's thread, and backups. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_INTERVAL_MS 1000u

/* how long a forced checkpoint, and with it the writer, waits for readers */
#define FORCED_BUSY_MS 100u

/* ---- checkpointer ---- */

struct checkpointer {
    pthread_t thread;
    sqlite3 *db;
    uint64_t interval_ns;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;  /* the thread waits here for work */
    pthread_cond_t moved; /* the writer waits here for a checkpoint that it forced */
    bool stop;
    bool pending;      /* a commit came after the last checkpoint began */
    bool ripe;         /* the log is long, and but for its end moved: time to begin it anew */
    bool forced;       /* the writer waits for that */
    uint64_t since_ns; /* when the first of those commits came */
    uint64_t log_len;  /* bytes in the log after the last commit */
    /* bytes in the log when the last checkpoint began, and the last forced one; 0 when the log has
     * begun anew since */
    uint64_t seen_len, forced_len;
};

static uint64_t now_ns(void) { return asy_env_mono_ns(asy_env_system()); }

static void checkpointer_wait(struct checkpointer *c, uint64_t until_ns) {
    struct timespec at = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
    /* the caller looks at the clock itself */
    (void)pthread_cond_timedwait(&c->wake, &c->lock, &at);
}

static void *checkpointer_main(void *arg) {
    struct checkpointer *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        if (!c->pending && !c->forced) {
            pthread_cond_wait(&c->wake, &c->lock);
            continue;
        }
        if (!c->forced && c->log_len < c->seen_len + ASY_STORE_LOG_SOFT &&
            now_ns() < c->since_ns + c->interval_ns) {
            checkpointer_wait(c, c->since_ns + c->interval_ns);
            continue;
        }
        bool forced = c->forced;
        c->pending = false;
        c->seen_len = c->log_len;
        pthread_mutex_unlock(&c->lock);
        /* PASSIVE holds no one up, and so never ends a log that a busy writer keeps adding to.
         * RESTART, run while the writer waits, moves the little that is left and waits for readers
         * to leave the log, so that the next commit begins it anew. A failure is left for the next
         * time: the log keeps everything. */
        (void)sqlite3_wal_checkpoint_v2(
            c->db, NULL, forced ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, NULL,
            NULL);
        pthread_mutex_lock(&c->lock);
        c->ripe = !forced && c->log_len >= ASY_STORE_LOG_HARD;
        if (forced) {
            c->forced = false;
            pthread_cond_signal(&c->moved);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

void asy_store_checkpointer_notify(struct checkpointer *c, uint64_t log_len) {
    pthread_mutex_lock(&c->lock);
    if (log_len < c->log_len) { /* the log began anew */
        c->seen_len = 0;
        c->forced_len = 0;
        c->ripe = false;
    }
    c->log_len = log_len;
    bool wake = !c->pending || log_len >= c->seen_len + ASY_STORE_LOG_SOFT;
    if (!c->pending) {
        c->pending = true;
        c->since_ns = now_ns();
    }
    /* when a reader keeps the log from beginning anew, do not try again at each commit */
    if (log_len >= c->forced_len + ASY_STORE_LOG_SOFT &&
        ((c->ripe && log_len >= ASY_STORE_LOG_HARD) || log_len >= ASY_STORE_LOG_MAX)) {
        c->forced = true;
        c->forced_len = log_len;
        pthread_cond_signal(&c->wake);
        while (c->forced) {
            pthread_cond_wait(&c->moved, &c->lock);
        }
    } else if (wake) {
        pthread_cond_signal(&c->wake);
    }
    pthread_mutex_unlock(&c->lock);
}

static void checkpointer_free(struct checkpointer *c) {
    pthread_cond_destroy(&c->wake);
    pthread_cond_destroy(&c->moved);
    pthread_mutex_destroy(&c->lock);
    (void)sqlite3_close(c->db); /* has no statements */
    asy_free(c);
}

enum asy_err asy_store_checkpointer_start(struct asy_store *store, uint32_t interval_ms,
                                          struct asy_why *reterr_why) {
    ASY_ASSERT(!store->reader && store->checkpointer == NULL);
    sqlite3 *db;
    ASY_TRY(asy_store_connect(&db, store->path, SQLITE_OPEN_READWRITE, FORCED_BUSY_MS, reterr_why));
    /* without this, FULL would be its default; NORMAL syncs around each checkpoint, which is what
     * is wanted here */
    if (sqlite3_exec(db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL) != SQLITE_OK) {
        enum asy_err err = asy_store_failed(db, "checkpointer", reterr_why);
        (void)sqlite3_close(db);
        return err;
    }
    struct checkpointer *c = asy_alloc(sizeof(*c));
    c->db = db;
    c->interval_ns = (interval_ms != 0 ? interval_ms : DEFAULT_INTERVAL_MS) * (uint64_t)1000000;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &attr);
    pthread_cond_init(&c->moved, NULL);
    pthread_condattr_destroy(&attr);
    int rc = pthread_create(&c->thread, NULL, checkpointer_main, c);
    if (rc != 0) {
        checkpointer_free(c);
        return asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "checkpointer: %s",
                           strerrordesc_np(rc));
    }
    store->checkpointer = c;
    return ASY_OK;
}

void asy_store_checkpointer_stop(struct asy_store *store) {
    struct checkpointer *c = store->checkpointer;
    if (c == NULL) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_mutex_unlock(&c->lock);
    pthread_cond_signal(&c->wake);
    pthread_join(c->thread, NULL);
    checkpointer_free(c);
    store->checkpointer = NULL;
}

/* ---- backup ---- */

static enum asy_err os_failed(const char *what, struct asy_why *reterr_why) {
    return asy_why_set(reterr_why, ASY_ERR_STORE, NULL, "%s: %s", what, strerrordesc_np(errno));
}

static enum asy_err sync_path(const char *path, int flags, struct asy_why *reterr_why) {
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        return os_failed(path, reterr_why);
    }
    enum asy_err err = fsync(fd) == 0 ? ASY_OK : os_failed(path, reterr_why);
    (void)close(fd); /* synced or told */
    return err;
}

/* Copies one read transaction's view of the file. */
static enum asy_err copy_pages(sqlite3 *from, const char *to, struct asy_why *reterr_why) {
    sqlite3 *db;
    ASY_TRY(asy_store_connect(&db, to, SQLITE_OPEN_READWRITE, 0, reterr_why));
    enum asy_err err = ASY_OK;
    sqlite3_backup *backup = NULL;
    /* one sync at the end does */
    if (sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL) != SQLITE_OK ||
        (backup = sqlite3_backup_init(db, "main", from, "main")) == NULL) {
        err = asy_store_failed(db, to, reterr_why);
    } else {
        int rc = sqlite3_backup_step(backup, -1);
        if (sqlite3_backup_finish(backup) != SQLITE_OK || rc != SQLITE_DONE) {
            err = asy_store_failed(db, to, reterr_why);
        }
    }
    (void)sqlite3_close(db); /* has no statements */
    return err;
}

static enum asy_err backup_inside(const char *path, const char *part, const char *folder,
                                  const char *to, struct asy_why *reterr_why) {
    sqlite3 *from;
    ASY_TRY(asy_store_connect(&from, path, SQLITE_OPEN_READONLY, 0, reterr_why));
    enum asy_err err = copy_pages(from, part, reterr_why);
    (void)sqlite3_close(from); /* has no statements */
    ASY_TRY(err);
    ASY_TRY(sync_path(part, O_RDWR, reterr_why));
    if (link(part, to) != 0) { /* unlike rename, never replaces */
        return errno == EEXIST ? asy_why_set(reterr_why, ASY_ERR_CONFLICT, NULL, "%s exists", to)
                               : os_failed(to, reterr_why);
    }
    return sync_path(folder, O_RDONLY | O_DIRECTORY, reterr_why);
}

enum asy_err asy_store_backup(const char *path, const char *to, struct asy_why *reterr_why) {
    size_t len = strlen(to);
    char *part = asy_alloc(len + sizeof(".part")), *folder = asy_alloc(len + 2);
    memcpy(part, to, len);
    memcpy(part + len, ".part", sizeof(".part"));
    const char *slash = strrchr(to, '/');
    if (slash == NULL) {
        folder[0] = '.';
    } else {
        memcpy(folder, to, slash == to ? 1 : (size_t)(slash - to));
    }
    enum asy_err err;
    int fd = -1;
    if (access(to, F_OK) == 0) {
        err = asy_why_set(reterr_why, ASY_ERR_CONFLICT, NULL, "%s exists", to);
    } else if ((fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0) {
        err = os_failed(part, reterr_why);
    } else {
        (void)close(fd); /* nothing was written */
        err = backup_inside(path, part, folder, to, reterr_why);
        (void)unlink(part); /* it has its own name now, or is of no use */
    }
    asy_free(part);
    asy_free(folder);
    return err;
}
