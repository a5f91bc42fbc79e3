/* The contracts on a real chain: deployed once, found again, and the honest path of money through
 * them, by calls, views, events and reverts. */
#include "evm/test/chain.h"

#define PICO_PER_UNIT 1000000u
#define USD(n)        ((asy_u128)(n)*1000000u)            /* base units */
#define PICO(n)       ((asy_u128)(n)*1000000u * 1000000u) /* pico */
#define ASSAY(n)      ((asy_u128)(n)*1000000000000000000u)

static struct chain c;
static struct user owner, requester, gateway, node;
static struct asy_evm_market market;
static struct asy_arena arena;

static struct asy_evm_market_params params_of(void) {
    struct asy_evm_market_params params = chain_market_params(&owner.acc.addr);
    params.min_stake[0] = ASSAY(100);
    params.min_stake[1] = ASSAY(1000);
    params.min_stake[2] = ASSAY(10);
    return params;
}

/* Sends calldata and frees it; what came of it is in the receipt. */
static enum asy_err send(struct user *from, const struct asy_addr *to, struct asy_buf *calldata,
                         struct asy_evm_receipt *r) {
    struct asy_evm_intent intent = {.to = to, .data = asy_buf_bytes(calldata)};
    struct asy_evm_submit_options options = {.confirmations = 1, .deadline_ns = in_s(30)};
    enum asy_err err = asy_evm_submit(&from->acc, c.evm, r, &arena, &intent, &options, &why);
    asy_buf_clear(calldata);
    return err;
}
#define DO(from, to, encode)                                                                       \
    do {                                                                                           \
        CHECK_OK(encode);                                                                          \
        MUST(send(&(from), &market.to, &buf, &r));                                                 \
    } while (0)

static struct asy_evm_event event_of(const struct asy_evm_receipt *r,
                                     enum asy_evm_event_type type) {
    struct asy_evm_event event;
    for (size_t i = 0; i < r->logs.count; i++) {
        if (asy_evm_event_decode(&event, &r->logs.items[i]) == ASY_OK && event.type == type) {
            return event;
        }
    }
    fprintf(stderr, "no event of type %d\n", (int)type);
    exit(1);
}

static void test_deploy(void) {
    char path[100];
    struct asy_evm_market again;
    struct asy_evm_market_params params = params_of();
    (void)snprintf(path, sizeof path, "%s/market.json", c.dir);
    MUST(asy_evm_deploy_market(&owner.acc, c.evm, &market, &params, path, in_s(60), &why));
    uint64_t nonce = owner.acc.next_nonce;
    CHECK_U64(nonce, 6);
    MUST(asy_evm_deploy_market(&owner.acc, c.evm, &again, &params, path, in_s(60), &why));
    CHECK_MEM(&market, &again, sizeof market);
    CHECK_U64(owner.acc.next_nonce, nonce);

    /* Stopped before the Vault: the rest is done, what stands is kept. */
    struct asy_evm_market part = market;
    struct asy_buf text;
    asy_buf_init(&text, 4096);
    memset(&part.vault, 0, sizeof part.vault);
    memset(&part.court, 0, sizeof part.court);
    CHECK_OK(asy_evm_market_format(&text, &part));
    FILE *out = fopen(path, "we");
    CHECK(out != NULL && fwrite(text.p, 1, text.n, out) == text.n && fclose(out) == 0);
    MUST(asy_evm_deploy_market(&owner.acc, c.evm, &again, &params, path, in_s(60), &why));
    CHECK(asy_addr_eq(&again.token, &market.token) && !asy_addr_eq(&again.vault, &market.vault));
    CHECK_U64(owner.acc.next_nonce, nonce + 2);
    market = again;

    struct asy_evm_account elsewhere = owner.acc;
    elsewhere.chain_id = 1;
    CHECK_ERR(asy_evm_deploy_market(&elsewhere, c.evm, &again, &params, path, in_s(60), &why),
              ASY_ERR_MISMATCH);
    asy_buf_clear(&text);
    part = market;
    part.token.b[3] ^= 1;
    CHECK_OK(asy_evm_market_format(&text, &part));
    out = fopen(path, "we");
    CHECK(out != NULL && fwrite(text.p, 1, text.n, out) == text.n && fclose(out) == 0);
    CHECK_ERR(asy_evm_deploy_market(&owner.acc, c.evm, &again, &params, path, in_s(60), &why),
              ASY_ERR_MISMATCH);
    CHECK_STR(why.param, "Token");
    params.exit_s = 1; /* the constructor refuses, and says why */
    CHECK_ERR(asy_evm_deploy_market(&owner.acc, c.evm, &again, &params, NULL, in_s(60), &why),
              ASY_ERR_REVERTED);
    CHECK_STR(why.text, "reverted: BadProfile()");
    asy_buf_done(&text);
}

