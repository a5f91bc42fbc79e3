/* RLP: there is one encoding per value, so whatever decodes encodes to the same bytes. */
#include "codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool copy_items(struct asy_rlp *w, struct asy_bytes in, int depth) {
    while (in.n != 0) {
        struct asy_rlp_item item;
        if (asy_rlp_next(&item, &in) != ASY_OK) {
            return false;
        }
        if (!item.list) {
            asy_rlp_bytes(w, item.data);
            continue;
        }
        if (depth == 0) {
            return false;
        }
        asy_rlp_list(w);
        bool ok = copy_items(w, item.data, depth - 1);
        asy_rlp_end(w);
        if (!ok) {
            return false;
        }
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_bytes in = asy_bytes_of(data, len), at = in;
    struct asy_buf buf;
    struct asy_rlp w;
    asy_buf_init(&buf, len + 16);
    asy_rlp_init(&w, &buf);
    if (copy_items(&w, in, 16)) {
        ASY_ASSERT(asy_rlp_finish(&w) == ASY_OK && asy_bytes_eq(asy_buf_bytes(&buf), in));
    }
    uint64_t v;
    asy_buf_clear(&buf);
    asy_rlp_init(&w, &buf);
    if (asy_rlp_next_u64(&v, &at) == ASY_OK) {
        asy_rlp_u64(&w, v);
        ASY_ASSERT(asy_rlp_finish(&w) == ASY_OK && asy_bytes_starts(in, asy_buf_bytes(&buf)));
    }
    asy_buf_done(&buf);
    return 0;
}
