#include "link/link_priv.h"

static void *arena_alloc(void *arg, size_t len) { return asy_arena_alloc(arg, len); }
static void arena_free(void *arg, void *p) {
    (void)arg;
    (void)p;
}

ProtobufCAllocator link_allocator(struct asy_arena *arena) {
    return (ProtobufCAllocator){arena_alloc, arena_free, arena};
}

enum asy_err link_send(link_send_fn send, void *arg, struct asy_buf *out,
                       Assay__Link__Frame__BodyCase body_case, void *body) {
    Assay__Link__Frame frame = ASSAY__LINK__FRAME__INIT;
    frame.body_case = body_case;
    frame.hello = body; /* all members of the union are pointers to messages */
    size_t len = assay__link__frame__get_packed_size(&frame);
    uint8_t *to;
    asy_buf_clear(out);
    ASY_TRY(asy_buf_reserve(out, &to, len));
    size_t packed = assay__link__frame__pack(&frame, to);
    ASY_ASSERT(packed == len);
    asy_buf_grow(out, len);
    send(arg, asy_buf_bytes(out));
    return ASY_OK;
}

enum asy_err link_unpack(Assay__Link__Frame **ret_frame, struct asy_arena *arena,
                         struct asy_bytes bytes, struct asy_why *why) {
    asy_arena_reset(arena);
    ProtobufCAllocator allocator = link_allocator(arena);
    Assay__Link__Frame *frame =
        bytes.n <= ASY_MAX_FRAME ? assay__link__frame__unpack(&allocator, bytes.n, bytes.p) : NULL;
    if (frame == NULL) {
        return LINK_VIOLATION(why, "a frame that is not a Frame message");
    }
    *ret_frame = frame;
    return ASY_OK;
}

enum asy_err link_fixed(void *ret_p, size_t len, ProtobufCBinaryData d, const char *name,
                        struct asy_why *why) {
    if (d.len != len) {
        return LINK_VIOLATION(why, "%s has %zu bytes instead of %zu", name, d.len, len);
    }
    memcpy(ret_p, d.data, len);
    return ASY_OK;
}

enum asy_err link_u128(asy_u128 *ret, ProtobufCBinaryData d, const char *name,
                       struct asy_why *why) {
    uint8_t be[16];
    ASY_TRY(link_fixed(be, sizeof be, d, name, why));
    *ret = asy_be128_get(be);
    return ASY_OK;
}

enum asy_err link_object(void *ret, enum asy_object type, ProtobufCBinaryData d,
                         struct asy_why *why) {
    if (asy_object_decode(ret, type, link_bytes(d)) != ASY_OK) {
        return LINK_VIOLATION(why, "a malformed signed object (%s)", asy_object_type_string(type));
    }
    return ASY_OK;
}

enum asy_err link_name(char *ret_name, const char *s, const char *name, struct asy_why *why) {
    struct asy_bytes in = asy_bytes_cstr(s);
    if (in.n > ASY_MAX_NAME || !asy_utf8_valid(in)) {
        return LINK_VIOLATION(why, "%s is too long or not UTF-8", name);
    }
    memcpy(ret_name, in.p, in.n + 1);
    return ASY_OK;
}

enum asy_err link_text_in(struct asy_bytes *ret_text, const char *s, const char *name,
                          struct asy_why *why) {
    struct asy_bytes in = asy_bytes_cstr(s);
    if (!asy_utf8_valid(in)) {
        return LINK_VIOLATION(why, "%s is not UTF-8", name);
    }
    *ret_text = in;
    return ASY_OK;
}

void link_hello_body(uint8_t ret_body[LINK_HELLO_BODY_LEN], const struct asy_domain *domain,
                     const struct asy_addr *gateway, struct asy_bytes hello_body) {
    struct asy_hash h;
    asy_keccak256(&h, hello_body);
    asy_be64_put(ret_body, domain->chain_id);
    memcpy(ret_body + 8, domain->vault.b, 20);
    memcpy(ret_body + 28, gateway->b, 20);
    memcpy(ret_body + 48, h.b, 32);
}

void link_welcome_body(uint8_t ret_body[LINK_WELCOME_BODY_LEN], const struct asy_domain *domain,
                       const struct asy_addr *node, const uint8_t node_nonce[32], uint32_t link) {
    asy_be64_put(ret_body, domain->chain_id);
    memcpy(ret_body + 8, domain->vault.b, 20);
    memcpy(ret_body + 28, node->b, 20);
    memcpy(ret_body + 48, node_nonce, 32);
    asy_be32_put(ret_body + 80, link);
}

void link_send_checkpoint(link_send_fn send, void *arg, struct asy_buf *out,
                          const struct asy_checkpoint *checkpoint, const struct asy_sig *sig,
                          const struct asy_hash *items) {
    uint8_t encoded[ASY_CHECKPOINT_LEN];
    asy_object_encode(encoded, ASY_OBJ_CHECKPOINT, checkpoint);
    Assay__Link__Checkpoint m = ASSAY__LINK__CHECKPOINT__INIT;
    m.checkpoint = link_data(encoded, sizeof encoded);
    m.signature = link_data(sig->b, sizeof sig->b);
    if (items != NULL) {
        m.items = link_data(items, checkpoint->count * sizeof items[0]);
    }
    enum asy_err err = link_send(send, arg, out, ASSAY__LINK__FRAME__BODY_CHECKPOINT, &m);
    ASY_ASSERT(err == ASY_OK); /* a checkpoint is far below a frame's ceiling */
}

const char *asy_reject_name(uint32_t reason) {
    static const char *const names[] = {
        [ASY_REJECT_BUSY] = "busy",       [ASY_REJECT_MODEL] = "model",
        [ASY_REJECT_PRICE] = "price",     [ASY_REJECT_TERMS] = "terms",
        [ASY_REJECT_UNPAID] = "unpaid",   [ASY_REJECT_DRAINING] = "draining",
        [ASY_REJECT_REQUEST] = "request", [ASY_REJECT_INTERNAL] = "internal",
    };
    return reason < ASY_COUNT(names) && names[reason] != NULL ? names[reason] : "unknown";
}
