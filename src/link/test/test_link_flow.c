/* What happens on a live link: jobs from offer to receipt, credit, checkpoints, what is sent again
 * after a break, and each violation. */
#include "link/test/raw.h"

/* ---- the happy path -------------------------------------------------------------------------- */

static void test_job(void) {
    struct rig *r = rig_live(0);
    CHECK_U64(r->hello.model_count, 1);
    CHECK_STR(r->hello.models[0].name, "test-model");
    CHECK_STR(r->hello.models[0].engine, "echo");
    CHECK(r->hello.models[0].price_out == 3);
    CHECK_U64(r->hello.models[0].context, 2048);
    CHECK_U64(r->hello.slots, 4);
    CHECK_STR(r->hello.region, "test");

    struct asy_link_status s = {.slots = 4, .used = 1, .queued = 2, .draining = true};
    asy_link_node_status(r->node, &s);
    uint64_t job = rig_offer(r, 10);
    CHECK_U64(asy_link_gw_jobs(r->gw), 1);
    rig_settle_frames(r);
    CHECK_U64(r->statuses, 1);
    CHECK(r->last_status.draining && r->last_status.queued == 2 && r->last_status.used == 1 &&
          r->last_status.slots == 4);
    CHECK(r->jobs[job].state == RIG_OFFERED && r->jobs[job].credit == 10);
    struct asy_hash got, want;
    asy_object_hash(&got, ASY_OBJ_TERMS, &r->jobs[job].terms);
    asy_object_hash(&want, ASY_OBJ_TERMS, &r->g.terms[job]);
    CHECK(asy_hash_eq(&got, &want));

    rig_accept(r, job);
    rig_send_tokens(r, job, 4);
    rig_send_tokens(r, job, 6);
    rig_settle_frames(r);
    CHECK_U64(r->accepts, 1);
    CHECK_U64(r->relayed[job], 10);
    uint32_t id = 0;
    CHECK_ERR(asy_link_node_tokens(r->node, job, &id, 1, ASY_STR("x")),
              ASY_ERR_FULL); /* no credit left */
    uint32_t taken = 1;
    CHECK_OK(asy_link_node_taken(r->node, job, &taken));
    CHECK_U64(taken, 0); /* of the first grant nothing is known to have arrived */
    CHECK_OK(asy_link_gw_credit(r->gw, job, 3));
    rig_settle_frames(r);
    CHECK_OK(asy_link_node_taken(r->node, job, &taken));
    CHECK_U64(taken, 3);
    rig_send_tokens(r, job, 2);
    rig_done(r, job);
    CHECK_ERR(asy_link_node_taken(r->node, job, &taken), ASY_ERR_NOT_FOUND);
    rig_settle_frames(r);
    CHECK_U64(r->relayed[job], 12);
    CHECK_U64(r->dones, 1);
    CHECK_U64(asy_link_gw_jobs(r->gw) + asy_link_node_jobs(r->node), 0);
    CHECK_U64(r->g.nodes.count, 0); /* not signed yet */

    rig_tick(r, 50);
    rig_settle_frames(r);
    CHECK_U64(r->g.nodes.count, 1);
    CHECK_U64(r->n.gateways.count, 1);
    CHECK_U64(r->acks, 1);
    CHECK(r->n.ack.cum == r->n.owed && r->g.owed == r->n.owed);
    /* (5 - 2) * 2 + 2 * 1 + 12 * 3 */
    CHECK_U64(r->n.owed, 44);

    struct asy_hash root = {{1}}, tx = {{2}};
    asy_link_gw_batch_proof(r->gw, 8, &root, &tx, 99, r->g.owed);
    asy_link_gw_drain(r->gw, 30);
    rig_settle_frames(r);
    CHECK(r->batches == 1 && r->drains == 1 && r->last_credited == 44);
    rig_free(r);
}

static void count_job(void *arg, uint64_t job, void *user) {
    uint64_t *seen = arg;
    seen[0]++;
    seen[1] += job;
    seen[2] += user != NULL;
}
static void count_node_job(void *arg, uint64_t job) { count_job(arg, job, NULL); }

