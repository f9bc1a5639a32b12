"""ioctl() of NVMe on a zoned namespace and its controller, one after the other, and what each gives: a line a call.

Arguments: the namespace's block node and the controller's character node. Under Linux 6.12 with
QEMU's emulated ZNS drive (data/nvme-calls.txt was captured so: 64 MiB, zones of 4 MiB, blocks of 4,096, max_open 4, max_active
6), and by ``zonedctl run`` on an emulated disk of the same kind. Uses the standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

BLOCK, SIZE, OWN = 4096, 64 << 20, 0x6000
ZONE = (4 << 20) // BLOCK
MEMORY = mmap.mmap(-1, 16 << 20)
AT = ctypes.addressof(ctypes.c_char.from_buffer(MEMORY))
NOWHERE = 1 << 46
NODE = [-1]
"""The descriptor through which all go."""
libc = ctypes.CDLL(None, use_errno=True)


def code(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("N") << 8 | number


ID, RESET, SUBSYSTEM_RESET, RESCAN = (code(0, number, 0) for number in (0x40, 0x44, 0x45, 0x46))
ADMIN, IO, SUBMIT = code(3, 0x41, 72), code(3, 0x43, 72), code(1, 0x42, 48)
ADMIN64, IO64, VECTORED = (code(3, number, 80) for number in (0x47, 0x48, 0x49))
FLUSH, WRITE, READ, COMPARE, ZEROES, DATASET, VERIFY, SEND, RECEIVE, APPEND = (
    *(0x00, 0x01, 0x02, 0x05, 0x08, 0x09, 0x0C),
    *(0x79, 0x7A, 0x7D),
)
GET_LOG, IDENTIFY, SET_FEATURES, GET_FEATURES = 0x02, 0x06, 0x09, 0x0A


def passed(
    opcode: int,
    *words: int,
    nsid: int = 1,
    at: int = 0,
    length: int = 0,
    flags: int = 0,
    metadata: tuple[int, int] = (0, 0),
    wide: bool = False,
) -> ctypes.Array[ctypes.c_char]:
    """struct nvme_passthru_cmd, or (wide) nvme_passthru_cmd64; words: command dwords 10 and on."""
    six = [*words, *[0] * (6 - len(words))]
    head = struct.pack("<BBHI8xQQII", opcode, flags, 0, nsid, metadata[0], at, metadata[1], length)
    tail = struct.pack("<IIQ", 0, 0, 2**64 - 1) if wide else struct.pack("<II", 0, 2**32 - 1)
    return ctypes.create_string_buffer(head + struct.pack("<6I", *six) + tail, 80 if wide else 72)


def user_io(
    opcode: int,
    slba: int = 0,
    blocks: int = 1,
    at: int = AT,
    flags: int = 0,
    control: int = 0,
    metadata: int = 0,
) -> ctypes.Array[ctypes.c_char]:
    """struct nvme_user_io."""
    raw = struct.pack(
        "<BBHHHQQQIIHH", opcode, flags, control, blocks - 1, 0, metadata, at, slba, 0, 0, 0, 0
    )
    return ctypes.create_string_buffer(raw, 48)


def vector(*pieces: tuple[int, int]) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(b"".join(struct.pack("<QQ", *piece) for piece in pieces))


def tell(name: str, request: int, argument: ctypes.Array[ctypes.c_char] | int = 0) -> None:
    """A line: errno or the status (whether to try again, and whether the log says more, is the drive's own affair), and the result."""
    given = (
        ctypes.c_void_p(argument)
        if isinstance(argument, int)
        else ctypes.c_void_p(ctypes.addressof(argument))
    )
    status = libc.ioctl(NODE[0], ctypes.c_ulong(request), given)
    said = errno.errorcode[ctypes.get_errno()] if status < 0 else f"{status & ~OWN:#x}"
    result = ""
    if not isinstance(argument, int) and len(argument) in (72, 80):
        (value,) = struct.unpack_from(
            "<I" if len(argument) == 72 else "<Q", argument.raw, 68 if len(argument) == 72 else 72
        )
        result = f", result {value:#x}" if value not in (2**32 - 1, 2**64 - 1) else ", no result"
    print(f"{name}: {said}{result}")


def told(name: str, call: Callable[[], object]) -> None:
    try:
        print(f"{name}: {call()}")
    except OSError as error:
        print(f"{name}: {errno.errorcode[error.errno or 0]}")


def arguments() -> None:
    for name, request in (
        ("ADMIN_CMD", ADMIN),
        ("IO_CMD", IO),
        ("ADMIN64_CMD", ADMIN64),
        ("IO64_CMD", IO64),
        ("IO64_CMD_VEC", VECTORED),
        ("SUBMIT_IO", SUBMIT),
        ("ID", ID),
        ("SUBSYS_RESET", SUBSYSTEM_RESET),
        ("RESCAN", RESCAN),
        ("unknown", code(0, 0x77, 0)),
        ("ADMIN_CMD of another length", code(3, 0x41, 80)),
        ("SED_OPAL", 0x401070DC),
        ("SG_IO", 0x2285),
        ("SG_GET_VERSION_NUM", 0x2282),
    ):
        tell(f"{name} of NULL", request)
        tell(f"{name} of an address that is none", request, 8)


def admin() -> None:
    page = {"nsid": 0, "at": AT, "length": BLOCK}
    tell("IDENTIFY", ADMIN, passed(IDENTIFY, 1, **page))
    print("and the model is there:", MEMORY[24:64].strip() != b"")
    tell("IDENTIFY, 64 bits", ADMIN64, passed(IDENTIFY, 1, **page, wide=True))
    tell("IDENTIFY, a longer buffer", ADMIN, passed(IDENTIFY, 1, nsid=0, at=AT, length=2 * BLOCK))
    tell("IDENTIFY, an odd buffer", ADMIN, passed(IDENTIFY, 1, nsid=0, at=AT + 1, length=BLOCK))
    for at in (8, BLOCK, NOWHERE):
        tell(f"IDENTIFY into {at:#x}", ADMIN, passed(IDENTIFY, 1, nsid=0, at=at, length=BLOCK))
    tell("IDENTIFY of what there is not", ADMIN, passed(IDENTIFY, 0x77, **page))
    tell("IDENTIFY with flags", ADMIN, passed(IDENTIFY, 1, **page, flags=1))
    tell("IDENTIFY with metadata", ADMIN, passed(IDENTIFY, 1, **page, metadata=(AT, 8)))
    tell("IDENTIFY, metadata of no length", ADMIN, passed(IDENTIFY, 1, **page, metadata=(AT, 0)))
    tell("an opcode that there is not", ADMIN, passed(0x33))
    tell("an opcode of nobody", ADMIN, passed(0xC3))
    tell("SET FEATURES", ADMIN, passed(SET_FEATURES, 0x04, 300, nsid=0))
    tell("GET FEATURES", ADMIN, passed(GET_FEATURES, 0x04, nsid=0))
    tell("GET FEATURES, 64 bits", ADMIN64, passed(GET_FEATURES, 0x04, nsid=0, wide=True))
    tell("GET LOG PAGE", ADMIN, passed(GET_LOG, 127 << 16 | 2, nsid=0xFFFFFFFF, at=AT, length=512))


def namespace() -> None:
    for nsid in (0, 2, 2**32 - 1):
        tell(f"FLUSH of namespace {nsid:#x}", IO, passed(FLUSH, nsid=nsid))
    tell("FLUSH", IO, passed(FLUSH))
    tell("FLUSH, 64 bits", IO64, passed(FLUSH, wide=True))
    tell("FLUSH with flags", IO, passed(FLUSH, flags=0x40))
    tell("an opcode that there is not", IO, passed(0x73))
    one = {"at": AT, "length": BLOCK}
    tell("READ", IO, passed(READ, **one))
    tell("READ, 64 bits", IO64, passed(READ, **one, wide=True))
    tell("READ into nowhere", IO, passed(READ, at=NOWHERE, length=BLOCK))
    tell("READ behind the end", IO, passed(READ, SIZE // BLOCK, **one))
    tell("READ of the largest address", IO, passed(READ, 2**32 - 1, 2**32 - 1, **one))
    tell("READ with metadata", IO, passed(READ, **one, metadata=(AT, 8)))
    tell(
        "READ of all that a command moves",
        IO,
        passed(READ, 0, 0, most // BLOCK - 1, at=AT, length=most),
    )
    tell("READ, a buffer beyond that", IO, passed(READ, at=AT, length=most + 512))
    tell("READ, a buffer of everything", IO, passed(READ, at=AT, length=2**32 - 1))
    tell("WRITE from nowhere", IO, passed(WRITE, at=NOWHERE, length=BLOCK))
    MEMORY[0:BLOCK] = bytes(range(256)) * 16
    tell("WRITE", IO, passed(WRITE, **one))
    tell("WRITE again", IO, passed(WRITE, **one))
    MEMORY[BLOCK : 2 * BLOCK] = MEMORY[0:BLOCK]
    tell("WRITE from an odd buffer", IO, passed(WRITE, 1, at=AT + BLOCK, length=BLOCK))
    tell("COMPARE", IO, passed(COMPARE, **one))
    MEMORY[2 * BLOCK : 3 * BLOCK] = bytes(BLOCK)
    tell("COMPARE with what is not there", IO, passed(COMPARE, at=AT + 2 * BLOCK, length=BLOCK))
    tell("VERIFY", IO, passed(VERIFY))
    tell("WRITE ZEROES", IO, passed(ZEROES, 2))
    tell("WRITE ZEROES elsewhere", IO, passed(ZEROES, 0))
    tell("DATASET MANAGEMENT", IO, passed(DATASET, 0, 4, at=AT + 2 * BLOCK, length=BLOCK))
    tell("APPEND", IO, passed(APPEND, **one))
    tell("APPEND, 64 bits", IO64, passed(APPEND, **one, wide=True))
    tell("APPEND within a zone", IO, passed(APPEND, 1, **one))
    MEMORY[0:BLOCK] = bytes(BLOCK)
    tell("READ of it", IO, passed(READ, 3, **one))
    print("and it is what was appended:", MEMORY[0:BLOCK] == bytes(range(256)) * 16)


def zones() -> None:
    for name, action in (("open", 3), ("close", 1), ("finish", 2), ("reset", 4), ("offline", 5)):
        tell(f"{name} of a zone", IO, passed(SEND, ZONE, 0, 0, action))
    tell("nothing of a zone", IO, passed(SEND, ZONE, 0, 0, 0x70))
    tell("reset of an address within a zone", IO, passed(SEND, ZONE + 1, 0, 0, 4))
    tell("reset behind the end", IO, passed(SEND, SIZE // BLOCK, 0, 0, 4))
    for zone in range(5):
        tell(f"open of zone {zone}", IO, passed(SEND, zone * ZONE, 0, 0, 3))
    tell("reset of all", IO, passed(SEND, 0, 0, 0, 0x104))
    tell("a report", IO, passed(RECEIVE, 0, 0, 1023, 0, at=AT, length=BLOCK))
    print("of", *struct.unpack_from("<Q", MEMORY), "zones:", MEMORY[64 : 64 + 32].hex())
    tell("a report of full zones", IO, passed(RECEIVE, 0, 0, 1023, 0x500, at=AT, length=BLOCK))
    print("of", *struct.unpack_from("<Q", MEMORY), "zones")


def pieces() -> None:
    def read(name: str, list_: ctypes.Array[ctypes.c_char] | int, count: int) -> None:
        at = list_ if isinstance(list_, int) else ctypes.addressof(list_)
        tell(name, VECTORED, passed(READ, at=at, length=count, wide=True))

    half = BLOCK // 2
    read("READ into two pieces", vector((AT, half), (AT + BLOCK, half)), 2)
    read("READ into two pieces, one empty", vector((AT, BLOCK), (AT + BLOCK, 0)), 2)
    read("READ into more pieces than there may be", vector((AT, half), (AT, half)), 1025)
    read("READ into pieces told of nowhere", 8, 2)
    read("READ into a negative piece", vector((AT, half), (AT, 1 << 63)), 2)
    read("READ into pieces that are too long", vector((AT, most), (AT, BLOCK)), 2)
    tell("IO64_CMD_VEC with flags", VECTORED, passed(FLUSH, flags=1, wide=True))
    tell(
        "WRITE of two pieces",
        VECTORED,
        passed(WRITE, 2 * ZONE, at=ctypes.addressof(TWO), length=2, wide=True),
    )
    tell(
        "APPEND of two pieces",
        VECTORED,
        passed(APPEND, 2 * ZONE, at=ctypes.addressof(TWO), length=2, wide=True),
    )


def submitted() -> None:
    tell("SUBMIT_IO: READ", SUBMIT, user_io(READ))
    tell("SUBMIT_IO: READ of two", SUBMIT, user_io(READ, blocks=2))
    tell("SUBMIT_IO: WRITE not at the pointer", SUBMIT, user_io(WRITE, 4 * ZONE + 1))
    tell("SUBMIT_IO: WRITE", SUBMIT, user_io(WRITE, 4 * ZONE))
    tell("SUBMIT_IO: COMPARE", SUBMIT, user_io(COMPARE, 4 * ZONE))
    tell("SUBMIT_IO: FLUSH", SUBMIT, user_io(FLUSH))
    tell("SUBMIT_IO with flags", SUBMIT, user_io(READ, flags=1))
    tell("SUBMIT_IO into nowhere", SUBMIT, user_io(READ, at=NOWHERE))
    tell("SUBMIT_IO with metadata", SUBMIT, user_io(READ, metadata=AT))
    tell("SUBMIT_IO of more than a command moves", SUBMIT, user_io(READ, blocks=65536))


def as_a_file() -> None:
    told("read", lambda: len(os.read(NODE[0], 1)))
    told("pread", lambda: len(os.pread(NODE[0], 1, 0)))
    told("seek", lambda: os.lseek(NODE[0], 0, os.SEEK_END))
    told("fsync", lambda: os.fsync(NODE[0]))


def through(path: str, parts: Sequence[Callable[[], None]]) -> None:
    NODE[0] = os.open(path, os.O_RDONLY)
    for part in parts:
        print(f"--- {part.__name__}")
        part()
    os.close(NODE[0])


TWO = vector((AT, BLOCK // 2), (AT + BLOCK, BLOCK // 2))
block, controller = sys.argv[1:3]
most = int(Path(f"/sys/block/{Path(block).name}/queue/max_hw_sectors_kb").read_text()) * 1024
through(block, [arguments, admin, namespace, zones, pieces, submitted, as_a_file])
NODE[0] = os.open(block, os.O_RDONLY)
tell("reset of all", IO, passed(SEND, 0, 0, 0, 0x104))
print("--- and by the controller")
through(controller, [arguments, admin, namespace, zones, pieces, submitted, as_a_file])
NODE[0] = os.open(controller, os.O_RDONLY)
tell("RESET", RESET)
tell("IDENTIFY after it", ADMIN, passed(IDENTIFY, 1, nsid=0, at=AT, length=BLOCK))
