/* convert.c: `assay models convert`: a GGUF file becomes a model of the exact engine; `assay models
 * report`: what that cost; and `assay models check`: whether a file is what it says. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "exact_priv.h"

struct settings {
    struct exact_options run;
    const char *from, *to, *calibrate;
    char *const *models; /* of a report; NULL: `to` alone */
    uint32_t model_count;
    const char *out; /* folder of the report; NULL: none */
    const char *types;
    bool any_source;
    struct asy_convert_options convert;
};

/* ---- report ---------------------------------------------------------------------------------- */

enum { MAX_TYPES = 4, MAX_MODELS = 16, REPORT_LEN = 1u << 20 };

/* "Q8_0,Q4_0" */
static bool split_types(char *text, const char *ret_types[MAX_TYPES + 1]) {
    size_t count = 0;
    for (char *p = text; p != NULL && *p != '\0';) {
        char *comma = strchr(p, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        if (count == MAX_TYPES) {
            return false;
        }
        ret_types[count++] = p;
        p = comma != NULL ? comma + 1 : NULL;
    }
    ret_types[count] = NULL;
    return true;
}

static enum asy_err write_one(const char *dir, const char *name, const struct asy_buf *buf,
                              struct asy_why *why) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return app_write_file(path, asy_buf_bytes(buf), why);
}

static enum asy_err write_report(const struct settings *s, const struct asy_report *r,
                                 struct asy_why *why) {
    const char *slash = strrchr(s->from, '/');
    struct asy_buf text, json, svg;
    asy_buf_init(&text, REPORT_LEN);
    asy_buf_init(&json, REPORT_LEN);
    asy_buf_init(&svg, REPORT_LEN);
    enum asy_err err = asy_report_text(&text, r);
    if (err == ASY_OK) {
        err = asy_report_json(&json, r);
    }
    if (err == ASY_OK) {
        err = asy_report_svg(&svg, r, slash != NULL ? slash + 1 : s->from);
    }
    if (err == ASY_OK && s->out != NULL) {
        (void)mkdir(s->out, 0777); /* it may be there; if it cannot be made, writing says so */
        err = write_one(s->out, "report.txt", &text, why);
    }
    if (err == ASY_OK && s->out != NULL) {
        err = write_one(s->out, "report.json", &json, why);
    }
    if (err == ASY_OK && s->out != NULL) {
        err = write_one(s->out, "report.svg", &svg, why);
    }
    if (err == ASY_OK) {
        fputs(asy_buf_cstr(s->run.json ? &json : &text), stdout);
    }
    asy_buf_done(&text);
    asy_buf_done(&json);
    asy_buf_done(&svg);
    return err;
}

/* The name of a model in a report: its file's, without an ending. */
static void model_name(char ret[40], const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    (void)snprintf(ret, 40, "%.*s", dot != NULL ? (int)(dot - base) : 39, base);
}

static enum asy_err report(const struct settings *s, const struct asy_llama *llama,
                           struct asy_why *why) {
    char types[64], names[MAX_MODELS][40];
    const char *list[MAX_TYPES + 1], *temp = getenv("TMPDIR");
    struct exact_model m[MAX_MODELS] = {0};
    struct asy_report_exact models[MAX_MODELS];
    struct asy_windows w = {0};
    struct asy_report r;
    struct asy_report_config config = {.run = {.kernel = s->run.kernel,
                                               .threads = s->run.threads,
                                               .batch = s->run.batch,
                                               .chunk = s->run.chunk,
                                               .progress = exact_progress},
                                       .temp = temp != NULL && *temp != '\0' ? temp : "/tmp",
                                       .types = list,
                                       .any_source = s->any_source};
    uint32_t count = s->models != NULL ? s->model_count : 1;
    enum asy_err err = ASY_OK;
    if (snprintf(types, sizeof types, "%s", s->types) >= (int)sizeof types ||
        !split_types(types, list)) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, "--types", "at most %d", MAX_TYPES);
    }
    for (uint32_t i = 0; i < count && err == ASY_OK; i++) {
        const char *path = s->models != NULL ? s->models[i] : s->to;
        err = exact_model_open(&m[i], path, why);
        model_name(names[i], path);
        models[i] = (struct asy_report_exact){
            .name = names[i], .model = m[i].model, .file_len = m[i].file.n};
    }
    if (err == ASY_OK) {
        err = exact_windows(&w, llama, m[0].model, &s->run, why);
    }
    if (err == ASY_OK) {
        err = asy_report_make(&r, llama, s->from, models, count, &w, &config, why);
        exact_progress_end();
    }
    if (err == ASY_OK) {
        err = write_report(s, &r, why);
        asy_report_done(&r);
    }
    asy_windows_done(&w);
    for (uint32_t i = 0; i < count; i++) {
        exact_model_close(&m[i]);
    }
    return err;
}