static void test_ends_without_receipt(void) {
    struct rig *r = rig_live(0);
    uint64_t a = rig_offer(r, 1), b = rig_offer(r, 1), c = rig_offer(r, 1);
    rig_settle_frames(r);
    uint64_t seen[3] = {0};
    asy_link_gw_each_job(r->gw, count_job, seen);
    CHECK(seen[0] == 3 && seen[1] == a + b + c && seen[2] == 3);
    asy_link_node_each_job(r->node, count_node_job, seen);
    CHECK_U64(seen[0], 6);
    CHECK_OK(asy_link_node_reject(r->node, a, ASY_REJECT_REQUEST, "logit_bias", "no: \xc3\xa9"));
    rig_accept(r, b);
    rig_send_tokens(r, b, 1);
    CHECK_OK(asy_link_node_fail(r->node, b, ASY_ERR_PEER, "the worker died"));
    CHECK_ERR(asy_link_node_fail(r->node, b, ASY_ERR_PEER, "again"), ASY_ERR_NOT_FOUND);
    rig_settle_frames(r);
    CHECK(r->rejects == 1 && r->fails == 1 && r->last_reason == ASY_REJECT_REQUEST);
    CHECK_STR(r->last_text, "the worker died");
    CHECK_STR(r->last_param, "logit_bias");
    CHECK_STR(asy_reject_name(r->last_reason), "request");
    CHECK_STR(asy_reject_name(0), "unknown");
    CHECK_STR(asy_reject_name(UINT32_MAX), "unknown");
    /* the client of c has gone and nobody asks for its end */
    CHECK_OK(asy_link_gw_forget(r->gw, c));
    memset(seen, 0, sizeof seen);
    asy_link_gw_each_job(r->gw, count_job, seen);
    CHECK(seen[0] == 1 && seen[2] == 0);
    rig_free(r);
}

/* Cancel: tokens on their way are dropped, the receipt covers what was kept, whatever the order of
 * the frames. */
static void test_cancel(void) {
    struct rig *r = rig_live(0);
    uint64_t job = rig_offer(r, 20);
    rig_settle_frames(r);
    rig_accept(r, job);
    rig_send_tokens(r, job, 5);
    rig_settle_frames(r);
    rig_send_tokens(r, job, 7); /* crosses the cancel */
    CHECK_OK(rig_cancel(r, job, 3, ASY_CANCEL_CLIENT));
    CHECK_OK(rig_cancel(r, job, 1, ASY_CANCEL_TIMEOUT)); /* said once */
    rig_settle_frames(r);
    CHECK(r->cancels == 1 && r->jobs[job].keep == 3 && r->last_reason == ASY_CANCEL_CLIENT);
    CHECK_U64(r->relayed[job], 5);
    rig_done(r, job);
    rig_settle_frames(r);
    CHECK(r->g.tickets[job].paid && r->n.items[0].receipt.out_tokens == 3);

    /* before the node has answered the offer: it may accept, or reject, or do both at once */
    for (int how = 0; how < 3; how++) {
        uint64_t early = rig_offer(r, 20);
        CHECK_OK(rig_cancel(r, early, 0, ASY_CANCEL_CLIENT));
        if (how == 2) { /* the accept crosses the cancel */
            rig_commit_gw(r);
            CHECK_OK(rig_deliver_node(r));
            rig_accept(r, early);
        }
        rig_settle_frames(r);
        CHECK(r->jobs[early].cancelled);
        if (how == 0) {
            CHECK_OK(asy_link_node_reject(r->node, early, ASY_REJECT_BUSY, "", ""));
        } else {
            if (how == 1) {
                rig_accept(r, early);
            }
            rig_done(r, early);
        }
        rig_settle_frames(r);
        CHECK_U64(asy_link_gw_jobs(r->gw), 0);
    }
    rig_free(r);
}

/* The cancel meets the receipt on the way: it covers too much and is refused, another one over what
 * was kept is paid. */
static void test_late_cancel(void) {
    struct rig *r = rig_live(0);
    uint64_t job = rig_offer(r, 20);
    rig_settle_frames(r);
    rig_accept(r, job);
    rig_send_tokens(r, job, 5);
    rig_settle_frames(r);
    rig_done(r, job);
    CHECK_OK(rig_cancel(r, job, 2, ASY_CANCEL_CLIENT));
    rig_settle_frames(r);
    CHECK(r->late_cancels == 1 && r->cancels == 0 && r->refused == 1 && r->resent == 1);
    CHECK(r->g.tickets[job].paid && r->g.tickets[job].item == 1 &&
          r->n.items[1].receipt.out_tokens == 2);
    rig_tick(r, 100);
    rig_settle_frames(r);
    CHECK(rig_items_of(&r->g.nodes) == 2 && r->n.ack.cum == r->g.owed);
    rig_free(r);
}

