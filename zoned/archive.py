"""Move a disk as one portable, compressed file: `dump()` packs it, `restore()` and `load()` unpack
it.

Format, version 1. Little-endian; written and read front to back, never seeking, so it goes through
pipes.

    header (16 bytes)
         0  magic      89 "ZDMP" 0D 0A 1A: damaged by any transfer that is not binary
         8  version    u16, 1
        10  zero       u16
        12  crc        u32, CRC-32 (zlib) of bytes 0..11
    then chunks, each a head of 28 bytes and a body
         0  kind       "DISK", "ZONE", "DATA" or "DONE"; any other is refused by name
         4  sequence   u32, 0 for the first chunk: a chunk that is lost, doubled or moved is noticed
         8  stored     u32, bytes of the body in the dump
        12  raw        u32, bytes of the body unpacked, at most 1 MiB; equal to stored: not packed
        16  offset     u64, DATA: where on the disk the bytes belong; else 0
        24  crc        u32, CRC-32 of head bytes 0..23, then of the body as stored

    DISK  once, first: JSON (UTF-8). "geometry": every keyword of `zoned.create`, sizes in bytes,
          "conventional" as [first, count] pairs; "profile"; "uuid" of the disk that was dumped;
          "payload": whether DATA chunks carry what was written; "program".
    ZONE  up to 4096 records of 16 bytes: index u32, condition u8 (as in linux/blkzoned.h), flags
          u8 (1: non_seq, 2: reset recommended), zero u16, written u64 (bytes from the zone's start
          on that hold what somebody wrote). Zones in their first state (EMPTY, or conventional and
          never written) have none, nor has an implicitly open one with nothing in it, which a write
          under way or cut short leaves and an implicit close makes EMPTY. Records come in an order
          in which a disk can be rebuilt under its own limits: zones that hold no resource,
          ascending; then CLOSED; then EXPLICIT_OPEN; then IMPLICIT_OPEN, the one opened first
          before the others.
    DATA  bytes of the last zone of the ZONE chunk before it, ascending; pieces that are all zeros
          are left out.
    DONE  once, last: JSON. "zones": records, "data": bytes in DATA chunks. Nothing follows it.

Every chunk is compressed by itself (zlib), so damage is found at its place. A dump from version 1
stays readable; whatever changes the meaning of the above raises the version.

A restored disk has the same geometry, report and payload. It is another disk: it has an own uuid
unless a seed names it, its counters begin anew, and everything in it is durable. Of a READ_ONLY
zone what can be read is kept, of an OFFLINE zone only that it is OFFLINE. A dump without payload
gives zeros where data was.

Uses the public Device, and its `_states`: zones by one reading.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from zoned import openers
from zoned.inputs import InputError, parse_json
from zoned.reportformats import CONDITION_NAMES
from zoned.units import counted, format_size
from zoned.wholefile import temporary_name
from zoned.zone import ZoneCondition, ZoneType

if TYPE_CHECKING:
    from zoned import Device, Geometry

VERSION = 1
MAGIC = b"\x89ZDMP\r\n\x1a"

_HEADER = struct.Struct("<8sHHI")
_HEAD = struct.Struct("<4sIIIQ")
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<IBBHQ")
STATE = struct.Struct("=QQQIBBBB")
"""struct zd_zone_state of native/zd.h: written, opened, writes, gen, type, cond, non_seq,
reset_recommended."""
_NON_SEQ = 1
_RESET = 2
_PIECE = 1 << 20
_BATCH = 4096
_SAMPLE = 4096
_ZEROS = bytes(_PIECE)
_UNREAD = 256 << 20
_LONGEST_WORD = 64
MOST_WRITTEN = 1 << 50
"""Bytes that the zones of a restored dump may have in all. Pieces of zeros are not in a dump: a few
bytes of it can stand for any number."""
_NAMES = {
    b"DISK": "the disk's description",
    b"ZONE": "zone states",
    b"DATA": "payload",
    b"DONE": "the end",
}

#: Called with bytes done and bytes in all (0: not known): of payload for dump(), of the dump else.
Progress = Callable[[int, int], None]


class Readable(Protocol):
    """What a dump is read from; a read may be short, as pipes are."""

    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    """What a dump is written to."""

    def write(self, data: bytes, /) -> int | None: ...


class DumpError(OSError):
    """A dump that is damaged, cut short, of an unknown version, or none at all; the message says
    where."""


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


@dataclass(frozen=True)
class ZoneRecord:
    """The state of a zone that is not as new."""

    index: int
    condition: ZoneCondition
    flags: int
    written: int


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

    ``data`` False leaves the payload out. ``level`` is zlib's, 0 (none) to 9. Of a handle that may
    write it is the disk at one moment, whatever others do meanwhile: it is read from a snapshot,
    on which fault rules do not act. A read-only handle can take none: each zone is as it was at a
    moment of its own. Then raises DumpChangedError when data of a zone went or was overwritten by
    somebody else while it was read, or when zones never held still; ZonedError as reads do.
    Raises OSError of the stream, PowerLossError without power.
    """
    if device.readonly:
        return _dump(device, stream, data, level, progress)
    device._report_raw(0, 1)  # a snapshot could be taken without power
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
            for _, condition, _, _, written in _RECORD.iter_unpack(records)
            if condition != ZoneCondition.OFFLINE
        )
        if payload
        else 0
    )
    out = _Writer(stream, level)
    out.chunk(
        b"DISK",
        _to_json(
            {
                "geometry": describe(device),
                "profile": geometry.profile,
                "uuid": uuid,
                "payload": payload,
                "program": f"zoned {_version()}",
            }
        ),
    )
    step = _RECORD.size
    group = bytearray()
    done = carried = 0
    buffer = bytearray(_PIECE)
    for at in range(0, len(records), step):
        group += records[at : at + step]
        index, condition, _, _, written = _RECORD.unpack_from(records, at)
        full = payload and written and condition != ZoneCondition.OFFLINE
        if full or len(group) == _BATCH * step:
            out.chunk(b"ZONE", bytes(group))
            group.clear()
        if not full:
            continue
        start = index * geometry.zone_size
        for offset in range(start, start + written, _PIECE):
            length = min(_PIECE, start + written - offset)
            if length != len(buffer):
                buffer = bytearray(length)
            _read(device, states, index, buffer, offset)
            if buffer != _ZEROS[:length]:
                out.chunk(b"DATA", bytes(buffer), offset)
                carried += length
            done += length
            if progress is not None:
                progress(done, total)
        _unchanged(device, states, index)
    if group:
        out.chunk(b"ZONE", bytes(group))
    count = len(records) // step
    out.chunk(b"DONE", _to_json({"zones": count, "data": carried}))
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
    now = STATE.unpack(device._state(zone))
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
        return device._states()
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
        flags = (_NON_SEQ if non_seq else 0) | (_RESET if reset else 0)
        record = _RECORD.pack(index, condition, flags, 0, written)
        if condition == ZoneCondition.IMPLICIT_OPEN:
            implicit.append((opened, record))
        else:
            places.get(condition, resting).extend(record)
    implicit.sort()
    return bytes(resting + closed + explicit + b"".join(record for _, record in implicit))