#define REPORT_HELP                                                                                \
    "  --types LIST         llama.cpp's quantisations to compare with; default Q8_0,Q4_0\n"        \
    "  --text FILE          text to measure on, not the calibration's; default a built-in one\n"

int cmd_models_report(int argc, char **argv) {
    static const char help[] =
        "usage: assay models report IN.gguf MODEL [MODEL ...] [--out DIR] [...]\n\n"
        "Measures models of the exact engine beside the float model that they were made from, and\n"
        "beside llama.cpp's own quantisations of that: perplexity with standard errors, how often\n"
        "the same token comes out on top, and where in the layers differences arise. Files with\n"
        "float weights are made in TMPDIR, and removed again.\n\n"
        "  --out DIR            put report.txt, report.json and report.svg there\n"
        "  --any-source         IN.gguf may be another file than the one MODEL was made "
        "from\n" REPORT_HELP EXACT_HELP_TEXT EXACT_HELP;
    enum { OPT_OUT = EXACT_OPT_OWN, OPT_TYPES, OPT_ANY };
    static const struct option options[] = {{"out", required_argument, NULL, OPT_OUT},
                                            {"types", required_argument, NULL, OPT_TYPES},
                                            {"any-source", no_argument, NULL, OPT_ANY},
                                            EXACT_OPTIONS};
    static const char name[] = "models report";
    struct settings s = {.run = EXACT_DEFAULTS, .types = "Q8_0,Q4_0"};
    struct asy_llama *llama = NULL;
    struct asy_why why = {{0}, {0}};
    for (int i; (i = client_option(argc, argv, name, help, "", options)) != -1;) {
        int rc = 0;
        switch (i) {
        case OPT_OUT:
            s.out = optarg;
            break;
        case OPT_TYPES:
            s.types = optarg;
            break;
        case OPT_ANY:
            s.any_source = true;
            break;
        default:
            rc = exact_option(&s.run, name, i);
            break;
        }
        if (rc != 0) {
            return i == OPT_HELP ? 0 : 2;
        }
    }
    if (argc - optind < 2 || argc - optind > 1 + MAX_MODELS) {
        return client_usage(name, "it takes the GGUF file and 1 to %d models", MAX_MODELS);
    }
    s.from = argv[optind];
    s.to = argv[optind + 1];
    s.models = argv + optind + 1;
    s.model_count = (uint32_t)(argc - optind - 1);
    enum asy_err err = exact_llama(&llama, &why);
    if (err == ASY_OK) {
        err = report(&s, llama, &why);
    }
    asy_llama_free(llama);
    return err == ASY_OK ? 0 : app_fail(name, err, &why);
}

/* ---- convert --------------------------------------------------------------------------------- */

static void print_hash(const char *name, const struct asy_hash *h) {
    printf("%-14s ", name);
    for (size_t i = 0; i < sizeof h->b; i++) {
        printf("%02x", h->b[i]);
    }
    printf("\n");
}

static void json_hash(const char *name, const struct asy_hash *h) {
    printf("\"%s\":\"", name);
    for (size_t i = 0; i < sizeof h->b; i++) {
        printf("%02x", h->b[i]);
    }
    printf("\",");
}

static void print_result(const struct settings *s, const struct asy_convert_result *r) {
    double headroom = 1073741823.0 / (r->residual_max > 0 ? r->residual_max : 1);
    if (s->run.json) {
        printf("{\"bytes\":%llu,", (unsigned long long)r->file_len);
        json_hash("source", &r->source);
        json_hash("weights", &r->weights);
        printf("\"residual_bits\":%u,\"residual_max\":%d,\"headroom\":%.2f,\"saturated\":%llu,"
               "\"calibration_tokens\":%u,\"recipe\":\"",
               r->residual_bits, r->residual_max, headroom, (unsigned long long)r->saturated,
               r->calibration_tokens);
        for (const char *p = r->recipe; *p != '\0'; p++) {
            printf(*p == '\n' ? "\\n" : "%c", *p);
        }
        printf("\"}\n");
        return;
    }
    printf("%s: %.1f MB\n", s->to, (double)r->file_len / 1e6);
    print_hash("source", &r->source);
    print_hash("weights", &r->weights);
    printf("%-14s 2^-%u; largest number %.0f, %.1f times below the cap\n", "residual",
           r->residual_bits, (double)r->residual_max / (double)(1u << r->residual_bits), headroom);
    printf("%-14s %u tokens, %llu numbers at the cap\n\n%s", "calibration", r->calibration_tokens,
           (unsigned long long)r->saturated, r->recipe);
}

