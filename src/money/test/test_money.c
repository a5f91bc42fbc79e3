/* Money against a slow model: numbers as arrays of decimal digits, sums and products as on paper,
 * quotients by repeated subtraction. */
#include "base/test.h"
#include "money/money.h"

/* ---- the model ------------------------------------------------------------------------------- */

#define DIGITS 170 /* of a product of two 256-bit numbers */
struct big {
    int d[DIGITS]; /* lowest first */
};

static struct big big_of(asy_u128 v) {
    struct big r = {{0}};
    for (size_t i = 0; v > 0; i++, v /= 10) {
        r.d[i] = (int)(v % 10);
    }
    return r;
}
static int big_cmp(const struct big *a, const struct big *b) {
    for (size_t i = DIGITS; i-- > 0;) {
        if (a->d[i] != b->d[i]) {
            return a->d[i] > b->d[i] ? 1 : -1;
        }
    }
    return 0;
}
static struct big big_add(const struct big *a, const struct big *b) {
    struct big r;
    int carry = 0;
    for (size_t i = 0; i < DIGITS; i++) {
        const int s = a->d[i] + b->d[i] + carry;
        r.d[i] = s % 10;
        carry = s / 10;
    }
    return r;
}
static struct big big_sub(const struct big *a, const struct big *b) { /* a >= b */
    struct big r;
    int borrow = 0;
    for (size_t i = 0; i < DIGITS; i++) {
        const int s = a->d[i] - b->d[i] - borrow;
        r.d[i] = s < 0 ? s + 10 : s;
        borrow = s < 0;
    }
    return r;
}
static struct big big_mul(const struct big *a, const struct big *b) {
    struct big r = {{0}};
    for (size_t i = 0; i < DIGITS; i++) {
        int carry = 0;
        for (size_t k = 0; a->d[i] != 0 && i + k < DIGITS; k++) {
            const int s = r.d[i + k] + a->d[i] * b->d[k] + carry;
            r.d[i + k] = s % 10;
            carry = s / 10;
        }
    }
    return r;
}
static struct big big_div(const struct big *a, const struct big *den, struct big *ret_rest) {
    struct big q = {{0}}, rest = {{0}};
    for (size_t i = DIGITS; i-- > 0;) {
        memmove(rest.d + 1, rest.d, (DIGITS - 1) * sizeof rest.d[0]);
        rest.d[0] = a->d[i];
        while (big_cmp(&rest, den) >= 0) {
            rest = big_sub(&rest, den);
            q.d[i]++;
        }
    }
    *ret_rest = rest;
    return q;
}
static bool big_is_zero(const struct big *a) {
    const struct big zero = {{0}};
    return big_cmp(a, &zero) == 0;
}
static struct big big_pow2(int bits) {
    struct big r = big_of(1);
    for (int i = 0; i < bits; i++) {
        r = big_add(&r, &r);
    }
    return r;
}
static void big_text(const struct big *a, char *ret_text) {
    size_t n = DIGITS;
    while (n > 1 && a->d[n - 1] == 0) {
        n--;
    }
    while (n > 0) {
        *ret_text++ = (char)('0' + a->d[--n]);
    }
    *ret_text = '\0';
}
static struct big big_of_units(struct asy_units v) {
    const struct big base = big_pow2(64);
    struct big r = {{0}};
    for (size_t i = 4; i-- > 0;) {
        const struct big limb = big_of(v.limb[i]);
        r = big_mul(&r, &base);
        r = big_add(&r, &limb);
    }
    return r;
}

static struct big limit128, limit256;

/* The call must give want when that is below limit, and OVERFLOW and an untouched result when not.
 */
#define MARK ((asy_u128)0xabcdefabcdef)
static void check_usd(enum asy_err err, struct asy_usd got, const struct big *want,
                      const char *what) {
    const struct big g = big_of(got.pico);
    const bool ok = big_cmp(want, &limit128) >= 0 ? err == ASY_ERR_OVERFLOW && got.pico == MARK
                                                  : err == ASY_OK && big_cmp(&g, want) == 0;
    if (!ok) {
        fprintf(stderr, "%s differs from the model: ", what);
    }
    CHECK(ok);
}

