#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- errors ---------------------------------------------------------------------------------- */

const char *asy_err_name(enum asy_err err) {
    switch (err) {
#define X(name, value, http, text)                                                                 \
    case ASY_ERR_##name:                                                                           \
        return #name;
        ASY_ERR_TABLE(X)
#undef X
    }
    return "INTERNAL";
}

const char *asy_err_text(enum asy_err err) {
    switch (err) {
#define X(name, value, http, text)                                                                 \
    case ASY_ERR_##name:                                                                           \
        return text;
        ASY_ERR_TABLE(X)
#undef X
    }
    return "an internal failure";
}

int asy_err_http(enum asy_err err) {
    switch (err) {
#define X(name, value, http, text)                                                                 \
    case ASY_ERR_##name:                                                                           \
        return http;
        ASY_ERR_TABLE(X)
#undef X
    }
    return 500;
}

/* Cuts a character that vsnprintf may have torn. */
static void trim_utf8(char *s) { s[asy_utf8_whole(asy_bytes_cstr(s))] = '\0'; }

enum asy_err asy_why_set(struct asy_why *why, enum asy_err err, const char *param, const char *fmt,
                         ...) {
    if (why == NULL) {
        return err;
    }
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why->text, sizeof why->text, fmt, ap); /* cut at the field's size */
    va_end(ap);
    (void)snprintf(why->param, sizeof why->param, "%s", param != NULL ? param : "");
    trim_utf8(why->text);
    trim_utf8(why->param);
    return err;
}

_Noreturn void asy_assert_failed(const char *file, int line, const char *cond) {
    fprintf(stderr, "%s:%d: bug: %s does not hold\n", file, line, cond);
    abort();
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *asy_alloc(size_t len) {
    void *p = calloc(1, len != 0 ? len : 1);
    ASY_ASSERT(p != NULL);
    return p;
}

void *asy_alloc_aligned(size_t len, size_t align) {
    size_t whole = (len + align - 1) / align * align;
    void *p = aligned_alloc(align, whole != 0 ? whole : align);
    ASY_ASSERT(p != NULL);
    memset(p, 0, whole);
    return p;
}

void *asy_realloc(void *p, size_t len) {
    void *q = realloc(p, len != 0 ? len : 1);
    ASY_ASSERT(q != NULL);
    return q;
}

void asy_free(void *p) { free(p); }

void asy_secret_wipe(void *p, size_t len) {
    if (len != 0) {
        explicit_bzero(p, len);
    }
}

bool asy_secret_eq(const void *a, const void *b, size_t len) {
    const volatile uint8_t *x = a, *y = b;
    unsigned diff = 0;
    for (size_t i = 0; i < len; i++) {
        diff |= (unsigned)(x[i] ^ y[i]);
    }
    return diff == 0;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

struct asy_bytes asy_bytes_of(const void *p, size_t len) {
    return (struct asy_bytes){p, len};
}

struct asy_bytes asy_bytes_cstr(const char *s) {
    return (struct asy_bytes){(const uint8_t *)s, s != NULL ? strlen(s) : 0};
}

bool asy_bytes_eq(struct asy_bytes a, struct asy_bytes b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool asy_bytes_starts(struct asy_bytes a, struct asy_bytes prefix) {
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

enum asy_err asy_bytes_to_u64(uint64_t *ret_value, struct asy_bytes in) {
    if (in.n == 0) {
        return ASY_ERR_SYNTAX;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] < '0' || in.p[i] > '9') {
            return ASY_ERR_SYNTAX;
        }
        if (!asy_mul_u64(&v, v, 10) || !asy_add_u64(&v, v, (uint64_t)(in.p[i] - '0'))) {
            return ASY_ERR_OVERFLOW;
        }
    }
    *ret_value = v;
    return ASY_OK;
}

/* Length of the valid character at p (1..4), 0 if it is cut off after valid bytes, -1 if it is
 * wrong. */
static int utf8_step(const uint8_t *p, size_t left) {
    uint8_t c = p[0];
    if (c < 0x80) {
        return 1;
    }
    int len = c >= 0xc2 && c <= 0xdf   ? 2
              : c >= 0xe0 && c <= 0xef ? 3
              : c >= 0xf0 && c <= 0xf4 ? 4
                                       : -1;
    if (len < 0) {
        return -1;
    }
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= left) {
            return 0;
        }
        uint8_t d = p[i], lo = 0x80, hi = 0xbf;
        if (i == 1) { /* RFC 3629 section 4: no overlong forms, no surrogates, at most U+10FFFF */
            lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
            hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        }
        if (d < lo || d > hi) {
            return -1;
        }
    }
    return len;
}

