"""``zonedctl crash-test`` and ``zonedctl mark``: what a power cut leaves of a program's work."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoned.cli.app import Failure, echo, example
from zoned.cli.documents import dumps
from zoned.cli.params import FilePath, format_option
from zoned.cli.progress import Line
from zoned.units import counted

if TYPE_CHECKING:
    from zoned.crashtest import CrashTest, Result, Settings, Verdict
    from zoned.crashtest.shrinking import Small

_FOLDER = "zoned-crash"
_DOORS = ("image", "run", "mount", "ublk", "iscsi")
_STRATEGIES = ("linear", "log", "exhaustive", "random")


@click.command(
    "crash-test",
    epilog=example(
        "zonedctl crash-test --fresh test --door run --workload './store write {disk}'"
        " --verify './store check {disk}'",
        "zonedctl crash-test --state zoned-crash --replay 12:02d9...",
    ),
)
@click.option("--fresh", metavar="PROFILE", help="The workload begins with a new disk, not IMAGE.")
@click.option("--workload", metavar="COMMAND", help="What is run once and recorded.")
@click.option("--verify", metavar="COMMAND", help="What looks at each disk that may be left.")
@click.option(
    "--door",
    type=click.Choice(_DOORS),
    help="How both find the disk: by its image, as /dev/zoned0, as a mounted zonefs, as the"
    " kernel's /dev/ublkbN, by iSCSI.",
)
@click.option("--strategy", type=click.Choice(_STRATEGIES), help="Which survivors of a cut.")
@click.option(
    "--points",
    metavar="WHERE",
    help="Where the power goes: all, flush, marks, every:N or random:N.",
)
@click.option("--limit", type=int, metavar="N", help="At most so many survivors of one cut.")
@click.option("--seed", type=int, metavar="N", help="Of everything random.")
@click.option("--depth", type=int, metavar="N", help="2: also cut the power while it verifies.")
@click.option("--timeout", type=float, metavar="SECONDS", help="For each run of the verifier.")
@click.option("--jobs", type=int, metavar="N", help="Verifiers at once; else one each processor.")
@click.option("--all", "every", is_flag=True, help="Go on behind the first failure.")
@click.option("--count", "only_count", is_flag=True, help="Only say how many disks there are.")
@click.option("--replay", metavar="ID", help="Only the disk of this id.")
@click.option("--keep", type=FilePath(), metavar="FILE", help="Leave the disk that failed there.")
@click.option("--html", type=FilePath(), metavar="FILE", help="Write a page about the test.")
@format_option("text", "json")
@click.option(
    "--state",
    type=FilePath(),
    default=_FOLDER,
    metavar="FOLDER",
    help=f"Where history and verdicts are kept; {_FOLDER} if not given.",
)
@click.argument("image", required=False, type=FilePath())
def crash_test_command(
    image: str | None,
    fresh: str | None,
    workload: str | None,
    only_count: bool,
    replay: str | None,
    keep: str | None,
    html: str | None,
    form: str,
    state: str,
    **given: Any,
) -> int:
    """Run a workload once, then a verifier on every disk that a power cut could leave behind it.

    Both are commands; {disk} in them, and $ZONED_DISK, is where the disk is. The workload gets a
    copy of IMAGE, or a new disk, and says what is safe by zonedctl mark, or by a line of output
    like "zoned-mark: saved 3". The verifier finds these in the file $ZONED_ACKNOWLEDGED, and
    refuses a disk by an exit status that is not 0. Without --workload the test in --state goes on.

    Exit status: 0 if every disk was accepted, 1 if one was not, or if the verifier does not look.
    """
    from zoned.crashtest import CrashTest, CrashTestError

    _check(image, fresh, workload, keep, html)
    try:
        settings = _settings(Path(state), given)
        with CrashTest(settings, state) as test:
            if workload is not None:
                test.record(_words("--workload", workload), image=image, fresh=fresh)
            if only_count:
                click.echo(test.states().count())
                return 0
            if replay is not None:
                return _replay(test, replay, keep)
            return _run(test, state, keep, html, form)
    except CrashTestError as error:
        raise Failure(str(error)) from error


def _check(
    image: str | None, fresh: str | None, workload: str | None, keep: str | None, html: str | None
) -> None:
    if workload is not None and (image is None) == (fresh is None):
        raise click.UsageError("give the workload a disk: an IMAGE, or --fresh PROFILE")
    if workload is None and (image is not None or fresh is not None):
        raise click.UsageError("a disk is for a workload: give --workload too, or neither")
    if keep is not None and os.path.lexists(keep):
        raise Failure(f"{keep}: it exists already, and --keep replaces nothing")
    for option, file in (("--keep", keep), ("--html", html)):
        # Found now, and not when all is done.
        if file is not None and not os.access(os.path.dirname(file) or ".", os.W_OK):
            raise Failure(f"{file}: {option} can write nothing in its folder")


def _words(option: str, text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint=option) from error
    if not words:
        raise click.BadParameter("there is no command in it", param_hint=option)
    if shutil.which(words[0]) is None:
        raise click.BadParameter(f"{words[0]}: there is no such program", param_hint=option)
    return words


def _settings(state: Path, given: dict[str, Any]) -> Settings:
    """What the options say; what they do not, as the test in the folder was begun."""
    from zoned.crash.choices import Strategy
    from zoned.crashtest import CrashTestError, Settings
    from zoned.crashtest.places import Door
    from zoned.inputs import InputError, parse_json

    before: dict[str, Any] = {}
    try:
        read = parse_json((state / "settings.json").read_bytes(), InputError, "its settings")
        before = read if isinstance(read, dict) else {}
    except (FileNotFoundError, NotADirectoryError):
        pass
    except InputError as error:
        raise CrashTestError(f"{state}: damaged: {error}") from error
    values = {name: value for name, value in given.items() if value is not None}
    if "verify" in values:
        values["verify"] = _words("--verify", values["verify"])
    elif before.get("verify"):
        values["verify"] = before["verify"]
    else:
        raise click.UsageError("there is no verifier: give --verify COMMAND")
    names = {field.name for field in dataclasses.fields(Settings)}
    values = {name: before[name] for name in names & before.keys() if name != "verify"} | values
    values.setdefault("jobs", len(os.sched_getaffinity(0)))
    try:
        values["door"] = Door(values.get("door", "image"))
        values["strategy"] = Strategy(values.get("strategy", "linear"))
        return Settings(**values)
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error


def _again(state: str, state_id: str) -> str:
    return f"zonedctl crash-test --state {shlex.quote(state)} --replay {state_id}"


def _keep(test: CrashTest, state_id: str, keep: str | None) -> None:
    if keep is None:
        return
    from zoned.archive import copy

    device, _state = test.rebuild(state_id)
    with device:
        copy(device, keep, host_sync="flush").close()
    echo(f"The disk is in {keep}.", err=True)


def _replay(test: CrashTest, state_id: str, keep: str | None) -> int:
    device, state = test.rebuild(state_id)
    with device:
        outcome, _ = test.look(device, state_id, state.acknowledged)
    if outcome.output.strip():
        echo(outcome.output.rstrip())
    echo(f"{state_id}: the verifier {outcome.told}")
    _keep(test, state_id, keep)
    return 0 if outcome.ok else 1


def _run(test: CrashTest, state: str, keep: str | None, html: str | None, form: str) -> int:
    from zoned.crashtest import page, story
    from zoned.crashtest.shrinking import shrink

    line = Line(form == "json")

    def show(result: Result) -> None:
        if line.due():
            point = max(result.points, default=0)
            rate = result.states / line.seconds
            line.draw(
                f"change {point} of {result.changes}  {result.states:,} disks  {rate:,.0f}/s  "
                f"{counted(len(result.failures), 'failure')}"
            )

    result = test.run(show)
    line.clear()
    small, lines = None, []
    if result.failures:
        small = shrink(test, result.failures[0])
        lines = story.story(test, small, _again(state, small.id))
        _keep(test, small.id, keep)
    verdict = _verdict(result)
    if html is not None:
        page.write(html, page.page(test, result, verdict, lines))
    if form == "json":
        click.echo(dumps(_document(test, result, verdict, small, lines), indent=2))
    else:
        for text in (*lines, verdict, *([result.cut] if result.cut else [])):
            echo(text)
    return 0 if result.ok else 1


def _verdict(result: Result) -> str:
    disks = counted(result.states, "disk")
    tried = f"{disks} tried, {result.differing} of them with a loss, in {result.seconds:.1f} s"
    if result.failures:
        return f"{counted(len(result.failures), 'failure')}: {tried}"
    if result.blind:
        return f"{result.blind[0].upper()}{result.blind[1:]} ({tried})."
    return f"no failure: {tried}"


def _document(
    test: CrashTest, result: Result, verdict: str, small: Small | None, lines: Sequence[str]
) -> dict[str, Any]:
    def told(one: Verdict) -> dict[str, Any]:
        return dataclasses.asdict(one) | {"ok": one.ok}

    return {
        "crash_test": 1,
        "verdict": verdict,
        "ok": result.ok,
        "settings": test.settings.meaning(),
        "changes": result.changes,
        "marks": result.marks,
        "states": result.states,
        "differing": result.differing,
        "equal": result.equal,
        "resumed": result.resumed,
        "complete": result.complete,
        "blind": result.blind,
        "cut": result.cut,
        "seconds": result.seconds,
        "points": [[point, *counts] for point, counts in sorted(result.points.items())],
        "failures": [told(one) for one in result.failures],
        "smallest": None if small is None else dataclasses.asdict(small),
        "story": list(lines),
    }


@click.command("mark", epilog=example("zonedctl mark 'saved 3'"))
@click.argument("text")
def mark_command(text: str) -> int:
    """Within the workload of zonedctl crash-test: TEXT is safe from now on, whatever happens.

    It returns when the mark stands in the history, behind all commands that have ended.
    """
    from zoned.crashtest.marks import MarkError, set_mark

    try:
        set_mark(text)
    except MarkError as error:
        raise Failure(str(error)) from error
    return 0
