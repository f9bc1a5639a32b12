"""What is mounted: where zonefs of an image are, and asking a mount that may not answer.

Reads /proc only; mounting itself is zonefs.attach's.
"""

from __future__ import annotations

import errno as errnos
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")
FS_TYPE, DEVICE = "fuse.zonefs", "/dev/fuse"
PATIENCE = 3.0
"""Seconds that the process of a mount has for an answer; one that was stopped never gives any."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of /proc/self/mountinfo."""

    device: str
    """major:minor, as in stat's st_dev."""
    path: str
    fs_type: str
    source: str


def entries() -> list[Entry]:
    """What is mounted where this process can see it, oldest first. Empty without /proc."""
    found = []
    try:
        with open("/proc/self/mountinfo", "rb") as lines:
            for line in map(os.fsdecode, lines):  # as bytes: a carriage return ends no line here
                front, _, back = line.partition(" - ")
                fields, kind = front.split(" "), back.split(" ")
                found.append(Entry(fields[2], _plain(fields[4]), kind[0], _plain(kind[1])))
    except OSError:
        return []
    return found


def _plain(field: str) -> str:
    """Blanks and the like stand as three octal digits there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def mounts_of(source: str) -> list[str]:
    """Where a living zonefs of this source is mounted, as far as this process can see."""
    return [
        entry.path
        for entry in entries()
        if entry.fs_type == FS_TYPE and entry.source == source and not dead(entry.path)
    ]


def dead(path: str) -> bool:
    """Whether its process has ended. One that is stopped, or very busy, has not."""
    try:
        asked(lambda: os.stat(path), path)
    except OSError as error:
        return error.errno == errnos.ENOTCONN
    return False


# ---------------------------------------------------------------- waiting for other processes


def asked(question: Callable[[], _T], path: str, source: str | None = None) -> _T:
    """The answer to what the kernel has to ask another process, if that answers within PATIENCE.

    The call is made by a thread that is left alone then: no signal ends the wait for a process that
    was stopped, but for one that kills. ``source`` is what is mounted at path, if that is known.

    Raises OSError ETIMEDOUT that says whom it waited for, and what the question raises.
    """
    answer: list[_T] = []
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            answer.append(question())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=ask, name="zonefs-ask", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if failed:
        raise failed[0]
    if answer:
        return answer[0]
    raise OSError(errnos.ETIMEDOUT, f"{path} does not answer: {_silent(path, source)}")


def _silent(path: str, source: str | None) -> str:
    """What is known about the process behind a mount that does not answer, and what helps."""
    if source is None:
        covering = [one for one in entries() if (path + "/").startswith(one.path.rstrip("/") + "/")]
        source = covering[-1].source if covering else ""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        if not {source, DEVICE} <= _opened_by(pid):
            continue
        if pid == os.getpid():
            return "this process, which serves it, waits for its disk"
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as status:
                name, _, rest = status.read().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if rest.split()[0] in ("T", "t"):
            return (
                f"process {pid} ({name}), which serves it, is stopped; let it go on"
                f" (kill -CONT {pid}) or end it (kill -KILL {pid})"
            )
        return f"process {pid} ({name}), which serves it, is busy or waits for its disk"
    return "the process that serves it is stopped or waits for its disk"


def _opened_by(pid: int) -> set[str]:
    try:
        return {target(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    except OSError:
        return set()


def top(path: str) -> Entry | None:
    """What one sees at a mount point: the last thing that was mounted there."""
    return next((entry for entry in reversed(entries()) if entry.path == path), None)


def target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
