/* The node, whole, on a real chain, against a gateway that the test plays by hand through the
 * gateway's end of the link: it registers, judges tickets by their caps on chain, answers within
 * its credit, signs for what was kept, sends again what was not signed, and does not work for a
 * gateway that leaves out its receipts. */
#include "api/api.h"
#include "base/test.h"
#include "chain/test/market.h"
#include "node/node.h"
#include "sample/sample.h"

enum { PRICE_IN = 10000, PRICE_OUT = 40000, SLOTS = 4, MAX_SEEN = 64 };

static uint64_t mono_ns(void) { return asy_env_mono_ns(asy_env_system()); }
static uint64_t wall_s(void) { return asy_env_wall_ms(asy_env_system()) / 1000; }

/* ---- the chain ------------------------------------------------------------------------------- */

static struct actor gateway, requester, worker;
static struct asy_cap cap;
static struct asy_sig cap_sig;

/* False: anvil is not installed. The requester has money, and a signed cap that is not registered
 * yet. */
static bool rig_begin(void) {
    if (!market_begin()) {
        return false;
    }
    actor_init(&gateway, 2, ASY_SIGNER_GATEWAY);
    actor_init(&requester, 3, ASY_SIGNER_REQUESTER);
    actor_init(&worker, 4, ASY_SIGNER_NODE);
    struct asy_buf data;
    asy_buf_init(&data, 4096);
    DO(&owner, token, asy_evm_enc_transfer(&data, &worker.addr, 10 * ETHER));
    asy_buf_done(&data);
    stake(&gateway, ASY_EVM_ROLE_GATEWAY);
    deposit(&requester, 100);
    cap = (struct asy_cap){.requester = requester.addr,
                           .gateway = gateway.addr,
                           .max_spend = PICO(100),
                           .max_locked = PICO(50),
                           .max_price_in = 1000000,
                           .max_price_out = 1000000,
                           .nonce = 1,
                           .deadline = wall_s() + 86400};
    MUST(asy_signer_sign_object(requester.signer, &cap_sig, ASY_OBJ_CAP, &cap));
    return true;
}

static void open_lane(void) {
    struct asy_buf data;
    struct asy_evm_cap c = {.requester = cap.requester,
                            .gateway = cap.gateway,
                            .max_spend = cap.max_spend,
                            .max_locked = cap.max_locked,
                            .max_price_in = cap.max_price_in,
                            .max_price_out = cap.max_price_out,
                            .nonce = cap.nonce,
                            .deadline_s = cap.deadline};
    asy_buf_init(&data, 4096);
    DO(&gateway, vault,
       asy_evm_enc_open_lane(&data, &c, asy_bytes_of(cap_sig.b, sizeof cap_sig.b), PICO(10)));
    asy_buf_done(&data);
}

static void rig_end(void) {
    asy_signer_free(gateway.signer);
    asy_signer_free(requester.signer);
    asy_signer_free(worker.signer);
    market_end();
}

/* ---- the gateway, played --------------------------------------------------------------------- */

struct seen { /* a job, as the gateway's end of the link told it */
    struct asy_terms terms;
    bool accepted, rejected, failed, done;
    uint32_t reason, tokens;
    char param[ASY_MAX_NAME + 1];
    uint32_t ids[256];
    uint32_t prior[256], prior_count; /* what another segment gave before */
    struct asy_buf text;
    struct asy_receipt receipt;
    struct asy_hash prompt;
};
static struct asy_http_server *server;
static struct asy_ws *ws;
static struct asy_link_gw *link_gw;
static struct asy_link_welcome books; /* what this gateway has of the node, for its next welcome */
static struct asy_checkpoint signed_tickets[MAX_SEEN];
static struct asy_sig signatures[MAX_SEEN];
static struct seen seen[MAX_SEEN];
static uint64_t lane_seq, resent_count, item_end;
static struct asy_receipt resent;
static struct asy_terms resent_terms;
static asy_u128 owed;
static bool honest = true, hello_came; /* honest: its Acks hold all receipts */
static uint64_t tickets_have;

