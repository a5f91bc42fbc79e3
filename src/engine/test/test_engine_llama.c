/* The llama engine with a real model: the worker process, continuous batching, and llama.cpp itself
 * as the reference. BACKEND=haswell (or another CPU variant) in the environment pins it for both.
 * timeout: 120 */
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

#include "codec/codec.h"
#include "engine/test/recorder.h"

#define MODEL ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf"

#if !__has_include(<llama.h>)

int main(void) { return asy_test_skip("built without libllama"); }

#else
#include <ggml-backend.h>
#include <llama.h>

/* ---- llama.cpp itself, in this process
 * ------------------------------------------------------------------------------------------ */

#define LLAMA_FUNCTIONS(X)                                                                         \
    X(llama_log_set)                                                                               \
    X(llama_model_default_params)                                                                  \
    X(llama_model_load_from_file)                                                                  \
    X(llama_model_free)                                                                            \
    X(llama_model_get_vocab)                                                                       \
    X(llama_context_default_params)                                                                \
    X(llama_init_from_model)                                                                       \
    X(llama_free)                                                                                  \
    X(llama_get_memory)                                                                            \
    X(llama_memory_clear) X(llama_batch_get_one) X(llama_decode) X(llama_get_logits_ith)           \
        X(llama_vocab_is_eog) X(llama_vocab_n_tokens) X(llama_detokenize)                          \
            X(llama_sampler_init_greedy) X(llama_sampler_sample) X(llama_sampler_free)             \
                X(ggml_backend_load) X(ggml_backend_load_all_from_path)                            \
                    X(llama_sampler_chain_init) X(llama_sampler_chain_default_params)              \
                        X(llama_sampler_chain_add) X(llama_sampler_init_penalties)                 \
                            X(llama_sampler_init_logit_bias) X(llama_sampler_accept)

static struct {
#define X(name) __typeof__(&name) name;
    LLAMA_FUNCTIONS(X)
#undef X
    struct llama_model *model;
    const struct llama_vocab *vocab;
    struct llama_context *context;
    void *workspace;
    int32_t *logits;
    size_t batch; /* prompt tokens in one go */
    /* whose bias and penalties hold, and whose prior ids count; NULL: none */
    const struct asy_engine_job *adjust;
} ref = {.batch = 512};

static void quiet(enum ggml_log_level level, const char *text, void *arg) {
    (void)level;
    (void)text;
    (void)arg;
}
static bool no_dots(float share, void *arg) {
    (void)share;
    (void)arg;
    return true;
}

