/*~ base: what every other module stands on.
 *
 * Errors by value, byte views, growing buffers with a ceiling, arenas, checked integers, the
 * environment (clock and randomness as an object, so that a test owns both), logging, metrics. No
 * sockets, no files, no globals but the log level and the metric counters.
 *
 * Three kinds of trouble, never mixed: a bug aborts (ASY_ASSERT), bad input or a bad peer is an
 * `enum asy_err`, and lack of memory for a size that was bounded before aborts inside asy_alloc.
 */
#ifndef ASY_BASE_H
#define ASY_BASE_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/limits.h"

#define ASY_MUST_USE                 __attribute__((warn_unused_result))
#define ASY_PRINTF(fmt_index, first) __attribute__((format(printf, fmt_index, first)))
#define ASY_COUNT(array)             (sizeof(array) / sizeof((array)[0]))

/* ---- errors ---------------------------------------------------------------------------------- */

/* name, value, HTTP status, text. Values are stored and sent: append only. The stable code in JSON
 * is the name in lower case. */
#define ASY_ERR_TABLE(X)                                                                           \
    X(OK, 0, 200, "success")                                                                       \
    X(AGAIN, -1, 503, "would block; try later")                                                    \
    X(FULL, -2, 503, "a bounded queue is full")                                                    \
    X(SYNTAX, -3, 400, "malformed input")                                                          \
    X(RANGE, -4, 400, "a number is outside its range")                                             \
    X(TYPE, -5, 400, "a value has the wrong type")                                                 \
    X(MISSING, -6, 400, "a required field is missing")                                             \
    X(UNKNOWN, -7, 400, "a field is not known")                                                    \
    X(UNSUPPORTED, -8, 400, "a field or value is not supported")                                   \
    X(TOO_LONG, -9, 413, "input is longer than its limit")                                         \
    X(DUPLICATE, -10, 400, "something appears twice")                                              \
    X(AUTH, -11, 401, "missing or wrong credentials")                                              \
    X(FORBIDDEN, -12, 403, "not allowed")                                                          \
    X(NOT_FOUND, -13, 404, "no such thing")                                                        \
    X(CONFLICT, -14, 409, "conflicts with what is already there")                                  \
    X(CREDIT, -15, 402, "not enough credit")                                                       \
    X(RATE, -16, 429, "too many requests")                                                         \
    X(TIMEOUT, -17, 504, "took too long")                                                          \
    X(NO_NODE, -18, 503, "no node can serve this now")                                             \
    X(PEER, -19, 502, "a peer failed or broke the protocol")                                       \
    X(CLOSED, -20, 503, "the other side is gone")                                                  \
    X(SIGNATURE, -21, 400, "a signature does not fit")                                             \
    X(STATE, -22, 409, "not possible in this state")                                               \
    X(IO, -23, 500, "reading or writing failed")                                                   \
    X(STORE, -24, 500, "the database failed")                                                      \
    X(CHAIN, -25, 502, "the chain or its RPC endpoint failed")                                     \
    X(REVERTED, -26, 502, "a transaction was reverted")                                            \
    X(CANCELLED, -27, 499, "cancelled by the client")                                              \
    X(OVERFLOW, -28, 400, "a sum does not fit its type")                                           \
    X(MISMATCH, -29, 400, "a digest or count does not match")                                      \
    X(VERSION, -30, 400, "a version is not spoken here")                                           \
    X(INTERNAL, -31, 500, "an internal failure")

enum asy_err {
#define ASY_ERR_ENUM(name, value, http, text) ASY_ERR_##name = (value),
    ASY_ERR_TABLE(ASY_ERR_ENUM)
#undef ASY_ERR_ENUM
};
#define ASY_OK ASY_ERR_OK

/* asy_err_name: "SYNTAX"; asy_err_text: "malformed input"; asy_err_http: 400. Never NULL; static
 * storage. */
const char *asy_err_name(enum asy_err err);
const char *asy_err_text(enum asy_err err);
int asy_err_http(enum asy_err err);

/* Detail for people, filled where the error is found. `param` names the field at fault
 * ("messages[2].content"), or is empty. */
struct asy_why {
    char text[240];
    char param[80];
};

/* asy_why_set fills why (if not NULL) and returns err, so that one line can do `return
 * asy_why_set(why, ASY_ERR_RANGE, "n", "...")`. param may be NULL. Text and param are cut at the
 * size of their fields, at a UTF-8 boundary. */
enum asy_err asy_why_set(struct asy_why *why, enum asy_err err, const char *param, const char *fmt,
                         ...) ASY_PRINTF(4, 5);

/* Returns from the calling function when call fails. Only where nothing needs undoing. */
#define ASY_TRY(call)                                                                              \
    do {                                                                                           \
        enum asy_err asy_try_err_ = (call);                                                        \
        if (asy_try_err_ != ASY_OK) {                                                              \
            return asy_try_err_;                                                                   \
        }                                                                                          \
    } while (0)

/* ASY_ASSERT: for bugs only; on in release builds; prints file, line and expression, then aborts.
 */
