/* Measures what a replay sees of answers that were not made as they should: makes them, as a
 * dishonest node would, judges them with the honest model, and prints for each of their tokens
 * whether it is the right one.
 *
 * The cheap models are made of the honest one in memory (cheap_model.h); other variants are files.
 * Each answer is judged twice: by asy_audit_exact, and by a plain loop of its own here, which also
 * says which tokens differ; both must agree.
 * usage: detect PLUGIN EXACT GGUF TEMP [--rounds N] [--only WORD] [--variant NAME=EXACT]...
 * out:   JSON, a line for each cheat, settings and round: marks has a string for each prompt with a
 *        digit for each token, 1 for a wrong one */
#include <stdio.h>
#include <unistd.h>

#include "audit/test/cheats.h"
#include "exact/test/cheap_model.h"

enum { VARIANTS_MAX = 8 };

struct bench {
    struct cheat_rig rig;
    struct asy_llama *llama;
    struct asy_exact *honest, *judge;
    struct asy_bytes file;
    const char *gguf, *temp, *only;
    uint32_t rounds;
};

static const struct settings {
    const char *name;
    uint32_t temperature_milli, top_k;
    bool chat;
    bool all; /* all cheats; else a few of them */
} settings[] = {
    {"text, T 0.8", 800, 0, false, true}, {"text, T 0.8, top_k 40", 800, 40, false, false},
    {"text, T 0", 0, 0, false, false},    {"chat, T 0.8", 800, 0, true, false},
    {"chat, T 0", 0, 0, true, false},
};

static void die(const char *what) {
    fprintf(stderr, "detect: %s\n", what);
    exit(1);
}

static bool wanted(const struct bench *b, const struct settings *s, const char *name, bool few) {
    return (s->all || few) &&
           (b->only == NULL || strstr(name, b->only) != NULL || strcmp(name, "honest") == 0);
}

static void set(struct bench *b, const struct settings *s, uint32_t round) {
    cheat_prompts(&b->rig, s->chat);
    b->rig.sampling = ASY_SAMPLE_SETTINGS_DEFAULT;
    b->rig.sampling.temperature_milli = s->temperature_milli;
    b->rig.sampling.top_k = s->top_k;
    b->rig.round = (uint8_t)round;
    b->rig.outputs = CHEAT_OUTPUT;
}

/* Which tokens are wrong, by the sampler alone. */
static uint32_t mark(struct bench *b, const struct cheat_answers *a, uint32_t p, char *ret_marks) {
    struct cheat_rig *r = &b->rig;
    uint32_t wrong = 0, stride = asy_exact_logits_stride(r->model);
    uint8_t seed[ASY_SAMPLE_SEED_LEN];
    uint32_t ids[CHEAT_CONTEXT], prompt = r->prompt_count[p], count = prompt + a->count[p];
    memcpy(ids, r->prompt[p], prompt * sizeof *ids);
    memcpy(ids + prompt, a->ids[p], a->count[p] * sizeof *ids);
    cheat_seed(r, p, false, seed);
    for (uint32_t at = 0; at + 1 < count; at += 32) {
        struct asy_exact_row rows[32];
        uint32_t n = count - 1 - at < 32 ? count - 1 - at : 32;
        const int32_t *logits = NULL;
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = (struct asy_exact_row){ids[at + i], 0, at + i, at + i + 1 >= prompt};
        }
        CHECK_OK(asy_exact_step(b->honest, &logits, rows, n));
        for (uint32_t i = 0; i < n; i++) {
            uint32_t id = 0, pos = at + i + 1 - prompt;
            if (!rows[i].logits) {
                continue;
            }
            CHECK_OK(asy_sample_token(&id, NULL, r->workspace, logits, r->vocab_count, &r->sampling,
                                      seed, pos));
            logits += stride;
            ret_marks[pos] = id == ids[at + i + 1] ? '0' : '1';
            wrong += ret_marks[pos] == '1';
        }
    }
    ret_marks[a->count[p]] = 0;
    return wrong;
}

/* from: tokens in front of it are the honest model's. */
static void report(struct bench *b, const struct settings *s, const char *name, uint32_t from,
                   const struct cheat_answers *a) {
    printf("{\"settings\":\"%s\",\"cheat\":\"%s\",\"round\":%u,\"from\":%u,\"marks\":[", s->name,
           name, b->rig.round, from);
    for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) {
        char marks[CHEAT_OUTPUT + 1];
        uint32_t wrong = mark(b, a, p, marks), judged = 0;
        uint32_t first = cheat_judge(&b->rig, a, p, &judged);
        CHECK_U64(judged, wrong);
        CHECK(first == a->count[p] ? wrong == 0 : strchr(marks, '1') == marks + first);
        CHECK_U64(cheat_judge(&b->rig, a, p, NULL), first);
        printf("%s\"%s\"", p == 0 ? "" : ",", marks);
    }
    printf("]}\n");
    (void)fflush(stdout);
    if (asy_test_failures != 0) {
        die("the judges do not agree");
    }
}

