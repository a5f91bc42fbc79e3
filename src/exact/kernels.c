/* kernels.c: which kernels there are, and which one runs here. */
#include "exact/ops_priv.h"

static const struct {
    const char *name;
    const struct ops *ops;
} kernels[] = {
    [ASY_EXACT_AUTO] = {"auto", &exact_ops_scalar},
    [ASY_EXACT_SCALAR] = {"scalar", &exact_ops_scalar},
    [ASY_EXACT_AVX2] = {"avx2", NULL},
    [ASY_EXACT_AVX512] = {"avx512", NULL},
    [ASY_EXACT_NEON] = {"neon", NULL},
};

const char *asy_exact_kernel_name(enum asy_exact_kernel kernel) { return kernels[kernel].name; }

enum asy_err asy_exact_kernel_parse(enum asy_exact_kernel *ret_kernel, struct asy_bytes name) {
    for (unsigned k = 0; k < ASY_COUNT(kernels); k++) {
        if (asy_bytes_eq(name, asy_bytes_cstr(kernels[k].name))) {
            *ret_kernel = (enum asy_exact_kernel)k;
            return ASY_OK;
        }
    }
    return ASY_ERR_NOT_FOUND;
}

const struct ops *exact_ops(enum asy_exact_kernel kernel) { return kernels[kernel].ops; }
bool asy_exact_kernel_runs(enum asy_exact_kernel kernel) { return exact_ops(kernel) != NULL; }
