/* Manifests: vectors, rules by engine, strictness, what a GGUF file gives, version ranges. */
#include <limits.h>

#include "codec/codec.h"
#include "crypto/crypto.h"
#include "gguf_file.h"
#include "model/model.h"

#define VECTORS "schema/vectors/manifest/cases.json"

static struct asy_hash hash_of(const char *s) {
    struct asy_hash h;
    asy_sha256(&h, asy_bytes_cstr(s));
    return h;
}

/* A valid one of each engine class. */
static struct asy_manifest example(enum asy_manifest_engine engine) {
    struct asy_manifest m = {.name = "test-model",
                             .family = "llama",
                             .licence = "MIT OR Apache-2.0",
                             .quantization = "Q4_1",
                             .engine = engine,
                             .context = 4096,
                             .vocab_count = 49152,
                             .tokenizer = hash_of("tokenizer"),
                             .template = hash_of("template")};
    if (engine == ASY_MANIFEST_LLAMA) {
        m.calibration = ASY_MANIFEST_CPU;
        m.has_calibration = true;
        memcpy(m.llama_versions, "0.5-0.6", 8);
    }
    if (engine == ASY_MANIFEST_EXACT) {
        m.weights_root = hash_of("root");
    }
    if (engine == ASY_MANIFEST_LLAMA || engine == ASY_MANIFEST_EXACT) {
        m.files[0] = (struct asy_model_file){.name = "a.gguf", .len = 7, .sha256 = hash_of("file")};
        m.file_count = 1;
    }
    return m;
}

static const enum asy_manifest_engine engines[] = {ASY_MANIFEST_LLAMA, ASY_MANIFEST_EXACT,
                                                   ASY_MANIFEST_ECHO, ASY_MANIFEST_REMOTE};

/* ---- vectors ---- */

static void check_vector(const struct asy_json *v) {
    struct asy_bytes text, canonical, error, name;
    struct asy_manifest m;
    struct asy_buf buf;
    asy_buf_init(&buf, ASY_MAX_MANIFEST);
    CHECK_OK(asy_json_str(&name, asy_json_get(v, "name")));
    CHECK_OK(asy_json_str(&text, asy_json_get(v, "text")));
    int before = asy_test_failures;
    if (asy_json_get(v, "error") != NULL) {
        CHECK_OK(asy_json_str(&error, asy_json_get(v, "error")));
        enum asy_err err = asy_manifest_parse(&m, text, NULL);
        CHECK(asy_bytes_eq(error, asy_bytes_cstr(asy_err_name(err))));
    } else {
        struct asy_hash want, digest;
        CHECK_OK(asy_json_str(&canonical, asy_json_get(v, "canonical")));
        CHECK_OK(asy_json_get_hash(&want, NULL, v, NULL, "digest", NULL));
        CHECK_OK(asy_manifest_parse(&m, text, NULL));
        CHECK_OK(asy_manifest_format(&buf, &m));
        CHECK(asy_bytes_eq(asy_buf_bytes(&buf), canonical));
        asy_manifest_digest(&digest, &m);
        CHECK(asy_hash_eq(&digest, &want));
    }
    if (asy_test_failures != before) {
        fprintf(stderr, "  in vector \"%.*s\"\n", (int)name.n, (const char *)name.p);
    }
    asy_buf_done(&buf);
}

static void test_vectors(void) {
    static uint8_t text[256 * 1024];
    FILE *f = fopen(VECTORS, "rb");
    CHECK(f != NULL);
    size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;
    if (f != NULL) {
        fclose(f);
    }
    struct asy_json *doc;
    CHECK_OK(asy_json_parse(&doc, asy_bytes_of(text, n), ASY_MAX_JSON_DEPTH, NULL));
    CHECK(asy_json_len(doc) >= 20);
    for (size_t i = 0; i < asy_json_len(doc); i++) {
        check_vector(asy_json_at(doc, i));
    }
    asy_json_free(doc);
}

