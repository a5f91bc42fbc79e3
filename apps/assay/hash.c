/* hash.c: `assay exact hash` and `assay exact bench`: that a model gives the same logits
 * everywhere, and how fast. */
#include "exact_priv.h"

#include <stdio.h>
#include <time.h>

#include "crypto/crypto.h"

/* ---- hash ------------------------------------------------------------------------------------ */

enum { OPT_SKIP = EXACT_OPT_OWN, OPT_STAGGER, OPT_THROUGH, OPT_EACH, OPT_IDS };

/* How the first half of a window gets into the slot that computes the second. */
enum through { THROUGH_NOTHING, THROUGH_COPY, THROUGH_SAVE };

struct hash_options {
    struct exact_options o;
    const char *ids; /* a file of ids, in place of a text */
    uint32_t skip, stagger;
    enum through through;
    bool each;
};

/* One window being computed. */
struct lane {
    uint32_t window; /* its number; UINT32_MAX: none */
    uint32_t at;     /* positions done */
    uint32_t wait;   /* steps before it begins */
    struct asy_sha256 sha;
};

struct hasher {
    const struct hash_options *h;
    struct asy_exact *x;
    const struct asy_windows *w;
    struct lane *lanes; /* [batch] */
    struct asy_hash *digests;
    struct asy_exact_row *rows;
    uint32_t next, done;
    uint32_t vocab, stride;
    uint8_t *save;
};

static void begin(struct hasher *s, uint32_t lane) {
    struct lane *l = &s->lanes[lane];
    if (s->next < s->w->count) {
        l->window = s->next++;
        l->at = 0;
        asy_sha256_init(&l->sha);
    } else {
        l->window = UINT32_MAX;
    }
}

/* Half way a window may move to the spare slot and back, or into a save and back: the entries must
 * be the same. */
static void move(struct hasher *s, uint32_t lane) {
    uint32_t at = s->lanes[lane].at, spare = s->h->o.batch, count;
    enum asy_err err = ASY_OK;
    if (s->h->through == THROUGH_COPY) {
        err = asy_exact_copy(s->x, spare, lane, at);
        if (err == ASY_OK) {
            err = asy_exact_copy(s->x, lane, spare, at);
        }
    } else {
        uint64_t len = asy_exact_save_len(asy_exact_model_of(s->x), at);
        err = asy_exact_save(s->x, s->save, lane, at);
        if (err == ASY_OK) {
            err = asy_exact_restore(s->x, lane, asy_bytes_of(s->save, len), &count);
        }
    }
    ASY_ASSERT(err == ASY_OK); /* slots and positions are our own */
}

static void step(struct hasher *s) {
    const struct exact_options *o = &s->h->o;
    uint32_t count = 0;
    const int32_t *logits;
    for (uint32_t k = 0; k < o->batch; k++) {
        struct lane *l = &s->lanes[k];
        if (l->window == UINT32_MAX || l->wait > 0) {
            l->wait -= l->wait > 0;
            continue;
        }
        const uint32_t *ids = s->w->ids + (size_t)l->window * s->w->window;
        uint32_t n = s->w->window - l->at < o->chunk ? s->w->window - l->at : o->chunk;
        for (uint32_t i = 0; i < n; i++) {
            s->rows[count++] = (struct asy_exact_row){ids[l->at + i], k, l->at + i, true};
        }
    }
    if (count == 0) {
        return;
    }
    enum asy_err err = asy_exact_step(s->x, &logits, s->rows, count);
    ASY_ASSERT(err == ASY_OK); /* ids were checked, the rest is our own */
    for (uint32_t i = 0; i < count; i++) {
        struct lane *l = &s->lanes[s->rows[i].slot];
        asy_sha256_add(&l->sha, asy_bytes_of(logits + (size_t)i * s->stride, 4ull * s->vocab));
        l->at++;
    }
    for (uint32_t k = 0; k < o->batch; k++) {
        struct lane *l = &s->lanes[k];
        if (l->window != UINT32_MAX && l->at == s->w->window) {
            asy_sha256_final(&l->sha, &s->digests[l->window]);
            s->done++;
            begin(s, k);
        } else if (s->h->through != THROUGH_NOTHING && l->window != UINT32_MAX &&
                   l->at >= s->w->window / 2 && l->at < s->w->window / 2 + o->chunk && l->at != 0) {
            move(s, k);
        }
    }
}

