/* A writer with its checkpointer, alone: the log stays bounded. Then with readers on threads of
 * their own, and backups: nobody sees part of a turn. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "store/test/tmp.h"

enum { ALONE = 4000, TURNS = 4600, READERS = 2 };

static const struct asy_store_migration history[] = {
    {"rows", "CREATE TABLE a(turn INTEGER, filler BLOB) STRICT; CREATE TABLE b(turn INTEGER "
             "PRIMARY KEY) STRICT"},
};

static atomic_bool done;
static atomic_int failures;

static void *read_turns(void *arg) {
    (void)arg;
    char path[320];
    snprintf(path, sizeof(path), "%s/db", tmp_dir);
    struct asy_store *store;
    struct asy_stmt *both;
    int64_t before = 0;
    MUST(asy_store_open_reader(&store, path, &test_options, &must_why));
    MUST(asy_store_prepare(&both, store,
                           "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)", &must_why));
    bool last = false;
    do {
        last = atomic_load(&done);
        bool row;
        MUST(asy_stmt_step(&row, both, &must_why));
        int64_t a = asy_stmt_col_i64(both, 0), b = asy_stmt_col_i64(both, 1);
        MUST(asy_stmt_end(both, &must_why));
        if (a != 3 * b || b < before || (last && b != TURNS)) {
            atomic_fetch_add(&failures, 1);
        }
        before = b;
    } while (!last);
    asy_store_close(store);
    return NULL;
}

static void *back_up(void *arg) {
    int *count = arg;
    char path[320], to[320];
    snprintf(path, sizeof(path), "%s/db", tmp_dir);
    do {
        snprintf(to, sizeof(to), "%s/copy%d", tmp_dir, *count);
        MUST(asy_store_backup(path, to, &must_why));
        ++*count;
    } while (!atomic_load(&done) && *count < 2);
    return NULL;
}

static void write_turns(struct asy_store *store, struct asy_stmt *a, struct asy_stmt *b,
                        int64_t first, int64_t end, uint64_t *ret_written, uint64_t *ret_longest) {
    uint8_t filler[4000];
    uint64_t written = 0, longest = 0, before = asy_store_log_len(store);
    asy_test_fill(filler, sizeof(filler));
    for (int64_t turn = first; turn < end; turn++) {
        for (int i = 0; i < 3; i++) {
            asy_stmt_bind_i64(a, 1, turn);
            asy_stmt_bind_bytes(a, 2, asy_bytes_of(filler, sizeof(filler)));
            MUST(asy_stmt_run(a, &must_why));
        }
        asy_stmt_bind_i64(b, 1, turn);
        MUST(asy_stmt_run(b, &must_why));
        MUST(asy_store_commit(store, &must_why));
        uint64_t now = asy_store_log_len(store);
        written += now >= before ? now - before : now;
        before = now;
        longest = now > longest ? now : longest;
    }
    *ret_written = written;
    *ret_longest = longest;
}

int main(void) {
    tmp_begin();
    struct asy_store *store;
    struct asy_stmt *a, *b;
    MUST(asy_store_open(&store, tmp_path("db"), history, 1, &test_options, &must_why));
    MUST(asy_store_prepare(&a, store, "INSERT INTO a(turn, filler) VALUES(?1, ?2)", &must_why));
    MUST(asy_store_prepare(&b, store, "INSERT INTO b(turn) VALUES(?1)", &must_why));
    MUST(asy_store_checkpointer_start(store, 5, &must_why));

    uint64_t written, longest;
    write_turns(store, a, b, 0, ALONE, &written, &longest);
    CHECK(written > ASY_STORE_LOG_MAX * UINT64_C(5) / 4);
    CHECK(longest < ASY_STORE_LOG_MAX + 100000); /* and one turn */

    pthread_t readers[READERS], backup;
    int backups = 0;
    for (int i = 0; i < READERS; i++) {
        ASY_ASSERT(pthread_create(&readers[i], NULL, read_turns, NULL) == 0);
    }
    ASY_ASSERT(pthread_create(&backup, NULL, back_up, &backups) == 0);
    write_turns(store, a, b, ALONE, TURNS, &written, &longest);
    atomic_store(&done, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers[i], NULL);
    }
    pthread_join(backup, NULL);
    CHECK(atomic_load(&failures) == 0);
    asy_store_checkpointer_stop(store);
    asy_store_checkpointer_stop(store); /* twice is fine */
    MUST(asy_store_check(store, &must_why));
    asy_store_close(store);

    CHECK(backups >= 1);
    for (int i = 0; i < backups; i++) {
        char name[16];
        snprintf(name, sizeof(name), "copy%d", i);
        MUST(asy_store_open(&store, tmp_path(name), history, 1, &test_options, &must_why));
        MUST(asy_store_check(store, &must_why));
        CHECK(ask(store, "SELECT (SELECT count(*) FROM a) - 3 * (SELECT count(*) FROM b)") == 0);
        asy_store_close(store);
    }
    tmp_end();
    return asy_test_end();
}