static bool ref_open(const char *plugin) {
    void *library = dlopen(plugin, RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return false;
    }
#define X(name)                                                                                    \
    void *symbol_##name = dlsym(library, #name);                                                   \
    CHECK(symbol_##name != NULL);                                                                  \
    memcpy(&ref.name, &symbol_##name, sizeof symbol_##name);
    LLAMA_FUNCTIONS(X)
#undef X
    Dl_info info;
    CHECK(dladdr(symbol_llama_decode, &info) != 0);
    const char *backend = getenv("BACKEND");
    int dir_len = (int)(strrchr(info.dli_fname, '/') - info.dli_fname);
    char path[4096];
    ref.llama_log_set(quiet, NULL);
    if (backend == NULL) {
        snprintf(path, sizeof path, "%.*s", dir_len, info.dli_fname);
        ref.ggml_backend_load_all_from_path(path);
    } else {
        snprintf(path, sizeof path, "%.*s/libggml-cpu-%s.so", dir_len, info.dli_fname, backend);
        CHECK(ref.ggml_backend_load(path) != NULL);
    }
    struct llama_model_params model = ref.llama_model_default_params();
    model.progress_callback = no_dots;
    ref.model = ref.llama_model_load_from_file(MODEL, model);
    ASY_ASSERT(ref.model != NULL);
    struct llama_context_params context = ref.llama_context_default_params();
    context.n_ctx = 1024;
    context.n_batch = context.n_ubatch = 512;
    context.n_threads = context.n_threads_batch = 1;
    context.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    ref.context = ref.llama_init_from_model(ref.model, context);
    ref.vocab = ref.llama_model_get_vocab(ref.model);
    uint32_t vocab = (uint32_t)ref.llama_vocab_n_tokens(ref.vocab);
    ref.workspace = asy_alloc(asy_sample_workspace_len(vocab));
    ref.logits = asy_alloc(vocab * sizeof *ref.logits);
    return true;
}

static void ref_close(void) {
    ref.llama_free(ref.context);
    ref.llama_model_free(ref.model);
    asy_free(ref.workspace);
    asy_free(ref.logits);
}

/* llama.cpp's own greedy sampler, behind its own logit bias and penalties. */
static struct llama_sampler *ref_greedy(void) {
    struct llama_sampler *chain =
        ref.llama_sampler_chain_init(ref.llama_sampler_chain_default_params());
    const struct asy_engine_job *job = ref.adjust;
    if (job != NULL) {
        llama_logit_bias bias[ASY_MAX_BIAS];
        for (size_t i = 0; i < job->bias_count; i++) {
            bias[i] =
                (llama_logit_bias){(llama_token)job->bias[i].id, (float)job->bias[i].milli / 1000};
        }
        const struct asy_sample_settings *s = &job->sampling;
        int32_t vocab = ref.llama_vocab_n_tokens(ref.vocab);
        ref.llama_sampler_chain_add(
            chain, ref.llama_sampler_init_logit_bias(vocab, (int32_t)job->bias_count, bias));
        ref.llama_sampler_chain_add(
            chain,
            ref.llama_sampler_init_penalties(
                vocab, 1024,
                s->repeat_penalty_milli == 0 ? 1 : (float)s->repeat_penalty_milli / 1000,
                (float)s->frequency_penalty_milli / 1000, (float)s->presence_penalty_milli / 1000));
    }
    ref.llama_sampler_chain_add(chain, ref.llama_sampler_init_greedy());
    for (size_t i = 0; job != NULL && i < job->prior_count; i++) {
        ref.llama_sampler_accept(chain, (llama_token)job->prior_ids[i]);
    }
    return chain;
}

/* The adjusted logits of src/sample, after the ids. */
static void ref_adjust(uint32_t vocab, const uint32_t *ids, size_t count) {
    struct asy_sample_count counts[256];
    size_t len = 0;
    const struct asy_engine_job *job = ref.adjust;
    ASY_ASSERT(job->prior_count + count < ASY_COUNT(counts));
    for (size_t i = 0; i < job->prior_count; i++) {
        asy_sample_count_add(counts, &len, job->prior_ids[i]);
    }
    for (size_t i = 0; i < count; i++) {
        asy_sample_count_add(counts, &len, ids[i]);
    }
    CHECK_OK(asy_sample_adjust(ref.logits, vocab, &job->sampling, job->bias, job->bias_count,
                               counts, len));
}

/* Continues the prompt: with llama.cpp's own greedy sampler when settings is NULL, else by the rule
 * of src/sample, from output position pos on. */
static size_t ref_run(uint32_t *ret_ids, size_t max, const uint32_t *prompt, size_t count,
                      const struct asy_sample_settings *settings, const uint8_t *seed,
                      uint32_t pos) {
    llama_token *tokens = asy_alloc(count * sizeof *tokens);
    memcpy(tokens, prompt, count * sizeof *tokens);
    ref.llama_memory_clear(ref.llama_get_memory(ref.context), true);
    for (size_t at = 0; at < count; at += ref.batch) {
        size_t len = count - at < ref.batch ? count - at : ref.batch;
        struct llama_batch batch = ref.llama_batch_get_one(tokens + at, (int32_t)len);
        CHECK(ref.llama_decode(ref.context, batch) == 0);
    }
    struct llama_sampler *greedy = ref_greedy();
    uint32_t vocab = (uint32_t)ref.llama_vocab_n_tokens(ref.vocab);
    size_t n = 0;
    while (n < max) {
        uint32_t id = 0;
        if (settings == NULL) {
            id = (uint32_t)ref.llama_sampler_sample(greedy, ref.context, -1);
        } else {
            CHECK_OK(asy_sample_logits_from_float(
                ref.logits, ref.llama_get_logits_ith(ref.context, -1), vocab));
            if (ref.adjust != NULL) {
                ref_adjust(vocab, ret_ids, n);
            }
            CHECK_OK(asy_sample_token(&id, NULL, ref.workspace, ref.logits, vocab, settings, seed,
                                      pos + (uint32_t)n));
        }
        ret_ids[n++] = id;
        llama_token token = (llama_token)id;
        if (ref.llama_vocab_is_eog(ref.vocab, token) || n == max) {
            break;
        }
        CHECK(ref.llama_decode(ref.context, ref.llama_batch_get_one(&token, 1)) == 0);
    }
    ref.llama_sampler_free(greedy);
    asy_free(tokens);
    return n;
}

/* ---- the engine on a loop ---- */

static struct {
    struct recorder r;
    struct asy_loop *loop;
    struct asy_engine *e;
    struct asy_engine_host *host;
    char program[4096];
    char plugin[4096];
    size_t want_ended, want_ups, want_downs;
    /* what to do in the middle of a job */
    uint64_t watch_key;
    size_t watch_count;
    void (*watch)(void);
    const struct asy_engine_job *piecemeal;
    size_t other_before, other_after;
} t;

static size_t ended(void) {
    size_t n = 0;
    for (size_t i = 0; i < t.r.job_count; i++) {
        n += t.r.job[i].ended;
    }
    return n;
}

static void on_event(struct recorder *r, struct recorded *job) {
    if (job != NULL && t.watch != NULL && job->key == t.watch_key && job->count >= t.watch_count) {
        void (*watch)(void) = t.watch;
        t.watch = NULL;
        watch();
    }
    if (ended() >= t.want_ended && r->ups >= t.want_ups && r->downs >= t.want_downs) {
        asy_loop_stop(t.loop);
    }
}

/* Runs the loop until so many jobs have ended, workers come up and gone down, in all. */
static void run_until(size_t jobs_ended, size_t ups, size_t downs) {
    t.want_ended = jobs_ended;
    t.want_ups = ups;
    t.want_downs = downs;
    if (ended() < jobs_ended || t.r.ups < ups || t.r.downs < downs) {
        asy_loop_run(t.loop);
    }
}

static void start(const struct asy_engine_worker_config *config) {
    t.r.hook = on_event;
    CHECK_OK(asy_engine_worker_new(&t.e, config, &recorder_events, &t.r, NULL));
    t.host = asy_engine_host_new(t.loop, t.e);
}

static void finish(void) {
    asy_engine_host_free(t.host);
    asy_engine_free(t.e);
    recorder_done(&t.r);
}

static void submit(const struct asy_engine_job *job) {
    struct asy_why why;
    enum asy_err err = asy_engine_submit(t.e, job, &why);
    if (err != ASY_OK) {
        fprintf(stderr, "%s: %s\n", asy_err_name(err), why.text);
        exit(1); /* waiting for it would take for ever */
    }
    asy_engine_host_wake(t.host);
}

static struct recorded *run_one(const struct asy_engine_job *job) {
    size_t before = ended();
    submit(job);
    run_until(before + 1, 0, 0);
    struct recorded *got = recorder_job(&t.r, job->key);
    CHECK(got != NULL && got->ended);
    return got;
}

/* For test_pieces: the second job begins while the first answers; how far is that one, then and
 * when the second has its first token? */
static void note_other(void) { t.other_after = recorder_job(&t.r, 2)->count; }
static void submit_piecemeal(void) {
    t.other_before = recorder_job(&t.r, 2)->count;
    t.watch_key = 10;
    t.watch_count = 1;
    t.watch = note_other;
    submit(t.piecemeal);
}

static void forget(void) { /* the records; the counts of ups and downs stay */
    size_t ups = t.r.ups, downs = t.r.downs;
    struct asy_engine_model model = t.r.model;
    recorder_done(&t.r);
    t.r.ups = ups;
    t.r.downs = downs;
    t.r.model = model;
    t.r.hook = on_event;
}

static const char *const questions[] = {
    "[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]",
    ("[{\"role\":\"system\",\"content\":\"Be a pirate.\"},"
     "{\"role\":\"user\",\"content\":\"Tell me about the sea.\"}]"),
    "[{\"role\":\"user\",\"content\":\"Write a C function that adds two numbers.\"}]",
    "[{\"role\":\"user\",\"content\":\"Name five animals and an emoji for each.\"}]",
};

static struct asy_engine_job question(size_t i, uint32_t temperature_milli, uint32_t max_tokens) {
    struct asy_engine_job job = plain_job(i + 1, questions[i % ASY_COUNT(questions)]);
    job.sampling.temperature_milli = temperature_milli;
    job.sampling.top_p_ppm = temperature_milli == 0 ? ASY_SAMPLE_PPM : 950000;
    job.max_tokens = max_tokens;
    job.seed[0] = (uint8_t)(i + 1);
    return job;
}

/* ---- tests ---- */

static void test_template(void) {
    struct asy_engine_job job = question(0, 0, 1);
    struct recorded *got = run_one(&job);
    char text[1024];
    llama_token tokens[256];
    memcpy(tokens, got->prompt, got->prompt_count * sizeof *tokens);
    int32_t len = ref.llama_detokenize(ref.vocab, tokens, (int32_t)got->prompt_count, text,
                                       sizeof text - 1, false, true);
    text[len < 0 ? 0 : len] = '\0';
    /* the template's default system message too, which libllama's own approximation leaves out */
    static const char want[] = "<|im_start|>system\n"
                               "You are a helpful AI assistant named SmolLM, "
                               "trained by Hugging Face<|im_end|>\n"
                               "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
                               "<|im_start|>assistant\n";
    CHECK_STR(text, want);
    forget();
}

/* A model's keys with another chat template in them. */
static void put_template(struct asy_buf *ret, struct asy_bytes keys, const char *template) {
    static const char name[] = "tokenizer.chat_template";
    const uint8_t *at = memmem(keys.p, keys.n, name, sizeof name - 1);
    uint8_t len[8];
    ASY_ASSERT(at != NULL);
    size_t head = (size_t)(at - keys.p) + sizeof name - 1 + 4; /* its type */
    size_t tail = head + 8 + (size_t)asy_le64_get(keys.p + head);
    asy_le64_put(len, strlen(template));
    asy_buf_clear(ret);
    CHECK_OK(asy_buf_add_bytes(ret, asy_bytes_of(keys.p, head)));
    CHECK_OK(asy_buf_add_bytes(ret, asy_bytes_of(len, sizeof len)));
    CHECK_OK(asy_buf_add_bytes(ret, asy_bytes_cstr(template)));
    CHECK_OK(asy_buf_add_bytes(ret, asy_bytes_of(keys.p + tail, keys.n - tail)));
}

/* What a template makes of "!" at a time; NULL: it is refused. */
static const char *rendered(const struct asy_llama *llama, struct asy_bytes keys,
                            const char *template, uint64_t time) {
    static char text[512];
    struct asy_llama_vocab *vocab;
    struct asy_buf other;
    struct asy_why why = {{0}, {0}};
    uint32_t *ids;
    size_t count, len = 0;
    asy_buf_init(&other, 64u << 20);
    put_template(&other, keys, template);
    CHECK_OK(asy_llama_vocab_new(&vocab, llama, asy_buf_bytes(&other), &why));
    enum asy_err err = asy_llama_chat(
        vocab, &ids, &count, ASY_STR("[{\"role\":\"user\",\"content\":\"!\"}]"), time, &why);
    for (size_t i = 0; err == ASY_OK && i < count; i++) {
        len += asy_llama_piece(vocab, text + len, sizeof text - 1 - len, ids[i]);
    }
    text[len] = '\0';
    if (err == ASY_OK) {
        asy_free(ids);
    }
    asy_llama_vocab_free(vocab);
    asy_buf_done(&other);
    return err == ASY_OK ? text : NULL;
}

/* Templates get the time that they are asked at, in UTC; those for which that cannot be promised
 * are refused. */
static void test_clock(const struct asy_llama *llama, struct asy_bytes keys) {
#define MESSAGE "{{ messages[0].content }}"
    static const struct {
        const char *template, *want;
    } cases[] = {
        {"{{ strftime_now('%d %b %Y') }}" MESSAGE, "29 Feb 2024!"},
        {"{{ strftime_now( \"%-d.%H:%M:%S\" ) + 'x' }}" MESSAGE, "29.23:30:07x!"},
        {"{%- if strftime_now is defined -%}{{ strftime_now('%F') }}{%- endif %}" MESSAGE,
         "2024-02-29!"},
        {"{%- if strftime_now is not defined %}no{% else %}yes{% endif %}" MESSAGE, "yes!"},
        {"{{ strftime_now ('%F') }}" MESSAGE, NULL},
        {"{{ strftime_now('%F', 1) }}" MESSAGE, NULL},
        {"{{ strftime_now(messages[0].role) }}" MESSAGE, NULL},
        {"{{ strftime_now('%' + 'F') }}" MESSAGE, NULL},
        {"{% set f = strftime_now %}{{ f('%H') }}" MESSAGE, NULL},
        {"{{ strftime_now('%s') }}" MESSAGE, NULL},
        {"{{ strftime_now('%+') }}" MESSAGE, NULL},
        {"{{ strftime_now('100%') }}" MESSAGE, NULL},
        {"{{ strftime_now('') }}" MESSAGE, NULL},
        {"{{ strftime_now('%F", NULL},
        {"{{ strftime_now(", NULL},
        {"{{ date_string }}, {{ datetime }}" MESSAGE, "29 Feb 2024, Feb 29 2024!"},
        {"<|start_header_id|>ipython<|end_header_id|>{{ date_string }}" MESSAGE,
         "<|start_header_id|>ipython<|end_header_id|>29 Feb 2024!"},
    };
    static const char *const zones[] = {"UTC", "Pacific/Kiritimati", "America/Los_Angeles"};
    const uint64_t at = 1709249407; /* 2024-02-29 23:30:07 */
    for (size_t zone = 0; zone < ASY_COUNT(zones); zone++) {
        CHECK(setenv("TZ", zones[zone], 1) == 0);
        for (size_t i = 0; i < ASY_COUNT(cases); i++) {
            const char *got = rendered(llama, keys, cases[i].template, at);
            CHECK_STR(got != NULL ? got : "refused",
                      cases[i].want != NULL ? cases[i].want : "refused");
        }
    }
    CHECK(unsetenv("TZ") == 0);
    CHECK(rendered(llama, keys, cases[0].template, ((uint64_t)1 << 33) - 1) != NULL);
    CHECK(rendered(llama, keys, cases[0].template, (uint64_t)1 << 33) == NULL);
    CHECK(rendered(llama, keys, cases[0].template, UINT64_MAX) == NULL);
#undef MESSAGE
}

/* Whoever checks a prompt gets the ids that the worker computed with. */
static void test_chat(void) {
    struct asy_llama *llama;
    struct asy_llama_vocab *vocab;
    struct asy_gguf_file *gguf;
    struct asy_bytes file;
    struct asy_buf keys;
    struct asy_why why = {{0}, {0}};
    uint32_t *ids;
    size_t count;
    asy_buf_init(&keys, 64u << 20);
    CHECK_OK(asy_llama_open(&llama, t.plugin, &why));
    CHECK_OK(asy_file_map(&file, MODEL, &why));
    CHECK_OK(asy_gguf_open(&gguf, file, &why));
    CHECK_OK(asy_gguf_without_tensors(&keys, gguf));
    CHECK_OK(asy_llama_vocab_new(&vocab, llama, asy_buf_bytes(&keys), &why));
    for (size_t i = 0; i < ASY_COUNT(questions); i++) {
        struct asy_engine_job job = question(i, 0, 1);
        struct recorded *got = run_one(&job);
        CHECK_OK(asy_llama_chat(vocab, &ids, &count, asy_bytes_cstr(questions[i]), 0, &why));
        CHECK_U64(count, got->prompt_count);
        CHECK_MEM(ids, got->prompt, count * sizeof *ids);
        asy_free(ids);
        forget();
    }
    static const char *const bad[] = {"", "{}", "[1]", "[{\"role\":\"user\"}"};
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        CHECK_ERR(asy_llama_chat(vocab, &ids, &count, asy_bytes_cstr(bad[i]), 0, &why),
                  ASY_ERR_SYNTAX);
    }
    test_clock(llama, asy_buf_bytes(&keys));
    asy_llama_vocab_free(vocab);
    asy_gguf_close(gguf);
    asy_file_unmap(file);
    asy_llama_free(llama);
    asy_buf_done(&keys);
}

static void test_greedy(void) {
    for (size_t i = 0; i < 3; i++) {
        uint32_t want[32];
        struct asy_engine_job job = question(i, 0, ASY_COUNT(want));
        struct recorded *got = run_one(&job);
        size_t n = ref_run(want, ASY_COUNT(want), got->prompt, got->prompt_count, NULL, NULL, 0);
        CHECK_U64(got->count, n);
        CHECK_MEM(got->ids, want, n * sizeof *want);
        CHECK(got->finish == (ref.llama_vocab_is_eog(ref.vocab, (llama_token)want[n - 1])
                                  ? ASY_ENGINE_STOP
                                  : ASY_ENGINE_LENGTH));
    }
    forget();
}

/* Alone, all at once, and by the reference: the same tokens. */
static void test_seeded(void) {
    enum { COUNT = 4, TOKENS = 28 };
    uint32_t alone[COUNT][TOKENS];
    size_t alone_count[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        struct asy_engine_job job = question(i, 800, TOKENS);
        struct recorded *got = run_one(&job);
        alone_count[i] = got->count;
        memcpy(alone[i], got->ids, got->count * sizeof *got->ids);
        uint32_t want[TOKENS];
        size_t n =
            ref_run(want, TOKENS, got->prompt, got->prompt_count, &job.sampling, job.seed, 0);
        CHECK_U64(got->count, n);
        CHECK_MEM(got->ids, want, n * sizeof *want);
    }
    forget();
    for (size_t i = 0; i < COUNT; i++) {
        struct asy_engine_job job = question(i, 800, TOKENS);
        submit(&job);
    }
    run_until(COUNT, 0, 0);
    for (size_t i = 0; i < COUNT; i++) {
        struct recorded *got = recorder_job(&t.r, i + 1);
        CHECK_U64(got->count, alone_count[i]);
        CHECK_MEM(got->ids, alone[i], alone_count[i] * sizeof *alone[i]);
    }
    forget();
}

static void test_continue(void) {
    struct asy_engine_job job = question(1, 800, 30);
    struct recorded *whole = run_one(&job);
    struct asy_engine_job rest = job;
    rest.key = 50;
    rest.prior_ids = whole->ids;
    rest.prior_count = 11;
    struct recorded *got = run_one(&rest);
    /* What was decoded token by token is computed in one go here, which rounds differently, so the
     * answer may take another turn than `whole` did: it is compared with the reference, given the
     * same ids. */
    uint32_t ids[256], want[30];
    memcpy(ids, whole->prompt, whole->prompt_count * sizeof *ids);
    memcpy(ids + whole->prompt_count, whole->ids, 11 * sizeof *ids);
    size_t n = ref_run(want, 19, ids, whole->prompt_count + 11, &job.sampling, job.seed, 11);
    CHECK_U64(got->first, 11);
    CHECK_U64(got->count, n);
    CHECK_MEM(got->ids, want, n * sizeof *want);

    /* the prompt as ids gives the same as the messages */
    struct asy_engine_job by_ids = job;
    by_ids.key = 51;
    by_ids.messages = (struct asy_bytes){0};
    by_ids.prompt_ids = whole->prompt;
    by_ids.prompt_count = whole->prompt_count;
    got = run_one(&by_ids);
    CHECK_U64(got->count, whole->count);
    CHECK_MEM(got->ids, whole->ids, got->count * sizeof *got->ids);
    forget();
}

/* How often an id stands among others. */
static size_t times(const uint32_t *ids, size_t count, uint32_t id) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += ids[i] == id;
    }
    return n;
}

