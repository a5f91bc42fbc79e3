/* Opening, migrations, types, turns, marks, errors. */
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "store/test/tmp.h"

static const struct asy_store_migration history[] = {
    {"accounts", "CREATE TABLE account(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, credit "
                 "BLOB CHECK(length(credit) = 16)) STRICT"},
    {"entries", "CREATE TABLE entry(id INTEGER PRIMARY KEY, account INTEGER NOT NULL REFERENCES "
                "account(id), amount INTEGER) STRICT;"
                "CREATE INDEX entry_account ON entry(account)"},
    {"values", "CREATE TABLE value(id INTEGER PRIMARY KEY, x ANY) STRICT"},
};

static struct asy_store *open_all(const char *name) {
    struct asy_store *store;
    MUST(asy_store_open(&store, tmp_path(name), history, ASY_COUNT(history), &test_options,
                        &must_why));
    return store;
}

static void add_account(struct asy_store *store, const char *name, enum asy_err want) {
    struct asy_stmt *stmt;
    MUST(asy_store_prepare(&stmt, store, "INSERT INTO account(name, credit) VALUES(?1, ?2)",
                           &must_why));
    asy_stmt_bind_text(stmt, 1, asy_bytes_cstr(name));
    asy_stmt_bind_u128(stmt, 2, 5);
    CHECK_ERR(asy_stmt_run(stmt, NULL), want);
}

