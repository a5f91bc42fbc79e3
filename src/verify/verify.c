#include "verify/verify.h"

#include <stdio.h>

#include "money/money.h"
#include "sample/sample.h"
#include "verify/verify_priv.h"

/* ---- findings -------------------------------------------------------------------------------- */

static const struct {
    const char *label, *meaning;
} checks[] = {
#define CHECK_TEXT(name, label, text) [ASY_VERIFY_##name] = {label, text},
    ASY_VERIFY_TABLE(CHECK_TEXT)
#undef CHECK_TEXT
};

const char *asy_verify_label(enum asy_verify_check check) { return checks[check].label; }
const char *asy_verify_meaning(enum asy_verify_check check) { return checks[check].meaning; }

const struct asy_verify_finding *asy_verify_get(const struct asy_verify_findings *findings,
                                                enum asy_verify_check check) {
    for (uint32_t i = 0; i < findings->count; i++) {
        if (findings->items[i].check == check) {
            return &findings->items[i];
        }
    }
    return NULL;
}

void asy_verify_add(struct asy_verify_findings *findings, enum asy_verify_check check,
                    enum asy_verify_state state, const char *fmt, ...) {
    uint32_t i = 0;
    while (i < findings->count && findings->items[i].check < check) {
        i++;
    }
    struct asy_verify_finding *f = &findings->items[i];
    if (i == findings->count || f->check != check) {
        ASY_ASSERT(findings->count < ASY_VERIFY_COUNT); /* each check once, so there is room */
        memmove(f + 1, f, (findings->count++ - i) * sizeof *f);
    }
    f->check = check;
    f->state = state;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(f->text, sizeof f->text, fmt, args);
    va_end(args);
    ASY_ASSERT(n >= 0);
}

bool asy_verify_good(const struct asy_verify_findings *findings) {
    for (uint32_t i = 0; i < findings->count; i++) {
        if (findings->items[i].state == ASY_VERIFY_FAILED) {
            return false;
        }
    }
    return true;
}

/* A finding that many leaves share: the first failure stays, with the leaf it belongs to. */
static void fail(struct asy_verify_findings *findings, enum asy_verify_check check,
                 const char *place, const char *what) {
    const struct asy_verify_finding *f = asy_verify_get(findings, check);
    if (f == NULL || f->state != ASY_VERIFY_FAILED) {
        asy_verify_add(findings, check, ASY_VERIFY_FAILED, "%s%s%s", place,
                       place[0] != '\0' ? ": " : "", what);
    }
}

static bool failed(const struct asy_verify_findings *findings, enum asy_verify_check check) {
    const struct asy_verify_finding *f = asy_verify_get(findings, check);
    return f != NULL && f->state == ASY_VERIFY_FAILED;
}

/* ---- reading --------------------------------------------------------------------------------- */

#define AT_LEN VERIFY_AT_LEN

enum asy_err verify_object_of(const struct asy_json *json, const char *at, const char *const *known,
                              size_t known_count, struct asy_why *why) {
    if (json == NULL || asy_json_type(json) != ASY_JSON_OBJECT) {
        return asy_why_set(why, json == NULL ? ASY_ERR_MISSING : ASY_ERR_TYPE, at,
                           json == NULL ? "is missing" : "must be an object");
    }
    return asy_json_refuse_unknown(json, at, known, known_count, why);
}

/* A member that must be there, but may be null: *ret_value is NULL then. */
static enum asy_err nullable(const struct asy_json **ret_value, const struct asy_json *obj,
                             const char *at, const char *key, struct asy_why *why) {
    const struct asy_json *v = asy_json_get(obj, key);
    if (v == NULL) {
        char path[AT_LEN];
        asy_json_path(path, sizeof path, at, key);
        return asy_why_set(why, ASY_ERR_MISSING, path, "is missing; null says that there is none");
    }
    *ret_value = asy_json_is_null(v) ? NULL : v;
    return ASY_OK;
}

static enum asy_err get_u32(uint32_t *ret, const struct asy_json *obj, const char *at,
                            const char *key, struct asy_why *why) {
    uint64_t v;
    ASY_TRY(asy_json_get_u64(&v, NULL, obj, at, key, 0, UINT32_MAX, why));
    *ret = (uint32_t)v;
    return ASY_OK;
}

/* Pico-units of the chain: below 2^96. */
static enum asy_err get_amount(asy_u128 *ret, const struct asy_json *obj, const char *at,
                               const char *key, struct asy_why *why) {
    struct asy_bytes text;
    ASY_TRY(asy_json_get_str(&text, NULL, obj, at, key, ASY_U128_TEXT, why));
    enum asy_err err = asy_u128_parse(ret, text);
    if (err == ASY_OK && *ret > ASY_USD_CHAIN_MAX) {
        err = ASY_ERR_RANGE;
    }
    if (err != ASY_OK) {
        char path[AT_LEN];
        asy_json_path(path, sizeof path, at, key);
        return asy_why_set(why, err, path, "not a decimal number of pico-units below 2^96");
    }
    return ASY_OK;
}

static enum asy_err get_sig(struct asy_sig *ret, const struct asy_json *obj, const char *at,
                            struct asy_why *why) {
    struct asy_bytes text;
    ASY_TRY(asy_json_get_str(&text, NULL, obj, at, "signature", 2 + 2 * sizeof ret->b, why));
    if (asy_0x_decode(ret->b, sizeof ret->b, text) != ASY_OK) {
        char path[AT_LEN];
        asy_json_path(path, sizeof path, at, "signature");
        return asy_why_set(why, ASY_ERR_SYNTAX, path, "a signature is 0x and 130 hex digits");
    }
    return ASY_OK;
}

static enum asy_err get_path(struct asy_hash *ret_path, uint32_t *ret_count, uint32_t max,
                             const struct asy_json *obj, const char *at, struct asy_why *why) {
    const struct asy_json *list;
    ASY_TRY(asy_json_get_array(&list, NULL, obj, at, "path", 0, max, why));
    *ret_count = (uint32_t)asy_json_len(list);
    for (uint32_t i = 0; i < *ret_count; i++) {
        struct asy_bytes text;
        if (asy_json_str(&text, asy_json_at(list, i)) != ASY_OK ||
            asy_hash_parse(&ret_path[i], text) != ASY_OK) {
            char path[AT_LEN];
            (void)snprintf(path, sizeof path, "%.48s.path[%u]", at, i);
            return asy_why_set(why, ASY_ERR_SYNTAX, path, "a hash is 0x and 64 hex digits");
        }
    }
    return ASY_OK;
}

