"""``zonedctl trace``: record the commands that a disk gets; show, replay and judge recordings."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import click

from zoned._core.waiting import ended
from zoned.cli import disk
from zoned.cli.app import Failure, Terminated, echo, example
from zoned.cli.ask import confirm, confirm_replace, say
from zoned.cli.documents import dumps
from zoned.cli.params import (
    ZONES,
    FilePath,
    OneOf,
    dry_run_option,
    force_option,
    format_option,
    geometry_options,
    image_argument,
    trace_formats,
    verbose_option,
)
from zoned.units import counted

if TYPE_CHECKING:
    from zoned import Device, Geometry, LintReport, ReplayReport, Trace, TraceRecord
    from zoned.keywords import GeometryKeywords
    from zoned.traces.forms import Iolog
    from zoned.traces.sources import ForeignSource, Listed, Source

_HELP = """Record every command that a disk gets, with its result and times; show recordings, give
them to another disk and compare, or tell what a zoned disk would refuse of them.

A recording meets the commands of every process that has the disk open, a running mount included."""


@click.group(
    "trace",
    help=_HELP,
    epilog=example(
        "zonedctl trace record disk.img x.trace -- zonedctl reset disk.img --zones 3",
        "zonedctl trace record disk.img x.trace -- true && zonedctl trace show x.trace",
    ),
)
def trace_command() -> None:
    """The group; its help is above."""


# ---------------------------------------------------------------- record


class RecordCommand(click.Command):
    """Its options stand anywhere before the command that it runs; all behind is the command's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = 0
        for at, arg in enumerate(args):
            if arg == "--" and given >= 2:
                return super().parse_args(ctx, [*self._first(args[:at]), *args[at:]])
            if arg == "--":
                break
            given += not arg.startswith("-") or arg == "-"
            if given == 3:
                return super().parse_args(ctx, [*self._first(args[:at]), *args[at:]])
        else:
            return super().parse_args(ctx, self._first(args))
        return super().parse_args(ctx, args)

    @staticmethod
    def _first(args: list[str]) -> list[str]:
        """Options before the arguments, where click looks for them."""
        return sorted(args, key=lambda arg: not arg.startswith("-") or arg == "-")


NOT_FOUND, NOT_RUN = 127, 126
"""A shell's exit statuses for a command that there is not, and one that cannot be run."""


@trace_command.command(
    "record",
    cls=RecordCommand,
    context_settings={"allow_interspersed_args": False},
    epilog=example(
        "zonedctl trace record disk.img x.trace",
        "zonedctl trace record disk.img x.trace -v -- fio job.fio",
        "zonedctl trace record --data disk.img x.history -- zonedctl reset disk.img --zones 3",
    ),
)
@click.option(
    "--data",
    is_flag=True,
    help="Also what each command writes, and what the disk holds now: a history, for crash-test.",
)
@force_option
@verbose_option
@image_argument
@click.argument("file", type=FilePath())
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def record_command(
    image: str, file: str, command: tuple[str, ...], data: bool, force: bool, verbose: bool
) -> int:
    """Record the commands that the disk IMAGE gets to FILE: until Ctrl-C, or while COMMAND runs.

    Exit status: that of COMMAND, 127 if there is no such command, 126 if it cannot be run; without
    one 0.
    """
    import os

    words = list(command[1:] if command[:1] == ("--",) else command)
    if words and shutil.which(words[0]) is None:
        if os.path.exists(words[0]):
            raise Failure(f"{words[0]}: it cannot be run", NOT_RUN)
        raise Failure(f"{words[0]}: no such command", NOT_FOUND)
    with disk.to_change(image) as device:
        if os.path.exists(file):
            confirm_replace(file, force)
        device.trace.start(file, data=data)
        try:
            status = _run(words) if words else _wait(device, verbose)
        finally:
            done = device.trace.stop()
    say(verbose, f"{file}: {counted(done.records, 'command')} in {counted(done.size, 'byte')}")
    if done.lost:
        echo(f"{file}: commands missing: {done.lost}", err=True)
    return status


