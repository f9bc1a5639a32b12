"""A drive model's parameters from measured figures: least squares, and searches by simulation.

A *point* is one published or measured figure. ``fit_zns`` and ``fit_hdd`` take whatever points
there are and give the parameters that they determine, so that leaving one point out and fitting the
rest predicts it (`leave_one_out`). What no point determines stays as the model had it. Pure Python,
no numerical library: the same digits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from zoned.drives.models import Model

UNIT_KIB = 8
LIST_KIB = 8


class FitError(ValueError):
    """The points do not determine what is asked for."""


@dataclass(frozen=True, slots=True)
class Point:
    """One figure: what was done, and what came out.

    ``what`` names the experiment ("write", "append", "finish", ...), ``x`` its size in KiB,
    occupancy or number, ``stat`` what was measured ("mean_us", "median_us", "kiops", "mib_s").
    """

    what: str
    x: float
    stat: str
    value: float
    name: str
    source: str = ""
    tolerance: float = 0.0
    """How far ours may be off, as a part of the figure; 0: shown only."""
    saturated: bool = False
    """A ceiling decides (the flash's rate, the controller), not the command's own time."""
    only: bool = False
    """No other figure determines its parameter: an input of the fit, which cannot be predicted."""
    fitted: bool = True
    """Takes part in fits. Otherwise it is only compared with what they give."""

    @property
    def run(self) -> str:
        """The run that it is a figure of, together with ``x``."""
        return self.what.removesuffix(" latency")


def least_squares(
    rows: Sequence[Sequence[float]], targets: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Parameters p with sum of (weight * (row . p - target))^2 least. Raises FitError."""
    size = len(rows[0])
    matrix = [[0.0] * (size + 1) for _ in range(size)]
    for row, target, weight in zip(rows, targets, weights, strict=True):
        for i in range(size):
            for j in range(size):
                matrix[i][j] += weight * weight * row[i] * row[j]
            matrix[i][size] += weight * weight * row[i] * target
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(matrix[k][i]))
        if abs(matrix[pivot][i]) < 1e-12:
            raise FitError("the figures do not determine all parameters")
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        for k in range(size):
            if k != i:
                factor = matrix[k][i] / matrix[i][i]
                matrix[k] = [a - factor * b for a, b in zip(matrix[k], matrix[i], strict=True)]
    return [matrix[i][size] / matrix[i][i] for i in range(size)]


def least_absolute(rows: Sequence[Sequence[float]], targets: Sequence[float]) -> list[float]:
    """Parameters with the least sum of relative deviations: one odd figure does not pull the rest
    along, as it does with squares. By reweighted least squares; ends after a fixed number of steps.
    """
    weights = [1 / target for target in targets]
    found = least_squares(rows, targets, weights)
    for _ in range(150):
        for at, (row, target) in enumerate(zip(rows, targets, strict=True)):
            off = abs(sum(a * b for a, b in zip(row, found, strict=True)) / target - 1)
            weights[at] = (1 / max(off, 1e-5)) ** 0.5 / target
        found = least_squares(rows, targets, weights)
    return found


Solver = Callable[[Sequence[Sequence[float]], Sequence[float]], list[float]]


def determined(
    names: Sequence[str],
    rows: Sequence[Sequence[float]],
    targets: Sequence[float],
    known: Mapping[str, float],
    solve: Solver,
) -> dict[str, float]:
    """Those parameters that the rows determine; the others keep the value that ``known`` has."""
    kept: list[int] = []
    base: list[list[float]] = []
    for column in range(len(names)):
        rest = [row[column] for row in rows]
        size = sum(x * x for x in rest)
        for other in base:
            along = sum(a * b for a, b in zip(rest, other, strict=True))
            rest = [a - along * b for a, b in zip(rest, other, strict=True)]
        left = sum(x * x for x in rest)
        if left > 1e-12 * size and left > 0:
            base.append([x / left**0.5 for x in rest])
            kept.append(column)
    fixed = [at for at in range(len(names)) if at not in kept]
    less = [
        target - sum(row[at] * known[names[at]] for at in fixed)
        for row, target in zip(rows, targets, strict=True)
    ]
    if not kept:
        return {}
    found = solve([[row[at] for at in kept] for row in rows], less)
    return {names[at]: value for at, value in zip(kept, found, strict=True)}