static enum asy_err read_domain(struct asy_domain *ret, const struct asy_json *doc,
                                struct asy_why *why) {
    static const char *const known[] = {"chainId", "verifyingContract"};
    const struct asy_json *json = asy_json_get(doc, "domain");
    uint64_t chain_id;
    struct asy_addr vault;
    ASY_TRY(verify_object_of(json, "domain", known, ASY_COUNT(known), why));
    ASY_TRY(asy_json_get_u64(&chain_id, NULL, json, "domain", "chainId", 1, INT64_MAX, why));
    ASY_TRY(asy_json_get_addr(&vault, NULL, json, "domain", "verifyingContract", why));
    asy_domain_init(ret, chain_id, &vault);
    return ASY_OK;
}

/* `number` to `path`, which bundles and lane documents share. */
#define PLACE_KEYS "number", "confirmed", "final", "root", "tx", "block", "entry", "path"
struct place {
    struct asy_verify_settlement s;
    struct asy_hash path[ASY_BATCH_PATH_MAX];
    uint32_t path_count;
};

static enum asy_err read_place(struct place *ret, const struct asy_json *json, const char *at,
                               struct asy_why *why) {
    static const char *const known[] = {"lane", "count", "first", "before", "spent", "tree"};
    struct asy_verify_settlement *s = &ret->s;
    struct asy_entry *e = &s->entry;
    char entry_at[AT_LEN];
    ASY_TRY(asy_json_get_u64(&s->number, NULL, json, at, "number", 0, INT64_MAX, why));
    ASY_TRY(asy_json_get_bool(&s->confirmed, NULL, json, at, "confirmed", why));
    ASY_TRY(asy_json_get_bool(&s->final, NULL, json, at, "final", why));
    ASY_TRY(asy_json_get_hash(&s->root, NULL, json, at, "root", why));
    ASY_TRY(asy_json_get_hash(&s->tx, NULL, json, at, "tx", why));
    ASY_TRY(asy_json_get_u64(&s->block, NULL, json, at, "block", 0, INT64_MAX, why));
    ASY_TRY(get_path(ret->path, &ret->path_count, ASY_BATCH_PATH_MAX, json, at, why));
    asy_json_path(entry_at, sizeof entry_at, at, "entry");
    const struct asy_json *entry = asy_json_get(json, "entry");
    ASY_TRY(verify_object_of(entry, entry_at, known, ASY_COUNT(known), why));
    ASY_TRY(get_u32(&e->lane, entry, entry_at, "lane", why));
    ASY_TRY(get_u32(&e->count, entry, entry_at, "count", why));
    ASY_TRY(asy_json_get_u64(&e->first, NULL, entry, entry_at, "first", 0, INT64_MAX, why));
    ASY_TRY(get_amount(&e->before, entry, entry_at, "before", why));
    ASY_TRY(get_amount(&e->spent, entry, entry_at, "spent", why));
    return asy_json_get_hash(&e->tree, NULL, entry, entry_at, "tree", why);
}

/* `terms` to `checkpoint`: what segments and leaves share. */
#define PROOF_KEYS "terms", "receipt", "promptDigest", "checkpoint"
struct proof {
    struct asy_terms terms;
    bool has_receipt, has_checkpoint;
    struct asy_receipt receipt;
    struct asy_hash hash; /* of the receipt; zero without one */
    struct asy_hash prompt_digest;
    struct asy_checkpoint checkpoint;
    struct asy_sig sig;
    uint32_t position;
    struct asy_hash path[ASY_CHECKPOINT_PATH_MAX];
    uint32_t path_count;
};

static enum asy_err read_checkpoint(struct proof *p, const struct asy_json *json, const char *at,
                                    struct asy_why *why) {
    static const char *const known[] = {"body", "signature", "position", "path"};
    char body_at[AT_LEN];
    ASY_TRY(verify_object_of(json, at, known, ASY_COUNT(known), why));
    asy_json_path(body_at, sizeof body_at, at, "body");
    ASY_TRY(asy_object_read_json(&p->checkpoint, ASY_OBJ_CHECKPOINT, asy_json_get(json, "body"),
                                 body_at, why));
    ASY_TRY(get_sig(&p->sig, json, at, why));
    ASY_TRY(get_u32(&p->position, json, at, "position", why));
    ASY_TRY(get_path(p->path, &p->path_count, ASY_CHECKPOINT_PATH_MAX, json, at, why));
    p->has_checkpoint = true;
    return ASY_OK;
}

static enum asy_err read_proof(struct proof *ret, const struct asy_json *json, const char *at,
                               struct asy_why *why) {
    char inner[AT_LEN];
    const struct asy_json *checkpoint;
    memset(ret, 0, sizeof *ret);
    asy_json_path(inner, sizeof inner, at, "terms");
    ASY_TRY(
        asy_object_read_json(&ret->terms, ASY_OBJ_TERMS, asy_json_get(json, "terms"), inner, why));
    const struct asy_json *receipt = asy_json_get(json, "receipt");
    if (receipt == NULL) {
        static const char *const with_receipt[] = {"promptDigest", "checkpoint"};
        for (size_t i = 0; i < ASY_COUNT(with_receipt); i++) {
            if (asy_json_get(json, with_receipt[i]) != NULL) {
                asy_json_path(inner, sizeof inner, at, with_receipt[i]);
                return asy_why_set(why, ASY_ERR_UNKNOWN, inner, "stands without a receipt");
            }
        }
        return ASY_OK;
    }
    asy_json_path(inner, sizeof inner, at, "receipt");
    ASY_TRY(asy_object_read_json(&ret->receipt, ASY_OBJ_RECEIPT, receipt, inner, why));
    ret->has_receipt = true;
    asy_object_hash(&ret->hash, ASY_OBJ_RECEIPT, &ret->receipt);
    ASY_TRY(asy_json_get_hash(&ret->prompt_digest, NULL, json, at, "promptDigest", why));
    ASY_TRY(nullable(&checkpoint, json, at, "checkpoint", why));
    asy_json_path(inner, sizeof inner, at, "checkpoint");
    return checkpoint != NULL ? read_checkpoint(ret, checkpoint, inner, why) : ASY_OK;
}

