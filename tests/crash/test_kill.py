"""kill -9 of a random one of four processes that write to one image: nothing acknowledged is lost.

After each kill the other three must go on, no lock may be held, every zone must hold exactly what was
acknowledged, the open and active counts must equal a recount, and `check` must find nothing.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

import zoned
from crash.judge import Ledger, Process, bounded
from waiting import PATIENCE

WRITERS, ZONES_EACH = 4, 5
CONVENTIONAL = WRITERS  # a conventional zone for each
ZONE_SIZE = 192 * 1024
KILLS, LONG_KILLS = 20, 200
SANITIZED_KILLS = 8
"""Under a sanitizer a round takes ten times as long, and looks for something else."""


def make_image(path: Path, host_sync: str, model: str) -> None:
    zoned.create(
        path,
        size=(CONVENTIONAL + WRITERS * ZONES_EACH) * ZONE_SIZE,
        zone_size=ZONE_SIZE,
        zone_capacity=ZONE_SIZE - 8192,
        conventional=CONVENTIONAL,
        max_open=6,
        max_active=0,
        host_sync=host_sync,
        model=model,
        slot_cache=ZONE_SIZE * 4,
    ).close()


def recount(device: zoned.Device) -> None:
    """The derived counts against the conditions in the report."""
    conditions = [zone.condition for zone in device.report()]
    limits = device.limits
    assert limits.implicit_open == conditions.count(zoned.ZoneCondition.IMPLICIT_OPEN)
    assert limits.explicit_open == conditions.count(zoned.ZoneCondition.EXPLICIT_OPEN)
    assert limits.closed == conditions.count(zoned.ZoneCondition.CLOSED)


def no_lock_is_held(device: zoned.Device) -> None:
    """Every zone takes a command, and so do those that need all locks."""
    with bounded("a command on each zone, a flush and CLOSE ALL"):
        for index in range(CONVENTIONAL, len(device.zones)):
            device.close_zone(index)
        device.flush()
        device.close_all()


def nothing_wrong(path: Path) -> None:
    """`check` on a disk in use: that it was not closed is a note, and nothing else may be there."""
    findings = [finding for finding in zoned.check(path) if finding.error]
    assert findings == []


class Herd:
    """Four writers that never rest, but for the judge's pauses."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.random, self.ledger = path, random.Random(seed), Ledger()
        self.started = 0
        self.writers = [self.start(number) for number in range(WRITERS)]
        for writer in self.writers:
            writer.wait_for("ready", self.ledger)

    def start(self, number: int) -> Process:
        self.started += 1
        first = CONVENTIONAL + number * ZONES_EACH
        return Process(self.path, number, first, ZONES_EACH, seed=self.started)

    def let_run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for writer in self.writers:
                writer.hear(self.ledger, min(left, 0.002))

    def kill_one(self) -> int:
        number = self.random.randrange(WRITERS)
        self.writers[number].kill(self.ledger)
        return number

    def others_go_on(self, number: int) -> None:
        for other in self.writers:
            if other is self.writers[number]:
                continue
            before, end = other.done, time.monotonic() + PATIENCE
            while other.done < before + 3:
                other.hear(self.ledger, 0.05)
                assert time.monotonic() < end, "a writer stands still behind a killed one"

    def pause(self, dead: int | None) -> None:
        alive = [w for n, w in enumerate(self.writers) if n != dead]
        for writer in alive:
            writer.tell()
        for writer in alive:
            writer.wait_for("paused", self.ledger)

    def go_on(self, dead: int | None) -> None:
        for number, writer in enumerate(self.writers):
            if number == dead:
                self.writers[number] = self.start(number)
            else:
                writer.tell()
        for writer in self.writers:
            writer.wait_for("ready", self.ledger)

    def verify(self) -> None:
        with bounded("reading back every zone"), zoned.open(self.path) as device:
            self.verify_zones(device)
            # a cut that keeps all takes nothing away, and brings nothing that was not there
            device.power_cut("all")
            device.power_on()
            self.verify_zones(device)
            recount(device)
            no_lock_is_held(device)
            recount(device)

    def verify_zones(self, device: zoned.Device) -> None:
        verify = {
            zoned.ZoneType.CONVENTIONAL: self.ledger.verify_conventional,
            zoned.ZoneType.SEQ_WRITE_PREFERRED: self.ledger.verify_preferred,
        }
        for zone in device.zones:
            verify.get(zone.type, self.ledger.verify)(device, zone)

    def kill_all(self) -> None:
        for writer in self.writers:
            writer.process.kill()
        for writer in self.writers:
            writer.kill(self.ledger)


@pytest.mark.parametrize("model", ["host-managed", "host-aware"])
@pytest.mark.parametrize("host_sync", ["flush", "command"])
def test_kill_one_of_four_writers(shm: Path, host_sync: str, model: str, long_run: bool) -> None:
    path = shm / "disk.img"
    make_image(path, host_sync, model)
    herd = Herd(path, seed=1 if host_sync == "flush" else 2)
    kills = SANITIZED_KILLS if os.environ.get("ZONED_SANITIZED") else KILLS
    rounds = (LONG_KILLS if long_run else kills) // 2
    try:
        for _ in range(rounds):
            herd.let_run(herd.random.uniform(0.005, 0.08))
            dead = herd.kill_one()
            herd.others_go_on(dead)
            herd.pause(dead)
            herd.verify()
            nothing_wrong(path)
            herd.go_on(dead)
        herd.pause(None)
        assert herd.ledger.bytes > rounds * 100_000
        for writer in herd.writers:
            writer.end(herd.ledger)
    finally:
        herd.kill_all()
    herd.verify()
    assert zoned.check(path) == []


def test_kill_all_writers_at_once(shm: Path, long_run: bool) -> None:
    """Nobody is left who has the image open: the next one to open it finds everything."""
    path = shm / "disk.img"
    make_image(path, "flush", "host-managed")
    herd = Herd(path, seed=3)
    try:
        for _ in range(20 if long_run else 4):
            herd.let_run(herd.random.uniform(0.02, 0.1))
            herd.kill_all()
            nothing_wrong(path)
            herd.verify()
            assert zoned.check(path) == []
            herd.writers = [herd.start(number) for number in range(WRITERS)]
            for writer in herd.writers:
                writer.wait_for("ready", herd.ledger)
    finally:
        herd.kill_all()
    herd.verify()


def test_read_only_opener_of_an_image_whose_writers_died(shm: Path) -> None:
    """A reader recovers in private memory: it sees every acknowledged byte and changes nothing."""
    path = shm / "disk.img"
    make_image(path, "flush", "host-managed")
    herd = Herd(path, seed=4)
    herd.let_run(0.1)
    herd.kill_all()
    before = path.stat().st_mtime_ns
    with zoned.open(path, readonly=True) as device:
        for zone in device.zones:
            if zone.type is zoned.ZoneType.CONVENTIONAL:
                herd.ledger.verify_conventional(device, zone)
            else:
                herd.ledger.verify(device, zone)
        recount(device)
    assert path.stat().st_mtime_ns == before
    herd.verify()