bool asy_utf8_valid(struct asy_bytes in) {
    for (size_t i = 0; i < in.n;) {
        int step = utf8_step(in.p + i, in.n - i);
        if (step <= 0) {
            return false;
        }
        i += (size_t)step;
    }
    return true;
}

size_t asy_utf8_whole(struct asy_bytes in) {
    /* only the last character can be cut off: look at most 3 bytes back for its first byte */
    for (size_t back = 1; back <= 3 && back <= in.n; back++) {
        uint8_t c = in.p[in.n - back];
        if (c >= 0xc0) {
            return utf8_step(in.p + in.n - back, back) == 0 ? in.n - back : in.n;
        }
        if (c < 0x80) {
            break;
        }
    }
    return in.n;
}

bool asy_hash_eq(const struct asy_hash *a, const struct asy_hash *b) {
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}
bool asy_hash_is_zero(const struct asy_hash *a) {
    static const struct asy_hash zero;
    return asy_hash_eq(a, &zero);
}
bool asy_addr_eq(const struct asy_addr *a, const struct asy_addr *b) {
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}
bool asy_addr_is_zero(const struct asy_addr *a) {
    static const struct asy_addr zero;
    return asy_addr_eq(a, &zero);
}

/* ---- growing output -------------------------------------------------------------------------- */

void asy_buf_init(struct asy_buf *buf, size_t max_len) {
    ASY_ASSERT(max_len < SIZE_MAX / 4); /* so that doubling and the zero byte cannot overflow */
    *buf = (struct asy_buf){.p = NULL, .n = 0, .cap = 0, .max = max_len};
}

void asy_buf_done(struct asy_buf *buf) {
    asy_free(buf->p);
    asy_buf_init(buf, buf->max);
}

void asy_buf_clear(struct asy_buf *buf) {
    buf->n = 0;
    if (buf->p != NULL) {
        buf->p[0] = '\0';
    }
}

enum asy_err asy_buf_reserve(struct asy_buf *buf, uint8_t **ret_p, size_t len) {
    if (len > buf->max || buf->n > buf->max - len) {
        return ASY_ERR_TOO_LONG;
    }
    size_t need = buf->n + len + 1; /* the zero byte behind */
    if (need > buf->cap) {
        size_t cap = buf->cap != 0 ? buf->cap : 64;
        while (cap < need) {
            cap *= 2;
        }
        buf->p = asy_realloc(buf->p, cap);
        buf->cap = cap;
    }
    *ret_p = buf->p + buf->n;
    return ASY_OK;
}

void asy_buf_grow(struct asy_buf *buf, size_t len) {
    ASY_ASSERT(buf->n + len < buf->cap);
    buf->n += len;
    buf->p[buf->n] = '\0';
}

enum asy_err asy_buf_add(struct asy_buf *buf, const void *p, size_t len) {
    uint8_t *to;
    ASY_TRY(asy_buf_reserve(buf, &to, len));
    if (len != 0) {
        memcpy(to, p, len);
    }
    asy_buf_grow(buf, len);
    return ASY_OK;
}

enum asy_err asy_buf_add_bytes(struct asy_buf *buf, struct asy_bytes in) {
    return asy_buf_add(buf, in.p, in.n);
}

enum asy_err asy_buf_add_str(struct asy_buf *buf, const char *s) {
    return asy_buf_add(buf, s, strlen(s));
}

