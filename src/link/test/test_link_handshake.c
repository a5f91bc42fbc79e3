/* The handshake: everything that must end it, at both ends. */
#include "link/test/raw.h"

/* ---- hellos, against a gateway's end --------------------------------------------------------- */

struct bent {
    const char *what;
    enum asy_err want;
    uint32_t version, slots, max_out, context, tier;
    size_t node_len, nonce_len, node_nonce_len, x25519_len, sig_len, digest_len, price_len, models,
        name_len, software_len;
    int64_t skew_ms;
    uint64_t tickets_have;
    uint8_t nonce_xor, node_xor, price_cached, name_byte;
    uint64_t chain_id_add; /* of the domain that is signed */
    uint8_t vault_xor, gateway_xor;
    bool stranger_signs, trailing;
};
/* An honest hello; a case changes one thing. */
#define HONEST                                                                                     \
    .version = 1, .slots = 4, .max_out = 512, .context = 2048, .tier = 1, .node_len = 20,          \
    .nonce_len = 32, .node_nonce_len = 32, .x25519_len = 32, .sig_len = 65, .digest_len = 32,      \
    .price_len = 16, .models = 1, .name_len = 5, .software_len = 5, .name_byte = 'a'
#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif
static const struct bent hellos[] = {
    {HONEST, .what = "honest", .want = ASY_OK},
    {HONEST, .what = "version 0", .want = ASY_ERR_VERSION, .version = 0},
    {HONEST, .what = "version 2", .want = ASY_ERR_VERSION, .version = 2},
    {HONEST, .what = "signed by another", .want = ASY_ERR_SIGNATURE, .stranger_signs = true},
    {HONEST, .what = "names another", .want = ASY_ERR_SIGNATURE, .node_xor = 1},
    {HONEST, .what = "for another challenge", .want = ASY_ERR_PEER, .nonce_xor = 1},
    {HONEST, .what = "for another chain", .want = ASY_ERR_SIGNATURE, .chain_id_add = 1},
    {HONEST, .what = "for another vault", .want = ASY_ERR_SIGNATURE, .vault_xor = 1},
    {HONEST, .what = "for another gateway", .want = ASY_ERR_SIGNATURE, .gateway_xor = 1},
    {HONEST, .what = "body changed after it was signed", .want = ASY_ERR_SIGNATURE,
     .trailing = true},
    {HONEST, .what = "clock 30 s ahead", .want = ASY_OK, .skew_ms = 30000},
    {HONEST, .what = "clock 30 s behind", .want = ASY_OK, .skew_ms = -30000},
    {HONEST, .what = "clock more than 30 s ahead", .want = ASY_ERR_PEER, .skew_ms = 30001},
    {HONEST, .what = "clock more than 30 s behind", .want = ASY_ERR_PEER, .skew_ms = -30001},
    {HONEST, .what = "clock at the end of time", .want = ASY_ERR_PEER, .skew_ms = INT64_MAX},
    {HONEST, .what = "node of 19 bytes", .want = ASY_ERR_PEER, .node_len = 19},
    {HONEST, .what = "nonce of 33 bytes", .want = ASY_ERR_PEER, .nonce_len = 33},
    {HONEST, .what = "no node nonce", .want = ASY_ERR_PEER, .node_nonce_len = 0},
    {HONEST, .what = "x25519 of 31 bytes", .want = ASY_ERR_PEER, .x25519_len = 31},
    {HONEST, .what = "signature of 64 bytes", .want = ASY_ERR_PEER, .sig_len = 64},
    {HONEST, .what = "no models", .want = ASY_OK, .models = 0},
    {HONEST, .what = "64 models", .want = ASY_OK, .models = 64},
    {HONEST, .what = "65 models", .want = ASY_ERR_PEER, .models = 65},
    {HONEST, .what = "no slots", .want = ASY_ERR_PEER, .slots = 0},
    {HONEST, .what = "too many slots", .want = ASY_ERR_PEER, .slots = ASY_MAX_JOBS + 1},
    {HONEST, .what = "digest of 31 bytes", .want = ASY_ERR_PEER, .digest_len = 31},
    {HONEST, .what = "price of 17 bytes", .want = ASY_ERR_PEER, .price_len = 17},
    {HONEST, .what = "cached costs more", .want = ASY_ERR_PEER, .price_cached = 3},
    {HONEST, .what = "unknown tier", .want = ASY_ERR_PEER, .tier = 5},
    {HONEST, .what = "no context", .want = ASY_ERR_PEER, .context = 0, .max_out = 0},
    {HONEST, .what = "no output", .want = ASY_ERR_PEER, .max_out = 0},
    {HONEST, .what = "output longer than the context", .want = ASY_ERR_PEER, .max_out = 2049},
    {HONEST, .what = "model without a name", .want = ASY_ERR_PEER, .name_len = 0},
    {HONEST, .what = "name of 128 bytes", .want = ASY_OK, .name_len = 128},
    {HONEST, .what = "name of 129 bytes", .want = ASY_ERR_PEER, .name_len = 129},
    {HONEST, .what = "name that is not UTF-8", .want = ASY_ERR_PEER, .name_byte = 0xff},
    {HONEST, .what = "software of 129 bytes", .want = ASY_ERR_PEER, .software_len = 129},
    {HONEST, .what = "claims signed tickets", .want = ASY_ERR_PEER, .tickets_have = 1},
};

