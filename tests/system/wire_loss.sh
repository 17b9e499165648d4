#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: what a program decides is exactly what happens on the wire. Method: a program drops every
# second echo request; of 20 pings the 10 with odd numbers are answered, no more and no less. Called
# with "packet": through two `packet` ports; with "tap": the client's own stack sits on a `tap`
# port.
source "$(dirname "$0")/lib.sh"
begin "$@"

# ping_half WHAT ADDRESS: 20 pings, of which 1, 3, 5 ... 19 come back.
ping_half() {
  say "$1"
  local answered expected
  on "$client" ping -n -c 20 -i 0.02 -W 1 "$2" > "$work/ping.log" || true
  grep -q '20 packets transmitted, 10 received, 50% packet loss' "$work/ping.log" ||
    fail "$1: $(grep transmitted "$work/ping.log" || echo 'ping failed')"
  answered=$(sed -n 's/.*icmp_seq=\([0-9]*\) ttl.*/\1/p' "$work/ping.log" | paste -s -d ' ')
  expected=$(seq -s ' ' 1 2 19)
  [ "$answered" = "$expected" ] || fail "$1: answered were $answered"
}

make_wire "${2:?usage: $0 BUILD_FOLDER packet|tap}"
start_wire icmp_drop_every_second
ping_half "$2 port, IPv4" 10.9.0.2
ping_half "$2 port, IPv6" fd00:9::2
stop_lmn
dropped=$(python3 "$here/report.py" "$work/lmn.out" counter "$engine_dev" xdp_drop)
[ "$dropped" = 20 ] || fail "port $engine_dev dropped $dropped frames, not 20"
say "passed"