/* Bias and penalties: greedy, llama.cpp's own samplers give the same ids; seeded, the reference
 * does. Then a job that goes on elsewhere: what was said there counts. */
static void test_adjusted(void) {
    enum { TOKENS = 24 };
    static const struct {
        int32_t presence, frequency;
        uint32_t repeat;
    } kinds[] = {{0, 2000, 0}, {1500, 0, 0}, {0, 0, 1300}, {300, 500, 1100}, {-400, -200, 900}};
    uint32_t want[TOKENS], plain[TOKENS];
    struct asy_engine_job job = question(3, 0, TOKENS);
    struct recorded *got = run_one(&job);
    size_t plain_count = got->count, changed = 0;
    memcpy(plain, got->ids, plain_count * sizeof *plain);
    for (size_t i = 0; i < ASY_COUNT(kinds); i++) {
        for (uint32_t milli = 0; milli <= 800; milli += 800) {
            job = question(3, milli, TOKENS);
            job.key = 100 + 2 * i + (milli != 0);
            job.sampling.presence_penalty_milli = kinds[i].presence;
            job.sampling.frequency_penalty_milli = kinds[i].frequency;
            job.sampling.repeat_penalty_milli = kinds[i].repeat;
            ref.adjust = &job;
            got = run_one(&job);
            size_t n = ref_run(want, TOKENS, got->prompt, got->prompt_count,
                               milli == 0 ? NULL : &job.sampling, job.seed, 0);
            CHECK_U64(got->count, n);
            CHECK_MEM(got->ids, want, n * sizeof *want);
            changed += milli == 0 && memcmp(plain, got->ids, plain_count * sizeof *plain) != 0;
        }
    }
    CHECK(changed >= 3);

    /* what was first is banned; then an id that would never come is forced */
    struct asy_sample_bias bias[2] = {{plain[0], ASY_SAMPLE_BAN_MILLI}};
    job = question(3, 0, TOKENS);
    job.key = 200;
    job.bias = bias;
    job.bias_count = 1;
    job.sampling.logit_bias.b[0] = 1;
    ref.adjust = &job;
    got = run_one(&job);
    size_t n = ref_run(want, TOKENS, got->prompt, got->prompt_count, NULL, NULL, 0);
    CHECK_U64(got->count, n);
    CHECK_MEM(got->ids, want, n * sizeof *want);
    CHECK_U64(times(got->ids, got->count, plain[0]), 0);
    bias[0] = (struct asy_sample_bias){30000, ASY_SAMPLE_MAX_BIAS_MILLI};
    for (uint32_t milli = 0; milli <= 2000; milli += 1000) {
        job.key++;
        job.max_tokens = 10;
        job.sampling.temperature_milli = milli;
        got = run_one(&job);
        CHECK_U64(got->count, 10);
        CHECK_U64(times(got->ids, got->count, 30000), 10);
    }

    /* continued: 12 ids were said before, and weigh on what follows */
    struct asy_engine_job rest = question(3, 0, TOKENS);
    rest.key = 300;
    rest.sampling.frequency_penalty_milli = 2000;
    rest.sampling.presence_penalty_milli = 2000;
    rest.prior_ids = plain;
    rest.prior_count = 12;
    ref.adjust = &rest;
    got = run_one(&rest);
    uint32_t ids[256];
    memcpy(ids, got->prompt, got->prompt_count * sizeof *ids);
    memcpy(ids + got->prompt_count, plain, 12 * sizeof *ids);
    n = ref_run(want, TOKENS - 12, ids, got->prompt_count + 12, NULL, NULL, 12);
    CHECK_U64(got->first, 12);
    CHECK_U64(got->count, n);
    CHECK_MEM(got->ids, want, n * sizeof *want);
    rest.sampling.frequency_penalty_milli = rest.sampling.presence_penalty_milli = 0;
    (void)ref_run(want, TOKENS - 12, ids, got->prompt_count + 12, NULL, NULL, 12);
    CHECK(memcmp(got->ids, want, n * sizeof *want) != 0);
    ref.adjust = NULL;

    /* an id that the model does not have */
    struct asy_why why = {{0}, {0}};
    bias[0] = (struct asy_sample_bias){t.r.model.vocab_count, 1};
    CHECK_ERR(asy_engine_submit(t.e, &job, &why), ASY_ERR_RANGE);
    CHECK_STR(why.param, "logit_bias");
    CHECK(strstr(why.text, "token 49152") != NULL);
    forget();
}

