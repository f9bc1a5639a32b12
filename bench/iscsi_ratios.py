"""The speed of `zonedctl export iscsi` as ratios: libiscsi against it and against tgt.

Both serve loopback from tmpfs. Commands go one behind the other through iscsi_load.c; each figure
is the median over five pairs of runs, the two of a pair one directly after the other, in
alternating order. Writes fill zones of ours that were reset, and a plain file of tgt's. The last
line is our own target with 64 sessions against 8.

    python bench/iscsi_ratios.py                     the table
    python bench/iscsi_ratios.py --only read         some of the cases
    python bench/iscsi_ratios.py --strict            exit 1 if a target is missed
    python bench/iscsi_ratios.py --json out.json     the table for programs too

A benchmark is no test: without --strict the exit code is 0 whatever the figures. Needs tgt
(tgtd and tgtadm, which want root), gcc, libiscsi's headers, and 1.5 GiB at /dev/shm.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sidebyside import Ratio, options, told, wanted

import zoned

MIB = 1 << 20
PAIRS = 5
SECONDS = 2
BLOCK = 512
ZONE = 16 * MIB
SIZE = 512 * MIB
TGT, OURS = "iqn.2026-01.bench:tgt", "iqn.2026-01.bench:zoned"


@dataclass(frozen=True)
class Case:
    """What a run does."""

    way: str
    bytes: int
    depth: int
    target: float
    sessions: int = 1

    @property
    def key(self) -> str:
        """``read:4096:32``"""
        return f"{self.way}:{self.bytes}:{self.depth}"


CASES = [
    Case(way, size, depth, target)
    for way in ("read", "write")
    for size, depth, target in ((4096, 1, 1.7), (4096, 32, 2.7), (MIB, 1, 3.5), (MIB, 8, 3.5))
]
MANY, FEW = Case("read", 4096, 4, 1.0, sessions=64), Case("read", 4096, 4, 1.0, sessions=8)


@dataclass
class Figure(Ratio):
    """One line of the table; speeds in commands a second, medians."""

    zoned: float
    other: float


@dataclass(frozen=True)
class Target:
    """Who is asked."""

    address: str
    name: str
    lun: int
    zone: int


def load(program: Path, target: Target, case: Case) -> float:
    """Commands a second."""
    span = SIZE // case.sessions // BLOCK
    done = subprocess.run(
        [
            *(program, target.address, target.name, str(target.lun), case.way),
            *map(str, (case.bytes // BLOCK, case.depth, SECONDS, case.sessions, 0, span)),
            str(target.zone // BLOCK),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return float(done.stdout)


@contextmanager
def tgt(folder: Path) -> Iterator[Target]:
    """Debian's tgt with a file of its own."""
    file = folder / "tgt.img"
    file.write_bytes(b"x" * SIZE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"TGT_IPC_SOCKET": str(folder / "tgt")}
    daemon = subprocess.Popen(
        ["tgtd", "-f", "--iscsi", f"portal={address}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def tell(*words: str) -> int:
        command = ["tgtadm", "--lld", "iscsi", *words]
        return subprocess.run(
            command, env=environment, check=False, stderr=subprocess.DEVNULL
        ).returncode

    try:
        until = time.monotonic() + 10
        while tell("--op", "new", "--mode", "target", "--tid", "1", "-T", TGT):
            if time.monotonic() > until:
                raise SystemExit("tgtd does not answer (it wants root)")
            time.sleep(0.1)
        unit = ("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1")
        bind = ("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
        if tell(*unit, "-b", str(file)) or tell(*bind):
            raise SystemExit("tgtadm refused the disk")
        yield Target(address, TGT, 1, 0)
    finally:
        daemon.kill()
        daemon.wait()


@contextmanager
def ours(folder: Path) -> Iterator[Target]:
    """Our target, in a process of its own, as tgt is; all zones full."""
    image = folder / "disk.img"
    with zoned.create(
        image,
        size=SIZE,
        zone_size=ZONE,
        conventional=0,
        logical_block=BLOCK,
        max_open=0,
        host_sync="never",
        slot_cache=SIZE,  # tgt's file keeps its room on the host, too
    ) as device:
        for zone in device.zones:
            device.pwrite(b"x" * zone.length, zone.start)
    served = subprocess.Popen(
        [
            *(sys.executable, "-m", "zoned", "export", "iscsi", str(image)),
            *("--listen", "127.0.0.1:0", "--iqn", OURS),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert served.stdout is not None
        line = served.stdout.readline()
        while "iscsi://" not in line:
            line = served.stdout.readline()
            if not line:
                raise SystemExit("zonedctl export did not begin")
        yield Target(line.split("iscsi://")[1].split("/")[0], OURS, 0, ZONE)
    finally:
        served.terminate()
        served.wait()


def measured(program: Path, sides: list[tuple[Target, Case]]) -> tuple[list[float], list[float]]:
    """Of both sides, in pairs."""
    found: tuple[list[float], list[float]] = ([], [])
    for pair in range(PAIRS):
        for side in (0, 1) if pair % 2 else (1, 0):
            found[side].append(load(program, *sides[side]))
    return found


def main() -> int:
    """The table."""
    asked = options(__doc__)
    folder = Path(tempfile.mkdtemp(prefix="zoned-bench-", dir="/dev/shm"))
    figures = []
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        program = folder / "iscsi_load"
        source = Path(__file__).with_name("iscsi_load.c")
        compiler = ["gcc", "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-o", str(program), str(source)]
        subprocess.run([*compiler, "-liscsi"], check=True)
        there = stack.enter_context(tgt(folder))
        here = stack.enter_context(ours(folder))
        print(f"{'case':20} {'zoned/s':>10} {'other/s':>10}   ratio")
        lines = [(case.key, [(here, case), (there, case)], case.target) for case in CASES]
        lines.append(("sessions:64:8", [(here, MANY), (here, FEW)], MANY.target))
        for key, sides, goal in lines:
            if not wanted(asked, key):
                continue
            here_s, there_s = measured(program, sides)
            one = Figure.of_pairs(
                key,
                goal,
                here_s,
                there_s,
                zoned=statistics.median(here_s),
                other=statistics.median(there_s),
            )
            figures.append(one)
            print(f"{one.case:20} {one.zoned:10.0f} {one.other:10.0f}   {one}", flush=True)
    return told(asked, figures)


if __name__ == "__main__":
    sys.exit(main())
