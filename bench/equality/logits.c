/* logits: writes every logit of some windows of ids to stdout, as int32 little endian: what `assay
 * exact hash` hashes, from a build that is no whole Assay: another compiler's, another processor's.
 * usage: logits MODEL IDS WINDOW WINDOWS CHUNK KERNEL
 * Compiled with -DNO_CRYPTO it needs no library for the checksum of the model file, which then is
 * taken as it stands: the same file was checked by others before. */
#include <stdio.h>

#include "exact/exact.h"

#ifdef NO_CRYPTO
#include "crypto/crypto.h"

enum { AT_SUM = 160 }; /* of the checksum in a model file: docs/protocol/exact-file.md */
static struct asy_hash claimed;
void asy_sha256_init(struct asy_sha256 *s) { (void)s; }
void asy_sha256_add(struct asy_sha256 *s, struct asy_bytes in) { (void)s, (void)in; }
void asy_sha256_final(struct asy_sha256 *s, struct asy_hash *ret) { (void)s, *ret = claimed; }
#endif

static int fail(const char *what, const struct asy_why *why) {
    fprintf(stderr, "logits: %s: %s\n", what, why->text);
    return 1;
}

/* Logits of one window. */
static enum asy_err run(struct asy_exact *x, const uint8_t *ids, uint32_t window, uint32_t chunk) {
    const struct asy_exact_model *model = asy_exact_model_of(x);
    uint32_t vocab = asy_exact_model_info(model)->vocab, stride = asy_exact_logits_stride(model);
    static struct asy_exact_row rows[ASY_EXACT_MAX_ROWS];
    for (uint32_t at = 0; at < window; at += chunk) {
        uint32_t n = window - at < chunk ? window - at : chunk;
        const int32_t *logits;
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = (struct asy_exact_row){asy_le32_get(ids + 4ull * (at + i)), 0, at + i, true};
        }
        ASY_TRY(asy_exact_step(x, &logits, rows, n));
        for (uint32_t i = 0; i < n; i++) { /* every machine that it runs on is little endian */
            if (fwrite(logits + (size_t)i * stride, 4, vocab, stdout) != vocab) {
                return ASY_ERR_IO;
            }
        }
    }
    return ASY_OK;
}

int main(int argc, char **argv) {
    struct asy_bytes file, ids;
    struct asy_exact_model *model;
    struct asy_exact *x;
    struct asy_why why = {{0}, {0}};
    uint64_t n[3] = {0};
    struct asy_exact_config c = {.threads = 1, .slots = 1};
    bool good = argc == 7 && asy_exact_kernel_parse(&c.kernel, asy_bytes_cstr(argv[6])) == ASY_OK;
    for (int i = 0; i < 3 && good; i++) { /* window, windows, chunk */
        good = asy_bytes_to_u64(&n[i], asy_bytes_cstr(argv[3 + i])) == ASY_OK && n[i] != 0;
    }
    if (!good || n[0] > ASY_EXACT_MAX_POSITIONS || n[2] > ASY_EXACT_MAX_ROWS) {
        fprintf(stderr, "usage: logits MODEL IDS WINDOW WINDOWS CHUNK KERNEL\n");
        return 2;
    }
    if (asy_file_map(&file, argv[1], &why) != ASY_OK ||
        asy_file_map(&ids, argv[2], &why) != ASY_OK) {
        return fail("a file", &why);
    }
    if (ids.n / 4 / n[0] < n[1]) {
        return fail("the ids are too few", &why);
    }
#ifdef NO_CRYPTO
    memcpy(claimed.b, file.p + AT_SUM, 32);
#endif
    c.context = (uint32_t)n[0];
    c.rows = c.logits_rows = (uint32_t)n[2];
    if (asy_exact_model_open(&model, file, &why) != ASY_OK ||
        asy_exact_new(&x, model, &c, &why) != ASY_OK) {
        return fail(argv[1], &why);
    }
    for (uint64_t w = 0; w < n[1]; w++) {
        if (run(x, ids.p + 4 * n[0] * w, c.context, c.rows) != ASY_OK) {
            return fail("a step", &why);
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
