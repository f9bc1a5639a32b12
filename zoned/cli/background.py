"""Commands that live on in the background: a new process that reports through a pipe once ready.

The command waits for that report, so that a failure of the background process is its own failure.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TypeVar

from zoned.cli.app import Failure, Terminated, sentence
from zoned.openers import BACKGROUND

_READY = b"ready"
_FD = "ZONEDCTL_READY_FD"  # tells the background process that it is one
Served = TypeVar("Served")
_PATIENCE = 5.0  # seconds that the background process has to tidy up once it is told to end


def reporting_to() -> int | None:
    """In the background process: the descriptor that `report` wants. None elsewhere."""
    said = os.environ.pop(_FD, "")
    return int(said) if said else None


def report(
    ready_fd: int,
    start: Callable[[], Served],
    tell: Callable[[Served], object],
    without_terminal: Callable[[Served], object],
    give_up: Callable[[Served], object],
) -> Served | None:
    """In the background process: start, tell what is to be told on the terminal, leave that, and
    say through the pipe that it is ready. None: it failed, and the pipe has the sentence.
    """
    served: list[Served] = []
    try:
        served.append(start())
        tell(served[0])
        _leave_terminal()
        without_terminal(served[0])
        os.write(ready_fd, _READY)
    except BaseException as error:
        for one in served:
            give_up(one)
        if not isinstance(error, Exception):
            raise
        with contextlib.suppress(OSError):
            os.write(ready_fd, os.fsencode(sentence(error)))
        return None
    finally:
        os.close(ready_fd)
    return served[0]


def until_ended(wait: Callable[[], object], by_others: str) -> str:
    """Wait for the end; why it came, ``by_others`` if it came by itself. From then on nothing
    interrupts what is left to do.
    """
    try:
        wait()
        cause = by_others
    except Terminated as end:
        cause = signal.Signals(int(end.args[0])).name
    except KeyboardInterrupt:
        cause = "Ctrl-C"
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return cause


def _leave_terminal() -> None:
    """Of the background process, once ready: no folder in use, standard streams to nowhere."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def spawn(command: str, arguments: list[str]) -> int:
    """Start ``zonedctl command arguments`` in the background, and wait until it is ready.

    Raises Failure with what it reported, if it failed.
    """
    import zoned

    reader, writer = os.pipe()
    home = os.path.dirname(os.path.dirname(os.path.abspath(zoned.__file__)))
    words = [sys.executable, "-P", "-c", BACKGROUND, home, *command.split()]
    try:
        child = subprocess.Popen(
            [*words, *arguments],
            stdin=subprocess.DEVNULL,
            env=os.environ | {_FD: str(writer)},
            pass_fds=(writer,),
            start_new_session=True,
        )
    finally:
        os.close(writer)
    try:
        with open(reader, "rb") as pipe:
            said = pipe.read()
    except BaseException:
        child.terminate()
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:  # it waits for what no such signal ends
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel has it in a call
                child.wait(_PATIENCE)
        raise
    if said == _READY:
        child.returncode = 0  # it lives on; nobody waits for it
        return 0
    try:
        status = child.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        status = 0
    text = os.fsdecode(said).strip()
    if not text:
        text = f"the {command}'s process ended before it was ready (status {status})"
    raise Failure(text, status if status > 0 else 1)
