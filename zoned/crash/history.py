"""What a workload does to a disk, command by command, with a snapshot behind each.

Commands are met that are given through the Device, and through a ZoneFS on it; those of other
openers are not.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, SupportsIndex

from zoned._core.native import Guard, ffi, lib
from zoned._core.raising import rule_name
from zoned.device import Device
from zoned.snapshots import Snapshot
from zoned.units import counted
from zoned.zone import ZoneCondition

__tracebackhide__ = True  # as in zoned.crash.checker

NO_CUT = 2**62
_NAMES = {
    lib.ZD_CMD_WRITE: "pwrite",
    lib.ZD_CMD_APPEND: "append",
    lib.ZD_CMD_OPEN: "open_zone",
    lib.ZD_CMD_CLOSE: "close_zone",
    lib.ZD_CMD_FINISH: "finish_zone",
    lib.ZD_CMD_RESET: "reset_zone",
    lib.ZD_CMD_FLUSH: "flush",
}


@ffi.def_extern(name="zd_python_watch")
def _watched(arg: Any, command: int, place: int, length: int, result: int) -> None:
    device = ffi.from_handle(arg)()
    if device is not None:
        device.told(command, place, length, result)


class Step(NamedTuple):
    """What a workload did between two cuts."""

    command: str
    acknowledged: int
    """How many things, before the next command."""
    data: int
    """Check sum of what was written; 0 where it is not known (through a ZoneFS)."""


@dataclass(slots=True)
class Cut:
    """A moment at which the power may go: behind a command, before the next one begins."""

    command: str
    """"" for the moment before the first."""
    snapshot: Snapshot
    acknowledged: int = 0
    """How many things were acknowledged before the next command."""
    data: int = 0

    @property
    def step(self) -> Step:
        """Without the snapshot."""
        return Step(self.command, self.acknowledged, self.data)


def _told_of(command: Callable[[Device], None]) -> Callable[[Watched], None]:
    """A command without arguments."""
    name = command.__name__

    @functools.wraps(command)
    def told(self: Watched) -> None:
        with self._command(f"{name}()"):
            command(self)

    return told


class Watched(Device):
    """A Device that tells who derives from it of each command that changes it."""

    __slots__ = ("_data", "_watcher")

    def __init__(self) -> None:
        super().__init__()
        self._data = 0

    def _take_over(self, path: str | None) -> None:
        super()._take_over(path)
        # The core forgets both with the handle. A weak reference: a strong one would never end.
        self._watcher = ffi.new_handle(weakref.ref(self))
        with Guard(self):
            lib.zd_watch(self._handle, lib.zd_python_watch, self._watcher)

    @contextlib.contextmanager
    def _command(self, text: str, *data: Any) -> Iterator[None]:
        self._data = 0
        for piece in data:
            with contextlib.suppress(BufferError):  # which the command will refuse
                self._data = zlib.crc32(piece, self._data)
        try:
            yield
        except BaseException as error:
            self._done(f"{text} -> {type(error).__name__}")
            raise
        self._done(text)

    def _done(self, text: str) -> None:
        """A command has ended."""

    def told(self, command: int, place: int, length: int, result: int) -> None:
        """Of a command that zonefs gave through this handle, in C."""
        self._data = 0
        name = _NAMES.get(command, str(command))
        if command in (lib.ZD_CMD_WRITE, lib.ZD_CMD_APPEND):
            text = f"{name}({counted(length, 'byte')}, {place})"
        else:
            text = f"{name}()" if command == lib.ZD_CMD_FLUSH else f"{name}({place})"
        self._done(text if result >= 0 else f"{text} -> {rule_name(result) or result}")

    # The commands. Reads change nothing and are not remembered.

    flush, power_cycle = _told_of(Device.flush), _told_of(Device.power_cycle)
    open_all, close_all = _told_of(Device.open_all), _told_of(Device.close_all)
    finish_all, reset_all = _told_of(Device.finish_all), _told_of(Device.reset_all)

    def pwrite(self, data: Any, offset: SupportsIndex) -> int:
        with self._command(f"pwrite({counted(memoryview(data).nbytes, 'byte')}, {offset})", data):
            return super().pwrite(data, offset)

    def pwritev(self, buffers: Iterable[Any], offset: SupportsIndex) -> int:
        pieces = list(buffers)
        size = sum(memoryview(piece).nbytes for piece in pieces)
        with self._command(
            f"pwritev({counted(size, 'byte')} in {counted(len(pieces), 'buffer')}, {offset})",
            *pieces,
        ):
            return super().pwritev(pieces, offset)

    def append(self, zone: SupportsIndex, data: Any) -> int:
        with self._command(f"append({zone}, {counted(memoryview(data).nbytes, 'byte')})", data):
            return super().append(zone, data)

    def open_zone_zrwa(self, zone: SupportsIndex) -> None:
        with self._command(f"open_zone_zrwa({zone})"):
            super().open_zone_zrwa(zone)

    def commit_zone(self, zone: SupportsIndex, end: SupportsIndex) -> None:
        with self._command(f"commit_zone({zone}, {end})"):
            super().commit_zone(zone, end)

    def set_condition(self, zone: SupportsIndex, condition: ZoneCondition | int | str) -> None:
        with self._command(f"set_condition({zone}, {condition!s})"):
            super().set_condition(zone, condition)

    def _zones_command(self, command: int, zone: SupportsIndex, count: SupportsIndex) -> None:
        more = "" if count == 1 else f", {count}"
        with self._command(f"{_NAMES.get(command, command)}({zone}{more})"):
            super()._zones_command(command, zone, count)


class Recorder(Watched):
    """A Device that takes a snapshot behind each command that changes it."""

    __slots__ = ("_acknowledged", "cuts")

    def __init__(self) -> None:
        super().__init__()
        self.cuts: list[Cut] = []
        self._acknowledged: list[Any] = []

    def start(self) -> None:
        """From here on."""
        self.cuts.append(Cut("", self.snapshot()))

    def ack(self, item: Any) -> None:
        """What the workload calls: the user relies on it from now on."""
        self._acknowledged.append(item)
        self.cuts[-1].acknowledged = len(self._acknowledged)

    def acknowledged(self, cut: Cut) -> list[Any]:
        """What had been acknowledged when the power went."""
        return self._acknowledged[: cut.acknowledged]

    def drop(self) -> None:
        """Give up all snapshots."""
        for cut in self.cuts:
            cut.snapshot.close()
        self.cuts.clear()

    def _done(self, text: str) -> None:
        super()._done(text)
        if not self.cuts:
            return
        before = self.cuts[-1]
        now = self.snapshot() if self.powered else before.snapshot
        self.cuts.append(Cut(text, now, before.acknowledged, self._data))


class Listener(Watched):
    """A Device that only lists what is done with it, as a Recorder does."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []

    def start(self) -> None:
        """From here on."""
        self.steps.append(Step("", 0, 0))

    def ack(self, _item: Any) -> None:
        """What the workload calls."""
        last = self.steps[-1]
        self.steps[-1] = last._replace(acknowledged=last.acknowledged + 1)

    def _done(self, text: str) -> None:
        super()._done(text)
        if self.steps:
            self.steps.append(Step(text, self.steps[-1].acknowledged, self._data))
