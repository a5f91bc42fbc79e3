/* backend.h: what the plugin's parts share: loading llama.cpp's back ends, and keeping it quiet. */
#ifndef ASY_ENGINE_LLAMA_BACKEND_H
#define ASY_ENGINE_LLAMA_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

#include <ggml.h>

/* Loads the CPU variant of this name, or, with NULL, the best that runs here. False: see why. */
bool asy_backend_load(const char *name, char *ret_why, size_t why_cap);
/* A log that keeps errors only, and a progress function that keeps the loader's dots away. */
void asy_backend_log(enum ggml_log_level level, const char *text, void *arg);
bool asy_backend_progress(float share, void *arg);

#endif
