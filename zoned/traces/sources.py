"""Traces of every kind behind one face: zoned's own and those of other programs.

``open_source`` tells by the content which kind a file is. What it gives has the commands as records
that a disk can be given (show, replay, lint), and as a feed for a modelled drive (bench).
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoned._core.native import ffi, lib
from zoned.geometry import Geometry
from zoned.traces.foreign import BATCH, FORMATS, BlockTrace, file_number
from zoned.traces.own import MAGIC, Trace, is_trace
from zoned.traces.packed import TraceError, head_of
from zoned.traces.records import DATA, TraceCommand, TraceRecord, ZoneRow
from zoned.units import counted

OWN = "zoned"
"""Name of zoned's own format."""
ALL_FORMATS = (OWN, *FORMATS)
_OTHERS = 1000
"""Devices of a trace that were not chosen, and are remembered to be named."""


class OwnSource:
    """A trace of zoned's own: it tells of one disk, how its zones were, and every result."""

    format = OWN
    notes: tuple[str, ...] = ()
    skipped = 0

    def __init__(self, path: str | os.PathLike[str], partial: bool) -> None:
        self.trace = Trace(path, partial=partial)
        self.path = self.trace.path
        self.geometry: Geometry | None = self.trace.geometry
        self.before = self.trace.before

    @property
    def cut(self) -> str | None:
        """Where the trace ends too early, in a sentence; None if it does not."""
        return self.trace.cut

    def commands(self, geometry: Geometry) -> Iterator[TraceRecord]:  # noqa: ARG002
        """Every command, as it was recorded."""
        return iter(self.trace)

    def feed(self, straight: bool) -> OwnFeed:
        """For a modelled drive."""
        return OwnFeed(self.trace, straight)


@dataclass(frozen=True, slots=True)
class Listed:
    """One command of a foreign trace as its file has it."""

    number: int
    word: str
    """What the command is: a TraceCommand, or "trim"."""
    offset: int | None
    """Bytes; None for commands that have no place."""
    length: int
    time: int
    """Nanoseconds since the trace began."""
    device: str
    """As the format calls it: "8,16", a file's name, a volume's number."""

    def __str__(self) -> str:
        """ "write of 4096 bytes at 8192"."""
        if self.word in (*DATA, "trim"):
            return f"{self.word} of {counted(self.length, 'byte')} at {self.offset}"
        return self.word if self.offset is None else f"{self.word} at {self.offset}"


class ForeignSource:
    """A trace of another program: reads, writes, trims, syncs, zone commands, without results."""

    geometry: Geometry | None = None
    before: tuple[ZoneRow, ...] = ()
    cut: str | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        form: str | None,
        action: str = "D",
        device: str | None = None,
        iolog_ns: bool = False,
    ) -> None:
        self._action, self._iolog_ns = action, iolog_ns
        self.trace = self._reader(path, form, zones=True, files=True)
        self.path = self.trace.path
        self.format = self.trace.format
        self._names = _file_names(self.trace) if self.format.startswith("iolog") else {}
        self.wanted = None if device is None else self._number(device)
        self.skipped = 0
        """Commands that no zoned disk has; of the last reading, as ``notes`` are."""
        self.notes: list[str] = []

    @property
    def no_results(self) -> str:
        """Why nothing can be compared with it, in a sentence."""
        return (
            f"a trace of format {self.format} tells no results: only a recording of zoned's own "
            "can be compared with"
        )

    def _reader(
        self, path: str | os.PathLike[str], form: str | None, *, zones: bool, files: bool
    ) -> BlockTrace:
        return BlockTrace(
            path, form, action=self._action, iolog_ns=self._iolog_ns, zones=zones, files=files
        )

    def _number(self, device: str) -> int:
        if self.format.startswith("iolog"):
            return file_number(device)
        major, comma, minor = device.partition(",")
        parts = [major, minor] if comma else [major]
        if not all(part.isdecimal() for part in parts) or bool(comma) != (
            self.format == "blkparse"
        ):
            example = "8,16" if self.format == "blkparse" else "3"
            raise TraceError(
                f"device {device!r} is not what a {self.format} trace calls one: write {example}"
            )
        return int(major) << 20 | int(minor) if comma else int(major)

    def _name(self, number: int) -> str:
        if self.format == "blkparse":
            return f"{number >> 20},{number & 0xFFFFF}"
        return self._names.get(number, str(number))

    def _other(self, device: int, only: int, others: set[int]) -> None:
        """A command of a device that was not chosen."""
        if self.wanted is None:
            raise TraceError(
                f"{self.path}: commands of several devices, such as "
                f"{self._name(only)} and {self._name(device)}: choose one"
            )
        if len(others) < _OTHERS:
            others.add(device)

    def _raw(self, every: bool) -> Iterator[Any]:
        """The records of the chosen device, or of the only one; ``every``: of all, unless chosen.

        Raises TraceError where there are several and none is chosen, or none of the chosen one's.
        """
        self.notes, self.skipped = [], 0
        only = self.wanted
        others: set[int] = set()
        found = False
        for records, count in self.trace.records():
            for at in range(count):
                raw = records[at]
                if only is None and not every:
                    only = raw.device
                if only is not None and raw.device != only:
                    self._other(raw.device, only, others)
                    continue
                found = True
                yield raw
        if others and not found:
            names = sorted(map(self._name, others))[:10]
            raise TraceError(
                f"{self.path}: there is no command of the device asked for; there are some "
                f"of {', '.join(names)}"
            )

    def commands(self, geometry: Geometry) -> Iterator[TraceRecord]:
        """Those of the chosen device, as commands of a zoned disk of this geometry."""
        numbers = itertools.count()
        partial = 0
        for raw in self._raw(every=False):
            number = next(numbers)
            found = _command(raw, geometry)
            if found is None:
                partial += 1
                self.skipped += 1
                continue
            command, zone, offset = found
            yield _asked(number, command, zone, offset, raw.length, raw.time)
        if partial:
            self.notes.append(
                f"{partial} trims or zone commands are not of one whole zone: a zoned disk has no "
                "such command, and they were left out"
            )
        self.notes += _malformed(self.trace)

    def listed(self, every: bool = True) -> Iterator[Listed]:
        """The commands as the file has them; ``every``: of all devices, unless one is chosen."""
        for number, raw in enumerate(self._raw(every)):
            command = _DIRECTIONS[raw.dir]
            place = command not in (TraceCommand.FLUSH, TraceCommand.RESET_ALL)
            yield Listed(
                number,
                "trim" if raw.dir == lib.ZD_SIM_TRIM else str(command),
                int(raw.offset) if place else None,
                int(raw.length),
                int(raw.time),
                self._name(raw.device),
            )
        self.notes += _malformed(self.trace)

    def feed(self, straight: bool) -> ForeignFeed:
        """For a modelled drive. All devices of the file are one: that is what a layer is given."""
        return ForeignFeed(self._reader(self.path, self.format, zones=straight, files=False))


