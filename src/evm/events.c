/* events.c: what contracts say: events and reverts. */
#include <pthread.h>

#include "evm/evm_priv.h"

enum field_kind { F_ADDR, F_HASH, F_TEXT, F_BOOL, F_U8, F_U16, F_U32, F_U64, F_U128 };
static const struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
} fields[] = {
#define FIELD(name, kind)                                                                          \
    { #name, kind, offsetof(struct asy_evm_event, name) }
    FIELD(gateway, F_ADDR), FIELD(account, F_ADDR),  FIELD(other, F_ADDR),  FIELD(id, F_U32),
    FIELD(count, F_U32),    FIELD(index, F_U32),     FIELD(number, F_U64),  FIELD(first, F_U64),
    FIELD(at_s, F_U64),     FIELD(demand, F_U64),    FIELD(bps, F_U16),     FIELD(role, F_U8),
    FIELD(opening, F_BOOL), FIELD(official, F_BOOL), FIELD(amount, F_U128), FIELD(amount2, F_U128),
    FIELD(hash, F_HASH),    FIELD(hash2, F_HASH),    FIELD(text, F_TEXT),   FIELD(text2, F_TEXT),
#undef FIELD
};

static const struct event_type {
    const char *signature, *fields;
    uint8_t indexed;
} types[] = {
#define TYPE(name, signature, indexed, fields) {signature, fields, indexed},
    ASY_EVM_EVENT_TABLE(TYPE)
#undef TYPE
};

static struct asy_hash topics[ASY_EVM_EVENT_COUNT];
static pthread_once_t topics_once = PTHREAD_ONCE_INIT;
static void make_topics(void) {
    for (size_t i = 0; i < ASY_EVM_EVENT_COUNT; i++) {
        asy_abi_topic(&topics[i], types[i].signature);
    }
}

void asy_evm_event_topic(struct asy_hash *ret_topic, enum asy_evm_event_type type) {
    (void)pthread_once(&topics_once, make_topics);
    *ret_topic = topics[type];
}

static const struct field *field_named(const char *name, size_t len) {
    const struct field *found = NULL;
    for (size_t i = 0; i < ASY_COUNT(fields) && found == NULL; i++) {
        if (strlen(fields[i].name) == len && memcmp(fields[i].name, name, len) == 0) {
            found = &fields[i];
        }
    }
    ASY_ASSERT(found != NULL); /* the event table names fields of the struct */
    return found;
}

static enum asy_err read_number(struct asy_abi_reader *r, uint64_t *ret, uint64_t max) {
    uint64_t v;
    ASY_TRY(asy_abi_read_u64(r, &v));
    if (v > max) {
        return ASY_ERR_RANGE;
    }
    *ret = v;
    return ASY_OK;
}

static enum asy_err read_field(struct asy_evm_event *event, const struct field *f,
                               struct asy_abi_reader *r) {
    uint8_t *to = (uint8_t *)event + f->offset;
    uint64_t v;
    switch (f->kind) {
    case F_ADDR:
        return asy_abi_read_addr(r, (struct asy_addr *)(void *)to);
    case F_HASH:
        return asy_abi_read_hash(r, (struct asy_hash *)(void *)to);
    case F_TEXT:
        return asy_abi_read_bytes(r, (struct asy_bytes *)(void *)to);
    case F_BOOL:
        return asy_abi_read_bool(r, (bool *)(void *)to);
    case F_U128: {
        enum asy_err err = asy_abi_read_u128(r, (asy_u128 *)(void *)to);
        return err == ASY_ERR_RANGE ? ASY_ERR_OVERFLOW : err;
    }
    case F_U8:
        ASY_TRY(read_number(r, &v, UINT8_MAX));
        *to = (uint8_t)v;
        return ASY_OK;
    case F_U16:
        ASY_TRY(read_number(r, &v, UINT16_MAX));
        *(uint16_t *)(void *)to = (uint16_t)v;
        return ASY_OK;
    case F_U32:
        ASY_TRY(read_number(r, &v, UINT32_MAX));
        *(uint32_t *)(void *)to = (uint32_t)v;
        return ASY_OK;
    case F_U64:
        return read_number(r, (uint64_t *)(void *)to, UINT64_MAX);
    }
    return ASY_ERR_INTERNAL;
}

static enum asy_err decode_as(struct asy_evm_event *event, const struct event_type *type,
                              const struct asy_evm_log *log) {
    struct asy_abi_reader data, topic;
    size_t i = 0;
    if (log->topic_count != type->indexed + 1) {
        return ASY_ERR_UNKNOWN; /* same signature, other indexing: not ours (ERC-721 has a Transfer
                                   too) */
    }
    asy_abi_read(&data, log->data);
    for (const char *name = type->fields; *name != 0; i++) {
        size_t len = strcspn(name, " ");
        const struct field *f = field_named(name, len);
        bool indexed = i < type->indexed;
        if (indexed) {
            asy_abi_read(&topic, asy_bytes_of(log->topics[i + 1].b, 32));
        }
        ASY_TRY(read_field(event, f, indexed ? &topic : &data));
        name += len + (name[len] == ' ');
    }
    return ASY_OK;
}

enum asy_err asy_evm_event_decode(struct asy_evm_event *ret_event, const struct asy_evm_log *log) {
    (void)pthread_once(&topics_once, make_topics);
    for (size_t i = 0; log->topic_count > 0 && i < ASY_EVM_EVENT_COUNT; i++) {
        if (asy_hash_eq(&topics[i], &log->topics[0])) {
            struct asy_evm_event event;
            memset(&event, 0, sizeof event);
            event.type = (enum asy_evm_event_type)i;
            ASY_TRY(decode_as(&event, &types[i], log));
            *ret_event = event;
            return ASY_OK;
        }
    }
    return ASY_ERR_UNKNOWN;
}

void asy_evm_revert_text(char *ret_text, size_t cap, struct asy_bytes data) {
    struct asy_abi_revert revert;
    asy_abi_revert_parse(&revert, data);
    if (revert.kind != ASY_ABI_REVERT_CUSTOM ||
        !evm_error_text(ret_text, cap, revert.selector, revert.reason)) {
        asy_abi_revert_format(ret_text, cap, &revert);
    }
}
