"""Power cuts in zones that are overwritten: any subset of the blocks written since the last flush survives."""

from __future__ import annotations

import copy
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

import zoned
from faults.family import NUMBER, Family
from waiting import PATIENCE
from zoned._core.looking import zone_written
from zoned.crash.choices import CrashIdError
from zoned.testing import CrashFailure, check_crashes

BLOCK = 4096
LENGTH = 128 * 1024
ZONES = 4
BLOCKS = LENGTH // BLOCK
HOST_AWARE = {"size": ZONES * LENGTH, "zone_size": LENGTH, "model": "host-aware", "conventional": 0}
MIXED = {"size": ZONES * LENGTH, "zone_size": LENGTH, "conventional": 2}


def fill(letter: str, blocks: int = 1) -> bytes:
    return letter.encode() * blocks * BLOCK


def letters(dev: zoned.Device, offset: int, blocks: int) -> str:
    return dev.pread(blocks * BLOCK, offset)[::BLOCK].decode().replace("\0", "-")


@pytest.fixture
def dev():
    with zoned.memory(**MIXED) as device:
        yield device


@pytest.fixture
def aware():
    with zoned.memory(**HOST_AWARE) as device:
        yield device


# ---------------------------------------------------------------- what survives


def test_what_was_overwritten_comes_back(dev: zoned.Device) -> None:
    dev.pwrite(fill("o", 4), 0)
    dev.flush()
    dev.pwrite(fill("n", 2), BLOCK)
    dev.pwrite(fill("N"), BLOCK)
    dev.power_cut()
    dev.power_on()
    assert letters(dev, 0, 5) == "oooo-"
    dev.pwrite(fill("n", 2), BLOCK)
    dev.power_cut("all")
    dev.power_on()
    assert letters(dev, 0, 5) == "onno-"
    dev.power_cut()  # what survived a cut is on the media
    dev.power_on()
    assert letters(dev, 0, 5) == "onno-"


def test_random_survivors_are_all_subsets_and_repeat(dev: zoned.Device) -> None:
    found = {}
    for seed in range(60):
        dev.pwrite(fill("o", 3), 0)
        dev.flush()
        dev.pwrite(fill("n", 3), 0)
        dev.power_cut("random", seed=seed % 30)
        dev.power_on()
        seen = letters(dev, 0, 3)
        assert found.setdefault(seed % 30, seen) == seen
    assert set(found.values()) == {"".join(x) for x in itertools.product("on", repeat=3)}


def test_512_byte_blocks_survive_one_by_one() -> None:
    with zoned.memory(
        size="1MiB", zone_size="256KiB", conventional=2, logical_block=512, physical_block=4096
    ) as dev:
        dev.pwrite(b"o" * 4096, 0)
        dev.flush()
        dev.pwrite(b"n" * 1024, 512)
        with dev.crash_states("exhaustive") as states:
            found = {survivor.pread(2048, 0)[::512] for survivor in states}
    assert found == {b"oooo", b"onoo", b"oono", b"onno"}


def test_a_live_cut_leaves_exactly_the_chosen_survivor(dev: zoned.Device) -> None:
    dev.pwrite(fill("o", 3), 0)
    dev.flush()
    dev.pwrite(fill("n", 3), 0)
    dev.append(2, fill("w", 2))
    with dev.snapshot() as start, dev.crash_states("exhaustive") as states:
        found = set()
        for survivor in states:
            dev.power_cut(choice=survivor.crash_id)
            dev.power_on()
            seen = letters(dev, 0, 3), dev.zones[2].wp
            assert seen == (letters(survivor, 0, 3), survivor.zones[2].wp)
            found.add(seen)
            dev.rollback(start)
        assert len(found) == states.total == 24
        some = states.id_of((1, 0, 1, 0))
    dev.pwrite(fill("x"), 4 * BLOCK)
    with pytest.raises(CrashIdError, match="another disk or another history"):
        dev.power_cut(choice=some)
    with pytest.raises(ValueError, match="no keep and no seed goes with it"):
        dev.power_cut("all", choice=some)
    assert dev.powered


