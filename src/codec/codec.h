/*~ codec: the text and byte formats that Assay shares with the rest of the world.
 *
 * JSON read strictly (through jansson, whose types stay inside), written fast, and brought into
 * canonical form (RFC 8785); hex, Ethereum JSON-RPC quantities, base64; RLP; the Solidity ABI.
 * Pure: no clock, no I/O, no globals.
 *
 * Writers (asy_jw, asy_rlp, asy_abi) hold their first error: the puts return nothing and do nothing
 * after a failure; finish returns it. Unbalanced use (a list left open, a word too many) is a bug
 * and aborts. After a failure the buffer holds a torn prefix; the caller drops it. Readers return
 * an error from every call.
 */
#ifndef ASY_CODEC_H
#define ASY_CODEC_H

#include "base/base.h"

/* ---- hex ------------------------------------------------------------------------------------- */

/* Lower-case digits of len bytes, then a zero byte: 2 * len + 1 bytes at ret_text. */
void asy_hex_encode(char *ret_text, const void *p, size_t len);
/* Exactly 2 * len digits of either case, no prefix. SYNTAX (ret_p is then untouched). */
ASY_MUST_USE enum asy_err asy_hex_decode(void *ret_p, size_t len, struct asy_bytes text);

/* JSON-RPC "unformatted data": 0x and two digits per byte, "0x" for none. */
ASY_MUST_USE enum asy_err asy_0x_add(struct asy_buf *buf, struct asy_bytes data); /* TOO_LONG */
/* Exactly len bytes. SYNTAX (ret_p is then untouched). */
ASY_MUST_USE enum asy_err asy_0x_decode(void *ret_p, size_t len, struct asy_bytes text);
/* Appends what text stands for. SYNTAX, TOO_LONG (buf is then unchanged). */
ASY_MUST_USE enum asy_err asy_0x_decode_buf(struct asy_buf *buf, struct asy_bytes text);

/* "0x" + 64 digits, written in lower case; SYNTAX. For addresses: asy_addr_format and
 * asy_addr_parse in crypto.h. */
enum { ASY_HASH_TEXT = 67 }; /* bytes, with the zero byte */
void asy_hash_format(char ret_text[ASY_HASH_TEXT], const struct asy_hash *hash);
ASY_MUST_USE enum asy_err asy_hash_parse(struct asy_hash *ret_hash, struct asy_bytes text);

/* JSON-RPC "quantity": 0x and the fewest digits ("0x0" for zero). Parsing refuses leading zeros and
 * "0x": SYNTAX; a number too large for the type: OVERFLOW. u256 is 32 big-endian bytes. */
enum { ASY_QUANTITY_TEXT = 67 }; /* bytes, with the zero byte: room for any of the three */
void asy_quantity_format_u64(char ret_text[ASY_QUANTITY_TEXT], uint64_t value);
void asy_quantity_format_u128(char ret_text[ASY_QUANTITY_TEXT], asy_u128 value);
void asy_quantity_format_u256(char ret_text[ASY_QUANTITY_TEXT], const uint8_t value[32]);
ASY_MUST_USE enum asy_err asy_quantity_parse_u64(uint64_t *ret_value, struct asy_bytes text);
ASY_MUST_USE enum asy_err asy_quantity_parse_u128(asy_u128 *ret_value, struct asy_bytes text);
ASY_MUST_USE enum asy_err asy_quantity_parse_u256(uint8_t ret_value[32], struct asy_bytes text);

/* Decimal digits of value and a zero byte. Returns the number of digits. */
enum { ASY_U128_TEXT = 40 };
size_t asy_u128_format(char ret_text[ASY_U128_TEXT], asy_u128 value);
/* Digits only, no sign, no leading zero but "0" itself. SYNTAX, OVERFLOW */
ASY_MUST_USE enum asy_err asy_u128_parse(asy_u128 *ret_value, struct asy_bytes text);

/* ---- base64 ---------------------------------------------------------------------------------- */

/* RFC 4648. STD: section 4 with padding; URL: section 5 without padding (as in JWT). Decoding takes
 * one spelling only: the alphabet and padding of its variant, unused bits zero, no white space.
 * Both append. SYNTAX; TOO_LONG. On failure buf is unchanged. */
