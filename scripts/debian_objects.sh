#!/usr/bin/env bash
# Gathers the BPF objects that Debian's packages carry into build/debian_objects: those of libxdp1,
# and the ELF images inside xdp-tools' binaries and libknot's library. The conformance runs of the
# verifier take them from there. libknot is downloaded by apt, not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build/debian_objects
mkdir -p "$folder"
if [ ! -d "$folder/libknot" ]; then
  (cd "$folder" && apt-get -q -o APT::Sandbox::User=root download libknot13 > /dev/null &&
    dpkg-deb -x libknot13_*.deb libknot)
fi
rm -f "$folder"/*.o
scripts/carve_objects.py "$folder" /usr/sbin/xdp-* /usr/sbin/xdpdump \
  "$folder"/libknot/usr/lib/*/libknot.so.*.*
cp /usr/lib/*/bpf/*.o "$folder"
