/* A disk that is full, met at every point of a turn: the turn fails as a whole, what was there
 * stays, and the store works again when there is room. Twice: by SQLite's own limit on pages, and
 * by the kernel refusing to let any file of the process grow. */
#include <signal.h>
#include <sys/resource.h>

#include "store/test/tmp.h"

static const struct asy_store_migration history[] = {
    {"rows", "CREATE TABLE a(turn INTEGER, i INTEGER, filler BLOB) STRICT; CREATE TABLE b(turn "
             "INTEGER PRIMARY KEY, count INTEGER) STRICT"},
};

static uint8_t filler[3000];

/* Writes a turn of `count` rows in a and the count in b. Returns what its commit says. */
static enum asy_err write_turn(struct asy_store *store, struct asy_stmt *a, struct asy_stmt *b,
                               int64_t turn, int count) {
    bool failed = false;
    for (int i = 0; i < count; i++) {
        asy_stmt_bind_i64(a, 1, turn);
        asy_stmt_bind_i64(a, 2, i);
        asy_stmt_bind_bytes(a, 3, asy_bytes_of(filler, sizeof(filler)));
        struct asy_why why = {0};
        enum asy_err err = asy_stmt_run(a, &why);
        if (err != ASY_OK) {
            CHECK(err == ASY_ERR_STORE && why.text[0] != 0);
            failed = true;
        } else {
            CHECK(!failed); /* once a write has failed, no later one may slip into another
                               transaction */
        }
    }
    asy_stmt_bind_i64(b, 1, turn);
    asy_stmt_bind_i64(b, 2, count);
    failed |= asy_stmt_run(b, NULL) != ASY_OK;
    struct asy_why why = {0};
    enum asy_err err = asy_store_commit(store, &why);
    CHECK(err == ASY_OK || (err == ASY_ERR_STORE && why.text[0] != 0));
    CHECK(!failed || err != ASY_OK);
    CHECK(!asy_store_dirty(store));
    return err;
}

/* Every turn is whole, and those acknowledged are all there and no other. */
static void check_turns(struct asy_store *store, int64_t acknowledged) {
    CHECK(ask(store, "SELECT count(*) FROM b") == acknowledged);
    CHECK(ask(store, "SELECT count(*) FROM b WHERE count != (SELECT count(*) FROM a WHERE a.turn = "
                     "b.turn)") == 0);
    CHECK(ask(store, "SELECT count(*) FROM a WHERE turn NOT IN (SELECT turn FROM b)") == 0);
    MUST(asy_store_check(store, &must_why));
}

static void prepare(struct asy_store *store, struct asy_stmt **ret_a, struct asy_stmt **ret_b) {
    MUST(asy_store_prepare(ret_a, store, "INSERT INTO a(turn, i, filler) VALUES(?1, ?2, ?3)",
                           &must_why));
    MUST(asy_store_prepare(ret_b, store, "INSERT INTO b(turn, count) VALUES(?1, ?2)", &must_why));
}

static void test_page_limit(void) {
    struct asy_store_options options = test_options;
    options.max_len = 200000;
    struct asy_store *store;
    struct asy_stmt *a, *b;
    MUST(asy_store_open(&store, tmp_path("pages"), history, 1, &options, &must_why));
    prepare(store, &a, &b);
    int64_t turn = 0, acknowledged = 0;
    int refused = 0;
    for (; turn < 100 && refused < 20; turn++) {
        enum asy_err err = write_turn(store, a, b, turn, 1 + (int)(turn % 7));
        refused += err != ASY_OK;
        acknowledged += err == ASY_OK;
        check_turns(store, acknowledged);
    }
    CHECK(refused == 20 && acknowledged > 5);
    /* room again */
    MUST(asy_store_exec(store, "DELETE FROM a WHERE turn = 0; DELETE FROM b WHERE turn = 0",
                        &must_why));
    MUST(asy_store_commit(store, &must_why));
    acknowledged--;
    CHECK(write_turn(store, a, b, 1000, 1) == ASY_OK);
    check_turns(store, acknowledged + 1);
    asy_store_close(store);
}

static void limit_files(rlim_t len) {
    struct rlimit limit;
    ASY_ASSERT(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = len;
    ASY_ASSERT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void test_kernel_limit(void) {
    signal(SIGXFSZ, SIG_IGN); /* then write says EFBIG */
    struct rlimit before;
    ASY_ASSERT(getrlimit(RLIMIT_FSIZE, &before) == 0);
    struct asy_store *store;
    struct asy_stmt *a, *b;
    MUST(asy_store_open(&store, tmp_path("kernel"), history, 1, &test_options, &must_why));
    prepare(store, &a, &b);
    int64_t acknowledged = 0;
    int refused = 0;
    for (int64_t turn = 0; turn < 60; turn++) {
        /* Every other turn of 13 rows, at least 39,000 bytes, may add less than that to the log,
         * and so fails, at any point of it. */
        bool limited = turn % 2 == 1;
        if (limited) {
            limit_files((rlim_t)(asy_store_log_len(store) + asy_test_random() % 38000));
        }
        enum asy_err err = write_turn(store, a, b, turn, limited ? 13 : 1 + (int)(turn % 9));
        limit_files(before.rlim_cur);
        refused += err != ASY_OK;
        acknowledged += err == ASY_OK;
        check_turns(store, acknowledged);
    }
    CHECK(refused == 30 && acknowledged == 30);
    asy_store_close(store);
    MUST(asy_store_open(&store, tmp_path("kernel"), history, 1, &test_options, &must_why));
    check_turns(store, acknowledged);
    asy_store_close(store);
}

int main(void) {
    asy_test_fill(filler, sizeof(filler));
    tmp_begin();
    test_page_limit();
    test_kernel_limit();
    tmp_end();
    return asy_test_end();
}
