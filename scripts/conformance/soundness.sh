#!/usr/bin/env bash
# conformance soundness [PROGRAMS]: generated programs (1,300,000 unless said otherwise, which gives
# more than 10^6 accepted ones, of a fixed and the same number of a fresh seed), verified and run on
# 16 packets each. Exit status 0: no trap, and every run within the states that the verifier walked.
set -euo pipefail
export LMN_SEED=${LMN_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d " ")}
echo "LMN_SEED=$LMN_SEED"
cd "$(dirname "$0")/../.."
./dev build lmn_soundness_test
LMN_PROGRAMS=${1:-1300000} exec build/dev/tests/soundness/lmn_soundness_test