static void cancel_first(void) {
    asy_engine_cancel(t.e, 1);
    asy_engine_host_wake(t.host);
}
static void grant_first(void) {
    struct recorded *job = recorder_job(&t.r, 1);
    CHECK_U64(job->count, 3); /* the other job has said ten times as much meanwhile */
    asy_engine_credit(t.e, 1, 100);
    asy_engine_host_wake(t.host);
}

static void test_credit_and_cancel(void) {
    struct asy_engine_job paused = question(0, 800, 20), other = question(1, 800, 30);
    struct recorded *want = run_one(&paused);
    uint32_t ids[20];
    size_t count = want->count;
    memcpy(ids, want->ids, count * sizeof *ids);
    forget();
    paused.credit = 3;
    t.watch_key = 2;
    t.watch_count = 30;
    t.watch = grant_first;
    submit(&paused);
    submit(&other);
    run_until(2, 0, 0);
    CHECK_U64(recorder_job(&t.r, 1)->count, count); /* a pause changes nothing */
    CHECK_MEM(recorder_job(&t.r, 1)->ids, ids, count * sizeof *ids);
    forget();

    struct asy_engine_job endless = question(1, 800, 900);
    t.watch_key = 1;
    t.watch_count = 5;
    t.watch = cancel_first;
    endless.key = 1;
    submit(&endless);
    run_until(1, 0, 0);
    struct recorded *got = recorder_job(&t.r, 1);
    CHECK(got->finish == ASY_ENGINE_CANCELLED);
    CHECK_U64(got->count, 5);
    CHECK_U64(asy_engine_used(t.e), 0);
    forget();
}

