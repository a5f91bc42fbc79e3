/* gguf.c: the head of a GGUF model file: a magic, counts, then key-value records. Integers are
 * little-endian. source: the format's description in ggml's gguf.h */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "engine/engine.h"
#include "engine/exact_priv.h"
#include "exact/exact.h"

#define GGUF_MAX_RECORDS 65536u
#define GGUF_MAX_HEAD    (256u * 1024u * 1024u) /* the largest vocabularies take some 20 MB */
#define GGUF_READ        (1024u * 1024u)

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};
static const uint8_t type_len[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct record {
    struct asy_bytes key;
    struct asy_bytes all; /* key, type and value, as they stand in the file */
    uint32_t type;
    struct asy_bytes value;    /* scalars: their bytes; strings: the text */
    uint64_t count;            /* of an array's elements */
    struct asy_bytes elements; /* behind their type (4 bytes) and count (8) */
};

/* ---- reading: AGAIN means the input ends here
 * ------------------------------------------------------------------------------- */

static enum asy_err take(struct asy_bytes *ret, struct asy_bytes *in, uint64_t len) {
    if (len > in->n) {
        return ASY_ERR_AGAIN;
    }
    *ret = (struct asy_bytes){in->p, (size_t)len};
    in->p += len;
    in->n -= (size_t)len;
    return ASY_OK;
}

static enum asy_err take_u32(uint32_t *ret, struct asy_bytes *in) {
    struct asy_bytes b;
    ASY_TRY(take(&b, in, 4));
    *ret = asy_le32_get(b.p);
    return ASY_OK;
}

static enum asy_err take_u64(uint64_t *ret, struct asy_bytes *in) {
    struct asy_bytes b;
    ASY_TRY(take(&b, in, 8));
    *ret = asy_le64_get(b.p);
    return ASY_OK;
}

static enum asy_err take_string(struct asy_bytes *ret, struct asy_bytes *in) {
    uint64_t len;
    ASY_TRY(take_u64(&len, in));
    return take(ret, in, len);
}

static enum asy_err skip_array(struct record *r, struct asy_bytes *in) {
    uint32_t type;
    struct asy_bytes skipped;
    ASY_TRY(take_u32(&type, in));
    ASY_TRY(take_u64(&r->count, in));
    r->elements = *in;
    if (type >= GGUF_TYPE_COUNT) {
        return ASY_ERR_SYNTAX;
    }
    if (type == GGUF_ARRAY) {
        return ASY_ERR_UNSUPPORTED;
    }
    if (type != GGUF_STRING) {
        uint64_t len;
        return asy_mul_u64(&len, r->count, type_len[type]) ? take(&skipped, in, len)
                                                           : ASY_ERR_SYNTAX;
    }
    for (uint64_t i = 0; i < r->count;
         i++) { /* each takes 8 bytes at least, so the input bounds this */
        ASY_TRY(take_string(&skipped, in));
    }
    return ASY_OK;
}

static enum asy_err take_record(struct record *ret_r, struct asy_bytes *in) {
    struct record r = {.all = *in};
    ASY_TRY(take_string(&r.key, in));
    ASY_TRY(take_u32(&r.type, in));
    if (r.type >= GGUF_TYPE_COUNT) {
        return ASY_ERR_SYNTAX;
    }
    if (r.type == GGUF_STRING) {
        ASY_TRY(take_string(&r.value, in));
    } else if (r.type == GGUF_ARRAY) {
        ASY_TRY(skip_array(&r, in));
    } else {
        ASY_TRY(take(&r.value, in, type_len[r.type]));
    }
    r.all.n = (size_t)(in->p - r.all.p);
    *ret_r = r;
    return ASY_OK;
}

/* ---- what is wanted ---- */

static bool key_is(const struct record *r, const char *key) {
    return asy_bytes_eq(r->key, asy_bytes_cstr(key));
}

/* Any unsigned or not negative integer. */
static bool as_u32(uint32_t *ret, const struct record *r) {
    uint64_t v = r->type == GGUF_U32 || r->type == GGUF_I32   ? asy_le32_get(r->value.p)
                 : r->type == GGUF_U64 || r->type == GGUF_I64 ? asy_le64_get(r->value.p)
                                                              : UINT64_MAX;
    if (v > INT32_MAX) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

static void copy_text(char *ret, size_t cap, struct asy_bytes text) {
    struct asy_bytes cut = {text.p, text.n < cap - 1 ? text.n : cap - 1};
    cut.n = asy_utf8_valid(text) ? asy_utf8_whole(cut) : 0;
    memcpy(ret, cut.p, cut.n);
    ret[cut.n] = '\0';
}

static int by_key(const void *a, const void *b) {
    const struct record *x = a, *y = b;
    size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
    int order = n == 0 ? 0 : memcmp(x->key.p, y->key.p, n);
    return order != 0 ? order : (x->key.n > y->key.n) - (x->key.n < y->key.n);
}

static enum asy_err digest_tokenizer(struct asy_gguf *g, struct record *records, size_t count,
                                     struct asy_why *why) {
    struct asy_sha256 sha;
    asy_sha256_init(&sha);
    qsort(records, count, sizeof *records, by_key);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && asy_bytes_eq(records[i - 1].key, records[i].key)) {
            return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "a key appears twice");
        }
        if (asy_bytes_starts(records[i].key, ASY_STR("tokenizer.")) &&
            !asy_bytes_starts(records[i].key, ASY_STR("tokenizer.chat_template"))) {
            asy_sha256_add(&sha, records[i].all);
        }
    }
    asy_sha256_final(&sha, &g->tokenizer);
    return ASY_OK;
}

