"""One self-contained page about a run: inline SVG and CSS, light and dark, fit for a phone.

No script, no font and no picture from elsewhere, so the file can be mailed and kept. The pictures
are made in pictures.py and zonepictures.py; here is what stands around them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from zoned.bench import pictures, zonepictures
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
vertical-align:-1px}.error{color:var(--bad);font-weight:600}
@media (max-width:800px){svg text{font-size:11px}}
@media (max-width:520px){svg text{font-size:14px}main{padding:12px 10px 32px}
section{padding:12px}tr{display:grid;grid-template-columns:repeat(3,1fr);padding:6px 0;
border-bottom:1px solid var(--line)}tr:first-child{display:none}td{border:0;padding:1px 0;
text-align:left}td:first-child{grid-column:1/3;font-weight:600}td.error{grid-column:1/4;
white-space:normal}td[data-h]::before{content:attr(data-h);display:block;color:var(--soft);
font-size:.75rem}}
"""


def page(run: Run, title: str, profile: str, notes: Sequence[str] = ()) -> str:
    """The whole page as text."""
    parts = [
        _head(run, title, profile),
        _section("What limited it", f"<p>{escape(limiting(run))}</p>", "limit"),
        _results(run),
        _throughput(run),
        _latencies(run),
        _zones(run),
        _seeks(run),
        _parts(run),
        _amplification(run),
    ]
    if notes:
        items = "".join(f"<p>{escape(note)}</p>" for note in notes)
        parts.append(_section("Notes", items))
    body = "\n".join(part for part in parts if part)
    return printable_lines(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body><main>\n{body}\n"
        "</main></body></html>\n"
    )


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
        raise OSError(code, os.strerror(code), os.fspath(path)) from None


# ----------------------------------------------------------------------------------- sections


