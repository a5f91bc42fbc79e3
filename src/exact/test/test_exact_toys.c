/* Whole models, jobs and traces against schema/vectors/exact/toys.json, which an independent model
 * made from docs/protocol/exact.md alone. Runs in the repository's root. */
#include <jansson.h>

#include "base/test.h"
#include "exact/exact.h"

static int64_t number(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    ASY_ASSERT(json_is_integer(v));
    return json_integer_value(v);
}
static uint32_t u32(const json_t *o, const char *name) { return (uint32_t)number(o, name); }

static size_t hex(uint8_t *ret, size_t cap, const json_t *v) {
    const char *s = json_string_value(v);
    size_t n = strlen(s) / 2;
    ASY_ASSERT(n <= cap);
    for (size_t i = 0; i < n; i++) {
        unsigned byte = 0;
        for (int k = 0; k < 2; k++) {
            char c = s[2 * i + (size_t)k];
            byte = byte * 16 + (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        ret[i] = (uint8_t)byte;
    }
    return n;
}
static struct asy_hash hash_of(const json_t *o, const char *name) {
    struct asy_hash h;
    ASY_ASSERT(hex(h.b, sizeof h.b, json_object_get(o, name)) == 32);
    return h;
}

/* ---- making a toy: exact.md section 11 ---- */

struct toy {
    const json_t *json;
    struct asy_exact_shape shape;
    struct asy_exact_writer *w;
    uint64_t seed;
};

static uint64_t next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void linear(const struct toy *t, enum asy_exact_linear linear, uint32_t layer,
                   uint64_t start, uint32_t rows, uint32_t cols, int16_t s) {
    int8_t w[512];
    ASY_ASSERT(cols <= sizeof w);
    for (uint32_t n = 0; n < rows; n++) {
        uint64_t state = (t->seed << 32) + (start + n);
        int16_t m = (int16_t)(16384 + next(&state) % 16384), em = 0;
        int32_t bias = linear == ASY_EXACT_QKV ? (int32_t)(next(&state) % 16384) - 8192 : 0;
        if (linear == ASY_EXACT_EMBED) {
            em = (int16_t)(16384 + next(&state) % 16384);
        }
        for (uint32_t k = 0; k < cols; k++) {
            w[k] = (int8_t)((int)(next(&state) % 255) - 127);
        }
        if (linear == ASY_EXACT_EMBED) {
            asy_exact_write_row(t->w, ASY_EXACT_EMBED, 0, n, w, em, 5, 0);
            if (t->shape.tied) {
                asy_exact_write_row(t->w, ASY_EXACT_HEAD, 0, n, NULL, m, s, 0);
            }
        } else {
            asy_exact_write_row(t->w, linear, layer, n, w, m, s, bias);
        }
    }
}

static void norm(const struct toy *t, enum asy_exact_norm norm, uint32_t layer, uint64_t start,
                 uint32_t count, bool out) {
    int32_t gain[512];
    for (uint32_t g = 0; 32 * g < count; g++) {
        uint64_t state = (t->seed << 32) + (start + g);
        for (uint32_t i = 32 * g; i < count && i < 32 * g + 32; i++) {
            uint64_t u = next(&state);
            int32_t v = (int32_t)(2097152 + u % 4194304);
            gain[i] = u >> 63 != 0 ? -v : v;
        }
    }
    asy_exact_write_norm(t->w, norm, layer, gain, out ? 1 << 20 : 4096, out ? 36 : 0);
}

static uint64_t root(uint64_t v) { /* rounded down; v < 2^61 */
    uint64_t r = 0;
    for (uint64_t b = (uint64_t)1 << 30; b != 0; b /= 2) {
        r = (r + b) * (r + b) <= v ? r + b : r;
    }
    return r;
}

static void rotation(const struct toy *t, uint32_t table) {
    int32_t pairs[ASY_EXACT_MAX_HEAD_DIM];
    for (uint32_t e = 0; e < 256 + (t->shape.positions + 255) / 256; e++) {
        for (uint32_t i = 0; i < t->shape.head_dim / 2; i++) {
            uint64_t v = (uint64_t)(table + 1) * (e + 1) * (i + 1) * 2654435761u % (1u << 31);
            int64_t sine = (int64_t)v - (1 << 30);
            pairs[2 * i] = (int32_t)root(((uint64_t)1 << 60) - (uint64_t)(sine * sine));
            pairs[2 * i + 1] = (int32_t)sine;
        }
        asy_exact_write_rope(t->w, table, e, pairs);
    }
}

static uint64_t place(const struct toy *t, const char *what) {
    return (uint64_t)number(json_object_get(t->json, "starts"), what);
}

static void layer(const struct toy *t, uint32_t l) {
    const struct asy_exact_shape *s = &t->shape;
    const json_t *starts = json_object_get(t->json, "layer_starts");
    uint32_t queries = s->heads * s->head_dim, keys = s->kv_heads * s->head_dim;
    uint64_t base = (uint64_t)l << u32(t->json, "layer_bits");
    uint8_t wide = s->layer[l].wide;
#define AT(name)         (base + (uint64_t)number(starts, name))
#define SHIFT(s, linear) (int16_t)((s) + (wide >> (linear)&1 ? 4 : 0))
    linear(t, ASY_EXACT_QKV, l, AT("qkv"), queries + 2 * keys, s->dim, SHIFT(26, ASY_EXACT_QKV));
    linear(t, ASY_EXACT_OUT, l, AT("out"), s->dim, queries, SHIFT(17, ASY_EXACT_OUT));
    linear(t, ASY_EXACT_GATE_UP, l, AT("gate_up"), 2 * s->inner, s->dim,
           SHIFT(26, ASY_EXACT_GATE_UP));
    linear(t, ASY_EXACT_DOWN, l, AT("down"), s->dim, s->inner, SHIFT(17, ASY_EXACT_DOWN));
    norm(t, ASY_EXACT_NORM_ATTN, l, AT("attn norm"), s->dim, false);
    norm(t, ASY_EXACT_NORM_FFN, l, AT("ffn norm"), s->dim, false);
    if (s->qk_norms) {
        norm(t, ASY_EXACT_NORM_Q, l, AT("q norm"), s->head_dim, true);
        norm(t, ASY_EXACT_NORM_K, l, AT("k norm"), s->head_dim, true);
    }
    if (s->post_norms) {
        norm(t, ASY_EXACT_NORM_ATTN_POST, l, AT("attn_post norm"), s->dim, true);
        norm(t, ASY_EXACT_NORM_FFN_POST, l, AT("ffn_post norm"), s->dim, true);
    }
}

static struct asy_bytes toy_file(const json_t *json) {
    uint32_t flags = u32(json, "flags");
    struct toy t = {.json = json, .seed = (uint64_t)number(json, "seed")};
    struct asy_exact_shape *s = &t.shape;
    *s = (struct asy_exact_shape){
        .layers = u32(json, "layers"),
        .dim = u32(json, "dim"),
        .inner = u32(json, "inner"),
        .heads = u32(json, "heads"),
        .kv_heads = u32(json, "kv_heads"),
        .head_dim = u32(json, "head_dim"),
        .vocab = u32(json, "vocab"),
        .positions = u32(json, "positions"),
        .window = u32(json, "window"),
        .ropes = u32(json, "ropes"),
        .activation = (enum asy_exact_activation)u32(json, "activation"),
        .residual_bits = u32(json, "residual_bits"),
        .tied = flags & 1,
        .post_norms = flags & 2,
        .qk_norms = flags & 4,
        .head_wide = flags & 8,
    };
    for (uint32_t l = 0; l < s->layers; l++) {
        const json_t *row = json_array_get(json_object_get(json, "layer_rows"), l);
        s->layer[l] = (struct asy_exact_layer_shape){.window = number(row, "window") != 0,
                                                     .rope = (uint8_t)number(row, "rope"),
                                                     .wide = (uint8_t)number(row, "wide"),
                                                     .bias = 1 << ASY_EXACT_QKV};
    }
    uint64_t len = 0;
    CHECK_OK(asy_exact_file_len(&len, s, NULL));
    uint8_t *file = asy_alloc_aligned(len, 64);
    CHECK_OK(asy_exact_writer_new(&t.w, s, file, NULL));
    for (uint32_t l = 0; l < s->layers; l++) {
        layer(&t, l);
    }
    int16_t head = (int16_t)(s->head_wide ? 29 : 25);
    linear(&t, ASY_EXACT_EMBED, 0, place(&t, "embedding"), s->vocab, s->dim, head);
    if (!s->tied) {
        linear(&t, ASY_EXACT_HEAD, 0, place(&t, "head"), s->vocab, s->dim, head);
    }
    norm(&t, ASY_EXACT_NORM_FINAL, 0, place(&t, "final norm"), s->dim, false);
    for (uint32_t r = 0; r < s->ropes; r++) {
        rotation(&t, r);
    }
    struct asy_hash source = {{0}};
    asy_exact_writer_finish(t.w, &source, asy_bytes_of(NULL, 0), asy_bytes_of(NULL, 0), 1);
    return asy_bytes_of(file, len);
}

/* ---- checking ---- */

static uint32_t ids_of(uint32_t *ret, const json_t *list) {
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) { ret[i] = (uint32_t)json_integer_value(v); }
    return (uint32_t)json_array_size(list);
}

static void check_logits(struct asy_exact *x, const json_t *run, const struct asy_exact_job *job) {
    const json_t *want = json_object_get(run, "logits");
    uint32_t vocab = asy_exact_model_info(asy_exact_model_of(x))->vocab, seen = 0;
    for (uint32_t p = 0; p < u32(run, "positions"); p++) {
        uint32_t id =
            p < job->prompt_count ? job->prompt_ids[p] : job->output_ids[p - job->prompt_count];
        struct asy_exact_row row = {id, 0, p, true};
        const int32_t *logits;
        char name[16];
        CHECK_OK(asy_exact_step(x, &logits, &row, 1));
        (void)snprintf(name, sizeof name, "%u", p);
        const json_t *list = json_object_get(want, name);
        for (uint32_t k = 0; list != NULL && k < vocab; k++) {
            CHECK(logits[k] == json_integer_value(json_array_get(list, k)));
        }
        seen += list != NULL;
    }
    CHECK_U64(seen, job->output_count);
}

static void check_run(const struct asy_exact_model *m, const json_t *run,
                      enum asy_exact_kernel kernel) {
    static uint32_t prompt[512], output[64];
    struct asy_sample_bias bias[8];
    const json_t *pair, *s = json_object_get(run, "settings");
    struct asy_exact_job job = {
        .prompt_ids = prompt,
        .output_ids = output,
        .prompt_count = ids_of(prompt, json_object_get(run, "prompt")),
        .output_count = ids_of(output, json_object_get(run, "output")),
        .first = u32(run, "first"),
        .sampling = {.temperature_milli = u32(s, "temperature_milli"),
                     .top_k = u32(s, "top_k"),
                     .top_p_ppm = u32(s, "top_p_ppm"),
                     .min_p_ppm = u32(s, "min_p_ppm"),
                     .presence_penalty_milli = (int32_t)number(s, "presence_penalty_milli"),
                     .frequency_penalty_milli = (int32_t)number(s, "frequency_penalty_milli"),
                     .repeat_penalty_milli = u32(s, "repeat_penalty_milli"),
                     .logit_bias = hash_of(s, "logit_bias")},
        .bias = bias,
    };
    json_array_foreach(json_object_get(run, "bias"), job.bias_count, pair) {
        ASY_ASSERT(job.bias_count < ASY_COUNT(bias));
        bias[job.bias_count] =
            (struct asy_sample_bias){(uint32_t)json_integer_value(json_array_get(pair, 0)),
                                     (int32_t)json_integer_value(json_array_get(pair, 1))};
    }
    struct asy_hash seed = hash_of(run, "seed"), got, want = hash_of(run, "job");
    struct asy_hash digest = hash_of(run, "output_digest");
    memcpy(job.seed, seed.b, 32);
    asy_exact_job_hash(&got, &job, &asy_exact_model_info(m)->weights, &digest);
    CHECK(asy_hash_eq(&got, &want));

    struct asy_exact_config c = {kernel, 2, 1, u32(run, "positions"), 17, 17};
    struct asy_exact *x = NULL;
    struct asy_exact_trace *t = NULL;
    CHECK_OK(asy_exact_new(&x, m, &c, NULL));
    check_logits(x, run, &job);
    CHECK_OK(asy_exact_trace_new(&t, x, &job, NULL, NULL, NULL));
    asy_exact_trace_root(t, &got);
    want = hash_of(run, "trace_root");
    CHECK(asy_hash_eq(&got, &want));

    struct asy_exact_trace_shape shape = asy_exact_trace_shape(m, u32(run, "positions"));
    CHECK_U64(shape.leaf_bits, u32(run, "leaf_bits"));
    CHECK_U64(shape.layer_bits, u32(run, "layer_bits"));
    CHECK_U64(shape.position_bits, u32(run, "token_bits"));
    const json_t *leaves = json_object_get(run, "last_position");
    uint64_t base = (uint64_t)(u32(run, "positions") - 1) << (shape.layer_bits + shape.leaf_bits);
    for (uint64_t n = 0; n < (uint64_t)1 << (shape.layer_bits + shape.leaf_bits); n++) {
        uint8_t leaf[ASY_EXACT_LEAF], expected[ASY_EXACT_LEAF] = {0};
        struct asy_hash path[ASY_EXACT_MAX_TRACE_PATH];
        char name[24];
        (void)snprintf(name, sizeof name, "%llu", (unsigned long long)n);
        const json_t *v = json_object_get(leaves, name);
        if (v == NULL && n % 16 != 0) {
            continue; /* a sample of those that hold nothing */
        }
        if (v != NULL) {
            (void)hex(expected, sizeof expected, v);
        }
        CHECK_OK(asy_exact_trace_open(t, base + n, leaf, path));
        if (memcmp(leaf, expected, sizeof leaf) != 0) {
            fprintf(stderr, "leaf %s differs\n", name);
            CHECK(false);
        }
    }
    asy_exact_trace_free(t);
    asy_exact_free(x);
}

/* Some rows with their hashes, so that a wrong root can be found. */
static void check_rows(const struct asy_exact_model *m, const json_t *toy) {
    struct asy_exact_rows *rows = asy_exact_rows_new(m, 1);
    struct asy_hash got, path[40];
    size_t i;
    json_t *row;
    CHECK_U64(asy_exact_rows_depth(rows), u32(toy, "depth"));
    json_array_foreach(json_object_get(toy, "rows"), i, row) {
        struct asy_hash want = hash_of(row, "hash");
        CHECK_OK(asy_exact_rows_path(rows, &got, path, u32(row, "row")));
        if (!asy_hash_eq(&got, &want)) {
            fprintf(stderr, "row %u differs\n", u32(row, "row"));
            CHECK(false);
        }
    }
    asy_exact_rows_free(rows);
}

int main(void) {
    json_error_t error;
    json_t *toys = json_load_file("schema/vectors/exact/toys.json", 0, &error);
    if (toys == NULL) {
        fprintf(stderr, "toys.json: %s\n", error.text);
        return 1;
    }
    CHECK(json_array_size(toys) >= 3);
    static const enum asy_exact_kernel kernels[] = {ASY_EXACT_SCALAR, ASY_EXACT_AVX2,
                                                    ASY_EXACT_AVX512, ASY_EXACT_NEON};
    printf("kernels:");
    for (size_t n = 0; n < ASY_COUNT(kernels); n++) {
        if (asy_exact_kernel_runs(kernels[n])) {
            printf(" %s", asy_exact_kernel_name(kernels[n]));
        }
    }
    printf("\n");
    size_t i, k;
    json_t *toy, *run;
    json_array_foreach(toys, i, toy) {
        struct asy_bytes file = toy_file(toy);
        struct asy_exact_model *m = NULL;
        struct asy_why why = {0};
        struct asy_hash want = hash_of(toy, "weights_root");
        CHECK_OK(asy_exact_model_open(&m, file, &why));
        CHECK(asy_hash_eq(&asy_exact_model_info(m)->weights, &want));
        check_rows(m, toy);
        json_array_foreach(json_object_get(toy, "runs"), k, run) {
            for (size_t n = 0; n < ASY_COUNT(kernels); n++) {
                if (asy_exact_kernel_runs(kernels[n])) {
                    check_run(m, run, kernels[n]);
                }
            }
        }
        asy_exact_model_free(m);
        asy_free((void *)(uintptr_t)file.p);
    }
    json_decref(toys);
    return asy_test_end();
}
