/* Answers byte by byte. */
#include "api/api.h"
#include "base/test.h"
#include "codec/codec.h"

#define JOB "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define ID  "chatcmpl-000102030405060708090a0b0c0d0e0f"
#define CHUNK                                                                                      \
    "data: {\"id\":\"" ID                                                                          \
    "\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m \\\"1\\\"\""
#define ASSAY "\"assay\":{\"job_id\":\"" JOB "\",\"receipt\":\"/v1/receipts/x\"}"
#define USAGE                                                                                      \
    "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,\"total_tokens\":15,\"prompt_tokens_" \
    "details\":"                                                                                   \
    "{\"cached_tokens\":4}}"

static struct asy_chat_meta meta(void) {
    struct asy_chat_meta m = {.created_s = 1700000000,
                              .model = ASY_STR("m \"1\""),
                              .receipt_url = ASY_STR("/v1/receipts/x")};
    for (size_t i = 0; i < sizeof m.job_id.b; i++) {
        m.job_id.b[i] = (uint8_t)i;
    }
    return m;
}
static const struct asy_chat_usage usage = {12, 3, 4};

static void response(void) {
    struct asy_chat_meta m = meta();
    struct asy_buf buf;
    asy_buf_init(&buf, 4096);
    CHECK_OK(asy_chat_response(&buf, &m, ASY_STR("a\n\"b\""), ASY_CHAT_FINISH_LENGTH, &usage));
    CHECK_STR(asy_buf_cstr(&buf),
              "{\"id\":\"" ID
              "\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"m \\\"1\\\"\","
              "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
              "\"a\\n\\\"b\\\"\","
              "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"length\"}]," USAGE "," ASSAY
              "}");
    size_t len = buf.n;
    asy_buf_clear(&buf);
    m.receipt_url.n = 0;
    CHECK_OK(asy_chat_response(&buf, &m, ASY_STR(""), ASY_CHAT_FINISH_STOP, &usage));
    CHECK(strstr(asy_buf_cstr(&buf), "\"assay\":{\"job_id\":\"" JOB "\"}}") != NULL);
    asy_buf_done(&buf);
    asy_buf_init(&buf, len - 1);
    m = meta();
    CHECK_ERR(asy_chat_response(&buf, &m, ASY_STR("a\n\"b\""), ASY_CHAT_FINISH_LENGTH, &usage),
              ASY_ERR_TOO_LONG);
    CHECK_STR(asy_buf_cstr(&buf), "");
    asy_buf_done(&buf);
}

static void stream(bool include_usage, const char *golden) {
    struct asy_chat_meta m = meta();
    struct asy_chat_stream s;
    struct asy_arena a;
    struct asy_buf buf;
    asy_arena_init(&a, 4096);
    asy_buf_init(&buf, 8192);
    CHECK_OK(asy_chat_stream_init(&s, &a, &m, include_usage));
    CHECK_OK(asy_chat_stream_role(&buf, &s));
    CHECK_OK(asy_chat_stream_delta(&buf, &s, ASY_STR("Hello")));
    CHECK_OK(asy_chat_stream_delta(&buf, &s, ASY_STR("\n\"\xc3\xa9")));
    CHECK_OK(asy_chat_stream_end(&buf, &s, ASY_CHAT_FINISH_STOP, &usage));
    CHECK_STR(asy_buf_cstr(&buf), golden);
    asy_buf_done(&buf);

    for (size_t max = 0; max < 700; max += 7) { /* whatever does not fit leaves nothing behind */
        asy_buf_init(&buf, max);
        size_t before = 0;
        enum asy_err err[] = {asy_chat_stream_role(&buf, &s), ASY_OK, ASY_OK, ASY_OK};
        before = buf.n;
        err[1] = asy_chat_stream_delta(&buf, &s, ASY_STR("x\ny"));
        CHECK(err[1] == ASY_OK || buf.n == before);
        before = buf.n;
        err[2] = asy_chat_stream_end(&buf, &s, ASY_CHAT_FINISH_STOP, &usage);
        CHECK(err[2] == ASY_OK || buf.n == before);
        before = buf.n;
        err[3] = asy_chat_stream_error(&buf, ASY_ERR_PEER, NULL);
        CHECK(err[3] == ASY_OK || buf.n == before);
        for (size_t i = 0; i < ASY_COUNT(err); i++) {
            CHECK(err[i] == ASY_OK || err[i] == ASY_ERR_TOO_LONG);
        }
        CHECK(buf.n == 0 || (buf.p[buf.n - 1] == '\n' && buf.p[buf.n] == 0));
        asy_buf_done(&buf);
    }
    asy_arena_done(&a);
    asy_arena_init(&a, 100);
    CHECK_ERR(asy_chat_stream_init(&s, &a, &m, include_usage), ASY_ERR_TOO_LONG);
    asy_arena_done(&a);
}

