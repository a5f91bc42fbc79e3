/* http_parse.c: what a request may look like. Everything that two servers could read in two ways is
 * refused. */
#include "http_parse.h"

#include <strings.h>

/* RFC 9110 section 5.6.2: tchar */
static bool is_tchar(uint8_t c) {
    static const char extra[] = "!#$%&'*+-.^_`|~";
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && strchr(extra, c) != NULL);
}

enum http_scan_result http_scan(struct http_scan *scan, size_t *ret_len, struct asy_bytes in) {
    while (scan->line < in.n) {
        const uint8_t *begin = in.p + scan->line;
        const uint8_t *lf = memchr(begin, '\n', in.n - scan->line);
        if (lf == NULL) {
            return HTTP_SCAN_MORE;
        }
        if (lf == begin || lf[-1] != '\r') {
            return HTTP_SCAN_BAD;
        }
        scan->line = (size_t)(lf - in.p) + 1;
        if (lf - begin == 1) {
            *ret_len = scan->line;
            return HTTP_SCAN_DONE;
        }
    }
    return HTTP_SCAN_MORE;
}

/* ---- fields ---- */

static bool same_name(struct asy_bytes a, const char *b) {
    return a.n == strlen(b) && strncasecmp((const char *)a.p, b, a.n) == 0;
}

static struct asy_bytes field_name(const struct http_fields *fields, size_t i) {
    return asy_bytes_of(fields->base + fields->field[i].name, fields->field[i].name_len);
}

static struct asy_bytes field_value(const struct http_fields *fields, size_t i) {
    return asy_bytes_of(fields->base + fields->field[i].value, fields->field[i].value_len);
}

bool http_field_is(const struct http_fields *fields, size_t i, const char *name) {
    return same_name(field_name(fields, i), name);
}

bool http_field_get(const struct http_fields *fields, const char *name,
                    struct asy_bytes *ret_value) {
    for (size_t i = 0; i < fields->count; i++) {
        if (http_field_is(fields, i, name)) {
            *ret_value = field_value(fields, i);
            return true;
        }
    }
    return false;
}

static bool is_ows(uint8_t c) { return c == ' ' || c == '\t'; }

static bool list_has(struct asy_bytes list, const char *token) {
    size_t i = 0;
    while (i < list.n) {
        while (i < list.n && (is_ows(list.p[i]) || list.p[i] == ',')) {
            i++;
        }
        size_t begin = i;
        while (i < list.n && list.p[i] != ',') {
            i++;
        }
        size_t end = i;
        while (end > begin && is_ows(list.p[end - 1])) {
            end--;
        }
        if (same_name(asy_bytes_of(list.p + begin, end - begin), token)) {
            return true;
        }
    }
    return false;
}

bool http_field_has_token(const struct http_fields *fields, const char *name, const char *token) {
    for (size_t i = 0; i < fields->count; i++) {
        if (http_field_is(fields, i, name) && list_has(field_value(fields, i), token)) {
            return true;
        }
    }
    return false;
}

static bool fail(struct http_fault *ret_fault, int status, const char *text) {
    *ret_fault = (struct http_fault){status, text};
    return false;
}

/* Reads the lines from pos to the empty line, each known to end with CRLF. */
static bool fields_parse(struct http_fields *fields, struct http_fault *ret_fault,
                         struct asy_bytes in, size_t pos) {
    while (in.p[pos] != '\r') {
        if (fields->count == HTTP_FIELDS_MAX) {
            return fail(ret_fault, 431, "too many header fields");
        }
        size_t name = pos;
        while (is_tchar(in.p[pos])) {
            pos++;
        }
        if (pos == name || in.p[pos] != ':') {
            return fail(ret_fault, 400,
                        is_ows(in.p[name]) ? "folded header line" : "malformed header name");
        }
        size_t name_end = pos++;
        while (is_ows(in.p[pos])) {
            pos++;
        }
        size_t value = pos;
        while ((in.p[pos] >= ' ' && in.p[pos] != 0x7f) || in.p[pos] == '\t') {
            pos++;
        }
        if (in.p[pos] != '\r' || in.p[pos + 1] != '\n') {
            return fail(ret_fault, 400, "control character in a header");
        }
        size_t value_end = pos;
        while (value_end > value && is_ows(in.p[value_end - 1])) {
            value_end--;
        }
        fields->field[fields->count++] =
            (struct http_field){(uint16_t)name, (uint16_t)(name_end - name), (uint16_t)value,
                                (uint16_t)(value_end - value)};
        pos += 2;
    }
    return true;
}

