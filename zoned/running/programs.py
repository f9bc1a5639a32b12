"""``run``: subprocess.run with emulated disks in the program's /dev."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from zoned.info import Pace
from zoned.running.judging import beginning
from zoned.running.report import Look, Refusal, RunReport, compared
from zoned.running.session import Session


class Watch:
    """Looks at a session's disks at the beginning, and tells later what became of them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before = {name: Look.at(device) for name, device in session.devices.items()}

    def report(self) -> RunReport:
        """What has happened since."""
        return RunReport(
            tuple(
                compared(name, before, Look.at(self._session.devices[name]))
                for name, before in self._before.items()
            ),
            tuple(Refusal(*fields) for fields in self._session.refused()),
        )


class RunResult(subprocess.CompletedProcess[Any]):
    """A program that has ended, as subprocess.run tells of it, and ``report``: what it did to the
    disks.
    """

    report: RunReport


def settle(session: Session) -> None:
    """Write out what killed programs left of blocks that they had not finished."""
    subprocess.run(["/bin/true"], env=session.environment(), check=False, stdin=subprocess.DEVNULL)


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    disks: Mapping[str, str | os.PathLike[str]] | None = None,
    fresh: Mapping[str, str | os.PathLike[str]] | None = None,
    explain: bool = False,
    pace: Pace | str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    **keywords: Any,
) -> RunResult:
    """As subprocess.run, with disks at /dev/NAME, /dev/zsgN or /dev/zngN for the program and
    its children.

    ``disks`` gives images by name ({"zoned0": "disk.img"}); ``fresh`` profiles of disks in RAM
    that are gone afterwards. With ``explain`` each refused command is told on standard error.
    The result also has ``report``, a RunReport.

    Raises RunError, and what subprocess.run and zoned.open raise.
    """
    with Session(disks or {}, fresh=fresh, explain=explain, pace=pace) as session:
        watch = Watch(session)
        ended = subprocess.run(
            beginning(command),
            env=session.environment(env),
            check=False,
            **{key: value for key, value in keywords.items() if key != "check"},
        )
        if ended.returncode < 0:
            settle(session)
        done = RunResult(ended.args, ended.returncode, ended.stdout, ended.stderr)
        done.report = watch.report()
        if keywords.get("check"):
            done.check_returncode()
        return done
