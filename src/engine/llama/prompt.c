/* prompt.c: from messages to the ids that the model sees: one way, for whoever computes them and
 * whoever checks that. */
#include <assert.h>
#include <stdio.h>

#include <llama.h>

#include "engine/llama/render.h"

bool asy_chat_ids(struct asy_chat *chat, const struct llama_model *model, uint32_t *ret_ids,
                  size_t cap, size_t *ret_count, const char *messages, size_t len, uint64_t time,
                  char *ret_why, size_t why_cap) {
    const char *text = NULL;
    size_t text_len = 0;
    if (!asy_chat_render(chat, &text, &text_len, messages, len, time, ret_why, why_cap)) {
        return false;
    }
    /* The template's markers are special tokens, so special text is parsed; a message that spells
     * one out becomes one too, as with every llama.cpp front end. */
    static_assert(sizeof(llama_token) == sizeof(uint32_t), "ids are written in place");
    int32_t count = text_len > INT32_MAX
                        ? INT32_MIN
                        : llama_tokenize(llama_model_get_vocab(model), text, (int32_t)text_len,
                                         (llama_token *)ret_ids,
                                         cap > INT32_MAX ? INT32_MAX : (int32_t)cap, true, true);
    if (count == INT32_MIN) {
        snprintf(ret_why, why_cap, "the prompt is too long for the tokenizer");
        return false;
    }
    *ret_count = (size_t)(count < 0 ? -count : count);
    return true;
}