/* The struct hash of a cap, by the type of the settlement format, section 1.2. */
static void cap_hash(struct asy_hash *ret, const struct asy_evm_cap *cap) {
    struct asy_hash type;
    struct asy_eip712 e;
    asy_eip712_typehash(&type, ASY_STR("SpendingCap(address requester,address gateway,uint128 "
                                       "maxSpend,uint128 maxLocked,uint128 "
                                       "maxPriceIn,uint128 maxPriceOut,bytes32 models,address "
                                       "voucherSigner,uint64 nonce,uint64 deadline)"));
    asy_eip712_begin(&e, &type);
    asy_eip712_add_addr(&e, &cap->requester);
    asy_eip712_add_addr(&e, &cap->gateway);
    asy_eip712_add_u128(&e, cap->max_spend);
    asy_eip712_add_u128(&e, cap->max_locked);
    asy_eip712_add_u128(&e, cap->max_price_in);
    asy_eip712_add_u128(&e, cap->max_price_out);
    asy_eip712_add_hash(&e, &cap->models);
    asy_eip712_add_addr(&e, &cap->voucher_signer);
    asy_eip712_add_u64(&e, cap->nonce);
    asy_eip712_add_u64(&e, cap->deadline_s);
    asy_eip712_end(&e, ret);
}

static void stake(struct user *u, enum asy_evm_role role, asy_u128 amount) {
    struct asy_buf buf;
    struct asy_evm_receipt r;
    struct asy_hash no_key = {{0}};
    struct asy_evm_stake position;
    bool active;
    asy_buf_init(&buf, 65536);
    DO(owner, token, asy_evm_enc_transfer(&buf, &u->acc.addr, amount));
    DO(*u, token, asy_evm_enc_approve(&buf, &market.stake_registry, amount));
    MUST(asy_evm_stake_active(c.evm, &active, &market.stake_registry, role, &u->acc.addr, &why));
    CHECK(!active);
    DO(*u, stake_registry,
       asy_evm_enc_stake_register(&buf, role, amount, ASY_STR("https://test.example"), &no_key));
    struct asy_evm_event event = event_of(&r, ASY_EVM_EVENT_STAKE_REGISTERED);
    CHECK(event.role == role && asy_addr_eq(&event.account, &u->acc.addr) &&
          asy_bytes_eq(event.text, ASY_STR("https://test.example")));
    MUST(
        asy_evm_stake_position(c.evm, &position, &market.stake_registry, role, &u->acc.addr, &why));
    CHECK(position.stake == amount && position.registered && !position.banned &&
          position.unbonding == 0);
    MUST(asy_evm_stake_active(c.evm, &active, &market.stake_registry, role, &u->acc.addr, &why));
    CHECK(active);
    asy_buf_done(&buf);
}

