/* A real model: what was computed honestly is proved, however it was computed, by whatever computes
 * it again; what was not is refused. So many tokens are allowed for that as are twice what it takes
 * here, and about what bench/detection finds to be enough in 99 cases of 100 (docs/audit.md has its
 * table): all but llama.cpp is the same on every machine.
 * timeout: 600
 * serial */
#include <unistd.h>

#include "audit/test/cheats.h" /* allowed: shared with bench/detection */

#include "exact/test/cheap_model.h" /* allowed: model files for tests, in one place */

struct bed {
    struct cheat_rig rig;
    struct asy_llama *llama;
    struct asy_llama_vocab *vocab;
    struct asy_bytes file;
    struct asy_exact_model *model;
    struct asy_exact *x, *judge;
    struct cheat_answers honest;
};

/* Every answer is the honest one, and proved, by what made it. */
static void proved(struct bed *b, const char *how, const struct cheat *c, uint32_t outputs) {
    struct cheat_answers a;
    b->rig.outputs = outputs;
    b->rig.judge = c->x;
    cheat_answer(&b->rig, c, &a);
    for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) {
        uint32_t first = cheat_judge(&b->rig, &a, p, NULL);
        if (first != outputs || memcmp(a.ids[p], b->honest.ids[p], outputs * sizeof **a.ids) != 0) {
            fprintf(stderr, "%s: prompt %u: token %u is refused\n", how, p, first);
        }
        CHECK_U64(first, outputs);
        CHECK_MEM(a.ids[p], b->honest.ids[p], outputs * sizeof **a.ids);
    }
    b->rig.judge = b->judge;
}

/* At least so many of the answers are refused, and not for one of their first tokens, which are
 * honest. */
static void refused(struct bed *b, const char *how, const struct cheat_answers *a,
                    uint32_t honest_first, uint32_t least) {
    uint32_t last = 0, count = 0;
    for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) {
        uint32_t first = cheat_judge(&b->rig, a, p, NULL);
        if (first < a->count[p]) {
            count++;
            CHECK(first >= honest_first);
            last = first > last ? first : last;
        }
    }
    printf("%s: %u of %u refused, by token %u of %u at the latest\n", how, count, CHEAT_PROMPTS,
           last, a->count[0]);
    CHECK(count >= least);
}
static void cheats(struct bed *b, const char *how, const struct cheat *c, uint32_t outputs,
                   uint32_t least) {
    struct cheat_answers a;
    b->rig.outputs = outputs;
    cheat_answer(&b->rig, c, &a);
    refused(b, how, &a, c->honest_first, least);
}

static void honest_by(struct bed *b, const char *how, enum asy_exact_kernel kernel,
                      uint32_t threads, uint32_t rows, struct cheat c, uint32_t outputs) {
    if (asy_exact_kernel_runs(kernel)) {
        CHECK_OK(cheat_executor(&c.x, b->model, kernel, threads, rows));
        proved(b, how, &c, outputs);
        asy_exact_free(c.x);
    }
}
static void honest(struct bed *b, uint32_t outputs) {
    b->rig.outputs = outputs;
    cheat_answer(&b->rig, &(struct cheat){.x = b->x}, &b->honest);
    for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) {
        CHECK_U64(cheat_judge(&b->rig, &b->honest, p, NULL), outputs);
    }
}

static void test_honest(struct bed *b) {
    for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) { /* plain C is slow: short prompts */
        b->rig.prompt_count[p] = 12;
    }
    honest(b, 20);
    honest_by(b, "avx512", ASY_EXACT_AVX512, 1, CHEAT_ROWS, (struct cheat){0}, 20);
    honest_by(b, "avx2", ASY_EXACT_AVX2, 1, 50, (struct cheat){.crowd = true}, 20);
    honest_by(b, "scalar", ASY_EXACT_SCALAR, 2, CHEAT_ROWS, (struct cheat){0}, 4);
    cheat_prompts(&b->rig, false);
    honest(b, 64);
    honest_by(b, "16 sequences", ASY_EXACT_AUTO, 1, 64, (struct cheat){.crowd = true}, 40);
    honest_by(b, "2 threads, 7 rows", ASY_EXACT_AUTO, 2, 7, (struct cheat){0}, 24);
    honest_by(b, "copied, saved and restored", ASY_EXACT_AUTO, 1, 100,
              (struct cheat){.moves = true}, 40);
}

