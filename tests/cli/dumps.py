"""Dumps in pieces, of today and of version 1, to be put together in other ways."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from typing import Any

from zoned import dumpfile


class Dump(bytes):
    """A dump of today: an archive, each chunk of which is a gzip file by itself."""

    header = b""

    def chunks(self) -> list[bytes]:
        """The header and the chunks, each whole."""
        parts, rest = [b""], bytes(self)
        while rest:
            unpacker = zlib.decompressobj(wbits=31)
            unpacker.decompress(rest)
            parts.append(rest[: len(rest) - len(unpacker.unused_data)])
            rest = unpacker.unused_data
        return parts

    def bodies(self) -> list[tuple[bytes, bytes, int]]:
        """What the chunks hold."""
        found = []
        with tarfile.open(fileobj=io.BytesIO(self)) as archive:
            for member in archive:
                number, kind, *rest = member.name.split(".")
                assert int(number) == len(found)
                file = archive.extractfile(member)
                assert file is not None
                found.append((KIND[kind], file.read(), int(rest[0]) if kind == "data" else 0))
        return found

    @staticmethod
    def chunk(kind: bytes, number: int, body: bytes, offset: int = 0) -> bytes:
        if kind == b"ZONE":
            if len(body) % 16:
                body = b'{"zones": [[1]]}'
            else:
                rows = [[i, c, f, w] for i, c, f, _, w in struct.iter_unpack("<IBBHQ", body)]
                body = json.dumps({"zones": rows}).encode()
        rest = f"{offset:020}" if kind == b"DATA" else "json"
        name = f"{number:010}.{next(n for n, k in KIND.items() if k == kind)}.{rest}"
        return member(name, body, bytes(1024) if kind == b"DONE" else b"")


KIND = {"disk": b"DISK", "zones": b"ZONE", "data": b"DATA", "end": b"DONE"}


def member(name: str, body: bytes, end: bytes = b"", **fields: Any) -> bytes:
    """A gzip file with one file of an archive, as Python's tarfile makes it."""
    info = tarfile.TarInfo(name)
    info.size = len(body)
    for field, value in fields.items():
        setattr(info, field, value)
    return gz(info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512) + end)


def raw_gz(packed: bytes) -> bytes:
    """A piece of a dump around bytes that need not be deflate's."""
    return dumpfile.GZIP + struct.pack("<II", len(packed), zlib.crc32(packed)) + packed + bytes(8)


def gz(raw: bytes) -> bytes:
    packed = zlib.compress(raw, wbits=-15)
    extra = struct.pack("<II", len(packed), zlib.crc32(packed))
    return dumpfile.GZIP + extra + packed + struct.pack("<II", zlib.crc32(raw), len(raw))


class OldDump(bytes):
    """A dump of version 1."""

    header = b"\x89ZDMP\r\n\x1a" + struct.pack("<HH", 1, 0)
    header += struct.pack("<I", zlib.crc32(header))

    def chunks(self) -> list[bytes]:
        """The header and the chunks of a dump, each whole."""
        parts, at = [self[:16]], 16
        while at < len(self):
            stored = struct.unpack_from("<I", self, at + 8)[0]
            parts.append(self[at : at + 28 + stored])
            at += 28 + stored
        return parts

    def bodies(self) -> list[tuple[bytes, bytes, int]]:
        """What the chunks hold."""
        found = []
        for part in self.chunks()[1:]:
            kind, _, stored, raw, offset = struct.unpack_from("<4sIIIQ", part)
            body = part[28:]
            found.append((kind, zlib.decompress(body) if stored < raw else body, offset))
        return found

    @staticmethod
    def chunk(
        kind: bytes, number: int, body: bytes, offset: int = 0, raw: int | None = None
    ) -> bytes:
        head = struct.pack(
            "<4sIIIQ", kind, number, len(body), len(body) if raw is None else raw, offset
        )
        return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body


Sample = Dump | OldDump


def as_old(new: Dump) -> OldDump:
    """The same in version 1, which nobody writes any more."""
    parts = [OldDump.header]
    for number, (kind, body, offset) in enumerate(new.bodies()):
        raw = body
        if kind == b"ZONE":
            rows = json.loads(body)["zones"]
            raw = b"".join(struct.pack("<IBBHQ", i, c, f, 0, w) for i, c, f, w in rows)
        packed = zlib.compress(raw)
        stored = packed if len(packed) < len(raw) else raw
        parts.append(OldDump.chunk(kind, number, stored, offset, raw=len(raw)))
    return OldDump(b"".join(parts))