static enum asy_err fill(struct asy_gguf *g, struct record *records, size_t count,
                         struct asy_why *why) {
    char context_key[64] = "";
    *g = (struct asy_gguf){.file_type = UINT32_MAX};
    for (size_t i = 0; i < count; i++) {
        if (key_is(&records[i], "general.architecture") && records[i].type == GGUF_STRING) {
            copy_text(g->architecture, sizeof g->architecture, records[i].value);
            snprintf(context_key, sizeof context_key, "%s.context_length", g->architecture);
        }
    }
    for (size_t i = 0; i < count; i++) {
        const struct record *r = &records[i];
        if (key_is(r, "general.name") && r->type == GGUF_STRING) {
            copy_text(g->name, sizeof g->name, r->value);
        } else if (key_is(r, "general.file_type")) {
            (void)as_u32(&g->file_type,
                         r); /* absent is allowed, and so is a spelling we do not know */
        } else if (key_is(r, "tokenizer.ggml.tokens") && r->type == GGUF_ARRAY &&
                   r->count <= INT32_MAX) {
            g->vocab_count = (uint32_t)r->count;
        } else if (key_is(r, "tokenizer.chat_template") && r->type == GGUF_STRING) {
            asy_sha256(&g->template, r->value);
        } else if (key_is(r, context_key)) {
            (void)as_u32(&g->context_train, r); /* checked below */
        }
    }
    if (g->architecture[0] == '\0' || g->vocab_count == 0 || g->context_train == 0) {
        return asy_why_set(why, ASY_ERR_MISSING, NULL,
                           "the file names no architecture, vocabulary or context length");
    }
    return digest_tokenizer(g, records, count, why);
}

/* The part in front of the records. errors: AGAIN, SYNTAX, UNSUPPORTED, TOO_LONG */
static enum asy_err take_counts(uint64_t *ret_tensors, uint64_t *ret_records, struct asy_bytes *in,
                                struct asy_why *why) {
    struct asy_bytes magic;
    uint32_t version;
    ASY_TRY(take(&magic, in, 4));
    if (memcmp(magic.p, "GGUF", 4) != 0) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "not a GGUF file");
    }
    ASY_TRY(take_u32(&version, in));
    if (version != 2 && version != 3) {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, NULL,
                           "GGUF version %u is not read here, or the file is big-endian", version);
    }
    ASY_TRY(take_u64(ret_tensors, in));
    ASY_TRY(take_u64(ret_records, in));
    if (*ret_records > GGUF_MAX_RECORDS) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, NULL, "more than %u records", GGUF_MAX_RECORDS);
    }
    return ASY_OK;
}

