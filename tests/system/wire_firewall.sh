#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: examples/stateful_firewall.c between two real stacks: what the host inside begins works both
# ways, over IPv4 and IPv6, and what the host outside begins does not arrive. Method: a client, lmn
# and a server in namespaces; TCP transfers and pings in both directions.
source "$(dirname "$0")/lib.sh"
begin "$@"

make_wire packet
start_lmn "$engine" stateful_firewall "${wire_ports[@]}" --set-map trusted:@c1=01
give_addresses "$client" c0 1
readonly kPort=9000 kBytes=300000

is_listening() { grep -q listening "$work/$1.out"; }

# transfer NAME FROM TO ADDRESS: both send and receive; true when the hashes agree.
transfer() {
  in_background "server_$1" nsenter --target "$3" --net -- \
    python3 "$here/transfer.py" serve "$4" "$kPort" "$kBytes"
  local server_pid=$pid status=0
  until_true "the server" is_listening "server_$1"
  on "$2" timeout 10 python3 "$here/transfer.py" fetch "$4" "$kPort" "$kBytes" \
    > "$work/client_$1.out" 2> "$work/client_$1.log" || status=$?
  if [ "$status" != 0 ]; then
    kill "$server_pid"
    return 1
  fi
  wait "$server_pid" || fail "the server of $1 failed"
  [ "$(awk '/^sent/ {print $2}' "$work/client_$1.out")" = \
    "$(awk '/^received/ {print $2}' "$work/server_$1.out")" ] || fail "$1: other bytes arrived"
}

say "from inside"
transfer out4 "$client" "$server" 10.9.0.2 || fail "no connection out over IPv4"
transfer out6 "$client" "$server" fd00:9::2 || fail "no connection out over IPv6"
on "$client" ping -q -c 3 -i 0.05 -W 2 10.9.0.2
on "$client" ping -q -6 -c 3 -i 0.05 -W 2 fd00:9::2

say "from outside"
! on "$server" ping -q -c 2 -i 0.05 -W 1 10.9.0.1 || fail "a ping came in"
on "$server" python3 - << 'END'
import socket
for family, address in ((socket.AF_INET, "10.9.0.1"), (socket.AF_INET6, "fd00:9::1")):
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(1)
    try:
        sock.connect((address, 9000))
        raise SystemExit(f"connected to {address}")
    except TimeoutError:  # not refused: the SYN did not arrive
        print(f"no way in to {address}")
END
stop_lmn
say "passed"