/* ---- random numbers, with a taste for edges -------------------------------------------------- */

static asy_u128 random_u128(void) {
    asy_u128 v = (asy_u128)asy_test_random() << 64 | asy_test_random();
    v >>= asy_test_random() % 128;
    switch (asy_test_random() % 8) {
    case 0:
        v = ~(asy_u128)0 - v % 3;
        break;
    case 1:
        v = ((asy_u128)1 << (asy_test_random() % 128)) - asy_test_random() % 2;
        break;
    case 2:
        v %= 3;
        break;
    case 3:
        v = ASY_USD_CHAIN_MAX - v % 3;
        break;
    }
    return v;
}
static struct asy_units random_units(void) {
    struct asy_units v;
    for (size_t i = 0; i < 4; i++) {
        v.limb[i] = asy_test_random() % 4 == 0   ? UINT64_MAX
                    : asy_test_random() % 4 == 0 ? 0
                                                 : asy_test_random();
    }
    for (size_t i = 3; i > 0 && asy_test_random() % 2 == 0; i--) {
        v.limb[i] = 0;
    }
    return v;
}

/* ---- dollars --------------------------------------------------------------------------------- */

static void arithmetic(void) {
    for (int i = 0; i < 1500; i++) {
        const struct asy_usd a = {random_u128()}, b = {random_u128()};
        const asy_u128 num = random_u128(), den = random_u128();
        const uint64_t count = (uint64_t)random_u128();
        const struct big ba = big_of(a.pico), bb = big_of(b.pico), bc = big_of(count),
                         bn = big_of(num), bd = big_of(den);
        struct asy_usd r;
        struct big want, rest;

        CHECK(asy_usd_cmp(a, b) == big_cmp(&ba, &bb));
        r.pico = MARK;
        enum asy_err err = asy_usd_add(&r, a, b);
        want = big_add(&ba, &bb);
        check_usd(err, r, &want, "add");

        r.pico = MARK;
        err = asy_usd_sub(&r, a, b);
        want = big_cmp(&ba, &bb) >= 0 ? big_sub(&ba, &bb) : limit128;
        check_usd(err, r, &want, "sub");

        r.pico = MARK;
        err = asy_usd_mul(&r, a, count);
        want = big_mul(&ba, &bc);
        check_usd(err, r, &want, "mul");

        r.pico = MARK;
        err = asy_usd_mul_div_down(&r, a, num, den);
        if (den == 0) {
            CHECK(err == ASY_ERR_RANGE && r.pico == MARK);
            CHECK_ERR(asy_usd_mul_div_up(&r, a, num, den), ASY_ERR_RANGE);
            continue;
        }
        want = big_mul(&ba, &bn);
        want = big_div(&want, &bd, &rest);
        check_usd(err, r, &want, "mul_div_down");
        if (!big_is_zero(&rest)) {
            const struct big one = big_of(1);
            want = big_add(&want, &one);
        }
        r.pico = MARK;
        err = asy_usd_mul_div_up(&r, a, num, den);
        check_usd(err, r, &want, "mul_div_up");
    }
    /* (2^129 - 1) / 2: the quotient 2^128 - 1 fits, and rounding it up must not wrap to 0 */
    struct asy_usd r = {MARK};
    const asy_u128 top = ~(asy_u128)0, factor = ((asy_u128)1 << 86) + ((asy_u128)1 << 43) + 1;
    CHECK_ERR(asy_usd_mul_div_up(&r, (struct asy_usd){((asy_u128)1 << 43) - 1}, factor, 2),
              ASY_ERR_OVERFLOW);
    CHECK(r.pico == MARK);
    CHECK_OK(asy_usd_mul_div_down(&r, (struct asy_usd){((asy_u128)1 << 43) - 1}, factor, 2));
    CHECK(r.pico == top);
    CHECK_OK(asy_usd_mul_div_up(&r, (struct asy_usd){top}, top, top));
    CHECK(r.pico == top);
}

