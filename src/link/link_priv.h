/* link_priv.h: what the two ends share: packing frames, unpacking them into an arena, the table of
 * jobs. */
#ifndef ASY_LINK_PRIV_H
#define ASY_LINK_PRIV_H

#include <uthash.h>

#include "link/link.h"
#include "schema/link.pb-c.h"

/* A signature waits for this long after the one before it, so that a burst shares one. */
#define CHECKPOINT_GAP_NS (ASY_LINK_CHECKPOINT_MS * 1000000ull)
#define HELLO_NS          (ASY_LINK_HELLO_MS * 1000000ull)

typedef void (*link_send_fn)(void *arg, struct asy_bytes frame);

/* Packs body into a Frame of the case and hands it to send. `out` is scratch. errors: TOO_LONG */
ASY_MUST_USE enum asy_err link_send(link_send_fn send, void *arg, struct asy_buf *out,
                                    Assay__Link__Frame__BodyCase body_case, void *body);

/* Gives protobuf-c memory of the arena: cheap field by field, freed as one, and bounded, whatever a
 * frame claims to hold. */
ProtobufCAllocator link_allocator(struct asy_arena *arena);
/* Unpacks into arena; valid until the arena is reset. errors: PEER malformed, or too much for the
 * arena */
ASY_MUST_USE enum asy_err link_unpack(Assay__Link__Frame **ret_frame, struct asy_arena *arena,
                                      struct asy_bytes bytes, struct asy_why *why);

static inline struct asy_bytes link_bytes(ProtobufCBinaryData d) {
    return (struct asy_bytes){d.data, d.len};
}
/* protobuf-c's structs are not const-correct: packing only reads. */
static inline ProtobufCBinaryData link_data(const void *p, size_t len) {
    return (ProtobufCBinaryData){.len = len, .data = (uint8_t *)(uintptr_t)p};
}
static inline char *link_text(const char *s) { return (char *)(uintptr_t)s; }

/* Fixed-size fields. errors: PEER wrong length */
ASY_MUST_USE enum asy_err link_fixed(void *ret_p, size_t len, ProtobufCBinaryData d,
                                     const char *name, struct asy_why *why);
ASY_MUST_USE enum asy_err link_u128(asy_u128 *ret, ProtobufCBinaryData d, const char *name,
                                    struct asy_why *why);
/* Decodes a canonical object. errors: PEER */
ASY_MUST_USE enum asy_err link_object(void *ret, enum asy_object type, ProtobufCBinaryData d,
                                      struct asy_why *why);
/* Copies a protobuf string into a field of ASY_MAX_NAME + 1 bytes. errors: PEER too long or not
 * UTF-8 */
ASY_MUST_USE enum asy_err link_name(char *ret_name, const char *s, const char *name,
                                    struct asy_why *why);

/* Text for people, of any length. errors: PEER not UTF-8 */
ASY_MUST_USE enum asy_err link_text_in(struct asy_bytes *ret_text, const char *s, const char *name,
                                       struct asy_why *why);

/* "the node sent ...": the reason a link ends. */
#define LINK_VIOLATION(why, ...)                                                                   \
    (asy_metric_add(ASY_M_link_violations_total, 1),                                               \
     asy_why_set(why, ASY_ERR_PEER, NULL, __VA_ARGS__))

/* The bytes that hello and welcome sign, after the domain string. */
enum { LINK_HELLO_BODY_LEN = 8 + 20 + 20 + 32, LINK_WELCOME_BODY_LEN = 8 + 20 + 20 + 32 + 4 };
void link_hello_body(uint8_t ret_body[LINK_HELLO_BODY_LEN], const struct asy_domain *domain,
                     const struct asy_addr *gateway, struct asy_bytes hello_body);
void link_welcome_body(uint8_t ret_body[LINK_WELCOME_BODY_LEN], const struct asy_domain *domain,
                       const struct asy_addr *node, const uint8_t node_nonce[32], uint32_t link);

/* Sends a checkpoint frame; items may be NULL. */
void link_send_checkpoint(link_send_fn send, void *arg, struct asy_buf *out,
                          const struct asy_checkpoint *checkpoint, const struct asy_sig *sig,
                          const struct asy_hash *items);

#endif
