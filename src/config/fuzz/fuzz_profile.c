/* Any text as a profile: no crash, an error has a text, and what is accepted and printed is
 * accepted again. */
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_profile *p = NULL, *q = NULL;
    struct asy_why why = {{0}, {0}};
    if (asy_profile_parse(&p, "fuzz", asy_bytes_of(data, len), &why) != ASY_OK) {
        ASY_ASSERT(p == NULL && why.text[0] != '\0');
        return 0;
    }
    struct asy_buf text;
    asy_buf_init(&text, ASY_CONFIG_MAX_FILE);
    enum asy_err err = asy_profile_format(&text, p);
    ASY_ASSERT(err == ASY_OK);
    err = asy_profile_parse(&q, "again", asy_buf_bytes(&text), &why);
    ASY_ASSERT(err == ASY_OK);
    ASY_ASSERT(p->settlement.exit_ms == q->settlement.exit_ms &&
               p->fees.node_bps == q->fees.node_bps);
    asy_buf_done(&text);
    asy_profile_free(p);
    asy_profile_free(q);
    return 0;
}
