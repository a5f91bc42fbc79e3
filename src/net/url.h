/* url.h: ws and wss URLs. */
#ifndef ASY_NET_URL_H
#define ASY_NET_URL_H

#include "base/base.h"

struct ws_url {
    bool secure;
    char host[256]; /* without brackets */
    char port[6];
    char authority[264];      /* for the Host field: port only when it is not the scheme's */
    char target[ASY_MAX_URL]; /* path and query, at least "/" */
};
/* errors: SYNTAX, TOO_LONG */
ASY_MUST_USE enum asy_err ws_url_parse(struct ws_url *ret_url, struct asy_bytes in,
                                       struct asy_why *reterr_why);

#endif
