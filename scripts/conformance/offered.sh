#!/usr/bin/env bash
# conformance offered: every XDP program that the kernel of this machine takes, of its selftests
# and of Debian's libxdp1, xdp-tools and libknot, is loaded by the engine and run on some packets.
# Prints what became of each, refusals by cause, and the sums; and which of all helpers and kernel
# functions of XDP are not offered. Exit status 0: each program is loaded and runs wherever the
# kernel runs it, or stands with its reason in tests/conformance/data/offered_exceptions.tsv. Root.
set -euo pipefail
cd "$(dirname "$0")/../.."
selftests=build/selftests
scripts/selftests.sh "$selftests" v3
scripts/libbpf.sh "$selftests"
scripts/debian_objects.sh
./dev build lmn_offered
exec build/dev/tests/conformance/lmn_offered tests/conformance/data/offered_exceptions.tsv \
  tests/repository/xdp_calls.txt "$selftests"/obj-v3/*.bpf.o build/debian_objects/*.o
