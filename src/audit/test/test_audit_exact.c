/* The exact judge on a small random model: honest answers are proved, whatever computed them, and
 * each way to cheat is seen. */
#include "audit/audit.h"

#include "base/test.h"

#include "exact/test/random_model.h" /* allowed: a model file for tests, in one place */

#define PROMPT 23
#define OUTPUT 40

struct rig {
    struct asy_bytes file;
    struct asy_exact_model *model;
    struct asy_exact *x;
    uint32_t prompt[PROMPT], output[OUTPUT], vocab;
    struct asy_audit_exact_job job;
    struct asy_sample_bias bias[2];
};

static void rig_init(struct rig *r) {
    struct asy_exact_shape shape = small_shape();
    shape.tied = false; /* a tied random model mostly repeats itself */
    struct asy_exact_config c = {ASY_EXACT_AUTO, 2, 2, PROMPT + OUTPUT, 16, 16};
    *r = (struct rig){.file = random_model_file(&shape), .vocab = shape.vocab};
    CHECK_OK(asy_exact_model_open(&r->model, r->file, NULL));
    CHECK_OK(asy_exact_new(&r->x, r->model, &c, NULL));
    for (uint32_t i = 0; i < PROMPT; i++) {
        r->prompt[i] = (uint32_t)(asy_test_random() % r->vocab);
    }
    r->job = (struct asy_audit_exact_job){.prompt = r->prompt,
                                          .prompt_count = PROMPT,
                                          .output = r->output,
                                          .output_count = OUTPUT,
                                          .sampling = ASY_SAMPLE_SETTINGS_DEFAULT};
    asy_test_fill(r->job.seed, sizeof r->job.seed);
    r->bias[0] = (struct asy_sample_bias){3, 2500};
    r->bias[1] = (struct asy_sample_bias){7, ASY_SAMPLE_BAN_MILLI};
}

static void rig_done(struct rig *r) {
    asy_exact_free(r->x);
    asy_exact_model_free(r->model);
    asy_free((void *)(uintptr_t)r->file.p);
}

/* An answer as a node makes it: one token at a time. */
static void answer(struct rig *r) {
    const struct asy_audit_exact_job *j = &r->job;
    struct asy_sample_count counts[OUTPUT + 1];
    size_t counts_len = 0;
    void *workspace = asy_alloc(asy_sample_workspace_len(r->vocab));
    int32_t *own = asy_alloc(r->vocab * sizeof *own);
    for (uint32_t n = 0; n < PROMPT + OUTPUT - 1; n++) {
        const int32_t *logits;
        struct asy_exact_row row = {n < PROMPT ? r->prompt[n] : r->output[n - PROMPT], 1, n, true};
        CHECK_OK(asy_exact_step(r->x, &logits, &row, 1));
        if (n + 1 >= PROMPT) {
            uint32_t at = n + 1 - PROMPT;
            memcpy(own, logits, r->vocab * sizeof *own);
            CHECK_OK(asy_sample_adjust(own, r->vocab, &j->sampling, j->bias, j->bias_count, counts,
                                       counts_len));
            CHECK_OK(asy_sample_token(&r->output[at], NULL, workspace, own, r->vocab, &j->sampling,
                                      j->seed, at));
            asy_sample_count_add(counts, &counts_len, r->output[at]);
        }
    }
    asy_free(workspace);
    asy_free(own);
}

static struct asy_audit_exact audit(struct rig *r, uint32_t *ret_wrong, bool stop) {
    struct asy_audit_exact a = {0};
    CHECK_OK(asy_audit_exact(&a, ret_wrong, r->x, 0, &r->job, stop, NULL, NULL, NULL));
    return a;
}

static void proved(struct rig *r) {
    uint32_t wrong = 9;
    struct asy_audit_exact a = audit(r, &wrong, true);
    CHECK(a.verdict == ASY_AUDIT_PROVED && a.checked == r->job.output_count && wrong == 0);
}

