/* trace.c: `assay exact trace`: the Merkle root over every value between the operators of a job,
 * and openings of it. */
#include <stdio.h>

#include "replay_priv.h"

enum { MAX_OPEN = 64, LEVELS_OF_A_ROUND = 5 };

/* A leaf that is asked for: by its index, or by its place. */
struct place {
    bool by_index;
    uint64_t index, position, slot, leaf;
};

struct trace_options {
    struct replay_options model;
    const char *receipt;
    struct place open[MAX_OPEN];
    uint32_t open_count, segment;
    bool has_segment, json;
};

/* ---- options --------------------------------------------------------------------------------- */

/* "1234", or "35/31/20". */
static bool parse_place(struct place *ret, const char *text) {
    uint64_t n[3] = {0};
    const char *slash = strchr(text, '/'), *second = slash != NULL ? strchr(slash + 1, '/') : NULL;
    if (slash == NULL) {
        ret->by_index = true;
        return asy_bytes_to_u64(&ret->index, asy_bytes_cstr(text)) == ASY_OK;
    }
    const struct asy_bytes parts[3] = {
        asy_bytes_of(text, (size_t)(slash - text)),
        asy_bytes_of(slash + 1, second != NULL ? (size_t)(second - slash - 1) : 0),
        asy_bytes_cstr(second != NULL ? second + 1 : "")};
    for (size_t i = 0; i < ASY_COUNT(parts); i++) {
        if (asy_bytes_to_u64(&n[i], parts[i]) != ASY_OK) {
            return false;
        }
    }
    *ret = (struct place){.position = n[0], .slot = n[1], .leaf = n[2]};
    return true;
}

/* ---- the job --------------------------------------------------------------------------------- */

struct job {
    struct asy_exact_job exact;
    struct asy_sample_bias bias[ASY_MAX_BIAS];
    uint32_t *ids;          /* prompt, then the output of earlier segments */
    struct asy_hash output; /* the receipt's */
};

/* The segment that is asked for: the only one, the last with a receipt, or the one named. */
static struct asy_verify_segment *choose(const struct trace_options *o, struct asy_verify_report *r,
                                         struct asy_why *why) {
    struct asy_verify_segment *s = NULL;
    for (uint32_t i = 0; i < r->segment_count; i++) {
        struct asy_verify_segment *x = &r->segments[i];
        bool wanted = o->has_segment ? x->terms.segment == o->segment : x->has_receipt;
        s = wanted ? x : s;
    }
    if (s == NULL || !s->has_receipt) {
        (void)asy_why_set(why, ASY_ERR_NOT_FOUND, NULL, "there is no such segment with a receipt");
        return NULL;
    }
    if (!s->has_record) {
        (void)asy_why_set(why, ASY_ERR_MISSING, NULL,
                          "the receipt has no record: fetch it with assay receipt ID --record");
        return NULL;
    }
    for (uint32_t i = 0; i < s->findings.count; i++) {
        const struct asy_verify_finding *f = &s->findings.items[i];
        if (f->state == ASY_VERIFY_FAILED) {
            (void)asy_why_set(why, ASY_ERR_MISMATCH, asy_verify_label(f->check), "%.150s", f->text);
            return NULL;
        }
    }
    return s;
}

static enum asy_err read_job(struct job *ret, const struct replay_model *m,
                             struct asy_verify_segment *s, struct asy_why *why) {
    const struct asy_audit_record *r = &s->record;
    const struct asy_audit_segment segment = {&s->terms, &s->receipt, &s->prompt_digest, r};
    struct asy_exact_job *j = &ret->exact;
    bool is_signed;
    uint32_t count;
    if (!asy_hash_is_zero(&m->digest) && !replay_model_check(m, &s->terms, &s->findings)) {
        return asy_why_set(why, ASY_ERR_MISMATCH, "model", "%.150s",
                           asy_verify_get(&s->findings, ASY_VERIFY_MODEL)->text);
    }
    if (s->receipt.out_tokens == 0) {
        return asy_why_set(why, ASY_ERR_RANGE, NULL, "a job without a token has no steps");
    }
    ASY_TRY(asy_audit_prompt(&ret->ids, &count, NULL, &is_signed, &segment, &m->vocab, why));
    if (!is_signed) {
        return asy_why_set(why, ASY_ERR_MISMATCH, "prompt",
                           "this model's tokenizer makes another prompt than the signed one");
    }
    ret->ids = asy_realloc(ret->ids, ((size_t)count + r->prior_count) * sizeof *ret->ids);
    if (r->prior_count != 0) {
        memcpy(ret->ids + count, r->prior, r->prior_count * sizeof *ret->ids);
    }
    *j = (struct asy_exact_job){.prompt_ids = ret->ids,
                                .prompt_count = count + r->prior_count,
                                .output_ids = r->ids,
                                .output_count = (uint32_t)s->receipt.out_tokens,
                                .first = r->prior_count,
                                .bias = ret->bias};
    ret->output = s->receipt.output;
    memcpy(j->seed, r->seed.b, sizeof j->seed);
    ASY_TRY(asy_sample_settings_decode(&j->sampling, r->settings, why));
    return asy_sample_bias_decode(ret->bias, &j->bias_count, r->bias, why);
}

