"""Forks of forks: nothing is copied at any depth, and whoever is closed or killed first, the others keep their data."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import random
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

import zoned
from waiting import PATIENCE, rounds
from zoned._core.looking import zone_written
from zoned.testing import check_crashes

MIB = 1 << 20
BLOCK = 4096
C = zoned.ZoneCondition
DISK = {"size": "48MiB", "zone_size": "4MiB", "conventional": 2, "max_open": 0, "slot_cache": 0}


@pytest.fixture(params=["ram", "image"])
def dev(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[zoned.Device]:
    if request.param == "ram":
        device = zoned.memory(**DISK)
    else:
        device = zoned.create(tmp_path / "disk.img", host_sync="never", **DISK)
    with device:
        yield device
    if request.param == "image":
        assert [str(found) for found in zoned.check(tmp_path / "disk.img") if found.error] == []


def ram_disks() -> dict[int, int]:
    """All disks in RAM that this process keeps, forks included, by inode: bytes of memory that they take."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            if "memfd:zoned" in os.readlink(f"/proc/self/fd/{fd}"):
                found[os.stat(f"/proc/self/fd/{fd}").st_ino] = (
                    os.stat(f"/proc/self/fd/{fd}").st_blocks * 512
                )
        except FileNotFoundError:
            continue
    return found


