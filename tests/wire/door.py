"""A SCSI initiator of a few lines, and what the executor answered."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

import core
from scsi import cdb16, report_zones, sense_codes
from wire import doors
from wire.doors import DiskDoor, Library, c_fields

GOOD, CHECK, BUSY, CONFLICT, ABORTED = 0x00, 0x02, 0x08, 0x18, 0x40
LUN0 = bytes(8)


class Answer(ctypes.Structure):
    """What came back; ``data`` is what was put into the room, and nothing behind it changed."""

    _fields_ = [
        *c_fields(
            """uint32_t status, sense_length, unanswered, zero;
            uint64_t in_length;
            int64_t residual_in, residual_out"""
        ),
        ("_sense", ctypes.c_uint8 * 64),
    ]
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
        """Sense key, ASC, ASCQ; zeros without sense."""
        return sense_codes(self.sense)

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
class Shape(doors.Shape):
    """24 zones of 1 MiB, 4 of them conventional, blocks of 4 KiB; bytes."""

    max_open: int = 6
    implicit_close: int = 1
    unrestricted_read: int = 1


def built(out: Path) -> Library:
    """The shared object, made in a folder; ``ZONED_SCSI_DOOR`` names one that is there already."""
    given = os.environ.get("ZONED_SCSI_DOOR")
    return Library(given or core.made("scsi-door.so", out), "door_open", "door_give")


@dataclass
class Given(doors.Given[Answer]):
    """A task."""

    room: int

    def look(self) -> tuple[int, Answer]:
        """How often it has ended, and its answer if it has."""
        answer, data = Answer(), ctypes.create_string_buffer(self.room)
        times = self.library.door_given(
            self.handle, ctypes.byref(answer), data, ctypes.c_uint64(self.room)
        )
        answer.data = data.raw[: answer.in_length]
        return times, answer


@dataclass
class Door(DiskDoor[Answer]):
    room: int = 1 << 16
    keeps = doors.ALL

    def __post_init__(self) -> None:
        code = ctypes.c_int()
        shape = self.shape.in_c()
        self.handle = ctypes.c_void_p(
            self.library.door_open(ctypes.byref(shape), ctypes.byref(code))
        )
        self.code = code.value

    @property
    def blocks(self) -> int:
        return self.shape.size // self.shape.logical_block

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
        """Hand over a task. ``cut``: the length of the first two of three buffers."""
        answer = Answer()
        size = (0 if out else self.room) if room is None else room
        got = self.exchange(
            self.library.door_exec, answer, nexus, lun, cdb, len(cdb), out=out, room=size, cut=cut
        )
        assert set(got[answer.in_length :]) <= {0xA5}, "nothing is put behind the data"
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
        self.given.append(Given(self.library, ctypes.c_void_p(handle), room))
        return self.given[-1]

    def manage(self, function: int, tag: int = 0, *, nexus: int = 0, lun: bytes = LUN0) -> int:
        return int(
            self.library.door_manage(self.handle, nexus, function, lun, ctypes.c_uint64(tag))
        )

    def hold(self, command: int, *, late: bool = False, ns: int = 0) -> None:
        """Reads (0) or writes (1) hang, or come late, from now on."""
        assert self.library.door_hold(self.handle, command, late, ctypes.c_uint64(ns), 0) == 0

    def hang(self, command: int) -> None:
        """The next read (0) or write (1) hangs."""
        assert self.library.door_hold(self.handle, command, 0, ctypes.c_uint64(0), 1) == 0

    def condition(self, zone: int, condition: int) -> None:
        """Another opener sets a zone's condition; the first initiator has been told."""
        self.set_condition(zone, condition)
        assert self.send(bytes(6)).codes == (0x6, 0x2A, 0x00)

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

    def zone(
        self, action: int, lba: int, *, every: bool = False, count: int = 0, nexus: int = 0
    ) -> Answer:
        return self.send(
            bytes([0x94, action])
            + lba.to_bytes(8, "big")
            + bytes(2)
            + count.to_bytes(2, "big")
            + bytes([every, 0]),
            nexus=nexus,
        )

    def zones(
        self, lba: int = 0, option: int = 0, *, partial: bool = False, allocation: int = 1 << 15
    ) -> Answer:
        return self.send(report_zones(lba, allocation, option, partial=partial))

    def bad_block(self, lba: int, *, writes: bool = False, blocks: int = 1) -> None:
        size = self.shape.logical_block
        assert (
            self.library.door_bad_block(
                self.handle, writes, ctypes.c_uint64(lba * size), ctypes.c_uint64(blocks * size)
            )
            == 0
        )
