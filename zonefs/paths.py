"""A pathlib-like handle on a file of a ZoneFS: ``fs / "seq" / "0"``.

It is not an ``os.PathLike``: no file of the host is behind it, and ``os.open`` must not take it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from zonefs.filesystem import ZoneFS


class ZonePath:
    """A name within a ZoneFS. Hashable, ordered, and cheap; whether it exists is asked later."""

    __slots__ = ("_fs", "_path")

    def __init__(self, fs: ZoneFS, *parts: str | PurePosixPath) -> None:
        """``ZonePath(fs, "seq", "0")``, or ``fs / "seq" / "0"``."""
        self._fs = fs
        self._path = PurePosixPath("/", *parts)

    # ------------------------------------------------------------ names

    @property
    def fs(self) -> ZoneFS:
        """The file system it names something in."""
        return self._fs

    @property
    def name(self) -> str:
        """The last component: "0"."""
        return self._path.name

    @property
    def parts(self) -> tuple[str, ...]:
        """All components: ("seq", "0")."""
        return self._path.parts[1:]

    @property
    def parent(self) -> ZonePath:
        """The directory it is in; the root is its own."""
        return ZonePath(self._fs, self._path.parent)

    @property
    def parents(self) -> tuple[ZonePath, ...]:
        """The directories it is in, from the innermost to the root."""
        return tuple(ZonePath(self._fs, path) for path in self._path.parents)

    def joinpath(self, *parts: str | PurePosixPath) -> ZonePath:
        """As pathlib's."""
        return ZonePath(self._fs, self._path, *parts)

    def __truediv__(self, part: str | PurePosixPath) -> ZonePath:
        return self.joinpath(part)

    def __str__(self) -> str:
        return "/".join(self.parts)

    def __repr__(self) -> str:
        return f"<zonefs.ZonePath {str(self)!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ZonePath):
            return NotImplemented
        return self._fs is other._fs and self._path == other._path

    def __lt__(self, other: ZonePath) -> bool:
        return _key(self) < _key(other)

    def __hash__(self) -> int:
        return hash((id(self._fs), self._path))

    # ------------------------------------------------------------ looking

    def stat(self) -> os.stat_result:
        """As ZoneFS.stat."""
        return self._fs.stat(self)

    def exists(self) -> bool:
        """Whether there is such a file or directory."""
        return self._fs.exists(self)

    def is_file(self) -> bool:
        """Whether it is a zone's file."""
        return self._fs.is_file(self)

    def is_dir(self) -> bool:
        """Whether it is a directory: the root, cnv or seq."""
        return self._fs.is_dir(self)

    def iterdir(self) -> Iterator[ZonePath]:
        """The entries of a directory, in the file system's order."""
        for name in self._fs.listdir(self):
            yield self / name

    # ------------------------------------------------------------ data

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        pad: bool = False,
    ) -> IO[Any]:
        """As ZoneFS.open."""
        return self._fs.open(self, mode, buffering, encoding, errors, newline, pad=pad)

    def open_stream(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        recover: bool = False,
    ) -> IO[Any]:
        """As ZoneFS.open_stream."""
        return self._fs.open_stream(
            self, mode, buffering, encoding, errors, newline, recover=recover
        )

    def read_bytes(self) -> bytes:
        """Everything in the file, padding included."""
        with self._fs.open(self, "rb") as file:
            return bytes(file.read())

    def write_bytes(self, data: Buffer, *, pad: bool = False) -> int:
        """Reset a sequential file and write data: whole blocks, or with ``pad`` any length.

        A conventional file, whose size is fixed, is overwritten from its start.
        """
        view = memoryview(data).cast("B")
        mode = "wb" if self._fs.is_sequential(self) else "r+b"
        with self._fs.open(self, mode, pad=pad) as file:
            file.write(view)
        return len(view)

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Everything in the file as text, padding (NUL characters) included."""
        with self._fs.open(self, "r", encoding=encoding, errors=errors) as file:
            return str(file.read())

    def write_text(
        self,
        data: str,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        pad: bool = False,
    ) -> int:
        """As write_bytes, of a text; returns its length in characters."""
        text = io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)
        text.write(data)
        text.flush()
        self.write_bytes(text.buffer.getvalue(), pad=pad)
        return len(data)

    def truncate(self, size: int) -> None:
        """As ZoneFS.truncate: 0 resets the zone, the capacity finishes it."""
        self._fs.truncate(self, size)

    def chmod(self, mode: int) -> None:
        """As ZoneFS.chmod."""
        self._fs.chmod(self, mode)


def _key(path: ZonePath) -> tuple[tuple[bool, int, str], ...]:
    """Numbers by value, so that seq/9 comes before seq/10."""
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in path.parts)
