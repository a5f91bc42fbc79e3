/* JSON, writing: the streaming writer and the canonical form. */
#include <math.h>
#include <stdlib.h>

#include "codec_priv.h"
#include "crypto/crypto.h"

/* ---- strings ---- */

/* What follows the backslash; 0: the byte stands for itself. RFC 8785 section 3.2.2.2 asks for
 * exactly these. */
static const char escape_of[256] = {
    'u',         'u',           'u', 'u', 'u', 'u', 'u', 'u',
    'b',         't',           'n', 'u', 'f', 'r', 'u', 'u', /* 0x00 */
    'u',         'u',           'u', 'u', 'u', 'u', 'u', 'u',
    'u',         'u',           'u', 'u', 'u', 'u', 'u', 'u', /* 0x10 */
    ['"'] = '"', ['\\'] = '\\',
};

enum asy_err asy_json_escape(struct asy_buf *buf, struct asy_bytes s) {
    size_t before = buf->n;
    for (size_t i = 0; i < s.n;) {
        size_t end = i;
        while (end < s.n && escape_of[s.p[end]] == 0) {
            end++;
        }
        size_t run = end - i, extra = end == s.n ? 0 : escape_of[s.p[end]] == 'u' ? 6 : 2;
        uint8_t *to;
        if (asy_buf_reserve(buf, &to, run + extra) != ASY_OK) {
            if (buf->p != NULL) { /* take back the runs that fitted */
                buf->n = before;
                buf->p[before] = '\0';
            }
            return ASY_ERR_TOO_LONG;
        }
        memcpy(to, s.p + i, run);
        to += run;
        if (extra != 0) {
            to[0] = '\\';
            to[1] = (uint8_t)escape_of[s.p[end]];
        }
        if (extra == 6) {
            to[2] = to[3] = '0';
            asy_hex_encode((char *)to + 4, s.p + end, 1); /* its zero byte is the buffer's own */
        }
        asy_buf_grow(buf, run + extra);
        i = end + (extra != 0 ? 1 : 0);
    }
    return ASY_OK;
}

/* ---- writer ---- */

enum { MAX_LEVELS = 60 };

void asy_jw_init(struct asy_jw *w, struct asy_buf *buf) { *w = (struct asy_jw){.buf = buf}; }

void asy_jw_init_inside(struct asy_jw *w, struct asy_buf *buf) {
    *w = (struct asy_jw){.buf = buf, .depth = 1, .comma = true};
}

static void put(struct asy_jw *w, const void *p, size_t len) {
    if (w->err == ASY_OK) {
        w->err = asy_buf_add(w->buf, p, len);
    }
}

static bool in_object(const struct asy_jw *w) {
    return w->depth > 0 && (w->array >> w->depth & 1) == 0;
}

/* Before each value. */
static void begin(struct asy_jw *w) {
    ASY_ASSERT(in_object(w) == w->keyed);
    ASY_ASSERT(w->depth > 0 || !w->comma); /* one value at the root */
    if (w->comma && !w->keyed) {
        put(w, ",", 1);
    }
    w->keyed = false;
    w->comma = true;
}

static void put_quoted(struct asy_jw *w, struct asy_bytes s) {
    put(w, "\"", 1);
    if (w->err == ASY_OK) {
        w->err = asy_json_escape(w->buf, s);
    }
    put(w, "\"", 1);
}

static void open_level(struct asy_jw *w, bool array) {
    begin(w);
    ASY_ASSERT(w->depth < MAX_LEVELS);
    put(w, array ? "[" : "{", 1);
    w->depth++;
    w->array &= ~(UINT64_C(1) << w->depth);
    w->array |= (uint64_t)array << w->depth;
    w->comma = false;
}

void asy_jw_object(struct asy_jw *w) { open_level(w, false); }
void asy_jw_array(struct asy_jw *w) { open_level(w, true); }

void asy_jw_end(struct asy_jw *w) {
    ASY_ASSERT(w->depth > 0 && !w->keyed);
    put(w, in_object(w) ? "}" : "]", 1);
    w->depth--;
    w->comma = true;
}

static void key_bytes(struct asy_jw *w, struct asy_bytes key) {
    ASY_ASSERT(in_object(w) && !w->keyed);
    if (w->comma) {
        put(w, ",", 1);
    }
    put_quoted(w, key);
    put(w, ":", 1);
    w->keyed = true;
}

void asy_jw_key(struct asy_jw *w, const char *key) { key_bytes(w, asy_bytes_cstr(key)); }

void asy_jw_raw(struct asy_jw *w, struct asy_bytes json) {
    begin(w);
    put(w, json.p, json.n);
}