static void parse_table(void) {
    static const struct {
        const char *in;
        enum asy_err err;
        uint64_t pico;
        const char *out;
    } cases[] = {
        {"0", ASY_OK, 0, "0"},
        {"1", ASY_OK, 1000000000000, "1"},
        {"12.5", ASY_OK, 12500000000000, "12.5"},
        {"12.500", ASY_OK, 12500000000000, "12.5"},
        {"0.000000000001", ASY_OK, 1, "0.000000000001"},
        {"0.000000000000", ASY_OK, 0, "0"},
        {"100", ASY_OK, 100000000000000, "100"},
        {"1000000.000001", ASY_OK, 1000000000001000000, "1000000.000001"},
        {"0.1", ASY_OK, 100000000000, "0.1"},
        {"0.0000000000001", ASY_ERR_RANGE, 0, NULL},
        {"0.1000000000000", ASY_ERR_RANGE, 0, NULL},
        {"1.000000000000000000000000000000", ASY_ERR_RANGE, 0, NULL},
        {"", ASY_ERR_SYNTAX, 0, NULL},
        {".", ASY_ERR_SYNTAX, 0, NULL},
        {".5", ASY_ERR_SYNTAX, 0, NULL},
        {"5.", ASY_ERR_SYNTAX, 0, NULL},
        {"00", ASY_ERR_SYNTAX, 0, NULL},
        {"007", ASY_ERR_SYNTAX, 0, NULL},
        {"01.5", ASY_ERR_SYNTAX, 0, NULL},
        {"+1", ASY_ERR_SYNTAX, 0, NULL},
        {"-1", ASY_ERR_SYNTAX, 0, NULL},
        {"-0", ASY_ERR_SYNTAX, 0, NULL},
        {" 1", ASY_ERR_SYNTAX, 0, NULL},
        {"1 ", ASY_ERR_SYNTAX, 0, NULL},
        {"1e3", ASY_ERR_SYNTAX, 0, NULL},
        {"1.0e3", ASY_ERR_SYNTAX, 0, NULL},
        {"1,5", ASY_ERR_SYNTAX, 0, NULL},
        {"1.5.5", ASY_ERR_SYNTAX, 0, NULL},
        {"0x10", ASY_ERR_SYNTAX, 0, NULL},
        {"inf", ASY_ERR_SYNTAX, 0, NULL},
        {"1.+5", ASY_ERR_SYNTAX, 0, NULL},
        {"340282366920938463463374607.431768211456", ASY_ERR_OVERFLOW, 0, NULL}, /* 2^128 */
        {"999999999999999999999999999999999999999999999999999999", ASY_ERR_OVERFLOW, 0, NULL},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_usd usd = {MARK};
        char text[ASY_USD_STR];
        CHECK_ERR(asy_usd_parse(&usd, asy_bytes_cstr(cases[i].in)), cases[i].err);
        if (cases[i].err == ASY_OK) {
            CHECK_U64(usd.pico, cases[i].pico);
            asy_usd_format(text, usd);
            CHECK_STR(text, cases[i].out);
        } else {
            CHECK(usd.pico == MARK);
        }
    }
    struct asy_usd usd;
    char text[ASY_USD_STR];
    CHECK_OK(asy_usd_parse(&usd, ASY_STR("340282366920938463463374607.431768211455")));
    CHECK(usd.pico == ~(asy_u128)0);
    asy_usd_format(text, usd);
    CHECK_STR(text, "340282366920938463463374607.431768211455");
    /* a zero byte is no end */
    CHECK_ERR(asy_usd_parse(&usd, asy_bytes_of("1\0", 2)), ASY_ERR_SYNTAX);
    /* every byte but digits and the point is refused in every place */
    for (unsigned c = 0; c < 256; c++) {
        for (size_t at = 0; at < 3; at++) {
            uint8_t in[3] = {'1', '1', '1'};
            in[at] = (uint8_t)c;
            const bool digit =
                (c >= '0' && c <= '9' && !(at == 0 && c == '0')) || (c == '.' && at == 1);
            CHECK((asy_usd_parse(&usd, asy_bytes_of(in, 3)) == ASY_OK) == digit);
        }
    }
}

