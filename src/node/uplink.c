/* uplink.c: one gateway, from dialling to receipts. */
#include "node/node_priv.h"

#include <stdio.h>

enum {
    DIAL_MIN_MS = 200,
    DIAL_MAX_MS = 30000,
    CAP_FRESH_MS = 60000, /* how long the chain's word about a cap is good; from half of it on, it
                             is asked again meanwhile */
    CAP_RETRY_MS = 2000,  /* how soon an unknown one is asked for again */
    CAPS_KEPT = 4096,
    ENDED_KEPT = 256,
    UNACKED_JOBS = 8,   /* settlement format, section 1.2: receipts without an Ack ... */
    UNACKED_MS = 5000,  /* ... that are older than this, since a burst shares one Ack */
    REFUSALS = 8,       /* Acks that leave out receipts, beyond those that do not ... */
    REFUSED_MS = 60000, /* ... before offers are refused, for this long */
};

static void must(enum asy_err err) {
    if (err != ASY_OK) {
        node_die(err, NULL);
    }
}

static uint64_t now_ms(const struct uplink *up) { return asy_env_wall_ms(up->n->env); }

/* ---- jobs ------------------------------------------------------------------------------------ */

static struct job *find_job(struct uplink *up, uint64_t seq) {
    struct job *job;
    HASH_FIND(by_seq, up->jobs, &seq, sizeof seq, job);
    return job;
}

static void forget(struct job *job) {
    asy_arena_done(&job->arena);
    asy_free(job->ids);
    asy_free(job->prior);
    asy_free(job);
}

static void unlist(struct job *job) {
    struct uplink *up = job->up;
    HASH_DELETE(by_seq, up->jobs, job);
    if (job->key != 0) {
        HASH_DELETE(by_key, up->n->by_key, job);
    }
    if (up->n->draining && up->jobs == NULL) {
        node_wake(up->n);
    }
}

static void free_job(struct job *job) {
    unlist(job);
    forget(job);
}

static void keep_ended(struct job *job) {
    struct uplink *up = job->up;
    HASH_ADD(by_seq, up->ended, seq, sizeof job->seq, job);
    if (HASH_CNT(by_seq, up->ended) > ENDED_KEPT) {
        struct job *oldest = up->ended;
        HASH_DELETE(by_seq, up->ended, oldest);
        forget(oldest);
    }
}

static void drop_ended(struct uplink *up, uint64_t below) {
    struct job *job, *next;
    HASH_ITER(by_seq, up->ended, job, next) {
        if (job->seq < below) {
            HASH_DELETE(by_seq, up->ended, job);
            forget(job);
        }
    }
}

/* param: the client's field at fault, or "". */
static void reject_field(struct job *job, enum asy_reject reason, const char *param,
                         const char *text) {
    if (job->up->link != NULL &&
        asy_link_node_reject(job->up->link, job->seq, reason, param, text) != ASY_OK) {
        asy_log(ASY_LOG_ODD, "job.reject", "seq=%llu err=not_held", (unsigned long long)job->seq);
    }
    free_job(job);
}

static void reject(struct job *job, enum asy_reject reason, const char *text) {
    reject_field(job, reason, "", text);
}

static void fail_job(struct job *job, enum asy_err err, const char *text) {
    if (job->up->link != NULL && asy_link_node_fail(job->up->link, job->seq, err, text) != ASY_OK) {
        asy_log(ASY_LOG_ODD, "job.fail", "seq=%llu err=not_held", (unsigned long long)job->seq);
    }
    asy_metric_add(ASY_M_jobs_failed_total, 1);
    free_job(job);
}

