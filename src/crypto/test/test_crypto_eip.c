/* EIP-712, EIP-191 and EIP-55 against the examples of the EIPs. */
#include "base/test.h"
#include "crypto/crypto.h"

static void hex32(struct asy_hash *ret, const char *hex) {
    for (size_t i = 0; i < 32; i++) {
        unsigned byte = 0;
        for (size_t k = 0; k < 2; k++) {
            const char c = hex[2 * i + k];
            byte = byte << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        ret->b[i] = (uint8_t)byte;
    }
}

static void check_hash(const struct asy_hash *got, const char *want) {
    struct asy_hash w;
    hex32(&w, want);
    CHECK(asy_hash_eq(got, &w));
}

static struct asy_addr addr_of(const char *text) {
    struct asy_addr addr = {{0}};
    CHECK_OK(asy_addr_parse(&addr, asy_bytes_cstr(text)));
    return addr;
}

static void person(struct asy_hash *ret, const char *name, const char *wallet) {
    struct asy_eip712 e;
    struct asy_hash type;
    const struct asy_addr addr = addr_of(wallet);
    asy_eip712_typehash(&type, ASY_STR("Person(string name,address wallet)"));
    asy_eip712_begin(&e, &type);
    asy_eip712_add_dynamic(&e, asy_bytes_cstr(name));
    asy_eip712_add_addr(&e, &addr);
    asy_eip712_end(&e, ret);
}

/* The "Mail" example of EIP-712. */
static void mail(void) {
    struct asy_hash domain, type, from, to, hash, digest;
    struct asy_eip712 e;
    const struct asy_addr contract = addr_of("0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC");
    asy_eip712_domain(&domain, ASY_STR("Ether Mail"), ASY_STR("1"), 1, &contract);
    check_hash(&domain, "f2cee375fa42b42143804025fc449deafd50cc031ca257e0b194a650a912090f");
    person(&from, "Cow", "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826");
    person(&to, "Bob", "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB");
    asy_eip712_typehash(
        &type,
        ASY_STR("Mail(Person from,Person to,string contents)Person(string name,address wallet)"));
    check_hash(&type, "a0cedeb2dc280ba39b857546d74f5549c3a1d7bdc2dd96bf881f76108e23dac2");
    asy_eip712_begin(&e, &type);
    asy_eip712_add_hash(&e, &from);
    asy_eip712_add_hash(&e, &to);
    asy_eip712_add_dynamic(&e, ASY_STR("Hello, Bob!"));
    asy_eip712_end(&e, &hash);
    check_hash(&hash, "c52c0ee5d84264471806290a3f2c4cecfc5490626bf912d01f240d7a274b371e");
    asy_eip712_digest(&digest, &domain, &hash);
    check_hash(&digest, "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2");
}

/* Each add must write the word that abi.encode writes. */
static void words(void) {
    struct asy_hash type, got, want;
    struct asy_eip712 e;
    uint8_t word[8][32] = {{0}};
    const struct asy_addr addr = {{0xa0, [19] = 0xa1}};
    asy_test_fill(type.b, 32);
    asy_eip712_begin(&e, &type);
    asy_eip712_add_bool(&e, true);
    asy_eip712_add_u8(&e, 0xf1);
    asy_eip712_add_u32(&e, 0xf1020304);
    asy_eip712_add_u64(&e, 0xf102030405060708);
    asy_eip712_add_u128(&e, (asy_u128)0xf102030405060708 << 64 | 0x1112131415161718);
    asy_eip712_add_addr(&e, &addr);
    asy_eip712_add_bool(&e, false);
    asy_eip712_end(&e, &got);
    memcpy(word[0], type.b, 32);
    word[1][31] = 1;
    word[2][31] = 0xf1;
    asy_be32_put(word[3] + 28, 0xf1020304);
    asy_be64_put(word[4] + 24, 0xf102030405060708);
    asy_be64_put(word[5] + 16, 0xf102030405060708);
    asy_be64_put(word[5] + 24, 0x1112131415161718);
    memcpy(word[6] + 12, addr.b, 20);
    asy_keccak256(&want, asy_bytes_of(word, sizeof word));
    CHECK(asy_hash_eq(&got, &want));
}

static void personal(void) {
    struct asy_hash hash;
    asy_eip191_hash(&hash, ASY_STR("Some data")); /* web3.js documentation */
    check_hash(&hash, "1da44b586eb0729ff70a73c326926f6ed5a25f5b056e7f47fbc6e58d86871655");
    asy_eip191_hash(&hash,
                    ASY_STR("hello world")); /* ethers documentation; a length of two digits */
    check_hash(&hash, "d9eba16ed0ecae432b71fe008c98cc872bb4cc214d3220a36f365326cf807d68");
}

static void checksums(void) {
    static const char *const good[] = {
        /* EIP-55: all caps, all lower, normal */
        "0x52908400098527886E0F7030069857D2E4169EE7", "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77", "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    };
    for (size_t i = 0; i < ASY_COUNT(good); i++) {
        char text[ASY_ADDR_STR], other[ASY_ADDR_STR];
        struct asy_addr addr = addr_of(good[i]), again;
        asy_addr_format(text, &addr);
        CHECK_STR(text, good[i]);
        /* one-case spellings pass */
        for (size_t k = 0; k <= 42; k++) {
            other[k] = text[k] >= 'A' && text[k] <= 'F' ? (char)(text[k] + 32) : text[k];
        }
        CHECK_OK(asy_addr_parse(&again, asy_bytes_of(other, 42)));
        CHECK(asy_addr_eq(&addr, &again));
        for (size_t k = 2; k < 42; k++) {
            other[k] = text[k] >= 'a' && text[k] <= 'f' ? (char)(text[k] - 32) : text[k];
        }
        CHECK_OK(asy_addr_parse(&again, asy_bytes_of(other, 42)));
        CHECK(asy_addr_eq(&addr, &again));
    }
    /* every single letter of the other case is a wrong checksum, as long as both cases remain */
    for (size_t k = 2; k < 42; k++) {
        char text[ASY_ADDR_STR];
        struct asy_addr addr = {{1}}, before = addr;
        memcpy(text, good[4], sizeof text);
        if (text[k] >= 'A') {
            text[k] ^= 32;
            CHECK_ERR(asy_addr_parse(&addr, asy_bytes_of(text, 42)), ASY_ERR_MISMATCH);
        }
        /* no byte but a hex digit */
        text[k] = 'g';
        CHECK_ERR(asy_addr_parse(&addr, asy_bytes_of(text, 42)), ASY_ERR_SYNTAX);
        text[k] = '\0';
        CHECK_ERR(asy_addr_parse(&addr, asy_bytes_of(text, 42)), ASY_ERR_SYNTAX);
        CHECK(asy_addr_eq(&addr, &before));
    }
    static const char *const bad[] = {
        "",
        "0x",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed0",
        "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "  5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed00",
    };
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        struct asy_addr addr;
        CHECK_ERR(asy_addr_parse(&addr, asy_bytes_cstr(bad[i])), ASY_ERR_SYNTAX);
    }
}

int main(void) {
    mail();
    words();
    personal();
    checksums();
    return asy_test_end();
}
