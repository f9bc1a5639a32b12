"""Move a disk as one portable, compressed file: `dump()` packs it, `restore()` and `load()` unpack
it. The bytes of the file are told in zoned.dumpfile.

A restored disk has the same geometry, report and payload. It is another disk: it has an own uuid
unless a seed names it, its counters begin anew, and everything in it is durable. Of a READ_ONLY
zone what can be read is kept, of an OFFLINE zone only that it is OFFLINE. A dump without payload
gives zeros where data was.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoned import openers
from zoned._core.looking import report_rows, zone_state, zone_states
from zoned.dumpfile import (
    BATCH,
    DATA,
    DISK,
    DONE,
    EXTENDED,
    EXTENSION,
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
    zone_record,
)
from zoned.reportformats import CONDITION_NAMES
from zoned.units import counted, format_size
from zoned.wholefile import Temporary
from zoned.zone import ZoneCondition, ZoneType

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from zoned import Device, Geometry

STATE = struct.Struct("=QQQIBBBB")
"""struct zd_zone_state of zoned/zone.h: written, opened, writes, gen, type, cond, non_seq,
reset_recommended."""
_ZEROS = bytes(PIECE)
_UNREAD = 256 << 20
_WITHOUT_POINTER = (ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE)
"""Conditions that a zone gets from outside, whatever is in it."""
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
    records = _records(states, _extended(device, states), _areas(device, states))
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
        index, condition, flags, area, written = RECORD.unpack_from(records, at)
        full = payload and written and condition != ZoneCondition.OFFLINE
        if flags & EXTENDED:
            _put_extension(device, states, index, out, group)
        if full or flags & EXTENDED or len(group) == BATCH * step:
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
        _unchanged(device, states, index, area=area > 0)
    if group:
        out.chunk(ZONE, bytes(group))
    count = len(records) // step
    out.chunk(DONE, to_json({"zones": count, "data": carried}))
    return Summary(describe(device), geometry.profile, uuid, payload, count, carried)


def _put_extension(device: Device, states: bytes, zone: int, out: Writer, group: bytearray) -> None:
    """Of the last zone of a group, which is alone in its file: what came before it goes first."""
    step = RECORD.size
    if len(group) > step:
        out.chunk(ZONE, bytes(group[:-step]))
        del group[:-step]
    extension = device.zone_extension(zone)
    _unchanged(device, states, zone)
    out.chunk(EXTENSION, extension or b"", zone)


def _read(device: Device, states: bytes, zone: int, buffer: bytearray, offset: int) -> None:
    """A piece of what the zone held when `states` were read."""
    from zoned.errors import ZonedError

    try:
        device.preadinto(buffer, offset)
    except ZonedError:
        _unchanged(device, states, zone)  # a zone that was reset may refuse to be read
        raise


def _unchanged(device: Device, states: bytes, zone: int, *, area: bool = False) -> None:
    """Raises DumpChangedError unless what was read of a zone till now is what it held when `states`
    were read; area: it has a random write area, in which it may be overwritten."""
    then = STATE.unpack_from(states, zone * STATE.size)
    now = STATE.unpack(zone_state(device, zone))
    (written, _, writes, gen, kind, *_), (written_now, _, writes_now, gen_now, *_) = then, now
    same = gen_now == gen and written_now >= written
    if kind != ZoneType.SEQ_WRITE_REQUIRED or area:
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
    for name in ("zone_extension", "zrwa_size", "zrwa_granularity", "zrwa_count"):
        if not keywords[name]:
            del keywords[name]  # so that older programs read dumps of disks without
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


def area_number(geometry: Geometry, area: range | None) -> int:
    """A random write area as records have it: ZoneRecord.area."""
    return 0 if area is None else -(-len(area) // geometry.zrwa_granularity) + 1


def _areas(device: Device, states: bytes) -> dict[int, int]:
    """The zones that have a random write area, and how records tell of it."""
    found: dict[int, int] = {}
    if not device.geometry.zrwa_size:
        return found
    for index, state in enumerate(STATE.iter_unpack(states)):
        area = device.write_area(index) if ZoneCondition(state[5]).is_active else None
        if area is not None:
            found[index] = area_number(device.geometry, area)
            _unchanged(device, states, index, area=True)
    return found


def _extended(device: Device, states: bytes) -> frozenset[int]:
    """The zones that show a descriptor extension."""
    if not device.geometry.zone_extension:
        return frozenset()
    first = (ZoneCondition.EMPTY, ZoneCondition.NOT_WP)
    return frozenset(
        index
        for index, state in enumerate(STATE.iter_unpack(states))
        if state[5] not in first and device.zone_extension(index) is not None
    )


def _records(states: bytes, extended: frozenset[int], areas: Mapping[int, int]) -> bytes:
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
            if index not in extended:
                continue  # by a write under way or cut short; an implicit close makes it EMPTY
            condition = int(ZoneCondition.CLOSED)  # likewise
        flags = (NON_SEQ if non_seq else 0) | (RESET if reset else 0)
        flags |= EXTENDED if index in extended else 0
        record = RECORD.pack(index, condition, flags, areas.get(index, 0), written)
        if condition == ZoneCondition.IMPLICIT_OPEN:
            implicit.append((opened, record))
        else:
            places.get(condition, resting).extend(record)
    implicit.sort()
    return bytes(resting + closed + explicit + b"".join(record for _, record in implicit))


def _all_records(device: Device) -> bytes:
    states = _states(device)
    return _records(states, _extended(device, states), _areas(device, states))


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

    keywords = describe(device) | {"data": "none", "host_sync": "never", "zone_extension": 0}
    copy = zoned.memory(**_arguments(keywords))
    try:
        builder = Builder(copy, payload=False)
        for row in RECORD.iter_unpack(_all_records(device)):
            builder.begin(zone_record(*row))
            builder.end()
    except BaseException:
        copy.close()
        raise
    return copy


def copy(
    device: Device, path: str | os.PathLike[str] | None, *, host_sync: str = "never"
) -> Device:
    """A new disk in a file (None: in RAM) in the same state and with the same data, all of it
    durable; returns a handle on it. Of a disk that nobody changes meanwhile.

    Raises FileExistsError, OSError.
    """
    from zoned.device import create_from
    from zoned.geometry import HostSync

    geometry = dataclasses.replace(device.geometry, host_sync=HostSync(host_sync))
    name = None if path is None else os.fsdecode(path)
    new = create_from(name, geometry, replace=False)
    try:
        builder = Builder(new, payload=geometry.data == "store")
        buffer = bytearray(PIECE)
        for row in RECORD.iter_unpack(_all_records(device)):
            record = zone_record(*row)
            index, written = record.index, record.written
            if record.extended:
                builder.extend(index, device.zone_extension(index) or b"")
            builder.begin(record)
            start = index * geometry.zone_size
            held = written if builder.payload and record.condition != ZoneCondition.OFFLINE else 0
            for offset in range(start, start + held, PIECE):
                length = min(PIECE, start + held - offset)
                with memoryview(buffer)[:length] as piece:
                    device.preadinto(piece, offset)
                    if piece != _ZEROS[:length]:
                        builder.data(bytes(piece), offset)
            builder.end()
        new.flush()
    except BaseException:
        new.close()
        raise
    return new


def _new_disk(reader: Reader, path: str | None, data: str | None) -> Device:
    import zoned
    from zoned.drives.profiles import builtin_names

    disk = reader.disk()
    other = {"data": data, "zone_extension": 0} if data == "none" else {"data": data}
    keywords = _arguments(disk["geometry"] | (other if data else {}))
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
    filling = _Filling(reader, device, builder)
    data = 0
    for kind, body, offset in reader.chunks():
        if kind == ZONE:
            builder.end()
            for record in reader.records(body):
                builder.end()
                filling.zone(record)
        elif kind == EXTENSION:
            builder.end()
            filling.extension(body, offset)
        else:
            filling.refuse(builder.data(body, offset))
            data += len(body)
            if progress is not None:
                progress(reader.at, 0)
    builder.end()
    if builder.extension is not None:
        filling.refuse(f"it has a descriptor extension of zone {builder.extension[0]}, and not it")
    return filling.zones, data


class _Filling:
    """What a dump has said of the zones by now. Raises DumpError for what cannot be."""

    def __init__(self, reader: Reader, device: Device, builder: Builder) -> None:
        self.reader, self.builder, self.geometry = reader, builder, device.geometry
        self.zones = self.total = 0
        self.room = _Room(device)
        self.named = bytearray(device.geometry.nr_zones)
        self.extends: int = reader.disk()["geometry"].get("zone_extension", 0)

    def refuse(self, problem: str | None) -> None:
        """If there is one."""
        if problem:
            raise self.reader.damaged(problem)

    def zone(self, record: ZoneRecord) -> None:
        """One begins."""
        self.refuse(self._wrong(record))
        self.named[record.index] = True
        self.total += record.written
        if self.total > MOST_WRITTEN:
            self.refuse(
                f"more than {format_size(MOST_WRITTEN)} are written, the most that a dump may have"
            )
        self.room.take(self.builder.stores(record), record.index, self.reader.name)
        self.refuse(self.builder.begin(record))
        self.zones += 1

    def _wrong(self, record: ZoneRecord) -> str | None:
        index, geometry = record.index, self.geometry
        if index >= geometry.nr_zones:
            return f"it names zone {index}, and the disk has zones 0 to {geometry.nr_zones - 1}"
        if self.named[index]:
            return f"it names zone {index} twice"
        if record.written > geometry.zone_capacity_of(index):
            written = counted(record.written, "byte is", "bytes are")
            return f"{written} written in zone {index}, more than fit"
        return None

    def extension(self, body: bytes, zone: int) -> None:
        """Of the zone that comes next."""
        if len(body) != self.extends:
            self.refuse(
                f"the descriptor extension of zone {zone} has {counted(len(body), 'byte')}, and"
                f" those of its disk have {self.extends}"
            )
        self.refuse(self.builder.extend(zone, body))


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
        with open("/proc/meminfo", encoding="utf-8") as lines:
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
        self.extension: tuple[int, bytes] | None = None
        """Of the zone that comes next."""
        self.wp: int | None = None
        """Where a random write area begins that the zone shall have."""
        self.opens: tuple[int, ZoneRecord] | None = None
        """Where it is opened, and the zone, until that is done."""

    def extend(self, zone: int, extension: bytes) -> str | None:
        """The zone that begins next has a descriptor extension; None, or what is wrong with it."""
        if self.extension is not None:
            return f"the descriptor extension of zone {self.extension[0]} comes before no such zone"
        self.extension = zone, extension
        return None

    def begin(self, record: ZoneRecord) -> str | None:
        """None, or what is wrong with the zone."""
        self.record = record
        self.start = self.position = record.index * self.device.geometry.zone_size
        told, self.extension = self.extension, None
        if told is not None and (told[0] != record.index or not record.extended):
            return f"the descriptor extension of zone {told[0]} comes before zone {record.index}"
        if self.device.geometry.zone_extension and record.extended:
            if told is None:
                return f"zone {record.index} has a descriptor extension that did not come"
            self.device.set_zone_extension(record.index, told[1])
        self.wp = self.opens = None
        if record.area:
            return self._plan(record)
        if record.condition is ZoneCondition.EXPLICIT_OPEN or (
            record.condition is ZoneCondition.CLOSED and not record.written
        ):
            self.device.open_zone(record.index)
        return None

    def _plan(self, record: ZoneRecord) -> str | None:
        """Of a zone with a random write area: written up to the area, it is opened with it."""
        granule, size = self.device.geometry.zrwa_granularity, self.device.geometry.zrwa_size
        if not granule or not record.condition.is_active:
            return f"zone {record.index} has a random write area, which it cannot have"
        wp = -(-record.written // granule) * granule - (record.area - 1) * granule
        if wp < 0 or wp > record.written or (record.area - 1) * granule > size:
            return f"zone {record.index} has a random write area that cannot lie so"
        self.wp = opens = self.start + wp
        if record.condition is ZoneCondition.IMPLICIT_OPEN and wp == record.written:
            if not wp:
                return f"zone {record.index} is implicitly open with nothing in it"
            opens -= granule  # what is written there, and committed, opens it
        self.opens = opens, record
        if opens == self.start:
            self._open_area(record)
        return None

    def _open_area(self, record: ZoneRecord) -> None:
        self.opens = None
        self.device.open_zone_zrwa(record.index)
        if record.condition is ZoneCondition.IMPLICIT_OPEN:
            self.device.close_zone(record.index)  # the next write opens it so

    def _settle_area(self, record: ZoneRecord) -> None:
        """What is written is there: a random write area too, and what of it was committed."""
        if self.opens is not None:
            self._open_area(record)
        implicit = record.condition is ZoneCondition.IMPLICIT_OPEN
        if self.wp is not None and implicit and self.device.zones[record.index].wp != self.wp:
            self.device.commit_zone(record.index, self.wp)

    def _put(self, piece: Buffer, offset: int) -> None:
        """Write, up to a random write area before the zone has it and in it behind that."""
        view = memoryview(piece)
        if self.opens is not None and offset + len(view) > self.opens[0]:
            opens, record = self.opens
            before = opens - offset
            if before:
                self.device.pwrite(view[:before], offset)
            self._open_area(record)
            view, offset = view[before:], opens
        if view:
            self.device.pwrite(view, offset)

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
            self._put(body, offset)
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
            written = min(record.written, block if record.flags else 0) if short else record.written
            if record.flags == NON_SEQ and condition in _WITHOUT_POINTER:
                written = max(written, block)  # a power cut may have taken all, and left the flag
            end = self.start + written
            if not self.payload:
                self.position = self.start
            self._zeros(end)
        self._settle_area(record)
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
        elif condition in _WITHOUT_POINTER:
            device.set_condition(zone, condition)
        self._check(record)

    def _check(self, record: ZoneRecord) -> None:
        zone, condition = record.index, record.condition
        if condition is ZoneCondition.IMPLICIT_OPEN and not record.written:
            # As dumps had it once, and recordings have it; see _records().
            extended = record.extended and self.device.geometry.zone_extension
            condition = ZoneCondition.CLOSED if extended else ZoneCondition.EMPTY
        got = self.device.zones[zone]
        flags = (NON_SEQ if got.non_seq else 0) | (RESET if got.reset_recommended else 0)
        area = area_number(self.device.geometry, self.device.write_area(zone))
        if area != record.area:
            raise DumpError(f"zone {zone} cannot have a random write area as it had")
        if got.condition is not condition or flags != record.flags:
            raise DumpError(
                f"zone {zone} should be {CONDITION_NAMES[condition]} (flags {record.flags}), but"
                f" became {CONDITION_NAMES[got.condition]} (flags {flags}): no disk of this kind"
                " has such a zone"
            )

    def _disorder(self) -> None:
        """Rewrite the zone's first block, which is not where its write pointer is. There may be no
        whole physical one."""
        block = self.device.geometry.logical_block
        self.device.pwrite(self.device.pread(block, self.start), self.start)

    def _zeros(self, end: int) -> None:
        """Zeros up to an offset: in a sequential zone nothing can be left out."""
        if self.record is not None and self.record.index in self.device.geometry.conventional:
            self.position = max(self.position, end)
        if self.position < end and self.device.geometry.data == "none":
            # Nobody reads them, so they cost address space only; a disk can have petabytes. They go
            # with the last view: an interrupt can leave one, and closing would complain of it.
            self._pieces(mmap.mmap(-1, min(end - self.position, _UNREAD)), end)
        else:
            self._pieces(_ZEROS, end)

    def _pieces(self, zeros: bytes | mmap.mmap, end: int) -> None:
        with memoryview(zeros) as view:
            while self.position < end:
                length = min(len(view), end - self.position)
                with view[:length] as piece:
                    self._put(piece, self.position)
                self.position += length


def _version() -> str:
    import zoned

    return zoned.__version__
