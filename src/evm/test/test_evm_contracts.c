/* Calldata, events and errors against another implementation that read the contracts' ABI. */
#include "evm/test/vectors.h"

static struct asy_addr addr_of(uint8_t byte) {
    struct asy_addr a;
    memset(a.b, byte, sizeof a.b);
    return a;
}
static struct asy_hash hash_of(uint8_t byte) {
    struct asy_hash h;
    memset(h.b, byte, sizeof h.b);
    return h;
}
static asy_u128 pow10_u128(unsigned n) {
    asy_u128 v = 1;
    while (n-- > 0) {
        v *= 10;
    }
    return v;
}

static size_t compared;
static void compare(const struct asy_json *calls, const char *name, struct asy_buf *got,
                    enum asy_err err) {
    struct asy_buf want;
    asy_buf_init(&want, 65536);
    vectors_hex(&want, calls, name);
    CHECK_OK(err);
    if (!asy_bytes_eq(asy_buf_bytes(got), asy_buf_bytes(&want))) {
        fprintf(stderr, "calldata of %s differs\n", name);
        asy_test_failures++;
    }
    compared++;
    asy_buf_done(&want);
    asy_buf_clear(got);
}

static void test_calls(const struct asy_json *calls) {
    const asy_u128 one = 1, u96 = (one << 96) - 1;
    struct asy_addr a1 = addr_of(1), a2 = addr_of(2), a3 = addr_of(3), a4 = addr_of(4);
    struct asy_hash zero = hash_of(0), h5 = hash_of(5), h6 = hash_of(6), h9 = hash_of(9);
    uint8_t sig[65];
    memset(sig, 0xab, sizeof sig);
    struct asy_bytes signature = asy_bytes_of(sig, sizeof sig);
    struct asy_evm_cap cap = {.requester = a1,
                              .gateway = a2,
                              .max_spend = pow10_u128(15),
                              .max_locked = u96,
                              .max_price_in = 600000,
                              .max_price_out = ~(asy_u128)0,
                              .voucher_signer = a3,
                              .nonce = 7,
                              .deadline_s = 1800000000};
    struct asy_evm_ack ack = {
        .gateway = a2, .node = a3, .up_to = 12, .cum = pow10_u128(13), .pay_by_s = 1800000000};
    struct asy_evm_debit debits[] = {{1, 453, 123456789012345u, hash_of(0x11)},
                                     {UINT32_MAX, 4096, u96, hash_of(0x22)}};
    struct asy_evm_credit credits[] = {{1, 5}, {UINT32_MAX, u96}};
    char uri[64] = "https://models.example/";
    memset(uri + strlen(uri), 'x', 40);
    struct asy_buf b;
    asy_buf_init(&b, 65536);
    compare(calls, "mint", &b, asy_evm_enc_mint(&b, &a1, pow10_u128(12)));
    compare(calls, "approve", &b, asy_evm_enc_approve(&b, &a2, ~(asy_u128)0));
    compare(calls, "transfer", &b, asy_evm_enc_transfer(&b, &a2, pow10_u128(18)));
    compare(calls, "stake_register", &b,
            asy_evm_enc_stake_register(&b, ASY_EVM_ROLE_GATEWAY, 5000 * pow10_u128(18),
                                       ASY_STR("https://node.example:8443/v1 \xc3\xbc"), &h9));
    compare(calls, "stake_update", &b,
            asy_evm_enc_stake_update(&b, ASY_EVM_ROLE_NODE, ASY_STR(""), &zero));
    compare(calls, "stake_top_up", &b,
            asy_evm_enc_stake_top_up(&b, ASY_EVM_ROLE_NODE, &a4, pow10_u128(18)));
    compare(calls, "stake_announce_unbond", &b,
            asy_evm_enc_stake_announce_unbond(&b, ASY_EVM_ROLE_VALIDATOR, 1));
    compare(calls, "stake_withdraw", &b, asy_evm_enc_stake_withdraw(&b, ASY_EVM_ROLE_VALIDATOR));
    compare(
        calls, "model_register", &b,
        asy_evm_enc_model_register(&b, &h5, ASY_STR("smollm2-135m"), asy_bytes_of(uri, 63), &h6));
    compare(calls, "model_set_official", &b, asy_evm_enc_model_set_official(&b, &h5, true, &h6));
    compare(calls, "deposit", &b, asy_evm_enc_deposit(&b, &a1, UINT64_MAX));
    compare(calls, "withdraw", &b, asy_evm_enc_withdraw(&b, 1));
    compare(calls, "give", &b, asy_evm_enc_give(&b, &a2, u96));
    compare(calls, "allow", &b, asy_evm_enc_allow(&b, &a2, 5));
    compare(calls, "add_bond", &b, asy_evm_enc_add_bond(&b, &a2, pow10_u128(15)));
    compare(calls, "add_pool", &b, asy_evm_enc_add_pool(&b, 3));
    compare(calls, "announce_exit", &b, asy_evm_enc_announce_exit(&b));
    compare(calls, "exit", &b, asy_evm_enc_exit(&b));
    compare(calls, "collect_fees", &b, asy_evm_enc_collect_fees(&b, &a2));
    compare(calls, "open_lane", &b, asy_evm_enc_open_lane(&b, &cap, signature, 77));
    compare(calls, "pull", &b, asy_evm_enc_pull(&b, &cap, 78));
    compare(calls, "revoke", &b, asy_evm_enc_revoke(&b, &cap));
    compare(calls, "announce_close", &b, asy_evm_enc_announce_close(&b, &a2));
    compare(calls, "close", &b, asy_evm_enc_close(&b, &a2));
    compare(calls, "open_link", &b, asy_evm_enc_open_link(&b, &a2));
    compare(calls, "update_share", &b, asy_evm_enc_update_share(&b, &a2, &a3));
    compare(calls, "settle", &b, asy_evm_enc_settle(&b, 9, debits, 2, credits, 2));
    compare(calls, "settle_empty", &b, asy_evm_enc_settle(&b, 0, NULL, 0, NULL, 0));
    compare(calls, "retire", &b, asy_evm_enc_retire(&b, &a2, 100));
    compare(calls, "claim", &b, asy_evm_enc_claim(&b, &a2));
    compare(calls, "redeem", &b, asy_evm_enc_redeem(&b, &ack, signature));
    CHECK_U64(compared, asy_json_len(calls));

    CHECK_ERR(asy_evm_enc_give(&b, &a2, u96 + 1), ASY_ERR_RANGE);
    CHECK_ERR(asy_evm_enc_pull(&b, &cap, u96 + 1), ASY_ERR_RANGE);
    CHECK_ERR(asy_evm_enc_open_lane(&b, &cap, signature, u96 + 1), ASY_ERR_RANGE);
    debits[0].count = 4097;
    CHECK_ERR(asy_evm_enc_settle(&b, 9, debits, 2, credits, 2), ASY_ERR_RANGE);
    debits[0].count = 0;
    CHECK_ERR(asy_evm_enc_settle(&b, 9, debits, 2, credits, 2), ASY_ERR_RANGE);
    credits[1].cum = u96 + 1;
    CHECK_ERR(asy_evm_enc_settle(&b, 9, NULL, 0, credits, 2), ASY_ERR_RANGE);
    asy_buf_done(&b);
}

