"""A history: what a disk held, and every command that it got from then on, with the bytes that it
wrote. Of it the disk can be built as it was behind any of the commands.

``record`` makes one (or ``dev.trace.record(path, data=True)``, or ``zonedctl trace record --data``)
of the commands of every process that has the disk open. `History` reads it, `Build` makes disks.
Which survivors a power cut leaves there, zoned.crash.survivors tells.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, Self

from zoned._core.native import lib
from zoned.geometry import DataMode, HostSync
from zoned.traces.own import Trace, is_trace
from zoned.traces.packed import TraceError, open_input, read_piece
from zoned.traces.records import TraceCommand, TraceRecord, ZoneRow, record_of
from zoned.units import counted
from zoned.zone import ZoneCondition

if TYPE_CHECKING:
    from zoned.device import Device
    from zoned.geometry import Geometry

_COPY = 1 << 20
_LOOKS = (TraceCommand.READ, TraceCommand.MARK)
_ENDS = {
    TraceCommand.POWER_CUT: "the power was cut",
    TraceCommand.POWER_ON: "the power was given back",
    TraceCommand.ROLLBACK: "the disk went back to a snapshot",
}


class HistoryError(TraceError):
    """A history that is none, or of which the disk cannot be built."""


class _Piece(NamedTuple):
    at: int
    """Bytes of the command before it; of the disk, where it is what the disk held."""
    length: int
    stored: int
    """As many stand in the file; 8 that repeat where that is fewer."""
    place: int
    """In the file."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A text that the workload put into its history: it relies on something from here on."""

    text: str
    after: int
    """So many changes of the disk had been made."""


class History:
    """A recording with data, read from its file; close it, or use it as a context manager.

    A history that was cut off or damaged ends where it was; ``cut`` says it in a sentence. So does
    one at a command that no disk built of it can repeat (a power cut of the workload's own, a
    rollback, a write that a fault rule marked lost or flipped a bit of, commands that are missing).

    Raises HistoryError, TraceError, OSError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._trace = Trace(path, partial=True)
        self.path = self._trace.path
        if not self._trace.header.with_data:
            raise HistoryError(
                f"{self.path} is a trace without data: a history is recorded by zonedctl trace "
                "record --data, or dev.trace.record(path, data=True)"
            )
        self.changes: list[TraceRecord] = []
        """The commands that changed the disk, in their order."""
        self.marks: list[Mark] = []
        self.cut: str | None = None
        """Why it ends early, in a sentence; None: it has its end."""
        self._base: list[_Piece] = []
        self._data: dict[int, list[_Piece]] = {}
        self._file = _plain(self._trace)
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    @property
    def geometry(self) -> Geometry:
        """Of the disk."""
        return self._trace.geometry

    @property
    def before(self) -> tuple[ZoneRow, ...]:
        """The zones that were not as new when it began."""
        return self._trace.before

    def __len__(self) -> int:
        """How many changes; a disk can be built behind 0, 1, ... and all of them."""
        return len(self.changes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<zoned.crash.History {str(self.path)!r}: {counted(len(self), 'change')}>"

    def close(self) -> None:
        """Give up the file."""
        self._file.close()

    def acknowledged(self, point: int) -> list[str]:
        """The marks that the workload had set when the power went behind so many changes: up to the
        next command, so those behind the last of them count.
        """
        return [mark.text for mark in self.marks if mark.after <= point]

    def data(self, item: TraceRecord) -> bytes:
        """What a command wrote of its data, as far as it got. Raises HistoryError, OSError."""
        if item.zeroes:
            return bytes(item.done)
        pieces = self._data.get(item.data or 0, [])
        wrote = b"".join(map(self._bytes, pieces))[: item.done]
        if len(wrote) < item.done:
            raise HistoryError(
                f"{self.path}: command {item.number} wrote {counted(item.done, 'byte')}, and "
                f"{len(wrote)} of them stand in the history: it was under way when it began"
            )
        return wrote

    def extension(self, item: TraceRecord) -> bytes:
        """The descriptor extension that a command set. Raises HistoryError, OSError."""
        return self.data(item._replace(done=self.geometry.zone_extension))

    def held(self) -> Iterator[tuple[int, bytes]]:
        """What the disk held when it began: places and bytes; zeros elsewhere. Behind the end of it
        lie the descriptor extensions of the zones that had one, as if all zones had.
        """
        for piece in self._base:
            yield piece.at, self._bytes(piece)

    def disk(self, point: int | None = None) -> Device:
        """The disk behind so many changes (None: all), in RAM. Raises HistoryError, ValueError."""
        build = Build(self)
        try:
            build.go(len(self) if point is None else point)
        except BaseException:
            build.close()
            raise
        return build.device

    def _bytes(self, piece: _Piece) -> bytes:
        self._file.seek(piece.place)
        stored = self._file.read(piece.stored)
        return stored if piece.stored == piece.length else stored * (piece.length // piece.stored)

    def _read(self) -> None:
        header, geometry = self._trace.header.size, self._trace.geometry
        for row in self._trace.rows():
            kind = row[15]
            if kind in (lib.ZD_TRACE_DATA, lib.ZD_TRACE_BASE):
                piece = _Piece(row[4], row[5], row[6], header + row[1])
                if kind == lib.ZD_TRACE_BASE:
                    self._base.append(piece)
                else:
                    self._data.setdefault(row[21], []).append(piece)
            elif kind == lib.ZD_TRACE_LOST:
                self.cut = f"{counted(row[9], 'command')} are missing from it"
            elif kind == lib.ZD_TRACE_COMMAND:
                item = record_of(row, geometry.zone_size, geometry.nr_zones)
                self.cut = self._why_not(item)
                if self.cut is None:
                    self._take(item)
            if self.cut is not None:
                where = f"behind {counted(len(self), 'change')}"
                self.cut = f"{self.path} ends {where}: {self.cut}"
                return
        self.cut = self._trace.cut

    def _why_not(self, item: TraceRecord) -> str | None:
        if item.ok and item.command in _ENDS:
            return f"{_ENDS[item.command]} in command {item.number}"
        if item.loses and item.done:
            return f"a fault rule made the disk lose what command {item.number} wrote"
        if item.flips and item.done:
            return f"a fault rule flipped a bit of what command {item.number} wrote"
        return None

    def _take(self, item: TraceRecord) -> None:
        if item.command is TraceCommand.MARK:
            text = b"".join(map(self._bytes, self._data.pop(item.data or 0, [])))
            shown = text.decode("utf-8", "surrogateescape")
            self.marks.append(Mark(shown, len(self.changes)))
        elif item.command not in _LOOKS and (item.ok or item.done):
            self.changes.append(item)
        elif item.data:
            del self._data[item.data]


def _plain(trace: Trace) -> IO[bytes]:
    """The trace's bytes, to be read at any place."""
    with open_input(trace.path) as file:
        plain = trace.path.open("rb")
        if is_trace(plain.read(8)):
            return plain
        plain.close()
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
        try:
            while piece := _next(file, trace):
                copy.write(piece)
        except BaseException:
            copy.close()
            raise
        return copy