/* The largest job that the limits allow fits a frame and the memory of both ends. */
static void test_largest_offer(void) {
    struct rig *r = rig_live(0);
    uint32_t *prefix = asy_alloc(ASY_MAX_TOKENS * sizeof *prefix);
    uint8_t *messages = asy_alloc(ASY_MAX_PROMPT + 65536), stop[ASY_MAX_STOP_LEN];
    memset(prefix, 0xff, ASY_MAX_TOKENS * sizeof *prefix);
    memset(messages, 'm', ASY_MAX_PROMPT + 65536);
    memset(stop, 's', sizeof stop);
    struct asy_terms t = rig_terms(r, 0);
    struct asy_link_offer o = rig_offer_of(&t, 5);
    o.messages = asy_bytes_of(messages, ASY_MAX_PROMPT + 65536);
    o.prefix = prefix;
    o.prefix_count = ASY_MAX_TOKENS;
    for (o.stop_count = 0; o.stop_count < ASY_MAX_STOPS; o.stop_count++) {
        o.stops[o.stop_count] = asy_bytes_of(stop, sizeof stop);
    }
    static uint8_t bias[8 * ASY_MAX_BIAS], settings[64];
    struct asy_hash digest;
    o.bias = asy_bytes_of(bias, sizeof bias);
    o.settings = asy_bytes_of(settings, sizeof settings);
    asy_job_bias_digest(&digest, o.bias);
    memcpy(settings + 32, digest.b, 32);
    asy_job_sampling_hash(&t.sampling, o.settings, &o.seed, o.stops, o.stop_count);
    CHECK_OK(asy_link_gw_offer(r->gw, &o, r));
    r->g.terms[r->g.ticket_count++] = t;
    rig_settle_frames(r);
    CHECK(r->jobs[0].state == RIG_OFFERED && r->last_bias_len == sizeof bias);

    /* and one that does not fit is refused here, with nothing sent and no number used */
    uint8_t *more = asy_alloc(ASY_MAX_FRAME);
    o.messages = asy_bytes_of(more, ASY_MAX_FRAME);
    t = rig_terms(r, 1);
    CHECK_ERR(asy_link_gw_offer(r->gw, &o, r), ASY_ERR_TOO_LONG);
    CHECK_U64(asy_link_gw_next_seq(r->gw), 1);
    CHECK_U64(asy_link_gw_jobs(r->gw), 1);
    CHECK_U64(r->pending_node.count, 0);
    asy_free(more);
    asy_free(messages);
    asy_free(prefix);
    rig_free(r);
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* The first item is signed at once, later ones wait for 50 ms after it, and share one signature. */
static void test_cadence(void) {
    struct rig *r = rig_live(0);
    rig_tick(r, 1000);
    rig_offer(r, 1);
    CHECK(asy_link_gw_deadline(r->gw) <= rig_env.mono_ns);
    rig_tick(r, 0);
    CHECK_U64(r->g.own.count, 1);
    uint64_t signed_at = rig_env.mono_ns;
    CHECK_U64(asy_link_gw_deadline(r->gw), UINT64_MAX);
    rig_tick(r, 10);
    rig_offer(r, 1);
    rig_offer(r, 1);
    CHECK_U64(asy_link_gw_deadline(r->gw), signed_at + 50000000u);
    rig_tick(r, 39);
    CHECK_U64(r->g.own.count, 1);
    rig_tick(r, 1);
    CHECK_U64(r->g.own.count, 2);
    CHECK_U64(r->g.own.at[1].c.count, 2);
    rig_settle_frames(r);
    CHECK_U64(r->n.gateways.count, 2);
    rig_free(r);
}

/* 600 tickets and receipts without a tick: full checkpoints leave by themselves, at 256. */
static void test_rollover(void) {
    enum { JOBS = 600 };
    struct rig *r = rig_live(0);
    for (int i = 0; i < JOBS; i++) {
        uint64_t job = rig_offer(r, 1);
        CHECK_U64(r->g.own.count, (job + 1) / ASY_MAX_CHECKPOINT);
    }
    rig_settle_frames(r);
    CHECK_U64(r->n.gateways.count, 2);
    for (uint64_t job = 0; job < JOBS; job++) {
        rig_accept(r, job);
        rig_done(r, job);
        CHECK_U64(r->n.own.count, (job + 1) / ASY_MAX_CHECKPOINT);
    }
    rig_settle_frames(r);
    CHECK_U64(r->dones, JOBS);
    CHECK_U64(r->g.nodes.count, 2);
    rig_tick(r, 50);
    rig_settle_frames(r);
    CHECK_U64(rig_items_of(&r->g.nodes), JOBS);
    CHECK_U64(rig_items_of(&r->n.gateways), JOBS);
    CHECK_U64(r->g.nodes.at[2].c.count, JOBS - 512);
    rig_free(r);
}

/* Exactly what was signed can be proved: each receipt's path leads to the root that the node
 * signed. */
static void test_proofs(void) {
    struct rig *r = rig_live(0);
    for (int i = 0; i < 9; i++) {
        rig_offer(r, 1);
    }
    rig_settle_frames(r);
    for (uint64_t job = 0; job < 9; job++) {
        rig_accept(r, job);
        rig_done(r, job);
    }
    rig_tick(r, 100);
    rig_settle_frames(r);
    const struct asy_checkpoint *c = &r->g.nodes.at[0].c;
    CHECK_OK(asy_object_verify(&rig_domain, ASY_OBJ_CHECKPOINT, c, &r->g.nodes.at[0].sig,
                               &rig_node_addrs[0]));
    struct asy_hash nodes[64], path[ASY_CHECKPOINT_PATH_MAX];
    uint32_t len;
    memcpy(nodes, r->g.items, 9 * sizeof nodes[0]);
    CHECK_OK(asy_checkpoint_tree_build(nodes, 9));
    for (uint32_t i = 0; i < 9; i++) {
        CHECK_OK(asy_checkpoint_tree_path(path, &len, nodes, 9, i));
        CHECK_OK(asy_checkpoint_verify(&c->root, &r->g.items[i], i, 9, path, len));
    }
    rig_free(r);
}

/* ---- after a break --------------------------------------------------------------------------- */

/* One job each: receipt and both checkpoints made, but lost on the way. */
static void test_lost_frames(void) {
    struct rig *r = rig_live(0);
    uint64_t job = rig_offer(r, 4);
    rig_settle_frames(r);
    rig_accept(r, job);
    rig_send_tokens(r, job, 2);
    rig_done(r, job);
    rig_tick(r, 100); /* both sign */
    CHECK(r->g.own.count == 1 && r->n.own.count == 1);
    rig_disconnect(r);
    rig_connect(r);
    rig_settle_frames(r);
    CHECK_U64(r->resent, 1);
    CHECK(r->g.tickets[job].paid && r->g.owed == r->n.owed);
    CHECK(r->g.nodes.count == 1 && r->n.gateways.count == 1);
    CHECK(r->n.has_ack && r->n.ack.cum == r->n.owed);
    /* and nothing a second time */
    rig_disconnect(r);
    rig_connect(r);
    rig_settle_frames(r);
    CHECK_U64(r->resent, 1);
    CHECK(r->n.has_ack && r->acks == 1);
    rig_free(r);
}

/* The gateway had the receipt, but not its signature: it comes again, and is not paid again. */
static void test_receipt_without_signature(void) {
    struct rig *r = rig_live(0);
    uint64_t a = rig_offer(r, 4), b = rig_offer(r, 4);
    rig_settle_frames(r);
    rig_accept(r, a);
    rig_accept(r, b);
    rig_done(r, a);
    rig_settle_frames(r);
    CHECK(r->g.tickets[a].paid && r->g.nodes.count == 0);
    asy_u128 owed = r->g.owed;
    rig_make_receipt(r, b, 0, ASY_FINISH_LINK, false); /* written down as the link breaks */
    rig_disconnect(r);
    rig_connect(r);
    rig_settle_frames(r);
    CHECK_U64(r->resent, 2);
    CHECK(r->g.tickets[b].paid && r->g.owed > owed && r->g.owed == r->n.owed);
    rig_tick(r, 100);
    rig_settle_frames(r);
    CHECK_U64(rig_items_of(&r->g.nodes), 2);
    rig_free(r);
}

/* Tickets that were issued and offered, but not signed when the gateway died: the next checkpoint
 * covers them and names its items, of which the node may have seen some, all or none. New tickets
 * join the same checkpoint. */
static void test_adopted_tickets(void) {
    for (int seen = 0; seen < 2; seen++) {
        struct rig *r = rig_live(0);
        rig_offer(r, 1);
        rig_tick(r, 100);
        rig_settle_frames(r);
        CHECK_U64(r->n.gateways.count, 1);
        rig_offer(r, 1);
        rig_offer(r, 1);
        if (seen) {
            rig_settle_frames(r);
        }
        rig_disconnect(r);
        rig_connect(r);
        rig_settle_frames(r);
        CHECK_U64(asy_link_gw_next_seq(r->gw), 3);
        rig_offer(r, 1);
        rig_settle_frames(r);
        rig_tick(r, 100);
        rig_settle_frames(r);
        CHECK_U64(r->n.gateways.count, 2);
        CHECK_U64(r->n.gateways.at[1].c.first, 1);
        CHECK_U64(r->n.gateways.at[1].c.count, 3);
        /* from here on items are not sent */
        rig_offer(r, 1);
        rig_tick(r, 100);
        rig_settle_frames(r);
        CHECK_U64(rig_items_of(&r->n.gateways), 5);
        rig_free(r);
    }
    /* more than one checkpoint's worth */
    struct rig *r = rig_live(0);
    for (int i = 0; i < 255; i++) {
        rig_offer(r, 1);
    }
    rig_disconnect(r);
    rig_connect(r);
    rig_settle_frames(r);
    for (int i = 0; i < 10; i++) {
        rig_offer(r, 1);
    }
    rig_settle_frames(r);
    CHECK_U64(r->n.gateways.count, 1);
    CHECK_U64(r->n.gateways.at[0].c.count, ASY_MAX_CHECKPOINT);
    rig_tick(r, 100);
    rig_settle_frames(r);
    CHECK_U64(rig_items_of(&r->n.gateways), 265);
    rig_free(r);
}

/* Receipts and checkpoints of several connections are missing at both ends. */
static void test_long_absence(void) {
    struct rig *r = rig_live(0);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 5; i++) {
            rig_offer(r, 4);
        }
        rig_settle_frames(r);
        for (uint64_t job = r->g.ticket_count - 5; job < r->g.ticket_count; job++) {
            rig_accept(r, job);
            rig_done(r, job);
        }
        if (round % 2 == 0) {
            rig_tick(r, 100); /* signed and lost */
        }
        rig_disconnect(r);
        rig_connect(r);
        if (round == 1) { /* breaks again before the handshake ends, and in the midst of what is
                             sent again */
            rig_disconnect(r);
            rig_connect(r);
            for (int i = 0; i < 4; i++) {
                rig_commit_gw(r);
                rig_commit_node(r);
                CHECK_OK(rig_deliver_gw(r));
                CHECK_OK(rig_deliver_node(r));
            }
            rig_disconnect(r);
            rig_connect(r);
        }
        rig_settle_frames(r);
    }
    rig_tick(r, 100);
    rig_settle_frames(r);
    CHECK(r->g.paid_count == 20 && r->g.owed == r->n.owed);
    CHECK_U64(rig_items_of(&r->g.nodes), 20);
    CHECK_U64(rig_items_of(&r->n.gateways), 20);
    rig_free(r);
}

