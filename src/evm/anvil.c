/* anvil.c: the embedded chain as a child process. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "evm/evm_priv.h"

#define MS                1000000u /* ns */
#define POLL_MS           20u
#define DEFAULT_GAS_LIMIT 60000000u
#define KEEP_STATES       "32" /* blocks whose state calls may still ask for, beside the latest */
#define MAX_PATH          4096u

static uint64_t now_ns(void) { return asy_env_mono_ns(asy_env_system()); }

static void doze(void) {
    struct timespec t = {.tv_nsec = POLL_MS * MS};
    (void)nanosleep(&t, NULL); /* waking early is fine: the caller looks and comes again */
}

static enum asy_err io_failed(struct asy_why *reterr_why, const char *what, const char *path) {
    return asy_why_set(reterr_why, ASY_ERR_IO, NULL, "%s %s: %s", what, path, strerror(errno));
}

/* ---- arguments ---- */

void asy_evm_anvil_argv(struct asy_evm_anvil_argv *ret_argv,
                        const struct asy_evm_anvil_options *options) {
    struct asy_evm_anvil_argv *a = ret_argv;
    uint64_t gas_limit = options->gas_limit != 0 ? options->gas_limit : DEFAULT_GAS_LIMIT;
    size_t n = 0;
    (void)snprintf(a->text[0], sizeof a->text[0], "%u", options->port);
    (void)snprintf(a->text[1], sizeof a->text[1], "%llu", (unsigned long long)options->chain_id);
    (void)snprintf(a->text[2], sizeof a->text[2], "%llu", (unsigned long long)gas_limit);
    (void)snprintf(a->text[3], sizeof a->text[3], "%u", options->state_interval_s);
    const char *const fixed[] = {options->bin,      "--host",
                                 "127.0.0.1",       "--port",
                                 a->text[0],        "--chain-id",
                                 a->text[1],        "--hardfork",
                                 "osaka",           "--enable-tx-gas-limit",
                                 "--gas-limit",     a->text[2],
                                 "--no-mining",     "--silent",
                                 "--prune-history", KEEP_STATES,
                                 "--accounts",      "0"};
    for (; n < ASY_COUNT(fixed); n++) {
        a->argv[n] = fixed[n];
    }
    if (options->state != NULL) {
        a->argv[n++] = "--state";
        a->argv[n++] = options->state;
        if (options->state_interval_s != 0) {
            a->argv[n++] = "--state-interval";
            a->argv[n++] = a->text[3];
        }
    }
    a->argv[n++] = NULL;
    ASY_ASSERT(n <= ASY_COUNT(a->argv));
}

/* ---- the state file ---- */

static enum asy_err path_with(char ret_path[MAX_PATH], const char *path, const char *suffix,
                              struct asy_why *reterr_why) {
    int n = snprintf(ret_path, MAX_PATH, "%s%s", path, suffix);
    return n > 0 && (size_t)n < MAX_PATH
               ? ASY_OK
               : asy_why_set(reterr_why, ASY_ERR_TOO_LONG, "state", "the path is too long");
}

/* The lock lives as long as any copy of the descriptor: anvil inherits one, so it holds until that
 * anvil is gone, whoever started it. */
static enum asy_err lock_state(int *ret_fd, const char *state, uint64_t deadline_ns,
                               struct asy_why *reterr_why) {
    char path[MAX_PATH];
    ASY_TRY(path_with(path, state, ".lock", reterr_why));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return io_failed(reterr_why, "cannot open", path);
    }
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            enum asy_err err = io_failed(reterr_why, "cannot lock", path);
            (void)close(fd);
            return err;
        }
        if (now_ns() >= deadline_ns) {
            (void)close(fd);
            return asy_why_set(reterr_why, ASY_ERR_CONFLICT, "state",
                               "another chain is running on %s", state);
        }
        doze();
    }
    *ret_fd = fd;
    return ASY_OK;
}

/* Whether the file is one whole JSON object: anvil writes it in place, so a crash cuts it off.
 * Copies it to `to` (NULL: only looks). */
