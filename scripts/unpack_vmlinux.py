#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes the ELF image out of a compressed kernel: unpack_vmlinux.py VMLINUZ OUT

The image lies in vmlinuz as a zstd frame; frames are tried in the order of their magic numbers
until one unpacks to an ELF file. Exit status 1 when none does.
"""

import subprocess
import sys

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ELF_MAGIC = b"\x7fELF"


def main():
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    at = data.find(ZSTD_MAGIC)
    while at >= 0:
        # zstd complains of what follows the frame; what it unpacked before is whole.
        image = subprocess.run(["zstd", "-dcf"], input=data[at:], capture_output=True).stdout
        if image.startswith(ELF_MAGIC):
            with open(sys.argv[2], "wb") as file:
                file.write(image)
            return 0
        at = data.find(ZSTD_MAGIC, at + 1)
    print(f"{sys.argv[1]}: no zstd frame with an ELF image", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
