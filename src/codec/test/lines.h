/* lines.h: reads src/codec/vectors: one case a line, fields between single spaces, `#` comments. */
#ifndef ASY_CODEC_TEST_LINES_H
#define ASY_CODEC_TEST_LINES_H

#include "base/test.h"

enum { LINE_FIELDS = 4 };

struct lines {
    FILE *file;
    char line[8192];
    char *field[LINE_FIELDS];
    size_t cases;
};

static void lines_open(struct lines *l, const char *path) {
    memset(l, 0, sizeof *l);
    l->file = fopen(path, "r");
    if (l->file == NULL) {
        perror(path);
        exit(1);
    }
}

/* False at the end of the file, which is closed then. */
static bool lines_next(struct lines *l) {
    do {
        if (fgets(l->line, sizeof l->line, l->file) == NULL) {
            fclose(l->file);
            return false;
        }
        l->line[strcspn(l->line, "\n")] = '\0';
    } while (l->line[0] == '#' || l->line[0] == '\0');
    char *rest = l->line;
    for (size_t i = 0; i < LINE_FIELDS; i++) {
        l->field[i] = strsep(&rest, " ");
    }
    l->cases++;
    return true;
}

#endif