static enum asy_err take_records(struct record *ret_records, uint64_t count, struct asy_bytes *in,
                                 struct asy_why *why) {
    enum asy_err err = ASY_OK;
    for (uint64_t i = 0; i < count && err == ASY_OK; i++) {
        err = take_record(&ret_records[i], in);
    }
    return err == ASY_OK || err == ASY_ERR_AGAIN
               ? err
               : asy_why_set(why, err, NULL, "a record of a type that is not known here");
}

enum asy_err asy_gguf_parse(struct asy_gguf *ret_gguf, struct asy_bytes head, struct asy_why *why) {
    uint64_t tensor_count, count;
    ASY_TRY(take_counts(&tensor_count, &count, &head, why));
    struct record *records = asy_alloc((size_t)count * sizeof *records);
    struct asy_gguf gguf;
    enum asy_err err = take_records(records, count, &head, why);
    if (err == ASY_OK) {
        err = fill(&gguf, records, (size_t)count, why);
    }
    asy_free(records);
    if (err == ASY_OK) {
        *ret_gguf = gguf;
    }
    return err;
}

/* ---- a whole file in memory ---- */

struct asy_gguf_file {
    struct record *records;
    size_t record_count;
    struct asy_bytes records_text; /* all of them, as they stand in the file */
    struct asy_gguf_tensor *tensors;
    size_t tensor_count;
};

static enum asy_err take_tensor(struct asy_gguf_tensor *ret_t, uint64_t *ret_offset,
                                struct asy_bytes *in) {
    struct asy_gguf_tensor t = {.dim = {1, 1, 1, 1}};
    uint64_t elements = 1;
    ASY_TRY(take_string(&t.name, in));
    ASY_TRY(take_u32(&t.dims, in));
    if (t.dims < 1 || t.dims > ASY_COUNT(t.dim)) {
        return ASY_ERR_RANGE;
    }
    for (uint32_t i = 0; i < t.dims; i++) {
        ASY_TRY(take_u64(&t.dim[i], in));
        if (t.dim[i] == 0 || !asy_mul_u64(&elements, elements, t.dim[i])) {
            return ASY_ERR_RANGE;
        }
    }
    ASY_TRY(take_u32(&t.type, in));
    ASY_TRY(take_u64(ret_offset, in));
    *ret_t = t;
    return ASY_OK;
}

static const struct record *find(const struct asy_gguf_file *f, const char *key) {
    for (size_t i = 0; i < f->record_count; i++) {
        if (key_is(&f->records[i], key)) {
            return &f->records[i];
        }
    }
    return NULL;
}

/* Tensors' data begins at the first multiple of the alignment behind their names. */
static enum asy_err take_tensors(struct asy_gguf_file *f, struct asy_bytes file,
                                 struct asy_bytes *in, struct asy_why *why) {
    uint32_t alignment = 32;
    const struct record *r = find(f, "general.alignment");
    if (r != NULL && (!as_u32(&alignment, r) || alignment == 0)) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "general.alignment is no alignment");
    }
    uint64_t *offsets = asy_alloc(f->tensor_count * sizeof *offsets);
    enum asy_err err = ASY_OK;
    for (size_t i = 0; i < f->tensor_count && err == ASY_OK; i++) {
        err = take_tensor(&f->tensors[i], &offsets[i], in);
    }
    uint64_t at = file.n - in->n, start = (at + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < f->tensor_count && err == ASY_OK; i++) {
        if (start > file.n || offsets[i] > file.n - start) {
            err = ASY_ERR_AGAIN;
        } else {
            size_t from = (size_t)(start + offsets[i]);
            f->tensors[i].data = asy_bytes_of(file.p + from, file.n - from);
        }
    }
    asy_free(offsets);
    return err == ASY_ERR_RANGE
               ? asy_why_set(why, err, NULL, "the dimensions of a tensor are impossible")
               : err;
}