void asy_jw_str(struct asy_jw *w, struct asy_bytes s) {
    begin(w);
    put_quoted(w, s);
}

void asy_jw_cstr(struct asy_jw *w, const char *s) {
    if (s != NULL) {
        asy_jw_str(w, asy_bytes_cstr(s));
    } else {
        asy_jw_null(w);
    }
}

void asy_jw_u64(struct asy_jw *w, uint64_t v) {
    char text[ASY_U128_TEXT];
    asy_jw_raw(w, asy_bytes_of(text, asy_u128_format(text, v)));
}

void asy_jw_i64(struct asy_jw *w, int64_t v) {
    char text[1 + ASY_U128_TEXT] = "-";
    uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    size_t len = asy_u128_format(text + 1, magnitude);
    asy_jw_raw(w, v < 0 ? asy_bytes_of(text, len + 1) : asy_bytes_of(text + 1, len));
}

void asy_jw_u128_str(struct asy_jw *w, asy_u128 v) {
    char text[ASY_U128_TEXT];
    asy_jw_str(w, asy_bytes_of(text, asy_u128_format(text, v)));
}

void asy_jw_f64(struct asy_jw *w, double v) {
    char text[ASY_F64_TEXT] = "0";
    size_t len = 1;
    if (isfinite(v)) {
        len = asy_f64_format(text, v);
    } else if (w->err == ASY_OK) {
        w->err = ASY_ERR_RANGE;
    }
    asy_jw_raw(w, asy_bytes_of(text, len));
}

void asy_jw_scaled(struct asy_jw *w, uint64_t v, unsigned decimals) {
    ASY_ASSERT(decimals <= 18);
    char digits[ASY_U128_TEXT], text[2 * ASY_U128_TEXT];
    size_t len = asy_u128_format(digits, v), n = 0;
    size_t whole = len > decimals ? len - decimals : 0;
    memcpy(text, digits, whole);
    n = whole;
    if (whole == 0) {
        text[n++] = '0';
    }
    text[n++] = '.';
    for (size_t i = len - whole; i < decimals; i++) {
        text[n++] = '0';
    }
    memcpy(text + n, digits + whole, len - whole);
    n += len - whole;
    while (text[n - 1] == '0') {
        n--;
    }
    n -= text[n - 1] == '.' ? 1 : 0;
    asy_jw_raw(w, asy_bytes_of(text, n));
}

void asy_jw_bool(struct asy_jw *w, bool v) {
    asy_jw_raw(w, v ? ASY_STR("true") : ASY_STR("false"));
}

void asy_jw_null(struct asy_jw *w) { asy_jw_raw(w, ASY_STR("null")); }

void asy_jw_hex(struct asy_jw *w, struct asy_bytes data) {
    begin(w);
    put(w, "\"", 1);
    if (w->err == ASY_OK) {
        w->err = asy_0x_add(w->buf, data);
    }
    put(w, "\"", 1);
}

void asy_jw_hash(struct asy_jw *w, const struct asy_hash *hash) {
    asy_jw_hex(w, asy_bytes_of(hash->b, sizeof hash->b));
}

void asy_jw_addr(struct asy_jw *w, const struct asy_addr *addr) {
    char text[ASY_ADDR_STR];
    asy_addr_format(text, addr);
    asy_jw_cstr(w, text);
}

void asy_jw_quantity(struct asy_jw *w, uint64_t v) {
    char text[ASY_QUANTITY_TEXT];
    asy_quantity_format_u64(text, v);
    asy_jw_cstr(w, text);
}

enum asy_err asy_jw_finish(struct asy_jw *w) {
    ASY_ASSERT(w->depth == 0);
    return w->err;
}

