/* The Solidity contract ABI: encoding, strict decoding, revert data. */
#include "codec/codec.h"

#include <inttypes.h>
#include <stdio.h>

#include "crypto/crypto.h"

void asy_abi_topic(struct asy_hash *ret_topic, const char *signature) {
    asy_keccak256(ret_topic, asy_bytes_cstr(signature));
}

void asy_abi_selector(uint8_t ret_selector[4], const char *signature) {
    struct asy_hash h;
    asy_abi_topic(&h, signature);
    memcpy(ret_selector, h.b, 4);
}

/* ---- encoding ---- */

/* Appends head_words zero words, to be filled in, and makes them the innermost frame. */
static void open_frame(struct asy_abi *w, size_t head_words) {
    ASY_ASSERT(w->depth < ASY_COUNT(w->frame));
    size_t base = w->buf->n, len = 0;
    uint8_t *to;
    if (w->err == ASY_OK) {
        w->err = head_words > SIZE_MAX / 32 ? ASY_ERR_TOO_LONG : ASY_OK;
    }
    if (w->err == ASY_OK) {
        len = head_words * 32;
        w->err = asy_buf_reserve(w->buf, &to, len);
    }
    if (w->err == ASY_OK) {
        memset(to, 0, len);
        asy_buf_grow(w->buf, len);
    }
    w->frame[w->depth].base = base;
    w->frame[w->depth].head = base;
    w->frame[w->depth].tail = base + len;
    w->depth++;
}

void asy_abi_init(struct asy_abi *w, struct asy_buf *buf, size_t head_words) {
    *w = (struct asy_abi){.buf = buf};
    open_frame(w, head_words);
}

void asy_abi_call(struct asy_abi *w, struct asy_buf *buf, const char *signature,
                  size_t head_words) {
    *w = (struct asy_abi){.buf = buf};
    uint8_t selector[4];
    asy_abi_selector(selector, signature);
    w->err = asy_buf_add(buf, selector, sizeof selector);
    open_frame(w, head_words);
}

void asy_abi_word(struct asy_abi *w, const uint8_t word[32]) {
    ASY_ASSERT(w->depth > 0);
    if (w->err != ASY_OK) {
        return;
    }
    size_t at = w->frame[w->depth - 1].head;
    ASY_ASSERT(at < w->frame[w->depth - 1].tail); /* more words than the frame was opened for */
    memcpy(w->buf->p + at, word, 32);
    w->frame[w->depth - 1].head += 32;
}

void asy_abi_u128(struct asy_abi *w, asy_u128 v) {
    uint8_t word[32] = {0};
    asy_be128_put(word + 16, v);
    asy_abi_word(w, word);
}

void asy_abi_u64(struct asy_abi *w, uint64_t v) { asy_abi_u128(w, v); }

void asy_abi_bool(struct asy_abi *w, bool v) { asy_abi_u128(w, v ? 1 : 0); }

void asy_abi_addr(struct asy_abi *w, const struct asy_addr *addr) {
    uint8_t word[32] = {0};
    memcpy(word + 12, addr->b, sizeof addr->b);
    asy_abi_word(w, word);
}

void asy_abi_hash(struct asy_abi *w, const struct asy_hash *hash) { asy_abi_word(w, hash->b); }

/* The head word of a dynamic value: where its tail begins, which is the end of what was written. */
static void put_offset(struct asy_abi *w) {
    ASY_ASSERT(w->depth > 0);
    asy_abi_u64(w, w->buf->n - w->frame[w->depth - 1].base);
}

static void append_u64(struct asy_abi *w, uint64_t v) {
    uint8_t word[32] = {0};
    asy_be64_put(word + 24, v);
    if (w->err == ASY_OK) {
        w->err = asy_buf_add(w->buf, word, sizeof word);
    }
}

void asy_abi_bytes(struct asy_abi *w, struct asy_bytes s) {
    static const uint8_t zeros[32];
    put_offset(w);
    append_u64(w, s.n);
    if (w->err == ASY_OK) {
        w->err = asy_buf_add(w->buf, s.p, s.n);
    }
    if (w->err == ASY_OK) {
        w->err = asy_buf_add(w->buf, zeros, (32 - s.n % 32) % 32);
    }
}

void asy_abi_array(struct asy_abi *w, size_t count, size_t elem_words) {
    size_t words = 0;
    put_offset(w);
    append_u64(w, count);
    if (__builtin_mul_overflow(count, elem_words, &words)) {
        w->err = w->err != ASY_OK ? w->err : ASY_ERR_TOO_LONG;
    }
    open_frame(w, words);
}

void asy_abi_tuple(struct asy_abi *w, size_t head_words) {
    put_offset(w);
    open_frame(w, head_words);
}

