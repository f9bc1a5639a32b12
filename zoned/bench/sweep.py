"""A grid of runs from a TOML file, through ``concurrent.futures.Executor``.

    folder = "results"               # beside the file; finished points are kept there
    seeds = [1, 2, 3]
    profiles = ["hc620", "mine.toml"]
    patterns = ["streams", "log"]    # named patterns, or
    jobs = ["job.fio"]               # job files
    [parameters]                     # every combination; a pattern takes those that it has
    bs = ["64KiB", "256KiB"]
    policy = ["greedy", "cost-benefit"]
    [model]                          # of the drive: parameters to vary, by their dotted names
    "hdd.cache_entries" = [64, 128]

What travels to a worker is the description of disk, model and plan, never an image. Each finished
point is a JSON file named by what it is, so a sweep that was stopped goes on where it was, on any
number of workers and with the same bytes. A worker that dies costs the points it had; they are
tried once more.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoned.bench import html, results
from zoned.bench.fiofile import FioError
from zoned.bench.patterns import Pattern, PatternError, find
from zoned.drives.models import load_drive, parse_model
from zoned.drives.profiles import ProfileError
from zoned.inputs import (
    MOST_JOBS,
    MOST_RESULT,
    MOST_TOML,
    InputError,
    as_text,
    parse_json,
    read_bytes,
    read_toml,
)
from zoned.plaintext import csv_cell, printable, printable_json

Told = Callable[[int, int, str], None]

MOST_POINTS = 100_000
"""Runs of one sweep."""


class SweepError(InputError):
    """A sweep file that says what cannot be; names file, line and key."""


@dataclass(frozen=True, slots=True)
class PointSpec:
    """One run, as data that can be sent anywhere."""

    label: str
    what: str
    """A pattern's name, or "job" with the text in ``text``."""
    text: str
    profile: str
    geometry: Mapping[str, Any]
    model: Mapping[str, Any]
    parameters: Mapping[str, str]
    seed: int
    axes: Mapping[str, str] = field(default_factory=dict)
    """Where it lies in the grid: pattern or job, drive, and each parameter that was varied."""

    @property
    def key(self) -> str:
        """Names the point by its content: the same point, the same file."""
        content = json.dumps(
            [self.what, self.text, dict(self.geometry), dict(self.model), dict(self.parameters),
             self.seed],
            sort_keys=True,
        )  # fmt: skip
        return hashlib.sha256(content.encode()).hexdigest()[:20]


@dataclass
class Grid:
    """All points of a sweep, and where results go."""

    folder: Path
    points: list[PointSpec] = field(default_factory=list)
    text: str = ""
    """The sweep's own file."""
    name: str = ""


_KEYS = ("folder", "seeds", "profiles", "patterns", "jobs", "parameters", "model")


def load(path: str | os.PathLike[str]) -> Grid:
    """A Grid from a TOML file; every plan is made once, so that mistakes show before anything runs.

    Raises SweepError, and FioError for a job file, OSError.
    """
    file = Path(path)
    table = _table(file)
    seeds = _list(file, table, "seeds", int, [1])
    names = _list(file, table, "profiles", str, [])
    patterns = _list(file, table, "patterns", str, [])
    jobs = _list(file, table, "jobs", str, [])
    if not patterns and not jobs:
        raise SweepError(f"{path}: patterns or jobs must name what to run")
    parameters = _axes(file, table, "parameters")
    models = _axes(file, table, "model")
    if not jobs:
        _known(file, parameters, patterns)
    grid = Grid(_folder(file, table.get("folder", file.stem)), name=file.name)
    grid.text = as_text(read_bytes(file, MOST_TOML, SweepError), SweepError, str(file))
    for name in patterns:
        pattern = _pattern(file, name)
        mine = {key: values for key, values in parameters.items() if key in pattern.defaults}
        for profile in names or [pattern.profile]:
            _not_too_many(file, len(grid.points), mine, models, seeds)
            grid.points += _points(file, name, "", profile, mine, models, seeds)
    for name in jobs:
        where = f"{_where(file, 'jobs', name)}: {file.parent / name}"
        text = as_text(
            read_bytes(file.parent / name, MOST_JOBS, SweepError, where), SweepError, where
        )
        for profile in names or ["hc620"]:
            _not_too_many(file, len(grid.points), parameters, models, seeds)
            grid.points += _points(file, name, text, profile, parameters, models, seeds)
    return grid


def _folder(file: Path, folder: object) -> Path:
    """Where results go: a folder beside the sweep's file or below, however it is written."""
    where = _where(file, "folder")
    if not isinstance(folder, str):
        raise SweepError(f"{where}: folder must be a text")
    home = os.path.realpath(file.parent)
    try:
        inside = os.path.commonpath([home, os.path.realpath(file.parent / folder)]) == home
    except ValueError:  # a name that no folder can have
        inside = False
    if not inside:
        raise SweepError(f"{where}: folder is {folder!r}: it must lie beside the sweep's own file")
    return file.parent / folder


