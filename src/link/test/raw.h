/* raw.h: frames made by hand, for what an honest end never sends. */
#ifndef ASY_LINK_TEST_RAW_H
#define ASY_LINK_TEST_RAW_H

#include "link/test/rig.h"

/* The last frame made here; overwritten by the next. */
static struct asy_bytes raw_pack(Assay__Link__Frame__BodyCase body_case, void *body) {
    static uint8_t bytes[ASY_MAX_FRAME + 4096];
    Assay__Link__Frame f = ASSAY__LINK__FRAME__INIT;
    f.body_case = body_case;
    f.hello = body;
    ASY_ASSERT(assay__link__frame__get_packed_size(&f) <= sizeof bytes);
    return asy_bytes_of(bytes, assay__link__frame__pack(&f, bytes));
}
static struct asy_bytes raw_job(Assay__Link__Frame__BodyCase c, uint64_t job) {
    Assay__Link__Accept accept = ASSAY__LINK__ACCEPT__INIT;
    Assay__Link__Reject reject = ASSAY__LINK__REJECT__INIT;
    Assay__Link__Cancel cancel = ASSAY__LINK__CANCEL__INIT;
    Assay__Link__Credit credit = ASSAY__LINK__CREDIT__INIT;
    Assay__Link__Error error = ASSAY__LINK__ERROR__INIT;
    accept.job = reject.job = cancel.job = credit.job = error.job = job;
    reject.reason = ASY_REJECT_BUSY;
    reject.text = link_text("busy");
    cancel.reason = ASY_CANCEL_CLIENT;
    credit.tokens = 3;
    error.has_job = true;
    error.text = link_text("out of memory");
    void *body = c == ASSAY__LINK__FRAME__BODY_ACCEPT   ? (void *)&accept
                 : c == ASSAY__LINK__FRAME__BODY_REJECT ? (void *)&reject
                 : c == ASSAY__LINK__FRAME__BODY_CANCEL ? (void *)&cancel
                 : c == ASSAY__LINK__FRAME__BODY_CREDIT ? (void *)&credit
                                                        : (void *)&error;
    return raw_pack(c, body);
}
static struct asy_bytes raw_tokens(uint64_t job, uint32_t offset, uint32_t count,
                                   struct asy_bytes text) {
    static uint32_t ids[ASY_MAX_TOKENS];
    ASY_ASSERT(count <= ASY_COUNT(ids));
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = offset + i;
    }
    Assay__Link__Tokens m = ASSAY__LINK__TOKENS__INIT;
    m.job = job;
    m.offset = offset;
    m.ids = ids;
    m.n_ids = count;
    m.text = link_data(text.p, text.n);
    return raw_pack(ASSAY__LINK__FRAME__BODY_TOKENS, &m);
}
static struct asy_bytes raw_done(uint64_t job, const struct asy_receipt *receipt, uint64_t item,
                                 const struct asy_terms *terms) {
    uint8_t r[ASY_RECEIPT_LEN], t[ASY_TERMS_LEN], prompt[32] = {0};
    asy_object_encode(r, ASY_OBJ_RECEIPT, receipt);
    Assay__Link__Done m = ASSAY__LINK__DONE__INIT;
    m.job = job;
    m.receipt = link_data(r, sizeof r);
    m.prompt_digest = link_data(prompt, sizeof prompt);
    m.item = item;
    if (terms != NULL) {
        asy_object_encode(t, ASY_OBJ_TERMS, terms);
        m.terms = link_data(t, sizeof t);
    }
    return raw_pack(ASSAY__LINK__FRAME__BODY_DONE, &m);
}
/* items: NULL, or as many as item_count says */
static struct asy_bytes raw_checkpoint(const struct asy_checkpoint *c, const struct asy_sig *sig,
                                       const struct asy_hash *items, size_t item_count) {
    uint8_t encoded[ASY_CHECKPOINT_LEN];
    asy_object_encode(encoded, ASY_OBJ_CHECKPOINT, c);
    Assay__Link__Checkpoint m = ASSAY__LINK__CHECKPOINT__INIT;
    m.checkpoint = link_data(encoded, sizeof encoded);
    m.signature = link_data(sig->b, sizeof sig->b);
    if (items != NULL) {
        m.items = link_data(items, item_count * 32);
    }
    return raw_pack(ASSAY__LINK__FRAME__BODY_CHECKPOINT, &m);
}
/* Makes and signs a checkpoint over items; fields may be bent by `bend` before it is signed. */
static struct asy_checkpoint raw_signed(struct asy_sig *ret_sig, struct asy_signer *signer,
                                        const struct asy_addr *peer, const struct asy_hash *items,
                                        uint32_t count, uint64_t number, uint64_t first,
                                        enum asy_checkpoint_kind kind) {
    struct asy_checkpointer cp;
    struct asy_checkpoint c;
    struct asy_addr self = asy_signer_addr(signer);
    asy_checkpointer_init(&cp, kind, &self, peer, number, first);
    for (uint32_t i = 0; i < count; i++) {
        (void)asy_checkpointer_add(&cp, &items[i]);
    }
    asy_checkpointer_close(&cp, &c);
    CHECK_OK(asy_signer_sign_object(signer, ret_sig, ASY_OBJ_CHECKPOINT, &c));
    return c;
}
static struct asy_bytes raw_bias; /* of the offers below */
static struct asy_bytes raw_offer(const struct asy_terms *terms, const struct asy_cap *cap,
                                  struct asy_bytes settings, size_t stop_count,
                                  struct asy_bytes stop, uint32_t credit) {
    uint8_t t[ASY_TERMS_LEN], c[ASY_CAP_LEN], seed[32] = {0x5e};
    asy_object_encode(t, ASY_OBJ_TERMS, terms);
    asy_object_encode(c, ASY_OBJ_CAP, cap);
    ProtobufCBinaryData stops[16];
    for (size_t i = 0; i < stop_count; i++) {
        stops[i] = link_data(stop.p, stop.n);
    }
    Assay__Link__Offer m = ASSAY__LINK__OFFER__INIT;
    m.terms = link_data(t, sizeof t);
    m.cap = link_data(c, sizeof c);
    m.messages = link_data("[]", 2);
    m.settings = link_data(settings.p, settings.n);
    m.bias = link_data(raw_bias.p, raw_bias.n);
    m.seed = link_data(seed, sizeof seed);
    m.stops = stops;
    m.n_stops = stop_count;
    m.credit = credit;
    m.model = link_text("test-model");
    return raw_pack(ASSAY__LINK__FRAME__BODY_OFFER, &m);
}
static struct asy_bytes raw_ack(const struct asy_ack *ack, const struct asy_sig *sig) {
    uint8_t encoded[ASY_ACK_LEN];
    asy_object_encode(encoded, ASY_OBJ_ACK, ack);
    Assay__Link__Ack m = ASSAY__LINK__ACK__INIT;
    m.ack = link_data(encoded, sizeof encoded);
    m.signature = link_data(sig->b, sizeof sig->b);
    return raw_pack(ASSAY__LINK__FRAME__BODY_ACK, &m);
}
static struct asy_bytes raw_batch(size_t root_len) {
    static const uint8_t zero[33];
    Assay__Link__BatchProof m = ASSAY__LINK__BATCH_PROOF__INIT;
    m.number = 3;
    m.root = link_data(zero, root_len);
    m.tx = link_data(zero, 32);
    m.credited = link_data(zero, 16);
    return raw_pack(ASSAY__LINK__FRAME__BODY_BATCH_PROOF, &m);
}

#endif
