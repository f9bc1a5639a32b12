"""Waiting for what another process, thread or the kernel does, with patience for a crowded machine.

A sanitized build on a machine that is also busy with something else may take ten times as long as usual:
whoever waits for something that must happen waits this long, and fails with a sentence instead of hanging.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

PATIENCE = 120.0
"""Seconds after which what should have happened counts as hanging."""


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; ``what`` says in a failure what it would have been."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.005)


def rounds(most: int, stop: threading.Event, begin: Callable[[], object]) -> Iterator[int]:
    """1 to ``most``, again and again, until the event is set; each time ``begin`` is called first."""
    while True:
        begin()
        for number in range(1, most + 1):
            if stop.is_set():
                return
            yield number
