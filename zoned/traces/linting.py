"""Which commands of a trace a host-managed disk would refuse, why, how often, and in which zones.

The judge is the disk itself: every command is given to one in RAM that keeps no data, with the
geometry asked for. There is no second book of rules. Reads every kind of trace
that zoned.traces.sources knows.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from zoned._lib import lib
from zoned.geometry import DataMode, Geometry, HostSync
from zoned.traces.foreign import FORMATS, BlockTrace, file_number
from zoned.traces.own import Trace, is_trace
from zoned.traces.packed import TraceError, head_of
from zoned.traces.records import DATA, TraceCommand, TraceRecord
from zoned.traces.replaying import Notes, Performer, prepare_zones
from zoned.units import counted

if TYPE_CHECKING:
    from zoned.device import Device

OWN = "zoned"
"""Name of zoned's own format."""
ALL_FORMATS = (OWN, *FORMATS)
_NONE = 2**64 - 1
_OTHERS = 1000
"""Devices of a trace that are not judged, and are remembered to be named."""


@dataclass(slots=True)
class Refusals:
    """One rule that commands would break."""

    rule: str
    first: int
    """Number of the first command that breaks it, from 0 on."""
    sentence: str
    """Why that one is refused."""
    count: int = 0
    zones: Counter[int | None] = field(default_factory=Counter)
    """How often in which zone; None: beyond the disk."""


@dataclass(slots=True)
class LintReport:
    """What ``lint`` found."""

    format: str
    geometry: Geometry
    commands: int = 0
    """Commands that were judged."""
    skipped: int = 0
    """Commands that could not be: made to fail by a fault rule or the host, or trims of a part of a
    zone.
    """
    refused: dict[str, Refusals] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    cut: str | None = None
    """Where the trace ends too early, in a sentence; None if it does not."""

    @property
    def refusals(self) -> int:
        """Commands that would be refused."""
        return sum(item.count for item in self.refused.values())

    @property
    def clean(self) -> bool:
        """Whether none would be."""
        return not self.refused

    def as_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "lint": 1,
            "format": self.format,
            "commands": self.commands,
            "skipped": self.skipped,
            "refused": self.refusals,
            "rules": [
                {
                    "rule": item.rule,
                    "refused": item.count,
                    "first": item.first,
                    "why": item.sentence,
                    "zones": [
                        {"zone": zone, "refused": count} for zone, count in zones_in_order(item)
                    ],
                }
                for item in self.refused.values()
            ],
            "notes": self.notes,
            "cut": self.cut,
        }


def zones_in_order(item: Refusals) -> list[tuple[int | None, int]]:
    """Zones ascending, with how often; what lies beyond the disk last."""
    return sorted(item.zones.items(), key=lambda pair: (pair[0] is None, pair[0] or 0))


def lint(
    path: str | os.PathLike[str],
    geometry: Geometry | None = None,
    *,
    form: str | None = None,
    device: str | None = None,
    action: str = "D",
    partial: bool = False,
) -> LintReport:
    """Judge a trace by the rules of a disk of this geometry.

    ``geometry``: None takes that of the recorded disk, which only zoned's own traces tell.
    ``form``: one of ALL_FORMATS; None: told by the content. ``device``: of a trace with several the
    one: "8,16" in blkparse's, the file's name in an iolog, else the number of a volume. ``action``:
    of blkparse's lines, those to take (D: issued to the drive; Q: queued). ``partial``: a trace of
    zoned's own that is cut off is judged up to there, and ``cut`` of the report says it.

    Raises TraceError for a trace that cannot be read, or a geometry that is not told; TraceCutError
    for one of zoned's own that is cut off.
    """
    from zoned.device import _create

    source = _source(path, form, action, device, partial)
    wanted = geometry or source.geometry
    if wanted is None:
        raise TraceError(
            f"{path}: a trace of format {source.format} does not tell which disk it is for: name a "
            "profile or a geometry"
        )
    disk = _create(
        None,
        replace(wanted, data=DataMode.NONE, host_sync=HostSync.NEVER),
        replace=False,
    )
    with disk:
        report = LintReport(source.format, disk.geometry)
        same = geometry is None or _alike(geometry, source.geometry)
        if same:
            prepare_zones(disk, source.before)
        elif source.before:
            report.notes.append(
                "the recording began with zones in use, on another kind of disk: here all begin "
                "empty"
            )
        _judge(disk, source.commands(disk), report)
        report.notes.close()
        report.notes += source.notes
        report.skipped += source.skipped
    report.cut = source.trace.cut if isinstance(source, _Own) else None
    return report


