"""KeyboardInterrupt between any two bytecode instructions of a call, one after the other.

``in_every_gap(call, afterwards)`` runs the call again and again. Each time a trace function raises before
another instruction of the package's own code; after each, ``afterwards`` says whether anything is left behind.
That is stricter than signals are: Python looks for them between some instructions only. The long run takes every
gap, the short one some, which another run spreads in another way.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import zoned
import zonefs
from waiting import PATIENCE

_ZONED = """device snapshots checking archive wholefile faults crash/choices crash/history crash/checker drives/clock
    _core/handle _core/owning _core/waiting _core/looking
    traces/recording traces/own traces/packed traces/foreign traces/replaying bench/simulation bench/cleaning bench/runner
    export/target export/subsystem export/serving export/portal export/registry"""
_ZONEFS = "filesystem files stream mounting attach superblock options"
HOLD = tuple(
    str(Path(package.__file__).parent / f"{stem}.py")
    for package, names in ((zoned, _ZONED), (zonefs, _ZONEFS))
    for stem in names.split()
)
assert [path for path in HOLD if not os.path.exists(path)] == [], "a file that is watched is gone"
"""Code that holds what C made. What computes only (geometry, profiles) raises into it at a call, which is one
of its instructions."""
CONTEXT = contextlib.__file__
"""``with dev.trace.record():`` runs in there, too."""
LONG = os.environ.get("ZONED_LONG", "") not in ("", "0")
SOME = 30
"""Gaps of a call that the short run looks at."""
OFTEN = 2
"""An instruction in a loop is a gap the first times that it is reached."""


class Gap:
    """A trace function that raises before the n-th instruction; it only counts down from a negative number."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.raised = ""
        """Where it did."""
        self._met: Counter[tuple[Any, int]] = Counter()

    def __call__(self, frame: FrameType, event: str, _: object) -> Gap | None:
        code = frame.f_code
        if event == "call":
            if code.co_filename not in HOLD and code.co_filename != CONTEXT:
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event != "opcode":
            return self
        # A call is a gap, too: the caller believes that the function was entered, and no line of it ran.
        key = code, frame.f_lasti if event == "opcode" else -1
        self._met[key] += 1
        if self._met[key] <= OFTEN:
            if self.left == 0:
                self.raised = f"{code.co_qualname}, line {frame.f_lineno}, byte {key[1]}"
                sys.settrace(None)
                raise KeyboardInterrupt
            self.left -= 1
        return self


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What an interrupted __del__ prints, and warnings of what was never closed, are no findings."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        sys.unraisablehook = before


def in_every_gap(call: Callable[[], object], afterwards: Callable[[str], object]) -> int:
    """How many gaps there are. ``afterwards`` is told where the interrupt came: "" behind a whole call."""
    with quiet():
        call()  # imports and caches are no gaps
        afterwards("")
        counted = Gap(-1)
        _traced(call, counted)
        afterwards("")
        total = -1 - counted.left
        step = 1 if LONG else max(1, total // SOME)
        for number in range(random.randrange(step), total, step):
            gap = Gap(number)
            _traced(call, gap)
            afterwards(gap.raised)
        return total


def _traced(call: Callable[[], object], gap: Gap) -> None:
    before = sys.gettrace()
    sys.settrace(gap)
    try:
        call()
    except KeyboardInterrupt:
        if not gap.raised:
            raise
    finally:
        sys.settrace(before)


def descriptors() -> dict[str, str]:
    """What this process has open."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def threads() -> set[str]:
    """The threads of this process."""
    return set(os.listdir("/proc/self/task"))


class Before:
    """What a process has before a call, to be compared with what it has behind it."""

    def __init__(self) -> None:
        self._descriptors = Counter(descriptors().values())
        self._threads = threads()

    def check(self, where: str) -> None:
        """Nothing is left. A thread that asks the kernel about a mount ends by itself once it is answered: it has time."""
        until = time.monotonic() + PATIENCE
        while (self._more() or threads() - self._threads) and time.monotonic() < until:
            time.sleep(0.005)
        more = self._more()
        assert not more, f"open behind an interrupt in {where}: {dict(more)}"
        left = threads() - self._threads
        assert not left, f"threads behind an interrupt in {where}: {left}"

    def _more(self) -> Counter[str]:
        more = Counter(descriptors().values()) - self._descriptors
        # The descriptor by which the folder was read is not one.
        return Counter({name: n for name, n in more.items() if not name.endswith("/fd")})