/* From devUSD to a claim: stakes, bond, deposit, lane, link, a batch, hold, claim. */
static void test_money(void) {
    struct asy_buf buf;
    struct asy_evm_receipt r;
    asy_u128 amount;
    uint32_t lane, link;
    asy_buf_init(&buf, 65536);
    stake(&gateway, ASY_EVM_ROLE_GATEWAY, ASSAY(1000));
    stake(&node, ASY_EVM_ROLE_NODE, ASSAY(100));
    struct user *const payers[] = {&requester, &gateway};
    for (size_t i = 0; i < ASY_COUNT(payers); i++) {
        DO(owner, usd, asy_evm_enc_mint(&buf, &payers[i]->acc.addr, USD(5000)));
        DO(*payers[i], usd, asy_evm_enc_approve(&buf, &market.vault, USD(5000)));
        MUST(asy_evm_token_allowance(c.evm, &amount, &market.usd, &payers[i]->acc.addr,
                                     &market.vault, &why));
        CHECK(amount == USD(5000));
        DO(*payers[i], vault, asy_evm_enc_deposit(&buf, &payers[i]->acc.addr, (uint64_t)USD(5000)));
        CHECK(event_of(&r, ASY_EVM_EVENT_DEPOSITED).amount == PICO(5000));
        MUST(asy_evm_vault_free(c.evm, &amount, &market.vault, &payers[i]->acc.addr, &why));
        CHECK(amount == PICO(5000));
    }
    DO(gateway, vault, asy_evm_enc_add_bond(&buf, &gateway.acc.addr, PICO(2000)));

    struct asy_evm_cap cap = {.requester = requester.acc.addr,
                              .gateway = gateway.acc.addr,
                              .max_spend = PICO(1000),
                              .max_locked = PICO(100),
                              .max_price_in = 1000000,
                              .max_price_out = 2000000,
                              .nonce = 1,
                              .deadline_s = 4000000000u};
    struct asy_hash hash, domain, want_domain, digest;
    struct asy_sig sig;
    MUST(asy_evm_vault_domain(c.evm, &domain, &market.vault, &why));
    asy_eip712_domain(&want_domain, ASY_STR("Assay"), ASY_STR("1"), 31337, &market.vault);
    CHECK(asy_hash_eq(&domain, &want_domain));
    cap_hash(&hash, &cap);
    asy_eip712_digest(&digest, &domain, &hash);
    CHECK_OK(asy_secp_sign(&sig, &requester.key, &digest));
    DO(gateway, vault,
       asy_evm_enc_open_lane(&buf, &cap, asy_bytes_of(sig.b, sizeof sig.b), PICO(40)));
    struct asy_evm_event opened = event_of(&r, ASY_EVM_EVENT_LANE_OPENED);
    CHECK(opened.id == 1 && asy_addr_eq(&opened.gateway, &gateway.acc.addr) &&
          asy_addr_eq(&opened.account, &requester.acc.addr));
    struct asy_evm_event registered = event_of(&r, ASY_EVM_EVENT_CAP_REGISTERED);
    CHECK(asy_hash_eq(&registered.hash, &hash));
    MUST(asy_evm_vault_lane_of(c.evm, &lane, &market.vault, &gateway.acc.addr, &requester.acc.addr,
                               &why));
    CHECK_U64(lane, 1);
    DO(gateway, vault, asy_evm_enc_pull(&buf, &cap, PICO(10)));
    CHECK_OK(asy_evm_enc_pull(&buf, &cap, PICO(51)));
    CHECK_ERR(send(&gateway, &market.vault, &buf, &r), ASY_ERR_REVERTED);
    CHECK_STR(why.text, "reverted: LaneFull()");

    DO(node, vault, asy_evm_enc_open_link(&buf, &gateway.acc.addr));
    CHECK(event_of(&r, ASY_EVM_EVENT_LINK_OPENED).bps == 9500);
    MUST(asy_evm_vault_link_of(c.evm, &link, &market.vault, &gateway.acc.addr, &node.acc.addr,
                               &why));
    CHECK_U64(link, 1);

    struct asy_evm_debit debit = {
        .lane = lane, .count = 3, .spent = PICO(20) + 7, .tree = {{0xaa}}};
    struct asy_evm_credit credit = {.link = link, .cum = PICO(20) + 7};
    DO(gateway, vault, asy_evm_enc_settle(&buf, 0, &debit, 1, &credit, 1));
    struct asy_evm_event settled = event_of(&r, ASY_EVM_EVENT_SETTLED);
    CHECK(settled.number == 0 && settled.amount == PICO(20) + 7 && settled.amount2 == PICO(20) + 7);
    CHECK_OK(asy_evm_enc_settle(&buf, 0, &debit, 1, &credit, 1)); /* sent twice */
    CHECK_ERR(send(&gateway, &market.vault, &buf, &r), ASY_ERR_REVERTED);
    CHECK_STR(why.text, "reverted: WrongNumber(expected: 1)");

    struct asy_evm_lane l;
    struct asy_evm_gateway g;
    struct asy_evm_link k;
    struct asy_evm_batch b;
    struct asy_evm_cap_state s;
    MUST(asy_evm_vault_lane(c.evm, &l, &market.vault, &gateway.acc.addr, lane, &why));
    CHECK(l.locked == PICO(30) - 7 && l.spent == debit.spent && l.seq == 3 &&
          asy_addr_eq(&l.owner, &requester.acc.addr) && l.close_at_s == 0);
    MUST(asy_evm_vault_gateway(c.evm, &g, &market.vault, &gateway.acc.addr, &why));
    CHECK(g.bond == PICO(2000) && g.batches == 1 && g.lanes == 1 && g.links == 1 &&
          g.unfinal == debit.spent && g.pool == 0 && !g.jailed);
    MUST(asy_evm_vault_link(c.evm, &k, &market.vault, &gateway.acc.addr, link, &why));
    CHECK(k.cum == credit.cum && k.share_bps == 9500 && asy_addr_eq(&k.node, &node.acc.addr));
    MUST(asy_evm_vault_batch(c.evm, &b, &market.vault, &gateway.acc.addr, 0, &why));
    CHECK(b.total == debit.spent && b.entries == 1 && asy_hash_eq(&b.root, &settled.hash) &&
          b.at_s != 0);
    MUST(asy_evm_vault_cap(c.evm, &s, &market.vault, &hash, &why));
    CHECK(s.lane == lane && s.pulled == PICO(50) && s.nonce == 1 && s.ends_at_s == cap.deadline_s);
    MUST(asy_evm_vault_claimable(c.evm, &amount, &market.vault, &gateway.acc.addr, link, &why));
    CHECK(amount == 0);

    struct asy_evm_block latest;
    MUST(asy_evm_get_block_tag(c.evm, &latest, ASY_EVM_LATEST, &why));
    MUST(asy_evm_anvil_set_next_time(c.evm, latest.time_s + 3600, &why));
    MUST(asy_evm_anvil_mine(c.evm, 1, &why));
    MUST(asy_evm_vault_claimable(c.evm, &amount, &market.vault, &gateway.acc.addr, link, &why));
    CHECK(amount == credit.cum * 9500 / 10000);
    DO(node, vault, asy_evm_enc_claim(&buf, &gateway.acc.addr));
    CHECK(event_of(&r, ASY_EVM_EVENT_CLAIMED).amount == PICO(19));
    MUST(asy_evm_token_balance(c.evm, &amount, &market.usd, &node.acc.addr, &why));
    CHECK(amount == USD(19));

    DO(gateway, vault, asy_evm_enc_collect_fees(&buf, &gateway.acc.addr));
    struct asy_evm_event fees = event_of(&r, ASY_EVM_EVENT_FEES_COLLECTED);
    CHECK(fees.amount == PICO(1) / 2 && fees.amount2 == PICO(1) / 2);
    DO(requester, vault, asy_evm_enc_revoke(&buf, &cap));
    MUST(asy_evm_vault_min_nonce(c.evm, &amount, &market.vault, &requester.acc.addr,
                                 &gateway.acc.addr, &why));
    CHECK(amount == 2);
    DO(requester, vault, asy_evm_enc_announce_close(&buf, &gateway.acc.addr));
    CHECK(event_of(&r, ASY_EVM_EVENT_LANE_CLOSING).id == lane);
    CHECK_OK(asy_evm_enc_close(&buf, &gateway.acc.addr));
    CHECK_ERR(send(&requester, &market.vault, &buf, &r), ASY_ERR_REVERTED);
    CHECK(strncmp(why.text, "reverted: TooEarly(from: ", 25) == 0);
    DO(requester, vault, asy_evm_enc_withdraw(&buf, (uint64_t)USD(1)));
    MUST(asy_evm_token_balance(c.evm, &amount, &market.usd, &requester.acc.addr, &why));
    CHECK(amount == USD(1));
    asy_buf_done(&buf);
}

