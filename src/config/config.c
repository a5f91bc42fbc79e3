#include "config/config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>

enum { WHERE_LEN = 120, NAME_LEN = 128 };

struct asy_config {
    const struct asy_config_item *items;
    size_t count;
    uint8_t *target;
    struct asy_arena arena; /* strings */
    const char *file;
    bool file_from_flag;
    bool help;
    uint8_t source[ASY_CONFIG_MAX_ITEMS];
    bool in_file[ASY_CONFIG_MAX_ITEMS];
};

/* ---- values ---- */

union value {
    bool flag;
    uint64_t number;
    struct asy_usd usd;
    struct asy_bytes text;
    uint32_t choice;
};

struct unit {
    const char *name;
    uint64_t factor;
};
/* largest first, so that formatting takes the largest that fits */
static const struct unit durations[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit sizes[] = {
    {"GiB", 1u << 30}, {"MiB", 1u << 20}, {"KiB", 1u << 10}, {"", 1}};

static enum asy_err number_parse(uint64_t *ret_number, struct asy_bytes in,
                                 const struct unit *units, size_t count) {
    size_t digits = 0;
    while (digits < in.n && in.p[digits] >= '0' && in.p[digits] <= '9') {
        digits++;
    }
    uint64_t n;
    ASY_TRY(asy_bytes_to_u64(&n, asy_bytes_of(in.p, digits)));
    struct asy_bytes unit = asy_bytes_of(in.p + digits, in.n - digits);
    if (unit.n == 0 && n == 0) {
        *ret_number = 0;
        return ASY_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (asy_bytes_eq(unit, asy_bytes_cstr(units[i].name))) {
            return asy_mul_u64(ret_number, n, units[i].factor) ? ASY_OK : ASY_ERR_OVERFLOW;
        }
    }
    return ASY_ERR_SYNTAX;
}

static void number_format(char *ret_text, size_t len, uint64_t n, const struct unit *units,
                          size_t count) {
    size_t i = 0;
    while (i + 1 < count && (n == 0 || n % units[i].factor != 0)) {
        i++;
    }
    (void)snprintf(ret_text, len, "%llu%s", (unsigned long long)(n / units[i].factor),
                   n == 0 ? "" : units[i].name);
}

static const char *type_text(enum asy_config_type type) {
    switch (type) {
    case ASY_CONFIG_BOOL:
        return "yes or no";
    case ASY_CONFIG_U64:
        return "a whole number";
    case ASY_CONFIG_DURATION:
        return "a time such as 250ms, 8s, 30m, 24h or 7d";
    case ASY_CONFIG_BYTES:
        return "a size such as 512, 64KiB, 5MiB or 1GiB";
    case ASY_CONFIG_USD:
        return "an amount such as 12 or 0.000001";
    case ASY_CONFIG_STRING:
        return "text";
    case ASY_CONFIG_PATH:
        return "a path";
    case ASY_CONFIG_ENUM:
        return "one of";
    }
    return "";
}

static uint64_t item_max(const struct asy_config_item *item) {
    return item->max != 0 ? item->max : item->size == 4 ? UINT32_MAX : UINT64_MAX;
}

/* Fills why->text with what is wrong; the caller puts the place before it. */
static enum asy_err range_error(const struct asy_config_item *item, struct asy_why *why) {
    char lo[32], hi[32];
    bool time = item->type == ASY_CONFIG_DURATION, plain = item->type == ASY_CONFIG_U64;
    const struct unit one = {"", 1};
    const struct unit *units = time ? durations : plain ? &one : sizes;
    size_t count = time ? ASY_COUNT(durations) : plain ? 1 : ASY_COUNT(sizes);
    number_format(lo, sizeof lo, item->min, units, count);
    number_format(hi, sizeof hi, item_max(item), units, count);
    const char *unit = item->unit != NULL ? item->unit : "";
    const char *space = unit[0] != '\0' ? " " : "";
    if (item_max(item) == UINT64_MAX) {
        return asy_why_set(why, ASY_ERR_RANGE, NULL, "must be at least %s%s%s", lo, space, unit);
    }
    return asy_why_set(why, ASY_ERR_RANGE, NULL, "must be %s to %s%s%s", lo, hi, space, unit);
}

static enum asy_err type_error(const struct asy_config_item *item, enum asy_err err,
                               struct asy_why *why) {
    if (item->type != ASY_CONFIG_ENUM) {
        return asy_why_set(why, err, NULL, "must be %s", type_text(item->type));
    }
    char list[160] = "";
    size_t n = 0;
    for (size_t i = 0; item->names[i] != NULL && n < sizeof list; i++) {
        n +=
            (size_t)snprintf(list + n, sizeof list - n, "%s%s", i != 0 ? ", " : "", item->names[i]);
    }
    return asy_why_set(why, err, NULL, "must be one of %s", list);
}

static enum asy_err value_parse(union value *ret_value, const struct asy_config_item *item,
                                struct asy_bytes in, struct asy_why *why) {
    union value v = {.number = 0};
    enum asy_err err = ASY_OK;
    switch (item->type) {
    case ASY_CONFIG_BOOL:
        v.flag = asy_bytes_eq(in, ASY_STR("yes")) || asy_bytes_eq(in, ASY_STR("true"));
        if (!v.flag && !asy_bytes_eq(in, ASY_STR("no")) && !asy_bytes_eq(in, ASY_STR("false"))) {
            return type_error(item, ASY_ERR_SYNTAX, why);
        }
        break;
    case ASY_CONFIG_U64:
        err = asy_bytes_to_u64(&v.number, in);
        break;
    case ASY_CONFIG_DURATION:
        err = number_parse(&v.number, in, durations, ASY_COUNT(durations));
        break;
    case ASY_CONFIG_BYTES:
        err = number_parse(&v.number, in, sizes, ASY_COUNT(sizes));
        break;
    case ASY_CONFIG_USD:
        err = asy_usd_parse(&v.usd, in);
        break;
    case ASY_CONFIG_STRING:
    case ASY_CONFIG_PATH: {
        size_t max = item->max != 0 ? item->max : ASY_CONFIG_MAX_STRING;
        if (in.n > max) {
            return asy_why_set(why, ASY_ERR_TOO_LONG, NULL, "is longer than %zu bytes", max);
        }
        if (!asy_utf8_valid(in) ||
            memchr(in.n != 0 ? in.p : (const uint8_t *)"", 0, in.n) != NULL) {
            return asy_why_set(why, ASY_ERR_SYNTAX, NULL, "is not UTF-8 text");
        }
        v.text = in;
        break;
    }
    case ASY_CONFIG_ENUM:
        while (item->names[v.choice] != NULL &&
               !asy_bytes_eq(in, asy_bytes_cstr(item->names[v.choice]))) {
            v.choice++;
        }
        if (item->names[v.choice] == NULL) {
            return type_error(item, ASY_ERR_SYNTAX, why);
        }
        break;
    }
    if (err != ASY_OK) {
        return type_error(item, err == ASY_ERR_OVERFLOW ? ASY_ERR_RANGE : err, why);
    }
    if (item->type == ASY_CONFIG_U64 || item->type == ASY_CONFIG_DURATION ||
        item->type == ASY_CONFIG_BYTES) {
        if (v.number < item->min || v.number > item_max(item)) {
            return range_error(item, why);
        }
    }
    *ret_value = v;
    return ASY_OK;
}

static enum asy_err value_store(struct asy_config *config, const struct asy_config_item *item,
                                const union value *v) {
    uint8_t *field = config->target + item->offset;
    switch (item->type) {
    case ASY_CONFIG_BOOL:
        memcpy(field, &v->flag, sizeof v->flag);
        break;
    case ASY_CONFIG_U64:
    case ASY_CONFIG_DURATION:
    case ASY_CONFIG_BYTES:
        if (item->size == 4) {
            memcpy(field, &(uint32_t){(uint32_t)v->number}, 4);
        } else {
            memcpy(field, &v->number, 8);
        }
        break;
    case ASY_CONFIG_USD:
        memcpy(field, &v->usd, sizeof v->usd);
        break;
    case ASY_CONFIG_STRING:
    case ASY_CONFIG_PATH: {
        const char *s = asy_arena_str(&config->arena, v->text);
        if (s == NULL) {
            return ASY_ERR_TOO_LONG;
        }
        memcpy(field, &s, sizeof s);
        break;
    }
    case ASY_CONFIG_ENUM:
        memcpy(field, &v->choice, sizeof v->choice);
        break;
    }
    return ASY_OK;
}

/* Checks a value wherever it comes from, and stores it unless a stronger source has spoken. `where`
 * ends up before the reason: "gateway.ini:3:8: ". */
static enum asy_err value_set(struct asy_config *config, size_t index,
                              enum asy_config_source source, struct asy_bytes in, const char *where,
                              struct asy_why *why) {
    const struct asy_config_item *item = &config->items[index];
    union value v;
    struct asy_why reason;
    enum asy_err err = value_parse(&v, item, in, &reason);
    if (err != ASY_OK) {
        char param[sizeof reason.param];
        (void)snprintf(param, sizeof param, "%s.%s", item->section, item->key);
        return asy_why_set(why, err, param, "%s%s %s", where, item->key, reason.text);
    }
    if (source < config->source[index]) {
        return ASY_OK;
    }
    config->source[index] = (uint8_t)source;
    err = value_store(config, item, &v);
    return err == ASY_OK ? ASY_OK
                         : asy_why_set(why, err, item->key, "%stoo much text in all", where);
}

static void value_format(char *ret_text, size_t len, const struct asy_config *config,
                         const struct asy_config_item *item) {
    const uint8_t *field = config->target + item->offset;
    uint64_t n = 0;
    uint32_t small = 0;
    if (item->size == 4) {
        memcpy(&small, field, 4);
        n = small;
    } else if (item->size == 8) {
        memcpy(&n, field, 8);
    }
    ret_text[0] = '\0';
    switch (item->type) {
    case ASY_CONFIG_BOOL:
        (void)snprintf(ret_text, len, "%s", *field != 0 ? "yes" : "no");
        break;
    case ASY_CONFIG_U64:
        (void)snprintf(ret_text, len, "%llu", (unsigned long long)n);
        break;
    case ASY_CONFIG_DURATION:
        number_format(ret_text, len, n, durations, ASY_COUNT(durations));
        break;
    case ASY_CONFIG_BYTES:
        number_format(ret_text, len, n, sizes, ASY_COUNT(sizes));
        break;
    case ASY_CONFIG_USD: {
        struct asy_usd usd;
        char text[ASY_USD_STR];
        memcpy(&usd, field, sizeof usd);
        asy_usd_format(text, usd);
        (void)snprintf(ret_text, len, "%s", text);
        break;
    }
    case ASY_CONFIG_STRING:
    case ASY_CONFIG_PATH: {
        const char *s;
        memcpy(&s, field, sizeof s);
        (void)snprintf(ret_text, len, "%s", s != NULL ? s : "");
        break;
    }
    case ASY_CONFIG_ENUM:
        (void)snprintf(ret_text, len, "%s", item->names[small]);
        break;
    }
}

/* ---- names ---- */

static bool name_ok(const char *s, bool dots) {
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++) {
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '_' ||
              (dots && s[i] == '.'))) {
            return false;
        }
    }
    return n != 0 && n < 48; /* the INI library's names */
}

