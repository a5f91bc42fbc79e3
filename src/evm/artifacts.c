/* artifacts.c: the compiled contracts, taken into the program as they lie in contracts/artifacts.
 */
#include <pthread.h>

#include "evm/evm_priv.h"

/* The assembler copies the file between two labels. module.mk makes this object depend on the
 * files. */
#define ARTIFACT(name)                                                                             \
    __asm__(".section .rodata\n"                                                                   \
            "evm_artifact_" #name ": .incbin \"contracts/artifacts/" #name ".json\"\n"             \
            "evm_artifact_" #name "_end: .byte 0\n"                                                \
            ".previous\n");                                                                        \
    extern const uint8_t evm_artifact_##name[] __attribute__((visibility("hidden")));              \
    extern const uint8_t evm_artifact_##name##_end[] __attribute__((visibility("hidden")));
#define CONTRACTS(X) X(DevUSD) X(Token) X(StakeRegistry) X(ModelRegistry) X(Vault) X(Court)

CONTRACTS(ARTIFACT)

struct artifact {
    const char *name;
    const uint8_t *begin, *end;
};
#define ENTRY(name) {#name, evm_artifact_##name, evm_artifact_##name##_end},
static const struct artifact artifacts[] = {CONTRACTS(ENTRY)};

static struct asy_bytes json_of(const struct artifact *a) {
    return asy_bytes_of(a->begin, (size_t)(a->end - a->begin));
}

/* The files are ours: one that does not parse is a bug. */
static struct asy_json *parse(const struct artifact *a) {
    struct asy_json *doc;
    enum asy_err err = asy_json_parse(&doc, json_of(a), ASY_MAX_JSON_DEPTH, NULL);
    ASY_ASSERT(err == ASY_OK);
    return doc;
}

enum asy_err asy_evm_creation_code(struct asy_buf *buf, const char *name) {
    for (size_t i = 0; i < ASY_COUNT(artifacts); i++) {
        if (strcmp(artifacts[i].name, name) == 0) {
            struct asy_json *doc = parse(&artifacts[i]);
            struct asy_bytes text;
            enum asy_err err = asy_json_str(&text, asy_json_get(doc, "bytecode"));
            if (err == ASY_OK) {
                err = asy_0x_decode_buf(buf, text);
            }
            ASY_ASSERT(err == ASY_OK || err == ASY_ERR_TOO_LONG);
            asy_json_free(doc);
            return err;
        }
    }
    return ASY_ERR_NOT_FOUND;
}

/* ---- custom errors ---- */

/* "TooEarly(uint256)" of an ABI entry. Errors have plain types only; one with a struct is passed
 * over. */
static enum asy_err signature_of(struct asy_buf *buf, const struct asy_json *entry) {
    struct asy_bytes text;
    const struct asy_json *inputs = asy_json_get(entry, "inputs");
    ASY_TRY(asy_json_str(&text, asy_json_get(entry, "name")));
    ASY_TRY(asy_buf_add_bytes(buf, text));
    ASY_TRY(asy_buf_add_u8(buf, '('));
    for (size_t i = 0; i < asy_json_len(inputs); i++) {
        ASY_TRY(asy_json_str(&text, asy_json_get(asy_json_at(inputs, i), "type")));
        if (asy_bytes_starts(text, ASY_STR("tuple"))) {
            return ASY_ERR_UNSUPPORTED;
        }
        ASY_TRY(i > 0 ? asy_buf_add_u8(buf, ',') : ASY_OK);
        ASY_TRY(asy_buf_add_bytes(buf, text));
    }
    return asy_buf_add_u8(buf, ')');
}

