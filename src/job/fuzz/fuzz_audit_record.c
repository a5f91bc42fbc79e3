/* An audit record from anywhere: what is taken must come out as it went in. */
#include "job/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_audit_record r;
    struct asy_arena arena;
    struct asy_buf again;
    asy_arena_init(&arena, 8 * ASY_MAX_TOKENS + 64);
    asy_buf_init(&again, len);
    if (asy_audit_record_decode(&r, &arena, asy_bytes_of(data, len)) == ASY_OK) {
        ASY_ASSERT(r.settings.n == 64 && r.stop_count <= ASY_MAX_STOPS &&
                   r.prior_count <= ASY_MAX_TOKENS && r.count <= ASY_MAX_TOKENS);
        enum asy_err err = asy_audit_record_encode(&again, &r);
        ASY_ASSERT(err == ASY_OK && asy_bytes_eq(asy_buf_bytes(&again), asy_bytes_of(data, len)));
    }
    asy_buf_done(&again);
    asy_arena_done(&arena);
    return 0;
}
