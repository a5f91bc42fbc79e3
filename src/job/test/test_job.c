/* The objects as bytes and as JSON, the rules of prices, receipts and terms, and the collector of
 * checkpoints. */
#include "base/test.h"
#include "job/job.h"
#include "merkle/merkle.h"

static const uint32_t lens[] = {ASY_CAP_LEN,        ASY_TERMS_LEN, ASY_RECEIPT_LEN,
                                ASY_CHECKPOINT_LEN, ASY_ACK_LEN,   ASY_VOUCHER_LEN};
static struct asy_why why;

/* ---- bytes and JSON -------------------------------------------------------------------------- */

static void test_binary(void) {
    for (unsigned t = 0; t < ASY_COUNT(lens); t++) {
        enum asy_object type = (enum asy_object)t;
        CHECK_U64(asy_object_len(type), lens[t]);
        for (int round = 0; round < 200; round++) {
            uint8_t bytes[ASY_OBJECT_MAX_LEN + 1], again[ASY_OBJECT_MAX_LEN];
            union asy_any_object object, untouched;
            asy_test_fill(bytes, sizeof bytes);
            bytes[0] = 1;
            CHECK_OK(asy_object_decode(&object, type, asy_bytes_of(bytes, lens[t])));
            asy_object_encode(again, type, &object);
            CHECK_MEM(bytes, again, lens[t]);
            /* a changed bit changes the hash: every field is in it */
            struct asy_hash before, after;
            asy_object_hash(&before, type, &object);
            bytes[1 + asy_test_random() % (lens[t] - 1)] ^= (uint8_t)(1u << asy_test_random() % 8);
            CHECK_OK(asy_object_decode(&object, type, asy_bytes_of(bytes, lens[t])));
            asy_object_hash(&after, type, &object);
            CHECK(!asy_hash_eq(&before, &after));
            memset(&object, 0xa5, sizeof object);
            untouched = object;
            CHECK_ERR(asy_object_decode(&object, type, asy_bytes_of(bytes, lens[t] - 1)),
                      ASY_ERR_SYNTAX);
            CHECK_ERR(asy_object_decode(&object, type, asy_bytes_of(bytes, lens[t] + 1)),
                      ASY_ERR_SYNTAX);
            CHECK_ERR(asy_object_decode(&object, type, asy_bytes_of(bytes, 0)), ASY_ERR_SYNTAX);
            bytes[0] = round % 2 == 0 ? 0 : 2;
            CHECK_ERR(asy_object_decode(&object, type, asy_bytes_of(bytes, lens[t])),
                      ASY_ERR_VERSION);
            CHECK_MEM(&object, &untouched, sizeof object);
        }
    }
}

static enum asy_err read_text(union asy_any_object *ret, enum asy_object type,
                              struct asy_bytes text, const char *at) {
    struct asy_json *doc;
    CHECK_OK(asy_json_parse(&doc, text, ASY_MAX_JSON_DEPTH, &why));
    enum asy_err err = asy_object_read_json(ret, type, doc, at, &why);
    asy_json_free(doc);
    return err;
}

static void test_json(void) {
    struct asy_buf text;
    asy_buf_init(&text, 4096);
    for (unsigned t = 0; t < ASY_COUNT(lens); t++) {
        enum asy_object type = (enum asy_object)t;
        for (int round = 0; round < 200; round++) {
            uint8_t bytes[ASY_OBJECT_MAX_LEN], again[ASY_OBJECT_MAX_LEN];
            union asy_any_object object, back;
            struct asy_jw w;
            asy_test_fill(bytes, sizeof bytes);
            bytes[0] = 1;
            CHECK_OK(asy_object_decode(&object, type, asy_bytes_of(bytes, lens[t])));
            asy_buf_clear(&text);
            asy_jw_init(&w, &text);
            asy_object_write_json(&w, type, &object);
            CHECK_OK(asy_jw_finish(&w));
            struct asy_json *doc;
            if (asy_json_parse(&doc, asy_buf_bytes(&text), ASY_MAX_JSON_DEPTH, &why) != ASY_OK) {
                continue; /* an integer of 2^63 or more: JSON here does not hold it */
            }
            CHECK_OK(asy_object_read_json(&back, type, doc, NULL, &why));
            asy_object_encode(again, type, &back);
            CHECK_MEM(bytes, again, lens[t]);
            asy_json_free(doc);
        }
    }
    asy_buf_done(&text);
}