/* A transaction that is mined and reverts: gas given, so nothing was estimated. */
static void test_mined_revert(void) {
    struct asy_buf buf;
    struct asy_evm_receipt r = {.ok = true};
    asy_buf_init(&buf, 4096);
    CHECK_OK(asy_evm_enc_withdraw(&buf, UINT64_MAX));
    struct asy_evm_intent intent = {
        .to = &market.vault, .data = asy_buf_bytes(&buf), .gas = 100000};
    struct asy_evm_submit_options options = {.confirmations = 1, .deadline_ns = in_s(30)};
    CHECK_ERR(asy_evm_submit(&node.acc, c.evm, &r, NULL, &intent, &options, &why),
              ASY_ERR_REVERTED);
    CHECK(!r.ok && r.gas_used > 21000);
    CHECK(strncmp(why.text, "reverted: InsufficientFunds(account: 0x", 39) == 0);
    asy_buf_done(&buf);
}

static void test_models(void) {
    struct asy_buf buf;
    struct asy_evm_receipt r;
    struct asy_hash digest = {{7}}, root = {{8}};
    struct asy_addr publisher;
    bool official;
    asy_buf_init(&buf, 4096);
    MUST(asy_evm_model_publisher(c.evm, &publisher, &official, &market.model_registry, &digest,
                                 &why));
    CHECK(asy_addr_is_zero(&publisher) && !official);
    DO(node, model_registry,
       asy_evm_enc_model_register(&buf, &digest, ASY_STR("test"), ASY_STR("https://test.example/m"),
                                  &root));
    DO(owner, model_registry, asy_evm_enc_model_set_official(&buf, &digest, true, &root));
    MUST(asy_evm_model_publisher(c.evm, &publisher, &official, &market.model_registry, &digest,
                                 &why));
    CHECK(asy_addr_eq(&publisher, &node.acc.addr) && official);
    CHECK_OK(asy_evm_enc_model_set_official(&buf, &digest, false, &root));
    CHECK_ERR(send(&node, &market.model_registry, &buf, &r), ASY_ERR_REVERTED);
    CHECK(strncmp(why.text, "reverted: OwnableUnauthorizedAccount(account: 0x", 48) == 0);
    CHECK(asy_evm_vault_free(c.evm, &(asy_u128){0}, &node.acc.addr, &node.acc.addr, &why) ==
          ASY_ERR_CHAIN); /* no contract there */
    asy_buf_done(&buf);
}

