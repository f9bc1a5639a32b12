"""System calls on a zoned block device, one after the other, and what each gives: a line a call, on any such device.

Started with the device's path as its argument: under Linux 6.12's null_blk (data/nullblk-calls.txt was captured so: 64 MiB,
zones of 4 MiB of which 2 conventional, blocks of 4,096, max_open 4, max_active 6, memory backed), and by ``zonedctl run`` on
an emulated disk of the same kind. Uses the standard library only.
"""

# ruff: noqa: B023 - tell() calls what it is given at once

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

DEVICE = sys.argv[1]
ZONE, BLOCK, SIZE = 4 << 20, 4096, 64 << 20
SECTORS = ZONE // 512
BUFFER = mmap.mmap(-1, 2 * ZONE)
libc = ctypes.CDLL(None, use_errno=True)


def tell(name: str, call: Callable[[], object]) -> None:
    try:
        got = call()
        print(f"{name}: {got.hex() if isinstance(got, bytes) else got}")
    except OSError as error:
        print(f"{name}: {errno.errorcode[error.errno or 0]}")


def opened(flags: int = 0, mode: int = os.O_RDWR) -> int:
    return os.open(DEVICE, mode | flags)


def with_device(flags: int, call: Callable[[int], object], mode: int = os.O_RDWR) -> object:
    fd = opened(flags, mode)
    try:
        return call(fd)
    finally:
        os.close(fd)


def write(
    at: int, length: int = BLOCK, flags: int = os.O_DIRECT, rwf: int = 0, skip: int = 0
) -> object:
    piece = memoryview(BUFFER)[skip : skip + length]
    return with_device(flags, lambda fd: os.pwritev(fd, [piece], at, rwf))


def read(
    at: int, length: int = BLOCK, flags: int = os.O_DIRECT, rwf: int = 0, skip: int = 0
) -> object:
    piece = memoryview(BUFFER)[skip : skip + length]
    return with_device(flags, lambda fd: os.preadv(fd, [piece], at, rwf))


def ioctl(request: int, argument: bytes, fd: int = -1) -> bytes:
    room = ctypes.create_string_buffer(argument + bytes(64))
    number = fd if fd >= 0 else device
    if libc.ioctl(number, ctypes.c_ulong(request), room) < 0:
        raise OSError(ctypes.get_errno(), "")
    return room.raw[: len(argument)]


def bare(request: int, address: int) -> int:
    if libc.ioctl(device, ctypes.c_ulong(request), ctypes.c_void_p(address)) < 0:
        raise OSError(ctypes.get_errno(), "")
    return 0


def zones(sector: int, sectors: int) -> bytes:
    return struct.pack("QQ", sector, sectors)


FICLONE = 0x40049409
REPORT = 0xC0101282
COMMANDS = {"reset": 0x40101283, "open": 0x40101286, "close": 0x40101287, "finish": 0x40101288}


def report(sector: int, count: int) -> list[object]:
    raw = ioctl(REPORT, struct.pack("QII", sector, count, 0) + bytes(64 * count))
    head = struct.unpack_from("QII", raw)
    rows = [
        struct.unpack_from("QQQBBBB4xQ", raw, 16 + 64 * at) for at in range(min(head[1], count))
    ]
    return [head, *rows]


def reads_and_writes() -> None:
    tell("write at the pointer", lambda: write(2 * ZONE))
    tell("write not at the pointer", lambda: write(2 * ZONE + 2 * BLOCK))
    tell("write of half a block", lambda: write(2 * ZONE + BLOCK, 512))
    tell("write between blocks", lambda: write(2 * ZONE + 512))
    tell("write at the end", lambda: write(SIZE))
    tell("write behind the end", lambda: write(SIZE + BLOCK))
    tell("write behind the end, misaligned", lambda: write(SIZE + 1))
    tell("write of nothing behind the end", lambda: write(SIZE + BLOCK, 0))
    tell("write over the end", lambda: write(SIZE - BLOCK, 2 * BLOCK))
    tell("read at the end", lambda: read(SIZE))
    tell("read behind the end, misaligned", lambda: read(SIZE + 1))
    tell("read over the end", lambda: read(SIZE - BLOCK, 2 * BLOCK))
    tell("read between blocks", lambda: read(512, 512))
    tell("read of nothing between blocks", lambda: read(1, 0))
    for skip in (1, 4, 511, 512):
        tell(f"read into memory at {skip}", lambda skip=skip: read(0, skip=skip))
    tell("read at a negative offset", lambda: os.pread(device, 1, -1))
    tell("write through a descriptor for reading", lambda: os.write(opened(0, os.O_RDONLY), b"x"))
    tell("read through a descriptor for writing", lambda: os.read(opened(0, os.O_WRONLY), 1))
    tell("write of two whole zones", lambda: write(3 * ZONE, 2 * ZONE))
    tell("write of two full zones", lambda: write(3 * ZONE, 2 * ZONE))
    tell("write up to a zone's last block", lambda: write(5 * ZONE, ZONE - BLOCK))
    tell("write of the next zone's first block", lambda: write(6 * ZONE))
    tell("write over a boundary, its second part wrong", lambda: write(6 * ZONE - BLOCK, 2 * BLOCK))
    tell("and its first part was written", lambda: report(5 * SECTORS, 1)[1])


