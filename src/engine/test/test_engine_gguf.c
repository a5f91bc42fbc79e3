/* The reader of GGUF heads, on files made here. */
#include "base/test.h"
#include "codec/codec.h"
#include "crypto/crypto.h"
#include "engine/engine.h"

static struct asy_buf file;

static void put_u32(uint32_t v) {
    uint8_t b[4];
    asy_le32_put(b, v);
    CHECK_OK(asy_buf_add(&file, b, 4));
}
static void put_u64(uint64_t v) {
    uint8_t b[8];
    asy_le64_put(b, v);
    CHECK_OK(asy_buf_add(&file, b, 8));
}
static void put_text(const char *s) {
    put_u64(strlen(s));
    CHECK_OK(asy_buf_add_str(&file, s));
}
static void put_head(uint32_t version, uint64_t records) {
    asy_buf_clear(&file);
    CHECK_OK(asy_buf_add_str(&file, "GGUF"));
    put_u32(version);
    put_u64(7); /* tensors */
    put_u64(records);
}
static void put_string(const char *key, const char *value) {
    put_text(key);
    put_u32(8);
    put_text(value);
}
static void put_number(const char *key, uint32_t value) {
    put_text(key);
    put_u32(4);
    put_u32(value);
}
static void put_tokens(void) {
    put_text("tokenizer.ggml.tokens");
    put_u32(9);
    put_u32(8);
    put_u64(3);
    put_text("<s>");
    put_text("a");
    put_text("");
}
static void put_scores(void) {
    put_text("tokenizer.ggml.scores");
    put_u32(9);
    put_u32(6);
    put_u64(3);
    put_u32(0);
    put_u32(1);
    put_u32(2);
}

static enum asy_err parse(struct asy_gguf *g) {
    return asy_gguf_parse(g, asy_buf_bytes(&file), NULL);
}

static void test_whole(void) {
    struct asy_gguf g, other;
    put_head(3, 8);
    put_number("toy.context_length", 2048); /* before the architecture is known */
    put_string("general.architecture", "toy");
    put_string("general.name", "A toy m\xc3\xb6"
                               "del");
    put_number("general.file_type", 3);
    put_string("tokenizer.chat_template", "{{ x }}");
    put_tokens();
    put_scores();
    put_number("some.thing", 1);
    CHECK_OK(parse(&g));
    CHECK_STR(g.architecture, "toy");
    CHECK_STR(g.name, "A toy m\xc3\xb6"
                      "del");
    CHECK_U64(g.context_train, 2048);
    CHECK_U64(g.vocab_count, 3);
    CHECK_U64(g.file_type, 3);
    struct asy_hash want;
    asy_sha256(&want, ASY_STR("{{ x }}"));
    CHECK(asy_hash_eq(&g.template, &want));
    /* the two tokenizer records, in the order of their keys, as written in engine.h */
    struct asy_buf whole = file;
    asy_buf_init(&file, 1000);
    put_scores();
    put_tokens();
    asy_sha256(&want, asy_buf_bytes(&file));
    asy_buf_done(&file);
    file = whole;
    CHECK(asy_hash_eq(&g.tokenizer, &want));

    /* cut off anywhere: more is asked for; what follows the records does not matter */
    for (size_t n = 0; n < file.n; n++) {
        CHECK_ERR(asy_gguf_parse(&other, asy_bytes_of(file.p, n), NULL), ASY_ERR_AGAIN);
    }
    CHECK_OK(asy_buf_add_str(&file, "tensors"));
    CHECK_OK(parse(&other));
    CHECK_MEM(&g.tokenizer, &other.tokenizer, 32);

    /* the same tokenizer in another quantization: another order, no template */
    put_head(2, 5);
    put_scores();
    put_number("general.file_type", 15);
    put_tokens();
    put_number("toy.context_length", 2048);
    put_string("general.architecture", "toy");
    CHECK_OK(parse(&other));
    CHECK_MEM(&g.tokenizer, &other.tokenizer, 32);
    CHECK(asy_hash_is_zero(&other.template));
    CHECK_STR(other.name, "");
}

