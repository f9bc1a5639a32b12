"""The speed claims as ratios: each figure against its baseline, measured in the same run.

Wall-clock figures drift with the machine, ratios much less. So every figure is the median over nine
pairs; within a pair the emulator and its baseline (os.pwrite on tmpfs, a plain memory copy, ...)
run one directly after the other with the same buffers, sizes and order of access, with the garbage
collector off and, but for the figure about several processes, on one CPU. Which of the two goes
first alternates. Each pair's elapsed times are divided, so above 1 means the emulator is faster.

    python bench/ratios.py                  all figures, as a table
    python bench/ratios.py --only ram,fill  those whose key contains one of these words
    python bench/ratios.py --strict         exit 1 if a target is missed
    python bench/ratios.py --json out.json  the table for programs too

A benchmark is no test: without --strict the exit code is 0 whatever the figures. Needs tmpfs at
/dev/shm (0.5 GiB) and about 0.5 GiB in --dir, which should lie on an ordinary disk.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import mmap
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

import zoned

KIB = 1024
MIB = 1024 * KIB
PAIRS = 9
REGION = 64 * MIB  # what the data-path figures walk through: larger than the caches
ZONE = 16 * MIB


@dataclass
class Figure:
    """One line of the table. `measured` and `target` share a unit; `better` is the direction."""

    key: str
    name: str
    measured: float
    target: float
    better: str  # "higher" or "lower"
    unit: str
    low: float
    high: float
    note: str = ""
    unclear: bool = False  # the machine was too busy with others to tell

    @property
    def met(self) -> bool:
        """Whether the target is kept."""
        if self.better == "higher":
            return self.measured >= self.target
        return self.measured <= self.target


@dataclass
class Place:
    """Where the files of a run lie."""

    tmpfs: Path
    disk: Path
    cpus: set[int]


def one_cpu(place: Place) -> None:
    """Stay on one CPU, so that neither side pays for a migration in the middle of a pair."""
    os.sched_setaffinity(0, {max(place.cpus)})


def all_cpus(place: Place) -> None:
    """Undo `one_cpu`."""
    os.sched_setaffinity(0, place.cpus)


def timed(work: Callable[[], None]) -> float:
    """Seconds that `work` takes, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        begin = perf_counter()
        work()
        return perf_counter() - begin
    finally:
        gc.enable()


def pairs(
    ours: Callable[[], None],
    baseline: Callable[[], None],
    prepare: Callable[[], None] = lambda: None,
    settle: Callable[[], None] = lambda: None,
) -> list[float]:
    """baseline time / our time of nine interleaved pairs. `prepare` runs untimed before each of
    ours, `settle` untimed before each baseline.
    """
    ratios = []
    for index in range(PAIRS + 1):
        times = {}
        order = ("ours", "baseline") if index % 2 else ("baseline", "ours")
        for side in order:
            if side == "ours":
                prepare()
                times[side] = timed(ours)
            else:
                settle()
                times[side] = timed(baseline)
        if index:  # the first pair warms both sides up
            ratios.append(times["baseline"] / times["ours"])
    return ratios


def ratio_figure(key: str, name: str, target: float, ratios: list[float], note: str = "") -> Figure:
    """A figure from a list of ratios."""
    return Figure(
        key, name, statistics.median(ratios), target, "higher", "x", min(ratios), max(ratios), note
    )


# ------------------------------------------------------------------------------------ the data path