def _wait(device: Device, verbose: bool) -> int:
    """Until Ctrl-C, or until the file cannot be written on."""
    say(verbose, "recording; Ctrl-C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        while device.trace.failure is None:
            time.sleep(0.1)
    return 0


def _run(words: list[str]) -> int:
    """Run a command to its end, whatever Ctrl-C means to it."""
    try:
        started = subprocess.Popen(words)
    except (
        OSError
    ) as error:  # a script without its #! line, or a format that this machine cannot run
        raise Failure(f"{words[0]}: it cannot be run: {error.strerror}", NOT_RUN) from error
    with started as process:
        while True:
            try:
                status = ended(process)
                break
            except Terminated:
                process.terminate()
            except KeyboardInterrupt:
                continue
    return status if status >= 0 else 128 - status


# ---------------------------------------------------------------- which kind of trace


def source_options(function: Any) -> Any:
    """How a trace is read: the same words wherever one is."""
    for option in reversed(
        (
            click.option(
                *("--from", "source"),
                type=OneOf(trace_formats),
                metavar="FORMAT",
                help="zoned, iolog2, iolog3, blkparse, msr, ...; else the file tells.",
            ),
            click.option(
                "--device", metavar="DEVICE", help="Of several, such as 8,16 or /dev/sdb."
            ),
            click.option(
                "--action",
                type=click.Choice(["D", "Q"]),
                default="D",
                help="Of blkparse's lines.",
            ),
        )
    ):
        function = option(function)
    return function


def _open(path: str, form: str | None, device: str | None, action: str) -> Source:
    """The trace in a file. An unknown format is a mistake of the caller's."""
    from zoned.traces.sources import ALL_FORMATS, open_source

    if form is not None and form not in ALL_FORMATS:
        raise click.UsageError(f"--from is {form!r}: it must be one of {', '.join(ALL_FORMATS)}")
    return open_source(path, form, device=device, action=action, partial=True)


def _shape(source: Source, file: str, shape: dict[str, Any]) -> Geometry | None:
    """The disk that a trace is for: the recorded one with what the options say, or what they say.

    None: the recorded one as it was. Raises UsageError where neither tells it.
    """
    from zoned.keywords import resolve_keywords

    given = any(value is not None for value in shape.values())
    if given and source.geometry is not None:
        return _geometry(source.geometry, shape)
    if given:
        words = {name: value for name, value in shape.items() if name != "profile"}
        return resolve_keywords(shape["profile"], cast("GeometryKeywords", words))
    if source.geometry is None:
        raise click.UsageError(
            f"{file} does not tell which disk it is for: give --profile, or --size and --zone-size"
        )
    return None


# ---------------------------------------------------------------- show


@trace_command.command(
    "show",
    epilog=example(
        "zonedctl trace show x.trace --errors",
        "zonedctl trace show x.trace --format iolog > x.iolog",
        "zonedctl trace show x.trace --summary --format json",
        "zonedctl trace show server.blkparse --device 8,16",
    ),
)
@click.argument("file", type=FilePath())
@source_options
@format_option("text", "json", "iolog")
@click.option("--zones", "-z", type=ZONES, metavar="LIST", help="Only commands in these zones.")
@click.option("--errors", is_flag=True, help="Only commands that failed.")
@click.option("--summary", is_flag=True, help="Counts instead of commands.")
@click.option(
    "--iolog-version", type=click.Choice(["2", "3"]), default="2", help="Of fio's iolog format."
)
@click.option("--iolog-name", default="/dev/zoned", help="The file that the iolog is about.")
@click.option("--iolog-waits", is_flag=True, help="Keep the times in an iolog of version 2.")
@click.option("--no-trims", is_flag=True, help="Leave resets out of an iolog.")
def show_command(
    file: str,
    source: str | None,
    device: str | None,
    action: str,
    form: str,
    zones: str | None,
    errors: bool,
    summary: bool,
    iolog_version: str,
    iolog_name: str,
    iolog_waits: bool,
    no_trims: bool,
) -> int:
    """Show the trace FILE: a line for each command, JSON lines, or fio's iolog.

    FILE is a trace of zonedctl trace record, fio's iolog (version 2 or 3), blkparse's output, or a
    block trace in CSV (MSR, Alibaba, Tencent); plain, gzip or zstd. Only a recording of zonedctl's
    tells of zones and of results. One that was cut off is shown up to that place; then the exit
    status is 1.
    """
    from zoned.traces import forms
    from zoned.traces.sources import ForeignSource

    if summary and form == "iolog":
        raise click.UsageError("an iolog has no summary")
    if len(iolog_name.split()) != 1:
        raise click.UsageError(f"--iolog-name is {iolog_name!r}: fio reads one word without blanks")
    found = _open(file, source, device, action)
    iolog = forms.Iolog(int(iolog_version), iolog_name, iolog_waits, not no_trims)
    if isinstance(found, ForeignSource):
        if errors or zones is not None:
            what = "which commands failed" if errors else "which zones there are"
            raise click.UsageError(
                f"--{'errors' if errors else 'zones'} is for recordings of zonedctl's: a trace of "
                f"format {found.format} does not tell {what}"
            )
        _show_foreign(found, summary, form, iolog)
    else:
        _show_own(found.trace, file, zones, errors, summary, form, iolog)
    if iolog.left_out:
        left = counted(iolog.left_out, "command")
        echo(f"{file}: {left} left out, which an iolog has no place for", err=True)
    for note in found.notes:
        echo(f"{file}: {note}", err=True)
    if found.cut is not None:
        raise Failure(found.cut)
    return 0


def _show_own(
    trace: Trace,
    file: str,
    zones: str | None,
    errors: bool,
    summary: bool,
    form: str,
    iolog: Iolog,
) -> None:
    from zoned.traces import forms

    chosen = _chosen(trace, file, zones, errors)
    if summary:
        _summary(trace, chosen, form)
    elif form == "json":
        _print(forms.json_lines(trace, chosen))
    elif form == "iolog":
        _print(iolog.lines(forms.of_records(trace, chosen)))
    else:
        _print(forms.text_lines(chosen, trace.header.monotonic_ns))
    if trace.lost:
        echo(f"{file}: commands missing: {trace.lost}", err=True)


def _show_foreign(source: ForeignSource, summary: bool, form: str, iolog: Iolog) -> None:
    from zoned.traces import forms

    # An iolog is of one file, so of one device; a list names each command's.
    commands = source.listed(every=form != "iolog")
    if summary:
        _foreign_summary(source.format, commands, form)
    elif form == "json":
        _print(forms.listed_json(source.format, commands))
    elif form == "iolog":
        _print(iolog.lines(forms.of_listed(commands)))
    else:
        _print(forms.listed_lines(commands))


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def _chosen(trace: Trace, file: str, zones: str | None, errors: bool) -> Iterator[TraceRecord]:
    from zoned.zonelist import ZoneListError, ZoneSet

    geometry = trace.geometry
    wanted = None
    if zones is not None:
        try:
            wanted = ZoneSet.parse(zones, geometry.nr_zones)
        except ZoneListError as error:
            raise Failure(f"{file}: {error}") from error
    for item in trace:
        if errors and item.ok:
            continue
        if wanted is None or any(zone in wanted for zone in _touched(item, geometry)):
            yield item


def _touched(item: TraceRecord, geometry: Geometry) -> Iterator[int]:
    """The zones that a command is about; none for those on the whole disk."""
    if item.zone is not None:
        yield item.zone
    if item.offset is not None and item.done > 0:
        last = min(item.offset + item.done, geometry.size) - 1
        yield from range(item.offset // geometry.zone_size, last // geometry.zone_size + 1)


def _summary(trace: Trace, records: Iterator[TraceRecord], form: str) -> None:
    from zoned.traces.records import DATA

    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    processes: Counter[int] = Counter()
    first = last = None
    for item in records:
        counts[item.command] += 1
        processes[item.pid] += 1
        if item.command in DATA:
            sizes[item.command] += item.done
        if not item.ok:
            failed[item.command, item.result] += 1
        first = item.start_ns if first is None else first
        last = item.start_ns + item.duration_ns
    span = (last - first) / 1e9 if first is not None and last is not None else 0.0
    if form == "json":
        told = {
            "summary": 1,
            "disk": trace.geometry.describe(),
            "commands": dict(counts),
            "bytes": dict(sizes),
            "failed": [
                {"command": name, "result": result, "count": count}
                for (name, result), count in failed.items()
            ],
            "processes": {str(pid): count for pid, count in processes.items()},
            "seconds": span,
            "lost": trace.lost,
            "complete": trace.complete,
        }
        click.echo(dumps(told, indent=2))
        return
    click.echo(f"disk: {trace.geometry.describe()}")
    click.echo(
        f"{counted(sum(counts.values()), 'command')} of"
        f" {counted(len(processes), 'process', 'processes')} in {span:.6f} s, from "
        f"{trace.header.started:%Y-%m-%d %H:%M:%S} UTC on"
    )
    for name, count in counts.items():
        size = f", {counted(sizes[name], 'byte')}" if name in sizes else ""
        echo(f"  {name}: {count}{size}")
    for (name, result), count in failed.items():
        echo(f"  {name} failed with {result}: {count}")


def _foreign_summary(name: str, commands: Iterator[Listed], form: str) -> None:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    devices: Counter[str] = Counter()
    last = 0
    for item in commands:
        counts[item.word] += 1
        devices[item.device] += 1
        sizes[item.word] += item.length
        last = max(last, item.time)
    sizes += Counter()  # without the zeros
    if form == "json":
        told = {
            "summary": 1,
            "format": name,
            "commands": dict(counts),
            "bytes": dict(sizes),
            "devices": dict(devices),
            "seconds": last / 1e9,
        }
        click.echo(dumps(told, indent=2))
        return
    echo(
        f"{counted(sum(counts.values()), 'command')} to {counted(len(devices), 'device')} in "
        f"{last / 1e9:.6f} s, of format {name}"
    )
    for word, count in counts.items():
        size = f", {counted(sizes[word], 'byte')}" if word in sizes else ""
        echo(f"  {word}: {count}{size}")


# ---------------------------------------------------------------- replay


@trace_command.command(
    "replay",
    epilog=example(
        "zonedctl trace replay x.trace other.img --compare",
        "zonedctl trace replay x.trace --memory --compare --max-open 2",
    ),
)
@click.argument("file", type=FilePath())
@click.argument("image", type=FilePath(), required=False)
@source_options
@click.option("--memory", is_flag=True, help="On a disk in RAM, as the recorded one.")
@click.option("--compare", is_flag=True, help="Compare results, write pointers, zones at the end.")
@click.option("--as-is", is_flag=True, help="Begin whatever state the disk is in.")
@click.option("--speed", type=float, metavar="N", help="1: with the original times; 2: twice.")
@click.option(
    "--show", type=click.IntRange(min=0), default=20, metavar="N", help="Differences to print."
)
@click.option("--pattern", type=int, default=0, metavar="SEED", help="Seed of what is written.")
@dry_run_option
@force_option
@verbose_option
@geometry_options
def replay_command(
    file: str,
    image: str | None,
    source: str | None,
    device: str | None,
    action: str,
    memory: bool,
    compare: bool,
    as_is: bool,
    speed: float | None,
    show: int,
    pattern: int,
    dry_run: bool,
    force: bool,
    verbose: bool,
    **shape: Any,
) -> int:
    """Give the commands of the trace FILE to the disk IMAGE, or to one in RAM.

    FILE is a trace of any kind that zonedctl trace show takes. The disk is brought to the state in
    which the recording began, so it must be new, or in that state; traces of other programs tell of
    no state, and are given to the disk as it is. What is written is a pattern: a trace holds no
    data. The options of a geometry change the disk in RAM; for a trace of another program they say
    which it is. Exit status with --compare: 1 something differed.
    """
    from zoned import replay
    from zoned.archive import clone_state
    from zoned.device import create_from
    from zoned.traces.sources import ForeignSource

    if (image is None) == (not memory):
        raise click.UsageError("give a disk to replay on: IMAGE or --memory")
    if image is not None and any(value is not None for value in shape.values()):
        raise click.UsageError("the options of a geometry go with --memory: an IMAGE has its own")
    trace = _open(file, source, device, action)
    if compare and isinstance(trace, ForeignSource):
        raise click.UsageError(f"--compare: {trace.no_results}")
    with contextlib.ExitStack() as stack:
        target: Device
        if image is None:
            geometry = _shape(trace, file, shape) or trace.geometry
            assert geometry is not None  # _shape insists
            target = stack.enter_context(create_from(None, geometry, replace=False))
        elif dry_run:
            target = stack.enter_context(clone_state(stack.enter_context(disk.to_look(image))))
        else:
            target = stack.enter_context(disk.to_change(image))
            confirm(f"Write the commands of {file} to {image}?", force)
        report = replay(
            trace, target, compare=compare, prepare=not as_is, speed=speed, seed=pattern, show=show
        )
    _tell_replay(file, report, compare, verbose)
    if trace.cut is not None:
        raise Failure(trace.cut)
    return 1 if compare and not report.same else 0


def _tell_replay(file: str, report: ReplayReport, compare: bool, verbose: bool) -> None:
    for difference in report.differences:
        echo(str(difference))
    for note in report.notes:
        echo(f"{file}: {note}", err=True)
    skipped = f", {report.skipped} that cannot be repeated were left out" if report.skipped else ""
    text = f"{counted(report.commands, 'command')} given, {report.failed} of them refused{skipped}"
    if compare:
        kinds = ", ".join(f"{kind} {count}" for kind, count in report.counts.items())
        click.echo(f"{text}; " + (f"differences: {kinds}" if kinds else "no difference"))
        if not report.zones_compared:
            echo(f"{file}: the zones at the end could not be compared", err=True)
    else:
        say(verbose, text)


def _geometry(base: Geometry, shape: dict[str, Any]) -> Geometry:
    """The recorded disk's, with what the options say; or a profile's."""
    from zoned.archive import describe_geometry
    from zoned.keywords import resolve_keywords
    from zoned.resolving import resolve

    profile = shape.get("profile")
    given = {key: value for key, value in shape.items() if key != "profile" and value is not None}
    if profile is not None:
        return resolve_keywords(profile, cast("GeometryKeywords", given))
    if not given:
        return base
    values = describe_geometry(base)
    values["conventional"] = [tuple(pair) for pair in values["conventional"]]
    return resolve(values, given, profile=base.profile, implied=True)


# ---------------------------------------------------------------- lint


@trace_command.command(
    "lint",
    epilog=example(
        "zonedctl trace lint x.trace",
        "zonedctl trace lint x.trace --max-open 2",
        "zonedctl trace lint server.iolog --profile hc620",
        "blkparse sda | zonedctl trace lint - --profile hc620",
    ),
)
@click.argument("file", type=FilePath(dash=True))
@source_options
@format_option("text", "json")
@geometry_options
def lint_command(
    file: str, source: str | None, device: str | None, action: str, form: str, **shape: Any
) -> int:
    """Tell which commands of a trace a host-managed disk would refuse, why, how often, and where.

    FILE is a trace of any kind that zonedctl trace show takes, or - for standard input. The disk is
    the recorded one, or what the options say. Exit status: 0 nothing would be refused, 1 something
    would.
    """
    from zoned.traces.linting import judge

    with _readable(file) as path:
        trace = _open(path, source, device, action)
        report = judge(trace, _shape(trace, file, shape))
    if form == "json":
        click.echo(dumps({"file": file} | report.as_json(), indent=2))
    else:
        _tell_lint(file, report)
    if report.cut is not None:
        raise Failure(report.cut)
    return 0 if report.clean else 1


@contextlib.contextmanager
def _readable(file: str) -> Iterator[str]:
    """A path to read as often as needed; standard input goes to a file first."""
    import sys
    import tempfile

    if file != "-":
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="zonedctl-trace-") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield copy.name


def _tell_lint(file: str, report: LintReport) -> None:
    from zoned.traces.linting import zones_in_order

    echo(
        f"{file}: {report.refusals} of {counted(report.commands, 'command')} would be refused by "
        f"{report.geometry.describe()}"
    )
    for item in report.refused.values():
        echo(f"{item.rule}: {item.count} refused, first command {item.first}: {item.sentence}")
        for zone, count in zones_in_order(item):
            click.echo(f"  {'beyond the disk' if zone is None else f'zone {zone}'}: {count}")
    for note in report.notes:
        echo(f"{file}: {note}", err=True)
