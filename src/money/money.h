/*~ money: amounts that cannot be mixed up, and every rounding by name.
 *
 * Two units. `struct asy_usd` counts pico-dollars (1e-12 USD; on chain: pico-units of the payment
 * token) in 128 bits: prices, reservations, receipts, lanes, links. `struct asy_units` counts base
 * units of a token in 256 bits, as contracts and RPC do: deposits, withdrawals, gas. One base unit
 * of the payment token (6 decimals) is ASY_PICO_PER_UNIT pico.
 *
 * Nothing wraps, nothing goes below zero, nothing rounds unless its name says `_down` or `_up`.
 * Pure; no floating point; no allocation. On failure no result is touched.
 */
#ifndef ASY_MONEY_MONEY_H
#define ASY_MONEY_MONEY_H

#include "base/base.h"

/* ---- dollars --------------------------------------------------------------------------------- */

#define ASY_PICO_PER_USD ((asy_u128)1000000000000u)
#define ASY_PICO_PER_UNIT                                                                          \
    1000000u                    /* pico per base unit of a 6-decimal token: SCALE of the Vault     \
                                 */
#define ASY_BPS          10000u /* basis points of a whole */
#define ASY_USD_DECIMALS 12u

struct asy_usd {
    asy_u128 pico;
};
/* The Vault keeps amounts in 96 bits: 79,228,162,514,264,337.59 USD. */
#define ASY_USD_CHAIN_MAX ((((asy_u128)1) << 96) - 1)

/* asy_usd_parse reads a decimal string of dollars: digits, then optionally a point and 1 to 12
 * digits. No sign, exponent, blank, leading zero ("007") or bare point.
 * errors: SYNTAX; RANGE more than 12 decimals; OVERFLOW 2^128 pico or more */
ASY_MUST_USE enum asy_err asy_usd_parse(struct asy_usd *ret_usd, struct asy_bytes in);
/* Shortest exact form: "0", "12", "0.000001"; zero-terminated. asy_usd_parse gives the same amount
 * back. */
#define ASY_USD_STR 48
void asy_usd_format(char ret_text[ASY_USD_STR], struct asy_usd usd);

int asy_usd_cmp(struct asy_usd a, struct asy_usd b); /* -1, 0, 1 */
/* errors: OVERFLOW */
ASY_MUST_USE enum asy_err asy_usd_add(struct asy_usd *ret, struct asy_usd a, struct asy_usd b);
/* errors: OVERFLOW b is more than a */
ASY_MUST_USE enum asy_err asy_usd_sub(struct asy_usd *ret, struct asy_usd a, struct asy_usd b);
/* errors: OVERFLOW */
ASY_MUST_USE enum asy_err asy_usd_mul(struct asy_usd *ret, struct asy_usd a, uint64_t count);
/* a * num / den with a 256-bit product, rounded as named.
 * errors: RANGE den is 0; OVERFLOW the result does not fit */
ASY_MUST_USE enum asy_err asy_usd_mul_div_down(struct asy_usd *ret, struct asy_usd a, asy_u128 num,
                                               asy_u128 den);
ASY_MUST_USE enum asy_err asy_usd_mul_div_up(struct asy_usd *ret, struct asy_usd a, asy_u128 num,
                                             asy_u128 den);

/* ---- fee splits (settlement format, section 1.1) --------------------------------------------- */

/* asy_usd_split_bps_down splits gross as the Vault does, the node's share and the fee each rounded
 * down:
 *
 *     node = floor(gross * node_bps / 10000)
 *     fee  = floor(gross * (10000 - node_bps) / 10000)
 *     dust = gross - node - fee, 0 or 1 pico
 *
 * The node's share is taken of its running total, never of single jobs, so that it loses less than
 * one pico for ever. Dust stays in the vault and belongs to nobody.
 * errors: RANGE node_bps above 10000 */
struct asy_split {
    struct asy_usd node, fee, dust;
};
ASY_MUST_USE enum asy_err asy_usd_split_bps_down(struct asy_split *ret_split, struct asy_usd gross,
                                                 uint32_t node_bps);
