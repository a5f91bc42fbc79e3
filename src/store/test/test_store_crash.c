/* A writer is killed with SIGKILL again and again, at random points of its turns, its checkpoints
 * and its opening. What it had acknowledged must be there, nothing may be torn, and the next one
 * goes on where it stopped. */
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "store/test/tmp.h"

enum { KILLS = 60 };

static const struct asy_store_migration history[] = {
    {"rows", "CREATE TABLE a(turn INTEGER, i INTEGER, filler BLOB) STRICT; CREATE TABLE b(turn "
             "INTEGER PRIMARY KEY, count INTEGER) STRICT;"
             "CREATE INDEX a_turn ON a(turn)"},
};

/* The child: turns of 1 to 12 rows, each acknowledged on the pipe after its commit, until it is
 * killed. */
static void write_forever(int ack_fd, uint32_t interval_ms) {
    struct asy_store *store;
    struct asy_stmt *a, *b;
    uint8_t filler[2500];
    MUST(asy_store_open(&store, tmp_path("db"), history, 1, &test_options, &must_why));
    MUST(asy_store_checkpointer_start(store, interval_ms, &must_why));
    MUST(asy_store_prepare(&a, store, "INSERT INTO a(turn, i, filler) VALUES(?1, ?2, ?3)",
                           &must_why));
    MUST(asy_store_prepare(&b, store, "INSERT INTO b(turn, count) VALUES(?1, ?2)", &must_why));
    asy_test_fill(filler, sizeof(filler));
    for (int64_t turn = ask(store, "SELECT coalesce(max(turn), 0) + 1 FROM b");; turn++) {
        int64_t count = 1 + turn % 12;
        asy_stmt_bind_i64(b, 1, turn);
        asy_stmt_bind_i64(b, 2, count);
        MUST(asy_stmt_run(b, &must_why));
        for (int64_t i = 0; i < count; i++) {
            asy_stmt_bind_i64(a, 1, turn);
            asy_stmt_bind_i64(a, 2, i);
            asy_stmt_bind_bytes(a, 3, asy_bytes_of(filler, 100 + (size_t)(turn * 37 % 2400)));
            MUST(asy_stmt_run(a, &must_why));
        }
        MUST(asy_store_commit(store, &must_why));
        if (write(ack_fd, &turn, sizeof(turn)) != (ssize_t)sizeof(turn)) {
            _exit(1);
        }
    }
}

static int64_t check_file(int64_t acknowledged) {
    struct asy_store *store;
    struct asy_store_options options = test_options;
    options.check = true;
    MUST(asy_store_open(&store, tmp_path("db"), history, 1, &options, &must_why));
    int64_t last = ask(store, "SELECT coalesce(max(turn), 0) FROM b");
    CHECK(last >= acknowledged);
    CHECK(ask(store, "SELECT count(*) FROM b") == last); /* 1 .. last without a gap */
    CHECK(ask(store, "SELECT count(*) FROM b WHERE count != (SELECT count(*) FROM a WHERE a.turn = "
                     "b.turn)") == 0);
    CHECK(ask(store, "SELECT count(*) FROM a WHERE turn NOT IN (SELECT turn FROM b)") == 0);
    asy_store_close(store);
    return last;
}

int main(void) {
    tmp_begin();
    int64_t acknowledged = 0;
    for (int kills = 0; kills < KILLS && asy_test_failures == 0; kills++) {
        int fds[2];
        ASY_ASSERT(pipe(fds) == 0);
        /* the child's acknowledgements after which to kill it, and how long to dither then: both at
         * random */
        int64_t wanted = (int64_t)(asy_test_random() % 30),
                dither = (int64_t)(asy_test_random() % 200000);
        pid_t pid = fork();
        ASY_ASSERT(pid >= 0);
        if (pid == 0) {
            close(fds[0]);
            write_forever(fds[1], 1);
        }
        close(fds[1]);
        int64_t turn, seen = 0;
        while (seen < wanted && read(fds[0], &turn, sizeof(turn)) == (ssize_t)sizeof(turn)) {
            CHECK(turn == acknowledged + 1);
            acknowledged = turn;
            seen++;
        }
        CHECK(seen == wanted);
        for (volatile int64_t i = 0; i < dither; i++) {
        }
        ASY_ASSERT(kill(pid, SIGKILL) == 0);
        int status;
        ASY_ASSERT(waitpid(pid, &status, 0) == pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        while (read(fds[0], &turn, sizeof(turn)) ==
               (ssize_t)sizeof(turn)) { /* acknowledged, but not yet read when it died */
            CHECK(turn == acknowledged + 1);
            acknowledged = turn;
        }
        close(fds[0]);
        acknowledged = check_file(acknowledged);
    }
    CHECK(acknowledged > KILLS);
    tmp_end();
    return asy_test_end();
}
