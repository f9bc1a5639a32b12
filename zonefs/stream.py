"""Byte streams of any length in a sequential file, which takes whole blocks only.

A stream is kept as a log of segments. A segment is what was written between two flushes: its bytes
from a block's start on, zeros, and a record of 64 bytes that ends its last block and says how many
of the bytes are data and where in the stream they belong. So

- a reader gets exactly the bytes back that were written, however many there were;
- a stream can be appended to later, and even overwritten or cut: the newest record counts, and the
  old bytes stay behind in the zone until it is reset;
- a stream whose writer died is whole up to its last flush (``recover=True``).

Each flush (and so each close) takes the data, 64 bytes, and what is missing to a whole block.

The record, little-endian, 64 bytes, its CRC-32 (zlib) over all of it with the crc field zero:

    0   8  magic "zoneStrm"         24  8  length: bytes of data from start on
    8   4  crc                      32  8  offset: where they belong in the stream
    12  4  version, 1               40  8  size: of the stream after this segment
    16  8  start: of the segment,   48  8  previous: end of the segment before this one
           bytes from the file's          in the file, 2^64 - 1 if it is the first
           start                    56  8  stream: a random number, the same in all its records
"""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from zoned._core.native import Guard
from zoned._core.owning import Turn
from zonefs.files import RawFile

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from zonefs.files import ZoneFile

    _Buffered = io.BufferedWriter
else:
    _Buffered = object

MAGIC = b"zoneStrm"
VERSION = 1
RECORD = struct.Struct("<8sIIQQQQQQ")
BUFFER_SIZE = 64 * 1024
_NONE = 2**64 - 1


class StreamError(OSError):
    """A sequential file holds no stream, or one that was not closed (EUCLEAN)."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One record: bytes [start, start + length) of the file are [offset, offset + length) of the
    stream, which then is ``size`` bytes long."""

    start: int
    length: int
    offset: int
    size: int
    previous: int | None
    stream: int

    def packed(self) -> bytes:
        """The record's 64 bytes."""
        previous = _NONE if self.previous is None else self.previous
        rest = (self.start, self.length, self.offset, self.size, previous, self.stream)
        crc = zlib.crc32(RECORD.pack(MAGIC, 0, VERSION, *rest))
        return RECORD.pack(MAGIC, crc, VERSION, *rest)

    @classmethod
    def unpacked(cls, raw: bytes, end: int, block: int) -> Segment | None:
        """The record in 64 bytes that end at ``end``, None if they are none."""
        magic, crc, version, start, length, offset, size, previous, stream = RECORD.unpack(raw)
        if magic != MAGIC or version != VERSION:
            return None
        if zlib.crc32(raw[:8] + bytes(4) + raw[12:]) != crc:
            return None
        if start % block or start + occupied(length, block) != end:
            return None
        if previous != _NONE and previous > start:
            return None
        return cls(start, length, offset, size, None if previous == _NONE else previous, stream)


