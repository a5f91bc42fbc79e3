/* JSON, reading: limits first, then jansson, whose types end here. */
#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "crypto/crypto.h"

#include "codec_priv.h"

/* struct asy_json is never defined: a pointer to it is a pointer to json_t. */
static json_t *inner(const struct asy_json *v) { return (json_t *)(uintptr_t)v; }
static const struct asy_json *outer(const json_t *v) { return (const struct asy_json *)v; }

/* ---- limits ---- */

/* jansson spends at most this on a value, whatever its length (measured with glibc on 64 bits,
 * rounded up). */
enum {
    COST_OBJECT = 256,
    COST_ARRAY = 144,
    COST_VALUE = 96,
    COST_FREE = 1024 * 1024,
    COST_PER_BYTE = 16
};

/* Nesting and memory, before anything recurses or allocates. Other faults are left for the parser.
 */
static enum asy_err check_limits(struct asy_bytes in, size_t max_depth,
                                 struct asy_why *reterr_why) {
    size_t depth = 0, cost = 0;
    bool in_string = false;
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];
        if (in_string) {
            i += c == '\\' ? 1 : 0;
            in_string = c != '"';
            continue;
        }
        switch (c) {
        case '"':
            in_string = true;
            break;
        case '\0': /* jansson takes it for the end and would not see what follows */
            return asy_why_set(reterr_why, ASY_ERR_SYNTAX, NULL, "JSON is malformed (byte %zu)", i);
        case '{':
        case '[':
            cost += c == '{' ? COST_OBJECT : COST_ARRAY;
            if (++depth > max_depth) {
                return asy_why_set(reterr_why, ASY_ERR_SYNTAX, NULL,
                                   "JSON is nested deeper than %zu levels (byte %zu)", max_depth,
                                   i);
            }
            break;
        case '}':
        case ']':
            depth -= depth > 0 ? 1 : 0;
            break;
        case ',':
        case ':':
            cost += COST_VALUE;
            break;
        default:
            break;
        }
    }
    if (cost > COST_FREE && (cost - COST_FREE) / COST_PER_BYTE > in.n) {
        return asy_why_set(reterr_why, ASY_ERR_TOO_LONG, NULL, "JSON holds too many small values");
    }
    return ASY_OK;
}

/* ---- parsing ---- */

static enum asy_err explain(const json_error_t *e, struct asy_why *reterr_why) {
    enum asy_err err = ASY_ERR_SYNTAX;
    const char *what = "JSON is malformed";
    switch (json_error_code(e)) {
    case json_error_duplicate_key:
        err = ASY_ERR_DUPLICATE;
        what = "JSON object has a key twice";
        break;
    case json_error_numeric_overflow:
        err = ASY_ERR_RANGE;
        what = "JSON number is too large";
        break;
    case json_error_null_character:
    case json_error_null_byte_in_key:
        what = "JSON string holds a NUL character";
        break;
    case json_error_invalid_utf8:
        what = "JSON is not valid UTF-8";
        break;
    case json_error_premature_end_of_input:
        what = "JSON ends too early";
        break;
    case json_error_end_of_input_expected:
        what = "JSON is followed by something else";
        break;
    case json_error_unknown:
    case json_error_out_of_memory:
    case json_error_stack_overflow:
    case json_error_cannot_open_file:
    case json_error_invalid_argument:
    case json_error_invalid_syntax:
    case json_error_invalid_format:
    case json_error_wrong_type:
    case json_error_null_value:
    case json_error_item_not_found:
    case json_error_index_out_of_range:
        break;
    }
    return asy_why_set(reterr_why, err, NULL, "%s (line %d, column %d, byte %d)", what, e->line,
                       e->column, e->position);
}