static enum asy_err scan_state(bool *ret_whole, const char *path, const char *to,
                               struct asy_why *reterr_why) {
    FILE *in = fopen(path, "re"), *out = NULL;
    *ret_whole = false;
    if (in == NULL) {
        return errno == ENOENT ? ASY_OK : io_failed(reterr_why, "cannot open", path);
    }
    enum asy_err err = ASY_OK;
    if (to != NULL && (out = fopen(to, "we")) == NULL) {
        err = io_failed(reterr_why, "cannot write", to);
    }
    uint64_t depth = 0, objects = 0;
    bool text = false, escaped = false;
    static const size_t chunk = 65536;
    uint8_t *p = asy_alloc(chunk);
    for (size_t n; err == ASY_OK && (n = fread(p, 1, chunk, in)) > 0;) {
        for (size_t i = 0; i < n; i++) {
            if (text) {
                text = escaped || p[i] != '"';
                escaped = !escaped && p[i] == '\\';
            } else if (p[i] == '"') {
                text = true;
            } else if (p[i] == '{') {
                depth++;
            } else if (p[i] == '}' && depth > 0) {
                objects += --depth == 0;
            }
        }
        if (out != NULL && fwrite(p, 1, n, out) != n) {
            err = io_failed(reterr_why, "cannot write", to);
        }
    }
    if (err == ASY_OK && ferror(in) != 0) {
        err = io_failed(reterr_why, "cannot read", path);
    }
    (void)fclose(in); /* it was only read */
    if (out != NULL) {
        bool good = fflush(out) == 0 && fsync(fileno(out)) == 0;
        if ((fclose(out) != 0 || !good) && err == ASY_OK) {
            err = io_failed(reterr_why, "cannot write", to);
        }
    }
    asy_free(p);
    *ret_whole = depth == 0 && objects == 1 && !text;
    return err;
}

/* Keeps a copy of a whole state; puts it back where the state is cut off. */
static enum asy_err guard_state(bool *ret_restored, const char *state, struct asy_why *reterr_why) {
    char backup[MAX_PATH], fresh[MAX_PATH];
    bool whole, copy_whole;
    struct stat st;
    ASY_TRY(path_with(backup, state, ".bak", reterr_why));
    ASY_TRY(path_with(fresh, state, ".new", reterr_why));
    *ret_restored = false;
    if (stat(state, &st) != 0) {
        return errno == ENOENT ? ASY_OK : io_failed(reterr_why, "cannot look at", state);
    }
    ASY_TRY(scan_state(&whole, state, fresh, reterr_why));
    if (whole) {
        return rename(fresh, backup) == 0 ? ASY_OK : io_failed(reterr_why, "cannot write", backup);
    }
    ASY_TRY(scan_state(&copy_whole, backup, fresh, reterr_why));
    if (!copy_whole) {
        return asy_why_set(reterr_why, ASY_ERR_IO, "state",
                           "the chain's state %s is damaged and there is no whole copy of it",
                           state);
    }
    *ret_restored = true;
    return rename(fresh, state) == 0 ? ASY_OK : io_failed(reterr_why, "cannot write", state);
}

/* ---- the process ---- */

/* Between fork and exec: async-signal-safe calls only. */
static _Noreturn void become_anvil(const struct asy_evm_anvil_argv *argv, int lock_fd,
                                   pid_t parent) {
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(127); /* it died before we asked to be told */
    }
    int null_fd = open("/dev/null", O_RDWR);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0) {
        _exit(127);
    }
    if (lock_fd == 3) {
        (void)fcntl(3, F_SETFD, 0);
    } else if (lock_fd >= 0 && dup2(lock_fd, 3) < 0) {
        _exit(127);
    }
    (void)close_range(lock_fd >= 0 ? 4 : 3, ~0u, 0);
    union { /* exec takes the strings as if it might change them */
        const char *const *in;
        char *const *out;
    } texts = {.in = argv->argv};
    (void)execv(argv->argv[0], texts.out);
    _exit(127);
}

/* A bound socket that does not listen keeps the port free for one that does, as long as both allow
 * reuse. */
static enum asy_err reserve_port(int *ret_fd, uint16_t *ret_port, struct asy_why *reterr_why) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* allowed: carries no data */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)(void *)&addr, sizeof addr) != 0 ||
        getsockname(fd, (struct sockaddr *)(void *)&addr, &len) != 0) {
        enum asy_err err = io_failed(reterr_why, "cannot reserve a port on", "127.0.0.1");
        if (fd >= 0) {
            (void)close(fd);
        }
        return err;
    }
    *ret_fd = fd;
    *ret_port = ntohs(addr.sin_port);
    return ASY_OK;
}

