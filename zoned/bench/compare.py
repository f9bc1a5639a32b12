"""Two saved results side by side: what changed between A and B. Reads fio's own JSON too."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zoned.bench.jobs import DIRECTIONS
from zoned.inputs import MOST_RESULT, InputError, parse_json, read_bytes
from zoned.plaintext import printable_lines


class CompareError(InputError):
    """A file that is no result, or two that have nothing in common."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one job and direction in both results."""

    job: str
    direction: str
    figure: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """Relative; 0 where both are 0."""
        if self.before:
            return self.after / self.before - 1
        return 0.0 if not self.after else float("inf")


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A result in fio's JSON. Raises CompareError, OSError."""
    name = os.fsdecode(path)
    text = read_bytes(path, MOST_RESULT, CompareError).decode("utf-8", "replace")
    data = parse_json(text, CompareError, name)
    jobs = data.get("jobs") if isinstance(data, dict) else None
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise CompareError(f"{path}: not a result: it has no list of jobs")
    assert isinstance(data, dict)
    return data


def _jobs(data: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """By name, and which of that name."""
    out: dict[tuple[str, int], dict[str, Any]] = {}
    seen: Counter[str] = Counter()
    for job in data["jobs"]:
        given = job.get("jobname", "")
        name = given if isinstance(given, str) else ""
        out[name, seen[name]] = job
        seen[name] += 1
    return out


def _part(value: Any, key: str) -> dict[str, Any]:
    """A table in a table; an empty one where there is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float:
    """A figure; 0 where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _figures(job: dict[str, Any], direction: str) -> dict[str, float]:
    part = _part(job, direction)
    if not part.get("total_ios"):
        return {}
    latency = _part(part, "clat_ns")
    percentiles = _part(latency, "percentile")
    figures = {
        "IOPS": _number(part.get("iops")),
        "MiB/s": _number(part.get("bw_bytes")) / 2**20,
        "mean latency, us": _number(latency.get("mean")) / 1e3,
        "p99 latency, us": _number(percentiles.get("99.000000")) / 1e3,
    }
    if direction == "write":
        figures["write amplification"] = _number(job.get("write_amplification"))
    return {name: value for name, value in figures.items() if value}


def changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    """Every figure that both have. Raises CompareError when there is none."""
    a, b = _jobs(before), _jobs(after)
    found = False
    for key, job in a.items():
        if key not in b:
            continue
        for direction in DIRECTIONS:
            old, new = _figures(job, direction), _figures(b[key], direction)
            for figure in old:
                if figure in new:
                    found = True
                    yield Change(key[0], direction, figure, old[figure], new[figure])
    if not found:
        raise CompareError("the two results have no job in common")


def as_text(before: dict[str, Any], after: dict[str, Any]) -> str:
    """A table."""
    lines = [f"{'job':<24} {'':<6} {'figure':<20} {'A':>14} {'B':>14} {'change':>9}"]
    lines += [
        f"{c.job:<24} {c.direction:<6} {c.figure:<20} {c.before:>14,.2f} {c.after:>14,.2f} "
        f"{c.change:>+9.1%}"
        for c in changes(before, after)
    ]
    for name, jobs, others in (("A", before, after), ("B", after, before)):
        theirs = _jobs(others)
        only = [key[0] for key in _jobs(jobs) if key not in theirs]
        if only:
            lines.append(f"only in {name}: {', '.join(only)}")
    limits = [_part(data, "zoned").get("limit") for data in (before, after)]
    lines += [
        f"limit of {name}: {text}"
        for name, text in zip("AB", limits, strict=True)
        if text and isinstance(text, str)
    ]
    return printable_lines("\n".join(lines) + "\n")