static void streams(void) {
    stream(false, CHUNK
           ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
           "\"finish_reason\":null}]}\n\n" CHUNK
           ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}]}"
           "\n\n" CHUNK ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\n\\\"\xc3\xa9\"},"
           "\"finish_reason\":null}]}\n\n" CHUNK
           ",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]," ASSAY "}\n\n"
           "data: [DONE]\n\n");
    stream(
        true, CHUNK
        ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_"
        "reason\":null}],"
        "\"usage\":null}\n\n" CHUNK ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"},"
        "\"finish_reason\":null}],\"usage\":null}\n\n" CHUNK
        ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\n\\\"\xc3\xa9\"},\"finish_reason\":"
        "null}],"
        "\"usage\":null}\n\n" CHUNK
        ",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null," ASSAY
        "}\n\n" CHUNK ",\"choices\":[]," USAGE "}\n\n"
        "data: [DONE]\n\n");
    /* the longest head: a name of which each byte is escaped with six */
    struct asy_chat_meta m = meta();
    char name[ASY_MAX_NAME];
    memset(name, 1, sizeof name);
    m.model = asy_bytes_of(name, sizeof name);
    m.created_s = UINT64_MAX;
    struct asy_chat_stream s;
    struct asy_arena a;
    asy_arena_init(&a, 4096);
    CHECK_OK(asy_chat_stream_init(&s, &a, &m, true));
    asy_arena_done(&a);
}

static void errors(void) {
    static const struct {
        enum asy_err err;
        const char *param, *text, *want;
    } cases[] = {
        {ASY_ERR_UNKNOWN, "top_a", "'top_a' is not a known field",
         "{\"error\":{\"message\":\"'top_a' is not a known "
         "field\",\"type\":\"invalid_request_error\",\"param\":\"top_a\","
         "\"code\":\"unknown\"}}"},
        {ASY_ERR_NOT_FOUND, "model", "no node offers \"x\"",
         "{\"error\":{\"message\":\"no node offers "
         "\\\"x\\\"\",\"type\":\"invalid_request_error\",\"param\":\"model\","
         "\"code\":\"model_not_found\"}}"},
        {ASY_ERR_NOT_FOUND, "", "",
         "{\"error\":{\"message\":\"no such "
         "thing\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"not_found\"}}"},
        {ASY_ERR_AUTH, "", "",
         "{\"error\":{\"message\":\"missing or wrong "
         "credentials\",\"type\":\"authentication_error\",\"param\":null,"
         "\"code\":\"invalid_api_key\"}}"},
        {ASY_ERR_CREDIT, "", "",
         "{\"error\":{\"message\":\"not enough "
         "credit\",\"type\":\"insufficient_quota\",\"param\":null,"
         "\"code\":\"insufficient_credit\"}}"},
        {ASY_ERR_RATE, "", "",
         "{\"error\":{\"message\":\"too many "
         "requests\",\"type\":\"rate_limit_error\",\"param\":null,"
         "\"code\":\"rate_limit_exceeded\"}}"},
        {ASY_ERR_NO_NODE, "", "",
         "{\"error\":{\"message\":\"no node can serve this "
         "now\",\"type\":\"server_error\",\"param\":null,"
         "\"code\":\"no_node_available\"}}"},
        {ASY_ERR_STORE, "sql", "disk image is malformed",
         "{\"error\":{\"message\":\"the database "
         "failed\",\"type\":\"server_error\",\"param\":null,\"code\":\"store\"}}"},
    };
    struct asy_buf buf;
    asy_buf_init(&buf, 1024);
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_why why;
        snprintf(why.text, sizeof why.text, "%s", cases[i].text);
        snprintf(why.param, sizeof why.param, "%s", cases[i].param);
        asy_buf_clear(&buf);
        CHECK_OK(asy_api_error(&buf, cases[i].err, &why));
        CHECK_STR(asy_buf_cstr(&buf), cases[i].want);
    }
    asy_buf_clear(&buf);
    CHECK_OK(asy_chat_stream_error(&buf, ASY_ERR_PEER, NULL));
    CHECK_STR(asy_buf_cstr(&buf), "data: {\"error\":{\"message\":\"a peer failed or broke the "
                                  "protocol\",\"type\":\"server_error\","
                                  "\"param\":null,\"code\":\"peer\"}}\n\n");
    asy_buf_done(&buf);
    /* every error: its type agrees with its status, and its code is its name unless it has a better
     * one */
