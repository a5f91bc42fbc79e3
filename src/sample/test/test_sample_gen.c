/* The committed tables and vectors are what schema/vectors/sampling/gen.py makes from the document.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"

int main(void) {
    pid_t pid = fork();
    ASY_ASSERT(pid >= 0);
    if (pid == 0) {
        execlp("python3", "python3", "-B", "schema/vectors/sampling/gen.py", "check", (char *)NULL);
        _exit(127);
    }
    int status;
    ASY_ASSERT(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        return asy_test_skip("python3 is not installed");
    }
    CHECK(status == 0);
    return asy_test_end();
}
