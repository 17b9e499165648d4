#!/usr/bin/env bash
# conformance isa: every corner case of the instruction set, interpreter against the kernel of this
# machine. Exit status 0: all agree.
set -euo pipefail
cd "$(dirname "$0")/../.."
./dev build lmn_isa_differential_test
exec build/dev/tests/differential/lmn_isa_differential_test --gtest_brief=1
