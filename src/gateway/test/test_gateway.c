/* The gateway, whole, on a real chain: what a client sees, what a node is owed, and what the ledger
 * and the contract say afterwards, when all goes well and when nodes refuse, are late, die, or sign
 * for too much, and clients leave. */
#include "gateway/test/rig.h"

#include "gateway/gateway_priv.h"
#include "money/money.h"

static struct played one, two;
static char key[ASY_KEY_TEXT];

/* ---- what the books say ---------------------------------------------------------------------- */

static asy_u128 credit(const char *field) {
    char name[32], value[64];
    struct asy_usd usd;
    struct client *c = request("GET", "/v1/credit", key, (struct asy_bytes){0});
    UNTIL(c->closed);
    CHECK(is_status(c, 200));
    (void)snprintf(name, sizeof name, "\"%s\":\"", field);
    value_of(value, sizeof value, c, name, "\"");
    client_free(c);
    MUST(asy_usd_parse(&usd, asy_bytes_cstr(value)));
    return usd.pico;
}

static asy_u128 paid; /* what must have been spent until now */
static void check_paid(int line) {
    asy_u128 spent = credit("spent");
    if (spent != paid) {
        fprintf(stderr, "line %d: spent %llu, wanted %llu pico\n", line, (unsigned long long)spent,
                (unsigned long long)paid);
        asy_test_failures++;
        paid = spent;
    }
}
#define CHECK_PAID(more)                                                                           \
    do {                                                                                           \
        paid += (more);                                                                            \
        check_paid(__LINE__);                                                                      \
    } while (0)

/* Whether the job of this client, by its header, shows a text. */
static bool job_says(const struct client *c, const char *text) {
    char path[128] = "/v1/jobs/";
    value_of(path + strlen(path), 100, c, "x-assay-job-id: ", "\r");
    struct client *job = request("GET", path, key, (struct asy_bytes){0});
    UNTIL(job->closed);
    bool says = is_status(job, 200) && has(job, text);
    client_free(job);
    return says;
}

static struct offer *next_offer(struct played *p) {
    uint32_t before = p->offer_count;
    UNTIL(p->offer_count > before);
    return &p->offers[before];
}

/* Offers go to the better node; tests that need a certain one let only it be connected. */
static void only_one(void) {
    played_drop(&two);
    if (!one.live) {
        played_dial(&one);
    }
}

static bool serves(void) {
    struct client *c = request("GET", "/ready", "", (struct asy_bytes){0});
    UNTIL(c->closed);
    bool ready = is_status(c, 200);
    client_free(c);
    return ready;
}