static void print_hash(const struct hasher *s, double cpu_s) {
    const struct exact_options *o = &s->h->o;
    struct asy_sha256 sha;
    struct asy_hash all;
    char text[ASY_HASH_TEXT];
    asy_sha256_init(&sha);
    for (uint32_t i = 0; i < s->w->count; i++) {
        asy_sha256_add(&sha, asy_bytes_of(s->digests[i].b, 32));
    }
    asy_sha256_final(&sha, &all);
    asy_hash_format(text, &all);
    uint64_t tokens = (uint64_t)s->w->count * s->w->window;
    const char *kernel = asy_exact_kernel_name(asy_exact_kernel_of(s->x));
    if (o->json) {
        printf("{\"hash\":\"%s\",\"tokens\":%llu,\"windows\":%u,\"window\":%u,\"skip\":%u,"
               "\"kernel\":\"%s\",\"threads\":%u,\"chunk\":%u,\"batch\":%u,\"cpu_s\":%.2f",
               text, (unsigned long long)tokens, s->w->count, s->w->window, s->h->skip, kernel,
               o->threads, o->chunk, o->batch, cpu_s);
        for (uint32_t i = 0; s->h->each && i < s->w->count; i++) {
            asy_hash_format(text, &s->digests[i]);
            printf("%s\"%s\"%s", i == 0 ? ",\"each\":[" : ",", text,
                   i + 1 == s->w->count ? "]" : "");
        }
        printf("}\n");
        return;
    }
    for (uint32_t i = 0; s->h->each && i < s->w->count; i++) {
        char one[ASY_HASH_TEXT];
        asy_hash_format(one, &s->digests[i]);
        printf("window %u: %s\n", s->h->skip + i, one);
    }
    printf(
        "%s\nover all logits of %llu tokens in %u windows; %s, %u thread%s, %u at once in chunks "
        "of %u; %.1f s of CPU\n",
        text, (unsigned long long)tokens, s->w->count, kernel, o->threads,
        o->threads == 1 ? "" : "s", o->batch, o->chunk, cpu_s);
}

static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double wall_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void drop_windows(struct asy_windows *w, uint32_t skip) {
    skip = skip < w->count ? skip : w->count;
    memmove(w->ids, w->ids + (size_t)skip * w->window,
            (size_t)(w->count - skip) * w->window * sizeof *w->ids);
    w->count -= skip;
}

static enum asy_err hash_windows(const struct hash_options *h, const struct exact_model *m,
                                 const struct asy_windows *w, struct asy_why *why) {
    const struct exact_options *o = &h->o;
    struct hasher s = {.h = h, .w = w, .vocab = asy_exact_model_info(m->model)->vocab};
    uint32_t rows = o->batch * o->chunk;
    struct asy_exact_config c = {.kernel = o->kernel,
                                 .threads = o->threads,
                                 .slots = o->batch + 1,
                                 .context = w->window,
                                 .rows = rows,
                                 .logits_rows = rows};
    for (size_t i = 0; i < (size_t)w->count * w->window; i++) {
        if (w->ids[i] >= s.vocab) {
            return asy_why_set(why, ASY_ERR_RANGE, NULL, "an id is not in the model's vocabulary");
        }
    }
    ASY_TRY(asy_exact_new(&s.x, m->model, &c, why));
    s.stride = asy_exact_logits_stride(m->model);
    s.lanes = asy_alloc(o->batch * sizeof *s.lanes);
    s.rows = asy_alloc(rows * sizeof *s.rows);
    s.digests = asy_alloc(w->count * sizeof *s.digests);
    s.save = asy_alloc(h->through == THROUGH_SAVE ? asy_exact_save_len(m->model, w->window) : 1);
    double cpu = cpu_now();
    for (uint32_t k = 0; k < o->batch; k++) {
        begin(&s, k);
        s.lanes[k].wait = k * h->stagger;
    }
    while (s.done < w->count) {
        step(&s);
        exact_progress(NULL, "hashing", s.done, w->count);
    }
    exact_progress_end();
    print_hash(&s, cpu_now() - cpu);
    asy_free(s.lanes);
    asy_free(s.rows);
    asy_free(s.digests);
    asy_free(s.save);
    asy_exact_free(s.x);
    return ASY_OK;
}

