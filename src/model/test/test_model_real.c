/* The manifest of the model that the project runs, where it is installed. */
#include "codec/codec.h"
#include "crypto/crypto.h"
#include "gguf_file.h"
#include "model/model.h"

#define MODEL ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf"

int main(void) {
    struct asy_gguf gguf;
    struct asy_manifest m, back;
    struct asy_why why = {.text = ""};
    struct asy_buf text;
    char dir[PATH_MAX];
    const struct asy_manifest_options options = {.name = "smollm2-135m-instruct-q4_1",
                                                 .licence = "Apache-2.0",
                                                 .llama_versions = "0.5",
                                                 .calibration = ASY_MANIFEST_CPU};
    if (access(MODEL, R_OK) != 0) {
        return asy_test_skip("no model file");
    }
    make_dir(dir);
    CHECK_OK(asy_model_read_gguf(&gguf, MODEL, dir, asy_env_system(), &why));
    CHECK_OK(asy_manifest_from_gguf(&m, &gguf, "SmolLM2-135M-Instruct.Q4_1.gguf", &options, &why));
    CHECK_STR(why.text, "");
    CHECK_STR(m.family, "llama");
    CHECK_STR(m.quantization, "Q4_1");
    CHECK_U64(m.context, 8192);
    CHECK_U64(m.vocab_count, 49152);
    CHECK(!asy_hash_is_zero(&m.template));
    CHECK_OK(asy_manifest_verify(&m, &gguf, &why));
    asy_buf_init(&text, ASY_MAX_MANIFEST);
    CHECK_OK(asy_manifest_format(&text, &m));
    CHECK_OK(asy_manifest_parse(&back, asy_buf_bytes(&text), &why));
    CHECK_OK(asy_manifest_verify(&back, &gguf, &why));
    printf("%s\n", asy_buf_cstr(&text));
    asy_buf_done(&text);
    char path[PATH_MAX + 70];
    struct asy_hash name;
    char hex[65];
    asy_sha256(&name, asy_bytes_cstr(MODEL));
    asy_hex_encode(hex, name.b, sizeof name.b);
    snprintf(path, sizeof path, "%s/%s.json", dir, hex);
    (void)unlink(path); /* there unless the model was installed a moment ago */
    CHECK(rmdir(dir) == 0);
    return asy_test_end();
}
