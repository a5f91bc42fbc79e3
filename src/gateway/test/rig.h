/* rig.h: a gateway on a real chain, with clients and nodes that a test plays by hand, all on one
 * loop.
 *
 * Chain, contracts, ledger, HTTP, WebSockets and both ends of the link are the real ones. Only what
 * a node decides (accept, send tokens, sign for them, be late, die) and what a client does is the
 * test's. A test says what it does and waits for what must follow: UNTIL(condition). */
#ifndef ASY_GATEWAY_TEST_RIG_H
#define ASY_GATEWAY_TEST_RIG_H

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "chain/test/market.h"
#include "gateway/gateway.h"
#include "job/job.h"
#include "ledger/ledger.h"
#include "link/link.h"
#include "sample/sample.h"

#define ADMIN "test-admin-token"

enum { PRICE_IN = 10000, PRICE_OUT = 40000, IN_TOKENS = 2, MAX_ITEMS = 64 };

static uint64_t mono_ns(void) { return asy_env_mono_ns(asy_env_system()); }

static struct asy_gateway *gateway;
static struct asy_profile *profile;
static struct actor operator, requester;

/* ---- the market ------------------------------------------------------------------------------ */

/* False: anvil is not installed. */
static bool rig_begin(void) {
    if (!market_begin()) {
        return false;
    }
    actor_init(&operator, 2, ASY_SIGNER_GATEWAY);
    actor_init(&requester, 3, ASY_SIGNER_REQUESTER);
    stake(&operator, ASY_EVM_ROLE_GATEWAY);
    deposit(&operator, 3000);
    struct asy_buf data;
    asy_buf_init(&data, 4096);
    DO(&operator, vault, asy_evm_enc_add_bond(&data, &operator.addr, PICO(3000)));
    asy_buf_done(&data);
    deposit(&requester, 100);
    return true;
}

static void rig_end(void) {
    asy_signer_free(operator.signer);
    asy_signer_free(requester.signer);
    market_end();
}

/* ---- clients: one request each --------------------------------------------------------------- */

struct client {
    struct asy_pipe *pipe;
    struct asy_buf in;
    bool closed;
};

static void client_read(void *arg, struct asy_pipe *pipe, struct asy_bytes in) {
    (void)pipe;
    struct client *c = arg;
    CHECK_OK(asy_buf_add_bytes(&c->in, in));
}
static void client_close(void *arg, struct asy_pipe *pipe, enum asy_err err) {
    (void)pipe;
    (void)err;
    ((struct client *)arg)->closed = true;
}