/* `sampling` of a segment: what Terms.sampling is the hash of. */
struct sampling {
    struct asy_bytes encoded; /* settings */
    struct asy_sample_settings settings;
    uint8_t bytes[ASY_SAMPLE_SETTINGS_LEN];
    struct asy_hash seed;
    struct asy_bytes stops[ASY_MAX_STOPS];
    uint32_t stop_count;
    bool by_contract;          /* its word for who could judge */
    uint32_t contract, replay; /* the settings that it lists, enum asy_sample_use */
};

/* A list of names, each once and in the order of their bits. */
static enum asy_err get_uses(uint32_t *ret_uses, const struct asy_json *obj, const char *at,
                             const char *key, struct asy_why *why) {
    const struct asy_json *list;
    uint32_t uses = 0;
    ASY_TRY(asy_json_get_array(&list, NULL, obj, at, key, 0, ASY_SAMPLE_USE_COUNT, why));
    for (size_t i = 0; i < asy_json_len(list); i++) {
        struct asy_bytes name;
        uint32_t use = 0;
        if (asy_json_str(&name, asy_json_at(list, i)) == ASY_OK) {
            for (uint32_t k = 0; k < ASY_SAMPLE_USE_COUNT; k++) {
                bool is_it = asy_bytes_eq(
                    name, asy_bytes_cstr(asy_sample_use_name((enum asy_sample_use)(1u << k))));
                use = is_it ? 1u << k : use;
            }
        }
        if (use <= uses) {
            char path[AT_LEN];
            (void)snprintf(path, sizeof path, "%.40s.%.12s[%u]", at, key, (unsigned)i);
            return asy_why_set(why, ASY_ERR_UNKNOWN, path,
                               "must be the name of a sampling setting, in their order");
        }
        uses |= use;
    }
    *ret_uses = uses;
    return ASY_OK;
}

static enum asy_err get_stops(struct sampling *ret, const struct asy_json *obj, const char *at,
                              struct asy_why *why) {
    const struct asy_json *list;
    ASY_TRY(asy_json_get_array(&list, NULL, obj, at, "stops", 0, ASY_MAX_STOPS, why));
    ret->stop_count = (uint32_t)asy_json_len(list);
    for (uint32_t i = 0; i < ret->stop_count; i++) {
        struct asy_bytes *stop = &ret->stops[i];
        if (asy_json_str(stop, asy_json_at(list, i)) != ASY_OK || stop->n == 0 ||
            stop->n > ASY_MAX_STOP_LEN) {
            char path[AT_LEN];
            (void)snprintf(path, sizeof path, "%.48s.stops[%u]", at, i);
            return asy_why_set(why, ASY_ERR_TYPE, path, "must be a string of 1 to %u bytes",
                               ASY_MAX_STOP_LEN);
        }
    }
    return ASY_OK;
}

static enum asy_err read_sampling(struct sampling *ret, const struct asy_json *json, const char *at,
                                  struct asy_why *why) {
    static const char *const known[] = {"settings", "seed", "stops", "judge", "contract", "replay"};
    struct asy_bytes text;
    char inner[AT_LEN];
    ASY_TRY(verify_object_of(json, at, known, ASY_COUNT(known), why));
    ASY_TRY(asy_json_get_str(&text, NULL, json, at, "settings", 2 + 2 * sizeof ret->bytes, why));
    ret->encoded = asy_bytes_of(ret->bytes, sizeof ret->bytes);
    if (asy_0x_decode(ret->bytes, sizeof ret->bytes, text) != ASY_OK ||
        asy_sample_settings_decode(&ret->settings, ret->encoded, NULL) != ASY_OK) {
        asy_json_path(inner, sizeof inner, at, "settings");
        return asy_why_set(why, ASY_ERR_SYNTAX, inner, "no encoded sampling settings");
    }
    ASY_TRY(asy_json_get_hash(&ret->seed, NULL, json, at, "seed", why));
    ASY_TRY(get_stops(ret, json, at, why));
    ASY_TRY(asy_json_get_str(&text, NULL, json, at, "judge", 16, why));
    ret->by_contract = asy_bytes_eq(text, ASY_STR("contract"));
    if (!ret->by_contract && !asy_bytes_eq(text, ASY_STR("replay"))) {
        asy_json_path(inner, sizeof inner, at, "judge");
        return asy_why_set(why, ASY_ERR_UNKNOWN, inner, "must be contract or replay");
    }
    ASY_TRY(get_uses(&ret->contract, json, at, "contract", why));
    return get_uses(&ret->replay, json, at, "replay", why);
}

/* ---- checking -------------------------------------------------------------------------------- */

static void check_domain(struct asy_verify_findings *f, const struct asy_domain *domain,
                         const struct asy_domain *expected) {
    char vault[ASY_ADDR_STR];
    asy_addr_format(vault, &domain->vault);
    unsigned long long chain = domain->chain_id;
    if (expected == NULL) {
        asy_verify_add(f, ASY_VERIFY_DOMAIN, ASY_VERIFY_ABSENT,
                       "chain %llu, vault %s: taken from the document", chain, vault);
    } else if (!asy_hash_eq(&expected->separator, &domain->separator)) {
        asy_verify_add(f, ASY_VERIFY_DOMAIN, ASY_VERIFY_FAILED,
                       "it is for chain %llu, vault %s, not for those expected", chain, vault);
    } else {
        asy_verify_add(f, ASY_VERIFY_DOMAIN, ASY_VERIFY_PASSED, "chain %llu, vault %s", chain,
                       vault);
    }
}

/* The checkpoint whose signature was checked last: the leaves of a lane often share one, and a
 * recovery is most of the cost. */
struct checked {
    bool valid, good;
    struct asy_hash digest;
    struct asy_sig sig;
    struct asy_addr signer;
};

static bool signed_by_node(struct checked *last, const struct proof *p,
                           const struct asy_domain *domain) {
    struct asy_hash digest;
    asy_object_digest(&digest, domain, ASY_OBJ_CHECKPOINT, &p->checkpoint);
    if (!last->valid || !asy_hash_eq(&last->digest, &digest) ||
        memcmp(last->sig.b, p->sig.b, sizeof p->sig.b) != 0 ||
        !asy_addr_eq(&last->signer, &p->terms.node)) {
        *last =
            (struct checked){.valid = true,
                             .good = asy_secp_verify(&p->terms.node, &digest, &p->sig) == ASY_OK,
                             .digest = digest,
                             .sig = p->sig,
                             .signer = p->terms.node};
    }
    return last->good;
}

