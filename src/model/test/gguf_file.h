/* gguf_file.h: writes small GGUF files: a head without tensors. Test programs only. */
#ifndef ASY_MODEL_TEST_GGUF_FILE_H
#define ASY_MODEL_TEST_GGUF_FILE_H

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"

static inline void gguf_add(struct asy_buf *b, struct asy_bytes in) {
    CHECK_OK(asy_buf_add_bytes(b, in));
}
static inline void gguf_u32(struct asy_buf *b, uint32_t v) {
    uint8_t le[4];
    asy_le32_put(le, v);
    gguf_add(b, asy_bytes_of(le, sizeof le));
}
static inline void gguf_u64(struct asy_buf *b, uint64_t v) {
    uint8_t le[8];
    asy_le64_put(le, v);
    gguf_add(b, asy_bytes_of(le, sizeof le));
}
static inline void gguf_str(struct asy_buf *b, const char *s) {
    gguf_u64(b, strlen(s));
    gguf_add(b, asy_bytes_cstr(s));
}
enum { GGUF_TYPE_U32 = 4, GGUF_TYPE_STR = 8, GGUF_TYPE_ARRAY = 9 };

/* The file's bytes; template NULL leaves it out. */
static inline void gguf_make(struct asy_buf *b, const char *template, uint32_t file_type) {
    asy_buf_clear(b);
    gguf_add(b, ASY_STR("GGUF"));
    gguf_u32(b, 3);
    gguf_u64(b, 0); /* tensors */
    gguf_u64(b, template != NULL ? 6 : 5);
    gguf_str(b, "general.architecture");
    gguf_u32(b, GGUF_TYPE_STR);
    gguf_str(b, "llama");
    gguf_str(b, "general.name");
    gguf_u32(b, GGUF_TYPE_STR);
    gguf_str(b, "Test Model");
    gguf_str(b, "general.file_type");
    gguf_u32(b, GGUF_TYPE_U32);
    gguf_u32(b, file_type);
    gguf_str(b, "llama.context_length");
    gguf_u32(b, GGUF_TYPE_U32);
    gguf_u32(b, 2048);
    gguf_str(b, "tokenizer.ggml.tokens");
    gguf_u32(b, GGUF_TYPE_ARRAY);
    gguf_u32(b, GGUF_TYPE_STR);
    gguf_u64(b, 3);
    gguf_str(b, "a");
    gguf_str(b, "b");
    gguf_str(b, "c");
    if (template != NULL) {
        gguf_str(b, "tokenizer.chat_template");
        gguf_u32(b, GGUF_TYPE_STR);
        gguf_str(b, template);
    }
}

/* A new folder under TMPDIR. */
static inline void make_dir(char ret[PATH_MAX]) {
    const char *tmp = getenv("TMPDIR");
    snprintf(ret, PATH_MAX, "%s/assay-model-XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(ret) != NULL);
}

static inline void write_file(const char *path, struct asy_bytes in) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, in.p, in.n) == (ssize_t)in.n);
    (void)close(fd);
}

#endif
