#!/usr/bin/env bash
# conformance verifier_speed: our time for each XDP program beside the "verification time" of the
# kernel of this machine, in turns, medians of five; then programs made to be expensive, which must
# end at a limit. The programs are those of the kernel's selftests and of Debian's libxdp1,
# xdp-tools and libknot. Built for release. Exit status 0: geometric mean at most 1.0, none above
# 2.0 that takes the kernel 50 us, every expensive one within a second of CPU time and 64 MiB. Root.
set -euo pipefail
cd "$(dirname "$0")/../.."
selftests=build/selftests
scripts/selftests.sh "$selftests" v3
scripts/libbpf.sh "$selftests"
scripts/debian_objects.sh
cmake --preset release > /dev/null
ninja -C build/release lmn_verifier_speed
exec build/release/tests/conformance/lmn_verifier_speed "$selftests"/obj-v3/*.bpf.o \
  build/debian_objects/*.o
