#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/crypto_priv.h"

static_assert(sizeof((struct asy_keyfile){0}.salt) == crypto_pwhash_argon2id_SALTBYTES, "");

#define HEAD_MAX 512 /* bytes of the lines above `box`: 15 + 15 + 70 + 40 + 38 + 55 */

static const char *const kind_names[] = {
    [ASY_KEY_SECP256K1] = "secp256k1",
    [ASY_KEY_ED25519] = "ed25519",
    [ASY_KEY_X25519] = "x25519",
};

static enum asy_err check_cost(struct asy_kdf_cost cost) {
    const bool ok = cost.mem_kib >= 8 && cost.mem_kib <= ASY_MAX_KDF_MEM_KIB && cost.passes >= 1 &&
                    cost.passes <= ASY_MAX_KDF_PASSES &&
                    (uint64_t)cost.mem_kib * cost.passes <= ASY_MAX_KDF_WORK_KIB;
    return ok ? ASY_OK : ASY_ERR_RANGE;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* All lines above `box`: what the tag vouches for. Returns the length. */
static size_t format_head(char ret_text[HEAD_MAX], const struct asy_keyfile *f) {
    char salt[2 * sizeof f->salt + 1], nonce[2 * sizeof f->nonce.b + 1];
    sodium_bin2hex(salt, sizeof salt, f->salt, sizeof f->salt);
    sodium_bin2hex(nonce, sizeof nonce, f->nonce.b, sizeof f->nonce.b);
    const int n =
        snprintf(ret_text, HEAD_MAX,
                 "assay-key 1\nkind %s\nid %s\nkdf argon2id m=%u t=%u p=1\nsalt %s\nnonce %s\n",
                 kind_names[f->kind], f->id, f->cost.mem_kib, f->cost.passes, salt, nonce);
    ASY_ASSERT(n > 0 && n < HEAD_MAX);
    return (size_t)n;
}

enum asy_err asy_keyfile_format(struct asy_buf *buf, const struct asy_keyfile *file) {
    char head[HEAD_MAX], box[2 * sizeof file->box + 1];
    (void)format_head(head, file);
    sodium_bin2hex(box, sizeof box, file->box, sizeof file->box);
    return asy_buf_printf(buf, "%sbox %s\n", head, box);
}

static bool take(struct asy_bytes *in, const char *text) {
    const struct asy_bytes want = asy_bytes_cstr(text);
    if (!asy_bytes_starts(*in, want)) {
        return false;
    }
    *in = asy_bytes_of(in->p + want.n, in->n - want.n);
    return true;
}

static bool take_hex(struct asy_bytes *in, uint8_t *ret_p, size_t len) {
    if (in->n < 2 * len) {
        return false;
    }
    for (size_t i = 0; i < 2 * len; i++) {
        const uint8_t c = in->p[i];
        const bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f')) {
            return false;
        }
        const int nibble = digit ? c - '0' : c - 'a' + 10;
        ret_p[i / 2] = (uint8_t)(ret_p[i / 2] << 4 | nibble);
    }
    *in = asy_bytes_of(in->p + 2 * len, in->n - 2 * len);
    return true;
}

/* Decimal without leading zeros. What is too large for any limit becomes UINT32_MAX, and is
 * refused by its range. */
static bool take_u32(struct asy_bytes *in, uint32_t *ret_value) {
    size_t n = 0;
    uint64_t value = 0;
    for (; n < in->n && in->p[n] >= '0' && in->p[n] <= '9'; n++) {
        value = value * 10 + (in->p[n] - (unsigned)'0');
        value = value > UINT32_MAX ? UINT32_MAX : value;
    }
    if (n == 0 || (n > 1 && in->p[0] == '0')) {
        return false;
    }
    *in = asy_bytes_of(in->p + n, in->n - n);
    *ret_value = (uint32_t)value;
    return true;
}

static bool take_kind(struct asy_bytes *in, enum asy_key_kind *ret_kind) {
    for (size_t i = 0; i < ASY_COUNT(kind_names); i++) {
        if (take(in, kind_names[i])) {
            *ret_kind = (enum asy_key_kind)i;
            return true;
        }
    }
    return false;
}

