/* Writes a model file anew with its weights in one of llama.cpp's formats: what benchmarks compare
 * the integer engine with. usage: quantize PLUGIN FROM.gguf TO.gguf TYPE */
#include <stdio.h>

#include "engine/engine.h"

int main(int argc, char **argv) {
    struct asy_llama *llama;
    struct asy_why why = {{0}, {0}};
    if (argc != 5) {
        fprintf(stderr, "usage: quantize PLUGIN FROM.gguf TO.gguf TYPE\n");
        return 2;
    }
    enum asy_err err = asy_llama_open(&llama, argv[1], &why);
    if (err == ASY_OK) {
        err = asy_llama_requantize(llama, argv[2], argv[3], argv[4], 1, &why);
        asy_llama_free(llama);
    }
    if (err != ASY_OK) {
        fprintf(stderr, "quantize: %s\n", why.text);
    }
    return err != ASY_OK;
}
