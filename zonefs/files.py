"""What ``ZoneFS.open`` gives: a raw file, and buffers that know about blocks.

A sequential file takes whole blocks at its end and nothing else. ``ZoneFile`` is the raw file, with
the kernel's rules. ``BlockWriter`` and ``BlockRandom`` are Python's buffers that pass on whole
blocks only; what makes no whole block is held back until more comes, and refused (or padded with
zeros, with ``pad=True``) by flush and close. The data path is the C type File.
"""

from __future__ import annotations

import errno
import io
import os
from operator import attrgetter
from typing import TYPE_CHECKING, NoReturn, SupportsIndex

from zoned._core.native import Guard
from zoned._core.owning import Turn
from zoned.units import counted

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from zoned._fast import File
    from zonefs.filesystem import ZoneFS

    _Buffered = io.BufferedWriter
else:
    _Buffered = object  # the class that _Blocks is mixed into brings Python's buffer

BUFFER_SIZE = 64 * 1024
"""Of buffered files, unless told otherwise."""


class RawFile(io.RawIOBase):
    """What the raw files have in common: how they were opened."""

    _readable: bool
    _writable: bool
    name: str
    mode: str

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        self._check_open()
        return self._readable

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        self._check_open()
        return self._writable

    def seekable(self) -> bool:
        """Always, within the file."""
        self._check_open()
        return True

    def __reduce__(self) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(f"a {kind} belongs to its process and cannot be copied or pickled")

    def __repr__(self) -> str:
        state = " [closed]" if self.closed else ""
        return f"<zonefs.{type(self).__name__} {self.name!r} mode={self.mode!r}{state}>"

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class ZoneFile(RawFile):
    """A file of a ZoneFS, unbuffered: each call is one system call of the kernel's zonefs.

    ``write`` may take fewer bytes than given, at the capacity of the file. Thread safe; threads
    share the position, as they do a descriptor's.
    """

    def __init__(self, fs: ZoneFS, file: File, name: str, flags: int, ino: int) -> None:
        """Not for users: ``ZoneFS.open(path, mode, buffering=0)`` makes one."""
        super().__init__()
        access = flags & os.O_ACCMODE
        self._fs = fs
        self._file = file
        self._ino = ino
        self._readable = access in (os.O_RDONLY, os.O_RDWR)
        self._writable = access in (os.O_WRONLY, os.O_RDWR)
        self.name = name
        # Its buffers must know of each write that was done: no signal comes between in C.
        self.write = file.write  # type: ignore[method-assign]
        self.readinto = file.readinto  # type: ignore[method-assign]
        if access == os.O_RDONLY:
            self.mode = "rb"
        else:
            letter = "a" if flags & os.O_APPEND else "w"
            self.mode = ("rb+" if letter == "w" else "ab+") if self._readable else f"{letter}b"

    # ------------------------------------------------------------ data

    def write(self, data: Buffer, /) -> int:
        """Write at the position (with mode "a": at the end); returns how many bytes went.

        A sequential file takes whole blocks at its end: EINVAL otherwise. Fewer bytes than given go
        at the capacity, and then EFBIG. EPERM if the zone is dead, EROFS if the file system became
        read-only, and what the disk says: EIO, ETOOMANYREFS (open limit), EOVERFLOW (active limit).
        """
        return self._file.write(data)

    def readinto(self, buffer: Buffer, /) -> int:
        """Read at the position; returns how many bytes came, 0 at the end."""
        return self._file.readinto(buffer)

    def readall(self) -> bytes:
        """Everything from the position to the end."""
        parts: list[bytes] = []
        while True:
            want = max(self._size() - self._file.position, 0)
            if want == 0:
                return b"".join(parts)
            buffer = bytearray(want)
            got = self._file.readinto(buffer)
            if got == 0:
                return b"".join(parts)
            parts.append(bytes(memoryview(buffer)[:got]))

    def pwrite(self, data: Buffer, offset: SupportsIndex) -> int:
        """As os.pwrite: write at an offset, the position stays."""
        return self._file.pwrite(data, offset)

    def pread(self, length: SupportsIndex, offset: SupportsIndex) -> bytes:
        """As os.pread: up to length bytes at an offset, the position stays."""
        return self._file.pread(length, offset)

    def truncate(self, size: int | None = None, /) -> int:
        """To 0, which resets the zone, or to the capacity, which finishes it; EPERM otherwise."""
        wanted = self._file.position if size is None else size
        if wanted < 0:
            raise OSError(errno.EINVAL, "a size cannot be negative", self.name)
        self._file.truncate(wanted)
        return wanted

    def fsync(self) -> None:
        """Make what was written durable, as os.fsync."""
        self._check_open()
        self._fs.fsync(self.name)

    # ------------------------------------------------------------ position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position. Beyond the end is EINVAL: zonefs allows no holes."""
        size = self._size()
        if whence == os.SEEK_SET:
            target = offset
        elif whence == os.SEEK_CUR:
            target = self._file.position + offset
        elif whence == os.SEEK_END:
            target = size + offset
        elif whence in (os.SEEK_DATA, os.SEEK_HOLE):
            if not 0 <= offset < size:
                raise OSError(errno.ENXIO, f"{self.name} has nothing at {offset}", self.name)
            target = offset if whence == os.SEEK_DATA else size
        else:
            raise ValueError(f"whence is {whence}: it must be 0 to 4")
        if not 0 <= target <= size:
            text = f"seek to {target} in {self.name}: it must be 0 to {size}, the size of the file"
            raise OSError(errno.EINVAL, text, self.name)
        self._file.position = target
        return target

    def tell(self) -> int:
        """The position."""
        self._check_open()
        return self._file.position

    # ------------------------------------------------------------ what it is

    def tell_size(self) -> int:
        """The size of the file, bytes."""
        return self._size()

    @property
    def fs(self) -> ZoneFS:
        """The file system it belongs to."""
        return self._fs

    closed = property(attrgetter("_file.closed"), doc="True once close() was called.")
    """Not in Python: its buffers take a KeyboardInterrupt in here for "yes"."""

    def close(self) -> None:
        """Close the file. With explicit_open the last writer's close closes the zone.

        This never fails for a reason of the disk, as close(2) of the kernel's zonefs does not.
        """
        try:
            super().close()
        finally:
            self._file.close()

    def _size(self) -> int:
        self._check_open()
        return self._fs.size_of(self._ino, self.name)


