"""The pictures of a result page, as SVG text: throughput, latencies, seeks, the drive's time.

Drawn 480 units wide, so that they can be read on a phone; the page's style sheet sets colours and
the size of letters by the width of the screen. Only numbers from a Run go in; nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from zoned.bench.jobs import DIRECTIONS
from zoned.bench.simulation import Run, Stats
from zoned.bench.table import duration, number

WIDTH = 480
LEFT = 52
RIGHT = WIDTH - 4
BOTTOM = 24
TOP = 12


# --------------------------------------------------------------------------------------- pieces


def svg(inner: str, label: str, height: int) -> str:
    """A picture; ``label`` is for who cannot see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{inner}</svg>'
    )


def key(items: Iterable[tuple[str, str]]) -> str:
    """The legend: colour and meaning."""
    inner = "".join(
        f'<span><i style="background:var(--{color})"></i>{escape(text)}</span>'
        for color, text in items
    )
    return f'<div class="key">{inner}</div>'


def short(value: float) -> str:
    """A coordinate."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def put_text(x: float, y: float, text: str, anchor: str = "start") -> str:
    """A label."""
    return f'<text x="{short(x)}" y="{short(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def put_line(x1: float, y1: float, x2: float, y2: float) -> str:
    """A line of the frame or grid."""
    return (
        f'<line x1="{short(x1)}" y1="{short(y1)}" x2="{short(x2)}" y2="{short(y2)}" '
        f'stroke="var(--line)"/>'
    )


def figure(value: float) -> str:
    """A number on an axis, short."""
    if value >= 10_000:
        return number(value).replace(".0", "")
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def nice(top: float) -> float:
    """A round number at or above."""
    if top <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(top))
    return float(next(power * m for m in (1, 1.5, 2, 3, 4, 6, 8, 10) if power * m >= top * 0.999))


def ticks(total_ns: int) -> list[tuple[int, str]]:
    """Round moments from 0 on, four to seven of them, and what to write there."""
    units = ((3600 * 10**9, "h"), (60 * 10**9, "min"), (10**9, "s"), (10**6, "ms"), (1000, "us"))
    factor, unit = next(((f, u) for f, u in units if total_ns >= 2 * f), (1, "ns"))
    whole = total_ns / factor
    power = 10.0 ** math.floor(math.log10(max(whole, 1) / 4))
    step = next(power * m for m in (1, 2, 5, 10) if whole / (power * m) <= 6)
    out = [(0, "0")]
    while (len(out)) * step <= whole * 1.0001:
        at = len(out) * step
        out.append((round(at * factor), f"{at:g} {unit}"))
    return out


def time_axis(total_ns: int, height: int) -> str:
    """Marks and their moments below a picture."""
    out = ""
    for at, text in ticks(total_ns):
        x = LEFT + (RIGHT - LEFT) * at / total_ns
        anchor = "end" if x > RIGHT - 24 else "middle" if at else "start"
        out += put_line(x, height - BOTTOM, x, height - BOTTOM + 4)
        out += put_text(min(x, RIGHT), height - 6, text, anchor)
    return out


# ------------------------------------------------------------------------------------- pictures


def throughput(run: Run) -> tuple[str, str]:
    """The picture with its legend, and the axis' unit; empty where no bytes moved."""
    steps = max(1, math.ceil(run.now / run.step)) if run.now else 0
    lines: list[tuple[str, list[float]]] = []
    for direction, name in enumerate(DIRECTIONS):
        values = []
        for at, sample in enumerate(run.series[:steps]):
            span = min(run.step, run.now - at * run.step) or run.step
            values.append(sample.bytes[direction] / 2**20 * 1e9 / span)
        if any(values) and name != "trim":
            lines.append((name, values))
    if not lines:
        return "", ""
    # The last step is short and jumps: it does not set the scale.
    moving = sorted(v for _, values in lines for v in (values[:-1] or values) if v > 0) or [1.0]
    top = moving[-1]
    logarithmic = top > 100 * moving[len(moving) // 2]
    height = 170
    low, high = math.floor(math.log10(moving[len(moving) // 20])), math.ceil(math.log10(top))
    inner = _decades(low, high, height) if logarithmic else _levels(nice(top), height)
    inner += time_axis(run.now, height)
    for name, values in lines:
        points = []
        for at, value in enumerate(values):
            x = LEFT + (RIGHT - LEFT) * min(1.0, (at + 0.5) * run.step / run.now)
            if logarithmic:
                part = (math.log10(value) - low) / (high - low) if value > 0 else 0.0
            else:
                part = value / nice(top)
            y = height - BOTTOM - (height - BOTTOM - TOP) * max(0.0, min(part, 1.0))
            points.append(f"{short(x)},{short(y)}")
        if len(points) == 1:
            points.append(f"{RIGHT},{points[0].split(',')[1]}")
        inner += (
            f'<polyline points="{" ".join(points)}" fill="none" stroke="var(--{name})" '
            'stroke-width="1.4" stroke-linejoin="round"/>'
        )
    unit = "MiB/s, logarithmic" if logarithmic else "MiB/s"
    return svg(inner, f"throughput over time in {unit}", height) + key(
        (n, n) for n, _ in lines
    ), unit


def _levels(top: float, height: int) -> str:
    out = ""
    for step in range(5):
        y = height - BOTTOM - (height - BOTTOM - TOP) * step / 4
        out += put_line(LEFT, y, RIGHT, y) + put_text(
            LEFT - 6, y + 4, figure(top * step / 4), "end"
        )
    return out


def _decades(low: int, high: int, height: int) -> str:
    out = ""
    for power in range(low, high + 1):
        y = height - BOTTOM - (height - BOTTOM - TOP) * (power - low) / (high - low)
        out += put_line(LEFT, y, RIGHT, y) + put_text(LEFT - 6, y + 4, figure(10.0**power), "end")
    return out


def histogram(stats: Stats, color: str) -> str:
    """Commands by latency, on a logarithmic axis, with marks at p50, p99 and p99.9."""
    from zoned._core.native import lib

    low = math.floor(math.log2(max(stats.minimum, 1)) * 4) / 4 - 0.25
    high = math.ceil(math.log2(max(stats.maximum, 2)) * 4 + 1) / 4 + 0.25
    columns = max(8, min(96, round((high - low) * 8)))
    counts = [0] * columns
    for index, amount in stats.buckets:
        value = (int(lib.zd_sim_bucket(index)) + int(lib.zd_sim_bucket(index + 1))) / 2
        at = (math.log2(max(value, 1)) - low) / (high - low) * columns
        counts[min(columns - 1, max(0, int(at)))] += amount
    height, top = 110, max(counts)
    span, tall = RIGHT - LEFT, height - BOTTOM - TOP

    def place(value: float) -> float:
        return LEFT + span * (math.log2(max(value, 1)) - low) / (high - low)

    bars = ""
    for at, amount in enumerate(counts):
        if amount:
            size = max(1.0, tall * amount / top)
            bars += f"M{short(LEFT + span * at / columns)},{height - BOTTOM}v-{short(size)}"
            bars += f"h{short(span / columns * 0.9)}v{short(size)}z"
    inner = put_line(LEFT, height - BOTTOM, RIGHT, height - BOTTOM)
    inner += f'<path d="{bars}" fill="var(--{color})"/>'
    last = -math.inf
    for value in _round_values(2.0**low, 2.0**high):
        x = place(value)
        if x - last > 76 and LEFT <= x <= RIGHT - 28:
            inner += put_line(x, height - BOTTOM, x, height - BOTTOM + 4)
            inner += put_text(
                x, height - 6, duration(value), "middle" if x > LEFT + 20 else "start"
            )
            last = x
    for percent in (50, 99, 99.9):
        x = place(stats.percentile(percent))
        inner += (
            f'<line x1="{short(x)}" x2="{short(x)}" y1="{TOP}" y2="{height - BOTTOM}" '
            'stroke="var(--ink)" stroke-dasharray="2 3" stroke-opacity="0.7"/>'
        )
    inner += put_text(LEFT - 6, TOP + 10, figure(top), "end")
    return svg(inner, "latency histogram", height)


def _round_values(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within a range; powers of ten alone where it is wide."""
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [10.0**p * s for p in powers for s in steps if low <= 10.0**p * s <= high]


def seeks(run: Run) -> str:
    """How often the head was moved by how far."""
    if not run.moved:
        return ""
    height, high, top = 120, max(at for at, n in enumerate(run.seeks) if n) + 1, max(run.seeks)
    wide, tall = (RIGHT - LEFT) / high, height - BOTTOM - TOP
    inner = put_line(LEFT, height - BOTTOM, RIGHT, height - BOTTOM)
    inner += put_text(LEFT - 6, TOP + 10, figure(top), "end")
    for at in range(high):
        x, size = LEFT + at * wide, max(tall * run.seeks[at] / top, 1.0)
        if run.seeks[at]:
            inner += (
                f'<rect x="{short(x + 1)}" y="{short(height - BOTTOM - size)}" '
                f'width="{short(wide - 2)}" height="{short(size)}" fill="var(--accent)"/>'
            )
        if at % 4 == 0:
            label = "0" if at == 0 else f"{2 ** (at - 1):,}"
            inner += put_text(x + wide / 2, height - 6, label, "middle")
    return svg(inner, "seek distances", height)


def parts(run: Run) -> str:
    """What the drive's time went to, as parts of the run."""
    many = int(run.model.get("zns.dies")) if run.model.kind == "zns" else 1
    shown = []
    for name, ns in run.parts.items():
        if ns and name != "buffer full":
            dies = name == "die" and many > 1
            shown.append((ns / (many if dies else 1), f"each of {many} dies" if dies else name))
    if not shown or not run.now:
        return ""
    inner, y = "", 0
    longest = max(spent for spent, _ in shown)
    for spent, name in sorted(shown, reverse=True):
        length = (RIGHT - 172) * spent / longest
        inner += put_text(116, y + 15, name, "end")
        inner += (
            f'<rect x="122" y="{y + 4}" width="{short(max(length, 1))}" height="14" rx="2" '
            'fill="var(--accent)"/>'
        )
        inner += put_text(126 + length, y + 15, f"{spent / run.now:.1%}")
        y += 22
    return svg(inner, "time by part", y + 4)
