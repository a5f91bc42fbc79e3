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
    struct asy_arena arena;
    asy_arena_init(&arena, ASY_VERIFY_MAX_RECORDS);
    if (asy_verify_receipt(r, &arena, in, NULL, &why) == ASY_OK) {
        bool good = consistent(&r->findings);
        for (uint32_t i = 0; i < r->segment_count; i++) {
            const struct asy_verify_segment *s = &r->segments[i];
            const struct asy_verify_finding *f = asy_verify_get(&s->findings, ASY_VERIFY_RECORD);
            good = consistent(&s->findings) && good;
            ASY_ASSERT(!s->has_record || (f != NULL && s->record.settings.n != 0));
            ASY_ASSERT(f == NULL || f->state != ASY_VERIFY_PASSED || !s->has_receipt ||
                       s->record.count >= s->receipt.out_tokens);
        }
        ASY_ASSERT(r->good == good);
    }
    asy_arena_done(&arena);
    asy_free(r);
    return 0;
}
