"""A process that runs one zone command and tells how it ended: ``done``, or ``interrupted`` by Ctrl-C.

python one_command.py IMAGE COMMAND [ZONE]
"""

from __future__ import annotations

import os
import sys

import zoned


def main(path: str, command: str, *zone: str) -> None:
    device = zoned.open(path)
    os.write(1, b"begin\n")
    try:
        getattr(device, command)(*map(int, zone))
    except KeyboardInterrupt:
        os.write(1, b"interrupted\n")
    else:
        os.write(1, b"done\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