#define X(name, value, http, text)                                                                 \
    {                                                                                              \
        const char *type = asy_api_error_type(ASY_ERR_##name),                                     \
                   *code = asy_api_error_code(ASY_ERR_##name, NULL);                               \
        if ((http) >= 500) {                                                                       \
            CHECK_STR(type, "server_error");                                                       \
        } else if ((http) >= 400) {                                                                \
            CHECK(strcmp(type, "server_error") != 0);                                              \
        }                                                                                          \
        CHECK(strpbrk(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == NULL && code[0] != '\0');             \
        CHECK(asy_api_retry_after_s(ASY_ERR_##name) == 0 || (http) == 503 || (http) == 429);       \
    }
    ASY_ERR_TABLE(X)
#undef X
    CHECK_U64(asy_api_retry_after_s(ASY_ERR_NO_NODE), 1);
}

static void models(void) {
    struct asy_api_model m[2] = {{
        .name = ASY_STR("SmolLM2-135M-Instruct"),
        .created_s = 1700000000,
        .context_length = 2048,
        .engine = ASY_STR("llama.cpp/1"),
        .node_count = 2,
        .min_price_in = {20000},
        .min_price_out = {1500000000000u},
    }};
    m[1] = m[0];
    m[1].name = ASY_STR("b");
    static const char one[] =
        "{\"id\":\"SmolLM2-135M-Instruct\",\"object\":\"model\",\"created\":1700000000,\"owned_"
        "by\":\"assay\","
        "\"context_length\":2048,\"pricing\":{\"prompt\":\"0.00000002\",\"completion\":\"1.5\"},"
        "\"assay\":{"
        "\"digest\":\"0x0000000000000000000000000000000000000000000000000000000000000000\","
        "\"engine\":\"llama.cpp/1\",\"nodes\":2}}";
    struct asy_buf buf;
    asy_buf_init(&buf, 4096);
    CHECK_OK(asy_api_model(&buf, m));
    CHECK_STR(asy_buf_cstr(&buf), one);
    asy_buf_clear(&buf);
    CHECK_OK(asy_api_models(&buf, m, 0));
    CHECK_STR(asy_buf_cstr(&buf), "{\"object\":\"list\",\"data\":[]}");
    asy_buf_clear(&buf);
    CHECK_OK(asy_api_models(&buf, m, 2));
    CHECK(asy_bytes_starts(asy_buf_bytes(&buf),
                           ASY_STR("{\"object\":\"list\",\"data\":[{\"id\":\"SmolLM2")));
    struct asy_json *v;
    CHECK_OK(asy_json_parse(&v, asy_buf_bytes(&buf), 8, NULL));
    CHECK_U64(asy_json_len(asy_json_get(v, "data")), 2);
    asy_json_free(v);
    asy_buf_done(&buf);
}

int main(void) {
    response();
    streams();
    errors();
    models();
    return asy_test_end();
}
