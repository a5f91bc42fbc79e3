/* http_parse.h: HTTP/1.1 message heads and bodies, strict, without I/O (RFC 9112). */
#ifndef ASY_NET_HTTP_PARSE_H
#define ASY_NET_HTTP_PARSE_H

#include "base/base.h"

enum { HTTP_FIELDS_MAX = 100 };

/* ---- finding the end of a head ---- */

struct http_scan {
    size_t line; /* where the line begins that is not complete yet */
};
enum http_scan_result { HTTP_SCAN_MORE, HTTP_SCAN_DONE, HTTP_SCAN_BAD };
/* Looks for the empty line in in, of which an earlier part may have been looked at before with the
 * same scan. At the end *ret_len is the length of the head with its empty line. BAD: a line that
 * does not end with CRLF. */
enum http_scan_result http_scan(struct http_scan *scan, size_t *ret_len, struct asy_bytes in);

/* ---- heads ---- */

struct http_field {
    uint16_t name, name_len, value, value_len; /* offsets into the head */
};
struct http_fields {
    const char *base; /* the head */
    uint16_t count;
    struct http_field field[HTTP_FIELDS_MAX];
};
bool http_field_get(const struct http_fields *fields, const char *name,
                    struct asy_bytes *ret_value);
bool http_field_is(const struct http_fields *fields, size_t i, const char *name);
/* Whether a comma-separated field, over all fields of that name, has this token (any case). */
bool http_field_has_token(const struct http_fields *fields, const char *name, const char *token);

struct http_request {
    struct http_fields fields;
    const char *method;                        /* static */
    uint16_t path, path_len, query, query_len; /* offsets into the head */
    uint8_t minor;                             /* of HTTP/1.x: 0 or 1 */
    bool keep_alive;
    bool expect_continue;
    bool chunked;
    bool has_length;
    uint64_t length;
};
struct http_fault {
    int status; /* 400, 413, 417, 431, 501, 505 */
    const char *text;
};
/* http_request_parse reads a whole head; in is kept by ret_request and at most 65,535 bytes. False:
 * *ret_fault says why. */
bool http_request_parse(struct http_request *ret_request, struct http_fault *ret_fault,
                        struct asy_bytes in);
/* The head of a response, for the WebSocket client. False: malformed. */
bool http_response_parse(int *ret_status, struct http_fields *ret_fields, struct asy_bytes in);

/* ---- chunked bodies ---- */

enum http_chunk_state {
    HTTP_CHUNK_SIZE,
    HTTP_CHUNK_EXT,
    HTTP_CHUNK_SIZE_LF,
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_DATA_CR,
    HTTP_CHUNK_DATA_LF,
    HTTP_CHUNK_TRAILER, /* at the beginning of a line */
    HTTP_CHUNK_TRAILER_TEXT,
    HTTP_CHUNK_TRAILER_LF,
    HTTP_CHUNK_LAST_LF,
    HTTP_CHUNK_DONE,
};
struct http_chunked {
    enum http_chunk_state state;
    uint32_t left;     /* of the chunk; while its size is read: the size so far */
    uint16_t digits;   /* of the size */
    uint16_t text_len; /* of the extension, or of all trailers */
};
/* http_chunked_feed decodes in into body; the state is all zero at first. *ret_used tells how much
 * of in belonged to the body. errors: AGAIN more is needed; SYNTAX; TOO_LONG for body */
enum asy_err http_chunked_feed(struct http_chunked *chunked, size_t *ret_used, struct asy_buf *body,
                               struct asy_bytes in);

#endif