void asy_jw_kv_str(struct asy_jw *w, const char *key, struct asy_bytes s) {
    asy_jw_key(w, key);
    asy_jw_str(w, s);
}
void asy_jw_kv_cstr(struct asy_jw *w, const char *key, const char *s) {
    asy_jw_key(w, key);
    asy_jw_cstr(w, s);
}
void asy_jw_kv_u64(struct asy_jw *w, const char *key, uint64_t v) {
    asy_jw_key(w, key);
    asy_jw_u64(w, v);
}
void asy_jw_kv_i64(struct asy_jw *w, const char *key, int64_t v) {
    asy_jw_key(w, key);
    asy_jw_i64(w, v);
}
void asy_jw_kv_u128_str(struct asy_jw *w, const char *key, asy_u128 v) {
    asy_jw_key(w, key);
    asy_jw_u128_str(w, v);
}
void asy_jw_kv_bool(struct asy_jw *w, const char *key, bool v) {
    asy_jw_key(w, key);
    asy_jw_bool(w, v);
}
void asy_jw_kv_null(struct asy_jw *w, const char *key) {
    asy_jw_key(w, key);
    asy_jw_null(w);
}
void asy_jw_kv_hash(struct asy_jw *w, const char *key, const struct asy_hash *hash) {
    asy_jw_key(w, key);
    asy_jw_hash(w, hash);
}
void asy_jw_kv_addr(struct asy_jw *w, const char *key, const struct asy_addr *addr) {
    asy_jw_key(w, key);
    asy_jw_addr(w, addr);
}
void asy_jw_kv_quantity(struct asy_jw *w, const char *key, uint64_t v) {
    asy_jw_key(w, key);
    asy_jw_quantity(w, v);
}
void asy_jw_kv_object(struct asy_jw *w, const char *key) {
    asy_jw_key(w, key);
    asy_jw_object(w);
}
void asy_jw_kv_array(struct asy_jw *w, const char *key) {
    asy_jw_key(w, key);
    asy_jw_array(w);
}

/* ---- RFC 8785 ---- */

struct member {
    struct asy_bytes key;
    const struct asy_json *value;
};

/* By UTF-16 code units. In UTF-8 that is the order of bytes, but for one thing: characters above
 * U+FFFF (first byte 0xf0 and up) are surrogates 0xd800..0xdfff in UTF-16, and so come before
 * U+E000..U+FFFF (first bytes 0xee, 0xef). */
static int compare_keys(const void *a, const void *b) {
    struct asy_bytes x = ((const struct member *)a)->key, y = ((const struct member *)b)->key;
    size_t n = x.n < y.n ? x.n : y.n;
    for (size_t i = 0; i < n; i++) {
        if (x.p[i] != y.p[i]) {
            bool swap = (x.p[i] >= 0xf0) != (y.p[i] >= 0xf0) && x.p[i] >= 0xee && y.p[i] >= 0xee;
            return (x.p[i] < y.p[i]) != swap ? -1 : 1;
        }
    }
    return x.n < y.n ? -1 : x.n > y.n ? 1 : 0;
}

static void canonical(struct asy_jw *w, const struct asy_json *v);

static void canonical_object(struct asy_jw *w, const struct asy_json *v) {
    size_t count = asy_json_len(v), i = 0;
    struct member *members = asy_alloc(count * sizeof *members);
    struct asy_json_iter it = {v, NULL};
    while (i < count && asy_json_next(&it, &members[i].key, &members[i].value)) {
        i++;
    }
    qsort(members, count, sizeof *members, compare_keys);
    asy_jw_object(w);
    for (i = 0; i < count; i++) {
        key_bytes(w, members[i].key);
        canonical(w, members[i].value);
    }
    asy_jw_end(w);
    asy_free(members);
}

/* Recursion is bounded by the depth that the parser allowed. */
static void canonical(struct asy_jw *w, const struct asy_json *v) {
    static const int64_t max_exact = (INT64_C(1) << 53) - 1;
    switch (asy_json_type(v)) {
    case ASY_JSON_NULL:
        asy_jw_null(w);
        break;
    case ASY_JSON_BOOL: {
        bool b = false;
        ASY_ASSERT(asy_json_bool(&b, v) == ASY_OK);
        asy_jw_bool(w, b);
        break;
    }
    case ASY_JSON_INT: {
        int64_t i = 0;
        ASY_ASSERT(asy_json_i64(&i, v) == ASY_OK);
        if ((i > max_exact || i < -max_exact) && w->err == ASY_OK) {
            w->err = ASY_ERR_RANGE;
        }
        asy_jw_i64(w, i);
        break;
    }
    case ASY_JSON_REAL: {
        double d = 0;
        ASY_ASSERT(asy_json_double(&d, v) == ASY_OK);
        asy_jw_f64(w, d);
        break;
    }
    case ASY_JSON_STR: {
        struct asy_bytes s = {NULL, 0};
        ASY_ASSERT(asy_json_str(&s, v) == ASY_OK);
        asy_jw_str(w, s);
        break;
    }
    case ASY_JSON_ARRAY:
        asy_jw_array(w);
        for (size_t i = 0; i < asy_json_len(v); i++) {
            canonical(w, asy_json_at(v, i));
        }
        asy_jw_end(w);
        break;
    case ASY_JSON_OBJECT:
        canonical_object(w, v);
        break;
    }
}

enum asy_err asy_json_canonical(struct asy_buf *buf, const struct asy_json *v) {
    struct asy_jw w;
    asy_jw_init(&w, buf);
    canonical(&w, v);
    return asy_jw_finish(&w);
}
