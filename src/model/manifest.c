/* manifest.c: what a model is, as a value, as canonical JSON, and as digest. */
#include <stdio.h>

#include "codec/codec.h"
#include "crypto/crypto.h"
#include "model/model.h"

#define FORMAT        "assay/manifest/1"
#define LLAMA_PREFIX  "llama.cpp/"
#define MAX_U32       INT32_MAX          /* counts of tokens */
#define MAX_LEN       ((1ull << 53) - 1) /* the largest integer that all JSON readers agree on */
#define VERSION_PARTS 3u

/* ---- rules ----------------------------------------------------------------------------------- */

static bool is_alnum(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_made_of(const char *s, const char *others) {
    size_t n = 0;
    for (; s[n] != '\0'; n++) {
        if (!is_alnum((uint8_t)s[n]) && strchr(others, s[n]) == NULL) {
            return false;
        }
    }
    return n > 0;
}

static bool is_label(const char *s) { return is_made_of(s, "._:/+-"); }

static bool is_file_name(const char *s) { return is_made_of(s, "._+-") && s[0] != '.'; }

static bool is_licence(const char *s) {
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++) {
        if (s[i] < ' ' || s[i] > '~') {
            return false;
        }
    }
    return n > 0 && s[0] != ' ' && s[n - 1] != ' ';
}

/* "0.5" gives {0, 5, 0} and 2. */
static bool read_version(uint64_t ret_parts[VERSION_PARTS], size_t *ret_count, struct asy_bytes s) {
    size_t count = 0, start = 0;
    memset(ret_parts, 0, VERSION_PARTS * sizeof ret_parts[0]);
    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && s.p[i] != '.') {
            continue;
        }
        struct asy_bytes part = {s.p + start, i - start};
        if (count == VERSION_PARTS || part.n > 9 || (part.n > 1 && part.p[0] == '0') ||
            asy_bytes_to_u64(&ret_parts[count], part) != ASY_OK) {
            return false;
        }
        count++;
        start = i + 1;
    }
    *ret_count = count;
    return true;
}

struct versions {
    uint64_t from[VERSION_PARTS], to[VERSION_PARTS];
    size_t to_count;
};

static int compare(const uint64_t *a, const uint64_t *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (a[i] != b[i]) {
            return a[i] < b[i] ? -1 : 1;
        }
    }
    return 0;
}

static bool read_versions(struct versions *ret, const char *text) {
    const char *dash = strchr(text, '-');
    struct asy_bytes from = asy_bytes_cstr(text), to = from;
    size_t from_count;
    if (dash != NULL) {
        from.n = (size_t)(dash - text);
        to = asy_bytes_cstr(dash + 1);
    }
    return read_version(ret->from, &from_count, from) &&
           read_version(ret->to, &ret->to_count, to) &&
           compare(ret->from, ret->to, ret->to_count) <= 0;
}

bool asy_manifest_runs_on(const struct asy_manifest *m, const char *version) {
    struct versions range;
    uint64_t v[VERSION_PARTS];
    size_t count;
    return m->engine == ASY_MANIFEST_LLAMA && read_versions(&range, m->llama_versions) &&
           read_version(v, &count, asy_bytes_cstr(version)) &&
           compare(v, range.from, VERSION_PARTS) >= 0 && compare(v, range.to, range.to_count) <= 0;
}

static enum asy_err check_files(const struct asy_manifest *m, struct asy_why *why) {
    if (m->file_count > ASY_MAX_MODEL_FILES) {
        return asy_why_set(why, ASY_ERR_RANGE, "files", "at most %u files", ASY_MAX_MODEL_FILES);
    }
    for (size_t i = 0; i < m->file_count; i++) {
        if (!is_file_name(m->files[i].name)) {
            return asy_why_set(why, ASY_ERR_SYNTAX, "files",
                               "a file's name is made of letters, digits and ._+-");
        }
        if (m->files[i].len == 0 || m->files[i].len > MAX_LEN) {
            return asy_why_set(why, ASY_ERR_RANGE, "files", "a file has 1 to 2^53 - 1 bytes");
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(m->files[i].name, m->files[k].name) == 0) {
                return asy_why_set(why, ASY_ERR_DUPLICATE, "files", "a file name appears twice");
            }
        }
    }
    return ASY_OK;
}

