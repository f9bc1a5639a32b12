"""A SCSI initiator of a few lines: CDBs by name, and what the executor answered."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from pathlib import Path

import core
from waiting import until

KIB = 1024
GOOD, CHECK, BUSY, CONFLICT, ABORTED = 0x00, 0x02, 0x08, 0x18, 0x40
LUN0 = bytes(8)


class Answer(ctypes.Structure):
    """What came back; ``data`` is what was put into the room, and nothing behind it changed."""

    _fields_ = (
        ("status", ctypes.c_uint32),
        ("sense_length", ctypes.c_uint32),
        ("unanswered", ctypes.c_uint32),
        ("_zero", ctypes.c_uint32),
        ("in_length", ctypes.c_uint64),
        ("residual_in", ctypes.c_int64),
        ("residual_out", ctypes.c_int64),
        ("_sense", ctypes.c_uint8 * 64),
    )
    status: int
    sense_length: int
    unanswered: int
    in_length: int
    residual_in: int
    residual_out: int
    data: bytes

    @property
    def sense(self) -> bytes:
        return bytes(self._sense)[: self.sense_length]

    @property
    def codes(self) -> tuple[int, int, int]:
        """Sense key, ASC, ASCQ of either format; zeros without sense."""
        sense = self.sense
        if not sense:
            return (0, 0, 0)
        if sense[0] & 0x7F >= 0x72:
            return (sense[1] & 15, sense[2], sense[3])
        return (sense[2] & 15, sense[12], sense[13])

    @property
    def sense_key(self) -> int:
        return self.codes[0]

    @property
    def information(self) -> int | None:
        """Of fixed sense data; None where it is not valid."""
        return int.from_bytes(self.sense[3:7], "big") if self.sense[0] & 0x80 else None

    @property
    def field(self) -> tuple[int, int] | None:
        """Byte and bit that a field pointer of fixed sense data names; bit -1: the byte."""
        sense = self.sense
        if not sense[15] & 0x80:
            return None
        return int.from_bytes(sense[16:18], "big"), sense[15] & 7 if sense[15] & 8 else -1


@dataclass
class Shape:
    """24 zones of 1 MiB, 4 of them conventional, blocks of 4 KiB; bytes."""

    size: int = 24 * 1024 * KIB
    zone_size: int = 1024 * KIB
    zone_capacity: int = 0
    logical_block: int = 4096
    physical_block: int = 4096
    max_open: int = 6
    nr_conv: int = 4
    model: int = 0
    unrestricted_read: int = 1
    dialect: int = 0


class CShape(ctypes.Structure):
    """``struct shape`` of door.c."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("size", "zone_size", "zone_capacity")),
        *(
            (name, ctypes.c_uint32)
            for name in (
                "logical_block",
                "physical_block",
                "max_open",
                "nr_conv",
                "model",
                "unrestricted_read",
                "dialect",
            )
        ),
    )