/* ---- printing -------------------------------------------------------------------------------- */

struct traced {
    const struct trace_options *o;
    struct asy_exact_trace *trace;
    struct asy_exact_trace_shape shape;
    uint32_t positions, depth;
    struct asy_hash job, root, weights;
};

static void print_head(const struct traced *t, const struct asy_exact_job *j) {
    const struct asy_exact_trace_shape *s = &t->shape;
    char job[ASY_HASH_TEXT], root[ASY_HASH_TEXT], weights[ASY_HASH_TEXT];
    asy_hash_format(job, &t->job);
    asy_hash_format(root, &t->root);
    asy_hash_format(weights, &t->weights);
    printf(
        "job        %s\nroot       %s\nweights    %s\n"
        "positions  %u: %u given ids, %u chosen\n"
        "depth      %u = %u (positions) + %u (layer slots) + %u (leaves)\n"
        "rounds     %u, of 32 each: so many bisections find the first difference of two traces\n",
        job, root, weights, t->positions, j->prompt_count, j->output_count, t->depth,
        s->position_bits, s->layer_bits, s->leaf_bits,
        (t->depth + LEVELS_OF_A_ROUND - 1) / LEVELS_OF_A_ROUND);
}

static void write_head(struct asy_jw *w, const struct traced *t, const struct asy_exact_job *j) {
    asy_jw_object(w);
    asy_jw_kv_cstr(w, "object", "trace");
    asy_jw_kv_hash(w, "job", &t->job);
    asy_jw_kv_hash(w, "root", &t->root);
    asy_jw_kv_hash(w, "weights_root", &t->weights);
    asy_jw_kv_u64(w, "positions", t->positions);
    asy_jw_kv_u64(w, "prompt_ids", j->prompt_count);
    asy_jw_kv_u64(w, "output_ids", j->output_count);
    asy_jw_kv_u64(w, "first", j->first);
    asy_jw_kv_u64(w, "depth", t->depth);
    asy_jw_kv_u64(w, "position_bits", t->shape.position_bits);
    asy_jw_kv_u64(w, "layer_bits", t->shape.layer_bits);
    asy_jw_kv_u64(w, "leaf_bits", t->shape.leaf_bits);
    asy_jw_kv_u64(w, "rounds", (t->depth + LEVELS_OF_A_ROUND - 1) / LEVELS_OF_A_ROUND);
    asy_jw_kv_array(w, "opened");
}

static void print_leaf(const struct traced *t, const struct place *p, uint64_t index,
                       const uint8_t *leaf, const struct asy_hash *path) {
    char hex[2 * ASY_EXACT_LEAF + 1], hash[ASY_HASH_TEXT];
    asy_hex_encode(hex, leaf, ASY_EXACT_LEAF);
    printf("leaf       %llu/%llu/%llu, index %llu\ncontent    0x%s\n",
           (unsigned long long)p->position, (unsigned long long)p->slot,
           (unsigned long long)p->leaf, (unsigned long long)index, hex);
    for (uint32_t d = 0; d < t->depth; d++) {
        asy_hash_format(hash, &path[d]);
        printf("%-9s  %s\n", d == 0 ? "siblings" : "", hash);
    }
}

static void write_leaf(struct asy_jw *w, const struct traced *t, const struct place *p,
                       uint64_t index, const uint8_t *leaf, const struct asy_hash *path) {
    asy_jw_object(w);
    asy_jw_kv_u64(w, "index", index);
    asy_jw_kv_u64(w, "position", p->position);
    asy_jw_kv_u64(w, "slot", p->slot);
    asy_jw_kv_u64(w, "leaf", p->leaf);
    asy_jw_key(w, "content");
    asy_jw_hex(w, asy_bytes_of(leaf, ASY_EXACT_LEAF));
    asy_jw_kv_array(w, "path");
    for (uint32_t d = 0; d < t->depth; d++) {
        asy_jw_hash(w, &path[d]);
    }
    asy_jw_end(w);
    asy_jw_end(w);
}

