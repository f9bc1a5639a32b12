"""The numbers of writings go round: what was written last counts, before and behind the largest number.

A crash of the host is made by hand: of the second copies nothing reached the disk. They stand as they were
before the last flush, and the first copies must count.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import zoned
from image import disks
from image.layout import STATUS_SIZE, STATUSES, Image
from zoned import FindingKind, ZoneCondition

BLOCK = disks.BLOCK
LAST = (1 << 32) - 1


@pytest.fixture
def path(shm: Path) -> Path:
    path = shm / "disk.img"
    disks.make(path)
    return path


def number(path: Path, seq: int) -> None:
    """All entries that are not as new get that number, in both copies."""
    image = Image.read(path)
    for zone in range(disks.ZONES):
        if image.entry(zone, 0)[0]:
            for copy in (0, 1):
                image.set_entry(zone, copy, seq, *image.entry(zone, copy)[1:])
    image.write(path)


def crash(path: Path, before: Image) -> Path:
    """A copy of the image in use, with the second copies of entries as they were before."""
    now = Image.read(path)
    for zone in range(disks.ZONES):
        at = now.entry_at(zone, 1)
        now.data[at : at + 32] = before.data[at : at + 32]
    copy = path.with_name("crashed.img")
    now.write(copy)
    return copy


@pytest.mark.parametrize("seq", [1, LAST // 2, LAST // 2 + 1, LAST - 3, LAST - 2, LAST - 1, LAST])
def test_flushed_bytes_survive_wherever_the_numbers_are(path: Path, seq: int) -> None:
    number(path, seq)
    with zoned.open(path) as device:
        for blocks in range(3, 8):
            before = Image.read(path)
            device.append(3, disks.fill(3, blocks + 1)[-BLOCK:])
            device.flush()
            with zoned.open(crash(path, before)) as copy:
                assert copy.pread((blocks + 1) * BLOCK, copy.zones[3].start) == disks.fill(
                    3, blocks + 1
                )
                assert copy.zones[3].wp == copy.zones[3].start + (blocks + 1) * BLOCK
    image = Image.read(path)
    assert all(image.entry_is_valid(z, c) for z, c in itertools.product(range(disks.ZONES), (0, 1)))
    assert image.entry(3, 0)[0] == (seq + 5 if seq + 5 <= LAST else seq + 5 - LAST)
    assert zoned.check(path) == []


@pytest.mark.parametrize("seq", [1, 7, LAST - 1, LAST])
def test_repair_gives_numbers_that_the_next_flush_goes_on_from(path: Path, seq: int) -> None:
    """Of two zones with one slot; and then written and flushed again."""
    number(path, seq)
    image = Image.read(path)
    for copy in (0, 1):
        image.set_entry(3, copy, *image.entry(3, copy)[:3], image.entry(4, copy)[3])
    image.write(path)
    zoned.check(path, repair=True)
    assert zoned.check(path) == []
    with zoned.open(path) as device:
        for zone in (3, 4):
            device.set_condition(zone, ZoneCondition.EMPTY)
        for blocks in range(4):
            before = Image.read(path)
            for zone in (3, 4):
                device.append(zone, disks.fill(zone, blocks + 1)[-BLOCK:])
            device.flush()
            with zoned.open(crash(path, before)) as copy:
                for zone in (3, 4):
                    start = copy.zones[zone].start
                    assert copy.zones[zone].wp == start + (blocks + 1) * BLOCK
                    got = copy.pread((blocks + 1) * BLOCK, start)
                    assert got == disks.fill(zone, blocks + 1)
    assert zoned.check(path) == []


@pytest.mark.parametrize("seq", [LAST - 1, LAST])
def test_closing_the_surplus_gives_no_invalid_number(path: Path, seq: int) -> None:
    number(path, seq)
    image = Image.read(path)
    for zone in (3, 9, 10):
        _, word, durable, slot = image.entry(zone, 0)
        for copy in (0, 1):
            image.set_entry(zone, copy, seq, word & ~15 | 3, durable, slot)
    for copy in (0, 1):
        image.set_header("max_open", 1, copies=(copy,))
    image.write(path)
    assert [f.kind for f in zoned.check(path) if f.error] == [FindingKind.LIMIT]
    zoned.check(path, repair=True)
    assert zoned.check(path) == []
    with zoned.open(path) as device:
        assert device.limits.open == 1
        for zone, blocks in ((3, 3), (9, 2), (10, 1)):
            assert device.pread(blocks * BLOCK, device.zones[zone].start) == disks.fill(
                zone, blocks
            )


@pytest.mark.parametrize("seq", [LAST - 1, LAST])
def test_repair_of_a_cut_gives_no_invalid_number(path: Path, seq: int) -> None:
    number(path, seq)
    image = Image.read(path)
    slot = image.entry(4, 0)[3] - 1
    end = image.header("data_offset") + slot * image.header("slot_size") + 5 * BLOCK
    with path.open("r+b") as file:
        file.truncate(end)
    zoned.check(path, repair=True)
    assert zoned.check(path) == []
    with zoned.open(path) as device:
        assert device.zones[4].condition is ZoneCondition.READ_ONLY
        assert device.pread(5 * BLOCK, device.zones[4].start) == disks.fill(4, 18)[: 5 * BLOCK]


@pytest.mark.parametrize("seq", [(1 << 63) - 1, (1 << 64) - 2, (1 << 64) - 1])
def test_the_status_written_last_counts(path: Path, seq: int) -> None:
    image = Image.read(path)
    for copy in (0, 1):
        image.set_status(copy, seq, 1, 0)
    image.write(path)
    with zoned.open(path) as device:
        device.append(3, bytes(BLOCK))
        device.flush()
        crashed = Image.read(path)
        at = STATUSES[1]
        crashed.data[at : at + STATUS_SIZE] = image.data[at : at + STATUS_SIZE]
        copy_path = path.with_name("crashed.img")
        crashed.write(copy_path)
        assert [f.kind for f in zoned.check(copy_path)] == [FindingKind.UNCLEAN]
    with zoned.open(path) as device:
        assert device.info().clean
    assert zoned.check(path) == []
