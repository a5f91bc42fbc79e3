/* gw.c: the gateway's end of a link. */
#include "link/link_priv.h"

enum gw_state { GW_GREETING, GW_LIVE };
enum gw_job_state { JOB_OFFERED, JOB_RUNNING, JOB_ENDING };

struct gw_job {
    uint64_t seq;
    void *user;
    enum gw_job_state state;
    uint32_t received; /* tokens */
    uint32_t credit;   /* tokens granted and not yet received */
    UT_hash_handle hh;
};

struct asy_link_gw {
    struct asy_link_gw_options o;
    enum gw_state state;
    uint8_t nonce[32];
    uint64_t hello_by_ns;
    struct asy_addr self, node;
    uint64_t next_seq;
    struct gw_job *jobs;
    struct asy_checkpointer tickets;
    bool tickets_adopted; /* the node may not know some of the collected items */
    uint64_t signed_at_ns;
    enum asy_err failed; /* the signer's: items are lost to this link, so it is of no more use */
    /* the node's receipts since its last checkpoint */
    uint64_t receipt_number, receipt_first;
    uint32_t receipt_count;
    struct asy_hash receipts[ASY_MAX_CHECKPOINT];
    struct asy_arena arena;
    struct asy_buf out;
};

struct asy_link_gw *asy_link_gw_new(const struct asy_link_gw_options *options) {
    struct asy_link_gw *l = asy_alloc(sizeof *l);
    l->o = *options;
    l->self = asy_signer_addr(options->signer);
    asy_arena_init(&l->arena, 2 * ASY_MAX_FRAME);
    asy_buf_init(&l->out, ASY_MAX_FRAME);
    asy_env_random(l->o.env, l->nonce, sizeof l->nonce);
    l->hello_by_ns = asy_env_mono_ns(l->o.env) + HELLO_NS;

    Assay__Link__Challenge m = ASSAY__LINK__CHALLENGE__INIT;
    m.version_min = m.version_max = ASY_LINK_VERSION;
    m.gateway = link_data(l->self.b, 20);
    m.chain_id = l->o.domain->chain_id;
    m.vault = link_data(l->o.domain->vault.b, 20);
    m.nonce = link_data(l->nonce, sizeof l->nonce);
    m.wall_ms = asy_env_wall_ms(l->o.env);
    enum asy_err err =
        link_send(l->o.on.send, l->o.arg, &l->out, ASSAY__LINK__FRAME__BODY_CHALLENGE, &m);
    ASY_ASSERT(err == ASY_OK); /* small */
    return l;
}

void asy_link_gw_free(struct asy_link_gw *l) {
    if (l == NULL) {
        return;
    }
    struct gw_job *job, *next;
    HASH_ITER(hh, l->jobs, job, next) {
        HASH_DEL(l->jobs, job);
        asy_free(job);
    }
    asy_arena_done(&l->arena);
    asy_buf_done(&l->out);
    asy_free(l);
}

bool asy_link_gw_live(const struct asy_link_gw *l) { return l->state == GW_LIVE; }
uint64_t asy_link_gw_next_seq(const struct asy_link_gw *l) { return l->next_seq; }
uint32_t asy_link_gw_jobs(const struct asy_link_gw *l) { return HASH_COUNT(l->jobs); }

static struct gw_job *find(const struct asy_link_gw *l, uint64_t seq) {
    struct gw_job *job;
    HASH_FIND(hh, l->jobs, &seq, sizeof seq, job);
    return job;
}

static void drop(struct asy_link_gw *l, struct gw_job *job) {
    HASH_DEL(l->jobs, job);
    asy_free(job);
}

void asy_link_gw_each_job(struct asy_link_gw *l, void (*fn)(void *arg, uint64_t job, void *user),
                          void *arg) {
    struct gw_job *job, *next;
    HASH_ITER(hh, l->jobs, job, next) { fn(arg, job->seq, job->user); }
}

/* ---- signing --------------------------------------------------------------------------------- */

