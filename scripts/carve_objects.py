#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the BPF objects that are embedded in other files as files of their own:

    carve_objects.py FOLDER FILE...

Tools carry their objects as bytes in a data section ("skeletons"). An ELF header of 64 bits, little
end first, with machine 247 starts one, and its section headers end it: compilers and bpftool write
them last. Prints how many each FILE holds. Used by scripts/conformance/objects.sh.
"""
import os
import struct
import sys

MAGIC = b"\x7fELF\x02\x01\x01"
MACHINE_BPF = 247
HEADER_BYTES = 64


def embedded_objects(data):
    at = data.find(MAGIC)
    while at >= 0:
        header = data[at : at + HEADER_BYTES]
        if len(header) == HEADER_BYTES and struct.unpack_from("<H", header, 18)[0] == MACHINE_BPF:
            table = struct.unpack_from("<Q", header, 40)[0]
            entry_bytes, count = struct.unpack_from("<HH", header, 58)
            end = at + table + entry_bytes * count
            if end <= len(data):
                yield data[at:end]
        at = data.find(MAGIC, at + 1)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder = sys.argv[1]
    for path in sorted({os.path.realpath(path) for path in sys.argv[2:]}):
        with open(path, "rb") as file:
            objects = list(embedded_objects(file.read()))
        name = os.path.basename(path).split(".")[0]
        for index, data in enumerate(objects):
            with open(os.path.join(folder, f"{name}_{index}.o"), "wb") as out:
                out.write(data)
        print(f"{len(objects)} objects in {path}")


main()