static bool take_id(struct asy_bytes *in, char *ret_id, enum asy_key_kind kind) {
    uint8_t raw[32];
    const size_t len = kind == ASY_KEY_SECP256K1 ? ASY_ADDR_STR - 1 : 2 + 2 * sizeof raw;
    if (in->n < len) {
        return false;
    }
    const struct asy_bytes id = asy_bytes_of(in->p, len);
    if (kind == ASY_KEY_SECP256K1) {
        struct asy_addr addr;
        char canonical[ASY_ADDR_STR];
        if (asy_addr_parse(&addr, id) != ASY_OK) {
            return false;
        }
        asy_addr_format(canonical, &addr);
        if (memcmp(canonical, id.p, len) != 0) {
            return false;
        }
    } else {
        struct asy_bytes rest = id;
        if (!take(&rest, "0x") || !take_hex(&rest, raw, sizeof raw)) {
            return false;
        }
    }
    memcpy(ret_id, id.p, len);
    *in = asy_bytes_of(in->p + len, in->n - len);
    return true;
}

enum asy_err asy_keyfile_parse(struct asy_keyfile *ret_file, struct asy_bytes in,
                               struct asy_why *reterr_why) {
    struct asy_keyfile f = {0};
    if (in.n > ASY_MAX_KEYFILE) {
        return asy_why_set(reterr_why, ASY_ERR_TOO_LONG, NULL, "a key file has at most %u bytes",
                           ASY_MAX_KEYFILE);
    }
    if (!take(&in, "assay-key ")) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, NULL,
                           "not a key file: it does not begin with \"assay-key\"");
    }
    if (!take(&in, "1\n")) {
        return asy_why_set(reterr_why, ASY_ERR_VERSION, "assay-key",
                           "only version 1 is known here");
    }
    if (!take(&in, "kind ")) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, "kind", "line 2 is not \"kind NAME\"");
    }
    if (!take_kind(&in, &f.kind) || !take(&in, "\n")) {
        return asy_why_set(reterr_why, ASY_ERR_UNSUPPORTED, "kind", "the kind of key is not known");
    }
    if (!take(&in, "id ") || !take_id(&in, f.id, f.kind) || !take(&in, "\n")) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, "id",
                           "line 3 is not \"id 0x...\" as the kind writes it");
    }
    if (!take(&in, "kdf ")) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, "kdf", "line 4 is not \"kdf NAME ...\"");
    }
    if (!take(&in, "argon2id m=")) {
        return asy_why_set(reterr_why, ASY_ERR_UNSUPPORTED, "kdf", "only argon2id is known here");
    }
    if (!take_u32(&in, &f.cost.mem_kib) || !take(&in, " t=") || !take_u32(&in, &f.cost.passes) ||
        !take(&in, " p=1\n")) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, "kdf",
                           "line 4 is not \"kdf argon2id m=KIB t=PASSES p=1\"");
    }
    if (check_cost(f.cost) != ASY_OK) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "kdf", "m=%u t=%u is outside the limits",
                           f.cost.mem_kib, f.cost.passes);
    }
    if (!take(&in, "salt ") || !take_hex(&in, f.salt, sizeof f.salt) || !take(&in, "\n")) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, "salt",
                           "line 5 is not \"salt\" and 32 hex digits");
    }
    if (!take(&in, "nonce ") || !take_hex(&in, f.nonce.b, sizeof f.nonce.b) || !take(&in, "\n")) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, "nonce",
                           "line 6 is not \"nonce\" and 48 hex digits");
    }
    if (!take(&in, "box ") || !take_hex(&in, f.box, sizeof f.box) || !take(&in, "\n") ||
        in.n != 0) {
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, "box",
                           "line 7, the last, is not \"box\" and 96 hex digits");
    }
    *ret_file = f;
    return ASY_OK;
}

/* ---- sealing --------------------------------------------------------------------------------- */

