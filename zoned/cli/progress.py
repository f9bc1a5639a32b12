"""What happens while a command runs, in a line on stderr that is drawn over and over."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Self

import click

from zoned.units import human_size

if TYPE_CHECKING:
    from zoned.bench.fiofile import Plan


class Line:
    """A line that lives: drawn at most ten times a second, gone at the end. None of it is seen
    where stderr is no terminal, or one that cannot move its cursor.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.live = not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.began = time.monotonic()
        self._shown = self.began
        self._width = 0

    def due(self) -> bool:
        """Whether it is time to draw it anew."""
        now = time.monotonic()
        if not self.live or now - self._shown < 0.1:
            return False
        self._shown = now
        return True

    def draw(self, text: str) -> None:
        """This in its place."""
        click.echo(f"\r{text:{self._width}}", err=True, nl=False)
        self._width = max(self._width, len(text))

    def clear(self) -> None:
        """Nothing in its place."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", err=True, nl=False)

    @property
    def seconds(self) -> float:
        """Since it began; never 0."""
        return max(time.monotonic() - self.began, 1e-9)


class Meter:
    """Counts bytes, shows them on a terminal while they flow, and says the rate at the end.

    ``total`` 0: not known.
    """

    def __init__(self, verb: str, total: int = 0) -> None:
        self.verb = verb
        self.total = total
        self.done = 0
        self._line = Line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._line.clear()

    def add(self, count: int) -> None:
        """That many bytes more."""
        self.at(self.done + count, self.total)

    def at(self, done: int, total: int = 0) -> None:
        """So many bytes by now."""
        self.done = done
        total = total or self.total
        if not self._line.due():
            return
        text = f"{self.verb} {human_size(self.done)}"
        if total:
            share = min(self.done / total, 1)
            bar = "#" * round(share * 24)
            amounts = f"{human_size(self.done)} of {human_size(total)}"
            text = f"{self.verb} [{bar:24}] {share:4.0%}  {amounts}"
        self._line.draw(f"{text}  {human_size(self.done / self._line.seconds)}/s")

    def rate(self) -> str:
        """``12.0 MiB in 0.5 s (24.0 MiB/s)``."""
        seconds = self._line.seconds
        return f"{human_size(self.done)} in {seconds:.1f} s ({human_size(self.done / seconds)}/s)"


class Bar:
    """How far a benchmark is, and how fast."""

    def __init__(self, plan: Plan, quiet: bool, real: bool = False) -> None:
        self.clock = "s" if real else "s virtual"
        self.total_ns = max((job.runtime for job in plan.jobs), default=0)
        staged = {job.wait_for for job in plan.jobs}
        self.total_ns *= len(staged)
        self.commands = 0
        for job in plan.jobs:
            size = max(job.bs_min[1], 1) if job.writes else max(job.bs_min[0], 1)
            amount = (job.io_size or job.size) // (job.log_block or size)
            self.commands += job.number_ios or amount
        self._line = Line(quiet)

    def __call__(self, now_ns: int, commands: int) -> None:
        if not self._line.due():
            return
        if self.total_ns:
            part = now_ns / self.total_ns
        else:
            part = commands / self.commands if self.commands else 0.0
        part = min(part, 1.0)
        filled = round(30 * part)
        self._line.draw(
            f"[{'#' * filled}{'.' * (30 - filled)}] {part:4.0%}  {now_ns / 1e9:,.1f} {self.clock}  "
            f"{_thousands(commands)} commands  {_thousands(commands / self._line.seconds)}/s"
        )

    def done(self) -> None:
        """Clear the line."""
        self._line.clear()


def _thousands(value: float) -> str:
    return f"{value / 1e6:,.1f} M" if value >= 1e6 else f"{value / 1e3:,.1f} k"