static bool is_seeded(const struct settings *s) { return s->temperature_milli != 0; }

static void each_round(struct bench *b, const char *name, bool few, const struct cheat *c) {
    for (size_t i = 0; i < ASY_COUNT(settings); i++) {
        uint32_t rounds = is_seeded(&settings[i]) ? b->rounds : 1; /* else they are all the same */
        for (uint32_t round = 0; round < rounds; round++) {
            struct cheat_answers a;
            if (!wanted(b, &settings[i], name, few)) {
                continue;
            }
            set(b, &settings[i], round);
            cheat_answer(&b->rig, c, &a);
            report(b, &settings[i], name, c->honest_first, &a);
        }
    }
}

/* An answer of a model file; name, and the same behind an honest beginning. */
static void by_model(struct bench *b, const char *name, bool few,
                     const struct asy_exact_model *model, bool mixed) {
    struct cheat c = {.honest = b->honest};
    char text[100];
    CHECK_OK(cheat_executor(&c.x, model, ASY_EXACT_AUTO, 1, CHEAT_ROWS));
    each_round(b, name, few, &c);
    if (mixed) {
        c.honest_first = 32;
        snprintf(text, sizeof text, "32 honest tokens, then %s", name);
        each_round(b, text, false, &c);
        c.honest_first = 0;
        c.honest_every = 4;
        snprintf(text, sizeof text, "%s for each 4th token", name);
        each_round(b, text, false, &c);
    }
    asy_exact_free(c.x);
}

static void cheap_models(struct bench *b) {
    static const struct {
        const char *name;
        int bits; /* of weights; 0: as they are */
        bool embed, narrow_head, few, mixed;
        uint32_t skip, skip_count;
    } all[] = {
        {"int4 weights", 4, false, false, true, true, 0, 0},
        {"int4 weights, head too", 4, true, false, false, false, 0, 0},
        {"int6 weights", 6, false, false, true, false, 0, 0},
        {"int6 weights, head too", 6, true, false, false, false, 0, 0},
        {"8 last layers left out", 0, false, false, false, false, 22, 8},
        {"layer 20 left out", 0, false, false, true, false, 20, 1},
        {"layers 10 to 21 left out", 0, false, false, false, true, 10, 12},
        {"variant: head with 8-bit input", 0, false, true, false, false, 0, 0},
    };
    for (size_t i = 0; i < ASY_COUNT(all); i++) {
        struct cheap_model m;
        cheap_model_init(&m, b->file);
        if (all[i].bits != 0) {
            cheap_round_all(&m, all[i].bits, all[i].embed);
        }
        if (all[i].narrow_head) {
            cheap_narrow_head(&m);
        }
        cheap_skip(&m, all[i].skip, all[i].skip_count);
        cheap_model_finish(&m);
        by_model(b, all[i].name, all[i].few, m.model, all[i].mixed);
        cheap_model_done(&m);
    }
}

static void with_the_right_model(struct bench *b) {
    struct cheat c = {.x = b->honest};
    each_round(b, "honest", true, &c);
    c = (struct cheat){.x = b->honest, .other_prompt = true};
    each_round(b, "one prompt token changed", true, &c);
    c = (struct cheat){.x = b->honest, .other_seed = true};
    each_round(b, "another seed", false, &c);
    c = (struct cheat){.x = b->honest, .as_temperature_milli = 1000};
    each_round(b, "temperature 1.0 for 0.8", false, &c);
}

static void without_a_model(struct bench *b) {
    for (uint32_t round = 0; round < b->rounds; round++) {
        struct cheat c = {.x = b->honest};
        struct cheat_answers right, a;
        if (!wanted(b, &settings[0], "32 honest tokens, then", true)) {
            continue;
        }
        set(b, &settings[0], round);
        cheat_answer(&b->rig, &c, &right);
        cheat_without_model(&right, 32, true, &a);
        report(b, &settings[0], "32 honest tokens, then these again", 32, &a);
        cheat_without_model(&right, 32, false, &a);
        report(b, &settings[0], "32 honest tokens, then another answer", 32, &a);
    }
}

static void llama(struct bench *b) {
    static const char *const types[] = {"Q4_1", "Q8_0", "F32"};
    for (size_t i = 0; i < ASY_COUNT(types); i++) {
        char name[40], path[4096];
        struct cheat c = {0};
        struct asy_why why = {{0}, {0}};
        snprintf(name, sizeof name, "llama.cpp %s", types[i]);
        if (!wanted(b, &settings[0], name, true)) {
            continue;
        }
        snprintf(path, sizeof path, "%s", b->gguf);
        if (i != 0) { /* the file is Q4_1 as it is */
            snprintf(path, sizeof path, "%s/%s.gguf", b->temp, types[i]);
            CHECK_OK(asy_llama_requantize(b->llama, b->gguf, path, types[i], 1, &why));
        }
        struct asy_llama_model_config config = {.path = path,
                                                .context = CHEAT_CONTEXT,
                                                .batch = CHEAT_CHAT,
                                                .threads = 1,
                                                .half = true};
        if (asy_llama_model_new(&c.floats, b->llama, &config, &why) != ASY_OK) {
            die(why.text);
        }
        each_round(b, name, i == 0, &c);
        asy_llama_model_free(c.floats);
        if (i != 0) {
            (void)unlink(path);
        }
    }
}

