/* A key file that parses is written back byte for byte, with a cost inside its bounds. */
#include "crypto/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_keyfile file;
    struct asy_why why;
    if (asy_keyfile_parse(&file, asy_bytes_of(data, len), &why) != ASY_OK) {
        return 0;
    }
    ASY_ASSERT((uint64_t)file.cost.mem_kib * file.cost.passes <= ASY_MAX_KDF_WORK_KIB);
    struct asy_buf buf;
    asy_buf_init(&buf, ASY_MAX_KEYFILE);
    const enum asy_err err = asy_keyfile_format(&buf, &file);
    ASY_ASSERT(err == ASY_OK && asy_bytes_eq(asy_buf_bytes(&buf), asy_bytes_of(data, len)));
    asy_buf_done(&buf);
    return 0;
}
