/* views.c: what can be read, as JSON. */
#include "gateway/gateway_priv.h"

static void kv_usd(struct asy_jw *w, const char *key, asy_u128 pico) {
    char text[ASY_USD_STR];
    asy_usd_format(text, (struct asy_usd){pico});
    asy_jw_kv_cstr(w, key, text);
}

static struct asy_jw open_list(struct asy_gateway *g) {
    struct asy_jw w;
    asy_buf_clear(&g->body);
    asy_jw_init(&w, &g->body);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "list");
    asy_jw_kv_array(&w, "data");
    return w;
}

static enum asy_err close_list(struct asy_jw *w) {
    asy_jw_end(w);
    asy_jw_end(w);
    return asy_jw_finish(w);
}

/* ---- models and nodes ------------------------------------------------------------------------ */

/* Adds a node's offer to the list of models, by name. */
static void add_model(struct asy_api_model *models, size_t *count, size_t max,
                      const struct asy_link_model *m) {
    struct asy_bytes name = asy_bytes_cstr(m->name);
    struct asy_api_model *found = NULL;
    for (size_t i = 0; i < *count && found == NULL; i++) {
        found = asy_bytes_eq(models[i].name, name) ? &models[i] : NULL;
    }
    if (found == NULL) {
        if (*count == max) {
            return;
        }
        found = &models[(*count)++];
        *found = (struct asy_api_model){.name = name,
                                        .digest = m->digest,
                                        .context_length = m->context,
                                        .engine = asy_bytes_cstr(m->engine),
                                        .min_price_in = {m->price_in},
                                        .min_price_out = {m->price_out}};
    }
    found->node_count++;
    found->min_price_in.pico =
        m->price_in < found->min_price_in.pico ? m->price_in : found->min_price_in.pico;
    found->min_price_out.pico =
        m->price_out < found->min_price_out.pico ? m->price_out : found->min_price_out.pico;
}

enum asy_err view_models(struct asy_gateway *g, struct asy_bytes only) {
    enum { MAX_MODELS = 1024 };
    asy_arena_reset(&g->scratch);
    asy_buf_clear(&g->body);
    struct asy_api_model *models = asy_arena_alloc(&g->scratch, MAX_MODELS * sizeof *models);
    ASY_ASSERT(models != NULL);
    size_t count = 0;
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        for (uint32_t i = 0; node_ready(n) && i < n->hello.model_count; i++) {
            add_model(models, &count, MAX_MODELS, &n->hello.models[i]);
        }
    }
    if (only.n == 0) {
        return asy_api_models(&g->body, models, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (asy_bytes_eq(models[i].name, only)) {
            return asy_api_model(&g->body, &models[i]);
        }
    }
    return ASY_ERR_NOT_FOUND;
}

enum asy_err view_nodes(struct asy_gateway *g) {
    struct asy_jw w = open_list(g);
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (n->book == NULL || n->dead) {
            continue;
        }
        asy_jw_object(&w);
        asy_jw_kv_addr(&w, "address", &n->hello.node);
        asy_jw_kv_u64(&w, "link", n->book->link);
        asy_jw_kv_bool(&w, "ready", node_ready(n));
        asy_jw_kv_cstr(&w, "software", n->hello.software);
        asy_jw_kv_cstr(&w, "region", n->hello.region);
        asy_jw_kv_u64(&w, "slots", n->hello.slots);
        asy_jw_kv_u64(&w, "running", n->inflight);
        asy_jw_kv_u64(&w, "first_token_us",
                      asy_match_latency_at(&n->latency, asy_env_mono_ns(g->env)));
        asy_jw_kv_u64(&w, "jobs_done", n->jobs_done);
        asy_jw_kv_u64(&w, "jobs_failed", n->jobs_failed);
        asy_jw_kv_array(&w, "models");
        for (uint32_t i = 0; i < n->hello.model_count; i++) {
            const struct asy_link_model *m = &n->hello.models[i];
            asy_jw_object(&w);
            asy_jw_kv_cstr(&w, "name", m->name);
            asy_jw_kv_hash(&w, "digest", &m->digest);
            asy_jw_kv_cstr(&w, "engine", m->engine);
            asy_jw_kv_u64(&w, "context", m->context);
            kv_usd(&w, "price_in", m->price_in);
            kv_usd(&w, "price_cached", m->price_cached);
            kv_usd(&w, "price_out", m->price_out);
            asy_jw_end(&w);
        }
        asy_jw_end(&w);
        asy_jw_end(&w);
    }
    return close_list(&w);
}

