/* replay.c: a segment from its record: prompt, tokens, end. */
#include "audit/audit.h"

/* ---- the end --------------------------------------------------------------------------------- */

/* The text as a worker sees it: an end token stands for none. */
static size_t piece_of(void *arg, char ret[ASY_ENGINE_PIECE_MAX], uint32_t id) {
    const struct asy_audit_vocab *v = arg;
    return v->is_end(v->self, id) ? 0 : v->piece(v->self, ret, id);
}

struct asy_audit_end asy_audit_end(const struct asy_audit_end_job *job,
                                   const struct asy_audit_vocab *vocab) {
    uint32_t count = job->output_count, end = 0;
    uint64_t total = (uint64_t)job->prompt_count + job->prior_count + count;
    while (end < count && !vocab->is_end(vocab->self, job->output[end])) {
        end++;
    }
    uint32_t stop = (uint32_t)asy_engine_stop_at(job->stops, job->stop_count, job->output, end,
                                                 piece_of, (void *)(uintptr_t)vocab);
    struct asy_audit_end e = {.verdict = ASY_AUDIT_END_RIGHT, .at = job->prior_count + stop};
    e.cause = stop < end              ? ASY_AUDIT_CAUSE_STRING
              : end < count           ? ASY_AUDIT_CAUSE_TOKEN
              : count == job->max_out ? ASY_AUDIT_CAUSE_MAX_OUT
              : total == job->context ? ASY_AUDIT_CAUSE_CONTEXT
                                      : ASY_AUDIT_CAUSE_NONE;
    bool stopped = e.cause == ASY_AUDIT_CAUSE_STRING || e.cause == ASY_AUDIT_CAUSE_TOKEN;
    if (stopped && stop + 1 < count) {
        e.verdict = ASY_AUDIT_END_LATE;
    } else if (job->finish == ASY_FINISH_STOP && !stopped) {
        e.verdict = ASY_AUDIT_END_EARLY;
    } else if (job->finish == ASY_FINISH_LENGTH && stopped) {
        e.verdict = ASY_AUDIT_END_OTHER;
    } else if (job->finish == ASY_FINISH_LENGTH && e.cause == ASY_AUDIT_CAUSE_NONE) {
        e.verdict = ASY_AUDIT_END_EARLY;
    }
    return e;
}

/* ---- a segment ------------------------------------------------------------------------------- */

/* The array inside {"messages":[...]}, as engines take it. The record's request is canonical, so it
 * has exactly this form. */
static enum asy_err messages_of(struct asy_bytes *ret, struct asy_bytes request,
                                struct asy_why *why) {
    struct asy_bytes head = ASY_STR("{\"messages\":");
    if (!asy_bytes_starts(request, head) || request.n < head.n + 1) {
        return asy_why_set(why, ASY_ERR_SYNTAX, "messages", "not a canonical request");
    }
    *ret = asy_bytes_of(request.p + head.n, request.n - head.n - 1);
    return ASY_OK;
}

enum asy_err asy_audit_prompt(uint32_t **ret_ids, uint32_t *ret_count, struct asy_hash *ret_digest,
                              bool *ret_signed, const struct asy_audit_segment *segment,
                              const struct asy_audit_vocab *vocab, struct asy_why *reterr_why) {
    struct asy_bytes messages;
    struct asy_hash digest;
    size_t count;
    ASY_TRY(messages_of(&messages, segment->record->messages, reterr_why));
    ASY_TRY(
        vocab->chat(vocab->self, ret_ids, &count, messages, segment->terms->issued_at, reterr_why));
    if (count > UINT32_MAX) {
        asy_free(*ret_ids);
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "messages", "%zu tokens", count);
    }
    asy_prompt_digest(&digest, *ret_ids, count);
    *ret_count = (uint32_t)count;
    *ret_signed =
        asy_hash_eq(&digest, segment->prompt_digest) && count == segment->receipt->in_tokens;
    if (ret_digest != NULL) {
        *ret_digest = digest;
    }
    return ASY_OK;
}

