"""For test authors: a small log store whose tests run on an emulated disk instead of a mocked one.

The store below is the kind of code that one has already; the tests show what an emulated disk adds:
the rules are kept for you, the write pointer is the disk's and not a guess, and a second process or
a restart sees what really is there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoned

HEADER = struct.Struct("<4sII")  # magic, length, CRC-32
MAGIC = b"LOG1"


class Log:
    """Records in the sequential zones of a disk, one behind the other, each padded to whole
    blocks.
    """

    def __init__(self, dev: zoned.Device) -> None:
        self.dev = dev
        self.block = dev.geometry.physical_block
        self.zones = [
            zone.index for zone in dev.report() if zone.type is not zoned.ZoneType.CONVENTIONAL
        ]

    def append(self, record: bytes) -> int:
        """Write a record to the first zone with room for it; its offset on the disk."""
        framed = HEADER.pack(MAGIC, len(record), zlib.crc32(record)) + record
        framed += bytes(-len(framed) % self.block)
        for index in self.zones:
            zone = self.dev.zones[index]
            if zone.wp is not None and zone.start + zone.capacity - zone.wp >= len(framed):
                return self.dev.append(index, framed)
        raise OSError("the log is full")

    def __iter__(self) -> Iterator[bytes]:
        """All records, oldest first, found by the write pointers alone."""
        for index in self.zones:
            zone = self.dev.zones[index]
            end = zone.start + zone.capacity if zone.wp is None else zone.wp
            offset = zone.start
            while offset < end:
                magic, length, crc = HEADER.unpack(
                    self.dev.pread(self.block, offset)[: HEADER.size]
                )
                if magic != MAGIC:
                    break  # the rest of a zone that was finished early
                size = -(-(HEADER.size + length) // self.block) * self.block
                record = self.dev.pread(size, offset)[HEADER.size :][:length]
                if zlib.crc32(record) != crc:
                    raise OSError(f"damaged record at {offset}")
                yield record
                offset += size


@pytest.fixture
def disk() -> Iterator[zoned.Device]:
    """64 MiB in RAM: 16 zones of 4 MiB, the first two conventional, at most four open."""
    with zoned.memory() as dev:
        yield dev


def test_records_come_back_in_order(disk: zoned.Device) -> None:
    log = Log(disk)
    records = [bytes([number]) * (number * 997) for number in range(40)]
    for record in records:
        log.append(record)
    assert list(log) == records


def test_records_spill_into_the_next_zone(disk: zoned.Device) -> None:
    log = Log(disk)
    first = log.append(bytes(3 << 20))
    second = log.append(bytes(3 << 20))
    assert disk.geometry.zone_of(first) == 2
    assert disk.geometry.zone_of(second) == 3


def test_a_restart_finds_everything(tmp_path: Path) -> None:
    path = tmp_path / "log.img"
    with zoned.create(path) as dev:
        Log(dev).append(b"before the restart")
    with zoned.open(path) as dev:
        Log(dev).append(b"after it")
    with zoned.open(path, readonly=True) as dev:
        assert list(Log(dev)) == [b"before the restart", b"after it"]


def test_the_classic_mistake_is_refused(disk: zoned.Device) -> None:
    """Going back to fill in a header works on any file, and never on a zone."""
    log = Log(disk)
    offset = log.append(b"x" * 10_000)
    with pytest.raises(zoned.UnalignedWriteError) as caught:
        disk.pwrite(bytes(disk.geometry.physical_block), offset)
    assert caught.value.zone == 2
    assert caught.value.offset == offset
    assert caught.value.wp == offset + 12288
    assert caught.value.sense == (0x5, 0x21, 0x04)


def test_a_zone_that_dies_under_the_log(disk: zoned.Device) -> None:
    """The next append goes elsewhere once a head has failed, and the old records can still be
    read.
    """
    log = Log(disk)
    log.append(b"old")
    disk.set_condition(2, zoned.ZoneCondition.READ_ONLY)
    offset = log.append(b"new")
    assert disk.geometry.zone_of(offset) == 3
    assert disk.pread(4096, disk.zones[2].start)[HEADER.size :][:3] == b"old"
