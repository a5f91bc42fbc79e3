/* chat.c: one request from its body to its receipt. */
#include "gateway/gateway_priv.h"

#include <stdio.h>

static void finish_job(struct job *job);
static void dispatch(struct job *job);

/* ---- small things ---------------------------------------------------------------------------- */

static uint64_t now_ns(const struct asy_gateway *g) { return asy_env_mono_ns(g->env); }

static void set_state(struct job *job, enum job_state state) {
    job->g->waiting_count += state == JOB_WAITING;
    job->g->waiting_count -= job->state == JOB_WAITING;
    job->state = state;
}

static void must(enum asy_err err) {
    if (err != ASY_OK) {
        gateway_die(err, NULL);
    }
}

/* Answers the client with an error, in whatever state its response is. The client is gone
 * afterwards. */
static void answer_error(struct job *job, enum asy_err err, const struct asy_why *why) {
    struct asy_http_req *req = job->req;
    if (req == NULL) {
        return;
    }
    job->req = NULL;
    asy_http_set_user(req, NULL);
    if (!job->streaming) {
        const struct asy_hash *id = asy_hash_is_zero(&job->id) ? NULL : &job->id;
        gateway_respond_job_error(job->g, req, job->request_id, id, err, why);
        return;
    }
    asy_metric_add(ASY_M_http_errors_total, 1);
    struct asy_buf *b = &job->g->body;
    asy_buf_clear(b);
    if (asy_chat_stream_error(b, err, why) != ASY_OK ||
        asy_http_stream_write(req, asy_buf_bytes(b)) != ASY_OK ||
        asy_http_stream_end(req) != ASY_OK) {
        asy_http_abort(req);
    }
}

static void fail(struct job *job, enum asy_err err, const char *text) {
    struct asy_why why;
    (void)asy_why_set(&why, err, NULL, "%s", text);
    answer_error(job, err, &why);
}

/* ---- choosing a node ------------------------------------------------------------------------- */

/* The addresses among the names of a list. within: when not empty, only those that stand there too.
 */
static void list(const struct asy_chat_names *names, struct asy_arena *arena,
                 const struct asy_chat_names *within, const struct asy_addr **ret_addrs,
                 size_t *ret_count) {
    struct asy_addr *addrs = asy_arena_alloc(arena, ASY_CHAT_MAX_NODES * sizeof *addrs);
    ASY_ASSERT(addrs != NULL); /* small */
    size_t count = 0;
    for (size_t i = 0; i < names->count; i++) {
        bool fits = within == NULL || within->count == 0;
        for (size_t k = 0; !fits && k < within->count; k++) {
            fits = asy_bytes_eq(names->name[i], within->name[k]);
        }
        if (fits && asy_addr_parse(&addrs[count], names->name[i]) == ASY_OK) {
            count++; /* a name that is no address fits no node */
        }
    }
    *ret_addrs = addrs;
    *ret_count = count;
}

static const struct asy_profile_weights *weights_of(const struct job *job) {
    const struct asy_profile *p = job->g->c.profile;
    switch (job->chat.provider.sort) {
    case ASY_CHAT_SORT_NONE:
        return &p->match.weights[p->match.mode];
    case ASY_CHAT_SORT_PRICE:
        return &p->match.weights[ASY_MODE_CHEAPEST];
    case ASY_CHAT_SORT_THROUGHPUT:
    case ASY_CHAT_SORT_LATENCY:
        return &p->match.weights[ASY_MODE_FASTEST];
    }
    return &p->match.weights[p->match.mode];
}

static bool was_tried(const struct job *job, const struct asy_addr *addr) {
    for (uint32_t i = 0; i < job->tries; i++) {
        if (asy_addr_eq(&job->tried[i], addr)) {
            return true;
        }
    }
    return false;
}

enum pick { PICK_NODE, PICK_BUSY, PICK_TOO_LONG, PICK_NONE };

/* The best node with a free slot; BUSY when only full ones fit, TOO_LONG when all of them have too
 * short a context. */
