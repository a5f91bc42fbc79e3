/* No floating-point arithmetic in the integer part of the sampler: its object code is disassembled
 * and looked through. Moves and shuffles of vector registers are integers' business too and
 * allowed. */
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"

/* addss mulpd vdivsd sqrtss cvtsi2sd ucomiss cmpltpd maxps roundsd fadd ...; not paddd, movaps,
 * xorps, shufps, unpcklps */
static bool is_float(const char *op) {
    static const char *const stems[] = {"add",  "sub",  "mul",   "div",   "sqrt",   "min",   "max",
                                        "cmp",  "comi", "ucomi", "rcp",   "rsqrt",  "round", "dp",
                                        "hadd", "hsub", "fmadd", "fmsub", "fnmadd", "fnmsub"};
    size_t len = strlen(op);
    if (op[0] == 'v') {
        op++;
        len--;
    }
    if (strncmp(op, "cvt", 3) == 0 || op[0] == 'f') { /* conversions, and the x87 */
        return true;
    }
    const char *end = len >= 2 ? op + len - 2 : op;
    if (strcmp(end, "ss") != 0 && strcmp(end, "sd") != 0 && strcmp(end, "ps") != 0 &&
        strcmp(end, "pd") != 0) {
        return false;
    }
    for (size_t i = 0; i < ASY_COUNT(stems); i++) {
        if (strncmp(op, stems[i], strlen(stems[i])) == 0) {
            return true;
        }
    }
    return false;
}

int main(void) {
#if !defined(__x86_64__)
    return asy_test_skip("knows the instructions of x86-64 only");
#else
    CHECK(is_float("addss") && is_float("vmulpd") && is_float("cvtdq2ps") && is_float("fld") &&
          is_float("ucomiss"));
    CHECK(!is_float("paddd") && !is_float("movaps") && !is_float("xorps") && !is_float("shufps") &&
          !is_float("cmpl"));
    if (access("/usr/bin/objdump", X_OK) != 0) {
        return asy_test_skip("objdump is not installed");
    }
    char archive[PATH_MAX + 32], line[512], member[64] = "";
    ssize_t len = readlink("/proc/self/exe", archive, PATH_MAX - 1);
    ASY_ASSERT(len > 0);
    archive[len] = 0;
    char *slash = strrchr(archive, '/'); /* <build>/test/<this> */
    ASY_ASSERT(slash != NULL);
    snprintf(slash, 32, "/../lib/sample.a");
    int fds[2];
    ASY_ASSERT(pipe(fds) == 0);
    pid_t pid = fork();
    ASY_ASSERT(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        execl("/usr/bin/objdump", "objdump", "-d", "--no-show-raw-insn", archive, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    FILE *out = fdopen(fds[0], "r");
    ASY_ASSERT(out != NULL);
    unsigned in_float = 0, lines = 0;
    while (fgets(line, sizeof(line), out) != NULL) {
        char *format = strstr(line, ".o:     file format");
        if (format != NULL) {
            *format = 0;
            snprintf(member, sizeof(member), "%.60s", line);
            continue;
        }
        char *op = strchr(line, '\t'); /* "  1f:\taddsd  %xmm0,%xmm1" */
        if (op == NULL) {
            continue;
        }
        lines++;
        op++;
        op[strcspn(op, " \n")] = 0;
        if (!is_float(op)) {
            continue;
        }
        if (strcmp(member, "float") == 0) {
            in_float++;
        } else {
            fprintf(stderr, "%s.o:%s\n", member, op);
            asy_test_failures++;
        }
    }
    fclose(out);
    int status;
    ASY_ASSERT(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
    CHECK(lines > 500);
    CHECK(in_float > 0); /* the one file that has some: the search does find it */
    return asy_test_end();
#endif
}
