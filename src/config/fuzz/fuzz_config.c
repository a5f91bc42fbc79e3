/* Any text as a settings file: no crash, an error has a text, and what is accepted and printed is
 * accepted again. */
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct settings {
    bool on;
    uint64_t port, wait_ms, size;
    uint32_t small;
    struct asy_usd price;
    const char *name, *secret;
    int color;
};
static const char *const colors[] = {"red", "green", NULL};
#define AT(field) ASY_CONFIG_AT(struct settings, field)
static const struct asy_config_item items[] = {
    {"a", "on", ASY_CONFIG_BOOL, AT(on), .preset = "yes", .help = "on"},
    {"a", "port", ASY_CONFIG_U64, AT(port), .max = 65535, .preset = "1", .help = "port"},
    {"a", "wait", ASY_CONFIG_DURATION, AT(wait_ms), .preset = "1s", .help = "wait"},
    {"b.c", "size", ASY_CONFIG_BYTES, AT(size), .help = "size"},
    {"b.c", "small", ASY_CONFIG_U64, AT(small), .help = "small"},
    {"b.c", "price", ASY_CONFIG_USD, AT(price), .help = "price"},
    {"b.c", "name", ASY_CONFIG_STRING, AT(name), .max = 32, .help = "name"},
    {"b.c", "secret", ASY_CONFIG_STRING, AT(secret), .secret = true, .help = "secret"},
    {"b.c", "color", ASY_CONFIG_ENUM, AT(color), .names = colors, .help = "color"},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct settings s, t;
    struct asy_why why = {{0}, {0}};
    struct asy_config *config = asy_config_new(items, ASY_COUNT(items), &s);
    if (asy_config_parse(config, "fuzz", asy_bytes_of(data, len), &why) != ASY_OK) {
        ASY_ASSERT(why.text[0] != '\0' && asy_utf8_valid(asy_bytes_cstr(why.text)));
    } else {
        struct asy_buf text;
        asy_buf_init(&text, 65536);
        enum asy_err err = asy_config_format_values(&text, config);
        ASY_ASSERT(err == ASY_OK);
        struct asy_config *again = asy_config_new(items, ASY_COUNT(items), &t);
        err = asy_config_parse(again, "again", asy_buf_bytes(&text), &why);
        ASY_ASSERT(err == ASY_OK);
        ASY_ASSERT(s.on == t.on && s.port == t.port && s.wait_ms == t.wait_ms && s.size == t.size &&
                   s.small == t.small);
        ASY_ASSERT(s.price.pico == t.price.pico && s.color == t.color);
        asy_config_free(again);
        asy_buf_done(&text);
    }
    asy_config_free(config);
    return 0;
}
