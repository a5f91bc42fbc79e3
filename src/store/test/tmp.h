/* tmp.h: a folder for one test, removed with its files at the end. */
#ifndef ASY_STORE_TEST_TMP_H
#define ASY_STORE_TEST_TMP_H

#include <dirent.h>
#include <unistd.h>

#include "base/test.h"
#include "store/store.h"

static char tmp_dir[256];
static char tmp_path_buf[4][320];

/* dir/name; four results live at a time. */
static const char *tmp_path(const char *name) {
    static unsigned next;
    char *p = tmp_path_buf[next++ % 4];
    snprintf(p, sizeof(tmp_path_buf[0]), "%s/%s", tmp_dir, name);
    return p;
}

static void tmp_empty(void) {
    DIR *dir = opendir(tmp_dir);
    ASY_ASSERT(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.') {
            char path[sizeof(tmp_dir) + sizeof(entry->d_name)];
            snprintf(path, sizeof(path), "%s/%s", tmp_dir, entry->d_name);
            ASY_ASSERT(unlink(path) == 0);
        }
    }
    closedir(dir);
}

static void tmp_begin(void) {
    const char *base = getenv("TMPDIR");
    int len =
        snprintf(tmp_dir, sizeof(tmp_dir), "%s/assay-store-XXXXXX", base != NULL ? base : "/tmp");
    ASY_ASSERT(len > 0 && (size_t)len < sizeof(tmp_dir));
    ASY_ASSERT(mkdtemp(tmp_dir) != NULL);
}

static void tmp_end(void) {
    tmp_empty();
    ASY_ASSERT(rmdir(tmp_dir) == 0);
}

enum { TEST_APP = 0x41535954 };
static const struct asy_store_options test_options = {.application_id = TEST_APP,
                                                      .busy_timeout_ms = 2000};

/* For calls that must work; they take &must_why. */
static __thread struct asy_why must_why;
#define MUST(call)                                                                                 \
    do {                                                                                           \
        enum asy_err must_ = (call);                                                               \
        if (must_ != ASY_OK) {                                                                     \
            fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, asy_err_name(must_), \
                    must_why.text);                                                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The one number a query without parameters gives. */
__attribute__((unused)) static int64_t ask(struct asy_store *store, const char *sql) {
    struct asy_stmt *stmt;
    bool row;
    MUST(asy_store_prepare(&stmt, store, sql, &must_why));
    MUST(asy_stmt_step(&row, stmt, &must_why));
    ASY_ASSERT(row);
    int64_t value = asy_stmt_col_i64(stmt, 0);
    MUST(asy_stmt_end(stmt, &must_why));
    return value;
}

#endif
