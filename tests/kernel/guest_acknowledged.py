"""Runs in the guest: is all there that fio was told to have been written?

    guest_acknowledged.py NODE FOLDER

FOLDER has fio's logs of latencies with offsets (``--write_lat_log=FOLDER/... --log_offset=1``), of jobs that wrote
``--verify_pattern=%o``: each block is its own offset over and over. Tells how many blocks were acknowledged, and the
offsets of those that are not there.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from pathlib import Path


def main(node: str, folder: str) -> None:
    asked: dict[int, int] = {}
    for log in Path(folder).glob("*_lat.*.log"):
        if log.name.split(".")[0].endswith(("_slat", "_clat")):
            continue
        for line in log.read_text().splitlines():
            _, _, way, length, offset, *_ = (int(word, 0) for word in line.split(","))
            if way == 1:
                asked[offset] = length
    lost = []
    disk = os.open(node, os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, 1 << 20) as buffer:
        for offset, length in sorted(asked.items()):
            got = os.preadv(disk, [memoryview(buffer)[:length]], offset)
            if buffer[:got] != offset.to_bytes(8, "little") * (length // 8):
                lost.append(offset)
    print(json.dumps({"acknowledged": len(asked), "lost": lost}))


if __name__ == "__main__":
    main(*sys.argv[1:])