def minimum(function: Callable[[float], float], low: float, high: float, steps: int) -> float:
    """Where a function with one valley is least, by golden section."""
    ratio = 0.6180339887498949
    a, b = low, high
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    at_c, at_d = function(c), function(d)
    for _ in range(steps):
        if at_c < at_d:
            b, d, at_d = d, c, at_c
            c = b - ratio * (b - a)
            at_c = function(c)
        else:
            a, c, at_c = c, d, at_d
            d = a + ratio * (b - a)
            at_d = function(d)
    return (a + b) / 2


def leave_one_out(points: Sequence[Point]) -> Iterator[tuple[Point, list[Point]]]:
    """Each point with those that the fit for its prediction may use: all figures of all other runs.

    All figures of the point's own run (the same ``what`` and ``x``) are left out with it, but for a
    point that alone determines its parameter: that is an input, and no prediction.
    """
    for point in points:
        yield (
            point,
            [
                p
                for p in points
                if p.fitted and (point.only or not (p.run == point.run and p.x == point.x))
            ],
        )


# ------------------------------------------------------------------------------------- ZNS SSD


def _units(kib: float) -> float:
    return max(0.0, -(-kib // UNIT_KIB) - 1)


def fit_zns(given: Sequence[Point], model: Model, capacity_mib: float = 1077) -> Model:
    """What the points say about a ZNS SSD; ``model`` gives the rest. ``capacity_mib``: of a zone.

    Command times are linear in five parameters: base, time per 8 KiB unit, PRP list, and for
    appends an extra and a time per unit of their own. The flash's rate comes from latencies and
    rates of saturated runs, controller services from what several zones reach together, finish and
    reset from straight lines over the occupancy.
    """
    points = [p for p in given if p.fitted]
    changes: dict[str, float] = {}
    changes |= _fit_commands([p for p in points if p.what in ("write", "append")], model)
    changes |= _fit_reset(points, model)
    saturated = [p for p in points if p.saturated]
    changes |= _fit_rate(saturated, model.but(**changes), capacity_mib)
    for what, name in (("write zones", "write"), ("append depth", "append")):
        ceiling = [p.value for p in points if p.what == what and p.saturated]
        if ceiling:
            changes[f"zns__{name}_service_us"] = len(ceiling) / sum(ceiling) * 1e3
    changes |= _fit_finish([p for p in points if p.what == "finish"], model, capacity_mib)
    return model.but(**changes)


def _named(model: Model, names: Sequence[str]) -> dict[str, float]:
    return {name: float(model.get(f"zns.{name}")) for name in names}


def _fit_commands(points: Sequence[Point], model: Model) -> dict[str, float]:
    rows, targets = [], []
    for point in points:
        if point.stat != "median_us":
            continue  # the model has no stray commands, so it is the typical one's time that counts
        units, more = _units(point.x), float(point.x > LIST_KIB)
        append = point.what == "append"
        rows.append([1.0, 0.0 if append else units, more, float(append), units if append else 0.0])
        targets.append(point.value)
    if not rows:
        return {}
    names = ("write_base_us", "write_unit_us", "list_us", "append_extra_us", "append_unit_us")
    found = determined(names, rows, targets, _named(model, names), least_absolute)
    return {f"zns__{name}": value for name, value in found.items()}


def _fit_rate(points: Sequence[Point], model: Model, capacity: float) -> dict[str, float]:
    """MiB/s of the flash. A mean latency at depth 1 gives it straight; a rate over a long run lost
    the time of its resets, one for each zone filled.
    """
    host = model.host_us
    found: list[float] = []
    reset_s = (float(model.get("zns.reset_base_ms")) + float(model.get("zns.reset_full_ms"))) / 1e3
    for point in points:
        if point.what not in ("write", "append"):
            continue
        if point.stat == "mean_us":
            found.append(point.x / 1024 / ((point.value + host) / 1e6))
        elif point.stat == "mib_s":
            found.append(capacity / (capacity / point.value - reset_s))
    return {"zns__write_mib_s": sum(found) / len(found)} if found else {}


def _fit_finish(points: Sequence[Point], model: Model, capacity: float) -> dict[str, float]:
    """finish = base + what is unwritten / rate. An empty zone is a case of its own."""
    changes: dict[str, float] = {}
    line = [p for p in points if p.x > 0]
    empty = [p.value * 1e3 for p in points if p.x == 0]
    if empty:
        changes["zns__finish_empty_us"] = empty[0]
    if len(line) < 2:
        return changes
    rows = [[1.0, (1 - p.x) * capacity] for p in line]
    base, per_mib = least_squares(rows, [p.value for p in line], [1 / p.value for p in line])
    if not any(p.x > 0.9 for p in line):
        base = float(model.get("zns.finish_base_ms"))
        targets = [p.value - base for p in line]
        (per_mib,) = least_squares([[r[1]] for r in rows], targets, [1 / p.value for p in line])
    changes["zns__finish_base_ms"] = max(base, 0.0)
    changes["zns__finish_mib_s"] = 1e3 / per_mib
    return changes


def _fit_reset(points: Sequence[Point], model: Model) -> dict[str, float]:
    """reset = base + full * occupancy + data if anything is written + unfinished if it was not
    finished by command + open while it is partly written.
    """
    rows, targets = [], []
    for p in points:
        if p.what in ("reset", "reset finished"):
            unfinished = float(p.what == "reset")
            partly = unfinished * float(1e-3 < p.x < 1)
            rows.append([1.0, p.x, float(p.x > 0), unfinished, partly])
            targets.append(p.value)
    if not rows:
        return {}
    names = [f"reset_{name}_ms" for name in ("base", "full", "data", "unfinished", "open")]

    def relative(rows: Sequence[Sequence[float]], left: Sequence[float]) -> list[float]:
        return least_squares(rows, left, [1 / value for value in targets])

    found = determined(names, rows, targets, _named(model, names), relative)
    return {f"zns__{name}": max(value, 0.0) for name, value in found.items()}


# ----------------------------------------------------------------------------------- hard disk

Predict = Callable[[Model, Point], float]
"""Simulates one point's experiment with a model and gives the figure."""


def fit_hdd(
    points: Sequence[Point], model: Model, predict: Predict, what: str | None = None
) -> Model:
    """What the points say about a hard disk, most of it by simulating them.

    Medians of sequential runs give the media's rate, random reads the margin with which the drive
    puts its queue in order (the seeks are data-sheet values), random writes how many commands the
    write cache holds, sequential rates what a stream loses between two zones. ``what``: only the
    parameters that this experiment ("sequential write", "random read", "random write") depends on.
    """
    model = model.but(**_fit_hdd_rate(points, model))
    searches = (
        ("hdd__seek_margin_ms", "random read", 0.0, 5.0, 14, False),
        ("hdd__cache_entries", "random write", 16, 512, 10, True),
        ("hdd__zone_switch_ms", "sequential", 0.0, 80.0, 12, False),
    )
    needed = "sequential" if what is not None and what.startswith("sequential") else what
    for name, kind, low, high, steps, whole in searches:
        mine = [p for p in points if p.fitted and p.what.startswith(kind) and p.stat != "median_ms"]
        if not mine or (needed is not None and kind not in (needed, _BEFORE.get(needed))):
            continue

        def error(
            value: float,
            name: str = name,
            so_far: Model = model,
            mine: Sequence[Point] = mine,
            whole: bool = whole,
        ) -> float:
            tried = so_far.but(**{name: round(value) if whole else value})
            return sum((predict(tried, p) / p.value - 1) ** 2 for p in mine)

        best = minimum(error, low, high, steps)
        model = model.but(**{name: round(best) if whole else best})
    return model


_BEFORE = {"random write": "random read", "streams": "sequential"}
"""What else must be fitted first: writes are placed by the same seeks."""

WINDOW = 8 * 2**18
"""Bytes on their way in a sequential run of depth 8 in 256 KiB: what its median latency moves."""
FIRST_ZONE = 524 / 55879
"""Where these runs begin, as a part of the way from the first zone to the last."""


def _fit_hdd_rate(points: Sequence[Point], model: Model) -> dict[str, float]:
    """The data rate from the median latency of sequential runs.

    Their window is a little less than a track, so in most places the median command waits for the
    window's media time and one head switch. The rate at the inner edge keeps its part of the outer.
    """
    medians = [p.value for p in points if p.fitted and p.stat == "median_ms"]
    if not medians:
        return {}
    turn = 60e3 / float(model.get("hdd.rpm"))
    switch = float(model.get("hdd.head_switch_ms"))
    inner = float(model.get("hdd.rate_inner_mb_s")) / float(model.get("hdd.rate_outer_mb_s"))
    here = sum(WINDOW * turn / (ms - switch) / (turn + switch) for ms in medians) / len(medians)
    outer = here / 1e3 / (1 - (1 - inner) * FIRST_ZONE)
    return {"hdd__rate_outer_mb_s": outer, "hdd__rate_inner_mb_s": outer * inner}