/* ---- violations ------------------------------------------------------------------------------ */

/* The frame must end the link, with a reason. */
static void ends(int line, bool gateway, struct rig *r, struct asy_bytes frame) {
    rig_why = (struct asy_why){{0}, {0}};
    enum asy_err err = gateway ? asy_link_gw_recv(r->gw, frame, &rig_why)
                               : asy_link_node_recv(r->node, frame, &rig_why);
    if (err != ASY_ERR_PEER || rig_why.text[0] == '\0') {
        asy_test_failures++;
        fprintf(stderr, "%s:%d: gave %s (%s)\n", __FILE__, line, asy_err_name(err), rig_why.text);
    }
}
#define GW_ENDS(r, frame)   ends(__LINE__, true, r, frame)
#define NODE_ENDS(r, frame) ends(__LINE__, false, r, frame)

/* A live link with job 0 running and 8 tokens of credit. */
static struct rig *running(void) {
    struct rig *r = rig_live(0);
    rig_tick(r, 100);
    uint64_t job = rig_offer(r, 8);
    rig_settle_frames(r);
    rig_accept(r, job);
    rig_settle_frames(r);
    return r;
}

static void test_gateway_refuses(void) {
    struct rig *r = running();
    CHECK_OK(asy_link_gw_recv(r->gw, raw_tokens(0, 0, 3, ASY_STR("abc")), NULL));
    GW_ENDS(r, raw_tokens(0, 2, 1, ASY_STR("b")));    /* an offset again */
    GW_ENDS(r, raw_tokens(0, 4, 1, ASY_STR("d")));    /* a gap */
    GW_ENDS(r, raw_tokens(0, 3, 6, ASY_STR("d")));    /* more than the credit left */
    GW_ENDS(r, raw_tokens(0, 3, 0, ASY_STR("d")));    /* none */
    GW_ENDS(r, raw_tokens(0, 3, 1, ASY_STR("\xc3"))); /* half a character */
    CHECK_OK(asy_link_gw_recv(r->gw, raw_tokens(0, 3, 5, ASY_STR("")),
                              NULL)); /* exactly the credit, no text */
    GW_ENDS(r, raw_tokens(0, 8, 1, ASY_STR("i")));
    rig_free(r);

    r = running();
    struct asy_receipt receipt = rig_receipt(&r->g.terms[0], 0, ASY_FINISH_STOP);
    uint8_t encoded[ASY_RECEIPT_LEN] = {0}, prompt[32] = {0};
    asy_object_encode(encoded, ASY_OBJ_RECEIPT, &receipt);
    Assay__Link__Done done = ASSAY__LINK__DONE__INIT;
    done.receipt = link_data(encoded, sizeof encoded - 1);
    done.prompt_digest = link_data(prompt, 32);
    GW_ENDS(r, raw_pack(ASSAY__LINK__FRAME__BODY_DONE, &done)); /* a receipt of another length */
    encoded[0] = 2;
    done.receipt = link_data(encoded, sizeof encoded);
    GW_ENDS(r, raw_pack(ASSAY__LINK__FRAME__BODY_DONE, &done)); /* of another version */
    encoded[0] = 1;
    done.prompt_digest = link_data(prompt, 31);
    GW_ENDS(r, raw_pack(ASSAY__LINK__FRAME__BODY_DONE, &done));
    GW_ENDS(r, raw_done(0, &receipt, 1, NULL)); /* a gap in the items */
    struct asy_terms other = r->g.terms[0];
    other.link_seq = 5;
    GW_ENDS(r, raw_done(4, &receipt, 0, &other)); /* sent again under another number */
    other.node.b[0] ^= 1;
    GW_ENDS(r, raw_done(5, &receipt, 0, &other)); /* another node's */
    other = r->g.terms[0];
    other.link_seq = 5;
    other.gateway.b[0] ^= 1;
    GW_ENDS(r, raw_done(5, &receipt, 0, &other)); /* another gateway's */
    rig_free(r);

    /* text that is not UTF-8 would travel on to clients */
    r = running();
    Assay__Link__Error error = ASSAY__LINK__ERROR__INIT;
    error.has_job = true;
    error.text = link_text("\xff");
    GW_ENDS(r, raw_pack(ASSAY__LINK__FRAME__BODY_ERROR, &error));
    uint64_t offered = rig_offer(r, 1);
    Assay__Link__Reject reject = ASSAY__LINK__REJECT__INIT;
    reject.job = offered;
    reject.text = link_text("\xe2\x82");
    GW_ENDS(r, raw_pack(ASSAY__LINK__FRAME__BODY_REJECT, &reject));
    CHECK(r->fails == 0 && r->rejects == 0);
    rig_free(r);
}