/* The cap is good: hand the job to the engine. */
static void start(struct job *job) {
    struct uplink *up = job->up;
    struct asy_node *n = up->n;
    struct asy_why why = {{0}, {0}};
    job->key = ++n->next_key;
    job->engine_job.key = job->key;
    enum asy_err err = asy_engine_submit(n->engine, &job->engine_job, &why);
    if (err != ASY_OK) {
        job->key = 0;
        enum asy_reject reason = err == ASY_ERR_FULL || err == ASY_ERR_AGAIN ? ASY_REJECT_BUSY
                                 : err == ASY_ERR_RANGE || err == ASY_ERR_TOO_LONG
                                     ? ASY_REJECT_REQUEST
                                     : ASY_REJECT_INTERNAL;
        reject_field(job, reason, why.param, why.text[0] != '\0' ? why.text : asy_err_text(err));
        return;
    }
    HASH_ADD(by_key, n->by_key, key, sizeof job->key, job);
    asy_arena_reset(&job->arena); /* the engine has its copy */
    err = book_add_ticket(n->book, &job->terms);
    if (err == ASY_ERR_CONFLICT) {
        asy_engine_cancel(n->engine, job->key);
        reject(job, ASY_REJECT_TERMS, "a ticket with this linkSeq was accepted before");
        return;
    }
    must(err);
    job->accepted = true;
    if (asy_link_node_accept(up->link, job->seq) != ASY_OK) {
        asy_log(ASY_LOG_ODD, "job.accept", "seq=%llu err=not_held", (unsigned long long)job->seq);
    }
    asy_metric_add(ASY_M_jobs_started_total, 1);
    asy_engine_host_wake(n->host);
}

/* ---- caps: a ticket is worth what its cap is worth on chain ---------------------------------- */

struct cap_task {
    struct asy_node *n;
    struct asy_addr vault;
    struct asy_hash hash;
    struct asy_evm_cap_state state;
};

static enum asy_err cap_run(void *task, struct asy_evm *evm, struct asy_evm_account *account,
                            struct asy_why *why) {
    (void)account;
    struct cap_task *t = task;
    return asy_evm_vault_cap(evm, &t->state, &t->vault, &t->hash, why);
}

static bool cap_usable(const struct uplink *up, const struct known_cap *cap) {
    return cap->state == CAP_GOOD && now_ms(up) - cap->known_ms <= CAP_FRESH_MS;
}

static void decide(struct job *job, const struct known_cap *cap, const char *otherwise) {
    if (cap_usable(job->up, cap) && job->terms.issued_at <= cap->ends_at) {
        start(job);
    } else {
        reject(job, ASY_REJECT_TERMS, otherwise);
    }
}

static const char bad_cap[] = "the cap is not registered on chain, or has ended";

static void cap_done(void *task, enum asy_err err, const struct asy_why *why) {
    struct cap_task *t = task;
    struct uplink *up = &t->n->up;
    struct known_cap *cap;
    HASH_FIND(hh, up->caps, &t->hash, sizeof t->hash, cap);
    ASY_ASSERT(cap != NULL); /* one that is asked for stays */
    cap->asked = false;
    if (err == ASY_OK) {
        cap->state = t->state.lane != 0 ? CAP_GOOD : CAP_BAD;
        cap->ends_at = t->state.ends_at_s;
        cap->known_ms = now_ms(up);
    } else if (err != ASY_ERR_CANCELLED) {
        asy_log(ASY_LOG_ODD, "cap.look", "err=%s why=\"%s\"", asy_err_name(err), why->text);
    }
    struct job *job, *next;
    HASH_ITER(by_seq, up->jobs, job, next) {
        if (job->key == 0 && asy_hash_eq(&job->terms.cap, &t->hash)) {
            decide(job, cap,
                   err == ASY_OK ? bad_cap : "the chain could not be asked about the cap");
        }
    }
    asy_free(t);
}

static struct known_cap *find_cap(struct uplink *up, const struct asy_hash *hash) {
    struct known_cap *cap, *old, *next;
    HASH_FIND(hh, up->caps, hash, sizeof *hash, cap);
    if (cap != NULL) {
        return cap;
    }
    HASH_ITER(
        hh, up->caps, old,
        next) { /* oldest first; it ends at the first, but where the chain is asked about it */
        if (HASH_COUNT(up->caps) < CAPS_KEPT) {
            break;
        }
        if (!old->asked) {
            HASH_DEL(up->caps, old);
            asy_free(old);
        }
    }
    cap = asy_alloc(sizeof *cap);
    cap->hash = *hash;
    HASH_ADD(hh, up->caps, hash, sizeof cap->hash, cap);
    return cap;
}

/* What the chain said lately decides at once; otherwise the job waits for its answer. */
static void look_up_cap(struct job *job) {
    struct uplink *up = job->up;
    struct known_cap *cap = find_cap(up, &job->terms.cap);
    uint64_t age = now_ms(up) - cap->known_ms;
    bool known = cap_usable(up, cap) || (cap->state == CAP_BAD && age <= CAP_RETRY_MS);
    if (!cap->asked && (!known || (cap->state == CAP_GOOD && age > CAP_FRESH_MS / 2))) {
        struct cap_task *t = asy_alloc(sizeof *t);
        *t = (struct cap_task){.n = up->n, .vault = up->n->domain.vault, .hash = cap->hash};
        cap->asked = true;
        asy_chain_post(up->n->chain, cap_run, cap_done, t);
    }
    if (known) {
        decide(job, cap, bad_cap);
    } /* else cap_done does */
}

