"""When the host refuses: read-only and full file systems, no permission, racing and killed creates.

A full file system is an errno that the caller gets, with the zone as it was; never a SIGBUS, however the
bytes reach the image. Small file systems are mounted where no one else sees them (root is needed).
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import stat
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

import zoned
from children import said
from image import disks
from image.isolation import can_mount, on_small_filesystem
from waiting import PATIENCE

Needs = Callable[[str, bool, str], None]

HELPERS = """
def fill_up(path, leave=0):
    '''Take all the room there is, but for `leave` bytes.'''
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
    if leave:
        os.truncate(path, max(os.path.getsize(path) - leave, 0))

def refused(call, *arguments):
    '''The call must raise ENOSPC, as an OSError that is no broken rule.'''
    try:
        call(*arguments)
    except zoned.ZonedError as error:
        raise AssertionError(f"a rule of the disk, not the host's: {error}")
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        return str(error)
    raise AssertionError(f"{call} found room")

def closed_well(device, path):
    device.close()
    assert [str(found) for found in zoned.check(path) if found.error] == []

def block(zone, number):
    return bytes([zone + 1, number % 250]) * 2048
"""


@pytest.fixture
def mounts(needs: Needs, tmp_path: Path) -> Path:
    needs("root", can_mount(), "a small file system of its own")
    return tmp_path


@pytest.fixture
def passes(mounts: Path) -> Callable[[str, str], None]:
    """``passes(size, story)``: the story, which has HELPERS, comes to its end on such a file system."""

    def check(size: str, story: str) -> None:
        script = f'{HELPERS}{story}print("fine")\n'
        assert on_small_filesystem(script, mounts, size=size).strip() == "fine"

    return check


def test_writes_until_the_file_system_is_full(passes: Callable[[str, str], None]) -> None:
    """First fills: ENOSPC, the zone unchanged, what was acknowledged readable, and room makes it go on."""
    passes(
        "4m",
        """
path = folder / "disk.img"
device = zoned.create(path, size="8MiB", zone_size="256KiB", conventional=2, max_open=0)
fill_up(folder / "ballast", leave=700_000)
written = {}
stopped = []
for zone in range(2, 32):
    for number in range(64):
        before = device.zones[zone]
        try:
            device.pwrite(block(zone, number), before.wp)
        except OSError as error:
            assert error.errno == errno.ENOSPC and not isinstance(error, zoned.ZonedError), error
            after = device.zones[zone]
            assert (after.wp, after.durable_wp) == (before.wp, before.durable_wp), (before, after)
            stopped.append(zone)
            break
        written[zone] = number + 1
assert stopped, "the file system never was full"
assert sum(written.values()) * 4096 > 300_000
for zone, blocks in written.items():
    wanted = b"".join(block(zone, n) for n in range(blocks))
    assert device.pread(len(wanted), zone * 262144) == wanted
refused(device.append, stopped[0], bytes(4096))
device.flush()
os.unlink(folder / "ballast")
for zone in stopped[:3]:
    device.pwrite(block(zone, 77), device.zones[zone].wp)
device.close()
assert zoned.check(path) == []
with zoned.open(path) as device:
    for zone, blocks in written.items():
        wanted = b"".join(block(zone, n) for n in range(blocks))
        assert device.pread(len(wanted), zone * 262144) == wanted
""",
    )


def test_conventional_zones_on_a_full_file_system(passes: Callable[[str, str], None]) -> None:
    """Blocks written for the first time, in any order, and overwritten ones: no mapping is trusted blindly."""
    passes(
        "4m",
        """
import random
path = folder / "disk.img"
device = zoned.create(path, size="8MiB", zone_size="1MiB", conventional=4)
fill_up(folder / "ballast", leave=600_000)
dice, content, full = random.Random(1), {}, 0
for _ in range(1500):
    number = dice.randrange(4 * 256)
    data = bytes([number % 251 + 1, dice.randrange(256)]) * 2048
    try:
        device.pwrite(data, number * 4096)
    except OSError as error:
        assert error.errno == errno.ENOSPC and not isinstance(error, zoned.ZonedError), error
        full += 1
    else:
        content[number] = data