/* ---- the trace ------------------------------------------------------------------------------- */

static void progress(void *arg, uint32_t done, uint32_t count) {
    (void)arg;
    exact_progress(NULL, "tracing", done, count);
}

/* Both spellings of a place. errors: RANGE the tree has none such */
static enum asy_err locate(const struct traced *t, struct place *p, uint64_t *ret_index,
                           struct asy_why *why) {
    const struct asy_exact_trace_shape *s = &t->shape;
    if (p->by_index && p->index >> t->depth == 0) {
        p->leaf = p->index & (((uint64_t)1 << s->leaf_bits) - 1);
        p->slot = p->index >> s->leaf_bits & (((uint64_t)1 << s->layer_bits) - 1);
        p->position = p->index >> (s->leaf_bits + s->layer_bits);
    } else if (p->by_index || p->position >> s->position_bits != 0 ||
               p->slot >> s->layer_bits != 0 || p->leaf >> s->leaf_bits != 0) {
        return asy_why_set(why, ASY_ERR_RANGE, "--open",
                           "the tree has %llu positions, %u layer slots each, %u leaves each",
                           1ull << s->position_bits, 1u << s->layer_bits, 1u << s->leaf_bits);
    }
    *ret_index = (p->position << s->layer_bits | p->slot) << s->leaf_bits | p->leaf;
    return ASY_OK;
}

static enum asy_err open_leaves(struct traced *t, struct asy_jw *w, struct asy_why *why) {
    struct asy_hash path[ASY_EXACT_MAX_TRACE_PATH];
    uint8_t leaf[ASY_EXACT_LEAF];
    for (uint32_t i = 0; i < t->o->open_count; i++) {
        struct place p = t->o->open[i];
        uint64_t index;
        ASY_TRY(locate(t, &p, &index, why));
        ASY_TRY(asy_exact_trace_open(t->trace, index, leaf, path));
        if (t->o->json) {
            write_leaf(w, t, &p, index, leaf, path);
        } else {
            print_leaf(t, &p, index, leaf, path);
        }
    }
    return ASY_OK;
}

static enum asy_err print_trace(struct traced *t, const struct asy_exact_job *j,
                                struct asy_why *why) {
    struct asy_buf buf;
    struct asy_jw w;
    asy_buf_init(&buf, ASY_MAX_RESPONSE);
    asy_jw_init(&w, &buf);
    if (t->o->json) {
        write_head(&w, t, j);
    } else {
        print_head(t, j);
    }
    enum asy_err err = open_leaves(t, &w, why);
    if (err == ASY_OK && t->o->json) {
        asy_jw_end(&w);
        asy_jw_end(&w);
        err = asy_jw_finish(&w);
        client_print_json(asy_buf_bytes(&buf));
    }
    asy_buf_done(&buf);
    return err;
}

static enum asy_err trace(const struct trace_options *o, const struct replay_model *m,
                          const struct job *job, struct asy_why *why) {
    const struct asy_exact_job *j = &job->exact;
    struct traced t = {.o = o, .positions = j->prompt_count + j->output_count - 1};
    struct asy_exact *x;
    enum { ROWS = 64 };
    struct asy_exact_config config = {.kernel = o->model.kernel,
                                      .threads = o->model.threads,
                                      .slots = 1,
                                      .context = t.positions,
                                      .rows = ROWS,
                                      .logits_rows = ROWS};
    if (t.positions > asy_exact_model_info(m->exact.model)->positions) {
        return asy_why_set(why, ASY_ERR_RANGE, NULL, "the job is longer than the model's context");
    }
    t.weights = asy_exact_model_info(m->exact.model)->weights;
    t.shape = asy_exact_trace_shape(m->exact.model, t.positions);
    t.depth = t.shape.position_bits + t.shape.layer_bits + t.shape.leaf_bits;
    for (uint32_t i = 0; i < o->open_count; i++) { /* before the work is done */
        struct place p = o->open[i];
        uint64_t index;
        ASY_TRY(locate(&t, &p, &index, why));
    }
    ASY_TRY(asy_exact_new(&x, m->exact.model, &config, why));
    enum asy_err err = asy_exact_trace_new(&t.trace, x, j, progress, NULL, why);
    exact_progress_end();
    if (err == ASY_OK) {
        asy_exact_job_hash(&t.job, j, &t.weights, &job->output);
        asy_exact_trace_root(t.trace, &t.root);
        err = print_trace(&t, j, why);
    }
    asy_exact_trace_free(t.trace);
    asy_exact_free(x);
    return err;
}

