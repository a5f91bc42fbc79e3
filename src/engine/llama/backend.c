/* backend.c: llama.cpp's back ends: shared objects beside libllama, one for each kind of CPU. */
#include "engine/llama/backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <ggml-backend.h>
#include <llama.h>

void asy_backend_log(enum ggml_log_level level, const char *text, void *arg) {
    (void)arg;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

bool asy_backend_progress(float share, void *arg) {
    (void)share;
    (void)arg;
    return true; /* go on; having a function at all keeps the loader's dots off the terminal */
}

static bool fail(char *ret_why, size_t why_cap, const char *text) {
    snprintf(ret_why, why_cap, "%s", text);
    return false;
}

bool asy_backend_load(const char *name, char *ret_why, size_t why_cap) {
    static bool loaded; /* they stay for the life of the process */
    Dl_info info;
    void *symbol;
    const char *(*function)(void) = llama_print_system_info;
    if (loaded) {
        return true;
    }
    memcpy(&symbol, &function, sizeof symbol);
    if (dladdr(symbol, &info) == 0 || strrchr(info.dli_fname, '/') == NULL) {
        return fail(ret_why, why_cap, "cannot tell where libllama lies");
    }
    char path[4096];
    int dir_len = (int)(strrchr(info.dli_fname, '/') - info.dli_fname);
    if (name == NULL) {
        snprintf(path, sizeof path, "%.*s", dir_len, info.dli_fname);
        ggml_backend_load_all_from_path(path);
    } else {
        snprintf(path, sizeof path, "%.*s/libggml-cpu-%s.so", dir_len, info.dli_fname, name);
        if (ggml_backend_load(path) == NULL) {
            snprintf(ret_why, why_cap, "this machine cannot run the CPU back end \"%s\"", name);
            return false;
        }
    }
    loaded = ggml_backend_dev_count() > 0;
    return loaded || fail(ret_why, why_cap, "libllama found no back end that runs on this machine");
}