static enum pick pick(struct job *job, struct node **ret_node, struct asy_why *why) {
    struct asy_gateway *g = job->g;
    asy_arena_reset(&g->scratch);
    struct asy_match_candidate *c = asy_arena_alloc(&g->scratch, (g->node_count + 1) * sizeof *c);
    struct node **nodes = asy_arena_alloc(&g->scratch, (g->node_count + 1) * sizeof(*nodes));
    struct asy_match_verdict *verdicts =
        asy_arena_alloc(&g->scratch, (g->node_count + 1) * sizeof *verdicts);
    ASY_ASSERT(c != NULL && nodes != NULL && verdicts != NULL); /* bounded by ASY_MAX_NODES */
    size_t count = 0;
    uint64_t now = now_ns(g);
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        const struct asy_link_model *m = node_ready(n) ? node_model(n, job->chat.model) : NULL;
        if (m == NULL || m->price_in > job->account->cap.max_price_in ||
            m->price_out > job->account->cap.max_price_out || m->max_out < job->max_out ||
            was_tried(job, &n->hello.node)) {
            continue;
        }
        c[count] = (struct asy_match_candidate){
            .node = n->hello.node,
            .model = m->digest,
            .prices = {{m->price_in}, {m->price_cached}, {m->price_out}},
            .context = m->context,
            .first_token_us = asy_match_latency_at(&n->latency, now),
            .slots = n->hello.slots,
            .running = n->inflight,
            .reputation_ppm = ASY_MATCH_ONE, /* until audits move it */
            .tiers = 1u << m->tier,
        };
        nodes[count++] = n;
    }
    const struct asy_profile_weights *w = weights_of(job);
    const struct asy_chat_provider *p = &job->chat.provider;
    struct asy_match_rules rules = {
        .weights = {w->price, w->reputation, w->latency, w->capability, w->stake, w->load},
        .spread_ppm = w->spread_ppm,
        .full_stake = g->c.profile->match.full_stake,
    };
    struct asy_match_request r = {
        .draw = job->id,
        .in_tokens = job->chat.text_len / 4 + 1,
        .out_tokens = job->max_out,
        .max_price_in = {p->has_max_price_in ? p->max_price_in.pico : ASY_MATCH_NO_LIMIT},
        .max_price_out = {p->has_max_price_out ? p->max_price_out.pico : ASY_MATCH_NO_LIMIT},
    };
    bool ordered_only = !p->allow_fallbacks && p->order.count != 0;
    list(ordered_only ? &p->order : &p->only, &g->scratch, ordered_only ? &p->only : NULL, &r.only,
         &r.only_count);
    list(&p->ignore, &g->scratch, NULL, &r.ignore, &r.ignore_count);
    list(&p->order, &g->scratch, NULL, &r.order, &r.order_count);
    if (r.only_count == 0 && (p->only.count != 0 || ordered_only)) {
        return PICK_NONE; /* to match, an empty list means any node */
    }
    if (!p->allow_fallbacks && !ordered_only && job->tries != 0) {
        return PICK_NONE; /* the best one had its chance */
    }
    struct asy_match_result result = {0};
    bool busy = false, too_long = count != 0;
    for (size_t i = 0; i < count; i++) {
        /* nodes may serve one name from different files: the first that has a taker is taken */
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) {
            seen = asy_hash_eq(&c[k].model, &c[i].model) && c[k].tiers == c[i].tiers;
        }
        if (seen) {
            continue;
        }
        r.model = c[i].model;
        r.tier = node_model(nodes[i], job->chat.model)->tier;
        enum asy_err err = asy_match_rank(&result, verdicts, &r, &rules, c, count);
        if (err != ASY_OK) {
            (void)asy_why_set(why, ASY_ERR_INTERNAL, NULL, "matching failed");
            return PICK_NONE;
        }
        if (result.ranked_count != 0) {
            *ret_node = nodes[result.ranked[0]];
            return PICK_NODE;
        }
        for (size_t k = 0; k < count; k++) {
            busy = busy || verdicts[k].reject == ASY_MATCH_REJECT_BUSY;
            too_long = too_long && (verdicts[k].reject == ASY_MATCH_REJECT_CONTEXT ||
                                    verdicts[k].reject == ASY_MATCH_REJECT_MODEL);
        }
    }
    return busy ? PICK_BUSY : too_long ? PICK_TOO_LONG : PICK_NONE;
}

/* ---- one segment ----------------------------------------------------------------------------- */

static void fill_terms(struct job *job, struct node *n, const struct asy_link_model *m) {
    struct asy_gateway *g = job->g;
    uint64_t now_s = asy_env_wall_ms(g->env) / 1000;
    uint64_t bound =
        job->chat.text_len + MESSAGE_OVERHEAD * job->chat.message_count + PROMPT_OVERHEAD;
    struct asy_terms *t = &job->terms;
    *t = (struct asy_terms){
        .job_id = job->id,
        .segment = job->segment,
        .requester = job->account->addr,
        .gateway = g->self,
        .node = n->hello.node,
        .model = m->digest,
        .request = job->request_digest,
        .max_in = bound < m->context ? bound : m->context, /* a token is at least a byte */
        .max_out = job->max_out,
        .price_in = m->price_in,
        .price_cached = m->price_cached,
        .price_out = m->price_out,
        .tier = m->tier,
        .issued_at = now_s,
        .deadline = now_s + g->c.ticket_life_s,
    };
    job->seed = (struct asy_hash){{0}};
    asy_job_seed(&job->seed, &job->id, job->chat.has_seed ? &job->chat.seed : NULL, &m->digest,
                 &job->request_digest);
    asy_job_sampling_hash(&t->sampling, asy_bytes_of(job->settings, sizeof job->settings),
                          &job->seed, job->chat.stops, (uint32_t)job->chat.stop_count);
}

