/* convert.c: `assay models convert`: a GGUF file becomes a model of the exact engine. */
#include <stdio.h>

#include "exact_priv.h"

struct settings {
    struct exact_options run;
    const char *from, *to, *calibrate;
    struct asy_convert_options convert;
};

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
    printf("%-14s 2^-%u; largest number %.0f, %.1f times below the cap\n", "residual",
           r->residual_bits, (double)r->residual_max / (double)(1u << r->residual_bits), headroom);
    printf("%-14s %u tokens, %llu numbers at the cap\n", "calibration", r->calibration_tokens,
           (unsigned long long)r->saturated);
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
        "  --threads N          of the calibration; default 1\n"
        "  --kernel NAME        of the calibration: auto, scalar, avx2, avx512 or neon\n"
        "  --json               print the result as JSON\n\n"
        "What is best for wide and fold is known for each architecture, and taken by default.\n";
    enum { OPT_CALIBRATE = EXACT_OPT_OWN, OPT_TOKENS, OPT_WIDE, OPT_FOLD, OPT_BITS, OPT_CONTEXT };
    static const struct option options[] = {
        {"calibrate", required_argument, NULL, OPT_CALIBRATE},
        {"calibrate-tokens", required_argument, NULL, OPT_TOKENS},
        {"wide", required_argument, NULL, OPT_WIDE},
        {"fold", required_argument, NULL, OPT_FOLD},
        {"residual-bits", required_argument, NULL, OPT_BITS},
        {"context", required_argument, NULL, OPT_CONTEXT},
        {"threads", required_argument, NULL, EXACT_OPT_THREADS},
        {"kernel", required_argument, NULL, EXACT_OPT_KERNEL},
        {"json", no_argument, NULL, OPT_JSON},
        CLIENT_OPTION_HELP};
    static const char name[] = "models convert";
    struct settings s = {.run = EXACT_DEFAULTS};
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
