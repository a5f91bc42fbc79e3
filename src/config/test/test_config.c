#include "base/test.h"
#include "config/config.h"

#include <unistd.h>

enum color { RED, GREEN, BLUE };
struct settings {
    bool on, quiet;
    uint64_t port;
    uint32_t small;
    uint64_t wait_ms, size;
    struct asy_usd price;
    const char *name, *home, *token, *must;
    enum color color;
};
static const char *const colors[] = {"red", "green", "blue", NULL};
#define AT(field) ASY_CONFIG_AT(struct settings, field)
static const struct asy_config_item items[] = {
    {"gateway", "port", ASY_CONFIG_U64, AT(port), .preset = "8080", .flag = "port", .max = 65535,
     .help = "Port."},
    {"gateway", "self_test", ASY_CONFIG_BOOL, AT(on), .preset = "yes", .flag = "self-test",
     .help = "Test."},
    {"gateway", "quiet", ASY_CONFIG_BOOL, AT(quiet), .flag = "q", .help = "No talk."},
    {"gateway", "small", ASY_CONFIG_U64, AT(small), .preset = "7", .min = 1, .unit = "apples",
     .help = "Few."},
    {"gateway", "wait", ASY_CONFIG_DURATION, AT(wait_ms), .preset = "8s", .min = 100,
     .max = 3600000, .help = "Wait."},
    {"gateway", "size", ASY_CONFIG_BYTES, AT(size), .preset = "5MiB", .flag = "s", .help = "Size."},
    {"gateway", "price", ASY_CONFIG_USD, AT(price), .preset = "0.000001", .unit = "dollars",
     .help = "Price."},
    {"node.engine", "name", ASY_CONFIG_STRING, AT(name), .preset = "llama", .max = 16,
     .help = "Name."},
    {"node.engine", "home", ASY_CONFIG_PATH, AT(home), .help = "Folder."},
    {"node.engine", "token", ASY_CONFIG_STRING, AT(token), .secret = true, .help = "Token."},
    {"node.engine", "must", ASY_CONFIG_STRING, AT(must), .required = true, .help = "Must be."},
    {"node.engine", "color", ASY_CONFIG_ENUM, AT(color), .preset = "green", .names = colors,
     .help = "Color."},
};

static struct settings s;
static struct asy_config *config;
static struct asy_why why;

static void fresh(void) {
    asy_config_free(config);
    memset(&s, 0xee, sizeof s);
    memset(&why, 0, sizeof why);
    config = asy_config_new(items, ASY_COUNT(items), &s);
}
static enum asy_err file(const char *text) {
    return asy_config_parse(config, "t.ini", asy_bytes_cstr(text), &why);
}
static enum asy_err env(char *a, char *b) {
    char *envp[] = {"PATH=/bin", a, b, NULL};
    return asy_config_env(config, envp, &why);
}
static const char *rest[16];
static size_t rest_count;
static enum asy_err args(int argc, char *const *argv) {
    return asy_config_args(config, rest, &rest_count, argc, argv, &why);
}
#define ARGS(...) args(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *), (char *[]){__VA_ARGS__})

static void check_defaults(void) {
    CHECK(s.on && !s.quiet && s.port == 8080 && s.small == 7 && s.wait_ms == 8000 &&
          s.size == 5u << 20);
    CHECK(s.price.pico == 1000000 && strcmp(s.name, "llama") == 0 && s.home == NULL &&
          s.token == NULL && s.color == GREEN);
}

static void test_defaults(void) {
    fresh();
    check_defaults();
    CHECK(asy_config_source(config, "gateway", "port") == ASY_CONFIG_FROM_DEFAULT);
    CHECK_ERR(asy_config_check(config, &why), ASY_ERR_MISSING);
    CHECK_STR(why.param, "node.engine.must");
    CHECK_OK(file("[node.engine]\nmust=x\n"));
    CHECK_OK(asy_config_check(config, &why));
}

