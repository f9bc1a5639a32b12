"""Traces: every command that a disk got, with its result and times, in a file or as the last few.

``dev.trace`` records, ``Trace`` reads what was recorded::

    with dev.trace.record("boot.trace"):
        ...                               # commands of every process that has the disk open
    for record in zoned.Trace("boot.trace"):
        print(record.number, record)

What a recording holds, and what it costs, is told in native/zd.h; the bytes of the file in
docs/trace-format.md. Replaying is zoned.replaying, judging zoned.linting, other forms
zoned.traceforms.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from uuid import UUID

from zoned._lib import Guard, ffi, lib, open_file
from zoned.blocktrace import TraceError, open_input, read_piece
from zoned.errors import raise_error, rule_name
from zoned.geometry import DataMode, Dialect, Geometry, HostSync, ImplicitClose, Model, resolve
from zoned.units import counted, were
from zoned.zone import ZoneCondition
from zoned.zonelist import ZoneSet

if TYPE_CHECKING:
    from io import FileIO

    from zoned.device import Device

__all__ = [
    "DeviceTrace",
    "Recorded",
    "Trace",
    "TraceCommand",
    "TraceCutError",
    "TraceError",
    "TraceRecord",
    "ZoneRow",
]

MAGIC = b"ZDTRACE\n"
VERSION = lib.ZD_TRACE_VERSION
_HEADER = struct.Struct("<8sII16sQQQQQQQIIIIBBBBBBHII64s")
_RECORD = struct.Struct("=10QiIIII5B23x")
_NONE = 2**64 - 1
_NO_ZONE = 2**32 - 1
_PIECE = 1 << 20
_BATCH = 8192


class TraceCutError(TraceError):
    """A trace that ends too early or is damaged: what came before it was read, and is right."""


class TraceCommand(StrEnum):
    """What a record is about: the commands of a disk, and what else happens to one."""

    READ = "read"
    WRITE = "write"
    APPEND = "append"
    OPEN = "open"
    CLOSE = "close"
    FINISH = "finish"
    RESET = "reset"
    OPEN_ALL = "open-all"
    CLOSE_ALL = "close-all"
    FINISH_ALL = "finish-all"
    RESET_ALL = "reset-all"
    POWER_CYCLE = "power-cycle"
    SET_EMPTY = "set-empty"
    SET_READ_ONLY = "set-read-only"
    SET_OFFLINE = "set-offline"
    FLUSH = "flush"
    POWER_CUT = "power-cut"
    POWER_ON = "power-on"
    ROLLBACK = "rollback"


_EVENTS = (TraceCommand.POWER_CUT, TraceCommand.POWER_ON, TraceCommand.ROLLBACK)
NUMBERS: dict[TraceCommand, int] = {
    command: getattr(
        lib, f"ZD_TRACE_{command.name}" if command in _EVENTS else f"ZD_CMD_{command.name}"
    )
    for command in TraceCommand
}
_COMMANDS = {number: command for command, number in NUMBERS.items()}
DATA = (TraceCommand.READ, TraceCommand.WRITE, TraceCommand.APPEND)
"""Commands that carry data."""


class TraceRecord(NamedTuple):
    """One command. Bytes, absolute on the disk; nanoseconds of CLOCK_MONOTONIC."""

    number: int
    """From 0 on; of ``dev.trace.last()``: of all that the disk ever kept."""
    command: TraceCommand
    zone: int | None
    """read, write: where it began, or where it failed. None: no zone, or no such offset."""
    offset: int | None
    """read, write: as given; append: where it landed; else None."""
    length: int
    """read, write, append: bytes asked for. Zone commands: 0, or how many zones where the disk has
    not so many.
    """
    done: int
    """Bytes transferred, whether it failed or not."""
    code: int
    """0, or the negative code of native/zd.h that it failed with."""
    wp: int | None
    """Failed: the zone's write pointer before it. None where invalid."""
    bound: int | None
    """Failed: what was crossed or exceeded, as ZonedError.bound."""
    condition: ZoneCondition | None
    """Failed: the zone's condition before it."""
    injected: bool
    """Whether a fault rule made it fail, or happen."""
    fault: int | None
    """Which one."""
    start_ns: int
    """When it came."""
    duration_ns: int
    """Till it had taken effect: waiting for locks and latency of fault rules included."""
    virtual_ns: int
    """Virtual time that latency rules had added to the disk by its end."""
    pid: int
    tid: int
    """The process and thread that gave it."""

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0

    @property
    def rule(self) -> str | None:
        """Name of the rule that it broke, such as "unaligned-write"; None if it broke none."""
        return rule_name(self.code) if self.code <= lib.ZD_E_FIRST_RULE else None

    @property
    def result(self) -> str:
        """ "ok", the rule that it broke, or the host's error by its name, such as "ENOSPC"."""
        if self.code == 0:
            return "ok"
        return self.rule or errno.errorcode.get(-self.code, str(self.code))

    def __str__(self) -> str:
        """ "write of 4096 bytes at 8192 in zone 0: ok"."""
        where = f" in zone {self.zone}" if self.zone is not None else ""
        if self.command is TraceCommand.APPEND:
            landed = "" if self.offset is None else f", landed at {self.offset}"
            text = f"append of {counted(self.length, 'byte')} to zone {self.zone}{landed}"
        elif self.command in DATA:
            text = f"{self.command} of {counted(self.length, 'byte')} at {self.offset}{where}"
        elif self.zone is not None:
            more = f" and {self.length - 1} more" if self.length > 1 else ""
            text = f"{self.command} of zone {self.zone}{more}"
        else:
            text = str(self.command)
        told = self.result
        if not self.ok and self.condition is not None:
            wp = "" if self.wp is None else f", wp {self.wp}"
            told += f" (zone was {self.condition.name}{wp})"
        if self.injected:
            told += f", by fault {self.fault}"
        return f"{text}: {told}"


