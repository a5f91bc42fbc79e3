/* Measures the integer engine against llama.cpp on the same weights, in turns, in one process:
 * prefill, decode, and several sequences of different lengths at once. Both stand behind the
 * worker's runtime interface, so both are asked for the same rows in the same steps.
 *
 * CPU time is that of all threads of the process. A plain read of the model file's bytes stands
 * beside decode: what the memory gives.
 * usage: speed PLUGIN EXACT GGUF [--threads N] [--rounds N] [--kernel K] [--backend B] [--json] */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/engine.h"
#include "engine/exact_priv.h"

enum { PREFILL = 256, DECODE = 32, CONTEXT = 640, SLOTS = 32, STEPS = 8, ROUNDS_MAX = 64 };
static const uint32_t batches[] = {4, 16, 32};
enum { MEASURES = 2 + 3, PREFILL_ALL = 0 };
static const char *const names[MEASURES] = {"prefill 256", "decode", "4 sequences", "16 sequences",
                                            "32 sequences"};

struct side {
    const char *name;
    struct asy_engine_runtime rt;
    uint32_t batch; /* rows of one step of a prompt */
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

static void round_of(struct side *s, uint32_t round) {
    struct watch w = start();
    prompt(s, 0, PREFILL);
    stop(s, 0, round, w, PREFILL);
    w = start();
    for (uint32_t i = 0; i < DECODE; i++) {
        struct asy_engine_row row = {0, PREFILL + i, token_at(s->rt.vocab_count, 0, PREFILL + i),
                                     true};
        forward(s, &row, 1);
    }
    stop(s, 1, round, w, DECODE);
    for (uint32_t b = 0; b < ASY_COUNT(batches); b++) {
        struct asy_engine_row rows[SLOTS];
        for (uint32_t slot = 0; slot < batches[b]; slot++) {
            prompt(s, slot, 32 + 8 * slot);
        }
        w = start();
        for (uint32_t i = 0; i < STEPS; i++) {
            for (uint32_t slot = 0; slot < batches[b]; slot++) {
                uint32_t pos = 32 + 8 * slot + i;
                rows[slot] = (struct asy_engine_row){slot, pos,
                                                     token_at(s->rt.vocab_count, slot, pos), true};
            }
            forward(s, rows, batches[b]);
        }
        stop(s, 2 + b, round, w, STEPS * batches[b]);
    }
}

/* GB/s of one core reading the file's pages. */
static double plain_read(struct asy_bytes file) {
    double best = 0;
    for (int r = 0; r < 5; r++) {
        const uint64_t *p = (const uint64_t *)(const void *)file.p;
        uint64_t sum[8] = {0};
        double t = now_s(CLOCK_PROCESS_CPUTIME_ID);
        for (size_t i = 0; i + 8 <= file.n / 8; i += 8) {
            for (int k = 0; k < 8; k++) {
                sum[k] ^= p[i + (size_t)k];
            }
        }
        t = now_s(CLOCK_PROCESS_CPUTIME_ID) - t;
        volatile uint64_t sink = sum[0] ^ sum[3] ^ sum[7];
        (void)sink;
        double rate = (double)file.n / t * 1e-9;
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

int main(int argc, char **argv) {
    uint32_t threads = 1, rounds = 5;
    const char *kernel = NULL, *backend = NULL;
    bool json = false;
    if (argc < 4) {
        die("usage: speed PLUGIN EXACT GGUF [--threads N] [--rounds N] [--kernel K] [--backend B] "
            "[--json]");
    }
    for (int i = 4; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (more && strcmp(argv[i], "--threads") == 0) {
            threads = number(argv[++i]);
        } else if (more && strcmp(argv[i], "--rounds") == 0) {
            rounds = number(argv[++i]);
        } else if (more && strcmp(argv[i], "--kernel") == 0) {
            kernel = argv[++i];
        } else if (more && strcmp(argv[i], "--backend") == 0) {
            backend = argv[++i];
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
    static struct side side[2];
    char why[ASY_ENGINE_TEXT_MAX] = "";
    struct asy_why reason = {{0}, {0}};
    struct asy_bytes file;
    struct asy_engine_runtime_config c = {.model_path = argv[3],
                                          .backend = backend,
                                          .slots = SLOTS,
                                          .context = CONTEXT,
                                          .batch = 512,
                                          .threads = threads};
    /* the plugin holds one model: first the vocabulary, which nobody asks here, then the other */
    c.backend = kernel;
    if (asy_file_map(&file, argv[2], &reason) != ASY_OK) {
        die(reason.text);
    }
    side[0] = (struct side){.name = "exact"};
    if (!asy_engine_exact_load(&side[0].rt, &c, file, plugin, why)) {
        die(why);
    }
    side[0].batch = c.batch;
    c.batch = 512;
    c.backend = backend;
    side[1] = (struct side){.name = "llama.cpp", .batch = PREFILL};
    if (!plugin->load(&side[1].rt, &c, why)) {
        die(why);
    }
    round_of(&side[0], 0); /* pages in, clocks up */
    round_of(&side[1], 0);
    for (uint32_t r = 0; r < rounds; r++) {
        round_of(&side[r % 2], r);
        round_of(&side[1 - r % 2], r);
    }
    double read = plain_read(file);
    if (json) {
        printf("{\"exact\":\"%s\",\"llama\":\"%s\",\"threads\":%u,\"rounds\":%u,\"read_gb_s\":%.1f,"
               "\"ms_per_token\":{",
               side[0].rt.backend, side[1].rt.backend, threads, rounds, read);
        for (uint32_t m = 0; m < MEASURES; m++) {
            printf("%s\"%s\":[%.4f,%.4f]", m != 0 ? "," : "", names[m],
                   median(side[0].cpu[m], rounds), median(side[1].cpu[m], rounds));
        }
        printf("}}\n");
        return 0;
    }
    printf("%s against %s, %u thread%s, medians of %u rounds in turns\n\n", side[0].rt.backend,
           side[1].rt.backend, threads, threads == 1 ? "" : "s", rounds);
    printf("| ms of CPU per token | exact | llama.cpp | ratio [lowest-highest] | exact, tokens/s "
           "of wall |\n"
           "|---|--:|--:|--:|--:|\n");
    for (uint32_t m = 0; m < MEASURES; m++) {
        double low = 1e9, high = 0, ratios[ROUNDS_MAX];
        for (uint32_t r = 0; r < rounds; r++) {
            ratios[r] = side[1].cpu[m][r] / side[0].cpu[m][r];
            low = ratios[r] < low ? ratios[r] : low;
            high = ratios[r] > high ? ratios[r] : high;
        }
        printf("| %s | %.3f | %.3f | %.2f [%.2f-%.2f] | %.0f |\n", names[m],
               median(side[0].cpu[m], rounds), median(side[1].cpu[m], rounds),
               median(ratios, rounds), low, high, 1e3 / median(side[0].wall[m], rounds));
    }
    double decode = median(side[0].cpu[1], rounds);
    printf("\ndecode reads %.1f MB of weights a token: %.1f GB/s; a plain read of the file: %.1f "
           "GB/s\n",
           (double)file.n * 1e-6, (double)file.n / decode * 1e-6, read);
    return 0;
}
