/* The converter's arithmetic, against long doubles and by its own definitions. */
#include <math.h>

#include "base/test.h"
#include "convert/number_priv.h"

static void test_dyadic(void) {
    for (int i = 0; i < 20000; i++) {
        int exp = (int)(asy_test_random() % 80) - 50;
        double x = ldexp(1 + (double)(asy_test_random() >> 11) * 0x1p-53, exp);
        struct dyadic d = convert_dyadic(x);
        double back = ldexp((double)d.m, -d.s);
        CHECK(d.m >= 1 << 14 && d.m < 1 << 15);
        CHECK(fabs(back / x - 1) <= 0x1p-15);
    }
    struct dyadic zero = convert_dyadic(0), up = convert_dyadic(0.99999999),
                  one = convert_dyadic(1);
    CHECK(zero.m == 0);
    CHECK(up.m == 1 << 14 && up.s == 14); /* rounds to the next power of two */
    CHECK(one.m == 1 << 14 && one.s == 14);
}

static void test_gain_shift(void) {
    for (int i = 0; i < 20000; i++) {
        double max = ldexp(1 + (double)(asy_test_random() >> 11) * 0x1p-53,
                           (int)(asy_test_random() % 40) - 30);
        int shift = convert_gain_shift(max);
        CHECK(rint(ldexp(max, shift)) <= 8388607);
        CHECK(rint(ldexp(max, shift + 1)) > 8388607);
    }
    CHECK(convert_gain_shift(1) == 22);
    CHECK(convert_gain_shift(0.99999999) == 22); /* 2^23 when rounded at 23 */
}

static void test_normalise(void) {
    double v[3] = {0.5, 8, 1024}, w[2] = {0.3, 0.3};
    convert_normalise(v, 3); /* exponents 0, 4, 11: mean 5 */
    CHECK(v[0] == 0.5 / 32 && v[1] == 0.25 && v[2] == 32);
    convert_normalise(w, 2); /* exponent -1 */
    CHECK(w[0] == 0.6 && w[1] == 0.6);
}

/* Bases, factors and positions as models have them; the whole range of pairs. */
static void test_rotation(void) {
    static const float bases[] = {10000, 500000, 1e6f, 1.5e5f, 3}, factors[] = {1, 8, 32, 3.7f};
    static const uint32_t dims[] = {16, 64, 80, 128, 256};
    const long double tau = 6.283185307179586476925286766559005768L;
    long double worst = 0;
    for (int n = 0; n < 40000; n++) {
        float base = bases[asy_test_random() % ASY_COUNT(bases)];
        float factor = factors[asy_test_random() % ASY_COUNT(factors)];
        uint32_t dim = dims[asy_test_random() % ASY_COUNT(dims)];
        uint32_t pair = (uint32_t)(asy_test_random() % (dim / 2));
        uint32_t position = (uint32_t)(asy_test_random() % 131072);
        int32_t got[2];
        convert_rotation(got, convert_frequency(base, pair, dim, factor, 1), position);
        long double angle = (long double)position *
                            powl((long double)base, -2.0L * (long double)pair / (long double)dim) /
                            (long double)factor;
        angle -= tau * floorl(angle / tau);
        long double c = fabsl((long double)got[0] - cosl(angle) * 0x1p30L);
        long double s = fabsl((long double)got[1] - sinl(angle) * 0x1p30L);
        worst = c > worst ? c : worst;
        worst = s > worst ? s : worst;
    }
    CHECK(worst < 0.51L);
    int32_t start[2];
    convert_rotation(start, convert_frequency(10000, 3, 64, 1, 1), 0);
    CHECK(start[0] == 1 << 30 && start[1] == 0);
}

/* Bits that every machine must find; computed with 200 digits. */
static void test_vectors(void) {
    static const struct {
        float base, factor, other;
        uint32_t pair, dim, position;
        int32_t cos, sin;
    } v[] = {
#include "convert/test/rotation.inc"
    };
    for (size_t i = 0; i < ASY_COUNT(v); i++) {
        int32_t got[2];
        convert_rotation(got,
                         convert_frequency(v[i].base, v[i].pair, v[i].dim, v[i].factor, v[i].other),
                         v[i].position);
        CHECK(got[0] == v[i].cos && got[1] == v[i].sin);
    }
}

int main(void) {
    test_dyadic();
    test_gain_shift();
    test_normalise();
    test_rotation();
    test_vectors();
    return asy_test_end();
}
