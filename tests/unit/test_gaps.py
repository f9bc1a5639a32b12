"""KeyboardInterrupt in every gap of every call that makes something: nothing is left behind, whatever was half made."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zoned
import zonefs
from unit.gaps import Before, in_every_gap
from waiting import PATIENCE
from zoned import archive, testing
from zoned.bench import Job, Simulation
from zoned.bench.cleaning import Log, LogConfig
from zoned.drives.models import null_model
from zoned.traces.foreign import BlockTrace

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning"
)  # half made, or left on purpose
MIB = 1 << 20
BLOCK = bytes(4096)
KEYWORDS: dict[str, Any] = {
    "size": "8MiB",
    "zone_size": "1MiB",
    "conventional": 2,
    "max_open": 0,
    "host_sync": "never",
}


class Disk:
    """An image that each interrupted call gets a fresh handle on, and that is looked at behind it."""

    def __init__(self, folder: Path, **keywords: Any) -> None:
        self.folder = folder
        self.path = folder / "disk.img"
        self.keywords = KEYWORDS | keywords
        with zoned.create(self.path, **self.keywords) as dev:
            zonefs.mkfs(dev)
            dev.pwrite(BLOCK, 3 * MIB)
            dev.flush()
            dev.pwrite(BLOCK, MIB)
            dev.pwrite(BLOCK, 3 * MIB + 4096)
        self.dev: zoned.Device = zoned.open(self.path)
        self.before = Before()

    def afterwards(self, where: str) -> None:
        """The handle works, closes, and was the last: nothing that the call made still has the disk open."""
        dev = self.dev
        assert not dev.closed
        dev.zones[3]
        dev.flush()
        dev.close()
        with zoned.open(self.path, readonly=True) as reader:
            info = reader.info()
            assert info.clean, f"still open behind an interrupt in {where}"
        found = [str(finding) for finding in zoned.check(self.path)]
        assert not found, f"behind an interrupt in {where}: {found}"
        self.dev = zoned.open(self.path)
        self.before.check(where)


@pytest.fixture
def disk(shm: Path) -> Iterator[Disk]:
    disk = Disk(shm)
    yield disk
    disk.dev.close()


def gaps(call: Callable[[], object], afterwards: Callable[[str], object], least: int) -> None:
    count = in_every_gap(call, afterwards)
    assert count >= least, f"{count} gaps only: the trace function missed the code"


# ---------------------------------------------------------------- disks


def test_create(shm: Path) -> None:
    path, before = shm / "new.img", Before()

    def afterwards(where: str) -> None:
        before.check(where)
        if path.exists():  # whole, and closed: nobody has it open
            assert zoned.check(path) == [], where
            with zoned.open(path) as dev:
                assert dev.info().clean, where
            path.unlink()
        assert os.listdir(shm) == [], where

    gaps(lambda: zoned.create(path, **KEYWORDS).close(), afterwards, 150)


def test_create_in_place_of_another(shm: Path) -> None:
    path, before = shm / "new.img", Before()
    zoned.create(path, **KEYWORDS).close()

    def afterwards(where: str) -> None:
        before.check(where)
        zoned.create(path, replace=True, **KEYWORDS).close()

    gaps(lambda: zoned.create(path, replace=True, **KEYWORDS).close(), afterwards, 150)


def test_memory_and_its_end() -> None:
    before = Before()

    def call() -> None:
        with zoned.memory(**KEYWORDS):
            pass

    gaps(call, before.check, 150)


@pytest.mark.parametrize("readonly", [False, True])
def test_open(disk: Disk, readonly: bool) -> None:
    gaps(lambda: zoned.open(disk.path, readonly=readonly).close(), disk.afterwards, 80)


def test_check(disk: Disk) -> None:
    disk.dev.append(4, BLOCK)  # which gives it something to find: a disk that is in use
    gaps(lambda: zoned.check(disk.path), disk.before.check, 40)


def test_a_pickle_that_is_opened(disk: Disk) -> None:
    import copy

    gaps(lambda: copy.copy(disk.dev).close(), disk.afterwards, 80)


# ---------------------------------------------------------------- snapshots


CALLS: dict[str, tuple[Callable[[Disk], object], int]] = {
    "snapshot": (lambda disk: disk.dev.snapshot(), 30),
    "snapshot, closed": (lambda disk: disk.dev.snapshot().close(), 30),
    "fork": (lambda disk: disk.dev.fork(), 100),
    "fork, closed": (lambda disk: disk.dev.fork().close(), 100),
    "crash_states": (lambda disk: list(disk.dev.crash_states()), 300),
    "power_cut": (lambda disk: (disk.dev.power_cut(), disk.dev.power_on()), 20),
}


@pytest.mark.parametrize("name", CALLS)
def test_snapshots_and_what_comes_of_them(disk: Disk, name: str) -> None:
    call, least = CALLS[name]

    def afterwards(where: str) -> None:
        disk.dev.power_on()
        disk.afterwards(where)

    gaps(lambda: call(disk), afterwards, least)


def test_survivors(disk: Disk) -> None:
    def call() -> None:
        with disk.dev.snapshot() as snapshot:
            snapshot.survivor({3: 4096}).close()
            snapshot.unflushed()
            snapshot.zones()
            disk.dev.rollback(snapshot)

    gaps(call, disk.afterwards, 200)


def test_a_cut_to_a_chosen_survivor(disk: Disk) -> None:
    disk.dev.close()
    with zoned.memory(**KEYWORDS) as dev:
        dev.pwrite(BLOCK, 3 * MIB)
        with dev.snapshot() as start:
            with dev.crash_states() as states:
                choice = states.id_of(next(iter(states.choices())))
            before = Before()

            def call() -> None:
                dev.power_cut(choice=choice)

            def afterwards(where: str) -> None:
                dev.power_on()
                dev.rollback(start)
                before.check(where)

            gaps(call, afterwards, 200)
    disk.dev = zoned.open(disk.path)


# ---------------------------------------------------------------- recordings and clocks


def test_a_recording(disk: Disk) -> None:
    target = disk.folder / "new.trace"

    def call() -> None:
        disk.dev.trace.start(target)
        disk.dev.append(4, BLOCK)
        disk.dev.trace.stop()

    def afterwards(where: str) -> None:
        if disk.dev.trace.recorder:  # it had begun, and the handle knows
            disk.dev.trace.stop()
        assert "records nothing" in repr(disk.dev.trace), where
        if target.exists():
            assert zoned.Trace(target).geometry == disk.dev.geometry, where
            target.unlink()
        disk.dev.reset_zone(4)
        disk.afterwards(where)

    gaps(call, afterwards, 100)


def test_a_recording_of_a_block(disk: Disk) -> None:
    target = disk.folder / "new.trace"

    def call() -> None:
        with disk.dev.trace.record(target):
            pass

    def afterwards(where: str) -> None:
        with contextlib.suppress(ValueError):
            disk.dev.trace.stop()
        target.unlink(missing_ok=True)
        with disk.dev.trace.record(target):  # nothing is in its way
            pass
        disk.afterwards(where)

    gaps(call, afterwards, 150)


def test_an_existing_file_is_recorded_to(disk: Disk) -> None:
    target = disk.folder / "new.trace"
    target.write_bytes(b"x" * 100)

    def call() -> None:
        disk.dev.trace.start(target)

    def afterwards(where: str) -> None:
        assert target.exists(), where
        disk.afterwards(where)  # closing ends it

    gaps(call, afterwards, 80)


def test_reading_a_trace(disk: Disk) -> None:
    target = disk.folder / "new.trace"
    with disk.dev.trace.record(target):
        disk.dev.append(4, BLOCK)
        disk.dev.flush()
    gaps(lambda: list(zoned.Trace(target)), disk.before.check, 200)


def test_replaying_a_trace(disk: Disk) -> None:
    target = disk.folder / "new.trace"
    with zoned.memory(**KEYWORDS) as dev:
        with dev.trace.record(target):
            dev.append(4, BLOCK)
            dev.flush()
        trace = zoned.Trace(target)

        def call() -> None:
            with zoned.memory(**KEYWORDS) as other:
                zoned.replay(trace, other)

        gaps(call, Before().check, 300)


def test_reading_a_block_trace(disk: Disk) -> None:
    target = disk.folder / "block.csv"
    target.write_text("128166372003061629,hm,1,Read,383496192,32768,413\n" * 3)
    gaps(lambda: list(BlockTrace(target).records()), disk.before.check, 80)


def test_a_clock(disk: Disk) -> None:
    def call() -> None:
        with disk.dev.clock.start("hc620"):
            disk.dev.append(4, BLOCK)

    def afterwards(where: str) -> None:
        clock = disk.dev.clock
        if clock.running:
            clock.stop()
        with clock.start("hc620"):  # nothing is in its way, and it measures
            disk.dev.append(4, BLOCK)
            assert clock.commands == 1, where
        disk.dev.reset_zone(4)
        disk.afterwards(where)

    gaps(call, afterwards, 120)


def test_a_clock_that_is_left_running(disk: Disk) -> None:
    """Whatever became of it, commands go on, and the disk closes."""

    def call() -> None:
        disk.dev.clock.start("hc620")

    def afterwards(where: str) -> None:
        disk.dev.append(4, BLOCK)
        disk.dev.reset_zone(4)
        disk.afterwards(where)

    gaps(call, afterwards, 80)


# ---------------------------------------------------------------- simulations


def test_a_simulation(disk: Disk) -> None:
    geometry = disk.dev.geometry

    def call() -> None:
        sim = Simulation(geometry, null_model())
        sim.add(Job("w", offset=MIB, size=MIB, writes=True).set_bs(65536))
        sim.run()

    gaps(call, disk.before.check, 300)


def test_a_simulation_on_a_disk(disk: Disk) -> None:
    def call() -> None:
        sim = Simulation.on_device(disk.dev)
        sim.add(Job("r", offset=0, size=MIB, reads=True).set_bs(65536))
        sim.run()

    gaps(call, disk.afterwards, 300)


def test_a_log(disk: Disk) -> None:
    def call() -> None:
        log = Log(
            LogConfig(nr_segments=16, segment_blocks=16, spare=0.2),
            policy=lambda c, _: c[0].segment,
        )
        log.write(200)
        assert log.write_amplification > 0

    gaps(call, disk.before.check, 200)


# ---------------------------------------------------------------- file systems


def test_a_file_system(disk: Disk) -> None:
    def call() -> None:
        with zonefs.ZoneFS(disk.dev) as fs:
            fs.stat("seq/1")
            fs.listdir("seq")
            assert fs.counters

    gaps(call, disk.afterwards, 300)


MODES: dict[str, Callable[[zonefs.ZoneFS], object]] = {
    "raw": lambda fs: fs.open("seq/1", "ab", buffering=0),
    "flags": lambda fs: fs.open_raw("seq/1", os.O_RDWR | os.O_DIRECT),
    "buffered": lambda fs: fs.open("seq/1", "rb"),
    "blocks": lambda fs: fs.open("seq/1", "ab"),
    "text": lambda fs: fs.open("seq/1", "r"),
    "stream": lambda fs: fs.open_stream("seq/2", "wb"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["closed", "left"])
def test_files(disk: Disk, mode: str, end: str) -> None:
    """A file that was left half open holds nothing: its zone closes, the file system and the disk, too."""

    def call() -> None:
        file: Any = MODES[mode](fs)
        if end == "closed":
            file.close()

    def afterwards(where: str) -> None:
        nonlocal fs
        assert fs.counters.nr_wro_seq_files == 0, where
        fs.close()
        disk.dev.reset_zone(4)
        disk.afterwards(where)
        fs = zonefs.ZoneFS(disk.dev, explicit_open=True)

    fs = zonefs.ZoneFS(disk.dev, explicit_open=True)
    try:
        gaps(call, afterwards, 80)
    finally:
        fs.close()


def test_writing_by_a_buffer(disk: Disk) -> None:
    """No lock of a file stays behind: it closes, and another writes on."""

    def call() -> None:
        file.write(BLOCK + b"x")
        file.write(BLOCK[1:])
        file.flush()
        file.tell()

    def afterwards(where: str) -> None:
        nonlocal file
        with contextlib.suppress(
            OSError
        ):  # half a block, or a write that was done and is not known to be
            file.close()
        assert file.closed, where
        fs.truncate("seq/3", 0)
        with fs.open("seq/3", "wb") as other:
            other.write(BLOCK)
        assert fs.stat("seq/3").st_size == 4096, where
        fs.truncate("seq/3", 0)
        disk.before.check(where)
        file = fs.open("seq/3", "w+b")

    with zonefs.ZoneFS(disk.dev) as fs:
        file = fs.open("seq/3", "w+b")
        gaps(call, afterwards, 60)
        file.close()


def test_mkfs(disk: Disk) -> None:
    disk.dev.close()
    with zoned.memory(**KEYWORDS) as dev:
        gaps(
            lambda: (zonefs.mkfs(dev, force=True), zonefs.read_superblock(dev)), Before().check, 80
        )
    disk.dev = zoned.open(disk.path)


# ---------------------------------------------------------------- whole programs


def test_check_crashes() -> None:
    def workload(dev: zoned.Device, ack: Callable[[Any], None]) -> None:
        dev.append(3, BLOCK)
        dev.flush()
        ack(1)

    def call() -> None:
        testing.check_crashes(workload, lambda dev, done: None, progress=False, **KEYWORDS)

    gaps(call, Before().check, 500)


def test_a_dump_and_what_is_made_of_it(disk: Disk) -> None:
    import io

    def call() -> None:
        stream = io.BytesIO()
        archive.dump(disk.dev, stream)
        stream.seek(0)
        archive.load(stream).close()
        archive.clone_state(disk.dev).close()

    gaps(call, disk.afterwards, 400)


def test_a_dump_that_becomes_an_image(disk: Disk) -> None:
    """The image is there, whole, or nothing is: no file under a temporary name stays."""
    import io

    with io.BytesIO() as stream, zoned.open(disk.path) as dev:
        archive.dump(dev, stream)
        packed = stream.getvalue()
    made = disk.folder / "made.img"

    def afterwards(where: str) -> None:
        disk.before.check(where)
        if made.exists():
            assert zoned.check(made) == [], where
            made.unlink()
        assert os.listdir(disk.folder) == ["disk.img"], where

    gaps(lambda: archive.restore(io.BytesIO(packed), made), afterwards, 200)


# ---------------------------------------------------------------- signals

STORM = """
import itertools, os, random, signal, sys, warnings
warnings.simplefilter("ignore")
sys.unraisablehook = lambda _: None
import zoned, zonefs
path, trace, seed, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
draw = random.Random(seed)
keywords = dict(size="8MiB", zone_size="1MiB", conventional=2, max_open=0, host_sync="never")
with zoned.create(path, **keywords) as dev:
    zonefs.mkfs(dev)