/* One Ack, with one thing wrong each time. */
static void test_json_refusals(void) {
#define GW   "\"gateway\":\"0x0000000000000000000000000000000000000001\""
#define NODE "\"node\":\"0x0000000000000000000000000000000000000002\""
    static const struct {
        const char *text;
        enum asy_err want;
        const char *param;
    } cases[] = {
        {"{" GW "," NODE ",\"upTo\":1,\"cum\":\"2\",\"payBy\":3}", ASY_OK, ""},
        {"{\"payBy\":3,\"cum\":\"2\"," NODE ",\"upTo\":9223372036854775807," GW "}", ASY_OK,
         ""}, /* any order */
        {"{" GW "," NODE ",\"upTo\":1,\"cum\":\"2\"}", ASY_ERR_MISSING, "acks[1].payBy"},
        {"{" GW "," NODE ",\"upTo\":1,\"cum\":\"2\",\"payBy\":null}", ASY_ERR_MISSING,
         "acks[1].payBy"},
        {"{" GW "," NODE ",\"upTo\":1,\"cum\":\"2\",\"payBy\":3,\"note\":1}", ASY_ERR_UNKNOWN,
         "acks[1].note"},
        {"{" GW "," NODE ",\"upTo\":\"1\",\"cum\":\"2\",\"payBy\":3}", ASY_ERR_TYPE,
         "acks[1].upTo"},
        {"{" GW "," NODE ",\"upTo\":1.5,\"cum\":\"2\",\"payBy\":3}", ASY_ERR_TYPE, "acks[1].upTo"},
        {"{" GW "," NODE ",\"upTo\":-1,\"cum\":\"2\",\"payBy\":3}", ASY_ERR_RANGE, "acks[1].upTo"},
        {"{" GW "," NODE ",\"upTo\":1,\"cum\":2,\"payBy\":3}", ASY_ERR_TYPE, "acks[1].cum"},
        {"{" GW "," NODE ",\"upTo\":1,\"cum\":\"\",\"payBy\":3}", ASY_ERR_SYNTAX, "acks[1].cum"},
        {"{" GW "," NODE ",\"upTo\":1,\"cum\":\"02\",\"payBy\":3}", ASY_ERR_SYNTAX, "acks[1].cum"},
        {"{" GW "," NODE ",\"upTo\":1,\"cum\":\"-2\",\"payBy\":3}", ASY_ERR_SYNTAX, "acks[1].cum"},
        {"{" GW "," NODE
         ",\"upTo\":1,\"cum\":\"340282366920938463463374607431768211455\",\"payBy\":3}",
         ASY_OK, ""},
        {"{" GW "," NODE
         ",\"upTo\":1,\"cum\":\"340282366920938463463374607431768211456\",\"payBy\":3}",
         ASY_ERR_OVERFLOW, "acks[1].cum"},
        {"{" GW ",\"node\":\"0x02\",\"upTo\":1,\"cum\":\"2\",\"payBy\":3}", ASY_ERR_SYNTAX,
         "acks[1].node"},
        {"{" GW ",\"node\":\"0xA414ae28DBD543Ba4aDa4ecC71c1148aEab98F8b\",\"upTo\":1,\"cum\":\"2\","
         "\"payBy\":3}",
         ASY_ERR_MISMATCH, "acks[1].node"},
        {"{" GW ",\"node\":2,\"upTo\":1,\"cum\":\"2\",\"payBy\":3}", ASY_ERR_TYPE, "acks[1].node"},
        {"[]", ASY_ERR_TYPE, "acks[1]"},
        {"null", ASY_ERR_TYPE, "acks[1]"},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        union asy_any_object got, untouched;
        memset(&got, 0x5a, sizeof got);
        untouched = got;
        why = (struct asy_why){{0}, {0}};
        CHECK_ERR(read_text(&got, ASY_OBJ_ACK, asy_bytes_cstr(cases[i].text), "acks[1]"),
                  cases[i].want);
        CHECK_STR(why.param, cases[i].param);
        CHECK((memcmp(&got, &untouched, sizeof got) == 0) == (cases[i].want != ASY_OK));
    }
    union asy_any_object got;
    CHECK_ERR(asy_object_read_json(&got, ASY_OBJ_ACK, NULL, NULL, NULL), ASY_ERR_TYPE);
    /* what does not fit its field */
    CHECK_ERR(read_text(&got, ASY_OBJ_VOUCHER,
                        ASY_STR("{\"requester\":\"0x0000000000000000000000000000000000000001\"," GW
                                ",\"lane\":4294967296,\"cum\":\"0\"}"),
                        NULL),
              ASY_ERR_RANGE);
    CHECK_STR(why.param, "lane");
}

