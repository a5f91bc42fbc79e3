/* Traces and rows: one root whatever computes it, every leaf opens to it, and any change shows. */
#include "crypto/crypto.h"
#include "exact/exact.h"

#include "random_model.h"

static struct asy_hash climb(const uint8_t *leaf, uint64_t index, const struct asy_hash *path,
                             uint32_t depth) {
    struct asy_hash h;
    asy_keccak256(&h, asy_bytes_of(leaf, ASY_EXACT_LEAF));
    for (uint32_t d = 0; d < depth; d++, index /= 2) {
        uint8_t both[64];
        memcpy(both + 32 * (index & 1), h.b, 32);
        memcpy(both + 32 * (~index & 1), path[d].b, 32);
        asy_keccak256(&h, asy_bytes_of(both, sizeof both));
    }
    return h;
}

struct rig {
    struct asy_bytes file;
    struct asy_exact_model *model;
    struct asy_exact_job job;
    uint32_t prompt[64], output[64];
};

static void rig_init(struct rig *r, const struct asy_exact_shape *shape) {
    *r = (struct rig){.file = random_model_file(shape)};
    CHECK_OK(asy_exact_model_open(&r->model, r->file, NULL));
    for (int i = 0; i < 64; i++) {
        r->prompt[i] = (uint32_t)(asy_test_random() % shape->vocab);
        r->output[i] = (uint32_t)(asy_test_random() % shape->vocab);
    }
    r->job = (struct asy_exact_job){
        .prompt_ids = r->prompt,
        .output_ids = r->output,
        .prompt_count = 21,
        .output_count = 6,
        .sampling = {
            .temperature_milli = 800, .top_k = 5, .top_p_ppm = 900000, .min_p_ppm = 10000}};
}

static void rig_done(struct rig *r) {
    asy_exact_model_free(r->model);
    asy_free((void *)(uintptr_t)r->file.p);
}

static struct asy_exact_trace *trace_of(const struct rig *r, struct asy_exact **ret_x,
                                        enum asy_exact_kernel kernel, uint32_t threads,
                                        uint32_t rows) {
    struct asy_exact_trace *t = NULL;
    struct asy_why why = {0};
    struct asy_exact_config c = {.kernel = kernel,
                                 .threads = threads,
                                 .slots = 1,
                                 .context = 100,
                                 .rows = rows,
                                 .logits_rows = rows};
    CHECK_OK(asy_exact_new(ret_x, r->model, &c, &why));
    CHECK_OK(asy_exact_trace_new(&t, *ret_x, &r->job, NULL, NULL, &why));
    return t;
}

static struct asy_hash root_of(const struct rig *r, enum asy_exact_kernel kernel, uint32_t threads,
                               uint32_t rows) {
    struct asy_exact *x;
    struct asy_hash root = {{0}};
    struct asy_exact_trace *t = trace_of(r, &x, kernel, threads, rows);
    asy_exact_trace_root(t, &root);
    asy_exact_trace_free(t);
    asy_exact_free(x);
    return root;
}

