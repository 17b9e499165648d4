#!/usr/bin/env bash
# conformance verifier: verdicts, messages and return values of the kernel's own test programs.
#
#   - the selftests' XDP programs (136 annotated, the others by verdict), and 1,138 annotated ones
#     of other types loaded as XDP: verdict, and the messages that their authors expect in the log
#   - the same with programs, functions and maps renamed, and compiled for -mcpu=v2 and v4: the
#     verdicts, against the same recorded table
#   - the return values of those that the interpreter can run
#   - every XDP program of Debian's libxdp1, xdp-tools and libknot is accepted
#
# The verdicts were recorded on Linux 6.18. Exit status 0: no program is wrongly accepted, at most 8
# tests of a table fall short, each of them with a row in docs/kernel-differences.md, and every
# program of Debian's is accepted. The first run downloads and compiles for 6 minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
selftests=build/selftests
for cpu in v3 v2 v4; do scripts/selftests.sh "$selftests" "$cpu"; done
./dev build lmn_verifier_conformance lmn_selftest_retval
verifier=build/dev/tests/conformance/lmn_verifier_conformance
status=0

# judge WORDS ARGUMENTS: one table.
judge() {
  echo "== $1"
  "$verifier" "${@:2}" || { status=1; echo "== falls short: $1"; }
}

for table in xdp as-xdp; do
  judge "$table" "$selftests/obj-v3" "$table"
  judge "$table, renamed" "$selftests/obj-v3" "$table" --renamed
  for cpu in v2 v4; do judge "$table, -mcpu=$cpu" "$selftests/obj-$cpu" "$table" --verdicts; done
done

# What has no body yet is the business of `./dev conformance selftest_retval`; here
# what runs must return its value.
echo "== return values"
sums=$(build/dev/tests/conformance/lmn_selftest_retval "$selftests/obj-v3" | tail -2 || true)
echo "$sums"
if grep -qE 'MISMATCHED|TRAPPED' <<< "$sums" || ! grep -q ' matched' <<< "$sums"; then
  status=1
  echo "== falls short: return values"
fi

scripts/debian_objects.sh
judge "XDP programs of Debian's packages" build/debian_objects objects
exit $status