def _next(file: BinaryIO, trace: Trace) -> bytes:
    try:
        return read_piece(file, trace.path, _COPY)
    except TraceError:
        return b""  # cut off; what came before is read


@contextmanager
def record(device: Device, path: str | os.PathLike[str]) -> Iterator[None]:
    """Record a history of the disk while a block runs, of every process that has it open. What the
    workload may rely on it tells by ``device.trace.mark(text)``.

    The disk is flushed first. Raises OSError, ValueError as dev.trace.start does.
    """
    with device.trace.record(path, data=True):
        yield


def _refuse(wrong: str | None) -> None:
    from zoned.dumpfile import DumpError

    if wrong is not None:
        raise DumpError(wrong)


class Build:
    """A disk that goes through a history: ``device``, as it was behind ``point`` changes."""

    def __init__(self, history: History) -> None:
        """As it was when the history began. Raises HistoryError."""
        from zoned.device import Device, create_from

        self.history = history
        self.point = 0
        geometry = dataclasses.replace(
            history.geometry, host_sync=HostSync.NEVER, data=DataMode.STORE
        )
        self.device: Device = create_from(None, geometry, replace=False, kind=Device)
        try:
            self._begin()
        except BaseException:
            self.device.close()
            raise

    def close(self) -> None:
        """The disk goes."""
        self.device.close()

    def go(self, point: int) -> None:
        """On to behind so many changes. Raises ValueError, HistoryError."""
        if not self.point <= point <= len(self.history):
            raise ValueError(
                f"point {point}: this history has {len(self.history)}, and the disk is behind "
                f"{self.point}"
            )
        while self.point < point:
            self.step()

    def step(self) -> TraceRecord:
        """One change more, which is returned."""
        item = self.history.changes[self.point]
        try:
            self._give(item)
        except (OSError, ValueError) as error:
            raise HistoryError(
                f"{self.history.path}: command {item.number}, {item}, came out otherwise when the "
                f"disk was built: {error}; what a process that was killed amid a command had done "
                "of it is in no recording"
            ) from error
        self.point += 1
        return item

    def wrote(self, offset: int, data: bytes) -> None:
        """Told of what the disk holds from now on; for who derives from this."""

    # ------------------------------------------------------------ inside

    def _begin(self) -> None:
        from zoned.archive import Builder, in_order
        from zoned.dumpfile import DumpError

        device = self.device
        held, extensions = self._held()
        records = [
            (row.opened, row.record())
            for row in self.history.before
            if row.condition is not ZoneCondition.NOT_WP
        ]
        builder = Builder(device, payload=True)
        try:
            for record_ in in_order(records):
                if record_.index in extensions:
                    builder.extend(record_.index, extensions[record_.index])
                _refuse(builder.begin(record_))
                for offset, data in held.get(record_.index, []):
                    _refuse(builder.data(data, offset))
                    self.wrote(offset, data)
                builder.end()
        except (DumpError, OSError, ValueError) as error:
            raise HistoryError(
                f"{self.history.path}: no disk can begin as it says: {error}"
            ) from error
        device.flush()

    def _held(self) -> tuple[dict[int, list[tuple[int, bytes]]], dict[int, bytes]]:
        """What sequential zones held, and their descriptor extensions; what conventional ones held
        is written.
        """
        geometry = self.device.geometry
        held: dict[int, list[tuple[int, bytes]]] = {}
        extensions: dict[int, bytes] = {}
        for offset, data in self.history.held():
            zone = offset // geometry.zone_size
            if offset >= geometry.size and geometry.zone_extension:
                extensions[(offset - geometry.size) // geometry.zone_extension] = data
            elif zone in geometry.conventional:
                self.device.pwrite(data, offset)
                self.wrote(offset, data)
            else:
                held.setdefault(zone, []).append((offset, data))
        return held, extensions

    def _give(self, item: TraceRecord) -> None:
        device, command = self.device, item.command
        if not item.ok and command in _EACH:
            self._some(item)
        elif command in (TraceCommand.WRITE, TraceCommand.APPEND):
            self._write(item)
        elif command is TraceCommand.FLUSH:
            if item.offset is None:
                device.flush()
            else:
                device.flush_range(item.offset, item.length)
        elif command is TraceCommand.SET_EXTENSION:
            device.set_zone_extension(item.zone or 0, self.history.extension(item))
        elif command is TraceCommand.COMMIT_ZRWA:
            device.commit_zone(item.zone or 0, item.offset or 0)
        elif command in _ALL:
            getattr(device, _ALL[command])()
        elif command in _ONE:
            getattr(device, _ONE[command])(item.zone)
        else:
            device.set_condition(item.zone or 0, str(command).removeprefix("set-"))

    def _some(self, item: TraceRecord) -> None:
        """The zones that a command for all of them changed before it failed: the first ones."""
        wanted, conditions = _EACH[item.command]
        zones = [zone for zone in self.device.zones if zone.condition in conditions]
        for zone in zones[: item.done]:
            getattr(self.device, wanted)(zone.index)
            empties = item.command is TraceCommand.POWER_CYCLE and zone.wp == zone.start
            if empties and self.device.zone_extension(zone.index) is None:
                self.device.reset_zone(zone.index)

    def _write(self, item: TraceRecord) -> None:
        device = self.device
        if item.offset is None:
            raise HistoryError("it tells no place")
        data = self.history.data(item)
        if item.zeroes:
            device.write_zeroes(item.offset, item.done, fua=item.fua)
        elif item.fua:
            device.pwrite_fua(data, item.offset)
        else:
            device.pwrite(data, item.offset)
        self.wrote(item.offset, data)


_ALL = {
    TraceCommand.OPEN_ALL: "open_all",
    TraceCommand.CLOSE_ALL: "close_all",
    TraceCommand.FINISH_ALL: "finish_all",
    TraceCommand.RESET_ALL: "reset_all",
    TraceCommand.POWER_CYCLE: "power_cycle",
}
_OPEN = (ZoneCondition.IMPLICIT_OPEN, ZoneCondition.EXPLICIT_OPEN)
_EACH = {
    TraceCommand.OPEN_ALL: ("open_zone", (ZoneCondition.CLOSED,)),
    TraceCommand.CLOSE_ALL: ("close_zone", _OPEN),
    TraceCommand.POWER_CYCLE: ("close_zone", _OPEN),
    TraceCommand.FINISH_ALL: ("finish_zone", (*_OPEN, ZoneCondition.CLOSED)),
    TraceCommand.RESET_ALL: ("reset_zone", (*_OPEN, ZoneCondition.CLOSED, ZoneCondition.FULL)),
}
"""What they do to a zone, and of which conditions."""
_ONE = {
    TraceCommand.OPEN: "open_zone",
    TraceCommand.CLOSE: "close_zone",
    TraceCommand.FINISH: "finish_zone",
    TraceCommand.RESET: "reset_zone",
    TraceCommand.OPEN_ZRWA: "open_zone_zrwa",
}
