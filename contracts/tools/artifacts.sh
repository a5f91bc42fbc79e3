#!/bin/sh
# Writes what is generated and committed: artifacts/<Name>.json, what a deployer needs of each contract, and the test
# vectors. With --check nothing is written: fails when what is committed is not what the sources give.
set -eu
cd "$(dirname "$0")/.."
forge=node_modules/@foundry-rs/forge-linux-amd64/bin/forge
"$forge" build --skip 'test/**' >/dev/null
if [ "${1:-}" = --check ]; then
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    mkdir "$fresh/artifacts" "$fresh/vectors"
    node tools/artifacts.mjs "$fresh/artifacts"
    node tools/vectors.mjs "$fresh/vectors"
    for part in artifacts vectors; do
        diff -qr "$part" "$fresh/$part" || { echo "$part: stale; run contracts/tools/artifacts.sh" >&2; exit 1; }
    done
else
    node tools/artifacts.mjs artifacts
    node tools/vectors.mjs vectors
fi