/* Windows of a file of ids, as `exact tokens` writes it. */
static enum asy_err windows_of_ids(struct asy_windows *ret_w, const char *path,
                                   const struct exact_options *o, struct asy_why *why) {
    struct asy_bytes file;
    ASY_TRY(asy_file_map(&file, path, why));
    uint64_t count = file.n / 4 / o->window;
    count = o->windows != 0 && o->windows < count ? o->windows : count;
    enum asy_err err = ASY_OK;
    if (file.n % 4 != 0 || count == 0 || count > UINT32_MAX) {
        err = asy_why_set(why, ASY_ERR_SYNTAX, NULL,
                          "%s is not a file of ids that fills a window of %u", path, o->window);
    } else {
        *ret_w = (struct asy_windows){.window = o->window, .count = (uint32_t)count};
        ret_w->ids = asy_alloc(count * o->window * sizeof *ret_w->ids);
        for (uint64_t i = 0; i < count * o->window; i++) {
            ret_w->ids[i] = asy_le32_get(file.p + 4 * i);
        }
    }
    asy_file_unmap(file);
    return err;
}

static enum asy_err windows_of_text(struct asy_windows *ret_w, const struct exact_model *m,
                                    const struct exact_options *o, struct asy_why *why) {
    struct asy_llama *llama = NULL;
    ASY_TRY(exact_llama(&llama, why));
    enum asy_err err = exact_windows(ret_w, llama, m->model, o, why);
    asy_llama_free(llama);
    return err;
}

static enum asy_err hash(const struct hash_options *h, struct asy_why *why) {
    struct exact_model m;
    struct asy_windows w = {0};
    struct exact_options o = h->o;
    o.windows = o.windows != 0 ? o.windows + h->skip : 0;
    enum asy_err err = exact_model_open(&m, o.model, why);
    if (err == ASY_OK) {
        err =
            h->ids != NULL ? windows_of_ids(&w, h->ids, &o, why) : windows_of_text(&w, &m, &o, why);
    }
    if (err == ASY_OK) {
        drop_windows(&w, h->skip);
        err = w.count != 0
                  ? hash_windows(h, &m, &w, why)
                  : asy_why_set(why, ASY_ERR_RANGE, "--skip", "the text has no more windows");
    }
    asy_windows_done(&w);
    exact_model_close(&m);
    return err;
}

