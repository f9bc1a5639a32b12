"""Random write areas and the power: what a cut may leave, against an enumeration of its own; forks, snapshots, kills."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import zoned
from zoned import ZoneCondition

BLOCK = 4096
ZONE_BLOCKS = 16
ZONE = ZONE_BLOCKS * BLOCK
AREA, GRANULE = 4, 2
SHAPE = {
    "size": 6 * ZONE,
    "zone_size": ZONE,
    "dialect": "zns",
    "max_active": 4,
    "zrwa_size": AREA * BLOCK,
    "zrwa_granularity": GRANULE * BLOCK,
    "zrwa_count": 2,
}
Left = tuple[int, int, bytes]
"""Write pointer and last written block, in blocks, and the first byte of each block."""


@dataclass
class Oracle:
    """One zone with an area, told of in blocks: what it shows now, and may show behind a power cut."""

    wp: int = 0
    top: int = 0
    durable_top: int = 0
    now: bytearray = field(default_factory=lambda: bytearray(ZONE_BLOCKS))
    flushed: bytearray = field(default_factory=lambda: bytearray(ZONE_BLOCKS))
    fresh: set[int] = field(default_factory=set)

    def write(self, at: int, data: bytes) -> None:
        self.now[at : at + len(data)] = data
        self.fresh |= set(range(at, at + len(data)))
        self.top = max(self.top, at + len(data))
        while at + len(data) > self.wp + AREA:
            self.wp += GRANULE
        self.committed()

    def commit(self, to: int) -> None:
        self.wp = to
        self.top = max(self.top, to)
        self.committed()

    def committed(self) -> None:
        self.flushed[: self.wp] = self.now[: self.wp]
        self.fresh = {block for block in self.fresh if block >= self.wp}
        self.durable_top = max(self.durable_top, self.wp)

    def flush(self) -> None:
        self.flushed[:] = self.now
        self.fresh, self.durable_top = set(), self.top

    def left(self) -> set[Left]:
        found = set()
        for n in range(len(self.fresh) + 1):
            for kept in itertools.combinations(sorted(self.fresh), n):
                shown = bytearray(self.flushed)
                for block in kept:
                    shown[block] = self.now[block]
                found.add((self.wp, max(self.durable_top, *(b + 1 for b in kept), 0), bytes(shown)))
        return found


def shown(device: zoned.Device, zone: int = 1) -> Left:
    area = device.write_area(zone)
    start = zone * ZONE
    data = device.pread(ZONE, start)
    for block in range(ZONE_BLOCKS):
        assert len(set(data[block * BLOCK : (block + 1) * BLOCK])) == 1, "a block that is torn"
    if area is None:  # it was given back, as nothing is left
        assert device.zones[zone].condition is ZoneCondition.EMPTY
        return 0, 0, data[::BLOCK]
    return (area.start - start) // BLOCK, (area.stop - start) // BLOCK, data[::BLOCK]


def live(device: zoned.Device, oracle: Oracle, draw: random.Random, steps: int) -> None:
    """Random commands of a zone's area, as long as it has one."""
    for _ in range(steps):
        room = min(oracle.wp + 2 * AREA, ZONE_BLOCKS) - oracle.wp
        length = draw.randint(1, min(3, room))
        command = draw.choices(("write", "commit", "flush"), (8, 1, 1))[0]
        if command == "write":
            # Mostly inside of the area: what is far behind it commits the rest.
            far = room - length if draw.random() < 0.1 else min(room, AREA) - length
            at = oracle.wp + draw.randint(0, max(0, far))
            data = bytes([draw.randint(1, 255)]) * length
            device.pwrite(b"".join(bytes([byte]) * BLOCK for byte in data), ZONE + at * BLOCK)
            oracle.write(at, data)
        elif command == "commit" and oracle.wp + GRANULE < ZONE_BLOCKS:
            device.commit_zone(1, ZONE + (oracle.wp + GRANULE) * BLOCK)
            oracle.commit(oracle.wp + GRANULE)
        elif command == "flush":
            device.flush()
            oracle.flush()
        assert shown(device) == (oracle.wp, oracle.top, bytes(oracle.now))


