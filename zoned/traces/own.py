"""zoned's own traces: ``Trace`` reads what ``dev.trace`` recorded. (Byte by byte:
docs/trace-format.md.)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from zoned._core.native import ffi, lib
from zoned.geometry import DataMode, Dialect, Geometry, HostSync, ImplicitClose, Model
from zoned.resolving import resolve
from zoned.traces.packed import TraceError, open_input, read_piece
from zoned.traces.records import ROW, TraceRecord, ZoneRow, record_of, zone_row
from zoned.units import counted, were
from zoned.zonelist import ZoneSet

MAGIC = b"ZDTRACE\n"
MAGIC_WITH_DATA = b"ZDHISTO\n"
VERSION = lib.ZD_TRACE_VERSION
_HEADER = struct.Struct("<8sII16sQQQQQQQIIIIBBBBBBHII64s")
_AREAS = struct.Struct("<III")
"""Of random write areas, behind the ranges, where the header says that there are any."""
_PIECE = 1 << 20
_BATCH = 8192


class TraceCutError(TraceError):
    """A trace that ends too early or is damaged: what came before it was read, and is right."""


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
    with_data: bool
    """Whether it holds what the commands wrote, too."""


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
        for row in self.rows():
            kind = row[15]
            if kind == lib.ZD_TRACE_COMMAND:
                yield record_of(row, size, zones)
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
        for row in self.rows():
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
        return zone_row(row)

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Items as struct zd_trace_record (ROW), one after the other; sets ``cut`` at the end."""
        reader = ffi.new("struct zd_trace_reader *")
        reader.crc = self.header.crc
        reader.start_ns = self.header.monotonic_ns
        reader.with_data = self.header.with_data
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
                    yield from ROW.iter_unpack(bytes(ffi.buffer(out, count * ROW.size)))
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
    return head[: len(MAGIC)] in (MAGIC, MAGIC_WITH_DATA)


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
    if not is_trace(fixed) and not any(m.startswith(fixed) for m in (MAGIC, MAGIC_WITH_DATA)):
        raise TraceError(f"{path}: not a trace of zoned")
    if len(fixed) < _HEADER.size:
        raise TraceError(f"{path}: cut off in its header, at byte {len(fixed)}")
    field = _HEADER.unpack(fixed)
    version, length, ranges = field[1], field[2], field[22]
    if version != VERSION:
        raise TraceError(
            f"{path}: a trace of version {version}, and this zoned knows version {VERSION}"
        )
    if (
        length != _HEADER.size + 8 * ranges + (_AREAS.size if field[23] else 0) + 4
        or ranges > lib.ZD_MAX_CONV_RANGES
    ):
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
            _geometry(field, rest[:-4]),
            length,
            crc,
            field[0] == MAGIC_WITH_DATA,
        )
    except (ValueError, TypeError, IndexError, OverflowError, OSError) as error:
        raise TraceError(f"{path}: it describes a disk that cannot be: {error}") from None


def _geometry(field: tuple[Any, ...], rest: bytes) -> Geometry:
    ranges = struct.iter_unpack("<II", rest[: 8 * field[22]])
    areas = _AREAS.unpack_from(rest, 8 * field[22]) if field[23] else (0, 0, 0)
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
        "zone_extension": field[21],
        "zrwa_size": areas[0],
        "zrwa_granularity": areas[1],
        "zrwa_count": areas[2],
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