enum asy_err view_domain(struct asy_gateway *g) {
    const struct asy_evm_market *m = g->c.market;
    struct asy_jw w;
    asy_buf_clear(&g->body);
    asy_jw_init(&w, &g->body);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "name", "Assay");
    asy_jw_kv_cstr(&w, "version", "1");
    asy_jw_kv_u64(&w, "chain_id", m->chain_id);
    asy_jw_kv_addr(&w, "gateway", &g->self);
    asy_jw_kv_cstr(&w, "profile", g->c.profile->name);
    asy_jw_kv_object(&w, "contracts");
    asy_jw_kv_addr(&w, "USD", &m->usd);
    asy_jw_kv_addr(&w, "Token", &m->token);
    asy_jw_kv_addr(&w, "StakeRegistry", &m->stake_registry);
    asy_jw_kv_addr(&w, "ModelRegistry", &m->model_registry);
    asy_jw_kv_addr(&w, "Vault", &m->vault);
    asy_jw_kv_addr(&w, "Court", &m->court);
    asy_jw_end(&w);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

/* ---- an account's own ------------------------------------------------------------------------ */

enum asy_err view_credit(struct asy_gateway *g, const struct asy_account *a) {
    struct asy_jw w;
    asy_buf_clear(&g->body);
    asy_jw_init(&w, &g->body);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "credit");
    asy_jw_kv_addr(&w, "account", &a->addr);
    kv_usd(&w, "headroom", asy_ledger_headroom(a));
    kv_usd(&w, "funded", a->funded);
    kv_usd(&w, "spent", a->paid);
    kv_usd(&w, "reserved", a->reserved);
    kv_usd(&w, "free", a->free);
    asy_jw_kv_u64(&w, "lane", a->lane);
    asy_jw_kv_u64(&w, "closes_at", a->closes_at);
    asy_jw_key(&w, "cap");
    if (a->has_cap) {
        asy_object_write_json(&w, ASY_OBJ_CAP, &a->cap);
        asy_jw_kv_hash(&w, "cap_hash", &a->cap_hash);
        asy_jw_kv_bool(&w, "cap_open", a->cap_open);
    } else {
        asy_jw_null(&w);
    }
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

enum asy_err view_usage(struct asy_gateway *g, const struct asy_account *a, uint64_t from_ms) {
    struct asy_usage u;
    ASY_TRY(asy_ledger_usage(g->ledger, &u, a, from_ms));
    struct asy_jw w;
    asy_buf_clear(&g->body);
    asy_jw_init(&w, &g->body);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "usage");
    asy_jw_kv_u64(&w, "from_ms", from_ms);
    asy_jw_kv_u64(&w, "jobs", u.jobs);
    asy_jw_kv_u64(&w, "prompt_tokens", u.in_tokens);
    asy_jw_kv_u64(&w, "completion_tokens", u.out_tokens);
    kv_usd(&w, "spent", u.spent);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

static const char *state_name(enum asy_ticket_state state) {
    switch (state) {
    case ASY_TICKET_OPEN:
        return "running";
    case ASY_TICKET_PAID:
        return "done";
    case ASY_TICKET_VOID:
        return "failed";
    }
    return "unknown";
}

static const char *finish_name(uint8_t finish) {
    switch ((enum asy_finish)finish) {
    case ASY_FINISH_STOP:
        return "stop";
    case ASY_FINISH_LENGTH:
        return "length";
    case ASY_FINISH_CANCELLED:
        return "cancelled";
    case ASY_FINISH_LINK:
        return "link";
    }
    return "unknown";
}