dev = zoned.open(path)
armed = False
met = 0

def handler(number, frame):
    global armed, met
    if armed:
        armed = False
        met += 1
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, handler)

def record():
    with dev.trace.record(trace):
        dev.append(4, bytes(4096))

def clock():
    with dev.clock.start("hc620"):
        dev.append(5, bytes(4096))

def files():
    with zonefs.ZoneFS(dev) as fs, fs.open("seq/3", "wb") as file:
        file.write(bytes(8192))

def survivors():
    with dev.snapshot() as snapshot, snapshot.survivor({}):
        pass

calls = [record, clock, files, survivors, lambda: dev.fork().close(), lambda: list(dev.crash_states()),
         lambda: zoned.open(path).close(), lambda: zoned.memory(**keywords).close(), lambda: zoned.check(path)]

for call in calls:  # an import that is interrupted is Python's business
    call()
for zone in (4, 5):
    dev.reset_zone(zone)
dev.close()  # with the handle that its snapshots shared
dev = zoned.open(path)
before = len(os.listdir("/proc/self/fd"))
for number in range(rounds):
    call = draw.choice(calls)
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, draw.random() ** 3 * 0.004 + 1e-6)
        call()
        armed = False
    except KeyboardInterrupt:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    armed = False
    if dev.trace.recorder:
        dev.trace.stop()
    dev.clock.stop()
    for zone in (4, 5):
        dev.reset_zone(zone)
    if number % 50 == 49:
        dev.close()
        with zoned.open(path, readonly=True) as reader:
            assert reader.info().clean, f"still open in round {number}"
        assert zoned.check(path) == []
        dev = zoned.open(path)
        left = len(os.listdir("/proc/self/fd"))
        assert left == before, (number, [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")[:-1]])
        assert len(os.listdir("/proc/self/task")) == 1, number
dev.close()
print(met, flush=True)
os._exit(0)  # Python remembers a KeyboardInterrupt that came amid exec() of an import, and would end by SIGINT
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_signals_by_the_thousand(shm: Path, seed: int, long_run: bool) -> None:
    rounds = 20_000 if long_run else 1_500
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            STORM,
            str(shm / "disk.img"),
            str(shm / "x.trace"),
            str(seed),
            str(rounds),
        ],
        env=os.environ | {"PYTHONPATH": str(Path(zoned.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * (10 if long_run else 2),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > rounds // 20, "the signals came too late"