/* RECEIPT, SIGNATURE, PLACE. place: the leaf, for messages; "" where there is only one. Only
 * failures are noted here; what passed is summed up by the caller. */
static void check_proof(struct asy_verify_findings *f, struct checked *last, const struct proof *p,
                        const struct asy_domain *domain, const char *place) {
    if (!p->has_receipt) {
        return;
    }
    struct asy_why why = {{0}, {0}};
    if (asy_receipt_check(&p->receipt, &p->terms, &why) != ASY_OK) {
        char text[120];
        (void)snprintf(text, sizeof text, "%.20s: %.90s", why.param, why.text);
        fail(f, ASY_VERIFY_RECEIPT, place, text);
    }
    if (!p->has_checkpoint) {
        return;
    }
    const struct asy_checkpoint *c = &p->checkpoint;
    if (c->kind != ASY_CHECKPOINT_RECEIPTS) {
        fail(f, ASY_VERIFY_SIGNATURE, place, "the checkpoint is not one of receipts");
    } else if (!asy_addr_eq(&c->signer, &p->terms.node)) {
        fail(f, ASY_VERIFY_SIGNATURE, place, "the checkpoint names another signer than the node");
    } else if (!asy_addr_eq(&c->peer, &p->terms.gateway)) {
        fail(f, ASY_VERIFY_SIGNATURE, place, "the checkpoint is for another gateway");
    } else if (!signed_by_node(last, p, domain)) {
        fail(f, ASY_VERIFY_SIGNATURE, place, "not the node's signature over this checkpoint");
    }
    enum asy_err err =
        asy_checkpoint_verify(&c->root, &p->hash, p->position, c->count, p->path, p->path_count);
    if (err == ASY_ERR_RANGE) {
        fail(f, ASY_VERIFY_PLACE, place, "the checkpoint has no such place");
    } else if (err != ASY_OK) {
        fail(f, ASY_VERIFY_PLACE, place, "the path does not lead from this receipt to the root");
    }
}

/* SAMPLING: Terms.sampling binds settings, seed and stop strings; the rest follows from them. */
static void check_sampling(struct asy_verify_findings *f, const struct sampling *s,
                           const struct asy_terms *terms) {
    struct asy_hash hash;
    uint32_t uses = asy_sample_uses(&s->settings), replay = uses & ASY_SAMPLE_USES_BY_REPLAY;
    asy_job_sampling_hash(&hash, s->encoded, &s->seed, s->stops, s->stop_count);
    if (!asy_hash_eq(&hash, &terms->sampling)) {
        asy_verify_add(f, ASY_VERIFY_SAMPLING, ASY_VERIFY_FAILED,
                       "settings, seed and stop strings are not those of the terms");
    } else if (s->contract != (uses & ASY_SAMPLE_USES_BY_CONTRACT) || s->replay != replay ||
               s->by_contract != (replay == 0)) {
        asy_verify_add(f, ASY_VERIFY_SAMPLING, ASY_VERIFY_FAILED,
                       "the settings say otherwise of who could judge the tokens");
    } else {
        asy_verify_add(f, ASY_VERIFY_SAMPLING, ASY_VERIFY_PASSED, "%s",
                       replay == 0 ? "settings that a contract could judge"
                                   : "settings that take a replay to judge");
    }
}

/* ENTRY, and what of CHAIN can be told without a chain: whether the document contradicts itself.
 */
static void check_place(struct asy_verify_findings *f, const struct place *p) {
    struct asy_hash hash;
    const struct asy_verify_settlement *s = &p->s;
    asy_entry_hash(&hash, &s->entry);
    if (asy_batch_verify(&s->root, &hash, p->path, p->path_count) == ASY_OK) {
        asy_verify_add(f, ASY_VERIFY_ENTRY, ASY_VERIFY_PASSED, "lane %u in batch %llu",
                       s->entry.lane, (unsigned long long)s->number);
    } else {
        asy_verify_add(f, ASY_VERIFY_ENTRY, ASY_VERIFY_FAILED,
                       "the path does not lead from the entry to the root");
    }
    if (s->final && !s->confirmed) {
        asy_verify_add(f, ASY_VERIFY_CHAIN, ASY_VERIFY_FAILED, "final, but not confirmed");
    } else if (s->confirmed && asy_hash_is_zero(&s->tx)) {
        asy_verify_add(f, ASY_VERIFY_CHAIN, ASY_VERIFY_FAILED, "confirmed without a transaction");
    } else if (s->confirmed) {
        asy_verify_add(f, ASY_VERIFY_CHAIN, ASY_VERIFY_ABSENT, "in block %llu%s by its word",
                       (unsigned long long)s->block, s->final ? ", final," : "");
    } else {
        asy_verify_add(f, ASY_VERIFY_CHAIN, ASY_VERIFY_ABSENT, "not confirmed yet");
    }
}

/* What the entry takes from the lane. False when it would give. */
static bool debit_of(asy_u128 *ret, const struct asy_entry *e) {
    return asy_sub_u128(ret, e->spent, e->before);
}

static void usd_text(char ret_text[ASY_USD_STR], asy_u128 pico) {
    asy_usd_format(ret_text, (struct asy_usd){pico});
}

/* ---- a receipt bundle ------------------------------------------------------------------------ */

struct sum_path {
    struct asy_sum_node nodes[ASY_SUM_PATH_MAX];
    uint32_t count, leaf;
};

static enum asy_err read_sum_path(struct sum_path *ret, const struct asy_json *json, const char *at,
                                  struct asy_why *why) {
    static const char *const known[] = {"hash", "sum"};
    const struct asy_json *list;
    ASY_TRY(get_u32(&ret->leaf, json, at, "leaf", why));
    ASY_TRY(asy_json_get_array(&list, NULL, json, at, "leafPath", 0, ASY_SUM_PATH_MAX, why));
    ret->count = (uint32_t)asy_json_len(list);
    for (uint32_t i = 0; i < ret->count; i++) {
        const struct asy_json *node = asy_json_at(list, i);
        char node_at[AT_LEN];
        (void)snprintf(node_at, sizeof node_at, "%.44s.leafPath[%u]", at, i);
        ASY_TRY(verify_object_of(node, node_at, known, ASY_COUNT(known), why));
        ASY_TRY(asy_json_get_hash(&ret->nodes[i].hash, NULL, node, node_at, "hash", why));
        ASY_TRY(get_amount(&ret->nodes[i].sum, node, node_at, "sum", why));
    }
    return ASY_OK;
}

