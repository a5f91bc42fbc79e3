/* Measures two engines in turns, in one process: prefill, decode, and several sequences of
 * different lengths at once. Both stand behind the worker's runtime interface, so both are asked
 * for the same rows in the same steps.
 *
 * CPU time is that of all threads of the process; the other side's helpers sleep meanwhile. A plain
 * read of the model file's bytes stands beside decode: what the memory gives.
 * usage: speed PLUGIN SIDE SIDE [--rounds N] [--json]
 * SIDE = FILE[,threads=N][,kernel=K]: a model of the integer engine or a GGUF file, of which there
 * is one at most; K: the integer engine's kernel, or llama.cpp's CPU variant */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/engine.h"
#include "engine/exact_priv.h"
#include "exact/exact.h"

enum { PREFILL = 256, DECODE = 32, CONTEXT = 640, SLOTS = 32, STEPS = 8, ROUNDS_MAX = 64 };
static const uint32_t batches[] = {4, 16, 32};
enum { MEASURES = 2 + 3 };
static const char *const names[MEASURES] = {"prefill 256", "decode", "4 sequences", "16 sequences",
                                            "32 sequences"};

struct side {
    char path[4096], kernel[32]; /* kernel: empty: the best */
    uint32_t threads;
    struct asy_bytes file;
    bool exact;
    struct asy_engine_runtime rt;
    uint32_t batch;      /* rows of one step of a prompt */
    uint32_t len[SLOTS]; /* tokens of each sequence */
    double cpu[MEASURES][ROUNDS_MAX], wall[MEASURES][ROUNDS_MAX];
};

static double now_s(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}
static double median(const double *x, uint32_t n) {
    double copy[ROUNDS_MAX];
    memcpy(copy, x, n * sizeof *x);
    qsort(copy, n, sizeof *copy, by_size);
    return copy[n / 2];
}

static void die(const char *what) {
    fprintf(stderr, "speed: %s\n", what);
    exit(1);
}

static uint32_t token_at(uint32_t vocab, uint32_t slot, uint32_t pos) {
    uint64_t z = (uint64_t)slot * 1000003u + pos + 1;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % (vocab - 1000) + 500); /* no control tokens */
}

static void forward(struct side *s, const struct asy_engine_row *rows, uint32_t count) {
    char why[ASY_ENGINE_TEXT_MAX] = "";
    if (!s->rt.forward(s->rt.self, rows, count, why)) {
        die(why);
    }
}

static void prompt(struct side *s, uint32_t slot, uint32_t len) {
    struct asy_engine_row rows[PREFILL + 32 * 8];
    s->rt.clear(s->rt.self, slot);
    for (uint32_t at = 0; at < len; at += s->batch) {
        uint32_t n = len - at < s->batch ? len - at : s->batch;
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = (struct asy_engine_row){
                slot, at + i, token_at(s->rt.vocab_count, slot, at + i), at + i + 1 == len};
        }
        forward(s, rows, n);
    }
}

struct watch {
    double cpu, wall;
};
static struct watch start(void) {
    return (struct watch){now_s(CLOCK_PROCESS_CPUTIME_ID), now_s(CLOCK_MONOTONIC)};
}
static void stop(struct side *s, uint32_t measure, uint32_t round, struct watch w,
                 uint32_t tokens) {
    s->cpu[measure][round] = (now_s(CLOCK_PROCESS_CPUTIME_ID) - w.cpu) * 1e3 / tokens;
    s->wall[measure][round] = (now_s(CLOCK_MONOTONIC) - w.wall) * 1e3 / tokens;
}

/* Sequences of 32, 40, 48 ... tokens, which grow from round to round until one is full. */
static void sequences(struct side *s) {
    bool room = s->len[0] != 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        room = room && s->len[slot] + ASY_COUNT(batches) * STEPS <= CONTEXT;
    }
    for (uint32_t slot = 0; slot < SLOTS && !room; slot++) {
        s->len[slot] = 32 + 8 * slot;
        prompt(s, slot, s->len[slot]);
    }
}