static enum asy_err read_and_trace(const struct trace_options *o, const struct replay_model *m,
                                   struct asy_bytes document, struct asy_why *why) {
    struct asy_verify_report *r = asy_alloc(sizeof *r); /* large */
    struct job *job = asy_alloc(sizeof *job);
    struct asy_arena arena;
    asy_arena_init(&arena, ASY_VERIFY_MAX_RECORDS);
    enum asy_err err = asy_verify_receipt(r, &arena, document, NULL, why);
    if (err == ASY_OK) {
        struct asy_verify_segment *s = choose(o, r, why);
        err = s != NULL ? read_job(job, m, s, why) : ASY_ERR_MISMATCH;
    }
    if (err == ASY_OK) {
        err = trace(o, m, job, why);
    }
    asy_free(job->ids);
    asy_arena_done(&arena);
    asy_free(job);
    asy_free(r);
    return err;
}

static int run(const struct trace_options *o, const char *command) {
    struct asy_why why = {{0}, {0}};
    struct replay_model model;
    struct asy_buf document;
    asy_buf_init(&document, ASY_VERIFY_MAX_DOC);
    int rc = 2;
    enum asy_err err = app_read_file(&document, o->receipt, false, &why);
    if (err != ASY_OK) {
        (void)app_fail(command, err, &why);
    } else {
        if (replay_model_open(&model, &o->model, command)) {
            err = read_and_trace(o, &model, asy_buf_bytes(&document), &why);
            rc = err == ASY_OK ? 0 : app_fail(command, err, &why);
        }
        replay_model_close(&model);
    }
    asy_buf_done(&document);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

int cmd_exact_trace(int argc, char **argv) {
    static const char command[] = "exact trace";
    static const char help[] =
        "usage: assay exact trace --model FILE --receipt FILE [--open PLACE]... [--json]\n\n"
        "Computes a job of tier `exact` again and commits to all of it: the Merkle root over "
        "every\n"
        "value between the operators, for every position and layer. Of two that disagree about an\n"
        "answer, each gives the root of its trace; they go down from the roots, 32 nodes a round,\n"
        "to the first leaf that differs, and that one step can be judged by itself (exact.md\n"
        "sections 9 and 10).\n\n"
        "  --receipt FILE       the receipt with the job's record (assay receipt ID --record)\n"
        "  --segment N          which one of the job; default the last that has a receipt\n"
        "  --open PLACE         show a leaf, its 128 bytes and the siblings up to the root: by\n"
        "                       POSITION/SLOT/LEAF or by its index; up to 64 times. Slot 0 is the\n"
        "                       embedding, 1 .. layers the layers, layers + 1 the choice\n"
        "  --model FILE         the model; `assay models convert` makes it\n"
        "  --name NAME          in the market, with --licence SPDX or its default: the model must\n"
        "  --manifest FILE      then be the one of the terms; so with the manifest itself\n"
        "  --threads N          default: one for every two processors\n"
        "  --kernel NAME        auto, scalar, avx2, avx512 or neon; default auto. The root is the\n"
        "                       same with each\n"
        "  --json               print the result as JSON\n";
    enum { OPT_RECEIPT = REPLAY_OPT_OWN, OPT_SEGMENT, OPT_OPEN };
    static const struct option options[] = {REPLAY_OPTIONS,
                                            {"receipt", required_argument, NULL, OPT_RECEIPT},
                                            {"segment", required_argument, NULL, OPT_SEGMENT},
                                            {"open", required_argument, NULL, OPT_OPEN},
                                            {"json", no_argument, NULL, OPT_JSON},
                                            CLIENT_OPTION_HELP};
    struct trace_options o = {0};
    for (int i; (i = client_option(argc, argv, command, help, "", options)) != -1;) {
        int rc = 0;
        switch (i) {
        case OPT_RECEIPT:
            o.receipt = optarg;
            break;
        case OPT_SEGMENT:
            o.has_segment = true;
            rc = exact_number(&o.segment, command, "--segment", optarg, 0, UINT32_MAX);
            break;
        case OPT_OPEN:
            if (o.open_count == MAX_OPEN || !parse_place(&o.open[o.open_count++], optarg)) {
                rc = client_usage(command, "--open takes POSITION/SLOT/LEAF or an index, at most "
                                           "64 times");
            }
            break;
        case OPT_JSON:
            o.json = true;
            break;
        default:
            rc = replay_option(&o.model, command, i);
        }
        if (rc != 0) {
            return i == OPT_HELP ? 0 : 2;
        }
    }
    if (optind != argc || o.receipt == NULL) {
        return client_usage(command, "it takes --model FILE and --receipt FILE");
    }
    return replay_options_check(&o.model, command, false) != 0 ? 2 : run(&o, command);
}