/* ---- offers ---------------------------------------------------------------------------------- */

static enum asy_reject judge(struct uplink *up, const struct asy_link_offer *o,
                             const char **ret_why) {
    const struct asy_node_config *c = &up->n->c;
    const struct asy_terms *t = o->terms;
    struct asy_why why;
    uint64_t now_s = now_ms(up) / 1000;
    if (up->n->draining) {
        *ret_why = "shutting down";
        return ASY_REJECT_DRAINING;
    }
    if (!asy_hash_eq(&t->model, &c->model.digest)) {
        *ret_why = "another model";
        return ASY_REJECT_MODEL;
    }
    if (t->price_in < c->model.price_in || t->price_cached < c->model.price_cached ||
        t->price_out < c->model.price_out || t->max_out > c->model.max_out) {
        *ret_why = "not what this node offers";
        return ASY_REJECT_PRICE;
    }
    if (t->issued_at > now_s + ASY_MAX_CLOCK_SKEW_S ||
        t->issued_at + ASY_MAX_CLOCK_SKEW_S < now_s) {
        *ret_why = "issuedAt is more than two seconds off";
        return ASY_REJECT_TERMS;
    }
    if (asy_terms_check(t, o->cap, &why) != ASY_OK) {
        *ret_why = "not allowed by its cap";
        return ASY_REJECT_TERMS;
    }
    if (up->open_count != 0 && up->totals.items - up->acked_items > UNACKED_JOBS &&
        now_ms(up) - up->open[0].sent_ms > UNACKED_MS) {
        *ret_why = "too many receipts without an Ack";
        return ASY_REJECT_UNPAID;
    }
    if (now_ms(up) < up->refuse_until_ms) {
        *ret_why = "too many receipts that Acks leave out";
        return ASY_REJECT_UNPAID;
    }
    asy_u128 acked = up->totals.has_ack ? up->totals.ack.cum : 0;
    if (acked > up->credited && acked - up->credited > c->max_unsettled.pico) {
        *ret_why = "too much that is acknowledged but not on chain";
        return ASY_REJECT_UNPAID;
    }
    return (enum asy_reject)0;
}

static bool copy_bytes(struct asy_arena *arena, struct asy_bytes *ret, struct asy_bytes in) {
    char *p = asy_arena_str(arena, in);
    *ret = asy_bytes_of(p, in.n);
    return p != NULL;
}

/* The request as the ticket names it: canonical bytes with its digest. The engine takes the array
 * inside `{"messages":[...]}`. */
static bool read_messages(struct job *job, struct asy_bytes in, struct asy_bytes *ret_array) {
    static const char head[] = "{\"messages\":";
    struct asy_chat_message *messages;
    size_t count;
    struct asy_hash digest;
    asy_api_request_digest(&digest, in);
    bool ok = asy_hash_eq(&digest, &job->terms.request) &&
              asy_api_messages_parse(&messages, &count, &job->arena, in, NULL) == ASY_OK;
    if (ok) { /* canonical: it has exactly this form */
        *ret_array = asy_bytes_of(in.p + sizeof head - 1, in.n - sizeof head);
    }
    return ok;
}

