#include "base/test.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- helpers ---- */

/* Runs body in a child and returns what waitpid gave; its standard error goes to fd_err when that
 * is not -1. */
static int in_child(void (*body)(void), int fd_err) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (fd_err >= 0) {
            dup2(fd_err, STDERR_FILENO);
        }
        body();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

/* A failure inside of a loop of millions: say so once. */
static void fail(const char *what) {
    fprintf(stderr, "test_base: %s\n", what);
    CHECK(false);
}

static struct asy_bytes str(const char *s) { return asy_bytes_cstr(s); }

/* ---- errors ---- */

static void test_errors(void) {
    static const struct {
        enum asy_err err;
        int value, http;
        const char *name, *text;
    } table[] = {
#define X(name, value, http, text) {ASY_ERR_##name, value, http, #name, text},
        ASY_ERR_TABLE(X)
#undef X
    };
    for (size_t i = 0; i < ASY_COUNT(table); i++) {
        CHECK((int)table[i].err == table[i].value);
        CHECK(table[i].value == -(int)i); /* no hole, no number twice */
        CHECK_STR(asy_err_name(table[i].err), table[i].name);
        CHECK_STR(asy_err_text(table[i].err), table[i].text);
        CHECK(asy_err_http(table[i].err) == table[i].http);
        CHECK(table[i].http >= 200 && table[i].http < 600);
        for (size_t k = 0; k < i; k++) {
            CHECK(strcmp(table[i].name, table[k].name) != 0);
        }
    }
    CHECK_STR(asy_err_name((enum asy_err) - 9999), "INTERNAL"); /* a number from a later version */
    CHECK(asy_err_http((enum asy_err) - 9999) == 500);
    CHECK(ASY_OK == 0);
}

static void test_why(void) {
    struct asy_why why;
    memset(&why, 'x', sizeof why);
    CHECK_ERR(asy_why_set(&why, ASY_ERR_RANGE, "n", "%d is more than %d", 7, 1), ASY_ERR_RANGE);
    CHECK_STR(why.text, "7 is more than 1");
    CHECK_STR(why.param, "n");
    CHECK_ERR(asy_why_set(&why, ASY_ERR_TYPE, NULL, "%s", ""), ASY_ERR_TYPE);
    CHECK_STR(why.text, "");
    CHECK_STR(why.param, "");
    CHECK_ERR(asy_why_set(NULL, ASY_ERR_TYPE, "n", "nobody listens"), ASY_ERR_TYPE);

    /* cut at every place inside of characters of 2, 3 and 4 bytes */
    static const char *const letters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t l = 0; l < ASY_COUNT(letters); l++) {
        for (size_t pad = 0; pad < 4; pad++) {
            struct asy_buf b;
            asy_buf_init(&b, 4096);
            CHECK_OK(asy_buf_add(&b, "abc", pad));
            for (int i = 0; i < 300; i++) {
                CHECK_OK(asy_buf_add_str(&b, letters[l]));
            }
            (void)asy_why_set(&why, ASY_ERR_SYNTAX, asy_buf_cstr(&b), "%s", asy_buf_cstr(&b));
            size_t len = strlen(letters[l]);
            CHECK(asy_utf8_valid(str(why.text)));
            CHECK(asy_utf8_valid(str(why.param)));
            CHECK_U64(strlen(why.text), pad + (sizeof why.text - 1 - pad) / len * len);
            CHECK_U64(strlen(why.param), pad + (sizeof why.param - 1 - pad) / len * len);
            asy_buf_done(&b);
        }
    }
}

static enum asy_err try_it(int *steps, enum asy_err err) {
    ++*steps;
    ASY_TRY(err);
    ++*steps;
    return ASY_OK;
}

static void fail_assert(void) { ASY_ASSERT(1 + 1 == 3); }

static void test_try_and_assert(void) {
    int steps = 0;
    CHECK_OK(try_it(&steps, ASY_OK));
    CHECK(steps == 2);
    CHECK_ERR(try_it(&steps, ASY_ERR_FULL), ASY_ERR_FULL);
    CHECK(steps == 3);

    FILE *f = tmpfile();
    CHECK(f != NULL);
    int status = in_child(fail_assert, fileno(f));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    char text[256] = "";
    rewind(f);
    CHECK(fgets(text, sizeof text, f) != NULL);
    CHECK(strstr(text, "test_base.c") != NULL && strstr(text, "1 + 1 == 3") != NULL);
    fclose(f);
}

