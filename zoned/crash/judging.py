"""check_history: a verifier in Python on every disk that a power cut could leave of a recorded
workload, whoever gave its commands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from zoned.crash.checker import CrashFailure, CrashReport, refuses, zone_lines
from zoned.crash.choices import Strategy
from zoned.crash.recorded import History
from zoned.crash.survivors import Points, State, States
from zoned.device import Device
from zoned.units import counted

__tracebackhide__ = True  # as in zoned.crash.checker

_SHOWN = 30

VerifyHistory = Callable[[Device, list[str]], object]


def check_history(
    history: History | str | os.PathLike[str],
    verify: VerifyHistory,
    *,
    strategy: Strategy | str = Strategy.LINEAR,
    points: Points | str = "all",
    limit: int = 10_000,
    seed: int = 0,
    replay: str | None = None,
) -> CrashReport:
    """Call ``verify(device, acknowledged)`` with every disk that a power cut could leave of a
    recorded history; ``acknowledged`` are the marks that its workload had set. Equal disks once.

    The workload may be any processes: ``zoned.crash.record`` records them. ``replay``: only the
    disk that a failure named. Raises CrashFailure for the first that verify refuses (by raising),
    CrashSpaceError, CrashIdError, HistoryError, TraceError, OSError, ValueError.
    """
    if not callable(verify):
        raise TypeError(f"verify is {verify!r}: it must be a function")
    if not isinstance(history, History):
        with History(history) as opened:
            return check_history(
                opened,
                verify,
                strategy=strategy,
                points=points,
                limit=limit,
                seed=seed,
                replay=replay,
            )
    begin = time.monotonic()
    states = States(history, strategy, points=points, limit=limit, seed=seed)
    tried = 0
    seen: set[int] = set()
    for state in states if replay is None else _only(states, replay):
        tried += 1
        seen.add(state.point)
        _verify(history, state, verify)
    return CrashReport(len(history), len(seen), tried, time.monotonic() - begin)


def _only(states: States, state_id: str) -> Iterator[State]:
    state = states.rebuild(state_id)
    with state.device:
        yield state


def _verify(history: History, state: State, verify: VerifyHistory) -> None:
    after = zone_lines(state.device)
    told = list(state.acknowledged)
    try:
        verify(state.device, list(told))
    except BaseException as error:
        if not refuses(error):
            raise
        lines = [
            f"verify refused a survivor: {type(error).__name__}: {error}",
            *cut_lines(history, state.point, len(told)),
            *zones_lines(history, state.point, after),
            f"To repeat it: check_history({str(history.path)!r}, ..., replay={state.id!r})",
        ]
        raise CrashFailure("\n".join(lines), state.id) from error


def cut_lines(history: History, point: int, known: int) -> list[str]:
    """Where the power was cut, how much was acknowledged by then, and what led there."""
    before, told = counted(point, "change"), counted(known, "thing")
    return [
        f"The power was cut behind {before}, {told} acknowledged:",
        *history_lines(history, point),
    ]


def zones_lines(history: History, point: int, after: str) -> list[str]:
    """The zones before the cut, and what `zone_lines` tells of them after it."""
    with history.disk(point) as disk:
        before = zone_lines(disk)
    return ["Zones before the cut:", before, "Zones after it:", after]


def history_lines(history: History, point: int) -> Iterator[str]:
    """The last changes up to a point, with the marks between them, a line each."""
    marks: dict[int, list[str]] = {}
    for mark in history.marks:
        marks.setdefault(mark.after, []).append(mark.text)
    first = max(0, point - _SHOWN)
    if first:
        yield f"  ... {counted(first, 'change')} before"
    for number in range(first, point + 1):
        if number > first or not first:
            if number > first:
                yield f"  {number}. {history.changes[number - 1]}"
            for text in marks.get(number, []):
                yield f"     mark: {text}"
    if not point:
        yield "  (none)"