static void test_openings(const struct asy_exact_shape *shape) {
    struct rig r;
    struct asy_exact *x;
    struct asy_hash root, path[ASY_EXACT_MAX_TRACE_PATH];
    uint8_t leaf[ASY_EXACT_LEAF];
    rig_init(&r, shape);
    struct asy_exact_trace *t = trace_of(&r, &x, ASY_EXACT_SCALAR, 1, 7);
    asy_exact_trace_root(t, &root);
    struct asy_exact_trace_shape s =
        asy_exact_trace_shape(r.model, r.job.prompt_count + r.job.output_count - 1);
    uint32_t depth = s.position_bits + s.layer_bits + s.leaf_bits;
    for (int i = 0; i < 60; i++) {
        uint64_t index = asy_test_random() & (((uint64_t)1 << depth) - 1);
        CHECK_OK(asy_exact_trace_open(t, index, leaf, path));
        struct asy_hash got = climb(leaf, index, path, depth);
        CHECK(asy_hash_eq(&got, &root));
        leaf[5] ^= 1;
        got = climb(leaf, index, path, depth);
        CHECK(!asy_hash_eq(&got, &root));
    }
    CHECK_ERR(asy_exact_trace_open(t, (uint64_t)1 << depth, leaf, path), ASY_ERR_RANGE);
    /* the token of the last position but one: leaf 3 of the choice, behind head_q */
    uint64_t slot = (uint64_t)shape->layers + 1, parts = 1;
    while (parts * 128 < shape->dim) {
        parts *= 2;
    }
    uint64_t at = ((uint64_t)(r.job.prompt_count + 3) << s.layer_bits | slot) << s.leaf_bits;
    CHECK_OK(asy_exact_trace_open(t, at + 4 * parts + 3, leaf, path));
    CHECK_U64(asy_le32_get(leaf), r.output[4]);
    /* prompt positions have no choice */
    at = ((uint64_t)(r.job.prompt_count - 2) << s.layer_bits | slot) << s.leaf_bits;
    CHECK_OK(asy_exact_trace_open(t, at + 4 * parts + 3, leaf, path));
    CHECK_U64(asy_le32_get(leaf), 0);
    asy_exact_trace_free(t);
    asy_exact_free(x);

    static const enum asy_exact_kernel kernels[] = {ASY_EXACT_SCALAR, ASY_EXACT_AVX2,
                                                    ASY_EXACT_AVX512, ASY_EXACT_NEON};
    for (size_t k = 0; k < ASY_COUNT(kernels); k++) {
        for (uint32_t rows = 1; rows <= 33 && asy_exact_kernel_runs(kernels[k]); rows += 16) {
            struct asy_hash got = root_of(&r, kernels[k], 1 + rows % 3, rows);
            CHECK(asy_hash_eq(&got, &root));
        }
    }
    r.prompt[0] = (r.prompt[0] + 1) % shape->vocab;
    struct asy_hash other = root_of(&r, ASY_EXACT_AUTO, 1, 8);
    CHECK(!asy_hash_eq(&other, &root));
    rig_done(&r);
}

/* The logits behind each position, as the executor gives them. */
static int32_t *logits_of(const struct rig *r, uint32_t vocab) {
    struct asy_exact *x;
    struct asy_exact_config c = {ASY_EXACT_SCALAR, 1, 1, 100, 1, 1};
    uint32_t count = r->job.prompt_count + r->job.output_count - 1;
    int32_t *all = asy_alloc((size_t)count * vocab * sizeof *all);
    CHECK_OK(asy_exact_new(&x, r->model, &c, NULL));
    for (uint32_t p = 0; p < count; p++) {
        const int32_t *logits;
        uint32_t id = p < r->job.prompt_count ? r->prompt[p] : r->output[p - r->job.prompt_count];
        struct asy_exact_row row = {id, 0, p, true};
        CHECK_OK(asy_exact_step(x, &logits, &row, 1));
        memcpy(all + (size_t)p * vocab, logits, vocab * sizeof *all);
    }
    asy_exact_free(x);
    return all;
}

/* How many ids come before this one in order of their logits. */
static uint32_t rank(const int32_t *logits, uint32_t vocab, uint32_t id) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        n += logits[i] > logits[id] || (logits[i] == logits[id] && i < id);
    }
    return n;
}