/* ---- requests ---- */

static const char *const methods[] = {"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"};

/* "METHOD SP target SP HTTP/1.x": sets pos behind the line. */
static bool request_line(struct http_request *r, struct http_fault *ret_fault, struct asy_bytes in,
                         size_t *ret_pos) {
    size_t pos = 0;
    while (is_tchar(in.p[pos])) {
        pos++;
    }
    if (pos == 0 || in.p[pos] != ' ') {
        return fail(ret_fault, 400, "malformed request line");
    }
    for (size_t i = 0; i < ASY_COUNT(methods); i++) {
        if (strlen(methods[i]) == pos && memcmp(methods[i], in.p, pos) == 0) {
            r->method = methods[i];
        }
    }
    size_t target = ++pos;
    while (in.p[pos] > ' ' && in.p[pos] < 0x7f && in.p[pos] != '#') {
        pos++;
    }
    if (pos == target || in.p[pos] != ' ') {
        return fail(ret_fault, 400, "malformed request target");
    }
    size_t target_end = pos++;
    /* the line ends with CRLF, so that comparing byte by byte stays inside it */
    static const char version[] = "HTTP/";
    for (size_t i = 0; i < sizeof version - 1; i++) {
        if (in.p[pos++] != (uint8_t)version[i]) {
            return fail(ret_fault, 400, "malformed HTTP version");
        }
    }
    if (in.p[pos] < '0' || in.p[pos] > '9' || in.p[pos + 1] != '.' || in.p[pos + 2] < '0' ||
        in.p[pos + 2] > '9' || in.p[pos + 3] != '\r' || in.p[pos + 4] != '\n') {
        return fail(ret_fault, 400, "malformed HTTP version");
    }
    if (in.p[pos] != '1' || in.p[pos + 2] > '1') {
        return fail(ret_fault, 505, "HTTP version is not supported");
    }
    r->minor = (uint8_t)(in.p[pos + 2] - '0');
    *ret_pos = pos + 5;
    if (r->method == NULL) {
        return fail(ret_fault, 501, "method is not supported");
    }
    /* origin-form, absolute-form (the authority is dropped), or "*" */
    struct asy_bytes rest = asy_bytes_of(in.p + target, target_end - target);
    if (rest.n > 7 && strncasecmp((const char *)rest.p, "http://", 7) == 0) {
        const uint8_t *slash = memchr(rest.p + 7, '/', rest.n - 7);
        if (slash == NULL || slash == rest.p + 7) {
            return fail(ret_fault, 400, "malformed request target");
        }
        rest = asy_bytes_of(slash, (size_t)(in.p + target_end - slash));
    } else if (rest.p[0] != '/' &&
               !(rest.n == 1 && rest.p[0] == '*' && strcmp(r->method, "OPTIONS") == 0)) {
        return fail(ret_fault, 400, "malformed request target");
    }
    const uint8_t *mark = memchr(rest.p, '?', rest.n);
    const uint8_t *path_end = mark != NULL ? mark : rest.p + rest.n;
    const uint8_t *query = mark != NULL ? mark + 1 : rest.p + rest.n;
    r->path = (uint16_t)(rest.p - in.p);
    r->path_len = (uint16_t)(path_end - rest.p);
    r->query = (uint16_t)(query - in.p);
    r->query_len = (uint16_t)(in.p + target_end - query);
    return true;
}