static void test_receipt_checkpoints(void) {
    /* two receipts wait for their signature */
    struct rig *r = running();
    uint64_t b = rig_offer(r, 1);
    rig_settle_frames(r);
    rig_accept(r, b);
    rig_done(r, 0);
    rig_done(r, b);
    rig_settle_frames(r);
    struct asy_sig sig;
    struct asy_hash items[3] = {r->g.items[0], r->g.items[1], {{0}}},
                    swapped[2] = {items[1], items[0]};
    struct asy_signer *s = rig_node_signers[0];
    struct asy_checkpoint c;
    c = raw_signed(&sig, s, &rig_gw_addr, items, 1, 0, 0,
                   ASY_CHECKPOINT_RECEIPTS); /* wrong counts */
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, s, &rig_gw_addr, items, 3, 0, 0, ASY_CHECKPOINT_RECEIPTS);
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, s, &rig_gw_addr, swapped, 2, 0, 0,
                   ASY_CHECKPOINT_RECEIPTS); /* another root */
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, s, &rig_gw_addr, items, 2, 1, 0,
                   ASY_CHECKPOINT_RECEIPTS); /* a number too far */
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, s, &rig_gw_addr, items, 2, 0, 1,
                   ASY_CHECKPOINT_RECEIPTS); /* a gap in the items */
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, s, &rig_node_addrs[1], items, 2, 0, 0,
                   ASY_CHECKPOINT_RECEIPTS); /* to another peer */
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, rig_node_signers[1], &rig_gw_addr, items, 2, 0, 0,
                   ASY_CHECKPOINT_RECEIPTS); /* by another node */
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, rig_gw_signer, &rig_node_addrs[0], items, 2, 0, 0,
                   ASY_CHECKPOINT_TICKETS); /* of the other kind */
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, s, &rig_gw_addr, items, 2, 0, 0, ASY_CHECKPOINT_RECEIPTS);
    sig.b[3] ^= 1;
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    sig.b[3] ^= 1;
    c.count = 0; /* signed or not */
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c.count = 2;
    CHECK_U64(r->g.nodes.count, 0);
    CHECK_OK(asy_link_gw_recv(r->gw, raw_checkpoint(&c, &sig, NULL, 0), &rig_why));
    CHECK_U64(r->g.nodes.count, 1);
    GW_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0)); /* a second time */
    rig_free(r);

    /* 256 receipts without a checkpoint are the most */
    r = rig_live(0);
    struct asy_receipt receipt = {.in_tokens = 0};
    for (uint64_t i = 0; i < ASY_MAX_CHECKPOINT + 1; i++) {
        uint64_t job = rig_offer(r, 1);
        CHECK_OK(asy_link_gw_recv(r->gw, raw_job(ASSAY__LINK__FRAME__BODY_ACCEPT, job), NULL));
        receipt = rig_receipt(&r->g.terms[job], 0, ASY_FINISH_STOP);
        if (i < ASY_MAX_CHECKPOINT) {
            CHECK_OK(asy_link_gw_recv(r->gw, raw_done(job, &receipt, i, NULL), NULL));
        } else {
            GW_ENDS(r, raw_done(job, &receipt, i, NULL));
        }
    }
    rig_free(r);
}