static void on_offer(void *arg, uint64_t seq, const struct asy_link_offer *o) {
    struct uplink *up = arg;
    const char *text = "";
    struct job *job = asy_alloc(sizeof *job);
    job->up = up;
    job->seq = seq;
    job->terms = *o->terms;
    asy_arena_init(&job->arena, 4 * ASY_MAX_FRAME);
    HASH_ADD(by_seq, up->jobs, seq, sizeof job->seq, job);
    enum asy_reject no = judge(up, o, &text);
    if (no != 0) {
        reject(job, no, text);
        return;
    }
    struct asy_engine_job *e = &job->engine_job;
    struct asy_bytes messages;
    if (!read_messages(job, o->messages, &messages)) {
        reject(job, ASY_REJECT_REQUEST, "messages that are not canonical, or not the ticket's");
        return;
    }
    struct asy_bytes *stops = asy_arena_alloc(&job->arena, ASY_MAX_STOPS * sizeof *stops);
    bool ok = stops != NULL && copy_bytes(&job->arena, &e->messages, messages);
    for (uint32_t i = 0; ok && i < o->stop_count; i++) {
        ok = copy_bytes(&job->arena, &stops[i], o->stops[i]);
    }
    struct asy_sample_bias *bias =
        asy_arena_alloc(&job->arena, o->bias.n / ASY_SAMPLE_BIAS_LEN * sizeof *bias);
    if (!ok || bias == NULL) {
        reject(job, ASY_REJECT_REQUEST, "too long");
        return;
    }
    struct asy_why why = {{0}, {0}};
    if (asy_sample_settings_decode(&e->sampling, o->settings, &why) != ASY_OK ||
        asy_sample_bias_decode(bias, &e->bias_count, o->bias, &why) != ASY_OK) {
        reject_field(job, ASY_REJECT_REQUEST, why.param, why.text);
        return;
    }
    e->bias = bias;
    if (o->prefix_count != 0) {
        job->prior_count = o->prefix_count;
        job->prior = asy_alloc(o->prefix_count * sizeof job->prior[0]);
        memcpy(job->prior, o->prefix, o->prefix_count * sizeof job->prior[0]);
    }
    e->prior_ids = job->prior;
    e->prior_count = job->prior_count;
    memcpy(e->seed, o->seed.b, sizeof e->seed);
    e->max_tokens = (uint32_t)o->terms->max_out + o->prefix_count;
    e->stops = stops;
    e->stop_count = o->stop_count;
    e->credit = o->credit;
    e->scope = asy_be64_get(o->terms->requester.b);
    e->time = o->terms->issued_at;
    look_up_cap(job);
}

/* ---- what the engine says -------------------------------------------------------------------- */

void uplink_on_prompt(struct job *job, const uint32_t *ids, size_t count, size_t cached) {
    asy_prompt_digest(&job->prompt_digest, ids, count);
    job->in_tokens = (uint32_t)count;
    job->cached_tokens = (uint32_t)cached;
    job->has_prompt = true;
    if (count >
        job->terms
            .max_in) { /* the gateway's bound is by bytes: a token is never shorter than one */
        asy_engine_cancel(job->up->n->engine, job->key);
        fail_job(job, ASY_ERR_RANGE, "the prompt has more tokens than the ticket allows");
    }
}

void uplink_on_tokens(struct job *job, const struct asy_engine_tokens *t) {
    struct uplink *up = job->up;
    while (job->count + t->count > job->cap) {
        job->cap = job->cap != 0 ? 2 * job->cap : 256;
        job->ids = asy_realloc(job->ids, job->cap * sizeof job->ids[0]);
    }
    memcpy(job->ids + job->count, t->ids, t->count * sizeof job->ids[0]);
    job->count += (uint32_t)t->count;
    job->last_ms = now_ms(up);
    job->first_ms = job->first_ms != 0 ? job->first_ms : job->last_ms;
    asy_metric_add(ASY_M_tokens_out_total, t->count);
    enum asy_err err = up->link != NULL ? asy_link_node_tokens(up->link, job->seq, t->ids,
                                                               (uint32_t)t->count, t->text)
                                        : ASY_ERR_CLOSED;
    if (err != ASY_OK) {
        asy_log(ASY_LOG_BROKEN, "job.tokens", "seq=%llu err=%s", (unsigned long long)job->seq,
                asy_err_name(err));
        asy_engine_cancel(up->n->engine, job->key);
        fail_job(job, ASY_ERR_INTERNAL, "the node could not send its tokens");
    }
}

/* The receipt over the first `keep` tokens; written down. */
static struct asy_receipt make_receipt(const struct job *job, uint32_t keep,
                                       enum asy_finish finish) {
    struct asy_receipt r = {
        .in_tokens = job->in_tokens,
        .cached_tokens = job->cached_tokens,
        .out_tokens = keep,
        .finish = (uint8_t)finish,
        .first_ms = keep != 0 ? job->first_ms : 0,
        .last_ms = keep != 0 ? job->last_ms : 0,
    };
    asy_object_hash(&r.terms, ASY_OBJ_TERMS, &job->terms);
    const struct asy_output output = {.prompt = job->prompt_digest,
                                      .prompt_count = job->in_tokens,
                                      .prior = job->prior,
                                      .prior_count = job->prior_count,
                                      .ids = job->ids,
                                      .count = keep};
    asy_output_digest(&r.output, &output);
    must(asy_job_cost(&r.amount, &job->terms, r.in_tokens, r.cached_tokens, r.out_tokens));
    struct uplink *up = job->up;
    must(book_add_receipt(up->n->book, &job->terms, &r, &job->prompt_digest, up->totals.items));
    up->totals.items++;
    up->totals.owed += r.amount;
    asy_metric_add(ASY_M_jobs_done_total, 1);
    return r;
}