/* Builds the hello that the case wants for the challenge that `r->gw` has sent. */
static struct asy_bytes bent_hello(struct rig *r, const struct bent *b) {
    struct asy_bytes frame;
    ASY_ASSERT(frames_pop(&r->pending_node, &frame));
    Assay__Link__Frame *f = assay__link__frame__unpack(NULL, frame.n, frame.p);
    ASY_ASSERT(f != NULL && f->body_case == ASSAY__LINK__FRAME__BODY_CHALLENGE);
    struct asy_addr node = rig_node_addrs[0], gateway = rig_gw_addr;
    uint8_t nonce[33] = {0}, zero[65] = {0}, prices[3][17] = {{0}}, padded_node[20];
    memcpy(nonce, f->challenge->nonce.data, 32);
    nonce[31] ^= b->nonce_xor;
    memcpy(padded_node, node.b, 20);
    padded_node[0] ^= b->node_xor;
    prices[0][15] = 2;
    prices[1][15] = b->price_cached;
    prices[2][15] = 3;
    char name[140] = {0}, software[140] = {0};
    memset(name, b->name_byte, b->name_len);
    memset(software, 's', b->software_len);

    Assay__Link__Model m = ASSAY__LINK__MODEL__INIT, *models[65];
    m.name = name;
    m.digest = link_data(zero, b->digest_len);
    m.price_in = link_data(prices[0], b->price_len);
    m.price_cached = link_data(prices[1], b->price_len);
    m.price_out = link_data(prices[2], b->price_len);
    m.context = b->context;
    m.max_out = b->max_out;
    m.tier = b->tier;
    for (size_t i = 0; i < ASY_COUNT(models); i++) {
        models[i] = &m;
    }
    Assay__Link__HelloBody body = ASSAY__LINK__HELLO_BODY__INIT;
    body.version = b->version;
    body.node = link_data(padded_node, b->node_len);
    body.nonce = link_data(nonce, b->nonce_len);
    body.node_nonce = link_data(zero, b->node_nonce_len);
    body.wall_ms =
        b->skew_ms == INT64_MAX ? UINT64_MAX : (uint64_t)((int64_t)rig_env.wall_ms + b->skew_ms);
    body.x25519 = link_data(zero, b->x25519_len);
    body.models = models;
    body.n_models = b->models;
    body.slots = b->slots;
    body.software = software;
    body.tickets_have = b->tickets_have;
    static uint8_t packed[65536];
    size_t len = assay__link__hello_body__pack(&body, packed);