static void text_round_trip(void) {
    for (int i = 0; i < 1500; i++) {
        const struct asy_usd usd = {random_u128()};
        struct asy_usd again;
        char text[ASY_USD_STR];
        asy_usd_format(text, usd);
        CHECK_OK(asy_usd_parse(&again, asy_bytes_cstr(text)));
        CHECK(again.pico == usd.pico);
        const char *point = strchr(text, '.');
        CHECK(point == NULL || text[strlen(text) - 1] != '0');
    }
}

/* ---- splits, prices, costs ------------------------------------------------------------------- */

static void splits(void) {
    for (int i = 0; i < 1500; i++) {
        const struct asy_usd gross = {random_u128()};
        const uint32_t node_bps = asy_test_random() % 4 == 0
                                      ? (uint32_t)(asy_test_random() % 2) * ASY_BPS
                                      : (uint32_t)(asy_test_random() % (ASY_BPS + 1));
        struct asy_split s;
        CHECK_OK(asy_usd_split_bps_down(&s, gross, node_bps));
        const struct big bg = big_of(gross.pico), whole = big_of(ASY_BPS);
        struct big part = big_of(node_bps), rest, want;
        want = big_mul(&bg, &part);
        want = big_div(&want, &whole, &rest);
        check_usd(ASY_OK, s.node, &want, "node share");
        part = big_of(ASY_BPS - node_bps);
        want = big_mul(&bg, &part);
        want = big_div(&want, &whole, &rest);
        check_usd(ASY_OK, s.fee, &want, "fee");
        CHECK(s.node.pico + s.fee.pico + s.dust.pico == gross.pico && s.dust.pico <= 1);

        const uint32_t gateway_bps = (uint32_t)(asy_test_random() % (ASY_BPS - node_bps + 1));
        struct asy_usd gateway, treasury;
        if (node_bps == ASY_BPS) {
            CHECK_ERR(asy_usd_split_fee_down(&gateway, &treasury, (struct asy_usd){1}, node_bps, 0),
                      ASY_ERR_RANGE);
            CHECK_OK(asy_usd_split_fee_down(&gateway, &treasury, s.fee, node_bps, 0));
            CHECK(gateway.pico == 0 && treasury.pico == 0);
            continue;
        }
        CHECK_OK(asy_usd_split_fee_down(&gateway, &treasury, s.fee, node_bps, gateway_bps));
        const struct big fee = big_of(s.fee.pico), shares = big_of(ASY_BPS - node_bps);
        part = big_of(gateway_bps);
        want = big_mul(&fee, &part);
        want = big_div(&want, &shares, &rest);
        check_usd(ASY_OK, gateway, &want, "gateway's part of the fee");
        CHECK(gateway.pico + treasury.pico == s.fee.pico);
        CHECK_ERR(
            asy_usd_split_fee_down(&gateway, &treasury, s.fee, node_bps, ASY_BPS - node_bps + 1),
            ASY_ERR_RANGE);
    }
    struct asy_split s;
    struct asy_usd gateway, treasury;
    CHECK_ERR(asy_usd_split_bps_down(&s, (struct asy_usd){1}, ASY_BPS + 1), ASY_ERR_RANGE);
    /* the four published fee tables */
    CHECK_OK(asy_usd_split_bps_down(&s, (struct asy_usd){1000001}, 9500));
    CHECK(s.node.pico == 950000 && s.fee.pico == 50000 && s.dust.pico == 1);
    CHECK_OK(asy_usd_split_bps_down(&s, (struct asy_usd){1000000}, 9700));
    CHECK_OK(asy_usd_split_fee_down(&gateway, &treasury, s.fee, 9700, 150));
    CHECK(s.node.pico == 970000 && gateway.pico == 15000 && treasury.pico == 15000);
}