static enum asy_err sign_tickets(struct asy_link_gw *l) {
    struct asy_hash items[ASY_MAX_CHECKPOINT];
    memcpy(items, l->tickets.items, l->tickets.count * sizeof items[0]);
    bool adopted = l->tickets_adopted;
    l->tickets_adopted = false;
    struct asy_checkpoint checkpoint;
    struct asy_sig sig;
    asy_checkpointer_close(&l->tickets, &checkpoint);
    l->failed = asy_signer_sign_object(l->o.signer, &sig, ASY_OBJ_CHECKPOINT, &checkpoint);
    ASY_TRY(l->failed);
    l->signed_at_ns = asy_env_mono_ns(l->o.env);
    l->o.on.on_signed(l->o.arg, &checkpoint, &sig);
    link_send_checkpoint(l->o.on.send, l->o.arg, &l->out, &checkpoint, &sig,
                         adopted ? items : NULL);
    return ASY_OK;
}

/* A full checkpoint leaves at once: the node takes no ticket beyond it before. */
static enum asy_err collect(struct asy_link_gw *l, uint64_t link_seq,
                            const struct asy_hash *terms_hash) {
    uint64_t item = asy_checkpointer_add(&l->tickets, terms_hash);
    ASY_ASSERT(item == link_seq); /* else an unsigned ticket was not adopted */
    return l->tickets.count == ASY_MAX_CHECKPOINT ? sign_tickets(l) : ASY_OK;
}

enum asy_err asy_link_gw_tick(struct asy_link_gw *l) {
    uint64_t now = asy_env_mono_ns(l->o.env);
    ASY_TRY(l->failed);
    if (l->state == GW_GREETING) {
        return now >= l->hello_by_ns ? ASY_ERR_TIMEOUT : ASY_OK;
    }
    if (l->tickets.count != 0 && now - l->signed_at_ns >= CHECKPOINT_GAP_NS) {
        return sign_tickets(l);
    }
    return ASY_OK;
}

uint64_t asy_link_gw_deadline(const struct asy_link_gw *l) {
    if (l->failed != ASY_OK) {
        return 0;
    }
    if (l->state == GW_GREETING) {
        return l->hello_by_ns;
    }
    return l->tickets.count != 0 ? l->signed_at_ns + CHECKPOINT_GAP_NS : UINT64_MAX;
}

/* ---- the program's wishes -------------------------------------------------------------------- */

enum asy_err asy_link_gw_offer(struct asy_link_gw *l, const struct asy_link_offer *offer,
                               void *user) {
    if (l->state != GW_LIVE) {
        return ASY_ERR_STATE;
    }
    ASY_TRY(l->failed);
    ASY_ASSERT(offer->terms->link_seq == l->next_seq);
    ASY_ASSERT(offer->stop_count <= ASY_MAX_STOPS);
    uint8_t terms[ASY_TERMS_LEN], cap[ASY_CAP_LEN];
    asy_object_encode(terms, ASY_OBJ_TERMS, offer->terms);
    asy_object_encode(cap, ASY_OBJ_CAP, offer->cap);
    ProtobufCBinaryData stops[ASY_MAX_STOPS];
    for (uint32_t i = 0; i < offer->stop_count; i++) {
        stops[i] = link_data(offer->stops[i].p, offer->stops[i].n);
    }
    char model[ASY_MAX_NAME + 1] = {0};
    memcpy(model, offer->model.p, offer->model.n < ASY_MAX_NAME ? offer->model.n : ASY_MAX_NAME);
    Assay__Link__Offer m = ASSAY__LINK__OFFER__INIT;
    m.terms = link_data(terms, sizeof terms);
    m.messages = link_data(offer->messages.p, offer->messages.n);
    m.settings = link_data(offer->settings.p, offer->settings.n);
    m.bias = link_data(offer->bias.p, offer->bias.n);
    m.seed = link_data(offer->seed.b, 32);
    m.stops = stops;
    m.n_stops = offer->stop_count;
    m.prefix = (uint32_t *)(uintptr_t)offer->prefix; /* packing only reads */
    m.n_prefix = offer->prefix_count;
    m.credit = offer->credit;
    m.model = model;
    m.cap = link_data(cap, sizeof cap);
    ASY_TRY(link_send(l->o.on.send, l->o.arg, &l->out, ASSAY__LINK__FRAME__BODY_OFFER, &m));

    struct gw_job *job = asy_alloc(sizeof *job);
    *job = (struct gw_job){.seq = l->next_seq++, .user = user, .credit = offer->credit};
    HASH_ADD(hh, l->jobs, seq, sizeof job->seq, job);
    struct asy_hash h;
    asy_object_hash(&h, ASY_OBJ_TERMS, offer->terms);
    return collect(l, offer->terms->link_seq, &h);
}

