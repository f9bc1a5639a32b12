"""Commands that hosts have beside reading, writing and zone commands, through Python."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import zoned

BLOCK = 4096
ZONE = 1 << 20
SHAPE = {"size": 16 * ZONE, "zone_size": ZONE, "conventional": 4, "logical_block": BLOCK}


def durable(dev: zoned.Device, zone: int) -> int | None:
    row = dev.report(zone, 1)[0]
    return None if row.durable_wp is None else row.durable_wp - row.start


def test_vectors() -> None:
    data = os.urandom(3 * BLOCK)
    with zoned.memory(**SHAPE) as dev:
        assert dev.appendv(5, [data[:100], b"", memoryview(data)[100:]]) == 5 * ZONE
        assert dev.appendv(5, [data]) == 5 * ZONE + len(data)
        first, rest = bytearray(BLOCK + 7), bytearray(2 * BLOCK - 7)
        assert dev.preadv([first, rest], 5 * ZONE) == len(data)
        assert bytes(first + rest) == data
        first.append(0)  # nothing holds on to the buffer
        with pytest.raises((TypeError, BufferError)):
            dev.preadv([b"x" * BLOCK], 0)
        with pytest.raises(zoned.BlockAlignmentError):
            dev.preadv([bytearray(5)], 0)
        with pytest.raises(zoned.OutOfRangeError):
            dev.preadv([bytearray(BLOCK)], -1)


def test_force_unit_access_and_flush_of_a_range() -> None:
    with zoned.memory(**SHAPE) as dev:
        for zone in range(4, 9):
            dev.pwrite(bytes(BLOCK), zone * ZONE)
        assert dev.pwrite_fua(bytes(BLOCK), 4 * ZONE + BLOCK) == BLOCK
        assert dev.append_fua(5, bytes(BLOCK)) == 5 * ZONE + BLOCK
        dev.flush_range(6 * ZONE, BLOCK)
        assert [durable(dev, zone) for zone in range(4, 9)] == [2 * BLOCK, 2 * BLOCK, BLOCK, 0, 0]
        dev.flush_range(0, 0)
        assert durable(dev, 8) == BLOCK


@pytest.mark.parametrize("command", ["write_zeroes", "deallocate"])
def test_zeroing(command: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with zoned.create(path, **SHAPE) as dev:
        dev.pwrite(b"x" * (ZONE // 2), 0)
        dev.flush()
        before = path.stat().st_blocks
        getattr(dev, command)(BLOCK, ZONE // 2 - 2 * BLOCK)
        if command == "deallocate":
            with dev.fork() as fork:  # what was there is kept till the flush, in the image
                assert fork.pread(BLOCK, BLOCK) == bytes(BLOCK)
            dev.flush()
            assert path.stat().st_blocks < before
        assert dev.pread(3 * BLOCK, 0) == b"x" * BLOCK + bytes(2 * BLOCK)
        assert dev.pread(BLOCK, ZONE // 2 - BLOCK) == b"x" * BLOCK
        with pytest.raises(zoned.SequentialZoneError, match="the zone is sequential") as caught:
            getattr(dev, command)(4 * ZONE, BLOCK)
        assert caught.value.sense == (5, 0x24, 0)
    with zoned.open(path) as dev:
        assert dev.pread(3 * BLOCK, 0) == b"x" * BLOCK + bytes(2 * BLOCK)
    assert not [finding for finding in zoned.check(path) if finding.error]


def test_verify_and_compare() -> None:
    with zoned.memory(**SHAPE) as dev:
        dev.pwrite(b"a" * (2 * BLOCK), 5 * ZONE)
        dev.verify(5 * ZONE, 2 * BLOCK)
        dev.compare(b"a" * (2 * BLOCK), 5 * ZONE)
        other = b"a" * (BLOCK + 9) + b"b" + b"a" * (BLOCK - 10)
        with pytest.raises(
            zoned.MiscompareError, match=f"byte {5 * ZONE + BLOCK + 9} is the first"
        ) as caught:
            dev.compare(other, 5 * ZONE)
        assert caught.value.bound == 5 * ZONE + BLOCK + 9
        assert caught.value.sense == (0xE, 0x1D, 0)
        with dev.faults.add("medium", on="read", zones=5), pytest.raises(zoned.MediumError):
            dev.verify(5 * ZONE, BLOCK)


def test_zones_listed() -> None:
    with zoned.memory(**SHAPE) as dev:
        dev.pwrite(bytes(BLOCK), 5 * ZONE)
        dev.finish_zone(6)
        assert dev.zones_listed("implicit-open") == ([5], 1)
        assert dev.zones_listed("full") == ([6], 1)
        assert dev.zones_listed("not-wp") == ([0, 1, 2, 3], 4)
        assert dev.zones_listed("empty", count=2) == ([4, 7], 10)
        assert dev.zones_listed("empty", count=2, partial=True) == ([4, 7], 2)
        assert dev.zones_listed("empty", 15) == ([15], 1)
        assert dev.zones_listed(start=16) == ([], 0)
        with pytest.raises(ValueError, match="must be one of any, empty"):
            dev.zones_listed("open")