/* ---- rules ----------------------------------------------------------------------------------- */

static const asy_u128 U128_MAX = ~(asy_u128)0;

static void test_cost(void) {
    static const struct {
        uint64_t in, cached, out;
        asy_u128 price_in, price_cached, price_out;
        enum asy_err err;
        asy_u128 want;
    } cases[] = {
        {0, 0, 0, 5, 5, 5, ASY_OK, 0},
        {10, 0, 3, 2, 1, 7, ASY_OK, 41},
        {10, 4, 3, 2, 1, 7, ASY_OK, 37},
        {10, 10, 0, 2, 1, 7, ASY_OK, 10},
        {10, 11, 0, 2, 1, 7, ASY_ERR_RANGE, 0},
        {1, 0, 1, 0, 0, 0, ASY_OK, 0},
        {UINT64_MAX, 0, 0, (asy_u128)1 << 64, 0, 0, ASY_OK, (asy_u128)UINT64_MAX << 64},
        {UINT64_MAX, 0, 0, ((asy_u128)1 << 64) + 2, 0, 0, ASY_ERR_OVERFLOW, 0},
        {1, 0, 1, ~(asy_u128)0, 0, 0, ASY_OK, ~(asy_u128)0},
        {1, 0, 1, ~(asy_u128)0, 0, 1, ASY_ERR_OVERFLOW, 0},
        {2, 1, 0, ~(asy_u128)0, 1, 0, ASY_ERR_OVERFLOW, 0},
        {0, 0, 2, 0, 0, ~(asy_u128)0, ASY_ERR_OVERFLOW, 0},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_terms t = {.price_in = cases[i].price_in,
                              .price_cached = cases[i].price_cached,
                              .price_out = cases[i].price_out};
        asy_u128 got = 77;
        CHECK_ERR(asy_job_cost(&got, &t, cases[i].in, cases[i].cached, cases[i].out), cases[i].err);
        CHECK(got == (cases[i].err == ASY_OK ? cases[i].want : 77));
    }
    struct asy_terms t = {
        .max_in = 100, .max_out = 10, .price_in = 2, .price_cached = 1, .price_out = 3};
    asy_u128 worst = 0;
    CHECK_OK(asy_job_worst_cost(&worst, &t));
    CHECK(worst == 230);
    for (int round = 0; round < 500; round++) { /* nothing within the maxima costs more */
        asy_u128 cost;
        uint64_t in = asy_test_random() % 101;
        CHECK_OK(asy_job_cost(&cost, &t, in, asy_test_random() % (in + 1), asy_test_random() % 11));
        CHECK(cost <= worst);
    }
    t.price_out = U128_MAX;
    CHECK_ERR(asy_job_worst_cost(&worst, &t), ASY_ERR_OVERFLOW);
}