/* ---- memory ---- */

static void test_memory(void) {
    uint8_t *p = asy_alloc(1000);
    for (int i = 0; i < 1000; i++) {
        CHECK(p[i] == 0);
        p[i] = (uint8_t)i;
    }
    p = asy_realloc(p, 5000);
    for (int i = 0; i < 1000; i++) {
        CHECK(p[i] == (uint8_t)i);
    }
    asy_secret_wipe(p, 1000);
    for (int i = 0; i < 1000; i++) {
        CHECK(p[i] == 0);
    }
    asy_secret_wipe(NULL, 0);
    asy_free(p);
    asy_free(NULL);
    asy_free(asy_alloc(0));

    uint8_t a[40], b[40];
    asy_test_fill(a, sizeof a);
    memcpy(b, a, sizeof a);
    CHECK(asy_secret_eq(a, b, sizeof a));
    CHECK(asy_secret_eq(NULL, NULL, 0));
    for (size_t i = 0; i < sizeof a; i++) {
        for (int bit = 0; bit < 8; bit++) {
            b[i] ^= (uint8_t)(1 << bit);
            CHECK(!asy_secret_eq(a, b, sizeof a));
            CHECK(asy_secret_eq(a, b, i));
            b[i] ^= (uint8_t)(1 << bit);
        }
    }
}

/* ---- bytes ---- */

static void test_bytes(void) {
    CHECK(asy_bytes_cstr(NULL).n == 0);
    CHECK(asy_bytes_eq(ASY_STR("abc"), str("abc")));
    CHECK(!asy_bytes_eq(ASY_STR("abc"), str("abd")));
    CHECK(!asy_bytes_eq(ASY_STR("abc"), str("ab")));
    CHECK(asy_bytes_eq(asy_bytes_of(NULL, 0), ASY_STR("")));
    CHECK(asy_bytes_eq(ASY_STR("a\0b"), asy_bytes_of("a\0b", 3)));
    CHECK(asy_bytes_starts(ASY_STR("abc"), ASY_STR("")));
    CHECK(asy_bytes_starts(ASY_STR("abc"), ASY_STR("abc")));
    CHECK(!asy_bytes_starts(ASY_STR("abc"), ASY_STR("abcd")));
    CHECK(!asy_bytes_starts(ASY_STR("abc"), ASY_STR("b")));

    struct asy_hash h = {{0}}, g = h;
    struct asy_addr x = {{0}}, y = x;
    CHECK(asy_hash_is_zero(&h) && asy_hash_eq(&h, &g) && asy_addr_is_zero(&x) &&
          asy_addr_eq(&x, &y));
    for (size_t i = 0; i < sizeof h.b; i++) {
        h.b[i] = 1;
        CHECK(!asy_hash_is_zero(&h) && !asy_hash_eq(&h, &g));
        h.b[i] = 0;
    }
    for (size_t i = 0; i < sizeof x.b; i++) {
        x.b[i] = 0x80;
        CHECK(!asy_addr_is_zero(&x) && !asy_addr_eq(&x, &y));
        x.b[i] = 0;
    }
}

static void test_to_u64(void) {
    static const struct {
        const char *in;
        enum asy_err err;
        uint64_t value;
    } table[] = {
        {"0", ASY_OK, 0},
        {"7", ASY_OK, 7},
        {"007", ASY_OK, 7},
        {"18446744073709551615", ASY_OK, UINT64_MAX},
        {"18446744073709551614", ASY_OK, UINT64_MAX - 1},
        {"18446744073709551616", ASY_ERR_OVERFLOW, 0},
        {"18446744073709551620", ASY_ERR_OVERFLOW, 0},
        {"99999999999999999999999", ASY_ERR_OVERFLOW, 0},
        {"", ASY_ERR_SYNTAX, 0},
        {"+1", ASY_ERR_SYNTAX, 0},
        {"-1", ASY_ERR_SYNTAX, 0},
        {" 1", ASY_ERR_SYNTAX, 0},
        {"1 ", ASY_ERR_SYNTAX, 0},
        {"1.0", ASY_ERR_SYNTAX, 0},
        {"1e3", ASY_ERR_SYNTAX, 0},
        {"0x10", ASY_ERR_SYNTAX, 0},
        {"1\xd9\xa1", ASY_ERR_SYNTAX, 0}, /* an Arabic digit */
    };
    for (size_t i = 0; i < ASY_COUNT(table); i++) {
        uint64_t v = 12345;
        CHECK_ERR(asy_bytes_to_u64(&v, str(table[i].in)), table[i].err);
        CHECK_U64(v, table[i].err == ASY_OK ? table[i].value : 12345); /* untouched on failure */
    }
    for (int i = 0; i < 10000; i++) {
        uint64_t want = asy_test_random() >> (asy_test_random() % 64), got = 0;
        char text[32];
        snprintf(text, sizeof text, "%" PRIu64, want);
        CHECK_OK(asy_bytes_to_u64(&got, str(text)));
        CHECK_U64(got, want);
    }
}