static void test_honest(void) {
    struct rig r;
    rig_init(&r);
    for (int i = 0; i < 8; i++) {
        struct asy_sample_settings *s = &r.job.sampling;
        *s = ASY_SAMPLE_SETTINGS_DEFAULT;
        s->temperature_milli = i == 0 ? 0 : 700;
        s->top_k = i == 2 || i == 3 ? 20 : 0;
        s->top_p_ppm = i == 3 ? 800000 : ASY_SAMPLE_PPM;
        s->min_p_ppm = i == 4 ? 50000 : 0;
        s->frequency_penalty_milli = i == 5 ? 700 : 0;
        s->repeat_penalty_milli = i == 6 ? 1300 : 0;
        r.job.bias = i == 7 ? r.bias : NULL;
        r.job.bias_count = i == 7 ? 2 : 0;
        s->logit_bias.b[0] = i == 7; /* not checked here: the terms bind it */
        answer(&r);
        proved(&r);
        /* the second segment of a job: what came before is taken as it is */
        r.job.prior = r.output;
        r.job.prior_count = 11;
        r.job.output = r.output + 11;
        r.job.output_count = OUTPUT - 11;
        proved(&r);
        r.job.output_count = 0;
        proved(&r);
        r.job.prior_count = 0;
        r.job.output = r.output;
        r.job.output_count = OUTPUT;
    }
    rig_done(&r);
}

static void caught(struct rig *r, const char *how, uint32_t least) {
    uint32_t wrong = 0;
    struct asy_audit_exact a = audit(r, &wrong, false);
    if (wrong < least) {
        fprintf(stderr, "%s: %u tokens\n", how, wrong);
    }
    CHECK(wrong >= least && a.checked == OUTPUT);
    CHECK(a.verdict == ASY_AUDIT_WRONG && a.margin > 0 && a.claimed == r->output[a.first] &&
          a.right != a.claimed);
    struct asy_audit_exact first = audit(r, &wrong, true);
    CHECK(first.first == a.first && first.checked == a.first + 1 && wrong == 1);
}

static void test_cheats(void) {
    struct rig r;
    rig_init(&r);
    answer(&r);
    proved(&r);
    r.output[17] = (r.output[17] + 1) % r.vocab; /* a token of one's own */
    uint32_t wrong = 0;
    struct asy_audit_exact a = audit(&r, &wrong, true);
    CHECK(a.verdict == ASY_AUDIT_WRONG && a.first == 17 && a.claimed == r.output[17]);
    answer(&r);
    r.job.seed[0] ^= 1; /* another seed */
    caught(&r, "seed", 2);
    r.job.seed[0] ^= 1;
    r.job.sampling.temperature_milli = 3000;
    caught(&r, "temperature", 1);
    r.job.sampling.temperature_milli = 1000;
    r.prompt[PROMPT - 1] = (r.prompt[PROMPT - 1] + 1) % r.vocab; /* another prompt */
    caught(&r, "prompt", 1);
    r.prompt[PROMPT - 1] = (r.prompt[PROMPT - 1] + r.vocab - 1) % r.vocab;
    proved(&r);
    for (uint32_t i = 0; i < OUTPUT; i++) { /* text from elsewhere */
        r.output[i] = (uint32_t)(asy_test_random() % r.vocab);
    }
    caught(&r, "text", OUTPUT / 2);
    /* another model of the same shape */
    struct rig other;
    rig_init(&other);
    answer(&other);
    memcpy(r.output, other.output, sizeof r.output);
    memcpy(r.prompt, other.prompt, sizeof r.prompt);
    memcpy(r.job.seed, other.job.seed, sizeof r.job.seed);
    caught(&r, "model", 2);
    rig_done(&other);
    rig_done(&r);
}

static void test_refusals(void) {
    struct rig r;
    struct asy_audit_exact a;
    rig_init(&r);
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        struct asy_audit_exact_job old = r.job;                                                    \
        r.job.field = (value);                                                                     \
        CHECK_ERR(asy_audit_exact(&a, NULL, r.x, 0, &r.job, true, NULL, NULL, NULL),               \
                  ASY_ERR_RANGE);                                                                  \
        r.job = old;                                                                               \
    } while (0)
    REFUSED(prompt_count, 0);
    REFUSED(output_count, OUTPUT + 2);
    REFUSED(sampling.top_p_ppm, 1000001);
    r.output[3] = r.vocab;
    REFUSED(bias_count, 0);
    r.output[3] = UINT32_MAX;
    REFUSED(bias_count, 0);
    rig_done(&r);
}

int main(void) {
    test_honest();
    test_cheats();
    test_refusals();
    return asy_test_end();
}
