#include "audit/audit.h"

struct judge {
    const struct asy_audit_exact_job *job;
    struct asy_audit_exact *r;
    void *workspace;
    int32_t *logits;                 /* adjusted ones; NULL: the settings adjust nothing */
    struct asy_sample_count *counts; /* of the output before; NULL: no penalty asks */
    size_t counts_len;
    uint32_t vocab;
    uint32_t wrong;
};

static uint32_t id_at(const struct asy_audit_exact_job *j, uint32_t n) {
    if (n < j->prompt_count) {
        return j->prompt[n];
    }
    n -= j->prompt_count;
    return n < j->prior_count ? j->prior[n] : j->output[n - j->prior_count];
}

static enum asy_err job_check(const struct asy_audit_exact_job *j, const struct asy_exact *x,
                              struct asy_why *why) {
    const struct asy_exact_info *info = asy_exact_model_info(asy_exact_model_of(x));
    uint64_t count = (uint64_t)j->prompt_count + j->prior_count + j->output_count;
    /* the last token is chosen, but not computed with */
    if (j->prompt_count == 0 || count > (uint64_t)asy_exact_config_of(x)->context + 1) {
        return asy_why_set(why, ASY_ERR_RANGE, NULL,
                           "a job of %llu tokens does not fit in a context of %u",
                           (unsigned long long)count, asy_exact_config_of(x)->context);
    }
    for (uint32_t n = 0; n < count; n++) {
        if (id_at(j, n) >= info->vocab) {
            return asy_why_set(why, ASY_ERR_RANGE, NULL, "id %u is not in the vocabulary",
                               id_at(j, n));
        }
    }
    ASY_TRY(asy_sample_settings_check(&j->sampling, why));
    return asy_sample_bias_check(j->bias, j->bias_count, why);
}

/* Output token n, which the model's logits are for. */
static void judge_token(struct judge *g, const int32_t *logits, uint32_t n) {
    const struct asy_audit_exact_job *j = g->job;
    uint32_t claimed = j->output[n], right, pos = j->prior_count + n;
    int64_t margin, lead = 0;
    enum asy_err err = ASY_OK;
    if (g->logits != NULL) {
        memcpy(g->logits, logits, g->vocab * sizeof *logits);
        err = asy_sample_adjust(g->logits, g->vocab, &j->sampling, j->bias, j->bias_count,
                                g->counts, g->counts_len);
        logits = g->logits;
    }
    if (err == ASY_OK) {
        err = asy_sample_token(&right, &lead, g->workspace, logits, g->vocab, &j->sampling, j->seed,
                               pos);
    }
    if (err != ASY_OK) { /* a bias masks every id, or names one that is none: no token is right */
        right = UINT32_MAX;
        margin = ASY_SAMPLE_OUTSIDE;
    } else if (right == claimed) {
        margin = 0;
    } else {
        err = asy_sample_margin(&margin, NULL, g->workspace, logits, g->vocab, &j->sampling,
                                j->seed, pos, claimed);
        ASY_ASSERT(err == ASY_OK); /* as above, and claimed was checked */
    }
    struct asy_audit_exact *r = g->r;
    if (margin == 0) {
        r->least_lead = lead < r->least_lead ? lead : r->least_lead;
    } else if (g->wrong++ == 0) {
        r->verdict = ASY_AUDIT_WRONG;
        r->first = pos;
        r->claimed = claimed;
        r->right = right;
        r->margin = margin;
    }
    r->checked++;
    if (g->counts != NULL) {
        asy_sample_count_add(g->counts, &g->counts_len, claimed);
    }
}

static void judge_init(struct judge *g) {
    const struct asy_audit_exact_job *j = g->job;
    uint32_t uses = asy_sample_uses(&j->sampling);
    g->workspace = asy_alloc(asy_sample_workspace_len(g->vocab));
    if ((uses & (ASY_SAMPLE_USES_COUNTS | ASY_SAMPLE_USE_BIAS)) != 0) {
        g->logits = asy_alloc(g->vocab * sizeof *g->logits);
    }
    if ((uses & ASY_SAMPLE_USES_COUNTS) != 0) {
        g->counts = asy_alloc((j->prior_count + j->output_count + 1) * sizeof *g->counts);
        for (uint32_t i = 0; i < j->prior_count; i++) {
            asy_sample_count_add(g->counts, &g->counts_len, j->prior[i]);
        }
    }
}

enum asy_err asy_audit_exact(struct asy_audit_exact *ret_audit, uint32_t *ret_wrong,
                             struct asy_exact *x, uint32_t slot,
                             const struct asy_audit_exact_job *job, bool stop_at_first,
                             void (*progress)(void *arg, uint32_t done, uint32_t count), void *arg,
                             struct asy_why *reterr_why) {
    ASY_TRY(job_check(job, x, reterr_why));
    const struct asy_exact_config *c = asy_exact_config_of(x);
    const struct asy_exact_model *model = asy_exact_model_of(x);
    uint32_t stride = asy_exact_logits_stride(model);
    struct judge g = {.job = job, .r = ret_audit, .vocab = asy_exact_model_info(model)->vocab};
    struct asy_exact_row *rows = asy_alloc(c->rows * sizeof *rows);
    *ret_audit =
        (struct asy_audit_exact){.verdict = ASY_AUDIT_PROVED, .least_lead = ASY_SAMPLE_OUTSIDE};
    judge_init(&g);
    /* the logits behind id number n choose id n + 1; from `ask` on they are wanted */
    uint32_t ask = job->prompt_count + job->prior_count - 1, end = ask + job->output_count;
    for (uint32_t at = 0; at < end && job->output_count != 0;) {
        uint32_t n = 0, wanted = 0;
        const int32_t *logits = NULL;
        while (at + n < end && n < c->rows && wanted < c->logits_rows) {
            bool want = at + n >= ask;
            rows[n] = (struct asy_exact_row){
                .token = id_at(job, at + n), .slot = slot, .pos = at + n, .logits = want};
            wanted += want;
            n++;
        }
        enum asy_err err = asy_exact_step(x, &logits, rows, n);
        ASY_ASSERT(err == ASY_OK); /* all was checked */
        uint32_t first = at > ask ? at - ask : 0;
        for (uint32_t i = 0; i < wanted && !(stop_at_first && g.wrong != 0); i++) {
            judge_token(&g, logits + (size_t)i * stride, first + i);
        }
        at += n;
        if (progress != NULL) {
            progress(arg, ret_audit->checked, job->output_count);
        }
        if (stop_at_first && g.wrong != 0) {
            break;
        }
    }
    asy_free(rows);
    asy_free(g.workspace);
    asy_free(g.logits);
    asy_free(g.counts);
    if (ret_wrong != NULL) {
        *ret_wrong = g.wrong;
    }
    return ASY_OK;
}
