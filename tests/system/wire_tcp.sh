#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: TCP stays intact through the engine. Method: 10 MB of noise in both directions at once,
# compared by hash, between hosts whose netdevs keep their default offloads: partial checksums and
# segments of 64 KB reach the ports. Called with "packet": through two `packet` ports; with "tap":
# the client's own stack sits on a `tap` port.
source "$(dirname "$0")/lib.sh"
begin "$@"
readonly kBytes=10000000
next_port=5001

is_listening() { grep -q listening "$work/serve.out"; }
hash_of() { sed -n "s/^$2 //p" "$work/$1.out"; }

# transfer WHAT ADDRESS
transfer() {
  local started=$SECONDS
  next_port=$((next_port + 1))
  in_background serve nsenter --target "$server" --net -- \
    python3 "$here/transfer.py" serve "$2" "$next_port" "$kBytes"
  local serve_pid=$pid
  until_true "the server" is_listening
  on "$client" python3 "$here/transfer.py" fetch "$2" "$next_port" "$kBytes" \
    > "$work/fetch.out" 2> "$work/fetch.log" || fail "$1: the client failed"
  wait "$serve_pid" || fail "$1: the server failed"
  [ -n "$(hash_of serve sent)" ] || fail "$1: no hash"
  [ "$(hash_of serve sent)" = "$(hash_of fetch received)" ] || fail "$1: the client got other bytes"
  [ "$(hash_of fetch sent)" = "$(hash_of serve received)" ] || fail "$1: the server got other bytes"
  say "$1: $kBytes bytes each way intact, $((SECONDS - started)) s"
}

make_wire "${2:?usage: $0 BUILD_FOLDER packet|tap}"
start_wire ethertype_count
transfer "$2 port, IPv4" 10.9.0.2
transfer "$2 port, IPv6" fd00:9::2
stop_lmn
say "passed"
