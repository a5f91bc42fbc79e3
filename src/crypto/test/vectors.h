/* vectors.h: reads src/crypto/vectors: one case a line, fields between single spaces, hex ("-" is
 * empty) or a word, `#` comments. */
#ifndef ASY_CRYPTO_TEST_VECTORS_H
#define ASY_CRYPTO_TEST_VECTORS_H

#include "base/test.h"

#define VECTOR_FIELDS 8
#define VECTOR_LINE   40000 /* HKDF's longest output has 16,320 digits */

struct vectors {
    FILE *file;
    char line[VECTOR_LINE];
    size_t cases; /* read so far */
    size_t count; /* fields of this case, valid until the next one */
    char *word[VECTOR_FIELDS];
    struct asy_bytes field[VECTOR_FIELDS];
};

static void vectors_open(struct vectors *v, const char *name) {
    char path[128];
    memset(v, 0, sizeof *v);
    snprintf(path, sizeof path, "src/crypto/vectors/%s", name);
    v->file = fopen(path, "r");
    if (v->file == NULL) {
        perror(path);
        exit(1);
    }
}

static unsigned vectors_nibble(char c) {
    return (unsigned)(c >= '0' && c <= '9' ? c - '0' : c - 'a' + 10) & 15;
}

/* False at the end of the file, which is closed then. Each field has memory of its exact size, so
 * that sanitizers see an over-read. */
static bool vectors_next(struct vectors *v) {
    for (size_t i = 0; i < v->count; i++) {
        asy_free((void *)(uintptr_t)v->field[i].p);
    }
    v->count = 0;
    do {
        if (fgets(v->line, sizeof v->line, v->file) == NULL) {
            fclose(v->file);
            return false;
        }
    } while (v->line[0] == '#');
    char *end = strchr(v->line, '\n');
    ASY_ASSERT(end != NULL);
    *end = '\0';
    for (char *rest = v->line, *word; (word = strsep(&rest, " ")) != NULL;) {
        ASY_ASSERT(v->count < VECTOR_FIELDS);
        const size_t len = strcmp(word, "-") == 0 ? 0 : strlen(word) / 2;
        uint8_t *p = asy_alloc(len);
        for (size_t i = 0; i < len; i++) { /* garbage for fields that are words */
            p[i] = (uint8_t)(vectors_nibble(word[2 * i]) << 4 | vectors_nibble(word[2 * i + 1]));
        }
        v->word[v->count] = word;
        v->field[v->count++] = asy_bytes_of(p, len);
    }
    v->cases++;
    return true;
}

#endif