static void test_settings(struct bed *b) {
    struct cheat_answers a;
    cheats(b, "another seed", &(struct cheat){.x = b->x, .other_seed = true}, 16, CHEAT_PROMPTS);
    cheats(b, "another temperature", &(struct cheat){.x = b->x, .as_temperature_milli = 1000}, 50,
           CHEAT_PROMPTS);
    cheats(b, "a prompt token changed", &(struct cheat){.x = b->x, .other_prompt = true}, 80,
           CHEAT_PROMPTS);
    cheat_without_model(&b->honest, 32, true, &a);
    refused(b, "32 honest tokens, then these again", &a, 32, CHEAT_PROMPTS);
    cheat_without_model(&b->honest, 32, false, &a);
    refused(b, "32 honest tokens, then another answer", &a, 32, CHEAT_PROMPTS);
}

enum change { INT4, INT6, LAYER, VARIANT };
static void test_model(struct bed *b, const char *how, enum change change, uint32_t honest_first,
                       uint32_t outputs) {
    struct cheap_model m;
    struct cheat c = {.honest = b->x, .honest_first = honest_first};
    cheap_model_init(&m, b->file);
    switch (change) {
    case INT4:
        cheap_round_all(&m, 4, true);
        break;
    case INT6:
        cheap_round_all(&m, 6, true);
        break;
    case LAYER:
        cheap_skip(&m, 20, 1);
        break;
    case VARIANT:
        cheap_narrow_head(&m);
        break;
    }
    cheap_model_finish(&m);
    CHECK_OK(cheat_executor(&c.x, m.model, ASY_EXACT_AUTO, 1, CHEAT_ROWS));
    cheats(b, how, &c, outputs, CHEAT_PROMPTS);
    asy_exact_free(c.x);
    cheap_model_done(&m);
}

/* Not quite the same everywhere, and the nearest to the honest model: most are enough. */
static void test_floats(struct bed *b, const char *gguf) {
    struct cheat c = {0};
    struct asy_llama_model_config config = {
        .path = gguf, .context = CHEAT_CONTEXT, .batch = CHEAT_CHAT, .threads = 1, .half = true};
    CHECK_OK(asy_llama_model_new(&c.floats, b->llama, &config, NULL));
    cheats(b, "llama.cpp", &c, 32, CHEAT_PROMPTS / 2);
    asy_llama_model_free(c.floats);
}

int main(int argc, char **argv) {
    static struct bed b;
    char path[4096], plugin[4096];
    const char *gguf = ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    const char *slash = strrchr(argv[0], '/');
    int dir = slash != NULL ? (int)(slash - argv[0]) : 0;
    struct asy_why why = {{0}, {0}};
    (void)argc;
    snprintf(path, sizeof path, "%.*s/../../models/SmolLM2-135M-Instruct.Q4_1.exact", dir, argv[0]);
    snprintf(plugin, sizeof plugin, "%.*s/../lib/assay-llama.so", dir, argv[0]);
    if (access(gguf, R_OK) != 0 || access(path, R_OK) != 0 || access(plugin, R_OK) != 0) {
        return asy_test_skip("no model, or not converted: tools/setup run, make model");
    }
    CHECK_OK(asy_file_map(&b.file, path, &why));
    CHECK_OK(asy_exact_model_open(&b.model, b.file, &why));
    CHECK_OK(asy_llama_open(&b.llama, plugin, &why));
    CHECK_OK(
        asy_llama_vocab_new(&b.vocab, b.llama, asy_exact_model_info(b.model)->vocabulary, &why));
    CHECK_OK(cheat_executor(&b.x, b.model, ASY_EXACT_AUTO, 1, CHEAT_ROWS));
    CHECK_OK(cheat_executor(&b.judge, b.model, ASY_EXACT_AUTO, 1, 64));
    cheat_rig_init(&b.rig, b.model, b.vocab, b.judge);
    test_honest(&b);
    test_settings(&b);
    test_model(&b, "16 honest tokens, then int4 weights", INT4, 16, 64);
    test_model(&b, "int6 weights", INT6, 0, 80);
    test_model(&b, "a layer left out", LAYER, 0, 40);
    test_model(&b, "8 bits for the head's input", VARIANT, 0, 100);
    test_floats(&b, gguf);
    cheat_rig_done(&b.rig);
    asy_exact_free(b.x);
    asy_exact_free(b.judge);
    asy_llama_vocab_free(b.vocab);
    asy_llama_free(b.llama);
    asy_exact_model_free(b.model);
    asy_file_unmap(b.file);
    return asy_test_end();
}
