/* What is read as a manifest is written as one with the same meaning, and its digest is that of the
 * canonical form of what was read. */
#include "codec/codec.h"
#include "crypto/crypto.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_bytes in = asy_bytes_of(data, len);
    struct asy_manifest m, back;
    struct asy_why why;
    if (asy_manifest_parse(&m, in, &why) != ASY_OK) {
        return 0;
    }
    struct asy_buf text, canonical;
    struct asy_json *doc;
    asy_buf_init(&text, ASY_MAX_MANIFEST);
    asy_buf_init(&canonical, ASY_MAX_MANIFEST);
    enum asy_err err = asy_manifest_format(&text, &m);
    ASY_ASSERT(err == ASY_OK);
    err = asy_json_parse(&doc, in, ASY_MAX_JSON_DEPTH, NULL);
    ASY_ASSERT(err == ASY_OK);
    err = asy_json_canonical(&canonical, doc);
    ASY_ASSERT(err == ASY_OK && asy_bytes_eq(asy_buf_bytes(&text), asy_buf_bytes(&canonical)));
    struct asy_hash digest, want;
    asy_sha256(&want, asy_buf_bytes(&canonical));
    err = asy_manifest_parse(&back, asy_buf_bytes(&text), NULL);
    ASY_ASSERT(err == ASY_OK);
    asy_manifest_digest(&digest, &back);
    ASY_ASSERT(asy_hash_eq(&digest, &want));
    (void)asy_manifest_runs_on(&m, "0.5.0"); /* must only not crash */
    asy_json_free(doc);
    asy_buf_done(&text);
    asy_buf_done(&canonical);
    return 0;
}