enum asy_err asy_json_parse(struct asy_json **ret_json, struct asy_bytes in, size_t max_depth,
                            struct asy_why *reterr_why) {
    ASY_ASSERT(max_depth <= ASY_MAX_JSON_DEPTH);
    ASY_TRY(check_limits(in, max_depth, reterr_why));
    json_error_t e;
    json_t *root = json_loadb(in.p != NULL ? (const char *)in.p : "", in.n,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (root == NULL) {
        return explain(&e, reterr_why);
    }
    *ret_json = (struct asy_json *)root;
    return ASY_OK;
}

void asy_json_free(struct asy_json *root) { json_decref(inner(root)); }

/* ---- looking ---- */

enum asy_json_type asy_json_type(const struct asy_json *v) {
    switch (json_typeof(inner(v))) {
    case JSON_OBJECT:
        return ASY_JSON_OBJECT;
    case JSON_ARRAY:
        return ASY_JSON_ARRAY;
    case JSON_STRING:
        return ASY_JSON_STR;
    case JSON_INTEGER:
        return ASY_JSON_INT;
    case JSON_REAL:
        return ASY_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return ASY_JSON_BOOL;
    case JSON_NULL:
        return ASY_JSON_NULL;
    }
    return ASY_JSON_NULL;
}

const char *asy_json_type_name(enum asy_json_type type) {
    switch (type) {
    case ASY_JSON_NULL:
        return "null";
    case ASY_JSON_BOOL:
        return "a boolean";
    case ASY_JSON_INT:
        return "an integer";
    case ASY_JSON_REAL:
        return "a number";
    case ASY_JSON_STR:
        return "a string";
    case ASY_JSON_ARRAY:
        return "an array";
    case ASY_JSON_OBJECT:
        return "an object";
    }
    return "null";
}

bool asy_json_is_null(const struct asy_json *v) {
    return v == NULL || asy_json_type(v) == ASY_JSON_NULL;
}

const struct asy_json *asy_json_get(const struct asy_json *obj, const char *key) {
    return outer(json_object_get(inner(obj), key));
}

size_t asy_json_len(const struct asy_json *v) {
    json_t *j = inner(v);
    return json_is_object(j) ? json_object_size(j) : json_array_size(j);
}

const struct asy_json *asy_json_at(const struct asy_json *arr, size_t i) {
    return outer(json_array_get(inner(arr), i));
}

bool asy_json_next(struct asy_json_iter *it, struct asy_bytes *ret_key,
                   const struct asy_json **ret_value) {
    json_t *obj = inner(it->obj);
    void *pos = it->pos == NULL ? json_object_iter(obj) : json_object_iter_next(obj, it->pos);
    if (pos == NULL) {
        return false;
    }
    it->pos = pos;
    *ret_key = asy_bytes_of(json_object_iter_key(pos), json_object_iter_key_len(pos));
    *ret_value = outer(json_object_iter_value(pos));
    return true;
}

/* ---- values ---- */

enum asy_err asy_json_str(struct asy_bytes *ret_str, const struct asy_json *v) {
    json_t *j = inner(v);
    if (!json_is_string(j)) {
        return ASY_ERR_TYPE;
    }
    *ret_str = asy_bytes_of(json_string_value(j), json_string_length(j));
    return ASY_OK;
}

enum asy_err asy_json_i64(int64_t *ret_value, const struct asy_json *v) {
    json_t *j = inner(v);
    if (!json_is_integer(j)) {
        return ASY_ERR_TYPE;
    }
    *ret_value = json_integer_value(j);
    return ASY_OK;
}

enum asy_err asy_json_u64(uint64_t *ret_value, const struct asy_json *v) {
    int64_t i;
    ASY_TRY(asy_json_i64(&i, v));
    if (i < 0) {
        return ASY_ERR_RANGE;
    }
    *ret_value = (uint64_t)i;
    return ASY_OK;
}

enum asy_err asy_json_double(double *ret_value, const struct asy_json *v) {
    json_t *j = inner(v);
    if (!json_is_number(j)) {
        return ASY_ERR_TYPE;
    }
    *ret_value = json_number_value(j);
    return ASY_OK;
}

enum asy_err asy_json_bool(bool *ret_value, const struct asy_json *v) {
    json_t *j = inner(v);
    if (!json_is_boolean(j)) {
        return ASY_ERR_TYPE;
    }
    *ret_value = json_is_true(j);
    return ASY_OK;
}

/* n * 10^times, while it stays below 2^63. */
static enum asy_err times_pow10(uint64_t *ret_value, uint64_t n, int times) {
    for (; n != 0 && times > 0; times--) {
        if (!asy_mul_u64(&n, n, 10) || n > INT64_MAX) {
            return ASY_ERR_RANGE;
        }
    }
    *ret_value = n;
    return ASY_OK;
}

/* The magnitude of a number, times 10^decimals; a tie goes to the larger one if ties_up. */
static enum asy_err scaled_magnitude(uint64_t *ret_value, double real, unsigned decimals,
                                     bool ties_up) {
    char digits[ASY_F64_DIGITS];
    int exp10;
    int len = (int)asy_f64_digits(digits, &exp10, real < 0 ? -real : real);
    int keep =
        exp10 + (int)decimals < 0 ? len + exp10 + (int)decimals : len; /* digits before the cut */
    uint64_t n = 0;
    for (int i = 0; i < keep; i++) {
        n = n * 10 + (uint64_t)(digits[i] - '0'); /* at most 17 digits */
    }
    if (keep >= 0 && keep < len) { /* the last digit is not 0 */
        bool tie = digits[keep] == '5' && keep + 1 == len;
        n += tie ? ties_up : digits[keep] >= '5';
    }
    return times_pow10(ret_value, n, exp10 + (int)decimals);
}

enum asy_err asy_json_scaled_i64(int64_t *ret_value, const struct asy_json *v, unsigned decimals) {
    ASY_ASSERT(decimals <= 12);
    double real;
    uint64_t n = 0;
    bool negative;
    ASY_TRY(asy_json_double(&real, v));
    if (asy_json_type(v) == ASY_JSON_INT) {
        int64_t whole;
        ASY_TRY(asy_json_i64(&whole, v));
        negative = whole < 0;
        ASY_TRY(times_pow10(&n, negative ? 0 - (uint64_t)whole : (uint64_t)whole, (int)decimals));
    } else {
        negative = real < 0;
        if (real != 0) { /* half up is down for the magnitude of a negative number */
            ASY_TRY(scaled_magnitude(&n, real, decimals, !negative));
        }
    }
    if (n > INT64_MAX) {
        return ASY_ERR_RANGE;
    }
    *ret_value = negative ? -(int64_t)n : (int64_t)n;
    return ASY_OK;
}

enum asy_err asy_json_scaled(uint64_t *ret_value, const struct asy_json *v, unsigned decimals) {
    double real;
    int64_t n;
    ASY_TRY(asy_json_double(&real, v));
    if (real < 0) {
        return ASY_ERR_RANGE;
    }
    ASY_TRY(asy_json_scaled_i64(&n, v, decimals));
    *ret_value = (uint64_t)n;
    return ASY_OK;
}

/* ---- fields ---- */

void asy_json_path(char *ret_path, size_t cap, const char *at, const char *key) {
    bool inside = at != NULL && at[0] != '\0';
    (void)snprintf(ret_path, cap, "%s%s%s", inside ? at : "", inside ? "." : "",
                   key); /* cut at cap */
}

static enum asy_err wrong(struct asy_why *reterr_why, enum asy_err err, const char *at,
                          const char *key, const char *problem) {
    if (reterr_why != NULL) {
        char path[sizeof reterr_why->param];
        asy_json_path(path, sizeof path, at, key);
        return asy_why_set(reterr_why, err, path, "'%s' %s", path, problem);
    }
    return err;
}

static enum asy_err wrong_type(struct asy_why *reterr_why, const struct asy_json *v, const char *at,
                               const char *key, const char *wanted) {
    char problem[64];
    (void)snprintf(problem, sizeof problem, "must be %s, not %s", wanted,
                   asy_json_type_name(asy_json_type(v)));
    return wrong(reterr_why, ASY_ERR_TYPE, at, key, problem);
}

/* *ret_v is NULL when the field is absent and may be. */
static enum asy_err find(const struct asy_json **ret_v, bool *ret_present,
                         const struct asy_json *obj, const char *at, const char *key,
                         struct asy_why *reterr_why) {
    const struct asy_json *v = asy_json_get(obj, key);
    bool present = !asy_json_is_null(v);
    if (!present && ret_present == NULL) {
        return wrong(reterr_why, ASY_ERR_MISSING, at, key, "is required");
    }
    if (!present) {
        *ret_present = false;
    }
    *ret_v = present ? v : NULL;
    return ASY_OK;
}

static enum asy_err found(bool *ret_present) {
    if (ret_present != NULL) {
        *ret_present = true;
    }
    return ASY_OK;
}

/* Finds the field, and leaves the calling function when it is absent and may be. */
#define FIND(v)                                                                                    \
    const struct asy_json *v = NULL;                                                               \
    ASY_TRY(find(&v, ret_present, obj, at, key, reterr_why));                                      \
    if ((v) == NULL) {                                                                             \
        return ASY_OK;                                                                             \
    }

enum asy_err asy_json_get_str(struct asy_bytes *ret_str, bool *ret_present,
                              const struct asy_json *obj, const char *at, const char *key,
                              size_t max_len, struct asy_why *reterr_why) {
    FIND(v)
    struct asy_bytes s;
    if (asy_json_str(&s, v) != ASY_OK) {
        return wrong_type(reterr_why, v, at, key, "a string");
    }
    if (s.n > max_len) {
        char problem[64];
        (void)snprintf(problem, sizeof problem, "is longer than %zu bytes", max_len);
        return wrong(reterr_why, ASY_ERR_RANGE, at, key, problem);
    }
    *ret_str = s;
    return found(ret_present);
}

enum asy_err asy_json_get_u64(uint64_t *ret_value, bool *ret_present, const struct asy_json *obj,
                              const char *at, const char *key, uint64_t min, uint64_t max,
                              struct asy_why *reterr_why) {
    FIND(v)
    int64_t i;
    if (asy_json_i64(&i, v) != ASY_OK) {
        return wrong_type(reterr_why, v, at, key, "an integer");
    }
    if (i < 0 || (uint64_t)i < min || (uint64_t)i > max) {
        char problem[80];
        (void)snprintf(problem, sizeof problem, "must be from %" PRIu64 " to %" PRIu64, min, max);
        return wrong(reterr_why, ASY_ERR_RANGE, at, key, problem);
    }
    *ret_value = (uint64_t)i;
    return found(ret_present);
}

enum asy_err asy_json_get_i64(int64_t *ret_value, bool *ret_present, const struct asy_json *obj,
                              const char *at, const char *key, int64_t min, int64_t max,
                              struct asy_why *reterr_why) {
    FIND(v)
    int64_t i;
    if (asy_json_i64(&i, v) != ASY_OK) {
        return wrong_type(reterr_why, v, at, key, "an integer");
    }
    if (i < min || i > max) {
        char problem[80];
        (void)snprintf(problem, sizeof problem, "must be from %" PRId64 " to %" PRId64, min, max);
        return wrong(reterr_why, ASY_ERR_RANGE, at, key, problem);
    }
    *ret_value = i;
    return found(ret_present);
}

enum asy_err asy_json_get_bool(bool *ret_value, bool *ret_present, const struct asy_json *obj,
                               const char *at, const char *key, struct asy_why *reterr_why) {
    FIND(v)
    if (asy_json_bool(ret_value, v) != ASY_OK) {
        return wrong_type(reterr_why, v, at, key, "a boolean");
    }
    return found(ret_present);
}

enum asy_err asy_json_get_scaled_i64(int64_t *ret_value, bool *ret_present,
                                     const struct asy_json *obj, const char *at, const char *key,
                                     unsigned decimals, int64_t min, int64_t max,
                                     struct asy_why *reterr_why) {
    FIND(v)
    int64_t n;
    enum asy_err err = asy_json_scaled_i64(&n, v, decimals);
    if (err == ASY_ERR_TYPE) {
        return wrong_type(reterr_why, v, at, key, "a number");
    }
    if (err != ASY_OK || n < min || n > max) {
        double unit = 1;
        for (unsigned i = 0; i < decimals; i++) {
            unit *= 10;
        }
        char problem[80];
        (void)snprintf(problem, sizeof problem, "must be from %.*g to %.*g", 15, (double)min / unit,
                       15, (double)max / unit);
        return wrong(reterr_why, ASY_ERR_RANGE, at, key, problem);
    }
    *ret_value = n;
    return found(ret_present);
}

enum asy_err asy_json_get_scaled(uint64_t *ret_value, bool *ret_present, const struct asy_json *obj,
                                 const char *at, const char *key, unsigned decimals, uint64_t min,
                                 uint64_t max, struct asy_why *reterr_why) {
    ASY_ASSERT(min <= max && max <= INT64_MAX);
    bool present = true; /* stays so when the field is required */
    int64_t n = 0;
    ASY_TRY(asy_json_get_scaled_i64(&n, ret_present == NULL ? NULL : &present, obj, at, key,
                                    decimals, (int64_t)min, (int64_t)max, reterr_why));
    if (ret_present != NULL) {
        *ret_present = present;
    }
    if (present) {
        *ret_value = (uint64_t)n;
    }
    return ASY_OK;
}

enum asy_err asy_json_get_object(const struct asy_json **ret_obj, bool *ret_present,
                                 const struct asy_json *obj, const char *at, const char *key,
                                 struct asy_why *reterr_why) {
    FIND(v)
    if (asy_json_type(v) != ASY_JSON_OBJECT) {
        return wrong_type(reterr_why, v, at, key, "an object");
    }
    *ret_obj = v;
    return found(ret_present);
}

enum asy_err asy_json_get_array(const struct asy_json **ret_arr, bool *ret_present,
                                const struct asy_json *obj, const char *at, const char *key,
                                size_t min_count, size_t max_count, struct asy_why *reterr_why) {
    FIND(v)
    if (asy_json_type(v) != ASY_JSON_ARRAY) {
        return wrong_type(reterr_why, v, at, key, "an array");
    }
    if (asy_json_len(v) < min_count || asy_json_len(v) > max_count) {
        char problem[80];
        (void)snprintf(problem, sizeof problem, "must have from %zu to %zu elements", min_count,
                       max_count);
        return wrong(reterr_why, ASY_ERR_RANGE, at, key, problem);
    }
    *ret_arr = v;
    return found(ret_present);
}

/* A string field whose text is then parsed. */
static enum asy_err find_text(struct asy_bytes *ret_text, bool *ret_present,
                              const struct asy_json *obj, const char *at, const char *key,
                              struct asy_why *reterr_why) {
    *ret_text = (struct asy_bytes){NULL, 0};
    return asy_json_get_str(ret_text, ret_present, obj, at, key, SIZE_MAX, reterr_why);
}

enum asy_err asy_json_get_hash(struct asy_hash *ret_hash, bool *ret_present,
                               const struct asy_json *obj, const char *at, const char *key,
                               struct asy_why *reterr_why) {
    struct asy_bytes text;
    ASY_TRY(find_text(&text, ret_present, obj, at, key, reterr_why));
    if (ret_present != NULL && !*ret_present) {
        return ASY_OK;
    }
    enum asy_err err = asy_hash_parse(ret_hash, text);
    return err == ASY_OK ? ASY_OK : wrong(reterr_why, err, at, key, "must be 0x and 64 hex digits");
}

enum asy_err asy_json_get_addr(struct asy_addr *ret_addr, bool *ret_present,
                               const struct asy_json *obj, const char *at, const char *key,
                               struct asy_why *reterr_why) {
    struct asy_bytes text;
    ASY_TRY(find_text(&text, ret_present, obj, at, key, reterr_why));
    if (ret_present != NULL && !*ret_present) {
        return ASY_OK;
    }
    enum asy_err err = asy_addr_parse(ret_addr, text);
    return err == ASY_OK ? ASY_OK
                         : wrong(reterr_why, err, at, key,
                                 err == ASY_ERR_MISMATCH ? "has a wrong address checksum"
                                                         : "must be 0x and 40 hex digits");
}

enum asy_err asy_json_get_quantity(uint64_t *ret_value, bool *ret_present,
                                   const struct asy_json *obj, const char *at, const char *key,
                                   struct asy_why *reterr_why) {
    struct asy_bytes text;
    ASY_TRY(find_text(&text, ret_present, obj, at, key, reterr_why));
    if (ret_present != NULL && !*ret_present) {
        return ASY_OK;
    }
    enum asy_err err = asy_quantity_parse_u64(ret_value, text);
    return err == ASY_OK
               ? ASY_OK
               : wrong(reterr_why, err, at, key, "must be 0x and the fewest hex digits of 64 bits");
}

enum asy_err asy_json_refuse_unknown(const struct asy_json *obj, const char *at,
                                     const char *const *known, size_t known_count,
                                     struct asy_why *reterr_why) {
    struct asy_json_iter it = {obj, NULL};
    struct asy_bytes key;
    const struct asy_json *value;
    while (asy_json_next(&it, &key, &value)) {
        bool is_known = false;
        for (size_t i = 0; i < known_count && !is_known; i++) {
            is_known = asy_bytes_eq(key, asy_bytes_cstr(known[i]));
        }
        if (!is_known) {
            /* a key holds no NUL, and its zero byte stands behind it */
            return wrong(reterr_why, ASY_ERR_UNKNOWN, at, (const char *)key.p,
                         "is not a known field");
        }
    }
    return ASY_OK;
}