static bool host_valid(struct asy_bytes host) {
    for (size_t i = 0; i < host.n; i++) {
        uint8_t c = host.p[i];
        bool fits = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    strchr("-._~:[]%!$&'()*+,;=", c) != NULL;
        if (c == 0 || !fits) {
            return false;
        }
    }
    return true;
}

/* What the fields say about the body and the connection. */
static bool request_meaning(struct http_request *r, struct http_fault *ret_fault) {
    /* fields that decide something and may stand once only */
    static const char *const single[] = {"host",         "content-length", "transfer-encoding",
                                         "content-type", "authorization",  "expect"};
    size_t seen[ASY_COUNT(single)] = {0};
    const struct http_fields *fields = &r->fields;
    for (size_t i = 0; i < fields->count; i++) {
        for (size_t k = 0; k < ASY_COUNT(single); k++) {
            if (http_field_is(fields, i, single[k]) && ++seen[k] == 2) {
                return fail(ret_fault, 400, "a header appears twice");
            }
        }
    }
    struct asy_bytes value;
    if (http_field_get(fields, "host", &value)) {
        if (!host_valid(value)) {
            return fail(ret_fault, 400, "malformed Host");
        }
    } else if (r->minor == 1) {
        return fail(ret_fault, 400, "Host is missing");
    }
    if (http_field_get(fields, "content-length", &value)) {
        enum asy_err err = asy_bytes_to_u64(&r->length, value);
        if (err == ASY_ERR_OVERFLOW) {
            return fail(ret_fault, 413, "body is too long");
        }
        if (err != ASY_OK) {
            return fail(ret_fault, 400, "malformed Content-Length");
        }
        r->has_length = true;
    }
    if (http_field_get(fields, "transfer-encoding", &value)) {
        if (r->has_length || r->minor == 0) {
            return fail(ret_fault, 400, "Transfer-Encoding is not allowed here");
        }
        if (!same_name(value, "chunked")) {
            return fail(ret_fault, 501, "Transfer-Encoding is not supported");
        }
        r->chunked = true;
    }
    if (http_field_get(fields, "expect", &value)) {
        if (!same_name(value, "100-continue")) {
            return fail(ret_fault, 417, "Expect is not supported");
        }
        r->expect_continue = r->minor == 1;
    }
    r->keep_alive = r->minor == 1 && !http_field_has_token(fields, "connection", "close");
    return true;
}

bool http_request_parse(struct http_request *ret_request, struct http_fault *ret_fault,
                        struct asy_bytes in) {
    ASY_ASSERT(in.n <= UINT16_MAX && in.n >= 4);
    struct http_request *r = ret_request;
    *r = (struct http_request){.fields = {.base = (const char *)in.p}};
    size_t pos;
    return request_line(r, ret_fault, in, &pos) && fields_parse(&r->fields, ret_fault, in, pos) &&
           request_meaning(r, ret_fault);
}

/* ---- responses ---- */

bool http_response_parse(int *ret_status, struct http_fields *ret_fields, struct asy_bytes in) {
    static const char version[] = "HTTP/1.1 ";
    struct http_fault fault;
    ASY_ASSERT(in.n <= UINT16_MAX && in.n >= 4);
    const uint8_t *lf = memchr(in.p, '\n', in.n);
    ASY_ASSERT(lf != NULL);
    size_t line_len = (size_t)(lf - in.p) + 1;
    if (line_len < sizeof version - 1 + 5 || memcmp(in.p, version, sizeof version - 1) != 0) {
        return false;
    }
    uint64_t status;
    if (asy_bytes_to_u64(&status, asy_bytes_of(in.p + sizeof version - 1, 3)) != ASY_OK) {
        return false;
    }
    *ret_fields = (struct http_fields){.base = (const char *)in.p};
    if (!fields_parse(ret_fields, &fault, in, line_len)) {
        return false;
    }
    *ret_status = (int)status;
    return true;
}

/* ---- chunked bodies ---- */

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_text(uint8_t c) { return (c >= ' ' && c != 0x7f) || c == '\t'; }