    struct asy_domain domain = rig_domain;
    domain.chain_id += b->chain_id_add;
    domain.vault.b[0] ^= b->vault_xor;
    gateway.b[0] ^= b->gateway_xor;
    uint8_t signed_body[LINK_HELLO_BODY_LEN];
    link_hello_body(signed_body, &domain, &gateway, asy_bytes_of(packed, len));
    struct asy_sig sig;
    CHECK_OK(asy_signer_sign_message(b->stranger_signs ? rig_stranger : rig_node_signers[0], &sig,
                                     ASY_SIGNER_HELLO,
                                     asy_bytes_of(signed_body, sizeof signed_body)));
    if (b->trailing) { /* one more field, of a later version */
        packed[len++] = 0xf8;
        packed[len++] = 0x07;
        packed[len++] = 1;
    }
    Assay__Link__Hello hello = ASSAY__LINK__HELLO__INIT;
    hello.body = link_data(packed, len);
    hello.signature = link_data(sig.b, b->sig_len);
    assay__link__frame__free_unpacked(f, NULL);
    asy_free((void *)(uintptr_t)frame.p);
    return raw_pack(ASSAY__LINK__FRAME__BODY_HELLO, &hello);
}

static void test_hellos(void) {
    for (size_t i = 0; i < ASY_COUNT(hellos); i++) {
        struct rig *r = asy_alloc(sizeof *r);
        r->gw = rig_gw_new(r);
        enum asy_err err = asy_link_gw_recv(r->gw, bent_hello(r, &hellos[i]), &rig_why);
        if (err != hellos[i].want || asy_link_gw_live(r->gw) != (err == ASY_OK)) {
            asy_test_failures++;
            fprintf(stderr, "hello, %s: %s (%s)\n", hellos[i].what, asy_err_name(err),
                    rig_why.text);
        }
        rig_free(r);
    }
    /* the gateway's program may refuse */
    struct rig *r = asy_alloc(sizeof *r);
    r->gw = rig_gw_new(r);
    r->refuse_hello = ASY_ERR_FORBIDDEN;
    CHECK_ERR(asy_link_gw_recv(r->gw, bent_hello(r, &hellos[0]), &rig_why), ASY_ERR_FORBIDDEN);
    CHECK(!asy_link_gw_live(r->gw));
    CHECK_U64(r->pending_node.count, 0);
    rig_free(r);
}

/* A hello that one gateway has taken is of no use at the next, nor at the same one later. */
static void test_replay(void) {
    struct rig *r = asy_alloc(sizeof *r);
    r->gw = rig_gw_new(r);
    static uint8_t copy[4096];
    struct asy_bytes hello = bent_hello(r, &hellos[0]);
    ASY_ASSERT(hello.n <= sizeof copy);
    memcpy(copy, hello.p, hello.n);
    CHECK_OK(asy_link_gw_recv(r->gw, hello, NULL));
    asy_link_gw_free(r->gw);
    r->gw = rig_gw_new(r);
    CHECK_ERR(asy_link_gw_recv(r->gw, asy_bytes_of(copy, hello.n), &rig_why), ASY_ERR_PEER);
    CHECK(!asy_link_gw_live(r->gw));
    rig_free(r);
}

/* Two bytes on the wire must not become a hundred in memory: a million empty models are refused,
 * within the arena. */
static void test_swollen_hello(void) {
    struct rig *r = asy_alloc(sizeof *r);
    r->gw = rig_gw_new(r);
    size_t len = ASY_MAX_FRAME - 64;
    uint8_t *body = asy_alloc(len);
    for (size_t i = 0; i + 1 < len; i += 2) {
        body[i] = 0x3a; /* models, empty */
    }
    Assay__Link__Hello hello = ASSAY__LINK__HELLO__INIT;
    hello.body = link_data(body, len & ~(size_t)1);
    CHECK_ERR(asy_link_gw_recv(r->gw, raw_pack(ASSAY__LINK__FRAME__BODY_HELLO, &hello), &rig_why),
              ASY_ERR_PEER);
    asy_free(body);
    rig_free(r);
}

/* ---- challenges and welcomes, against a node's end ------------------------------------------- */

struct bent_challenge {
    const char *what;
    enum asy_err want;
    uint32_t version_min, version_max;
    uint64_t chain_id;
    uint8_t gateway_xor, vault_xor;
    size_t gateway_len, vault_len, nonce_len;
};
#define HONEST_CHALLENGE                                                                           \
    .version_min = 1, .version_max = 1, .chain_id = 31337, .gateway_len = 20, .vault_len = 20,     \
    .nonce_len = 32
