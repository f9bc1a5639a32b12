"""What C made and Python holds: closed in one thread while others use it, begun and ended by two at once."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import zoned
import zonefs
from waiting import PATIENCE, until
from zoned._core.native import Guard, Owner
from zoned._core.owning import Living, Turn
from zoned.bench import Job, Simulation
from zoned.bench.cleaning import Log, LogConfig
from zoned.drives.models import null_model

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning"
)  # half made, or left on purpose
MIB = 1 << 20
BLOCK = bytes(4096)
SECONDS = 1.0
"""That two threads race for, and closing comes again and again."""


@pytest.fixture
def dev() -> Iterator[zoned.Device]:
    with zoned.memory(size="24MiB", zone_size="1MiB", conventional=4, max_open=0) as device:
        zonefs.mkfs(device)
        for zone in range(1, 24):
            device.pwrite(b"x" * (MIB // 2), zone * MIB)
        yield device


def race(
    make: Callable[[], Any], uses: list[Callable[[Any], object]], close: Callable[[Any], object]
) -> int:
    """Each use in a thread of its own, over and over, until the thing is closed under it: a ValueError, or OSError of
    a use that had begun. How many rounds.
    """
    draw = random.Random(1)
    end, rounds = time.monotonic() + SECONDS, 0
    while rounds < 3 or time.monotonic() < end:
        thing = make()
        problems: list[BaseException] = []
        begun = threading.Barrier(len(uses) + 1)

        def work(
            use: Callable[[Any], object],
            thing: Any = thing,
            begun: Any = begun,
            problems: Any = problems,
        ) -> None:
            begun.wait()
            try:
                while True:
                    use(thing)
            except (ValueError, OSError) as error:
                if "closed" not in str(error) and not isinstance(error, OSError):
                    problems.append(error)
            except BaseException as error:  # noqa: BLE001 - whatever it was is the finding
                problems.append(error)

        threads = [threading.Thread(target=work, args=(use,), daemon=True) for use in uses]
        for thread in threads:
            thread.start()
        begun.wait()
        time.sleep(draw.random() * 0.003)
        close(thing)
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread hangs"
        assert problems == []
        rounds += 1
    return rounds


# ---------------------------------------------------------------- closing


SNAPSHOT_USES: dict[str, Callable[[zoned.Device, zoned.Snapshot], object]] = {
    "fork": lambda _, snapshot: snapshot.fork().close(),
    "unflushed": lambda _, snapshot: snapshot.unflushed(),
    "rollback": lambda dev, snapshot: dev.rollback(snapshot),
    "zones": lambda _, snapshot: snapshot.zones(),
    "survivor": lambda _, snapshot: snapshot.survivor().close(),
    "crash states": lambda _, snapshot: zoned.CrashStates(snapshot, "log").close(),
}


@pytest.mark.parametrize("use", SNAPSHOT_USES)
def test_a_snapshot(dev: zoned.Device, use: str) -> None:
    one = SNAPSHOT_USES[use]
    assert race(dev.snapshot, [lambda s: one(dev, s)] * 2, lambda s: s.close())


def test_crash_states(dev: zoned.Device) -> None:
    choice = next(iter(dev.crash_states("log").choices()))
    uses = [lambda states: states.build(choice).close(), lambda states: next(iter(states)).close()]
    assert race(lambda: dev.crash_states("log"), uses, lambda states: states.close())


def test_the_device_below_a_clock() -> None:
    def started() -> zoned.Device:
        device = zoned.memory(size="16MiB", zone_size="1MiB", max_open=0)
        device.clock.start("hc620")
        return device

    def restart(device: zoned.Device) -> None:
        device.clock.stop()
        with contextlib.suppress(RuntimeError):  # the other thread was first
            device.clock.start("hc620")

    def look(device: zoned.Device) -> None:
        device.append(5, BLOCK)
        device.reset_zone(5)
        assert device.clock.now >= 0
        assert repr(device.clock)

    assert race(started, [restart, restart, look], lambda device: device.close())


def test_the_device_below_a_simulation() -> None:
    def use(device: zoned.Device) -> None:
        sim = Simulation.on_device(device)
        sim.add(Job("r", offset=0, size=MIB, reads=True).set_bs(4096))
        sim.run()

    make = lambda: zoned.memory(size="16MiB", zone_size="1MiB", max_open=0)  # noqa: E731
    assert race(make, [use, use], lambda device: device.close())


def test_a_simulation_outlives_the_device_that_it_ran_on() -> None:
    device = zoned.memory(size="16MiB", zone_size="1MiB", max_open=0)
    sim = Simulation.on_device(device)
    sim.add(Job("r", offset=0, size=MIB, reads=True).set_bs(4096))
    device.close()
    with pytest.raises(ValueError, match="the device is closed"):
        sim.run()


FILE_SYSTEM_USES: list[Callable[[zonefs.ZoneFS], object]] = [
    lambda fs: (fs.stat("seq/5"), fs.listdir("seq"), fs.counters, fs.options),
    lambda fs: fs.open("seq/6", "rb").read(),
    lambda fs: fs.open("cnv/1", "r+b", buffering=0).close(),
]


def test_a_file_system(dev: zoned.Device) -> None:
    assert race(lambda: zonefs.ZoneFS(dev), FILE_SYSTEM_USES, lambda fs: fs.close())


def test_the_device_below_a_file_system() -> None:
    made: list[zonefs.ZoneFS] = []

    def make() -> zonefs.ZoneFS:
        device = zoned.memory(size="24MiB", zone_size="1MiB", conventional=4, max_open=0)
        zonefs.mkfs(device)
        made.append(zonefs.ZoneFS(device))
        return made[-1]

    assert race(make, FILE_SYSTEM_USES, lambda fs: fs.device.close())
    for fs in made:
        fs.close()


@pytest.mark.parametrize("below", ["file", "file system", "device"])
def test_a_file(dev: zoned.Device, below: str) -> None:
    def use(file: Any) -> None:
        file.pread(8192, 0)
        file.pwrite(BLOCK, 0)
        file.seek(0)
        file.read(4096)

    def close(file: Any) -> None:
        ends = {"file": file, "file system": file.fs, "device": file.fs.device}
        ends[below].close()
        with contextlib.suppress(ValueError):
            file.fs.close()

    def make() -> Any:
        fork = dev.fork()
        files.append(zonefs.ZoneFS(fork).open("cnv/1", "r+b", buffering=0))
        return files[-1]

    files: list[Any] = []
    assert race(make, [use, use], close)
    for file in files:
        file.fs.device.close()


def test_files_that_are_opened_while_the_file_system_closes(dev: zoned.Device) -> None:
    """close() looks through the open files while another thread adds one."""
    uses = [lambda fs: fs.open("seq/6", "rb", buffering=0)] * 3
    assert race(lambda: zonefs.ZoneFS(dev), uses, lambda fs: fs.close())


# ---------------------------------------------------------------- one at a time


def test_threads_share_a_simulation_and_a_log() -> None:
    geometry = zoned.memory().geometry
    sim = Simulation(geometry, null_model())
    sim.chunk = 1
    sim.add(Job("w", offset=4 * MIB, size=256 * 1024, writes=True).set_bs(4096))
    log = Log(LogConfig(nr_segments=64, segment_blocks=64, spare=0.2))
    before = log.user
    problems: list[BaseException] = []

    def work() -> None:
        try:
            sim.run()
            for _ in range(50):
                log.write(1000)
                assert log.write_amplification >= 1
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert log.user - before == 3 * 50 * 1000
    assert sim._summary().commands == 64


# ---------------------------------------------------------------- recordings


def test_threads_begin_and_end_one_handles_recording(dev: zoned.Device, tmp_path: Path) -> None:
    """Each begins or is told why not; each end that says so has ended one. Nothing is freed twice, nothing hangs."""
    stop = time.monotonic() + 2 * SECONDS
    begun, ended = [0], [0]
    problems: list[BaseException] = []
    count = threading.Lock()

    def work(number: int) -> None:
        draw = random.Random(number)
        try:
            while time.monotonic() < stop:
                try:
                    if draw.random() < 0.5:
                        dev.trace.start(tmp_path / f"{number}.trace")
                        with count:
                            begun[0] += 1
                    else:
                        dev.trace.stop()
                        with count:
                            ended[0] += 1
                except ValueError as error:
                    assert "records nothing" in str(error)  # noqa: PT017
                except OSError as error:
                    assert error.errno in (errno.EBUSY, errno.EALREADY)  # noqa: PT017
                assert dev.trace.failure is None
                repr(dev.trace)
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    def write() -> None:
        while time.monotonic() < stop:
            dev.append(9, BLOCK)
            dev.reset_zone(9)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(4)]
    threads.append(threading.Thread(target=write, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    assert problems == []
    running = dev.trace.recorder is not None
    assert begun[0] == ended[0] + running
    assert begun[0] > 3
    if running:
        dev.trace.stop()
    with dev.trace.record(tmp_path / "last.trace"):
        dev.append(9, BLOCK)
    assert [record.command for record in zoned.Trace(tmp_path / "last.trace")] == ["append"]


def test_the_device_below_a_recording(tmp_path: Path) -> None:
    def use(device: zoned.Device) -> None:
        with contextlib.suppress(OSError):
            device.trace.start(tmp_path / f"{threading.get_ident()}.trace")
        with contextlib.suppress(OSError):
            device.trace.stop()

    def tolerant(device: zoned.Device) -> None:
        try:
            use(device)
        except ValueError as error:
            if "records nothing" not in str(error):
                raise

    make = lambda: zoned.memory(size="16MiB", zone_size="1MiB", max_open=0)  # noqa: E731
    assert race(make, [tolerant, tolerant], lambda device: device.close())


# ---------------------------------------------------------------- the mechanism


def owners(fs: zonefs.ZoneFS, file: Any) -> dict[str, Owner]:
    """One of each kind that somebody may close."""
    dev = fs.device
    return {
        "snapshot": dev.snapshot(),
        "crash states": dev.crash_states("log")._own,
        "file system": fs._rules,
        "file": file._file,
        "device": dev.fork(),
        "simulation": Simulation(dev.geometry, null_model()).owned,
    }


@pytest.mark.parametrize(
    "name", ["snapshot", "crash states", "file system", "file", "device", "simulation"]
)
def test_closing_waits_for_who_is_inside(dev: zoned.Device, name: str) -> None:
    fs = zonefs.ZoneFS(dev)
    file = fs.open("cnv/1", "rb", buffering=0)
    owner = owners(fs, file)[name]
    with Guard(owner):
        thread = threading.Thread(target=owner.close)
        thread.start()
        until(lambda owner=owner: owner.closed, "close() has begun")
        assert thread.is_alive()
        assert owner._address
        with pytest.raises(ValueError, match="closed"), Guard(owner):
            pass
    thread.join(PATIENCE)
    assert not thread.is_alive()
    with pytest.raises(ValueError, match="closed"):
        owner._address  # noqa: B018 - the look is the test


def test_a_forked_child_waits_for_no_thread_of_its_parent(dev: zoned.Device) -> None:
    fs = zonefs.ZoneFS(dev)
    file = fs.open("cnv/1", "rb", buffering=0)
    kinds = owners(fs, file)
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with contextlib.ExitStack() as stack:
            for owner in kinds.values():
                stack.enter_context(Guard(owner))
            inside.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    assert inside.wait(PATIENCE)
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(PATIENCE))
        for owner in reversed(kinds.values()):
            owner.close()
        os._exit(0 if all(owner.closed for owner in kinds.values()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    leave.set()
    thread.join()
    for owner in reversed(kinds.values()):
        owner.close()


def test_a_close_that_is_interrupted_happens_when_the_last_call_leaves(dev: zoned.Device) -> None:
    snapshot = dev.snapshot()
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with Guard(snapshot):
            inside.set()
            leave.wait()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    thread = threading.Thread(target=stay)
    thread.start()
    assert inside.wait(PATIENCE)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            snapshot.close()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert snapshot.closed
    leave.set()
    thread.join()
    with pytest.raises(ValueError, match="the snapshot is closed"):
        snapshot.raw  # noqa: B018 - the look is the test


def test_a_turn_is_one_threads_and_never_nested() -> None:
    turn = Turn("the worker")
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(300):
            with Guard(turn):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    with Guard(turn), pytest.raises(RuntimeError, match="reentrant call: the worker"), Guard(turn):
        pass
    with Guard(turn):  # it is free again
        pass


def test_an_owner_is_filled_once(dev: zoned.Device) -> None:
    snapshot = dev.snapshot()
    with pytest.raises(ValueError, match="once"):
        snapshot.cell  # noqa: B018
    snapshot.close()
    with pytest.raises(ValueError, match="once"):
        snapshot.cell  # noqa: B018
    with pytest.raises(ValueError, match="begins once"):
        snapshot._own("the snapshot", 0)
    with pytest.raises(TypeError, match="a parent is an Owner"):
        Owner()._own("x", 0, 0, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="1 to 2"):
        Guard()  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="it is closed"), Guard(Owner()):
        pass


def test_what_lives_is_looked_through_while_others_are_added() -> None:
    class Thing:
        pass

    living: Living[Thing] = Living()
    kept = [Thing() for _ in range(100)]
    for thing in kept:
        living.add(thing)
    stop = threading.Event()

    def add() -> None:
        while not stop.is_set():
            living.add(Thing())

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(500):
            assert len(living.all()) >= 100
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    living.discard(kept[0])
    assert set(living.all()) == set(kept[1:])
    living.clear()
    assert not living


class Served(Owner):
    """An owner of a number, for one that uses others with threads of its own: tells when it is given back."""

    callbacks: ClassVar[list[Any]] = []
    """They outlive the owners."""

    def __init__(self, name: str, told: list[str], *, forget: bool = False) -> None:
        free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: told.append(name))
        self.callbacks.append(free)
        address = ctypes.cast(free, ctypes.c_void_p).value
        assert address
        self._own(name, address, 0, None, False, address if forget else 0)
        ctypes.c_void_p.from_address(self._cell).value = 1


def test_what_uses_a_device_is_given_back_before_it(dev: zoned.Device) -> None:
    told: list[str] = []
    user, other = Served("the user", told), Served("the other", told)
    user._use(dev)
    user._use(other)
    assert (dev._inside, other._inside) == (1, 1)
    dev.close()
    assert dev.closed
    assert user.closed
    assert told == ["the user"]
    assert other._inside == 0
    other.close()
    assert told == ["the user", "the other"]
    for closed, is_open in ((user, Served("it", told)), (Served("it", told), other)):
        with pytest.raises(ValueError, match="is closed"):
            closed._use(is_open)
    with pytest.raises(TypeError, match="what is used is an Owner"):
        Served("it", told)._use(7)  # type: ignore[arg-type]


def test_garbage_goes_after_what_uses_it() -> None:
    """The collector ends what it finds in the order that things were made in: the used would go first."""
    told: list[str] = []
    ring: list[Any] = [Served("the used", told), Served("the user", told)]
    ring[1]._use(ring[0])
    ring.append(ring)
    del ring
    gc.collect()
    assert told == ["the user", "the used"]


def test_closing_the_used_waits_for_a_call_on_the_user() -> None:
    told: list[str] = []
    used, user = Served("the used", told), Served("the user", told)
    user._use(used)
    with Guard(user):
        used.close()  # of this very thread: it cannot wait for itself
        assert (used.closed, user.closed, told) == (True, True, [])
    assert told == ["the user", "the used"]

    used, user = Served("the used", told), Served("the user", told)
    user._use(used)
    told.clear()
    guard = Guard(user)
    guard.__enter__()
    thread = threading.Thread(target=used.close)
    thread.start()
    until(lambda: user.closed, "the user to be closed")
    assert told == []
    guard.__exit__(None, None, None)
    thread.join(PATIENCE)
    assert told == ["the user", "the used"]


def test_a_forked_child_has_no_use_of_what_it_forgets() -> None:
    told: list[str] = []
    used, kept = (Served(name, told) for name in ("the used", "the kept"))
    forgotten = Served("the forgotten", told, forget=True)
    forgotten._use(used)
    kept._use(used)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert used._inside == 1
            kept.close()
            assert used._inside == 0
            used.close()
            assert told == ["the forgotten", "the kept", "the used"]
            forgotten.close()
            assert told == ["the forgotten", "the kept", "the used"]
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert used._inside == 2
    used.close()
    assert told == ["the kept", "the forgotten", "the used"]