static void prices(void) {
    struct asy_usd per_million, price;
    char text[ASY_USD_STR];
    CHECK_OK(asy_usd_parse(&per_million, ASY_STR("0.15")));
    CHECK_OK(asy_price_from_million(&price, per_million));
    CHECK_U64(price.pico, 150000);
    CHECK_OK(asy_price_to_million(&per_million, price));
    asy_usd_format(text, per_million);
    CHECK_STR(text, "0.15");
    CHECK_OK(asy_usd_parse(&per_million, ASY_STR("0.000001")));
    CHECK_OK(asy_price_from_million(&price, per_million));
    CHECK_U64(price.pico, 1);
    CHECK_OK(asy_usd_parse(&per_million, ASY_STR("0.0000015")));
    CHECK_ERR(asy_price_from_million(&price, per_million), ASY_ERR_RANGE);
    CHECK_ERR(asy_price_to_million(&per_million, (struct asy_usd){~(asy_u128)0 / 1000000 + 1}),
              ASY_ERR_OVERFLOW);
    CHECK_OK(asy_price_to_million(&per_million, (struct asy_usd){~(asy_u128)0 / 1000000}));
}

static void costs(void) {
    /* the job of contracts/vectors/batch.json */
    const struct asy_prices p = {{100000}, {10000}, {400000}};
    struct asy_usd cost = {MARK};
    CHECK_OK(asy_cost(&cost, &p, &(struct asy_tokens){102, 2, 23}));
    CHECK_U64(cost.pico, 19220000);
    CHECK_OK(asy_cost(&cost, &p, &(struct asy_tokens){7, 7, 0}));
    CHECK_U64(cost.pico, 70000);
    cost.pico = MARK;
    CHECK_ERR(asy_cost(&cost, &p, &(struct asy_tokens){1, 2, 0}), ASY_ERR_RANGE);
    for (int i = 0; i < 1500; i++) {
        const struct asy_prices q = {{random_u128()}, {random_u128()}, {random_u128()}};
        struct asy_tokens t = {(uint64_t)random_u128(), (uint64_t)random_u128(),
                               (uint64_t)random_u128()};
        if (asy_test_random() % 2 == 0) { /* realistic sizes, so that most do not overflow */
            t = (struct asy_tokens){t.in % 100000, t.cached % 100000, t.out % 100000};
        }
        cost.pico = MARK;
        const enum asy_err err = asy_cost(&cost, &q, &t);
        if (t.cached > t.in) {
            CHECK(err == ASY_ERR_RANGE && cost.pico == MARK);
            continue;
        }
        const asy_u128 factor[3][2] = {
            {t.in - t.cached, q.in.pico}, {t.cached, q.cached.pico}, {t.out, q.out.pico}};
        struct big want = {{0}};
        for (size_t k = 0; k < 3; k++) {
            const struct big a = big_of(factor[k][0]), b = big_of(factor[k][1]),
                             ab = big_mul(&a, &b);
            want = big_add(&want, &ab);
        }
        check_usd(err, cost, &want, "cost");
    }
}

/* ---- chain amounts --------------------------------------------------------------------------- */

static void check_units(enum asy_err err, struct asy_units got, struct asy_units before,
                        const struct big *want) {
    if (big_cmp(want, &limit256) >= 0) {
        CHECK(err == ASY_ERR_OVERFLOW && asy_units_cmp(got, before) == 0);
        return;
    }
    const struct big g = big_of_units(got);
    CHECK(err == ASY_OK && big_cmp(&g, want) == 0);
}

