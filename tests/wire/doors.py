"""What the doors share: the shape of the disk behind one, and what befalls that disk (disk.c)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import Any, Generic, TypeVar

from waiting import until

KIB = 1024
DURABLE, ALL = 0, 1
"""What survives a power cut."""

AnswerT = TypeVar("AnswerT", bound=ctypes.Structure)


def c_fields(declared: str) -> list[tuple[str, Any]]:
    """The fields of a struct as C declares them: "uint32_t status, zero; uint64_t in_length"."""
    return [
        (name.strip(), getattr(ctypes, "c_" + kind.removesuffix("_t")))
        for kind, _, names in (line.strip().partition(" ") for line in declared.split(";"))
        for name in names.split(",")
    ]


class Library(ctypes.CDLL):
    """A door with its executor and the disk; ``pointers``: the calls that give one."""

    def __init__(self, path: os.PathLike[str] | str, *pointers: str) -> None:
        super().__init__(os.fspath(path))
        for name in pointers:
            getattr(self, name).restype = ctypes.c_void_p


@dataclass
class Shape:
    """24 zones of 1 MiB, 4 of them conventional, blocks of 4 KiB; bytes."""

    size: int = 24 * 1024 * KIB
    zone_size: int = 1024 * KIB
    zone_capacity: int = 0
    append_limit: int = 0
    logical_block: int = 4096
    physical_block: int = 4096
    max_open: int = 0
    max_active: int = 0
    nr_conv: int = 4
    first_conv: int = 0
    model: int = 0
    implicit_close: int = 0
    unrestricted_read: int = 0
    dialect: int = 0
    zone_extension: int = 0
    zrwa_size: int = 0
    zrwa_granularity: int = 0
    zrwa_count: int = 0

    def in_c(self) -> CShape:
        return CShape(*astuple(self))


class CShape(ctypes.Structure):
    """``struct shape`` of disk.h."""

    _fields_ = c_fields(
        """uint64_t size, zone_size, zone_capacity, append_limit;
        uint32_t logical_block, physical_block, max_open, max_active, nr_conv, first_conv;
        uint32_t model, implicit_close, unrestricted_read, dialect, zone_extension;
        uint32_t zrwa_size, zrwa_granularity, zrwa_count"""
    )


@dataclass
class Given(Generic[AnswerT]):
    """A command that was handed over and may not have ended."""

    library: Library
    handle: ctypes.c_void_p

    def look(self) -> tuple[int, AnswerT]:
        """How often it has ended, and its answer if it has."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        return self.look()[0] > 0

    @property
    def answer(self) -> AnswerT:
        times, answer = self.look()
        assert times == 1
        return answer


@dataclass
class DiskDoor(Generic[AnswerT]):
    """The disk of a door, and how a command goes in."""

    library: Library
    shape: Shape
    handle: ctypes.c_void_p | None = None
    given: list[Given[AnswerT]] = field(default_factory=list)
    keeps = DURABLE

    def close(self) -> None:
        if self.handle:
            self.library.door_close(self.handle)
            self.handle = None
        for command in self.given:
            assert command.ended
            self.library.door_forget(command.handle)
        self.given.clear()

    def exchange(
        self,
        call: Callable[..., Any],
        answer: AnswerT,
        *command: bytes | int,
        out: bytes,
        room: int,
        cut: int,
    ) -> bytes:
        """Hand over a command and wait for it; what is in its room then.

        ``cut``: the length of the first two of three buffers.
        """
        into = ctypes.create_string_buffer(b"\xa5" * (room + 64), room + 64)
        sizes = [ctypes.c_uint64(size) for size in (len(out), room, cut)]
        call(self.handle, *command, out, sizes[0], into, *sizes[1:], ctypes.byref(answer))
        assert answer.in_length <= room
        assert into.raw[room:] == b"\xa5" * 64, "what lies behind the room was changed"
        answer.data = into.raw[: answer.in_length]
        return into.raw[:room]

    @property
    def zone_blocks(self) -> int:
        return self.shape.zone_size // self.shape.logical_block

    def hanging(self, commands: int) -> None:
        until(lambda: self.library.disk_hanging(self.handle) == commands, f"{commands} hang")

    def let_on(self) -> None:
        """No rule holds anything up any longer."""
        assert self.library.disk_clear(self.handle) == 0

    def set_condition(self, zone: int, condition: int) -> None:
        """Another opener sets a zone's condition."""
        assert self.library.disk_condition(self.handle, zone, condition) == 0

    def power(self, on: bool) -> None:
        assert self.library.disk_power(self.handle, on, self.keeps) == 0

    def go_back(self) -> None:
        """Take a snapshot and go back to it."""
        assert self.library.disk_go_back(self.handle) == 0
