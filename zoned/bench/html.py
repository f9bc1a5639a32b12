"""One self-contained page about a run: inline SVG and CSS, light and dark, fit for a phone.

No script, no font and no picture from elsewhere, so the file can be mailed and kept. The pictures
are made in pictures.py and zonepictures.py, the page is page.html, a template of Jinja2 that
escapes all but pictures; here is what stands in it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import zoned
from zoned.bench import pictures, zonepictures
from zoned.bench.fiofile import Plan
from zoned.bench.jobs import DIRECTIONS
from zoned.bench.limits import limiting
from zoned.bench.results import added, conditions, groups
from zoned.bench.simulation import JobResult, Run, Stats
from zoned.bench.table import called, duration, number
from zoned.plaintext import printable_lines
from zoned.units import counted, format_size, were
from zoned.wholefile import replacing

SHOWN = 8  # jobs with a latency picture
HEADS = ("job", "", "IOPS", "MiB/s", "mean", "p50", "p99", "max")

CSS = """
:root{--bg:#fbfaf7;--card:#fff;--ink:#20242b;--soft:#5b6573;--line:#dfe2e7;--read:#2f6db5;
--write:#b5532f;--trim:#5f3dc4;--full:#b5532f;--open:#2f8a5b;--closed:#c39223;--empty:#e9ebef;
--conv:#9db4cf;--bad:#6d3fa0;--accent:#2f6db5}
@media (prefers-color-scheme:dark){:root{--bg:#15181d;--card:#1d2128;--ink:#e6e8ec;--soft:#a3adba;
--line:#343b46;--read:#6ea8e8;--write:#e08a62;--trim:#b9a3ff;--full:#e08a62;--open:#5cc08d;
--closed:#e0bb5c;--empty:#2a303a;--conv:#4d6686;--bad:#a98ad6;--accent:#6ea8e8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:800px;margin:0 auto;padding:20px 16px 48px}
h1{font-size:1.4rem;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:0 0 8px}
p{margin:4px 0;overflow-wrap:anywhere}.soft{color:var(--soft)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;
margin:14px 0}.limit{border-left:4px solid var(--accent)}.limit p{font-size:1.05rem}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font-size:8.5px;font-family:inherit}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:4px 8px;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600;font-size:.85rem}
.key{display:flex;flex-wrap:wrap;gap:4px 14px;margin:6px 0 0;font-size:.85rem;color:var(--soft)}
.key i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:5px;
vertical-align:-1px}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:4px 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
pre{margin:10px 0 4px;padding:10px 12px;background:var(--bg);border-radius:8px;overflow-x:auto;
font-size:.85rem;line-height:1.4}summary{cursor:pointer;color:var(--soft)}
.worse{color:var(--write);font-weight:600}.error{color:var(--bad);font-weight:600}
@media (max-width:800px){svg text{font-size:11px}}
@media (max-width:520px){svg text{font-size:14px}main{padding:12px 10px 32px}
section{padding:12px}tr{display:grid;grid-template-columns:repeat(3,1fr);padding:6px 0;
border-bottom:1px solid var(--line)}tr:first-child{display:none}td{border:0;padding:1px 0;
text-align:left}td:first-child{grid-column:1/3;font-weight:600}td.error{grid-column:1/4;
white-space:normal}td[data-h]::before{content:attr(data-h);display:block;color:var(--soft);
font-size:.75rem}}
"""


MOST_SHOWN = 64 << 10
"""Characters of a job file that a page shows."""


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def rendered(template: str, title: str, **values: Any) -> str:
    """A page of ours as text; what comes from others is escaped, and does nothing to a terminal."""
    css = Markup(CSS)  # noqa: S704 - ours
    text = _templates().get_template(template).render(title=title, css=css, **values)
    return printable_lines(text)


def page(
    run: Run, title: str, profile: str, notes: Sequence[str] = (), plan: Plan | None = None
) -> str:
    """The whole page as text. ``plan``: what was run, which the page then tells, too."""
    kind = "real time" if run.real else f"virtual time, model {run.model.kind}"
    ramp = max((job.job.ramp for job in run.jobs), default=0)
    throughput = pictures.throughput(run)
    shown = list(_latencies(run))
    return rendered(
        "page.html",
        title,
        profile=profile,
        disk=run.geometry.describe(),
        summary=(
            f"{duration(run.now)} of {kind}, {counted(run.commands, 'command', form=',')}, "
            f"seed {run.seed}"
        ),
        limit=limiting(run),
        heads=HEADS,
        rows=list(_rows(run)),
        ramp=duration(ramp) if ramp else "",
        throughput=(drawn(throughput[0]), throughput[1]) if throughput[0] else None,
        latencies=[_latency(*item) for item in shown[:SHOWN]],
        more=max(len(shown) - SHOWN, 0),
        pictures=[
            {"title": name, "picture": drawn(picture), "text": text}
            for name, picture, text in _pictures(run)
            if picture
        ],
        amplification=_amplification(run),
        notes=notes,
        facts=_facts(run, profile, plan) if plan is not None else [],
        text=_cut(plan.text) if plan is not None else "",
        parameters=[
            (f"{table}.{name}", str(value))
            for table, values in run.model.tables.items()
            for name, value in values.items()
        ],
    )


def _facts(run: Run, profile: str, plan: Plan) -> list[tuple[str, str]]:
    """What somebody else needs to run it again, but for what the job file itself says."""
    job = next((job for job in plan.jobs if job.trace), None)
    said = plan.settings or {}
    return [
        (name, fact)
        for name, fact in (
            ("version", f"zoned {zoned.__version__}"),
            ("run", f"trace {job.trace} ({job.trace_format})" if job else plan.origin),
            ("settings", ", ".join(f"{key}={value}" for key, value in said.items())),
            ("for all jobs", ", ".join(f"{k}={v}" for k, v in plan.global_options.items())),
            ("seed", str(run.seed)),
            ("profile", profile),
            ("disk", run.geometry.describe()),
            (
                "model",
                "none: real time"
                if run.real
                else f"{run.model.kind}, host {run.model.host_us:g} us",
            ),
        )
        if fact
    ]


def _cut(text: str) -> str:
    if len(text) <= MOST_SHOWN:
        return text
    more = counted(len(text) - MOST_SHOWN, "character", form=",")
    return f"{text[:MOST_SHOWN]}\n... and {more} more"


def drawn(picture: str) -> Markup:
    """A picture of ours, whose texts were escaped where it was drawn."""
    return Markup(picture)  # noqa: S704


def write(path: str | os.PathLike[str], text: str, *, follow: bool = True) -> None:
    """Write a file whole or not at all; what is no regular file (a pipe, /dev/stdout) directly.

    A file that was there keeps its content until the new one is safe, and its permissions. With
    ``follow`` False a symbolic link or a pipe of that name is replaced, and what it leads to is
    left alone. Raises OSError naming the file, on a full disk too.
    """
    try:
        if follow and os.path.exists(path) and not os.path.isfile(path):
            Path(path).write_text(text, encoding="utf-8")
            return
        with replacing(path, follow=follow) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        code = error.errno or errno.EIO
        raise OSError(code, error.strerror or os.strerror(code), os.fspath(path)) from None


# ----------------------------------------------------------------------------------- sections


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    """Of the table of results: cells under the heads, or what ended a job."""
    for members in groups(run):
        name = members[0].job.name
        for direction, what in enumerate(DIRECTIONS):
            s = added(members, direction)
            if s.count:
                cells = _cells(members, called(members[0].job, what), s)
                yield {"error": "", "cells": list(zip(HEADS, cells, strict=True))}
        error = next((member.error for member in members if member.error), "")
        if error:
            yield {"error": error, "name": name}


def _cells(members: Sequence[JobResult], name: str, s: Stats) -> list[str]:
    count = f" x{len(members)}" if len(members) > 1 else ""
    return [
        members[0].job.name + count,
        name,
        number(s.iops),
        f"{s.rate / 2**20:,.1f}" if s.bytes else "",
        duration(s.mean),
        duration(s.percentile(50)),
        duration(s.percentile(99)),
        duration(s.maximum),
    ]


def _latencies(run: Run) -> Iterator[tuple[str, str, Stats]]:
    """A title, a direction and what was measured, for each job that has something."""
    for members in groups(run):
        for direction, name in enumerate(DIRECTIONS):
            stats = added(members, direction)
            if stats.count:
                yield f"{members[0].job.name}, {called(members[0].job, name)}", name, stats


def _latency(title: str, name: str, stats: Stats) -> dict[str, Any]:
    if stats.minimum == stats.maximum:
        same = f"{counted(stats.count, 'command', form=',')}, each {duration(stats.minimum)}"
        return {"title": title, "text": same, "picture": ""}
    marks = ", ".join(f"p{p:g} {duration(stats.percentile(p))}" for p in (50, 99, 99.9))
    return {"title": title, "text": marks, "picture": drawn(pictures.histogram(stats, name))}


def _pictures(run: Run) -> Iterator[tuple[str, str, str]]:
    """Title, picture (none: ""), and a text below it."""
    text = (
        "From top to bottom zones, from left to right time; the fuller a zone, the stronger "
        "its colour."
    )
    if run.zones_per_bin > 1:
        text += f" Each row stands for {run.zones_per_bin} zones or more."
    over_time = zonepictures.zones_over_time(run)
    yield "Zones over time: states and write pointers", over_time, text
    text = "From top to bottom zones, from left to right time; the stronger, the more."
    yield "Written over time", zonepictures.writes_over_time(run), text
    counts = ", ".join(f"{n:,} {name}" for name, n in conditions(run).items())
    yield "Zones at the end", zonepictures.zones_at_end(run), f"On the whole disk: {counts}."
    text = (
        f"The head was moved {counted(run.moved, 'time', form=',')}; by the distance in cylinders,"
        " from each power of two to the next."
    )
    yield "Seek distances", pictures.seeks(run), text
    text = "As parts of the run; several may go on at once."
    yield "Where the drive's time went", pictures.parts(run), text


def _amplification(run: Run) -> tuple[str, str] | None:
    """The number, and what it is made of."""
    user = sum(job.log_user for job in run.jobs)
    if user:
        moved = sum(job.log_moved for job in run.jobs)
        cleaned = sum(job.log_segments for job in run.jobs)
        return f"{(user + moved) / user:.3f}", (
            f"{counted(user, 'block', form=',')} written, "
            f"{moved:,} moved, {counted(cleaned, 'zone', form=',')} cleaned."
        )
    if run.model.kind == "drive-managed":
        done = run.drive_managed
        full = f"full after {done['full_at'] / 1e9:,.1f} s" if done["full_at"] else "never full"
        sent = max(run.total(1).bytes, 1)
        return f"{done['media_bytes'] / sent:.2f}", (
            f"bytes written to the platter for each "
            f"byte sent. {counted(done['into_cache'], 'write', form=',')} went into the "
            f"media cache, "
            f"{done['past_cache']:,} past it; it was {full}. "
            f"{counted(done['bands_cleaned'], 'band', form=',')} "
            f"{were(done['bands_cleaned'])} cleaned, "
            f"{format_size(done['cleaning_bytes'])} of traffic."
        )
    if run.total(1).bytes:
        return "1", "nothing had to be moved, the drive wrote what it was sent."
    return None
