/* Measures what judging an answer costs beside making it: asy_audit_exact over a job, against
 * decoding the same job, one sequence, one token a step, with the sampler. Both in turns, in one
 * process; CPU time of all threads.
 *
 * The answers are the model's own: each round decodes them again (which is what is measured) and
 * judges them. Then the parts of the judgement: the same steps without logits (body), with them
 * (head), and what is left (sampler).
 * usage: replay EXACT [--threads N] [--rounds N] [--kernel K] [--prompt IDS]
 * IDS: a file of token ids, int32 little-endian, of which the first 64 are the prompt; else it is
 * ids of no meaning. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "audit/audit.h"

enum { PROMPT = 64, OUTPUT = 448, TOTAL = PROMPT + OUTPUT, ROUNDS_MAX = 64 };

static const struct {
    const char *name;
    uint32_t temperature_milli, top_k, top_p_ppm, min_p_ppm;
    int32_t frequency_penalty_milli;
} cases[] = {
    {"temperature 0", 0, 0, 1000000, 0, 0},
    {"temperature 0.8", 800, 0, 1000000, 0, 0},
    {"0.8, top_k 40", 800, 40, 1000000, 0, 0},
    {"0.8, top_p 0.95", 800, 0, 950000, 0, 0},
    {"0.8, min_p 0.05", 800, 0, 1000000, 50000, 0},
    {"0.8, frequency penalty 0.5", 800, 0, 1000000, 0, 500},
};
enum { CASES = ASY_COUNT(cases) };
enum part { DECODE, SAMPLE, AUDIT, BODY, HEAD, PARTS };

struct bench {
    const struct asy_exact_model *model;
    struct asy_exact *one, *many; /* as a node decodes, as a judge replays */
    uint32_t vocab, stride;
    uint32_t ids[TOTAL];
    void *workspace;
    int32_t *logits;
    double ms[CASES][PARTS][ROUNDS_MAX]; /* CPU per output token */
};

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
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
    fprintf(stderr, "replay: %s\n", what);
    exit(1);
}
static void must(enum asy_err err, const struct asy_why *why) {
    if (err != ASY_OK) {
        die(why != NULL && why->text[0] != 0 ? why->text : asy_err_name(err));
    }
}

/* Rows [0, end) in steps of at most `rows`; those from `ask` on with their logits. */
static void steps(struct asy_exact *x, const uint32_t *ids, uint32_t from, uint32_t end,
                  uint32_t ask, const int32_t **ret_logits) {
    static struct asy_exact_row rows[ASY_EXACT_MAX_ROWS];
    const struct asy_exact_config *c = asy_exact_config_of(x);
    for (uint32_t at = from; at < end;) {
        uint32_t n = 0, wanted = 0;
        while (at + n < end && n < c->rows && wanted < c->logits_rows) {
            bool want = at + n >= ask;
            rows[n] = (struct asy_exact_row){
                .token = ids[at + n], .slot = 0, .pos = at + n, .logits = want};
            wanted += want;
            n++;
        }
        must(asy_exact_step(x, ret_logits, rows, n), NULL);
        at += n;
    }
}

static void round_of(struct bench *b, size_t c, uint32_t round) {
    struct asy_audit_exact_job job = {
        .prompt = b->ids,
        .prompt_count = PROMPT,
        .output = b->ids + PROMPT,
        .output_count = OUTPUT,
        .sampling = {.temperature_milli = cases[c].temperature_milli,
                     .top_k = cases[c].top_k,
                     .top_p_ppm = cases[c].top_p_ppm,
                     .min_p_ppm = cases[c].min_p_ppm,
                     .frequency_penalty_milli = cases[c].frequency_penalty_milli}};
    struct asy_sample_count counts[OUTPUT + 1];
    size_t counts_len = 0;
    const int32_t *logits;
    double sampling = 0, start = cpu_s();
    steps(b->one, b->ids, 0, PROMPT, PROMPT - 1, &logits);
    for (uint32_t n = 0; n < OUTPUT; n++) {
        if (n != 0) {
            steps(b->one, b->ids, PROMPT + n - 1, PROMPT + n, 0, &logits);
        }
        double before = cpu_s();
        if (job.sampling.frequency_penalty_milli != 0) {
            memcpy(b->logits, logits, b->vocab * sizeof *logits);
            must(asy_sample_adjust(b->logits, b->vocab, &job.sampling, NULL, 0, counts, counts_len),
                 NULL);
            logits = b->logits;
        }
        must(asy_sample_token(&b->ids[PROMPT + n], NULL, b->workspace, logits, b->vocab,
                              &job.sampling, job.seed, n),
             NULL);
        asy_sample_count_add(counts, &counts_len, b->ids[PROMPT + n]);
        sampling += cpu_s() - before;
    }
    double end = cpu_s();
    struct asy_audit_exact verdict;
    must(asy_audit_exact(&verdict, NULL, b->many, 0, &job, true, NULL, NULL, NULL), NULL);
    double judged = cpu_s();
    steps(b->many, b->ids, 0, TOTAL - 1, UINT32_MAX, NULL);
    double body = cpu_s();
    steps(b->many, b->ids, 0, TOTAL - 1, PROMPT - 1, NULL);
    double both = cpu_s();
    if (verdict.verdict != ASY_AUDIT_PROVED) {
        die("the answer is not proved");
    }
    const double parts[PARTS] = {[DECODE] = end - start,
                                 [SAMPLE] = sampling,
                                 [AUDIT] = judged - end,
                                 [BODY] = body - judged,
                                 [HEAD] = (both - body) - (body - judged)};
    for (int p = 0; p < PARTS; p++) {
        b->ms[c][p][round] = parts[p] * 1e3 / OUTPUT;
    }
}