static void write_ticket(void *arg, const struct asy_ticket *t) {
    struct asy_jw *w = arg;
    asy_jw_object(w);
    asy_jw_kv_cstr(w, "object", "job");
    asy_jw_kv_hash(w, "id", &t->terms.job_id);
    asy_jw_kv_u64(w, "segment", t->terms.segment);
    asy_jw_kv_str(w, "request_id", t->request_id);
    asy_jw_kv_cstr(w, "status", state_name(t->state));
    asy_jw_kv_str(w, "model", t->model);
    asy_jw_kv_addr(w, "node", &t->terms.node);
    asy_jw_kv_u64(w, "lane", t->lane);
    asy_jw_kv_u64(w, "lane_seq", t->terms.lane_seq);
    asy_jw_kv_u64(w, "created_ms", t->issued_ms);
    asy_jw_kv_u64(w, "ended_ms", t->ended_ms);
    if (t->has_receipt) {
        asy_jw_kv_u64(w, "prompt_tokens", t->receipt.in_tokens);
        asy_jw_kv_u64(w, "completion_tokens", t->receipt.out_tokens);
        asy_jw_kv_cstr(w, "finish", finish_name(t->receipt.finish));
        kv_usd(w, "amount", t->receipt.amount);
    }
    if (t->error.n != 0) {
        asy_jw_kv_str(w, "error", t->error);
    }
    asy_jw_end(w);
}

enum asy_err view_jobs(struct asy_gateway *g, const struct asy_account *a, uint64_t before,
                       uint32_t limit) {
    struct asy_jw w = open_list(g);
    if (a->lane != 0) {
        ASY_TRY(asy_ledger_tickets_of_account(g->ledger, a, before, limit, write_ticket, &w));
    }
    return close_list(&w);
}

/* "0x" and 64 digits, or the "chatcmpl-" id that the client knows cannot be turned back: the job id
 * it is. */
static enum asy_err parse_id(struct asy_hash *ret_id, struct asy_bytes text, struct asy_why *why) {
    if (asy_hash_parse(ret_id, text) != ASY_OK) {
        return asy_why_set(why, ASY_ERR_NOT_FOUND, "id",
                           "A job id is 0x and 64 hex digits, as in x-assay-job-id.");
    }
    return ASY_OK;
}

struct owned {
    struct asy_jw *w;
    const struct asy_account *account;
    struct asy_gateway *g;
    uint32_t count;
    enum asy_err err;
};

static void write_owned(void *arg, const struct asy_ticket *t) {
    struct owned *o = arg;
    if (asy_addr_eq(&t->terms.requester, &o->account->addr)) {
        write_ticket(o->w, t);
        o->count++;
    }
}

enum asy_err view_job(struct asy_gateway *g, const struct asy_account *a, struct asy_bytes id,
                      struct asy_why *why) {
    struct asy_hash job_id;
    uint32_t count;
    ASY_TRY(parse_id(&job_id, id, why));
    struct asy_jw w = open_list(g);
    struct owned o = {.w = &w, .account = a};
    ASY_TRY(asy_ledger_tickets_of_job(g->ledger, &count, &job_id, write_owned, &o));
    ASY_TRY(close_list(&w));
    return o.count != 0 ? ASY_OK : asy_why_set(why, ASY_ERR_NOT_FOUND, "id", "No such job.");
}

/* ---- receipts -------------------------------------------------------------------------------- */

static void write_path(struct asy_jw *w, const struct asy_hash *path, uint32_t count) {
    asy_jw_kv_array(w, "path");
    for (uint32_t i = 0; i < count; i++) {
        asy_jw_hash(w, &path[i]);
    }
    asy_jw_end(w);
}

static void write_sig(struct asy_jw *w, const struct asy_sig *sig) {
    asy_jw_key(w, "signature");
    asy_jw_hex(w, asy_bytes_of(sig->b, sizeof sig->b));
}

/* Terms, receipt, and the node's signature over its place in a checkpoint: all that `assay verify`
 * needs. */