/* Issues a ticket and offers it. errors: CREDIT, STATE: the client's; others: the node's */
static enum asy_err offer(struct job *job, struct node *n, struct asy_why *why) {
    struct asy_gateway *g = job->g;
    const struct asy_link_model *m = node_model(n, job->chat.model);
    fill_terms(job, n, m);
    struct asy_ticket_note note = {.model = job->chat.model,
                                   .request_id = asy_bytes_cstr(job->request_id)};
    enum asy_err err = asy_ledger_issue(g->ledger, job->account, n->book, &job->terms, &note, why);
    if (err == ASY_ERR_STORE) {
        gateway_die(err, why);
    }
    ASY_TRY(err);
    struct asy_link_offer o = {
        .terms = &job->terms,
        .messages = asy_buf_bytes(&job->messages),
        .settings = asy_bytes_of(job->settings, sizeof job->settings),
        .bias = job->bias,
        .seed = job->seed,
        .stop_count = (uint32_t)job->chat.stop_count,
        .credit = CREDIT_WINDOW,
        .model = job->chat.model,
        .cap = &job->account->cap,
    };
    memcpy(o.stops, job->chat.stops, sizeof o.stops);
    err = asy_link_gw_offer(n->link, &o, job);
    if (err != ASY_OK) { /* the signer is gone: nothing can be sold any more. It fits a frame: parse
                            saw to that */
        gateway_die(err, why);
    }
    job->node = n;
    set_state(job, JOB_OFFERED);
    job->credit_left = CREDIT_WINDOW;
    job->offered_ns = job->last_ns = now_ns(g);
    job->first_by_ns = job->offered_ns + g->c.profile->job.first_token_ms * 1000000u;
    if (job->tries < MAX_TRIES) {
        job->tried[job->tries++] = n->hello.node;
    }
    n->inflight++;
    asy_metric_add(ASY_M_jobs_started_total, 1);
    return ASY_OK;
}

static void dispatch(struct job *job) {
    struct asy_why why = {{0}, {0}};
    struct node *n = NULL;
    if (job->tries == MAX_TRIES) {
        fail(job, ASY_ERR_NO_NODE, "Several nodes failed before the first token. Try again.");
        finish_job(job);
        return;
    }
    switch (pick(job, &n, &why)) {
    case PICK_NODE:
        break;
    case PICK_BUSY:
        if (job->state != JOB_WAITING) {
            set_state(job, JOB_WAITING);
            job->wait_until_ns = now_ns(job->g) + WAIT_MS * 1000000ull;
        }
        return;
    case PICK_TOO_LONG:
        (void)asy_why_set(
            &why, ASY_ERR_RANGE, "messages",
            "The messages and max_tokens together are longer than this model's context.");
        answer_error(job, ASY_ERR_RANGE, &why);
        finish_job(job);
        return;
    case PICK_NONE:
        if (job->timed_out) {
            fail(job, ASY_ERR_TIMEOUT, "The node sent no token in time.");
        } else {
            fail(job, ASY_ERR_NO_NODE, "No node that serves this model fits the request now.");
        }
        finish_job(job);
        return;
    }
    enum asy_err err = offer(job, n, &why);
    if (err != ASY_OK) {
        answer_error(job, err, &why);
        finish_job(job);
    }
}

void chat_dispatch_waiting(struct asy_gateway *g) {
    uint64_t slots =
        0; /* thousands may wait for one that became free: it is not offered to all of them */
    for (struct node *n = g->nodes; n != NULL && g->waiting_count != 0; n = n->next) {
        slots += node_ready(n) && n->inflight < n->hello.slots ? n->hello.slots - n->inflight : 0;
    }
    for (struct job *job = g->jobs, *next; job != NULL && g->waiting_count != 0 && slots != 0;
         job = next) {
        next = job->next;
        if (job->state == JOB_WAITING) {
            uint32_t waiting = g->waiting_count;
            dispatch(job);
            slots -= waiting != g->waiting_count; /* at most: it may have failed as well */
        }
    }
}

/* The segment on job->node has ended. */
static void leave_node(struct job *job) {
    struct node *n = job->node;
    if (n != NULL) {
        job->node = NULL;
        n->inflight--;
        job->g->slot_freed = true;
    }
}

/* Before its first token a job can go to another node, and the client never knows. */
static void try_elsewhere(struct job *job) {
    leave_node(job);
    job->segment++;
    set_state(job, JOB_RUNNING); /* neither waiting nor offered: dispatch decides */
    dispatch(job);
}

/* ---- start ----------------------------------------------------------------------------------- */

/* The settings and the bias as terms bind them and offers carry them. */
static enum asy_err encode_sampling(struct job *job, struct asy_why *why) {
    size_t len = job->chat.bias_count * ASY_SAMPLE_BIAS_LEN;
    uint8_t *bias = asy_arena_alloc(&job->arena, len);
    if (bias == NULL) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, NULL, "the request is too large");
    }
    asy_sample_bias_encode(bias, job->chat.bias, job->chat.bias_count);
    job->bias = asy_bytes_of(bias, len);
    struct asy_sample_settings s = job->chat.sampling;
    asy_job_bias_digest(&s.logit_bias, job->bias);
    asy_sample_settings_encode(job->settings, &s);
    return ASY_OK;
}

