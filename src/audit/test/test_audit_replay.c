/* A segment from its record, on a small random model and a toy vocabulary: what a worker would have
 * given is proved, with its end; whatever is changed shows, and shows as what it is. */
#include "audit/audit.h"

#include "base/test.h"

#include "exact/test/random_model.h" /* allowed: a model file for tests, in one place */

#define MAX_OUT 48
#define END     7u

/* ---- a toy vocabulary ------------------------------------------------------------------------ */

static uint32_t vocab_count;

static enum asy_err toy_chat(void *self, uint32_t **ret_ids, size_t *ret_count,
                             struct asy_bytes messages, uint64_t time, struct asy_why *why) {
    (void)self;
    if (messages.n < 2 || messages.p[0] != '[' || messages.p[messages.n - 1] != ']') {
        return asy_why_set(why, ASY_ERR_SYNTAX, "messages", "no array");
    }
    *ret_ids = asy_alloc(messages.n * sizeof **ret_ids);
    for (size_t i = 0; i < messages.n; i++) {
        (*ret_ids)[i] = messages.p[i] % vocab_count;
    }
    (*ret_ids)[0] = (uint32_t)(time % vocab_count); /* a template that prints the time */
    *ret_count = messages.n;
    return ASY_OK;
}
static bool toy_end(void *self, uint32_t id) {
    (void)self;
    return id == END;
}
/* a, b .. z; every tenth token is half a character */
static size_t toy_piece(void *self, char *ret, uint32_t id) {
    (void)self;
    CHECK(id != END); /* its text, if it has one, never counts */
    ret[0] = id % 10 == 3 ? '\xc3' : (char)('a' + id % 26);
    return 1;
}
static const struct asy_audit_vocab toy = {.chat = toy_chat, .is_end = toy_end, .piece = toy_piece};

/* ---- a segment ------------------------------------------------------------------------------- */

struct rig {
    struct asy_bytes file;
    struct asy_exact_model *model;
    struct asy_terms terms;
    struct asy_receipt receipt;
    struct asy_hash prompt_digest;
    struct asy_audit_record record;
    uint32_t prior[8], output[MAX_OUT];
    uint8_t settings[ASY_SAMPLE_SETTINGS_LEN], bias[ASY_SAMPLE_BIAS_LEN];
    struct asy_audit_replay_config config;
};

static const char request[] = "{\"messages\":[{\"content\":\"What?\",\"role\":\"user\"}]}";

static void rig_init(struct rig *r) {
    struct asy_exact_shape shape = small_shape();
    shape.tied = false; /* a tied random model mostly repeats itself */
    *r = (struct rig){.file = random_model_file(&shape), .terms = {.issued_at = 1800000001}};
    vocab_count = shape.vocab;
    CHECK_OK(asy_exact_model_open(&r->model, r->file, NULL));
    r->record.messages = asy_bytes_cstr(request);
    r->config = (struct asy_audit_replay_config){.model = r->model, .vocab = &toy, .threads = 1};
    asy_test_fill(r->record.seed.b, sizeof r->record.seed.b);
}

static void rig_done(struct rig *r) {
    asy_exact_model_free(r->model);
    asy_free((void *)(uintptr_t)r->file.p);
}

static void set_settings(struct rig *r, struct asy_sample_settings s, uint32_t biased, int milli) {
    r->record.bias = asy_bytes_of(r->bias, milli != 0 ? sizeof r->bias : 0);
    if (milli != 0) {
        const struct asy_sample_bias pair = {biased, milli};
        asy_sample_bias_encode(r->bias, &pair, 1);
    }
    asy_job_bias_digest(&s.logit_bias, r->record.bias);
    asy_sample_settings_encode(r->settings, &s);
    r->record.settings = asy_bytes_of(r->settings, sizeof r->settings);
}

