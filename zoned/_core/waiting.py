"""Waiting for the turn at an image, so that Ctrl-C ends it."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from zoned._core.native import ffi, lib

_PATIENCE = 30.0
"""Seconds for which a stopped process may keep its turn at an image."""


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