static enum asy_err parse(struct job *job, struct asy_why *why) {
    struct asy_gateway *g = job->g;
    struct asy_bytes body = asy_http_body(job->req);
    ASY_TRY(asy_api_chat_parse(&job->chat, &job->arena, body, why));
    ASY_TRY(encode_sampling(job, why));
    if (asy_api_messages_format(&job->messages, job->chat.messages, job->chat.message_count) !=
        ASY_OK) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, "messages",
                           "the messages have more than %u bytes as canonical JSON",
                           MAX_MESSAGES_LEN);
    }
    asy_api_request_digest(&job->request_digest, asy_buf_bytes(&job->messages));

    uint32_t max_out = 0, context = 0;
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        const struct asy_link_model *m = node_ready(n) ? node_model(n, job->chat.model) : NULL;
        if (m != NULL && m->max_out > max_out) {
            max_out = m->max_out;
            context = m->context;
        }
    }
    if (max_out == 0) {
        char name[ASY_MAX_NAME + 16];
        struct asy_buf digest;
        (void)snprintf(name, sizeof name, "model/%.*s", (int)job->chat.model.n, job->chat.model.p);
        asy_buf_init(&digest, 64);
        enum asy_err known = asy_ledger_get(g->ledger, name, &digest);
        asy_buf_done(&digest);
        if (known == ASY_ERR_NOT_FOUND) {
            return asy_why_set(why, ASY_ERR_NOT_FOUND, "model", "The model `%.*s` does not exist.",
                               (int)job->chat.model.n, job->chat.model.p);
        }
        return asy_why_set(why, ASY_ERR_NO_NODE, "model", "No node serves `%.*s` at the moment.",
                           (int)job->chat.model.n, job->chat.model.p);
    }
    if (job->chat.max_tokens > max_out) {
        return asy_why_set(why, ASY_ERR_RANGE, "max_tokens",
                           "this model gives at most %u tokens in one answer (context %u)", max_out,
                           context);
    }
    if (!job->account->has_cap) {
        return asy_why_set(why, ASY_ERR_STATE, NULL,
                           "this account has no spending cap yet: register one with POST /v1/caps");
    }
    job->max_out = job->chat.max_tokens != 0      ? (uint32_t)job->chat.max_tokens
                   : max_out < DEFAULT_MAX_TOKENS ? max_out
                                                  : DEFAULT_MAX_TOKENS;
    return ASY_OK;
}

