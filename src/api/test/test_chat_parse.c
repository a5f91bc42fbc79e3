/* Chat requests: one table of what is taken and what is refused, with the field at fault; then the
 * values. */
#include "api/api.h"
#include "base/test.h"

/* The members every request needs, so that a case shows only its own. */
#define M             "\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define WITH(members) "{" M "," members "}"
#define MSG(message)  "{\"model\":\"m\",\"messages\":[" message "]}"

struct chat_case {
    const char *body;
    enum asy_err err;
    const char *param;
};

static const struct chat_case cases[] = {
    {"{" M "}", ASY_OK, ""},
    /* the body */
    {"", ASY_ERR_SYNTAX, ""},
    {"{", ASY_ERR_SYNTAX, ""},
    {"{" M "} x", ASY_ERR_SYNTAX, ""},
    {"[]", ASY_ERR_TYPE, ""},
    {"null", ASY_ERR_TYPE, ""},
    {"\"x\"", ASY_ERR_TYPE, ""},
    {"{}", ASY_ERR_MISSING, "model"},
    {WITH("\"model\":\"m\""), ASY_ERR_DUPLICATE, ""},
    {WITH("\"seed\":99999999999999999999"), ASY_ERR_RANGE, ""},
    {WITH("\"frobnicate\":1"), ASY_ERR_UNKNOWN, "frobnicate"},
    {WITH("\"frobnicate\":null"), ASY_ERR_UNKNOWN, "frobnicate"},
    {WITH("\"top_a\":1"), ASY_ERR_UNKNOWN, "top_a"},
    {WITH("\"Temperature\":1"), ASY_ERR_UNKNOWN, "Temperature"},
    /* model */
    {"{\"messages\":[]}", ASY_ERR_MISSING, "model"},
    {"{\"model\":null,\"messages\":[]}", ASY_ERR_MISSING, "model"},
    {"{\"model\":\"\",\"messages\":[]}", ASY_ERR_RANGE, "model"},
    {"{\"model\":5,\"messages\":[]}", ASY_ERR_TYPE, "model"},
    {"{\"model\":[\"m\"],\"messages\":[]}", ASY_ERR_TYPE, "model"},
    {"{\"model\":\"m\"}", ASY_ERR_MISSING, "messages"},
    /* messages */
    {MSG(""), ASY_ERR_RANGE, "messages"},
    {"{\"model\":\"m\",\"messages\":\"hi\"}", ASY_ERR_TYPE, "messages"},
    {"{\"model\":\"m\",\"messages\":{}}", ASY_ERR_TYPE, "messages"},
    {MSG("\"hi\""), ASY_ERR_TYPE, "messages[0]"},
    {MSG("null"), ASY_ERR_TYPE, "messages[0]"},
    {MSG("{\"role\":\"user\",\"content\":\"a\"},{}"), ASY_ERR_MISSING, "messages[1].role"},
    {MSG("{\"content\":\"a\"}"), ASY_ERR_MISSING, "messages[0].role"},
    {MSG("{\"role\":1,\"content\":\"a\"}"), ASY_ERR_TYPE, "messages[0].role"},
    {MSG("{\"role\":\"User\",\"content\":\"a\"}"), ASY_ERR_RANGE, "messages[0].role"},
    {MSG("{\"role\":\"tool\",\"content\":\"a\",\"tool_call_id\":\"x\"}"), ASY_ERR_UNSUPPORTED,
     "messages[0].role"},
    {MSG("{\"role\":\"function\",\"content\":\"a\"}"), ASY_ERR_UNSUPPORTED, "messages[0].role"},
    {MSG("{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"developer\",\"content\":\"b\"}"),
     ASY_OK, ""},
    {MSG("{\"role\":\"assistant\",\"content\":\"a\"}"), ASY_OK, ""},
    {MSG("{\"role\":\"user\"}"), ASY_ERR_MISSING, "messages[0].content"},
    {MSG("{\"role\":\"user\",\"content\":null}"), ASY_ERR_MISSING, "messages[0].content"},
    {MSG("{\"role\":\"user\",\"content\":7}"), ASY_ERR_TYPE, "messages[0].content"},
    {MSG("{\"role\":\"user\",\"content\":{\"type\":\"text\"}}"), ASY_ERR_TYPE,
     "messages[0].content"},
    {MSG("{\"role\":\"user\",\"content\":\"\"}"), ASY_OK, ""},
    {MSG("{\"role\":\"user\",\"content\":\"a\\u0000b\"}"), ASY_ERR_SYNTAX, ""},
    {MSG("{\"role\":\"user\",\"content\":[]}"), ASY_ERR_RANGE, "messages[0].content"},
    {MSG("{\"role\":\"user\",\"content\":[\"a\"]}"), ASY_ERR_TYPE, "messages[0].content[0]"},
    {MSG("{\"role\":\"user\",\"content\":[{}]}"), ASY_ERR_MISSING, "messages[0].content[0].type"},
    {MSG("{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}"), ASY_ERR_MISSING,
     "messages[0].content[0].text"},
    {MSG("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":1}]}"), ASY_ERR_TYPE,
     "messages[0].content[0].text"},
    {MSG("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_"
         "url\",\"image_url\":{\"url\":\"x\"}}]}"),
     ASY_ERR_UNSUPPORTED, "messages[0].content[1].type"},
    {MSG("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{}}]"
         "}"),
     ASY_ERR_UNKNOWN, "messages[0].content[0].cache_control"},
    {MSG("{\"role\":\"user\",\"content\":\"a\",\"name\":\"bob\"}"), ASY_ERR_UNSUPPORTED,
     "messages[0].name"},
    {MSG("{\"role\":\"user\",\"content\":\"a\",\"extra\":1}"), ASY_ERR_UNKNOWN,
     "messages[0].extra"},
    {MSG("{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[{\"id\":\"x\"}]}"),
     ASY_ERR_UNSUPPORTED, "messages[0].tool_calls"},
    {MSG("{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":7}"), ASY_ERR_TYPE,
     "messages[0].tool_calls"},
    /* what an SDK sends back from an earlier answer */
    {MSG("{\"role\":\"assistant\",\"content\":\"a\",\"refusal\":null,\"annotations\":[],\"audio\":"
         "null,\"function_call\":null,"
         "\"tool_calls\":null,\"name\":null}"),
     ASY_OK, ""},
    /* numbers */
    {WITH("\"max_tokens\":1"), ASY_OK, ""},
    {WITH("\"max_tokens\":32768"), ASY_OK, ""},
    {WITH("\"max_tokens\":32769"), ASY_ERR_RANGE, "max_tokens"},
    {WITH("\"max_tokens\":9223372036854775807"), ASY_ERR_RANGE, "max_tokens"},
    {WITH("\"max_tokens\":0"), ASY_ERR_RANGE, "max_tokens"},
    {WITH("\"max_tokens\":-1"), ASY_ERR_RANGE, "max_tokens"},
    {WITH("\"max_tokens\":1.5"), ASY_ERR_TYPE, "max_tokens"},
    {WITH("\"max_tokens\":\"5\""), ASY_ERR_TYPE, "max_tokens"},
    {WITH("\"max_tokens\":true"), ASY_ERR_TYPE, "max_tokens"},
    {WITH("\"max_completion_tokens\":0"), ASY_ERR_RANGE, "max_completion_tokens"},
    {WITH("\"max_completion_tokens\":\"5\""), ASY_ERR_TYPE, "max_completion_tokens"},
    {WITH("\"max_tokens\":5,\"max_completion_tokens\":5"), ASY_OK, ""},
    {WITH("\"max_tokens\":5,\"max_completion_tokens\":6"), ASY_ERR_RANGE, "max_tokens"},
    {WITH("\"max_tokens\":null,\"max_completion_tokens\":6"), ASY_OK, ""},
    {WITH("\"temperature\":0"), ASY_OK, ""},
    {WITH("\"temperature\":2"), ASY_OK, ""},
    {WITH("\"temperature\":2.0004"), ASY_OK, ""}, /* rounds to 2 */
    {WITH("\"temperature\":2.0005"), ASY_ERR_RANGE, "temperature"},
    {WITH("\"temperature\":-0.1"), ASY_ERR_RANGE, "temperature"},
    {WITH("\"temperature\":1e300"), ASY_ERR_RANGE, "temperature"},
    {WITH("\"temperature\":\"1\""), ASY_ERR_TYPE, "temperature"},
    {WITH("\"top_p\":1"), ASY_OK, ""},
    {WITH("\"top_p\":0"), ASY_ERR_RANGE, "top_p"},
    {WITH("\"top_p\":1.1"), ASY_ERR_RANGE, "top_p"},
    {WITH("\"top_p\":[]"), ASY_ERR_TYPE, "top_p"},
    {WITH("\"seed\":-9223372036854775808"), ASY_OK, ""},
    {WITH("\"seed\":1.0"), ASY_ERR_TYPE, "seed"},
    {WITH("\"seed\":\"1\""), ASY_ERR_TYPE, "seed"},
    /* stop */
    {WITH("\"stop\":\"x\""), ASY_OK, ""},
    {WITH("\"stop\":[]"), ASY_OK, ""},
    {WITH("\"stop\":[\"a\",\"b\",\"c\",\"d\"]"), ASY_OK, ""},
    {WITH("\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"), ASY_ERR_RANGE, "stop"},
    {WITH("\"stop\":\"\""), ASY_ERR_RANGE, "stop"},
    {WITH("\"stop\":[\"a\",\"\"]"), ASY_ERR_RANGE, "stop[1]"},
    {WITH("\"stop\":[1]"), ASY_ERR_TYPE, "stop[0]"},
    {WITH("\"stop\":[null]"), ASY_ERR_TYPE, "stop[0]"},
    {WITH("\"stop\":1"), ASY_ERR_TYPE, "stop"},
    {WITH("\"stop\":{}"), ASY_ERR_TYPE, "stop"},
    /* stream, user */
    {WITH("\"stream\":true"), ASY_OK, ""},
    {WITH("\"stream\":\"true\""), ASY_ERR_TYPE, "stream"},
    {WITH("\"stream\":1"), ASY_ERR_TYPE, "stream"},
    {WITH("\"stream\":true,\"stream_options\":{}"), ASY_OK, ""},
    {WITH("\"stream\":true,\"stream_options\":{\"include_usage\":true}"), ASY_OK, ""},
    {WITH("\"stream\":true,\"stream_options\":{\"include_usage\":null,\"include_obfuscation\":"
          "false}"),
     ASY_OK, ""},
    {WITH("\"stream\":true,\"stream_options\":{\"include_usage\":1}"), ASY_ERR_TYPE,
     "stream_options.include_usage"},
    {WITH("\"stream\":true,\"stream_options\":{\"include_obfuscation\":true}"), ASY_ERR_UNSUPPORTED,
     "stream_options.include_obfuscation"},
    {WITH("\"stream\":true,\"stream_options\":{\"x\":1}"), ASY_ERR_UNKNOWN, "stream_options.x"},
    {WITH("\"stream\":true,\"stream_options\":[]"), ASY_ERR_TYPE, "stream_options"},
    {WITH("\"stream_options\":{\"include_usage\":true}"), ASY_ERR_UNSUPPORTED, "stream_options"},
    {WITH("\"stream\":false,\"stream_options\":null"), ASY_OK, ""},
    {WITH("\"user\":\"u-1\""), ASY_OK, ""},
    /* sampling */
    {WITH("\"top_k\":0"), ASY_OK, ""},
    {WITH("\"top_k\":1048576"), ASY_OK, ""},
    {WITH("\"top_k\":1048577"), ASY_ERR_RANGE, "top_k"},
    {WITH("\"top_k\":-1"), ASY_ERR_RANGE, "top_k"},
    {WITH("\"top_k\":1.5"), ASY_ERR_TYPE, "top_k"},
    {WITH("\"min_p\":0"), ASY_OK, ""},
    {WITH("\"min_p\":1"), ASY_OK, ""},
    {WITH("\"min_p\":1.000001"), ASY_ERR_RANGE, "min_p"},
    {WITH("\"min_p\":-0.1"), ASY_ERR_RANGE, "min_p"},
    {WITH("\"min_p\":\"0\""), ASY_ERR_TYPE, "min_p"},
    {WITH("\"presence_penalty\":0,\"frequency_penalty\":0.0"), ASY_OK, ""},
    {WITH("\"presence_penalty\":2,\"frequency_penalty\":-2.0"), ASY_OK, ""},
    {WITH("\"presence_penalty\":2.001"), ASY_ERR_RANGE, "presence_penalty"},
    {WITH("\"presence_penalty\":-2.001"), ASY_ERR_RANGE, "presence_penalty"},
    {WITH("\"presence_penalty\":true"), ASY_ERR_TYPE, "presence_penalty"},
    {WITH("\"frequency_penalty\":3"), ASY_ERR_RANGE, "frequency_penalty"},
    {WITH("\"frequency_penalty\":-1e9"), ASY_ERR_RANGE, "frequency_penalty"},
    {WITH("\"frequency_penalty\":\"0\""), ASY_ERR_TYPE, "frequency_penalty"},
    {WITH("\"repetition_penalty\":1"), ASY_OK, ""},
    {WITH("\"repetition_penalty\":0.001"), ASY_OK, ""},
    {WITH("\"repetition_penalty\":2.0"), ASY_OK, ""},
    {WITH("\"repetition_penalty\":0"), ASY_ERR_RANGE, "repetition_penalty"},
    {WITH("\"repetition_penalty\":0.0004"), ASY_ERR_RANGE, "repetition_penalty"},
    {WITH("\"repetition_penalty\":2.1"), ASY_ERR_RANGE, "repetition_penalty"},
    {WITH("\"repetition_penalty\":-1"), ASY_ERR_RANGE, "repetition_penalty"},
    {WITH("\"repetition_penalty\":[]"), ASY_ERR_TYPE, "repetition_penalty"},
    {WITH("\"repeat_penalty\":1.1"), ASY_ERR_UNKNOWN, "repeat_penalty"},
    {WITH("\"logit_bias\":{}"), ASY_OK, ""},
    {WITH("\"logit_bias\":{\"50256\":-100,\"0\":100,\"1048575\":0.5}"), ASY_OK, ""},
    {WITH("\"logit_bias\":[]"), ASY_ERR_TYPE, "logit_bias"},
    {WITH("\"logit_bias\":\"5\""), ASY_ERR_TYPE, "logit_bias"},
    {WITH("\"logit_bias\":{\"5\":1,\"5\":2}"), ASY_ERR_DUPLICATE, ""},
    {WITH("\"logit_bias\":{\"05\":1}"), ASY_ERR_RANGE, "logit_bias.05"},
    {WITH("\"logit_bias\":{\"00\":1}"), ASY_ERR_RANGE, "logit_bias.00"},
    {WITH("\"logit_bias\":{\"-5\":1}"), ASY_ERR_RANGE, "logit_bias.-5"},
    {WITH("\"logit_bias\":{\" 5\":1}"), ASY_ERR_RANGE, "logit_bias. 5"},
    {WITH("\"logit_bias\":{\"\":1}"), ASY_ERR_RANGE, "logit_bias."},
    {WITH("\"logit_bias\":{\"dog\":1}"), ASY_ERR_RANGE, "logit_bias.dog"},
    {WITH("\"logit_bias\":{\"1048576\":1}"), ASY_ERR_RANGE, "logit_bias.1048576"},
    {WITH("\"logit_bias\":{\"99999999999999999999\":1}"), ASY_ERR_RANGE,
     "logit_bias.99999999999999999999"},
    {WITH("\"logit_bias\":{\"5\":101}"), ASY_ERR_RANGE, "logit_bias.5"},
    {WITH("\"logit_bias\":{\"5\":-100.001}"), ASY_ERR_RANGE, "logit_bias.5"},
    {WITH("\"logit_bias\":{\"5\":1e300}"), ASY_ERR_RANGE, "logit_bias.5"},
    {WITH("\"logit_bias\":{\"5\":\"1\"}"), ASY_ERR_TYPE, "logit_bias.5"},
    {WITH("\"logit_bias\":{\"5\":null}"), ASY_ERR_TYPE, "logit_bias.5"},
    {WITH("\"user\":1"), ASY_ERR_TYPE, "user"},
    /* not supported, with the values that ask for nothing */
    {WITH("\"n\":1"), ASY_OK, ""},
    {WITH("\"n\":2"), ASY_ERR_UNSUPPORTED, "n"},
    {WITH("\"n\":0"), ASY_ERR_UNSUPPORTED, "n"},
    {WITH("\"n\":\"1\""), ASY_ERR_TYPE, "n"},
    {WITH("\"n\":1.0"), ASY_ERR_TYPE, "n"},
    {WITH("\"logprobs\":false,\"top_logprobs\":0"), ASY_OK, ""},
    {WITH("\"logprobs\":true"), ASY_ERR_UNSUPPORTED, "logprobs"},
    {WITH("\"top_logprobs\":3"), ASY_ERR_UNSUPPORTED, "top_logprobs"},
    {WITH("\"tools\":[]"), ASY_OK, ""},
    {WITH("\"tools\":[],\"tool_choice\":\"none\",\"parallel_tool_calls\":true"), ASY_OK, ""},
    {WITH("\"tools\":[{\"type\":\"function\"}]"), ASY_ERR_UNSUPPORTED, "tools"},
    {WITH("\"tool_choice\":\"required\""), ASY_ERR_UNSUPPORTED, "tool_choice"},
    {WITH("\"tool_choice\":{\"type\":\"function\"}"), ASY_ERR_UNSUPPORTED, "tool_choice"},
    {WITH("\"functions\":[{}]"), ASY_ERR_UNSUPPORTED, "functions"},
    {WITH("\"function_call\":\"auto\""), ASY_OK, ""},
    {WITH("\"response_format\":{\"type\":\"text\"}"), ASY_OK, ""},
    {WITH("\"response_format\":{\"type\":\"json_object\"}"), ASY_ERR_UNSUPPORTED,
     "response_format"},
    {WITH("\"response_format\":{\"type\":\"text\",\"json_schema\":{}}"), ASY_ERR_UNSUPPORTED,
     "response_format"},
    {WITH("\"response_format\":\"text\""), ASY_ERR_TYPE, "response_format"},
    {WITH("\"modalities\":[\"text\"]"), ASY_OK, ""},
    {WITH("\"modalities\":[\"text\",\"audio\"]"), ASY_ERR_UNSUPPORTED, "modalities"},
    {WITH("\"reasoning_effort\":\"none\""), ASY_OK, ""},
    {WITH("\"reasoning_effort\":\"high\""), ASY_ERR_UNSUPPORTED, "reasoning_effort"},
    {WITH("\"service_tier\":\"auto\""), ASY_OK, ""},
    {WITH("\"service_tier\":\"flex\""), ASY_ERR_UNSUPPORTED, "service_tier"},
    {WITH("\"store\":false,\"metadata\":{}"), ASY_OK, ""},
    {WITH("\"store\":true"), ASY_ERR_UNSUPPORTED, "store"},
    {WITH("\"metadata\":{\"a\":\"b\"}"), ASY_ERR_UNSUPPORTED, "metadata"},
    {WITH("\"audio\":{}"), ASY_ERR_UNSUPPORTED, "audio"},
    {WITH("\"prediction\":{}"), ASY_ERR_UNSUPPORTED, "prediction"},
    {WITH("\"verbosity\":\"low\""), ASY_ERR_UNSUPPORTED, "verbosity"},
    {WITH("\"web_search_options\":{}"), ASY_ERR_UNSUPPORTED, "web_search_options"},
    {WITH("\"prompt_cache_key\":\"k\""), ASY_ERR_UNSUPPORTED, "prompt_cache_key"},
    {WITH("\"safety_identifier\":\"k\""), ASY_ERR_UNSUPPORTED, "safety_identifier"},
    {WITH("\"models\":[\"a\",\"b\"]"), ASY_ERR_UNSUPPORTED, "models"},
    /* null is absent, for every optional field */
    {WITH("\"max_tokens\":null,\"max_completion_tokens\":null,\"temperature\":null,\"top_p\":null,"
          "\"stop\":null,\"seed\":null,"
          "\"stream\":null,\"stream_options\":null,\"user\":null,\"provider\":null,\"n\":null,"
          "\"presence_penalty\":null,\"top_k\":null,\"min_p\":null,\"repetition_penalty\":null,"
          "\"frequency_penalty\":null,\"logprobs\":null,\"top_logprobs\":null,\"logit_bias\":null,"
          "\"tools\":null,"
          "\"tool_choice\":null,\"parallel_tool_calls\":null,\"functions\":null,\"function_call\":"
          "null,"
          "\"response_format\":null,\"modalities\":null,\"reasoning_effort\":null,\"service_tier\":"
          "null,\"store\":null,"
          "\"metadata\":null,\"audio\":null,\"moderation\":null,\"prediction\":null,\"prompt_cache_"
          "key\":null,"
          "\"prompt_cache_options\":null,\"prompt_cache_retention\":null,\"safety_identifier\":"
          "null,\"verbosity\":null,"
          "\"web_search_options\":null,\"models\":null"),
     ASY_OK, ""},
    /* provider */
    {WITH("\"provider\":{}"), ASY_OK, ""},
    {WITH("\"provider\":[]"), ASY_ERR_TYPE, "provider"},
    {WITH("\"provider\":{\"quantizations\":[]}"), ASY_ERR_UNKNOWN, "provider.quantizations"},
    {WITH("\"provider\":{\"only\":\"x\"}"), ASY_ERR_TYPE, "provider.only"},
    {WITH("\"provider\":{\"only\":[1]}"), ASY_ERR_TYPE, "provider.only[0]"},
    {WITH("\"provider\":{\"ignore\":[\"a\",\"\"]}"), ASY_ERR_RANGE, "provider.ignore[1]"},
    {WITH("\"provider\":{\"order\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}"), ASY_ERR_RANGE,
     "provider.order"},
    {WITH("\"provider\":{\"sort\":\"karma\"}"), ASY_ERR_RANGE, "provider.sort"},
    {WITH("\"provider\":{\"sort\":1}"), ASY_ERR_TYPE, "provider.sort"},
    {WITH("\"provider\":{\"allow_fallbacks\":0}"), ASY_ERR_TYPE, "provider.allow_fallbacks"},
    {WITH("\"provider\":{\"max_price\":1}"), ASY_ERR_TYPE, "provider.max_price"},
    {WITH("\"provider\":{\"max_price\":{\"image\":1}}"), ASY_ERR_UNKNOWN,
     "provider.max_price.image"},
    {WITH("\"provider\":{\"max_price\":{\"prompt\":-1}}"), ASY_ERR_RANGE,
     "provider.max_price.prompt"},
    {WITH("\"provider\":{\"max_price\":{\"prompt\":\"-1\"}}"), ASY_ERR_RANGE,
     "provider.max_price.prompt"},
    {WITH("\"provider\":{\"max_price\":{\"completion\":\"0.0000001\"}}"), ASY_ERR_RANGE,
     "provider.max_price.completion"},
    {WITH("\"provider\":{\"max_price\":{\"completion\":true}}"), ASY_ERR_TYPE,
     "provider.max_price.completion"},
};

