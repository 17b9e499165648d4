#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the frames that this host sends by a netdev, per EtherType: count_sent.py NETDEV

An observer that knows nothing of LMN: a packet socket that sees what the host's own stack hands to
the device. Prints "counting" when it is ready, and on SIGTERM one line of JSON: {"2048": 12, ...}.
The device may come up later.
"""
import collections
import json
import signal
import socket
import sys

ETH_P_ALL = 3


def main(netdev):
    counts = collections.Counter()
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.bind((netdev, ETH_P_ALL))

    def end(_signal, _frame):
        sock.setblocking(False)
        drain(sock, counts)
        print(json.dumps(counts), flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print("counting", flush=True)
    while True:
        count_one(sock, counts)


def count_one(sock, counts):
    try:
        frame, address = sock.recvfrom(64)
    except OSError as error:
        if isinstance(error, BlockingIOError):
            raise
        return  # ENETDOWN: reported once when the device goes down
    if address[2] == socket.PACKET_OUTGOING:
        counts[int.from_bytes(frame[12:14], "big")] += 1


def drain(sock, counts):
    while True:
        try:
            count_one(sock, counts)
        except BlockingIOError:
            return


if __name__ == "__main__":
    main(sys.argv[1])
