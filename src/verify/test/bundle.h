/* bundle.h: a small market of real objects, signed with test keys, and the documents that a gateway
 * would serve about it. */
#ifndef ASY_VERIFY_TEST_BUNDLE_H
#define ASY_VERIFY_TEST_BUNDLE_H

#include "api/api.h"
#include "codec/codec.h"
#include "sample/sample.h"
#include "verify/verify.h"

enum { BUNDLE_MAX = ASY_MAX_ENTRY_LEAVES };

struct bundle_ticket {
    struct asy_terms terms;
    struct asy_receipt receipt;
    bool paid;
    uint32_t checkpoint; /* index; its receipts are tickets in order, without the unpaid */
    uint32_t position;
};
struct bundle_checkpoint {
    struct asy_checkpoint body;
    struct asy_sig sig;
    struct asy_hash items[ASY_MAX_CHECKPOINT];
};
struct bundle_world {
    struct asy_domain domain;
    struct asy_seckey node_key; /* a test key */
    struct asy_addr node, gateway, requester;
    uint32_t count, checkpoint_count;
    struct bundle_ticket tickets[BUNDLE_MAX];
    struct bundle_checkpoint checkpoints[BUNDLE_MAX / 2 + 1];
    struct asy_sum_node sums[2 * BUNDLE_MAX + 12];
    struct asy_entry entries[64]; /* of the batch; ours is `mine` */
    struct asy_hash batch[2 * 64 + 14];
    uint32_t entry_count, mine;
    bool settled, is_signed, recorded; /* what the documents show */
};

static inline struct asy_hash bundle_hash(const char *what, uint32_t number) {
    uint8_t in[68] = {0};
    struct asy_hash h;
    asy_be32_put(in, number);
    memcpy(in + 4, what, strlen(what));
    asy_keccak256(&h, asy_bytes_of(in, sizeof in));
    return h;
}
static inline struct asy_addr bundle_addr(const char *what) {
    struct asy_hash h = bundle_hash(what, 0);
    struct asy_addr a;
    memcpy(a.b, h.b, sizeof a.b);
    return a;
}

/* The bias of some jobs, encoded. */
static inline struct asy_bytes bundle_bias(uint32_t i) {
    static uint8_t encoded[2 * ASY_SAMPLE_BIAS_LEN];
    const struct asy_sample_bias pairs[2] = {{7, -100000}, {1000, 2500}};
    asy_sample_bias_encode(encoded, pairs, 2);
    return asy_bytes_of(encoded, i / 2 % 3 == 1 ? sizeof encoded : 0);
}

/* What the tickets of a job were sampled by; who could judge it differs from job to job. */
static inline struct asy_sample_settings bundle_settings(uint32_t i) {
    struct asy_sample_settings s = ASY_SAMPLE_SETTINGS_DEFAULT;
    switch (i / 2 % 3) {
    case 0:
        s.top_k = 40;
        s.min_p_ppm = 50000;
        break;
    case 1:
        s.top_p_ppm = 900000;
        s.frequency_penalty_milli = 500;
        asy_job_bias_digest(&s.logit_bias, bundle_bias(i));
        break;
    default:
        s.temperature_milli = 0;
    }
    return s;
}
static inline uint32_t bundle_stops(struct asy_bytes ret_stops[2], uint32_t i) {
    ret_stops[0] = ASY_STR("stop");
    ret_stops[1] = ASY_STR("\n\n");
    return i / 2 % 3;
}

/* The canonical request of a ticket's job, appended. */
static inline void bundle_request(struct asy_buf *buf, uint32_t i) {
    char text[32];
    (void)snprintf(text, sizeof text, "\"job\" %u\n", i / 2);
    const struct asy_chat_message m = {ASY_CHAT_USER, asy_bytes_cstr(text)};
    enum asy_err err = asy_api_messages_format(buf, &m, 1);
    ASY_ASSERT(err == ASY_OK);
}

/* A ticket's output ids: their number, less than 20. */
static inline uint32_t bundle_ids(uint32_t ret_ids[20], uint32_t i) {
    uint32_t count = 5 + i % 7;
    for (uint32_t k = 0; k < count; k++) {
        ret_ids[k] = 1000 * k + i;
    }
    return count;
}

