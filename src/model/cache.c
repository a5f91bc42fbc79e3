/* cache.c: remembers what hashing a model file found. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/codec.h"
#include "crypto/crypto.h"
#include "model/model_priv.h"

/* A change this short before the file was looked at may be followed by another one with the same
 * times: file systems count time in ticks of up to 2 s. */
#define SETTLE_NS 2000000000u

static bool stamp_of(struct model_stamp *ret, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        return false;
    }
    *ret = (struct model_stamp){
        .device = (uint64_t)st.st_dev,
        .inode = (uint64_t)st.st_ino,
        .len = (uint64_t)st.st_size,
        .modified_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec,
        .changed_ns = (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec};
    return true;
}

static bool same_stamp(const struct model_stamp *a, const struct model_stamp *b) {
    return a->device == b->device && a->inode == b->inode && a->len == b->len &&
           a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}

/* ---- entries --------------------------------------------------------------------------------- */

/* All u64 here are written as quantities ("0x1f"): they may be beyond what JSON integers hold. */
static const struct {
    const char *key;
    size_t offset;
} stamp_fields[] = {
    {"device", offsetof(struct model_stamp, device)},
    {"inode", offsetof(struct model_stamp, inode)},
    {"bytes", offsetof(struct model_stamp, len)},
    {"modified_ns", offsetof(struct model_stamp, modified_ns)},
    {"changed_ns", offsetof(struct model_stamp, changed_ns)},
};

enum asy_err model_cache_format(struct asy_buf *buf, const char *path,
                                const struct model_stamp *stamp, const struct asy_gguf *g) {
    struct asy_jw w;
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "path", path);
    for (size_t i = 0; i < ASY_COUNT(stamp_fields); i++) {
        uint64_t v;
        memcpy(&v, (const uint8_t *)stamp + stamp_fields[i].offset, sizeof v);
        asy_jw_kv_quantity(&w, stamp_fields[i].key, v);
    }
    asy_jw_kv_hash(&w, "sha256", &g->sha256);
    asy_jw_kv_hash(&w, "tokenizer", &g->tokenizer);
    asy_jw_kv_hash(&w, "template", &g->template);
    asy_jw_kv_u64(&w, "vocabulary", g->vocab_count);
    asy_jw_kv_u64(&w, "context", g->context_train);
    asy_jw_kv_u64(&w, "file_type", g->file_type);
    asy_jw_kv_cstr(&w, "architecture", g->architecture);
    asy_jw_kv_cstr(&w, "name", g->name);
    asy_jw_kv_bool(&w, "exact", g->exact);
    asy_jw_kv_hash(&w, "weights", &g->weights);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

static enum asy_err get_u32(uint32_t *ret, const struct asy_json *obj, const char *key) {
    uint64_t v;
    ASY_TRY(asy_json_get_u64(&v, NULL, obj, NULL, key, 0, UINT32_MAX, NULL));
    *ret = (uint32_t)v;
    return ASY_OK;
}

static enum asy_err get_text(char *ret, size_t cap, const struct asy_json *obj, const char *key) {
    struct asy_bytes s;
    ASY_TRY(asy_json_get_str(&s, NULL, obj, NULL, key, cap - 1, NULL));
    memcpy(ret, s.p, s.n);
    ret[s.n] = '\0';
    return ASY_OK;
}

static enum asy_err get_entry(struct asy_gguf *g, const struct asy_json *obj, const char *path,
                              const struct model_stamp *stamp) {
    struct model_stamp is;
    struct asy_bytes is_path;
    ASY_TRY(asy_json_get_str(&is_path, NULL, obj, NULL, "path", PATH_MAX, NULL));
    for (size_t i = 0; i < ASY_COUNT(stamp_fields); i++) {
        uint64_t v;
        ASY_TRY(asy_json_get_quantity(&v, NULL, obj, NULL, stamp_fields[i].key, NULL));
        memcpy((uint8_t *)&is + stamp_fields[i].offset, &v, sizeof v);
    }
    if (!asy_bytes_eq(is_path, asy_bytes_cstr(path)) || !same_stamp(&is, stamp)) {
        return ASY_ERR_MISMATCH;
    }
    g->file_len = is.len;
    ASY_TRY(asy_json_get_hash(&g->sha256, NULL, obj, NULL, "sha256", NULL));
    ASY_TRY(asy_json_get_hash(&g->tokenizer, NULL, obj, NULL, "tokenizer", NULL));
    ASY_TRY(asy_json_get_hash(&g->template, NULL, obj, NULL, "template", NULL));
    ASY_TRY(get_u32(&g->vocab_count, obj, "vocabulary"));
    ASY_TRY(get_u32(&g->context_train, obj, "context"));
    ASY_TRY(get_u32(&g->file_type, obj, "file_type"));
    ASY_TRY(get_text(g->architecture, sizeof g->architecture, obj, "architecture"));
    ASY_TRY(get_text(g->name, sizeof g->name, obj, "name"));
    ASY_TRY(asy_json_get_bool(&g->exact, NULL, obj, NULL, "exact", NULL));
    return asy_json_get_hash(&g->weights, NULL, obj, NULL, "weights", NULL);
}