/* Ways to compute an answer that must not change a token. */
static void honest_ways(struct bench *b) {
    static const struct {
        const char *name;
        enum asy_exact_kernel kernel;
        uint32_t threads, rows, outputs;
        bool crowd, moves;
    } all[] = {
        {"honest: 16 sequences at once, prompts 64 rows at a time", ASY_EXACT_AUTO, 1, 64,
         CHEAT_OUTPUT, true, false},
        {"honest: 2 threads, 7 rows at a time", ASY_EXACT_AUTO, 2, 7, CHEAT_OUTPUT, false, false},
        {"honest: prefixes copied, entries saved and restored", ASY_EXACT_AUTO, 1, CHEAT_ROWS,
         CHEAT_OUTPUT, false, true},
        {"honest: AVX2", ASY_EXACT_AVX2, 1, 100, CHEAT_OUTPUT, true, true},
        {"honest: plain C", ASY_EXACT_SCALAR, 2, 33, 16, false, false},
    };
    for (size_t i = 0; i < ASY_COUNT(all); i++) {
        struct cheat c = {.crowd = all[i].crowd, .moves = all[i].moves};
        struct cheat_answers a;
        if (!asy_exact_kernel_runs(all[i].kernel) || !wanted(b, &settings[0], all[i].name, true)) {
            continue;
        }
        CHECK_OK(cheat_executor(&c.x, b->rig.model, all[i].kernel, all[i].threads, all[i].rows));
        set(b, &settings[0], 0);
        b->rig.outputs = all[i].outputs;
        cheat_answer(&b->rig, &c, &a);
        report(b, &settings[0], all[i].name, 0, &a);
        asy_exact_free(c.x);
    }
}

int main(int argc, char **argv) {
    static struct bench b;
    struct asy_why why = {{0}, {0}};
    struct asy_exact_model *model = NULL;
    struct asy_llama_vocab *vocab = NULL;
    const char *variants[VARIANTS_MAX];
    size_t variant_count = 0;
    b.rounds = 1;
    if (argc < 5) {
        die("usage: detect PLUGIN EXACT GGUF TEMP [--rounds N] [--only WORD] "
            "[--variant NAME=EXACT]...");
    }
    b.gguf = argv[3];
    b.temp = argv[4];
    for (int i = 5; i + 1 < argc; i += 2) {
        uint64_t n = 0;
        if (strcmp(argv[i], "--only") == 0) {
            b.only = argv[i + 1];
        } else if (strcmp(argv[i], "--variant") == 0 && variant_count < VARIANTS_MAX) {
            variants[variant_count++] = argv[i + 1];
        } else if (strcmp(argv[i], "--rounds") == 0 &&
                   asy_bytes_to_u64(&n, asy_bytes_cstr(argv[i + 1])) == ASY_OK && n > 0 &&
                   n < 256) {
            b.rounds = (uint32_t)n;
        } else {
            die("unknown argument");
        }
    }
    if (asy_llama_open(&b.llama, argv[1], &why) != ASY_OK ||
        asy_file_map(&b.file, argv[2], &why) != ASY_OK ||
        asy_exact_model_open(&model, b.file, &why) != ASY_OK ||
        asy_llama_vocab_new(&vocab, b.llama, asy_exact_model_info(model)->vocabulary, &why) !=
            ASY_OK) {
        die(why.text);
    }
    CHECK_OK(cheat_executor(&b.honest, model, ASY_EXACT_AUTO, 1, CHEAT_ROWS));
    CHECK_OK(cheat_executor(&b.judge, model, ASY_EXACT_AUTO, 1, 64));
    cheat_rig_init(&b.rig, model, vocab, b.judge);
    with_the_right_model(&b);
    without_a_model(&b);
    cheap_models(&b);
    for (size_t i = 0; i < variant_count; i++) {
        char name[100];
        const char *path = strchr(variants[i], '=');
        struct asy_exact_model *other = NULL;
        struct asy_bytes file = {0};
        if (path == NULL || asy_file_map(&file, path + 1, &why) != ASY_OK ||
            asy_exact_model_open(&other, file, &why) != ASY_OK) {
            die("no such variant");
        }
        snprintf(name, sizeof name, "variant: %.*s", (int)(path - variants[i]), variants[i]);
        by_model(&b, name, false, other, false);
        asy_exact_model_free(other);
        asy_file_unmap(file);
    }
    honest_ways(&b);
    llama(&b);
    cheat_rig_done(&b.rig);
    asy_exact_free(b.honest);
    asy_exact_free(b.judge);
    asy_llama_vocab_free(vocab);
    asy_llama_free(b.llama);
    asy_exact_model_free(model);
    asy_file_unmap(b.file);
    return asy_test_end();
}