static void print(const struct bench *b, uint32_t rounds, uint32_t threads) {
    printf("%s, %u thread%s, a prompt of %d and an answer of %d tokens; ms of CPU per token of the "
           "answer, medians of %u rounds in turns\n\n",
           asy_exact_kernel_name(asy_exact_kernel_of(b->many)), threads, threads == 1 ? "" : "s",
           PROMPT, OUTPUT, rounds);
    printf("| settings | decode | of it sampler | replay | of it body | head | sampler | replay : "
           "decode |\n|---|--:|--:|--:|--:|--:|--:|--:|\n");
    for (size_t c = 0; c < CASES; c++) {
        double m[PARTS], ratios[ROUNDS_MAX], low = 1e9, high = 0;
        for (int p = 0; p < PARTS; p++) {
            m[p] = median(b->ms[c][p], rounds);
        }
        for (uint32_t r = 0; r < rounds; r++) {
            ratios[r] = b->ms[c][AUDIT][r] / b->ms[c][DECODE][r];
            low = ratios[r] < low ? ratios[r] : low;
            high = ratios[r] > high ? ratios[r] : high;
        }
        printf("| %s | %.2f | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f [%.3f-%.3f] |\n",
               cases[c].name, m[DECODE], m[SAMPLE], m[AUDIT], m[BODY], m[HEAD],
               m[AUDIT] - m[BODY] - m[HEAD], median(ratios, rounds), low, high);
    }
}

static uint32_t number(const char *text) {
    uint64_t v = 0;
    if (asy_bytes_to_u64(&v, asy_bytes_cstr(text)) != ASY_OK || v == 0 || v > ROUNDS_MAX) {
        die("a number from 1 to 64 is needed");
    }
    return (uint32_t)v;
}

static void read_prompt(struct bench *b, const char *path) {
    uint8_t raw[4 * PROMPT];
    FILE *f = fopen(path, "rb");
    if (f == NULL || fread(raw, 1, sizeof raw, f) != sizeof raw) {
        die("cannot read the prompt");
    }
    (void)fclose(f); /* only read */
    for (uint32_t i = 0; i < PROMPT; i++) {
        b->ids[i] = asy_le32_get(raw + 4 * i);
    }
}

int main(int argc, char **argv) {
    static struct bench b;
    uint32_t threads = 1, rounds = 5;
    enum asy_exact_kernel kernel = ASY_EXACT_AUTO;
    const char *prompt = NULL;
    if (argc < 2) {
        die("usage: replay EXACT [--threads N] [--rounds N] [--kernel K] [--prompt IDS]");
    }
    for (int i = 2; i < argc; i++) {
        bool more = i + 1 < argc;
        if (more && strcmp(argv[i], "--threads") == 0) {
            threads = number(argv[++i]);
        } else if (more && strcmp(argv[i], "--rounds") == 0) {
            rounds = number(argv[++i]);
        } else if (more && strcmp(argv[i], "--prompt") == 0) {
            prompt = argv[++i];
        } else if (more && strcmp(argv[i], "--kernel") == 0) {
            must(asy_exact_kernel_parse(&kernel, asy_bytes_cstr(argv[++i])), NULL);
        } else {
            die("unknown argument");
        }
    }
    struct asy_why why = {{0}, {0}};
    struct asy_bytes file;
    struct asy_exact_model *model;
    must(asy_file_map(&file, argv[1], &why), &why);
    must(asy_exact_model_open(&model, file, &why), &why);
    b.model = model;
    b.vocab = asy_exact_model_info(model)->vocab;
    b.workspace = asy_alloc(asy_sample_workspace_len(b.vocab));
    b.logits = asy_alloc(b.vocab * sizeof *b.logits);
    struct asy_exact_config config = {kernel, threads, 1, TOTAL, 128, 1};
    must(asy_exact_new(&b.one, model, &config, &why), &why);
    config.rows = ASY_AUDIT_ROWS;
    config.logits_rows = ASY_AUDIT_LOGITS_ROWS;
    must(asy_exact_new(&b.many, model, &config, &why), &why);
    for (uint32_t i = 0; i < PROMPT; i++) {
        b.ids[i] = (i * 7919u + 1000u) % b.vocab;
    }
    if (prompt != NULL) {
        read_prompt(&b, prompt);
    }
    round_of(&b, 0, 0); /* pages in, clocks up */
    for (uint32_t r = 0; r < rounds; r++) {
        for (size_t c = 0; c < CASES; c++) {
            round_of(&b, c, r);
        }
    }
    print(&b, rounds, threads);
    return 0;
}
