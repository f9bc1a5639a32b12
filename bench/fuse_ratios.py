"""The mount's speed as ratios against libfuse's own example passthrough_ll, both driven by fio.

passthrough_ll serves a folder on tmpfs, zonefs a disk image on the same tmpfs; fio (psync, direct)
writes sequentially and reads at random on both, one job and four. Every figure is the median over
five pairs of runs, the two of a pair one directly after the other, in alternating order; two
pairs before them do not count. Neither side allocates memory while it is measured: passthrough_ll
overwrites its files, zonefs writes zones whose place is kept when they are reset (slot_cache).
The last line needs no mount: 4 KiB writes from Python, ZoneFS against an unbuffered file on tmpfs.

    python bench/fuse_ratios.py                     the table
    python bench/fuse_ratios.py --only write:4k:1   some of the cases
    python bench/fuse_ratios.py --strict            exit 1 if a target is missed
    python bench/fuse_ratios.py --json out.json     the table for programs too

A benchmark is no test: without --strict the exit code is 0 whatever the figures. Needs root or
fusermount3, fio, gcc, libfuse3's headers, its examples (Debian's libfuse3-dev has them; otherwise
--passthrough FILE.c), and 2.5 GiB at /dev/shm.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zoned
import zonefs

MIB = 1 << 20
PAIRS = 5
WARM_UP = 2  # runs that do not count: the first one allocates, the second one maps
SECONDS = 1  # of fio's own time, at least, for each figure
JOBS = 4
ZONE = 256 * MIB
EXAMPLE = Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")
BUSY = 0.25  # of the machine used by others: no telling


@dataclass(frozen=True)
class Case:
    """What fio does."""

    rw: str
    block: str
    jobs: int
    target: float

    @property
    def key(self) -> str:
        """``write:4k:1``"""
        return f"{self.rw}:{self.block}:{self.jobs}"


IN_PROCESS = Case("python", "4k", 1, 1.5)
CASES = [
    Case(rw, block, jobs, 1.2 if block == "4k" else 1.3)
    for rw, block in (("write", "4k"), ("write", "128k"), ("write", "1m"), ("randread", "4k"))
    for jobs in (1, JOBS)
] + [IN_PROCESS]


@dataclass
class Figure:
    """One line of the table; speeds in operations a second."""

    case: str
    passthrough: float
    zonefs: float
    ratio: float
    low: float
    high: float
    target: float
    met: bool
    unclear: bool


@dataclass(frozen=True)
class Side:
    """A mount under test."""

    folder: Path
    resets: bool
    """Sequential files: emptied before they are written."""


# ---------------------------------------------------------------- the two mounts


def wait_for(where: Path, server: subprocess.Popen[bytes]) -> None:
    """Until something is mounted."""
    for _ in range(400):
        if os.path.ismount(where):
            return
        if server.poll() is not None:
            break
        time.sleep(0.025)
    raise SystemExit(f"fuse_ratios: nothing was mounted at {where}")


@contextmanager
def serving(command: list[str], where: Path) -> Iterator[None]:
    """A server's process, unmounted at the end."""
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(where, server)
        yield
    finally:
        subprocess.run(["fusermount3", "-u", str(where)], check=False)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def passthrough(room: Path, source: Path) -> Iterator[Side]:
    """passthrough_ll as libfuse ships it, over a folder with files of the zones' size."""
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "fuse3"], text=True)
    program = room / "passthrough_ll"
    subprocess.run(
        ["gcc", "-O2", "-w", "-o", str(program), str(source), *shlex.split(flags)], check=True
    )
    folder, where = room / "files", room / "passthrough"
    folder.mkdir()
    where.mkdir()
    for job in range(JOBS):
        with open(folder / str(job), "wb") as file:
            file.writelines(b"\1" * MIB for _ in range(ZONE // MIB))
    with serving([str(program), "-f", "-o", f"source={folder}", str(where)], where):
        yield Side(where, resets=False)


@contextmanager
def zones(room: Path, workers: int) -> Iterator[Side]:
    """The mount of an image whose zones have all been written once."""
    image, where = room / "disk.img", room / "zonefs"
    where.mkdir()
    with zoned.create(
        image,
        size=(JOBS + 1) * ZONE,
        zone_size=ZONE,
        conventional=1,
        max_open=0,
        slot_cache=(JOBS + 1) * ZONE,
    ) as disk:
        zonefs.mkfs(disk)
        for zone in range(1, JOBS + 1):
            for at in range(0, ZONE, MIB):
                disk.pwrite(b"\1" * MIB, zone * ZONE + at)
    script = f"import zonefs; m = zonefs.mount({str(image)!r}, {str(where)!r}, workers={workers}); "
    script += "m.wait(); m.unmount()"
    with serving([sys.executable, "-c", script], where):
        yield Side(where / "seq", resets=True)


# ---------------------------------------------------------------- measuring


def cpu_seconds() -> tuple[float, float]:
    """What all CPUs together have been and how long they have worked, since the boot."""
    with open("/proc/stat", encoding="ascii") as stat:
        fields = [int(field) for field in stat.readline().split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    return sum(fields) / tick, (sum(fields) - fields[3] - fields[4]) / tick


def server_seconds() -> float:
    """CPU time of this process's children that are alive: the two servers."""
    total = 0.0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def fio(side: Side, case: Case) -> tuple[float, float]:
    """Operations a second, and the share of the machine that others used meanwhile."""
    operations = seconds = 0.0
    began, mine = cpu_seconds(), server_seconds()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    while seconds < SECONDS:
        done, took = fio_once(side, case)
        operations += done
        seconds += took
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended, mine = cpu_seconds(), server_seconds() - mine
    mine += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    others = max(0.0, ended[1] - began[1] - mine) / max(ended[0] - began[0], 0.01)
    return operations / seconds, others


def fio_once(side: Side, case: Case) -> tuple[float, float]:
    """What fio did, and in how many seconds; its own start and end do not count."""
    command = [
        "fio",
        "--ioengine=psync",
        "--direct=1",
        f"--rw={case.rw}",
        f"--bs={case.block}",
        "--create_on_open=0",
        "--allow_file_create=0",
        "--unlink=0",
        "--fallocate=none",
        "--group_reporting=1",
        "--output-format=json",
    ]
    if case.rw == "write":
        command += [f"--size={ZONE if case.jobs == 1 else ZONE // 2}"]
        if side.resets:
            command += ["--file_append=1"]
            for job in range(case.jobs):
                os.truncate(side.folder / str(job), 0)
        else:
            command += ["--overwrite=1"]
    else:
        command += [f"--size={ZONE // 2}", "--time_based", f"--runtime={SECONDS}"]
    for job in range(case.jobs):
        command += [f"--name=job{job}", f"--filename={side.folder}/{job}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    (group,) = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    sums = [group["read"], group["write"]]
    return sum(one["total_ios"] for one in sums), max(one["runtime"] for one in sums) / 1000


def in_process(folder: Path) -> tuple[float, float]:
    """Writes a second from Python: to an unbuffered file on tmpfs, and to a file of ZoneFS."""
    block, count, rounds = bytes(range(256)) * 16, 4096, 8
    size = count * len(block)
    with zoned.create(
        folder / "inside.img", size=4 * size, zone_size=size, conventional=1, slot_cache=4 * size
    ) as disk:
        zonefs.mkfs(disk)
        with (
            zonefs.ZoneFS(disk) as fs,
            open(folder / "plain", "wb", buffering=0) as plain,
            fs.open("seq/0", "wb", buffering=0) as ours,
        ):

            def timed(file: Any) -> float:
                write = file.write
                began = time.process_time()  # what others use of the CPU is not ours
                for _ in range(count):
                    write(block)
                return time.process_time() - began

            pairs = []
            for _ in range(rounds):
                plain.seek(0)
                ours.truncate(0)
                ours.seek(0)
                pairs.append((timed(plain), timed(ours)))
    os.unlink(folder / "inside.img")
    counted = pairs[WARM_UP:]
    writes = count * len(counted)
    return writes / sum(theirs for theirs, _ in counted), writes / sum(own for _, own in counted)


def measure(case: Case, sides: tuple[Side, Side], room: Path) -> Figure:
    """Median over the pairs."""
    speeds: tuple[list[float], list[float]] = ([], [])
    busy = [0.0]
    if case == IN_PROCESS:
        for _ in range(PAIRS):
            for which, speed in enumerate(in_process(room)):
                speeds[which].append(speed)
    else:
        for side in sides * WARM_UP:
            fio(side, case)
        for pair in range(PAIRS):
            for which in (0, 1) if pair % 2 else (1, 0):
                speed, others = fio(sides[which], case)
                speeds[which].append(speed)
                busy.append(others)
    ratios = sorted(ours / theirs for theirs, ours in zip(*speeds, strict=True))
    ratio = statistics.median(ratios)
    return Figure(
        case.key,
        statistics.median(speeds[0]),
        statistics.median(speeds[1]),
        ratio,
        ratios[0],
        ratios[-1],
        case.target,
        ratio >= case.target,
        statistics.median(busy) > BUSY,
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="cases, such as write:4k:1,randread:4k:4")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--workers", type=int, default=0, help="of the mount; 0: as it chooses")
    parser.add_argument("--passthrough", type=Path, default=EXAMPLE, help="passthrough_ll.c")
    asked = parser.parse_args()
    wanted = [case for case in CASES if not asked.only or case.key in asked.only.split(",")]
    if not wanted:
        parser.error(f"--only: there are {', '.join(case.key for case in CASES)}")
    for what in ("fio", "gcc", "pkg-config", "fusermount3"):
        if shutil.which(what) is None:
            raise SystemExit(f"fuse_ratios: {what} is not there")
    if not asked.passthrough.exists():
        raise SystemExit(f"fuse_ratios: {asked.passthrough} is not there: name it by --passthrough")

    figures = []
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory("-fuse", dir="/dev/shm")))
        sides = (
            stack.enter_context(passthrough(room, asked.passthrough)),
            stack.enter_context(zones(room, asked.workers)),
        )
        print("fio psync direct; operations a second, median of 5; ratio: zonefs / passthrough_ll")
        print(f"{IN_PROCESS.key}: ZoneFS / an unbuffered file on tmpfs, in one Python process")
        heads = f"{'case':<16}{'passthrough_ll':>15}{'zonefs':>10}"
        print(f"{heads}{'ratio':>8}{'range':>14}{'target':>8}")
        for case in wanted:
            figure = measure(case, sides, room)
            figures.append(figure)
            spread = f"{figure.low:.2f}-{figure.high:.2f}"
            remark = "" if figure.met else "  MISSED"
            remark += "  (the machine is busy: unclear)" if figure.unclear else ""
            print(
                f"{figure.case:<16}{figure.passthrough:>15.0f}{figure.zonefs:>10.0f}"
                f"{figure.ratio:>8.2f}{spread:>14}{figure.target:>8.1f}{remark}",
                flush=True,
            )
    if asked.json:
        asked.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    missed = any(not figure.met and not figure.unclear for figure in figures)
    return 1 if missed and asked.strict else 0


if __name__ == "__main__":
    sys.exit(main())