def _looks_random(body: bytes) -> bool:
    """Whether compressing would gain next to nothing, by four samples: it costs 20 times a copy."""
    if len(body) < 16 * _SAMPLE:
        return False
    step = len(body) // 4
    samples = b"".join(body[at : at + _SAMPLE] for at in range(0, 4 * step, step))
    return len(zlib.compress(samples, 1)) > len(samples) * 0.98


class _Writer:
    def __init__(self, stream: Writable, level: int) -> None:
        self.stream = stream
        self.level = level
        self.sequence = 0
        header = _HEADER.pack(MAGIC, VERSION, 0, 0)[:12]
        self._write(header + _CRC.pack(zlib.crc32(header)))

    def chunk(self, kind: bytes, body: bytes, offset: int = 0) -> None:
        stored = body
        if self.level and not _looks_random(body):
            stored = zlib.compress(body, self.level)
            if len(stored) >= len(body):
                stored = body
        head = _HEAD.pack(kind, self.sequence, len(stored), len(body), offset)
        self._write(head + _CRC.pack(zlib.crc32(stored, zlib.crc32(head))))
        self._write(stored)
        self.sequence += 1

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            taken = self.stream.write(bytes(view) if len(view) != len(data) else data)
            if taken is None or taken == len(view):
                return
            view = view[taken:]


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
    reader = _Reader(stream, name)
    reader.disk()  # what is no dump makes no file
    number, temporary = temporary_name(path, "restoring")
    os.close(number)
    try:
        with _new_disk(reader, temporary, data) as device:
            summary = _rebuild(reader, device, progress)
            device.flush()
        _place(temporary, path, replace)
    except OSError as error:
        if error.filename is not None and os.path.abspath(error.filename) == os.path.abspath(
            temporary
        ):
            error.filename = path
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return summary