def _alike(one: Geometry, other: Geometry | None) -> bool:
    names = ("size", "zone_size", "zone_capacity", "conventional", "model")
    return other is not None and all(getattr(one, name) == getattr(other, name) for name in names)


def _judge(disk: Device, commands: Iterable[TraceRecord], report: LintReport) -> None:
    performer = Performer(disk)
    for item in commands:
        why = performer.leave_out(item)
        if why is not None:
            report.skipped += 1
            report.notes.add([why] if why else [])
            continue
        report.commands += 1
        outcome = performer.give(item)
        report.notes.add(performer.doubt(item))
        if outcome.code == 0:
            continue
        if outcome.code > lib.ZD_E_FIRST_RULE:
            raise TraceError(
                f"command {item.number}: the host failed while it was judged ({outcome.result})"
            )
        rule = outcome.result
        zone = outcome.zone if item.zone is None or item.command in DATA else item.zone
        known = report.refused.get(rule)
        if known is None:
            known = Refusals(rule, item.number, performer.sentence(outcome.code))
            report.refused[rule] = known
        known.count += 1
        known.zones[zone if zone is None or zone < disk.geometry.nr_zones else None] += 1


# ---------------------------------------------------------------- where commands come from


class _Own:
    """A trace of zoned's own."""

    format = OWN
    notes: tuple[str, ...] = ()
    skipped = 0

    def __init__(self, path: str | os.PathLike[str], partial: bool) -> None:
        self.trace = Trace(path, partial=partial)
        self.geometry: Geometry | None = self.trace.geometry
        self.before = self.trace.before

    def commands(self, disk: Device) -> Iterator[TraceRecord]:  # noqa: ARG002
        return iter(self.trace)


class _Foreign:
    """A trace of another program: reads, writes, trims, syncs, zone commands."""

    geometry = None
    before = ()

    def __init__(
        self, path: str | os.PathLike[str], form: str | None, action: str, device: str | None
    ) -> None:
        self.trace = BlockTrace(path, form, action=action, zones=True, files=True)
        self.format = self.trace.format
        self._names = _file_names(self.trace) if self.format.startswith("iolog") else {}
        self.wanted = None if device is None else self._number(device)
        self.skipped = 0
        self.notes: list[str] = []

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
        """A command of a device that is not judged."""
        if self.wanted is None:
            raise TraceError(
                f"{self.trace.path}: commands of several devices, such as "
                f"{self._name(only)} and {self._name(device)}: choose one"
            )
        if len(others) < _OTHERS:
            others.add(device)

    def commands(self, disk: Device) -> Iterator[TraceRecord]:
        numbers = itertools.count()
        only = self.wanted
        others: set[int] = set()
        partial = 0
        for records, count in self.trace.records():
            for at in range(count):
                raw = records[at]
                if only is None:
                    only = raw.device
                if raw.device != only:
                    self._other(raw.device, only, others)
                    continue
                number = next(numbers)
                found = _command(raw, disk.geometry)
                if found is None:
                    partial += 1
                    self.skipped += 1
                    continue
                command, zone, offset = found
                yield _asked(number, command, zone, offset, raw.length, raw.time)
        if others and next(numbers) == 0:
            names = sorted(map(self._name, others))[:10]
            raise TraceError(
                f"{self.trace.path}: there is no command of the device asked for; there are some "
                f"of {', '.join(names)}"
            )
        if partial:
            self.notes.append(
                f"{partial} trims or zone commands are not of one whole zone: a zoned disk has no "
                "such command, and they were not judged"
            )
        if self.trace.bad:
            self.notes.append(
                f"left out: {counted(self.trace.bad, 'malformed line')}; the first is "
                f"{self.trace.first_bad}"
            )


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
    return TraceRecord(
        number=number,
        command=command,
        zone=zone,
        offset=offset,
        length=size,
        done=size,
        code=0,
        wp=None,
        bound=None,
        condition=None,
        injected=False,
        fault=None,
        start_ns=time,
        duration_ns=0,
        virtual_ns=0,
        pid=0,
        tid=0,
    )


def _source(
    path: str | os.PathLike[str],
    form: str | None,
    action: str,
    device: str | None,
    partial: bool,
) -> _Own | _Foreign:
    from pathlib import Path

    if form is not None and form not in ALL_FORMATS:
        raise TraceError(f"there is no trace format {form!r}: use {', '.join(ALL_FORMATS)}")
    if form == OWN or (form is None and is_trace(head_of(Path(path)))):
        if device is not None:
            raise TraceError(f"{path}: a trace of zoned is of one disk, so no device can be chosen")
        return _Own(path, partial)
    return _Foreign(path, form, action, device)
