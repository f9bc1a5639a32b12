"""The pictures of zones: their states and write pointers over time, what was written, the end.

SVG text, with the frame and the axes of pictures.py. Bins of zones are those of the run: what is
shown of a large bin is an average.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from zoned.bench.pictures import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    key,
    put_line,
    put_text,
    short,
    svg,
    time_axis,
)
from zoned.bench.simulation import STATE, Run
from zoned.report import ROW
from zoned.zone import ZoneCondition

COLUMNS = 96
"""Of time in the pictures of zones."""
ROWS = 48
"""Of zones in them."""
LEVELS = 4

STATES = (
    ("full", "full", (ZoneCondition.FULL,)),
    ("open", "open", (ZoneCondition.IMPLICIT_OPEN, ZoneCondition.EXPLICIT_OPEN)),
    ("closed", "closed", (ZoneCondition.CLOSED,)),
    ("empty", "empty", (ZoneCondition.EMPTY,)),
    ("conv", "conventional", (ZoneCondition.NOT_WP,)),
    ("bad", "read-only, offline", (ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE)),
)
Cells = dict[tuple[str, int], list[str]]
"""SVG paths by colour and level."""


def _zone_axis(run: Run, height: int) -> str:
    last = min(run.first_zone + run.bins * run.zones_per_bin, run.geometry.nr_zones) - 1
    frame = put_line(LEFT, TOP, RIGHT, TOP) + put_line(
        LEFT, height - BOTTOM, RIGHT, height - BOTTOM
    )
    if last == run.first_zone:
        return frame + put_text(LEFT - 6, (height - BOTTOM + TOP) / 2, str(last), "end")
    return (
        frame
        + put_text(LEFT - 6, TOP + 10, str(run.first_zone), "end")
        + put_text(LEFT - 6, height - BOTTOM, str(last), "end")
    )


def _grid_of_cells(rows: Sequence[Sequence[tuple[str, int] | None]], height: int) -> str:
    """Coloured cells: rows from top to bottom, columns from left to right."""
    wide = (RIGHT - LEFT) / len(rows[0])
    tall = (height - BOTTOM - TOP) / len(rows)
    paths: Cells = {}
    for y, row in enumerate(rows):
        for start, end, what in _runs(row):
            span = short((end - start) * wide)
            corner = f"{short(LEFT + start * wide)},{short(TOP + y * tall)}"
            paths.setdefault(what, []).append(f"M{corner}h{span}v{short(tall)}h-{span}z")
    return "".join(
        f'<path d="{"".join(path)}" fill="var(--{color})" '
        f'fill-opacity="{(0.3, 0.5, 0.75, 1)[level - 1]}"/>'
        for (color, level), path in sorted(paths.items())
    )


def _runs(row: Sequence[tuple[str, int] | None]) -> Iterable[tuple[int, int, tuple[str, int]]]:
    """Equal neighbours put together: from, to, what."""
    start = 0
    for at in range(1, len(row) + 1):
        if at == len(row) or row[at] != row[start]:
            what = row[start]
            if what is not None:
                yield start, at, what
            start = at


def zones_over_time(run: Run) -> str:
    """State and write pointers by zone and time, and where zones were reset."""
    columns, rows = min(COLUMNS, len(run.states)), min(ROWS, run.bins)
    if not run.now or not columns:
        return ""
    cells: list[list[tuple[str, int] | None]] = [[None] * columns for _ in range(rows)]
    resets = [[0] * columns for _ in range(rows)]
    for x in range(columns):
        begin, end = x * len(run.states) // columns, (x + 1) * len(run.states) // columns
        # States of the last moment of the column; resets of all of it.
        now = list(STATE.iter_unpack(run.states[end - 1]))
        for y in range(rows):
            some = now[y * run.bins // rows : (y + 1) * run.bins // rows]
            cells[y][x] = _state(some, alone=run.zones_per_bin * len(some) == 1)
        for row in run.states[begin:end]:
            for at, (*_, count) in enumerate(STATE.iter_unpack(row)):
                resets[at * rows // run.bins][x] += count
    if not any(any(row) for row in cells) and not any(any(row) for row in resets):
        return ""
    height = 210
    inner = _grid_of_cells(cells, height) + _reset_marks(resets, height)
    inner += _zone_axis(run, height) + time_axis(run.now, height)
    shown = {cell[0] for row in cells for cell in row if cell}
    items = [(color, text) for color, text, _ in STATES if color in shown]
    if any(any(row) for row in resets):
        items.append(("trim", "reset"))
    return svg(inner, "states and write pointers of zones over time", height) + key(items)


def _state(bins: Sequence[tuple[int, ...]], *, alone: bool) -> tuple[str, int] | None:
    """Colour of the commonest state, and how strong: how full the zone is (or zones are)."""
    filled, opened, closed, full = (sum(b[at] for b in bins) / len(bins) / 255 for at in range(4))
    share, color = max((full, "full"), (opened, "open"), (closed, "closed"))
    if not share:
        return None
    strength = filled if alone else max(filled, share / 2)
    return color, max(1, min(LEVELS, math.ceil(LEVELS * strength)))


def _reset_marks(resets: Sequence[Sequence[int]], height: int) -> str:
    wide = (RIGHT - LEFT) / len(resets[0])
    tall = (height - BOTTOM - TOP) / len(resets)
    size = max(2.0, min(wide * 0.7, tall * 0.7, 5.0))
    path = "".join(
        f"M{short(LEFT + (x + 0.5) * wide - size / 2)},{short(TOP + (y + 0.5) * tall - size / 2)}"
        f"h{short(size)}v{short(size)}h-{short(size)}z"
        for y, row in enumerate(resets)
        for x, count in enumerate(row)
        if count
    )
    return f'<path d="{path}" fill="var(--trim)"/>' if path else ""


def writes_over_time(run: Run) -> str:
    """How much was written where and when: the stronger, the more."""
    steps = min(len(run.picture), max(1, math.ceil(run.now / run.step))) if run.now else 0
    if not any(map(any, run.picture)) or not steps:
        return ""
    columns, rows = min(COLUMNS, steps), min(ROWS, run.bins)
    amounts = [[0] * columns for _ in range(rows)]
    for at, row in enumerate(run.picture[:steps]):
        for bin_at, written in enumerate(row):
            amounts[bin_at * rows // run.bins][at * columns // steps] += written
    most = max(map(max, amounts))
    cells = [
        [("write", max(1, math.ceil(LEVELS * (v / most) ** 0.5))) if v else None for v in row]
        for row in amounts
    ]
    height = 170
    inner = _grid_of_cells(cells, height) + _zone_axis(run, height) + time_axis(run.now, height)
    return svg(inner, "what was written to zones over time", height)


def zones_at_end(run: Run) -> str:
    """A column for each bin of zones: which conditions, and how far the write pointers are."""
    first = run.first_zone
    total = min(run.bins * run.zones_per_bin, run.geometry.nr_zones - first)
    found, written = _columns(run, first, total)
    if all(set(states) <= {int(ZoneCondition.NOT_WP)} for states in found):
        return ""
    height = 110
    wide, tall = (RIGHT - LEFT) / len(found), height - BOTTOM - TOP
    inner, used = "", set()
    begins = [float(TOP)] * len(found)  # the next state, column by column
    for color, _, values in STATES:
        path = ""
        for at, states in enumerate(found):
            share = sum(states.get(int(v), 0.0) for v in values)
            if share:
                corner, span = f"{short(LEFT + at * wide)},{short(begins[at])}", short(wide + 0.3)
                path += f"M{corner}h{span}v{short(tall * share)}h-{span}z"
                begins[at] += tall * share
        if path:
            used.add(color)
            inner += f'<path d="{path}" fill="var(--{color})"/>'
    marks = ""
    for at, part in enumerate(written):
        y = short(TOP + tall * (1 - part))
        marks += f"{short(LEFT + at * wide)},{y} {short(LEFT + (at + 1) * wide)},{y} "
    inner += f'<polyline points="{marks.strip()}" fill="none" stroke="var(--ink)"/>'
    inner += put_text(LEFT, height - 6, f"zone {first}")
    inner += put_text(RIGHT, height - 6, str(first + total - 1), "end")
    inner += put_text(LEFT - 6, TOP + 10, "100%", "end")
    inner += put_text(LEFT - 6, height - BOTTOM, "0", "end")
    items = [(color, text) for color, text, _ in STATES if color in used]
    items.append(("ink", "line: written part, on average"))
    return svg(inner, "zones at the end", height) + key(items)


def _columns(run: Run, first: int, total: int) -> tuple[list[dict[int, float]], list[float]]:
    """By column: the share of zones in each condition, and the written part on average."""
    columns = min(total, COLUMNS)
    found: list[dict[int, float]] = [{} for _ in range(columns)]
    written = [0.0] * columns
    for index, row in enumerate(ROW.iter_unpack(run.zones)):
        at = (index - first) * columns // total
        if index < first or at >= columns:
            continue
        found[at][row[7]] = found[at].get(row[7], 0) + 1
        if row[7] == ZoneCondition.FULL:
            written[at] += 1.0
        elif row[7] != ZoneCondition.NOT_WP and row[3] < 2**63:
            written[at] += (row[3] - row[0]) / row[2]
    for at, states in enumerate(found):
        number = sum(states.values()) or 1
        written[at] /= number
        found[at] = {condition: count / number for condition, count in states.items()}
    return found, written