/* A log of the vectors: values are 1, 2, ... by place: address and hash bytes, 1001 times the place
 * for numbers, "text <place>". */
static void read_log(struct asy_evm_log *log, struct asy_buf *data, const struct asy_json *v) {
    const struct asy_json *topics = asy_json_get(v, "topics");
    struct asy_bytes text;
    *log = (struct asy_evm_log){.topic_count = (uint8_t)asy_json_len(topics)};
    for (size_t i = 0; i < log->topic_count; i++) {
        CHECK_OK(asy_json_str(&text, asy_json_at(topics, i)));
        CHECK_OK(asy_hash_parse(&log->topics[i], text));
    }
    asy_buf_clear(data);
    vectors_hex(data, v, "data");
    log->data = asy_buf_bytes(data);
}

static void decode(struct asy_evm_event *event, struct asy_buf *data, const struct asy_json *events,
                   const char *signature) {
    struct asy_evm_log log;
    memset(event, 0, sizeof *event);
    read_log(&log, data, asy_json_get(events, signature));
    CHECK_OK(asy_evm_event_decode(event, &log));
}

static void test_fields(const struct asy_json *events) {
    struct asy_buf data;
    struct asy_evm_event e;
    struct asy_addr a1 = addr_of(1), a2 = addr_of(2), a3 = addr_of(3), a4 = addr_of(4);
    struct asy_hash h1 = hash_of(1), h3 = hash_of(3), h4 = hash_of(4), h5 = hash_of(5);
    asy_buf_init(&data, 65536);
    decode(&e, &data, events, "Settled(address,uint64,bytes32,uint96,uint96)");
    CHECK(e.type == ASY_EVM_EVENT_SETTLED && asy_addr_eq(&e.gateway, &a1) && e.number == 2002 &&
          asy_hash_eq(&e.hash, &h3) && e.amount == 4004 && e.amount2 == 5005);
    decode(&e, &data, events, "LaneOpened(address,uint32,address,address)");
    CHECK(e.type == ASY_EVM_EVENT_LANE_OPENED && asy_addr_eq(&e.gateway, &a1) && e.id == 2002 &&
          asy_addr_eq(&e.account, &a3) && asy_addr_eq(&e.other, &a4));
    decode(&e, &data, events, "LinkOpened(address,uint32,address,uint16)");
    CHECK(e.type == ASY_EVM_EVENT_LINK_OPENED && e.id == 2002 && asy_addr_eq(&e.account, &a3) &&
          e.bps == 4004);
    decode(&e, &data, events, "CapRegistered(address,uint32,bytes32,uint40)");
    CHECK(e.type == ASY_EVM_EVENT_CAP_REGISTERED && e.id == 2002 && asy_hash_eq(&e.hash, &h3) &&
          e.at_s == 4004);
    decode(&e, &data, events, "Redeemed(address,uint32,uint96,uint96)");
    CHECK(e.type == ASY_EVM_EVENT_REDEEMED && e.id == 2002 && e.amount == 3003 &&
          e.amount2 == 4004);
    decode(&e, &data, events, "Registered(uint8,address,string,bytes32)");
    CHECK(e.type == ASY_EVM_EVENT_STAKE_REGISTERED && e.role == 2 && asy_addr_eq(&e.account, &a2) &&
          asy_bytes_eq(e.text, ASY_STR("text 3")) && asy_hash_eq(&e.hash, &h4));
    decode(&e, &data, events, "ModelRegistered(bytes32,address,string,string,bytes32)");
    CHECK(e.type == ASY_EVM_EVENT_MODEL_REGISTERED && asy_hash_eq(&e.hash, &h1) &&
          asy_bytes_eq(e.text, ASY_STR("text 3")) && asy_bytes_eq(e.text2, ASY_STR("text 4")) &&
          asy_hash_eq(&e.hash2, &h5));
    decode(&e, &data, events,
           "Demanded(uint256,address,uint64,address,(uint32,uint32,uint64,uint96,uint96,bytes32),"
           "uint32,bool,uint40)");
    struct asy_hash entry_tree = hash_of(11);
    CHECK(e.type == ASY_EVM_EVENT_DEMANDED && e.demand == 1001 && asy_addr_eq(&e.gateway, &a2) &&
          e.number == 3003 && asy_addr_eq(&e.account, &a4) && e.id == 6006 && e.count == 7007 &&
          e.first == 8008 && e.amount == 9009 && e.amount2 == 10010 &&
          asy_hash_eq(&e.hash, &entry_tree) && e.index == 6006 && e.opening && e.at_s == 8008);
    asy_buf_done(&data);
}

