/* A request head: found and read the same however it is cut, and everything that comes out lies
 * inside of it. */
#include <stdlib.h>

#include "net/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool cond) {
    if (!cond) {
        abort();
    }
}

static bool inside(struct asy_bytes head, uint16_t at, uint16_t len) {
    return (size_t)at + len <= head.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct asy_bytes in = {data, size < ASY_MAX_HTTP_HEADERS ? size : ASY_MAX_HTTP_HEADERS};
    struct http_scan whole = {0}, pieces = {0};
    size_t len = 0, len_pieces = 0;
    enum http_scan_result found = http_scan(&whole, &len, in), found_pieces = HTTP_SCAN_MORE;
    for (size_t n = 0; n <= in.n && found_pieces == HTTP_SCAN_MORE; n++) {
        found_pieces = http_scan(&pieces, &len_pieces, (struct asy_bytes){data, n});
    }
    need(found == found_pieces && len == len_pieces);
    if (found != HTTP_SCAN_DONE || len < 4) {
        return 0;
    }
    /* a copy of its own, so that a sanitizer sees each byte too far */
    uint8_t *copy = asy_alloc(len);
    memcpy(copy, data, len);
    struct asy_bytes head = {copy, len};
    struct http_request request;
    struct http_fault fault;
    if (http_request_parse(&request, &fault, head)) {
        need(request.method != NULL && request.path_len > 0);
        need(inside(head, request.path, request.path_len) &&
             inside(head, request.query, request.query_len));
        need(!(request.chunked && request.has_length));
        struct asy_bytes value;
        need(request.minor == 0 || http_field_get(&request.fields, "host", &value));
        for (size_t i = 0; i < request.fields.count; i++) {
            const struct http_field *f = &request.fields.field[i];
            need(f->name_len > 0 && inside(head, f->name, f->name_len) &&
                 inside(head, f->value, f->value_len));
            need(memchr(copy + f->value, '\r', f->value_len) == NULL &&
                 memchr(copy + f->value, '\n', f->value_len) == NULL);
        }
    } else {
        need(fault.status >= 400 && fault.status <= 505 && fault.text != NULL);
    }
    int status;
    struct http_fields fields;
    (void)http_response_parse(&status, &fields, head);
    asy_free(copy);
    return 0;
}