enum asy_err asy_gguf_open(struct asy_gguf_file **ret_file, struct asy_bytes file,
                           struct asy_why *why) {
    struct asy_bytes in = file;
    uint64_t tensor_count, record_count;
    enum asy_err err = take_counts(&tensor_count, &record_count, &in, why);
    if (err == ASY_OK && tensor_count > GGUF_MAX_RECORDS) {
        err = asy_why_set(why, ASY_ERR_TOO_LONG, NULL, "more than %u tensors", GGUF_MAX_RECORDS);
    }
    struct asy_gguf_file *f = NULL;
    if (err == ASY_OK) {
        f = asy_alloc(sizeof *f);
        *f = (struct asy_gguf_file){.record_count = (size_t)record_count,
                                    .tensor_count = (size_t)tensor_count};
        f->records = asy_alloc(f->record_count * sizeof *f->records);
        f->tensors = asy_alloc(f->tensor_count * sizeof *f->tensors);
        const uint8_t *begin = in.p;
        err = take_records(f->records, record_count, &in, why);
        f->records_text = asy_bytes_of(begin, (size_t)(in.p - begin));
    }
    if (err == ASY_OK) {
        err = take_tensors(f, file, &in, why);
    }
    if (err == ASY_ERR_AGAIN) {
        err = asy_why_set(why, ASY_ERR_SYNTAX, NULL, "the file is cut off");
    }
    if (err != ASY_OK) {
        asy_gguf_close(f);
        return err;
    }
    *ret_file = f;
    return ASY_OK;
}

void asy_gguf_close(struct asy_gguf_file *f) {
    if (f != NULL) {
        asy_free(f->records);
        asy_free(f->tensors);
        asy_free(f);
    }
}

size_t asy_gguf_tensors(const struct asy_gguf_file *f) { return f->tensor_count; }
const struct asy_gguf_tensor *asy_gguf_tensor_at(const struct asy_gguf_file *f, size_t index) {
    return &f->tensors[index];
}
size_t asy_gguf_keys(const struct asy_gguf_file *f) { return f->record_count; }
struct asy_bytes asy_gguf_key_at(const struct asy_gguf_file *f, size_t index) {
    return f->records[index].key;
}

/* The one value of a scalar, or of an array whose elements are all equal. */
static bool single(struct record *ret_r, const struct record *r) {
    struct record one = *r;
    if (r->type == GGUF_ARRAY) {
        uint32_t type = asy_le32_get(r->elements.p - 12);
        size_t len = type_len[type];
        if (r->count == 0 || len == 0) {
            return false;
        }
        one.type = type;
        one.value = asy_bytes_of(r->elements.p, len);
        for (uint64_t i = 1; i < r->count; i++) {
            if (memcmp(r->elements.p + i * len, one.value.p, len) != 0) {
                return false;
            }
        }
    }
    *ret_r = one;
    return true;
}

