#!/usr/bin/env bash
# conformance errnos: every errno and return code that the rules of XDP name, provoked at least
# once. Builds and runs the tests that tests/conformance/data/errnos.tsv names, reads what they say
# they provoked ("[ PROVOKED ] rule result"), and prints the list: rule, code, which test, and
# whether the kernel gave the same answer to the same call.
# Exit status 0: nothing is missing. Rows marked "later" belong to parts that LMN does not have yet:
# they are printed and counted, and not looked for.
set -euo pipefail
cd "$(dirname "$0")/../.."
list=tests/conformance/data/errnos.tsv
dir=${LMN_BUILD_DIR:-build/dev}
work=build/errnos
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$PWD
mkdir -p "$work"
mapfile -t programs < <(grep -v '^#' "$list" | cut -f4 | grep -v '^-$' | sort -u)
if [ -z "${LMN_BUILD_DIR:-}" ]; then
  [ -f "$dir/build.ninja" ] || cmake --preset dev > "$work/cmake.log"
  ninja -C "$dir" -j "${LMN_JOBS:-$(nproc)}" "${programs[@]}" > "$work/build.log" ||
    { cat "$work/build.log" >&2; exit 1; }
fi
status=0
for program in "${programs[@]}"; do
  binary=$(find "$dir" -name "$program" -type f -perm -u+x | head -1)
  [ -n "$binary" ] || { echo "errnos: no $program in $dir" >&2; exit 2; }
  while read -r filter; do
    log="$work/$program.$(tr -c 'A-Za-z0-9\n' _ <<< "$filter").log"
    timeout 300 "$binary" --gtest_filter="$filter" > "$log" 2>&1 ||
      { echo "errnos: $program $filter failed: $log" >&2; status=1; }
  done < <(awk -F'\t' -v p="$program" '$4 == p { print $5 }' "$list" | sort -u)
done
python3 - "$list" "$work" << 'PYTHON' || status=1
import pathlib
import re
import sys

provoked = set()
for log in pathlib.Path(sys.argv[2]).glob("*.log"):
    program = log.name.split(".")[0]
    text = log.read_text(errors="replace")
    for rule, result in re.findall(r"^\[ PROVOKED \] (\S+) (-?\d+) x", text, re.M):
        provoked.add((program, rule, int(result)))
missing = later = found = 0
print(f"{'rule':30} {'code':>4} {'name':16} {'ours =':8} provoked by")
for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
    if line.startswith("#"):
        continue
    rule, code, name, program, tests, how, words = line.split("\t")
    if how == "later":
        later += 1
        print(f"{rule:30} {code:>4} {name:16} {how:8} {words}")
        continue
    is_there = (program, rule, int(code)) in provoked
    found += is_there
    missing += not is_there
    by = f"{program} {tests}" if is_there else "MISSING"
    print(f"{rule:30} {code:>4} {name:16} {how:8} {by}: {words}")
print(f"errnos: {found} provoked, {missing} missing, {later} of parts that are not there yet")
sys.exit(1 if missing else 0)
PYTHON
exit $status
