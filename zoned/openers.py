"""Who has a disk open: processes found in /proc whose descriptors lead to the image.

Reads /proc only. Without root the descriptors of other users' processes cannot be seen; the result
says so.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoned.listed import Listed
from zoned.plaintext import printable
from zoned.units import counted


@dataclass(frozen=True, slots=True)
class Opener:
    """One process that has the disk open."""

    pid: int
    command: str
    """Its command line, arguments separated by blanks."""
    mode: str
    """"rw" if any of its descriptors may write, else "r"."""
    handles: int
    """How many descriptors of the image it has."""


class Openers(Listed[Opener]):
    """The processes, by pid. ``hidden`` counts those whose descriptors could not be read."""

    __slots__ = ("hidden",)

    def __init__(self, found: Sequence[Opener], hidden: int) -> None:
        super().__init__(found)
        self.hidden = hidden

    @property
    def complete(self) -> bool:
        """Whether every process could be looked at."""
        return self.hidden == 0

    def __str__(self) -> str:
        lines = [f"{item.pid} {item.mode} {printable(item.command)}" for item in self._items]
        if self.hidden:
            hidden = counted(self.hidden, "process belongs", "processes belong")
            lines.append(f"(others may be invisible: {hidden} to other users)")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Openers({list(self._items)!r}, hidden={self.hidden})"


BACKGROUND = "import sys; sys.path.insert(0, sys.argv.pop(1)); from zoned.cli import main; main()"
"""What Python runs (-c) in a background process of zonedctl; shown as the command that it is."""


def scan(target: str | os.PathLike[str] | int) -> Openers:
    """Who has this file (a path or a descriptor) open. Raises OSError when there is no file."""
    status = os.stat(target)
    wanted = (status.st_dev, status.st_ino)
    found: list[Opener] = []
    hidden = 0
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        process = Path("/proc") / str(pid)
        try:
            modes = list(_modes(process, wanted))
        except PermissionError:
            hidden += 1
            continue
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if modes:
            mode = "rw" if "rw" in modes else "r"
            found.append(Opener(pid, _command(process), mode, len(modes)))
    return Openers(found, hidden)


def refuse_used(path: str | os.PathLike[str]) -> None:
    """Raises ImageBusyError, with who has it, where another image must not take this one's place:
    while it is mounted, or open for writing. Whoever went on with it would write into a file that
    has no name any more.
    """
    from zoned._core.conversions import path_bytes
    from zoned._core.native import ffi, lib
    from zoned._core.raising import raise_error

    _refuse_mounted(path)
    err = ffi.new("struct zd_error *")
    code = lib.zd_replaceable(path_bytes(os.fspath(path)), err)
    if code == lib.ZD_E_BUSY:
        raise busy(path)
    if code < 0:
        raise_error(code, err, None, os.fsdecode(path))


def busy(path: str | os.PathLike[str]) -> OSError:
    """The error for an image that is to be replaced while others have it open: it names them."""
    from zoned.errors import ImageBusyError

    try:
        found = scan(path)
    except OSError:
        found = Openers((), 0)
    writers = [one for one in found if one.mode == "rw"]
    names = ", ".join(
        "this process"
        if one.pid == os.getpid()
        else f"process {one.pid} ({printable(one.command)})"
        for one in writers
    )
    text = f"{names or 'a process of another user'} {'have' if len(writers) > 1 else 'has'}"
    text += " the image open: it can be replaced once it is closed"
    return ImageBusyError(errno.EBUSY, text, os.fsdecode(path))


def _refuse_mounted(path: str | os.PathLike[str]) -> None:
    from zoned.errors import ImageBusyError
    from zoned.mounts import mounts_of

    for place in mounts_of(os.path.realpath(os.fsdecode(path))):
        text = f"the disk is mounted at {place}: unmount it first"
        raise ImageBusyError(errno.EBUSY, text, os.fsdecode(path))


def _modes(process: Path, wanted: tuple[int, int]) -> Iterator[str]:
    for name in os.listdir(process / "fd"):
        try:
            status = os.stat(process / "fd" / name)
            if (status.st_dev, status.st_ino) == wanted:
                yield _mode(process / "fdinfo" / name)
        except PermissionError:
            raise
        except OSError:
            continue  # closed meanwhile, or a file of a mount whose server died


def _mode(fdinfo: Path) -> str:
    for line in fdinfo.read_text(encoding="utf-8").splitlines():
        if line.startswith("flags:"):
            return "r" if int(line.split()[1], 8) & os.O_ACCMODE == os.O_RDONLY else "rw"
    return "r"


def _command(process: Path) -> str:
    try:
        raw = (process / "cmdline").read_bytes()
        if not raw:  # a kernel thread or a zombie
            return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"
    words = raw.rstrip(b"\0").decode("utf-8", "replace").split("\0")
    if BACKGROUND in words:
        words = ["zonedctl", *words[words.index(BACKGROUND) + 2 :]]
    return " ".join(words)