void asy_abi_end(struct asy_abi *w) {
    ASY_ASSERT(w->depth > 1); /* the outermost frame ends with finish */
    w->depth--;
    ASY_ASSERT(w->err != ASY_OK || w->frame[w->depth].head == w->frame[w->depth].tail);
}

enum asy_err asy_abi_finish(struct asy_abi *w) {
    ASY_ASSERT(w->depth == 1);
    ASY_ASSERT(w->err != ASY_OK || w->frame[0].head == w->frame[0].tail);
    return w->err;
}

/* ---- decoding ---- */

void asy_abi_read(struct asy_abi_reader *ret_r, struct asy_bytes data) {
    *ret_r = (struct asy_abi_reader){.frame = data, .pos = 0};
}

static enum asy_err peek(const struct asy_abi_reader *r, const uint8_t **ret_word) {
    if (r->pos > r->frame.n || r->frame.n - r->pos < 32) {
        return ASY_ERR_SYNTAX;
    }
    *ret_word = r->frame.p + r->pos;
    return ASY_OK;
}

static bool all_zero(const uint8_t *p, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

/* The low len bytes of the next word; the others must be zero. */
static enum asy_err read_low(struct asy_abi_reader *r, const uint8_t **ret_p, size_t len) {
    const uint8_t *word;
    ASY_TRY(peek(r, &word));
    if (!all_zero(word, 32 - len)) {
        return ASY_ERR_RANGE;
    }
    *ret_p = word + 32 - len;
    r->pos += 32;
    return ASY_OK;
}

enum asy_err asy_abi_read_word(struct asy_abi_reader *r, uint8_t ret_word[32]) {
    const uint8_t *p;
    ASY_TRY(read_low(r, &p, 32));
    memcpy(ret_word, p, 32);
    return ASY_OK;
}

enum asy_err asy_abi_read_u64(struct asy_abi_reader *r, uint64_t *ret_value) {
    const uint8_t *p;
    ASY_TRY(read_low(r, &p, 8));
    *ret_value = asy_be64_get(p);
    return ASY_OK;
}

enum asy_err asy_abi_read_u128(struct asy_abi_reader *r, asy_u128 *ret_value) {
    const uint8_t *p;
    ASY_TRY(read_low(r, &p, 16));
    *ret_value = asy_be128_get(p);
    return ASY_OK;
}

enum asy_err asy_abi_read_bool(struct asy_abi_reader *r, bool *ret_value) {
    struct asy_abi_reader at = *r;
    const uint8_t *p;
    ASY_TRY(read_low(&at, &p, 1));
    if (*p > 1) {
        return ASY_ERR_RANGE;
    }
    *ret_value = *p == 1;
    *r = at;
    return ASY_OK;
}

enum asy_err asy_abi_read_addr(struct asy_abi_reader *r, struct asy_addr *ret_addr) {
    const uint8_t *p;
    ASY_TRY(read_low(r, &p, sizeof ret_addr->b));
    memcpy(ret_addr->b, p, sizeof ret_addr->b);
    return ASY_OK;
}

enum asy_err asy_abi_read_hash(struct asy_abi_reader *r, struct asy_hash *ret_hash) {
    return asy_abi_read_word(r, ret_hash->b);
}

/* Follows the offset in the next head word: everything from there to the end of the data. */
static enum asy_err read_tail(struct asy_abi_reader *r, struct asy_bytes *ret_tail) {
    struct asy_abi_reader at = *r;
    uint64_t offset;
    if (asy_abi_read_u64(&at, &offset) != ASY_OK || offset > r->frame.n) {
        return ASY_ERR_SYNTAX;
    }
    *ret_tail = asy_bytes_of(r->frame.p + offset, r->frame.n - (size_t)offset);
    *r = at;
    return ASY_OK;
}

/* The tail of a value with a length word: what follows that word. */
static enum asy_err read_counted(struct asy_abi_reader *r, uint64_t *ret_count,
                                 struct asy_bytes *ret_rest) {
    struct asy_bytes tail;
    ASY_TRY(read_tail(r, &tail));
    struct asy_abi_reader in;
    asy_abi_read(&in, tail);
    if (asy_abi_read_u64(&in, ret_count) != ASY_OK) {
        return ASY_ERR_SYNTAX;
    }
    *ret_rest = asy_bytes_of(tail.p + 32, tail.n - 32);
    return ASY_OK;
}

enum asy_err asy_abi_read_bytes(struct asy_abi_reader *r, struct asy_bytes *ret_str) {
    struct asy_abi_reader at = *r;
    uint64_t len;
    struct asy_bytes rest;
    ASY_TRY(read_counted(&at, &len, &rest));
    if (len > rest.n || (32 - len % 32) % 32 > rest.n - len ||
        !all_zero(rest.p + len, (32 - len % 32) % 32)) {
        return ASY_ERR_SYNTAX;
    }
    *ret_str = asy_bytes_of(rest.p, (size_t)len);
    *r = at;
    return ASY_OK;
}

enum asy_err asy_abi_read_array(struct asy_abi_reader *r, struct asy_abi_reader *ret_elems,
                                size_t *ret_count, size_t elem_words) {
    ASY_ASSERT(elem_words > 0 && elem_words <= SIZE_MAX / 32);
    struct asy_abi_reader at = *r;
    uint64_t count;
    struct asy_bytes rest;
    ASY_TRY(read_counted(&at, &count, &rest));
    if (count > rest.n / (elem_words * 32)) {
        return ASY_ERR_SYNTAX;
    }
    asy_abi_read(ret_elems, rest);
    *ret_count = (size_t)count;
    *r = at;
    return ASY_OK;
}

enum asy_err asy_abi_read_tuple(struct asy_abi_reader *r, struct asy_abi_reader *ret_fields) {
    struct asy_bytes tail;
    ASY_TRY(read_tail(r, &tail));
    asy_abi_read(ret_fields, tail);
    return ASY_OK;
}

/* ---- reverts ---- */

void asy_abi_revert_parse(struct asy_abi_revert *ret_revert, struct asy_bytes data) {
    static const uint8_t error[4] = {0x08, 0xc3, 0x79, 0xa0}; /* Error(string) */
    static const uint8_t panic[4] = {0x4e, 0x48, 0x7b, 0x71}; /* Panic(uint256) */
    *ret_revert = (struct asy_abi_revert){.kind = ASY_ABI_REVERT_ODD};
    if (data.n == 0) {
        ret_revert->kind = ASY_ABI_REVERT_EMPTY;
    }
    if (data.n < 4) {
        return;
    }
    memcpy(ret_revert->selector, data.p, 4);
    struct asy_bytes args = asy_bytes_of(data.p + 4, data.n - 4);
    struct asy_abi_reader r;
    asy_abi_read(&r, args);
    if (memcmp(data.p, error, 4) == 0) {
        if (asy_abi_read_bytes(&r, &ret_revert->reason) == ASY_OK) {
            ret_revert->kind = ASY_ABI_REVERT_ERROR;
        }
    } else if (memcmp(data.p, panic, 4) == 0) {
        if (asy_abi_read_u64(&r, &ret_revert->panic) == ASY_OK) {
            ret_revert->kind = ASY_ABI_REVERT_PANIC;
        }
    } else {
        ret_revert->kind = ASY_ABI_REVERT_CUSTOM;
        ret_revert->reason = args;
    }
}

/* Solidity documentation, "Panic via assert and Error via require". */
static const char *panic_text(uint64_t code) {
    static const struct {
        uint64_t code;
        const char *text;
    } table[] = {
        {0x00, "generic"},
        {0x01, "assertion failed"},
        {0x11, "arithmetic overflow"},
        {0x12, "division by zero"},
        {0x21, "value outside its enum"},
        {0x22, "badly encoded storage byte array"},
        {0x31, "pop of an empty array"},
        {0x32, "index out of bounds"},
        {0x41, "too much memory"},
        {0x51, "call of an empty function pointer"},
    };
    for (size_t i = 0; i < ASY_COUNT(table); i++) {
        if (table[i].code == code) {
            return table[i].text;
        }
    }
    return "unknown";
}

void asy_abi_revert_format(char *ret_text, size_t cap, const struct asy_abi_revert *revert) {
    ASY_ASSERT(cap > 0);
    switch (revert->kind) {
    case ASY_ABI_REVERT_EMPTY:
        (void)snprintf(ret_text, cap, "reverted without a reason"); /* cut at cap */
        break;
    case ASY_ABI_REVERT_ERROR: {
        size_t len = revert->reason.n < cap - 1 ? revert->reason.n : cap - 1;
        for (size_t i = 0; i < len; i++) { /* a contract's text is a stranger's: ASCII only */
            uint8_t c = revert->reason.p[i];
            ret_text[i] = c >= 0x20 && c < 0x7f ? (char)c : '?';
        }
        ret_text[len] = '\0';
        break;
    }
    case ASY_ABI_REVERT_PANIC:
        (void)snprintf(ret_text, cap, "panic 0x%02" PRIx64 ": %s", revert->panic,
                       panic_text(revert->panic));
        break;
    case ASY_ABI_REVERT_CUSTOM: {
        char hex[9];
        asy_hex_encode(hex, revert->selector, 4);
        (void)snprintf(ret_text, cap, "custom error 0x%s with %zu bytes", hex, revert->reason.n);
        break;
    }
    case ASY_ABI_REVERT_ODD:
        (void)snprintf(ret_text, cap, "reverted with data that is no ABI error");
        break;
    }
}