Source = OwnSource | ForeignSource


class ForeignFeed:
    """A foreign trace for a modelled drive."""

    before: tuple[ZoneRow, ...] = ()
    cut: str | None = None

    def __init__(self, trace: BlockTrace) -> None:
        self.trace = trace
        self.format = trace.format

    def records(self) -> Iterator[tuple[Any, int]]:
        """Arrays of ``struct zd_sim_record`` and how many of each are filled."""
        return self.trace.records()

    def told(self) -> list[str]:
        """What was read and what was left out, a sentence each."""
        trace = self.trace
        read = (
            f"trace: {counted(trace.records_read, 'command')} in"
            f" {counted(trace.lines, 'line')} of {trace.format}"
        )
        return [read, *_malformed(trace)]


class OwnFeed:
    """A trace of zoned's own for a modelled drive: what the disk did, at the times it was asked to.

    ``straight`` gives zone commands, appends and the zones at the beginning too; a log layer above
    the drive gets reads and writes, an append as a write to where it landed.
    """

    format = OWN

    def __init__(self, trace: Trace, straight: bool) -> None:
        self.trace = trace
        self.straight = straight
        self.before = trace.before if straight else ()
        self._given = 0
        self._left_out: Counter[str] = Counter()

    @property
    def cut(self) -> str | None:
        """Where the trace ends too early, in a sentence; None if it does not."""
        return self.trace.cut

    def records(self) -> Iterator[tuple[Any, int]]:
        """Arrays of ``struct zd_sim_record`` and how many of each are filled."""
        out = ffi.new("struct zd_sim_record[]", BATCH)
        self._given = count = 0
        self._left_out.clear()
        begin, last = self.trace.header.monotonic_ns, 0
        for item in self.trace:
            direction = self._direction(item)
            if direction is None:
                continue
            last = max(last, item.start_ns - begin)
            row = out[count]
            row.time, row.dir, row.device = last, direction, 0
            row.offset, row.length = self._place(item)
            count += 1
            self._given += 1
            if count == BATCH:
                yield out, count
                count = 0
        if count:
            yield out, count
        if not self._given:
            raise TraceError(
                f"{self.trace.path}: no command in it that a modelled drive can be given"
            )

    def _direction(self, item: TraceRecord) -> int | None:
        """Its number in a record; None, and noted, for what is left out."""
        if not item.ok:
            self._left_out["refused or failed"] += 1
            return None
        if item.command in DATA and not self.straight:
            return int(lib.ZD_SIM_READ if item.command is TraceCommand.READ else lib.ZD_SIM_WRITE)
        found = _NUMBERS.get(item.command)
        if found is None:
            self._left_out["of no drive's time, such as a power cut"] += 1
        elif not self.straight and item.command is not TraceCommand.FLUSH:
            self._left_out["of zones, which the log layer gives by itself"] += 1
            return None
        return found

    def _place(self, item: TraceRecord) -> tuple[int, int]:
        if item.command is TraceCommand.APPEND and self.straight:
            return self.trace.geometry.zone_start(item.zone or 0), item.length
        if item.command in DATA:
            return item.offset or 0, item.length
        return 0 if item.zone is None else self.trace.geometry.zone_start(item.zone), 0

    def told(self) -> list[str]:
        """What was read and what was left out, a sentence each."""
        notes = [f"trace: {counted(self._given, 'command')} of a recording of zoned's own"]
        notes += [
            f"left out: {counted(count, 'command')} {why}" for why, count in self._left_out.items()
        ]
        if self.trace.lost:
            notes.append(f"the trace lacks {counted(self.trace.lost, 'command')}")
        return notes


