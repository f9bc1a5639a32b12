"""What the commands of `zonedctl export` have in common: they serve until they are told to end, in
the foreground or in the background.
"""

from __future__ import annotations

import logging
import sys
import syslog
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from zoned.cli import background
from zoned.cli.app import echo

if TYPE_CHECKING:
    from zoned.export.lasting import Lasting

_T = TypeVar("_T", bound="Lasting")
Command = TypeVar("Command", bound=Callable[..., Any])


def background_option(ready: str) -> Callable[[Command], Command]:
    """-d; ``ready``: what is so once the command ends."""
    return click.option(
        *("-d", "--background", "in_background"),
        is_flag=True,
        help=f"Serve in the background; the command ends once {ready}.",
    )


class Exporting(ABC, Generic[_T]):
    """What is to be served, and how."""

    @property
    @abstractmethod
    def command(self) -> str:
        """Of zonedctl, that does it."""

    @abstractmethod
    def words(self) -> list[str]:
        """The same on that command's line."""

    @abstractmethod
    def serve(self) -> _T:
        """Do it."""

    @staticmethod
    @abstractmethod
    def lines(served: _T) -> list[str]:
        """What people are told of it."""

    @staticmethod
    @abstractmethod
    def place(served: _T) -> str:
        """Where programs find it."""

    @staticmethod
    @abstractmethod
    def name(served: _T) -> str:
        """In the syslog."""

    def give_up(self, served: _T) -> None:
        """End it at once."""
        served.close()

    def log_to_syslog(self) -> None:
        """There is no terminal any more."""
        syslog.openlog("zonedctl", syslog.LOG_PID, syslog.LOG_DAEMON)

    def begin(self, *, in_background: bool) -> int:
        """Serve, here or in a process of its own; the exit status."""
        report_to = background.reporting_to()
        if report_to is not None:
            return self._background(report_to)
        if in_background:
            return background.spawn(self.command, self.words())
        return self._foreground()

    def _tell(self, served: _T) -> None:
        for line in self.lines(served):
            echo(line, err=True)
        # What scripts wait for: by then it can be used.
        click.echo(self.place(served))
        sys.stdout.flush()

    def _foreground(self) -> int:
        logging.basicConfig(format="zonedctl: %(message)s", stream=sys.stderr)
        with self.serve() as served:
            self._tell(served)
            cause = self._until_ended(served)
        echo(f"no longer served: {cause}", err=True)
        return 0

    def _background(self, ready_fd: int) -> int:
        """Serve, report through the pipe, and go on without a terminal."""
        served = background.report(
            ready_fd,
            self.serve,
            self._tell,
            lambda _: self.log_to_syslog(),
            self.give_up,
        )
        if served is None:
            return 1
        with served:
            cause = self._until_ended(served)
        syslog.syslog(syslog.LOG_INFO, f"{self.name(served)} is no longer served: {cause}")
        return 0

    @staticmethod
    def _until_ended(served: _T) -> str:
        return background.until_ended(served.wait, "asked by another process")