enum asy_err asy_link_gw_cancel(struct asy_link_gw *l, uint64_t seq, uint32_t keep,
                                enum asy_cancel reason) {
    struct gw_job *job = find(l, seq);
    if (job == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    if (job->state == JOB_ENDING) {
        return ASY_OK;
    }
    job->state = JOB_ENDING;
    Assay__Link__Cancel m = ASSAY__LINK__CANCEL__INIT;
    m.job = seq;
    m.keep = keep;
    m.reason = (uint32_t)reason;
    return link_send(l->o.on.send, l->o.arg, &l->out, ASSAY__LINK__FRAME__BODY_CANCEL, &m);
}

enum asy_err asy_link_gw_credit(struct asy_link_gw *l, uint64_t seq, uint32_t tokens) {
    struct gw_job *job = find(l, seq);
    if (job == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    if (job->state == JOB_ENDING) {
        return ASY_OK; /* no more tokens are wanted */
    }
    ASY_ASSERT(tokens <= ASY_MAX_TOKENS && job->credit <= UINT32_MAX - tokens);
    job->credit += tokens;
    Assay__Link__Credit m = ASSAY__LINK__CREDIT__INIT;
    m.job = seq;
    m.tokens = tokens;
    return link_send(l->o.on.send, l->o.arg, &l->out, ASSAY__LINK__FRAME__BODY_CREDIT, &m);
}

enum asy_err asy_link_gw_forget(struct asy_link_gw *l, uint64_t seq) {
    struct gw_job *job = find(l, seq);
    if (job == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    job->user = NULL;
    return ASY_OK;
}

void asy_link_gw_ack(struct asy_link_gw *l, const struct asy_ack *ack, const struct asy_sig *sig) {
    if (l->state != GW_LIVE) {
        return; /* the welcome brings it */
    }
    uint8_t encoded[ASY_ACK_LEN];
    asy_object_encode(encoded, ASY_OBJ_ACK, ack);
    Assay__Link__Ack m = ASSAY__LINK__ACK__INIT;
    m.ack = link_data(encoded, sizeof encoded);
    m.signature = link_data(sig->b, sizeof sig->b);
    enum asy_err err = link_send(l->o.on.send, l->o.arg, &l->out, ASSAY__LINK__FRAME__BODY_ACK, &m);
    ASY_ASSERT(err == ASY_OK); /* small */
}

void asy_link_gw_batch_proof(struct asy_link_gw *l, uint64_t number, const struct asy_hash *root,
                             const struct asy_hash *tx, uint64_t block, asy_u128 credited) {
    if (l->state != GW_LIVE) {
        return; /* the welcome brings the total */
    }
    uint8_t be[16];
    asy_be128_put(be, credited);
    Assay__Link__BatchProof m = ASSAY__LINK__BATCH_PROOF__INIT;
    m.number = number;
    m.root = link_data(root->b, 32);
    m.tx = link_data(tx->b, 32);
    m.block = block;
    m.credited = link_data(be, sizeof be);
    enum asy_err err =
        link_send(l->o.on.send, l->o.arg, &l->out, ASSAY__LINK__FRAME__BODY_BATCH_PROOF, &m);
    ASY_ASSERT(err == ASY_OK); /* small */
}

void asy_link_gw_drain(struct asy_link_gw *l, uint32_t seconds) {
    if (l->state != GW_LIVE) {
        return;
    }
    Assay__Link__Drain m = ASSAY__LINK__DRAIN__INIT;
    m.seconds = seconds;
    enum asy_err err =
        link_send(l->o.on.send, l->o.arg, &l->out, ASSAY__LINK__FRAME__BODY_DRAIN, &m);
    ASY_ASSERT(err == ASY_OK); /* small */
}

void asy_link_gw_resend_checkpoint(struct asy_link_gw *l, const struct asy_checkpoint *checkpoint,
                                   const struct asy_sig *sig, const struct asy_hash *items) {
    ASY_ASSERT(l->state == GW_LIVE);
    link_send_checkpoint(l->o.on.send, l->o.arg, &l->out, checkpoint, sig, items);
}

void asy_link_gw_adopt_unsigned(struct asy_link_gw *l, const struct asy_hash *terms_hash) {
    ASY_ASSERT(l->state == GW_LIVE);
    if (l->failed == ASY_OK) {
        l->tickets_adopted = true;
        (void)collect(l, l->tickets.first + l->tickets.count,
                      terms_hash); /* the next tick says it */
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

static enum asy_err read_model(struct asy_link_model *ret, const Assay__Link__Model *m,
                               struct asy_why *why) {
    memset(ret, 0, sizeof *ret);
    ASY_TRY(link_name(ret->name, m->name, "model.name", why));
    ASY_TRY(link_name(ret->engine, m->engine, "model.engine", why));
    ASY_TRY(link_fixed(ret->digest.b, 32, m->digest, "model.digest", why));
    ASY_TRY(link_u128(&ret->price_in, m->price_in, "model.price_in", why));
    ASY_TRY(link_u128(&ret->price_cached, m->price_cached, "model.price_cached", why));
    ASY_TRY(link_u128(&ret->price_out, m->price_out, "model.price_out", why));
    if (m->tier > ASY_TIER_ZK) {
        return LINK_VIOLATION(why, "model %s has tier %u", ret->name, m->tier);
    }
    if (ret->name[0] == '\0' || m->context == 0 || m->max_out == 0 || m->max_out > m->context) {
        return LINK_VIOLATION(why, "model %s has no name, context or output", ret->name);
    }
    if (ret->price_cached > ret->price_in) {
        return LINK_VIOLATION(why, "model %s: cached input costs more than input", ret->name);
    }
    ret->context = m->context;
    ret->max_out = m->max_out;
    ret->tier = (uint8_t)m->tier;
    return ASY_OK;
}

static enum asy_err check_hello(struct asy_link_gw *l, struct asy_link_hello *ret,
                                uint8_t ret_node_nonce[32], const Assay__Link__Hello *m,
                                struct asy_why *why) {
    ProtobufCAllocator allocator = link_allocator(&l->arena);
    Assay__Link__HelloBody *b =
        assay__link__hello_body__unpack(&allocator, m->body.len, m->body.data);
    if (b == NULL) {
        return LINK_VIOLATION(why, "a malformed hello");
    }
    uint8_t nonce[32];
    struct asy_sig sig;
    if (b->version != ASY_LINK_VERSION) {
        return asy_why_set(why, ASY_ERR_VERSION, NULL,
                           "the node speaks version %u, this gateway %u", b->version,
                           ASY_LINK_VERSION);
    }
    ASY_TRY(link_fixed(ret->node.b, 20, b->node, "node", why));
    ASY_TRY(link_fixed(nonce, 32, b->nonce, "nonce", why));
    ASY_TRY(link_fixed(ret_node_nonce, 32, b->node_nonce, "node_nonce", why));
    ASY_TRY(link_fixed(ret->x25519.b, 32, b->x25519, "x25519", why));
    ASY_TRY(link_fixed(sig.b, 65, m->signature, "signature", why));
    if (!asy_secret_eq(nonce, l->nonce, sizeof nonce)) {
        return LINK_VIOLATION(why, "a hello for another challenge");
    }
    uint64_t now = asy_env_wall_ms(l->o.env);
    uint64_t skew = b->wall_ms > now ? b->wall_ms - now : now - b->wall_ms;
    if (skew > ASY_LINK_SKEW_MS) {
        return asy_why_set(why, ASY_ERR_PEER, NULL, "the node's clock is off by %llu ms",
                           (unsigned long long)skew);
    }
    uint8_t body[LINK_HELLO_BODY_LEN];
    link_hello_body(body, l->o.domain, &l->self, link_bytes(m->body));
    struct asy_hash digest;
    asy_signer_message_digest(&digest, ASY_SIGNER_HELLO, asy_bytes_of(body, sizeof body));
    if (asy_secp_verify(&ret->node, &digest, &sig) != ASY_OK) {
        return asy_why_set(why, ASY_ERR_SIGNATURE, NULL,
                           "the hello is not signed by the node it names");
    }
    if (b->n_models > ASY_MAX_NODE_MODELS || b->slots == 0 || b->slots > ASY_MAX_JOBS) {
        return LINK_VIOLATION(why, "%zu models, %u slots", b->n_models, b->slots);
    }
    for (size_t i = 0; i < b->n_models; i++) {
        ASY_TRY(read_model(&ret->models[i], b->models[i], why));
    }
    ASY_TRY(link_name(ret->software, b->software, "software", why));
    ASY_TRY(link_name(ret->region, b->region, "region", why));
    ret->model_count = (uint32_t)b->n_models;
    ret->slots = b->slots;
    ret->tickets_have = b->tickets_have;
    return ASY_OK;
}

static enum asy_err recv_hello(struct asy_link_gw *l, const Assay__Link__Hello *m,
                               struct asy_why *why) {
    struct asy_link_hello *hello = asy_alloc(sizeof *hello); /* large */
    struct asy_link_welcome w = {0};
    uint8_t node_nonce[32];
    enum asy_err err = check_hello(l, hello, node_nonce, m, why);
    if (err == ASY_OK) {
        err = l->o.on.on_hello(l->o.arg, hello, &w, why);
    }
    if (err == ASY_OK && hello->tickets_have > w.tickets_signed) {
        err = LINK_VIOLATION(why, "a hello that claims more signed tickets than there are");
    }
    struct asy_addr node = hello->node;
    asy_free(hello);
    ASY_TRY(err);
    ASY_ASSERT(w.tickets_signed <= w.next_link_seq);

    uint8_t body[LINK_WELCOME_BODY_LEN];
    link_welcome_body(body, l->o.domain, &node, node_nonce, w.link);
    struct asy_sig sig;
    ASY_TRY(asy_signer_sign_message(l->o.signer, &sig, ASY_SIGNER_WELCOME,
                                    asy_bytes_of(body, sizeof body)));
    l->node = node;
    l->next_seq = w.next_link_seq;
    l->receipt_number = w.receipt_checkpoint_next;
    l->receipt_first = w.receipts_have;
    asy_checkpointer_init(&l->tickets, ASY_CHECKPOINT_TICKETS, &l->self, &node,
                          w.ticket_checkpoint_next, w.tickets_signed);
    l->state = GW_LIVE;

    uint8_t ack[ASY_ACK_LEN], credited[16];
    asy_be128_put(credited, w.credited);
    Assay__Link__Welcome r = ASSAY__LINK__WELCOME__INIT;
    r.version = ASY_LINK_VERSION;
    r.link = w.link;
    r.next_link_seq = w.next_link_seq;
    r.receipts_have = w.receipts_have;
    if (w.has_ack) {
        asy_object_encode(ack, ASY_OBJ_ACK, &w.ack);
        r.ack = link_data(ack, sizeof ack);
        r.ack_signature = link_data(w.ack_sig.b, sizeof w.ack_sig.b);
    }
    r.signature = link_data(sig.b, sizeof sig.b);
    r.credited = link_data(credited, sizeof credited);
    return link_send(l->o.on.send, l->o.arg, &l->out, ASSAY__LINK__FRAME__BODY_WELCOME, &r);
}

static enum asy_err recv_tokens(struct asy_link_gw *l, struct gw_job *job,
                                const Assay__Link__Tokens *m, struct asy_why *why) {
    if (job->state == JOB_ENDING) {
        return ASY_OK; /* on their way when the job was cut */
    }
    if (job->state != JOB_RUNNING) {
        return LINK_VIOLATION(why, "tokens of a job that was not accepted");
    }
    if (m->offset != job->received) {
        return LINK_VIOLATION(why, "tokens at offset %u instead of %u", m->offset, job->received);
    }
    if (m->n_ids == 0 || m->n_ids > job->credit) {
        return LINK_VIOLATION(why, "%zu tokens with %u credit", m->n_ids, job->credit);
    }
    struct asy_bytes text = link_bytes(m->text);
    if (!asy_utf8_valid(text)) {
        return LINK_VIOLATION(why, "text that is not UTF-8");
    }
    job->received += (uint32_t)m->n_ids;
    job->credit -= (uint32_t)m->n_ids;
    l->o.on.on_tokens(l->o.arg, job->seq, job->user, m->ids, (uint32_t)m->n_ids, text);
    return ASY_OK;
}

/* One more receipt of the node: its place must be the next one. */
static enum asy_err add_receipt(struct asy_link_gw *l, uint64_t item,
                                const struct asy_receipt *receipt, struct asy_why *why) {
    if (l->receipt_count == ASY_MAX_CHECKPOINT) {
        return LINK_VIOLATION(why, "more than %u receipts without a checkpoint",
                              ASY_MAX_CHECKPOINT);
    }
    if (item != l->receipt_first + l->receipt_count) {
        return LINK_VIOLATION(why, "receipt item %llu instead of %llu", (unsigned long long)item,
                              (unsigned long long)(l->receipt_first + l->receipt_count));
    }
    asy_object_hash(&l->receipts[l->receipt_count++], ASY_OBJ_RECEIPT, receipt);
    return ASY_OK;
}

static enum asy_err recv_done(struct asy_link_gw *l, const Assay__Link__Done *m,
                              struct asy_why *why) {
    struct asy_receipt receipt;
    struct asy_hash prompt;
    ASY_TRY(link_object(&receipt, ASY_OBJ_RECEIPT, m->receipt, why));
    ASY_TRY(link_fixed(prompt.b, 32, m->prompt_digest, "prompt_digest", why));
    struct gw_job *job = find(l, m->job);
    if (m->terms.len != 0) { /* of an earlier connection */
        struct asy_terms terms;
        ASY_TRY(link_object(&terms, ASY_OBJ_TERMS, m->terms, why));
        if (job != NULL || terms.link_seq != m->job || !asy_addr_eq(&terms.node, &l->node) ||
            !asy_addr_eq(&terms.gateway, &l->self)) {
            return LINK_VIOLATION(why, "a receipt sent again that belongs elsewhere");
        }
        ASY_TRY(add_receipt(l, m->item, &receipt, why));
        l->o.on.on_resent(l->o.arg, &terms, &receipt, &prompt, m->item);
        return ASY_OK;
    }
    if (job == NULL) {
        asy_metric_add(ASY_M_link_frames_dropped_total, 1);
        return ASY_OK;
    }
    if (job->state == JOB_OFFERED) {
        return LINK_VIOLATION(why, "a receipt for a job that was not accepted");
    }
    ASY_TRY(add_receipt(l, m->item, &receipt, why));
    void *user = job->user;
    drop(l, job);
    l->o.on.on_done(l->o.arg, m->job, user, &receipt, &prompt, m->item);
    return ASY_OK;
}

static enum asy_err recv_checkpoint(struct asy_link_gw *l, const Assay__Link__Checkpoint *m,
                                    struct asy_why *why) {
    struct asy_checkpoint c;
    struct asy_sig sig;
    ASY_TRY(link_object(&c, ASY_OBJ_CHECKPOINT, m->checkpoint, why));
    ASY_TRY(link_fixed(sig.b, sizeof sig.b, m->signature, "signature", why));
    if (c.kind != ASY_CHECKPOINT_RECEIPTS || !asy_addr_eq(&c.signer, &l->node) ||
        !asy_addr_eq(&c.peer, &l->self)) {
        return LINK_VIOLATION(why, "a checkpoint of another kind or between others");
    }
    if (c.number != l->receipt_number || c.first != l->receipt_first) {
        return LINK_VIOLATION(why, "checkpoint %llu from item %llu instead of %llu from %llu",
                              (unsigned long long)c.number, (unsigned long long)c.first,
                              (unsigned long long)l->receipt_number,
                              (unsigned long long)l->receipt_first);
    }
    if (asy_checkpoint_check(&c, l->receipts, l->receipt_count) != ASY_OK) {
        return LINK_VIOLATION(why, "a checkpoint that does not cover the receipts sent");
    }
    if (asy_object_verify(l->o.domain, ASY_OBJ_CHECKPOINT, &c, &sig, &l->node) != ASY_OK) {
        return LINK_VIOLATION(why, "a checkpoint with a wrong signature");
    }
    l->receipt_number++;
    l->receipt_first += c.count;
    l->receipt_count = 0;
    l->o.on.on_checkpoint(l->o.arg, &c, &sig, l->receipts);
    return ASY_OK;
}

static enum asy_err recv_live(struct asy_link_gw *l, const Assay__Link__Frame *f,
                              struct asy_why *why) {
    switch (f->body_case) {
    case ASSAY__LINK__FRAME__BODY_STATUS: {
        struct asy_link_status s = {.slots = f->status->slots,
                                    .used = f->status->used,
                                    .queued = f->status->queued,
                                    .draining = f->status->draining};
        l->o.on.on_status(l->o.arg, &s);
        return ASY_OK;
    }
    case ASSAY__LINK__FRAME__BODY_ACCEPT: {
        struct gw_job *job = find(l, f->accept->job);
        if (job == NULL || job->state == JOB_ENDING) {
            asy_metric_add(ASY_M_link_frames_dropped_total, job == NULL);
            return ASY_OK;
        }
        if (job->state != JOB_OFFERED) {
            return LINK_VIOLATION(why, "a job accepted twice");
        }
        job->state = JOB_RUNNING;
        l->o.on.on_accept(l->o.arg, job->seq, job->user);
        return ASY_OK;
    }
    case ASSAY__LINK__FRAME__BODY_REJECT: {
        struct gw_job *job = find(l, f->reject->job);
        if (job == NULL) {
            asy_metric_add(ASY_M_link_frames_dropped_total, 1);
            return ASY_OK;
        }
        if (job->state == JOB_RUNNING) {
            return LINK_VIOLATION(why, "a job rejected after it was accepted");
        }
        struct asy_bytes text;
        char param[ASY_MAX_NAME + 1];
        ASY_TRY(link_text_in(&text, f->reject->text, "the text of a reject", why));
        ASY_TRY(link_name(param, f->reject->param, "the field that a reject names", why));
        void *user = job->user;
        drop(l, job);
        l->o.on.on_reject(l->o.arg, f->reject->job, user, f->reject->reason, param, text);
        return ASY_OK;
    }
    case ASSAY__LINK__FRAME__BODY_TOKENS: {
        struct gw_job *job = find(l, f->tokens->job);
        if (job == NULL) {
            asy_metric_add(ASY_M_link_frames_dropped_total, 1);
            return ASY_OK;
        }
        return recv_tokens(l, job, f->tokens, why);
    }
    case ASSAY__LINK__FRAME__BODY_DONE:
        return recv_done(l, f->done, why);
    case ASSAY__LINK__FRAME__BODY_ERROR: {
        struct gw_job *job = f->error->has_job ? find(l, f->error->job) : NULL;
        if (!f->error->has_job) {
            return asy_why_set(why, ASY_ERR_PEER, NULL, "the node ended the link: %.160s",
                               f->error->text);
        }
        if (job == NULL) {
            asy_metric_add(ASY_M_link_frames_dropped_total, 1);
            return ASY_OK;
        }
        struct asy_bytes text;
        ASY_TRY(link_text_in(&text, f->error->text, "the text of an error", why));
        void *user = job->user;
        drop(l, job);
        /* of all codes only one says that the request is at fault, and not the node */
        enum asy_err code = f->error->code == ASY_ERR_RANGE ? ASY_ERR_RANGE : ASY_ERR_PEER;
        l->o.on.on_fail(l->o.arg, f->error->job, user, code, text);
        return ASY_OK;
    }
    case ASSAY__LINK__FRAME__BODY_CHECKPOINT:
        return recv_checkpoint(l, f->checkpoint, why);
    case ASSAY__LINK__FRAME__BODY__NOT_SET: /* a frame of a later version: skipped */
        return ASY_OK;
    case ASSAY__LINK__FRAME__BODY_HELLO:
        return LINK_VIOLATION(why, "a second hello");
    case ASSAY__LINK__FRAME__BODY_CHALLENGE:
    case ASSAY__LINK__FRAME__BODY_WELCOME:
    case ASSAY__LINK__FRAME__BODY_OFFER:
    case ASSAY__LINK__FRAME__BODY_CANCEL:
    case ASSAY__LINK__FRAME__BODY_CREDIT:
    case ASSAY__LINK__FRAME__BODY_ACK:
    case ASSAY__LINK__FRAME__BODY_BATCH_PROOF:
    case ASSAY__LINK__FRAME__BODY_DRAIN:
    case _ASSAY__LINK__FRAME__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return LINK_VIOLATION(why, "a frame that only a gateway may send");
}

enum asy_err asy_link_gw_recv(struct asy_link_gw *l, struct asy_bytes bytes,
                              struct asy_why *reterr_why) {
    Assay__Link__Frame *f;
    asy_metric_add(ASY_M_link_frames_in_total, 1);
    ASY_TRY(link_unpack(&f, &l->arena, bytes, reterr_why));
    if (l->state == GW_LIVE) {
        return recv_live(l, f, reterr_why);
    }
    if (f->body_case != ASSAY__LINK__FRAME__BODY_HELLO) {
        return LINK_VIOLATION(reterr_why, "a frame before the hello");
    }
    return recv_hello(l, f->hello, reterr_why);
}