/* LEAF and SUM: one climb gives both; which of them a wrong path breaks, its root tells. */
static void check_leaf(struct asy_verify_findings *f, const struct proof *p,
                       const struct asy_entry *e, const struct sum_path *path) {
    asy_u128 debit, amount = p->has_receipt ? p->receipt.amount : 0;
    struct asy_sum_node leaf, root;
    char text[ASY_USD_STR];
    uint64_t lane_seq = p->terms.lane_seq;
    if (lane_seq < e->first || lane_seq - e->first != path->leaf) {
        asy_verify_add(f, ASY_VERIFY_LEAF, ASY_VERIFY_FAILED,
                       "ticket %llu of the lane is not leaf %u of an entry that begins at %llu",
                       (unsigned long long)lane_seq, path->leaf, (unsigned long long)e->first);
    } else if (asy_sum_leaf(&leaf, lane_seq, amount, &p->hash) != ASY_OK ||
               asy_sum_climb(&root, &leaf, path->leaf, 0, e->count, path->nodes, path->count) !=
                   ASY_OK) {
        asy_verify_add(f, ASY_VERIFY_LEAF, ASY_VERIFY_FAILED, "the path does not fit leaf %u of %u",
                       path->leaf, e->count);
    } else if (!asy_hash_eq(&root.hash, &e->tree)) {
        asy_verify_add(f, ASY_VERIFY_LEAF, ASY_VERIFY_FAILED,
                       "the path does not lead from this receipt to the entry's tree");
    } else {
        asy_verify_add(f, ASY_VERIFY_LEAF, ASY_VERIFY_PASSED, "leaf %u of %u of lane %u",
                       path->leaf, e->count, e->lane);
        if (!debit_of(&debit, e) || debit != root.sum) {
            asy_verify_add(f, ASY_VERIFY_SUM, ASY_VERIFY_FAILED,
                           "the entry debits another sum than its leaves have");
        } else {
            usd_text(text, debit);
            asy_verify_add(f, ASY_VERIFY_SUM, ASY_VERIFY_PASSED,
                           "the lane's %u jobs of this batch cost %s USD together", e->count, text);
        }
    }
}

static const char *const status_names[] = {"running", "done", "failed"};

static void check_status(struct asy_verify_findings *f, struct asy_bytes status, bool has_receipt,
                         bool settled) {
    bool done = asy_bytes_eq(status, ASY_STR("done"));
    if (done != has_receipt) {
        asy_verify_add(f, ASY_VERIFY_STATUS, ASY_VERIFY_FAILED,
                       has_receipt ? "there is a receipt, so it is done"
                                   : "done without a receipt");
    } else if (settled && asy_bytes_eq(status, ASY_STR("running"))) {
        asy_verify_add(f, ASY_VERIFY_STATUS, ASY_VERIFY_FAILED, "settled before it ended");
    } else {
        asy_verify_add(f, ASY_VERIFY_STATUS, ASY_VERIFY_PASSED, "%.*s", (int)status.n, status.p);
    }
}

/* Says what passed, or is not there yet. */
static void sum_up_proof(struct asy_verify_findings *f, const struct proof *p, bool running) {
    char text[ASY_USD_STR], node[ASY_ADDR_STR];
    if (!p->has_receipt) {
        asy_verify_add(f, ASY_VERIFY_RECEIPT, ASY_VERIFY_ABSENT,
                       running ? "none yet" : "none: nothing was charged");
        return;
    }
    const struct asy_checkpoint *c = &p->checkpoint;
    asy_addr_format(node, &p->terms.node);
    usd_text(text, p->receipt.amount);
    if (!failed(f, ASY_VERIFY_RECEIPT)) {
        asy_verify_add(f, ASY_VERIFY_RECEIPT, ASY_VERIFY_PASSED,
                       "%llu tokens in (%llu cached), %llu out: %s USD",
                       (unsigned long long)p->receipt.in_tokens,
                       (unsigned long long)p->receipt.cached_tokens,
                       (unsigned long long)p->receipt.out_tokens, text);
    }
    if (!p->has_checkpoint) {
        asy_verify_add(f, ASY_VERIFY_SIGNATURE, ASY_VERIFY_ABSENT, "not signed yet");
        return;
    }
    if (!failed(f, ASY_VERIFY_SIGNATURE)) {
        asy_verify_add(f, ASY_VERIFY_SIGNATURE, ASY_VERIFY_PASSED, "node %s, checkpoint %llu", node,
                       (unsigned long long)c->number);
    }
    if (!failed(f, ASY_VERIFY_PLACE)) {
        asy_verify_add(f, ASY_VERIFY_PLACE, ASY_VERIFY_PASSED, "receipt %u of %u", p->position + 1,
                       c->count);
    }
}

/* `record`: the parts of ret->record that stand there, and those that `sampling` shows. */
static enum asy_err read_record(struct asy_verify_segment *ret, struct asy_arena *arena,
                                const struct sampling *shown, const struct asy_json *json,
                                const char *at, struct asy_why *why) {
    char inner[AT_LEN];
    struct asy_audit_record *r = &ret->record;
    asy_json_path(inner, sizeof inner, at, "record");
    if (shown->encoded.n == 0) {
        return asy_why_set(why, ASY_ERR_MISSING, inner, "stands without `sampling`");
    }
    ASY_TRY(verify_record_read(r, arena, json, inner, why));
    const char *settings = asy_arena_str(arena, shown->encoded);
    bool ok = settings != NULL;
    r->settings = asy_bytes_of(settings, shown->encoded.n);
    r->seed = shown->seed;
    r->stop_count = shown->stop_count;
    for (uint32_t i = 0; ok && i < shown->stop_count; i++) {
        const char *stop = asy_arena_str(arena, shown->stops[i]);
        ok = stop != NULL;
        r->stops[i] = asy_bytes_of(stop, shown->stops[i].n);
    }
    ret->has_record = ok;
    return ok ? ASY_OK : asy_why_set(why, ASY_ERR_TOO_LONG, inner, "the records are too long");
}

