"""What the scripts that measure us beside another program share: options, ratios, the end."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar


@dataclass
class Ratio:
    """One line of a table: how many times as fast we are, over all pairs of runs."""

    case: str
    ratio: float
    """The median."""
    low: float
    high: float
    target: float

    @classmethod
    def of_pairs(
        cls, case: str, target: float, ours: Sequence[float], others: Sequence[float], **more: Any
    ) -> Self:
        """From the speeds of both sides, pair by pair."""
        ratios = [a / b for a, b in zip(ours, others, strict=True)]
        return cls(case, statistics.median(ratios), min(ratios), max(ratios), target, **more)

    @property
    def met(self) -> bool:
        """Whether the target is kept."""
        return self.ratio >= self.target

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.low:.2f} to {self.high:.2f}; target {self.target})"


_Ratio = TypeVar("_Ratio", bound=Ratio)


def options(doc: str | None) -> argparse.Namespace:
    """Of the command line: ``only``, ``strict`` and ``json``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose key contains one of these words")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("--json", type=Path, help="write the table there")
    return parser.parse_args()


def wanted(asked: argparse.Namespace, key: str) -> bool:
    """Whether ``--only`` names this case, or nothing."""
    return any(word in key for word in asked.only.split(","))


def table(
    asked: argparse.Namespace,
    head: str,
    cases: Mapping[str, Callable[[], _Ratio]],
    line: Callable[[_Ratio], str],
) -> int:
    """Measure the cases that are wanted and print a line of each; the exit code."""
    print(f"{head}   ratio")
    found = []
    for key, measured in cases.items():
        if wanted(asked, key):
            found.append(measured())
            print(f"{line(found[-1])}   {found[-1]}", flush=True)
    return told(asked, found)


def told(asked: argparse.Namespace, table: Sequence[Ratio]) -> int:
    """The table for programs, where it is asked for; the exit code."""
    if asked.json:
        asked.json.write_text(json.dumps([asdict(one) for one in table], indent=1) + "\n")
    return int(asked.strict and not all(one.met for one in table))
