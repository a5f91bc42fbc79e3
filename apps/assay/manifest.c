/* manifest.c: the manifest of a model file, as nodes make it; `assay models manifest`. */
#include <stdio.h>

#include "client_priv.h"
#include "exact_priv.h"
#include "model/model.h"

enum asy_err app_manifest(struct asy_manifest *ret_m, const struct asy_gguf *gguf, const char *path,
                          const char *name, const char *licence, struct asy_why *why) {
    const char *slash = strrchr(path, '/');
    const struct asy_manifest_options options = {.name = name,
                                                 .licence = licence,
                                                 .llama_versions = "0.5.0",
                                                 .calibration = ASY_MANIFEST_CPU};
    return asy_manifest_from_gguf(ret_m, gguf, slash != NULL ? slash + 1 : path, &options, why);
}

static enum asy_err print(const char *path, const char *name, const char *licence, bool digest,
                          struct asy_why *why) {
    struct asy_gguf gguf;
    struct asy_manifest m;
    struct asy_buf text;
    ASY_TRY(asy_gguf_read(&gguf, path, why));
    ASY_TRY(app_manifest(&m, &gguf, path, name, licence, why));
    asy_buf_init(&text, ASY_MAX_MANIFEST);
    enum asy_err err = asy_manifest_format(&text, &m);
    if (err == ASY_OK && digest) {
        struct asy_hash h;
        char hex[ASY_HASH_TEXT];
        asy_manifest_digest(&h, &m);
        asy_hash_format(hex, &h);
        printf("%s\n", hex);
    } else if (err == ASY_OK) {
        client_print_json(asy_buf_bytes(&text));
    }
    asy_buf_done(&text);
    return err;
}

int cmd_models_manifest(int argc, char **argv) {
    static const char command[] = "models manifest";
    static const char help[] =
        "usage: assay models manifest FILE --name NAME [--licence SPDX] [--digest]\n\n"
        "Prints the manifest of a model file, as a node that runs it has it. Its digest is what\n"
        "terms, offers and the chain name the model by.\n\n"
        "  FILE                 a GGUF file, or a model of the exact engine; its own name counts\n"
        "  --name NAME          what clients ask for\n"
        "  --licence SPDX       default Apache-2.0\n"
        "  --digest             print the digest instead\n";
    enum { OPT_NAME = OPT_OWN, OPT_LICENCE, OPT_DIGEST };
    static const struct option options[] = {{"name", required_argument, NULL, OPT_NAME},
                                            {"licence", required_argument, NULL, OPT_LICENCE},
                                            {"digest", no_argument, NULL, OPT_DIGEST},
                                            CLIENT_OPTION_HELP};
    const char *name = NULL, *licence = "Apache-2.0";
    struct asy_why why = {{0}, {0}};
    bool digest = false;
    for (int o; (o = client_option(argc, argv, command, help, "", options)) != -1;) {
        if (o == OPT_NAME) {
            name = optarg;
        } else if (o == OPT_LICENCE) {
            licence = optarg;
        } else if (o == OPT_DIGEST) {
            digest = true;
        } else {
            return o == OPT_HELP ? 0 : 2;
        }
    }
    if (optind + 1 != argc || name == NULL) {
        return client_usage(command, "it takes one model file and --name NAME");
    }
    enum asy_err err = print(argv[optind], name, licence, digest, &why);
    return err == ASY_OK ? 0 : app_fail(command, err, &why);
}
