#!/usr/bin/env bash
# conformance maps [OPERATIONS]: every map type against the kernel of this machine: the same random
# operations on both, every return value, errno and content compared. Prints operations per type and
# what was equal. 1,000,000 operations per type unless said otherwise; fewer where the kernel's own
# are slow (10,000 on CPU maps, 2,000 on maps of maps). Exit status 0: nothing differed.
set -euo pipefail
cd "$(dirname "$0")/../.."
operations=${1:-1000000}
dir=${LMN_BUILD_DIR:-build/dev}
[ -n "${LMN_BUILD_DIR:-}" ] || ./dev build lmn_maps_contract_test lmn_map_values_test
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
export LMN_CONTRACT_OPERATIONS=$operations
"$dir/tests/contract/lmn_maps_contract_test" > "$log" 2>&1 || status=1
"$dir/tests/contract/lmn_map_values_test" >> "$log" 2>&1 || status=1
if grep -q 'SKIPPED' "$log"; then
  grep -m1 -A1 'Skipped' "$log" || true
  echo "lmn: nothing was compared"
  exit 1
fi
awk '
  /^compared / { created = $2 + 0 }
  /^operations / { done = $2 }
  /^calls / { printf "%-20s %12s batch calls equal\n", "all types", $2 }
  /^structs loaded / { printf "%-20s %12s structs read alike\n", "value types", $3 + 0 }
  /^made [0-9]+, refused/ {
    printf "%-20s %12s maps with types made or refused alike\n", "creation", $2 + $4
  }
  /^\[ +(OK|FAILED) +\] EveryRow/ && !/GetParam/ || /^\[ +FAILED +\] EveryRow.*ms\)/ {
    split($0, parts, "/"); split(parts[3], word, /[ ,]/)
    verdict = $0 ~ /OK/ ? "equal" : "DIFFERENT"
    if ($0 ~ /Creation/) printf "%-20s %12s creations   %s\n", word[1], created, verdict
    else printf "%-20s %12s operations  %s\n", word[1], done, verdict
    created = done = "?"
  }' "$log"
if [ $status -ne 0 ]; then grep -B2 -A12 'Failure' "$log" | head -60; fi
exit $status
