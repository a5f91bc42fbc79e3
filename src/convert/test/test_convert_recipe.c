/* Recipes: what options mean, and what goes into the file. */
#include "base/test.h"
#include "convert/recipe_priv.h"

static struct source source = {
    .family = FAMILY_LLAMA, .name = "llama", .layers = 6, .context = 2000};

static enum asy_err make(struct recipe *r, const char *wide, const char *fold,
                         struct asy_why *why) {
    struct asy_convert_options o = {.wide = wide, .fold = fold};
    return recipe_make(r, &source, &o, why);
}

static void check_text(const struct recipe *r, const char *wide, const char *fold) {
    char text[ASY_CONVERT_MAX_RECIPE], want[512];
    recipe_format(text, r, &source);
    snprintf(want, sizeof want, "assay convert recipe 1\nfamily llama\nwide %s\nfold %s\n", wide,
             fold);
    CHECK(strncmp(text, want, strlen(want)) == 0);
    if (strncmp(text, want, strlen(want)) != 0) {
        fprintf(stderr, "%s", text);
    }
}

static void test_presets(void) {
    struct recipe r;
    CHECK_OK(make(&r, NULL, NULL, NULL));
    CHECK(r.residual_bits == 14 && !r.bits_fixed && r.positions == 2048);
    check_text(&r, "down,head", "norms,out,down");
    source.family = FAMILY_GEMMA3;
    CHECK_OK(make(&r, NULL, NULL, NULL));
    CHECK(r.residual_bits == 12);
    check_text(&r, "qkv,out,gate_up,down,head", "balance");
    source.family = FAMILY_LLAMA;
    struct recipe plain = recipe_plain(&r);
    CHECK(plain.fold == 0 && plain.wide[0] == WIDE_ALL && plain.wide[5] == WIDE_ALL);
    struct asy_convert_options o = {.residual_bits = 10, .positions = 1u << 30};
    CHECK_OK(recipe_make(&r, &source, &o, NULL));
    CHECK(r.residual_bits == 10 && r.bits_fixed && r.positions == ASY_EXACT_MAX_POSITIONS);
    o.residual_bits = 25;
    CHECK_ERR(recipe_make(&r, &source, &o, NULL), ASY_ERR_RANGE);
}

static void test_lists(void) {
    struct recipe r;
    CHECK_OK(make(&r, "none", "none", NULL));
    check_text(&r, "none", "none");
    CHECK_OK(make(&r, "all", "balance", NULL));
    check_text(&r, "qkv,out,gate_up,down,head", "balance");
    CHECK_OK(make(&r, " down , qkv ", "down,norms", NULL));
    check_text(&r, "qkv,down", "norms,down");
    CHECK_OK(make(&r, "head;2:qkv;4-5: all", "none", NULL));
    CHECK(r.wide[0] == WIDE_HEAD && r.wide[2] == (WIDE_HEAD | 1) && r.wide[5] == WIDE_ALL);
    check_text(&r, "head;2-2:qkv;4-5:qkv,out,gate_up,down", "none");
    CHECK_OK(make(&r, "all;0-5:none", "none", NULL)); /* the head is of no layer */
    check_text(&r, "head", "none");

    /* what was printed is read again as the same */
    char text[ASY_CONVERT_MAX_RECIPE];
    for (int i = 0; i < 200; i++) {
        struct recipe random, again;
        CHECK_OK(make(&random, "none", "none", NULL));
        uint8_t head = asy_test_random() & 1 ? WIDE_HEAD : 0;
        for (uint32_t l = 0; l < source.layers; l++) {
            random.wide[l] = (uint8_t)(asy_test_random() & 15) | head;
        }
        recipe_format(text, &random, &source);
        char *wide = strstr(text, "wide ") + 5;
        *strchr(wide, '\n') = '\0';
        CHECK_OK(make(&again, wide, NULL, NULL));
        CHECK_MEM(random.wide, again.wide, source.layers);
    }
}

static void test_refused(void) {
    static const char *const wide[] = {"",           "up",          "qkv,",      "qkv;",
                                       "all;6:qkv",  "all;3-2:qkv", "all;a:qkv", "all;1:up",
                                       "all;1-:qkv", "all;1",       "QKV"};
    struct recipe r;
    struct asy_why why;
    for (size_t i = 0; i < ASY_COUNT(wide); i++) {
        enum asy_err err = make(&r, wide[i], NULL, &why);
        if (strcmp(wide[i], "qkv;") == 0 || strcmp(wide[i], "qkv,") == 0 ||
            strcmp(wide[i], "all;1-:qkv") == 0) {
            continue; /* an empty end is forgiven */
        }
        CHECK(err == ASY_ERR_SYNTAX || err == ASY_ERR_RANGE);
        CHECK_STR(why.param, "wide");
    }
    CHECK_ERR(make(&r, NULL, "norm", &why), ASY_ERR_SYNTAX);
    CHECK_STR(why.param, "fold");
}

int main(void) {
    test_presets();
    test_lists();
    test_refused();
    return asy_test_end();
}
