/* vectors.h: reads a file of src/evm/vectors. Test programs start in the root of the repository. */
#ifndef ASY_EVM_TEST_VECTORS_H
#define ASY_EVM_TEST_VECTORS_H

#include "base/test.h"
#include "evm/evm.h"

#define VECTORS_MAX (1024u * 1024u)

__attribute__((unused)) static struct asy_json *vectors_read(const char *path) {
    struct asy_json *doc;
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        fprintf(stderr, "cannot open %s\n", path);
        exit(1);
    }
    uint8_t *p = asy_alloc(VECTORS_MAX);
    size_t n = fread(p, 1, VECTORS_MAX, in);
    struct asy_why why = {0};
    if (ferror(in) != 0 ||
        asy_json_parse(&doc, asy_bytes_of(p, n), ASY_MAX_JSON_DEPTH, &why) != ASY_OK) {
        fprintf(stderr, "cannot read %s: %s\n", path, why.text);
        exit(1);
    }
    (void)fclose(in);
    asy_free(p);
    return doc;
}

__attribute__((unused)) static struct asy_bytes vectors_str(const struct asy_json *obj,
                                                            const char *key) {
    struct asy_bytes s = {0};
    if (asy_json_str(&s, asy_json_get(obj, key)) != ASY_OK) {
        fprintf(stderr, "vector without %s\n", key);
        exit(1);
    }
    return s;
}

__attribute__((unused)) static void vectors_hex(struct asy_buf *buf, const struct asy_json *obj,
                                                const char *key) {
    if (asy_0x_decode_buf(buf, vectors_str(obj, key)) != ASY_OK) {
        fprintf(stderr, "vector with a bad %s\n", key);
        exit(1);
    }
}

#endif
