"""Waiting so that signals end it: for the turn at an image, for the end of what runs elsewhere."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from zoned._core.native import ffi, lib

if TYPE_CHECKING:  # it loads much
    import subprocess

_PATIENCE = 30.0
"""Seconds for which a stopped process may keep its turn at an image."""
_SLICE = 0.5
"""Seconds, at most, until a signal is answered that came just before a wait began."""
_POLL = 0.02
"""Seconds between two questions that nothing but time brings another answer to."""

_Answer = TypeVar("_Answer")


def in_slices(wait: Callable[[float], bool], timeout: float | None = None) -> bool:
    """Wait by ``wait(seconds)`` until it says so, or until ``timeout`` seconds have passed.

    Python answers signals between its instructions, and one that comes between the last of them
    and the call of the kernel interrupts nothing: a wait without an end would never know of it.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _SLICE if end is None else end - time.monotonic()
        if wait(max(0.0, min(left, _SLICE))):
            return True
        if end is not None and left <= _SLICE:
            return False


def polled(
    ask: Callable[[], _Answer], unsettled: Callable[[_Answer], bool], seconds: float
) -> _Answer:
    """The answer to a question that is asked again while its answer is ``unsettled``; after so many
    seconds whatever it is.
    """
    end = time.monotonic() + seconds
    while unsettled(answer := ask()) and time.monotonic() < end:
        time.sleep(_POLL)
    return answer


def readable(fd: int) -> Callable[[float], bool]:
    """A wait for in_slices(): until a descriptor can be read."""
    asked = select.poll()
    asked.register(fd, select.POLLIN)
    return lambda seconds: bool(asked.poll(seconds * 1000))


def ended(process: subprocess.Popen[bytes]) -> int:
    """The status of a child, once it has ended."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:  # a host that has none
        return process.wait()
    try:
        in_slices(readable(fd))
    finally:
        os.close(fd)
    return process.wait()


def patiently(call: Callable[[], int]) -> int:
    """A call that waits only briefly for its turn at an image, again and again for 30 s.

    In between Python's signal handlers run, so Ctrl-C ends it; the exception has a note that says
    for whom it waited.
    """
    end = time.monotonic() + _PATIENCE
    try:
        while True:
            code = call()
            if code != -errno.ETIMEDOUT or time.monotonic() > end:
                return code
    except BaseException as exc:
        whom = lib.zd_waited_for()
        if whom != ffi.NULL:
            exc.add_note(f"it waited for {ffi.string(whom).decode('utf-8', 'replace')}")
        raise
