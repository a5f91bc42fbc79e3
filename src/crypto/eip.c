#include <stdio.h>

#include "crypto/crypto.h"

/* ---- EIP-712 --------------------------------------------------------------------------------- */

void asy_eip712_typehash(struct asy_hash *ret_typehash, struct asy_bytes type) {
    asy_keccak256(ret_typehash, type);
}

void asy_eip712_begin(struct asy_eip712 *e, const struct asy_hash *typehash) {
    asy_keccak_init(&e->k);
    asy_eip712_add_hash(e, typehash);
}

void asy_eip712_add_hash(struct asy_eip712 *e, const struct asy_hash *v) {
    asy_keccak_add(&e->k, asy_bytes_of(v->b, sizeof v->b));
}

void asy_eip712_add_u128(struct asy_eip712 *e, asy_u128 v) {
    struct asy_hash word = {{0}};
    asy_be128_put(word.b + 16, v);
    asy_eip712_add_hash(e, &word);
}

void asy_eip712_add_bool(struct asy_eip712 *e, bool v) { asy_eip712_add_u128(e, v ? 1 : 0); }
void asy_eip712_add_u8(struct asy_eip712 *e, uint8_t v) { asy_eip712_add_u128(e, v); }
void asy_eip712_add_u32(struct asy_eip712 *e, uint32_t v) { asy_eip712_add_u128(e, v); }
void asy_eip712_add_u64(struct asy_eip712 *e, uint64_t v) { asy_eip712_add_u128(e, v); }

void asy_eip712_add_addr(struct asy_eip712 *e, const struct asy_addr *v) {
    struct asy_hash word = {{0}};
    memcpy(word.b + 12, v->b, sizeof v->b);
    asy_eip712_add_hash(e, &word);
}

void asy_eip712_add_dynamic(struct asy_eip712 *e, struct asy_bytes v) {
    struct asy_hash hash;
    asy_keccak256(&hash, v);
    asy_eip712_add_hash(e, &hash);
}

void asy_eip712_end(struct asy_eip712 *e, struct asy_hash *ret_struct_hash) {
    asy_keccak_final(&e->k, ret_struct_hash);
}

void asy_eip712_domain(struct asy_hash *ret_separator, struct asy_bytes name,
                       struct asy_bytes version, uint64_t chain_id,
                       const struct asy_addr *verifying_contract) {
    struct asy_hash type;
    struct asy_eip712 e;
    asy_eip712_typehash(
        &type,
        ASY_STR(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"));
    asy_eip712_begin(&e, &type);
    asy_eip712_add_dynamic(&e, name);
    asy_eip712_add_dynamic(&e, version);
    asy_eip712_add_u64(&e, chain_id);
    asy_eip712_add_addr(&e, verifying_contract);
    asy_eip712_end(&e, ret_separator);
}

void asy_eip712_digest(struct asy_hash *ret_digest, const struct asy_hash *separator,
                       const struct asy_hash *struct_hash) {
    uint8_t in[2 + 32 + 32] = {0x19, 0x01};
    memcpy(in + 2, separator->b, 32);
    memcpy(in + 34, struct_hash->b, 32);
    asy_keccak256(ret_digest, asy_bytes_of(in, sizeof in));
}

/* ---- EIP-191 --------------------------------------------------------------------------------- */

void asy_eip191_hash(struct asy_hash *ret_hash, struct asy_bytes message) {
    char head[64];
    const int n = snprintf(head, sizeof head,
                           "\x19"
                           "Ethereum Signed Message:\n%zu",
                           message.n);
    struct asy_keccak k;
    asy_keccak_init(&k);
    asy_keccak_add(&k, asy_bytes_of(head, (size_t)n));
    asy_keccak_add(&k, message);
    asy_keccak_final(&k, ret_hash);
}

/* ---- EIP-55 ---------------------------------------------------------------------------------- */

void asy_addr_format(char ret_text[ASY_ADDR_STR], const struct asy_addr *addr) {
    static const char digits[] = "0123456789abcdef";
    char *hex = ret_text + 2;
    ret_text[0] = '0';
    ret_text[1] = 'x';
    for (size_t i = 0; i < sizeof addr->b; i++) {
        hex[2 * i] = digits[addr->b[i] >> 4];
        hex[2 * i + 1] = digits[addr->b[i] & 15];
    }
    hex[40] = '\0';
    struct asy_hash hash;
    asy_keccak256(&hash, asy_bytes_of(hex, 40));
    for (size_t i = 0; i < 40; i++) {
        const int nibble = i % 2 == 0 ? hash.b[i / 2] >> 4 : hash.b[i / 2] & 15;
        if (hex[i] >= 'a' && nibble >= 8) {
            hex[i] = (char)(hex[i] - 'a' + 'A');
        }
    }
}

enum asy_err asy_addr_parse(struct asy_addr *ret_addr, struct asy_bytes in) {
    if (in.n != ASY_ADDR_STR - 1 || in.p[0] != '0' || in.p[1] != 'x') {
        return ASY_ERR_SYNTAX;
    }
    struct asy_addr addr = {{0}};
    bool lower = false, upper = false;
    for (size_t i = 0; i < 40; i++) {
        const uint8_t c = in.p[2 + i];
        int nibble;
        if (c >= '0' && c <= '9') {
            nibble = c - '0';
        } else if (c >= 'a' && c <= 'f') {
            nibble = c - 'a' + 10;
            lower = true;
        } else if (c >= 'A' && c <= 'F') {
            nibble = c - 'A' + 10;
            upper = true;
        } else {
            return ASY_ERR_SYNTAX;
        }
        addr.b[i / 2] = (uint8_t)(addr.b[i / 2] << 4 | nibble);
    }
    if (lower && upper) {
        char right[ASY_ADDR_STR];
        asy_addr_format(right, &addr);
        if (memcmp(right, in.p, in.n) != 0) {
            return ASY_ERR_MISMATCH;
        }
    }
    *ret_addr = addr;
    return ASY_OK;
}
