/* store.c: model files by digest, and the download that fills it. */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/codec.h"
#include "crypto/crypto.h"
#include "model/model_priv.h"

#define CHUNK        (1024u * 1024u)
#define CONNECT_S    15L
#define STALL_S      30u
#define MAX_REDIRECT 5L
#define MAX_TRIES    32u /* connections of one call; each but the first follows one that gained */

struct fetch {
    const struct asy_model_fetch *spec;
    const struct asy_env *env;
    struct asy_why *why;
    CURL *curl;
    int fd;                /* the part file, locked */
    uint64_t got;          /* bytes in it */
    struct asy_sha256 sha; /* of them */
    enum asy_err stop;     /* why a callback ended the transfer */
    uint64_t moved_ns;     /* when bytes came last, or the connection was begun */
    uint64_t moved_got;    /* `got` then */
};

/* ---- places ---------------------------------------------------------------------------------- */

static bool place(char ret[PATH_MAX], const char *dir, const struct asy_model_file *file,
                  const char *suffix) {
    char hex[65];
    asy_hex_encode(hex, file->sha256.b, sizeof file->sha256.b);
    int n = snprintf(ret, PATH_MAX, "%s/%s%s", dir, hex, suffix);
    return n > 0 && n < PATH_MAX;
}

enum asy_err asy_model_store_find(char ret_path[PATH_MAX], const char *dir,
                                  const struct asy_model_file *file) {
    char path[PATH_MAX];
    struct stat st;
    if (!place(path, dir, file, "")) {
        return ASY_ERR_TOO_LONG;
    }
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != file->len) {
        return ASY_ERR_NOT_FOUND;
    }
    memcpy(ret_path, path, sizeof path);
    return ASY_OK;
}

/* ---- the part file --------------------------------------------------------------------------- */

static enum asy_err io_failed(struct fetch *f, const char *what) {
    return asy_why_set(f->why, ASY_ERR_IO, NULL, "%s: %s", what, strerror(errno));
}

static enum asy_err restart(struct fetch *f) {
    if (ftruncate(f->fd, 0) != 0 || lseek(f->fd, 0, SEEK_SET) != 0) {
        return io_failed(f, "the part file");
    }
    f->got = 0;
    asy_sha256_init(&f->sha);
    return ASY_OK;
}

/* Hashes what an earlier call left. */
static enum asy_err resume(struct fetch *f) {
    ASY_ASSERT(f->got == 0);
    uint8_t *chunk = asy_alloc(CHUNK);
    enum asy_err err = ASY_OK;
    asy_sha256_init(&f->sha);
    for (;;) {
        ssize_t n = read(f->fd, chunk, CHUNK);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            err = io_failed(f, "the part file");
        }
        if (n <= 0) {
            break;
        }
        f->got += (uint64_t)n;
        asy_sha256_add(&f->sha, asy_bytes_of(chunk, (size_t)n));
    }
    asy_free(chunk);
    return err == ASY_OK && f->got > f->spec->file->len ? restart(f) : err;
}

static enum asy_err append(struct fetch *f, struct asy_bytes in) {
    for (size_t done = 0; done < in.n;) {
        ssize_t n = write(f->fd, in.p + done, in.n - done);
        if (n < 0 && errno != EINTR) {
            return io_failed(f, "the part file");
        }
        done += n > 0 ? (size_t)n : 0;
    }
    f->got += in.n;
    asy_sha256_add(&f->sha, in);
    return ASY_OK;
}

/* ---- the transfer ---------------------------------------------------------------------------- */

static enum asy_err wrong_file(struct fetch *f, const char *text) {
    return asy_why_set(f->why, ASY_ERR_MISMATCH, NULL, "%s", text);
}

static size_t on_body(char *p, size_t size, size_t count, void *arg) {
    struct fetch *f = arg;
    size_t len = size * count;
    f->stop = len > f->spec->file->len - f->got
                  ? wrong_file(f, "the file at this address is longer than it should be")
                  : append(f, asy_bytes_of(p, len));
    return f->stop == ASY_OK ? len : 0;
}

