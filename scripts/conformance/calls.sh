#!/usr/bin/env bash
# conformance calls: every row of src/helpers/helpers.def and src/kfuncs/kfuncs.def, with the test
# that called it in the kernel and in LMN and compared what came of it, and how many calls that
# were; or why there is none: the row is refused by name, this kernel does not have it, or nothing
# can be compared. Builds and runs the differential tests; they count themselves
# (tests/harness/compared_calls.h).
# Exit status 0: no row lacks a comparison, and no test failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${LMN_BUILD_DIR:-build/dev}
work=build/calls
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$PWD
mkdir -p "$work"
mapfile -t programs < <(sed -n 's/^lmn_add_test_executable(\([a-z_0-9]*\).*/\1/p' \
  tests/differential/CMakeLists.txt)
if [ -z "${LMN_BUILD_DIR:-}" ]; then
  [ -f "$dir/build.ninja" ] || cmake --preset dev > "$work/cmake.log"
  ninja -C "$dir" -j "${LMN_JOBS:-$(nproc)}" "${programs[@]}" > "$work/build.log" ||
    { cat "$work/build.log" >&2; exit 1; }
fi
status=0
rm -f "$work"/*.txt "$work"/*.log
for program in "${programs[@]}"; do
  binary="$dir/tests/differential/$program"
  [ -x "$binary" ] || { echo "calls: no $program in $dir" >&2; status=1; continue; }
  if timeout 600 "$binary" > "$work/$program.log" 2>&1; then
    mv "$work/$program.log" "$work/$program.txt"
  else
    echo "calls: $program failed: $work/$program.log" >&2
    status=1
  fi
done
python3 - "$work" << 'PYTHON' || status=1
import pathlib
import re
import sys
from collections import defaultdict

rows, counts = {}, defaultdict(lambda: defaultdict(int))
for log in sorted(pathlib.Path(sys.argv[1]).glob("lmn_*")):
    text = log.read_text(errors="replace")
    found = re.findall(r"^\[ ROW \] (\S+) (compared|excused) ?(.*)$", text, re.M)
    for name, state, reason in found:
        rows[name] = "" if state == "compared" else reason
    if log.suffix != ".txt":
        continue  # it failed
    for name, count, test in re.findall(r"^\[ COMPARED \] (\S+) x(\d+) (\S+)$", text, re.M):
        counts[name][re.sub(r"^[^/]*/(?=.*\.)|/[^./]*$", "", test)] += int(count)
missing = compared = excused = 0
for name in sorted(rows):
    tests = sorted(counts[name].items(), key=lambda item: -item[1])
    if tests:
        compared += 1
        more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        print(f"{name:36} {sum(counts[name].values()):>9} calls  {tests[0][0]}{more}")
    elif rows[name]:
        excused += 1
        print(f"{name:36} {'-':>9}        {rows[name]}")
    else:
        missing += 1
        print(f"{name:36} {'MISSING':>9}")
kinds = len(rows)
print(f"calls: {kinds} rows: {compared} compared, {excused} with a reason, {missing} missing")
sys.exit(1 if missing or not rows else 0)
PYTHON
exit $status
