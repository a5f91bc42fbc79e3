/* Time of a loop turn's writes and their commit, as a gateway would make them: rows of 300 bytes
 * with a random 32-byte key and an index. Prints microseconds per turn and how long the log got. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "store/store.h"

enum { BLOB = 200 };

static const struct asy_store_migration history[] = {
    {"rows", "CREATE TABLE job(id BLOB PRIMARY KEY, account INTEGER, amount BLOB, terms BLOB) "
             "STRICT, WITHOUT ROWID;"
             "CREATE INDEX job_account ON job(account)"},
};

static struct asy_why why;
static void must(enum asy_err err) {
    if (err != ASY_OK) {
        fprintf(stderr, "%s: %s\n", asy_err_name(err), why.text);
        exit(1);
    }
}

static uint64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* per_second: turns begun per second; 0 = one after the other, which is more than most disks can
 * follow. */
static void measure(const char *dir, enum asy_store_sync sync, int rows, size_t turns,
                    uint64_t per_second) {
    char path[512], file[544];
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    snprintf(path, sizeof(path), "%s/bench-store.db", dir);
    struct asy_store_options options = {.application_id = 1, .sync = sync};
    struct asy_store *store;
    struct asy_stmt *insert;
    must(asy_store_open(&store, path, history, 1, &options, &why));
    must(asy_store_checkpointer_start(store, 0, &why));
    must(asy_store_prepare(&insert, store,
                           "INSERT INTO job(id, account, amount, terms) VALUES(?1, ?2, ?3, ?4)",
                           &why));
    uint64_t *took = asy_alloc(turns * sizeof(*took)), longest = 0;
    uint8_t terms[BLOB] = {1};
    uint64_t cpu = now_ns(CLOCK_THREAD_CPUTIME_ID), start = now_ns(CLOCK_MONOTONIC);
    for (size_t turn = 0; turn < turns; turn++) {
        if (per_second != 0) {
            uint64_t at = start + turn * (1000000000u / per_second);
            struct timespec t = {(time_t)(at / 1000000000u), (long)(at % 1000000000u)};
            (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        }
        uint64_t began = now_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < rows; i++) {
            struct asy_hash id;
            asy_env_random(asy_env_system(), &id, sizeof(id));
            asy_stmt_bind_hash(insert, 1, &id);
            asy_stmt_bind_u64(insert, 2, turn % 50);
            asy_stmt_bind_u128(insert, 3, turn);
            asy_stmt_bind_bytes(insert, 4, asy_bytes_of(terms, sizeof(terms)));
            must(asy_stmt_run(insert, &why));
        }
        must(asy_store_commit(store, &why));
        took[turn] = now_ns(CLOCK_MONOTONIC) - began;
        longest = asy_store_log_len(store) > longest ? asy_store_log_len(store) : longest;
    }
    cpu = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    uint64_t sum = 0;
    for (size_t turn = 0; turn < turns; turn++) {
        sum += took[turn];
    }
    qsort(took, turns, sizeof(*took), by_size);
    char pace[32] = "no pause";
    if (per_second != 0) {
        snprintf(pace, sizeof(pace), "%" PRIu64 " a second", per_second);
    }
    printf("store: sync %-6s %2d rows a turn, %-13s mean %7.1f us, p50 %7.1f, p99 %7.1f, "
           "max %8.1f; cpu %6.1f; log up to %" PRIu64 " KiB (%zu turns)\n",
           sync == ASY_STORE_SYNC_FULL ? "FULL" : "NORMAL", rows, pace,
           (double)sum / 1e3 / (double)turns, (double)took[turns / 2] / 1e3,
           (double)took[turns - turns / 100 - 1] / 1e3, (double)took[turns - 1] / 1e3,
           (double)cpu / 1e3 / (double)turns, longest / 1024, turns);
    asy_free(took);
    asy_store_close(store);
    for (size_t i = 0; i < ASY_COUNT(suffixes); i++) {
        snprintf(file, sizeof(file), "%s%s", path, suffixes[i]);
        (void)unlink(file); /* log and index are gone already when the store was closed last */
    }
}

int main(int argc, char **argv) {
    const char *dir = argc > 1 ? argv[1] : ".";
    measure(dir, ASY_STORE_SYNC_NORMAL, 1, 5000, 1000);
    measure(dir, ASY_STORE_SYNC_NORMAL, 10, 5000, 1000);
    measure(dir, ASY_STORE_SYNC_NORMAL, 1, 20000, 0);
    measure(dir, ASY_STORE_SYNC_NORMAL, 10, 20000, 0);
    measure(dir, ASY_STORE_SYNC_FULL, 1, 1000, 0);
    measure(dir, ASY_STORE_SYNC_FULL, 10, 1000, 0);
    return 0;
}