/* The second segment of a job goes on with the output of the first, if that was paid. */
static inline uint32_t bundle_prior(uint32_t ret[20], const struct bundle_world *w, uint32_t i) {
    return i % 2 == 1 && w->tickets[i - 1].paid ? bundle_ids(ret, i - 1) : 0;
}

static inline void bundle_ticket(struct bundle_world *w, uint32_t i, uint64_t first_seq) {
    struct bundle_ticket *t = &w->tickets[i];
    struct asy_terms *terms = &t->terms;
    struct asy_sample_settings settings = bundle_settings(i);
    struct asy_hash sampling, request, seed = bundle_hash("seed", i / 2);
    struct asy_hash prompt = bundle_hash("prompt", i);
    uint8_t encoded[ASY_SAMPLE_SETTINGS_LEN];
    struct asy_bytes stops[2];
    struct asy_buf text;
    uint32_t ids[20], prior[20];
    asy_buf_init(&text, 1024);
    bundle_request(&text, i);
    asy_api_request_digest(&request, asy_buf_bytes(&text));
    asy_buf_done(&text);
    asy_sample_settings_encode(encoded, &settings);
    asy_job_sampling_hash(&sampling, asy_bytes_of(encoded, sizeof encoded), &seed, stops,
                          bundle_stops(stops, i));
    *terms = (struct asy_terms){
        .job_id = bundle_hash("job", i / 2), /* two segments each */
        .segment = i % 2,
        .requester = w->requester,
        .gateway = w->gateway,
        .node = w->node,
        .cap = bundle_hash("cap", 0),
        .lane_seq = first_seq + i,
        .link_seq = 700 + i,
        .model = bundle_hash("model", 0),
        .request = request,
        .sampling = sampling,
        .max_in = 5000,
        .max_out = 300,
        .price_in = 150000 + i,
        .price_cached = 75000,
        .price_out = 600000,
        .tier = ASY_TIER_AUDITED,
        .issued_at = 1800000000 + i,
        .deadline = 1800000300 + i,
    };
    t->paid = i % 5 != 4;
    if (!t->paid) {
        return;
    }
    asy_object_hash(&t->receipt.terms, ASY_OBJ_TERMS, terms);
    t->receipt.in_tokens = 40 + i;
    t->receipt.cached_tokens = i % 3 * 10;
    t->receipt.out_tokens = bundle_ids(ids, i);
    const struct asy_output output = {.prompt = prompt,
                                      .prompt_count = (uint32_t)t->receipt.in_tokens,
                                      .prior = prior,
                                      .prior_count = bundle_prior(prior, w, i),
                                      .ids = ids,
                                      .count = (uint32_t)t->receipt.out_tokens};
    asy_output_digest(&t->receipt.output, &output);
    t->receipt.finish = ASY_FINISH_STOP;
    t->receipt.first_ms = 1800000000100 + i;
    t->receipt.last_ms = 1800000002300 + i;
    enum asy_err err = asy_job_cost(&t->receipt.amount, terms, t->receipt.in_tokens,
                                    t->receipt.cached_tokens, t->receipt.out_tokens);
    ASY_ASSERT(err == ASY_OK);
}

static inline void bundle_sign(struct bundle_world *w, struct asy_checkpointer *cp) {
    struct bundle_checkpoint *c = &w->checkpoints[w->checkpoint_count++];
    struct asy_hash digest;
    memcpy(c->items, cp->items, sizeof c->items);
    asy_checkpointer_close(cp, &c->body);
    asy_object_digest(&digest, &w->domain, ASY_OBJ_CHECKPOINT, &c->body);
    enum asy_err err = asy_secp_sign(&c->sig, &w->node_key, &digest);
    ASY_ASSERT(err == ASY_OK);
}

/* A lane's entry of `count` tickets, every fifth unpaid, in a batch of `entries`; `per_checkpoint`
 * receipts are signed at once. Free with asy_free. */