static const char *tier_name(uint8_t tier) {
    switch ((enum asy_tier)tier) {
    case ASY_TIER_FORMAT:
        return "format";
    case ASY_TIER_AUDITED:
        return "audited";
    case ASY_TIER_EXACT:
        return "exact";
    case ASY_TIER_TEE:
        return "tee";
    case ASY_TIER_ZK:
        return "zk";
    }
    return "unknown";
}

/* RECORD where there is none to check, and REPLAY, as long as nobody did it. */
static void expect_replay(struct asy_verify_segment *s, bool has_member) {
    struct asy_verify_findings *f = &s->findings;
    if (has_member && !s->has_record) {
        asy_verify_add(f, ASY_VERIFY_RECORD, ASY_VERIFY_ABSENT, "not kept");
    }
    if (!s->has_receipt || (!has_member && s->terms.tier != ASY_TIER_EXACT)) {
        return;
    }
    if (s->terms.tier != ASY_TIER_EXACT) {
        asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_ABSENT,
                       "tier `%s`: only answers of tier `exact` can be replayed to the bit",
                       tier_name(s->terms.tier));
    } else if (!s->has_record) {
        asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_ABSENT, "%s",
                       has_member ? "the record that it takes is not kept any more"
                                  : "it takes the record: assay receipt ID --record");
    } else {
        asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_ABSENT,
                       "not done: assay verify --replay --model FILE computes the answer again");
    }
}

static enum asy_err segment(struct asy_verify_segment *ret, struct asy_arena *arena,
                            const struct asy_domain *domain, const struct asy_json *json,
                            const char *at, struct asy_why *why) {
    static const char *const known[] = {"status", PROOF_KEYS, "sampling", "record", "settlement"};
    static const char *const known_place[] = {PLACE_KEYS, "leaf", "leafPath"};
    struct asy_bytes status;
    struct proof p;
    const struct asy_json *settlement, *sampling = asy_json_get(json, "sampling"),
                                       *record = asy_json_get(json, "record");
    struct sampling shown = {0};
    struct place place;
    struct sum_path sum;
    char inner[AT_LEN];
    ASY_TRY(verify_object_of(json, at, known, ASY_COUNT(known), why));
    ASY_TRY(asy_json_get_str(&status, NULL, json, at, "status", 16, why));
    bool is_known = false;
    for (size_t i = 0; i < ASY_COUNT(status_names); i++) {
        is_known = is_known || asy_bytes_eq(status, asy_bytes_cstr(status_names[i]));
    }
    if (!is_known) {
        asy_json_path(inner, sizeof inner, at, "status");
        return asy_why_set(why, ASY_ERR_UNKNOWN, inner, "must be running, done or failed");
    }
    ASY_TRY(read_proof(&p, json, at, why));
    if (sampling != NULL && !asy_json_is_null(sampling)) {
        asy_json_path(inner, sizeof inner, at, "sampling");
        ASY_TRY(read_sampling(&shown, sampling, inner, why));
    }
    if (record != NULL && !asy_json_is_null(record)) {
        ASY_TRY(read_record(ret, arena, &shown, record, at, why));
    }
    ASY_TRY(nullable(&settlement, json, at, "settlement", why));
    if (settlement != NULL) {
        asy_json_path(inner, sizeof inner, at, "settlement");
        ASY_TRY(verify_object_of(settlement, inner, known_place, ASY_COUNT(known_place), why));
        ASY_TRY(read_place(&place, settlement, inner, why));
        ASY_TRY(read_sum_path(&sum, settlement, inner, why));
    }
    struct asy_verify_findings *f = &ret->findings;
    struct checked last = {0};
    ret->terms = p.terms;
    ret->has_receipt = p.has_receipt;
    ret->receipt = p.receipt;
    ret->prompt_digest = p.prompt_digest;
    ret->has_checkpoint = p.has_checkpoint;
    ret->checkpoint = p.checkpoint;
    ret->has_settlement = settlement != NULL;
    check_status(f, status, p.has_receipt, ret->has_settlement);
    check_proof(f, &last, &p, domain, "");
    sum_up_proof(f, &p, asy_bytes_eq(status, ASY_STR("running")));
    if (shown.encoded.n != 0) {
        check_sampling(f, &shown, &p.terms);
    } else if (sampling != NULL) { /* documents of earlier gateways do not have it */
        asy_verify_add(f, ASY_VERIFY_SAMPLING, ASY_VERIFY_ABSENT, "not kept");
    }
    expect_replay(ret, record != NULL);
    if (settlement == NULL) {
        asy_verify_add(f, ASY_VERIFY_LEAF, ASY_VERIFY_ABSENT, "not in a batch yet");
        return ASY_OK;
    }
    ret->settlement = place.s;
    check_leaf(f, &p, &place.s.entry, &sum);
    check_place(f, &place);
    return ASY_OK;
}

/* What all segments of a job have in common. */
static void check_job(struct asy_verify_findings *f, const struct asy_verify_report *r) {
    const struct asy_terms *a = &r->segments[0].terms;
    for (uint32_t i = 0; i < r->segment_count; i++) {
        const struct asy_terms *b = &r->segments[i].terms;
        const char *what = NULL;
        if (!asy_hash_eq(&b->job_id, &r->job_id)) {
            what = "is of another job";
        } else if (i != 0 && b->segment <= r->segments[i - 1].terms.segment) {
            what = "is out of order";
        } else if (!asy_addr_eq(&a->requester, &b->requester) ||
                   !asy_addr_eq(&a->gateway, &b->gateway)) {
            what = "has another requester or gateway";
        } else if (!asy_hash_eq(&a->model, &b->model) || !asy_hash_eq(&a->request, &b->request) ||
                   !asy_hash_eq(&a->sampling, &b->sampling)) {
            what = "answers another request";
        }
        if (what != NULL) {
            asy_verify_add(f, ASY_VERIFY_JOB, ASY_VERIFY_FAILED, "segment %u %s", b->segment, what);
            return;
        }
    }
    asy_verify_add(f, ASY_VERIFY_JOB, ASY_VERIFY_PASSED, "%u segment%s", r->segment_count,
                   r->segment_count == 1 ? "" : "s");
}

