/* Heads of model files, and whole ones: every key and tensor is looked at. */
#include <stdio.h>

#include "engine/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_gguf gguf;
    if (asy_gguf_parse(&gguf, asy_bytes_of(data, len), NULL) == ASY_OK) {
        ASY_ASSERT(gguf.vocab_count > 0 && gguf.context_train > 0 && gguf.architecture[0] != '\0');
    }
    struct asy_gguf_file *f;
    if (asy_gguf_open(&f, asy_bytes_of(data, len), NULL) == ASY_OK) {
        for (size_t i = 0; i < asy_gguf_keys(f); i++) {
            char name[64];
            struct asy_bytes key = asy_gguf_key_at(f, i), text;
            uint32_t n;
            float v;
            (void)snprintf(name, sizeof name, "%.*s", (int)(key.n < 63 ? key.n : 63), key.p);
            if (asy_gguf_text(&text, f, name) == ASY_OK ||
                asy_gguf_bools(&text, f, name) == ASY_OK) {
                ASY_ASSERT(text.n <= len);
            }
            ASY_ASSERT(asy_gguf_u32(&n, f, name) != ASY_OK || n <= INT32_MAX);
            ASY_ASSERT(asy_gguf_f32(&v, f, name) != ASY_OK || asy_gguf_u32(&n, f, name) != ASY_OK);
        }
        for (size_t i = 0; i < asy_gguf_tensors(f); i++) {
            const struct asy_gguf_tensor *t = asy_gguf_tensor_at(f, i);
            ASY_ASSERT(t->data.p + t->data.n == data + len && t->data.n <= len && t->dim[0] != 0);
        }
        struct asy_buf bare;
        struct asy_gguf_file *g;
        asy_buf_init(&bare, len + 32);
        ASY_ASSERT(asy_gguf_without_tensors(&bare, f) == ASY_OK);
        ASY_ASSERT(asy_gguf_open(&g, asy_buf_bytes(&bare), NULL) == ASY_OK);
        ASY_ASSERT(asy_gguf_keys(g) == asy_gguf_keys(f) && asy_gguf_tensors(g) == 0);
        asy_gguf_close(g);
        asy_buf_done(&bare);
        asy_gguf_close(f);
    }
    return 0;
}