static int on_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now) {
    struct fetch *f = arg;
    (void)total, (void)now, (void)up_total, (void)up_now;
    if (f->spec->progress != NULL && !f->spec->progress(f->spec->arg, f->got, f->spec->file->len)) {
        f->stop = ASY_ERR_CANCELLED;
        return 1;
    }
    uint64_t now_ns = asy_env_mono_ns(f->env);
    if (f->got != f->moved_got) {
        f->moved_got = f->got;
        f->moved_ns = now_ns;
    }
    uint64_t stall_s = f->spec->stall_s != 0 ? f->spec->stall_s : STALL_S;
    if (now_ns - f->moved_ns >= stall_s * 1000000000u) {
        f->stop = asy_why_set(f->why, ASY_ERR_TIMEOUT, NULL, "nothing came for %llu s",
                              (unsigned long long)stall_s);
        return 1;
    }
    return 0;
}

static bool is_loopback(const char *host) {
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "[::1]") == 0;
}

/* Whether url is one that may be fetched; ret_direct: without a proxy. */
static bool check_url(bool *ret_direct, const char *url) {
    char *scheme = NULL, *host = NULL;
    CURLU *parts = curl_url();
    ASY_ASSERT(parts != NULL);
    bool good = curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                (strcmp(scheme, "file") == 0 || strcmp(scheme, "http") == 0 ||
                 strcmp(scheme, "https") == 0);
    /* file URLs have no host */
    *ret_direct =
        good && (curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK || is_loopback(host));
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(parts);
    return good;
}

static enum asy_err set_up(struct fetch *f) {
    CURL *c = f->curl = curl_easy_init();
    bool direct;
    if (strlen(f->spec->url) > ASY_MAX_URL) {
        return asy_why_set(f->why, ASY_ERR_TOO_LONG, "url", "more than %u bytes", ASY_MAX_URL);
    }
    if (!check_url(&direct, f->spec->url)) {
        return asy_why_set(f->why, ASY_ERR_SYNTAX, "url", "not a file, http or https URL");
    }
    bool ok = c != NULL && curl_easy_setopt(c, CURLOPT_URL, f->spec->url) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "file,http,https") == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_MAXREDIRS, MAX_REDIRECT) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_S) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_WRITEDATA, f) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
              curl_easy_setopt(c, CURLOPT_XFERINFODATA, f) == CURLE_OK &&
              (!direct || curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK);
    return ok ? ASY_OK : asy_why_set(f->why, ASY_ERR_INTERNAL, NULL, "libcurl could not be set up");
}

static enum asy_err explain_status(struct fetch *f) {
    long status = 0;
    (void)curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status); /* 0 then */
    enum asy_err err = status == 404 || status == 410   ? ASY_ERR_NOT_FOUND
                       : status == 401 || status == 403 ? ASY_ERR_FORBIDDEN
                                                        : ASY_ERR_PEER;
    return asy_why_set(f->why, err, NULL, "the server answered with status %ld", status);
}

static bool is_range_refused(struct fetch *f, CURLcode code) {
    long status = 0;
    (void)curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    return code == CURLE_RANGE_ERROR || code == CURLE_BAD_DOWNLOAD_RESUME ||
           (code == CURLE_HTTP_RETURNED_ERROR && status == 416);
}

/* A body that is complete, says the server, but too short. */
static enum asy_err explain_short(struct fetch *f) {
    curl_off_t announced = -1;
    (void)curl_easy_getinfo(f->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    if (announced >= 0) {
        return wrong_file(f, "the file at this address is shorter than it should be");
    }
    return asy_why_set(f->why, ASY_ERR_PEER, NULL, "the connection ended early");
}

static enum asy_err explain(struct fetch *f, CURLcode code) {
    if (f->stop != ASY_OK) {
        return f->stop;
    }
    if (code == CURLE_HTTP_RETURNED_ERROR) {
        return explain_status(f);
    }
    enum asy_err err = code == CURLE_FILE_COULDNT_READ_FILE ? ASY_ERR_NOT_FOUND
                       : code == CURLE_OPERATION_TIMEDOUT   ? ASY_ERR_TIMEOUT
                                                            : ASY_ERR_PEER;
    return asy_why_set(f->why, err, NULL, "%s", curl_easy_strerror(code));
}

/* Brings the rest of the file. ret_refused: the server has nothing from here on. */
static enum asy_err transfer(struct fetch *f, bool *ret_refused) {
    *ret_refused = false;
    if (f->got == f->spec->file->len) {
        return ASY_OK;
    }
    f->stop = ASY_OK;
    f->moved_got = f->got;
    f->moved_ns = asy_env_mono_ns(f->env);
    if (curl_easy_setopt(f->curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)f->got) != CURLE_OK) {
        return ASY_ERR_INTERNAL;
    }
    CURLcode code = curl_easy_perform(f->curl);
    if (code != CURLE_OK) {
        *ret_refused = is_range_refused(f, code);
        return explain(f, code);
    }
    return f->got == f->spec->file->len ? ASY_OK : explain_short(f);
}

