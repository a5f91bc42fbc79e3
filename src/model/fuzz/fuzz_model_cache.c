/* A cache entry that is taken says what it would be written as. */
#include "model/model_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    static const struct model_stamp stamp = {1, 2, 3, 4, 5};
    static const char path[] = "m.gguf";
    struct asy_gguf g, back;
    if (model_cache_parse(&g, asy_bytes_of(data, len), path, &stamp) != ASY_OK) {
        return 0;
    }
    struct asy_buf text;
    asy_buf_init(&text, MODEL_CACHE_MAX);
    enum asy_err err = model_cache_format(&text, path, &stamp, &g);
    ASY_ASSERT(err == ASY_OK);
    err = model_cache_parse(&back, asy_buf_bytes(&text), path, &stamp);
    ASY_ASSERT(err == ASY_OK && back.file_len == 3 && asy_hash_eq(&back.sha256, &g.sha256));
    asy_buf_done(&text);
    return 0;
}
