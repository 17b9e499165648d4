#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: what a program decides is exactly what happens on the wire. Method: a program drops every second echo request; of
# 20 pings the 10 with odd numbers are answered, no more and no less: through two `packet` ports, and with the client's
# own stack on a `tap` port.
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

# check_counts: the program says the same.
check_counts() {
  stop_lmn
  local dropped
  dropped=$(python3 "$here/report.py" "$work/lmn.out" counter "$1" xdp_drop)
  [ "$dropped" = 20 ] || fail "port $1 dropped $dropped frames, not 20"
}

make_host; client=$host
make_host; engine=$host
make_host; server=$host
connect "$client" c0 "$engine" c1
connect "$engine" s1 "$server" s0
make_bare "$engine" c1
make_bare "$engine" s1
give_addresses "$server" s0 2

start_lmn "$engine" icmp_drop_every_second --port packet:c1,pass=s1 --port packet:s1,pass=c1
give_addresses "$client" c0 1
ping_half "packet ports, IPv4" 10.9.0.2
ping_half "packet ports, IPv6" fd00:9::2
check_counts c1

# The client's stack moves to the TAP's host side; lmn keeps the other side.
on "$client" ip link del c0
start_lmn "$engine" icmp_drop_every_second --port tap:name=lmn0,pass=s1 --port packet:s1,pass=lmn0
on "$engine" ip link set lmn0 netns "$client"
give_addresses "$client" lmn0 1
ping_half "tap port, IPv4" 10.9.0.2
ping_half "tap port, IPv6" fd00:9::2
check_counts lmn0
say "passed"
