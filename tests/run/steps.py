"""Random reads, writes and zone commands on a zoned block device, and what each gives: a line a step.

Arguments: the device, a seed, how many steps. The same steps on null_blk of Linux 6.12 and under ``zonedctl run`` give the
same lines. The disk is that of calls.py, as new. Uses the standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import mmap
import os
import random
import struct
import sys

DEVICE, SEED, COUNT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ZONE, BLOCK, SIZE = 4 << 20, 4096, 64 << 20
SECTORS, ZONES = ZONE // 512, SIZE // ZONE
COMMANDS = {"reset": 0x40101283, "open": 0x40101286, "close": 0x40101287, "finish": 0x40101288}
REPORT = 0xC0101282
libc = ctypes.CDLL(None, use_errno=True)
drawn = random.Random(SEED)
device = os.open(DEVICE, os.O_RDWR | os.O_DIRECT)
room = mmap.mmap(-1, 2 * ZONE)


def ioctl(request: int, argument: bytes) -> bytes:
    given = ctypes.create_string_buffer(argument)
    if libc.ioctl(device, ctypes.c_ulong(request), given) < 0:
        raise OSError(ctypes.get_errno(), "")
    return given.raw


def report() -> list[list[int]]:
    raw = ioctl(REPORT, struct.pack("QII", 0, ZONES, 0) + bytes(64 * ZONES))
    return [list(struct.unpack_from("QQQBBBB4xQ", raw, 16 + 64 * at)) for at in range(ZONES)]


def place(rows: list[list[int]]) -> tuple[int, int]:
    """Where, and how long: mostly at a write pointer, sometimes anywhere, misaligned or over an end."""
    zone = drawn.randrange(ZONES)
    length = drawn.choice((1, 1, 2, 3, 8, 16, 24)) * BLOCK  # what is one request in any queue
    kind = drawn.random()
    if kind < 0.75:
        at = rows[zone][2] * 512 if zone > 1 else zone * ZONE + drawn.randrange(1024) * BLOCK
        at = at if at < 2**62 else zone * ZONE
    elif kind < 0.95:
        at = drawn.randrange(SIZE // BLOCK + 4) * BLOCK
    else:
        at = drawn.randrange(SIZE // 512) * 512
        length += drawn.choice((0, 512))
    return at, length


def step(rows: list[list[int]]) -> tuple[str, object]:
    kind = drawn.random()
    if kind < 0.55:
        at, length = place(rows)
        room[:8] = struct.pack("Q", drawn.getrandbits(64))
        name = f"write {length} at {at}"

        def call() -> object:
            done = os.pwritev(device, [memoryview(room)[:length]], at)
            row = rows[at // ZONE]
            if row[2] == at // 512 and done <= ZONE - at % ZONE:
                row[2] += done // 512  # what a program knows that reports no zones
            return done

    elif kind < 0.75:
        at, length = place(rows)
        name = f"read {length} at {at}"

        def call() -> object:
            got = os.preadv(device, [memoryview(room)[:length]], at)
            return got, hashlib.sha256(room[:got]).hexdigest()[:16]
    else:
        command = drawn.choice(list(COMMANDS))
        count = drawn.choice((1, 1, 1, 1, 2, 5, ZONES))
        # Linux 6.12 forgets that it reset a zone where an earlier one of the same call was refused, as conventional ones are.
        first = drawn.randrange(0 if count == 1 else 2, ZONES)
        start = 0 if count == ZONES else first * SECTORS + drawn.choice((0,) * 9 + (8,))
        name = f"{command} {start} {count}"

        def call() -> object:
            return len(ioctl(COMMANDS[command], struct.pack("QQ", start, count * SECTORS)))

    try:
        return name, call()
    except OSError as error:
        return name, errno.errorcode[error.errno or 0]


zones = report()
for number in range(COUNT):
    told, result = step(zones)
    digest = "-"
    # Linux writes no more in a zone where a write failed, until that is reported.
    if drawn.random() < 0.3:
        zones = report()
        digest = hashlib.sha256(repr(zones).encode()).hexdigest()[:8]
    print(number, told, "->", result, digest)
print(report())
