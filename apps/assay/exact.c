/* exact.c: `assay exact`: models of the exact engine, run and measured without a market. */
#include "exact_priv.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* ---- options --------------------------------------------------------------------------------- */

int exact_number(uint32_t *ret, const char *name, const char *option, const char *text,
                 uint32_t min, uint32_t max) {
    uint64_t v;
    if (asy_bytes_to_u64(&v, asy_bytes_cstr(text)) != ASY_OK || v < min || v > max) {
        return client_usage(name, "%s takes a number in [%u, %u], not `%s`", option, min, max,
                            text);
    }
    *ret = (uint32_t)v;
    return 0;
}

int exact_option(struct exact_options *o, const char *name, int option) {
    switch (option) {
    case EXACT_OPT_MODEL:
        o->model = optarg;
        return 0;
    case EXACT_OPT_TEXT:
        o->text = optarg;
        return 0;
    case EXACT_OPT_WINDOW:
        return exact_number(&o->window, name, "--window", optarg, 2, ASY_EXACT_MAX_POSITIONS);
    case EXACT_OPT_WINDOWS:
        return exact_number(&o->windows, name, "--windows", optarg, 1, 1u << 20);
    case EXACT_OPT_CHUNK:
        return exact_number(&o->chunk, name, "--chunk", optarg, 1, ASY_EXACT_MAX_ROWS);
    case EXACT_OPT_BATCH:
        return exact_number(&o->batch, name, "--batch", optarg, 1, ASY_EXACT_MAX_ROWS);
    case EXACT_OPT_THREADS:
        return exact_number(&o->threads, name, "--threads", optarg, 1, 64);
    case EXACT_OPT_KERNEL:
        return asy_exact_kernel_parse(&o->kernel, asy_bytes_cstr(optarg)) == ASY_OK
                   ? 0
                   : client_usage(name, "there is no kernel `%s`", optarg);
    case OPT_JSON:
        o->json = true;
        return 0;
    default:
        return -1;
    }
}

/* ---- models ---------------------------------------------------------------------------------- */

enum asy_err exact_model_open(struct exact_model *m, const char *path, struct asy_why *why) {
    *m = (struct exact_model){0};
    ASY_TRY(asy_file_map(&m->file, path, why));
    return asy_exact_model_open(&m->model, m->file, why);
}

void exact_model_close(struct exact_model *m) {
    asy_exact_model_free(m->model);
    asy_file_unmap(m->file);
    *m = (struct exact_model){0};
}

enum asy_err exact_llama(struct asy_llama **ret_llama, struct asy_why *why) {
    char path[4096];
    const char *self = app_self(), *slash = strrchr(self, '/');
    if (snprintf(path, sizeof path, "%.*s/../lib/assay-llama.so",
                 slash != NULL ? (int)(slash - self) : 1,
                 slash != NULL ? self : ".") >= (int)sizeof path) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, NULL, "the program's path is too long");
    }
    return asy_llama_open(ret_llama, path, why);
}

enum asy_err exact_windows(struct asy_windows *ret_w, const struct asy_llama *llama,
                           const struct asy_exact_model *model, const struct exact_options *o,
                           struct asy_why *why) {
    const struct asy_exact_info *i = asy_exact_model_info(model);
    struct asy_llama_vocab *vocab;
    struct asy_bytes text = {0};
    if (o->window > i->positions) {
        return asy_why_set(why, ASY_ERR_RANGE, "--window", "the model has %u positions",
                           i->positions);
    }
    if (o->text != NULL) {
        ASY_TRY(asy_file_map(&text, o->text, why));
    }
    enum asy_err err = asy_llama_vocab_new(&vocab, llama, i->vocabulary, why);
    if (err == ASY_OK) {
        err = asy_windows_new(ret_w, vocab, o->text != NULL ? text : asy_measure_text, o->window,
                              o->windows, why);
        asy_llama_vocab_free(vocab);
    }
    asy_file_unmap(text);
    return err;
}

/* ---- printing -------------------------------------------------------------------------------- */

void exact_progress(void *arg, const char *stage, uint64_t done, uint64_t total) {
    (void)arg;
    char bar[31] = "";
    if (total == 0 || !isatty(STDERR_FILENO)) {
        return;
    }
    uint64_t filled = done * (sizeof bar - 1) / total;
    memset(bar, '.', sizeof bar - 1);
    memset(bar, '#', (size_t)(filled < sizeof bar ? filled : sizeof bar - 1));
    fprintf(stderr, "\r%-24s [%s] %3u %%", stage, bar, (unsigned)(done * 100 / total));
}