static enum asy_err kind_of(enum asy_verify_kind *ret_kind, const struct asy_json *doc,
                            struct asy_why *why) {
    struct asy_bytes object;
    if (asy_json_type(doc) != ASY_JSON_OBJECT) {
        return asy_why_set(why, ASY_ERR_TYPE, NULL, "the document must be an object");
    }
    ASY_TRY(asy_json_get_str(&object, NULL, doc, NULL, "object", 32, why));
    if (asy_bytes_eq(object, ASY_STR("receipt"))) {
        *ret_kind = ASY_VERIFY_KIND_RECEIPT;
    } else if (asy_bytes_eq(object, ASY_STR("lane_entry"))) {
        *ret_kind = ASY_VERIFY_KIND_LANE;
    } else {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, "object",
                           "neither a receipt bundle (`receipt`) nor a lane (`lane_entry`)");
    }
    return ASY_OK;
}

static enum asy_err parse(struct asy_json **ret_doc, struct asy_bytes json, struct asy_why *why) {
    if (json.n > ASY_VERIFY_MAX_DOC) {
        return asy_why_set(why, ASY_ERR_TOO_LONG, NULL, "a document has at most %u bytes",
                           ASY_VERIFY_MAX_DOC);
    }
    return asy_json_parse(ret_doc, json, ASY_MAX_JSON_DEPTH, why);
}

enum asy_err asy_verify_kind(enum asy_verify_kind *ret_kind, struct asy_bytes json,
                             struct asy_why *reterr_why) {
    struct asy_json *doc;
    ASY_TRY(parse(&doc, json, reterr_why));
    enum asy_err err = kind_of(ret_kind, doc, reterr_why);
    asy_json_free(doc);
    return err;
}

static enum asy_err want_kind(const struct asy_json *doc, enum asy_verify_kind want,
                              struct asy_why *why) {
    enum asy_verify_kind kind;
    ASY_TRY(kind_of(&kind, doc, why));
    return kind == want ? ASY_OK
                        : asy_why_set(why, ASY_ERR_UNSUPPORTED, "object", "the other document");
}

static enum asy_err bundle(struct asy_verify_report *r, struct asy_arena *arena,
                           const struct asy_json *doc, const struct asy_domain *expected,
                           struct asy_why *why) {
    static const char *const known[] = {"object", "id", "domain", "segments"};
    const struct asy_json *list;
    ASY_TRY(want_kind(doc, ASY_VERIFY_KIND_RECEIPT, why));
    ASY_TRY(verify_object_of(doc, NULL, known, ASY_COUNT(known), why));
    ASY_TRY(asy_json_get_hash(&r->job_id, NULL, doc, NULL, "id", why));
    ASY_TRY(read_domain(&r->domain, doc, why));
    ASY_TRY(
        asy_json_get_array(&list, NULL, doc, NULL, "segments", 1, ASY_VERIFY_MAX_SEGMENTS, why));
    r->segment_count = (uint32_t)asy_json_len(list);
    r->good = true;
    for (uint32_t i = 0; i < r->segment_count; i++) {
        struct asy_verify_segment *s = &r->segments[i];
        char at[AT_LEN];
        (void)snprintf(at, sizeof at, "segments[%u]", i);
        ASY_TRY(segment(s, arena, &r->domain, asy_json_at(list, i), at, why));
        if (s->has_record) {
            verify_record_check(r, i);
        }
        r->good = r->good && asy_verify_good(&s->findings);
        if (!asy_add_u128(&r->amount, r->amount, s->receipt.amount) ||
            !asy_add_u64(&r->in_tokens, r->in_tokens, s->receipt.in_tokens) ||
            !asy_add_u64(&r->out_tokens, r->out_tokens, s->receipt.out_tokens)) {
            return asy_why_set(why, ASY_ERR_OVERFLOW, at, "the sums do not fit");
        }
    }
    check_domain(&r->findings, &r->domain, expected);
    check_job(&r->findings, r);
    r->good = r->good && asy_verify_good(&r->findings);
    return ASY_OK;
}

enum asy_err asy_verify_receipt(struct asy_verify_report *ret_report, struct asy_arena *arena,
                                struct asy_bytes json, const struct asy_domain *expected,
                                struct asy_why *reterr_why) {
    struct asy_json *doc;
    struct asy_arena own;
    ASY_TRY(parse(&doc, json, reterr_why));
    struct asy_verify_report *r = asy_alloc(sizeof *r); /* read aside: a failure touches nothing */
    asy_arena_init(&own, ASY_VERIFY_MAX_RECORDS);
    enum asy_err err = bundle(r, arena != NULL ? arena : &own, doc, expected, reterr_why);
    for (uint32_t i = 0; arena == NULL && err == ASY_OK && i < r->segment_count; i++) {
        r->segments[i].has_record = false; /* checked, and gone */
        r->segments[i].record = (struct asy_audit_record){0};
    }
    if (err == ASY_OK) {
        *ret_report = *r;
    }
    asy_arena_done(&own);
    asy_free(r);
    asy_json_free(doc);
    return err;
}

/* ---- a lane ---------------------------------------------------------------------------------- */

struct lane {
    struct asy_verify_lane_report r;
    struct asy_sum_stream tree;
    struct checked last;
    bool tree_broken;
    uint32_t unsigned_count; /* receipts without a checkpoint yet */
};

