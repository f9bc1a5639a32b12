"""What ``zonedctl bench`` does beside running jobs: list, compare, sweep, fit.

Results go to stdout or a file. Everything real lies in zoned.bench.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import click

from zoned.cli.app import Failure, echo
from zoned.plaintext import printable
from zoned.units import counted


def give(text: str, output: str | None) -> None:
    """To stdout, or whole into a file."""
    if output is None:
        click.echo(text, nl=False)
        return
    from zoned.bench import html

    html.write(output, text)


def listing(form: str, output: str | None) -> None:
    """Named patterns and drives."""
    from zoned.bench import patterns
    from zoned.drives import profiles
    from zoned.drives.models import drives, load_drive

    loaded = [load_drive(name) for name in (*profiles.builtin_names(), *drives())]
    if form == "csv":
        raise click.UsageError("--list is text or json")
    if form == "json":
        data = {
            "patterns": [
                {
                    "name": one.name,
                    "text": one.text,
                    "profile": one.profile,
                    "parameters": dict(one.defaults),
                }
                for one in patterns.PATTERNS.values()
            ],
            "drives": [
                {
                    "name": drive.name,
                    "text": drive.description,
                    "model": model.kind,
                    "size": drive.geometry().size,
                    "zone_size": drive.geometry().zone_size,
                }
                for drive, model in loaded
            ],
        }
        give(json.dumps(data, indent=2) + "\n", output)
        return
    lines = ["Patterns:"]
    for name, text, profile, parameters in patterns.listing():
        lines += [f"  {name:<18} {text} ({profile})", f"  {'':<18} {parameters}"]
    lines += ["", "Drives (--profile):"]
    lines += [f"  {one.name:<18} {one.description}; model {model.kind}" for one, model in loaded]
    give("\n".join(lines) + "\n", output)


def compared(
    names: Sequence[str], form: str, output: str | None, page: str | None, over: float | None
) -> None:
    """Saved results; ``over``: the exit status is 1 when something is worse by more than that."""
    from zoned.bench import compare, html

    if len(names) < 2:
        raise click.UsageError(
            "compare needs two results or more: zonedctl bench compare A.json B.json ..."
        )
    if form == "csv":
        raise click.UsageError("compare is text or json")
    data = [compare.load(name) for name in names]
    found = compare.compared(data, names)
    give(compare.as_json(found) if form == "json" else compare.as_text(*data, names=names), output)
    if page is not None:
        html.write(page, compare.as_page(found, over))
    worse = found.worst(over) if over is not None else []
    if worse:
        rest = f", and {counted(len(worse) - 1, 'figure')} more" if len(worse) > 1 else ""
        raise Failure(
            f"{printable(worse[0])}{rest}; --fail-over {100 * (over or 0):g}% was asked for"
        )


def swept(
    names: Sequence[str], dask: str | None, jobs: int | None, page: str | None, quiet: bool
) -> None:
    """The points of a grid that are not there yet."""
    from zoned.bench import html, sweep, sweeppage

    if len(names) != 1:
        raise click.UsageError("sweep needs one file: zonedctl bench sweep GRID.toml")
    grid = sweep.load(names[0])

    def told(done: int, total: int, text: str) -> None:
        if not quiet:
            click.echo(f"{done}/{total} {printable(text)}", err=True)

    failed = sweep.run(grid, workers=jobs, dask=dask, told=told)
    if page is not None:
        html.write(page, sweeppage.page(grid))
    echo(f"{grid.folder}/points.csv and summary.csv: {counted(len(grid.points), 'point')}")
    if failed:
        raise Failure(f"{failed} of {counted(len(grid.points), 'point')} failed; see points.csv")


def workers(text: str | None) -> int | None:
    """Of a sweep. Raises UsageError."""
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text[:6]) <= 4096:
        raise click.UsageError(f"--jobs {text!r}: sweep takes a number of worker processes from 1")
    return int(text)


def fitted(
    names: Sequence[str],
    folder: str | None,
    profile: str | None,
    form: str,
    output: str | None,
    quiet: bool,
) -> None:
    """A drive's profile from fio's results; with ``folder`` the jobs that give such results."""
    from zoned.bench import calibrate, fitresults, html

    if folder is not None:
        if names or output is not None:
            raise click.UsageError("fit --jobs writes job files: results are fitted without it")
        _fit_jobs(folder, profile)
        return
    if not names:
        raise click.UsageError(
            "fit needs results: zonedctl bench fit RESULT.json ... -o my-drive.toml; "
            "--jobs DIR writes the jobs for them"
        )
    if form == "csv":
        raise click.UsageError("fit is text or json")
    experiments = fitresults.read(names)
    loaded, model = calibrate.begin_with(experiments, profile)

    def told(text: str) -> None:
        if not quiet:
            click.echo(printable(text), err=True)

    found = calibrate.fit(experiments, loaded, model, told)
    if output is not None:
        html.write(output, calibrate.as_toml(found, names))
    click.echo(calibrate.as_json(found) if form == "json" else calibrate.as_text(found), nl=False)


def _fit_jobs(folder: str, profile: str | None) -> None:
    from zoned.bench import fitjobs, html
    from zoned.drives.models import load_drive

    drives = [profile] if profile is not None else list(fitjobs.DRIVES.values())
    files: dict[str, str] = {}
    for name in drives:
        loaded, model = load_drive(name)
        if model.kind not in fitjobs.DRIVES:
            raise Failure(f"the model {model.kind} of {loaded.name} has nothing to be measured")
        files |= fitjobs.job_files(model.kind, loaded.geometry())
    option = f"--profile {profile} " if profile is not None else ""
    what = "".join(f"    {file:<16} {fitjobs.FOR[file]}\n" for file in files)
    files["README"] = fitjobs.README.format(files=what, profile=option)
    os.makedirs(folder, exist_ok=True)
    for name, text in files.items():
        html.write(os.path.join(folder, name), text)
    echo(f"{folder}: {', '.join(files)}")