static void end_with_receipt(struct job *job, uint32_t keep, enum asy_finish finish) {
    struct uplink *up = job->up;
    struct asy_receipt r = make_receipt(job, keep, finish);
    uint64_t item;
    enum asy_err err = asy_link_node_done(up->link, &item, job->seq, &r, &job->prompt_digest);
    if (err != ASY_OK) {
        node_die(err, NULL); /* the receipt is written under a number that the link does not know */
    }
    ASY_ASSERT(item + 1 == up->totals.items);
    unlist(job);
    job->count = keep;
    job->amount = r.amount;
    keep_ended(job);
}

void uplink_on_done(struct job *job, const struct asy_engine_done *done) {
    switch (done->finish) {
    case ASY_ENGINE_STOP:
        end_with_receipt(job, job->count, ASY_FINISH_STOP);
        return;
    case ASY_ENGINE_LENGTH:
        end_with_receipt(job, job->count, ASY_FINISH_LENGTH);
        return;
    case ASY_ENGINE_CANCELLED: /* by whoever ended the job already */
        return;
    case ASY_ENGINE_FAILED: {
        bool request = done->err == ASY_ERR_RANGE || done->err == ASY_ERR_SYNTAX ||
                       done->err == ASY_ERR_TYPE || done->err == ASY_ERR_MISSING;
        asy_log(request ? ASY_LOG_INFO : ASY_LOG_ODD, "job.failed", "seq=%llu err=%s why=\"%s\"",
                (unsigned long long)job->seq, asy_err_name(done->err), done->why);
        fail_job(job, request ? ASY_ERR_RANGE : done->err, done->why);
        return;
    }
    }
}

/* ---- what the gateway says ------------------------------------------------------------------- */

static void on_send(void *arg, struct asy_bytes frame) {
    struct uplink *up = arg;
    if (up->ws == NULL) {
        return;
    }
    asy_metric_add(ASY_M_link_frames_out_total, 1);
    if (asy_ws_send(up->ws, frame) != ASY_OK) {
        asy_ws_close(up->ws, ASY_WS_TRY_LATER, "the gateway does not read its frames");
    }
}

static void on_cancel(void *arg, uint64_t seq, uint32_t keep, uint32_t reason) {
    (void)reason;
    struct uplink *up = arg;
    struct job *job = find_job(up, seq);
    if (job == NULL) {
        return;
    }
    if (!job->accepted) {
        reject(job, ASY_REJECT_TERMS, "cancelled before it was accepted");
        return;
    }
    asy_engine_cancel(up->n->engine, job->key);
    asy_engine_host_wake(up->n->host);
    if (!job->has_prompt) { /* nothing was computed: nothing is owed */
        fail_job(job, ASY_ERR_CANCELLED, "cancelled before the prompt was read");
        return;
    }
    end_with_receipt(job, keep < job->count ? keep : job->count, ASY_FINISH_CANCELLED);
}

/* The client had left before the end, but our receipt was on its way: one over what the client took
 * takes its place. */
static void on_late_cancel(void *arg, uint64_t seq, uint32_t keep, uint32_t reason) {
    (void)reason;
    struct uplink *up = arg;
    struct job *job;
    HASH_FIND(by_seq, up->ended, &seq, sizeof seq, job);
    if (job == NULL || keep >= job->count) {
        return; /* what was signed fits */
    }
    struct asy_receipt r = make_receipt(job, keep, ASY_FINISH_CANCELLED);
    struct asy_hash h;
    up->totals.owed -= job->amount; /* of the two receipts one counts */
    asy_object_hash(&h, ASY_OBJ_RECEIPT, &r);
    asy_link_node_resend_receipt(up->link, &job->terms, &r, &job->prompt_digest,
                                 up->totals.items - 1);
    asy_link_node_adopt_unsigned(up->link, &h);
    HASH_DELETE(by_seq, up->ended, job);
    forget(job);
}

