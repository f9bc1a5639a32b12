"""Move a disk as one portable, compressed file: `dump()` packs it, `restore()` and `load()` unpack
it. The bytes of the file are told in zoned.dumpfile.

A restored disk has the same geometry, report and payload. It is another disk: it has an own uuid
unless a seed names it, its counters begin anew, and everything in it is durable. Of a READ_ONLY
zone what can be read is kept, of an OFFLINE zone only that it is OFFLINE. A dump without payload
gives zeros where data was.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoned import openers
from zoned._core.looking import report_rows, zone_state, zone_states
from zoned.dumpfile import (
    BATCH,
    DATA,
    DISK,
    DONE,
    NON_SEQ,
    PIECE,
    RECORD,
    RESET,
    VERSION,
    ZONE,
    DumpError,
    Readable,
    Reader,
    Writable,
    Writer,
    ZoneRecord,
    reader_of,
    to_json,
)
from zoned.reportformats import CONDITION_NAMES
from zoned.units import counted, format_size
from zoned.wholefile import Temporary
from zoned.zone import ZoneCondition, ZoneType

if TYPE_CHECKING:
    from zoned import Device, Geometry

STATE = struct.Struct("=QQQIBBBB")
"""struct zd_zone_state of zoned/zone.h: written, opened, writes, gen, type, cond, non_seq,
reset_recommended."""
_ZEROS = bytes(PIECE)
_UNREAD = 256 << 20
MOST_WRITTEN = 1 << 50
"""Bytes that the zones of a restored dump may have in all. Pieces of zeros are not in a dump: a few
bytes of it can stand for any number."""
#: Called with bytes done and bytes in all (0: not known): of payload for dump(), of the dump else.
Progress = Callable[[int, int], None]


class DumpChangedError(OSError):
    """The disk was changed by somebody else while it was read through a read-only handle."""


@dataclass(frozen=True)
class Summary:
    """What a dump holds."""

    geometry: dict[str, Any]
    profile: str
    uuid: str
    payload: bool
    zones: int
    """Zones that are not in their first state."""
    data: int
    """Bytes of payload, unpacked."""


# -------------------------------------------------------------------------------------------
# dumping


def dump(
    device: Device,
    stream: Writable,
    *,
    data: bool = True,
    level: int = 3,
    progress: Progress | None = None,
) -> Summary:
    """Write the disk to a stream. Changes nothing; a handle opened read-only will do.

    ``data`` False leaves the payload out. ``level`` is gzip's, 0 (none) to 9. Of a handle that may
    write it is the disk at one moment, whatever others do meanwhile: it is read from a snapshot,
    on which fault rules do not act. A read-only handle can take none: each zone is as it was at a
    moment of its own. Then raises DumpChangedError when data of a zone went or was overwritten by
    somebody else while it was read, or when zones never held still; ZonedError as reads do.
    Raises OSError of the stream, PowerLossError without power.
    """
    if device.readonly:
        return _dump(device, stream, data, level, progress)
    report_rows(device, 0, 1)  # a snapshot could be taken without power
    with device.snapshot() as snapshot, snapshot.fork() as still:
        return _dump(still, stream, data, level, progress, str(device.info().uuid))


def _dump(
    device: Device,
    stream: Writable,
    data: bool,
    level: int,
    progress: Progress | None,
    uuid: str | None = None,
) -> Summary:
    geometry = device.geometry
    uuid = uuid or str(device.info().uuid)
    payload = data and geometry.data == "store"
    states = _states(device)
    records = _records(states)
    total = (
        sum(
            written
            for _, condition, _, _, written in RECORD.iter_unpack(records)
            if condition != ZoneCondition.OFFLINE
        )
        if payload
        else 0
    )
    out = Writer(stream, level)
    out.chunk(
        DISK,
        to_json(
            {
                "geometry": describe(device),
                "version": VERSION,
                "profile": geometry.profile,
                "uuid": uuid,
                "payload": payload,
                "program": f"zoned {_version()}",
            }
        ),
    )
    step = RECORD.size
    group = bytearray()
    done = carried = 0
    buffer = bytearray(PIECE)
    for at in range(0, len(records), step):
        group += records[at : at + step]
        index, condition, _, _, written = RECORD.unpack_from(records, at)
        full = payload and written and condition != ZoneCondition.OFFLINE
        if full or len(group) == BATCH * step:
            out.chunk(ZONE, bytes(group))
            group.clear()
        if not full:
            continue
        start = index * geometry.zone_size
        for offset in range(start, start + written, PIECE):
            length = min(PIECE, start + written - offset)
            if length != len(buffer):
                buffer = bytearray(length)
            _read(device, states, index, buffer, offset)
            if buffer != _ZEROS[:length]:
                out.chunk(DATA, bytes(buffer), offset)
                carried += length
            done += length
            if progress is not None:
                progress(done, total)
        _unchanged(device, states, index)
    if group:
        out.chunk(ZONE, bytes(group))
    count = len(records) // step
    out.chunk(DONE, to_json({"zones": count, "data": carried}))
    return Summary(describe(device), geometry.profile, uuid, payload, count, carried)


def _read(device: Device, states: bytes, zone: int, buffer: bytearray, offset: int) -> None:
    """A piece of what the zone held when `states` were read."""
    from zoned.errors import ZonedError

    try:
        device.preadinto(buffer, offset)
    except ZonedError:
        _unchanged(device, states, zone)  # a zone that was reset may refuse to be read
        raise


def _unchanged(device: Device, states: bytes, zone: int) -> None:
    """Raises DumpChangedError unless what was read of a zone till now is what it held when `states`
    were read."""
    then = STATE.unpack_from(states, zone * STATE.size)
    now = STATE.unpack(zone_state(device, zone))
    (written, _, writes, gen, kind, *_), (written_now, _, writes_now, gen_now, *_) = then, now
    same = gen_now == gen and written_now >= written
    if kind != ZoneType.SEQ_WRITE_REQUIRED:
        same = same and writes_now == writes
    if not same:
        raise DumpChangedError(
            f"zone {zone} was changed by somebody else while it was dumped; dump the disk"
            " while nobody resets or overwrites zones, or by a handle that may write"
        )


def describe(device: Device) -> dict[str, Any]:
    """The keywords of `zoned.create` that make a disk like this one, as JSON can hold them."""
    return describe_geometry(device.geometry)


def describe_geometry(geometry: Geometry) -> dict[str, Any]:
    """The keywords of `zoned.create` for a geometry, as JSON can hold them."""
    from zoned.geometry import FIELDS

    keywords: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(geometry, name)
        keywords[name] = str(value) if isinstance(value, str) else value
    keywords["conventional"] = [list(pair) for pair in geometry.conventional.ranges()]
    return keywords


def _states(device: Device) -> bytes:
    try:
        return zone_states(device)
    except BlockingIOError as error:
        raise DumpChangedError(
            "zones are opened and closed by somebody else faster than a read-only handle can look"
            " at them; look while nobody writes, or by a handle that may write"
        ) from error


def _records(states: bytes) -> bytes:
    """All zones that are not in their first state, packed, in the order of the format."""
    resting, closed, explicit = bytearray(), bytearray(), bytearray()
    implicit: list[tuple[int, bytes]] = []
    places = {int(ZoneCondition.CLOSED): closed, int(ZoneCondition.EXPLICIT_OPEN): explicit}
    empty, conventional = int(ZoneCondition.EMPTY), int(ZoneType.CONVENTIONAL)
    for index, state in enumerate(STATE.iter_unpack(states)):
        written, opened, _, _, kind, condition, non_seq, reset = state
        if condition == empty and not non_seq and not reset:
            continue
        if kind == conventional and condition == ZoneCondition.NOT_WP and not written:
            continue
        if condition == ZoneCondition.IMPLICIT_OPEN and not written:
            continue  # by a write under way or cut short; an implicit close makes it EMPTY
        flags = (NON_SEQ if non_seq else 0) | (RESET if reset else 0)
        record = RECORD.pack(index, condition, flags, 0, written)
        if condition == ZoneCondition.IMPLICIT_OPEN:
            implicit.append((opened, record))
        else:
            places.get(condition, resting).extend(record)
    implicit.sort()
    return bytes(resting + closed + explicit + b"".join(record for _, record in implicit))


# -----------------------------------------------------------------------------------------
# restoring


def restore(
    stream: Readable,
    path: str | os.PathLike[str],
    *,
    replace: bool = False,
    data: str | None = None,
    name: str = "the dump",
    progress: Progress | None = None,
) -> Summary:
    """Make the disk of a dump in a file, which appears complete or not at all.

    It is built under a temporary name in the same folder. ``replace`` takes the place of an
    existing file, with its permissions; ImageBusyError names who has that open for writing, or
    where it is mounted. ``data`` "none" makes a disk that keeps no payload, whatever the dump has.
    ``name`` is for messages. Raises DumpError, FileExistsError, GeometryError (a description no
    disk can have), and OSError of the stream and the host.
    """
    path = os.fspath(path)
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise IsADirectoryError(21, os.strerror(21), path)
    if not replace and os.path.lexists(path):
        raise FileExistsError(17, os.strerror(17), path)
    if not os.path.isdir(folder or "."):
        raise FileNotFoundError(2, os.strerror(2), path)
    if os.path.isfile(path):
        openers.refuse_used(path)
    reader = reader_of(stream, name)
    reader.disk()  # what is no dump makes no file
    temporary = Temporary(path, "restoring")
    try:
        temporary.make().close()
        with _new_disk(reader, temporary.name, data) as device:
            summary = _rebuild(reader, device, progress)
            device.flush()
        _place(temporary.name, path, replace)
    except OSError as error:
        if error.filename is not None and os.path.abspath(error.filename) == os.path.abspath(
            temporary.name
        ):
            error.filename = path
        raise
    finally:
        temporary.remove()
    return summary


def _place(temporary: str, path: str, replace: bool) -> None:
    """Give the finished image its name. Raises FileExistsError, ImageBusyError, OSError."""
    from zoned._core.conversions import path_bytes
    from zoned._core.native import ffi, lib
    from zoned._core.raising import raise_error

    err = ffi.new("struct zd_error *")
    flags = lib.ZD_CREATE_REPLACE if replace else 0
    code = lib.zd_place(path_bytes(temporary), path_bytes(path), flags, err)
    if code == lib.ZD_E_BUSY:
        raise openers.busy(path)
    if code < 0:
        raise_error(code, err, None, path)


def load(stream: Readable, *, name: str = "the dump", progress: Progress | None = None) -> Device:
    """Make the disk of a dump in RAM and return it, as `zoned.memory` does. Raises as `restore`
    does."""
    reader = reader_of(stream, name)
    device = _new_disk(reader, None, None)
    try:
        _rebuild(reader, device, progress)
    except BaseException:
        device.close()
        raise
    return device


def verify(
    stream: Readable, *, name: str = "the dump", progress: Progress | None = None
) -> Summary:
    """Read a dump to its end, check all that `restore` does, make nothing. Raises DumpError and
    OSError of the stream.

    It is restored to a disk in RAM that keeps no payload: whatever no disk can be refuses there.
    """
    reader = reader_of(stream, name)
    with _new_disk(reader, None, "none") as device:
        return _rebuild(reader, device, progress, as_described=True)


def in_order(records: Iterable[tuple[int, ZoneRecord]]) -> list[ZoneRecord]:
    """Zones in an order in which a disk can be brought into their state under its own limits, as in
    the format; the number beside each says when it was implicitly opened.
    """
    places = {
        ZoneCondition.CLOSED: 1,
        ZoneCondition.EXPLICIT_OPEN: 2,
        ZoneCondition.IMPLICIT_OPEN: 3,
    }

    def rank(pair: tuple[int, ZoneRecord]) -> tuple[int, int, int]:
        opened, record = pair
        place = places.get(record.condition, 0)
        return place, opened if place == 3 else 0, record.index

    return [record for _, record in sorted(records, key=rank)]


def clone_state(device: Device) -> Device:
    """A disk in RAM in the same state, without payload: to try a command on, and see what it would
    do.

    Of what decides a command's fate only the place of the round-robin victim search is not copied.
    """
    import zoned

    keywords = describe(device) | {"data": "none", "host_sync": "never"}
    copy = zoned.memory(**_arguments(keywords))
    try:
        builder = Builder(copy, payload=False)
        for index, condition, flags, _, written in RECORD.iter_unpack(_records(_states(device))):
            builder.begin(ZoneRecord(index, ZoneCondition(condition), flags, written))
            builder.end()
    except BaseException:
        copy.close()
        raise
    return copy


def _new_disk(reader: Reader, path: str | None, data: str | None) -> Device:
    import zoned
    from zoned.drives.profiles import builtin_names

    disk = reader.disk()
    keywords = _arguments(disk["geometry"] | ({"data": data} if data else {}))
    if disk["profile"] in builtin_names():
        keywords["profile"] = disk["profile"]
    try:
        if path is None:
            return zoned.memory(**keywords)
        return zoned.create(path, replace=True, **keywords)  # in the place of the temporary file
    except (TypeError, ValueError) as error:
        raise DumpError(f"{reader.name} describes a disk that cannot be: {error}") from error


def _arguments(keywords: dict[str, Any]) -> dict[str, Any]:
    return keywords | {"conventional": [tuple(pair) for pair in keywords["conventional"]]}


def _rebuild(
    reader: Reader, device: Device, progress: Progress | None, *, as_described: bool = False
) -> Summary:
    """Bring a new disk into the state that a dump tells. ``as_described``: with all that writing
    the payload would meet, though the disk keeps none.
    """
    from zoned.errors import ZonedError

    disk = reader.disk()
    mode = disk["geometry"].get("data", "store") if as_described else device.geometry.data
    builder = Builder(device, payload=disk["payload"] and mode == "store")
    try:
        zones, data = _fill(reader, device, builder, progress)
    except ZonedError as error:
        raise reader.damaged(f"no disk can be in such a state: {error}") from error
    reader.check_end(zones, data)
    return Summary(disk["geometry"], disk["profile"], disk["uuid"], disk["payload"], zones, data)


def _fill(
    reader: Reader, device: Device, builder: Builder, progress: Progress | None
) -> tuple[int, int]:
    """Zones and bytes of payload that a dump has, once all are in their places."""
    zones = data = total = 0
    room = _Room(device)
    named = bytearray(device.geometry.nr_zones)
    for kind, body, offset in reader.chunks():
        if kind == ZONE:
            builder.end()
            for record in reader.records(body):
                builder.end()
                if record.index >= device.geometry.nr_zones:
                    raise reader.damaged(
                        f"it names zone {record.index}, and the disk has zones 0 to"
                        f" {device.geometry.nr_zones - 1}"
                    )
                if named[record.index]:
                    raise reader.damaged(f"it names zone {record.index} twice")
                named[record.index] = True
                if record.written > device.geometry.zone_capacity_of(record.index):
                    raise reader.damaged(
                        f"{counted(record.written, 'byte is', 'bytes are')} written in zone"
                        f" {record.index}, more than fit"
                    )
                total += record.written
                if total > MOST_WRITTEN:
                    raise reader.damaged(
                        f"more than {format_size(MOST_WRITTEN)} are written, the most that a dump"
                        " may have"
                    )
                room.take(builder.stores(record), record.index, reader.name)
                builder.begin(record)
                zones += 1
        else:
            problem = builder.data(body, offset)
            if problem:
                raise reader.damaged(problem)
            data += len(body)
            if progress is not None:
                progress(reader.at, 0)
    builder.end()
    return zones, data


def _room(device: Device) -> int | None:
    """Bytes that the host has for a disk: where its image lies, or in memory. None: that does not
    matter, or cannot be told.
    """
    if device.geometry.data == "none":
        return None
    try:
        if device.path is not None:
            host = os.statvfs(device.path)
            return host.f_bavail * host.f_frsize
        with open("/proc/meminfo", encoding="ascii") as lines:
            words = [line.split() for line in lines]
        sizes = {line[0]: int(line[1]) for line in words}
        return (sizes["MemAvailable:"] + sizes["SwapFree:"]) << 10
    except (OSError, KeyError, IndexError, ValueError):
        return None


class _Room:
    """What the host has for a new disk, and how much of it the zones so far will take."""

    def __init__(self, device: Device) -> None:
        self.room, self.taken = _room(device), 0

    def take(self, length: int, zone: int, name: str) -> None:
        """Raise DumpError where there is no room, before a byte is written."""
        self.taken += length
        if self.room is not None and self.taken > self.room:
            raise DumpError(
                f"{name} stands for {counted(self.taken, 'byte')} up to zone {zone}, and there is"
                f" room for {self.room}"
            )


class Builder:
    """Brings the zones of a new disk into their conditions, one after the other."""

    def __init__(self, device: Device, payload: bool) -> None:
        self.device = device
        self.payload = payload
        self.record: ZoneRecord | None = None
        self.start = self.position = 0

    def begin(self, record: ZoneRecord) -> None:
        self.record = record
        self.start = self.position = record.index * self.device.geometry.zone_size
        if record.condition is ZoneCondition.EXPLICIT_OPEN or (
            record.condition is ZoneCondition.CLOSED and not record.written
        ):
            self.device.open_zone(record.index)

    def stores(self, record: ZoneRecord) -> int:
        """Bytes that the host must have for a zone, as its zeros are written like all else."""
        if record.index in self.device.geometry.conventional or self._short(record):
            return 0
        return record.written

    def _short(self, record: ZoneRecord) -> bool:
        """Without payload a FULL zone is finished from where it is: what was written reads as zeros
        anyway.
        """
        return record.condition is ZoneCondition.OFFLINE or (
            record.condition is ZoneCondition.FULL and not self.payload
        )

    def data(self, body: bytes, offset: int) -> str | None:
        """Write a piece of payload; None, or what is wrong with its place."""
        record = self.record
        if record is None:
            return f"payload for {offset} comes before the zone it belongs to"
        if not self.position <= offset <= offset + len(body) <= self.start + record.written:
            return f"payload for {offset} does not belong to zone {record.index}"
        if self.payload:
            self._zeros(offset)
            self.device.pwrite(body, offset)
        self.position = offset + len(body)
        return None

    def end(self) -> None:
        """All payload of the zone has come: fill up with zeros, then make its condition."""
        record, self.record = self.record, None
        if record is None:
            return
        device, zone, condition = self.device, record.index, record.condition
        conventional = zone in device.geometry.conventional
        short = self._short(record)
        if not conventional:
            block = device.geometry.physical_block
            end = self.start + (
                min(record.written, block if record.flags else 0) if short else record.written
            )
            if not self.payload:
                self.position = self.start
            self._zeros(end)
        # Only writing where the write pointer is not sets non_seq, and only on a full zone the
        # other flag.
        if record.flags == NON_SEQ:
            self._disorder()
        if condition is ZoneCondition.FULL or record.flags & RESET:
            device.finish_zone(zone)
        if record.flags & RESET:
            self._disorder()
        if condition is ZoneCondition.CLOSED:
            device.close_zone(zone)
        elif condition in (ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE):
            device.set_condition(zone, condition)
        self._check(record)

    def _check(self, record: ZoneRecord) -> None:
        zone, condition = record.index, record.condition
        if condition is ZoneCondition.IMPLICIT_OPEN and not record.written:
            condition = ZoneCondition.EMPTY  # as dumps had it once; see _records()
        got = self.device.zones[zone]
        flags = (NON_SEQ if got.non_seq else 0) | (RESET if got.reset_recommended else 0)
        if got.condition is not condition or flags != record.flags:
            raise DumpError(
                f"zone {zone} should be {CONDITION_NAMES[condition]} (flags {record.flags}), but"
                f" became {CONDITION_NAMES[got.condition]} (flags {flags}): no disk of this kind"
                " has such a zone"
            )

    def _disorder(self) -> None:
        """Rewrite the zone's first block, which is not where its write pointer is."""
        block = self.device.geometry.physical_block
        self.device.pwrite(self.device.pread(block, self.start), self.start)

    def _zeros(self, end: int) -> None:
        """Zeros up to an offset: in a sequential zone nothing can be left out."""
        if self.record is not None and self.record.index in self.device.geometry.conventional:
            self.position = max(self.position, end)
        if self.position < end and self.device.geometry.data == "none":
            # Nobody reads them, so they cost address space only; a disk can have petabytes.
            with mmap.mmap(-1, min(end - self.position, _UNREAD)) as unread:
                self._pieces(unread, end)
        else:
            self._pieces(_ZEROS, end)

    def _pieces(self, zeros: bytes | mmap.mmap, end: int) -> None:
        with memoryview(zeros) as view:
            while self.position < end:
                length = min(len(view), end - self.position)
                with view[:length] as piece:
                    self.device.pwrite(piece, self.position)
                self.position += length


def _version() -> str:
    import zoned

    return zoned.__version__