/* One argument as text: numbers in decimal, addresses and hashes in hex, text as it is. */
static enum asy_err argument_text(struct asy_buf *buf, struct asy_bytes type,
                                  struct asy_abi_reader *args) {
    if (asy_bytes_eq(type, ASY_STR("address"))) {
        struct asy_addr addr;
        char text[ASY_ADDR_STR];
        ASY_TRY(asy_abi_read_addr(args, &addr));
        asy_addr_format(text, &addr);
        return asy_buf_add_str(buf, text);
    }
    if (asy_bytes_eq(type, ASY_STR("string")) || asy_bytes_eq(type, ASY_STR("bytes"))) {
        struct asy_bytes s;
        ASY_TRY(asy_abi_read_bytes(args, &s));
        return asy_buf_printf(buf, "%zu bytes", s.n);
    }
    uint8_t word[32];
    char text[ASY_QUANTITY_TEXT];
    ASY_TRY(asy_abi_read_word(args, word));
    if (asy_bytes_starts(type, ASY_STR("uint")) && asy_be128_get(word) == 0) {
        char decimal[ASY_U128_TEXT];
        asy_u128_format(decimal, asy_be128_get(word + 16));
        return asy_buf_add_str(buf, decimal);
    }
    asy_quantity_format_u256(text, word);
    return asy_buf_add_str(buf, text);
}

static enum asy_err error_text(struct asy_buf *buf, const struct asy_json *entry,
                               struct asy_bytes data) {
    struct asy_abi_reader args;
    struct asy_bytes text;
    const struct asy_json *inputs = asy_json_get(entry, "inputs");
    ASY_TRY(asy_json_str(&text, asy_json_get(entry, "name")));
    ASY_TRY(asy_buf_add_bytes(buf, text));
    ASY_TRY(asy_buf_add_u8(buf, '('));
    asy_abi_read(&args, data);
    for (size_t i = 0; i < asy_json_len(inputs); i++) {
        const struct asy_json *input = asy_json_at(inputs, i);
        struct asy_bytes name;
        ASY_TRY(asy_json_str(&name, asy_json_get(input, "name")));
        ASY_TRY(asy_json_str(&text, asy_json_get(input, "type")));
        ASY_TRY(asy_buf_printf(buf, "%s%.*s%s", i > 0 ? ", " : "", (int)name.n,
                               (const char *)name.p, name.n > 0 ? ": " : ""));
        ASY_TRY(argument_text(buf, text, &args));
    }
    return asy_buf_add_u8(buf, ')');
}

/* All errors of all contracts, made at the first revert and kept. */
#define MAX_ERRORS 256u
static struct error {
    uint8_t selector[4];
    const struct asy_json *entry;
} errors[MAX_ERRORS];
static size_t error_count;
static struct asy_json *docs[ASY_COUNT(artifacts)];
static pthread_once_t errors_once = PTHREAD_ONCE_INIT;

static void add_error(const struct asy_json *entry) {
    struct asy_bytes type;
    struct asy_buf signature;
    if (asy_json_str(&type, asy_json_get(entry, "type")) != ASY_OK ||
        !asy_bytes_eq(type, ASY_STR("error"))) {
        return;
    }
    asy_buf_init(&signature, 1024);
    if (signature_of(&signature, entry) == ASY_OK) {
        ASY_ASSERT(error_count < MAX_ERRORS);
        asy_abi_selector(errors[error_count].selector, asy_buf_cstr(&signature));
        errors[error_count++].entry = entry;
    }
    asy_buf_done(&signature);
}

static void make_errors(void) {
    for (size_t i = 0; i < ASY_COUNT(artifacts); i++) {
        docs[i] = parse(&artifacts[i]);
        const struct asy_json *abi = asy_json_get(docs[i], "abi");
        for (size_t k = 0; k < asy_json_len(abi); k++) {
            add_error(asy_json_at(abi, k));
        }
    }
}

bool evm_error_text(char *ret_text, size_t cap, const uint8_t selector[4], struct asy_bytes args) {
    const struct asy_json *entry = NULL;
    (void)pthread_once(&errors_once, make_errors);
    for (size_t i = 0; i < error_count && entry == NULL; i++) {
        entry = memcmp(errors[i].selector, selector, 4) == 0 ? errors[i].entry : NULL;
    }
    if (entry == NULL) {
        return false;
    }
    struct asy_buf text;
    asy_buf_init(&text, 1024);
    bool good = error_text(&text, entry, args) == ASY_OK;
    if (good) {
        size_t n = text.n < cap - 1 ? text.n : cap - 1;
        memcpy(ret_text, text.p, n);
        ret_text[n] = 0;
    }
    asy_buf_done(&text);
    return good;
}
