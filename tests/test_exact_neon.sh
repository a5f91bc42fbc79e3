#!/bin/sh
# The NEON kernel of the integer engine on a machine that is no ARM: cross-compiled with the build's own flags, and run in
# an emulator by the same test as the others. Its objects have no floats in them either.
# timeout: 200
set -eu
cross=aarch64-linux-gnu-
[ "$(uname -m)" != aarch64 ] || { echo "SKIP: this machine runs NEON itself: test_exact_ops does it"; exit 77; }
for tool in ${cross}gcc ${cross}objdump qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "SKIP: no $tool"; exit 77; }
done

out=${TMPDIR:-/tmp}/neon.$$
trap 'rm -rf "$out"' EXIT
objects=
for name in base/base sample/tables exact/tables exact/kernels exact/ops_scalar exact/ops_neon exact/test/test_exact_ops; do
    objects="$objects $out/${cross}gcc/src/$name.o"
done
# shellcheck disable=SC2086 # a list of files
make --no-print-directory -j2 CC=${cross}gcc SAN= BUILD="$out" $objects
# shellcheck disable=SC2086
${cross}gcc -static -pthread $objects -o "$out/test"
qemu-aarch64 "$out/test" >"$out/log"
cat "$out/log"
grep -q '^neon is done$' "$out/log"
python3 tests/test_exact_objects.py "$out/${cross}gcc/src/exact" $cross