static struct client *request(const char *method, const char *path, const char *key,
                              struct asy_bytes body) {
    static const struct asy_pipe_handlers handlers = {.on_read = client_read,
                                                      .on_close = client_close};
    struct client *c = asy_alloc(sizeof *c);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(asy_gateway_port(gateway)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* allowed: the test's own client */
    ASY_ASSERT(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    asy_buf_init(&c->in, 32u << 20);
    MUST(asy_pipe_new(loop, &c->pipe, fd, 16u << 20, &handlers, c, &why));
    char head[512];
    int n =
        snprintf(head, sizeof head,
                 "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: close\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 method, path, key, body.n);
    MUST(asy_pipe_write(c->pipe, asy_bytes_of(head, (size_t)n)));
    MUST(asy_pipe_write(c->pipe, body));
    return c;
}

static const char *text_of(const struct client *c) {
    return c->in.n != 0 ? asy_buf_cstr(&c->in) : "";
}
static bool has(const struct client *c, const char *text) {
    return strstr(text_of(c), text) != NULL;
}
static bool is_status(const struct client *c, int status) {
    char want[32];
    (void)snprintf(want, sizeof want, "HTTP/1.1 %d ", status);
    return strncmp(text_of(c), want, strlen(want)) == 0;
}
/* The value behind a name in headers or body, up to the first of `ends`. */
static void value_of(char *ret, size_t cap, const struct client *c, const char *name,
                     const char *ends) {
    const char *at = strstr(text_of(c), name);
    ASY_ASSERT(at != NULL);
    at += strlen(name);
    size_t n = strcspn(at, ends);
    ASY_ASSERT(n < cap);
    memcpy(ret, at, n);
    ret[n] = '\0';
}
/* The client leaves, whether it was answered or not. */
static void client_free(struct client *c) {
    asy_pipe_free(c->pipe);
    asy_buf_done(&c->in);
    asy_free(c);
}

static struct client *ask(const char *key, bool stream) {
    char body[200];
    (void)snprintf(body, sizeof body,
                   "{\"model\":\"played\",\"max_tokens\":200,\"stream\":%s,"
                   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
                   stream ? "true" : "false");
    return request("POST", "/v1/chat/completions", key, asy_bytes_cstr(body));
}

/* ---- nodes ----------------------------------------------------------------------------------- */

struct offer {
    uint64_t seq;
    struct asy_terms terms;
    uint32_t sent;
    bool cancelled, late; /* late: it heard of the cut after its receipt */
    uint32_t keep;
};
struct item {
    struct asy_terms terms;
    struct asy_receipt receipt;
    struct asy_hash prompt;
};
struct played {
    struct actor actor;
    struct asy_ws *ws;
    struct asy_link_node *link;
    struct asy_link_hello hello;
    bool live;
    struct offer offers[MAX_ITEMS]; /* ever */
    uint32_t offer_count;
    struct item items[MAX_ITEMS]; /* receipts, in the order of their numbers */
    uint64_t item_count, items_signed, checkpoint_next, tickets_have, acks;
    asy_u128 acked, credited;
};

static void played_send(void *arg, struct asy_bytes frame) {
    struct played *p = arg;
    if (p->ws != NULL) {
        CHECK_OK(asy_ws_send(p->ws, frame));
    }
}
static enum asy_err played_welcome(void *arg, const struct asy_addr *from,
                                   const struct asy_link_welcome *w, struct asy_why *reterr_why) {
    (void)reterr_why;
    struct played *p = arg;
    CHECK(asy_addr_eq(from, &operator.addr));
    p->live = true;
    CHECK(w->receipts_have <=
          p->items_signed); /* tests that send again do it from the unsigned ones on */
    for (uint64_t i = p->items_signed; i < p->item_count; i++) {
        struct asy_hash h;
        asy_link_node_resend_receipt(p->link, &p->items[i].terms, &p->items[i].receipt,
                                     &p->items[i].prompt, i);
        asy_object_hash(&h, ASY_OBJ_RECEIPT, &p->items[i].receipt);
        asy_link_node_adopt_unsigned(p->link, &h);
    }
    return ASY_OK;
}
static void played_offer(void *arg, uint64_t seq, const struct asy_link_offer *o) {
    struct played *p = arg;
    ASY_ASSERT(p->offer_count < MAX_ITEMS);
    CHECK_OK(asy_terms_check(o->terms, o->cap, NULL));
    p->offers[p->offer_count++] = (struct offer){.seq = seq, .terms = *o->terms};
}
static struct offer *offer_of(struct played *p, uint64_t seq) {
    for (uint32_t i = p->offer_count; i-- > 0;) {
        if (p->offers[i].seq == seq) {
            return &p->offers[i];
        }
    }
    return NULL;
}
static void played_cancel(void *arg, uint64_t seq, uint32_t keep, uint32_t reason) {
    (void)reason;
    struct offer *o = offer_of(arg, seq);
    o->cancelled = true;
    o->keep = keep;
}
static void played_late_cancel(void *arg, uint64_t seq, uint32_t keep, uint32_t reason) {
    played_cancel(arg, seq, keep, reason);
    offer_of(arg, seq)->late = true;
}
static void played_credit(void *arg, uint64_t seq, uint32_t tokens) {
    (void)arg;
    (void)seq;
    (void)tokens;
}
static void played_tickets(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    (void)sig;
    ((struct played *)arg)->tickets_have = c->first + c->count;
}
static void played_signed(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    (void)sig;
    struct played *p = arg;
    p->items_signed = c->first + c->count;
    p->checkpoint_next = c->number + 1;
}
static void played_ack(void *arg, const struct asy_ack *ack, const struct asy_sig *sig) {
    (void)sig;
    struct played *p = arg;
    p->acks++;
    CHECK(ack->cum >= p->acked);
    p->acked = ack->cum;
}
static void played_batch(void *arg, uint64_t number, const struct asy_hash *root,
                         const struct asy_hash *tx, uint64_t block, asy_u128 credited) {
    (void)number;
    (void)root;
    (void)tx;
    (void)block;
    ((struct played *)arg)->credited = credited;
}
static void played_drain(void *arg, uint32_t seconds) {
    (void)arg;
    (void)seconds;
}

static void played_open(void *arg, struct asy_ws *ws, const char *peer) {
    (void)arg;
    (void)ws;
    (void)peer;
}
static void played_message(void *arg, struct asy_ws *ws, struct asy_bytes in) {
    (void)ws;
    struct played *p = arg;
    MUST(asy_link_node_recv(p->link, in, &why));
}
static void played_gone(struct played *p) {
    asy_link_node_free(p->link);
    p->link = NULL;
    p->ws = NULL;
    p->live = false;
}
static void played_close(void *arg, struct asy_ws *ws, uint16_t code, const char *reason) {
    (void)ws;
    (void)code;
    (void)reason;
    played_gone(arg);
}
static void played_turn(void *arg) {
    struct played *p = arg;
    if (p->link != NULL && asy_link_node_deadline(p->link) <= mono_ns()) {
        MUST(asy_link_node_tick(p->link));
    }
}

static void played_dial(struct played *p) {
    static const struct asy_ws_handlers handlers = {
        .on_open = played_open, .on_message = played_message, .on_close = played_close};
    char url[64];
    (void)snprintf(url, sizeof url, "ws://127.0.0.1:%u/link", asy_gateway_port(gateway));
    p->hello.tickets_have = p->tickets_have;
    struct asy_link_node_options options = {.env = asy_env_system(),
                                            .domain = &domain,
                                            .signer = p->actor.signer,
                                            .gateway = &operator.addr,
                                            .hello = &p->hello,
                                            .next_item = p->items_signed,
                                            .next_checkpoint = p->checkpoint_next,
                                            .on = {played_send, played_welcome, played_offer,
                                                   played_cancel, played_credit, played_tickets,
                                                   played_signed, played_ack, played_batch,
                                                   played_drain, played_late_cancel},
                                            .arg = p};
    struct asy_ws_client_config config = {.url = url, .subprotocol = ASY_LINK_SUBPROTOCOL};
    MUST(asy_ws_connect(loop, &p->ws, &config, &handlers, p, &why));
    p->link = asy_link_node_new(&options);
    UNTIL(p->live);
}

/* The connection ends as a crash ends it. */
static void played_drop(struct played *p) {
    if (p->ws != NULL) {
        asy_ws_drop(p->ws);
        played_gone(p);
    }
}

static void played_init(struct played *p, uint8_t number, uint32_t slots) {
    struct asy_buf data;
    actor_init(&p->actor, number, ASY_SIGNER_NODE);
    stake(&p->actor, ASY_EVM_ROLE_NODE);
    asy_buf_init(&data, 4096);
    DO(&p->actor, vault, asy_evm_enc_open_link(&data, &operator.addr));
    asy_buf_done(&data);
    p->hello = (struct asy_link_hello){.node = p->actor.addr, .model_count = 1, .slots = slots};
    struct asy_link_model *m = &p->hello.models[0];
    (void)snprintf(m->name, sizeof m->name, "played");
    (void)snprintf(m->engine, sizeof m->engine, "played/1");
    memset(m->digest.b, 7, sizeof m->digest.b);
    m->price_in = m->price_cached = PRICE_IN;
    m->price_out = PRICE_OUT;
    m->context = 2048;
    m->max_out = 1024;
    asy_loop_on_turn(loop, played_turn, p);
}

static void played_done(struct played *p) {
    asy_loop_off_turn(loop, played_turn, p);
    played_drop(p);
    asy_signer_free(p->actor.signer);
}

/* Sends count tokens: their ids are their places, and each has the text "t". */
static void send_tokens(struct played *p, struct offer *o, uint32_t count) {
    uint32_t ids[256];
    char text[256];
    ASY_ASSERT(count <= ASY_COUNT(ids));
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = o->sent + i;
        text[i] = 't';
    }
    MUST(asy_link_node_tokens(p->link, o->seq, ids, count, asy_bytes_of(text, count)));
    o->sent += count;
}

/* A receipt over keep tokens, kept as the next item. */
static struct item *add_item(struct played *p, const struct offer *o, uint32_t keep,
                             enum asy_finish finish) {
    static const uint32_t prompt[IN_TOKENS] = {7, 8};
    uint32_t ids[1024];
    ASY_ASSERT(keep <= ASY_COUNT(ids) && p->item_count < MAX_ITEMS);
    for (uint32_t i = 0; i < keep; i++) {
        ids[i] = i;
    }
    struct item *item = &p->items[p->item_count++];
    *item = (struct item){.terms = o->terms};
    asy_prompt_digest(&item->prompt, prompt, IN_TOKENS);
    uint64_t now = asy_env_wall_ms(asy_env_system());
    item->receipt = (struct asy_receipt){.in_tokens = IN_TOKENS,
                                         .out_tokens = keep,
                                         .finish = (uint8_t)finish,
                                         .first_ms = keep != 0 ? now : 0,
                                         .last_ms = keep != 0 ? now : 0};
    asy_object_hash(&item->receipt.terms, ASY_OBJ_TERMS, &o->terms);
    const struct asy_output output = {
        .prompt = item->prompt, .prompt_count = IN_TOKENS, .ids = ids, .count = keep};
    asy_output_digest(&item->receipt.output, &output);
    MUST(asy_job_cost(&item->receipt.amount, &o->terms, IN_TOKENS, 0, keep));
    return item;
}

static void finish(struct played *p, struct offer *o, uint32_t keep, enum asy_finish finish_as) {
    const struct item *item = add_item(p, o, keep, finish_as);
    uint64_t number;
    MUST(asy_link_node_done(p->link, &number, o->seq, &item->receipt, &item->prompt));
    CHECK_U64(number + 1, p->item_count);
}

static void take(struct played *p, const struct offer *o) {
    MUST(asy_link_node_accept(p->link, o->seq));
}

/* The whole of an honest job. */
static void serve(struct played *p, struct offer *o, uint32_t tokens) {
    take(p, o);
    send_tokens(p, o, tokens);
    finish(p, o, tokens, ASY_FINISH_STOP);
}

static asy_u128 cost(uint32_t tokens) {
    return (asy_u128)IN_TOKENS * PRICE_IN + (asy_u128)tokens * PRICE_OUT;
}

/* ---- the gateway ----------------------------------------------------------------------------- */

static struct asy_gateway_config config;

static void gateway_begin(void) { MUST(asy_gateway_new(&gateway, loop, &config, &why)); }

static bool stopped;
static void on_stopped(void *arg) {
    (void)arg;
    stopped = true;
}

static void gateway_end(void) {
    stopped = false;
    asy_gateway_shutdown(gateway, in_s(10), on_stopped, NULL);
    UNTIL(stopped);
    asy_gateway_free(gateway);
}

/* An API key of the requester, whose cap is registered and whose lane is open. */
static void make_key(char ret_key[ASY_KEY_TEXT]) {
    char body[300], text[ASY_ADDR_STR];
    asy_addr_format(text, &requester.addr);
    (void)snprintf(body, sizeof body, "{\"account\":\"%s\"}", text);
    struct client *c = request("POST", "/admin/keys", ADMIN, asy_bytes_cstr(body));
    UNTIL(c->closed);
    CHECK(is_status(c, 200));
    value_of(ret_key, ASY_KEY_TEXT, c, "\"key\":\"", "\"");
    client_free(c);
}

static void register_cap(const char *key) {
    struct asy_cap cap = {.requester = requester.addr,
                          .gateway = operator.addr,
                          .max_spend = PICO(100),
                          .max_locked = PICO(50),
                          .max_price_in = 1000000,
                          .max_price_out = 1000000,
                          .nonce = 1,
                          .deadline = asy_env_wall_ms(asy_env_system()) / 1000 + 86400};
    struct asy_sig sig;
    struct asy_buf body;
    MUST(asy_signer_sign_object(requester.signer, &sig, ASY_OBJ_CAP, &cap));
    asy_buf_init(&body, 8192);
    MUST(asy_signed_cap_write_json(&body, &cap, &sig));
    struct client *c = request("POST", "/v1/caps", key, asy_buf_bytes(&body));
    UNTIL(c->closed);
    CHECK(is_status(c, 200));
    client_free(c);
    asy_buf_done(&body);
}

#endif
