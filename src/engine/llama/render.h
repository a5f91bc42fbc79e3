/* render.h: the model's own chat template, by libllama-common's Jinja engine.
 *
 * libllama alone recognises some templates and imitates them; it drops, for instance, the default
 * system message of SmolLM2's, so that the model would see another prompt than the one it was
 * trained on. The full engine is C++ with C++ types at its border: this is the C border. No
 * exception leaves it. */
#ifndef ASY_ENGINE_LLAMA_RENDER_H
#define ASY_ENGINE_LLAMA_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct llama_model;
struct asy_chat;

/* NULL when the template cannot be used; ret_why then says why. A model without a template gets
 * ChatML, as in llama.cpp. */
struct asy_chat *asy_chat_new(const struct llama_model *model, char *ret_why, size_t why_cap);
/* messages: JSON array in the form of the OpenAI API. ret_text: the prompt, ending where the
 * assistant begins; valid until the next call. time: Unix s below 2^33, the now of templates that
 * print it, in UTC. */
bool asy_chat_render(struct asy_chat *chat, const char **ret_text, size_t *ret_len,
                     const char *messages, size_t len, uint64_t time, char *ret_why,
                     size_t why_cap);
void asy_chat_free(struct asy_chat *chat);
/* prompt.c: the same, then the tokenizer: what the model sees. ret_count is right also when it
 * exceeds cap. */
bool asy_chat_ids(struct asy_chat *chat, const struct llama_model *model, uint32_t *ret_ids,
                  size_t cap, size_t *ret_count, const char *messages, size_t len, uint64_t time,
                  char *ret_why, size_t why_cap);

#ifdef __cplusplus
}
#endif

#endif