static void test_file(void) {
    fresh();
    CHECK_OK(file("\xef\xbb\xbf# comment\r\n; comment\r\n\r\n[gateway]\r\n  port = 1 ; "
                  "here\r\nself_test=no\nquiet : true\n"
                  "\tsmall=4294967295\n wait = 0250ms\nsize=0\nprice = "
                  "340282366920938463463374607.431768211455\n"
                  "[node.engine] ; the engine\nname = caf\xc3\xa9 = 1:2\nhome=\ntoken = # no "
                  "comment\ncolor = blue\n[gateway]"));
    CHECK(s.port == 1 && !s.on && s.quiet && s.small == UINT32_MAX && s.wait_ms == 250 &&
          s.size == 0);
    CHECK(s.price.pico == ~(asy_u128)0);
    CHECK_STR(s.name, "caf\xc3\xa9 = 1:2");
    CHECK_STR(s.home, "");
    CHECK_STR(s.token, "# no comment");
    CHECK(s.color == BLUE);
    CHECK(asy_config_source(config, "gateway", "port") == ASY_CONFIG_FROM_FILE);

    static const struct {
        const char *text;
        enum asy_err err;
        const char *says;
    } bad[] = {
        {"[gateway]\nport = 1\n  prot = 2\n", ASY_ERR_UNKNOWN,
         "t.ini:3:3: [gateway] has no key prot"},
        {"[gatway]\n", ASY_ERR_UNKNOWN, "t.ini:1:1: there is no section [gatway]"},
        {"port = 1\n", ASY_ERR_SYNTAX, "t.ini:1:1: port stands before any [section]"},
        {"[gateway]\nport = 1\nport = 2\n", ASY_ERR_DUPLICATE,
         "t.ini:3:1: [gateway] port is set twice"},
        {"[gateway]\nport = 1\n[node.engine]\n[gateway]\nport = 1\n", ASY_ERR_DUPLICATE,
         "t.ini:5:1: "},
        {"[gateway]\nport =   x\n", ASY_ERR_SYNTAX, "t.ini:2:10: port must be a whole number"},
        {"[gateway]\nport = -1\n", ASY_ERR_SYNTAX, "t.ini:2:8: port must be a whole number"},
        {"[gateway]\nport =\n", ASY_ERR_SYNTAX, "t.ini:2:7: port must be a whole number"},
        {"[gateway]\nport = 65536\n", ASY_ERR_RANGE, "t.ini:2:8: port must be 0 to 65535"},
        {"[gateway]\nport = 99999999999999999999\n", ASY_ERR_RANGE,
         "t.ini:2:8: port must be a whole number"},
        {"[gateway]\nsmall = 0\n", ASY_ERR_RANGE,
         "t.ini:2:9: small must be 1 to 4294967295 apples"},
        {"[gateway]\nsmall = 4294967296\n", ASY_ERR_RANGE,
         "t.ini:2:9: small must be 1 to 4294967295 apples"},
        {"[gateway]\nwait = 8\n", ASY_ERR_SYNTAX, "must be a time such as"},
        {"[gateway]\nwait = 1.5s\n", ASY_ERR_SYNTAX, "must be a time such as"},
        {"[gateway]\nwait = 99ms\n", ASY_ERR_RANGE, "wait must be 100ms to 1h"},
        {"[gateway]\nwait = 2h\n", ASY_ERR_RANGE, "wait must be 100ms to 1h"},
        {"[gateway]\nwait = 99999999999999999d\n", ASY_ERR_RANGE, "must be a time"},
        {"[gateway]\nsize = 5MB\n", ASY_ERR_SYNTAX, "must be a size such as"},
        {"[gateway]\nsize = 99999999999GiB\n", ASY_ERR_RANGE, "must be a size"},
        {"[gateway]\nprice = 1.0000000000001\n", ASY_ERR_RANGE, "price must be an amount"},
        {"[gateway]\nprice = -1\n", ASY_ERR_SYNTAX, "price must be an amount"},
        {"[gateway]\nquiet = maybe\n", ASY_ERR_SYNTAX, "quiet must be yes or no"},
        {"[node.engine]\ncolor = mauve\n", ASY_ERR_SYNTAX, "color must be one of red, green, blue"},
        {"[node.engine]\nname = 12345678901234567\n", ASY_ERR_TOO_LONG,
         "name is longer than 16 bytes"},
        {"[gateway]\nport\n", ASY_ERR_SYNTAX, "t.ini:2:1: neither [section] nor key = value"},
        {"[gateway]\nport\nport = x\n", ASY_ERR_SYNTAX,
         "t.ini:2:1: neither"}, /* the first error, not the last */
        {"[gateway]\nport = x\nport\n", ASY_ERR_SYNTAX, "t.ini:2:8: port must"},
        {"[gateway\nport = 1\n", ASY_ERR_SYNTAX, "t.ini:1:1: a [section] does not end"},
        {"[gateway] port = 1\n", ASY_ERR_SYNTAX, "t.ini:1:11: text behind a [section]"},
        {"[gateway]\nport = 1\xff\n", ASY_ERR_SYNTAX, "t.ini:2:1: not UTF-8 text"},
        {"[node.engine]\n\xc3\xa9\xc3\xa9: 1\n", ASY_ERR_UNKNOWN, "t.ini:2:1: "},
        {"[gateway]\n = 1\n", ASY_ERR_UNKNOWN, "t.ini:2:2: [gateway] has no key "},
        {"[]\n", ASY_ERR_UNKNOWN, "there is no section []"},
    };
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        fresh();
        CHECK_ERR(file(bad[i].text), bad[i].err);
        if (strstr(why.text, bad[i].says) == NULL) {
            fprintf(stderr, "case %zu: \"%s\", wanted \"%s\"\n", i, why.text, bad[i].says);
            CHECK(false);
        }
    }
    fresh();
    CHECK_ERR(
        asy_config_parse(config, "t.ini", asy_bytes_of("[gateway]\nport = 1\0002\n", 20), &why),
        ASY_ERR_SYNTAX);

    /* lines up to the limit are whole, longer ones are refused: the library alone would cut them
     * and go on */
    for (size_t n = ASY_CONFIG_MAX_LINE - 8; n < ASY_CONFIG_MAX_LINE + 40; n++) {
        char text[400] = "[node.engine]\nhome=";
        size_t head = strlen("[node.engine]\n");
        memset(text + head + 5, 'p', n - 5);
        memcpy(text + head + n, "\ncolor=red\n", 12);
        fresh();
        CHECK_ERR(file(text), n <= ASY_CONFIG_MAX_LINE ? ASY_OK : ASY_ERR_TOO_LONG);
        if (n <= ASY_CONFIG_MAX_LINE) {
            CHECK_U64(strlen(s.home), n - 5);
            CHECK(s.color == RED);
        }
    }
    struct asy_buf big;
    asy_buf_init(&big, ASY_CONFIG_MAX_FILE + 1);
    while (big.n < ASY_CONFIG_MAX_FILE) {
        CHECK_OK(asy_buf_add_u8(&big, '\n'));
    }
    CHECK_OK(asy_config_parse(config, "t.ini", asy_buf_bytes(&big), &why));
    CHECK_OK(asy_buf_add_u8(&big, '\n'));
    CHECK_ERR(asy_config_parse(config, "t.ini", asy_buf_bytes(&big), &why), ASY_ERR_TOO_LONG);
    asy_buf_done(&big);
}

