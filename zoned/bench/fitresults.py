"""What fio reported of the jobs of ``bench fit``: its JSON, read as figures that are compared.

A result says which options each job had, so the same job file is made of it for the model. What is
compared of each job and direction is the mean latency and the commands a second, and of a few jobs
the spread of the latencies; each with how far it may be off.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoned.bench import compare
from zoned.bench.fitjobs import SPREADS
from zoned.bench.jobs import DIRECTIONS
from zoned.inputs import InputError
from zoned.plaintext import printable

NOISE = 0.005
"""How far a job's figure may be off, as a part of it, when nothing is wrong, and not by chance."""
STEADY = 0.0005
"""The same of the commands under way, the product of mean latency and commands a second. What made
a run slower made one longer and the other fewer, so the product tells what the host's part is."""
TICK = 0.0005
"""Seconds that a run may be longer or shorter than fio says: it counts in whole ms."""


class FitError(InputError):
    """Results that cannot be used: no fio JSON, jobs that are not understood, nothing to fit."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one job did in one direction."""

    result: int
    """Which result file."""
    job: int
    name: str
    direction: int
    kinds: tuple[str, ...]
    """What its figures are: of FIGURES."""
    figures: tuple[float, ...]
    """Measured: mean latency in ns, commands a second (not of trims); or the spread alone, ns."""
    noise: tuple[float, ...]
    """How far each may be off as a part of it; in place of the commands a second, the product."""

    @property
    def what(self) -> str:
        """In words."""
        return f"{self.name}, {DIRECTIONS[self.direction]}"


FIGURES = ("mean latency", "commands/s", "spread")


@dataclass(frozen=True, slots=True)
class Experiment:
    """A result file: the job file made of it, and what its jobs did."""

    name: str
    text: str
    rows: tuple[Row, ...]


def read(paths: Sequence[str | os.PathLike[str]]) -> list[Experiment]:
    """Results as experiments. Raises FitError, CompareError (no result), OSError."""
    return [_experiment(at, path) for at, path in enumerate(paths)]


def _experiment(at: int, path: str | os.PathLike[str]) -> Experiment:
    data = compare.load(path)
    name = os.fsdecode(path)
    jobs = [job for job in data["jobs"] if isinstance(job, dict)]
    lines = ["[global]", *_options(data.get("global options"), name)]
    rows: list[Row] = []
    same = 0
    for index, job in enumerate(jobs):
        title, options = job.get("jobname"), job.get("job options")
        if not isinstance(title, str) or not title.strip() or set(title) & set("[]\n"):
            raise FitError(f"{name}: its job number {index + 1} has no name")
        if job.get("error"):
            raise FitError(f"{name}: job {title} failed there: run it again")
        if same == 0:
            lines += [f"[{title}]", *_options(options, name)]
            same = _copies(data, job)
        same -= 1
        if not title.startswith("prepare"):
            rows += _rows(at, index, title, job, _under_way(data, job))
    if not rows:
        raise FitError(f"{name}: none of its jobs did anything that can be compared")
    return Experiment(name, "\n".join(lines) + "\n", tuple(rows))


def _options(given: object, name: str) -> list[str]:
    """fio's options as lines of a job file; the drive's own name is not needed."""
    if given is None:
        return []
    if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
        raise FitError(f"{name}: its jobs do not say which options they had")
    out = []
    for key, value in given.items():
        if key in ("filename", "name", "write_bw_log", "write_lat_log", "write_iops_log"):
            continue
        if set(f"{key}{value}") & set("\n\r;#"):
            raise FitError(f"{name}: the option {printable(key)} is not one of a job file")
        out.append(f"{key}={value}" if value else key)
    return out


def _copies(data: Mapping[str, Any], job: Mapping[str, Any]) -> int:
    """How many entries of the result are of this section: numjobs, reported together or not."""
    return 1 if _together(data, job) else _whole(data, job, "numjobs")


def _under_way(data: Mapping[str, Any], job: Mapping[str, Any]) -> int:
    """How many commands of what is reported as one are under way when nothing holds them back."""
    return _whole(data, job, "iodepth") * (
        _whole(data, job, "numjobs") if _together(data, job) else 1
    )


def _given(data: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, str]:
    return {**(data.get("global options") or {}), **(job.get("job options") or {})}


def _together(data: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    return _given(data, job).get("group_reporting", "0") != "0"


def _whole(data: Mapping[str, Any], job: Mapping[str, Any], name: str) -> int:
    """An option that is a number from 1 on; what it is not, is 1."""
    number = _given(data, job).get(name, "1")
    return max(1, int(number)) if number.isdigit() else 1


def _rows(at: int, index: int, name: str, job: Mapping[str, Any], under_way: int) -> Iterator[Row]:
    for direction, what in enumerate(DIRECTIONS):
        part = job.get(what)
        if not isinstance(part, dict) or not part.get("total_ios"):
            continue
        mean, iops = _mean(part), _number(part.get("iops"))
        if not mean or (direction < 2 and not iops):
            raise FitError(f"job {name}: it has no latencies: run it without disable_lat")
        where = (at, index, name, direction)
        if name in SPREADS:
            yield Row(*where, FIGURES[2:], (_spread(name, part),), (NOISE,))
        elif direction < 2:
            noise = _steady(mean, iops, part, under_way)
            yield Row(*where, FIGURES[:2], (mean, iops), (_chance(part, mean), noise))
        else:
            yield Row(*where, FIGURES[:1], (mean,), (_chance(part, mean),))


def _chance(part: Mapping[str, Any], mean: float) -> float:
    """How far a mean latency may be off: where latencies differ, by what so many of them leave open
    too.
    """
    found = part.get("lat_ns") or part.get("clat_ns")
    spread = _number(found.get("stddev")) if isinstance(found, dict) else 0.0
    return math.hypot(NOISE, spread / mean / math.sqrt(max(1.0, _number(part.get("total_ios")))))


def _steady(mean: float, iops: float, part: Mapping[str, Any], under_way: int) -> float:
    """How far the product of both may be off: by what fio's clock leaves open, by the commands at
    the end that have fewer beside them, and where a job pauses, by as much of NOISE.
    """
    pause = max(0.0, 1 - mean * iops / 1e9 / under_way)
    runtime = _number(part.get("runtime"))
    clock = TICK / (runtime / 1e3) if runtime else NOISE
    end = under_way / 2 / max(1.0, _number(part.get("total_ios")))
    return math.hypot(STEADY, NOISE * pause, min(clock, NOISE), min(end, NOISE))


def _spread(name: str, part: Mapping[str, Any]) -> float:
    found = part.get("lat_ns") or part.get("clat_ns")
    spread = _number(found.get("stddev")) if isinstance(found, dict) else 0.0
    if not spread:
        raise FitError(f"job {name}: the spread of its latencies is missing")
    return spread


def _mean(part: Mapping[str, Any]) -> float:
    """Submission and completion together, ns."""
    whole = _latency(part, "lat_ns")
    return whole or _latency(part, "slat_ns") + _latency(part, "clat_ns")


def _latency(part: Mapping[str, Any], name: str) -> float:
    found = part.get(name)
    return _number(found.get("mean")) if isinstance(found, dict) else 0.0


def _number(value: object) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e18
    return float(value) if good and isinstance(value, int | float) else 0.0
