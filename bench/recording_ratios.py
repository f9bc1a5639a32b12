"""What a recording with data costs: a run of 64 KiB writes that is recorded, against one that is
not.

Zone after zone of an image in /dev/shm is written from its start with random bytes, 64 KiB at a
time. Each figure is the median over pairs of runs, the two of a pair one directly after the other,
in alternating order. The cases:

    new       a new image: the host finds room for each block, as for any program's first run
    again     the same zones after a reset: all places exist, and a write is a copy in memory
    nowhere   as again, with a history that goes to /dev/null: what recording costs but for its file

In the first two the history is a file in /dev/shm, too. A disk of the host's has its own speed.

    python bench/recording_ratios.py                 the table
    python bench/recording_ratios.py --only new      some of the cases
    python bench/recording_ratios.py --strict        exit 1 if a target is missed
    python bench/recording_ratios.py --json out.json the table for programs too

A ratio of 0.77 is a run that takes 1.3 times as long; only new has a target. Beside it stand, for a
host where others disturb the clock, the processor's time of the writer and of the recorder, which
is another thread, each as a multiple of that of a run alone: with a processor for each, a run takes
at least the larger of them. A benchmark is no test: without --strict the exit code is 0 whatever
the figures.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sidebyside import Ratio, options, table

import zoned

MIB = 1 << 20
BLOCK = 64 << 10
PAIRS = 9
ZONE, ZONES = 16 * MIB, 8
TARGET = 0.77
CASES = ["new", "again", "nowhere"]


@dataclass
class Figure(Ratio):
    """One line of the table; MiB a second, medians."""

    recorded: float
    alone: float
    writer: float
    recorder: float


@dataclass(frozen=True)
class Took:
    """Seconds of one run."""

    clock: float
    writer: float
    recorder: float


class Runs:
    """Runs of one case."""

    def __init__(self, case: str, folder: Path) -> None:
        self._new = case == "new"
        self._image = folder / "disk.img"
        self._history = "/dev/null" if case == "nowhere" else str(folder / "history")
        self._data = [os.urandom(BLOCK) for _ in range(16)]
        with self._create():
            pass

    def _create(self) -> zoned.Device:
        return zoned.create(
            self._image,
            replace=True,
            size=ZONES * ZONE,
            zone_size=ZONE,
            max_open=0,
            host_sync="never",
        )

    def run(self, *, recorded: bool) -> Took:
        """One; beginning and end of a history are not in it, but all that it holds is."""
        if self._history != "/dev/null":
            Path(self._history).unlink(missing_ok=True)
        with self._create() if self._new else zoned.open(self._image) as device:
            device.reset_all()
            device.flush()
            if recorded:
                device.trace.start(self._history, data=True)
            all_of, mine, begin = time.process_time(), time.thread_time(), time.perf_counter()
            for zone in device.zones:
                for at in range(0, ZONE, BLOCK):
                    device.pwrite(self._data[at // BLOCK % 16], zone.start + at)
            mine = time.thread_time() - mine
            if recorded:
                device.trace.stop()
            clock = time.perf_counter() - begin
            return Took(clock, mine, time.process_time() - all_of - mine)


def measured(case: str, folder: Path) -> Figure:
    """One line."""
    runs = Runs(case, folder)
    runs.run(recorded=False)
    runs.run(recorded=True)
    rows = []
    for pair in range(PAIRS):
        first = runs.run(recorded=bool(pair % 2))
        second = runs.run(recorded=not pair % 2)
        rows.append((first, second) if pair % 2 else (second, first))
    speed = [[ZONES * ZONE / MIB / row[side].clock for row in rows] for side in (0, 1)]
    return Figure.of_pairs(
        case,
        TARGET if case == "new" else 0.0,
        speed[0],
        speed[1],
        recorded=statistics.median(speed[0]),
        alone=statistics.median(speed[1]),
        writer=statistics.median(one.writer / alone.writer for one, alone in rows),
        recorder=statistics.median(one.recorder / alone.writer for one, alone in rows),
    )


def line(one: Figure) -> str:
    """Of the table."""
    return (
        f"{one.case:8} {one.recorded:15.0f} {one.alone:12.0f} {one.writer:7.2f} {one.recorder:9.2f}"
    )


def main() -> int:
    """The table."""
    asked = options(__doc__)
    heads = f"{'recorded MiB/s':>15} {'alone MiB/s':>12} {'writer':>7} {'recorder':>9}"
    with TemporaryDirectory(prefix="zoned-bench-", dir="/dev/shm") as folder:
        cases = {case: partial(measured, case, Path(folder)) for case in CASES}
        return table(asked, f"{'case':8} {heads}", cases, line)


if __name__ == "__main__":
    sys.exit(main())
