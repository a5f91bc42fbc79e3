/* fuzz_replay.c: runs a fuzz target over files and folders of a corpus, so that the corpus is a test under any compiler.
 * Without arguments it takes the corpus folder of its own name: replay_json -> src/<any module>/fuzz/corpus/json. */
#include <dirent.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int replay(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    size_t cap = 8u << 20;
    uint8_t *data = malloc(cap);
    size_t len = fread(data, 1, cap, f);
    fclose(f);
    /* an allocation of the exact size, so that a sanitizer sees an over-read */
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    memcpy(exact, data, len);
    free(data);
    (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    return 0;
}

int main(int argc, char **argv) {
    int bad = 0, count = 0;
    for (int i = 1; i < argc; i++) {
        bad |= replay(argv[i]);
        count++;
    }
    if (argc == 1) {
        const char *name = strrchr(argv[0], '/');
        name = name != NULL ? name + 1 : argv[0];
        name = strncmp(name, "replay_", 7) == 0 ? name + 7 : name;
        char pattern[256];
        snprintf(pattern, sizeof pattern, "src/*/fuzz/corpus/%s/*", name);
        glob_t g;
        if (glob(pattern, 0, NULL, &g) == 0) {
            for (size_t i = 0; i < g.gl_pathc; i++) {
                bad |= replay(g.gl_pathv[i]);
                count++;
            }
            globfree(&g);
        }
    }
    printf("%d inputs\n", count);
    return bad != 0 || count == 0;
}
