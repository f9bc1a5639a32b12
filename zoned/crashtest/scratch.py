"""The folder in memory where a crash test has its disks; and those that killed ones left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from zoned._core import folders

_PREFIX = "zoned-crash-"


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A new folder as long as its owner lives. Raises OSError."""
    home = folders.home()
    folders.sweep(_PREFIX, home, _unmount)
    held = folders.Held()
    try:
        yield held.make(_PREFIX, home)
    finally:
        held.close()


def _unmount(folder: Path) -> None:
    """A zonefs whose server was killed stays mounted, and hides what is below."""
    begin = f"{folder}/"
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        place = line.split()[4]
        if place.startswith(begin):
            command = ["fusermount3", "-u", "-z", place]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(command, check=False, capture_output=True, timeout=10)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other crash test works in the folder. Raises BlockingIOError where one does, OSError."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)
