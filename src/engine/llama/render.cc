#include "engine/llama/render.h"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <stdexcept>
#include <string>

#include <chat.h> /* libllama-common */
#include <llama.h>

struct asy_chat {
    const struct llama_model *model;
    common_chat_templates_ptr templates;
    std::string clock;  /* the template's source, if it prints the time */
    uint64_t time;      /* that stands in templates, if so */
    std::string prompt; /* the last one */
};

static bool fail(char *ret_why, size_t why_cap, const char *text) {
    std::snprintf(ret_why, why_cap, "%s", text);
    return false;
}

/* llama.cpp gives templates the machine's clock, in its time zone. So calls of strftime_now are
 * replaced by what they give at `time`, in UTC. Throws what cannot be replaced. */
static std::string at_time(const std::string &source, uint64_t time) {
    static const std::string call = "strftime_now(";
    const std::time_t seconds = static_cast<std::time_t>(time);
    std::tm tm;
    if (gmtime_r(&seconds, &tm) == nullptr) {
        throw std::runtime_error("the job's time is no date");
    }
    std::string out;
    size_t done = 0;
    for (size_t i; (i = source.find(call, done)) != std::string::npos;) {
        size_t open = source.find_first_not_of(" ", i + call.size());
        size_t end = open == std::string::npos ? open : source.find(source[open], open + 1);
        size_t close = end == std::string::npos ? end : source.find_first_not_of(" ", end + 1);
        bool literal = close != std::string::npos && source[close] == ')' &&
                       (source[open] == '"' || source[open] == '\'');
        std::string format = literal ? source.substr(open + 1, end - open - 1) : "";
        char text[256];
        if (format.empty() || std::strftime(text, sizeof text, format.c_str(), &tm) == 0 ||
            std::string(text).find_first_of("\"'\\") != std::string::npos) {
            throw std::runtime_error("the chat template prints the time in a way that no one "
                                     "could repeat");
        }
        out += source.substr(done, i - done) + source[open] + text + source[open];
        done = close + 1;
    }
    return out + source.substr(done);
}

struct asy_chat *asy_chat_new(const struct llama_model *model, char *ret_why, size_t why_cap) {
    try {
        const char *source = llama_model_chat_template(model, nullptr);
        std::string clock = source != nullptr ? source : "";
        if (clock.find("strftime_now") == std::string::npos) {
            clock.clear();
        }
        return new asy_chat{
            model, common_chat_templates_init(model, at_time(clock, 0)), clock, 0, {}};
    } catch (const std::exception &e) {
        fail(ret_why, why_cap, e.what());
    } catch (...) {
        fail(ret_why, why_cap, "the chat template cannot be used");
    }
    return nullptr;
}

bool asy_chat_render(struct asy_chat *chat, const char **ret_text, size_t *ret_len,
                     const char *messages, size_t len, uint64_t time, char *ret_why,
                     size_t why_cap) {
    common_chat_templates_inputs inputs;
    try {
        inputs.messages =
            common_chat_msgs_parse_oaicompat(common_json::parse(std::string(messages, len)));
    } catch (...) { /* its text may quote the messages, and would end up in logs */
        return fail(ret_why, why_cap, "the messages are not an array of chat messages");
    }
    inputs.add_generation_prompt = true;
    inputs.use_jinja = true;
    inputs.now = std::chrono::system_clock::from_time_t(static_cast<std::time_t>(time));
    try {
        if (!chat->clock.empty() && chat->time != time) {
            chat->templates = common_chat_templates_init(chat->model, at_time(chat->clock, time));
            chat->time = time;
        }
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