static void table(void) {
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_chat_request req;
        struct asy_why why = {0};
        struct asy_arena a;
        asy_arena_init(&a, 1 << 20);
        memset(&req, 0xa5, sizeof req);
        enum asy_err err = asy_api_chat_parse(&req, &a, asy_bytes_cstr(cases[i].body), &why);
        if (err != cases[i].err || strcmp(why.param, cases[i].param) != 0 ||
            (err != ASY_OK && why.text[0] == '\0')) {
            fprintf(stderr, "case %zu: %s\n  gave %s, param '%s': %s\n", i, cases[i].body,
                    asy_err_name(err), why.param, why.text);
            CHECK(false);
        }
        if (err != ASY_OK) {
            CHECK(asy_err_http(err) == 400);
            CHECK(*(const uint8_t *)&req == 0xa5); /* untouched */
        }
        CHECK_ERR(asy_api_chat_parse(&req, &a, asy_bytes_cstr(cases[i].body), NULL), cases[i].err);
        asy_arena_done(&a);
    }
}

static void values(void) {
    static const char body[] = "{\"model\":\"SmolLM2\",\"messages\":[{\"role\":\"developer\","
                               "\"content\":\"be \\\"kind\\\"\"},"
                               "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                               "{\"text\":\"\xc3\xa9\",\"type\":\"text\"}]},"
                               "{\"role\":\"assistant\",\"content\":\"\"}],\"max_completion_"
                               "tokens\":77,\"temperature\":0.7,\"top_p\":0.95,"
                               "\"stop\":[\"x\",\"yy\"],\"seed\":-5,\"stream\":true,\"stream_"
                               "options\":{\"include_usage\":true},\"user\":\"me\","
                               "\"provider\":{\"only\":[\"n1\",\"n2\"],\"ignore\":[\"n3\"],"
                               "\"order\":[],\"sort\":\"latency\",\"allow_fallbacks\":false,"
                               "\"max_price\":{\"prompt\":0.15,\"completion\":\"2\"}}}";
    struct asy_arena a;
    asy_arena_init(&a, 2 * sizeof body + 32768);
    char *copy = asy_alloc(sizeof body); /* the request must not look at the body afterwards */
    memcpy(copy, body, sizeof body);
    struct asy_chat_request r;
    CHECK_OK(asy_api_chat_parse(&r, &a, asy_bytes_cstr(copy), NULL));
    asy_free(copy);
    CHECK(asy_bytes_eq(r.model, ASY_STR("SmolLM2")));
    CHECK_U64(r.message_count, 3);
    CHECK(r.messages[0].role == ASY_CHAT_SYSTEM &&
          asy_bytes_eq(r.messages[0].content, ASY_STR("be \"kind\"")));
    CHECK(r.messages[1].role == ASY_CHAT_USER &&
          asy_bytes_eq(r.messages[1].content, ASY_STR("a\xc3\xa9")));
    CHECK(r.messages[2].role == ASY_CHAT_ASSISTANT && r.messages[2].content.n == 0);
    CHECK_U64(r.text_len, 12);
    CHECK_U64(r.max_tokens, 77);
    CHECK_U64(r.sampling.temperature_milli, 700);
    CHECK_U64(r.sampling.top_p_ppm, 950000);
    CHECK(r.stop_count == 2 && asy_bytes_eq(r.stops[0], ASY_STR("x")) &&
          asy_bytes_eq(r.stops[1], ASY_STR("yy")));
    CHECK(r.has_seed && r.seed == -5);
    CHECK(r.stream && r.include_usage);
    CHECK(asy_bytes_eq(r.user, ASY_STR("me")));
    CHECK(r.provider.only.count == 2 && asy_bytes_eq(r.provider.only.name[1], ASY_STR("n2")));
    CHECK(r.provider.ignore.count == 1 && r.provider.order.count == 0);
    CHECK(r.provider.sort == ASY_CHAT_SORT_LATENCY && !r.provider.allow_fallbacks);
    CHECK(r.provider.has_max_price_in && r.provider.max_price_in.pico == 150000);
    CHECK(r.provider.has_max_price_out && r.provider.max_price_out.pico == 2000000);

    asy_arena_reset(&a);
    CHECK_OK(asy_api_chat_parse(&r, &a, ASY_STR("{" M "}"), NULL)); /* defaults */
    CHECK(r.max_tokens == 0 && r.stop_count == 0 && r.bias_count == 0);
    uint8_t bytes[ASY_SAMPLE_SETTINGS_LEN], plain[ASY_SAMPLE_SETTINGS_LEN];
    asy_sample_settings_encode(bytes, &r.sampling);
    asy_sample_settings_encode(plain, &ASY_SAMPLE_SETTINGS_DEFAULT);
    CHECK_MEM(bytes, plain, sizeof bytes);
    CHECK(!r.has_seed && !r.stream && !r.include_usage && r.user.n == 0);
    CHECK(r.provider.allow_fallbacks && r.provider.sort == ASY_CHAT_SORT_NONE &&
          r.provider.only.count == 0);
    CHECK(!r.provider.has_max_price_in && !r.provider.has_max_price_out);
    asy_arena_done(&a);
}

static void sampling(void) {
    struct asy_arena a;
    asy_arena_init(&a, 65536);
    struct asy_chat_request r;
    /* rounded half up, sorted by id, and what asks for nothing is left out */
    CHECK_OK(asy_api_chat_parse(
        &r, &a,
        ASY_STR(WITH("\"top_k\":40,\"min_p\":0.05,\"presence_penalty\":-0.5,"
                     "\"frequency_penalty\":1.2345,\"repetition_penalty\":1.1,"
                     "\"logit_bias\":{\"10\":-100,\"9\":2,\"8\":0,\"7\":0.0004,\"6\":-0.0005,"
                     "\"5\":-0.0006,\"1048575\":100}")),
        NULL));
    CHECK(r.sampling.top_k == 40 && r.sampling.min_p_ppm == 50000);
    CHECK(r.sampling.presence_penalty_milli == -500 && r.sampling.frequency_penalty_milli == 1235);
    CHECK_U64(r.sampling.repeat_penalty_milli, 1100);
    static const struct asy_sample_bias want[] = {
        {5, -1}, {9, 2000}, {10, -100000}, {1048575, 100000}};
    CHECK_U64(r.bias_count, ASY_COUNT(want));
    CHECK_MEM(r.bias, want, sizeof want);
    CHECK(asy_hash_is_zero(&r.sampling.logit_bias));
    asy_arena_reset(&a);
    CHECK_OK(asy_api_chat_parse(&r, &a, ASY_STR(WITH("\"repetition_penalty\":1.0004")), NULL));
    CHECK_U64(r.sampling.repeat_penalty_milli, 0); /* 1 is off */
    /* 300 ids, and one more */
    struct asy_buf body;
    asy_buf_init(&body, 65536);
    for (unsigned count = 300; count <= 301; count++) {
        struct asy_why why;
        asy_buf_clear(&body);
        asy_arena_reset(&a);
        CHECK_OK(asy_buf_add_str(&body, "{" M ",\"logit_bias\":{"));
        for (unsigned i = 0; i < count; i++) {
            CHECK_OK(asy_buf_printf(&body, "%s\"%u\":1", i == 0 ? "" : ",", 5000 - 7 * i));
        }
        CHECK_OK(asy_buf_add_str(&body, "}}"));
        if (count == 300) {
            CHECK_OK(asy_api_chat_parse(&r, &a, asy_buf_bytes(&body), &why));
            CHECK_U64(r.bias_count, 300);
            CHECK_OK(asy_sample_bias_check(r.bias, r.bias_count, NULL));
        } else {
            CHECK_ERR(asy_api_chat_parse(&r, &a, asy_buf_bytes(&body), &why), ASY_ERR_RANGE);
            CHECK_STR(why.param, "logit_bias");
        }
    }
    asy_buf_done(&body);
    asy_arena_done(&a);
}

/* A body with one string of `len` letters between two texts. */
static struct asy_bytes with_long(struct asy_buf *buf, const char *before, size_t len,
                                  const char *after) {
    asy_buf_clear(buf);
    CHECK_OK(asy_buf_add_str(buf, before));
    uint8_t *p;
    CHECK_OK(asy_buf_reserve(buf, &p, len));
    memset(p, 'a', len);
    asy_buf_grow(buf, len);
    CHECK_OK(asy_buf_add_str(buf, after));
    return asy_buf_bytes(buf);
}

static void limits(void) {
    static const struct {
        const char *before, *after;
        size_t max;
        enum asy_err err;
        const char *param;
    } strings[] = {
        {"{\"model\":\"", "\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}", ASY_MAX_NAME,
         ASY_ERR_RANGE, "model"},
        {"{" M ",\"user\":\"", "\"}", ASY_MAX_USER_LEN, ASY_ERR_RANGE, "user"},
        {"{" M ",\"stop\":\"", "\"}", ASY_MAX_STOP_LEN, ASY_ERR_RANGE, "stop"},
        {"{" M ",\"provider\":{\"only\":[\"", "\"]}}", ASY_MAX_NAME, ASY_ERR_RANGE,
         "provider.only[0]"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"", "\"}]}",
         ASY_MAX_PROMPT, ASY_ERR_TOO_LONG, "messages"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
         "\"text\":\"",
         "\"}]}]}", ASY_MAX_PROMPT, ASY_ERR_TOO_LONG, "messages"},
    };
    struct asy_chat_request r;
    struct asy_why why;
    struct asy_arena a;
    struct asy_buf buf;
    asy_buf_init(&buf, 8u << 20);
    for (size_t i = 0; i < ASY_COUNT(strings); i++) {
        for (size_t over = 0; over < 2; over++) {
            struct asy_bytes body =
                with_long(&buf, strings[i].before, strings[i].max + over, strings[i].after);
            asy_arena_init(&a, 2 * body.n + 32768);
            memset(&why, 0, sizeof why);
            CHECK_ERR(asy_api_chat_parse(&r, &a, body, &why), over != 0 ? strings[i].err : ASY_OK);
            CHECK_STR(why.param, over != 0 ? strings[i].param : "");
            asy_arena_done(&a);
        }
    }
    for (size_t count = ASY_MAX_MESSAGES; count <= ASY_MAX_MESSAGES + 1; count++) {
        asy_buf_clear(&buf);
        CHECK_OK(asy_buf_add_str(&buf, "{\"model\":\"m\",\"messages\":["));
        for (size_t i = 0; i < count; i++) {
            CHECK_OK(
                asy_buf_printf(&buf, "%s{\"role\":\"user\",\"content\":\"x\"}", i != 0 ? "," : ""));
        }
        CHECK_OK(asy_buf_add_str(&buf, "]}"));
        asy_arena_init(&a, 2 * buf.n + 32768);
        CHECK_ERR(asy_api_chat_parse(&r, &a, asy_buf_bytes(&buf), &why),
                  count > ASY_MAX_MESSAGES ? ASY_ERR_RANGE : ASY_OK);
        asy_arena_done(&a);
    }
    struct asy_bytes big = with_long(&buf, "{\"model\":\"", ASY_MAX_HTTP_BODY, "\"}");
    asy_arena_init(&a, 1 << 20);
    CHECK_ERR(asy_api_chat_parse(&r, &a, big, &why), ASY_ERR_TOO_LONG);
    CHECK_U64(asy_err_http(ASY_ERR_TOO_LONG), 413);
    asy_arena_done(&a);
    asy_arena_init(&a, 64); /* too small an arena is an error, not a crash */
    CHECK_ERR(asy_api_chat_parse(
                  &r, &a,
                  ASY_STR(WITH("\"user\":\"a long enough name for the arena to be too small\"")),
                  &why),
              ASY_ERR_TOO_LONG);
    asy_arena_done(&a);
    asy_buf_done(&buf);
}

int main(void) {
    table();
    values();
    sampling();
    limits();
    return asy_test_end();
}
