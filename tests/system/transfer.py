#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two-way TCP transfer with hashes: transfer.py serve|fetch ADDRESS PORT BYTES

Both sides send BYTES of noise (seeded by their role) at the same time and receive the other's until
it closes. Each prints "sent SHA256" and "received SHA256"; the server prints "listening" first. The
contents are random so that a repeated, lost or exchanged segment cannot go unnoticed.
"""
import hashlib
import random
import socket
import sys
import threading

CHUNK = 1 << 16
TIMEOUT_S = 30


def send_noise(sock, role, size):
    digest = hashlib.sha256()
    noise = random.Random(role)
    while size > 0:
        chunk = noise.randbytes(min(CHUNK, size))
        digest.update(chunk)
        sock.sendall(chunk)
        size -= len(chunk)
    sock.shutdown(socket.SHUT_WR)
    print("sent", digest.hexdigest(), flush=True)


def receive(sock):
    digest = hashlib.sha256()
    while chunk := sock.recv(CHUNK):
        digest.update(chunk)
    print("received", digest.hexdigest(), flush=True)


def main(role, address, port, size):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if role == "serve":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(1)
        print("listening", flush=True)
        sock, _ = sock.accept()
    else:
        sock.settimeout(TIMEOUT_S)
        sock.connect((address, port))
    sock.settimeout(TIMEOUT_S)
    sender = threading.Thread(target=send_noise, args=(sock, role, size))
    sender.start()
    receive(sock)
    sender.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