static enum asy_err run(struct settings *s, struct asy_why *why) {
    struct asy_llama *llama = NULL;
    struct asy_convert_result r;
    struct asy_bytes text = {0};
    enum asy_err err = ASY_OK;
    if (s->calibrate != NULL) {
        err = asy_file_map(&text, s->calibrate, why);
    }
    if (err == ASY_OK) {
        err = exact_llama(&llama, why);
    }
    if (err == ASY_OK) {
        s->convert.calibration = text;
        s->convert.kernel = s->run.kernel;
        s->convert.threads = s->run.threads;
        s->convert.progress = exact_progress;
        err = asy_convert(&r, llama, s->from, s->to, &s->convert, why);
        exact_progress_end();
    }
    if (err == ASY_OK) {
        print_result(s, &r);
    }
    if (err == ASY_OK && s->out != NULL) {
        fflush(stdout);
        err = report(s, llama, why);
    }
    asy_llama_free(llama);
    asy_file_unmap(text);
    return err;
}

int cmd_models_convert(int argc, char **argv) {
    static const char help[] =
        "usage: assay models convert IN.gguf OUT [...]\n\n"
        "Makes a model of the exact engine from a GGUF file of the llama, qwen2, qwen3 or gemma3\n"
        "architecture, with weights in any format. The same file and options give the same bytes\n"
        "on every machine.\n\n"
        "  --calibrate FILE     text that the model is run on, to measure its activations; "
        "default\n"
        "                       a built-in one\n"
        "  --calibrate-tokens N at most so many tokens of it; default 8192\n"
        "  --wide LIST          inputs of linears with 16 bits: all, none, or some of qkv, out,\n"
        "                       gate_up, down, head; \";0-3:qkv,out\" for some layers\n"
        "  --fold LIST          scales moved between weights: none, or some of norms, out, down,\n"
        "                       balance\n"
        "  --residual-bits N    unit of the residual 2^-N; by default lowered where the text "
        "shows\n"
        "                       that it must be\n"
        "  --context N          positions that the model is made for; default its own\n"
        "  --report DIR         measure it, and put a report there (see assay models "
        "report)\n" REPORT_HELP EXACT_HELP_TEXT EXACT_HELP "\n"
        "What is best for wide and fold is known for each architecture, and taken by default.\n";
    enum {
        OPT_CALIBRATE = EXACT_OPT_OWN,
        OPT_TOKENS,
        OPT_WIDE,
        OPT_FOLD,
        OPT_BITS,
        OPT_CONTEXT,
        OPT_REPORT,
        OPT_TYPES
    };
    static const struct option options[] = {
        {"calibrate", required_argument, NULL, OPT_CALIBRATE},
        {"calibrate-tokens", required_argument, NULL, OPT_TOKENS},
        {"wide", required_argument, NULL, OPT_WIDE},
        {"fold", required_argument, NULL, OPT_FOLD},
        {"residual-bits", required_argument, NULL, OPT_BITS},
        {"context", required_argument, NULL, OPT_CONTEXT},
        {"report", required_argument, NULL, OPT_REPORT},
        {"types", required_argument, NULL, OPT_TYPES},
        EXACT_OPTIONS};
    static const char name[] = "models convert";
    struct settings s = {.run = EXACT_DEFAULTS, .types = "Q8_0,Q4_0"};
    struct asy_why why = {{0}, {0}};
    for (int i; (i = client_option(argc, argv, name, help, "", options)) != -1;) {
        int rc = 0;
        switch (i) {
        case OPT_CALIBRATE:
            s.calibrate = optarg;
            break;
        case OPT_TOKENS:
            rc = exact_number(&s.convert.calibration_tokens, name, "--calibrate-tokens", optarg, 2,
                              1u << 24);
            break;
        case OPT_WIDE:
            s.convert.wide = optarg;
            break;
        case OPT_FOLD:
            s.convert.fold = optarg;
            break;
        case OPT_BITS:
            rc = exact_number(&s.convert.residual_bits, name, "--residual-bits", optarg, 1, 24);
            break;
        case OPT_CONTEXT:
            rc = exact_number(&s.convert.positions, name, "--context", optarg, 1,
                              ASY_EXACT_MAX_POSITIONS);
            break;
        case OPT_REPORT:
            s.out = optarg;
            break;
        case OPT_TYPES:
            s.types = optarg;
            break;
        default:
            rc = exact_option(&s.run, name, i);
            break;
        }
        if (rc != 0) {
            return i == OPT_HELP ? 0 : 2;
        }
    }
    if (argc - optind != 2) {
        return client_usage(name, "it takes the GGUF file and the file to make");
    }
    s.from = argv[optind];
    s.to = argv[optind + 1];
    enum asy_err err = run(&s, &why);
    return err == ASY_OK ? 0 : app_fail(name, err, &why);
}