def _section(title: str, inner: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<section{attribute}><h2>{escape(title)}</h2>\n{inner}\n</section>"


def _head(run: Run, title: str, profile: str) -> str:
    kind = "real time" if run.real else f"virtual time, model {run.model.kind}"
    return (
        f"<h1>{escape(title)}</h1><p>{escape(profile)}: {escape(run.geometry.describe())}</p>"
        f'<p class="soft">{duration(run.now)} of {kind}, '
        f"{counted(run.commands, 'command', form=',')}, "
        f"seed {run.seed}</p>"
    )


def _results(run: Run) -> str:
    rows = []
    for members in groups(run):
        for direction, name in enumerate(DIRECTIONS):
            s = added(members, direction)
            if s.count:
                rows.append(_row(members, called(members[0].job, name), s))
        error = next((member.error for member in members if member.error), "")
        if error:
            rows.append(
                f'<tr><td colspan="8" class="error">{escape(members[0].job.name)}: '
                f"{escape(error)}</td></tr>"
            )
    head = "".join(f"<th>{name}</th>" for name in HEADS)
    table = f"<table><tr>{head}</tr>{''.join(rows)}</table>"
    ramp = max((job.job.ramp for job in run.jobs), default=0)
    if ramp:
        table += f'<p class="soft">The first {duration(ramp)} are warm-up and left out.</p>'
    return _section("Results", table)


def _row(members: Sequence[JobResult], name: str, s: Stats) -> str:
    count = f" x{len(members)}" if len(members) > 1 else ""
    cells = [
        escape(members[0].job.name) + count,
        name,
        number(s.iops),
        f"{s.rate / 2**20:,.1f}" if s.bytes else "",
        duration(s.mean),
        duration(s.percentile(50)),
        duration(s.percentile(99)),
        duration(s.maximum),
    ]
    marked = [
        f'<td data-h="{head}">{cell}</td>' if at > 1 else f"<td>{cell}</td>"
        for at, (head, cell) in enumerate(zip(HEADS, cells, strict=True))
    ]
    return f"<tr>{''.join(marked)}</tr>"


def _throughput(run: Run) -> str:
    picture, unit = pictures.throughput(run)
    return _section(f"Throughput over time, {unit}", picture) if picture else ""


def _latencies(run: Run) -> str:
    shown = []
    for members in groups(run):
        for direction, name in enumerate(DIRECTIONS):
            stats = added(members, direction)
            if stats.count:
                shown.append(
                    (f"{members[0].job.name}, {called(members[0].job, name)}", name, stats)
                )
    out = []
    for title, name, stats in shown[:SHOWN]:
        if stats.minimum == stats.maximum:
            same = f"{counted(stats.count, 'command', form=',')}, each {duration(stats.minimum)}"
            out.append(f'<p>{escape(title)} <span class="soft">{same}</span></p>')
            continue
        marks = ", ".join(f"p{p:g} {duration(stats.percentile(p))}" for p in (50, 99, 99.9))
        out.append(f'<p>{escape(title)} <span class="soft">{marks}</span></p>')
        out.append(pictures.histogram(stats, name))
    if not out:
        return ""
    if len(shown) > SHOWN:
        out.append(f'<p class="soft">and {len(shown) - SHOWN} more in the table above</p>')
    out.append(
        '<p class="soft">Commands by latency, on a logarithmic axis; the dashed lines are p50, '
        "p99 and p99.9.</p>"
    )
    return _section("Latency", "".join(out))


def _zones(run: Run) -> str:
    out = ""
    picture = zonepictures.zones_over_time(run)
    if picture:
        text = (
            "From top to bottom zones, from left to right time; the fuller a zone, the stronger "
            "its colour."
        )
        if run.zones_per_bin > 1:
            text += f" Each row stands for {run.zones_per_bin} zones or more."
        out += _section("Zones over time: states and write pointers", picture + _soft(text))
    picture = zonepictures.writes_over_time(run)
    if picture:
        text = "From top to bottom zones, from left to right time; the stronger, the more."
        out += _section("Written over time", picture + _soft(text))
    picture = zonepictures.zones_at_end(run)
    if picture:
        counts = ", ".join(f"{n:,} {name}" for name, n in conditions(run).items())
        out += _section("Zones at the end", picture + _soft(f"On the whole disk: {counts}."))
    return out


def _soft(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'


def _seeks(run: Run) -> str:
    picture = pictures.seeks(run)
    if not picture:
        return ""
    text = (
        f"The head was moved {counted(run.moved, 'time', form=',')}; by the distance in cylinders,"
        " from each power of two to the next."
    )
    return _section("Seek distances", picture + _soft(text))


def _parts(run: Run) -> str:
    picture = pictures.parts(run)
    text = "As parts of the run; several may go on at once."
    return _section("Where the drive's time went", picture + _soft(text)) if picture else ""


def _amplification(run: Run) -> str:
    user = sum(job.log_user for job in run.jobs)
    if user:
        moved = sum(job.log_moved for job in run.jobs)
        cleaned = sum(job.log_segments for job in run.jobs)
        text = (
            f"<p><b>{(user + moved) / user:.3f}</b>: {counted(user, 'block', form=',')} written, "
            f"{moved:,} moved, {counted(cleaned, 'zone', form=',')} cleaned.</p>"
        )
    elif run.model.kind == "drive-managed":
        done = run.drive_managed
        full = f"full after {done['full_at'] / 1e9:,.1f} s" if done["full_at"] else "never full"
        sent = max(run.total(1).bytes, 1)
        text = (
            f"<p><b>{done['media_bytes'] / sent:.2f}</b>: bytes written to the platter for each "
            f"byte sent. {counted(done['into_cache'], 'write', form=',')} went into the "
            f"media cache, "
            f"{done['past_cache']:,} past it; it was {full}. "
            f"{counted(done['bands_cleaned'], 'band', form=',')} "
            f"{were(done['bands_cleaned'])} cleaned, "
            f"{format_size(done['cleaning_bytes'])} of traffic.</p>"
        )
    elif run.total(1).bytes:
        text = "<p><b>1</b>: nothing had to be moved, the drive wrote what it was sent.</p>"
    else:
        return ""
    return _section("Write amplification", text)