/* What the record says of the tokens; the prompt is the caller's. */
static enum asy_err job_of(struct asy_audit_exact_job *ret, struct asy_sample_bias *bias,
                           const struct asy_audit_segment *s, struct asy_why *why) {
    const struct asy_audit_record *r = s->record;
    if (r->count < s->receipt->out_tokens) {
        return asy_why_set(why, ASY_ERR_RANGE, "output", "fewer ids than the receipt counts");
    }
    *ret = (struct asy_audit_exact_job){.prior = r->prior,
                                        .prior_count = r->prior_count,
                                        .output = r->ids,
                                        .output_count = (uint32_t)s->receipt->out_tokens,
                                        .bias = bias};
    memcpy(ret->seed, r->seed.b, sizeof ret->seed);
    ASY_TRY(asy_sample_settings_decode(&ret->sampling, r->settings, why));
    return asy_sample_bias_decode(bias, &ret->bias_count, r->bias, why);
}

static enum asy_err compute(struct asy_audit_replay *ret, const struct asy_audit_exact_job *job,
                            const struct asy_audit_replay_config *c, struct asy_why *why) {
    struct asy_exact *x;
    uint64_t total = (uint64_t)job->prompt_count + job->prior_count + job->output_count;
    uint32_t positions = asy_exact_model_info(c->model)->positions;
    /* the last token is chosen, not computed with */
    if (total > (uint64_t)positions + 1) {
        return asy_why_set(why, ASY_ERR_RANGE, NULL, "%llu tokens, and the model has %u positions",
                           (unsigned long long)total, positions);
    }
    struct asy_exact_config config = {.kernel = c->kernel,
                                      .threads = c->threads,
                                      .slots = 1,
                                      .context = total > positions ? positions : (uint32_t)total,
                                      .rows = ASY_AUDIT_ROWS,
                                      .logits_rows = ASY_AUDIT_LOGITS_ROWS};
    ASY_TRY(asy_exact_new(&x, c->model, &config, why));
    enum asy_err err = asy_audit_exact(&ret->tokens, &ret->wrong, x, 0, job, !c->count_all,
                                       c->progress, c->arg, why);
    asy_exact_free(x);
    return err;
}

/* prompt: the one that was signed, ret->prompt_count ids. */
static enum asy_err replay(struct asy_audit_replay *ret, const struct asy_audit_segment *s,
                           const struct asy_audit_replay_config *c, const uint32_t *prompt,
                           struct asy_why *why) {
    struct asy_audit_exact_job job;
    struct asy_sample_bias bias[ASY_MAX_BIAS];
    ASY_TRY(job_of(&job, bias, s, why));
    job.prompt = prompt;
    job.prompt_count = ret->prompt_count;
    ASY_TRY(compute(ret, &job, c, why));
    const struct asy_audit_end_job end = {
        .output = job.output,
        .output_count = job.output_count,
        .prior_count = job.prior_count,
        .prompt_count = job.prompt_count,
        .stops = s->record->stops,
        .stop_count = s->record->stop_count,
        .max_out = s->terms->max_out,
        .context = c->context != 0 ? c->context : asy_exact_model_info(c->model)->positions,
        .finish = s->receipt->finish};
    ret->end = asy_audit_end(&end, c->vocab);
    return ASY_OK;
}

enum asy_err asy_audit_replay(struct asy_audit_replay *ret_replay,
                              const struct asy_audit_segment *segment,
                              const struct asy_audit_replay_config *config,
                              struct asy_why *reterr_why) {
    struct asy_audit_replay r = {0};
    uint32_t *prompt;
    ASY_TRY(asy_audit_prompt(&prompt, &r.prompt_count, &r.prompt_digest, &r.prompt_is_signed,
                             segment, config->vocab, reterr_why));
    enum asy_err err =
        r.prompt_is_signed ? replay(&r, segment, config, prompt, reterr_why) : ASY_OK;
    asy_free(prompt);
    if (err == ASY_OK) {
        *ret_replay = r;
    }
    return err;
}