/* The table of the header: which field goes with which engine. */
enum need { NEVER, MAY, MUST };
static enum asy_err check_need(enum need need, bool present, const char *field,
                               struct asy_why *why) {
    if (need == MUST && !present) {
        return asy_why_set(why, ASY_ERR_MISSING, field, "this engine class requires it");
    }
    if (need == NEVER && present) {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, field, "not for this engine class");
    }
    return ASY_OK;
}

static enum asy_err check_engine(const struct asy_manifest *m, struct asy_why *why) {
    static const struct {
        enum need files, tokenizer, calibration, weights_root;
    } rules[] = {
        [ASY_MANIFEST_LLAMA] = {MUST, MUST, MUST, MAY},
        [ASY_MANIFEST_EXACT] = {MUST, MUST, NEVER, MUST},
        [ASY_MANIFEST_ECHO] = {NEVER, MUST, NEVER, NEVER},
        [ASY_MANIFEST_REMOTE] = {MAY, MAY, MAY, MAY},
    };
    struct versions ignored;
    if (m->engine < ASY_MANIFEST_LLAMA || m->engine > ASY_MANIFEST_REMOTE ||
        (m->engine == ASY_MANIFEST_LLAMA ? !read_versions(&ignored, m->llama_versions)
                                         : m->llama_versions[0] != '\0')) {
        return asy_why_set(why, ASY_ERR_SYNTAX, "engine",
                           "must be llama.cpp/<versions>, exact/1, echo/1 or remote");
    }
    bool tokenizer = !asy_hash_is_zero(&m->tokenizer), vocab = m->vocab_count != 0;
    ASY_TRY(check_need(rules[m->engine].files, m->file_count != 0, "files", why));
    ASY_TRY(check_need(rules[m->engine].tokenizer, tokenizer, "tokenizer", why));
    ASY_TRY(check_need(rules[m->engine].tokenizer, vocab, "vocabulary", why));
    ASY_TRY(check_need(rules[m->engine].calibration, m->has_calibration, "calibration", why));
    return check_need(rules[m->engine].weights_root, !asy_hash_is_zero(&m->weights_root),
                      "weights_root", why);
}

enum asy_err asy_manifest_check(const struct asy_manifest *m, struct asy_why *why) {
    const struct asy_manifest_calibration *c = &m->calibration;
    const struct {
        const char *field;
        bool good;
    } texts[] = {
        {"name", is_label(m->name)},
        {"family", is_label(m->family)},
        {"licence", is_licence(m->licence)},
        {"quantization", is_label(m->quantization)},
        {"calibration.backend", !m->has_calibration || is_label(c->backend)},
        {"calibration.kv_type", !m->has_calibration || is_label(c->kv_type)},
    };
    for (size_t i = 0; i < ASY_COUNT(texts); i++) {
        if (!texts[i].good) {
            return asy_why_set(why, ASY_ERR_SYNTAX, texts[i].field,
                               "empty, or with characters that are not allowed");
        }
    }
    if (m->context == 0 || m->context > MAX_U32) {
        return asy_why_set(why, ASY_ERR_RANGE, "context", "must be in [1, 2^31)");
    }
    if (m->vocab_count > MAX_U32) {
        return asy_why_set(why, ASY_ERR_RANGE, "vocabulary", "must be in [1, 2^31)");
    }
    ASY_TRY(check_files(m, why));
    return check_engine(m, why);
}

/* ---- writing: members in the order of RFC 8785, which for these names is that of ASCII --------
 */