assert full > 100 and len(content) > 50, (full, len(content))
for number in range(4 * 256):
    assert device.pread(4096, number * 4096) == content.get(number, bytes(4096)), number
for number in content:          # what has blocks can be overwritten though nothing is free
    content[number] = bytes([number % 251 + 1, 7]) * 2048
    device.pwrite(content[number], number * 4096)
device.flush()
device.close()
with zoned.open(path) as device:
    for number in range(4 * 256):
        assert device.pread(4096, number * 4096) == content.get(number, bytes(4096)), number
""",
    )


@pytest.mark.parametrize(
    "what",
    ["conventional", "sequential", "a new part of the disk", "a copy for a snapshot", "mkfs"],
)
def test_filled_free_slots_are_room_on_a_full_file_system(
    passes: Callable[[str, str], None], what: str
) -> None:
    """Zones that were reset keep their blocks for the next: whoever needs blocks gets these, on every path."""
    passes(
        "12m",
        f"""
from zonefs import mkfs
what = {what!r}
path = folder / "disk.img"
device = zoned.create(path, size="640MiB", zone_size="1MiB", conventional=4, max_open=0)
device.pwrite(b"c" * 4096, 3 << 20)
device.flush()
snapshot = device.snapshot() if what == "a copy for a snapshot" else None
for zone in (10, 11):
    device.pwrite(b"w" * (1 << 20), zone << 20)
device.flush()
for zone in (10, 11):
    device.reset_zone(zone)
device.flush()
info = device.info()
assert info.slots_free >= 2, info
fill_up(folder / "ballast")
if what == "mkfs":
    mkfs(device)
else:
    place = {{"conventional": 0, "sequential": 20, "a new part of the disk": 600}}.get(what, 3) << 20
    device.pwrite(b"n" * 8192, place)
    assert device.pread(8192, place) == b"n" * 8192
    if snapshot is not None:
        with snapshot.fork() as then:
            assert then.pread(8192, place) == b"c" * 4096 + bytes(4096)
        snapshot.close()
device.flush()
closed_well(device, path)
""",
    )


def test_a_failed_write_to_a_preferred_zone_leaves_nothing(
    passes: Callable[[str, str], None],
) -> None:
    """No mark that a power cut takes for data, and no byte that a later write over a gap brings to light."""
    passes(
        "2m",
        """
path = folder / "disk.img"
device = zoned.create(path, size="16MiB", zone_size="1MiB", conventional=0, model="host-aware")
device.pwrite(b"a" * 4096, 0)
fill_up(folder / "ballast", leave=200_000)
refused(device.pwrite, b"y" * (1 << 19), 1 << 20)
refused(device.pwrite, b"y" * (1 << 19), 4096)
before = [(zone.condition, zone.wp) for zone in device.zones]
device.power_cut("all")
device.power_on()
assert before[1] == (zoned.ZoneCondition.EMPTY, 1 << 20), before[1]
assert [zone.wp for zone in device.zones] == [wp for _, wp in before]
(folder / "ballast").unlink()
for zone in (0, 1):
    device.pwrite(b"z" * 4096, (zone << 20) + (1 << 18))
    held = device.pread((1 << 18) - 4096, (zone << 20) + 4096)
    assert held == bytes(len(held)), held[:16]
closed_well(device, path)
""",
    )


def test_reads_of_holes_need_no_room(passes: Callable[[str, str], None]) -> None:
    """Reading what was never written, through whatever mapping, allocates nothing on the host."""
    passes(
        "12m",
        """
path = folder / "disk.img"
device = zoned.create(path, size="64MiB", zone_size="4MiB", conventional=2)
device.pwrite(bytes(4096), 0)
device.pwrite(b"x" * 4096, 3 * 1048576)
for zone in (2, 3):
    device.pwrite(bytes(4096), device.zones[zone].start)
device.finish_zone(2)
fill_up(folder / "ballast")
for zone in device.zones[:4]:
    data = device.pread(zone.length, zone.start)
    assert data.count(0) >= zone.length - 4096
