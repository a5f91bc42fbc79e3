/* policy.c: the key, and what it may sign. All input is taken as hostile: in the child it comes
 * from a process that parses strangers' bytes. */
#include <sys/mman.h>

#include "signer/signer_priv.h"

#define CORE_PAGE 4096u

struct signer_core {
    struct asy_seckey key;
    enum asy_signer_role role;
    struct asy_addr self;
    bool has_domain;
    struct asy_domain domain;
};
static_assert(sizeof(struct signer_core) <= CORE_PAGE, "the key has a page of its own");

enum asy_err signer_core_new(struct signer_core **ret_core, enum asy_signer_role role,
                             const struct asy_seckey *key) {
    struct asy_addr self;
    ASY_TRY(asy_secp_addr(&self, key));
    struct signer_core *core =
        mmap(NULL, CORE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (core == MAP_FAILED) {
        return ASY_ERR_IO;
    }
    /* Each of these can be refused by limits or old kernels; the signer works without them. */
    (void)mlock(core, CORE_PAGE);
    (void)madvise(core, CORE_PAGE, MADV_DONTDUMP);
    (void)madvise(core, CORE_PAGE, MADV_WIPEONFORK);
    *core = (struct signer_core){.key = *key, .role = role, .self = self};
    *ret_core = core;
    return ASY_OK;
}

void signer_core_free(struct signer_core *core) {
    if (core != NULL) {
        asy_secret_wipe(core, sizeof *core);
        (void)munmap(core, CORE_PAGE); /* fails for no mapping of ours */
    }
}

const struct asy_addr *signer_core_addr(const struct signer_core *core) { return &core->self; }

/* ---- messages -------------------------------------------------------------------------------- */

static const struct {
    const char *domain;
    enum asy_signer_role role;
} messages[] = {
    [ASY_SIGNER_HELLO] = {"assay/hello/1", ASY_SIGNER_NODE},
    [ASY_SIGNER_WELCOME] = {"assay/welcome/1", ASY_SIGNER_GATEWAY},
    [ASY_SIGNER_X25519] = {"assay/x25519/1", ASY_SIGNER_NODE},
};

void asy_signer_message_digest(struct asy_hash *ret_digest, enum asy_signer_message message,
                               struct asy_bytes body) {
    struct asy_keccak k;
    asy_keccak_init(&k);
    asy_keccak_add(&k, asy_bytes_cstr(messages[message].domain));
    asy_keccak_add(&k, body);
    asy_keccak_final(&k, ret_digest);
}

static enum asy_err sign_message(struct signer_core *core, struct asy_sig *ret_sig,
                                 struct asy_bytes in) {
    struct asy_hash digest;
    if (in.n == 0 || in.p[0] >= ASY_COUNT(messages)) {
        return ASY_ERR_SYNTAX;
    }
    if (messages[in.p[0]].role != core->role) {
        return ASY_ERR_FORBIDDEN;
    }
    asy_signer_message_digest(&digest, (enum asy_signer_message)in.p[0],
                              asy_bytes_of(in.p + 1, in.n - 1));
    return asy_secp_sign(ret_sig, &core->key, &digest);
}

/* ---- objects --------------------------------------------------------------------------------- */

static bool role_may(enum asy_signer_role role, enum asy_object type) {
    switch (type) {
    case ASY_OBJ_CAP:
    case ASY_OBJ_VOUCHER:
        return role == ASY_SIGNER_REQUESTER;
    case ASY_OBJ_CHECKPOINT:
        return role == ASY_SIGNER_GATEWAY || role == ASY_SIGNER_NODE;
    case ASY_OBJ_ACK:
        return role == ASY_SIGNER_GATEWAY;
    case ASY_OBJ_TERMS:
    case ASY_OBJ_RECEIPT:
        return false;
    }
    return false;
}

/* Whether an object of a type that the role may sign is this signer's own. */
static bool is_own(const struct signer_core *core, enum asy_object type,
                   const union asy_any_object *o) {
    uint8_t kind = core->role == ASY_SIGNER_GATEWAY ? (uint8_t)ASY_CHECKPOINT_TICKETS
                                                    : (uint8_t)ASY_CHECKPOINT_RECEIPTS;
    switch (type) {
    case ASY_OBJ_CAP:
        return asy_addr_eq(&o->cap.requester, &core->self);
    case ASY_OBJ_VOUCHER:
        return true; /* a voucher key need not be the requester's; the contract knows whose it is */
    case ASY_OBJ_CHECKPOINT:
        return o->checkpoint.kind == kind && asy_addr_eq(&o->checkpoint.signer, &core->self);
    case ASY_OBJ_ACK:
        return asy_addr_eq(&o->ack.gateway, &core->self);
    case ASY_OBJ_TERMS:
    case ASY_OBJ_RECEIPT:
        return false;
    }
    return false;
}

static enum asy_err sign_object(struct signer_core *core, struct asy_sig *ret_sig,
                                struct asy_bytes in) {
    union asy_any_object object;
    struct asy_hash digest;
    if (in.n == 0 || in.p[0] > ASY_OBJ_VOUCHER) {
        return ASY_ERR_SYNTAX;
    }
    enum asy_object type = (enum asy_object)in.p[0];
    if (!role_may(core->role, type)) {
        return ASY_ERR_FORBIDDEN;
    }
    if (!core->has_domain) {
        return ASY_ERR_STATE;
    }
    ASY_TRY(asy_object_decode(&object, type, asy_bytes_of(in.p + 1, in.n - 1)));
    if (!is_own(core, type, &object)) {
        return ASY_ERR_FORBIDDEN;
    }
    asy_object_digest(&digest, &core->domain, type, &object);
    return asy_secp_sign(ret_sig, &core->key, &digest);
}

/* ---- transactions ---------------------------------------------------------------------------- */

static enum asy_err parse_tx(uint64_t *ret_chain_id, struct asy_bytes in) {
    struct asy_rlp_item outer;
    struct asy_bytes fields, to, data, access;
    uint64_t nonce, gas;
    uint8_t amount[32];
    if (in.n == 0 || in.p[0] != 0x02) {
        return ASY_ERR_SYNTAX;
    }
    ASY_TRY(asy_rlp_one(&outer, asy_bytes_of(in.p + 1, in.n - 1)));
    fields = outer.data;
    ASY_TRY(asy_rlp_next_u64(ret_chain_id, &fields));
    ASY_TRY(asy_rlp_next_u64(&nonce, &fields));
    ASY_TRY(asy_rlp_next_u256(amount, &fields)); /* tip */
    ASY_TRY(asy_rlp_next_u256(amount, &fields)); /* fee */
    ASY_TRY(asy_rlp_next_u64(&gas, &fields));
    ASY_TRY(asy_rlp_next_bytes(&to, &fields));
    ASY_TRY(asy_rlp_next_u256(amount, &fields)); /* value */
    ASY_TRY(asy_rlp_next_bytes(&data, &fields));
    ASY_TRY(asy_rlp_next_list(&access, &fields));
    bool good = outer.list && (to.n == 0 || to.n == sizeof(struct asy_addr)) && access.n == 0 &&
                fields.n == 0;
    return good ? ASY_OK : ASY_ERR_SYNTAX;
}

static enum asy_err sign_tx(struct signer_core *core, struct asy_sig *ret_sig,
                            struct asy_bytes in) {
    uint64_t chain_id;
    struct asy_hash digest;
    if (parse_tx(&chain_id, in) != ASY_OK) {
        return ASY_ERR_SYNTAX;
    }
    if (core->has_domain && chain_id != core->domain.chain_id) {
        return ASY_ERR_MISMATCH;
    }
    asy_keccak256(&digest, in);
    return asy_secp_sign(ret_sig, &core->key, &digest);
}

/* ---- requests -------------------------------------------------------------------------------- */

static enum asy_err set_domain(struct signer_core *core, struct asy_bytes in) {
    struct asy_addr vault;
    if (in.n != 8 + sizeof vault) {
        return ASY_ERR_SYNTAX;
    }
    if (core->has_domain) {
        return ASY_ERR_STATE;
    }
    memcpy(&vault, in.p + 8, sizeof vault);
    asy_domain_init(&core->domain, asy_be64_get(in.p), &vault);
    core->has_domain = true;
    return ASY_OK;
}

enum asy_err signer_core_answer(struct signer_core *core, struct asy_sig *ret_sig,
                                struct asy_bytes request) {
    if (request.n == 0) {
        return ASY_ERR_SYNTAX;
    }
    struct asy_bytes in = asy_bytes_of(request.p + 1, request.n - 1);
    switch (request.p[0]) {
    case SIGNER_REQUEST_OBJECT:
        return sign_object(core, ret_sig, in);
    case SIGNER_REQUEST_MESSAGE:
        return sign_message(core, ret_sig, in);
    case SIGNER_REQUEST_TX:
        return sign_tx(core, ret_sig, in);
    case SIGNER_REQUEST_DOMAIN:
        return set_domain(core, in);
    default:
        return ASY_ERR_SYNTAX;
    }
}
