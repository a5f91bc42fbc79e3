#include "job/job.h"

#include <stdio.h>

#include "merkle/merkle.h"

/* ---- the field tables ------------------------------------------------------------------------ */

enum kind { K_U8, K_U32, K_U64, K_U128, K_HASH, K_ADDR };

static const struct {
    const char *solidity;
    size_t len;
} kinds[] = {
    [K_U8] = {"uint8", 1},      [K_U32] = {"uint32", 4},    [K_U64] = {"uint64", 8},
    [K_U128] = {"uint128", 16}, [K_HASH] = {"bytes32", 32}, [K_ADDR] = {"address", 20},
};

struct field {
    const char *name; /* in the EIP-712 type and in JSON */
    enum kind kind;
    size_t offset;
};

#define F(type, kind, member, name)                                                                \
    { name, kind, offsetof(struct asy_##type, member) }
static const struct field cap_fields[] = {
    F(cap, K_ADDR, requester, "requester"),
    F(cap, K_ADDR, gateway, "gateway"),
    F(cap, K_U128, max_spend, "maxSpend"),
    F(cap, K_U128, max_locked, "maxLocked"),
    F(cap, K_U128, max_price_in, "maxPriceIn"),
    F(cap, K_U128, max_price_out, "maxPriceOut"),
    F(cap, K_HASH, models, "models"),
    F(cap, K_ADDR, voucher_signer, "voucherSigner"),
    F(cap, K_U64, nonce, "nonce"),
    F(cap, K_U64, deadline, "deadline"),
};
static const struct field terms_fields[] = {
    F(terms, K_HASH, job_id, "jobId"),
    F(terms, K_U32, segment, "segment"),
    F(terms, K_ADDR, requester, "requester"),
    F(terms, K_ADDR, gateway, "gateway"),
    F(terms, K_ADDR, node, "node"),
    F(terms, K_HASH, cap, "cap"),
    F(terms, K_U64, lane_seq, "laneSeq"),
    F(terms, K_U64, link_seq, "linkSeq"),
    F(terms, K_HASH, model, "model"),
    F(terms, K_HASH, request, "request"),
    F(terms, K_HASH, sampling, "sampling"),
    F(terms, K_U64, max_in, "maxIn"),
    F(terms, K_U64, max_out, "maxOut"),
    F(terms, K_U128, price_in, "priceIn"),
    F(terms, K_U128, price_cached, "priceCached"),
    F(terms, K_U128, price_out, "priceOut"),
    F(terms, K_U8, tier, "tier"),
    F(terms, K_U64, issued_at, "issuedAt"),
    F(terms, K_U64, deadline, "deadline"),
};
static const struct field receipt_fields[] = {
    F(receipt, K_HASH, terms, "terms"),
    F(receipt, K_U64, in_tokens, "inTokens"),
    F(receipt, K_U64, cached_tokens, "cachedTokens"),
    F(receipt, K_U64, out_tokens, "outTokens"),
    F(receipt, K_HASH, output, "output"),
    F(receipt, K_U8, finish, "finish"),
    F(receipt, K_U64, first_ms, "firstMs"),
    F(receipt, K_U64, last_ms, "lastMs"),
    F(receipt, K_U128, amount, "amount"),
};
static const struct field checkpoint_fields[] = {
    F(checkpoint, K_U8, kind, "kind"),    F(checkpoint, K_ADDR, signer, "signer"),
    F(checkpoint, K_ADDR, peer, "peer"),  F(checkpoint, K_U64, number, "number"),
    F(checkpoint, K_U64, first, "first"), F(checkpoint, K_U32, count, "count"),
    F(checkpoint, K_HASH, root, "root"),
};
static const struct field ack_fields[] = {
    F(ack, K_ADDR, gateway, "gateway"), F(ack, K_ADDR, node, "node"),
    F(ack, K_U64, up_to, "upTo"),       F(ack, K_U128, cum, "cum"),
    F(ack, K_U64, pay_by, "payBy"),
};
static const struct field voucher_fields[] = {
    F(voucher, K_ADDR, requester, "requester"),
    F(voucher, K_ADDR, gateway, "gateway"),
    F(voucher, K_U32, lane, "lane"),
    F(voucher, K_U128, cum, "cum"),
};
#undef F

static const struct {
    const char *name;
    const struct field *fields;
    size_t count, len;
} objects[] = {
#define O(type, name, fields, len) [ASY_OBJ_##type] = {name, fields, ASY_COUNT(fields), len}
    O(CAP, "SpendingCap", cap_fields, ASY_CAP_LEN),
    O(TERMS, "Terms", terms_fields, ASY_TERMS_LEN),
    O(RECEIPT, "Receipt", receipt_fields, ASY_RECEIPT_LEN),
    O(CHECKPOINT, "Checkpoint", checkpoint_fields, ASY_CHECKPOINT_LEN),
    O(ACK, "Ack", ack_fields, ASY_ACK_LEN),
    O(VOUCHER, "Voucher", voucher_fields, ASY_VOUCHER_LEN),
#undef O
};

static const void *at(const void *object, const struct field *f) {
    return (const uint8_t *)object + f->offset;
}

/* The field's bytes, big-endian, kinds[f->kind].len of them. */
static void field_put(uint8_t *to, const void *object, const struct field *f) {
    const void *p = at(object, f);
    switch (f->kind) {
    case K_U8:
        to[0] = *(const uint8_t *)p;
        return;
    case K_U32:
        asy_be32_put(to, *(const uint32_t *)p);
        return;
    case K_U64:
        asy_be64_put(to, *(const uint64_t *)p);
        return;
    case K_U128:
        asy_be128_put(to, *(const asy_u128 *)p);
        return;
    case K_HASH:
    case K_ADDR:
        memcpy(to, p, kinds[f->kind].len);
        return;
    }
}

static void field_get(void *object, const uint8_t *from, const struct field *f) {
    void *p = (uint8_t *)object + f->offset;
    switch (f->kind) {
    case K_U8:
        *(uint8_t *)p = from[0];
        return;
    case K_U32:
        *(uint32_t *)p = asy_be32_get(from);
        return;
    case K_U64:
        *(uint64_t *)p = asy_be64_get(from);
        return;
    case K_U128:
        *(asy_u128 *)p = asy_be128_get(from);
        return;
    case K_HASH:
    case K_ADDR:
        memcpy(p, from, kinds[f->kind].len);
        return;
    }
}

/* ---- EIP-712 --------------------------------------------------------------------------------- */

enum { TYPE_STRING_MAX = 512 };
static struct {
    char text[TYPE_STRING_MAX];
    struct asy_hash hash;
} types[ASY_COUNT(objects)];

/* Runs before main: the tables are constant, so this is data that the compiler could not compute.
 */
__attribute__((constructor)) static void make_types(void) {
    for (size_t t = 0; t < ASY_COUNT(objects); t++) {
        char *s = types[t].text;
        size_t n = (size_t)snprintf(s, TYPE_STRING_MAX, "%s(", objects[t].name);
        for (size_t i = 0; i < objects[t].count; i++) {
            const struct field *f = &objects[t].fields[i];
            n += (size_t)snprintf(s + n, TYPE_STRING_MAX - n, "%s%s %s", i == 0 ? "" : ",",
                                  kinds[f->kind].solidity, f->name);
        }
        n += (size_t)snprintf(s + n, TYPE_STRING_MAX - n, ")");
        ASY_ASSERT(n < TYPE_STRING_MAX);
        asy_keccak256(&types[t].hash, asy_bytes_of(s, n));
    }
}

const char *asy_object_type_string(enum asy_object type) { return types[type].text; }

size_t asy_object_len(enum asy_object type) { return objects[type].len; }

void asy_object_hash(struct asy_hash *ret_hash, enum asy_object type, const void *object) {
    enum { MAX_FIELDS = ASY_COUNT(terms_fields) };
    uint8_t words[(1 + MAX_FIELDS) * 32] = {0};
    ASY_ASSERT(objects[type].count <= MAX_FIELDS);
    memcpy(words, types[type].hash.b, 32);
    for (size_t i = 0; i < objects[type].count; i++) {
        const struct field *f = &objects[type].fields[i];
        field_put(words + (i + 1) * 32 + (32 - kinds[f->kind].len), object, f);
    }
    asy_keccak256(ret_hash, asy_bytes_of(words, (1 + objects[type].count) * 32));
}

void asy_domain_init(struct asy_domain *domain, uint64_t chain_id, const struct asy_addr *vault) {
    domain->chain_id = chain_id;
    domain->vault = *vault;
    asy_eip712_domain(&domain->separator, ASY_STR("Assay"), ASY_STR("1"), chain_id, vault);
}

void asy_object_digest(struct asy_hash *ret_digest, const struct asy_domain *domain,
                       enum asy_object type, const void *object) {
    struct asy_hash h;
    asy_object_hash(&h, type, object);
    asy_eip712_digest(ret_digest, &domain->separator, &h);
}

enum asy_err asy_object_verify(const struct asy_domain *domain, enum asy_object type,
                               const void *object, const struct asy_sig *sig,
                               const struct asy_addr *signer) {
    struct asy_hash digest;
    asy_object_digest(&digest, domain, type, object);
    struct asy_addr by;
    if (asy_secp_recover(&by, &digest, sig) != ASY_OK || !asy_addr_eq(&by, signer)) {
        return ASY_ERR_SIGNATURE;
    }
    return ASY_OK;
}

/* ---- binary ---------------------------------------------------------------------------------- */

enum { OBJECT_VERSION = 1 };

void asy_object_encode(uint8_t *ret_bytes, enum asy_object type, const void *object) {
    size_t n = 0;
    ret_bytes[n++] = OBJECT_VERSION;
    for (size_t i = 0; i < objects[type].count; i++) {
        const struct field *f = &objects[type].fields[i];
        field_put(ret_bytes + n, object, f);
        n += kinds[f->kind].len;
    }
    ASY_ASSERT(n == objects[type].len);
}

enum asy_err asy_object_decode(void *ret_object, enum asy_object type, struct asy_bytes in) {
    if (in.n == 0 || in.n != objects[type].len) {
        return ASY_ERR_SYNTAX;
    }
    if (in.p[0] != OBJECT_VERSION) {
        return ASY_ERR_VERSION;
    }
    size_t n = 1;
    for (size_t i = 0; i < objects[type].count; i++) {
        const struct field *f = &objects[type].fields[i];
        field_get(ret_object, in.p + n, f);
        n += kinds[f->kind].len;
    }
    return ASY_OK;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

void asy_object_write_json(struct asy_jw *w, enum asy_object type, const void *object) {
    asy_jw_object(w);
    for (size_t i = 0; i < objects[type].count; i++) {
        const struct field *f = &objects[type].fields[i];
        const void *p = at(object, f);
        asy_jw_key(w, f->name);
        switch (f->kind) {
        case K_U8:
            asy_jw_u64(w, *(const uint8_t *)p);
            break;
        case K_U32:
            asy_jw_u64(w, *(const uint32_t *)p);
            break;
        case K_U64:
            asy_jw_u64(w, *(const uint64_t *)p);
            break;
        case K_U128:
            asy_jw_u128_str(w, *(const asy_u128 *)p);
            break;
        case K_HASH:
            asy_jw_hash(w, p);
            break;
        case K_ADDR:
            asy_jw_addr(w, p);
            break;
        }
    }
    asy_jw_end(w);
}

static enum asy_err read_field(void *object, const struct field *f, const struct asy_json *json,
                               const char *at_text, struct asy_why *why) {
    void *p = (uint8_t *)object + f->offset;
    uint64_t number = 0;
    struct asy_bytes text;
    switch (f->kind) {
    case K_U8:
        ASY_TRY(asy_json_get_u64(&number, NULL, json, at_text, f->name, 0, UINT8_MAX, why));
        *(uint8_t *)p = (uint8_t)number;
        return ASY_OK;
    case K_U32:
        ASY_TRY(asy_json_get_u64(&number, NULL, json, at_text, f->name, 0, UINT32_MAX, why));
        *(uint32_t *)p = (uint32_t)number;
        return ASY_OK;
    case K_U64:
        return asy_json_get_u64(p, NULL, json, at_text, f->name, 0, INT64_MAX, why);
    case K_U128: {
        ASY_TRY(asy_json_get_str(&text, NULL, json, at_text, f->name, ASY_U128_TEXT, why));
        enum asy_err err = asy_u128_parse(p, text);
        char path[sizeof why->param];
        asy_json_path(path, sizeof path, at_text, f->name);
        return err == ASY_OK ? ASY_OK
                             : asy_why_set(why, err, path, "not a decimal number of pico-units");
    }
    case K_HASH:
        return asy_json_get_hash(p, NULL, json, at_text, f->name, why);
    case K_ADDR:
        return asy_json_get_addr(p, NULL, json, at_text, f->name, why);
    }
    return ASY_ERR_INTERNAL;
}

enum asy_err asy_signed_cap_write_json(struct asy_buf *buf, const struct asy_cap *cap,
                                       const struct asy_sig *sig) {
    struct asy_jw w;
    asy_jw_init(&w, buf);
    asy_jw_object(&w);
    asy_jw_key(&w, "cap");
    asy_object_write_json(&w, ASY_OBJ_CAP, cap);
    asy_jw_key(&w, "signature");
    asy_jw_hex(&w, asy_bytes_of(sig->b, sizeof sig->b));
    asy_jw_end(&w);
    return asy_jw_finish(&w);
}

enum asy_err asy_object_read_json(void *ret_object, enum asy_object type,
                                  const struct asy_json *json, const char *at_text,
                                  struct asy_why *reterr_why) {
    union asy_any_object read; /* aside, so that a failure touches nothing */
    static const size_t sizes[] = {
        [ASY_OBJ_CAP] = sizeof read.cap,         [ASY_OBJ_TERMS] = sizeof read.terms,
        [ASY_OBJ_RECEIPT] = sizeof read.receipt, [ASY_OBJ_CHECKPOINT] = sizeof read.checkpoint,
        [ASY_OBJ_ACK] = sizeof read.ack,         [ASY_OBJ_VOUCHER] = sizeof read.voucher,
    };
    if (json == NULL || asy_json_type(json) != ASY_JSON_OBJECT) {
        return asy_why_set(reterr_why, ASY_ERR_TYPE, at_text, "%s must be an object",
                           objects[type].name);
    }
    const char *known[ASY_COUNT(terms_fields)];
    for (size_t i = 0; i < objects[type].count; i++) {
        known[i] = objects[type].fields[i].name;
    }
    ASY_TRY(asy_json_refuse_unknown(json, at_text, known, objects[type].count, reterr_why));
    memset(&read, 0, sizeof read);
    for (size_t i = 0; i < objects[type].count; i++) {
        ASY_TRY(read_field(&read, &objects[type].fields[i], json, at_text, reterr_why));
    }
    memcpy(ret_object, &read, sizes[type]);
    return ASY_OK;
}

/* ---- digests --------------------------------------------------------------------------------- */

void asy_job_id(struct asy_hash *ret_id, const struct asy_addr *gateway, const uint8_t random[16],
                const struct asy_hash *request) {
    struct asy_keccak k;
    asy_keccak_init(&k);
    asy_keccak_add(&k, ASY_STR("assay/job/1"));
    asy_keccak_add(&k, asy_bytes_of(gateway->b, 20));
    asy_keccak_add(&k, asy_bytes_of(random, 16));
    asy_keccak_add(&k, asy_bytes_of(request->b, 32));
    asy_keccak_final(&k, ret_id);
}

void asy_job_seed(struct asy_hash *ret_seed, const struct asy_hash *job_id,
                  const int64_t *client_seed, const struct asy_hash *model,
                  const struct asy_hash *request) {
    struct asy_sha256 s;
    asy_sha256_init(&s);
    asy_sha256_add(&s, ASY_STR("assay/seed/1"));
    if (client_seed == NULL) {
        asy_sha256_add(&s, asy_bytes_of(job_id->b, 32));
    } else {
        asy_sha256_add(&s, asy_bytes_of(model->b, 32));
        asy_sha256_add(&s, asy_bytes_of(request->b, 32));
    }
    uint8_t number[8];
    asy_be64_put(number, client_seed != NULL ? (uint64_t)*client_seed : 0);
    asy_sha256_add(&s, asy_bytes_of(number, 8));
    asy_sha256_final(&s, ret_seed);
}

static void add_counted(struct asy_keccak *k, struct asy_bytes in) {
    uint8_t len[4];
    asy_be32_put(len, (uint32_t)in.n);
    asy_keccak_add(k, asy_bytes_of(len, 4));
    asy_keccak_add(k, in);
}

void asy_job_sampling_hash(struct asy_hash *ret_hash, struct asy_bytes settings,
                           const struct asy_hash *seed, const struct asy_bytes *stops,
                           uint32_t stop_count) {
    struct asy_keccak k;
    asy_keccak_init(&k);
    asy_keccak_add(&k, ASY_STR("assay/settings/1"));
    add_counted(&k, settings);
    asy_keccak_add(&k, asy_bytes_of(seed->b, 32));
    uint8_t count[4];
    asy_be32_put(count, stop_count);
    asy_keccak_add(&k, asy_bytes_of(count, 4));
    for (uint32_t i = 0; i < stop_count; i++) {
        add_counted(&k, stops[i]);
    }
    asy_keccak_final(&k, ret_hash);
}

void asy_job_bias_digest(struct asy_hash *ret_digest, struct asy_bytes bias) {
    struct asy_keccak k;
    if (bias.n == 0) {
        *ret_digest = (struct asy_hash){{0}};
        return;
    }
    asy_keccak_init(&k);
    asy_keccak_add(&k, ASY_STR("assay/bias/1"));
    asy_keccak_add(&k, bias);
    asy_keccak_final(&k, ret_digest);
}

enum asy_err asy_job_bias_check(struct asy_bytes settings, struct asy_bytes bias) {
    enum { SETTINGS_LEN = 64, DIGEST_AT = 32 }; /* sampling.md section 7 */
    struct asy_hash named = {{0}}, digest;
    if (settings.n == SETTINGS_LEN) {
        memcpy(named.b, settings.p + DIGEST_AT, sizeof named.b);
    }
    asy_job_bias_digest(&digest, bias);
    return asy_hash_eq(&digest, &named) ? ASY_OK : ASY_ERR_MISMATCH;
}

enum { LEAF_IDS = 32 };

/* An ids root being made: the roots of whole subtrees that wait for their right neighbour. */
struct ids_tree {
    struct asy_hash left[32]; /* of 2^n leaves, where bit n of leaves is set */
    uint32_t leaves;
    uint8_t leaf[4 * LEAF_IDS];
    uint32_t filled; /* ids in leaf */
};

static void end_leaf(struct ids_tree *t) {
    struct asy_hash node;
    uint32_t level = 0;
    asy_keccak256(&node, asy_bytes_of(t->leaf, sizeof t->leaf));
    for (; t->leaves >> level & 1; level++) {
        asy_keccak256_two(&node, &t->left[level], &node);
    }
    t->left[level] = node;
    t->leaves++;
    t->filled = 0;
    memset(t->leaf, 0, sizeof t->leaf);
}

static void add_ids(struct ids_tree *t, const uint32_t *ids, size_t count) {
    for (size_t i = 0; i < count; i++) {
        asy_le32_put(t->leaf + 4 * (size_t)t->filled++, ids[i]);
        if (t->filled == LEAF_IDS) {
            end_leaf(t);
        }
    }
}

static void end_ids(struct ids_tree *t, struct asy_hash *ret_root) {
    uint32_t depth = 0;
    if (t->filled != 0 || t->leaves == 0) {
        end_leaf(t);
    }
    while ((t->leaves & (t->leaves - 1)) != 0) {
        end_leaf(t); /* with nothing in it */
    }
    while (t->leaves >> depth != 1) {
        depth++;
    }
    *ret_root = t->left[depth];
}

void asy_prompt_digest(struct asy_hash *ret_digest, const uint32_t *ids, size_t count) {
    struct ids_tree t = {.leaves = 0};
    add_ids(&t, ids, count);
    end_ids(&t, ret_digest);
}

void asy_output_digest(struct asy_hash *ret_digest, const struct asy_output *o) {
    static const char name[] = "assay/output/2";
    struct ids_tree t = {.leaves = 0};
    struct asy_hash answer;
    uint8_t in[sizeof name - 1 + 32 + 32 + 12], *p = in + sizeof name - 1;
    add_ids(&t, o->prior, o->prior_count);
    add_ids(&t, o->ids, o->count);
    end_ids(&t, &answer);
    memcpy(in, name, sizeof name - 1);
    memcpy(p, o->prompt.b, 32);
    memcpy(p + 32, answer.b, 32);
    asy_be32_put(p + 64, o->prompt_count);
    asy_be32_put(p + 68, o->prior_count);
    asy_be32_put(p + 72, o->count);
    asy_keccak256(ret_digest, asy_bytes_of(in, sizeof in));
}

/* ---- rules ----------------------------------------------------------------------------------- */

enum asy_err asy_job_cost(asy_u128 *ret_pico, const struct asy_terms *terms, uint64_t in_tokens,
                          uint64_t cached_tokens, uint64_t out_tokens) {
    if (cached_tokens > in_tokens) {
        return ASY_ERR_RANGE;
    }
    asy_u128 in, cached, out, sum;
    if (!asy_mul_u128(&in, in_tokens - cached_tokens, terms->price_in) ||
        !asy_mul_u128(&cached, cached_tokens, terms->price_cached) ||
        !asy_mul_u128(&out, out_tokens, terms->price_out) || !asy_add_u128(&sum, in, cached) ||
        !asy_add_u128(&sum, sum, out)) {
        return ASY_ERR_OVERFLOW;
    }
    *ret_pico = sum;
    return ASY_OK;
}

enum asy_err asy_job_worst_cost(asy_u128 *ret_pico, const struct asy_terms *terms) {
    return asy_job_cost(ret_pico, terms, terms->max_in, 0, terms->max_out);
}

enum asy_err asy_receipt_output_check(const struct asy_receipt *receipt,
                                      const struct asy_hash *prompt_digest, const uint32_t *prior,
                                      uint32_t prior_count, const uint32_t *ids) {
    const struct asy_output output = {.prompt = *prompt_digest,
                                      .prompt_count = (uint32_t)receipt->in_tokens,
                                      .prior = prior,
                                      .prior_count = prior_count,
                                      .ids = ids,
                                      .count = (uint32_t)receipt->out_tokens};
    struct asy_hash digest;
    if (receipt->in_tokens > UINT32_MAX || receipt->out_tokens > UINT32_MAX) {
        return ASY_ERR_MISMATCH;
    }
    asy_output_digest(&digest, &output);
    return asy_hash_eq(&digest, &receipt->output) ? ASY_OK : ASY_ERR_MISMATCH;
}

enum asy_err asy_receipt_check(const struct asy_receipt *receipt, const struct asy_terms *terms,
                               struct asy_why *reterr_why) {
    struct asy_hash h;
    asy_object_hash(&h, ASY_OBJ_TERMS, terms);
    if (!asy_hash_eq(&h, &receipt->terms)) {
        return asy_why_set(reterr_why, ASY_ERR_MISMATCH, "terms", "the receipt is for other terms");
    }
    if (receipt->in_tokens > terms->max_in) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "inTokens", "%llu tokens, at most %llu",
                           (unsigned long long)receipt->in_tokens,
                           (unsigned long long)terms->max_in);
    }
    if (receipt->out_tokens > terms->max_out) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "outTokens", "%llu tokens, at most %llu",
                           (unsigned long long)receipt->out_tokens,
                           (unsigned long long)terms->max_out);
    }
    if (receipt->finish < ASY_FINISH_STOP || receipt->finish > ASY_FINISH_LINK) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "finish", "unknown finish %u",
                           receipt->finish);
    }
    if (receipt->first_ms > receipt->last_ms) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "firstMs",
                           "the first token is after the last");
    }
    asy_u128 cost;
    enum asy_err err =
        asy_job_cost(&cost, terms, receipt->in_tokens, receipt->cached_tokens, receipt->out_tokens);
    if (err != ASY_OK) {
        return asy_why_set(reterr_why, err, "cachedTokens", "the counts have no price");
    }
    if (cost != receipt->amount) {
        return asy_why_set(reterr_why, ASY_ERR_MISMATCH, "amount", "not what the tokens cost");
    }
    return ASY_OK;
}