void exact_progress_end(void) {
    if (isatty(STDERR_FILENO)) {
        fputs("\r\033[K", stderr);
    }
}

/* ---- ppl ------------------------------------------------------------------------------------- */

static void print_ppl(const struct asy_measure *m, const struct asy_windows *w,
                      const struct exact_options *o) {
    struct asy_measure_mean mean = asy_measure_mean(m);
    double ppl = exp(mean.nll), ms = 1000 / ((double)w->count * w->window);
    if (o->json) {
        printf("{\"nll\":%.6f,\"nll_error\":%.6f,\"perplexity\":%.4f,\"tokens\":%zu,"
               "\"windows\":%u,\"window\":%u,\"cpu_ms_per_token\":%.3f,"
               "\"wall_ms_per_token\":%.3f}\n",
               mean.nll, mean.error, ppl, m->count, w->count, w->window, m->cpu_s * ms,
               m->wall_s * ms);
        return;
    }
    printf("perplexity %.4f +- %.4f over %zu tokens, %u windows of %u\n"
           "%.3f ms of CPU a token, %.3f ms of time\n",
           ppl, ppl * mean.error, m->count, w->count, w->window, m->cpu_s * ms, m->wall_s * ms);
}

static enum asy_err ppl(const struct exact_options *o, struct asy_why *why) {
    struct exact_model m;
    struct asy_llama *llama = NULL;
    struct asy_windows w = {0};
    struct asy_measure measure;
    struct asy_measure_config config = {.kernel = o->kernel,
                                        .threads = o->threads,
                                        .batch = o->batch,
                                        .chunk = o->chunk,
                                        .progress = exact_progress};
    enum asy_err err = exact_model_open(&m, o->model, why);
    if (err == ASY_OK) {
        err = exact_llama(&llama, why);
    }
    if (err == ASY_OK) {
        err = exact_windows(&w, llama, m.model, o, why);
    }
    if (err == ASY_OK) {
        err = asy_measure_exact(&measure, m.model, &w, &config, why);
        exact_progress_end();
    }
    if (err == ASY_OK) {
        print_ppl(&measure, &w, o);
        asy_measure_done(&measure);
    }
    asy_windows_done(&w);
    asy_llama_free(llama);
    exact_model_close(&m);
    return err;
}

static int cmd_exact_ppl(int argc, char **argv) {
    static const char help[] =
        "usage: assay exact ppl --model FILE --text FILE [...]\n\n"
        "Says how well a model of the exact engine predicts a text: its perplexity, the same on\n"
        "every machine up to the printed digits.\n\n"
        "  --model FILE         the model (assay models convert makes it)\n"
        "  --text FILE          UTF-8\n" EXACT_HELP_TEXT EXACT_HELP;
    static const struct option options[] = {EXACT_OPTIONS};
    struct exact_options o = EXACT_DEFAULTS;
    struct asy_why why = {{0}, {0}};
    for (int i; (i = client_option(argc, argv, "exact ppl", help, "", options)) != -1;) {
        int rc = exact_option(&o, "exact ppl", i);
        if (rc != 0) {
            return i == OPT_HELP ? 0 : 2;
        }
    }
    if (optind != argc || o.model == NULL || o.text == NULL) {
        return client_usage("exact ppl", "it takes --model FILE and --text FILE");
    }
    enum asy_err err = ppl(&o, &why);
    return err == ASY_OK ? 0 : app_fail("exact ppl", err, &why);
}

/* ---- the command ----------------------------------------------------------------------------- */

static const struct {
    const char *name, *text;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"bench", "how fast a model runs here", cmd_exact_bench},
    {"hash", "one hash over all logits of a text", cmd_exact_hash},
    {"ppl", "perplexity of a model on a text", cmd_exact_ppl},
    {"tokens", "the token ids of a text", cmd_exact_tokens},
    {"trace", "commit to every step of a job, and open any of them", cmd_exact_trace},
};

static void usage(FILE *to) {
    fputs("assay exact: models of the exact engine, without a market\n\n"
          "usage: assay exact COMMAND [...]\n\n",
          to);
    for (size_t i = 0; i < ASY_COUNT(commands); i++) {
        fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].text);
    }
    fputs("\n`assay exact COMMAND --help` tells more.\n", to);
}

int cmd_exact(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < ASY_COUNT(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return 0;
    }
    if (argc > 1) {
        return client_usage("exact", "there is no command `%s`", argv[1]);
    }
    usage(stderr);
    return 2;
}