static uint32_t ready_nodes(void) {
    struct client *c = request("GET", "/v1/nodes", "", (struct asy_bytes){0});
    UNTIL(c->closed);
    uint32_t count = 0;
    for (const char *at = text_of(c); (at = strstr(at, "\"ready\":true")) != NULL; at++) {
        count++;
    }
    client_free(c);
    return count;
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void test_whole_answer(void) {
    struct client *c = ask(key, false);
    struct offer *o = next_offer(&one);
    CHECK(credit("reserved") != 0);
    serve(&one, o, 5);
    UNTIL(c->closed);
    CHECK(is_status(c, 200) && has(c, "\"content\":\"ttttt\"") &&
          has(c, "\"completion_tokens\":5") && has(c, "\"finish_reason\":\"stop\""));
    CHECK(job_says(c, "\"status\":\"paid\"") || job_says(c, "\"completion_tokens\":5"));
    client_free(c);
    CHECK_PAID(cost(5));
    CHECK(credit("reserved") == 0);
    UNTIL(one.acked == paid); /* signed, and acknowledged */
    CHECK(one.tickets_have == 1 && one.items_signed == 1);
}

/* The audit record: all that the digests of terms and receipt stand for, and the pairs that the
 * settings stand for. */
static void check_record(void *arg, const struct asy_audit_record *r) {
    const struct item *item = arg;
    struct asy_hash h;
    static const struct asy_sample_bias want[] = {{5, -100000}, {70, 1500}};
    struct asy_sample_bias bias[2];
    size_t count;
    asy_api_request_digest(&h, r->messages);
    CHECK(asy_hash_eq(&h, &item->terms.request));
    asy_job_sampling_hash(&h, r->settings, &r->seed, r->stops, r->stop_count);
    CHECK(asy_hash_eq(&h, &item->terms.sampling));
    CHECK_OK(asy_job_bias_check(r->settings, r->bias));
    CHECK(r->bias.n == sizeof want);
    CHECK_OK(asy_sample_bias_decode(bias, &count, r->bias, NULL));
    CHECK_MEM(bias, want, sizeof want);
    CHECK(r->stop_count == 2 && asy_bytes_eq(r->stops[1], ASY_STR("two")));
    const struct asy_output output = {
        .prompt = item->prompt, .prompt_count = IN_TOKENS, .ids = r->ids, .count = r->count};
    asy_output_digest(&h, &output);
    CHECK(asy_hash_eq(&h, &item->receipt.output) && r->count == 3 && r->prior_count == 0);
}
static void never(void *arg, const struct asy_audit_record *r) {
    (void)arg;
    CHECK(r == NULL);
}

static void test_audit_record(void) {
    struct client *c = request(
        "POST", "/v1/chat/completions", key,
        ASY_STR("{\"model\":\"played\",\"max_tokens\":200,"
                "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stop\":[\"one\",\"two\"],"
                "\"seed\":9,\"frequency_penalty\":0.5,\"logit_bias\":{\"70\":1.5,\"5\":-100}}"));
    struct offer *o = next_offer(&one);
    serve(&one, o, 3);
    UNTIL(c->closed);
    CHECK(is_status(c, 200));
    client_free(c);
    CHECK_PAID(cost(3));
    struct item *item = &one.items[one.item_count - 1];
    const uint32_t lane = 1;
    CHECK_OK(record_read(gateway, &o->terms.job_id, lane, o->terms.lane_seq, check_record, item));
    /* sealed for this job alone, and none that was not kept */
    struct asy_hash other = o->terms.job_id;
    other.b[0] ^= 1;
    CHECK_ERR(record_read(gateway, &other, lane, o->terms.lane_seq, never, NULL), ASY_ERR_AUTH);
    CHECK_ERR(record_read(gateway, &o->terms.job_id, lane, 99999, never, NULL), ASY_ERR_NOT_FOUND);
}

static void test_stream(void) {
    struct client *c = ask(key, true);
    struct offer *o = next_offer(&one);
    take(&one, o);
    send_tokens(&one, o, 2);
    UNTIL(has(c, "\"content\":\"tt\""));
    CHECK(!c->closed && !has(c, "[DONE]"));
    send_tokens(&one, o, 1);
    finish(&one, o, 3, ASY_FINISH_LENGTH);
    UNTIL(c->closed);
    CHECK(has(c, "\"finish_reason\":\"length\"") && has(c, "data: [DONE]"));
    client_free(c);
    CHECK_PAID(cost(3));
}

static void test_client_leaves(void) {
    struct client *c = ask(key, true);
    struct offer *o = next_offer(&one);
    take(&one, o);
    send_tokens(&one, o, 4);
    UNTIL(has(c, "\"content\":\"tttt\""));
    client_free(c);
    UNTIL(o->cancelled);
    CHECK(!o->late && o->keep == 4);
    finish(&one, o, o->keep, ASY_FINISH_CANCELLED);
    UNTIL(credit("reserved") == 0);
    CHECK_PAID(cost(4));
}

/* Before the first token: the prompt was read, and is paid for. */
static void test_client_leaves_early(void) {
    struct client *c = ask(key, false);
    struct offer *o = next_offer(&one);
    take(&one, o);
    client_free(c);
    UNTIL(o->cancelled);
    CHECK_U64(o->keep, 0);
    finish(&one, o, 0, ASY_FINISH_CANCELLED);
    UNTIL(credit("reserved") == 0);
    CHECK_PAID(cost(0));
}

/* The node ends its answer while the client leaves: what it signed for was not relayed. Nobody pays
 * for that, and it is paid for the rest. */
static void test_cut_meets_end(void) {
    struct client *c = ask(key, true);
    struct offer *o = next_offer(&one);
    take(&one, o);
    send_tokens(&one, o, 2);
    UNTIL(has(c, "\"content\":\"tt\""));
    client_free(c);
    /* in one turn: the node's end leaves before the cut can have come */
    send_tokens(&one, o, 5);
    finish(&one, o, 7, ASY_FINISH_STOP);
    UNTIL(o->cancelled || credit("reserved") == 0);
    if (!o->cancelled) { /* its end was there before the client's: then the whole answer was relayed
                          */
        CHECK_PAID(cost(7));
        return;
    }
    CHECK(o->late && o->keep == 2);
    CHECK_PAID(0);
    const struct item *item = add_item(&one, o, o->keep, ASY_FINISH_CANCELLED);
    struct asy_hash h;
    asy_link_node_resend_receipt(one.link, &item->terms, &item->receipt, &item->prompt,
                                 one.item_count - 1);
    asy_object_hash(&h, ASY_OBJ_RECEIPT, &item->receipt);
    asy_link_node_adopt_unsigned(one.link, &h);
    UNTIL(credit("reserved") == 0);
    CHECK_PAID(cost(2));
}

static void test_wrong_receipts(void) {
    struct client *c = ask(key, false);
    struct offer *o = next_offer(&one);
    take(&one, o);
    send_tokens(&one, o, 3);
    finish(&one, o, 4, ASY_FINISH_STOP); /* one more than it sent */
    UNTIL(c->closed);
    CHECK(is_status(c, 502) && has(c, "nothing was charged"));
    client_free(c);
    CHECK_PAID(0);
    CHECK(credit("reserved") == 0);
}

/* Answered at once, with the field's name, and the gateway goes on: as canonical JSON this body is
 * larger than a frame. */
static void test_too_long(void) {
    static const char head[] =
        "{\"model\":\"played\",\"messages\":[{\"role\":\"user\",\"content\":\"";
    struct asy_buf body;
    asy_buf_init(&body, 8u << 20);
    MUST(asy_buf_add_str(&body, head));
    for (uint32_t i = 0; i < 600000; i++) {
        MUST(asy_buf_add_str(&body, "\\u0001"));
    }
    MUST(asy_buf_add_str(&body, "\"}]}"));
    struct client *c = request("POST", "/v1/chat/completions", key, asy_buf_bytes(&body));
    UNTIL(c->closed);
    CHECK(is_status(c, 413) && has(c, "\"param\":\"messages\""));
    client_free(c);
    asy_buf_done(&body);
}

/* A full node: the next one waits, and gets the slot as soon as the first job ends, however it
 * ends. */
static void test_waits_for_slot(void) {
    struct client *full[2], *waits;
    struct offer *o[2];
    for (int i = 0; i < 2; i++) {
        full[i] = ask(key, false);
        o[i] = next_offer(&one);
        take(&one, o[i]);
    }
    waits = ask(key, false);
    for (int i = 0; i < 3; i++) {
        CHECK(credit("reserved") != 0); /* turns in which it could be offered */
    }
    CHECK_U64(one.offer_count, (uint64_t)(o[1] - one.offers) + 1);
    uint32_t before = one.offer_count;
    MUST(asy_link_node_fail(one.link, o[0]->seq, ASY_ERR_INTERNAL, "test"));
    UNTIL(one.offer_count > before);
    UNTIL(full[0]->closed);
    CHECK(is_status(full[0], 503)); /* nobody else serves it */
    serve(&one, &one.offers[before], 1);
    UNTIL(waits->closed);
    CHECK(is_status(waits, 200));
    send_tokens(&one, o[1], 1);
    finish(&one, o[1], 1, ASY_FINISH_STOP);
    UNTIL(full[1]->closed);
    CHECK(is_status(full[1], 200));
    client_free(full[0]);
    client_free(full[1]);
    client_free(waits);
    CHECK_PAID(2 * cost(1));
}

/* The link dies in mid-stream. The client hears of it; the node is paid for what was relayed, and
 * for no more. */
static void test_link_dies(bool honest) {
    struct client *c = ask(key, true);
    struct offer *o = next_offer(&one);
    take(&one, o);
    send_tokens(&one, o, 3);
    UNTIL(has(c, "\"content\":\"ttt\""));
    UNTIL(one.items_signed == one.item_count);
    (void)add_item(&one, o, honest ? 3 : 4, ASY_FINISH_LINK);
    played_drop(&one);
    UNTIL(c->closed);
    CHECK(has(c, "\"error\"") && !has(c, "[DONE]"));
    client_free(c);
    CHECK_PAID(0);
    uint64_t acks = one.acks;
    played_dial(&one); /* sends it again */
    UNTIL(one.acks > acks);
    CHECK_PAID(honest ? cost(3) : 0);
    CHECK((credit("reserved") == 0) == honest); /* the other ticket is open until its deadline */
    UNTIL(serves());
}

/* The node connects again before the gateway heard that its old connection is dead: what it then
 * claims is judged all the same. */
static void test_reconnects_early(void) {
    asy_u128 reserved = credit("reserved");
    struct client *c = ask(key, true);
    struct offer *o = next_offer(&one);
    take(&one, o);
    send_tokens(&one, o, 2);
    UNTIL(has(c, "\"content\":\"tt\""));
    UNTIL(one.items_signed == one.item_count);
    (void)add_item(&one, o, 9, ASY_FINISH_LINK);
    struct asy_ws *old_ws = one.ws;
    struct asy_link_node *old_link = one.link;
    one.ws = NULL;
    one.live = false;
    uint64_t acks = one.acks;
    asy_ws_pause(old_ws); /* it hears nothing, and says nothing */
    played_dial(&one);
    UNTIL(one.acks > acks);
    UNTIL(c->closed);
    CHECK(has(c, "\"error\""));
    client_free(c);
    CHECK_PAID(0);
    CHECK(credit("reserved") > reserved);
    asy_ws_drop(old_ws);
    asy_link_node_free(old_link);
    UNTIL(serves());
}

/* No first token in time: another node gets the next segment, the client knows nothing of it, and
 * pays for one. */
static void test_failover(void) {
    asy_u128 reserved = credit("reserved");
    played_dial(&two);
    UNTIL(ready_nodes() == 2);
    uint32_t first = one.offer_count, second = two.offer_count;
    struct client *c = ask(key, true);
    UNTIL(one.offer_count > first || two.offer_count > second);
    bool one_was_first = one.offer_count > first;
    struct played *mute = one_was_first ? &one : &two, *other = one_was_first ? &two : &one;
    struct offer *lost = &mute->offers[mute->offer_count - 1];
    take(mute, lost);
    uint32_t before = other->offer_count;
    UNTIL(other->offer_count > before);
    struct offer *o = &other->offers[before];
    CHECK(asy_hash_eq(&o->terms.job_id, &lost->terms.job_id) &&
          o->terms.segment == lost->terms.segment + 1 &&
          o->terms.lane_seq == lost->terms.lane_seq + 1);
    UNTIL(lost->cancelled);
    CHECK_U64(lost->keep, 0);
    serve(other, o, 6);
    UNTIL(c->closed);
    CHECK(is_status(c, 200) && has(c, "tttttt") && has(c, "[DONE]") && !has(c, "\"error\""));
    finish(mute, lost, 0, ASY_FINISH_CANCELLED); /* it read the prompt, too late */
    UNTIL(credit("reserved") == reserved);
    CHECK(job_says(c, "no token in time"));
    client_free(c);
    CHECK_PAID(cost(6));

    /* a node that refuses is passed over as well */
    c = ask(key, false);
    first = one.offer_count;
    second = two.offer_count;
    UNTIL(one.offer_count > first || two.offer_count > second);
    one_was_first = one.offer_count > first;
    mute = one_was_first ? &one : &two;
    other = one_was_first ? &two : &one;
    before = other->offer_count;
    MUST(asy_link_node_reject(mute->link, mute->offers[mute->offer_count - 1].seq, ASY_REJECT_BUSY,
                              "", "test"));
    UNTIL(other->offer_count > before);
    serve(other, &other->offers[before], 1);
    UNTIL(c->closed);
    CHECK(is_status(c, 200));
    client_free(c);
    CHECK_PAID(cost(1));
}

/* Nobody else: the client is told, and pays nothing. */
static void test_late_alone(void) {
    only_one();
    UNTIL(ready_nodes() == 1);
    struct client *c = ask(key, false);
    struct offer *o = next_offer(&one);
    take(&one, o);
    UNTIL(c->closed);
    CHECK(has(c, "no token in time"));
    client_free(c);
    UNTIL(o->cancelled);
    finish(&one, o, 0, ASY_FINISH_CANCELLED);
    UNTIL(one.items_signed == one.item_count);
    CHECK_PAID(0);
}

/* Everything that was paid for stands on chain, to the pico; tickets still open hold back only what
 * is behind them. */
static void settle(asy_u128 at_least) {
    struct client *c = request("POST", "/admin/settle", ADMIN, (struct asy_bytes){0});
    UNTIL(c->closed);
    CHECK(is_status(c, 200));
    client_free(c);
    UNTIL(one.credited >= at_least);
    struct asy_evm_lane lane;
    struct asy_evm_link link;
    uint32_t number;
    MUST(asy_evm_vault_lane_of(chain.evm, &number, &market.vault, &operator.addr, &requester.addr,
                               &why));
    MUST(asy_evm_vault_lane(chain.evm, &lane, &market.vault, &operator.addr, number, &why));
    CHECK(lane.spent >= at_least && lane.spent <= paid);
    MUST(asy_evm_vault_link_of(chain.evm, &number, &market.vault, &operator.addr, &one.actor.addr,
                               &why));
    MUST(asy_evm_vault_link(chain.evm, &link, &market.vault, &operator.addr, number, &why));
    CHECK(link.cum == one.credited);
}

static uint64_t batches_on_chain(void) {
    struct asy_evm_gateway view;
    MUST(asy_evm_vault_gateway(chain.evm, &view, &market.vault, &operator.addr, &why));
    return view.batches;
}

/* The chain takes the batch back: the same bytes are sent again, and nothing is moved twice. */
static void test_reorg(void) {
    struct asy_evm_lane lane, again;
    uint64_t batches = batches_on_chain();
    uint32_t number;
    MUST(asy_evm_vault_lane_of(chain.evm, &number, &market.vault, &operator.addr, &requester.addr,
                               &why));
    MUST(asy_evm_vault_lane(chain.evm, &lane, &market.vault, &operator.addr, number, &why));
    MUST(asy_evm_anvil_reorg(chain.evm, 1, &why));
    CHECK_U64(batches_on_chain(), batches - 1);
    UNTIL(batches_on_chain() == batches);
    MUST(asy_evm_vault_lane(chain.evm, &again, &market.vault, &operator.addr, number, &why));
    CHECK(again.spent == lane.spent && again.locked == lane.locked && again.seq == lane.seq);
}

/* A job is running when the gateway is told to stop: it has until the deadline, is then cut, and
 * its client is told. */
static void test_shutdown(void) {
    struct client *c = ask(key, true);
    struct offer *o = next_offer(&one);
    take(&one, o);
    send_tokens(&one, o, 1);
    UNTIL(has(c, "\"content\":\"t\""));
    stopped = false;
    asy_gateway_shutdown(gateway, mono_ns() + SECOND / 5, on_stopped, NULL);
    struct client *refused = ask(key, false);
    UNTIL(refused->closed && c->closed);
    CHECK(is_status(refused, 503));
    CHECK(has(c, "shutting down") && has(c, "\"error\""));
    client_free(c);
    client_free(refused);
    UNTIL(stopped);
    asy_gateway_free(gateway);
    played_drop(&one);
}

static void check_books(void) {
    char path[128];
    struct asy_ledger *ledger;
    (void)snprintf(path, sizeof path, "%s/gateway.db", chain.dir);
    MUST(asy_ledger_open(&ledger, path, asy_env_system(), ASY_STORE_SYNC_NORMAL, &why));
    MUST(asy_ledger_check(ledger, &why));
    asy_ledger_close(ledger);
}

int main(void) {
    if (!rig_begin()) {
        return asy_test_skip("anvil is not installed");
    }
    asy_log_init("test", ASY_LOG_BROKEN); /* refusals and lost links are what is tested */
    MUST(asy_loop_new(&loop, &why));
    asy_loop_on_turn(loop, on_hook, NULL);
    MUST(asy_profile_load(&profile, "profiles/querais.ini", &why));
    profile->job.first_token_ms = 400;
    config = (struct asy_gateway_config){.host = "127.0.0.1",
                                         .data_dir = chain.dir,
                                         .rpc_url = chain.anvil.url,
                                         .market = &market,
                                         .profile = profile,
                                         .signer = operator.signer,
                                         .admin_token = ADMIN,
                                         .batch_interval_ms = 3600 * 1000,
                                         .ticket_life_s = 300};
    gateway_begin();
    played_init(&one, 11, 2);
    played_init(&two, 12, 2);
    make_key(key);
    register_cap(key);
    UNTIL(credit("headroom") >= PICO(50));
    played_dial(&one);
    UNTIL(serves());

    test_whole_answer();
    test_audit_record();
    test_stream();
    test_client_leaves();
    test_client_leaves_early();
    test_cut_meets_end();
    test_wrong_receipts();
    test_too_long();
    profile->job.first_token_ms = 60000; /* so that nobody is late here */
    test_waits_for_slot();
    test_link_dies(true);
    settle(paid);
    test_reorg();
    test_link_dies(false);
    test_reconnects_early();
    profile->job.first_token_ms = 400;
    test_failover();
    test_late_alone();
    asy_u128 settled = one.credited;
    test_shutdown();
    check_books();

    /* and again, from where it stopped: what was cut off is claimed, the chain is the same */
    gateway_begin();
    profile->job.first_token_ms = 60000;
    played_dial(&one);
    UNTIL(serves());
    check_paid(__LINE__);
    struct client *c = ask(key, false);
    serve(&one, next_offer(&one), 2);
    UNTIL(c->closed);
    CHECK(is_status(c, 200));
    client_free(c);
    CHECK_PAID(cost(2));
    settle(settled);
    gateway_end();
    check_books();

    played_done(&one);
    played_done(&two);
    asy_profile_free(profile);
    asy_loop_free(loop);
    rig_end();
    return asy_test_end();
}
