#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: no packet is lost or counted twice over 10^6, and maps are dumped as bpftool dumps them.
# Method: a generated capture of 10^6 packets through `lmn run`: frames received = sum of all
# outcomes = 10^6; verdicts and map dumps equal those of the kernel that was given the same packets
# one by one. Three programs: a hash map with global data, a per-CPU array, a per-CPU hash map with
# changed packets.
source "$(dirname "$0")/lib.sh"
begin "$@"
readonly kPackets=1000000 kSeed=20261120
tool=$build/tests/system/lmn_traffic_tool
[ -x "$tool" ] || fail "no $tool: build the target lmn_traffic_tool"

"$tool" capture "$kSeed" "$kPackets" "$work/in.pcap"
say "$kPackets packets, $(stat -c %s "$work/in.pcap") bytes of capture"

counter_of() { python3 "$here/report.py" "$1" counter file "$2"; }

# verdicts_of REPORT: "NUMBER COUNT" lines as the tool writes them.
verdicts_of() {
  local number=0 name count
  for name in xdp_aborted xdp_drop xdp_pass xdp_tx xdp_redirect; do
    count=$(counter_of "$1" "$name")
    [ "$count" = 0 ] || echo "$number $count"
    number=$((number + 1))
  done
}

# compare PROGRAM MAP...
compare() {
  local report program=$1 map status=0 object=$build/bpf/$1.bpf.o
  shift
  say "$program"
  report=$work/$program.report
  "$lmn" run "$object" --json --dump-maps \
    --port "pcap:name=file,in=$work/in.pcap,out=$work/out.pcap,pass=file" \
    > "$report" 2> "$work/$program.log" || fail "lmn run $program: exit status $?"
  python3 "$here/report.py" "$report" balance || fail "the counters do not add up"
  local received
  received=$(counter_of "$report" rx_packets)
  [ "$received" = "$kPackets" ] || fail "received $received of $kPackets"
  [ "$(counter_of "$report" tx_packets)" = "$(counter_of "$report" xdp_pass)" ] ||
    fail "not every passed packet was written"

  mkdir "$work/$program"
  "$tool" kernel "$kSeed" "$kPackets" "$object" "$work/$program" || status=$?
  [ "$status" = "$kSkipStatus" ] && exit "$kSkipStatus"
  [ "$status" = 0 ] || fail "the kernel's side"
  verdicts_of "$report" > "$work/$program/verdicts.lmn"
  diff "$work/$program/verdicts" "$work/$program/verdicts.lmn" || fail "$program: verdicts differ"
  for map in "$@"; do
    python3 "$here/report.py" "$report" same "$map" "$work/$program/$map.json" ||
      fail "$program: map $map differs"
  done
}

compare ethertype_count ethertype_cnt .bss
compare icmp_drop_every_second echo_cnt
compare vlan_pop vlan_cnt
say "passed"