/* The words of a choice are over the logits that bias and penalties leave. */
static void test_adjusted(void) {
    struct asy_exact_shape shape = small_shape();
    struct rig r;
    struct asy_exact *x;
    struct asy_hash path[ASY_EXACT_MAX_TRACE_PATH], plain, root, got;
    uint8_t leaf[ASY_EXACT_LEAF];
    shape.tied = false;
    rig_init(&r, &shape);
    uint32_t vocab = shape.vocab, prompt = r.job.prompt_count;
    for (uint32_t i = 0; i < 12; i++) { /* some twice, also across the segments */
        r.prompt[prompt - 12 + i] = i % 5;
        r.output[i] = i % 7;
    }
    r.job.output_count = 12;
    r.job.first = 12;
    plain = root_of(&r, ASY_EXACT_AUTO, 1, 8);
    const struct asy_sample_bias bias[3] = {{2, ASY_SAMPLE_BAN_MILLI}, {9, 9000}, {11, -500}};
    r.job.bias = bias;
    r.job.bias_count = 3;
    r.job.sampling.logit_bias.b[0] = 1; /* the terms bind it */
    r.job.sampling.frequency_penalty_milli = 800;
    r.job.sampling.repeat_penalty_milli = 1300;
    root = root_of(&r, ASY_EXACT_AUTO, 1, 1);
    CHECK(!asy_hash_eq(&root, &plain));
    for (uint32_t rows = 2; rows <= 32; rows *= 2) {
        got = root_of(&r, ASY_EXACT_AUTO, 1 + rows % 3, rows);
        CHECK(asy_hash_eq(&got, &root));
    }
    int32_t *logits = logits_of(&r, vocab);
    struct asy_exact_trace *t = trace_of(&r, &x, ASY_EXACT_AUTO, 2, 8);
    struct asy_exact_trace_shape s =
        asy_exact_trace_shape(r.model, prompt + r.job.output_count - 1);
    uint32_t depth = s.position_bits + s.layer_bits + s.leaf_bits;
    for (uint32_t k = 0; k < r.job.output_count; k++) {
        uint32_t n = k * 5 % r.job.output_count; /* forwards and backwards */
        uint64_t slot = (uint64_t)shape.layers + 1;
        uint64_t at = (((uint64_t)(prompt - 1 + n) << s.layer_bits | slot) << s.leaf_bits) + 4;
        struct asy_sample_count counts[32];
        size_t len = 0;
        int32_t *own = logits + (size_t)(prompt - 1 + n) * vocab;
        for (uint32_t i = 0; i < 12 + n; i++) {
            asy_sample_count_add(counts, &len,
                                 i < 12 ? r.prompt[prompt - 12 + i] : r.output[i - 12]);
        }
        CHECK_OK(asy_sample_adjust(own, vocab, &r.job.sampling, bias, 3, counts, len));
        CHECK_OK(asy_exact_trace_open(t, at, leaf, path));
        got = climb(leaf, at, path, depth);
        CHECK(asy_hash_eq(&got, &root));
        for (uint32_t i = 0; i < r.job.sampling.top_k; i++) {
            CHECK_U64(rank(own, vocab, asy_le32_get(leaf + 4 * (size_t)i)), i);
        }
        CHECK_OK(asy_exact_trace_open(t, at + 2, leaf, path));
        CHECK_U64(rank(own, vocab, (uint32_t)asy_le64_get(leaf)), 0);
        CHECK_U64(rank(own, vocab, (uint32_t)asy_le64_get(leaf + 8)), r.job.sampling.top_k - 1);
    }
    asy_exact_trace_free(t);
    asy_exact_free(x);
    asy_free(logits);

    /* all ids but three are banned: the list ends with the third */
    struct asy_sample_bias most[ASY_MAX_BIAS];
    for (uint32_t i = 0; i < vocab; i++) {
        most[i] = (struct asy_sample_bias){i, i % 100 == 7 ? 1 : ASY_SAMPLE_BAN_MILLI};
    }
    r.job.bias = most;
    r.job.bias_count = vocab;
    t = trace_of(&r, &x, ASY_EXACT_AUTO, 1, 8);
    uint64_t choice = (((uint64_t)prompt << s.layer_bits | (shape.layers + 1)) << s.leaf_bits) + 4;
    CHECK_OK(asy_exact_trace_open(t, choice, leaf, path));
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_U64(asy_le32_get(leaf + 4 * (size_t)i) % 100, 7);
    }
    CHECK(asy_le32_get(leaf + 12) == 0 && asy_le32_get(leaf + 16) == 0);
    CHECK_OK(asy_exact_trace_open(t, choice + 2, leaf, path));
    CHECK_U64(asy_le64_get(leaf + 8) % 100, 7);
    asy_exact_trace_free(t);
    for (uint32_t i = 0; i < vocab; i++) { /* all: there is nothing to say */
        most[i].milli = ASY_SAMPLE_BAN_MILLI;
    }
    CHECK_OK(asy_exact_trace_new(&t, x, &r.job, NULL, NULL, NULL));
    CHECK_OK(asy_exact_trace_open(t, choice + 2, leaf, path));
    CHECK(asy_le64_get(leaf) == 0 && asy_le64_get(leaf + 8) == 0 && asy_le64_get(leaf + 16) == 0);
    asy_exact_trace_free(t);

    most[vocab - 1].id = vocab;
    CHECK_ERR(asy_exact_trace_new(&t, x, &r.job, NULL, NULL, NULL), ASY_ERR_RANGE);
    r.job.bias_count = 0;
    CHECK_ERR(asy_exact_trace_new(&t, x, &r.job, NULL, NULL, NULL), ASY_ERR_RANGE);
    r.job.bias_count = 3;
    r.job.bias = bias;
    r.job.first = prompt;
    CHECK_ERR(asy_exact_trace_new(&t, x, &r.job, NULL, NULL, NULL), ASY_ERR_RANGE);
    asy_exact_free(x);
    rig_done(&r);
}

