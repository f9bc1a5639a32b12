"""One self-contained page about a run: inline SVG and CSS, light and dark, fit for a phone.

No script, no font and no picture from elsewhere, so the file can be mailed and kept. The pictures:
throughput over time, latency of each job, zones over time, zones at the end, seek distances, and
what the drive's time went to.
"""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from zoned.bench.jobs import DIRECTIONS
from zoned.bench.limits import limiting
from zoned.bench.results import added, conditions, groups
from zoned.bench.simulation import JobResult, Run, Stats
from zoned.bench.table import duration, number
from zoned.report import ROW
from zoned.units import format_size
from zoned.zone import ZoneCondition

WIDTH = 720
HEIGHT = 220
LEFT, BOTTOM, TOP = 56, 26, 22
ROWS = 96  # of time in the picture of zones
BINS = 64  # of zones in it
SHOWN = 8  # jobs with a latency picture

CSS = """
:root{--bg:#fbfaf7;--card:#fff;--ink:#20242b;--soft:#667080;--line:#dfe2e7;--read:#2f6db5;
--write:#b5532f;--trim:#7a8a2d;--w1:#f3dccf;--w2:#e5b298;--w3:#d08560;--w4:#a8512a;--full:#b5532f;
--open:#2f8a5b;--closed:#d0a23a;--empty:#e9ebef;--conv:#9db4cf;--bad:#6d3fa0;--accent:#2f6db5}
@media (prefers-color-scheme:dark){:root{--bg:#15181d;--card:#1d2128;--ink:#e6e8ec;--soft:#98a2b0;
--line:#343b46;--read:#6ea8e8;--write:#e08a62;--trim:#b3c25e;--w1:#3a2a22;--w2:#6d4530;
--w3:#a5643f;--w4:#e59a6f;--full:#e08a62;--open:#5cc08d;--closed:#d9b45a;--empty:#2a303a;
--conv:#4d6686;--bad:#a98ad6;--accent:#6ea8e8}}*{box-sizing:border-box}body{margin:0;
background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
sans-serif}main{max-width:800px;margin:0 auto;padding:20px 16px 48px}h1{font-size:1.4rem;
margin:0 0 4px}h2{font-size:1.05rem;margin:0 0 8px}p{margin:4px 0}.soft{color:var(--soft)}section{
background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;
margin:14px 0}.limit{border-left:4px solid var(--accent)}.limit p{font-size:1.05rem}svg{
display:block;width:100%;height:auto}svg text{fill:var(--soft);font-size:12px;font-family:inherit}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;
font-variant-numeric:tabular-nums}th,td{text-align:right;padding:4px 8px;
border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{
text-align:left}th{color:var(--soft);font-weight:600;font-size:.85rem}.key{display:flex;
flex-wrap:wrap;gap:4px 14px;margin:6px 0 0;font-size:.85rem;color:var(--soft)}.key i{
display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:5px;
vertical-align:-1px}.error{color:var(--bad);font-weight:600}@media (max-width:520px){svg text{
font-size:20px}main{padding:12px 10px 32px}section{padding:12px}}
"""


def page(run: Run, title: str, profile: str, notes: Sequence[str] = ()) -> str:
    """The whole page as text."""
    parts = [
        _head(run, title, profile),
        _section("What limited it", f"<p>{escape(limiting(run))}</p>", "limit"),
        _results(run),
        _throughput(run),
        _latencies(run),
        _zones_over_time(run),
        _zones_at_end(run),
        _seeks(run),
        _parts(run),
        _cleaning(run),
    ]
    if notes:
        items = "".join(f"<p>{escape(note)}</p>" for note in notes)
        parts.append(_section("Notes", items))
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body><main>\n{body}\n"
        "</main></body></html>\n"
    )


def write(path: str | os.PathLike[str], text: str) -> None:
    """Write a file whole or not at all. Raises OSError naming the file, on a full disk too."""
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent or ".")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except OSError as error:
        code = error.errno or errno.EIO
        raise OSError(code, os.strerror(code), os.fspath(path)) from None
    finally:
        if os.path.exists(name):
            os.unlink(name)


