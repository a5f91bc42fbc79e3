/* node.c: the node's end of a link. */
#include "link/link_priv.h"

enum node_state { NODE_WAITING, NODE_GREETED, NODE_LIVE };
enum node_job_state { JOB_OFFERED, JOB_RUNNING };

struct node_job {
    uint64_t seq;
    enum node_job_state state;
    uint32_t sent; /* tokens */
    uint32_t granted, first_grant;
    UT_hash_handle hh;
};

struct asy_link_node {
    struct asy_link_node_options o;
    enum node_state state;
    uint64_t hello_by_ns;
    uint8_t nonce[32]; /* ours, that the gateway answers */
    struct asy_addr self, gateway;
    uint64_t next_seq; /* linkSeq of the next ticket */
    struct node_job *jobs;
    struct asy_checkpointer receipts;
    uint64_t signed_at_ns;
    enum asy_err failed; /* the signer's: items are lost to this link, so it is of no more use */
    /* the gateway's tickets since its last checkpoint */
    uint64_t ticket_number; /* of its next checkpoint; known from the first of a connection on */
    bool ticket_number_known;
    uint64_t ticket_first;
    uint32_t ticket_count;
    struct asy_hash tickets[ASY_MAX_CHECKPOINT];
    struct asy_arena arena;
    struct asy_buf out;
};

struct asy_link_node *asy_link_node_new(const struct asy_link_node_options *options) {
    ASY_ASSERT(options->hello->model_count <= ASY_MAX_NODE_MODELS);
    struct asy_link_node *l = asy_alloc(sizeof *l);
    l->o = *options;
    l->self = asy_signer_addr(options->signer);
    l->hello_by_ns = asy_env_mono_ns(l->o.env) + HELLO_NS;
    asy_arena_init(&l->arena, 2 * ASY_MAX_FRAME);
    asy_buf_init(&l->out, ASY_MAX_FRAME);
    return l;
}

void asy_link_node_free(struct asy_link_node *l) {
    if (l == NULL) {
        return;
    }
    struct node_job *job, *next;
    HASH_ITER(hh, l->jobs, job, next) {
        HASH_DEL(l->jobs, job);
        asy_free(job);
    }
    asy_arena_done(&l->arena);
    asy_buf_done(&l->out);
    asy_free(l);
}

bool asy_link_node_live(const struct asy_link_node *l) { return l->state == NODE_LIVE; }
uint32_t asy_link_node_jobs(const struct asy_link_node *l) { return HASH_COUNT(l->jobs); }

static struct node_job *find(const struct asy_link_node *l, uint64_t seq) {
    struct node_job *job;
    HASH_FIND(hh, l->jobs, &seq, sizeof seq, job);
    return job;
}

static void drop(struct asy_link_node *l, struct node_job *job) {
    HASH_DEL(l->jobs, job);
    asy_free(job);
}

void asy_link_node_each_job(struct asy_link_node *l, void (*fn)(void *arg, uint64_t job),
                            void *arg) {
    struct node_job *job, *next;
    HASH_ITER(hh, l->jobs, job, next) { fn(arg, job->seq); }
}

