"""The bytes of trace files: plain, gzip or zstd, told by their names or their first bytes, and read
in pieces.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from zoned.inputs import FREELY_UNPACKED, MOST_UNPACKED, InputError, open_regular

PIECE = 4 * 2**20
PACKED = 512  # bytes of a .zst at once: they may unpack to 16 MiB


class TraceError(InputError):
    """A trace that cannot be read: wrong format, cut off, or without a single command."""


def open_input(path: str | os.PathLike[str]) -> BinaryIO:
    """A trace's bytes, unpacked where its name or its first bytes say gzip or zstd. Raises OSError,
    TraceError.
    """
    path = Path(path)
    file = open_regular(path, TraceError)
    try:
        begin = file.read(4)
        file.seek(0)
        if path.suffix == ".gz" or begin[:2] == b"\x1f\x8b":
            return cast("BinaryIO", _Unpacked(file, path, gzip.GzipFile(fileobj=file).read))
        if path.suffix == ".zst" or begin == b"\x28\xb5\x2f\xfd":
            return cast("BinaryIO", _Unpacked(file, path, _Zst(file, path).read))
    except BaseException:
        file.close()
        raise
    return file


def read_piece(file: BinaryIO, path: Path, size: int = PIECE) -> bytes:
    """The next bytes; none at the end. Raises TraceError for damaged compression."""
    try:
        return file.read(size)
    except EOFError:
        raise TraceError(f"{path}: the compressed file is cut off") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}: damaged ({error})") from None


def head_of(path: Path) -> bytes:
    """How a trace begins, unpacked. Raises TraceError where it is not compressed as it says."""
    with open_input(path) as file:
        try:
            return file.read(65536)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise TraceError(
                f"{path}: damaged or not compressed as its name says ({error})"
            ) from None


class _Unpacked(io.RawIOBase):
    """What a compressed file unpacks to, as long as that is not more than it may."""

    def __init__(self, file: BinaryIO, path: Path, unpack: Callable[[int], bytes]) -> None:
        self._file = file
        self._path = path
        self._unpack = unpack
        self._left = FREELY_UNPACKED + MOST_UNPACKED * os.fstat(file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        found = self._unpack(size)
        self._left -= len(found)
        if self._left < 0:
            raise TraceError(
                f"{self._path}: it unpacks to more than {MOST_UNPACKED} times its size, the most "
                "that is read"
            )
        return found

    def close(self) -> None:
        self._file.close()
        super().close()


class _Zst:
    """Unpacks zstd frame by frame, so that a file that was cut off is noticed (zstandard's own
    reader takes it for the end). Errors are TraceError.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        try:
            import zstandard
        except ImportError:
            raise TraceError(
                f"{path}: reading .zst needs the package zstandard: pip install 'zoned[bench]'"
            ) from None
        self._path = path
        self._zstandard: Any = zstandard
        self._file = file
        self._frame: Any = None
        self._ready = bytearray()

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._ready) < size:
            packed = self._file.read(PACKED)
            if not packed:
                break
            self._unpack(packed)
        else:
            return self._take(size)
        if self._frame is not None:
            raise TraceError(f"{self._path}: the compressed file is cut off")
        return self._take(len(self._ready))

    def _unpack(self, packed: bytes) -> None:
        try:
            while packed:
                if self._frame is None:
                    self._frame = self._zstandard.ZstdDecompressor().decompressobj()
                self._ready += self._frame.decompress(packed)
                packed = b""
                if self._frame.eof:
                    packed, self._frame = self._frame.unused_data, None
        except self._zstandard.ZstdError as error:
            raise TraceError(f"{self._path}: damaged ({error})") from None

    def _take(self, size: int) -> bytes:
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken
