/*~ crypto: every primitive that the rest of Assay signs, hashes and seals with.
 *
 * Keccak-256 is our own (no kept C library has the original padding); all else is an adapter over
 * libsecp256k1, libsodium and libcrypto, whose types stay inside this folder. Only the key file
 * functions allocate (Argon2id's memory) or touch files. The one global is the secp256k1 context,
 * made and blinded at first use; every function may be called from any thread at once.
 *
 * Fixed-size values are structs, so that a key cannot be passed for a hash. Functions without an
 * error code cannot fail. Where time could tell something about a secret, it does not: signing, key
 * agreement, tags and password checks take the same path for every secret. Whoever holds a secret
 * struct wipes it with asy_secret_wipe.
 *
 * Keccak-256 and SHA-256 | secp256k1 | EIP-712, EIP-191, EIP-55 | Ed25519, X25519, AEAD | key files
 */
#ifndef ASY_CRYPTO_CRYPTO_H
#define ASY_CRYPTO_CRYPTO_H

#include "base/base.h"

/* ---- hashes ---------------------------------------------------------------------------------- */

/* Keccak-256 with the original padding (0x01), as Ethereum uses it; not SHA3-256. */
void asy_keccak256(struct asy_hash *ret_hash, struct asy_bytes in);
/* Of left || right: a node of a binary tree. ret may be one of them. */
void asy_keccak256_two(struct asy_hash *ret_hash, const struct asy_hash *left,
                       const struct asy_hash *right);

/* Incremental: init, add any number of times, final. After final the object must be initialised
 * again. A copy is a fork. */
struct asy_keccak {
    uint64_t lane[25];
    size_t n; /* bytes absorbed into the current block, [0, 136) */
};
void asy_keccak_init(struct asy_keccak *k);
void asy_keccak_add(struct asy_keccak *k, struct asy_bytes in);
void asy_keccak_final(struct asy_keccak *k, struct asy_hash *ret_hash);

/* SHA-256 (FIPS 180-4): digests of files, manifests and seeds. */
void asy_sha256(struct asy_hash *ret_hash, struct asy_bytes in);
struct asy_sha256 {
    uint64_t opaque[14];
};
void asy_sha256_init(struct asy_sha256 *s);
void asy_sha256_add(struct asy_sha256 *s, struct asy_bytes in);
void asy_sha256_final(struct asy_sha256 *s, struct asy_hash *ret_hash);

/* HMAC-SHA-256 (RFC 2104); key of any length. */
void asy_hmac_sha256(struct asy_hash *ret_mac, struct asy_bytes key, struct asy_bytes in);

/* HKDF-SHA-256 (RFC 5869), extract and expand in one. An empty salt means 32 zero bytes, as the
 * RFC says.
 * out:    ret_out: len bytes, len in [0, ASY_HKDF_MAX]; more is a bug */
#define ASY_HKDF_MAX (255u * 32u)
void asy_hkdf_sha256(uint8_t *ret_out, size_t len, struct asy_bytes salt, struct asy_bytes key,
                     struct asy_bytes info);

/* ---- secp256k1 ------------------------------------------------------------------------------- */

/* Secret scalar, big endian, in [1, group order). */
struct asy_seckey {
    uint8_t b[32];
};
/* Public point: x || y, big endian, without the 0x04 in front. */
struct asy_pubkey {
    uint8_t b[64];
};
/* r || s || v. v is 27 or 28 (27 + parity of the nonce point's y); s is at most half of the group
 * order. */
struct asy_sig {
    uint8_t b[65];
};

/* A fresh key from env's randomness. Never fails: bytes outside the range are drawn again. */
void asy_seckey_generate(struct asy_seckey *ret_key, const struct asy_env *env);
/* errors: RANGE zero, or not below the group order */
ASY_MUST_USE enum asy_err asy_seckey_check(const struct asy_seckey *key);
/* errors: RANGE as asy_seckey_check */
ASY_MUST_USE enum asy_err asy_secp_pubkey(struct asy_pubkey *ret_pub, const struct asy_seckey *key);
ASY_MUST_USE enum asy_err asy_secp_addr(struct asy_addr *ret_addr, const struct asy_seckey *key);
/* The last 20 bytes of keccak256(x || y). Does not check that the point is on the curve. */
void asy_pubkey_addr(struct asy_addr *ret_addr, const struct asy_pubkey *pub);

