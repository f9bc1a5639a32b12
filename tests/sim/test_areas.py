"""What commands of zones with random write areas take on a modelled ZNS SSD."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import zoned
from sim.helpers import KIB, MIB

ZONE = 16 * MIB
AREA = 4 * MIB
SHOT, DIES = 96 * KIB, 32
PROGRAM = DIES * SHOT / (1166 * MIB) * 1e9
"""Nanoseconds of one shot on one die of the ZN540, give or take a tenth."""
SHAPE = {
    "size": 8 * ZONE,
    "zone_size": ZONE,
    "dialect": "zns",
    "max_active": 4,
    "zrwa_size": AREA,
    "zrwa_granularity": 64 * KIB,
    "zrwa_count": 2,
}


class Watch:
    """How long each command takes, in virtual time; and what of it the flash had to do."""

    def __init__(self, dev: zoned.Device, drive: str = "zn540") -> None:
        self.dev = dev
        self.clock = dev.clock.start(drive, seed=11)

    def took(self, command: str, *arguments: object) -> int:
        before, count = self.clock.now, self.clock.commands
        getattr(self.dev, command)(*arguments)
        assert self.clock.commands == count + 1, f"{command} was passed over"
        return self.clock.now - before

    @property
    def programmed(self) -> int:
        return self.clock.parts.get("flash", 0)


def test_a_write_in_an_area_goes_to_the_buffer_and_to_no_flash() -> None:
    with zoned.memory(**SHAPE) as dev, zoned.memory(**SHAPE) as plain:
        area, other = Watch(dev), Watch(plain)
        assert area.took("open_zone_zrwa", 1) == other.took("open_zone", 1)
        for size in (4 * KIB, 64 * KIB, 256 * KIB):
            assert area.took("pwrite", bytes(size), ZONE) == other.took(
                "pwrite", bytes(size), plain.zones[1].wp
            )
        # Over and over: 64 MiB, and no die has anything to do.
        for _ in range(16):
            for at in range(0, AREA, MIB):
                assert area.took("pwrite", bytes(MIB), ZONE + at) < MIB / (1166 * MIB) * 1e9
        assert area.programmed == 0


def test_an_explicit_commit_takes_the_programs_of_what_it_commits() -> None:
    with zoned.memory(**SHAPE) as dev:
        watch = Watch(dev)
        watch.took("open_zone_zrwa", 1)
        watch.took("pwrite", bytes(AREA), ZONE)
        assert watch.programmed == 0
        # 192 KiB: two programs, on two dies at a time.
        assert 0.9 * PROGRAM < watch.took("commit_zone", 1, ZONE + 2 * SHOT) < 1.2 * PROGRAM
        assert 0.9 * 2 * PROGRAM / DIES < watch.programmed < 1.1 * 2 * PROGRAM / DIES
        # All dies but these two; then less than a program, which waits for more in a buffer that needs no power.
        rest = 30 * SHOT
        assert 0.9 * PROGRAM < watch.took("commit_zone", 1, ZONE + 2 * SHOT + rest) < 1.3 * PROGRAM
        assert watch.took("commit_zone", 1, ZONE + 2 * SHOT + rest + 64 * KIB) < 100_000


def test_a_write_beyond_the_area_commits_at_the_rate_of_the_flash() -> None:
    """Sequential writes by an area: for the flash what sequential writes without one are."""
    with zoned.memory(**SHAPE) as dev, zoned.memory(**SHAPE) as plain:
        area, other = Watch(dev), Watch(plain)
        area.took("open_zone_zrwa", 1)
        other.took("open_zone", 1)
        size = 256 * KIB
        for at in range(0, AREA, size):
            area.took("pwrite", bytes(size), ZONE + at)
        assert area.programmed == 0
        beyond = [
            area.took("pwrite", bytes(size), ZONE + at) for at in range(AREA, ZONE - size, size)
        ]
        written = [
            other.took("pwrite", bytes(size), ZONE + at)
            for at in range(0, ZONE - size - AREA, size)
        ]
        assert len(beyond) == len(written)
        assert sum(beyond) == pytest.approx(sum(written), rel=0.05)
        assert area.programmed == pytest.approx(other.programmed, rel=0.05)


def test_a_finish_programs_what_lies_in_the_area() -> None:
    with zoned.memory(**SHAPE) as dev:
        watch = Watch(dev)
        for zone in (1, 2):
            watch.took("open_zone_zrwa", zone)
        watch.took("pwrite", bytes(4 * KIB), ZONE)
        whole = ZONE / (1190 * MIB) * 1e9
        assert watch.took("finish_zone", 1) > 0.9 * whole
        assert watch.took("finish_zone", 2) < 0.1 * whole


@pytest.mark.parametrize("drive", ["zn540", "hc620"])
def test_no_command_is_passed_over(drive: str) -> None:
    with zoned.memory(**SHAPE) as dev:
        watch = Watch(dev, drive)
        assert watch.took("open_zone_zrwa", 1) > 0
        assert watch.took("pwrite", bytes(64 * KIB), ZONE) > 0
        assert watch.took("commit_zone", 1, ZONE + 64 * KIB) > 0
        assert watch.took("close_zone", 1) > 0
        assert watch.took("pwrite", bytes(64 * KIB), ZONE + 64 * KIB) > 0
        assert watch.took("flush") >= 0
        assert watch.took("reset_zone", 1) > 0


def test_a_paced_commit_waits_for_the_flash(tmp_path: Path) -> None:
    """For real, by the host's clock; and nothing fails that does not fail without a pace."""
    path = tmp_path / "disk.img"
    zoned.create(
        path,
        profile="zn540",
        zones=16,
        pace="real",
        data="none",
        zrwa_size="1MiB",
        zrwa_granularity="64KiB",
        zrwa_count=2,
    ).close()
    with zoned.open(path) as dev:
        start = dev.zones[1].start
        dev.open_zone_zrwa(1)
        dev.pwrite(bytes(MIB), start)
        began = time.monotonic_ns()
        dev.commit_zone(1, start + 192 * KIB)
        assert time.monotonic_ns() - began > 0.9 * PROGRAM
        dev.pwrite(bytes(MIB), start + MIB)
        with pytest.raises(zoned.CommitError):
            dev.commit_zone(2, dev.zones[2].start + 64 * KIB)
        dev.finish_zone(2)
        dev.reset_zone(1)