enum asy_err asy_link_node_taken(const struct asy_link_node *l, uint64_t seq,
                                 uint32_t *ret_tokens) {
    const struct node_job *job = find(l, seq);
    if (job == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    uint32_t taken = job->granted - job->first_grant;
    *ret_tokens = taken < job->sent ? taken : job->sent;
    return ASY_OK;
}

static enum asy_err send_frame(struct asy_link_node *l, Assay__Link__Frame__BodyCase body_case,
                               void *m) {
    return link_send(l->o.on.send, l->o.arg, &l->out, body_case, m);
}

/* ---- signing --------------------------------------------------------------------------------- */

static enum asy_err sign_receipts(struct asy_link_node *l) {
    struct asy_checkpoint checkpoint;
    struct asy_sig sig;
    asy_checkpointer_close(&l->receipts, &checkpoint);
    l->failed = asy_signer_sign_object(l->o.signer, &sig, ASY_OBJ_CHECKPOINT, &checkpoint);
    ASY_TRY(l->failed);
    l->signed_at_ns = asy_env_mono_ns(l->o.env);
    l->o.on.on_signed(l->o.arg, &checkpoint, &sig);
    link_send_checkpoint(l->o.on.send, l->o.arg, &l->out, &checkpoint, &sig, NULL);
    return ASY_OK;
}

static enum asy_err collect(struct asy_link_node *l, uint64_t *ret_item,
                            const struct asy_hash *receipt_hash) {
    *ret_item = asy_checkpointer_add(&l->receipts, receipt_hash);
    return l->receipts.count == ASY_MAX_CHECKPOINT ? sign_receipts(l) : ASY_OK;
}

enum asy_err asy_link_node_tick(struct asy_link_node *l) {
    uint64_t now = asy_env_mono_ns(l->o.env);
    ASY_TRY(l->failed);
    if (l->state != NODE_LIVE) {
        return now >= l->hello_by_ns ? ASY_ERR_TIMEOUT : ASY_OK;
    }
    if (l->receipts.count != 0 && now - l->signed_at_ns >= CHECKPOINT_GAP_NS) {
        return sign_receipts(l);
    }
    return ASY_OK;
}

uint64_t asy_link_node_deadline(const struct asy_link_node *l) {
    if (l->failed != ASY_OK) {
        return 0;
    }
    if (l->state != NODE_LIVE) {
        return l->hello_by_ns;
    }
    return l->receipts.count != 0 ? l->signed_at_ns + CHECKPOINT_GAP_NS : UINT64_MAX;
}

/* ---- the program's wishes -------------------------------------------------------------------- */

enum asy_err asy_link_node_accept(struct asy_link_node *l, uint64_t seq) {
    struct node_job *job = find(l, seq);
    if (job == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    if (job->state != JOB_OFFERED) {
        return ASY_ERR_STATE;
    }
    job->state = JOB_RUNNING;
    Assay__Link__Accept m = ASSAY__LINK__ACCEPT__INIT;
    m.job = seq;
    return send_frame(l, ASSAY__LINK__FRAME__BODY_ACCEPT, &m);
}

enum asy_err asy_link_node_reject(struct asy_link_node *l, uint64_t seq, enum asy_reject reason,
                                  const char *param, const char *text) {
    struct node_job *job = find(l, seq);
    if (job == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    if (job->state != JOB_OFFERED) {
        return ASY_ERR_STATE;
    }
    drop(l, job);
    Assay__Link__Reject m = ASSAY__LINK__REJECT__INIT;
    m.job = seq;
    m.reason = (uint32_t)reason;
    m.param = link_text(param);
    m.text = link_text(text);
    return send_frame(l, ASSAY__LINK__FRAME__BODY_REJECT, &m);
}

enum asy_err asy_link_node_tokens(struct asy_link_node *l, uint64_t seq, const uint32_t *ids,
                                  uint32_t count, struct asy_bytes text) {
    struct node_job *job = find(l, seq);
    if (job == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    if (job->state != JOB_RUNNING) {
        return ASY_ERR_STATE;
    }
    if (count > job->granted - job->sent) {
        return ASY_ERR_FULL;
    }
    Assay__Link__Tokens m = ASSAY__LINK__TOKENS__INIT;
    m.job = seq;
    m.offset = job->sent;
    m.ids = (uint32_t *)(uintptr_t)ids; /* packing only reads */
    m.n_ids = count;
    m.text = link_data(text.p, text.n);
    ASY_TRY(send_frame(l, ASSAY__LINK__FRAME__BODY_TOKENS, &m));
    job->sent += count;
    return ASY_OK;
}

static enum asy_err send_done(struct asy_link_node *l, uint64_t seq,
                              const struct asy_receipt *receipt,
                              const struct asy_hash *prompt_digest, uint64_t item,
                              const struct asy_terms *terms) {
    uint8_t encoded[ASY_RECEIPT_LEN], encoded_terms[ASY_TERMS_LEN];
    asy_object_encode(encoded, ASY_OBJ_RECEIPT, receipt);
    Assay__Link__Done m = ASSAY__LINK__DONE__INIT;
    m.job = seq;
    m.receipt = link_data(encoded, sizeof encoded);
    m.prompt_digest = link_data(prompt_digest->b, 32);
    m.item = item;
    if (terms != NULL) {
        asy_object_encode(encoded_terms, ASY_OBJ_TERMS, terms);
        m.terms = link_data(encoded_terms, sizeof encoded_terms);
    }
    return send_frame(l, ASSAY__LINK__FRAME__BODY_DONE, &m);
}

enum asy_err asy_link_node_done(struct asy_link_node *l, uint64_t *ret_item, uint64_t seq,
                                const struct asy_receipt *receipt,
                                const struct asy_hash *prompt_digest) {
    struct node_job *job = find(l, seq);
    if (job == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    if (job->state != JOB_RUNNING) {
        return ASY_ERR_STATE;
    }
    ASY_TRY(l->failed);
    struct asy_hash h;
    asy_object_hash(&h, ASY_OBJ_RECEIPT, receipt);
    uint64_t item = l->receipts.first + l->receipts.count;
    ASY_TRY(send_done(l, seq, receipt, prompt_digest, item, NULL));
    drop(l, job);
    return collect(l, ret_item, &h);
}

enum asy_err asy_link_node_fail(struct asy_link_node *l, uint64_t seq, enum asy_err code,
                                const char *text) {
    struct node_job *job = find(l, seq);
    if (job == NULL) {
        return ASY_ERR_NOT_FOUND;
    }
    drop(l, job);
    Assay__Link__Error m = ASSAY__LINK__ERROR__INIT;
    m.has_job = true;
    m.job = seq;
    m.code = (int32_t)code;
    m.text = link_text(text);
    return send_frame(l, ASSAY__LINK__FRAME__BODY_ERROR, &m);
}

void asy_link_node_status(struct asy_link_node *l, const struct asy_link_status *status) {
    if (l->state != NODE_LIVE) {
        return;
    }
    Assay__Link__Status m = ASSAY__LINK__STATUS__INIT;
    m.slots = status->slots;
    m.used = status->used;
    m.queued = status->queued;
    m.draining = status->draining;
    enum asy_err err = send_frame(l, ASSAY__LINK__FRAME__BODY_STATUS, &m);
    ASY_ASSERT(err == ASY_OK); /* small */
}

void asy_link_node_resend_receipt(struct asy_link_node *l, const struct asy_terms *terms,
                                  const struct asy_receipt *receipt,
                                  const struct asy_hash *prompt_digest, uint64_t item) {
    ASY_ASSERT(l->state == NODE_LIVE);
    enum asy_err err = send_done(l, terms->link_seq, receipt, prompt_digest, item, terms);
    ASY_ASSERT(err == ASY_OK); /* small */
}

void asy_link_node_resend_checkpoint(struct asy_link_node *l,
                                     const struct asy_checkpoint *checkpoint,
                                     const struct asy_sig *sig) {
    ASY_ASSERT(l->state == NODE_LIVE);
    link_send_checkpoint(l->o.on.send, l->o.arg, &l->out, checkpoint, sig, NULL);
}

void asy_link_node_adopt_unsigned(struct asy_link_node *l, const struct asy_hash *receipt_hash) {
    ASY_ASSERT(l->state == NODE_LIVE);
    uint64_t item;
    if (l->failed == ASY_OK) {
        (void)collect(l, &item, receipt_hash); /* the next tick says it */
    }
}

/* ---- the handshake --------------------------------------------------------------------------- */

static enum asy_err recv_challenge(struct asy_link_node *l, const Assay__Link__Challenge *m,
                                   struct asy_why *why) {
    struct asy_addr vault;
    uint8_t nonce[32];
    ASY_TRY(link_fixed(l->gateway.b, 20, m->gateway, "gateway", why));
    ASY_TRY(link_fixed(vault.b, 20, m->vault, "vault", why));
    ASY_TRY(link_fixed(nonce, 32, m->nonce, "nonce", why));
    if (m->version_min > ASY_LINK_VERSION || m->version_max < ASY_LINK_VERSION) {
        return asy_why_set(why, ASY_ERR_VERSION, NULL,
                           "the gateway speaks versions %u to %u, this node %u", m->version_min,
                           m->version_max, ASY_LINK_VERSION);
    }
    if (m->chain_id != l->o.domain->chain_id || !asy_addr_eq(&vault, &l->o.domain->vault)) {
        return asy_why_set(why, ASY_ERR_MISMATCH, NULL,
                           "the gateway settles on another chain or vault");
    }
    if (l->o.gateway != NULL && !asy_addr_eq(&l->gateway, l->o.gateway)) {
        return asy_why_set(why, ASY_ERR_MISMATCH, NULL, "another gateway answers at this address");
    }
    const struct asy_link_hello *h = l->o.hello;
    asy_env_random(l->o.env, l->nonce, sizeof l->nonce);

    Assay__Link__Model models[ASY_MAX_NODE_MODELS], *model_ptrs[ASY_MAX_NODE_MODELS];
    uint8_t prices[ASY_MAX_NODE_MODELS][3][16];
    for (uint32_t i = 0; i < h->model_count; i++) {
        const struct asy_link_model *from = &h->models[i];
        asy_be128_put(prices[i][0], from->price_in);
        asy_be128_put(prices[i][1], from->price_cached);
        asy_be128_put(prices[i][2], from->price_out);
        Assay__Link__Model *to = &models[i];
        assay__link__model__init(to);
        to->name = link_text(from->name);
        to->engine = link_text(from->engine);
        to->digest = link_data(from->digest.b, 32);
        to->price_in = link_data(prices[i][0], 16);
        to->price_cached = link_data(prices[i][1], 16);
        to->price_out = link_data(prices[i][2], 16);
        to->context = from->context;
        to->max_out = from->max_out;
        to->tier = from->tier;
        model_ptrs[i] = to;
    }
    Assay__Link__HelloBody b = ASSAY__LINK__HELLO_BODY__INIT;
    b.version = ASY_LINK_VERSION;
    b.node = link_data(l->self.b, 20);
    b.nonce = link_data(nonce, 32);
    b.node_nonce = link_data(l->nonce, 32);
    b.wall_ms = asy_env_wall_ms(l->o.env);
    b.x25519 = link_data(h->x25519.b, 32);
    b.models = model_ptrs;
    b.n_models = h->model_count;
    b.slots = h->slots;
    b.software = link_text(h->software);
    b.region = link_text(h->region);
    b.tickets_have = h->tickets_have;
    l->ticket_first = h->tickets_have;
    l->ticket_number_known = h->tickets_have == 0; /* it is 0 then */

    size_t len = assay__link__hello_body__get_packed_size(&b);
    uint8_t *packed = asy_alloc(len);
    (void)assay__link__hello_body__pack(&b, packed); /* its size was asked for */
    uint8_t body[LINK_HELLO_BODY_LEN];
    link_hello_body(body, l->o.domain, &l->gateway, asy_bytes_of(packed, len));
    struct asy_sig sig;
    enum asy_err err = asy_signer_sign_message(l->o.signer, &sig, ASY_SIGNER_HELLO,
                                               asy_bytes_of(body, sizeof body));
    if (err == ASY_OK) {
        Assay__Link__Hello out = ASSAY__LINK__HELLO__INIT;
        out.body = link_data(packed, len);
        out.signature = link_data(sig.b, sizeof sig.b);
        err = send_frame(l, ASSAY__LINK__FRAME__BODY_HELLO, &out);
    }
    asy_free(packed);
    ASY_TRY(err);
    l->state = NODE_GREETED;
    return ASY_OK;
}

static enum asy_err check_ack(const struct asy_link_node *l, const struct asy_ack *ack,
                              const struct asy_sig *sig, struct asy_why *why) {
    if (!asy_addr_eq(&ack->gateway, &l->gateway) || !asy_addr_eq(&ack->node, &l->self)) {
        return LINK_VIOLATION(why, "an Ack between others");
    }
    if (asy_object_verify(l->o.domain, ASY_OBJ_ACK, ack, sig, &l->gateway) != ASY_OK) {
        return LINK_VIOLATION(why, "an Ack with a wrong signature");
    }
    return ASY_OK;
}

static enum asy_err recv_welcome(struct asy_link_node *l, const Assay__Link__Welcome *m,
                                 struct asy_why *why) {
    struct asy_link_welcome w = {.link = m->link,
                                 .next_link_seq = m->next_link_seq,
                                 .receipts_have = m->receipts_have,
                                 .has_ack = m->ack.len != 0};
    struct asy_sig sig;
    ASY_TRY(link_fixed(sig.b, sizeof sig.b, m->signature, "signature", why));
    ASY_TRY(link_u128(&w.credited, m->credited, "credited", why));
    uint8_t body[LINK_WELCOME_BODY_LEN];
    link_welcome_body(body, l->o.domain, &l->self, l->nonce, m->link);
    struct asy_hash digest;
    asy_signer_message_digest(&digest, ASY_SIGNER_WELCOME, asy_bytes_of(body, sizeof body));
    if (asy_secp_verify(&l->gateway, &digest, &sig) != ASY_OK) {
        return asy_why_set(why, ASY_ERR_SIGNATURE, NULL,
                           "the welcome is not signed by the gateway");
    }
    if (w.has_ack) {
        ASY_TRY(link_object(&w.ack, ASY_OBJ_ACK, m->ack, why));
        ASY_TRY(
            link_fixed(w.ack_sig.b, sizeof w.ack_sig.b, m->ack_signature, "ack_signature", why));
        ASY_TRY(check_ack(l, &w.ack, &w.ack_sig, why));
    }
    if (m->version != ASY_LINK_VERSION || w.receipts_have > l->o.next_item ||
        w.next_link_seq < l->ticket_first || w.next_link_seq > INT64_MAX) {
        return LINK_VIOLATION(why, "a welcome that contradicts what this node holds");
    }
    l->next_seq = w.next_link_seq;
    l->state = NODE_LIVE;
    asy_checkpointer_init(&l->receipts, ASY_CHECKPOINT_RECEIPTS, &l->self, &l->gateway,
                          l->o.next_checkpoint, l->o.next_item);
    return l->o.on.on_welcome(l->o.arg, &l->gateway, &w, why);
}

/* ---- frames ---------------------------------------------------------------------------------- */

static enum asy_err recv_offer(struct asy_link_node *l, const Assay__Link__Offer *m,
                               struct asy_why *why) {
    struct asy_terms terms;
    struct asy_cap cap;
    struct asy_link_offer offer = {.terms = &terms, .cap = &cap};
    ASY_TRY(link_object(&terms, ASY_OBJ_TERMS, m->terms, why));
    ASY_TRY(link_object(&cap, ASY_OBJ_CAP, m->cap, why));
    ASY_TRY(link_fixed(offer.seed.b, 32, m->seed, "seed", why));
    if (!asy_addr_eq(&terms.node, &l->self) || !asy_addr_eq(&terms.gateway, &l->gateway)) {
        return LINK_VIOLATION(why, "a ticket between others");
    }
    if (terms.link_seq != l->next_seq) {
        return LINK_VIOLATION(why, "ticket %llu instead of %llu",
                              (unsigned long long)terms.link_seq, (unsigned long long)l->next_seq);
    }
    if (m->n_stops > ASY_MAX_STOPS || m->n_prefix > ASY_MAX_TOKENS) {
        return LINK_VIOLATION(why, "%zu stop strings, %zu tokens before", m->n_stops, m->n_prefix);
    }
    if (l->ticket_count == ASY_MAX_CHECKPOINT) {
        return LINK_VIOLATION(why, "more than %u tickets without a checkpoint", ASY_MAX_CHECKPOINT);
    }
    for (size_t i = 0; i < m->n_stops; i++) {
        offer.stops[i] = link_bytes(m->stops[i]);
        if (offer.stops[i].n == 0 || offer.stops[i].n > ASY_MAX_STOP_LEN ||
            !asy_utf8_valid(offer.stops[i])) {
            return LINK_VIOLATION(why, "a stop string of %zu bytes, or not UTF-8",
                                  offer.stops[i].n);
        }
    }
    offer.stop_count = (uint32_t)m->n_stops;
    offer.messages = link_bytes(m->messages);
    offer.settings = link_bytes(m->settings);
    offer.bias = link_bytes(m->bias);
    offer.prefix = m->prefix;
    offer.prefix_count = (uint32_t)m->n_prefix;
    offer.credit = m->credit;
    ASY_TRY(link_text_in(&offer.model, m->model, "the model's name", why));
    struct asy_hash sampling;
    asy_job_sampling_hash(&sampling, offer.settings, &offer.seed, offer.stops, offer.stop_count);
    if (!asy_hash_eq(&sampling, &terms.sampling)) {
        return LINK_VIOLATION(why, "settings that are not the ticket's");
    }
    if (asy_job_bias_check(offer.settings, offer.bias) != ASY_OK) {
        return LINK_VIOLATION(why, "a logit bias that is not the settings'");
    }
    asy_object_hash(&l->tickets[l->ticket_count++], ASY_OBJ_TERMS, &terms);

    struct node_job *job = asy_alloc(sizeof *job);
    *job = (struct node_job){.seq = l->next_seq++, .granted = m->credit, .first_grant = m->credit};
    HASH_ADD(hh, l->jobs, seq, sizeof job->seq, job);
    l->o.on.on_offer(l->o.arg, job->seq, &offer);
    return ASY_OK;
}

static enum asy_err recv_checkpoint(struct asy_link_node *l, const Assay__Link__Checkpoint *m,
                                    struct asy_why *why) {
    struct asy_checkpoint c;
    struct asy_sig sig;
    ASY_TRY(link_object(&c, ASY_OBJ_CHECKPOINT, m->checkpoint, why));
    ASY_TRY(link_fixed(sig.b, sizeof sig.b, m->signature, "signature", why));
    if (c.kind != ASY_CHECKPOINT_TICKETS || !asy_addr_eq(&c.signer, &l->gateway) ||
        !asy_addr_eq(&c.peer, &l->self)) {
        return LINK_VIOLATION(why, "a checkpoint of another kind or between others");
    }
    /* the number of the first one of a connection is only known to be no more than the items before
     * it */
    if (c.first != l->ticket_first ||
        (l->ticket_number_known ? c.number != l->ticket_number : c.number > c.first)) {
        return LINK_VIOLATION(why,
                              "checkpoint %llu from item %llu does not go on where the last ended",
                              (unsigned long long)c.number, (unsigned long long)c.first);
    }
    /* tickets of this connection are the last ones: those of earlier ones stand before them */
    uint64_t seen_first = l->next_seq - l->ticket_count;
    struct asy_hash items[ASY_MAX_CHECKPOINT];
    if (m->items.len == 0) { /* all of it is known: the tickets since the last one, in order */
        if (c.first != seen_first || c.count > l->ticket_count) {
            return LINK_VIOLATION(why, "a checkpoint over tickets that were not sent");
        }
        memcpy(items, l->tickets, c.count * sizeof items[0]);
    } else {
        if (c.count > ASY_MAX_CHECKPOINT || m->items.len != c.count * sizeof items[0]) {
            return LINK_VIOLATION(why, "a checkpoint over %u items that brings %zu bytes of them",
                                  c.count, m->items.len);
        }
        memcpy(items, m->items.data, m->items.len);
    }
    if (asy_checkpoint_check(&c, items, c.count) != ASY_OK) {
        return LINK_VIOLATION(why, "a checkpoint that does not cover its tickets");
    }
    if (asy_object_verify(l->o.domain, ASY_OBJ_CHECKPOINT, &c, &sig, &l->gateway) != ASY_OK) {
        return LINK_VIOLATION(why, "a checkpoint with a wrong signature");
    }
    uint64_t end = c.first + c.count;
    uint32_t covered = end > seen_first ? (uint32_t)(end - seen_first) : 0;
    uint32_t skip = seen_first > c.first ? (uint32_t)(seen_first - c.first) : 0;
    if (covered > l->ticket_count ||
        (covered != 0 && memcmp(items + skip, l->tickets, covered * sizeof items[0]) != 0)) {
        return LINK_VIOLATION(why, "a checkpoint over other tickets than were sent");
    }
    l->ticket_count -= covered;
    memmove(l->tickets, l->tickets + covered, l->ticket_count * sizeof items[0]);
    l->ticket_first = end;
    l->ticket_number = c.number + 1;
    l->ticket_number_known = true;
    l->o.on.on_tickets(l->o.arg, &c, &sig);
    return ASY_OK;
}

static enum asy_err recv_live(struct asy_link_node *l, const Assay__Link__Frame *f,
                              struct asy_why *why) {
    switch (f->body_case) {
    case ASSAY__LINK__FRAME__BODY_OFFER:
        return recv_offer(l, f->offer, why);
    case ASSAY__LINK__FRAME__BODY_CANCEL:
    case ASSAY__LINK__FRAME__BODY_CREDIT: {
        bool cancel = f->body_case == ASSAY__LINK__FRAME__BODY_CANCEL;
        struct node_job *job = find(l, cancel ? f->cancel->job : f->credit->job);
        if (job == NULL) { /* it has just ended here */
            asy_metric_add(ASY_M_link_frames_dropped_total, 1);
            if (cancel && l->o.on.on_late_cancel != NULL) {
                l->o.on.on_late_cancel(l->o.arg, f->cancel->job, f->cancel->keep,
                                       f->cancel->reason);
            }
            return ASY_OK;
        }
        if (cancel) {
            l->o.on.on_cancel(l->o.arg, job->seq, f->cancel->keep, f->cancel->reason);
            return ASY_OK;
        }
        if (f->credit->tokens > ASY_MAX_TOKENS || job->granted > UINT32_MAX / 2) {
            return LINK_VIOLATION(why, "%u tokens of credit", f->credit->tokens);
        }
        job->granted += f->credit->tokens;
        l->o.on.on_credit(l->o.arg, job->seq, f->credit->tokens);
        return ASY_OK;
    }
    case ASSAY__LINK__FRAME__BODY_ACK: {
        struct asy_ack ack;
        struct asy_sig sig;
        ASY_TRY(link_object(&ack, ASY_OBJ_ACK, f->ack->ack, why));
        ASY_TRY(link_fixed(sig.b, sizeof sig.b, f->ack->signature, "signature", why));
        ASY_TRY(check_ack(l, &ack, &sig, why));
        l->o.on.on_ack(l->o.arg, &ack, &sig);
        return ASY_OK;
    }
    case ASSAY__LINK__FRAME__BODY_BATCH_PROOF: {
        struct asy_hash root, tx;
        asy_u128 credited;
        ASY_TRY(link_fixed(root.b, 32, f->batch_proof->root, "root", why));
        ASY_TRY(link_fixed(tx.b, 32, f->batch_proof->tx, "tx", why));
        ASY_TRY(link_u128(&credited, f->batch_proof->credited, "credited", why));
        l->o.on.on_batch(l->o.arg, f->batch_proof->number, &root, &tx, f->batch_proof->block,
                         credited);
        return ASY_OK;
    }
    case ASSAY__LINK__FRAME__BODY_DRAIN:
        l->o.on.on_drain(l->o.arg, f->drain->seconds);
        return ASY_OK;
    case ASSAY__LINK__FRAME__BODY_CHECKPOINT:
        return recv_checkpoint(l, f->checkpoint, why);
    case ASSAY__LINK__FRAME__BODY__NOT_SET: /* a frame of a later version: skipped */
        return ASY_OK;
    case ASSAY__LINK__FRAME__BODY_CHALLENGE:
    case ASSAY__LINK__FRAME__BODY_WELCOME:
        return LINK_VIOLATION(why, "a second handshake");
    case ASSAY__LINK__FRAME__BODY_HELLO:
    case ASSAY__LINK__FRAME__BODY_STATUS:
    case ASSAY__LINK__FRAME__BODY_ACCEPT:
    case ASSAY__LINK__FRAME__BODY_REJECT:
    case ASSAY__LINK__FRAME__BODY_TOKENS:
    case ASSAY__LINK__FRAME__BODY_DONE:
    case ASSAY__LINK__FRAME__BODY_ERROR:
    case _ASSAY__LINK__FRAME__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return LINK_VIOLATION(why, "a frame that only a node may send");
}

enum asy_err asy_link_node_recv(struct asy_link_node *l, struct asy_bytes bytes,
                                struct asy_why *reterr_why) {
    Assay__Link__Frame *f;
    asy_metric_add(ASY_M_link_frames_in_total, 1);
    ASY_TRY(link_unpack(&f, &l->arena, bytes, reterr_why));
    switch (l->state) {
    case NODE_WAITING:
        if (f->body_case != ASSAY__LINK__FRAME__BODY_CHALLENGE) {
            return LINK_VIOLATION(reterr_why, "a frame before the challenge");
        }
        return recv_challenge(l, f->challenge, reterr_why);
    case NODE_GREETED:
        if (f->body_case != ASSAY__LINK__FRAME__BODY_WELCOME) {
            return LINK_VIOLATION(reterr_why, "a frame before the welcome");
        }
        return recv_welcome(l, f->welcome, reterr_why);
    case NODE_LIVE:
        return recv_live(l, f, reterr_why);
    }
    return ASY_ERR_INTERNAL;
}
