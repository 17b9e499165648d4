#!/usr/bin/env bash
# conformance selftest_retval: the return values that the kernel's selftests say of themselves, in
# the interpreter. Lists every program that does not return its value, with the reason. Exit status
# 0: nothing that ran returned another value or was stopped.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${LMN_SELFTESTS:-build/selftests/obj-v3}
[ -d "$dir" ] || scripts/selftests.sh
./dev build lmn_selftest_retval
exec build/dev/tests/conformance/lmn_selftest_retval "$dir" "$@"