/* Every event of the contracts is decoded, or is one of those that nothing here reads. */
static void test_events(const struct asy_json *events) {
    static const char *const unread[] = {"DelegateChanged",
                                         "DelegateVotesChanged",
                                         "EIP712DomainChanged",
                                         "Equivocated",
                                         "Opened",
                                         "MinimumChanged",
                                         "RoleAdminChanged",
                                         "RoleGranted",
                                         "RoleRevoked",
                                         "Slashed",
                                         "OwnershipTransferred",
                                         "OwnershipTransferStarted"};
    struct asy_json_iter it = {events, NULL};
    struct asy_bytes key;
    const struct asy_json *v;
    size_t decoded = 0, passed = 0;
    struct asy_buf data;
    asy_buf_init(&data, 65536);
    while (asy_json_next(&it, &key, &v)) {
        struct asy_evm_log log;
        struct asy_evm_event event;
        struct asy_hash topic;
        bool skip = false;
        for (size_t i = 0; i < ASY_COUNT(unread); i++) {
            size_t n = strlen(unread[i]);
            skip = skip || (key.n > n && memcmp(key.p, unread[i], n) == 0 && key.p[n] == '(');
        }
        read_log(&log, &data, v);
        enum asy_err err = asy_evm_event_decode(&event, &log);
        if (err != (skip ? ASY_ERR_UNKNOWN : ASY_OK)) {
            fprintf(stderr, "event %.*s: %s\n", (int)key.n, (const char *)key.p, asy_err_name(err));
            asy_test_failures++;
            continue;
        }
        decoded += err == ASY_OK;
        passed += skip;
        if (err == ASY_OK) {
            asy_evm_event_topic(&topic, event.type);
            CHECK(asy_hash_eq(&topic, &log.topics[0]));
            for (size_t n = 0; n < log.data.n;
                 n++) { /* cut data never decodes: each word of it is used */
                struct asy_evm_log cut = log;
                cut.data.n = n;
                CHECK(asy_evm_event_decode(&event, &cut) != ASY_OK);
            }
            log.topic_count--;
            CHECK_ERR(asy_evm_event_decode(&event, &log), ASY_ERR_UNKNOWN);
        }
    }
    CHECK_U64(decoded, ASY_EVM_EVENT_COUNT);
    CHECK_U64(passed, ASY_COUNT(unread));
    asy_buf_done(&data);
}

