"""Talk with the person at the terminal: questions, progress, remarks. All of it on stderr.

Without a terminal there is nobody to ask: no question, no progress, and the command goes on.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Self

import click

from zoned.cli.app import Failure, echo
from zoned.plaintext import for_terminal
from zoned.reportformats import human_size


def on_terminal() -> bool:
    """Whether a person can be asked: both what is typed and what is said are a terminal's."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def colours() -> bool:
    """Whether stdout may be coloured (https://no-color.org)."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def say(verbose: bool, text: str) -> None:
    """A remark: when asked for, or when a person is there to read it."""
    if verbose or sys.stderr.isatty():
        echo(text, err=True)


def confirm(question: str, force: bool) -> None:
    """Ask before something is lost; raises Failure for no. Silent with -f or without a terminal."""
    if not force and on_terminal() and not click.confirm(for_terminal(question), err=True):
        raise Failure("nothing was done")


def confirm_replace(path: str, force: bool) -> None:
    """Ask before an existing file goes."""
    confirm(f"Replace {path} ({_size_of(path)})?", force)


def _size_of(path: str) -> str:
    try:
        return human_size(os.stat(path).st_size)
    except OSError:
        return "of unknown size"


class Meter:
    """Counts bytes, shows them on a terminal while they flow, and says the rate at the end.

    ``total`` 0: not known. The line is redrawn at most ten times a second.
    """

    def __init__(self, verb: str, total: int = 0) -> None:
        self.verb = verb
        self.total = total
        self.done = 0
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.began = time.monotonic()
        self._shown = self.began
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._width:
            click.echo("\r" + " " * self._width + "\r", err=True, nl=False)

    def add(self, count: int) -> None:
        """That many bytes more."""
        self.at(self.done + count, self.total)

    def at(self, done: int, total: int = 0) -> None:
        """So many bytes by now."""
        self.done = done
        if not self.live:
            return
        now = time.monotonic()
        if now - self._shown >= 0.1:
            self._shown = now
            self._draw(now, total or self.total)

    def _draw(self, now: float, total: int) -> None:
        rate = f"{human_size(self.done / max(now - self.began, 1e-9))}/s"
        if total:
            share = min(self.done / total, 1)
            bar = "#" * round(share * 24)
            amounts = f"{human_size(self.done)} of {human_size(total)}"
            text = f"{self.verb} [{bar:24}] {share:4.0%}  {amounts}"
        else:
            text = f"{self.verb} {human_size(self.done)}"
        text = f"{text}  {rate}"
        click.echo(f"\r{text:{self._width}}", err=True, nl=False)
        self._width = max(self._width, len(text))

    def rate(self) -> str:
        """``12.0 MiB in 0.5 s (24.0 MiB/s)``."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        return f"{human_size(self.done)} in {seconds:.1f} s ({human_size(self.done / seconds)}/s)"
