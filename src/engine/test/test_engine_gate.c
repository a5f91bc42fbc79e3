/* The gate against a plain model of it: text is decoded and searched from the beginning after every
 * token. */
#include "base/test.h"
#include "engine/engine.h"
#include "engine/gate_priv.h"

#define MAX_TEXT 4096

/* Is p the beginning of some character? Tries the ends of all ranges a continuation byte can
 * have. */
static bool can_begin(const uint8_t *p, size_t n) {
    static const uint8_t more[] = {0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf};
    for (size_t i = 0; n < 4 && i < 6 * 6 * 6; i++) {
        uint8_t c[4] = {0};
        memcpy(c, p, n);
        size_t pick = i;
        for (size_t k = n; k < 4; k++) {
            c[k] = more[pick % 6];
            pick /= 6;
        }
        for (size_t len = n + 1; len <= 4; len++) {
            if (asy_utf8_valid(asy_bytes_of(c, len)) && !asy_utf8_valid(asy_bytes_of(c, n))) {
                return true;
            }
        }
    }
    return false;
}

/* Clean text of raw; *ret_tail is the length of an unfinished character at its end, which is left
 * out. */
static size_t clean(char *ret, size_t *ret_tail, const uint8_t *raw, size_t len) {
    size_t n = 0, at = 0;
    *ret_tail = 0;
    while (at < len) {
        size_t rest = len - at < 4 ? len - at : 4, whole = 0, part = 0;
        for (size_t k = 1; k <= rest && whole == 0; k++) {
            whole = asy_utf8_valid(asy_bytes_of(raw + at, k)) ? k : 0;
        }
        for (size_t k = 1; k <= rest && whole == 0; k++) {
            part = can_begin(raw + at, k) ? k : part;
        }
        if (whole > 0) {
            memcpy(ret + n, raw + at, whole);
            n += whole;
            at += whole;
        } else if (part > 0 && at + part == len) {
            *ret_tail = part;
            return n;
        } else {
            memcpy(ret + n, "\xef\xbf\xbd", 3);
            n += 3;
            at += part > 0 ? part : 1;
        }
    }
    return n;
}

static const char *const alphabet[] = {
    "a",    "b",    "ab",       "aba",  "\n",   "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
    "\xff", "\xc3", "\xf0\x9f", "\xed", "\xe0", "\xf0",     "\xf4",         "\x80",
    "\x8f", "\x90", "\x9f",     "\xa0", "\xbf"};

struct sample {
    uint8_t raw[MAX_TEXT];
    size_t raw_end[64]; /* after each token */
    size_t count;
    struct asy_bytes stops[ASY_MAX_STOPS];
    size_t stop_count;
};

static void draw(struct sample *s) {
    static const char *const stops[] = {
        "aba", "abab", "b\n", "\xc3\xa9", "a\xf0\x9f\x98\x80", "bb", "\xef\xbf\xbd"};
    *s = (struct sample){.stop_count = asy_test_random() % (ASY_MAX_STOPS + 1)};
    for (size_t i = 0; i < s->stop_count; i++) {
        s->stops[i] = asy_bytes_cstr(stops[asy_test_random() % ASY_COUNT(stops)]);
    }
    size_t len = 0, pieces = asy_test_random() % 24;
    for (size_t i = 0; i < pieces; i++) {
        const char *piece = alphabet[asy_test_random() % ASY_COUNT(alphabet)];
        memcpy(s->raw + len, piece, strlen(piece));
        len += strlen(piece);
    }
    for (size_t at = 0; at < len && s->count < ASY_COUNT(s->raw_end) - 1;) {
        size_t step = asy_test_random() % 4; /* 0: a control token without text */
        at = at + step < len ? at + step : len;
        s->raw_end[s->count++] = at;
    }
}

/* What should be out after `count` tokens: how many ids, and of the text how much. */
static bool expect(const struct sample *s, size_t count, size_t *ret_ids, size_t *ret_len,
                   char *text) {
    size_t tail, n = clean(text, &tail, s->raw, s->raw_end[count - 1]);
    size_t stop_at = n, hold = 0;
    for (size_t i = 0; i < s->stop_count; i++) {
        struct asy_bytes stop = s->stops[i];
        for (size_t at = 0; at + stop.n <= n; at++) {
            if (memcmp(text + at, stop.p, stop.n) == 0 && at < stop_at) {
                stop_at = at;
            }
        }
        for (size_t k = 1; k < stop.n && k <= n; k++) {
            if (memcmp(text + n - k, stop.p, k) == 0 && k > hold) {
                hold = k;
            }
        }
    }
    if (stop_at < n) {
        *ret_ids = count;
        *ret_len = stop_at;
        return true;
    }
    *ret_ids = *ret_len = 0;
    char scratch[MAX_TEXT * 3];
    for (size_t i = 1; i <= count; i++) {
        size_t end = clean(scratch, &tail, s->raw, s->raw_end[i - 1]);
        if (tail == 0 && end <= n - hold) {
            *ret_ids = i;
            *ret_len = end;
        }
    }
    return false;
}