int cmd_exact_hash(int argc, char **argv) {
    static const char help[] =
        "usage: assay exact hash --model FILE --text FILE [...]\n\n"
        "Hashes every logit of every token of a text. The hash depends on model, text and "
        "--window\n"
        "alone: it is the same for every kernel, thread count, chunk and batch, on every machine.\n"
        "Each window's logits are hashed as int32 little endian (SHA-256), then the windows' "
        "hashes.\n\n"
        "  --model FILE         the model (assay models convert makes it)\n"
        "  --text FILE          UTF-8\n"
        "  --ids FILE           token ids in place of a text, as `assay exact tokens` writes "
        "them\n" EXACT_HELP_TEXT "  --skip N             leave out the first N windows\n"
        "  --stagger N          let each of a batch begin N steps behind the one before it, so "
        "that\n"
        "                       sequences of different lengths share a step; default 0\n"
        "  --through HOW        half way, move each window's keys and values through another slot\n"
        "                       (copy) or out of the engine and back (save); default nothing\n"
        "  --each               print each window's hash, too\n" EXACT_HELP;
    static const struct option options[] = {{"skip", required_argument, NULL, OPT_SKIP},
                                            {"stagger", required_argument, NULL, OPT_STAGGER},
                                            {"through", required_argument, NULL, OPT_THROUGH},
                                            {"each", no_argument, NULL, OPT_EACH},
                                            {"ids", required_argument, NULL, OPT_IDS},
                                            EXACT_OPTIONS};
    struct hash_options h = {.o = EXACT_DEFAULTS};
    struct asy_why why = {{0}, {0}};
    for (int i; (i = client_option(argc, argv, "exact hash", help, "", options)) != -1;) {
        int rc = exact_option(&h.o, "exact hash", i);
        if (i == OPT_SKIP) {
            rc = exact_number(&h.skip, "exact hash", "--skip", optarg, 0, 1u << 20);
        } else if (i == OPT_STAGGER) {
            rc = exact_number(&h.stagger, "exact hash", "--stagger", optarg, 0, 1000);
        } else if (i == OPT_THROUGH) {
            h.through = strcmp(optarg, "copy") == 0   ? THROUGH_COPY
                        : strcmp(optarg, "save") == 0 ? THROUGH_SAVE
                                                      : THROUGH_NOTHING;
            rc = h.through != THROUGH_NOTHING || strcmp(optarg, "nothing") == 0
                     ? 0
                     : client_usage("exact hash", "--through takes copy, save or nothing");
        } else if (i == OPT_EACH) {
            h.each = true;
            rc = 0;
        } else if (i == OPT_IDS) {
            h.ids = optarg;
            rc = 0;
        }
        if (rc != 0) {
            return i == OPT_HELP ? 0 : 2;
        }
    }
    if (optind != argc || h.o.model == NULL || (h.o.text == NULL) == (h.ids == NULL)) {
        return client_usage("exact hash", "it takes --model FILE, and --text FILE or --ids FILE");
    }
    if (h.o.batch * h.o.chunk > ASY_EXACT_MAX_ROWS) {
        return client_usage("exact hash", "--batch times --chunk is at most %u",
                            ASY_EXACT_MAX_ROWS);
    }
    enum asy_err err = hash(&h, &why);
    return err == ASY_OK ? 0 : app_fail("exact hash", err, &why);
}

/* ---- bench ----------------------------------------------------------------------------------- */

enum { DECODE_TOKENS = 32, BENCH_ROUNDS = 5 };

struct pace {
    double cpu_ms, wall_ms; /* of one token */
};

struct bench {
    struct asy_exact *x;
    const struct exact_options *o;
    struct asy_exact_row *rows;
    uint32_t vocab;
};

static uint32_t bench_id(const struct bench *b, uint32_t slot, uint32_t pos) {
    return (uint32_t)(((uint64_t)slot * 7919 + (uint64_t)pos * 104729 + 17) % b->vocab);
}

/* Positions [from, to) of a slot in chunks; logits of the last one. */
static void fill(struct bench *b, uint32_t slot, uint32_t from, uint32_t to, uint32_t chunk) {
    for (uint32_t at = from; at < to; at += chunk) {
        uint32_t n = to - at < chunk ? to - at : chunk;
        for (uint32_t i = 0; i < n; i++) {
            b->rows[i] =
                (struct asy_exact_row){bench_id(b, slot, at + i), slot, at + i, at + i + 1 == to};
        }
        enum asy_err err = asy_exact_step(b->x, NULL, b->rows, n);
        ASY_ASSERT(err == ASY_OK);
    }
}

static void together(struct bench *b, uint32_t from, uint32_t steps) {
    for (uint32_t s = 0; s < steps; s++) {
        for (uint32_t k = 0; k < b->o->batch; k++) {
            uint32_t pos = from + 8 * k + s;
            b->rows[k] = (struct asy_exact_row){bench_id(b, k, pos), k, pos, true};
        }
        enum asy_err err = asy_exact_step(b->x, NULL, b->rows, b->o->batch);
        ASY_ASSERT(err == ASY_OK);
    }
}

static struct pace pace_of(double cpu, double wall, uint32_t tokens) {
    return (struct pace){1e3 * (cpu_now() - cpu) / tokens, 1e3 * (wall_now() - wall) / tokens};
}

static void keep_best(struct pace *best, struct pace p, uint32_t round) {
    if (round == 0 || p.cpu_ms < best->cpu_ms) {
        *best = p;
    }
}