def _place(temporary: str, path: str, replace: bool) -> None:
    """Give the finished image its name. Raises FileExistsError, ImageBusyError, OSError."""
    from zoned._lib import ffi, lib
    from zoned.checking import path_bytes
    from zoned.errors import raise_error

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
    reader = _Reader(stream, name)
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
    reader = _Reader(stream, name)
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
        for index, condition, flags, _, written in _RECORD.iter_unpack(_records(_states(device))):
            builder.begin(ZoneRecord(index, ZoneCondition(condition), flags, written))
            builder.end()
    except BaseException:
        copy.close()
        raise
    return copy


def _new_disk(reader: _Reader, path: str | None, data: str | None) -> Device:
    import zoned
    from zoned.profiles import builtin_names

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
    reader: _Reader, device: Device, progress: Progress | None, *, as_described: bool = False
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
    reader: _Reader, device: Device, builder: Builder, progress: Progress | None
) -> tuple[int, int]:
    """Zones and bytes of payload that a dump has, once all are in their places."""
    zones = data = total = 0
    room = _Room(device)
    named = bytearray(device.geometry.nr_zones)
    for kind, body, offset in reader.chunks():
        if kind == b"ZONE":
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
        if record.flags == _NON_SEQ:
            self._disorder()
        if condition is ZoneCondition.FULL or record.flags & _RESET:
            device.finish_zone(zone)
        if record.flags & _RESET:
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
        flags = (_NON_SEQ if got.non_seq else 0) | (_RESET if got.reset_recommended else 0)
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


