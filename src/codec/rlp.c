/* RLP: Ethereum yellow paper, appendix B. */
#include "codec/codec.h"

/* ---- encoding ---- */

void asy_rlp_init(struct asy_rlp *w, struct asy_buf *buf) { *w = (struct asy_rlp){.buf = buf}; }

static void add(struct asy_rlp *w, const void *p, size_t len) {
    if (w->err == ASY_OK) {
        w->err = asy_buf_add(w->buf, p, len);
    }
}

/* Header of a string (base 0x80) or list (0xc0) of len bytes; returns its own length, 1..9. */
static size_t header(uint8_t ret_header[9], uint8_t base, size_t len) {
    if (len < 56) {
        ret_header[0] = (uint8_t)(base + len);
        return 1;
    }
    uint8_t be[8];
    asy_be64_put(be, len);
    size_t zeros = 0;
    while (be[zeros] == 0) {
        zeros++;
    }
    ret_header[0] = (uint8_t)(base + 55u + 8u - zeros);
    memcpy(ret_header + 1, be + zeros, 8 - zeros);
    return 1 + 8 - zeros;
}

void asy_rlp_list(struct asy_rlp *w) {
    ASY_ASSERT(w->depth < ASY_COUNT(w->start));
    w->start[w->depth++] = w->buf->n;
}

/* The payload was written first; its header is known only now and moves it up. */
void asy_rlp_end(struct asy_rlp *w) {
    ASY_ASSERT(w->depth > 0);
    size_t start = w->start[--w->depth];
    if (w->err != ASY_OK) {
        return;
    }
    size_t len = w->buf->n - start;
    uint8_t head[9], *to;
    size_t head_len = header(head, 0xc0, len);
    w->err = asy_buf_reserve(w->buf, &to, head_len);
    if (w->err == ASY_OK) {
        asy_buf_grow(w->buf, head_len);
        memmove(w->buf->p + start + head_len, w->buf->p + start, len);
        memcpy(w->buf->p + start, head, head_len);
    }
}

void asy_rlp_bytes(struct asy_rlp *w, struct asy_bytes s) {
    if (s.n != 1 || s.p[0] >= 0x80) {
        uint8_t head[9];
        add(w, head, header(head, 0x80, s.n));
    }
    add(w, s.p, s.n);
}

static void add_number(struct asy_rlp *w, const uint8_t *be, size_t len) {
    while (len > 0 && be[0] == 0) {
        be++;
        len--;
    }
    asy_rlp_bytes(w, asy_bytes_of(be, len));
}

void asy_rlp_u64(struct asy_rlp *w, uint64_t v) { asy_rlp_u128(w, v); }

void asy_rlp_u128(struct asy_rlp *w, asy_u128 v) {
    uint8_t be[16];
    asy_be128_put(be, v);
    add_number(w, be, sizeof be);
}

void asy_rlp_u256(struct asy_rlp *w, const uint8_t v[32]) { add_number(w, v, 32); }

void asy_rlp_addr(struct asy_rlp *w, const struct asy_addr *addr) {
    asy_rlp_bytes(w, asy_bytes_of(addr->b, sizeof addr->b));
}

void asy_rlp_hash(struct asy_rlp *w, const struct asy_hash *hash) {
    asy_rlp_bytes(w, asy_bytes_of(hash->b, sizeof hash->b));
}

void asy_rlp_raw(struct asy_rlp *w, struct asy_bytes items) { add(w, items.p, items.n); }

enum asy_err asy_rlp_finish(struct asy_rlp *w) {
    ASY_ASSERT(w->depth == 0);
    return w->err;
}

/* ---- decoding ---- */