@contextlib.contextmanager
def plain_file(path: Path, size: int) -> Iterator[int]:
    """A file of `size` bytes, every page of it written."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        block = os.urandom(MIB)
        for offset in range(0, size, MIB):
            os.pwrite(fd, block, offset)
        yield fd
    finally:
        os.close(fd)
        path.unlink()


def fill(dev: zoned.Device) -> None:
    """Write the whole region once, so that every page of the store has been touched."""
    block = os.urandom(MIB)
    for offset in range(0, REGION, MIB):
        dev.pwrite(block, offset)


def region_disk(path: Path | None = None) -> zoned.Device:
    """A disk of REGION bytes without conventional zones, filled once. Freed zones keep their
    memory.
    """
    if path is None:
        dev = zoned.memory(size=REGION, zone_size=ZONE, conventional=0, max_open=0)
    else:
        dev = zoned.create(path, size=REGION, zone_size=ZONE, conventional=0, max_open=0)
    fill(dev)
    dev.reset_all()
    fill(dev)
    return dev


def small_calls(dev: zoned.Device, fd: int, key: str, where: str, target: float) -> list[Figure]:
    """4 KiB pwrite and pread through the Python API against os.pwrite and os.pread on `fd`."""
    block = os.urandom(4 * KIB)
    offsets = list(range(0, REGION, 4 * KIB))

    def write_ours() -> None:
        pwrite = dev.pwrite
        for offset in offsets:
            pwrite(block, offset)

    def write_baseline() -> None:
        pwrite = os.pwrite
        for offset in offsets:
            pwrite(fd, block, offset)

    def read_ours() -> None:
        pread = dev.pread
        for offset in offsets:
            pread(4096, offset)

    def read_baseline() -> None:
        pread = os.pread
        for offset in offsets:
            pread(fd, 4096, offset)

    writes = pairs(write_ours, write_baseline, prepare=dev.reset_all)
    reads = pairs(read_ours, read_baseline)
    return [
        ratio_figure(f"{key}-pwrite-4k", f"4 KiB pwrite, {where}", target, writes),
        ratio_figure(f"{key}-pread-4k", f"4 KiB pread, {where}", target, reads),
    ]


def ram(place: Place) -> list[Figure]:
    """4 KiB calls on a RAM disk against the same calls on a tmpfs file."""
    with region_disk() as dev, plain_file(place.tmpfs / "plain", REGION) as fd:
        return small_calls(dev, fd, "ram", "RAM disk / tmpfs file", 2.5)


def image(place: Place) -> list[Figure]:
    """4 KiB calls on an image against the same calls on a file in the same folder."""
    with (
        region_disk(place.disk / "ratio.img") as dev,
        plain_file(place.disk / "plain", REGION) as fd,
    ):
        return small_calls(dev, fd, "image", "image / file beside it", 2.0)


def each(call: Callable[[int], object]) -> Callable[[], None]:
    """Something to time: `call` with every offset of the region, 1 MiB apart."""

    def work() -> None:
        for offset in range(0, REGION, MIB):
            call(offset)

    return work


def copy_pair(ours_first: bool) -> tuple[float, float]:
    """One pair of 1 MiB writes and one of 1 MiB reads, on a fresh disk and a fresh piece of memory.

    Fresh each time, because where the host puts the pages changes the speed of either side by a
    tenth or two, and stays as it is for the life of the mapping.
    """
    source = memoryview(bytearray(os.urandom(MIB)))
    target = memoryview(bytearray(MIB))
    with mmap.mmap(-1, REGION) as raw, memoryview(raw) as plain, region_disk() as dev:
        works = {
            "write ours": each(lambda at: dev.pwrite(source, at)),
            "write plain": each(lambda at: plain.__setitem__(slice(at, at + MIB), source)),
            "read ours": each(lambda at: dev.preadinto(target, at)),
            "read plain": each(lambda at: target.__setitem__(slice(None), plain[at : at + MIB])),
        }
        works["write plain"]()
        dev.reset_all()
        names = list(works)
        times = {}
        for name in names if ours_first else [names[1], names[0], names[3], names[2]]:
            times[name] = timed(works[name])
    return times["write plain"] / times["write ours"], times["read plain"] / times["read ours"]


def copy(place: Place) -> list[Figure]:
    """1 MiB calls against one plain copy, memoryview to memoryview, through as much memory."""
    del place
    both = [copy_pair(bool(index % 2)) for index in range(PAIRS + 1)][1:]
    name = "RAM disk / memory copy"
    return [
        ratio_figure("copy-pwrite-1m", f"1 MiB pwrite, {name}", 0.9, [w for w, _ in both]),
        ratio_figure("copy-preadinto-1m", f"1 MiB preadinto, {name}", 0.9, [r for _, r in both]),
    ]


def first_fill(place: Place) -> list[Figure]:
    """A fresh RAM disk filled once, from creation to close, against a new tmpfs file, open to
    unlink.
    """
    size = 128 * MIB
    block = os.urandom(256 * KIB)
    path = place.tmpfs / "grown"

    def ours() -> None:
        with zoned.memory(size=size, zone_size=ZONE, conventional=0, max_open=0) as dev:
            for offset in range(0, size, len(block)):
                dev.pwrite(block, offset)

    def baseline() -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        for offset in range(0, size, len(block)):
            os.pwrite(fd, block, offset)
        os.close(fd)
        path.unlink()

    name = "first fill in 256 KiB writes, RAM disk / tmpfs file"
    return [ratio_figure("fill", name, 0.9, pairs(ours, baseline))]


# -------------------------------------------------------------------------------- several processes


PASSES = 12  # so that a share takes long enough for all four to run side by side
WORKERS, SHARE = 4, 2  # processes, and zones of each


def cpu_times() -> tuple[float, float]:
    """Seconds that this process ran, and that it was ready to run but had to wait for a CPU."""
    ran, waited = Path("/proc/self/schedstat").read_text(encoding="ascii").split()[:2]
    return int(ran) / 1e9, int(waited) / 1e9


def fill_share(path: Path, first: int, pipe: Connection) -> None:
    """A worker: on each message writes its own zones from start to end, PASSES times; answers when
    it began and ended (CLOCK_MONOTONIC, which is one for all processes), and by how much its
    `cpu_times` grew.
    """
    block = os.urandom(4 * KIB)
    with zoned.open(path) as dev:
        offsets = range(first * ZONE, (first + SHARE) * ZONE, len(block))
        pwrite = dev.pwrite
        gc.disable()
        pipe.send("ready")
        while pipe.recv() == "go":
            before, begin = cpu_times(), perf_counter()
            for _ in range(PASSES):
                dev.reset_zone(first, SHARE)
                for offset in offsets:
                    pwrite(block, offset)
            end, after = perf_counter(), cpu_times()
            pipe.send((begin, end, after[0] - before[0], after[1] - before[1]))


def shares_per_second(active: list[Connection]) -> tuple[float, float, float]:
    """Shares per second when the workers behind these pipes run at once, the CPUs that they got,
    and which part of their time they ran or were ready to; the rest they waited for a lock.
    """
    for pipe in active:
        pipe.send("go")
    spans = [pipe.recv() for pipe in active]
    elapsed = max(span[1] for span in spans) - min(span[0] for span in spans)
    ran = sum(span[2] for span in spans)
    ready = sum((span[2] + span[3]) / (span[1] - span[0]) for span in spans) / len(spans)
    return len(active) / elapsed, ran / elapsed, ready


def processes(place: Place) -> list[Figure]:
    """Four processes on one image, own zones each, against one process alone with one share."""
    all_cpus(place)
    path = place.disk / "shared.img"
    size = WORKERS * SHARE * ZONE
    with zoned.create(path, size=size, zone_size=ZONE, conventional=0, max_open=0) as dev:
        block = os.urandom(MIB)
        for offset in range(0, size, MIB):
            dev.pwrite(block, offset)
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    crew = []
    for number in range(WORKERS):
        mine, theirs = context.Pipe()
        process = context.Process(target=fill_share, args=(path, number * SHARE, theirs))
        process.start()
        theirs.close()
        pipes.append(mine)
        crew.append(process)
    for pipe in pipes:
        pipe.recv()
    ratios, got = [], []
    for index in range(PAIRS + 1):
        groups = (pipes, pipes[:1]) if index % 2 else (pipes[:1], pipes)
        rates = {len(group): shares_per_second(group) for group in groups}
        if index:
            ratios.append(rates[WORKERS][0] / rates[1][0])
            got.append(rates[WORKERS][1:])
    for pipe in pipes:
        pipe.send("stop")
    for process in crew:
        process.join()
    path.unlink()
    name = "4 KiB pwrite, four processes / one, on one image"
    ran = statistics.median(cpus for cpus, _ in got)
    ready = statistics.median(part for _, part in got)
    note = f"{ran:.1f} of {len(place.cpus)} CPUs were free for it; ready {ready:.0%} of the time"
    figure = ratio_figure("processes", name, 1.5, ratios, note)
    # starved of CPUs by other programs, which is not the same as waiting for each other's locks
    figure.unclear = ran < 1.5 and ready > 0.9
    return [figure]


# -------------------------------------------------------------------------------------------- scale


def lower(key: str, name: str, target: float, unit: str, values: list[float]) -> Figure:
    """A figure where less is better."""
    return Figure(
        key, name, statistics.median(values), target, "lower", unit, min(values), max(values)
    )


# Peak memory and time of a command, taken in a small parent: on Linux a child's ru_maxrss begins at
# what its parent had resident before exec.
MEASURE = """
import os, sys, time
null = os.open(os.devnull, os.O_WRONLY)
begin = time.perf_counter()
to_null = [(os.POSIX_SPAWN_DUP2, null, 1)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=to_null)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - begin, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def run_measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak MiB of a command whose output goes to /dev/null."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", MEASURE, *command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, kib, code = done.stdout.split()
    if code != "0":
        raise SystemExit(f"{' '.join(command)} failed with exit code {code}")
    return float(seconds), int(kib) / 1024


