/* record.c: audit records in bytes. */
#include "job/job.h"

enum { VERSION = 2, SETTINGS_LEN = 64 };

/* ---- writing ---- */

static enum asy_err add_u32(struct asy_buf *buf, uint32_t v) {
    uint8_t be[4];
    asy_be32_put(be, v);
    return asy_buf_add(buf, be, sizeof be);
}

static enum asy_err add_counted(struct asy_buf *buf, struct asy_bytes in) {
    ASY_TRY(add_u32(buf, (uint32_t)in.n));
    return asy_buf_add_bytes(buf, in);
}

static enum asy_err add_ids(struct asy_buf *buf, const uint32_t *ids, uint32_t count) {
    uint8_t *p;
    ASY_TRY(add_u32(buf, count));
    ASY_TRY(asy_buf_reserve(buf, &p, (size_t)count * 4));
    for (uint32_t i = 0; i < count; i++) {
        asy_be32_put(p + 4 * (size_t)i, ids[i]);
    }
    asy_buf_grow(buf, (size_t)count * 4);
    return ASY_OK;
}

enum asy_err asy_audit_record_encode(struct asy_buf *buf, const struct asy_audit_record *r) {
    ASY_ASSERT(r->settings.n == SETTINGS_LEN && r->stop_count <= ASY_MAX_STOPS &&
               r->count <= ASY_MAX_TOKENS && r->prior_count <= ASY_MAX_TOKENS);
    ASY_TRY(asy_buf_add_u8(buf, VERSION));
    ASY_TRY(add_counted(buf, r->messages));
    ASY_TRY(asy_buf_add_bytes(buf, r->settings));
    ASY_TRY(add_counted(buf, r->bias));
    ASY_TRY(asy_buf_add(buf, r->seed.b, sizeof r->seed.b));
    ASY_TRY(add_u32(buf, r->stop_count));
    for (uint32_t i = 0; i < r->stop_count; i++) {
        ASY_TRY(add_counted(buf, r->stops[i]));
    }
    ASY_TRY(add_ids(buf, r->prior, r->prior_count));
    return add_ids(buf, r->ids, r->count);
}

/* ---- reading ---- */

static enum asy_err take(struct asy_bytes *ret, struct asy_bytes *in, size_t n) {
    if (in->n < n) {
        return ASY_ERR_SYNTAX;
    }
    *ret = asy_bytes_of(in->p, n);
    *in = asy_bytes_of(in->p + n, in->n - n);
    return ASY_OK;
}

static enum asy_err take_u32(uint32_t *ret, struct asy_bytes *in) {
    struct asy_bytes be;
    ASY_TRY(take(&be, in, 4));
    *ret = asy_be32_get(be.p);
    return ASY_OK;
}

static enum asy_err take_counted(struct asy_bytes *ret, struct asy_bytes *in) {
    uint32_t n;
    ASY_TRY(take_u32(&n, in));
    return take(ret, in, n);
}

static enum asy_err take_ids(const uint32_t **ret_ids, uint32_t *ret_count, struct asy_arena *arena,
                             struct asy_bytes *in) {
    uint32_t count;
    struct asy_bytes be;
    ASY_TRY(take_u32(&count, in));
    if (count > ASY_MAX_TOKENS) {
        return ASY_ERR_TOO_LONG;
    }
    ASY_TRY(take(&be, in, (size_t)count * 4));
    uint32_t *ids = asy_arena_alloc(arena, (size_t)count * sizeof *ids);
    if (ids == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = asy_be32_get(be.p + 4 * (size_t)i);
    }
    *ret_ids = ids;
    *ret_count = count;
    return ASY_OK;
}

enum asy_err asy_audit_record_decode(struct asy_audit_record *ret_record, struct asy_arena *arena,
                                     struct asy_bytes in) {
    struct asy_audit_record r = {0};
    struct asy_bytes part;
    ASY_TRY(take(&part, &in, 1));
    if (part.p[0] != VERSION) {
        return ASY_ERR_VERSION;
    }
    ASY_TRY(take_counted(&r.messages, &in));
    ASY_TRY(take(&r.settings, &in, SETTINGS_LEN));
    ASY_TRY(take_counted(&r.bias, &in));
    ASY_TRY(take(&part, &in, sizeof r.seed.b));
    memcpy(r.seed.b, part.p, sizeof r.seed.b);
    ASY_TRY(take_u32(&r.stop_count, &in));
    if (r.stop_count > ASY_MAX_STOPS) {
        return ASY_ERR_TOO_LONG;
    }
    for (uint32_t i = 0; i < r.stop_count; i++) {
        ASY_TRY(take_counted(&r.stops[i], &in));
    }
    ASY_TRY(take_ids(&r.prior, &r.prior_count, arena, &in));
    ASY_TRY(take_ids(&r.ids, &r.count, arena, &in));
    if (in.n != 0) {
        return ASY_ERR_SYNTAX;
    }
    *ret_record = r;
    return ASY_OK;
}