static void write_files(struct asy_jw *w, const struct asy_manifest *m) {
    asy_jw_kv_array(w, "files");
    for (size_t i = 0; i < m->file_count; i++) {
        asy_jw_object(w);
        asy_jw_kv_u64(w, "bytes", m->files[i].len);
        asy_jw_kv_cstr(w, "name", m->files[i].name);
        asy_jw_kv_hash(w, "sha256", &m->files[i].sha256);
        asy_jw_end(w);
    }
    asy_jw_end(w);
}

static void write_calibration(struct asy_jw *w, const struct asy_manifest_calibration *c) {
    asy_jw_kv_object(w, "calibration");
    asy_jw_kv_cstr(w, "backend", c->backend);
    asy_jw_kv_bool(w, "flash_attention", c->flash_attention);
    asy_jw_kv_cstr(w, "kv_type", c->kv_type);
    asy_jw_end(w);
}

static void write_optional_hash(struct asy_jw *w, const char *key, const struct asy_hash *hash) {
    if (!asy_hash_is_zero(hash)) {
        asy_jw_kv_hash(w, key, hash);
    }
}

static void write_engine(struct asy_jw *w, const struct asy_manifest *m) {
    static const char *const names[] = {
        [ASY_MANIFEST_LLAMA] = LLAMA_PREFIX,
        [ASY_MANIFEST_EXACT] = "exact/1",
        [ASY_MANIFEST_ECHO] = "echo/1",
        [ASY_MANIFEST_REMOTE] = "remote",
    };
    char text[sizeof LLAMA_PREFIX + sizeof m->llama_versions];
    snprintf(text, sizeof text, "%s%s", names[m->engine], m->llama_versions);
    asy_jw_kv_cstr(w, "engine", text);
}