Feed = OwnFeed | ForeignFeed


def _malformed(trace: BlockTrace) -> list[str]:
    if not trace.bad:
        return []
    return [
        f"left out: {counted(trace.bad, 'malformed line')}; the first is {trace.first_bad}",
    ]


def _file_names(trace: BlockTrace) -> dict[int, str]:
    """The files that an iolog names at its beginning, by their numbers."""
    lines = head_of(trace.path).decode("utf-8", "surrogateescape").splitlines()
    at = 1 if trace.format == "iolog3" else 0
    names = (line.split()[at] for line in lines[1:] if len(line.split()) > at + 1)
    return {file_number(name): name for name in names}


_DIRECTIONS = {
    lib.ZD_SIM_READ: TraceCommand.READ,
    lib.ZD_SIM_WRITE: TraceCommand.WRITE,
    lib.ZD_SIM_TRIM: TraceCommand.RESET,
    lib.ZD_SIM_NR_DIRS: TraceCommand.FLUSH,
    lib.ZD_TRACE_DIR_RESET: TraceCommand.RESET,
    lib.ZD_TRACE_DIR_RESET_ALL: TraceCommand.RESET_ALL,
    lib.ZD_TRACE_DIR_OPEN: TraceCommand.OPEN,
    lib.ZD_TRACE_DIR_CLOSE: TraceCommand.CLOSE,
    lib.ZD_TRACE_DIR_FINISH: TraceCommand.FINISH,
    lib.ZD_TRACE_DIR_APPEND: TraceCommand.APPEND,
}
_NUMBERS = {
    TraceCommand.OPEN_ALL: lib.ZD_TRACE_DIR_OPEN_ALL,
    TraceCommand.CLOSE_ALL: lib.ZD_TRACE_DIR_CLOSE_ALL,
    TraceCommand.FINISH_ALL: lib.ZD_TRACE_DIR_FINISH_ALL,
} | {command: number for number, command in _DIRECTIONS.items() if number != lib.ZD_SIM_TRIM}
"""What a record for a drive says for a command, straight."""


def _command(raw: Any, geometry: Geometry) -> tuple[TraceCommand, int | None, int | None] | None:
    """What a foreign record asks of a zoned disk: command, zone, offset; None: nothing it has."""
    command = _DIRECTIONS[raw.dir]
    if command in (TraceCommand.READ, TraceCommand.WRITE):
        return command, None, raw.offset
    if command in (TraceCommand.FLUSH, TraceCommand.RESET_ALL):
        return command, None, None
    zone = raw.offset // geometry.zone_size
    if command is TraceCommand.APPEND:
        return command, zone, None
    # A trim of a whole zone is how fio and mkfs reset one; a zone command has no length, or the
    # zone's.
    start, end = zone * geometry.zone_size, min((zone + 1) * geometry.zone_size, geometry.size)
    whole = raw.offset == start and raw.length >= end - start
    if raw.dir == lib.ZD_SIM_TRIM:
        return (command, zone, None) if whole and raw.length == end - start else None
    return (command, zone, None) if raw.offset == start else None


def _asked(
    number: int, command: TraceCommand, zone: int | None, offset: int | None, length: int, time: int
) -> TraceRecord:
    size = length if command in DATA else 0
    return TraceRecord(number, command, zone, offset, length=size, done=size, start_ns=time)


def _is_own(head: bytes) -> bool:
    """Also one that was cut off within the eight bytes by which it is known."""
    return is_trace(head) or (bool(head) and MAGIC.startswith(head))


def open_source(
    path: str | os.PathLike[str],
    form: str | None = None,
    *,
    action: str = "D",
    device: str | None = None,
    iolog_ns: bool = False,
    partial: bool = False,
) -> Source:
    """The trace in a file.

    ``form``: one of ALL_FORMATS; None: told by the content. ``device``: of a trace with several the
    one: "8,16" in blkparse's, the file's name in an iolog, else the number of a volume. ``action``:
    of blkparse's lines, those to take (D: issued to the drive; Q: queued). ``iolog_ns``: whether
    the times of an iolog of version 3 are nanoseconds. ``partial``: a trace of zoned's own that is
    cut off just ends there, and ``cut`` says it.

    Raises TraceError for a file that is no trace, OSError.
    """
    if form is not None and form not in ALL_FORMATS:
        raise TraceError(f"there is no trace format {form!r}: use {', '.join(ALL_FORMATS)}")
    if form == OWN or (form is None and _is_own(head_of(Path(path)))):
        if device is not None:
            raise TraceError(f"{path}: a trace of zoned is of one disk, so no device can be chosen")
        return OwnSource(path, partial)
    return ForeignSource(path, form, action, device, iolog_ns)