static void test_node_refuses(void) {
    struct rig *r = running();
    struct asy_terms t = rig_terms(r, 1), other;
    struct asy_bytes ok = ASY_STR("settings");
    char long_stop[ASY_MAX_STOP_LEN + 1];
    memset(long_stop, 's', sizeof long_stop);
    other = t;
    other.link_seq = 0;
    NODE_ENDS(r, raw_offer(&other, &rig_cap, ok, 0, ASY_STR(""), 1)); /* a number again */
    other.link_seq = 2;
    NODE_ENDS(r, raw_offer(&other, &rig_cap, ok, 0, ASY_STR(""), 1)); /* a gap */
    other = t;
    other.node = rig_node_addrs[1];
    NODE_ENDS(r, raw_offer(&other, &rig_cap, ok, 0, ASY_STR(""), 1));
    other = t;
    other.gateway.b[5] ^= 1;
    NODE_ENDS(r, raw_offer(&other, &rig_cap, ok, 0, ASY_STR(""), 1));
    NODE_ENDS(r, raw_offer(&t, &rig_cap, ASY_STR("other settings"), 0, ASY_STR(""),
                           1)); /* not the ticket's */
    NODE_ENDS(r, raw_offer(&t, &rig_cap, ok, 1, ASY_STR("stop"), 1));
    NODE_ENDS(r, raw_offer(&t, &rig_cap, ok, ASY_MAX_STOPS + 1, ASY_STR("stop"), 1));
    NODE_ENDS(r, raw_offer(&t, &rig_cap, ok, 1, ASY_STR(""), 1));
    NODE_ENDS(r, raw_offer(&t, &rig_cap, ok, 1, asy_bytes_of(long_stop, sizeof long_stop), 1));
    struct asy_hash seed = {{0x5e}};
    uint8_t biased[64] = {0};
    biased[40] = 1;
    struct asy_bytes settings[] = {asy_bytes_of(biased, 64), asy_bytes_of(biased, 64), ok};
    for (size_t i = 0; i < ASY_COUNT(settings); i++) { /* no bias, another one, one unasked */
        other = t;
        asy_job_sampling_hash(&other.sampling, settings[i], &seed, NULL, 0);
        raw_bias = i == 0 ? ASY_STR("") : ASY_STR("\0\0\0\1\0\0\0\1");
        NODE_ENDS(r, raw_offer(&other, &rig_cap, settings[i], 0, ASY_STR(""), 1));
    }
    raw_bias = ASY_STR("");
    struct asy_bytes bad = ASY_STR("\x80");
    other = t;
    asy_job_sampling_hash(&other.sampling, ok, &seed, &bad, 1);
    NODE_ENDS(r, raw_offer(&other, &rig_cap, ok, 1, bad, 1)); /* a stop string that is not UTF-8 */

    Assay__Link__Credit credit = ASSAY__LINK__CREDIT__INIT;
    credit.tokens = ASY_MAX_TOKENS + 1;
    NODE_ENDS(r, raw_pack(ASSAY__LINK__FRAME__BODY_CREDIT, &credit));
    NODE_ENDS(r, raw_batch(31));

    struct asy_ack ack = {.gateway = rig_gw_addr, .node = rig_node_addrs[1], .cum = 5};
    struct asy_sig sig;
    CHECK_OK(asy_signer_sign_object(rig_gw_signer, &sig, ASY_OBJ_ACK, &ack));
    NODE_ENDS(r, raw_ack(&ack, &sig)); /* another node's */
    ack.node = rig_node_addrs[0];
    NODE_ENDS(r, raw_ack(&ack, &sig)); /* not what was signed */
    CHECK_U64(r->acks, 0);
    CHECK_OK(asy_link_node_recv(r->node, raw_offer(&t, &rig_cap, ok, 0, ASY_STR(""), 1), &rig_why));
    rig_free(r);

    /* 256 tickets without a checkpoint are the most */
    r = rig_live(0);
    for (uint64_t i = 0; i < ASY_MAX_CHECKPOINT + 1; i++) {
        t = rig_terms(r, i);
        struct asy_bytes frame = raw_offer(&t, &rig_cap, ok, 0, ASY_STR(""), 1);
        if (i < ASY_MAX_CHECKPOINT) {
            CHECK_OK(asy_link_node_recv(r->node, frame, NULL));
        } else {
            NODE_ENDS(r, frame);
        }
    }
    rig_free(r);
}