void chat_start(struct asy_gateway *g, struct asy_http_req *req, struct asy_account *account) {
    struct asy_why why = {{0}, {0}};
    if (g->draining || g->job_count == ASY_MAX_JOBS) {
        enum asy_err err = asy_why_set(&why, ASY_ERR_FULL, NULL,
                                       g->draining ? "This gateway is shutting down."
                                                   : "Too many jobs are running. Try again soon.");
        gateway_respond_error(g, req, err, &why);
        return;
    }
    struct job *job = asy_alloc(sizeof *job);
    job->g = g;
    job->state = JOB_RUNNING; /* until dispatch decides */
    job->req = req;
    job->account = account;
    job->created_ms = asy_env_wall_ms(g->env);
    asy_arena_init(&job->arena, 2 * asy_http_body(req).n + 64u * 1024u);
    asy_buf_init(&job->messages, MAX_MESSAGES_LEN);
    asy_buf_init(&job->text, ASY_MAX_RESPONSE / 2);
    job->prev = g->jobs_tail; /* oldest first: who waits longest is served first */
    *(job->prev != NULL ? &job->prev->next : &g->jobs) = job;
    g->jobs_tail = job;
    g->job_count++;
    asy_metric_set(ASY_M_jobs_inflight, g->job_count);
    asy_http_set_user(req, job);

    uint8_t random[16];
    asy_env_random(g->env, random, sizeof random);
    memcpy(job->request_id, g->request_id, sizeof job->request_id);
    enum asy_err err = parse(job, &why);
    if (err != ASY_OK) {
        answer_error(job, err, &why);
        finish_job(job);
        return;
    }
    asy_job_id(&job->id, &g->self, random, &job->request_digest);
    char id[ASY_HASH_TEXT];
    asy_hash_format(id, &job->id);
    (void)snprintf(job->receipt_url, sizeof job->receipt_url, "/v1/receipts/%s", id);
    job->meta = (struct asy_chat_meta){.job_id = job->id,
                                       .created_s = job->created_ms / 1000,
                                       .model = job->chat.model,
                                       .receipt_url = asy_bytes_cstr(job->receipt_url)};
    if (job->chat.stream) {
        err = asy_chat_stream_init(&job->stream, &job->arena, &job->meta, job->chat.include_usage);
        if (err != ASY_OK) {
            answer_error(job, err, &why);
            finish_job(job);
            return;
        }
    }
    dispatch(job);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* Grants credit as the client takes what came: a slow reader pauses the node, not the gateway's
 * memory. */
static void grant(struct job *job) {
    if (job->state != JOB_RUNNING || job->node == NULL || job->credit_left > CREDIT_WINDOW / 2) {
        return;
    }
    if (job->streaming && asy_http_stream_queued(job->req) > ASY_MAX_STREAM_QUEUE / 2) {
        return; /* on_drain comes back */
    }
    uint32_t more = CREDIT_WINDOW - job->credit_left;
    if (job->credit_left == 0) {
        job->last_ns = now_ns(job->g); /* it was silent for want of credit */
    }
    if (asy_link_gw_credit(job->node->link, job->terms.link_seq, more) == ASY_OK) {
        job->credit_left += more;
    }
}

static void id_headers(const struct job *job, struct asy_http_header headers[2],
                       char id[ASY_HASH_TEXT]) {
    asy_hash_format(id, &job->id);
    headers[0] = (struct asy_http_header){"x-request-id", job->request_id};
    headers[1] = (struct asy_http_header){"x-assay-job-id", id};
}

static enum asy_err stream_out(struct job *job, struct asy_bytes text) {
    struct asy_buf *b = &job->g->body;
    asy_buf_clear(b);
    if (!job->streaming) {
        char id[ASY_HASH_TEXT];
        struct asy_http_header headers[4] = {{"Content-Type", "text/event-stream; charset=utf-8"},
                                             {"Cache-Control", "no-cache"}};
        id_headers(job, headers + 2, id);
        ASY_TRY(asy_http_stream_begin(job->req, 200, headers, ASY_COUNT(headers)));
        job->streaming = true;
        ASY_TRY(asy_chat_stream_role(b, &job->stream));
    }
    if (text.n != 0) {
        ASY_TRY(asy_chat_stream_delta(b, &job->stream, text));
    }
    job->bytes_out += b->n;
    return asy_http_stream_write(job->req, asy_buf_bytes(b));
}

static void remember(struct job *job, const uint32_t *ids, uint32_t count) {
    if (job->count + count > job->cap) {
        while (job->count + count > job->cap) {
            job->cap = job->cap != 0 ? 2 * job->cap : 256;
        }
        job->ids = asy_realloc(job->ids, job->cap * sizeof job->ids[0]);
        job->written = asy_realloc(job->written, job->cap * sizeof job->written[0]);
    }
    for (uint32_t i = 0; i < count; i++) {
        job->ids[job->count] = ids[i];
        job->written[job->count++] = job->bytes_out;
    }
}

static void cancel(struct job *job, uint32_t keep, enum asy_cancel reason) {
    job->state = JOB_ENDING;
    if (asy_link_gw_cancel(job->node->link, job->terms.link_seq, keep, reason) != ASY_OK) {
        asy_log(ASY_LOG_ODD, "chat.cancel", "job=%s err=not_held", job->request_id);
    }
    job->count = keep < job->count ? keep : job->count;
}

static void note_latency(struct job *job, uint64_t now) {
    asy_match_latency_add(&job->node->latency, (now - job->offered_ns) / 1000, now);
}

void chat_on_accept(struct job *job) {
    if (job->state == JOB_OFFERED) {
        job->state = JOB_RUNNING;
    }
}

void chat_on_tokens(struct job *job, const uint32_t *ids, uint32_t count, struct asy_bytes text) {
    if (job->state != JOB_RUNNING) {
        return;
    }
    struct asy_gateway *g = job->g;
    if (count > job->max_out - job->count) { /* count never exceeds max_out, for this */
        fail(job, ASY_ERR_PEER, "The node sent more tokens than it was asked for.");
        cancel(job, job->count, ASY_CANCEL_LIMIT);
        return;
    }
    job->last_ns = now_ns(g);
    if (job->count == 0) {
        note_latency(job, job->last_ns);
    }
    job->credit_left -= count < job->credit_left ? count : job->credit_left;
    enum asy_err err = ASY_OK;
    if (job->chat.stream) {
        err = stream_out(job, text);
    } else {
        err = asy_buf_add_bytes(&job->text, text);
    }
    if (err != ASY_OK) {
        if (job->chat.stream) {
            fail(job, ASY_ERR_FULL, "The answer was not read fast enough.");
        } else {
            fail(job, ASY_ERR_TOO_LONG, "The answer is too long to be sent in one piece.");
        }
        cancel(job, job->count, ASY_CANCEL_LIMIT);
        return;
    }
    remember(job, ids, count);
    asy_metric_add(ASY_M_tokens_out_total, count);
    grant(job);
}

void chat_client_drained(struct job *job) { grant(job); }

/* ---- ends ------------------------------------------------------------------------------------ */

static void finish_job(struct job *job) {
    struct asy_gateway *g = job->g;
    leave_node(job);
    if (job->req != NULL) {
        asy_http_set_user(job->req, NULL);
        asy_http_abort(job->req);
    }
    *(job->prev != NULL ? &job->prev->next : &g->jobs) = job->next;
    *(job->next != NULL ? &job->next->prev : &g->jobs_tail) = job->prev;
    g->job_count--;
    g->waiting_count -= job->state == JOB_WAITING;
    asy_metric_set(ASY_M_jobs_inflight, g->job_count);
    asy_arena_done(&job->arena);
    asy_buf_done(&job->messages);
    asy_buf_done(&job->text);
    asy_free(job->ids);
    asy_free(job->written);
    asy_free(job);
}

static void store_audit(struct job *job);

/* Keeps what was relayed of a segment whose receipt will come later, if at all, so that it can be
 * judged: until then, at most to its deadline, the ticket stays open. */
static void keep_orphan(struct job *job) {
    store_audit(job);
    struct orphan *o = asy_alloc(sizeof *o);
    asy_object_hash(&o->terms_hash, ASY_OBJ_TERMS, &job->terms);
    o->until_ms = (job->terms.deadline + EXPIRE_GRACE_S) * 1000;
    o->count = job->count;
    o->ids = job->ids;
    job->ids = NULL;
    HASH_ADD(hh, job->g->orphans, terms_hash, sizeof o->terms_hash, o);
}

static void void_ticket(struct job *job, const char *why) {
    must(asy_ledger_void(job->g->ledger, &job->terms, asy_bytes_cstr(why)));
    settle_poke(job->g);
}

void chat_on_reject(struct job *job, uint32_t reason, const char *param, struct asy_bytes text) {
    void_ticket(job, asy_reject_name(reason));
    if (job->state == JOB_ENDING || job->req == NULL) {
        finish_job(job);
        return;
    }
    asy_log(ASY_LOG_DEBUG, "chat.reject", "job=%s reason=%s", job->request_id,
            asy_reject_name(reason));
    if (reason == ASY_REJECT_REQUEST) {
        struct asy_why why;
        enum asy_err err = asy_why_set(&why, ASY_ERR_RANGE, param[0] != '\0' ? param : "messages",
                                       "%.*s", (int)text.n, text.p);
        answer_error(job, err, &why);
        finish_job(job);
        return;
    }
    try_elsewhere(job);
}

void chat_on_fail(struct job *job, enum asy_err err, const char *text) {
    if (job->state != JOB_ENDING) { /* else it was cut: that is not the node's failure */
        asy_metric_add(ASY_M_jobs_failed_total, 1);
        job->node->jobs_failed++;
    }
    bool link_died = err == ASY_ERR_CLOSED;
    if (link_died && job->count != 0) {
        keep_orphan(job); /* its ticket stays open until the deadline */
    } else {
        void_ticket(job, text);
    }
    if (job->count == 0 && job->state != JOB_ENDING && job->req != NULL && err == ASY_ERR_RANGE) {
        struct asy_why why; /* no other node would do better */
        answer_error(job, asy_why_set(&why, err, "messages", "%s", text), &why);
        finish_job(job);
        return;
    }
    if (job->count == 0 && job->state != JOB_ENDING && job->req != NULL) {
        try_elsewhere(job);
        return;
    }
    fail(job, ASY_ERR_PEER, "The node failed in the middle of the answer.");
    finish_job(job);
}

static void store_audit(struct job *job) {
    /* what a replay needs, and nobody else may read */
    struct asy_audit_record record = {
        .messages = asy_buf_bytes(&job->messages),
        .settings = asy_bytes_of(job->settings, sizeof job->settings),
        .bias = job->bias,
        .seed = job->seed,
        .stop_count = (uint32_t)job->chat.stop_count,
        .ids = job->ids,
        .count = job->count,
    };
    memcpy(record.stops, job->chat.stops, sizeof record.stops);
    record_store(job->g, &job->id, job->account->lane, job->terms.lane_seq, &record);
}

/* Does the receipt say what was relayed? */
static enum asy_err judge(const struct job *job, const struct asy_receipt *receipt,
                          const struct asy_hash *prompt_digest, struct asy_why *why) {
    ASY_TRY(asy_receipt_check(receipt, &job->terms, why));
    if (receipt->out_tokens != job->count) {
        return asy_why_set(why, ASY_ERR_MISMATCH, "outTokens", "%llu tokens, %u were relayed",
                           (unsigned long long)receipt->out_tokens, job->count);
    }
    if (asy_receipt_output_check(receipt, prompt_digest, NULL, 0, job->ids) != ASY_OK) {
        return asy_why_set(why, ASY_ERR_MISMATCH, "output", "not the tokens that were relayed");
    }
    return ASY_OK;
}

static void answer_whole(struct job *job, const struct asy_receipt *receipt) {
    struct asy_http_req *req = job->req;
    struct asy_buf *b = &job->g->body;
    enum asy_chat_finish finish =
        receipt->finish == ASY_FINISH_LENGTH ? ASY_CHAT_FINISH_LENGTH : ASY_CHAT_FINISH_STOP;
    struct asy_chat_usage usage = {receipt->in_tokens, receipt->out_tokens, receipt->cached_tokens};
    enum asy_err err = ASY_OK;
    if (job->chat.stream) {
        err =
            job->streaming ? ASY_OK : stream_out(job, (struct asy_bytes){0}); /* an empty answer */
        asy_buf_clear(b);
        err = err == ASY_OK ? asy_chat_stream_end(b, &job->stream, finish, &usage) : err;
        err = err == ASY_OK ? asy_http_stream_write(req, asy_buf_bytes(b)) : err;
        err = err == ASY_OK ? asy_http_stream_end(req) : err;
    } else {
        char id[ASY_HASH_TEXT];
        struct asy_http_header headers[3] = {{"Content-Type", "application/json"}};
        id_headers(job, headers + 1, id);
        asy_buf_clear(b);
        err = asy_chat_response(b, &job->meta, asy_buf_bytes(&job->text), finish, &usage);
        err = err == ASY_OK
                  ? asy_http_respond(req, 200, headers, ASY_COUNT(headers), asy_buf_bytes(b))
                  : err;
    }
    if (err != ASY_OK && !job->streaming) {
        struct asy_why why;
        (void)asy_why_set(&why, ASY_ERR_TOO_LONG, NULL,
                          "The answer is too long to be sent in one piece.");
        answer_error(job, ASY_ERR_TOO_LONG, &why);
    } else if (err != ASY_OK) {
        asy_http_set_user(req, NULL);
        asy_http_abort(req);
    }
    job->req = NULL;
}

static void refuse(struct job *job, const struct asy_receipt *receipt, uint64_t item,
                   const struct asy_why *why) {
    struct asy_hash h;
    asy_object_hash(&h, ASY_OBJ_RECEIPT, receipt);
    asy_log(ASY_LOG_ODD, "receipt.refused", "job=%s node_link=%u param=%s why=\"%s\"",
            job->request_id, job->node->book->link, why->param, why->text);
    asy_metric_add(ASY_M_receipts_refused_total, 1);
    must(asy_ledger_refuse_item(job->g->ledger, job->node->book, item, &h));
}

void chat_on_done(struct job *job, const struct asy_receipt *receipt,
                  const struct asy_hash *prompt_digest, uint64_t item) {
    struct asy_gateway *g = job->g;
    struct asy_why why = {{0}, {0}};
    if (job->unpaid) {
        (void)asy_why_set(&why, ASY_ERR_TIMEOUT, NULL, "it sent no token in time");
        refuse(job, receipt, item, &why);
        void_ticket(job, "no token in time");
        finish_job(job);
        return;
    }
    enum asy_err err = judge(job, receipt, prompt_digest, &why);
    if (err == ASY_ERR_MISMATCH && job->state == JOB_ENDING && receipt->out_tokens > job->count) {
        /* it had ended the job before it heard of the cut. When it hears, it signs for less
         * (link.h, on_late_cancel) */
        refuse(job, receipt, item, &why);
        keep_orphan(job);
        finish_job(job);
        return;
    }
    if (err == ASY_OK) {
        err = asy_ledger_pay(g->ledger, &job->terms, receipt, prompt_digest, item);
        if (err == ASY_ERR_STATE || err == ASY_ERR_NOT_FOUND) {
            (void)asy_why_set(&why, err, NULL, "the ticket is no longer open");
        } else {
            must(err);
        }
    }
    if (err != ASY_OK) {
        refuse(job, receipt, item, &why);
        job->node->jobs_failed++;
        void_ticket(job, "receipt refused");
        fail(job, ASY_ERR_PEER,
             "The node's receipt does not match what it sent; nothing was charged.");
        finish_job(job);
        return;
    }
    store_audit(job);
    job->node->jobs_done++;
    asy_metric_add(job->state == JOB_ENDING ? ASY_M_jobs_cancelled_total : ASY_M_jobs_done_total,
                   1);
    asy_metric_add(ASY_M_tokens_in_total, receipt->in_tokens);
    if (job->req != NULL) {
        answer_whole(job, receipt);
    }
    finish_job(job);
    settle_poke(g);
}

/* The client is gone: charged are its prompt and the tokens that its socket had taken. */
void chat_client_gone(struct job *job) {
    uint64_t taken = job->bytes_out;
    if (job->streaming) {
        uint64_t queued = asy_http_stream_queued(job->req);
        taken = queued < taken ? taken - queued : 0;
    }
    job->req = NULL; /* the server frees it after this */
    if (job->state == JOB_WAITING) {
        finish_job(job);
        return;
    }
    if (job->state == JOB_ENDING) {
        return;
    }
    uint32_t keep = job->streaming ? job->count : 0;
    while (keep > 0 && job->written[keep - 1] > taken) {
        keep--;
    }
    cancel(job, keep, ASY_CANCEL_CLIENT);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* The client goes on as another job, with all that belongs to it; `old` stays behind with its node,
 * to be ended there. */
static struct job *hand_over(struct job *old) {
    struct asy_gateway *g = old->g;
    struct job *job = asy_alloc(sizeof *job);
    *job = *old;
    job->state = JOB_RUNNING; /* until dispatch decides */
    job->node = NULL;
    job->ids = NULL;
    job->written = NULL;
    job->count = job->cap = 0;
    job->segment++;
    job->timed_out = true;
    job->meta.receipt_url = job->stream.receipt_url = asy_bytes_cstr(job->receipt_url);
    asy_http_set_user(job->req, job);
    old->req = NULL;
    old->chat = (struct asy_chat_request){0};
    old->bias = (struct asy_bytes){0};
    asy_arena_init(&old->arena, 0);
    asy_buf_init(&old->messages, 0);
    asy_buf_init(&old->text, 0);
    job->prev = old; /* behind it: its place in the line is kept */
    *(job->next != NULL ? &job->next->prev : &g->jobs_tail) = job;
    old->next = job;
    g->job_count++;
    return job;
}

/* No first token in time. The node is told to stop and gets nothing; the client goes to another
 * node, if there is one. */
static void first_token_late(struct job *job, uint64_t now) {
    note_latency(job, now);
    job->node->jobs_failed++;
    asy_metric_add(ASY_M_jobs_failed_total, 1);
    struct job *heir = job->req != NULL ? hand_over(job) : NULL;
    job->unpaid = true;
    cancel(job, 0, ASY_CANCEL_TIMEOUT);
    if (heir != NULL) {
        dispatch(heir);
    }
}

void chat_tick(struct asy_gateway *g, uint64_t now, uint64_t *min_deadline_ns) {
    (void)min_deadline_ns; /* a tenth of a second is fine enough for seconds */
    uint64_t wall_s = asy_env_wall_ms(g->env) / 1000;
    uint64_t silence_ns = g->c.profile->job.silence_ms * 1000000u;
    for (struct job *job = g->jobs, *next; job != NULL; job = next) {
        next = job->next;
        if (job->state == JOB_WAITING) {
            if (now >= job->wait_until_ns) {
                fail(job, ASY_ERR_NO_NODE,
                     "Every node that serves this model is busy. Try again soon.");
                finish_job(job);
            }
            continue;
        }
        bool over = wall_s >= job->terms.deadline;
        bool silent = job->count != 0 && job->credit_left != 0 && now >= job->last_ns + silence_ns;
        if (job->state == JOB_ENDING && wall_s <= job->terms.deadline + EXPIRE_GRACE_S) {
            continue;
        }
        if (job->state != JOB_ENDING) {
            if (job->count == 0 && (over || now >= job->first_by_ns)) {
                first_token_late(job, now);
            } else if (over || silent) {
                fail(job, ASY_ERR_TIMEOUT,
                     over ? "The job ran out of time."
                          : "The node fell silent in the middle of the answer.");
                cancel(job, job->count, ASY_CANCEL_TIMEOUT);
            }
        } else {
            /* no receipt came: the ticket has expired in the ledger */
            if (asy_link_gw_forget(job->node->link, job->terms.link_seq) != ASY_OK) {
                asy_log(ASY_LOG_ODD, "chat.forget", "job=%s err=not_held", job->request_id);
            }
            finish_job(job);
        }
    }
    struct orphan *o, *next_orphan;
    uint64_t wall_ms = wall_s * 1000;
    HASH_ITER(hh, g->orphans, o, next_orphan) {
        if (o->until_ms < wall_ms) {
            HASH_DEL(g->orphans, o);
            asy_free(o->ids);
            asy_free(o);
        }
    }
}

void chat_cancel_all(struct asy_gateway *g) {
    for (struct job *job = g->jobs, *next; job != NULL; job = next) {
        next = job->next;
        if (job->state == JOB_WAITING) {
            fail(job, ASY_ERR_FULL, "This gateway is shutting down.");
            finish_job(job);
        } else if (job->state != JOB_ENDING) {
            fail(job, ASY_ERR_FULL, "This gateway is shutting down.");
            cancel(job, job->count, ASY_CANCEL_SHUTDOWN);
        }
    }
}

void chat_free_all(struct asy_gateway *g) {
    while (g->jobs != NULL) {
        struct job *job = g->jobs;
        job->req = NULL; /* the server is gone already */
        job->node = NULL;
        finish_job(job);
    }
    struct orphan *o, *next;
    HASH_ITER(hh, g->orphans, o, next) {
        HASH_DEL(g->orphans, o);
        asy_free(o->ids);
        asy_free(o);
    }
}