static void on_credit(void *arg, uint64_t seq, uint32_t tokens) {
    struct uplink *up = arg;
    struct job *job = find_job(up, seq);
    if (job == NULL) {
        return;
    }
    if (job->key == 0) {
        job->engine_job.credit += tokens;
        return;
    }
    asy_engine_credit(up->n->engine, job->key, tokens);
    asy_engine_host_wake(up->n->host);
}

static void on_tickets(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    struct uplink *up = arg;
    must(book_add_checkpoint(up->n->book, &up->gateway, c, sig));
    up->totals.tickets_have = c->first + c->count;
}

/* Each of our checkpoints is answered with one Ack, in order. */
static void await_ack(struct uplink *up, const struct asy_checkpoint *c, asy_u128 owed) {
    struct open_checkpoint open = {c->first + c->count, now_ms(up), owed};
    if (up->open_count ==
        OPEN_CHECKPOINTS) { /* seconds without an answer: offers are refused by now */
        open.sent_ms = up->open[--up->open_count].sent_ms;
        open.owed = 0;
    }
    up->open[up->open_count++] = open;
}

static void on_signed(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    struct uplink *up = arg;
    must(book_add_checkpoint(up->n->book, &up->gateway, c, sig));
    await_ack(up, c, up->totals.owed);
    up->totals.items_signed = c->first + c->count;
    up->totals.checkpoint_next = c->number + 1;
}

static void keep_ack(struct uplink *up, const struct asy_ack *ack, const struct asy_sig *sig) {
    if (!up->totals.has_ack || ack->cum >= up->totals.ack.cum) {
        must(book_set_ack(up->n->book, ack, sig));
        up->totals.has_ack = true;
        up->totals.ack = *ack;
        up->totals.ack_sig = *sig;
    }
}

/* The gateway may refuse a receipt (settlement format, attack 29); a node that it refuses too often
 * does not go on working for it. */
static void count_refusals(struct uplink *up, asy_u128 owed, asy_u128 cum) {
    asy_u128 refused = owed > cum ? owed - cum : 0;
    if (up->refused_known && refused > up->refused) {
        char usd[ASY_USD_STR];
        asy_usd_format(usd, (struct asy_usd){refused - up->refused});
        asy_log(ASY_LOG_ODD, "ack.short", "usd=%s why=\"the gateway left out a receipt\"", usd);
        if (++up->refusals > REFUSALS) { /* then it may try again */
            up->refusals = 0;
            up->refuse_until_ms = now_ms(up) + REFUSED_MS;
        }
    } else if (up->refusals != 0) {
        up->refusals--;
    }
    up->refused = refused;
    up->refused_known = true;
}

static void on_ack(void *arg, const struct asy_ack *ack, const struct asy_sig *sig) {
    struct uplink *up = arg;
    keep_ack(up, ack, sig);
    drop_ended(up, ack->up_to);
    if (up->open_count != 0) {
        struct open_checkpoint answered = up->open[0];
        memmove(up->open, up->open + 1, --up->open_count * sizeof up->open[0]);
        up->acked_items = answered.end;
        if (answered.owed != 0) {
            count_refusals(up, answered.owed, ack->cum);
        }
    }
}

static void on_batch(void *arg, uint64_t number, const struct asy_hash *root,
                     const struct asy_hash *tx, uint64_t block, asy_u128 credited) {
    (void)root;
    (void)tx;
    struct uplink *up = arg;
    up->credited = credited > up->credited ? credited : up->credited;
    char usd[ASY_USD_STR];
    asy_usd_format(usd, (struct asy_usd){credited});
    asy_log(ASY_LOG_INFO, "batch.credited", "number=%llu block=%llu total_usd=%s",
            (unsigned long long)number, (unsigned long long)block, usd);
}

static void on_drain(void *arg, uint32_t seconds) {
    (void)arg;
    asy_log(ASY_LOG_INFO, "gateway.drain", "seconds=%u", seconds);
}

struct resend {
    struct uplink *up;
    bool adopt;
};
static void resend_receipt(void *arg, const struct asy_terms *terms,
                           const struct asy_receipt *receipt, const struct asy_hash *prompt_digest,
                           uint64_t item) {
    struct resend *r = arg;
    asy_link_node_resend_receipt(r->up->link, terms, receipt, prompt_digest, item);
    if (r->adopt) {
        struct asy_hash h;
        asy_object_hash(&h, ASY_OBJ_RECEIPT, receipt);
        asy_link_node_adopt_unsigned(r->up->link, &h);
    }
}