static enum asy_err write_receipt(struct asy_gateway *g, struct asy_jw *w,
                                  const struct asy_ticket *t) {
    asy_jw_key(w, "terms");
    asy_object_write_json(w, ASY_OBJ_TERMS, &t->terms);
    if (!t->has_receipt) {
        return ASY_OK;
    }
    asy_jw_key(w, "receipt");
    asy_object_write_json(w, ASY_OBJ_RECEIPT, &t->receipt);
    asy_jw_kv_hash(w, "promptDigest", &t->prompt_digest);
    struct asy_receipt_proof p;
    enum asy_err err = asy_ledger_receipt_proof(g->ledger, &p, &t->terms.node, t->item);
    if (err == ASY_ERR_NOT_FOUND) {
        asy_jw_kv_null(w, "checkpoint"); /* signed within 50 ms */
        return ASY_OK;
    }
    ASY_TRY(err);
    asy_jw_kv_object(w, "checkpoint");
    asy_jw_key(w, "body");
    asy_object_write_json(w, ASY_OBJ_CHECKPOINT, &p.checkpoint);
    write_sig(w, &p.sig);
    asy_jw_kv_u64(w, "position", p.position);
    write_path(w, p.path, p.path_count);
    asy_jw_end(w);
    return ASY_OK;
}

static void write_uses(struct asy_jw *w, const char *key, uint32_t uses) {
    asy_jw_kv_array(w, key);
    for (uint32_t i = 0; i < ASY_SAMPLE_USE_COUNT; i++) {
        if ((uses >> i & 1) != 0) {
            asy_jw_cstr(w, asy_sample_use_name((enum asy_sample_use)(1u << i)));
        }
    }
    asy_jw_end(w);
}

/* What Terms.sampling is the hash of, and what follows from it: who could judge the tokens. */
static void write_sampling(void *arg, const struct asy_audit_record *record) {
    struct asy_jw *w = arg;
    struct asy_sample_settings settings;
    enum asy_err err = asy_sample_settings_decode(&settings, record->settings, NULL);
    ASY_ASSERT(err == ASY_OK); /* only this program writes records */
    uint32_t uses = asy_sample_uses(&settings);
    asy_jw_kv_object(w, "sampling");
    asy_jw_key(w, "settings");
    asy_jw_hex(w, record->settings);
    asy_jw_kv_hash(w, "seed", &record->seed);
    asy_jw_kv_array(w, "stops");
    for (uint32_t i = 0; i < record->stop_count; i++) {
        asy_jw_str(w, record->stops[i]);
    }
    asy_jw_end(w);
    asy_jw_kv_cstr(w, "judge", (uses & ASY_SAMPLE_USES_BY_REPLAY) == 0 ? "contract" : "replay");
    write_uses(w, "contract", uses & ASY_SAMPLE_USES_BY_CONTRACT);
    write_uses(w, "replay", uses & ASY_SAMPLE_USES_BY_REPLAY);
    asy_jw_end(w);
}

static void write_ids(struct asy_jw *w, const char *key, const uint32_t *ids, uint32_t count) {
    asy_jw_kv_array(w, key);
    for (uint32_t i = 0; i < count; i++) {
        asy_jw_u64(w, ids[i]);
    }
    asy_jw_end(w);
}

/* What a replay needs beside it. It holds the prompt, so only who asks for it gets it. */
static void write_sampling_and_record(void *arg, const struct asy_audit_record *record) {
    struct asy_jw *w = arg;
    write_sampling(w, record);
    asy_jw_kv_object(w, "record");
    asy_jw_kv_str(w, "request", record->messages);
    asy_jw_key(w, "bias");
    asy_jw_hex(w, record->bias);
    write_ids(w, "prior", record->prior, record->prior_count);
    write_ids(w, "output", record->ids, record->count);
    asy_jw_end(w);
}

static void write_entry(struct asy_jw *w, const struct asy_entry *e) {
    asy_jw_kv_object(w, "entry");
    asy_jw_kv_u64(w, "lane", e->lane);
    asy_jw_kv_u64(w, "count", e->count);
    asy_jw_kv_u64(w, "first", e->first);
    asy_jw_kv_u128_str(w, "before", e->before);
    asy_jw_kv_u128_str(w, "spent", e->spent);
    asy_jw_kv_hash(w, "tree", &e->tree);
    asy_jw_end(w);
}