#define ASY_ASSERT(cond) ((cond) ? (void)0 : asy_assert_failed(__FILE__, __LINE__, #cond))
_Noreturn void asy_assert_failed(const char *file, int line, const char *cond);

/* ---- memory ---------------------------------------------------------------------------------- */

/* asy_alloc: zeroed memory of len bytes (a bounded, validated size); aborts when there is none.
 * Free with asy_free. len 0 gives 1 byte. */
void *asy_alloc(size_t len) __attribute__((malloc, returns_nonnull));
void *asy_realloc(void *p, size_t len) __attribute__((returns_nonnull));
/* The same as asy_alloc at a multiple of align, a power of two up to 2 MiB. */
void *asy_alloc_aligned(size_t len, size_t align) __attribute__((malloc, returns_nonnull));
void asy_free(void *p);
/* Overwrites a secret so that the compiler cannot drop the write. */
void asy_secret_wipe(void *p, size_t len);
/* Equal in time that does not depend on the content. */
bool asy_secret_eq(const void *a, const void *b, size_t len);

/* ---- bytes ----------------------------------------------------------------------------------- */

/* A borrowed view: the only input type of parsers. */
struct asy_bytes {
    const uint8_t *p;
    size_t n;
};
#define ASY_STR(literal) ((struct asy_bytes){(const uint8_t *)("" literal), sizeof(literal) - 1})

/* Views of memory that stays the caller's. */
struct asy_bytes asy_bytes_of(const void *p, size_t len);
struct asy_bytes asy_bytes_cstr(const char *s); /* s may be NULL: empty */
bool asy_bytes_eq(struct asy_bytes a, struct asy_bytes b);
bool asy_bytes_starts(struct asy_bytes a, struct asy_bytes prefix);
/* asy_bytes_to_u64: decimal digits only, no sign, no space, no empty; SYNTAX or OVERFLOW. */
ASY_MUST_USE enum asy_err asy_bytes_to_u64(uint64_t *ret_value, struct asy_bytes in);
/* Valid UTF-8 as RFC 3629 section 3 (no surrogates, no overlong forms, at most U+10FFFF). */
bool asy_utf8_valid(struct asy_bytes in);
/* Bytes of in that form whole characters; what follows is a cut-off character that may still be
 * completed (0..3 bytes). */
size_t asy_utf8_whole(struct asy_bytes in);

/* Fixed-size values that travel through every module. */
struct asy_hash {
    uint8_t b[32];
};
struct asy_addr {
    uint8_t b[20];
};
bool asy_hash_eq(const struct asy_hash *a, const struct asy_hash *b);
bool asy_hash_is_zero(const struct asy_hash *a);
bool asy_addr_eq(const struct asy_addr *a, const struct asy_addr *b);
bool asy_addr_is_zero(const struct asy_addr *a);

/* ---- growing output -------------------------------------------------------------------------- */

/* Cannot be made without its ceiling. A failed append changes nothing. p[n] is always a readable
 * zero byte once p is not NULL. */
struct asy_buf {
    uint8_t *p;
    size_t n;
    size_t cap;
    size_t max;
};
void asy_buf_init(struct asy_buf *buf, size_t max_len);
void asy_buf_done(struct asy_buf *buf);  /* frees; the object may be initialised again */
void asy_buf_clear(struct asy_buf *buf); /* keeps the memory */
ASY_MUST_USE enum asy_err asy_buf_add(struct asy_buf *buf, const void *p,
                                      size_t len); /* TOO_LONG */
ASY_MUST_USE enum asy_err asy_buf_add_bytes(struct asy_buf *buf,
                                            struct asy_bytes in);              /* TOO_LONG */
ASY_MUST_USE enum asy_err asy_buf_add_str(struct asy_buf *buf, const char *s); /* TOO_LONG */
ASY_MUST_USE enum asy_err asy_buf_add_u8(struct asy_buf *buf, uint8_t byte);   /* TOO_LONG */
ASY_MUST_USE enum asy_err asy_buf_printf(struct asy_buf *buf, const char *fmt, ...)
    ASY_PRINTF(2, 3); /* TOO_LONG */
/* Room for len more bytes at ret_p; the caller writes them and then adds them with asy_buf_grow. */
ASY_MUST_USE enum asy_err asy_buf_reserve(struct asy_buf *buf, uint8_t **ret_p,
                                          size_t len); /* TOO_LONG */
void asy_buf_grow(struct asy_buf *buf, size_t len);
/* Drops len bytes from the front (len <= n). Linear in what stays. */
void asy_buf_consume(struct asy_buf *buf, size_t len);
struct asy_bytes asy_buf_bytes(const struct asy_buf *buf);
const char *asy_buf_cstr(const struct asy_buf *buf); /* "" when empty */

/* ---- files ----------------------------------------------------------------------------------- */

/* asy_file_map maps a whole file for reading; processes that map the same file share its memory.
 * out:    ret_map: page aligned; asy_file_unmap gives it back. A file that others shorten later
 *         kills who reads behind its new end: map what nobody writes
 * errors: NOT_FOUND, IO (a folder, a device or an empty file, too) */