class _Blocks(_Buffered):
    """What BlockWriter and BlockRandom share: the bytes that make no whole block yet.

    Python's buffer below only ever holds whole blocks and its size is a multiple of the block, so
    everything that it passes on is whole blocks too. As Python's buffers, any number of threads may
    use one; a signal handler that comes amid a call on it gets RuntimeError.
    """

    def __init__(self, raw: ZoneFile, buffer_size: int, block: int, pad: bool) -> None:
        """Not for users: ``ZoneFS.open`` makes one. buffer_size is a multiple of block."""
        self._held = bytearray()
        self._block = block
        self._pad = pad
        self._lock = Turn("the file")
        super().__init__(raw, buffer_size)

    def write(self, data: Buffer, /) -> int:
        """Take all of data; whole blocks go on when the buffer is full."""
        view = memoryview(data).cast("B")
        length = len(view)
        with self._turn():
            if self.closed:
                raise ValueError("write to closed file")
            if self._held:
                missing = self._block - len(self._held)
                self._held += view[:missing]
                if len(self._held) < self._block:
                    return length
                super().write(bytes(self._held))
                self._held.clear()
                view = view[missing:]
            rest = len(view) % self._block
            if rest < len(view):
                super().write(view[: len(view) - rest])
            if rest:
                self._held += view[len(view) - rest :]
            return length

    def flush(self) -> None:
        """Pass on everything. EINVAL if the last block is not whole and there is no pad.

        After that error writing can go on: what was held back still is.
        """
        with self._turn():
            self._flush()

    def _turn(self) -> Guard:
        """One thread at a time, and no thread within itself."""
        return Guard(self._lock)

    def _flush(self) -> None:
        super().flush()
        if not self._held:
            return
        missing = self._block - len(self._held)
        if not self._pad:
            name = str(self.name)
            text = (
                f"{counted(len(self._held), 'byte')} at the end of {name} make no whole block of "
                f"{self._block}: write {missing} more, open it with pad=True to fill up with "
                "zeros, or use open_stream(), which keeps byte streams of any length"
            )
            raise OSError(errno.EINVAL, text, name)
        super().write(bytes(self._held) + bytes(missing))
        self._held.clear()
        super().flush()

    def tell(self) -> int:
        """Where the next byte goes."""
        with self._turn():
            return super().tell() + len(self._held)

    def seek(self, target: int, whence: int = 0, /) -> int:
        """Flush, then move. Only the end of a sequential file can be written."""
        with self._turn():
            self._flush()
            return super().seek(target, whence)

    def truncate(self, pos: int | None = None, /) -> int:
        """Flush, then truncate: to 0 or to the capacity."""
        with self._turn():
            self._flush()
            return super().truncate(pos)


class BlockWriter(_Blocks, io.BufferedWriter):
    """A BufferedWriter for a sequential file: takes any bytes, passes on whole blocks.

    ``flush`` and ``close`` fail with EINVAL when the last block is not whole, and say what helps;
    with ``pad`` they fill it up with zeros.
    """


class BlockRandom(_Blocks, io.BufferedRandom):  # type: ignore[misc]
    """A BufferedRandom for a sequential file: reads anywhere, writes whole blocks at the end."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Flush what was written, then read."""
        with self._turn():
            self._flush_held()
            return super().read(size)

    def read1(self, size: int = -1, /) -> bytes:
        """Flush what was written, then read what one call gives."""
        with self._turn():
            self._flush_held()
            return super().read1(size)

    def readinto(self, buffer: Buffer, /) -> int:
        """Flush what was written, then read into memory."""
        with self._turn():
            self._flush_held()
            return super().readinto(buffer)

    def readinto1(self, buffer: Buffer, /) -> int:
        """Flush what was written, then read into memory what one call gives."""
        with self._turn():
            self._flush_held()
            return super().readinto1(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Flush what was written, then read a line."""
        with self._turn():
            self._flush_held()
            return super().readline(size)

    def peek(self, size: int = 0, /) -> bytes:
        """Flush what was written, then look ahead."""
        with self._turn():
            self._flush_held()
            return super().peek(size)

    def _flush_held(self) -> None:
        if self._held:
            self._flush()


def buffered(raw: ZoneFile, buffering: int, block: int, pad: bool) -> io.BufferedIOBase:
    """The buffer for a raw file. ``block`` is the block size for a sequential file, else 0."""
    size = BUFFER_SIZE if buffering < 0 else buffering
    if block and raw.writable():
        size = max(-(-size // block), 1) * block
        kind = BlockRandom if raw.readable() else BlockWriter
        return kind(raw, size, block, pad)
    if raw.writable():
        return io.BufferedRandom(raw, size) if raw.readable() else io.BufferedWriter(raw, size)
    return io.BufferedReader(raw, size)
