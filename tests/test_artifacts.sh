#!/bin/sh
# The committed artifacts and vectors of the contracts are what their sources give.
# serial
# timeout: 180
[ -d contracts/node_modules ] || { echo "SKIP: contracts/node_modules is not installed"; exit 77; }
exec contracts/tools/artifacts.sh --check