class ZoneRow(NamedTuple):
    """A zone that is not as new when a recording begins or ends. Bytes from its start."""

    zone: int
    condition: ZoneCondition
    written: int
    durable: int
    non_seq: bool
    reset_recommended: bool
    finished: bool
    """Whether it became FULL by a finish."""
    opened: int
    """Implicitly open zones: a number that is larger for zones opened later."""


class Recorded(NamedTuple):
    """What ``stop`` tells of a recording."""

    records: int
    lost: int
    """Commands that are missing from the file: native/zd.h tells when that can be."""
    waits: int
    """Commands that had to wait for the recorder."""
    size: int
    """Of the file, bytes."""


# ---------------------------------------------------------------- recording


class Recording:
    """One recording of a handle, from before it begins."""

    __slots__ = ("made", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.made: bool | None = None
        """Whether its file was not there before; None: not known yet."""


class DeviceTrace:
    """``dev.trace``: record the commands of everybody who has the disk open."""

    __slots__ = ("_device",)

    def __init__(self, device: Device) -> None:
        self._device = device

    def __repr__(self) -> str:
        mine = self._device._recording
        with suppress(ValueError, RuntimeError):  # a closed device records nothing
            if mine is not None and self._status().mine:
                return f"<dev.trace, recording to {mine.name!r}>"
        return "<dev.trace, this handle records nothing>"

    def start(self, path: str | os.PathLike[str]) -> None:
        """Record to a file, from now on until stop() or close(). An existing file is replaced.

        One recording at a time: raises OSError (EBUSY, EALREADY) where the disk is being recorded,
        io.UnsupportedOperation on a read-only handle, OSError where the file cannot be made.
        """
        self._start(Recording(os.fsdecode(path)))

    def _start(self, new: Recording) -> None:
        device = self._device
        with Guard(device._tracing):
            before = self._status().mine
            free = not os.path.lexists(new.name)
            try:
                with _open_new(new, device) as file:
                    self._call(lib.zd_trace_start, new.name, file.fileno())
                    device._recording = new
            except BaseException:
                if not before:
                    self._undo_start()
                if free and new.made is not False:
                    with suppress(OSError):
                        os.unlink(new.name)
                raise

    def _undo_start(self) -> None:
        """Something came amid start(): the recording may have begun."""
        with suppress(ValueError):  # the device was closed, which ended it
            if self._status().mine:
                self._device._native(lib.zd_trace_stop, ffi.NULL, ffi.NULL)
        self._device._recording = None

    def stop(self) -> Recorded:
        """End the recording: all commands that took effect before this are in the file.

        Raises OSError where the file could not be written to its end (it is readable up to there),
        ValueError where this handle records nothing.
        """
        device = self._device
        raw = ffi.new("struct zd_trace_status *")
        err = ffi.new("struct zd_error *")
        with Guard(device._tracing):
            mine = device._recording
            code = device._native(lib.zd_trace_stop, raw, err)
            device._recording = None
        if code == -errno.ENOENT:
            raise ValueError("this handle records nothing: dev.trace.start() begins")
        if code < 0:
            raise_error(code, err, device, mine.name if mine else None)
        return Recorded(raw.records, raw.lost, raw.waits, raw.bytes)

    @contextmanager
    def record(self, path: str | os.PathLike[str]) -> Iterator[None]:
        """start() and stop() around a block."""
        device, process = self._device, os.getpid()
        new = Recording(os.path.abspath(os.fsdecode(path)))
        try:
            self._start(new)
            yield
        finally:
            # Closing ended it, or another thread did; a forked child has none.
            if device._recording is new and not device.closed and os.getpid() == process:
                self.stop()

    @property
    def recorder(self) -> int | None:
        """Process that records the disk to a file; None if nobody does."""
        return int(self._status().recorder) or None

    @property
    def records(self) -> int:
        """Commands that this handle's recording has met so far; 0 if it records nothing."""
        raw = self._status()
        return int(raw.records) if raw.mine else 0

    @property
    def failure(self) -> OSError | None:
        """Why this handle's recording ended by itself, such as a full disk; None if it did not."""
        number = int(self._status().error)
        mine = self._device._recording
        name = mine.name if mine else None
        return OSError(number, os.strerror(number), name) if number else None

    @property
    def keeps(self) -> bool:
        """Whether the disk keeps its last commands for last()."""
        return bool(self._status().keeps)

    def keep(self, on: bool = True) -> None:
        """Keep the last 1,023 commands of all openers with the disk, for last(); or no longer.

        It stays so through close and open, until the host boots anew. Costs each command a fraction
        of a microsecond. Raises io.UnsupportedOperation on a read-only handle.
        """
        self._call(lib.zd_trace_keep, None, on)

    def last(self, count: int = lib.ZD_TRACE_LAST) -> list[TraceRecord]:
        """The last commands that were kept or recorded, oldest first; at most 1,023.

        Works on what an earlier opener left, and without power.
        """
        if not isinstance(count, int):
            raise TypeError(f"count must be an integer, not {type(count).__name__}")
        if count < 0:
            raise ValueError(f"count is {count}: it must not be negative")
        most = min(count, lib.ZD_TRACE_LAST)
        raw = ffi.new("struct zd_trace_record[]", most)
        got = self._call(lib.zd_trace_last, None, raw, most)
        geometry = self._device.geometry
        rows = _RECORD.iter_unpack(ffi.buffer(raw, got * _RECORD.size))
        return [_record(row, geometry.zone_size, geometry.nr_zones) for row in rows]

    def _status(self) -> Any:
        raw = ffi.new("struct zd_trace_status *")
        self._call(lib.zd_trace_status, None, raw)
        return raw

    def _call(self, function: Any, path: str | None, *args: object) -> int:
        err = ffi.new("struct zd_error *")
        code = self._device._native(function, *args, err)
        if code < 0:
            raise_error(code, err, self._device, path or self._device._given)
        return int(code)


def _open_new(new: Recording, device: Device) -> FileIO:
    """The file to write the trace to; tells whether it was not there before."""
    try:
        file = open_file(new.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        new.made = True
    except FileExistsError:
        new.made = False
    else:
        return file
    file = open_file(new.name, os.O_WRONLY)
    status = os.fstat(file.fileno())
    with Guard(device):
        disk = os.fstat(lib.zd_fd(device._handle))
    if stat.S_ISREG(status.st_mode) and os.path.samestat(status, disk):
        file.close()
        raise ValueError(f"{new.name} is the disk itself: a trace needs a file of its own")
    return file


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Header:
    """What a trace says of the disk that it is of."""

    uuid: UUID
    started: datetime
    monotonic_ns: int
    """CLOCK_MONOTONIC at that moment."""
    geometry: Geometry
    size: int
    """Bytes of the header in the file."""
    crc: int


class Trace:
    """A trace file (plain, gzip or zstd). Iterating gives its records, lazily, as often as asked.

    What is only known at the end (``after``, ``lost``, ``complete``) belongs to the last iteration.
    A trace that was cut off or damaged gives all records before that place and then raises
    TraceCutError, which says where; with ``partial`` it just ends there, and ``cut`` says it.

    Raises TraceError where the header is no trace's, OSError.
    """

    def __init__(self, path: str | os.PathLike[str], *, partial: bool = False) -> None:
        self.path = Path(path)
        self.partial = partial
        self.cut: str | None = None
        """What is wrong at the end, in a sentence; None if nothing is."""
        self.complete = False
        """Whether the last iteration met the trace's end mark."""
        self.lost = 0
        """Commands that the recorder had to leave out."""
        self.after: tuple[ZoneRow, ...] = ()
        """The zones that were not as new when the recording ended."""
        with open_input(self.path) as file:
            self.header = _read_header(file, self.path)
        self.before = tuple(self._zones_before())
        """The zones that were not as new when the recording began."""

    @property
    def geometry(self) -> Geometry:
        """Of the disk that was recorded."""
        return self.header.geometry

    def __iter__(self) -> Iterator[TraceRecord]:
        self._forget()
        size, zones = self.geometry.zone_size, self.geometry.nr_zones
        after: list[ZoneRow] = []
        for row in self._rows():
            kind = row[15]
            if kind == lib.ZD_TRACE_COMMAND:
                yield _record(row, size, zones)
            elif kind == lib.ZD_TRACE_ZONE_AFTER:
                after.append(self._zone_row(row, after[-1].zone if after else -1))
            elif kind == lib.ZD_TRACE_LOST:
                self.lost += row[9]
            elif kind == lib.ZD_TRACE_END:
                self.complete = True
                self.after = tuple(after)
        if self.cut is not None and not self.partial:
            raise TraceCutError(self.cut)

    def _forget(self) -> None:
        self.after, self.lost, self.complete, self.cut = (), 0, False, None

    def _zones_before(self) -> Iterator[ZoneRow]:
        last = -1
        for row in self._rows():
            if row[15] != lib.ZD_TRACE_ZONE_BEFORE:
                return
            zone = self._zone_row(row, last)
            last = zone.zone
            yield zone

    def _zone_row(self, row: tuple[int, ...], last: int) -> ZoneRow:
        """A zone's row. They ascend, so that no trace has more of them than its disk has zones."""
        if not last < row[11] < self.geometry.nr_zones:
            raise TraceError(
                f"{self.path}: damaged: a row of zone {row[11]} comes after one of zone {last}, on "
                f"a disk of {self.geometry.nr_zones} zones"
            )
        return _zone_row(row)

    def _rows(self) -> Iterator[tuple[int, ...]]:
        """Items as struct zd_trace_record, one after the other; sets ``cut`` at the end."""
        reader = ffi.new("struct zd_trace_reader *")
        reader.crc = self.header.crc
        reader.start_ns = self.header.monotonic_ns
        out = ffi.new("struct zd_trace_record[]", _BATCH)
        used = ffi.new("uint64_t *")
        rest = b""
        broken = ""
        with open_input(self.path) as file:
            _skip(file, self.header.size, self.path)
            while not reader.damage and not reader.ended:
                try:
                    piece = read_piece(file, self.path, _PIECE)
                except TraceError as error:
                    broken, piece = str(error), b""
                text = rest + piece
                at = 0
                view = ffi.from_buffer(text)
                while True:
                    count = lib.zd_trace_read(reader, view + at, len(text) - at, out, _BATCH, used)
                    at += used[0]
                    if not count:
                        break
                    yield from _RECORD.iter_unpack(bytes(ffi.buffer(out, count * _RECORD.size)))
                rest = text[at:]
                if not piece:
                    break
            behind = bool(rest) or (bool(reader.ended) and bool(file.read(1)))
        self.cut = self._what_is_wrong(reader, len(rest), behind, broken)

    def _what_is_wrong(self, reader: Any, rest: int, behind: bool, broken: str) -> str | None:
        number = int(reader.commands)
        read = f"the {counted(number, 'command')} before that {were(number)} read"
        at = self.header.size + reader.at
        if reader.damage:
            what = {
                lib.ZD_TRACE_CHECKSUM: "a checksum is wrong",
                lib.ZD_TRACE_KIND: "there is an item of an unknown kind",
                lib.ZD_TRACE_BODY: "there is an item that says what cannot be",
            }[reader.damage]
            return f"{self.path}: damaged at byte {at}, where {what}; {read}"
        if reader.ended:
            return f"{self.path}: bytes follow its end mark at byte {at}" if behind else None
        if broken:
            return f"{broken}; {read}"
        if rest:
            return f"{self.path}: cut off in the middle of an item that begins at byte {at}; {read}"
        return (
            f"{self.path}: ends at byte {at} without its end mark (it was cut off, its recorder "
            f"was killed, or it is still being recorded); {read}"
        )


def is_trace(head: bytes) -> bool:
    """Whether a file that begins so is a trace of zoned's own."""
    return head[: len(MAGIC)] == MAGIC


def _read_exactly(file: BinaryIO, size: int, path: Path) -> bytes:
    got = b""
    while len(got) < size:
        piece = read_piece(file, path, size - len(got))
        if not piece:
            break
        got += piece
    return got


def _skip(file: BinaryIO, size: int, path: Path) -> None:
    _read_exactly(file, size, path)


def _read_header(file: BinaryIO, path: Path) -> Header:
    fixed = _read_exactly(file, _HEADER.size, path)
    if not fixed:
        raise TraceError(f"{path}: the file is empty")
    if not is_trace(fixed) and not MAGIC.startswith(fixed):
        raise TraceError(f"{path}: not a trace of zoned")
    if len(fixed) < _HEADER.size:
        raise TraceError(f"{path}: cut off in its header, at byte {len(fixed)}")
    field = _HEADER.unpack(fixed)
    version, length, ranges = field[1], field[2], field[22]
    if version != VERSION:
        raise TraceError(
            f"{path}: a trace of version {version}, and this zoned knows version {VERSION}"
        )
    if length != _HEADER.size + 8 * ranges + 4 or ranges > lib.ZD_MAX_CONV_RANGES:
        raise TraceError(
            f"{path}: damaged: its header says that it is {counted(length, 'byte')} long"
        )
    rest = _read_exactly(file, length - _HEADER.size, path)
    if len(rest) < length - _HEADER.size:
        raise TraceError(f"{path}: cut off in its header, at byte {_HEADER.size + len(rest)}")
    body = fixed + rest[:-4]
    crc = int.from_bytes(rest[-4:], "little")
    if lib.zd_crc32c(0, body, len(body)) != crc:
        raise TraceError(f"{path}: damaged: the checksum of its header is wrong")
    try:
        return Header(
            UUID(bytes=field[3]),
            datetime.fromtimestamp(field[4] / 1e9, UTC),
            field[5],
            _geometry(field, struct.iter_unpack("<II", rest[:-4])),
            length,
            crc,
        )
    except (ValueError, TypeError, IndexError, OverflowError, OSError) as error:
        raise TraceError(f"{path}: it describes a disk that cannot be: {error}") from None


def _geometry(field: tuple[Any, ...], ranges: Iterator[tuple[int, ...]]) -> Geometry:
    (size, zone_size, capacity, append_limit, seed, logical, physical, max_open, max_active) = (
        field[6:15]
    )
    dialect, model, close, data, sync, reads = field[15:21]
    values = {
        "size": size,
        "zone_size": zone_size,
        "zone_capacity": capacity,
        "conventional": ZoneSet((first, count) for first, count in ranges),
        "logical_block": logical,
        "physical_block": physical,
        "max_open": max_open,
        "max_active": max_active,
        "append_limit": append_limit,
        "dialect": list(Dialect)[dialect],
        "model": list(Model)[model],
        "implicit_close": list(ImplicitClose)[close],
        "unrestricted_read": bool(reads),
        "data": list(DataMode)[data],
        "host_sync": list(HostSync)[sync],
        "seed": seed,
        "slot_cache": 256 << 20,
    }
    # What no disk can be would be found out later, by a division by 0 for instance.
    return resolve({}, values, profile=field[24].rstrip(b"\0").decode("utf-8", "replace"))


def _zone_row(row: tuple[int, ...]) -> ZoneRow:
    flags = row[19]
    try:
        condition = ZoneCondition(row[17])
    except ValueError:
        raise TraceError(
            f"zone {row[11]} of the trace is in condition {row[17]}, which there is not"
        ) from None
    return ZoneRow(
        row[11],
        condition,
        row[6],
        row[5],
        bool(flags & 1),
        bool(flags & 2),
        bool(flags & 4),
        row[4],
    )


_CONDITIONS: dict[int, ZoneCondition] = {int(condition): condition for condition in ZoneCondition}


def _record(row: tuple[int, ...], zone_size: int, nr_zones: int) -> TraceRecord:
    (number, start, duration, virtual, offset, length, done, landed, wp, bound, code) = row[:11]
    zone: int | None = row[11] if row[11] != _NO_ZONE else None
    where: int | None = None
    if offset != _NONE:
        where = offset
        if zone is None and offset < zone_size * nr_zones and row[16] <= 1:
            zone = offset // zone_size
    elif landed != _NONE:
        where = landed
    failed = code < 0
    return TraceRecord(
        number,
        _COMMANDS[row[16]],
        zone,
        where,
        length,
        done,
        code,
        None if wp == _NONE or not failed else wp,
        None if not failed or bound in (0, _NONE) else bound,
        _CONDITIONS.get(row[17]) if failed else None,
        bool(row[18]),
        row[14] if row[18] else None,
        start,
        duration,
        virtual,
        row[12],
        row[13],
    )
