"""python mixed.py SECONDS SEED [FOLDER]: every call of the library at once, until something breaks.

Processes with several threads each use one image, and disks in RAM of their own: data, zone commands, snapshots,
forks, crash states, recordings, clocks, file systems, checks. What threads share is closed while others use it.
Signals raise KeyboardInterrupt in the main threads; the parent stops processes and lets them go on, and kills
them with SIGKILL; children fork children. Whatever happens, calls end, with an error of theirs or without, and
processes live; in the end the image is sound, and closes clean. Exits with 1 and says why if that is not so.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import pkgutil
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zoned
import zonefs
from zoned import archive
from zoned.bench import Job, Simulation
from zoned.drives.models import null_model

MIB = 1 << 20
ZONES = 24
PROCESSES = 3
THREADS = 3
PATIENCE = 120.0
"""Seconds after which a call that has not ended counts as hanging; a sanitized build on a busy machine is slow."""
SANITIZED = "ZONED_SANITIZED" in os.environ
CHILD = 15 if SANITIZED else int(PATIENCE)
"""The same of a forked child. A sanitizer's allocator may be locked by another thread at the fork, for ever there."""
KEYWORDS: dict[str, Any] = {
    "size": ZONES * MIB,
    "zone_size": MIB,
    "conventional": 4,
    "max_open": 6,
    "host_sync": "never",
}


class Shared:
    """What the threads of one process have in common: anybody may close it, and put another in its place."""

    def __init__(self, path: Path, folder: Path, seed: int) -> None:
        self.path = path
        self.folder = folder
        self.draw = random.Random(seed)  # of the main thread
        self.dev = zoned.open(path)
        self.ram = zoned.memory(**KEYWORDS)
        zonefs.mkfs(self.ram)
        self.fs = zonefs.ZoneFS(self.ram)
        self.snapshots: list[zoned.Snapshot] = [self.ram.snapshot() for _ in range(3)]

    def end(self) -> None:
        for thing in (self.fs, *self.snapshots, self.ram, self.dev):
            thing.close()


def block(draw: random.Random) -> bytes:
    return draw.randbytes(4096) * draw.randint(1, 8)


def data(shared: Shared, draw: random.Random) -> None:
    dev = draw.choice([shared.dev, shared.ram])
    zone = draw.randrange(1, ZONES)
    if zone < 4:
        dev.pwrite(block(draw), zone * MIB + draw.randrange(200) * 4096)
    else:
        dev.append(zone, block(draw))
    dev.pread(8192, zone * MIB)


def commands(shared: Shared, draw: random.Random) -> None:
    dev = draw.choice([shared.dev, shared.ram])
    zone = draw.randrange(4, ZONES)
    call = draw.choice(
        [dev.reset_zone, dev.finish_zone, dev.open_zone, dev.close_zone, dev.reset_zone]
    )
    call(zone)
    if draw.random() < 0.1:
        dev.flush()


def look(shared: Shared, draw: random.Random) -> None:
    dev = draw.choice([shared.dev, shared.ram])
    for zone in dev.report(condition=draw.choice([None, "full", "empty"])):
        assert zone.wp is None or zone.start <= zone.wp <= zone.start + MIB
    assert dev.limits.implicit_open >= 0
    assert dev.counters.reads >= 0
    assert repr(dev)
    dev.info()


def snapshots(shared: Shared, draw: random.Random) -> None:
    at = draw.randrange(len(shared.snapshots))
    snapshot = shared.snapshots[at]
    what = draw.randrange(8)
    if what == 0:
        snapshot.fork().close()
    elif what == 1:
        snapshot.unflushed()
    elif what == 2:
        shared.ram.rollback(snapshot)
    elif what == 3:
        snapshot.zones()
    elif what == 4:
        snapshot.survivor({}).close()
    elif what == 5:
        with zoned.CrashStates(snapshot, "log") as states:
            next(iter(states)).close()
    elif what == 6:
        with snapshot.fork() as fork, fork.fork() as again:
            again.append(9, block(draw))
    else:
        shared.snapshots[at] = shared.ram.snapshot()
        snapshot.close()


def image_snapshots(shared: Shared, draw: random.Random) -> None:
    with shared.dev.snapshot() as snapshot, snapshot.fork() as fork:
        fork.append(9, block(draw))
        fork.power_cut("random", draw.randrange(100))


def recordings(shared: Shared, draw: random.Random) -> None:
    dev = draw.choice([shared.dev, shared.ram])
    name = shared.folder / f"{os.getpid()}-{threading.get_ident()}.trace"
    what = draw.randrange(4)
    if what == 0:
        dev.trace.start(name)
    elif what == 1:
        dev.trace.stop()
    elif what == 2:
        with dev.trace.record(name):
            dev.append(draw.randrange(4, ZONES), block(draw))
    else:
        dev.trace.last(20)
        assert repr(dev.trace)
        for _ in zoned.Trace(name, partial=True):
            pass


