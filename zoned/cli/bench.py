"""``zonedctl bench``: write patterns on modelled drives, in virtual time.

Results go to stdout or a file, the progress bar to stderr. Everything real lies in zoned.bench.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from zoned.cli.app import Failure, echo, example
from zoned.cli.params import DriveName, FilePath, PatternOrFile
from zoned.cli.progress import Bar
from zoned.plaintext import printable
from zoned.units import counted

if TYPE_CHECKING:
    from zoned.bench.fiofile import Plan
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
        "zonedctl bench compare a.json b.json",
        "zonedctl bench --trace prxy_0.csv.gz --set policy=cost-benefit",
        "zonedctl bench sweep grid.toml",
        "zonedctl bench job.fio --clock real --disk disk.img",
    ),
)
@click.argument("what", nargs=-1, type=PatternOrFile())
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
    type=click.Choice(["text", "json", "csv"]),
    default="text",
    show_default=True,
    help="What to print; json has fio's names.",
)
@click.option("--output", type=FilePath(), help="Write the result there, not to stdout.")
@click.option("--html", type=FilePath(), help="Write a page with pictures, all in one file.")
@click.option(
    "--clock",
    type=click.Choice(["virtual", "real"]),
    default="virtual",
    show_default=True,
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
@click.option("--jobs", type=click.IntRange(1), help="sweep: worker processes on this machine.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no notes on stderr.")
def bench_command(
    what: tuple[str, ...],
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
    jobs: int | None,
    quiet: bool,
) -> None:
    """Run write patterns on modelled drives, in virtual time.

    WHAT is a fio job file, the name of a pattern (--list), "compare A.json B.json", or "sweep
    FILE.toml".
    """
    kind = _kind(what, listing)
    _check_options(click.get_current_context(), kind, what)
    if kind == "--list":
        _list()
        return
    if kind == "compare":
        _compare(what[1:], output)
        return
    if kind == "sweep":
        _sweep(what[1:], dask, jobs, quiet)
        return
    chosen = _settings(settings)
    if clock == "real":
        _real(what, disk, chosen, seed, form, output, html, quiet)
        return
    title, drive, geometry, model, make = _prepare(
        what, profile, chosen, trace, trace_format, straight
    )
    runs: list[Result] = []
    cut = None
    for number in _seeds(seed):
        plan, feed = make()
        runs.append(_run(plan, geometry, model, number, feed, quiet))
        cut = feed.cut if feed is not None else None
    _give(runs, title, drive, form, output, html, quiet)
    if cut is not None:
        raise Failure(cut)


Result = Any  # tuple[Run, list[str], dict[str, str]]: a run, its notes, its global options
Make = Any  # Callable[[], tuple[Plan, Feed | None]], which click would evaluate


def _list() -> None:
    from zoned.bench.patterns import listing
    from zoned.drives import profiles
    from zoned.drives.models import drives, load_drive

    click.echo("Patterns:")
    for name, text, profile, parameters in listing():
        click.echo(f"  {name:<18} {text} ({profile})")
        click.echo(f"  {'':<18} {parameters}")
    click.echo("\nDrives (--profile):")
    for name in (*profiles.builtin_names(), *drives()):
        loaded, model = load_drive(name)
        click.echo(f"  {name:<18} {loaded.description}; model {model.kind}")


_MEANT = {
    "--list": (),
    "compare": ("output",),
    "sweep": ("dask", "jobs"),
}
"""Which options mean something there."""


def _kind(what: Sequence[str], listing: bool) -> str:
    if listing:
        return "--list"
    if what and what[0] in ("compare", "sweep") and not os.path.exists(what[0]):
        return what[0]
    return "run"


def _check_options(context: click.Context, kind: str, what: Sequence[str]) -> None:
    """An option that would be ignored is a mistake. Raises UsageError."""
    given = {
        name
        for name in context.params
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    } - {"what", "listing", "quiet"}
    if kind in _MEANT:
        names = {"settings": "set", "form": "format", "trace_format": "trace-format"}
        for name in sorted(given - set(_MEANT[kind])):
            raise click.UsageError(f"--{names.get(name, name)} means nothing for {kind}")
        return
    real = context.params["clock"] == "real"
    for wrong, text in (
        (given & {"dask", "jobs"}, "--dask and --jobs are for zonedctl bench sweep GRID.toml"),
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
    if len(what) + ("trace" in given) != 1:
        raise click.UsageError(
            "name one job file, one pattern (see --list) or one --trace"
            + (f", not {len(what)}" if len(what) > 1 else "")
        )


def _compare(names: Sequence[str], output: str | None) -> None:
    from zoned.bench import compare

    if len(names) != 2:
        raise click.UsageError("compare needs two results: zonedctl bench compare A.json B.json")
    text = compare.as_text(compare.load(names[0]), compare.load(names[1]))
    if output is not None:
        from zoned.bench import html

        html.write(output, text)
    else:
        click.echo(text, nl=False)


def _sweep(names: Sequence[str], dask: str | None, jobs: int | None, quiet: bool) -> None:
    from zoned.bench import sweep

    if len(names) != 1:
        raise click.UsageError("sweep needs one file: zonedctl bench sweep GRID.toml")
    grid = sweep.load(names[0])

    def told(done: int, total: int, text: str) -> None:
        if not quiet:
            click.echo(f"{done}/{total} {printable(text)}", err=True)

    failed = sweep.run(grid, workers=jobs, dask=dask, told=told)
    echo(f"{grid.folder}/points.csv and summary.csv: {counted(len(grid.points), 'point')}")
    if failed:
        raise Failure(f"{failed} of {counted(len(grid.points), 'point')} failed; see points.csv")


def _prepare(
    what: Sequence[str],
    profile: str | None,
    settings: dict[str, str],
    trace: str | None,
    trace_format: str | None,
    straight: bool,
) -> tuple[str, str, Geometry, Model, Make]:
    """Title, drive, disk, model, and what makes a fresh plan for each seed."""
    from zoned.bench import fiofile, patterns
    from zoned.drives.models import load_drive

    if trace is not None:
        return _prepare_trace(trace, trace_format, straight, profile, settings)
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
    plan: Plan, geometry: Geometry, model: Model, seed: int, trace: Feed | None, quiet: bool
) -> Result:
    from zoned.bench.runner import execute

    bar = Bar(plan, quiet)
    try:
        run = execute(plan, geometry, model, seed, progress=bar, trace=trace)
    finally:
        bar.done()
    notes = list(plan.notes)
    if trace is not None:
        notes += trace.told()
    return run, notes, plan.global_options


def _real(
    what: Sequence[str],
    disk: str | None,
    settings: dict[str, str],
    seed: str,
    form: str,
    output: str | None,
    html: str | None,
    quiet: bool,
) -> None:
    import zoned
    from zoned.bench import fiofile, patterns
    from zoned.bench.runner import execute_real

    if disk is None:
        raise click.UsageError("--clock real needs --disk IMAGE, whose zones it will write to")
    runs = []
    with zoned.open(disk) as device:
        for number in _seeds(seed):
            name = what[0]
            if os.path.exists(name) or name.endswith(".fio") or "/" in name:
                plan = fiofile.load(name, device.geometry, settings)
            else:
                plan = patterns.find(name).plan(device.geometry, settings)
            bar = Bar(plan, quiet, real=True)
            try:
                run = execute_real(plan, device, number, bar)
            finally:
                bar.done()
            runs.append((run, list(plan.notes), plan.global_options))
    _give(runs, os.path.basename(what[0]), os.path.basename(disk), form, output, html, quiet)


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

    run, notes, _ = runs[0]
    if form == "json":
        texts = [results.as_json(r, drive, n, options) for r, n, options in runs]
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
        pages.write(html, pages.page(run, title, drive, notes))
    if not quiet and form != "text":
        for note in notes:
            click.echo(f"note: {printable(note)}", err=True)
    failed = [job for r, *_ in runs for job in r.jobs if job.error]
    if failed:
        raise Failure(f"job {failed[0].job.name}: {failed[0].error}")