def _not_too_many(
    file: Path,
    before: int,
    parameters: Mapping[str, list[Any]],
    models: Mapping[str, list[Any]],
    seeds: Sequence[int],
) -> None:
    axes = [*parameters.values(), *models.values(), seeds]
    if before + math.prod(len(axis) for axis in axes) > MOST_POINTS:
        raise SweepError(f"{file}: it has more than {MOST_POINTS} points, the most of a sweep")


def _table(file: Path) -> dict[str, Any]:
    table = read_toml(file, SweepError)
    for key in table:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]}?)" if near else f"; there are {', '.join(_KEYS)}"
            raise SweepError(f"{_where(file, key)}: unknown key {key}{hint}")
    return table


def _where(file: Path, *keys: str) -> str:
    """File and line: of the last key behind the first ones' table, or of a value in quotes."""
    content = read_bytes(file, MOST_TOML, SweepError)
    lines = content.decode("utf-8", "replace").splitlines()
    at = 0
    for key in keys:
        name = re.escape(key)
        said = re.compile(rf"""^\s*\[?\s*["']?{name}["']?\s*[\]=.]|["']{name}["']""")
        at = next((n for n in range(at, len(lines)) if said.search(lines[n])), at)
    return f"{file}:{at + 1}"


def _pattern(file: Path, name: str) -> Pattern:
    try:
        return find(name)
    except PatternError as error:
        raise SweepError(f"{_where(file, 'patterns', name)}: {error}") from None


def _known(file: Path, parameters: Mapping[str, Any], patterns: Sequence[str]) -> None:
    """A parameter that none of the patterns has is a typo."""
    known = sorted({key for name in patterns for key in _pattern(file, name).defaults})
    for key in parameters:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]}?)" if near else f"; they have {', '.join(known)}"
            raise SweepError(
                f"{_where(file, 'parameters', key)}: no pattern of this sweep has a parameter "
                f"{key}{hint}"
            )


def _list(
    file: Path, table: Mapping[str, Any], key: str, kind: type, default: list[Any]
) -> list[Any]:
    value = table.get(key, default)
    good = isinstance(value, list) and all(
        isinstance(item, kind) and not isinstance(item, bool) for item in value
    )
    if not good or (key in table and not value):
        kinds = {int: "whole numbers", str: "texts"}[kind]
        raise SweepError(f"{_where(file, key)}: {key} must be a list of {kinds}")
    _once(file, value, key)
    return list(value)


def _once(file: Path, values: Sequence[Any], *keys: str) -> None:
    """A point that is there twice would count twice in the spread."""
    seen = set()
    for value in values:
        if value in seen:
            raise SweepError(f"{_where(file, *keys)}: {'.'.join(keys)} has {value!r} twice")
        seen.add(value)


def _axes(file: Path, table: Mapping[str, Any], key: str) -> dict[str, list[str | int | float]]:
    axes = table.get(key, {})
    if not isinstance(axes, dict):
        raise SweepError(f"{_where(file, key)}: {key} must be a table of lists")
    out: dict[str, list[str | int | float]] = {}
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise SweepError(f"{_where(file, key, name)}: {key}.{name} must be a list of values")
        for value in values:
            if not isinstance(value, str | int | float) or isinstance(value, bool):
                raise SweepError(
                    f"{_where(file, key, name)}: {key}.{name}: {value!r} is neither a number nor "
                    "a text"
                )
        _once(file, values, key, name)
        out[name] = values
    return out


def _points(
    file: Path,
    name: str,
    text: str,
    profile: str,
    parameters: Mapping[str, list[Any]],
    models: Mapping[str, list[Any]],
    seeds: Sequence[int],
) -> list[PointSpec]:
    where = (
        profile
        if "/" not in profile and not profile.endswith(".toml")
        else str(file.parent / profile)
    )
    try:
        loaded, model = load_drive(where)
    except ProfileError as error:
        raise SweepError(f"{_where(file, 'profiles', profile)}: {error}") from None
    geometry = dict(loaded.values)
    points = []
    for values in itertools.product(*parameters.values()):
        chosen = {key: str(value) for key, value in zip(parameters, values, strict=True)}
        for changes in itertools.product(*models.values()):
            varied = dict(zip(models, changes, strict=True))
            try:
                described = _describe_model(model, varied)
            except (ValueError, OverflowError) as error:
                raise SweepError(f"{_where(file, 'model', *varied)}: {error}") from None
            for seed in seeds:
                shown = {**chosen, **{key: str(value) for key, value in varied.items()}}
                label = " ".join([name, loaded.name, *(f"{k}={v}" for k, v in shown.items())])
                point = PointSpec(
                    label, "job" if text else name, text, loaded.name, geometry, described,
                    chosen, seed, {"pattern": name, "drive": loaded.name, **shown},
                )  # fmt: skip
                if seed == seeds[0]:
                    _try(file, point)
                points.append(point)
    return points


