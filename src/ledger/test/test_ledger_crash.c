/* A gateway's ledger is killed with SIGKILL again and again, at random points of its turns. The
 * next one finds the last turn that was acknowledged, or the one that was just being committed,
 * whole; and the books balance. */
#include <signal.h>
#include <sys/wait.h>

#include "ledger/test/walk.h"

enum { KILLS = 60 };

/* Sent before a commit (what the state will be) and after it. */
struct note {
    uint64_t done;
    uint64_t wall_ms;
    struct asy_hash digest;
};
static void tell(int fd, bool done, const struct asy_hash *digest) {
    struct note n = {done, rig_env.wall_ms, *digest};
    if (write(fd, &n, sizeof n) != (ssize_t)sizeof n) {
        _exit(1);
    }
}

/* The child: turns of random work, until it is killed. */
static void work_forever(int fd) {
    rig_open();
    walk_resume();
    for (;;) {
        uint64_t steps = 1 + walk_below(20);
        for (uint64_t i = 0; i < steps; i++) {
            walk_step();
        }
        if (asy_test_failures != 0) {
            _exit(2);
        }
        struct asy_hash digest = walk_digest();
        tell(fd, false, &digest);
        rig_commit();
        tell(fd, true, &digest);
    }
}

int main(void) {
    rig_begin();
    walk_resume();
    rig_commit();
    struct asy_hash
        expect[2]; /* the last turn acknowledged; the one after it, if it was announced */
    expect[0] = expect[1] = walk_digest();
    asy_ledger_close(rig_ledger);
    uint64_t turns = 0, found_later = 0;
    for (int kills = 0; kills < KILLS && asy_test_failures == 0; kills++) {
        int fds[2];
        ASY_ASSERT(pipe(fds) == 0);
        /* after how many notes to kill it, and how long to dither then */
        uint64_t wanted = walk_below(12), dither = walk_below(300000);
        uint64_t child_seed = asy_test_random();
        pid_t pid = fork();
        ASY_ASSERT(pid >= 0);
        if (pid == 0) {
            (void)close(fds[0]);
            asy_test_state = child_seed | 1;
            work_forever(fds[1]);
        }
        (void)close(fds[1]);
        struct note n;
        uint64_t seen = 0;
        while (seen < wanted && read(fds[0], &n, sizeof n) == (ssize_t)sizeof n) {
            expect[n.done ? 0 : 1] = n.digest;
            rig_env.wall_ms = n.wall_ms;
            turns += n.done;
            seen++;
        }
        CHECK_U64(seen, wanted);
        for (volatile uint64_t i = 0; i < dither; i++) {
        }
        ASY_ASSERT(kill(pid, SIGKILL) == 0);
        int status;
        ASY_ASSERT(waitpid(pid, &status, 0) == pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        while (read(fds[0], &n, sizeof n) ==
               (ssize_t)sizeof n) { /* told, but not read when it died */
            expect[n.done ? 0 : 1] = n.digest;
            rig_env.wall_ms = n.wall_ms;
            turns += n.done;
        }
        (void)close(fds[0]);
        rig_open();
        struct asy_hash now = walk_digest();
        CHECK(asy_hash_eq(&now, &expect[0]) || asy_hash_eq(&now, &expect[1]));
        found_later += !asy_hash_eq(&now, &expect[0]);
        BALANCED();
        expect[0] = expect[1] = now;
        asy_ledger_close(rig_ledger);
    }
    printf("%" PRIu64 " turns, %" PRIu64 " kills between a commit and its acknowledgement\n", turns,
           found_later);
    CHECK(turns > KILLS / 2);
    rig_open();
    rig_end();
    return asy_test_end();
}