class Library(ctypes.CDLL):
    """door.c with the executor and the disk."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.door_open.restype = ctypes.c_void_p
        self.door_give.restype = ctypes.c_void_p


def built(out: Path) -> Library:
    """The shared object, made in a folder; ``ZONED_SCSI_DOOR`` names one that is there already."""
    given = os.environ.get("ZONED_SCSI_DOOR")
    return Library(given or str(core.made("scsi-door.so", out)))


@dataclass
class Given:
    """A task that was handed over and may not have ended."""

    library: Library
    handle: ctypes.c_void_p
    room: int

    def look(self) -> tuple[int, Answer]:
        """How often it has ended, and its answer if it has."""
        answer, data = Answer(), ctypes.create_string_buffer(self.room)
        times = self.library.door_given(
            self.handle, ctypes.byref(answer), data, ctypes.c_uint64(self.room)
        )
        answer.data = data.raw[: answer.in_length]
        return times, answer

    @property
    def ended(self) -> bool:
        return self.look()[0] > 0

    @property
    def answer(self) -> Answer:
        times, answer = self.look()
        assert times == 1
        return answer


@dataclass
class Door:
    library: Library
    shape: Shape
    handle: ctypes.c_void_p | None = None
    room: int = field(default=1 << 16)
    tasks: list[Given] = field(default_factory=list)

    def __post_init__(self) -> None:
        code = ctypes.c_int()
        shape = CShape(**vars(self.shape))
        self.handle = ctypes.c_void_p(
            self.library.door_open(ctypes.byref(shape), ctypes.byref(code))
        )
        self.code = code.value

    def close(self) -> None:
        if self.handle:
            self.library.door_close(self.handle)
            self.handle = None
        for task in self.tasks:
            assert task.ended
            self.library.door_forget(task.handle)
        self.tasks.clear()

    @property
    def blocks(self) -> int:
        return self.shape.size // self.shape.logical_block

    @property
    def zone_blocks(self) -> int:
        return self.shape.zone_size // self.shape.logical_block

    def login(self, index: int, name: str | None = None) -> None:
        name = name or f"iqn.2026-01.test:host{index}"
        assert self.library.door_login(self.handle, index, name.encode()) == 0

    def logout(self, index: int) -> None:
        self.library.door_logout(self.handle, index)

    def reset(self, index: int, lun: bytes | None = LUN0) -> int:
        return int(self.library.door_reset(self.handle, index, lun))

    def send(
        self,
        cdb: bytes,
        out: bytes = b"",
        room: int | None = None,
        *,
        nexus: int = 0,
        lun: bytes = LUN0,
        cut: int = 1 << 40,
    ) -> Answer:
        """Hand over a task. ``cut``: where each buffer is cut in two."""
        answer = Answer()
        size = (0 if out else self.room) if room is None else room
        into = ctypes.create_string_buffer(b"\xa5" * (size + 64), size + 64)
        self.library.door_exec(
            self.handle,
            nexus,
            lun,
            cdb,
            len(cdb),
            out,
            ctypes.c_uint64(len(out)),
            into,
            ctypes.c_uint64(size),
            ctypes.c_uint64(cut),
            ctypes.byref(answer),
        )
        assert answer.in_length <= size
        assert into.raw[answer.in_length :] == b"\xa5" * (size + 64 - answer.in_length)
        answer.data = into.raw[: answer.in_length]
        return answer

    def give(
        self,
        cdb: bytes,
        out: bytes = b"",
        room: int = 0,
        *,
        tag: int = 0,
        nexus: int = 0,
        lun: bytes = LUN0,
    ) -> Given:
        """Hand over a task and do not wait for it."""
        handle = self.library.door_give(
            self.handle,
            nexus,
            lun,
            cdb,
            len(cdb),
            ctypes.c_uint64(tag),
            out,
            ctypes.c_uint64(len(out)),
            ctypes.c_uint64(room),
        )
        self.tasks.append(Given(self.library, ctypes.c_void_p(handle), room))
        return self.tasks[-1]

    def manage(self, function: int, tag: int = 0, *, nexus: int = 0, lun: bytes = LUN0) -> int:
        return int(
            self.library.door_manage(self.handle, nexus, function, lun, ctypes.c_uint64(tag))
        )

    def hold(self, command: int, *, late: bool = False, ns: int = 0) -> None:
        """Reads (0) or writes (1) hang, or come late, from now on."""
        assert self.library.door_hold(self.handle, command, late, ctypes.c_uint64(ns)) == 0

    def hanging(self, commands: int) -> None:
        until(lambda: self.library.door_hanging(self.handle) == commands, f"{commands} hang")

    def condition(self, zone: int, condition: int) -> None:
        """Another opener sets a zone's condition; the first initiator has been told."""
        assert self.library.door_condition(self.handle, zone, condition) == 0
        assert self.send(bytes(6)).codes == (0x6, 0x2A, 0x00)

    def let_on(self) -> None:
        """No rule holds anything up any longer."""
        assert self.library.door_clear(self.handle) == 0

    def transfer(self, cdb: bytes, lun: bytes = LUN0) -> tuple[int, int]:
        out, into = ctypes.c_uint64(), ctypes.c_uint64()
        self.library.door_transfer(
            self.handle, 0, lun, cdb, len(cdb), ctypes.byref(out), ctypes.byref(into)
        )
        return out.value, into.value

    def write(self, lba: int, blocks: int, fill: int = 0x5A, **more: int) -> Answer:
        return self.send(
            cdb16(0x8A, lba, blocks), bytes([fill]) * blocks * self.shape.logical_block, **more
        )

    def read(self, lba: int, blocks: int) -> Answer:
        return self.send(cdb16(0x88, lba, blocks), room=blocks * self.shape.logical_block)

    def zone(self, action: int, lba: int, *, every: bool = False, count: int = 0) -> Answer:
        return self.send(
            bytes([0x94, action])
            + lba.to_bytes(8, "big")
            + bytes(2)
            + count.to_bytes(2, "big")
            + bytes([every, 0])
        )

    def zones(
        self, lba: int = 0, option: int = 0, *, partial: bool = False, allocation: int = 1 << 15
    ) -> Answer:
        return self.send(
            bytes([0x95, 0])
            + lba.to_bytes(8, "big")
            + allocation.to_bytes(4, "big")
            + bytes([partial << 7 | option, 0])
        )

    def bad_block(self, lba: int, *, writes: bool = False, blocks: int = 1) -> None:
        size = self.shape.logical_block
        assert (
            self.library.door_bad_block(
                self.handle, writes, ctypes.c_uint64(lba * size), ctypes.c_uint64(blocks * size)
            )
            == 0
        )


def cdb10(opcode: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return (
        bytes([opcode, flags]) + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"
    )


def cdb12(opcode: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([opcode, flags]) + lba.to_bytes(4, "big") + blocks.to_bytes(4, "big") + bytes(2)


def cdb16(opcode: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([opcode, flags]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)


def inquiry(page: int | None = None, allocation: int = 512) -> bytes:
    return bytes([0x12, page is not None, page or 0]) + allocation.to_bytes(2, "big") + b"\0"
