/* keys.c: keys, files and words that the programs share. */
#include "assay_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum asy_err app_read_file(struct asy_buf *buf, const char *path, bool trim, struct asy_why *why) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return asy_why_set(why, errno == ENOENT ? ASY_ERR_NOT_FOUND : ASY_ERR_IO, NULL,
                           "cannot open %.180s: %s", path, strerror(errno));
    }
    enum asy_err err = ASY_OK;
    for (;;) {
        uint8_t piece[4096];
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            err =
                got == 0 ? ASY_OK : asy_why_set(why, ASY_ERR_IO, NULL, "cannot read %.180s", path);
            break;
        }
        err = asy_buf_add(buf, piece, (size_t)got);
        if (err != ASY_OK) {
            (void)asy_why_set(why, err, NULL, "%.180s is too long", path);
            break;
        }
    }
    close(fd);
    while (err == ASY_OK && trim && buf->n != 0 &&
           (buf->p[buf->n - 1] == '\n' || buf->p[buf->n - 1] == '\r')) {
        buf->p[--buf->n] = '\0';
    }
    return err;
}

enum asy_err app_write_file(const char *path, struct asy_bytes in, struct asy_why *why) {
    char temp[4096];
    int n = snprintf(temp, sizeof temp, "%s.new", path);
    int fd = n > 0 && (size_t)n < sizeof temp
                 ? open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
                 : -1;
    bool ok = fd >= 0;
    for (size_t done = 0; ok && done < in.n;) {
        ssize_t put = write(fd, in.p + done, in.n - done);
        ok = put > 0 || (put < 0 && errno == EINTR);
        done += put > 0 ? (size_t)put : 0;
    }
    ok = ok && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    ok = ok && rename(temp, path) == 0;
    return ok ? ASY_OK
              : asy_why_set(why, ASY_ERR_IO, NULL, "cannot write %.180s: %s", path,
                            strerror(errno));
}

enum asy_err app_load_key(struct asy_secret *ret_secret, const char *key_path,
                          const char *password_path, struct asy_why *why) {
    struct asy_keyfile file;
    struct asy_buf password;
    ASY_TRY(asy_keyfile_load(&file, key_path, why));
    asy_buf_init(&password, 4096);
    enum asy_err err = app_read_file(&password, password_path, true, why);
    if (err == ASY_OK) {
        err = asy_keyfile_open(ret_secret, &file, asy_buf_bytes(&password));
        if (err != ASY_OK) {
            (void)asy_why_set(why, err, NULL, "the password in %.90s does not open %.90s",
                              password_path, key_path);
        }
    }
    if (password.p != NULL) {
        asy_secret_wipe(password.p, password.n);
    }
    asy_buf_done(&password);
    return err;
}

enum asy_err app_load_market(struct asy_evm_market *ret_market, const char *path,
                             struct asy_why *why) {
    struct asy_buf text;
    asy_buf_init(&text, 64u * 1024u);
    enum asy_err err = app_read_file(&text, path, false, why);
    if (err == ASY_OK) {
        err = asy_evm_market_parse(ret_market, asy_buf_bytes(&text), why);
    }
    asy_buf_done(&text);
    return err;
}

enum asy_err app_start_signer(struct asy_signer **ret_signer, enum asy_signer_role role,
                              const char *key_path, const char *password_path,
                              const struct asy_evm_market *market, struct asy_why *why) {
    struct asy_secret secret;
    ASY_TRY(app_load_key(&secret, key_path, password_path, why));
    struct asy_seckey key;
    memcpy(key.b, secret.b, sizeof key.b);
    asy_secret_wipe(&secret, sizeof secret);
    struct asy_signer *signer;
    enum asy_err err = asy_signer_new_process(&signer, role, &key);
    asy_secret_wipe(&key, sizeof key);
    if (err != ASY_OK) {
        return asy_why_set(why, err, NULL, "cannot start the signer process");
    }
    struct asy_domain domain;
    asy_domain_init(&domain, market->chain_id, &market->vault);
    err = asy_signer_set_domain(signer, &domain);
    if (err != ASY_OK) {
        asy_signer_free(signer);
        return asy_why_set(why, err, NULL, "the signer process does not answer");
    }
    *ret_signer = signer;
    return ASY_OK;
}

