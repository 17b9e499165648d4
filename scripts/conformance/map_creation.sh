#!/usr/bin/env bash
# conformance map_creation: the maps of the kernel's test objects, made here and by the kernel of
# this machine. Prints each map with another answer, the map types that LMN has not, and the sums.
# Exit status 0: no answer differs.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${LMN_SELFTESTS:-build/selftests/obj-v3}
[ -d "$dir" ] || scripts/selftests.sh
./dev build lmn_map_creation
exec build/dev/tests/conformance/lmn_map_creation "$dir" "$@"