static void test_stop_and_refusals(void) {
    struct asy_engine_job job = question(0, 0, 40);
    struct recorded *whole = run_one(&job);
    const char *text = asy_buf_cstr(&whole->text);
    CHECK(whole->text.n > 70);
    struct asy_bytes stop = {whole->text.p + 60, 7};
    job.stops = &stop;
    job.stop_count = 1;
    struct recorded *got = run_one(&job);
    const uint8_t *at = memmem(whole->text.p, whole->text.n, stop.p, stop.n);
    CHECK(got->finish == ASY_ENGINE_STOP);
    CHECK_U64(got->text.n, (const char *)at - text);
    CHECK_MEM(got->text.p, text, got->text.n);
    CHECK(got->count < whole->count);
    CHECK_MEM(got->ids, whole->ids, got->count * sizeof *got->ids);
    forget();

    uint32_t many[1024]; /* four places are left behind 1,020 ids, none behind 1,024 */
    for (size_t i = 0; i < ASY_COUNT(many); i++) {
        many[i] = (uint32_t)(100 + i % 300);
    }
    job = plain_job(1, NULL);
    job.prompt_ids = many;
    job.prompt_count = 1020;
    job.max_tokens = 100;
    got = run_one(&job);
    CHECK((got->finish == ASY_ENGINE_LENGTH && got->count == 4) ||
          (got->finish == ASY_ENGINE_STOP && got->count <= 4));
    job.prompt_count = 1024;
    got = run_one(&job);
    CHECK(got->finish == ASY_ENGINE_FAILED && got->err == ASY_ERR_RANGE &&
          strstr(got->why, "context of 1024") != NULL);
    char *big = asy_alloc(20000);
    memset(big, 'x', 19999);
    memcpy(big, "[{\"role\":\"user\",\"content\":\"", 27);
    memcpy(big + 19996, "\"}]", 4);
    job = plain_job(1, big);
    got = run_one(&job);
    CHECK(got->finish == ASY_ENGINE_FAILED && got->err == ASY_ERR_RANGE);
    asy_free(big);
    static const char *const bad[] = {"{}", "[", "[{\"role\":7,\"content\":\"x\"}]",
                                      "[{\"content\":\"x\"}]", "[3]"};
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        job = plain_job(1, bad[i]);
        got = run_one(&job);
        CHECK(got->finish == ASY_ENGINE_FAILED && got->err == ASY_ERR_SYNTAX &&
              got->why[0] != '\0');
    }
    uint32_t outside = t.r.model.vocab_count;
    job = plain_job(1, NULL);
    job.prompt_ids = &outside;
    job.prompt_count = 1;
    got = run_one(&job);
    CHECK(got->finish == ASY_ENGINE_FAILED && got->err == ASY_ERR_RANGE);
    forget();
}

