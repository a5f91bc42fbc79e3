/* Measures offline verification: a settled receipt at several sizes of its lane, and whole lanes.
 * Prints one line each; best of the rounds, parsing included. */
#include <stdio.h>

#include "verify/test/bundle.h"

static uint64_t best_ns(struct asy_bytes doc, bool lane, const struct asy_domain *domain,
                        int rounds) {
    const struct asy_env *env = asy_env_system();
    struct asy_verify_report *r = asy_alloc(sizeof *r);
    struct asy_verify_lane_report *l = asy_alloc(sizeof *l);
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < rounds; i++) {
        uint64_t start = asy_env_mono_ns(env);
        enum asy_err err = lane ? asy_verify_lane(l, doc, domain, NULL)
                                : asy_verify_receipt(r, NULL, doc, domain, NULL);
        uint64_t took = asy_env_mono_ns(env) - start;
        ASY_ASSERT(err == ASY_OK && (lane ? l->good : r->good));
        best = took < best ? took : best;
    }
    asy_free(r);
    asy_free(l);
    return best;
}

int main(void) {
    static const uint32_t counts[] = {1, 64, 4096};
    struct asy_buf doc;
    asy_buf_init(&doc, ASY_VERIFY_MAX_DOC);
    for (size_t i = 0; i < ASY_COUNT(counts); i++) {
        struct bundle_world *w = bundle_new(counts[i], 50, 64);
        asy_buf_clear(&doc);
        bundle_write(&doc, w, counts[i] / 3, 1);
        uint64_t receipt = best_ns(asy_buf_bytes(&doc), false, &w->domain, 200);
        size_t receipt_len = doc.n;
        asy_buf_clear(&doc);
        bundle_write_lane(&doc, w);
        uint64_t lane = best_ns(asy_buf_bytes(&doc), true, &w->domain, counts[i] > 64 ? 3 : 50);
        printf("verify lane of %4u: receipt %7.1f us (%zu bytes), whole lane %9.1f us, %.1f us a "
               "leaf (%zu bytes)\n",
               counts[i], (double)receipt / 1e3, receipt_len, (double)lane / 1e3,
               (double)lane / 1e3 / counts[i], doc.n);
        asy_free(w);
    }
    asy_buf_done(&doc);
    return 0;
}
