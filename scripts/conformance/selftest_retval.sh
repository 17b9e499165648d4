#!/usr/bin/env bash
# conformance selftest_retval: the return values that the kernel's selftests say of themselves, in
# the interpreter: XDP programs by way of the engine, others with the context and helpers of their
# own type. Lists every program that does not return its value, with the reason. Exit status 0: each
# program that the kernel runs (tests/conformance/data/verdicts.tsv) returned its value, and no
# other one returned a wrong one.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${LMN_SELFTESTS:-build/selftests/obj-v3}
[ -d "$dir" ] || scripts/selftests.sh
./dev build lmn_selftest_retval
exec build/dev/tests/conformance/lmn_selftest_retval "$dir" "$@"