enum asy_err asy_buf_add_u8(struct asy_buf *buf, uint8_t byte) {
    return asy_buf_add(buf, &byte, 1);
}

enum asy_err asy_buf_printf(struct asy_buf *buf, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASY_ASSERT(len >= 0);
    uint8_t *to;
    enum asy_err err = asy_buf_reserve(buf, &to, (size_t)len);
    if (err == ASY_OK) {
        (void)vsnprintf((char *)to, (size_t)len + 1, fmt, again); /* measured above */
        asy_buf_grow(buf, (size_t)len);
    }
    va_end(again);
    return err;
}

void asy_buf_consume(struct asy_buf *buf, size_t len) {
    ASY_ASSERT(len <= buf->n);
    if (len == 0) {
        return;
    }
    memmove(buf->p, buf->p + len, buf->n - len);
    buf->n -= len;
    buf->p[buf->n] = '\0';
}

struct asy_bytes asy_buf_bytes(const struct asy_buf *buf) {
    return (struct asy_bytes){buf->p, buf->n};
}

const char *asy_buf_cstr(const struct asy_buf *buf) {
    return buf->p != NULL ? (const char *)buf->p : "";
}

/* ---- files ----------------------------------------------------------------------------------- */

enum asy_err asy_file_map(struct asy_bytes *ret_map, const char *path, struct asy_why *why) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return asy_why_set(why, errno == ENOENT ? ASY_ERR_NOT_FOUND : ASY_ERR_IO, NULL, "%s: %s",
                           path, strerror(errno));
    }
    void *p = MAP_FAILED;
    errno = EINVAL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    }
    int error = errno;
    (void)close(fd); /* nothing was written */
    if (p == MAP_FAILED) {
        return asy_why_set(why, ASY_ERR_IO, NULL, "%s: %s", path, strerror(error));
    }
    *ret_map = asy_bytes_of(p, (size_t)st.st_size);
    return ASY_OK;
}

void asy_file_unmap(struct asy_bytes map) {
    if (map.n != 0) {
        (void)munmap((void *)(uintptr_t)map.p, map.n); /* a mapping of ours: cannot fail */
    }
}

/* ---- arenas ---------------------------------------------------------------------------------- */

enum { ARENA_BLOCK = 8192 };

struct asy_arena_block {
    struct asy_arena_block *next;
    size_t used, cap;
    _Alignas(max_align_t) uint8_t data[];
};

void asy_arena_init(struct asy_arena *arena, size_t max_len) {
    ASY_ASSERT(max_len < SIZE_MAX / 4); /* so that aligning cannot overflow */
    *arena = (struct asy_arena){.first = NULL, .used = 0, .max = max_len};
}

static void arena_free_from(struct asy_arena_block *block) {
    while (block != NULL) {
        struct asy_arena_block *next = block->next;
        asy_free(block);
        block = next;
    }
}

void asy_arena_reset(struct asy_arena *arena) {
    if (arena->first != NULL) {
        arena_free_from(arena->first->next);
        arena->first->next = NULL;
        memset(arena->first->data, 0, arena->first->used);
        arena->first->used = 0;
    }
    arena->used = 0;
}

void asy_arena_done(struct asy_arena *arena) {
    arena_free_from(arena->first);
    arena->first = NULL;
    arena->used = 0;
}

void *asy_arena_alloc(struct asy_arena *arena, size_t len) {
    size_t align = _Alignof(max_align_t);
    if (len > arena->max || arena->used > arena->max - len) {
        return NULL;
    }
    size_t need = (len + align - 1) / align * align;
    struct asy_arena_block *block = arena->first;
    if (block == NULL || block->cap - block->used < need) {
        size_t cap = need > ARENA_BLOCK ? need : ARENA_BLOCK;
        block = asy_alloc(sizeof *block + cap);
        block->cap = cap;
        block->next = arena->first;
        arena->first = block;
    }
    void *p = block->data + block->used;
    block->used += need;
    arena->used += len;
    return p;
}

