#!/bin/sh
# The operators of the integer engine, all kernels, as other compilers and levels of optimisation make them: the same numbers.
# bench/equality compares whole models that way.
# timeout: 240
set -eu
out=${TMPDIR:-/tmp}/compilers.$$
trap 'rm -rf "$out"' EXIT
mkdir -p "$out"
names="base/base sample/tables exact/tables exact/kernels exact/ops_scalar exact/test/test_exact_ops"
case $(uname -m) in
x86_64) names="$names exact/ops_avx2 exact/ops_avx512" ;;
aarch64) names="$names exact/ops_neon" ;;
esac
done=
for cc in gcc clang-14; do
    command -v "$cc" >/dev/null || continue
    for level in -O0 -O3; do
        [ "$cc $level" != "gcc -O3" ] || continue # the build itself
        objects=
        for name in $names; do
            objects="$objects $out/$level/$cc/src/$name.o"
        done
        # shellcheck disable=SC2086 # a list of files
        make --no-print-directory -j2 CC="$cc" SAN= BUILD="$out/$level" OPT="$level -g0" EXACT_OPT="$level" HARDEN= $objects >"$out/make"
        # shellcheck disable=SC2086
        "$cc" -pthread -no-pie $objects -o "$out/test"
        "$out/test" >"$out/log"
        grep -q 'is done$' "$out/log"
        done="$done, $cc $level"
    done
done
[ -n "$done" ] || { echo "SKIP: no other compiler"; exit 77; }
echo "${done#, }: $(grep -c 'is done$' "$out/log") kernels each"
