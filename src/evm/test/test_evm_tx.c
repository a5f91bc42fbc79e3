/* Transactions: bytes equal to another implementation's, round trips, and everything cut or changed
 * refused or read as something else. */
#include "evm/test/vectors.h"

static asy_u128 number(const struct asy_json *obj, const char *key) {
    asy_u128 v = 0;
    CHECK_OK(asy_u128_parse(&v, vectors_str(obj, key)));
    return v;
}

static void read_tx(struct asy_evm_tx *tx, struct asy_buf *data, const struct asy_json *v) {
    *tx = (struct asy_evm_tx){0};
    tx->chain_id = (uint64_t)number(v, "chainId");
    CHECK_OK(asy_json_u64(&tx->nonce, asy_json_get(v, "nonce")));
    tx->fees = (struct asy_evm_fees){number(v, "maxPriorityFeePerGas"), number(v, "maxFeePerGas")};
    tx->gas = (uint64_t)number(v, "gasLimit");
    tx->value_wei = number(v, "value");
    tx->create = asy_json_is_null(asy_json_get(v, "to"));
    if (!tx->create) {
        CHECK_OK(asy_addr_parse(&tx->to, vectors_str(v, "to")));
    }
    vectors_hex(data, v, "data");
    tx->data = asy_buf_bytes(data);
}

static bool same(const struct asy_evm_tx *a, const struct asy_evm_tx *b) {
    return a->chain_id == b->chain_id && a->nonce == b->nonce &&
           a->fees.tip_wei == b->fees.tip_wei && a->fees.max_wei == b->fees.max_wei &&
           a->gas == b->gas && a->create == b->create && asy_addr_eq(&a->to, &b->to) &&
           a->value_wei == b->value_wei && asy_bytes_eq(a->data, b->data);
}

static void check_vector(const struct asy_json *v, const struct asy_seckey *key,
                         const struct asy_addr *sender) {
    struct asy_buf data, want, raw;
    struct asy_evm_tx tx, got;
    struct asy_hash digest, want_hash;
    struct asy_sig sig, got_sig;
    struct asy_addr created, want_created;
    asy_buf_init(&data, 65536);
    asy_buf_init(&want, 65536);
    asy_buf_init(&raw, 65536);
    read_tx(&tx, &data, v);
    asy_evm_tx_digest(&digest, &tx);
    CHECK_OK(asy_hash_parse(&want_hash, vectors_str(v, "digest")));
    CHECK(asy_hash_eq(&digest, &want_hash));
    CHECK_OK(asy_secp_sign(&sig, key, &digest));
    CHECK_OK(asy_evm_tx_encode_unsigned(&raw, &tx));
    struct asy_hash of_unsigned;
    asy_keccak256(&of_unsigned, asy_buf_bytes(&raw));
    CHECK(asy_hash_eq(&of_unsigned, &digest));
    asy_buf_clear(&raw);
    CHECK_OK(asy_evm_tx_encode(&raw, &tx, &sig));
    vectors_hex(&want, v, "raw");
    CHECK(asy_bytes_eq(asy_buf_bytes(&raw), asy_buf_bytes(&want)));
    CHECK_OK(asy_hash_parse(&want_hash, vectors_str(v, "hash")));
    asy_keccak256(&digest, asy_buf_bytes(&raw));
    CHECK(asy_hash_eq(&digest, &want_hash));
    CHECK_OK(asy_evm_tx_decode(&got, &got_sig, asy_buf_bytes(&want)));
    CHECK(same(&tx, &got));
    CHECK_MEM(&sig, &got_sig, sizeof sig);
    asy_evm_create_addr(&created, sender, tx.nonce);
    CHECK_OK(asy_addr_parse(&want_created, vectors_str(v, "created")));
    CHECK(asy_addr_eq(&created, &want_created));
    for (size_t n = 0; n < raw.n; n++) {
        CHECK(asy_evm_tx_decode(&got, &got_sig, asy_bytes_of(raw.p, n)) != ASY_OK);
    }
    asy_buf_done(&data);
    asy_buf_done(&want);
    asy_buf_done(&raw);
}

