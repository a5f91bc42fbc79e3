#include "engine/llama/render.h"

#include <cstdio>
#include <exception>
#include <string>

#include <chat.h> /* libllama-common */

struct asy_chat {
    common_chat_templates_ptr templates;
    std::string prompt; /* the last one */
};

static bool fail(char *ret_why, size_t why_cap, const char *text) {
    std::snprintf(ret_why, why_cap, "%s", text);
    return false;
}

struct asy_chat *asy_chat_new(const struct llama_model *model, char *ret_why, size_t why_cap) {
    try {
        return new asy_chat{common_chat_templates_init(model, ""), {}};
    } catch (const std::exception &e) {
        fail(ret_why, why_cap, e.what());
    } catch (...) {
        fail(ret_why, why_cap, "the chat template cannot be used");
    }
    return nullptr;
}

bool asy_chat_render(struct asy_chat *chat, const char **ret_text, size_t *ret_len,
                     const char *messages, size_t len, char *ret_why, size_t why_cap) {
    common_chat_templates_inputs inputs;
    try {
        inputs.messages =
            common_chat_msgs_parse_oaicompat(common_json::parse(std::string(messages, len)));
    } catch (...) { /* its text may quote the messages, and would end up in logs */
        return fail(ret_why, why_cap, "the messages are not an array of chat messages");
    }
    inputs.add_generation_prompt = true;
    inputs.use_jinja = true;
    try {
        chat->prompt = common_chat_templates_apply(chat->templates.get(), inputs).prompt;
    } catch (const std::exception &e) {
        return fail(ret_why, why_cap, e.what());
    } catch (...) {
        return fail(ret_why, why_cap, "the messages do not fit the chat template");
    }
    *ret_text = chat->prompt.data();
    *ret_len = chat->prompt.size();
    return true;
}

void asy_chat_free(struct asy_chat *chat) { delete chat; }
