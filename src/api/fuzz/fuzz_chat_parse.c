/* Chat requests: what is taken keeps every limit, and its canonical messages are taken at the other
 * end with the same digest; what is refused is refused with a text. */
#include "api/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_request(const struct asy_chat_request *r) {
    ASY_ASSERT(r->model.n >= 1 && r->model.n <= ASY_MAX_NAME);
    ASY_ASSERT(r->message_count >= 1 && r->message_count <= ASY_MAX_MESSAGES);
    ASY_ASSERT(r->text_len <= ASY_MAX_PROMPT && r->max_tokens <= ASY_MAX_TOKENS);
    ASY_ASSERT(r->sampling.temperature_milli <= 2000 && r->sampling.top_p_ppm >= 1);
    ASY_ASSERT(asy_sample_settings_check(&r->sampling, NULL) == ASY_OK);
    ASY_ASSERT(asy_sample_bias_check(r->bias, r->bias_count, NULL) == ASY_OK);
    ASY_ASSERT(r->stop_count <= ASY_MAX_STOPS && (r->stream || !r->include_usage));
    size_t text_len = 0;
    for (size_t i = 0; i < r->message_count; i++) {
        text_len += r->messages[i].content.n;
        ASY_ASSERT(asy_utf8_valid(r->messages[i].content));
        ASY_ASSERT(r->messages[i].content.n == 0 ||
                   memchr(r->messages[i].content.p, 0, r->messages[i].content.n) == NULL);
    }
    ASY_ASSERT(text_len == r->text_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_bytes in = asy_bytes_of(data, len);
    struct asy_arena a;
    struct asy_chat_request r;
    struct asy_chat_message *messages;
    struct asy_why why = {0};
    size_t count;
    asy_arena_init(&a, 2 * len + 32768);
    enum asy_err err = asy_api_chat_parse(&r, &a, in, &why);
    ASY_ASSERT(err == ASY_OK || (why.text[0] != '\0' && asy_utf8_valid(asy_bytes_cstr(why.text)) &&
                                 asy_utf8_valid(asy_bytes_cstr(why.param))));
    struct asy_buf buf;
    asy_buf_init(&buf, 8 * len + 65536);
    if (err == ASY_OK) {
        check_request(&r);
        ASY_ASSERT(asy_api_messages_format(&buf, r.messages, r.message_count) == ASY_OK);
        struct asy_arena b;
        asy_arena_init(&b, 2 * buf.n + 32768);
        ASY_ASSERT(asy_api_messages_parse(&messages, &count, &b, asy_buf_bytes(&buf), &why) ==
                   ASY_OK);
        ASY_ASSERT(count == r.message_count);
        asy_arena_done(&b);
    } else {
        ASY_ASSERT(asy_api_error(&buf, err, &why) == ASY_OK && asy_utf8_valid(asy_buf_bytes(&buf)));
    }
    asy_arena_reset(&a);
    asy_buf_clear(&buf);
    if (asy_api_messages_parse(&messages, &count, &a, in, &why) == ASY_OK) {
        ASY_ASSERT(asy_api_messages_format(&buf, messages, count) == ASY_OK &&
                   asy_bytes_eq(asy_buf_bytes(&buf), in));
    }
    asy_buf_done(&buf);
    asy_arena_done(&a);
    return 0;
}