def test_preferred_zones_keep_any_subset(aware: zoned.Device) -> None:
    aware.pwrite(fill("o", 2), 0)
    aware.flush()
    aware.pwrite(fill("n", 3), BLOCK)  # one overwritten, two beyond the write pointer
    with aware.crash_states("exhaustive") as states:
        found = {(letters(s, 0, 5), (s.zones[0].wp or 0) // BLOCK) for s in states}
        assert states.total == 8
    assert found == {
        (f"o{a}{b}{c}-", 4 if c == "n" else 3 if b == "n" else 2)
        for a in "on" for b in "-n" for c in "-n"
    }  # fmt: skip
    aware.power_cut()
    aware.power_on()
    assert letters(aware, 0, 5) == "oo---"
    assert aware.zones[0].wp == aware.zones[0].durable_wp == 2 * BLOCK
    aware.pwrite(fill("z"), 4 * BLOCK)  # leaves a gap: what was taken away must not shine through
    assert letters(aware, 0, 5) == "oo--z"


def test_a_full_preferred_zone_may_fall_back(aware: zoned.Device) -> None:
    aware.pwrite(fill("o", BLOCKS), 0)
    assert aware.zones[0].condition is zoned.ZoneCondition.FULL
    aware.power_cut()
    aware.power_on()
    assert aware.zones[0].condition is zoned.ZoneCondition.EMPTY
    assert letters(aware, 0, 2) == "--"
    aware.pwrite(fill("o", 2), 0)
    aware.finish_zone(0)
    aware.pwrite(fill("n"), 0)
    aware.power_cut()
    aware.power_on()
    assert aware.zones[0].condition is zoned.ZoneCondition.FULL
    assert letters(aware, 0, 2) == "oo"


def test_closing_is_no_flush_and_no_power_cycle(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, **MIXED) as dev:
        dev.pwrite(fill("o", 2), 0)
        dev.flush()
        dev.pwrite(fill("n", 2), 0)
        dev.append(2, fill("w"))
    with zoned.open(path) as dev:
        with dev.crash_states("exhaustive") as states:
            assert {letters(s, 0, 2) for s in states} == {"oo", "on", "no", "nn"}
        dev.power_cut()
        dev.power_on()
        assert letters(dev, 0, 2) == "oo"
        assert dev.zones[2].wp == dev.zones[2].start
    assert [str(finding) for finding in zoned.check(path) if finding.error] == []


def test_what_one_process_overwrites_another_ones_cut_takes(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, **MIXED) as dev:
        dev.pwrite(fill("o", 2), 0)
        dev.flush()
        write = (
            f"import zoned; dev = zoned.open({str(path)!r}); dev.pwrite(b'n' * {BLOCK}, {BLOCK})"
        )
        subprocess.run([sys.executable, "-c", write], check=True, timeout=PATIENCE)
        assert letters(dev, 0, 2) == "on"
        dev.power_cut()
        dev.power_on()
        assert letters(dev, 0, 2) == "oo"


def test_without_tracking_all_survives_and_what_was_known_is_forgotten(dev: zoned.Device) -> None:
    assert dev.power_tracking
    dev.pwrite(fill("o", 3), 0)
    dev.flush()
    dev.pwrite(fill("n"), 0)
    dev.power_tracking = False
    dev.pwrite(fill("n"), BLOCK)
    assert not dev.power_tracking
    dev.power_cut()
    dev.power_on()
    assert letters(dev, 0, 3) == "nno"
    dev.power_tracking = True
    dev.pwrite(fill("N", 2), BLOCK)
    dev.power_cut()
    dev.power_on()
    assert letters(dev, 0, 3) == "nno"
    with zoned.memory(size="1MiB", zone_size="256KiB", conventional=0) as required:
        assert not required.power_tracking


def test_the_space_of_pre_images_comes_back(dev: zoned.Device) -> None:
    used = None
    for _ in range(40):
        dev.pwrite(os.urandom(LENGTH), 0)
        dev.flush()
        info = dev.info()
        used = used or info.slots_total
        assert info.slots_total == used
        assert info.slots_used == 1


# ---------------------------------------------------------------- lost writes


@pytest.mark.parametrize("tracking", [True, False])
def test_lost_writes_in_conventional_zones(dev: zoned.Device, tracking: bool) -> None:
    dev.power_tracking = tracking
    dev.pwrite(fill("o", 4), 0)
    dev.flush()
    with dev.faults.add("lost", on="write", zones=0, nth=1, label="liar") as fault:
        dev.pwrite(fill("l", 3), 0)
        assert fault.matched == 1
    dev.flush()
    assert letters(dev, 0, 4) == "lllo"
    dev.pwrite(fill("n"), BLOCK)  # the second block is written again, and well
    dev.flush()
    with dev.crash_states("exhaustive") as states:
        assert [letters(s, 0, 4) for s in states] == ["onoo"]
    dev.power_cut("all")
    dev.power_on()
    assert letters(dev, 0, 4) == "onoo"


def test_lost_writes_in_preferred_zones(aware: zoned.Device) -> None:
    aware.pwrite(fill("o", 2), 0)
    aware.flush()
    with aware.faults.add("lost", on="write,append", times=2):
        aware.pwrite(fill("l"), 0)
        aware.append(0, fill("l"))
    aware.pwrite(fill("n"), 3 * BLOCK)
    assert letters(aware, 0, 5) == "loln-"
    aware.power_cut("all")
    aware.power_on()
    assert letters(aware, 0, 5) == "oo-n-"
    assert aware.zones[0].wp == 4 * BLOCK


def test_lost_writes_survive_a_reopening_but_not_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, **MIXED) as dev:
        with dev.faults.add("lost", on="write,append"):
            dev.pwrite(fill("l"), 0)
            dev.append(2, fill("l"))
        dev.flush()
    with zoned.open(path) as dev:
        assert letters(dev, 0, 1) == "l" == letters(dev, 2 * LENGTH, 1)
        dev.power_cut("all")
        dev.power_on()
        assert letters(dev, 0, 1) == "-" == letters(dev, 2 * LENGTH, 1)


def test_a_disk_without_data_has_nothing_to_lose_there() -> None:
    with zoned.memory(**MIXED, data="none") as dev:
        assert not dev.power_tracking
        with pytest.raises(zoned.FaultError, match="conventional, so it can never act"):
            dev.faults.add("lost", zones=0)
        dev.pwrite(fill("n"), 0)
        dev.power_cut()
        dev.power_on()


# ---------------------------------------------------------------- check_crashes sees it


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_torn_superblock_is_found(jobs: int) -> None:
    """One copy of a superblock of two blocks, overwritten in place, is torn by a cut."""

    def workload(dev: zoned.Device, ack) -> None:
        for number in "ab":
            dev.pwrite(fill(number, 2), 0)
            dev.flush()
            ack(number)

    def verify(dev: zoned.Device, acknowledged: list[str]) -> None:
        seen = letters(dev, 0, 2)
        assert seen[0] == seen[1], f"torn: {seen}"

    with pytest.raises(CrashFailure, match=r"torn: (a-|-a)") as caught:
        check_crashes(workload, verify, jobs=jobs, **MIXED)
    with pytest.raises(CrashFailure) as again:
        check_crashes(workload, verify, replay=caught.value.replay, **MIXED)
    assert str(again.value) == str(caught.value)

    def in_turns(dev: zoned.Device, ack) -> None:
        for number, letter in enumerate("abc"):
            dev.pwrite(fill(letter), number % 2 * BLOCK)
            dev.flush()
            ack(letter)

    def newest(dev: zoned.Device, acknowledged: list[str]) -> None:
        assert not acknowledged or max(letters(dev, 0, 2)) >= acknowledged[-1]

    report = check_crashes(in_turns, newest, strategy="exhaustive", jobs=jobs, **MIXED)
    assert report.states == 1 + 3 * 2 + 3


# ---------------------------------------------------------------- kill -9

_WRITER = """
import random, sys, zoned
path, seed, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
draw = random.Random(seed)
dev = zoned.open(path)
print("up", flush=True)
tick = 0
while True:
    tick += 1
    block = draw.randrange(32)
    dev.pwrite(bytes([1 + tick % 250]) * 4096 * draw.randint(1, 3), draw.randrange(2) * 131072 + block % 29 * 4096)
    if what == "flush" and tick % 7 == 0:
        dev.flush()
    if what == "cut" and tick % 5 == 0:
        dev.power_cut("random", seed=tick)
        dev.power_on()
"""


@pytest.mark.parametrize("what", ["write", "flush", "cut"])
@pytest.mark.parametrize("model", ["conventional", "host-aware"])
def test_a_killed_writer_leaves_pre_images_whole(tmp_path: Path, what: str, model: str) -> None:
    """Whatever it was at: what was flushed before comes back, the counts agree, and all goes on."""
    path = tmp_path / "disk.img"
    draw = random.SystemRandom()
    with zoned.create(
        path, host_sync="never", **(MIXED if model == "conventional" else HOST_AWARE)
    ) as dev:
        for _ in range(6):
            base = [draw.randrange(251, 256).to_bytes(1, "big") * LENGTH for _ in range(2)]
            for number, data in enumerate(base):
                dev.pwrite(data, number * LENGTH)
            dev.flush()
            writer = subprocess.Popen(
                [sys.executable, "-c", _WRITER, str(path), str(draw.randrange(1 << 30)), what],
                stdout=subprocess.PIPE,
            )
            assert writer.stdout is not None and writer.stdout.readline() == b"up\n"
            time.sleep(draw.uniform(0.001, 0.05))
            writer.send_signal(signal.SIGKILL)
            writer.wait(PATIENCE)
            writer.stdout.close()
            assert [str(finding) for finding in zoned.check(path) if finding.error] == []
            if not dev.powered:
                dev.power_on()
            before = [dev.pread(LENGTH, number * LENGTH) for number in range(2)]
            dev.power_cut()
            dev.power_on()
            after = [dev.pread(LENGTH, number * LENGTH) for number in range(2)]
            for was, is_now, flushed in zip(before, after, base, strict=True):
                for at in range(0, LENGTH, BLOCK):
                    block = is_now[at : at + BLOCK]
                    assert block == block[:1] * BLOCK
                    if what == "write":
                        assert block == flushed[at : at + BLOCK]
                    else:
                        assert (
                            block[0] == flushed[0]
                            or block == was[at : at + BLOCK]
                            or block[0] <= 250
                        )
            assert [str(finding) for finding in zoned.check(path) if finding.error] == []


# ---------------------------------------------------------------- against a model


class Model:
    """What two zones hold, and what their unflushed blocks held before."""

    def __init__(self, aware: bool) -> None:
        self.aware = aware
        self.data = [bytearray(LENGTH), bytearray(LENGTH)]
        self.old: list[dict[int, bytes]] = [{}, {}]
        self.lost: list[set[int]] = [set(), set()]
        self.written = [0, 0]
        self.durable = [0, 0]

    def write(self, zone: int, block: int, data: bytes, lost: bool) -> None:
        for at in range(len(data) // BLOCK):
            where = (block + at) * BLOCK
            self.old[zone].setdefault(block + at, bytes(self.data[zone][where : where + BLOCK]))
            (self.lost[zone].add if lost else self.lost[zone].discard)(block + at)
        self.data[zone][block * BLOCK : block * BLOCK + len(data)] = data
        self.written[zone] = max(self.written[zone], block * BLOCK + len(data))

    def flush(self, zone: int) -> None:
        self.old[zone] = {b: old for b, old in self.old[zone].items() if b in self.lost[zone]}
        self.durable[zone] = self.written[zone]

    def cut(self, survives) -> None:
        """survives(zone, block): of a block that was not lost."""
        for zone in (0, 1):
            top = self.durable[zone]
            for block, old in self.old[zone].items():
                if block in self.lost[zone] or not survives(zone, block):
                    self.data[zone][block * BLOCK : (block + 1) * BLOCK] = old
                else:
                    top = max(top, (block + 1) * BLOCK)
            self.old[zone].clear()
            self.lost[zone].clear()
            self.written[zone] = self.durable[zone] = top

    def reset(self, zone: int) -> None:
        self.data[zone] = bytearray(LENGTH)
        self.old[zone].clear()
        self.lost[zone].clear()
        self.written[zone] = self.durable[zone] = 0

    def agrees(self, dev: zoned.Device) -> None:
        for zone in (0, 1):
            assert dev.pread(LENGTH, zone * LENGTH) == self.data[zone], zone
            if self.aware:
                assert zone_written(dev, zone) == self.written[zone]


class Machine(Family):
    """Disks and forks of forks in all orders of writing, flushing, cutting, snapshotting."""

    zone = st.integers(0, 1)

    @initialize(aware=st.booleans(), in_file=st.booleans())
    def start(self, aware: bool, in_file: bool) -> None:
        self.aware = aware
        shape = HOST_AWARE if aware else MIXED
        self.begin(Model(aware), in_file, **shape, host_sync="never", slot_cache=LENGTH)

    @rule(
        number=NUMBER,
        zone=zone,
        block=st.integers(0, BLOCKS - 4),
        blocks=st.integers(1, 4),
        lost=st.booleans(),
    )
    def write(self, number: int, zone: int, block: int, blocks: int, lost: bool) -> None:
        dev, model = self.disk(number)
        data = self.fresh(blocks * BLOCK)
        lost = lost and self.tick % 3 == 0
        if lost:
            with dev.faults.add("lost", on="write"):
                dev.pwrite(data, zone * LENGTH + block * BLOCK)
        else:
            dev.pwrite(data, zone * LENGTH + block * BLOCK)
        model.write(zone, block, data, lost)

    @rule(number=NUMBER)
    def flush(self, number: int) -> None:
        dev, model = self.disk(number)
        dev.flush()
        model.flush(0)
        model.flush(1)

    @rule(number=NUMBER, zone=zone)
    def reset(self, number: int, zone: int) -> None:
        dev, model = self.disk(number)
        if self.aware:
            dev.reset_zone(zone)
        else:
            dev.set_condition(zone, "OFFLINE")
            dev.set_condition(zone, "EMPTY")
        model.reset(zone)

    @rule(number=NUMBER, keep=st.sampled_from(["durable", "all"]))
    def power(self, number: int, keep: str) -> None:
        dev, model = self.disk(number)
        dev.power_cut(keep)
        dev.power_on()
        model.cut(lambda zone, block: keep == "all")

    @rule(number=NUMBER, seed=st.integers(0, 9))
    def choice(self, number: int, seed: int) -> None:
        """A survivor that was looked at is what a live cut leaves, and what the model says."""
        dev, model = self.disk(number)
        with dev.crash_states("random", limit=3, seed=seed) as states:
            for survivor in states:
                crash_id = survivor.crash_id
                seen = [survivor.pread(LENGTH, zone * LENGTH) for zone in (0, 1)]
                written = [zone_written(survivor, zone) for zone in (0, 1)]
                where = survivor.snapshot()  # a fork of a fork
                with where.fork() as again:
                    assert [again.pread(LENGTH, zone * LENGTH) for zone in (0, 1)] == seen
                where.close()
        dev.power_cut(choice=crash_id)
        dev.power_on()
        assert [dev.pread(LENGTH, zone * LENGTH) for zone in (0, 1)] == seen
        then = copy.deepcopy(model)

        def survives(zone: int, block: int) -> bool:
            if (block + 1) * BLOCK > max(written[zone], then.durable[zone]) and self.aware:
                return False
            at = slice(block * BLOCK, (block + 1) * BLOCK)
            return seen[zone][at] == then.data[zone][at]

        model.cut(survives)
        if self.aware:
            assert [zone_written(dev, zone) for zone in (0, 1)] == written

    @rule(number=NUMBER, seed=st.integers(0, 99))
    def survivor(self, number: int, seed: int) -> None:
        """A disk as a power cut would have left it; it is forked, cut and gone back to as the others are."""
        if self.snapshots and len(self.disks) < 5:
            _, snapshot, then = self.snapshots[number % len(self.snapshots)]
            draw, model = random.Random(seed), copy.deepcopy(then)
            blocks = snapshot.unflushed()
            undone = {block.offset for block in blocks if block.lost or draw.random() < 0.5}
            known = {block.offset for block in blocks}
            tops = list(model.durable)
            for zone in (0, 1):
                for block in model.old[zone]:
                    offset = zone * LENGTH + block * BLOCK
                    if block in model.lost[zone]:
                        continue
                    if (offset in known and offset not in undone) or (
                        offset not in known and not self.aware
                    ):
                        tops[zone] = max(tops[zone], (block + 1) * BLOCK)
            kept = {zone: top for zone, top in enumerate(tops) if self.aware}
            model.cut(lambda zone, block: zone * LENGTH + block * BLOCK not in undone)
            model.written[:] = model.durable[:] = tops
            self.disks.append((snapshot.survivor(kept, sorted(undone)), model))

    @rule()
    def reopen(self) -> None:
        if self.path and not self.snapshots and len(self.disks) == 1:
            self.disks[0][0].close()
            self.disks[0] = (zoned.open(self.path), self.disks[0][1])


TestPreImages = Machine.TestCase
TestPreImages.settings = settings(
    max_examples=max(30, settings().max_examples // 4), stateful_step_count=40
)
