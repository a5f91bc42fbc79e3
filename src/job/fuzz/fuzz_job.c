/* Objects from a stranger: byte 0 names the type (bit 7: as JSON, else canonical bytes). What is
 * taken must come out as it went in. */
#include "job/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void from_bytes(enum asy_object type, struct asy_bytes in) {
    struct asy_terms object; /* the largest */
    uint8_t again[ASY_OBJECT_MAX_LEN];
    if (asy_object_decode(&object, type, in) != ASY_OK) {
        return;
    }
    asy_object_encode(again, type, &object);
    ASY_ASSERT(asy_bytes_eq(asy_bytes_of(again, asy_object_len(type)), in));
    struct asy_hash h;
    asy_object_hash(&h, type, &object);
    struct asy_buf text;
    struct asy_jw w;
    asy_buf_init(&text, 4096);
    asy_jw_init(&w, &text);
    asy_object_write_json(&w, type, &object);
    enum asy_err err = asy_jw_finish(&w);
    ASY_ASSERT(err == ASY_OK);
    asy_buf_done(&text);
}

static void from_json(enum asy_object type, struct asy_bytes in) {
    struct asy_json *doc;
    struct asy_terms object, back;
    struct asy_why why = {{0}, {0}};
    if (asy_json_parse(&doc, in, ASY_MAX_JSON_DEPTH, NULL) != ASY_OK) {
        return;
    }
    enum asy_err err = asy_object_read_json(&object, type, doc, "at", &why);
    ASY_ASSERT((err == ASY_OK) == (why.text[0] == '\0'));
    asy_json_free(doc);
    if (err != ASY_OK) {
        return;
    }
    struct asy_buf text;
    struct asy_jw w;
    asy_buf_init(&text, 4096);
    asy_jw_init(&w, &text);
    asy_object_write_json(&w, type, &object);
    err = asy_jw_finish(&w);
    ASY_ASSERT(err == ASY_OK);
    err = asy_json_parse(&doc, asy_buf_bytes(&text), ASY_MAX_JSON_DEPTH, NULL);
    ASY_ASSERT(err == ASY_OK);
    err = asy_object_read_json(&back, type, doc, NULL, NULL);
    ASY_ASSERT(err == ASY_OK);
    uint8_t a[ASY_OBJECT_MAX_LEN], b[ASY_OBJECT_MAX_LEN];
    asy_object_encode(a, type, &object);
    asy_object_encode(b, type, &back);
    ASY_ASSERT(memcmp(a, b, asy_object_len(type)) == 0);
    asy_json_free(doc);
    asy_buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    if (len == 0) {
        return 0;
    }
    enum asy_object type = (enum asy_object)((data[0] & 0x7f) % (ASY_OBJ_VOUCHER + 1));
    struct asy_bytes rest = {data + 1, len - 1};
    if ((data[0] & 0x80) != 0) {
        from_json(type, rest);
    } else {
        from_bytes(type, rest);
    }
    return 0;
}
