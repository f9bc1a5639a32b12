"""``zonedctl bench``: write patterns on modelled drives, in virtual time.

Results go to stdout or a file, the progress bar to stderr. Everything real lies in zoned.bench.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from zoned.cli import benchparts
from zoned.cli.app import Failure, example
from zoned.cli.files import refuse_unwritable
from zoned.cli.params import DriveName, FilePath, PatternOrFile, Percent, shown
from zoned.cli.progress import Bar
from zoned.plaintext import printable
from zoned.units import counted

if TYPE_CHECKING:
    from zoned.bench.fiofile import Plan
    from zoned.bench.logs import LogFiles
    from zoned.drives.models import Model
    from zoned.geometry import Geometry
    from zoned.traces.sources import Feed


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    out = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set {pair!r}: write NAME=VALUE")
        out[key.strip()] = value.strip()
    return out


def _seeds(text: str) -> list[int]:
    """``7``, ``1-5`` or ``1,4,9``."""
    out: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        try:
            first = int(low)
            last = int(high) if dash else first
        except ValueError:
            raise click.UsageError(f"--seed {text!r}: write 7, 1-5 or 1,4,9") from None
        if not 0 <= first <= last or last - first >= 10_000:
            raise click.UsageError(f"--seed {text!r}: the range must rise, by less than 10,000")
        out += range(first, last + 1)
    return out


@click.command(
    "bench",
    epilog=example(
        "zonedctl bench --list",
        "zonedctl bench random-zones --profile hc620 --html report.html",
        "zonedctl bench job.fio --profile zn540 --format json --output a.json",
        "zonedctl bench compare a.json b.json --fail-over 5%",
        "zonedctl bench --fio -- --name=x --rw=randwrite --direct=1 --zonemode=zbd --size=4z",
        "zonedctl bench --trace prxy_0.csv.gz --set policy=cost-benefit",
        "zonedctl bench sweep grid.toml",
        "zonedctl bench fit --jobs measure",
        "zonedctl bench fit result.json -o my-drive.toml",
        "zonedctl bench job.fio --clock real --disk disk.img",
    ),
)
@click.argument("what", nargs=-1, type=PatternOrFile())
@click.option(
    "--fio",
    "arguments",
    is_flag=True,
    help="WHAT is fio's own command line: -- --name=x --rw=randwrite ...",
)
@click.option("--list", "listing", is_flag=True, help="List the named patterns and drives.")
@click.option("--profile", type=DriveName(), metavar="NAME|FILE", help="The drive; see --list.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A pattern's parameter, or a fio option for every job.",
)
@click.option("--seed", default="1", show_default=True, metavar="N|N-M", help="Several: a spread.")
@click.option(
    *("--format", "form"),
    **shown(click.Choice(["text", "json", "csv"]), "text"),
    help="What to print; json has fio's names.",
)
@click.option("-o", "--output", type=FilePath(), help="Write the result there, not to stdout.")
@click.option("--html", type=FilePath(), help="Write a page with pictures, all in one file.")
@click.option(
    "--clock",
    **shown(click.Choice(["virtual", "real"]), "virtual"),
    help="real: run on --disk and measure the emulator itself.",
)
@click.option("--disk", type=FilePath(), help="A disk image, for --clock real. It is written to.")
@click.option("--trace", type=FilePath(), help="Replay a trace: a recording or text, .gz or .zst.")
@click.option(
    "--trace-format",
    type=click.Choice(["zoned", "msr", "alibaba", "tencent", "iolog2", "iolog3", "blkparse"]),
    help="If the file does not tell.",
)
@click.option("--straight", is_flag=True, help="Replay a trace as it is, not through a log layer.")
@click.option("--dask", metavar="ADDRESS", help="sweep: run on this Dask cluster.")
@click.option(
    "--jobs",
    metavar="N|DIR",
    help="sweep: worker processes on this machine. fit: write the jobs that measure a drive there.",
)
@click.option(
    *("--fail-over", "fail_over"),
    type=Percent(),
    metavar="PERCENT",
    help="compare: exit status 1 when a figure is worse than A's by more, such as 5%.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no notes on stderr.")
def bench_command(
    what: tuple[str, ...],
    arguments: bool,
    listing: bool,
    profile: str | None,
    settings: tuple[str, ...],
    seed: str,
    form: str,
    output: str | None,
    html: str | None,
    clock: str,
    disk: str | None,
    trace: str | None,
    trace_format: str | None,
    straight: bool,
    dask: str | None,
    jobs: str | None,
    fail_over: float | None,
    quiet: bool,
) -> None:
    """Run write patterns on modelled drives, in virtual time.

    WHAT is a fio job file, the name of a pattern (--list), "compare A.json B.json ...", "sweep
    FILE.toml", or "fit RESULT.json ...".
    """
    kind = "fio" if arguments else _kind(what, listing)
    _check_options(click.get_current_context(), kind, what)
    if kind == "--list":
        benchparts.listing(form, output)
        return
    if kind == "compare":
        benchparts.compared(what[1:], form, output, html, fail_over)
        return
    if kind == "sweep":
        refuse_unwritable(html)
        benchparts.swept(what[1:], dask, benchparts.workers(jobs), html, quiet)
        return
    if kind == "fit":
        benchparts.fitted(what[1:], jobs, profile, form, output, quiet)
        return
    chosen = _settings(settings)
    if arguments:
        from zoned.bench.fioarguments import report_of

        said = report_of(what)
        form, output = said.get("format", form), said.get("output", output)
    refuse_unwritable(output, html)
    if clock == "real":
        _real(what, arguments, disk, chosen, seed, form, output, html, quiet)
        return
    title, drive, geometry, model, make = _prepare(
        what, arguments, profile, chosen, trace, trace_format, straight
    )
    from zoned.bench.logs import LogFiles

    runs: list[Result] = []
    cut = None
    for number in _seeds(seed):
        plan, feed = make()
        logged = [job.logs for job in plan.jobs] if not runs else []
        runs.append(_run(plan, geometry, model, number, feed, quiet, LogFiles(logged)))
        cut = feed.cut if feed is not None else None
    _give(runs, title, drive, form, output, html, quiet)
    if cut is not None:
        raise Failure(cut)


Result = Any  # tuple[Run, list[str], Plan]: a run, its notes, and what was run
Make = Any  # Callable[[], tuple[Plan, Feed | None]], which click would evaluate


_MEANT = {
    "--list": ("form", "output"),
    "compare": ("form", "output", "html", "fail_over"),
    "sweep": ("dask", "jobs", "html"),
    "fit": ("jobs", "profile", "output", "form"),
}
"""Which options mean something there."""


def _kind(what: Sequence[str], listing: bool) -> str:
    if listing:
        return "--list"
    if what and what[0] in _MEANT and not os.path.exists(what[0]):
        return what[0]
    return "run"


def _check_options(context: click.Context, kind: str, what: Sequence[str]) -> None:
    """An option that would be ignored is a mistake. Raises UsageError."""
    given = {
        name
        for name in context.params
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    } - {"what", "arguments", "listing", "quiet"}
    if kind in _MEANT:
        names = {"settings": "set", "form": "format"}
        for name in sorted(given - set(_MEANT[kind])):
            option = names.get(name, name).replace("_", "-")
            raise click.UsageError(f"--{option} means nothing for {kind}")
        return
    real = context.params["clock"] == "real"
    for wrong, text in (
        (given & {"dask", "jobs"}, "--dask and --jobs are for zonedctl bench sweep GRID.toml"),
        ("fail_over" in given, "--fail-over is for zonedctl bench compare A.json B.json"),
        (
            "trace" not in given and given & {"trace_format", "straight"},
            "--trace-format and --straight say how to read a --trace",
        ),
        (real and "trace" in given, "a trace is replayed in virtual time only"),
        (real and "profile" in given, "--profile is a drive's model; --clock real measures --disk"),
        (
            not real and "disk" in given,
            "--disk is for --clock real; in virtual time use --profile",
        ),
    ):
        if wrong:
            raise click.UsageError(text)
    if kind == "fio":
        for wrong in sorted(given & {"settings", "trace"}):
            option = wrong.replace("settings", "set")
            raise click.UsageError(
                f"--{option} means nothing for --fio: its options stand behind --"
            )
        if not what:
            raise click.UsageError(
                "write fio's options behind --: --fio -- --name=x --rw=randwrite"
            )
        return
    if len(what) + ("trace" in given) != 1:
        raise click.UsageError(
            "name one job file, one pattern (see --list) or one --trace"
            + (f", not {len(what)}" if len(what) > 1 else "")
        )


def _prepare(
    what: Sequence[str],
    arguments: bool,
    profile: str | None,
    settings: dict[str, str],
    trace: str | None,
    trace_format: str | None,
    straight: bool,
) -> tuple[str, str, Geometry, Model, Make]:
    """Title, drive, disk, model, and what makes a fresh plan for each seed."""
    from zoned.bench import fioarguments, fiofile, patterns
    from zoned.drives.models import load_drive

    if trace is not None:
        return _prepare_trace(trace, trace_format, straight, profile, settings)
    if arguments:
        loaded, model = load_drive(profile or "hc620")
        geometry = loaded.geometry()
        fioarguments.parse_arguments(what, geometry)
        return (
            "fio",
            loaded.name,
            geometry,
            model,
            lambda: (fioarguments.parse_arguments(what, geometry), None),
        )
    name = what[0]
    if os.path.exists(name) or name.endswith(".fio") or "/" in name:
        loaded, model = load_drive(profile or "hc620")
        geometry = loaded.geometry()
        fiofile.load(name, geometry, settings)
        return (
            os.path.basename(name),
            loaded.name,
            geometry,
            model,
            lambda: (fiofile.load(name, geometry, settings), None),
        )
    pattern = patterns.find(name)
    loaded, model = load_drive(profile or pattern.profile)
    geometry = loaded.geometry()
    return name, loaded.name, geometry, model, lambda: (pattern.plan(geometry, settings), None)


def _prepare_trace(
    path: str, form: str | None, straight: bool, profile: str | None, settings: dict[str, str]
) -> tuple[str, str, Geometry, Model, Make]:
    """As _prepare, of a trace."""
    from zoned.drives.models import load_drive
    from zoned.traces.sources import open_source

    given = dict(settings)
    action, iolog_ns = given.pop("action", "D"), given.pop("iolog", "ms")
    if action not in ("D", "Q") or iolog_ns not in ("ms", "ns"):
        raise click.UsageError("--set action= takes D or Q, --set iolog= takes ms or ns")
    source = open_source(path, form, action=action, iolog_ns=iolog_ns == "ns", partial=True)
    recorded = source.geometry if straight else None
    loaded, model = load_drive(profile or _drive_of(recorded) or "hc620")
    # Zone commands mean zones of the recorded disk: the sizes are its, the model is the drive's.
    geometry = recorded or loaded.geometry()

    def make() -> tuple[Plan, Feed]:
        plan = _trace_plan(straight, geometry, dict(given))
        plan.jobs[0].trace, plan.jobs[0].trace_format = os.path.basename(path), source.format
        return plan, source.feed(straight)

    make()  # what is wrong with the settings comes before the first run
    return f"trace {os.path.basename(path)}", loaded.name, geometry, model, make


def _drive_of(recorded: Geometry | None) -> str | None:
    """The built-in profile that a recorded disk was made with; None if it was made with none."""
    from zoned.drives import profiles

    name = recorded.profile if recorded is not None else ""
    return name if name in profiles.builtin_names() else None


def _trace_plan(straight: bool, geometry: Geometry, settings: dict[str, str]) -> Plan:
    from zoned.bench import patterns
    from zoned.bench.fiofile import Plan

    if straight:
        from zoned.bench.jobs import Job

        depth = settings.pop("depth", "32")
        if settings or not depth.isdigit():
            raise click.UsageError("a straight replay has the settings depth, action and iolog")
        job = Job("trace", kind="trace", iodepth=int(depth), size=geometry.size)
        return Plan([job], name="trace")
    settings.setdefault("warm", "0")
    plan = patterns.find("log").plan(geometry, settings)
    job = plan.jobs[0]
    job.kind, job.name, job.number_ios, job.distribution = "trace", "trace", 0, "random"
    plan.notes = [] if settings["warm"] == "0" else plan.notes
    return plan


def _run(
    plan: Plan,
    geometry: Geometry,
    model: Model,
    seed: int,
    trace: Feed | None,
    quiet: bool,
    logs: LogFiles,
) -> Result:
    from zoned.bench.runner import execute

    bar = Bar(plan, quiet)
    try:
        with logs:
            run = execute(plan, geometry, model, seed, progress=bar, trace=trace, logs=logs)
    finally:
        bar.done()
    notes = [*plan.notes, *_logged(logs)]
    if trace is not None:
        notes += trace.told()
        folded = sum(job.folded for job in run.jobs)
        if folded:
            room = "the volume on the log layer" if run.jobs[0].job.log_block else "the disk"
            notes.append(
                f"beyond {room}: {counted(folded, 'command')}, in whole or in part; reads and "
                "writes went on from its start, and nothing was made of trims"
            )
        partial = sum(job.partial for job in run.jobs)
        if partial:
            notes.append(
                f"passed over, in whole or in part: {counted(partial, 'trim')} of a part of a "
                "zone, or of conventional ones: only whole sequential zones are reset"
            )
    return run, notes, plan


def _logged(logs: LogFiles) -> list[str]:
    """A note that names the logs; of many, the first."""
    if not logs.paths:
        return []
    more = len(logs.paths) - 6
    rest = f" and {more} more" if more > 0 else ""
    return [f"logs: {', '.join(logs.paths[:6])}{rest}"]


def _real(
    what: Sequence[str],
    arguments: bool,
    disk: str | None,
    settings: dict[str, str],
    seed: str,
    form: str,
    output: str | None,
    html: str | None,
    quiet: bool,
) -> None:
    import zoned
    from zoned.bench import fioarguments, fiofile, patterns
    from zoned.bench.logs import LogFiles
    from zoned.bench.runner import execute_real

    if disk is None:
        raise click.UsageError("--clock real needs --disk IMAGE, whose zones it will write to")
    runs: list[Result] = []
    with zoned.open(disk) as device:
        for number in _seeds(seed):
            name = what[0]
            if arguments:
                plan = fioarguments.parse_arguments(what, device.geometry)
            elif os.path.exists(name) or name.endswith(".fio") or "/" in name:
                plan = fiofile.load(name, device.geometry, settings)
            else:
                plan = patterns.find(name).plan(device.geometry, settings)
            bar = Bar(plan, quiet, real=True)
            try:
                with LogFiles([job.logs for job in plan.jobs] if not runs else []) as logs:
                    run = execute_real(plan, device, number, bar, logs)
            finally:
                bar.done()
            runs.append((run, [*plan.notes, *_logged(logs)], plan))
    title = "fio" if arguments else os.path.basename(what[0])
    _give(runs, title, os.path.basename(disk), form, output, html, quiet)


def _give(
    runs: Sequence[Result],
    title: str,
    drive: str,
    form: str,
    output: str | None,
    html: str | None,
    quiet: bool,
) -> None:
    """Print or write the results; a job that failed makes the exit status 1."""
    from zoned.bench import html as pages
    from zoned.bench import results, table

    run, notes, plan = runs[0]
    if form == "json":
        texts = [results.as_json(r, drive, n, p.global_options) for r, n, p in runs]
        text = (
            texts[0] if len(texts) == 1 else "[\n" + ",\n".join(t.rstrip() for t in texts) + "\n]\n"
        )
    elif form == "csv":
        text = results.as_csv([r for r, *_ in runs])
    elif len(runs) > 1:
        text = table.seeds_table([r for r, *_ in runs])
    else:
        text = table.as_text(run, drive, notes)
    if output is not None:
        pages.write(output, text)
    else:
        click.echo(text, nl=False)
    if html is not None:
        pages.write(html, pages.page(run, title, drive, notes, plan))
    if not quiet and form != "text":
        for note in notes:
            click.echo(f"note: {printable(note)}", err=True)
    failed = [job for r, *_ in runs for job in r.jobs if job.error]
    if failed:
        raise Failure(f"job {failed[0].job.name}: {failed[0].error}")