def clocks(shared: Shared, draw: random.Random) -> None:
    clock = shared.ram.clock
    what = draw.randrange(4)
    if what == 0:
        clock.start("hc620")
    elif what == 1:
        clock.stop()
    elif what == 2:
        clock.idle(0.5)
    else:
        assert clock.now >= 0
        assert clock.parts is not None
        assert repr(clock)


def files(shared: Shared, draw: random.Random) -> None:
    fs = shared.fs
    name = f"seq/{draw.randrange(18)}"
    what = draw.randrange(6)
    if what == 0:
        with fs.open(name, "ab") as file:
            file.write(block(draw))
    elif what == 1:
        with fs.open(name, "rb") as file:
            file.read()
    elif what == 2:
        fs.truncate(name, 0)
    elif what == 3:
        with fs.open(f"cnv/{draw.randrange(3)}", "r+b") as file:
            file.write(b"x" * draw.randrange(1, 20000))
    elif what == 4:
        fs.listdir("seq")
        fs.stat(name)
        assert fs.counters
    else:
        with fs.open_stream(name, "wb") as file:
            file.write(b"y" * draw.randrange(1, 20000))


def replaced(shared: Shared, draw: random.Random) -> None:
    """The disk in RAM, or its file system, goes under those that use it."""
    if draw.random() < 0.3:
        ram = zoned.memory(**KEYWORDS)
        zonefs.mkfs(ram)
        fs = zonefs.ZoneFS(ram)
        before, shared.ram, shared.fs = (shared.ram, shared.fs), ram, fs
        shared.snapshots[draw.randrange(len(shared.snapshots))] = ram.snapshot()
        first, second = before if draw.random() < 0.5 else reversed(before)
        first.close()
        second.close()
    elif draw.random() < 0.5:
        before_fs, shared.fs = shared.fs, zonefs.ZoneFS(shared.ram)
        before_fs.close()
    else:
        before_dev, shared.dev = shared.dev, zoned.open(shared.path)
        before_dev.close()


def checks(shared: Shared, draw: random.Random) -> None:
    with zoned.open(shared.path, readonly=True) as reader:
        reader.pread(4096, draw.randrange(ZONES) * MIB)
    zoned.check(shared.path)
    assert shared.dev.openers is not None


def simulations(shared: Shared, draw: random.Random) -> None:
    if draw.random() < 0.5:
        sim = Simulation(shared.ram.geometry, null_model())
    else:
        sim = Simulation.on_device(shared.ram)
    sim.add(Job("r", offset=0, size=MIB, reads=True).set_bs(65536))
    sim.run()


def powers(shared: Shared, draw: random.Random) -> None:
    ram = shared.ram
    ram.power_cut(draw.choice(["durable", "all", "random"]), draw.randrange(1000))
    ram.power_on()


def copies(shared: Shared, draw: random.Random) -> None:
    archive.clone_state(shared.ram).close()


def _await(pid: int) -> None:
    """Its alarm ends it. A sanitizer knows no fork, though: where another thread was in its allocator, the child has a lock
    of it that nobody gives back, and comes to no alarm.
    """
    late = time.monotonic() + 2 * CHILD
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if SANITIZED and time.monotonic() > late:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def forked(shared: Shared, draw: random.Random) -> None:
    """A child that goes on with all of it; not while threads are inside calls, so it closes, and leaves."""
    pid = os.fork()
    if pid:
        _await(pid)
        return
    code = 1
    try:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(CHILD)
        with zoned.open(shared.path) as dev:
            dev.append(draw.randrange(4, ZONES), block(draw))
        with zoned.memory(**KEYWORDS) as ram, ram.fork() as fork:
            fork.append(9, block(draw))
        code = 0
    except (OSError, ValueError):
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code)


CALLS: list[Callable[[Shared, random.Random], None]] = [
    *(
        data,
        data,
        data,
        commands,
        commands,
        look,
        snapshots,
        snapshots,
        image_snapshots,
        recordings,
        clocks,
    ),
    *(files, files, replaced, checks, simulations, powers, copies),
]


def expected(error: BaseException) -> bool:
    """What a call may say: its own errors, and that something was closed or is in use by this thread."""
    if isinstance(error, (OSError, zoned.ZonedError, ValueError)):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("reentrant call", "signal handler", "the clock")
    )


