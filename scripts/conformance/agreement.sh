#!/usr/bin/env bash
# conformance agreement [PROGRAMS]: verdicts of generated programs (200,000 unless said otherwise,
# of a fixed and of a fresh seed), ours against the kernel of this machine. Prints rates, coverage
# and every kind of difference with a reduced program; exit status 0: what only we accept has a row
# in docs/kernel-differences.md, and what only the kernel accepts is at most 0.5 of 100.
set -euo pipefail
export LMN_SEED=${LMN_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d " ")}
echo "LMN_SEED=$LMN_SEED"
cd "$(dirname "$0")/../.."
./dev build lmn_agreement_test
LMN_PROGRAMS=${1:-200000} exec build/dev/tests/soundness/lmn_agreement_test