/* asy_secp_sign: deterministic (RFC 6979, HMAC-SHA-256), low s. hash is the final digest: of
 * EIP-712, EIP-191 or a transaction.
 * errors: RANGE as asy_seckey_check; INTERNAL the nonce point's x is not below the group order
 *         (chance 2^-127; v cannot express it) */
ASY_MUST_USE enum asy_err asy_secp_sign(struct asy_sig *ret_sig, const struct asy_seckey *key,
                                        const struct asy_hash *hash);

/* asy_secp_recover: who signed hash. A signature by nobody recovers to some address too: compare
 * it, or use asy_secp_verify.
 * errors: SIGNATURE when r or s is zero or not below the group order, s is above half of it, v is
 *         not 27 or 28, or no point has this r */
ASY_MUST_USE enum asy_err asy_secp_recover(struct asy_addr *ret_addr, const struct asy_hash *hash,
                                           const struct asy_sig *sig);
ASY_MUST_USE enum asy_err asy_secp_recover_pubkey(struct asy_pubkey *ret_pub,
                                                  const struct asy_hash *hash,
                                                  const struct asy_sig *sig);
/* errors: SIGNATURE as asy_secp_recover, or it is another's */
ASY_MUST_USE enum asy_err asy_secp_verify(const struct asy_addr *signer,
                                          const struct asy_hash *hash, const struct asy_sig *sig);

/* ---- EIP-712, EIP-191, EIP-55 ---------------------------------------------------------------- */

/* Separator of EIP712Domain(string name,string version,uint256 chainId,address verifyingContract).
 */
void asy_eip712_domain(struct asy_hash *ret_separator, struct asy_bytes name,
                       struct asy_bytes version, uint64_t chain_id,
                       const struct asy_addr *verifying_contract);
/* keccak256(0x1901 || separator || struct hash): what is signed. */
void asy_eip712_digest(struct asy_hash *ret_digest, const struct asy_hash *separator,
                       const struct asy_hash *struct_hash);

/* Struct hash, member by member in the order of the type string: begin, add ..., end. Each add
 * appends one 32-byte word.
 *
 *     asy_eip712_typehash(&type, ASY_STR("Ack(address gateway,address node,...)"));
 *     asy_eip712_begin(&e, &type);
 *     asy_eip712_add_addr(&e, &gateway);
 *     ...
 *     asy_eip712_end(&e, &hash);
 */
struct asy_eip712 {
    struct asy_keccak k;
};
/* type: encodeType of EIP-712, referenced structs appended in alphabetical order. */
void asy_eip712_typehash(struct asy_hash *ret_typehash, struct asy_bytes type);
void asy_eip712_begin(struct asy_eip712 *e, const struct asy_hash *typehash);
void asy_eip712_add_bool(struct asy_eip712 *e, bool v);
void asy_eip712_add_u8(struct asy_eip712 *e, uint8_t v);
void asy_eip712_add_u32(struct asy_eip712 *e, uint32_t v);
void asy_eip712_add_u64(struct asy_eip712 *e, uint64_t v);
void asy_eip712_add_u128(struct asy_eip712 *e, asy_u128 v);
void asy_eip712_add_addr(struct asy_eip712 *e, const struct asy_addr *v);
/* bytes32, or the hash of a nested struct */
void asy_eip712_add_hash(struct asy_eip712 *e, const struct asy_hash *v);
/* string or bytes: its keccak256 */
void asy_eip712_add_dynamic(struct asy_eip712 *e, struct asy_bytes v);
void asy_eip712_end(struct asy_eip712 *e, struct asy_hash *ret_struct_hash);

/* EIP-191 version 0x45 ("personal_sign"): keccak256("\x19Ethereum Signed Message:\n" || decimal
 * length || message). */