""",
    )


def test_a_commit_without_room_leaves_its_zone_closed(passes: Callable[[str, str], None]) -> None:
    """An explicit commit opens a closed zone, and brings zeros where nothing was written; or neither."""
    passes(
        "4m",
        """
path = folder / "disk.img"
device = zoned.create(path, size="4MiB", zone_size="256KiB", dialect="zns", zrwa_size="64KiB", zrwa_count=1, slot_cache=0)
device.open_zone_zrwa(0)
device.close_zone(0)
device.flush()
fill_up(folder / "ballast")
refused(device.commit_zone, 0, 65536)
assert (device.zones[0].condition.name, device.zones[0].wp) == ("CLOSED", 0)
assert len(device.write_area(0)) == 0
os.unlink(folder / "ballast")
device.commit_zone(0, 65536)
assert (device.zones[0].condition.name, device.zones[0].wp) == ("IMPLICIT_OPEN", 65536)
closed_well(device, path)
""",
    )


def test_punched_slots_on_a_full_file_system(passes: Callable[[str, str], None]) -> None:
    """A slot that was filled, freed and punched out has no blocks any more: ENOSPC, no SIGBUS."""
    passes(
        "4m",
        """
path = folder / "disk.img"
device = zoned.create(path, size="4MiB", zone_size="256KiB", conventional=0, max_open=0, slot_cache=0)
for round in range(3):
    for zone in range(8):
        for number in range(64):
            device.pwrite(block(zone, number), zone * 262144 + number * 4096)
    device.flush()
    device.reset_all()
    device.flush()
