/* Hex, JSON-RPC quantities, decimal 128-bit numbers, base64. */
#include "codec/codec.h"

static const char digits[] = "0123456789abcdef";

static int digit_value(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct asy_bytes skip(struct asy_bytes in, size_t len) {
    return (struct asy_bytes){in.p + len, in.n - len};
}

/* ---- hex ---- */

void asy_hex_encode(char *ret_text, const void *p, size_t len) {
    const uint8_t *b = p;
    for (size_t i = 0; i < len; i++) {
        ret_text[2 * i] = digits[b[i] >> 4];
        ret_text[2 * i + 1] = digits[b[i] & 15];
    }
    ret_text[2 * len] = '\0';
}

enum asy_err asy_hex_decode(void *ret_p, size_t len, struct asy_bytes text) {
    if (text.n % 2 != 0 || text.n / 2 != len) {
        return ASY_ERR_SYNTAX;
    }
    for (size_t i = 0; i < text.n; i++) {
        if (digit_value(text.p[i]) < 0) {
            return ASY_ERR_SYNTAX;
        }
    }
    uint8_t *b = ret_p;
    for (size_t i = 0; i < len; i++) {
        b[i] = (uint8_t)(digit_value(text.p[2 * i]) << 4 | digit_value(text.p[2 * i + 1]));
    }
    return ASY_OK;
}

enum asy_err asy_0x_add(struct asy_buf *buf, struct asy_bytes data) {
    if (data.n > (SIZE_MAX - 2) / 2) {
        return ASY_ERR_TOO_LONG;
    }
    uint8_t *to;
    ASY_TRY(asy_buf_reserve(buf, &to, 2 + 2 * data.n));
    to[0] = '0';
    to[1] = 'x';
    asy_hex_encode((char *)to + 2, data.p, data.n); /* its zero byte is the buffer's own */
    asy_buf_grow(buf, 2 + 2 * data.n);
    return ASY_OK;
}

static bool has_0x(struct asy_bytes text) { return asy_bytes_starts(text, ASY_STR("0x")); }

enum asy_err asy_0x_decode(void *ret_p, size_t len, struct asy_bytes text) {
    return has_0x(text) ? asy_hex_decode(ret_p, len, skip(text, 2)) : ASY_ERR_SYNTAX;
}

enum asy_err asy_0x_decode_buf(struct asy_buf *buf, struct asy_bytes text) {
    if (!has_0x(text) || text.n % 2 != 0) {
        return ASY_ERR_SYNTAX;
    }
    size_t len = (text.n - 2) / 2;
    uint8_t *to;
    ASY_TRY(asy_buf_reserve(buf, &to, len));
    ASY_TRY(asy_hex_decode(to, len, skip(text, 2)));
    asy_buf_grow(buf, len);
    return ASY_OK;
}

void asy_hash_format(char ret_text[ASY_HASH_TEXT], const struct asy_hash *hash) {
    ret_text[0] = '0';
    ret_text[1] = 'x';
    asy_hex_encode(ret_text + 2, hash->b, sizeof hash->b);
}

enum asy_err asy_hash_parse(struct asy_hash *ret_hash, struct asy_bytes text) {
    return asy_0x_decode(ret_hash->b, sizeof ret_hash->b, text);
}

/* ---- quantities ---- */

void asy_quantity_format_u256(char ret_text[ASY_QUANTITY_TEXT], const uint8_t value[32]) {
    char all[65];
    asy_hex_encode(all, value, 32);
    size_t first = 0;
    while (first < 63 && all[first] == '0') {
        first++;
    }
    ret_text[0] = '0';
    ret_text[1] = 'x';
    memcpy(ret_text + 2, all + first, sizeof all - first);
}

void asy_quantity_format_u128(char ret_text[ASY_QUANTITY_TEXT], asy_u128 value) {
    uint8_t word[32] = {0};
    asy_be128_put(word + 16, value);
    asy_quantity_format_u256(ret_text, word);
}

void asy_quantity_format_u64(char ret_text[ASY_QUANTITY_TEXT], uint64_t value) {
    asy_quantity_format_u128(ret_text, value);
}

/* A quantity into len big-endian bytes (len <= 32). */
static enum asy_err quantity_parse(uint8_t *ret_p, size_t len, struct asy_bytes text) {
    if (!has_0x(text) || text.n == 2 || (text.n > 3 && text.p[2] == '0')) {
        return ASY_ERR_SYNTAX;
    }
    text = skip(text, 2);
    for (size_t i = 0; i < text.n; i++) {
        if (digit_value(text.p[i]) < 0) {
            return ASY_ERR_SYNTAX;
        }
    }
    if (text.n > 2 * len) {
        return ASY_ERR_OVERFLOW;
    }
    memset(ret_p, 0, len);
    for (size_t i = 0; i < text.n; i++) {
        size_t nibble = text.n - 1 - i; /* from the end */
        int v = digit_value(text.p[i]);
        ret_p[len - 1 - nibble / 2] |= (uint8_t)(nibble % 2 != 0 ? v << 4 : v);
    }
    return ASY_OK;
}

enum asy_err asy_quantity_parse_u64(uint64_t *ret_value, struct asy_bytes text) {
    uint8_t b[8];
    ASY_TRY(quantity_parse(b, sizeof b, text));
    *ret_value = asy_be64_get(b);
    return ASY_OK;
}

enum asy_err asy_quantity_parse_u128(asy_u128 *ret_value, struct asy_bytes text) {
    uint8_t b[16];
    ASY_TRY(quantity_parse(b, sizeof b, text));
    *ret_value = asy_be128_get(b);
    return ASY_OK;
}

enum asy_err asy_quantity_parse_u256(uint8_t ret_value[32], struct asy_bytes text) {
    return quantity_parse(ret_value, 32, text);
}

/* ---- decimal ---- */

size_t asy_u128_format(char ret_text[ASY_U128_TEXT], asy_u128 value) {
    char reversed[ASY_U128_TEXT];
    size_t len = 0;
    do {
        reversed[len++] = (char)('0' + (int)(value % 10));
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < len; i++) {
        ret_text[i] = reversed[len - 1 - i];
    }
    ret_text[len] = '\0';
    return len;
}

enum asy_err asy_u128_parse(asy_u128 *ret_value, struct asy_bytes text) {
    if (text.n == 0 || (text.n > 1 && text.p[0] == '0')) {
        return ASY_ERR_SYNTAX;
    }
    asy_u128 v = 0;
    bool fits = true;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') {
            return ASY_ERR_SYNTAX;
        }
        fits = fits && asy_mul_u128(&v, v, 10) && asy_add_u128(&v, v, (asy_u128)(text.p[i] - '0'));
    }
    if (!fits) {
        return ASY_ERR_OVERFLOW;
    }
    *ret_value = v;
    return ASY_OK;
}

