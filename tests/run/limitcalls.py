"""Ways to begin a zone while a limit forbids it, and what each gives: a line a way.

Arguments: the device, and the limit: "open" (4 zones are open by command) or "active" (6 are closed). The disk has zones of 4 MiB, of
which the first 2 are conventional, max_open 4 and max_active 6. Uses the standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
from collections.abc import Callable

DEVICE, LIMIT = sys.argv[1:]
ZONE, BLOCK, SECTORS = 4 << 20, 4096, 8192
RESET, OPEN, CLOSE, FINISH, ZEROOUT = 0x40101283, 0x40101286, 0x40101287, 0x40101288, 0x127F
REPORT = 0xC0101282
AT = 9 * ZONE
libc = ctypes.CDLL(None, use_errno=True)
buffer = mmap.mmap(-1, BLOCK)
address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def ioctl(request: int, *pair: int) -> int:
    room = ctypes.create_string_buffer(struct.pack("QQ", *pair) + bytes(64))
    if libc.ioctl(device, ctypes.c_ulong(request), room) < 0:
        raise OSError(ctypes.get_errno(), "")
    return 0


def by_libaio() -> int:
    context, one = ctypes.c_void_p(), ctypes.c_void_p()
    assert libc.io_setup(1, ctypes.byref(context)) == 0
    # struct iocb: data, key, flags, opcode 1 (pwrite), priority, descriptor; then buffer, length, offset
    iocb = ctypes.create_string_buffer(
        struct.pack("QIihhiQQq", 0, 0, 0, 1, 0, device, address, BLOCK, AT) + bytes(64)
    )
    one.value = ctypes.addressof(iocb)
    if (done := libc.io_submit(context, ctypes.c_long(1), ctypes.byref(one))) != 1:
        raise OSError(-done, "")
    event = ctypes.create_string_buffer(32)
    assert libc.io_getevents(context, ctypes.c_long(1), ctypes.c_long(1), event, None) == 1
    libc.io_destroy(context)
    (result,) = struct.unpack_from("q", event.raw, 16)
    if result < 0:
        raise OSError(-result, "")
    return int(result)


def buffered() -> int:
    fd = os.open(DEVICE, os.O_RDWR)
    try:
        done = os.pwrite(fd, buffer, AT)
        os.fsync(fd)
        return done
    finally:
        os.close(fd)


WAYS: dict[str, Callable[[], int]] = {
    "pwrite": lambda: os.pwrite(device, buffer, AT),
    "pwritev2": lambda: os.pwritev(device, [buffer], AT, os.RWF_DSYNC),
    "buffered": buffered,
    "libaio": by_libaio,
    "BLKZEROOUT": lambda: ioctl(ZEROOUT, AT, BLOCK),
    "BLKOPENZONE": lambda: ioctl(OPEN, AT // 512, SECTORS),
    "BLKFINISHZONE": lambda: ioctl(FINISH, AT // 512, SECTORS),
}

device = os.open(DEVICE, os.O_RDWR | os.O_DIRECT)
ioctl(RESET, 0, 16 * SECTORS)
for zone in range(2, 6 if LIMIT == "open" else 8):
    os.pwrite(device, buffer, zone * ZONE)
    ioctl(OPEN, zone * SECTORS, SECTORS)
    if LIMIT == "active":
        ioctl(CLOSE, zone * SECTORS, SECTORS)
for name, way in WAYS.items():
    try:
        print(f"{name}: {way()}")
    except OSError as error:
        print(f"{name}: {errno.errorcode[error.errno or 0]}")
    ioctl(RESET, AT // 512, SECTORS)
ioctl(RESET, 2 * SECTORS, SECTORS)
print(f"with one less: {os.pwrite(device, buffer, AT)}")