struct leaves {
    struct asy_sum_node *nodes;
    uint32_t count;
    enum asy_err err;
};
static void add_leaf(void *arg, const struct asy_ticket *t) {
    struct leaves *l = arg;
    struct asy_hash h = {{0}};
    if (t->has_receipt) {
        asy_object_hash(&h, ASY_OBJ_RECEIPT, &t->receipt);
    }
    enum asy_err err = asy_sum_leaf(&l->nodes[l->count++], t->terms.lane_seq,
                                    t->has_receipt ? t->receipt.amount : 0, &h);
    l->err = l->err == ASY_OK ? err : l->err;
}

static enum asy_err build_entry_tree(struct asy_gateway *g, const struct asy_entry *e,
                                     struct asy_sum_node **ret_nodes) {
    size_t len = asy_sum_tree_len(e->count);
    struct leaves l = {.nodes = asy_arena_alloc(&g->scratch, len * sizeof *l.nodes)};
    if (len == 0 || l.nodes == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    ASY_TRY(asy_ledger_entry_tickets(g->ledger, e->lane, e->first, e->count, add_leaf, &l));
    ASY_TRY(l.err);
    *ret_nodes = l.nodes;
    return asy_sum_tree_build(l.nodes, e->count);
}

static void write_sum_path(struct asy_jw *w, const struct asy_sum_node *path, uint32_t count) {
    asy_jw_kv_array(w, "leafPath");
    for (uint32_t i = 0; i < count; i++) {
        asy_jw_object(w);
        asy_jw_kv_hash(w, "hash", &path[i].hash);
        asy_jw_kv_u128_str(w, "sum", path[i].sum);
        asy_jw_end(w);
    }
    asy_jw_end(w);
}

/* The place of an entry in its batch. */
static enum asy_err write_entry_place(struct asy_gateway *g, struct asy_jw *w, uint64_t number,
                                      uint32_t index) {
    struct asy_batch b;
    struct asy_entry *entries;
    uint32_t count, path_count;
    ASY_TRY(asy_ledger_get_batch(g->ledger, &b, number));
    ASY_TRY(asy_ledger_batch_entries(g->ledger, &g->scratch, &entries, &count, number));
    struct asy_hash *nodes = asy_arena_alloc(&g->scratch, (2 * (size_t)count + 16) * sizeof *nodes);
    if (nodes == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    for (uint32_t i = 0; i < count; i++) {
        asy_entry_hash(&nodes[i], &entries[i]);
    }
    struct asy_hash path[ASY_BATCH_PATH_MAX];
    ASY_TRY(asy_batch_tree_build(nodes, count));
    ASY_TRY(asy_batch_tree_path(path, &path_count, nodes, count, index));
    asy_jw_kv_u64(w, "number", number);
    asy_jw_kv_bool(w, "confirmed", b.state >= ASY_BATCH_CONFIRMED);
    asy_jw_kv_bool(w, "final", b.state == ASY_BATCH_FINAL);
    asy_jw_kv_hash(w, "root", &b.root);
    asy_jw_kv_hash(w, "tx", &b.tx);
    asy_jw_kv_u64(w, "block", b.block);
    write_entry(w, &entries[index]);
    write_path(w, path, path_count);
    return ASY_OK;
}

static enum asy_err write_settlement(struct asy_gateway *g, struct asy_jw *w,
                                     const struct asy_ticket *t) {
    uint64_t number;
    uint32_t index, path_count;
    struct asy_entry e;
    enum asy_err err =
        asy_ledger_find_entry(g->ledger, &number, &index, &e, t->lane, t->terms.lane_seq);
    if (err == ASY_ERR_NOT_FOUND) {
        asy_jw_kv_null(w, "settlement"); /* not in a batch yet */
        return ASY_OK;
    }
    ASY_TRY(err);
    asy_arena_reset(&g->scratch);
    struct asy_sum_node *nodes, path[ASY_SUM_PATH_MAX];
    ASY_TRY(build_entry_tree(g, &e, &nodes));
    ASY_TRY(asy_sum_tree_path(path, &path_count, nodes, e.count,
                              (uint32_t)(t->terms.lane_seq - e.first)));
    asy_jw_kv_object(w, "settlement");
    ASY_TRY(write_entry_place(g, w, number, index));
    asy_jw_kv_u64(w, "leaf", t->terms.lane_seq - e.first);
    write_sum_path(w, path, path_count);
    asy_jw_end(w);
    return ASY_OK;
}

/* Tickets are copied out first: writing them asks the store again. */
struct copies {
    const struct asy_account *account;
    struct asy_ticket tickets[16];
    uint32_t count;
};
static void copy_ticket(void *arg, const struct asy_ticket *t) {
    struct copies *c = arg;
    if (c->count < ASY_COUNT(c->tickets) && asy_addr_eq(&t->terms.requester, &c->account->addr)) {
        struct asy_ticket *to = &c->tickets[c->count++];
        *to = *t;
        to->model = to->request_id = to->error = (struct asy_bytes){0};
    }
}

static void write_domain(struct asy_gateway *g, struct asy_jw *w) {
    asy_jw_kv_object(w, "domain");
    asy_jw_kv_u64(w, "chainId", g->domain.chain_id);
    asy_jw_kv_addr(w, "verifyingContract", &g->domain.vault);
    asy_jw_end(w);
}

enum asy_err view_receipt(struct asy_gateway *g, const struct asy_account *a, struct asy_bytes id,
                          bool with_record, struct asy_why *why) {
    struct asy_hash job_id;
    uint32_t found;
    ASY_TRY(parse_id(&job_id, id, why));
    struct copies *c = asy_alloc(sizeof *c);
    c->account = a;
    enum asy_err err = asy_ledger_tickets_of_job(g->ledger, &found, &job_id, copy_ticket, c);
    if (err == ASY_OK && c->count == 0) {
        err = asy_why_set(why, ASY_ERR_NOT_FOUND, "id", "No such job.");
    }
    struct asy_jw w;
    asy_buf_clear(&g->body);
    asy_jw_init(&w, &g->body);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "receipt");
    asy_jw_kv_hash(&w, "id", &job_id);
    write_domain(g, &w);
    asy_jw_kv_array(&w, "segments");
    for (uint32_t i = 0; i < c->count && err == ASY_OK; i++) {
        asy_jw_object(&w);
        asy_jw_kv_cstr(&w, "status", state_name(c->tickets[i].state));
        const struct asy_ticket *t = &c->tickets[i];
        err = write_receipt(g, &w, t);
        if (err == ASY_OK &&
            record_read(g, &job_id, t->lane, t->terms.lane_seq,
                        with_record ? write_sampling_and_record : write_sampling, &w) != ASY_OK) {
            asy_jw_kv_null(&w, "sampling"); /* nothing was relayed, or it is not kept any more */
            if (with_record) {
                asy_jw_kv_null(&w, "record");
            }
        }
        if (err == ASY_OK) {
            err = write_settlement(g, &w, t);
        }
        asy_jw_end(&w);
    }
    asy_free(c);
    ASY_TRY(err);
    asy_jw_end(&w);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

/* ---- settlement ------------------------------------------------------------------------------ */

static const char *batch_state_name(enum asy_batch_state state) {
    switch (state) {
    case ASY_BATCH_BUILT:
        return "built";
    case ASY_BATCH_SENT:
        return "sent";
    case ASY_BATCH_CONFIRMED:
        return "confirmed";
    case ASY_BATCH_FINAL:
        return "final";
    }
    return "unknown";
}

enum asy_err view_batch(struct asy_gateway *g, uint64_t number, struct asy_why *why) {
    struct asy_batch b;
    struct asy_entry *entries;
    struct asy_batch_credit *credits;
    uint32_t count, credit_count;
    enum asy_err err = asy_ledger_get_batch(g->ledger, &b, number);
    if (err == ASY_ERR_NOT_FOUND) {
        return asy_why_set(why, err, "number", "No such batch; %llu were made.",
                           (unsigned long long)asy_ledger_batch_count(g->ledger));
    }
    ASY_TRY(err);
    asy_arena_reset(&g->scratch);
    ASY_TRY(asy_ledger_batch_entries(g->ledger, &g->scratch, &entries, &count, number));
    ASY_TRY(asy_ledger_batch_credits(g->ledger, &g->scratch, &credits, &credit_count, number));
    struct asy_jw w;
    asy_buf_clear(&g->body);
    asy_jw_init(&w, &g->body);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "batch");
    asy_jw_kv_u64(&w, "number", number);
    asy_jw_kv_cstr(&w, "state", batch_state_name(b.state));
    asy_jw_kv_hash(&w, "root", &b.root);
    asy_jw_kv_hash(&w, "tx", &b.tx);
    asy_jw_kv_u64(&w, "block", b.block);
    asy_jw_kv_u64(&w, "jobs", b.jobs);
    kv_usd(&w, "debited", b.debited);
    kv_usd(&w, "credited", b.credited);
    asy_jw_kv_array(&w, "entries");
    for (uint32_t i = 0; i < count; i++) {
        asy_jw_object(&w);
        write_entry(&w, &entries[i]);
        asy_jw_end(&w);
    }
    asy_jw_end(&w);
    asy_jw_kv_array(&w, "credits");
    for (uint32_t i = 0; i < credit_count; i++) {
        asy_jw_object(&w);
        asy_jw_kv_u64(&w, "link", credits[i].link);
        asy_jw_kv_u128_str(&w, "cum", credits[i].cum);
        asy_jw_end(&w);
    }
    asy_jw_end(&w);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

struct lane_writer {
    struct asy_gateway *g;
    struct asy_ticket *tickets;
    uint32_t count;
};
static void collect_ticket(void *arg, const struct asy_ticket *t) {
    struct lane_writer *l = arg;
    l->tickets[l->count] = *t;
    struct asy_ticket *to = &l->tickets[l->count++];
    to->model = to->request_id = to->error = (struct asy_bytes){0};
}

enum asy_err view_lane(struct asy_gateway *g, uint64_t number, uint32_t lane, struct asy_why *why) {
    struct asy_entry *entries;
    uint32_t count, index = 0;
    asy_arena_reset(&g->scratch);
    enum asy_err err = asy_ledger_batch_entries(g->ledger, &g->scratch, &entries, &count, number);
    if (err == ASY_ERR_NOT_FOUND) {
        return asy_why_set(why, err, "number", "No such batch.");
    }
    ASY_TRY(err);
    while (index < count && entries[index].lane != lane) {
        index++;
    }
    if (index == count) {
        return asy_why_set(why, ASY_ERR_NOT_FOUND, "lane", "Lane %u is not in batch %llu.", lane,
                           (unsigned long long)number);
    }
    struct asy_entry e = entries[index];
    struct lane_writer l = {.g = g};
    l.tickets = asy_arena_alloc(&g->scratch, e.count * sizeof *l.tickets);
    if (l.tickets == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    ASY_TRY(asy_ledger_entry_tickets(g->ledger, lane, e.first, e.count, collect_ticket, &l));
    struct asy_jw w;
    asy_buf_clear(&g->body);
    asy_jw_init(&w, &g->body);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "lane_entry");
    write_domain(g, &w);
    ASY_TRY(write_entry_place(g, &w, number, index));
    asy_jw_kv_array(&w, "leaves");
    for (uint32_t i = 0; i < l.count; i++) {
        const struct asy_ticket *t = &l.tickets[i];
        struct asy_hash h = {{0}};
        if (t->has_receipt) {
            asy_object_hash(&h, ASY_OBJ_RECEIPT, &t->receipt);
        }
        asy_jw_object(&w);
        asy_jw_kv_u64(&w, "laneSeq", t->terms.lane_seq);
        asy_jw_kv_u128_str(&w, "amount", t->has_receipt ? t->receipt.amount : 0);
        asy_jw_kv_hash(&w, "receiptHash", &h);
        ASY_TRY(write_receipt(g, &w, t));
        asy_jw_end(&w);
    }
    asy_jw_end(&w);
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}
