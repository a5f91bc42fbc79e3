/* Doubles in decimal: shortest round trip, ECMAScript form. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec_priv.h"

static double read_back(const char *digits, size_t len, int exp10) {
    char text[40]; /* no decimal point: the same in every locale */
    (void)snprintf(text, sizeof text, "%.*se%d", (int)len, digits, exp10);
    return strtod(text, NULL); /* allowed: no point in it, so no locale can change it */
}

/* Adds one to a decimal string of len digits; "99" becomes "10" with *exp10 one higher. */
static void increment(char *digits, size_t len, int *exp10) {
    size_t i = len;
    while (i > 0 && digits[i - 1] == '9') {
        digits[--i] = '0';
    }
    if (i > 0) {
        digits[i - 1]++;
        return;
    }
    digits[0] = '1'; /* all nines: the zeros after it are right already */
    (*exp10)++;
}

size_t asy_f64_digits(char ret_digits[ASY_F64_DIGITS], int *ret_exp10, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    bool power_of_two = (bits & ((UINT64_C(1) << 52) - 1)) == 0; /* no fraction bits */
    for (int len = 1;; len++) {
        ASY_ASSERT(len <= 17); /* 17 digits always read back */
        char sci[40], digits[ASY_F64_DIGITS];
        (void)snprintf(sci, sizeof sci, "%.*e", len - 1, v); /* d.ddde+xx, correctly rounded */
        const char *p = sci;
        int got = 0;
        for (; *p != 'e'; p++) {
            if (*p >= '0' && *p <= '9') {
                digits[got++] = *p;
            }
        }
        int exp10 = 0;
        for (const char *q = p + 2; *q != '\0'; q++) {
            exp10 = exp10 * 10 + (*q - '0');
        }
        exp10 = (p[1] == '-' ? -exp10 : exp10) - (len - 1);
        bool same = read_back(digits, (size_t)len, exp10) == v;
        if (!same && power_of_two) {
            /* the gap above a power of two is twice the gap below: the next decimal up may still
             * read back */
            increment(digits, (size_t)len, &exp10);
            same = read_back(digits, (size_t)len, exp10) == v;
        }
        if (same) {
            while (len > 1 && digits[len - 1] == '0') {
                len--;
                exp10++;
            }
            memcpy(ret_digits, digits, (size_t)len);
            ret_digits[len] = '\0';
            *ret_exp10 = exp10;
            return (size_t)len;
        }
    }
}

/* ECMA-262 section 6.1.6.1.20: the value is 0.DIGITS * 10^n, with k digits. */
size_t asy_f64_format(char ret_text[ASY_F64_TEXT], double v) {
    ASY_ASSERT(isfinite(v));
    if (v == 0) {
        memcpy(ret_text, "0", 2);
        return 1;
    }
    char d[ASY_F64_DIGITS];
    int exp10;
    int k = (int)asy_f64_digits(d, &exp10, fabs(v)), n = k + exp10, len;
    const char *sign = v < 0 ? "-" : "";
    if (k <= n && n <= 21) {
        len = snprintf(ret_text, ASY_F64_TEXT, "%s%s%.*s", sign, d, n - k, "00000000000000000000");
    } else if (0 < n && n <= 21) {
        len = snprintf(ret_text, ASY_F64_TEXT, "%s%.*s.%s", sign, n, d, d + n);
    } else if (-6 < n && n <= 0) {
        len = snprintf(ret_text, ASY_F64_TEXT, "%s0.%.*s%s", sign, -n, "00000", d);
    } else {
        len = snprintf(ret_text, ASY_F64_TEXT, "%s%.1s%s%se%c%d", sign, d, k > 1 ? "." : "", d + 1,
                       n - 1 < 0 ? '-' : '+', abs(n - 1));
    }
    return (size_t)len;
}