static void test_vectors(void) {
    struct asy_json *doc = vectors_read("src/evm/vectors/tx.json");
    struct asy_seckey key;
    struct asy_addr sender, want;
    CHECK_OK(asy_0x_decode(key.b, sizeof key.b, vectors_str(doc, "key")));
    CHECK_OK(asy_secp_addr(&sender, &key));
    CHECK_OK(asy_addr_parse(&want, vectors_str(doc, "address")));
    CHECK(asy_addr_eq(&sender, &want));
    const struct asy_json *txs = asy_json_get(doc, "txs");
    CHECK_U64(asy_json_len(txs), 4);
    for (size_t i = 0; i < asy_json_len(txs); i++) {
        check_vector(asy_json_at(txs, i), &key, &sender);
    }
    asy_json_free(doc);
}

static asy_u128 any_u128(void) {
    asy_u128 v = (asy_u128)asy_test_random() << 64 | asy_test_random();
    return v >> (asy_test_random() % 128);
}

static void test_round_trip(void) {
    for (int i = 0; i < 300; i++) {
        uint8_t data[300];
        struct asy_evm_tx tx = {.chain_id = asy_test_random() >> (asy_test_random() % 64),
                                .nonce = asy_test_random() >> (asy_test_random() % 64),
                                .fees = {any_u128(), any_u128()},
                                .gas = asy_test_random() >> (asy_test_random() % 64),
                                .create = (asy_test_random() & 1) != 0,
                                .value_wei = any_u128()};
        asy_test_fill(data, sizeof data);
        tx.data = asy_bytes_of(data, asy_test_random() % sizeof data);
        if (!tx.create) {
            asy_test_fill(tx.to.b, sizeof tx.to.b);
        }
        struct asy_sig sig, got_sig;
        asy_test_fill(sig.b, sizeof sig.b);
        sig.b[64] = (uint8_t)(27 + (asy_test_random() & 1));
        struct asy_buf raw, again;
        struct asy_evm_tx got;
        asy_buf_init(&raw, 4096);
        asy_buf_init(&again, 4096);
        CHECK_OK(asy_evm_tx_encode(&raw, &tx, &sig));
        CHECK_OK(asy_evm_tx_decode(&got, &got_sig, asy_buf_bytes(&raw)));
        CHECK(same(&tx, &got));
        /* One byte changed: refused, or another transaction that encodes to exactly these bytes. */
        raw.p[asy_test_random() % raw.n] ^= (uint8_t)(1 + asy_test_random() % 255);
        if (asy_evm_tx_decode(&got, &got_sig, asy_buf_bytes(&raw)) == ASY_OK) {
            CHECK_OK(asy_evm_tx_encode(&again, &got, &got_sig));
            CHECK(asy_bytes_eq(asy_buf_bytes(&raw), asy_buf_bytes(&again)));
        }
        asy_buf_done(&raw);
        asy_buf_done(&again);
    }
}

static void test_refused(void) {
    struct asy_evm_tx tx = {.chain_id = 1};
    struct asy_sig sig = {{0}};
    struct asy_buf raw;
    asy_buf_init(&raw, 1024);
    CHECK_ERR(asy_evm_tx_encode(&raw, &tx, &sig), ASY_ERR_SIGNATURE); /* v 0 */
    CHECK_U64(raw.n, 0);
    CHECK_ERR(asy_evm_tx_decode(&tx, &sig, ASY_STR("")), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_evm_tx_decode(&tx, &sig, ASY_STR("\x01\xc0")), ASY_ERR_UNSUPPORTED);
    CHECK_ERR(asy_evm_tx_decode(&tx, &sig, ASY_STR("\xf8\x6c")), ASY_ERR_UNSUPPORTED);
    CHECK_ERR(asy_evm_tx_decode(&tx, &sig, ASY_STR("\x02\x80")), ASY_ERR_TYPE);
    CHECK_ERR(asy_evm_tx_decode(&tx, &sig, ASY_STR("\x02\xc0")), ASY_ERR_SYNTAX);
    asy_buf_done(&raw);
}

int main(void) {
    test_vectors();
    test_round_trip();
    test_refused();
    return asy_test_end();
}