static void test_receipt(void) {
    const struct asy_terms terms = {.job_id = {{1}},
                                    .max_in = 100,
                                    .max_out = 10,
                                    .price_in = 2,
                                    .price_cached = 1,
                                    .price_out = 3};
    struct asy_receipt good = {.in_tokens = 50,
                               .cached_tokens = 20,
                               .out_tokens = 10,
                               .finish = ASY_FINISH_LENGTH,
                               .first_ms = 5,
                               .last_ms = 9,
                               .amount = 30 * 2 + 20 + 30};
    asy_object_hash(&good.terms, ASY_OBJ_TERMS, &terms);
    CHECK_OK(asy_receipt_check(&good, &terms, NULL));
    static const struct {
        const char *param;
        enum asy_err want;
        int64_t in, cached, out, amount;
        uint8_t finish;
        uint64_t first_ms;
    } cases[] = {
        {"", ASY_OK, 0, 0, 0, 0, ASY_FINISH_STOP, 9},
        {"", ASY_OK, 0, 0, 0, 0, ASY_FINISH_LINK, 0},
        {"", ASY_OK, 50, 0, 0, 100, ASY_FINISH_STOP, 5}, /* the maximum itself */
        {"inTokens", ASY_ERR_RANGE, 51, 0, 0, 102, ASY_FINISH_STOP, 5},
        {"outTokens", ASY_ERR_RANGE, 0, 0, 1, 3, ASY_FINISH_STOP, 5},
        {"finish", ASY_ERR_RANGE, 0, 0, 0, 0, 0, 5},
        {"finish", ASY_ERR_RANGE, 0, 0, 0, 0, 5, 5},
        {"firstMs", ASY_ERR_RANGE, 0, 0, 0, 0, ASY_FINISH_STOP, 10},
        {"cachedTokens", ASY_ERR_RANGE, 0, 31, 0, 0, ASY_FINISH_STOP, 5},
        {"amount", ASY_ERR_MISMATCH, 0, 0, 0, 1, ASY_FINISH_STOP, 5},
        {"amount", ASY_ERR_MISMATCH, 0, 0, 0, -1, ASY_FINISH_STOP, 5}, /* not even less */
        {"amount", ASY_ERR_MISMATCH, 1, 0, 0, 0, ASY_FINISH_STOP, 5},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_receipt r = good;
        r.in_tokens += (uint64_t)cases[i].in;
        r.cached_tokens += (uint64_t)cases[i].cached;
        r.out_tokens += (uint64_t)cases[i].out;
        r.amount = r.amount + (uint64_t)(1000 + cases[i].amount) - 1000;
        r.finish = cases[i].finish;
        r.first_ms = cases[i].first_ms;
        why = (struct asy_why){{0}, {0}};
        CHECK_ERR(asy_receipt_check(&r, &terms, &why), cases[i].want);
        CHECK_STR(why.param, cases[i].param);
    }
    struct asy_terms other = terms;
    other.price_out++;
    CHECK_ERR(asy_receipt_check(&good, &other, &why), ASY_ERR_MISMATCH);
    CHECK_STR(why.param, "terms");
}

static void test_terms(void) {
    const struct asy_cap cap = {.requester = {{1}},
                                .gateway = {{2}},
                                .max_price_in = 20,
                                .max_price_out = 30,
                                .deadline = 5000};
    struct asy_terms good = {.requester = {{1}},
                             .gateway = {{2}},
                             .price_in = 20,
                             .price_cached = 20,
                             .price_out = 30,
                             .issued_at = 5000,
                             .deadline = 5600};
    asy_object_hash(&good.cap, ASY_OBJ_CAP, &cap);
    CHECK_OK(asy_terms_check(&good, &cap, NULL));
    struct {
        struct asy_terms t;
        enum asy_err want;
        const char *param;
    } cases[9];
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        cases[i].t = good;
        cases[i].want = ASY_ERR_RANGE;
    }