static bool is_right(const struct fetch *f) {
    struct asy_hash hash;
    struct asy_sha256 sha = f->sha;
    asy_sha256_final(&sha, &hash);
    return asy_hash_eq(&hash, &f->spec->file->sha256);
}

/* Until the part file has all bytes, and the right ones. It is given up once if the server cannot
 * go on from its end, or if what an earlier call left does not fit: another file may have been at
 * the address then. */
static enum asy_err complete(struct fetch *f) {
    ASY_TRY(resume(f));
    bool old = f->got != 0, restarted = false;
    for (unsigned tries = 0; tries < MAX_TRIES; tries++) {
        bool refused;
        uint64_t had = f->got;
        enum asy_err err = transfer(f, &refused);
        if (err == ASY_OK && is_right(f)) {
            return ASY_OK;
        }
        if (err == ASY_OK) {
            err = wrong_file(f, "the file at this address has another digest");
        }
        if (err == ASY_ERR_MISMATCH || refused) {
            ASY_TRY(restart(f));
            if (restarted || (!refused && !old)) {
                return err;
            }
            restarted = true;
        } else if (err != ASY_ERR_PEER || f->got == had) {
            return err;
        }
    }
    return asy_why_set(f->why, ASY_ERR_PEER, NULL, "the connection broke too often");
}

/* ---- into the store -------------------------------------------------------------------------- */

static bool sync_dir(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return ok;
}

static enum asy_err fetch_locked(struct fetch *f, const char *part, const char *path) {
    ASY_TRY(set_up(f));
    ASY_TRY(complete(f));
    if (fsync(f->fd) != 0 || rename(part, path) != 0 || !sync_dir(f->spec->dir)) {
        return io_failed(f, path);
    }
    return ASY_OK;
}

enum asy_err asy_model_store_fetch(char ret_path[PATH_MAX], const struct asy_model_fetch *spec,
                                   struct asy_why *why) {
    struct fetch f = {
        .spec = spec, .env = spec->env != NULL ? spec->env : asy_env_system(), .why = why};
    char path[PATH_MAX], part[PATH_MAX];
    if (!place(path, spec->dir, spec->file, "") || !place(part, spec->dir, spec->file, ".part")) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, NULL, "the store's path is too long");
    }
    if (asy_model_store_find(ret_path, spec->dir, spec->file) == ASY_OK) {
        return ASY_OK;
    }
    if (mkdir(spec->dir, 0700) != 0 && errno != EEXIST) {
        return io_failed(&f, spec->dir);
    }
    f.fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f.fd < 0) {
        return io_failed(&f, part);
    }
    enum asy_err err = ASY_OK;
    struct stat st;
    /* no link: who held the lock before gave up and removed it after we had opened it */
    if (flock(f.fd, LOCK_EX | LOCK_NB) != 0 || fstat(f.fd, &st) != 0 || st.st_nlink == 0) {
        err = asy_why_set(why, ASY_ERR_CONFLICT, NULL, "another download of this file is running");
    } else if (asy_model_store_find(ret_path, spec->dir, spec->file) == ASY_OK) {
        (void)unlink(part); /* who held the lock before has just finished */
    } else {
        err = fetch_locked(&f, part, path);
        if (err == ASY_OK) {
            memcpy(ret_path, path, sizeof path);
        } else if (f.got == 0) {
            (void)unlink(part);
        }
    }
    curl_easy_cleanup(f.curl);
    (void)close(f.fd);
    return err;
}
