/* Any bytes as either document: no crash, and findings that agree with themselves. */
#include "verify/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool consistent(const struct asy_verify_findings *f) {
    for (uint32_t i = 0; i < f->count; i++) {
        ASY_ASSERT(i == 0 || f->items[i].check > f->items[i - 1].check);
        ASY_ASSERT(f->items[i].text[0] != '\0');
    }
    return asy_verify_good(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct asy_bytes in = asy_bytes_of(data, size);
    struct asy_why why = {{0}, {0}};
    enum asy_verify_kind kind;
    if (asy_verify_kind(&kind, in, &why) != ASY_OK) {
        return 0;
    }
    if (kind == ASY_VERIFY_KIND_LANE) {
        struct asy_verify_lane_report *l = asy_alloc(sizeof *l);
        if (asy_verify_lane(l, in, NULL, &why) == ASY_OK) {
            ASY_ASSERT(l->good == consistent(&l->findings));
            ASY_ASSERT(l->paid <= l->leaf_count && l->signed_count <= l->paid);
        }
        asy_free(l);
        return 0;
    }
    struct asy_verify_report *r = asy_alloc(sizeof *r);
    if (asy_verify_receipt(r, in, NULL, &why) == ASY_OK) {
        bool good = consistent(&r->findings);
        for (uint32_t i = 0; i < r->segment_count; i++) {
            good = consistent(&r->segments[i].findings) && good;
        }
        ASY_ASSERT(r->good == good);
    }
    asy_free(r);
    return 0;
}