static const struct bent_challenge challenges[] = {
    {HONEST_CHALLENGE, .what = "honest", .want = ASY_OK},
    {HONEST_CHALLENGE, .what = "newer, but knows 1", .want = ASY_OK, .version_min = 0,
     .version_max = 9},
    {HONEST_CHALLENGE, .what = "too new", .want = ASY_ERR_VERSION, .version_min = 2,
     .version_max = 9},
    {HONEST_CHALLENGE, .what = "too old", .want = ASY_ERR_VERSION, .version_min = 0,
     .version_max = 0},
    {HONEST_CHALLENGE, .what = "another chain", .want = ASY_ERR_MISMATCH, .chain_id = 1},
    {HONEST_CHALLENGE, .what = "another vault", .want = ASY_ERR_MISMATCH, .vault_xor = 1},
    {HONEST_CHALLENGE, .what = "another gateway", .want = ASY_ERR_MISMATCH, .gateway_xor = 1},
    {HONEST_CHALLENGE, .what = "gateway of 21 bytes", .want = ASY_ERR_PEER, .gateway_len = 21},
    {HONEST_CHALLENGE, .what = "no vault", .want = ASY_ERR_PEER, .vault_len = 0},
    {HONEST_CHALLENGE, .what = "nonce of 31 bytes", .want = ASY_ERR_PEER, .nonce_len = 31},
};
static struct asy_bytes bent_challenge(const struct bent_challenge *b) {
    uint8_t gateway[21] = {0}, vault[20], nonce[32] = {0};
    memcpy(gateway, rig_gw_addr.b, 20);
    memcpy(vault, rig_domain.vault.b, 20);
    gateway[0] ^= b->gateway_xor;
    vault[0] ^= b->vault_xor;
    Assay__Link__Challenge m = ASSAY__LINK__CHALLENGE__INIT;
    m.version_min = b->version_min;
    m.version_max = b->version_max;
    m.chain_id = b->chain_id;
    m.gateway = link_data(gateway, b->gateway_len);
    m.vault = link_data(vault, b->vault_len);
    m.nonce = link_data(nonce, b->nonce_len);
    return raw_pack(ASSAY__LINK__FRAME__BODY_CHALLENGE, &m);
}

/* ack: 0 none, 1 right, 2 of another node, 3 of another gateway, 4 signed by another */
struct bent_welcome {
    const char *what;
    enum asy_err want;
    uint32_t version, link, signed_link;
    uint64_t next_link_seq, receipts_have;
    size_t sig_len, credited_len;
    int ack;
    uint8_t nonce_xor;
    bool other_node, node_signs;
};
#define HONEST_WELCOME                                                                             \
    .version = 1, .link = 7, .signed_link = 7, .next_link_seq = 5, .sig_len = 65, .credited_len = 16