static size_t sample_piece(void *arg, char *ret, uint32_t id) {
    const struct sample *s = arg;
    size_t begin = id == 0 ? 0 : s->raw_end[id - 1], len = s->raw_end[id] - begin;
    memcpy(ret, s->raw + begin, len);
    return len;
}

static void check_sample(const struct sample *s) {
    struct asy_gate gate;
    asy_gate_init(&gate, s->stops, s->stop_count);
    char want[MAX_TEXT * 3], got[MAX_TEXT * 3];
    size_t got_len = 0, got_ids = 0, begin = 0, ids = 0, len = 0;
    bool stopped = false;
    for (size_t i = 0; i < s->count && !stopped; i++) {
        bool stop =
            asy_gate_push(&gate, (uint32_t)i, asy_bytes_of(s->raw + begin, s->raw_end[i] - begin));
        begin = s->raw_end[i];
        for (size_t k = 0; k < gate.out_count; k++) {
            CHECK_U64(gate.id[k], got_ids + k);
        }
        CHECK(asy_utf8_valid(asy_bytes_of(gate.text.p, gate.out_len)));
        memcpy(got + got_len, gate.text.p == NULL ? (const uint8_t *)"" : gate.text.p,
               gate.out_len);
        got_len += gate.out_len;
        got_ids += gate.out_count;
        asy_gate_take(&gate);
        stopped = expect(s, i + 1, &ids, &len, want);
        CHECK(stop == stopped);
        CHECK_U64(got_ids, ids);
        CHECK_U64(got_len, len);
        CHECK_MEM(got, want, len);
    }
    if (!stopped && s->count > 0) { /* the end: all comes out, an unfinished character as U+FFFD */
        size_t tail, n = clean(want, &tail, s->raw, s->raw_end[s->count - 1]);
        if (tail > 0) {
            memcpy(want + n, "\xef\xbf\xbd", 3);
            n += 3;
        }
        asy_gate_flush(&gate);
        memcpy(got + got_len, gate.text.p == NULL ? (const uint8_t *)"" : gate.text.p,
               gate.out_len);
        CHECK_U64(got_ids + gate.out_count, s->count);
        CHECK_U64(got_len + gate.out_len, n);
        CHECK_MEM(got, want, n);
    }
    asy_gate_done(&gate);
    uint32_t all[64];
    size_t at = 0;
    for (size_t i = 0; i < s->count; i++) {
        all[i] = (uint32_t)i;
    }
    while (at < s->count && !expect(s, at + 1, &ids, &len, want)) {
        at++;
    }
    CHECK_U64(asy_engine_stop_at(s->stops, s->stop_count, all, s->count, sample_piece,
                                 (void *)(uintptr_t)s),
              at);
}

static void test_known(void) {
    struct asy_gate gate;
    struct asy_bytes stops[] = {ASY_STR("END"), ASY_STR("\n\n")};
    asy_gate_init(&gate, stops, 2);
    CHECK(!asy_gate_push(&gate, 1, ASY_STR("one E")));
    CHECK_U64(gate.out_count, 0); /* "E" may become "END" */
    CHECK(!asy_gate_push(&gate, 2, ASY_STR("gg \xf0\x9f")));
    CHECK_U64(gate.out_count, 1); /* not any more, but the second token ends inside a character */
    CHECK_U64(gate.out_len, 5);
    CHECK_MEM(gate.text.p, "one E", 5);
    asy_gate_take(&gate);
    CHECK(!asy_gate_push(&gate, 3, ASY_STR("\x98\x80")));
    CHECK_U64(gate.out_count, 2);
    CHECK_U64(gate.out_len, 7);
    CHECK_MEM(gate.text.p, "gg \xf0\x9f\x98\x80", 7);
    asy_gate_take(&gate);
    CHECK(!asy_gate_push(&gate, 4, ASY_STR("xEN")));
    CHECK(asy_gate_push(&gate, 5, ASY_STR("D of it")));
    CHECK_U64(gate.out_count, 2);
    CHECK_U64(gate.out_len, 1);
    CHECK_MEM(gate.text.p, "x", 1);
    asy_gate_take(&gate);
    CHECK_U64(gate.text.n, 0);
    asy_gate_done(&gate);
}

int main(void) {
    test_known();
    for (int i = 0; i < 1500; i++) {
        struct sample s;
        draw(&s);
        check_sample(&s);
    }
    return asy_test_end();
}