static void test_refused(void) {
    struct asy_gguf g;
    put_head(3, 2); /* no context length */
    put_string("general.architecture", "toy");
    put_tokens();
    CHECK_ERR(parse(&g), ASY_ERR_MISSING);
    put_head(3, 3); /* another architecture's */
    put_string("general.architecture", "toy");
    put_number("llama.context_length", 2048);
    put_tokens();
    CHECK_ERR(parse(&g), ASY_ERR_MISSING);
    put_head(3, 4);
    put_string("general.architecture", "toy");
    put_number("toy.context_length", 2048);
    put_tokens();
    put_tokens();
    CHECK_ERR(parse(&g), ASY_ERR_SYNTAX);
    put_head(4, 0);
    CHECK_ERR(parse(&g), ASY_ERR_UNSUPPORTED);
    put_head(0x03000000, 0); /* big-endian */
    CHECK_ERR(parse(&g), ASY_ERR_UNSUPPORTED);
    put_head(3, 65537);
    CHECK_ERR(parse(&g), ASY_ERR_TOO_LONG);
    put_head(3, 1);
    put_text("key");
    put_u32(13);
    CHECK_ERR(parse(&g), ASY_ERR_SYNTAX);
    put_head(3, 1);
    put_text("key");
    put_u32(9);
    put_u32(9); /* arrays of arrays exist in no model */
    put_u64(1);
    CHECK_ERR(parse(&g), ASY_ERR_UNSUPPORTED);
    put_head(3, 1);
    put_text("key");
    put_u32(9);
    put_u32(10);
    put_u64(UINT64_MAX / 4); /* times 8 bytes */
    CHECK_ERR(parse(&g), ASY_ERR_SYNTAX);
    put_head(3, 1);
    put_u64(UINT64_MAX);
    CHECK_ERR(parse(&g), ASY_ERR_AGAIN);
    CHECK_ERR(asy_gguf_parse(&g, ASY_STR("GGML nonsense"), NULL), ASY_ERR_SYNTAX);
}

/* ---- whole files ---- */

static void put_tensor(const char *name, uint64_t cols, uint64_t rows, uint64_t offset) {
    put_text(name);
    put_u32(2);
    put_u64(cols);
    put_u64(rows);
    put_u32(0); /* F32 */
    put_u64(offset);
}

/* Five keys, two tensors of 3 x 2 and 1 x 1 numbers, aligned to 64 bytes. */
static void put_file(void) {
    asy_buf_clear(&file);
    CHECK_OK(asy_buf_add_str(&file, "GGUF"));
    put_u32(3);
    put_u64(2);
    put_u64(5);
    put_string("general.architecture", "toy");
    put_number("general.alignment", 64);
    put_text("toy.heads"); /* one for each layer, all the same */
    put_u32(9);
    put_u32(5);
    put_u64(3);
    put_u32(4);
    put_u32(4);
    put_u32(4);
    put_text("toy.eps");
    put_u32(6);
    put_u32(0x3f000000);
    put_text("toy.flags");
    put_u32(9);
    put_u32(7);
    put_u64(3);
    CHECK_OK(asy_buf_add(&file, "\1\0\1", 3));
    put_tensor("a", 3, 2, 0);
    put_tensor("b", 1, 1, 64);
    while (file.n % 64 != 0) {
        CHECK_OK(asy_buf_add_u8(&file, 0));
    }
    for (uint32_t i = 0; i < 16; i++) {
        put_u32(100 + i);
    }
    put_u32(7);
}

