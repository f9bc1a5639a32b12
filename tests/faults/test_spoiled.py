"""Blocks that were spoiled: who meets them, what makes them readable again, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoned
from zoned.faults import FaultError

KIB = 1024
BLOCK = 4096
ZONE = 256 * KIB


@pytest.fixture
def dev() -> Iterator[zoned.Device]:
    """Two conventional zones and six sequential ones, with eight blocks written in zone 0 and zone 2."""
    with zoned.memory(size="2M", zone_size="256k", dialect="zns", conventional=2) as device:
        for zone in (0, 2):
            device.pwrite(b"d" * 8 * BLOCK, zone * ZONE)
        device.flush()
        yield device


def unreadable(device: zoned.Device, zone: int) -> list[int]:
    """Which of the zone's first eight blocks, and no fault rule has to do with it."""
    found: dict[int, bool] = {}
    for block in range(8):
        try:
            device.pread(BLOCK, zone * ZONE + block * BLOCK)
        except zoned.MediumError as error:
            found[block] = error.injected
    assert not any(found.values())
    return list(found)


@pytest.mark.parametrize("zone", [0, 2])
def test_reads_end_at_the_first(dev: zoned.Device, zone: int) -> None:
    start = zone * ZONE
    dev.faults.spoil(start + 3 * BLOCK, 2 * BLOCK)
    assert dev.faults.spoiled() == [start + 3 * BLOCK, start + 4 * BLOCK]
    assert unreadable(dev, zone) == [3, 4]
    with pytest.raises(zoned.MediumError) as caught:
        dev.pread(8 * BLOCK, start)
    assert caught.value.zone == zone
    dev.faults.clear()
    assert (dev.faults.spoiled(), unreadable(dev, zone)) == ([], [])


def test_with_rules_beside(dev: zoned.Device) -> None:
    """A rule that acts on the read does not make the medium whole; the earlier end counts."""
    rule = dev.faults.add("latency", latency=0.001, on="read")
    dev.faults.spoil(4 * BLOCK, BLOCK)
    assert unreadable(dev, 0) == [4]
    dev.faults.clear(rule.id)
    assert unreadable(dev, 0) == [4], "one rule goes"
    dev.faults.add("medium", on="read", block=2 * BLOCK)
    with pytest.raises(zoned.MediumError) as caught:
        dev.pread(8 * BLOCK, 0)
    assert caught.value.injected
    with pytest.raises(zoned.MediumError) as caught:
        dev.pread(2 * BLOCK, 3 * BLOCK)
    assert not caught.value.injected


def test_what_makes_them_readable(dev: zoned.Device) -> None:
    before = dev.snapshot()
    dev.faults.spoil(0, 8 * BLOCK)
    dev.pwrite(b"n" * 2 * BLOCK, 2 * BLOCK)
    assert unreadable(dev, 0) == [0, 1, 4, 5, 6, 7]
    with before.fork() as fork:
        assert unreadable(fork, 0) == [], "a fork has none"
    dev.rollback(before)
    assert unreadable(dev, 0) == [], "the zone holds what it held"
    dev.faults.spoil(2 * ZONE, BLOCK)
    dev.finish_zone(2)
    assert unreadable(dev, 2) == [0]
    dev.power_cycle()
    assert unreadable(dev, 2) == [0]
    dev.reset_zone(2)
    dev.pwrite(b"n" * BLOCK, 2 * ZONE)
    assert (unreadable(dev, 2), dev.faults.spoiled()) == ([], [])


def test_what_a_power_cut_takes_is_not_spoiled(dev: zoned.Device) -> None:
    dev.pwrite(b"u" * 4 * BLOCK, 2 * ZONE + 8 * BLOCK)
    dev.faults.spoil(2 * ZONE + 7 * BLOCK, 3 * BLOCK)
    dev.power_cut(keep="durable")
    dev.power_on()
    assert dev.faults.spoiled() == [2 * ZONE + 7 * BLOCK]
    dev.pwrite(b"u" * 4 * BLOCK, 2 * ZONE + 8 * BLOCK)
    assert dev.pread(4 * BLOCK, 2 * ZONE + 8 * BLOCK) == b"u" * 4 * BLOCK


def test_places_that_are_refused(dev: zoned.Device) -> None:
    for offset, length, why in (
        (1, BLOCK, "whole blocks"),
        (0, 100, "whole blocks"),
        (2 << 20, BLOCK, "end of the disk"),
        (-1, BLOCK, "no disk has"),
        (0, 1 << 64, "no disk has"),
    ):
        with pytest.raises(FaultError, match=why):
            dev.faults.spoil(offset, length)
    dev.faults.spoil(0, 0)
    assert dev.faults.spoiled() == []


def test_there_is_an_end() -> None:
    """2,048 blocks, each counted once; none is spoiled by a call that has no room for all."""
    with zoned.memory(
        size="8M", zone_size="1M", dialect="zns", conventional=2, logical_block=512
    ) as device:
        device.faults.spoil(512, 2046 * 512)
        with pytest.raises(FaultError, match=r"^2046 blocks are spoiled.* no more than 2048"):
            device.faults.spoil(1 << 20, 3 * 512)
        device.faults.spoil(0, 2048 * 512)
        assert len(device.faults.spoiled()) == 2048
        device.pwrite(bytes(512), 1024)
        device.faults.spoil(1 << 20, 512)
        assert len(device.faults.spoiled()) == 2048


def test_every_opener_meets_them(tmp_path: Path) -> None:
    """Another process, a read-only handle, and whoever opens the disk next; the list of rules tells of them."""
    path = tmp_path / "disk.img"
    with zoned.create(path, size="2M", zone_size="256k", dialect="zns", conventional=2) as device:
        device.pwrite(b"d" * 8 * BLOCK, 0)
        code = (
            "import sys, zoned\nwith zoned.open(sys.argv[1]) as dev: dev.faults.spoil(4096, 8192)\n"
        )
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        assert unreadable(device, 0) == [1, 2]
        with zoned.open(path, readonly=True) as reader:
            assert unreadable(reader, 0) == [1, 2]
            with pytest.raises(OSError, match="read-only"):
                reader.faults.spoil(0, BLOCK)
    with zoned.open(path) as device:
        assert unreadable(device, 0) == [1, 2]
    listed = [sys.executable, "-m", "zoned", "faults", "list", str(path)]
    text = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    assert text == "2 blocks are spoiled and cannot be read, the first at byte 4096\n"
    told = subprocess.run([*listed, "--format", "json"], check=True, capture_output=True).stdout
    assert json.loads(told)["spoiled"] == [4096, 8192]
    subprocess.run([*listed[:4], "clear", str(path)], check=True)
    with zoned.open(path) as device:
        assert unreadable(device, 0) == []