static const struct bent_welcome welcomes[] = {
    {HONEST_WELCOME, .what = "honest", .want = ASY_OK},
    {HONEST_WELCOME, .what = "with an Ack", .want = ASY_OK, .ack = 1},
    {HONEST_WELCOME, .what = "Ack of another node", .want = ASY_ERR_PEER, .ack = 2},
    {HONEST_WELCOME, .what = "Ack of another gateway", .want = ASY_ERR_PEER, .ack = 3},
    {HONEST_WELCOME, .what = "Ack signed by another", .want = ASY_ERR_PEER, .ack = 4},
    {HONEST_WELCOME, .what = "version 2", .want = ASY_ERR_PEER, .version = 2},
    {HONEST_WELCOME, .what = "another link than signed", .want = ASY_ERR_SIGNATURE, .link = 8},
    {HONEST_WELCOME, .what = "answer to another hello", .want = ASY_ERR_SIGNATURE, .nonce_xor = 1},
    {HONEST_WELCOME, .what = "for another node", .want = ASY_ERR_SIGNATURE, .other_node = true},
    {HONEST_WELCOME, .what = "signed by a node", .want = ASY_ERR_SIGNATURE, .node_signs = true},
    {HONEST_WELCOME, .what = "no signature", .want = ASY_ERR_PEER, .sig_len = 0},
    {HONEST_WELCOME, .what = "credited of 15 bytes", .want = ASY_ERR_PEER, .credited_len = 15},
    {HONEST_WELCOME, .what = "has receipts that were never signed", .want = ASY_ERR_PEER,
     .receipts_have = 1},
    {HONEST_WELCOME, .what = "forgot tickets that it signed", .want = ASY_ERR_PEER,
     .next_link_seq = 1},
    {HONEST_WELCOME, .what = "numbers that do not fit a database", .want = ASY_ERR_PEER,
     .next_link_seq = 1ull << 63},
};
/* hello: the node's, whose nonce is answered */
static struct asy_bytes bent_welcome(const struct bent_welcome *b, struct asy_bytes hello) {
    Assay__Link__Frame *f = assay__link__frame__unpack(NULL, hello.n, hello.p);
    ASY_ASSERT(f != NULL && f->body_case == ASSAY__LINK__FRAME__BODY_HELLO);
    Assay__Link__HelloBody *body =
        assay__link__hello_body__unpack(NULL, f->hello->body.len, f->hello->body.data);
    ASY_ASSERT(body != NULL && body->node_nonce.len == 32);
    uint8_t nonce[32], signed_body[LINK_WELCOME_BODY_LEN], credited[16] = {0};
    memcpy(nonce, body->node_nonce.data, 32);
    nonce[0] ^= b->nonce_xor;
    assay__link__hello_body__free_unpacked(body, NULL);
    assay__link__frame__free_unpacked(f, NULL);
    link_welcome_body(signed_body, &rig_domain, &rig_node_addrs[b->other_node], nonce,
                      b->signed_link);
    struct asy_sig sig = {{0}};
    if (b->node_signs) { /* no signer of a node signs this; a stolen key would */
        struct asy_seckey key = {{0x7e, 0x57, 10}};
        struct asy_hash digest;
        asy_signer_message_digest(&digest, ASY_SIGNER_WELCOME,
                                  asy_bytes_of(signed_body, sizeof signed_body));
        CHECK_OK(asy_secp_sign(&sig, &key, &digest));
    } else {
        CHECK_OK(asy_signer_sign_message(rig_gw_signer, &sig, ASY_SIGNER_WELCOME,
                                         asy_bytes_of(signed_body, sizeof signed_body)));
    }
    uint8_t encoded[ASY_ACK_LEN];
    struct asy_sig ack_sig;
    struct asy_ack ack = {.gateway = rig_gw_addr, .node = rig_node_addrs[b->ack == 2], .cum = 9};
    if (b->ack == 3) {
        ack.gateway.b[0] ^= 1;
    }
    struct asy_hash digest;
    struct asy_seckey gw_key = {{0x7e, 0x57, 1}}, other_key = {{0x7e, 0x57, 99}};
    asy_object_digest(&digest, &rig_domain, ASY_OBJ_ACK, &ack);
    CHECK_OK(asy_secp_sign(&ack_sig, b->ack == 4 ? &other_key : &gw_key, &digest));
    asy_object_encode(encoded, ASY_OBJ_ACK, &ack);
    Assay__Link__Welcome m = ASSAY__LINK__WELCOME__INIT;
    m.version = b->version;
    m.link = b->link;
    m.next_link_seq = b->next_link_seq;
    m.receipts_have = b->receipts_have;
    if (b->ack != 0) {
        m.ack = link_data(encoded, sizeof encoded);
        m.ack_signature = link_data(ack_sig.b, sizeof ack_sig.b);
    }
    m.signature = link_data(sig.b, b->sig_len);
    m.credited = link_data(credited, b->credited_len);
    return raw_pack(ASSAY__LINK__FRAME__BODY_WELCOME, &m);
}

