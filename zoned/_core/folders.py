"""Folders in memory that last as long as their owner: what a killed one left behind, the next one
takes away.

A folder is locked by its owner's descriptor, so the kernel frees it with the process. It has a name
before it can have a lock; whoever cleans up may come between, so an owner looks again once it has
the lock, and begins anew where its folder is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def home() -> str:
    """Where they are: in memory where the host has /dev/shm, else among its temporary files."""
    shm = "/dev/shm"  # noqa: S108 - a folder with a name of its own is made in it
    return shm if os.access(shm, os.W_OK) else tempfile.gettempdir()


class Held:
    """A folder of this process: none yet before make(), gone behind close()."""

    def __init__(self) -> None:
        self.path = ""
        self._lock = -1

    def make(self, prefix: str, where: str) -> str:
        """A new, empty one, and its path. Raises OSError."""
        while True:
            self.path = os.path.join(where, prefix + os.urandom(6).hex())
            try:
                os.mkdir(self.path, 0o700)
                self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                if os.path.samestat(os.stat(self.path), os.fstat(self._lock)):
                    return self.path
            except FileNotFoundError:
                os.stat(where)  # where that is gone, none can be made
            self._release()

    def close(self) -> None:
        """It goes, with all that is in it. More than once is fine."""
        path, self.path = self.path, ""
        if path:
            shutil.rmtree(path, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        fd, self._lock = self._lock, -1
        if fd >= 0:
            os.close(fd)


def sweep(prefix: str, where: str, before: Callable[[Path], None] | None = None) -> None:
    """Remove those of this user whose owners are gone, each after a call of ``before``. Never
    raises because of one that cannot be removed.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(where):
            if not entry.name.startswith(prefix):
                continue
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                    _sweep_one(entry.path, before)


def _sweep_one(path: str, before: Callable[[Path], None] | None) -> None:
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if before is not None:
            before(Path(path))
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
