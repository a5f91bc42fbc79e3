#!/bin/sh
# Builds the contracts and runs their tests, offline. Needs contracts/node_modules (npm ci). Arguments go to forge.
set -eu
cd "$(dirname "$0")/.."
forge=node_modules/@foundry-rs/forge-linux-amd64/bin/forge
if [ ! -x "$forge" ]; then
    echo 'contracts: no forge; run: cd contracts && npm ci' >&2
    exit 1
fi
"$forge" fmt --check >/dev/null || { echo 'contracts: run forge fmt' >&2; exit 1; }
exec "$forge" test "$@"