# ------------------------------------------------------------------------------------- pieces


def _section(title: str, inner: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<section{attribute}><h2>{escape(title)}</h2>\n{inner}\n</section>"


def _svg(inner: str, label: str, height: int = HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{inner}</svg>'
    )


def _key(items: Iterable[tuple[str, str]]) -> str:
    inner = "".join(
        f'<span><i style="background:var(--{color})"></i>{escape(text)}</span>'
        for color, text in items
    )
    return f'<div class="key">{inner}</div>'


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _nice(top: float) -> float:
    """A round number at or above."""
    if top <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(top))
    return float(
        next(power * m for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * m >= top * 0.999)
    )


def _grid(top: float, unit: str, height: int = HEIGHT) -> str:
    """Horizontal lines with their values; ``top`` is the axis' end."""
    out = []
    for step in range(5):
        y = height - BOTTOM - (height - BOTTOM - TOP) * step / 4
        label = number(top * step / 4) if top >= 10 else f"{top * step / 4:.3g}"
        out.append(
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{_n(y)}" y2="{_n(y)}" stroke="var(--line)"/>'
            f'<text x="{LEFT - 6}" y="{_n(y + 4)}" text-anchor="end">{label}</text>'
        )
    out.append(f'<text x="0" y="{TOP - 10}">{escape(unit)}</text>')
    return "".join(out)


def _time_axis(run: Run, height: int) -> str:
    out = []
    for step in range(5):
        x = LEFT + (WIDTH - LEFT) * step / 4
        anchor = "start" if step == 0 else "end" if step == 4 else "middle"
        out.append(
            f'<text x="{_n(x)}" y="{height - 8}" text-anchor="{anchor}">'
            f"{duration(run.now * step / 4) if step else '0'}</text>"
        )
    return "".join(out)


# ----------------------------------------------------------------------------------- sections


def _head(run: Run, title: str, profile: str) -> str:
    kind = "real time" if run.real else f"virtual time, model {run.model.kind}"
    return (
        f"<h1>{escape(title)}</h1><p>{escape(profile)}: {escape(run.geometry.describe())}</p>"
        f'<p class="soft">{duration(run.now)} of {kind}, {run.commands:,} commands, '
        f"seed {run.seed}</p>"
    )


def _results(run: Run) -> str:
    rows = []
    for members in groups(run):
        for direction, name in enumerate(DIRECTIONS):
            s = added(members, direction)
            if s.count:
                rows.append(_row(members, name, s))
        error = next((member.error for member in members if member.error), "")
        if error:
            rows.append(
                f'<tr><td colspan="8" class="error">{escape(members[0].job.name)}: '
                f"{escape(error)}</td></tr>"
            )
    head = "".join(
        f"<th>{name}</th>" for name in ("job", "", "IOPS", "MiB/s", "mean", "p50", "p99", "max")
    )
    table = f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
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
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _throughput(run: Run) -> str:
    if not run.series or not run.now:
        return ""
    steps = max(1, math.ceil(run.now / run.step))
    top = 0.0
    lines: list[tuple[str, list[float]]] = []
    for direction, name in enumerate(DIRECTIONS):
        values = []
        for at, sample in enumerate(run.series[:steps]):
            span = min(run.step, run.now - at * run.step) or run.step
            values.append(sample.bytes[direction] / 2**20 * 1e9 / span)
        if any(values):
            lines.append((name, values))
            # The last step is short and jumps: it does not set the scale.
            top = max(top, *(values[:-1] or values))
    if not lines:
        return ""
    top = _nice(top)
    inner = _grid(top, "MiB/s") + _time_axis(run, HEIGHT)
    for name, values in lines:
        points = []
        for at, value in enumerate(values):
            x = LEFT + (WIDTH - LEFT) * min(1.0, (at + 0.5) * run.step / run.now)
            y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * min(value / top, 1.0)
            points.append(f"{_n(x)},{_n(y)}")
        if len(points) == 1:
            points.append(f"{WIDTH},{points[0].split(',')[1]}")
        inner += (
            f'<polyline points="{" ".join(points)}" fill="none" stroke="var(--{name})" '
            'stroke-width="1.8" stroke-linejoin="round"/>'
        )
    picture = _svg(inner, "throughput over time")
    return _section("Throughput over time", picture + _key((n, n) for n, _ in lines))