def create_and_open(place: Place) -> list[Figure]:
    """What a 28 TB disk costs to make and to open."""
    path = place.disk / "big.img"
    creates, opens = [], []
    for _ in range(PAIRS):
        path.unlink(missing_ok=True)
        begin = perf_counter()
        dev = zoned.create(path, profile="hc680")
        creates.append(perf_counter() - begin)
        dev.close()
        begin = perf_counter()
        dev = zoned.open(path)
        opens.append(perf_counter() - begin)
        dev.close()
    room = os.stat(path).st_blocks * 512 / MIB
    return [
        lower("scale-create", "28 TB disk: create", 0.5, "s", creates),
        lower("scale-open", "28 TB disk: open", 0.5, "s", opens),
        lower("scale-room", "28 TB disk: host disk taken", 16, "MiB", [room]),
    ]


BLKZONE_LOOP = """
import sys
for index in range(int(sys.argv[1])):
    print("  start: 0x%09x, len 0x%06x, cap 0x%06x, wptr 0x%06x "
          "reset:%u non-seq:%u, zcond:%2u(%s) [type: %u(%s)]"
          % (index * 0x80000, 0x80000, 0x80000, 0, 0, 0, 1, "em", 2, "SEQ_WRITE_REQUIRED"))
"""


def big_report(place: Place) -> list[Figure]:
    """The shell's report of the 28 TB disk: memory, and time against a Python loop of prints."""
    path = place.disk / "big.img"
    if not path.exists():
        zoned.create(path, profile="hc680").close()
    with zoned.open(path, readonly=True) as dev:
        count = dev.geometry.nr_zones
    python = sys.executable
    report = [python, "-m", "zoned", "report", str(path)]
    blkzone = [*report, "--format", "blkzone"]
    loop = [python, "-c", BLKZONE_LOOP, str(count)]
    memory = [run_measured(report)[1] for _ in range(3)]
    ratios = []
    for index in range(PAIRS + 1):
        sides = (blkzone, loop) if index % 2 else (loop, blkzone)
        times = {side[1]: run_measured(side)[0] for side in sides}
        if index:
            ratios.append(times["-m"] / times["-c"])
    return [
        lower("scale-report-memory", "28 TB disk: report, peak memory", 100, "MiB", memory),
        lower(
            "scale-report-time", "28 TB disk: report --format blkzone / print loop", 2, "x", ratios
        ),
    ]