enum asy_err asy_terms_check(const struct asy_terms *terms, const struct asy_cap *cap,
                             struct asy_why *reterr_why) {
    struct asy_hash h;
    asy_object_hash(&h, ASY_OBJ_CAP, cap);
    if (!asy_hash_eq(&h, &terms->cap)) {
        return asy_why_set(reterr_why, ASY_ERR_MISMATCH, "cap", "the terms name another cap");
    }
    if (!asy_addr_eq(&terms->requester, &cap->requester)) {
        return asy_why_set(reterr_why, ASY_ERR_MISMATCH, "requester", "not the cap's requester");
    }
    if (!asy_addr_eq(&terms->gateway, &cap->gateway)) {
        return asy_why_set(reterr_why, ASY_ERR_MISMATCH, "gateway", "not the cap's gateway");
    }
    if (!asy_hash_is_zero(&cap->models)) {
        return asy_why_set(reterr_why, ASY_ERR_MISMATCH, "models",
                           "lists of models are not known yet");
    }
    if (terms->price_in > cap->max_price_in) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "priceIn", "above the cap's price");
    }
    if (terms->price_cached > terms->price_in) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "priceCached", "above the full price");
    }
    if (terms->price_out > cap->max_price_out) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "priceOut", "above the cap's price");
    }
    if (terms->issued_at > cap->deadline) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "issuedAt", "the cap has ended");
    }
    if (terms->deadline < terms->issued_at ||
        terms->deadline - terms->issued_at > ASY_MAX_TICKET_LIFE_S) {
        return asy_why_set(reterr_why, ASY_ERR_RANGE, "deadline",
                           "a ticket lives at most %u seconds", ASY_MAX_TICKET_LIFE_S);
    }
    return ASY_OK;
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

