#include "money/money.h"

/* ---- text ------------------------------------------------------------------------------------ */

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* value * 10 + digit, false when that does not fit. */
static bool push_digit(asy_u128 *value, uint8_t c) {
    asy_u128 v;
    return asy_mul_u128(&v, *value, 10) && asy_add_u128(value, v, c - (unsigned)'0');
}

enum asy_err asy_usd_parse(struct asy_usd *ret_usd, struct asy_bytes in) {
    size_t whole = 0;
    while (whole < in.n && is_digit(in.p[whole])) {
        whole++;
    }
    if (whole == 0 || (whole > 1 && in.p[0] == '0')) {
        return ASY_ERR_SYNTAX;
    }
    size_t decimals = 0;
    if (whole < in.n) {
        if (in.p[whole] != '.') {
            return ASY_ERR_SYNTAX;
        }
        decimals = in.n - whole - 1;
        if (decimals == 0) {
            return ASY_ERR_SYNTAX;
        }
        for (size_t i = whole + 1; i < in.n; i++) {
            if (!is_digit(in.p[i])) {
                return ASY_ERR_SYNTAX;
            }
        }
        if (decimals > ASY_USD_DECIMALS) {
            return ASY_ERR_RANGE;
        }
    }
    asy_u128 pico = 0;
    for (size_t i = 0; i < whole + ASY_USD_DECIMALS; i++) {
        const size_t at = i < whole ? i : i + 1; /* past the point */
        if (!push_digit(&pico, at < in.n ? in.p[at] : '0')) {
            return ASY_ERR_OVERFLOW;
        }
    }
    ret_usd->pico = pico;
    return ASY_OK;
}

