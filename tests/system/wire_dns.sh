#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Goal: packets that a program makes out of others (XDP_TX, grown at the tail) are good enough for a
# real stack. Method: a client asks a server for names; the program between them answers the names
# in its table, and the client's kernel accepts address, length and checksums; other names reach the
# server, where nobody listens, and the client is told so.
source "$(dirname "$0")/lib.sh"
begin "$@"

make_wire packet
# "a.example" as on the wire, padded to the key's 64 bytes: 192.0.2.7 for 60 s.
key=$(printf '%-128s' 0161076578616d706c6500 | tr ' ' 0)
start_lmn "$engine" dns_reply --port packet:c1,pass=s1 --port packet:s1,pass=c1 \
  --set-map "dns_records:$key=c00002073c0000000000000000000000"
give_addresses "$client" c0 1

on "$client" python3 - << 'END'
import socket, struct
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(5)
sock.connect(("10.9.0.2", 53))

def ask(number, *labels):
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    question = name + struct.pack("!HH", 1, 1)
    sock.send(struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + question)
    answer = sock.recv(512)
    expected = (struct.pack("!6H", number, 0x8500, 1, 1, 0, 0) + question +
                struct.pack("!3HIH", 0xc00c, 1, 1, 60, 4) + bytes([192, 0, 2, 7]))
    assert answer == expected, answer.hex()

for number in range(20):
    ask(number, b"A" if number % 2 else b"a", b"example")
try:
    ask(20, b"b", b"example")
    raise SystemExit("a name that is not in the table was answered")
except ConnectionRefusedError:
    print("20 answers; the other name reached the server, which refused")
END
stop_lmn
sent_back=$(python3 "$here/report.py" "$work/lmn.out" counter c1 xdp_tx)
[ "$sent_back" = 20 ] || fail "$sent_back frames sent back, not 20"
say "passed"
