#!/usr/bin/env bash
# conformance wire: live netdevs in network namespaces: pings answered, exactly every second echo
# request lost, TCP intact through packet and tap ports, and a capture of 10^6 packets accounted for
# to the packet with the kernel's map contents. Exit status 0: all hold.
set -euo pipefail
cd "$(dirname "$0")/../.."
./dev build
status=0
for run in 'wire_ping' 'wire_loss packet' 'wire_loss tap' 'wire_tcp packet' 'wire_tcp tap' \
  'pcap_million'; do
  read -r script kind <<< "$run"
  echo "== $run"
  # shellcheck disable=SC2086 # no kind is no argument
  "tests/system/$script.sh" "$PWD/build/dev" $kind || { echo "failed: $run"; status=1; }
done
exit $status