static void root_of(struct asy_hash *ret_root, const struct asy_hash *items, uint32_t count) {
    struct asy_hash nodes[2 * ASY_MAX_CHECKPOINT + 8];
    ASY_ASSERT(asy_checkpoint_tree_len(count) <= ASY_COUNT(nodes));
    memcpy(nodes, items, count * sizeof nodes[0]);
    enum asy_err err = asy_checkpoint_tree_build(nodes, count);
    ASY_ASSERT(err == ASY_OK); /* count is in range: callers checked it */
    *ret_root = asy_checkpoint_tree_root(nodes, count);
}

void asy_checkpointer_init(struct asy_checkpointer *cp, enum asy_checkpoint_kind kind,
                           const struct asy_addr *signer, const struct asy_addr *peer,
                           uint64_t next_number, uint64_t next_item) {
    *cp = (struct asy_checkpointer){.kind = (uint8_t)kind,
                                    .signer = *signer,
                                    .peer = *peer,
                                    .number = next_number,
                                    .first = next_item};
}

uint64_t asy_checkpointer_add(struct asy_checkpointer *cp, const struct asy_hash *item) {
    ASY_ASSERT(cp->count < ASY_MAX_CHECKPOINT);
    cp->items[cp->count] = *item;
    return cp->first + cp->count++;
}

void asy_checkpointer_close(struct asy_checkpointer *cp, struct asy_checkpoint *ret_checkpoint) {
    ASY_ASSERT(cp->count > 0);
    *ret_checkpoint = (struct asy_checkpoint){.kind = cp->kind,
                                              .signer = cp->signer,
                                              .peer = cp->peer,
                                              .number = cp->number,
                                              .first = cp->first,
                                              .count = cp->count};
    root_of(&ret_checkpoint->root, cp->items, cp->count);
    cp->number++;
    cp->first += cp->count;
    cp->count = 0;
}

enum asy_err asy_checkpoint_check(const struct asy_checkpoint *checkpoint,
                                  const struct asy_hash *items, size_t count) {
    if (count == 0 || count > ASY_MAX_CHECKPOINT || checkpoint->count != count) {
        return ASY_ERR_MISMATCH;
    }
    struct asy_hash root;
    root_of(&root, items, (uint32_t)count);
    return asy_hash_eq(&root, &checkpoint->root) ? ASY_OK : ASY_ERR_MISMATCH;
}