/* ---- round trip ---- */

static void test_round_trip(void) {
    for (size_t i = 0; i < ASY_COUNT(engines); i++) {
        struct asy_manifest m = example(engines[i]), back;
        struct asy_buf a, b;
        asy_buf_init(&a, ASY_MAX_MANIFEST);
        asy_buf_init(&b, ASY_MAX_MANIFEST);
        CHECK_OK(asy_manifest_check(&m, NULL));
        CHECK_OK(asy_manifest_format(&a, &m));
        CHECK_OK(asy_manifest_parse(&back, asy_buf_bytes(&a), NULL));
        CHECK_OK(asy_manifest_format(&b, &back));
        CHECK_STR(asy_buf_cstr(&b), asy_buf_cstr(&a));
        for (size_t n = 0; n < a.n; n++) { /* cut off anywhere */
            CHECK(asy_manifest_parse(&back, asy_bytes_of(a.p, n), NULL) != ASY_OK);
        }
        asy_buf_done(&a);
        asy_buf_done(&b);
    }
}

/* The longest manifest there can be fits its limit, since asy_manifest_digest relies on it. */
static void test_longest(void) {
    struct asy_manifest m = example(ASY_MANIFEST_LLAMA);
    struct asy_hash digest;
    memset(m.name, 'n', ASY_MAX_NAME);
    memset(m.family, 'f', ASY_MAX_NAME);
    memset(m.licence, '"', ASY_MAX_NAME); /* two bytes each in JSON */
    memset(m.quantization, 'q', sizeof m.quantization - 1);
    memset(m.calibration.backend, 'b', sizeof m.calibration.backend - 1);
    memset(m.calibration.kv_type, 'k', sizeof m.calibration.kv_type - 1);
    memcpy(m.llama_versions, "999999999.999.9-999999999.99999", sizeof m.llama_versions);
    m.context = m.vocab_count = INT32_MAX;
    m.weights_root = hash_of("root");
    for (m.file_count = 0; m.file_count < ASY_MAX_MODEL_FILES; m.file_count++) {
        struct asy_model_file *f = &m.files[m.file_count];
        memset(f->name, 'a' + (int)m.file_count, ASY_MAX_NAME);
        f->len = (1ull << 53) - 1;
        f->sha256 = hash_of("file");
    }
    CHECK_OK(asy_manifest_check(&m, NULL));
    asy_manifest_digest(&digest, &m);
    struct asy_buf buf;
    struct asy_manifest back;
    asy_buf_init(&buf, ASY_MAX_MANIFEST);
    CHECK_OK(asy_manifest_format(&buf, &m));
    CHECK(buf.n < 6000);
    CHECK_OK(asy_manifest_parse(&back, asy_buf_bytes(&buf), NULL));
    asy_buf_done(&buf);
}

/* ---- rules ---- */

static void check_field(const struct asy_manifest *m, enum asy_err want, const char *field) {
    struct asy_why why = {.param = ""};
    CHECK_ERR(asy_manifest_check(m, &why), want);
    CHECK_STR(why.param, field);
}

