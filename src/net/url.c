/* url.c: ws and wss URLs, strict: no user part, no fragment, no empty parts. */
#include "url.h"

#include <stdio.h>
#include <strings.h>

static enum asy_err bad(struct asy_why *why, const char *text) {
    return asy_why_set(why, ASY_ERR_SYNTAX, "url", "%s", text);
}

static bool host_char(uint8_t c, bool is_ipv6) {
    bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (is_ipv6) {
        return hex || c == ':' || c == '.';
    }
    return hex || (c >= 'g' && c <= 'z') || (c >= 'G' && c <= 'Z') || c == '-' || c == '.' ||
           c == '_';
}

enum asy_err ws_url_parse(struct ws_url *ret_url, struct asy_bytes in, struct asy_why *reterr_why) {
    if (in.n >= ASY_MAX_URL) {
        return asy_why_set(reterr_why, ASY_ERR_TOO_LONG, "url", "longer than %u bytes",
                           ASY_MAX_URL - 1);
    }
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] <= ' ' || in.p[i] >= 0x7f || in.p[i] == '#') {
            return bad(reterr_why, "a character is not allowed");
        }
    }
    struct ws_url url = {.secure = false};
    size_t pos;
    if (in.n > 5 && strncasecmp((const char *)in.p, "ws://", 5) == 0) {
        pos = 5;
    } else if (in.n > 6 && strncasecmp((const char *)in.p, "wss://", 6) == 0) {
        url.secure = true;
        pos = 6;
    } else {
        return bad(reterr_why, "begins neither with ws:// nor with wss://");
    }
    bool is_ipv6 = in.p[pos] == '[';
    pos += is_ipv6;
    size_t host = pos;
    while (pos < in.n && host_char(in.p[pos], is_ipv6)) {
        pos++;
    }
    size_t host_len = pos - host;
    if (host_len == 0 || host_len >= sizeof url.host ||
        (is_ipv6 && (pos == in.n || in.p[pos++] != ']'))) {
        return bad(reterr_why, "malformed host");
    }
    memcpy(url.host, in.p + host, host_len);
    uint64_t default_port = url.secure ? 443 : 80, port = default_port;
    if (pos < in.n && in.p[pos] == ':') {
        size_t begin = ++pos;
        while (pos < in.n && in.p[pos] >= '0' && in.p[pos] <= '9') {
            pos++;
        }
        if (asy_bytes_to_u64(&port, asy_bytes_of(in.p + begin, pos - begin)) != ASY_OK ||
            port == 0 || port > 65535) {
            return bad(reterr_why, "malformed port");
        }
    }
    if (pos < in.n && in.p[pos] != '/' && in.p[pos] != '?') {
        return bad(reterr_why, "malformed host or port");
    }
    (void)snprintf(url.port, sizeof url.port, "%u", (unsigned)port % 65536u); /* in range */
    (void)snprintf(url.authority, sizeof url.authority, "%s%s%s%s%s", is_ipv6 ? "[" : "", url.host,
                   is_ipv6 ? "]" : "", port != default_port ? ":" : "",
                   port != default_port ? url.port : ""); /* host, brackets, colon and port fit */
    size_t slash = pos == in.n || in.p[pos] == '?';
    if (slash != 0) {
        url.target[0] = '/';
    }
    memcpy(url.target + slash, in.p + pos, in.n - pos); /* shorter than the whole */
    *ret_url = url;
    return ASY_OK;
}
