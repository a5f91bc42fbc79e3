/* record.c: audit records, sealed under the gateway's storage key, bound to their job. */
#include "gateway/gateway_priv.h"

void record_store(struct asy_gateway *g, const struct asy_hash *job_id, uint32_t lane,
                  uint64_t lane_seq, const struct asy_audit_record *record) {
    struct asy_buf plain;
    asy_buf_init(&plain, ASY_MAX_AUDIT_RECORD);
    enum asy_err err = asy_audit_record_encode(&plain, record);
    ASY_ASSERT(err == ASY_OK); /* the request fits an offer */
    size_t len = sizeof(struct asy_aead_nonce) + plain.n + ASY_AEAD_TAG;
    uint8_t *sealed = asy_alloc(len);
    struct asy_aead_nonce nonce;
    asy_aead_nonce_generate(&nonce, g->env);
    memcpy(sealed, nonce.b, sizeof nonce.b);
    asy_aead_seal(sealed + sizeof nonce.b, &g->storage_key, &nonce, asy_bytes_of(job_id->b, 32),
                  asy_buf_bytes(&plain));
    err = asy_ledger_put_audit(g->ledger, lane, lane_seq, asy_bytes_of(sealed, len));
    asy_free(sealed);
    asy_secret_wipe(plain.p, plain.n);
    asy_buf_done(&plain);
    if (err != ASY_OK) {
        gateway_die(err, NULL);
    }
}

/* Opens in place; the record's views are into sealed. */
static enum asy_err unseal(struct asy_gateway *g, const struct asy_hash *job_id,
                           struct asy_buf *sealed, struct asy_arena *arena,
                           struct asy_audit_record *ret_record) {
    struct asy_aead_nonce nonce;
    if (sealed->n < sizeof nonce.b + ASY_AEAD_TAG) {
        return ASY_ERR_AUTH;
    }
    memcpy(nonce.b, sealed->p, sizeof nonce.b);
    uint8_t *body = sealed->p + sizeof nonce.b;
    size_t len = sealed->n - sizeof nonce.b;
    ASY_TRY(asy_aead_open(body, &g->storage_key, &nonce, asy_bytes_of(job_id->b, 32),
                          asy_bytes_of(body, len)));
    return asy_audit_record_decode(ret_record, arena, asy_bytes_of(body, len - ASY_AEAD_TAG));
}

enum asy_err record_read(struct asy_gateway *g, const struct asy_hash *job_id, uint32_t lane,
                         uint64_t lane_seq,
                         void (*fn)(void *arg, const struct asy_audit_record *record), void *arg) {
    struct asy_buf sealed;
    struct asy_arena arena;
    struct asy_audit_record record;
    asy_buf_init(&sealed, ASY_MAX_AUDIT_RECORD + 64);
    asy_arena_init(&arena, 8 * ASY_MAX_TOKENS + 64);
    enum asy_err err = asy_ledger_get_audit(g->ledger, &sealed, lane, lane_seq);
    if (err == ASY_OK) {
        err = unseal(g, job_id, &sealed, &arena, &record);
        if (err == ASY_OK) {
            fn(arg, &record);
        }
        asy_secret_wipe(sealed.p, sealed.n);
    }
    asy_arena_done(&arena);
    asy_buf_done(&sealed);
    return err;
}
