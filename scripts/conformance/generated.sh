#!/usr/bin/env bash
# conformance generated [PROGRAMS]: generated programs (100,000 unless said otherwise), interpreter
# against the kernel of this machine: return code, packet and maps. Prints how often each operation
# was executed; exit status 0: all agree and each occurred at least 100 times.
set -euo pipefail
cd "$(dirname "$0")/../.."
./dev build lmn_generated_differential_test
LMN_PROGRAMS=${1:-100000} exec build/dev/tests/differential/lmn_generated_differential_test
