"""The file of a dump: a tar archive in gzip, each member packed by itself. Also reads version 1.

Written and read front to back, never seeking, so it goes through pipes. `tar tf` lists it, `tar xf`
unpacks it.

Format, version 2. A gzip file of several members (RFC 1952: together they are one file), each of
which holds one member of the archive, of at most 1 MiB. Its header is 1F 8B 08 04 00 00 00 00 00 FF
and has one extra field, 0C 00 "ZD" 08 00: length and CRC-32 (u32 each, little-endian) of the packed
bytes between header and trailer. The archive (POSIX.1-1988 "ustar") has plain files only, with mode
0644 and without owner or time. Their names begin with a number of ten digits, 0 for the first, so
that one which is lost, doubled or moved is noticed:

    N.disk.json    once, first: JSON (UTF-8). "version": 2; "geometry": every keyword of
                   `zoned.create`, sizes in bytes, "conventional" as [first, count] pairs;
                   "profile"; "uuid" of the disk that was dumped; "payload": whether data files
                   carry what was written; "program".
    N.zones.json   {"zones": [...]}, up to 4096 zones as [index, condition (as in
                   linux/blkzoned.h), flags (1: non_seq, 2: reset recommended, 4: has a descriptor
                   extension), written (bytes from the zone's start on that hold what somebody
                   wrote)], and of a zone with a random write area one number more: the granules
                   of it that its write pointer lies before that, plus one. Zones in their first
                   state
                   (EMPTY, or conventional and never written) have none, nor has an implicitly open
                   one with nothing in it, which a write under way or cut short leaves and an
                   implicit close makes EMPTY. They come in an order in which a disk can be rebuilt
                   under its own limits: zones that hold no resource, ascending; then CLOSED; then
                   EXPLICIT_OPEN; then IMPLICIT_OPEN, the one opened first before the others.
    N.data.OFFSET  bytes of the last zone of the zones file before it, ascending; OFFSET (20 digits)
                   is where on the disk they belong. Pieces that are all zeros are left out.
    N.extension.ZONE
                   descriptor extension of a zone (its index in 20 digits), which is alone in the
                   zones file that comes next. Of disks whose geometry has a "zone_extension".
    N.end.json     once, last: JSON. "zones": how many, "data": bytes in data files. Two blocks of
                   zeros, the end of the archive, are in the same gzip member. Nothing follows.

Damage is found at its place, as gzip checks each piece. Whatever changes the meaning of the above
raises the version.

Version 1, which is read and no longer written. Little-endian.

    header (16 bytes)
         0  magic      89 "ZDMP" 0D 0A 1A: damaged by any transfer that is not binary
         8  version    u16, 1
        10  zero       u16
        12  crc        u32, CRC-32 (zlib) of bytes 0..11
    then chunks, each a head of 28 bytes and a body
         0  kind       "DISK", "ZONE", "DATA" or "DONE"; any other is refused by name
         4  sequence   u32, 0 for the first chunk
         8  stored     u32, bytes of the body in the dump
        12  raw        u32, bytes of the body unpacked (zlib), at most 1 MiB; equal to stored: not
                       packed
        16  offset     u64, DATA: where on the disk the bytes belong; else 0
        24  crc        u32, CRC-32 of head bytes 0..23, then of the body as stored
    DISK, DATA and DONE are as the files above; ZONE is up to 4096 records of 16 bytes: index u32,
    condition u8, flags u8, zero u16, written u64.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from zoned.inputs import InputError, parse_json
from zoned.reportformats import CONDITION_NAMES
from zoned.units import counted
from zoned.zone import ZoneCondition

VERSION = 2
MAGIC = b"\x89ZDMP\r\n\x1a"
GZIP = bytes.fromhex("1f8b08040000000000ff 0c00 5a44 0800")
DISK, ZONE, DATA, DONE = b"DISK", b"ZONE", b"DATA", b"DONE"
EXTENSION = b"EXTN"
"""Of version 2 alone."""
RECORD = struct.Struct("<IBBHQ")
"""A zone: index, condition, flags, area (as ZoneRecord), bytes written."""
NON_SEQ = 1
RESET = 2
EXTENDED = 4
PIECE = 1 << 20
BATCH = 4096

_HEADER = struct.Struct("<8sHHI")
_HEAD = struct.Struct("<4sIIIQ")
_CRC = struct.Struct("<I")
_EXTRA = struct.Struct("<II")
_TRAILER = struct.Struct("<II")
_SAMPLE = 4096
_LONGEST_WORD = 64
_NAMES = {
    DISK: "the disk's description",
    ZONE: "zone states",
    DATA: "payload",
    EXTENSION: "a descriptor extension",
    DONE: "the end",
}
_BLOCK = 512
_FILES = {
    DISK: "disk.json",
    ZONE: "zones.json",
    DATA: "data",
    EXTENSION: "extension",
    DONE: "end.json",
}
_PLACED = (DATA, EXTENSION)
"""Whose names tell a place."""
_KINDS_OF_FILES = {name: kind for kind, name in _FILES.items()}
_NAME = re.compile(
    r"([0-9]{10})\.(disk\.json|zones\.json|end\.json|data|extension)(?:\.([0-9]{20}))?"
)
_LONGEST = 2 * PIECE
"""Bytes of a member of the archive, with its header and the end of the archive."""


class Readable(Protocol):
    """What a dump is read from; a read may be short, as pipes are."""

    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    """What a dump is written to."""

    def write(self, data: bytes, /) -> int | None: ...


class DumpError(OSError):
    """A dump that is damaged, cut short, of an unknown version, or none at all; the message says
    where."""


@dataclass(frozen=True)
class ZoneRecord:
    """The state of a zone that is not as new."""

    index: int
    condition: ZoneCondition
    flags: int
    written: int
    extended: bool = False
    """Whether it has a descriptor extension."""
    area: int = 0
    """0: it has no random write area. Else one more than the granules of the area that its write
    pointer lies before the end of what is written.
    """


def zone_record(index: int, condition: int, flags: int, area: int, written: int) -> ZoneRecord:
    """A zone as RECORD has it."""
    extended = bool(flags & EXTENDED)
    return ZoneRecord(index, ZoneCondition(condition), flags & ~EXTENDED, written, extended, area)


# -------------------------------------------------------------------------------------------
# writing


def _looks_random(body: bytes) -> bool:
    """Whether compressing would gain next to nothing, by four samples: it costs 20 times a copy."""
    if len(body) < 16 * _SAMPLE:
        return False
    step = len(body) // 4
    samples = b"".join(body[at : at + _SAMPLE] for at in range(0, 4 * step, step))
    return len(zlib.compress(samples, 1)) > len(samples) * 0.98


def tar_header(name: str, size: int) -> bytes:
    """The block before a plain file in an archive."""
    head = bytearray(_BLOCK)
    head[: len(name)] = name.encode("ascii")
    head[100:136] = b"0000644\0" + b"0000000\0" * 2 + f"{size:011o}\0".encode()
    head[136:156] = b"00000000000\0" + b" " * 8
    head[156:157] = b"0"
    head[257:265] = b"ustar\00000"
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return bytes(head)


class Writer:
    """Writes chunks, each a member of the archive and of the gzip file."""

    def __init__(self, stream: Writable, level: int) -> None:
        self.stream = stream
        self.level = level
        self.sequence = 0

    def chunk(self, kind: bytes, body: bytes, offset: int = 0) -> None:
        """ZONE: RECORDs, one after the other; the others as their files have them."""
        if kind == ZONE:
            rows = [[i, c, f, w, *([a] if a else [])] for i, c, f, a, w in RECORD.iter_unpack(body)]
            body = to_json({"zones": rows})
        name = f"{self.sequence:010}.{_FILES[kind]}" + (f".{offset:020}" if kind in _PLACED else "")
        end = bytes(2 * _BLOCK) if kind == DONE else b""
        level = 0 if _looks_random(body) else self.level
        packer = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
        crc = size = 0
        packed = b""
        for part in (tar_header(name, len(body)), body, bytes(-len(body) % _BLOCK), end):
            crc, size = zlib.crc32(part, crc), size + len(part)
            packed += packer.compress(part)
        packed += packer.flush()
        head = GZIP + _EXTRA.pack(len(packed), zlib.crc32(packed))
        self._write(b"".join((head, packed, _TRAILER.pack(crc, size))))
        self.sequence += 1

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            taken = self.stream.write(bytes(view) if len(view) != len(data) else data)
            if taken is None or taken == len(view):
                return
            view = view[taken:]


# -------------------------------------------------------------------------------------------
# reading


class Reader(ABC):
    """Chunks of a dump, checked; every failure says at which byte. ``first`` is what was read of
    the stream to see which version it is.
    """

    def __init__(self, stream: Readable, name: str, first: bytes) -> None:
        self.stream = stream
        self.name = name
        self.at = 0
        self.chunk_at = 0
        self.sequence = 0
        self._ahead = first
        self._disk: dict[str, Any] | None = None
        self._end: dict[str, Any] | None = None

    def damaged(self, what: str) -> DumpError:
        """The error for something wrong in the chunk that was read last."""
        return DumpError(f"{self.name} is damaged at byte {self.chunk_at}: {what}")

    def _read(self, size: int) -> bytes:
        """What was read already comes first."""
        if self._ahead:
            part, self._ahead = self._ahead[:size], self._ahead[size:]
            return part
        return self.stream.read(size)

    def _exactly(self, length: int, what: str) -> bytes:
        parts = []
        missing = length
        while missing:
            part = self._read(missing)
            if not part:
                end = self.at + length - missing
                raise DumpError(f"{self.name} is cut short: it ends at byte {end}, within {what}")
            parts.append(part)
            missing -= len(part)
        self.at += length
        return b"".join(parts)

    @abstractmethod
    def _chunk(self) -> tuple[bytes, bytes, int]:
        """The next one: its kind, what is in it, its offset."""

    def disk(self) -> dict[str, Any]:
        """The description of the disk: the first chunk."""
        if self._disk is None:
            kind, body, _ = self._chunk()
            if kind != DISK:
                raise self.damaged("it does not begin with the disk's description")
            fields = {"geometry": dict, "profile": str, "uuid": str, "payload": bool}
            self._disk = self._json(body, fields)
            self._check_version(self._disk.get("version"))
            self._check_geometry(self._disk["geometry"])
        return self._disk

    @abstractmethod
    def _check_version(self, version: object) -> None:
        """Of what the description says."""

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
        """ZONE, DATA and EXTENSION chunks up to DONE, behind which the stream must end."""
        self.disk()
        while True:
            kind, body, offset = self._chunk()
            if kind == DISK:
                raise self.damaged("the disk is described twice")
            if kind == DONE:
                self._end = self._json(body, {"zones": int, "data": int})
                if self._read(1):
                    raise DumpError(f"{self.name} goes on behind its end at byte {self.at}")
                return
            yield kind, body, offset

    def records(self, body: bytes) -> Iterator[ZoneRecord]:
        """The zones of a ZONE chunk."""
        if len(body) % RECORD.size:
            raise self.damaged("the list of zones ends within a zone")
        known = NON_SEQ | RESET
        if self.disk()["geometry"].get("zone_extension"):
            known |= EXTENDED
        most = 255 if self.disk()["geometry"].get("zrwa_size") else 0
        for index, condition, flags, area, written in RECORD.iter_unpack(body):
            if condition not in CONDITION_NAMES or area > most or flags & ~known:
                raise self.damaged(f"zone {index} has a condition or flag that does not exist")
            yield zone_record(index, condition, flags, area, written)

    def check_end(self, zones: int, data: int) -> None:
        """Whether it had as many zones and bytes as it says at its end."""
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


class Chunks(Reader):
    """Version 1."""

    def _check_version(self, version: object) -> None:
        """The header has said it, and the description does not."""

    def _chunk(self) -> tuple[bytes, bytes, int]:
        if not self.sequence:
            self._header()
        self.chunk_at = self.at
        what = f"chunk {self.sequence}"
        head = self._exactly(_HEAD.size + 4, f"the head of {what}")
        kind, sequence, stored, raw, offset = _HEAD.unpack_from(head)
        if kind in _NAMES:
            what += f" ({_NAMES[kind]})"
        if stored > raw or raw > PIECE:
            raise self.damaged(f"the head of {what} is wrong")
        body = self._exactly(stored, what)
        if zlib.crc32(body, zlib.crc32(head[:-4])) != _CRC.unpack_from(head, _HEAD.size)[0]:
            raise self.damaged(f"the checksum of {what} is wrong")
        if sequence != self.sequence:
            raise self.damaged(f"chunk {sequence} stands where chunk {self.sequence} belongs")
        if kind not in _NAMES or kind == EXTENSION:
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

    def _header(self) -> None:
        first = self._exactly(_HEADER.size, "its header")
        _, version, zero, crc = _HEADER.unpack(first)
        if zlib.crc32(first[:12]) != crc:
            raise DumpError(
                f"{self.name} is damaged at byte 0: the checksum of its header is wrong"
            )
        if version != 1 or zero:
            raise DumpError(
                f"{self.name} has version {version}, and this program reads version 1:"
                " use a newer one"
            )


class Members(Reader):
    """Version 2."""

    def _chunk(self) -> tuple[bytes, bytes, int]:
        self.chunk_at = self.at
        what = f"chunk {self.sequence}"
        raw = self._unpacked(what)
        name, size = self._header(raw[:_BLOCK], what)
        known = _NAME.fullmatch(name)
        kind = _KINDS_OF_FILES[known[2]] if known else b""
        if known is None or (kind in _PLACED) != (known[3] is not None):
            raise self.damaged(f"{_short(name)} is no file of a dump")
        what += f" ({_NAMES[kind]})"
        if int(known[1]) != self.sequence:
            raise self.damaged(f"file {int(known[1])} stands where file {self.sequence} belongs")
        behind = raw[_BLOCK + size :]
        if size > PIECE or len(behind) != -size % _BLOCK + (2 * _BLOCK if kind == DONE else 0):
            raise self.damaged(f"{what} is not as long as it says")
        if any(behind):
            raise self.damaged(f"{what} has bytes behind it that are no zeros")
        body = raw[_BLOCK : _BLOCK + size]
        if kind == ZONE:
            body = self._packed(body)
        self.sequence += 1
        return kind, body, int(known[3] or 0)

    def _check_version(self, version: object) -> None:
        if type(version) is not int:
            raise self.damaged("the disk's description tells no version")
        if version != VERSION:
            raise DumpError(
                f"{self.name} has version {version}, and this program reads version {VERSION}:"
                " use a newer one"
            )

    def _unpacked(self, what: str) -> bytes:
        """What the next member of the gzip file holds."""
        head = self._exactly(len(GZIP) + _EXTRA.size, what)
        if not head.startswith(GZIP):
            raise self.damaged(f"{what} does not begin as a piece of a dump")
        length, crc = _EXTRA.unpack_from(head, len(GZIP))
        if length > _LONGEST:
            raise self.damaged(f"{what} is longer than the most that a piece may be")
        packed = self._exactly(length, what)
        if zlib.crc32(packed) != crc:
            raise self.damaged(f"the checksum of {what} is wrong")
        unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        try:
            raw = unpacker.decompress(packed, _LONGEST)
        except zlib.error as error:
            raise self.damaged(f"{what} does not unpack ({error})") from error
        if unpacker.unconsumed_tail:
            raise self.damaged(f"{what} unpacks to more than the most that a piece may hold")
        if not unpacker.eof or unpacker.unused_data:
            raise self.damaged(f"{what} is not as long as it says")
        if self._exactly(_TRAILER.size, what) != _TRAILER.pack(zlib.crc32(raw), len(raw)):
            raise self.damaged(f"the checksum of {what} is wrong")
        return raw

    def _header(self, head: bytes, what: str) -> tuple[str, int]:
        """Name and size of the plain file that a block of an archive announces."""
        if len(head) < _BLOCK:
            raise self.damaged(f"{what} is too short for a file of an archive")
        name = head[:100].rstrip(b"\0").decode("ascii", "backslashreplace")
        digits = head[124:135]
        size = int(digits, 8) if re.fullmatch(rb"[0-7]{11}", digits) else -1
        if size < 0 or head != tar_header(name if len(name) <= 100 else "", size):
            if head[156:157] not in (b"0", b"\0"):
                raise self.damaged(f"{_short(name)} is no plain file, as all of a dump are")
            raise self.damaged(f"the header of {what} is not as dumps have it")
        return name, size

    def _packed(self, body: bytes) -> bytes:
        """The zones of a file as RECORDs."""
        rows = self._json(body, {"zones": list})["zones"]
        for row in rows:
            if type(row) is not list or len(row) not in (4, 5):
                raise self.damaged("the list of zones ends within a zone")
            if not all(type(number) is int for number in row) or not all(
                0 <= number < 1 << bits for number, bits in zip(row, _BITS, strict=False)
            ):
                raise self.damaged("a zone is not four numbers that it can have")
        if len(rows) > BATCH:
            raise self.damaged(f"{counted(len(rows), 'zone')} in one file: at most {BATCH} are")
        return b"".join(RECORD.pack(i, c, f, *(area or [0]), w) for i, c, f, w, *area in rows)


_BITS = (32, 8, 8, 64, 16)


def reader_of(stream: Readable, name: str) -> Reader:
    """The reader for what a stream begins with. Raises DumpError where it is no dump."""
    first = b""
    while len(first) < len(MAGIC):
        more = stream.read(len(MAGIC) - len(first))
        if not more:
            break
        first += more
    if not first:
        raise DumpError(f"{name} is empty")
    if first == GZIP[: len(first)]:
        return Members(stream, name, first)
    if first[: len(MAGIC)] == MAGIC[: len(first)]:
        return Chunks(stream, name, first)
    if first[1:5] == MAGIC[1:5]:
        raise DumpError(f"{name} was damaged by a transfer in text mode: copy it in binary mode")
    raise DumpError(f"{name} is not a dump made by zonedctl dump")


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
    "zone_extension": int,
    "zrwa_size": int,
    "zrwa_granularity": int,
    "zrwa_count": int,
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


def to_json(value: dict[str, Any]) -> bytes:
    """JSON as dumps have it."""
    return json.dumps(value, sort_keys=True).encode()