char *asy_arena_str(struct asy_arena *arena, struct asy_bytes in) {
    char *s = in.n < SIZE_MAX ? asy_arena_alloc(arena, in.n + 1) : NULL;
    if (s != NULL && in.n != 0) {
        memcpy(s, in.p, in.n);
    }
    return s;
}

/* ---- integers -------------------------------------------------------------------------------- */

bool asy_add_u64(uint64_t *ret, uint64_t a, uint64_t b) {
    uint64_t r;
    bool ok = !__builtin_add_overflow(a, b, &r);
    if (ok) {
        *ret = r;
    }
    return ok;
}
bool asy_mul_u64(uint64_t *ret, uint64_t a, uint64_t b) {
    uint64_t r;
    bool ok = !__builtin_mul_overflow(a, b, &r);
    if (ok) {
        *ret = r;
    }
    return ok;
}
bool asy_add_u128(asy_u128 *ret, asy_u128 a, asy_u128 b) {
    asy_u128 r;
    bool ok = !__builtin_add_overflow(a, b, &r);
    if (ok) {
        *ret = r;
    }
    return ok;
}
bool asy_sub_u128(asy_u128 *ret, asy_u128 a, asy_u128 b) {
    asy_u128 r;
    bool ok = !__builtin_sub_overflow(a, b, &r);
    if (ok) {
        *ret = r;
    }
    return ok;
}
bool asy_mul_u128(asy_u128 *ret, asy_u128 a, asy_u128 b) {
    asy_u128 r;
    bool ok = !__builtin_mul_overflow(a, b, &r);
    if (ok) {
        *ret = r;
    }
    return ok;
}

static uint64_t get(const uint8_t *p, int len, bool big) {
    uint64_t v = 0;
    for (int i = 0; i < len; i++) {
        v = v << 8 | p[big ? i : len - 1 - i];
    }
    return v;
}
static void put(uint8_t *p, int len, bool big, uint64_t v) {
    for (int i = 0; i < len; i++) {
        p[big ? len - 1 - i : i] = (uint8_t)(v >> (8 * i));
    }
}
uint32_t asy_le32_get(const uint8_t *p) { return (uint32_t)get(p, 4, false); }
uint64_t asy_le64_get(const uint8_t *p) { return get(p, 8, false); }
void asy_le32_put(uint8_t *p, uint32_t v) { put(p, 4, false, v); }
void asy_le64_put(uint8_t *p, uint64_t v) { put(p, 8, false, v); }
uint16_t asy_be16_get(const uint8_t *p) { return (uint16_t)get(p, 2, true); }
uint32_t asy_be32_get(const uint8_t *p) { return (uint32_t)get(p, 4, true); }
uint64_t asy_be64_get(const uint8_t *p) { return get(p, 8, true); }
asy_u128 asy_be128_get(const uint8_t *p) {
    return (asy_u128)get(p, 8, true) << 64 | get(p + 8, 8, true);
}
void asy_be16_put(uint8_t *p, uint16_t v) { put(p, 2, true, v); }
void asy_be32_put(uint8_t *p, uint32_t v) { put(p, 4, true, v); }
void asy_be64_put(uint8_t *p, uint64_t v) { put(p, 8, true, v); }
void asy_be128_put(uint8_t *p, asy_u128 v) {
    put(p, 8, true, (uint64_t)(v >> 64));
    put(p + 8, 8, true, (uint64_t)v);
}