static inline struct bundle_world *bundle_new(uint32_t count, uint32_t entries,
                                              uint32_t per_checkpoint) {
    struct bundle_world *w = asy_alloc(sizeof *w);
    struct asy_addr vault = bundle_addr("vault");
    enum asy_err err;
    asy_domain_init(&w->domain, 31337, &vault);
    w->node_key = (struct asy_seckey){{[30] = 0xa5, [31] = 0x5a}};
    err = asy_secp_addr(&w->node, &w->node_key);
    ASY_ASSERT(err == ASY_OK && count <= BUNDLE_MAX && entries <= ASY_COUNT(w->entries));
    w->gateway = bundle_addr("gateway");
    w->requester = bundle_addr("requester");
    w->count = count;
    w->settled = w->is_signed = true;
    struct asy_checkpointer *cp = asy_alloc(sizeof *cp);
    asy_checkpointer_init(cp, ASY_CHECKPOINT_RECEIPTS, &w->node, &w->gateway, 12, 640);
    const uint64_t first_seq = 31;
    for (uint32_t i = 0; i < count; i++) {
        struct bundle_ticket *t = &w->tickets[i];
        struct asy_hash h = {{0}};
        bundle_ticket(w, i, first_seq);
        if (t->paid) {
            asy_object_hash(&h, ASY_OBJ_RECEIPT, &t->receipt);
            t->checkpoint = w->checkpoint_count;
            t->position = cp->count;
            (void)asy_checkpointer_add(cp, &h); /* the index is position + first */
        }
        if (cp->count == per_checkpoint || (i + 1 == count && cp->count != 0)) {
            bundle_sign(w, cp);
        }
        err = asy_sum_leaf(&w->sums[i], t->terms.lane_seq, t->receipt.amount, &h);
        ASY_ASSERT(err == ASY_OK);
    }
    asy_free(cp);
    err = asy_sum_tree_build(w->sums, count);
    ASY_ASSERT(err == ASY_OK);
    struct asy_sum_node root = asy_sum_tree_root(w->sums, count);
    w->entry_count = entries;
    w->mine = entries / 2;
    for (uint32_t i = 0; i < entries; i++) {
        w->entries[i] = (struct asy_entry){.lane = i + 1,
                                           .count = 3,
                                           .first = 10 * i,
                                           .before = 1000,
                                           .spent = 2000 + i,
                                           .tree = bundle_hash("tree", i)};
        if (i == w->mine) {
            w->entries[i].count = count;
            w->entries[i].first = first_seq;
            w->entries[i].before = 123456789;
            w->entries[i].spent = 123456789 + root.sum;
            w->entries[i].tree = root.hash;
        }
        asy_entry_hash(&w->batch[i], &w->entries[i]);
    }
    err = asy_batch_tree_build(w->batch, entries);
    ASY_ASSERT(err == ASY_OK);
    return w;
}

static inline void bundle_put_path(struct asy_jw *w, const struct asy_hash *path, uint32_t count) {
    asy_jw_kv_array(w, "path");
    for (uint32_t i = 0; i < count; i++) {
        asy_jw_hash(w, &path[i]);
    }
    asy_jw_end(w);
}

static inline void bundle_put_proof(struct asy_jw *w, const struct bundle_world *b, uint32_t i) {
    const struct bundle_ticket *t = &b->tickets[i];
    asy_jw_key(w, "terms");
    asy_object_write_json(w, ASY_OBJ_TERMS, &t->terms);
    if (!t->paid) {
        return;
    }
    asy_jw_key(w, "receipt");
    asy_object_write_json(w, ASY_OBJ_RECEIPT, &t->receipt);
    struct asy_hash prompt = bundle_hash("prompt", i);
    asy_jw_kv_hash(w, "promptDigest", &prompt);
    if (!b->is_signed) {
        asy_jw_kv_null(w, "checkpoint");
        return;
    }
    const struct bundle_checkpoint *c = &b->checkpoints[t->checkpoint];
    struct asy_hash nodes[2 * ASY_MAX_CHECKPOINT + 8], path[ASY_CHECKPOINT_PATH_MAX];
    uint32_t path_count;
    memcpy(nodes, c->items, sizeof c->items);
    enum asy_err err = asy_checkpoint_tree_build(nodes, c->body.count);
    ASY_ASSERT(err == ASY_OK);
    err = asy_checkpoint_tree_path(path, &path_count, nodes, c->body.count, t->position);
    ASY_ASSERT(err == ASY_OK);
    asy_jw_kv_object(w, "checkpoint");
    asy_jw_key(w, "body");
    asy_object_write_json(w, ASY_OBJ_CHECKPOINT, &c->body);
    asy_jw_key(w, "signature");
    asy_jw_hex(w, asy_bytes_of(c->sig.b, sizeof c->sig.b));
    asy_jw_kv_u64(w, "position", t->position);
    bundle_put_path(w, path, path_count);
    asy_jw_end(w);
}

