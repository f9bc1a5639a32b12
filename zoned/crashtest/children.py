"""What a program leaves running behind it, found and ended: daemons too, which have a session of
their own and a parent no longer.

While a crash test lasts, its process is the one that orphans come to. Whose they are their
environment tells, in which each run has a token of its own. One that changed its environment is
left alone: it may be somebody else's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "ZONED_CRASH_RUN"
_SET, _GET = 36, 37  # PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER
_TURNS = 200  # a daemon that forks and ends, again and again, is not chased for ever
_lock = threading.Lock()
_users = 0
_before = 0  # whether it was one already


@contextlib.contextmanager
def reaping() -> Iterator[None]:
    """Orphans come to this process as long as the block lasts. Any number of threads may."""
    global _users, _before  # noqa: PLW0603 - the state is the process's
    libc = ctypes.CDLL(None, use_errno=True)
    with _lock:
        if _users == 0:
            found = ctypes.c_int(0)
            libc.prctl(_GET, ctypes.byref(found), 0, 0, 0)
            _before = found.value
            libc.prctl(_SET, 1, 0, 0, 0)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                libc.prctl(_SET, _before, 0, 0, 0)


def end_all(token: str) -> int:
    """Kill what a run has left, and what that leaves; how many there were."""
    ended = 0
    for _ in range(_TURNS):
        found = [pid for pid in _mine() if _has(pid, token)]
        if not found:
            return ended
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            _bury(pid)
        ended += len(found)
    return ended


def _mine() -> list[int]:
    """This process's children, of whichever of its threads."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError, ValueError):
            found += map(int, (task / "children").read_text("utf-8").split())
    return found


def _has(pid: int, token: str) -> bool:
    try:
        return f"{VARIABLE}={token}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _bury(pid: int) -> None:
    """It was killed, so it ends soon, unless the kernel holds it."""
    for _ in range(_TURNS):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        time.sleep(0.005)