static void gw_send(void *arg, struct asy_bytes frame) {
    (void)arg;
    if (ws != NULL) {
        CHECK_OK(asy_ws_send(ws, frame));
    }
}
static enum asy_err gw_hello(void *arg, const struct asy_link_hello *hello,
                             struct asy_link_welcome *w, struct asy_why *reterr_why) {
    (void)arg;
    (void)reterr_why;
    CHECK(asy_addr_eq(&hello->node, &worker.addr) && hello->slots == SLOTS &&
          hello->model_count == 1);
    CHECK(hello->tickets_have <= books.tickets_signed);
    tickets_have = hello->tickets_have;
    hello_came = true;
    *w = books;
    return ASY_OK;
}
static void gw_status(void *arg, const struct asy_link_status *status) {
    (void)arg;
    (void)status;
}
static void gw_accept(void *arg, uint64_t job, void *user) {
    (void)arg;
    (void)job;
    ((struct seen *)user)->accepted = true;
}
static void gw_reject(void *arg, uint64_t job, void *user, uint32_t reason, const char *param,
                      struct asy_bytes text) {
    (void)arg;
    (void)job;
    (void)text;
    struct seen *s = user;
    s->rejected = true;
    s->reason = reason;
    (void)snprintf(s->param, sizeof s->param, "%s", param);
}
static void gw_fail(void *arg, uint64_t job, void *user, enum asy_err code, struct asy_bytes text) {
    (void)arg;
    (void)job;
    (void)code;
    (void)text;
    ((struct seen *)user)->failed = true;
}
static void gw_tokens(void *arg, uint64_t job, void *user, const uint32_t *ids, uint32_t count,
                      struct asy_bytes text) {
    (void)arg;
    (void)job;
    struct seen *s = user;
    ASY_ASSERT(s->tokens + count <= ASY_COUNT(s->ids));
    memcpy(s->ids + s->tokens, ids, count * sizeof ids[0]);
    s->tokens += count;
    CHECK_OK(asy_buf_add_bytes(&s->text, text));
}
static void check_receipt(const struct asy_receipt *r, const struct seen *s,
                          const struct asy_hash *prompt, int line) {
    enum asy_err err = asy_receipt_check(r, &s->terms, &why);
    if (err == ASY_OK) {
        err = asy_receipt_output_check(r, prompt, s->prior, s->prior_count, s->ids);
    }
    if (err != ASY_OK) {
        fprintf(stderr, "line %d: a receipt that does not fit: %s\n", line, why.text);
        asy_test_failures++;
    }
}
static void gw_done(void *arg, uint64_t job, void *user, const struct asy_receipt *receipt,
                    const struct asy_hash *prompt, uint64_t item) {
    (void)arg;
    (void)job;
    item_end = item + 1;
    struct seen *s = user;
    s->done = true;
    s->receipt = *receipt;
    s->prompt = *prompt;
    owed += honest ? receipt->amount : 0;
}
static void gw_resent(void *arg, const struct asy_terms *terms, const struct asy_receipt *receipt,
                      const struct asy_hash *prompt, uint64_t item) {
    (void)arg;
    item_end = item + 1;
    struct seen *s = &seen[terms->link_seq];
    check_receipt(receipt, s, prompt, __LINE__);
    resent_terms = *terms;
    resent = *receipt;
    resent_count++;
    owed += honest ? receipt->amount : 0;
}
static void gw_checkpoint(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig,
                          const struct asy_hash *items) {
    (void)arg;
    (void)sig;
    (void)items;
    books.receipts_have = c->first + c->count;
    books.receipt_checkpoint_next = c->number + 1;
    struct asy_ack ack = {.gateway = gateway.addr,
                          .node = worker.addr,
                          .up_to = 0,
                          .cum = owed,
                          .pay_by = wall_s() + 600};
    struct asy_sig ack_sig;
    MUST(asy_signer_sign_object(gateway.signer, &ack_sig, ASY_OBJ_ACK, &ack));
    asy_link_gw_ack(link_gw, &ack, &ack_sig);
}
static void gw_signed(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    (void)arg;
    ASY_ASSERT(c->number < MAX_SEEN);
    signed_tickets[c->number] = *c;
    signatures[c->number] = *sig;
    books.tickets_signed = c->first + c->count;
    books.ticket_checkpoint_next = c->number + 1;
}