void asy_eip191_hash(struct asy_hash *ret_hash, struct asy_bytes message);

/* "0x" and 40 digits with the EIP-55 checksum, zero-terminated. */
#define ASY_ADDR_STR 43
void asy_addr_format(char ret_text[ASY_ADDR_STR], const struct asy_addr *addr);
/* asy_addr_parse takes "0x" and 40 hex digits; all lower case or all upper case passes, mixed case
 * must carry the right checksum.
 * errors: SYNTAX anything else; MISMATCH wrong checksum */
ASY_MUST_USE enum asy_err asy_addr_parse(struct asy_addr *ret_addr, struct asy_bytes in);

/* ---- Ed25519, X25519, AEAD ------------------------------------------------------------------- */

/* Ed25519 (RFC 8032, pure). The secret is seed || public key, so that signing does not derive the
 * public key again. */
struct asy_ed25519_seckey {
    uint8_t b[64];
};
struct asy_ed25519_pubkey {
    uint8_t b[32];
};
struct asy_ed25519_sig {
    uint8_t b[64];
};
void asy_ed25519_from_seed(struct asy_ed25519_seckey *ret_key, const uint8_t seed[32]);
void asy_ed25519_generate(struct asy_ed25519_seckey *ret_key, const struct asy_env *env);
void asy_ed25519_pubkey(struct asy_ed25519_pubkey *ret_pub, const struct asy_ed25519_seckey *key);
void asy_ed25519_sign(struct asy_ed25519_sig *ret_sig, const struct asy_ed25519_seckey *key,
                      struct asy_bytes message);
/* errors: SIGNATURE; also for non-canonical s or R and for keys or R of small order */
ASY_MUST_USE enum asy_err asy_ed25519_verify(const struct asy_ed25519_pubkey *pub,
                                             struct asy_bytes message,
                                             const struct asy_ed25519_sig *sig);

/* X25519 (RFC 7748). The secret is 32 random bytes; clamping happens inside. */
struct asy_x25519_seckey {
    uint8_t b[32];
};
struct asy_x25519_pubkey {
    uint8_t b[32];
};
void asy_x25519_generate(struct asy_x25519_seckey *ret_key, const struct asy_env *env);
void asy_x25519_pubkey(struct asy_x25519_pubkey *ret_pub, const struct asy_x25519_seckey *key);
/* The raw shared point: never a key itself, feed it to asy_hkdf_sha256 together with both public
 * keys.
 * errors: RANGE the peer's point has small order (the result would be zero, and known to all) */
ASY_MUST_USE enum asy_err asy_x25519_shared(uint8_t ret_shared[32],
                                            const struct asy_x25519_seckey *key,
                                            const struct asy_x25519_pubkey *peer);

/* XChaCha20-Poly1305 (IETF construction). Nonces are 24 bytes: random ones never repeat. */
#define ASY_AEAD_TAG 16
struct asy_aead_key {
    uint8_t b[32];
};
struct asy_aead_nonce {
    uint8_t b[24];
};
void asy_aead_nonce_generate(struct asy_aead_nonce *ret_nonce, const struct asy_env *env);
/* out:    ret_out: in.n + ASY_AEAD_TAG bytes; may start where in starts
 * in:     ad: authenticated, not encrypted, not stored */
void asy_aead_seal(uint8_t *ret_out, const struct asy_aead_key *key,
                   const struct asy_aead_nonce *nonce, struct asy_bytes ad, struct asy_bytes in);
/* out:    ret_out: in.n - ASY_AEAD_TAG bytes; may start where in starts; zeroed on failure, so that
 *         nobody reads unproved bytes
 * errors: AUTH the tag does not fit, or in is shorter than a tag */
ASY_MUST_USE enum asy_err asy_aead_open(uint8_t *ret_out, const struct asy_aead_key *key,
                                        const struct asy_aead_nonce *nonce, struct asy_bytes ad,
                                        struct asy_bytes in);

/* ---- key files ------------------------------------------------------------------------------- */