static void test_read(void) {
    fresh();
    CHECK_ERR(asy_config_read(config, "/nonexistent/x.ini", &why), ASY_ERR_NOT_FOUND);
    CHECK(strstr(why.text, "/nonexistent/x.ini: ") == why.text);
    CHECK_ERR(asy_config_read(config, "src", &why), ASY_ERR_IO); /* a folder */
    char path[] = "/tmp/assay-test-config-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    static const char text[] = "[gateway]\nport = 99\n";
    CHECK(write(fd, text, sizeof text - 1) == sizeof text - 1);
    close(fd);
    CHECK_OK(asy_config_read(config, path, &why));
    CHECK(s.port == 99);
    unlink(path);
}

static void test_env(void) {
    fresh();
    CHECK_OK(env("ASSAY_GATEWAY_PORT=5", "ASSAY_NODE_ENGINE_NAME=echo"));
    CHECK(s.port == 5 && strcmp(s.name, "echo") == 0);
    CHECK(asy_config_source(config, "gateway", "port") == ASY_CONFIG_FROM_ENV);
    CHECK_OK(env("ASSAY_BIN=x", "ASSAY_CONFIG=/etc/x.ini"));
    CHECK_STR(asy_config_file(config), "/etc/x.ini");
    CHECK_OK(env("ASSAY_GATEWAY_SELF_TEST=no", "NOISE"));
    CHECK(!s.on);
    CHECK_ERR(env("ASSAY_GATEWAY_PROT=5", "X=1"), ASY_ERR_UNKNOWN);
    CHECK(strstr(why.text, "ASSAY_GATEWAY_PROT") != NULL);
    CHECK_ERR(env("ASSAY_GATEWAY_PORT=five", "X=1"), ASY_ERR_SYNTAX);
    CHECK_STR(why.text, "environment variable ASSAY_GATEWAY_PORT: port must be a whole number");
    CHECK_STR(why.param, "gateway.port");
    CHECK_OK(env("ASSAY_NODE_ENGINE_TOKEN=hush", "X=1")); /* secrets may come this way */
    CHECK_STR(s.token, "hush");
}