/* One byte outside of chunk data. */
static enum asy_err chunked_step(struct http_chunked *c, uint8_t byte) {
    enum { SIZE_DIGITS_MAX = 7, EXT_LEN_MAX = 256, TRAILER_LEN_MAX = 8192 };
    switch (c->state) {
    case HTTP_CHUNK_SIZE: {
        int digit = hex_value(byte);
        if (digit >= 0) {
            if (++c->digits > SIZE_DIGITS_MAX) {
                return ASY_ERR_TOO_LONG;
            }
            c->left = c->left * 16 + (uint32_t)digit;
            return ASY_OK;
        }
        if (c->digits == 0 || (byte != '\r' && byte != ';')) {
            return ASY_ERR_SYNTAX;
        }
        c->text_len = 0;
        c->state = byte == ';' ? HTTP_CHUNK_EXT : HTTP_CHUNK_SIZE_LF;
        return ASY_OK;
    }
    case HTTP_CHUNK_EXT:
        if (byte == '\r') {
            c->state = HTTP_CHUNK_SIZE_LF;
            return ASY_OK;
        }
        return is_text(byte) && ++c->text_len <= EXT_LEN_MAX ? ASY_OK : ASY_ERR_SYNTAX;
    case HTTP_CHUNK_SIZE_LF:
        c->state = c->left != 0 ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER;
        c->digits = 0;
        c->text_len = 0;
        return byte == '\n' ? ASY_OK : ASY_ERR_SYNTAX;
    case HTTP_CHUNK_DATA_CR:
        c->state = HTTP_CHUNK_DATA_LF;
        return byte == '\r' ? ASY_OK : ASY_ERR_SYNTAX;
    case HTTP_CHUNK_DATA_LF:
        c->state = HTTP_CHUNK_SIZE;
        return byte == '\n' ? ASY_OK : ASY_ERR_SYNTAX;
    case HTTP_CHUNK_TRAILER:
        if (byte == '\r') {
            c->state = HTTP_CHUNK_LAST_LF;
            return ASY_OK;
        }
        c->state = HTTP_CHUNK_TRAILER_TEXT;
        return is_tchar(byte) ? ASY_OK : ASY_ERR_SYNTAX;
    case HTTP_CHUNK_TRAILER_TEXT:
        if (byte == '\r') {
            c->state = HTTP_CHUNK_TRAILER_LF;
            return ASY_OK;
        }
        return is_text(byte) && ++c->text_len <= TRAILER_LEN_MAX ? ASY_OK : ASY_ERR_SYNTAX;
    case HTTP_CHUNK_TRAILER_LF:
        c->state = HTTP_CHUNK_TRAILER;
        return byte == '\n' ? ASY_OK : ASY_ERR_SYNTAX;
    case HTTP_CHUNK_LAST_LF:
        c->state = HTTP_CHUNK_DONE;
        return byte == '\n' ? ASY_OK : ASY_ERR_SYNTAX;
    case HTTP_CHUNK_DATA:
    case HTTP_CHUNK_DONE:
        break;
    }
    return ASY_ERR_STATE;
}

enum asy_err http_chunked_feed(struct http_chunked *chunked, size_t *ret_used, struct asy_buf *body,
                               struct asy_bytes in) {
    size_t i = 0;
    while (i < in.n && chunked->state != HTTP_CHUNK_DONE) {
        if (chunked->state == HTTP_CHUNK_DATA) {
            size_t len = in.n - i < chunked->left ? in.n - i : chunked->left;
            ASY_TRY(asy_buf_add(body, in.p + i, len));
            i += len;
            chunked->left -= (uint32_t)len;
            if (chunked->left == 0) {
                chunked->state = HTTP_CHUNK_DATA_CR;
            }
        } else {
            ASY_TRY(chunked_step(chunked, in.p[i]));
            i++;
            if (chunked->state == HTTP_CHUNK_DATA && chunked->left > body->max - body->n) {
                return ASY_ERR_TOO_LONG; /* known before its bytes come */
            }
        }
    }
    *ret_used = i;
    return chunked->state == HTTP_CHUNK_DONE ? ASY_OK : ASY_ERR_AGAIN;
}
