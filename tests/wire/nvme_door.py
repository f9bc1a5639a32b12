"""An NVMe host of a few lines, and what the executor answered."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import core
from wire import doors
from wire.doors import KIB, DiskDoor, Library, c_fields

EVERY = 0xFFFFFFFF
ZNS, NVM = 1, 2
"""The namespaces of a door."""


class Code(IntEnum):
    """Status code type and status code of a command that has ended."""

    SUCCESS = 0x0
    INVALID_OPCODE = 0x1
    INVALID_FIELD = 0x2
    INTERNAL = 0x6
    ABORTED = 0x7
    DELETED = 0x8
    NO_NAMESPACE = 0xB
    SEQUENCE = 0xC
    LENGTH = 0xF
    PROTECTED = 0x20
    LBA_RANGE = 0x80
    BOUNDARY = 0x1B8
    FULL = 0x1B9
    READ_ONLY = 0x1BA
    OFFLINE = 0x1BB
    INVALID_WRITE = 0x1BC
    TOO_MANY_ACTIVE = 0x1BD
    TOO_MANY_OPEN = 0x1BE
    TRANSITION = 0x1BF


class Status:
    """Of a command that has ended: ``raw``, without the phase."""

    raw: int

    @property
    def status(self) -> int:
        """Status code type and status code."""
        return self.raw & 0x7FF

    @property
    def final(self) -> bool:
        """Whether the host shall not retry."""
        return bool(self.raw & 1 << 14)


class Answer(Status, ctypes.Structure):
    """What came back; ``data`` is what was put into the room, and nothing behind it changed."""

    _fields_ = c_fields("uint32_t raw, ended; uint64_t result, in_length")
    raw: int
    result: int
    in_length: int
    data: bytes

    @property
    def more(self) -> bool:
        return bool(self.raw & 1 << 13)

    def number(self, at: int, size: int) -> int:
        """Of its data, in NVMe's byte order."""
        return int.from_bytes(self.data[at : at + size], "little")


@dataclass
class Shape(doors.Shape):
    """20 sequential zones of 1 MiB behind 4 conventional ones, blocks of 4 KiB; bytes."""

    zone_capacity: int = 768 * KIB
    append_limit: int = 128 * KIB
    max_open: int = 3
    max_active: int = 5
    dialect: int = 1


def built(out: Path) -> Library:
    """The shared object, made in a folder."""
    return Library(core.made("nvme-door.so", out), "nvme_open", "nvme_give")


def entry(opcode: int, nsid: int = 0, cid: int = 0, flags: int = 0, **dwords: int) -> bytes:
    """A submission queue entry: ``d10=`` to ``d15=``."""
    sqe = bytearray(64)
    sqe[0], sqe[1] = opcode, flags
    sqe[2:4] = cid.to_bytes(2, "little")
    sqe[4:8] = nsid.to_bytes(4, "little")
    for name, value in dwords.items():
        at = 4 * int(name[1:])
        sqe[at : at + 4] = value.to_bytes(4, "little")
    return bytes(sqe)


def at(opcode: int, nsid: int, slba: int, d12: int = 0, d13: int = 0, cid: int = 0) -> bytes:
    """One that is addressed to an LBA."""
    return entry(opcode, nsid, cid, d10=slba & EVERY, d11=slba >> 32, d12=d12, d13=d13)


@dataclass
class Given(doors.Given[Answer]):
    """A command."""

    def look(self) -> tuple[int, Answer]:
        """How often it has ended, and its answer if it has."""
        answer = Answer()
        return int(self.library.nvme_given(self.handle, ctypes.byref(answer))), answer

    def cancel(self) -> None:
        self.library.nvme_cancel(self.handle)