static void test_args(void) {
    fresh();
    CHECK_OK(ARGS("one", "--port", "1", "two", "-q", "--no-self-test", "--gateway-wait=9s", "-s",
                  "1KiB", "-", "--", "--port"));
    CHECK(s.port == 1 && s.quiet && !s.on && s.wait_ms == 9000 && s.size == 1024);
    CHECK(rest_count == 4 && strcmp(rest[0], "one") == 0 && strcmp(rest[1], "two") == 0 &&
          strcmp(rest[2], "-") == 0 && strcmp(rest[3], "--port") == 0);
    CHECK(!asy_config_help_asked(config) && asy_config_file(config) == NULL);
    CHECK_OK(ARGS("--node-engine-color", "red", "--port=7", "--port=8", "--self-test",
                  "--gateway-self-test=no"));
    CHECK(s.color == RED && s.port == 8 && !s.on && rest_count == 0);
    CHECK_OK(ARGS("--config=/a", "--help"));
    CHECK(asy_config_help_asked(config));
    CHECK_OK(env("ASSAY_CONFIG=/b", "X=1"));
    CHECK_STR(asy_config_file(config), "/a");

    CHECK_ERR(ARGS("--prot", "1"), ASY_ERR_UNKNOWN);
    CHECK_ERR(ARGS("-port", "1"), ASY_ERR_UNKNOWN);
    CHECK_ERR(ARGS("--s", "1"), ASY_ERR_UNKNOWN);
    CHECK_ERR(ARGS("-x"), ASY_ERR_UNKNOWN);
    CHECK_ERR(ARGS("--no-port"), ASY_ERR_UNKNOWN);
    CHECK_ERR(ARGS("--no-self-test=yes"), ASY_ERR_SYNTAX);
    CHECK_ERR(ARGS("--port"), ASY_ERR_MISSING);
    CHECK_ERR(ARGS("--config"), ASY_ERR_MISSING);
    CHECK_ERR(ARGS("--port="), ASY_ERR_SYNTAX);
    CHECK_ERR(ARGS("--port", "x"), ASY_ERR_SYNTAX);
    CHECK_STR(why.text, "--port: port must be a whole number");
    CHECK_ERR(ARGS("--node-engine-token", "hush"), ASY_ERR_FORBIDDEN);
    CHECK_ERR(ARGS("--node-engine-token=hush"), ASY_ERR_FORBIDDEN);
    CHECK(s.token == NULL);
}

/* default < file < environment < flag, in whatever order they are read: all 24 orders of the four
 * steps, each source present or not. */