def _latencies(run: Run) -> str:
    from zoned._lib import lib

    shown = []
    for members in groups(run):
        for direction, name in enumerate(DIRECTIONS):
            stats = added(members, direction)
            if stats.count:
                shown.append((f"{members[0].job.name}, {name}", name, stats))
    out = []
    for title, name, stats in shown[:SHOWN]:
        low = math.floor(math.log2(max(stats.minimum, 1)) * 4) / 4
        high = math.ceil(math.log2(max(stats.maximum, 2)) * 4 + 1) / 4
        columns = max(8, min(120, round((high - low) * 8)))
        counts = [0] * columns
        for index, amount in stats.buckets:
            value = (int(lib.zd_sim_bucket(index)) + int(lib.zd_sim_bucket(index + 1))) / 2
            at = (math.log2(max(value, 1)) - low) / (high - low) * columns
            counts[min(columns - 1, max(0, int(at)))] += amount
        out.append(f"<p>{escape(title)}</p>" + _histogram(counts, low, high, stats, name))
    if len(shown) > SHOWN:
        out.append(f'<p class="soft">and {len(shown) - SHOWN} more in the table above</p>')
    return _section("Latency", "".join(out)) if out else ""


def _histogram(counts: Sequence[int], low: float, high: float, stats: Stats, color: str) -> str:
    height = 150
    top = max(counts)
    span, tall = WIDTH - LEFT, height - BOTTOM - TOP
    bars = []
    for at, amount in enumerate(counts):
        if amount:
            size = max(1.0, tall * amount / top)
            bars.append(
                f"M{_n(LEFT + span * at / len(counts))},{height - BOTTOM}v-{_n(size)}"
                f"h{_n(span / len(counts) * 0.9)}v{_n(size)}z"
            )
    inner = f'<path d="{"".join(bars)}" fill="var(--{color})"/>'
    last = -math.inf
    for value in _round_values(2.0**low, 2.0**high):
        x = LEFT + span * (math.log2(value) - low) / (high - low)
        if x - last > 96 and LEFT <= x < WIDTH - 40:
            inner += (
                f'<text x="{_n(x)}" y="{height - 8}" text-anchor="middle">{duration(value)}</text>'
            )
            last = x
    room = -math.inf
    for percent in (50, 99, 99.9):
        value = stats.percentile(percent)
        x = LEFT + span * (math.log2(max(value, 1)) - low) / (high - low)
        inner += (
            f'<line x1="{_n(x)}" x2="{_n(x)}" y1="{TOP}" y2="{height - BOTTOM}" '
            'stroke="var(--soft)" stroke-dasharray="3 3"/>'
        )
        if x - room > 60:
            anchor = "end" if x > WIDTH - 60 else "start"
            offset = -4 if anchor == "end" else 4
            inner += (
                f'<text x="{_n(x + offset)}" y="{TOP - 4}" text-anchor="{anchor}">'
                f"p{percent:g}</text>"
            )
            room = x
    inner += f'<text x="{LEFT - 6}" y="{TOP + 12}" text-anchor="end">{number(top)}</text>'
    return _svg(inner, "latency histogram", height)


