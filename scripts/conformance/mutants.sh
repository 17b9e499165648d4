#!/usr/bin/env bash
# conformance mutants [SECONDS] [PATTERN...]: known mistakes put back into a copy of the verifier,
# one at a time; the generic tests must find at least 80 of 100, each within SECONDS (60) per test.
set -euo pipefail
cd "$(dirname "$0")/../.."
./dev build lmn_soundness_test lmn_agreement_test
exec scripts/conformance/mutants.py build/dev "${@:-60}"