def own_memory() -> int:
    """Bytes of anonymous memory that this process has: what malloc and Python took."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon in /proc/self/status")


def contents(dev: zoned.Device) -> list[bytes]:
    return [dev.pread(zone.capacity, zone.start) for zone in dev.zones]


# ---------------------------------------------------------------- no copy


def test_no_level_copies_what_it_shares(dev: zoned.Device) -> None:
    """40 MiB, shared by eight levels that each write 4 KiB: the memory of all grows by what they write."""
    for zone in range(10):
        dev.pwrite(os.urandom(4 * MIB), zone * 4 * MIB)
    shown = contents(dev)
    disks, memory, blocks = sum(ram_disks().values()), own_memory(), dev.info().file_blocks
    chain = [dev]
    for level in range(8):
        with chain[-1].snapshot() as snapshot:
            chain.append(snapshot.fork())
        chain[-1].append(10, bytes([level + 1]) * BLOCK)
        seen = contents(chain[-1])
        assert seen[:10] == shown[:10]
        assert seen[10] == b"".join(bytes([n + 1]) * BLOCK for n in range(level + 1)).ljust(
            4 * MIB, b"\0"
        )
        del seen
        assert chain[-1].info().slots_used == 1  # the zone that it wrote, not the ten it reads
        assert chain[-1].info().file_blocks < MIB
    assert sum(ram_disks().values()) - disks < 8 * MIB // 2  # a copy at one level is 40 MiB
    if "ZONED_SANITIZED" not in os.environ:  # a sanitizer holds freed memory back
        assert own_memory() - memory < 16 * MIB
    assert dev.info().file_blocks == blocks
    assert dev.info().slots_used == 10
    for fork in reversed(chain[1:]):
        fork.close()


def test_survivors_of_survivors_share_too(dev: zoned.Device) -> None:
    for zone in range(10):
        dev.pwrite(os.urandom(4 * MIB), zone * 4 * MIB)
    dev.flush()
    dev.pwrite(b"n" * 2 * BLOCK, 0)
    dev.append(10, b"w" * 2 * BLOCK)
    before = sum(ram_disks().values())

    def walk(disk: zoned.Device, depth: int) -> int:
        with disk.crash_states("linear") as states:
            for number, survivor in enumerate(states):
                assert survivor.pread(4 * MIB, 12 * MIB) == third
                assert survivor.info().slots_used <= 2
                assert sum(ram_disks().values()) - before < 4 * MIB
                if depth and number < 2:
                    survivor.append(11, bytes([depth]) * BLOCK)
                    walk(survivor, depth - 1)
        return states.total

    third = dev.pread(4 * MIB, 12 * MIB)
    assert walk(dev, 3) > 2


def test_check_crashes_in_recoveries_copies_nothing() -> None:
    """depth=3: power cuts in what recovered from a cut in a recovery, beside 8 MiB that all of them read."""
    most = 0

    def workload(disk: zoned.Device, ack: Callable[[object], None]) -> None:
        disk.pwrite(b"c" * 4 * MIB, 0)
        disk.pwrite(b"s" * 4 * MIB, 8 * MIB)
        disk.flush()
        disk.append(3, b"1" * BLOCK)
        disk.flush()
        ack(1)

    def verify(disk: zoned.Device, acknowledged: list[object]) -> None:
        nonlocal most
        assert zone_written(disk, 3) >= len(acknowledged) * BLOCK
        if acknowledged:
            assert disk.pread(MIB, 2 * MIB) == b"c" * MIB
        disk.append(4, b"r" * BLOCK)
        disk.flush()
        disk.reset_zone(4)
        most = max(most, sum(ram_disks().values()))

    before = sum(ram_disks().values())
    report = check_crashes(workload, verify, depth=3, cuts=3, limit=2, **DISK)
    assert report.states > 30
    assert most - before < 14 * MIB


def test_levels_that_nobody_reads_are_not_kept(dev: zoned.Device) -> None:
    """A disk that goes on as its own fork, again and again, takes no more of anything."""
    dev.pwrite(os.urandom(MIB), 8 * MIB)
    shown = dev.pread(MIB, 8 * MIB)
    fork, kept = dev.fork(), None
    for number in range(300):
        if number % 3 == 1:  # what the last level wrote goes with the next one's reset
            fork.reset_zone(4)
            fork.append(4, bytes([number % 251]) * BLOCK)
        if number % 3 == 2:
            fork.pwrite(bytes([number % 251]) * BLOCK, BLOCK)
        after = fork.fork()
        fork.close()
        fork = after
        kept = kept or (len(ram_disks()) + 6, len(os.listdir("/proc/self/fd")) + 6)
        assert len(ram_disks()) <= kept[0]
        assert len(os.listdir("/proc/self/fd")) <= kept[1]
    assert fork.pread(MIB, 8 * MIB) == shown
    assert fork.pread(BLOCK, 16 * MIB) == bytes([298 % 251]) * BLOCK
    assert fork.pread(BLOCK, BLOCK) == bytes([299 % 251]) * BLOCK
    fork.close()


# ---------------------------------------------------------------- who lives how long


def grow(dev: zoned.Device, levels: int) -> list[zoned.Device]:
    """Forks of forks: each appends to zone 3, owns one zone, overwrites one block, and then changes all again."""
    dev.append(3, b"0" * BLOCK)
    dev.append(4, b"root" * (BLOCK // 4))
    dev.pwrite(b"conv" * (BLOCK // 4), 0)
    chain = [dev]
    for level in range(1, levels + 1):
        fork = chain[-1].fork()
        before = chain[-1]
        before.reset_zone(4)  # all after the fork, which must not see it
        before.pwrite(b"late" * (BLOCK // 4), 0)
        before.append(3, b"late" * (BLOCK // 4))
        fork.append(3, str(level).encode() * BLOCK)
        fork.append(4 + level, b"mine" * (BLOCK // 4))
        if level % 2:
            fork.pwrite(str(level).encode() * BLOCK, level * BLOCK)
        chain.append(fork)
    return chain


def word(dev: zoned.Device, offset: int) -> bytes:
    return dev.pread(BLOCK, offset)[:4]


def claim_level(dev: zoned.Device, level: int, last: bool) -> None:
    blocks = dev.pread(zone_written(dev, 3), 12 * MIB)[::BLOCK]
    assert blocks == b"".join(str(n).encode() for n in range(level + 1)) + (b"" if last else b"l")
    assert word(dev, 16 * MIB) == (b"root" if last else bytes(4))
    for zone in range(5, 5 + level):
        assert word(dev, zone * 4 * MIB) == b"mine"
    assert word(dev, 0) == (b"conv" if last else b"late")
    for block in range(1, level + 1):
        assert word(dev, block * BLOCK)[:1] == (str(block).encode() if block % 2 else b"\0")


@pytest.mark.parametrize(
    ("kind", "order"),
    [("ram", order) for order in itertools.permutations(range(4))]
    + [("image", order) for order in list(itertools.permutations(range(4)))[::3]],
)
def test_closed_in_any_order(order: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    before = len(ram_disks())
    root = zoned.memory(**DISK) if kind == "ram" else zoned.create(path, host_sync="never", **DISK)
    chain = grow(root, 3)
    for count, level in enumerate(order):
        chain[level].close()
        for other in order[count + 1 :]:
            claim_level(chain[other], other, other == 3)
    assert len(ram_disks()) == before
    if kind == "image":
        with zoned.open(path) as again:
            claim_level(again, 0, False)
            assert again.info().slots_used == 2  # its zones 0 and 3: no pin is left
        assert [str(found) for found in zoned.check(path) if found.error] == []


def test_a_snapshot_of_a_fork_outlives_all_disks(dev: zoned.Device) -> None:
    chain = grow(dev, 3)
    snapshots = [disk.snapshot() for disk in chain]
    for fork in chain[1:]:
        fork.reset_all()
        fork.close()
    dev.reset_all()
    for level in (3, 1, 2, 0):
        with snapshots[level].fork() as fork, fork.fork() as again:
            snapshots[level].close()
            fork.reset_all()
            claim_level(again, level, level == 3)
    assert dev.info().slots_used == 1  # the conventional zone, which cannot be reset


def test_pins_of_the_origin_go_with_the_last_reader(dev: zoned.Device) -> None:
    dev.append(3, b"a" * MIB)
    before = len(ram_disks())
    chain = [dev]
    for _ in range(4):
        chain.append(chain[-1].fork())
    dev.reset_zone(3)
    for fork in chain[1:4]:
        fork.close()
    assert dev.info().slots_used == 1
    assert chain[4].pread(MIB, 12 * MIB) == b"a" * MIB
    assert len(ram_disks()) == before + 2  # it and its origin: the others had nothing of their own
    with chain[4].snapshot() as snapshot:
        chain[4].reset_zone(3)
        chain[4].close()
        assert dev.info().slots_used == 1
        with snapshot.fork() as last:
            assert last.pread(MIB, 12 * MIB) == b"a" * MIB
    assert dev.info().slots_used == 0


# ---------------------------------------------------------------- going back


def test_rollback_of_a_fork_of_a_fork(dev: zoned.Device) -> None:
    chain = grow(dev, 3)
    fork = chain[3]
    with fork.snapshot() as then, fork.fork() as beside:
        shown = contents(fork)
        for _ in range(3):
            fork.reset_all()
            fork.pwrite(b"x" * MIB, 0)
            fork.append(3, b"y" * 6 * BLOCK)
            fork.finish_zone(4)
            with fork.snapshot() as now:
                other = contents(fork)
                fork.rollback(then)
                assert contents(fork) == shown
                claim_level(fork, 3, True)
                assert fork.limits.open == beside.limits.open
                fork.rollback(now)
                assert contents(fork) == other
                fork.rollback(then)
            fork.append(3, b"z" * BLOCK)
            assert fork.pread(BLOCK, 12 * MIB + 4 * BLOCK) == b"z" * BLOCK
            fork.rollback(then)
            assert zone_written(fork, 3) == 4 * BLOCK
        assert contents(beside) == shown
    for fork in chain[1:]:
        fork.close()


@pytest.mark.parametrize("model", ["host-managed", "host-aware"])
def test_survivors_of_a_deep_fork_are_those_of_the_disk(model: str) -> None:
    """Unflushed blocks and their old bytes are shared as the data is; a live cut finds them as well."""
    keywords = {"size": "1MiB", "zone_size": "256KiB", "model": model, "max_open": 0}
    with zoned.memory(**keywords, conventional=2 if model == "host-managed" else 0) as dev:
        dev.pwrite(b"o" * 4 * BLOCK, 0)
        dev.flush()
        dev.pwrite(b"n" * 2 * BLOCK, BLOCK)
        dev.append(2 if model == "host-managed" else 3, b"w" * 2 * BLOCK)

        def survivors(disk: zoned.Device) -> list[list[bytes]]:
            with disk.crash_states("exhaustive") as states:
                return [contents(survivor) for survivor in states]

        expected = survivors(dev)
        assert len(expected) >= 12
        with dev.fork() as one, one.fork() as two:
            one.flush()
            dev.pwrite(b"z" * 4 * BLOCK, 0)
            dev.flush()
            with two.fork() as three, three.snapshot() as then:
                assert survivors(two) == expected
                assert survivors(three) == expected
                two.close()
                three.power_cut()
                three.power_on()
                assert contents(three) == expected[0]
                three.rollback(then)
                assert survivors(three) == expected
                with three.crash_states("exhaustive") as states:
                    ids = [survivor.crash_id for survivor in states]
                three.power_cut(choice=ids[-2])
                three.power_on()
                assert contents(three) == expected[-2]


def test_a_survivor_keeps_its_torn_blocks_through_forks(dev: zoned.Device) -> None:
    """Blocks that a cut brought back lie apart from the rest, and are found from any depth."""
    dev.pwrite(b"o" * 4 * BLOCK, 0)
    dev.flush()
    dev.pwrite(b"n" * 4 * BLOCK, 0)
    with dev.snapshot() as snapshot, snapshot.survivor(undone=[BLOCK, 3 * BLOCK]) as torn:
        with torn.fork() as one, one.fork() as two, two.snapshot() as then:
            dev.pwrite(b"z" * 4 * BLOCK, 0)
            torn.close()
            for disk in (one, two):
                assert disk.pread(4 * BLOCK, 0)[::BLOCK] == b"nono"
            assert two.pread(2 * BLOCK, BLOCK)[:: BLOCK // 2] == b"oonn"
            two.pwrite(b"2" * BLOCK, 0)
            assert two.pread(4 * BLOCK, 0)[::BLOCK] == b"2ono"
            assert one.pread(4 * BLOCK, 0)[::BLOCK] == b"nono"
            two.power_cut()
            two.power_on()
            assert two.pread(4 * BLOCK, 0)[::BLOCK] == b"nono"
            two.rollback(then)
            with then.fork() as three:
                assert three.pread(4 * BLOCK, 0)[::BLOCK] == b"nono"
            assert two.pread(4 * BLOCK, 0)[::BLOCK] == b"nono"


def test_a_deep_fork_cut_within_what_it_shares(dev: zoned.Device) -> None:
    """What it writes where the cut took something away is its own, and its forks see that."""
    dev.append(3, b"a" * BLOCK)
    dev.flush()
    dev.append(3, b"b" * 2 * BLOCK)
    with dev.fork() as one:
        one.append(3, b"c" * BLOCK)
        with one.fork() as two, two.snapshot() as then:
            two.power_cut()
            two.power_on()
            two.append(3, b"2" * 2 * BLOCK)
            with two.fork() as three:
                two.rollback(then)
                three.append(3, b"3" * BLOCK)
                with three.fork() as four:
                    for disk, letters in (
                        (dev, b"abb"), (one, b"abbc"), (two, b"abbc"), (three, b"a223"), (four, b"a223"),
                    ):  # fmt: skip
                        assert disk.pread(zone_written(disk, 3), 12 * MIB)[::BLOCK] == letters


def test_a_flipped_bit_on_the_media_stays_in_its_disk(dev: zoned.Device) -> None:
    dev.append(3, b"a" * 2 * BLOCK)
    with dev.fork() as one:
        one.append(3, b"b" * 2 * BLOCK)
        with one.fork() as two, two.fork() as three:
            with two.faults.add("flip-media", on="write", zones=3, bit=0):
                two.pwrite(b"c" * BLOCK, 12 * MIB + 4 * BLOCK)
            assert two.pread(5 * BLOCK, 12 * MIB) != b"aabbc"
            for disk, letters in ((dev, b"aa"), (one, b"aabb"), (three, b"aabb")):
                assert disk.pread(zone_written(disk, 3), 12 * MIB)[::BLOCK] == letters


# ---------------------------------------------------------------- threads, processes, limits


def test_many_threads_fork_forks(dev: zoned.Device) -> None:
    """Each thread grows a chain of its own from one disk that others go on writing, closing from the front."""
    stop = threading.Event()

    def write() -> None:
        for number in rounds(200, stop, lambda: dev.reset_zone(3)):
            dev.append(3, bytes([number]) * BLOCK)
            dev.pwrite(bytes([number]) * BLOCK * 4, 0)

    def chain(seed: int) -> None:
        draw = random.Random(seed)
        disks = [dev.fork()]
        for step in range(40):
            disk = disks[-1]
            shown, count = disk.pread(4 * BLOCK, 0), zone_written(disk, 3) // BLOCK
            assert shown == shown[:1] * 4 * BLOCK
            assert disk.pread(count * BLOCK, 12 * MIB)[::BLOCK] == bytes(range(1, count + 1))
            disks.append(disk.fork())
            disk.reset_zone(3)
            disk.pwrite(b"\xff" * 4 * BLOCK, 0)
            assert disks[-1].pread(4 * BLOCK, 0) == shown
            if count < 250 and draw.random() < 0.3:
                disks[-1].append(3, bytes([count + 1]) * BLOCK)
            if draw.random() < 0.7:
                disks.pop(draw.randrange(len(disks) - 1)).close()
            if step % 20 == 19:
                for disk in disks:
                    disk.close()
                disks = [dev.fork()]
        for disk in disks:
            disk.close()

    with ThreadPoolExecutor(5) as pool:
        writer = pool.submit(write)
        done = [pool.submit(chain, seed) for seed in range(4)]
        wait(done)
        stop.set()
        writer.result()
        for one in done:
            one.result()
    dev.reset_all()
    assert dev.info().slots_used == 1


def holder(path: str, ready: object) -> None:
    """Another process: forks of forks of the image, held until it is killed."""
    dev = zoned.open(path)
    chain = [dev]
    for level in range(3):
        chain.append(chain[-1].fork())
        chain[-1].append(5 + level, b"h" * BLOCK)
    assert word(chain[-1], 12 * MIB) == b"aaaa"
    dev.close()
    ready.release()
    threading.Event().wait(120)


def test_a_killed_holder_of_forks_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    context = multiprocessing.get_context("spawn")
    ready = context.Semaphore(0)
    with zoned.create(path, host_sync="never", **DISK) as dev:
        dev.append(3, b"a" * MIB)
        holders = [context.Process(target=holder, args=(str(path), ready)) for _ in range(2)]
        for process in holders:
            process.start()
        try:
            for _ in holders:
                assert ready.acquire(timeout=PATIENCE)
            with dev.fork() as one, one.fork() as two:
                dev.reset_zone(3)
                for process in holders:
                    process.kill()
                    process.join(PATIENCE)
                dev.append(3, b"b" * MIB)
                one.close()
                assert two.pread(MIB, 12 * MIB) == b"a" * MIB
                with two.fork() as three:
                    assert three.pread(MIB, 12 * MIB) == b"a" * MIB
            assert dev.info().slots_used == 2  # the dead ones' pins, until the last opener is gone
            assert [str(found) for found in zoned.check(path) if found.error] == []
        finally:
            for process in holders:
                process.kill()
                process.join(PATIENCE)
    with zoned.open(path) as dev:
        assert dev.info().slots_used == 1
        assert dev.pread(MIB, 12 * MIB) == b"b" * MIB


def descend(chain: list[zoned.Device], levels: int) -> None:
    for _ in range(levels):
        chain[-1].append(3, bytes([len(chain) % 251]) * BLOCK)
        chain.append(chain[-1].fork())
        chain[-2].close()


def test_more_levels_than_open_files(dev: zoned.Device) -> None:
    """A level whose data is read takes a descriptor, and running out of them is one clear error."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    chain = [dev.fork()]
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 64, limits[1]))
    try:
        with pytest.raises(OSError, match=r"takes (a|another) file descriptor") as caught:
            descend(chain, highest + 64)
        assert caught.value.errno == errno.EMFILE
        assert len(chain) > 50
        last = chain[-1]
        count = zone_written(last, 3) // BLOCK
        shown = last.pread(count * BLOCK, 12 * MIB)[::BLOCK]
        assert shown == bytes([number % 251 for number in range(1, count + 1)])
        assert "\n" not in str(caught.value)
        last.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with dev.fork() as one, one.fork() as two:
        assert two.zones[3].condition is C.EMPTY