void asy_usd_format(char ret_text[ASY_USD_STR], struct asy_usd usd) {
    char digits[ASY_USD_STR]; /* lowest first */
    size_t n = 0;
    asy_u128 left = usd.pico;
    while (left > 0 || n <= ASY_USD_DECIMALS) { /* at least one digit before the point */
        digits[n++] = (char)('0' + (unsigned)(left % 10));
        left /= 10;
    }
    size_t last = 0; /* trailing zeros of the decimals are not written */
    while (last < ASY_USD_DECIMALS && digits[last] == '0') {
        last++;
    }
    size_t out = 0;
    while (n > last) {
        if (n == ASY_USD_DECIMALS) {
            ret_text[out++] = '.';
        }
        ret_text[out++] = digits[--n];
    }
    ret_text[out] = '\0';
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

int asy_usd_cmp(struct asy_usd a, struct asy_usd b) {
    return (a.pico > b.pico) - (a.pico < b.pico);
}

enum asy_err asy_usd_add(struct asy_usd *ret, struct asy_usd a, struct asy_usd b) {
    return asy_add_u128(&ret->pico, a.pico, b.pico) ? ASY_OK : ASY_ERR_OVERFLOW;
}

enum asy_err asy_usd_sub(struct asy_usd *ret, struct asy_usd a, struct asy_usd b) {
    return asy_sub_u128(&ret->pico, a.pico, b.pico) ? ASY_OK : ASY_ERR_OVERFLOW;
}

enum asy_err asy_usd_mul(struct asy_usd *ret, struct asy_usd a, uint64_t count) {
    return asy_mul_u128(&ret->pico, a.pico, count) ? ASY_OK : ASY_ERR_OVERFLOW;
}

/* high:low = a * b, by four 64-bit products. */
static void mul_wide(asy_u128 *ret_high, asy_u128 *ret_low, asy_u128 a, asy_u128 b) {
    const uint64_t a0 = (uint64_t)a, a1 = (uint64_t)(a >> 64), b0 = (uint64_t)b,
                   b1 = (uint64_t)(b >> 64);
    const asy_u128 p00 = (asy_u128)a0 * b0, p01 = (asy_u128)a0 * b1, p10 = (asy_u128)a1 * b0,
                   p11 = (asy_u128)a1 * b1;
    /* three numbers below 2^64: no overflow */
    const asy_u128 middle = (p00 >> 64) + (uint64_t)p01 + (uint64_t)p10;
    *ret_low = middle << 64 | (uint64_t)p00;
    *ret_high = p11 + (p01 >> 64) + (p10 >> 64) + (middle >> 64);
}

/* Long division, bit by bit, of high:low by den, where high < den so that the quotient fits. */
static asy_u128 div_wide(asy_u128 high, asy_u128 low, asy_u128 den, asy_u128 *ret_rest) {
    asy_u128 quotient = 0, rest = high;
    for (int i = 0; i < 128; i++) {
        const bool carry = rest >> 127 != 0; /* the 129th bit of the remainder */
        rest = rest << 1 | low >> 127;
        low <<= 1;
        quotient <<= 1;
        if (carry || rest >= den) {
            rest -= den;
            quotient |= 1;
        }
    }
    *ret_rest = rest;
    return quotient;
}

static enum asy_err mul_div(asy_u128 *ret_quotient, asy_u128 *ret_rest, asy_u128 a, asy_u128 num,
                            asy_u128 den) {
    if (den == 0) {
        return ASY_ERR_RANGE;
    }
    asy_u128 high, low;
    mul_wide(&high, &low, a, num);
    if (high >= den) {
        return ASY_ERR_OVERFLOW;
    }
    if (high == 0) {
        *ret_quotient = low / den;
        *ret_rest = low % den;
    } else {
        *ret_quotient = div_wide(high, low, den, ret_rest);
    }
    return ASY_OK;
}

enum asy_err asy_usd_mul_div_down(struct asy_usd *ret, struct asy_usd a, asy_u128 num,
                                  asy_u128 den) {
    asy_u128 quotient, rest;
    ASY_TRY(mul_div(&quotient, &rest, a.pico, num, den));
    ret->pico = quotient;
    return ASY_OK;
}

enum asy_err asy_usd_mul_div_up(struct asy_usd *ret, struct asy_usd a, asy_u128 num, asy_u128 den) {
    asy_u128 quotient, rest;
    ASY_TRY(mul_div(&quotient, &rest, a.pico, num, den));
    return asy_add_u128(&ret->pico, quotient, rest != 0) ? ASY_OK : ASY_ERR_OVERFLOW;
}

/* ---- fee splits ------------------------------------------------------------------------------ */

enum asy_err asy_usd_split_bps_down(struct asy_split *ret_split, struct asy_usd gross,
                                    uint32_t node_bps) {
    if (node_bps > ASY_BPS) {
        return ASY_ERR_RANGE;
    }
    struct asy_split s;
    ASY_TRY(asy_usd_mul_div_down(&s.node, gross, node_bps, ASY_BPS));
    ASY_TRY(asy_usd_mul_div_down(&s.fee, gross, ASY_BPS - node_bps, ASY_BPS));
    s.dust.pico = gross.pico - s.node.pico - s.fee.pico;
    *ret_split = s;
    return ASY_OK;
}

enum asy_err asy_usd_split_fee_down(struct asy_usd *ret_gateway, struct asy_usd *ret_treasury,
                                    struct asy_usd fees, uint32_t node_bps, uint32_t gateway_bps) {
    if (node_bps > ASY_BPS || gateway_bps > ASY_BPS - node_bps ||
        (node_bps == ASY_BPS && fees.pico != 0)) {
        return ASY_ERR_RANGE;
    }
    struct asy_usd gateway = {0};
    if (node_bps < ASY_BPS) {
        ASY_TRY(asy_usd_mul_div_down(&gateway, fees, gateway_bps, ASY_BPS - node_bps));
    }
    ret_treasury->pico = fees.pico - gateway.pico;
    *ret_gateway = gateway;
    return ASY_OK;
}

/* ---- prices and costs ------------------------------------------------------------------------ */

#define MILLION 1000000u

enum asy_err asy_price_from_million(struct asy_usd *ret_price, struct asy_usd per_million) {
    if (per_million.pico % MILLION != 0) {
        return ASY_ERR_RANGE;
    }
    ret_price->pico = per_million.pico / MILLION;
    return ASY_OK;
}

enum asy_err asy_price_to_million(struct asy_usd *ret_per_million, struct asy_usd price) {
    return asy_usd_mul(ret_per_million, price, MILLION);
}

enum asy_err asy_cost(struct asy_usd *ret_cost, const struct asy_prices *prices,
                      const struct asy_tokens *tokens) {
    if (tokens->cached > tokens->in) {
        return ASY_ERR_RANGE;
    }
    struct asy_usd in, cached, out, sum;
    ASY_TRY(asy_usd_mul(&in, prices->in, tokens->in - tokens->cached));
    ASY_TRY(asy_usd_mul(&cached, prices->cached, tokens->cached));
    ASY_TRY(asy_usd_mul(&out, prices->out, tokens->out));
    ASY_TRY(asy_usd_add(&sum, in, cached));
    return asy_usd_add(ret_cost, sum, out);
}
