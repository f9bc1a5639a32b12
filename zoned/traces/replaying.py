"""Give the commands of a trace to another disk, and compare what it makes of them.

A trace holds no payload, so what is written is a pattern that depends on the place and on the
command's number, the same in every replay. Commands that a fault rule made fail are not given
again; the part of them that was done is. Works through the native library on any Device.
"""

from __future__ import annotations

import functools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from zoned._core.handle import ask
from zoned._core.native import ffi, lib
from zoned._core.raising import broken_rule, rule_name
from zoned.geometry import Geometry, Model
from zoned.traces.own import Trace
from zoned.traces.packed import TraceError
from zoned.traces.records import DATA, NUMBERS, TraceCommand, TraceRecord, ZoneRow
from zoned.traces.sources import ForeignSource, OwnSource, Source
from zoned.units import counted
from zoned.zone import ZoneCondition, ZoneType

if TYPE_CHECKING:
    from zoned.device import Device

LONGEST = 1 << 30
"""A command with more data than this is not replayed: its buffer would be as large."""
_NONE = 2**64 - 1
_NO_ZONE = 2**32 - 1
_SPREAD = 65536

_ZONE_COMMANDS = {
    TraceCommand.OPEN,
    TraceCommand.CLOSE,
    TraceCommand.FINISH,
    TraceCommand.RESET,
    TraceCommand.OPEN_ALL,
    TraceCommand.CLOSE_ALL,
    TraceCommand.FINISH_ALL,
    TraceCommand.RESET_ALL,
}
_SET = {
    TraceCommand.SET_EMPTY: ZoneCondition.EMPTY,
    TraceCommand.SET_READ_ONLY: ZoneCondition.READ_ONLY,
    TraceCommand.SET_OFFLINE: ZoneCondition.OFFLINE,
}

