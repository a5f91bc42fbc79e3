/* The six objects and the digests against two independent makers: contracts/vectors/eip712.json
 * (JavaScript, the contracts' own vectors) and schema/vectors/job/digests.json (Python, from
 * docs/protocol/objects.md). */
#include "base/test.h"
#include "job/job.h"

enum { FILE_MAX = 1 << 20 };

static struct asy_json *read_json(const char *path) {
    struct asy_json *doc;
    struct asy_why why = {{0}, {0}};
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        fprintf(stderr, "cannot open %s\n", path);
        exit(1);
    }
    uint8_t *p = asy_alloc(FILE_MAX);
    size_t n = fread(p, 1, FILE_MAX, f);
    if (asy_json_parse(&doc, asy_bytes_of(p, n), ASY_MAX_JSON_DEPTH, &why) != ASY_OK) {
        fprintf(stderr, "%s: %s\n", path, why.text);
        exit(1);
    }
    (void)fclose(f); /* was only read */
    asy_free(p);
    return doc;
}
static struct asy_bytes str(const struct asy_json *obj, const char *key) {
    struct asy_bytes s;
    if (asy_json_str(&s, asy_json_get(obj, key)) != ASY_OK) {
        fprintf(stderr, "a vector without %s\n", key);
        exit(1);
    }
    return s;
}
static void hex(void *ret_p, size_t len, const struct asy_json *obj, const char *key) {
    if (asy_0x_decode(ret_p, len, str(obj, key)) != ASY_OK) {
        fprintf(stderr, "a vector with a bad %s\n", key);
        exit(1);
    }
}
static struct asy_hash hash(const struct asy_json *obj, const char *key) {
    struct asy_hash h;
    hex(h.b, 32, obj, key);
    return h;
}

static const char *const names[] = {"SpendingCap", "Terms", "Receipt",
                                    "Checkpoint",  "Ack",   "Voucher"};
static enum asy_object type_of(struct asy_bytes name) {
    for (unsigned i = 0; i < ASY_COUNT(names); i++) {
        if (asy_bytes_eq(name, asy_bytes_cstr(names[i]))) {
            return (enum asy_object)i;
        }
    }
    fprintf(stderr, "unknown type\n");
    exit(1);
}

/* ---- contracts/vectors/eip712.json ----------------------------------------------------------- */

/* Writes a vector's value in canonical form, field by field as the type string of the file (not
 * ours) lists them. */
static size_t canonical_of(uint8_t *ret, const char *type_string, const struct asy_json *value) {
    static const struct {
        const char *name;
        size_t len;
    } kinds[] = {{"address", 20}, {"bytes32", 32}, {"uint8", 1},
                 {"uint32", 4},   {"uint64", 8},   {"uint128", 16}};
    size_t n = 0;
    ret[n++] = 1;
    const char *at = strchr(type_string, '(');
    while (at != NULL && *at != ')') {
        char kind[16], field[32];
        at++;
        size_t kind_len = strcspn(at, " "), field_len = strcspn(at + kind_len + 1, ",)");
        ASY_ASSERT(kind_len < sizeof kind && field_len < sizeof field);
        memcpy(kind, at, kind_len);
        kind[kind_len] = '\0';
        memcpy(field, at + kind_len + 1, field_len);
        field[field_len] = '\0';
        at += kind_len + 1 + field_len;
        size_t k = 0;
        while (k < ASY_COUNT(kinds) && strcmp(kinds[k].name, kind) != 0) {
            k++;
        }
        ASY_ASSERT(k < ASY_COUNT(kinds));
        if (k < 2) {
            hex(ret + n, kinds[k].len, value, field);
        } else {
            asy_u128 v;
            uint8_t be[16];
            CHECK_OK(asy_u128_parse(&v, str(value, field)));
            asy_be128_put(be, v);
            memcpy(ret + n, be + 16 - kinds[k].len, kinds[k].len);
        }
        n += kinds[k].len;
    }
    return n;
}