class _Reader:
    """Chunks of a dump, checked; every failure says at which byte."""

    def __init__(self, stream: Readable, name: str) -> None:
        self.stream = stream
        self.name = name
        self.at = 0
        self.chunk_at = 0
        self.sequence = 0
        self._disk: dict[str, Any] | None = None
        self._end: dict[str, Any] | None = None

    def damaged(self, what: str) -> DumpError:
        return DumpError(f"{self.name} is damaged at byte {self.chunk_at}: {what}")

    def _exactly(self, length: int, what: str) -> bytes:
        parts = []
        missing = length
        while missing:
            part = self.stream.read(missing)
            if not part:
                end = self.at + length - missing
                raise DumpError(f"{self.name} is cut short: it ends at byte {end}, within {what}")
            parts.append(part)
            missing -= len(part)
        self.at += length
        return b"".join(parts)

    def _header(self) -> None:
        first = self.stream.read(_HEADER.size)
        while 0 < len(first) < _HEADER.size:
            more = self.stream.read(_HEADER.size - len(first))
            if not more:
                break
            first += more
        if not first:
            raise DumpError(f"{self.name} is empty")
        if first[:8] != MAGIC[: len(first)]:
            if first[1:5] == MAGIC[1:5]:
                raise DumpError(
                    f"{self.name} was damaged by a transfer in text mode: copy it in binary mode"
                )
            raise DumpError(f"{self.name} is not a dump made by zonedctl dump")
        if len(first) < _HEADER.size:
            raise DumpError(
                f"{self.name} is cut short: it ends at byte {len(first)}, within its header"
            )
        _, version, zero, crc = _HEADER.unpack(first)
        if zlib.crc32(first[:12]) != crc:
            raise DumpError(
                f"{self.name} is damaged at byte 0: the checksum of its header is wrong"
            )
        if version != VERSION or zero:
            raise DumpError(
                f"{self.name} has version {version}, and this program reads version {VERSION}:"
                " use a newer one"
            )
        self.at = _HEADER.size

    def _chunk(self) -> tuple[bytes, bytes, int]:
        self.chunk_at = self.at
        what = f"chunk {self.sequence}"
        head = self._exactly(_HEAD.size + 4, f"the head of {what}")
        kind, sequence, stored, raw, offset = _HEAD.unpack_from(head)
        if kind in _NAMES:
            what += f" ({_NAMES[kind]})"
        if stored > raw or raw > _PIECE:
            raise self.damaged(f"the head of {what} is wrong")
        body = self._exactly(stored, what)
        if zlib.crc32(body, zlib.crc32(head[:-4])) != _CRC.unpack_from(head, _HEAD.size)[0]:
            raise self.damaged(f"the checksum of {what} is wrong")
        if sequence != self.sequence:
            raise self.damaged(f"chunk {sequence} stands where chunk {self.sequence} belongs")
        if kind not in _NAMES:
            raise DumpError(
                f"{self.name} has a chunk of the kind {kind.decode('latin-1')!r} at byte"
                f" {self.chunk_at}, which this program does not know"
            )
        if stored < raw:
            try:
                body = zlib.decompressobj().decompress(body, raw + 1)
            except zlib.error as error:
                raise self.damaged(f"{what} does not unpack ({error})") from error
        if len(body) != raw:
            raise self.damaged(
                f"{what} does not unpack to the {counted(raw, 'byte')} that it announces"
            )
        self.sequence += 1
        return kind, body, offset

    def disk(self) -> dict[str, Any]:
        """The description of the disk: the first chunk."""
        if self._disk is None:
            self._header()
            kind, body, _ = self._chunk()
            if kind != b"DISK":
                raise self.damaged("it does not begin with the disk's description")
            fields = {"geometry": dict, "profile": str, "uuid": str, "payload": bool}
            self._disk = self._json(body, fields)
            self._check_geometry(self._disk["geometry"])
        return self._disk

    def _check_geometry(self, geometry: dict[str, Any]) -> None:
        """A dump may choose what a disk is like, by the names and kinds that dump() writes, and no
        other keyword of `zoned.create`.
        """
        from zoned.geometry import MOST_RANGES

        for name, value in geometry.items():
            kind = _KINDS.get(name)
            if kind is None:
                raise self.damaged(f"the disk's description has {_short(name)}, which no disk has")
            word = value if isinstance(value, str) else ""
            if type(value) is not kind or len(word) > _LONGEST_WORD:
                what = _KIND_NAMES[kind]
                raise self.damaged(f"{name} in the disk's description is no {what}")
        missing = [name for name in ("size", "zone_size", "conventional") if name not in geometry]
        if missing:
            raise self.damaged(f"the disk's description has no {missing[0]}")
        ranges = geometry["conventional"]
        if len(ranges) > MOST_RANGES or not all(
            type(pair) is list and len(pair) == 2 and all(type(number) is int for number in pair)
            for pair in ranges
        ):
            raise self.damaged(
                "conventional in the disk's description must be pairs of a first zone and a count,"
                f" at most {MOST_RANGES}"
            )

    def chunks(self) -> Iterator[tuple[bytes, bytes, int]]:
        """ZONE and DATA chunks up to DONE, behind which the stream must end."""
        self.disk()
        while True:
            kind, body, offset = self._chunk()
            if kind == b"DISK":
                raise self.damaged("the disk is described twice")
            if kind == b"DONE":
                self._end = self._json(body, {"zones": int, "data": int})
                if self.stream.read(1):
                    raise DumpError(f"{self.name} goes on behind its end at byte {self.at}")
                return
            yield kind, body, offset

    def records(self, body: bytes) -> Iterator[ZoneRecord]:
        if len(body) % _RECORD.size:
            raise self.damaged("the list of zones ends within a zone")
        for index, condition, flags, zero, written in _RECORD.iter_unpack(body):
            if condition not in CONDITION_NAMES or zero or flags > _NON_SEQ | _RESET:
                raise self.damaged(f"zone {index} has a condition or flag that does not exist")
            yield ZoneRecord(index, ZoneCondition(condition), flags, written)

    def check_end(self, zones: int, data: int) -> None:
        assert self._end is not None
        if (self._end["zones"], self._end["data"]) != (zones, data):
            raise self.damaged(
                f"it should hold {counted(self._end['zones'], 'zone')} and"
                f" {counted(self._end['data'], 'byte')} of payload, and holds {zones} and {data}"
            )

    def _json(self, body: bytes, fields: dict[str, type]) -> dict[str, Any]:
        try:
            value = parse_json(body, InputError, "a description")
        except InputError as error:
            raise self.damaged("a description is no JSON that can be read") from error
        if not isinstance(value, dict) or not all(
            type(value.get(name)) is kind for name, kind in fields.items()
        ):
            raise self.damaged(f"a description lacks one of {', '.join(fields)}")
        return value


def _short(name: str) -> str:
    """A word of the dump as a message may have it."""
    return repr(name if len(name) <= _LONGEST_WORD else f"{name[:_LONGEST_WORD]}...")


_KINDS: dict[str, type] = {
    "size": int,
    "zone_size": int,
    "zone_capacity": int,
    "conventional": list,
    "logical_block": int,
    "physical_block": int,
    "max_open": int,
    "max_active": int,
    "append_limit": int,
    "dialect": str,
    "model": str,
    "implicit_close": str,
    "unrestricted_read": bool,
    "data": str,
    "host_sync": str,
    "seed": int,
    "slot_cache": int,
}
"""What the geometry in a dump may have, as describe_geometry() makes it."""
_KIND_NAMES: dict[type, str] = {
    int: "whole number",
    str: f"word of at most {_LONGEST_WORD} letters",
    bool: "true or false",
    list: "list",
}


def _to_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _version() -> str:
    import zoned

    return zoned.__version__
