/* A node that sends anything, against a gateway's end. */
#include "link/fuzz/feed.h"

static enum asy_err hello(void *arg, const struct asy_link_hello *h, struct asy_link_welcome *w,
                          struct asy_why *why) {
    (void)arg;
    (void)why;
    feed_look(h, sizeof *h);
    *w = (struct asy_link_welcome){
        .link = 1, .next_link_seq = 3, .tickets_signed = 2, .ticket_checkpoint_next = 1};
    return ASY_OK;
}
static void status(void *arg, const struct asy_link_status *s) {
    (void)arg;
    feed_look(s, sizeof *s);
}
static void accept(void *arg, uint64_t job, void *user) {
    (void)arg;
    (void)job;
    (void)user;
}
static void reject(void *arg, uint64_t job, void *user, uint32_t reason, const char *param,
                   struct asy_bytes text) {
    accept(arg, job, user);
    feed_look(asy_reject_name(reason), 1);
    ASY_ASSERT(strlen(param) <= ASY_MAX_NAME && asy_utf8_valid(asy_bytes_cstr(param)));
    ASY_ASSERT(asy_utf8_valid(text));
}
static void fail(void *arg, uint64_t job, void *user, enum asy_err code, struct asy_bytes text) {
    reject(arg, job, user, 0, "", text);
    (void)code;
}
static void tokens(void *arg, uint64_t job, void *user, const uint32_t *ids, uint32_t count,
                   struct asy_bytes text) {
    accept(arg, job, user);
    feed_look(ids, count * sizeof *ids);
    ASY_ASSERT(count != 0 && asy_utf8_valid(text));
}
static uint64_t next_item;
static void item_in_order(uint64_t item) {
    ASY_ASSERT(item == next_item);
    next_item++;
}
static void done(void *arg, uint64_t job, void *user, const struct asy_receipt *receipt,
                 const struct asy_hash *prompt, uint64_t item) {
    accept(arg, job, user);
    feed_look(receipt, sizeof *receipt);
    feed_look(prompt, sizeof *prompt);
    item_in_order(item);
}
static void resent(void *arg, const struct asy_terms *terms, const struct asy_receipt *receipt,
                   const struct asy_hash *prompt, uint64_t item) {
    ASY_ASSERT(asy_addr_eq(&terms->node, &rig_node_addrs[0]));
    done(arg, terms->link_seq, NULL, receipt, prompt, item);
}
static void checkpoint(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig,
                       const struct asy_hash *items) {
    (void)arg;
    ASY_ASSERT(c->first + c->count == next_item &&
               asy_checkpoint_check(c, items, c->count) == ASY_OK);
    feed_look(sig, sizeof *sig);
}
static void own(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    (void)arg;
    feed_look(c, sizeof *c);
    feed_look(sig, sizeof *sig);
}

static void act(struct rig *r, uint8_t what) {
    uint64_t seq = asy_link_gw_next_seq(r->gw);
    uint64_t job = seq == 0 ? 0 : seq - 1 - (what >> 4) % 3;
    struct asy_terms t = rig_terms(r, seq);
    struct asy_link_offer o = rig_offer_of(&t, what >> 3);
    enum asy_err err;
    switch (what & 7) {
    case 0:
        err = asy_link_gw_credit(r->gw, job, what);
        break;
    case 1:
        err = asy_link_gw_cancel(r->gw, job, what >> 3, ASY_CANCEL_LIMIT);
        break;
    case 2:
        err = asy_link_gw_forget(r->gw, job);
        break;
    default:
        err = asy_link_gw_offer(r->gw, &o, r);
    }
    ASY_ASSERT(err == ASY_OK || err == ASY_ERR_NOT_FOUND || err == ASY_ERR_STATE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    static struct rig *r;
    r = r == NULL ? asy_alloc(sizeof *r) : r;
    feed_begin();
    struct feed f = {data, len};
    struct asy_link_gw_options o = {
        .env = &rig_env.env,
        .domain = &rig_domain,
        .signer = rig_gw_signer,
        .on = {gw_send, hello, status, accept, reject, fail, tokens, done, resent, checkpoint, own},
        .arg = r,
    };
    next_item = 0;
    r->gw = asy_link_gw_new(&o);
    if (feed_u8(&f) & 1) {
        r->node = rig_node_new(r);
        rig_commit_gw(r);
        CHECK_OK(rig_deliver_node(r));
        rig_commit_node(r);
        struct asy_bytes hello_frame;
        ASY_ASSERT(frames_pop(&r->to_gw, &hello_frame));
        CHECK_OK(asy_link_gw_recv(r->gw, hello_frame, NULL));
        asy_free((void *)(uintptr_t)hello_frame.p);
        struct asy_terms t = rig_terms(r, 2); /* of before, not signed */
        struct asy_hash h;
        asy_object_hash(&h, ASY_OBJ_TERMS, &t);
        asy_link_gw_adopt_unsigned(r->gw, &h);
        act(r, 0x23);
        act(r, 0x43);
    }
    ASY_ASSERT(asy_test_failures == 0);
    enum asy_err err = ASY_OK;
    while (f.n != 0 && err == ASY_OK) {
        uint8_t what = feed_u8(&f);
        bool was_live = asy_link_gw_live(r->gw);
        if ((what & 7) < 6) {
            struct asy_why why = {{0}, {0}};
            err = asy_link_gw_recv(r->gw, feed_frame(&f), &why);
            ASY_ASSERT((err == ASY_OK) == (why.text[0] == '\0'));
            if (!was_live && asy_link_gw_live(r->gw)) {
                struct asy_hash h = {{0}};
                asy_link_gw_adopt_unsigned(r->gw, &h);
            }
        } else if ((what & 7) == 6) {
            rig_env.mono_ns += feed_u8(&f) * 10000000ull;
            err = asy_link_gw_tick(r->gw);
            ASY_ASSERT(err == ASY_OK || (err == ASY_ERR_TIMEOUT && !was_live));
        } else {
            act(r, feed_u8(&f));
        }
        frames_clear(&r->pending_node);
    }
    rig_disconnect(r);
    return 0;
}