static inline void bundle_put_place(struct asy_jw *w, const struct bundle_world *b) {
    const struct asy_entry *e = &b->entries[b->mine];
    struct asy_hash path[ASY_BATCH_PATH_MAX], root, tx = bundle_hash("tx", 0);
    uint32_t path_count;
    root = asy_batch_tree_root(b->batch, b->entry_count);
    enum asy_err err = asy_batch_tree_path(path, &path_count, b->batch, b->entry_count, b->mine);
    ASY_ASSERT(err == ASY_OK);
    asy_jw_kv_u64(w, "number", 17);
    asy_jw_kv_bool(w, "confirmed", true);
    asy_jw_kv_bool(w, "final", false);
    asy_jw_kv_hash(w, "root", &root);
    asy_jw_kv_hash(w, "tx", &tx);
    asy_jw_kv_u64(w, "block", 4711);
    asy_jw_kv_object(w, "entry");
    asy_jw_kv_u64(w, "lane", e->lane);
    asy_jw_kv_u64(w, "count", e->count);
    asy_jw_kv_u64(w, "first", e->first);
    asy_jw_kv_u128_str(w, "before", e->before);
    asy_jw_kv_u128_str(w, "spent", e->spent);
    asy_jw_kv_hash(w, "tree", &e->tree);
    asy_jw_end(w);
    bundle_put_path(w, path, path_count);
}

static inline void bundle_put_domain(struct asy_jw *w, const struct bundle_world *b) {
    asy_jw_kv_object(w, "domain");
    asy_jw_kv_u64(w, "chainId", b->domain.chain_id);
    asy_jw_kv_addr(w, "verifyingContract", &b->domain.vault);
    asy_jw_end(w);
}

static inline void bundle_put_uses(struct asy_jw *w, const char *key, uint32_t uses) {
    asy_jw_kv_array(w, key);
    for (uint32_t k = 1; k <= uses; k <<= 1) {
        if ((uses & k) != 0) {
            asy_jw_cstr(w, asy_sample_use_name((enum asy_sample_use)k));
        }
    }
    asy_jw_end(w);
}

static inline void bundle_put_sampling(struct asy_jw *w, uint32_t i) {
    struct asy_sample_settings settings = bundle_settings(i);
    struct asy_hash seed = bundle_hash("seed", i / 2);
    uint32_t uses = asy_sample_uses(&settings);
    uint8_t encoded[ASY_SAMPLE_SETTINGS_LEN];
    struct asy_bytes stops[2];
    asy_sample_settings_encode(encoded, &settings);
    asy_jw_kv_object(w, "sampling");
    asy_jw_key(w, "settings");
    asy_jw_hex(w, asy_bytes_of(encoded, sizeof encoded));
    asy_jw_kv_hash(w, "seed", &seed);
    asy_jw_kv_array(w, "stops");
    for (uint32_t k = 0; k < bundle_stops(stops, i); k++) {
        asy_jw_str(w, stops[k]);
    }
    asy_jw_end(w);
    asy_jw_kv_cstr(w, "judge", i / 2 % 3 == 1 ? "replay" : "contract");
    bundle_put_uses(w, "contract", uses & ASY_SAMPLE_USES_BY_CONTRACT);
    bundle_put_uses(w, "replay", uses & ASY_SAMPLE_USES_BY_REPLAY);
    asy_jw_end(w);
}

static inline void bundle_put_ids(struct asy_jw *w, const char *key, const uint32_t *ids,
                                  uint32_t count) {
    asy_jw_kv_array(w, key);
    for (uint32_t k = 0; k < count; k++) {
        asy_jw_u64(w, ids[k]);
    }
    asy_jw_end(w);
}