/* One leaf: what it says of itself, its place in the lane, its receipt. */
static enum asy_err leaf(struct lane *l, const struct asy_json *json, uint32_t index,
                         struct asy_why *why) {
    static const char *const known[] = {"laneSeq", "amount", "receiptHash", PROOF_KEYS};
    struct asy_verify_lane_report *r = &l->r;
    struct asy_verify_findings *f = &r->findings;
    char at[AT_LEN], place[AT_LEN];
    uint64_t lane_seq;
    asy_u128 amount;
    struct asy_hash hash;
    struct proof p;
    struct asy_sum_node node;
    (void)snprintf(at, sizeof at, "leaves[%u]", index);
    (void)snprintf(place, sizeof place, "leaf %u", index);
    ASY_TRY(verify_object_of(json, at, known, ASY_COUNT(known), why));
    ASY_TRY(asy_json_get_u64(&lane_seq, NULL, json, at, "laneSeq", 0, INT64_MAX, why));
    ASY_TRY(get_amount(&amount, json, at, "amount", why));
    ASY_TRY(asy_json_get_hash(&hash, NULL, json, at, "receiptHash", why));
    ASY_TRY(read_proof(&p, json, at, why));
    if (index == 0) {
        r->requester = p.terms.requester;
        r->gateway = p.terms.gateway;
    } else if (!asy_addr_eq(&r->requester, &p.terms.requester) ||
               !asy_addr_eq(&r->gateway, &p.terms.gateway)) {
        fail(f, ASY_VERIFY_JOB, place, "another requester or gateway than the first leaf's");
    }
    uint64_t want_seq = r->settlement.entry.first + index; /* both below 2^63 */
    if (lane_seq != want_seq || p.terms.lane_seq != want_seq) {
        fail(f, ASY_VERIFY_LEAF, place, "its number in the lane is not its place in the entry");
    }
    if (amount != (p.has_receipt ? p.receipt.amount : 0) || !asy_hash_eq(&hash, &p.hash)) {
        fail(f, ASY_VERIFY_LEAF, place, "its amount or hash is not that of its receipt");
    }
    check_proof(f, &l->last, &p, &r->domain, place);
    l->tree_broken = l->tree_broken || asy_sum_leaf(&node, want_seq, amount, &hash) != ASY_OK ||
                     asy_sum_stream_add(&l->tree, &node) != ASY_OK;
    r->paid += p.has_receipt;
    r->signed_count += p.has_checkpoint;
    l->unsigned_count += p.has_receipt && !p.has_checkpoint;
    if (!asy_add_u128(&r->amount, r->amount, amount) ||
        !asy_add_u64(&r->in_tokens, r->in_tokens, p.receipt.in_tokens) ||
        !asy_add_u64(&r->out_tokens, r->out_tokens, p.receipt.out_tokens)) {
        return asy_why_set(why, ASY_ERR_OVERFLOW, at, "the sums do not fit");
    }
    return ASY_OK;
}

static void sum_up_leaves(struct lane *l) {
    struct asy_verify_lane_report *r = &l->r;
    struct asy_verify_findings *f = &r->findings;
    const struct asy_entry *e = &r->settlement.entry;
    struct asy_sum_node root;
    asy_u128 debit;
    char text[ASY_USD_STR];
    if (r->leaf_count != e->count) {
        char counts[64];
        (void)snprintf(counts, sizeof counts, "%u leaves, and the entry has %u", r->leaf_count,
                       e->count);
        fail(f, ASY_VERIFY_LEAF, "", counts);
    } else if (l->tree_broken || asy_sum_stream_root(&l->tree, &root) != ASY_OK ||
               !asy_hash_eq(&root.hash, &e->tree)) {
        fail(f, ASY_VERIFY_LEAF, "", "the leaves do not make the entry's tree");
    }
    if (!failed(f, ASY_VERIFY_LEAF)) {
        asy_verify_add(f, ASY_VERIFY_LEAF, ASY_VERIFY_PASSED, "%u leaves make the entry's tree",
                       r->leaf_count);
    }
    usd_text(text, r->amount);
    if (!debit_of(&debit, e) || debit != r->amount) {
        asy_verify_add(f, ASY_VERIFY_SUM, ASY_VERIFY_FAILED,
                       "the leaves cost %s USD; the entry debits another sum", text);
    } else {
        asy_verify_add(f, ASY_VERIFY_SUM, ASY_VERIFY_PASSED, "the leaves cost %s USD together",
                       text);
    }
    if (!failed(f, ASY_VERIFY_JOB)) {
        asy_verify_add(f, ASY_VERIFY_JOB, ASY_VERIFY_PASSED, "one requester, one gateway");
    }
    if (!failed(f, ASY_VERIFY_RECEIPT)) {
        bool any = r->paid != 0;
        asy_verify_add(f, ASY_VERIFY_RECEIPT, any ? ASY_VERIFY_PASSED : ASY_VERIFY_ABSENT,
                       "%u paid, %u ended without a receipt and cost nothing", r->paid,
                       r->leaf_count - r->paid);
    }
    enum asy_verify_state all_signed = r->signed_count != 0 ? ASY_VERIFY_PASSED : ASY_VERIFY_ABSENT;
    if (!failed(f, ASY_VERIFY_SIGNATURE)) {
        asy_verify_add(f, ASY_VERIFY_SIGNATURE, all_signed, "%u receipts signed, %u not yet",
                       r->signed_count, l->unsigned_count);
    }
    if (!failed(f, ASY_VERIFY_PLACE)) {
        asy_verify_add(f, ASY_VERIFY_PLACE, all_signed, "%u receipts in their checkpoints",
                       r->signed_count);
    }
}

static enum asy_err lane(struct lane *l, const struct asy_json *doc,
                         const struct asy_domain *expected, struct asy_why *why) {
    static const char *const known[] = {"object", "domain", PLACE_KEYS, "leaves"};
    struct asy_verify_lane_report *r = &l->r;
    struct place place;
    const struct asy_json *list;
    ASY_TRY(want_kind(doc, ASY_VERIFY_KIND_LANE, why));
    ASY_TRY(verify_object_of(doc, NULL, known, ASY_COUNT(known), why));
    ASY_TRY(read_domain(&r->domain, doc, why));
    ASY_TRY(read_place(&place, doc, NULL, why));
    r->settlement = place.s;
    ASY_TRY(asy_json_get_array(&list, NULL, doc, NULL, "leaves", 1, ASY_MAX_ENTRY_LEAVES, why));
    r->leaf_count = (uint32_t)asy_json_len(list);
    asy_sum_stream_init(&l->tree);
    check_domain(&r->findings, &r->domain, expected);
    for (uint32_t i = 0; i < r->leaf_count; i++) {
        ASY_TRY(leaf(l, asy_json_at(list, i), i, why));
    }
    sum_up_leaves(l);
    check_place(&r->findings, &place);
    r->good = asy_verify_good(&r->findings);
    return ASY_OK;
}

enum asy_err asy_verify_lane(struct asy_verify_lane_report *ret_report, struct asy_bytes json,
                             const struct asy_domain *expected, struct asy_why *reterr_why) {
    struct asy_json *doc;
    ASY_TRY(parse(&doc, json, reterr_why));
    struct lane *l = asy_alloc(sizeof *l);
    enum asy_err err = lane(l, doc, expected, reterr_why);
    if (err == ASY_OK) {
        *ret_report = l->r;
    }
    asy_free(l);
    asy_json_free(doc);
    return err;
}