static void ws_open(void *arg, struct asy_ws *opened, const char *peer) {
    (void)arg;
    (void)peer;
    ws = opened;
    struct asy_link_gw_options options = {.env = asy_env_system(),
                                          .domain = &domain,
                                          .signer = gateway.signer,
                                          .on = {gw_send, gw_hello, gw_status, gw_accept, gw_reject,
                                                 gw_fail, gw_tokens, gw_done, gw_resent,
                                                 gw_checkpoint, gw_signed}};
    link_gw = asy_link_gw_new(&options);
}
/* What the node lacks is sent again, what was never signed will be. */
static void catch_up(void) {
    struct asy_hash items[MAX_SEEN];
    for (uint64_t i = 0; i < books.next_link_seq; i++) {
        asy_object_hash(&items[i], ASY_OBJ_TERMS, &seen[i].terms);
    }
    for (uint64_t n = 0; n < books.ticket_checkpoint_next; n++) {
        if (signed_tickets[n].first >= tickets_have) {
            asy_link_gw_resend_checkpoint(link_gw, &signed_tickets[n], &signatures[n],
                                          items + signed_tickets[n].first);
        }
    }
    for (uint64_t i = books.tickets_signed; i < books.next_link_seq; i++) {
        asy_link_gw_adopt_unsigned(link_gw, &items[i]);
    }
}
static void ws_message(void *arg, struct asy_ws *from, struct asy_bytes in) {
    (void)arg;
    (void)from;
    bool was_live = asy_link_gw_live(link_gw);
    MUST(asy_link_gw_recv(link_gw, in, &why));
    if (!was_live && asy_link_gw_live(link_gw)) {
        catch_up();
    }
}
static void ws_gone(void) {
    asy_link_gw_free(link_gw);
    link_gw = NULL;
    ws = NULL;
}
static void ws_close(void *arg, struct asy_ws *closed, uint16_t code, const char *reason) {
    (void)arg;
    (void)closed;
    (void)code;
    (void)reason;
    ws_gone();
}
static void on_gw_turn(void *arg) {
    (void)arg;
    if (link_gw != NULL && asy_link_gw_deadline(link_gw) <= mono_ns()) {
        MUST(asy_link_gw_tick(link_gw));
    }
}
static void refuse_request(void *arg, struct asy_http_req *req) {
    (void)arg;
    asy_http_abort(req);
}
static void ignore(void *arg, struct asy_http_req *req) {
    (void)arg;
    (void)req;
}

static void gateway_begin(void) {
    static const struct asy_ws_handlers handlers = {
        .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};
    static const struct asy_ws_route route = {
        .path = "/link", .subprotocol = ASY_LINK_SUBPROTOCOL, .handlers = &handlers};
    static const struct asy_http_config config = {.routes = &route, .route_count = 1};
    static const struct asy_http_handlers http = {.on_request = refuse_request, .on_gone = ignore};
    MUST(asy_http_server_new(loop, &server, &config, &http, NULL, &why));
    asy_loop_on_turn(loop, on_gw_turn, NULL);
}

static bool live(void) { return link_gw != NULL && asy_link_gw_live(link_gw); }

/* What offers carry unless a test says otherwise. */
static struct asy_bytes offered_bias;
static int32_t offered_presence_milli;
static const struct seen *offered_after; /* go on with what this one gave */