@pytest.mark.parametrize("forked", [False, True])
def test_every_survivor_and_no_other(forked: bool, long_run: bool) -> None:
    draw = random.Random(1207 + forked)
    most = 0
    for _ in range(300 if long_run else 30):
        oracle = Oracle()
        with zoned.memory(**SHAPE) as origin:
            device = origin
            device.open_zone_zrwa(1)
            live(device, oracle, draw, draw.randint(1, 12))
            if forked:
                device = origin.fork()
                live(device, oracle, draw, draw.randint(0, 4))
            with device.crash_states("exhaustive") as states:
                found = [shown(left) for left in states]
            assert sorted(found) == sorted(oracle.left()), oracle
            most = max(most, len(found))
            keep = draw.choice(("durable", "all", "random"))
            device.power_cut(keep=keep, seed=draw.randint(0, 99))
            device.power_on()
            left = shown(device)
            assert left in oracle.left()
            if keep == "all":
                assert left == (oracle.wp, oracle.top, bytes(oracle.now))
            if keep == "durable":
                assert left == (oracle.wp, oracle.durable_top, bytes(oracle.flushed))
            if forked:
                device.close()
    assert most >= 16


def test_a_chosen_survivor_is_left(long_run: bool) -> None:
    draw = random.Random(33)
    for _ in range(60 if long_run else 8):
        oracle = Oracle()
        with zoned.memory(**SHAPE) as device:
            device.open_zone_zrwa(1)
            live(device, oracle, draw, 8)
            ids = []
            with device.crash_states("exhaustive") as states:
                for choice in states.choices():
                    with states.build(choice) as left:
                        ids.append((states.id_of(choice), shown(left)))
            name, wanted = draw.choice(ids)
            device.power_cut(choice=name)
            device.power_on()
            assert shown(device) == wanted


def test_what_is_committed_is_durable() -> None:
    with zoned.memory(**SHAPE) as device:
        device.open_zone_zrwa(1)
        device.pwrite(b"a" * 4 * BLOCK, ZONE)
        device.pwrite(b"b" * 4 * BLOCK, ZONE + 4 * BLOCK)
        device.power_cut(keep="durable")
        device.power_on()
        assert shown(device) == (4, 4, b"aaaa" + bytes(12))
        assert device.zones[1].condition is ZoneCondition.CLOSED
        device.commit_zone(1, ZONE + 6 * BLOCK)
        assert device.zones[1].condition is ZoneCondition.IMPLICIT_OPEN
        device.power_cut(keep="durable")
        device.power_on()
        assert shown(device) == (6, 6, b"aaaa" + bytes(12))


@pytest.mark.parametrize("end", ["finish", "read-only", "offline", "fill", "reset"])
def test_an_area_goes_with_its_zone(end: str) -> None:
    with zoned.memory(**SHAPE) as device:
        device.open_zone_zrwa(1)
        device.open_zone_zrwa(2)
        device.pwrite(b"a" * 2 * BLOCK, ZONE + BLOCK)
        with pytest.raises(zoned.WriteAreaUnavailableError, match="2 zones have one already"):
            device.open_zone_zrwa(3)
        if end == "fill":
            for block in range(2, ZONE_BLOCKS + 1, 2):
                device.commit_zone(1, ZONE + block * BLOCK)
        elif end in ("finish", "reset"):
            getattr(device, f"{end}_zone")(1)
        else:
            device.set_condition(1, end)
        assert device.write_area(1) is None
        device.open_zone_zrwa(3)
        if end not in ("offline", "reset"):
            assert device.pread(4 * BLOCK, ZONE)[::BLOCK] == b"\0aa\0"
        device.power_cut(keep="durable")
        device.power_on()
        if end in ("finish", "fill"):
            assert device.zones[1].condition is ZoneCondition.FULL
            assert device.pread(4 * BLOCK, ZONE)[::BLOCK] == b"\0aa\0"
        if end == "read-only":  # what was never committed is as lost as ever
            assert device.pread(4 * BLOCK, ZONE) == bytes(4 * BLOCK)