/* ---- the follower on a chain that re-organises: what is applied is what eth_getLogs says ----- */

struct applied {
    struct asy_hash blocks[64];
    uint64_t numbers[64];
    size_t count, reverts, finals;
};
static enum asy_err on_follow(void *arg, const struct asy_evm_follow_event *e) {
    struct applied *a = arg;
    switch (e->kind) {
    case ASY_EVM_FOLLOW_APPLY:
        CHECK(a->count < ASY_COUNT(a->blocks));
        a->blocks[a->count] = e->hash;
        a->numbers[a->count++] = e->number;
        break;
    case ASY_EVM_FOLLOW_REVERT:
        a->reverts++;
        while (a->count > 0 && a->numbers[a->count - 1] >= e->number) {
            a->count--;
        }
        break;
    case ASY_EVM_FOLLOW_FINAL:
        a->finals++;
        break;
    case ASY_EVM_FOLLOW_BLOCK:
        break;
    case ASY_EVM_FOLLOW_LOST:
        return ASY_ERR_STATE;
    }
    return ASY_OK;
}

static void follow_and_compare(struct asy_evm_follower *f, struct applied *a, uint64_t from,
                               size_t want) {
    struct asy_evm_filter filter = {.addrs = &market.usd, .addr_count = 1};
    struct asy_hash topic;
    struct asy_evm_logs logs;
    uint64_t head;
    bool idle = false;
    asy_evm_event_topic(&topic, ASY_EVM_EVENT_TRANSFER);
    filter.topics = &topic;
    filter.topic_count = 1;
    MUST(asy_evm_follow(c.evm, f, &idle, &filter, 1000, &why));
    CHECK(idle);
    MUST(asy_evm_get_block_number(c.evm, &head, &why));
    MUST(asy_evm_get_logs(c.evm, &logs, &arena, &filter, from, head, &why));
    CHECK_U64(logs.count, want);
    CHECK_U64(a->count, want);
    for (size_t i = 0; i < logs.count && i < a->count; i++) {
        CHECK(asy_hash_eq(&logs.items[i].block_hash, &a->blocks[i]));
    }
}

static void test_follow(void) {
    struct asy_evm_follower f;
    struct applied a = {.count = 0};
    struct asy_buf buf;
    struct asy_evm_receipt r;
    uint64_t start;
    asy_buf_init(&buf, 4096);
    MUST(asy_evm_get_block_number(c.evm, &start, &why));
    asy_evm_follower_init(&f, ++start, 6, on_follow, &a);
    for (int i = 0; i < 12; i++) { /* farther than 6: a range first */
        DO(owner, usd, asy_evm_enc_mint(&buf, &node.acc.addr, 1));
    }
    follow_and_compare(&f, &a, start, 12);
    CHECK(a.finals > 0);
    DO(owner, usd, asy_evm_enc_mint(&buf, &node.acc.addr, 2));
    follow_and_compare(&f, &a, start, 13);
    MUST(asy_evm_anvil_reorg(c.evm, 4, &why)); /* four empty blocks in their place */
    follow_and_compare(&f, &a, start, 9);
    CHECK_U64(a.reverts, 4);
    CHECK_OK(asy_evm_account_sync(&owner.acc, c.evm, &why));
    DO(owner, usd, asy_evm_enc_mint(&buf, &node.acc.addr, 3));
    follow_and_compare(&f, &a, start, 10);
    asy_buf_done(&buf);
}

int main(void) {
    const char *bin = anvil_path();
    if (bin == NULL) {
        return asy_test_skip("anvil is not installed (tools/setup check installs it)");
    }
    chain_begin(&c, bin);
    asy_arena_init(&arena, 16u * 1024u * 1024u);
    user_init(&owner, c.evm, 0x31);
    user_init(&requester, c.evm, 0x32);
    user_init(&gateway, c.evm, 0x33);
    user_init(&node, c.evm, 0x34);
    MUST(asy_evm_anvil_automine(c.evm, &why));
    test_deploy();
    test_money();
    test_mined_revert();
    test_models();
    test_follow();
    asy_arena_done(&arena);
    chain_end(&c);
    return asy_test_end();
}
