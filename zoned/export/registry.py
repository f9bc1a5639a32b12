"""Exports that run on this machine, so that other processes of their user can ask and stop them.

Each export has a socket in a folder of its user's, which nobody else may use; whoever connects says
``show`` or ``stop`` and gets JSON. The socket of a process that died refuses, and who notices
removes it; so none has its name before it is listened at.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE = 5.0  # seconds that an export has for an answer
_MOST = 4 << 20  # bytes of an answer
_NEW = ".new"  # of a socket that is being made


def folder() -> Path:
    """Where the sockets are: of this user."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime):
        return Path(runtime) / "zoned"
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run/zoned")
    import tempfile  # which the usual case does without: it loads much

    return Path(tempfile.gettempdir()) / f"zoned-{os.geteuid()}"


def _safe(*, make: bool = False) -> Path | None:
    """The folder, if it is there (or can be made), and nobody else can write into it."""
    where = folder()
    with contextlib.suppress(OSError):
        if make:
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = where.lstat()
        if (
            stat.S_ISDIR(facts.st_mode)
            and facts.st_uid == os.geteuid()
            and not facts.st_mode & 0o022
        ):
            return where
    return None


class Entry:
    """An export's socket, and what is answered there."""

    def __init__(self, show: Callable[[], object], stop: Callable[[], None]) -> None:
        """It holds both until it goes; nobody finds it before open()."""
        self._show = show
        self._stop = stop
        self._path: Path | None = None
        self._sock: socket.socket | None = None

    def open(self) -> bool:
        """Be found by others; False where there is no folder for it."""
        where = _safe(make=True)
        if where is None:
            return False
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = where / f"{os.getpid()}-{os.urandom(4).hex()}.sock"
        try:
            self._path = path  # which nobody else has
            new = path.with_suffix(_NEW)
            self._sock.bind(str(new))
            new.chmod(0o600)  # nobody else may connect, before anybody can
            self._sock.listen(8)
            self._sock.settimeout(0)
            new.rename(path)
        except OSError:
            self.close()
            self.hide()
            return False
        return True

    @property
    def closed(self) -> bool:
        """Whether nothing is left of it: see close() and hide()."""
        return self._path is None and (self._sock is None or self._sock.fileno() < 0)

    def fileno(self) -> int:
        """Readable when somebody asks. -1: it is not open."""
        return self._sock.fileno() if self._sock is not None else -1

    def serve(self) -> None:
        """Answer one who asks; whoever is slow gets no answer."""
        try:
            if self._sock is None:
                return
            client, _ = self._sock.accept()
        except OSError:
            return
        with client, contextlib.suppress(OSError):
            client.settimeout(0.5)
            word = client.recv(16).strip()
            if word == b"stop":
                self._stop()
            client.sendall(json.dumps(self._show()).encode() + b"\n")

    def hide(self) -> None:
        """The end of the export: by this, others see that it is over."""
        if self._path is not None:
            for path in (self._path, self._path.with_suffix(_NEW)):
                with contextlib.suppress(OSError):
                    path.unlink()
            self._path = None

    def close(self) -> None:
        """Once nobody looks at its descriptor; in a forked child, too."""
        if self._sock is not None:
            self._sock.close()


def _ask(path: Path, word: bytes) -> dict[str, Any] | None:
    """What the export says; None if there is none, whose socket goes then."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        except OSError:
            return None
        answer = b""
        with contextlib.suppress(OSError):
            sock.sendall(word)
            while len(answer) < _MOST and (piece := sock.recv(1 << 16)):
                answer += piece
    try:
        found = json.loads(answer)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _remove_left(path: Path) -> None:
    """A socket whose process was killed before anybody could find it."""
    with contextlib.suppress(OSError, ValueError):
        try:
            os.kill(int(path.name.split("-")[0]), 0)
        except ProcessLookupError:
            path.unlink()


def running() -> list[dict[str, Any]]:
    """All exports of this user, as their `as_dict` tells them, by process."""
    where = _safe()
    if where is None:
        return []
    for path in where.glob(f"*{_NEW}"):
        _remove_left(path)
    found = [_ask(path, b"show") for path in sorted(where.glob("*.sock"))]
    return sorted((one for one in found if one is not None), key=lambda one: int(one.get("pid", 0)))


@dataclass(frozen=True, slots=True)
class Stopped:
    """An export that was asked to stop."""

    pid: int
    path: Path

    def is_there(self) -> bool:
        """Whether it has not ended yet."""
        if not self.path.exists():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
        return True


def stop(wanted: Callable[[dict[str, Any]], bool]) -> list[Stopped]:
    """Ask those exports to stop; which they were. Does not wait for their end."""
    where = _safe()
    if where is None:
        return []
    asked = []
    for path in sorted(where.glob("*.sock")):
        found = _ask(path, b"show")
        if found is not None and wanted(found) and _ask(path, b"stop") is not None:
            asked.append(Stopped(int(found["pid"]), path))
    return asked


def name(target: dict[str, Any]) -> str:
    """Of a target: its IQN or NQN."""
    return str(target.get("iqn") or target.get("nqn"))


def places(target: dict[str, Any]) -> tuple[str, dict[str, str | None]]:
    """What the numbers are called by which a target serves disks ("LUN"), and the path of each
    image; None for a disk in RAM.
    """
    if "namespaces" in target:
        return "namespace", target["namespaces"]
    return "LUN", target.get("luns", {})


def numbers(target: dict[str, Any], image: str | os.PathLike[str]) -> list[str]:
    """By which of them a target of an export serves the disk of that image."""
    found = []
    for number, path in places(target)[1].items():
        with contextlib.suppress(OSError):
            if path is not None and os.path.samefile(path, image):
                found.append(number)
    return found


def uses(export: dict[str, Any], image: str | os.PathLike[str]) -> bool:
    """Whether an export serves the disk of that image."""
    with contextlib.suppress(OSError):
        if export.get("image") is not None and os.path.samefile(export["image"], image):
            return True
    return any(numbers(target, image) for target in export.get("targets", ()))


def names(export: dict[str, Any]) -> list[str]:
    """By which it may be called: names of targets, the path of a block device."""
    found = [name(target) for target in export.get("targets", ())]
    return [*found, export["path"]] if "path" in export else found


__all__ = [
    "Entry",
    "Stopped",
    "folder",
    "name",
    "names",
    "numbers",
    "places",
    "running",
    "stop",
    "uses",
]
