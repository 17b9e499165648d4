#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: XDP_REDIRECT by a device map forwards on live netdevs, and its fallback works. Method: the
# same two hosts as in wire_ping.sh, but no port has a pass sink: with both slots of the map filled
# pings are answered, every frame is redirected and the program's own counters say so; with one slot
# empty its fallback verdict is PASS, which a port without a pass sink counts and drops.
source "$(dirname "$0")/lib.sh"
begin "$@"

counter_of() { python3 "$here/report.py" "$work/lmn.out" counter "$1" "$2"; }

make_wire packet
readonly ports=(--port packet:c1 --port packet:s1)
start_lmn "$engine" redirect_forward "${ports[@]}" \
  --redirect-map out_port:c1=s1 --redirect-map out_port:s1=c1
give_addresses "$client" c0 1
say "both slots filled"
on "$client" ping -q -c 20 -i 0.02 -W 2 10.9.0.2 > "$work/ping.log" || fail "ping over IPv4"
on "$client" ping -q -6 -c 20 -i 0.02 -W 2 fd00:9::2 > "$work/ping.log" || fail "ping over IPv6"
stop_lmn
for port in c1 s1; do
  received=$(counter_of "$port" rx_packets)
  [ "$received" -ge 40 ] || fail "port $port received $received frames"
  [ "$(counter_of "$port" redirect_delivered)" = "$received" ] ||
    fail "port $port: not all redirected"
done
python3 - "$work" "$here" << 'END'
import sys
work, here = sys.argv[1:]
sys.path.insert(0, here)
import report
run = report.load(f"{work}/lmn.out")
counted = {entry["formatted"]["key"]: entry["formatted"]["values"][0]["value"]
           for entry in report.elements(run, "port_cnt")}
for name in ("c1", "s1"):
    port = report.port_of(run, name)
    count = counted[port["ifindex"] % 256]
    assert count["forwarded_packets"] == port["counters"]["rx_packets"], (name, count)
    assert count["forwarded_bytes"] == port["counters"]["rx_bytes"], (name, count)
    assert count["passed_packets"] == 0, (name, count)
END

say "one slot empty"
start_lmn "$engine" redirect_forward "${ports[@]}" --redirect-map out_port:s1=c1
on "$client" ping -q -c 5 -i 0.02 -W 1 10.9.0.2 > "$work/ping.log" && fail "a ping was answered"
stop_lmn
[ "$(counter_of c1 xdp_redirect)" = 0 ] || fail "port c1 redirected without a target"
[ "$(counter_of c1 pass_no_stack)" = "$(counter_of c1 rx_packets)" ] || fail "not all counted"
say "passed"