/* An independent reading of RFC 3629: decode the bits, then ask whether this is the shortest form
 * of a scalar value. */
static int utf8_len_model(const uint8_t *p, size_t n) {
    int len = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (len == 0 || (size_t)len > n) {
        return 0;
    }
    uint32_t cp = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (int i = 1; i < len; i++) {
        if (p[i] >> 6 != 2) {
            return 0;
        }
        cp = cp << 6 | (p[i] & 0x3fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    bool ok = cp >= least[len] && cp <= 0x10ffff && !(cp >= 0xd800 && cp <= 0xdfff);
    return ok ? len : 0;
}
static bool utf8_model(const uint8_t *p, size_t n) {
    while (n != 0) {
        int len = utf8_len_model(p, n);
        if (len == 0) {
            return false;
        }
        p += len;
        n -= (size_t)len;
    }
    return true;
}
static size_t utf8_encode(uint8_t *p, uint32_t cp) {
    if (cp < 0x80) {
        p[0] = (uint8_t)cp;
        return 1;
    }
    size_t len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--) {
        p[i] = (uint8_t)(0x80 | (cp & 0x3f));
        cp >>= 6;
    }
    p[0] = (uint8_t)(0xf00u >> len | cp);
    return len;
}

static void test_utf8(void) {
    uint8_t p[4];
    /* all strings of 1 and 2 bytes; of 3 bytes all whose first byte is not ASCII */
    for (unsigned a = 0; a < 256; a++) {
        p[0] = (uint8_t)a;
        CHECK(asy_utf8_valid(asy_bytes_of(p, 1)) == utf8_model(p, 1));
        for (unsigned b = 0; b < 256; b++) {
            p[1] = (uint8_t)b;
            CHECK(asy_utf8_valid(asy_bytes_of(p, 2)) == utf8_model(p, 2));
            for (unsigned c = 0; a >= 0x80 && c < 256; c++) {
                p[2] = (uint8_t)c;
                if (asy_utf8_valid(asy_bytes_of(p, 3)) != utf8_model(p, 3)) {
                    fail("3 bytes");
                    return;
                }
            }
        }
    }
    /* every scalar value passes, and its cut-off forms are seen as such; every surrogate fails */
    for (uint32_t cp = 0; cp <= 0x110fff; cp++) {
        size_t len = utf8_encode(p, cp);
        bool scalar = cp <= 0x10ffff && !(cp >= 0xd800 && cp <= 0xdfff);
        if (asy_utf8_valid(asy_bytes_of(p, len)) != scalar) {
            fail("scalar value");
            return;
        }
        for (size_t cut = 0; scalar && cut <= len; cut++) {
            if (asy_utf8_whole(asy_bytes_of(p, cut)) != (cut == len ? len : 0)) {
                fail("cut");
                return;
            }
        }
    }
    static const struct {
        const char *in;
        size_t len, whole;
        bool valid;
    } table[] = {
        {"", 0, 0, true},
        {"a\0b", 3, 3, true},              /* a zero byte is a character */
        {"\xc0\x80", 2, 2, false},         /* overlong zero */
        {"\xe0\x80\xaf", 3, 3, false},     /* overlong slash */
        {"\xf0\x80\x80\xaf", 4, 4, false}, /* the same in four bytes */
        {"\xed\xa0\x80", 3, 3, false},     /* a surrogate */
        {"\xf4\x90\x80\x80", 4, 4, false}, /* U+110000 */
        {"\xf5\x80\x80\x80", 4, 4, false}, /* no such first byte */
        {"\xfe", 1, 1, false},
        {"\x80", 1, 1, false},       /* nothing to continue */
        {"ab\xe2\x82", 4, 2, false}, /* cut off: two bytes wait */
        {"ab\xe2", 3, 2, false},
        {"ab\xf0\x9f\x98", 5, 2, false},
        {"ab\xf0\x9f\x98\x80", 6, 6, true},
        {"ab\xed\xa0", 4, 4, false}, /* can never become a character: does not wait */
        {"ab\xf4\x90", 4, 4, false},
        {"\xe2\x82\xac\xe2\x82", 5, 3, false},
        {"\xc3\xa9\xa9", 3, 3, false},
        {"\xbf\xbf\xbf\xbf", 4, 4, false},
        {"\xef\xbb\xbf", 3, 3, true}, /* byte order mark */
        {"\xef\xbf\xbf", 3, 3, true}, /* U+FFFF is a scalar value */
    };
    for (size_t i = 0; i < ASY_COUNT(table); i++) {
        struct asy_bytes in = asy_bytes_of(table[i].in, table[i].len);
        CHECK(asy_utf8_valid(in) == table[i].valid);
        CHECK_U64(asy_utf8_whole(in), table[i].whole);
    }
    CHECK(asy_utf8_valid(asy_bytes_of(NULL, 0)));
    CHECK(asy_utf8_whole(asy_bytes_of(NULL, 0)) == 0);
    /* property: a stream that is cut anywhere and put together again by asy_utf8_whole is the same
     * stream */
    for (int round = 0; round < 500; round++) {
        uint8_t text[256], exact[4];
        size_t n = 0;
        while (n < sizeof text - 4) {
            uint32_t cp = (uint32_t)(asy_test_random() % (1u << (7 + asy_test_random() % 15)));
            if (cp <= 0x10ffff && !(cp >= 0xd800 && cp <= 0xdfff)) {
                n += utf8_encode(text + n, cp);
            }
        }
        CHECK(asy_utf8_valid(asy_bytes_of(text, n)));
        size_t done = 0;
        for (size_t end = 0; end <= n; end += 1 + asy_test_random() % 5) {
            size_t whole = asy_utf8_whole(asy_bytes_of(text + done, end - done));
            CHECK(end - done - whole <= 3);
            CHECK(asy_utf8_valid(asy_bytes_of(text + done, whole)));
            memcpy(exact, text + done + whole, end - done - whole);
            CHECK(asy_utf8_whole(asy_bytes_of(exact, end - done - whole)) == 0);
            done += whole;
        }
        CHECK(asy_utf8_valid(asy_bytes_of(text + done, n - done)));
    }
}

/* ---- buffers ---- */

static void test_buf(void) {
    struct asy_buf b;
    asy_buf_init(&b, 10);
    CHECK_STR(asy_buf_cstr(&b), "");
    CHECK(asy_buf_bytes(&b).n == 0);
    CHECK_OK(asy_buf_add(&b, NULL, 0));
    CHECK_OK(asy_buf_add_str(&b, "01234"));
    CHECK_OK(asy_buf_add_u8(&b, '5'));
    CHECK_OK(asy_buf_add_bytes(&b, ASY_STR("678")));
    CHECK_ERR(asy_buf_add_str(&b, "9x"), ASY_ERR_TOO_LONG);
    CHECK_ERR(asy_buf_printf(&b, "%d", 90), ASY_ERR_TOO_LONG);
    CHECK_STR(asy_buf_cstr(&b), "012345678"); /* a failed append changes nothing */
    CHECK_OK(asy_buf_printf(&b, "%d", 9));
    CHECK_STR(asy_buf_cstr(&b), "0123456789");
    CHECK_ERR(asy_buf_add_u8(&b, 'x'), ASY_ERR_TOO_LONG);
    CHECK_ERR(asy_buf_add(&b, "", SIZE_MAX), ASY_ERR_TOO_LONG);
    CHECK_OK(asy_buf_add_str(&b, "")); /* nothing fits where nothing is left */
    asy_buf_consume(&b, 0);
    asy_buf_consume(&b, 3);
    CHECK_STR(asy_buf_cstr(&b), "3456789");
    CHECK_OK(asy_buf_add_str(&b, "abc"));
    CHECK_STR(asy_buf_cstr(&b), "3456789abc");
    asy_buf_consume(&b, 10);
    CHECK_STR(asy_buf_cstr(&b), "");
    CHECK_OK(asy_buf_add(&b, "a\0b", 3));
    CHECK(asy_bytes_eq(asy_buf_bytes(&b), ASY_STR("a\0b")));
    asy_buf_clear(&b);
    CHECK(b.n == 0 && b.p != NULL && b.p[0] == 0);
    asy_buf_done(&b);
    CHECK(b.p == NULL && b.max == 10);
    CHECK_OK(asy_buf_add_str(&b, "again"));
    asy_buf_done(&b);
    asy_buf_done(&b);

    asy_buf_init(&b, 0);
    CHECK_ERR(asy_buf_add_u8(&b, 1), ASY_ERR_TOO_LONG);
    CHECK_OK(asy_buf_add_str(&b, ""));
    CHECK_STR(asy_buf_cstr(&b), "");
    asy_buf_clear(&b);
    asy_buf_consume(&b, 0);
    asy_buf_done(&b);

    uint8_t *p = NULL;
    asy_buf_init(&b, 1000);
    CHECK_OK(asy_buf_reserve(&b, &p, 1000));
    memset(p, 'r', 1000);
    asy_buf_grow(&b, 400);
    CHECK(b.n == 400 && b.p[400] == 0);
    p = NULL;
    CHECK_ERR(asy_buf_reserve(&b, &p, 601), ASY_ERR_TOO_LONG);
    CHECK(p == NULL);
    asy_buf_done(&b);

    /* random appends and consumes against a plain array */
    enum { MAX = 5000 };
    uint8_t model[MAX];
    size_t n = 0;
    asy_buf_init(&b, MAX);
    for (int i = 0; i < 5000; i++) {
        uint8_t data[300];
        size_t len = asy_test_random() % sizeof data;
        asy_test_fill(data, len);
        if (asy_test_random() % 3 == 0) {
            len = len < n ? len : n;
            asy_buf_consume(&b, len);
            memmove(model, model + len, n - len);
            n -= len;
        } else if (n + len <= MAX) {
            CHECK_OK(asy_buf_add(&b, data, len));
            memcpy(model + n, data, len);
            n += len;
        } else {
            CHECK_ERR(asy_buf_add(&b, data, len), ASY_ERR_TOO_LONG);
        }
        CHECK(b.n == n && memcmp(asy_buf_bytes(&b).p != NULL ? b.p : model, model, n) == 0);
        CHECK(asy_buf_cstr(&b)[n] == 0);
    }
    asy_buf_done(&b);
}

static void over_grow(void) {
    struct asy_buf b;
    uint8_t *p;
    asy_buf_init(&b, 64);
    CHECK_OK(asy_buf_reserve(&b, &p, 8));
    asy_buf_grow(&b, 10000);
}
static void over_consume(void) {
    struct asy_buf b;
    asy_buf_init(&b, 64);
    asy_buf_consume(&b, 1);
}
static void test_buf_bugs(void) {
    FILE *f = tmpfile();
    CHECK(f != NULL);
    int status = in_child(over_grow, fileno(f));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = in_child(over_consume, fileno(f));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    fclose(f);
}

/* ---- arenas ---- */

static void test_arena(void) {
    struct asy_arena a;
    asy_arena_init(&a, 100000);
    CHECK(asy_arena_alloc(&a, 100001) == NULL);
    CHECK(asy_arena_alloc(&a, SIZE_MAX) == NULL);
    for (int round = 0; round < 20; round++) {
        uint8_t *p[200];
        size_t len[200], count = 0, used = 0;
        while (count < ASY_COUNT(p)) {
            size_t want =
                asy_test_random() % 4 == 0 ? asy_test_random() % 20000 : asy_test_random() % 50;
            uint8_t *q = asy_arena_alloc(&a, want);
            CHECK((q != NULL) == (used + want <= 100000)); /* exactly at the ceiling */
            if (q == NULL) {
                break;
            }
            CHECK((uintptr_t)q % _Alignof(max_align_t) == 0);
            for (size_t i = 0; i < want; i++) {
                CHECK(q[i] == 0); /* also in memory that was used before the reset */
            }
            memset(q, (int)count + 1, want);
            p[count] = q;
            len[count++] = want;
            used += want;
        }
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < len[i]; k++) {
                if (p[i][k] != (uint8_t)(i + 1)) {
                    fail("two pieces overlap");
                    return;
                }
            }
        }
        asy_arena_reset(&a);
        CHECK(a.used == 0);
    }
    CHECK(asy_arena_alloc(&a, 100000) != NULL);
    CHECK(asy_arena_alloc(&a, 1) == NULL);
    CHECK(asy_arena_alloc(&a, 0) != NULL);
    asy_arena_done(&a);
    asy_arena_done(&a);
    CHECK(asy_arena_alloc(&a, 1) != NULL);
    asy_arena_done(&a);

    asy_arena_init(&a, 4);
    char *s = asy_arena_str(&a, ASY_STR("abc"));
    CHECK(s != NULL && strcmp(s, "abc") == 0);
    asy_arena_reset(&a);
    CHECK(asy_arena_str(&a, ASY_STR("abcd")) == NULL); /* the zero byte counts */
    CHECK(asy_arena_str(&a, asy_bytes_of("", SIZE_MAX)) == NULL);
    s = asy_arena_str(&a, asy_bytes_of(NULL, 0));
    CHECK(s != NULL && s[0] == 0);
    asy_arena_done(&a);
}