static void test_ticket_checkpoints(void) {
    /* tickets 0 and 1 were signed and seen; 2 is of the connection before and unseen; 3 and 4 have
     * just come */
    struct rig *r = rig_live(0);
    rig_offer(r, 1);
    rig_offer(r, 1);
    rig_tick(r, 100);
    rig_settle_frames(r);
    rig_offer(r, 1);
    rig_disconnect(r);
    rig_connect(r);
    rig_settle_frames(r);
    rig_offer(r, 1);
    rig_offer(r, 1);
    rig_settle_frames(r);
    struct asy_hash items[3], bent[3];
    for (int i = 0; i < 3; i++) {
        asy_object_hash(&items[i], ASY_OBJ_TERMS, &r->g.terms[2 + i]);
    }
    struct asy_sig sig;
    struct asy_signer *s = rig_gw_signer;
    const struct asy_addr *to = &rig_node_addrs[0];
    struct asy_checkpoint c;
    /* the two that came, under the wrong indices: only with their items can it be told what index 2
     * is */
    c = raw_signed(&sig, s, to, items + 1, 2, 1, 2, ASY_CHECKPOINT_TICKETS);
    NODE_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    NODE_ENDS(r, raw_checkpoint(&c, &sig, items + 1, 2));
    c = raw_signed(&sig, s, to, items + 1, 1, 1, 2, ASY_CHECKPOINT_TICKETS);
    NODE_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, s, to, items, 3, 1, 3, ASY_CHECKPOINT_TICKETS); /* a gap */
    NODE_ENDS(r, raw_checkpoint(&c, &sig, items, 3));
    c = raw_signed(&sig, s, to, items, 3, 1, 0, ASY_CHECKPOINT_TICKETS); /* again */
    NODE_ENDS(r, raw_checkpoint(&c, &sig, items, 3));
    c = raw_signed(&sig, s, to, items, 3, 3, 2,
                   ASY_CHECKPOINT_TICKETS); /* more checkpoints than items before it */
    NODE_ENDS(r, raw_checkpoint(&c, &sig, items, 3));
    memcpy(bent, items, sizeof bent);
    bent[1].b[0] ^= 1; /* a ticket other than the one that came */
    c = raw_signed(&sig, s, to, bent, 3, 1, 2, ASY_CHECKPOINT_TICKETS);
    NODE_ENDS(r, raw_checkpoint(&c, &sig, bent, 3));
    c = raw_signed(&sig, s, to, items, 3, 1, 2, ASY_CHECKPOINT_TICKETS);
    NODE_ENDS(r, raw_checkpoint(&c, &sig, items, 2)); /* items missing */
    NODE_ENDS(r, raw_checkpoint(&c, &sig, bent, 3));  /* items that are not its own */
    c.count = 2;
    NODE_ENDS(r, raw_checkpoint(&c, &sig, items, 2)); /* not the count that was signed */
    c.count = 3;
    sig.b[64] ^= 7;
    NODE_ENDS(r, raw_checkpoint(&c, &sig, items, 3));
    c = raw_signed(&sig, s, &rig_node_addrs[1], items, 3, 1, 2, ASY_CHECKPOINT_TICKETS);
    NODE_ENDS(r, raw_checkpoint(&c, &sig, items, 3));
    CHECK_U64(r->n.gateways.count, 1);
    for (uint8_t last = 0; last < 2; last++) { /* one that was never offered */
        struct asy_hash four[4] = {items[0], items[1], items[2], {{last}}};
        c = raw_signed(&sig, s, to, four, 4, 1, 2, ASY_CHECKPOINT_TICKETS);
        NODE_ENDS(r, raw_checkpoint(&c, &sig, four, 4));
    }
    c = raw_signed(&sig, s, to, items, 2, 1, 2,
                   ASY_CHECKPOINT_TICKETS); /* not all that came: the rest comes next */
    CHECK_OK(asy_link_node_recv(r->node, raw_checkpoint(&c, &sig, items, 2), &rig_why));
    c = raw_signed(&sig, s, to, items + 2, 1, 3, 4, ASY_CHECKPOINT_TICKETS); /* a number left out */
    NODE_ENDS(r, raw_checkpoint(&c, &sig, NULL, 0));
    c = raw_signed(&sig, s, to, items + 2, 1, 2, 4, ASY_CHECKPOINT_TICKETS);
    CHECK_OK(asy_link_node_recv(r->node, raw_checkpoint(&c, &sig, NULL, 0), &rig_why));
    CHECK_U64(rig_items_of(&r->n.gateways), 5);
    rig_free(r);
}

