"""Exports that run on this machine, so that other processes of their user can ask and stop them.

Each export has a socket in a folder of its user's, which nobody else may use; whoever connects says
``show`` or ``stop`` and gets JSON. The socket of a process that died refuses, and who notices
removes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE = 5.0  # seconds that an export has for an answer
_MOST = 4 << 20  # bytes of an answer


def folder() -> Path:
    """Where the sockets are: of this user."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime):
        return Path(runtime) / "zoned"
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run/zoned")
    return Path(tempfile.gettempdir()) / f"zoned-{os.geteuid()}"


def _made() -> Path | None:
    """The folder, if it is there or can be made, and nobody else can write into it."""
    where = folder()
    with contextlib.suppress(OSError):
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

    def __init__(
        self, path: Path, sock: socket.socket, show: Callable[[], object], stop: Callable[[], None]
    ) -> None:
        self._path = path
        self._sock = sock
        self._show = show
        self._stop = stop

    def fileno(self) -> int:
        """Readable when somebody asks."""
        return self._sock.fileno()

    def serve(self) -> None:
        """Answer one who asks; whoever is slow gets no answer."""
        try:
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
        with contextlib.suppress(OSError):
            self._path.unlink()

    def close(self) -> None:
        """Once nobody looks at its descriptor; in a forked child, too."""
        self._sock.close()


def register(show: Callable[[], object], stop: Callable[[], None]) -> Entry | None:
    """Be found by others; None where there is no folder for it."""
    where = _made()
    if where is None:
        return None
    number = 0
    while True:
        path = where / f"{os.getpid()}-{number}.sock"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(str(path))
            path.chmod(0o600)  # nobody else may connect, before anybody can
            sock.listen(8)
        except OSError:
            sock.close()
            if number < 64 and path.exists():
                number += 1
                continue
            return None
        sock.settimeout(0)
        return Entry(path, sock, show, stop)


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


def running() -> list[dict[str, Any]]:
    """All exports of this user, as `Iscsi.as_dict` tells them, by process."""
    where = _made()
    if where is None:
        return []
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
    where = _made()
    if where is None:
        return []
    asked = []
    for path in sorted(where.glob("*.sock")):
        found = _ask(path, b"show")
        if found is not None and wanted(found) and _ask(path, b"stop") is not None:
            asked.append(Stopped(int(found["pid"]), path))
    return asked


def uses(export: dict[str, Any], image: str | os.PathLike[str]) -> bool:
    """Whether an export serves the disk of that image."""
    try:
        wanted = os.stat(image)
    except OSError:
        return False
    for target in export.get("targets", ()):
        for path in target.get("luns", {}).values():
            if path is None:  # a disk in RAM
                continue
            with contextlib.suppress(OSError):
                facts = os.stat(path)
                if (facts.st_dev, facts.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False


__all__ = ["Entry", "Stopped", "folder", "register", "running", "stop", "uses"]
