/* windows.c: a text as windows of tokens. */
#include "convert/convert.h"

enum asy_err asy_windows_new(struct asy_windows *ret_w, const struct asy_llama_vocab *vocab,
                             struct asy_bytes text, uint32_t window, uint32_t max_count,
                             struct asy_why *reterr_why) {
    uint32_t *ids, first;
    size_t count;
    ASY_ASSERT(window >= 2);
    enum asy_err err = asy_llama_tokenize(vocab, &ids, &count, text);
    if (err != ASY_OK) {
        return asy_why_set(reterr_why, err, NULL, "the text cannot be tokenized");
    }
    bool has_first = asy_llama_vocab_first(vocab, &first);
    if (count < 2) {
        asy_free(ids);
        return asy_why_set(reterr_why, ASY_ERR_MISSING, NULL, "the text has no two tokens");
    }
    uint32_t step = window - has_first;
    if (count < step) {
        step = (uint32_t)count;
    }
    uint64_t windows = count / step;
    if (max_count != 0 && windows > max_count) {
        windows = max_count;
    }
    struct asy_windows w = {
        .window = step + has_first, .count = (uint32_t)windows, .has_first = has_first};
    w.ids = asy_alloc(windows * w.window * sizeof *w.ids);
    for (uint32_t i = 0; i < w.count; i++) {
        uint32_t *to = w.ids + (size_t)i * w.window;
        if (has_first) {
            *to++ = first;
        }
        memcpy(to, ids + (size_t)i * step, step * sizeof *to);
    }
    asy_free(ids);
    *ret_w = w;
    return ASY_OK;
}

void asy_windows_done(struct asy_windows *w) {
    asy_free(w->ids);
    *w = (struct asy_windows){0};
}
