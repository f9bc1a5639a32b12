"""The speed of `zonedctl run` as ratios: fio on /dev/zoned0 against the same fio on tmpfs.

fio writes sequentially and reads at random, 4 KiB at a time, within 32 MiB that both sides hold
already; each figure is the median over five pairs of runs, the two of a pair one directly after
the other, in alternating order. Beside them stands what fio itself could do at most, in the same
turn: its engine that moves no bytes (null), and the one that copies to and from the file's memory
without a system call (mmap). No device can be faster than the former, and none that keeps its
bytes in memory than the latter.

    python bench/run_ratios.py                       the table
    python bench/run_ratios.py --only psync          some of the cases
    python bench/run_ratios.py --strict              exit 1 if a target is missed
    python bench/run_ratios.py --json out.json       the table for programs too

A benchmark is no test: without --strict the exit code is 0 whatever the figures. Needs fio and
0.2 GiB at /dev/shm.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sidebyside import Ratio, options, table

import zoned

MIB = 1 << 20
PAIRS = 5
SPAN = 32 * MIB
SECONDS = 1  # of each run, behind one that does not count
SKIPPED = 8 * MIB  # conventional zones


@dataclass(frozen=True)
class Case:
    """What fio does."""

    rw: str
    engine: str
    depth: int
    target: float

    @property
    def key(self) -> str:
        """``write:psync:1``"""
        return f"{self.rw}:{self.engine}:{self.depth}"


CASES = [
    Case("write", "psync", 1, 3.0),
    Case("randread", "psync", 1, 3.0),
    Case("write", "libaio", 32, 1.0),
    Case("randread", "libaio", 32, 1.0),
]


@dataclass
class Figure(Ratio):
    """One line of the table; speeds in operations a second, medians."""

    zoned: float
    tmpfs: float
    mapped: float
    nothing: float


def fio(case: Case, target: str, engine: str, *more: str) -> list[str]:
    """The command line."""
    return [
        *("fio", "--name=a", "--bs=4k", "--thread", "--time_based", f"--runtime={SECONDS}"),
        *("--ramp_time=1", "--output-format=json", f"--rw={case.rw}", f"--ioengine={engine}"),
        *(f"--iodepth={case.depth}", f"--filename={target}", f"--size={SPAN}", *more),
    ]


def iops(done: subprocess.CompletedProcess[str]) -> float:
    """What fio measured."""
    done.check_returncode()
    job: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    assert job["error"] == 0, job
    return float(job["read"]["iops"] + job["write"]["iops"])


def on_zoned(case: Case, image: Path) -> float:
    """On the disk."""
    command = fio(
        case, "/dev/zoned0", case.engine, "--direct=1", "--zonemode=zbd", f"--offset={SKIPPED}"
    )
    return iops(zoned.run(command, disks={"zoned0": image}, capture_output=True, text=True))


def plain(case: Case, file: Path, engine: str) -> float:
    """On the file."""
    command = fio(case, str(file), engine)
    return iops(subprocess.run(command, check=False, capture_output=True, text=True))


def measured(case: Case, image: Path, file: Path) -> Figure:
    """One line."""
    rows = []
    for pair in range(PAIRS):
        if pair % 2:
            there = plain(case, file, case.engine)
            here = on_zoned(case, image)
        else:
            here = on_zoned(case, image)
            there = plain(case, file, case.engine)
        rows.append((here, there, plain(case, file, "mmap"), plain(case, file, "null")))
    ours, tmpfs, mapped, nothing = ([row[at] for row in rows] for at in range(4))
    return Figure.of_pairs(
        case.key,
        case.target,
        ours,
        tmpfs,
        zoned=statistics.median(ours),
        tmpfs=statistics.median(tmpfs),
        mapped=statistics.median(mapped),
        nothing=statistics.median(nothing),
    )


def line(one: Figure) -> str:
    """Of the table."""
    return (
        f"{one.case:20} {one.zoned:10.0f} {one.tmpfs:10.0f} {one.mapped:10.0f} {one.nothing:10.0f}"
    )


def main() -> int:
    """The table."""
    asked = options(__doc__)
    with TemporaryDirectory(prefix="zoned-bench-", dir="/dev/shm") as folder:
        image, file = Path(folder, "disk.img"), Path(folder, "file")
        zoned.create(
            image, size="64MiB", zone_size="4MiB", conventional=2, max_open=0, host_sync="never"
        ).close()
        file.write_bytes(bytes(SPAN))
        with zoned.open(image) as device:
            for zone in device.zones[2:10]:
                device.pwrite(bytes(zone.length), zone.start)
        head = f"{'case':20} {'zoned/s':>10} {'tmpfs/s':>10} {'mmap/s':>10} {'null/s':>10}"
        return table(
            asked, head, {case.key: partial(measured, case, image, file) for case in CASES}, line
        )


if __name__ == "__main__":
    sys.exit(main())