#define CASE(n, change, err, name)                                                                 \
    cases[n].t.change;                                                                             \
    cases[n].want = err;                                                                           \
    cases[n].param = name
    CASE(0, cap.b[0] ^= 1, ASY_ERR_MISMATCH, "cap");
    CASE(1, requester.b[0] = 9, ASY_ERR_MISMATCH, "requester");
    CASE(2, gateway.b[0] = 9, ASY_ERR_MISMATCH, "gateway");
    CASE(3, price_in = 21, ASY_ERR_RANGE, "priceIn");
    CASE(4, price_in = 19, ASY_ERR_RANGE, "priceCached");
    CASE(5, price_out = 31, ASY_ERR_RANGE, "priceOut");
    CASE(6, issued_at = 5001, ASY_ERR_RANGE, "issuedAt");
    CASE(7, deadline = 5601, ASY_ERR_RANGE, "deadline");
    CASE(8, deadline = 4999, ASY_ERR_RANGE, "deadline");
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        CHECK_ERR(asy_terms_check(&cases[i].t, &cap, &why), cases[i].want);
        CHECK_STR(why.param, cases[i].param);
    }
    struct asy_cap listed = cap;
    listed.models.b[31] = 1;
    asy_object_hash(&good.cap, ASY_OBJ_CAP, &listed);
    CHECK_ERR(asy_terms_check(&good, &listed, &why), ASY_ERR_MISMATCH);
    CHECK_STR(why.param, "models");
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

static void test_checkpointer(void) {
    static struct asy_checkpointer cp;
    static struct asy_hash items[ASY_MAX_CHECKPOINT];
    const struct asy_addr signer = {{1}}, peer = {{2}};
    asy_test_fill(items, sizeof items);
    asy_checkpointer_init(&cp, ASY_CHECKPOINT_RECEIPTS, &signer, &peer, 7, 1000);
    uint64_t next = 1000, number = 7;
    static const uint32_t counts[] = {1, 2, 3, 255, 256, 5};
    for (size_t i = 0; i < ASY_COUNT(counts); i++) {
        for (uint32_t k = 0; k < counts[i]; k++) {
            CHECK_U64(asy_checkpointer_add(&cp, &items[k]), next + k);
        }
        struct asy_checkpoint c;
        asy_checkpointer_close(&cp, &c);
        CHECK(c.kind == ASY_CHECKPOINT_RECEIPTS && asy_addr_eq(&c.signer, &signer) &&
              asy_addr_eq(&c.peer, &peer));
        CHECK(c.number == number++ && c.first == next && c.count == counts[i]);
        next += counts[i];
        CHECK_OK(asy_checkpoint_check(&c, items, counts[i]));
        CHECK_ERR(asy_checkpoint_check(&c, items, counts[i] - 1), ASY_ERR_MISMATCH);
        CHECK_ERR(asy_checkpoint_check(&c, items + 1, counts[i] < 256 ? counts[i] : 0),
                  ASY_ERR_MISMATCH);
        CHECK_ERR(asy_checkpoint_check(&c, items, 257), ASY_ERR_MISMATCH);
        /* the same tree as merkle's */
        static struct asy_hash nodes[2 * ASY_MAX_CHECKPOINT + 8];
        memcpy(nodes, items, counts[i] * sizeof items[0]);
        CHECK_OK(asy_checkpoint_tree_build(nodes, counts[i]));
        struct asy_hash root = asy_checkpoint_tree_root(nodes, counts[i]);
        CHECK(asy_hash_eq(&root, &c.root));
    }
    struct asy_checkpoint none = {.count = 0};
    CHECK_ERR(asy_checkpoint_check(&none, items, 0), ASY_ERR_MISMATCH);
}

