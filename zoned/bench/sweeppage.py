"""The page of a sweep: for each parameter that was varied, a picture of what it changes.

A picture has the parameter's values from left to right and a line for each job and direction: the
mean over everything else that was varied and over all seeds, and thin, how far that reaches. One
self-contained file, as html.py makes them; the pieces of pictures are those of pictures.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zoned
from zoned.bench import html
from zoned.bench.pictures import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    figure,
    key,
    nice,
    put_line,
    put_text,
    short,
    svg,
)
from zoned.bench.sweep import Grid, PointSpec, figures
from zoned.bench.table import duration, number
from zoned.units import counted

COLOURS = ("read", "write", "open", "closed", "trim", "conv")
"""Of the lines of a picture; there are as many lines at most."""
HEIGHT = 170
MOST_VALUES = 40
"""Values of a parameter that a picture shows; more are thinned out."""
MOST_ROWS = 500
"""Of the table."""

Measured = list[tuple[PointSpec, list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Line:
    """One job and direction over the values of a parameter: least, mean and most at each."""

    name: str
    ends: tuple[tuple[float, float, float] | None, ...]

    @property
    def most(self) -> float:
        """The highest of all."""
        return max((end[2] for end in self.ends if end), default=0.0)


def page(grid: Grid) -> str:
    """The page of a finished sweep as text."""
    measured = figures(grid)
    seeds = sorted({point.seed for point in grid.points})
    varied = axes(grid)
    rows = list(_rows(measured))
    failed = sum(1 for _, found in measured if not found)
    return html.rendered(
        "sweep.html",
        f"Sweep {grid.name}",
        summary=(
            f"{counted(len(grid.points), 'point')} with {counted(len(seeds), 'seed')}, "
            f"zoned {zoned.__version__}"
        ),
        failed=f"{counted(failed, 'point')} failed; see points.csv" if failed else "",
        pictures=[
            {"title": name, "panels": list(_panels(measured, name, values))}
            for name, values in varied.items()
        ],
        heads=("point", "job", "", "IOPS", "MiB/s", "mean", "p99"),
        rows=rows[:MOST_ROWS],
        more=counted(len(rows) - MOST_ROWS, "row") if len(rows) > MOST_ROWS else "",
        text=grid.text,
    )


def axes(grid: Grid) -> dict[str, list[str]]:
    """The parameters with more than one value, in the order of the sweep's file."""
    found: dict[str, dict[str, None]] = {}
    for point in grid.points:
        for name, value in point.axes.items():
            found.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in found.items() if len(values) > 1}


def lines(measured: Measured, axis: str, values: Sequence[str], what: str) -> list[Line]:
    """For each job and direction that has the figure ``what`` (a column of points.csv)."""
    found: dict[str, dict[str, list[float]]] = {}
    for point, rows in measured:
        if axis not in point.axes:
            continue
        for row in rows:
            value = row[what]
            if isinstance(value, int | float) and value > 0:
                name = _called(point, row, axis)
                found.setdefault(name, {}).setdefault(point.axes[axis], []).append(float(value))
    return [
        Line(
            name,
            tuple(
                (min(of[v]), sum(of[v]) / len(of[v]), max(of[v])) if v in of else None
                for v in values
            ),
        )
        for name, of in found.items()
    ]


def _called(point: PointSpec, row: Mapping[str, Any], axis: str) -> str:
    """The job; where that is the pattern's own name, that stands for what is compared."""
    job = "" if axis == "pattern" and row["jobname"] == point.what else f"{row['jobname']}, "
    return f"{job}{row['direction']}"


_FIGURES = (("bw_bytes", "MiB/s", 2**20), ("lat_mean_ns", "mean latency, ms", 1e6))


def _panels(measured: Measured, axis: str, values: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The picture of one parameter: what it does to throughput, and to latency below."""
    step = -(-len(values) // MOST_VALUES)
    shown = list(values)[::step]
    for what, unit, scale in _FIGURES:
        found = lines(measured, axis, shown, what)
        if not found:
            continue
        rest = len(found) - len(COLOURS)
        yield {
            "unit": unit,
            "picture": html.drawn(_picture(found[: len(COLOURS)], axis, shown, unit, scale)),
            "more": f"and {counted(rest, 'more line')}" if rest > 0 else "",
        }


def _picture(
    found: Sequence[Line], axis: str, values: Sequence[str], unit: str, scale: float
) -> str:
    top = nice(max(line.most for line in found) / scale)
    tall, wide = HEIGHT - BOTTOM - TOP, (RIGHT - LEFT) / len(values)
    inner = ""
    for at in range(5):
        y = HEIGHT - BOTTOM - tall * at / 4
        inner += put_line(LEFT, y, RIGHT, y)
        inner += put_text(LEFT - 6, y + 4, figure(top * at / 4), "end")
    most = max(1, int((RIGHT - LEFT) / 62))
    for at, value in enumerate(values):
        x = LEFT + wide * (at + 0.5)
        if at % -(-len(values) // most) == 0:
            inner += put_text(
                x, HEIGHT - 6, value if len(value) < 16 else f"{value[:14]}..", "middle"
            )

    def height(value: float) -> float:
        return HEIGHT - BOTTOM - tall * min(1.0, value / scale / top)

    for which, line in enumerate(found):
        color, points = COLOURS[which], []
        # Beside each other, so that no bar hides another.
        aside = (which - (len(found) - 1) / 2) * min(5.0, wide / (len(found) + 1))
        for at, ends in enumerate(line.ends):
            if ends is None:
                continue
            x = LEFT + wide * (at + 0.5) + aside
            least, mean, most_of = (height(end) for end in ends)
            points.append(f"{short(x)},{short(mean)}")
            inner += (
                f'<line x1="{short(x)}" x2="{short(x)}" y1="{short(least)}" y2="{short(most_of)}" '
                f'stroke="var(--{color})" stroke-opacity="0.5"/>'
                f'<circle cx="{short(x)}" cy="{short(mean)}" r="2.4" fill="var(--{color})"/>'
            )
        inner += (
            f'<polyline points="{" ".join(points)}" fill="none" stroke="var(--{color})" '
            'stroke-width="1.4" stroke-linejoin="round"/>'
        )
    label = f"{unit} against {axis}"
    return svg(inner, label, HEIGHT) + key(
        (COLOURS[which], line.name) for which, line in enumerate(found)
    )


def _rows(measured: Measured) -> Iterator[list[str]]:
    for point, found in measured:
        for row in found:
            if row["error"] or not row["total_ios"]:
                yield [f"{point.label} seed {point.seed}", row["jobname"], row["error"], *[""] * 4]
                continue
            yield [
                f"{point.label} seed {point.seed}",
                row["jobname"],
                row["direction"],
                number(row["iops"]),
                f"{row['bw_bytes'] / 2**20:,.1f}" if row["bw_bytes"] else "",
                duration(row["lat_mean_ns"]),
                duration(row["lat_p99_ns"]),
            ]