/* ---- integers ---- */

/* Random numbers with few or many bits, and the edges. */
static uint64_t any_u64(void) {
    static const uint64_t edges[] = {
        0, 1, 2, UINT32_MAX, (uint64_t)UINT32_MAX + 1, INT64_MAX, UINT64_MAX - 1, UINT64_MAX};
    uint64_t r = asy_test_random();
    return r % 4 == 0 ? edges[r / 4 % ASY_COUNT(edges)] : asy_test_random() >> (r % 64);
}
static asy_u128 any_u128(void) {
    asy_u128 v = (asy_u128)any_u64() << 64 | any_u64();
    return v >> (asy_test_random() % 2 == 0 ? 0 : asy_test_random() % 128);
}
/* The high half of a 128 x 128 product, from 64-bit parts: schoolbook, independent of the
 * compiler's overflow flag. */
static bool product_fits(asy_u128 a, asy_u128 b) {
    asy_u128 a1 = a >> 64, a0 = (uint64_t)a, b1 = b >> 64, b0 = (uint64_t)b;
    asy_u128 mid = a1 * b0 + (a0 * b0 >> 64); /* < 2^128: (2^64 - 1)^2 + 2^64 - 1 */
    asy_u128 mid2 = a0 * b1 + (uint64_t)mid;
    return a1 * b1 + (mid >> 64) + (mid2 >> 64) == 0;
}

