"""Files of state of ublk devices: which of them this machine has from here, who serves them, and
what is left of servers that were killed.

Each device has a file in memory, which its server holds a lock on while it lives. Whoever finds one
without a lock may go on with the device, or remove it. All of it is root's, as ublk is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import operator
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self
from uuid import UUID

from zoned._core.native import ffi, lib
from zoned._core.raising import raise_error
from zoned._core.waiting import polled

_RUN = Path("/run")
_PATTERN = "ublk-*.state"
PATIENCE = 30.0
"""Seconds for which a stopped server may keep others from beginning."""


def folder() -> Path:
    """Where the files are, whoever asks: not of a session, which may end before a device does."""
    if os.access(_RUN, os.W_OK):
        return _RUN / "zoned"
    return Path(tempfile.gettempdir()) / f"zoned-{os.geteuid()}"


def _safe(*, make: bool = False) -> Path | None:
    """The folder, if nobody else can write into it."""
    where = folder()
    with contextlib.suppress(OSError):
        if make:
            where.mkdir(mode=0o700, exist_ok=True)
        facts = where.lstat()
        ours = facts.st_uid == os.geteuid() and not facts.st_mode & 0o022
        if stat.S_ISDIR(facts.st_mode) and ours:
            return where
    return None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file of state says."""

    id: int
    mark: int
    pid: int
    """Of the (last) server."""
    uuid: UUID
    boot: bytes
    image: str | None
    """Path; None: a disk in RAM, which was lost with its server."""

    @property
    def node(self) -> str:
        """Path of the block device."""
        return f"/dev/ublkb{self.id}"

    def is_of(self, path: str | os.PathLike[str] | None, uuid: UUID) -> bool:
        """Whether it is of that disk: copies of an image have its uuid, too."""
        if self.image is None or path is None or self.uuid != uuid:
            return False
        with contextlib.suppress(OSError):
            return os.path.samefile(self.image, path)
        return False


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Servers begin one at a time: who looks whether a disk is served, and then serves it, does
    both inside, and the next one finds what came of it. It dies with its process.

    Raises OSError EBUSY where a stopped process keeps its turn for `PATIENCE` seconds.
    """
    where = _safe(make=True)
    fd = -1 if where is None else os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if fd >= 0 and not polled(lambda: _taken(fd), operator.not_, PATIENCE):
            raise OSError(
                errno.EBUSY,
                f"another server of ublk has been beginning for {PATIENCE:.0f} s and holds",
                str(where),
            )
        yield
    finally:
        if fd >= 0:
            os.close(fd)


class State:
    """A file of state, open; its descriptor is the holder's until close()."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def new(cls) -> Self:
        """An empty one, held. Raises OSError."""
        where = _safe(make=True)
        if where is None and os.geteuid():
            raise PermissionError(
                "a ublk device needs root (CAP_SYS_ADMIN), as the kernel lets nobody else serve"
                " zoned devices: run it by sudo"
            )
        if where is None:
            raise PermissionError(
                f"{folder()} belongs to somebody else: files of state of ublk cannot be kept there"
            )
        while True:
            path = where / f"ublk-{os.urandom(6).hex()}.state"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            state = cls(path, os.open(path, flags, 0o600))
            if state.hold():
                return state
            state.remove()  # who cleans up came between, and took it for what a dead server left

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """One that is there; None if it went meanwhile."""
        try:
            return cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
        except OSError:
            return None

    def hold(self) -> bool:
        """Be its holder; False where a server that lives is, or the file is gone."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self.fd), os.stat(self.path))
        except OSError:
            return False

    def facts(self) -> Facts | None:
        """What it says; None: nothing that could be understood."""
        raw = ffi.new("struct zd_ublk_state *")
        if self.fd < 0 or lib.zd_ublk_state(self.fd, raw, ffi.NULL) < 0:
            return None
        path = os.fsdecode(ffi.string(raw.path))
        return Facts(
            raw.id, raw.mark, raw.pid, UUID(bytes=bytes(raw.uuid)), bytes(raw.boot), path or None
        )

    def remove(self) -> None:
        """The device is gone, and so is the file."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Hold it no longer."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


