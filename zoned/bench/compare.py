"""Saved results side by side: what changed from the first to the others. Reads fio's own JSON too.

Text, JSON, and a page of its own (compare.html); and which figures are worse, for who lets a
benchmark decide something.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zoned.bench.jobs import DIRECTIONS
from zoned.inputs import MOST_RESULT, InputError, parse_json, read_bytes
from zoned.plaintext import printable, printable_json, printable_lines


class CompareError(InputError):
    """A file that is no result, or several that have nothing in common."""


LESS_IS_BETTER = ("mean latency, us", "p99 latency, us", "write amplification")
"""Of the figures; of the others more is better."""


def _relative(before: float, after: float) -> float:
    """0 where both are 0."""
    if before:
        return after / before - 1
    return 0.0 if not after else float("inf")


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
        return _relative(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one job and direction in all results; None where one does not have it."""

    job: str
    direction: str
    figure: str
    values: tuple[float | None, ...]

    def change(self, at: int) -> float | None:
        """Of result ``at`` from the first, relative. None: one of them does not have the figure."""
        before, after = self.values[0], self.values[at]
        return None if before is None or after is None else _relative(before, after)

    def worse(self, at: int) -> float:
        """By which part result ``at`` is worse than the first; 0 where it is not."""
        change = self.change(at) or 0.0
        return max(0.0, change if self.figure in LESS_IS_BETTER else -change)

    @property
    def what(self) -> str:
        """In words."""
        return f"{self.job}, {self.direction}, {self.figure}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results and their figures, the first one's jobs first."""

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    missing: tuple[tuple[str, ...], ...]
    """By result: jobs of the first that it does not have."""
    only: tuple[tuple[str, ...], ...]
    """By result: jobs that the first does not have."""
    limits: tuple[str, ...]

    def worst(self, over: float) -> list[str]:
        """What is worse than in the first result by more than ``over``, as a part of it, and what
        is missing: a sentence for each.
        """
        out = []
        for at in range(1, len(self.names)):
            out += [
                f"{row.what}: {letter(at)} is {row.worse(at):.1%} worse than A"
                for row in self.rows
                if row.worse(at) > over
            ]
            out += [f"job {name}: {letter(at)} does not have it" for name in self.missing[at]]
        return out


def letter(at: int) -> str:
    """What a result is called: A, B, ..., Z, AA, ..."""
    return (letter(at // 26 - 1) if at >= 26 else "") + chr(ord("A") + at % 26)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A result in fio's JSON. Raises CompareError, OSError."""
    name = os.fsdecode(path)
    text = read_bytes(path, MOST_RESULT, CompareError).decode("utf-8", "replace")
    data = parse_json(_without_notes(text), CompareError, name)
    jobs = data.get("jobs") if isinstance(data, dict) else None
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise CompareError(f"{path}: not a result: it has no list of jobs")
    assert isinstance(data, dict)
    return data


def _without_notes(text: str) -> str:
    """fio puts notes for people into the same file, on lines before the JSON."""
    begin = 0 if text.lstrip()[:1] in ("{", "[") else text.find("\n{") + 1
    return text[begin:]


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


def compared(results: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> Comparison:
    """The figures of several results that the first and at least one other have.

    Raises CompareError where there are none.
    """
    jobs = [_jobs(data) for data in results]
    rows: list[Row] = []
    for key in jobs[0]:
        for direction in DIRECTIONS:
            found = [_figures(one[key], direction) if key in one else {} for one in jobs]
            rows += [
                Row(key[0], direction, figure, tuple(one.get(figure) for one in found))
                for figure in found[0]
                if any(figure in one for one in found[1:])
            ]
    if not rows:
        some = "two" if len(results) == 2 else f"{len(results)}"
        raise CompareError(f"the {some} results have no job in common")
    return Comparison(
        names=tuple(names) or tuple(letter(at) for at in range(len(results))),
        rows=tuple(rows),
        missing=tuple(tuple(k[0] for k in jobs[0] if k not in one) for one in jobs),
        only=tuple(tuple(k[0] for k in one if k not in jobs[0]) for one in jobs),
        limits=tuple(_limit(data) for data in results),
    )


def _limit(data: dict[str, Any]) -> str:
    text = _part(data, "zoned").get("limit")
    return text if isinstance(text, str) else ""


def as_text(*results: dict[str, Any], names: Sequence[str] = ()) -> str:
    """A table. ``names``: of the results, told below it. Raises CompareError."""
    found = compared(results, names)
    head = f"{'job':<24} {'':<6} {'figure':<20} {'A':>14}"
    for at in range(1, len(results)):
        head += f" {letter(at):>14} {'change':>9}"
    lines = [head]
    for row in found.rows:
        line = f"{row.job:<24} {row.direction:<6} {row.figure:<20} {_shown(row.values[0]):>14}"
        for at in range(1, len(results)):
            change = row.change(at)
            told = "" if change is None else f"{change:+.1%}"
            line += f" {_shown(row.values[at]):>14} {told:>9}"
        lines.append(line)
    gone = [name for name in found.missing[-1] if all(name in one for one in found.missing[1:])]
    if gone:
        lines.append(f"only in A: {', '.join(gone)}")
    for at in range(1, len(results)):
        away = [name for name in found.missing[at] if name not in gone]
        if away:
            lines.append(f"not in {letter(at)}: {', '.join(away)}")
        if found.only[at]:
            lines.append(f"only in {letter(at)}: {', '.join(found.only[at])}")
    lines += [f"limit of {letter(at)}: {text}" for at, text in enumerate(found.limits) if text]
    if names:
        called = (f"{letter(at)} {printable(name)}" for at, name in enumerate(names))
        lines.append("; ".join(called))
    return printable_lines("\n".join(lines) + "\n")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def as_json(found: Comparison) -> str:
    """One JSON text, ending in a newline."""
    data = {
        "results": [
            {"letter": letter(at), "name": name, "limit": found.limits[at],
             "missing": list(found.missing[at]), "only": list(found.only[at])}
            for at, name in enumerate(found.names)
        ],
        "figures": [
            {"job": row.job, "direction": row.direction, "figure": row.figure,
             "values": list(row.values),
             "changes": [_finite(row.change(at)) for at in range(len(row.values))]}
            for row in found.rows
        ],
    }  # fmt: skip
    return printable_json(json.dumps(data, indent=2, ensure_ascii=False)) + "\n"


def _finite(value: float | None) -> float | None:
    return round(value, 6) if value is not None and math.isfinite(value) else None


def as_page(found: Comparison, over: float | None = None) -> str:
    """A self-contained page. ``over``: what is worse by more than this stands out."""
    from zoned.bench import html

    letters = [letter(at) for at in range(len(found.names))]
    least = 0.0 if over is None else over
    return html.rendered(
        "compare.html",
        "Results compared",
        results=list(zip(letters, found.names, found.limits, strict=True)),
        letters=letters,
        rows=[
            {
                "row": row,
                "cells": [
                    {
                        "value": _shown(value),
                        "change": _told(row, at) if at else "",
                        "worse": bool(at) and row.worse(at) > max(least, 5e-4),
                    }
                    for at, value in enumerate(row.values)
                ],
            }
            for row in found.rows
        ],
        missing=[
            f"{letters[at]} has no job {name}"
            for at in range(1, len(letters))
            for name in found.missing[at]
        ],
        over="" if over is None else f"{over:.4g}",
    )


def _told(row: Row, at: int) -> str:
    change = row.change(at)
    return "" if change is None else f"{change:+.1%}"
