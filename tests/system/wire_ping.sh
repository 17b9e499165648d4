#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: an unmodified program on live traffic, end to end. Method: a client and a server host with
# lmn between them on two netdevs without addresses, running the EtherType counter; pings over IPv4
# and IPv6 are answered, and the map says for every EtherType exactly how many frames the two hosts
# sent, as observers on the hosts themselves counted them.
source "$(dirname "$0")/lib.sh"
begin "$@"

make_host; client=$host
make_host; engine=$host
make_host; server=$host
connect "$client" c0 "$engine" c1
connect "$engine" s1 "$server" s0
make_bare "$engine" c1
make_bare "$engine" s1
start_lmn "$engine" ethertype_count --port packet:c1,pass=s1 --port packet:s1,pass=c1

is_counting() { grep -q counting "$work/$1.out"; }
in_background sent_c0 nsenter --target "$client" --net -- python3 "$here/count_sent.py" c0
observers=("$pid")
in_background sent_s0 nsenter --target "$server" --net -- python3 "$here/count_sent.py" s0
observers+=("$pid")
until_true "the observer of c0" is_counting sent_c0
until_true "the observer of s0" is_counting sent_s0
give_addresses "$client" c0 1
give_addresses "$server" s0 2

say "ping over IPv4, then IPv6"
on "$client" ping -q -c 20 -i 0.02 -W 2 10.9.0.2
on "$client" ping -q -6 -c 20 -i 0.02 -W 2 fd00:9::2

# Nothing is sent from here on; what is under way arrives within a retire time-out of the ring.
on "$client" ip link set c0 down
on "$server" ip link set s0 down
sleep 0.3
stop_lmn
for observer in "${observers[@]}"; do kill -TERM "$observer"; done
for observer in "${observers[@]}"; do wait "$observer" || fail "an observer failed"; done

python3 - "$work" "$here" << 'END'
import collections, json, sys
work, here = sys.argv[1:]
sys.path.insert(0, here)
import report
sent = collections.Counter()
for name in ("sent_c0", "sent_s0"):
    with open(f"{work}/{name}.out", encoding="utf-8") as file:
        sent.update({int(key): count for key, count in json.loads(file.readlines()[-1]).items()})
counted = {entry["formatted"]["key"]: entry["formatted"]["value"]
           for entry in report.elements(report.load(f"{work}/lmn.out"), "ethertype_cnt")}
print("EtherType  sent  counted")
for ethertype in sorted(sent | counted):
    print(f"   0x{ethertype:04x} {sent.get(ethertype, 0):5} {counted.get(ethertype, 0):8}")
assert counted == dict(sent), "the map differs from what was sent"
for ethertype, least in ((0x0800, 40), (0x86dd, 40), (0x0806, 2)):
    assert counted.get(ethertype, 0) >= least, f"0x{ethertype:04x}: fewer than {least}"
END
say "passed"