static void units(void) {
    for (int i = 0; i < 1000; i++) {
        const struct asy_units a = random_units(), b = random_units(), mark = {{1, 2, 3, 4}};
        const uint64_t count = (uint64_t)random_u128();
        const struct big ba = big_of_units(a), bb = big_of_units(b), bc = big_of(count);
        struct big want;
        struct asy_units r = mark;
        CHECK(asy_units_cmp(a, b) == big_cmp(&ba, &bb));
        CHECK(asy_units_is_zero(a) == big_is_zero(&ba));
        enum asy_err err = asy_units_add(&r, a, b);
        want = big_add(&ba, &bb);
        check_units(err, r, mark, &want);
        r = mark;
        err = asy_units_sub(&r, a, b);
        want = big_cmp(&ba, &bb) >= 0 ? big_sub(&ba, &bb) : limit256;
        check_units(err, r, mark, &want);
        r = mark;
        err = asy_units_mul_u64(&r, a, count);
        want = big_mul(&ba, &bc);
        check_units(err, r, mark, &want);

        char text[ASY_UNITS_STR], model[DIGITS + 1];
        asy_units_format(text, a);
        big_text(&ba, model);
        CHECK_STR(text, model);
        CHECK_OK(asy_units_parse(&r, asy_bytes_cstr(text)));
        CHECK(asy_units_cmp(r, a) == 0);
        uint8_t word[32];
        asy_units_put_be32(word, a);
        CHECK(asy_units_cmp(asy_units_get_be32(word), a) == 0);
        CHECK(word[31] == (uint8_t)a.limb[0] && word[0] == (uint8_t)(a.limb[3] >> 56));

        asy_u128 narrow = MARK;
        uint64_t narrower = 77;
        const bool fits = big_cmp(&ba, &limit128) < 0, fits64 = fits && a.limb[1] == 0;
        CHECK_ERR(asy_units_to_u128(&narrow, a), fits ? ASY_OK : ASY_ERR_OVERFLOW);
        CHECK_ERR(asy_units_to_u64(&narrower, a), fits64 ? ASY_OK : ASY_ERR_OVERFLOW);
        CHECK(fits ? asy_units_cmp(asy_units_from_u128(narrow), a) == 0 : narrow == MARK);
        CHECK(fits64 ? asy_units_cmp(asy_units_from_u64(narrower), a) == 0 : narrower == 77);
    }
    static const char max[] =
        "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    struct asy_units r;
    char text[ASY_UNITS_STR];
    CHECK_OK(asy_units_parse(&r, asy_bytes_cstr(max)));
    CHECK(r.limb[0] == UINT64_MAX && r.limb[1] == UINT64_MAX && r.limb[2] == UINT64_MAX &&
          r.limb[3] == UINT64_MAX);
    asy_units_format(text, r);
    CHECK_STR(text, max);
    CHECK_ERR(
        asy_units_parse(
            &r,
            ASY_STR(
                "115792089237316195423570985008687907853269984665640564039457584007913129639936")),
        ASY_ERR_OVERFLOW);
    static const char *const bad[] = {"", "00", "01", "-1", "+1", " 1", "1 ", "1.0", "0x1", "1e3"};
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        CHECK_ERR(asy_units_parse(&r, asy_bytes_cstr(bad[i])), ASY_ERR_SYNTAX);
    }
    CHECK_OK(asy_units_parse(&r, ASY_STR("0")));
    CHECK(asy_units_is_zero(r));
}

static void between_units(void) {
    for (int i = 0; i < 1500; i++) {
        const struct asy_usd usd = {random_u128()};
        struct asy_usd rest, back, sum;
        const struct asy_units whole = asy_units_from_pico_down(usd, &rest);
        CHECK(rest.pico < ASY_PICO_PER_UNIT);
        CHECK(asy_units_cmp(asy_units_from_pico_down(usd, NULL), whole) == 0);
        CHECK_OK(asy_usd_from_units(&back, whole));
        CHECK_OK(asy_usd_add(&sum, back, rest));
        CHECK(sum.pico == usd.pico); /* nothing lost, nothing made */
    }
    struct asy_usd usd = {MARK};
    const asy_u128 most = ~(asy_u128)0 / ASY_PICO_PER_UNIT;
    CHECK_OK(asy_usd_from_units(&usd, asy_units_from_u128(most)));
    usd.pico = MARK;
    CHECK_ERR(asy_usd_from_units(&usd, asy_units_from_u128(most + 1)), ASY_ERR_OVERFLOW);
    CHECK_ERR(asy_usd_from_units(&usd, (struct asy_units){{0, 0, 0, UINT64_MAX}}),
              ASY_ERR_OVERFLOW);
    CHECK(usd.pico == MARK);
}

int main(void) {
    limit128 = big_pow2(128);
    limit256 = big_pow2(256);
    arithmetic();
    parse_table();
    text_round_trip();
    splits();
    prices();
    costs();
    units();
    between_units();
    return asy_test_end();
}