static void test_eip712(void) {
    struct asy_json *doc = read_json("contracts/vectors/eip712.json");
    const struct asy_json *types = asy_json_get(doc, "types"),
                          *domains = asy_json_get(doc, "domains"),
                          *vectors = asy_json_get(doc, "vectors"),
                          *keys = asy_json_get(doc, "keys");
    CHECK_U64(asy_json_len(types), ASY_COUNT(names));
    for (size_t i = 0; i < asy_json_len(types); i++) {
        const struct asy_json *t = asy_json_at(types, i);
        enum asy_object type = type_of(str(t, "name"));
        const char *ours = asy_object_type_string(type);
        CHECK(asy_bytes_eq(asy_bytes_cstr(ours), str(t, "string")));
        struct asy_hash h, want = hash(t, "typehash");
        asy_keccak256(&h, asy_bytes_cstr(ours));
        CHECK(asy_hash_eq(&h, &want));
    }
    struct asy_domain domain[2];
    CHECK_U64(asy_json_len(domains), ASY_COUNT(domain));
    for (size_t i = 0; i < ASY_COUNT(domain); i++) {
        const struct asy_json *d = asy_json_at(domains, i);
        uint64_t chain_id = 0;
        struct asy_addr vault;
        CHECK_OK(asy_json_u64(&chain_id, asy_json_get(d, "chainId")));
        hex(vault.b, 20, d, "verifyingContract");
        asy_domain_init(&domain[i], chain_id, &vault);
        struct asy_hash want = hash(d, "separator");
        CHECK(asy_hash_eq(&domain[i].separator, &want));
    }
    CHECK_U64(asy_json_len(vectors), 24);
    for (size_t i = 0; i < asy_json_len(vectors); i++) {
        const struct asy_json *v = asy_json_at(vectors, i);
        enum asy_object type = type_of(str(v, "type"));
        uint64_t d = 0;
        CHECK_OK(asy_json_u64(&d, asy_json_get(v, "domain")));
        uint8_t bytes[ASY_OBJECT_MAX_LEN], again[ASY_OBJECT_MAX_LEN];
        const struct asy_json *t = asy_json_at(types, 0);
        for (size_t k = 0; k < asy_json_len(types); k++) {
            if (type_of(str(asy_json_at(types, k), "name")) == type) {
                t = asy_json_at(types, k);
            }
        }
        size_t n = canonical_of(bytes, (const char *)str(t, "string").p, asy_json_get(v, "value"));
        CHECK_U64(n, asy_object_len(type));
        union asy_any_object object;
        CHECK_OK(asy_object_decode(&object, type, asy_bytes_of(bytes, n)));
        asy_object_encode(again, type, &object);
        CHECK_MEM(bytes, again, n);
        struct asy_hash h, want = hash(v, "structHash");
        asy_object_hash(&h, type, &object);
        CHECK(asy_hash_eq(&h, &want));
        want = hash(v, "digest");
        asy_object_digest(&h, &domain[d], type, &object);
        CHECK(asy_hash_eq(&h, &want));
        /* the signature is its signer's, here and nowhere else */
        const struct asy_json *key = asy_json_get(keys, (const char *)str(v, "signer").p);
        struct asy_addr signer;
        struct asy_sig sig, made;
        struct asy_seckey secret;
        hex(signer.b, 20, key, "address");
        hex(secret.b, 32, key, "testPrivateKey");
        hex(sig.b, 65, v, "signature");
        CHECK_OK(asy_object_verify(&domain[d], type, &object, &sig, &signer));
        CHECK_ERR(asy_object_verify(&domain[1 - d], type, &object, &sig, &signer),
                  ASY_ERR_SIGNATURE);
        CHECK_OK(asy_secp_sign(&made, &secret, &h));
        CHECK_MEM(&made, &sig, sizeof sig);
        signer.b[19] ^= 1;
        CHECK_ERR(asy_object_verify(&domain[d], type, &object, &sig, &signer), ASY_ERR_SIGNATURE);
        signer.b[19] ^= 1;
        sig.b[64] = 0;
        CHECK_ERR(asy_object_verify(&domain[d], type, &object, &sig, &signer), ASY_ERR_SIGNATURE);
    }
    asy_json_free(doc);
}