static void test_engine_table(void) {
    static const struct {
        enum asy_manifest_engine engine;
        enum asy_err with, without; /* what having and not having the field gives */
    } files[] = {{ASY_MANIFEST_LLAMA, ASY_OK, ASY_ERR_MISSING},
                 {ASY_MANIFEST_EXACT, ASY_OK, ASY_ERR_MISSING},
                 {ASY_MANIFEST_ECHO, ASY_ERR_UNSUPPORTED, ASY_OK},
                 {ASY_MANIFEST_REMOTE, ASY_OK, ASY_OK}},
      calibration[] = {{ASY_MANIFEST_LLAMA, ASY_OK, ASY_ERR_MISSING},
                       {ASY_MANIFEST_EXACT, ASY_ERR_UNSUPPORTED, ASY_OK},
                       {ASY_MANIFEST_ECHO, ASY_ERR_UNSUPPORTED, ASY_OK},
                       {ASY_MANIFEST_REMOTE, ASY_OK, ASY_OK}},
      tokenizer[] = {{ASY_MANIFEST_LLAMA, ASY_OK, ASY_ERR_MISSING},
                     {ASY_MANIFEST_EXACT, ASY_OK, ASY_ERR_MISSING},
                     {ASY_MANIFEST_ECHO, ASY_OK, ASY_ERR_MISSING},
                     {ASY_MANIFEST_REMOTE, ASY_OK, ASY_OK}},
      root[] = {{ASY_MANIFEST_LLAMA, ASY_OK, ASY_OK},
                {ASY_MANIFEST_EXACT, ASY_OK, ASY_ERR_MISSING},
                {ASY_MANIFEST_ECHO, ASY_ERR_UNSUPPORTED, ASY_OK},
                {ASY_MANIFEST_REMOTE, ASY_OK, ASY_OK}};
    for (size_t i = 0; i < ASY_COUNT(engines); i++) {
        struct asy_manifest m = example(engines[i]);
        m.files[0] = example(ASY_MANIFEST_LLAMA).files[0];
        m.file_count = 1;
        CHECK_ERR(asy_manifest_check(&m, NULL), files[i].with);
        m.file_count = 0;
        CHECK_ERR(asy_manifest_check(&m, NULL), files[i].without);

        m = example(engines[i]);
        m.calibration = ASY_MANIFEST_CPU;
        m.has_calibration = true;
        CHECK_ERR(asy_manifest_check(&m, NULL), calibration[i].with);
        m.has_calibration = false;
        CHECK_ERR(asy_manifest_check(&m, NULL), calibration[i].without);

        m = example(engines[i]);
        m.tokenizer = (struct asy_hash){{0}};
        CHECK_ERR(asy_manifest_check(&m, NULL), tokenizer[i].without);
        m = example(engines[i]);
        m.vocab_count = 0;
        CHECK_ERR(asy_manifest_check(&m, NULL), tokenizer[i].without);

        m = example(engines[i]);
        m.weights_root = hash_of("root");
        CHECK_ERR(asy_manifest_check(&m, NULL), root[i].with);
        m.weights_root = (struct asy_hash){{0}};
        CHECK_ERR(asy_manifest_check(&m, NULL), root[i].without);

        m = example(engines[i]);
        memcpy(m.llama_versions, "1", 2);
        CHECK_ERR(asy_manifest_check(&m, NULL), i == 0 ? ASY_OK : ASY_ERR_SYNTAX);
    }
}

static void test_fields(void) {
    const struct asy_manifest good = example(ASY_MANIFEST_LLAMA);
    struct asy_manifest m = good;
#define BAD(change, want, field)                                                                   \
    do {                                                                                           \
        m = good;                                                                                  \
        change;                                                                                    \
        check_field(&m, want, field);                                                              \
    } while (0)
    BAD(m.name[0] = '\0', ASY_ERR_SYNTAX, "name");
    BAD(m.name[0] = ' ', ASY_ERR_SYNTAX, "name");
    BAD(m.name[0] = '\x80', ASY_ERR_SYNTAX, "name");
    BAD(m.family[1] = '\n', ASY_ERR_SYNTAX, "family");
    BAD(m.licence[0] = ' ', ASY_ERR_SYNTAX, "licence");
    BAD(m.licence[3] = '\t', ASY_ERR_SYNTAX, "licence");
    BAD(m.quantization[0] = '"', ASY_ERR_SYNTAX, "quantization");
    BAD(m.context = 0, ASY_ERR_RANGE, "context");
    BAD(m.context = 1u << 31, ASY_ERR_RANGE, "context");
    BAD(m.vocab_count = 1u << 31, ASY_ERR_RANGE, "vocabulary");
    BAD(m.files[0].len = 0, ASY_ERR_RANGE, "files");
    BAD(m.files[0].len = 1ull << 53, ASY_ERR_RANGE, "files");
    BAD(m.files[0].name[0] = '.', ASY_ERR_SYNTAX, "files");
    BAD(m.files[0].name[1] = '/', ASY_ERR_SYNTAX, "files");
    BAD(m.file_count = ASY_MAX_MODEL_FILES + 1, ASY_ERR_RANGE, "files");
    BAD((m.files[1] = m.files[0], m.file_count = 2), ASY_ERR_DUPLICATE, "files");
    BAD(m.calibration.backend[0] = '\0', ASY_ERR_SYNTAX, "calibration.backend");
    BAD(m.calibration.kv_type[0] = ' ', ASY_ERR_SYNTAX, "calibration.kv_type");
    BAD(m.engine = (enum asy_manifest_engine)0, ASY_ERR_SYNTAX, "engine");
    BAD(m.engine = (enum asy_manifest_engine)5, ASY_ERR_SYNTAX, "engine");
}