/* Offers a job whose prompt is `text`; the echo engine answers with it. */
static struct seen *offer(const char *text, uint32_t credit, uint32_t max_out) {
    struct asy_link_offer o = {.credit = credit, .model = ASY_STR("echo"), .cap = &cap};
    struct asy_chat_message message = {ASY_CHAT_USER, asy_bytes_cstr(text)};
    struct asy_sample_settings settings = ASY_SAMPLE_SETTINGS_DEFAULT;
    uint8_t encoded[ASY_SAMPLE_SETTINGS_LEN];
    struct asy_buf messages;
    asy_buf_init(&messages, 4096);
    MUST(asy_api_messages_format(&messages, &message, 1));
    asy_job_bias_digest(&settings.logit_bias, offered_bias);
    asy_sample_settings_encode(encoded, &settings);
    asy_be32_put(encoded + 16, (uint32_t)offered_presence_milli); /* in range or not */
    uint64_t seq = asy_link_gw_next_seq(link_gw);
    ASY_ASSERT(seq < MAX_SEEN);
    struct seen *s = &seen[seq];
    asy_buf_init(&s->text, 4096);
    s->terms = (struct asy_terms){.requester = requester.addr,
                                  .gateway = gateway.addr,
                                  .node = worker.addr,
                                  .lane_seq = lane_seq++,
                                  .link_seq = seq,
                                  .max_in = 500,
                                  .max_out = max_out,
                                  .price_in = PRICE_IN,
                                  .price_cached = PRICE_IN,
                                  .price_out = PRICE_OUT,
                                  .issued_at = wall_s(),
                                  .deadline = wall_s() + 300};
    memset(s->terms.model.b, 7, sizeof s->terms.model.b);
    asy_test_fill(&s->terms.job_id, sizeof s->terms.job_id);
    asy_test_fill(&o.seed, sizeof o.seed);
    asy_object_hash(&s->terms.cap, ASY_OBJ_CAP, &cap);
    asy_api_request_digest(&s->terms.request, asy_buf_bytes(&messages));
    asy_job_sampling_hash(&s->terms.sampling, asy_bytes_of(encoded, sizeof encoded), &o.seed,
                          o.stops, 0);
    o.terms = &s->terms;
    o.messages = asy_buf_bytes(&messages);
    o.settings = asy_bytes_of(encoded, sizeof encoded);
    o.bias = offered_bias;
    if (offered_after != NULL) {
        s->prior_count = offered_after->tokens;
        memcpy(s->prior, offered_after->ids, s->prior_count * sizeof s->prior[0]);
        o.prefix = s->prior;
        o.prefix_count = s->prior_count;
    }
    MUST(asy_link_gw_offer(link_gw, &o, s));
    books.next_link_seq = seq + 1;
    asy_buf_done(&messages);
    return s;
}

/* ---- cases ----------------------------------------------------------------------------------- */

static struct asy_node *node;
static struct asy_node_config config;
static bool stopped;
static void on_stopped(void *arg) {
    (void)arg;
    stopped = true;
}

static void test_cap(void) {
    struct asy_cap registered = cap;
    cap.nonce = 7;
    struct seen *s = offer("hello", 100, 100);
    cap = registered;
    UNTIL(s->rejected);
    CHECK_U64(s->reason, ASY_REJECT_TERMS); /* nothing on chain stands behind it */
    offered_presence_milli = 2000;          /* which echo takes, and does not use */
    offered_bias = ASY_STR("\0\0\0\5\xff\xff\xff\xff");
    s = offer("hello", 100, 100);
    offered_presence_milli = 0;
    offered_bias = (struct asy_bytes){0};
    UNTIL(s->done);
    CHECK(s->accepted);
    check_receipt(&s->receipt, s, &s->prompt, __LINE__);
    CHECK_U64(s->receipt.out_tokens, s->tokens);
    CHECK_U64(s->receipt.finish, ASY_FINISH_STOP);
    CHECK_STR(asy_buf_cstr(&s->text), "hello");
}