/* A worker: one token at a time, until something ends it. */
static void serve(struct rig *r, uint32_t max_out, uint32_t context) {
    struct asy_exact *x;
    struct asy_exact_config c = {ASY_EXACT_AUTO, 1, 1, 200, 8, 8};
    struct asy_sample_settings s;
    struct asy_sample_bias bias[ASY_MAX_BIAS];
    struct asy_sample_count counts[MAX_OUT + 9];
    size_t bias_count, counts_len = 0, prompt_count;
    uint32_t *prompt, n = 0, count = 0;
    char text[MAX_OUT + 1] = "";
    void *workspace = asy_alloc(asy_sample_workspace_len(vocab_count));
    int32_t *own = asy_alloc(vocab_count * sizeof *own);
    CHECK_OK(asy_exact_new(&x, r->model, &c, NULL));
    CHECK_OK(toy_chat(NULL, &prompt, &prompt_count, asy_bytes_of(request + 12, sizeof request - 14),
                      r->terms.issued_at, NULL));
    CHECK_OK(asy_sample_settings_decode(&s, r->record.settings, NULL));
    CHECK_OK(asy_sample_bias_decode(bias, &bias_count, r->record.bias, NULL));
    for (uint32_t i = 0; i < r->record.prior_count; i++) {
        asy_sample_count_add(counts, &counts_len, r->prior[i]);
    }
    r->receipt.finish = 0;
    uint32_t given = (uint32_t)prompt_count + r->record.prior_count;
    while (r->receipt.finish == 0) {
        const int32_t *logits;
        struct asy_exact_row row = {n < prompt_count ? prompt[n]
                                    : n < given      ? r->prior[n - prompt_count]
                                                     : r->output[n - given],
                                    0, n, true};
        CHECK_OK(asy_exact_step(x, &logits, &row, 1));
        if (++n < given) {
            continue;
        }
        uint32_t *id = &r->output[count];
        memcpy(own, logits, vocab_count * sizeof *own);
        CHECK_OK(asy_sample_adjust(own, vocab_count, &s, bias, bias_count, counts, counts_len));
        CHECK_OK(asy_sample_token(id, NULL, workspace, own, vocab_count, &s, r->record.seed.b,
                                  r->record.prior_count + count));
        asy_sample_count_add(counts, &counts_len, *id);
        if (*id != END) {
            (void)toy_piece(NULL, text + count, *id);
        }
        bool stop = *id == END;
        for (uint32_t i = 0; i < r->record.stop_count; i++) {
            stop = stop || strstr(text, (const char *)r->record.stops[i].p) != NULL;
        }
        count++;
        r->receipt.finish = stop                                           ? ASY_FINISH_STOP
                            : count == max_out || given + count == context ? ASY_FINISH_LENGTH
                                                                           : 0;
    }
    r->terms.max_out = max_out;
    r->receipt.in_tokens = prompt_count;
    r->receipt.out_tokens = count;
    asy_prompt_digest(&r->prompt_digest, prompt, prompt_count);
    r->record.ids = r->output;
    r->record.count = count;
    asy_free(prompt);
    asy_free(workspace);
    asy_free(own);
    asy_exact_free(x);
}

static struct asy_audit_replay replay(const struct rig *r) {
    struct asy_audit_replay a = {0};
    struct asy_why why = {{0}, {0}};
    const struct asy_audit_segment s = {&r->terms, &r->receipt, &r->prompt_digest, &r->record};
    CHECK_OK(asy_audit_replay(&a, &s, &r->config, &why));
    return a;
}

