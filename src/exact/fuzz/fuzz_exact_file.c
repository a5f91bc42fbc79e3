/* Model files: whatever opens can be run, from the first position to the last. */
#include "crypto/crypto.h"
#include "exact/exact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void run(const struct asy_exact_model *m) {
    const struct asy_exact_info *i = asy_exact_model_info(m);
    struct asy_exact_config c = {
        .threads = 1, .slots = 1, .context = 2, .rows = 2, .logits_rows = 1};
    struct asy_exact *x;
    if (asy_exact_memory(m, &c) > 64u << 20 || asy_exact_new(&x, m, &c, NULL) != ASY_OK) {
        return;
    }
    struct asy_exact_row rows[2] = {{0, 0, 0, false}, {i->vocab - 1, 0, 1, true}};
    const int32_t *logits;
    ASY_ASSERT(asy_exact_step(x, &logits, rows, 2) == ASY_OK);
    for (uint32_t k = 0; k < i->vocab; k++) {
        ASY_ASSERT(logits[k] < 1 << 30 && logits[k] > -(1 << 30));
    }
    asy_exact_free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    if (len < 256) {
        return 0;
    }
    /* length and checksum are made right, or nothing behind them would ever be reached */
    uint8_t *file = asy_alloc_aligned(len, 64);
    struct asy_exact_model *m = NULL;
    struct asy_hash h;
    memcpy(file, data, len);
    asy_le64_put(file + 16, len);
    memset(file + 160, 0, 32);
    asy_sha256(&h, asy_bytes_of(file, len));
    memcpy(file + 160, h.b, 32);
    if (asy_exact_model_open(&m, asy_bytes_of(file, len), NULL) == ASY_OK) {
        run(m);
    }
    asy_exact_model_free(m);
    asy_free(file);
    return 0;
}