/* Settings and bias that are the ticket's and yet make no sense: each is refused by name. */
static void test_sampling(void) {
    struct seen *s;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"\0\0\0\5\0\0\0\1\0\0\0\4\0\0\0\1", 16}, /* not in order */
               {"\0\0\0\5\0\0\0\0", 8},                  /* a bias of 0 */
               {"\0\x10\0\0\0\0\0\1", 8},                /* id 2^20 */
               {"\0\0\0\5\0\0\0", 7}};
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        offered_bias = asy_bytes_of(bad[i].bytes, bad[i].len);
        s = offer("hello", 100, 100);
        UNTIL(s->rejected || s->accepted);
        CHECK(s->rejected && s->reason == ASY_REJECT_REQUEST);
        CHECK_STR(s->param, "logit_bias");
    }
    offered_bias = (struct asy_bytes){0};
    offered_presence_milli = -2001;
    s = offer("hello", 100, 100);
    UNTIL(s->rejected || s->accepted);
    CHECK(s->rejected && s->reason == ASY_REJECT_REQUEST);
    CHECK_STR(s->param, "presence_penalty");
    offered_presence_milli = 0;
}

static void test_credit_and_cancel(void) {
    struct seen *s = offer("abcdefghijklmnopqrstuvwxyz", 2, 100);
    UNTIL(s->tokens == 2);
    MUST(asy_link_gw_credit(link_gw, s->terms.link_seq, 3));
    UNTIL(s->tokens == 5);
    MUST(asy_link_gw_cancel(link_gw, s->terms.link_seq, 4, ASY_CANCEL_CLIENT));
    UNTIL(s->done);
    CHECK(s->receipt.out_tokens == 4 && s->receipt.finish == ASY_FINISH_CANCELLED);
    check_receipt(&s->receipt, s, &s->prompt, __LINE__);
}

/* A second segment goes on behind the first, and its receipt says behind what. */
static void test_next_segment(void) {
    struct seen *first = offer("one two three four", 100, 2);
    UNTIL(first->done);
    check_receipt(&first->receipt, first, &first->prompt, __LINE__);
    offered_after = first;
    struct seen *s = offer("one two three four", 100, 100);
    offered_after = NULL;
    UNTIL(s->done);
    check_receipt(&s->receipt, s, &s->prompt, __LINE__);
    CHECK(asy_hash_eq(&s->prompt, &first->prompt) && s->prior_count == 2 && s->tokens > 0);
    CHECK_STR(asy_buf_cstr(&first->text), "one tw");
    CHECK_STR(asy_buf_cstr(&s->text), "o three four");
}

/* The cut comes when the node has signed for all: it signs again, for what was kept. */
static void test_late_cancel(void) {
    struct seen *s = offer("abcdefghi", 100, 100);
    uint64_t before = resent_count;
    UNTIL(s->accepted);
    MUST(asy_link_gw_cancel(link_gw, s->terms.link_seq, 1, ASY_CANCEL_CLIENT));
    UNTIL(s->done);
    if (s->receipt.out_tokens == 1) {
        return; /* the cut was faster */
    }
    owed -= s->receipt.amount; /* refused */
    UNTIL(resent_count == before + 1);
    CHECK(resent.out_tokens == 1 && resent.finish == ASY_FINISH_CANCELLED &&
          resent_terms.link_seq == s->terms.link_seq);
}

static void test_too_long_prompt(void) {
    struct seen *s = offer("0123456789", 100, 5000);
    UNTIL(s->rejected || s->failed);
    CHECK(s->rejected && s->reason == ASY_REJECT_PRICE); /* more output than it offers */
}

/* The link dies in mid-answer: what the gateway had taken for sure is signed for and sent again,
 * with all that was not signed. */