static void test_integers(void) {
    for (int i = 0; i < 200000; i++) {
        uint64_t a = any_u64(), b = any_u64(), r = 42;
        asy_u128 sum = (asy_u128)a + b, product = (asy_u128)a * b;
        CHECK(asy_add_u64(&r, a, b) == (sum <= UINT64_MAX));
        CHECK_U64(r, sum <= UINT64_MAX ? (uint64_t)sum : 42);
        r = 42;
        CHECK(asy_mul_u64(&r, a, b) == (product <= UINT64_MAX));
        CHECK_U64(r, product <= UINT64_MAX ? (uint64_t)product : 42);

        asy_u128 x = any_u128(), y = any_u128(), z = 42;
        bool ok = x <= ~(asy_u128)0 - y;
        CHECK(asy_add_u128(&z, x, y) == ok);
        CHECK(z == (ok ? x + y : 42));
        z = 42;
        CHECK(asy_sub_u128(&z, x, y) == (x >= y));
        CHECK(z == (x >= y ? x - y : 42));
        z = 42;
        ok = product_fits(x, y);
        CHECK(asy_mul_u128(&z, x, y) == ok);
        CHECK(z == (ok ? x * y : 42));
        /* the result may be one of the arguments */
        asy_u128 w = x;
        CHECK(asy_mul_u128(&w, w, y) == ok);
        CHECK(w == (ok ? x * y : x));
    }
}