enum asy_err model_cache_parse(struct asy_gguf *ret_gguf, struct asy_bytes in, const char *path,
                               const struct model_stamp *stamp) {
    struct asy_gguf g = {0};
    struct asy_json *doc;
    ASY_TRY(asy_json_parse(&doc, in, ASY_MAX_JSON_DEPTH, NULL));
    enum asy_err err =
        asy_json_type(doc) != ASY_JSON_OBJECT ? ASY_ERR_TYPE : get_entry(&g, doc, path, stamp);
    asy_json_free(doc);
    if (err == ASY_OK) {
        *ret_gguf = g;
    }
    return err;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Folder and name of the entry for path: its SHA-256, so that any path makes a short name. */
static bool entry_path(char ret[PATH_MAX], const char *dir, const char *path) {
    struct asy_hash hash;
    char hex[65];
    asy_sha256(&hash, asy_bytes_cstr(path));
    asy_hex_encode(hex, hash.b, sizeof hash.b);
    int n = snprintf(ret, PATH_MAX, "%s/%s.json", dir, hex);
    return n > 0 && n < PATH_MAX;
}

static bool load(struct asy_gguf *ret_gguf, const char *entry, const char *path,
                 const struct model_stamp *stamp) {
    uint8_t text[MODEL_CACHE_MAX];
    int fd = open(entry, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, sizeof text);
    (void)close(fd);
    return n > 0 &&
           model_cache_parse(ret_gguf, asy_bytes_of(text, (size_t)n), path, stamp) == ASY_OK;
}

/* Written beside and moved into place: who reads at the same time sees all or nothing. After a
 * power cut it may be empty, and then it is made again. */
static void save(const char *dir, const char *entry, struct asy_bytes text) {
    char temp[PATH_MAX];
    int n = snprintf(temp, sizeof temp, "%s.%ld", entry, (long)getpid());
    (void)mkdir(dir, 0700); /* it may be there */
    int fd =
        n > 0 && n < PATH_MAX ? open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd < 0) {
        return;
    }
    bool ok = write(fd, text.p, text.n) == (ssize_t)text.n;
    ok = close(fd) == 0 && ok;
    if (!ok || rename(temp, entry) != 0) {
        (void)unlink(temp);
    }
}

enum asy_err asy_model_read_gguf(struct asy_gguf *ret_gguf, const char *path, const char *cache_dir,
                                 const struct asy_env *env, struct asy_why *why) {
    struct model_stamp before, after;
    char entry[PATH_MAX];
    struct asy_gguf g;
    bool keep = stamp_of(&before, path) && entry_path(entry, cache_dir, path);
    if (keep && load(&g, entry, path, &before)) {
        *ret_gguf = g;
        return ASY_OK;
    }
    uint64_t now_ns = asy_env_wall_ms(env) * 1000000u;
    ASY_TRY(asy_gguf_read(&g, path, why));
    keep = keep && before.modified_ns < now_ns - SETTLE_NS &&
           before.changed_ns < now_ns - SETTLE_NS && stamp_of(&after, path) &&
           same_stamp(&before, &after);
    if (keep) {
        struct asy_buf text;
        asy_buf_init(&text, MODEL_CACHE_MAX);
        if (model_cache_format(&text, path, &before, &g) == ASY_OK) {
            save(cache_dir, entry, asy_buf_bytes(&text));
        }
        asy_buf_done(&text);
    }
    *ret_gguf = g;
    return ASY_OK;
}