def many_resets(place: Place) -> list[Figure]:
    """100,000 resets over the 28 TB disk: the last tenth against the first, bare and with a block
    written.
    """
    path = place.disk / "resets.img"
    figures = []
    block = os.urandom(4 * KIB)
    for key, name, write in (
        ("scale-resets", "100,000 resets: last tenth / first tenth", False),
        ("scale-write-resets", "100,000 x write a block, reset: last / first", True),
    ):
        with zoned.create(path, profile="hc680", replace=True) as dev:
            geometry = dev.geometry
            sequential = [
                zone.start for zone in dev.report() if zone.type is not zoned.ZoneType.CONVENTIONAL
            ]
            size = geometry.zone_size
            chunks = []
            gc.collect()
            gc.disable()
            done = 0
            # warm-up, outside the count: code paths and the first slot
            for start in sequential[-200:]:
                if write:
                    dev.pwrite(block, start)
                dev.reset_zone(start // size)
            while done < 100_000:
                begin = perf_counter()
                for step in range(done, done + 1000):
                    start = sequential[step % len(sequential)]
                    if write:
                        dev.pwrite(block, start)
                    dev.reset_zone(start // size)
                chunks.append(perf_counter() - begin)
                done += 1000
            gc.enable()
        path.unlink()
        # the best thousand of each tenth: what the disk costs, without what the neighbours took
        first, last = min(chunks[:10]), min(chunks[-10:])
        figure = lower(key, name, 1.25, "x", [last / first])
        figure.note = f"{first * 1e3:.2f} us each at first, {last * 1e3:.2f} us at last"
        figures.append(figure)
    return figures


# ------------------------------------------------------------------------------------------- output

GROUPS: list[tuple[str, Callable[[Place], list[Figure]]]] = [
    ("ram", ram),
    ("image", image),
    ("copy", copy),
    ("fill", first_fill),
    ("processes", processes),
    ("scale-create", create_and_open),
    ("scale-report", big_report),
    ("scale-resets", many_resets),
]


def row(figure: Figure) -> str:
    """One line of the table."""
    sign = ">=" if figure.better == "higher" else "<="
    low, high = f"{figure.low:.3g}", f"{figure.high:.3g}"
    spread = f"{low} .. {high}" if low != high else ""
    verdict = "met" if figure.met else "unclear, machine busy" if figure.unclear else "MISSED"
    note = f"  ({figure.note})" if figure.note else ""
    return (
        f"{figure.name:<54}{sign} {figure.target:<5g}{figure.unit:<4}"
        f"{figure.measured:>8.3g}  {spread:<16} {verdict}{note}"
    )


def main() -> int:
    """Run the chosen groups, print each figure as it is known."""
    parser = argparse.ArgumentParser(description="The speed claims, as ratios measured in one run.")
    parser.add_argument(
        "--only", default="", help="comma-separated words that a group's key contains"
    )
    parser.add_argument("--dir", default=".", help="folder on an ordinary disk (default: here)")
    parser.add_argument("--json", dest="json_path", help="write the figures to this file as well")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    options = parser.parse_args()
    words = [word for word in options.only.split(",") if word]
    if not os.path.isdir("/dev/shm"):
        print("needs a tmpfs at /dev/shm", file=sys.stderr)
        return 2

    figures: list[Figure] = []
    work = Path(tempfile.mkdtemp(prefix="zoned-bench-", dir=options.dir))
    tmpfs = Path(tempfile.mkdtemp(prefix="zoned-bench-", dir="/dev/shm"))
    place = Place(tmpfs, work, os.sched_getaffinity(0))
    version = platform.python_version()
    print(
        f"zoned {zoned.__version__}, Python {version}, {len(place.cpus)} CPUs, {platform.release()}"
    )
    print(f"median of {PAIRS} interleaved pairs; spread is the lowest and the highest of them\n")
    print(f"{'figure':<54}{'target':<12}{'measured':>8}  {'spread':<16} verdict")
    try:
        for key, group in GROUPS:
            if words and not any(word in key for word in words):
                continue
            one_cpu(place)
            for figure in group(place):
                figures.append(figure)
                print(row(figure), flush=True)
            all_cpus(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(tmpfs, ignore_errors=True)

    missed = [figure.name for figure in figures if not (figure.met or figure.unclear)]
    met = sum(figure.met for figure in figures)
    print(f"\n{met} of {len(figures)} targets met")
    if options.json_path:
        content = {
            "version": zoned.__version__,
            "python": version,
            "cpus": len(place.cpus),
            "figures": [asdict(figure) | {"met": figure.met} for figure in figures],
        }
        Path(options.json_path).write_text(json.dumps(content, indent=2) + "\n")
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