static void test_endian(void) {
    const uint8_t p[17] = {0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    uint8_t q[18];
    CHECK_U64(asy_le32_get(p + 1), 0x04030201);
    CHECK_U64(asy_le64_get(p + 1), 0x0807060504030201);
    CHECK_U64(asy_be16_get(p + 1), 0x0102);
    CHECK_U64(asy_be32_get(p + 1), 0x01020304);
    CHECK_U64(asy_be64_get(p + 1), 0x0102030405060708);
    CHECK(asy_be128_get(p + 1) == ((asy_u128)0x0102030405060708 << 64 | 0x090a0b0c0d0e0f10));
    for (int i = 0; i < 10000; i++) {
        uint64_t v = asy_test_random();
        asy_u128 w = (asy_u128)v << 64 | asy_test_random();
        static const size_t len[] = {2, 4, 4, 8, 8, 16};
        for (size_t k = 0; k < ASY_COUNT(len); k++) {
            memset(q, 0xaa, sizeof q);
            switch (k) { /* at an odd address */
            case 0:
                asy_be16_put(q + 1, (uint16_t)v);
                CHECK(asy_be16_get(q + 1) == (uint16_t)v);
                break;
            case 1:
                asy_be32_put(q + 1, (uint32_t)v);
                CHECK(asy_be32_get(q + 1) == (uint32_t)v);
                break;
            case 2:
                asy_le32_put(q + 1, (uint32_t)v);
                CHECK(asy_le32_get(q + 1) == (uint32_t)v);
                break;
            case 3:
                asy_be64_put(q + 1, v);
                CHECK(asy_be64_get(q + 1) == v);
                break;
            case 4:
                asy_le64_put(q + 1, v);
                CHECK(asy_le64_get(q + 1) == v);
                break;
            default:
                asy_be128_put(q + 1, w);
                CHECK(asy_be128_get(q + 1) == w);
                break;
            }
            CHECK(q[0] == 0xaa && q[1 + len[k]] == 0xaa);
        }
    }
}

/* ---- environment ---- */

static void test_env(void) {
    const struct asy_env *env = asy_env_system();
    uint64_t last = asy_env_mono_ns(env);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = asy_env_mono_ns(env);
        CHECK(now >= last);
        last = now;
    }
    CHECK(asy_env_wall_ms(env) > 1700000000000u); /* after November 2023 */
    uint8_t a[1000] = {0}, b[1000] = {0};
    asy_env_random(env, a, sizeof a);
    asy_env_random(env, b, sizeof b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    size_t ones = 0;
    for (size_t i = 0; i < sizeof a; i++) {
        ones += (size_t)__builtin_popcount(a[i]);
    }
    CHECK(ones > 3500 && ones < 4500); /* 11 standard deviations of 8,000 fair bits */
    asy_env_random(env, NULL, 0);

    struct asy_test_env t;
    asy_test_env_init(&t);
    t.mono_ns = 5;
    t.wall_ms = 6;
    CHECK_U64(asy_env_mono_ns(&t.env), 5);
    CHECK_U64(asy_env_wall_ms(&t.env), 6);
}

/* ---- logging ---- */

static void write_logs(void) {
    static char huge[5000];
    memset(huge, 'h', sizeof huge - 1);
    asy_log_init("tester", ASY_LOG_INFO);
    asy_log(ASY_LOG_DEBUG, "hidden", "n=%d", 1);
    asy_log(ASY_LOG_INFO, "shown", "n=%d", 2);
    asy_log(ASY_LOG_ODD, "long", "%s", huge);
    asy_log(ASY_LOG_ODD, huge, "%s", huge);
    asy_log(ASY_LOG_BROKEN, "forged", "peer=%s", "x\n2027-01-01 broken tester\r\x1b[2J\x7f");
    for (int pad = 0; pad < 4; pad++) {
        char text[2000];
        size_t n = (size_t)pad;
        memset(text, 'p', n);
        while (n + 5 < sizeof text) {
            memcpy(text + n, "\xf0\x9f\x98\x80", 4);
            n += 4;
        }
        text[n] = 0;
        asy_log(ASY_LOG_INFO, "utf8", "%s", text);
    }
    asy_log_init("tester", ASY_LOG_TRACE);
    asy_log(ASY_LOG_TRACE, "last", "%s", "");
}

static void test_log(void) {
    FILE *f = tmpfile();
    CHECK(f != NULL);
    CHECK(in_child(write_logs, fileno(f)) == 0);
    rewind(f);
    static const char *const starts[] = {
        "info   tester shown n=2", "odd    tester long hhh",
        "odd    tester hhhh",      "broken tester forged peer=x?2027-01-01 broken tester??[2J?",
        "info   tester utf8 ",     "info   tester utf8 p",
        "info   tester utf8 pp",   "info   tester utf8 ppp",
        "trace  tester last "};
    char line[4096];
    size_t count = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        size_t n = strlen(line);
        CHECK(n > 26 && n <= 1024 && line[n - 1] == '\n');
        CHECK(asy_utf8_valid(asy_bytes_of(line, n)));
        CHECK(line[4] == '-' && line[10] == 'T' && line[23] == 'Z' && line[24] == ' ');
        CHECK(count < ASY_COUNT(starts) &&
              strncmp(line + 25, starts[count], strlen(starts[count])) == 0);
        count++;
    }
    CHECK_U64(count, ASY_COUNT(starts));
    fclose(f);

    enum asy_log_level level = ASY_LOG_ODD;
    CHECK_OK(asy_log_level_parse(&level, ASY_STR("trace")));
    CHECK(level == ASY_LOG_TRACE);
    CHECK_OK(asy_log_level_parse(&level, ASY_STR("broken")));
    CHECK(level == ASY_LOG_BROKEN);
    CHECK_ERR(asy_log_level_parse(&level, ASY_STR("Broken")), ASY_ERR_UNKNOWN);
    CHECK_ERR(asy_log_level_parse(&level, ASY_STR("")), ASY_ERR_UNKNOWN);
    CHECK(level == ASY_LOG_BROKEN);
}