fill_up(folder / "ballast")
full = 0
for zone in range(8):
    try:
        for number in range(64):
            device.pwrite(block(zone, number), zone * 262144 + number * 4096)
    except OSError as error:
        assert error.errno == errno.ENOSPC and not isinstance(error, zoned.ZonedError), error
        full += 1
    end = device.zones[zone].wp - zone * 262144 if device.zones[zone].wp is not None else 262144
    assert device.pread(end, zone * 262144) == b"".join(block(zone, n) for n in range(end // 4096))
assert full > 0
os.unlink(folder / "ballast")
device.reset_all()
device.pwrite(block(1, 1), 262144)
device.close()
assert zoned.check(path) == []
""",
    )


def test_shared_state_needs_room_too(passes: Callable[[str, str], None]) -> None:
    """Commands on 104,000 zones reserve state as they go: without room each is refused or done, nothing else."""
    passes(
        "16m",
        """
path = folder / "disk.img"
device = zoned.create(path, profile="hc680", max_open=0, max_active=0)
fill_up(folder / "ballast", leave=500_000)
first = next(z.index for z in device.zones if z.type is not zoned.ZoneType.CONVENTIONAL)
last = len(device.zones) - 1
done = []
refusals = 0
for zone in range(first, last, 311):
    try:
        device.open_zone(zone)
    except OSError as error:
        assert error.errno == errno.ENOSPC and not isinstance(error, zoned.ZonedError), error
        assert device.zones[zone].condition is zoned.ZoneCondition.EMPTY
        refusals += 1
    else:
        assert device.zones[zone].condition is zoned.ZoneCondition.EXPLICIT_OPEN
        done.append(zone)
    device.counters.zone(zone)
assert refusals and done, (refusals, len(done))
assert device.limits.explicit_open == len(done)
report = list(device.report())
assert [z.index for z in report if z.condition is zoned.ZoneCondition.EXPLICIT_OPEN] == done
assert device.counters.opens == len(done)
device.close_all()
os.unlink(folder / "ballast")
device.open_zone(last)
closed_well(device, path)
""",
    )


def test_open_on_a_full_file_system(passes: Callable[[str, str], None]) -> None:
    """Where the shared state finds no room, opening says so; to read, no room is needed."""
    passes(
        "2m",
        """
import shutil
small = folder / "small"
device = zoned.create(folder / "disk.img", size="1MiB", zone_size="64KiB", conventional=1)
device.pwrite(b"here" * 1024, 0)
device.close()
data = (folder / "disk.img").read_bytes()
os.unlink(folder / "disk.img")
path = folder / "copy.img"       # a sparse copy: its shared state has no blocks yet
with open(path, "wb") as file:
    for at in range(0, len(data), 4096):
        if any(data[at:at + 4096]):
            file.seek(at)
            file.write(data[at:at + 4096])
    file.truncate(len(data))
fill_up(folder / "ballast")
try:
    with zoned.open(path) as device:
        assert device.pread(4, 0) == b"here"
except OSError as error:
    assert error.errno == errno.ENOSPC and str(path) in str(error), error
with zoned.open(path, readonly=True) as device:
    assert device.pread(4096, 0) == b"here" * 1024
assert [f for f in zoned.check(path) if f.error] == []
os.unlink(folder / "ballast")
with zoned.open(path) as device:
    assert device.pread(4096, 0) == b"here" * 1024
""",
    )


def test_create_on_a_full_file_system(passes: Callable[[str, str], None]) -> None:
    passes(
        "4m",
        """
path = folder / "disk.img"
for leave in (0, 4096, 8192, 20000, 50000, 100000):
    fill_up(folder / "ballast", leave=leave)
    try:
        zoned.create(path, size="64MiB", zone_size="1MiB").close()
    except OSError as error:
        assert error.errno == errno.ENOSPC and str(path) in str(error), error
        assert [p.name for p in folder.iterdir()] == ["ballast"], "something was left behind"
    else:
        with zoned.open(path, readonly=True) as device:
            assert len(device.zones) == 64
        os.unlink(path)
""",
    )


def test_read_only_file_system(mounts: Path) -> None:
    """Create and open are refused with EROFS; a read-only opener sees all, clean or not."""
    script = """
import subprocess
path, unclean = folder / "disk.img", folder / "unclean.img"
device = zoned.create(path, size="1MiB", zone_size="64KiB", conventional=1)
device.pwrite(b"here" * 1024, 0)
device.pwrite(b"seq." * 1024, 65536)
device.flush()
unclean.write_bytes(path.read_bytes())
device.close()
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
for name in (path, unclean):
    try:
        zoned.open(name)
        raise SystemExit("opened for writing")
    except OSError as error:
        assert error.errno == errno.EROFS and str(name) in str(error), error
    with zoned.open(name, readonly=True) as device:
        assert device.pread(4096, 0) == b"here" * 1024
        assert device.pread(4096, 65536) == b"seq." * 1024
        assert device.zones[1].wp == 65536 + 4096
    assert [f for f in zoned.check(name) if f.error] == []
try:
    zoned.create(folder / "new.img", size="1MiB", zone_size="64KiB")
    raise SystemExit("created")
except OSError as error:
    assert error.errno == errno.EROFS and "new.img" in str(error), error
print("fine")
"""
    assert on_small_filesystem(script, mounts).strip() == "fine"


# ---------------------------------------------------------------------- permission


def as_nobody(script: str, folder: Path) -> str:
    """Run Python code that gives up root once all modules that it needs are imported."""
    code = f"""
import errno, os
from pathlib import Path
import zoned
folder = Path({str(folder)!r})
warm = folder / "warm.img"
zoned.create(warm, size="1MiB", zone_size="64KiB").close()
with zoned.open(warm, readonly=True) as device:
    list(device.report())
zoned.check(warm)
for call in (zoned.open, zoned.check):
    try:
        call(folder / "nowhere")
    except FileNotFoundError:
        pass
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
{script}"""
    return said("-c", code)


def test_no_permission(shm: Path) -> None:
    shm.chmod(0o755)
    for name, mode in (("secret.img", 0o000), ("shown.img", 0o444)):
        disks.make(shm / name)
        (shm / name).chmod(mode)
    script = """
def denied(call):
    try:
        call()
    except PermissionError as error:
        assert error.errno == errno.EACCES
        return str(error)
    raise AssertionError("permitted")

assert "secret.img" in denied(lambda: zoned.open(folder / "secret.img"))
assert "secret.img" in denied(lambda: zoned.open(folder / "secret.img", readonly=True))
assert "secret.img" in denied(lambda: zoned.check(folder / "secret.img"))
assert "shown.img" in denied(lambda: zoned.open(folder / "shown.img"))
assert "shown.img" in denied(lambda: zoned.check(folder / "shown.img", repair=True))
if os.geteuid() == 65534:   # the folder belongs to another user
    assert "new.img" in denied(lambda: zoned.create(folder / "new.img", size="1MiB", zone_size="64KiB"))
with zoned.open(folder / "shown.img", readonly=True) as device:
    assert device.zones[3].condition is zoned.ZoneCondition.CLOSED
assert [f for f in zoned.check(folder / "shown.img") if f.error] == []
print("fine")
"""
    assert as_nobody(script, shm).strip() == "fine"


def test_image_belongs_to_its_maker_alone_or_as_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        disks.make(tmp_path / "disk.img")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "disk.img").stat().st_mode) == 0o640


# ---------------------------------------------------------------------- creates that race or are killed


def _race(folder: str, rounds: int, seed: int, gate: Barrier, answers: Any) -> None:
    for number in range(rounds):
        gate.wait(PATIENCE)
        try:
            zoned.create(
                Path(folder) / f"{number}.img", size="1MiB", zone_size="64KiB", seed=seed
            ).close()
            answers.put((number, seed, "made"))
        except FileExistsError:
            answers.put((number, seed, "exists"))


def test_racing_creates_have_one_winner(shm: Path) -> None:
    rounds, racers = 100, 3
    context = multiprocessing.get_context("fork")
    gate, answers = context.Barrier(racers), context.Queue()
    processes = [
        context.Process(target=_race, args=(str(shm), rounds, seed, gate, answers))
        for seed in range(1, racers + 1)
    ]
    for process in processes:
        process.start()
    heard = [answers.get(timeout=PATIENCE) for _ in range(rounds * racers)]
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0
    for number in range(rounds):
        winners = [seed for at, seed, word in heard if at == number and word == "made"]
        assert len(winners) == 1, f"round {number}: {winners}"
        with zoned.open(shm / f"{number}.img", readonly=True) as device:
            assert device.geometry.seed == winners[0]
    assert sorted(p.name for p in shm.iterdir()) == sorted(f"{n}.img" for n in range(rounds))


def test_killed_create_leaves_no_half_image(shm: Path, long_run: bool) -> None:
    """SIGKILL and SIGINT at any moment: the image is whole or not there, and can be made afterwards."""
    dice, whole, absent = random.Random(3), 0, 0
    for number in range(300 if long_run else 40):
        path = shm / f"{number}.img"
        # A SIGINT between fork() and try would let the child go on as the test, down to the fixture's clean-up.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        child = os.fork()
        if child == 0:
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                zoned.create(path, profile="hc680").close()
            finally:
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        time.sleep(dice.uniform(0, 0.004))
        os.kill(child, signal.SIGKILL if number % 2 else signal.SIGINT)
        os.waitpid(child, 0)
        if path.exists():
            whole += 1
            with zoned.open(path, readonly=True) as device:
                assert len(device.zones) > 100_000
            assert [f for f in zoned.check(path) if f.error] == []
        else:
            absent += 1
            zoned.create(path, size="1MiB", zone_size="64KiB").close()
        path.unlink()
    assert absent > 0, "no create was killed in time"
    assert list(shm.iterdir()) == []


def test_create_says_what_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_text("mine")
    with pytest.raises(FileExistsError) as caught:
        zoned.create(path, size="1MiB", zone_size="64KiB")
    assert caught.value.errno == errno.EEXIST and str(path) in str(caught.value)
    assert path.read_text() == "mine"
    with pytest.raises(FileNotFoundError):
        zoned.create(tmp_path / "no" / "disk.img", size="1MiB", zone_size="64KiB")
    zoned.create(path, size="1MiB", zone_size="64KiB", replace=True).close()
    with zoned.open(path, readonly=True) as device:
        assert device.geometry.size == 1 << 20