enum asy_err asy_manifest_format(struct asy_buf *buf, const struct asy_manifest *m) {
    struct asy_jw w;
    ASY_ASSERT(asy_manifest_check(m, NULL) == ASY_OK);
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    if (m->has_calibration) {
        write_calibration(&w, &m->calibration);
    }
    asy_jw_kv_u64(&w, "context", m->context);
    write_engine(&w, m);
    asy_jw_kv_cstr(&w, "family", m->family);
    write_files(&w, m);
    asy_jw_kv_cstr(&w, "format", FORMAT);
    asy_jw_kv_cstr(&w, "licence", m->licence);
    asy_jw_kv_cstr(&w, "name", m->name);
    asy_jw_kv_cstr(&w, "quantization", m->quantization);
    write_optional_hash(&w, "template", &m->template);
    write_optional_hash(&w, "tokenizer", &m->tokenizer);
    if (m->vocab_count != 0) {
        asy_jw_kv_u64(&w, "vocabulary", m->vocab_count);
    }
    write_optional_hash(&w, "weights_root", &m->weights_root);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

void asy_manifest_digest(struct asy_hash *ret_digest, const struct asy_manifest *m) {
    struct asy_buf buf;
    asy_buf_init(&buf, ASY_MAX_MANIFEST);
    enum asy_err err = asy_manifest_format(&buf, m);
    ASY_ASSERT(err == ASY_OK); /* limits.h: the longest manifest fits */
    asy_sha256(ret_digest, asy_buf_bytes(&buf));
    asy_buf_done(&buf);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A required string, copied with a zero byte behind. */
static enum asy_err get_text(char *ret, size_t cap, const struct asy_json *obj, const char *at,
                             const char *key, struct asy_why *why) {
    struct asy_bytes s;
    ASY_TRY(asy_json_get_str(&s, NULL, obj, at, key, cap - 1, why));
    memcpy(ret, s.p, s.n);
    ret[s.n] = '\0';
    return ASY_OK;
}
#define GET_TEXT(array, obj, at, key, why) get_text(array, sizeof(array), obj, at, key, why)

static enum asy_err get_u32(uint32_t *ret, bool *ret_present, const struct asy_json *obj,
                            const char *key, struct asy_why *why) {
    uint64_t v = 0;
    ASY_TRY(asy_json_get_u64(&v, ret_present, obj, NULL, key, 1, MAX_U32, why));
    *ret = (uint32_t)v;
    return ASY_OK;
}

static enum asy_err get_engine(struct asy_manifest *m, const struct asy_json *obj,
                               struct asy_why *why) {
    char text[sizeof LLAMA_PREFIX + sizeof m->llama_versions - 1];
    size_t prefix_len = strlen(LLAMA_PREFIX);
    ASY_TRY(GET_TEXT(text, obj, NULL, "engine", why));
    if (strncmp(text, LLAMA_PREFIX, prefix_len) == 0) {
        m->engine = ASY_MANIFEST_LLAMA;
        memcpy(m->llama_versions, text + prefix_len, strlen(text) - prefix_len + 1);
    } else if (strcmp(text, "exact/1") == 0) {
        m->engine = ASY_MANIFEST_EXACT;
    } else if (strcmp(text, "echo/1") == 0) {
        m->engine = ASY_MANIFEST_ECHO;
    } else if (strcmp(text, "remote") == 0) {
        m->engine = ASY_MANIFEST_REMOTE;
    } /* else asy_manifest_check says what is allowed */
    return ASY_OK;
}

static enum asy_err get_files(struct asy_manifest *m, const struct asy_json *obj,
                              struct asy_why *why) {
    static const char *const known[] = {"bytes", "name", "sha256"};
    const struct asy_json *files;
    ASY_TRY(asy_json_get_array(&files, NULL, obj, NULL, "files", 0, ASY_MAX_MODEL_FILES, why));
    m->file_count = asy_json_len(files);
    for (size_t i = 0; i < m->file_count; i++) {
        const struct asy_json *f = asy_json_at(files, i);
        struct asy_model_file *to = &m->files[i];
        char at[32];
        snprintf(at, sizeof at, "files[%zu]", i);
        if (asy_json_type(f) != ASY_JSON_OBJECT) {
            return asy_why_set(why, ASY_ERR_TYPE, at, "must be an object");
        }
        ASY_TRY(asy_json_refuse_unknown(f, at, known, ASY_COUNT(known), why));
        ASY_TRY(asy_json_get_u64(&to->len, NULL, f, at, "bytes", 1, MAX_LEN, why));
        ASY_TRY(GET_TEXT(to->name, f, at, "name", why));
        ASY_TRY(asy_json_get_hash(&to->sha256, NULL, f, at, "sha256", why));
    }
    return ASY_OK;
}

static enum asy_err get_calibration(struct asy_manifest *m, const struct asy_json *obj,
                                    struct asy_why *why) {
    static const char *const known[] = {"backend", "flash_attention", "kv_type"};
    static const char at[] = "calibration";
    struct asy_manifest_calibration *to = &m->calibration;
    const struct asy_json *c;
    ASY_TRY(asy_json_get_object(&c, &m->has_calibration, obj, NULL, at, why));
    if (!m->has_calibration) {
        return ASY_OK;
    }
    ASY_TRY(asy_json_refuse_unknown(c, at, known, ASY_COUNT(known), why));
    ASY_TRY(GET_TEXT(to->backend, c, at, "backend", why));
    ASY_TRY(asy_json_get_bool(&to->flash_attention, NULL, c, at, "flash_attention", why));
    return GET_TEXT(to->kv_type, c, at, "kv_type", why);
}

static enum asy_err get_format(const struct asy_json *obj, struct asy_why *why) {
    struct asy_bytes format;
    ASY_TRY(asy_json_get_str(&format, NULL, obj, NULL, "format", ASY_MAX_NAME, why));
    if (!asy_bytes_eq(format, ASY_STR(FORMAT))) {
        return asy_why_set(why, ASY_ERR_VERSION, "format", "must be " FORMAT);
    }
    return ASY_OK;
}

static enum asy_err get_fields(struct asy_manifest *m, const struct asy_json *obj,
                               struct asy_why *why) {
    static const char *const known[] = {"calibration",  "context",  "engine",    "family",
                                        "files",        "format",   "licence",   "name",
                                        "quantization", "template", "tokenizer", "vocabulary",
                                        "weights_root"};
    bool present;
    if (asy_json_type(obj) != ASY_JSON_OBJECT) {
        return asy_why_set(why, ASY_ERR_TYPE, NULL, "must be an object");
    }
    ASY_TRY(get_format(obj, why)); /* first: a later format has other fields */
    ASY_TRY(asy_json_refuse_unknown(obj, NULL, known, ASY_COUNT(known), why));
    ASY_TRY(get_calibration(m, obj, why));
    ASY_TRY(get_u32(&m->context, NULL, obj, "context", why));
    ASY_TRY(get_engine(m, obj, why));
    ASY_TRY(GET_TEXT(m->family, obj, NULL, "family", why));
    ASY_TRY(get_files(m, obj, why));
    ASY_TRY(GET_TEXT(m->licence, obj, NULL, "licence", why));
    ASY_TRY(GET_TEXT(m->name, obj, NULL, "name", why));
    ASY_TRY(GET_TEXT(m->quantization, obj, NULL, "quantization", why));
    ASY_TRY(asy_json_get_hash(&m->template, &present, obj, NULL, "template", why));
    ASY_TRY(asy_json_get_hash(&m->tokenizer, &present, obj, NULL, "tokenizer", why));
    ASY_TRY(get_u32(&m->vocab_count, &present, obj, "vocabulary", why));
    ASY_TRY(asy_json_get_hash(&m->weights_root, &present, obj, NULL, "weights_root", why));
    return asy_manifest_check(m, why);
}

/* The digest is over the canonical form of the text: if that is not what m gives, the text says
 * something that m does not hold (null for an absent field, a digest of zeros or in capitals). */
static enum asy_err check_same(const struct asy_manifest *m, const struct asy_json *obj,
                               struct asy_why *why) {
    struct asy_buf text, own;
    asy_buf_init(&text, ASY_MAX_MANIFEST);
    asy_buf_init(&own, ASY_MAX_MANIFEST);
    enum asy_err err = asy_json_canonical(&text, obj);
    if (err == ASY_OK) {
        err = asy_manifest_format(&own, m);
    }
    if (err == ASY_OK && !asy_bytes_eq(asy_buf_bytes(&text), asy_buf_bytes(&own))) {
        err = asy_why_set(why, ASY_ERR_SYNTAX, NULL,
                          "absent fields are left out, and digests written in lower case");
    }
    asy_buf_done(&text);
    asy_buf_done(&own);
    return err;
}

enum asy_err asy_manifest_parse(struct asy_manifest *ret_m, struct asy_bytes in,
                                struct asy_why *why) {
    struct asy_manifest m = {0};
    struct asy_json *doc;
    if (in.n > ASY_MAX_MANIFEST) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, NULL, "more than %u bytes", ASY_MAX_MANIFEST);
    }
    ASY_TRY(asy_json_parse(&doc, in, ASY_MAX_JSON_DEPTH, why));
    enum asy_err err = get_fields(&m, doc, why);
    if (err == ASY_OK) {
        err = check_same(&m, doc, why);
    }
    asy_json_free(doc);
    if (err == ASY_OK) {
        *ret_m = m;
    }
    return err;
}

