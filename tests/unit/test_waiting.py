"""Waits without an end: signals are looked for again and again, as one that comes just before a wait interrupts nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from types import FrameType

import pytest

from zoned._core.waiting import ended, in_slices


def test_no_wait_is_long() -> None:
    asked: list[float] = []

    def wait(seconds: float) -> bool:
        asked.append(seconds)
        return len(asked) == 5

    assert in_slices(wait)
    assert asked == [0.5] * 5


def test_a_timeout_is_kept() -> None:
    asked: list[float] = []

    def wait(seconds: float) -> bool:
        asked.append(seconds)
        time.sleep(seconds)
        return False

    assert not in_slices(wait, 0.6)
    assert len(asked) == 2 and asked[0] == 0.5 and asked[1] <= 0.1
    assert not in_slices(lambda _: False, 0)
    assert not in_slices(lambda _: False, -1)
    assert in_slices(lambda _: True, 0)


def test_a_signal_that_came_just_before_is_answered() -> None:
    """It is delivered while the wait's own call cannot be interrupted any more."""

    class AnsweredError(Exception):
        """By the handler."""

    def answer(_number: int, _frame: FrameType | None) -> None:
        raise AnsweredError

    calls = 0

    def wait(_seconds: float) -> bool:
        nonlocal calls
        calls += 1
        assert calls < 3, "nobody looks for signals"
        if calls == 1:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            signal.raise_signal(signal.SIGUSR1)
        else:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        return False

    before = signal.signal(signal.SIGUSR1, answer)
    try:
        with pytest.raises(AnsweredError):
            in_slices(wait)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGUSR1, before)


def test_the_status_of_a_child() -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]) as child:
        assert ended(child) == 7
        assert ended(child) == 7
