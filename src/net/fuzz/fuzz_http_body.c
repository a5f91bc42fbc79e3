/* A chunked body: the same result in one piece and byte by byte; nothing beyond its end is used. */
#include <stdlib.h>

#include "net/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool cond) {
    if (!cond) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { BODY_MAX = 1000 };
    struct http_chunked whole = {0}, pieces = {0};
    struct asy_buf body, body_pieces;
    asy_buf_init(&body, BODY_MAX);
    asy_buf_init(&body_pieces, BODY_MAX);
    size_t used = 0, used_pieces = 0;
    enum asy_err err = http_chunked_feed(&whole, &used, &body, (struct asy_bytes){data, size});
    enum asy_err err_pieces = ASY_ERR_AGAIN;
    for (size_t i = 0; i < size && err_pieces == ASY_ERR_AGAIN; i++) {
        size_t one = 0;
        err_pieces =
            http_chunked_feed(&pieces, &one, &body_pieces, (struct asy_bytes){data + i, 1});
        used_pieces += one;
    }
    need(err == err_pieces);
    if (err == ASY_OK) {
        need(used == used_pieces && used <= size && body.n < used);
    }
    if (err == ASY_OK || err == ASY_ERR_AGAIN) {
        need(asy_bytes_eq(asy_buf_bytes(&body), asy_buf_bytes(&body_pieces)));
    }
    asy_buf_done(&body);
    asy_buf_done(&body_pieces);
    return 0;
}