static void round_of(struct side *s, uint32_t round) {
    struct watch w = start();
    prompt(s, SLOTS, PREFILL);
    stop(s, 0, round, w, PREFILL);
    w = start();
    for (uint32_t i = 0; i < DECODE; i++) {
        struct asy_engine_row row = {SLOTS, PREFILL + i,
                                     token_at(s->rt.vocab_count, SLOTS, PREFILL + i), true};
        forward(s, &row, 1);
    }
    stop(s, 1, round, w, DECODE);
    sequences(s);
    for (uint32_t b = 0; b < ASY_COUNT(batches); b++) {
        struct asy_engine_row rows[SLOTS];
        w = start();
        for (uint32_t i = 0; i < STEPS; i++) {
            for (uint32_t slot = 0; slot < batches[b]; slot++) {
                uint32_t pos = s->len[slot]++;
                rows[slot] = (struct asy_engine_row){slot, pos,
                                                     token_at(s->rt.vocab_count, slot, pos), true};
            }
            forward(s, rows, batches[b]);
        }
        stop(s, 2 + b, round, w, STEPS * batches[b]);
    }
}

/* GB/s of one core that only reads: a word of every cache line, in four streams, which is the
 * fastest found. The best of some rounds. What the last cache keeps from one token to the next can
 * make a decode faster. */
