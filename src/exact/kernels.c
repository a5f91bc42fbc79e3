/* kernels.c: which kernels were built in, and which of them this machine runs. */
#include "exact/ops_priv.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

/* From the best to the plainest: AUTO takes the first that runs. */
static const struct ops *const built_in[] = {
#if defined(__x86_64__)
    &exact_ops_avx512,
    &exact_ops_avx2,
#elif defined(__aarch64__)
    &exact_ops_neon,
#endif
    &exact_ops_scalar,
};

/* The instructions that module.mk lets the compiler use for a kernel. */
static bool machine_has(enum asy_exact_kernel kernel) {
    switch (kernel) {
    case ASY_EXACT_SCALAR:
        return true;
    case ASY_EXACT_AVX2:
#if defined(__x86_64__)
        return __builtin_cpu_supports("avx2");
#else
        return false;
#endif
    case ASY_EXACT_AVX512:
#if defined(__x86_64__)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni");
#else
        return false;
#endif
    case ASY_EXACT_NEON:
#if defined(__aarch64__) && defined(__linux__)
        return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__ARM_FEATURE_DOTPROD)
        return true; /* the system's compiler counts on it */
#else
        return false;
#endif
    case ASY_EXACT_AUTO:
        break;
    }
    return false;
}

const struct ops *exact_ops(enum asy_exact_kernel kernel) {
    for (size_t i = 0; i < ASY_COUNT(built_in); i++) {
        const struct ops *ops = built_in[i];
        if ((kernel == ASY_EXACT_AUTO || kernel == ops->kernel) && machine_has(ops->kernel)) {
            return ops;
        }
    }
    return NULL;
}

bool asy_exact_kernel_runs(enum asy_exact_kernel kernel) { return exact_ops(kernel) != NULL; }

static const char *const names[] = {
    [ASY_EXACT_AUTO] = "auto",     [ASY_EXACT_SCALAR] = "scalar", [ASY_EXACT_AVX2] = "avx2",
    [ASY_EXACT_AVX512] = "avx512", [ASY_EXACT_NEON] = "neon",
};

const char *asy_exact_kernel_name(enum asy_exact_kernel kernel) { return names[kernel]; }

enum asy_err asy_exact_kernel_parse(enum asy_exact_kernel *ret_kernel, struct asy_bytes name) {
    for (size_t i = 0; i < ASY_COUNT(names); i++) {
        if (asy_bytes_eq(name, asy_bytes_cstr(names[i]))) {
            *ret_kernel = (enum asy_exact_kernel)i;
            return ASY_OK;
        }
    }
    return ASY_ERR_NOT_FOUND;
}