/* A secret key at rest: Argon2id (RFC 9106, one lane) turns the password into a key,
 * XChaCha20-Poly1305 seals the secret with all lines above it as authenticated data. There is no
 * unencrypted form. Text, one canonical spelling for each content:
 *
 *     assay-key 1
 *     kind secp256k1                   or ed25519, x25519
 *     id 0x2c7536E3605D9C16...         address with checksum, or the public key in hex
 *     kdf argon2id m=65536 t=3 p=1     m in KiB, t passes
 *     salt <32 hex digits>
 *     nonce <48 hex digits>
 *     box <96 hex digits>              32 secret bytes and the tag
 *
 * m and t are bounded when read, so that a hostile file cannot take the machine's memory or an hour
 * of its time. */
enum asy_key_kind { ASY_KEY_SECP256K1, ASY_KEY_ED25519, ASY_KEY_X25519 };

/* The 32 bytes kept: the scalar, the Ed25519 seed, or the X25519 secret. */
struct asy_secret {
    uint8_t b[32];
};

struct asy_kdf_cost {
    uint32_t mem_kib; /* [8, ASY_MAX_KDF_MEM_KIB] */
    uint32_t passes;  /* [1, ASY_MAX_KDF_PASSES]; mem_kib * passes <= ASY_MAX_KDF_WORK_KIB */
};
/* What RFC 9106 recommends second: 64 MiB, 3 passes. */
#define ASY_KDF_DEFAULT ((struct asy_kdf_cost){64u * 1024u, 3})

struct asy_keyfile {
    enum asy_key_kind kind;
    char id[67]; /* "0x..." and zero: readable without the password, proved by it */
    struct asy_kdf_cost cost;
    uint8_t salt[16];
    struct asy_aead_nonce nonce;
    uint8_t box[32 + ASY_AEAD_TAG];
};

/* asy_keyfile_seal encrypts secret under password.
 * in:     password: any bytes, at least one
 * errors: RANGE empty password, cost outside its bounds, or a secret that is no key of this kind;
 *         INTERNAL no memory for the KDF */
ASY_MUST_USE enum asy_err asy_keyfile_seal(struct asy_keyfile *ret_file, enum asy_key_kind kind,
                                           const struct asy_secret *secret,
                                           struct asy_bytes password, struct asy_kdf_cost cost,
                                           const struct asy_env *env);
/* errors: AUTH wrong password, or any line was changed; MISMATCH the sealed secret is not the key
 *         that `id` names; RANGE cost outside its bounds; INTERNAL no memory for the KDF */
ASY_MUST_USE enum asy_err asy_keyfile_open(struct asy_secret *ret_secret,
                                           const struct asy_keyfile *file,
                                           struct asy_bytes password);

/* errors: SYNTAX not the format; VERSION a later one; UNSUPPORTED kind or KDF; RANGE cost outside
 *         its bounds; TOO_LONG */
ASY_MUST_USE enum asy_err asy_keyfile_parse(struct asy_keyfile *ret_file, struct asy_bytes in,
                                            struct asy_why *reterr_why);
/* errors: TOO_LONG buf is too small */
ASY_MUST_USE enum asy_err asy_keyfile_format(struct asy_buf *buf, const struct asy_keyfile *file);

/* asy_keyfile_save writes path atomically (a new file beside it, mode 0600, synced, moved into
 * place, folder synced).
 * in:     replace: whether an existing file may be replaced (a new password); a lost key is lost
 *         money, so creating says false
 * errors: CONFLICT path exists and replace is false; IO */
ASY_MUST_USE enum asy_err asy_keyfile_save(const char *path, const struct asy_keyfile *file,
                                           bool replace, struct asy_why *reterr_why);
/* asy_keyfile_load reads path.
 * errors: NOT_FOUND; IO, also when it is no regular file; FORBIDDEN group or others may read or
 *         write it; as asy_keyfile_parse */
ASY_MUST_USE enum asy_err asy_keyfile_load(struct asy_keyfile *ret_file, const char *path,
                                           struct asy_why *reterr_why);

#endif