static enum asy_err derive(struct asy_aead_key *ret_key, const struct asy_keyfile *f,
                           struct asy_bytes password) {
    asy_crypto_sodium();
    /* fails only without memory: the bounds were checked */
    const int rc = crypto_pwhash_argon2id(
        ret_key->b, sizeof ret_key->b, (const char *)password.p, password.n, f->salt,
        f->cost.passes, (size_t)f->cost.mem_kib * 1024, crypto_pwhash_argon2id_ALG_ARGON2ID13);
    return rc == 0 ? ASY_OK : ASY_ERR_INTERNAL;
}

/* RANGE when the secret is no key of this kind. */
static enum asy_err key_id(char ret_id[67], enum asy_key_kind kind,
                           const struct asy_secret *secret) {
    uint8_t pub[32];
    switch (kind) {
    case ASY_KEY_SECP256K1: {
        struct asy_seckey key;
        struct asy_addr addr;
        memcpy(key.b, secret->b, sizeof key.b);
        const enum asy_err err = asy_secp_addr(&addr, &key);
        asy_secret_wipe(&key, sizeof key);
        ASY_TRY(err);
        asy_addr_format(ret_id, &addr);
        return ASY_OK;
    }
    case ASY_KEY_ED25519: {
        struct asy_ed25519_seckey key;
        asy_ed25519_from_seed(&key, secret->b);
        memcpy(pub, key.b + 32, sizeof pub);
        asy_secret_wipe(&key, sizeof key);
        break;
    }
    case ASY_KEY_X25519: {
        struct asy_x25519_seckey key;
        struct asy_x25519_pubkey point;
        memcpy(key.b, secret->b, sizeof key.b);
        asy_x25519_pubkey(&point, &key);
        memcpy(pub, point.b, sizeof pub);
        asy_secret_wipe(&key, sizeof key);
        break;
    }
    }
    ret_id[0] = '0';
    ret_id[1] = 'x';
    sodium_bin2hex(ret_id + 2, 2 * sizeof pub + 1, pub, sizeof pub);
    return ASY_OK;
}

enum asy_err asy_keyfile_seal(struct asy_keyfile *ret_file, enum asy_key_kind kind,
                              const struct asy_secret *secret, struct asy_bytes password,
                              struct asy_kdf_cost cost, const struct asy_env *env) {
    struct asy_keyfile f = {.kind = kind, .cost = cost};
    if (password.n == 0) {
        return ASY_ERR_RANGE;
    }
    ASY_TRY(check_cost(cost));
    ASY_TRY(key_id(f.id, kind, secret));
    asy_env_random(env, f.salt, sizeof f.salt);
    asy_aead_nonce_generate(&f.nonce, env);
    struct asy_aead_key key;
    ASY_TRY(derive(&key, &f, password));
    char head[HEAD_MAX];
    const size_t head_len = format_head(head, &f);
    asy_aead_seal(f.box, &key, &f.nonce, asy_bytes_of(head, head_len),
                  asy_bytes_of(secret->b, sizeof secret->b));
    asy_secret_wipe(&key, sizeof key);
    *ret_file = f;
    return ASY_OK;
}

enum asy_err asy_keyfile_open(struct asy_secret *ret_secret, const struct asy_keyfile *file,
                              struct asy_bytes password) {
    struct asy_aead_key key;
    ASY_TRY(check_cost(file->cost));
    ASY_TRY(derive(&key, file, password));
    char head[HEAD_MAX], id[sizeof file->id];
    const size_t head_len = format_head(head, file);
    struct asy_secret secret;
    enum asy_err err = asy_aead_open(secret.b, &key, &file->nonce, asy_bytes_of(head, head_len),
                                     asy_bytes_of(file->box, sizeof file->box));
    if (err == ASY_OK && (key_id(id, file->kind, &secret) != ASY_OK || strcmp(id, file->id) != 0)) {
        err = ASY_ERR_MISMATCH;
    }
    if (err == ASY_OK) {
        *ret_secret = secret;
    }
    asy_secret_wipe(&key, sizeof key);
    asy_secret_wipe(&secret, sizeof secret);
    return err;
}

