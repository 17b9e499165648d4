#!/usr/bin/env bash
# The demo: a client and a server host in network namespaces, LMN between them in its own, and real
# pings on the wire.
#
#   client 10.9.0.1 -- c1 [ lmn run ethertype_count ] s1 -- server 10.9.0.2
#
# LMN's two ports are netdevs without addresses (a bump in the wire): what one receives and the
# program passes, the other sends. Usage: scripts/demo.sh BUILD_FOLDER. Without root it uses a user
# namespace; it leaves nothing behind.
set -euo pipefail

build=$(realpath "${1:?usage: scripts/demo.sh BUILD_FOLDER}")
lmn=$build/tools/lmn
object=$build/bpf/ethertype_count.bpf.o

if [ "$(id -u)" != 0 ] && [ -z "${LMN_DEMO_INSIDE:-}" ]; then
  if ! unshare --user --map-root-user --net true 2>/dev/null; then
    echo "demo: needs root, or user namespaces (kernel.unprivileged_userns_clone=1)" >&2
    exit 1
  fi
  LMN_DEMO_INSIDE=1 exec unshare --user --map-root-user --net "$0" "$build"
fi

work=$(mktemp -d)
pids=()
finish() {
  status=$?
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM

# A host is a network namespace that a sleeping process holds: it goes when the process goes.
make_host() {
  unshare --net sleep 600 &
  pids+=($!)
  host=$!
  for _ in $(seq 100); do
    [ "$(readlink "/proc/$host/ns/net")" != "$(readlink /proc/self/ns/net)" ] && return 0
    sleep 0.02
  done
  echo "demo: cannot make a network namespace" >&2
  exit 1
}
inside() {
  local pid=$1
  shift
  nsenter --target "$pid" --net -- "$@"
}

make_host; client=$host
make_host; engine=$host
make_host; server=$host

# Offloads stay as they are: LMN puts VLAN tags back, completes checksums and cuts super-frames.
inside "$engine" ip link add c1 type veth peer name c0 netns "$client"
inside "$engine" ip link add s1 type veth peer name s0 netns "$server"
for dev in c1 s1; do
  inside "$engine" sh -c "echo 1 > /proc/sys/net/ipv6/conf/$dev/disable_ipv6" || true
  inside "$engine" ip link set "$dev" up
done
set_up() {
  inside "$1" ip link set lo up
  inside "$1" ip address add "10.9.0.$3/24" dev "$2"
  inside "$1" ip address add "fd00:9::$3/64" dev "$2" nodad
  inside "$1" ip link set "$2" up
}
set_up "$client" c0 1
set_up "$server" s0 2

echo "== client 10.9.0.1 -- c1 [lmn run ethertype_count] s1 -- server 10.9.0.2"
# Not through inside(): $! must be lmn itself, for the signal.
nsenter --target "$engine" --net -- "$lmn" run "$object" --dump-maps=text \
  --port packet:c1,pass=s1 --port packet:s1,pass=c1 > "$work/report" 2> "$work/log" &
lmn_pid=$!
pids+=("$lmn_pid")
for _ in $(seq 250); do
  grep -q '^lmn: running' "$work/log" && break
  kill -0 "$lmn_pid" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.02
done

echo "== ping over IPv4, then IPv6, through the program"
inside "$client" ping -c 5 -i 0.2 -W 2 10.9.0.2
inside "$client" ping -6 -c 5 -i 0.2 -W 2 fd00:9::2

kill -TERM "$lmn_pid"
wait "$lmn_pid" || { cat "$work/log" >&2; exit 1; }
echo
echo "== what became of every packet, and the map as bpftool prints it (EtherType: packets)"
cat "$work/report"
grep -q 'xdp_pass' "$work/report"
