/* The canonical request and its digest: docs/protocol/request.md. */
#include "api/api.h"
#include "base/test.h"
#include "codec/codec.h"

/* Section 5 of the document. */
static void vectors(void) {
    static const struct {
        const char *body, *canonical, *digest;
    } cases[] = {
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}",
         "{\"messages\":[{\"content\":\"Hi\",\"role\":\"user\"}]}",
         "0x17fce6d8de6f55578959bf306aae0364fd961ce0bc112fa16425c65e05757b0d"},
        {"{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"Say "
         "\\\"\"},{\"type\":\"text\",\"text\":\"\\u00e9\\n\\u0001\\\"\"}],"
         "\"role\":\"developer\"},{\"role\":\"assistant\",\"content\":\"\\/"
         "\"}],\"model\":\"m\",\"temperature\":0}",
         "{\"messages\":[{\"content\":\"Say \\\"\xc3\xa9\\n\\u0001\\\"\",\"role\":\"system\"},"
         "{\"content\":\"/\",\"role\":\"assistant\"}]}",
         "0x6f494239fc771fb7d1d139d5ca858e07863bfb52fd48aab755a0f2e4159c2dcd"},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_arena a;
        asy_arena_init(&a, 1 << 16);
        struct asy_chat_request r;
        CHECK_OK(asy_api_chat_parse(&r, &a, asy_bytes_cstr(cases[i].body), NULL));
        struct asy_buf buf, again;
        asy_buf_init(&buf, 4096);
        asy_buf_init(&again, 4096);
        CHECK_OK(asy_api_messages_format(&buf, r.messages, r.message_count));
        CHECK_STR(asy_buf_cstr(&buf), cases[i].canonical);
        struct asy_json *v;
        CHECK_OK(asy_json_parse(&v, asy_buf_bytes(&buf), 8, NULL)); /* it is RFC 8785 indeed */
        CHECK_OK(asy_json_canonical(&again, v));
        CHECK_STR(asy_buf_cstr(&again), cases[i].canonical);
        asy_json_free(v);
        struct asy_hash digest;
        char text[ASY_HASH_TEXT];
        asy_api_request_digest(&digest, asy_buf_bytes(&buf));
        asy_hash_format(text, &digest);
        CHECK_STR(text, cases[i].digest);
        struct asy_chat_message *messages;
        size_t count;
        CHECK_OK(asy_api_messages_parse(&messages, &count, &a, asy_buf_bytes(&buf), NULL));
        CHECK_U64(count, r.message_count);
        for (size_t k = 0; k < count; k++) {
            CHECK(messages[k].role == r.messages[k].role &&
                  asy_bytes_eq(messages[k].content, r.messages[k].content));
        }
        asy_buf_done(&buf);
        asy_buf_done(&again);
        asy_arena_done(&a);
    }
}

static void node_side(void) {
    static const struct {
        const char *text;
        enum asy_err err;
    } cases[] = {
        {"{\"messages\":[{\"content\":\"a\",\"role\":\"user\"}]}", ASY_OK},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", ASY_ERR_MISMATCH},
        {"{\"messages\": [{\"content\":\"a\",\"role\":\"user\"}]}", ASY_ERR_MISMATCH},
        {"{\"messages\":[{\"content\":\"\\u0061\",\"role\":\"user\"}]}", ASY_ERR_MISMATCH},
        {"{\"messages\":[{\"content\":\"a\",\"role\":\"developer\"}]}", ASY_ERR_MISMATCH},
        {"{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"a\"}],\"role\":\"user\"}]}",
         ASY_ERR_MISMATCH},
        {"{\"messages\":[{\"content\":\"a\",\"name\":null,\"role\":\"user\"}]}", ASY_ERR_MISMATCH},
        {"{\"messages\":[{\"content\":\"a\",\"role\":\"user\"}],\"x\":1}", ASY_ERR_MISMATCH},
        {"{\"messages\":[]}", ASY_ERR_RANGE},
        {"{}", ASY_ERR_MISSING},
        {"[]", ASY_ERR_MISSING},
        {"", ASY_ERR_SYNTAX},
        {"{\"messages\":[{\"content\":\"a\",\"role\":\"user\"}]} ", ASY_ERR_MISMATCH},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_arena a;
        asy_arena_init(&a, 1 << 16);
        struct asy_chat_message *messages;
        size_t count;
        enum asy_err err =
            asy_api_messages_parse(&messages, &count, &a, asy_bytes_cstr(cases[i].text), NULL);
        if (err != cases[i].err) {
            fprintf(stderr, "%s: %s\n", cases[i].text, asy_err_name(err));
            CHECK(false);
        }
        asy_arena_done(&a);
    }
}

int main(void) {
    vectors();
    node_side();
    return asy_test_end();
}
