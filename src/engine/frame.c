#include "engine/frame_priv.h"

enum asy_err asy_engine_frame_add(struct asy_buf *out, const ProtobufCMessage *message) {
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len > ASY_MAX_ENGINE_FRAME) {
        return ASY_ERR_TOO_LONG;
    }
    uint8_t *p;
    ASY_TRY(asy_buf_reserve(out, &p, ASY_ENGINE_FRAME_HEAD + len));
    asy_le32_put(p, (uint32_t)len);
    size_t written = protobuf_c_message_pack(message, p + ASY_ENGINE_FRAME_HEAD);
    ASY_ASSERT(written == len);
    asy_buf_grow(out, ASY_ENGINE_FRAME_HEAD + len);
    return ASY_OK;
}

enum asy_err asy_engine_frame_next(struct asy_bytes *ret_content, size_t *ret_len,
                                   struct asy_bytes in) {
    if (in.n < ASY_ENGINE_FRAME_HEAD) {
        return ASY_ERR_AGAIN;
    }
    size_t len = asy_le32_get(in.p);
    if (len > ASY_MAX_ENGINE_FRAME) {
        return ASY_ERR_TOO_LONG;
    }
    if (in.n - ASY_ENGINE_FRAME_HEAD < len) {
        return ASY_ERR_AGAIN;
    }
    *ret_content = (struct asy_bytes){in.p + ASY_ENGINE_FRAME_HEAD, len};
    *ret_len = ASY_ENGINE_FRAME_HEAD + len;
    return ASY_OK;
}