class Interrupts:
    """KeyboardInterrupt in the main thread, while it is in a call and nowhere else."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.armed = False
        self.met = 0
        signal.signal(signal.SIGALRM, self._arrived)

    def _arrived(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            self.met += 1
            raise KeyboardInterrupt

    def around(self, call: Callable[[], None]) -> None:
        """Make a call that may be interrupted, at a moment drawn."""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, self.draw.random() ** 3 * 0.02 + 1e-6)
            call()
        except KeyboardInterrupt:
            pass
        finally:
            self.armed = False


def process(path: Path, folder: Path, seed: int, end: float) -> int:
    """One process of the stress; 0 if nothing was wrong."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    faulthandler.register(signal.SIGUSR1)
    problems: list[str] = []
    shared = Shared(path, folder, seed)

    def one(draw: random.Random) -> None:
        call = draw.choice(CALLS)
        try:
            call(shared, draw)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            if not expected(error):
                problems.append(f"{call.__name__}: {traceback.format_exc()}")

    def work(number: int) -> None:
        draw = random.Random(seed * 100 + number)
        while time.monotonic() < end and not problems:
            one(draw)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(1, THREADS)]
    for thread in threads:
        thread.start()
    draw = random.Random(seed * 100)
    interrupts = Interrupts(draw)
    while time.monotonic() < end and not problems:
        if draw.random() < 0.02:
            forked(shared, draw)
        interrupts.around(lambda: one(draw))
    signal.setitimer(signal.ITIMER_REAL, 0)
    for thread in threads:
        thread.join(PATIENCE)
        if thread.is_alive():
            faulthandler.dump_traceback(all_threads=True)
            problems.append("a thread hangs")
            break
    else:
        with contextlib.suppress(OSError):
            shared.end()
        del shared.fs, shared.ram, shared.dev, shared.snapshots
        gc.collect()
        left = [name for name in _open_names() if "memfd" in name or name == str(path)]
        if left:
            problems.append(f"still open at the end: {left}")
    for problem in problems[:3]:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _open_names() -> list[str]:
    names = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{number}"))
    return names


def start(path: Path, folder: Path, seed: int, end: float) -> int:
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = process(path, folder, seed, end)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended_well(pid: int, status: int, killed: set[int]) -> bool:
    code = os.waitstatus_to_exitcode(status)
    if code == 0 or (code == -signal.SIGKILL and pid in killed):
        return True
    print(f"process {pid} ended with {code}", file=sys.stderr)
    return False


def conduct(path: Path, folder: Path, seconds: float, seed: int) -> tuple[bool, int]:
    """Start processes, disturb them, start others in the place of those that were killed."""
    draw = random.Random(seed)
    end = time.monotonic() + seconds
    killed: set[int] = set()
    well, kills, number = True, 0, 0
    running: set[int] = set()
    while well and time.monotonic() < end:
        while len(running) < PROCESSES:
            number += 1
            running.add(start(path, folder, seed * 1000 + number, end))
        time.sleep(draw.random() * 0.5)
        victim = draw.choice(sorted(running))
        if draw.random() < 0.5:
            os.kill(victim, signal.SIGSTOP)
            time.sleep(draw.random() * 0.1)
            os.kill(victim, signal.SIGCONT)
        elif time.monotonic() < end - 1:
            killed.add(victim)
            os.kill(victim, signal.SIGKILL)
            kills += 1
        while pair := _reap():
            running.discard(pair[0])
            well = ended_well(*pair, killed) and well
    late = time.monotonic() + PATIENCE + 60
    while running:
        if pair := _reap():
            running.discard(pair[0])
            well = ended_well(*pair, killed) and well
        elif time.monotonic() > late:
            for pid in running:
                print(f"process {pid} hangs", file=sys.stderr)
                os.kill(pid, signal.SIGUSR1)
            time.sleep(1)
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            return False, kills
        else:
            time.sleep(0.02)
    return well, kills


def _reap() -> tuple[int, int] | None:
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            return pid, status
    return None


def import_all() -> None:
    """Python's own locks of imports bear no signal between two of their lines, and no fork beside another thread."""
    for package in (zoned, zonefs):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "_preload")):  # it is no module of Python
                importlib.import_module(module.name)
        for name in package.__all__:
            getattr(package, name)


def main() -> int:
    import_all()
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else None) as name:
        folder = Path(name)
        path = folder / "disk.img"
        zoned.create(path, **KEYWORDS).close()
        well, kills = conduct(path, folder, seconds, seed)
        errors = [str(finding) for finding in zoned.check(path) if finding.error]
        if errors:
            print(f"the image is not sound: {errors}", file=sys.stderr)
        with zoned.open(path) as dev:
            for zone in dev.zones:
                dev.pread(MIB, zone.start)
            dev.flush()
        with zoned.open(path, readonly=True) as dev:
            clean = dev.info().clean
        if not clean:
            print("the image does not close clean", file=sys.stderr)
    print(f"{kills} kills")
    return 0 if well and not errors and clean else 1


if __name__ == "__main__":
    sys.exit(main())