/* ---- base64 ---- */

static const char alphabet[2][65] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

enum asy_err asy_base64_encode(struct asy_buf *buf, struct asy_bytes data,
                               enum asy_base64 variant) {
    const char *abc = alphabet[variant];
    if (data.n > SIZE_MAX / 2) {
        return ASY_ERR_TOO_LONG;
    }
    size_t rest = data.n % 3, full = data.n - rest;
    size_t tail = rest == 0 ? 0 : variant == ASY_BASE64_STD ? 4 : rest + 1;
    size_t len = full / 3 * 4 + tail;
    uint8_t *to;
    ASY_TRY(asy_buf_reserve(buf, &to, len));
    for (size_t i = 0; i < data.n; i += 3) {
        uint32_t b1 = i + 1 < data.n ? data.p[i + 1] : 0, b2 = i + 2 < data.n ? data.p[i + 2] : 0;
        uint32_t v = (uint32_t)data.p[i] << 16 | b1 << 8 | b2;
        size_t chars = i < full ? 4 : rest + 1;
        for (size_t k = 0; k < chars; k++) {
            *to++ = (uint8_t)abc[v >> (18 - 6 * k) & 63];
        }
        for (size_t k = chars; k < 4 && variant == ASY_BASE64_STD; k++) {
            *to++ = '=';
        }
    }
    asy_buf_grow(buf, len);
    return ASY_OK;
}

static int base64_value(uint8_t c, enum asy_base64 variant) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    const char *abc = alphabet[variant];
    return c == abc[62] ? 62 : c == abc[63] ? 63 : -1;
}

enum asy_err asy_base64_decode(struct asy_buf *buf, struct asy_bytes text,
                               enum asy_base64 variant) {
    if (variant == ASY_BASE64_STD) {
        if (text.n % 4 != 0) {
            return ASY_ERR_SYNTAX;
        }
        for (int i = 0; i < 2 && text.n != 0 && text.p[text.n - 1] == '='; i++) {
            text.n--;
        }
    }
    size_t rest = text.n % 4;
    if (rest == 1) {
        return ASY_ERR_SYNTAX;
    }
    size_t len = text.n / 4 * 3 + (rest == 0 ? 0 : rest - 1);
    uint8_t *to;
    ASY_TRY(asy_buf_reserve(buf, &to, len));
    uint32_t bits = 0;
    size_t have = 0, out = 0;
    for (size_t i = 0; i < text.n; i++) {
        int v = base64_value(text.p[i], variant);
        if (v < 0) {
            return ASY_ERR_SYNTAX;
        }
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[out++] = (uint8_t)(bits >> have);
            bits &= (1u << have) - 1;
        }
    }
    if (bits != 0) { /* unused bits: a second spelling of the same bytes */
        return ASY_ERR_SYNTAX;
    }
    asy_buf_grow(buf, len);
    return ASY_OK;
}