static void test_refusals(void) {
    struct asy_exact_shape shape = small_shape();
    struct rig r;
    struct asy_exact *x;
    struct asy_exact_trace *t;
    struct asy_exact_config c = {ASY_EXACT_AUTO, 1, 1, 26, 4, 4};
    rig_init(&r, &shape);
    CHECK_OK(asy_exact_new(&x, r.model, &c, NULL));
    CHECK_OK(asy_exact_trace_new(&t, x, &r.job, NULL, NULL, NULL));
    asy_exact_trace_free(t);
#define REFUSED(change)                                                                            \
    do {                                                                                           \
        struct asy_exact_job old = r.job;                                                          \
        change;                                                                                    \
        CHECK_ERR(asy_exact_trace_new(&t, x, &r.job, NULL, NULL, NULL), ASY_ERR_RANGE);            \
        r.job = old;                                                                               \
    } while (0)
    REFUSED(r.job.prompt_count = 22);
    REFUSED(r.job.prompt_count = 0);
    REFUSED(r.job.output_count = 0);
    REFUSED(r.job.sampling.top_p_ppm = 1000001);
    r.output[3] = shape.vocab;
    REFUSED(r.job.first = 1);
    asy_exact_free(x);
    rig_done(&r);
}

static void test_job(void) {
    struct rig r;
    struct asy_exact_shape shape = small_shape();
    rig_init(&r, &shape);
    struct asy_hash weights = {{1}}, output = {{2}}, want, got;
    asy_exact_job_hash(&want, &r.job, &weights, &output);
#define DIFFERS(change)                                                                            \
    do {                                                                                           \
        struct asy_exact_job old = r.job;                                                          \
        change;                                                                                    \
        asy_exact_job_hash(&got, &r.job, &weights, &output);                                       \
        CHECK(!asy_hash_eq(&got, &want));                                                          \
        r.job = old;                                                                               \
    } while (0)
    DIFFERS(r.job.seed[31]++);
    DIFFERS(r.job.sampling.top_k++);
    DIFFERS(weights.b[31]++);
    DIFFERS(output.b[31]++);
    rig_done(&r);
}

/* Any number of the model that changes changes the root; paths lead to it. */
static void test_rows(void) {
    struct asy_exact_shape shape = random_shape();
    struct rig r;
    rig_init(&r, &shape);
    struct asy_exact_rows *rows = asy_exact_rows_new(r.model, 2);
    struct asy_hash root = asy_exact_rows_root(rows);
    CHECK(asy_hash_eq(&root, &asy_exact_model_info(r.model)->weights));
    uint32_t depth = asy_exact_rows_depth(rows);
    struct asy_hash row, path[40], first = {{0}};
    for (int i = 0; i < 50; i++) {
        uint64_t index = asy_test_random() & (((uint64_t)1 << depth) - 1);
        CHECK_OK(asy_exact_rows_path(rows, &row, path, index));
        for (uint32_t d = 0; d < depth; d++, index /= 2) {
            uint8_t both[64];
            memcpy(both + 32 * (index & 1), row.b, 32);
            memcpy(both + 32 * (~index & 1), path[d].b, 32);
            asy_keccak256(&row, asy_bytes_of(both, sizeof both));
        }
        CHECK(i == 0 || asy_hash_eq(&row, &first));
        first = row;
    }
    CHECK_ERR(asy_exact_rows_path(rows, &row, path, (uint64_t)1 << depth), ASY_ERR_RANGE);
    asy_exact_rows_free(rows);
    /* behind header and layer table, up to the texts, but for rows that only fill a tile */
    uint8_t *file = (uint8_t *)(uintptr_t)r.file.p;
    uint32_t changed = 0;
    for (int i = 0; i < 40; i++) {
        size_t at = 320 + (size_t)(asy_test_random() % (r.file.n - 640));
        file[at] ^= 2;
        rows = asy_exact_rows_new(r.model, 1);
        struct asy_hash got = asy_exact_rows_root(rows);
        changed += !asy_hash_eq(&got, &root);
        asy_exact_rows_free(rows);
        file[at] ^= 2;
    }
    CHECK(changed >= 20);
    rig_done(&r);
}

int main(void) {
    struct asy_exact_shape shape = small_shape();
    test_openings(&shape);
    shape = random_shape();
    test_openings(&shape);
    test_adjusted();
    test_refusals();
    test_job();
    test_rows();
    return asy_test_end();
}