def _try(file: Path, point: PointSpec) -> None:
    """Whether the point's plan can be made. Raises SweepError naming the parameter, FioError."""
    try:
        _plan(point)
    except ValueError as error:
        text = str(error).removeprefix("command line: ")
        key = next((k for k in point.parameters if re.search(rf"\b{re.escape(k)}\b", text)), None)
        if isinstance(error, FioError) and key is None:
            raise  # the job file's own, which names it
        where = _where(file, "parameters", key) if key else f"{file}: {point.label}"
        raise SweepError(f"{where}: {text}") from None


def _describe_model(model: Any, varied: Mapping[str, Any]) -> dict[str, Any]:
    changed = model.but(**{key.replace(".", "__"): value for key, value in varied.items()})
    changed.to_c()
    return {
        "kind": changed.kind,
        "host_us": changed.host_us,
        **{name: dict(values) for name, values in changed.tables.items()},
    }


def _plan(point: PointSpec) -> tuple[Any, Any, Any]:
    from zoned.bench import fiofile
    from zoned.resolving import resolve

    geometry = resolve({}, dict(point.geometry), profile=point.profile)
    model = parse_model(point.model, point.profile)
    if point.what == "job":
        plan = fiofile.parse(point.text, geometry, Path(point.label.split()[0]), point.parameters)
    else:
        plan = find(point.what).plan(geometry, point.parameters)
    return plan, geometry, model


def run_point(point: PointSpec) -> str:
    """One point, in whatever process: its result as JSON text."""
    from zoned.bench.runner import execute

    plan, geometry, model = _plan(point)
    run = execute(plan, geometry, model, point.seed)
    data = results.as_dict(run, point.profile, plan.notes)
    data["point"] = {
        "label": point.label,
        "seed": point.seed,
        "key": point.key,
        "parameters": dict(point.parameters),
        "rows": results.csv_rows(run),
    }
    return printable_json(json.dumps(data, indent=1, ensure_ascii=False)) + "\n"


# -------------------------------------------------------------------------------------- running


@dataclass
class _State:
    """How far a sweep is."""

    grid: Grid
    told: Told | None
    done: int = 0
    suspects: list[PointSpec] = field(default_factory=list)
    """Points that were under way when a worker died."""
    failures: dict[str, str] = field(default_factory=dict)

    def tell(self, text: str) -> None:
        """To whoever watches."""
        if self.told:
            self.told(self.done, len(self.grid.points), printable(text))

    def keep(self, point: PointSpec, text: str) -> None:
        """A finished point."""
        html.write(_file(self.grid, point), text, follow=False)
        self.done += 1
        self.tell(f"{point.label} seed {point.seed}")

    def fail(self, point: PointSpec, why: str) -> None:
        """A point that will not be had."""
        self.failures[point.key] = why
        self.tell(f"{point.label} seed {point.seed} failed: {why}")


def run(
    grid: Grid, *, workers: int | None = None, dask: str | None = None, told: Told | None = None
) -> int:
    """Run what is not finished yet, write points.csv and summary.csv; how many points failed.

    ``workers``: processes on this machine (default: one for each processor). ``dask``: the address
    of a scheduler instead. Raises SweepError when dask is missing or does not answer, OSError.
    """
    grid.folder.mkdir(parents=True, exist_ok=True)
    state = _State(grid, told)
    todo = [point for point in grid.points if _rows(grid, point) is None]
    state.done = len(grid.points) - len(todo)
    if state.done:
        state.tell("finished before")
    while todo:
        todo = _with_pool(workers, dask, todo, state)
    # Whoever was under way when a worker died runs again, alone, twice: only the culprit fails.
    for _ in range(2):
        suspects, state.suspects = state.suspects, []
        for point in suspects:
            _with_pool(1, dask, [point], state)
    for point in state.suspects:
        state.fail(point, "its worker died, alone with it, twice")
    _write_tables(grid, state.failures)
    return len(state.failures)


def _with_pool(
    workers: int | None, dask: str | None, todo: Sequence[PointSpec], state: _State
) -> list[PointSpec]:
    executor, close = _executor(workers, dask)
    try:
        return _round(executor, todo, state)
    finally:
        close()


