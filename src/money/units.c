#include "money/money.h"

struct asy_units asy_units_from_u64(uint64_t v) {
    return (struct asy_units){{v, 0, 0, 0}};
}

struct asy_units asy_units_from_u128(asy_u128 v) {
    return (struct asy_units){{(uint64_t)v, (uint64_t)(v >> 64), 0, 0}};
}

enum asy_err asy_units_to_u128(asy_u128 *ret, struct asy_units v) {
    if (v.limb[2] != 0 || v.limb[3] != 0) {
        return ASY_ERR_OVERFLOW;
    }
    *ret = (asy_u128)v.limb[1] << 64 | v.limb[0];
    return ASY_OK;
}

enum asy_err asy_units_to_u64(uint64_t *ret, struct asy_units v) {
    if (v.limb[1] != 0 || v.limb[2] != 0 || v.limb[3] != 0) {
        return ASY_ERR_OVERFLOW;
    }
    *ret = v.limb[0];
    return ASY_OK;
}

struct asy_units asy_units_get_be32(const uint8_t in[32]) {
    struct asy_units v;
    for (size_t i = 0; i < 4; i++) {
        v.limb[i] = asy_be64_get(in + 8 * (3 - i));
    }
    return v;
}

void asy_units_put_be32(uint8_t ret_out[32], struct asy_units v) {
    for (size_t i = 0; i < 4; i++) {
        asy_be64_put(ret_out + 8 * (3 - i), v.limb[i]);
    }
}

bool asy_units_is_zero(struct asy_units v) {
    return (v.limb[0] | v.limb[1] | v.limb[2] | v.limb[3]) == 0;
}

int asy_units_cmp(struct asy_units a, struct asy_units b) {
    for (size_t i = 4; i-- > 0;) {
        if (a.limb[i] != b.limb[i]) {
            return a.limb[i] > b.limb[i] ? 1 : -1;
        }
    }
    return 0;
}

enum asy_err asy_units_add(struct asy_units *ret, struct asy_units a, struct asy_units b) {
    struct asy_units sum;
    asy_u128 carry = 0;
    for (size_t i = 0; i < 4; i++) {
        carry += (asy_u128)a.limb[i] + b.limb[i];
        sum.limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (carry != 0) {
        return ASY_ERR_OVERFLOW;
    }
    *ret = sum;
    return ASY_OK;
}

enum asy_err asy_units_sub(struct asy_units *ret, struct asy_units a, struct asy_units b) {
    if (asy_units_cmp(a, b) < 0) {
        return ASY_ERR_OVERFLOW;
    }
    uint64_t borrow = 0;
    for (size_t i = 0; i < 4; i++) {
        const asy_u128 d =
            (asy_u128)a.limb[i] - b.limb[i] - borrow; /* wraps: the top bit is the borrow */
        ret->limb[i] = (uint64_t)d;
        borrow = (uint64_t)(d >> 127);
    }
    return ASY_OK;
}

/* ret = a * count + add, false when that does not fit. */
static bool mul_add(struct asy_units *ret, struct asy_units a, uint64_t count, uint64_t add) {
    struct asy_units product;
    asy_u128 carry = add;
    for (size_t i = 0; i < 4; i++) {
        carry += (asy_u128)a.limb[i] * count; /* (2^64 - 1)^2 + 2^64 - 1 < 2^128 */
        product.limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (carry != 0) {
        return false;
    }
    *ret = product;
    return true;
}

enum asy_err asy_units_mul_u64(struct asy_units *ret, struct asy_units a, uint64_t count) {
    return mul_add(ret, a, count, 0) ? ASY_OK : ASY_ERR_OVERFLOW;
}

/* Divides in place, returns the remainder. */
static uint64_t div_u64(struct asy_units *v, uint64_t den) {
    asy_u128 rest = 0;
    for (size_t i = 4; i-- > 0;) {
        rest = rest << 64 | v->limb[i];
        v->limb[i] = (uint64_t)(rest / den);
        rest %= den;
    }
    return (uint64_t)rest;
}

enum asy_err asy_units_parse(struct asy_units *ret_units, struct asy_bytes in) {
    if (in.n == 0 || (in.n > 1 && in.p[0] == '0')) {
        return ASY_ERR_SYNTAX;
    }
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] < '0' || in.p[i] > '9') {
            return ASY_ERR_SYNTAX;
        }
    }
    struct asy_units v = {{0}};
    for (size_t i = 0; i < in.n; i++) {
        if (!mul_add(&v, v, 10, in.p[i] - (unsigned)'0')) {
            return ASY_ERR_OVERFLOW;
        }
    }
    *ret_units = v;
    return ASY_OK;
}

void asy_units_format(char ret_text[ASY_UNITS_STR], struct asy_units v) {
    char digits[ASY_UNITS_STR]; /* lowest first; 2^256 has 78 */
    size_t n = 0, out = 0;
    do {
        digits[n++] = (char)('0' + (unsigned)div_u64(&v, 10));
    } while (!asy_units_is_zero(v));
    while (n > 0) {
        ret_text[out++] = digits[--n];
    }
    ret_text[out] = '\0';
}

/* ---- between the two units ------------------------------------------------------------------- */

struct asy_units asy_units_from_pico_down(struct asy_usd usd, struct asy_usd *ret_rest) {
    if (ret_rest != NULL) {
        ret_rest->pico = usd.pico % ASY_PICO_PER_UNIT;
    }
    return asy_units_from_u128(usd.pico / ASY_PICO_PER_UNIT);
}

enum asy_err asy_usd_from_units(struct asy_usd *ret_usd, struct asy_units units) {
    struct asy_units pico;
    ASY_TRY(asy_units_mul_u64(&pico, units, ASY_PICO_PER_UNIT));
    return asy_units_to_u128(&ret_usd->pico, pico);
}
