/* WebSocket URLs, and %-escapes: what is accepted can be written into a request head. */
#include <stdlib.h>

#include "net/net.h"
#include "net/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool cond) {
    if (!cond) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct asy_bytes in = {data, size};
    struct ws_url url;
    struct asy_why why;
    if (ws_url_parse(&url, in, &why) == ASY_OK) {
        need(url.host[0] != '\0' && url.target[0] == '/' && strlen(url.target) <= size + 1);
        for (const char *s = url.target; *s != '\0'; s++) {
            need(*s > ' ' && *s < 0x7f);
        }
        need(strpbrk(url.host, "/@?#: ") == NULL || strchr(url.authority, '[') != NULL);
        uint64_t port;
        need(asy_bytes_to_u64(&port, asy_bytes_cstr(url.port)) == ASY_OK && port >= 1 &&
             port <= 65535);
    }
    struct asy_buf out;
    asy_buf_init(&out, 100);
    enum asy_err err = asy_url_decode(&out, in, size % 2 == 0);
    need(err != ASY_OK ? out.n == 0 : out.n <= size);
    asy_buf_done(&out);
    return 0;
}