/* ---- making ---------------------------------------------------------------------------------- */

/* general.file_type of GGUF: llama.h, enum llama_ftype. */
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL", [26] = "IQ3_S",  [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",  [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4",
};

static bool set_text(char *ret, size_t cap, const char *s) {
    return s != NULL && (size_t)snprintf(ret, cap, "%s", s) < cap;
}
#define SET_TEXT(array, s) set_text(array, sizeof(array), s)

enum asy_err asy_manifest_from_gguf(struct asy_manifest *ret_m, const struct asy_gguf *gguf,
                                    const char *file_name, const struct asy_manifest_options *o,
                                    struct asy_why *why) {
    const char *type = gguf->exact                               ? "exact8"
                       : gguf->file_type < ASY_COUNT(file_types) ? file_types[gguf->file_type]
                                                                 : NULL;
    struct asy_manifest m = {.engine = gguf->exact ? ASY_MANIFEST_EXACT : ASY_MANIFEST_LLAMA,
                             .context = gguf->context_train,
                             .vocab_count = gguf->vocab_count,
                             .tokenizer = gguf->tokenizer,
                             .template = gguf->template,
                             .files = {{.len = gguf->file_len, .sha256 = gguf->sha256}},
                             .file_count = 1,
                             .weights_root = gguf->weights,
                             .has_calibration = !gguf->exact};
    if (!gguf->exact) {
        m.calibration = o->calibration;
    }
    if (type == NULL) {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, "quantization",
                           "the file's quantization has no name that is known here");
    }
    if (!SET_TEXT(m.name, o->name) || !SET_TEXT(m.licence, o->licence) ||
        !SET_TEXT(m.family, o->family != NULL ? o->family : gguf->architecture) ||
        !SET_TEXT(m.quantization, type) || !SET_TEXT(m.files[0].name, file_name) ||
        (!gguf->exact && !SET_TEXT(m.llama_versions, o->llama_versions))) {
        return asy_why_set(why, ASY_ERR_RANGE, NULL,
                           "a name, the licence or the versions are missing or too long");
    }
    ASY_TRY(asy_manifest_check(&m, why));
    *ret_m = m;
    return ASY_OK;
}