/* A signer that has gone: the link says so at the next tick, and takes no more. */
static void test_signer_fails(void) {
    struct asy_seckey key = {{0x7e, 0x57, 1}};
    struct asy_signer *silent; /* without a domain it signs messages, but no objects */
    CHECK_OK(asy_signer_new_local(&silent, ASY_SIGNER_GATEWAY, &key));
    struct asy_signer *kept = rig_gw_signer;
    rig_gw_signer = silent;
    struct rig *r = rig_live(0);
    rig_gw_signer = kept;
    rig_offer(r, 1);
    CHECK_ERR(asy_link_gw_tick(r->gw), ASY_ERR_STATE);
    CHECK_U64(asy_link_gw_deadline(r->gw), 0);
    CHECK_ERR(asy_link_gw_tick(r->gw), ASY_ERR_STATE);
    struct asy_terms t = rig_terms(r, 1);
    struct asy_link_offer o = rig_offer_of(&t, 1);
    CHECK_ERR(asy_link_gw_offer(r->gw, &o, r), ASY_ERR_STATE);
    CHECK_U64(r->g.own.count, 0);
    rig_free(r);
    asy_signer_free(silent);
}

int main(void) {
    rig_hello_default();
    rig_begin();
    test_job();
    test_ends_without_receipt();
    test_cancel();
    test_late_cancel();
    test_largest_offer();
    test_cadence();
    test_rollover();
    test_proofs();
    test_lost_frames();
    test_receipt_without_signature();
    test_adopted_tickets();
    test_long_absence();
    test_gateway_refuses();
    test_receipt_checkpoints();
    test_node_refuses();
    test_ticket_checkpoints();
    test_signer_fails();
    rig_end();
    return asy_test_end();
}
