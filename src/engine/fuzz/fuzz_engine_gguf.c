/* Heads of model files. */
#include "engine/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_gguf gguf;
    if (asy_gguf_parse(&gguf, asy_bytes_of(data, len), NULL) == ASY_OK) {
        ASY_ASSERT(gguf.vocab_count > 0 && gguf.context_train > 0 && gguf.architecture[0] != '\0');
    }
    return 0;
}
