"""``zonedctl run`` and ``zonedctl shell``: programs of others on emulated disks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from zoned._core.waiting import ended
from zoned.cli.app import Failure, echo, example, say_error
from zoned.cli.params import FilePath

if TYPE_CHECKING:
    from zoned.running import RunReport, Session

_NOT_FOUND, _NOT_RUNNABLE = 127, 126  # as a shell's


class _Split(click.Command):
    """Takes what stands behind ``--`` as the program's own words, whatever they look like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ours, dashes, command = _split(args)
        ctx.meta["zoned.command"] = command
        if not dashes and ours and not {"-h", "--help"} & set(ours) and not ctx.resilient_parsing:
            ctx.meta["zoned.undivided"] = True
        return super().parse_args(ctx, ours)


def _split(args: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in args:
        return list(args), False, []
    at = list(args).index("--")
    return list(args[:at]), True, list(args[at + 1 :])


def _disks(
    images: Sequence[str], named: Sequence[str], fresh: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Images and fresh profiles by name; those without one get the lowest zonedN that is free."""
    disks: dict[str, str] = {}
    for text in named:
        name, equals, image = text.partition("=")
        if not equals or not name or not image:
            raise click.BadParameter(
                f"{text!r} must be NAME=IMAGE, such as zoned0=disk.img", param_hint="--disk"
            )
        if name in disks:
            raise click.BadParameter(f"{name} is given twice", param_hint="--disk")
        disks[name] = image
    taken = {name.removeprefix("/dev/") for name in disks}
    free = (name for number in range(64) if (name := f"zoned{number}") not in taken)
    disks.update({next(free): image for image in images})
    return disks, {next(free): profile for profile in fresh}


_OPTIONS = (
    click.option(
        "--disk",
        "named",
        multiple=True,
        metavar="NAME=IMAGE",
        help="A disk by the name that it has in /dev.",
    ),
    click.option(
        *("--fresh", "fresh"),
        multiple=True,
        metavar="PROFILE",
        help="A new disk in RAM, gone afterwards, by a profile's name or file.",
    ),
    click.option(
        "--report",
        "wanted",
        is_flag=True,
        help="Say afterwards what was done to the disks, and what they refused.",
    ),
    click.option(
        "--explain", is_flag=True, help="Say on standard error why a command is refused, at once."
    ),
    click.option(
        "--fault",
        "plan",
        type=FilePath(),
        metavar="PLAN",
        help="Rules of a fault plan, on each disk, while the program runs.",
    ),
    click.option(
        "--pace",
        type=FilePath(),
        metavar="PACE",
        help="real: commands take the time of the disk's drive; or of another one, by its profile;"
        " none: they take none. Else as the disk was made.",
    ),
    click.option(
        "--trace",
        type=FilePath(),
        metavar="FILE",
        help="Record the commands that the one disk gets.",
    ),
    click.argument("images", nargs=-1, type=FilePath(), metavar="[IMAGE]..."),
)


def _with_options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(
    "run",
    cls=_Split,
    epilog=example(
        "zonedctl run disk.img -- blkzone report /dev/zoned0",
        "zonedctl run --fresh test --explain -- blkzone capacity /dev/zoned0",
        "zonedctl run --disk sdz=disk.img -- lsblk /dev/sdz",
        "zonedctl run --fresh hc620 --pace real -- blkzone capacity /dev/zoned0",
    ),
)
@_with_options
@click.pass_context
def run_command(
    ctx: click.Context,
    /,
    images: tuple[str, ...],
    named: tuple[str, ...],
    fresh: tuple[str, ...],
    **given: Any,
) -> int:
    """Run a program that finds each IMAGE as a zoned block device, /dev/zoned0 and on.

    What stands behind -- is the program with its arguments. It and its children see the disks in
    /dev, /sys and /proc/partitions, without root and without a kernel that knows zones. The exit
    status is the program's.
    """
    command = ctx.meta["zoned.command"]
    if not command:
        where = "say it behind --" if ctx.meta.get("zoned.undivided") else "give one behind --"
        raise click.UsageError(
            f"there is no program to run: {where}, as in zonedctl run disk.img -- ls /dev/zoned0"
        )
    return _run(command, _disks(images, named, fresh), Wanted(**given))


@click.command("shell", epilog=example("zonedctl shell disk.img", "zonedctl shell --fresh hc620"))
@_with_options
def shell_command(
    images: tuple[str, ...],
    named: tuple[str, ...],
    fresh: tuple[str, ...],
    **given: Any,
) -> int:
    """Start your shell ($SHELL) where each IMAGE is a zoned block device, /dev/zoned0 and on."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    return _run([shell], _disks(images, named, fresh), Wanted(**given))


@dataclass(frozen=True)
class Wanted:
    """What is to happen beside the program."""

    wanted: bool
    """A report."""
    explain: bool
    plan: str | None
    trace: str | None
    pace: str | None

    @contextlib.contextmanager
    def around(self, session: Session) -> Iterator[None]:
        """Faults and a recording, as long as the program runs. Raises FaultError, OSError."""
        from zoned.faults import read_plan

        devices = list(session.devices.values())
        if self.trace is not None and len(devices) != 1:
            raise click.UsageError(
                "--trace records one disk: give one, or record by zonedctl trace"
            )
        rules = read_plan(self.plan) if self.plan is not None else []
        with contextlib.ExitStack() as stack:
            for device in devices:
                for fault in (
                    device.faults.set_all(rules, where=f"plan {self.plan}") if rules else ()
                ):
                    stack.callback(fault.clear)
            if self.trace is not None:
                stack.enter_context(devices[0].trace.record(self.trace))
            yield


def _run(
    command: Sequence[str], disks: tuple[dict[str, str], dict[str, str]], wanted: Wanted
) -> int:
    from zoned.running import RunError, Session
    from zoned.running.judging import beginning
    from zoned.running.programs import Watch, settle

    try:
        words = beginning(command)
        session = Session(disks[0], fresh=disks[1], explain=wanted.explain, pace=wanted.pace)
    except RunError as error:
        raise click.UsageError(str(error)) from None
    with session:
        for note in session.notes:
            say_error(note)
        watch = Watch(session) if wanted.wanted else None
        with wanted.around(session):
            status = _program(words, session)
            if status < 0:
                settle(session)
        if watch is not None:
            _tell(watch.report())
    return 128 - status if status < 0 else status


def _tell(report: RunReport) -> None:
    for line in report.lines():
        echo(line, err=True)


@contextlib.contextmanager
def _passing_signals(child: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """The terminal's signals are the program's affair; what is sent to us is passed on to it."""

    def ignore(_number: int, _frame: FrameType | None) -> None:
        """The program has got it too: it is in our process group."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for one in child:
            one.send_signal(number)

    before = {
        number: signal.signal(
            number, ignore if number in (signal.SIGINT, signal.SIGQUIT) else pass_on
        )
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _program(command: Sequence[str], session: Session) -> int:
    child: list[subprocess.Popen[bytes]] = []
    sys.stdout.flush()
    with _passing_signals(child):
        try:
            child.append(subprocess.Popen(command, env=session.environment()))
        except FileNotFoundError:
            raise Failure(f"{command[0]}: there is no such program", _NOT_FOUND) from None
        except PermissionError:
            name = command[0] or "''"
            raise Failure(f"{name}: it cannot be run", _NOT_RUNNABLE) from None
        return ended(child[0])