enum asy_base64 { ASY_BASE64_STD, ASY_BASE64_URL };
ASY_MUST_USE enum asy_err asy_base64_encode(struct asy_buf *buf, struct asy_bytes data,
                                            enum asy_base64 variant);
ASY_MUST_USE enum asy_err asy_base64_decode(struct asy_buf *buf, struct asy_bytes text,
                                            enum asy_base64 variant);

/* ---- JSON, reading --------------------------------------------------------------------------- */

/* One value of a parsed document. The document's root owns all; views and inner values live as long
 * as the root. Nothing changes a document after parsing, so any thread may read it. */
struct asy_json;
enum asy_json_type {
    ASY_JSON_NULL,
    ASY_JSON_BOOL,
    ASY_JSON_INT,  /* a number written without fraction and exponent; it fits int64 */
    ASY_JSON_REAL, /* any other number; finite */
    ASY_JSON_STR,
    ASY_JSON_ARRAY,
    ASY_JSON_OBJECT,
};

/* asy_json_parse reads one JSON text (RFC 8259; any type may be the root).
 * in:     max_depth: nesting of arrays and objects, at most ASY_MAX_JSON_DEPTH; checked before
 *         anything recurses
 * out:    ret_json: free with asy_json_free
 *         reterr_why->text names the place (line, column, byte offset), and never repeats the input
 * errors: SYNTAX    also: trailing bytes, invalid UTF-8, lone surrogates, a NUL character in a
 *                   string, no value at all, nesting deeper than max_depth
 *         DUPLICATE a key twice in one object
 *         RANGE     an integer outside int64 or a real outside double
 *         TOO_LONG  so many tiny values that the tree could need more than 1 MiB + 16 times the
 *                   length of in */
ASY_MUST_USE enum asy_err asy_json_parse(struct asy_json **ret_json, struct asy_bytes in,
                                         size_t max_depth, struct asy_why *reterr_why);
void asy_json_free(struct asy_json *root); /* the root only; NULL is fine */

/* Of a value that is there: v is not NULL. */
enum asy_json_type asy_json_type(const struct asy_json *v);
const char *asy_json_type_name(enum asy_json_type type); /* "an object", "null": for messages */
bool asy_json_is_null(const struct asy_json *v);         /* true for NULL too: an absent field */

/* Value under key, NULL when there is none or v is not an object. */
const struct asy_json *asy_json_get(const struct asy_json *obj, const char *key);
/* Members of an object, or elements of an array; 0 for other types. */
size_t asy_json_len(const struct asy_json *v);
/* Element i, NULL when there is none or v is not an array. */
const struct asy_json *asy_json_at(const struct asy_json *arr, size_t i);
/* Members in the order of the text:
 *     struct asy_json_iter it = {obj, NULL};
 *     while (asy_json_next(&it, &key, &value)) ... */
struct asy_json_iter {
    const struct asy_json *obj;
    void *pos;
};
bool asy_json_next(struct asy_json_iter *it, struct asy_bytes *ret_key,
                   const struct asy_json **ret_value);

/* The value itself. TYPE when it is another type (v NULL: TYPE); RANGE when it does not fit.
 * Strings are UTF-8 without NUL, with a zero byte behind their end. asy_json_double takes INT and
 * REAL. */
ASY_MUST_USE enum asy_err asy_json_str(struct asy_bytes *ret_str, const struct asy_json *v);
ASY_MUST_USE enum asy_err asy_json_u64(uint64_t *ret_value, const struct asy_json *v);
ASY_MUST_USE enum asy_err asy_json_i64(int64_t *ret_value, const struct asy_json *v);
ASY_MUST_USE enum asy_err asy_json_double(double *ret_value, const struct asy_json *v);
ASY_MUST_USE enum asy_err asy_json_bool(bool *ret_value, const struct asy_json *v);
/* A number times 10^decimals (decimals <= 12), rounded half up in decimal: 0.7 with 3 gives exactly
 * 700, whatever its double is. The decimal value is the shortest one that reads back as the same
 * double. TYPE; RANGE for negative or >= 2^63. */
ASY_MUST_USE enum asy_err asy_json_scaled(uint64_t *ret_value, const struct asy_json *v,
                                          unsigned decimals);

/* The same of either sign; half up is towards plus infinity. TYPE; RANGE for 2^63 or more, either
 * way. */