static void test_precedence(void) {
    for (unsigned present = 0; present < 8; present++) {
        for (unsigned order = 0; order < 6; order++) {
            static const unsigned orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                                  {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
            fresh();
            for (int k = 0; k < 3; k++) {
                unsigned step = orders[order][k];
                if ((present >> step & 1) == 0) {
                    continue;
                }
                if (step == 0) {
                    CHECK_OK(file("[gateway]\nport = 1\n[node.engine]\nname = file\n"));
                } else if (step == 1) {
                    CHECK_OK(env("ASSAY_GATEWAY_PORT=2", "ASSAY_NODE_ENGINE_NAME=env"));
                } else {
                    CHECK_OK(ARGS("--port=3", "--node-engine-name=flag"));
                }
            }
            static const char *const names[] = {"llama", "file", "env", "flag"};
            unsigned winner = present & 4 ? 3 : present & 2 ? 2 : present & 1;
            CHECK_U64(s.port, winner == 0 ? 8080 : winner);
            CHECK_STR(s.name, names[winner]);
            CHECK(asy_config_source(config, "gateway", "port") == (enum asy_config_source)winner);
        }
    }
    /* a value that loses is checked all the same */
    fresh();
    CHECK_OK(ARGS("--port=3"));
    CHECK_ERR(file("[gateway]\nport = x\n"), ASY_ERR_SYNTAX);
}

static void test_texts(void) {
    struct asy_buf b;
    asy_buf_init(&b, 1 << 16);
    fresh();
    CHECK_OK(file("[gateway]\nport = 1\nself_test = no\nwait = 90s\nsize = "
                  "1536KiB\n[node.engine]\ntoken = hush\nmust = m\n"));
    CHECK_OK(ARGS("--gateway-price=2.5"));
    CHECK_OK(env("ASSAY_NODE_ENGINE_COLOR=blue", "X=1"));
    CHECK_OK(asy_config_format_values(&b, config));
    CHECK_STR(asy_buf_cstr(&b),
              "[gateway]\nport = 1 ; file\nself_test = no ; file\n# quiet is not set\nsmall = 7 ; "
              "default\nwait = 90s ; file\n"
              "size = 1536KiB ; file\nprice = 2.5 ; flag\n\n[node.engine]\nname = llama ; "
              "default\n# home is not set\n"
              "# token is set, and secret\nmust = m ; file\ncolor = blue ; environment\n");
    fresh(); /* what it prints, it reads */
    CHECK_OK(asy_config_parse(config, "values", asy_buf_bytes(&b), &why));
    CHECK(s.port == 1 && !s.on && s.wait_ms == 90000 && s.size == 1536u << 10 &&
          s.price.pico == 2500000000000u);
    CHECK(s.color == BLUE && strcmp(s.must, "m") == 0);

    asy_buf_clear(&b);
    CHECK_OK(asy_config_format_example(&b, config));
    fresh(); /* the example sets each default: nothing changes */
    CHECK_OK(asy_config_parse(config, "example", asy_buf_bytes(&b), &why));
    check_defaults();
    CHECK(asy_config_source(config, "gateway", "port") == ASY_CONFIG_FROM_FILE);
    for (size_t i = 0; i < ASY_COUNT(items); i++) {
        CHECK(strstr(asy_buf_cstr(&b), items[i].help) != NULL);
    }
    CHECK(strstr(asy_buf_cstr(&b),
                 "# Few. In apples. It must be 1 to 4294967295 apples.\nsmall = 7\n") != NULL);
    CHECK(strstr(asy_buf_cstr(&b), "# Must be. Required.\n# must =\n") != NULL);

    asy_buf_clear(&b);
    CHECK_OK(asy_config_format_help(&b, config));
    CHECK(
        strstr(asy_buf_cstr(&b),
               "  --port, --gateway-port VALUE\n      Port. It must be 0 to 65535. Default: 8080. "
               "ASSAY_GATEWAY_PORT\n") != NULL);
    CHECK(strstr(asy_buf_cstr(&b), "  -q, --gateway-quiet\n") != NULL);
    CHECK(strstr(asy_buf_cstr(&b), "  token (no flag)\n") != NULL);
    asy_buf_done(&b);

    asy_buf_init(&b, 50);
    CHECK_ERR(asy_config_format_help(&b, config), ASY_ERR_TOO_LONG);
    asy_buf_done(&b);
}

int main(void) {
    test_defaults();
    test_file();
    test_read();
    test_env();
    test_args();
    test_precedence();
    test_texts();
    asy_config_free(config);
    asy_config_free(NULL);
    return asy_test_end();
}
