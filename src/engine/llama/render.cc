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

static std::tm utc(uint64_t time) {
    const std::time_t seconds = static_cast<std::time_t>(time);
    std::tm tm;
    if (time >> 33 != 0 || gmtime_r(&seconds, &tm) == nullptr) {
        throw std::runtime_error("the job's time is no date");
    }
    return tm;
}

/* Only conversions that C libraries agree on in the C locale, whatever their time zone; a minus
 * takes zeros away. Empty: it has another one. */
static std::string format_time(const std::string &format, const std::tm &tm) {
    static const std::string known = "aAbBCdDeFHIjmMpRSTuUVwWyY%";
    char text[256];
    for (size_t i = 0; (i = format.find('%', i)) != std::string::npos; i++) {
        i += format.compare(i + 1, 1, "-") == 0 ? 2 : 1;
        if (i >= format.size() || known.find(format[i]) == std::string::npos) {
            return "";
        }
    }
    return std::string(text, std::strftime(text, sizeof text, format.c_str(), &tm));
}

/* May this stand in a template as it is? It may ask whether there is a clock, and nothing of it. */
static bool no_clock(const std::string &source) {
    static const std::string name = "strftime_now", asked[] = {" is defined", " is not defined"};
    for (size_t i = 0; (i = source.find(name, i)) != std::string::npos;) {
        i += name.size();
        if (source.compare(i, asked[0].size(), asked[0]) != 0 &&
            source.compare(i, asked[1].size(), asked[1]) != 0) {
            return false;
        }
    }
    return true;
}

/* llama.cpp gives templates the machine's clock, in its time zone. So calls of strftime_now are
 * replaced by what they give at `time`, in UTC. Throws what cannot be replaced. */
static std::string at_time(const std::string &source, uint64_t time) {
    static const std::string call = "strftime_now(";
    static const std::runtime_error unknown(
        "the chat template prints the time in a way that no one could repeat");
    const std::tm tm = utc(time);
    std::string out;
    size_t done = 0;
    for (size_t i; (i = source.find(call, done)) != std::string::npos;) {
        size_t open = source.find_first_not_of(" ", i + call.size());
        size_t end = open == std::string::npos ? open : source.find(source[open], open + 1);
        size_t close = end == std::string::npos ? end : source.find_first_not_of(" ", end + 1);
        bool literal = close != std::string::npos && source[close] == ')' &&
                       (source[open] == '"' || source[open] == '\'');
        std::string text = literal ? format_time(source.substr(open + 1, end - open - 1), tm) : "";
        std::string before = source.substr(done, i - done);
        if (text.empty() || text.find_first_of("\"'\\") != std::string::npos || !no_clock(before)) {
            throw unknown;
        }
        out += before + source[open] + text + source[open];
        done = close + 1;
    }
    std::string rest = source.substr(done);
    if (!no_clock(rest)) {
        throw unknown;
    }
    return out + rest;
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
    try {
        const std::tm tm = utc(time);
        inputs.now = std::chrono::system_clock::from_time_t(static_cast<std::time_t>(time));
        /* llama.cpp gives these two by the machine's clock where nobody else does */
        inputs.chat_template_kwargs["date_string"] = '"' + format_time("%d %b %Y", tm) + '"';
        inputs.chat_template_kwargs["datetime"] = '"' + format_time("%b %d %Y", tm) + '"';
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