ASY_MUST_USE enum asy_err asy_json_scaled_i64(int64_t *ret_value, const struct asy_json *v,
                                              unsigned decimals);

/* Fields of an object, with messages for people.
 * in:     at: the object's own place ("messages[2]"), NULL or "" for the root; reterr_why->param
 *         becomes "messages[2].role"
 * out:    ret_present: NULL makes the field required (absent or null: MISSING). Otherwise absent
 *         and null give false and leave ret_ untouched, so that it may hold the default
 * errors: MISSING; TYPE; RANGE (a number outside [min, max], a string of more than max_len bytes,
 *         a count of elements outside its range) */
ASY_MUST_USE enum asy_err asy_json_get_str(struct asy_bytes *ret_str, bool *ret_present,
                                           const struct asy_json *obj, const char *at,
                                           const char *key, size_t max_len,
                                           struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_json_get_u64(uint64_t *ret_value, bool *ret_present,
                                           const struct asy_json *obj, const char *at,
                                           const char *key, uint64_t min, uint64_t max,
                                           struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_json_get_i64(int64_t *ret_value, bool *ret_present,
                                           const struct asy_json *obj, const char *at,
                                           const char *key, int64_t min, int64_t max,
                                           struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_json_get_bool(bool *ret_value, bool *ret_present,
                                            const struct asy_json *obj, const char *at,
                                            const char *key, struct asy_why *reterr_why);
/* min and max are scaled too. */
ASY_MUST_USE enum asy_err asy_json_get_scaled(uint64_t *ret_value, bool *ret_present,
                                              const struct asy_json *obj, const char *at,
                                              const char *key, unsigned decimals, uint64_t min,
                                              uint64_t max, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_json_get_scaled_i64(int64_t *ret_value, bool *ret_present,
                                                  const struct asy_json *obj, const char *at,
                                                  const char *key, unsigned decimals, int64_t min,
                                                  int64_t max, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_json_get_object(const struct asy_json **ret_obj, bool *ret_present,
                                              const struct asy_json *obj, const char *at,
                                              const char *key, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_json_get_array(const struct asy_json **ret_arr, bool *ret_present,
                                             const struct asy_json *obj, const char *at,
                                             const char *key, size_t min_count, size_t max_count,
                                             struct asy_why *reterr_why);
/* "0x..." strings of fixed size, and quantities. Also SYNTAX, MISMATCH, OVERFLOW. */
ASY_MUST_USE enum asy_err asy_json_get_hash(struct asy_hash *ret_hash, bool *ret_present,
                                            const struct asy_json *obj, const char *at,
                                            const char *key, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_json_get_addr(struct asy_addr *ret_addr, bool *ret_present,
                                            const struct asy_json *obj, const char *at,
                                            const char *key, struct asy_why *reterr_why);
ASY_MUST_USE enum asy_err asy_json_get_quantity(uint64_t *ret_value, bool *ret_present,
                                                const struct asy_json *obj, const char *at,
                                                const char *key, struct asy_why *reterr_why);
/* UNKNOWN, naming the first member whose key is not among known. */
ASY_MUST_USE enum asy_err asy_json_refuse_unknown(const struct asy_json *obj, const char *at,
                                                  const char *const *known, size_t known_count,
                                                  struct asy_why *reterr_why);
/* "at.key" cut at cap: the spelling of reterr_why->param. */
void asy_json_path(char *ret_path, size_t cap, const char *at, const char *key);

/* RFC 8785 (JCS): members sorted by UTF-16 code units, the fewest escapes, numbers as ECMAScript
 * prints them. Appends to buf. RANGE: an INT beyond +-(2^53 - 1), which a double cannot hold
 * exactly: such numbers travel as strings. TOO_LONG. */
ASY_MUST_USE enum asy_err asy_json_canonical(struct asy_buf *buf, const struct asy_json *v);

/* ---- JSON, writing --------------------------------------------------------------------------- */

/* Streams one value into a buffer, compact (no white space). Strings and keys are UTF-8 that was
 * checked where it entered. */
struct asy_jw {
    struct asy_buf *buf;
    enum asy_err err;
    unsigned depth;
    bool comma;     /* a value stands before this place */
    bool keyed;     /* a key stands before this place */
    uint64_t array; /* bit d: level d is an array */
};
void asy_jw_init(struct asy_jw *w, struct asy_buf *buf); /* keeps buf until finish */
/* Goes on inside an object whose brace and first members are in buf already; asy_jw_end closes it.
 * Keeps buf until finish. */
void asy_jw_init_inside(struct asy_jw *w, struct asy_buf *buf);
void asy_jw_object(struct asy_jw *w); /* opens; at most 60 levels */
void asy_jw_array(struct asy_jw *w);
void asy_jw_end(struct asy_jw *w); /* closes the innermost */
void asy_jw_key(struct asy_jw *w, const char *key);
void asy_jw_str(struct asy_jw *w, struct asy_bytes s);
void asy_jw_cstr(struct asy_jw *w, const char *s); /* NULL writes null */
void asy_jw_u64(struct asy_jw *w, uint64_t v);
void asy_jw_i64(struct asy_jw *w, int64_t v);
/* Decimal, in quotes: more than a double holds. */
void asy_jw_u128_str(struct asy_jw *w, asy_u128 v);
/* Finite (else RANGE): the fewest digits that read back the same, in ECMAScript form. */
void asy_jw_f64(struct asy_jw *w, double v);
/* v / 10^decimals, exactly: 700 with 3 is 0.7. decimals: at most 18. */
void asy_jw_scaled(struct asy_jw *w, uint64_t v, unsigned decimals);
void asy_jw_bool(struct asy_jw *w, bool v);
void asy_jw_null(struct asy_jw *w);
void asy_jw_hex(struct asy_jw *w, struct asy_bytes data); /* "0x..." */
void asy_jw_hash(struct asy_jw *w, const struct asy_hash *hash);
void asy_jw_addr(struct asy_jw *w, const struct asy_addr *addr); /* with the EIP-55 checksum */
void asy_jw_quantity(struct asy_jw *w, uint64_t v);              /* "0x1f" */
void asy_jw_raw(struct asy_jw *w, struct asy_bytes json); /* one value that is JSON already */
/* TOO_LONG (the buffer's ceiling), RANGE. Aborts when a level is still open. */
ASY_MUST_USE enum asy_err asy_jw_finish(struct asy_jw *w);

/* Key and value in one call. */
void asy_jw_kv_str(struct asy_jw *w, const char *key, struct asy_bytes s);
void asy_jw_kv_cstr(struct asy_jw *w, const char *key, const char *s);
void asy_jw_kv_u64(struct asy_jw *w, const char *key, uint64_t v);
void asy_jw_kv_i64(struct asy_jw *w, const char *key, int64_t v);
void asy_jw_kv_u128_str(struct asy_jw *w, const char *key, asy_u128 v);
void asy_jw_kv_bool(struct asy_jw *w, const char *key, bool v);
void asy_jw_kv_null(struct asy_jw *w, const char *key);
void asy_jw_kv_hash(struct asy_jw *w, const char *key, const struct asy_hash *hash);
void asy_jw_kv_addr(struct asy_jw *w, const char *key, const struct asy_addr *addr);
void asy_jw_kv_quantity(struct asy_jw *w, const char *key, uint64_t v);
void asy_jw_kv_object(struct asy_jw *w, const char *key); /* opens */
void asy_jw_kv_array(struct asy_jw *w, const char *key);  /* opens */

/* The escaped inside of a JSON string, without quotes: the hot path of token streams. Appends; one
 * pass. */
ASY_MUST_USE enum asy_err asy_json_escape(struct asy_buf *buf, struct asy_bytes s); /* TOO_LONG */

/* ECMAScript Number::toString of a finite double (RFC 8785 section 3.2.2.3): 1e+21, 0.000001, -0 as
 * 0. Returns the length. */
enum { ASY_F64_TEXT = 32 };
size_t asy_f64_format(char ret_text[ASY_F64_TEXT], double v);

/* ---- RLP ------------------------------------------------------------------------------------- */

/* Ethereum yellow paper, appendix B. Numbers are big-endian without leading zeros; zero is the
 * empty string. */
struct asy_rlp {
    struct asy_buf *buf;
    enum asy_err err;
    unsigned depth;
    size_t start[16]; /* where each open list's payload begins */
};
void asy_rlp_init(struct asy_rlp *w, struct asy_buf *buf); /* keeps buf until finish; appends */
void asy_rlp_list(struct asy_rlp *w);                      /* opens; at most 16 levels */
void asy_rlp_end(struct asy_rlp *w);                       /* closes the innermost */
void asy_rlp_bytes(struct asy_rlp *w, struct asy_bytes s);
void asy_rlp_u64(struct asy_rlp *w, uint64_t v);
void asy_rlp_u128(struct asy_rlp *w, asy_u128 v);
void asy_rlp_u256(struct asy_rlp *w, const uint8_t v[32]); /* big-endian */
void asy_rlp_addr(struct asy_rlp *w, const struct asy_addr *addr);
void asy_rlp_hash(struct asy_rlp *w, const struct asy_hash *hash);
void asy_rlp_raw(struct asy_rlp *w, struct asy_bytes items); /* items that are RLP already */
ASY_MUST_USE enum asy_err asy_rlp_finish(struct asy_rlp *w); /* TOO_LONG */

struct asy_rlp_item {
    bool list;
    struct asy_bytes data; /* the string, or the items of the list; a view */
};
/* asy_rlp_next takes the first item off *in. Strict: one encoding per value. SYNTAX: empty input, a
 * length past the end, a length that has a shorter form, leading zeros in a length. *in is
 * untouched on failure. */
ASY_MUST_USE enum asy_err asy_rlp_next(struct asy_rlp_item *ret_item, struct asy_bytes *in);
/* The whole of in is one item. SYNTAX. Items of a list are not checked before they are read. */
ASY_MUST_USE enum asy_err asy_rlp_one(struct asy_rlp_item *ret_item, struct asy_bytes in);
/* Next item as ...: TYPE a list where a string is due, or the reverse; SYNTAX leading zeros;
 * OVERFLOW; MISMATCH wrong length. */
ASY_MUST_USE enum asy_err asy_rlp_next_list(struct asy_bytes *ret_items, struct asy_bytes *in);
ASY_MUST_USE enum asy_err asy_rlp_next_bytes(struct asy_bytes *ret_str, struct asy_bytes *in);
ASY_MUST_USE enum asy_err asy_rlp_next_u64(uint64_t *ret_value, struct asy_bytes *in);
ASY_MUST_USE enum asy_err asy_rlp_next_u128(asy_u128 *ret_value, struct asy_bytes *in);
ASY_MUST_USE enum asy_err asy_rlp_next_u256(uint8_t ret_value[32], struct asy_bytes *in);
ASY_MUST_USE enum asy_err asy_rlp_next_fixed(void *ret_p, size_t len, struct asy_bytes *in);

/* ---- Solidity ABI ---------------------------------------------------------------------------- */

/* selector: first 4 bytes of keccak256(signature), "transfer(address,uint256)"; topic: all 32, for
 * events. */
void asy_abi_selector(uint8_t ret_selector[4], const char *signature);
void asy_abi_topic(struct asy_hash *ret_topic, const char *signature);

/* Encoding. A frame has a head of fixed size, counted in words: one per static value (a static
 * tuple or array counts all its words), one per dynamic value (its offset). Values are put in
 * order; dynamic ones go to the tail by themselves.
 *     asy_abi_call(&w, buf, "settle(uint64,uint256[2][],uint256[])", 3);
 *     asy_abi_u64(&w, number);
 *     asy_abi_array(&w, debit_count, 2);
 *     for each debit: asy_abi_word(&w, first), asy_abi_word(&w, second);
 *     asy_abi_end(&w);
 *     asy_abi_array(&w, credit_count, 1);
 *     for each credit: asy_abi_word(&w, credit);
 *     asy_abi_end(&w);
 *     err = asy_abi_finish(&w); */
struct asy_abi {
    struct asy_buf *buf;
    enum asy_err err;
    unsigned depth;
    struct {
        size_t base; /* of the frame's offsets */
        size_t head; /* next head word */
        size_t tail; /* end of the head */
    } frame[8];
};
/* Both append and keep buf until finish; call writes the selector first. */
void asy_abi_init(struct asy_abi *w, struct asy_buf *buf, size_t head_words);
void asy_abi_call(struct asy_abi *w, struct asy_buf *buf, const char *signature, size_t head_words);
/* uint256, bytes32; other types padded already. */
void asy_abi_word(struct asy_abi *w, const uint8_t word[32]);
void asy_abi_u64(struct asy_abi *w, uint64_t v);
void asy_abi_u128(struct asy_abi *w, asy_u128 v);
void asy_abi_bool(struct asy_abi *w, bool v);
void asy_abi_addr(struct asy_abi *w, const struct asy_addr *addr);
void asy_abi_hash(struct asy_abi *w, const struct asy_hash *hash);
void asy_abi_bytes(struct asy_abi *w, struct asy_bytes s); /* `bytes` and `string` */
/* T[]: count elements of elem_words words each (1 for a dynamic T). Opens a frame; close it with
 * asy_abi_end. */
void asy_abi_array(struct asy_abi *w, size_t count, size_t elem_words);
/* A struct, or T[k], that holds something dynamic. Opens a frame. A static one is just its words,
 * in place. */
void asy_abi_tuple(struct asy_abi *w, size_t head_words);
void asy_abi_end(struct asy_abi *w);
ASY_MUST_USE enum asy_err asy_abi_finish(struct asy_abi *w); /* TOO_LONG */

/* Decoding: reads the words of a frame in order. data is everything after the selector (or a call's
 * return data). SYNTAX: past the end, an offset or length outside, padding that is not zero; RANGE:
 * high bits set for the type. Bytes that nothing refers to are allowed, as in Solidity. */
struct asy_abi_reader {
    struct asy_bytes frame; /* from the frame's base to the end of the data */
    size_t pos;             /* next head word, in bytes from the base */
};
void asy_abi_read(struct asy_abi_reader *ret_r, struct asy_bytes data);
ASY_MUST_USE enum asy_err asy_abi_read_word(struct asy_abi_reader *r, uint8_t ret_word[32]);
ASY_MUST_USE enum asy_err asy_abi_read_u64(struct asy_abi_reader *r, uint64_t *ret_value);
ASY_MUST_USE enum asy_err asy_abi_read_u128(struct asy_abi_reader *r, asy_u128 *ret_value);
ASY_MUST_USE enum asy_err asy_abi_read_bool(struct asy_abi_reader *r, bool *ret_value);
ASY_MUST_USE enum asy_err asy_abi_read_addr(struct asy_abi_reader *r, struct asy_addr *ret_addr);
ASY_MUST_USE enum asy_err asy_abi_read_hash(struct asy_abi_reader *r, struct asy_hash *ret_hash);
/* A view into data. */
ASY_MUST_USE enum asy_err asy_abi_read_bytes(struct asy_abi_reader *r, struct asy_bytes *ret_str);
/* ret_elems reads the elements; the data holds at least *ret_count heads of elem_words (>= 1)
 * words. */
ASY_MUST_USE enum asy_err asy_abi_read_array(struct asy_abi_reader *r,
                                             struct asy_abi_reader *ret_elems, size_t *ret_count,
                                             size_t elem_words);
ASY_MUST_USE enum asy_err asy_abi_read_tuple(struct asy_abi_reader *r,
                                             struct asy_abi_reader *ret_fields);

/* What a reverted call returned. */
enum asy_abi_revert_kind {
    ASY_ABI_REVERT_EMPTY,  /* no data: out of gas, or a bare revert */
    ASY_ABI_REVERT_ERROR,  /* Error(string) */
    ASY_ABI_REVERT_PANIC,  /* Panic(uint256) */
    ASY_ABI_REVERT_CUSTOM, /* a contract's own error */
    ASY_ABI_REVERT_ODD,    /* shorter than a selector, or one of the standard two malformed */
};
struct asy_abi_revert {
    enum asy_abi_revert_kind kind;
    uint8_t selector[4];     /* CUSTOM, ERROR, PANIC */
    struct asy_bytes reason; /* a view; ERROR: unchecked text; CUSTOM: the error's arguments */
    uint64_t panic;          /* PANIC */
};
void asy_abi_revert_parse(struct asy_abi_revert *ret_revert, struct asy_bytes data);
/* One line for people: printable, cut at cap (>= 1), zero byte behind. */
void asy_abi_revert_format(char *ret_text, size_t cap, const struct asy_abi_revert *revert);

#endif