/* ---- audit records --------------------------------------------------------------------------- */

static bool same_record(const struct asy_audit_record *a, const struct asy_audit_record *b) {
    bool same = asy_bytes_eq(a->messages, b->messages) && asy_bytes_eq(a->settings, b->settings) &&
                asy_bytes_eq(a->bias, b->bias) && asy_hash_eq(&a->seed, &b->seed) &&
                a->stop_count == b->stop_count && a->prior_count == b->prior_count &&
                a->count == b->count &&
                memcmp(a->prior, b->prior, a->prior_count * sizeof a->prior[0]) == 0 &&
                memcmp(a->ids, b->ids, a->count * sizeof a->ids[0]) == 0;
    for (uint32_t i = 0; same && i < a->stop_count; i++) {
        same = asy_bytes_eq(a->stops[i], b->stops[i]);
    }
    return same;
}

static void test_record(void) {
    static uint32_t ids[ASY_MAX_TOKENS];
    static uint8_t bytes[64 + 8 * ASY_MAX_BIAS];
    asy_test_fill(ids, sizeof ids);
    asy_test_fill(bytes, sizeof bytes);
    for (int round = 0; round < 40; round++) {
        struct asy_audit_record r = {
            .messages = ASY_STR("{\"messages\":[]}"),
            .settings = asy_bytes_of(bytes, 64),
            .bias = asy_bytes_of(bytes + 64, 8 * (size_t)(round % 3 * 150)),
            .stops = {ASY_STR("a"), ASY_STR("\n"), ASY_STR("stop"), ASY_STR("...")},
            .stop_count = (uint32_t)round % 5,
            .prior = ids,
            .prior_count = round % 2 == 0 ? 0 : (uint32_t)(asy_test_random() % 100),
            .ids = ids + 100,
            .count = round == 7 ? ASY_MAX_TOKENS - 100 : (uint32_t)(asy_test_random() % 100),
        };
        struct asy_audit_record back, untouched;
        struct asy_buf buf;
        struct asy_arena arena;
        asy_test_fill(r.seed.b, 32);
        asy_buf_init(&buf, ASY_MAX_AUDIT_RECORD);
        asy_arena_init(&arena, 8 * ASY_MAX_TOKENS + 64);
        CHECK_OK(asy_audit_record_encode(&buf, &r));
        CHECK_OK(asy_audit_record_decode(&back, &arena, asy_buf_bytes(&buf)));
        CHECK(same_record(&r, &back));
        /* a byte less or more is another document, and a failure touches nothing */
        memset(&back, 0xa5, sizeof back);
        untouched = back;
        CHECK_ERR(asy_audit_record_decode(&back, &arena, asy_bytes_of(buf.p, buf.n - 1)),
                  ASY_ERR_SYNTAX);
        asy_arena_reset(&arena);
        CHECK_OK(asy_buf_add_u8(&buf, 0));
        CHECK_ERR(asy_audit_record_decode(&back, &arena, asy_buf_bytes(&buf)), ASY_ERR_SYNTAX);
        buf.p[0] = 1;
        CHECK_ERR(asy_audit_record_decode(&back, &arena, asy_buf_bytes(&buf)), ASY_ERR_VERSION);
        CHECK_MEM(&back, &untouched, sizeof back);
        asy_arena_done(&arena);
        asy_buf_done(&buf);
    }
    struct asy_audit_record r = {.settings = asy_bytes_of(bytes, 64)};
    struct asy_buf small;
    asy_buf_init(&small, 50);
    CHECK_ERR(asy_audit_record_encode(&small, &r), ASY_ERR_TOO_LONG);
    asy_buf_done(&small);
}

int main(void) {
    test_record();
    test_binary();
    test_json();
    test_json_refusals();
    test_cost();
    test_receipt();
    test_terms();
    test_checkpointer();
    return asy_test_end();
}