def occupied(length: int, block: int) -> int:
    """How many bytes of the file a segment of that much data takes."""
    return -(-(length + RECORD.size) // block) * block


class Extents:
    """Where in the file the bytes of a stream are: pieces in order, without overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[tuple[int, int]] = []  # length, place in the file

    def put(self, offset: int, length: int, place: int) -> None:
        """Bytes [offset, offset + length) of the stream now lie at ``place``."""
        if length == 0:
            return
        self._cut(offset, offset + length)
        at = bisect_right(self._starts, offset)
        self._starts.insert(at, offset)
        self._pieces.insert(at, (length, place))

    def truncate(self, size: int) -> None:
        """Forget what lies at size or behind it."""
        self._cut(size, _NONE)

    def find(self, offset: int, length: int) -> list[tuple[int, int | None]]:
        """Pieces of (length, place) that make up a range; place None where nothing was written."""
        found: list[tuple[int, int | None]] = []
        end = offset + length
        at = max(bisect_right(self._starts, offset) - 1, 0)
        while offset < end and at < len(self._starts):
            start = self._starts[at]
            size, place = self._pieces[at]
            at += 1
            if start + size <= offset:
                continue
            if start >= end:
                break
            if start > offset:
                found.append((start - offset, None))
                offset = start
            n = min(start + size, end) - offset
            found.append((n, place + offset - start))
            offset += n
        if offset < end:
            found.append((end - offset, None))
        return found

    def _cut(self, low: int, high: int) -> None:
        """Remove [low, high)."""
        at = max(bisect_right(self._starts, low) - 1, 0)
        while at < len(self._starts) and self._starts[at] < high:
            start = self._starts[at]
            size, place = self._pieces[at]
            if start + size <= low:
                at += 1
                continue
            del self._starts[at], self._pieces[at]
            if start < low:
                self._starts.insert(at, start)
                self._pieces.insert(at, (low - start, place))
                at += 1
            if start + size > high:
                self._starts.insert(at, high)
                self._pieces.insert(at, (start + size - high, place + high - start))
                at += 1


class StreamFile(RawFile):
    """A stream, unbuffered: a file that can be read, written, cut and moved about in at any byte.

    What is written counts once it is flushed. Any number of threads may use it.
    """

    def __init__(
        self, raw: ZoneFile, mode: str, block: int, capacity: int, end: int, recover: bool
    ) -> None:
        """Not for users: ``ZoneFS.open_stream(path, mode, buffering=0)`` makes one.

        ``end`` is where the data of the file ends, ``capacity`` how far it may grow, bytes.
        """
        super().__init__()
        self._raw = raw
        self._block = block
        self._capacity = capacity
        self._lock = Turn("the stream")
        self.name = raw.name
        self.mode = mode.replace("t", "") + ("" if "b" in mode else "b")
        self._appending = "a" in mode
        self._readable = "r" in mode or "+" in mode
        self._writable = "r" not in mode or "+" in mode
        self._extents = Extents()
        self._size = 0
        self._position = 0
        self._end = end  # of the file: where the next segment begins
        self._previous: int | None = None
        self._stream = int.from_bytes(os.urandom(8), "little")
        self._held = bytearray()  # of the segment that is being written: no whole block yet
        self._length = 0  # of that segment
        self._offset = 0  # where it belongs
        self._broken = False
        self._load(recover)
        if self._appending:
            self._position = self._size

    # ------------------------------------------------------------ data

    def write(self, data: Buffer, /) -> int:
        """Write at the position (mode "a": at the end); returns how many bytes went.

        Fewer than given go when the zone has no more room, and then EFBIG.
        """
        view = memoryview(data).cast("B")
        with Guard(self._lock):
            self._check_can("writing", self._writable)
            if self._appending:
                self._position = self._size
            if self._length and self._position != self._offset + self._length:
                self._commit()
            if not len(view):
                return 0
            if not self._length:
                self._offset = self._position
            room = self._capacity - self._end - self._length - RECORD.size
            if room <= 0:
                text = f"{self.name} is full: no room behind {self._capacity} bytes"
                raise OSError(errno.EFBIG, text, self.name)
            view = view[:room]
            whole = (len(self._held) + len(view)) // self._block * self._block
            if whole:
                taken = whole - len(self._held)
                self._put(bytes(self._held) + bytes(view[:taken]) if self._held else view[:taken])
                self._held = bytearray(view[taken:])
            else:
                self._held += view
            self._length += len(view)
            self._position += len(view)
            self._size = max(self._size, self._position)
            return len(view)

    def readinto(self, buffer: Buffer, /) -> int:
        """Read at the position; returns how many bytes came, 0 at the end."""
        view = memoryview(buffer).cast("B")
        with Guard(self._lock):
            return self._read(view)

    def _read(self, view: memoryview) -> int:
        self._check_can("reading", self._readable)
        self._commit()
        length = min(len(view), self._size - self._position)
        if length <= 0:
            return 0
        at = 0
        for size, place in self._extents.find(self._position, length):
            part = bytes(size) if place is None else self._raw.pread(size, place)
            view[at : at + len(part)] = part
            at += len(part)
            if len(part) < size:
                break
        self._position += at
        return at

    def readall(self) -> bytes:
        """Everything from the position to the end."""
        with Guard(self._lock):
            buffer = bytearray(max(self._size - self._position, 0))
            at = 0
            while at < len(buffer):
                got = self._read(memoryview(buffer)[at:])
                if not got:
                    break
                at += got
            return bytes(buffer[:at])

    def truncate(self, size: int | None = None, /) -> int:
        """Cut the stream, or lengthen it with zeros; None: at the position. Takes one block."""
        with Guard(self._lock):
            self._check_can("writing", self._writable)
            wanted = self._position if size is None else size
            if wanted < 0:
                raise OSError(errno.EINVAL, "a size cannot be negative", self.name)
            self._commit()
            if wanted != self._size:
                self._offset, before, self._size = wanted, self._size, wanted
                try:
                    self._record()
                except BaseException:
                    self._size = before
                    raise
            return wanted

    def flush(self) -> None:
        """Complete the segment: what was written is part of the stream now."""
        if not self.closed:
            with Guard(self._lock):
                self._commit()

    def fsync(self) -> None:
        """Flush, and make it durable."""
        self.flush()
        self._raw.fsync()

    # ------------------------------------------------------------ position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position, also beyond the end: what lies between reads as zeros."""
        with Guard(self._lock):
            self._check_open()
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}.get(
                whence
            )
            if base is None:
                raise ValueError(f"whence is {whence}: it must be 0, 1 or 2")
            if base + offset < 0:
                raise OSError(errno.EINVAL, f"seek to {base + offset}, before the start", self.name)
            self._position = base + offset
            return self._position

    def tell(self) -> int:
        """The position."""
        self._check_open()
        return self._position

    # ------------------------------------------------------------ what it is

    @property
    def room(self) -> int:
        """Bytes that can still be written before the zone is full, if in one piece."""
        return max(self._capacity - self._end - self._length - RECORD.size, 0)

    @property
    def size(self) -> int:
        """Bytes in the stream."""
        return self._size

    closed = property(attrgetter("_raw.closed"), doc="True once close() was called.")
    """Not in Python: its buffers take a KeyboardInterrupt in here for "yes"."""

    def close(self) -> None:
        """Flush and close."""
        try:
            super().close()
        finally:
            self._raw.close()

    def buffered(self, buffering: int) -> io.BufferedIOBase:
        """The buffer that open_stream puts on it."""
        size = BUFFER_SIZE if buffering < 2 else buffering
        if not self._writable:
            return io.BufferedReader(self, size)
        return StreamRandom(self, size) if self._readable else StreamWriter(self, size)

    # ------------------------------------------------------------ inside

    def _check_can(self, what: str, allowed: bool) -> None:
        self._check_open()
        if not allowed:
            raise io.UnsupportedOperation(f"not open for {what}")
        if self._broken:
            text = f"{self.name}: a write failed half-way; open it anew with recover=True"
            raise OSError(errno.EIO, text, self.name)

    def _load(self, recover: bool) -> None:
        """Find the segments from the last one back, then apply them in order."""
        end = self._end
        last = self._record_at(end)
        if last is None and recover:
            while last is None and end > 0:
                end -= self._block
                last = self._record_at(end)
        if last is None:
            if self._end and not recover:
                text = (
                    f"{self.name} ends without a stream's record: it was not written as a stream, "
                    "or its writer did not close it (recover=True takes it up to its last flush)"
                )
                raise StreamError(errno.EUCLEAN, text, self.name)
            return
        self._stream = last.stream
        self._previous = end
        segments = [last]
        while segments[-1].previous is not None:
            before = self._record_at(segments[-1].previous)
            if before is None or before.stream != self._stream:
                text = (
                    f"{self.name}: the stream's record that ends at {segments[-1].previous} is gone"
                )
                raise StreamError(errno.EUCLEAN, text, self.name)
            segments.append(before)
        for segment in reversed(segments):
            self._apply(segment)

    def _record_at(self, end: int) -> Segment | None:
        if end < RECORD.size:
            return None
        raw = self._raw.pread(RECORD.size, end - RECORD.size)
        return Segment.unpacked(raw, end, self._block) if len(raw) == RECORD.size else None

    def _apply(self, segment: Segment) -> None:
        self._extents.put(segment.offset, segment.length, segment.start)
        self._extents.truncate(segment.size)
        self._size = segment.size

    def _commit(self) -> None:
        if self._length:
            self._record()

    def _record(self) -> None:
        """Write what is held back and the record; the segment is complete then."""
        segment = Segment(
            self._end, self._length, self._offset, self._size, self._previous, self._stream
        )
        end = self._end + occupied(self._length, self._block)
        missing = end - self._end - self._length - RECORD.size
        if end > self._capacity:
            text = f"{self.name} is full: no room behind {self._capacity} bytes"
            raise OSError(errno.EFBIG, text, self.name)
        self._put(bytes(self._held) + bytes(missing) + segment.packed())
        self._end = self._previous = end
        self._length = 0
        self._held = bytearray()
        self._apply(segment)

    def _put(self, data: Buffer) -> None:
        """Whole blocks behind what was written so far; EINVAL: somebody else writes here."""
        view = memoryview(data)
        at = before = self._end + self._length - len(self._held)
        try:
            while at < before + len(view):
                at += self._raw.pwrite(view[at - before :], at)
        except BaseException:
            # A signal can end a write half-way: then the segment cannot be completed.
            self._broken = self._raw.tell_size() != before
            raise


class _Committing(_Buffered):
    """What the two buffers share: their flush completes the segment too."""

    def flush(self) -> None:
        """Write everything, and complete the segment: it is part of the stream now."""
        super().flush()
        self.raw.flush()


class StreamWriter(_Committing, io.BufferedWriter):
    """A BufferedWriter on a stream."""


class StreamRandom(_Committing, io.BufferedRandom):  # type: ignore[misc]
    """A BufferedRandom on a stream."""