enum asy_err asy_gguf_u32(uint32_t *ret, const struct asy_gguf_file *f, const char *key) {
    struct record one;
    const struct record *r = find(f, key);
    if (r == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    return single(&one, r) && as_u32(ret, &one) ? ASY_OK : ASY_ERR_TYPE;
}

enum asy_err asy_gguf_f32(float *ret, const struct asy_gguf_file *f, const char *key) {
    struct record one;
    const struct record *r = find(f, key);
    if (r == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    if (!single(&one, r) || one.type != GGUF_F32) {
        return ASY_ERR_TYPE;
    }
    uint32_t bits = asy_le32_get(one.value.p);
    memcpy(ret, &bits, sizeof bits);
    return ASY_OK;
}

enum asy_err asy_gguf_text(struct asy_bytes *ret, const struct asy_gguf_file *f, const char *key) {
    const struct record *r = find(f, key);
    if (r == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    if (r->type != GGUF_STRING) {
        return ASY_ERR_TYPE;
    }
    *ret = r->value;
    return ASY_OK;
}

enum asy_err asy_gguf_bools(struct asy_bytes *ret, const struct asy_gguf_file *f, const char *key) {
    const struct record *r = find(f, key);
    if (r == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    if (r->type != GGUF_ARRAY || asy_le32_get(r->elements.p - 12) != GGUF_BOOL) {
        return ASY_ERR_TYPE;
    }
    *ret = asy_bytes_of(r->elements.p, (size_t)r->count);
    return ASY_OK;
}

enum asy_err asy_gguf_without_tensors(struct asy_buf *buf, const struct asy_gguf_file *f) {
    uint8_t head[24] = "GGUF";
    asy_le32_put(head + 4, 3);
    asy_le64_put(head + 16, f->record_count);
    ASY_TRY(asy_buf_add(buf, head, sizeof head));
    return asy_buf_add_bytes(buf, f->records_text);
}

/* ---- files ---- */

/* Hashes all of fd, and parses its head as soon as enough of it was read. */
static enum asy_err read_all(struct asy_gguf *g, struct asy_buf *head, int fd,
                             struct asy_why *why) {
    struct asy_sha256 sha;
    asy_sha256_init(&sha);
    uint8_t *chunk = asy_alloc(GGUF_READ);
    uint64_t len = 0;
    size_t try_at =
        GGUF_READ; /* doubles, so that parsing again and again costs no more than reading */
    enum asy_err err = ASY_ERR_AGAIN;
    for (;;) {
        ssize_t n = read(fd, chunk, GGUF_READ);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            err = asy_why_set(why, ASY_ERR_IO, NULL, "%s", strerror(errno));
            break;
        }
        len += (uint64_t)n;
        asy_sha256_add(&sha, asy_bytes_of(chunk, (size_t)n));
        if (err == ASY_ERR_AGAIN && asy_buf_add(head, chunk, (size_t)n) != ASY_OK) {
            err = asy_why_set(why, ASY_ERR_TOO_LONG, NULL,
                              "the file's head is longer than %u bytes", GGUF_MAX_HEAD);
        }
        if (err == ASY_ERR_AGAIN && (n == 0 || head->n >= try_at)) {
            err = asy_gguf_parse(g, asy_buf_bytes(head), why);
            try_at *= 2;
        }
        if (n == 0 || (err != ASY_OK && err != ASY_ERR_AGAIN)) {
            break;
        }
    }
    asy_free(chunk);
    g->file_len = len;
    asy_sha256_final(&sha, &g->sha256);
    return err == ASY_ERR_AGAIN ? asy_why_set(why, ASY_ERR_SYNTAX, NULL, "the file is cut off")
                                : err;
}

enum asy_err asy_gguf_of_exact(struct asy_gguf *ret_gguf, const struct asy_exact_model *model,
                               struct asy_bytes file, struct asy_why *why) {
    const struct asy_exact_info *info = asy_exact_model_info(model);
    struct asy_gguf g;
    enum asy_err err = asy_gguf_parse(&g, info->vocabulary, why);
    if (err == ASY_ERR_AGAIN) {
        return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "the file's vocabulary is cut off");
    }
    ASY_TRY(err);
    g.exact = true;
    g.weights = info->weights;
    g.file_len = file.n;
    g.context_train = g.context_train < info->positions ? g.context_train : info->positions;
    asy_sha256(&g.sha256, file);
    *ret_gguf = g;
    return ASY_OK;
}

static enum asy_err read_exact(struct asy_gguf *g, const char *path, struct asy_why *why) {
    struct asy_bytes file;
    struct asy_exact_model *model;
    ASY_TRY(asy_file_map(&file, path, why));
    enum asy_err err = asy_exact_model_open(&model, file, why);
    if (err == ASY_OK) {
        err = asy_gguf_of_exact(g, model, file, why);
        asy_exact_model_free(model);
    }
    asy_file_unmap(file);
    return err;
}

enum asy_err asy_gguf_read(struct asy_gguf *ret_gguf, const char *path, struct asy_why *why) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return asy_why_set(why, errno == ENOENT ? ASY_ERR_NOT_FOUND : ASY_ERR_IO, NULL, "%s: %s",
                           path, strerror(errno));
    }
    struct asy_gguf gguf;
    uint8_t magic[8] = {0};
    enum asy_err err;
    bool exact = pread(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic &&
                 asy_engine_exact_is(asy_bytes_of(magic, sizeof magic));
    if (exact) {
        err = read_exact(&gguf, path, why);
    } else {
        struct asy_buf head;
        asy_buf_init(&head, GGUF_MAX_HEAD);
        err = read_all(&gguf, &head, fd, why);
        asy_buf_done(&head);
    }
    (void)close(fd); /* only read */
    if (err == ASY_OK) {
        *ret_gguf = gguf;
    }
    return err;
}