/* ---- schema/vectors/job/digests.json --------------------------------------------------------- */

static uint32_t ids_of(uint32_t *ret, size_t max, const struct asy_json *v, const char *key) {
    const struct asy_json *ids = asy_json_get(v, key);
    ASY_ASSERT(asy_json_len(ids) <= max);
    for (size_t i = 0; i < asy_json_len(ids); i++) {
        uint64_t id = 0;
        CHECK_OK(asy_json_u64(&id, asy_json_at(ids, i)));
        ret[i] = (uint32_t)id;
    }
    return (uint32_t)asy_json_len(ids);
}

static void test_digests(void) {
    struct asy_json *doc = read_json("schema/vectors/job/digests.json");
    struct asy_hash got, want;
    const struct asy_json *list = asy_json_get(doc, "jobId");
    CHECK(asy_json_len(list) > 0);
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *v = asy_json_at(list, i);
        struct asy_addr gateway;
        uint8_t random[16];
        hex(gateway.b, 20, v, "gateway");
        hex(random, 16, v, "random");
        struct asy_hash request = hash(v, "request");
        asy_job_id(&got, &gateway, random, &request);
        want = hash(v, "id");
        CHECK(asy_hash_eq(&got, &want));
    }
    list = asy_json_get(doc, "seed");
    CHECK(asy_json_len(list) > 0);
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *v = asy_json_at(list, i);
        struct asy_hash job = hash(v, "jobId"), model = hash(v, "model"),
                        request = hash(v, "request");
        int64_t seed = 0;
        bool given = !asy_json_is_null(asy_json_get(v, "clientSeed"));
        if (given) {
            struct asy_bytes text = str(v, "clientSeed");
            bool negative = text.p[0] == '-';
            asy_u128 magnitude;
            CHECK_OK(
                asy_u128_parse(&magnitude, asy_bytes_of(text.p + negative, text.n - negative)));
            seed = negative ? (int64_t)(0 - (uint64_t)magnitude) : (int64_t)magnitude;
        }
        asy_job_seed(&got, &job, given ? &seed : NULL, &model, &request);
        want = hash(v, "seed");
        CHECK(asy_hash_eq(&got, &want));
    }
    list = asy_json_get(doc, "sampling");
    CHECK(asy_json_len(list) > 0);
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *v = asy_json_at(list, i), *stop_list = asy_json_get(v, "stops");
        struct asy_buf settings, text[ASY_MAX_STOPS];
        struct asy_bytes stops[ASY_MAX_STOPS], s;
        asy_buf_init(&settings, 64);
        CHECK_OK(asy_0x_decode_buf(&settings, str(v, "settings")));
        size_t count = asy_json_len(stop_list);
        ASY_ASSERT(count <= ASY_MAX_STOPS);
        for (size_t k = 0; k < count; k++) {
            asy_buf_init(&text[k], ASY_MAX_STOP_LEN);
            CHECK_OK(asy_json_str(&s, asy_json_at(stop_list, k)));
            CHECK_OK(asy_0x_decode_buf(&text[k], s));
            stops[k] = asy_buf_bytes(&text[k]);
        }
        struct asy_hash seed = hash(v, "seed");
        asy_job_sampling_hash(&got, asy_buf_bytes(&settings), &seed, stops, (uint32_t)count);
        want = hash(v, "hash");
        CHECK(asy_hash_eq(&got, &want));
        for (size_t k = 0; k < count; k++) {
            asy_buf_done(&text[k]);
        }
        asy_buf_done(&settings);
    }
    list = asy_json_get(doc, "bias");
    CHECK(asy_json_len(list) > 0);
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *v = asy_json_at(list, i);
        struct asy_buf pairs;
        uint8_t settings[64] = {0};
        asy_buf_init(&pairs, 8 * ASY_MAX_BIAS);
        CHECK_OK(asy_0x_decode_buf(&pairs, str(v, "pairs")));
        asy_job_bias_digest(&got, asy_buf_bytes(&pairs));
        want = hash(v, "digest");
        CHECK(asy_hash_eq(&got, &want));
        memcpy(settings + 32, want.b, 32);
        struct asy_bytes s = asy_bytes_of(settings, sizeof settings);
        CHECK_OK(asy_job_bias_check(s, asy_buf_bytes(&pairs)));
        settings[63] ^= 1;
        CHECK_ERR(asy_job_bias_check(s, asy_buf_bytes(&pairs)), ASY_ERR_MISMATCH);
        CHECK_ERR(asy_job_bias_check(asy_bytes_of(settings, 63), asy_buf_bytes(&pairs)),
                  pairs.n == 0 ? ASY_OK : ASY_ERR_MISMATCH);
        asy_buf_done(&pairs);
    }
    static uint32_t ids[1024];
    list = asy_json_get(doc, "prompt");
    CHECK(asy_json_len(list) > 0);
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *v = asy_json_at(list, i);
        asy_prompt_digest(&got, ids, ids_of(ids, ASY_COUNT(ids), v, "ids"));
        want = hash(v, "digest");
        CHECK(asy_hash_eq(&got, &want));
    }
    list = asy_json_get(doc, "output");
    CHECK(asy_json_len(list) > 0);
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *v = asy_json_at(list, i);
        static uint32_t prior[1024];
        struct asy_output o = {.prompt = hash(v, "prompt"), .prior = prior, .ids = ids};
        uint64_t prompt_count = 0;
        CHECK_OK(asy_json_u64(&prompt_count, asy_json_get(v, "promptIds")));
        o.prompt_count = (uint32_t)prompt_count;
        o.prior_count = ids_of(prior, ASY_COUNT(prior), v, "prior");
        o.count = ids_of(ids, ASY_COUNT(ids), v, "ids");
        asy_output_digest(&got, &o);
        want = hash(v, "digest");
        CHECK(asy_hash_eq(&got, &want));
        struct asy_receipt r = {.in_tokens = o.prompt_count, .out_tokens = o.count, .output = want};
        CHECK_OK(asy_receipt_output_check(&r, &o.prompt, prior, o.prior_count, ids));
        r.in_tokens += UINT64_C(1) << 32; /* not to be cut off */
        CHECK_ERR(asy_receipt_output_check(&r, &o.prompt, prior, o.prior_count, ids),
                  ASY_ERR_MISMATCH);
        r.in_tokens = o.prompt_count + 1u;
        CHECK_ERR(asy_receipt_output_check(&r, &o.prompt, prior, o.prior_count, ids),
                  ASY_ERR_MISMATCH);
    }
    list = asy_json_get(doc, "objects");
    CHECK_U64(asy_json_len(list), ASY_COUNT(names));
    for (size_t i = 0; i < asy_json_len(list); i++) {
        const struct asy_json *v = asy_json_at(list, i);
        enum asy_object type = type_of(str(v, "type"));
        uint8_t bytes[ASY_OBJECT_MAX_LEN], again[ASY_OBJECT_MAX_LEN];
        hex(bytes, asy_object_len(type), v, "canonical");
        union asy_any_object a, b;
        struct asy_why why;
        CHECK_OK(asy_object_decode(&a, type, asy_bytes_of(bytes, asy_object_len(type))));
        asy_object_hash(&got, type, &a);
        want = hash(v, "structHash");
        CHECK(asy_hash_eq(&got, &want));
        CHECK_OK(asy_object_read_json(&b, type, asy_json_get(v, "json"), NULL, &why));
        asy_object_encode(again, type, &b);
        CHECK_MEM(bytes, again, asy_object_len(type));
    }
    asy_json_free(doc);
}

int main(void) {
    test_eip712();
    test_digests();
    return asy_test_end();
}