bool asy_evm_anvil_alive(struct asy_evm_anvil *anvil) {
    if (anvil->pid != 0 && waitpid(anvil->pid, NULL, WNOHANG) != 0) {
        anvil->pid = 0;
    }
    return anvil->pid != 0;
}

enum asy_err asy_evm_anvil_stop(struct asy_evm_anvil *anvil, uint64_t deadline_ns) {
    if (!asy_evm_anvil_alive(anvil)) {
        return ASY_OK;
    }
    int fd = pidfd_open(anvil->pid, 0);
    ASY_ASSERT(fd >= 0); /* it is our child and not reaped */
    (void)kill(anvil->pid, SIGTERM);
    enum asy_err err = ASY_ERR_TIMEOUT;
    for (uint64_t now; err != ASY_OK && (now = now_ns()) < deadline_ns;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t left_ms = (deadline_ns - now) / MS + 1;
        err = poll(&p, 1, left_ms < 60000 ? (int)left_ms : 60000) > 0 ? ASY_OK : ASY_ERR_TIMEOUT;
    }
    if (err != ASY_OK) {
        (void)kill(anvil->pid, SIGKILL);
    }
    (void)close(fd);
    while (waitpid(anvil->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    anvil->pid = 0;
    return err;
}

/* Waits for answers; notices when it ends instead. */
static enum asy_err wait_answer(struct asy_evm_anvil *anvil, struct asy_evm *evm,
                                uint64_t deadline_ns, struct asy_why *reterr_why) {
    uint64_t chain_id;
    while (asy_evm_get_chain_id(evm, &chain_id, NULL) != ASY_OK) {
        if (!asy_evm_anvil_alive(anvil)) {
            return asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL, "anvil ended while it started");
        }
        if (now_ns() >= deadline_ns) {
            return asy_why_set(reterr_why, ASY_ERR_TIMEOUT, NULL, "anvil does not answer");
        }
        doze();
    }
    return ASY_OK;
}

static enum asy_err start(struct asy_evm_anvil *ret_anvil,
                          const struct asy_evm_anvil_options *options, int lock_fd,
                          uint64_t deadline_ns, struct asy_why *reterr_why) {
    struct asy_evm_anvil_argv argv;
    struct asy_evm_options quick = {.timeout_ms = 2000};
    struct asy_evm *evm;
    struct asy_evm_anvil anvil = {.port = options->port};
    (void)snprintf(anvil.url, sizeof anvil.url, "http://127.0.0.1:%u", anvil.port);
    ASY_TRY(asy_evm_new(&evm, anvil.url, &quick, reterr_why));
    asy_evm_anvil_argv(&argv, options);
    pid_t parent = getpid();
    anvil.pid = fork();
    if (anvil.pid == 0) {
        become_anvil(&argv, lock_fd, parent);
    }
    enum asy_err err;
    if (anvil.pid < 0) {
        err = io_failed(reterr_why, "cannot start", options->bin);
    } else {
        err = wait_answer(&anvil, evm, deadline_ns, reterr_why);
        err = err == ASY_OK ? asy_evm_anvil_ready(evm, options, reterr_why) : err;
        if (err != ASY_OK) {
            (void)asy_evm_anvil_stop(
                &anvil, now_ns() + 2000ull * MS); /* the first error is the one to tell */
        }
    }
    asy_evm_free(evm);
    if (err == ASY_OK) {
        *ret_anvil = anvil;
    }
    return err;
}

enum asy_err asy_evm_anvil_start(struct asy_evm_anvil *ret_anvil, bool *ret_restored,
                                 const struct asy_evm_anvil_options *options, uint64_t deadline_ns,
                                 struct asy_why *reterr_why) {
    struct asy_evm_anvil_options o = *options;
    int lock_fd = -1, port_fd = -1;
    bool restored = false;
    if (access(o.bin, X_OK) != 0) {
        return asy_why_set(reterr_why, ASY_ERR_NOT_FOUND, "anvil",
                           "%s is not a program that can be started", o.bin);
    }
    enum asy_err err = ASY_OK;
    if (o.state != NULL) {
        err = lock_state(&lock_fd, o.state, deadline_ns, reterr_why);
        err = err == ASY_OK ? guard_state(&restored, o.state, reterr_why) : err;
    }
    if (err == ASY_OK && o.port == 0) {
        err = reserve_port(&port_fd, &o.port, reterr_why);
    }
    if (err == ASY_OK) {
        err = start(ret_anvil, &o, lock_fd, deadline_ns, reterr_why);
    }
    if (port_fd >= 0) {
        (void)close(port_fd);
    }
    if (lock_fd >= 0) {
        (void)close(lock_fd); /* anvil has its own copy */
    }
    if (err == ASY_OK && ret_restored != NULL) {
        *ret_restored = restored;
    }
    return err;
}

/* ---- requests ---- */

enum asy_err asy_evm_wait_up(struct asy_evm *evm, uint64_t deadline_ns,
                             struct asy_why *reterr_why) {
    uint64_t chain_id;
    for (;;) {
        enum asy_err err = asy_evm_get_chain_id(evm, &chain_id, reterr_why);
        if (err == ASY_OK || err == ASY_ERR_CANCELLED) {
            return err;
        }
        if (now_ns() >= deadline_ns) {
            return asy_why_set(reterr_why, ASY_ERR_TIMEOUT, NULL, "the chain does not answer");
        }
        ASY_TRY(asy_evm_pause(evm, POLL_MS));
    }
}

static enum asy_err ask_u64(struct asy_evm *evm, const char *method, uint64_t v,
                            struct asy_why *reterr_why) {
    char params[32];
    (void)snprintf(params, sizeof params, "[%llu]", (unsigned long long)v);
    return evm_request_only(evm, method, asy_bytes_cstr(params), reterr_why);
}

enum asy_err asy_evm_anvil_ready(struct asy_evm *evm, const struct asy_evm_anvil_options *options,
                                 struct asy_why *reterr_why) {
    struct asy_evm_block latest;
    ASY_TRY(asy_evm_get_block_tag(evm, &latest, ASY_EVM_LATEST, reterr_why));
    if (latest.time_s >= asy_env_wall_ms(asy_env_system()) / 1000) {
        ASY_TRY(asy_evm_anvil_set_next_time(evm, latest.time_s + 1, reterr_why));
    }
    return asy_evm_anvil_interval(evm, options->block_time_s, reterr_why);
}

enum asy_err asy_evm_anvil_automine(struct asy_evm *evm, struct asy_why *reterr_why) {
    return evm_request_only(evm, "evm_setAutomine", ASY_STR("[true]"), reterr_why);
}

enum asy_err asy_evm_anvil_interval(struct asy_evm *evm, uint32_t block_time_s,
                                    struct asy_why *reterr_why) {
    return ask_u64(evm, "evm_setIntervalMining", block_time_s, reterr_why);
}

enum asy_err asy_evm_anvil_set_balance(struct asy_evm *evm, const struct asy_addr *addr,
                                       asy_u128 wei, struct asy_why *reterr_why) {
    char who[ASY_ADDR_STR], text[ASY_QUANTITY_TEXT], params[160];
    asy_addr_format(who, addr);
    asy_quantity_format_u128(text, wei);
    (void)snprintf(params, sizeof params, "[\"%s\",\"%s\"]", who, text);
    return evm_request_only(evm, "anvil_setBalance", asy_bytes_cstr(params), reterr_why);
}

enum asy_err asy_evm_anvil_set_next_time(struct asy_evm *evm, uint64_t time_s,
                                         struct asy_why *reterr_why) {
    return ask_u64(evm, "evm_setNextBlockTimestamp", time_s, reterr_why);
}

enum asy_err asy_evm_anvil_mine(struct asy_evm *evm, uint64_t count, struct asy_why *reterr_why) {
    return ask_u64(evm, "anvil_mine", count, reterr_why);
}

enum asy_err asy_evm_anvil_reorg(struct asy_evm *evm, uint64_t depth, struct asy_why *reterr_why) {
    char params[64];
    (void)snprintf(params, sizeof params, "[%llu,[]]", (unsigned long long)depth);
    return evm_request_only(evm, "anvil_reorg", asy_bytes_cstr(params), reterr_why);
}
