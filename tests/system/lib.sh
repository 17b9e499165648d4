# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the system tests share: hosts, a running lmn, and an end that leaves nothing behind. Sourced
# by the scripts, which are called with the build folder as their argument.
#
# A host is a network namespace without a name: it lives as long as the process that holds it, and
# that process dies with the script, even when the script is killed (setpriv --pdeathsig). So
# nothing can be left behind and two runs cannot meet. Without root everything happens in a user
# namespace of its own; where that is not allowed either, the test is skipped: exit status 77 and a
# line "skipped: REASON".
#
#   begin "$@"; make_host; client=$host; connect "$client" c0 "$engine" c1; on "$client" ping ...
set -euo pipefail

readonly kSkipStatus=77
# How long anything may take that should be at once, in steps of 20 ms.
readonly kPatienceSteps=500

skip() { echo "skipped: $*"; exit "$kSkipStatus"; }
fail() { echo "failed: $*" >&2; exit 1; }
say() { echo "-- $*"; }

# begin BUILD_FOLDER ...: checks rights and tools, makes the work folder, sets the trap that ends
# everything.
begin() {
  build=$(realpath "${1:?usage: $0 BUILD_FOLDER}")
  lmn=$build/tools/lmn
  here=$(dirname "$(realpath "$0")")
  [ -x "$lmn" ] || fail "no $lmn: build the target lmn"
  local tool
  for tool in ip ping python3 unshare nsenter setpriv sysctl; do
    command -v "$tool" > /dev/null || skip "$tool is not installed"
  done
  [ -d /proc/sys/net/ipv6 ] || skip "this kernel has no IPv6"
  if [ "$(id -u)" != 0 ]; then
    unshare --user --map-root-user --net true 2> /dev/null || skip "needs root or user namespaces"
    exec unshare --user --map-root-user --net "$0" "$@"
  fi
  unshare --net true 2> /dev/null || skip "not allowed to make a network namespace"
  work=$(mktemp -d)
  pids=()
  trap finish EXIT
  trap 'exit 1' HUP INT TERM
}

finish() {
  local status=$? pid
  trap - EXIT
  if [ "$status" != 0 ] && [ "$status" != "$kSkipStatus" ]; then
    local log
    for log in "$work"/*.log; do
      [ -s "$log" ] && { echo "-- $(basename "$log")" >&2; tail -n 40 "$log" >&2; }
    done
  fi
  exec 2> /dev/null  # bash would tell of each process that it was killed
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2> /dev/null || true; done
  wait 2> /dev/null || true
  rm -rf "$work"
  exit "$status"
}

# in_background LOG COMMAND...: a process that dies with this script; its number is in $pid. Output
# goes to LOG.out, LOG.log.
in_background() {
  local log=$work/$1
  shift
  # Emptied here and not by the child's redirection, which a reader might outrun.
  true > "$log.out" 2> "$log.log"
  setpriv --pdeathsig KILL -- "$@" > "$log.out" 2> "$log.log" &
  pid=$!
  pids+=("$pid")
}

# until_true WHAT COMMAND...: waits for a condition, with an end.
until_true() {
  local what=$1 step
  shift
  for ((step = 0; step < kPatienceSteps; ++step)); do
    "$@" && return 0
    sleep 0.02
  done
  fail "gave up waiting: $what"
}

in_other_namespace() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }

# make_host: a network namespace of its own; the process that holds it is in $host.
make_host() {
  in_background "host${#pids[@]}" unshare --net sleep infinity
  host=$pid
  until_true "a network namespace" in_other_namespace "$host"
  on "$host" ip link set lo up
}

# on HOST COMMAND...: runs it there.
on() {
  local at=$1
  shift
  nsenter --target "$at" --net -- "$@"
}

# connect HOST_A DEV_A HOST_B DEV_B: a veth pair between two hosts, offloads as they come.
connect() { on "$1" ip link add "$2" type veth peer name "$4" netns "$3"; }

# make_bare HOST DEV: a netdev without addresses that says nothing by itself, for a port of lmn.
make_bare() {
  on "$1" sysctl -q -w "net.ipv6.conf.$2.disable_ipv6=1"
  on "$1" ip link set "$2" up
}

# give_addresses HOST DEV N: 10.9.0.N and fd00:9::N.
give_addresses() {
  on "$1" ip address add "10.9.0.$3/24" dev "$2"
  on "$1" ip address add "fd00:9::$3/64" dev "$2" nodad
  on "$1" ip link set "$2" up
}

lmn_is_running() {
  kill -0 "$lmn_pid" 2> /dev/null || fail "lmn ended early"
  grep -q '^lmn: running' "$work/lmn.log"
}

# make_wire KIND: client - engine - server, with addresses on the outer two. The engine's ports are
# then in the array $wire_ports: two netdevs without addresses; or, for KIND tap, the client's stack
# sits on a TAP whose other side is lmn's.
make_wire() {
  make_host; client=$host
  make_host; engine=$host
  make_host; server=$host
  connect "$engine" s1 "$server" s0
  make_bare "$engine" s1
  give_addresses "$server" s0 2
  if [ "$1" = tap ]; then
    [ -w /dev/net/tun ] || skip "no right to use /dev/net/tun"
    # shellcheck disable=SC2034  # read by the scripts
    client_dev=lmn0
    engine_dev=lmn0
    wire_ports=(--port "tap:name=lmn0,pass=s1" --port "packet:s1,pass=lmn0")
  else
    client_dev=c0
    # shellcheck disable=SC2034
    engine_dev=c1
    connect "$client" c0 "$engine" c1
    make_bare "$engine" c1
    wire_ports=(--port "packet:c1,pass=s1" --port "packet:s1,pass=c1")
  fi
}

# start_wire OBJECT_NAME: lmn on the wire's ports, and the client's addresses.
start_wire() {
  start_lmn "$engine" "$1" "${wire_ports[@]}"
  # The host side of the TAP moves to the client; lmn keeps its own side by descriptor.
  [ "$client_dev" != lmn0 ] || on "$engine" ip link set lmn0 netns "$client"
  give_addresses "$client" "$client_dev" 1
}

# start_lmn HOST OBJECT_NAME OPTIONS...: lmn run there, up to the line that says that its ports are
# open.
start_lmn() {
  local at=$1 object=$build/bpf/$2.bpf.o
  shift 2
  in_background lmn nsenter --target "$at" --net -- "$lmn" run "$object" --json --dump-maps "$@"
  lmn_pid=$pid
  until_true "lmn run" lmn_is_running
}

# stop_lmn: ends it as Ctrl-C does; its report is then in $work/lmn.out. Its frames must add up, as
# its exit status says.
stop_lmn() {
  kill -INT "$lmn_pid"
  wait "$lmn_pid" || fail "lmn run: exit status $?"
  python3 "$here/report.py" "$work/lmn.out" balance || fail "the counters do not add up"
}