static inline void bundle_put_record(struct asy_jw *w, const struct bundle_world *b, uint32_t i) {
    uint32_t ids[20];
    struct asy_buf text;
    asy_buf_init(&text, 1024);
    bundle_request(&text, i);
    asy_jw_kv_object(w, "record");
    asy_jw_kv_str(w, "request", asy_buf_bytes(&text));
    asy_jw_key(w, "bias");
    asy_jw_hex(w, bundle_bias(i));
    bundle_put_ids(w, "prior", ids, bundle_prior(ids, b, i));
    bundle_put_ids(w, "output", ids, bundle_ids(ids, i));
    asy_jw_end(w);
    asy_buf_done(&text);
}

static inline void bundle_put_segment(struct asy_jw *w, const struct bundle_world *b, uint32_t i) {
    const struct bundle_ticket *t = &b->tickets[i];
    asy_jw_object(w);
    asy_jw_kv_cstr(w, "status", t->paid ? "done" : "failed");
    bundle_put_proof(w, b, i);
    if (t->paid) {
        bundle_put_sampling(w, i);
    } else {
        asy_jw_kv_null(w, "sampling");
    }
    if (b->recorded && t->paid) {
        bundle_put_record(w, b, i);
    } else if (b->recorded) {
        asy_jw_kv_null(w, "record");
    }
    if (b->settled) {
        struct asy_sum_node path[ASY_SUM_PATH_MAX];
        uint32_t path_count;
        enum asy_err err = asy_sum_tree_path(path, &path_count, b->sums, b->count, i);
        ASY_ASSERT(err == ASY_OK);
        asy_jw_kv_object(w, "settlement");
        bundle_put_place(w, b);
        asy_jw_kv_u64(w, "leaf", i);
        asy_jw_kv_array(w, "leafPath");
        for (uint32_t k = 0; k < path_count; k++) {
            asy_jw_object(w);
            asy_jw_kv_hash(w, "hash", &path[k].hash);
            asy_jw_kv_u128_str(w, "sum", path[k].sum);
            asy_jw_end(w);
        }
        asy_jw_end(w);
        asy_jw_end(w);
    } else {
        asy_jw_kv_null(w, "settlement");
    }
    asy_jw_end(w);
}

/* The receipt bundle of tickets [from, from + segments), appended to buf. */
static inline void bundle_write(struct asy_buf *buf, const struct bundle_world *b, uint32_t from,
                                uint32_t segments) {
    struct asy_jw w;
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "receipt");
    asy_jw_kv_hash(&w, "id", &b->tickets[from].terms.job_id);
    bundle_put_domain(&w, b);
    asy_jw_kv_array(&w, "segments");
    for (uint32_t i = from; i < from + segments; i++) {
        bundle_put_segment(&w, b, i);
    }
    asy_jw_end(&w);
    asy_jw_end(&w);
    enum asy_err err = asy_jw_finish(&w);
    ASY_ASSERT(err == ASY_OK);
}

/* The lane document, appended to buf. */
static inline void bundle_write_lane(struct asy_buf *buf, const struct bundle_world *b) {
    struct asy_jw w;
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "object", "lane_entry");
    bundle_put_domain(&w, b);
    bundle_put_place(&w, b);
    asy_jw_kv_array(&w, "leaves");
    for (uint32_t i = 0; i < b->count; i++) {
        const struct bundle_ticket *t = &b->tickets[i];
        struct asy_hash h = {{0}};
        if (t->paid) {
            asy_object_hash(&h, ASY_OBJ_RECEIPT, &t->receipt);
        }
        asy_jw_object(&w);
        asy_jw_kv_u64(&w, "laneSeq", t->terms.lane_seq);
        asy_jw_kv_u128_str(&w, "amount", t->receipt.amount);
        asy_jw_kv_hash(&w, "receiptHash", &h);
        bundle_put_proof(&w, b, i);
        asy_jw_end(&w);
    }
    asy_jw_end(&w);
    asy_jw_end(&w);
    enum asy_err err = asy_jw_finish(&w);
    ASY_ASSERT(err == ASY_OK);
}

#endif