/* "gateway-max-jobs" for [gateway] max_jobs */
static void flag_name(char ret_name[NAME_LEN], const struct asy_config_item *item) {
    int n = snprintf(ret_name, NAME_LEN, "%s-%s", item->section, item->key);
    for (int i = 0; i < n; i++) {
        ret_name[i] = ret_name[i] == '_' || ret_name[i] == '.' ? '-' : ret_name[i];
    }
}

/* "ASSAY_GATEWAY_MAX_JOBS"; with key NULL "ASSAY_GATEWAY_" */
static void env_name(char ret_name[NAME_LEN], const char *section, const char *key) {
    int n = snprintf(ret_name, NAME_LEN, "ASSAY_%s_%s", section, key != NULL ? key : "");
    for (int i = 0; i < n; i++) {
        char c = ret_name[i];
        ret_name[i] = c == '.' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
}

static bool section_known(const struct asy_config *config, struct asy_bytes name) {
    for (size_t i = 0; i < config->count; i++) {
        if (asy_bytes_eq(name, asy_bytes_cstr(config->items[i].section))) {
            return true;
        }
    }
    return false;
}

static size_t item_find(const struct asy_config *config, const char *section, const char *key) {
    size_t i = 0;
    while (i < config->count && (strcmp(config->items[i].key, key) != 0 ||
                                 strcmp(config->items[i].section, section) != 0)) {
        i++;
    }
    return i;
}

/* ---- the object ---- */

static size_t type_size(const struct asy_config_item *item) {
    switch (item->type) {
    case ASY_CONFIG_BOOL:
        return sizeof(bool);
    case ASY_CONFIG_U64:
        return item->size == 4 ? 4 : 8;
    case ASY_CONFIG_DURATION:
    case ASY_CONFIG_BYTES:
        return 8;
    case ASY_CONFIG_USD:
        return sizeof(struct asy_usd);
    case ASY_CONFIG_STRING:
    case ASY_CONFIG_PATH:
        return sizeof(const char *);
    case ASY_CONFIG_ENUM:
        return 4;
    }
    return 0;
}

struct asy_config *asy_config_new(const struct asy_config_item *items, size_t count, void *target) {
    ASY_ASSERT(count <= ASY_CONFIG_MAX_ITEMS);
    struct asy_config *config = asy_alloc(sizeof *config);
    config->items = items;
    config->count = count;
    config->target = target;
    size_t strings = 0;
    for (size_t i = 0; i < count; i++) {
        const struct asy_config_item *item = &items[i];
        bool text = item->type == ASY_CONFIG_STRING || item->type == ASY_CONFIG_PATH;
        strings += text ? (item->max != 0 ? item->max : ASY_CONFIG_MAX_STRING) + 1 : 0;
    }
    asy_arena_init(&config->arena,
                   16 * strings); /* each from each source, and some flags many times */
    for (size_t i = 0; i < count; i++) {
        const struct asy_config_item *item = &items[i];
        ASY_ASSERT(name_ok(item->section, true) && name_ok(item->key, false));
        ASY_ASSERT(strcmp(item->section, "config") != 0); /* --config and ASSAY_CONFIG are taken */
        ASY_ASSERT(item->size == type_size(item) && item->help != NULL);
        ASY_ASSERT((item->type == ASY_CONFIG_ENUM) == (item->names != NULL));
        ASY_ASSERT(item->max == 0 || item->min <= item->max);
        ASY_ASSERT(item->size != 4 || item->max <= UINT32_MAX);
        bool text = item->type == ASY_CONFIG_STRING || item->type == ASY_CONFIG_PATH;
        ASY_ASSERT(!text || item->max <= ASY_CONFIG_MAX_STRING);
        ASY_ASSERT(item_find(config, item->section, item->key) == i);
        memset(config->target + item->offset, 0, item->size);
        if (item->preset != NULL) {
            struct asy_why why;
            enum asy_err err = value_set(config, i, ASY_CONFIG_FROM_DEFAULT,
                                         asy_bytes_cstr(item->preset), "default of ", &why);
            ASY_ASSERT(err == ASY_OK);
        }
    }
    return config;
}

void asy_config_free(struct asy_config *config) {
    if (config != NULL) {
        asy_arena_done(&config->arena);
        asy_free(config);
    }
}

const char *asy_config_file(const struct asy_config *config) { return config->file; }
bool asy_config_help_asked(const struct asy_config *config) { return config->help; }

enum asy_config_source asy_config_source(const struct asy_config *config, const char *section,
                                         const char *key) {
    size_t i = item_find(config, section, key);
    ASY_ASSERT(i < config->count);
    return (enum asy_config_source)config->source[i];
}

enum asy_err asy_config_check(const struct asy_config *config, struct asy_why *reterr_why) {
    for (size_t i = 0; i < config->count; i++) {
        const struct asy_config_item *item = &config->items[i];
        if (item->required && item->preset == NULL &&
            config->source[i] == ASY_CONFIG_FROM_DEFAULT) {
            char param[NAME_LEN];
            (void)snprintf(param, sizeof param, "%s.%s", item->section, item->key);
            return asy_why_set(reterr_why, ASY_ERR_MISSING, param, "[%s] %s is not set",
                               item->section, item->key);
        }
    }
    return ASY_OK;
}

/* ---- files ---- */

/* What one run of the INI library reads and finds. It asks for a line at a time, so we always know
 * where it is. */
struct ini_run {
    struct asy_config *config;
    const char *name;
    struct asy_bytes rest;
    struct asy_bytes line; /* the one it works on, as it stands in the file */
    unsigned number;
    enum asy_err err;
    struct asy_why *why;
};

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\r'; }

static size_t skip_blanks(struct asy_bytes line, size_t at) {
    while (at < line.n && is_blank(line.p[at])) {
        at++;
    }
    return at;
}

/* `name:line:column: `; the byte at `at` and all before it are ASCII wherever we point at one */
static const char *place(char ret_where[WHERE_LEN], const struct ini_run *run, size_t at) {
    (void)snprintf(ret_where, WHERE_LEN, "%.80s:%u:%zu: ", run->name, run->number, at + 1);
    return ret_where;
}

static enum asy_err section_check(struct ini_run *run, size_t at) {
    char where[WHERE_LEN];
    struct asy_bytes line = run->line;
    const uint8_t *end = memchr(line.p + at, ']', line.n - at);
    if (end == NULL) {
        return asy_why_set(run->why, ASY_ERR_SYNTAX, NULL, "%sa [section] does not end",
                           place(where, run, at));
    }
    size_t close = (size_t)(end - line.p), after = skip_blanks(line, close + 1);
    if (after < line.n && line.p[after] != ';' && line.p[after] != '#') {
        return asy_why_set(run->why, ASY_ERR_SYNTAX, NULL, "%stext behind a [section]",
                           place(where, run, after));
    }
    struct asy_bytes name = asy_bytes_of(line.p + at + 1, close - at - 1);
    if (!section_known(run->config, name)) {
        return asy_why_set(run->why, ASY_ERR_UNKNOWN, NULL, "%sthere is no section [%.*s]",
                           place(where, run, at), (int)name.n, (const char *)name.p);
    }
    return ASY_OK;
}

/* inih's reader: one line without its indentation. We check here what the library would let pass.
 */
static char *ini_next_line(char *ret_line, int cap, void *arg) {
    struct ini_run *run = arg;
    char where[WHERE_LEN];
    if (run->err != ASY_OK || run->rest.n == 0) {
        return NULL;
    }
    const uint8_t *newline = memchr(run->rest.p, '\n', run->rest.n);
    size_t len = newline != NULL ? (size_t)(newline - run->rest.p) : run->rest.n;
    run->line = asy_bytes_of(run->rest.p, len);
    run->rest =
        asy_bytes_of(run->rest.p + len + (newline != NULL), run->rest.n - len - (newline != NULL));
    run->number++;
    size_t at = skip_blanks(run->line, 0);
    /* + 2: newline and zero byte; a line that the library would cut is never handed to it */
    if (len - at > ASY_CONFIG_MAX_LINE || len - at + 2 > (size_t)cap) {
        run->err = asy_why_set(run->why, ASY_ERR_TOO_LONG, NULL, "%sa line is longer than %u bytes",
                               place(where, run, 0), ASY_CONFIG_MAX_LINE);
    } else if (!asy_utf8_valid(run->line) || (len != 0 && memchr(run->line.p, 0, len) != NULL)) {
        run->err =
            asy_why_set(run->why, ASY_ERR_SYNTAX, NULL, "%snot UTF-8 text", place(where, run, 0));
    } else if (at < len && run->line.p[at] == '[') {
        run->err = section_check(run, at);
    }
    if (run->err != ASY_OK) {
        return NULL;
    }
    memcpy(ret_line, run->line.p + at, len - at);
    memcpy(ret_line + len - at, "\n", 2);
    return ret_line;
}

/* inih's handler: 1 goes on, 0 is an error. */
static int ini_on_value(void *arg, const char *section, const char *key, const char *value) {
    struct ini_run *run = arg;
    char where[WHERE_LEN];
    if (run->err != ASY_OK) {
        return 0;
    }
    size_t at = skip_blanks(run->line, 0), sign = at;
    while (sign < run->line.n && run->line.p[sign] != '=' && run->line.p[sign] != ':') {
        sign++;
    }
    size_t index = item_find(run->config, section, key);
    if (section[0] == '\0') {
        run->err = asy_why_set(run->why, ASY_ERR_SYNTAX, key, "%s%s stands before any [section]",
                               place(where, run, at), key);
    } else if (index == run->config->count) {
        run->err = asy_why_set(run->why, ASY_ERR_UNKNOWN, key, "%s[%s] has no key %s",
                               place(where, run, at), section, key);
    } else if (run->config->in_file[index]) {
        run->err = asy_why_set(run->why, ASY_ERR_DUPLICATE, key, "%s[%s] %s is set twice",
                               place(where, run, at), section, key);
    } else {
        run->config->in_file[index] = true;
        run->err = value_set(run->config, index, ASY_CONFIG_FROM_FILE, asy_bytes_cstr(value),
                             place(where, run, skip_blanks(run->line, sign + 1)), run->why);
    }
    return run->err == ASY_OK;
}

enum asy_err asy_config_parse(struct asy_config *config, const char *name, struct asy_bytes text,
                              struct asy_why *reterr_why) {
    if (text.n > ASY_CONFIG_MAX_FILE) {
        return asy_why_set(reterr_why, ASY_ERR_TOO_LONG, NULL, "%.80s is larger than %u bytes",
                           name, ASY_CONFIG_MAX_FILE);
    }
    if (asy_bytes_starts(text, ASY_STR("\xef\xbb\xbf"))) { /* byte order mark of some editors */
        text = asy_bytes_of(text.p + 3, text.n - 3);
    }
    memset(config->in_file, 0, sizeof config->in_file);
    struct ini_run run = {
        .config = config, .name = name, .rest = text, .err = ASY_OK, .why = reterr_why};
    int bad_line = ini_parse_stream(ini_next_line, &run, ini_on_value, &run);
    if (run.err != ASY_OK && (bad_line == 0 || (unsigned)bad_line >= run.number)) {
        return run.err;
    }
    if (bad_line != 0) { /* the library goes on after its own errors; the first one counts */
        return asy_why_set(reterr_why, ASY_ERR_SYNTAX, NULL,
                           "%.80s:%d:1: neither [section] nor key = value", name, bad_line);
    }
    return ASY_OK;
}

/* The whole of a file, at most ASY_CONFIG_MAX_FILE bytes. */
static enum asy_err file_read(struct asy_buf *buf, const char *path, struct asy_why *why) {
    FILE *f = fopen(path, "rbe");
    if (f == NULL) {
        enum asy_err err = errno == ENOENT ? ASY_ERR_NOT_FOUND : ASY_ERR_IO;
        return asy_why_set(why, err, NULL, "%.160s: %s", path, strerror(errno));
    }
    uint8_t *p;
    enum asy_err err = asy_buf_reserve(buf, &p, ASY_CONFIG_MAX_FILE + 1);
    ASY_ASSERT(err == ASY_OK);
    size_t n = fread(p, 1, ASY_CONFIG_MAX_FILE + 1, f); /* one more: asy_config_parse refuses it */
    asy_buf_grow(buf, n);
    if (ferror(f)) {
        err = asy_why_set(why, ASY_ERR_IO, NULL, "%.160s cannot be read", path);
    }
    (void)fclose(f); /* only read */
    return err;
}

enum asy_err asy_config_read(struct asy_config *config, const char *path,
                             struct asy_why *reterr_why) {
    struct asy_buf buf;
    asy_buf_init(&buf, ASY_CONFIG_MAX_FILE + 1);
    enum asy_err err = file_read(&buf, path, reterr_why);
    if (err == ASY_OK) {
        err = asy_config_parse(config, path, asy_buf_bytes(&buf), reterr_why);
    }
    asy_buf_done(&buf);
    return err;
}

/* ---- environment and flags ---- */

enum asy_err asy_config_env(struct asy_config *config, char *const *envp,
                            struct asy_why *reterr_why) {
    for (size_t e = 0; envp[e] != NULL; e++) {
        const char *sign = strchr(envp[e], '=');
        struct asy_bytes name = asy_bytes_of(envp[e], sign != NULL ? (size_t)(sign - envp[e]) : 0);
        if (!asy_bytes_starts(name, ASY_STR("ASSAY_"))) {
            continue;
        }
        if (asy_bytes_eq(name, ASY_STR("ASSAY_CONFIG"))) {
            config->file = config->file_from_flag ? config->file : sign + 1;
            continue;
        }
        size_t index = config->count;
        bool ours = false;
        for (size_t i = 0; i < config->count && index == config->count; i++) {
            char want[NAME_LEN];
            env_name(want, config->items[i].section, config->items[i].key);
            index = asy_bytes_eq(name, asy_bytes_cstr(want)) ? i : index;
            env_name(want, config->items[i].section, NULL);
            ours = ours || asy_bytes_starts(name, asy_bytes_cstr(want));
        }
        char where[NAME_LEN + 32];
        (void)snprintf(where, sizeof where,
                       "environment variable %.*s: ", (int)(name.n < NAME_LEN ? name.n : NAME_LEN),
                       envp[e]);
        if (index < config->count) {
            ASY_TRY(value_set(config, index, ASY_CONFIG_FROM_ENV, asy_bytes_cstr(sign + 1), where,
                              reterr_why));
        } else if (ours) {
            return asy_why_set(reterr_why, ASY_ERR_UNKNOWN, NULL, "%sthere is no such setting",
                               where);
        }
    }
    return ASY_OK;
}

/* The item of a flag's name without dashes; *ret_no: it was --no-name of a bool. */
static size_t flag_find(const struct asy_config *config, struct asy_bytes name, bool single,
                        bool *ret_no) {
    for (size_t i = 0; i < config->count; i++) {
        const struct asy_config_item *item = &config->items[i];
        char full[NAME_LEN];
        flag_name(full, item);
        struct asy_bytes spellings[] = {asy_bytes_cstr(full), asy_bytes_cstr(item->flag)};
        for (size_t s = 0; s < ASY_COUNT(spellings); s++) {
            struct asy_bytes want = spellings[s];
            if (want.n == 0 || (want.n == 1) != single) {
                continue;
            }
            *ret_no = false;
            if (asy_bytes_eq(name, want)) {
                return i;
            }
            *ret_no = true;
            if (item->type == ASY_CONFIG_BOOL && asy_bytes_starts(name, ASY_STR("no-")) &&
                asy_bytes_eq(asy_bytes_of(name.p + 3, name.n - 3), want)) {
                return i;
            }
        }
    }
    return config->count;
}

enum asy_err asy_config_args(struct asy_config *config, const char **ret_rest,
                             size_t *ret_rest_count, int argc, char *const *argv,
                             struct asy_why *reterr_why) {
    size_t rest = 0;
    bool only_words = false;
    for (int a = 0; a < argc; a++) {
        const char *word = argv[a];
        if (only_words || word[0] != '-' || word[1] == '\0') {
            ret_rest[rest++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_words = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            config->help = true;
            continue;
        }
        bool single = word[1] != '-', no = false;
        const char *name = word + (single ? 1 : 2), *sign = strchr(name, '=');
        struct asy_bytes text =
            asy_bytes_of(name, sign != NULL ? (size_t)(sign - name) : strlen(name));
        bool file = !single && asy_bytes_eq(text, ASY_STR("config"));
        size_t index = flag_find(config, text, single, &no);
        if (!file && index == config->count) {
            return asy_why_set(reterr_why, ASY_ERR_UNKNOWN, word,
                               "there is no flag %.100s; --help lists them", word);
        }
        bool is_bool = !file && config->items[index].type == ASY_CONFIG_BOOL;
        if (!file && config->items[index].secret) {
            return asy_why_set(reterr_why, ASY_ERR_FORBIDDEN, word,
                               "%.100s: a secret on the command line can be read by everyone on "
                               "this machine; use a file",
                               word);
        }
        const char *value = sign != NULL ? sign + 1 : NULL;
        if (is_bool && (value == NULL || no)) {
            if (no && value != NULL) {
                return asy_why_set(reterr_why, ASY_ERR_SYNTAX, word, "%.100s takes no value", word);
            }
            value = no ? "no" : "yes";
        }
        if (value == NULL && a + 1 < argc) {
            value = argv[++a];
        }
        if (value == NULL) {
            return asy_why_set(reterr_why, ASY_ERR_MISSING, word, "%.100s needs a value", word);
        }
        if (file) {
            config->file = value;
            config->file_from_flag = true;
            continue;
        }
        char where[WHERE_LEN];
        (void)snprintf(where, sizeof where,
                       "%.*s: ", (int)(text.n < 80 ? text.n : 80) + (single ? 1 : 2), word);
        ASY_TRY(value_set(config, index, ASY_CONFIG_FROM_FLAG, asy_bytes_cstr(value), where,
                          reterr_why));
    }
    *ret_rest_count = rest;
    return ASY_OK;
}

/* ---- texts ---- */

/* "Number of jobs. Tokens, 1 to 500." and the like: help, unit, choices, limits. */
static enum asy_err describe(struct asy_buf *buf, const struct asy_config_item *item) {
    ASY_TRY(asy_buf_add_str(buf, item->help));
    if (item->unit != NULL) {
        ASY_TRY(asy_buf_printf(buf, " In %s.", item->unit));
    }
    if (item->type == ASY_CONFIG_ENUM) {
        ASY_TRY(asy_buf_add_str(buf, " One of"));
        for (size_t i = 0; item->names[i] != NULL; i++) {
            ASY_TRY(asy_buf_printf(buf, "%s %s", i != 0 ? "," : "", item->names[i]));
        }
        ASY_TRY(asy_buf_add_str(buf, "."));
    }
    bool ranged = item->type == ASY_CONFIG_U64 || item->type == ASY_CONFIG_DURATION ||
                  item->type == ASY_CONFIG_BYTES;
    if (ranged && (item->max != 0 || item->min != 0)) {
        struct asy_why why;
        (void)range_error(item, &why);
        ASY_TRY(asy_buf_printf(buf, " It %s.", why.text));
    }
    return ASY_OK;
}

enum asy_err asy_config_format_help(struct asy_buf *buf, const struct asy_config *config) {
    for (size_t i = 0; i < config->count; i++) {
        const struct asy_config_item *item = &config->items[i];
        if (i == 0 || strcmp(item->section, config->items[i - 1].section) != 0) {
            ASY_TRY(asy_buf_printf(buf, "%s[%s]\n", i != 0 ? "\n" : "", item->section));
        }
        char flag[NAME_LEN], env[NAME_LEN];
        flag_name(flag, item);
        env_name(env, item->section, item->key);
        bool is_bool = item->type == ASY_CONFIG_BOOL;
        if (item->secret) {
            ASY_TRY(asy_buf_printf(buf, "  %s (no flag)\n", item->key));
        } else if (item->flag != NULL) {
            ASY_TRY(asy_buf_printf(buf, "  %s%s, --%s%s\n", strlen(item->flag) == 1 ? "-" : "--",
                                   item->flag, flag, is_bool ? "" : " VALUE"));
        } else {
            ASY_TRY(asy_buf_printf(buf, "  --%s%s\n", flag, is_bool ? "" : " VALUE"));
        }
        ASY_TRY(asy_buf_add_str(buf, "      "));
        ASY_TRY(describe(buf, item));
        if (item->preset != NULL) {
            ASY_TRY(asy_buf_printf(buf, " Default: %s.",
                                   item->preset[0] != '\0' ? item->preset : "empty"));
        }
        ASY_TRY(asy_buf_printf(buf, "%s %s\n",
                               item->required && item->preset == NULL ? " Required." : "", env));
    }
    return ASY_OK;
}

enum asy_err asy_config_format_example(struct asy_buf *buf, const struct asy_config *config) {
    for (size_t i = 0; i < config->count; i++) {
        const struct asy_config_item *item = &config->items[i];
        bool opens = i == 0 || strcmp(item->section, config->items[i - 1].section) != 0;
        if (opens) {
            ASY_TRY(asy_buf_printf(buf, "%s[%s]\n", i != 0 ? "\n" : "", item->section));
        }
        ASY_TRY(asy_buf_add_str(buf, "# "));
        ASY_TRY(describe(buf, item));
        if (item->preset != NULL) {
            ASY_TRY(asy_buf_printf(buf, "\n%s = %s\n", item->key, item->preset));
        } else {
            ASY_TRY(
                asy_buf_printf(buf, "%s\n# %s =\n", item->required ? " Required." : "", item->key));
        }
    }
    return ASY_OK;
}

enum asy_err asy_config_format_values(struct asy_buf *buf, const struct asy_config *config) {
    static const char *const sources[] = {"default", "file", "environment", "flag"};
    for (size_t i = 0; i < config->count; i++) {
        const struct asy_config_item *item = &config->items[i];
        if (i == 0 || strcmp(item->section, config->items[i - 1].section) != 0) {
            ASY_TRY(asy_buf_printf(buf, "%s[%s]\n", i != 0 ? "\n" : "", item->section));
        }
        bool set = item->preset != NULL || config->source[i] != ASY_CONFIG_FROM_DEFAULT;
        if (item->secret || !set) {
            ASY_TRY(asy_buf_printf(buf, "# %s is %s\n", item->key,
                                   set ? "set, and secret" : "not set"));
            continue;
        }
        char text[ASY_CONFIG_MAX_STRING + 1];
        value_format(text, sizeof text, config, item);
        ASY_TRY(asy_buf_printf(buf, "%s = %s ; %s\n", item->key, text, sources[config->source[i]]));
    }
    return ASY_OK;
}