static void test_versions(void) {
    static const struct {
        const char *range, *version;
        bool runs;
    } cases[] = {
        {"0.5.0", "0.5.0", true},      {"0.5.0", "0.5", true},       {"0.5.0", "0.5.1", false},
        {"0.5", "0.5.9", true},        {"0.5", "0.6", false},        {"0.5", "0.4.9", false},
        {"0.5.1-0.7", "0.5.0", false}, {"0.5.1-0.7", "0.5.1", true}, {"0.5.1-0.7", "0.7.99", true},
        {"0.5.1-0.7", "0.8", false},   {"0.9-0.10", "0.10.3", true}, {"1", "1.2.3", true},
        {"8390", "8390", true},        {"0.5", "", false},           {"0.5", "0.5.x", false},
        {"0.5", "0.5.0.0", false},     {"0.5", "v0.5", false},
    };
    static const char *const bad[] = {"",        "-",       "1-",   "-1", "2-1",
                                      "1.2-1.1", "01",      "1..2", "1.", ".1",
                                      "1-2-3",   "1.2.3.4", "1 ",   "b1", "1234567890"};
    struct asy_manifest m = example(ASY_MANIFEST_LLAMA);
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        snprintf(m.llama_versions, sizeof m.llama_versions, "%s", cases[i].range);
        CHECK_OK(asy_manifest_check(&m, NULL));
        CHECK_U64(asy_manifest_runs_on(&m, cases[i].version), cases[i].runs);
    }
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        snprintf(m.llama_versions, sizeof m.llama_versions, "%s", bad[i]);
        check_field(&m, ASY_ERR_SYNTAX, "engine");
        CHECK(!asy_manifest_runs_on(&m, "1"));
    }
    m = example(ASY_MANIFEST_EXACT);
    CHECK(!asy_manifest_runs_on(&m, "0.5.0"));
}

/* ---- from files ---- */

