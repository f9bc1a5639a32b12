"""Two saved results side by side: what changed between A and B. Reads fio's own JSON too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoned.bench.jobs import DIRECTIONS


class CompareError(ValueError):
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
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise CompareError(f"{path}: not JSON: {error}") from None
    jobs = data.get("jobs") if isinstance(data, dict) else None
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise CompareError(f"{path}: not a result: it has no list of jobs")
    assert isinstance(data, dict)
    return data


def _jobs(data: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """By name, and which of that name."""
    out: dict[tuple[str, int], dict[str, Any]] = {}
    for job in data["jobs"]:
        name = str(job.get("jobname", ""))
        out[name, sum(1 for key in out if key[0] == name)] = job
    return out


def _figures(job: dict[str, Any], direction: str) -> dict[str, float]:
    part = job.get(direction) or {}
    if not part.get("total_ios"):
        return {}
    latency = part.get("clat_ns") or {}
    percentiles = latency.get("percentile") or {}
    figures = {
        "IOPS": part.get("iops", 0.0),
        "MiB/s": part.get("bw_bytes", 0) / 2**20,
        "mean latency, us": latency.get("mean", 0.0) / 1e3,
        "p99 latency, us": percentiles.get("99.000000", 0) / 1e3,
    }
    if direction == "write" and "write_amplification" in job:
        figures["write amplification"] = job["write_amplification"]
    return {name: float(value) for name, value in figures.items() if value}


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
        only = [key[0] for key in _jobs(jobs) if key not in _jobs(others)]
        if only:
            lines.append(f"only in {name}: {', '.join(only)}")
    limits = [data.get("zoned", {}).get("limit") for data in (before, after)]
    lines += [f"limit of {name}: {text}" for name, text in zip("AB", limits, strict=True) if text]
    return "\n".join(lines) + "\n"
