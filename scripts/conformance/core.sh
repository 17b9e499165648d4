#!/usr/bin/env bash
# conformance core: the kernel's CO-RE test programs (18) against its test types (69), read_object
# against libbpf 1.5. Prints how many pairs are equal, refused by both, and different, and whether
# the kernel's own table of expected failures holds. Exit status 0: none is different, and it does.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/selftests.sh build/selftests v3
scripts/libbpf.sh build/selftests
./dev build lmn_compare_core
exec build/dev/tests/objects/lmn_compare_core build/selftests/obj-v3