def writes_behind_a_failure() -> None:
    """Linux writes no more in a zone where a write failed, until somebody reports, resets or finishes it."""
    ioctl(COMMANDS["reset"], zones(0, 16 * SECTORS))
    end = 3 * ZONE - BLOCK
    for name, at in (("amid the zone", 2 * ZONE + BLOCK), ("in its last block", end)):
        for how in ("report", "reset", "open"):
            ioctl(COMMANDS["reset"], zones(2 * SECTORS, SECTORS))
            for state, blocks in (("empty", 0), ("begun", 1)):
                if blocks:
                    tell("a block", lambda: write(2 * ZONE))
                wrong = at + blocks * BLOCK if at < end else at
                tell(f"wrong write {name}, {state}", lambda: write(wrong))
                right = 2 * ZONE + blocks * BLOCK
                tell("right write behind it", lambda: write(right))
                tell("of the next zone", lambda: write(3 * ZONE))
                tell("a read", lambda: read(2 * ZONE))
                tell("zeros", lambda: ioctl(0x127F, zones(right, BLOCK)))
                if how == "report":
                    tell("report", lambda: report(2 * SECTORS, 1)[1])
                else:
                    tell(how, lambda: ioctl(COMMANDS[how], zones(2 * SECTORS, SECTORS)))
                tell(f"right write behind the {how}", lambda: write(right))
                ioctl(COMMANDS["reset"], zones(2 * SECTORS, 2 * SECTORS))
    tell("a zone", lambda: write(2 * ZONE, ZONE))
    tell("into the full zone", lambda: write(2 * ZONE))
    tell("into its end", lambda: write(end))
    ioctl(COMMANDS["reset"], zones(2 * SECTORS, SECTORS))
    tell("and after its reset", lambda: write(2 * ZONE))


def zone_commands() -> None:
    for name, request in COMMANDS.items():
        seq = 2 * SECTORS
        tell(f"{name} of a conventional zone", lambda: ioctl(request, zones(0, SECTORS)))
        tell(f"{name} within a zone", lambda: ioctl(request, zones(8, SECTORS)))
        tell(f"{name} of nothing", lambda: ioctl(request, zones(seq, 0)))
        tell(f"{name} of part of a zone", lambda: ioctl(request, zones(seq, SECTORS - 8)))
        tell(f"{name} behind the end", lambda: ioctl(request, zones(16 * SECTORS, SECTORS)))
        tell(f"{name} over the end", lambda: ioctl(request, zones(15 * SECTORS, 2 * SECTORS)))
        tell(f"{name} of more than there can be", lambda: ioctl(request, zones(2**63, 2**63)))
        tell(
            f"{name} by a reader",
            lambda: ioctl(request, zones(seq, SECTORS), opened(0, os.O_RDONLY)),
        )
        tell(f"{name} of zones of both types", lambda: ioctl(request, zones(SECTORS, 2 * SECTORS)))
        tell(f"{name} of NULL", lambda: bare(request, 0))
        tell(f"{name} of an address that is none", lambda: bare(request, 8))
        tell(f"{name} of all", lambda: ioctl(request, zones(0, 16 * SECTORS)))
        tell(f"after {name}", lambda: [row[4] for row in report(0, 16)[1:]])
    tell("report at the end", lambda: report(16 * SECTORS, 1))
    tell("report behind the end", lambda: report(99 * SECTORS, 1))
    tell("report of no zones", lambda: report(0, 0))
    tell("report within a zone", lambda: report(2 * SECTORS + 3, 1))
    ioctl(COMMANDS["reset"], zones(0, 16 * SECTORS))
    write(2 * ZONE)
    ioctl(COMMANDS["finish"], zones(4 * SECTORS, SECTORS))
    ioctl(COMMANDS["open"], zones(5 * SECTORS, SECTORS))
    for row in report(0, 16):
        print(row)


