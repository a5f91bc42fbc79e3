/* How the database runs each statement of the ledger: none that runs while requests are served
 * reads a whole table. */
#include "ledger/ledger_priv.h"
#include "ledger/test/rig.h"

/* These run at the start, or in checks, and read everything by intent. */
static const char *const whole[] = {"account_all", "key_all", "node_all", "batch_max",
                                    "journal_all"};

static bool may_scan(const char *name) {
    for (size_t i = 0; i < ASY_COUNT(whole); i++) {
        if (strcmp(name, whole[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void check_plan(struct asy_store *store, const char *name, const char *sql) {
    char explain[2048];
    struct asy_stmt *q;
    int len = snprintf(explain, sizeof explain, "EXPLAIN QUERY PLAN %s", sql);
    ASY_ASSERT(len > 0 && (size_t)len < sizeof explain);
    MUST(asy_store_prepare(&q, store, explain, &rig_why));
    for (;;) {
        bool row;
        MUST(asy_stmt_step(&row, q, &rig_why));
        if (!row) {
            return;
        }
        struct asy_bytes detail = asy_stmt_col_text(q, 3);
        /* one row; an index that holds only the few batches that are not final */
        bool small = memmem(detail.p, detail.n, "CONSTANT ROW", 12) != NULL ||
                     memmem(detail.p, detail.n, "INDEX batch_moving", 18) != NULL;
        if (asy_bytes_starts(detail, ASY_STR("SCAN")) && !small && !may_scan(name)) {
            asy_test_failures++;
            fprintf(stderr, "%s: %.*s\n", name, (int)detail.n, detail.p);
        }
    }
}

int main(void) {
    rig_begin();
    rig_commit();
    static const struct {
        const char *name, *sql;
    } statements[] = {
#define X(name, sql) {#name, sql},
        LEDGER_STATEMENTS(X)
#undef X
    };
    for (size_t i = 0; i < ASY_COUNT(statements); i++) {
        if (strncmp(statements[i].sql, "INSERT", 6) != 0) {
            check_plan(rig_ledger->store, statements[i].name, statements[i].sql);
        }
    }
    rig_commit();
    rig_end();
    return asy_test_end();
}
