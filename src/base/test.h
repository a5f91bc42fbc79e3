/* test.h: what unit tests share. A test is a program: main calls its cases and returns
 * asy_test_end(). Exit 0 passed, 1 failed, 77 skipped. Random tests take their seed from SEED= and
 * print it when something fails. Header only; test programs alone include it. */
#ifndef ASY_BASE_TEST_H
#define ASY_BASE_TEST_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/base.h"

static int asy_test_failures;
static uint64_t asy_test_seed_value;
static uint64_t asy_test_state;

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            asy_test_failures++;                                                                   \
            fprintf(stderr, "%s:%d: CHECK failed: %s\n", __FILE__, __LINE__, #cond);               \
        }                                                                                          \
    } while (0)
#define CHECK_U64(got, want)                                                                       \
    do {                                                                                           \
        uint64_t asy_got_ = (uint64_t)(got), asy_want_ = (uint64_t)(want);                         \
        if (asy_got_ != asy_want_) {                                                               \
            asy_test_failures++;                                                                   \
            fprintf(stderr, "%s:%d: %s is %" PRIu64 ", wanted %" PRIu64 "\n", __FILE__, __LINE__,  \
                    #got, asy_got_, asy_want_);                                                    \
        }                                                                                          \
    } while (0)
#define CHECK_ERR(call, want)                                                                      \
    do {                                                                                           \
        enum asy_err asy_got_ = (call);                                                            \
        if (asy_got_ != (want)) {                                                                  \
            asy_test_failures++;                                                                   \
            fprintf(stderr, "%s:%d: %s gave %s, wanted %s\n", __FILE__, __LINE__, #call,           \
                    asy_err_name(asy_got_), asy_err_name(want));                                   \
        }                                                                                          \
    } while (0)
#define CHECK_OK(call)       CHECK_ERR(call, ASY_OK)
#define CHECK_MEM(a, b, len) CHECK(memcmp((a), (b), (len)) == 0)
#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        const char *asy_got_ = (got), *asy_want_ = (want);                                         \
        if (strcmp(asy_got_, asy_want_) != 0) {                                                    \
            asy_test_failures++;                                                                   \
            fprintf(stderr, "%s:%d: %s is \"%s\", wanted \"%s\"\n", __FILE__, __LINE__, #got,      \
                    asy_got_, asy_want_);                                                          \
        }                                                                                          \
    } while (0)

/* splitmix64: good enough to vary tests, and the same everywhere for one SEED. */
__attribute__((unused)) static uint64_t asy_test_random(void) {
    if (asy_test_state == 0) {
        const char *seed = getenv("SEED");
        uint64_t now = (uint64_t)time(NULL) * 2654435761u + 1;
        /* allowed: a person types SEED, in decimal or hexadecimal */
        asy_test_seed_value = seed != NULL ? strtoull(seed, NULL, 0) : now;
        asy_test_state = asy_test_seed_value;
    }
    uint64_t z = (asy_test_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
__attribute__((unused)) static void asy_test_fill(void *p, size_t len) {
    uint8_t *bytes = p;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)asy_test_random();
    }
}

/* An environment that a test owns: mono_ns and wall_ms are what the test sets, random comes from
 * asy_test_random. */
struct asy_test_env {
    struct asy_env env;
    uint64_t mono_ns;
    uint64_t wall_ms;
};
__attribute__((unused)) static uint64_t asy_test_env_mono(void *arg) {
    return ((struct asy_test_env *)arg)->mono_ns;
}
__attribute__((unused)) static uint64_t asy_test_env_wall(void *arg) {
    return ((struct asy_test_env *)arg)->wall_ms;
}
__attribute__((unused)) static void asy_test_env_random(void *arg, void *p, size_t len) {
    (void)arg;
    asy_test_fill(p, len);
}
__attribute__((unused)) static void asy_test_env_init(struct asy_test_env *t) {
    t->env = (struct asy_env){asy_test_env_mono, asy_test_env_wall, asy_test_env_random, t};
    t->mono_ns = 1000000000u;
    t->wall_ms = 1800000000000u;
}

__attribute__((unused)) static int asy_test_skip(const char *why) {
    printf("SKIP: %s\n", why);
    return 77;
}
__attribute__((unused)) static int asy_test_end(void) {
    if (asy_test_failures != 0) {
        fprintf(stderr, "%d checks failed; SEED=%" PRIu64 "\n", asy_test_failures,
                asy_test_seed_value);
        return 1;
    }
    return 0;
}

#endif
