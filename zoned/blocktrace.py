"""Block traces of other programs as input: which format a file has, and its commands as a stream of
C records. (zoned's own traces: zoned.trace.)

Files are read in pieces (plain, gzip, zstd, told by their first bytes), parsed in C
(native/sim/trace.c) and never held in memory as a whole. Malformed lines are counted and the first
is shown; a file without one good line is an error.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from zoned._lib import ffi, lib
from zoned.inputs import (
    FREELY_UNPACKED,
    LONGEST_LINE,
    MOST_UNPACKED,
    InputError,
    line_too_long,
    open_regular,
)
from zoned.units import counted

FORMATS = {
    "msr": lib.ZD_TRACE_MSR,
    "alibaba": lib.ZD_TRACE_ALIBABA,
    "tencent": lib.ZD_TRACE_TENCENT,
    "iolog2": lib.ZD_TRACE_IOLOG2,
    "iolog3": lib.ZD_TRACE_IOLOG3,
    "blkparse": lib.ZD_TRACE_BLKPARSE,
}
PIECE = 4 * 2**20
PACKED = 512  # bytes of a .zst at once: they may unpack to 16 MiB
BATCH = 65536


class TraceError(InputError):
    """A trace that cannot be read: wrong format, cut off, or without a single command."""


class BlockTrace:
    """A trace file. After reading, ``records_read``, ``bad``, ``ignored`` and ``first_bad`` tell.

    ``action``: of blkparse's lines, those to take (D: issued to the drive; Q: queued by the host).
    ``iolog_ns``: times of an iolog version 3 are nanoseconds (newer versions of fio), not
    milliseconds. ``zones``: blkparse's zone commands are commands too (directions from
    ZD_TRACE_DIR_RESET on), not ignored. ``files``: an iolog's files are devices of their own
    (file_number()), not one.
    Raises TraceError for a format that cannot be told from the file's beginning.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        form: str | None = None,
        *,
        action: str = "D",
        iolog_ns: bool = False,
        zones: bool = False,
        files: bool = False,
    ) -> None:
        self.path = Path(path)
        if form is not None and form not in FORMATS:
            raise TraceError(f"there is no trace format {form!r}: use {', '.join(FORMATS)}")
        head = head_of(self.path)
        if not head:
            raise TraceError(f"{self.path}: the file is empty")
        self.format = form or guess(head, str(self.path))
        self.action = action
        self.iolog_ns = iolog_ns
        self.zones = zones
        self.files = files
        self._parser = self._new_parser()
        """Of the last reading: what was counted. Each reading has one of its own."""

    def _new_parser(self) -> Any:
        parser = ffi.new("struct zd_trace_parser *")
        parser.format = FORMATS[self.format]
        parser.iolog_ns = self.iolog_ns
        parser.zones = self.zones
        parser.files = self.files
        parser.action = ord(self.action)
        return parser

    @property
    def records_read(self) -> int:
        """Commands so far."""
        return int(self._parser.records)

    @property
    def lines(self) -> int:
        """Lines so far."""
        return int(self._parser.line)

    @property
    def bad(self) -> int:
        """Malformed lines so far."""
        return int(self._parser.bad)

    @property
    def ignored(self) -> int:
        """Well-formed lines that are no commands (headers, other events)."""
        return int(self._parser.ignored)

    @property
    def first_bad(self) -> str:
        """The first malformed line, with its number; empty if there is none."""
        if not self._parser.bad:
            return ""
        text = ffi.string(self._parser.bad_text).decode("utf-8", "replace")
        return f"line {self._parser.bad_line}: {text!r}"

    def records(self) -> Iterator[tuple[Any, int]]:
        """Arrays of ``struct zd_sim_record`` and how many of each are filled.

        Raises TraceError for a file that is cut off or has no command in it; OSError.
        """
        parser = self._parser = self._new_parser()
        out = ffi.new("struct zd_sim_record[]", BATCH)
        used = ffi.new("uint64_t *")
        with open_input(self.path) as file:
            rest = b""
            last = False
            while not last:
                piece = read_piece(file, self.path)
                last = not piece
                text = rest + piece
                at = 0
                view = ffi.from_buffer(text)
                while True:
                    count = lib.zd_trace_parse(
                        parser, view + at, len(text) - at, last, out, BATCH, used
                    )
                    at += used[0]
                    if count:
                        yield out, count
                    if count < BATCH:
                        break
                rest = text[at:]
                if len(rest) > LONGEST_LINE:
                    raise TraceError(line_too_long(self.path, int(parser.line) + 1))
        if not parser.records:
            # Not what it says: a file of another kind is nobody's to show.
            hint = f"; first malformed line {parser.bad_line}" if parser.bad else ""
            raise TraceError(
                f"{self.path}: no command in {counted(self.lines, 'line')} read as "
                f"{self.format}{hint}"
            )


def file_number(name: str) -> int:
    """The device number of a file of an iolog: FNV-1a, as native/sim/trace.c has it."""
    number = 2166136261
    for byte in name.encode("utf-8", "surrogateescape"):
        number = (number ^ byte) * 16777619 & 0xFFFFFFFF
    return number


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


def guess(head: bytes, name: str) -> str:
    """The format, from the first lines. Raises TraceError."""
    text = head.decode("utf-8", "replace")
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if lines and lines[0].startswith("fio version 2 iolog"):
        return "iolog2"
    if lines and lines[0].startswith("fio version 3 iolog"):
        return "iolog3"
    if lines and lines[0].startswith("fio version 1"):
        raise TraceError(f"{name}: fio iolog version 1 is not supported, only 2 and 3")
    for form in ("msr", "alibaba", "tencent", "blkparse"):
        parser = ffi.new("struct zd_trace_parser *")
        parser.format = FORMATS[form]
        parser.action = ord("D")
        records = ffi.new("struct zd_sim_record[]", 32)
        used = ffi.new("uint64_t *")
        sample = "\n".join(lines).encode() + b"\n"
        count = lib.zd_trace_parse(parser, sample, len(sample), 1, records, 32, used)
        if parser.bad * 2 < len(lines) and (count or (form == "blkparse" and parser.ignored)):
            return form
    raise TraceError(f"{name}: not a trace of a known format ({', '.join(FORMATS)})")