enum asy_err app_lock_folder(const char *path, struct asy_why *why) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return asy_why_set(why, ASY_ERR_IO, NULL, "cannot open %.180s: %s", path, strerror(errno));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return asy_why_set(why, ASY_ERR_CONFLICT, NULL, "%.180s is used by a running program",
                           path);
    }
    return ASY_OK; /* held by the open descriptor until this process ends */
}

const char *app_self(void) {
    static char path[4096];
    if (path[0] == '\0') {
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
        ASY_ASSERT(n > 0);
        path[n] = '\0';
    }
    return path;
}

void app_ready(int fd, const char *fmt, ...) {
    if (fd < 0) {
        return;
    }
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    ASY_ASSERT(n > 0 && (size_t)n < sizeof line);
    if (write(fd, line, (size_t)n) != n) {
        asy_log(ASY_LOG_ODD, "ready", "why=\"nobody reads descriptor %d\"", fd);
    }
    close(fd);
}

extern char **environ;

struct asy_config *app_settings(const char *name, const char *what,
                                const struct asy_config_item *items, size_t count, void *settings,
                                int argc, char **argv, bool *ret_help) {
    struct asy_why why = {{0}, {0}};
    const char **rest = asy_alloc((size_t)argc * sizeof *rest);
    size_t rest_count = 0;
    struct asy_config *config = asy_config_new(items, count, settings);
    enum asy_err err = asy_config_args(config, rest, &rest_count, argc - 1, argv + 1, &why);
    *ret_help = err == ASY_OK && asy_config_help_asked(config);
    if (*ret_help) {
        struct asy_buf help;
        asy_buf_init(&help, 1u << 20);
        if (asy_config_format_help(&help, config) == ASY_OK) {
            printf("assay %s: %s\n\n%s", name, what, asy_buf_cstr(&help));
        }
        asy_buf_done(&help);
    } else {
        if (err == ASY_OK) {
            err = asy_config_env(config, environ, &why);
        }
        if (err == ASY_OK && asy_config_file(config) != NULL) {
            err = asy_config_read(config, asy_config_file(config), &why);
        }
        if (err == ASY_OK && rest_count != 0) {
            err = asy_why_set(&why, ASY_ERR_UNKNOWN, rest[0], "is not understood here");
        }
        if (err == ASY_OK) {
            err = asy_config_check(config, &why);
        }
        if (err != ASY_OK) {
            (void)app_fail(name, err, &why);
        }
    }
    asy_free(rest);
    if (err != ASY_OK || *ret_help) {
        asy_config_free(config);
        return NULL;
    }
    return config;
}

struct program {
    struct asy_loop *loop;
    app_shutdown_fn shutdown;
    void *object;
    bool stopping;
};

static void on_stopped(void *arg) { asy_loop_stop(arg); }

static void on_signal(void *arg, int signum) {
    struct program *p = arg;
    if (p->stopping) {
        asy_loop_stop(p->loop);
        return;
    }
    p->stopping = true;
    asy_log(ASY_LOG_INFO, "stopping", "signal=%d", signum);
    p->shutdown(p->object, asy_env_mono_ns(asy_env_system()) + 10000000000u, on_stopped, p->loop);
}

enum asy_err app_run(struct asy_loop *loop, app_shutdown_fn shutdown, void *object,
                     struct asy_why *why) {
    struct program p = {.loop = loop, .shutdown = shutdown, .object = object};
    enum asy_err err = asy_loop_on_signal(loop, SIGINT, on_signal, &p);
    if (err == ASY_OK) {
        err = asy_loop_on_signal(loop, SIGTERM, on_signal, &p);
    }
    if (err != ASY_OK) {
        return asy_why_set(why, err, NULL, "cannot wait for signals");
    }
    asy_loop_run(loop);
    return ASY_OK;
}

int app_fail(const char *name, enum asy_err err, const struct asy_why *why) {
    const char *text = why != NULL && why->text[0] != '\0' ? why->text : asy_err_text(err);
    fprintf(stderr, "assay %s: %s%s%s (%s)\n", name, why != NULL ? why->param : "",
            why != NULL && why->param[0] != '\0' ? ": " : "", text, asy_err_name(err));
    return 1;
}