static void test_gguf(void) {
    char dir[PATH_MAX], path[PATH_MAX + 16];
    struct asy_buf bytes;
    struct asy_gguf gguf, other;
    struct asy_manifest m, refused;
    struct asy_why why;
    struct asy_manifest_options o = {.name = "test-q4_1",
                                     .licence = "Apache-2.0",
                                     .llama_versions = "0.5",
                                     .calibration = ASY_MANIFEST_CPU};
    make_dir(dir);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    asy_buf_init(&bytes, 65536);
    gguf_make(&bytes, "{{ messages }}", 3);
    write_file(path, asy_buf_bytes(&bytes));
    CHECK_OK(asy_gguf_read(&gguf, path, &why));
    CHECK_OK(asy_manifest_from_gguf(&m, &gguf, "m.gguf", &o, &why));
    CHECK_STR(m.family, "llama");
    CHECK_STR(m.quantization, "Q4_1");
    CHECK_U64(m.context, 2048);
    CHECK_U64(m.vocab_count, 3);
    CHECK_U64(m.files[0].len, bytes.n);
    struct asy_hash sha = hash_of("{{ messages }}");
    CHECK(asy_hash_eq(&m.template, &sha));
    asy_sha256(&sha, asy_buf_bytes(&bytes));
    CHECK(asy_hash_eq(&m.files[0].sha256, &sha));
    CHECK_OK(asy_manifest_verify(&m, &gguf, &why));

#define DIFFERS(change, field)                                                                     \
    do {                                                                                           \
        other = gguf;                                                                              \
        change;                                                                                    \
        CHECK_ERR(asy_manifest_verify(&m, &other, &why), ASY_ERR_MISMATCH);                        \
        CHECK_STR(why.param, field);                                                               \
    } while (0)
    DIFFERS(other.file_len++, "files[0].bytes");
    DIFFERS(other.sha256.b[0] ^= 1, "files[0].sha256");
    DIFFERS(other.tokenizer.b[31] ^= 1, "tokenizer");
    DIFFERS(other.template.b[0] ^= 1, "template");
    DIFFERS(other.vocab_count++, "vocabulary");
    DIFFERS(other.context_train--, "context");
    struct asy_manifest echo;
    CHECK_OK(asy_manifest_echo(&echo, "echo", 8192, &why));
    CHECK_ERR(asy_manifest_verify(&echo, &gguf, &why), ASY_ERR_MISSING);

    other = gguf;
    other.file_type = 5; /* gone from llama.cpp */
    CHECK_ERR(asy_manifest_from_gguf(&refused, &other, "m.gguf", &o, &why), ASY_ERR_UNSUPPORTED);
    other.file_type = UINT32_MAX;
    CHECK_ERR(asy_manifest_from_gguf(&refused, &other, "m.gguf", &o, &why), ASY_ERR_UNSUPPORTED);
    CHECK_ERR(asy_manifest_from_gguf(&refused, &gguf, path, &o, &why), ASY_ERR_SYNTAX);
    o.licence = NULL;
    CHECK_ERR(asy_manifest_from_gguf(&refused, &gguf, "m.gguf", &o, &why), ASY_ERR_RANGE);

    gguf_make(&bytes, NULL, 3); /* no template */
    write_file(path, asy_buf_bytes(&bytes));
    o.licence = "Apache-2.0";
    CHECK_OK(asy_gguf_read(&gguf, path, &why));
    CHECK_OK(asy_manifest_from_gguf(&m, &gguf, "m.gguf", &o, &why));
    struct asy_buf text;
    asy_buf_init(&text, ASY_MAX_MANIFEST);
    CHECK_OK(asy_manifest_format(&text, &m));
    CHECK(strstr(asy_buf_cstr(&text), "template") == NULL);
    asy_buf_done(&text);
    asy_buf_done(&bytes);
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
}

static void test_echo(void) {
    struct asy_manifest a, b;
    struct asy_hash da, db;
    CHECK_OK(asy_manifest_echo(&a, "echo", 8192, NULL));
    CHECK_OK(asy_manifest_echo(&b, "echo", 8193, NULL));
    asy_manifest_digest(&da, &a);
    asy_manifest_digest(&db, &b);
    CHECK(!asy_hash_eq(&da, &db));
    CHECK_ERR(asy_manifest_echo(&a, "", 8192, NULL), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_manifest_echo(&a, NULL, 8192, NULL), ASY_ERR_RANGE);
    CHECK_ERR(asy_manifest_echo(&a, "echo", 0, NULL), ASY_ERR_RANGE);
}

int main(void) {
    test_vectors();
    test_round_trip();
    test_longest();
    test_engine_table();
    test_fields();
    test_versions();
    test_gguf();
    test_echo();
    return asy_test_end();
}