ASY_MUST_USE enum asy_err asy_file_map(struct asy_bytes *ret_map, const char *path,
                                       struct asy_why *reterr_why);
void asy_file_unmap(struct asy_bytes map);

/* ---- arenas ---------------------------------------------------------------------------------- */

/* Turn memory: allocate freely, drop all at once. Asking for more than the ceiling returns NULL:
 * treat as TOO_LONG. */
struct asy_arena {
    struct asy_arena_block *first;
    size_t used;
    size_t max;
};
void asy_arena_init(struct asy_arena *arena, size_t max_len);
void asy_arena_reset(struct asy_arena *arena); /* frees all but one block */
void asy_arena_done(struct asy_arena *arena);
/* Zeroed, aligned for any type; NULL over the ceiling. */
void *asy_arena_alloc(struct asy_arena *arena, size_t len);
/* Copy of in with a zero byte behind it; NULL over the ceiling. */
char *asy_arena_str(struct asy_arena *arena, struct asy_bytes in);

/* ---- integers -------------------------------------------------------------------------------- */

typedef unsigned __int128 asy_u128;

/* Checked arithmetic: false on overflow, and then *ret is untouched. */
bool asy_add_u64(uint64_t *ret, uint64_t a, uint64_t b);
bool asy_mul_u64(uint64_t *ret, uint64_t a, uint64_t b);
bool asy_add_u128(asy_u128 *ret, asy_u128 a, asy_u128 b);
bool asy_sub_u128(asy_u128 *ret, asy_u128 a, asy_u128 b);
bool asy_mul_u128(asy_u128 *ret, asy_u128 a, asy_u128 b);

/* Integers in memory, little (le) and big (be) endian; p needs no alignment. */
uint32_t asy_le32_get(const uint8_t *p);
uint64_t asy_le64_get(const uint8_t *p);
void asy_le32_put(uint8_t *p, uint32_t v);
void asy_le64_put(uint8_t *p, uint64_t v);
uint16_t asy_be16_get(const uint8_t *p);
uint32_t asy_be32_get(const uint8_t *p);
uint64_t asy_be64_get(const uint8_t *p);
asy_u128 asy_be128_get(const uint8_t *p);
void asy_be16_put(uint8_t *p, uint16_t v);
void asy_be32_put(uint8_t *p, uint32_t v);
void asy_be64_put(uint8_t *p, uint64_t v);
void asy_be128_put(uint8_t *p, asy_u128 v);

/* ---- environment ----------------------------------------------------------------------------- */

/* Time and randomness enter pure code through this object only. Deadlines are absolute, on the
 * monotonic clock, in ns. */
struct asy_env {
    uint64_t (*mono_ns)(void *arg);                     /* never goes back; origin arbitrary */
    uint64_t (*wall_ms)(void *arg);                     /* Unix time in ms; may jump */
    void (*random)(void *arg, void *ret_p, size_t len); /* cryptographic */
    void *arg;
};
/* The real thing: CLOCK_MONOTONIC, CLOCK_REALTIME, getrandom(2). */
const struct asy_env *asy_env_system(void);
uint64_t asy_env_mono_ns(const struct asy_env *env);
uint64_t asy_env_wall_ms(const struct asy_env *env);
void asy_env_random(const struct asy_env *env, void *ret_p, size_t len);

/* ---- logging --------------------------------------------------------------------------------- */

/* Levels by what a person does: TRACE and DEBUG nobody, INFO reads later, ODD looks when there is
 * time, BROKEN acts now. One line per call on standard error: `time level program event key=value
 * ...`, cut at 1 KiB, control characters shown as `?`. Never keys, tokens, prompts or completions.
 * Only programs log. */
enum asy_log_level { ASY_LOG_TRACE, ASY_LOG_DEBUG, ASY_LOG_INFO, ASY_LOG_ODD, ASY_LOG_BROKEN };
void asy_log_init(const char *program, enum asy_log_level level); /* keeps program */
ASY_MUST_USE enum asy_err asy_log_level_parse(enum asy_log_level *ret_level,
                                              struct asy_bytes name); /* UNKNOWN */
void asy_log(enum asy_log_level level, const char *event, const char *fmt, ...) ASY_PRINTF(3, 4);

/* ---- metrics --------------------------------------------------------------------------------- */

/* Declared in schema/metrics.def, one X(name, kind, help) each: counters only grow, gauges hold the
 * last value. Thread safe (relaxed atomics). */
enum asy_metric_kind { ASY_METRIC_COUNTER, ASY_METRIC_GAUGE };
enum asy_metric {
#define X(name, kind, help) ASY_M_##name,
#include "schema/metrics.def"
#undef X
    ASY_M_COUNT
};
void asy_metric_add(enum asy_metric metric, uint64_t n);
void asy_metric_set(enum asy_metric metric, uint64_t value);
uint64_t asy_metric_get(enum asy_metric metric);
/* The whole table in the Prometheus text format, version 0.0.4; names are `assay_<name>`. TOO_LONG
 * when buf is too small. */
ASY_MUST_USE enum asy_err asy_metrics_format(struct asy_buf *buf);

#endif