static void kill_worker(void) { CHECK(kill(asy_engine_host_worker(t.host), SIGKILL) == 0); }

static void test_kill(void) {
    struct asy_engine_job job = question(2, 800, 30);
    struct recorded *want = run_one(&job);
    uint32_t ids[30];
    size_t count = want->count;
    memcpy(ids, want->ids, count * sizeof *ids);
    forget();
    pid_t before = asy_engine_host_worker(t.host);
    size_t ups = t.r.ups;
    job.max_tokens = 500;
    t.watch_key = 3;
    t.watch_count = 4;
    t.watch = kill_worker;
    submit(&job);
    struct asy_engine_job waiting = question(1, 800, 500);
    waiting.credit = 0;
    submit(&waiting);
    run_until(2, 0, 1);
    struct recorded *got = recorder_job(&t.r, 3);
    CHECK(got->finish == ASY_ENGINE_FAILED && got->err == ASY_ERR_CLOSED && got->count >= 4);
    CHECK_MEM(got->ids, ids, 4 * sizeof *ids);
    CHECK(recorder_job(&t.r, 2)->err == ASY_ERR_CLOSED);
    CHECK(strstr(t.r.down, "signal 9") != NULL);
    CHECK_U64(asy_engine_free_slots(t.e), 0);
    CHECK_ERR(asy_engine_submit(t.e, &job, NULL), ASY_ERR_AGAIN);

    run_until(0, ups + 1, 1);
    CHECK(asy_engine_host_worker(t.host) != before);
    job.max_tokens = 30;
    got = run_one(&job);
    CHECK_U64(got->count, count);
    CHECK_MEM(got->ids, ids, count * sizeof *ids);
    forget();
}