enum asy_err asy_manifest_echo(struct asy_manifest *ret_m, const char *name, uint32_t context,
                               struct asy_why *why) {
    struct asy_manifest m = {.engine = ASY_MANIFEST_ECHO,
                             .family = "echo",
                             .licence = "NONE",
                             .quantization = "none",
                             .context = context,
                             .vocab_count = 1u << 26}; /* len << 24 | three bytes, len <= 3 */
    if (!SET_TEXT(m.name, name)) {
        return asy_why_set(why, ASY_ERR_RANGE, "name", "missing or too long");
    }
    asy_sha256(&m.tokenizer, ASY_STR("assay/tokenizer/echo/1"));
    ASY_TRY(asy_manifest_check(&m, why));
    *ret_m = m;
    return ASY_OK;
}

enum asy_err asy_manifest_verify(const struct asy_manifest *m, const struct asy_gguf *gguf,
                                 struct asy_why *why) {
    if (m->file_count == 0) {
        return asy_why_set(why, ASY_ERR_MISSING, "files", "the manifest has no files");
    }
    const struct asy_model_file *f = &m->files[0];
    const struct {
        const char *field;
        bool same;
    } checks[] = {
        {"files[0].bytes", f->len == gguf->file_len},
        {"files[0].sha256", asy_hash_eq(&f->sha256, &gguf->sha256)},
        {"tokenizer", asy_hash_eq(&m->tokenizer, &gguf->tokenizer)},
        {"template", asy_hash_eq(&m->template, &gguf->template)},
        {"vocabulary", m->vocab_count == gguf->vocab_count},
        {"context", m->context <= gguf->context_train},
        {"engine", (m->engine == ASY_MANIFEST_EXACT) == gguf->exact},
        {"weights_root", !gguf->exact || asy_hash_eq(&m->weights_root, &gguf->weights)},
    };
    for (size_t k = 0; k < ASY_COUNT(checks); k++) {
        if (!checks[k].same) {
            return asy_why_set(why, ASY_ERR_MISMATCH, checks[k].field,
                               "the file is not the one of the manifest");
        }
    }
    return ASY_OK;
}