/* ---- environment ----------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t id) {
    struct timespec ts;
    ASY_ASSERT(clock_gettime(id, &ts) == 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
static uint64_t system_mono_ns(void *arg) {
    (void)arg;
    return clock_ns(CLOCK_MONOTONIC);
}
static uint64_t system_wall_ms(void *arg) {
    (void)arg;
    return clock_ns(CLOCK_REALTIME) / 1000000u;
}
static void system_random(void *arg, void *ret_p, size_t len) {
    (void)arg;
    uint8_t *p = ret_p;
    while (len != 0) {
        ssize_t got = getrandom(p, len, 0);
        if (got < 0) {
            ASY_ASSERT(errno == EINTR);
            continue;
        }
        p += got;
        len -= (size_t)got;
    }
}
const struct asy_env *asy_env_system(void) {
    static const struct asy_env env = {system_mono_ns, system_wall_ms, system_random, NULL};
    return &env;
}
uint64_t asy_env_mono_ns(const struct asy_env *env) { return env->mono_ns(env->arg); }
uint64_t asy_env_wall_ms(const struct asy_env *env) { return env->wall_ms(env->arg); }
void asy_env_random(const struct asy_env *env, void *ret_p, size_t len) {
    env->random(env->arg, ret_p, len);
}

/* ---- logging --------------------------------------------------------------------------------- */

static const char *const level_names[] = {"trace", "debug", "info", "odd", "broken"};
static enum asy_log_level log_level = ASY_LOG_INFO;
static const char *log_program = "assay";

void asy_log_init(const char *program, enum asy_log_level level) {
    log_program = program;
    log_level = level;
}

enum asy_err asy_log_level_parse(enum asy_log_level *ret_level, struct asy_bytes name) {
    for (size_t i = 0; i < ASY_COUNT(level_names); i++) {
        if (asy_bytes_eq(name, asy_bytes_cstr(level_names[i]))) {
            *ret_level = (enum asy_log_level)i;
            return ASY_OK;
        }
    }
    return ASY_ERR_UNKNOWN;
}

void asy_log(enum asy_log_level level, const char *event, const char *fmt, ...) {
    if (level < log_level) {
        return;
    }
    struct timespec ts;
    ASY_ASSERT(clock_gettime(CLOCK_REALTIME, &ts) == 0);
    struct tm tm;
    ASY_ASSERT(gmtime_r(&ts.tv_sec, &tm) != NULL);
    char line[1024];
    size_t room = sizeof line - 1; /* for the newline */
    int n = snprintf(line, room, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %-6s %s %s ",
                     tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                     ts.tv_nsec / 1000000, level_names[level], log_program, event);
    if (n > 0 && (size_t)n < room) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(line + n, room - (size_t)n, fmt, ap); /* a long line is cut */
        va_end(ap);
    }
    trim_utf8(line);
    size_t len = strlen(line);
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?'; /* what a peer sent cannot start a line of its own or steer a terminal */
        }
    }
    line[len++] = '\n';
    (void)fwrite(line, 1, len, stderr); /* one call, so that lines of threads do not mix */
}

/* ---- metrics --------------------------------------------------------------------------------- */

static const struct {
    const char *name, *help;
    enum asy_metric_kind kind;
} metric_table[] = {
#define X(name, kind, help) {#name, help, kind},
#include "schema/metrics.def"
#undef X
};
static _Atomic uint64_t metric_values[ASY_M_COUNT];

void asy_metric_add(enum asy_metric metric, uint64_t n) {
    atomic_fetch_add_explicit(&metric_values[metric], n, memory_order_relaxed);
}
void asy_metric_set(enum asy_metric metric, uint64_t value) {
    atomic_store_explicit(&metric_values[metric], value, memory_order_relaxed);
}
uint64_t asy_metric_get(enum asy_metric metric) {
    return atomic_load_explicit(&metric_values[metric], memory_order_relaxed);
}

enum asy_err asy_metrics_format(struct asy_buf *buf) {
    for (size_t i = 0; i < ASY_M_COUNT; i++) {
        const char *kind = metric_table[i].kind == ASY_METRIC_COUNTER ? "counter" : "gauge";
        ASY_TRY(asy_buf_printf(buf, "# HELP assay_%s %s\n# TYPE assay_%s %s\nassay_%s %llu\n",
                               metric_table[i].name, metric_table[i].help, metric_table[i].name,
                               kind, metric_table[i].name,
                               (unsigned long long)asy_metric_get((enum asy_metric)i)));
    }
    return ASY_OK;
}
