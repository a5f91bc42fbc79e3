#!/bin/sh
# The integer engine under valgrind's memcheck: whole toy models with every kernel that valgrind knows, and the file reader with files
# that are not quite right. Reads of memory that nobody wrote, accesses beside it, and leaks fail the test.
# timeout: 120
set -eu
case $(basename "$ASSAY_BUILD") in
*-address* | *-thread* | *-undefined* | *-memory* | *-leak*) echo "SKIP: the sanitizers do it in this build" && exit 77 ;;
clang*) echo "SKIP: valgrind 3.19 cannot read clang's debug information" && exit 77 ;;
esac
command -v valgrind >/dev/null || {
    echo "SKIP: no valgrind"
    exit 77
}
check() { valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all "$ASSAY_BUILD/test/$@"; }

# The choice of a kernel asks the processor, which here is one that valgrind makes up: without AVX-512.
check test_exact_toys >"$TMPDIR/toys"
want='kernels: scalar'
! grep -qw avx2 /proc/cpuinfo || want="$want avx2"
[ "$(grep '^kernels: ' "$TMPDIR/toys")" = "$want" ] || {
    echo "not the kernels that valgrind can run: $want"
    exit 1
}
EVERY=13 check test_exact_file