enum asy_err asy_rlp_next(struct asy_rlp_item *ret_item, struct asy_bytes *in) {
    if (in->n == 0) {
        return ASY_ERR_SYNTAX;
    }
    uint8_t first = in->p[0];
    if (first < 0x80) {
        *ret_item = (struct asy_rlp_item){false, {in->p, 1}};
        *in = asy_bytes_of(in->p + 1, in->n - 1);
        return ASY_OK;
    }
    bool list = first >= 0xc0;
    size_t small = (size_t)(first - (list ? 0xc0 : 0x80));
    size_t head = 1, len = small;
    if (small > 55) {
        size_t len_len = small - 55; /* 1..8 */
        if (in->n - 1 < len_len || in->p[1] == 0) {
            return ASY_ERR_SYNTAX;
        }
        len = 0;
        for (size_t i = 0; i < len_len; i++) {
            len = len << 8 | in->p[1 + i];
        }
        if (len < 56) {
            return ASY_ERR_SYNTAX;
        }
        head += len_len;
    }
    if (len > in->n - head) {
        return ASY_ERR_SYNTAX;
    }
    const uint8_t *data = in->p + head;
    if (!list && len == 1 && data[0] < 0x80) { /* stands for itself, without a header */
        return ASY_ERR_SYNTAX;
    }
    *ret_item = (struct asy_rlp_item){list, {data, len}};
    *in = asy_bytes_of(data + len, in->n - head - len);
    return ASY_OK;
}

enum asy_err asy_rlp_one(struct asy_rlp_item *ret_item, struct asy_bytes in) {
    struct asy_rlp_item item;
    ASY_TRY(asy_rlp_next(&item, &in));
    if (in.n != 0) {
        return ASY_ERR_SYNTAX;
    }
    *ret_item = item;
    return ASY_OK;
}

static enum asy_err next_of(struct asy_bytes *ret_data, struct asy_bytes *in, bool list) {
    struct asy_bytes rest = *in;
    struct asy_rlp_item item;
    ASY_TRY(asy_rlp_next(&item, &rest));
    if (item.list != list) {
        return ASY_ERR_TYPE;
    }
    *ret_data = item.data;
    *in = rest;
    return ASY_OK;
}

enum asy_err asy_rlp_next_list(struct asy_bytes *ret_items, struct asy_bytes *in) {
    return next_of(ret_items, in, true);
}

enum asy_err asy_rlp_next_bytes(struct asy_bytes *ret_str, struct asy_bytes *in) {
    return next_of(ret_str, in, false);
}

static enum asy_err next_number(uint8_t *ret_be, size_t len, struct asy_bytes *in) {
    struct asy_bytes rest = *in, s;
    ASY_TRY(next_of(&s, &rest, false));
    if (s.n != 0 && s.p[0] == 0) {
        return ASY_ERR_SYNTAX;
    }
    if (s.n > len) {
        return ASY_ERR_OVERFLOW;
    }
    memset(ret_be, 0, len);
    if (s.n != 0) {
        memcpy(ret_be + len - s.n, s.p, s.n);
    }
    *in = rest;
    return ASY_OK;
}

enum asy_err asy_rlp_next_u64(uint64_t *ret_value, struct asy_bytes *in) {
    uint8_t be[8];
    ASY_TRY(next_number(be, sizeof be, in));
    *ret_value = asy_be64_get(be);
    return ASY_OK;
}

enum asy_err asy_rlp_next_u128(asy_u128 *ret_value, struct asy_bytes *in) {
    uint8_t be[16];
    ASY_TRY(next_number(be, sizeof be, in));
    *ret_value = asy_be128_get(be);
    return ASY_OK;
}

enum asy_err asy_rlp_next_u256(uint8_t ret_value[32], struct asy_bytes *in) {
    return next_number(ret_value, 32, in);
}

enum asy_err asy_rlp_next_fixed(void *ret_p, size_t len, struct asy_bytes *in) {
    struct asy_bytes rest = *in, s;
    ASY_TRY(next_of(&s, &rest, false));
    if (s.n != len) {
        return ASY_ERR_MISMATCH;
    }
    if (len != 0) {
        memcpy(ret_p, s.p, len);
    }
    *in = rest;
    return ASY_OK;
}
