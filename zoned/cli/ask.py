"""Talk with the person at the terminal: questions, progress, remarks. All of it on stderr.

Without a terminal there is nobody to ask: no question, no progress, and the command goes on.
"""

from __future__ import annotations

import os
import sys

import click

from zoned.cli.app import Failure, echo
from zoned.plaintext import for_terminal
from zoned.units import human_size


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