def each() -> Iterator[State]:
    """All files of state; each is closed once the next is asked for, unless its fd was taken."""
    where = _safe()
    for path in sorted(where.glob(_PATTERN)) if where is not None else ():
        state = State.open(path)
        if state is not None:
            try:
                yield state
            finally:
                state.close()


def refuse(code: int, err: Any) -> NoReturn:
    """Raise what a code of the core means. What a kernel lacks is a sentence of its own."""
    if lib.ZD_E_FIRST_RULE < code < 0 and code == err.code:
        text = ffi.string(err.text).decode("utf-8", "replace")
        if text:
            raise OSError(-code, text)
    raise_error(code, err, None, None)


def any_there() -> bool:
    """Whether there is any file of state: a look that costs no native library's work."""
    where = _safe()
    return where is not None and any(where.glob(_PATTERN))


def is_there(facts: Facts) -> bool:
    """Whether the kernel has the device still. Raises OSError where it cannot be asked."""
    found = ffi.new("struct zd_ublk_device *")
    err = ffi.new("struct zd_error *")
    code = lib.zd_ublk_look_up(facts.id, found, err)
    if code == -errno.ENODEV:
        return False
    if code < 0:
        refuse(code, err)
    return bool(found.mark == facts.mark and found.state != lib.ZD_UBLK_DEAD)


def delete(facts: Facts) -> None:
    """Stop and delete a device that has no server, if it is there. Raises OSError."""
    err = ffi.new("struct zd_error *")
    code = lib.zd_ublk_delete(facts.id, facts.mark, err)
    if code < 0 and code != -errno.ENODEV:
        refuse(code, err)


def _can_go_on(facts: Facts) -> bool:
    """Whether there is a disk to go on with."""
    return facts.image is not None and os.path.exists(facts.image)


def clean() -> list[Facts]:
    """Devices whose servers died and that another one can go on with. Those that none can (of a
    disk in RAM, of an image that is gone) are deleted, and files of devices that are gone, too.
    """
    waiting = []
    for state in each():
        if not state.hold():
            continue
        facts = state.facts()
        with contextlib.suppress(OSError):
            if facts is None or not is_there(facts):
                if facts is not None:
                    delete(facts)
                state.remove()
            elif _can_go_on(facts):
                waiting.append(facts)
            else:
                delete(facts)
                state.remove()
    return waiting


def stop(wanted: Callable[[dict[str, Any]], bool]) -> list[Facts]:
    """Delete the devices without a server that are wanted, by what `describe` says of them. Their
    waiting requests fail. Raises OSError.
    """
    stopped = []
    for state in each():
        facts = state.facts() if state.hold() else None
        if facts is not None and wanted(describe(facts)):
            delete(facts)
            state.remove()
            stopped.append(facts)
    return stopped


def describe(facts: Facts) -> dict[str, Any]:
    """As an export that runs tells of itself: one without a server."""
    return {
        "kind": "ublk",
        "pid": None,
        "path": facts.node,
        "image": facts.image,
        "waits": True,
    }


def find(path: str | os.PathLike[str] | None, uuid: UUID) -> State | None:
    """What a killed server of that disk left, held by the caller; None: nothing.

    Raises FileExistsError if a server that lives has the disk.
    """
    for state in each():
        facts = state.facts()
        if facts is None or not facts.is_of(path, uuid):
            continue
        if not state.hold():
            if state.path.exists():
                raise FileExistsError(
                    f"{facts.image} is {facts.node} already, served by process {facts.pid}:"
                    " stop that first (zonedctl export stop)"
                )
            continue
        kept = State(state.path, state.fd)
        state.fd = -1
        return kept
    return None


def patiently(what: Callable[[], int], seconds: float) -> int:
    """A call of the core, again and again while the kernel is not done with a dead server."""
    return polled(what, lambda code: code == -errno.EBUSY, seconds)


__all__ = [
    "Facts",
    "State",
    "any_there",
    "clean",
    "delete",
    "describe",
    "each",
    "find",
    "folder",
    "is_there",
    "patiently",
    "refuse",
    "stop",
]