static void test_migrations(void) {
    struct asy_store *store;
    struct asy_why why = {0};
    MUST(asy_store_open(&store, tmp_path("m"), history, 1, &test_options, &must_why));
    CHECK_U64(asy_store_version(store), 1);
    struct stat st;
    CHECK(stat(tmp_path("m"), &st) == 0 && (st.st_mode & 0777) == 0600);
    add_account(store, "kept", ASY_OK);
    MUST(asy_store_commit(store, &must_why));
    asy_store_close(store);

    store = open_all("m"); /* the rest is applied, the rows stay */
    CHECK_U64(asy_store_version(store), 3);
    CHECK(ask(store, "SELECT count(*) FROM account WHERE name = 'kept'") == 1);
    CHECK(ask(store, "SELECT count(*) FROM asy_migration") == 3);
    MUST(asy_store_check(store, &must_why));
    asy_store_close(store);
    store = open_all("m"); /* nothing to do */
    asy_store_close(store);

    CHECK_ERR(asy_store_open(&store, tmp_path("m"), history, 2, &test_options, &why),
              ASY_ERR_VERSION);
    CHECK(strstr(why.text, "newer") != NULL);
    struct asy_store_migration other[3] = {history[0], {"renamed", history[1].sql}, history[2]};
    CHECK_ERR(asy_store_open(&store, tmp_path("m"), other, 3, &test_options, &why),
              ASY_ERR_VERSION);
    CHECK(strstr(why.text, "renamed") != NULL && strstr(why.text, "entries") != NULL);
    struct asy_store_options stranger = {.application_id = TEST_APP + 1};
    CHECK_ERR(asy_store_open(&store, tmp_path("m"), history, 3, &stranger, &why), ASY_ERR_MISMATCH);
    CHECK_ERR(asy_store_open_reader(&store, tmp_path("m"), &stranger, &why), ASY_ERR_MISMATCH);

    /* a migration that fails half-way leaves nothing, and those before it stay */
    struct asy_store_migration broken[3] = {
        history[0], {"broken", "CREATE TABLE half(x); INSERT INTO nowhere VALUES(1)"}, history[2]};
    CHECK_ERR(asy_store_open(&store, tmp_path("b"), broken, 3, &test_options, &why), ASY_ERR_STORE);
    CHECK(strstr(why.text, "migration 2") != NULL && strstr(why.text, "nowhere") != NULL);
    store = open_all("b"); /* the mended history applies */
    CHECK(ask(store, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'") == 0);
    asy_store_close(store);
    /* one that breaks a foreign key too */
    struct asy_store_migration orphan[4] = {
        history[0],
        history[1],
        history[2],
        {"orphan", "INSERT INTO entry(account, amount) VALUES(99, 1)"}};
    CHECK_ERR(asy_store_open(&store, tmp_path("b"), orphan, 4, &test_options, &why), ASY_ERR_STORE);
    CHECK(strstr(why.text, "foreign key") != NULL);
    store = open_all("b");
    CHECK(ask(store, "SELECT count(*) FROM entry") == 0);
    asy_store_close(store);
}

static void write_file(const char *path, const void *p, size_t len) {
    FILE *f = fopen(path, "w");
    ASY_ASSERT(f != NULL && fwrite(p, 1, len, f) == len && fclose(f) == 0);
}

static void test_bad_files(void) {
    struct asy_store *store;
    struct asy_why why = {0};
    char junk[8192];
    memset(junk, 'x', sizeof(junk));
    write_file(tmp_path("junk"), junk, sizeof(junk));
    CHECK_ERR(asy_store_open(&store, tmp_path("junk"), history, 3, &test_options, &why),
              ASY_ERR_STORE);
    CHECK(strstr(why.text, "not a database") != NULL);
    CHECK_ERR(asy_store_open(&store, tmp_path("no/such"), history, 3, &test_options, &why),
              ASY_ERR_STORE);
    CHECK_ERR(asy_store_open_reader(&store, tmp_path("absent"), &test_options, &why),
              ASY_ERR_STORE);
    CHECK(access(tmp_path("absent"), F_OK) != 0);

    /* damage inside: a page of the table overwritten */
    store = open_all("d");
    MUST(asy_store_exec(
        store,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
        "INSERT INTO value(id, x) SELECT i, 'value ' || i FROM n",
        &must_why));
    MUST(asy_store_commit(store, &must_why));
    asy_store_close(store);
    int fd = open(tmp_path("d"), O_RDWR);
    ASY_ASSERT(fd >= 0 && lseek(fd, 0, SEEK_END) > 40000);
    ASY_ASSERT(pwrite(fd, junk, sizeof(junk), 32768) == (ssize_t)sizeof(junk) && close(fd) == 0);
    struct asy_store_options checked = test_options;
    checked.check = true;
    CHECK_ERR(asy_store_open(&store, tmp_path("d"), history, 3, &checked, &why), ASY_ERR_STORE);
    store = open_all("d");
    CHECK_ERR(asy_store_check(store, &why), ASY_ERR_STORE);
    struct asy_stmt *stmt;
    MUST(asy_store_prepare(&stmt, store, "SELECT sum(length(x)) FROM value", &must_why));
    bool row = false;
    CHECK_ERR(asy_stmt_step(&row, stmt, &why), ASY_ERR_STORE);
    CHECK(!row);
    asy_store_close(store);

    /* a file that may not be written: its mode counts for root too once root has no capabilities */
    store = open_all("ro");
    asy_store_close(store);
    ASY_ASSERT(chmod(tmp_path("ro"), 0444) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct none[2] = {{0}};
        ASY_ASSERT(syscall(SYS_capset, &header, none) == 0);
        enum asy_err err = asy_store_open(&store, tmp_path("ro"), history, 3, &test_options, &why);
        _exit(err == ASY_ERR_STORE && strstr(why.text, "read-only") != NULL ? 0 : 1);
    }
    int status;
    ASY_ASSERT(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
}

static void test_types(void) {
    struct asy_store *store = open_all("t");
    struct asy_stmt *put, *get;
    bool row;
    MUST(asy_store_prepare(&put, store, "INSERT INTO value(id, x) VALUES(?1, ?2)", &must_why));
    MUST(asy_store_prepare(&get, store, "SELECT x FROM value WHERE id = ?1", &must_why));
    struct asy_hash hash, zero_hash = {0};
    struct asy_addr addr;
    asy_test_fill(&hash, sizeof(hash));
    asy_test_fill(&addr, sizeof(addr));
    const asy_u128 big = (asy_u128)UINT64_MAX << 64 | 7;
    uint8_t blob[3] = {0, 1, 0};
    for (int id = 1; id <= 11; id++) {
        asy_stmt_bind_i64(put, 1, id);
        switch (id) {
        case 1:
            asy_stmt_bind_i64(put, 2, INT64_MIN);
            break;
        case 2:
            asy_stmt_bind_u64(put, 2, INT64_MAX);
            break;
        case 3:
            asy_stmt_bind_u128(put, 2, big);
            break;
        case 4:
            asy_stmt_bind_bytes(put, 2, asy_bytes_of(blob, 3));
            break;
        case 5:
            asy_stmt_bind_bytes(put, 2, asy_bytes_of(NULL, 0));
            break;
        case 6:
            asy_stmt_bind_text(put, 2, ASY_STR("gr\xc3\xbc\xc3\x9f"));
            break;
        case 7:
            asy_stmt_bind_text(put, 2, asy_bytes_of(NULL, 0));
            break;
        case 8:
            asy_stmt_bind_hash(put, 2, &hash);
            break;
        case 9:
            asy_stmt_bind_addr(put, 2, &addr);
            break;
        case 10:
            break; /* not bound: NULL, not what the run before had */
        default:
            asy_stmt_bind_null(put, 2);
        }
        MUST(asy_stmt_run(put, &must_why));
    }
    for (int id = 1; id <= 11; id++) {
        asy_stmt_bind_i64(get, 1, id);
        MUST(asy_stmt_step(&row, get, &must_why));
        CHECK(row);
        CHECK(asy_stmt_col_is_null(get, 0) == (id >= 10));
        switch (id) {
        case 1:
            CHECK(asy_stmt_col_i64(get, 0) == INT64_MIN);
            break;
        case 2:
            CHECK_U64(asy_stmt_col_u64(get, 0), INT64_MAX);
            break;
        case 3:
            CHECK(asy_stmt_col_u128(get, 0) == big);
            break;
        case 4:
            CHECK(asy_bytes_eq(asy_stmt_col_bytes(get, 0), asy_bytes_of(blob, 3)));
            break;
        case 5:
            CHECK_U64(asy_stmt_col_bytes(get, 0).n, 0);
            break;
        case 6:
            CHECK(asy_bytes_eq(asy_stmt_col_text(get, 0), ASY_STR("gr\xc3\xbc\xc3\x9f")));
            break;
        case 7:
            CHECK_U64(asy_stmt_col_text(get, 0).n, 0);
            break;
        case 8: {
            struct asy_hash got = asy_stmt_col_hash(get, 0);
            CHECK(asy_hash_eq(&got, &hash));
            break;
        }
        case 9: {
            struct asy_addr got = asy_stmt_col_addr(get, 0);
            CHECK(asy_addr_eq(&got, &addr));
            break;
        }
        default:
            break;
        }
        MUST(asy_stmt_end(get, &must_why));
    }
    /* every wrong reading is zero, and told by the end */
    for (int id = 1; id <= 10; id++) {
        for (int as = 0; as < 7; as++) {
            asy_stmt_bind_i64(get, 1, id);
            MUST(asy_stmt_step(&row, get, &must_why));
            bool right = false;
            switch (as) {
            case 0:
                right = id <= 2;
                CHECK(right || asy_stmt_col_i64(get, 0) == 0);
                break;
            case 1:
                right = id == 2;
                CHECK(right || asy_stmt_col_u64(get, 0) == 0);
                break;
            case 2:
                right = id == 3;
                CHECK(right || asy_stmt_col_u128(get, 0) == 0);
                break;
            case 3:
                right = id >= 3 && id <= 5;
                right |= id == 8 || id == 9;
                CHECK(right || asy_stmt_col_bytes(get, 0).n == 0);
                break;
            case 4:
                right = id == 6 || id == 7;
                CHECK(right || asy_stmt_col_text(get, 0).n == 0);
                break;
            case 5: {
                right = id == 8;
                struct asy_hash got = asy_stmt_col_hash(get, 0);
                CHECK(right || asy_hash_eq(&got, &zero_hash));
                break;
            }
            default: {
                right = id == 9;
                struct asy_addr got = asy_stmt_col_addr(get, 0);
                CHECK(right || asy_addr_is_zero(&got));
            }
            }
            CHECK_ERR(asy_stmt_end(get, NULL), right ? ASY_OK : ASY_ERR_STORE);
        }
    }
    /* the next step tells it too */
    struct asy_stmt *all;
    MUST(asy_store_prepare(&all, store, "SELECT x FROM value ORDER BY id", &must_why));
    MUST(asy_stmt_step(&row, all, &must_why));
    (void)asy_stmt_col_text(all, 0);
    CHECK_ERR(asy_stmt_step(&row, all, NULL), ASY_ERR_STORE);

    asy_stmt_bind_i64(put, 1, 50);
    asy_stmt_bind_u64(put, 2, (uint64_t)INT64_MAX + 1);
    CHECK_ERR(asy_stmt_run(put, NULL), ASY_ERR_RANGE);
    CHECK(ask(store, "SELECT count(*) FROM value WHERE id = 50") == 0);
    asy_stmt_bind_i64(put, 1, 50); /* and the fault is forgotten */
    MUST(asy_stmt_run(put, &must_why));

    /* money sorts */
    MUST(asy_store_exec(store, "DELETE FROM value", &must_why));
    CHECK_U64(asy_store_changes(store), 12);
    asy_u128 sums[] = {0, 1, 255, 256, UINT64_MAX, (asy_u128)1 << 64, big};
    for (size_t i = 0; i < ASY_COUNT(sums); i++) {
        asy_stmt_bind_i64(put, 1, (int64_t)(ASY_COUNT(sums) - i));
        asy_stmt_bind_u128(put, 2, sums[i]);
        MUST(asy_stmt_run(put, &must_why));
    }
    MUST(asy_store_prepare(&all, store, "SELECT x FROM value ORDER BY x", &must_why));
    for (size_t i = 0; i < ASY_COUNT(sums); i++) {
        MUST(asy_stmt_step(&row, all, &must_why));
        CHECK(row && asy_stmt_col_u128(all, 0) == sums[i]);
    }
    MUST(asy_stmt_step(&row, all, &must_why));
    CHECK(!row);
    asy_store_close(store); /* uncommitted: gone */
    store = open_all("t");
    CHECK(ask(store, "SELECT count(*) FROM value") == 0);
    asy_store_close(store);
}

static void test_turns(void) {
    struct asy_store *store = open_all("u"), *reader;
    MUST(asy_store_open_reader(&reader, tmp_path("u"), &test_options, &must_why));
    CHECK_U64(asy_store_version(reader), 3);
    CHECK(!asy_store_dirty(store));
    CHECK(ask(store, "SELECT count(*) FROM account") == 0);
    CHECK(!asy_store_dirty(store)); /* reading opens nothing */
    uint64_t commits = asy_metric_get(ASY_M_store_commits_total);
    MUST(asy_store_commit(store, &must_why)); /* nor does an empty turn commit */
    CHECK_U64(asy_metric_get(ASY_M_store_commits_total), commits);

    add_account(store, "a", ASY_OK);
    add_account(store, "b", ASY_OK);
    CHECK(asy_store_dirty(store));
    CHECK(ask(store, "SELECT count(*) FROM account") == 2);
    CHECK(ask(reader, "SELECT count(*) FROM account") == 0);
    add_account(store, "a", ASY_ERR_CONFLICT); /* the turn goes on */
    CHECK_ERR(asy_store_exec(store, "INSERT INTO entry(account, amount) VALUES(77, 1)", NULL),
              ASY_ERR_CONFLICT);
    CHECK_ERR(asy_store_exec(
                  store, "INSERT INTO value VALUES(1, 1); INSERT INTO value VALUES(1, 1)", NULL),
              ASY_ERR_CONFLICT);
    CHECK(ask(store, "SELECT count(*) FROM value") == 0); /* a script is one step */
    MUST(asy_store_commit(store, &must_why));
    CHECK_U64(asy_metric_get(ASY_M_store_commits_total), commits + 1);
    CHECK(!asy_store_dirty(store));
    CHECK(ask(reader, "SELECT count(*) FROM account") == 2);
    CHECK(asy_store_log_len(store) > 0);

    add_account(store, "c", ASY_OK);
    asy_store_rollback(store);
    CHECK(!asy_store_dirty(store));
    CHECK(ask(store, "SELECT count(*) FROM account") == 2);

    /* marks: a(b(c) undone b) kept */
    uint32_t outer, inner, innermost;
    MUST(asy_store_mark(store, &outer, &must_why));
    CHECK(asy_store_dirty(store));
    add_account(store, "outer", ASY_OK);
    MUST(asy_store_mark(store, &inner, &must_why));
    add_account(store, "inner", ASY_OK);
    MUST(asy_store_mark(store, &innermost, &must_why));
    add_account(store, "innermost", ASY_OK);
    MUST(asy_store_keep(store, innermost, &must_why));
    MUST(asy_store_rollback_to(store, inner, &must_why)); /* takes innermost with it */
    add_account(store, "inner", ASY_OK);                  /* its name is free again */
    MUST(asy_store_keep(store, outer, &must_why));
    MUST(asy_store_mark(store, &outer, &must_why));
    CHECK_U64(outer, 0);
    add_account(store, "unended", ASY_OK);
    MUST(asy_store_commit(store, &must_why));
    CHECK(ask(reader, "SELECT count(*) FROM account") == 5);
    CHECK(ask(reader, "SELECT count(*) FROM account WHERE name = 'innermost'") == 0);
    MUST(asy_store_mark(store, &outer, &must_why)); /* none is left from the turn before */
    CHECK_U64(outer, 0);
    MUST(asy_store_mark(store, &inner, &must_why));
    MUST(asy_store_rollback_to(store, outer, &must_why)); /* drops both */
    MUST(asy_store_mark(store, &outer, &must_why));
    CHECK_U64(outer, 0);
    asy_store_rollback(store);

    /* a failure that SQLite answers by undoing the statement alone dooms the turn all the same */
    add_account(store, "doomed", ASY_OK);
    CHECK_ERR(asy_store_exec(store, "INSERT INTO value VALUES(9, zeroblob(2000000000))", NULL),
              ASY_ERR_STORE);
    add_account(store, "later", ASY_ERR_STORE);
    CHECK_ERR(asy_store_mark(store, &outer, NULL), ASY_ERR_STORE);
    CHECK_ERR(asy_store_commit(store, NULL), ASY_ERR_STORE);
    CHECK(!asy_store_dirty(store));
    CHECK(ask(store, "SELECT count(*) FROM account") == 5);

    /* a second writer waits, then fails whole, then works */
    struct asy_store *second;
    struct asy_store_options hasty = test_options;
    hasty.busy_timeout_ms = 1;
    MUST(asy_store_open(&second, tmp_path("u"), history, 3, &hasty, &must_why));
    add_account(store, "first", ASY_OK);
    add_account(second, "second", ASY_ERR_STORE);
    CHECK(!asy_store_dirty(second));
    MUST(asy_store_commit(store, &must_why));
    add_account(second, "second", ASY_OK);
    MUST(asy_store_commit(second, &must_why));
    CHECK(ask(reader, "SELECT count(*) FROM account") == 7);
    asy_store_close(second);
    asy_store_close(reader);
    asy_store_close(store);
    asy_store_close(NULL);
}

static void test_backup(void) {
    struct asy_store *store = open_all("s");
    add_account(store, "saved", ASY_OK);
    MUST(asy_store_commit(store, &must_why));
    add_account(store, "not committed", ASY_OK);
    MUST(asy_store_backup(tmp_path("s"), tmp_path("copy"), &must_why));
    CHECK_ERR(asy_store_backup(tmp_path("s"), tmp_path("copy"), NULL), ASY_ERR_CONFLICT);
    CHECK_ERR(asy_store_backup(tmp_path("nothing"), tmp_path("copy2"), NULL), ASY_ERR_STORE);
    CHECK(access(tmp_path("copy2"), F_OK) != 0 && access(tmp_path("copy2.part"), F_OK) != 0);
    MUST(asy_store_commit(store, &must_why)); /* the writer was not in its way */
    asy_store_close(store);
    store = open_all("copy");
    MUST(asy_store_check(store, &must_why));
    CHECK(ask(store, "SELECT count(*) FROM account") == 1);
    asy_store_close(store);
}

int main(void) {
    tmp_begin();
    test_migrations();
    test_bad_files();
    test_types();
    test_turns();
    test_backup();
    tmp_end();
    return asy_test_end();
}
