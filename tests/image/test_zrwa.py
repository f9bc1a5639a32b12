"""Random write areas in the image: header and words, what cannot be, and what a crash of the host leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoned
from image.layout import Image, change_header
from zoned import ZoneCondition

BLOCK = 4096
ZONE = 16 * BLOCK


def create(path: Path, **more: object) -> zoned.Device:
    return zoned.create(
        path,
        size=8 * ZONE,
        zone_size=ZONE,
        dialect="zns",
        max_active=4,
        zrwa_size=4 * BLOCK,
        zrwa_granularity=2 * BLOCK,
        **more,
    )


@pytest.fixture
def made(shm: Path) -> Path:
    """Closed cleanly: zone 1 is committed to block 2, and written up to block 5; zone 2 has an area only."""
    path = shm / "disk.img"
    with create(path) as device:
        device.open_zone_zrwa(1)
        device.pwrite(b"a" * 3 * BLOCK, ZONE)
        device.commit_zone(1, ZONE + 2 * BLOCK)
        device.pwrite(b"b" * BLOCK, ZONE + 4 * BLOCK)
        device.open_zone_zrwa(2)
    return path


def test_where_it_lies(made: Path) -> None:
    image = Image.read(made)
    assert [
        image.header(name) for name in ("features", "zrwa_size", "zrwa_granularity", "zrwa_count")
    ] == [
        *(2, 4 * BLOCK, 2 * BLOCK, 4),
    ]
    assert image.entry(1, 0)[1] == (5 * BLOCK // 512) << 16 | 3 << 8 | ZoneCondition.EXPLICIT_OPEN
    assert image.entry(2, 0)[1] == 1 << 8 | ZoneCondition.EXPLICIT_OPEN
    with zoned.open(made, readonly=True) as device:
        assert device.write_area(1) == range(ZONE + 2 * BLOCK, ZONE + 5 * BLOCK)
        assert device.write_area(2) == range(2 * ZONE, 2 * ZONE)
        assert device.pread(6 * BLOCK, ZONE)[::BLOCK] == b"aaa\0b\0"
    assert zoned.check(made) == []


def test_an_image_without_is_as_it_was(shm: Path) -> None:
    with zoned.create(shm / "disk.img", size=8 * ZONE, zone_size=ZONE, dialect="zns"):
        pass
    image = Image.read(shm / "disk.img")
    assert image.header("features") == 0
    assert bytes(image.data[224:512]) == bytes(288)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("features", 0),
        ("zrwa_size", 0),
        ("zrwa_granularity", 0),
        ("zrwa_granularity", 3 * BLOCK),
        ("zrwa_count", 9),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(made: Path, field: str, value: int) -> None:
    change_header(made, field, value)
    with pytest.raises(zoned.ImageCorruptError, match="zrwa_"):
        zoned.open(made)


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ((5 * BLOCK // 512) << 16 | 3 << 8 | 14, "FULL"),
        ((5 * BLOCK // 512) << 16 | 3 << 8 | 13, "its condition cannot have"),
        (3 << 8, "its condition cannot have"),
        ((5 * BLOCK // 512) << 16 | 4 << 8 | 4, "cannot lie so"),  # longer than an area
        ((5 * BLOCK // 512) << 16 | 255 << 8 | 4, "cannot lie so"),
        ((1 * BLOCK // 512) << 16 | 3 << 8 | 4, "cannot lie so"),  # begins before the zone
        ((5 * BLOCK // 512) << 16 | 1 << 8 | 4, "cannot lie so"),  # the pointer is on no granule
        ((16 * BLOCK // 512) << 16 | 1 << 8 | 4, "written to its capacity but not FULL"),
    ],
)
def test_a_word_that_cannot_be_is_found(made: Path, word: int, wrong: str) -> None:
    image = Image.read(made)
    seq, _, _, slot = image.entry(1, 0)
    for copy in (0, 1):
        image.set_entry(1, copy, seq, word, 0, slot)
    image.write(made)
    found = [f for f in zoned.check(made) if f.error]
    assert [f.zone for f in found] == [1]
    assert wrong in str(found[0])
    with pytest.raises(zoned.ImageError, match="zone 1"):
        zoned.open(made)
    lost = [f.loses for f in zoned.check(made, repair=True) if f.error]
    assert lost == [word >> 16 > 0]
    with zoned.open(made) as device:
        assert device.zones[1].condition is ZoneCondition.OFFLINE
        assert device.write_area(2) is not None


def test_a_full_area_is_none(made: Path) -> None:
    """Filled to the capacity, but not committed, a zone is open."""
    with zoned.open(made) as device:
        for block in range(4, 16, 2):
            device.pwrite(b"c" * 2 * BLOCK, ZONE + block * BLOCK)
        assert device.write_area(1) == range(ZONE + 12 * BLOCK, 2 * ZONE)
        assert device.zones[1].condition is ZoneCondition.EXPLICIT_OPEN
    assert zoned.check(made) == []
    with zoned.open(made) as device:
        device.commit_zone(1, 2 * ZONE)
        assert device.zones[1].condition is ZoneCondition.FULL
    assert zoned.check(made) == []


def test_a_crash_of_the_host_leaves_what_was_flushed(shm: Path) -> None:
    """A copy of the file is what such a crash leaves: its shared state is worthless."""
    path, copy = shm / "disk.img", shm / "copy.img"
    with create(path) as device:
        device.open_zone_zrwa(1)
        device.pwrite(b"a" * 3 * BLOCK, ZONE)
        device.flush()
        device.pwrite(b"b" * 4 * BLOCK, ZONE + 3 * BLOCK)
        assert device.write_area(1) == range(ZONE + 4 * BLOCK, ZONE + 7 * BLOCK)
        copy.write_bytes(path.read_bytes())
    with zoned.open(copy) as left:
        assert left.write_area(1) == range(ZONE, ZONE + 3 * BLOCK)
        assert left.pread(4 * BLOCK, ZONE)[::BLOCK] == b"aaa\0"
        left.pwrite(
            b"c" * BLOCK, ZONE + 4 * BLOCK
        )  # the block before it shows nothing of the lost write
        assert left.pread(5 * BLOCK, ZONE)[::BLOCK] == b"aaa\0c"