static double plain_read(struct asy_bytes file) {
    const uint64_t *p = (const uint64_t *)(const void *)file.p; /* a mapped file: aligned */
    const size_t line = 64 / sizeof *p, quarter = file.n / 64 / 4 * line;
    double best = 0;
    for (int r = 0; r < 8; r++) {
        uint64_t sum = 0;
        double cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
        for (size_t i = 0; i < quarter; i += line) {
            sum ^= p[i] ^ p[i + quarter] ^ p[i + 2 * quarter] ^ p[i + 3 * quarter];
        }
        cpu = now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        volatile uint64_t sink = sum; /* so that the sum is computed */
        (void)sink;
        double rate = (double)file.n / cpu * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

static uint32_t number(const char *text) {
    uint64_t v = 0;
    if (asy_bytes_to_u64(&v, asy_bytes_cstr(text)) != ASY_OK || v == 0 || v > ROUNDS_MAX) {
        die("a number from 1 to 64 is needed");
    }
    return (uint32_t)v;
}

static void side_parse(struct side *ret, const char *text) {
    char copy[sizeof ret->path], *rest = NULL;
    struct asy_why why = {{0}, {0}};
    ret->threads = 1;
    (void)snprintf(copy, sizeof copy, "%s", text);
    (void)snprintf(ret->path, sizeof ret->path, "%s", strtok_r(copy, ",", &rest));
    for (char *word; (word = strtok_r(NULL, ",", &rest)) != NULL;) {
        if (strncmp(word, "threads=", 8) == 0) {
            ret->threads = number(word + 8);
        } else if (strncmp(word, "kernel=", 7) == 0) {
            (void)snprintf(ret->kernel, sizeof ret->kernel, "%s", word + 7);
        } else {
            die("a side is FILE[,threads=N][,kernel=K]");
        }
    }
    if (asy_file_map(&ret->file, ret->path, &why) != ASY_OK) {
        die(why.text);
    }
    ret->exact = asy_engine_exact_is(ret->file);
}

static void side_load(struct side *s, const struct asy_engine_plugin *plugin) {
    char why[ASY_ENGINE_TEXT_MAX] = "";
    struct asy_engine_runtime_config c = {.model_path = s->path,
                                          .backend = s->kernel[0] != 0 ? s->kernel : NULL,
                                          .slots = SLOTS + 1,
                                          .context = CONTEXT,
                                          .batch = 512,
                                          .threads = s->threads};
    if (!(s->exact ? asy_engine_exact_load(&s->rt, &c, s->file, plugin, why)
                   : plugin->load(&s->rt, &c, why))) {
        die(why);
    }
    s->batch = s->exact ? c.batch : PREFILL;
}

/* The ratio in each round of what the second side takes to what the first does: how many times as
 * fast the first is. */
struct ratio {
    double mid, low, high;
};
static struct ratio ratio_of(const double *first, const double *second, uint32_t rounds) {
    double all[ROUNDS_MAX];
    struct ratio r = {.low = 1e9, .high = 0};
    for (uint32_t i = 0; i < rounds; i++) {
        all[i] = second[i] / first[i];
        r.low = all[i] < r.low ? all[i] : r.low;
        r.high = all[i] > r.high ? all[i] : r.high;
    }
    r.mid = median(all, rounds);
    return r;
}
static double least(const double *x, uint32_t n) {
    double best = x[0];
    for (uint32_t i = 1; i < n; i++) {
        best = x[i] < best ? x[i] : best;
    }
    return best;
}

static void print_json(const struct side side[2], uint32_t rounds, double read) {
    printf("{\"rounds\":%u,\"read_gb_s\":%.1f,\"sides\":[", rounds, read);
    for (int k = 0; k < 2; k++) {
        printf("%s{\"backend\":\"%s\",\"threads\":%u", k != 0 ? "," : "", side[k].rt.backend,
               side[k].threads);
        for (uint32_t m = 0; m < MEASURES; m++) {
            printf(",\"%s\":{\"cpu_ms\":%.4f,\"wall_ms\":%.4f,\"wall_ms_best\":%.4f}", names[m],
                   median(side[k].cpu[m], rounds), median(side[k].wall[m], rounds),
                   least(side[k].wall[m], rounds));
        }
        printf("}");
    }
    printf("]}\n");
}

static void print_table(const struct side side[2], uint32_t rounds) {
    printf(
        "A: %s, %u thread%s; B: %s, %u thread%s; %u rounds in turns, median [lowest-highest]\n\n",
        side[0].rt.backend, side[0].threads, side[0].threads == 1 ? "" : "s", side[1].rt.backend,
        side[1].threads, side[1].threads == 1 ? "" : "s", rounds);
    printf("| | A: ms of CPU per token | B | B : A | A: tokens/s (best) | B | A : B |\n"
           "|---|--:|--:|--:|--:|--:|--:|\n");
    for (uint32_t m = 0; m < MEASURES; m++) {
        struct ratio cpu = ratio_of(side[0].cpu[m], side[1].cpu[m], rounds);
        struct ratio wall = ratio_of(side[0].wall[m], side[1].wall[m], rounds);
        printf("| %s | %.3f | %.3f | %.2f [%.2f-%.2f] | %.0f (%.0f) | %.0f (%.0f) | "
               "%.2f [%.2f-%.2f] |\n",
               names[m], median(side[0].cpu[m], rounds), median(side[1].cpu[m], rounds), cpu.mid,
               cpu.low, cpu.high, 1e3 / median(side[0].wall[m], rounds),
               1e3 / least(side[0].wall[m], rounds), 1e3 / median(side[1].wall[m], rounds),
               1e3 / least(side[1].wall[m], rounds), wall.mid, wall.low, wall.high);
    }
}

/* What a token of A's decode reads. */
static void print_bandwidth(const struct side *s, uint32_t rounds, double read) {
    struct asy_exact_model *model;
    struct asy_why why = {{0}, {0}};
    if (!s->exact || asy_exact_model_open(&model, s->file, &why) != ASY_OK) {
        return;
    }
    const struct asy_exact_info *i = asy_exact_model_info(model);
    double weights = (double)i->step_len;
    double entries = (double)i->entry_len * (PREFILL + DECODE / 2);
    double ms = median(s->cpu[1], rounds), best = least(s->cpu[1], rounds);
    printf("\nA token of A's decode reads %.1f MB of weights and %.1f MB of keys and values: "
           "%.1f GB/s (best %.1f);\na plain read of the file by one core: %.1f GB/s (best)\n",
           weights * 1e-6, entries * 1e-6, (weights + entries) / ms * 1e-6,
           (weights + entries) / best * 1e-6, read);
    asy_exact_model_free(model);
}

int main(int argc, char **argv) {
    static struct side side[2];
    uint32_t rounds = 5;
    bool json = false;
    if (argc < 4) {
        die("usage: speed PLUGIN SIDE SIDE [--rounds N] [--json]");
    }
    for (int i = 4; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (i + 1 < argc && strcmp(argv[i], "--rounds") == 0) {
            rounds = number(argv[++i]);
        } else {
            die("unknown argument");
        }
    }
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    const struct asy_engine_plugin *plugin =
        library != NULL ? dlsym(library, ASY_ENGINE_PLUGIN_SYMBOL) : NULL;
    if (plugin == NULL) {
        die(dlerror());
    }
    side_parse(&side[0], argv[2]);
    side_parse(&side[1], argv[3]);
    if (!side[0].exact && !side[1].exact) {
        die("one GGUF file at most");
    }
    /* The plugin holds one model. The integer engine keeps only a tokenizer there, which nobody
     * asks here, so the other model comes last and may stay. */
    int first = side[0].exact ? 0 : 1;
    side_load(&side[first], plugin);
    side_load(&side[1 - first], plugin);
    round_of(&side[0], 0); /* pages in, clocks up */
    round_of(&side[1], 0);
    for (uint32_t r = 0; r < rounds; r++) {
        round_of(&side[r % 2], r);
        round_of(&side[1 - r % 2], r);
    }
    double read = plain_read(side[first].file);
    if (json) {
        print_json(side, rounds, read);
        return 0;
    }
    print_table(side, rounds);
    print_bandwidth(&side[0], rounds, read);
    return 0;
}