/* ---- files ----------------------------------------------------------------------------------- */

static enum asy_err io_error(struct asy_why *reterr_why, const char *what, const char *path) {
    return asy_why_set(reterr_why, ASY_ERR_IO, NULL, "cannot %s %s: %s", what, path,
                       strerror(errno));
}

static bool write_all(int fd, struct asy_bytes in) {
    while (in.n > 0) {
        const ssize_t n = write(fd, in.p, in.n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        in = asy_bytes_of(in.p + n, in.n - (size_t)n);
    }
    return true;
}

/* A rename is lasting only when the folder is on disk too. */
static bool sync_folder_of(const char *path) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        memcpy(folder, ".", 2);
    } else {
        const size_t n = slash == path ? 1 : (size_t)(slash - path);
        memcpy(folder, path, n);
        folder[n] = '\0';
    }
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    const bool ok = fsync(fd) == 0;
    (void)close(fd); /* nothing was written through it */
    return ok;
}

enum asy_err asy_keyfile_save(const char *path, const struct asy_keyfile *file, bool replace,
                              struct asy_why *reterr_why) {
    char temp[PATH_MAX];
    const int len = snprintf(temp, sizeof temp, "%s.XXXXXX", path);
    if (len < 0 || (size_t)len >= sizeof temp) {
        errno = ENAMETOOLONG;
        return io_error(reterr_why, "create", path);
    }
    struct asy_buf text;
    asy_buf_init(&text, ASY_MAX_KEYFILE);
    const enum asy_err format_err = asy_keyfile_format(&text, file);
    ASY_ASSERT(format_err == ASY_OK);

    enum asy_err err = ASY_OK;
    int fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        err = io_error(reterr_why, "create", temp);
        goto out;
    }
    const bool written = write_all(fd, asy_buf_bytes(&text)) && fsync(fd) == 0;
    if (close(fd) != 0 || !written) {
        err = io_error(reterr_why, "write", temp);
        goto out_temp;
    }
    /* link(2) does not replace, rename(2) does */
    if (replace ? rename(temp, path) != 0 : link(temp, path) != 0) {
        err = errno == EEXIST
                  ? asy_why_set(reterr_why, ASY_ERR_CONFLICT, NULL, "%s exists already", path)
                  : io_error(reterr_why, "create", path);
        goto out_temp;
    }
    if (!replace) {
        (void)unlink(temp); /* a second name of the same file: harmless if it stays */
    }
    if (!sync_folder_of(path)) {
        err = io_error(reterr_why, "sync the folder of", path);
    }
    goto out;
out_temp:
    (void)unlink(temp); /* the failure is already reported */
out:
    asy_buf_done(&text);
    return err;
}

enum asy_err asy_keyfile_load(struct asy_keyfile *ret_file, const char *path,
                              struct asy_why *reterr_why) {
    uint8_t text[ASY_MAX_KEYFILE + 1];
    size_t len = 0;
    enum asy_err err;
    /* O_NONBLOCK: opening a pipe must not wait for its writer */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return errno == ENOENT
                   ? asy_why_set(reterr_why, ASY_ERR_NOT_FOUND, NULL, "%s does not exist", path)
                   : io_error(reterr_why, "open", path);
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        err = io_error(reterr_why, "look at", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        err = asy_why_set(reterr_why, ASY_ERR_IO, NULL, "%s is not a regular file", path);
        goto out;
    }
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        err = asy_why_set(reterr_why, ASY_ERR_FORBIDDEN, NULL,
                          "%s is open to group or others (mode %03o): chmod 600 it", path,
                          (unsigned)(st.st_mode & 0777));
        goto out;
    }
    while (len < sizeof text) {
        const ssize_t n = read(fd, text + len, sizeof text - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            err = io_error(reterr_why, "read", path);
            goto out;
        }
        if (n == 0) {
            break;
        }
        len += (size_t)n;
    }
    err = asy_keyfile_parse(ret_file, asy_bytes_of(text, len), reterr_why);
out:
    (void)close(fd); /* nothing was written through it */
    return err;
}