SIZES = {
    "BLKGETSIZE64": (0x80081272, 8),
    "BLKGETSIZE": (0x1260, 8),
    "BLKSSZGET": (0x1268, 4),
    "BLKPBSZGET": (0x127B, 4),
    "BLKBSZGET": (0x80081270, 4),
    "BLKIOMIN": (0x1278, 4),
    "BLKIOOPT": (0x1279, 4),
    "BLKALIGNOFF": (0x127A, 4),
    "BLKDISCARDZEROES": (0x127C, 4),
    "BLKROTATIONAL": (0x127E, 2),
    "BLKRAGET": (0x1263, 8),
    "BLKFRAGET": (0x1264, 8),
    "BLKROGET": (0x125E, 4),
    "BLKGETZONESZ": (0x80041284, 4),
    "BLKGETNRZONES": (0x80041285, 4),
    "HDIO_GETGEO": (0x301, 16),
    "SG_IO": (0x2285, 88),
    "SG_GET_VERSION_NUM": (0x2282, 4),
    "BLKFLSBUF": (0x1261, 1),
    "BLKRRPART": (0x125F, 1),
    "NVME_IOCTL_ID": (0x4E40, 1),
    "unknown": (0x12C8, 8),
    "TCGETS": (0x5401, 64),
    "FIGETBSZ": (2, 4),
    "FIONREAD": (0x541B, 4),
    "CDROM_GET_CAPABILITY": (0x5331, 4),
}


def other_ioctls() -> None:
    for name, (request, length) in SIZES.items():
        tell(name, lambda: ioctl(request, bytes(length)))
    for name, request in {"BLKDISCARD": 0x1277, "BLKSECDISCARD": 0x127D}.items():
        tell(name, lambda: ioctl(request, zones(0, BLOCK)))
    sequence = Path(
        f"/sys/block/{Path(DEVICE).name}/diskseq"
    )  # it counts all disks since the host booted
    tell(
        "BLKGETDISKSEQ is that of sysfs",
        lambda: int.from_bytes(ioctl(0x80081280, bytes(8)), "little") == int(sequence.read_text()),
    )
    zero = 0x127F
    tell("BLKZEROOUT, conventional", lambda: ioctl(zero, zones(0, BLOCK)))
    tell("BLKZEROOUT at the pointer", lambda: ioctl(zero, zones(2 * ZONE + BLOCK, BLOCK)))
    tell("BLKZEROOUT not at the pointer", lambda: ioctl(zero, zones(2 * ZONE, BLOCK)))
    tell("BLKZEROOUT, misaligned", lambda: ioctl(zero, zones(1, 512)))
    tell("BLKZEROOUT behind the end", lambda: ioctl(zero, zones(SIZE, BLOCK)))
    tell("BLKZEROOUT of nothing", lambda: ioctl(zero, zones(0, 0)))


def positions() -> None:
    for name, at, whence in (
        ("end", 0, os.SEEK_END),
        ("behind the end", SIZE + 5, os.SEEK_SET),
        ("negative", -1, os.SEEK_SET),
        ("data", BLOCK + 1, os.SEEK_DATA),
        ("hole", BLOCK + 1, os.SEEK_HOLE),
        ("nonsense", 0, 9),
    ):
        tell(f"seek: {name}", lambda: os.lseek(device, at, whence))
    appending = opened(os.O_APPEND | os.O_DIRECT)
    tell("O_APPEND is no append", lambda: os.writev(appending, [memoryview(BUFFER)[:BLOCK]]))
    tell("where that ended", lambda: os.lseek(appending, 0, os.SEEK_CUR))


def allocate(mode: int, at: int, length: int) -> int:
    if libc.fallocate(device, mode, ctypes.c_long(at), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), "")
    return 0


def space() -> None:
    tell("ftruncate", lambda: os.ftruncate(device, 5))
    tell("posix_fallocate", lambda: os.posix_fallocate(device, 0, BLOCK))
    for mode in (0, 1, 2, 3, 16, 17, 18, 7, 8):
        for where, at, length in (
            ("a block", 0, BLOCK),
            ("misaligned", 1, BLOCK),
            ("the end", SIZE, BLOCK),
            ("over the end", SIZE - BLOCK, 2 * BLOCK),
            ("a written zone", 2 * ZONE, BLOCK),
        ):
            tell(f"fallocate {mode}: {where}", lambda: allocate(mode, at, length))


