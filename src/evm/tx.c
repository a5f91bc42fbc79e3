/* tx.c: EIP-1559 transactions as bytes. */
#include "evm/evm_priv.h"

#define TYPE_1559 0x02

static void put_body(struct asy_rlp *w, const struct asy_evm_tx *tx) {
    asy_rlp_u64(w, tx->chain_id);
    asy_rlp_u64(w, tx->nonce);
    asy_rlp_u128(w, tx->fees.tip_wei);
    asy_rlp_u128(w, tx->fees.max_wei);
    asy_rlp_u64(w, tx->gas);
    if (tx->create) {
        asy_rlp_bytes(w, ASY_STR(""));
    } else {
        asy_rlp_addr(w, &tx->to);
    }
    asy_rlp_u128(w, tx->value_wei);
    asy_rlp_bytes(w, tx->data);
    asy_rlp_list(w); /* access list */
    asy_rlp_end(w);
}

/* sig NULL: the form that is signed. */
static enum asy_err encode(struct asy_buf *buf, const struct asy_evm_tx *tx,
                           const struct asy_sig *sig) {
    struct asy_rlp w;
    ASY_TRY(asy_buf_add_u8(buf, TYPE_1559));
    asy_rlp_init(&w, buf);
    asy_rlp_list(&w);
    put_body(&w, tx);
    if (sig != NULL) {
        asy_rlp_u64(&w, (uint64_t)sig->b[64] - 27);
        asy_rlp_u256(&w, sig->b);
        asy_rlp_u256(&w, sig->b + 32);
    }
    asy_rlp_end(&w);
    return asy_rlp_finish(&w);
}

enum asy_err asy_evm_tx_encode_unsigned(struct asy_buf *buf, const struct asy_evm_tx *tx) {
    return encode(buf, tx, NULL);
}

void asy_evm_tx_digest(struct asy_hash *ret_digest, const struct asy_evm_tx *tx) {
    struct asy_buf buf;
    asy_buf_init(&buf, tx->data.n + 1024); /* all but the data is under 200 bytes */
    enum asy_err err = encode(&buf, tx, NULL);
    ASY_ASSERT(err == ASY_OK);
    asy_keccak256(ret_digest, asy_buf_bytes(&buf));
    asy_buf_done(&buf);
}

enum asy_err asy_evm_tx_encode(struct asy_buf *raw, const struct asy_evm_tx *tx,
                               const struct asy_sig *sig) {
    if (sig->b[64] != 27 && sig->b[64] != 28) {
        return ASY_ERR_SIGNATURE;
    }
    return encode(raw, tx, sig);
}

static enum asy_err decode_to(struct asy_evm_tx *tx, struct asy_bytes *in) {
    struct asy_bytes to;
    ASY_TRY(asy_rlp_next_bytes(&to, in));
    if (to.n != 0 && to.n != sizeof tx->to.b) {
        return ASY_ERR_MISMATCH;
    }
    tx->create = to.n == 0;
    if (to.n != 0) {
        memcpy(tx->to.b, to.p, to.n);
    }
    return ASY_OK;
}

enum asy_err asy_evm_tx_decode(struct asy_evm_tx *ret_tx, struct asy_sig *ret_sig,
                               struct asy_bytes raw) {
    struct asy_evm_tx tx = {0};
    struct asy_sig sig;
    struct asy_rlp_item outer;
    struct asy_bytes in, access;
    uint64_t parity;
    if (raw.n == 0) {
        return ASY_ERR_SYNTAX;
    }
    if (raw.p[0] != TYPE_1559) {
        return ASY_ERR_UNSUPPORTED;
    }
    ASY_TRY(asy_rlp_one(&outer, asy_bytes_of(raw.p + 1, raw.n - 1)));
    if (!outer.list) {
        return ASY_ERR_TYPE;
    }
    in = outer.data;
    ASY_TRY(asy_rlp_next_u64(&tx.chain_id, &in));
    ASY_TRY(asy_rlp_next_u64(&tx.nonce, &in));
    ASY_TRY(asy_rlp_next_u128(&tx.fees.tip_wei, &in));
    ASY_TRY(asy_rlp_next_u128(&tx.fees.max_wei, &in));
    ASY_TRY(asy_rlp_next_u64(&tx.gas, &in));
    ASY_TRY(decode_to(&tx, &in));
    ASY_TRY(asy_rlp_next_u128(&tx.value_wei, &in));
    ASY_TRY(asy_rlp_next_bytes(&tx.data, &in));
    ASY_TRY(asy_rlp_next_list(&access, &in));
    ASY_TRY(asy_rlp_next_u64(&parity, &in));
    ASY_TRY(asy_rlp_next_u256(sig.b, &in));
    ASY_TRY(asy_rlp_next_u256(sig.b + 32, &in));
    if (access.n != 0) {
        return ASY_ERR_UNSUPPORTED;
    }
    if (in.n != 0 || parity > 1) {
        return ASY_ERR_SYNTAX;
    }
    sig.b[64] = (uint8_t)(27 + parity);
    *ret_tx = tx;
    *ret_sig = sig;
    return ASY_OK;
}

void asy_evm_create_addr(struct asy_addr *ret_addr, const struct asy_addr *sender, uint64_t nonce) {
    struct asy_buf buf;
    struct asy_rlp w;
    struct asy_hash hash;
    asy_buf_init(&buf, 64);
    asy_rlp_init(&w, &buf);
    asy_rlp_list(&w);
    asy_rlp_addr(&w, sender);
    asy_rlp_u64(&w, nonce);
    asy_rlp_end(&w);
    enum asy_err err = asy_rlp_finish(&w);
    ASY_ASSERT(err == ASY_OK);
    asy_keccak256(&hash, asy_buf_bytes(&buf));
    memcpy(ret_addr->b, hash.b + 12, sizeof ret_addr->b);
    asy_buf_done(&buf);
}