static void test_file(void) {
    struct asy_gguf_file *f;
    struct asy_bytes text;
    uint32_t n;
    float v;
    put_file();
    CHECK_OK(asy_gguf_open(&f, asy_buf_bytes(&file), NULL));
    CHECK_U64(asy_gguf_keys(f), 5);
    CHECK(asy_bytes_eq(asy_gguf_key_at(f, 3), ASY_STR("toy.eps")));
    CHECK_OK(asy_gguf_u32(&n, f, "toy.heads"));
    CHECK_U64(n, 4);
    CHECK_OK(asy_gguf_u32(&n, f, "general.alignment"));
    CHECK_U64(n, 64);
    CHECK_OK(asy_gguf_f32(&v, f, "toy.eps"));
    CHECK(v == 0.5f);
    CHECK_OK(asy_gguf_text(&text, f, "general.architecture"));
    CHECK(asy_bytes_eq(text, ASY_STR("toy")));
    CHECK_OK(asy_gguf_bools(&text, f, "toy.flags"));
    CHECK(text.n == 3 && text.p[0] == 1 && text.p[1] == 0 && text.p[2] == 1);
    CHECK_ERR(asy_gguf_u32(&n, f, "toy.eps"), ASY_ERR_TYPE);
    CHECK_ERR(asy_gguf_u32(&n, f, "toy.flags"), ASY_ERR_TYPE); /* not all the same */
    CHECK_ERR(asy_gguf_f32(&v, f, "toy.heads"), ASY_ERR_TYPE);
    CHECK_ERR(asy_gguf_text(&text, f, "toy.eps"), ASY_ERR_TYPE);
    CHECK_ERR(asy_gguf_bools(&text, f, "toy.heads"), ASY_ERR_TYPE);
    CHECK_ERR(asy_gguf_u32(&n, f, "toy.head"), ASY_ERR_NOT_FOUND);
    CHECK_U64(asy_gguf_tensors(f), 2);
    const struct asy_gguf_tensor *a = asy_gguf_tensor_at(f, 0), *b = asy_gguf_tensor_at(f, 1);
    CHECK(a->dims == 2 && a->dim[0] == 3 && a->dim[1] == 2 && a->dim[2] == 1 && a->type == 0);
    CHECK(a->data.n == 68 && asy_le32_get(a->data.p) == 100);
    CHECK(asy_bytes_eq(b->name, ASY_STR("b")) && b->data.n == 4 && asy_le32_get(b->data.p) == 7);

    /* the same keys without tensors */
    struct asy_buf bare;
    struct asy_gguf_file *g;
    asy_buf_init(&bare, 10000);
    CHECK_OK(asy_gguf_without_tensors(&bare, f));
    CHECK_OK(asy_gguf_open(&g, asy_buf_bytes(&bare), NULL));
    CHECK_U64(asy_gguf_tensors(g), 0);
    CHECK_U64(asy_gguf_keys(g), 5);
    CHECK_OK(asy_gguf_f32(&v, g, "toy.eps"));
    asy_gguf_close(g);
    asy_buf_done(&bare);
    asy_gguf_close(f);
    asy_gguf_close(NULL);

    /* cut off anywhere up to the last tensor's first byte */
    for (size_t i = 0; i < file.n - 4; i++) {
        CHECK_ERR(asy_gguf_open(&f, asy_bytes_of(file.p, i), NULL), ASY_ERR_SYNTAX);
    }
    put_file();
    asy_le32_put(file.p + 8, 65537);
    CHECK_ERR(asy_gguf_open(&f, asy_buf_bytes(&file), NULL), ASY_ERR_TOO_LONG);
    asy_buf_clear(&file);
    CHECK_OK(asy_buf_add_str(&file, "GGUF"));
    put_u32(3);
    put_u64(1);
    put_u64(0);
    size_t head = file.n;
    put_tensor("a", UINT64_MAX / 2, 3, 0);
    CHECK_ERR(asy_gguf_open(&f, asy_buf_bytes(&file), NULL), ASY_ERR_RANGE);
    file.n = head;
    put_tensor("a", 0, 3, 0);
    CHECK_ERR(asy_gguf_open(&f, asy_buf_bytes(&file), NULL), ASY_ERR_RANGE);
    file.n = head;
    put_tensor("a", 1, 1, UINT64_MAX - 31);
    CHECK_ERR(asy_gguf_open(&f, asy_buf_bytes(&file), NULL), ASY_ERR_SYNTAX);
    file.n = head;
    put_text("a");
    put_u32(5);
    CHECK_ERR(asy_gguf_open(&f, asy_buf_bytes(&file), NULL), ASY_ERR_RANGE);
}

int main(void) {
    asy_buf_init(&file, 100000);
    test_whole();
    test_refused();
    test_file();
    asy_buf_done(&file);
    return asy_test_end();
}
