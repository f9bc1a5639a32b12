"""A crash test as one self-contained page: states over time, where failures lie, the story."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from zoned.crashtest.running import CrashTest, Result
from zoned.plaintext import printable_lines
from zoned.units import counted
from zoned.wholefile import replacing

_COLUMNS = 120


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, undefined=StrictUndefined, autoescape=True).get_template(
        "page.html"
    )


def page(test: CrashTest, result: Result, verdict: str, lines: Sequence[str]) -> str:
    """The page. ``verdict`` is what came of it, in a sentence; ``lines`` the story, if any."""
    return _template().render(
        title="Crash test",
        verdict=printable_lines(verdict),
        ok=result.ok,
        facts=_facts(test, result),
        bars=_bars(result),
        marks=_marks(test, result),
        changes=counted(result.changes, "change"),
        story=printable_lines("\n".join(lines)),
        failures=[
            (one.id, one.point, one.acknowledged, one.outcome.told) for one in result.failures[:100]
        ],
        more=max(0, len(result.failures) - 100),
    )


def write(path: str | os.PathLike[str], text: str) -> None:
    """Put the page where it belongs, whole or not at all. Raises OSError."""
    with replacing(os.fsdecode(path)) as file:
        file.write(text.encode("utf-8", "replace"))


def _facts(test: CrashTest, result: Result) -> list[tuple[str, str]]:
    chosen = test.settings
    return [
        ("Disks tried", f"{result.states:,}"),
        ("of them with a loss", f"{result.differing:,}"),
        ("Equal ones left out", f"{result.equal:,}"),
        ("Failures", f"{len(result.failures):,}"),
        ("Changes in the history", f"{result.changes:,}"),
        ("Marks", f"{result.marks:,}"),
        ("Strategy", f"{chosen.strategy}, points {chosen.points}"),
        ("Door", str(chosen.door)),
        ("Verifier", " ".join(chosen.verify)),
        ("Time", f"{result.seconds:.1f} s"),
    ]


def _bars(result: Result) -> list[tuple[float, float, float, float, str]]:
    """For each piece of the history: left, width, height, that of failures (of 100), in words."""
    span = max(1, result.changes + 1)
    columns = min(_COLUMNS, span)
    counts = [[0, 0] for _ in range(columns)]
    for point, (states, failures) in result.points.items():
        column = counts[min(point * columns // span, columns - 1)]
        column[0] += states
        column[1] += failures
    most = max((states for states, _ in counts), default=0) or 1
    width = 600 / columns
    return [
        (
            at * width,
            max(width - 1, 0.5),
            100 * states / most,
            100 * failures / most,
            _words(at * span // columns, states, failures),
        )
        for at, (states, failures) in enumerate(counts)
    ]


def _words(first: int, states: int, failures: int) -> str:
    what = f"{counted(states, 'disk')}, {counted(failures, 'failure')}"
    return f"from change {first} on: {what}"


def _marks(test: CrashTest, result: Result) -> list[float]:
    span = max(1, result.changes + 1)
    return sorted({round(600 * mark.after / span, 1) for mark in test.history.marks})
