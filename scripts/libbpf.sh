#!/usr/bin/env bash
# Builds libbpf 1.5, static, from the sources that scripts/selftests.sh unpacked, for the
# conformance runs that compare with it: libbpf.sh [DIR]
#
#   DIR/libbpf/libbpf.a, DIR/libbpf/include/bpf; DIR is build/selftests
#
# Debian 12's own libbpf is 1.1, which knows less than the selftests ask for. 30 seconds, once.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(realpath -m "${1:-build/selftests}")
out=$dir/libbpf
if [ -f "$out/libbpf.a" ] && [ -d "$out/include/bpf" ]; then exit 0; fi
[ -d "$dir/tools/lib/bpf" ] || scripts/selftests.sh "$dir" v3
mkdir -p "$out"
echo "libbpf: building $out/libbpf.a" >&2
make -s -C "$dir/tools/lib/bpf" OUTPUT="$out/" BUILD_STATIC_ONLY=1 "$out/libbpf.a" \
  > "$out/build.log"
make -s -C "$dir/tools/lib/bpf" OUTPUT="$out/" DESTDIR="$out" prefix= install_headers \
  >> "$out/build.log"