static void print_pace(const char *what, struct pace p, bool last, bool json) {
    if (json) {
        printf("\"%s\":{\"cpu_ms\":%.4f,\"wall_ms\":%.4f}%s", what, p.cpu_ms, p.wall_ms,
               last ? "}\n" : ",");
    } else {
        printf("%-8s  %8.3f ms of CPU a token   %8.1f tokens/s\n", what, p.cpu_ms, 1e3 / p.wall_ms);
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
        double cpu = cpu_now();
        for (size_t i = 0; i < quarter; i += line) {
            sum ^= p[i] ^ p[i + quarter] ^ p[i + 2 * quarter] ^ p[i + 3 * quarter];
        }
        cpu = cpu_now() - cpu;
        volatile uint64_t sink = sum; /* so that the sum is computed */
        (void)sink;
        double rate = (double)file.n / cpu * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

static enum asy_err bench(const struct exact_options *o, struct asy_why *why) {
    struct exact_model m;
    struct bench b = {.o = o};
    struct pace prefill = {0, 0}, decode = {0, 0}, batch = {0, 0};
    ASY_TRY(exact_model_open(&m, o->model, why));
    const struct asy_exact_info *info = asy_exact_model_info(m.model);
    uint32_t context = o->window + DECODE_TOKENS + 8 * o->batch;
    struct asy_exact_config c = {.kernel = o->kernel,
                                 .threads = o->threads,
                                 .slots = o->batch,
                                 .context = context < info->positions ? context : info->positions,
                                 .rows = o->chunk > o->batch ? o->chunk : o->batch,
                                 .logits_rows = o->batch};
    enum asy_err err = context <= info->positions
                           ? asy_exact_new(&b.x, m.model, &c, why)
                           : asy_why_set(why, ASY_ERR_RANGE, "--window",
                                         "the model has %u positions", info->positions);
    if (err == ASY_OK) {
        b.rows = asy_alloc(c.rows * sizeof *b.rows);
        b.vocab = info->vocab;
        for (uint32_t r = 0; r < BENCH_ROUNDS; r++) {
            double cpu = cpu_now(), wall = wall_now();
            fill(&b, 0, 0, o->window, o->chunk);
            keep_best(&prefill, pace_of(cpu, wall, o->window), r);
            cpu = cpu_now(), wall = wall_now();
            fill(&b, 0, o->window, o->window + DECODE_TOKENS, 1);
            keep_best(&decode, pace_of(cpu, wall, DECODE_TOKENS), r);
            for (uint32_t k = 0; k < o->batch; k++) {
                fill(&b, k, 0, 32 + 8 * k, o->chunk);
            }
            cpu = cpu_now(), wall = wall_now();
            together(&b, 32, 8);
            keep_best(&batch, pace_of(cpu, wall, 8 * o->batch), r);
            exact_progress(NULL, "measuring", r + 1, BENCH_ROUNDS);
        }
        exact_progress_end();
        /* of the decode's mean position */
        uint64_t entries = info->entry_len * (o->window + DECODE_TOKENS / 2);
        double bytes = (double)(info->step_len + entries), read = plain_read(m.file);
        double rate = bytes / decode.cpu_ms * 1e-6;
        const char *kernel = asy_exact_kernel_name(asy_exact_kernel_of(b.x));
        if (o->json) {
            printf("{\"kernel\":\"%s\",\"threads\":%u,\"window\":%u,\"batch\":%u,"
                   "\"weights_bytes\":%llu,\"kv_bytes\":%llu,\"decode_gb_s\":%.2f,"
                   "\"read_gb_s\":%.2f,",
                   kernel, o->threads, o->window, o->batch, (unsigned long long)info->step_len,
                   (unsigned long long)entries, rate, read);
        } else {
            printf(
                "%s, %u thread%s; prompt of %u tokens, %u sequences together; best of %d rounds\n",
                kernel, o->threads, o->threads == 1 ? "" : "s", o->window, o->batch, BENCH_ROUNDS);
        }
        print_pace("prefill", prefill, false, o->json);
        print_pace("decode", decode, false, o->json);
        print_pace("batch", batch, true, o->json);
        if (!o->json) {
            printf("a token of the decode reads %.1f MB of weights and %.1f MB of keys and values: "
                   "%.1f GB/s\nof CPU time; a plain read of the file by one core: %.1f GB/s\n",
                   (double)info->step_len * 1e-6, (double)entries * 1e-6, rate, read);
        }
        asy_free(b.rows);
        asy_exact_free(b.x);
    }
    exact_model_close(&m);
    return err;
}

int cmd_exact_bench(int argc, char **argv) {
    static const char help[] =
        "usage: assay exact bench --model FILE [...]\n\n"
        "Measures a model on this machine: a prompt, one answer, several answers at once; and "
        "what\n"
        "a token of one answer reads from memory, beside how fast a core can read.\n\n"
        "  --model FILE         the model (assay models convert makes it)\n"
        "  --window N           tokens of the prompt; default 512\n" EXACT_HELP;
    static const struct option options[] = {EXACT_OPTIONS};
    struct exact_options o = EXACT_DEFAULTS;
    struct asy_why why = {{0}, {0}};
    o.batch = 16;
    for (int i; (i = client_option(argc, argv, "exact bench", help, "", options)) != -1;) {
        int rc = exact_option(&o, "exact bench", i);
        if (rc != 0) {
            return i == OPT_HELP ? 0 : 2;
        }
    }
    if (optind != argc || o.model == NULL) {
        return client_usage("exact bench", "it takes --model FILE");
    }
    enum asy_err err = bench(&o, &why);
    return err == ASY_OK ? 0 : app_fail("exact bench", err, &why);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

enum { OPT_OUT = EXACT_OPT_OWN };

static enum asy_err tokens(const struct exact_options *o, const char *out, struct asy_why *why) {
    struct exact_model m;
    struct asy_llama *llama = NULL;
    struct asy_windows w = {0};
    enum asy_err err = exact_model_open(&m, o->model, why);
    if (err == ASY_OK) {
        err = exact_llama(&llama, why);
    }
    if (err == ASY_OK) {
        err = exact_windows(&w, llama, m.model, o, why);
    }
    if (err == ASY_OK) {
        size_t count = (size_t)w.count * w.window;
        uint8_t *le = asy_alloc(4 * count);
        for (size_t i = 0; i < count; i++) {
            asy_le32_put(le + 4 * i, w.ids[i]);
        }
        err = app_write_file(out, asy_bytes_of(le, 4 * count), why);
        asy_free(le);
        if (err == ASY_OK) {
            printf("%zu ids in %u windows of %u\n", count, w.count, w.window);
        }
    }
    asy_windows_done(&w);
    asy_llama_free(llama);
    exact_model_close(&m);
    return err;
}

int cmd_exact_tokens(int argc, char **argv) {
    static const char help[] =
        "usage: assay exact tokens --model FILE --text FILE --out FILE [...]\n\n"
        "Writes the token ids of a text, cut into windows, as 4 bytes each, little endian: what\n"
        "`assay exact hash --ids` reads where there is no tokenizer.\n\n"
        "  --model FILE         whose tokenizer\n"
        "  --text FILE          UTF-8\n"
        "  --out FILE           where the ids go\n" EXACT_HELP_TEXT;
    static const struct option options[] = {{"out", required_argument, NULL, OPT_OUT},
                                            EXACT_OPTIONS};
    struct exact_options o = EXACT_DEFAULTS;
    struct asy_why why = {{0}, {0}};
    const char *out = NULL;
    for (int i; (i = client_option(argc, argv, "exact tokens", help, "", options)) != -1;) {
        int rc = exact_option(&o, "exact tokens", i);
        if (i == OPT_OUT) {
            out = optarg;
            rc = 0;
        }
        if (rc != 0) {
            return i == OPT_HELP ? 0 : 2;
        }
    }
    if (optind != argc || o.model == NULL || o.text == NULL || out == NULL) {
        return client_usage("exact tokens", "it takes --model FILE, --text FILE and --out FILE");
    }
    enum asy_err err = tokens(&o, out, &why);
    return err == ASY_OK ? 0 : app_fail("exact tokens", err, &why);
}