/* asy_usd_split_fee_down divides collected fees: gateway = floor(fees * gateway_bps / (10000 -
 * node_bps)), the treasury gets the rest. Shares are of gross: 97/1.5/1.5 is node_bps 9700,
 * gateway_bps 150.
 * errors: RANGE node_bps above 10000, gateway_bps above 10000 - node_bps, or fees where node_bps is
 *         10000 */
ASY_MUST_USE enum asy_err asy_usd_split_fee_down(struct asy_usd *ret_gateway,
                                                 struct asy_usd *ret_treasury, struct asy_usd fees,
                                                 uint32_t node_bps, uint32_t gateway_bps);

/* ---- prices and costs ------------------------------------------------------------------------ */

/* Dollars per token. `cached` is for input tokens that the node already held; at most `in`. */
struct asy_prices {
    struct asy_usd in, cached, out;
};
/* Tokens of one receipt. `cached` is the part of `in` that was charged at the cached price; at
 * most `in`. */
struct asy_tokens {
    uint64_t in, cached, out;
};
/* asy_price_from_million turns dollars per million tokens, as people write prices, into dollars
 * per token.
 * errors: RANGE not a whole number of pico-dollars per token (more than 6 decimals of a dollar) */
ASY_MUST_USE enum asy_err asy_price_from_million(struct asy_usd *ret_price,
                                                 struct asy_usd per_million);
/* errors: OVERFLOW */
ASY_MUST_USE enum asy_err asy_price_to_million(struct asy_usd *ret_per_million,
                                               struct asy_usd price);
/* asy_cost: (in - cached) * prices.in + cached * prices.cached + out * prices.out, as the Court
 * computes it.
 * errors: RANGE tokens.cached above tokens.in; OVERFLOW */
ASY_MUST_USE enum asy_err asy_cost(struct asy_usd *ret_cost, const struct asy_prices *prices,
                                   const struct asy_tokens *tokens);

/* ---- chain amounts --------------------------------------------------------------------------- */

/* An unsigned 256-bit integer; limb[0] is the lowest. */
struct asy_units {
    uint64_t limb[4];
};
struct asy_units asy_units_from_u64(uint64_t v);
struct asy_units asy_units_from_u128(asy_u128 v);
/* errors: OVERFLOW */
ASY_MUST_USE enum asy_err asy_units_to_u64(uint64_t *ret, struct asy_units v);
ASY_MUST_USE enum asy_err asy_units_to_u128(asy_u128 *ret, struct asy_units v);
/* 32 bytes, big endian: a word of the Solidity ABI. */
struct asy_units asy_units_get_be32(const uint8_t in[32]);
void asy_units_put_be32(uint8_t ret_out[32], struct asy_units v);
/* Decimal digits only, no leading zero.
 * errors: SYNTAX; OVERFLOW 2^256 or more */
ASY_MUST_USE enum asy_err asy_units_parse(struct asy_units *ret_units, struct asy_bytes in);
#define ASY_UNITS_STR 80
void asy_units_format(char ret_text[ASY_UNITS_STR], struct asy_units v);

/* Whether v is 0. */
bool asy_units_is_zero(struct asy_units v);
int asy_units_cmp(struct asy_units a, struct asy_units b); /* -1, 0, 1 */
/* errors: OVERFLOW, for sub also when b is more than a */
ASY_MUST_USE enum asy_err asy_units_add(struct asy_units *ret, struct asy_units a,
                                        struct asy_units b);
ASY_MUST_USE enum asy_err asy_units_sub(struct asy_units *ret, struct asy_units a,
                                        struct asy_units b);
ASY_MUST_USE enum asy_err asy_units_mul_u64(struct asy_units *ret, struct asy_units a,
                                            uint64_t count);

/* asy_units_from_pico_down: the whole base units in usd; ret_rest (may be NULL) gets what stays
 * behind, less than ASY_PICO_PER_UNIT. Only withdraw and claim convert this way, and the rest
 * stays in the account. */
struct asy_units asy_units_from_pico_down(struct asy_usd usd, struct asy_usd *ret_rest);
/* Exact. errors: OVERFLOW 2^128 pico or more */
ASY_MUST_USE enum asy_err asy_usd_from_units(struct asy_usd *ret_usd, struct asy_units units);

#endif