static struct asy_audit_replay proved(const struct rig *r, enum asy_audit_cause cause) {
    struct asy_audit_replay a = replay(r);
    CHECK(a.prompt_is_signed && a.tokens.verdict == ASY_AUDIT_PROVED && a.wrong == 0);
    CHECK_U64(a.tokens.checked, r->receipt.out_tokens);
    CHECK_U64(a.end.cause, cause);
    CHECK_U64(a.end.verdict, ASY_AUDIT_END_RIGHT);
    return a;
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void test_honest(void) {
    struct rig r;
    rig_init(&r);
    struct asy_sample_settings plain = ASY_SAMPLE_SETTINGS_DEFAULT, s = plain;
    set_settings(&r, plain, END, ASY_SAMPLE_BAN_MILLI); /* so that it does not end by itself */
    serve(&r, 30, 200);
    (void)proved(&r, ASY_AUDIT_CAUSE_MAX_OUT);
    CHECK_U64(r.receipt.out_tokens, 30);
    serve(&r, MAX_OUT, (uint32_t)r.receipt.in_tokens + 20);
    r.config.context = (uint32_t)r.receipt.in_tokens + 20;
    (void)proved(&r, ASY_AUDIT_CAUSE_CONTEXT);
    r.config.context = 0;
    CHECK_U64(replay(&r).end.verdict, ASY_AUDIT_END_EARLY);
    s.frequency_penalty_milli = 900;
    s.temperature_milli = 0;
    set_settings(&r, s, END, 100000);
    serve(&r, MAX_OUT, 200);
    struct asy_audit_replay a = proved(&r, ASY_AUDIT_CAUSE_TOKEN);
    CHECK(a.end.at == 0 && r.receipt.out_tokens == 1);

    /* a stop string: two letters of the plain answer */
    set_settings(&r, plain, END, ASY_SAMPLE_BAN_MILLI);
    serve(&r, MAX_OUT, 200);
    char stop[3] = "", other[] = "not here";
    uint32_t at = 5;
    while (r.output[at] % 10 == 3 || r.output[at + 1] % 10 == 3) {
        at++;
    }
    (void)toy_piece(NULL, stop, r.output[at]);
    (void)toy_piece(NULL, stop + 1, r.output[at + 1]);
    r.record.stops[0] = asy_bytes_cstr(other);
    r.record.stops[1] = asy_bytes_cstr(stop);
    r.record.stop_count = 2;
    serve(&r, MAX_OUT, 200);
    CHECK(r.receipt.finish == ASY_FINISH_STOP && r.receipt.out_tokens <= at + 2);
    a = proved(&r, ASY_AUDIT_CAUSE_STRING);
    CHECK_U64(a.end.at, r.receipt.out_tokens - 1);

    /* cut before the end, by whomever; nothing at all of it was taken */
    r.receipt.finish = ASY_FINISH_CANCELLED;
    r.record.count--;
    r.receipt.out_tokens--;
    (void)proved(&r, ASY_AUDIT_CAUSE_NONE);
    r.receipt.finish = ASY_FINISH_LINK; /* more was relayed than the receipt covers */
    r.receipt.out_tokens--;
    (void)proved(&r, ASY_AUDIT_CAUSE_NONE);
    r.receipt.out_tokens = 0;
    (void)proved(&r, ASY_AUDIT_CAUSE_NONE);

    /* a later segment: what was given before is at its place */
    r.record.stop_count = 0;
    s = plain;
    s.presence_penalty_milli = 700;
    set_settings(&r, s, END, ASY_SAMPLE_BAN_MILLI);
    serve(&r, 20, 200);
    uint32_t whole[20];
    memcpy(whole, r.output, sizeof whole);
    memcpy(r.prior, r.output, sizeof r.prior);
    r.record.prior = r.prior;
    r.record.prior_count = 8;
    serve(&r, 12, 200);
    CHECK(memcmp(r.output, whole + 8, 12 * sizeof *whole) == 0);
    (void)proved(&r, ASY_AUDIT_CAUSE_MAX_OUT);
    rig_done(&r);
}

static void test_changed(void) {
    struct rig r;
    rig_init(&r);
    struct asy_sample_settings plain = ASY_SAMPLE_SETTINGS_DEFAULT, s = plain;
    set_settings(&r, plain, END, ASY_SAMPLE_BAN_MILLI);
    serve(&r, 40, 200);
    (void)proved(&r, ASY_AUDIT_CAUSE_MAX_OUT);
    struct rig honest = r;

    /* the prompt: another text, another count */
    r.record.messages = ASY_STR("{\"messages\":[{\"content\":\"WHAT?\",\"role\":\"user\"}]}");
    struct asy_audit_replay a = replay(&r);
    CHECK(!a.prompt_is_signed && a.tokens.verdict == 0 && a.end.verdict == 0);
    CHECK_U64(a.prompt_count, r.receipt.in_tokens);
    r.record.messages = honest.record.messages;
    r.receipt.in_tokens++;
    CHECK(!replay(&r).prompt_is_signed);
    r.receipt.in_tokens--;
    r.terms.issued_at++; /* a template's date */
    CHECK(!replay(&r).prompt_is_signed);
    r.terms.issued_at--;

    /* one token; its place and the right one are told */
    uint32_t right = r.output[17];
    r.output[17] = (right + 1) % vocab_count == END ? right + 2 : (right + 1) % vocab_count;
    a = replay(&r);
    CHECK(a.prompt_is_signed && a.tokens.verdict == ASY_AUDIT_WRONG && a.wrong == 1);
    CHECK(a.tokens.first == 17 && a.tokens.right == right && a.tokens.claimed == r.output[17]);
    CHECK(a.tokens.margin > 0);
    r.config.count_all = true;
    CHECK(replay(&r).wrong >= 1);
    r.config.count_all = false;
    r.output[17] = right;
    (void)proved(&r, ASY_AUDIT_CAUSE_MAX_OUT);

    r.record.seed.b[0] ^= 1;
    CHECK(replay(&r).tokens.verdict == ASY_AUDIT_WRONG);
    r.record.seed.b[0] ^= 1;
    s.temperature_milli = 3000;
    set_settings(&r, s, END, ASY_SAMPLE_BAN_MILLI);
    CHECK(replay(&r).tokens.verdict == ASY_AUDIT_WRONG);
    set_settings(&r, plain, r.output[3], ASY_SAMPLE_BAN_MILLI); /* a token that may not be */
    a = replay(&r);
    CHECK(a.tokens.verdict == ASY_AUDIT_WRONG && a.tokens.first <= 3);
    set_settings(&r, plain, vocab_count, 1000); /* one that there is not: no answer is right */
    a = replay(&r);
    CHECK(a.tokens.verdict == ASY_AUDIT_WRONG && a.tokens.first == 0 &&
          a.tokens.right == UINT32_MAX && a.tokens.margin == ASY_SAMPLE_OUTSIDE);
    set_settings(&r, plain, END, ASY_SAMPLE_BAN_MILLI);
    struct rig other;
    rig_init(&other); /* another model */
    r.config.model = other.model;
    CHECK(replay(&r).tokens.verdict == ASY_AUDIT_WRONG);
    r.config.model = r.model;
    rig_done(&other);
    (void)proved(&r, ASY_AUDIT_CAUSE_MAX_OUT);

    /* what no honest node can have served */
    const struct asy_audit_segment seg = {&r.terms, &r.receipt, &r.prompt_digest, &r.record};
    struct asy_why why;
    uint32_t ids[8] = {0};
    r.record.prior = ids;
    r.record.prior_count = 8;
    ids[3] = vocab_count;
    CHECK_ERR(asy_audit_replay(&a, &seg, &r.config, &why), ASY_ERR_RANGE);
    r.record.prior_count = 0;
    r.record.count = (uint32_t)r.receipt.out_tokens - 1;
    CHECK_ERR(asy_audit_replay(&a, &seg, &r.config, &why), ASY_ERR_RANGE);
    r.record.messages = ASY_STR("{\"messages\":");
    CHECK_ERR(asy_audit_replay(&a, &seg, &r.config, &why), ASY_ERR_SYNTAX);
    r.record.messages = ASY_STR("{\"messages\":{}}");
    CHECK_ERR(asy_audit_replay(&a, &seg, &r.config, &why), ASY_ERR_SYNTAX);
    rig_done(&r);
}

/* Every reason with every kind of end. `c` and END end it; ids are letters. */
static void test_ends(void) {
    static const struct {
        uint32_t ids[4], count;
        uint8_t finish;
        enum asy_audit_end_verdict verdict;
        enum asy_audit_cause cause;
    } cases[] = {
        {{0, 1, END}, 3, ASY_FINISH_STOP, ASY_AUDIT_END_RIGHT, ASY_AUDIT_CAUSE_TOKEN},
        {{0, 1, 2}, 3, ASY_FINISH_STOP, ASY_AUDIT_END_RIGHT, ASY_AUDIT_CAUSE_STRING},
        {{0, 1, 1}, 3, ASY_FINISH_STOP, ASY_AUDIT_END_EARLY, ASY_AUDIT_CAUSE_NONE},
        {{0, 1, 1, 0}, 4, ASY_FINISH_STOP, ASY_AUDIT_END_EARLY, ASY_AUDIT_CAUSE_MAX_OUT},
        {{0, 1, 0, END}, 4, ASY_FINISH_STOP, ASY_AUDIT_END_RIGHT, ASY_AUDIT_CAUSE_TOKEN},
        {{END, 1, 1}, 3, ASY_FINISH_STOP, ASY_AUDIT_END_LATE, ASY_AUDIT_CAUSE_TOKEN},
        {{END, 1, END}, 3, ASY_FINISH_STOP, ASY_AUDIT_END_LATE, ASY_AUDIT_CAUSE_TOKEN},
        {{2, END}, 2, ASY_FINISH_STOP, ASY_AUDIT_END_LATE, ASY_AUDIT_CAUSE_STRING},
        {{END, 2}, 2, ASY_FINISH_STOP, ASY_AUDIT_END_LATE, ASY_AUDIT_CAUSE_TOKEN},
        {{0}, 0, ASY_FINISH_STOP, ASY_AUDIT_END_EARLY, ASY_AUDIT_CAUSE_NONE},
        {{0, 1, 0, 1}, 4, ASY_FINISH_LENGTH, ASY_AUDIT_END_RIGHT, ASY_AUDIT_CAUSE_MAX_OUT},
        {{0, 1, 0}, 3, ASY_FINISH_LENGTH, ASY_AUDIT_END_EARLY, ASY_AUDIT_CAUSE_NONE},
        {{0, 1, 0, END}, 4, ASY_FINISH_LENGTH, ASY_AUDIT_END_OTHER, ASY_AUDIT_CAUSE_TOKEN},
        {{0, 1, 0, 2}, 4, ASY_FINISH_LENGTH, ASY_AUDIT_END_OTHER, ASY_AUDIT_CAUSE_STRING},
        {{0, END, 0, 1}, 4, ASY_FINISH_LENGTH, ASY_AUDIT_END_LATE, ASY_AUDIT_CAUSE_TOKEN},
        {{0, 2, 0, 1}, 4, ASY_FINISH_LENGTH, ASY_AUDIT_END_LATE, ASY_AUDIT_CAUSE_STRING},
        {{0, 1}, 2, ASY_FINISH_CANCELLED, ASY_AUDIT_END_RIGHT, ASY_AUDIT_CAUSE_NONE},
        {{0, 1}, 2, ASY_FINISH_LINK, ASY_AUDIT_END_RIGHT, ASY_AUDIT_CAUSE_NONE},
        {{0, END}, 2, ASY_FINISH_CANCELLED, ASY_AUDIT_END_RIGHT, ASY_AUDIT_CAUSE_TOKEN},
        {{END, 0}, 2, ASY_FINISH_CANCELLED, ASY_AUDIT_END_LATE, ASY_AUDIT_CAUSE_TOKEN},
        {{2, 0}, 2, ASY_FINISH_LINK, ASY_AUDIT_END_LATE, ASY_AUDIT_CAUSE_STRING},
        {{0}, 0, ASY_FINISH_CANCELLED, ASY_AUDIT_END_RIGHT, ASY_AUDIT_CAUSE_NONE},
    };
    const struct asy_bytes stop = ASY_STR("c");
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_audit_end_job j = {.output = cases[i].ids,
                                      .output_count = cases[i].count,
                                      .prior_count = 5,
                                      .prompt_count = 10,
                                      .stops = &stop,
                                      .stop_count = 1,
                                      .max_out = 4,
                                      .context = 100,
                                      .finish = cases[i].finish};
        struct asy_audit_end e = asy_audit_end(&j, &toy);
        if (e.verdict != cases[i].verdict || e.cause != cases[i].cause) {
            fprintf(stderr, "case %zu: verdict %d, cause %d\n", i, e.verdict, e.cause);
        }
        CHECK(e.verdict == cases[i].verdict && e.cause == cases[i].cause);
        if (e.cause == ASY_AUDIT_CAUSE_TOKEN || e.cause == ASY_AUDIT_CAUSE_STRING) {
            uint32_t at = 0;
            while (cases[i].ids[at] != END && cases[i].ids[at] != 2) {
                at++;
            }
            CHECK_U64(e.at, 5 + at);
        }
        if (e.cause == ASY_AUDIT_CAUSE_NONE && cases[i].finish == ASY_FINISH_LENGTH) {
            j.context = 10 + 5 + cases[i].count;
            e = asy_audit_end(&j, &toy);
            CHECK(e.verdict == ASY_AUDIT_END_RIGHT && e.cause == ASY_AUDIT_CAUSE_CONTEXT);
        }
    }
}

int main(void) {
    test_honest();
    test_changed();
    test_ends();
    return asy_test_end();
}
