/* Whatever the request, the signer signs nothing that its role may not. First byte: the role and
 * whether the domain is set; the rest is one request. */
#include "signer/signer_priv.h"

static struct signer_core *core_of(enum asy_signer_role role, bool with_domain) {
    /* A test key: the bytes 1 to 32. */
    struct asy_seckey key;
    struct signer_core *core;
    struct asy_sig sig;
    uint8_t set[1 + 8 + 20] = {SIGNER_REQUEST_DOMAIN, [8] = 1};
    for (size_t i = 0; i < sizeof key.b; i++) {
        key.b[i] = (uint8_t)(i + 1);
    }
    enum asy_err err = signer_core_new(&core, role, &key);
    ASY_ASSERT(err == ASY_OK);
    if (with_domain) {
        err = signer_core_answer(core, &sig, asy_bytes_of(set, sizeof set));
        ASY_ASSERT(err == ASY_OK);
    }
    return core;
}

static void check_signed(enum asy_signer_role role, bool with_domain, const struct asy_addr *self,
                         const struct asy_sig *sig, struct asy_bytes request) {
    struct asy_hash digest;
    uint8_t what = request.n > 1 ? request.p[1] : 0;
    switch ((enum signer_request)request.p[0]) {
    case SIGNER_REQUEST_OBJECT:
        ASY_ASSERT(with_domain && what != ASY_OBJ_TERMS && what != ASY_OBJ_RECEIPT);
        ASY_ASSERT((what == ASY_OBJ_CAP || what == ASY_OBJ_VOUCHER) ==
                   (role == ASY_SIGNER_REQUESTER));
        ASY_ASSERT(what != ASY_OBJ_ACK || role == ASY_SIGNER_GATEWAY);
        return;
    case SIGNER_REQUEST_MESSAGE:
        ASY_ASSERT((what == ASY_SIGNER_WELCOME) == (role == ASY_SIGNER_GATEWAY));
        ASY_ASSERT(role != ASY_SIGNER_REQUESTER);
        return;
    case SIGNER_REQUEST_TX:
        asy_keccak256(&digest, asy_bytes_of(request.p + 1, request.n - 1));
        ASY_ASSERT(what == 0x02 && asy_secp_verify(self, &digest, sig) == ASY_OK);
        return;
    case SIGNER_REQUEST_DOMAIN:
        ASY_ASSERT(!with_domain);
        return;
    }
    ASY_ASSERT(false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    if (len == 0) {
        return 0;
    }
    enum asy_signer_role role = (enum asy_signer_role)(1 + data[0] % 3);
    bool with_domain = (data[0] & 0x80) != 0;
    struct asy_bytes request = asy_bytes_of(data + 1, len - 1);
    struct asy_sig sig;
    struct signer_core *core = core_of(role, with_domain);
    if (signer_core_answer(core, &sig, request) == ASY_OK) {
        check_signed(role, with_domain, signer_core_addr(core), &sig, request);
    }
    signer_core_free(core);
    return 0;
}