@dataclass
class NvmeDoor(DiskDoor[Answer]):
    def __post_init__(self) -> None:
        code, text = ctypes.c_int(), ctypes.create_string_buffer(256)
        shape = self.shape.in_c()
        self.handle = ctypes.c_void_p(
            self.library.nvme_open(ctypes.byref(shape), ctypes.byref(code), text, 256)
        )
        self.code, self.text = code.value, text.value.decode()

    @property
    def block(self) -> int:
        return self.shape.logical_block

    @property
    def capacity(self) -> int:
        """Blocks that a zone takes."""
        return (self.shape.zone_capacity or self.shape.zone_size) // self.block

    def send(
        self,
        sqe: bytes,
        out: bytes = b"",
        room: int = 0,
        *,
        cut: int = 1 << 40,
        host: int = 0,
        queue: int = 1,
    ) -> Answer:
        """Hand over a command. ``cut``: the length of the first two of three buffers."""
        answer = Answer()
        self.exchange(self.library.nvme_exec, answer, host, queue, sqe, out=out, room=room, cut=cut)
        return answer

    def admin(self, sqe: bytes, out: bytes = b"", room: int = 0, *, host: int = 0) -> Answer:
        return self.send(sqe, out, room, host=host, queue=0)

    def give(
        self, sqe: bytes, out: bytes = b"", room: int = 0, *, host: int = 0, queue: int = 1
    ) -> Given:
        """Hand over a command and do not wait for it."""
        handle = self.library.nvme_give(
            self.handle, host, queue, sqe, out, ctypes.c_uint64(len(out)), ctypes.c_uint64(room)
        )
        self.given.append(Given(self.library, ctypes.c_void_p(handle)))
        return self.given[-1]

    def connect(self, host: int) -> None:
        assert self.library.nvme_connect(self.handle, host) == 0

    def transfer(self, sqe: bytes, queue: int = 1) -> tuple[int, int]:
        out, into = ctypes.c_uint64(), ctypes.c_uint64()
        self.library.nvme_transfer(
            self.handle, 0, queue, sqe, ctypes.byref(out), ctypes.byref(into)
        )
        return out.value, into.value

    # ------------------------------------------------------------ commands

    def write(
        self, slba: int, blocks: int, fill: int = 0x5A, nsid: int = ZNS, **more: int
    ) -> Answer:
        data = bytes([fill]) * blocks * self.block
        return self.send(at(0x01, nsid, slba, blocks - 1), data, **more)

    def read(self, slba: int, blocks: int, nsid: int = ZNS, **more: int) -> Answer:
        return self.send(at(0x02, nsid, slba, blocks - 1), room=blocks * self.block, **more)

    def append(self, slba: int, blocks: int, nsid: int = ZNS, d12: int = 0) -> Answer:
        data = b"a" * blocks * self.block
        return self.send(at(0x7D, nsid, slba, blocks - 1 | d12), data)

    def copy(
        self, slba: int, *extents: tuple[int, int], nsid: int = ZNS, form: int = 0, d12: int = 0
    ) -> Answer:
        """COPY of extents (first block, blocks), with a list of the first format or the second."""
        size = 40 if form == 1 else 32
        listed = b"".join(
            (bytes(8) + first.to_bytes(8, "little") + (blocks - 1).to_bytes(2, "little")).ljust(
                size, b"\0"
            )
            for first, blocks in extents
        )
        return self.send(at(0x19, nsid, slba, len(extents) - 1 | form << 8 | d12), listed)

    def spoil(self, slba: int, blocks: int, nsid: int = ZNS) -> Answer:
        """WRITE UNCORRECTABLE."""
        return self.send(at(0x04, nsid, slba, blocks - 1))

    def zone(self, action: int, zone: int = 0, *, every: bool = False, nsid: int = ZNS) -> Answer:
        """ZONE MANAGEMENT SEND."""
        return self.send(at(0x79, nsid, zone * self.zone_blocks, d13=action | every << 8))

    def zones(
        self, slba: int = 0, option: int = 0, *, partial: bool = False, room: int = 4096
    ) -> Answer:
        """ZONE MANAGEMENT RECEIVE."""
        sqe = at(0x7A, ZNS, slba, room // 4 - 1, option << 8 | partial << 16)
        return self.send(sqe, room=room)

    def conditions(self) -> list[int]:
        """Of the zones of the zoned namespace."""
        report = self.zones(room=64 * 64)
        return [report.data[65 + 64 * i] >> 4 for i in range(report.number(0, 8))]

    def identify(self, cns: int, nsid: int = 0, csi: int = 0, control: int = 0) -> Answer:
        return self.admin(entry(0x06, nsid, d10=cns | control << 16, d11=csi << 24), room=4096)

    def log(
        self,
        page: int,
        room: int,
        nsid: int = EVERY,
        *,
        keep: bool = False,
        offset: int = 0,
        csi: int = 0,
    ) -> Answer:
        words = room // 4 - 1
        return self.admin(
            entry(
                0x02,
                nsid,
                d10=page | keep << 15 | (words & 0xFFFF) << 16,
                d11=words >> 16,
                d12=offset & EVERY,
                d13=offset >> 32,
                d14=csi << 24,
            ),
            room=room,
        )

    def set_feature(self, feature: int, word: int = 0, out: bytes = b"", nsid: int = 0) -> Answer:
        return self.admin(entry(0x09, nsid, d10=feature, d11=word), out)

    def get_feature(self, feature: int, select: int = 0, room: int = 0, nsid: int = 0) -> Answer:
        return self.admin(entry(0x0A, nsid, d10=feature | select << 8), room=room)

    def event(self, cid: int = 0, host: int = 0) -> Given:
        """An ASYNCHRONOUS EVENT REQUEST."""
        return self.give(entry(0x0C, cid=cid), host=host, queue=0)

    # ------------------------------------------------------------ what others do

    def fault(
        self, kind: int, command: int, start: int = 0, end: int = 0, zone: int = EVERY, ns: int = 0
    ) -> None:
        assert (
            self.library.nvme_fault(
                self.handle,
                kind,
                command,
                ctypes.c_uint64(start),
                ctypes.c_uint64(end),
                ctypes.c_uint32(zone),
                ctypes.c_uint64(ns),
            )
            == 0
        )

    def condition(self, zone: int, condition: int) -> None:
        """Another opener sets the condition of a zone of the zoned namespace."""
        self.set_condition(zone + self.shape.nr_conv, condition)