def test_snapshots_forks_and_the_way_back() -> None:
    with zoned.memory(**SHAPE) as device:
        device.open_zone_zrwa(1)
        device.pwrite(b"a" * 3 * BLOCK, ZONE)
        device.flush()
        device.pwrite(b"b" * BLOCK, ZONE + BLOCK)
        before = shown(device)
        with device.snapshot() as snapshot:
            with snapshot.fork() as fork:
                fork.pwrite(b"c" * BLOCK, ZONE)
                fork.commit_zone(1, ZONE + 2 * BLOCK)
                assert shown(fork)[2][:3] == b"cba"
                with fork.fork() as below:
                    below.pwrite(b"d" * BLOCK, ZONE + 2 * BLOCK)
                    assert shown(below) == (2, 3, b"cbd" + bytes(13))
                    below.power_cut(keep="durable")
                    below.power_on()
                    assert shown(below) == (2, 3, b"cba" + bytes(13))
                assert shown(fork) == (2, 3, b"cba" + bytes(13))
                assert shown(device) == before
            device.pwrite(b"e" * 6 * BLOCK, ZONE)
            device.reset_zone(1)
            device.open_zone_zrwa(3)
            device.rollback(snapshot)
            assert shown(device) == before
            assert device.write_area(3) is None
            device.open_zone_zrwa(4)
            with pytest.raises(zoned.WriteAreaUnavailableError):
                device.open_zone_zrwa(5)
            device.power_cut(keep="durable")
            device.power_on()
            assert shown(device) == (0, 3, b"aaa" + bytes(13))


def test_rules_that_act_in_an_area() -> None:
    with zoned.memory(**SHAPE) as device:
        with device.faults.add("limit", on="open-zrwa"):
            with pytest.raises(zoned.TooManyOpenError):
                device.open_zone_zrwa(1)
        device.open_zone_zrwa(1)
        with device.faults.add("medium", on="commit-zrwa"):
            with pytest.raises(zoned.MediumError):
                device.commit_zone(1, ZONE + 2 * BLOCK)
        device.pwrite(b"a" * 2 * BLOCK, ZONE)
        device.flush()
        with device.faults.add("lost", on="write"):
            device.pwrite(b"b" * BLOCK, ZONE)
        device.flush()
        assert shown(device)[2][:2] == b"ba"
        device.power_cut(keep="all")
        device.power_on()
        assert shown(device) == (0, 2, b"aa" + bytes(14))
        with device.faults.add("torn", on="write", blocks=1):
            with pytest.raises(zoned.MediumError):
                device.pwrite(b"c" * 3 * BLOCK, ZONE + BLOCK)
        assert shown(device)[2][:4] == b"ac\0\0"
    with zoned.memory(size=6 * ZONE, zone_size=ZONE, dialect="zns") as device:
        with pytest.raises(ValueError, match="no random write areas"):
            device.faults.add("medium", on="commit-zrwa")
        for call in (lambda: device.open_zone_zrwa(1), lambda: device.commit_zone(1, ZONE + BLOCK)):
            with pytest.raises(zoned.ZoneOperationError, match="made with a zrwa_size of 0"):
                call()
    with zoned.memory(size=6 * ZONE, zone_size=ZONE) as device:
        with pytest.raises(zoned.UnsupportedCommandError):
            device.open_zone_zrwa(1)


def test_killed_processes_leave_what_they_were_told_of(shm: Path) -> None:
    """Acknowledged is acknowledged; the one that was under way is done or not, and nobody's slot is lost."""
    path = shm / "disk.img"
    zoned.create(path, **SHAPE).close()
    code = """
import os, random, sys
sys.path.insert(0, sys.argv[1])
import zoned
from faults.test_zrwa import *
device, oracle = zoned.open(sys.argv[2]), Oracle()
device.open_zone_zrwa(1)
os.write(1, b"go\\n")
draw = random.Random(int(sys.argv[3]))
live(device, oracle, draw, 6)
os.write(1, repr(shown(device)).encode() + b"\\n")
os.kill(os.getpid(), 9)
"""
    for seed in range(2):
        told = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(path), str(seed)],
            capture_output=True,
            check=False,
        )
        assert told.returncode == -signal.SIGKILL, told.stderr
        with zoned.open(path) as device:
            assert repr(shown(device)) == told.stdout.decode().splitlines()[1]
            device.reset_zone(1)
        assert [found for found in zoned.check(path) if found.error] == []


def test_who_reads_an_area_sees_no_torn_block(shm: Path) -> None:
    """A reader in another process, while blocks are written over and over."""
    path = shm / "disk.img"
    code = """
import sys, zoned
device = zoned.open(sys.argv[1])
for i in range(800):
    data = device.pread(4096, 65536)
    if len(set(data)) != 1:
        print("torn")
        break
"""
    with zoned.create(path, **SHAPE) as device:
        device.open_zone_zrwa(1)
        device.pwrite(b"a" * BLOCK, ZONE)
        reader = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
        )
        turn = 0
        while reader.poll() is None:
            turn += 1
            device.pwrite(bytes([turn % 256]) * BLOCK, ZONE)
        assert (reader.returncode, reader.communicate()[0]) == (os.EX_OK, "")
