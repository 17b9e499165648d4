#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: TCP stays intact through the engine. Method: 10 MB of noise in both directions at once, compared by hash, between
# hosts whose veths keep their default offloads: partial checksums and segments of 64 KB reach the ports. First through two
# `packet` ports, then with the client's stack on a `tap` port.
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
  in_background serve nsenter --target "$server" --net -- python3 "$here/transfer.py" serve "$2" "$next_port" "$kBytes"
  local serve_pid=$pid
  until_true "the server" is_listening
  on "$client" python3 "$here/transfer.py" fetch "$2" "$next_port" "$kBytes" > "$work/fetch.out" 2> "$work/fetch.log" ||
    fail "$1: the client failed"
  wait "$serve_pid" || fail "$1: the server failed"
  [ -n "$(hash_of serve sent)" ] || fail "$1: no hash"
  [ "$(hash_of serve sent)" = "$(hash_of fetch received)" ] || fail "$1: what came down differs from what was sent"
  [ "$(hash_of fetch sent)" = "$(hash_of serve received)" ] || fail "$1: what went up differs from what was sent"
  say "$1: $kBytes bytes each way intact, $((SECONDS - started)) s"
}

make_host; client=$host
make_host; engine=$host
make_host; server=$host
connect "$client" c0 "$engine" c1
connect "$engine" s1 "$server" s0
make_bare "$engine" c1
make_bare "$engine" s1
give_addresses "$server" s0 2
give_addresses "$client" c0 1

start_lmn "$engine" ethertype_count --port packet:c1,pass=s1 --port packet:s1,pass=c1
transfer "packet ports, IPv4" 10.9.0.2
transfer "packet ports, IPv6" fd00:9::2
stop_lmn

on "$client" ip link del c0
start_lmn "$engine" ethertype_count --port tap:name=lmn0,pass=s1 --port packet:s1,pass=lmn0
on "$engine" ip link set lmn0 netns "$client"
give_addresses "$client" lmn0 1
transfer "tap port, IPv4" 10.9.0.2
transfer "tap port, IPv6" fd00:9::2
stop_lmn
say "passed"
