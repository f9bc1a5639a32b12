"""``dev.clock``: a program's own commands, timed as a modelled drive would take them."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

import zoned
import zonefs
from sim.helpers import KIB, MIB
from zoned.bench import Job, Simulation
from zoned.drives.models import load_drive
from zoned.drives.profiles import ProfileError
from zoned.geometry import GeometryError

DRIVES = ("hc620", "zn540")


def small(drive: str) -> zoned.Device:
    """16 zones of 4 MiB that may be timed as that drive."""
    return zoned.memory(
        size=64 * MIB,
        zone_size=4 * MIB,
        conventional=0,
        max_open=8,
        max_active=8 if drive == "zn540" else 0,
        dialect="zns" if drive == "zn540" else "zbc",
    )


def simulated(dev: zoned.Device, drive: str, job: Job) -> int:
    """When the same commands are over in the simulation, at depth 1."""
    sim = Simulation(dev.geometry, load_drive(drive)[1], dev.geometry.seed)
    sim.add(job)
    stats = sim.run().total(1)
    return stats.last


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("block", [4 * KIB, 256 * KIB])
def test_it_agrees_with_the_simulation(drive: str, block: int) -> None:
    job = Job("w", offset=0, size=12 * MIB, writes=True, zbd=True).set_bs(block)
    with small(drive) as dev:
        with dev.clock.start(drive) as clock:
            for offset in range(0, 12 * MIB, block):
                dev.pwrite(bytes(block), offset)
        host = round(load_drive(drive)[1].host_us * 1000)
        assert clock.commands == 12 * MIB // block
        assert clock.now - host == simulated(dev, drive, job)
        assert clock.now == clock.busy


@pytest.mark.parametrize("drive", DRIVES)
def test_the_same_commands_take_the_same_time(drive: str) -> None:
    def work() -> tuple[int, int, dict[str, int]]:
        with small(drive) as dev, dev.clock.start(drive, seed=5) as clock:
            for zone in (3, 9, 3, 12):
                dev.append(zone, bytes(128 * KIB))
            dev.pread(8 * KIB, dev.zones[9].start)
            dev.finish_zone(3)
            dev.flush()
            dev.reset_all()
            return clock.now, clock.commands, clock.parts

    first = work()
    assert first == work()
    assert first[0] > 0
    assert first[1] == 8


def test_a_random_read_seeks_and_a_sequential_one_does_not() -> None:
    with zoned.memory(profile="hc620", data="none") as dev:
        zone = dev.zones[40000]
        dev.pwrite(bytes(8 * MIB), zone.start)
        dev.flush()
        with dev.clock.start() as clock:
            assert clock.model == "hc620"
            dev.pread(64 * KIB, 0)
            dev.pread(64 * KIB, zone.start)
            far = clock.last
            dev.pread(64 * KIB, zone.start + 64 * KIB)
            near = clock.last
        assert far > 10e6 > 1e6 > near
        assert clock.parts["seek"] > 5e6


def test_idle_time_empties_the_drives_cache() -> None:
    def flush_after(seconds: float) -> int:
        with zoned.memory(profile="hc620", data="none") as dev, dev.clock.start() as clock:
            for zone in (600, 30000, 55000):
                dev.append(zone, bytes(MIB))
            before = clock.now
            clock.idle(seconds)
            assert clock.now == before + round(seconds * 1e9)
            dev.flush()
            return clock.last

    assert flush_after(0) > 20e6
    assert flush_after(1) < 1e6


def test_finish_and_reset_depend_on_what_was_written() -> None:
    with zoned.memory(profile="zn540", data="none") as dev, dev.clock.start() as clock:
        dev.append(0, bytes(16 * KIB))
        dev.finish_zone(0)
        nearly_empty = clock.last
        zone = dev.zones[1]
        for offset in range(0, zone.capacity - 64 * MIB, 64 * MIB):
            dev.pwrite(bytes(64 * MIB), zone.start + offset)
        dev.finish_zone(1)
        assert nearly_empty > 5 * clock.last > 0
        dev.reset_zone(2)
        empty = clock.last
        dev.reset_zone(1)
        assert clock.last > empty


def test_what_is_refused_takes_no_time_and_what_was_cut_short_a_part() -> None:
    with small("hc620") as dev, dev.clock.start("hc620") as clock:
        with pytest.raises(zoned.UnalignedWriteError):
            dev.pwrite(bytes(4 * KIB), 4 * KIB)
        assert (clock.now, clock.commands) == (0, 0)
        with (
            dev.faults.add("medium", on="write", block=256 * KIB),
            pytest.raises(zoned.MediumError),
        ):
            dev.pwrite(bytes(MIB), 0)
        cut = clock.now
        assert clock.commands == 1
        dev.append(3, bytes(MIB))
        assert 0 < cut < clock.last


def test_a_file_system_moves_it_too() -> None:
    with small("hc620") as dev:
        zonefs.mkfs(dev)
        with dev.clock.start("hc620") as clock:
            with zonefs.ZoneFS(dev) as fs, fs.open("seq/0", "ab") as file:
                file.write(bytes(4 * KIB))
            assert clock.commands >= 1
            assert clock.parts["media"] > 0


def test_threads_share_it() -> None:
    with small("hc620") as dev, dev.clock.start("hc620") as clock:

        def work(zone: int) -> None:
            for _ in range(64):
                dev.append(zone, bytes(4 * KIB))

        threads = [threading.Thread(target=work, args=(zone,)) for zone in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert clock.commands == 256
        clock.stop()
        dev.append(5, bytes(4 * KIB))
        assert clock.commands == 256


def test_it_can_stop_under_threads_that_go_on() -> None:
    with small("hc620") as dev:
        over = threading.Event()

        def work(zone: int) -> None:
            while not over.is_set():
                dev.append(zone, bytes(4 * KIB))
                dev.reset_zone(zone)

        threads = [threading.Thread(target=work, args=(zone,)) for zone in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            dev.clock.start("zn540").stop()
        over.set()
        for thread in threads:
            thread.join()
        assert not dev.clock.running


def test_a_forked_child_does_not_move_it() -> None:
    with small("hc620") as dev, dev.clock.start("hc620") as clock:
        dev.append(1, bytes(4 * KIB))
        pid = os.fork()
        if pid == 0:
            moved = True
            try:
                dev.append(1, bytes(4 * KIB))
                moved = clock.commands != 1
            finally:
                os._exit(int(moved))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert clock.commands == 1
        dev.append(1, bytes(4 * KIB))
        assert clock.commands == 2


def test_two_handles_have_a_clock_each(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    with (
        zoned.create(image, size=64 * MIB, zone_size=4 * MIB) as one,
        zoned.open(image) as two,
        one.clock.start("hc620") as first,
        two.clock.start("zn540") as second,
    ):
        one.append(4, bytes(4 * KIB))
        two.append(5, bytes(4 * KIB))
        two.append(5, bytes(4 * KIB))
        assert (first.commands, second.commands) == (1, 2)
        first.stop()
        two.append(5, bytes(4 * KIB))
        assert (first.commands, second.commands) == (1, 3)


def test_it_is_off_at_first_and_says_so() -> None:
    with small("hc620") as dev:
        assert (dev.clock.now, dev.clock.running, dev.clock.model) == (0, False, "null")
        dev.append(1, bytes(4 * KIB))
        assert (dev.clock.now, dev.clock.commands, dev.clock.parts) == (0, 0, {})
        assert repr(dev.clock) == "<Clock null, off, now 0 ns>"
        dev.clock.stop()
        with pytest.raises(RuntimeError, match="the clock is off: start it first"):
            dev.clock.idle(1)


def test_misuse_is_named(tmp_path: Path) -> None:
    with small("hc620") as dev:
        with pytest.raises(ProfileError, match=r"no profile 'hc62' \(did you mean hc620"):
            dev.clock.start("hc62")
        with pytest.raises(GeometryError, match="no sequential zones"):
            dev.clock.start("st8000as0002")
        bare = tmp_path / "bare.toml"
        bare.write_text('[geometry]\nsize = "64MiB"\nzone_size = "4MiB"\n')
        with pytest.raises(ProfileError, match=r"no \[model\]"):
            dev.clock.start(bare)
        assert not dev.clock.running
        dev.clock.start("hc620")
        with pytest.raises(RuntimeError, match="runs already, as hc620"):
            dev.clock.start("zn540")
        with pytest.raises(ValueError, match="idle for -1 s"):
            dev.clock.idle(-1)
        with pytest.raises(ValueError, match="idle for nan s"):
            dev.clock.idle(float("nan"))
    assert not dev.clock.running
    assert dev.clock.now == 0
    with pytest.raises(ValueError, match="closed"):
        dev.clock.start("hc620")


def test_a_read_only_handle_has_none(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    zoned.create(image, size=64 * MIB, zone_size=4 * MIB).close()
    with zoned.open(image, readonly=True) as dev, pytest.raises(io.UnsupportedOperation):
        dev.clock.start("hc620")


def test_a_drive_managed_disk() -> None:
    """Its media cache takes random writes at once; what lies in bands is read where it is."""
    with (
        zoned.memory(profile=_drive("st8000as0002"), data="none") as dev,
        dev.clock.start("st8000as0002") as clock,
    ):
        for at in range(50):
            dev.pwrite(bytes(4 * KIB), at * 977 * MIB)
        writes = clock.now
        dev.flush()
        assert clock.last > 0
        assert clock.now > writes
        assert clock.parts["media"] > 0


def _drive(name: str) -> Path:
    return Path(zoned.__file__).parent / "drives" / "managed" / f"{name}.toml"