def _executor(workers: int | None, dask: str | None) -> tuple[Executor, Callable[[], None]]:
    if dask is None:
        import multiprocessing

        pool = ProcessPoolExecutor(
            max_workers=workers or os.cpu_count() or 1,
            mp_context=multiprocessing.get_context("spawn"),
        )
        return pool, lambda: pool.shutdown(cancel_futures=True)
    try:
        from distributed import Client
    except ImportError:
        raise SweepError(
            "--dask needs the package distributed: pip install 'zoned[dask]'"
        ) from None
    try:
        client: Any = Client(dask, timeout="5s")  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise SweepError(f"no Dask scheduler answers at {dask}: {error}") from None
    executor: Executor = client.get_executor(pure=False, retries=1)

    def close() -> None:
        executor.shutdown(wait=False)
        client.close()

    return executor, close


def _round(executor: Executor, todo: Sequence[PointSpec], state: _State) -> list[PointSpec]:
    """Run points until all are done or the pool breaks; what was not begun then."""
    waiting: dict[Future[str], PointSpec] = {}
    queue = list(todo)
    # Few at a time: when a worker dies, only what was under way is in doubt.
    most = 2 * (os.cpu_count() or 1) if isinstance(executor, ProcessPoolExecutor) else len(queue)
    broken = False
    while waiting or (queue and not broken):
        try:
            while queue and not broken and len(waiting) < most:
                waiting[executor.submit(run_point, queue[0])] = queue[0]
                queue.pop(0)
        except BrokenProcessPool:
            broken = True
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            point, error = waiting.pop(future), future.exception()
            if error is None:
                state.keep(point, future.result())
            elif isinstance(error, ValueError | OSError | MemoryError):
                state.fail(point, str(error) or type(error).__name__)
            else:  # the worker died, as the pool's or Dask's own exception tells
                broken = broken or isinstance(error, BrokenProcessPool)
                state.suspects.append(point)
    return queue


def _file(grid: Grid, point: PointSpec) -> Path:
    return grid.folder / f"{point.key}.json"


def _rows(grid: Grid, point: PointSpec) -> list[list[Any]] | None:
    """What a finished point gave. None: it is not finished, or its file is damaged."""
    file = _file(grid, point)
    try:
        data = parse_json(read_bytes(file, MOST_RESULT), InputError, str(file))
        rows = data["point"]["rows"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return rows if isinstance(rows, list) and all(map(_is_row, rows)) else None


def _is_row(row: object) -> bool:
    """Whether it is what results.csv_rows() makes."""
    if not isinstance(row, list) or len(row) != len(results.CSV_COLUMNS):
        return False
    for name, value in zip(results.CSV_COLUMNS, row, strict=True):
        if name in ("jobname", "direction", "error"):
            good = isinstance(value, str)
        else:
            good = value == "" or (isinstance(value, int | float) and -(2.0**64) < value < 2.0**64)
        if not good:
            return False
    return True


def figures(grid: Grid) -> list[tuple[PointSpec, list[dict[str, Any]]]]:
    """What each finished point gave, a table for each row of points.csv. Points that failed have
    no rows.
    """
    return [
        (
            point,
            [dict(zip(results.CSV_COLUMNS, row, strict=True)) for row in _rows(grid, point) or []],
        )
        for point in grid.points
    ]


def _write_tables(grid: Grid, failures: Mapping[str, str]) -> None:
    """points.csv: a row for each point, job and direction; summary.csv: spread over seeds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["point", *results.CSV_COLUMNS])
    series: dict[tuple[str, str, str], list[list[Any]]] = {}
    for point in grid.points:
        if point.key in failures:
            blank = [""] * (len(results.CSV_COLUMNS) - 2)
            writer.writerow(map(csv_cell, [point.label, "", *blank, failures[point.key]]))
            continue
        rows = _rows(grid, point)
        if rows is None:
            raise SweepError(f"{_file(grid, point)}: damaged while the sweep ran; run it again")
        for row in rows:
            writer.writerow(map(csv_cell, [point.label, *row]))
            series.setdefault((point.label, row[0], row[3]), []).append(row)
    html.write(grid.folder / "points.csv", out.getvalue(), follow=False)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    figures = ("iops", "bw_bytes", "lat_mean_ns", "lat_p99_ns", "write_amplification")
    spread = [f"{name}_{kind}" for name in figures for kind in ("mean", "stddev")]
    writer.writerow(["point", "jobname", "direction", "seeds", *spread])
    for (label, job, direction), several in series.items():
        cells: list[object] = []
        for name in figures:
            at = results.CSV_COLUMNS.index(name)
            values = [float(row[at]) for row in several if row[at] != ""]
            mean = sum(values) / len(values) if values else 0.0
            square = sum((v - mean) ** 2 for v in values)
            deviation = (square / (len(values) - 1)) ** 0.5 if len(values) > 1 else 0.0
            cells += [round(mean, 6), round(deviation, 6)] if values else ["", ""]
        writer.writerow(map(csv_cell, [label, job, direction, len(several), *cells]))
    html.write(grid.folder / "summary.csv", out.getvalue(), follow=False)