struct stored_checkpoints {
    struct asy_checkpoint *c;
    struct asy_sig *sig;
    size_t count, cap;
};
static void keep_checkpoint(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    struct stored_checkpoints *s = arg;
    if (s->count == s->cap) {
        s->cap = s->cap != 0 ? 2 * s->cap : 64;
        s->c = asy_realloc(s->c, s->cap * sizeof *s->c);
        s->sig = asy_realloc(s->sig, s->cap * sizeof *s->sig);
    }
    s->c[s->count] = *c;
    s->sig[s->count++] = *sig;
}

static enum asy_err on_welcome(void *arg, const struct asy_addr *gateway,
                               const struct asy_link_welcome *w, struct asy_why *why) {
    (void)gateway;
    (void)why;
    struct uplink *up = arg;
    struct book *book = up->n->book;
    up->live = true;
    up->failures = 0;
    up->link_number = w->link != 0
                          ? w->link
                          : up->link_number; /* the gateway may hear of it later than the node */
    up->credited = w->credited > up->credited ? w->credited : up->credited;
    if (w->has_ack) {
        keep_ack(up, &w->ack, &w->ack_sig);
    }
    up->acked_items = w->receipts_have;
    /* what the gateway has no signed checkpoint for is sent again: signed receipts with their
     * checkpoints, then the unsigned */
    struct resend r = {up, false};
    struct stored_checkpoints s = {0};
    must(book_checkpoints(book, &up->gateway, w->receipts_have, keep_checkpoint, &s));
    for (size_t i = 0; i < s.count; i++) {
        must(book_receipts(book, &up->gateway, s.c[i].first, s.c[i].first + s.c[i].count,
                           resend_receipt, &r));
        asy_link_node_resend_checkpoint(up->link, &s.c[i], &s.sig[i]);
        await_ack(up, &s.c[i], 0);
    }
    asy_free(s.c);
    asy_free(s.sig);
    r.adopt = true;
    must(book_receipts(book, &up->gateway, up->totals.items_signed, up->totals.items,
                       resend_receipt, &r));
    asy_log(ASY_LOG_INFO, "gateway.live", "url=%s link=%u sent_again=%llu", up->url, w->link,
            (unsigned long long)(up->totals.items - w->receipts_have));
    uplink_send_status(up);
    return ASY_OK;
}

void uplink_send_status(struct uplink *up) {
    if (up->link != NULL && up->live) {
        struct asy_link_status s = {.slots = up->n->c.slots,
                                    .used = asy_engine_used(up->n->engine),
                                    .draining = up->n->draining || !up->n->engine_up};
        asy_link_node_status(up->link, &s);
    }
}

/* ---- the socket ------------------------------------------------------------------------------ */

static void ws_open(void *arg, struct asy_ws *ws, const char *peer) {
    (void)arg;
    (void)ws;
    (void)peer; /* the gateway speaks first */
}

static void ws_message(void *arg, struct asy_ws *ws, struct asy_bytes in) {
    struct uplink *up = arg;
    struct asy_why why = {{0}, {0}};
    enum asy_err err = asy_link_node_recv(up->link, in, &why);
    if (err != ASY_OK) {
        asy_log(ASY_LOG_ODD, "gateway.refused", "url=%s err=%s why=\"%s\"", up->url,
                asy_err_name(err), why.text);
        asy_ws_close(ws, err == ASY_ERR_PEER ? ASY_WS_PROTOCOL : ASY_WS_POLICY, why.text);
    }
}

static void backoff(struct uplink *up) {
    uint64_t ms = DIAL_MIN_MS;
    for (uint32_t i = 0; i < up->failures && ms < DIAL_MAX_MS; i++) {
        ms *= 2;
    }
    up->failures++;
    up->dial_at_ns = asy_env_mono_ns(up->n->env) + (ms < DIAL_MAX_MS ? ms : DIAL_MAX_MS) * 1000000u;
    node_wake(up->n);
}

/* Jobs of a link that died: what the gateway had surely taken gets a receipt, to be sent on the
 * next connection. */
static void drop_jobs(struct uplink *up) {
    struct job *job, *next;
    HASH_ITER(by_seq, up->jobs, job, next) {
        uint32_t taken = 0;
        if (job->accepted) {
            asy_engine_cancel(up->n->engine, job->key);
            if (job->has_prompt && asy_link_node_taken(up->link, job->seq, &taken) == ASY_OK &&
                taken != 0) {
                (void)make_receipt(job, taken < job->count ? taken : job->count, ASY_FINISH_LINK);
            }
        }
        free_job(job);
    }
    asy_engine_host_wake(up->n->host);
}