_PLAIN = {
    TraceCommand.FLUSH: lib.zd_flush,
    TraceCommand.POWER_CYCLE: lib.zd_power_cycle,
    TraceCommand.POWER_ON: lib.zd_power_on,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a disk made of one command."""

    code: int
    landed: int | None = None
    wp: int | None = None
    condition: ZoneCondition | None = None
    zone: int | None = None

    @property
    def result(self) -> str:
        """ "ok", a rule's name, or the host's errno by number."""
        if self.code == 0:
            return "ok"
        return rule_name(self.code) if self.code <= lib.ZD_E_FIRST_RULE else f"errno {-self.code}"


class Performer:
    """Carries out the commands of traces on a disk, one after the other; all but a rollback."""

    def __init__(self, device: Device, seed: int = 0) -> None:
        self.device = device
        self.error = ffi.new("struct zd_error *")
        """Filled by the last command that failed."""
        self._landed = ffi.new("uint64_t *")
        self._keeps = device.geometry.data == "store"
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._pattern = b""
        self._zeros = bytearray()
        self._wrote: dict[int, int] = {}
        """When each thread's last write ended, ns."""
        self._crossed = False
        """Whether a flush since the last power cut ran beside another thread's write."""

    def give(self, item: TraceRecord, length: int | None = None) -> Outcome:
        """One command, or the first ``length`` bytes of it."""
        code = self._give(item, item.length if length is None else length)
        if code >= 0:
            append = item.command is TraceCommand.APPEND
            return Outcome(0, landed=int(self._landed[0]) if append and item.length else None)
        err = self.error
        known = err.cond != 0xFF
        return Outcome(
            int(code),
            wp=int(err.wp) if err.wp != _NONE else None,
            condition=ZoneCondition(err.cond) if known else None,
            zone=int(err.zone) if err.zone != _NO_ZONE else None,
        )

    def leave_out(self, item: TraceRecord) -> str | None:
        """None for a command that can be given. For any other: does what it had transferred, and
        tells why in a sentence; "" where a fault rule or the host made it fail.
        """
        if item.command is TraceCommand.MARK:
            return ""  # a word of the workload's
        if _impossible(item):
            return f"command {item.number}: it says what no command can"
        if item.command is TraceCommand.ROLLBACK:
            return (
                f"command {item.number}: a rollback to a snapshot cannot be repeated; zones may "
                "differ from here on"
            )
        if item.command is TraceCommand.POWER_CUT and item.length == lib.ZD_TRACE_KEEP_CHOSEN:
            self.give(item._replace(length=lib.ZD_KEEP_DURABLE))
            return (
                f"command {item.number}: a power cut with a choice of survivors cannot be "
                "repeated; only what was durable survived this one"
            )
        if item.command in DATA and LONGEST < item.length <= self.device.geometry.size:
            return f"command {item.number}: {item.length} bytes at once are more than can be given"
        if item.ok or (item.rule is not None and not item.injected):
            return None
        if item.command in DATA and item.done > min(item.length, LONGEST):
            done = counted(item.done, "byte")
            return f"command {item.number}: it says that {done} of {item.length} were done"
        if item.done and item.command in (TraceCommand.WRITE, TraceCommand.APPEND):
            self.give(item, item.done)
        elif item.done and item.command not in DATA:
            return (
                f"command {item.number}: it failed behind {counted(item.done, 'zone')}, which are "
                "left as they were here"
            )
        return ""

    def doubt(self, item: TraceRecord) -> list[str]:
        """What may come out otherwise on this disk than on the one recorded, a sentence each."""
        if item.command is TraceCommand.POWER_CUT:
            whys = list(self._doubts_of_cut(item))
            return [f"command {item.number}: {why}; zones may differ from here on" for why in whys]
        if item.command in (TraceCommand.WRITE, TraceCommand.APPEND):
            self._wrote[item.tid] = item.start_ns + item.duration_ns
        elif item.command is TraceCommand.FLUSH and item.ok:
            ends = (end for tid, end in self._wrote.items() if tid != item.tid)
            self._crossed = self._crossed or max(ends, default=0) > item.start_ns
        return []

    def _doubts_of_cut(self, item: TraceRecord) -> Iterator[str]:
        if (
            item.length == lib.ZD_KEEP_RANDOM
            and not self._keeps
            and self.device.geometry.model is Model.HOST_AWARE
        ):
            yield "which overwritten blocks survived a power cut is not known without their data"
        crossed, self._crossed = self._crossed, False
        if crossed and item.length != lib.ZD_KEEP_ALL:
            yield (
                "a flush before this power cut ran beside writes of other threads, and which of "
                "these it made durable is not recorded"
            )

    def sentence(self, code: int) -> str:
        """The rule that the last command broke, as the exception for it says it."""
        return str(broken_rule(code, self.error, self.device))

    def _give(self, item: TraceRecord, length: int) -> int:
        call, err = functools.partial(ask, self.device), self.error
        command = item.command
        zone = _NO_ZONE if item.zone is None else item.zone
        if command is TraceCommand.WRITE:
            return call(lib.zd_pwrite, self._data(item, length), length, item.offset, err)
        if command is TraceCommand.READ:
            return call(lib.zd_pread, self._room(length), length, item.offset, err)
        if command is TraceCommand.APPEND:
            data = self._data(item, length)
            return call(lib.zd_append, zone, data, length, self._landed, err)
        if command in _ZONE_COMMANDS:
            # Recorded is one command for each zone, but for those that name zones beyond the disk.
            count = item.length if item.result == "out-of-range" else 1
            return call(lib.zd_zone_mgmt, NUMBERS[command], zone, count, err)
        if command is TraceCommand.SET_EXTENSION:
            size = self.device.geometry.zone_extension
            return call(lib.zd_zone_set_extension, zone, self._room(size), size, err)
        if command is TraceCommand.OPEN_ZRWA:
            return call(lib.zd_zone_open_zrwa, zone, err)
        if command is TraceCommand.COMMIT_ZRWA:
            return call(lib.zd_zone_commit_zrwa, zone, item.offset or 0, err)
        if command in _SET:
            return call(lib.zd_set_condition, zone, int(_SET[command]), err)
        if command is TraceCommand.POWER_CUT:
            seed = _NONE if item.offset is None else item.offset
            return call(lib.zd_power_cut, item.length, seed, err)
        return call(_PLAIN[command], err)

    def _data(self, item: TraceRecord, length: int) -> Any:
        """The payload of a write: by place and number, without a copy."""
        if not self._keeps or length > self.device.geometry.size:
            return self._room(length)
        if len(self._pattern) < length + _SPREAD:
            self._pattern = self._random.randbytes(length + _SPREAD)
        place = ((item.offset or 0) // 512 * 7 + item.number * 131) % _SPREAD
        return ffi.from_buffer(self._pattern) + place

    def _room(self, length: int) -> Any:
        # Beyond the size of the disk it is refused before a byte is touched.
        wanted = 0 if length > self.device.geometry.size else length
        if len(self._zeros) < wanted or not self._zeros:
            self._zeros = bytearray(max(wanted, 4096))
        return ffi.from_buffer(self._zeros)


def _impossible(item: TraceRecord) -> bool:
    """Whether a record, of a damaged or crafted trace, is of no command that could be given."""
    if item.command in (TraceCommand.READ, TraceCommand.WRITE):
        return item.offset is None
    if item.command is TraceCommand.POWER_CUT:
        return item.length >= 2**31
    return item.command in _ZONE_COMMANDS and item.length > _NO_ZONE


class Notes(list[str]):
    """Sentences about a trace; of very many the first ones, and how many more there are."""

    MOST = 100

    def __init__(self) -> None:
        super().__init__()
        self._more = 0

    def add(self, notes: Iterable[str]) -> None:
        """Some more."""
        for note in notes:
            if len(self) < self.MOST:
                self.append(note)
            else:
                self._more += 1

    def close(self) -> None:
        """No more will come."""
        if self._more:
            self.append(f"{counted(self._more, 'more note')} of this kind")
            self._more = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that came out differently."""

    number: int | None
    """The command's number; None: the zones at the end."""
    what: str
    """ "result", "offset", "wp", "condition" or "zone"."""
    was: str
    now: str
    about: str
    """The command, or the zone."""

    def __str__(self) -> str:
        where = "at the end" if self.number is None else f"command {self.number}"
        return f"{where}, {self.about}: {self.what} was {self.was}, and is {self.now}"


@dataclass(slots=True)
class ReplayReport:
    """What a replay found. ``differences`` are the first ones, ``counts`` all of them by kind."""

    commands: int = 0
    failed: int = 0
    """Of them, commands that the disk refused, as they were before or not."""
    skipped: int = 0
    """Commands that a fault rule or the host made fail, which no replay can repeat."""
    zones_compared: bool = False
    """Whether the zones at the end could be compared: the trace has its end, and all of it was
    given.
    """
    seconds: float = 0.0
    differences: list[Difference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: Notes = field(default_factory=Notes)
    """What else to know, a sentence each."""

    @property
    def same(self) -> bool:
        """Whether nothing differed."""
        return not self.counts


def replay(
    trace: Trace | Source,
    device: Device,
    *,
    compare: bool = True,
    prepare: bool = True,
    speed: float | None = None,
    seed: int = 0,
    show: int = 20,
    progress: Callable[[int], None] | None = None,
) -> ReplayReport:
    """Give all commands of a trace to a disk.

    ``trace``: a recording, or what ``zoned.traces.sources.open_source`` gives for a trace of
    another program. Such a one tells of no results and of no state: it can only be replayed with
    ``compare=False``, on the disk as it is.

    ``compare``: also compare every result, the zone's write pointer and condition where it failed,
    the place of appends, and the zones at the end. ``prepare``: bring an untouched disk to the
    state in which the recording began. ``speed``: 1.0 with the original times, 2.0 twice as fast,
    None as fast as it goes. ``seed``: of the pattern that is written. ``show``: as many differences
    are kept. ``progress`` is called with the number of each 1,024th command.

    Raises TraceError where the disk is not in the state that the recording began in, TraceCutError
    behind the last whole record of a trace that was cut off (unless it was opened as partial).
    ValueError to compare a trace that has no results.
    """
    if speed is not None and not (speed > 0 and math.isfinite(speed)):
        raise ValueError(f"speed is {speed}: it must be a number above 0, such as 1.0")
    if isinstance(trace, ForeignSource):
        return _replay_foreign(trace, device, compare, speed, seed, progress)
    own = trace.trace if isinstance(trace, OwnSource) else trace
    report = ReplayReport()
    if prepare:
        prepare_zones(device, own.before)
    _note_geometry(own.geometry, device, report)
    begin_ns = own.header.monotonic_ns
    _all(own, Performer(device, seed), report, _Pace(begin_ns, speed), compare, show, progress)
    if own.lost:
        report.notes.append(
            f"the trace lacks {counted(own.lost, 'command')}, so the disks may differ"
        )
    if compare and own.complete:
        report.zones_compared = True
        _compare_zones(own, device, report, show)
    return report


def _replay_foreign(
    source: ForeignSource,
    device: Device,
    compare: bool,
    speed: float | None,
    seed: int,
    progress: Callable[[int], None] | None,
) -> ReplayReport:
    if compare:
        raise ValueError(f"{source.path}: {source.no_results}")
    report = ReplayReport()
    commands = source.commands(device.geometry)
    _all(commands, Performer(device, seed), report, _Pace(0, speed), compare, 0, progress)
    report.notes += source.notes
    report.skipped += source.skipped
    return report


class _Pace(NamedTuple):
    """When commands are given: ``speed`` times as fast as in a trace that began at ``start_ns``;
    None: at once.
    """

    start_ns: int
    speed: float | None


def _all(
    commands: Iterable[TraceRecord],
    performer: Performer,
    report: ReplayReport,
    pace: _Pace,
    compare: bool,
    show: int,
    progress: Callable[[int], None] | None,
) -> None:
    begin = time.monotonic()
    try:
        for item in commands:
            if pace.speed is not None:
                _wait_till(begin + (item.start_ns - pace.start_ns) / 1e9 / pace.speed)
            _one(performer, item, report, compare, show)
            if progress is not None and item.number % 1024 == 0:
                progress(item.number)
    finally:
        report.seconds = time.monotonic() - begin
        report.notes.close()


def _wait_till(moment: float) -> None:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)


def _one(
    performer: Performer, item: TraceRecord, report: ReplayReport, compare: bool, show: int
) -> None:
    why = performer.leave_out(item)
    if why is not None:
        report.skipped += 1
        report.notes.add([why] if why else [])
        return
    outcome = performer.give(item)
    report.notes.add(performer.doubt(item))
    report.commands += 1
    report.failed += outcome.code < 0
    if compare:
        _compare(item, outcome, report, show)


def _differ(report: ReplayReport, difference: Difference, show: int) -> None:
    report.counts[difference.what] += 1
    if len(report.differences) < show:
        report.differences.append(difference)


def _compare(item: TraceRecord, outcome: Outcome, report: ReplayReport, show: int) -> None:
    def differ(what: str, was: object, now: object) -> None:
        _differ(report, Difference(item.number, what, str(was), str(now), _about(item)), show)

    if item.code != outcome.code:
        differ("result", item.result, outcome.result)
        return
    if item.ok:
        if item.command is TraceCommand.APPEND and item.length and item.offset != outcome.landed:
            differ("offset", item.offset, outcome.landed)
        return
    if item.wp != outcome.wp and outcome.condition is not None:
        differ("wp", item.wp, outcome.wp)
    if item.condition is not outcome.condition and outcome.condition is not None:
        was = item.condition.name if item.condition is not None else None
        differ("condition", was, outcome.condition.name)


def _about(item: TraceRecord) -> str:
    return str(item).rpartition(": ")[0] if item.ok else str(item).partition(": ")[0]


# ---------------------------------------------------------------- zones


def prepare_zones(device: Device, rows: Iterable[ZoneRow]) -> None:
    """Bring an untouched disk into the state of these zones.

    Everything in it is durable. A disk that is in that state already is left alone. Raises
    TraceError for any other disk, or for zones that this one cannot have.
    """
    from zoned.archive import Builder, in_order
    from zoned.dumpfile import DumpError

    wanted = list(rows)
    geometry = device.geometry
    now = _state(device)
    if now == {row.zone: _key(row) for row in wanted}:
        return
    if now:
        raise TraceError(
            "the disk is not in the state in which the recording began, and not untouched either "
            f"(zone {min(now)} is {now[min(now)][0].name}): replay on a new disk, or as it is"
        )
    builder = Builder(device, payload=geometry.data == "store")
    records = []
    for row in wanted:
        if row.zone >= geometry.nr_zones or row.written > geometry.zone_capacity_of(row.zone):
            raise TraceError(
                f"the recording began with {counted(row.written, 'byte')} in zone "
                f"{row.zone}, and this disk "
                "has no such zone"
            )
        records.append((row.opened, row.record()))
    try:
        for record in in_order(records):
            if record.extended:
                builder.extend(record.index, bytes(geometry.zone_extension))
            wrong = builder.begin(record)
            if wrong is not None:
                raise DumpError(wrong)
            builder.end()
    except (DumpError, OSError) as error:
        raise TraceError(
            f"this disk cannot be brought into the state in which the recording began: {error}"
        ) from None
    device.flush()


_State = tuple[ZoneCondition, int | None, bool, bool, bool, int]
"""With a random write area the number is where it is written up to, not where it begins."""


def _key(row: ZoneRow) -> _State:
    wp, extended = _wp(row.condition, row.written), row.extended
    shown = extended and row.condition is not ZoneCondition.OFFLINE
    return row.condition, wp, row.non_seq, row.reset_recommended, shown, row.area


def _wp(condition: ZoneCondition, written: int) -> int | None:
    valid = ZoneCondition.EMPTY <= condition <= ZoneCondition.CLOSED
    return written if valid else None


def _state(device: Device) -> dict[int, _State]:
    """The zones that a report does not show as new: condition, write pointer from the zone's start,
    attributes.
    """
    from zoned.archive import area_number

    found: dict[int, _State] = {}
    extends, areas = device.geometry.zone_extension > 0, device.geometry.zrwa_size > 0
    for zone in device.zones:
        new = ZoneCondition.NOT_WP if zone.type is ZoneType.CONVENTIONAL else ZoneCondition.EMPTY
        if zone.condition is not new:
            wp = None if zone.wp is None else zone.wp - zone.start
            extended = extends and device.zone_extension(zone.index) is not None
            area = device.write_area(zone.index) if areas and zone.condition.is_active else None
            if area is not None:
                wp = area.stop - zone.start
            found[zone.index] = (
                *(zone.condition, wp, zone.non_seq, zone.reset_recommended),
                extended,
                area_number(device.geometry, area),
            )
    return found


def _compare_zones(trace: Trace, device: Device, report: ReplayReport, show: int) -> None:
    if not device.powered:
        report.zones_compared = False
        report.notes.append("the disk has no power at the end, so its zones were not compared")
        return
    was = {row.zone: _key(row) for row in trace.after}
    now = _state(device)
    for zone in sorted(was.keys() | now.keys()):
        if was.get(zone) != now.get(zone):
            difference = Difference(
                None, "zone", _told(was.get(zone)), _told(now.get(zone)), f"zone {zone}"
            )
            _differ(report, difference, show)


def _told(state: _State | None) -> str:
    if state is None:
        return "as new"
    condition, wp, non_seq, reset, extended, area = state
    text = condition.name + ("" if wp is None else f" with wp +{wp}")
    text += ", with a descriptor extension" if extended else ""
    text += f", of which {area - 1} granules are not committed" if area else ""
    return text + (", non_seq" if non_seq else "") + (", reset recommended" if reset else "")


def _note_geometry(recorded: Geometry, device: Device, report: ReplayReport) -> None:
    for name in ("size", "zone_size", "zone_capacity", "dialect", "max_open", "max_active"):
        was, now = getattr(recorded, name), getattr(device.geometry, name)
        if was != now:
            report.notes.append(f"{name} of the recorded disk was {was}, and of this one is {now}")
