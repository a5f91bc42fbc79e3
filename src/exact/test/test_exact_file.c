/* Model files: what is written is read, and what is not exactly a model file is refused. */
#include "crypto/crypto.h"
#include "exact/exact.h"

#include "random_model.h"

/* The checksum made right again, so that the checks behind it are reached. */
static void seal(uint8_t *file, size_t len) {
    struct asy_hash h;
    memset(file + 160, 0, 32);
    asy_sha256(&h, asy_bytes_of(file, len));
    memcpy(file + 160, h.b, 32);
}

static enum asy_err open_as(const uint8_t *file, size_t len) {
    struct asy_exact_model *m = NULL;
    struct asy_why why = {0};
    enum asy_err err = asy_exact_model_open(&m, asy_bytes_of(file, len), &why);
    CHECK((err == ASY_OK) == (m != NULL));
    CHECK((err == ASY_OK) == (why.text[0] == '\0'));
    asy_exact_model_free(m);
    return err;
}

static void test_read(const struct asy_exact_shape *s, struct asy_bytes file) {
    struct asy_exact_model *m = NULL;
    struct asy_why why = {0};
    CHECK_OK(asy_exact_model_open(&m, file, &why));
    const struct asy_exact_info *i = asy_exact_model_info(m);
    CHECK(i->layers == s->layers && i->dim == s->dim && i->inner == s->inner &&
          i->heads == s->heads && i->kv_heads == s->kv_heads && i->head_dim == s->head_dim &&
          i->vocab == s->vocab && i->positions == s->positions && i->window == s->window &&
          i->activation == s->activation && i->residual_bits == s->residual_bits &&
          i->tied == s->tied && i->post_norms == s->post_norms && i->qk_norms == s->qk_norms);
    CHECK(asy_bytes_eq(i->vocabulary, asy_bytes_cstr("vocab")) && i->recipe.n == 100);
    CHECK(i->source.b[2] == 3);
    /* a step reads all but header, rotations, the embedding's constants (its matrix is the head,
     * too) and texts */
    size_t ropes = s->ropes * (4 * (256 + s->positions / 256) * s->head_dim);
    size_t padded = (s->vocab + 63) / 64 * 64;
    CHECK(s->tied);
    CHECK_U64(i->step_len, file.n - 320 - ropes - 4 * padded - 64 - 128);
    struct asy_exact_config one = {
        .threads = 1, .slots = 1, .context = s->positions, .rows = 1, .logits_rows = 1};
    struct asy_exact_config two = one;
    two.slots = 2;
    CHECK_U64(asy_exact_memory(m, &two) - asy_exact_memory(m, &one), i->entry_len * s->positions);
    asy_exact_model_free(m);
}

/* Every byte of header and layer table changed, and a sample of the others: refused, whether the
 * checksum is wrong or was made right by somebody. EVERY=n in the environment takes every nth bit
 * only, for tools that make this slow. */
static void test_changes(const struct asy_exact_shape *s, uint8_t *file, size_t len) {
    const char *env = getenv("EVERY");
    uint64_t every = 1;
    if (env != NULL) {
        CHECK_OK(asy_bytes_to_u64(&every, asy_bytes_cstr(env)));
        CHECK(every > 0);
    }
    size_t head = 256 + 8 * s->layers, tried = 0, refused = 0;
    for (size_t i = 0; i < head; i++) {
        for (int k = 0; k < 8; k++) {
            if ((8 * i + (size_t)k) % every != 0) {
                continue;
            }
            tried++;
            file[i] ^= (uint8_t)(1 << k);
            CHECK(open_as(file, len) != ASY_OK);
            seal(file, len);
            /* may be allowed: other flags of the same length, hashes, texts' split */
            refused += open_as(file, len) != ASY_OK;
            file[i] ^= (uint8_t)(1 << k);
        }
    }
    CHECK(refused > tried / 2);
    seal(file, len);
    for (int i = 0; i < 300; i++) {
        size_t at = head + (size_t)(asy_test_random() % (len - head));
        file[at] ^= 0x10;
        CHECK_ERR(open_as(file, len), ASY_ERR_MISMATCH);
        file[at] ^= 0x10;
    }
    CHECK_OK(open_as(file, len));
    for (int i = 0; i < 100; i++) {
        CHECK(open_as(file, (size_t)(asy_test_random() % len)) != ASY_OK);
    }
}