static void test_link_dies(void) {
    struct seen *s = offer("abcdefghijklmnopqrstuvwxyz", 2, 100);
    UNTIL(s->tokens == 2);
    MUST(asy_link_gw_credit(link_gw, s->terms.link_seq, 2)); /* so two were taken */
    UNTIL(s->tokens == 4);
    asy_ws_drop(ws);
    ws_gone();
    UNTIL(live() && resent_count != 0 && resent_terms.link_seq == s->terms.link_seq);
    CHECK(resent.out_tokens == 2 && resent.finish == ASY_FINISH_LINK);
    UNTIL(books.receipts_have == item_end); /* and signed for */
}

/* Acks that leave out one receipt after the other: the node stops. */
static void test_short_acks(void) {
    honest = false;
    uint32_t served = 0;
    for (; served < 20; served++) {
        struct seen *s = offer("x", 100, 100);
        UNTIL(s->done || s->rejected);
        if (s->rejected) {
            CHECK_U64(s->reason, ASY_REJECT_UNPAID);
            break;
        }
        UNTIL(books.receipts_have == item_end);
    }
    CHECK(served >= 8 && served <= 12);
    honest = true;
}

static void node_begin(void) {
    hello_came = false;
    MUST(asy_node_new(&node, loop, &config, &why));
    UNTIL(live());
}

static void node_end(void) {
    stopped = false;
    asy_node_shutdown(node, mono_ns() + 10 * SECOND, on_stopped, NULL);
    UNTIL(stopped && ws == NULL);
    asy_node_free(node);
}

int main(void) {
    if (!rig_begin()) {
        return asy_test_skip("anvil is not installed");
    }
    asy_log_init("test", ASY_LOG_BROKEN); /* refusals and lost links are what is tested */
    MUST(asy_loop_new(&loop, &why));
    asy_loop_on_turn(loop, on_hook, NULL);
    gateway_begin();
    char url[64];
    (void)snprintf(url, sizeof url, "ws://127.0.0.1:%u/link", asy_http_server_port(server));
    config = (struct asy_node_config){
        .data_dir = chain.dir,
        .rpc_url = chain.anvil.url,
        .market = &market,
        .signer = worker.signer,
        .gateway_url = url,
        .gateway = gateway.addr,
        .model = {.name = "echo",
                  .engine = "echo/1",
                  .price_in = PRICE_IN,
                  .price_cached = PRICE_IN,
                  .price_out = PRICE_OUT,
                  .context = 2048,
                  .max_out = 1024},
        .slots = SLOTS,
        .echo = {.slots = SLOTS, .context = 2048, .repeats = 1},
        .registers = true,
        .stake = PICO(1), /* one whole token: what the registry asks for */
    };
    memset(config.model.digest.b, 7, sizeof config.model.digest.b);
    node_begin(); /* stakes, opens its link, dials */
    CHECK_U64(tickets_have, 0);
    bool active;
    MUST(asy_evm_stake_active(chain.evm, &active, &market.stake_registry, ASY_EVM_ROLE_NODE,
                              &worker.addr, &why));
    MUST(asy_evm_vault_link_of(chain.evm, &books.link, &market.vault, &gateway.addr, &worker.addr,
                               &why));
    CHECK(active && books.link == 1);

    open_lane();
    test_cap();
    test_sampling();
    test_credit_and_cancel();
    test_late_cancel();
    test_too_long_prompt();
    test_link_dies();
    test_short_acks();
    node_end();

    node_begin(); /* from its book: it knows its tickets, and goes on with its numbers */
    CHECK(tickets_have != 0);
    struct seen *s = offer("again", 100, 100);
    UNTIL(s->done);
    test_next_segment();
    UNTIL(books.receipts_have == item_end);
    node_end();

    asy_loop_off_turn(loop, on_gw_turn, NULL);
    asy_http_server_free(server);
    asy_loop_free(loop);
    for (size_t i = 0; i < MAX_SEEN; i++) {
        asy_buf_done(&seen[i].text);
    }
    rig_end();
    return asy_test_end();
}