static void test_model_file(void) {
    struct asy_gguf gguf;
    CHECK_OK(asy_gguf_read(&gguf, MODEL, NULL));
    CHECK_U64(gguf.file_len, 98362432);
    char hex[65];
    asy_hex_encode(hex, gguf.sha256.b, 32);
    CHECK_STR(hex, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    CHECK_STR(gguf.architecture, "llama");
    CHECK_U64(gguf.vocab_count, t.r.model.vocab_count);
    CHECK_U64(gguf.context_train, t.r.model.context_train);
    CHECK(!asy_hash_is_zero(&gguf.tokenizer) && !asy_hash_is_zero(&gguf.template));
    CHECK_ERR(asy_gguf_read(&gguf, "no/such/file", NULL), ASY_ERR_NOT_FOUND);
    CHECK_ERR(asy_gguf_read(&gguf, "Makefile", NULL), ASY_ERR_SYNTAX);
}

/* A long prompt in pieces: it is computed beside the answer of another job, which goes on. */
static void test_pieces(void) {
    struct asy_engine_worker_config config = {.program = t.program,
                                              .model_path = MODEL,
                                              .slots = 2,
                                              .context = 512,
                                              .batch = 16,
                                              .threads = 1,
                                              .backend = getenv("BACKEND")};
    start(&config);
    run_until(0, 1, 0);
    struct asy_buf messages;
    asy_buf_init(&messages, 10000);
    CHECK_OK(asy_buf_add_str(&messages, "[{\"role\":\"user\",\"content\":\"Continue: "));
    for (int i = 0; i < 60; i++) {
        CHECK_OK(asy_buf_printf(&messages, "%d red, ", i));
    }
    CHECK_OK(asy_buf_add_str(&messages, "\"}]"));
    struct asy_engine_job piecemeal = plain_job(10, asy_buf_cstr(&messages));
    piecemeal.sampling.temperature_milli = 0;
    piecemeal.max_tokens = 8;
    struct recorded *got = run_one(&piecemeal);
    CHECK(got->prompt_count > 10 * 16);
    uint32_t want[8];
    ref.batch = 16;
    size_t n = ref_run(want, 8, got->prompt, got->prompt_count, NULL, NULL, 0);
    ref.batch = 512;
    CHECK_U64(got->count, n);
    CHECK_MEM(got->ids, want, n * sizeof *want);
    size_t pieces = got->prompt_count / 15;
    forget();

    struct asy_engine_job other = question(1, 800, 100);
    t.watch_key = 2;
    t.watch_count = 5;
    t.watch = submit_piecemeal;
    t.piecemeal = &piecemeal;
    submit(&other);
    run_until(2, 0, 0);
    CHECK(t.other_before == 5 && t.other_after >= t.other_before + pieces);
    CHECK_U64(recorder_job(&t.r, 2)->count, 100);
    CHECK_U64(recorder_job(&t.r, 10)->count, n);
    asy_buf_done(&messages);
    finish();
}

/* A worker that cannot start says why, again and again, at growing intervals. */
static void test_bad_start(void) {
    struct asy_engine_worker_config config = {.program = t.program,
                                              .model_path = "Makefile",
                                              .slots = 1,
                                              .context = 64,
                                              .batch = 16,
                                              .threads = 1};
    start(&config);
    run_until(0, 0, 2);
    CHECK(strstr(t.r.down, "cannot load the model") != NULL);
    CHECK_U64(t.r.ups, 0);
    finish();
    config.model_path = MODEL;
    config.backend = "nonesuch";
    start(&config);
    run_until(0, 0, 1);
    CHECK(strstr(t.r.down, "nonesuch") != NULL);
    finish();
    config.program = "/no/such/program";
    start(&config);
    run_until(0, 0, 1);
    CHECK(t.r.down[0] != '\0');
    finish();
}

/* A worker whose parent is gone ends by itself. */
static void on_worker_exit(void *arg, struct asy_child *child, int status, int signum) {
    *(int *)arg = signum == 0 ? status : -signum;
    asy_child_free(child);
    asy_loop_stop(t.loop);
}

static void test_orphan(void) {
    struct asy_engine_worker_config config = {.program = t.program,
                                              .model_path = MODEL,
                                              .slots = 1,
                                              .context = 64,
                                              .batch = 16,
                                              .threads = 1};
    CHECK_OK(asy_engine_worker_new(&t.e, &config, &recorder_events, &t.r, NULL));
    int ours, theirs, status = -1;
    CHECK_OK(asy_pipe_pair(&ours, &theirs));
    const int fds[] = {-1, -1, STDERR_FILENO, theirs};
    struct asy_child_spec spec = {.argv = asy_engine_worker_argv(t.e), .fds = fds, .fd_count = 4};
    struct asy_child *child;
    CHECK_OK(asy_child_spawn(t.loop, &child, &spec, on_worker_exit, &status, NULL));
    close(theirs);
    close(ours);
    asy_loop_run(t.loop);
    CHECK_U64(status, 0);
    asy_engine_free(t.e);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "engine-worker") == 0) {
        return asy_engine_worker_main(argc, argv);
    }
    if (access(MODEL, R_OK) != 0) {
        return asy_test_skip("no model: " MODEL);
    }
    ssize_t len = readlink("/proc/self/exe", t.program, sizeof t.program - 1);
    ASY_ASSERT(len > 0);
    snprintf(t.plugin, sizeof t.plugin, "%.*s/../lib/assay-llama.so",
             (int)(strrchr(t.program, '/') - t.program), t.program);
    if (!ref_open(t.plugin)) {
        return asy_test_skip("no libllama");
    }
    CHECK_OK(asy_loop_new(&t.loop, NULL));
    struct asy_engine_worker_config config = {.program = t.program,
                                              .model_path = MODEL,
                                              .slots = 4,
                                              .context = 1024,
                                              .batch = 512,
                                              .threads = 1,
                                              .backend = getenv("BACKEND")};
    start(&config);
    run_until(0, 1, 0);
    printf("backend %s, %u slots of %u tokens\n", t.r.model.backend, t.r.model.slots,
           t.r.model.context);
    test_model_file();
    test_template();
    test_chat();
    test_greedy();
    test_seeded();
    test_continue();
    test_adjusted();
    test_credit_and_cancel();
    test_stop_and_refusals();
    test_kill();
    finish();
    test_pieces();
    test_bad_start();
    test_orphan();
    asy_loop_free(t.loop);
    ref_close();
    return asy_test_end();
}
#endif