def opening() -> None:
    holder = opened(os.O_EXCL, os.O_RDONLY)
    tell("O_EXCL while somebody holds it", lambda: opened(os.O_EXCL))
    tell("an ordinary open meanwhile", lambda: os.close(opened()))
    os.close(holder)
    tell("O_EXCL again", lambda: os.close(opened(os.O_EXCL)))
    tell("O_DIRECTORY", lambda: opened(os.O_DIRECTORY, os.O_RDONLY))
    tell("O_CREAT and O_EXCL", lambda: opened(os.O_CREAT | os.O_EXCL))
    tell("O_CREAT", lambda: os.close(opened(os.O_CREAT)))
    tell("O_CREAT and O_DIRECTORY", lambda: opened(os.O_CREAT | os.O_DIRECTORY))
    tell("O_TRUNC", lambda: os.close(opened(os.O_TRUNC)))
    tell("O_TMPFILE", lambda: opened(os.O_TMPFILE))
    tell("a slash behind it", lambda: os.open(DEVICE + "/", os.O_RDWR))
    tell("a name below it", lambda: os.open(DEVICE + "/x", os.O_RDWR))
    tell("O_PATH and O_DIRECTORY", lambda: opened(os.O_PATH | os.O_DIRECTORY, os.O_RDONLY))
    tell("O_PATH, O_CREAT and O_EXCL", lambda: os.close(opened(os.O_PATH | os.O_CREAT | os.O_EXCL)))
    flags = os.O_CREAT | os.O_TRUNC
    tell("flags of creation", lambda: hex(fcntl.fcntl(opened(flags), fcntl.F_GETFL)))
    tell("stat with a slash behind it", lambda: os.stat(DEVICE + "/"))
    tell("stat below it", lambda: os.stat(DEVICE + "/x"))
    tell("listed", lambda: os.listdir(DEVICE))
    tell("a folder to work in", lambda: os.chdir(DEVICE))
    for name, mode in (("mode 3", 3), ("O_PATH", os.O_PATH)):
        fd = os.open(DEVICE, mode)
        tell(f"{name}: read", lambda: os.read(fd, 1))
        tell(f"{name}: ioctl", lambda: ioctl(0x80081272, bytes(8), fd))
    tell("flags", lambda: hex(fcntl.fcntl(opened(os.O_APPEND | os.O_DIRECT), fcntl.F_GETFL)))
    tell("kind of file", lambda: hex(os.fstat(device).st_mode & 0o170000))
    tell("its size", lambda: os.fstat(device).st_size)


def names() -> None:
    """What changes nothing, whatever becomes of it."""
    with tempfile.TemporaryFile() as file:
        fd = file.fileno()
        tell("FICLONE of what is elsewhere", lambda: bare(FICLONE, fd))
    tell("FICLONE of itself", lambda: bare(FICLONE, device))
    tell("FICLONE of nothing", lambda: bare(FICLONE, 999))
    tell("truncate", lambda: os.truncate(DEVICE, 0))
    tell("mkdir", lambda: os.mkdir(DEVICE))
    tell("symlink", lambda: os.symlink("x", DEVICE))
    tell("rmdir", lambda: os.rmdir(DEVICE))
    tell("link elsewhere", lambda: os.link(DEVICE, "/tmp/zoned-link"))
    tell("link onto it", lambda: os.link("/dev/null", DEVICE))
    tell("times", lambda: os.utime(DEVICE, (1, 1)))
    tell("and what they are then", lambda: os.stat(DEVICE).st_mtime)
    tell("times of a descriptor", lambda: os.utime(device))


def flags_of_calls() -> None:
    tell("preadv2 RWF_NOWAIT", lambda: read(0, flags=0, rwf=8))
    tell("preadv2 RWF_HIPRI", lambda: read(0, rwf=1))
    tell("preadv2 RWF_APPEND", lambda: read(0, rwf=0x10))
    tell("preadv2, an unknown flag", lambda: read(0, flags=0, rwf=0x4000))
    tell("pwritev2 RWF_NOWAIT, buffered", lambda: write(0, flags=0, rwf=8))
    tell("pwritev2 RWF_APPEND", lambda: write(0, rwf=0x10))
    tell("pwritev2 RWF_ATOMIC", lambda: write(0, rwf=0x40))
    tell("pwritev2 RWF_NOAPPEND", lambda: write(0, rwf=0x20))
    tell("pwritev2 RWF_DSYNC", lambda: write(0, rwf=2))
    tell("copy_file_range", lambda: os.copy_file_range(device, device, BLOCK, 0, 2 * BLOCK))
    with open("/dev/null", "r+b") as null:
        tell("sendfile", lambda: os.sendfile(null.fileno(), device, 0, BLOCK))
    tell("flock", lambda: fcntl.flock(device, fcntl.LOCK_EX))
    tell("lockf", lambda: fcntl.lockf(device, fcntl.LOCK_EX))
    tell("F_GETPIPE_SZ", lambda: fcntl.fcntl(device, 1032))
    tell("fsync of a reader", lambda: os.fsync(opened(0, os.O_RDONLY)))
    fcntl.fcntl(device, fcntl.F_SETFL, os.O_DIRECT)
    tell("O_DIRECT by fcntl", lambda: os.pread(device, 100, 0))
    tell("and its flags", lambda: hex(fcntl.fcntl(device, fcntl.F_GETFL)))


device = opened()
reads_and_writes()
writes_behind_a_failure()
zone_commands()
other_ioctls()
positions()
space()
opening()
names()
flags_of_calls()