static void check_text(struct asy_bytes data, const char *want) {
    char text[200];
    asy_evm_revert_text(text, sizeof text, data);
    CHECK_STR(text, want);
}

static void test_errors(const struct asy_json *errors) {
    struct asy_json_iter it = {errors, NULL};
    struct asy_bytes key, text;
    const struct asy_json *v;
    struct asy_buf data;
    size_t count = 0;
    asy_buf_init(&data, 65536);
    while (asy_json_next(&it, &key, &v)) {
        char got[200];
        asy_buf_clear(&data);
        CHECK_OK(asy_json_str(&text, v));
        CHECK_OK(asy_0x_decode_buf(&data, text));
        asy_evm_revert_text(got, sizeof got, asy_buf_bytes(&data));
        size_t name = 0;
        while (name < key.n && key.p[name] != '(') {
            name++;
        }
        CHECK(strlen(got) > name && memcmp(got, key.p, name) == 0 && got[name] == '(');
        char tiny[4];
        asy_evm_revert_text(tiny, sizeof tiny, asy_buf_bytes(&data));
        CHECK(memcmp(tiny, got, 3) == 0 && tiny[3] == 0);
        count++;
    }
    CHECK(count > 80);
    asy_buf_clear(&data);
    vectors_hex(&data, errors, "ERC20InsufficientBalance(address,uint256,uint256)");
    check_text(asy_buf_bytes(&data),
               "ERC20InsufficientBalance(sender: 0x0101010101010101010101010101010101010101, "
               "balance: 2002, needed: 3003)");
    asy_buf_clear(&data);
    vectors_hex(&data, errors, "WrongNumber(uint64)");
    check_text(asy_buf_bytes(&data), "WrongNumber(expected: 1001)");
    asy_buf_done(&data);
}

static void test_creation_code(void) {
    static const char *const names[] = {"DevUSD",        "Token", "StakeRegistry",
                                        "ModelRegistry", "Vault", "Court"};
    struct asy_buf code;
    asy_buf_init(&code, 65536);
    for (size_t i = 0; i < ASY_COUNT(names); i++) {
        asy_buf_clear(&code);
        CHECK_OK(asy_evm_creation_code(&code, names[i]));
        CHECK(code.n > 500 && code.p[0] == 0x60 + (code.p[0] & 1));
    }
    CHECK_ERR(asy_evm_creation_code(&code, "Nothing"), ASY_ERR_NOT_FOUND);
    asy_buf_done(&code);
}

static void test_market_file(void) {
    struct asy_evm_market m = {.chain_id = 31337,
                               .from_block = 12,
                               .usd = addr_of(1),
                               .token = addr_of(2),
                               .vault = addr_of(5)},
                          got;
    struct asy_buf text;
    struct asy_why why;
    asy_buf_init(&text, 4096);
    CHECK_OK(asy_evm_market_format(&text, &m));
    CHECK_OK(asy_evm_market_parse(&got, asy_buf_bytes(&text), &why));
    CHECK_MEM(&m, &got, sizeof m);
    CHECK_ERR(asy_evm_market_parse(&got, ASY_STR("{\"chain_id\":1}"), &why), ASY_ERR_MISSING);
    CHECK_ERR(asy_evm_market_parse(
                  &got,
                  ASY_STR("{\"chain_id\":1,\"from_block\":0,\"contracts\":{\"Vault\":\"0x12\"}}"),
                  &why),
              ASY_ERR_SYNTAX);
    CHECK_STR(why.param, "contracts.Vault");
    asy_buf_done(&text);
}

int main(void) {
    struct asy_json *doc = vectors_read("src/evm/vectors/calls.json");
    test_calls(asy_json_get(doc, "calls"));
    test_fields(asy_json_get(doc, "events"));
    test_events(asy_json_get(doc, "events"));
    test_errors(asy_json_get(doc, "errors"));
    asy_json_free(doc);
    test_creation_code();
    test_market_file();
    return asy_test_end();
}