static enum asy_err take_welcome(void *arg, const struct asy_addr *gateway,
                                 const struct asy_link_welcome *w, struct asy_why *why) {
    struct rig *r = arg;
    (void)gateway;
    r->n.has_ack = w->has_ack;
    r->n.ack = w->ack;
    return r->refuse_welcome == ASY_OK ? ASY_OK
                                       : asy_why_set(why, r->refuse_welcome, NULL, "not this one");
}
static struct asy_link_node *bare_node(struct rig *r) {
    static struct asy_link_hello hello;
    hello = rig_hello;
    hello.tickets_have = 2;
    struct asy_link_node_options o = {.env = &rig_env.env,
                                      .domain = &rig_domain,
                                      .signer = rig_node_signers[0],
                                      .gateway = &rig_gw_addr,
                                      .hello = &hello,
                                      .on = {.send = node_send, .on_welcome = take_welcome},
                                      .arg = r};
    return asy_link_node_new(&o);
}

static void test_challenges(void) {
    for (size_t i = 0; i < ASY_COUNT(challenges); i++) {
        struct rig *r = asy_alloc(sizeof *r);
        r->node = bare_node(r);
        enum asy_err err = asy_link_node_recv(r->node, bent_challenge(&challenges[i]), &rig_why);
        if (err != challenges[i].want || r->pending_gw.count != (err == ASY_OK)) {
            asy_test_failures++;
            fprintf(stderr, "challenge, %s: %s (%s)\n", challenges[i].what, asy_err_name(err),
                    rig_why.text);
        }
        rig_free(r);
    }
}
static void test_welcomes(void) {
    for (size_t i = 0; i < ASY_COUNT(welcomes) + 1; i++) {
        bool refuse = i == ASY_COUNT(welcomes); /* the node's program may refuse too */
        const struct bent_welcome *b = &welcomes[refuse ? 0 : i];
        struct rig *r = asy_alloc(sizeof *r);
        r->refuse_welcome = refuse ? ASY_ERR_MISMATCH : ASY_OK;
        r->node = bare_node(r);
        CHECK_OK(asy_link_node_recv(r->node, bent_challenge(&challenges[0]), NULL));
        struct asy_bytes hello;
        ASY_ASSERT(frames_pop(&r->pending_gw, &hello));
        enum asy_err err = asy_link_node_recv(r->node, bent_welcome(b, hello), &rig_why);
        if (err != (refuse ? ASY_ERR_MISMATCH : b->want) ||
            (err == ASY_OK) != (asy_link_node_live(r->node) && !refuse)) {
            asy_test_failures++;
            fprintf(stderr, "welcome, %s: %s (%s)\n", b->what, asy_err_name(err), rig_why.text);
        }
        CHECK(r->n.has_ack == (err == ASY_OK && b->ack == 1));
        asy_free((void *)(uintptr_t)hello.p);
        rig_free(r);
    }
}

/* Both ends wait ten seconds, no longer. */
static void test_deadlines(void) {
    struct rig *r = asy_alloc(sizeof *r);
    rig_connect(r);
    CHECK_U64(asy_link_gw_deadline(r->gw), rig_env.mono_ns + ASY_LINK_HELLO_MS * 1000000ull);
    CHECK_U64(asy_link_node_deadline(r->node), asy_link_gw_deadline(r->gw));
    rig_env.mono_ns += ASY_LINK_HELLO_MS * 1000000ull - 1;
    CHECK_OK(asy_link_gw_tick(r->gw));
    CHECK_OK(asy_link_node_tick(r->node));
    rig_env.mono_ns++;
    CHECK_ERR(asy_link_gw_tick(r->gw), ASY_ERR_TIMEOUT);
    CHECK_ERR(asy_link_node_tick(r->node), ASY_ERR_TIMEOUT);
    rig_settle_frames(r);
    CHECK_U64(asy_link_gw_deadline(r->gw), UINT64_MAX);
    CHECK_U64(asy_link_node_deadline(r->node), UINT64_MAX);
    rig_free(r);
}

int main(void) {
    rig_hello_default();
    rig_begin();
    test_hellos();
    test_replay();
    test_swollen_hello();
    test_challenges();
    test_welcomes();
    test_deadlines();
    rig_end();
    return asy_test_end();
}