static void ws_close(void *arg, struct asy_ws *ws, uint16_t code, const char *reason) {
    (void)ws;
    struct uplink *up = arg;
    asy_log(up->live ? ASY_LOG_ODD : ASY_LOG_DEBUG, "gateway.gone", "url=%s code=%u why=\"%s\"",
            up->url, code, reason);
    up->ws = NULL;
    up->live = false;
    drop_jobs(up);
    asy_link_node_free(up->link);
    up->link = NULL;
    up->open_count = up->refusals = 0;
    up->refused_known = false;
    drop_ended(up, UINT64_MAX);
    if (!up->n->closing) {
        backoff(up);
    }
}

static void dial(struct uplink *up) {
    static const struct asy_ws_handlers handlers = {
        .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};
    struct asy_node *n = up->n;
    must(book_totals(n->book, &up->totals, &up->gateway));
    *up->hello = (struct asy_link_hello){.node = n->self,
                                         .x25519 = n->c.x25519,
                                         .model_count = 1,
                                         .slots = n->c.slots,
                                         .tickets_have = up->totals.tickets_have};
    up->hello->models[0] = n->c.model;
    (void)snprintf(up->hello->software, sizeof up->hello->software, "assay");
    (void)snprintf(up->hello->region, sizeof up->hello->region, "%s",
                   n->c.region != NULL ? n->c.region : "");
    struct asy_link_node_options options = {
        .env = n->env,
        .domain = &n->domain,
        .signer = n->c.signer,
        .gateway = &up->gateway,
        .hello = up->hello,
        .next_item = up->totals.items_signed,
        .next_checkpoint = up->totals.checkpoint_next,
        .on = {on_send, on_welcome, on_offer, on_cancel, on_credit, on_tickets, on_signed, on_ack,
               on_batch, on_drain, on_late_cancel},
        .arg = up,
    };
    struct asy_why why = {{0}, {0}};
    struct asy_ws_client_config config = {.url = up->url, .subprotocol = ASY_LINK_SUBPROTOCOL};
    up->dial_at_ns = 0;
    enum asy_err err = asy_ws_connect(n->loop, &up->ws, &config, &handlers, up, &why);
    if (err != ASY_OK) {
        asy_log(ASY_LOG_ODD, "gateway.dial", "url=%s err=%s why=\"%s\"", up->url, asy_err_name(err),
                why.text);
        up->ws = NULL;
        backoff(up);
        return;
    }
    up->link = asy_link_node_new(&options);
}

void uplink_tick(struct uplink *up, uint64_t now, uint64_t *min_deadline_ns) {
    uint64_t deadline = UINT64_MAX;
    if (up->ws == NULL) {
        if (up->n->registered && up->n->engine_up && !up->n->draining) {
            if (up->dial_at_ns <= now) {
                dial(up);
            }
            deadline = up->dial_at_ns != 0 ? up->dial_at_ns : UINT64_MAX;
        }
    } else {
        if (asy_link_node_deadline(up->link) <= now) {
            enum asy_err err = asy_link_node_tick(up->link);
            if (err == ASY_ERR_TIMEOUT) {
                asy_ws_close(up->ws, ASY_WS_POLICY, "no welcome in time");
                return;
            }
            if (err != ASY_OK) { /* the signer is gone */
                node_die(err, NULL);
            }
        }
        deadline = asy_link_node_deadline(up->link);
    }
    *min_deadline_ns = deadline < *min_deadline_ns ? deadline : *min_deadline_ns;
}

void uplink_init(struct uplink *up, struct asy_node *n) {
    up->n = n;
    up->gateway = n->c.gateway;
    up->url = n->c.gateway_url;
    up->hello = asy_alloc(sizeof *up->hello);
}

void uplink_done(struct uplink *up) {
    struct job *job, *next;
    HASH_ITER(by_seq, up->jobs, job, next) { free_job(job); }
    drop_ended(up, UINT64_MAX);
    struct known_cap *cap, *next_cap;
    HASH_ITER(hh, up->caps, cap, next_cap) {
        HASH_DEL(up->caps, cap);
        asy_free(cap);
    }
    if (up->ws != NULL) {
        asy_ws_drop(up->ws);
    }
    asy_link_node_free(up->link);
    asy_free(up->hello);
}