static void set32(uint8_t *file, size_t len, size_t at, uint32_t v) {
    asy_le32_put(file + at, v);
    seal(file, len);
}

static void test_fields(uint8_t *file, size_t len) {
    static const struct {
        size_t at;
        uint32_t value;
        enum asy_err err;
    } cases[] = {
        {0, 0, ASY_ERR_SYNTAX},         {8, 2, ASY_ERR_UNSUPPORTED},
        {12, 31, ASY_ERR_UNSUPPORTED},  {16, 5, ASY_ERR_SYNTAX},
        {24, 0, ASY_ERR_RANGE},         {24, 257, ASY_ERR_SYNTAX},
        {28, 0, ASY_ERR_RANGE},         {28, 33, ASY_ERR_UNSUPPORTED},
        {28, 128, ASY_ERR_SYNTAX},      {32, 131104, ASY_ERR_RANGE},
        {36, 3, ASY_ERR_UNSUPPORTED},   {40, 5, ASY_ERR_RANGE},
        {44, 272, ASY_ERR_RANGE},       {48, 262145, ASY_ERR_RANGE},
        {52, 255, ASY_ERR_SYNTAX},      {56, 0, ASY_ERR_RANGE},
        {60, 0, ASY_ERR_RANGE},         {60, 5, ASY_ERR_RANGE},
        {64, 2, ASY_ERR_UNSUPPORTED},   {68, 25, ASY_ERR_RANGE},
        {72, 1, ASY_ERR_UNSUPPORTED},   {80, 1u << 30, ASY_ERR_TOO_LONG},
        {92, 1, ASY_ERR_UNSUPPORTED},   {192, 1, ASY_ERR_UNSUPPORTED},
        {256, 2, ASY_ERR_UNSUPPORTED},  {256, 0x0200, ASY_ERR_RANGE},
        {256, 0x100000, ASY_ERR_RANGE}, {260, 1, ASY_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        uint32_t old = asy_le32_get(file + cases[i].at);
        set32(file, len, cases[i].at, cases[i].value);
        CHECK_ERR(open_as(file, len), cases[i].err);
        set32(file, len, cases[i].at, old);
    }
    CHECK_OK(open_as(file, len));
}

/* Arrays: the first of each kind lies where the page says. */
static void test_numbers(const struct asy_exact_shape *s, uint8_t *file, size_t len) {
    size_t rope = 320, ropes = s->ropes * (4 * (256 + s->positions / 256) * s->head_dim);
    size_t embed = rope + ropes, padded = (s->vocab + 63) / 64 * 64;
    size_t m = embed + padded * s->dim, shift = m + 2 * padded;
    size_t head_m = shift + 2 * padded, norm = head_m + 4 * padded, qkv = norm + 64 + 4 * s->dim;
    const struct {
        size_t at;
        uint32_t value;
    } bad[] = {
        {300, 1}, /* a gap */
        {rope, 0x40000001},
        {rope, 0xbfffffff},
        {embed, 0x80},
        {m, 0x3fff},
        {m, 0xffff},
        {m + 2 * s->vocab, 0x4000},
        {shift + 2 * s->vocab, 1},
        {norm + 4, 0x80000000}, /* eps */
        {norm + 4, 0x04000000},
        {norm + 8, 65},
        {norm + 12, 1},
        {norm + 64, 0x800000},
        {norm + 64, 0xff800000},
        {qkv, 0x8000},
        {len - 1 - 3, 0x01000000}, /* behind the recipe */
    };
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        uint32_t old = asy_le32_get(file + bad[i].at);
        set32(file, len, bad[i].at, bad[i].value);
        if (open_as(file, len) != ASY_ERR_SYNTAX) {
            fprintf(stderr, "case %zu\n", i);
            CHECK(false);
        }
        set32(file, len, bad[i].at, old);
    }
    CHECK_OK(open_as(file, len));
}

int main(void) {
    struct asy_exact_shape shape = small_shape();
    struct asy_bytes made = random_model_file(&shape);
    uint8_t *file = (uint8_t *)(uintptr_t)made.p;
    test_read(&shape, made);
    test_fields(file, made.n);
    test_numbers(&shape, file, made.n);
    test_changes(&shape, file, made.n);
    asy_free(file);
    return asy_test_end();
}
