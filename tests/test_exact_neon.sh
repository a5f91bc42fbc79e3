#!/bin/sh
# The NEON kernel of the integer engine on a machine that is no ARM: cross-compiled with the build's own flags, and run in
# an emulator by the same test as the others. Its objects have no floats in them either. And where the default model is
# there, its logits are this machine's, through the whole executor.
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
for name in base/base sample/tables exact/tables exact/kernels exact/ops_scalar exact/ops_neon exact/file exact/exec exact/pool; do
    objects="$objects $out/${cross}gcc/src/$name.o"
done
test=$out/${cross}gcc/src/exact/test/test_exact_ops.o
# shellcheck disable=SC2086 # a list of files
make --no-print-directory -j2 CC=${cross}gcc SAN= BUILD="$out" OPT="-O2 -ffunction-sections" $objects "$test"
# shellcheck disable=SC2086
${cross}gcc -static -pthread -Wl,--gc-sections $objects "$test" -o "$out/test"
qemu-aarch64 "$out/test" >"$out/log"
cat "$out/log"
grep -q '^neon is done$' "$out/log"
python3 tests/test_exact_objects.py "$out/${cross}gcc/src/exact" $cross

model=$ASSAY_BUILD/../models/SmolLM2-135M-Instruct.Q4_1.exact
[ -f "$model" ] || { echo "no $model: no logits compared"; exit 0; }
# shellcheck disable=SC2086
${cross}gcc -std=c17 -D_GNU_SOURCE -DNO_CRYPTO -O2 -I. -Isrc -static -pthread -ffunction-sections -Wl,--gc-sections \
    bench/equality/logits.c $objects -o "$out/logits"
head -c 192 tests/test_exact_neon.sh | od -v -An -tu1 -w1 | while read -r byte; do printf '%b' "\\0$(printf %o "$byte")\\0001\\0\\0"; done >"$out/ids"
"$ASSAY_BIN" exact hash --model "$model" --ids "$out/ids" --window 48 --windows 1 --each | sed -n 's/^window 0: 0x//p' >"$out/here"
qemu-aarch64 "$out/logits" "$model" "$out/ids" 48 1 20 neon | sha256sum | cut -d' ' -f1 >"$out/there"
cmp "$out/here" "$out/there"
echo "48 tokens: the same logits as here"