/* ---- metrics ---- */

static void *count_up(void *arg) {
    (void)arg;
    for (int i = 0; i < 100000; i++) {
        asy_metric_add(ASY_M_tokens_out_total, 1);
    }
    return NULL;
}

static void test_metrics(void) {
    pthread_t t[4];
    for (size_t i = 0; i < ASY_COUNT(t); i++) {
        CHECK(pthread_create(&t[i], NULL, count_up, NULL) == 0);
    }
    for (size_t i = 0; i < ASY_COUNT(t); i++) {
        CHECK(pthread_join(t[i], NULL) == 0);
    }
    CHECK_U64(asy_metric_get(ASY_M_tokens_out_total), 400000);
    asy_metric_set(ASY_M_http_conns, 7);
    asy_metric_set(ASY_M_http_conns, UINT64_MAX);
    CHECK_U64(asy_metric_get(ASY_M_http_conns), UINT64_MAX);

    struct asy_buf b;
    asy_buf_init(&b, 100);
    CHECK_ERR(asy_metrics_format(&b), ASY_ERR_TOO_LONG);
    asy_buf_done(&b);
    asy_buf_init(&b, 1 << 20);
    CHECK_OK(asy_metrics_format(&b));
    const char *text = asy_buf_cstr(&b);
    CHECK(strstr(text, "# TYPE assay_tokens_out_total counter\nassay_tokens_out_total 400000\n") !=
          NULL);
    CHECK(strstr(text, "# TYPE assay_http_conns gauge\nassay_http_conns 18446744073709551615\n") !=
          NULL);
    CHECK(b.n > 0 && text[b.n - 1] == '\n');
    /* the text format: per metric HELP, TYPE, sample; names of [a-z0-9_]; counters end in _total,
     * gauges do not */
    size_t metrics = 0;
    char copy[1 << 16];
    CHECK(b.n < sizeof copy);
    memcpy(copy, text, b.n + 1);
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char name[100], type[20] = "", sample[100];
        int n = 0;
        /* allowed: a test reads what it wrote */
        CHECK(sscanf(line, "# HELP assay_%99[a-z0-9_] %n", name, &n) == 1 && line[n] != 0);
        line = strtok_r(NULL, "\n", &save);
        /* allowed: a test reads what it wrote */
        CHECK(line != NULL && sscanf(line, "# TYPE assay_%99s %19s", sample, type) == 2 &&
              strcmp(name, sample) == 0);
        line = strtok_r(NULL, "\n", &save);
        /* allowed: a test reads what it wrote */
        CHECK(line != NULL && sscanf(line, "assay_%99s %*u", sample) == 1 &&
              strcmp(name, sample) == 0);
        size_t len = strlen(name);
        bool total = len > 6 && strcmp(name + len - 6, "_total") == 0;
        CHECK(total == (strcmp(type, "counter") == 0));
        metrics++;
    }
    CHECK_U64(metrics, ASY_M_COUNT);
    asy_buf_done(&b);
}

int main(void) {
    test_errors();
    test_why();
    test_try_and_assert();
    test_memory();
    test_bytes();
    test_to_u64();
    test_utf8();
    test_buf();
    test_buf_bugs();
    test_arena();
    test_integers();
    test_endian();
    test_env();
    test_log();
    test_metrics();
    return asy_test_end();
}