def _round_values(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within a range; powers of ten alone where it is wide."""
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [10.0**p * s for p in powers for s in steps if low <= 10.0**p * s <= high]


def _zones_over_time(run: Run) -> str:
    """Written bytes by zone and time: darker is more; resets as marks below."""
    if not any(map(any, run.picture)) or not run.now:
        return ""
    steps = max(1, math.ceil(run.now / run.step))
    columns, rows = min(ROWS, steps), min(BINS, run.bins)
    cells = [[0] * rows for _ in range(columns)]
    for at, row in enumerate(run.picture[:steps]):
        x = at * columns // steps
        for bin_at, written in enumerate(row):
            if written:
                cells[x][bin_at * rows // run.bins] += written
    most = max(map(max, cells))
    height = 260
    wide, tall = (WIDTH - LEFT) / columns, (height - BOTTOM - TOP - 14) / rows
    paths: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    for x, column in enumerate(cells):
        for y, written in enumerate(column):
            if written:
                level = max(1, math.ceil(4 * (written / most) ** 0.5))
                corner = f"{_n(LEFT + x * wide)},{_n(TOP + y * tall)}"
                paths[level].append(f"M{corner}h{_n(wide)}v{_n(tall)}h-{_n(wide)}z")
    inner = "".join(
        f'<path d="{"".join(path)}" fill="var(--w{level})"/>'
        for level, path in paths.items()
        if path
    )
    resets = [0] * columns
    for at, sample in enumerate(run.series[:steps]):
        resets[at * columns // steps] += sample.resets
    base = height - BOTTOM - 12
    inner += "".join(
        f'<rect x="{_n(LEFT + x * wide)}" y="{base}" width="{_n(max(wide - 1, 1.5))}" height="9" '
        'fill="var(--trim)"/>'
        for x, count in enumerate(resets)
        if count
    )
    last = run.first_zone + run.bins * run.zones_per_bin - 1
    last = min(last, run.geometry.nr_zones - 1)
    inner += (
        f'<text x="{LEFT - 6}" y="{TOP + 12}" text-anchor="end">{run.first_zone}</text>'
        f'<text x="{LEFT - 6}" y="{base - 4}" text-anchor="end">{last}</text>'
        + _time_axis(run, height)
    )
    key = _key((("w1", "little written"), ("w4", "much"), ("trim", "zones reset")))
    return _section("Zones over time", _svg(inner, "zones over time", height) + key)


_STATES = (
    ("full", "full", (ZoneCondition.FULL,)),
    ("open", "open", (ZoneCondition.IMPLICIT_OPEN, ZoneCondition.EXPLICIT_OPEN)),
    ("closed", "closed", (ZoneCondition.CLOSED,)),
    ("empty", "empty", (ZoneCondition.EMPTY,)),
    ("conv", "conventional", (ZoneCondition.NOT_WP,)),
    ("bad", "read-only, offline", (ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE)),
)


def _zones_at_end(run: Run) -> str:
    """A column for each bin of zones: which conditions, and how far the write pointers are."""
    first = run.first_zone
    total = min(run.bins * run.zones_per_bin, run.geometry.nr_zones - first)
    columns = min(total, 120)
    found: list[dict[int, int]] = [{} for _ in range(columns)]
    written = [0.0] * columns
    members = [0] * columns
    for index, row in enumerate(ROW.iter_unpack(run.zones)):
        at = (index - first) * columns // total
        if not 0 <= at < columns or index < first:
            continue
        found[at][row[7]] = found[at].get(row[7], 0) + 1
        members[at] += 1
        if row[7] != ZoneCondition.NOT_WP:
            full = row[7] == ZoneCondition.FULL
            written[at] += 1.0 if full else (row[3] - row[0]) / row[2] if row[3] < 2**63 else 0.0
    height, wide = 120, (WIDTH - LEFT) / columns
    tall = height - BOTTOM - TOP
    paths: dict[str, list[str]] = {}
    marks = []
    for at, states in enumerate(found):
        y = float(TOP)
        for color, _, values in _STATES:
            share = sum(states.get(int(value), 0) for value in values) / max(members[at], 1)
            if share:
                paths.setdefault(color, []).append(
                    f"M{_n(LEFT + at * wide)},{_n(y)}h{_n(wide)}v{_n(share * tall)}h-{_n(wide)}z"
                )
                y += share * tall
        if members[at]:
            level = TOP + tall * (1 - written[at] / members[at])
            marks.append(f"{_n(LEFT + (at + 0.5) * wide)},{_n(level)}")
    inner = "".join(
        f'<path d="{"".join(path)}" fill="var(--{color})"/>' for color, path in paths.items()
    )
    inner += (
        f'<polyline points="{" ".join(marks)}" fill="none" stroke="var(--ink)" stroke-width="1.5"/>'
        f'<text x="{LEFT}" y="{height - 8}">zone {first}</text>'
        f'<text x="{WIDTH}" y="{height - 8}" text-anchor="end">{first + total - 1}</text>'
    )
    counts = ", ".join(f"{n:,} {name}" for name, n in conditions(run).items())
    key = _key(
        [(color, text) for color, text, _ in _STATES if color in paths]
        + [("ink", "line: written, on average")]
    )
    return _section(
        "Zones at the end",
        _svg(inner, "zones at the end", height) + key + f"<p class='soft'>{counts}</p>",
    )


def _seeks(run: Run) -> str:
    if not run.moved:
        return ""
    height = 150
    used = [at for at, count in enumerate(run.seeks) if count]
    low, high = 0, max(used) + 1
    top = max(run.seeks)
    wide, tall = (WIDTH - LEFT) / (high - low), height - BOTTOM - TOP
    inner = f'<text x="{LEFT - 6}" y="{TOP + 12}" text-anchor="end">{number(top)}</text>'
    for at in range(low, high):
        size = tall * run.seeks[at] / top
        x = LEFT + (at - low) * wide
        if run.seeks[at]:
            inner += (
                f'<rect x="{_n(x + 1)}" y="{_n(height - BOTTOM - max(size, 1))}" '
                f'width="{_n(wide - 2)}" height="{_n(max(size, 1))}" fill="var(--accent)"/>'
            )
        if at % 4 == 0:
            label = "0" if at == 0 else number(2 ** (at - 1))
            inner += f'<text x="{_n(x)}" y="{height - 8}">{label}</text>'
    text = f"<p class='soft'>{run.moved:,} times the head was moved; distance in cylinders</p>"
    return _section("Seek distances", _svg(inner, "seek distances", height) + text)


def _parts(run: Run) -> str:
    y, inner = 0, ""
    shown = {name: ns for name, ns in run.parts.items() if ns and name != "buffer full"}
    items = sorted(((ns, name) for name, ns in shown.items()), reverse=True)
    if not items or not run.now:
        return ""
    height = 24 * len(items) + 6
    longest = max(ns for ns, _ in items)
    for ns, name in items:
        wide = (WIDTH - 250) * ns / longest
        inner += (
            f'<text x="120" y="{y + 16}" text-anchor="end">{name}</text>'
            f'<rect x="128" y="{y + 4}" width="{_n(max(wide, 1))}" height="16" rx="2" '
            'fill="var(--accent)"/>'
            f'<text x="{_n(134 + wide)}" y="{y + 16}">{ns / run.now:.1%}</text>'
        )
        y += 24
    text = "<p class='soft'>As parts of the run; several may go on at once.</p>"
    return _section("Where the drive's time went", _svg(inner, "time by part", height) + text)


def _cleaning(run: Run) -> str:
    user = sum(job.log_user for job in run.jobs)
    if user:
        moved = sum(job.log_moved for job in run.jobs)
        cleaned = sum(job.log_segments for job in run.jobs)
        return _section(
            "Cleaning",
            f"<p>Write amplification <b>{(user + moved) / user:.3f}</b>: {user:,} blocks written, "
            f"{moved:,} moved, {cleaned:,} zones cleaned.</p>",
        )
    if run.model.kind == "drive-managed":
        done = run.drive_managed
        full = f"full after {done['full_at'] / 1e9:,.1f} s" if done["full_at"] else "never full"
        return _section(
            "Media cache",
            f"<p>{done['into_cache']:,} writes went into it, {done['past_cache']:,} past it; "
            f"{full}. "
            f"{done['bands_cleaned']:,} bands were cleaned, "
            f"{format_size(done['cleaning_bytes'])} of traffic.</p>",
        )
    return ""