/* ---- check ----------------------------------------------------------------------------------- */

static void print_model(const struct settings *s, const struct exact_model *m) {
    const struct asy_exact_info *i = asy_exact_model_info(m->model);
    if (s->run.json) {
        printf("{\"bytes\":%zu,\"layers\":%u,\"dim\":%u,\"inner\":%u,\"heads\":%u,\"kv_heads\":%u,"
               "\"head_dim\":%u,\"vocab\":%u,\"positions\":%u,\"sliding_window\":%u,",
               m->file.n, i->layers, i->dim, i->inner, i->heads, i->kv_heads, i->head_dim, i->vocab,
               i->positions, i->window);
        json_hash("source", &i->source);
        json_hash("weights", &i->weights);
        printf("\"residual_bits\":%u}\n", i->residual_bits);
        return;
    }
    printf("%s: %.1f MB, as its checksum and its weights root say\n"
           "%-14s %u layers of %u and %u, %u heads of %u, %u with keys and values\n"
           "%-14s %u tokens; %u positions%s\n",
           s->from, (double)m->file.n / 1e6, "shape", i->layers, i->dim, i->inner, i->heads,
           i->head_dim, i->kv_heads, "vocabulary", i->vocab, i->positions,
           i->window != 0 ? "; some layers see a window" : "");
    print_hash("source", &i->source);
    print_hash("weights", &i->weights);
    printf("\n");
    for (size_t n = 0; n < i->recipe.n; n++) { /* anybody may have written it, for a terminal */
        uint8_t c = i->recipe.p[n];
        (void)putchar(c == '\n' || (c >= ' ' && c <= '~') ? c : '?');
    }
}

static enum asy_err check(const struct settings *s, struct asy_why *why) {
    struct exact_model m;
    struct asy_hash source = {{0}};
    enum asy_err err = exact_model_open(&m, s->from, why);
    if (err == ASY_OK) {
        struct asy_exact_rows *rows = asy_exact_rows_new(m.model, s->run.threads);
        struct asy_hash root = asy_exact_rows_root(rows);
        asy_exact_rows_free(rows);
        if (!asy_hash_eq(&root, &asy_exact_model_info(m.model)->weights)) {
            err = asy_why_set(why, ASY_ERR_MISMATCH, NULL,
                              "its weights have another root than it says");
        }
    }
    if (err == ASY_OK && s->to != NULL) {
        struct asy_bytes gguf;
        err = asy_file_map(&gguf, s->to, why);
        if (err == ASY_OK) {
            asy_sha256(&source, gguf);
            asy_file_unmap(gguf);
        }
        if (err == ASY_OK && !asy_hash_eq(&source, &asy_exact_model_info(m.model)->source)) {
            err = asy_why_set(why, ASY_ERR_MISMATCH, NULL, "it was not made from %s", s->to);
        }
    }
    if (err == ASY_OK) {
        print_model(s, &m);
    }
    exact_model_close(&m);
    return err;
}

int cmd_models_check(int argc, char **argv) {
    static const char help[] =
        "usage: assay models check MODEL [--source IN.gguf] [...]\n\n"
        "Checks a model of the exact engine whole: its checksum, every number's range, and the "
        "root\n"
        "over all weights, which is computed anew (a start of the engine leaves that out). Prints\n"
        "what it is and how it was made.\n\n"
        "  --source IN.gguf     was it made from this file?\n"
        "  --threads N          default 1\n"
        "  --json               print the result as JSON\n";
    enum { OPT_SOURCE = EXACT_OPT_OWN };
    static const struct option options[] = {{"source", required_argument, NULL, OPT_SOURCE},
                                            {"threads", required_argument, NULL, EXACT_OPT_THREADS},
                                            {"json", no_argument, NULL, OPT_JSON},
                                            CLIENT_OPTION_HELP};
    static const char name[] = "models check";
    struct settings s = {.run = EXACT_DEFAULTS};
    struct asy_why why = {{0}, {0}};
    for (int i; (i = client_option(argc, argv, name, help, "", options)) != -1;) {
        int rc = i == OPT_SOURCE ? 0 : exact_option(&s.run, name, i);
        if (i == OPT_SOURCE) {
            s.to = optarg;
        }
        if (rc != 0) {
            return i == OPT_HELP ? 0 : 2;
        }
    }
    if (argc - optind != 1) {
        return client_usage(name, "it takes one model file");
    }
    s.from = argv[optind];
    enum asy_err err = check(&s, &why);
    return err == ASY_OK ? 0 : app_fail(name, err, &why);
}
